use super::*;
use crate::identity::IdentityPolicy;
use crate::metadata::{BrokerId, MetadataCache, PartitionLeader};
use crate::record::header::ProducerStamp;
use std::time::{Duration, Instant};

/// One partition of a worker, and the policy that numbers its batches.
struct Scene {
    policy: IdentityPolicy,
    source: Arc<ProducerIdSource>,
    cluster: Cluster,
    partition: PartitionIdentity,
    leader: PartitionLeader,
    now: Instant,
    next_position: u64,
}

fn leader(broker: i32) -> PartitionLeader {
    PartitionLeader {
        broker: BrokerId(broker),
        epoch: Some(0),
        topic_id: None,
    }
}

fn identity(producer_id: i64, producer_epoch: i16) -> ProducerIdentity {
    ProducerIdentity {
        producer_id,
        producer_epoch,
    }
}

impl Scene {
    /// A broker has given producer id 7.
    fn new() -> Self {
        let source = ProducerIdSource::new(&MetadataCache::unobserved());
        source.give(identity(7, 0), 0);
        let policy = EpochPerPartition::new(Arc::clone(&source), 5);
        Self {
            policy: IdentityPolicy::EpochPerPartition(policy),
            source,
            cluster: Cluster::default(),
            partition: PartitionIdentity::default(),
            leader: leader(1),
            now: Instant::now(),
            next_position: 0,
        }
    }

    /// As [`new`](Self::new), and the leader has acknowledged a batch.
    fn established() -> Self {
        let mut scene = Self::new();
        let first = scene.send(1, &[]);
        scene.acknowledge(first);
        scene
    }

    fn admit(&mut self, next: Option<BatchFacts>, in_flight: &[BatchFacts]) -> Admission {
        let in_flight = in_flight.first().map(|earliest| InFlightFacts {
            count: in_flight.len(),
            earliest: *earliest,
            is_elsewhere: false,
        });
        self.admit_with(next, in_flight)
    }

    fn admit_with(
        &mut self,
        next: Option<BatchFacts>,
        in_flight: Option<InFlightFacts>,
    ) -> Admission {
        let candidate = Candidate {
            next,
            in_flight,
            leader: self.leader,
            cluster: &self.cluster,
            now: self.now,
        };
        self.policy.admit(&mut self.partition, &candidate)
    }

    /// Sends a new batch behind those in flight.
    fn send(&mut self, records: i32, in_flight: &[BatchFacts]) -> BatchFacts {
        let batch = BatchFacts {
            position: (self.next_position, 0),
            stamp: None,
            maybe_written: false,
            is_retry: false,
        };
        self.next_position += 1;
        let Admission::Go(numbering) = self.admit(Some(batch), in_flight) else {
            panic!("the batch was not admitted");
        };
        let stamp = self.partition.stamp(numbering, &batch, records);
        BatchFacts { stamp, ..batch }
    }

    fn acknowledge(&mut self, batch: BatchFacts) {
        let report = Report::Acknowledged {
            stamp: batch.stamp.unwrap(),
            by: self.leader,
            at: self.now,
        };
        self.report(report);
    }

    fn report(&mut self, report: Report) {
        self.policy.report(&mut self.partition, report);
    }

    fn waits(&mut self, next: Option<BatchFacts>, in_flight: &[BatchFacts]) -> bool {
        matches!(self.admit(next, in_flight), Admission::Wait(_))
    }
}

fn numbers(batch: BatchFacts) -> (i64, i16, i32) {
    let ProducerStamp {
        producer_id,
        producer_epoch,
        base_sequence,
    } = batch.stamp.unwrap();
    (producer_id, producer_epoch, base_sequence)
}

fn retry(batch: BatchFacts, maybe_written: bool) -> BatchFacts {
    BatchFacts {
        is_retry: true,
        maybe_written,
        ..batch
    }
}

#[test]
fn sequences_of_a_partition_count_its_records() {
    let mut scene = Scene::established();
    let second = scene.send(3, &[]);
    let third = scene.send(1, &[second]);
    assert_eq!([numbers(second), numbers(third)], [(7, 0, 1), (7, 0, 4)]);
}

#[test]
fn a_batch_waits_for_a_producer_id_which_is_requested() {
    let mut scene = Scene::new();
    scene.cluster.identity_era = 1;
    assert!(scene.waits(None, &[]));
    assert_eq!(scene.source.due(scene.now), crate::metadata::Due::Now);
    assert!(scene.policy.lacks_producer_id(&scene.partition));
    scene.source.give(identity(8, 0), 1);
    let batch = scene.send(1, &[]);
    assert_eq!(numbers(batch), (8, 0, 0));
    assert!(!scene.policy.lacks_producer_id(&scene.partition));
}

#[test]
fn one_batch_is_in_flight_until_the_leader_acknowledges_one_and_then_up_to_five() {
    let mut scene = Scene::new();
    let first = scene.send(1, &[]);
    assert!(scene.waits(None, &[first]));
    scene.acknowledge(first);
    let mut in_flight = Vec::new();
    for _ in 0..5 {
        let sent = scene.send(1, &in_flight);
        in_flight.push(sent);
    }
    assert!(scene.waits(None, &in_flight));
}

#[test]
fn a_leader_that_is_new_or_heard_nothing_for_a_minute_counts_as_not_knowing_the_producer() {
    let mut scene = Scene::established();
    let sent = scene.send(1, &[]);
    scene.leader = leader(2);
    assert!(scene.waits(None, &[sent]));
    scene.leader = leader(1);
    assert!(!scene.waits(None, &[sent]));
    scene.now += Duration::from_secs(60);
    assert!(scene.waits(None, &[sent]));
}

#[test]
fn nothing_goes_to_a_leader_while_a_batch_is_in_flight_to_another_broker() {
    let mut scene = Scene::established();
    let sent = scene.send(1, &[]);
    let elsewhere = InFlightFacts {
        count: 1,
        earliest: sent,
        is_elsewhere: true,
    };
    assert!(matches!(
        scene.admit_with(None, Some(elsewhere)),
        Admission::Wait(WaitFor::Answer)
    ));
}

#[test]
fn a_retry_is_sent_only_as_the_earliest_and_nothing_new_follows_one_that_is_maybe_written() {
    let mut scene = Scene::established();
    let first = scene.send(1, &[]);
    let second = scene.send(1, &[first]);
    assert!(scene.waits(Some(retry(second, false)), &[first]));
    assert!(!scene.waits(Some(retry(first, false)), &[second]));
    assert!(!scene.waits(None, &[retry(first, false)]));
    assert!(scene.waits(None, &[retry(first, true)]));
}

#[test]
fn a_batch_given_up_raises_the_epoch_of_its_own_partition_only() {
    let mut scene = Scene::established();
    let failed = scene.send(1, &[]);
    scene.report(Report::GivenUp(failed));
    let next = scene.send(1, &[]);
    assert_eq!(numbers(next), (7, 1, 0));
    scene.partition = PartitionIdentity::default();
    let of_another_partition = scene.send(1, &[]);
    assert_eq!(numbers(of_another_partition), (7, 0, 0));
}

#[test]
fn nothing_is_sent_under_a_new_epoch_before_the_answers_to_the_old_one() {
    let mut scene = Scene::established();
    let [first, second] = [scene.send(1, &[]), scene.send(1, &[])];
    scene.report(Report::GivenUp(first));
    assert!(scene.waits(None, &[second]));
    assert!(!scene.waits(None, &[]));
}

#[test]
fn a_batch_that_is_maybe_written_keeps_its_stamp_and_one_behind_a_gap_gets_another() {
    let mut scene = Scene::established();
    let first = scene.send(1, &[]);
    let second = scene.send(1, &[first]);
    let third = scene.send(1, &[first, second]);
    // The second is refused for good: the third cannot be in the log.
    scene.report(Report::GivenUp(second));
    let Admission::Go(numbering) = scene.admit(Some(retry(first, true)), &[]) else {
        panic!("the first batch was not admitted");
    };
    assert_eq!(numbering, Numbering::Keep(first.stamp.unwrap()));
    let Admission::Go(numbering) = scene.admit(Some(retry(third, true)), &[]) else {
        panic!("the third batch was not admitted");
    };
    assert_eq!(numbering, Numbering::Next);
}

#[test]
fn a_refused_batch_waits_for_earlier_ones_or_starts_over_and_fails_if_it_is_maybe_written() {
    let mut scene = Scene::established();
    let batch = scene.send(1, &[]);
    let after = |scene: &mut Scene, batch, is_earliest| {
        let partition = &mut scene.partition;
        scene.policy.after_refusal(partition, batch, is_earliest)
    };
    let waits = after(&mut scene, batch, false);
    assert_eq!(waits, Some(AfterRefusal::WaitForEarlier));
    let fails = after(&mut scene, retry(batch, true), true);
    assert_eq!(fails, Some(AfterRefusal::Fail));
    let retries = after(&mut scene, batch, true);
    assert_eq!(retries, Some(AfterRefusal::Retry));
    let Admission::Go(numbering) = scene.admit(Some(retry(batch, false)), &[]) else {
        panic!("the batch was not admitted");
    };
    let stamp = scene.partition.stamp(numbering, &batch, 1).unwrap();
    assert_eq!((stamp.producer_epoch, stamp.base_sequence), (1, 0));
}

#[test]
fn after_the_log_was_replaced_a_batch_that_is_maybe_written_fails_and_others_get_another_id() {
    let mut scene = Scene::established();
    let batch = scene.send(1, &[]);
    scene.report(Report::LogReplaced);
    scene.cluster.identity_era = 1;
    scene.source.give(identity(8, 0), 1);
    let Admission::Fail(error) = scene.admit(Some(retry(batch, true)), &[]) else {
        panic!("the batch did not fail");
    };
    assert_eq!(error.delivery(), Delivery::MaybeWritten);
    let Admission::Go(numbering) = scene.admit(Some(retry(batch, false)), &[]) else {
        panic!("the batch was not admitted");
    };
    assert_eq!(
        scene
            .partition
            .stamp(numbering, &batch, 1)
            .unwrap()
            .producer_id,
        8
    );
}

#[test]
fn after_the_cluster_was_replaced_a_partition_begins_from_the_start() {
    let mut scene = Scene::established();
    scene.send(1, &[]);
    scene.report(Report::ClusterReplaced);
    scene.cluster.identity_era = 1;
    assert!(scene.waits(None, &[]));
    // The other cluster may give the same id.
    scene.source.give(identity(7, 0), 1);
    let batch = scene.send(1, &[]);
    assert_eq!(numbers(batch), (7, 0, 0));
}

#[test]
fn a_partition_begins_above_the_epochs_of_forgotten_ones_and_after_the_highest_with_another_id() {
    let mut scene = Scene::established();
    scene.report(Report::Forgotten);
    scene.partition = PartitionIdentity::default();
    let batch = scene.send(1, &[]);
    assert_eq!(numbers(batch), (7, 1, 0));
    scene.partition.continue_at(identity(7, i16::MAX), 0);
    scene.report(Report::Forgotten);
    scene.partition = PartitionIdentity::default();
    assert!(scene.waits(None, &[]));
    scene.source.give(identity(8, 0), 0);
    let batch = scene.send(1, &[]);
    assert_eq!(numbers(batch), (8, 0, 0));
}

#[test]
fn without_idempotence_batches_have_no_stamp_and_one_in_flight_keeps_the_order() {
    let mut scene = Scene::new();
    for (max_in_flight, waits) in [(1, true), (5, false)] {
        scene.policy = IdentityPolicy::Unnumbered { max_in_flight };
        let batch = scene.send(1, &[]);
        assert_eq!(batch.stamp, Some(ProducerStamp::NONE));
        assert_eq!(scene.waits(None, &[batch]), waits);
        let partition = &mut scene.partition;
        assert_eq!(scene.policy.after_refusal(partition, batch, true), None);
    }
}
