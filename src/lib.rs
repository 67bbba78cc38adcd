//! A blocking producer for Apache Kafka: Java's guarantees on plain OS threads, without an async runtime.
//!
//! ```
//! use std::time::Duration;
//! use kafka_producer::{KafkaProducer, ProducerRecord};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # #[cfg(feature = "mock")] {
//! # let cluster = kafka_producer::mock::MockCluster::start(1)?;
//! # let address = cluster.bootstrap_servers();
//! let producer = KafkaProducer::<String, String>::builder()
//!     .bootstrap_servers(address) // "localhost:9092"
//!     .build()?;
//! let record = ProducerRecord::new("forest-defense", "Prepare for battle!".into()).key("robin".into());
//! let metadata = producer.send(record)?.get(Duration::from_secs(30))?;
//! println!("written to {metadata}");
//! producer.close(Duration::from_secs(30))?;
//! # }
//! # Ok(())
//! # }
//! ```
//!
//! [`send`](KafkaProducer::send) encodes a record into a batch of its partition, and returns a [`Future`] to wait for its
//! outcome with [`get`](Future::get). The producer's own threads compress the batches and write them to the brokers.
//! `send` waits only for the metadata of a topic or partition that is not known yet, and for memory, `max.block.ms` at
//! most.
//!
//! # Guarantees
//!
//! With the defaults (`acks=all`, idempotence):
//!
//! - An acknowledged record is in the log, once. The records that one thread sends to one partition are there in the order
//!   of its calls.
//! - Every record has exactly one outcome. It is decided within `delivery.timeout.ms`; slow compression can extend this
//!   to at most twice as long. The outcome is success, or an error that reports whether the record was [not
//!   written](Delivery::NotWritten), [maybe written](Delivery::MaybeWritten) or [written](Delivery::Written) to fewer
//!   replicas than demanded. A future returns the outcome when it is decided or, if records of the same batch have
//!   callbacks, when these have run: slow callbacks delay it.
//! - Memory for records stays within `buffer.memory`, plus at most 64 KiB for records that callbacks send. The section
//!   "Memory" of the README lists what the producer allocates beyond that.
//! - A slow or failing broker delays records for other brokers by a few milliseconds at most.
//! - If a broker refuses the client's certificate or password, or the client the broker's certificate, callers that wait
//!   for metadata get this error at once ([`Tls`](ErrorKind::Tls), [`Authentication`](ErrorKind::Authentication)). It does
//!   not end the producer: delivery goes on when the cause is mended.
//! - A callback that panics ends only itself, unless the program is built with `panic=abort`. A slow callback delays no
//!   sending until `buffer.memory`, or one broker's share of it, is full of records whose callbacks have not run.
//! - [`close`](KafkaProducer::close) returns at most about two seconds after its timeout. Your own
//!   [`Partitioner::on_close`] and logger may take longer.
//!
//! # Features
//!
//! | feature | default | what it adds |
//! |---|---|---|
//! | `gzip`, `snappy`, `lz4` | yes | codecs in pure Rust |
//! | `zstd` | yes | zstd through libzstd, which needs a C compiler |
//! | `tls` | yes | TLS by rustls and ring, which needs a C compiler |
//! | `tls-graviola` | no | TLS by rustls and graviola, without a C compiler; no effect together with `tls` |
//! | `tls-stores` | yes | JKS, PKCS#12 and encrypted private keys; only together with `tls` or `tls-graviola` |
//! | `sasl` | yes | SASL: PLAIN, SCRAM, and OAUTHBEARER with tokens of your own code or of a file |
//! | `sasl-oidc` | no | tokens for OAUTHBEARER from a token server, by HTTP; only together with `tls` or `tls-graviola` |
//! | `sasl-msk-iam` | no | AWS credentials for Amazon MSK (AWS_MSK_IAM); only together with `tls` or `tls-graviola` |
//! | `sasl-gssapi` | no | SASL: GSSAPI (Kerberos) by MIT's library, which is loaded while the program runs |
//! | `mock` | no | a cluster (module `mock`) in your process that speaks Kafka's protocol, for tests |
//! | `mock-tls` | no | TLS for that cluster, with certificates that it makes itself |
//!
//! The module [`design`] explains how it works inside.

pub(crate) mod backoff;
pub mod design;
pub(crate) mod secret;
pub(crate) mod sync;
pub(crate) mod threads;
pub(crate) mod time;
mod topic_partition;
pub use topic_partition::TopicPartition;

#[cfg_attr(
    not(feature = "mock"),
    allow(
        dead_code,
        unused_imports,
        reason = "the broker's half serves the mock cluster; with it nothing is dead"
    )
)]
pub(crate) mod protocol;
pub use protocol::ErrorCode;

mod error;
pub use error::{Delivery, Error, ErrorKind};

#[cfg_attr(
    not(feature = "mock"),
    allow(
        dead_code,
        unused_imports,
        reason = "the broker's half serves the mock cluster; with it nothing is dead"
    )
)]
pub(crate) mod record;
pub use record::compression::{CompressionType, UnknownCompressionType};

mod metadata;
pub use metadata::{Broker, Cluster, PartitionMetadata, TopicId, TopicMetadata};

#[cfg(feature = "tls-core")]
pub(crate) mod tls;
#[cfg(feature = "tls-core")]
pub use tls::{ClientKey, TrustMaterial};

#[cfg(feature = "http")]
#[allow(
    dead_code,
    reason = "one mechanism needs a part of it, another one the rest"
)]
pub(crate) mod http;

#[cfg(feature = "sasl")]
pub(crate) mod sasl;
#[cfg(feature = "sasl")]
pub use sasl::oauthbearer::{BearerToken, TokenProvider};

pub(crate) mod connection;

pub(crate) mod identity;

pub(crate) mod sender;

pub(crate) mod accumulator;

mod producer;
pub use producer::{
    Acks, BoxError, ClientDnsLookup, DefaultSerializer, Future, Futures, FuturesIter, Header,
    HeaderValue, Headers, KafkaProducer, MetadataRecoveryStrategy, Partitioner, PartitionerClass,
    ProducerBuilder, ProducerConfig, ProducerRecord, RecordMetadata, RoundRobinPartitioner,
    SecurityProtocol, SendAllError, SendError, Serializer, SerializerFn, ToBytes, TopicName, Uuid,
    UuidTextSerializer, partition_for_key, serializer_fn,
};

#[cfg(any(test, feature = "mock"))]
pub mod mock;

#[cfg(feature = "unstable-internals")]
#[doc(hidden)]
pub mod internals;

/// The README's code compiles: `cargo test --doc --features mock` reads it here.
#[cfg(all(doctest, feature = "mock", feature = "sasl"))]
#[doc = include_str!("../README.md")]
struct Readme;
