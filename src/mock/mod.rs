//! A Kafka cluster inside your process, for quick starts and tests (Cargo feature `mock`).
//!
//! [`MockCluster`] opens real TCP listeners on 127.0.0.1 and speaks Kafka's protocol on them, so that a producer, this
//! one or any other, talks to it as to a cluster of Apache Kafka 4.x. It keeps what it is sent in memory, to be read
//! back with [`MockCluster::records`], checks batches as a broker does (format, CRC, record counts, the sequence
//! numbers of idempotent producers) and fails on request: see [`MockCluster::on`] and [`Fault`].
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
//! What it is not: there is no replication (a broker that is down takes its partitions with it until
//! [`MockCluster::set_leader`] moves them), no fetching, no transactions, TLS or SASL, and nothing on disk.

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
mod state;

#[cfg(test)]
mod tests;

pub use cluster::{MockCluster, MockClusterBuilder};
pub use fault::{Corruption, Fault, HookId, PartitionError};
pub use log::{MockBatch, MockRecord};
pub use request::{LoggedRequest, MockApi, MockRequest, ProducedBatch};
