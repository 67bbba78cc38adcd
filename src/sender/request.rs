//! A Produce request: from the batches that are ready for a broker to the bytes on its link.

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

/// The last version that names topics, for brokers or topics without ids.
const LAST_VERSION_BY_NAME: i16 = 12;

/// A batch taken for a request.
struct TakenBatch {
    partition_id: PartitionId,
    leader: PartitionLeader,
    topic_id: [u8; 16],
    batch: Box<ProducerBatch>,
}

/// A request whose batches count as in flight, to be written.
struct NewRequest {
    link: LinkId,
    in_flight: InFlightRequest,
    bytes: OutgoingRequest,
    /// The partitions whose batches are known to be in the log.
    appended: Vec<PartitionId>,
}

impl<N: Network> Sender<N> {
    /// Sends as many requests as the link takes now.
    pub(super) fn send_requests(&mut self, broker: BrokerId, now: Instant) {
        let max_in_flight = self.config.max_in_flight;
        while (self.brokers.get(broker)).is_some_and(|link| link.has_room(max_in_flight, now)) {
            let taken = self.take_batches(broker, now);
            if taken.is_empty() {
                return;
            }
            self.send_request(broker, taken, now);
            if self.codec.has_worked_enough() {
                return;
            }
        }
    }

    /// Takes one batch of each partition in the broker's ready queue, in its order, up to `max.request.size` and for as long
    /// as a round may compress. Takes at least one, however large and slow it is. All of them have the same `acks`, which is
    /// a field of the request.
    fn take_batches(&mut self, broker: BrokerId, now: Instant) -> Vec<TakenBatch> {
        let mut taken: Vec<TakenBatch> = Vec::new();
        let mut bytes = 0;
        let ready = self.brokers.get(broker);
        for _ in 0..ready.map_or(0, |link| link.ready_queue.len()) {
            if !taken.is_empty() && self.codec.has_worked_enough() {
                break;
            }
            let link = self.brokers.get_mut(broker);
            let Some(id) = link.and_then(|link| link.ready_queue.pop_front()) else {
                break;
            };
            self.state(id).noted.queued_at = None;
            let Some(next) = self.take_batch(id, broker, now) else {
                self.reschedule(id, now);
                continue;
            };
            let fits = taken.first().is_none_or(|first| {
                bytes + next.batch.size() <= self.config.max_request_size
                    && next.acks() == first.acks()
            });
            if !fits {
                self.give_back(broker, next);
                break;
            }
            bytes += next.batch.size();
            taken.push(next);
        }
        taken
    }

    /// Takes the partition's next batch, sealed, if it can be sent to the broker now.
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

    /// The batch is sent with the next request: its partition is the first in the ready queue again.
    fn give_back(&mut self, broker: BrokerId, taken: TakenBatch) {
        let state = self.state(taken.partition_id);
        state.queue.push_front(taken.batch);
        state.noted.queued_at = Some(broker);
        if let Some(link) = self.brokers.get_mut(broker) {
            link.ready_queue.push_front(taken.partition_id);
        }
    }

    /// Takes the partition's next batch from its queue, or the open one, and seals it.
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
            // Each batch is admitted separately: the end of the one before can change the identity.
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

    /// Numbers and encodes the request for these batches. `None` if the link is not ready.
    fn new_request(
        &mut self,
        broker: BrokerId,
        taken: &[TakenBatch],
        now: Instant,
    ) -> Option<Result<NewRequest, Error>> {
        let id = self.next_request;
        self.next_request.0 += 1;
        let ready = self.brokers.ready_mut(broker)?;
        ready.last_used = now;
        let link = ready.link;
        let has_ids = taken.iter().all(|taken| taken.topic_id != [0; 16]);
        let in_flight = InFlightRequest {
            id,
            correlation_id: ready.next_correlation_id(),
            version: match has_ids {
                true => ready.version,
                false => ready.version.min(LAST_VERSION_BY_NAME),
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
            link,
            in_flight,
            bytes,
            appended,
        }))
    }

    fn write_request(&mut self, broker: BrokerId, request: NewRequest, now: Instant) {
        let NewRequest {
            link,
            in_flight,
            bytes,
            appended,
        } = request;
        let written = self.network.write(link, bytes);
        // Compressing the batches and writing them can take longer than the rest of a round, and than a timeout.
        let written_at = monotonic_now().max(now);
        let request_timeout = self.config.request_timeout;
        let is_answered = in_flight.is_answered;
        if let Err(WriteError::NothingWritten(error)) = written {
            self.take_back(&in_flight, &appended);
            return self.link_failed(broker, error, now);
        }
        if let Some(link) = self.brokers.get_mut(broker) {
            link.blocked_since = None;
        }
        if let Some(ready) = self.brokers.ready_mut(broker) {
            ready.in_flight.push_back(in_flight);
            match written {
                Ok(WriteStatus::InProgress) => ready.write_progressed(written_at, request_timeout),
                _ => ready.write_finished(written_at, request_timeout),
            }
        }
        match written {
            Ok(WriteStatus::Complete) if !is_answered => self.complete_unanswered(broker, now),
            Ok(_) => {}
            Err(error) => self.link_failed(broker, error.into(), now),
        }
    }

    /// Nothing of the request was written: its batches go back to their positions as they were, those in `appended` known to
    /// be in the log. This costs no retry, because nothing was tried; `delivery.timeout.ms` goes on.
    fn take_back(&mut self, request: &InFlightRequest, appended: &[PartitionId]) {
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

    /// Fails batches whose request cannot be encoded: another attempt would end the same way.
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
        if let Some(ready) = self.brokers.ready_mut(broker) {
            // Not while the broker throttles, which gives the write more time.
            if ready.writing_until.is_some() && ready.throttled_until.is_none() {
                ready.write_progressed(now, request_timeout);
            }
        }
    }

    pub(super) fn on_write_finished(&mut self, broker: BrokerId, now: Instant) {
        let request_timeout = self.config.request_timeout;
        if let Some(ready) = self.brokers.ready_mut(broker) {
            ready.write_finished(now, request_timeout);
            self.complete_unanswered(broker, now);
        }
    }

    /// Completes the batches of a request with `acks=0`, which is written. No answer follows, and the offsets stay unknown.
    fn complete_unanswered(&mut self, broker: BrokerId, now: Instant) {
        let Some(link) = self.brokers.get_mut(broker) else {
            return;
        };
        let LinkState::Ready(ready) = &mut link.state else {
            return;
        };
        if ready
            .in_flight
            .back()
            .is_none_or(|latest| latest.is_answered)
        {
            return;
        }
        let Some(request) = ready.in_flight.pop_back() else {
            return;
        };
        link.failing_until = None;
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

/// The topics of a request. Batches of a topic are neighbours.
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
