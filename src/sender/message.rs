//! What travels to a worker beside records, and from it to the delivery thread.

use std::sync::Arc;

use crate::accumulator::batch::CompletedBatch;
use crate::accumulator::completion::Completion;
use crate::connection::link::{LinkEvent, LinkId};
use crate::error::Error;
use crate::sync::channel;

/// Told to a worker over a channel of its own: the path of responses never waits behind the path of records. Its
/// length is bounded by the requests in flight and the calls under way.
pub(crate) enum Event {
    Link(LinkId, LinkEvent),
    /// There is a new producer id, or why a broker refused one.
    Identity(Result<(), Error>),
    /// Send everything that is here now, and answer with what tells when it is settled.
    Flush(channel::Sender<Vec<Arc<Completion>>>),
    /// Send everything and end.
    Close,
    /// Fail everything and end.
    ForceClose,
}

impl Event {
    /// Returns whether another worker reports this in the middle of its own round.
    pub(super) fn comes_from_a_round(&self) -> bool {
        matches!(self, Self::Link(_, LinkEvent::Throttled(_)))
    }
}

/// Told to the delivery thread, in the order of each partition.
pub(crate) enum Delivery {
    /// Run these callbacks, in order.
    Settled(Vec<CompletedBatch>),
    /// All callbacks before this have run.
    Barrier(channel::Sender<()>),
}
