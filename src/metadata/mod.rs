//! The cluster as the brokers describe it: snapshots for all threads, which one thread keeps up to date.
//!
//! - [`MetadataCache`] is what the other layers use: the latest [`Cluster`] (`snapshot`), the callers that wait for a topic
//!   (`waiters`), and the requests to the metadata thread.
//! - The metadata thread ([`refresh`]) asks brokers. `policy` decides which broker, when, and what, without sockets or a
//!   clock. `response` makes the next snapshot from an answer.
//! - A higher layer can have the thread make calls of its own: see [`BrokerCalls`].

mod cache;
mod calls;
mod cluster;
#[cfg(test)]
mod fixtures;
mod missing;
mod policy;
pub(crate) mod refresh;
mod response;
mod snapshot;
mod topic_errors;
mod topic_map;
mod tracked_topics;
mod waiters;

pub(crate) use cache::MetadataCache;
pub(crate) use calls::{BrokerCalls, CallOutcome, ConnectedBroker, Due};
pub use cluster::{Broker, Cluster, PartitionMetadata, TopicId, TopicMetadata};
pub(crate) use cluster::{BrokerId, LeaderHint, PartitionLeader};
#[cfg(any(test, all(fuzzing, feature = "unstable-internals")))]
pub(crate) use policy::PendingRequests;
#[cfg(all(any(test, fuzzing), feature = "unstable-internals"))]
pub(crate) use response::update;
pub(crate) use snapshot::ClusterObserver;
pub(crate) use topic_map::TopicChanges;
#[cfg(test)]
pub(crate) use topic_map::TopicMap;
