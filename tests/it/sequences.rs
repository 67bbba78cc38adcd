//! Idempotence: how the producer reacts, for each partition by itself, to a broker's errors about sequences and epochs.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kafka_producer::mock::{Fault, MockApi, MockCluster, PartitionError};
use kafka_producer::{Delivery, ErrorCode, ErrorKind, Future};

use crate::support::{
    Builder, PATIENCE, Producer, SOON, after_append, builder, cluster, deliver, get_all, producer,
    record, values,
};

/// A batch for each record, so that several are in flight.
fn one_by_one(cluster: &MockCluster) -> Builder {
    builder(cluster).batch_size(0)
}

/// A producer that the leader of partition 0 knows, because of one record.
fn known(builder: Builder) -> Producer {
    let producer = builder.build().unwrap();
    deliver(&producer, 0, "first").unwrap();
    producer
}

fn send(producer: &Producer, names: &[&str]) -> Vec<Future> {
    let sent = names.iter().map(|name| producer.send(record(0, *name)));
    sent.map(|future| future.unwrap()).collect()
}

/// Answers only when five requests are there. With fewer in flight the test times out.
fn with_five_in_flight(fault: Fault) -> Fault {
    Fault::KeepBack(4, Box::new(fault))
}

/// The epoch and sequence of each batch in the log.
fn stamps(cluster: &MockCluster) -> Vec<(i16, i32)> {
    let batches = cluster.batches("t", 0);
    let stamps = batches
        .iter()
        .map(|batch| (batch.producer_epoch, batch.base_sequence));
    stamps.collect()
}

/// Each batch keeps its sequence however often it is sent, because none of these errors is about sequences.
#[test]
fn five_batches_in_flight_meet_errors_in_any_order_and_keep_their_sequences() {
    for seed in 0..20 {
        let cluster = cluster(1, 1);
        let producer = known(one_by_one(&cluster));
        let random = Mutex::new(fastrand::Rng::with_seed(seed));
        let count = AtomicUsize::new(0);
        cluster.on(MockApi::Produce, move |_| {
            let fault = match random.lock().unwrap().u8(0..7) {
                0 => Fault::Error(ErrorCode::NOT_ENOUGH_REPLICAS),
                1 => Fault::Error(ErrorCode::LEADER_NOT_AVAILABLE),
                2 => Fault::Error(ErrorCode::KAFKA_STORAGE_ERROR),
                3 => after_append(ErrorCode::REQUEST_TIMED_OUT),
                4 => after_append(ErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND),
                _ => Fault::Pass,
            };
            match count.fetch_add(1, Ordering::Relaxed) {
                0 => with_five_in_flight(fault),
                1..20 => fault,
                _ => Fault::Pass,
            }
        });
        let futures = send(&producer, &["a", "b", "c", "d", "e"]);
        for (offset, future) in (1..).zip(futures) {
            let written = future.get(PATIENCE);
            let written = written.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            assert_eq!(written.offset(), Some(offset), "seed {seed}");
        }
        assert_eq!(values(&cluster, 0), ["first", "a", "b", "c", "d", "e"]);
        let expected: Vec<_> = (0..6).map(|sequence| (0, sequence)).collect();
        assert_eq!(stamps(&cluster), expected, "seed {seed}");
    }
}

/// The second to fifth are refused as out of order because the first one is missing: their errors mean nothing.
#[test]
fn the_head_of_the_queue_decides_whether_out_of_order_is_a_loss() {
    let cluster = cluster(1, 1);
    let producer = known(one_by_one(&cluster));
    let later = Fault::Error(ErrorCode::NOT_ENOUGH_REPLICAS);
    cluster.fail_next(MockApi::Produce, 1, with_five_in_flight(later));
    get_all(send(&producer, &["a", "b", "c", "d", "e"]));
    assert_eq!(values(&cluster, 0), ["first", "a", "b", "c", "d", "e"]);
    assert!(stamps(&cluster).iter().all(|(epoch, _)| *epoch == 0));
}

#[test]
fn out_of_order_at_the_head_starts_all_five_over_under_the_next_epoch() {
    for code in [
        ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER,
        ErrorCode::INVALID_PRODUCER_EPOCH,
    ] {
        let cluster = cluster(1, 1);
        let producer = known(one_by_one(&cluster));
        cluster.fail_next(MockApi::Produce, 1, with_five_in_flight(Fault::Error(code)));
        get_all(send(&producer, &["a", "b", "c", "d", "e"]));
        assert_eq!(values(&cluster, 0), ["first", "a", "b", "c", "d", "e"]);
        let expected = [(0, 0), (1, 0), (1, 1), (1, 2), (1, 3), (1, 4)];
        assert_eq!(stamps(&cluster), expected, "{code:?}");
    }
}

/// Cases: retention (the log begins behind the last acknowledged record), no retention, and an unknown start of the log.
#[test]
fn an_unknown_producer_starts_over_with_all_batches_in_flight() {
    for loss in ["retention", "expiry", "unknown start"] {
        let cluster = MockCluster::builder()
            .refuse_unknown_producers(true)
            .start()
            .unwrap();
        cluster.create_topic("t", 1);
        let producer = known(one_by_one(&cluster));
        let fault = match loss {
            "retention" => {
                cluster.delete_records("t", 0, 1);
                Fault::Pass
            }
            "expiry" => {
                cluster.forget_producers("t", 0);
                Fault::Pass
            }
            _ => {
                cluster.forget_producers("t", 0);
                let error = PartitionError::new("t", 0, ErrorCode::UNKNOWN_PRODUCER_ID);
                Fault::PartitionErrors(vec![error.log_start_offset(-1)])
            }
        };
        cluster.fail_next(MockApi::Produce, 1, with_five_in_flight(fault));
        let futures = send(&producer, &["a", "b", "c", "d", "e"]);
        for (offset, future) in (1..).zip(futures) {
            let written = future.get(PATIENCE);
            assert_eq!(written.unwrap().offset(), Some(offset), "{loss}");
        }
        let written = values(&cluster, 0);
        assert_eq!(written[written.len() - 5..], ["a", "b", "c", "d", "e"]);
        let stamps = stamps(&cluster);
        let expected = [(1, 0), (1, 1), (1, 2), (1, 3), (1, 4)];
        assert_eq!(stamps[stamps.len() - 5..], expected, "{loss}");
    }
}

/// Current brokers accept any batch of an unknown producer.
#[test]
fn a_forgotten_producer_continues_if_the_broker_allows_it() {
    let cluster = cluster(1, 1);
    let producer = known(one_by_one(&cluster));
    cluster.forget_producers("t", 0);
    cluster.fail_next(MockApi::Produce, 1, with_five_in_flight(Fault::Pass));
    get_all(send(&producer, &["a", "b", "c", "d", "e"]));
    assert_eq!(values(&cluster, 0), ["first", "a", "b", "c", "d", "e"]);
}

/// The answer was lost, and the broker forgot the producer: the record is maybe written. Under another epoch it could be
/// written twice.
#[test]
fn a_maybe_written_batch_is_not_sent_again_to_a_broker_that_forgot_the_producer() {
    let cluster = Arc::new(
        MockCluster::builder()
            .refuse_unknown_producers(true)
            .start()
            .unwrap(),
    );
    cluster.create_topic("t", 1);
    let producer = known(one_by_one(&cluster));
    cluster.fail_next(MockApi::Produce, 1, Fault::LoseAnswer);
    let books = Arc::downgrade(&cluster);
    let requests = AtomicUsize::new(0);
    cluster.on(MockApi::Produce, move |_| {
        if requests.fetch_add(1, Ordering::Relaxed) == 0 {
            books.upgrade().unwrap().forget_producers("t", 0);
        }
        Fault::Pass
    });
    let error = deliver(&producer, 0, "lost").unwrap_err();
    assert_eq!(
        (error.broker_code(), error.delivery()),
        (Some(59), Delivery::MaybeWritten)
    );
    assert!(!error.is_fatal());
    deliver(&producer, 0, "next").unwrap();
    assert_eq!(values(&cluster, 0), ["first", "lost", "next"]);
    assert_eq!(stamps(&cluster), [(0, 0), (0, 1), (1, 0)]);
}

#[test]
fn five_batches_whose_answers_are_lost_are_recognized_with_their_offsets() {
    let cluster = cluster(1, 1);
    let producer = known(one_by_one(&cluster));
    let requests = AtomicUsize::new(0);
    cluster.on(MockApi::Produce, move |_| {
        match requests.fetch_add(1, Ordering::Relaxed) {
            0 => with_five_in_flight(Fault::Pass),
            // The answers that the broker kept are lost, too.
            4 => Fault::LoseAnswer,
            _ => Fault::Pass,
        }
    });
    let futures = send(&producer, &["a", "b", "c", "d", "e", "f"]);
    for (offset, future) in (1..).zip(futures) {
        assert_eq!(future.get(PATIENCE).unwrap().offset(), Some(offset));
    }
    assert_eq!(values(&cluster, 0), ["first", "a", "b", "c", "d", "e", "f"]);
}

#[test]
fn a_duplicate_among_five_is_a_success_and_the_others_are_not_disturbed() {
    let cluster = cluster(1, 1);
    let producer = known(one_by_one(&cluster));
    // The broker no longer knows the offset of a batch written so long ago.
    let duplicate = after_append(ErrorCode::DUPLICATE_SEQUENCE_NUMBER);
    cluster.fail_next(MockApi::Produce, 1, with_five_in_flight(duplicate));
    let futures = send(&producer, &["a", "b", "c", "d", "e"]);
    let offsets: Vec<_> = futures
        .into_iter()
        .map(|future| future.get(PATIENCE).unwrap().offset())
        .collect();
    assert_eq!(offsets, [None, Some(2), Some(3), Some(4), Some(5)]);
    assert_eq!(values(&cluster, 0), ["first", "a", "b", "c", "d", "e"]);
}

#[test]
fn a_batch_that_fails_for_good_fails_alone_at_every_position() {
    const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];
    for failed in 0..NAMES.len() {
        let cluster = cluster(1, 1);
        let producer = known(one_by_one(&cluster));
        let requests = AtomicUsize::new(0);
        cluster.on(MockApi::Produce, move |_| {
            let request = requests.fetch_add(1, Ordering::Relaxed);
            let fault = match request == failed {
                true => Fault::Error(ErrorCode::INVALID_RECORD),
                false => Fault::Pass,
            };
            match request {
                0 => with_five_in_flight(fault),
                _ => fault,
            }
        });
        let futures = send(&producer, &NAMES);
        for (index, future) in futures.into_iter().enumerate() {
            match future.get(PATIENCE) {
                Ok(_) => assert_ne!(index, failed),
                Err(error) => {
                    assert_eq!((index, error.kind()), (failed, ErrorKind::InvalidRecord));
                    assert_eq!(error.delivery(), Delivery::NotWritten);
                    assert!(!error.is_fatal());
                }
            }
        }
        let mut expected = vec!["first"];
        expected.extend(NAMES);
        expected.remove(failed + 1);
        assert_eq!(values(&cluster, 0), expected);
    }
}

/// Two batches are in flight and in the log, and no answer comes. The first one expires. The broker knows the second one
/// by its stamp. The third one begins the next epoch, because the first one's sequence may be missing.
#[test]
fn a_batch_that_expires_in_flight_fails_alone() {
    let cluster = cluster(1, 1);
    let timeout = Duration::from_millis(1000);
    let producer = known(
        one_by_one(&cluster)
            .request_timeout(timeout)
            .delivery_timeout(timeout),
    );
    cluster.fail_next(
        MockApi::Produce,
        1,
        Fault::KeepBack(1000, Box::new(Fault::Pass)),
    );
    let expires = producer.send(record(0, "expires")).unwrap();
    let error = expires.get(timeout / 2).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    let behind = producer.send(record(0, "behind")).unwrap();
    let error = expires.get(SOON).unwrap_err();
    assert_eq!(
        (error.kind(), error.delivery()),
        (ErrorKind::DeliveryTimeout, Delivery::MaybeWritten)
    );
    assert_eq!(behind.get(SOON).unwrap().offset(), Some(2));
    deliver(&producer, 0, "next").unwrap();
    assert_eq!(values(&cluster, 0), ["first", "expires", "behind", "next"]);
    assert_eq!(stamps(&cluster), [(0, 0), (0, 1), (0, 2), (1, 0)]);
}

/// A partition that has used up the epochs of its producer id gets another id; others keep theirs.
#[test]
fn after_the_highest_epoch_a_new_producer_id_is_requested() {
    let cluster = MockCluster::builder()
        .first_producer_epoch(i16::MAX)
        .start()
        .unwrap();
    cluster.create_topic("t", 2);
    let producer = known(one_by_one(&cluster));
    deliver(&producer, 1, "other").unwrap();
    let lost = Fault::Error(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
    cluster.fail_next(MockApi::Produce, 1, with_five_in_flight(lost));
    get_all(send(&producer, &["a", "b", "c", "d", "e"]));
    deliver(&producer, 1, "other again").unwrap();
    assert_eq!(values(&cluster, 0), ["first", "a", "b", "c", "d", "e"]);
    let batches = cluster.batches("t", 0);
    assert_ne!(batches[0].producer_id, batches[1].producer_id);
    let expected = [(i16::MAX, 0), (0, 0), (0, 1), (0, 2), (0, 3), (0, 4)];
    assert_eq!(stamps(&cluster), expected);
    let other = cluster.batches("t", 1);
    assert_eq!(other[0].producer_id, other[1].producer_id);
    assert_eq!(cluster.request_count(MockApi::InitProducerId), 2);
}

/// A leader that knows a later epoch than the producer has, as after a restored backup.
#[test]
fn an_epoch_that_the_leader_finds_too_old_catches_up() {
    let cluster = cluster(1, 1);
    let producer = producer(&cluster);
    for failures in [1, 4] {
        cluster.fail_next(
            MockApi::Produce,
            failures,
            Fault::Error(ErrorCode::INVALID_PRODUCER_EPOCH),
        );
        deliver(&producer, 0, "v").unwrap();
    }
    assert_eq!(stamps(&cluster), [(1, 0), (5, 0)]);
}
