//! When a worker reschedules its partitions, and which partitions wait for a leader.
//!
//! `Sender::next` decides what a partition waits for. The schedule holds partitions that wait for a time or for a leader.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::time::{Duration, Instant};

use crate::accumulator::partition::PartitionId;
use crate::metadata::{BrokerId, PartitionLeader};

/// What a partition's next batch waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing: the partition has no batch.
    Nothing,
    /// This time, at which its linger or its backoff ends.
    WaitUntil(Instant),
    /// A leader whose address is known.
    WaitForLeader,
    /// The answer to a batch in flight, because order or identity allow no other batch before that.
    WaitForAnswer,
    /// A producer id.
    WaitForIdentity,
    /// Only the leader's link: the partition belongs in the ready queue of this leader.
    Ready(PartitionLeader),
}

/// The most by which a linger or a backoff may end early, to be sent with batches that are due. This makes wake-ups rarer
/// and requests larger.
const MOST_SLACK: Duration = Duration::from_millis(1);

/// The partitions that wait for a time or for a leader.
#[derive(Default)]
pub(super) struct Schedule {
    /// When to reschedule a partition because a linger, a backoff or a wait for a leader ends. An entry counts only if its
    /// time is the partition's [`QueueEntries::timer`].
    timers: BinaryHeap<Reverse<(Instant, PartitionId)>>,
    /// When to reschedule a partition because its oldest batch may expire. Each partition has at most one entry.
    expiries: BinaryHeap<Reverse<(Instant, PartitionId)>>,
    /// The partitions that wait for a leader. Each new metadata snapshot may name their leaders.
    without_leader: BTreeSet<PartitionId>,
    /// How early a linger or a backoff may end.
    slack: Duration,
}

/// A partition's entries in a ready queue and in the [`Schedule`]. At most one entry counts in each.
#[derive(Default)]
pub(super) struct QueueEntries {
    /// The broker in whose ready queue the partition is. Its batches may have expired since it was queued.
    pub(super) queued_at: Option<BrokerId>,
    /// The time of the partition's entry in [`Schedule::timers`].
    timer: Option<Instant>,
    /// Whether the partition has an entry in [`Schedule::expiries`].
    has_expiry: bool,
}

impl QueueEntries {
    /// Returns whether the partition will be rescheduled when its oldest batch may expire. That is early enough for all its
    /// batches, because later ones expire later.
    pub(super) fn has_expiry(&self) -> bool {
        self.has_expiry
    }
}

impl Schedule {
    /// Creates an empty schedule. `linger` is `linger.ms`.
    pub(super) fn new(linger: Duration) -> Self {
        Self {
            slack: (linger / 8).min(MOST_SLACK),
            ..Self::default()
        }
    }

    /// Returns the latest end of a linger or backoff that counts as over `now`.
    pub(super) fn horizon(&self, now: Instant) -> Instant {
        now + self.slack
    }

    /// Makes the partition due at `at`. Does nothing if its timer is earlier already.
    pub(super) fn set_timer(&mut self, id: PartitionId, entries: &mut QueueEntries, at: Instant) {
        if entries.timer.is_none_or(|earlier| at < earlier) {
            entries.timer = Some(at);
            self.timers.push(Reverse((at, id)));
        }
    }

    /// Makes the partition due at `at`, when its oldest batch may expire. Does nothing if it has such an entry already.
    pub(super) fn expire_at(&mut self, id: PartitionId, entries: &mut QueueEntries, at: Instant) {
        if !std::mem::replace(&mut entries.has_expiry, true) {
            self.expiries.push(Reverse((at, id)));
        }
    }

    /// Removes the entries that are due and returns their partitions.
    pub(super) fn take_due(
        &mut self,
        partitions: &mut BTreeMap<PartitionId, impl AsMut<QueueEntries>>,
        now: Instant,
    ) -> Vec<PartitionId> {
        let horizon = self.horizon(now);
        let mut due = Vec::new();
        while let Some((at, id)) = pop_until(&mut self.timers, horizon) {
            let entries = partitions.get_mut(&id).map(AsMut::as_mut);
            if let Some(entries) = entries.filter(|entries| entries.timer == Some(at)) {
                entries.timer = None;
                due.push(id);
            }
        }
        while let Some((_, id)) = pop_until(&mut self.expiries, now) {
            if let Some(entries) = partitions.get_mut(&id).map(AsMut::as_mut) {
                entries.has_expiry = false;
                due.push(id);
            }
        }
        due
    }

    /// Returns when the next entry is due.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let earliest = [self.timers.peek(), self.expiries.peek()];
        let earliest = earliest.into_iter().flatten();
        earliest.map(|Reverse((at, _))| *at).min()
    }

    /// Notes that the partition waits for a leader, which the next metadata snapshot may name.
    pub(super) fn wait_for_leader(&mut self, id: PartitionId) {
        self.without_leader.insert(id);
    }

    /// Removes and returns the partitions that wait for a leader. The caller reschedules them with a new snapshot.
    pub(super) fn take_without_leader(&mut self) -> BTreeSet<PartitionId> {
        std::mem::take(&mut self.without_leader)
    }

    /// Removes a forgotten partition. Its timer and its expiry stay, and are ignored when they are due.
    pub(super) fn forget(&mut self, id: PartitionId) {
        self.without_leader.remove(&id);
    }
}

/// Removes and returns the earliest entry if its time is not after `until`.
fn pop_until(
    heap: &mut BinaryHeap<Reverse<(Instant, PartitionId)>>,
    until: Instant,
) -> Option<(Instant, PartitionId)> {
    let Reverse((at, _)) = heap.peek()?;
    if *at > until {
        return None;
    }
    heap.pop().map(|Reverse(entry)| entry)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    impl AsMut<QueueEntries> for QueueEntries {
        fn as_mut(&mut self) -> &mut QueueEntries {
            self
        }
    }

    /// Returns an empty schedule, three partitions, and the time.
    fn schedule(linger: Duration) -> (Schedule, BTreeMap<PartitionId, QueueEntries>, Instant) {
        let partitions = (0..3).map(|id| (PartitionId(id), QueueEntries::default()));
        (Schedule::new(linger), partitions.collect(), Instant::now())
    }

    fn ids(ids: &[usize]) -> Vec<PartitionId> {
        ids.iter().copied().map(PartitionId).collect()
    }

    #[test]
    fn a_partition_is_due_once_at_the_earliest_of_its_times() {
        let (mut schedule, mut partitions, now) = schedule(Duration::ZERO);
        for after in [30, 10, 20] {
            let entries = partitions.get_mut(&PartitionId(1)).unwrap();
            schedule.set_timer(PartitionId(1), entries, now + after * MS);
        }
        assert_eq!(schedule.next_deadline(), Some(now + 10 * MS));
        assert!(schedule.take_due(&mut partitions, now + 9 * MS).is_empty());
        assert_eq!(schedule.take_due(&mut partitions, now + 10 * MS), ids(&[1]));
        assert!(schedule.take_due(&mut partitions, now + 60 * MS).is_empty());
        assert_eq!(schedule.next_deadline(), None);
    }

    #[test]
    fn timers_that_are_nearly_due_are_taken_early_and_expiries_are_not() {
        let (mut schedule, mut partitions, now) = schedule(80 * MS);
        let at = |after: u32| now + after * MS / 10;
        for (id, after) in [(0, 0), (1, 10), (2, 11)] {
            let entries = partitions.get_mut(&PartitionId(id)).unwrap();
            schedule.set_timer(PartitionId(id), entries, at(after));
        }
        let entries = partitions.get_mut(&PartitionId(2)).unwrap();
        schedule.expire_at(PartitionId(2), entries, at(1));
        assert_eq!(schedule.take_due(&mut partitions, now), ids(&[0, 1]));
        assert_eq!(schedule.take_due(&mut partitions, at(1)), ids(&[2, 2]));
    }

    #[test]
    fn a_partition_has_one_expiry_until_that_is_due() {
        let (mut schedule, mut partitions, now) = schedule(Duration::ZERO);
        for after in [20, 10] {
            let entries = partitions.get_mut(&PartitionId(0)).unwrap();
            schedule.expire_at(PartitionId(0), entries, now + after * MS);
            assert!(entries.has_expiry());
        }
        assert_eq!(schedule.next_deadline(), Some(now + 20 * MS));
        assert_eq!(schedule.take_due(&mut partitions, now + 20 * MS), ids(&[0]));
        assert!(!partitions[&PartitionId(0)].has_expiry());
    }

    #[test]
    fn entries_of_a_forgotten_partition_are_void() {
        let (mut schedule, mut partitions, now) = schedule(Duration::ZERO);
        let entries = partitions.get_mut(&PartitionId(0)).unwrap();
        schedule.set_timer(PartitionId(0), entries, now);
        schedule.expire_at(PartitionId(0), entries, now);
        schedule.wait_for_leader(PartitionId(0));
        schedule.forget(PartitionId(0));
        partitions.remove(&PartitionId(0));
        assert!(schedule.take_due(&mut partitions, now).is_empty());
        assert!(schedule.take_without_leader().is_empty());
    }
}
