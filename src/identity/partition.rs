//! The identity of one partition: its sequences, and the leader that is known to check them.

use std::time::{Duration, Instant};

use super::sequence::PartitionSequence;
use super::{BatchFacts, Numbering};
use crate::metadata::PartitionLeader;
use crate::record::header::ProducerStamp;
use crate::time::deadline_after;

/// The identity and the sequences of one partition. The worker stores it with the partition. Only the policies read or
/// change its fields.
#[derive(Debug, Default)]
pub(crate) struct PartitionIdentity {
    pub(super) sequence: PartitionSequence,
    /// The leader that sent the latest acknowledgement for the current identity, and the time of that acknowledgement.
    pub(super) acknowledged: Option<(PartitionLeader, Instant)>,
}

/// How long after its latest acknowledgement a leader counts as knowing the producer. This is far shorter than the shortest
/// sensible `producer.id.expiration.ms` (a day by default). A busy partition gets acknowledgements much more often.
const REMEMBERED_FOR: Duration = Duration::from_secs(60);

impl PartitionIdentity {
    /// Returns the stamp of a batch with this many records. `numbering` is what the policy returned when it admitted the
    /// batch. Returns `None` only if the partition has no identity, and then the policy admits no batch.
    pub(crate) fn stamp(
        &mut self,
        numbering: Numbering,
        batch: &BatchFacts,
        records: i32,
    ) -> Option<ProducerStamp> {
        match numbering {
            Numbering::Unnumbered => Some(ProducerStamp::NONE),
            Numbering::Keep(stamp) => Some(stamp),
            Numbering::Next => {
                if let Some(before) = batch.stamp {
                    self.sequence.note_gap(before, batch.position);
                }
                self.sequence.assign(records)
            }
        }
    }

    pub(super) fn has_identity(&self) -> bool {
        self.sequence.identity().is_some()
    }

    /// Returns whether `leader` certainly knows the producer, because it acknowledged a batch of the current identity
    /// within the last [`REMEMBERED_FOR`].
    pub(super) fn is_known_to(&self, leader: PartitionLeader, now: Instant) -> bool {
        self.sequence.is_established()
            && self
                .acknowledged
                .is_some_and(|(by, at)| by == leader && deadline_after(at, REMEMBERED_FOR) > now)
    }

    /// Sets the identity and the next sequence, as if the partition had sent many batches.
    #[cfg(test)]
    pub(crate) fn continue_at(&mut self, identity: super::ProducerIdentity, next: i32) {
        self.sequence.continue_at(identity, next);
    }
}
