//! The built-in choice of partition for records without a key (KIP-794): stick to one partition until about
//! `batch.size` bytes went to it, then choose another, the likelier the shorter its queue.

use std::sync::atomic::{AtomicI32, Ordering};

use super::UnavailableBrokers;
use super::topics::Topic;
use crate::sync::Mutex;

/// The choice for one topic. Callers read it without a lock; it changes in [`switch`](Self::switch), under the table's.
pub(crate) struct StickyPartitioner {
    /// -1 before the first choice.
    current: AtomicI32,
    table: Mutex<Table>,
}

/// What a choice goes by.
pub(crate) struct Stickiness<'a> {
    /// Whether partitions with short queues are preferred.
    pub(crate) adaptive: bool,
    /// Brokers whose partitions are left out.
    pub(crate) unavailable: Option<&'a UnavailableBrokers>,
}

/// The weights as a table of running sums, made anew after some choices: for many partitions making it costs more than
/// a choice is worth.
#[derive(Default)]
struct Table {
    partitions: Vec<i32>,
    running_sums: Vec<usize>,
    /// The topic's partitions when the table was made.
    partition_count: usize,
    choices_left: usize,
}

impl Default for StickyPartitioner {
    fn default() -> Self {
        Self {
            current: AtomicI32::new(-1),
            table: Mutex::default(),
        }
    }
}

impl StickyPartitioner {
    /// The partition that was chosen last, if any was. There need not be such a partition any more.
    #[inline]
    pub(crate) fn chosen(&self) -> Option<i32> {
        let current = self.current.load(Ordering::Relaxed);
        (current >= 0).then_some(current)
    }

    /// The partition to send to, chosen now if none was.
    pub(crate) fn current(&self, topic: &Topic, how: &Stickiness<'_>) -> i32 {
        let current = self.current.load(Ordering::Relaxed);
        if current >= 0 && (current as usize) < topic.partitions().len() {
            return current;
        }
        self.switch(current, topic, how)
    }

    /// Leaves `from`, unless another caller did so meanwhile, and returns the partition to send to.
    pub(crate) fn switch(&self, from: i32, topic: &Topic, how: &Stickiness<'_>) -> i32 {
        let mut table = self.table.lock();
        let current = self.current.load(Ordering::Relaxed);
        if current != from && current >= 0 && (current as usize) < topic.partitions().len() {
            return current;
        }
        let next = table.choose(topic, how);
        topic.partitions()[next as usize].reset_sticky_bytes();
        self.current.store(next, Ordering::Relaxed);
        next
    }
}

impl Table {
    fn choose(&mut self, topic: &Topic, how: &Stickiness<'_>) -> i32 {
        if self.choices_left == 0 || self.partition_count != topic.partitions().len() {
            self.fill(topic, how);
        }
        self.choices_left = self.choices_left.saturating_sub(1);
        let total = self.running_sums.last().copied().unwrap_or(0);
        if total == 0 {
            return 0;
        }
        let point = fastrand::usize(..total);
        self.partitions[self.running_sums.partition_point(|&sum| sum <= point)]
    }

    /// Weighs the partitions that have a leader, or all of them if none has.
    fn fill(&mut self, topic: &Topic, how: &Stickiness<'_>) {
        self.partition_count = topic.partitions().len();
        self.choices_left = 1 + self.partition_count / 16;
        self.partitions.clear();
        self.running_sums.clear();
        let has_leader = |number: usize| topic.leaders.get(number).copied().flatten().is_some();
        let is_available = |number: usize| match (
            how.unavailable,
            topic.leaders.get(number).copied().flatten(),
        ) {
            (Some(unavailable), Some(leader)) => !unavailable.contains(leader),
            (_, leader) => leader.is_some(),
        };
        let all = || 0..topic.partitions().len();
        let mut candidates: Vec<usize> = all().filter(|&number| is_available(number)).collect();
        if candidates.is_empty() {
            candidates = all().filter(|&number| has_leader(number)).collect();
        }
        if candidates.is_empty() {
            candidates = all().collect();
        }
        let queues: Vec<usize> = candidates
            .iter()
            .map(|&number| {
                if how.adaptive {
                    topic.partitions()[number].queue_length()
                } else {
                    0
                }
            })
            .collect();
        let longest = queues.iter().copied().max().unwrap_or(0);
        let mut sum = 0;
        for (number, queue) in candidates.into_iter().zip(queues) {
            sum += longest + 1 - queue;
            self.partitions.push(number as i32);
            self.running_sums.push(sum);
        }
    }
}
