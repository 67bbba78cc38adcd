//! The two clocks: the monotonic one for deadlines, and the wall clock for record timestamps.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Returns the milliseconds since 1970 on the wall clock: Kafka's unit for record timestamps.
pub(crate) fn wall_clock_ms() -> i64 {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(elapsed) => i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX),
        Err(_) => 0,
    }
}

/// Returns `now + wait`, or a point 30 years away if an `Instant` cannot express that (`Duration::MAX` is a legal timeout).
pub(crate) fn deadline_after(now: Instant, wait: Duration) -> Instant {
    now.checked_add(wait)
        .unwrap_or_else(|| now + Duration::from_secs(86_400 * 365 * 30))
}

/// Returns the time on the monotonic clock, for code that does not get it as an argument. Tests and fuzz targets can set it by
/// hand for their thread.
pub(crate) fn monotonic_now() -> Instant {
    #[cfg(any(test, fuzzing))]
    if let Some(now) = MANUAL_CLOCK.get() {
        return now;
    }
    Instant::now()
}

/// Sets this thread's monotonic clock by hand, from now on.
#[cfg(any(test, fuzzing))]
pub(crate) fn set_monotonic_now(now: Instant) {
    MANUAL_CLOCK.set(Some(now));
}

#[cfg(any(test, fuzzing))]
thread_local! {
    static MANUAL_CLOCK: std::cell::Cell<Option<Instant>> = const { std::cell::Cell::new(None) };
}
