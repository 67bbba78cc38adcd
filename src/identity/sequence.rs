//! The sequence numbers of one partition (KIP-98).

use std::collections::HashMap;

use super::{BatchPosition, ProducerIdentity};
use crate::record::header::ProducerStamp;

/// The identity and the sequence that the next batch of a partition gets.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PartitionSequence {
    /// The current identity. `None` before the partition begins, and when its producer id is unusable.
    identity: Option<ProducerIdentity>,
    next: i32,
    /// Whether a batch of the current identity was acknowledged. Only from then on does the leader check the sequences: it
    /// accepts any sequence from a producer that it does not know.
    is_established: bool,
    /// A batch that was sent under this identity, is not in the log and never will be. No later batch of the identity can be
    /// in the log, because the leader checks the sequences.
    gap: Option<(ProducerIdentity, BatchPosition)>,
    /// The producer id that the partition must not use any more: it is exhausted (no higher epoch is left), or it was
    /// discarded.
    unusable: Option<i64>,
    /// The producer id that was discarded because the log was replaced.
    discarded: Option<i64>,
}

impl PartitionSequence {
    /// Returns the current identity.
    pub(super) fn identity(&self) -> Option<ProducerIdentity> {
        self.identity
    }

    /// Returns the producer id with which the partition must not begin again.
    pub(super) fn unusable(&self) -> Option<i64> {
        self.unusable
    }

    /// Begins `identity` at sequence 0.
    pub(super) fn begin(&mut self, identity: ProducerIdentity) {
        self.identity = Some(identity);
        self.next = 0;
        self.is_established = false;
    }

    /// Sets the identity and the next sequence, as if the partition had sent many batches.
    #[cfg(test)]
    pub(super) fn continue_at(&mut self, identity: ProducerIdentity, next: i32) {
        self.identity = Some(identity);
        self.next = next;
        self.is_established = true;
    }

    /// Notes that the leader acknowledged the batch with `stamp`.
    pub(super) fn acknowledge(&mut self, stamp: ProducerStamp) {
        self.is_established |= self.is_current(stamp);
    }

    /// Returns whether a batch of the current identity was acknowledged, so that the leader refuses batches out of order.
    pub(super) fn is_established(&self) -> bool {
        self.is_established
    }

    /// Returns a stamp with the next sequence for a batch with this many records. `None` if there is no identity.
    pub(super) fn assign(&mut self, records: i32) -> Option<ProducerStamp> {
        let stamp = stamp(self.identity?, self.next);
        self.next = sequence_after(self.next, records);
        Some(stamp)
    }

    /// Raises the epoch and starts over at sequence 0. After the highest epoch the partition has no identity until it begins
    /// with another producer id.
    pub(super) fn raise_epoch(&mut self) {
        self.next = 0;
        self.is_established = false;
        let Some(identity) = self.identity else {
            return;
        };
        self.identity = match identity.producer_epoch.checked_add(1) {
            Some(producer_epoch) => Some(ProducerIdentity {
                producer_epoch,
                ..identity
            }),
            None => {
                self.unusable = Some(identity.producer_id);
                None
            }
        };
    }

    /// Discards the producer id, because the topic was recreated. Perhaps the whole cluster was recreated under the same cluster
    /// id and has given the producer id to another producer.
    pub(super) fn discard_id(&mut self) {
        self.next = 0;
        self.is_established = false;
        if let Some(identity) = self.identity.take() {
            self.unusable = Some(identity.producer_id);
            self.discarded = self.unusable;
        }
    }

    /// Returns whether `stamp` has the producer id that was discarded. If so, the log does not know the stamp.
    pub(super) fn is_discarded(&self, stamp: ProducerStamp) -> bool {
        self.discarded == Some(stamp.producer_id)
    }

    /// Returns whether `stamp` is of the current identity.
    pub(super) fn is_current(&self, stamp: ProducerStamp) -> bool {
        self.identity.is_some_and(|identity| is_of(stamp, identity))
    }

    /// Notes that the batch at `position` is not in the log, and never will be with `stamp`.
    pub(super) fn note_gap(&mut self, stamp: ProducerStamp, position: BatchPosition) {
        let earliest = match self.gap {
            Some((identity, before)) if is_of(stamp, identity) => before.min(position),
            _ => position,
        };
        let identity = ProducerIdentity {
            producer_id: stamp.producer_id,
            producer_epoch: stamp.producer_epoch,
        };
        self.gap = Some((identity, earliest));
    }

    /// Returns whether the batch at `position` cannot be in the log with `stamp`, because it or an earlier batch of the same
    /// identity is a sequence gap.
    pub(super) fn is_behind_gap(&self, stamp: ProducerStamp, position: BatchPosition) -> bool {
        self.gap
            .is_some_and(|(identity, gap)| is_of(stamp, identity) && position >= gap)
    }
}

/// The epochs of forgotten partitions. A partition that begins may have been forgotten before, and its leader may still know
/// the sequences of that time. So it must not begin with an identity that a forgotten partition had.
#[derive(Debug, Default)]
pub(super) struct ForgottenEpochs {
    /// The highest epoch of all forgotten partitions, by producer id.
    highest: HashMap<i64, i16>,
}

impl ForgottenEpochs {
    /// Notes the epoch of a partition that is forgotten. `sequence` is its sequence.
    pub(super) fn note(&mut self, sequence: &PartitionSequence) {
        let unusable = sequence.unusable.map(|id| (id, i16::MAX));
        let identity = sequence.identity;
        let current = identity.map(|identity| (identity.producer_id, identity.producer_epoch));
        for (id, epoch) in unusable.into_iter().chain(current) {
            let highest = self.highest.entry(id).or_insert(epoch);
            *highest = epoch.max(*highest);
        }
    }

    /// Drops the epochs of other producer ids, because partitions begin only with this one from now on.
    pub(super) fn keep_only(&mut self, producer_id: i64) {
        self.highest.retain(|id, _| *id == producer_id);
    }

    /// Returns the identity with which a partition may begin: the producer's `identity`, with an epoch above those of forgotten
    /// partitions. `None` if no such epoch is left.
    pub(super) fn fresh(&self, identity: ProducerIdentity) -> Option<ProducerIdentity> {
        let Some(highest) = self.highest.get(&identity.producer_id) else {
            return Some(identity);
        };
        let producer_epoch = highest.checked_add(1)?.max(identity.producer_epoch);
        Some(ProducerIdentity {
            producer_epoch,
            ..identity
        })
    }
}

/// Returns the sequence that follows `sequence` after this many records. 0 follows 2^31 - 1.
pub(crate) fn sequence_after(sequence: i32, records: i32) -> i32 {
    ((i64::from(sequence) + i64::from(records)) & i64::from(i32::MAX)) as i32
}

/// Returns the stamp of a batch of `identity` that begins at `base_sequence`.
fn stamp(identity: ProducerIdentity, base_sequence: i32) -> ProducerStamp {
    ProducerStamp {
        producer_id: identity.producer_id,
        producer_epoch: identity.producer_epoch,
        base_sequence,
    }
}

/// Returns whether `stamp` belongs to `identity`.
fn is_of(stamp: ProducerStamp, identity: ProducerIdentity) -> bool {
    stamp.producer_id == identity.producer_id && stamp.producer_epoch == identity.producer_epoch
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(producer_epoch: i16) -> ProducerIdentity {
        ProducerIdentity {
            producer_id: 5,
            producer_epoch,
        }
    }

    #[test]
    fn sequences_count_records_and_wrap_after_the_largest() {
        let mut sequence = PartitionSequence::default();
        assert!(
            sequence.assign(1).is_none(),
            "nothing is stamped without an identity"
        );
        sequence.begin(identity(0));
        assert_eq!(sequence.assign(10).unwrap().base_sequence, 0);
        assert_eq!(sequence.assign(1).unwrap().base_sequence, 10);
        assert_eq!(sequence_after(i32::MAX, 1), 0);
        assert_eq!(sequence_after(i32::MAX - 2, 5), 2);
    }

    #[test]
    fn a_partition_starts_over_at_sequence_0_under_the_next_epoch() {
        let mut sequence = PartitionSequence::default();
        sequence.begin(identity(3));
        let before = sequence.assign(7).unwrap();
        sequence.acknowledge(before);
        sequence.raise_epoch();
        assert!(!sequence.is_current(before) && !sequence.is_established());
        let after = sequence.assign(1).unwrap();
        assert_eq!((after.producer_epoch, after.base_sequence), (4, 0));
    }

    #[test]
    fn a_discarded_id_is_unusable_and_another_one_begins_at_sequence_0() {
        let mut sequence = PartitionSequence::default();
        sequence.begin(identity(3));
        let before = sequence.assign(7).unwrap();
        sequence.acknowledge(before);
        sequence.discard_id();
        assert_eq!((sequence.identity(), sequence.unusable()), (None, Some(5)));
        assert!(!sequence.is_current(before) && !sequence.is_established());
        assert!(sequence.is_discarded(before));
        sequence.begin(ProducerIdentity {
            producer_id: 6,
            producer_epoch: 0,
        });
        assert_eq!(sequence.assign(1).unwrap().base_sequence, 0);
    }

    #[test]
    fn a_batch_behind_a_gap_of_its_own_identity_is_not_written() {
        let mut sequence = PartitionSequence::default();
        sequence.begin(identity(3));
        let stamp = sequence.assign(7).unwrap();
        sequence.note_gap(stamp, (5, 0));
        sequence.note_gap(stamp, (8, 0));
        assert!(sequence.is_behind_gap(stamp, (6, 0)) && !sequence.is_behind_gap(stamp, (4, 0)));
        sequence.raise_epoch();
        let other = sequence.assign(7).unwrap();
        assert!(!sequence.is_behind_gap(other, (6, 0)));
    }

    #[test]
    fn an_identity_is_established_by_an_acknowledged_batch_of_its_own() {
        let mut sequence = PartitionSequence::default();
        sequence.begin(identity(3));
        let before = sequence.assign(1).unwrap();
        sequence.acknowledge(before);
        assert!(sequence.is_established());
        sequence.raise_epoch();
        sequence.acknowledge(before);
        assert!(!sequence.is_established(), "a late answer to the old epoch");
        let after = sequence.assign(1).unwrap();
        sequence.acknowledge(after);
        assert!(sequence.is_established());
    }

    #[test]
    fn no_partition_begins_with_an_epoch_that_a_forgotten_one_has_had() {
        let mut forgotten = ForgottenEpochs::default();
        assert_eq!(forgotten.fresh(identity(0)), Some(identity(0)));
        forgotten.note(&PartitionSequence::default());
        assert_eq!(forgotten.fresh(identity(0)), Some(identity(0)));
        for epoch in [4, 2] {
            let mut sequence = PartitionSequence::default();
            sequence.begin(identity(epoch));
            forgotten.note(&sequence);
            assert_eq!(forgotten.fresh(identity(0)), Some(identity(5)));
        }
        let other = ProducerIdentity {
            producer_id: 6,
            ..identity(0)
        };
        assert_eq!(forgotten.fresh(other), Some(other));
        let mut sequence = PartitionSequence::default();
        sequence.begin(identity(i16::MAX));
        sequence.raise_epoch();
        sequence.begin(other);
        forgotten.note(&sequence);
        assert_eq!(forgotten.fresh(identity(0)), None);
        let next = ProducerIdentity {
            producer_epoch: 1,
            ..other
        };
        assert_eq!(forgotten.fresh(other), Some(next));
    }

    #[test]
    fn the_highest_epoch_needs_a_new_producer_id() {
        let mut sequence = PartitionSequence::default();
        sequence.begin(identity(i16::MAX));
        sequence.raise_epoch();
        assert_eq!((sequence.identity(), sequence.unusable()), (None, Some(5)));
    }
}
