//! The input and the output of the policy.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::connection::Endpoint;
use crate::error::Error;
use crate::metadata::Cluster;

/// What is requested of the metadata thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PendingRequests {
    /// Metadata of all topics.
    pub(crate) refresh: bool,
    /// Metadata of the topics that callers or workers wait for.
    pub(crate) topics: bool,
    /// A call of a higher layer.
    pub(crate) call: bool,
}

impl PendingRequests {
    pub(crate) fn any(self) -> bool {
        self.refresh || self.topics || self.call
    }
}

/// The input of a decision, besides the events.
#[derive(Clone, Debug)]
pub(in crate::metadata) struct Situation {
    pub(in crate::metadata) pending: PendingRequests,
    /// When a call is due, if none is due now.
    pub(in crate::metadata) call_due_at: Option<Instant>,
    /// Whether there is any topic to ask for.
    pub(in crate::metadata) has_topics: bool,
    /// Whether there is a topic that no broker has been asked for.
    pub(in crate::metadata) has_new_topics: bool,
    /// The address at which a broker refused a worker a connection since the last decision.
    pub(in crate::metadata) release: Option<Endpoint>,
    pub(in crate::metadata) is_stopped: bool,
    pub(in crate::metadata) cluster: Arc<Cluster>,
}

/// What the thread does next.
#[derive(Debug)]
pub(in crate::metadata) enum Decision {
    /// Wait until this time (`None`: without limit) or until something is requested. Then ask for the next decision.
    Wait(Option<Instant>),
    Act(Action),
    /// The thread ends.
    Stop,
}

/// What the thread does without waiting for requests.
#[derive(Debug)]
pub(in crate::metadata) enum Action {
    Connect(ConnectPlan),
    /// Ask the connected broker for metadata.
    AskMetadata(Scope),
    /// Make the call of a higher layer that is due, at the connected broker.
    MakeCall,
    /// Close the connection.
    Disconnect,
    /// No broker answered: report this to the waiting callers and to the log.
    ReportFailure(FailedAttempt),
}

/// How to connect to a broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::metadata) struct ConnectPlan {
    pub(in crate::metadata) endpoint: Endpoint,
    /// Failed attempts in a row at this address.
    pub(in crate::metadata) failures: u32,
    /// The time to wait for the connection if there are other brokers to ask.
    pub(in crate::metadata) patience: Duration,
    pub(in crate::metadata) has_others: bool,
}

/// The topics whose metadata is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::metadata) enum Scope {
    /// The topics that this producer uses; not those of the whole cluster.
    TopicsInUse,
    /// The topics that callers or workers wait for.
    RequestedTopics,
}

/// An attempt that no broker answered.
#[derive(Debug)]
pub(in crate::metadata) struct FailedAttempt {
    pub(in crate::metadata) error: Error,
    /// What was requested.
    pub(in crate::metadata) pending: PendingRequests,
    /// The number of such attempts in a row.
    pub(in crate::metadata) number: u32,
    pub(in crate::metadata) level: log::Level,
}

/// A connection that the thread has made.
#[derive(Clone, Copy, Debug)]
pub(in crate::metadata) struct NewConnection {
    /// Whether the broker counts it beside the workers' connections; otherwise the thread shares one of theirs.
    pub(in crate::metadata) is_own: bool,
    /// When its session ends: it is replaced after that.
    pub(in crate::metadata) session_ends: Option<Instant>,
    /// Whether the broker reports the id of its cluster.
    pub(in crate::metadata) reports_cluster_id: bool,
}

/// The snapshot that an answer changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::metadata) enum Basis {
    /// The known one.
    Known,
    /// Only the cluster's id, for an answer without one: the known snapshot does not count against the answer.
    ClusterIdOnly,
}

/// An answer about topics that has become the new snapshot.
pub(in crate::metadata) struct Description<'a> {
    pub(in crate::metadata) before: &'a Cluster,
    pub(in crate::metadata) after: &'a Cluster,
    pub(in crate::metadata) asked: &'a [Arc<str>],
    /// Some topic or partition has to be asked for again.
    pub(in crate::metadata) is_incomplete: bool,
    /// Some leader's epoch in the answer was older than the known one.
    pub(in crate::metadata) has_older_epochs: bool,
}
