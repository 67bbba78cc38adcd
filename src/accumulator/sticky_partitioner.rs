//! The built-in choice of partition for records without a key (KIP-794). All of these records go to one partition, the
//! *sticky partition*, for a *sticky turn* of about `batch.size` bytes. Then a random partition is chosen. With
//! adaptive partitioning, a partition with a shorter queue is more likely.
//!
//! A sticky turn ends in one of two ways:
//! - The slow path of an append calls [`switch`](StickyPartitioner::switch) when the turn is over by the rule in
//!   [`open_batch`](super::open_batch), or when the share of the partition's leader is full.
//! - [`end_turns`](StickyPartitioner::end_turns) ends the turn early if the partition loses its leader or gets another
//!   one, or if the leader accepts no data.
//!
//! Threads whose appends collide use different *sticky slots*. Each slot has a sticky partition of its own. Without
//! collisions all threads use the first slot, so that batches fill. They also use it if less than three quarters of the
//! memory is free: then the callers are faster than the network, and with more open batches they would only wake each other
//! more often.

use std::cell::Cell;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, Ordering};

use super::topics::Topic;
use super::unavailable_brokers::UnavailableBrokers;
use crate::sync::Mutex;

/// The maximum number of slots of a topic. More threads than this hardly ever append at the same time.
const MOST_SLOTS: usize = 16;

/// The sticky partitions of one topic. Callers read them without a lock. They change under the lock of the table.
pub(crate) struct StickyPartitioner {
    /// The partition of each slot; -1 if none is chosen.
    current: [AtomicI32; MOST_SLOTS],
    table: Mutex<Table>,
}

/// The sticky slot that a thread uses for a topic.
#[derive(Default)]
pub(crate) struct StickySlot {
    number: Cell<usize>,
    /// How often another thread held the partition's lock since this thread was last on the slow path.
    collisions: Cell<u32>,
}

/// The number of collisions after which a thread still keeps its slot. Threads that send at the same time collide much more
/// often while a batch fills. A worker that looks at a partition now and then causes fewer collisions, and is no reason to
/// open a batch in another partition.
const FEW_COLLISIONS: u32 = 8;

impl StickySlot {
    /// Returns to the topic's first slot. Returns whether the thread used another slot before.
    pub(crate) fn return_to_first(&self) -> bool {
        self.number.replace(0) != 0
    }

    /// Forgets the collisions. Call on the slow path, on which batches begin and end.
    pub(crate) fn reset_collisions(&self) {
        self.collisions.set(0);
    }

    /// Counts a collision. Returns whether there were enough collisions to use another slot.
    fn is_crowded(&self) -> bool {
        let collisions = self.collisions.get() + 1;
        self.collisions.set(collisions);
        collisions > FEW_COLLISIONS
    }
}

/// The preferences in the choice of a sticky partition.
pub(crate) struct Preferences<'a> {
    /// Whether partitions with short queues are preferred.
    pub(crate) is_adaptive: bool,
    /// The brokers whose partitions are chosen only if there are no others.
    pub(crate) unavailable: &'a UnavailableBrokers,
}

/// The weights of the partitions as running sums. They serve several choices, because it would cost too much to compute
/// them for many partitions at each choice.
#[derive(Default)]
struct Table {
    partitions: Vec<i32>,
    running_sums: Vec<usize>,
    /// The number of the topic's partitions when the table was computed.
    partition_count: usize,
    choices_left: usize,
}

impl Default for StickyPartitioner {
    fn default() -> Self {
        Self {
            current: [const { AtomicI32::new(-1) }; MOST_SLOTS],
            table: Mutex::default(),
        }
    }
}

impl StickyPartitioner {
    /// Returns the sticky partition of the slot. `None` if none is chosen. The topic may have fewer partitions now.
    #[inline]
    pub(crate) fn chosen(&self, slot: &StickySlot) -> Option<i32> {
        let current = self.current.get(slot.number.get())?.load(Ordering::Relaxed);
        (current >= 0).then_some(current)
    }

    /// Returns the sticky partition of the slot. Chooses one if none is chosen or the topic no longer has it.
    pub(crate) fn current(
        &self,
        slot: &StickySlot,
        topic: &Topic,
        preferences: &Preferences<'_>,
    ) -> i32 {
        let current = self.current[slot.number.get()].load(Ordering::Relaxed);
        if current >= 0 && (current as usize) < topic.partitions().len() {
            return current;
        }
        self.switch(slot, current, topic, preferences)
    }

    /// Ends the sticky turn of partition `from` and chooses the next partition, unless another caller has done so already.
    /// Returns the sticky partition of the slot.
    pub(crate) fn switch(
        &self,
        slot: &StickySlot,
        from: i32,
        topic: &Topic,
        preferences: &Preferences<'_>,
    ) -> i32 {
        let of_slot = &self.current[slot.number.get()];
        let mut table = self.table.lock();
        let current = of_slot.load(Ordering::Relaxed);
        if current != from && current >= 0 && (current as usize) < topic.partitions().len() {
            return current;
        }
        let next = table.choose(topic, preferences);
        topic.partitions()[next as usize].begin_sticky_turn();
        of_slot.store(next, Ordering::Relaxed);
        next
    }

    /// Ends the sticky turns of the partitions for which `is_over` returns true. For the next record of each of their
    /// slots, a partition is chosen again.
    pub(super) fn end_turns(&self, is_over: impl Fn(i32) -> bool) {
        let mut table = self.table.lock();
        table.choices_left = 0;
        for of_slot in &self.current {
            let current = of_slot.load(Ordering::Relaxed);
            if current >= 0 && is_over(current) {
                of_slot.store(-1, Ordering::Relaxed);
            }
        }
    }

    /// Returns whether `partition` is the sticky partition of any slot.
    pub(super) fn is_chosen(&self, partition: i32) -> bool {
        let mut slots = self.current.iter();
        slots.any(|of_slot| of_slot.load(Ordering::Relaxed) == partition)
    }

    /// Call when another thread holds the lock of partition `contended`. If that has happened often, this thread moves to
    /// the next slot, which has another sticky partition if possible. Returns whether the thread moved.
    pub(crate) fn change_slot(
        &self,
        slot: &StickySlot,
        contended: i32,
        topic: &Topic,
        preferences: &Preferences<'_>,
    ) -> bool {
        let slots = slot_count(topic.partitions().len());
        if slots == 1 || !slot.is_crowded() {
            return false;
        }
        slot.number.set((slot.number.get() + 1) % slots);
        if self.current(slot, topic, preferences) == contended {
            self.switch(slot, contended, topic, preferences);
        }
        true
    }
}

/// Returns the number of slots of a topic. There are no more than cores, because no more threads append at the same time.
/// There are no more than half of the partitions, so that each slot has partitions to choose from.
fn slot_count(partitions: usize) -> usize {
    static CORES: OnceLock<usize> = OnceLock::new();
    let cores = *CORES.get_or_init(|| std::thread::available_parallelism().map_or(1, usize::from));
    slot_count_on(cores, partitions)
}

fn slot_count_on(cores: usize, partitions: usize) -> usize {
    cores.min(partitions / 2).clamp(1, MOST_SLOTS)
}

impl Table {
    fn choose(&mut self, topic: &Topic, preferences: &Preferences<'_>) -> i32 {
        if self.choices_left == 0 || self.partition_count != topic.partitions().len() {
            self.fill(topic, preferences);
        }
        self.choices_left = self.choices_left.saturating_sub(1);
        let total = self.running_sums.last().copied().unwrap_or(0);
        if total == 0 {
            return 0;
        }
        let point = fastrand::usize(..total);
        self.partitions[self.running_sums.partition_point(|&sum| sum <= point)]
    }

    /// Computes the weights of the partitions that can be chosen.
    fn fill(&mut self, topic: &Topic, preferences: &Preferences<'_>) {
        self.partition_count = topic.partitions().len();
        self.choices_left = 1 + self.partition_count / 16;
        self.partitions.clear();
        self.running_sums.clear();
        let candidates = candidates(topic, preferences.unavailable);
        let queues: Vec<usize> = candidates
            .iter()
            .map(|&number| {
                if preferences.is_adaptive {
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

/// Returns the partitions whose leader accepts data. If there are none, returns those that have a leader. If there are none
/// of these either, returns all.
fn candidates(topic: &Topic, unavailable: &UnavailableBrokers) -> Vec<usize> {
    let all = || 0..topic.partitions().len();
    let leader = |number: usize| topic.leaders.get(number).copied().flatten();
    let mut candidates: Vec<usize> = unavailable.with(|is_unavailable| {
        let accepts_data = |number: &usize| leader(*number).is_some_and(|id| !is_unavailable(id));
        all().filter(accepts_data).collect()
    });
    if candidates.is_empty() {
        candidates = all().filter(|number| leader(*number).is_some()).collect();
    }
    if candidates.is_empty() {
        candidates = all().collect();
    }
    candidates
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_at_most_as_many_slots_as_cores_or_half_the_partitions_and_at_least_one() {
        for (cores, partitions, slots) in [
            (8, 0, 1),
            (8, 3, 1),
            (8, 4, 2),
            (2, 100, 2),
            (1, 100, 1),
            (64, 1000, MOST_SLOTS),
        ] {
            assert_eq!(slot_count_on(cores, partitions), slots);
        }
    }

    #[test]
    fn a_return_to_the_first_slot_says_whether_the_slot_was_another_one() {
        let slot = StickySlot::default();
        assert!(!slot.return_to_first());
        slot.number.set(1);
        assert!(slot.return_to_first());
        assert!(!slot.return_to_first());
    }

    #[test]
    fn a_few_collisions_do_not_change_the_slot() {
        let slot = StickySlot::default();
        for _ in 0..100 {
            assert!((0..FEW_COLLISIONS).all(|_| !slot.is_crowded()));
            slot.reset_collisions();
        }
        assert!((0..FEW_COLLISIONS).all(|_| !slot.is_crowded()) && slot.is_crowded());
    }
}
