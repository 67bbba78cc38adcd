//! Batches that the broker finds too large are split, and their parts are sent.

use std::time::Duration;

use kafka_producer::mock::{Fault, MockApi, MockCluster};
use kafka_producer::{CompressionType, Delivery, ErrorCode, ErrorKind};

use crate::support::{PATIENCE, SOON, Watched, builder, record, values};

/// Refuses batches of more than `bytes` bytes.
fn cluster_up_to(bytes: usize) -> MockCluster {
    let cluster = MockCluster::builder()
        .max_message_bytes(bytes)
        .start()
        .unwrap();
    cluster.create_topic("t", 1);
    cluster
}

fn numbered(count: usize, bytes: usize) -> Vec<String> {
    (0..count).map(|index| format!("{index:0bytes$}")).collect()
}

#[test]
fn a_batch_too_large_is_split_and_every_record_is_written_once_and_in_order() {
    for codec in [
        CompressionType::None,
        CompressionType::Gzip,
        CompressionType::Snappy,
        CompressionType::Lz4,
        CompressionType::Zstd,
    ] {
        if !codec.is_compiled_in() {
            continue;
        }
        let cluster = cluster_up_to(1000);
        let producer = builder(&cluster)
            .linger(Duration::from_secs(60))
            .batch_size(100_000)
            .compression(codec)
            .build()
            .unwrap();
        // They hardly compress.
        let mut random = fastrand::Rng::with_seed(1);
        let text = |random: &mut fastrand::Rng| {
            std::iter::repeat_with(|| random.alphanumeric())
                .take(80)
                .collect()
        };
        let sent: Vec<String> = (0..200).map(|_| text(&mut random)).collect();
        let calls = Watched::<Vec<(usize, Option<i64>)>>::default();
        let futures: Vec<_> = (0..)
            .zip(&sent)
            .map(|(index, value)| {
                let calls = calls.clone();
                let callback = move |result: Result<kafka_producer::RecordMetadata, _>| {
                    calls.change(|calls| calls.push((index, result.unwrap().offset())));
                };
                producer
                    .send_with(record(0, value.as_str()), callback)
                    .unwrap()
            })
            .collect();
        producer.flush(PATIENCE).unwrap();
        for (offset, future) in (0..).zip(&futures) {
            let metadata = future
                .try_get()
                .expect("flush waits for the parts")
                .unwrap();
            assert_eq!(metadata.offset(), Some(offset), "{codec}");
        }
        let expected: Vec<_> = (0..200).map(|index| (index, Some(index as i64))).collect();
        assert_eq!(calls.get(), expected, "{codec}");
        assert_eq!(values(&cluster, 0), sent, "{codec}");
        let batches = cluster.batches("t", 0);
        assert!(batches.len() > 10 && batches.iter().all(|batch| batch.compression == codec));
    }
}

#[test]
fn order_is_kept_when_many_batches_in_flight_are_too_large() {
    let cluster = cluster_up_to(400);
    let producer = builder(&cluster)
        .linger(Duration::from_millis(1))
        .batch_size(2000)
        .build()
        .unwrap();
    let sent = numbered(2000, 60);
    let futures: Vec<_> = sent
        .iter()
        .map(|value| producer.send(record(0, value.as_str())).unwrap())
        .collect();
    for (offset, future) in (0..).zip(futures) {
        assert_eq!(future.get(PATIENCE).unwrap().offset(), Some(offset));
    }
    assert_eq!(values(&cluster, 0), sent);
}

#[test]
fn parts_are_sent_again_like_other_batches() {
    let cluster = cluster_up_to(1000);
    let producer = builder(&cluster)
        .linger(Duration::from_secs(60))
        .batch_size(100_000)
        .build()
        .unwrap();
    let seed = std::sync::Mutex::new(fastrand::Rng::with_seed(4));
    cluster.on(MockApi::Produce, move |_| {
        match seed.lock().unwrap().u8(0..5) {
            0 => Fault::Error(ErrorCode::NOT_ENOUGH_REPLICAS),
            1 => Fault::LoseAnswer,
            _ => Fault::Pass,
        }
    });
    let sent = numbered(500, 60);
    let futures: Vec<_> = sent
        .iter()
        .map(|value| producer.send(record(0, value.as_str())).unwrap())
        .collect();
    producer.flush(PATIENCE).unwrap();
    for future in futures {
        future.try_get().unwrap().unwrap();
    }
    assert_eq!(values(&cluster, 0), sent);
}

#[test]
fn a_single_record_too_large_fails_alone() {
    let cluster = cluster_up_to(500);
    let producer = builder(&cluster)
        .linger(Duration::from_secs(60))
        .batch_size(100_000)
        .build()
        .unwrap();
    let values_sent = [
        "a".repeat(50),
        "b".repeat(50),
        "c".repeat(1000),
        "d".repeat(50),
        "e".repeat(50),
    ];
    let futures = values_sent
        .clone()
        .map(|value| producer.send(record(0, value)).unwrap());
    producer.flush(SOON).unwrap();
    let results = futures.map(|future| future.try_get().unwrap());
    for (index, result) in results.iter().enumerate() {
        match result {
            Err(error) => {
                assert_eq!(index, 2);
                assert_eq!(
                    (error.kind(), error.delivery()),
                    (ErrorKind::RecordTooLarge, Delivery::NotWritten)
                );
                assert_eq!(error.broker_code(), Some(10));
            }
            Ok(_) => assert_ne!(index, 2),
        }
    }
    let mut expected = values_sent.to_vec();
    expected.remove(2);
    assert_eq!(values(&cluster, 0), expected);
}

#[test]
fn a_split_does_not_count_as_a_retry() {
    let cluster = cluster_up_to(300);
    let producer = builder(&cluster)
        .linger(Duration::from_secs(60))
        .batch_size(100_000)
        .retries(1)
        .build()
        .unwrap();
    let futures: Vec<_> = numbered(100, 60)
        .into_iter()
        .map(|value| producer.send(record(0, value)).unwrap())
        .collect();
    producer.flush(PATIENCE).unwrap();
    for future in futures {
        future.try_get().unwrap().unwrap();
    }
}

/// A topic's limit is lowered while five batches of it are in flight: each is found too large, and those behind the first
/// one out of order as well.
#[test]
fn a_limit_that_is_lowered_meanwhile_splits_all_batches_in_flight() {
    let cluster = cluster_up_to(10_000);
    let producer = builder(&cluster)
        .linger(Duration::from_secs(60))
        .batch_size(61 + 10 * 108)
        .build()
        .unwrap();
    let known = producer.send(record(0, "known")).unwrap();
    producer.flush(PATIENCE).unwrap();
    assert_eq!(known.get(PATIENCE).unwrap().offset(), Some(0));
    cluster.set_max_message_bytes(400);
    let refused = Fault::Error(ErrorCode::MESSAGE_TOO_LARGE);
    cluster.fail_next(MockApi::Produce, 1, Fault::KeepBack(4, Box::new(refused)));
    let sent = numbered(50, 100);
    let futures: Vec<_> = sent
        .iter()
        .map(|value| producer.send(record(0, value.as_str())).unwrap())
        .collect();
    producer.flush(PATIENCE).unwrap();
    for (offset, future) in (1..).zip(futures) {
        let written = future.try_get().expect("flush waits for the parts");
        assert_eq!(written.unwrap().offset(), Some(offset));
    }
    assert_eq!(values(&cluster, 0)[1..], sent);
}

/// Batches are halved down to one record, with no request more than that takes.
#[test]
fn splitting_converges_for_a_batch_of_many_of_two_and_of_one() {
    for (records, batches, requests) in [(64, 64, 127), (2, 2, 3), (1, 1, 1)] {
        // One record of 50 bytes and its batch's header.
        let cluster = cluster_up_to(120);
        let producer = builder(&cluster)
            .linger(Duration::from_secs(60))
            .batch_size(100_000)
            .build()
            .unwrap();
        let sent = numbered(records, 50);
        let futures: Vec<_> = sent
            .iter()
            .map(|value| producer.send(record(0, value.as_str())).unwrap())
            .collect();
        producer.flush(PATIENCE).unwrap();
        assert!(
            futures
                .iter()
                .all(|future| future.try_get().unwrap().is_ok())
        );
        assert_eq!(values(&cluster, 0), sent);
        assert_eq!(cluster.batches("t", 0).len(), batches);
        assert!(
            cluster.request_count(MockApi::Produce) <= requests,
            "{records} records: {} requests",
            cluster.request_count(MockApi::Produce)
        );
    }
}

/// Java: RecordAccumulatorTest.testSplitFrequency. Some records compress well and others badly; the estimated ratio is
/// seldom wrong.
#[cfg(feature = "gzip")]
#[test]
fn few_batches_are_split_however_the_compression_varies() {
    const BATCH: usize = 4096;
    const RECORDS: usize = 4000;
    for good_of_ten in [0, 1, 5, 9, 10] {
        // The estimate may be wrong by this much.
        let cluster = cluster_up_to(BATCH);
        let producer = builder(&cluster)
            .linger(Duration::from_millis(20))
            .batch_size(BATCH)
            .compression(CompressionType::Gzip)
            .build()
            .unwrap();
        let mut random = fastrand::Rng::with_seed(good_of_ten);
        let futures: Vec<_> = (0..RECORDS)
            .map(|_| {
                let value: Vec<u8> = if random.u64(0..10) < good_of_ten {
                    vec![b'-'; 100]
                } else {
                    std::iter::repeat_with(|| random.u8(..)).take(100).collect()
                };
                producer.send(record(0, value)).unwrap()
            })
            .collect();
        producer.flush(PATIENCE).unwrap();
        for future in futures {
            future.try_get().unwrap().unwrap();
        }
        let batches = cluster.batches("t", 0).len() as u64;
        let refused = cluster.request_count(MockApi::Produce) - batches;
        assert!(
            refused * 10 <= batches,
            "{good_of_ten} of ten compress: {refused} refused, {batches} written"
        );
    }
}

/// Java: RecordAccumulatorTest.testAppendLargeCompressed and testAppendLargeNonCompressed.
#[test]
fn a_record_larger_than_a_batch_has_a_batch_of_its_own() {
    for codec in [CompressionType::None, CompressionType::Gzip] {
        if !codec.is_compiled_in() {
            continue;
        }
        let cluster = cluster_up_to(1 << 20);
        let producer = builder(&cluster)
            .linger(Duration::from_secs(60))
            .batch_size(1000)
            .compression(codec)
            .build()
            .unwrap();
        let mut random = fastrand::Rng::with_seed(3);
        let large: Vec<u8> = std::iter::repeat_with(|| random.u8(..))
            .take(5000)
            .collect();
        let sent = [b"small".to_vec(), large, b"small too".to_vec()];
        let futures = sent
            .clone()
            .map(|value| producer.send(record(0, value)).unwrap());
        producer.flush(PATIENCE).unwrap();
        for (offset, future) in (0..).zip(futures) {
            let written = future.try_get().unwrap().unwrap();
            assert_eq!(written.offset(), Some(offset));
        }
        let written: Vec<_> = cluster
            .records("t", 0)
            .into_iter()
            .map(|record| record.value.unwrap())
            .collect();
        assert_eq!(written, sent);
        assert!(cluster.batches("t", 0).len() >= 2);
    }
}

/// Java: ProducerBatchTest.testSplitPreservesHeaders and testSplitPreservesMagicAndCompressionType.
#[test]
fn the_parts_keep_keys_headers_and_timestamps() {
    let cluster = cluster_up_to(300);
    let producer = builder(&cluster)
        .linger(Duration::from_secs(60))
        .batch_size(100_000)
        .build()
        .unwrap();
    for index in 0..20 {
        let sent = record(0, format!("{index:050}"))
            .key(index.to_string().into_bytes())
            .timestamp(1_000_000 + i64::from(index))
            .header("number", index.to_string().into_bytes());
        producer.send(sent).unwrap();
    }
    producer.flush(PATIENCE).unwrap();
    assert!(cluster.batches("t", 0).len() > 4);
    for (index, record) in (0..).zip(cluster.records("t", 0)) {
        let number = i32::to_string(&index).into_bytes();
        assert_eq!(record.timestamp, 1_000_000 + i64::from(index));
        assert_eq!(record.key, Some(number.clone()));
        assert_eq!(record.headers, [("number".to_owned(), Some(number))]);
    }
}
