//! The settings that can differ from one topic to another.

use std::time::Duration;

use crate::record::compression::Compression;

/// The settings of a topic. Each of its partitions [holds](super::partition::Partition::config) them. Callers read them
/// when they fill batches. The worker reads them when it sends batches.
#[derive(Clone, Debug)]
pub(crate) struct TopicConfig {
    /// The protocol's number for `acks`: 0, 1, or -1 for `all`.
    pub(crate) acks: i16,
    /// `linger.ms`: how long a batch waits for more records.
    pub(crate) linger: Duration,
    /// `batch.size`: a batch of this many (compressed) bytes is full. At least 1.
    pub(crate) batch_size: usize,
    /// The most bytes of a batch before compression, however well the batch compresses. A single record can exceed it.
    pub(crate) max_batch_bytes: usize,
    /// The codec and its level.
    pub(crate) compression: Compression,
    /// `delivery.timeout.ms`: the time within which each record has its outcome.
    pub(crate) delivery_timeout: Duration,
}
