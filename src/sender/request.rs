//! Makes Produce requests from the batches that are ready for a broker, and writes them to its link.

use std::sync::Arc;
use std::time::Instant;

use super::broker_link::{InFlightRequest, LinkState};
use super::partition_state::InFlightBatch;
use super::run::Sender;
use super::schedule::Next;
use super::seal::Fit;
use crate::accumulator::batch::{ProducerBatch, SealedBatch};
use crate::accumulator::completion::{Outcome, WrittenBatch};
use crate::accumulator::partition::PartitionId;
use crate::connection::link::{LinkId, Network, OutgoingRequest, WriteError, WriteStatus};
use crate::error::{Error, ErrorKind};
use crate::identity::Admission;
use crate::metadata::{BrokerId, PartitionLeader};
use crate::protocol::messages::{ProducePartition, ProduceRequest, ProduceTopic};
use crate::time::monotonic_now;

/// The last version of Produce that identifies topics by name. Later versions use topic ids, which not all topics have.
const LAST_VERSION_BY_NAME: i16 = 12;

/// A batch taken for a request.
struct TakenBatch {
    partition_id: PartitionId,
    leader: PartitionLeader,
    topic_id: [u8; 16],
    batch: Box<ProducerBatch>,
}

/// An encoded request that is to be written.
struct NewRequest {
    link_id: LinkId,
    in_flight: InFlightRequest,
    bytes: OutgoingRequest,
    /// The partitions whose batches were known to be in the log before this request. A leader can append a batch and still
    /// answer with an error that asks for a retry.
    appended: Vec<PartitionId>,
}

impl<N: Network> Sender<N> {
    /// Sends requests until no batch is ready, the link has no room in flight, or the round has compressed for long.
    pub(super) fn send_requests(&mut self, broker: BrokerId, now: Instant) {
        let max_in_flight = self.config.max_in_flight;
        while (self.brokers.get(broker))
            .is_some_and(|broker_link| broker_link.has_room(max_in_flight, now))
        {
            let taken = self.take_batches(broker, now);
            if taken.is_empty() {
                return;
            }
            self.send_request(broker, taken, now);
            if self.codec.has_compressed_enough() {
                return;
            }
        }
    }

    /// Takes one batch of each partition in the broker's ready queue, in the queue's order. Stops before a
    /// batch that exceeds `max.request.size` or has other `acks`, which is a field of the request, or when the round has
    /// compressed for long. None of these stops the first batch. Returns none if no batch can be sent.
    fn take_batches(&mut self, broker: BrokerId, now: Instant) -> Vec<TakenBatch> {
        let mut taken: Vec<TakenBatch> = Vec::new();
        let mut bytes = 0;
        let broker_link = self.brokers.get(broker);
        for _ in 0..broker_link.map_or(0, |broker_link| broker_link.ready_queue.len()) {
            if !taken.is_empty() && self.codec.has_compressed_enough() {
                break;
            }
            let broker_link = self.brokers.get_mut(broker);
            let Some(id) = broker_link.and_then(|broker_link| broker_link.ready_queue.pop_front())
            else {
                break;
            };
            self.state(id).entries.queued_at = None;
            let Some(next) = self.take_batch(id, broker, now) else {
                self.reschedule(id, now);
                continue;
            };
            let fits = taken.first().is_none_or(|first| {
                bytes + next.batch.size() <= self.config.max_request_size
                    && next.acks() == first.acks()
            });
            if !fits {
                self.return_to_queue(broker, next);
                break;
            }
            bytes += next.batch.size();
            taken.push(next);
        }
        taken
    }

    /// Takes the partition's next batch and seals it, if the batch can be sent to the broker now.
    fn take_batch(
        &mut self,
        id: PartitionId,
        broker: BrokerId,
        now: Instant,
    ) -> Option<TakenBatch> {
        let leader = match self.next(id, now) {
            Next::Ready(leader) if leader.broker == broker => leader,
            _ => return None,
        };
        let batch = self.next_sealed_batch(id, leader, now)?;
        let topic_id = self.state(id).topic_id;
        Some(TakenBatch {
            partition_id: id,
            leader,
            topic_id: topic_id.map_or([0; 16], |id| *id.as_bytes()),
            batch,
        })
    }

    /// Returns the batch to its partition's queue, and the partition to the front of the ready queue. So the batch is the
    /// first in the next request.
    fn return_to_queue(&mut self, broker: BrokerId, taken: TakenBatch) {
        let state = self.state(taken.partition_id);
        state.queue.push_front(taken.batch);
        state.entries.queued_at = Some(broker);
        if let Some(broker_link) = self.brokers.get_mut(broker) {
            broker_link.ready_queue.push_front(taken.partition_id);
        }
    }

    /// Takes the partition's next batch from its queue, or else the open batch, and seals it. Fails batches that cannot be
    /// sent and splits batches that are too large, until one fits.
    fn next_sealed_batch(
        &mut self,
        id: PartitionId,
        leader: PartitionLeader,
        now: Instant,
    ) -> Option<Box<ProducerBatch>> {
        loop {
            if self.state(id).queue.is_empty() {
                self.queue_open_batch(id);
            }
            // The policy is asked for each batch: if the one before failed, the identity may have changed.
            let numbering = match self.admit(id, leader, now) {
                Admission::Go(numbering) => Ok(numbering),
                Admission::Fail(error) => Err(error),
                Admission::Wait(_) => return None,
            };
            let mut batch = self.state(id).queue.pop_front()?;
            let sealed = numbering.and_then(|numbering| self.seal(id, &mut batch, numbering));
            match sealed {
                Ok(Fit::Fits) => return Some(batch),
                Ok(Fit::TooLarge(bytes)) => {
                    if let Err(batch) = self.split_to_fit(id, batch, bytes) {
                        batch.partition.batch_drained();
                        let error = Error::new(ErrorKind::Internal, "a batch cannot be split");
                        let error = batch.own(&error);
                        self.give_up(id, batch, Outcome::Failed(error));
                    }
                }
                Err(error) => {
                    batch.partition.batch_drained();
                    let error = error.with_topic_partition(batch.completion().topic_partition());
                    self.give_up(id, batch, Outcome::Failed(error));
                }
            }
        }
    }

    fn send_request(&mut self, broker: BrokerId, mut taken: Vec<TakenBatch>, now: Instant) {
        // The partitions of a topic are neighbours in a request.
        taken.sort_by(|a, b| a.batch.partition.topic().cmp(b.batch.partition.topic()));
        let request = match self.new_request(broker, &taken, now) {
            Some(Ok(request)) => request,
            Some(Err(error)) => return self.give_up_taken(taken, &error),
            None => return,
        };
        let ids: Vec<PartitionId> = taken.iter().map(|taken| taken.partition_id).collect();
        for taken in taken {
            let mut batch = taken.batch;
            batch.partition.batch_drained();
            batch.is_appended = false;
            self.state(taken.partition_id).sent(InFlightBatch {
                batch,
                request: request.in_flight.id,
                leader: taken.leader,
            });
        }
        self.hand_over_completed();
        self.write_request(broker, request, now);
        for id in ids {
            self.reschedule(id, now);
        }
    }

    /// Creates and encodes the request for these batches. `None` if the link is not ready.
    fn new_request(
        &mut self,
        broker: BrokerId,
        taken: &[TakenBatch],
        now: Instant,
    ) -> Option<Result<NewRequest, Error>> {
        let id = self.next_request;
        self.next_request.0 += 1;
        let ready_link = self.brokers.ready_mut(broker)?;
        ready_link.last_used = now;
        let link_id = ready_link.link_id;
        let has_ids = taken.iter().all(|taken| taken.topic_id != [0; 16]);
        let in_flight = InFlightRequest {
            id,
            correlation_id: ready_link.next_correlation_id(),
            version: match has_ids {
                true => ready_link.version,
                false => ready_link.version.min(LAST_VERSION_BY_NAME),
            },
            is_answered: taken.first()?.acks() != 0,
            awaited_since: now,
            deadline: None,
            partitions: taken
                .iter()
                .map(|taken| (taken.partition_id, taken.topic_id))
                .collect(),
        };
        let appended = taken.iter().filter(|taken| taken.batch.is_appended);
        let appended = appended.map(|taken| taken.partition_id).collect();
        Some(self.encode(taken, &in_flight).map(|bytes| NewRequest {
            link_id,
            in_flight,
            bytes,
            appended,
        }))
    }

    fn write_request(&mut self, broker: BrokerId, request: NewRequest, now: Instant) {
        let NewRequest {
            link_id,
            in_flight,
            bytes,
            appended,
        } = request;
        let written = self.network.write(link_id, bytes);
        // `now` is the start of the round. Compressing and writing since then can have taken longer than a timeout.
        let written_at = monotonic_now().max(now);
        let request_timeout = self.config.request_timeout;
        let is_answered = in_flight.is_answered;
        if let Err(WriteError::NothingWritten(error)) = written {
            self.undo_send(&in_flight, &appended);
            return self.end_link(broker, error, now);
        }
        if let Some(broker_link) = self.brokers.get_mut(broker) {
            broker_link.blocked_since = None;
        }
        if let Some(ready_link) = self.brokers.ready_mut(broker) {
            ready_link.in_flight.push_back(in_flight);
            match written {
                Ok(WriteStatus::InProgress) => {
                    ready_link.write_progressed(written_at, request_timeout)
                }
                _ => ready_link.write_finished(written_at, request_timeout),
            }
        }
        match written {
            Ok(WriteStatus::Complete) if !is_answered => self.complete_unanswered(broker, now),
            Ok(_) => {}
            Err(error) => self.end_link(broker, error.into(), now),
        }
    }

    /// Nothing of this request was written: returns its batches to their positions, as they were before. Those of the
    /// partitions `appended` were known to be in the log. The batches lose no retry, because nothing was sent.
    /// `delivery.timeout.ms` continues.
    fn undo_send(&mut self, request: &InFlightRequest, appended: &[PartitionId]) {
        for (partition_id, _) in &request.partitions {
            if let Some(InFlightBatch { mut batch, .. }) =
                self.take_in_flight(*partition_id, request.id)
            {
                batch.is_appended = appended.contains(partition_id);
                batch.partition.batches_requeued(1);
                self.state(*partition_id).put_back(batch);
            }
        }
    }

    /// Fails batches whose request cannot be encoded, because a retry would fail in the same way.
    fn give_up_taken(&mut self, taken: Vec<TakenBatch>, error: &Error) {
        for taken in taken {
            taken.batch.partition.batch_drained();
            let error = taken.batch.own(error);
            self.give_up(taken.partition_id, taken.batch, Outcome::Failed(error));
        }
    }

    fn encode(
        &self,
        taken: &[TakenBatch],
        in_flight: &InFlightRequest,
    ) -> Result<OutgoingRequest, Error> {
        let mut batches: Vec<Arc<dyn AsRef<[u8]> + Send + Sync>> = Vec::with_capacity(taken.len());
        for taken in taken {
            if let Some(sealed) = taken.batch.sealed() {
                batches.push(Arc::clone(sealed) as Arc<dyn AsRef<[u8]> + Send + Sync>);
            }
        }
        let timeout_ms = i32::try_from(self.config.request_timeout.as_millis());
        let request = ProduceRequest {
            transactional_id: None,
            acks: taken.first().map_or(0, TakenBatch::acks),
            timeout_ms: timeout_ms.unwrap_or(i32::MAX),
            topics: topics(taken),
        };
        let mut fields = Vec::with_capacity(64 + 16 * taken.len());
        let mut cuts = Vec::with_capacity(taken.len());
        request
            .encode_scattered(
                in_flight.version,
                in_flight.correlation_id,
                Some(&self.config.client_id),
                &mut fields,
                &mut cuts,
            )
            .map_err(|error| {
                Error::new(ErrorKind::Internal, "a produce request cannot be encoded")
                    .with_source(error)
            })?;
        Ok(OutgoingRequest {
            fields,
            cuts,
            batches,
            is_answered: in_flight.is_answered,
        })
    }

    pub(super) fn on_write_progress(&mut self, broker: BrokerId, now: Instant) {
        let request_timeout = self.config.request_timeout;
        if let Some(ready_link) = self.brokers.ready_mut(broker) {
            // A throttle has already moved the deadline of the write past the one that this would set.
            if ready_link.writing_until.is_some() && ready_link.throttled_until.is_none() {
                ready_link.write_progressed(now, request_timeout);
            }
        }
    }

    pub(super) fn on_write_finished(&mut self, broker: BrokerId, now: Instant) {
        let request_timeout = self.config.request_timeout;
        if let Some(ready_link) = self.brokers.ready_mut(broker) {
            ready_link.write_finished(now, request_timeout);
            self.complete_unanswered(broker, now);
        }
    }

    /// The latest request is written. If it has `acks=0`, completes its batches: no answer follows, so their offsets are
    /// unknown.
    fn complete_unanswered(&mut self, broker: BrokerId, now: Instant) {
        let Some(broker_link) = self.brokers.get_mut(broker) else {
            return;
        };
        let LinkState::Ready(ready_link) = &mut broker_link.state else {
            return;
        };
        if ready_link
            .in_flight
            .back()
            .is_none_or(|latest| latest.is_answered)
        {
            return;
        }
        let Some(request) = ready_link.in_flight.pop_back() else {
            return;
        };
        broker_link.failing_until = None;
        for (partition_id, _) in request.partitions {
            if let Some(InFlightBatch { batch, .. }) = self.take_in_flight(partition_id, request.id)
            {
                let written = WrittenBatch {
                    base_offset: None,
                    log_append_time_ms: None,
                };
                self.complete(batch, Outcome::Written(written));
                self.reschedule(partition_id, now);
            }
        }
    }
}

impl TakenBatch {
    fn acks(&self) -> i16 {
        self.batch.partition.config().acks
    }
}

/// Returns the topics of a request. In `taken`, the batches of a topic are neighbours.
fn topics(taken: &[TakenBatch]) -> Vec<ProduceTopic<'_, &SealedBatch>> {
    let mut topics: Vec<ProduceTopic<'_, &SealedBatch>> = Vec::new();
    for taken in taken {
        let Some(sealed) = taken.batch.sealed() else {
            continue;
        };
        let name: &str = taken.batch.partition.topic();
        if topics.last().is_none_or(|topic| topic.name != name) {
            topics.push(ProduceTopic {
                name,
                id: taken.topic_id,
                partitions: Vec::new(),
            });
        }
        if let Some(topic) = topics.last_mut() {
            topic.partitions.push(ProducePartition {
                index: taken.batch.partition.partition(),
                records: &**sealed,
            });
        }
    }
    topics
}
