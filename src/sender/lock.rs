//! The lock on a worker's [`Sender`]: one thread at a time runs a round.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use super::run::Sender;
use crate::accumulator::WorkerHandle;
use crate::connection::link::Network;
use crate::sync::{Condvar, Mutex};

/// Holds a worker's sender until the sender has ended.
pub(super) struct WorkerLock<N: Network> {
    handle: Arc<WorkerHandle>,
    state: Mutex<State<N>>,
    /// Notified when `state` changes from [`State::InRound`].
    released: Condvar,
}

enum State<N: Network> {
    /// No thread runs a round.
    Free(Box<Sender<N>>),
    /// A [`RoundGuard`] holds the sender.
    InRound,
    /// The sender was dropped: it had nothing left to do, or it panicked.
    Ended,
}

/// Holds the sender for the thread that runs rounds. Dropping the guard frees the sender for the next thread. If the thread
/// panics or the sender has finished, dropping the guard ends the sender.
pub(super) struct RoundGuard<'a, N: Network> {
    lock: &'a WorkerLock<N>,
    /// `Some` until the guard is dropped.
    sender: Option<Box<Sender<N>>>,
}

impl<N: Network> WorkerLock<N> {
    pub(super) fn new(handle: Arc<WorkerHandle>, sender: Sender<N>) -> Self {
        Self {
            handle,
            state: Mutex::new(State::Free(Box::new(sender))),
            released: Condvar::new(),
        }
    }

    /// Blocks until no other thread runs a round, and returns the sender. `None` if the sender has ended.
    pub(super) fn lock(&self) -> Option<RoundGuard<'_, N>> {
        let mut state = self.state.lock();
        while matches!(*state, State::InRound) {
            self.released.wait(&mut state);
        }
        self.take(&mut state)
    }

    /// Returns the sender. `None` if a thread runs a round or the sender has ended.
    pub(super) fn try_lock(&self) -> Option<RoundGuard<'_, N>> {
        self.take(&mut self.state.lock())
    }

    fn take(&self, state: &mut State<N>) -> Option<RoundGuard<'_, N>> {
        match std::mem::replace(state, State::InRound) {
            State::Free(sender) => Some(RoundGuard {
                lock: self,
                sender: Some(sender),
            }),
            other => {
                *state = other;
                None
            }
        }
    }

    fn release(&self, state: State<N>) {
        let has_ended = matches!(state, State::Ended);
        *self.state.lock() = state;
        self.released.notify_all();
        if has_ended {
            // If another thread ran the round, the worker's own thread may sleep. It must notice the end.
            self.handle.wakeup().wake_for_event();
        }
    }
}

const HAS_SENDER: &str = "a guard holds the sender until it is dropped";

impl<N: Network> Deref for RoundGuard<'_, N> {
    type Target = Sender<N>;

    fn deref(&self) -> &Sender<N> {
        self.sender.as_ref().expect(HAS_SENDER)
    }
}

impl<N: Network> DerefMut for RoundGuard<'_, N> {
    fn deref_mut(&mut self) -> &mut Sender<N> {
        self.sender.as_mut().expect(HAS_SENDER)
    }
}

impl<N: Network> Drop for RoundGuard<'_, N> {
    fn drop(&mut self) {
        let sender = self.sender.take();
        // A sender that ends is dropped here, before `release` locks the mutex.
        let sender = sender.filter(|sender| !std::thread::panicking() && !sender.is_finished());
        self.lock.release(sender.map_or(State::Ended, State::Free));
    }
}
