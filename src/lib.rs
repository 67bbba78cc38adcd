//! A blocking producer for Apache Kafka: plain OS threads, no async runtime.

pub mod backoff;
pub mod time;
pub mod topic_partition;

pub mod protocol;

pub mod error;

pub(crate) mod record;
pub use record::compression::{CompressionType, UnknownCompressionType};

pub mod metadata;

pub mod producer;

#[cfg(feature = "mock")]
pub mod mock;
