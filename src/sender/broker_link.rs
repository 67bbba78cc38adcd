//! A worker's link to one broker: its state, the partitions that are ready for it, the requests in flight on it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::session::{SessionTimes, Successor};
use super::silence::{SILENCE, SilenceCheck};
use crate::accumulator::partition::PartitionId;
use crate::connection::Endpoint;
use crate::connection::link::LinkId;
use crate::error::Error;
use crate::time::deadline_after;

/// One broker as a worker sees it.
pub(super) struct BrokerLink {
    pub(super) endpoint: Endpoint,
    pub(super) state: LinkState,
    /// The partitions that have something to send, served one after the other so that none starves.
    pub(super) ready_queue: VecDeque<PartitionId>,
    /// The link that will replace a ready one before its session ends.
    pub(super) successor: Successor,
    /// Failures in a row since the link was last ready.
    pub(super) failures: u32,
    /// Why the link was lost or could not be made, until it is ready again: the cause in the errors of batches that expire.
    pub(super) last_error: Option<Error>,
    /// Since when the ready queue is not empty and nothing was sent.
    pub(super) blocked_since: Option<Instant>,
    /// `Some` while the broker is known to take no data: see [`availability`](super::availability). If nothing waits for the
    /// broker at this time, it is tried again.
    pub(super) failing_until: Option<Instant>,
    pub(super) reported_unavailable: bool,
    /// The throttle that the broker asked for on a link that was lost since. The next link keeps to it (KIP-219).
    pub(super) throttled_until: Option<Instant>,
}

pub(super) enum LinkState {
    /// Not connected, and not to be connected before.
    Down {
        not_before: Option<Instant>,
    },
    Connecting {
        link: LinkId,
        since: Instant,
    },
    Ready(ReadyLink),
}

/// A link that requests can be sent on.
pub(super) struct ReadyLink {
    pub(super) link: LinkId,
    /// The highest version of Produce that both sides know.
    pub(super) version: i16,
    /// In the order in which they were sent, which is the order of the answers.
    pub(super) in_flight: VecDeque<InFlightRequest>,
    /// `Some` while the latest request is being written: nothing may follow it yet. The link fails if the broker has taken
    /// nothing more of it by then.
    pub(super) writing_until: Option<Instant>,
    pub(super) throttled_until: Option<Instant>,
    pub(super) last_used: Instant,
    /// `None` if the broker lets the link be used for ever.
    pub(super) session: Option<SessionTimes>,
    pub(super) silence: SilenceCheck,
    next_correlation_id: i32,
}

/// A worker's number for a request: never used again in the worker's life, unlike a correlation id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RequestId(pub(super) u64);

/// A request without its answer.
pub(super) struct InFlightRequest {
    pub(super) id: RequestId,
    pub(super) correlation_id: i32,
    pub(super) version: i16,
    /// Not with `acks=0`: such a request is done when it is written.
    pub(super) is_answered: bool,
    /// Since when the answer is awaited: when the request was written, when the broker last took some of it, or when the
    /// broker's throttle ends, during which it answers nothing.
    pub(super) awaited_since: Instant,
    /// When `request.timeout.ms` is over. It counts from the last byte written; `None` before.
    pub(super) deadline: Option<Instant>,
    /// The partitions in it, each with the topic's id with which it was sent: answers name topics by it (KIP-516).
    pub(super) partitions: Vec<(PartitionId, [u8; 16])>,
}

/// The number of the first Produce request on a link. The requests that make a connection ready (versions, authentication, cluster
/// check) count from 0, so a late answer to one of those matches none of these.
const FIRST_CORRELATION_ID: i32 = 1 << 16;

impl BrokerLink {
    pub(super) fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            state: LinkState::Down { not_before: None },
            ready_queue: VecDeque::new(),
            successor: Successor::None,
            failures: 0,
            last_error: None,
            blocked_since: None,
            failing_until: None,
            reported_unavailable: false,
            throttled_until: None,
        }
    }

    pub(super) fn link(&self) -> Option<LinkId> {
        match &self.state {
            LinkState::Down { .. } => None,
            LinkState::Connecting { link, .. } => Some(*link),
            LinkState::Ready(ready) => Some(ready.link),
        }
    }

    /// The link has ended. Not before `not_before` is another one made, and until `retried_until` the broker counts as
    /// failing. Returns the link if it was ready.
    pub(super) fn fail(
        &mut self,
        error: Error,
        not_before: Instant,
        retried_until: Instant,
    ) -> Option<ReadyLink> {
        self.failures = self.failures.saturating_add(1);
        self.failing_until = Some(retried_until);
        self.last_error = Some(error);
        let not_before = Some(not_before);
        match std::mem::replace(&mut self.state, LinkState::Down { not_before }) {
            LinkState::Ready(ready) => {
                self.throttled_until = ready.throttled_until.max(self.throttled_until);
                Some(ready)
            }
            _ => None,
        }
    }

    /// Returns whether another request may be sent on the link now.
    pub(super) fn has_room(&self, max_in_flight: usize, now: Instant) -> bool {
        match &self.state {
            LinkState::Ready(ready) => ready.has_room(max_in_flight, now) && !self.is_draining(now),
            _ => false,
        }
    }

    /// When the broker has owed an answer, or a connection, for so long that it counts as failing.
    pub(super) fn fails_at(&self) -> Option<Instant> {
        match &self.state {
            LinkState::Down { .. } => None,
            LinkState::Connecting { since, .. } => Some(*since + SILENCE),
            LinkState::Ready(ready) => Some(ready.in_flight.front()?.awaited_since + SILENCE),
        }
    }

    /// Returns whether nothing waits for the broker or for its answer.
    pub(super) fn is_unused(&self) -> bool {
        let is_idle = match &self.state {
            LinkState::Down { .. } => true,
            LinkState::Connecting { .. } => false,
            LinkState::Ready(ready) => ready.is_idle(),
        };
        is_idle && self.ready_queue.is_empty()
    }
}

impl ReadyLink {
    pub(super) fn new(link: LinkId, version: i16, now: Instant) -> Self {
        Self {
            link,
            version,
            in_flight: VecDeque::new(),
            writing_until: None,
            throttled_until: None,
            last_used: now,
            session: None,
            silence: SilenceCheck::default(),
            next_correlation_id: FIRST_CORRELATION_ID,
        }
    }

    /// Returns whether a request was sent on the link.
    pub(super) fn was_used(&self) -> bool {
        self.next_correlation_id != FIRST_CORRELATION_ID
    }

    /// When `request.timeout.ms` is over for the oldest answer or the write in progress.
    pub(super) fn request_deadline(&self) -> Option<Instant> {
        let answer = self.in_flight.front().and_then(|request| request.deadline);
        answer.into_iter().chain(self.writing_until).min()
    }

    /// When to check the broker if it goes on owing an answer. `None` if it owes none.
    pub(super) fn next_silence_check(&self) -> Option<Instant> {
        let oldest = self.in_flight.front()?;
        Some(self.silence.next_check(oldest.awaited_since))
    }

    /// Notes a check of the broker. Returns whether to ask the cluster now.
    pub(super) fn check_silence(&mut self, now: Instant) -> bool {
        let oldest = self.in_flight.front();
        oldest.is_some_and(|oldest| self.silence.check(oldest.awaited_since, now))
    }

    /// Returns whether the broker has owed an answer for so long that another leader is believed more than it.
    pub(super) fn is_silent(&self, now: Instant) -> bool {
        let oldest = self.in_flight.front();
        oldest.is_some_and(|request| request.awaited_since + SILENCE <= now)
    }

    /// Returns whether the link owes no answer and has nothing to write.
    pub(super) fn is_idle(&self) -> bool {
        self.in_flight.is_empty() && self.writing_until.is_none()
    }

    /// The latest request is being written, and the broker took some of it `now`.
    pub(super) fn write_progressed(&mut self, now: Instant, request_timeout: Duration) {
        self.writing_until = Some(deadline_after(now, request_timeout));
        if let Some(request) = self.in_flight.back_mut() {
            request.awaited_since = request.awaited_since.max(now);
        }
    }

    /// The latest request is written: its answer is awaited from now on.
    pub(super) fn write_finished(&mut self, now: Instant, request_timeout: Duration) {
        self.writing_until = None;
        // It has no deadline yet, unless a broker answered before it had the whole request.
        let latest = self.in_flight.back_mut();
        if let Some(request) = latest.filter(|request| request.deadline.is_none()) {
            let begins = now.max(self.throttled_until.unwrap_or(now));
            request.awaited_since = request.awaited_since.max(begins);
            request.deadline = Some(deadline_after(begins, request_timeout));
        }
    }

    /// Waits longer for all answers and for the end of a write, by the time `by`.
    pub(super) fn wait_longer(&mut self, by: Duration) {
        for request in &mut self.in_flight {
            request.deadline = request.deadline.map(|at| deadline_after(at, by));
            request.awaited_since = deadline_after(request.awaited_since, by);
        }
        self.writing_until = self.writing_until.map(|until| deadline_after(until, by));
    }

    /// Positive numbers; after the highest comes 1.
    pub(super) fn next_correlation_id(&mut self) -> i32 {
        let id = self.next_correlation_id;
        self.next_correlation_id = id.checked_add(1).unwrap_or(FIRST_CORRELATION_ID);
        id
    }

    /// The broker asks the client to wait until `until` (KIP-219). Nothing is sent before that, and the requests in flight
    /// get as much more time, however much it is: to send earlier would evade the quota, and the broker reads nothing from
    /// this connection meanwhile. Batches expire as usual.
    pub(super) fn throttle(&mut self, until: Instant, now: Instant) {
        // The time that an earlier answer asked for was added already.
        let begins = self.throttled_until.map_or(now, |earlier| earlier.max(now));
        let wait = until.saturating_duration_since(begins);
        if wait.is_zero() {
            return;
        }
        self.throttled_until = Some(until);
        for request in &mut self.in_flight {
            request.deadline = request.deadline.map(|at| deadline_after(at, wait));
            request.awaited_since = request.awaited_since.max(until);
        }
        // Meanwhile the broker reads nothing either.
        self.writing_until = self.writing_until.map(|until| deadline_after(until, wait));
    }

    fn has_room(&self, max_in_flight: usize, now: Instant) -> bool {
        self.writing_until.is_none()
            && self.in_flight.len() < max_in_flight
            && self.throttled_until.is_none_or(|until| until <= now)
    }
}
