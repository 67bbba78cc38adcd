//! The times at which a worker looks at its partitions, and the partitions that wait for a leader.
//!
//! `Sender::next` decides what a partition waits for. If it waits for a time or for a leader, the schedule holds it until
//! then.

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
    /// This time: until then the batch lingers, or backs off before it is sent again.
    WaitUntil(Instant),
    /// A leader whose address is known.
    WaitForLeader,
    /// An answer to a batch in flight: the order of the log allows no other batch before it.
    WaitForAnswer,
    /// A producer id.
    WaitForIdentity,
    /// Nothing but its leader's link: the partition belongs in the ready queue of this leader.
    Ready(PartitionLeader),
}

/// Batches whose linger or backoff ends within this time are sent together, which makes wake-ups rarer and requests larger.
const MOST_SLACK: Duration = Duration::from_millis(1);

/// The partitions that wait for a time or for a leader.
#[derive(Default)]
pub(super) struct Schedule {
    /// When to reschedule a partition because a linger or a backoff ends. An entry counts only if its time is the partition's
    /// [`Noted::look_at`].
    looks: BinaryHeap<Reverse<(Instant, PartitionId)>>,
    /// When a partition's oldest batch may expire. Each partition has at most one entry.
    expiries: BinaryHeap<Reverse<(Instant, PartitionId)>>,
    /// Partitions that wait for a leader. Each new metadata snapshot may name one.
    without_leader: BTreeSet<PartitionId>,
    /// How much earlier than its time a linger or a backoff may end.
    slack: Duration,
}

/// A partition's entries in the worker's queues: at most one that counts in each.
#[derive(Default)]
pub(super) struct Noted {
    /// The broker in whose ready queue the partition is. Its batches may have expired since it was queued.
    pub(super) queued_at: Option<BrokerId>,
    /// The time of its entry in [`Schedule::looks`].
    look_at: Option<Instant>,
    /// Whether it has an entry in [`Schedule::expiries`].
    has_expiry: bool,
}

impl Noted {
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

    /// Returns the time until which a linger or a backoff may last and count as over `now`.
    pub(super) fn horizon(&self, now: Instant) -> Instant {
        now + self.slack
    }

    /// Sets a time at which the partition is due: `at`, or an earlier one that is set already.
    pub(super) fn look_at(&mut self, id: PartitionId, noted: &mut Noted, at: Instant) {
        if noted.look_at.is_none_or(|earlier| at < earlier) {
            noted.look_at = Some(at);
            self.looks.push(Reverse((at, id)));
        }
    }

    /// Makes the partition due at `at`, when its oldest batch may expire. Does nothing if the partition has such an entry.
    pub(super) fn expire_at(&mut self, id: PartitionId, noted: &mut Noted, at: Instant) {
        if !std::mem::replace(&mut noted.has_expiry, true) {
            self.expiries.push(Reverse((at, id)));
        }
    }

    /// Removes and returns all partitions that are due. A partition that sets another time while they are rescheduled is due
    /// in the next round at the earliest.
    pub(super) fn take_due(
        &mut self,
        partitions: &mut BTreeMap<PartitionId, impl AsMut<Noted>>,
        now: Instant,
    ) -> Vec<PartitionId> {
        let horizon = self.horizon(now);
        let mut due = Vec::new();
        while let Some((at, id)) = pop_until(&mut self.looks, horizon) {
            let noted = partitions.get_mut(&id).map(AsMut::as_mut);
            if let Some(noted) = noted.filter(|noted| noted.look_at == Some(at)) {
                noted.look_at = None;
                due.push(id);
            }
        }
        while let Some((_, id)) = pop_until(&mut self.expiries, now) {
            if let Some(noted) = partitions.get_mut(&id).map(AsMut::as_mut) {
                noted.has_expiry = false;
                due.push(id);
            }
        }
        due
    }

    /// Returns when the next entry is due.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let earliest = [self.looks.peek(), self.expiries.peek()];
        let earliest = earliest.into_iter().flatten();
        earliest.map(|Reverse((at, _))| *at).min()
    }

    /// Notes that the partition waits for a leader, which the next metadata snapshot may name.
    pub(super) fn wait_for_leader(&mut self, id: PartitionId) {
        self.without_leader.insert(id);
    }

    /// Removes and returns the partitions that wait for a leader, which are rescheduled with a new snapshot.
    pub(super) fn take_without_leader(&mut self) -> BTreeSet<PartitionId> {
        std::mem::take(&mut self.without_leader)
    }

    /// Removes a forgotten partition. Entries with a time stay and are ignored when they are due.
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

    impl AsMut<Noted> for Noted {
        fn as_mut(&mut self) -> &mut Noted {
            self
        }
    }

    /// A schedule with three partitions, and the time.
    fn schedule(linger: Duration) -> (Schedule, BTreeMap<PartitionId, Noted>, Instant) {
        let partitions = (0..3).map(|id| (PartitionId(id), Noted::default()));
        (Schedule::new(linger), partitions.collect(), Instant::now())
    }

    fn ids(ids: &[usize]) -> Vec<PartitionId> {
        ids.iter().copied().map(PartitionId).collect()
    }

    #[test]
    fn a_partition_is_looked_at_once_at_the_earliest_of_its_times() {
        let (mut schedule, mut partitions, now) = schedule(Duration::ZERO);
        for after in [30, 10, 20] {
            let noted = partitions.get_mut(&PartitionId(1)).unwrap();
            schedule.look_at(PartitionId(1), noted, now + after * MS);
        }
        assert_eq!(schedule.next_deadline(), Some(now + 10 * MS));
        assert!(schedule.take_due(&mut partitions, now + 9 * MS).is_empty());
        assert_eq!(schedule.take_due(&mut partitions, now + 10 * MS), ids(&[1]));
        assert!(schedule.take_due(&mut partitions, now + 60 * MS).is_empty());
        assert_eq!(schedule.next_deadline(), None);
    }

    #[test]
    fn looks_that_are_nearly_due_go_with_one_that_is_and_expiries_never_do() {
        let (mut schedule, mut partitions, now) = schedule(80 * MS);
        let at = |after: u32| now + after * MS / 10;
        for (id, after) in [(0, 0), (1, 10), (2, 11)] {
            let noted = partitions.get_mut(&PartitionId(id)).unwrap();
            schedule.look_at(PartitionId(id), noted, at(after));
        }
        let noted = partitions.get_mut(&PartitionId(2)).unwrap();
        schedule.expire_at(PartitionId(2), noted, at(1));
        assert_eq!(schedule.take_due(&mut partitions, now), ids(&[0, 1]));
        assert_eq!(schedule.take_due(&mut partitions, at(1)), ids(&[2, 2]));
    }

    #[test]
    fn a_partition_has_one_expiry_until_that_is_due() {
        let (mut schedule, mut partitions, now) = schedule(Duration::ZERO);
        for after in [20, 10] {
            let noted = partitions.get_mut(&PartitionId(0)).unwrap();
            schedule.expire_at(PartitionId(0), noted, now + after * MS);
            assert!(noted.has_expiry());
        }
        assert_eq!(schedule.next_deadline(), Some(now + 20 * MS));
        assert_eq!(schedule.take_due(&mut partitions, now + 20 * MS), ids(&[0]));
        assert!(!partitions[&PartitionId(0)].has_expiry());
    }

    #[test]
    fn entries_of_a_forgotten_partition_are_void() {
        let (mut schedule, mut partitions, now) = schedule(Duration::ZERO);
        let noted = partitions.get_mut(&PartitionId(0)).unwrap();
        schedule.look_at(PartitionId(0), noted, now);
        schedule.expire_at(PartitionId(0), noted, now);
        schedule.wait_for_leader(PartitionId(0));
        schedule.forget(PartitionId(0));
        partitions.remove(&PartitionId(0));
        assert!(schedule.take_due(&mut partitions, now).is_empty());
        assert!(schedule.take_without_leader().is_empty());
    }
}
