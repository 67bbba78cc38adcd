//! The built-in choice of partition for records without a key (KIP-794): stick to one partition until about
//! `batch.size` bytes went to it, then choose another, the likelier the shorter its queue.
//!
//! Threads that get into each other's way take *lanes*: each lane has a sticky partition of its own. Without such threads
//! there is one lane, so that batches fill. Where memory runs short there is one lane, too: the threads that are not
//! the bottleneck would only wake each other more often, for memory.

use std::cell::Cell;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, Ordering};

use super::topics::Topic;
use super::unavailable_brokers::UnavailableBrokers;
use crate::sync::Mutex;

/// More threads than these hardly append at the same time.
const MOST_LANES: usize = 16;

/// The choices for one topic. Callers read them without a lock; they change under the table's.
pub(crate) struct StickyPartitioner {
    /// By lane; -1 before the first choice.
    current: [AtomicI32; MOST_LANES],
    table: Mutex<Table>,
}

/// The lane in which a thread sends to a topic: the first, until other threads are in its way.
#[derive(Default)]
pub(crate) struct StickySlot {
    number: Cell<usize>,
    /// How often the partition was taken since the thread was last out of the short way.
    collisions: Cell<u32>,
}

/// Threads that send meet much more often before a batch is full. The worker, who looks at a partition now and then, is
/// nobody to make way for: a batch would be begun elsewhere for one record.
const FEW_COLLISIONS: u32 = 8;

impl StickySlot {
    /// Whether it was another.
    pub(crate) fn return_to_first(&self) -> bool {
        self.number.replace(0) != 0
    }

    /// The thread is out of the short way: batches begin and end here.
    pub(crate) fn forget_collisions(&self) {
        self.collisions.set(0);
    }

    /// Notes that the partition was taken. Whether that is often enough to go elsewhere.
    fn is_crowded(&self) -> bool {
        let collisions = self.collisions.get() + 1;
        self.collisions.set(collisions);
        collisions > FEW_COLLISIONS
    }
}

/// What a choice goes by.
pub(crate) struct Stickiness<'a> {
    /// Whether partitions with short queues are preferred.
    pub(crate) adaptive: bool,
    /// Brokers whose partitions are left out.
    pub(crate) unavailable: &'a UnavailableBrokers,
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
            current: [const { AtomicI32::new(-1) }; MOST_LANES],
            table: Mutex::default(),
        }
    }
}

impl StickyPartitioner {
    /// The partition that was chosen last, if any was. There need not be such a partition any more.
    #[inline]
    pub(crate) fn chosen(&self, lane: &StickySlot) -> Option<i32> {
        let current = self.current.get(lane.number.get())?.load(Ordering::Relaxed);
        (current >= 0).then_some(current)
    }

    /// The partition to send to, chosen now if none was.
    pub(crate) fn current(&self, lane: &StickySlot, topic: &Topic, how: &Stickiness<'_>) -> i32 {
        let current = self.current[lane.number.get()].load(Ordering::Relaxed);
        if current >= 0 && (current as usize) < topic.partitions().len() {
            return current;
        }
        self.switch(lane, current, topic, how)
    }

    /// Leaves `from`, unless another caller did so meanwhile, and returns the partition to send to.
    pub(crate) fn switch(
        &self,
        lane: &StickySlot,
        from: i32,
        topic: &Topic,
        how: &Stickiness<'_>,
    ) -> i32 {
        let place = &self.current[lane.number.get()];
        let mut table = self.table.lock();
        let current = place.load(Ordering::Relaxed);
        if current != from && current >= 0 && (current as usize) < topic.partitions().len() {
            return current;
        }
        let next = table.choose(topic, how);
        topic.partitions()[next as usize].begin_sticky_turn();
        place.store(next, Ordering::Relaxed);
        next
    }

    /// Ends the turns of the partitions that `must_go` names: the next record of each lane chooses among all anew.
    pub(super) fn leave(&self, must_go: impl Fn(i32) -> bool) {
        let mut table = self.table.lock();
        table.choices_left = 0;
        for place in &self.current {
            let current = place.load(Ordering::Relaxed);
            if current >= 0 && must_go(current) {
                place.store(-1, Ordering::Relaxed);
            }
        }
    }

    /// Whether it is the partition of any lane.
    pub(super) fn is_chosen(&self, partition: i32) -> bool {
        let mut places = self.current.iter();
        places.any(|place| place.load(Ordering::Relaxed) == partition)
    }

    /// Somebody is at work on partition `taken`: where that is often so, moves on to the next lane, with a partition of its own
    /// if it can be had. False if not, or if there is no other lane.
    pub(crate) fn step_aside(
        &self,
        lane: &StickySlot,
        taken: i32,
        topic: &Topic,
        how: &Stickiness<'_>,
    ) -> bool {
        let lanes = lanes(topic.partitions().len());
        if lanes == 1 || !lane.is_crowded() {
            return false;
        }
        lane.number.set((lane.number.get() + 1) % lanes);
        if self.current(lane, topic, how) == taken {
            self.switch(lane, taken, topic, how);
        }
        true
    }
}

/// No more than can append at the same time, and so few that a lane still has partitions to choose from.
fn lanes(partitions: usize) -> usize {
    static CORES: OnceLock<usize> = OnceLock::new();
    let cores = *CORES.get_or_init(|| std::thread::available_parallelism().map_or(1, usize::from));
    lanes_on(cores, partitions)
}

fn lanes_on(cores: usize, partitions: usize) -> usize {
    cores.min(partitions / 2).clamp(1, MOST_LANES)
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

    /// Weighs the partitions to choose from.
    fn fill(&mut self, topic: &Topic, how: &Stickiness<'_>) {
        self.partition_count = topic.partitions().len();
        self.choices_left = 1 + self.partition_count / 16;
        self.partitions.clear();
        self.running_sums.clear();
        let candidates = candidates(topic, how.unavailable);
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

/// The partitions whose leader takes data; if there are none, those that have a leader, or else all.
fn candidates(topic: &Topic, unavailable: &UnavailableBrokers) -> Vec<usize> {
    let all = || 0..topic.partitions().len();
    let leader = |number: usize| topic.leaders.get(number).copied().flatten();
    let mut candidates: Vec<usize> = unavailable.with(|is_unavailable| {
        let takes_data = |number: &usize| leader(*number).is_some_and(|id| !is_unavailable(id));
        all().filter(takes_data).collect()
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
    fn there_is_always_a_lane_and_never_more_than_cores_or_half_the_partitions() {
        for (cores, partitions, lanes) in [
            (8, 0, 1),
            (8, 3, 1),
            (8, 4, 2),
            (2, 100, 2),
            (1, 100, 1),
            (64, 1000, MOST_LANES),
        ] {
            assert_eq!(lanes_on(cores, partitions), lanes);
        }
    }

    #[test]
    fn a_thread_that_returns_learns_whether_it_was_in_another_lane() {
        let lane = StickySlot::default();
        assert!(!lane.return_to_first());
        lane.number.set(1);
        assert!(lane.return_to_first());
        assert!(!lane.return_to_first());
    }

    #[test]
    fn a_partition_that_is_taken_now_and_then_is_not_crowded() {
        let lane = StickySlot::default();
        for _ in 0..100 {
            assert!((0..FEW_COLLISIONS).all(|_| !lane.is_crowded()));
            lane.forget_collisions();
        }
        assert!((0..FEW_COLLISIONS).all(|_| !lane.is_crowded()) && lane.is_crowded());
    }
}
