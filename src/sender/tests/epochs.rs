//! Partitions that start over under another epoch or producer id. Each does so by itself, with the batches that it holds.

use crate::error::{Delivery, ErrorKind};
use crate::protocol::ErrorCode;
use crate::sender::Event;
use crate::sender::scripted::{Harness, MS, PRODUCER_ID, Sent, identity, refused, written};

/// Returns a worker with two partitions of one leader. Each has an acknowledged record under the given epoch.
fn two_partitions(epoch: i16) -> Harness {
    let mut worker = Harness::new(|settings| {
        settings.partitions = 2;
        settings.has_identity = false;
    });
    worker.give_identity(identity(epoch));
    for partition in 0..2 {
        worker.send_batch(partition, "first");
        let request = worker.request();
        worker.serve(&request);
    }
    worker
}

fn stamp_of(sent: &Sent, partition: i32) -> (i64, i16, i32) {
    let mut batches = sent.batches.iter();
    let batch = batches
        .find(|batch| batch.partition == partition)
        .expect("a batch of the partition");
    let stamp = batch.stamp;
    (stamp.producer_id, stamp.producer_epoch, stamp.base_sequence)
}

/// In the answer to one request, the leader reports that it does not know the producer in partition 0, and that it does
/// not lead partition 1.
fn fail_both(worker: &mut Harness, request: &Sent) {
    worker.answer(request, |batch| {
        refused(match batch.partition {
            0 => ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER,
            _ => ErrorCode::NOT_LEADER_OR_FOLLOWER,
        })
    });
}

/// SenderTest.testEpochBumpOnOutOfOrderSequenceForNextBatchWhenThereIsNoBatchInFlight. Java moves the other
/// partitions to the new epoch, too; here each partition has its own epoch.
#[test]
fn a_partition_that_starts_over_leaves_the_others_alone() {
    let mut worker = two_partitions(0);
    let ticket = worker.send_batch(0, "a");
    let request = worker.request();
    worker.refuse(&request, ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
    worker.run_for(200 * MS);
    let again = worker.requests().remove(0);
    assert_eq!(stamp_of(&again, 0), (PRODUCER_ID, 1, 0));
    worker.serve(&again);
    assert_eq!(ticket.offset(), Some(1));
    worker.send_batch(1, "b");
    let other = worker.request();
    assert_eq!(stamp_of(&other, 1), (PRODUCER_ID, 0, 1));
}

/// SenderTest.testBatchesDrainedWithOldProducerIdShouldSucceedOnSubsequentRetry.
#[test]
fn a_retry_keeps_its_identity_while_another_partition_starts_over() {
    let mut worker = two_partitions(0);
    let tickets = [worker.send_batch(0, "a"), worker.send_batch(1, "b")];
    let request = worker.request();
    fail_both(&mut worker, &request);
    for _ in 0..2 {
        worker.run_for(400 * MS);
        let again = worker.requests();
        let stamps: Vec<_> = again
            .iter()
            .flat_map(|sent| &sent.batches)
            .map(|batch| (batch.partition, batch.stamp.producer_epoch))
            .collect();
        assert!(stamps.iter().all(|(partition, epoch)| match partition {
            0 => *epoch == 1,
            _ => *epoch == 0,
        }));
        for sent in again {
            worker.answer(&sent, |batch| match batch.partition {
                0 => written(1),
                _ => refused(ErrorCode::NOT_LEADER_OR_FOLLOWER),
            });
        }
    }
    worker.run_for(1000 * MS);
    let last = worker.requests().remove(0);
    assert_eq!(stamp_of(&last, 1), (PRODUCER_ID, 0, 1));
    worker.serve(&last);
    assert_eq!(tickets.map(|ticket| ticket.offset()), [Some(1), Some(1)]);
}

/// SenderTest.testEpochBumpOnOutOfOrderSequenceForNextBatchWhenBatchInFlightFails, with retries of 1.
#[test]
fn a_batch_out_of_retries_leaves_no_sequence_gap() {
    for code in [
        ErrorCode::NOT_LEADER_OR_FOLLOWER,
        // The leader may have the batch. The next batch still follows under another epoch.
        ErrorCode::REQUEST_TIMED_OUT,
    ] {
        let mut worker = Harness::new(|settings| settings.sender.retries = 1);
        worker.send_batch(0, "first");
        let request = worker.request();
        worker.serve(&request);
        let ticket = worker.send_batch(0, "a");
        let request = worker.request();
        worker.refuse(&request, code);
        worker.run_for(200 * MS);
        let again = worker.requests().remove(0);
        assert_eq!(again.batch(), request.batch());
        worker.refuse(&again, code);
        assert_eq!(ticket.error().broker_code(), Some(code.code()));
        let next = worker.send_batch(0, "b");
        worker.run_for(500 * MS);
        let request = worker.requests().remove(0);
        assert_eq!(stamp_of(&request, 0), (PRODUCER_ID, 1, 0));
        worker.serve(&request);
        assert_eq!(next.offset(), Some(1));
    }
}

/// SenderTest.testResetOfProducerStateShouldAllowQueuedBatchesToDrain.
#[test]
fn a_partition_without_epochs_left_waits_for_another_id_and_delays_no_other() {
    let mut worker = two_partitions(i16::MAX);
    let tickets = [worker.send_batch(0, "a"), worker.send_batch(1, "b")];
    let request = worker.request();
    fail_both(&mut worker, &request);
    worker.run_for(500 * MS);
    let again = worker.requests().remove(0);
    assert_eq!(stamp_of(&again, 1), (PRODUCER_ID, i16::MAX, 1));
    worker.serve(&again);
    assert_eq!(tickets[1].offset(), Some(1));
    assert!(worker.requests_identity() && tickets[0].result().is_none());

    worker.give_another_id();
    let first = worker.requests().remove(0);
    assert_eq!(stamp_of(&first, 0), (PRODUCER_ID + 1, 0, 0));
    worker.serve(&first);
    assert_eq!(tickets[0].offset(), Some(1));
    // The other partition keeps its id.
    worker.send_batch(1, "c");
    assert_eq!(stamp_of(&worker.request(), 1), (PRODUCER_ID, i16::MAX, 2));
}

/// SenderTest.testCloseWithProducerIdReset.
#[test]
fn close_waits_for_the_producer_id_that_the_remaining_records_need() {
    let mut worker = two_partitions(i16::MAX);
    let tickets = [worker.send_batch(0, "a"), worker.send_batch(1, "b")];
    let request = worker.request();
    fail_both(&mut worker, &request);
    worker.close();
    for _ in 0..2 {
        worker.run_for(500 * MS);
        assert!(!worker.sender.is_finished());
        for request in worker.requests() {
            worker.serve(&request);
        }
        if worker.requests_identity() {
            worker.give_another_id();
        }
    }
    for request in worker.requests() {
        worker.serve(&request);
    }
    assert!(worker.sender.is_finished());
    assert_eq!(tickets.map(|ticket| ticket.offset()), [Some(1), Some(1)]);
    assert_eq!(worker.sender.undelivered(), 0);
}

/// SenderTest.testForceCloseWithProducerIdReset.
#[test]
fn a_forced_close_waits_for_no_producer_id() {
    let mut worker = two_partitions(i16::MAX);
    let tickets = [worker.send_batch(0, "a"), worker.send_batch(1, "b")];
    let request = worker.request();
    fail_both(&mut worker, &request);
    worker.close();
    worker.post(Event::ForceClose);
    assert!(worker.sender.is_finished());
    for ticket in tickets {
        assert_eq!(ticket.error().kind(), ErrorKind::ForceClosed);
        assert_eq!(ticket.error().delivery(), Delivery::NotWritten);
    }
    assert_eq!(worker.memory_in_use(), 0);
}

/// The leader knows a later epoch than this producer has: another program may use the same id, from a copied image.
#[test]
fn an_epoch_below_that_of_the_leader_catches_up() {
    let mut worker = two_partitions(0);
    let ticket = worker.send_batch(0, "a");
    worker.run();
    for epoch in 0..4 {
        let request = worker.requests().remove(0);
        assert_eq!(request.epoch(), epoch);
        worker.refuse(&request, ErrorCode::INVALID_PRODUCER_EPOCH);
        worker.run_for(990 * MS);
    }
    let request = worker.requests().remove(0);
    worker.serve(&request);
    assert_eq!(ticket.offset(), Some(1));
}

/// SenderTest.testIdempotenceWithMultipleInflightsWhereFirstFailsFatallyAndSequenceOfFutureBatchesIsAdjusted, with the
/// error at each position.
#[test]
fn a_batch_that_fails_for_good_restarts_the_batches_behind_it_and_not_those_before_it() {
    for failed in 0..4 {
        let mut worker = Harness::new(|_| {});
        worker.send_batch(0, "0");
        let request = worker.request();
        worker.serve(&request);
        let tickets = ["1", "2", "3", "4"].map(|name| worker.send_batch(0, name));
        worker.run();
        for (index, request) in worker.requests().iter().enumerate() {
            if index == failed {
                worker.refuse(request, ErrorCode::TOPIC_AUTHORIZATION_FAILED);
            } else {
                worker.serve(request);
            }
        }
        let mut epochs = Vec::new();
        for _ in 0..4 {
            worker.run_for(500 * MS);
            for request in worker.requests() {
                epochs.push((request.epoch(), request.sequence()));
                worker.serve(&request);
            }
        }
        let behind = 3 - failed as i32;
        let expected: Vec<_> = (0..behind).map(|sequence| (1, sequence)).collect();
        assert_eq!(epochs, expected, "the one at {failed} failed");
        let mut log = String::from("01234");
        log.remove(failed + 1);
        let written: String = worker.log(0).iter().map(|value| &value[..1]).collect();
        assert_eq!(written, log);
        assert_eq!(tickets[failed].error().delivery(), Delivery::NotWritten);
    }
}
