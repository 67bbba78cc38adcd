//! What a worker knows of one partition: its queued batches, its batches in flight, its identity.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use super::broker_link::RequestId;
use super::schedule::QueueEntries;
use crate::accumulator::batch::ProducerBatch;
use crate::accumulator::partition::Partition;
use crate::identity::{Candidate, InFlightFacts, PartitionIdentity};
use crate::metadata::{Cluster, PartitionLeader, TopicId};

/// A partition as its worker sees it.
pub(super) struct PartitionState {
    pub(super) partition: Arc<Partition>,
    /// The batches that wait to be sent, in the order of their positions. Retries have the earliest positions, so they come
    /// first.
    pub(super) queue: VecDeque<Box<ProducerBatch>>,
    /// The batches that were sent and not answered, in the order of their positions.
    pub(super) in_flight: VecDeque<InFlightBatch>,
    pub(super) identity: PartitionIdentity,
    /// The number of full batches received from the channel.
    pub(super) received: u64,
    pub(super) open: OpenBatchState,
    /// The backoff before the first batch in the queue is sent again.
    pub(super) retry: Option<Retry>,
    /// Where the schedule and the brokers hold the partition.
    pub(super) entries: QueueEntries,
    /// The topic's id when it was last looked up. Another id means another topic of the same name.
    pub(super) topic_id: Option<TopicId>,
    /// The number of the next new batch, which is the first part of its position.
    next_order: u64,
}

/// What the worker knows of a partition's open batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OpenBatchState {
    /// The worker knows of no open batch: it took the last one or found none, and no announcement came since.
    NoneKnown,
    /// The partition announced an open batch. It may be full by now.
    Announced,
    /// As `Announced`, and a flush asked to send the batch without linger.
    Flushed,
}

/// A batch in flight.
pub(super) struct InFlightBatch {
    pub(super) batch: Box<ProducerBatch>,
    /// The request that carries it.
    pub(super) request: RequestId,
    /// The leader that it was sent to.
    pub(super) leader: PartitionLeader,
}

/// The backoff before a partition's first batch is sent again.
#[derive(Clone, Copy)]
pub(super) struct Retry {
    pub(super) not_before: Instant,
    /// The leader that failed, with its leader epoch and topic id. If any of them changes, the backoff is over (KIP-951).
    pub(super) failed: PartitionLeader,
}

impl AsMut<QueueEntries> for PartitionState {
    fn as_mut(&mut self) -> &mut QueueEntries {
        &mut self.entries
    }
}

impl PartitionState {
    pub(super) fn new(partition: Arc<Partition>) -> Self {
        Self {
            partition,
            queue: VecDeque::new(),
            in_flight: VecDeque::new(),
            identity: PartitionIdentity::default(),
            received: 0,
            open: OpenBatchState::NoneKnown,
            retry: None,
            entries: QueueEntries::default(),
            topic_id: None,
            next_order: 0,
        }
    }

    /// Notes that the partition announced an open batch.
    pub(super) fn announce(&mut self) {
        if self.open == OpenBatchState::NoneKnown {
            self.open = OpenBatchState::Announced;
        }
    }

    /// Ends the linger of the open batch, if there is one.
    pub(super) fn flush(&mut self) {
        if self.has_open_batch() {
            self.open = OpenBatchState::Flushed;
        }
    }

    /// Returns whether there may be an open batch.
    pub(super) fn has_open_batch(&self) -> bool {
        self.open != OpenBatchState::NoneKnown
    }

    /// Returns when the backoff of the first batch ends. `None` if it is over: then this forgets it. The backoff ends with its
    /// time, or if `leader` has another id, leader epoch or topic id than the leader that failed.
    pub(super) fn follow_backoff(
        &mut self,
        leader: PartitionLeader,
        now: Instant,
    ) -> Option<Instant> {
        let retry = self.retry;
        let waits = retry.filter(|retry| retry.not_before > now && retry.failed == leader);
        self.retry = waits;
        waits.map(|retry| retry.not_before)
    }

    /// Numbers a new batch and appends it to the queue.
    pub(super) fn push(&mut self, mut batch: Box<ProducerBatch>) {
        batch.order = self.next_order;
        self.next_order += 1;
        self.queue.push_back(batch);
    }

    /// Inserts a batch that was taken from the queue or from the batches in flight, or a part of it, at its position.
    pub(super) fn put_back(&mut self, batch: Box<ProducerBatch>) {
        let own = batch.position();
        let position = self.queue.partition_point(|other| other.position() < own);
        self.queue.insert(position, batch);
    }

    /// Prepares the partition for a new cluster, in which nothing of the old one is valid. Returns the batches that may be in
    /// the old cluster's log, in order. The other batches stay in the queue and lose their stamps.
    pub(super) fn enter_new_cluster(&mut self) -> VecDeque<Box<ProducerBatch>> {
        let mut lost: VecDeque<Box<ProducerBatch>> = VecDeque::new();
        for sent in self.in_flight.drain(..) {
            let mut batch = sent.batch;
            batch.maybe_written = true;
            lost.push_back(batch);
        }
        for mut batch in std::mem::take(&mut self.queue) {
            if batch.maybe_written {
                batch.partition.batch_drained();
                lost.push_back(batch);
            } else {
                batch.stamp = None;
                self.queue.push_back(batch);
            }
        }
        lost.make_contiguous().sort_by_key(|batch| batch.position());
        (self.retry, self.entries.queued_at) = (None, None);
        self.topic_id = None;
        lost
    }

    /// Returns the facts from which the identity policy decides whether the next batch may be sent to `leader`.
    pub(super) fn candidate<'a>(
        &self,
        leader: PartitionLeader,
        cluster: &'a Cluster,
        now: Instant,
    ) -> Candidate<'a> {
        let in_flight = self.in_flight.front().map(|earliest| InFlightFacts {
            count: self.in_flight.len(),
            earliest: earliest.batch.facts(),
            is_elsewhere: (self.in_flight.iter()).any(|sent| sent.leader.broker != leader.broker),
        });
        Candidate {
            next: self.queue.front().map(|batch| batch.facts()),
            in_flight,
            leader,
            cluster,
            now,
        }
    }

    /// Inserts a batch that is sent now among those in flight, at its position: a retry can be sent after later batches.
    pub(super) fn sent(&mut self, sent: InFlightBatch) {
        let own = sent.batch.position();
        let in_flight = &mut self.in_flight;
        let position = in_flight.partition_point(|other| other.batch.position() < own);
        in_flight.insert(position, sent);
    }

    /// Removes the batch that `request` carries from those in flight and returns it. `None` if it was taken before.
    pub(super) fn take_in_flight(&mut self, request: RequestId) -> Option<InFlightBatch> {
        let position = self
            .in_flight
            .iter()
            .position(|sent| sent.request == request)?;
        self.in_flight.remove(position)
    }

    /// Returns whether no earlier batch is in flight or queued.
    pub(super) fn is_earliest(&self, batch: &ProducerBatch) -> bool {
        let earlier = |other: &ProducerBatch| other.position() < batch.position();
        !self
            .in_flight
            .front()
            .is_some_and(|sent| earlier(&sent.batch))
            && !self.queue.front().is_some_and(|queued| earlier(queued))
    }

    /// Returns when the oldest batch, queued or in flight, was created.
    pub(super) fn oldest_created(&self) -> Option<Instant> {
        let in_flight = self.in_flight.front().map(|sent| sent.batch.created);
        let queued = self.queue.front().map(|batch| batch.created);
        in_flight.into_iter().chain(queued).min()
    }

    /// Removes the batch with the earliest position and returns it, so that it can fail. If it was in flight, it is maybe
    /// written.
    pub(super) fn pop_earliest(&mut self) -> Option<Box<ProducerBatch>> {
        let in_flight = self.in_flight.front().map(|sent| sent.batch.position());
        let queued = self.queue.front().map(|batch| batch.position());
        if in_flight.is_some_and(|sent| queued.is_none_or(|queued| sent < queued)) {
            let mut batch = self.in_flight.pop_front()?.batch;
            batch.maybe_written = true;
            Some(batch)
        } else {
            let batch = self.queue.pop_front()?;
            batch.partition.batch_drained();
            Some(batch)
        }
    }

    /// Returns whether the worker holds no batch of the partition and knows of no open one.
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.in_flight.is_empty() && !self.has_open_batch()
    }
}
