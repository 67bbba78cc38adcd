//! The topics that callers send to, with their partitions. Callers look up a topic for every record. Topics change when
//! there is new metadata, and when an unused topic is forgotten.

mod name_hasher;
mod registry;
#[cfg(test)]
mod tests;
mod thread_topics;

pub(crate) use registry::Topic;

use std::collections::HashSet;
use std::hash::Hasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::WorkerHandle;
use super::memory::{BrokerShare, BufferMemory};
use super::partition::{NewPartition, Partition};
use super::topic_config::TopicConfig;
use crate::metadata::{BrokerId, TopicChanges, TopicMetadata};
use crate::record::batch_limit::BatchSizes;
use crate::sync::RwLock;
use crate::threads::InstanceId;

use name_hasher::NameHasher;
use registry::Registry;

/// The topics of a producer: those of which there is metadata, and those of which there was, until they are forgotten.
pub(crate) struct Topics {
    /// The producer that sends to them.
    instance: InstanceId,
    memory: Arc<BufferMemory>,
    config: Arc<TopicConfig>,
    workers: Vec<Arc<WorkerHandle>>,
    registry: RwLock<Registry>,
    /// The id of this value, unique in this process. By it a thread recognizes topics that it keeps for this producer.
    id: u64,
}

fn next_id() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    LAST.fetch_add(1, Ordering::Relaxed) + 1
}

impl Topics {
    pub(crate) fn new(
        instance: InstanceId,
        memory: Arc<BufferMemory>,
        config: TopicConfig,
        workers: Vec<Arc<WorkerHandle>>,
    ) -> Self {
        Self {
            instance,
            memory,
            config: Arc::new(config),
            workers,
            registry: RwLock::default(),
            id: next_id(),
        }
    }

    /// Calls `body` with the topic of that name, if there is one. `body` must not look up topics.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn with<R>(&self, name: &str, body: impl FnOnce(&Topic) -> R) -> Option<R> {
        self.look_up(name, |topic, _| Some(body(topic)))
    }

    /// Applies the changes of a new metadata snapshot.
    pub(crate) fn update(&self, changes: &TopicChanges) {
        let mut registry = self.registry.write();
        if registry.closed {
            return;
        }
        for name in &changes.gone {
            if let Some(topic) = registry.by_name.get(name) {
                let topic = Topic {
                    is_current: false,
                    ..topic.copy()
                };
                registry.put(name, topic);
                registry.leftover.insert(Arc::clone(name));
            }
        }
        for metadata in &changes.changed {
            let before = registry.by_name.get(&metadata.name).cloned();
            let topic = self.topic(metadata, before.as_deref());
            let known = before.as_ref().map_or(&[][..], |before| &before.leaders);
            for (number, leader) in topic.leaders.iter().enumerate() {
                // A partition without a leader stays in the share of the leader that it had.
                if let Some(leader) = leader.filter(|_| known.get(number) != Some(leader)) {
                    let shares = registry.shares.entry(leader);
                    let share = shares.or_insert_with(|| BrokerShare::of(leader));
                    topic.all_partitions[number].set_share(share);
                }
            }
            if topic.all_partitions.len() > topic.leaders.len() {
                registry.leftover.insert(Arc::clone(&metadata.name));
            } else {
                registry.leftover.remove(&metadata.name);
            }
            registry.put(&metadata.name, topic);
            if let (Some(before), Some(topic)) = (before, registry.by_name.get(&metadata.name)) {
                topic.end_turns_of_moved(&before);
            }
        }
    }

    /// On a worker: returns all partitions of the topic that were ever known and are not forgotten.
    pub(crate) fn all_partitions(&self, name: &str) -> Vec<Arc<Partition>> {
        let registry = self.registry.read();
        let topic = registry.by_name.get(name);
        topic.map_or_else(Vec::new, |topic| topic.all_partitions.to_vec())
    }

    /// Returns the share of the broker in the memory budget. `None` if the broker has led no partition yet.
    pub(super) fn share(&self, broker: BrokerId) -> Option<Arc<BrokerShare>> {
        self.registry.read().shares.get(&broker).cloned()
    }

    /// Ends the sticky turns of the partitions that the broker leads. Call when the broker accepts no data: later records
    /// without a key then go to other brokers.
    pub(super) fn end_sticky_turns_of_broker(&self, broker: BrokerId) {
        for topic in self.registry.read().by_name.values() {
            let leader = |number: i32| topic.leaders.get(number as usize).copied().flatten();
            topic
                .sticky
                .end_turns(|number| leader(number) == Some(broker));
        }
    }

    /// On a worker: ends the sticky turn of the partition. Call when the partition has no leader: later records without a
    /// key then go to other partitions.
    pub(crate) fn end_sticky_turns_of_partition(&self, partition: &Partition) {
        let number = partition.partition();
        if let Some(topic) = self.registry.read().by_name.get(partition.topic()) {
            if topic.sticky.is_chosen(number) {
                topic.sticky.end_turns(|chosen| chosen == number);
            }
        }
    }

    /// Returns the topics that the latest metadata does not have.
    pub(crate) fn absent(&self) -> Vec<Arc<str>> {
        let registry = self.registry.read();
        let is_absent = |name: &&Arc<str>| {
            let topic = registry.by_name.get(*name);
            topic.is_some_and(|topic| !topic.is_current)
        };
        registry
            .leftover
            .iter()
            .filter(is_absent)
            .cloned()
            .collect()
    }

    /// Forgets `idle` topics that the latest metadata does not have, and partitions that their topics no longer have. Keeps
    /// those that have batches. Reports the forgotten partitions to their workers under the lock, so before such a topic
    /// can be added again.
    pub(crate) fn forget(&self, idle: &HashSet<Arc<str>>) {
        let mut registry = self.registry.write();
        if registry.closed || registry.leftover.is_empty() {
            return;
        }
        let leftover: Vec<Arc<str>> = registry.leftover.iter().cloned().collect();
        for name in leftover {
            for partition in registry.forget(&name, idle.contains(&name)) {
                partition.worker().report_retired(Arc::clone(&partition));
            }
        }
        registry.shrink();
        drop(registry);
        for worker in self.workers.iter().filter(|worker| worker.has_retired()) {
            worker.wakeup().wake();
        }
    }

    /// Returns whether callers have sent to the topic since the last call.
    pub(crate) fn take_used(&self, name: &str) -> bool {
        self.registry
            .read()
            .by_name
            .get(name)
            .is_some_and(|topic| topic.used.swap(false, Ordering::Relaxed))
    }

    /// Closes all partitions. No partition is added after that.
    pub(crate) fn close(&self) {
        let topics: Vec<Arc<Topic>> = {
            let mut registry = self.registry.write();
            registry.closed = true;
            registry.by_name.values().cloned().collect()
        };
        for topic in topics {
            for partition in &topic.all_partitions {
                partition.close();
            }
        }
    }

    /// Returns a topic with this metadata. It takes over the partitions of its state `before`.
    fn topic(&self, metadata: &TopicMetadata, before: Option<&Topic>) -> Topic {
        let sizes = before.map_or_else(Default::default, |topic| Arc::clone(&topic.sizes));
        let mut all_partitions =
            before.map_or_else(Vec::new, |topic| topic.all_partitions.to_vec());
        for number in all_partitions.len()..metadata.partitions.len() {
            all_partitions.push(self.partition(&metadata.name, number, Arc::clone(&sizes)));
        }
        Topic {
            newest_in: AtomicU64::new(self.id),
            all_partitions: all_partitions.into(),
            leaders: metadata
                .partitions
                .iter()
                .map(|partition| partition.leader.map(BrokerId))
                .collect(),
            is_current: true,
            sticky: before.map_or_else(Default::default, |topic| Arc::clone(&topic.sticky)),
            sizes,
            used: before.map_or_else(
                || Arc::new(AtomicBool::new(true)),
                |topic| Arc::clone(&topic.used),
            ),
        }
    }

    /// Makes a partition and assigns it to a worker.
    fn partition(&self, topic: &Arc<str>, number: usize, sizes: Arc<BatchSizes>) -> Arc<Partition> {
        // Neighbouring partitions belong to different workers, and different topics start at different workers.
        let mut hasher = NameHasher::default();
        hasher.write(topic.as_bytes());
        let worker =
            &self.workers[(hasher.finish() as usize).wrapping_add(number) % self.workers.len()];
        Partition::new(NewPartition {
            instance: self.instance,
            topic: Arc::clone(topic),
            partition: number as i32,
            worker: Arc::clone(worker),
            id: worker.next_partition_id(),
            memory: Arc::clone(&self.memory),
            config: Arc::clone(self.config_of(topic)),
            sizes,
        })
    }

    /// Returns the settings of the topic with that name. All topics have the same settings.
    fn config_of(&self, _topic: &str) -> &Arc<TopicConfig> {
        &self.config
    }
}
