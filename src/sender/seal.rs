//! Seals batches: makes their bytes final before they are sent.

use std::sync::Arc;

use super::run::Sender;
use crate::accumulator::batch::{Contents, ProducerBatch, SealedBatch};
use crate::accumulator::memory::Reservation;
use crate::accumulator::partition::PartitionId;
use crate::connection::link::Network;
use crate::error::{Error, ErrorKind};
use crate::identity::Numbering;
use crate::record::builder::BatchBuilder;
use crate::record::compression::CompressionType;
use crate::record::header::{Attributes, BATCH_HEADER_BYTES, ProducerStamp, restamp, seal};

/// Whether a batch is within the size limit that its topic has learnt.
pub(super) enum Fit {
    Fits,
    /// The batch would have this many bytes.
    TooLarge(usize),
}

impl<N: Network> Sender<N> {
    /// Makes the batch's bytes final: compresses the records, writes the producer stamp, and adds the CRC. A batch that was
    /// sealed before keeps its bytes, unless it gets another stamp. A batch that is too large is not sealed.
    pub(super) fn seal(
        &mut self,
        partition_id: PartitionId,
        batch: &mut ProducerBatch,
        numbering: Numbering,
    ) -> Result<Fit, Error> {
        // The batch keeps its records during compression, so they get their outcome even if the codec panics. The stamp
        // comes after it, so a batch that cannot be compressed uses up no sequence.
        let compressed = self.compress(batch)?;
        if matches!(batch.contents, Contents::Building { .. }) && batch.record_count() > 1 {
            let bytes = compressed.as_ref().map_or(batch.size(), Vec::len);
            if bytes > batch.partition.sizes().limit.most() {
                return Ok(Fit::TooLarge(bytes));
            }
        }
        let stamp = self.stamp(partition_id, batch, numbering)?;
        match std::mem::replace(&mut batch.contents, Contents::Gone) {
            Contents::Building {
                builder,
                mut reservation,
            } => {
                let records = builder.count();
                let codec = batch.partition.config().compression.codec;
                let header = builder.header(Attributes::new(codec), stamp);
                let mut bytes = final_bytes(builder, compressed, &mut reservation);
                seal(&mut bytes, &header);
                let bytes = Arc::new(SealedBatch { bytes, reservation });
                batch.contents = Contents::Sealed {
                    bytes,
                    stamp,
                    records,
                };
            }
            Contents::Sealed {
                bytes,
                stamp: sealed_with,
                records,
            } => {
                let bytes = if sealed_with == stamp {
                    bytes
                } else {
                    // The batch gets another stamp only if it is certainly not written.
                    (batch.maybe_written, batch.is_appended) = (false, false);
                    restamped(bytes, stamp, batch)
                };
                batch.contents = Contents::Sealed {
                    bytes,
                    stamp,
                    records,
                };
            }
            Contents::Gone => {}
        }
        batch.stamp = (stamp != ProducerStamp::NONE).then_some(stamp);
        Ok(Fit::Fits)
    }

    /// Returns the compressed records of a batch, with room for the header before them. `None` if the batch is sealed
    /// already or is not to be compressed.
    fn compress(&mut self, batch: &ProducerBatch) -> Result<Option<Vec<u8>>, Error> {
        let compression = batch.partition.config().compression;
        let Contents::Building { builder, .. } = &batch.contents else {
            return Ok(None);
        };
        if compression.codec == CompressionType::None {
            return Ok(None);
        }
        let compressed = self.codec.compress(compression, builder.records());
        // Callers take the time of their records from the worker's clock. A long round must not delay it.
        self.handle().clock().tick_if_running();
        let bytes = compressed.map_err(|error| {
            Error::new(ErrorKind::Compression, "the batch cannot be compressed")
                .with_delivery(batch.delivery())
                .with_source(error)
        })?;
        let ratio = &batch.partition.sizes().ratio;
        ratio.update(compression.codec, bytes.len(), builder.len());
        Ok(Some(bytes))
    }
}

/// Returns the buffer that goes to the broker. The memory that compression saved goes back to the budget.
fn final_bytes(
    builder: BatchBuilder,
    compressed: Option<Vec<u8>>,
    reservation: &mut Reservation,
) -> Vec<u8> {
    let Some(bytes) = compressed else {
        return builder.into_buffer();
    };
    let overhead = reservation.bytes().saturating_sub(builder.capacity());
    drop(builder);
    reservation.shrink_to(overhead + bytes.capacity());
    bytes
}

/// Returns the batch's bytes with another stamp. Copies them if the network still reads the old ones.
fn restamped(
    sealed: Arc<SealedBatch>,
    stamp: ProducerStamp,
    batch: &ProducerBatch,
) -> Arc<SealedBatch> {
    debug_assert!(sealed.bytes.len() >= BATCH_HEADER_BYTES);
    let mut sealed = Arc::try_unwrap(sealed).unwrap_or_else(|shared| SealedBatch {
        bytes: shared.bytes.clone(),
        reservation: batch.partition.reserve_beyond_budget(shared.bytes.len()),
    });
    restamp(&mut sealed.bytes, stamp);
    Arc::new(sealed)
}
