//! Metadata: how the cluster describes its brokers, topics and leaders.

use super::dispatch::Context;
use super::state::{HOST, Partition, State, Topic, is_valid_topic_name};
use crate::ErrorCode;
use crate::protocol::messages::{
    MetadataBroker, MetadataPartition, MetadataRequest, MetadataRequestTopic, MetadataResponse,
    MetadataTopic,
};

/// Creates the topics of the request that do not exist, if client and cluster allow it.
pub(super) fn handle(context: Context<'_>, request: &MetadataRequest<'_>) -> MetadataResponse {
    let options = &context.shared.options;
    let creates = options.auto_create_topics && request.allow_auto_topic_creation;
    let new_partitions = creates.then_some(options.default_partitions);
    let mut state = context.shared.state.lock();
    let topics = match &request.topics {
        Some(topics) => topics
            .iter()
            .map(|topic| requested_topic(&mut state, topic, new_partitions))
            .collect(),
        None => state
            .topics()
            .map(|(name, topic)| describe_topic(&state, name, topic))
            .collect(),
    };
    MetadataResponse {
        topics,
        ..without_topics(&state)
    }
}

pub(super) fn refuse(
    context: Context<'_>,
    request: &MetadataRequest<'_>,
    error: ErrorCode,
) -> MetadataResponse {
    let requested = request.topics.iter().flatten();
    MetadataResponse {
        topics: requested.map(|topic| failed_topic(topic, error)).collect(),
        error,
        ..without_topics(&context.shared.state.lock())
    }
}

/// Replaces the descriptions of these topics by their errors. A broker that refuses a topic names no id of it.
pub(super) fn fail_topics(response: &mut MetadataResponse, failed: &[(String, ErrorCode)]) {
    for topic in &mut response.topics {
        let name = topic.name.as_deref();
        let Some((_, error)) = failed.iter().find(|(failed, _)| Some(&**failed) == name) else {
            continue;
        };
        topic.error = *error;
        topic.id = [0; 16];
        topic.partitions.clear();
    }
}

/// Returns the names of the topics in the request, for hooks.
pub(super) fn topics(request: &MetadataRequest<'_>) -> Vec<String> {
    let requested = request.topics.iter().flatten();
    let names = requested.filter_map(|topic| topic.name);
    names.map(str::to_owned).collect()
}

fn without_topics(state: &State) -> MetadataResponse {
    let up = state.brokers().filter(|(_, broker)| broker.is_up);
    let brokers: Vec<_> = up
        .map(|(node_id, broker)| MetadataBroker {
            node_id,
            host: HOST.to_owned(),
            port: broker.port.into(),
            rack: None,
        })
        .collect();
    MetadataResponse {
        throttle_time_ms: 0,
        controller_id: brokers.first().map_or(-1, |broker| broker.node_id),
        brokers,
        cluster_id: Some(state.cluster_id.clone()),
        topics: Vec::new(),
        error: ErrorCode::NONE,
    }
}

/// Describes a topic by its name or id. A topic that does not exist is created first, if `new_partitions` is set.
fn requested_topic(
    state: &mut State,
    requested: &MetadataRequestTopic<'_>,
    new_partitions: Option<i32>,
) -> MetadataTopic {
    let Some(name) = requested.name else {
        return match state.topic_by_id(&requested.id) {
            Some((name, topic)) => describe_topic(state, name, topic),
            None => failed_topic(requested, ErrorCode::UNKNOWN_TOPIC_ID),
        };
    };
    if !is_valid_topic_name(name) {
        return failed_topic(requested, ErrorCode::INVALID_TOPIC_EXCEPTION);
    }
    if let Some(partitions) = new_partitions {
        state.create_topic(name, partitions);
    }
    match state.topic(name) {
        Some(topic) => describe_topic(state, name, topic),
        None => failed_topic(requested, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
    }
}

fn describe_topic(state: &State, name: &str, topic: &Topic) -> MetadataTopic {
    let partitions = (0..)
        .zip(&topic.partitions)
        .map(|(index, partition)| describe_partition(state, index, partition));
    MetadataTopic {
        error: ErrorCode::NONE,
        name: Some(name.to_owned()),
        id: topic.id,
        is_internal: false,
        partitions: partitions.collect(),
    }
}

/// Every broker counts as a replica: a producer only prints them.
fn describe_partition(state: &State, index: i32, partition: &Partition) -> MetadataPartition {
    let (leader, leader_epoch) = match partition.pretended_leader {
        Some((leader, leader_epoch)) => (Some(leader), leader_epoch),
        None => (partition.leader, partition.leader_epoch),
    };
    let leader = leader.filter(|leader| state.is_up(*leader));
    let ids = |is_chosen: &dyn Fn(bool) -> bool| {
        let chosen = state
            .brokers()
            .filter(|(_, broker)| is_chosen(broker.is_up));
        chosen.map(|(id, _)| id).collect()
    };
    MetadataPartition {
        error: match leader {
            Some(_) => ErrorCode::NONE,
            None => ErrorCode::LEADER_NOT_AVAILABLE,
        },
        index,
        leader_id: leader.unwrap_or(-1),
        leader_epoch,
        replica_nodes: ids(&|_| true),
        isr_nodes: ids(&|is_up| is_up),
        offline_replicas: ids(&|is_up| !is_up),
    }
}

fn failed_topic(requested: &MetadataRequestTopic<'_>, error: ErrorCode) -> MetadataTopic {
    MetadataTopic {
        error,
        name: requested.name.map(str::to_owned),
        id: requested.id,
        is_internal: false,
        partitions: Vec::new(),
    }
}
