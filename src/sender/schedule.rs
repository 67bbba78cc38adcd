//! The times at which a worker looks at its partitions, and the partitions that wait for a leader.
//!
//! [`reschedule`](super::run::Sender::reschedule) decides what a partition waits for. If that is time or a leader, the
//! schedule remembers it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::time::{Duration, Instant};

use crate::accumulator::partition::PartitionId;
use crate::metadata::{BrokerId, PartitionLeader};

/// What a partition's next batch waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// A batch: there is none.
    Nothing,
    /// Time: the batch lingers, or backs off before it is sent again.
    WaitUntil(Instant),
    /// A leader whose address is known.
    WaitForLeader,
    /// An answer to a batch in flight: the order of the log allows no other batch before it.
    WaitForAnswer,
    /// A producer id.
    WaitForIdentity,
    /// Its leader's link: the partition belongs in the ready queue of that broker.
    Ready(PartitionLeader),
}

/// Batches whose linger or backoff ends within this time go together: fewer wake-ups, larger requests.
const MOST_SLACK: Duration = Duration::from_millis(1);

/// One timer queue with entries of two kinds.
#[derive(Default)]
pub(super) struct Schedule {
    /// When to look at a partition because its batch has waited long enough. An entry is void if it is not the partition's
    /// own [`Noted::look_at`].
    looks: BinaryHeap<Reverse<(Instant, PartitionId)>>,
    /// When a partition's oldest batch may expire. One entry for each partition at most.
    expiries: BinaryHeap<Reverse<(Instant, PartitionId)>>,
    /// Partitions that wait for a leader. Each new snapshot of the cluster may bring one.
    without_leader: BTreeSet<PartitionId>,
    slack: Duration,
}

/// The places where a worker has noted a partition. It is noted once in each.
#[derive(Default)]
pub(super) struct Noted {
    /// The broker in whose ready queue the partition is. What waits there may have expired since.
    pub(super) queued_at: Option<BrokerId>,
    /// The time of its entry among the looks.
    look_at: Option<Instant>,
    /// Whether it has an entry among the expiries.
    has_expiry: bool,
}

impl Noted {
    /// Returns whether the worker will look at the partition when its oldest batch may expire. That is early enough: batches
    /// that come later are younger.
    pub(super) fn has_expiry(&self) -> bool {
        self.has_expiry
    }
}

impl Schedule {
    /// `linger` is `linger.ms`.
    pub(super) fn new(linger: Duration) -> Self {
        Self {
            slack: (linger / 8).min(MOST_SLACK),
            ..Self::default()
        }
    }

    /// Returns the time until which a linger or a backoff counts as over `now`.
    pub(super) fn horizon(&self, now: Instant) -> Instant {
        now + self.slack
    }

    /// Looks at the partition at `at`, or before.
    pub(super) fn look_at(&mut self, id: PartitionId, noted: &mut Noted, at: Instant) {
        if noted.look_at.is_none_or(|earlier| at < earlier) {
            noted.look_at = Some(at);
            self.looks.push(Reverse((at, id)));
        }
    }

    /// Looks at the partition at `at`, when its oldest batch may expire. Without effect if that has an entry.
    pub(super) fn expire_at(&mut self, id: PartitionId, noted: &mut Noted, at: Instant) {
        if !std::mem::replace(&mut noted.has_expiry, true) {
            self.expiries.push(Reverse((at, id)));
        }
    }

    /// Takes the partitions that are due. All of them at once: a partition may set itself a time that is due again, for
    /// the next round.
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

    /// When the next entry is due.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let earliest = [self.looks.peek(), self.expiries.peek()];
        let earliest = earliest.into_iter().flatten();
        earliest.map(|Reverse((at, _))| *at).min()
    }

    /// Looks at the partition with the next snapshot of the cluster.
    pub(super) fn wait_for_leader(&mut self, id: PartitionId) {
        self.without_leader.insert(id);
    }

    /// Takes the partitions that wait for a leader, to look at them with a new snapshot.
    pub(super) fn take_without_leader(&mut self) -> BTreeSet<PartitionId> {
        std::mem::take(&mut self.without_leader)
    }

    /// The partition is forgotten. Entries in the queue that bear its id are void.
    pub(super) fn forget(&mut self, id: PartitionId) {
        self.without_leader.remove(&id);
    }
}

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
