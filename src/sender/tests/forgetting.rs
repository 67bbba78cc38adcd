//! Partitions of topics that are no longer used: the worker keeps nothing of them, and they begin again under a new
//! identity.

use std::collections::HashSet;
use std::time::Duration;

use crate::error::ErrorKind;
use crate::metadata::{Cluster, TopicMap};
use crate::sender::scripted::{Harness, MS, PRODUCER_ID, TOPIC, identity};

/// Makes the metadata thread forget the topic, as if it was not used for `metadata.max.idle.ms`.
fn forget(worker: &mut Harness) {
    let without = Cluster {
        topics: TopicMap::default(),
        ..(*worker.metadata.cluster()).clone()
    };
    worker.metadata.publish_cluster(without);
    let idle = HashSet::from([TOPIC.into()]);
    worker.accumulator.topics.forget(&idle);
    worker.run();
}

fn used_once(epoch: i16) -> Harness {
    let mut worker = Harness::new(|settings| settings.has_identity = false);
    worker.give_identity(identity(epoch));
    worker.send_batch(0, "before");
    let request = worker.request();
    worker.serve(&request);
    worker
}

#[test]
fn a_forgotten_partition_leaves_nothing_and_begins_again_under_the_next_epoch() {
    let mut worker = used_once(4);
    for epoch in 5..8 {
        forget(&mut worker);
        assert!(worker.sender.partitions.is_empty());
        worker.publish();
        let ticket = worker.send_batch(0, "after");
        let request = worker.request();
        assert_eq!((request.epoch(), request.sequence()), (epoch, 0));
        worker.serve(&request);
        assert!(ticket.offset().is_some());
    }
    assert_eq!(
        worker.log(0).len(),
        4,
        "the leader took no batch for a duplicate"
    );
    // The timers of the forgotten partitions match nothing.
    worker.run_for(Duration::from_secs(300));
}

#[test]
fn a_partition_with_a_batch_in_flight_is_not_forgotten() {
    let mut worker = used_once(0);
    let ticket = worker.send_batch(0, "in flight");
    let request = worker.request();
    forget(&mut worker);
    assert!(!worker.sender.partitions.is_empty());
    worker.serve(&request);
    assert!(ticket.offset().is_some());
    worker.publish();
    worker.send_batch(0, "next");
    let request = worker.request();
    assert_eq!((request.epoch(), request.sequence()), (0, 2));
}

#[test]
fn a_forgotten_partition_without_epochs_left_begins_with_another_producer_id() {
    let mut worker = used_once(i16::MAX);
    forget(&mut worker);
    worker.publish();
    worker.send_batch(0, "after");
    worker.run();
    worker.no_request();
    assert!(worker.requests_identity());
    worker.give_another_id();
    let stamp = worker.request().batch().stamp;
    let begun = (stamp.producer_id, stamp.producer_epoch, stamp.base_sequence);
    assert_eq!(begun, (PRODUCER_ID + 1, 0, 0));
}

#[test]
fn a_late_answer_about_a_forgotten_partition_does_no_harm() {
    let mut worker = Harness::new(|settings| {
        settings.sender.topics.delivery_timeout = 300 * MS;
        settings.sender.request_timeout = Duration::from_secs(60);
    });
    let expired = worker.send_batch(0, "expires");
    let late = worker.request();
    worker.run_for(400 * MS);
    assert_eq!(expired.error().kind(), ErrorKind::DeliveryTimeout);
    forget(&mut worker);
    assert!(worker.sender.partitions.is_empty());
    worker.publish();
    let ticket = worker.send_batch(0, "after");
    let next = worker.request();
    assert!(next.epoch() > late.epoch());
    worker.serve(&late);
    assert!(ticket.result().is_none());
    worker.serve(&next);
    assert!(ticket.offset().is_some());
    assert_eq!(worker.log(0).len(), 2);
}
