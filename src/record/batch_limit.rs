//! Learns how large a batch of a topic may be where a broker refuses them (MESSAGE_TOO_LARGE), so that the next ones fit.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::estimator::CompressionRatioEstimator;

/// What is learnt of a topic's batches, for all its partitions.
#[derive(Debug, Default)]
pub(crate) struct BatchSizes {
    pub(crate) ratio: CompressionRatioEstimator,
    pub(crate) limit: BatchLimit,
}

/// The size that batches of a topic are not to exceed, header included, as they are on the wire.
///
/// A refusal halves it, or brings it down to the largest batch that was taken since the first refusal. The topic's own
/// limit can rise again, so it grows by a quarter after [`PROBE_AFTER`] full batches: where that is too much it costs a
/// split. A full batch is one that had no room for the next record. It can be much smaller than the limit, if records are
/// large or compress better than expected, so its size does not tell.
///
/// Shared by threads without a lock: an update lost to a race is made up for by the next batch.
#[derive(Debug)]
pub(crate) struct BatchLimit {
    /// `usize::MAX` before the first refusal.
    most: AtomicUsize,
    /// The largest batch that a broker took since then.
    largest_taken: AtomicUsize,
    /// Full batches taken since the limit was last changed.
    full: AtomicUsize,
}

/// Full batches that are taken before a larger one is tried.
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
    /// The limit; `usize::MAX` without one.
    pub(crate) fn most(&self) -> usize {
        self.most.load(Ordering::Relaxed)
    }

    /// A broker refused a batch of several records and so many bytes.
    pub(crate) fn refused(&self, bytes: usize) {
        let mut taken = self.largest_taken.load(Ordering::Relaxed);
        if taken >= bytes {
            // The topic's limit has come down since.
            self.largest_taken.store(0, Ordering::Relaxed);
            taken = 0;
        }
        let most = taken.max(bytes / 2).max(1);
        self.most.fetch_min(most, Ordering::Relaxed);
        self.full.store(0, Ordering::Relaxed);
    }

    /// A broker took a batch of so many bytes, which was full or not.
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
    fn halves_with_each_refusal_until_a_batch_is_taken() {
        let limit = BatchLimit::default();
        assert_eq!(limit.most(), usize::MAX);
        for (refused, most) in [(16_000, 8000), (16_000, 8000), (8000, 4000), (4000, 2000)] {
            limit.refused(refused);
            assert_eq!(limit.most(), most);
        }
    }

    #[test]
    fn comes_to_rest_at_the_largest_batch_that_is_taken() {
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
    fn rises_again_when_larger_batches_are_taken_and_falls_when_they_are_not_any_more() {
        let limit = BatchLimit::default();
        limit.refused(200);
        (0..20).for_each(|_| probe(&limit));
        assert!(limit.most() > 5000);
        let most = limit.most();
        limit.taken(most, true);
        limit.refused(most);
        assert_eq!(
            limit.most(),
            most / 2,
            "what was taken before tells nothing"
        );
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
    fn a_limit_that_stands_refuses_one_batch_in_some_hundred() {
        let limit = BatchLimit::default();
        limit.refused(2000);
        let (mut refused, batches) = (0, 10_000);
        for _ in 0..batches {
            // One record or two.
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
