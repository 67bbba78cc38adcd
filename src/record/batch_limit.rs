//! Learns the largest size of a topic's batches after brokers have refused some of them (MESSAGE_TOO_LARGE).

use std::sync::atomic::{AtomicUsize, Ordering};

use super::estimator::CompressionRatioEstimator;

/// What a producer has learnt about the sizes of a topic's batches, for all its partitions.
#[derive(Debug, Default)]
pub(crate) struct BatchSizes {
    pub(crate) ratio: CompressionRatioEstimator,
    pub(crate) limit: BatchLimit,
}

/// The size that batches of a topic should not exceed: on the wire, with the header.
///
/// A refusal halves the limit, or reduces it to the largest batch that was accepted since the first refusal. The topic's own
/// limit may be raised, so this one grows by a quarter after [`PROBE_AFTER`] full batches. If the new limit is too high, the
/// cost is one split. A full batch is one that had no room for the next record. It can be much smaller than the limit, if
/// records are large or compress better than expected.
///
/// Threads share it without a lock. If a race loses an update, the next batch makes up for it.
#[derive(Debug)]
pub(crate) struct BatchLimit {
    /// `usize::MAX` before the first refusal.
    most: AtomicUsize,
    /// The largest batch that a broker has accepted since the first refusal.
    largest_taken: AtomicUsize,
    /// The number of full batches accepted since the limit last changed.
    full: AtomicUsize,
}

/// The number of full batches after which a larger one is tried.
const PROBE_AFTER: usize = 100;

impl Default for BatchLimit {
    fn default() -> Self {
        Self {
            most: AtomicUsize::new(usize::MAX),
            largest_taken: AtomicUsize::new(0),
            full: AtomicUsize::new(0),
        }
    }
}

impl BatchLimit {
    /// The limit; `usize::MAX` if there is none.
    pub(crate) fn most(&self) -> usize {
        self.most.load(Ordering::Relaxed)
    }

    /// Updates the limit after a broker has refused a batch of several records with this size.
    pub(crate) fn refused(&self, bytes: usize) {
        let mut taken = self.largest_taken.load(Ordering::Relaxed);
        if taken >= bytes {
            // The topic's limit was reduced in the meantime.
            self.largest_taken.store(0, Ordering::Relaxed);
            taken = 0;
        }
        let most = taken.max(bytes / 2).max(1);
        self.most.fetch_min(most, Ordering::Relaxed);
        self.full.store(0, Ordering::Relaxed);
    }

    /// Updates the limit after a broker has accepted a batch of this size.
    pub(crate) fn taken(&self, bytes: usize, is_full: bool) {
        let most = self.most();
        if most == usize::MAX {
            return;
        }
        self.largest_taken.fetch_max(bytes, Ordering::Relaxed);
        if is_full && self.full.fetch_add(1, Ordering::Relaxed) + 1 >= PROBE_AFTER {
            self.full.store(0, Ordering::Relaxed);
            let more = most.saturating_add((most / 4).max(1));
            self.most.store(more, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fills the limit with batches until a larger one is tried.
    fn probe(limit: &BatchLimit) {
        let before = limit.most();
        for _ in 0..PROBE_AFTER {
            assert_eq!(limit.most(), before);
            limit.taken(before, true);
        }
        assert!(limit.most() > before);
    }

    #[test]
    fn halves_with_each_refusal_until_a_batch_is_accepted() {
        let limit = BatchLimit::default();
        assert_eq!(limit.most(), usize::MAX);
        for (refused, most) in [(16_000, 8000), (16_000, 8000), (8000, 4000), (4000, 2000)] {
            limit.refused(refused);
            assert_eq!(limit.most(), most);
        }
    }

    #[test]
    fn converges_to_the_largest_batch_that_is_accepted() {
        let limit = BatchLimit::default();
        limit.refused(2000);
        let true_limit = 1900;
        for _ in 0..10 {
            probe(&limit);
            if limit.most() > true_limit {
                limit.refused(limit.most());
            }
        }
        assert!(limit.most() >= true_limit * 4 / 5 && limit.most() <= true_limit);
    }

    #[test]
    fn rises_while_larger_batches_are_accepted_and_falls_when_they_are_refused() {
        let limit = BatchLimit::default();
        limit.refused(200);
        (0..20).for_each(|_| probe(&limit));
        assert!(limit.most() > 5000);
        let most = limit.most();
        limit.taken(most, true);
        limit.refused(most);
        assert_eq!(limit.most(), most / 2, "earlier batches do not count");
    }

    #[test]
    fn batches_that_had_room_for_more_records_do_not_raise_the_limit() {
        let limit = BatchLimit::default();
        limit.refused(1000);
        (0..10_000).for_each(|_| limit.taken(300, false));
        assert_eq!(limit.most(), 500);
    }

    #[test]
    fn full_batches_raise_the_limit_however_small_they_are() {
        let limit = BatchLimit::default();
        limit.refused(2000);
        (0..PROBE_AFTER).for_each(|_| limit.taken(571, true));
        assert_eq!(limit.most(), 1250);
    }

    #[test]
    fn with_a_constant_topic_limit_one_batch_in_a_hundred_is_refused() {
        let limit = BatchLimit::default();
        limit.refused(2000);
        let (mut refused, batches) = (0, 10_000);
        for _ in 0..batches {
            // A batch has one record or two.
            if limit.most() >= 1081 {
                limit.refused(1081);
                refused += 1;
            } else {
                limit.taken(571, true);
            }
        }
        assert!(refused > 0 && refused * PROBE_AFTER <= batches, "{refused}");
    }

    #[test]
    fn sizes_at_the_ends_of_the_range_neither_overflow_nor_reach_zero() {
        let limit = BatchLimit::default();
        limit.taken(usize::MAX, true);
        limit.refused(1);
        limit.refused(0);
        assert_eq!(limit.most(), 1);
        probe(&limit);
        limit.refused(usize::MAX);
        (0..100_000).for_each(|_| limit.taken(usize::MAX, true));
        assert!(limit.most() > 1000);
    }
}
