//! Access to internal layers for this crate's own benchmarks, tests and fuzz targets: the record layer, the Produce
//! request, name resolution, logging. Not part of the public API.

#[cfg(any(test, fuzzing))]
pub mod fuzz;

use std::sync::Arc;

pub use crate::connection::resolve::test_names::TestNames;

use crate::CompressionType;
use crate::ProducerBuilder;
use crate::protocol::messages::{ProducePartition, ProduceRequest, ProduceTopic};
use crate::record::builder::BatchBuilder;
use crate::record::compression::{Compression, Compressor};
use crate::record::header::{Attributes, BatchHeader, ProducerStamp, seal};

/// A batch under construction.
pub struct Batch(BatchBuilder);

impl Batch {
    /// Makes an empty batch that holds as many bytes as the capacity of `buffer`.
    pub fn new(buffer: Vec<u8>) -> Self {
        Self(BatchBuilder::new(buffer))
    }

    /// Adds a record without headers, or returns false if it does not fit.
    #[inline]
    pub fn append(&mut self, timestamp_ms: i64, key: Option<&[u8]>, value: &[u8]) -> bool {
        const NO_HEADERS: &[(&str, Option<&[u8]>)] = &[];
        let fits = self
            .0
            .fits(usize::MAX, timestamp_ms, key, Some(value), NO_HEADERS);
        if fits {
            self.0.append(timestamp_ms, key, Some(value), NO_HEADERS);
        }
        fits
    }

    /// Returns the number of records.
    pub fn count(&self) -> i32 {
        self.0.count()
    }

    /// Returns the size in bytes, header included.
    pub fn size(&self) -> usize {
        self.0.len()
    }

    /// Returns the header of the batch, to be sealed later, and its buffer.
    pub fn into_parts(self) -> (Header, Vec<u8>) {
        let header = self
            .0
            .header(Attributes::new(CompressionType::None), ProducerStamp::NONE);
        (Header(header), self.0.into_buffer())
    }

    /// Returns the batch as it is sent uncompressed, without a producer id.
    pub fn seal(self) -> Vec<u8> {
        let (header, mut bytes) = self.into_parts();
        header.seal(&mut bytes);
        bytes
    }
}

/// The header of an uncompressed batch.
pub struct Header(BatchHeader);

impl Header {
    /// Writes the header and the CRC into the batch's buffer.
    pub fn seal(&self, bytes: &mut [u8]) {
        seal(bytes, &self.0);
    }
}

/// The codecs of one thread.
#[derive(Default)]
pub struct Codecs(Compressor);

impl Codecs {
    /// Returns the batch as it is sent with `codec` at its default level, without a producer id. `None` if compression
    /// failed.
    pub fn seal(&mut self, batch: &Batch, codec: CompressionType) -> Option<Vec<u8>> {
        let compression = Compression::with_default_level(codec);
        let mut bytes = self.0.compress_batch(compression, batch.0.records()).ok()?;
        seal(
            &mut bytes,
            &batch.0.header(Attributes::new(codec), ProducerStamp::NONE),
        );
        Some(bytes)
    }
}

/// Encodes a Produce request of v7 with the batches of partitions 0, 1, 2 and so on of `topic`. Appends the request
/// without the batches to `out`, and the positions where they belong to `cuts`. Returns false if the request cannot be
/// encoded.
pub fn encode_produce_request(
    correlation_id: i32,
    acks: i16,
    topic: &str,
    batches: &[Vec<u8>],
    out: &mut Vec<u8>,
    cuts: &mut Vec<usize>,
) -> bool {
    let partitions = batches
        .iter()
        .zip(0..)
        .map(|(records, index)| ProducePartition { index, records })
        .collect();
    let topics = vec![ProduceTopic {
        name: topic,
        id: [0; 16],
        partitions,
    }];
    let request = ProduceRequest {
        transactional_id: None,
        acks,
        timeout_ms: 30_000,
        topics,
    };
    request
        .encode_scattered(7, correlation_id, Some("bench"), out, cuts)
        .is_ok()
}

/// Makes the producer of `builder` resolve host names with `names`: a test cannot change a name server's answers.
pub fn resolve_with<K, V, KS, VS>(
    mut builder: ProducerBuilder<K, V, KS, VS>,
    names: &Arc<TestNames>,
) -> ProducerBuilder<K, V, KS, VS> {
    builder.config.resolve_with(names.clone());
    builder
}

/// Makes each producer thread that logs a line with `text` panic, in the whole process: for tests of the other threads.
pub fn panic_where_logged(text: &str) {
    crate::threads::logging::fatal::add(text);
}

/// Ends the effect of [`panic_where_logged`].
pub fn log_all_again(text: &str) {
    crate::threads::logging::fatal::remove(text);
}
