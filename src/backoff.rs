//! Exponential backoff with jitter (KIP-580), as pure arithmetic: the caller waits.

use std::time::Duration;

/// The shortest time between two attempts at the same thing, whatever a setting says. A setting may be zero, and an attempt
/// that fails at once must not be repeated as fast as the machine can.
pub(crate) const SHORTEST_PAUSE: Duration = Duration::from_millis(20);

/// The shortest wait after a broker refused this client's credentials or certificate, or the client the broker's, or after a
/// broker accepted no connection for the moment. Brokers and token servers limit such attempts, and nothing changes in less
/// time.
const AFTER_REFUSAL: Duration = Duration::from_secs(1);

/// The wait after the n-th failure in a row: `initial * 2^n`, plus or minus up to 20 %, at most `max`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ExponentialBackoff {
    initial: Duration,
    max: Duration,
}

impl ExponentialBackoff {
    /// An `initial` above `max` makes the backoff constant at `max`, as in Java.
    pub(crate) fn new(initial: Duration, max: Duration) -> Self {
        // Longer than any useful wait, and far from the end of what an `Instant` can express.
        const LONGEST: Duration = Duration::from_secs(86_400 * 365);
        let max = max.min(LONGEST);
        Self {
            initial: initial.min(max),
            max,
        }
    }

    /// Returns this backoff with waits of at least [`SHORTEST_PAUSE`], before jitter.
    pub(crate) fn with_floor(self) -> Self {
        Self {
            initial: self.initial.max(SHORTEST_PAUSE),
            max: self.max.max(SHORTEST_PAUSE),
        }
    }

    /// Returns the longest wait.
    pub(crate) fn longest(&self) -> Duration {
        self.max
    }

    /// Returns the wait after `failures` failures in a row, counted from 0. The jitter never takes it above `max`: this bounds
    /// how late the return of an unreachable broker is noticed. With an `initial` of zero there is no wait.
    pub(crate) fn after(&self, failures: u32) -> Duration {
        let exponential = self
            .initial
            .saturating_mul(2u32.saturating_pow(failures.min(30)));
        exponential
            .min(self.max)
            .mul_f64(0.8 + 0.4 * fastrand::f64())
            .min(self.max)
    }

    /// Returns the wait before another attempt to connect. It is at least a second if `is_delayed`: one side refused the
    /// other, or accepts no connection for the moment.
    pub(crate) fn before_reconnect(&self, failures: u32, is_delayed: bool) -> Duration {
        match is_delayed {
            true => self.after(failures).max(AFTER_REFUSAL),
            false => self.after(failures),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_with_a_fifth_of_jitter_and_never_exceeds_its_maximum() {
        let backoff =
            ExponentialBackoff::new(Duration::from_millis(100), Duration::from_millis(1000));
        for (failures, expected_ms) in [
            (0, 100.0),
            (1, 200.0),
            (3, 800.0),
            (4, 1000.0),
            (u32::MAX, 1000.0),
        ] {
            for _ in 0..100 {
                let wait_ms = backoff.after(failures).as_secs_f64() * 1000.0;
                let most_ms = f64::min(1.201 * expected_ms, 1000.0);
                assert!(
                    (0.799 * expected_ms..=most_ms).contains(&wait_ms),
                    "{failures}: {wait_ms}"
                );
            }
        }
    }

    #[test]
    fn any_duration_is_a_legal_wait() {
        let backoff = ExponentialBackoff::new(Duration::MAX, Duration::MAX);
        assert!(
            std::time::Instant::now()
                .checked_add(backoff.after(40))
                .is_some()
        );
    }

    #[test]
    fn a_backoff_with_a_floor_waits_even_where_zero_is_configured() {
        for (initial, max) in [(0, 0), (0, 1000), (5, 5)] {
            let [initial, max] = [initial, max].map(Duration::from_millis);
            let backoff = ExponentialBackoff::new(initial, max).with_floor();
            for failures in [0, 1, 40] {
                assert!(backoff.after(failures) >= SHORTEST_PAUSE.mul_f64(0.79));
            }
        }
    }

    #[test]
    fn is_constant_where_the_initial_wait_is_above_the_maximum() {
        let backoff = ExponentialBackoff::new(Duration::from_secs(5), Duration::from_secs(1));
        assert!(backoff.after(0) <= Duration::from_secs(1));
    }
}
