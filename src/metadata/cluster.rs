//! A metadata snapshot: brokers, topics, partitions and their leaders.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use super::topic_map::TopicMap;
use crate::connection::Endpoint;

/// A metadata snapshot: the cluster as the brokers described it at one moment. It never changes: newer
/// metadata is another `Cluster`.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    pub(crate) cluster_id: Option<Arc<str>>,
    pub(crate) brokers: HashMap<i32, Arc<Broker>>,
    pub(crate) topics: TopicMap,
    /// The identity era: rises when the cluster may give producer ids a second time. See
    /// [`update`](super::response::update).
    pub(crate) identity_era: u64,
    /// How often the cluster turned out to know less than before, for example because it was restored from an older copy.
    pub(crate) restorations: u64,
}

impl Cluster {
    /// The cluster's id. `None` if no broker reported one.
    pub fn cluster_id(&self) -> Option<&str> {
        self.cluster_id.as_deref()
    }

    /// Returns whether this is certainly another cluster than the one with that id. If one of the ids is unknown, it may be
    /// the same.
    pub(crate) fn is_other_than(&self, cluster_id: Option<&str>) -> bool {
        matches!((self.cluster_id(), cluster_id), (Some(ours), Some(theirs)) if ours != theirs)
    }

    /// The known brokers, in no particular order.
    pub fn brokers(&self) -> impl Iterator<Item = &Broker> {
        self.brokers.values().map(|broker| &**broker)
    }

    /// The broker with this id, if it is known.
    pub fn broker(&self, id: i32) -> Option<&Broker> {
        self.brokers.get(&id).map(|broker| &**broker)
    }

    /// The topic with this name, if it is known.
    pub fn topic(&self, name: &str) -> Option<&TopicMetadata> {
        self.topics.get(name).map(|topic| &**topic)
    }

    /// Returns the snapshot for an answer that is accepted even if it contradicts what is known. It keeps only the
    /// cluster's id, for an answer without one.
    pub(super) fn reset(&self) -> Cluster {
        Cluster {
            cluster_id: self.cluster_id.clone(),
            identity_era: self.identity_era + 1,
            restorations: self.restorations + 1,
            ..Cluster::default()
        }
    }

    /// Returns whether both know brokers with the same ids. Their addresses may differ.
    pub(crate) fn has_same_brokers(&self, other: &Cluster) -> bool {
        let mut ids = self.brokers.keys();
        self.brokers.len() == other.brokers.len() && ids.all(|id| other.brokers.contains_key(id))
    }

    /// Returns this snapshot with the leaders that the hints name. `None` if no hint is newer than what is known.
    pub(crate) fn with_leaders(&self, hints: &[LeaderHint]) -> Option<Cluster> {
        let mut moved: Option<Cluster> = None;
        for hint in hints {
            let before = moved.as_ref().unwrap_or(self);
            if before.is_outdated_by(hint) {
                moved.get_or_insert_with(|| self.clone()).move_leader(hint);
            }
        }
        moved
    }

    fn is_outdated_by(&self, hint: &LeaderHint) -> bool {
        let has_address = self.brokers.contains_key(&hint.leader) || hint.broker.is_some();
        let topic = self.topics.get(&hint.topic);
        // A late hint may be about a topic that was deleted since. Its epochs cannot be compared with those of the new one.
        let topic = topic.filter(|topic| topic.id() == hint.topic_id);
        let known = topic.and_then(|topic| {
            let partition = usize::try_from(hint.partition).ok()?;
            topic.partitions.get(partition)?.leader_epoch
        });
        has_address && known.is_some_and(|epoch| epoch < hint.leader_epoch)
    }

    fn move_leader(&mut self, hint: &LeaderHint) {
        if let Some(broker) = &hint.broker {
            let broker = Arc::new(broker.clone());
            self.brokers.insert(hint.leader, broker);
        }
        // The first hint for a topic copies it, the others change the copy.
        self.topics.modify(&hint.topic, |topic| {
            if let Some(partition) = topic.partitions.get_mut(hint.partition as usize) {
                partition.leader = Some(hint.leader);
                partition.leader_epoch = Some(hint.leader_epoch);
            }
        });
    }
}

/// A partition's new leader, as a broker's answer to a Produce request names it (KIP-951).
#[derive(Clone, Debug)]
pub(crate) struct LeaderHint {
    pub(crate) topic: Arc<str>,
    /// The topic's id when the broker was asked, if it had one.
    pub(crate) topic_id: Option<TopicId>,
    pub(crate) partition: i32,
    pub(crate) leader: i32,
    pub(crate) leader_epoch: i32,
    /// The leader's address, if the answer had it.
    pub(crate) broker: Option<Broker>,
}

/// Returns whether a text from a broker can be a name: it is short and has no control character.
pub(super) fn is_plain(text: &str) -> bool {
    const MOST_BYTES: usize = 255;
    text.len() <= MOST_BYTES && !text.chars().any(char::is_control)
}

/// A broker's id as a type of its own, so that no other number is taken for it. The public API and the protocol use `i32`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct BrokerId(pub(crate) i32);

impl fmt::Display for BrokerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for BrokerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A partition's leader, as a metadata snapshot names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PartitionLeader {
    pub(crate) broker: BrokerId,
    pub(crate) epoch: Option<i32>,
    /// The id of the topic: a topic that was recreated counts its leader epochs from the start again.
    pub(crate) topic_id: Option<TopicId>,
}

/// One broker's id and address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    pub(crate) id: i32,
    pub(crate) host: Arc<str>,
    pub(crate) port: u16,
    pub(crate) rack: Option<Arc<str>>,
}

impl Broker {
    /// Returns the broker that an answer describes. `None` if its host or port is not valid. Every advertised host is
    /// checked here.
    pub(crate) fn advertised(id: i32, host: &str, port: i32, rack: Option<&str>) -> Option<Self> {
        // Such a text is not the name of a host, and must not get into an error message.
        if !is_plain(host) {
            return None;
        }
        Some(Self {
            id,
            host: without_brackets(host).into(),
            port: u16::try_from(port).ok()?,
            rack: rack.map(Arc::from),
        })
    }

    /// The address to connect to.
    pub(crate) fn endpoint(&self) -> Endpoint {
        Endpoint {
            host: Arc::clone(&self.host),
            port: self.port,
        }
    }

    /// The broker's id in its cluster.
    pub fn id(&self) -> i32 {
        self.id
    }

    /// The host name or address that the broker advertises, an IPv6 address without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port that the broker advertises.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The rack of the broker, if it names one.
    pub fn rack(&self) -> Option<&str> {
        self.rack.as_deref()
    }
}

/// `advertised.listeners` has an IPv6 address as `[::1]`, and some brokers pass it on like that. A resolver expects `::1`.
fn without_brackets(host: &str) -> &str {
    let inner = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    inner.unwrap_or(host)
}

/// One topic: its id and partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicMetadata {
    pub(crate) name: Arc<str>,
    pub(crate) id: Option<TopicId>,
    pub(crate) is_internal: bool,
    pub(crate) partitions: Vec<PartitionMetadata>,
}

impl TopicMetadata {
    /// The topic's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The topic's id. `None` if the brokers are older than Kafka 2.8.
    pub fn id(&self) -> Option<TopicId> {
        self.id
    }

    /// Returns whether the topic is one of Kafka's own, such as `__consumer_offsets`.
    pub fn is_internal(&self) -> bool {
        self.is_internal
    }

    /// Returns whether this is certainly another topic with the same name.
    pub(crate) fn is_other_than(&self, other: &TopicMetadata) -> bool {
        matches!((self.id, other.id), (Some(ours), Some(theirs)) if ours != theirs)
    }

    /// The topic's partitions, ordered by number.
    pub fn partitions(&self) -> &[PartitionMetadata] {
        &self.partitions
    }
}

/// One partition: its leader and its replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionMetadata {
    pub(crate) partition: i32,
    pub(crate) leader: Option<i32>,
    pub(crate) leader_epoch: Option<i32>,
    pub(crate) replicas: Vec<i32>,
    pub(crate) in_sync_replicas: Vec<i32>,
    pub(crate) offline_replicas: Vec<i32>,
}

impl PartitionMetadata {
    /// The partition's number, from 0.
    pub fn partition(&self) -> i32 {
        self.partition
    }

    /// The id of the broker that leads the partition. `None` during an election.
    pub fn leader(&self) -> Option<i32> {
        self.leader
    }

    /// The number of times that the leadership has moved, if the broker reports it.
    pub fn leader_epoch(&self) -> Option<i32> {
        self.leader_epoch
    }

    /// The ids of the brokers that hold a replica.
    pub fn replicas(&self) -> &[i32] {
        &self.replicas
    }

    /// The ids of the brokers whose replica is up to date.
    pub fn in_sync_replicas(&self) -> &[i32] {
        &self.in_sync_replicas
    }

    /// The ids of the brokers whose replica cannot be reached.
    pub fn offline_replicas(&self) -> &[i32] {
        &self.offline_replicas
    }
}

/// A topic's id (KIP-516). It distinguishes a topic from an earlier one with the same name that was deleted.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TopicId(pub(crate) [u8; 16]);

impl TopicId {
    /// The id's 16 bytes.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

/// Kafka's own form: 22 characters of unpadded base64url.
impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const ALPHABET: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let bits = u128::from_be_bytes(self.0);
        for digit in 0..22 {
            // 22 digits of 6 bits are 132: the last digit carries 2 bits and 4 zeros.
            let index = if digit < 21 {
                (bits >> (122 - 6 * digit)) & 63
            } else {
                (bits << 4) & 63
            };
            write!(f, "{}", ALPHABET[index as usize] as char)?;
        }
        Ok(())
    }
}

impl fmt::Debug for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TopicId({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_advertised_host_loses_its_brackets_and_an_impossible_port_is_refused() {
        for (advertised, host) in [
            ("[::1]", "::1"),
            ("[fe80::1%eth0]", "fe80::1%eth0"),
            ("::1", "::1"),
            ("broker.test", "broker.test"),
            ("[half", "[half"),
            ("", ""),
        ] {
            let broker = Broker::advertised(3, advertised, 9092, Some("r")).unwrap();
            assert_eq!(broker.host(), host);
            assert_eq!(
                (broker.id(), broker.port(), broker.rack()),
                (3, 9092, Some("r"))
            );
        }
        for port in [-1, 65536, i32::MAX] {
            assert!(Broker::advertised(3, "h", port, None).is_none());
        }
    }

    #[test]
    fn topic_id_is_written_as_kafka_writes_it() {
        // Uuid.ONE_UUID and a value whose base64url has both of the alphabet's special characters.
        let mut one = [0; 16];
        one[15] = 1;
        assert_eq!(TopicId(one).to_string(), "AAAAAAAAAAAAAAAAAAAAAQ");
        assert_eq!(TopicId([0xff; 16]).to_string(), "_____________________w");
    }
}
