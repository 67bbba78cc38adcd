//! The two clocks: a monotonic one for deadlines and the wall clock for record timestamps.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970 on the wall clock, as Kafka stamps records.
pub(crate) fn wall_clock_ms() -> i64 {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(elapsed) => i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX),
        Err(_) => 0,
    }
}

/// `now + wait`, or a point beyond anybody's patience where that cannot be written as an `Instant`
/// (`Duration::MAX` is a legal timeout).
pub(crate) fn deadline_after(now: Instant, wait: Duration) -> Instant {
    now.checked_add(wait)
        .unwrap_or_else(|| now + Duration::from_secs(86_400 * 365 * 30))
}

/// The monotonic clock, for code that is not handed the time. Tests and fuzz targets on one thread can
/// set it by hand.
pub(crate) fn monotonic_now() -> Instant {
    #[cfg(any(test, fuzzing))]
    if let Some(now) = MANUAL_CLOCK.get() {
        return now;
    }
    Instant::now()
}

/// Sets this thread's monotonic clock by hand, for good.
#[cfg(any(test, fuzzing))]
pub(crate) fn set_monotonic_now(now: Instant) {
    MANUAL_CLOCK.set(Some(now));
}

#[cfg(any(test, fuzzing))]
thread_local! {
    static MANUAL_CLOCK: std::cell::Cell<Option<Instant>> = const { std::cell::Cell::new(None) };
}
