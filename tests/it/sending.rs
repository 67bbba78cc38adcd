//! What a record carries, how it is serialized, and its metadata.

use std::time::Duration;

use kafka_producer::mock::{MockApi, MockRecord};
use kafka_producer::{
    CompressionType, Delivery, ErrorKind, Header, HeaderValue, Headers, KafkaProducer,
    ProducerRecord, serializer_fn,
};

use crate::support::{
    Bytes, PATIENCE, Producer, Record, builder, cluster, deliver, producer, record, values,
    with_causes,
};

#[test]
fn records_arrive_as_they_were_sent() {
    let cluster = cluster(1, 1);
    for compression in CompressionType::ALL
        .into_iter()
        .filter(|codec| codec.is_compiled_in())
    {
        let producer = builder(&cluster).compression(compression).build().unwrap();
        let first = cluster.end_offset("t", 0).unwrap();
        let sent: Vec<Record> = vec![
            record(0, "value")
                .key(b"key".to_vec())
                .timestamp(1_700_000_000_123),
            record(0, "")
                .key(Vec::new())
                .header("a", "1")
                .header("b", HeaderValue::NULL)
                .header("a", ""),
            ProducerRecord::tombstone("t")
                .partition(0)
                .key(b"gone".to_vec())
                .timestamp(0),
            ProducerRecord::tombstone("t")
                .partition(0)
                .timestamp(i64::MAX / 2),
            record(0, vec![0xff; 100_000]),
        ];
        let futures = producer.send_all(sent.clone()).unwrap();
        for ((future, offset), sent) in futures.iter().zip(first..).zip(&sent) {
            let metadata = future.get(PATIENCE).unwrap();
            assert_eq!(
                (metadata.topic(), metadata.partition(), metadata.offset()),
                ("t", 0, Some(offset))
            );
            assert_eq!(
                metadata.serialized_key_size(),
                sent.key.as_ref().map(Vec::len)
            );
            assert_eq!(
                metadata.serialized_value_size(),
                sent.value.as_ref().map(Vec::len)
            );
            assert!(sent.timestamp.is_none() || metadata.timestamp() == sent.timestamp);
        }
        for (written, sent) in cluster.records("t", 0)[first as usize..].iter().zip(sent) {
            assert_same(written, &sent);
        }
    }
}

fn assert_same(written: &MockRecord, sent: &Record) {
    assert_eq!((&written.key, &written.value), (&sent.key, &sent.value));
    assert!(
        sent.timestamp
            .is_none_or(|timestamp| timestamp == written.timestamp)
    );
    let pair = |header: &Header| (header.key().to_owned(), header.value().map(<[u8]>::to_vec));
    assert_eq!(
        written.headers,
        sent.headers.iter().map(pair).collect::<Vec<_>>()
    );
}

#[test]
fn metadata_has_the_append_time_if_the_topic_uses_it() {
    let cluster = cluster(1, 1);
    cluster.set_log_append_time("t", true);
    let producer = producer(&cluster);
    let metadata = producer
        .send(record(0, "v").timestamp(5))
        .unwrap()
        .get(PATIENCE)
        .unwrap();
    let written = cluster.records("t", 0)[0].timestamp;
    assert!(written > 1_700_000_000_000);
    assert_eq!(metadata.timestamp(), Some(written));
}

#[test]
fn a_record_without_timestamp_gets_the_time_of_its_sending() {
    let cluster = cluster(1, 1);
    let producer = producer(&cluster);
    let now = || {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.unwrap().as_millis() as i64
    };
    let before = now();
    let metadata = deliver(&producer, 0, "v").unwrap();
    let timestamp = metadata.timestamp().unwrap();
    assert!((before..=now()).contains(&timestamp));
    assert_eq!(cluster.records("t", 0)[0].timestamp, timestamp);
}

#[test]
fn serializers_see_and_change_headers_and_know_the_topic() {
    let cluster = cluster(1, 1);
    let serializer = serializer_fn(
        |topic: &str, headers: &mut Headers, number: &u32, bytes: &mut Vec<u8>| {
            assert_eq!(
                headers.last("sent-with").and_then(Header::value),
                Some(&b"it"[..])
            );
            headers.add("serializer", format!("for {topic}"));
            bytes.extend(number.to_string().bytes());
            Ok(())
        },
    );
    let producer = KafkaProducer::<u32, u32>::builder()
        .bootstrap_servers(cluster.bootstrap_servers())
        .value_serializer(serializer)
        .build()
        .unwrap();
    let sent = ProducerRecord::new("t", 42)
        .key(7)
        .header("sent-with", "it");
    producer.send(sent).unwrap().get(PATIENCE).unwrap();
    let written = cluster.records("t", 0).remove(0);
    assert_eq!(
        (written.key, written.value),
        (Some(vec![0, 0, 0, 7]), Some(b"42".to_vec()))
    );
    let keys: Vec<_> = written
        .headers
        .iter()
        .map(|(key, _)| key.as_str())
        .collect();
    assert_eq!(keys, ["sent-with", "serializer"]);
    assert_eq!(written.headers[1].1.as_deref(), Some(&b"for t"[..]));
}

#[test]
fn a_serializers_error_goes_to_the_caller_with_the_record() {
    let cluster = cluster(1, 1);
    let picky = serializer_fn(
        |_: &str, _: &mut Headers, value: &String, bytes: &mut Vec<u8>| {
            bytes.extend(b"half of it");
            match value.as_str() {
                "bad" => Err("not this one".into()),
                _ => Ok(()),
            }
        },
    );
    let producer = KafkaProducer::<String, String>::builder()
        .bootstrap_servers(cluster.bootstrap_servers())
        .key_serializer(picky)
        .build()
        .unwrap();
    let refused = producer
        .send(ProducerRecord::new("t", "v".to_owned()).key("bad".to_owned()))
        .unwrap_err();
    assert_eq!(
        (refused.error().kind(), refused.error().delivery()),
        (ErrorKind::Serialization, Delivery::NotWritten)
    );
    let message = with_causes(refused.error());
    assert!(
        message.contains("key") && message.contains("not this one"),
        "{message}"
    );
    assert_eq!(refused.into_record().value.as_deref(), Some("v"));
    let good = ProducerRecord::new("t", "v".to_owned()).key("good".to_owned());
    producer.send(good).unwrap().get(PATIENCE).unwrap();
    assert_eq!(
        cluster.records("t", 0)[0].key.as_deref(),
        Some(&b"half of it"[..])
    );
}

#[test]
fn a_serializer_may_itself_send() {
    let cluster = cluster(1, 2);
    let audit = producer(&cluster);
    let serializer = serializer_fn(
        move |_: &str, _: &mut Headers, value: &String, bytes: &mut Vec<u8>| {
            drop(audit.send(record(1, format!("audit {value}")))?);
            bytes.extend(value.bytes());
            Ok(())
        },
    );
    let producer = KafkaProducer::<(), String>::builder()
        .bootstrap_servers(cluster.bootstrap_servers())
        .value_serializer(serializer)
        .build()
        .unwrap();
    producer
        .send(ProducerRecord::new("t", "v".to_owned()).partition(0))
        .unwrap()
        .get(PATIENCE)
        .unwrap();
    drop(producer);
    assert_eq!(
        (values(&cluster, 0), values(&cluster, 1)),
        (vec!["v".to_owned()], vec!["audit v".to_owned()])
    );
}

#[test]
fn a_thread_sends_while_its_local_storage_is_torn_down() {
    struct Last(Option<Producer>);
    impl Drop for Last {
        fn drop(&mut self) {
            let producer = self.0.take().unwrap();
            producer.send(record(0, "late")).unwrap();
            producer.send_all([record(0, "later")]).unwrap();
        }
    }
    thread_local! {
        static LAST: std::cell::RefCell<Option<Last>> = const { std::cell::RefCell::new(None) };
    }
    let cluster = cluster(1, 1);
    let producer = producer(&cluster);
    let own = producer.clone();
    std::thread::spawn(move || {
        LAST.with(|last| *last.borrow_mut() = Some(Last(Some(own.clone()))));
        // The library's thread-local storage is created later, so it is destroyed earlier.
        own.send(record(0, "first")).unwrap();
    })
    .join()
    .unwrap();
    producer.flush(PATIENCE).unwrap();
    assert_eq!(values(&cluster, 0), ["first", "late", "later"]);
}

#[test]
fn a_record_may_be_as_large_as_a_request_and_no_larger() {
    let cluster = cluster(1, 1);
    let producer = builder(&cluster).max_request_size(10_000).build().unwrap();
    let fits = (0..10_000usize).rev().find_map(|bytes| {
        producer
            .send(record(0, vec![1; bytes]))
            .ok()
            .map(|future| (bytes, future))
    });
    let (bytes, future) = fits.unwrap();
    assert!((9_800..10_000).contains(&bytes), "{bytes}");
    future.get(PATIENCE).unwrap();
    let refused = producer.send(record(0, vec![1; bytes + 1])).unwrap_err();
    assert_eq!(refused.error().kind(), ErrorKind::RecordTooLarge);
    assert!(
        refused.error().to_string().contains("max.request.size"),
        "{refused}"
    );
}

#[test]
fn many_records_share_a_batch_and_many_partitions_a_request() {
    let cluster = cluster(1, 50);
    let producer = builder(&cluster)
        .linger(Duration::from_secs(60))
        .build()
        .unwrap();
    for index in 0..5000 {
        drop(producer.send(record(index % 50, "v")).unwrap());
    }
    producer.flush(PATIENCE).unwrap();
    assert!(cluster.request_count(MockApi::Produce) <= 3);
    assert!((0..50).all(|partition| cluster.batches("t", partition).len() == 1));
    assert!((0..50).all(|partition| cluster.end_offset("t", partition) == Some(100)));
}

#[test]
fn no_request_is_larger_than_max_request_size() {
    let cluster = cluster(1, 50);
    let (sizes, received) = std::sync::mpsc::channel();
    cluster.on(MockApi::Produce, move |request| {
        let _ = sizes.send(
            request
                .batches()
                .iter()
                .map(|batch| batch.bytes)
                .sum::<usize>(),
        );
        kafka_producer::mock::Fault::Pass
    });
    let producer = builder(&cluster)
        .linger(Duration::from_secs(60))
        .max_request_size(20_000)
        .build()
        .unwrap();
    for index in 0..1000 {
        drop(producer.send(record(index % 50, vec![1; 150])).unwrap());
    }
    producer.flush(PATIENCE).unwrap();
    drop(cluster);
    let sizes: Vec<usize> = received.try_iter().collect();
    assert!(
        sizes.len() >= 8 && sizes.iter().all(|size| *size <= 20_000),
        "{sizes:?}"
    );
}

#[test]
fn batching_can_be_turned_off() {
    let cluster = cluster(1, 1);
    let producer = builder(&cluster)
        .batch_size(0)
        .linger(Duration::from_secs(60))
        .build()
        .unwrap();
    let futures: Vec<_> = (0..20)
        .map(|index| producer.send(record(0, index.to_string())).unwrap())
        .collect();
    for future in futures {
        future.get(PATIENCE).unwrap();
    }
    assert_eq!(cluster.batches("t", 0).len(), 20);
}

#[test]
fn a_dropped_future_cancels_nothing() {
    let cluster = cluster(1, 1);
    let producer = producer(&cluster);
    for index in 0..100 {
        drop(producer.send(record(0, index.to_string())).unwrap());
    }
    producer.close(PATIENCE).unwrap();
    assert_eq!(values(&cluster, 0).len(), 100);
}

#[test]
fn the_same_future_may_be_waited_for_on_many_threads() {
    let cluster = cluster(1, 1);
    let producer = producer(&cluster);
    let future = producer.send(record(0, "v")).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| assert_eq!(future.get(PATIENCE).unwrap().offset(), Some(0)));
        }
    });
}

#[test]
fn text_numbers_and_nothing_are_sent_as_java_sends_them() {
    let cluster = cluster(1, 1);
    let producer = KafkaProducer::<i64, Option<String>>::builder()
        .bootstrap_servers(cluster.bootstrap_servers())
        .build()
        .unwrap();
    for value in [Some("text".to_owned()), None] {
        producer
            .send(ProducerRecord::new("t", value).key(-2))
            .unwrap()
            .get(PATIENCE)
            .unwrap();
    }
    let written: Vec<(Option<Bytes>, Option<Bytes>)> = cluster
        .records("t", 0)
        .into_iter()
        .map(|record| (record.key, record.value))
        .collect();
    let key = Some((-2i64).to_be_bytes().to_vec());
    assert_eq!(
        written,
        [(key.clone(), Some(b"text".to_vec())), (key, None)]
    );
}

#[test]
fn a_flush_waits_for_its_threads_records_while_others_fill_the_batches() {
    let cluster = cluster(1, 2);
    // Two records fill a batch: other threads announce batches while this thread flushes.
    let producer = builder(&cluster)
        .batch_size(300)
        .linger(Duration::from_secs(1))
        .build()
        .unwrap();
    std::thread::scope(|scope| {
        for partition in [0, 1, 0, 1] {
            let producer = &producer;
            scope.spawn(move || {
                for round in 0..150 {
                    let future = producer.send(record(partition, vec![0; 100])).unwrap();
                    producer.flush(PATIENCE).unwrap();
                    assert!(future.is_done(), "round {round} in partition {partition}");
                }
            });
        }
    });
}

#[test]
fn a_missing_partition_is_requested_less_and_less_often() {
    let cluster = cluster(1, 1);
    let producer = builder(&cluster)
        .max_block(Duration::from_millis(1500))
        .retry_backoff(Duration::from_millis(50))
        .retry_backoff_max(Duration::from_millis(400))
        .build()
        .unwrap();
    let refused = producer.send(record(7, "v")).unwrap_err();
    assert_eq!(refused.error().kind(), ErrorKind::UnknownPartition);
    let asked = cluster.request_count(MockApi::Metadata);
    assert!((2..20).contains(&asked), "{asked} requests in 1.5 s");
}

#[test]
fn a_refused_record_is_returned_without_the_headers_of_its_serializer() {
    let cluster = cluster(1, 1);
    let producer = KafkaProducer::<(), String>::builder()
        .bootstrap_servers(cluster.bootstrap_servers())
        .max_request_size(200)
        .value_serializer(serializer_fn(
            |_: &str, headers: &mut Headers, value: &String, out: &mut Vec<u8>| {
                headers.add("type", "text");
                out.extend_from_slice(value.as_bytes());
                Ok(())
            },
        ))
        .build()
        .unwrap();
    let record = ProducerRecord::new("t", "x".repeat(500)).header("own", "1");
    let mut given_back = producer.send(record.clone()).unwrap_err().into_record();
    assert_eq!(given_back, record);
    given_back.value = Some("short".into());
    producer.send(given_back).unwrap().get(PATIENCE).unwrap();
    let written = &cluster.records("t", 0)[0];
    assert_eq!(written.headers.len(), 2);
}

#[test]
fn the_longest_durations_are_legal() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = closed.local_addr().unwrap().to_string();
    drop(closed);
    let producer = crate::support::builder_at(&address)
        .reconnect_backoff(Duration::MAX)
        .reconnect_backoff_max(Duration::MAX)
        .socket_connection_setup_timeout(Duration::MAX)
        .socket_connection_setup_timeout_max(Duration::MAX)
        .metadata_max_age(Duration::MAX)
        .max_block(Duration::from_millis(100))
        .build()
        .unwrap();
    let refused = producer.send(record(0, "v")).unwrap_err();
    assert_eq!(
        refused.error().kind(),
        ErrorKind::MetadataTimeout,
        "{refused}"
    );
    producer.close(PATIENCE).unwrap();
}
