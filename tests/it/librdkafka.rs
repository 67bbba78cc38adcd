//! Cases of librdkafka's own tests, by the number of each.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use kafka_producer::mock::{Fault, MockApi, MockCluster, PartitionError};
use kafka_producer::{Delivery, ErrorCode, ErrorKind, Future};

use crate::support::{
    Builder, Gate, PATIENCE, Producer, SOON, builder, cluster, deliver, get_all, producer, record,
    values,
};

fn after_append(code: ErrorCode) -> Fault {
    Fault::PartitionErrors(vec![PartitionError::new("t", 0, code).after_append()])
}

fn send(producer: &Producer, values: impl IntoIterator<Item = usize>) -> Vec<Future> {
    let sent = values
        .into_iter()
        .map(|value| producer.send(record(0, value.to_string())));
    sent.map(|future| future.unwrap()).collect()
}

fn numbers(cluster: &MockCluster) -> Vec<usize> {
    let values = values(cluster, 0);
    values.iter().map(|value| value.parse().unwrap()).collect()
}

/// 0144 (issue 3584). Five records, then n that the broker takes or does not, with the connection lost either way; the
/// rest while it is down. After it has come back the first one fails once more, and the others with it.
#[test]
fn n_0144_batches_that_can_be_written_cost_no_producer() {
    for lost in 1..=5 {
        for is_written in [false, true] {
            let cluster = cluster(1, 1);
            let producer = builder(&cluster).batch_size(0).build().unwrap();
            get_all(send(&producer, 0..5));
            let requests = AtomicUsize::new(0);
            cluster.on(MockApi::Produce, move |_| {
                let request = requests.fetch_add(1, Ordering::Relaxed);
                let last = request + 1 == lost;
                match (request, is_written) {
                    // Kept until all are there, and lost with the last one.
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
            let mut futures = send(&producer, 5..5 + lost);
            assert!(cluster.wait_until(PATIENCE, |cluster| {
                cluster.request_count(MockApi::Produce) >= 5 + lost as u64
            }));
            cluster.broker_down(0);
            futures.extend(send(&producer, 5 + lost..10));
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

/// 0144: the answer is lost, and the next attempt is told that it was there already.
#[test]
fn n_0144_a_duplicate_after_a_lost_answer_is_a_success() {
    let cluster = cluster(1, 1);
    let producer = builder(&cluster).batch_size(0).build().unwrap();
    get_all(send(&producer, 0..5));
    let requests = AtomicUsize::new(0);
    cluster.on(MockApi::Produce, move |_| {
        match requests.fetch_add(1, Ordering::Relaxed) {
            0 => Fault::LoseAnswer,
            1 => Fault::Error(ErrorCode::DUPLICATE_SEQUENCE_NUMBER),
            _ => Fault::Pass,
        }
    });
    let offsets: Vec<_> = send(&producer, 5..10)
        .into_iter()
        .map(|future| future.get(PATIENCE).unwrap().offset())
        .collect();
    assert_eq!(offsets, [None, Some(6), Some(7), Some(8), Some(9)]);
    assert_eq!(numbers(&cluster), (0..10).collect::<Vec<_>>());
}

/// 0144: written, and the replicas did not follow in time. Those behind it succeed.
#[test]
fn n_0144_what_was_appended_without_replicas_is_known_again() {
    for known in [0, 5] {
        let cluster = cluster(1, 1);
        let producer = builder(&cluster).batch_size(0).build().unwrap();
        get_all(send(&producer, 0..known));
        let code = ErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND;
        cluster.fail_next(MockApi::Produce, 1, after_append(code));
        for (offset, future) in (known..).zip(send(&producer, known..known + 5)) {
            let written = future.get(PATIENCE).unwrap();
            assert_eq!(written.offset(), Some(offset as i64));
        }
        assert_eq!(numbers(&cluster), (0..known + 5).collect::<Vec<_>>());
    }
}

/// 0090: the first requests but one time out although they were written; within a broker's memory of five batches and
/// beyond it.
#[test]
fn n_0090_batches_that_time_out_in_the_log_are_delivered_once() {
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
                // Ten records and no more.
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

/// 0094: a steady stream of large records while the broker reads nothing for longer than a record may take. Nothing is
/// fatal; what is told of each record is true; what is in the log is there once and in order.
#[test]
fn n_0094_a_stream_survives_a_stall_longer_than_its_records_may_take() {
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
    let mut lost = 0;
    for (index, future) in futures.iter().enumerate() {
        let is_written = written.binary_search(&index).is_ok();
        match future.try_get().unwrap() {
            Ok(metadata) => {
                let place = metadata.offset().unwrap() as usize;
                assert_eq!(written[place], index);
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
    assert!(lost > 0, "the stall was meant to cost some");
}

/// 0068: the broker takes longer than the records may.
#[test]
fn n_0068_what_is_answered_too_late_is_maybe_written() {
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
    let futures = send(&producer, 0..10);
    producer.flush(PATIENCE).unwrap();
    for future in futures {
        let error = future.try_get().expect("flush waits").unwrap_err();
        assert_eq!(
            (error.kind(), error.delivery()),
            (ErrorKind::DeliveryTimeout, Delivery::MaybeWritten)
        );
    }
}

/// 0076: a broker that hangs, and a connection that breaks when the request has been sent, with retries and without.
#[test]
fn n_0076_a_request_without_answer_is_retried_where_retries_are_allowed() {
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

/// 0076, do_test_produce_retry_invalid_msg: bytes that were damaged on their way (CORRUPT_MESSAGE) are sent again.
#[test]
fn n_0076_a_batch_damaged_on_its_way_is_sent_again() {
    let cluster = cluster(1, 1);
    let producer = producer(&cluster);
    cluster.fail_next(
        MockApi::Produce,
        1,
        Fault::Error(ErrorCode::CORRUPT_MESSAGE),
    );
    deliver(&producer, 0, "hello").unwrap();
    assert_eq!(cluster.request_count(MockApi::Produce), 2);
}

/// 0143: the times between attempts double up to the maximum, each within a fifth.
#[test]
fn n_0143_attempts_are_apart_by_an_exponential_backoff() {
    const FAILURES: usize = 6;
    let cluster = cluster(1, 1);
    let (first, most) = (Duration::from_millis(50), Duration::from_millis(300));
    let producer = builder(&cluster)
        .retry_backoff(first)
        .retry_backoff_max(most)
        .build()
        .unwrap();
    cluster.fail_next(
        MockApi::Produce,
        FAILURES,
        Fault::Error(ErrorCode::NOT_ENOUGH_REPLICAS),
    );
    deliver(&producer, 0, "v").unwrap();
    let times: Vec<Instant> = cluster
        .requests()
        .iter()
        .filter(|request| request.api == MockApi::Produce)
        .map(|request| request.at)
        .collect();
    assert_eq!(times.len(), FAILURES + 1);
    for (failure, pair) in (0..).zip(times.windows(2)) {
        let nominal = (first * 2u32.pow(failure)).min(most);
        let waited = pair[1] - pair[0];
        assert!(waited >= nominal * 4 / 5, "after {failure}: {waited:?}");
        // A busy machine adds to it.
        assert!(
            waited <= nominal * 6 / 5 + Duration::from_millis(400),
            "after {failure}: {waited:?}"
        );
    }
}

/// 0086 purges; here a close that waits for nothing has the same rules: of what is queued it is known that it is not
/// written, of what is in flight it is not.
#[test]
fn n_0086_close_at_once_tells_the_queued_from_what_is_in_flight() {
    const RECORDS: usize = 29;
    for idempotence in [false, true] {
        for is_online in [false, true] {
            let cluster = cluster(1, 1);
            let producer = purged(&cluster, idempotence);
            producer.partitions_for("t").unwrap();
            let (gate, hold) = Gate::new();
            let requests = AtomicUsize::new(0);
            cluster.on(MockApi::Produce, move |_| {
                // The first request is answered; the second one hangs.
                if requests.fetch_add(1, Ordering::Relaxed) == 1 {
                    hold.wait();
                }
                Fault::Pass
            });
            if !is_online {
                cluster.broker_down(0);
            }
            let futures: Vec<_> = (0..RECORDS)
                .map(|index| producer.send(record(0, format!("{index:052}"))).unwrap())
                .collect();
            if is_online {
                assert!(cluster.wait_until(PATIENCE, |cluster| {
                    cluster.request_count(MockApi::Produce) == 2
                }));
                futures[9].get(SOON).unwrap();
            }
            assert!(producer.close(Duration::ZERO).is_err());
            drop(gate);
            for (index, future) in futures.into_iter().enumerate() {
                let result = future.try_get().expect("close has settled it");
                let expected = match index {
                    0..10 if is_online => None,
                    10..20 if is_online => Some(Delivery::MaybeWritten),
                    _ => Some(Delivery::NotWritten),
                };
                let error = result.err();
                assert_eq!(
                    error.as_ref().map(kafka_producer::Error::delivery),
                    expected,
                    "record {index}, online: {is_online}"
                );
                assert!(error.is_none_or(|error| error.kind() == ErrorKind::ForceClosed));
            }
        }
    }
}

/// Ten records a batch, one request in flight, and a linger that only full batches do not wait for.
fn purged(cluster: &MockCluster, idempotence: bool) -> Producer {
    let builder: Builder = builder(cluster);
    builder
        .linger(Duration::from_secs(5))
        .batch_size(61 + 10 * 60)
        .max_in_flight_requests_per_connection(1)
        .enable_idempotence(idempotence)
        .build()
        .unwrap()
}

/// 0093 and 0144 together: every request of a broker fails in another way, and the neighbour's records are in time.
#[test]
fn n_0093_a_broker_in_trouble_starves_no_other() {
    let cluster = cluster(2, 2);
    let producer = builder(&cluster).batch_size(0).build().unwrap();
    for partition in 0..2 {
        deliver(&producer, partition, "0").unwrap();
    }
    let random = Mutex::new(fastrand::Rng::with_seed(5));
    let troubled = cluster.on(MockApi::Produce, move |request| {
        if request.broker() == 1 {
            return Fault::Pass;
        }
        match random.lock().unwrap().u8(0..5) {
            0 => Fault::Disconnect,
            1 => Fault::Error(ErrorCode::NOT_ENOUGH_REPLICAS),
            2 => Fault::Error(ErrorCode::KAFKA_STORAGE_ERROR),
            3 => Fault::delay(Duration::from_millis(50)),
            _ => Fault::Error(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER),
        }
    });
    let stuck = send(&producer, 1..6);
    for index in 0..100 {
        let future = producer.send(record(1, index.to_string())).unwrap();
        future.get(SOON).unwrap();
    }
    cluster.remove(troubled);
    for future in stuck {
        // One that can be written and is out of order then cannot be sent again.
        if let Err(error) = future.get(PATIENCE) {
            assert_eq!(error.delivery(), Delivery::MaybeWritten, "{error}");
        }
    }
    let written = numbers(&cluster);
    assert!(written.windows(2).all(|pair| pair[0] < pair[1]));
}
