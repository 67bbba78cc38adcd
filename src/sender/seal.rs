//! The last step of a batch before it is sent: its bytes become final.

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

/// Whether a batch is small enough for the brokers, as far as its topic has learnt.
pub(super) enum Fit {
    Fits,
    /// It would have this many bytes.
    TooLarge(usize),
}

impl<N: Network> Sender<N> {
    /// Makes the batch's bytes final: compresses them, stamps them with identity and sequence, and adds the CRC. A batch that
    /// was sealed before keeps its bytes, unless the partition has a new identity since. Does nothing if the batch is too
    /// large.
    pub(super) fn seal(
        &mut self,
        partition_id: PartitionId,
        batch: &mut ProducerBatch,
        numbering: Numbering,
    ) -> Result<Fit, Error> {
        // The batch keeps its records while the codec works: if that panics, they still get their outcome. If it fails, no
        // sequence is used.
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

    /// Returns the compressed records of a batch that is not sealed yet, after room for the header. `None` if there is nothing
    /// to compress.
    fn compress(&mut self, batch: &ProducerBatch) -> Result<Option<Vec<u8>>, Error> {
        let compression = batch.partition.config().compression;
        let Contents::Building { builder, .. } = &batch.contents else {
            return Ok(None);
        };
        if compression.codec == CompressionType::None {
            return Ok(None);
        }
        let compressed = self.codec.compress(compression, builder.records());
        // Compression makes a round long, and records take their time from the worker's clock.
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

/// Returns the buffer that goes to the broker. The memory that compression saved returns to the budget at once.
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

/// Returns the batch's bytes under another identity. If the network still reads the old bytes, these are a copy.
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
