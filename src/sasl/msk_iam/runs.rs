//! Runs what may take long on a thread of its own. A thread that dials has a deadline, and a read from a file system of the
//! network may hang for ever.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use crate::error::{Error, ErrorKind};
use crate::sasl::failed;
use crate::sync::{Condvar, Mutex, STACK_BYTES, spawn};
use crate::threads::ThreadGroup;

/// Runs of one kind, one at a time. So a run that hangs costs one thread.
pub(super) struct Runs<T>(Arc<Shared<T>>);

struct Shared<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

struct State<T> {
    is_running: bool,
    /// The number of runs that have ended.
    ended: u64,
    /// What the latest run returned; `None` if it panicked.
    latest: Option<T>,
    is_closed: bool,
}

/// Why there is no result of a run.
#[derive(Debug)]
pub(super) enum Absent {
    Late,
    Closed,
    Panicked,
    NotStarted(io::Error),
}

impl<T: Clone + Send + 'static> Runs<T> {
    pub(super) fn new() -> Self {
        Self(Arc::new(Shared {
            state: Mutex::new(State {
                is_running: false,
                ended: 0,
                latest: None,
                is_closed: false,
            }),
            changed: Condvar::new(),
        }))
    }

    pub(super) fn is_running(&self) -> bool {
        self.0.state.lock().is_running
    }

    /// Starts a run, unless one is under way, and returns its result. Blocks until `deadline` at most; the run goes on after
    /// that.
    pub(super) fn result(
        &self,
        deadline: Instant,
        run: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Absent> {
        let mut state = self.0.state.lock();
        if state.is_closed {
            return Err(Absent::Closed);
        }
        let ended = state.ended;
        if !state.is_running {
            self.start(run).map_err(Absent::NotStarted)?;
            state.is_running = true;
        }
        loop {
            if state.is_closed {
                return Err(Absent::Closed);
            }
            if state.ended != ended {
                break;
            }
            if self.0.changed.wait_until(&mut state, deadline).timed_out() && state.ended == ended {
                return Err(Absent::Late);
            }
        }
        state.latest.clone().ok_or(Absent::Panicked)
    }

    /// Starts the thread of a run. The thread is a producer's own if the call comes from such a thread.
    fn start(&self, run: impl FnOnce() -> T + Send + 'static) -> io::Result<()> {
        let shared = Arc::clone(&self.0);
        let body = move || {
            let result = catch_unwind(AssertUnwindSafe(run)).ok();
            let mut state = shared.state.lock();
            state.is_running = false;
            state.ended += 1;
            state.latest = result;
            drop(state);
            shared.changed.notify_all();
        };
        let name = "kp-aws".to_owned();
        match ThreadGroup::of_this_thread() {
            Some(group) => group.spawn(name, STACK_BYTES, body),
            None => spawn(name, STACK_BYTES, body).map(drop),
        }
    }

    /// Waits until a time. Returns whether the runs are still not closed.
    pub(super) fn pause(&self, until: Instant) -> bool {
        let mut state = self.0.state.lock();
        while !state.is_closed && !self.0.changed.wait_until(&mut state, until).timed_out() {}
        !state.is_closed
    }

    /// Ends all waits and pauses. No run begins any more.
    pub(super) fn close(&self) {
        self.0.state.lock().is_closed = true;
        self.0.changed.notify_all();
    }
}

impl Absent {
    /// Returns the error of a run that was to give this.
    pub(super) fn error(self, what: &str) -> Error {
        match self {
            Self::Late => Error::new(ErrorKind::Network, format!("no {what} in time: the source has not answered yet"))
                .with_advice(
                    "see whether AWS's endpoints can be reached from here and the file system of AWS's files answers: the \
                     client asks again",
                ),
            Self::Closed => failed(format!("no {what}: the producer is closed")),
            Self::Panicked => failed(format!("no {what}: the code that asks for it panicked, which is a defect of the client")),
            Self::NotStarted(error) => {
                Error::new(ErrorKind::Network, format!("no {what}: the thread that asks for it cannot be started"))
                    .with_source(error)
            }
        }
    }
}
