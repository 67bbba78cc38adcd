//! A link is a worker's use of one connection to a broker.
//!
//! The worker asks for a link, writes requests to it, and gets its events: connected, frames, end. Over TCP a link is one
//! user of a connection ([`tcp_network`](super::tcp_network)). Tests implement [`Network`] by a script.

use std::sync::Arc;
use std::time::Instant;

use super::authentication::Session;
use super::{BrokerVersions, Endpoint};
use crate::error::Error;

pub(crate) use super::outgoing::OutgoingRequest;

/// Identifies a link of a worker. A worker uses each number for one link only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct LinkId(pub(crate) u64);

/// What happens on a link.
#[derive(Debug)]
pub(crate) enum LinkEvent {
    /// The link is ready for requests.
    Connected(LinkProperties),
    /// The broker sent this frame, here without its length.
    Frame(Vec<u8>),
    /// The broker has taken more of the request for which [`WriteStatus::InProgress`] was returned, or of one before it.
    /// The event comes repeatedly while the write continues.
    WriteProgress,
    /// The request for which [`WriteStatus::InProgress`] was returned is written.
    WriteFinished,
    /// The broker reads nothing from the connection until this time: it asked another user of the connection to wait
    /// (KIP-219). The event can come before [`Connected`](Self::Connected).
    Throttled(Instant),
    /// The link could not be made, or it has ended. This is the final event of the link.
    Closed(Error),
    /// The link could not be made: the broker or the system allows no further connection, and there is none to share. This
    /// is the final event of the link.
    ConnectionRefused(Error),
}

/// The properties of a link that is ready.
#[derive(Debug)]
pub(crate) struct LinkProperties {
    pub(crate) versions: BrokerVersions,
    /// The session of the connection. No request may be written after its end.
    pub(crate) session: Session,
}

/// Whether a request is written completely.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WriteStatus {
    Complete,
    /// Another thread writes the rest. The worker must not write to this link until [`LinkEvent::WriteFinished`].
    InProgress,
}

/// The broker to which a link connects.
#[derive(Debug)]
pub(crate) struct LinkTarget {
    pub(crate) endpoint: Endpoint,
    /// The cluster to which the broker must belong. `None` if any cluster is accepted.
    pub(crate) cluster_id: Option<Arc<str>>,
    /// The number of failures in a row. It lengthens the timeout of this dial, and chooses the address that is tried first.
    pub(crate) failures: u32,
}

/// Why a request could not be written, and whether the broker may have bytes of it. The link is unusable afterwards.
#[derive(Debug)]
pub(crate) enum WriteError {
    /// The connection accepted no byte of the request: its records are certainly not written.
    NothingWritten(Error),
    /// Some bytes of the request, or all, may have reached the broker.
    MaybeWritten(Error),
}

impl From<WriteError> for Error {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::NothingWritten(error) | WriteError::MaybeWritten(error) => error,
        }
    }
}

/// The network as a worker sees it.
pub(crate) trait Network {
    /// Starts to connect and returns at once. The link's events report the result. A broker of another cluster than the one
    /// in `target` is an error.
    fn connect(&mut self, link: LinkId, target: LinkTarget);
    /// Writes a request, or as much of it as a few milliseconds allow. An error makes the link unusable.
    fn write(&mut self, link: LinkId, request: OutgoingRequest) -> Result<WriteStatus, WriteError>;
    /// Ends the link. Earlier events may still come. If the broker owes answers on the link, the connection counts as
    /// broken and ends for its other users, too.
    fn close(&mut self, link: LinkId);
    /// Ends the link for a reason that is no fault of the connection. Its other users keep the connection.
    fn abandon(&mut self, link: LinkId) {
        self.close(link);
    }
    /// Notifies the other users of the connection that an answer on this link asked the client to wait (KIP-219).
    fn throttled(&mut self, _link: LinkId, _until: Instant) {}
}

/// Passes the events of links to their worker. The calling thread may then run the worker's next round.
pub(crate) type EventSink = Arc<dyn Fn(LinkId, LinkEvent) + Send + Sync>;
