//! The cluster as the brokers describe it.

mod cluster;

pub use cluster::{Broker, Cluster, PartitionMetadata, TopicId, TopicMetadata};
