//! A Kafka cluster inside your process, for quick starts and tests (Cargo feature `mock`).
//!
//! [`MockCluster`] opens real TCP listeners on 127.0.0.1 and speaks Kafka's protocol on them. This producer, or any
//! other, uses it like a cluster of Apache Kafka 4.x. It keeps the records in memory, and [`MockCluster::records`]
//! returns them. It checks batches as a broker does: format, CRC, record counts, and the sequence numbers of idempotent
//! producers. It fails on request: see [`MockCluster::on`] and [`Fault`].
//!
//! ```
//! use kafka_producer::mock::MockCluster;
//!
//! let cluster = MockCluster::start(3)?;
//! cluster.create_topic("payments", 6);
//! println!("bootstrap.servers={}", cluster.bootstrap_servers());
//! assert_eq!(cluster.end_offset("payments", 0), Some(0));
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! It has no replication: the partitions of a broker that is down have no leader until [`MockCluster::set_leader`] moves
//! them. It has no fetching and no transactions, and writes nothing to disk.
//!
//! It can ask clients for a password or a token: see [`MockSasl`]. With the Cargo feature `mock-tls` it can use TLS, also
//! with certificates that clients must refuse, and ask clients for certificates: see `MockTls`.

mod api_versions;
mod batch;
mod broker;
mod cluster;
mod connection;
mod dispatch;
mod fault;
mod log;
mod metadata;
mod produce;
mod producer_ids;
mod request;
mod sasl;
mod session;
mod state;
mod stream;
#[cfg(feature = "mock-tls")]
mod tls;

#[cfg(test)]
mod tests;

pub use cluster::{MockCluster, MockClusterBuilder};
pub use fault::{Corruption, Fault, HookId, PartitionError};
pub use log::{MockBatch, MockRecord};
pub use request::{LoggedRequest, MockApi, MockRequest, ProducedBatch};
pub use sasl::{MockSasl, ReceivedToken, TokenVerdict};
#[cfg(feature = "mock-tls")]
pub use tls::{
    BrokerCertificate, ClientAuth, HandshakeFault, MockCertificate, MockTls, TlsVersion,
};
