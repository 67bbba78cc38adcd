//! Produce: batches to partitions' logs.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::batch::{self, Refusal};
use super::cluster::Shared;
use super::fault::PartitionError;
use super::log::{Appended, Terms};
use super::request::ProducedBatch;
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

/// Handles a request at `broker`, except for the partitions in `failed`, which get their errors.
pub(super) fn handle(
    shared: &Shared,
    broker: i32,
    version: i16,
    request: &Request<'_>,
    failed: &[PartitionError],
) -> ProduceResponse {
    if !(-1..=1).contains(&request.acks) {
        return refuse(request, ErrorCode::INVALID_REQUIRED_ACKS);
    }
    let mut response = ProduceResponse::default();
    for topic in &request.topics {
        let name = topic_name(shared, version, topic);
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for partition in &topic.partitions {
            let target = Target {
                shared,
                broker,
                version,
                topic: name.as_deref(),
            };
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

/// The answer that refuses every partition.
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

/// The batches of a request, for a hook to look at.
pub(super) fn batches(shared: &Shared, version: i16, request: &Request<'_>) -> Vec<ProducedBatch> {
    let mut batches = Vec::new();
    for topic in &request.topics {
        let Some(name) = topic_name(shared, version, topic) else {
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

/// The names of a request's topics, for a hook to look at.
pub(super) fn topics(shared: &Shared, version: i16, request: &Request<'_>) -> Vec<String> {
    let names = request
        .topics
        .iter()
        .filter_map(|topic| topic_name(shared, version, topic));
    names.map(|name| name.as_ref().to_owned()).collect()
}

/// The topic's name; none where it is given by an id that no topic has.
fn topic_name(shared: &Shared, version: i16, topic: &ProduceTopic<'_, &[u8]>) -> Option<Arc<str>> {
    if version >= FIRST_VERSION_BY_TOPIC_ID {
        shared.state.lock().topic_name(&topic.id)
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

/// Where a batch is to go.
struct Target<'a> {
    shared: &'a Shared,
    broker: i32,
    version: i16,
    topic: Option<&'a str>,
}

impl Target<'_> {
    /// The leaders that clients are told of go into `endpoints`.
    fn append(
        &self,
        partition: &ProducePartition<&[u8]>,
        endpoints: &mut Vec<NodeEndpoint>,
    ) -> ProducePartitionResponse {
        let mut response = ProducePartitionResponse {
            index: partition.index,
            ..ProducePartitionResponse::default()
        };
        // What is costly is done before the lock is taken.
        let max_message_bytes = self.shared.max_message_bytes.load(Ordering::Relaxed);
        let options = &self.shared.options;
        let checked = batch::check(partition.records, self.version, max_message_bytes, options);

        let mut state = self.shared.state.lock();
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
        if stored.leader != Some(self.broker) {
            response.error = ErrorCode::NOT_LEADER_OR_FOLLOWER;
            let (leader, leader_epoch) = (stored.leader, stored.leader_epoch);
            response.current_leader = LeaderIdAndEpoch {
                leader_id: leader.unwrap_or(-1),
                leader_epoch,
            };
            if let Some(endpoint) = leader
                .filter(|leader| state.is_up(*leader))
                .and_then(|leader| state.endpoint(leader))
            {
                if !endpoints.contains(&endpoint) {
                    endpoints.push(endpoint);
                }
            }
            return response;
        }
        let terms = Terms {
            leader_epoch: stored.leader_epoch,
            log_append_time,
            refuse_unknown_producers: options.refuse_unknown_producers,
        };
        response.log_start_offset = stored.log.start_offset();
        let appended = match checked {
            Ok(checked) => stored.log.append(checked, terms).map_err(|error| Refusal {
                error,
                message: error.message().to_owned(),
            }),
            Err(refusal) => Err(refusal),
        };
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
        response
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
