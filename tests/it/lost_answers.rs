//! Answers that are lost, late or wrong: a batch that is maybe written is sent again, and the broker finds it in the log.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use kafka_producer::mock::{Fault, MockApi};
use kafka_producer::{Delivery, ErrorCode};

use crate::support::{
    PATIENCE, after_append, builder, cluster, deliver, get_all, numbers, record, send_numbers,
    values,
};

/// Five records are acknowledged. The broker writes the next n records or not, and the connection breaks in both cases. The
/// others are sent while the broker is down. When it is up again, the first one fails again, and so do the others.
#[test]
fn maybe_written_batches_do_not_end_the_producer() {
    for lost in 1..=5 {
        for is_written in [false, true] {
            let cluster = cluster(1, 1);
            let producer = builder(&cluster).batch_size(0).build().unwrap();
            get_all(send_numbers(&producer, 0..5));
            let requests = AtomicUsize::new(0);
            cluster.on(MockApi::Produce, move |_| {
                let request = requests.fetch_add(1, Ordering::Relaxed);
                let last = request + 1 == lost;
                match (request, is_written) {
                    // The broker keeps the answers until all requests are there, and loses them with the last one.
                    (request, true) if request < lost && !last => {
                        Fault::KeepBack(lost, Box::new(Fault::Pass))
                    }
                    (request, true) if request < lost => Fault::LoseAnswer,
                    (request, false) if request < lost && !last => Fault::KeepBack(
                        lost,
                        Box::new(Fault::Error(ErrorCode::NOT_ENOUGH_REPLICAS)),
                    ),
                    (request, false) if request < lost => Fault::Disconnect,
                    (request, _) if request == lost => Fault::Error(ErrorCode::NOT_ENOUGH_REPLICAS),
                    _ => Fault::Pass,
                }
            });
            let mut futures = send_numbers(&producer, 5..5 + lost);
            assert!(cluster.wait_until(PATIENCE, |cluster| {
                cluster.request_count(MockApi::Produce) >= 5 + lost as u64
            }));
            cluster.broker_down(0);
            futures.extend(send_numbers(&producer, 5 + lost..10));
            cluster.broker_up(0).unwrap();
            for (offset, future) in (5..).zip(futures) {
                let written = future.get(PATIENCE).unwrap_or_else(|error| {
                    panic!("{lost} lost, written: {is_written}, record {offset}: {error}")
                });
                assert_eq!(written.offset(), Some(offset));
            }
            assert_eq!(numbers(&cluster), (0..10).collect::<Vec<_>>());
        }
    }
}

/// The answer is lost, and the next attempt is answered as a duplicate.
#[test]
fn a_duplicate_after_a_lost_answer_is_a_success() {
    let cluster = cluster(1, 1);
    let producer = builder(&cluster).batch_size(0).build().unwrap();
    get_all(send_numbers(&producer, 0..5));
    let requests = AtomicUsize::new(0);
    cluster.on(MockApi::Produce, move |_| {
        match requests.fetch_add(1, Ordering::Relaxed) {
            0 => Fault::LoseAnswer,
            1 => Fault::Error(ErrorCode::DUPLICATE_SEQUENCE_NUMBER),
            _ => Fault::Pass,
        }
    });
    let offsets: Vec<_> = send_numbers(&producer, 5..10)
        .into_iter()
        .map(|future| future.get(PATIENCE).unwrap().offset())
        .collect();
    assert_eq!(offsets, [None, Some(6), Some(7), Some(8), Some(9)]);
    assert_eq!(numbers(&cluster), (0..10).collect::<Vec<_>>());
}

/// The batch is written, but the replicas do not have it in time. The batches behind it succeed.
#[test]
fn a_batch_that_was_appended_without_replicas_is_recognized() {
    for known in [0, 5] {
        let cluster = cluster(1, 1);
        let producer = builder(&cluster).batch_size(0).build().unwrap();
        get_all(send_numbers(&producer, 0..known));
        let code = ErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND;
        cluster.fail_next(MockApi::Produce, 1, after_append(code));
        for (offset, future) in (known..).zip(send_numbers(&producer, known..known + 5)) {
            let written = future.get(PATIENCE).unwrap();
            assert_eq!(written.offset(), Some(offset as i64));
        }
        assert_eq!(numbers(&cluster), (0..known + 5).collect::<Vec<_>>());
    }
}

/// Some requests after the first one time out although their batches were written: up to five batches, which a broker
/// remembers, and more.
#[test]
fn batches_that_time_out_in_the_log_are_delivered_once() {
    const EACH: usize = 10;
    for (batches, failed) in [(10, 5), (8, 8)] {
        for fault in [
            Fault::LoseAnswer,
            after_append(ErrorCode::REQUEST_TIMED_OUT),
            Fault::Error(ErrorCode::REQUEST_TIMED_OUT),
        ] {
            let cluster = cluster(1, 1);
            let producer = builder(&cluster)
                .linger(Duration::from_millis(50))
                // A batch has room for ten records.
                .batch_size(61 + EACH * 60)
                .build()
                .unwrap();
            let requests = AtomicUsize::new(0);
            let met = fault.clone();
            cluster.on(MockApi::Produce, move |_| {
                match requests.fetch_add(1, Ordering::Relaxed) {
                    request if (1..failed).contains(&request) => met.clone(),
                    _ => Fault::Pass,
                }
            });
            let value = |index: usize| format!("{index:052}");
            let futures: Vec<_> = (0..batches * EACH)
                .map(|index| producer.send(record(0, value(index))).unwrap())
                .collect();
            producer.flush(PATIENCE).unwrap();
            for (offset, future) in (0..).zip(futures) {
                let written = future.try_get().unwrap();
                assert_eq!(written.unwrap().offset(), Some(offset), "{fault:?}");
            }
            let expected: Vec<_> = (0..batches * EACH).map(value).collect();
            assert_eq!(values(&cluster, 0), expected, "{fault:?}");
        }
    }
}

/// A broker that hangs, and a connection that breaks after the request was sent, with retries and without.
#[test]
fn a_request_without_answer_is_retried_if_retries_are_allowed() {
    for (fault, is_written) in [
        (Fault::NoAnswer, false),
        (Fault::Disconnect, false),
        (Fault::LoseAnswer, true),
    ] {
        for (idempotence, retries) in [(true, 5), (false, 5), (false, 0)] {
            let cluster = cluster(1, 1);
            let producer = builder(&cluster)
                .enable_idempotence(idempotence)
                .retries(retries)
                .request_timeout(Duration::from_millis(300))
                .build()
                .unwrap();
            producer.partitions_for("t").unwrap();
            cluster.fail_next(MockApi::Produce, 1, fault.clone());
            let result = deliver(&producer, 0, "v");
            let what = format!("{fault:?}, idempotence {idempotence}, {retries} retries");
            if retries == 0 {
                let error = result.expect_err(&what);
                assert_eq!(error.delivery(), Delivery::MaybeWritten, "{what}");
            } else {
                result.unwrap_or_else(|error| panic!("{what}: {error}"));
            }
            let copies = match (idempotence, retries) {
                (true, _) => 1,
                (false, 0) => usize::from(is_written),
                // Without idempotence a lost answer costs a duplicate.
                (false, _) => 1 + usize::from(is_written),
            };
            assert_eq!(values(&cluster, 0).len(), copies, "{what}");
        }
    }
}
