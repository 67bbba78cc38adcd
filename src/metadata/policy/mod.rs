//! What the metadata thread does next: which broker it asks, how long it waits, when it closes its connection.
//!
//! Time comes in as an argument, events as calls, and decisions come out. There is no clock, socket, thread or lock here:
//! those are in [`refresh`](super::refresh). So tests drive the policy by hand. Log lines come from events only, because
//! [`Policy::next`] runs under a lock.
//!
//! One attempt asks one broker after the other until one has answered everything that is requested:
//!
//! | [`Action`] | events that follow |
//! |---|---|
//! | `Connect` | `connected`, or `failed` |
//! | `AskMetadata` | `accept` and `described`, or `failed` |
//! | `MakeCall` | `called`, or `failed` |
//! | `Disconnect`, `ReportFailure` | none |

mod attempt;
mod candidates;
mod decision;
mod events;
mod other_clusters;
mod outdated;
mod pauses;
mod rebootstrap;
mod repetition;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use super::cluster::{Broker, Cluster};
use crate::backoff::ExponentialBackoff;
use crate::connection::Endpoint;
use crate::time::deadline_after;
use attempt::{Attempt, Step};
use candidates::{Candidates, Sources};
use other_clusters::OtherClusters;
use outdated::OutdatedMetadata;
use pauses::{Pause, Pauses};
use rebootstrap::Rebootstrap;
use repetition::Repetition;

pub(crate) use decision::PendingRequests;
pub(super) use decision::{
    Action, Basis, ConnectPlan, Decision, Description, FailedAttempt, NewConnection, Scope,
    Situation,
};

/// The settings of the metadata thread.
#[derive(Clone, Debug)]
pub(crate) struct RefreshConfig {
    pub(crate) bootstrap: Vec<Endpoint>,
    /// Whether to ask `bootstrap` if no known broker answers (KIP-899), and after how long without metadata to do so in
    /// any case (KIP-1102).
    pub(crate) rebootstrap: Option<Duration>,
    pub(crate) max_age: Duration,
    /// `metadata.max.idle.ms`.
    pub(crate) max_idle: Duration,
    pub(crate) request_timeout: Duration,
    pub(crate) retry_backoff: ExponentialBackoff,
    pub(crate) reconnect_backoff: ExponentialBackoff,
    pub(crate) connections_max_idle: Option<Duration>,
    /// The end of `bootstrap.resolve.timeout.ms`: until then the names of `bootstrap.servers` need not resolve.
    pub(crate) bootstrap_resolve_deadline: Instant,
}

struct Connection {
    endpoint: Endpoint,
    is_own: bool,
    session_ends: Option<Instant>,
    last_use: Instant,
}

impl Connection {
    fn is_session_over(&self, now: Instant) -> bool {
        self.session_ends.is_some_and(|ends| ends <= now)
    }
}

/// The shortest time between two refreshes that are requested by age alone.
const SHORTEST_AGE: Duration = Duration::from_millis(100);

/// See the [module](self).
pub(super) struct Policy {
    config: RefreshConfig,
    candidates: Candidates,
    connection: Option<Connection>,
    /// The address at which a broker refused a worker a connection: the thread's own connection may exceed the broker's
    /// limit.
    release: Option<Endpoint>,
    attempt: Option<Attempt>,
    /// An attempt has ended since the last decision.
    attempt_has_ended: bool,
    pause: Option<Pause>,
    pauses: Pauses,
    last_refresh: Instant,
    rebootstrap: Rebootstrap,
    other_clusters: OtherClusters,
    repetition: Repetition,
    outdated: OutdatedMetadata,
}

impl Policy {
    pub(super) fn new(config: RefreshConfig, now: Instant) -> Self {
        Self {
            candidates: Candidates::default(),
            connection: None,
            release: None,
            attempt: None,
            attempt_has_ended: false,
            pause: None,
            pauses: Pauses::new(config.retry_backoff, config.reconnect_backoff),
            last_refresh: now,
            rebootstrap: Rebootstrap::new(config.rebootstrap),
            other_clusters: OtherClusters::default(),
            repetition: Repetition::default(),
            outdated: OutdatedMetadata::default(),
            config,
        }
    }

    /// Returns what the thread does next. Runs under the lock of the metadata cache, so it writes no log line.
    pub(super) fn next(&mut self, situation: &Situation, now: Instant) -> Decision {
        if situation.is_stopped {
            return Decision::Stop;
        }
        if situation.release.is_some() {
            self.release.clone_from(&situation.release);
        }
        if let Some(decision) = self.continue_attempt(&situation.cluster, now) {
            return decision;
        }
        if std::mem::take(&mut self.attempt_has_ended) && self.take_release(&situation.cluster) {
            return self.disconnect();
        }
        if let Some(pause) = self.pause.filter(|pause| !pause.is_over(situation, now)) {
            return self.wait([Some(pause.until), None], situation);
        }
        self.pause = None;
        let refresh_at = self.refresh_at(situation);
        let mut pending = situation.pending;
        pending.refresh |= refresh_at.is_some_and(|at| now >= at);
        if pending.any() {
            self.pause = self.pauses.before_attempt(situation, pending, now);
            if self.pause.is_none() && self.begin_attempt(pending, &situation.cluster, now) {
                return Decision::Act(Action::Disconnect);
            }
            // There is an attempt or a pause now.
            return self.next(situation, now);
        }
        let idle_at = self.idle_at();
        if idle_at.is_some_and(|at| now >= at) {
            return self.disconnect();
        }
        self.wait([refresh_at, idle_at], situation)
    }

    /// Waits for the earliest of these times, or for a call that is due later. Before that, closes the connection if it is
    /// to be released. An attempt that is due comes first: if the thread connected again at once, the release would not
    /// help the worker.
    fn wait(&mut self, times: [Option<Instant>; 2], situation: &Situation) -> Decision {
        if self.take_release(&situation.cluster) {
            return self.disconnect();
        }
        let times = times.into_iter().chain([situation.call_due_at]);
        Decision::Wait(times.flatten().min())
    }

    /// When the age of the metadata requests a refresh. Never without topics.
    fn refresh_at(&self, situation: &Situation) -> Option<Instant> {
        // An age of 0 is legal, but must not lead to requests without a pause.
        let age = self.config.max_age.max(SHORTEST_AGE);
        situation
            .has_topics
            .then(|| deadline_after(self.last_refresh, age))
    }

    /// When the connection has been idle for too long.
    fn idle_at(&self) -> Option<Instant> {
        let connection = self.connection.as_ref()?;
        let idle = self.config.connections_max_idle?;
        Some(deadline_after(connection.last_use, idle))
    }

    fn disconnect(&mut self) -> Decision {
        self.connection = None;
        Decision::Act(Action::Disconnect)
    }

    /// `metadata.max.idle.ms`.
    pub(super) fn max_idle(&self) -> Duration {
        self.config.max_idle
    }

    /// The broker to which the thread is connected.
    pub(super) fn connected_to(&self) -> Option<&Endpoint> {
        self.connection.as_ref().map(|it| &it.endpoint)
    }

    /// The broker that the current attempt asks.
    pub(super) fn asked(&self) -> Option<&Endpoint> {
        self.attempt.as_ref()?.asked()
    }

    /// Takes the request to release the connection, and returns whether to close it. A worker that was refused a
    /// connection comes first, and this thread can share the worker's connection.
    fn take_release(&mut self, cluster: &Cluster) -> bool {
        let Some(refused) = self.release.take() else {
            return false;
        };
        self.connection.as_ref().is_some_and(|connection| {
            // A bootstrap address can be another name of the same broker.
            let may_be_there =
                || connection.endpoint == refused || !is_known(cluster, &connection.endpoint);
            connection.is_own && may_be_there()
        })
    }
}

/// The course of an attempt.
impl Policy {
    /// Begins an attempt, or a pause if every broker that can be asked throttles this client. Returns whether this closes
    /// the connection.
    fn begin_attempt(&mut self, pending: PendingRequests, cluster: &Cluster, now: Instant) -> bool {
        let asks_metadata = pending.refresh || pending.topics;
        self.rebootstrap.begin_attempt(asks_metadata, now);
        let avoided = self.abandon_repetitive_broker(cluster, now);
        match self.endpoints(avoided.as_ref(), cluster, now) {
            Ok(endpoints) => self.attempt = Some(Attempt::new(pending, endpoints)),
            Err(until) => self.pause = Some(self.pauses.after_throttled(until, now)),
        }
        avoided.is_some()
    }

    /// Abandons the connected broker if its answers have had no changes for too long, and another broker is promising.
    /// Returns the abandoned broker.
    fn abandon_repetitive_broker(&mut self, cluster: &Cluster, now: Instant) -> Option<Endpoint> {
        if !self.repetition.is_too_much() {
            return None;
        }
        self.repetition.note_change();
        let connected = &self.connection.as_ref()?.endpoint;
        let mut known = cluster.brokers().map(Broker::endpoint);
        known.find(|other| other != connected && self.candidates.is_promising(other, now))?;
        self.connection.take().map(|abandoned| abandoned.endpoint)
    }

    /// Returns the addresses to ask, in order. The error is the time before which none of them may be asked.
    fn endpoints(
        &self,
        avoided: Option<&Endpoint>,
        cluster: &Cluster,
        now: Instant,
    ) -> Result<Vec<Endpoint>, Instant> {
        let known: Vec<Endpoint> = cluster.brokers().map(Broker::endpoint).collect();
        let bootstrap = match known.is_empty() || self.rebootstrap.is_allowed() {
            true => self.config.bootstrap.clone(),
            false => Vec::new(),
        };
        let sources = Sources {
            known,
            bootstrap,
            is_rebootstrap: self.rebootstrap.is_in_progress(),
            connected: self.connected_to(),
            avoided,
        };
        self.candidates.in_order(sources, now)
    }

    /// Returns the next step of the attempt, or reports that it failed. `None` if there is no attempt.
    fn continue_attempt(&mut self, cluster: &Cluster, now: Instant) -> Option<Decision> {
        let attempt = self.attempt.as_mut()?;
        let usable = self
            .connection
            .as_ref()
            .filter(|it| !it.is_session_over(now));
        let connected = usable.map(|it| &it.endpoint);
        attempt.select_next(connected, self.rebootstrap.is_in_progress());
        let (Some(endpoint), Some(step)) = (attempt.asked(), attempt.step()) else {
            return self.fail_attempt(cluster, now);
        };
        let action = match step {
            Step::AskMetadata(scope) => Action::AskMetadata(scope),
            Step::MakeCall => Action::MakeCall,
            Step::Connect => Action::Connect(ConnectPlan {
                failures: self.candidates.failures(endpoint),
                patience: self.candidates.connect_patience(endpoint),
                has_others: attempt.has_others(),
                endpoint: endpoint.clone(),
            }),
        };
        Some(Decision::Act(action))
    }

    /// No broker answered.
    fn fail_attempt(&mut self, cluster: &Cluster, now: Instant) -> Option<Decision> {
        let attempt = self.attempt.take()?;
        self.attempt_has_ended = true;
        let (pause, number) = self.pauses.after_failure(attempt.is_delayed(), now);
        self.pause = Some(pause);
        // No warning while the user's own setting makes the producer wait for the first broker.
        let may_come =
            now < self.config.bootstrap_resolve_deadline && cluster.brokers().next().is_none();
        let level = match may_come {
            true => log::Level::Info,
            false => log::Level::Warn,
        };
        let pending = attempt.pending();
        Some(Decision::Act(Action::ReportFailure(FailedAttempt {
            error: attempt.into_error(),
            pending,
            number,
            level,
        })))
    }

    /// A broker answered everything that it was asked.
    fn complete_attempt(&mut self, now: Instant) {
        let Some(attempt) = self.attempt.take() else {
            return;
        };
        self.attempt_has_ended = true;
        self.rebootstrap.note_answer();
        if let Some(endpoint) = attempt.asked() {
            self.candidates.note_success(endpoint);
        }
        self.pause = match attempt.is_incomplete() {
            true => Some(self.pauses.after_incomplete_answer(attempt.pending(), now)),
            false => {
                self.pauses.after_answer(now);
                None
            }
        };
    }
}

fn is_known(cluster: &Cluster, endpoint: &Endpoint) -> bool {
    cluster
        .brokers()
        .any(|broker| *broker.host == *endpoint.host && broker.port == endpoint.port)
}
