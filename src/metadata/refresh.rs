//! The metadata thread: one request after the other on one connection, each an ordinary blocking call.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::cache::{MetadataCache, ProducerIdentity, Wants};
use super::cluster::{Broker, Cluster};
use super::response::update;
use crate::backoff::ExponentialBackoff;
use crate::connection::client::BlockingClient;
use crate::connection::control::ConnectionControl;
use crate::connection::{ConnectionConfig, Endpoint};
use crate::error::{Error, ErrorKind};
use crate::protocol::messages::{
    InitProducerIdRequest, MetadataRequest, MetadataRequestTopic, MetadataResponse,
};
use crate::protocol::{ErrorCode, Request};
use crate::sync::{Mutex, ThreadGroup};
use crate::time::deadline_after;

/// What the metadata thread goes by.
#[derive(Clone, Debug)]
pub(crate) struct RefreshConfig {
    pub(crate) bootstrap: Vec<Endpoint>,
    /// Whether to begin anew from `bootstrap` when no known broker answers (KIP-899).
    pub(crate) rebootstrap: bool,
    pub(crate) max_age: Duration,
    pub(crate) max_idle: Duration,
    pub(crate) request_timeout: Duration,
    pub(crate) retry_backoff: ExponentialBackoff,
    pub(crate) reconnect_backoff: ExponentialBackoff,
    pub(crate) connections_max_idle: Option<Duration>,
}

/// What happens on the metadata thread and concerns others. Both calls must not block.
pub(crate) trait RefreshObserver: Send {
    /// Whether callers sent to the topic since this was last asked.
    fn take_used(&self, topic: &str) -> bool;
    /// There is a producer id, or none can be had.
    fn identity(&self, identity: Result<ProducerIdentity, Error>);
}

/// The thread's own state.
pub(crate) struct MetadataRefresher<O> {
    cache: Arc<MetadataCache>,
    config: RefreshConfig,
    connection_config: Arc<ConnectionConfig>,
    threads: Arc<ThreadGroup>,
    observer: O,
    /// Where the connection under way can be ended from outside.
    current: Arc<CurrentConnection>,
    client: Option<(Endpoint, BlockingClient)>,
    /// Failed attempts in a row, for each address.
    failures: HashMap<Endpoint, u32>,
    last_refresh: Instant,
    last_use: Instant,
    /// How long the latest answers ask to wait before the next request.
    throttle: Option<Duration>,
    /// How often each address let a request run out of its patience; a quick answer takes one back.
    slowness: HashMap<Endpoint, u32>,
    /// When the latest attempt was answered, and how many were before it with hardly a pause between.
    last_answer: Option<Instant>,
    repeats: u32,
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

/// How an attempt to answer all wants went.
enum Attempt {
    /// Everything was answered.
    Done,
    /// Something is to be asked again after a backoff: a topic without a leader, a coordinator that loads.
    AskAgain,
}

/// A broker that does not answer metadata requests within this is left for another one, long before
/// `request.timeout.ms`: a stopped broker must not stop everybody's view of the cluster. Doubles with each failure.
const FIRST_PATIENCE: Duration = Duration::from_secs(2);

/// The least time between two questions for the same thing, whatever `retry.backoff.ms` says.
const SHORTEST_PAUSE: Duration = Duration::from_millis(20);

/// The least time between two refreshes that only age asks for.
const SHORTEST_AGE: Duration = Duration::from_millis(100);

impl<O: RefreshObserver> MetadataRefresher<O> {
    pub(crate) fn new(
        cache: Arc<MetadataCache>,
        config: RefreshConfig,
        connection_config: Arc<ConnectionConfig>,
        threads: Arc<ThreadGroup>,
        observer: O,
        current: Arc<CurrentConnection>,
    ) -> Self {
        let now = Instant::now();
        Self {
            cache,
            config,
            connection_config,
            threads,
            observer,
            current,
            client: None,
            failures: HashMap::new(),
            last_refresh: now,
            last_use: now,
            throttle: None,
            slowness: HashMap::new(),
            last_answer: None,
            repeats: 0,
        }
    }

    /// The thread's body: until the cache is closed.
    pub(crate) fn run(mut self) {
        let (mut unanswered, mut unreachable) = (0, 0u32);
        while let Some(wants) = self.next_wants() {
            if let Some(pause) = self.pause_before(wants) {
                if !self
                    .cache
                    .wait_out_backoff(deadline_after(Instant::now(), pause), Some(wants))
                {
                    return;
                }
                continue;
            }
            let answer = self.answer(wants);
            self.last_answer = Some(Instant::now());
            // A quota's wait (KIP-219); usually there is none.
            let throttle = self.throttle.take();
            let backoff = match answer {
                Ok(Attempt::Done) => {
                    (unanswered, unreachable) = (0, 0);
                    match throttle {
                        Some(throttle) => throttle,
                        None => continue,
                    }
                }
                Ok(Attempt::AskAgain) => {
                    unreachable = 0;
                    unanswered += 1;
                    let backoff = self.config.retry_backoff.after(unanswered - 1);
                    backoff.max(throttle.unwrap_or_default())
                }
                Err(error) => {
                    unreachable += 1;
                    // The first, then fewer and fewer: an outage is no reason to fill a disk.
                    if unreachable.is_power_of_two() && !self.cache.is_stopped() {
                        let error = error.summary();
                        log::warn!(target: "kafka_producer::metadata", "no broker answers (attempt {unreachable}): {error}");
                    }
                    self.cache.failed(error, wants);
                    self.config.reconnect_backoff.after(unreachable - 1)
                }
            };
            let deadline = deadline_after(Instant::now(), backoff);
            let answered = (unreachable == 0).then_some(wants);
            if !self.cache.wait_out_backoff(deadline, answered) {
                return;
            }
        }
    }

    /// How long to wait before asking once more for what was just answered and is wanted all the same, as a partition
    /// that the topic does not have: longer and longer, as for any retry. Topics that are new do not wait, nor does a
    /// producer id.
    fn pause_before(&mut self, wants: Wants) -> Option<Duration> {
        let since = self.last_answer?.elapsed();
        let pause = self
            .config
            .retry_backoff
            .after(self.repeats)
            .max(SHORTEST_PAUSE);
        if since >= pause {
            self.repeats = 0;
            return None;
        }
        if wants.identity || self.cache.has_new_topics() {
            return None;
        }
        self.repeats = self.repeats.saturating_add(1);
        // What the pause has grown to counts from now on; this one is over the sooner.
        self.last_answer = None;
        Some(pause - since)
    }

    /// Waits for something to ask; age alone asks for a refresh, once there is something to refresh. Closes the
    /// connection when it has been idle for long. None when the producer is closed.
    fn next_wants(&mut self) -> Option<Wants> {
        let far = Instant::now() + Duration::from_secs(86_400 * 365);
        loop {
            let refresh_at = match self.cache.has_topics() {
                // An age of 0 is legal, and is no reason to ask without a pause.
                true => deadline_after(self.last_refresh, self.config.max_age.max(SHORTEST_AGE)),
                false => far,
            };
            let idle_at = match (&self.client, self.config.connections_max_idle) {
                (Some(_), Some(idle)) => deadline_after(self.last_use, idle),
                _ => far,
            };
            let mut wants = self.cache.wait_for_wants(refresh_at.min(idle_at))?;
            let now = Instant::now();
            wants.refresh |= now >= refresh_at;
            if wants.any() {
                return Some(wants);
            }
            if now >= idle_at {
                self.client = None;
            }
        }
    }

    /// Asks one broker after the other until one has answered all wants. An error: none of them did.
    fn answer(&mut self, wants: Wants) -> Result<Attempt, Error> {
        let mut last_error = None;
        for endpoint in self.candidates() {
            match self.ask(&endpoint, wants) {
                Ok(attempt) => {
                    self.failures.clear();
                    return Ok(attempt);
                }
                Err(error) => {
                    self.client = None;
                    *self.failures.entry(endpoint).or_default() += 1;
                    last_error = Some(error);
                }
            }
            if self.cache.is_stopped() {
                break;
            }
        }
        Err(last_error.unwrap_or_else(|| Error::new(ErrorKind::Network, "no broker is known")))
    }

    /// Whom to ask, in order: the connected broker, then the known ones from a random start, those that failed last,
    /// then the bootstrap addresses.
    fn candidates(&self) -> Vec<Endpoint> {
        let cluster = self.cache.cluster();
        let mut known: Vec<Endpoint> = cluster.brokers().map(Broker::endpoint).collect();
        fastrand::shuffle(&mut known);
        if known.is_empty() || self.config.rebootstrap {
            let mut bootstrap = self.config.bootstrap.clone();
            fastrand::shuffle(&mut bootstrap);
            known.extend(
                bootstrap
                    .into_iter()
                    .filter(|endpoint| !known.contains(endpoint))
                    .collect::<Vec<_>>(),
            );
        }
        let connected = self.client.as_ref().map(|(endpoint, _)| endpoint);
        known.sort_by_key(|endpoint| {
            (
                connected != Some(endpoint),
                self.failures.get(endpoint).copied().unwrap_or(0),
            )
        });
        known
    }

    fn ask(&mut self, endpoint: &Endpoint, wants: Wants) -> Result<Attempt, Error> {
        self.connect(endpoint)?;
        let mut attempt = Attempt::Done;
        if wants.refresh || wants.topics {
            attempt = self.ask_metadata(wants.refresh)?;
        }
        if wants.identity {
            if let Attempt::AskAgain = self.ask_identity()? {
                attempt = Attempt::AskAgain;
            }
        }
        Ok(attempt)
    }

    fn connect(&mut self, endpoint: &Endpoint) -> Result<(), Error> {
        if self
            .client
            .as_ref()
            .is_some_and(|(connected, _)| connected == endpoint)
        {
            return Ok(());
        }
        self.client = None;
        let closed = || Error::new(ErrorKind::Closed, "the producer is closed");
        let control = self.current.start().ok_or_else(closed)?;
        let failures = self.failures.get(endpoint).copied().unwrap_or(0);
        let client = BlockingClient::connect(
            endpoint,
            failures,
            &self.connection_config,
            control,
            &self.threads,
        )?;
        self.client = Some((endpoint.clone(), client));
        Ok(())
    }

    fn call<R: Request>(&mut self, request: &R) -> Result<(i16, R::Response), Error> {
        let Some((endpoint, client)) = &mut self.client else {
            return Err(Error::new(ErrorKind::Network, "not connected"));
        };
        let slowness = self.slowness.entry(endpoint.clone()).or_default();
        let patience = FIRST_PATIENCE
            .saturating_mul(1 << (*slowness).min(8))
            .min(self.config.request_timeout);
        let began = Instant::now();
        self.last_use = began;
        let version = client.versions().best::<R>().map_err(|error| {
            // A KRaft controller's port is taken for a broker's this way.
            Error::new(
                error.kind(),
                format!("{endpoint} is of no use: {}", error.summary()),
            )
        })?;
        let answer = client.call(request, version, patience);
        // A broker that is slow for good gets its time after one failure, and keeps it.
        let elapsed = began.elapsed();
        if elapsed >= patience {
            *slowness = slowness.saturating_add(1);
        } else if elapsed < patience / 4 {
            *slowness = slowness.saturating_sub(1);
        }
        Ok((version, answer?))
    }

    fn ask_metadata(&mut self, is_full: bool) -> Result<Attempt, Error> {
        let observer = &self.observer;
        let asked =
            self.cache
                .topics_to_ask(!is_full, self.config.max_idle, Instant::now(), |topic| {
                    observer.take_used(topic)
                });
        let request = MetadataRequest {
            topics: Some(
                asked
                    .iter()
                    .map(|topic| MetadataRequestTopic::by_name(topic))
                    .collect(),
            ),
            // Java's producer always allows it too; whether topics are created is the broker's decision.
            allow_auto_topic_creation: true,
        };
        let (version, response): (i16, MetadataResponse) = self.call(&request)?;
        self.note_throttle(version >= 6, response.throttle_time_ms);
        if !response.error.is_none() {
            return Err(Error::new(
                ErrorKind::Broker,
                "the broker refused to describe the cluster",
            )
            .with_broker_code(response.error.code(), response.error.name()));
        }
        if response.brokers.is_empty() && self.cache.cluster().brokers.is_empty() {
            return Err(Error::new(
                ErrorKind::Network,
                "the broker does not know its cluster yet",
            ));
        }
        if is_full {
            self.last_refresh = Instant::now();
        }
        let is_incomplete = self.cache.answered(&asked, |before| {
            update(before, response, version, &asked, is_full)
        });
        self.forget_failures_of_strangers(&self.cache.cluster());
        if is_incomplete {
            // Somebody asks again if somebody cares: a caller that waits, a worker whose partition has no leader.
            return Ok(Attempt::AskAgain);
        }
        Ok(Attempt::Done)
    }

    /// The wait that a broker asks for. Later versions leave the waiting to the client (`by_client`); before, the broker
    /// has waited itself.
    fn note_throttle(&mut self, by_client: bool, throttle_time_ms: i32) {
        let wait = u64::try_from(throttle_time_ms).unwrap_or(0);
        if by_client && wait > 0 {
            self.throttle = self.throttle.max(Some(Duration::from_millis(wait)));
        }
    }

    fn forget_failures_of_strangers(&mut self, cluster: &Cluster) {
        let bootstrap = &self.config.bootstrap;
        let is_known = |endpoint: &Endpoint| {
            bootstrap.contains(endpoint)
                || cluster
                    .brokers()
                    .any(|broker| *broker.host == *endpoint.host && broker.port == endpoint.port)
        };
        self.failures.retain(|endpoint, _| is_known(endpoint));
        self.slowness.retain(|endpoint, _| is_known(endpoint));
    }

    fn ask_identity(&mut self) -> Result<Attempt, Error> {
        let request = InitProducerIdRequest {
            transactional_id: None,
            transaction_timeout_ms: i32::MAX,
            producer_id: -1,
            producer_epoch: -1,
        };
        let response = match self.call(&request) {
            Ok((version, response)) => {
                self.note_throttle(version >= 1, response.throttle_time_ms);
                response
            }
            Err(error) if error.kind() == ErrorKind::UnsupportedVersion => {
                self.refuse_identity(error.with_advice("set enable.idempotence=false"));
                return Ok(Attempt::Done);
            }
            Err(error) => return Err(error),
        };
        let error = response.error;
        if error.is_none() {
            let identity = ProducerIdentity {
                producer_id: response.producer_id,
                producer_epoch: response.producer_epoch,
            };
            self.cache.identity_answered(Some(identity));
            self.observer.identity(Ok(identity));
            return Ok(Attempt::Done);
        }
        if error.is_retriable() {
            return Ok(Attempt::AskAgain);
        }
        let kind = match error {
            ErrorCode::CLUSTER_AUTHORIZATION_FAILED => ErrorKind::Authorization,
            _ => ErrorKind::Broker,
        };
        self.refuse_identity(
            Error::new(kind, "the broker gave no producer id")
                .with_broker_code(error.code(), error.name())
                .with_advice(
                    "allow this client to write idempotently, or set enable.idempotence=false",
                ),
        );
        Ok(Attempt::Done)
    }

    /// Tells those who wait for a producer id that there is none for them.
    fn refuse_identity(&self, error: Error) {
        self.cache.identity_answered(None);
        self.observer.identity(Err(error));
    }
}
