//! A blocking producer for Apache Kafka: plain OS threads, no async runtime.

pub(crate) mod backoff;
pub(crate) mod sync;
pub(crate) mod time;
mod topic_partition;
pub use topic_partition::TopicPartition;

pub(crate) mod protocol;
pub use protocol::ErrorCode;

mod error;
pub use error::{Delivery, Error, ErrorKind};

pub(crate) mod record;
pub use record::compression::{CompressionType, UnknownCompressionType};

mod metadata;
pub use metadata::{Broker, Cluster, PartitionMetadata, TopicId, TopicMetadata};

pub(crate) mod connection;

pub(crate) mod sender;

pub(crate) mod accumulator;

mod producer;
pub use producer::{
    Acks, BoxError, ClientDnsLookup, DefaultSerializer, Future, Header, HeaderValue, Headers,
    KafkaProducer, MetadataRecoveryStrategy, Partitioner, PartitionerClass, ProducerBuilder,
    ProducerConfig, ProducerRecord, RecordMetadata, RoundRobinPartitioner, SecurityProtocol,
    SendAllError, SendError, Serializer, SerializerFn, ToBytes, TopicName, Uuid,
    UuidTextSerializer, partition_for_key, serializer_fn,
};

#[cfg(any(test, feature = "mock"))]
pub mod mock;

#[cfg(feature = "unstable-internals")]
#[doc(hidden)]
pub mod internals;

/// The README's code compiles: `cargo test --doc` reads it here.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
