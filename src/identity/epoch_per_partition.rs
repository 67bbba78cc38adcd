//! The policy of an idempotent producer without transactions: each partition has its own epoch.
//!
//! A broker keeps epoch and sequences for each partition separately. So a partition that has to start over raises its own
//! epoch and begins again at sequence 0. The other partitions are not affected, and workers need not agree on anything.
//!
//! Only this policy decides that an epoch rises. There are three cases:
//!
//! - A batch with a current stamp is given up: the next sequence would leave a gap if that batch was not written.
//! - The leader refuses the earliest batch because of its sequence or epoch. The batch has a current stamp and is certainly
//!   not written.
//! - A partition begins: it gets an epoch above those of forgotten partitions
//!   ([`ForgottenEpochs::fresh`](super::sequence::ForgottenEpochs)), because it may have existed before, been forgotten,
//!   and be known to the leader.

use std::sync::Arc;

use super::sequence::ForgottenEpochs;
use super::{
    Admission, AfterRefusal, BatchFacts, Candidate, InFlightFacts, Numbering, PartitionIdentity,
    ProducerIdSource, ProducerIdentity, Report, WaitFor,
};
use crate::error::{Delivery, Error, ErrorKind};
use crate::metadata::Cluster;

/// The number of a producer's latest batches that a broker remembers for each partition.
const MOST_REMEMBERED: usize = 5;

/// One worker's policy.
pub(crate) struct EpochPerPartition {
    source: Arc<ProducerIdSource>,
    max_in_flight: usize,
    /// The identity with which partitions begin. `None` if a broker gave none in `era` yet.
    current: Option<ProducerIdentity>,
    /// The identity era of `current`.
    era: u64,
    /// The epochs with which no partition may begin.
    forgotten: ForgottenEpochs,
}

impl EpochPerPartition {
    pub(crate) fn new(source: Arc<ProducerIdSource>, max_in_flight: usize) -> Self {
        Self {
            source,
            max_in_flight,
            current: None,
            era: 0,
            forgotten: ForgottenEpochs::default(),
        }
    }

    /// See [`IdentityPolicy::admit`](super::IdentityPolicy::admit).
    pub(super) fn admit(
        &mut self,
        partition: &mut PartitionIdentity,
        candidate: &Candidate<'_>,
    ) -> Admission {
        if let Some(in_flight) = &candidate.in_flight {
            if !self.may_follow(partition, candidate, in_flight) {
                return Admission::Wait(WaitFor::Answer);
            }
        }
        if !partition.has_identity() && !self.begin(partition, candidate.cluster) {
            return Admission::Wait(WaitFor::ProducerId);
        }
        number(partition, candidate.next)
    }

    /// Returns whether the next batch may be sent while others are in flight.
    fn may_follow(
        &self,
        partition: &PartitionIdentity,
        candidate: &Candidate<'_>,
        in_flight: &InFlightFacts,
    ) -> bool {
        let InFlightFacts {
            count,
            earliest,
            is_elsewhere,
        } = *in_flight;
        if is_elsewhere {
            return false;
        }
        // A leader that does not know the producer accepts any sequence: see `design`, "One batch is in flight until the
        // broker knows the identity".
        if count >= self.max_in_flight.min(MOST_REMEMBERED)
            || !partition.is_known_to(candidate.leader, candidate.now)
        {
            return false;
        }
        // A batch is sent under a new identity only when no batch of the old one is in flight.
        let is_current = |stamp| partition.sequence.is_current(stamp);
        if !earliest.stamp.is_none_or(is_current) {
            return false;
        }
        // This retry can be in the log already, and batches that were sent with its first attempt can follow it there. If
        // more batches followed, the leader, which remembers only the latest five, could no longer recognize the retry.
        if earliest.is_retry && earliest.maybe_written {
            return false;
        }
        // The leader refuses the batches in flight until it has an earlier retry, so that retry goes at once. A later retry
        // waits, because the leader would refuse it until it has the earlier batches in flight.
        match candidate.next {
            Some(next) if next.is_retry => next.position < earliest.position,
            _ => true,
        }
    }

    /// Gives the partition an identity and returns `true`. Returns `false` after requesting a producer id: none is known
    /// yet, or the known one is exhausted or discarded.
    fn begin(&mut self, partition: &mut PartitionIdentity, cluster: &Cluster) -> bool {
        if self.era != cluster.identity_era {
            self.era = cluster.identity_era;
            self.current = None;
        }
        let unusable = partition.sequence.unusable();
        let mut given = self.current;
        loop {
            let rejected_id = given.map(|identity| identity.producer_id);
            let usable = given.filter(|_| rejected_id != unusable);
            if let Some(begun) = usable.and_then(|it| self.forgotten.fresh(it)) {
                self.current = given;
                self.forgotten.keep_only(begun.producer_id);
                partition.sequence.begin(begun);
                return true;
            }
            given = self.source.identity(cluster, rejected_id.or(unusable));
            if given.is_none() {
                return false;
            }
        }
    }

    /// See [`IdentityPolicy::report`](super::IdentityPolicy::report).
    pub(super) fn report(&mut self, partition: &mut PartitionIdentity, report: Report) {
        let sequence = &mut partition.sequence;
        match report {
            Report::Acknowledged { stamp, by, at } => {
                sequence.acknowledge(stamp);
                if sequence.is_current(stamp) {
                    partition.acknowledged = Some((by, at));
                }
            }
            Report::GivenUp(batch) => {
                let Some(stamp) = batch.stamp else { return };
                if !batch.maybe_written {
                    sequence.note_gap(stamp, batch.position);
                }
                if sequence.is_current(stamp) {
                    sequence.raise_epoch();
                }
            }
            Report::LogReplaced => sequence.discard_id(),
            Report::ClusterReplaced => *partition = PartitionIdentity::default(),
            Report::Forgotten => self.forgotten.note(sequence),
        }
    }

    /// Returns what to do with `batch`, which the leader refused because of its sequence or epoch. It is the earliest batch
    /// without an acknowledgement, so no earlier batch in flight can be the cause. The leader lacks a batch that was given
    /// up, or it has lost its knowledge of this producer, or it has lost records.
    pub(super) fn after_refusal(
        &mut self,
        partition: &mut PartitionIdentity,
        batch: BatchFacts,
    ) -> AfterRefusal {
        if batch.maybe_written {
            // The leader does not recognize the batch. Under another stamp the batch could be written twice.
            return AfterRefusal::Fail;
        }
        let sequence = &mut partition.sequence;
        if let Some(stamp) = batch.stamp.filter(|stamp| sequence.is_current(*stamp)) {
            sequence.note_gap(stamp, batch.position);
            sequence.raise_epoch();
        }
        AfterRefusal::Retry
    }
}

/// Returns how the next batch is numbered, or the error with which it fails.
///
/// A batch keeps its stamp if the stamp is of the current identity. A batch that can be in the log keeps an older stamp
/// too, because the leader can recognize it only by that stamp. Such a batch is queued before the batches with later
/// stamps, so it is sent first. There are two exceptions. Behind a sequence gap, the batch is not in the log and gets a new
/// stamp. If the producer id of its stamp is discarded, the batch fails.
fn number(partition: &PartitionIdentity, next: Option<BatchFacts>) -> Admission {
    let sequence = &partition.sequence;
    let Some((next, stamp)) = next.and_then(|next| Some((next, next.stamp?))) else {
        return Admission::Go(Numbering::Next);
    };
    if next.maybe_written && sequence.is_discarded(stamp) {
        return Admission::Fail(recreated_error());
    }
    if sequence.is_current(stamp)
        || (next.maybe_written && !sequence.is_behind_gap(stamp, next.position))
    {
        return Admission::Go(Numbering::Keep(stamp));
    }
    Admission::Go(Numbering::Next)
}

/// Returns the error of a batch that may be in a deleted log. The new log knows neither the batch nor its producer id.
fn recreated_error() -> Error {
    let message = "the topic was deleted and recreated before a broker acknowledged the record";
    Error::new(ErrorKind::Broker, message)
        .with_delivery(Delivery::MaybeWritten)
        .with_advice("check whether the record exists before you send it again")
}

#[cfg(test)]
mod tests;
