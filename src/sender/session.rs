//! Replaces a link before its session ends.
//!
//! A broker may limit the time for which a connection counts as authenticated (KIP-368). It closes the connection at the
//! first request after that time. So the worker dials a second link in time, the *successor*, and uses the first link
//! meanwhile. When the successor is ready, the first link gets no more requests. When the first link owes no answer, it is
//! closed, and the successor takes its place. So no answer is lost, no batch overtakes another, and the broker is without
//! requests for one round trip only.
//!
//! With `acks=0` no link owes an answer. So the first link can be closed before the broker has read its last request. A
//! request on the second link can overtake that one. The last request is lost if the session ends before the broker
//! reads it. `acks=0` promises no more.

use std::time::{Duration, Instant};

use super::broker_link::{BrokerLink, LinkState, ReadyLink};
use super::run::Sender;
use crate::connection::authentication::Session;
use crate::connection::link::{LinkEvent, LinkId, LinkProperties, Network};
use crate::metadata::BrokerId;
use crate::protocol::messages::ProduceRequest;
use crate::threads::logging::log_line;

/// The margin is the end of a session, in which its link is replaced. It is the session's length divided by this, at most
/// [`LONGEST_MARGIN`]. Java authenticates again after 85 to 95 % of the session.
const MARGIN_DIVISOR: u32 = 10;

/// The longest margin. A new connection with authentication usually takes less than a second, and so do the answers that
/// the broker owes. The rest is for a second dial.
const LONGEST_MARGIN: Duration = Duration::from_secs(5);

/// A session shorter than this counts as endless. Otherwise its link would be replaced again and again without being used.
const SHORTEST_SESSION: Duration = Duration::from_millis(100);

/// When a link must be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SessionTimes {
    replace_at: Instant,
    ends: Instant,
}

impl SessionTimes {
    /// Returns the times for a session. `None` if it has no end. They follow from the length of the whole session, not from
    /// the time left: a worker may get a link late, and a link that shares a connection shares its session too.
    pub(super) fn of(session: Session) -> Option<Self> {
        let ends = session.ends?;
        let lasts = ends.saturating_duration_since(session.begins);
        if lasts < SHORTEST_SESSION {
            return None;
        }
        let replace_at = ends - (lasts / MARGIN_DIVISOR).min(LONGEST_MARGIN);
        Some(Self { replace_at, ends })
    }
}

/// The link that replaces a ready one before its session ends.
pub(super) enum Successor {
    /// None was dialled so far.
    None,
    Connecting {
        link_id: LinkId,
        /// The number of dials before this one that failed.
        failures: u32,
    },
    /// It takes the place of the first link as soon as that one owes no answer.
    Ready(Box<ReadyLink>),
    /// `failures` dials failed. The next one is made at `not_before`.
    Failed { not_before: Instant, failures: u32 },
    /// The broker allows no second connection. The first link must be closed before another one is dialled.
    Refused,
}

impl Successor {
    pub(super) fn link_id(&self) -> Option<LinkId> {
        match self {
            Self::Connecting { link_id, .. } => Some(*link_id),
            Self::Ready(ready_link) => Some(ready_link.link_id),
            Self::None | Self::Failed { .. } | Self::Refused => None,
        }
    }

    /// Returns the number of dials in a row that failed.
    fn failures(&self) -> u32 {
        match self {
            Self::Connecting { failures, .. } | Self::Failed { failures, .. } => *failures,
            Self::None | Self::Ready(_) | Self::Refused => 0,
        }
    }
}

/// What to do now for a link whose session will end.
#[derive(Debug, PartialEq, Eq)]
enum Renewal {
    /// Wait: for a time, for an answer, or until the successor is ready.
    Wait,
    /// Dial the successor.
    Dial,
    /// Close the link, which owes no answer and gets no more requests. The successor, if there is one, takes its place.
    Replace,
}

impl BrokerLink {
    /// Returns whether the link gets no more requests because its session ends.
    pub(super) fn is_draining(&self, now: Instant) -> bool {
        match (&self.state, &self.successor) {
            (LinkState::Ready(_), Successor::Ready(_) | Successor::Refused) => true,
            (LinkState::Ready(ready_link), _) => ready_link
                .session
                .is_some_and(|session| session.ends <= now),
            _ => false,
        }
    }

    fn renewal(&self, now: Instant) -> Renewal {
        let LinkState::Ready(ready_link) = &self.state else {
            return Renewal::Wait;
        };
        let Some(session) = ready_link
            .session
            .filter(|session| session.replace_at <= now)
        else {
            return Renewal::Wait;
        };
        let is_needed = ready_link.was_used() || !self.is_unused();
        match &self.successor {
            _ if ready_link.is_idle() && self.is_draining(now) => Renewal::Replace,
            Successor::None if !is_needed => Renewal::Replace,
            Successor::None if session.ends > now => Renewal::Dial,
            Successor::Failed { not_before, .. } if *not_before <= now && session.ends > now => {
                Renewal::Dial
            }
            _ => Renewal::Wait,
        }
    }

    /// Returns when to call `renew_session` next if nothing happens before.
    pub(super) fn session_deadline(&self) -> Option<Instant> {
        let LinkState::Ready(ready_link) = &self.state else {
            return None;
        };
        let session = ready_link.session?;
        match &self.successor {
            Successor::None => Some(session.replace_at),
            Successor::Failed { not_before, .. } => Some(*not_before.min(&session.ends)),
            Successor::Connecting { .. } => Some(session.ends),
            Successor::Ready(_) | Successor::Refused => None,
        }
    }
}

impl<N: Network> Sender<N> {
    /// Replaces the broker's link before its session ends. If the first link owed answers for long, the successor's own
    /// session may be over when it takes the first one's place. Then it is replaced at once.
    pub(super) fn renew_session(&mut self, broker: BrokerId, now: Instant) {
        while let Some(broker_link) = self.brokers.get(broker) {
            match broker_link.renewal(now) {
                Renewal::Wait => return,
                Renewal::Dial => self.dial_successor(broker),
                Renewal::Replace => self.replace_link(broker, now),
            }
        }
    }

    fn dial_successor(&mut self, broker: BrokerId) {
        let successor = self.dial(broker);
        if let (Some(broker_link), Some(link_id)) = (self.brokers.get_mut(broker), successor) {
            let failures = broker_link.successor.failures();
            broker_link.successor = Successor::Connecting { link_id, failures };
        }
    }

    /// Closes the link, which owes no answer. Its successor takes its place, ready or not.
    fn replace_link(&mut self, broker: BrokerId, now: Instant) {
        let Some(broker_link) = self.brokers.get_mut(broker) else {
            return;
        };
        let down = |not_before| LinkState::Down { not_before };
        let state = match std::mem::replace(&mut broker_link.successor, Successor::None) {
            Successor::Ready(ready_link) => LinkState::Ready(*ready_link),
            Successor::Connecting { link_id, .. } => LinkState::Connecting {
                link_id,
                since: now,
            },
            Successor::Failed { not_before, .. } => down(Some(not_before)),
            Successor::None | Successor::Refused => down(None),
        };
        let LinkState::Ready(before) = std::mem::replace(&mut broker_link.state, state) else {
            return;
        };
        // The throttle continues on the new link: it applies to the client, not to the connection (KIP-219).
        let throttled_until = before.throttled_until.max(broker_link.throttled_until);
        match &mut broker_link.state {
            LinkState::Ready(ready_link) => {
                ready_link.throttled_until = throttled_until;
                ready_link.last_used = before.last_used;
                broker_link.throttled_until = None;
            }
            _ => broker_link.throttled_until = throttled_until,
        }
        self.network.close(before.link_id);
    }

    /// Handles an event of the successor of the broker's ready link.
    pub(super) fn on_successor_event(&mut self, broker: BrokerId, event: LinkEvent, now: Instant) {
        let Some(broker_link) = self.brokers.get_mut(broker) else {
            return;
        };
        match event {
            LinkEvent::Connected(properties) => self.on_successor_ready(broker, &properties, now),
            LinkEvent::Throttled(until) => {
                broker_link.throttled_until = broker_link.throttled_until.max(Some(until));
            }
            LinkEvent::Closed(error) => {
                let failures = broker_link.successor.failures();
                let not_before = now
                    + self
                        .config
                        .reconnect_backoff
                        .before_reconnect(failures, error.delays_reconnect());
                let failures = failures.saturating_add(1);
                self.end_successor(
                    broker,
                    Successor::Failed {
                        not_before,
                        failures,
                    },
                );
                // Failures 1, 2, 4, 8 and so on in a row are logged at level Info, so that a long outage does not fill a
                // disk.
                let level = match failures.is_power_of_two() {
                    true => log::Level::Info,
                    false => log::Level::Debug,
                };
                log_line!(level, target: "kafka_producer::sender",
                    "cannot replace the connection to broker {broker}, whose session ends: {}", error.report());
            }
            LinkEvent::ConnectionRefused(_) => self.end_successor(broker, Successor::Refused),
            // Not expected: no request was sent on the successor.
            LinkEvent::Frame(_) | LinkEvent::WriteProgress | LinkEvent::WriteFinished => {}
        }
    }

    fn on_successor_ready(&mut self, broker: BrokerId, properties: &LinkProperties, now: Instant) {
        let Some(broker_link) = self.brokers.get_mut(broker) else {
            return;
        };
        let Some(successor) = broker_link.successor.link_id() else {
            return;
        };
        let before = match &broker_link.state {
            LinkState::Ready(ready_link) => ready_link.session,
            _ => None,
        };
        let session = SessionTimes::of(properties.session);
        // If the successor shares the connection of the first link, it also shares the session, and cannot replace that
        // link.
        let lasts_longer = match (properties.session.ends, before) {
            (Some(ends), Some(before)) => ends > before.ends,
            _ => true,
        };
        let version = properties.versions.best::<ProduceRequest<'_, Vec<u8>>>();
        match version {
            Ok(version) if lasts_longer => {
                broker_link.failures = 0;
                let mut ready_link = ReadyLink::new(successor, version, now);
                ready_link.session = session;
                broker_link.successor = Successor::Ready(Box::new(ready_link));
            }
            _ => self.end_successor(broker, Successor::Refused),
        }
    }

    /// Sets the state of the successor to `next`. If there was a link, abandons it in the network, which keeps it
    /// otherwise.
    fn end_successor(&mut self, broker: BrokerId, next: Successor) {
        let Some(broker_link) = self.brokers.get_mut(broker) else {
            return;
        };
        let ended = std::mem::replace(&mut broker_link.successor, next);
        if let Some(ended) = ended.link_id() {
            self.network.abandon(ended);
        }
    }

    /// Abandons the successor, because the first link has ended.
    pub(super) fn abandon_successor(&mut self, broker: BrokerId) {
        self.end_successor(broker, Successor::None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn session(begins: Instant, ends: Option<Instant>) -> Option<SessionTimes> {
        SessionTimes::of(Session { begins, ends })
    }

    #[test]
    fn a_link_is_replaced_when_a_tenth_of_its_session_is_left_but_not_too_early() {
        let now = Instant::now();
        assert_eq!(session(now, None), None);
        for (lasts, margin) in [(SECOND, SECOND / 10), (3600 * SECOND, LONGEST_MARGIN)] {
            let times = session(now, Some(now + lasts)).unwrap();
            assert_eq!(times.replace_at, now + lasts - margin);
        }
    }

    #[test]
    fn a_session_that_is_over_at_once_counts_as_endless() {
        let now = Instant::now();
        assert_eq!(session(now, Some(now)), None);
        assert_eq!(session(now, now.checked_sub(SECOND)), None);
    }
}
