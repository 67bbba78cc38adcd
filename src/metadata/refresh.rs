//! The metadata thread: one request after the other on one connection, each an ordinary blocking call.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::cache::{MetadataCache, PendingRequests};
use super::calls::{BrokerCalls, CallOutcome, Connected, ConnectedBroker};
use super::candidates::{Candidates, Sources};
use super::cluster::Broker;
use super::old_news::OldNews;
use super::repetition::Repetition;
use super::replacement::OtherClusters;
use crate::backoff::{ExponentialBackoff, SHORTEST_PAUSE};
use crate::connection::client::{BlockingClient, ClientTarget};
use crate::connection::control::ConnectionControl;
use crate::connection::{ConnectionContext, Endpoint};
use crate::error::{Error, ErrorKind};
use crate::protocol::ErrorCode;
use crate::sync::Mutex;
use crate::threads::logging::log_line;
use crate::time::deadline_after;

/// What the metadata thread goes by.
#[derive(Clone, Debug)]
pub(crate) struct RefreshConfig {
    pub(crate) bootstrap: Vec<Endpoint>,
    /// Whether to ask `bootstrap` when no known broker answers (KIP-899), and after how long without an answer to begin
    /// anew from there in any case (KIP-1102).
    pub(crate) rebootstrap: Option<Duration>,
    pub(crate) max_age: Duration,
    pub(crate) max_idle: Duration,
    pub(crate) request_timeout: Duration,
    pub(crate) retry_backoff: ExponentialBackoff,
    pub(crate) reconnect_backoff: ExponentialBackoff,
    pub(crate) connections_max_idle: Option<Duration>,
    /// Until then the names of `bootstrap.servers` may still come (`bootstrap.resolve.timeout.ms`).
    pub(crate) names_may_come_until: Instant,
}

/// What happens on the metadata thread and concerns others. Both calls must not block.
pub(crate) trait RefreshObserver: Send {
    /// Whether callers sent to the topic since this was last asked.
    fn take_used(&self, topic: &str) -> bool;
    /// The topics that were sent to once and that the latest metadata does not have.
    fn absent_topics(&self) -> Vec<Arc<str>>;
    /// Forgets those of these topics that have nothing under way.
    fn forget_topics(&self, idle: &HashSet<Arc<str>>);
}

/// The thread's own state.
pub(crate) struct MetadataRefresher<O> {
    pub(super) cache: Arc<MetadataCache>,
    pub(super) config: RefreshConfig,
    network: RefreshNetwork,
    pub(super) observer: O,
    calls: Box<dyn BrokerCalls>,
    pub(super) client: Option<Connected>,
    pub(super) candidates: Candidates,
    pub(super) last_refresh: Instant,
    /// Since when metadata is asked for in vain.
    pub(super) unanswered_since: Option<Instant>,
    /// Since when no broker has answered anything that it was asked.
    failing_since: Option<Instant>,
    /// The next answer is the first of a new acquaintance: what was known so far does not count against it.
    pub(super) is_anew: bool,
    pub(super) others: OtherClusters,
    pub(super) repetition: Repetition,
    pub(super) old_news: OldNews,
    /// When the latest attempt was answered, and how many were before it with hardly a pause between.
    last_answer: Option<Instant>,
    repeats: u32,
}

/// What the metadata thread connects with.
pub(crate) struct RefreshNetwork {
    /// With the workers' connections: the thread shares one if the broker refuses it a connection of its own.
    pub(crate) connections: ConnectionContext,
    /// By this, another thread can end the connection in use.
    pub(crate) current: Arc<CurrentConnection>,
}

/// The handle by which `close` interrupts the metadata thread's blocking call.
#[derive(Default)]
pub(crate) struct CurrentConnection {
    state: Mutex<(bool, Option<Arc<ConnectionControl>>)>,
}

impl CurrentConnection {
    /// Ends the connection under way and every later one.
    pub(crate) fn cancel(&self) {
        let control = {
            let mut state = self.state.lock();
            state.0 = true;
            state.1.take()
        };
        if let Some(control) = control {
            control.cancel();
        }
    }

    fn start(&self) -> Option<Arc<ConnectionControl>> {
        let mut state = self.state.lock();
        let control = (!state.0).then(ConnectionControl::new);
        state.1 = control.clone();
        control
    }
}

/// How an attempt to answer all pending requests went.
pub(super) enum Attempt {
    /// Everything was answered.
    Done,
    /// Something is to be asked again after a backoff: a topic without a leader, a coordinator that loads.
    AskAgain,
    /// Nobody may be asked before: every broker that is well has throttled this client.
    Throttled(Instant),
}

/// The least time between two refreshes that only age asks for.
const SHORTEST_AGE: Duration = Duration::from_millis(100);

impl<O: RefreshObserver> MetadataRefresher<O> {
    pub(crate) fn new(
        cache: Arc<MetadataCache>,
        config: RefreshConfig,
        network: RefreshNetwork,
        observer: O,
        calls: Box<dyn BrokerCalls>,
    ) -> Self {
        let now = Instant::now();
        Self {
            cache,
            config,
            network,
            observer,
            calls,
            client: None,
            candidates: Candidates::default(),
            last_refresh: now,
            unanswered_since: None,
            failing_since: None,
            is_anew: false,
            others: OtherClusters::default(),
            repetition: Repetition::default(),
            old_news: OldNews::default(),
            last_answer: None,
            repeats: 0,
        }
    }

    /// The thread's body: until the cache is closed.
    pub(crate) fn run(mut self) {
        let (mut unanswered, mut unreachable) = (0, 0u32);
        while let Some(pending) = self.next_wants() {
            if let Some(pause) = self.pause_before(pending) {
                if !self.cache.wait_out_backoff(
                    deadline_after(Instant::now(), pause),
                    Some(pending),
                    &*self.calls,
                ) {
                    return;
                }
                continue;
            }
            let answer = self.answer(pending);
            self.last_answer = Some(Instant::now());
            self.make_way();
            let deadline = match answer {
                Ok(Attempt::Done) => {
                    (unanswered, unreachable) = (0, 0);
                    continue;
                }
                Ok(Attempt::AskAgain) => {
                    unreachable = 0;
                    unanswered += 1;
                    deadline_after(Instant::now(), self.retry_pause(unanswered - 1))
                }
                Ok(Attempt::Throttled(until)) => {
                    if !self.cache.wait_out_backoff(until, None, &*self.calls) {
                        return;
                    }
                    continue;
                }
                Err(error) => {
                    unreachable += 1;
                    // The first, then fewer and fewer: an outage is no reason to fill a disk.
                    if unreachable.is_power_of_two() && !self.cache.is_stopped() {
                        let error = error.summary();
                        log_line!(self.level_of_failure(), target: "kafka_producer::metadata", "no broker gave an answer (attempt {unreachable}): {error}");
                    }
                    self.cache.failed(error, pending);
                    let backoff = self.config.reconnect_backoff.after(unreachable - 1);
                    deadline_after(Instant::now(), backoff)
                }
            };
            let answered = (unreachable == 0).then_some(pending);
            if !self
                .cache
                .wait_out_backoff(deadline, answered, &*self.calls)
            {
                return;
            }
        }
    }

    /// No warning while the user's own setting makes the producer wait for the first broker.
    fn level_of_failure(&self) -> log::Level {
        let may_come = Instant::now() < self.config.names_may_come_until;
        match may_come && self.cache.cluster().brokers().next().is_none() {
            true => log::Level::Info,
            false => log::Level::Warn,
        }
    }

    /// How long to wait before the same question is asked again, after so many times before.
    pub(super) fn retry_pause(&self, times: u32) -> Duration {
        self.config.retry_backoff.after(times).max(SHORTEST_PAUSE)
    }

    /// How long to wait before asking once more for what was just answered and is wanted all the same, as a partition
    /// that the topic does not have: longer and longer, as for any retry. Topics that are new do not wait, nor does a
    /// producer id.
    fn pause_before(&mut self, pending: PendingRequests) -> Option<Duration> {
        let since = self.last_answer?.elapsed();
        let pause = self.retry_pause(self.repeats);
        if since >= pause {
            self.repeats = 0;
            return None;
        }
        if pending.call || self.cache.has_new_topics() {
            return None;
        }
        self.repeats = self.repeats.saturating_add(1);
        // What the pause has grown to counts from now on; this one is over the sooner.
        self.last_answer = None;
        Some(pause - since)
    }

    /// Waits for something to ask; age alone asks for a refresh, once there is something to refresh. Closes the
    /// connection when it has been idle for long. None when the producer is closed.
    fn next_wants(&mut self) -> Option<PendingRequests> {
        let far = Instant::now() + Duration::from_secs(86_400 * 365);
        loop {
            let refresh_at = match self.cache.has_topics() {
                // An age of 0 is legal, and is no reason to ask without a pause.
                true => deadline_after(self.last_refresh, self.config.max_age.max(SHORTEST_AGE)),
                false => far,
            };
            let idle_at = match (&self.client, self.config.connections_max_idle) {
                (Some(connected), Some(idle)) => deadline_after(connected.last_use, idle),
                _ => far,
            };
            let mut pending = self
                .cache
                .wait_for_requests(refresh_at.min(idle_at), &*self.calls)?;
            let now = Instant::now();
            pending.refresh |= now >= refresh_at;
            if pending.any() {
                return Some(pending);
            }
            self.make_way();
            if now >= idle_at {
                self.client = None;
            }
        }
    }

    /// Closes the connection where a worker was refused one: records come first, and what this thread asks can go over the
    /// worker's.
    fn make_way(&mut self) {
        let Some(wanted) = self.cache.take_way_wanted() else {
            return;
        };
        let is_in_the_way = |Connected {
                                 endpoint, client, ..
                             }: &Connected| {
            let is_known = || {
                let cluster = self.cache.cluster();
                cluster
                    .brokers()
                    .any(|broker| broker.endpoint() == *endpoint)
            };
            // A bootstrap address can be another name of the same broker.
            client.has_own_connection() && (*endpoint == wanted || !is_known())
        };
        if self.client.as_ref().is_some_and(is_in_the_way) {
            self.client = None;
        }
    }

    /// Asks one broker after the other until one has answered all pending requests. An error: none of them did.
    fn answer(&mut self, pending: PendingRequests) -> Result<Attempt, Error> {
        if pending.refresh || pending.topics {
            self.unanswered_since.get_or_insert_with(Instant::now);
        }
        self.failing_since.get_or_insert_with(Instant::now);
        let avoided = self.leave_broker_that_repeats_itself();
        let mut candidates = match self.candidates(avoided.as_ref()) {
            Ok(candidates) => candidates,
            Err(until) => return Ok(Attempt::Throttled(until)),
        };
        let (mut last_error, mut failed) = (None, HashSet::new());
        while let Some(endpoint) = candidates.pop_front() {
            let was_connected = self.client.is_some();
            let has_others = !candidates.is_empty() || !failed.is_empty();
            self.cache.begin_to_ask(&endpoint);
            let error = match self.ask(&endpoint, pending, has_others) {
                Ok(attempt) => {
                    self.failing_since = None;
                    self.candidates.note_success(&endpoint);
                    return Ok(attempt);
                }
                Err(error) => error,
            };
            self.client = None;
            self.candidates.note_failure(&endpoint, Instant::now());
            // An old connection's end says little of the next one to the same address.
            if !was_connected {
                failed.insert(endpoint);
            }
            if self.cache.is_stopped() {
                return Err(error);
            }
            if self.begins_anew_after(&error) {
                candidates = self.candidates(None).unwrap_or_default();
                candidates.retain(|other| !failed.contains(other));
            }
            if candidates.is_empty() {
                candidates.extend(self.believed_claim());
            }
            last_error = Some(error);
        }
        Err(last_error.unwrap_or_else(|| Error::new(ErrorKind::Network, "no broker is known")))
    }

    /// Whom to ask, in order; an error: nobody before then.
    fn candidates(&self, avoided: Option<&Endpoint>) -> Result<VecDeque<Endpoint>, Instant> {
        let cluster = self.cache.cluster();
        let known: Vec<Endpoint> = cluster.brokers().map(Broker::endpoint).collect();
        let bootstrap = match known.is_empty() || self.config.rebootstrap.is_some() {
            true => self.config.bootstrap.clone(),
            false => Vec::new(),
        };
        let sources = Sources {
            known,
            bootstrap,
            is_anew: self.is_anew,
            connected: self.client.as_ref().map(|connected| &connected.endpoint),
            avoided,
        };
        self.candidates
            .to_ask(sources, Instant::now())
            .map(VecDeque::from)
    }

    /// Takes the bootstrap addresses for the first acquaintances again, where a broker asks for it, no known one can be
    /// reached, or none has told of the cluster for so long. What is known stays in use until there is an answer: it may
    /// serve better than nothing.
    fn begins_anew_after(&mut self, error: &Error) -> bool {
        let cluster = self.cache.cluster();
        let met_another = std::mem::take(&mut self.others.was_met);
        let is_asked_to = error.error_code() == Some(ErrorCode::REBOOTSTRAP_REQUIRED);
        // Once until there is an answer, lest a bootstrap server that asks for it too be asked without end.
        if self.is_anew || cluster.brokers.is_empty() {
            return false;
        }
        let Some(trigger) = self.config.rebootstrap else {
            return false;
        };
        let is_overdue = self
            .unanswered_since
            .is_some_and(|since| since.elapsed() >= trigger);
        // One that failed before another one answered may be well by now.
        let all_failed = || {
            let mut known = cluster.brokers().map(Broker::endpoint);
            self.failing_since
                .is_some_and(|since| known.all(|other| self.candidates.failed_since(&other, since)))
        };
        self.is_anew = is_asked_to || met_another || is_overdue || all_failed();
        self.others.is_believed |= is_asked_to;
        if self.is_anew {
            log_line!(log::Level::Info, target: "kafka_producer::metadata", "beginning anew from bootstrap.servers: {}", error.summary());
        }
        self.is_anew
    }

    /// Lets another broker tell of the cluster, where one promises to, if what the connected one tells does not help
    /// those who ask. Returns the one that was left.
    fn leave_broker_that_repeats_itself(&mut self) -> Option<Endpoint> {
        if !self.repetition.is_too_much() {
            return None;
        }
        self.repetition.turn_to_another();
        let connected = &self.client.as_ref()?.endpoint;
        let (cluster, now) = (self.cache.cluster(), Instant::now());
        cluster
            .brokers()
            .map(Broker::endpoint)
            .find(|other| other != connected && self.candidates.is_promising(other, now))?;
        self.client.take().map(|left| left.endpoint)
    }

    fn ask(
        &mut self,
        endpoint: &Endpoint,
        pending: PendingRequests,
        has_others: bool,
    ) -> Result<Attempt, Error> {
        let is_unchecked = self.connect(endpoint, has_others)? && self.can_tell_its_cluster();
        let mut attempt = Attempt::Done;
        // A producer id is of use only in the cluster that gave it. All topics are asked for behind a new connection: they tell
        // whether the cluster was wiped.
        if pending.refresh || pending.topics || self.is_anew || is_unchecked {
            attempt = self.ask_metadata(pending.refresh || self.is_anew || is_unchecked)?;
        }
        let is_throttled = || self.candidates.throttled_until(endpoint, Instant::now());
        // The call stays due then, and the next attempt may ask another broker.
        if pending.call && is_throttled().is_none() {
            if let CallOutcome::AskAgain = self.make_call()? {
                attempt = Attempt::AskAgain;
            }
        }
        Ok(attempt)
    }

    /// Whether the connection is a new one.
    fn connect(&mut self, endpoint: &Endpoint, has_others: bool) -> Result<bool, Error> {
        let is_current = |connected: &Connected| {
            connected.endpoint == *endpoint && !connected.client.is_session_over(Instant::now())
        };
        if self.client.as_ref().is_some_and(is_current) {
            return Ok(false);
        }
        self.client = None;
        let closed = || Error::new(ErrorKind::Closed, "the producer is closed");
        let control = self.network.current.start().ok_or_else(closed)?;
        let target = ClientTarget {
            endpoint,
            failures: self.candidates.failures(endpoint),
            patience: self.candidates.connect_patience(endpoint),
            has_others,
        };
        let client = BlockingClient::connect(&self.network.connections, &target, control)?;
        self.client = Some(Connected {
            endpoint: endpoint.clone(),
            client,
            last_use: Instant::now(),
        });
        Ok(true)
    }

    fn make_call(&mut self) -> Result<CallOutcome, Error> {
        let identity_era = self.cache.cluster().identity_era;
        let connected = self.client.as_mut().ok_or_else(not_connected)?;
        self.calls.call(&mut ConnectedBroker {
            connected,
            candidates: &mut self.candidates,
            request_timeout: self.config.request_timeout,
            identity_era,
        })
    }

    pub(super) fn broker(&mut self) -> Result<ConnectedBroker<'_>, Error> {
        let identity_era = self.cache.cluster().identity_era;
        Ok(ConnectedBroker {
            connected: self.client.as_mut().ok_or_else(not_connected)?,
            candidates: &mut self.candidates,
            request_timeout: self.config.request_timeout,
            identity_era,
        })
    }
}

fn not_connected() -> Error {
    Error::new(ErrorKind::Network, "not connected")
}
