//! What callers, workers and the metadata thread share: the latest snapshot, the callers that wait for a newer one, and
//! the requests to the thread.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::calls::{BrokerCalls, Due};
use super::cluster::{Cluster, LeaderHint};
use super::policy::{Action, Decision, PendingRequests, Policy, Situation};
use super::response::Update;
use super::snapshot::{ClusterObserver, PublishedCluster};
use super::tracked_topics::TrackedTopics;
use super::waiters::{AttemptResults, Wanted};
use crate::connection::Endpoint;
use crate::connection::authentication::Authenticator;
use crate::error::Error;
use crate::sync::{Condvar, Mutex};

/// See the [module](self).
pub(crate) struct MetadataCache {
    published: PublishedCluster,
    state: Mutex<State>,
    /// Wakes callers when an attempt has ended or the producer was closed.
    answered: Condvar,
    /// Wakes the metadata thread when something was requested.
    requested: Condvar,
}

#[derive(Default)]
struct State {
    topics: TrackedTopics,
    results: AttemptResults,
    /// Whether the metadata of all topics is requested.
    refresh: bool,
    /// A broker refused a worker a connection to this address: the metadata thread's own connection may
    /// exceed the broker's limit.
    release: Option<Endpoint>,
    /// The thread ends.
    is_stopped: bool,
}

impl MetadataCache {
    pub(crate) fn new(observer: Box<dyn ClusterObserver>) -> Arc<Self> {
        Arc::new(Self {
            published: PublishedCluster::new(observer),
            state: Mutex::default(),
            answered: Condvar::new(),
            requested: Condvar::new(),
        })
    }

    /// A cache whose snapshots nothing observes.
    #[cfg(test)]
    pub(crate) fn unobserved() -> Arc<Self> {
        struct NoObserver;
        impl ClusterObserver for NoObserver {
            fn before_publication(&self, _: &super::TopicChanges) {}
            fn after_publication(&self) {}
        }
        Self::new(Box::new(NoObserver))
    }

    /// Returns the latest snapshot. It is empty before the first answer.
    pub(crate) fn cluster(&self) -> Arc<Cluster> {
        self.published.latest()
    }

    /// Returns a number that rises with every new snapshot, so that a worker sees by one load whether it has the latest.
    pub(crate) fn generation(&self) -> u64 {
        self.published.generation()
    }

    /// On a caller's thread: waits until `topic` is known, with a partition of number `partition` if that is given.
    /// The metadata thread asks for the topic repeatedly until `deadline`. If the deadline has passed already, this
    /// requests the topic once and fails.
    pub(crate) fn wait_for_topic(
        &self,
        topic: &str,
        partition: Option<i32>,
        max_block: Duration,
        deadline: Instant,
    ) -> Result<Arc<Cluster>, Error> {
        let wanted = Wanted {
            topic,
            partition,
            max_block,
        };
        let mut state = self.state.lock();
        let attempts_before = state.results.attempts();
        let mut is_over = false;
        loop {
            let cluster = self.cluster();
            if state.results.check(wanted, &cluster, attempts_before)? {
                return Ok(cluster);
            }
            let now = Instant::now();
            if is_over {
                return Err(state.results.timeout(wanted, &cluster, now));
            }
            state.topics.request(topic, now);
            self.requested.notify_one();
            is_over = self.answered.wait_until(&mut state, deadline).timed_out();
        }
    }

    /// Keeps `topic` among those that are asked for, without waiting for it.
    pub(crate) fn keep_topic(&self, topic: &str) {
        let mut state = self.state.lock();
        if !state.topics.contains(topic) {
            state.topics.request(topic, Instant::now());
            self.requested.notify_one();
        }
    }

    /// Returns the error that the latest answer has for the topic instead of its description, if any.
    pub(crate) fn topic_error(&self, topic: &str) -> Option<Error> {
        self.state.lock().results.topic_error(topic)
    }

    /// Requests the metadata of all topics, for example because a leader has changed.
    pub(crate) fn request_refresh(&self) {
        let mut state = self.state.lock();
        if !state.refresh {
            state.refresh = true;
            self.requested.notify_one();
        }
    }

    /// Requests the metadata of `topics` only: a broker that leads some of their partitions is silent.
    pub(crate) fn request_topics(&self, topics: &HashSet<Arc<str>>) {
        let (mut state, now) = (self.state.lock(), Instant::now());
        for topic in topics {
            state.topics.request(topic, now);
        }
        self.requested.notify_one();
    }

    /// Requests that the metadata thread closes its connection to `endpoint` between two requests, because the broker
    /// refused a worker a connection.
    pub(crate) fn release_connection(&self, endpoint: &Endpoint) {
        self.state.lock().release = Some(endpoint.clone());
        self.requested.notify_one();
    }

    /// Applies the leader hints of a broker that belongs to the cluster `asked`. Returns whether one of them was newer than
    /// what is known.
    pub(crate) fn apply_leader_hints(&self, asked: &Cluster, hints: &[LeaderHint]) -> bool {
        let mut is_newer = false;
        self.published.publish(|before| {
            // Another cluster may have replaced it by now.
            let is_same = !before.is_other_than(asked.cluster_id());
            let cluster = is_same.then(|| before.with_leaders(hints)).flatten();
            is_newer = cluster.is_some();
            cluster
        });
        is_newer
    }

    /// Ends the wait of every caller with an error. The metadata thread continues, because the workers still need it.
    pub(crate) fn close(&self) {
        self.state.lock().results.close();
        self.answered.notify_all();
    }

    /// Lets the metadata thread look for calls of a higher layer that became due.
    pub(crate) fn wake_thread(&self) {
        // The thread looks for them under this lock. It has not looked yet, or waits already.
        drop(self.state.lock());
        self.requested.notify_one();
    }

    /// Lets the metadata thread end.
    pub(crate) fn stop(&self) {
        self.state.lock().is_stopped = true;
        self.requested.notify_all();
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.state.lock().is_stopped
    }
}

/// The metadata thread's side.
impl MetadataCache {
    /// Waits until the policy decides on an action, and returns it. `None`: the thread ends.
    pub(super) fn next_action(
        &self,
        policy: &mut Policy,
        calls: &dyn BrokerCalls,
    ) -> Option<Action> {
        let mut state = self.state.lock();
        loop {
            let now = Instant::now();
            let due = calls.due(now);
            let situation = state.situation(due, self.cluster());
            match policy.next(&situation, now) {
                Decision::Act(action) => {
                    if let Some(endpoint) = policy.asked() {
                        state.results.begin_to_ask(endpoint);
                    }
                    return Some(action);
                }
                Decision::Stop => return None,
                Decision::Wait(None) => self.requested.wait(&mut state),
                Decision::Wait(Some(until)) => {
                    self.requested.wait_until(&mut state, until);
                }
            }
        }
    }

    /// Notes that the thread begins a connection, and with what it is authenticated, or that the connection is made or
    /// failed.
    pub(super) fn note_connecting(&self, connecting: Option<Arc<dyn Authenticator>>) {
        self.state.lock().results.note_connecting(connecting);
    }

    /// Begins a request for the topics that callers or workers wait for. Returns them.
    pub(super) fn requested_topics(&self) -> Vec<Arc<str>> {
        self.state.lock().topics.requested()
    }

    /// Begins a request for all topics that were used within `max_idle`. Returns them, and drops the others. `take_used`
    /// returns whether callers sent to a topic.
    pub(super) fn topics_to_refresh(
        &self,
        max_idle: Duration,
        take_used: impl Fn(&str) -> bool,
    ) -> Vec<Arc<str>> {
        let mut state = self.state.lock();
        // A refresh that is requested from here on is a new request.
        state.refresh = false;
        let State {
            topics, results, ..
        } = &mut *state;
        topics.drop_idle(max_idle, Instant::now(), take_used);
        results.retain_topics(|topic| topics.contains(topic));
        topics.all()
    }

    /// Returns those of `topics` that are no longer asked for, because they were not used for a long time.
    pub(super) fn idle_among(&self, topics: Vec<Arc<str>>) -> HashSet<Arc<str>> {
        let state = self.state.lock();
        let is_idle = |topic: &Arc<str>| !state.topics.contains(topic);
        topics.into_iter().filter(is_idle).collect()
    }

    /// Publishes what `update` makes of the latest snapshot after an answer about these topics, and wakes the callers that
    /// wait.
    pub(super) fn publish_answer(
        &self,
        asked: &[Arc<str>],
        update: impl FnOnce(&Cluster) -> Update,
    ) {
        let mut errors = Vec::new();
        self.published.publish(|before| {
            let update = update(before);
            errors = update.errors;
            Some(update.cluster)
        });
        let mut state = self.state.lock();
        state.topics.note_answer(asked);
        state.results.note_answer(asked, errors, Instant::now());
        drop(state);
        self.answered.notify_all();
    }

    /// Notes that no broker answered. If a broker refuses this client, or the client the broker, callers that wait get this
    /// error. Otherwise they continue to wait. If they time out, their error has this one as its cause.
    pub(super) fn note_failure(&self, error: Error, asked: PendingRequests) {
        let is_refusal = error.is_refusal();
        let mut state = self.state.lock();
        state.results.note_failure(error);
        state.refresh |= asked.refresh;
        drop(state);
        if is_refusal {
            self.answered.notify_all();
        }
    }
}

impl State {
    fn pending(&self) -> PendingRequests {
        PendingRequests {
            refresh: self.refresh,
            topics: self.topics.has_requested(),
            call: false,
        }
    }

    fn situation(&mut self, due: Due, cluster: Arc<Cluster>) -> Situation {
        Situation {
            pending: PendingRequests {
                call: due == Due::Now,
                ..self.pending()
            },
            call_due_at: match due {
                Due::At(at) => Some(at),
                Due::Now | Due::Never => None,
            },
            has_topics: !self.topics.is_empty(),
            has_new_topics: self.topics.has_new(),
            release: self.release.take(),
            is_stopped: self.is_stopped,
            cluster,
        }
    }
}

/// For tests that do the metadata thread's work.
#[cfg(any(test, fuzzing))]
impl MetadataCache {
    /// What is requested, without the calls of a higher layer.
    pub(crate) fn pending(&self) -> PendingRequests {
        self.state.lock().pending()
    }

    /// Begins a request for what is `pending`. Returns the topics.
    #[cfg(test)]
    pub(crate) fn ask(&self, pending: PendingRequests) -> Vec<Arc<str>> {
        match pending.refresh {
            true => self.topics_to_refresh(Duration::MAX, |_| true),
            false => self.requested_topics(),
        }
    }

    /// Ends the request with a broker's answer.
    #[cfg(test)]
    pub(crate) fn take_answer(
        &self,
        asked: &[Arc<str>],
        response: crate::protocol::messages::MetadataResponse,
        version: i16,
        pending: PendingRequests,
    ) {
        self.publish_answer(asked, |before| {
            super::response::update(before, response, version, asked, pending.refresh)
        });
    }

    /// Publishes `cluster`, as after an answer about all topics.
    pub(crate) fn publish_cluster(&self, cluster: Cluster) {
        let asked = self.state.lock().topics.all();
        self.publish_answer(&asked, |_| Update {
            cluster,
            errors: Vec::new(),
            is_incomplete: false,
            has_older_epochs: false,
        });
    }
}

#[cfg(test)]
mod tests;
