//! From the batches that wait for a broker to a Produce request on its link.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::broker_link::{InFlightRequest, LinkState, ReadyLink};
use super::partition_state::{InFlightBatch, Leader};
use super::run::Sender;
use crate::accumulator::batch::{Contents, ProducerBatch, SealedBatch};
use crate::accumulator::completion::{Outcome, WrittenBatch};
use crate::accumulator::partition::PartitionId;
use crate::connection::link::{LinkId, Network, OutgoingRequest, WriteError, WriteStatus};
use crate::error::{Delivery, Error, ErrorKind};
use crate::metadata::BrokerId;
use crate::protocol::messages::{ProducePartition, ProduceRequest, ProduceTopic};
use crate::record::compression::CompressionType;
use crate::record::header::{Attributes, BATCH_HEADER_BYTES, ProducerStamp, restamp, seal};
use crate::time::monotonic_now;

/// The last version that names topics, for brokers or topics without ids.
const LAST_VERSION_BY_NAME: i16 = 12;

/// The compression after which a round ends, whoever still waits: the next one begins at once. A round without compression
/// is much shorter, and codecs take less for the usual batch.
const MOST_COMPRESSION: Duration = Duration::from_millis(5);

/// A batch taken for a request.
struct Drained {
    partition_id: PartitionId,
    leader: Leader,
    topic_id: [u8; 16],
    batch: Box<ProducerBatch>,
}

/// Whether a batch is as small as brokers are known to want it.
enum Fit {
    Fits,
    /// It would have so many bytes.
    TooLarge(usize),
}

impl<N: Network> Sender<N> {
    /// Sends as many requests as the link takes now.
    pub(super) fn send_requests(&mut self, broker: BrokerId, now: Instant) {
        while self
            .ready_link(broker)
            .is_some_and(|ready| ready.has_room(self.config.max_in_flight, now))
        {
            let drained = self.drain(broker, now);
            if drained.is_empty() {
                return;
            }
            self.send_request(broker, drained, now);
            if self.has_compressed_enough() {
                return;
            }
        }
    }

    /// Whether so much of this round went into compression that what is compressed goes out, and everybody else, answers and
    /// other brokers, has a turn before the next batch.
    pub(super) fn has_compressed_enough(&self) -> bool {
        self.compressed_for >= MOST_COMPRESSION
    }

    fn ready_link(&self, broker: BrokerId) -> Option<&ReadyLink> {
        match &self.brokers.get(&broker)?.state {
            LinkState::Ready(ready) => Some(ready),
            _ => None,
        }
    }

    pub(super) fn ready_link_mut(&mut self, broker: BrokerId) -> Option<&mut ReadyLink> {
        match &mut self.brokers.get_mut(&broker)?.state {
            LinkState::Ready(ready) => Some(ready),
            _ => None,
        }
    }

    /// Takes one batch of each partition in the broker's line, in turn, up to `max.request.size` and for as long as a round
    /// may compress; at least one, however large and slow.
    fn drain(&mut self, broker: BrokerId, now: Instant) -> Vec<Drained> {
        let mut drained: Vec<Drained> = Vec::new();
        let mut bytes = 0;
        let in_line = self.brokers.get(&broker).map_or(0, |link| link.line.len());
        for _ in 0..in_line {
            if !drained.is_empty() && self.has_compressed_enough() {
                break;
            }
            let Some(partition_id) = self
                .brokers
                .get_mut(&broker)
                .and_then(|link| link.line.pop_front())
            else {
                break;
            };
            self.state(partition_id).in_line = None;
            let Some(leader) = self
                .sendable_to(partition_id, now)
                .filter(|leader| leader.broker == broker)
            else {
                self.consider(partition_id, now);
                continue;
            };
            let Some(batch) = self.next_sealed_batch(partition_id) else {
                self.consider(partition_id, now);
                continue;
            };
            if bytes + batch.size() > self.config.max_request_size && !drained.is_empty() {
                let state = self.state(partition_id);
                state.queue.push_front(batch);
                state.in_line = Some(broker);
                if let Some(link) = self.brokers.get_mut(&broker) {
                    link.line.push_front(partition_id);
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

    /// Makes the batch's bytes final: compressed, stamped with identity and sequence, CRC last. A batch that was sealed
    /// before keeps its bytes, unless the partition has a new identity since.
    ///
    /// Nothing has happened if it is larger than the broker is known to take.
    fn seal(&mut self, partition_id: PartitionId, batch: &mut ProducerBatch) -> Result<Fit, Error> {
        // While a codec works the batch keeps its records: should that panic, they are still told their outcome. Should it
        // fail, no sequence is taken.
        let compressed = self.compress(batch)?;
        if matches!(batch.contents, Contents::Building { .. }) && batch.record_count() > 1 {
            let bytes = compressed.as_ref().map_or(batch.size(), Vec::len);
            if bytes > batch.partition.sizes().limit.most() {
                return Ok(Fit::TooLarge(bytes));
            }
        }
        let stamp = self.stamp(partition_id, batch)?;
        match std::mem::replace(&mut batch.contents, Contents::Gone) {
            Contents::Building {
                builder,
                mut reservation,
            } => {
                let records = builder.count();
                let header = builder.header(Attributes::new(self.config.compression.codec), stamp);
                let mut bytes = match compressed {
                    None => builder.into_buffer(),
                    Some(bytes) => {
                        // What was compressed away comes back to the budget at once.
                        let overhead = reservation.bytes().saturating_sub(builder.capacity());
                        drop(builder);
                        reservation.shrink_to(overhead + bytes.capacity());
                        bytes
                    }
                };
                seal(&mut bytes, &header);
                let bytes = Arc::new(SealedBatch { bytes, reservation });
                batch.contents = Contents::Sealed {
                    bytes,
                    stamp,
                    records,
                };
            }
            Contents::Sealed {
                bytes,
                stamp: sealed_with,
                records,
            } => {
                let bytes = if sealed_with == stamp {
                    bytes
                } else {
                    // Certainly not written under its old stamp, or it would have kept it.
                    (batch.maybe_written, batch.is_appended) = (false, false);
                    restamped(bytes, stamp, batch)
                };
                batch.contents = Contents::Sealed {
                    bytes,
                    stamp,
                    records,
                };
            }
            Contents::Gone => {}
        }
        batch.stamp = (stamp != ProducerStamp::NONE).then_some(stamp);
        Ok(Fit::Fits)
    }

    /// The bytes of a batch that is not sealed yet, behind room for the header; none where there is nothing to compress.
    fn compress(&mut self, batch: &ProducerBatch) -> Result<Option<Vec<u8>>, Error> {
        let compression = self.config.compression;
        let Contents::Building { builder, .. } = &batch.contents else {
            return Ok(None);
        };
        if compression.codec == CompressionType::None {
            return Ok(None);
        }
        let begun = monotonic_now();
        let compressed = self
            .compressor
            .compress_batch(compression, builder.records());
        let done = monotonic_now();
        let took = done.saturating_duration_since(begun);
        self.compressed_for += took;
        self.codec_pace.learn(done, took);
        // Compression is what makes a round long; records take their time from the worker's clock.
        self.handle().clock().tick_if_running();
        let bytes = compressed.map_err(|error| {
            Error::new(ErrorKind::Compression, "the batch cannot be compressed")
                .with_delivery(batch.delivery())
                .with_source(error)
        })?;
        let ratio = &batch.partition.sizes().ratio;
        ratio.update(compression.codec, bytes.len(), builder.len());
        Ok(Some(bytes))
    }

    /// The identity and sequence to send the batch with: its own if it has one that still stands, else the next.
    ///
    /// A batch that can be in the log keeps its stamp whatever happened since: only by that can the leader know it again.
    /// It goes before all that are sent under a later one, for it stands before them in the queue.
    fn stamp(
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
        let Some(ready) = self.ready_link_mut(broker) else {
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
            missed_from: now,
            deadline: None,
            partitions,
        };
        self.hand_over_settled();
        self.write_request(broker, link, request, outgoing, &appended, now);
        for partition_id in ids {
            self.consider(partition_id, now);
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
        if let Some(state) = self.brokers.get_mut(&broker) {
            // Somebody was served.
            state.blocked_since = None;
        }
        if let Some(ready) = self.ready_link_mut(broker) {
            ready.in_flight.push_back(request);
            match written {
                Ok(WriteStatus::InProgress) => ready.write_goes_on(written_at, request_timeout),
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
        if let Some(ready) = self.ready_link_mut(broker) {
            // Not after a throttle, which gives it more time.
            if ready.writing_until.is_some() && ready.throttled_until.is_none() {
                ready.write_goes_on(now, request_timeout);
            }
        }
    }

    pub(super) fn on_write_finished(&mut self, broker: BrokerId, now: Instant) {
        let request_timeout = self.config.request_timeout;
        if let Some(ready) = self.ready_link_mut(broker) {
            ready.write_finished(now, request_timeout);
        }
        if self.config.acks == 0 {
            self.complete_unacknowledged(broker, now);
        }
    }

    /// With `acks=0` a request that is written is done: nothing is known of offsets, and no answer comes.
    fn complete_unacknowledged(&mut self, broker: BrokerId, now: Instant) {
        let Some(link) = self.brokers.get_mut(&broker) else {
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
                    self.consider(partition_id, now);
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

/// The batch's bytes under another identity. Where the network still reads the old bytes they are left alone.
fn restamped(
    sealed: Arc<SealedBatch>,
    stamp: ProducerStamp,
    batch: &ProducerBatch,
) -> Arc<SealedBatch> {
    debug_assert!(sealed.bytes.len() >= BATCH_HEADER_BYTES);
    let mut sealed = Arc::try_unwrap(sealed).unwrap_or_else(|shared| SealedBatch {
        bytes: shared.bytes.clone(),
        reservation: batch.partition.take_memory_now(shared.bytes.len()),
    });
    restamp(&mut sealed.bytes, stamp);
    Arc::new(sealed)
}
