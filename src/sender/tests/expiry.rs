//! `delivery.timeout.ms`: a batch that has waited too long fails, wherever it is.

use crate::error::{Delivery, ErrorKind};
use crate::protocol::ErrorCode;
use crate::protocol::messages::ProducePartitionResponse;
use crate::sender::scripted::{Harness, MS, Sent, Ticket, refused};

fn established() -> Harness {
    let mut worker = Harness::new(|settings| settings.sender.request_timeout = 60_000 * MS);
    worker.send_batch(0, "first");
    let request = worker.request();
    worker.serve(&request);
    worker
}

#[test]
fn batches_that_could_not_be_sent_expire_as_not_written() {
    let mut worker = Harness::new(|settings| settings.connects = false);
    let full = worker.send_batch(0, "full");
    let open = worker.send(0, "open");
    worker.run();
    worker.run_for(4999 * MS);
    assert!(full.result().is_none());
    worker.run_for(MS);
    for ticket in [full, open] {
        assert_eq!(ticket.error().kind(), ErrorKind::DeliveryTimeout);
        assert_eq!(ticket.error().delivery(), Delivery::NotWritten);
    }
    assert_eq!(worker.memory_in_use(), 0);
}

#[test]
fn batches_that_wait_for_a_leader_or_a_producer_id_expire_too() {
    let mut leaderless = Harness::new(|_| {});
    leaderless.move_leader(0, None);
    leaderless.publish();
    let nameless = Harness::new(|settings| settings.has_identity = false);
    for mut worker in [leaderless, nameless] {
        crate::time::set_monotonic_now(worker.now);
        let tickets = [worker.send_batch(0, "full"), worker.send(0, "open")];
        worker.run_for(5000 * MS);
        for ticket in tickets {
            assert_eq!(ticket.error().kind(), ErrorKind::DeliveryTimeout);
        }
    }
}

#[test]
fn an_error_has_the_last_failure_as_its_cause() {
    let mut worker = Harness::new(|_| {});
    let ticket = worker.send_batch(0, "a");
    for _ in 0..20 {
        worker.run();
        for request in worker.requests() {
            worker.refuse(&request, ErrorCode::NOT_ENOUGH_REPLICAS);
        }
        worker.run_for(300 * MS);
    }
    let error = ticket.error();
    let cause = std::error::Error::source(&error)
        .expect("a cause")
        .to_string();
    assert!(cause.contains("NOT_ENOUGH_REPLICAS"), "{cause}");
}

#[test]
fn a_batch_in_flight_expires_as_maybe_written_and_its_late_answer_is_ignored() {
    let mut worker = established();
    let ticket = worker.send_batch(0, "a");
    let request = worker.request();
    worker.run_for(5000 * MS);
    assert_eq!(ticket.error().delivery(), Delivery::MaybeWritten);
    worker.serve(&request);
    assert!(ticket.result().unwrap().is_err());
    let next = worker.send_batch(0, "b");
    let request = worker.request();
    assert_eq!((request.sequence(), request.epoch()), (0, 1));
    worker.serve(&request);
    assert_eq!(next.offset(), Some(2));
    assert_eq!(worker.memory_in_use(), 0);
}

/// Returns two batches of a partition in flight, with their requests. The second one was sent a second after the first.
fn two_in_flight_a_second_apart() -> (Harness, [Ticket; 2], Vec<Sent>) {
    let mut worker = established();
    let first = worker.send_batch(0, "a");
    worker.run();
    worker.advance(1000 * MS);
    let second = worker.send_batch(0, "b");
    worker.run();
    let requests = worker.requests();
    (worker, [first, second], requests)
}

#[test]
fn batches_behind_an_expired_one_wait_for_their_own_answers_before_the_next_epoch() {
    let (mut worker, [first, second], requests) = two_in_flight_a_second_apart();
    worker.run_for(4000 * MS);
    assert!(first.result().is_some() && second.result().is_none());
    worker.send_batch(0, "c");
    worker.no_request();
    // The broker never saw the first one, so it refuses the second, which then cannot have been written.
    worker.answer(&requests[0], |_| refused(ErrorCode::NOT_ENOUGH_REPLICAS));
    worker.serve(&requests[1]);
    worker.run_for(500 * MS);
    let again = worker.requests();
    assert_eq!((again[0].sequence(), again[0].epoch()), (0, 1));
    worker.serve(&again[0]);
    assert_eq!(second.offset(), Some(1));
}

#[test]
fn batches_expire_in_order_even_if_they_were_last_sent_in_another_order() {
    let (mut worker, [old, young], requests) = two_in_flight_a_second_apart();
    // The older one is sent again while the younger one is in flight.
    worker.refuse(&requests[0], ErrorCode::NOT_ENOUGH_REPLICAS);
    worker.run_for(500 * MS);
    assert_eq!(
        worker
            .requests()
            .iter()
            .map(Sent::sequence)
            .collect::<Vec<_>>(),
        [1]
    );
    worker.run_for(3500 * MS);
    assert!(old.result().is_some());
    assert!(young.result().is_none());
    worker.run_for(1000 * MS);
    assert!(young.result().is_some());
    assert_eq!(worker.memory_in_use(), 0);
}

#[test]
fn a_batch_that_waits_for_its_retry_fails_before_a_later_one_that_is_in_flight() {
    let mut worker = established();
    let order = std::sync::Arc::new(parking_lot::Mutex::new(String::new()));
    for name in ["a", "b"] {
        let order = std::sync::Arc::clone(&order);
        worker.send_with(0, &name.repeat(850), move |_| order.lock().push_str(name));
    }
    worker.run();
    let requests = worker.requests();
    worker.run_for(4990 * MS);
    worker.refuse(&requests[0], ErrorCode::NOT_ENOUGH_REPLICAS);
    worker.run_for(10 * MS);
    worker.deliver();
    assert_eq!(*order.lock(), "ab");
}

#[test]
fn bytes_and_memory_of_an_expired_batch_stay_while_the_network_reads_them() {
    let mut worker = established();
    worker.network().stalls = true;
    let ticket = worker.send_batch(0, "a");
    let sent = worker.request();
    worker.run_for(5000 * MS);
    assert!(ticket.result().is_some());
    assert!(worker.memory_in_use() > 0, "the network still reads it");
    assert!(worker.holds(sent.batch()));
    worker.finish_write(sent.link);
    assert_eq!(worker.memory_in_use(), 0);
}

#[test]
fn bytes_that_the_network_still_reads_are_not_restamped() {
    let mut worker = established();
    worker.links().holds_written = true;
    worker.send_batch(0, "a");
    let sent = worker.request();
    worker.refuse(&sent, ErrorCode::UNKNOWN_PRODUCER_ID);
    worker.run_for(500 * MS);
    assert_eq!(worker.requests().remove(0).epoch(), 1);
    assert!(worker.holds(sent.batch()));
}

#[test]
fn an_infinite_timeout_does_not_panic() {
    let forever = std::time::Duration::MAX;
    let mut worker = Harness::new(|settings| {
        settings.sender.topics.delivery_timeout = forever;
        settings.sender.request_timeout = forever;
        settings.sender.connections_max_idle = Some(forever);
        settings.sender.availability_timeout = Some(forever);
    });
    let ticket = worker.send_batch(0, "a");
    let request = worker.request();
    worker.refuse(&request, ErrorCode::NOT_ENOUGH_REPLICAS);
    worker.run_for(200 * MS);
    let request = worker.requests().remove(0);
    worker.serve(&request);
    assert_eq!(ticket.offset(), Some(0));
}

/// SenderTest.testExpiryOfUnsentBatchesShouldNotCauseUnresolvedSequences.
#[test]
fn a_batch_that_expires_unsent_leaves_the_sequences_as_they_were() {
    let mut worker = established();
    worker.hang_up(1);
    worker.network().connects = false;
    let lost = worker.send_batch(0, "a");
    worker.run_for(5000 * MS);
    assert_eq!(lost.error().delivery(), Delivery::NotWritten);
    worker.network().connects = true;
    for link in worker.connecting() {
        worker.connected(link);
    }
    worker.send_batch(0, "b");
    worker.run_for(1000 * MS);
    let request = worker.requests().remove(0);
    assert_eq!((request.sequence(), request.epoch()), (1, 0));
}

/// SenderTest.testExpiryOfFirstBatchShouldNotCauseUnresolvedSequencesIfFutureBatchesSucceed. Java keeps the epoch
/// if all batches behind the expired one succeed. Here the next batches have the next epoch, with the same result.
#[test]
fn batches_sent_with_an_expired_one_can_succeed_and_later_ones_follow_them() {
    let (mut worker, [first, second], requests) = two_in_flight_a_second_apart();
    let mut answers = worker.append(&requests[0]).into_iter();
    worker.answer(&requests[0], |_| ProducePartitionResponse {
        error: ErrorCode::REQUEST_TIMED_OUT,
        ..answers.next().unwrap()
    });
    worker.run_for(4000 * MS);
    let again = worker.requests().remove(0);
    assert_eq!(first.error().delivery(), Delivery::MaybeWritten);
    let third = worker.send_batch(0, "c");
    worker.no_request();
    worker.serve(&requests[1]);
    assert_eq!(second.offset(), Some(2));
    let request = worker.requests().remove(0);
    assert_eq!((request.sequence(), request.epoch()), (0, 1));
    worker.serve(&again);
    worker.serve(&request);
    assert_eq!(third.offset(), Some(3));
}

/// SenderTest.testExpiredBatchesInMultiplePartitions.
#[test]
fn batches_of_one_request_expire_in_all_its_partitions() {
    let mut worker = Harness::new(|settings| {
        settings.partitions = 2;
        settings.sender.request_timeout = 60_000 * MS;
    });
    let tickets = [worker.send_batch(0, "a"), worker.send_batch(1, "b")];
    assert_eq!(worker.request().batches.len(), 2);
    worker.run_for(5000 * MS);
    for ticket in tickets {
        assert_eq!(ticket.error().delivery(), Delivery::MaybeWritten);
    }
    assert_eq!(worker.memory_in_use(), 0);
}

/// SenderTest.testExpiredBatchDoesNotRetry, testExpiredBatchDoesNotSplitOnMessageTooLargeError, testNoDoubleDeallocation.
#[test]
fn no_answer_to_an_expired_batch_makes_it_sent_again_or_split() {
    for code in [
        ErrorCode::NOT_LEADER_OR_FOLLOWER,
        ErrorCode::MESSAGE_TOO_LARGE,
        ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER,
        ErrorCode::INVALID_RECORD,
    ] {
        let mut worker = established();
        let tickets = ["a", "b"].map(|value| worker.send(0, &value.repeat(450)));
        let request = worker.request();
        worker.run_for(5000 * MS);
        worker.refuse(&request, code);
        worker.run_for(2000 * MS);
        assert!(worker.requests().is_empty());
        for ticket in tickets {
            assert_eq!(ticket.error().kind(), ErrorKind::DeliveryTimeout);
        }
        assert_eq!(worker.memory_in_use(), 0);
        worker.send_batch(0, "c");
        assert_eq!(worker.request().epoch(), 1);
    }
}

/// The answer comes in the round in which the batch expires. The batch must not be split: its parts would expire, too.
#[test]
fn a_batch_found_too_large_when_its_time_is_over_is_not_sent_in_parts() {
    let mut worker = established();
    let tickets = ["a", "b"].map(|value| worker.send(0, &value.repeat(450)));
    let request = worker.request();
    worker.advance(5000 * MS);
    worker.refuse(&request, ErrorCode::MESSAGE_TOO_LARGE);
    worker.no_request();
    for ticket in tickets {
        assert_eq!(ticket.error().kind(), ErrorKind::DeliveryTimeout);
        assert_eq!(ticket.error().delivery(), Delivery::NotWritten);
    }
    assert_eq!(worker.memory_in_use(), 0);
}

/// SenderTest.testWhenFirstBatchExpireNoSendSecondBatchIfGuaranteeOrder.
#[test]
fn with_one_request_in_flight_nothing_follows_an_expired_batch_before_its_request_is_answered() {
    let mut worker = Harness::new(|settings| {
        settings.sender.max_in_flight = 1;
        settings.sender.idempotence = false;
        settings.sender.request_timeout = 60_000 * MS;
    });
    let first = worker.send_batch(0, "a");
    let request = worker.request();
    worker.run_for(2500 * MS);
    let second = worker.send_batch(0, "b");
    worker.run_for(2500 * MS);
    assert!(first.result().is_some());
    assert!(worker.requests().is_empty() && second.result().is_none());
    worker.serve(&request);
    let request = worker.requests().remove(0);
    worker.serve(&request);
    assert_eq!(second.offset(), Some(1));
}
