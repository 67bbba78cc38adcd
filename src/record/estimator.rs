//! Estimates how well a topic's records compress, so that a batch has about `batch.size` bytes after compression.

use std::sync::atomic::{AtomicU32, Ordering};

use super::compression::CompressionType;

/// The expected compression ratio (compressed size / uncompressed size) of each codec for one topic. The rules are
/// Java's: it starts at 1, rises quickly when batches compress worse than expected, and falls slowly.
///
/// Threads share it without a lock. If a race loses an update, the next batch makes up for it.
#[derive(Debug)]
pub(crate) struct CompressionRatioEstimator {
    /// By codec number, in units of 1 / [`ONE`].
    ratios: [AtomicU32; 5],
}

impl Default for CompressionRatioEstimator {
    fn default() -> Self {
        Self {
            ratios: [const { AtomicU32::new(ONE) }; 5],
        }
    }
}

impl CompressionRatioEstimator {
    /// The expected ratio, above 0. A caller that sizes a batch adds Java's margin of 5 %.
    pub(crate) fn estimate(&self, codec: CompressionType) -> f64 {
        f64::from(self.ratio(codec).load(Ordering::Relaxed)) / f64::from(ONE)
    }

    /// Updates the estimate after a batch was compressed.
    pub(crate) fn update(
        &self,
        codec: CompressionType,
        compressed_bytes: usize,
        uncompressed_bytes: usize,
    ) {
        let observed = fixed_point(compressed_bytes, uncompressed_bytes);
        let ratio = self.ratio(codec);
        let current = ratio.load(Ordering::Relaxed);
        let updated = if observed > current {
            observed.max(current.saturating_add(WORSE_STEP))
        } else {
            observed.max(current.saturating_sub(BETTER_STEP))
        };
        if updated != current {
            ratio.store(updated, Ordering::Relaxed);
        }
    }

    /// Resets the estimate after a batch had to be split: to the ratio of this batch, but at least 1.
    pub(crate) fn reset_after_split(
        &self,
        codec: CompressionType,
        compressed_bytes: usize,
        uncompressed_bytes: usize,
    ) {
        let observed = fixed_point(compressed_bytes, uncompressed_bytes);
        self.ratio(codec)
            .store(observed.max(ONE), Ordering::Relaxed);
    }

    fn ratio(&self, codec: CompressionType) -> &AtomicU32 {
        &self.ratios[codec.code() as usize]
    }
}

const ONE: u32 = 1_000_000;
const WORSE_STEP: u32 = 50_000;
const BETTER_STEP: u32 = 5_000;

/// At least 1, because callers divide by the estimate.
fn fixed_point(compressed_bytes: usize, uncompressed_bytes: usize) -> u32 {
    let ratio = compressed_bytes as u128 * u128::from(ONE) / (uncompressed_bytes.max(1) as u128);
    u32::try_from(ratio).unwrap_or(u32::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODEC: CompressionType = CompressionType::Lz4;

    #[test]
    fn starts_at_one_and_learns_for_each_codec_separately() {
        let estimator = CompressionRatioEstimator::default();
        estimator.update(CODEC, 50, 100);
        assert_eq!(estimator.estimate(CODEC), 0.995);
        assert_eq!(estimator.estimate(CompressionType::Zstd), 1.0);
    }

    #[test]
    fn falls_slowly_to_the_observed_ratio_and_no_further() {
        let estimator = CompressionRatioEstimator::default();
        for _ in 0..90 {
            estimator.update(CODEC, 50, 100);
        }
        assert_eq!(estimator.estimate(CODEC), 0.55);
        for _ in 0..20 {
            estimator.update(CODEC, 50, 100);
        }
        assert_eq!(estimator.estimate(CODEC), 0.5);
    }

    #[test]
    fn rises_at_once_to_a_worse_ratio_and_at_least_by_a_step() {
        let estimator = CompressionRatioEstimator::default();
        estimator.update(CODEC, 101, 100);
        assert_eq!(estimator.estimate(CODEC), 1.05);
        estimator.update(CODEC, 3, 2);
        assert_eq!(estimator.estimate(CODEC), 1.5);
    }

    #[test]
    fn a_split_resets_the_estimate() {
        let estimator = CompressionRatioEstimator::default();
        estimator.update(CODEC, 1, 100);
        estimator.reset_after_split(CODEC, 30, 100);
        assert_eq!(estimator.estimate(CODEC), 1.0);
        estimator.reset_after_split(CODEC, 120, 100);
        assert_eq!(estimator.estimate(CODEC), 1.2);
    }

    #[test]
    fn absurd_sizes_neither_overflow_nor_reach_zero() {
        let estimator = CompressionRatioEstimator::default();
        estimator.update(CODEC, usize::MAX, 0);
        estimator.update(CODEC, usize::MAX, 1);
        assert!(estimator.estimate(CODEC) > 4000.0);
        for _ in 0..1_000_000 {
            estimator.update(CODEC, 0, usize::MAX);
        }
        assert!(estimator.estimate(CODEC) > 0.0);
    }
}
