//! Compresses a worker's batches and measures how long that takes.
//!
//! Slow compression must not cause failures. So batches that wait meanwhile get more time. And a link's thread runs no
//! round that may compress for long, because it reads no answers meanwhile.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::record::compression::{Compression, CompressionError, CompressionType, Compressor};
use crate::time::monotonic_now;

/// A round ends when its compression has taken this time, even if batches are still ready; the next round begins at once. A
/// round without compression is much shorter than this, and a codec compresses the usual batch in less.
const MOST_COMPRESSION: Duration = Duration::from_millis(5);

/// A worker's codec, and the time that it takes.
pub(super) struct Codec {
    compressor: Compressor,
    /// The time that compression has taken in the current or latest round.
    in_this_round: Duration,
    time: CompressionTime,
    pace: CodecPace,
}

impl Codec {
    pub(super) fn new(codec: CompressionType) -> Self {
        Self {
            compressor: Compressor::default(),
            in_this_round: Duration::ZERO,
            time: CompressionTime::default(),
            pace: match codec {
                CompressionType::None => CodecPace::Quick,
                _ => CodecPace::Unknown,
            },
        }
    }

    /// Begins to measure a round's compression.
    pub(super) fn begin_round(&mut self) {
        self.in_this_round = Duration::ZERO;
    }

    /// Adds the compression time of a round that has [compressed enough](Self::has_compressed_enough).
    pub(super) fn end_round(&mut self) {
        self.time.add(monotonic_now(), self.in_this_round);
    }

    /// Returns whether the round has spent [`MOST_COMPRESSION`] on compression. If so, it sends the batches that it has
    /// taken and ends, so that answers and other brokers are served before the next batch.
    pub(super) fn has_compressed_enough(&self) -> bool {
        self.in_this_round >= MOST_COMPRESSION
    }

    /// Returns the time that compression took in the latest round.
    pub(super) fn time_of_round(&self) -> Duration {
        self.in_this_round
    }

    /// Returns whether compression may make a round long.
    pub(super) fn may_be_slow(&self, now: Instant) -> bool {
        self.pace.may_be_slow(now)
    }

    /// Returns how much of the time since `then` went into slow compression.
    pub(super) fn time_since(&self, then: Instant) -> Duration {
        self.time.since(then)
    }

    /// Returns the compressed `records`, with room for a batch's header before them.
    pub(super) fn compress(
        &mut self,
        compression: Compression,
        records: &[u8],
    ) -> Result<Vec<u8>, CompressionError> {
        let begun = monotonic_now();
        let compressed = self.compressor.compress_batch(compression, records);
        let done = monotonic_now();
        let took = done.saturating_duration_since(begun);
        self.in_this_round += took;
        self.pace.learn(done, took);
        compressed
    }
}

/// How long and when a worker has compressed. Only rounds that compressed for [`MOST_COMPRESSION`] count.
#[derive(Default)]
struct CompressionTime {
    /// The ends of rounds in order, each with the total compression time until that end.
    marks: VecDeque<(Instant, Duration)>,
    /// The total compression time at the last mark that was dropped.
    before: Duration,
}

/// Rounds that end within this time share a mark.
const STEP: Duration = Duration::from_millis(100);

/// The largest number of marks. Even if every step has a mark, they cover several minutes.
const MOST_MARKS: usize = 4096;

impl CompressionTime {
    /// Adds a round that ended `now` and compressed for `took`.
    fn add(&mut self, now: Instant, took: Duration) {
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
            if let Some((_, total)) = self.marks.pop_front() {
                self.before = total;
            }
        }
    }

    /// Returns how much of the time since `then` went into compression.
    fn since(&self, then: Instant) -> Duration {
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

/// Whether the next batch may take long to compress, to judge by the earlier batches.
#[derive(Clone, Copy)]
enum CodecPace {
    /// No batch was compressed yet.
    Unknown,
    /// No batch took long.
    Quick,
    /// The latest batch that took long was compressed at this time.
    Slow(Instant),
}

/// The longest time that a link's thread should spend on a batch, because it reads no answers meanwhile.
const SLOW_COMPRESSION: Duration = Duration::from_millis(1);

/// How long the codec counts as slow after a slow batch. Quick batches do not end this, because another slow one may
/// follow.
const SLOW_BATCH_COUNTS_FOR: Duration = Duration::from_secs(10);

impl CodecPace {
    /// Notes that a batch was compressed `now` and took `took`.
    fn learn(&mut self, now: Instant, took: Duration) {
        if took > SLOW_COMPRESSION {
            *self = Self::Slow(now);
        } else if matches!(self, Self::Unknown) {
            *self = Self::Quick;
        }
    }

    fn may_be_slow(self, now: Instant) -> bool {
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
    fn only_compression_after_the_given_time_counts() {
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
    fn many_short_rounds_share_a_few_marks_and_all_of_them_count() {
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
