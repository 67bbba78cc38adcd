//! A blocking producer for Apache Kafka: plain OS threads, no async runtime.

pub(crate) mod backoff;
pub(crate) mod sync;
pub(crate) mod time;
pub mod topic_partition;

pub(crate) mod protocol;
pub use protocol::ErrorCode;

pub mod error;

pub(crate) mod record;
pub use record::compression::{CompressionType, UnknownCompressionType};

pub mod metadata;

pub(crate) mod accumulator;

pub mod producer;

#[cfg(feature = "mock")]
pub mod mock;
