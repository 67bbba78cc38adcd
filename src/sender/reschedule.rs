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

/// The shortest time until a worker looks again for a partition's leader.
const LEADER_PAUSE: Duration = Duration::from_millis(10);

/// Whether a partition has a batch to send, whatever its leader and its identity.
enum NextBatch {
    /// The partition has no batch.
    Nothing,
    /// The open batch may get more records until this time.
    LingersUntil(Instant),
    /// A batch is to be sent now.
    Due,
}

impl<N: Network> Sender<N> {
    /// Fails the partition's expired batches, decides what its next batch waits for, and applies the decision: puts the
    /// partition in its leader's ready queue, or notes when to look again. If the batch waits for an answer, a leader or a
    /// producer id, the event that brings it calls this again.
    pub(super) fn reschedule(&mut self, id: PartitionId, now: Instant) {
        if !self.partitions.contains_key(&id) {
            // The partition was forgotten.
            return;
        }
        self.expire(id, now);
        match self.next(id, now) {
            Next::Nothing | Next::WaitForAnswer | Next::WaitForIdentity => {}
            Next::WaitUntil(at) => self.look_at(id, at),
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
                    brokers.enqueue(id, &mut state.noted, broker);
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

    /// Returns whether order and identity allow the partition's next batch to be sent to `leader` now.
    fn next_at(&mut self, id: PartitionId, leader: PartitionLeader, now: Instant) -> Next {
        match self.admit(id, leader, now) {
            Admission::Wait(WaitFor::Answer) => Next::WaitForAnswer,
            Admission::Wait(WaitFor::ProducerId) => Next::WaitForIdentity,
            // A batch that must not be sent fails when the broker is served.
            Admission::Go(_) | Admission::Fail(_) => Next::Ready(leader),
        }
    }

    /// Notes that the partition waits for a leader. Unless a newer snapshot is there already, also ends the sticky turns that
    /// chose the partition, requests metadata, and notes when to look again.
    fn wait_for_leader(&mut self, id: PartitionId, now: Instant) {
        self.schedule.wait_for_leader(id);
        if self.is_cluster_outdated() {
            // The caller that appended has probably seen the newer snapshot. This worker follows it soon.
            return;
        }
        let partition = Arc::clone(&self.state(id).partition);
        self.accumulator
            .topics
            .end_sticky_turns_of_partition(&partition);
        self.metadata.keep_topic(partition.topic());
        self.metadata.request_refresh();
        let pause = self.config.retry_backoff.after(0).max(LEADER_PAUSE);
        self.look_at(id, now + pause);
    }

    /// Sets a time at which the partition is rescheduled: `at`, or an earlier one that is set already.
    pub(super) fn look_at(&mut self, id: PartitionId, at: Instant) {
        if let Some(state) = self.partitions.get_mut(&id) {
            self.schedule.look_at(id, &mut state.noted, at);
        }
    }

    /// Sets the time at which the partition is rescheduled because its oldest batch, created at `created`, may expire.
    pub(super) fn look_at_expiry(&mut self, id: PartitionId, created: Instant) {
        if self.state(id).noted.has_expiry() {
            return;
        }
        let timeout = self.state(id).partition.config().delivery_timeout;
        let expires = self.delivery_deadline(timeout, created);
        if let Some(state) = self.partitions.get_mut(&id) {
            self.schedule.expire_at(id, &mut state.noted, expires);
        }
    }

    /// Returns whether the partition has a batch to send now.
    fn next_batch(&mut self, id: PartitionId, now: Instant) -> NextBatch {
        match self.state(id).queue.is_empty() {
            true => self.next_open_batch(id, now),
            false => NextBatch::Due,
        }
    }

    /// Returns whether there is an open batch that need not linger any more.
    pub(super) fn open_batch_is_due(&mut self, id: PartitionId, now: Instant) -> bool {
        matches!(self.next_open_batch(id, now), NextBatch::Due)
    }

    /// Returns whether the partition's open batch is to be sent now. Corrects what the worker knows of the open batch: if there
    /// is none, this notes it; if the batch has become full, this receives it.
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
                self.look_at_expiry(id, since);
                NextBatch::Due
            }
            Peek::None => {
                self.state(id).open = OpenBatchState::NoneKnown;
                NextBatch::Nothing
            }
            Peek::FullBatchQueued => {
                // The partition's next full batch is already in the channel.
                let received = self.state(id).received + 1;
                self.receive_full_batches_of(id, received, now);
                match self.state(id).queue.is_empty() {
                    true => NextBatch::Nothing,
                    false => NextBatch::Due,
                }
            }
        }
    }

    /// Returns whether the partition's open batch is sent without linger: the producer closes, or callers wait for memory.
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

    /// Returns the partition's leader, if it has one whose address is known. Also notes the topic's id. If the id has changed,
    /// this reports [`Report::LogReplaced`]: the topic was recreated, perhaps in a cluster that was wiped. Its log does not
    /// know the sequences so far, and the producer id may belong to another producer there.
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
