//! The cluster as tests hold it.

use std::io;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::broker::Broker;
use super::fault::{Fault, HookId, Hooks};
use super::log::{MockBatch, MockRecord};
use super::request::{LoggedRequest, MockApi, MockRequest};
use super::state::{Partition, State};
use crate::metadata::TopicId;
use crate::sync::{Condvar, Mutex};
use crate::time::deadline_after;

/// A running cluster of mock brokers, with the ids 0, 1, 2 and so on. Dropping it stops every broker, closes every
/// connection and waits for their threads.
///
/// Methods that change a topic, a partition or a broker panic where there is none of that name or number: a test that
/// changes nothing shows nothing. Methods that only look answer with `None` or with nothing.
pub struct MockCluster {
    shared: Arc<Shared>,
    brokers: Vec<Broker>,
}

/// How a [`MockCluster`] is to behave. Made by [`MockCluster::builder`].
#[derive(Clone, Debug)]
pub struct MockClusterBuilder {
    brokers: usize,
    pub(super) options: Options,
}

#[derive(Clone, Debug)]
pub(super) struct Options {
    pub(super) auto_create_topics: bool,
    pub(super) default_partitions: i32,
    /// At the start.
    pub(super) max_message_bytes: usize,
    pub(super) first_producer_epoch: i16,
    pub(super) refuse_unknown_producers: bool,
    pub(super) retain_records: bool,
    pub(super) check_batches: bool,
    /// At the start; none where it is to be made up.
    pub(super) cluster_id: Option<String>,
}

/// What brokers and connections share. No lock is held while another is taken or a hook runs.
pub(super) struct Shared {
    pub(super) options: Options,
    pub(super) hooks: Hooks,
    pub(super) max_message_bytes: AtomicUsize,
    /// How many connections each broker serves at a time.
    pub(super) max_connections: AtomicUsize,
    pub(super) state: Mutex<State>,
    /// With `state`: something has happened that `wait_until` may be waiting for.
    pub(super) happened: Condvar,
}

impl MockCluster {
    /// Starts a cluster of `brokers` brokers, at least one, with the default options.
    ///
    /// # Errors
    /// Where a listener cannot be opened or a thread not be started.
    pub fn start(brokers: usize) -> io::Result<Self> {
        Self::builder().brokers(brokers).start()
    }

    /// Options first: see [`MockClusterBuilder`].
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
        };
        MockClusterBuilder {
            brokers: 1,
            options,
        }
    }

    /// The addresses of all brokers, up or down, as `bootstrap.servers` takes them.
    pub fn bootstrap_servers(&self) -> String {
        let addresses = self
            .brokers
            .iter()
            .map(|broker| format!("127.0.0.1:{}", broker.port()));
        addresses.collect::<Vec<_>>().join(",")
    }

    /// The cluster's id, as metadata tells it.
    pub fn cluster_id(&self) -> String {
        self.shared.state.lock().cluster_id.clone()
    }

    /// Puts another cluster in this one's place, at the same addresses: it has another id, no topics, and gives out
    /// producer ids from the start again. Brokers that were down are up. Connections are
    /// closed; requests in progress finish first. Hooks, restrictions of versions and the list of requests stay.
    ///
    /// # Errors
    /// Where a port cannot be listened on any more or a thread not be started.
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

    /// Creates a topic, its partitions led by the brokers in turn.
    ///
    /// # Panics
    /// If the topic exists, the name is none that Kafka allows, or `partitions` is below 1.
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

    /// Deletes a topic with its records. One created later under the same name has another id.
    ///
    /// # Panics
    /// If there is no such topic.
    #[track_caller]
    pub fn delete_topic(&self, name: &str) {
        let deleted = self.shared.state.lock().delete_topic(name);
        assert!(deleted, "there is no topic {name}");
    }

    /// Gives a topic `count` more partitions.
    ///
    /// # Panics
    /// If there is no such topic.
    #[track_caller]
    pub fn add_partitions(&self, topic: &str, count: i32) {
        let added = self.shared.state.lock().add_partitions(topic, count);
        assert!(added, "there is no topic {topic}");
    }

    /// Makes `leader` lead a partition, or nobody, and raises the partition's leader epoch.
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

    /// Makes metadata name this leader with this leader epoch, as brokers do that have not heard of a change yet; with
    /// none, the truth again. What brokers do with batches does not change.
    ///
    /// # Panics
    /// If there is no such topic or partition.
    #[track_caller]
    pub fn pretend_leader(&self, topic: &str, partition: i32, leader: Option<(i32, i32)>) {
        self.change(topic, partition, |partition| {
            partition.pretended_leader = leader
        });
    }

    /// Deletes a partition's records before `offset`, as retention does: the log begins there. Batches go as a whole, so
    /// records of one that reaches beyond `offset` stay. Where unknown producers are refused, the partition forgets
    /// those of which it has no record left.
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

    /// Makes a partition forget what it knows of producers' sequences, as when it has not heard of them for long
    /// (`producer.id.expiration.ms`).
    ///
    /// # Panics
    /// If there is no such topic or partition.
    #[track_caller]
    pub fn forget_producers(&self, topic: &str, partition: i32) {
        self.change(topic, partition, |partition| {
            partition.log.forget_producers()
        });
    }

    /// Changes the largest size of a batch, as [`MockClusterBuilder::max_message_bytes`] sets it.
    pub fn set_max_message_bytes(&self, bytes: usize) {
        self.shared
            .max_message_bytes
            .store(bytes, Ordering::Relaxed);
    }

    /// Limits each broker to `most` connections: it closes any further one at once, as Kafka does with
    /// `max.connections.per.ip`. Open connections stay. `None`: no limit.
    pub fn limit_connections(&self, most: Option<usize>) {
        self.shared
            .max_connections
            .store(most.unwrap_or(usize::MAX), Ordering::Relaxed);
    }

    /// The id of the broker that leads a partition.
    pub fn leader(&self, topic: &str, partition: i32) -> Option<i32> {
        self.shared.state.lock().partition(topic, partition)?.leader
    }

    /// How often the partition's leadership has moved.
    pub fn leader_epoch(&self, topic: &str, partition: i32) -> Option<i32> {
        Some(
            self.shared
                .state
                .lock()
                .partition(topic, partition)?
                .leader_epoch,
        )
    }

    /// The topic's id.
    pub fn topic_id(&self, topic: &str) -> Option<TopicId> {
        Some(TopicId(self.shared.state.lock().topic(topic)?.id))
    }

    /// Gives the topic another id, as that of the same topic in another cluster: its copy, taken from a backup.
    ///
    /// # Panics
    /// If there is no such topic.
    #[track_caller]
    pub fn set_topic_id(&self, topic: &str, id: TopicId) {
        let changed = self.shared.state.lock().set_topic_id(topic, id.0);
        assert!(changed, "there is no topic {topic}");
    }

    /// How many partitions the topic has.
    pub fn partitions(&self, topic: &str) -> Option<i32> {
        let state = self.shared.state.lock();
        i32::try_from(state.topic(topic)?.partitions.len()).ok()
    }

    /// The offset that the partition's next record will have: how many records it has been given.
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

    /// The records of a partition in order; none where there is no such partition, or where records are not retained.
    /// Batches that cannot be read, which are stored only if checks are off, are left out.
    pub fn records(&self, topic: &str, partition: i32) -> Vec<MockRecord> {
        self.batches(topic, partition)
            .iter()
            .flat_map(MockBatch::records)
            .collect()
    }

    /// The batches of a partition in order; none where there is no such partition, or where records are not retained.
    pub fn batches(&self, topic: &str, partition: i32) -> Vec<MockBatch> {
        let state = self.shared.state.lock();
        state
            .partition(topic, partition)
            .map(|partition| partition.log.batches())
            .unwrap_or_default()
    }

    /// Whether records of the topic get the broker's time (`message.timestamp.type=LogAppendTime`) instead of keeping
    /// the producer's. Off for a new topic.
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

    /// Stops a broker: its connections are closed, its port refuses new ones, metadata no longer names it and its
    /// partitions have no leader. Its records stay. Waits until its threads have ended; nothing happens if it is down.
    ///
    /// # Panics
    /// If there is no such broker.
    #[track_caller]
    pub fn broker_down(&self, broker: i32) {
        let stopped = self.broker(broker);
        self.shared.state.lock().set_broker_up(broker, false);
        stopped.stop();
    }

    /// Starts a stopped broker again, on the same port. Nothing happens if it is up.
    ///
    /// # Errors
    /// Where the port cannot be listened on any more or the thread not be started.
    ///
    /// # Panics
    /// If there is no such broker.
    #[track_caller]
    pub fn broker_up(&self, broker: i32) -> io::Result<()> {
        self.broker(broker).start(&self.shared)?;
        self.shared.state.lock().set_broker_up(broker, true);
        Ok(())
    }

    /// How many connections to the broker are open.
    ///
    /// # Panics
    /// If there is no such broker.
    #[track_caller]
    pub fn connections(&self, broker: i32) -> usize {
        self.broker(broker).connections()
    }

    /// Closes the broker's connections. It stays up.
    ///
    /// # Panics
    /// If there is no such broker.
    #[track_caller]
    pub fn disconnect(&self, broker: i32) {
        self.broker(broker).disconnect();
    }

    /// Makes the brokers speak only these versions of an API, as older brokers do. An empty range takes the API away.
    /// Connections that are open go on with what ApiVersions told them before, and are closed at the first request of a
    /// version that is gone.
    pub fn restrict_versions(&self, api: MockApi, versions: RangeInclusive<i16>) {
        self.shared.state.lock().versions.restrict(api, versions);
    }

    /// Asks `hook` before each request of an API what is to happen with it, until [`remove`](Self::remove) is called.
    /// Where several hooks are set, the first that says something other than [`Fault::Pass`] decides.
    ///
    /// Hooks run on the broker's threads, several at a time: they are to be quick, and a hook that never returns keeps
    /// the cluster from stopping.
    pub fn on(
        &self,
        api: MockApi,
        hook: impl Fn(&MockRequest) -> Fault + Send + Sync + 'static,
    ) -> HookId {
        self.shared.hooks.add(api, usize::MAX, Box::new(hook))
    }

    /// As [`on`](Self::on), but the hook is gone once it has said something other than [`Fault::Pass`].
    pub fn once(
        &self,
        api: MockApi,
        hook: impl Fn(&MockRequest) -> Fault + Send + Sync + 'static,
    ) -> HookId {
        self.shared.hooks.add(api, 1, Box::new(hook))
    }

    /// The next `times` requests of an API, at any broker, meet `fault`.
    pub fn fail_next(&self, api: MockApi, times: usize, fault: Fault) -> HookId {
        self.shared
            .hooks
            .add(api, times, Box::new(move |_| fault.clone()))
    }

    /// Removes a hook; nothing happens if it has gone by itself.
    pub fn remove(&self, hook: HookId) {
        self.shared.hooks.remove(hook);
    }

    /// Removes all hooks.
    pub fn remove_all_hooks(&self) {
        self.shared.hooks.clear();
    }

    /// How many requests of an API all brokers have received since the start.
    pub fn request_count(&self, api: MockApi) -> u64 {
        self.shared.state.lock().requests.count(api)
    }

    /// The requests received, the oldest first: the latest 10,000 of them.
    pub fn requests(&self) -> Vec<LoggedRequest> {
        self.shared.state.lock().requests.entries()
    }

    /// Waits until `condition` holds, for at most `timeout`, and tells whether it does. It is asked again whenever a
    /// broker has received or handled a request or a connection has come or gone.
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
    /// How many brokers: 1 to 1000, 1 by default. A number outside is taken as the nearest inside.
    pub fn brokers(mut self, brokers: usize) -> Self {
        self.brokers = brokers.clamp(1, 1000);
        self
    }

    /// Whether asking for the metadata of a topic creates it. On by default.
    pub fn auto_create_topics(mut self, auto_create_topics: bool) -> Self {
        self.options.auto_create_topics = auto_create_topics;
        self
    }

    /// How many partitions a topic has that is created by being asked for: 1 by default, at least 1.
    pub fn default_partitions(mut self, partitions: i32) -> Self {
        self.options.default_partitions = partitions.max(1);
        self
    }

    /// The largest batch that is accepted, in bytes with its header: 1,048,588 by default, as Kafka's
    /// `message.max.bytes`.
    pub fn max_message_bytes(mut self, bytes: usize) -> Self {
        self.options.max_message_bytes = bytes;
        self
    }

    /// The epoch of the first producer id that is given out, 0 by default and at least 0; those after it begin at 0. Near
    /// [`i16::MAX`] a client soon has to do without a higher one.
    pub fn first_producer_epoch(mut self, epoch: i16) -> Self {
        self.options.first_producer_epoch = epoch.max(0);
        self
    }

    /// Whether a producer that a partition knows nothing of must begin at sequence 0, and gets `UNKNOWN_PRODUCER_ID`
    /// otherwise, as from older brokers. Off by default: brokers of today take any sequence from it.
    pub fn refuse_unknown_producers(mut self, refuse: bool) -> Self {
        self.options.refuse_unknown_producers = refuse;
        self
    }

    /// Whether batches are kept to be read back. On by default; off, they are only counted, and memory stays small
    /// whatever is sent.
    pub fn retain_records(mut self, retain_records: bool) -> Self {
        self.options.retain_records = retain_records;
        self
    }

    /// Whether each batch's CRC is computed and its records are decompressed and looked at before it is accepted. On by
    /// default. Off, only the header is looked at, sequences included, which costs next to nothing: for benchmarks.
    pub fn check_batches(mut self, check_batches: bool) -> Self {
        self.options.check_batches = check_batches;
        self
    }

    /// The cluster's id. Without this each cluster has one of its own: by it a producer tells clusters apart.
    pub fn cluster_id(mut self, cluster_id: impl Into<String>) -> Self {
        self.options.cluster_id = Some(cluster_id.into());
        self
    }

    /// Starts the cluster.
    ///
    /// # Errors
    /// Where a listener cannot be opened or a thread not be started.
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
            state: Mutex::new(State::new(
                self.options.cluster_id.clone(),
                ports,
                first_producer_epoch,
            )),
            options: self.options,
            happened: Condvar::new(),
        });
        // From here on an early return drops the cluster, which stops the brokers that have started.
        let cluster = MockCluster { shared, brokers };
        for broker in &cluster.brokers {
            broker.start(&cluster.shared)?;
        }
        Ok(cluster)
    }
}

impl Shared {
    /// Tells those who wait that there is something new to look at.
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
