//! A worker's thread, and the threads that may run its rounds instead.
//!
//! If an answer comes while the worker's thread sleeps, the link's thread that read the answer runs the round. To wake the
//! worker's thread instead would cost as much as the rest of the answer's path to the caller. The [lock](super::lock) gives
//! the [`Sender`] to one thread at a time. Nothing in the sender depends on which thread that is.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::lock::{RoundGuard, WorkerLock};
use super::mailbox::Mailbox;
use super::message::Event;
use super::run::Sender;
use crate::accumulator::WorkerHandle;
use crate::connection::link::Network;
use crate::time::monotonic_now;

/// One worker, shared by its thread and the threads of its links.
pub(crate) struct Worker<N: Network> {
    handle: Arc<WorkerHandle>,
    mailbox: Mailbox,
    linger: Duration,
    lock: WorkerLock<N>,
}

/// The longest pause of a worker under load. A busy producer fills several batches in this time.
const LONGEST_PAUSE: Duration = Duration::from_micros(150);

/// The result of a round.
pub(super) struct Round {
    /// When the next round is due if nothing happens before.
    next: Option<Instant>,
    received_batches: bool,
    is_last: bool,
}

impl<N: Network> Worker<N> {
    /// Creates a worker that runs the rounds of `sender`. The sender receives the events of `mailbox`.
    pub(crate) fn new(handle: Arc<WorkerHandle>, mailbox: Mailbox, sender: Sender<N>) -> Self {
        Self {
            linger: sender.config.topics.linger,
            lock: WorkerLock::new(Arc::clone(&handle), sender),
            handle,
            mailbox,
        }
    }

    /// Runs rounds on the worker's thread. Returns when the producer is closed and nothing is left to send.
    ///
    /// After a round that received full batches the worker pauses, because more batches will come. During the pause callers
    /// need not wake the worker, and after it the requests are larger. Both are worth far more than the time. If batches
    /// wait for room in flight, an answer ends the pause: otherwise the broker would have nothing to do until the end of
    /// the pause.
    pub(crate) fn run(&self) {
        let (clock, wakeup) = (self.handle.clock(), self.handle.wakeup());
        let pause = (self.linger / 8).min(LONGEST_PAUSE);
        while let Some(mut guard) = self.lock.lock() {
            clock.tick();
            let round = guard.run_round();
            if round.is_last {
                return;
            }
            // Each closure owns the guard and drops it when it returns, so the lock is free while the thread sleeps.
            if !round.received_batches || pause.is_zero() {
                clock.stop();
                wakeup.sleep_until(round.next, move || guard.has_news());
            } else if guard.waits_for_room() {
                wakeup.pause_until_event(pause, move || guard.has_events());
            } else {
                drop(guard);
                wakeup.pause(pause);
            }
        }
    }

    /// On a link's thread: reports `event` to the worker. If the worker's thread sleeps, this thread runs the next round.
    pub(crate) fn report(&self, event: Event) {
        let comes_from_a_round = event.comes_from_a_round();
        let link_id = match &event {
            Event::Link(link_id, _) => Some(*link_id),
            _ => None,
        };
        self.mailbox.put(event);
        let wakeup = self.handle.wakeup();
        if !wakeup.waits_for_event() {
            return;
        }
        // A thread that panics runs no round. A thread in another worker's round does not run one either: rounds must not
        // nest.
        let guard = match std::thread::panicking() || comes_from_a_round {
            true => None,
            false => self.lock.try_lock(),
        };
        // While this thread compresses, no thread reads the link. Answers that came in time would count as late.
        let guard = guard.filter(|guard| !guard.may_compress_slowly(monotonic_now()));
        let Some(mut guard) = guard else {
            return wakeup.wake_for_event();
        };
        self.handle.clock().tick_if_running();
        let round = guard.run_round();
        // A batch can take longer to compress than expected.
        if let Some(link_id) = link_id {
            guard.extend_unread_link(link_id);
        }
        drop(guard);
        if let Some(next) = round.next {
            wakeup.wake_by(next);
        }
    }

    #[cfg(test)]
    pub(super) fn try_lock(&self) -> Option<RoundGuard<'_, N>> {
        self.lock.try_lock()
    }
}

impl<N: Network> RoundGuard<'_, N> {
    pub(super) fn run_round(&mut self) -> Round {
        let before = self.batches_received();
        let next = self.run_once(monotonic_now());
        Round {
            next,
            received_batches: self.batches_received() != before,
            is_last: self.is_finished(),
        }
    }
}
