//! The public producer API.

mod builder;
mod config;
mod headers;
mod murmur2;
mod partitioner;
mod record;
mod send_error;
mod serializer;

pub use builder::ProducerBuilder;
pub use config::{
    Acks, ClientDnsLookup, MetadataRecoveryStrategy, PartitionerClass, ProducerConfig,
    SecurityProtocol,
};
pub(crate) use config::{BootstrapAddress, ValidatedConfig};
pub use headers::{Header, HeaderValue, Headers};
pub use murmur2::partition_for_key;
pub use partitioner::{Partitioner, RoundRobinPartitioner};
pub use record::{ProducerRecord, RecordMetadata, TopicName};
pub use send_error::SendError;
pub use serializer::{
    BoxError, DefaultSerializer, Serializer, SerializerFn, ToBytes, Uuid, UuidTextSerializer,
    serializer_fn,
};
