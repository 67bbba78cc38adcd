//! Decides what a partition's next batch waits for.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::partition_state::OpenBatchState;
use super::run::Sender;
use super::schedule::Next;
use crate::accumulator::partition::{PartitionId, Peek};
use crate::connection::link::Network;
use crate::identity::{Admission, Report, WaitFor};
use crate::metadata::{BrokerId, Cluster, PartitionLeader};
use crate::time::deadline_after;

/// The shortest time until a worker reschedules a partition without a leader.
const SHORTEST_LEADER_WAIT: Duration = Duration::from_millis(10);

/// Whether a partition has a batch to send. The leader and the identity are not considered.
enum NextBatch {
    /// The partition has no batch.
    Nothing,
    /// The open batch may get more records until this time.
    LingersUntil(Instant),
    /// A batch should be sent now.
    Due,
}

impl<N: Network> Sender<N> {
    /// Fails the partition's expired batches, decides what its next batch waits for, and applies the decision. A partition
    /// whose batch waits for nothing goes to its leader's ready queue. If the batch waits for a time, a timer calls this
    /// again. If it waits for an answer, a leader or a producer id, the event that brings it calls this again.
    pub(super) fn reschedule(&mut self, id: PartitionId, now: Instant) {
        if !self.partitions.contains_key(&id) {
            // The partition was forgotten.
            return;
        }
        self.expire(id, now);
        match self.next(id, now) {
            Next::Nothing | Next::WaitForAnswer | Next::WaitForIdentity => {}
            Next::WaitUntil(at) => self.reschedule_at(id, at),
            Next::WaitForLeader => self.wait_for_leader(id, now),
            Next::Ready(leader) => {
                let Self {
                    brokers,
                    partitions,
                    cluster,
                    ..
                } = self;
                let broker = cluster.broker(leader.broker.0);
                if let (Some(broker), Some(state)) = (broker, partitions.get_mut(&id)) {
                    brokers.enqueue(id, &mut state.entries, broker);
                }
            }
        }
    }

    /// Reschedules all partitions that have batches.
    pub(super) fn reschedule_all(&mut self, now: Instant) {
        for id in self.partitions_where(|state| !state.is_empty()) {
            self.reschedule(id, now);
        }
    }

    /// Reschedules the partitions whose topics differ between `before` and the new snapshot, and those that had no leader.
    pub(super) fn reschedule_changed(&mut self, before: &Cluster, now: Instant) {
        let mut ids = self.schedule.take_without_leader();
        let changes = self.cluster.topics.changes_since(&before.topics);
        let changed = changes.changed.iter().map(|topic| &topic.name);
        for name in changed.chain(&changes.gone) {
            let partitions = self.accumulator.topics.all_partitions(name);
            let own = partitions
                .iter()
                .filter(|partition| std::ptr::eq(partition.worker(), self.handle()));
            ids.extend(own.map(|partition| partition.id()));
        }
        for id in ids {
            let state = self.partitions.get(&id);
            if state.is_some_and(|state| !state.is_empty()) {
                self.reschedule(id, now);
            }
        }
    }

    /// Returns what the partition's next batch waits for, or the leader to send it to.
    pub(super) fn next(&mut self, id: PartitionId, now: Instant) -> Next {
        match self.next_batch(id, now) {
            NextBatch::Nothing => return Next::Nothing,
            NextBatch::LingersUntil(at) => return Next::WaitUntil(at),
            NextBatch::Due => {}
        }
        let Some(leader) = self.follow_leader(id) else {
            return Next::WaitForLeader;
        };
        if let Some(until) = self.state(id).follow_backoff(leader, now) {
            return Next::WaitUntil(until);
        }
        self.next_at(id, leader, now)
    }

    /// Asks the identity policy whether the partition's next batch may be sent to `leader` now.
    fn next_at(&mut self, id: PartitionId, leader: PartitionLeader, now: Instant) -> Next {
        match self.admit(id, leader, now) {
            Admission::Wait(WaitFor::Answer) => Next::WaitForAnswer,
            Admission::Wait(WaitFor::ProducerId) => Next::WaitForIdentity,
            // A batch that must fail goes to the ready queue, too. It fails when the broker is served.
            Admission::Go(_) | Admission::Fail(_) => Next::Ready(leader),
        }
    }

    /// Notes that the partition waits for a leader. If this worker has the newest snapshot, also ends the sticky turns of
    /// the partition, requests metadata, and sets a timer.
    fn wait_for_leader(&mut self, id: PartitionId, now: Instant) {
        self.schedule.wait_for_leader(id);
        if self.is_cluster_outdated() {
            // The caller that appended the record has probably used that snapshot. This worker takes it in its next round
            // at the latest.
            return;
        }
        let partition = Arc::clone(&self.state(id).partition);
        self.accumulator
            .topics
            .end_sticky_turns_of_partition(&partition);
        self.metadata.keep_topic(partition.topic());
        self.metadata.request_refresh();
        let wait = self.config.retry_backoff.after(0).max(SHORTEST_LEADER_WAIT);
        self.reschedule_at(id, now + wait);
    }

    /// Sets the partition's timer: it is rescheduled at `at`, or earlier if its timer is earlier already.
    pub(super) fn reschedule_at(&mut self, id: PartitionId, at: Instant) {
        if let Some(state) = self.partitions.get_mut(&id) {
            self.schedule.set_timer(id, &mut state.entries, at);
        }
    }

    /// Sets when the partition is rescheduled because its oldest batch, created at `created`, may expire.
    pub(super) fn reschedule_at_expiry(&mut self, id: PartitionId, created: Instant) {
        if self.state(id).entries.has_expiry() {
            return;
        }
        let timeout = self.state(id).partition.config().delivery_timeout;
        let expires = self.delivery_deadline(timeout, created);
        if let Some(state) = self.partitions.get_mut(&id) {
            self.schedule.expire_at(id, &mut state.entries, expires);
        }
    }

    /// Returns whether the partition has a batch to send now, queued or open.
    fn next_batch(&mut self, id: PartitionId, now: Instant) -> NextBatch {
        match self.state(id).queue.is_empty() {
            true => self.next_open_batch(id, now),
            false => NextBatch::Due,
        }
    }

    /// Returns whether the partition has an open batch, or one that has become full, that should be sent now.
    pub(super) fn open_batch_is_due(&mut self, id: PartitionId, now: Instant) -> bool {
        matches!(self.next_open_batch(id, now), NextBatch::Due)
    }

    /// Returns whether the partition's open batch should be sent now. Also brings the worker's knowledge up to date: notes
    /// if there is no open batch, and receives the batch if it has become full.
    fn next_open_batch(&mut self, id: PartitionId, now: Instant) -> NextBatch {
        let state = self.state(id);
        let may_linger = match state.open {
            OpenBatchState::NoneKnown => return NextBatch::Nothing,
            OpenBatchState::Announced => true,
            OpenBatchState::Flushed => false,
        };
        match state.partition.peek(state.received) {
            Peek::OpenSince(since) => {
                let due = deadline_after(since, state.partition.config().linger);
                if may_linger && due > self.schedule.horizon(now) && !self.is_sent_at_once(id) {
                    return NextBatch::LingersUntil(due);
                }
                self.reschedule_at_expiry(id, since);
                NextBatch::Due
            }
            Peek::None => {
                self.state(id).open = OpenBatchState::NoneKnown;
                NextBatch::Nothing
            }
            Peek::FullBatchQueued => {
                // The partition's next full batch is in the channel.
                let received = self.state(id).received + 1;
                self.receive_full_batches_of(id, received, now);
                match self.state(id).queue.is_empty() {
                    true => NextBatch::Nothing,
                    false => NextBatch::Due,
                }
            }
        }
    }

    /// Returns whether the partition's open batch does not linger, because the producer closes or callers wait for memory.
    fn is_sent_at_once(&self, id: PartitionId) -> bool {
        let memory = &self.accumulator.memory;
        self.closing
            || memory.has_budget_waiters()
            || memory.has_share_waiters() && self.has_share_waiters(id)
    }

    fn has_share_waiters(&self, id: PartitionId) -> bool {
        let state = self.partitions.get(&id);
        state.is_some_and(|state| state.partition.has_share_waiters())
    }

    /// Returns the partition's leader, if it has one whose address is known. Also notes the topic's id. If the id has
    /// changed, reports [`Report::LogReplaced`]: the topic was recreated, perhaps in a cluster that was wiped. The new log
    /// does not have the sequences so far, and in a wiped cluster the producer id may belong to another producer.
    pub(super) fn follow_leader(&mut self, id: PartitionId) -> Option<PartitionLeader> {
        let cluster = Arc::clone(&self.cluster);
        let state = self.partitions.get_mut(&id)?;
        let topic = cluster.topic(state.partition.topic())?;
        let partition = topic
            .partitions()
            .get(state.partition.partition() as usize)?;
        if topic.id().is_some() && state.topic_id != topic.id() {
            if state.topic_id.is_some() {
                self.identity
                    .report(&mut state.identity, Report::LogReplaced);
            }
            state.topic_id = topic.id();
        }
        let broker = partition
            .leader()
            .map(BrokerId)
            .filter(|leader| cluster.broker(leader.0).is_some())?;
        Some(PartitionLeader {
            broker,
            epoch: partition.leader_epoch(),
            topic_id: topic.id(),
        })
    }
}
