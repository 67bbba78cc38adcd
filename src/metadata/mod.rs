//! The cluster as the brokers describe it: snapshots for everybody, kept up to date by one thread.

mod cache;
mod candidates;
mod cluster;
mod questions;
pub(crate) mod refresh;
mod replacement;
mod response;
mod topic_map;

#[cfg(test)]
pub(crate) use cache::Wants;
pub(crate) use cache::{ClusterObserver, LeaderHint, MetadataCache, ProducerIdentity};
pub use cluster::{Broker, Cluster, PartitionMetadata, TopicId, TopicMetadata};
#[cfg(all(any(test, fuzzing), feature = "unstable-internals"))]
pub(crate) use response::update;
pub(crate) use topic_map::TopicChanges;
