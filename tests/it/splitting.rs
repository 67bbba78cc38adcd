//! Batches that the broker finds too large are sent in parts.

use std::time::Duration;

use kafka_producer::mock::{Fault, MockApi, MockCluster};
use kafka_producer::{CompressionType, Delivery, ErrorCode, ErrorKind};

use crate::support::{PATIENCE, SOON, Watched, builder, record, values};

/// Takes no batch of more than so many bytes.
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
        // Such that they hardly compress.
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
