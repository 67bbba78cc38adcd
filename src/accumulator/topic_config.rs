//! The settings that can differ from one topic to another.

use std::time::Duration;

use crate::record::compression::Compression;

/// The settings of a topic. Each of its partitions [holds](super::partition::Partition::config) them: callers read them when
/// they fill batches, and the worker when it sends them.
#[derive(Clone, Debug)]
pub(crate) struct TopicConfig {
    /// `acks` as the protocol numbers it: -1 for all, 0, 1.
    pub(crate) acks: i16,
    /// How long a batch waits for more records.
    pub(crate) linger: Duration,
    /// `batch.size`: a batch of this many (compressed) bytes is full. At least 1.
    pub(crate) batch_size: usize,
    /// The uncompressed bytes that a batch of several records does not exceed, however well it is expected to compress.
    pub(crate) max_batch_bytes: usize,
    /// The codec and its level.
    pub(crate) compression: Compression,
    /// The time within which each record has its outcome.
    pub(crate) delivery_timeout: Duration,
}
