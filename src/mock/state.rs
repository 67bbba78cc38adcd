//! The state of the cluster, which one lock guards: topics, leaders, brokers, versions, producer ids, requests.

use std::collections::HashMap;
use std::sync::Arc;

use super::api_versions::Versions;
use super::log::PartitionLog;
use super::producer_ids::ProducerIds;
use super::request::RequestLog;
use crate::metadata::TopicId;
use crate::protocol::messages::NodeEndpoint;

pub(super) struct State {
    pub(super) cluster_id: String,
    topics: HashMap<Arc<str>, Topic>,
    names: HashMap<[u8; 16], Arc<str>>,
    brokers: Vec<BrokerState>,
    pub(super) versions: Versions,
    pub(super) producer_ids: ProducerIds,
    pub(super) requests: RequestLog,
    /// The number of events that `MockCluster::wait_until` may wait for.
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
    /// Leader and epoch that metadata names instead of the real ones.
    pub(super) pretended_leader: Option<(i32, i32)>,
    pub(super) log: PartitionLog,
}

pub(super) struct BrokerState {
    /// As metadata names it.
    pub(super) port: u16,
    pub(super) is_up: bool,
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
            versions: Versions::default(),
            producer_ids: ProducerIds::new(first_producer_epoch),
            requests: RequestLog::default(),
            events: 0,
        }
    }

    /// Resets everything except the addresses of the brokers, the versions and the list of requests.
    pub(super) fn reset(&mut self, first_producer_epoch: i16) {
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

    pub(super) fn topics(&self) -> impl Iterator<Item = (&str, &Topic)> {
        self.topics.iter().map(|(name, topic)| (&**name, topic))
    }

    pub(super) fn topic_by_id(&self, id: &[u8; 16]) -> Option<(&str, &Topic)> {
        let name = self.names.get(id)?;
        Some((name, self.topics.get(name)?))
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

    /// Returns false if the topic exists or the name is not legal.
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

    /// Returns false if there is no such topic.
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

    /// Returns false if there is no such topic.
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
                pretended_leader: None,
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

    pub(super) fn advertise_port(&mut self, broker: i32, port: u16) {
        if let Some(broker) = self.broker_mut(broker) {
            broker.port = port;
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

    /// Returns all brokers, up or down, with their ids.
    pub(super) fn brokers(&self) -> impl Iterator<Item = (i32, &BrokerState)> {
        (0..).zip(&self.brokers)
    }

    fn broker(&self, id: i32) -> Option<&BrokerState> {
        self.brokers.get(usize::try_from(id).ok()?)
    }

    fn broker_mut(&mut self, id: i32) -> Option<&mut BrokerState> {
        self.brokers.get_mut(usize::try_from(id).ok()?)
    }
}

/// Makes an id in Kafka's form: 16 bytes in base64url.
fn random_cluster_id() -> String {
    TopicId(fastrand::u128(1..).to_be_bytes()).to_string()
}

/// Kafka's rule: 1 to 249 of these characters, and neither `.` nor `..`.
pub(super) fn is_valid_topic_name(name: &str) -> bool {
    let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=249).contains(&name.len()) && name.bytes().all(is_legal) && name != "." && name != ".."
}

pub(super) const HOST: &str = "127.0.0.1";
