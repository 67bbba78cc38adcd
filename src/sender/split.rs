//! Splits batches that are too large for their topic into smaller ones.

use std::time::Instant;

use super::run::Sender;
use crate::accumulator::batch::{Contents, ProducerBatch};
use crate::accumulator::completion::Outcome;
use crate::accumulator::partition::PartitionId;
use crate::connection::link::Network;
use crate::error::Error;
use crate::record::compression::{CompressionType, decompress};
use crate::record::header::{BATCH_HEADER_BYTES, base_timestamp};
use crate::record::split::{Part, split};

/// A split makes about this many parts at most, because each part needs memory of its own.
const MOST_PARTS: usize = 16;

impl<N: Network> Sender<N> {
    /// Splits a batch that the broker refused as too large, and lowers the size limit of its topic. The parts keep the
    /// order and the sequences of the records. They are sent without a backoff, and lose no retry. Fails the batch if it
    /// cannot be split.
    pub(super) fn split(
        &mut self,
        partition_id: PartitionId,
        batch: Box<ProducerBatch>,
        error: Error,
        now: Instant,
    ) {
        let codec = batch.partition.config().compression.codec;
        let Contents::Sealed { bytes, .. } = &batch.contents else {
            return self.give_up(partition_id, batch, Outcome::Failed(error));
        };
        let bytes = &bytes.bytes;
        batch.partition.sizes().limit.refused(bytes.len());
        // No limit is needed: this producer built the batch, so its uncompressed size is bounded.
        let parts = decompress(codec, &bytes[BATCH_HEADER_BYTES..], usize::MAX)
            .ok()
            .and_then(|records| {
                let most = part_bytes(&batch, records.len(), bytes.len());
                let parts = split(&records, base_timestamp(bytes), most).ok()?;
                Some((parts, BATCH_HEADER_BYTES + records.len()))
            });
        match parts {
            Some((parts, uncompressed)) if parts.len() > 1 => {
                if codec != CompressionType::None {
                    let ratio = &batch.partition.sizes().ratio;
                    ratio.reset_after_split(codec, bytes.len(), uncompressed);
                }
                batch.partition.batches_requeued(parts.len());
                self.queue_parts(partition_id, batch, parts);
                self.reschedule(partition_id, now);
            }
            _ => self.give_up(partition_id, batch, Outcome::Failed(error)),
        }
    }

    /// Splits a batch that was not sent yet, because its `bytes` would exceed the size limit of its topic. Returns the
    /// batch if it cannot be split.
    pub(super) fn split_to_fit(
        &mut self,
        partition_id: PartitionId,
        batch: Box<ProducerBatch>,
        bytes: usize,
    ) -> Result<(), Box<ProducerBatch>> {
        let Contents::Building { builder, .. } = &batch.contents else {
            return Err(batch);
        };
        let records = builder.records();
        let most = part_bytes(&batch, records.len(), bytes);
        match split(records, builder.base_timestamp(), most) {
            Ok(parts) if parts.len() > 1 => {
                // The batch itself is counted already.
                batch.partition.batches_requeued(parts.len() - 1);
                self.queue_parts(partition_id, batch, parts);
                Ok(())
            }
            _ => Err(batch),
        }
    }

    fn queue_parts(
        &mut self,
        partition_id: PartitionId,
        batch: Box<ProducerBatch>,
        parts: Vec<Part>,
    ) {
        let parts = batch.split(parts);
        let state = self.state(partition_id);
        for part in parts {
            state.put_back(part);
        }
    }
}

/// Returns the largest uncompressed size for the parts of a batch of several records. `records` is the uncompressed size of
/// the records, and `bytes` the size of the whole batch as it was, or would be, sent. The parts respect the topic's limit
/// and `batch.size`. A part is always smaller than the batch. There are about [`MOST_PARTS`] of them at most. Parts that
/// are still too large are split again before they are sent.
fn part_bytes(batch: &ProducerBatch, records: usize, bytes: usize) -> usize {
    let uncompressed = BATCH_HEADER_BYTES + records;
    let limit = batch.partition.sizes().limit.most() as u128;
    let fits = limit * uncompressed as u128 / bytes.max(1) as u128;
    let fits = usize::try_from(fits).unwrap_or(usize::MAX);
    let most = fits
        .min(batch.partition.config().batch_size)
        .max(uncompressed / MOST_PARTS);
    most.min(uncompressed - 1)
}
