//! What slow compression takes of a worker's time: batches that wait meanwhile are not to expire for it, and no link is to go
//! unread.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The time that a worker has spent on compression, and when. Rounds with little of it do not count.
#[derive(Default)]
pub(super) struct CompressionTime {
    /// Ends of rounds, in order, each with all that compression took until then.
    marks: VecDeque<(Instant, Duration)>,
    /// What compression took until before the first mark.
    before: Duration,
}

/// Rounds that end within this time share a mark.
const STEP: Duration = Duration::from_millis(100);

/// Marks beyond this many are forgotten: with steps of 100 ms those of several minutes are kept.
const MOST_MARKS: usize = 4096;

impl CompressionTime {
    /// A round that ended `now` has compressed for so long.
    pub(super) fn add(&mut self, now: Instant, took: Duration) {
        let total = self.total() + took;
        let (last, before) = (
            self.marks.len().checked_sub(1),
            self.marks.len().checked_sub(2),
        );
        let begins = before.map(|index| self.marks[index].0);
        match last {
            Some(last) if begins.is_some_and(|at| now < at + STEP) => {
                self.marks[last] = (now, total);
            }
            _ => self.marks.push_back((now, total)),
        }
        if self.marks.len() > MOST_MARKS {
            if let Some((_, forgotten)) = self.marks.pop_front() {
                self.before = forgotten;
            }
        }
    }

    /// What of the time since then went into compression.
    pub(super) fn since(&self, then: Instant) -> Duration {
        if self.marks.back().is_none_or(|(at, _)| *at <= then) {
            return Duration::ZERO;
        }
        let earlier = self.marks.partition_point(|(at, _)| *at <= then);
        let until_then = match earlier.checked_sub(1) {
            Some(index) => self.marks[index].1,
            None => self.before,
        };
        self.total().saturating_sub(until_then)
    }

    fn total(&self) -> Duration {
        self.marks.back().map_or(self.before, |(_, total)| *total)
    }
}

/// Whether the next batch may take long to compress, as far as those before it tell.
#[derive(Clone, Copy)]
pub(super) enum CodecPace {
    /// No batch was compressed yet.
    Unknown,
    /// No batch took long.
    Quick,
    /// The latest batch that took long was done then.
    Slow(Instant),
}

/// What a link's thread, which reads no answers meanwhile, may spend on a batch.
const SLOW_COMPRESSION: Duration = Duration::from_millis(1);

/// A slow batch among many quick ones is followed by another one sooner or later.
const SLOW_BATCH_COUNTS_FOR: Duration = Duration::from_secs(10);

impl CodecPace {
    /// A batch was done `now` and took so long.
    pub(super) fn learn(&mut self, now: Instant, took: Duration) {
        if took > SLOW_COMPRESSION {
            *self = Self::Slow(now);
        } else if matches!(self, Self::Unknown) {
            *self = Self::Quick;
        }
    }

    pub(super) fn may_be_slow(self, now: Instant) -> bool {
        match self {
            Self::Unknown => true,
            Self::Quick => false,
            Self::Slow(at) => now < at + SLOW_BATCH_COUNTS_FOR,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn what_came_after_a_time_counts_and_what_came_before_does_not() {
        let start = Instant::now();
        let mut time = CompressionTime::default();
        assert_eq!(time.since(start), Duration::ZERO);
        for round in 1..=5 {
            time.add(start + round * 400 * MS, 300 * MS);
        }
        assert_eq!(time.since(start), 1500 * MS);
        assert_eq!(time.since(start + 900 * MS), 900 * MS);
        assert_eq!(time.since(start + 2000 * MS), Duration::ZERO);
    }

    #[test]
    fn a_codec_counts_as_slow_until_a_quick_batch_and_for_a_while_after_each_slow_one() {
        let start = Instant::now();
        let mut pace = CodecPace::Unknown;
        assert!(pace.may_be_slow(start));
        pace.learn(start, MS / 3);
        assert!(!pace.may_be_slow(start));
        pace.learn(start, 2000 * MS);
        pace.learn(start + MS, MS / 3);
        assert!(pace.may_be_slow(start + 9999 * MS));
        assert!(!pace.may_be_slow(start + 10_000 * MS));
    }

    #[test]
    fn many_short_rounds_are_few_marks_and_none_is_lost() {
        let start = Instant::now();
        let mut time = CompressionTime::default();
        for round in 1..=1_000_000 {
            time.add(start + round * 10 * MS, 5 * MS);
        }
        assert!(time.marks.len() <= MOST_MARKS);
        let spans = 10_000 * MS;
        let since = time.since(start + 10_000_000 * MS - spans);
        assert!(since >= 5000 * MS && since <= 5000 * MS + STEP, "{since:?}");
    }
}
