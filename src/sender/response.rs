//! Processes the answer to a Produce request: each of its batches is written, sent again, split, or failed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::broker_link::{InFlightRequest, LinkState, RequestId};
use super::partition_state::InFlightBatch;
use super::run::Sender;
use crate::accumulator::batch::ProducerBatch;
use crate::accumulator::completion::{Outcome, WrittenBatch};
use crate::accumulator::partition::PartitionId;
use crate::connection::link::Network;
use crate::error::{BatchAnswer, CodeRule, Error, ErrorKind, Remedy};
use crate::identity::{AfterRefusal, Report};
use crate::metadata::{Broker, BrokerId, LeaderHint, PartitionLeader};
use crate::protocol::decode_response;
use crate::protocol::messages::{
    NodeEndpoint, ProducePartitionResponse, ProduceRequest, ProduceResponse, ProduceTopicResponse,
};
use crate::threads::logging::log_line;
use crate::time::deadline_after;

/// From this version on, the broker answers first and expects the client to wait (KIP-219).
const FIRST_VERSION_WITH_CLIENT_THROTTLING: i16 = 6;

impl<N: Network> Sender<N> {
    pub(super) fn on_frame(&mut self, broker: BrokerId, frame: &[u8], now: Instant) {
        let Some(broker_link) = self.brokers.get_mut(broker) else {
            return;
        };
        let LinkState::Ready(ready_link) = &mut broker_link.state else {
            return;
        };
        let Some(request) = ready_link.in_flight.pop_front() else {
            let error = Error::new(
                ErrorKind::Protocol,
                "the broker sent an answer that no request waits for",
            );
            return self.end_link(broker, error, now);
        };
        let decoded = decode_response::<ProduceRequest<'_, Vec<u8>>>(request.version, frame);
        let error = match decoded {
            // The partition of each answer is searched for in the request. A few stray answers do no harm. Millions would
            // keep the worker busy for long.
            Ok((_, response)) if answer_count(&response) / 2 > request.partitions.len() => {
                Error::new(
                    ErrorKind::Protocol,
                    "the broker answered for more partitions than it was asked to write",
                )
            }
            Ok((correlation_id, response)) if correlation_id == request.correlation_id => {
                ready_link.last_used = now;
                ready_link.silence.answered(request.awaited_since, now);
                let link_id = ready_link.link_id;
                let throttled = requested_wait(request.version, &response);
                if let Some(wait) = throttled {
                    ready_link.throttle(deadline_after(now, wait), now);
                }
                if !ready_link.is_silent(now) {
                    broker_link.failing_until = None;
                }
                if let Some(wait) = throttled {
                    self.network.throttled(link_id, deadline_after(now, wait));
                    self.warn_of_long_throttle(broker, wait);
                }
                return self.on_response(broker, request, response, now);
            }
            Ok((correlation_id, _)) => {
                let expected = request.correlation_id;
                let message = format!(
                    "the broker answered request {correlation_id} instead of request {expected}"
                );
                Error::new(ErrorKind::Protocol, message)
            }
            Err(error) => Error::new(
                ErrorKind::Protocol,
                "the broker's answer does not follow Kafka's protocol",
            )
            .with_source(error),
        };
        // `end_link` sends the batches of this request again, too.
        ready_link.in_flight.push_front(request);
        self.end_link(broker, error, now);
    }

    /// Notes a throttle that the broker requested from another user of the connection. It applies to this link, too.
    pub(super) fn on_throttled(&mut self, broker: BrokerId, until: Instant, now: Instant) {
        let Some(broker_link) = self.brokers.get_mut(broker) else {
            return;
        };
        match &mut broker_link.state {
            LinkState::Ready(ready_link) => ready_link.throttle(until, now),
            // The link that is being made will share the throttled connection.
            _ => broker_link.throttled_until = broker_link.throttled_until.max(Some(until)),
        }
        self.warn_of_long_throttle(broker, until.saturating_duration_since(now));
    }

    /// Warns if the wait is longer than `delivery.timeout.ms`. During such a wait, records for the broker expire.
    fn warn_of_long_throttle(&self, broker: BrokerId, wait: Duration) {
        if wait < self.config.topics.delivery_timeout {
            return;
        }
        if let Some(broker_link) = self.brokers.get(broker) {
            log_line!(log::Level::Warn, target: "kafka_producer::sender",
                "broker {broker} at {} asks this client to send nothing for {} s, longer than delivery.timeout.ms={}: \
                 records for it expire until then; check its quotas",
                broker_link.endpoint, wait.as_secs(), self.config.topics.delivery_timeout.as_millis()
            );
        }
    }

    fn on_response(
        &mut self,
        broker: BrokerId,
        request: InFlightRequest,
        response: ProduceResponse,
        now: Instant,
    ) {
        let InFlightRequest { id, partitions, .. } = request;
        for (partition_id, answer) in self.assign(broker, &partitions, response.topics) {
            if let Some(sent) = self.take_in_flight(partition_id, id) {
                self.on_answer(partition_id, sent, answer, &response.node_endpoints, now);
            } else {
                log_line!(log::Level::Debug, target: "kafka_producer::sender", "a late answer for a batch that is no longer in flight");
            }
        }
        if !self.hints.is_empty() {
            self.metadata
                .apply_leader_hints(&self.cluster, &std::mem::take(&mut self.hints));
        }
        for (partition_id, _) in partitions {
            self.retry_if_left_out(partition_id, id, now);
            self.reschedule(partition_id, now);
        }
    }

    /// Finds the partition of each answer among the partitions of the request.
    fn assign(
        &self,
        broker: BrokerId,
        partitions: &[(PartitionId, [u8; 16])],
        topics: Vec<ProduceTopicResponse>,
    ) -> Vec<(PartitionId, ProducePartitionResponse)> {
        let mut answers = Vec::with_capacity(partitions.len());
        // Brokers answer in the order of the request, so each search begins behind the last match.
        let mut next = 0;
        for topic in topics {
            for answer in topic.partitions {
                let is_meant = |(id, topic_id): &(PartitionId, [u8; 16])| {
                    self.partitions.get(id).is_some_and(|state| {
                        state.partition.partition() == answer.index
                            && match topic.name.is_empty() {
                                true => *topic_id == topic.id,
                                false => **state.partition.topic() == *topic.name,
                            }
                    })
                };
                let (before, behind) = partitions.split_at(next);
                match behind.iter().chain(before).position(is_meant) {
                    Some(position) => {
                        let found = (next + position) % partitions.len();
                        next = (found + 1) % partitions.len();
                        answers.push((partitions[found].0, answer));
                    }
                    None => log_line!(
                        log::Level::Warn, target: "kafka_producer::sender",
                        "broker {broker} answered for partition {} of topic {:?}, which was not in the request",
                        answer.index, topic.name
                    ),
                }
            }
        }
        answers
    }

    /// Sends the partition's batch again if the answer left the partition out. The batch is maybe written.
    fn retry_if_left_out(&mut self, partition_id: PartitionId, request: RequestId, now: Instant) {
        if let Some(InFlightBatch {
            mut batch, leader, ..
        }) = self.take_in_flight(partition_id, request)
        {
            batch.maybe_written = true;
            let message = "the broker's answer left the partition out";
            let error = Error::new(ErrorKind::Protocol, message)
                .with_topic_partition(batch.completion().topic_partition());
            self.retry(partition_id, batch, error, leader, now);
        }
    }

    fn on_answer(
        &mut self,
        partition_id: PartitionId,
        sent: InFlightBatch,
        answer: ProducePartitionResponse,
        endpoints: &[NodeEndpoint],
        now: Instant,
    ) {
        if answer.error.is_none() {
            let sizes = sent.batch.partition.sizes();
            sizes.limit.taken(sent.batch.size(), sent.batch.is_full);
            let written = WrittenBatch {
                base_offset: (answer.base_offset >= 0).then_some(answer.base_offset),
                log_append_time_ms: (answer.log_append_time_ms >= 0)
                    .then_some(answer.log_append_time_ms),
            };
            return self.on_written(partition_id, sent, written, now);
        }
        if CodeRule::of(answer.error).batch == BatchAnswer::Duplicate {
            // The broker wrote the batch when it was sent before, and no longer knows its offset.
            let written = WrittenBatch {
                base_offset: None,
                log_append_time_ms: None,
            };
            return self.on_written(partition_id, sent, written, now);
        }
        self.on_refused(partition_id, sent, &answer, endpoints, now);
    }

    fn on_written(
        &mut self,
        partition_id: PartitionId,
        sent: InFlightBatch,
        written: WrittenBatch,
        now: Instant,
    ) {
        if let Some(stamp) = sent.batch.stamp {
            let acknowledged = Report::Acknowledged {
                stamp,
                by: sent.leader,
                at: now,
            };
            self.report(partition_id, acknowledged);
        }
        self.complete(sent.batch, Outcome::Written(written));
    }

    fn on_refused(
        &mut self,
        partition_id: PartitionId,
        sent: InFlightBatch,
        answer: &ProducePartitionResponse,
        endpoints: &[NodeEndpoint],
        now: Instant,
    ) {
        let InFlightBatch {
            mut batch,
            leader: sent_to,
            ..
        } = sent;
        let rule = CodeRule::of(answer.error);
        // A base offset means, with any error code, that the leader appended the batch. Then something went wrong: for
        // example, the leadership moved while the leader waited for the replicas.
        batch.maybe_written |= rule.batch == BatchAnswer::MaybeWritten || answer.base_offset >= 0;
        batch.is_appended = rule.batch == BatchAnswer::Appended;
        batch.maybe_written |= batch.is_appended;
        let error = broker_error(&batch, answer);
        if rule.batch == BatchAnswer::TooLarge && batch.record_count() > 1 {
            return self.split(partition_id, batch, error, now);
        }
        if rule.remedy == Remedy::Refresh {
            self.hints
                .extend(leader_hint(&batch, sent_to, answer, endpoints));
            self.metadata.request_refresh();
        }
        let after_refusal = match rule.batch {
            BatchAnswer::OutOfSequence => self.after_refusal(partition_id, &batch),
            _ => None,
        };
        match after_refusal {
            Some(AfterRefusal::WaitForEarlier) => {
                self.wait_for_earlier(partition_id, batch, error, now)
            }
            Some(AfterRefusal::Retry) => self.retry(partition_id, batch, error, sent_to, now),
            Some(AfterRefusal::Fail) => {
                let outcome = Outcome::Failed(error.with_retriable(false));
                self.give_up(partition_id, batch, outcome);
            }
            None if rule.remedy != Remedy::Fail => {
                self.retry(partition_id, batch, error, sent_to, now);
            }
            None => {
                let error = error.with_delivery(batch.delivery());
                let outcome = refusal(batch.record_count(), answer, error);
                self.give_up(partition_id, batch, outcome);
            }
        }
    }
}

fn answer_count(response: &ProduceResponse) -> usize {
    response
        .topics
        .iter()
        .map(|topic| topic.partitions.len())
        .sum()
}

/// Returns the new leader if the answer names one (KIP-951). The batch then goes there without waiting for metadata.
fn leader_hint(
    batch: &ProducerBatch,
    sent_to: PartitionLeader,
    answer: &ProducePartitionResponse,
    endpoints: &[NodeEndpoint],
) -> Option<LeaderHint> {
    let leader = &answer.current_leader;
    if leader.leader_id < 0 || leader.leader_epoch < 0 {
        return None;
    }
    let endpoint = endpoints
        .iter()
        .find(|endpoint| endpoint.node_id == leader.leader_id);
    let broker = endpoint.and_then(|endpoint| {
        let NodeEndpoint {
            node_id,
            host,
            port,
            rack,
        } = endpoint;
        Broker::advertised(*node_id, host, *port, rack.as_deref())
    });
    Some(LeaderHint {
        topic: Arc::clone(batch.partition.topic()),
        topic_id: sent_to.topic_id,
        partition: answer.index,
        leader: leader.leader_id,
        leader_epoch: leader.leader_epoch,
        broker,
    })
}

/// Returns how long the answer asks this client to wait.
fn requested_wait(version: i16, response: &ProduceResponse) -> Option<Duration> {
    let ms @ 1.. = u64::try_from(response.throttle_time_ms).ok()? else {
        return None;
    };
    (version >= FIRST_VERSION_WITH_CLIENT_THROTTLING).then(|| Duration::from_millis(ms))
}

/// Returns the error that the answer means for the whole batch.
fn broker_error(batch: &ProducerBatch, answer: &ProducePartitionResponse) -> Error {
    let code = answer.error;
    let mut error = Error::answered(code, code.message())
        .with_topic_partition(batch.completion().topic_partition())
        .with_retriable(code.is_retriable())
        .with_delivery(batch.delivery());
    if let Some(message) = &answer.error_message {
        error = error.with_broker_message(message);
    }
    if batch.is_appended {
        error = error.with_advice(
            "do not send it again: consumers see it when enough replicas have it; it is lost only if the leader fails first",
        );
    }
    error
}

/// Returns the outcome of a refused batch. The records that the broker named get the broker's errors. The other records get
/// an error which says that other records caused the refusal (KIP-467).
fn refusal(records: u32, answer: &ProducePartitionResponse, error: Error) -> Outcome {
    if answer.record_errors.is_empty() {
        return Outcome::Failed(error);
    }
    // A broker can name an index that does not exist, or name one several times.
    let mut faults: BTreeMap<u32, Option<&str>> = BTreeMap::new();
    for refused in &answer.record_errors {
        let index = u32::try_from(refused.batch_index).ok();
        if let Some(index) = index.filter(|index| *index < records) {
            faults.entry(index).or_insert(refused.message.as_deref());
        }
    }
    let by_record = faults
        .into_iter()
        .map(|(index, message)| match message {
            Some(message) => (index, error.clone().with_broker_message(message)),
            None => (index, error.clone()),
        })
        .collect();
    let code = answer.error;
    let mut others = Error::new(
        ErrorKind::InvalidRecord,
        "the broker refused the whole batch because of other records in it",
    )
    .with_broker_code(code)
    // The broker can accept these records without the faulty ones.
    .with_retriable(true)
    .with_delivery(error.delivery());
    if let Some(topic_partition) = error.topic_partition() {
        others = others.with_topic_partition(topic_partition.clone());
    }
    Outcome::Refused { by_record, others }
}
