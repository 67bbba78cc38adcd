//! A worker's thread, and who may run its rounds in its place.
//!
//! An answer that comes while the worker's thread sleeps is taken in by the thread that brings it, a link's: to wake another
//! thread only to tell it would cost as much as the rest of the way back to the caller. Whoever runs a round has the
//! [`Sender`] to itself; nothing in it knows who that is.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::mailbox::Mailbox;
use super::message::Event;
use super::run::Sender;
use crate::accumulator::WorkerHandle;
use crate::connection::link::Network;
use crate::sync::{Condvar, Mutex};
use crate::time::monotonic_now;

/// One worker, shared by its thread and the threads of its links.
pub(crate) struct Worker<N: Network> {
    handle: Arc<WorkerHandle>,
    mailbox: Mailbox,
    linger: Duration,
    place: Mutex<Place<N>>,
    /// The place is not taken any more.
    left: Condvar,
}

/// Where the sender is.
enum Place<N: Network> {
    Here(Box<Sender<N>>),
    /// With somebody who runs a round.
    Taken,
    /// Nowhere: it has done all there was to do, or panicked.
    Ended,
}

/// How long a worker rests under load. Long enough for several batches of a busy producer, short beside any `linger.ms`.
const LONGEST_REST: Duration = Duration::from_micros(150);

impl<N: Network> Worker<N> {
    /// `mailbox` leads to `sender`.
    pub(crate) fn new(handle: Arc<WorkerHandle>, mailbox: Mailbox, sender: Sender<N>) -> Self {
        Self {
            handle,
            mailbox,
            linger: sender.config.linger,
            place: Mutex::new(Place::Here(Box::new(sender))),
            left: Condvar::new(),
        }
    }

    /// The thread's body: until the producer is closed and nothing is left to send.
    ///
    /// After a round that took full batches the worker rests for a moment: more will come, and callers that need not
    /// wake it, and a broker that gets larger requests, are worth far more than the moment. Where batches wait for an answer
    /// to make room in flight a round follows the answer: else the broker would have nothing to do meanwhile.
    pub(crate) fn run(&self) {
        let (clock, wakeup) = (self.handle.clock(), self.handle.wakeup());
        let rest = (self.linger / 8).min(LONGEST_REST);
        while let Some(mut turn) = self.wait_for_turn() {
            clock.tick();
            let round = turn.run_round();
            if round.is_last {
                return;
            }
            if !round.took_batches || rest.is_zero() {
                clock.stop();
                wakeup.sleep_until(round.next, || turn.end(Sender::has_news));
            } else if turn.sender().waits_for_room() {
                wakeup.rest_until_event(rest, || turn.end(Sender::has_events));
            } else {
                drop(turn);
                wakeup.rest(rest);
            }
        }
    }

    /// On a link's thread: tells the worker what happened. If its thread sleeps, the round that follows is run here.
    pub(crate) fn tell(&self, event: Event) {
        let is_told_in_a_round = event.is_told_in_a_round();
        let link = match &event {
            Event::Link(link, _) => Some(*link),
            _ => None,
        };
        self.mailbox.put(event);
        let wakeup = self.handle.wakeup();
        if !wakeup.waits_for_event() {
            return;
        }
        // A thread that panics runs nothing more. In another worker's round none begins: they would pile up on one stack.
        let turn = match std::thread::panicking() || is_told_in_a_round {
            true => None,
            false => self.try_turn(),
        };
        // While this thread compresses nobody reads the link, and answers that came in time would be missed.
        let turn = turn.filter(|turn| !turn.may_compress_slowly());
        let Some(mut turn) = turn else {
            return wakeup.wake_for_event();
        };
        self.handle.clock().tick_if_running();
        let round = turn.run_round();
        // A batch can be slow that was not expected to be.
        if let Some(link) = link {
            turn.sender().was_not_read(link);
        }
        drop(turn);
        if let Some(next) = round.next {
            wakeup.wake_by(next);
        }
    }

    /// None after the end.
    fn wait_for_turn(&self) -> Option<Turn<'_, N>> {
        let mut place = self.place.lock();
        while matches!(*place, Place::Taken) {
            // For no longer than a round takes.
            self.left.wait(&mut place);
        }
        self.take(&mut place)
    }

    /// None if somebody else has it.
    pub(super) fn try_turn(&self) -> Option<Turn<'_, N>> {
        self.take(&mut self.place.lock())
    }

    fn take(&self, place: &mut Place<N>) -> Option<Turn<'_, N>> {
        match std::mem::replace(place, Place::Taken) {
            Place::Here(sender) => Some(Turn {
                worker: self,
                sender: Some(sender),
            }),
            gone => {
                *place = gone;
                None
            }
        }
    }
}

/// The right to run rounds. Its end, by a panic too, leaves the place to the next.
pub(super) struct Turn<'a, N: Network> {
    worker: &'a Worker<N>,
    /// There until the end.
    sender: Option<Box<Sender<N>>>,
}

/// What came of a round.
pub(super) struct Round {
    /// When the next one is due if nothing happens before.
    next: Option<Instant>,
    took_batches: bool,
    is_last: bool,
}

impl<N: Network> Turn<'_, N> {
    fn sender(&mut self) -> &mut Sender<N> {
        self.sender.as_mut().expect("there until the end")
    }

    fn may_compress_slowly(&self) -> bool {
        let sender = self.sender.as_ref();
        sender.is_some_and(|sender| sender.may_compress_slowly(monotonic_now()))
    }

    pub(super) fn run_round(&mut self) -> Round {
        let sender = self.sender();
        let before = sender.batches_taken();
        let next = sender.run_once(monotonic_now());
        Round {
            next,
            took_batches: sender.batches_taken() != before,
            is_last: sender.is_finished(),
        }
    }

    /// With a last look.
    fn end(mut self, look: impl FnOnce(&Sender<N>) -> bool) -> bool {
        look(self.sender())
    }
}

impl<N: Network> Drop for Turn<'_, N> {
    fn drop(&mut self) {
        let sender = self.sender.take();
        // One that has ended is dropped here, and not under the lock.
        let sender = sender.filter(|sender| !std::thread::panicking() && !sender.is_finished());
        let place = sender.map_or(Place::Ended, Place::Here);
        let has_ended = matches!(place, Place::Ended);
        *self.worker.place.lock() = place;
        self.worker.left.notify_all();
        if has_ended {
            // A panic of who ran the round here: the worker's own thread has to learn of it, too.
            self.worker.handle.wakeup().wake_for_event();
        }
    }
}
