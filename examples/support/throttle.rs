//! Limits a loop to a number of rounds per second.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// Lets rounds pass at the given rate. A message on the channel, or its end, ends every wait.
pub(crate) struct Throttle {
    start: Instant,
    /// Negative: no limit.
    per_second: f64,
    stop: Receiver<()>,
}

impl Throttle {
    pub(crate) fn new(per_second: f64, stop: Receiver<()>) -> Self {
        Self {
            start: Instant::now(),
            per_second,
            stop,
        }
    }

    /// Waits until the round after `done` others is due. Returns false if it is time to stop.
    pub(crate) fn wait(&self, done: u64) -> bool {
        // Short waits are added up: the system wakes no thread to the microsecond.
        const SHORTEST: Duration = Duration::from_millis(1);
        if self.per_second < 0.0 || done == 0 {
            return self
                .stop
                .try_recv()
                .is_err_and(|error| error == std::sync::mpsc::TryRecvError::Empty);
        }
        let due =
            Duration::try_from_secs_f64(done as f64 / self.per_second).unwrap_or(Duration::MAX);
        let wait = match due.saturating_sub(self.start.elapsed()) {
            short if short < SHORTEST => Duration::ZERO,
            wait => wait,
        };
        self.stop.recv_timeout(wait) == Err(RecvTimeoutError::Timeout)
    }
}
