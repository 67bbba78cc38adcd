//! The topics that callers send to, with their partitions: looked up for every record, changed only by new metadata.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::WorkerHandle;
use super::memory::{BrokerShare, BufferMemory};
use super::partition::{NewPartition, Partition};
use super::sticky_partitioner::{StickyPartitioner, StickySlot};
use super::topic_config::TopicConfig;
use crate::metadata::{TopicChanges, TopicMetadata};
use crate::record::batch_limit::BatchSizes;
use crate::sync::RwLock;
use crate::threads::InstanceId;

/// All topics of which there is metadata.
pub(crate) struct Topics {
    /// The producer that sends to them.
    instance: InstanceId,
    memory: Arc<BufferMemory>,
    config: Arc<TopicConfig>,
    workers: Vec<Arc<WorkerHandle>>,
    registry: RwLock<Registry>,
    /// That of no other producer's.
    id: u64,
}

/// A topic that a thread sent to: most threads send to the same few again and again, and find them here without the
/// registry's lock, which all of them would write to. A thread that sends no more keeps topics of a closed producer: their
/// partitions, that is, but neither batches nor the workers' channels.
struct Latest {
    name: Arc<str>,
    topic: Arc<Topic>,
    slot: StickySlot,
}

/// Places for topics, each for the names that fall on it.
const LATEST_PLACES: usize = 8;

thread_local! {
    static LATEST: [RefCell<Option<Latest>>; LATEST_PLACES] =
        const { [const { RefCell::new(None) }; LATEST_PLACES] };
}

/// Never the same twice in a process.
fn next_id() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    LAST.fetch_add(1, Ordering::Relaxed) + 1
}

#[derive(Default)]
struct Registry {
    by_name: HashMap<Arc<str>, Arc<Topic>, BuildHasherDefault<NameHasher>>,
    /// Topics that the latest metadata does not have, or not with so many partitions.
    leftover: HashSet<Arc<str>>,
    /// What each leader's partitions may hold of the memory.
    shares: HashMap<i32, Arc<BrokerShare>>,
    closed: bool,
}

impl Registry {
    /// Takes out the topic, if the metadata does not have it and it `is_idle`, or the partitions that the metadata does not
    /// have: all of them, or none while there are batches of one. Returns what was taken out.
    fn forget(&mut self, name: &Arc<str>, is_idle: bool) -> Vec<Arc<Partition>> {
        let Some(topic) = self.by_name.get(name).cloned() else {
            self.leftover.remove(name);
            return Vec::new();
        };
        let (kept, surplus) = match topic.is_current {
            true => topic.all_partitions.split_at(topic.leaders.len()),
            false => topic.all_partitions.split_at(0),
        };
        if !(topic.is_current || is_idle) || !retire_all(surplus) {
            return Vec::new();
        }
        self.leftover.remove(name);
        if topic.is_current {
            let topic = Topic {
                all_partitions: kept.into(),
                ..topic.copy()
            };
            self.put(name, topic);
        } else {
            self.by_name.remove(name);
        }
        surplus.to_vec()
    }

    /// What many topics took is given back when few are left.
    fn shrink(&mut self) {
        if self.by_name.len() < self.by_name.capacity() / 4 {
            self.by_name.shrink_to_fit();
            self.leftover.shrink_to_fit();
        }
    }

    /// Threads that keep the topic as it was look it up anew.
    fn put(&mut self, name: &Arc<str>, topic: Topic) {
        let before = self.by_name.insert(Arc::clone(name), Arc::new(topic));
        if let Some(before) = before {
            before.newest_in.store(0, Ordering::Release);
        }
    }
}

/// All of them, or none.
fn retire_all(partitions: &[Arc<Partition>]) -> bool {
    let busy = partitions.iter().position(|partition| !partition.retire());
    for partition in &partitions[..busy.unwrap_or(0)] {
        partition.reinstate();
    }
    busy.is_none()
}

/// A topic as callers see it. New metadata makes a new `Topic` with the same partitions: these stay until they are
/// [forgotten](Topics::forget), because the sequences that their worker keeps must go on meanwhile.
pub(crate) struct Topic {
    /// The [`Topics`] of which this is the newest picture of the topic, by its id; 0 when there is a newer one.
    newest_in: AtomicU64,
    /// Every partition that was ever known, in order.
    all_partitions: Box<[Arc<Partition>]>,
    /// The broker that leads each partition that there is now.
    pub(crate) leaders: Box<[Option<i32>]>,
    /// Whether the latest metadata has the topic.
    is_current: bool,
    pub(crate) sticky: Arc<StickyPartitioner>,
    sizes: Arc<BatchSizes>,
    used: Arc<AtomicBool>,
}

impl Topic {
    /// The partitions that there are now, in order.
    #[inline]
    pub(crate) fn partitions(&self) -> &[Arc<Partition>] {
        &self.all_partitions[..self.leaders.len()]
    }

    fn copy(&self) -> Topic {
        Topic {
            newest_in: AtomicU64::new(self.newest_in.load(Ordering::Relaxed)),
            all_partitions: self.all_partitions.clone(),
            leaders: self.leaders.clone(),
            is_current: self.is_current,
            sticky: Arc::clone(&self.sticky),
            sizes: Arc::clone(&self.sizes),
            used: Arc::clone(&self.used),
        }
    }

    /// Records without a key choose anew where the partition that they go to is led by another broker than `before`, or by
    /// none. After threads are told of the new picture: whoever chooses from then on does so by the new leaders.
    fn leave_moved(&self, before: &Topic) {
        if self.leaders != before.leaders {
            let leader = |of: &Topic, number: i32| of.leaders.get(number as usize).copied();
            self.sticky
                .end_turns(|number| leader(self, number) != leader(before, number));
        }
    }

    /// Notes that somebody sends to the topic, which keeps it in the metadata.
    #[inline]
    pub(crate) fn mark_used(&self) {
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
    }
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

    /// Calls `body` with the topic of that name, if there is one. `body` must not ask for topics itself.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn with<R>(&self, name: &str, body: impl FnOnce(&Topic) -> R) -> Option<R> {
        self.look_up(name, |topic, _| Some(body(topic)))
    }

    /// Calls `body` with the topic of that name, if there is one, and the lane in which this thread sends to it. `body` must
    /// not ask for topics itself.
    #[inline]
    pub(crate) fn look_up<R>(
        &self,
        name: &str,
        body: impl FnOnce(&Topic, &StickySlot) -> Option<R>,
    ) -> Option<R> {
        if LATEST.try_with(|_| ()).is_err() {
            // This thread is at its end and has no places any more.
            let found = self.find(name)?;
            return body(&found.topic, &found.slot);
        }
        LATEST.with(|places| {
            let place = &places[self.place_for(name)];
            self.bring_up_to_date(place, name)?;
            let latest = place.borrow();
            let Latest { topic, slot, .. } = latest.as_ref()?;
            body(topic, slot)
        })
    }

    /// The place for `name`: most often names differ in their length or at the end, and several producers of one thread
    /// send to topics of the same name.
    #[inline]
    fn place_for(&self, name: &str) -> usize {
        let last = name.as_bytes().last().copied().unwrap_or(0);
        let mixed = name
            .len()
            .wrapping_add(last.into())
            .wrapping_add(self.id as usize);
        mixed % LATEST_PLACES
    }

    /// Sees to it that the topic is in its place. None if there is no such topic.
    #[inline]
    fn bring_up_to_date(&self, place: &RefCell<Option<Latest>>, name: &str) -> Option<()> {
        let is_it = |latest: &Latest| {
            latest.topic.newest_in.load(Ordering::Acquire) == self.id && *latest.name == *name
        };
        if !place.borrow().as_ref().is_some_and(is_it) {
            let found = self.find(name)?;
            // Dropped when nothing is borrowed.
            let _before = place.replace(Some(found));
        }
        Some(())
    }

    fn find(&self, name: &str) -> Option<Latest> {
        let registry = self.registry.read();
        let (name, topic) = registry.by_name.get_key_value(name)?;
        topic.is_current.then(|| Latest {
            name: Arc::clone(name),
            topic: Arc::clone(topic),
            slot: StickySlot::default(),
        })
    }

    /// Brings topics and partitions in line with a new picture of the cluster: only those that are different in it.
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
                // A partition that has lost its leader stays with the share in which its records are.
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
                topic.leave_moved(&before);
            }
        }
    }

    /// On a worker: all partitions of the topic that were ever known.
    pub(crate) fn all_partitions(&self, name: &str) -> Vec<Arc<Partition>> {
        let registry = self.registry.read();
        let topic = registry.by_name.get(name);
        topic.map_or_else(Vec::new, |topic| topic.all_partitions.to_vec())
    }

    /// The broker takes no data: records without a key go elsewhere from the next one on.
    pub(super) fn leave_broker(&self, broker: i32) {
        for topic in self.registry.read().by_name.values() {
            let leader = |number: i32| topic.leaders.get(number as usize).copied().flatten();
            topic.sticky.end_turns(|number| leader(number) == Some(broker));
        }
    }

    /// On a worker: nothing can be sent to the partition, for it has no leader. Records without a key go elsewhere from the
    /// next one on.
    pub(crate) fn leave_partition(&self, partition: &Partition) {
        let number = partition.partition();
        if let Some(topic) = self.registry.read().by_name.get(partition.topic()) {
            if topic.sticky.is_chosen(number) {
                topic.sticky.end_turns(|chosen| chosen == number);
            }
        }
    }

    /// The topics that the latest metadata does not have.
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

    /// Forgets those of the `idle` topics that the latest metadata does not have, and of the others the partitions that it
    /// does not have, where no batch is under way. The workers are told before such a topic can be there again.
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

    /// Whether the topic was sent to since this was last asked.
    pub(crate) fn take_used(&self, name: &str) -> bool {
        self.registry
            .read()
            .by_name
            .get(name)
            .is_some_and(|topic| topic.used.swap(false, Ordering::Relaxed))
    }

    /// Closes all partitions, and no others will come.
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
                .map(|partition| partition.leader)
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

    fn partition(&self, topic: &Arc<str>, number: usize, sizes: Arc<BatchSizes>) -> Arc<Partition> {
        // Neighbouring partitions go to different workers, and different topics start at different ones.
        let mut hasher = NameHasher::default();
        hasher.write(topic.as_bytes());
        let worker =
            &self.workers[(hasher.finish() as usize).wrapping_add(number) % self.workers.len()];
        Partition::new(NewPartition {
            instance: self.instance,
            topic: Arc::clone(topic),
            partition: number as i32,
            worker: Arc::clone(worker),
            slot: worker.next_slot(),
            memory: Arc::clone(&self.memory),
            config: Arc::clone(self.config_of(topic)),
            sizes,
        })
    }

    /// The settings of the topic with that name: today all topics have the same.
    fn config_of(&self, _topic: &str) -> &Arc<TopicConfig> {
        &self.config
    }
}

/// A quick hash of short names: eight bytes a step, multiply and rotate. The names are the program's own, so nobody
/// gains by choosing them to collide.
#[derive(Default)]
pub(crate) struct NameHasher(u64);

impl Hasher for NameHasher {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.add(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, byte: u8) {
        self.add(u64::from(byte));
    }

    fn finish(&self) -> u64 {
        // hashbrown takes its tag from the upper bits and its bucket from the lower ones.
        self.0 ^ (self.0 >> 32)
    }
}

impl NameHasher {
    fn add(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::accumulator::handover::handover;
    use crate::metadata::PartitionMetadata;
    use crate::record::compression::{Compression, CompressionType};
    use crate::sync::Wakeup;
    use crate::time::monotonic_now;

    fn topics() -> Topics {
        let (records, _) = handover();
        let worker = WorkerHandle::new(records, Arc::new(Wakeup::new(monotonic_now())));
        let config = TopicConfig {
            acks: -1,
            linger: Duration::ZERO,
            batch_size: 1000,
            max_batch_bytes: 1000,
            compression: Compression::with_default_level(CompressionType::None),
            delivery_timeout: Duration::from_secs(120),
        };
        Topics::new(
            InstanceId::new(),
            BufferMemory::new(1 << 20),
            config,
            vec![worker],
        )
    }

    fn picture(name: &str, partitions: i32) -> Arc<TopicMetadata> {
        let partition = |partition| PartitionMetadata {
            partition,
            leader: Some(1),
            leader_epoch: None,
            replicas: Vec::new(),
            in_sync_replicas: Vec::new(),
            offline_replicas: Vec::new(),
        };
        Arc::new(TopicMetadata {
            name: name.into(),
            id: None,
            is_internal: false,
            partitions: (0..partitions).map(partition).collect(),
        })
    }

    fn changed(topics: &[(&str, i32)]) -> TopicChanges {
        let pictures = topics.iter().map(|(name, count)| picture(name, *count));
        TopicChanges {
            changed: pictures.collect(),
            gone: Vec::new(),
        }
    }

    fn gone(name: &str) -> TopicChanges {
        TopicChanges {
            changed: Vec::new(),
            gone: vec![name.into()],
        }
    }

    /// The topic as this thread has it, by its place in memory, and how many partitions it has.
    fn found(topics: &Topics, name: &str) -> Option<(usize, usize)> {
        topics.with(name, |topic| {
            (std::ptr::from_ref(topic) as usize, topic.partitions().len())
        })
    }

    #[test]
    fn a_thread_keeps_a_topic_until_something_changes_about_it() {
        let topics = topics();
        topics.update(&changed(&[("a", 1), ("b", 1)]));
        let (a, b) = (found(&topics, "a"), found(&topics, "b"));
        topics.update(&changed(&[("b", 3), ("c", 1)]));
        assert_eq!(found(&topics, "a"), a);
        assert_ne!(found(&topics, "b"), b);
        assert_eq!(found(&topics, "b").unwrap().1, 3);
        topics.update(&gone("a"));
        assert_eq!(found(&topics, "a"), None);
        topics.update(&changed(&[("a", 2)]));
        assert_eq!(found(&topics, "a").unwrap().1, 2);
    }

    fn partitions(topics: &Topics, name: &str) -> Vec<Arc<Partition>> {
        topics.all_partitions(name)
    }

    fn forget(topics: &Topics, idle: &[&str]) -> usize {
        let idle = idle.iter().map(|name| Arc::from(*name));
        topics.forget(&idle.collect());
        let retired = topics.workers[0].take_retired();
        assert!(retired.iter().all(|partition| partition.is_retired()));
        retired.len()
    }

    #[test]
    fn an_idle_topic_without_metadata_is_forgotten_and_begins_anew() {
        let topics = topics();
        topics.update(&changed(&[("a", 2), ("b", 1)]));
        let before = partitions(&topics, "a");
        assert_eq!(forget(&topics, &["a", "b"]), 0, "there is metadata of both");
        topics.update(&gone("a"));
        topics.update(&gone("b"));
        assert_eq!(topics.absent().len(), 2);
        assert_eq!(forget(&topics, &["a"]), 2);
        assert_eq!(topics.absent(), ["b".into()] as [Arc<str>; 1]);
        assert!(partitions(&topics, "a").is_empty());
        topics.update(&changed(&[("a", 2), ("b", 1)]));
        let after = partitions(&topics, "a");
        assert!(!after.is_empty() && !after.iter().any(|partition| partition.is_retired()));
        let numbers = |partitions: &[Arc<Partition>]| partitions.iter().map(|p| p.slot()).max();
        assert!(
            numbers(&before) < numbers(&after),
            "no number is used again"
        );
    }

    #[test]
    fn a_topic_with_a_batch_anywhere_is_not_forgotten() {
        let topics = topics();
        topics.update(&changed(&[("a", 2)]));
        let all = partitions(&topics, "a");
        all[1].batch_begins();
        topics.update(&gone("a"));
        assert_eq!(forget(&topics, &["a"]), 0);
        assert!(
            !all.iter().any(|partition| partition.is_retired()),
            "all or none"
        );
        all[1].batch_ends();
        assert_eq!(forget(&topics, &["a"]), 2);
    }

    #[test]
    fn partitions_that_a_topic_has_no_more_are_forgotten_while_it_is_used() {
        let topics = topics();
        topics.update(&changed(&[("a", 4)]));
        topics.update(&changed(&[("a", 1)]));
        assert_eq!(partitions(&topics, "a").len(), 4);
        assert_eq!(forget(&topics, &[]), 3);
        assert_eq!(partitions(&topics, "a").len(), 1);
        assert_eq!(found(&topics, "a").unwrap().1, 1);
        topics.update(&changed(&[("a", 2)]));
        assert_eq!(found(&topics, "a").unwrap().1, 2);
    }

    #[test]
    fn after_a_close_nothing_is_forgotten() {
        let topics = topics();
        topics.update(&changed(&[("a", 1)]));
        topics.update(&gone("a"));
        topics.close();
        assert_eq!(forget(&topics, &["a"]), 0);
    }

    #[test]
    fn producers_of_one_thread_do_not_take_each_others_topics() {
        let (one, other) = (topics(), topics());
        one.update(&changed(&[("a", 1)]));
        other.update(&changed(&[("a", 2)]));
        for _ in 0..3 {
            assert_eq!(found(&one, "a").unwrap().1, 1);
            assert_eq!(found(&other, "a").unwrap().1, 2);
        }
    }
}
