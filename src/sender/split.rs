//! Batches that are too large for their topic are split into smaller ones.

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

impl<N: Network> Sender<N> {
    /// Splits a batch that the broker refused as too large, at least into halves, and notes that the topic's batches must be
    /// smaller. Order and sequences stay. The attempt does not count as a retry, and there is no backoff.
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
        // The batch is our own, so its uncompressed size was bounded when it was built.
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

    /// Splits a batch that was not sent yet and would be too large for the broker with `bytes`. Returns the batch if it cannot
    /// be split.
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
                // The batch itself counted as one.
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

/// Returns the uncompressed size for the parts of a batch of several records that was, or would be, sent with `bytes`. The
/// topic's limit and `batch.size` hold. It is always less than the batch, and not so small that there are very many parts,
/// each of which needs memory of its own. Parts that are still too large are split before they are sent.
fn part_bytes(batch: &ProducerBatch, records: usize, bytes: usize) -> usize {
    const MOST_PARTS: usize = 16;
    let uncompressed = BATCH_HEADER_BYTES + records;
    let limit = batch.partition.sizes().limit.most() as u128;
    let fits = limit * uncompressed as u128 / bytes.max(1) as u128;
    let fits = usize::try_from(fits).unwrap_or(usize::MAX);
    let most = fits
        .min(batch.partition.config().batch_size)
        .max(uncompressed / MOST_PARTS);
    most.min(uncompressed - 1)
}
