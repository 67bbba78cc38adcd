//! What a worker knows of one partition: its batches in order, what is in flight, its sequences.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::broker_link::RequestId;
use super::schedule::Noted;
use crate::accumulator::batch::ProducerBatch;
use crate::accumulator::partition::Partition;
use crate::accumulator::sequence::PartitionSequence;
use crate::metadata::{BrokerId, TopicId};
use crate::record::header::ProducerStamp;
use crate::time::deadline_after;

/// A partition as its worker sees it.
pub(super) struct PartitionState {
    pub(super) partition: Arc<Partition>,
    /// Batches that wait to be sent, in order. Those to be sent again come first.
    pub(super) queue: VecDeque<Box<ProducerBatch>>,
    /// Batches sent and not answered, in the order of their records.
    pub(super) in_flight: VecDeque<InFlightBatch>,
    pub(super) sequence: PartitionSequence,
    /// The number of full batches received from the channel.
    pub(super) received: u64,
    pub(super) open: OpenBatch,
    /// The backoff of the first batch, if it is sent again.
    pub(super) retry: Option<Retry>,
    /// Where the schedule and the brokers hold the partition.
    pub(super) noted: Noted,
    /// The topic's id when it was last looked up. Another id means another topic of the same name.
    pub(super) topic_id: Option<TopicId>,
    /// Who acknowledged a batch of the current identity last, and when.
    acknowledged: Option<(Leader, Instant)>,
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

/// How long a leader is taken to know a producer that it has heard nothing of: far less than the shortest sensible
/// `producer.id.expiration.ms` (a day by default), and long enough to cost a busy partition nothing.
const REMEMBERED_FOR: Duration = Duration::from_secs(60);

/// A batch in flight.
pub(super) struct InFlightBatch {
    pub(super) batch: Box<ProducerBatch>,
    /// The request that carries it.
    pub(super) request: RequestId,
    /// The leader that it was sent to.
    pub(super) leader: Leader,
}

/// The backoff of a partition's first batch.
#[derive(Clone, Copy)]
pub(super) struct Retry {
    pub(super) not_before: Instant,
    /// The leader that failed, with its epoch. With another one the backoff is over (KIP-951).
    pub(super) failed: Leader,
}

/// A partition's leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Leader {
    pub(super) broker: BrokerId,
    pub(super) epoch: Option<i32>,
    /// Of which topic: one that was made anew counts its epochs anew.
    pub(super) topic_id: Option<TopicId>,
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
            sequence: PartitionSequence::default(),
            received: 0,
            open: OpenBatch::None,
            retry: None,
            noted: Noted::default(),
            topic_id: None,
            acknowledged: None,
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
    pub(super) fn backoff(&mut self, leader: Leader, now: Instant) -> Option<Instant> {
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
        let place = batch.place();
        let position = self.queue.partition_point(|other| other.place() < place);
        self.queue.insert(position, batch);
    }

    /// Begins anew in another cluster, which knows nothing of all that was. Returns the batches, in order, that can be in
    /// the log of the one before; the others stay, and lose the stamp that they may have.
    pub(super) fn begin_anew(&mut self) -> VecDeque<Box<ProducerBatch>> {
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
        lost.make_contiguous().sort_by_key(|batch| batch.place());
        self.sequence = PartitionSequence::default();
        (self.retry, self.noted.queued_at) = (None, None);
        (self.topic_id, self.acknowledged) = (None, None);
        lost
    }

    /// Notes that a batch is sent. The oldest batch stays the first, whichever was sent last.
    pub(super) fn sent(&mut self, sent: InFlightBatch) {
        let place = sent.batch.place();
        let in_flight = &mut self.in_flight;
        let position = in_flight.partition_point(|other| other.batch.place() < place);
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

    /// Whether the order of the log allows the first batch of the queue to be sent now.
    ///
    /// With idempotence up to five batches are under way, which is as many as a broker remembers, but only one until this
    /// leader is known to hold the producer to its sequences, for of a producer that it knows nothing of, or no longer, it
    /// takes any; a batch that is sent again goes only as the first of those
    /// that are not acknowledged; and nothing is sent under a new identity before all answers to the old one are in.
    /// Without idempotence the order is kept by one request in flight.
    pub(super) fn may_send(
        &self,
        leader: Leader,
        idempotence: bool,
        max_in_flight: usize,
        now: Instant,
    ) -> bool {
        const MOST_REMEMBERED: usize = 5;
        let Some(earliest) = self.in_flight.front() else {
            return true;
        };
        if !idempotence {
            return max_in_flight > 1;
        }
        if self.in_flight.len() >= max_in_flight.min(MOST_REMEMBERED)
            || !self.is_known_to(leader, now)
        {
            return false;
        }
        if earliest
            .batch
            .stamp
            .is_some_and(|stamp| !self.sequence.is_current(stamp))
        {
            return false;
        }
        if earliest.batch.attempts > 0 && earliest.batch.maybe_written {
            // If it is in the log, batches that were sent with it the first time may follow it there. Were others to
            // follow too, the leader would forget it, and not know it again.
            return false;
        }
        match self.queue.front() {
            Some(next) if next.attempts > 0 => next.place() < earliest.batch.place(),
            _ => true,
        }
    }

    /// A batch of `stamp` is written.
    pub(super) fn acknowledge(&mut self, stamp: ProducerStamp, leader: Leader, now: Instant) {
        self.sequence.acknowledge(stamp);
        if self.sequence.is_current(stamp) {
            self.acknowledged = Some((leader, now));
        }
    }

    fn is_known_to(&self, leader: Leader, now: Instant) -> bool {
        self.sequence.is_established()
            && self
                .acknowledged
                .is_some_and(|(by, at)| by == leader && deadline_after(at, REMEMBERED_FOR) > now)
    }

    /// Returns whether all earlier batches are acknowledged.
    pub(super) fn is_head(&self, batch: &ProducerBatch) -> bool {
        let earlier = |other: &ProducerBatch| other.place() < batch.place();
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
        let in_flight = self.in_flight.front().map(|sent| sent.batch.place());
        let queued = self.queue.front().map(|batch| batch.place());
        if in_flight.is_some_and(|place| queued.is_none_or(|queued| place < queued)) {
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
