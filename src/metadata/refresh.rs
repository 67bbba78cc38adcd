//! The metadata thread: it asks brokers about the cluster, one request after the other, on one connection.
//!
//! The [`Policy`] decides what the thread does next, and this file does it. The thread waits in the cache.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use super::cache::MetadataCache;
use super::calls::{BrokerCalls, ConnectedBroker};
pub(crate) use super::policy::RefreshConfig;
use super::policy::{
    Action, Basis, ConnectPlan, Description, FailedAttempt, NewConnection, Policy, Scope,
};
use super::response::update;
use crate::connection::ConnectionContext;
use crate::connection::client::{BlockingClient, ClientTarget};
use crate::connection::control::ConnectionControl;
use crate::error::{Error, ErrorKind};
use crate::protocol::messages::{MetadataRequest, MetadataRequestTopic, MetadataResponse};
use crate::sync::Mutex;
use crate::threads::logging::log_line;

/// Gives the metadata thread the topics that are in use. No call may block.
pub(crate) trait RefreshObserver: Send {
    /// Returns whether callers sent to the topic since this was last called.
    fn take_used(&self, topic: &str) -> bool;
    /// Returns the topics that records were sent to and that the latest metadata does not have.
    fn absent_topics(&self) -> Vec<Arc<str>>;
    /// Forgets those of these topics that have no record in progress.
    fn forget_topics(&self, idle: &HashSet<Arc<str>>);
}

/// What the metadata thread connects with.
pub(crate) struct RefreshNetwork {
    /// Includes the registry of the workers' connections: the thread shares one if the broker refuses it its own.
    pub(crate) connections: ConnectionContext,
    /// Lets another thread end the connection in use.
    pub(crate) current: Arc<CurrentConnection>,
}

/// The thread's own state.
pub(crate) struct MetadataRefresher<O> {
    cache: Arc<MetadataCache>,
    policy: Policy,
    network: RefreshNetwork,
    observer: O,
    /// The requests of other layers, such as those for a producer id.
    calls: Box<dyn BrokerCalls>,
    client: Option<BlockingClient>,
}

impl<O: RefreshObserver> MetadataRefresher<O> {
    pub(crate) fn new(
        cache: Arc<MetadataCache>,
        config: RefreshConfig,
        network: RefreshNetwork,
        observer: O,
        calls: Box<dyn BrokerCalls>,
    ) -> Self {
        Self {
            cache,
            policy: Policy::new(config, Instant::now()),
            network,
            observer,
            calls,
            client: None,
        }
    }

    /// The thread's body. Returns when the cache is stopped.
    pub(crate) fn run(mut self) {
        while let Some(action) = self.cache.next_action(&mut self.policy, &*self.calls) {
            if !self.network.current.begin_call() {
                return;
            }
            match action {
                Action::Connect(plan) => self.connect(&plan),
                Action::AskMetadata(scope) => self.ask_metadata(scope),
                Action::MakeCall => self.make_call(),
                Action::Disconnect => self.client = None,
                Action::ReportFailure(failed) => self.report(failed),
            }
            self.network.current.end_call();
        }
    }

    fn connect(&mut self, plan: &ConnectPlan) {
        self.client = None;
        let authenticator = &self.network.connections.config.authenticator;
        self.cache.note_connecting(Some(Arc::clone(authenticator)));
        let dialed = self.dial(plan);
        self.cache.note_connecting(None);
        match dialed {
            Ok(client) => {
                let versions = client.versions().best::<MetadataRequest<'_>>();
                let new = NewConnection {
                    is_own: client.has_own_connection(),
                    session_ends: client.session_ends(),
                    // Metadata has the cluster's id since version 2.
                    reports_cluster_id: matches!(versions, Ok(2..)),
                };
                let cluster = self.cache.cluster();
                self.policy.connected(new, &cluster, Instant::now());
                self.client = Some(client);
            }
            Err(error) => self.fail(error),
        }
    }

    fn dial(&self, plan: &ConnectPlan) -> Result<BlockingClient, Error> {
        let closed = || Error::new(ErrorKind::Closed, "the producer is closed");
        let control = self.network.current.start().ok_or_else(closed)?;
        let target = ClientTarget {
            endpoint: &plan.endpoint,
            failures: plan.failures,
            patience: plan.patience,
            has_others: plan.has_others,
        };
        BlockingClient::connect(&self.network.connections, &target, control)
    }

    fn ask_metadata(&mut self, scope: Scope) {
        if let Err(error) = self.try_ask_metadata(scope) {
            self.fail(error);
        }
    }

    fn try_ask_metadata(&mut self, scope: Scope) -> Result<(), Error> {
        let observer = &self.observer;
        let asked = match scope {
            Scope::RequestedTopics => self.cache.requested_topics(),
            Scope::TopicsInUse => self
                .cache
                .topics_to_refresh(self.policy.max_idle(), |topic| observer.take_used(topic)),
        };
        let topics = asked.iter();
        let request = MetadataRequest {
            topics: Some(
                topics
                    .map(|topic| MetadataRequestTopic::by_name(topic))
                    .collect(),
            ),
            // As in Java: the broker decides whether it creates topics.
            allow_auto_topic_creation: true,
        };
        let mut broker = self.broker()?;
        let (version, response): (i16, MetadataResponse) = broker.call(&request)?;
        broker.note_throttle(version >= 6, response.throttle_time_ms);
        let before = self.cache.cluster();
        let basis = self.policy.accept(&response, &before, Instant::now())?;
        let is_full = scope == Scope::TopicsInUse;
        let (mut is_incomplete, mut has_older_epochs) = (false, false);
        self.cache.publish_answer(&asked, |known| {
            let emptied;
            let known = match basis {
                Basis::Known => known,
                Basis::ClusterIdOnly => {
                    emptied = known.reset();
                    &emptied
                }
            };
            let update = update(known, response, version, &asked, is_full);
            (is_incomplete, has_older_epochs) = (update.is_incomplete, update.has_older_epochs);
            update
        });
        let description = Description {
            before: &before,
            after: &self.cache.cluster(),
            asked: &asked,
            is_incomplete,
            has_older_epochs,
        };
        self.policy.described(&description, Instant::now());
        if is_full {
            let absent = self.observer.absent_topics();
            self.observer.forget_topics(&self.cache.idle_among(absent));
        }
        Ok(())
    }

    fn make_call(&mut self) {
        let identity_era = self.cache.cluster().identity_era;
        let result = match &mut self.client {
            Some(client) => self.calls.call(&mut ConnectedBroker {
                client,
                policy: &mut self.policy,
                identity_era,
            }),
            None => Err(not_connected()),
        };
        match result {
            Ok(outcome) => self.policy.called(outcome, Instant::now()),
            Err(error) => self.fail(error),
        }
    }

    fn broker(&mut self) -> Result<ConnectedBroker<'_>, Error> {
        Ok(ConnectedBroker {
            client: self.client.as_mut().ok_or_else(not_connected)?,
            policy: &mut self.policy,
            identity_era: self.cache.cluster().identity_era,
        })
    }

    /// Ends the connection, and tells the policy that the broker failed.
    fn fail(&mut self, error: Error) {
        self.client = None;
        // The connections of a closed producer are cancelled: that is no failure of the broker.
        if !self.cache.is_stopped() {
            let cluster = self.cache.cluster();
            self.policy.failed(error, &cluster, Instant::now());
        }
    }

    fn report(&self, failed: FailedAttempt) {
        let FailedAttempt {
            error,
            pending,
            number,
            level,
        } = failed;
        // Of the failures in a row, only 1, 2, 4, 8 and so on are logged: an outage must not fill a disk.
        if number.is_power_of_two() && !self.cache.is_stopped() {
            let error = error.report();
            log_line!(level, target: "kafka_producer::metadata", "no metadata from any broker (attempt {number}): {error}");
        }
        self.cache.note_failure(error, pending);
    }
}

fn not_connected() -> Error {
    Error::new(ErrorKind::Internal, "the metadata thread has no connection")
}

/// Lets a close interrupt the metadata thread's blocking call.
#[derive(Default)]
pub(crate) struct CurrentConnection {
    state: Mutex<CurrentState>,
}

#[derive(Default)]
struct CurrentState {
    is_cancelled: bool,
    /// Whether the thread may be waiting for the broker.
    is_in_call: bool,
    control: Option<Arc<ConnectionControl>>,
}

impl CurrentConnection {
    /// Ends the call in progress, and every later one. Without a call, the thread ends the connection when it ends itself, and
    /// then it tells the broker so, which a connection that is shut down cannot.
    pub(crate) fn cancel(&self) {
        let control = {
            let mut state = self.state.lock();
            state.is_cancelled = true;
            state.control.take().filter(|_| state.is_in_call)
        };
        if let Some(control) = control {
            control.cancel();
        }
    }

    /// Begins a call, or a connect. Returns `false` after a [`cancel`](Self::cancel).
    fn begin_call(&self) -> bool {
        let mut state = self.state.lock();
        state.is_in_call = !state.is_cancelled;
        state.is_in_call
    }

    fn end_call(&self) {
        self.state.lock().is_in_call = false;
    }

    /// Begins a connection. `None` after a [`cancel`](Self::cancel).
    fn start(&self) -> Option<Arc<ConnectionControl>> {
        let mut state = self.state.lock();
        let control = (!state.is_cancelled).then(ConnectionControl::new);
        state.control.clone_from(&control);
        control
    }
}
