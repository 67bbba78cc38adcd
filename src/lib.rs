//! A blocking producer for Apache Kafka: plain OS threads, no async runtime.

pub mod backoff;
pub mod time;
pub mod topic_partition;

pub(crate) mod protocol;
pub use protocol::ErrorCode;

pub mod error;

pub mod record;

pub mod metadata;

pub mod producer;

#[cfg(feature = "mock")]
pub mod mock;
