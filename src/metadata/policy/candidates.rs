//! The brokers that the metadata thread can ask, their order, and what it remembers about each address.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use crate::connection::{Endpoint, LONGEST_THROTTLE};

/// What is remembered about the addresses that were asked.
#[derive(Debug, Default)]
pub(super) struct Candidates {
    histories: HashMap<Endpoint, History>,
}

/// What earlier attempts at one address have shown.
#[derive(Debug, Default)]
struct History {
    /// Failed attempts in a row.
    failures: u32,
    /// When the latest attempt failed, if it did.
    failed_at: Option<Instant>,
    /// How many requests ran into the timeout that the broker was given. A quick answer subtracts one.
    slowness: u32,
    /// Until when the broker's quota asks this client to wait (KIP-219). Each broker has its own.
    throttled_until: Option<Instant>,
}

/// The sources of the brokers' addresses.
#[derive(Debug)]
pub(super) struct Sources<'a> {
    /// The brokers that metadata named.
    pub(super) known: Vec<Endpoint>,
    /// The addresses of `bootstrap.servers`, if they are to be asked, too.
    pub(super) bootstrap: Vec<Endpoint>,
    /// Whether the bootstrap addresses come first (KIP-899).
    pub(super) is_rebootstrap: bool,
    /// The broker to which the metadata thread has a connection. It is asked first, after those of a rebootstrap.
    pub(super) connected: Option<&'a Endpoint>,
    /// A broker that is asked only after the promising ones ([`Candidates::is_promising`]).
    pub(super) avoided: Option<&'a Endpoint>,
}

/// The metadata thread abandons a broker that does not answer within this time, long before `request.timeout.ms`: one
/// stopped broker must not keep all threads from new metadata. The time doubles with each request that ran into it.
const FIRST_PATIENCE: Duration = Duration::from_secs(2);

/// A failure that is older than this does not predict the result of the next attempt.
const OLD_FAILURE: Duration = Duration::from_secs(30);

impl Candidates {
    /// Returns the addresses to ask, in order: the connected broker, then the others in random order, those with recent
    /// failures at the end ([`Sources`] says what changes this order). Brokers that throttle this client are left out. If all of
    /// them do, returns `Err` with the time at which the first throttle ends.
    pub(super) fn in_order(
        &self,
        sources: Sources<'_>,
        now: Instant,
    ) -> Result<Vec<Endpoint>, Instant> {
        let Sources {
            mut known,
            mut bootstrap,
            is_rebootstrap,
            connected,
            avoided,
        } = sources;
        fastrand::shuffle(&mut known);
        fastrand::shuffle(&mut bootstrap);
        let throttle = |endpoint: &Endpoint| self.throttled_until(endpoint, now);
        if known.iter().any(|endpoint| throttle(endpoint).is_some()) && !is_rebootstrap {
            // A bootstrap address can be another name of a throttled broker, and must not evade the quota.
            bootstrap.retain(|endpoint| known.contains(endpoint));
        }
        let is_first = |endpoint: &Endpoint| is_rebootstrap && bootstrap.contains(endpoint);
        let mut seen = HashSet::new();
        let mut all: Vec<Endpoint> = known.iter().chain(&bootstrap).cloned().collect();
        all.retain(|endpoint| seen.insert(endpoint.clone()));
        let until = all.iter().filter_map(throttle).min();
        all.retain(|endpoint| throttle(endpoint).is_none());
        all.sort_by_key(|endpoint| {
            let is_connected = connected == Some(endpoint);
            let rank = match avoided {
                Some(avoided) if endpoint == avoided => 1,
                Some(_) if !self.is_promising(endpoint, now) => 2,
                _ => 0,
            };
            let failures = match self.failed_lately(endpoint, now) {
                true => self.failures(endpoint),
                false => 0,
            };
            (!is_first(endpoint), !is_connected, rank, failures)
        });
        match until {
            Some(until) if all.is_empty() => Err(until),
            _ => Ok(all),
        }
    }

    /// The number of failed attempts in a row.
    pub(super) fn failures(&self, endpoint: &Endpoint) -> u32 {
        let history = self.histories.get(endpoint);
        history.map_or(0, |history| history.failures)
    }

    /// Returns whether the broker neither failed lately nor throttles this client.
    pub(super) fn is_promising(&self, endpoint: &Endpoint, now: Instant) -> bool {
        !self.failed_lately(endpoint, now) && self.throttled_until(endpoint, now).is_none()
    }

    fn failed_lately(&self, endpoint: &Endpoint, now: Instant) -> bool {
        self.failed_at(endpoint)
            .is_some_and(|at| now.saturating_duration_since(at) < OLD_FAILURE)
    }

    /// Returns whether the latest attempt at this address failed at `since` or later.
    pub(super) fn failed_since(&self, endpoint: &Endpoint, since: Instant) -> bool {
        self.failed_at(endpoint).is_some_and(|at| at >= since)
    }

    fn failed_at(&self, endpoint: &Endpoint) -> Option<Instant> {
        self.histories.get(endpoint)?.failed_at
    }

    pub(super) fn throttled_until(&self, endpoint: &Endpoint, now: Instant) -> Option<Instant> {
        let until = self.histories.get(endpoint)?.throttled_until;
        until.filter(|until| *until > now)
    }

    /// How long to wait for a connection to this address if there is another one to ask.
    pub(super) fn connect_patience(&self, endpoint: &Endpoint) -> Duration {
        doubled(self.failures(endpoint))
    }

    /// How long to wait for an answer from this address.
    pub(super) fn answer_patience(&self, endpoint: &Endpoint) -> Duration {
        let history = self.histories.get(endpoint);
        doubled(history.map_or(0, |history| history.slowness))
    }

    pub(super) fn note_failure(&mut self, endpoint: &Endpoint, now: Instant) {
        let history = self.history(endpoint);
        history.failures = history.failures.saturating_add(1);
        history.failed_at = Some(now);
    }

    pub(super) fn note_success(&mut self, endpoint: &Endpoint) {
        let history = self.history(endpoint);
        (history.failures, history.failed_at) = (0, None);
    }

    /// Notes how long an answer took, or how long the thread waited for it. A broker that is always slow gets more time
    /// after one timeout, and keeps it.
    pub(super) fn note_time(&mut self, endpoint: &Endpoint, took: Duration, patience: Duration) {
        let history = self.history(endpoint);
        if took >= patience {
            history.slowness = history.slowness.saturating_add(1);
        } else if took < patience / 4 {
            history.slowness = history.slowness.saturating_sub(1);
        }
    }

    pub(super) fn note_throttle(&mut self, endpoint: &Endpoint, wait: Duration, now: Instant) {
        let until = now + wait.min(LONGEST_THROTTLE);
        let history = self.history(endpoint);
        history.throttled_until = history.throttled_until.max(Some(until));
    }

    /// Forgets the addresses that are not asked any more.
    pub(super) fn retain(&mut self, is_asked: impl Fn(&Endpoint) -> bool) {
        self.histories.retain(|endpoint, _| is_asked(endpoint));
    }

    fn history(&mut self, endpoint: &Endpoint) -> &mut History {
        self.histories.entry(endpoint.clone()).or_default()
    }
}

fn doubled(times: u32) -> Duration {
    FIRST_PATIENCE.saturating_mul(1 << times.min(8))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::fixtures::endpoint;

    fn endpoints(ports: &[u16]) -> Vec<Endpoint> {
        ports.iter().map(|port| endpoint(*port)).collect()
    }

    fn sources(known: &[u16], bootstrap: &[u16]) -> Sources<'static> {
        Sources {
            known: endpoints(known),
            bootstrap: endpoints(bootstrap),
            is_rebootstrap: false,
            connected: None,
            avoided: None,
        }
    }

    fn ports(asked: Result<Vec<Endpoint>, Instant>) -> Vec<u16> {
        let asked = asked.unwrap();
        asked.into_iter().map(|endpoint| endpoint.port).collect()
    }

    #[test]
    fn the_connected_broker_is_asked_first_and_those_with_recent_failures_at_the_end() {
        let now = Instant::now();
        let connected = &endpoints(&[3])[0];
        for _ in 0..20 {
            let mut candidates = Candidates::default();
            let failed = &endpoints(&[1])[0];
            candidates.note_failure(failed, now);
            let asked = candidates.in_order(
                Sources {
                    connected: Some(connected),
                    ..sources(&[1, 2, 3], &[])
                },
                now,
            );
            assert_eq!(ports(asked), [3, 2, 1]);
            candidates.note_success(failed);
            assert_eq!(candidates.failures(failed), 0);
        }
    }

    #[test]
    fn an_avoided_broker_is_asked_after_those_that_promise_an_answer_and_before_the_others() {
        let now = Instant::now();
        let mut candidates = Candidates::default();
        let [avoided, failed] = [1, 2].map(|port| endpoints(&[port]).remove(0));
        candidates.note_failure(&failed, now);
        for _ in 0..20 {
            let avoiding = Sources {
                avoided: Some(&avoided),
                ..sources(&[1, 2, 3], &[])
            };
            assert_eq!(ports(candidates.in_order(avoiding, now)), [3, 1, 2]);
        }
    }

    #[test]
    fn a_rebootstrap_asks_the_bootstrap_addresses_before_the_known_ones() {
        let candidates = Candidates::default();
        for _ in 0..20 {
            let rebootstrap = Sources {
                is_rebootstrap: true,
                ..sources(&[1, 2], &[9])
            };
            assert_eq!(
                ports(candidates.in_order(rebootstrap, Instant::now()))[0],
                9
            );
        }
    }

    #[test]
    fn a_throttled_broker_is_left_out_and_waited_for_if_it_is_the_only_one() {
        let now = Instant::now();
        let mut candidates = Candidates::default();
        let throttled = endpoints(&[1]).remove(0);
        candidates.note_throttle(&throttled, Duration::from_secs(3), now);
        // A shorter wait that comes later does not end earlier.
        candidates.note_throttle(&throttled, Duration::from_secs(1), now);
        assert_eq!(
            ports(candidates.in_order(sources(&[1, 2], &[9]), now)),
            [2],
            "the bootstrap address may be the throttled broker"
        );
        let until = now + Duration::from_secs(3);
        assert_eq!(candidates.in_order(sources(&[1], &[9]), now), Err(until));
        assert_eq!(
            ports(candidates.in_order(sources(&[1], &[]), until)),
            [1],
            "the throttle is over"
        );
    }

    #[test]
    fn no_broker_can_throttle_for_days() {
        let now = Instant::now();
        let mut candidates = Candidates::default();
        let broker = endpoints(&[1]).remove(0);
        candidates.note_throttle(&broker, Duration::from_millis(i32::MAX as u64), now);
        assert_eq!(
            candidates.throttled_until(&broker, now),
            Some(now + LONGEST_THROTTLE)
        );
    }

    #[test]
    fn patience_grows_with_each_timeout_and_shrinks_with_quick_answers() {
        let mut candidates = Candidates::default();
        let broker = endpoints(&[1]).remove(0);
        let patience = |candidates: &Candidates| candidates.answer_patience(&broker);
        for seconds in [2, 4, 8] {
            assert_eq!(patience(&candidates), Duration::from_secs(seconds));
            let patience = patience(&candidates);
            candidates.note_time(&broker, patience, patience);
        }
        // An answer that takes half of the time does not shrink it.
        candidates.note_time(&broker, patience(&candidates) / 2, patience(&candidates));
        assert_eq!(patience(&candidates), Duration::from_secs(16));
        candidates.note_time(&broker, Duration::ZERO, patience(&candidates));
        assert_eq!(patience(&candidates), Duration::from_secs(8));
    }

    #[test]
    fn after_an_old_failure_an_address_is_promising_again() {
        let now = Instant::now();
        let mut candidates = Candidates::default();
        let broker = endpoints(&[1]).remove(0);
        assert!(candidates.is_promising(&broker, now));
        candidates.note_failure(&broker, now);
        assert!(!candidates.is_promising(&broker, now));
        assert!(candidates.is_promising(&broker, now + OLD_FAILURE));
    }

    /// As after a rolling restart of the brokers.
    #[test]
    fn old_failures_of_all_brokers_do_not_change_the_order_and_are_no_outage() {
        let now = Instant::now();
        let [later, much_later] = [1, 2].map(|times| now + times * OLD_FAILURE);
        let mut seen = HashSet::new();
        for _ in 0..100 {
            let mut candidates = Candidates::default();
            for broker in &endpoints(&[1, 2, 3]) {
                candidates.note_failure(broker, now);
                assert!(candidates.failed_since(broker, now));
                assert!(!candidates.failed_since(broker, later));
            }
            let all = candidates.in_order(sources(&[1, 2, 3], &[9]), much_later);
            seen.insert(ports(all)[0]);
        }
        assert!(seen.len() > 1, "{seen:?}");
    }
}
