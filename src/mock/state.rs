//! What the cluster knows, behind one lock: topics, leaders, brokers, versions, requests.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use super::log::PartitionLog;
use super::request::{MockApi, RequestLog};
use crate::ErrorCode;
use crate::metadata::TopicId;
use crate::protocol::messages::{
    ApiVersionRange, ApiVersionsResponse, InitProducerIdRequest, InitProducerIdResponse,
    MetadataBroker, MetadataPartition, MetadataRequest, MetadataRequestTopic, MetadataResponse,
    MetadataTopic, NodeEndpoint,
};

pub(super) struct State {
    pub(super) cluster_id: String,
    topics: HashMap<Arc<str>, Topic>,
    names: HashMap<[u8; 16], Arc<str>>,
    brokers: Vec<BrokerState>,
    /// By `MockApi as usize`.
    versions: [RangeInclusive<i16>; MockApi::ALL.len()],
    next_producer_id: i64,
    /// Of the next id that is given out.
    next_producer_epoch: i16,
    /// Id and epoch of each transactional id.
    transactional_producers: HashMap<String, (i64, i16)>,
    pub(super) requests: RequestLog,
    /// Counts what `MockCluster::wait_until` may wait for.
    pub(super) events: u64,
}

pub(super) struct Topic {
    pub(super) id: [u8; 16],
    pub(super) partitions: Vec<Partition>,
    pub(super) log_append_time: bool,
}

pub(super) struct Partition {
    pub(super) leader: Option<i32>,
    pub(super) leader_epoch: i32,
    /// Leader and epoch that metadata tells instead of the true ones.
    pub(super) told_leader: Option<(i32, i32)>,
    pub(super) log: PartitionLog,
}

struct BrokerState {
    port: u16,
    is_up: bool,
}

impl State {
    pub(super) fn new(
        cluster_id: Option<String>,
        ports: Vec<u16>,
        first_producer_epoch: i16,
    ) -> Self {
        Self {
            cluster_id: cluster_id.unwrap_or_else(random_cluster_id),
            topics: HashMap::new(),
            names: HashMap::new(),
            brokers: ports
                .into_iter()
                .map(|port| BrokerState { port, is_up: true })
                .collect(),
            versions: MockApi::ALL.map(MockApi::versions),
            next_producer_id: 1,
            next_producer_epoch: first_producer_epoch,
            transactional_producers: HashMap::new(),
            requests: RequestLog::default(),
            events: 0,
        }
    }

    /// Everything but the brokers, the versions and what was asked so far.
    pub(super) fn begin_anew(&mut self, first_producer_epoch: i16) {
        let new = Self::new(None, Vec::new(), first_producer_epoch);
        let brokers = std::mem::take(&mut self.brokers);
        *self = Self {
            brokers: brokers
                .into_iter()
                .map(|broker| BrokerState {
                    is_up: true,
                    ..broker
                })
                .collect(),
            versions: self.versions.clone(),
            requests: std::mem::take(&mut self.requests),
            events: self.events,
            ..new
        };
    }

    pub(super) fn topic(&self, name: &str) -> Option<&Topic> {
        self.topics.get(name)
    }

    pub(super) fn topic_mut(&mut self, name: &str) -> Option<&mut Topic> {
        self.topics.get_mut(name)
    }

    pub(super) fn topic_name(&self, id: &[u8; 16]) -> Option<Arc<str>> {
        self.names.get(id).cloned()
    }

    pub(super) fn partition(&self, topic: &str, partition: i32) -> Option<&Partition> {
        self.topic(topic)?
            .partitions
            .get(usize::try_from(partition).ok()?)
    }

    pub(super) fn partition_mut(&mut self, topic: &str, partition: i32) -> Option<&mut Partition> {
        self.topic_mut(topic)?
            .partitions
            .get_mut(usize::try_from(partition).ok()?)
    }

    /// False where the topic exists or the name is not allowed.
    pub(super) fn create_topic(&mut self, name: &str, partitions: i32) -> bool {
        if !is_valid_topic_name(name) || self.topics.contains_key(name) {
            return false;
        }
        let name = Arc::<str>::from(name);
        let id = fastrand::u128(1..).to_be_bytes();
        self.names.insert(id, Arc::clone(&name));
        let topic = Topic {
            id,
            partitions: Vec::new(),
            log_append_time: false,
        };
        self.topics.insert(Arc::clone(&name), topic);
        self.add_partitions(&name, partitions)
    }

    pub(super) fn delete_topic(&mut self, name: &str) -> bool {
        let deleted = self.topics.remove(name);
        deleted.is_some_and(|topic| self.names.remove(&topic.id).is_some())
    }

    /// False where there is no such topic.
    pub(super) fn set_topic_id(&mut self, name: &str, id: [u8; 16]) -> bool {
        let Some((name, topic)) = self.topics.get_key_value(name) else {
            return false;
        };
        self.names.remove(&topic.id);
        let name = Arc::clone(name);
        self.names.insert(id, Arc::clone(&name));
        self.topic_mut(&name).is_some_and(|topic| {
            topic.id = id;
            true
        })
    }

    /// False where there is no such topic.
    pub(super) fn add_partitions(&mut self, topic: &str, count: i32) -> bool {
        let brokers = self.brokers.len();
        let Some(topic) = self.topic_mut(topic) else {
            return false;
        };
        for _ in 0..count {
            let leader = i32::try_from(topic.partitions.len() % brokers).ok();
            topic.partitions.push(Partition {
                leader,
                leader_epoch: 0,
                told_leader: None,
                log: PartitionLog::default(),
            });
        }
        true
    }

    pub(super) fn set_broker_up(&mut self, broker: i32, is_up: bool) {
        if let Some(broker) = self.broker_mut(broker) {
            broker.is_up = is_up;
        }
    }

    pub(super) fn is_up(&self, broker: i32) -> bool {
        self.broker(broker).is_some_and(|broker| broker.is_up)
    }

    pub(super) fn endpoint(&self, broker: i32) -> Option<NodeEndpoint> {
        let port = self.broker(broker)?.port.into();
        Some(NodeEndpoint {
            node_id: broker,
            host: HOST.to_owned(),
            port,
            rack: None,
        })
    }

    fn broker(&self, id: i32) -> Option<&BrokerState> {
        self.brokers.get(usize::try_from(id).ok()?)
    }

    fn broker_mut(&mut self, id: i32) -> Option<&mut BrokerState> {
        self.brokers.get_mut(usize::try_from(id).ok()?)
    }

    pub(super) fn restrict_versions(&mut self, api: MockApi, versions: RangeInclusive<i16>) {
        let possible = api.versions();
        let first = *possible.start().max(versions.start());
        let last = *possible.end().min(versions.end());
        self.versions[api as usize] = first..=last;
    }

    pub(super) fn speaks(&self, api: MockApi, version: i16) -> bool {
        self.versions[api as usize].contains(&version)
    }

    pub(super) fn api_versions(&self) -> ApiVersionsResponse {
        let api_keys = MockApi::ALL
            .into_iter()
            .filter_map(|api| self.version_range(api))
            .collect();
        ApiVersionsResponse {
            api_keys,
            ..ApiVersionsResponse::default()
        }
    }

    /// The answer to a version of ApiVersions that the brokers do not have: which they do have, and nothing else
    /// (KIP-511).
    pub(super) fn unsupported_api_versions(&self) -> ApiVersionsResponse {
        let api_keys = self
            .version_range(MockApi::ApiVersions)
            .into_iter()
            .collect();
        ApiVersionsResponse {
            error: ErrorCode::UNSUPPORTED_VERSION,
            api_keys,
            ..ApiVersionsResponse::default()
        }
    }

    fn version_range(&self, api: MockApi) -> Option<ApiVersionRange> {
        let versions = &self.versions[api as usize];
        let range = ApiVersionRange {
            api_code: api.key().code(),
            min_version: *versions.start(),
            max_version: *versions.end(),
        };
        (!versions.is_empty()).then_some(range)
    }

    /// A new id, or the next epoch of a transactional id's.
    pub(super) fn init_producer_id(
        &mut self,
        request: &InitProducerIdRequest<'_>,
    ) -> InitProducerIdResponse {
        let known = request
            .transactional_id
            .and_then(|id| self.transactional_producers.get(id).copied());
        let (producer_id, producer_epoch) = match known {
            // The last epoch is the coordinator's own, to fence with.
            Some((id, epoch)) if epoch < i16::MAX - 1 => (id, epoch + 1),
            _ => {
                self.next_producer_id += 1;
                let epoch = std::mem::take(&mut self.next_producer_epoch);
                (self.next_producer_id - 1, epoch)
            }
        };
        if let Some(id) = request.transactional_id {
            self.transactional_producers
                .insert(id.to_owned(), (producer_id, producer_epoch));
        }
        InitProducerIdResponse {
            throttle_time_ms: 0,
            error: ErrorCode::NONE,
            producer_id,
            producer_epoch,
        }
    }

    /// The cluster as metadata describes it. Topics asked for are created where `create` says so: with that many
    /// partitions.
    pub(super) fn metadata(
        &mut self,
        request: &MetadataRequest<'_>,
        create: Option<i32>,
    ) -> MetadataResponse {
        let topics = match &request.topics {
            Some(topics) => topics
                .iter()
                .map(|topic| self.asked_topic(topic, create))
                .collect(),
            None => self
                .topics
                .iter()
                .map(|(name, topic)| self.described(name, topic))
                .collect(),
        };
        MetadataResponse {
            topics,
            ..self.metadata_without_topics()
        }
    }

    pub(super) fn metadata_without_topics(&self) -> MetadataResponse {
        let up = (0..).zip(&self.brokers).filter(|(_, broker)| broker.is_up);
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
            cluster_id: Some(self.cluster_id.clone()),
            topics: Vec::new(),
            error: ErrorCode::NONE,
        }
    }

    fn asked_topic(
        &mut self,
        asked: &MetadataRequestTopic<'_>,
        create: Option<i32>,
    ) -> MetadataTopic {
        let Some(name) = asked.name else {
            return match self.names.get(&asked.id) {
                Some(name) => self.described(name, &self.topics[name]),
                None => failed_topic(asked, ErrorCode::UNKNOWN_TOPIC_ID),
            };
        };
        if !is_valid_topic_name(name) {
            return failed_topic(asked, ErrorCode::INVALID_TOPIC_EXCEPTION);
        }
        if let Some(partitions) = create {
            self.create_topic(name, partitions);
        }
        match self.topic(name) {
            Some(topic) => self.described(name, topic),
            None => failed_topic(asked, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
        }
    }

    fn described(&self, name: &str, topic: &Topic) -> MetadataTopic {
        let partitions = (0..)
            .zip(&topic.partitions)
            .map(|(index, partition)| self.described_partition(index, partition));
        MetadataTopic {
            error: ErrorCode::NONE,
            name: Some(name.to_owned()),
            id: topic.id,
            is_internal: false,
            partitions: partitions.collect(),
        }
    }

    /// Every broker counts as holding a copy: what a producer does with copies is to print them.
    fn described_partition(&self, index: i32, partition: &Partition) -> MetadataPartition {
        let (leader, leader_epoch) = match partition.told_leader {
            Some((leader, leader_epoch)) => (Some(leader), leader_epoch),
            None => (partition.leader, partition.leader_epoch),
        };
        let leader = leader.filter(|leader| self.is_up(*leader));
        let ids = |is_up: &dyn Fn(bool) -> bool| {
            let chosen = (0..)
                .zip(&self.brokers)
                .filter(|(_, broker)| is_up(broker.is_up));
            chosen.map(|(id, _)| id).collect()
        };
        MetadataPartition {
            error: if leader.is_some() {
                ErrorCode::NONE
            } else {
                ErrorCode::LEADER_NOT_AVAILABLE
            },
            index,
            leader_id: leader.unwrap_or(-1),
            leader_epoch,
            replica_nodes: ids(&|_| true),
            isr_nodes: ids(&|is_up| is_up),
            offline_replicas: ids(&|is_up| !is_up),
        }
    }
}

pub(super) fn failed_topic(asked: &MetadataRequestTopic<'_>, error: ErrorCode) -> MetadataTopic {
    MetadataTopic {
        error,
        name: asked.name.map(str::to_owned),
        id: asked.id,
        is_internal: false,
        partitions: Vec::new(),
    }
}

/// In Kafka's form: 16 bytes in base64url.
fn random_cluster_id() -> String {
    TopicId(fastrand::u128(1..).to_be_bytes()).to_string()
}

/// Kafka's rule: 1 to 249 of these characters, and neither `.` nor `..`.
fn is_valid_topic_name(name: &str) -> bool {
    let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=249).contains(&name.len()) && name.bytes().all(is_legal) && name != "." && name != ".."
}

const HOST: &str = "127.0.0.1";
