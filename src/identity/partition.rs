//! What is kept of one partition: its sequences, and which leader is known to hold the producer to them.

use std::time::{Duration, Instant};

use super::sequence::PartitionSequence;
use super::{BatchFacts, Numbering};
use crate::metadata::PartitionLeader;
use crate::record::header::ProducerStamp;
use crate::time::deadline_after;

/// The identity and the sequences of one partition. The worker keeps it with the partition, and only the policy reads or
/// changes what is in it.
#[derive(Debug, Default)]
pub(crate) struct PartitionIdentity {
    pub(super) sequence: PartitionSequence,
    /// The leader that last acknowledged a batch of the current identity, and when.
    pub(super) acknowledged: Option<(PartitionLeader, Instant)>,
}

/// How long a leader that has heard nothing of a producer is trusted to remember it: far less than the shortest sensible
/// `producer.id.expiration.ms` (a day by default), and long enough to cost a busy partition nothing.
const REMEMBERED_FOR: Duration = Duration::from_secs(60);

impl PartitionIdentity {
    /// Returns the stamp of a batch of `records` records, numbered as its admission said. `None` only if the partition has no
    /// identity, with which nothing is admitted.
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

    /// Returns whether `leader` acknowledged a batch of the current identity so lately that it still knows the producer.
    pub(super) fn is_known_to(&self, leader: PartitionLeader, now: Instant) -> bool {
        self.sequence.is_established()
            && self
                .acknowledged
                .is_some_and(|(by, at)| by == leader && deadline_after(at, REMEMBERED_FOR) > now)
    }

    /// Goes on from a state that a long life would have come to.
    #[cfg(test)]
    pub(crate) fn continue_at(&mut self, identity: super::ProducerIdentity, next: i32) {
        self.sequence.continue_at(identity, next);
    }
}
