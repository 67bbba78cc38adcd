//! Sizes, names and partitions at their limits, and the producer's errors beyond them.

use std::io::{ErrorKind as ErrorKindOfIo, Read};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use kafka_producer::{Delivery, ErrorKind};

use crate::Tests;
use crate::producing::{
    SOON, assert_holds, assert_sequence, deliver, now_ms, numbered, outcome, producer, record,
};
use crate::support::kafka::KafkaCluster;

pub(crate) const TESTS: Tests = &[
    (
        "records_of_one_mebibyte_arrive",
        records_of_one_mebibyte_arrive,
    ),
    (
        "max_request_size_is_the_limit_to_the_byte",
        max_request_size_is_the_limit_to_the_byte,
    ),
    (
        "a_record_over_the_topics_limit_fails_alone",
        a_record_over_the_topics_limit_fails_alone,
    ),
    (
        "a_batch_over_the_topics_limit_is_split",
        a_batch_over_the_topics_limit_is_split,
    ),
    (
        "threads_share_a_connection_if_the_broker_allows_no_further_one",
        threads_share_a_connection_if_the_broker_allows_no_further_one,
    ),
    (
        "a_timestamp_the_topic_refuses_fails_its_record",
        a_timestamp_the_topic_refuses_fails_its_record,
    ),
    (
        "a_compacted_topic_refuses_a_record_without_a_key",
        a_compacted_topic_refuses_a_record_without_a_key,
    ),
    (
        "a_missing_topic_fails_within_max_block_ms",
        a_missing_topic_fails_within_max_block_ms,
    ),
    (
        "a_send_continues_when_its_topic_appears",
        a_send_continues_when_its_topic_appears,
    ),
    (
        "an_illegal_topic_name_fails_without_waiting",
        an_illegal_topic_name_fails_without_waiting,
    ),
    (
        "kafkas_own_topics_are_refused",
        kafkas_own_topics_are_refused,
    ),
    (
        "a_partition_that_never_comes_fails_within_max_block_ms",
        a_missing_partition_fails_within_max_block_ms,
    ),
    (
        "a_send_continues_when_its_partition_appears",
        a_send_continues_when_its_partition_appears,
    ),
    (
        "a_topic_created_again_is_written_from_its_start",
        a_topic_created_again_is_written_from_its_start,
    ),
    (
        "a_hung_broker_costs_no_more_than_delivery_timeout_ms",
        a_hung_broker_costs_no_more_than_delivery_timeout_ms,
    ),
];

fn records_of_one_mebibyte_arrive(kafka: &KafkaCluster) {
    let topic = "limits-mebibyte";
    kafka.create_topic(topic, 2, 1, &[("max.message.bytes", "3000000")]);
    let mut records = Vec::new();
    let mut metadata = Vec::new();
    for (partition, codec) in [(0, "none"), (1, "zstd")] {
        let settings = [("max.request.size", "2000000"), ("compression.type", codec)];
        let value: Vec<u8> = (0..1 << 20)
            .map(|at: u32| b' ' + (at.wrapping_mul(2_654_435_761) >> 26) as u8)
            .collect();
        let batch: Vec<_> = (0..3)
            .map(|_| record(topic, value.clone()).partition(partition))
            .collect();
        metadata.extend(deliver(&producer(kafka, &settings), &batch));
        records.extend(batch);
    }
    assert_holds(kafka, topic, &records, &metadata);
}

/// Java's rule: the most that the record could need in a batch of its own, header included.
fn max_request_size_is_the_limit_to_the_byte(kafka: &KafkaCluster) {
    const LIMIT: usize = 5_000;
    const BATCH_HEADER: usize = 61;
    const LARGEST_RECORD_OVERHEAD: usize = 21;
    // A null key and no headers take a byte each, a value of that size two for its length.
    const LARGEST_VALUE: usize = LIMIT - BATCH_HEADER - LARGEST_RECORD_OVERHEAD - 1 - 1 - 2;
    let topic = "limits-request-size";
    kafka.create_topic(topic, 1, 1, &[]);
    let producer = producer(kafka, &[("max.request.size", &LIMIT.to_string())]);
    let at_limit = record(topic, vec![b'x'; LARGEST_VALUE]);
    let metadata = outcome(&producer, at_limit.clone()).expect("a record of the largest size");

    let over = outcome(&producer, record(topic, vec![b'x'; LARGEST_VALUE + 1]))
        .expect_err("one byte too many");
    assert_eq!(
        (over.kind(), over.delivery()),
        (ErrorKind::RecordTooLarge, Delivery::NotWritten),
        "{over}"
    );
    assert!(over.to_string().contains("max.request.size"), "{over}");
    assert_holds(kafka, topic, &[at_limit], &[metadata]);
}

fn a_record_over_the_topics_limit_fails_alone(kafka: &KafkaCluster) {
    let topic = "limits-message-bytes";
    kafka.create_topic(topic, 1, 1, &[("max.message.bytes", "1000")]);
    let producer = producer(kafka, &[("linger.ms", "0")]);
    let first = outcome(&producer, numbered(topic, 0, 0)).expect("a small record");
    let error = outcome(&producer, record(topic, vec![b'x'; 2_000]).partition(0))
        .expect_err("a record too large");
    assert_eq!(
        (error.kind(), error.delivery()),
        (ErrorKind::RecordTooLarge, Delivery::NotWritten),
        "{error}"
    );
    assert_eq!(
        (error.broker_code(), error.is_retriable()),
        (Some(10), false),
        "{error}"
    );
    let second =
        outcome(&producer, numbered(topic, 0, 1)).expect("a small record after the failure");
    assert_holds(
        kafka,
        topic,
        &[numbered(topic, 0, 0), numbered(topic, 0, 1)],
        &[first, second],
    );
}

fn a_batch_over_the_topics_limit_is_split(kafka: &KafkaCluster) {
    let topic = "limits-split";
    kafka.create_topic(topic, 2, 1, &[("max.message.bytes", "1000")]);
    let mut records = Vec::new();
    let mut metadata = Vec::new();
    // Without idempotence Kafka keeps the order of what is sent again only with one request in flight.
    for (partition, idempotence, in_flight) in [(0, "true", "5"), (1, "false", "1")] {
        let batch: Vec<_> = (0..60)
            .map(|number| numbered(topic, partition, number))
            .collect();
        let settings = [
            ("linger.ms", "1000"),
            ("enable.idempotence", idempotence),
            ("max.in.flight.requests.per.connection", in_flight),
        ];
        let placed = deliver(&producer(kafka, &settings), &batch);
        metadata.extend(placed);
        records.extend(batch);
    }
    let consumed = kafka.consume(topic);
    for (partition, batches) in kafka.dump_log(topic) {
        assert!(
            batches.iter().all(|batch| batch.size <= 1_000),
            "{batches:?}"
        );
        let sent = records
            .iter()
            .filter(|record| record.partition == Some(partition));
        let found = consumed.iter().filter(|found| found.partition == partition);
        let numbers: Vec<_> = found.clone().map(|found| &found.text()[5..8]).collect();
        assert!(
            numbers.is_sorted(),
            "the order in partition {partition}: {numbers:?}"
        );
        assert_sequence(sent, found);
    }
    assert_holds(kafka, topic, &records, &metadata);
}

fn a_timestamp_the_topic_refuses_fails_its_record(kafka: &KafkaCluster) {
    let topic = "limits-timestamp";
    kafka.create_topic(topic, 1, 1, &[("message.timestamp.after.max.ms", "60000")]);
    let producer = producer(kafka, &[]);
    let far = record(topic, "far").timestamp(now_ms() + 3_600_000);
    let error = outcome(&producer, far).expect_err("a timestamp an hour ahead");
    assert_eq!(
        (error.kind(), error.delivery()),
        (ErrorKind::InvalidRecord, Delivery::NotWritten),
        "{error}"
    );
    assert_eq!(error.broker_code(), Some(32), "{error}");
    let near = record(topic, "near").timestamp(now_ms());
    let metadata = outcome(&producer, near.clone()).expect("a record after the failure");
    assert_holds(kafka, topic, &[near], &[metadata]);
}

/// KIP-467: the broker names the record of a batch that it refuses.
fn a_compacted_topic_refuses_a_record_without_a_key(kafka: &KafkaCluster) {
    let topic = "limits-compacted";
    kafka.create_topic(topic, 1, 1, &[("cleanup.policy", "compact")]);
    let producer = producer(kafka, &[("linger.ms", "1000")]);
    let keyed = |number| record(topic, "v").key(vec![number]);
    let records = [keyed(0), record(topic, "v"), keyed(2)];
    let futures: Vec<_> = records
        .iter()
        .map(|record| producer.send(record.clone()).expect("taken"))
        .collect();
    producer.flush(SOON).expect("a flush");
    let errors: Vec<_> = futures
        .iter()
        .map(|future| future.get(SOON).expect_err("a refused batch"))
        .collect();
    assert!(
        errors
            .iter()
            .all(|error| error.delivery() == Delivery::NotWritten),
        "{errors:?}"
    );
    assert_eq!(
        (errors[1].kind(), errors[1].broker_code()),
        (ErrorKind::InvalidRecord, Some(87)),
        "{:?}",
        errors[1]
    );
    assert_ne!(
        errors[0].to_string(),
        errors[1].to_string(),
        "the other records are not at fault"
    );
    let metadata = outcome(&producer, keyed(3)).expect("a record after the failure");
    assert_holds(kafka, topic, &[keyed(3)], &[metadata]);
}

fn a_missing_topic_fails_within_max_block_ms(kafka: &KafkaCluster) {
    let producer = producer(kafka, &[("max.block.ms", "1500")]);
    let began = Instant::now();
    let error =
        outcome(&producer, record("limits-missing", "v")).expect_err("a topic that does not exist");
    let took = began.elapsed();
    assert!((1_400..4_000).contains(&took.as_millis()), "{took:?}");
    assert_eq!(
        (error.kind(), error.delivery()),
        (ErrorKind::MetadataTimeout, Delivery::NotWritten),
        "{error}"
    );
    assert!(error.to_string().contains("limits-missing"), "{error}");
    assert!(kafka.partitions("limits-missing").is_empty());
}

fn a_send_continues_when_its_topic_appears(kafka: &KafkaCluster) {
    let topic = "limits-late-topic";
    let producer = producer(kafka, &[]);
    let sent = thread::scope(|scope| {
        let send = scope.spawn(|| outcome(&producer, record(topic, "patience")));
        thread::park_timeout(Duration::from_secs(1));
        kafka.create_topic(topic, 1, 1, &[]);
        send.join().expect("no panic")
    });
    assert_holds(
        kafka,
        topic,
        &[record(topic, "patience")],
        &[sent.expect("a delivery")],
    );
}

fn an_illegal_topic_name_fails_without_waiting(kafka: &KafkaCluster) {
    let producer = producer(kafka, &[]);
    let too_long = "x".repeat(250);
    for name in [
        "",
        ".",
        "..",
        "two words",
        "slash/",
        "h\u{e9}",
        "new\nline",
        &too_long,
    ] {
        let began = Instant::now();
        let error = outcome(&producer, record(name, "v")).expect_err("an illegal name");
        assert!(
            began.elapsed() < Duration::from_secs(10),
            "{name:?} took {:?}",
            began.elapsed()
        );
        assert_eq!(
            (error.kind(), error.delivery()),
            (ErrorKind::InvalidTopic, Delivery::NotWritten),
            "{name:?}: {error}"
        );
    }
    let longest = "x".repeat(249);
    kafka.create_topic(&longest, 1, 1, &[]);
    outcome(&producer, record(&longest, "v")).expect("the longest legal name");
}

/// Java's producer has one connection to a broker, and delivers all of it, too.
fn threads_share_a_connection_if_the_broker_allows_no_further_one(kafka: &KafkaCluster) {
    let topic = "limits-connections";
    kafka.create_topic(topic, 8, 1, &[]);
    // The consumer that reads back has its connections before the limit.
    kafka.consume(topic);
    for (allowed, threads) in [(2, "2"), (2, "4"), (1, "2")] {
        let most = kafka.connections(1) + allowed;
        kafka.alter_broker_configs(&[("max.connections.per.ip", &most.to_string())]);
        await_refusal(kafka, allowed);
        let producer = producer(
            kafka,
            &[
                ("sender.threads", threads),
                ("delivery.timeout.ms", "30000"),
                ("request.timeout.ms", "10000"),
            ],
        );
        let records: Vec<_> = (0..400)
            .map(|number| numbered(topic, number % 8, number as usize))
            .collect();
        let metadata = deliver(&producer, &records);
        assert_eq!(metadata.len(), records.len());
        assert!(kafka.connections(1) <= most, "the broker keeps its limit");
        producer.close(SOON).expect("a close");
        kafka.alter_broker_configs(&[("max.connections.per.ip", "2147483647")]);
    }
    assert_eq!(kafka.consume(topic).len(), 3 * 400);
}

/// Waits until the broker closes a connection that is one more than `allowed`, and then until it has none of these.
fn await_refusal(kafka: &KafkaCluster, allowed: usize) {
    let deadline = Instant::now() + SOON;
    let before = kafka.connections(1);
    let is_refused = || {
        let connect = || TcpStream::connect(kafka.address(1)).expect("a listener");
        let allowed: Vec<_> = (0..allowed).map(|_| connect()).collect();
        let mut other = connect();
        let patience = Some(Duration::from_millis(200));
        other.set_read_timeout(patience).expect("a timeout");
        let read = other.read(&mut [0]);
        drop(allowed);
        !matches!(read, Err(error) if error.kind() == ErrorKindOfIo::WouldBlock)
    };
    while !is_refused() {
        assert!(Instant::now() < deadline, "the limit is not in force");
    }
    while kafka.connections(1) > before {
        assert!(Instant::now() < deadline, "the connections do not end");
        thread::yield_now();
    }
}

fn kafkas_own_topics_are_refused(kafka: &KafkaCluster) {
    kafka.create_topic("limits-own", 1, 1, &[]);
    let producer = producer(kafka, &[]);
    outcome(&producer, record("limits-own", "v")).expect("a delivery");
    // The consumer's group creates Kafka's own topic.
    kafka.consume("limits-own");
    let error =
        outcome(&producer, record("__consumer_offsets", "v")).expect_err("a topic of Kafka's own");
    assert_eq!(
        (error.kind(), error.delivery()),
        (ErrorKind::InvalidTopic, Delivery::NotWritten),
        "{error}"
    );
}

fn a_missing_partition_fails_within_max_block_ms(kafka: &KafkaCluster) {
    let topic = "limits-partition";
    kafka.create_topic(topic, 2, 1, &[]);
    let producer = producer(kafka, &[("max.block.ms", "1500")]);
    let began = Instant::now();
    let error = outcome(&producer, record(topic, "v").partition(2)).expect_err("a third partition");
    let took = began.elapsed();
    assert!((1_400..4_000).contains(&took.as_millis()), "{took:?}");
    assert_eq!(
        (error.kind(), error.delivery()),
        (ErrorKind::UnknownPartition, Delivery::NotWritten),
        "{error}"
    );
    assert_eq!(kafka.end_offset(topic, 0) + kafka.end_offset(topic, 1), 0);
}

fn a_send_continues_when_its_partition_appears(kafka: &KafkaCluster) {
    let topic = "limits-late-partition";
    kafka.create_topic(topic, 1, 1, &[]);
    let producer = producer(kafka, &[]);
    let first = outcome(&producer, numbered(topic, 0, 0)).expect("a delivery");
    let second = thread::scope(|scope| {
        let send = scope.spawn(|| outcome(&producer, numbered(topic, 2, 1)));
        thread::park_timeout(Duration::from_secs(1));
        kafka.add_partitions(topic, 3);
        send.join().expect("no panic")
    });
    let records = [numbered(topic, 0, 0), numbered(topic, 2, 1)];
    assert_holds(
        kafka,
        topic,
        &records,
        &[first, second.expect("a delivery")],
    );
}

pub(crate) fn a_topic_created_again_is_written_from_its_start(kafka: &KafkaCluster) {
    let topic = "limits-again";
    let producer = producer(kafka, &[]);
    for life in 0..3 {
        kafka.create_topic(topic, 1, 1, &[]);
        let records: Vec<_> = (0..50)
            .map(|number| numbered(topic, 0, life * 50 + number))
            .collect();
        let metadata = deliver(&producer, &records);
        assert!(
            metadata
                .iter()
                .map(|metadata| metadata.offset())
                .eq((0..50).map(Some)),
            "life {life}: {metadata:?}"
        );
        assert_holds(kafka, topic, &records, &metadata);
        kafka.delete_topic(topic);
    }
}

/// Runs last in its group, because the cluster needs a moment afterwards.
fn a_hung_broker_costs_no_more_than_delivery_timeout_ms(kafka: &KafkaCluster) {
    let topic = "limits-hung";
    kafka.create_topic(topic, 1, 1, &[]);
    let settings = [
        ("delivery.timeout.ms", "3000"),
        ("request.timeout.ms", "1000"),
        ("linger.ms", "0"),
    ];
    let producer = producer(kafka, &settings);
    let first = outcome(&producer, numbered(topic, 0, 0)).expect("a delivery");
    kafka.pause(1);
    let began = Instant::now();
    let futures: Vec<_> = (1..4)
        .map(|number| producer.send(numbered(topic, 0, number)).expect("taken"))
        .collect();
    let errors: Vec<_> = futures
        .iter()
        .map(|future| future.get(SOON).expect_err("no broker answers"))
        .collect();
    let took = began.elapsed();
    let last = producer.send(numbered(topic, 0, 4)).expect("taken");
    let closing = Instant::now();
    let close = producer.close(Duration::from_secs(1));
    let closed_in = closing.elapsed();
    kafka.resume(1);
    assert!((2_500..6_000).contains(&took.as_millis()), "{took:?}");
    for error in &errors {
        assert_eq!(error.kind(), ErrorKind::DeliveryTimeout, "{error}");
    }
    assert_eq!(
        errors[0].delivery(),
        Delivery::MaybeWritten,
        "{}",
        errors[0]
    );
    assert!(close.is_err(), "a record is left");
    assert!(closed_in < Duration::from_secs(4), "{closed_in:?}");
    assert!(last.get(SOON).is_err());

    // The log has the first record and a part of the uncertain ones, in order and none twice.
    let number = |text: &str| text[..8].parse::<usize>().expect("a number");
    let numbers: Vec<_> = kafka
        .consume(topic)
        .iter()
        .map(|found| number(found.text()))
        .collect();
    assert!(
        numbers.is_sorted_by(|left, right| left < right),
        "{numbers:?}"
    );
    assert_eq!((numbers[0], first.offset()), (0, Some(0)));
}
