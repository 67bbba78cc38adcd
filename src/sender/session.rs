//! Links whose session ends are replaced in time.
//!
//! A broker may limit the time for which a connection counts as authenticated (KIP-368), and closes the connection at the
//! first request after that. So the worker dials a second link in time, the *successor*, and goes on with the first one
//! meanwhile. When the successor is ready, the first link gets no more requests. When the first link owes no answer, it is
//! closed, and the successor takes over. So no answer is lost, no batch overtakes another, and the broker is without
//! requests for one round trip only.
//!
//! With `acks=0` no link owes an answer. A request that the broker has not read from the first connection can then be
//! overtaken by one on the second, or be lost if the session ends before: `acks=0` promises no more.

use std::time::{Duration, Instant};

use super::broker_link::{BrokerLink, LinkState, ReadyLink};
use super::run::Sender;
use crate::connection::authentication::Session;
use crate::connection::link::{LinkEvent, LinkId, LinkReady, Network};
use crate::metadata::BrokerId;
use crate::protocol::messages::ProduceRequest;
use crate::threads::logging::log_line;

/// The part of a session, as a divisor, that is left when the replacement begins. Java authenticates again after 85 to 95 %
/// of the session.
const MARGIN_DIVISOR: u32 = 10;

/// The longest time left when the replacement begins. As a rule the broker needs less than a second for a new connection with
/// authentication, and as long for the answers that it owes. The rest is for a second attempt.
const LONGEST_MARGIN: Duration = Duration::from_secs(5);

/// A session shorter than this counts as endless. Otherwise its link would be replaced again and again, and never used.
const SHORTEST_SESSION: Duration = Duration::from_millis(100);

/// When a link has to be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SessionTimes {
    replace_at: Instant,
    ends: Instant,
}

impl SessionTimes {
    /// `None` if the session has no end. The whole session counts, not what is left of it: the worker can learn of a link late,
    /// and a link that shares a connection also shares its session.
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
    /// There is none, and none was needed so far.
    None,
    Connecting {
        link: LinkId,
        /// The attempts before this one that failed.
        failures: u32,
    },
    /// It takes over as soon as the link before it owes no answer.
    Ready(Box<ReadyLink>),
    /// This many attempts failed. The next one is made at this time.
    Failed { not_before: Instant, failures: u32 },
    /// The broker allows no second connection, so the first one must be closed before.
    Refused,
}

impl Successor {
    pub(super) fn link(&self) -> Option<LinkId> {
        match self {
            Self::Connecting { link, .. } => Some(*link),
            Self::Ready(ready) => Some(ready.link),
            Self::None | Self::Failed { .. } | Self::Refused => None,
        }
    }

    /// Returns the number of attempts in a row that failed.
    fn failures(&self) -> u32 {
        match self {
            Self::Connecting { failures, .. } | Self::Failed { failures, .. } => *failures,
            Self::None | Self::Ready(_) | Self::Refused => 0,
        }
    }
}

/// What a link whose session ends needs now.
#[derive(Debug, PartialEq, Eq)]
enum Renewal {
    /// Time, an answer, or the link that is being made.
    Wait,
    /// Dial the successor.
    Dial,
    /// The link owes no answer and gets no more requests: the successor, if there is one, takes its place.
    Replace,
}

impl BrokerLink {
    /// Returns whether the link gets no more requests because its session ends.
    pub(super) fn is_draining(&self, now: Instant) -> bool {
        match (&self.state, &self.successor) {
            (LinkState::Ready(_), Successor::Ready(_) | Successor::Refused) => true,
            (LinkState::Ready(ready), _) => {
                ready.session.is_some_and(|session| session.ends <= now)
            }
            _ => false,
        }
    }

    fn renewal(&self, now: Instant) -> Renewal {
        let LinkState::Ready(ready) = &self.state else {
            return Renewal::Wait;
        };
        let Some(session) = ready.session.filter(|session| session.replace_at <= now) else {
            return Renewal::Wait;
        };
        let is_needed = ready.was_used() || !self.is_unused();
        match &self.successor {
            _ if ready.is_idle() && self.is_draining(now) => Renewal::Replace,
            Successor::None if !is_needed => Renewal::Replace,
            Successor::None if session.ends > now => Renewal::Dial,
            Successor::Failed { not_before, .. } if *not_before <= now && session.ends > now => {
                Renewal::Dial
            }
            _ => Renewal::Wait,
        }
    }

    /// When the link's session needs something next, if nothing happens before.
    pub(super) fn session_deadline(&self) -> Option<Instant> {
        let LinkState::Ready(ready) = &self.state else {
            return None;
        };
        let session = ready.session?;
        match &self.successor {
            Successor::None => Some(session.replace_at),
            Successor::Failed { not_before, .. } => Some(*not_before.min(&session.ends)),
            Successor::Connecting { .. } => Some(session.ends),
            Successor::Ready(_) | Successor::Refused => None,
        }
    }
}

impl<N: Network> Sender<N> {
    /// Replaces the broker's link in time before its session ends. The session of the successor can be over when it takes
    /// over, because the link before it owed answers for long: then it is replaced at once.
    pub(super) fn renew_session(&mut self, broker: BrokerId, now: Instant) {
        while let Some(link) = self.brokers.get(broker) {
            match link.renewal(now) {
                Renewal::Wait => return,
                Renewal::Dial => self.dial_successor(broker),
                Renewal::Replace => self.replace_link(broker, now),
            }
        }
    }

    fn dial_successor(&mut self, broker: BrokerId) {
        let successor = self.dial(broker);
        if let (Some(broker_link), Some(link)) = (self.brokers.get_mut(broker), successor) {
            let failures = broker_link.successor.failures();
            broker_link.successor = Successor::Connecting { link, failures };
        }
    }

    /// Closes the link, which owes no answer. Its successor continues in its place, ready or not.
    fn replace_link(&mut self, broker: BrokerId, now: Instant) {
        let Some(link) = self.brokers.get_mut(broker) else {
            return;
        };
        let down = |not_before| LinkState::Down { not_before };
        let state = match std::mem::replace(&mut link.successor, Successor::None) {
            Successor::Ready(ready) => LinkState::Ready(*ready),
            Successor::Connecting { link, .. } => LinkState::Connecting { link, since: now },
            Successor::Failed { not_before, .. } => down(Some(not_before)),
            Successor::None | Successor::Refused => down(None),
        };
        let LinkState::Ready(before) = std::mem::replace(&mut link.state, state) else {
            return;
        };
        // The broker throttles the client and not the connection (KIP-219).
        let throttled_until = before.throttled_until.max(link.throttled_until);
        match &mut link.state {
            LinkState::Ready(ready) => {
                ready.throttled_until = throttled_until;
                ready.last_used = before.last_used;
                link.throttled_until = None;
            }
            _ => link.throttled_until = throttled_until,
        }
        self.network.close(before.link);
    }

    /// Something happened on the successor of the broker's ready link.
    pub(super) fn on_successor_event(&mut self, broker: BrokerId, event: LinkEvent, now: Instant) {
        let Some(link) = self.brokers.get_mut(broker) else {
            return;
        };
        match event {
            LinkEvent::Connected(ready) => self.on_successor_ready(broker, ready, now),
            LinkEvent::Throttled(until) => {
                link.throttled_until = link.throttled_until.max(Some(until));
            }
            LinkEvent::Closed(error) => {
                let failures = link.successor.failures();
                let not_before = now + self.config.reconnect_backoff.after(failures);
                let failures = failures.saturating_add(1);
                self.end_successor(
                    broker,
                    Successor::Failed {
                        not_before,
                        failures,
                    },
                );
                // The first, the second, the fourth, ...: an outage must not fill a disk.
                let level = match failures.is_power_of_two() {
                    true => log::Level::Info,
                    false => log::Level::Debug,
                };
                log_line!(level, target: "kafka_producer::sender",
                    "cannot replace the connection to broker {broker}, whose session ends: {}", error.summary());
            }
            LinkEvent::ConnectionRefused(_) => self.end_successor(broker, Successor::Refused),
            // No request was sent on it.
            LinkEvent::Frame(_) | LinkEvent::WriteProgress | LinkEvent::WriteFinished => {}
        }
    }

    fn on_successor_ready(&mut self, broker: BrokerId, link_ready: LinkReady, now: Instant) {
        let Some(link) = self.brokers.get_mut(broker) else {
            return;
        };
        let Some(successor) = link.successor.link() else {
            return;
        };
        let before = match &link.state {
            LinkState::Ready(ready) => ready.session,
            _ => None,
        };
        let session = SessionTimes::of(link_ready.session);
        // A link that shares the connection of the one before it ends with it.
        let lasts_longer = match (link_ready.session.ends, before) {
            (Some(ends), Some(before)) => ends > before.ends,
            _ => true,
        };
        let version = link_ready.versions.best::<ProduceRequest<'_, Vec<u8>>>();
        match version {
            Ok(version) if lasts_longer => {
                link.failures = 0;
                let mut ready = ReadyLink::new(successor, version, now);
                ready.session = session;
                link.successor = Successor::Ready(Box::new(ready));
            }
            _ => self.end_successor(broker, Successor::Refused),
        }
    }

    /// Ends the successor in the network, too, which otherwise keeps what it has of the link.
    fn end_successor(&mut self, broker: BrokerId, then: Successor) {
        let Some(link) = self.brokers.get_mut(broker) else {
            return;
        };
        let ended = std::mem::replace(&mut link.successor, then);
        if let Some(ended) = ended.link() {
            self.network.abandon(ended);
        }
    }

    /// Abandons the successor of a link that ends before its time.
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
    fn a_session_that_is_over_at_once_is_not_believed() {
        let now = Instant::now();
        assert_eq!(session(now, Some(now)), None);
        assert_eq!(session(now, now.checked_sub(SECOND)), None);
    }
}
