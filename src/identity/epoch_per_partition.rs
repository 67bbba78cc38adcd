//! The policy of an idempotent producer without transactions: each partition has its own epoch.
//!
//! A broker keeps epoch and sequences for each partition separately. So a partition that has to start over raises its own
//! epoch and begins again at sequence 0, and the others are not affected: no two workers have to agree.
//!
//! An epoch is raised here and nowhere else ([`PartitionSequence::raise_epoch`](super::sequence::PartitionSequence)): when a
//! batch with a current stamp is given up, because the next sequence would leave a gap if that batch was not written; and
//! when the leader refuses the earliest batch because of its sequence or epoch, if it is certain that it is not written.

use std::sync::Arc;

use super::sequence::ForgottenEpochs;
use super::{
    Admission, AfterRefusal, BatchFacts, Candidate, InFlightFacts, Numbering, PartitionIdentity,
    ProducerIdSource, ProducerIdentity, Report, WaitFor,
};
use crate::error::{Delivery, Error, ErrorKind};
use crate::metadata::Cluster;

/// The number of batches of a producer that a broker remembers for each partition.
const MOST_REMEMBERED: usize = 5;

/// One worker's policy.
pub(crate) struct EpochPerPartition {
    source: Arc<ProducerIdSource>,
    max_in_flight: usize,
    /// The identity to begin partitions with, and the identity era in which a broker gave it.
    current: Option<ProducerIdentity>,
    era: u64,
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
        // A leader that does not know the producer takes any sequence: see `design`, "One batch until the broker knows the
        // identity".
        if count >= self.max_in_flight.min(MOST_REMEMBERED)
            || !partition.is_known_to(candidate.leader, candidate.now)
        {
            return false;
        }
        // Nothing is sent under a new identity before all answers to the old one have arrived.
        let is_current = |stamp| partition.sequence.is_current(stamp);
        if !earliest.stamp.is_none_or(is_current) {
            return false;
        }
        // If this retry is in the log, batches that were sent with it the first time may follow it there. If more followed, the
        // leader would forget it, and would not recognize it.
        if earliest.is_retry && earliest.maybe_written {
            return false;
        }
        match candidate.next {
            Some(next) if next.is_retry => next.position < earliest.position,
            _ => true,
        }
    }

    /// Gives the partition an identity, unless there is none that neither it nor a forgotten partition has used up. Then one
    /// is requested.
    fn begin(&mut self, partition: &mut PartitionIdentity, cluster: &Cluster) -> bool {
        if self.era != cluster.identity_era {
            self.era = cluster.identity_era;
            self.current = None;
        }
        let unusable = partition.sequence.unusable();
        let mut candidate = self.current;
        loop {
            let refused = candidate.map(|identity| identity.producer_id);
            let usable = candidate.filter(|_| refused != unusable);
            if let Some(begun) = usable.and_then(|it| self.forgotten.fresh(it)) {
                self.current = candidate;
                self.forgotten.keep_only(begun.producer_id);
                partition.sequence.begin(begun);
                return true;
            }
            candidate = self.source.identity(cluster, refused.or(unusable));
            if candidate.is_none() {
                return false;
            }
        }
    }

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

    /// The leader misses an earlier batch, or has lost what it knew of this producer, or has lost records. The batch is the
    /// earliest that is not acknowledged, so no other batch is the cause.
    pub(super) fn after_refusal(
        &mut self,
        partition: &mut PartitionIdentity,
        batch: BatchFacts,
    ) -> AfterRefusal {
        if batch.maybe_written {
            // The leader does not recognize it: under another stamp it could be written twice.
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

/// Decides how the next batch is numbered: a stamp of its own that still stands is kept.
///
/// A batch that can be in the log keeps its stamp whatever has happened since: only by the stamp can the leader recognize it.
/// It is sent before all batches with a later stamp, because it comes before them in the queue.
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

/// The log that may have the batch is gone, and the one in its place knows neither the batch nor its producer id.
fn recreated_error() -> Error {
    let message = "the topic was deleted and recreated before a broker acknowledged the record";
    Error::new(ErrorKind::Broker, message)
        .with_delivery(Delivery::MaybeWritten)
        .with_advice("check whether the record exists before you send it again")
}

#[cfg(test)]
mod tests;
