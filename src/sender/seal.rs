//! The last step of a batch before it is sent: its bytes become final.

use std::sync::Arc;

use super::run::Sender;
use crate::accumulator::batch::{Contents, ProducerBatch, SealedBatch};
use crate::accumulator::partition::PartitionId;
use crate::connection::link::Network;
use crate::error::{Error, ErrorKind};
use crate::record::compression::CompressionType;
use crate::record::header::{Attributes, BATCH_HEADER_BYTES, ProducerStamp, restamp, seal};

/// Whether a batch is as small as brokers are known to want it.
pub(super) enum Fit {
    Fits,
    /// It would have so many bytes.
    TooLarge(usize),
}

impl<N: Network> Sender<N> {
    /// Makes the batch's bytes final: compressed, stamped with identity and sequence, CRC last. A batch that was sealed
    /// before keeps its bytes, unless the partition has a new identity since.
    ///
    /// Nothing has happened if it is larger than the broker is known to take.
    pub(super) fn seal(
        &mut self,
        partition_id: PartitionId,
        batch: &mut ProducerBatch,
    ) -> Result<Fit, Error> {
        // While a codec works the batch keeps its records: should that panic, they are still told their outcome. Should it
        // fail, no sequence is taken.
        let compressed = self.compress(batch)?;
        if matches!(batch.contents, Contents::Building { .. }) && batch.record_count() > 1 {
            let bytes = compressed.as_ref().map_or(batch.size(), Vec::len);
            if bytes > batch.partition.sizes().limit.most() {
                return Ok(Fit::TooLarge(bytes));
            }
        }
        let stamp = self.stamp(partition_id, batch)?;
        match std::mem::replace(&mut batch.contents, Contents::Gone) {
            Contents::Building {
                builder,
                mut reservation,
            } => {
                let records = builder.count();
                let codec = batch.partition.config().compression.codec;
                let header = builder.header(Attributes::new(codec), stamp);
                let mut bytes = match compressed {
                    None => builder.into_buffer(),
                    Some(bytes) => {
                        // What was compressed away comes back to the budget at once.
                        let overhead = reservation.bytes().saturating_sub(builder.capacity());
                        drop(builder);
                        reservation.shrink_to(overhead + bytes.capacity());
                        bytes
                    }
                };
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
                    // Certainly not written under its old stamp, or it would have kept it.
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

    /// The bytes of a batch that is not sealed yet, behind room for the header; none where there is nothing to compress.
    fn compress(&mut self, batch: &ProducerBatch) -> Result<Option<Vec<u8>>, Error> {
        let compression = batch.partition.config().compression;
        let Contents::Building { builder, .. } = &batch.contents else {
            return Ok(None);
        };
        if compression.codec == CompressionType::None {
            return Ok(None);
        }
        let compressed = self.codec.compress(compression, builder.records());
        // Compression is what makes a round long; records take their time from the worker's clock.
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

/// The batch's bytes under another identity. Where the network still reads the old bytes they are left alone.
fn restamped(
    sealed: Arc<SealedBatch>,
    stamp: ProducerStamp,
    batch: &ProducerBatch,
) -> Arc<SealedBatch> {
    debug_assert!(sealed.bytes.len() >= BATCH_HEADER_BYTES);
    let mut sealed = Arc::try_unwrap(sealed).unwrap_or_else(|shared| SealedBatch {
        bytes: shared.bytes.clone(),
        reservation: batch.partition.take_memory_now(shared.bytes.len()),
    });
    restamp(&mut sealed.bytes, stamp);
    Arc::new(sealed)
}
