//! The public producer API.

mod bootstrap;
mod builder;
mod config;
mod engine;
mod future;
mod futures;
mod headers;
mod intake;
mod kafka_producer;
mod murmur2;
mod partitioner;
mod record;
mod scratch;
mod send_all;
mod send_all_error;
mod send_error;
mod serializer;

pub use builder::ProducerBuilder;
#[cfg(all(any(test, fuzzing), feature = "unstable-internals"))]
pub(crate) use config::providers;
pub use config::{
    Acks, ClientDnsLookup, MetadataRecoveryStrategy, PartitionerClass, ProducerConfig,
    SecurityProtocol,
};
pub use future::Future;
pub use futures::{Futures, FuturesIter};
pub use headers::{Header, HeaderValue, Headers};
pub use kafka_producer::KafkaProducer;
pub use murmur2::partition_for_key;
pub use partitioner::{Partitioner, RoundRobinPartitioner};
pub use record::{ProducerRecord, RecordMetadata, TopicName};
pub use send_all_error::SendAllError;
pub use send_error::SendError;
pub use serializer::{
    BoxError, DefaultSerializer, Serializer, SerializerFn, ToBytes, Uuid, UuidTextSerializer,
    serializer_fn,
};
