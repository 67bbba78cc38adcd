//! Another cluster replaces the one that the worker knows.

use crate::error::Delivery;
use crate::protocol::ErrorCode;
use crate::sender::Event;
use crate::sender::scripted::{Harness, MS, identity};

/// A worker in a cluster with an id, which gave it an identity.
fn worker() -> Harness {
    let mut worker = Harness::new(|settings| {
        settings.partitions = 2;
        settings.has_identity = false;
    });
    worker.cluster_id = Some("first");
    worker.publish();
    worker.producer_ids.give_now(identity(0));
    worker
}

/// The metadata shows another cluster, which has given no identity yet.
fn replace(worker: &mut Harness) {
    worker.cluster_id = Some("second");
    worker.logs.clear();
    worker.publish();
}

#[test]
fn nothing_is_sent_before_the_new_cluster_has_given_an_identity() {
    let mut worker = worker();
    let ticket = worker.send_batch(0, "a");
    let request = worker.request();
    worker.serve(&request);
    assert_eq!(ticket.offset(), Some(0));
    replace(&mut worker);
    let ticket = worker.send_batch(0, "b");
    // An identity of the previous cluster arrives late.
    worker.post(Event::Identity(Ok(())));
    worker.no_request();
    assert!(worker.requests_identity());
    worker.give_another_id();
    let request = worker.requests().remove(0);
    worker.serve_as_first_of_another_id(&request);
    assert_eq!(ticket.offset(), Some(0));
}

/// The worker has not seen the new cluster yet when its identity arrives.
#[test]
fn an_identity_of_the_new_cluster_is_not_used_in_the_one_before() {
    let mut worker = worker();
    worker.cluster_id = Some("second");
    worker.publish();
    worker.producer_ids.give_now(identity(3));
    // The metadata shows the old cluster's brokers again.
    worker.cluster_id = Some("first");
    worker.publish();
    worker.send_batch(0, "a");
    worker.post(Event::Identity(Ok(())));
    worker.no_request();
    assert!(worker.requests_identity());
}

#[test]
fn batches_in_flight_are_maybe_written_and_others_go_to_the_new_cluster() {
    for idempotence in [true, false] {
        let mut worker = worker();
        worker.sender.config.idempotence = idempotence;
        worker.sender.config.max_in_flight = 1;
        let under_way = worker.send_batch(0, "a");
        let old = worker.request();
        let behind = worker.send_batch(0, "b");
        let other = worker.send_batch(1, "c");
        worker.no_request();
        replace(&mut worker);
        worker.run();
        let error = under_way.error();
        assert_eq!(error.delivery(), Delivery::MaybeWritten);
        let message = error.to_string();
        assert!(
            message.contains("first") && message.contains("second"),
            "{message}"
        );
        assert!(behind.result().is_none() && other.result().is_none());
        assert_eq!(worker.network().closed, [old.link]);
        // Id and epoch are the same as before: only the cluster that gave them distinguishes the two identities.
        worker.give_identity(identity(0));
        worker.run_for(100 * MS);
        while behind.result().is_none() || other.result().is_none() {
            let requests = worker.requests();
            assert!(!requests.is_empty());
            for request in requests {
                assert_ne!(request.link, old.link);
                for batch in request.batches.iter().filter(|_| idempotence) {
                    assert_eq!(batch.stamp.base_sequence, 0);
                }
                worker.serve(&request);
            }
        }
        assert_eq!(behind.offset(), Some(0));
        // Late events of the old link.
        worker.serve(&old);
        assert_eq!(worker.memory_in_use(), 0);
    }
}

/// The link broke first, and the batch waits to be sent again.
#[test]
fn a_retry_that_may_be_in_the_old_log_is_not_sent_to_the_new_cluster() {
    let mut worker = worker();
    let lost = worker.send_batch(0, "a");
    worker.request();
    worker.hang_up(1);
    assert!(lost.result().is_none());
    replace(&mut worker);
    worker.run();
    assert_eq!(lost.error().delivery(), Delivery::MaybeWritten);
    worker.give_identity(identity(0));
    worker.run_for(2000 * MS);
    assert!(worker.requests().is_empty());
}

/// The batch was sealed under an identity with the same id and epoch, and is certainly not written.
#[test]
fn a_batch_that_was_refused_begins_the_sequences_of_the_new_cluster() {
    let mut worker = worker();
    worker.send_batch(0, "first");
    let request = worker.request();
    worker.serve(&request);
    let refused = worker.send_batch(0, "a");
    let request = worker.request();
    assert_eq!(request.sequence(), 1);
    worker.refuse(&request, ErrorCode::NOT_LEADER_OR_FOLLOWER);
    replace(&mut worker);
    worker.run();
    worker.give_identity(identity(0));
    let request = worker.requests().remove(0);
    assert_eq!((request.sequence(), request.epoch()), (0, 0));
    worker.serve(&request);
    assert_eq!(refused.offset(), Some(0));
}

#[test]
fn metadata_without_a_cluster_id_counts_as_the_same_cluster() {
    let mut worker = worker();
    let ticket = worker.send_batch(0, "a");
    let request = worker.request();
    worker.cluster_id = None;
    worker.publish();
    worker.run();
    assert!(ticket.result().is_none());
    worker.serve(&request);
    assert_eq!(ticket.offset(), Some(0));
}
