//! A link is a worker's use of one connection to a broker.
//!
//! The worker asks for a link, writes requests to it, and gets its events: ready, frames, end. Over TCP a link is one user of a
//! connection ([`tcp_network`](super::tcp_network)); tests script their own network.

use std::sync::Arc;
use std::time::Instant;

use super::authentication::Session;
use super::{BrokerVersions, Endpoint};
use crate::error::Error;

pub(crate) use super::outgoing::OutgoingRequest;

/// The number of one link of a worker; never used again after its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct LinkId(pub(crate) u64);

/// What happens on a link.
#[derive(Debug)]
pub(crate) enum LinkEvent {
    /// The link is ready for requests.
    Connected(LinkReady),
    /// A frame arrived, without its length.
    Frame(Vec<u8>),
    /// The broker has taken more of the request for which [`WriteStatus::InProgress`] was returned, or of one before it.
    /// Comes now and then while the write goes on.
    WriteProgress,
    /// The request for which [`WriteStatus::InProgress`] was returned is written.
    WriteFinished,
    /// The broker reads nothing from the connection until then: it asked another user of the connection to wait (KIP-219).
    /// Can come before [`Connected`](Self::Connected).
    Throttled(Instant),
    /// There is no connection, or it has ended. The final event of the link.
    Closed(Error),
    /// As [`Closed`](Self::Closed): the broker or the system allows no further connection, and there is none to share.
    ConnectionRefused(Error),
}

/// The properties of a link that is ready.
#[derive(Debug)]
pub(crate) struct LinkReady {
    pub(crate) versions: BrokerVersions,
    /// The session of the connection. No request may be written after its end.
    pub(crate) session: Session,
}

/// Whether a request's last byte is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WriteStatus {
    Complete,
    /// The rest is written by another thread. [`LinkEvent::WriteFinished`] follows; until then the worker must not write
    /// to this link.
    InProgress,
}

/// The broker to which a link connects.
#[derive(Debug)]
pub(crate) struct LinkTarget {
    pub(crate) endpoint: Endpoint,
    /// The cluster that the broker must be of, if known.
    pub(crate) cluster_id: Option<Arc<str>>,
    /// Failed attempts in a row: they lengthen the timeout of this one, and choose the address that is tried first.
    pub(crate) failures: u32,
}

/// Why a request was not written, and what happened to its bytes. The link is unusable.
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
    /// Starts to connect; the link's events follow. A broker of another cluster than that of `target` is an error.
    fn connect(&mut self, link: LinkId, target: LinkTarget);
    /// Writes a request, or as much of it as a few milliseconds allow. An error makes the link unusable.
    fn write(&mut self, link: LinkId, request: OutgoingRequest) -> Result<WriteStatus, WriteError>;
    /// Ends the link. Events that were sent before may still come. If the broker owes the link answers, the connection counts
    /// as broken, and ends for other users too.
    fn close(&mut self, link: LinkId);
    /// Ends the link for a reason that is not a fault of the connection: other users keep it.
    fn abandon(&mut self, link: LinkId) {
        self.close(link);
    }
    /// Reports that an answer on the link asked this client to wait (KIP-219). Other users of the connection are notified.
    fn throttled(&mut self, _link: LinkId, _until: Instant) {}
}

/// Passes the events of links to their worker. The calling thread may then run the worker's next round.
pub(crate) type EventSink = Arc<dyn Fn(LinkId, LinkEvent) + Send + Sync>;
