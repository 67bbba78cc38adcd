//! A blocking producer for Apache Kafka: plain OS threads, no async runtime.

pub mod backoff;
pub mod time;
pub mod topic_partition;

pub mod protocol;

mod error;
pub use error::{Delivery, Error, ErrorKind};

pub(crate) mod record;
pub use record::compression::{CompressionType, UnknownCompressionType};

pub mod metadata;

mod producer;
pub use producer::{
    Acks, ClientDnsLookup, MetadataRecoveryStrategy, PartitionerClass, ProducerConfig,
    SecurityProtocol,
};

#[cfg(feature = "mock")]
pub mod mock;
