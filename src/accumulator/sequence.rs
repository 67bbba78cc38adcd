//! The sequence numbers of one partition (KIP-98).
//!
//! A broker keeps epoch and sequences for each partition by itself, so an idempotent producer without transactions may
//! raise its epoch in one partition and leave the others alone: each partition heals for itself, and no two workers
//! have to agree.

use std::collections::HashMap;

use crate::identity::ProducerIdentity;
use crate::record::header::ProducerStamp;

/// Where a batch belongs among those of its partition: its own number, and for the parts of a split one the index of the
/// first record.
pub(crate) type Place = (u64, u32);

/// Which identity and sequence the next batch of a partition gets.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PartitionSequence {
    identity: Option<ProducerIdentity>,
    next: i32,
    /// Whether a batch of the identity was acknowledged: only then does the leader hold the next ones to their order. Of
    /// a producer that it knows nothing of it takes any sequence.
    is_established: bool,
    /// A batch that was sent under that identity and is certainly not in the log, nor ever will be: none behind it can
    /// be, for the leader holds the producer to its sequences.
    gap: Option<(ProducerIdentity, Place)>,
    /// The producer id that is not to be used any more: its epochs are used up, or the log is another one.
    spent: Option<i64>,
    /// The producer id that was given up when the log became another one.
    renounced: Option<i64>,
}

impl PartitionSequence {
    pub(crate) fn identity(&self) -> Option<ProducerIdentity> {
        self.identity
    }

    /// The producer id that cannot be begun with again.
    pub(crate) fn spent(&self) -> Option<i64> {
        self.spent
    }

    /// Begins a new identity, at sequence 0.
    pub(crate) fn begin(&mut self, identity: ProducerIdentity) {
        self.identity = Some(identity);
        self.next = 0;
        self.is_established = false;
    }

    /// Goes on at a sequence that a long life would have come to.
    #[cfg(test)]
    pub(crate) fn go_on_at(&mut self, identity: ProducerIdentity, next: i32) {
        self.identity = Some(identity);
        self.next = next;
        self.is_established = true;
    }

    /// A batch of `stamp` is written.
    pub(crate) fn acknowledge(&mut self, stamp: ProducerStamp) {
        self.is_established |= self.is_current(stamp);
    }

    /// Whether the leader is known to refuse what is out of order.
    pub(crate) fn is_established(&self) -> bool {
        self.is_established
    }

    /// The stamp of the next batch, of `records` records. None without an identity.
    pub(crate) fn assign(&mut self, records: i32) -> Option<ProducerStamp> {
        let stamp = stamp(self.identity?, self.next);
        self.next = sequence_after(self.next, records);
        Some(stamp)
    }

    /// Raises the epoch and starts over at sequence 0; at the highest epoch a new producer id is needed.
    pub(crate) fn bump_epoch(&mut self) {
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
                self.spent = Some(identity.producer_id);
                None
            }
        };
    }

    /// Gives the producer id up: the topic was made anew, and so may have been the whole cluster, under the same id as
    /// before. There the producer id may be given to another producer.
    pub(crate) fn renounce_id(&mut self) {
        self.next = 0;
        self.is_established = false;
        if let Some(identity) = self.identity.take() {
            self.spent = Some(identity.producer_id);
            self.renounced = self.spent;
        }
    }

    /// Whether `stamp` means nothing in the log as it is now.
    pub(crate) fn is_renounced(&self, stamp: ProducerStamp) -> bool {
        self.renounced == Some(stamp.producer_id)
    }

    /// Whether `stamp` is of the current identity.
    pub(crate) fn is_current(&self, stamp: ProducerStamp) -> bool {
        self.identity.is_some_and(|identity| is_of(stamp, identity))
    }

    /// The batch of `stamp` at `place` is not written, and will not be under that stamp.
    pub(crate) fn note_gap(&mut self, stamp: ProducerStamp, place: Place) {
        let earliest = match self.gap {
            Some((identity, before)) if is_of(stamp, identity) => before.min(place),
            _ => place,
        };
        let identity = ProducerIdentity {
            producer_id: stamp.producer_id,
            producer_epoch: stamp.producer_epoch,
        };
        self.gap = Some((identity, earliest));
    }

    /// Whether the batch of `stamp` at `place` cannot be in the log for want of an earlier one.
    pub(crate) fn is_behind_gap(&self, stamp: ProducerStamp, place: Place) -> bool {
        self.gap
            .is_some_and(|(identity, gap)| is_of(stamp, identity) && place >= gap)
    }
}

/// What is left of partitions that were forgotten. Their leaders may still know the sequences under which they were
/// written to, so that none of them may begin again under an identity that one of them has had.
#[derive(Debug, Default)]
pub(crate) struct ForgottenEpochs {
    /// By producer id: the highest epoch of a forgotten partition.
    highest: HashMap<i64, i16>,
}

impl ForgottenEpochs {
    /// The partition of `sequence` is forgotten.
    pub(crate) fn note(&mut self, sequence: &PartitionSequence) {
        let spent = sequence.spent.map(|id| (id, i16::MAX));
        let identity = sequence.identity;
        let current = identity.map(|identity| (identity.producer_id, identity.producer_epoch));
        for (id, epoch) in spent.into_iter().chain(current) {
            let highest = self.highest.entry(id).or_insert(epoch);
            *highest = epoch.max(*highest);
        }
    }

    /// Another producer id is begun with from now on: what was used of the others concerns nobody.
    pub(crate) fn keep_only(&mut self, producer_id: i64) {
        self.highest.retain(|id, _| *id == producer_id);
    }

    /// The identity that a partition begins with, where the producer's is `identity`. None: its epochs are used up.
    pub(crate) fn fresh(&self, identity: ProducerIdentity) -> Option<ProducerIdentity> {
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

/// The sequence `records` after `sequence`: after 2^31 - 1 comes 0.
pub(crate) fn sequence_after(sequence: i32, records: i32) -> i32 {
    ((i64::from(sequence) + i64::from(records)) & i64::from(i32::MAX)) as i32
}

fn stamp(identity: ProducerIdentity, base_sequence: i32) -> ProducerStamp {
    ProducerStamp {
        producer_id: identity.producer_id,
        producer_epoch: identity.producer_epoch,
        base_sequence,
    }
}

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
    fn a_bump_starts_over_under_the_next_epoch() {
        let mut sequence = PartitionSequence::default();
        sequence.begin(identity(3));
        let before = sequence.assign(7).unwrap();
        sequence.acknowledge(before);
        sequence.bump_epoch();
        assert!(!sequence.is_current(before) && !sequence.is_established());
        let after = sequence.assign(1).unwrap();
        assert_eq!((after.producer_epoch, after.base_sequence), (4, 0));
    }

    #[test]
    fn an_id_that_was_given_up_is_spent_and_what_follows_starts_over() {
        let mut sequence = PartitionSequence::default();
        sequence.begin(identity(3));
        let before = sequence.assign(7).unwrap();
        sequence.acknowledge(before);
        sequence.renounce_id();
        assert_eq!((sequence.identity(), sequence.spent()), (None, Some(5)));
        assert!(!sequence.is_current(before) && !sequence.is_established());
        assert!(sequence.is_renounced(before));
        sequence.begin(ProducerIdentity {
            producer_id: 6,
            producer_epoch: 0,
        });
        assert_eq!(sequence.assign(1).unwrap().base_sequence, 0);
    }

    #[test]
    fn what_is_behind_a_gap_of_its_own_identity_is_not_written() {
        let mut sequence = PartitionSequence::default();
        sequence.begin(identity(3));
        let stamp = sequence.assign(7).unwrap();
        sequence.note_gap(stamp, (5, 0));
        sequence.note_gap(stamp, (8, 0));
        assert!(sequence.is_behind_gap(stamp, (6, 0)) && !sequence.is_behind_gap(stamp, (4, 0)));
        sequence.bump_epoch();
        let other = sequence.assign(7).unwrap();
        assert!(!sequence.is_behind_gap(other, (6, 0)));
    }

    #[test]
    fn an_identity_is_established_by_a_written_batch_of_its_own() {
        let mut sequence = PartitionSequence::default();
        sequence.begin(identity(3));
        let before = sequence.assign(1).unwrap();
        sequence.acknowledge(before);
        assert!(sequence.is_established());
        sequence.bump_epoch();
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
        sequence.bump_epoch();
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
        sequence.bump_epoch();
        assert_eq!((sequence.identity(), sequence.spent()), (None, Some(5)));
    }
}
