//! The cluster as the brokers describe it: snapshots for everybody, kept up to date by one thread.

mod cache;
mod calls;
mod candidates;
mod cluster;
mod missing;
mod old_news;
mod questions;
pub(crate) mod refresh;
mod repetition;
mod replacement;
mod response;
mod topic_map;

#[cfg(any(test, all(fuzzing, feature = "unstable-internals")))]
pub(crate) use cache::PendingRequests;
pub(crate) use cache::{ClusterObserver, MetadataCache};
pub(crate) use calls::{BrokerCalls, CallOutcome, ConnectedBroker, Due};
pub use cluster::{Broker, Cluster, PartitionMetadata, TopicId, TopicMetadata};
pub(crate) use cluster::{BrokerId, LeaderHint};
#[cfg(all(any(test, fuzzing), feature = "unstable-internals"))]
pub(crate) use response::update;
pub(crate) use topic_map::TopicChanges;
#[cfg(test)]
pub(crate) use topic_map::TopicMap;
