//! How other threads reach a worker: a channel of events, and the wake-up that makes it look at them.

use std::sync::Arc;

use super::message::Event;
use crate::sync::{Wakeup, channel};

/// The sending end of a worker's events. Its clones lead to the same worker.
#[derive(Clone)]
pub(crate) struct Mailbox {
    events: channel::Sender<Event>,
    wakeup: Arc<Wakeup>,
}

impl Mailbox {
    /// A mailbox for the worker that sleeps on `wakeup`, and the end from which that worker reads.
    pub(crate) fn new(wakeup: Arc<Wakeup>) -> (Self, channel::Receiver<Event>) {
        let (events, received) = channel::unbounded();
        (Self { events, wakeup }, received)
    }

    /// Posts an event and wakes the worker if it sleeps. Without effect after the worker's end.
    pub(crate) fn post(&self, event: Event) {
        self.put(event);
        self.wakeup.wake_for_event();
    }

    /// Posts the event that `event` makes of a reply channel. The channel closes without an answer if the worker ends.
    pub(crate) fn ask<T>(
        &self,
        event: impl FnOnce(channel::Sender<T>) -> Event,
    ) -> channel::Receiver<T> {
        let (reply, answer) = channel::bounded(1);
        self.post(event(reply));
        answer
    }

    /// Posts an event and wakes no thread. The caller then wakes the worker, or runs its round.
    pub(super) fn put(&self, event: Event) {
        let _ = self.events.send(event);
    }
}
