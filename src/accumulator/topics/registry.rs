//! The topics by their names, under one lock.

use std::collections::{HashMap, HashSet};
use std::hash::BuildHasherDefault;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::name_hasher::NameHasher;
use crate::accumulator::memory::BrokerShare;
use crate::accumulator::partition::Partition;
use crate::accumulator::sticky_partitioner::StickyPartitioner;
use crate::metadata::BrokerId;
use crate::record::batch_limit::BatchSizes;

/// The topics by their names, and the share of each leader.
#[derive(Default)]
pub(super) struct Registry {
    pub(super) by_name: HashMap<Arc<str>, Arc<Topic>, BuildHasherDefault<NameHasher>>,
    /// The topics that the latest metadata does not have, or has with fewer partitions.
    pub(super) leftover: HashSet<Arc<str>>,
    /// The share of each leader in the memory budget.
    pub(super) shares: HashMap<BrokerId, Arc<BrokerShare>>,
    pub(super) closed: bool,
}

impl Registry {
    /// Removes the surplus partitions of a topic if none of them has a batch, and returns them. If the latest metadata has
    /// the topic, the surplus partitions are those that the metadata does not have. If the metadata does not have the
    /// topic, all partitions are surplus: if `is_idle`, they are removed together with the topic.
    pub(super) fn forget(&mut self, name: &Arc<str>, is_idle: bool) -> Vec<Arc<Partition>> {
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

    /// Frees the maps' surplus memory when only few topics are left.
    pub(super) fn shrink(&mut self) {
        if self.by_name.len() < self.by_name.capacity() / 4 {
            self.by_name.shrink_to_fit();
            self.leftover.shrink_to_fit();
        }
    }

    /// Replaces the topic's state. Threads that keep the earlier state look the topic up again.
    pub(super) fn put(&mut self, name: &Arc<str>, topic: Topic) {
        let before = self.by_name.insert(Arc::clone(name), Arc::new(topic));
        if let Some(before) = before {
            before.newest_in.store(0, Ordering::Release);
        }
    }
}

/// Retires all `partitions`, or none of them if one has a batch. Returns whether they are retired.
fn retire_all(partitions: &[Arc<Partition>]) -> bool {
    let busy = partitions.iter().position(|partition| !partition.retire());
    for partition in &partitions[..busy.unwrap_or(0)] {
        partition.reinstate();
    }
    busy.is_none()
}

/// A topic as callers see it. When its metadata changes, a new `Topic` with the same partitions replaces it. The
/// partitions stay until they are [forgotten](super::Topics::forget), because their worker keeps their sequences.
pub(crate) struct Topic {
    /// The id of the [`Topics`](super::Topics) in which this is the newest state of the topic. 0 if there is a newer state.
    pub(super) newest_in: AtomicU64,
    /// Every partition that was ever known and is not forgotten, in order.
    pub(super) all_partitions: Box<[Arc<Partition>]>,
    /// The leader of each partition that the topic has now.
    pub(crate) leaders: Box<[Option<BrokerId>]>,
    /// Whether the latest metadata has the topic.
    pub(super) is_current: bool,
    pub(crate) sticky: Arc<StickyPartitioner>,
    pub(super) sizes: Arc<BatchSizes>,
    /// Whether a caller has sent to the topic since the metadata thread last asked.
    pub(super) used: Arc<AtomicBool>,
}

impl Topic {
    /// The partitions that the topic has now, in order.
    #[inline]
    pub(crate) fn partitions(&self) -> &[Arc<Partition>] {
        &self.all_partitions[..self.leaders.len()]
    }

    pub(super) fn copy(&self) -> Topic {
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

    /// Ends the sticky turns of the partitions that have another leader than in `before`, or have none now. Call it when
    /// this topic is in the registry: a caller that chooses later then chooses by the new leaders.
    pub(super) fn end_turns_of_moved(&self, before: &Topic) {
        if self.leaders != before.leaders {
            let leader = |of: &Topic, number: i32| of.leaders.get(number as usize).copied();
            self.sticky
                .end_turns(|number| leader(self, number) != leader(before, number));
        }
    }

    /// Notes that a caller sends to the topic, so that the metadata thread continues to ask for it.
    #[inline]
    pub(crate) fn mark_used(&self) {
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
    }
}
