//! Produce: appends batches to the logs of their partitions.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::batch::{self, Refusal};
use super::dispatch::Context;
use super::fault::PartitionError;
use super::log::{AppendRules, Appended};
use super::request::ProducedBatch;
use super::state::{Partition, State};
use crate::ErrorCode;
use crate::protocol::messages::{
    FIRST_VERSION_BY_TOPIC_ID, LeaderIdAndEpoch, NodeEndpoint, ProducePartition,
    ProducePartitionResponse, ProduceRequest, ProduceResponse, ProduceTopic, ProduceTopicResponse,
    RecordError,
};
use crate::record::decode;
use crate::record::header::ProducerStamp;
use crate::topic_partition::TopicPartition;

type Request<'a> = ProduceRequest<'a, &'a [u8]>;

/// Handles a request. The partitions in `failed` get their errors.
pub(super) fn handle(
    context: Context<'_>,
    request: &Request<'_>,
    failed: &[PartitionError],
) -> ProduceResponse {
    if !(-1..=1).contains(&request.acks) {
        return refuse(request, ErrorCode::INVALID_REQUIRED_ACKS);
    }
    let mut response = ProduceResponse::default();
    for topic in &request.topics {
        let name = topic_name(context, topic);
        let target = Target {
            context,
            topic: name.as_deref(),
        };
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for partition in &topic.partitions {
            let failure = find(failed, name.as_deref(), partition.index);
            partitions.push(match failure {
                Some(failure) if failure.is_appended => {
                    let appended = target.append(partition, &mut response.node_endpoints);
                    match appended.error {
                        ErrorCode::NONE => failure.response(appended.base_offset),
                        _ => appended,
                    }
                }
                Some(failure) => failure.response(-1),
                None => target.append(partition, &mut response.node_endpoints),
            });
        }
        response.topics.push(topic_response(topic, partitions));
    }
    response
}

/// Returns a response that reports `error` for every partition.
pub(super) fn refuse(request: &Request<'_>, error: ErrorCode) -> ProduceResponse {
    let refused = |partition: &ProducePartition<&[u8]>| ProducePartitionResponse {
        index: partition.index,
        error,
        ..ProducePartitionResponse::default()
    };
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(refused).collect();
        topic_response(topic, partitions)
    });
    ProduceResponse {
        topics: topics.collect(),
        ..ProduceResponse::default()
    }
}

/// Returns the batches in the request, for hooks.
pub(super) fn batches(context: Context<'_>, request: &Request<'_>) -> Vec<ProducedBatch> {
    let mut batches = Vec::new();
    for topic in &request.topics {
        let Some(name) = topic_name(context, topic) else {
            continue;
        };
        for partition in &topic.partitions {
            let header = decode::batches(partition.records)
                .next()
                .and_then(Result::ok)
                .map(|batch| batch.header);
            let producer = header.map_or(ProducerStamp::NONE, |header| header.producer);
            batches.push(ProducedBatch {
                topic_partition: TopicPartition::new(Arc::clone(&name), partition.index),
                producer_id: producer.producer_id,
                producer_epoch: producer.producer_epoch,
                base_sequence: producer.base_sequence,
                records_count: header.map_or(-1, |header| header.records_count),
                bytes: partition.records.len(),
            });
        }
    }
    batches
}

/// Returns the names of the topics in the request, for hooks.
pub(super) fn topics(context: Context<'_>, request: &Request<'_>) -> Vec<String> {
    let names = request
        .topics
        .iter()
        .filter_map(|topic| topic_name(context, topic));
    names.map(|name| name.as_ref().to_owned()).collect()
}

/// Returns the topic's name; `None` if the request names it by an id that no topic has.
fn topic_name(context: Context<'_>, topic: &ProduceTopic<'_, &[u8]>) -> Option<Arc<str>> {
    if context.version >= FIRST_VERSION_BY_TOPIC_ID {
        context.shared.state.lock().topic_name(&topic.id)
    } else {
        Some(topic.name.into())
    }
}

fn find<'a>(
    failed: &'a [PartitionError],
    topic: Option<&str>,
    partition: i32,
) -> Option<&'a PartitionError> {
    let is_meant = |failure: &&PartitionError| {
        topic == Some(failure.topic_partition.topic())
            && partition == failure.topic_partition.partition()
    };
    failed.iter().find(is_meant)
}

impl PartitionError {
    fn response(&self, base_offset: i64) -> ProducePartitionResponse {
        let record_errors = self
            .record_errors
            .iter()
            .map(|(batch_index, message)| RecordError {
                batch_index: *batch_index,
                message: message.clone(),
            });
        let current_leader =
            self.current_leader
                .map(|(leader_id, leader_epoch)| LeaderIdAndEpoch {
                    leader_id,
                    leader_epoch,
                });
        ProducePartitionResponse {
            index: self.topic_partition.partition(),
            error: self.error,
            base_offset,
            current_leader: current_leader.unwrap_or_default(),
            log_start_offset: self.log_start_offset,
            record_errors: record_errors.collect(),
            error_message: self.message.clone(),
            ..ProducePartitionResponse::default()
        }
    }
}

/// The target of the batches of one topic. `topic` is `None` if the request names it by an id that no topic has.
struct Target<'a> {
    context: Context<'a>,
    topic: Option<&'a str>,
}

impl Target<'_> {
    /// Appends a batch. A broker that does not lead the partition names the leader in the response, and adds the leader's
    /// address to `endpoints`.
    fn append(
        &self,
        partition: &ProducePartition<&[u8]>,
        endpoints: &mut Vec<NodeEndpoint>,
    ) -> ProducePartitionResponse {
        let Context {
            shared,
            broker,
            version,
            ..
        } = self.context;
        let mut response = ProducePartitionResponse {
            index: partition.index,
            ..ProducePartitionResponse::default()
        };
        // The expensive part comes before the lock.
        let max_message_bytes = shared.max_message_bytes.load(Ordering::Relaxed);
        let checked = batch::check(
            partition.records,
            version,
            max_message_bytes,
            &shared.options,
        );

        let mut state = shared.state.lock();
        let Some(topic) = self.topic else {
            response.error = ErrorCode::UNKNOWN_TOPIC_ID;
            return response;
        };
        let log_append_time = state
            .topic(topic)
            .is_some_and(|topic| topic.log_append_time);
        let Some(stored) = state.partition_mut(topic, partition.index) else {
            response.error = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
            return response;
        };
        if stored.leader != Some(broker) {
            response.error = ErrorCode::NOT_LEADER_OR_FOLLOWER;
            response.current_leader = current_leader(stored);
            name_leader(&state, response.current_leader.leader_id, endpoints);
            return response;
        }
        let rules = AppendRules {
            leader_epoch: stored.leader_epoch,
            log_append_time,
            refuse_unknown_producers: shared.options.refuse_unknown_producers,
        };
        response.log_start_offset = stored.log.start_offset();
        let appended = checked.and_then(|checked| {
            let appended = stored.log.append(checked, rules);
            appended.map_err(|error| Refusal {
                error,
                message: error.message().to_owned(),
            })
        });
        set_outcome(&mut response, appended);
        response
    }
}

fn set_outcome(response: &mut ProducePartitionResponse, appended: Result<Appended, Refusal>) {
    match appended {
        Ok(Appended {
            base_offset,
            log_append_time_ms,
        }) => {
            response.base_offset = base_offset;
            response.log_append_time_ms = log_append_time_ms;
        }
        Err(Refusal { error, message }) => {
            response.error = error;
            response.error_message = Some(message);
        }
    }
}

fn current_leader(partition: &Partition) -> LeaderIdAndEpoch {
    LeaderIdAndEpoch {
        leader_id: partition.leader.unwrap_or(-1),
        leader_epoch: partition.leader_epoch,
    }
}

/// Adds the address of a leader that is up to `endpoints`, once.
fn name_leader(state: &State, leader: i32, endpoints: &mut Vec<NodeEndpoint>) {
    let Some(endpoint) = state.endpoint(leader).filter(|_| state.is_up(leader)) else {
        return;
    };
    if !endpoints.contains(&endpoint) {
        endpoints.push(endpoint);
    }
}

fn topic_response(
    topic: &ProduceTopic<'_, &[u8]>,
    partitions: Vec<ProducePartitionResponse>,
) -> ProduceTopicResponse {
    ProduceTopicResponse {
        name: topic.name.to_owned(),
        id: topic.id,
        partitions,
    }
}
