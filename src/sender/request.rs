//! From the batches that wait for a broker to a Produce request on its link.

use std::sync::Arc;
use std::time::Instant;

use super::broker_link::{InFlightRequest, LinkState};
use super::partition_state::{InFlightBatch, Leader};
use super::run::Sender;
use super::schedule::Next;
use super::seal::Fit;
use crate::accumulator::batch::{ProducerBatch, SealedBatch};
use crate::accumulator::completion::{Outcome, WrittenBatch};
use crate::accumulator::partition::PartitionId;
use crate::connection::link::{LinkId, Network, OutgoingRequest, WriteError, WriteStatus};
use crate::error::{Delivery, Error, ErrorKind};
use crate::metadata::BrokerId;
use crate::protocol::messages::{ProducePartition, ProduceRequest, ProduceTopic};
use crate::record::header::ProducerStamp;
use crate::time::monotonic_now;

/// The last version that names topics, for brokers or topics without ids.
const LAST_VERSION_BY_NAME: i16 = 12;

/// A batch taken for a request.
struct Drained {
    partition_id: PartitionId,
    leader: Leader,
    topic_id: [u8; 16],
    batch: Box<ProducerBatch>,
}

impl<N: Network> Sender<N> {
    /// Sends as many requests as the link takes now.
    pub(super) fn send_requests(&mut self, broker: BrokerId, now: Instant) {
        let max_in_flight = self.config.max_in_flight;
        while (self.brokers.get(broker)).is_some_and(|link| link.has_room(max_in_flight, now)) {
            let drained = self.drain(broker, now);
            if drained.is_empty() {
                return;
            }
            self.send_request(broker, drained, now);
            if self.codec.has_worked_enough() {
                return;
            }
        }
    }

    /// Takes one batch of each partition in the broker's line, in turn, up to `max.request.size` and for as long as a round
    /// may compress; at least one, however large and slow.
    fn drain(&mut self, broker: BrokerId, now: Instant) -> Vec<Drained> {
        let mut drained: Vec<Drained> = Vec::new();
        let mut bytes = 0;
        let in_line = self
            .brokers
            .get(broker)
            .map_or(0, |link| link.ready_queue.len());
        for _ in 0..in_line {
            if !drained.is_empty() && self.codec.has_worked_enough() {
                break;
            }
            let link = self.brokers.get_mut(broker);
            let Some(partition_id) = link.and_then(|link| link.ready_queue.pop_front()) else {
                break;
            };
            self.state(partition_id).noted.queued_at = None;
            let leader = match self.next(partition_id, now) {
                Next::Ready(leader) if leader.broker == broker => leader,
                _ => {
                    self.reschedule(partition_id, now);
                    continue;
                }
            };
            let Some(batch) = self.next_sealed_batch(partition_id) else {
                self.reschedule(partition_id, now);
                continue;
            };
            if bytes + batch.size() > self.config.max_request_size && !drained.is_empty() {
                let state = self.state(partition_id);
                state.queue.push_front(batch);
                state.noted.queued_at = Some(broker);
                if let Some(link) = self.brokers.get_mut(broker) {
                    link.ready_queue.push_front(partition_id);
                }
                break;
            }
            bytes += batch.size();
            let topic_id = self
                .state(partition_id)
                .topic_id
                .map_or([0; 16], |id| *id.as_bytes());
            drained.push(Drained {
                partition_id,
                leader,
                topic_id,
                batch,
            });
        }
        drained
    }

    /// The partition's next batch, ready for the wire: from its queue, else the open one.
    fn next_sealed_batch(&mut self, partition_id: PartitionId) -> Option<Box<ProducerBatch>> {
        loop {
            if self.state(partition_id).queue.is_empty() {
                self.queue_open_batch(partition_id);
            }
            let mut batch = self.state(partition_id).queue.pop_front()?;
            match self.seal(partition_id, &mut batch) {
                Ok(Fit::Fits) => return Some(batch),
                Ok(Fit::TooLarge(bytes)) => {
                    if let Err(batch) = self.split_to_fit(partition_id, batch, bytes) {
                        batch.partition.batch_drained();
                        let error = Error::new(ErrorKind::Internal, "a batch cannot be split");
                        let error = batch.own(&error);
                        self.give_up(partition_id, batch, Outcome::Failed(error));
                    }
                }
                Err(error) => {
                    batch.partition.batch_drained();
                    let error = error.with_topic_partition(batch.completion().topic_partition());
                    self.give_up(partition_id, batch, Outcome::Failed(error));
                }
            }
        }
    }

    /// The identity and sequence to send the batch with: its own if it has one that still stands, else the next.
    ///
    /// A batch that can be in the log keeps its stamp whatever happened since: only by that can the leader know it again.
    /// It goes before all that are sent under a later one, for it stands before them in the queue.
    pub(super) fn stamp(
        &mut self,
        partition_id: PartitionId,
        batch: &ProducerBatch,
    ) -> Result<ProducerStamp, Error> {
        if !self.config.idempotence {
            return Ok(ProducerStamp::NONE);
        }
        let sequence = &mut self.state(partition_id).sequence;
        if let Some(stamp) = batch.stamp {
            let place = batch.place();
            if batch.maybe_written && sequence.is_renounced(stamp) {
                return Err(made_anew_error());
            }
            if sequence.is_current(stamp)
                || (batch.maybe_written && !sequence.is_behind_gap(stamp, place))
            {
                return Ok(stamp);
            }
            sequence.note_gap(stamp, place);
        }
        let no_identity = || {
            Error::new(
                ErrorKind::Internal,
                "a batch was to be sent without a producer id",
            )
        };
        sequence
            .assign(batch.record_count() as i32)
            .ok_or_else(no_identity)
    }

    fn send_request(&mut self, broker: BrokerId, mut drained: Vec<Drained>, now: Instant) {
        // Partitions of a topic stand together in a request.
        drained.sort_by(|a, b| a.batch.partition.topic().cmp(b.batch.partition.topic()));
        let id = self.next_request;
        self.next_request.0 += 1;
        let Some(ready) = self.brokers.ready_mut(broker) else {
            return;
        };
        let (link, correlation_id) = (ready.link, ready.next_correlation_id());
        let has_ids = drained.iter().all(|drained| drained.topic_id != [0; 16]);
        let version = if has_ids {
            ready.version
        } else {
            ready.version.min(LAST_VERSION_BY_NAME)
        };
        ready.last_used = now;

        let outgoing = match self.encode(&drained, version, correlation_id) {
            Ok(outgoing) => outgoing,
            Err(error) => return self.give_up_drained(drained, &error),
        };
        let partitions = drained
            .iter()
            .map(|drained| (drained.partition_id, drained.topic_id))
            .collect();
        let ids: Vec<PartitionId> = drained.iter().map(|drained| drained.partition_id).collect();
        let appended = drained.iter().filter(|drained| drained.batch.is_appended);
        let appended: Vec<PartitionId> = appended.map(|drained| drained.partition_id).collect();
        for Drained {
            partition_id,
            leader,
            mut batch,
            ..
        } in drained
        {
            batch.partition.batch_drained();
            batch.is_appended = false;
            self.state(partition_id).sent(InFlightBatch {
                batch,
                request: id,
                leader,
            });
        }
        let request = InFlightRequest {
            id,
            correlation_id,
            version,
            awaited_since: now,
            deadline: None,
            partitions,
        };
        self.hand_over_settled();
        self.write_request(broker, link, request, outgoing, &appended, now);
        for partition_id in ids {
            self.reschedule(partition_id, now);
        }
    }

    /// Writes a request whose batches count as in flight; `appended` are those known to be in the log.
    fn write_request(
        &mut self,
        broker: BrokerId,
        link: LinkId,
        request: InFlightRequest,
        outgoing: OutgoingRequest,
        appended: &[PartitionId],
        now: Instant,
    ) {
        let written = self.network.write(link, outgoing);
        // To compress the batches and to write can take longer than the rest of a round, and than a timeout.
        let written_at = monotonic_now().max(now);
        let request_timeout = self.config.request_timeout;
        let expects_answer = self.config.acks != 0;
        if let Err(WriteError::NothingWritten(error)) = written {
            self.take_back(&request, appended);
            return self.link_failed(broker, error, now);
        }
        if let Some(state) = self.brokers.get_mut(broker) {
            // Somebody was served.
            state.blocked_since = None;
        }
        if let Some(ready) = self.brokers.ready_mut(broker) {
            ready.in_flight.push_back(request);
            match written {
                Ok(WriteStatus::InProgress) => ready.write_progressed(written_at, request_timeout),
                _ => ready.write_finished(written_at, request_timeout),
            }
        }
        match written {
            Ok(WriteStatus::Complete) if !expects_answer => {
                self.complete_unacknowledged(broker, now)
            }
            Ok(_) => {}
            Err(error) => self.link_failed(broker, error.into(), now),
        }
    }

    /// Nothing of the request was written: its batches go back into their places as they were, those in `appended` known to
    /// be in the log. That costs no retry, for nothing was tried; `delivery.timeout.ms` goes on.
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

    /// Not even an attempt was made, and the next one would go no better.
    fn give_up_drained(&mut self, drained: Vec<Drained>, error: &Error) {
        for Drained {
            partition_id,
            batch,
            ..
        } in drained
        {
            batch.partition.batch_drained();
            let error = batch.own(error);
            self.give_up(partition_id, batch, Outcome::Failed(error));
        }
    }

    fn encode(
        &self,
        drained: &[Drained],
        version: i16,
        correlation_id: i32,
    ) -> Result<OutgoingRequest, Error> {
        let mut topics: Vec<ProduceTopic<'_, &SealedBatch>> = Vec::new();
        let mut batches: Vec<Arc<dyn AsRef<[u8]> + Send + Sync>> =
            Vec::with_capacity(drained.len());
        for Drained {
            topic_id, batch, ..
        } in drained
        {
            let Some(sealed) = batch.sealed() else {
                continue;
            };
            let name: &str = batch.partition.topic();
            if topics.last().is_none_or(|topic| topic.name != name) {
                topics.push(ProduceTopic {
                    name,
                    id: *topic_id,
                    partitions: Vec::new(),
                });
            }
            if let Some(topic) = topics.last_mut() {
                topic.partitions.push(ProducePartition {
                    index: batch.partition.partition(),
                    records: &**sealed,
                });
            }
            batches.push(Arc::clone(sealed) as Arc<dyn AsRef<[u8]> + Send + Sync>);
        }
        let request = ProduceRequest {
            transactional_id: None,
            acks: self.config.acks,
            timeout_ms: i32::try_from(self.config.request_timeout.as_millis()).unwrap_or(i32::MAX),
            topics,
        };
        let (mut fields, mut cuts) = (
            Vec::with_capacity(64 + 16 * drained.len()),
            Vec::with_capacity(drained.len()),
        );
        request
            .encode_scattered(
                version,
                correlation_id,
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
            is_answered: self.config.acks != 0,
        })
    }

    pub(super) fn on_write_progress(&mut self, broker: BrokerId, now: Instant) {
        let request_timeout = self.config.request_timeout;
        if let Some(ready) = self.brokers.ready_mut(broker) {
            // Not after a throttle, which gives it more time.
            if ready.writing_until.is_some() && ready.throttled_until.is_none() {
                ready.write_progressed(now, request_timeout);
            }
        }
    }

    pub(super) fn on_write_finished(&mut self, broker: BrokerId, now: Instant) {
        let request_timeout = self.config.request_timeout;
        if let Some(ready) = self.brokers.ready_mut(broker) {
            ready.write_finished(now, request_timeout);
        }
        if self.config.acks == 0 {
            self.complete_unacknowledged(broker, now);
        }
    }

    /// With `acks=0` a request that is written is done: nothing is known of offsets, and no answer comes.
    fn complete_unacknowledged(&mut self, broker: BrokerId, now: Instant) {
        let Some(link) = self.brokers.get_mut(broker) else {
            return;
        };
        let LinkState::Ready(ready) = &mut link.state else {
            return;
        };
        let requests = std::mem::take(&mut ready.in_flight);
        link.failing_until = None;
        for request in requests {
            for (partition_id, _) in request.partitions {
                if let Some(InFlightBatch { batch, .. }) =
                    self.take_in_flight(partition_id, request.id)
                {
                    let written = WrittenBatch {
                        base_offset: None,
                        log_append_time_ms: None,
                    };
                    self.settle(batch, Outcome::Written(written));
                    self.reschedule(partition_id, now);
                }
            }
        }
    }
}

/// The log that may have the batch is gone, and the one in its place knows neither the batch nor its producer id.
fn made_anew_error() -> Error {
    let message = "the topic was deleted and made anew before a broker acknowledged the record";
    Error::new(ErrorKind::Broker, message)
        .with_delivery(Delivery::MaybeWritten)
        .with_advice("check whether the record exists before you send it again")
}
