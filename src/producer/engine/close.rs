//! The end of a producer: the queued records are delivered, then the threads end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::sender::Event;
use crate::sync::{Condvar, Mutex, STACK_BYTES, spawn};
use crate::threads::logging::log_line;
use crate::time::deadline_after;

use super::Engine;

/// How long a close waits, beyond its own timeout, for threads that must end at once.
const GRACE: Duration = Duration::from_secs(1);

/// The progress of the producer's close.
#[derive(Default)]
pub(super) struct CloseState {
    has_begun: AtomicBool,
    has_ended: Mutex<bool>,
    ended: Condvar,
}

impl CloseState {
    /// Returns whether this is the first close.
    fn begin(&self) -> bool {
        !self.has_begun.swap(true, Ordering::AcqRel)
    }

    fn end(&self) {
        *self.has_ended.lock() = true;
        self.ended.notify_all();
    }

    /// Waits until the close has ended. Returns false if the deadline came first.
    fn wait_for_end(&self, deadline: Instant) -> bool {
        let mut has_ended = self.has_ended.lock();
        while !*has_ended {
            if self.ended.wait_until(&mut has_ended, deadline).timed_out() {
                return *has_ended;
            }
        }
        true
    }
}

/// The number of workers that have not ended.
#[derive(Default)]
pub(super) struct RunningWorkers {
    number: Mutex<usize>,
    changed: Condvar,
}

impl RunningWorkers {
    /// Counts one more worker, until the guard is dropped.
    pub(super) fn add(workers: &Arc<Self>) -> RunningWorker {
        *workers.number.lock() += 1;
        RunningWorker(Arc::clone(workers))
    }

    /// Waits until all workers have ended. Returns false if the deadline came first.
    fn wait_for_end(&self, deadline: Instant) -> bool {
        let mut number = self.number.lock();
        while *number > 0 {
            if self.changed.wait_until(&mut number, deadline).timed_out() {
                return *number == 0;
            }
        }
        true
    }
}

/// A guard in a worker's thread. It is dropped even if the worker panics, so no close waits for a worker that has ended.
pub(super) struct RunningWorker(Arc<RunningWorkers>);

impl Drop for RunningWorker {
    fn drop(&mut self) {
        *self.0.number.lock() -= 1;
        self.0.changed.notify_all();
    }
}

impl Engine {
    /// Accepts no more records, delivers those that are queued, and ends the threads. Records that are not delivered
    /// within `timeout` fail. Returns the number of records that were not delivered, and whether this is the first close.
    pub(crate) fn close(&self, timeout: Duration) -> (u64, bool) {
        let is_first = self.begin_close();
        (self.end_close(is_first, timeout), is_first)
    }

    /// Closes the producer on a new thread, because this thread is the producer's own, and a close waits for such threads.
    /// Calls `then` with the result of [`close`](Self::close). If no thread can be started, undelivered records fail at
    /// once.
    pub(crate) fn close_elsewhere(
        self: &Arc<Self>,
        timeout: Duration,
        then: impl FnOnce(u64, bool) + Send + 'static,
    ) {
        let is_first = self.begin_close();
        let engine = Arc::clone(self);
        let end = move || then(engine.end_close(is_first, timeout), is_first);
        if let Err(error) = spawn(self.thread_name("close"), STACK_BYTES, end) {
            log_line!(log::Level::Error, target: "kafka_producer", "cannot start a thread to close the producer; undelivered records fail now ({error})");
            self.end_close(is_first, Duration::ZERO);
        }
    }

    pub(crate) fn is_close_started(&self) -> bool {
        self.close_state.has_begun.load(Ordering::Acquire)
    }

    /// Accepts no more records from here on. Returns whether this is the first close.
    fn begin_close(&self) -> bool {
        let is_first = self.close_state.begin();
        if is_first {
            self.accumulator.close();
            self.metadata.close();
        }
        is_first
    }

    /// Ends the close that [`begin_close`](Self::begin_close) began. On one of the producer's own threads it does not wait,
    /// because other threads may wait for this one; undelivered records then fail at once.
    fn end_close(&self, is_first: bool, timeout: Duration) -> u64 {
        let may_wait = !self.owns_this_thread();
        let timeout = match may_wait {
            true => timeout,
            false => Duration::ZERO,
        };
        let deadline = deadline_after(Instant::now(), timeout);
        if !is_first {
            return self.wait_for_other_close(deadline, may_wait);
        }
        self.end_workers(timeout, deadline, may_wait);
        self.metadata.stop();
        self.bootstrap.cancel();
        self.current_connection.cancel();
        self.connections.config.authenticator.close();
        self.deliveries.close();
        let undelivered = self.undelivered();
        let busy = match may_wait {
            true => self
                .threads
                .join_until(deadline.max(Instant::now() + GRACE)),
            false => 0,
        };
        self.close_state.end();
        if busy > 0 {
            log_line!(log::Level::Warn, target: "kafka_producer", "{busy} thread(s) of the closed producer are still busy and end by themselves");
        }
        undelivered
    }

    fn end_workers(&self, timeout: Duration, deadline: Instant, may_wait: bool) {
        // With a timeout of zero nothing more is sent: a record that was never sent is certainly not written.
        if !timeout.is_zero() {
            self.post_to_workers(|| Event::Close);
            if self.running_workers.wait_for_end(deadline) {
                return;
            }
        }
        self.post_to_workers(|| Event::ForceClose);
        if may_wait {
            self.running_workers.wait_for_end(Instant::now() + GRACE);
        }
    }

    /// Waits for another thread that closes the producer. The shorter of the two timeouts applies to both.
    fn wait_for_other_close(&self, deadline: Instant, may_wait: bool) -> u64 {
        if may_wait && !self.close_state.wait_for_end(deadline) {
            // The other thread may not have closed the accumulator yet.
            self.accumulator.close();
            self.post_to_workers(|| Event::ForceClose);
            self.close_state.wait_for_end(Instant::now() + 2 * GRACE);
        }
        self.undelivered()
    }

    /// The number of records that failed since the close began, or because a worker ended.
    fn undelivered(&self) -> u64 {
        let workers = self.accumulator.workers().iter();
        workers.map(|worker| worker.undelivered()).sum()
    }

    fn post_to_workers(&self, event: impl Fn() -> Event) {
        for worker in &self.mailboxes {
            worker.post(event());
        }
    }
}
