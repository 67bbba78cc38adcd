//! What a worker receives besides records, and what it sends to the delivery thread.

use std::sync::Arc;

use crate::accumulator::batch::CompletedBatch;
use crate::accumulator::completion::Completion;
use crate::connection::link::{LinkEvent, LinkId};
use crate::error::Error;
use crate::sync::channel;

/// An event for a worker. Events have a separate channel, so that responses never wait behind records. The channel holds at
/// most a few events for each request in flight and each call in progress.
pub(crate) enum Event {
    Link(LinkId, LinkEvent),
    /// A broker gave a new producer id, or refused one with this error.
    Identity(Result<(), Error>),
    /// Send everything that is here now, and reply with the completions of its batches.
    Flush(channel::Sender<Vec<Arc<Completion>>>),
    /// Send everything and end.
    Close,
    /// Fail everything and end.
    ForceClose,
}

impl Event {
    /// Returns whether another worker's round can report this event.
    pub(super) fn comes_from_a_round(&self) -> bool {
        matches!(self, Self::Link(_, LinkEvent::Throttled(_)))
    }
}

/// A task for the delivery thread. The tasks of a partition come in the order of its batches.
pub(crate) enum DeliveryTask {
    /// Run the callbacks of these batches, in order.
    RunCallbacks(Vec<CompletedBatch>),
    /// All callbacks before this have run.
    Barrier(channel::Sender<()>),
}
