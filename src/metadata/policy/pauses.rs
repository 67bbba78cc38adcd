//! How long the metadata thread waits between attempts.

use std::time::{Duration, Instant};

use super::decision::{PendingRequests, Situation};
use crate::backoff::{ExponentialBackoff, SHORTEST_PAUSE};
use crate::time::deadline_after;

/// A pause between two attempts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pause {
    pub(super) until: Instant,
    /// What the attempt before asked for, if a broker answered it. A new topic or a call that became due since ends the
    /// pause: neither waits for the retry of another request (KIP-526). If no broker answers, nothing ends it.
    answered: Option<PendingRequests>,
}

impl Pause {
    pub(super) fn is_over(&self, situation: &Situation, now: Instant) -> bool {
        let is_ended_by_a_new_request = self.answered.is_some_and(|answered| {
            situation.pending.call && !answered.call || situation.has_new_topics
        });
        now >= self.until || is_ended_by_a_new_request
    }

    /// A pause that no request ends.
    pub(super) fn for_all(until: Instant) -> Self {
        Self {
            until,
            answered: None,
        }
    }
}

/// The attempts that a pause follows, and how long it is.
#[derive(Debug)]
pub(super) struct Pauses {
    retry_backoff: ExponentialBackoff,
    reconnect_backoff: ExponentialBackoff,
    /// Attempts in a row whose answer was incomplete.
    incomplete: u32,
    /// Attempts in a row that no broker answered.
    failed: u32,
    /// When the latest attempt ended, and the number of attempts before it that soon followed each other.
    latest_attempt: Option<Instant>,
    repeats: u32,
}

impl Pauses {
    pub(super) fn new(
        retry_backoff: ExponentialBackoff,
        reconnect_backoff: ExponentialBackoff,
    ) -> Self {
        Self {
            retry_backoff,
            reconnect_backoff,
            incomplete: 0,
            failed: 0,
            latest_attempt: None,
            repeats: 0,
        }
    }

    /// Returns the pause before an attempt that repeats the requests of the latest one, for example for a partition that
    /// the topic does not have. It grows with each attempt, like the backoff of any retry. New topics and calls do not
    /// wait.
    pub(super) fn before_attempt(
        &mut self,
        situation: &Situation,
        pending: PendingRequests,
        now: Instant,
    ) -> Option<Pause> {
        let since = now.saturating_duration_since(self.latest_attempt?);
        let pause = self.retry_pause(self.repeats);
        if since >= pause {
            self.repeats = 0;
            return None;
        }
        if pending.call || situation.has_new_topics {
            return None;
        }
        self.repeats = self.repeats.saturating_add(1);
        // The attempt after this pause starts without another one.
        self.latest_attempt = None;
        Some(Pause {
            until: deadline_after(now, pause - since),
            answered: Some(pending),
        })
    }

    /// Returns the pause if every broker that can be asked throttles this client until then.
    pub(super) fn after_throttled(&mut self, until: Instant, now: Instant) -> Pause {
        self.latest_attempt = Some(now);
        Pause::for_all(until)
    }

    /// Notes that a broker answered everything.
    pub(super) fn after_answer(&mut self, now: Instant) {
        self.latest_attempt = Some(now);
        (self.incomplete, self.failed) = (0, 0);
    }

    /// Returns the pause after an answer that is not complete, so that something has to be asked again: for example, a
    /// topic has no leader or a coordinator is loading.
    pub(super) fn after_incomplete_answer(
        &mut self,
        asked: PendingRequests,
        now: Instant,
    ) -> Pause {
        self.latest_attempt = Some(now);
        self.failed = 0;
        let pause = self.retry_pause(self.incomplete);
        self.incomplete = self.incomplete.saturating_add(1);
        Pause {
            until: deadline_after(now, pause),
            answered: Some(asked),
        }
    }

    /// Returns the pause after an attempt that no broker answered, and the number of such attempts in a row. `is_delayed`: a
    /// broker refuses this client, or accepts no connection for the moment.
    pub(super) fn after_failure(&mut self, is_delayed: bool, now: Instant) -> (Pause, u32) {
        self.latest_attempt = Some(now);
        let backoff = self
            .reconnect_backoff
            .before_reconnect(self.failed, is_delayed);
        self.failed = self.failed.saturating_add(1);
        let pause = Pause::for_all(deadline_after(now, backoff));
        (pause, self.failed)
    }

    fn retry_pause(&self, times: u32) -> Duration {
        self.retry_backoff.after(times).max(SHORTEST_PAUSE)
    }
}
