//! How other threads reach a worker: a channel of events, and a wake-up so that the worker receives them.

use std::sync::Arc;

use super::message::Event;
use crate::sync::{Wakeup, channel};

/// The sending end of a worker's event channel. Clones send to the same worker.
#[derive(Clone)]
pub(crate) struct Mailbox {
    events: channel::Sender<Event>,
    wakeup: Arc<Wakeup>,
}

impl Mailbox {
    /// Creates the mailbox of the worker that sleeps on `wakeup`, and the receiver that this worker reads.
    pub(crate) fn new(wakeup: Arc<Wakeup>) -> (Self, channel::Receiver<Event>) {
        let (events, receiver) = channel::unbounded();
        (Self { events, wakeup }, receiver)
    }

    /// Sends an event and wakes the worker if it sleeps. Does nothing after the worker has ended.
    pub(crate) fn post(&self, event: Event) {
        self.put(event);
        self.wakeup.wake_for_event();
    }

    /// Posts the event `event(reply)` and returns the receiver of its reply. If the worker ends, the receiver is
    /// disconnected.
    pub(crate) fn ask<T>(
        &self,
        event: impl FnOnce(channel::Sender<T>) -> Event,
    ) -> channel::Receiver<T> {
        let (reply, receiver) = channel::bounded(1);
        self.post(event(reply));
        receiver
    }

    /// Sends an event without waking the worker. The caller then wakes the worker, or runs the worker's round itself.
    pub(super) fn put(&self, event: Event) {
        let _ = self.events.send(event);
    }
}
