//! One clock for all: milliseconds since the test began, by the wall clock, because other processes' timestamps use it, too.

use std::thread;
use std::time::{Duration, Instant};

use crate::producing::now_ms;

#[derive(Clone, Copy)]
pub(super) struct Clock {
    began_ms: i64,
}

impl Clock {
    pub(super) fn start() -> Clock {
        Clock { began_ms: now_ms() }
    }

    pub(super) fn now_ms(&self) -> u32 {
        self.at(now_ms())
    }

    /// A time in milliseconds since 1970.
    pub(super) fn at(&self, wall_ms: i64) -> u32 {
        u32::try_from(wall_ms - self.began_ms).unwrap_or(0)
    }
}

pub(super) fn seconds(ms: u32) -> String {
    format!("{:.3} s", f64::from(ms) / 1_000.0)
}

/// Lets time pass while a fault lasts.
pub(super) fn pass(duration: Duration) {
    let until = Instant::now() + duration;
    while let Some(left) = until.checked_duration_since(Instant::now()) {
        thread::park_timeout(left);
    }
}
