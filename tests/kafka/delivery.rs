//! What is sent to a healthy cluster arrives unchanged: codecs, acks, timestamps, headers, nulls, partitions.

use std::collections::HashMap;
use std::sync::mpsc;
use std::thread;

use crate::Tests;
use crate::producing::{
    BytesRecord, SOON, assert_holds, assert_sequence, deliver, now_ms, numbered, producer, record,
};
use crate::support::kafka::{DumpedBatch, KafkaCluster, TimestampType, poll};

pub(crate) const TESTS: Tests = &[
    (
        "every_codec_arrives_with_every_acks_level",
        every_codec_arrives_with_every_acks_level,
    ),
    (
        "the_first_records_of_a_new_topic_keep_their_order",
        the_first_records_of_a_new_topic_keep_their_order,
    ),
    (
        "create_time_is_the_records_or_the_time_of_sending",
        create_time_is_the_records_or_the_time_of_sending,
    ),
    (
        "log_append_time_replaces_the_records_timestamp",
        log_append_time_replaces_the_records_timestamp,
    ),
    (
        "headers_nulls_and_empty_bytes_arrive_as_they_were",
        headers_nulls_and_empty_bytes_arrive_as_they_were,
    ),
    (
        "a_key_goes_to_the_partition_that_java_chooses",
        a_key_goes_to_the_partition_that_java_chooses,
    ),
    (
        "records_without_a_key_reach_every_partition",
        records_without_a_key_reach_every_partition,
    ),
    (
        "threads_that_share_a_producer_keep_their_order",
        threads_that_share_a_producer_keep_their_order,
    ),
    (
        "callbacks_come_in_the_order_of_the_log",
        callbacks_come_in_the_order_of_the_log,
    ),
    ("send_all_delivers_in_order", send_all_delivers_in_order),
    (
        "records_sent_before_close_are_delivered",
        records_sent_before_close_are_delivered,
    ),
];

const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];

fn every_codec_arrives_with_every_acks_level(kafka: &KafkaCluster) {
    codecs_and_acks(kafka, "delivery-codecs");
}

/// Uses a partition for each codec and acks level, and reads all of them back at once, from a consumer and from the log.
pub(crate) fn codecs_and_acks(kafka: &KafkaCluster, topic: &str) {
    let cases: Vec<_> = CODECS
        .iter()
        .flat_map(|codec| ["all", "1", "0"].map(|acks| (*codec, acks)))
        .collect();
    kafka.create_topic(topic, cases.len() as i32, 1, &[]);
    let mut sent = Vec::new();
    for (partition, (codec, acks)) in (0..).zip(&cases) {
        let records: Vec<_> = (0..200)
            .map(|number| numbered(topic, partition, number))
            .collect();
        let producer = producer(kafka, &[("compression.type", codec), ("acks", acks)]);
        let offsets: Vec<_> = deliver(&producer, &records)
            .iter()
            .map(|metadata| metadata.offset())
            .collect();
        let known = |offset| (*acks != "0").then_some(offset);
        assert!(
            offsets.iter().copied().eq((0..200).map(known)),
            "{codec}, acks={acks}: {offsets:?}"
        );
        producer.close(SOON).expect("a close");
        sent.push(records);
    }

    // With acks=0 the last bytes may still be on their way.
    let written = || -> Vec<_> {
        let partitions = 0..cases.len() as i32;
        partitions
            .map(|partition| kafka.end_offset(topic, partition))
            .collect()
    };
    let all = poll(SOON, || {
        written().iter().all(|end| *end == 200).then_some(())
    });
    assert!(
        all.is_some(),
        "end offsets of {topic}, for {cases:?}: {:?}",
        written()
    );
    let consumed = kafka.consume(topic);
    let dumped = kafka.dump_log(topic);
    for (partition, ((codec, acks), records)) in (0..).zip(cases.iter().zip(&sent)) {
        assert_sequence(
            records,
            consumed.iter().filter(|found| found.partition == partition),
        );
        assert_batches(&dumped[&partition], codec, acks);
    }
}

/// Checks the batches that hold the 200 records of a partition.
fn assert_batches(batches: &[DumpedBatch], codec: &str, acks: &str) {
    assert!(
        batches.len() < 100,
        "{codec}, acks={acks}: {} batches for 200 records",
        batches.len()
    );
    for batch in batches {
        assert_eq!(batch.compression, codec, "acks={acks}");
        assert_eq!(
            batch.producer_id >= 0,
            acks == "all",
            "{codec}: idempotence by default needs acks=all"
        );
        let sequence = match acks {
            "all" => batch.base_offset as i32,
            _ => -1,
        };
        assert_eq!(batch.base_sequence, sequence, "{codec}, acks={acks}");
    }
}

/// A broker that has just become a leader refuses the first request and accepts the second one, and it accepts any sequence
/// from an unknown producer. With both in flight at once, the second batch would come first.
pub(crate) fn the_first_records_of_a_new_topic_keep_their_order(kafka: &KafkaCluster) {
    const PARTITIONS: i32 = 6;
    for life in 0..8 {
        let topic = format!("delivery-new-{life}");
        let settings = [("batch.size", "2000"), ("linger.ms", "0")];
        let producer = producer(kafka, &settings);
        kafka.create_topic(&topic, PARTITIONS, 1, &[]);
        let numbers = (0..200).flat_map(|number| (0..PARTITIONS).map(move |p| (p, number)));
        let records: Vec<_> = numbers
            .map(|(p, number)| numbered(&topic, p, number))
            .collect();
        let metadata = deliver(&producer, &records);
        for partition in 0..PARTITIONS {
            let own = metadata
                .iter()
                .filter(|metadata| metadata.partition() == partition);
            let offsets: Vec<_> = own.filter_map(|metadata| metadata.offset()).collect();
            let ordered = offsets.iter().copied().eq(0..200);
            assert!(ordered, "{topic}-{partition}: {offsets:?}");
        }
    }
}

fn create_time_is_the_records_or_the_time_of_sending(kafka: &KafkaCluster) {
    let topic = "delivery-create-time";
    kafka.create_topic(topic, 1, 1, &[]);
    let producer = producer(kafka, &[]);
    // Backwards, too: deltas within a batch may be negative.
    let stamps = [1_700_000_000_000, 1_600_000_000_000, 0, 1_700_000_000_001];
    let mut records: Vec<_> = stamps
        .iter()
        .map(|stamp| record(topic, format!("{stamp}")).timestamp(*stamp))
        .collect();
    records.push(record(topic, "now"));
    let before = now_ms();
    let metadata = deliver(&producer, &records);
    let after = now_ms();
    assert_holds(kafka, topic, &records, &metadata);
    let consumed = kafka.consume(topic);
    assert!(
        consumed
            .iter()
            .all(|found| found.timestamp_type == TimestampType::CreateTime)
    );
    assert!(
        consumed
            .iter()
            .map(|found| found.timestamp)
            .take(4)
            .eq(stamps)
    );
    let stamped = consumed[4].timestamp;
    assert!(
        (before..=after).contains(&stamped),
        "{stamped} is not between {before} and {after}"
    );
}

fn log_append_time_replaces_the_records_timestamp(kafka: &KafkaCluster) {
    let topic = "delivery-append-time";
    kafka.create_topic(topic, 2, 1, &[("message.timestamp.type", "LogAppendTime")]);
    let mut records = Vec::new();
    let mut metadata = Vec::new();
    let before = now_ms();
    for (partition, codec) in [(0, "none"), (1, "lz4")] {
        let batch: Vec<_> = (0..20)
            .map(|number| numbered(topic, partition, number).timestamp(1_000))
            .collect();
        metadata.extend(deliver(
            &producer(kafka, &[("compression.type", codec)]),
            &batch,
        ));
        records.extend(batch);
    }
    let after = now_ms();
    assert_holds(kafka, topic, &records, &metadata);
    for found in kafka.consume(topic) {
        assert_eq!(found.timestamp_type, TimestampType::LogAppendTime);
        assert!(
            (before..=after).contains(&found.timestamp),
            "{}",
            found.timestamp
        );
    }
}

fn headers_nulls_and_empty_bytes_arrive_as_they_were(kafka: &KafkaCluster) {
    let topic = "delivery-shapes";
    kafka.create_topic(topic, 1, 1, &[]);
    let producer = producer(kafka, &[]);
    let records = shapes(topic);
    let metadata = deliver(&producer, &records);
    assert_holds(kafka, topic, &records, &metadata);
    let dumped = kafka.dump_log(topic);
    let sizes: Vec<_> = dumped[&0]
        .iter()
        .flat_map(|b| &b.records)
        .map(|r| (r.key_size, r.value_size))
        .collect();
    assert_eq!(sizes[..5], [(-1, -1), (3, -1), (0, 0), (-1, 0), (256, 256)]);
}

/// Every kind of unusual record.
pub(crate) fn shapes(topic: &str) -> Vec<BytesRecord> {
    let name = topic.to_owned();
    let every_byte: Vec<u8> = (0..=255).collect();
    let many = (0..50).map(|number| (format!("header {number}"), Some(vec![number; 3])));
    vec![
        BytesRecord::tombstone(name.clone()),
        BytesRecord::tombstone(name.clone()).key(b"key".to_vec()),
        record(topic, "").key(Vec::new()),
        record(topic, ""),
        record(topic, every_byte.clone()).key(every_byte.clone()),
        record(topic, "v")
            .header("a", "1")
            .header("b", "2")
            .header("a", "3"),
        record(topic, "v")
            .header("null", None::<Vec<u8>>)
            .header("empty", "")
            .header("bytes", every_byte),
        record(topic, "v")
            .header("", "no name")
            .header("Überschrift", "größer")
            .header("名前", "値"),
        record(topic, "v").headers(many),
        BytesRecord::tombstone(name).header("why", "deleted"),
    ]
}

/// Kafka's own producer, with its default partitioner, chooses the same partitions for the same keys.
fn a_key_goes_to_the_partition_that_java_chooses(kafka: &KafkaCluster) {
    let (ours, javas) = ("delivery-keys-ours", "delivery-keys-java");
    kafka.create_topic(ours, 7, 1, &[]);
    kafka.create_topic(javas, 7, 1, &[]);
    let keys: Vec<_> = (0..200)
        .map(|number| format!("{}{number}", "k".repeat(number % 11)))
        .collect();

    let records: Vec<_> = keys
        .iter()
        .map(|key| record(ours, "v").key(key.clone().into_bytes()))
        .collect();
    deliver(&producer(kafka, &[]), &records);
    let lines: String = keys.iter().map(|key| format!("{key}\tv\n")).collect();
    let servers = kafka.bootstrap_servers();
    let arguments = [
        "--bootstrap-server",
        &servers,
        "--topic",
        javas,
        "--reader-property",
        "parse.key=true",
    ];
    kafka.run_tool(
        "org.apache.kafka.tools.ConsoleProducer",
        &arguments,
        lines.as_bytes(),
    );

    let partitions_by_key = |topic| -> HashMap<_, _> {
        kafka
            .consume(topic)
            .into_iter()
            .map(|found| (found.key.expect("a key"), found.partition))
            .collect()
    };
    let ours = partitions_by_key(ours);
    assert_eq!(ours.len(), keys.len());
    assert_eq!(ours, partitions_by_key(javas));
}

fn records_without_a_key_reach_every_partition(kafka: &KafkaCluster) {
    let topic = "delivery-sticky";
    kafka.create_topic(topic, 4, 1, &[]);
    // Small batches, so that the sticky partition changes often.
    let producer = producer(kafka, &[("batch.size", "1000")]);
    let records: Vec<_> = (0..4_000)
        .map(|number| record(topic, format!("{number:0100}")))
        .collect();
    let metadata = deliver(&producer, &records);
    assert_holds(kafka, topic, &records, &metadata);
    let mut counts = [0; 4];
    metadata
        .iter()
        .for_each(|metadata| counts[metadata.partition() as usize] += 1);
    assert!(counts.iter().all(|count| *count > 100), "{counts:?}");
}

fn threads_that_share_a_producer_keep_their_order(kafka: &KafkaCluster) {
    let topic = "delivery-threads";
    kafka.create_topic(topic, 3, 1, &[]);
    let producer = producer(kafka, &[("batch.size", "2000")]);
    let (threads, count) = (8, 600);
    thread::scope(|scope| {
        for thread in 0..threads {
            let producer = producer.clone();
            scope.spawn(move || {
                for number in 0..count {
                    let record = record(topic, format!("{thread} {number}")).partition(number % 3);
                    drop(producer.send(record).expect("a record taken"));
                }
            });
        }
    });
    producer.close(SOON).expect("a close");

    let consumed = kafka.consume(topic);
    assert_eq!(consumed.len() as i32, threads * count);
    for partition in 0..3 {
        for thread in 0..threads {
            let values = consumed
                .iter()
                .filter(|found| found.partition == partition)
                .map(|found| found.text());
            let numbers = values
                .filter_map(|value| value.strip_prefix(&format!("{thread} ")).map(str::to_owned));
            let expected = (0..count)
                .filter(|number| number % 3 == partition)
                .map(|number| number.to_string());
            assert!(
                numbers.eq(expected),
                "thread {thread} in partition {partition}"
            );
        }
    }
}

fn callbacks_come_in_the_order_of_the_log(kafka: &KafkaCluster) {
    let topic = "delivery-callbacks";
    kafka.create_topic(topic, 1, 1, &[]);
    let producer = producer(kafka, &[("batch.size", "1000")]);
    let (sender, receiver) = mpsc::channel();
    for number in 0..500 {
        let sender = sender.clone();
        let callback =
            move |result: Result<kafka_producer::RecordMetadata, kafka_producer::Error>| {
                sender
                    .send((number, result.map(|metadata| metadata.offset())))
                    .expect("a receiver");
            };
        let sent = producer.send_with(numbered(topic, 0, number as usize), callback);
        drop(sent.expect("a record taken"));
    }
    drop(sender);
    producer.flush(SOON).expect("a flush");
    let called: Vec<_> = receiver
        .try_iter()
        .map(|(number, result)| (number, result.expect("a delivery")))
        .collect();
    assert!(
        called
            .into_iter()
            .eq((0..500).map(|number| (number, Some(number))))
    );
}

fn send_all_delivers_in_order(kafka: &KafkaCluster) {
    let topic = "delivery-send-all";
    kafka.create_topic(topic, 1, 1, &[]);
    let producer = producer(kafka, &[]);
    let records: Vec<_> = (0..3_000)
        .map(|number| numbered(topic, 0, number))
        .collect();
    let futures = producer
        .send_all(records.iter().cloned())
        .unwrap_or_else(|error| panic!("{}", error.error()));
    let metadata: Vec<_> = futures
        .into_iter()
        .map(|future| future.get(SOON).expect("a delivery"))
        .collect();
    assert!(
        metadata
            .iter()
            .map(|metadata| metadata.offset())
            .eq((0..3_000).map(Some))
    );
    assert_sequence(&records, &kafka.consume(topic));
}

fn records_sent_before_close_are_delivered(kafka: &KafkaCluster) {
    let topic = "delivery-close";
    kafka.create_topic(topic, 1, 1, &[]);
    // Only `close` can end this linger.
    let producer = producer(kafka, &[("linger.ms", "60000")]);
    let records: Vec<_> = (0..100).map(|number| numbered(topic, 0, number)).collect();
    let send = |record: &BytesRecord| producer.send(record.clone()).expect("a record taken");
    let futures: Vec<_> = records.iter().map(send).collect();
    producer.close(SOON).expect("a close");
    assert!(
        futures
            .iter()
            .all(|future| matches!(future.try_get(), Some(Ok(_))))
    );
    assert_sequence(&records, &kafka.consume(topic));
    let Err(refused) = producer.send(numbered(topic, 0, 0)) else {
        panic!("a closed producer takes nothing");
    };
    assert_eq!(refused.error().kind(), kafka_producer::ErrorKind::Closed);
}
