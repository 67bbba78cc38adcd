//! The cluster and its builder: what a test calls.

use std::collections::VecDeque;
use std::io;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::broker::Broker;
use super::fault::{Fault, HookId, Hooks};
use super::log::{MockBatch, MockRecord};
use super::request::{LoggedRequest, MockApi, MockRequest};
use super::sasl::MockSasl;
use super::state::{Partition, State};
#[cfg(feature = "mock-tls")]
use super::tls::{ClusterTls, MockTls};
use crate::metadata::TopicId;
use crate::sync::{Condvar, Mutex};
use crate::time::deadline_after;

/// A running cluster of mock brokers, with the ids 0, 1, 2 and so on. Dropping it stops every broker, closes every
/// connection and waits for their threads.
///
/// Methods that change a topic, partition or broker panic if it does not exist: a test that changes nothing would prove
/// nothing. Methods that only read return `None` or an empty list then.
pub struct MockCluster {
    pub(super) shared: Arc<Shared>,
    brokers: Vec<Broker>,
}

/// The options of a [`MockCluster`]. Made by [`MockCluster::builder`].
#[derive(Clone, Debug)]
pub struct MockClusterBuilder {
    brokers: usize,
    pub(super) options: Options,
}

#[derive(Clone, Debug)]
pub(super) struct Options {
    pub(super) auto_create_topics: bool,
    pub(super) default_partitions: i32,
    /// The value at the start.
    pub(super) max_message_bytes: usize,
    pub(super) first_producer_epoch: i16,
    pub(super) refuse_unknown_producers: bool,
    pub(super) retain_records: bool,
    pub(super) check_batches: bool,
    /// The id at the start; `None` for a random one.
    pub(super) cluster_id: Option<String>,
    /// The value at the start.
    pub(super) sasl: Option<MockSasl>,
    #[cfg(feature = "mock-tls")]
    pub(super) tls: Option<MockTls>,
}

/// What brokers and connections share. No thread takes a lock or runs a hook while it holds another lock.
pub(super) struct Shared {
    pub(super) options: Options,
    pub(super) hooks: Hooks,
    pub(super) max_message_bytes: AtomicUsize,
    /// The number of connections that each broker serves at the same time.
    pub(super) max_connections: AtomicUsize,
    /// `None` if clients need not authenticate.
    pub(super) sasl: Mutex<Option<Arc<MockSasl>>>,
    /// The texts with which the next authentications are refused.
    pub(super) sasl_refusals: Mutex<VecDeque<String>>,
    #[cfg(feature = "mock-tls")]
    pub(super) tls: Option<ClusterTls>,
    pub(super) state: Mutex<State>,
    /// Used with `state`: notified after each event that `wait_until` may wait for.
    pub(super) happened: Condvar,
}

impl MockCluster {
    /// Starts a cluster of `brokers` brokers, at least one, with the default options.
    ///
    /// # Errors
    /// If a listener cannot be opened or a thread cannot be started.
    pub fn start(brokers: usize) -> io::Result<Self> {
        Self::builder().brokers(brokers).start()
    }

    /// Returns a builder, which sets the options and starts the cluster.
    pub fn builder() -> MockClusterBuilder {
        let options = Options {
            auto_create_topics: true,
            default_partitions: 1,
            max_message_bytes: 1024 * 1024 + 12,
            first_producer_epoch: 0,
            refuse_unknown_producers: false,
            retain_records: true,
            check_batches: true,
            cluster_id: None,
            sasl: None,
            #[cfg(feature = "mock-tls")]
            tls: None,
        };
        MockClusterBuilder {
            brokers: 1,
            options,
        }
    }

    /// Returns the addresses of all brokers, up or down, in the form of `bootstrap.servers`.
    pub fn bootstrap_servers(&self) -> String {
        let addresses = self
            .brokers
            .iter()
            .map(|broker| format!("127.0.0.1:{}", broker.port()));
        addresses.collect::<Vec<_>>().join(",")
    }

    /// Returns the cluster's id, as metadata names it.
    pub fn cluster_id(&self) -> String {
        self.shared.state.lock().cluster_id.clone()
    }

    /// Replaces this cluster with another one at the same addresses. The new one has another id and no topics, and its
    /// producer ids begin from the start again. Brokers that were down are up. Connections are closed after the requests
    /// in progress are finished. Hooks, restrictions of versions, the list of requests, TLS and SASL stay.
    ///
    /// # Errors
    /// If a broker cannot listen on its port any more or a thread cannot be started.
    pub fn replace(&self) -> io::Result<()> {
        for broker in &self.brokers {
            broker.stop();
        }
        let first_producer_epoch = self.shared.options.first_producer_epoch;
        self.shared.state.lock().reset(first_producer_epoch);
        for broker in &self.brokers {
            broker.start(&self.shared)?;
        }
        Ok(())
    }

    /// Creates a topic. The brokers lead its partitions round robin: the first broker leads partition 0.
    ///
    /// # Panics
    /// If the topic exists, Kafka does not allow the name, or `partitions` is below 1.
    #[track_caller]
    pub fn create_topic(&self, name: &str, partitions: i32) {
        assert!(
            partitions >= 1,
            "a topic has at least one partition, not {partitions}"
        );
        let mut state = self.shared.state.lock();
        assert!(
            state.create_topic(name, partitions),
            "topic {name} exists, or has no valid name"
        );
    }

    /// Deletes a topic with its records. A topic that is created later with the same name has another id.
    ///
    /// # Panics
    /// If there is no such topic.
    #[track_caller]
    pub fn delete_topic(&self, name: &str) {
        let deleted = self.shared.state.lock().delete_topic(name);
        assert!(deleted, "there is no topic {name}");
    }

    /// Adds `count` partitions to a topic.
    ///
    /// # Panics
    /// If there is no such topic.
    #[track_caller]
    pub fn add_partitions(&self, topic: &str, count: i32) {
        let added = self.shared.state.lock().add_partitions(topic, count);
        assert!(added, "there is no topic {topic}");
    }

    /// Changes the leader of a partition and raises its leader epoch. With `None` the partition has no leader.
    ///
    /// # Panics
    /// If there is no such topic, partition or broker.
    #[track_caller]
    pub fn set_leader(&self, topic: &str, partition: i32, leader: Option<i32>) {
        if let Some(broker) = leader {
            self.broker(broker);
        }
        self.change(topic, partition, |partition| {
            partition.leader = leader;
            partition.leader_epoch += 1;
        });
    }

    /// Makes metadata name this leader and leader epoch instead of the real ones, as brokers do that do not know of a
    /// change yet. With `None` metadata names the real ones again. How brokers handle batches does not change.
    ///
    /// # Panics
    /// If there is no such topic or partition.
    #[track_caller]
    pub fn pretend_leader(&self, topic: &str, partition: i32, leader: Option<(i32, i32)>) {
        self.change(topic, partition, |partition| {
            partition.pretended_leader = leader
        });
    }

    /// Makes metadata name this port of 127.0.0.1 for a broker, as that of a proxy before it (`advertised.listeners`).
    ///
    /// # Panics
    /// If there is no such broker.
    #[track_caller]
    pub fn advertise_port(&self, broker: i32, port: u16) {
        self.broker(broker);
        self.shared.state.lock().advertise_port(broker, port);
    }

    /// Deletes a partition's records before `offset`, as retention does: the log starts there. Only whole batches are
    /// deleted: a batch that reaches beyond `offset` stays. With
    /// [`refuse_unknown_producers`](MockClusterBuilder::refuse_unknown_producers), the partition forgets the producers of
    /// which it has no record left.
    ///
    /// # Panics
    /// If there is no such topic, partition or offset.
    #[track_caller]
    pub fn delete_records(&self, topic: &str, partition: i32, offset: i64) {
        let forgets = self.shared.options.refuse_unknown_producers;
        let end = self.change(topic, partition, |partition| {
            let end = partition.log.end_offset();
            if offset <= end {
                partition.log.delete_records(offset, forgets);
            }
            end
        });
        assert!(offset <= end, "the log ends at {end}, before {offset}");
    }

    /// Makes a partition forget the sequences of all producers, as a broker does after `producer.id.expiration.ms`.
    ///
    /// # Panics
    /// If there is no such topic or partition.
    #[track_caller]
    pub fn forget_producers(&self, topic: &str, partition: i32) {
        self.change(topic, partition, |partition| {
            partition.log.forget_producers()
        });
    }

    /// Changes the largest size of a batch, which [`MockClusterBuilder::max_message_bytes`] sets at the start.
    pub fn set_max_message_bytes(&self, bytes: usize) {
        self.shared
            .max_message_bytes
            .store(bytes, Ordering::Relaxed);
    }

    /// Limits each broker to `most` connections. It closes any further connection at once, as Kafka does with
    /// `max.connections.per.ip`. Open connections stay. `None` removes the limit.
    pub fn limit_connections(&self, most: Option<usize>) {
        self.shared
            .max_connections
            .store(most.unwrap_or(usize::MAX), Ordering::Relaxed);
    }

    /// Returns the id of the broker that leads a partition; `None` if there is no leader or no such partition.
    pub fn leader(&self, topic: &str, partition: i32) -> Option<i32> {
        self.shared.state.lock().partition(topic, partition)?.leader
    }

    /// Returns the partition's leader epoch: how often its leader was changed.
    pub fn leader_epoch(&self, topic: &str, partition: i32) -> Option<i32> {
        Some(
            self.shared
                .state
                .lock()
                .partition(topic, partition)?
                .leader_epoch,
        )
    }

    /// Returns the topic's id.
    pub fn topic_id(&self, topic: &str) -> Option<TopicId> {
        Some(TopicId(self.shared.state.lock().topic(topic)?.id))
    }

    /// Changes the topic's id. A topic that was restored from a backup has another id.
    ///
    /// # Panics
    /// If there is no such topic.
    #[track_caller]
    pub fn set_topic_id(&self, topic: &str, id: TopicId) {
        let changed = self.shared.state.lock().set_topic_id(topic, id.0);
        assert!(changed, "there is no topic {topic}");
    }

    /// Returns the number of partitions of the topic.
    pub fn partitions(&self, topic: &str) -> Option<i32> {
        let state = self.shared.state.lock();
        i32::try_from(state.topic(topic)?.partitions.len()).ok()
    }

    /// Returns the offset of the partition's next record, which is the number of records that were written so far.
    pub fn end_offset(&self, topic: &str, partition: i32) -> Option<i64> {
        Some(
            self.shared
                .state
                .lock()
                .partition(topic, partition)?
                .log
                .end_offset(),
        )
    }

    /// Returns the records of a partition, in order. Empty if there is no such partition or records are not retained.
    /// Leaves out batches that cannot be read, which are stored only if checks are off.
    pub fn records(&self, topic: &str, partition: i32) -> Vec<MockRecord> {
        self.batches(topic, partition)
            .iter()
            .flat_map(MockBatch::records)
            .collect()
    }

    /// Returns the batches of a partition, in order. Empty if there is no such partition or records are not retained.
    pub fn batches(&self, topic: &str, partition: i32) -> Vec<MockBatch> {
        let state = self.shared.state.lock();
        state
            .partition(topic, partition)
            .map(|partition| partition.log.batches())
            .unwrap_or_default()
    }

    /// Sets whether records of the topic get the broker's time (`message.timestamp.type=LogAppendTime`) instead of the
    /// producer's timestamps. Off for a new topic.
    ///
    /// # Panics
    /// If there is no such topic.
    #[track_caller]
    pub fn set_log_append_time(&self, topic: &str, log_append_time: bool) {
        let mut state = self.shared.state.lock();
        let Some(topic) = state.topic_mut(topic) else {
            panic!("there is no topic {topic}")
        };
        topic.log_append_time = log_append_time;
    }

    /// Stops a broker and waits until its threads have ended. Its connections are closed, its port refuses new ones,
    /// metadata no longer names it, and its partitions have no leader. Its records stay. Does nothing if it is down.
    ///
    /// # Panics
    /// If there is no such broker.
    #[track_caller]
    pub fn broker_down(&self, broker: i32) {
        let stopped = self.broker(broker);
        self.shared.state.lock().set_broker_up(broker, false);
        stopped.stop();
    }

    /// Starts a stopped broker again, on the same port. Does nothing if it is up.
    ///
    /// # Errors
    /// If the broker cannot listen on its port any more or a thread cannot be started.
    ///
    /// # Panics
    /// If there is no such broker.
    #[track_caller]
    pub fn broker_up(&self, broker: i32) -> io::Result<()> {
        self.broker(broker).start(&self.shared)?;
        self.shared.state.lock().set_broker_up(broker, true);
        Ok(())
    }

    /// Returns the number of open connections to the broker.
    ///
    /// # Panics
    /// If there is no such broker.
    #[track_caller]
    pub fn connections(&self, broker: i32) -> usize {
        self.broker(broker).connections()
    }

    /// Closes the broker's connections. The broker stays up.
    ///
    /// # Panics
    /// If there is no such broker.
    #[track_caller]
    pub fn disconnect(&self, broker: i32) {
        self.broker(broker).disconnect();
    }

    /// Makes the brokers speak only these versions of an API, as older brokers do. An empty range removes the API.
    /// Clients on open connections still use the versions that ApiVersions named before. A request of a version that is
    /// not spoken any more closes its connection.
    pub fn restrict_versions(&self, api: MockApi, versions: RangeInclusive<i16>) {
        self.shared.state.lock().versions.restrict(api, versions);
    }

    /// Calls `hook` before each request of an API, until [`remove`](Self::remove) is called: the hook returns what
    /// happens to the request. If several hooks are set, the first one that returns something other than [`Fault::Pass`]
    /// decides.
    ///
    /// Hooks run on the brokers' threads, also several at the same time. They should be quick. A hook that never returns
    /// delays the end of the cluster by 10 s.
    pub fn on(
        &self,
        api: MockApi,
        hook: impl Fn(&MockRequest) -> Fault + Send + Sync + 'static,
    ) -> HookId {
        self.shared.hooks.add(api, usize::MAX, Box::new(hook))
    }

    /// Like [`on`](Self::on), but the hook is removed when it returns something other than [`Fault::Pass`].
    pub fn once(
        &self,
        api: MockApi,
        hook: impl Fn(&MockRequest) -> Fault + Send + Sync + 'static,
    ) -> HookId {
        self.shared.hooks.add(api, 1, Box::new(hook))
    }

    /// Applies `fault` to the next `times` requests of an API, at any broker.
    pub fn fail_next(&self, api: MockApi, times: usize, fault: Fault) -> HookId {
        self.shared
            .hooks
            .add(api, times, Box::new(move |_| fault.clone()))
    }

    /// Removes a hook. Does nothing if it is removed already.
    pub fn remove(&self, hook: HookId) {
        self.shared.hooks.remove(hook);
    }

    /// Removes all hooks.
    pub fn remove_all_hooks(&self) {
        self.shared.hooks.clear();
        #[cfg(feature = "mock-tls")]
        if let Some(tls) = &self.shared.tls {
            tls.clear_faults();
        }
    }

    /// Returns how many requests of an API all brokers have received since the start.
    pub fn request_count(&self, api: MockApi) -> u64 {
        self.shared.state.lock().requests.count(api)
    }

    /// Returns the latest 10,000 requests that were received, the oldest first.
    pub fn requests(&self) -> Vec<LoggedRequest> {
        self.shared.state.lock().requests.entries()
    }

    /// Waits until `condition` returns true, for at most `timeout`, and returns whether it did. Checks it again whenever
    /// a broker has received or handled a request, and whenever a connection was opened or closed.
    pub fn wait_until(&self, timeout: Duration, mut condition: impl FnMut(&Self) -> bool) -> bool {
        let deadline = deadline_after(Instant::now(), timeout);
        loop {
            let seen = self.shared.state.lock().events;
            if condition(self) {
                return true;
            }
            let mut state = self.shared.state.lock();
            while state.events == seen {
                if self
                    .shared
                    .happened
                    .wait_until(&mut state, deadline)
                    .timed_out()
                {
                    drop(state);
                    return condition(self);
                }
            }
        }
    }

    #[track_caller]
    fn change<R>(
        &self,
        topic: &str,
        partition: i32,
        change: impl FnOnce(&mut Partition) -> R,
    ) -> R {
        let mut state = self.shared.state.lock();
        let Some(partition) = state.partition_mut(topic, partition) else {
            panic!("there is no partition {topic}-{partition}")
        };
        change(partition)
    }

    #[track_caller]
    fn broker(&self, id: i32) -> &Broker {
        let broker = usize::try_from(id)
            .ok()
            .and_then(|index| self.brokers.get(index));
        broker.unwrap_or_else(|| panic!("there is no broker {id}"))
    }
}

impl Drop for MockCluster {
    fn drop(&mut self) {
        for broker in &self.brokers {
            broker.stop();
        }
    }
}

impl MockClusterBuilder {
    /// Sets the number of brokers: 1 to 1000, 1 by default. A number outside this range counts as the nearest one in it.
    pub fn brokers(mut self, brokers: usize) -> Self {
        self.brokers = brokers.clamp(1, 1000);
        self
    }

    /// Sets whether a request for the metadata of a topic creates the topic. On by default.
    pub fn auto_create_topics(mut self, auto_create_topics: bool) -> Self {
        self.options.auto_create_topics = auto_create_topics;
        self
    }

    /// Sets the number of partitions of a topic that such a request creates: at least 1, 1 by default.
    pub fn default_partitions(mut self, partitions: i32) -> Self {
        self.options.default_partitions = partitions.max(1);
        self
    }

    /// Sets the largest size of a batch that is accepted, in bytes with its header: 1,048,588 by default, as Kafka's
    /// `message.max.bytes`.
    pub fn max_message_bytes(mut self, bytes: usize) -> Self {
        self.options.max_message_bytes = bytes;
        self
    }

    /// Sets the epoch of the first producer id: at least 0, 0 by default. Later ids have epoch 0. With an epoch near
    /// [`i16::MAX`], a client soon needs another producer id.
    pub fn first_producer_epoch(mut self, epoch: i16) -> Self {
        self.options.first_producer_epoch = epoch.max(0);
        self
    }

    /// Sets whether a producer that a partition does not know must begin at sequence 0, and gets `UNKNOWN_PRODUCER_ID`
    /// otherwise, as from older brokers. Off by default: current brokers accept any first sequence.
    pub fn refuse_unknown_producers(mut self, refuse: bool) -> Self {
        self.options.refuse_unknown_producers = refuse;
        self
    }

    /// Sets whether batches are kept, so that a test can read them. On by default. If it is off, records are only counted,
    /// and memory does not grow.
    pub fn retain_records(mut self, retain_records: bool) -> Self {
        self.options.retain_records = retain_records;
        self
    }

    /// Sets whether each batch's CRC and its decompressed records are checked before it is accepted. On by default. If it
    /// is off, only the header is checked, with its sequence: fast enough for benchmarks.
    pub fn check_batches(mut self, check_batches: bool) -> Self {
        self.options.check_batches = check_batches;
        self
    }

    /// Sets the cluster's id, by which a producer distinguishes clusters. Random by default.
    pub fn cluster_id(mut self, cluster_id: impl Into<String>) -> Self {
        self.options.cluster_id = Some(cluster_id.into());
        self
    }

    /// Starts the cluster.
    ///
    /// # Errors
    /// If a listener cannot be opened or a thread cannot be started. If a certificate or key that you gave cannot be used.
    pub fn start(self) -> io::Result<MockCluster> {
        let mut brokers = Vec::with_capacity(self.brokers);
        for id in (0..).take(self.brokers) {
            brokers.push(Broker::bind(id)?);
        }
        let ports = brokers.iter().map(Broker::port).collect();
        let first_producer_epoch = self.options.first_producer_epoch;
        let shared = Arc::new(Shared {
            max_message_bytes: AtomicUsize::new(self.options.max_message_bytes),
            max_connections: AtomicUsize::new(usize::MAX),
            hooks: Hooks::default(),
            sasl: Mutex::new(self.options.sasl.clone().map(Arc::new)),
            sasl_refusals: Mutex::default(),
            #[cfg(feature = "mock-tls")]
            tls: match &self.options.tls {
                Some(tls) => Some(ClusterTls::start(tls.clone())?),
                None => None,
            },
            state: Mutex::new(State::new(
                self.options.cluster_id.clone(),
                ports,
                first_producer_epoch,
            )),
            options: self.options,
            happened: Condvar::new(),
        });
        // From here on, an early return drops the cluster, which stops the brokers that were started.
        let cluster = MockCluster { shared, brokers };
        for broker in &cluster.brokers {
            broker.start(&cluster.shared)?;
        }
        Ok(cluster)
    }
}

impl Shared {
    /// Reports an event to the threads in `wait_until`.
    pub(super) fn notify(&self) {
        self.state.lock().events += 1;
        self.happened.notify_all();
    }
}

impl std::fmt::Debug for MockCluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MockCluster")
            .field("bootstrap_servers", &self.bootstrap_servers())
            .finish_non_exhaustive()
    }
}
