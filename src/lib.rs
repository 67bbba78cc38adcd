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
    Acks, BoxError, ClientDnsLookup, DefaultSerializer, Header, HeaderValue, Headers,
    MetadataRecoveryStrategy, Partitioner, PartitionerClass, ProducerBuilder, ProducerConfig,
    ProducerRecord, RecordMetadata, RoundRobinPartitioner, SecurityProtocol, SendError, Serializer,
    SerializerFn, ToBytes, TopicName, Uuid, UuidTextSerializer, partition_for_key, serializer_fn,
};

#[cfg(feature = "mock")]
pub mod mock;
