//! Deadlines and throttling: batches that have waited too long, and answers that come too late.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kafka_producer::mock::{Fault, MockApi, MockCluster};
use kafka_producer::{Delivery, ErrorKind, Future, ProducerRecord};

use crate::support::{
    Gate, PATIENCE, Producer, Record, SOON, Watched, builder, cluster, deliver, get_all, record,
    send_numbers, values,
};

const TIMEOUT: Duration = Duration::from_millis(700);

/// A producer that gives up after [`TIMEOUT`], and its cluster of one broker.
fn impatient() -> (MockCluster, Producer) {
    let cluster = cluster(1, 1);
    let producer = builder(&cluster)
        .request_timeout(TIMEOUT)
        .delivery_timeout(TIMEOUT)
        .build()
        .unwrap();
    (cluster, producer)
}

/// The broker reads a request long after its batch has expired and the next one was written. It recognizes the late batch
/// by its old epoch.
#[test]
fn a_late_copy_of_an_expired_batch_is_not_written_behind_the_next_one() {
    let (cluster, producer) = impatient();
    deliver(&producer, 0, "first").unwrap();
    let (gate, hold) = Gate::new();
    let late = Watched::<bool>::default();
    {
        let late = late.clone();
        let is_first = AtomicBool::new(true);
        cluster.on(MockApi::Produce, move |_| {
            if !is_first.swap(false, Ordering::Relaxed) {
                return Fault::Pass;
            }
            hold.wait();
            late.change(|late| *late = true);
            // The broker has processed the batch, but the connection for the answer is closed.
            Fault::LoseAnswer
        });
    }
    let error = deliver(&producer, 0, "late").unwrap_err();
    assert_eq!(
        (error.kind(), error.delivery()),
        (ErrorKind::DeliveryTimeout, Delivery::MaybeWritten)
    );
    deliver(&producer, 0, "next").unwrap();
    let connections = cluster.connections(0);
    drop(gate);
    late.wait(|late| *late);
    assert!(cluster.wait_until(PATIENCE, |cluster| cluster.connections(0) < connections));
    deliver(&producer, 0, "last").unwrap();
    assert_eq!(values(&cluster, 0), ["first", "next", "last"]);
}

/// Here the late batch is written before the next one is sent.
#[test]
fn a_late_answer_to_an_expired_batch_changes_nothing() {
    let cluster = cluster(1, 2);
    let producer = builder(&cluster)
        .request_timeout(TIMEOUT)
        .delivery_timeout(TIMEOUT)
        .build()
        .unwrap();
    for partition in 0..2 {
        deliver(&producer, partition, "first").unwrap();
    }
    let calls = Watched::<Vec<ErrorKind>>::default();
    cluster.fail_next(
        MockApi::Produce,
        1,
        Fault::delay(TIMEOUT + Duration::from_millis(200)),
    );
    let expired = {
        let calls = calls.clone();
        let callback = move |result: Result<_, kafka_producer::Error>| {
            calls.change(|calls| calls.push(result.unwrap_err().kind()));
        };
        producer.send_with(record(0, "late"), callback).unwrap()
    };
    let error = expired.get(SOON).unwrap_err();
    assert_eq!(error.delivery(), Delivery::MaybeWritten);
    assert!(cluster.wait_until(PATIENCE, |cluster| cluster.end_offset("t", 0) == Some(2)));
    for partition in 0..2 {
        deliver(&producer, partition, "next").unwrap();
    }
    assert_eq!(calls.get(), [ErrorKind::DeliveryTimeout], "reported once");
    let again = expired.get(SOON).unwrap_err();
    assert_eq!(again.to_string(), error.to_string());
    assert_eq!(values(&cluster, 0), ["first", "late", "next"]);
}

/// KAFKA-19012: a broker stops reading in the middle of a request, its batches expire, and their memory serves other
/// topics while the rest of the request is still on its way. Each value names its topic.
#[test]
fn no_memory_is_used_again_while_a_socket_may_still_read_it() {
    const RECORD: usize = 400_000;
    let cluster = MockCluster::start(2).unwrap();
    for topic in ["sick", "well"] {
        cluster.create_topic(topic, 1);
    }
    cluster.set_leader("well", 0, Some(1));
    let producer = builder(&cluster)
        .buffer_memory(16 << 20)
        .request_timeout(TIMEOUT)
        .delivery_timeout(TIMEOUT)
        .build()
        .unwrap();
    let send = |topic: &'static str, index: usize| {
        let mut value = format!("{topic} {index} ").into_bytes();
        value.resize(RECORD, topic.as_bytes()[0]);
        let record: Record = ProducerRecord::new(topic, value);
        producer.send(record.partition(0)).unwrap()
    };
    for topic in ["sick", "well"] {
        send(topic, 0).get(PATIENCE).unwrap();
    }
    for _ in 0..3 {
        let hangs = cluster.on(MockApi::Produce, move |request| match request.broker() {
            0 => Fault::delay(2 * TIMEOUT),
            _ => Fault::Pass,
        });
        // More than the sockets' buffers hold.
        let sick: Vec<_> = (0..15).map(|index| send("sick", index)).collect();
        // Sends before they expire and afterwards, when the memory that the network no longer reads is free again.
        let mut kept = 0;
        while kept < 5 || !sick.iter().all(|future| future.is_done()) {
            kept += usize::from(send("well", kept).get(PATIENCE).is_ok());
        }
        for future in sick {
            let error = future.try_get().unwrap().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::DeliveryTimeout);
        }
        cluster.remove(hangs);
        let mut again = send("sick", 0).get(PATIENCE);
        while again.is_err() {
            again = send("sick", 0).get(PATIENCE);
        }
    }
    for topic in ["sick", "well"] {
        let records = cluster.records(topic, 0);
        assert!(!records.is_empty());
        for record in records {
            let value = record.value.unwrap();
            assert!(value.starts_with(topic.as_bytes()) && value.len() == RECORD);
            let filling = &value[20..];
            assert!(filling.iter().all(|byte| *byte == topic.as_bytes()[0]));
        }
    }
}

/// Java: SenderTest.testAppendInExpiryCallback.
#[test]
fn the_callback_of_an_expired_record_may_send() {
    let (cluster, producer) = impatient();
    deliver(&producer, 0, "first").unwrap();
    cluster.set_leader("t", 0, None);
    let sent = Watched::<Vec<kafka_producer::Future>>::default();
    {
        let (sent, again) = (sent.clone(), producer.clone());
        let callback = move |result: Result<_, kafka_producer::Error>| {
            assert_eq!(result.unwrap_err().kind(), ErrorKind::DeliveryTimeout);
            let future = again.send(record(0, "again")).unwrap();
            sent.change(|sent| sent.push(future));
        };
        producer.send_with(record(0, "expires"), callback).unwrap();
    }
    sent.wait(|sent| !sent.is_empty());
    cluster.set_leader("t", 0, Some(0));
    get_all(sent.change(std::mem::take));
    assert_eq!(values(&cluster, 0), ["first", "again"]);
}

/// KIP-219, with two answers at the same time that ask for different times.
#[test]
fn the_longest_throttle_counts() {
    let cluster = cluster(1, 3);
    let producer = builder(&cluster).batch_size(0).build().unwrap();
    deliver(&producer, 0, "known").unwrap();
    const THROTTLE: Duration = Duration::from_millis(500);
    cluster.fail_next(
        MockApi::Produce,
        1,
        Fault::KeepBack(1, Box::new(Fault::Throttle(THROTTLE))),
    );
    cluster.fail_next(
        MockApi::Produce,
        1,
        Fault::Throttle(Duration::from_millis(1)),
    );
    get_all(vec![
        producer.send(record(0, "a")).unwrap(),
        producer.send(record(0, "b")).unwrap(),
    ]);
    let start = Instant::now();
    deliver(&producer, 0, "c").unwrap();
    let took = start.elapsed();
    assert!(
        took > THROTTLE - Duration::from_millis(100) && took < SOON,
        "{took:?}"
    );
}

/// A broker can throttle for longer than a record may take.
#[test]
fn throttled_records_expire_as_not_written_and_close_is_prompt() {
    let (cluster, producer) = impatient();
    cluster.fail_next(
        MockApi::Produce,
        1,
        Fault::Throttle(Duration::from_secs(3600)),
    );
    deliver(&producer, 0, "first").unwrap();
    let error = deliver(&producer, 0, "waits").unwrap_err();
    assert_eq!(
        (error.kind(), error.delivery()),
        (ErrorKind::DeliveryTimeout, Delivery::NotWritten)
    );
    let waiting = producer.send(record(0, "waits too")).unwrap();
    let start = Instant::now();
    assert!(producer.close(Duration::ZERO).is_err());
    assert!(start.elapsed() < SOON);
    assert_eq!(
        waiting.get(SOON).unwrap_err().delivery(),
        Delivery::NotWritten
    );
    assert_eq!(values(&cluster, 0), ["first"]);
}

/// All records of a batch have the age of its first record.
#[test]
fn the_time_counts_from_the_first_record_of_a_batch() {
    let cluster = cluster(1, 1);
    let (linger, between) = (Duration::from_secs(1), Duration::from_millis(800));
    let delivery_timeout = linger + TIMEOUT;
    let producer = builder(&cluster)
        .linger(linger)
        .request_timeout(TIMEOUT)
        .delivery_timeout(delivery_timeout)
        .build()
        .unwrap();
    producer.partitions_for("t").unwrap();
    cluster.set_leader("t", 0, None);
    let start = Instant::now();
    let first = producer.send(record(0, "first")).unwrap();
    let error = first.get(between).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    let second = producer.send(record(0, "second")).unwrap();
    for future in [first, second] {
        let error = future.get(SOON).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::DeliveryTimeout);
    }
    let took = start.elapsed();
    assert!(took >= delivery_timeout, "{took:?}");
    assert!(took < delivery_timeout + between, "{took:?}");
}

/// A broker that throttles is not silent: the `request.timeout.ms` of requests in flight grows by the throttle time.
#[test]
fn requests_in_flight_have_more_time_while_the_broker_throttles() {
    let cluster = cluster(1, 1);
    let producer = builder(&cluster)
        .batch_size(0)
        .request_timeout(TIMEOUT)
        .build()
        .unwrap();
    deliver(&producer, 0, "first").unwrap();
    cluster.fail_next(
        MockApi::Produce,
        1,
        Fault::KeepBack(1, Box::new(Fault::Throttle(Duration::from_millis(800)))),
    );
    // The answer comes after the request's own timeout.
    cluster.fail_next(
        MockApi::Produce,
        1,
        Fault::delay(TIMEOUT + Duration::from_millis(200)),
    );
    let before = cluster.request_count(MockApi::ApiVersions);
    get_all(vec![
        producer.send(record(0, "a")).unwrap(),
        producer.send(record(0, "b")).unwrap(),
    ]);
    assert_eq!(
        cluster.request_count(MockApi::ApiVersions),
        before,
        "no new connection was made"
    );
    assert_eq!(values(&cluster, 0), ["first", "a", "b"]);
}

/// The broker takes longer than `delivery.timeout.ms`.
#[test]
fn a_record_that_is_answered_too_late_is_maybe_written() {
    let cluster = cluster(3, 1);
    let timeout = Duration::from_millis(500);
    let producer = builder(&cluster)
        .linger(Duration::from_millis(5))
        .request_timeout(timeout)
        .delivery_timeout(2 * timeout)
        .build()
        .unwrap();
    producer.partitions_for("t").unwrap();
    cluster.on(MockApi::Produce, move |_| Fault::delay(4 * timeout));
    let futures = send_numbers(&producer, 0..10);
    producer.flush(PATIENCE).unwrap();
    for future in futures {
        let error = future.try_get().expect("flush waits").unwrap_err();
        assert_eq!(
            (error.kind(), error.delivery()),
            (ErrorKind::DeliveryTimeout, Delivery::MaybeWritten)
        );
    }
}

/// A steady stream of large records, while the broker reads nothing for longer than a record may take. No error is fatal,
/// each record's outcome is true, and the log has each record once and in order.
#[test]
fn a_stream_survives_a_stall_longer_than_its_records_may_take() {
    const BYTES: usize = 100_000;
    let cluster = cluster(1, 1);
    let timeout = Duration::from_millis(600);
    let producer = builder(&cluster)
        .send_buffer(Some(10_000))
        .request_timeout(timeout)
        .delivery_timeout(timeout)
        .build()
        .unwrap();
    let send = |index: usize| {
        let mut value = format!("{index} ").into_bytes();
        value.resize(BYTES, b'-');
        producer.send(record(0, value)).unwrap()
    };
    let mut futures: Vec<Future> = (0..5).map(send).collect();
    futures[4].get(PATIENCE).unwrap();
    let stalls = std::sync::Arc::new(AtomicBool::new(true));
    {
        let stalls = std::sync::Arc::clone(&stalls);
        cluster.on(MockApi::Produce, move |_| {
            if stalls.load(Ordering::Relaxed) {
                Fault::delay(2 * timeout)
            } else {
                Fault::Pass
            }
        });
    }
    let start = Instant::now();
    while start.elapsed() < 2 * timeout {
        let future = send(futures.len());
        let _ = future.get(Duration::from_millis(20));
        futures.push(future);
    }
    stalls.store(false, Ordering::Relaxed);
    let mut successes = 0;
    while successes < 20 {
        let future = send(futures.len());
        successes += usize::from(future.get(PATIENCE).is_ok());
        futures.push(future);
        assert!(start.elapsed() < PATIENCE, "{successes}");
    }
    producer.flush(PATIENCE).unwrap();
    let written: Vec<usize> = values(&cluster, 0)
        .iter()
        .map(|value| value.split_once(' ').unwrap().0.parse().unwrap())
        .collect();
    assert!(
        written.windows(2).all(|pair| pair[0] < pair[1]),
        "{written:?}"
    );
    let lost = check_outcomes(&futures, &written);
    assert!(lost > 0, "the stall must make some records expire");
}

/// Checks the outcome of each record against the numbers in the log. Returns how many records were lost.
fn check_outcomes(futures: &[Future], written: &[usize]) -> usize {
    let mut lost = 0;
    for (index, future) in futures.iter().enumerate() {
        let is_written = written.binary_search(&index).is_ok();
        match future.try_get().unwrap() {
            Ok(metadata) => {
                let offset = metadata.offset().unwrap() as usize;
                assert_eq!(written[offset], index);
            }
            Err(error) => {
                lost += 1;
                assert_eq!(error.kind(), ErrorKind::DeliveryTimeout);
                assert!(!error.is_fatal());
                assert!(
                    !is_written || error.delivery() == Delivery::MaybeWritten,
                    "record {index} is in the log"
                );
            }
        }
    }
    lost
}
