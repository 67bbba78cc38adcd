//! The current picture of the cluster, who waits for a newer one, and what the metadata thread is to ask next.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::calls::{BrokerCalls, Due};
use super::cluster::{Cluster, LeaderHint};
use super::missing::{RECENT, TopicError, missing};
use super::response::Update;
use super::topic_map::TopicChanges;
use crate::connection::Endpoint;
use crate::error::{Error, ErrorKind};
use crate::sync::{Condvar, Mutex, RwLock};

/// Shared by callers, workers and the metadata thread.
pub(crate) struct MetadataCache {
    cluster: RwLock<Arc<Cluster>>,
    /// Held from the reading of one picture to the publication of the next: none is lost, and the observer sees them in
    /// order. Taken before every other lock.
    publishing: Mutex<()>,
    /// Counts the pictures, so that a worker sees by one load whether it has the latest.
    generation: AtomicU64,
    state: Mutex<State>,
    /// An attempt ended or the producer was closed: for callers.
    answered: Condvar,
    /// There is something to ask: for the metadata thread.
    wanted: Condvar,
    observer: Box<dyn ClusterObserver>,
}

/// Who is told of every new picture, in order. Must not block, nor call the cache.
pub(crate) trait ClusterObserver: Send + Sync {
    /// Before anybody can see it: what is different from the picture before.
    fn before_publication(&self, changes: &TopicChanges);
    /// When everybody can see it.
    fn after_publication(&self);
}

#[derive(Default)]
struct State {
    /// The topics to ask for, each with when it was last used.
    topics: HashMap<Arc<str>, Instant>,
    /// Those of them that somebody waits for.
    wanted: HashSet<Arc<str>>,
    /// Those of them that have never been asked for.
    new: HashSet<Arc<str>>,
    pending: PendingRequests,
    /// Attempts that have ended.
    attempts: u64,
    /// The topics of which the latest answer told an error.
    topic_errors: HashMap<Arc<str>, TopicError>,
    /// Why the latest attempt failed, if it did.
    last_error: Option<Error>,
    /// The broker that was asked last, for whoever gives up before it answers.
    asked: Option<Endpoint>,
    /// A worker was refused a connection to this address: the metadata thread's own may be the one that is too many.
    way_wanted: Option<Endpoint>,
    /// Callers wait no longer; the thread goes on for the workers.
    closed: bool,
    /// The thread ends.
    stopped: bool,
}

/// What the metadata thread is to ask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PendingRequests {
    /// Metadata of all topics.
    pub(crate) refresh: bool,
    /// Metadata of the topics that callers or workers wait for.
    pub(crate) topics: bool,
    /// A higher layer's call.
    pub(crate) call: bool,
}

impl PendingRequests {
    pub(crate) fn any(self) -> bool {
        self.refresh || self.topics || self.call
    }
}

impl MetadataCache {
    pub(crate) fn new(observer: Box<dyn ClusterObserver>) -> Arc<Self> {
        Arc::new(Self {
            cluster: RwLock::default(),
            publishing: Mutex::default(),
            generation: AtomicU64::new(0),
            state: Mutex::default(),
            answered: Condvar::new(),
            wanted: Condvar::new(),
            observer,
        })
    }

    /// The latest picture; empty before the first answer.
    pub(crate) fn cluster(&self) -> Arc<Cluster> {
        Arc::clone(&self.cluster.read())
    }

    /// Rises with every new picture.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// On a caller's thread: waits until `topic` is known, with a partition of number `partition` if that is given.
    /// The topic is asked for again and again until `deadline`; a deadline that has passed asks once and fails.
    pub(crate) fn wait_for_topic(
        &self,
        topic: &str,
        partition: Option<i32>,
        max_block: Duration,
        deadline: Instant,
    ) -> Result<Arc<Cluster>, Error> {
        let mut state = self.state.lock();
        let first_attempt = state.attempts;
        loop {
            let known = state.look_up(&self.cluster(), topic, partition, first_attempt)?;
            if let Some(cluster) = known {
                return Ok(cluster);
            }
            state.want_topic(topic);
            self.wanted.notify_one();
            if self.answered.wait_until(&mut state, deadline).timed_out() {
                return match state.look_up(&self.cluster(), topic, partition, first_attempt)? {
                    Some(cluster) => Ok(cluster),
                    None => Err(state.timeout(&self.cluster(), topic, partition, max_block)),
                };
            }
        }
    }

    /// Keeps `topic` among those that are asked for, without waiting for it.
    pub(crate) fn keep_topic(&self, topic: &str) {
        let mut state = self.state.lock();
        if !state.topics.contains_key(topic) {
            state.want_topic(topic);
            self.wanted.notify_one();
        }
    }

    /// What the latest answer told instead of describing the topic, if it did not describe it.
    pub(crate) fn topic_error(&self, topic: &str) -> Option<Error> {
        let state = self.state.lock();
        let told = state.topic_errors.get(topic);
        told.map(|told| told.error.clone())
    }

    /// Asks for all topics anew: some leader is not where it was thought to be.
    pub(crate) fn request_refresh(&self) {
        let mut state = self.state.lock();
        if !state.pending.refresh {
            state.pending.refresh = true;
            self.wanted.notify_one();
        }
    }

    /// Lets the metadata thread close its connection to `endpoint` when it has no question to ask: a worker was refused one
    /// there.
    pub(crate) fn make_way(&self, endpoint: &Endpoint) {
        self.state.lock().way_wanted = Some(endpoint.clone());
        self.wanted.notify_one();
    }

    /// Asks for `topics` anew, and for no others: a broker that leads some of their partitions is silent.
    pub(crate) fn ask_about(&self, topics: &HashSet<Arc<str>>) {
        let mut state = self.state.lock();
        for topic in topics {
            state.want_topic(topic);
        }
        self.wanted.notify_one();
    }

    /// Takes leaders from the answer of a broker of `asked` where they are newer than what is known; whether any was.
    pub(crate) fn apply_leader_hints(&self, asked: &Cluster, hints: &[LeaderHint]) -> bool {
        let mut is_newer = false;
        self.publish(|before| {
            // By now it may have been replaced by another one.
            let is_same = !before.is_other_than(asked.cluster_id());
            let cluster = is_same.then(|| before.with_leaders(hints)).flatten();
            is_newer = cluster.is_some();
            cluster
        });
        is_newer
    }

    /// Whether there is a topic that was never asked for.
    pub(super) fn has_new_topics(&self) -> bool {
        !self.state.lock().new.is_empty()
    }

    /// Whether there is any topic to ask for.
    pub(super) fn has_topics(&self) -> bool {
        !self.state.lock().topics.is_empty()
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.state.lock().stopped
    }

    /// Wakes every waiting caller with an error; the metadata thread goes on, for the workers still need it.
    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        self.answered.notify_all();
    }

    /// Lets the metadata thread look for calls of a higher layer that became due.
    pub(crate) fn wake_thread(&self) {
        // The thread looks for them under this lock. It has not looked yet, or waits already.
        drop(self.state.lock());
        self.wanted.notify_one();
    }

    /// Lets the metadata thread end.
    pub(crate) fn stop(&self) {
        self.state.lock().stopped = true;
        self.wanted.notify_all();
    }
}

/// The metadata thread's side.
impl MetadataCache {
    /// The address to which a worker was refused a connection since this was last asked.
    pub(super) fn take_way_wanted(&self) -> Option<Endpoint> {
        self.state.lock().way_wanted.take()
    }

    /// Waits until there is something to ask or [to make way for](Self::make_way), or until `deadline`; none when the thread
    /// is to end.
    pub(crate) fn wait_for_requests(
        &self,
        deadline: Instant,
        calls: &dyn BrokerCalls,
    ) -> Option<PendingRequests> {
        let mut state = self.state.lock();
        loop {
            if state.stopped {
                return None;
            }
            let (pending, later) = state.pending_at(Instant::now(), calls);
            if pending.any() || state.way_wanted.is_some() {
                return Some(pending);
            }
            let until = later.map_or(deadline, |later| later.min(deadline));
            let is_over = self.wanted.wait_until(&mut state, until).timed_out();
            if is_over && until == deadline {
                return (!state.stopped).then(|| state.pending_at(Instant::now(), calls).0);
            }
        }
    }

    /// Waits until `deadline`, a backoff's end. Where the brokers did answer, so that `answered` is known, what is wanted
    /// since ends the wait too, a new topic or a producer id: neither should pay for another one's trouble (KIP-526). A worker
    /// that is to be made way for does not wait either.
    /// False when the thread is to end.
    pub(super) fn wait_out_backoff(
        &self,
        deadline: Instant,
        answered: Option<PendingRequests>,
        calls: &dyn BrokerCalls,
    ) -> bool {
        let mut state = self.state.lock();
        loop {
            let call_is_due = state.pending_at(Instant::now(), calls).0.call;
            let broken = answered
                .is_some_and(|answered| call_is_due && !answered.call || !state.new.is_empty())
                || state.way_wanted.is_some();
            if state.stopped || broken || self.wanted.wait_until(&mut state, deadline).timed_out() {
                break;
            }
        }
        !state.stopped
    }

    /// The topics to ask for now: all, or only those that somebody waits for. Topics that were not used for `max_idle` are dropped;
    /// `take_used` tells whether callers sent to one.
    pub(super) fn topics_to_ask(
        &self,
        only_wanted: bool,
        max_idle: Duration,
        now: Instant,
        take_used: impl Fn(&str) -> bool,
    ) -> Vec<Arc<str>> {
        let mut state = self.state.lock();
        if only_wanted {
            return state.wanted.iter().cloned().collect();
        }
        // From here on a request for a refresh is for a later one than this.
        state.pending.refresh = false;
        let State {
            topics,
            wanted,
            topic_errors,
            ..
        } = &mut *state;
        topics.retain(|topic, last_used| {
            if take_used(topic) {
                *last_used = now;
            }
            wanted.contains(topic) || now.saturating_duration_since(*last_used) < max_idle
        });
        if topics.len() < topics.capacity() / 4 {
            topics.shrink_to_fit();
        }
        topic_errors.retain(|topic, _| topics.contains_key(topic));
        state.topics.keys().cloned().collect()
    }

    /// Those of `topics` that are no longer asked for: they were not used for long.
    pub(super) fn idle_among(&self, topics: Vec<Arc<str>>) -> HashSet<Arc<str>> {
        let state = self.state.lock();
        let is_idle = |topic: &Arc<str>| !state.topics.contains_key(topic);
        topics.into_iter().filter(is_idle).collect()
    }

    /// Ends an attempt that got an answer: publishes what `update` makes of the picture so far, and wakes the waiting
    /// callers. Returns whether something is to be asked again.
    pub(super) fn answered(
        &self,
        asked: &[Arc<str>],
        update: impl FnOnce(&Cluster) -> Update,
    ) -> bool {
        let (mut errors, mut is_incomplete) = (Vec::new(), false);
        self.publish(|before| {
            let update = update(before);
            (errors, is_incomplete) = (update.errors, update.is_incomplete);
            Some(update.cluster)
        });
        let mut state = self.state.lock();
        state.attempts += 1;
        let attempt = state.attempts;
        state.last_error = None;
        for topic in asked {
            state.topic_errors.remove(topic);
            state.new.remove(topic);
            state.wanted.remove(topic);
        }
        let told_at = Instant::now();
        for (topic, error) in errors {
            let told = TopicError {
                attempt,
                told_at,
                error,
            };
            state.topic_errors.insert(topic, told);
        }
        state.pending.topics = !state.wanted.is_empty();
        drop(state);
        self.answered.notify_all();
        is_incomplete
    }

    /// The metadata thread connects to this broker, if need be, and asks it.
    pub(super) fn begin_to_ask(&self, endpoint: &Endpoint) {
        self.state.lock().asked = Some(endpoint.clone());
    }

    /// Ends an attempt that got no answer. Callers go on waiting; those that give up tell why.
    pub(super) fn failed(&self, error: Error, pending: PendingRequests) {
        let mut state = self.state.lock();
        state.attempts += 1;
        state.last_error = Some(error);
        state.pending.refresh |= pending.refresh;
    }

    /// Publishes what `make` makes of the picture so far, if anything.
    fn publish(&self, make: impl FnOnce(&Cluster) -> Option<Cluster>) {
        let _publishing = self.publishing.lock();
        let before = self.cluster();
        let Some(cluster) = make(&before) else {
            return;
        };
        let changes = cluster.topics.changes_since(&before.topics);
        self.observer.before_publication(&changes);
        *self.cluster.write() = Arc::new(cluster);
        self.generation.fetch_add(1, Ordering::AcqRel);
        self.observer.after_publication();
    }

    /// What the metadata thread is to ask now, without the calls of a higher layer.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn pending(&self) -> PendingRequests {
        self.state.lock().pending
    }

    /// Begins what the metadata thread does for `pending`: the topics it would ask for.
    #[cfg(test)]
    pub(crate) fn ask(&self, pending: PendingRequests) -> Vec<Arc<str>> {
        self.topics_to_ask(!pending.refresh, Duration::MAX, Instant::now(), |_| true)
    }

    /// Ends it with a broker's answer.
    #[cfg(test)]
    pub(crate) fn take_answer(
        &self,
        asked: &[Arc<str>],
        response: crate::protocol::messages::MetadataResponse,
        version: i16,
        pending: PendingRequests,
    ) {
        self.answered(asked, |before| {
            super::response::update(before, response, version, asked, pending.refresh)
        });
    }

    /// As an answer about all topics does.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn publish_cluster(&self, cluster: Cluster) {
        let asked: Vec<Arc<str>> = self.state.lock().topics.keys().cloned().collect();
        self.answered(&asked, |_| Update {
            cluster,
            errors: Vec::new(),
            is_incomplete: false,
            has_older_epochs: false,
        });
    }
}

impl State {
    /// What is to be asked now, and when a call is due if none is due now.
    fn pending_at(
        &self,
        now: Instant,
        calls: &dyn BrokerCalls,
    ) -> (PendingRequests, Option<Instant>) {
        let due = calls.due(now);
        let pending = PendingRequests {
            call: due == Due::Now,
            ..self.pending
        };
        let later = match due {
            Due::At(at) => Some(at),
            Due::Now | Due::Never => None,
        };
        (pending, later)
    }

    fn look_up(
        &self,
        cluster: &Arc<Cluster>,
        topic: &str,
        partition: Option<i32>,
        first_attempt: u64,
    ) -> Result<Option<Arc<Cluster>>, Error> {
        if self.closed {
            return Err(Error::new(
                ErrorKind::Closed,
                "the producer was closed while the record waited for metadata",
            ));
        }
        if let Some(told) = self.topic_errors.get(topic) {
            if told.attempt > first_attempt && !told.error.is_retriable() {
                return Err(told.error.clone());
            }
        }
        let known = cluster.topic(topic).is_some_and(|metadata| {
            partition.is_none_or(|partition| (partition as usize) < metadata.partitions.len())
        });
        Ok(known.then(|| Arc::clone(cluster)))
    }

    fn want_topic(&mut self, topic: &str) {
        self.pending.topics = true;
        let name = self.topics.get_key_value(topic);
        let name = name.map(|(name, _)| Arc::clone(name)).unwrap_or_else(|| {
            let name = Arc::from(topic);
            self.new.insert(Arc::clone(&name));
            name
        });
        self.topics.insert(Arc::clone(&name), Instant::now());
        self.wanted.insert(name);
    }

    /// Why a caller has waited for `topic` in vain.
    fn timeout(
        &self,
        cluster: &Cluster,
        topic: &str,
        partition: Option<i32>,
        max_block: Duration,
    ) -> Error {
        let told = self.topic_errors.get(topic);
        if let Some(told) = told {
            let is_latest = self.last_error.is_none() && told.told_at.elapsed() < RECENT;
            if is_latest && !told.error.is_retriable() {
                return told.error.clone();
            }
        }
        // An attempt that failed is later than any answer.
        let cause = (self.last_error.as_ref()).or(told.map(|told| &told.error));
        let silent = self
            .asked
            .as_ref()
            .filter(|_| cause.is_none() && !max_block.is_zero());
        let silent = silent.map(|endpoint| {
            Error::new(
                ErrorKind::Network,
                format!("{endpoint} has not answered yet"),
            )
        });
        missing(
            cluster,
            topic,
            partition,
            max_block,
            cause.or(silent.as_ref()),
        )
    }
}

#[cfg(test)]
mod tests;
