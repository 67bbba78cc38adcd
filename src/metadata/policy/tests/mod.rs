//! The policy's rules, with a clock that is set by hand and scripted brokers.

mod answers;
mod brokers;
mod connection;
mod rebootstrap;
mod requests;

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::outdated::PATIENCE;
use super::*;
use crate::error::{Error, ErrorKind};
use crate::metadata::CallOutcome;
use crate::metadata::fixtures::{cluster_at, endpoint, topic};
use crate::protocol::ErrorCode;
use crate::protocol::messages::{MetadataBroker, MetadataResponse};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
/// The port of the only bootstrap address.
const BOOTSTRAP: u16 = 9;
const RETRY: Duration = Duration::from_millis(100);
const RECONNECT: Duration = Duration::from_millis(50);

/// The metadata thread's part: a clock, and what is requested of the thread.
struct Scene {
    policy: Policy,
    now: Instant,
    situation: Situation,
}

impl Scene {
    /// Knows brokers at these ports.
    fn new(known: &[u16]) -> Self {
        Self::with(known, |_| {})
    }

    fn with(known: &[u16], choose: impl FnOnce(&mut RefreshConfig)) -> Self {
        let now = Instant::now();
        let mut config = RefreshConfig {
            bootstrap: vec![endpoint(BOOTSTRAP)],
            rebootstrap: Some(300 * SECOND),
            max_age: 300 * SECOND,
            max_idle: 300 * SECOND,
            request_timeout: 30 * SECOND,
            retry_backoff: ExponentialBackoff::new(RETRY, 10 * RETRY),
            reconnect_backoff: ExponentialBackoff::new(RECONNECT, 20 * RECONNECT),
            connections_max_idle: Some(540 * SECOND),
            bootstrap_resolve_deadline: now,
        };
        choose(&mut config);
        let situation = Situation {
            pending: PendingRequests::default(),
            call_due_at: None,
            has_topics: true,
            has_new_topics: false,
            release: None,
            is_stopped: false,
            cluster: Arc::new(named("c", cluster_at(known))),
        };
        Self {
            policy: Policy::new(config, now),
            now,
            situation,
        }
    }

    fn request_refresh(&mut self) {
        self.situation.pending.refresh = true;
    }

    fn request_topics(&mut self) {
        self.situation.pending.topics = true;
    }

    fn request_call(&mut self) {
        self.situation.pending.call = true;
    }

    fn next(&mut self) -> Decision {
        let decision = self.policy.next(&self.situation, self.now);
        self.situation.release = None;
        decision
    }

    fn action(&mut self) -> Action {
        match self.next() {
            Decision::Act(action) => action,
            other => panic!("no action: {other:?}"),
        }
    }

    /// The time that the thread is to wait.
    fn pause(&mut self) -> Duration {
        match self.next() {
            Decision::Wait(Some(until)) => until - self.now,
            other => panic!("no wait: {other:?}"),
        }
    }

    fn wait(&mut self) {
        let pause = self.pause();
        self.now += pause;
    }

    /// The port that the thread is to connect to.
    fn connects_to(&mut self) -> u16 {
        match self.action() {
            Action::Connect(plan) => plan.endpoint.port,
            other => panic!("no connection: {other:?}"),
        }
    }

    fn asks_for(&mut self) -> Scope {
        match self.action() {
            Action::AskMetadata(scope) => scope,
            other => panic!("no request for metadata: {other:?}"),
        }
    }

    fn disconnects(&mut self) {
        let action = self.action();
        assert!(matches!(action, Action::Disconnect), "{action:?}");
    }

    fn makes_the_call(&mut self) {
        let action = self.action();
        assert!(matches!(action, Action::MakeCall), "{action:?}");
    }

    fn failure(&mut self) -> FailedAttempt {
        match self.action() {
            Action::ReportFailure(failed) => failed,
            other => panic!("no failure: {other:?}"),
        }
    }

    /// Connects with a connection of the thread's own.
    fn connect(&mut self) {
        let new = NewConnection {
            is_own: true,
            session_ends: None,
            reports_cluster_id: true,
        };
        let cluster = Arc::clone(&self.situation.cluster);
        self.policy.connected(new, &cluster, self.now);
    }

    fn fail(&mut self) {
        self.fail_with(Error::new(ErrorKind::Network, "gone"));
    }

    fn fail_with(&mut self, error: Error) {
        let cluster = Arc::clone(&self.situation.cluster);
        self.policy.failed(error, &cluster, self.now);
    }

    /// The broker that is asked describes the cluster as it is known.
    fn answer(&mut self) {
        let basis = self.answer_with(|_| {});
        assert_eq!(basis.unwrap(), Basis::Known);
    }

    /// The broker that is asked answers. If that is accepted, it completes the request and is the snapshot from now on.
    fn answer_with(&mut self, choose: impl FnOnce(&mut Answer)) -> Result<Basis, ErrorKind> {
        let before = Arc::clone(&self.situation.cluster);
        let mut answer = Answer {
            cluster: (*before).clone(),
            asked: Vec::new(),
            is_incomplete: false,
            has_older_epochs: false,
            throttle: None,
            error: ErrorCode::NONE,
        };
        choose(&mut answer);
        if let Some(wait) = answer.throttle {
            self.policy.throttled(wait, self.now);
        }
        let basis = match self.policy.accept(&answer.response(), &before, self.now) {
            Ok(basis) => basis,
            Err(error) => {
                let kind = error.kind();
                self.fail_with(error);
                return Err(kind);
            }
        };
        let description = Description {
            before: &before,
            after: &answer.cluster,
            asked: &answer.asked,
            is_incomplete: answer.is_incomplete,
            has_older_epochs: answer.has_older_epochs,
        };
        self.policy.described(&description, self.now);
        self.situation.cluster = Arc::new(answer.cluster);
        (
            self.situation.pending.refresh,
            self.situation.pending.topics,
        ) = (false, false);
        self.situation.has_new_topics = false;
        Ok(basis)
    }

    /// The broker that is asked completes the call.
    fn complete_call(&mut self) {
        self.policy.called(CallOutcome::Done, self.now);
        self.situation.pending.call = false;
    }

    /// One attempt for all topics, at whichever broker comes first.
    fn refresh(&mut self) -> u16 {
        self.request_refresh();
        let port = match self.action() {
            Action::Connect(plan) => {
                self.connect();
                assert_eq!(self.asks_for(), Scope::TopicsInUse);
                plan.endpoint.port
            }
            Action::AskMetadata(Scope::TopicsInUse) => self.policy.asked().unwrap().port,
            other => panic!("no refresh: {other:?}"),
        };
        self.answer();
        port
    }
}

/// What a broker reports about its cluster.
struct Answer {
    cluster: Cluster,
    asked: Vec<Arc<str>>,
    is_incomplete: bool,
    has_older_epochs: bool,
    throttle: Option<Duration>,
    error: ErrorCode,
}

impl Answer {
    fn name(&mut self, cluster_id: &str) {
        self.cluster.cluster_id = Some(cluster_id.into());
    }

    fn response(&self) -> MetadataResponse {
        let brokers = self.cluster.brokers().map(|broker| MetadataBroker {
            node_id: broker.id,
            host: broker.host.to_string(),
            port: broker.port.into(),
            rack: None,
        });
        MetadataResponse {
            throttle_time_ms: 0,
            brokers: brokers.collect(),
            cluster_id: self.cluster.cluster_id().map(str::to_owned),
            controller_id: -1,
            topics: Vec::new(),
            error: self.error,
        }
    }
}

fn named(cluster_id: &str, cluster: Cluster) -> Cluster {
    Cluster {
        cluster_id: Some(cluster_id.into()),
        ..cluster
    }
}

/// With a fifth of jitter.
#[track_caller]
fn assert_about(pause: Duration, expected: Duration) {
    let range = expected.mul_f64(0.79)..expected.mul_f64(1.21);
    assert!(
        range.contains(&pause),
        "{pause:?} is not about {expected:?}"
    );
}
