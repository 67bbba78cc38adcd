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

/// One broker as a worker sees it: the link to it, and the partitions that have batches for it.
pub(super) struct BrokerLink {
    pub(super) endpoint: Endpoint,
    pub(super) state: LinkState,
    /// The partitions that have a batch to send. They are served in this order, so that none starves.
    pub(super) ready_queue: VecDeque<PartitionId>,
    /// The link that will replace a ready one before its session ends.
    pub(super) successor: Successor,
    /// The number of times that a link ended or could not be made, since one was last ready.
    pub(super) failures: u32,
    /// Why the latest link ended or could not be made, until a link is ready again. It is the cause in the errors of
    /// batches that expire meanwhile.
    pub(super) last_error: Option<Error>,
    /// The time since which partitions have been ready and no request was sent.
    pub(super) blocked_since: Option<Instant>,
    /// `Some` while the broker counts as failing: see [`availability`](super::availability). If nothing waits for the broker
    /// at this time, it no longer counts as failing.
    pub(super) failing_until: Option<Instant>,
    /// Whether the latest report to the callers said that the broker takes no data.
    pub(super) reported_unavailable: bool,
    /// Until when the next link must send nothing (KIP-219): the broker asked for this before that link was ready.
    pub(super) throttled_until: Option<Instant>,
}

pub(super) enum LinkState {
    /// There is no link. The next one is dialled no earlier than `not_before`.
    Down {
        not_before: Option<Instant>,
    },
    Connecting {
        link_id: LinkId,
        since: Instant,
    },
    Ready(ReadyLink),
}

/// A link on which requests can be sent.
pub(super) struct ReadyLink {
    pub(super) link_id: LinkId,
    /// The highest version of Produce that both sides know.
    pub(super) version: i16,
    /// The requests without an answer, in the order in which they were sent. Their answers come in the same order.
    pub(super) in_flight: VecDeque<InFlightRequest>,
    /// `Some` while the latest request is being written, and no other may be written. The link ends if the broker takes
    /// nothing more of the request until this time.
    pub(super) writing_until: Option<Instant>,
    pub(super) throttled_until: Option<Instant>,
    pub(super) last_used: Instant,
    /// `None` if the link need never be replaced.
    pub(super) session: Option<SessionTimes>,
    pub(super) silence: SilenceCheck,
    next_correlation_id: i32,
}

/// Identifies a request of a worker. Unlike correlation ids, these ids are never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RequestId(pub(super) u64);

/// A request without its answer.
pub(super) struct InFlightRequest {
    pub(super) id: RequestId,
    pub(super) correlation_id: i32,
    pub(super) version: i16,
    /// Whether the broker answers the request. With `acks=0` it does not: the request is complete when it is written.
    pub(super) is_answered: bool,
    /// The time from which the broker owes the answer: when its write last progressed or finished, or the end of a throttle
    /// if that is later.
    pub(super) awaited_since: Instant,
    /// When `request.timeout.ms` is over. It counts from the last byte written. `None` until that byte is written.
    pub(super) deadline: Option<Instant>,
    /// The partitions in the request, each with the topic id that the request names. Answers name topics by this id
    /// (KIP-516).
    pub(super) partitions: Vec<(PartitionId, [u8; 16])>,
}

/// The correlation id of the first Produce request on a link. The requests that make a connection ready (versions,
/// authentication, cluster check) have ids from 0, so a late answer to one of them matches no Produce request.
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

    pub(super) fn link_id(&self) -> Option<LinkId> {
        match &self.state {
            LinkState::Down { .. } => None,
            LinkState::Connecting { link_id, .. } => Some(*link_id),
            LinkState::Ready(ready) => Some(ready.link_id),
        }
    }

    /// Notes that the link has ended with `error`. The next one is dialled no earlier than `not_before`, and the broker
    /// counts as failing until `failing_until`. Returns the link if it was ready.
    pub(super) fn end(
        &mut self,
        error: Error,
        not_before: Instant,
        failing_until: Instant,
    ) -> Option<ReadyLink> {
        self.failures = self.failures.saturating_add(1);
        self.failing_until = Some(failing_until);
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

    /// Returns when the broker begins to count as failing, unless it answers or the link connects before.
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
    pub(super) fn new(link_id: LinkId, version: i16, now: Instant) -> Self {
        Self {
            link_id,
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

    /// Returns when `request.timeout.ms` is over for the oldest request or for the write in progress.
    pub(super) fn request_deadline(&self) -> Option<Instant> {
        let answer = self.in_flight.front().and_then(|request| request.deadline);
        answer.into_iter().chain(self.writing_until).min()
    }

    /// Returns when to check the broker if no answer comes before. `None` if it owes no answer.
    pub(super) fn next_silence_check(&self) -> Option<Instant> {
        let oldest = self.in_flight.front()?;
        Some(self.silence.next_check(oldest.awaited_since))
    }

    /// Notes a check of the broker. Returns whether to ask the cluster now.
    pub(super) fn check_silence(&mut self, now: Instant) -> bool {
        let oldest = self.in_flight.front();
        oldest.is_some_and(|oldest| self.silence.check(oldest.awaited_since, now))
    }

    /// Returns whether the broker is silent: it has owed its oldest answer for [`SILENCE`].
    pub(super) fn is_silent(&self, now: Instant) -> bool {
        let oldest = self.in_flight.front();
        oldest.is_some_and(|request| request.awaited_since + SILENCE <= now)
    }

    /// Returns whether the link owes no answer and no write is in progress.
    pub(super) fn is_idle(&self) -> bool {
        self.in_flight.is_empty() && self.writing_until.is_none()
    }

    /// Notes that the write of the latest request continues, and that the broker took a part of the request `now`.
    pub(super) fn write_progressed(&mut self, now: Instant, request_timeout: Duration) {
        self.writing_until = Some(deadline_after(now, request_timeout));
        if let Some(request) = self.in_flight.back_mut() {
            request.awaited_since = request.awaited_since.max(now);
        }
    }

    /// Notes that the latest request is written. Its answer is awaited from `now`, or from the end of a throttle.
    pub(super) fn write_finished(&mut self, now: Instant, request_timeout: Duration) {
        self.writing_until = None;
        // Only the request that was being written has no deadline. It is missing if the broker answered it early.
        let latest = self.in_flight.back_mut();
        if let Some(request) = latest.filter(|request| request.deadline.is_none()) {
            let begins = now.max(self.throttled_until.unwrap_or(now));
            request.awaited_since = request.awaited_since.max(begins);
            request.deadline = Some(deadline_after(begins, request_timeout));
        }
    }

    /// Gives all answers, and a write in progress, as much more time as `by`.
    pub(super) fn wait_longer(&mut self, by: Duration) {
        for request in &mut self.in_flight {
            request.deadline = request.deadline.map(|at| deadline_after(at, by));
            request.awaited_since = deadline_after(request.awaited_since, by);
        }
        self.writing_until = self.writing_until.map(|until| deadline_after(until, by));
    }

    /// Returns the next correlation id. After the highest number, the ids begin again at [`FIRST_CORRELATION_ID`].
    pub(super) fn next_correlation_id(&mut self) -> i32 {
        let id = self.next_correlation_id;
        self.next_correlation_id = id.checked_add(1).unwrap_or(FIRST_CORRELATION_ID);
        id
    }

    /// Notes that the broker asked the client to wait until `until` (KIP-219). No request is sent before that time, because
    /// it would evade the quota. The requests in flight get as much more time, however long, because the broker reads
    /// nothing from this connection meanwhile. Batches expire as usual.
    pub(super) fn throttle(&mut self, until: Instant, now: Instant) {
        // The deadlines already include the wait that an earlier answer asked for.
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
        self.writing_until = self.writing_until.map(|until| deadline_after(until, wait));
    }

    fn has_room(&self, max_in_flight: usize, now: Instant) -> bool {
        self.writing_until.is_none()
            && self.in_flight.len() < max_in_flight
            && self.throttled_until.is_none_or(|until| until <= now)
    }
}
