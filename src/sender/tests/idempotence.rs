//! Sequences and epochs: what a retry keeps, what an epoch bump changes, and what the order of the log requires.

use crate::accumulator::partition::PartitionId;
use crate::error::{Delivery, Error, ErrorKind};
use crate::metadata::TopicId;
use crate::protocol::ErrorCode;
use crate::protocol::messages::ProducePartitionResponse;
use crate::sender::Event;
use crate::sender::scripted::{Harness, MS, PRODUCER_ID, Sent, identity, refused, written};

/// A worker whose partition 0 has one record acknowledged, so that more batches of it may be in flight.
fn established() -> Harness {
    let mut worker = Harness::new(|_| {});
    worker.send_batch(0, "first");
    let request = worker.request();
    worker.serve(&request);
    worker
}

/// A worker in a cluster that has topic ids.
fn with_topic_id(partitions: i32) -> Harness {
    Harness::new(|settings| {
        settings.partitions = partitions;
        settings.produce_version = 13;
        settings.topic_id = Some(TopicId([1; 16]));
    })
}

/// The topic is deleted and created again, and the metadata shows it.
fn recreate_topic(worker: &mut Harness) {
    worker.topic_id = Some(TopicId([2; 16]));
    worker.logs.clear();
    worker.publish();
}

/// Sends batches of one record each and returns their requests.
fn pipeline(worker: &mut Harness, names: &[&str]) -> Vec<Sent> {
    for name in names {
        worker.send_batch(0, name);
    }
    worker.run();
    let requests = worker.requests();
    assert_eq!(requests.len(), names.len());
    requests
}

fn names(worker: &Harness) -> String {
    worker.log(0).iter().map(|value| &value[..1]).collect()
}

#[test]
fn at_most_five_batches_of_a_partition_are_in_flight() {
    let mut worker = established();
    for name in ["a", "b", "c", "d", "e", "f"] {
        worker.send_batch(0, name);
    }
    worker.run();
    let requests = worker.requests();
    let sequences: Vec<_> = requests.iter().map(Sent::sequence).collect();
    assert_eq!(sequences, [1, 2, 3, 4, 5]);
    worker.serve(&requests[0]);
    assert_eq!(worker.request().sequence(), 6);
}

#[test]
fn fewer_batches_are_in_flight_if_max_in_flight_is_lower() {
    let mut worker = Harness::new(|settings| settings.sender.max_in_flight = 1);
    for name in ["a", "b"] {
        worker.send_batch(0, name);
    }
    for offset in 0..2 {
        let request = worker.request();
        worker.no_request();
        worker.answer(&request, |_| written(offset));
    }
}

/// A broker that does not know a producer accepts any sequence from it. If the second batch was sent before the first one
/// is answered, it could be written first.
#[test]
fn nothing_follows_the_first_batch_of_an_identity_before_that_is_acknowledged() {
    let mut worker = Harness::new(|_| {});
    worker.send_batch(0, "a");
    worker.send_batch(0, "b");
    let first = worker.request();
    worker.refuse(&first, ErrorCode::NOT_ENOUGH_REPLICAS);
    worker.run_for(500 * MS);
    let again = worker.requests().remove(0);
    assert_eq!(again.batch(), first.batch());
    worker.serve(&again);
    let second = worker.requests().remove(0);
    worker.serve(&second);
    assert_eq!(names(&worker), "ab");
}

#[test]
fn a_retry_sends_the_same_bytes() {
    let mut worker = established();
    let first = pipeline(&mut worker, &["a"]).remove(0);
    worker.refuse(&first, ErrorCode::NOT_ENOUGH_REPLICAS);
    worker.run_for(200 * MS);
    let second = worker.requests().remove(0);
    assert_eq!(first.batch(), second.batch());
    assert_ne!(first.correlation_id, second.correlation_id);
}

#[test]
fn retried_batches_go_one_by_one_in_order_and_before_later_ones() {
    let mut worker = established();
    let requests = pipeline(&mut worker, &["a", "b", "c"]);
    for request in &requests {
        worker.refuse(request, ErrorCode::NOT_ENOUGH_REPLICAS);
    }
    worker.send_batch(0, "d");
    worker.no_request();
    worker.run_for(200 * MS);
    let mut sequences = Vec::new();
    for _ in 0..3 {
        let requests = worker.requests();
        sequences.push(requests.iter().map(Sent::sequence).collect::<Vec<_>>());
        for request in requests {
            worker.serve(&request);
        }
    }
    // Batches that were never sent go together with the last retry.
    assert_eq!(sequences, [vec![1], vec![2], vec![3, 4]]);
    assert_eq!(names(&worker), "fabcd");
}

#[test]
fn a_lost_answer_neither_loses_nor_duplicates_a_record() {
    let mut worker = established();
    let requests = pipeline(&mut worker, &["a", "b"]);
    for request in &requests {
        worker.append(request);
    }
    worker.hang_up(1);
    worker.run_for(2000 * MS);
    for _ in 0..2 {
        for request in worker.requests() {
            worker.serve(&request);
        }
        worker.run_for(200 * MS);
    }
    assert_eq!(names(&worker), "fab");
    assert_eq!(worker.memory_in_use(), 0);
}

/// A broker recognizes duplicates only among the last five batches of a producer.
#[test]
fn no_new_batch_is_sent_behind_one_that_may_be_in_the_log() {
    let mut worker = established();
    let first = worker.send_batch(0, "a");
    for name in ["b", "c", "d", "e"] {
        worker.send_batch(0, name);
    }
    worker.run();
    let requests = worker.requests();
    worker.append(&requests[0]);
    worker.refuse(&requests[0], ErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND);
    for request in &requests[1..] {
        worker.serve(request);
    }
    for name in ["f", "g", "h", "i"] {
        worker.send_batch(0, name);
    }
    // Its next attempt fails, too; batches that are sent together with it do not.
    worker.run_for(200 * MS);
    let mut requests = worker.requests();
    worker.refuse(&requests.remove(0), ErrorCode::REQUEST_TIMED_OUT);
    for _ in 0..10 {
        for request in requests {
            worker.serve(&request);
        }
        worker.run_for(300 * MS);
        requests = worker.requests();
    }
    assert_eq!(names(&worker), "fabcdefghi");
    assert_eq!(first.offset(), Some(1));
}

#[test]
fn a_duplicate_is_a_success_without_an_offset() {
    let mut worker = established();
    let ticket = worker.send_batch(0, "a");
    let request = worker.request();
    worker.refuse(&request, ErrorCode::DUPLICATE_SEQUENCE_NUMBER);
    assert_eq!(ticket.offset(), None);
}

#[test]
fn out_of_order_behind_a_failed_batch_is_retried_under_the_same_epoch() {
    let mut worker = established();
    let requests = pipeline(&mut worker, &["a", "b"]);
    worker.refuse(&requests[0], ErrorCode::NOT_ENOUGH_REPLICAS);
    worker.serve(&requests[1]);
    worker.run_for(500 * MS);
    for sequence in [1, 2] {
        let request = worker.requests().remove(0);
        assert_eq!((request.sequence(), request.epoch()), (sequence, 0));
        worker.serve(&request);
        worker.run();
    }
    assert_eq!(names(&worker), "fab");
}

#[test]
fn out_of_order_at_the_head_starts_over_under_the_next_epoch() {
    for code in [
        ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER,
        ErrorCode::UNKNOWN_PRODUCER_ID,
        ErrorCode::INVALID_PRODUCER_EPOCH,
    ] {
        let mut worker = established();
        let requests = pipeline(&mut worker, &["a", "b"]);
        worker.refuse(&requests[0], code);
        worker.run_for(500 * MS);
        assert!(
            worker.requests().is_empty(),
            "no batch of the new epoch is sent while batches of the old one are in flight"
        );
        worker.refuse(&requests[1], code);
        worker.run_for(500 * MS);
        for sequence in [0, 1] {
            let request = worker.requests().remove(0);
            assert_eq!(
                (request.sequence(), request.epoch()),
                (sequence, 1),
                "{code:?}"
            );
            worker.serve(&request);
            worker.run();
        }
        assert_eq!(names(&worker), "fab");
    }
}

#[test]
fn a_maybe_written_batch_is_not_sent_under_another_epoch() {
    let mut worker = established();
    let ticket = worker.send_batch(0, "a");
    worker.run();
    worker.requests();
    worker.hang_up(1);
    worker.run_for(500 * MS);
    let again = worker.requests().remove(0);
    worker.refuse(&again, ErrorCode::UNKNOWN_PRODUCER_ID);
    worker.run_for(500 * MS);
    assert!(worker.requests().is_empty());
    assert_eq!(ticket.error().delivery(), Delivery::MaybeWritten);
    let next = pipeline(&mut worker, &["b"]).remove(0);
    assert_eq!((next.sequence(), next.epoch()), (0, 1));
}

/// The broker may have written the batch whose answer was lost. Then it finds the batch too large, because the topic's
/// limit was lowered. So the records of the parts may be in the log already.
#[test]
fn parts_of_a_maybe_written_batch_are_not_sent_under_another_epoch() {
    let mut worker = established();
    let tickets = ["a", "b"].map(|value| worker.send(0, &value.repeat(450)));
    let first = worker.request();
    worker.append(&first);
    worker.hang_up(1);
    worker.run_for(500 * MS);
    let again = worker.requests().remove(0);
    worker.refuse(&again, ErrorCode::MESSAGE_TOO_LARGE);
    for _ in 0..5 {
        worker.run_for(500 * MS);
        for request in worker.requests() {
            worker.serve(&request);
        }
    }
    assert_eq!(names(&worker), "fab");
    for ticket in tickets {
        assert_eq!(ticket.error().delivery(), Delivery::MaybeWritten);
    }
}

#[test]
fn a_failed_batch_leaves_no_sequence_gap_for_those_behind_it() {
    let mut worker = established();
    let bad = worker.send_batch(0, "a");
    let good = worker.send_batch(0, "b");
    worker.run();
    let requests = worker.requests();
    worker.refuse(&requests[0], ErrorCode::INVALID_RECORD);
    assert_eq!(bad.error().delivery(), Delivery::NotWritten);
    worker.serve(&requests[1]);
    worker.run_for(500 * MS);
    let request = worker.requests().remove(0);
    assert_eq!((request.sequence(), request.epoch()), (0, 1));
    worker.serve(&request);
    assert_eq!((names(&worker).as_str(), good.offset()), ("fb", Some(1)));
}

#[test]
fn a_batch_is_maybe_written_if_the_leadership_moved_after_the_append() {
    let mut worker = established();
    let ticket = worker.send_batch(0, "a");
    let request = worker.request();
    // Appended at offset 1, and then the leadership moved while the batch waited for the replicas.
    worker.answer(&request, |_| ProducePartitionResponse {
        base_offset: 1,
        ..refused(ErrorCode::NOT_LEADER_OR_FOLLOWER)
    });
    worker.post(Event::ForceClose);
    worker.run();
    assert_eq!(ticket.error().delivery(), Delivery::MaybeWritten);

    let mut worker = established();
    let ticket = worker.send_batch(0, "a");
    let request = worker.request();
    worker.refuse(&request, ErrorCode::NOT_LEADER_OR_FOLLOWER);
    worker.post(Event::ForceClose);
    worker.run();
    assert_eq!(ticket.error().delivery(), Delivery::NotWritten);
}

#[test]
fn records_wait_for_a_producer_id() {
    let mut worker = Harness::new(|settings| settings.has_identity = false);
    let ticket = worker.send_batch(0, "a");
    worker.no_request();
    assert!(worker.requests_identity());
    worker.give_identity(identity(4));
    let request = worker.requests().remove(0);
    let stamp = request.batch().stamp;
    assert_eq!(
        (stamp.producer_id, stamp.producer_epoch, stamp.base_sequence),
        (PRODUCER_ID, 4, 0)
    );
    worker.serve(&request);
    assert_eq!(ticket.offset(), Some(0));
}

#[test]
fn a_refused_producer_id_fails_the_records_that_wait_for_it_and_no_others() {
    let mut worker = Harness::new(|settings| {
        settings.has_identity = false;
        settings.partitions = 3;
    });
    let tickets = [
        worker.send_batch(0, "full"),
        worker.send(0, "behind it"),
        worker.send(1, "part-filled"),
    ];
    worker.run_for(20 * MS);
    let lingering = worker.send(2, "lingers");
    worker.run();
    worker.producer_ids.refuse(worker.now);
    let refused = Error::new(ErrorKind::Authorization, "no");
    worker.post(Event::Identity(Err(refused.clone())));
    for ticket in tickets {
        assert_eq!(ticket.error().kind(), ErrorKind::Authorization);
        assert_eq!(ticket.error().delivery(), Delivery::NotWritten);
    }
    assert!(lingering.result().is_none());
    worker.run_for(20 * MS);
    assert!(worker.requests_identity(), "later records request it again");
    worker.post(Event::Identity(Err(refused)));
    assert!(lingering.result().is_some());
    assert_eq!(worker.memory_in_use(), 0);
    worker.close();
    assert!(worker.sender.is_finished());
}

#[test]
fn after_the_highest_epoch_comes_another_producer_id() {
    let mut worker = Harness::new(|settings| settings.has_identity = false);
    let last = identity(i16::MAX);
    worker.give_identity(last);
    worker.send_batch(0, "a");
    let request = worker.request();
    worker.refuse(&request, ErrorCode::UNKNOWN_PRODUCER_ID);
    worker.run_for(500 * MS);
    assert!(worker.requests().is_empty());
    assert!(worker.requests_identity());
    worker.give_another_id();
    let stamp = worker.requests().remove(0).batch().stamp;
    assert_eq!(
        (stamp.producer_id, stamp.producer_epoch, stamp.base_sequence),
        (PRODUCER_ID + 1, 0, 0)
    );
}

#[test]
fn sequences_continue_at_zero_after_the_largest() {
    let mut worker = established();
    let state = worker.sender.state(PartitionId(0));
    state.identity.continue_at(identity(0), i32::MAX);
    let requests = pipeline(&mut worker, &["a", "b"]);
    let sequences: Vec<_> = requests.iter().map(Sent::sequence).collect();
    assert_eq!(sequences, [i32::MAX, 0]);
}

#[test]
fn a_recreated_topic_gets_sequences_of_its_own() {
    let mut worker = with_topic_id(1);
    worker.send_batch(0, "a");
    let request = worker.request();
    worker.serve(&request);
    recreate_topic(&mut worker);
    worker.send_batch(0, "b");
    worker.no_request();
    worker.give_another_id();
    let request = worker.requests().remove(0);
    assert_eq!(request.batch().topic_id, [2; 16]);
    worker.serve_as_first_of_another_id(&request);
    assert_eq!(names(&worker), "b");
}

#[test]
fn a_topic_id_that_the_leader_does_not_know_is_requested_again_and_the_batch_retried() {
    let mut worker = with_topic_id(1);
    let ticket = worker.send_batch(0, "a");
    let request = worker.request();
    worker.refuse(&request, ErrorCode::UNKNOWN_TOPIC_ID);
    assert!(worker.refresh_is_requested());
    worker.topic_id = Some(TopicId([2; 16]));
    worker.publish();
    worker.run_for(500 * MS);
    worker.give_another_id();
    let request = worker.requests().remove(0);
    assert_eq!(request.batch().topic_id, [2; 16]);
    worker.serve(&request);
    assert_eq!(ticket.offset(), Some(0));
}

/// A cluster that was wiped and kept its id may have given the producer id to another producer.
#[test]
fn partitions_that_begin_after_a_topic_was_recreated_use_another_id() {
    let mut worker = with_topic_id(2);
    worker.send_batch(0, "a");
    let request = worker.request();
    worker.serve(&request);
    recreate_topic(&mut worker);
    // No batch was ever sent to this one.
    worker.send_batch(1, "b");
    worker.no_request();
    assert!(worker.requests_identity());
    worker.give_another_id();
    let stamp = worker.requests().remove(0).batch().stamp;
    assert_eq!(stamp.producer_id, PRODUCER_ID + 1);
}

#[test]
fn a_batch_that_may_be_in_the_log_of_a_deleted_topic_is_not_sent_to_the_recreated_one() {
    let mut worker = with_topic_id(1);
    let lost = worker.send_batch(0, "a");
    worker.request();
    let behind = worker.send_batch(0, "b");
    worker.hang_up(1);
    recreate_topic(&mut worker);
    worker.give_another_id();
    worker.run_for(500 * MS);
    assert_eq!(lost.error().delivery(), Delivery::MaybeWritten);
    let request = worker.requests().remove(0);
    worker.serve_as_first_of_another_id(&request);
    assert_eq!(behind.offset(), Some(0));
}

#[test]
fn a_broker_that_forgot_the_producer_still_gets_the_next_records() {
    let mut worker = established();
    worker.logs.get_mut(&0).unwrap().forget_producers();
    let ticket = worker.send_batch(0, "a");
    let request = worker.request();
    worker.answer(&request, |_| refused(ErrorCode::UNKNOWN_PRODUCER_ID));
    worker.run_for(500 * MS);
    let request = worker.requests().remove(0);
    worker.serve(&request);
    assert_eq!(ticket.offset(), Some(1));
}

#[test]
fn without_idempotence_batches_have_no_identity_and_wait_for_none() {
    let mut worker = Harness::new(|settings| {
        settings.sender.idempotence = false;
        settings.has_identity = false;
    });
    worker.send_batch(0, "a");
    worker.send_batch(0, "b");
    worker.run();
    let requests = worker.requests();
    assert_eq!(requests.len(), 2);
    assert_eq!(requests[0].batch().stamp.producer_id, -1);
    assert!(!worker.requests_identity());
}
