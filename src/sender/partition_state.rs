//! What a worker knows of one partition: its batches in order, what is in flight, its sequences.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use super::broker_link::RequestId;
use super::schedule::Noted;
use crate::accumulator::batch::ProducerBatch;
use crate::accumulator::partition::Partition;
use crate::identity::{Candidate, InFlightFacts, PartitionIdentity};
use crate::metadata::{Cluster, PartitionLeader, TopicId};

/// A partition as its worker sees it.
pub(super) struct PartitionState {
    pub(super) partition: Arc<Partition>,
    /// Batches that wait to be sent, in order. Those to be sent again come first.
    pub(super) queue: VecDeque<Box<ProducerBatch>>,
    /// Batches sent and not answered, in the order of their records.
    pub(super) in_flight: VecDeque<InFlightBatch>,
    pub(super) identity: PartitionIdentity,
    /// The number of full batches received from the channel.
    pub(super) received: u64,
    pub(super) open: OpenBatch,
    /// The backoff of the first batch, if it is sent again.
    pub(super) retry: Option<Retry>,
    /// Where the schedule and the brokers hold the partition.
    pub(super) noted: Noted,
    /// The topic's id when it was last looked up. Another id means another topic of the same name.
    pub(super) topic_id: Option<TopicId>,
    next_order: u64,
}

/// What the worker knows of a partition's open batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OpenBatch {
    /// The partition has announced none since the worker last found none.
    None,
    /// There may be one.
    Announced,
    /// There may be one, and it does not linger: a flush asked for it.
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

/// The backoff of a partition's first batch.
#[derive(Clone, Copy)]
pub(super) struct Retry {
    pub(super) not_before: Instant,
    /// The leader that failed, with its epoch. With another one the backoff is over (KIP-951).
    pub(super) failed: PartitionLeader,
}

impl AsMut<Noted> for PartitionState {
    fn as_mut(&mut self) -> &mut Noted {
        &mut self.noted
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
            open: OpenBatch::None,
            retry: None,
            noted: Noted::default(),
            topic_id: None,
            next_order: 0,
        }
    }

    /// The partition announces an open batch.
    pub(super) fn announce(&mut self) {
        if self.open == OpenBatch::None {
            self.open = OpenBatch::Announced;
        }
    }

    /// An open batch, if there is one, does not linger.
    pub(super) fn flush(&mut self) {
        if self.has_open_batch() {
            self.open = OpenBatch::Flushed;
        }
    }

    /// Returns whether there may be an open batch.
    pub(super) fn has_open_batch(&self) -> bool {
        self.open != OpenBatch::None
    }

    /// When the backoff of the first batch ends, if `leader` is the one that failed. Otherwise the backoff is over.
    pub(super) fn backoff(&mut self, leader: PartitionLeader, now: Instant) -> Option<Instant> {
        let retry = self.retry;
        let waits = retry.filter(|retry| retry.not_before > now && retry.failed == leader);
        self.retry = waits;
        waits.map(|retry| retry.not_before)
    }

    /// Appends a new batch to the queue.
    pub(super) fn push(&mut self, mut batch: Box<ProducerBatch>) {
        batch.order = self.next_order;
        self.next_order += 1;
        self.queue.push_back(batch);
    }

    /// Puts a batch back to its position in the queue.
    pub(super) fn put_back(&mut self, batch: Box<ProducerBatch>) {
        let own = batch.position();
        let position = self.queue.partition_point(|other| other.position() < own);
        self.queue.insert(position, batch);
    }

    /// Begins in a new cluster, which knows nothing of the old one. Returns the batches that may be in the old cluster's log, in
    /// order. The other batches stay, and lose their stamps.
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
        (self.retry, self.noted.queued_at) = (None, None);
        self.topic_id = None;
        lost
    }

    /// Returns what the identity policy needs to know to admit the next batch.
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

    /// Notes that a batch is sent. The oldest batch stays the first, whichever was sent last.
    pub(super) fn sent(&mut self, sent: InFlightBatch) {
        let own = sent.batch.position();
        let in_flight = &mut self.in_flight;
        let position = in_flight.partition_point(|other| other.batch.position() < own);
        in_flight.insert(position, sent);
    }

    /// Takes the batch that `request` carries off the in-flight list. `None` if it was completed meanwhile.
    pub(super) fn take_in_flight(&mut self, request: RequestId) -> Option<InFlightBatch> {
        let position = self
            .in_flight
            .iter()
            .position(|sent| sent.request == request)?;
        self.in_flight.remove(position)
    }

    /// Returns whether all earlier batches are acknowledged.
    pub(super) fn is_head(&self, batch: &ProducerBatch) -> bool {
        let earlier = |other: &ProducerBatch| other.position() < batch.position();
        !self
            .in_flight
            .front()
            .is_some_and(|sent| earlier(&sent.batch))
            && !self.queue.front().is_some_and(|queued| earlier(queued))
    }

    /// When the oldest batch that the worker holds was created.
    pub(super) fn oldest(&self) -> Option<Instant> {
        let in_flight = self.in_flight.front().map(|sent| sent.batch.created);
        let queued = self.queue.front().map(|batch| batch.created);
        in_flight.into_iter().chain(queued).min()
    }

    /// Takes the oldest batch, to fail it. If it is in flight, it may be written.
    pub(super) fn pop_oldest(&mut self) -> Option<Box<ProducerBatch>> {
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

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.in_flight.is_empty() && !self.has_open_batch()
    }
}
