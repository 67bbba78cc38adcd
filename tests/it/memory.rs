//! `buffer.memory`: which calls wait for it, for how long, and what they return.

use std::time::{Duration, Instant};

use kafka_producer::mock::{Fault, MockApi, MockCluster};
use kafka_producer::{Delivery, ErrorKind};

use crate::support::{Bytes, PATIENCE, Producer, SOON, Watched, builder, cluster, record, values};

const BUFFER: usize = 256 << 10;

/// A producer with a small buffer that is full, and its cluster, which does not answer.
fn exhausted(max_block: Duration) -> (MockCluster, Producer, usize) {
    let cluster = cluster(1, 4);
    let producer = builder(&cluster)
        .buffer_memory(BUFFER)
        .max_block(max_block)
        .request_timeout(Duration::from_millis(500))
        .build()
        .unwrap();
    while producer.partitions_for("t").is_err() {}
    cluster.on(MockApi::Produce, |_| Fault::NoAnswer);
    let (mut sent, mut refusals) = (0, 0);
    // The open batch of every partition must be full, too.
    for partition in (0..4).cycle() {
        match producer.try_send(record(partition, numbered(sent))) {
            Ok(_) => (sent, refusals) = (sent + 1, 0),
            Err(_) => refusals += 1,
        }
        if refusals == 4 {
            break;
        }
    }
    assert!(
        sent > 100 && sent * 1000 < BUFFER,
        "{sent} records in {BUFFER} bytes"
    );
    (cluster, producer, sent)
}

/// A value of 1000 bytes that begins with its number.
fn numbered(number: usize) -> Bytes {
    format!("{number:01000}").into_bytes()
}

#[test]
fn send_waits_for_max_block_and_then_returns_the_record() {
    let (_cluster, producer, _) = exhausted(Duration::from_millis(300));
    let start = Instant::now();
    let refused = producer
        .send(record(0, numbered(7)).key(b"k".to_vec()))
        .unwrap_err();
    let waited = start.elapsed();
    assert!(
        waited >= Duration::from_millis(300) && waited < SOON,
        "{waited:?}"
    );
    let (error, given_back) = refused.into_parts();
    assert_eq!(
        (error.kind(), error.delivery()),
        (ErrorKind::BufferExhausted, Delivery::NotWritten)
    );
    assert!(error.is_retriable());
    assert_eq!(
        (given_back.key, given_back.value),
        (Some(b"k".to_vec()), Some(numbered(7)))
    );
    let _ = producer.close(Duration::ZERO);
}

#[test]
fn try_send_and_a_max_block_of_zero_never_wait() {
    let (_cluster, producer, _) = exhausted(PATIENCE);
    let start = Instant::now();
    for _ in 0..100 {
        let refused = producer.try_send(record(0, numbered(0))).unwrap_err();
        assert_eq!(refused.error().kind(), ErrorKind::BufferExhausted);
    }
    let (_other_cluster, other, _) = exhausted(Duration::ZERO);
    for _ in 0..100 {
        let refused = other.send(record(0, numbered(0))).unwrap_err();
        assert_eq!(refused.error().kind(), ErrorKind::BufferExhausted);
    }
    assert!(start.elapsed() < SOON);
    for producer in [producer, other] {
        let _ = producer.close(Duration::ZERO);
    }
}

#[test]
fn a_max_block_of_zero_does_not_wait_for_metadata_but_requests_it() {
    let cluster = cluster(1, 1);
    let producer = builder(&cluster).max_block(Duration::ZERO).build().unwrap();
    let refused = producer.send(record(0, "first")).unwrap_err();
    assert_eq!(refused.error().kind(), ErrorKind::MetadataTimeout);
    assert!(
        cluster.wait_until(PATIENCE, |cluster| cluster.request_count(MockApi::Metadata)
            > 0)
    );
    let mut record = refused.into_record();
    let future = loop {
        match producer.try_send(record) {
            Ok(future) => break future,
            Err(refused) => record = refused.into_record(),
        }
    };
    future.get(PATIENCE).unwrap();
    assert_eq!(values(&cluster, 0), ["first"]);
}

#[test]
fn waiting_callers_continue_when_the_broker_recovers_and_nothing_is_lost() {
    let (cluster, producer, sent) = exhausted(PATIENCE);
    const THREADS: usize = 16;
    const EACH: usize = 50;
    let started = Watched::<usize>::default();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (producer, started) = (&producer, started.clone());
            scope.spawn(move || {
                started.change(|started| *started += 1);
                for index in 0..EACH {
                    let number = 1000 * (thread + 1) + index;
                    drop(
                        producer
                            .send(record(number as i32 % 4, numbered(number)))
                            .unwrap(),
                    );
                }
            });
        }
        started.wait(|started| *started == THREADS);
        cluster.remove_all_hooks();
    });
    producer.close(PATIENCE).unwrap();
    let mut numbers: Vec<usize> = (0..4)
        .flat_map(|partition| values(&cluster, partition))
        .map(|value| value.trim_start_matches('0').parse().unwrap_or(0))
        .collect();
    numbers.sort_unstable();
    let waited = (1..=THREADS).flat_map(|thread| (0..EACH).map(move |index| 1000 * thread + index));
    let expected: Vec<usize> = (0..sent).chain(waited).collect();
    assert_eq!(numbers, expected);
}

/// A caller that waits for memory and a batch that lingers must not wait for each other.
#[test]
fn no_batch_lingers_while_a_caller_waits_for_memory() {
    let cluster = cluster(1, 4);
    let producer = builder(&cluster)
        .linger(Duration::from_secs(60))
        .buffer_memory(64 << 10)
        .batch_size(1 << 20)
        .build()
        .unwrap();
    for number in 0..500 {
        drop(
            producer
                .send(record(number % 4, numbered(number as usize)))
                .unwrap(),
        );
    }
    assert!(cluster.request_count(MockApi::Produce) > 0);
    producer.close(PATIENCE).unwrap();
}

#[test]
fn a_record_larger_than_the_buffer_is_refused_at_once() {
    let cluster = cluster(1, 1);
    let producer = builder(&cluster).buffer_memory(100_000).build().unwrap();
    let refused = producer.send(record(0, vec![1; 100_000])).unwrap_err();
    assert_eq!(refused.error().kind(), ErrorKind::RecordTooLarge);
    assert!(refused.error().to_string().contains("buffer.memory"));
    producer
        .send(record(0, vec![1; 90_000]))
        .unwrap()
        .get(PATIENCE)
        .unwrap();
}
