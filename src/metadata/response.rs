//! Makes the next metadata snapshot from a Metadata response.

use std::collections::HashSet;
use std::sync::Arc;

use super::cluster::{Broker, Cluster, PartitionMetadata, TopicId, TopicMetadata, is_plain};
use super::topic_errors::{denies_topic, is_final, topic_error};
use super::topic_map::TopicMap;
use crate::error::Error;
use crate::protocol::ErrorCode;
use crate::protocol::messages::{
    MetadataBroker, MetadataPartition, MetadataResponse, MetadataTopic,
};

/// Leader epochs are reliable from this version on (KAFKA-9212: with earlier ones, a restarted broker could report
/// old epochs).
const FIRST_VERSION_WITH_RELIABLE_EPOCHS: i16 = 9;

/// What a response changes.
pub(crate) struct Update {
    pub(crate) cluster: Cluster,
    /// The errors of topics. A retriable error may disappear without an action of the user.
    pub(super) errors: Vec<(Arc<str>, Error)>,
    /// Whether to ask again: some topic is not created yet, or some partition has no leader.
    pub(super) is_incomplete: bool,
    /// Whether some partition was not changed, because its leader epoch in the response is older than the known one.
    pub(super) has_older_epochs: bool,
}

/// Returns the snapshot after `response`, which answers a request for the topics `asked`.
///
/// If the request was for all topics in use (`is_full`), topics that were not asked for are dropped. Otherwise they stay as
/// they are in `before`. A known topic that the broker cannot describe at the moment stays: when a batch is sent to one of
/// its leaders, that broker reports whether it still leads.
///
/// The identity era rises if the response removes a known topic that was asked for, or describes it with another topic id,
/// or if the cluster is another one. The user may have deleted only the topic. But the whole cluster may have been wiped,
/// too, and started again under the same cluster id. Such a cluster gives producer ids from the start, and those that were
/// given before may be another producer's now. The era rises already when the topic is removed, because the snapshot then
/// has no id with which a later description could be compared. That includes a topic that is refused to this client: a
/// wiped cluster has no access rules yet.
pub(crate) fn update(
    before: &Cluster,
    response: MetadataResponse,
    version: i16,
    asked: &[Arc<str>],
    is_full: bool,
) -> Update {
    let is_asked: HashSet<&str> = asked.iter().map(|topic| &**topic).collect();
    let mut update = TopicUpdate::new(before, version);
    for topic in response.topics {
        // A topic that was not asked for must not take memory.
        let name = topic.name.as_deref().filter(|name| is_asked.contains(name));
        if let Some(name) = name {
            let known = before.topics.get(name);
            let name = known.map_or_else(|| Arc::from(name), |known| Arc::clone(&known.name));
            update.receive(name, known.map(|known| &**known), topic);
        }
    }
    if is_full {
        update.topics.retain(|name| update.kept.contains(name));
    } else {
        let missing = asked.iter().filter(|name| !update.kept.contains(*name));
        missing.for_each(|name| update.topics.remove(name));
    }
    let brokers = response.brokers.into_iter().filter_map(broker).collect();
    let cluster_id = response
        .cluster_id
        .filter(|id| is_plain(id))
        .map(Arc::from)
        .or_else(|| before.cluster_id.clone());
    let mut cluster = Cluster {
        cluster_id,
        brokers,
        topics: update.topics,
        identity_era: before.identity_era,
        restorations: before.restorations,
    };
    let is_removed =
        |name: &Arc<str>| before.topics.get(name).is_some() && !update.kept.contains(name);
    let is_topic_lost = update.is_topic_recreated || asked.iter().any(is_removed);
    if is_topic_lost || cluster.is_other_than(before.cluster_id()) {
        cluster.identity_era += 1;
    }
    Update {
        cluster,
        errors: update.errors,
        is_incomplete: update.is_incomplete,
        has_older_epochs: update.has_older_epochs,
    }
}

/// The topics of the next snapshot while a response is read.
struct TopicUpdate {
    /// The version of the response.
    version: i16,
    topics: TopicMap,
    /// The topics that were asked for and are in the next snapshot.
    kept: HashSet<Arc<str>>,
    errors: Vec<(Arc<str>, Error)>,
    is_incomplete: bool,
    has_older_epochs: bool,
    /// Whether a known topic is described with another topic id.
    is_topic_recreated: bool,
}

impl TopicUpdate {
    fn new(before: &Cluster, version: i16) -> Self {
        Self {
            version,
            topics: before.topics.clone(),
            kept: HashSet::new(),
            errors: Vec::new(),
            is_incomplete: false,
            has_older_epochs: false,
            is_topic_recreated: false,
        }
    }

    fn receive(&mut self, name: Arc<str>, known: Option<&TopicMetadata>, topic: MetadataTopic) {
        let (error, id) = (topic.error, topic_id(&topic));
        if error.is_none() {
            let described = self.topic_metadata(&name, topic, known);
            // Nothing can be sent to a topic without partitions, so it counts as not created yet.
            if !described.partitions.is_empty() {
                self.receive_description(name, known, described);
                return;
            }
        }
        let error = match error {
            ErrorCode::NONE => ErrorCode::LEADER_NOT_AVAILABLE,
            error => error,
        };
        self.is_incomplete |= !is_final(error);
        let is_the_same = |known: &TopicMetadata| id.is_none() || known.id == id;
        if known.is_some_and(is_the_same) && !denies_topic(error) {
            self.kept.insert(Arc::clone(&name));
        }
        let error = topic_error(&name, error);
        self.errors.push((name, error));
    }

    fn receive_description(
        &mut self,
        name: Arc<str>,
        known: Option<&TopicMetadata>,
        topic: TopicMetadata,
    ) {
        self.is_topic_recreated |= known.is_some_and(|known| known.is_other_than(&topic));
        let mut partitions = topic.partitions.iter();
        self.is_incomplete |= partitions.any(|partition| partition.leader.is_none());
        self.topics.insert(topic);
        self.kept.insert(name);
    }

    fn topic_metadata(
        &mut self,
        name: &Arc<str>,
        topic: MetadataTopic,
        known: Option<&TopicMetadata>,
    ) -> TopicMetadata {
        let id = topic_id(&topic);
        // The epochs of an earlier topic with the same name mean nothing for this one. Without ids it is unknown whether
        // the topic is the same, so the answer is accepted: it costs less to follow an outdated leader for a while than to
        // ignore a new one for ever.
        let known = known.filter(|known| id.is_some() && known.id == id);
        let mut partitions = contiguous_partitions(topic.partitions, self.version);
        for (partition, before) in partitions
            .iter_mut()
            .zip(known.iter().flat_map(|known| &known.partitions))
        {
            if matches!((partition.leader_epoch, before.leader_epoch), (Some(now), Some(before)) if now < before)
            {
                // This broker lags behind the one that was asked before.
                *partition = before.clone();
                self.has_older_epochs = true;
            }
        }
        TopicMetadata {
            name: Arc::clone(name),
            id,
            is_internal: topic.is_internal,
            partitions,
        }
    }
}

/// Returns the partitions in order, up to the first number that is missing: those after it cannot be addressed yet.
fn contiguous_partitions(
    partitions: Vec<MetadataPartition>,
    version: i16,
) -> Vec<PartitionMetadata> {
    let mut partitions: Vec<PartitionMetadata> = partitions
        .into_iter()
        .filter(|partition| partition.index >= 0)
        .map(|partition| partition_metadata(partition, version))
        .collect();
    partitions.sort_by_key(|partition| partition.partition);
    let contiguous = partitions
        .iter()
        .zip(0..)
        .take_while(|(partition, number)| partition.partition == *number)
        .count();
    partitions.truncate(contiguous);
    partitions
}

fn broker(broker: MetadataBroker) -> Option<(i32, Arc<Broker>)> {
    let id = broker.node_id;
    let broker = Broker::advertised(id, &broker.host, broker.port, broker.rack.as_deref())?;
    Some((id, Arc::new(broker)))
}

fn partition_metadata(partition: MetadataPartition, version: i16) -> PartitionMetadata {
    let has_leader = partition.leader_id >= 0 && partition.error != ErrorCode::LEADER_NOT_AVAILABLE;
    let epoch = (version >= FIRST_VERSION_WITH_RELIABLE_EPOCHS && partition.leader_epoch >= 0)
        .then_some(partition.leader_epoch);
    PartitionMetadata {
        partition: partition.index,
        leader: has_leader.then_some(partition.leader_id),
        leader_epoch: epoch,
        replicas: partition.replica_nodes,
        in_sync_replicas: partition.isr_nodes,
        offline_replicas: partition.offline_replicas,
    }
}

fn topic_id(topic: &MetadataTopic) -> Option<TopicId> {
    (topic.id != [0; 16]).then_some(TopicId(topic.id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn partition(index: i32, leader_id: i32, leader_epoch: i32) -> MetadataPartition {
        MetadataPartition {
            error: ErrorCode::NONE,
            index,
            leader_id,
            leader_epoch,
            replica_nodes: vec![],
            isr_nodes: vec![],
            offline_replicas: vec![],
        }
    }

    fn topic(name: &str, id: u8, partitions: Vec<MetadataPartition>) -> MetadataTopic {
        let name = Some(name.to_string());
        MetadataTopic {
            error: ErrorCode::NONE,
            name,
            id: [id; 16],
            is_internal: false,
            partitions,
        }
    }

    fn response(topics: Vec<MetadataTopic>) -> MetadataResponse {
        MetadataResponse {
            throttle_time_ms: 0,
            brokers: vec![MetadataBroker {
                node_id: 1,
                host: "h".into(),
                port: 9092,
                rack: None,
            }],
            cluster_id: Some("c".into()),
            controller_id: 1,
            topics,
            error: ErrorCode::NONE,
        }
    }

    fn after(
        before: &Cluster,
        topics: Vec<MetadataTopic>,
        asked: &[&str],
        is_full: bool,
    ) -> Update {
        let asked: Vec<Arc<str>> = asked.iter().map(|topic| Arc::from(*topic)).collect();
        update(before, response(topics), 12, &asked, is_full)
    }

    #[test]
    fn an_answer_about_one_topic_does_not_change_the_others() {
        let first = after(
            &Cluster::default(),
            vec![topic("a", 1, vec![partition(0, 1, 0)])],
            &["a"],
            false,
        );
        let second = after(
            &first.cluster,
            vec![topic("b", 2, vec![partition(0, 1, 0)])],
            &["b"],
            false,
        );
        assert!(second.cluster.topic("a").is_some() && second.cluster.topic("b").is_some());
        let full = after(
            &second.cluster,
            vec![topic("b", 2, vec![partition(0, 1, 0)])],
            &["a", "b"],
            true,
        );
        assert!(
            full.cluster.topic("a").is_none(),
            "an answer about all topics removes those that are gone"
        );
    }

    #[test]
    fn an_answer_without_news_changes_no_topic() {
        let topics = || vec![topic("a", 1, vec![partition(0, 1, 0)])];
        let first = after(&Cluster::default(), topics(), &["a"], true).cluster;
        for is_full in [true, false] {
            let second = after(&first, topics(), &["a"], is_full).cluster;
            let changes = second.topics.changes_since(&first.topics);
            assert!(changes.changed.is_empty() && changes.gone.is_empty());
        }
        let moved = vec![topic("a", 1, vec![partition(0, 2, 1)])];
        let moved = after(&first, moved, &["a"], true).cluster;
        assert_eq!(moved.topics.changes_since(&first.topics).changed.len(), 1);
    }

    #[test]
    fn an_older_leader_epoch_is_ignored_unless_the_topic_was_created_again() {
        let first = after(
            &Cluster::default(),
            vec![topic("t", 1, vec![partition(0, 1, 7)])],
            &["t"],
            true,
        )
        .cluster;
        let leader = |cluster: &Cluster| cluster.topic("t").unwrap().partitions()[0].leader();
        let stale = after(
            &first,
            vec![topic("t", 1, vec![partition(0, 2, 6)])],
            &["t"],
            true,
        )
        .cluster;
        assert_eq!(leader(&stale), Some(1));
        let recreated = after(
            &first,
            vec![topic("t", 2, vec![partition(0, 2, 0)])],
            &["t"],
            true,
        )
        .cluster;
        assert_eq!(leader(&recreated), Some(2));
    }

    #[test]
    fn the_identity_era_rises_when_a_known_topic_is_gone_or_was_created_again() {
        let described = |id| vec![topic("t", id, vec![partition(0, 1, 7)])];
        let first = after(&Cluster::default(), described(1), &["t"], true).cluster;
        let era = |topics| after(&first, topics, &["t"], true).cluster.identity_era;
        let error = |error| MetadataTopic {
            error,
            ..topic("t", 1, vec![])
        };
        assert_eq!(era(described(1)), first.identity_era);
        assert_eq!(
            era(vec![error(ErrorCode::LEADER_NOT_AVAILABLE)]),
            first.identity_era
        );
        assert!(era(described(2)) > first.identity_era);
        assert!(era(vec![error(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)]) > first.identity_era);
        // A topic that was not known before is no reason.
        let other = vec![topic("u", 9, vec![partition(0, 1, 0)])];
        let update = after(&first, other, &["u"], false);
        assert_eq!(update.cluster.identity_era, first.identity_era);
    }

    #[test]
    fn the_identity_era_rises_even_if_a_recreated_topic_has_no_leader_at_first() {
        let described = |id| vec![topic("t", id, vec![partition(0, 1, 7)])];
        let first = after(&Cluster::default(), described(1), &["t"], true).cluster;
        let without_leader = MetadataTopic {
            error: ErrorCode::LEADER_NOT_AVAILABLE,
            ..topic("t", 2, vec![])
        };
        let without_partitions = topic("t", 2, vec![]);
        for answer in [without_leader, without_partitions] {
            for is_full in [true, false] {
                let created = after(&first, vec![answer.clone()], &["t"], is_full).cluster;
                let complete = after(&created, described(2), &["t"], is_full).cluster;
                assert!(complete.topic("t").is_some());
                assert!(complete.identity_era > first.identity_era);
            }
        }
    }

    #[test]
    fn the_identity_era_rises_when_an_answer_removes_a_known_topic() {
        let described = |id| vec![topic("t", id, vec![partition(0, 1, 7)])];
        let first = after(&Cluster::default(), described(1), &["t"], true).cluster;
        let refused = MetadataTopic {
            error: ErrorCode::TOPIC_AUTHORIZATION_FAILED,
            ..topic("t", 0, vec![])
        };
        for answer in [vec![refused], vec![]] {
            for is_full in [true, false] {
                let removed = after(&first, answer.clone(), &["t"], is_full).cluster;
                assert!(removed.topic("t").is_none());
                assert!(removed.identity_era > first.identity_era);
            }
        }
        // A topic that the producer does not use and does not ask for is no loss.
        let forgotten = after(&first, vec![], &[], true).cluster;
        assert!(forgotten.topic("t").is_none());
        assert_eq!(forgotten.identity_era, first.identity_era);
    }

    #[test]
    fn topics_that_were_not_asked_for_are_left_out() {
        let topics = vec![
            topic("t", 1, vec![partition(0, 1, 7)]),
            topic("u", 2, vec![partition(0, 1, 7)]),
            MetadataTopic {
                error: ErrorCode::INVALID_TOPIC_EXCEPTION,
                ..topic("v", 0, vec![])
            },
        ];
        for is_full in [true, false] {
            let update = after(&Cluster::default(), topics.clone(), &["t"], is_full);
            assert_eq!(update.cluster.topics.iter().count(), 1);
            assert!(update.errors.is_empty());
        }
    }

    #[test]
    fn partitions_are_in_order_and_without_gaps_whatever_the_answer_says() {
        let numbers = [2, 0, 5, -3].map(|index| partition(index, 1, 0)).to_vec();
        let update = after(
            &Cluster::default(),
            vec![topic("t", 1, numbers)],
            &["t"],
            true,
        );
        assert_eq!(update.cluster.topic("t").unwrap().partitions().len(), 1);
    }

    #[test]
    fn a_topic_without_partitions_counts_as_not_created_yet() {
        let partitions = vec![partition(1, 1, 0)];
        let update = after(
            &Cluster::default(),
            vec![topic("t", 1, partitions)],
            &["t"],
            true,
        );
        assert!(update.cluster.topic("t").is_none() && update.is_incomplete);
        assert!(update.errors[0].1.is_retriable());
    }

    #[test]
    fn errors_that_waiting_cures_are_retriable() {
        let error = |name: &str, error| MetadataTopic {
            error,
            ..topic(name, 0, vec![])
        };
        let update = after(
            &Cluster::default(),
            vec![
                error("later", ErrorCode::LEADER_NOT_AVAILABLE),
                error("never", ErrorCode::INVALID_TOPIC_EXCEPTION),
                error("forbidden", ErrorCode::TOPIC_AUTHORIZATION_FAILED),
            ],
            &["later", "never", "forbidden"],
            true,
        );
        assert!(update.is_incomplete);
        let errors: Vec<_> = update
            .errors
            .iter()
            .map(|(_, error)| (error.kind(), error.is_retriable()))
            .collect();
        let expected = [
            (ErrorKind::Broker, true),
            (ErrorKind::InvalidTopic, false),
            (ErrorKind::Authorization, false),
        ];
        assert_eq!(errors, expected);
    }

    #[test]
    fn a_known_topic_keeps_its_leaders_if_a_broker_cannot_describe_it_just_now() {
        let known = vec![topic("t", 1, vec![partition(0, 1, 7)])];
        let first = after(&Cluster::default(), known, &["t"], true).cluster;
        let answer = |error, id| MetadataTopic {
            error,
            ..topic("t", id, vec![])
        };
        for (error, id, stays) in [
            (ErrorCode::INVALID_REPLICATION_FACTOR, 0, true),
            (ErrorCode::UNKNOWN_SERVER_ERROR, 0, true),
            (ErrorCode::LEADER_NOT_AVAILABLE, 1, true),
            (ErrorCode::NONE, 1, true),
            // Another topic with this name is being created.
            (ErrorCode::LEADER_NOT_AVAILABLE, 2, false),
            (ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, 0, false),
            (ErrorCode::TOPIC_AUTHORIZATION_FAILED, 0, false),
            (ErrorCode::INVALID_TOPIC_EXCEPTION, 0, false),
        ] {
            for is_full in [false, true] {
                let answer = vec![answer(error, id)];
                let update = after(&first, answer, &["t"], is_full);
                let known = update.cluster.topic("t");
                assert_eq!(known.is_some(), stays, "{error:?}");
                assert!(known.is_none_or(|known| known == first.topic("t").unwrap()));
                assert_eq!(update.errors.len(), 1, "{error:?}");
            }
        }
    }

    #[test]
    fn a_topic_is_asked_for_again_unless_it_was_refused() {
        for (error, is_final) in [
            (ErrorCode::INVALID_REPLICATION_FACTOR, false),
            (ErrorCode::UNKNOWN_SERVER_ERROR, false),
            (ErrorCode::POLICY_VIOLATION, false),
            (ErrorCode::from(999), false),
            (ErrorCode::TOPIC_AUTHORIZATION_FAILED, true),
            (ErrorCode::INVALID_TOPIC_EXCEPTION, true),
        ] {
            let answer = MetadataTopic {
                error,
                ..topic("t", 0, vec![])
            };
            let update = after(&Cluster::default(), vec![answer], &["t"], false);
            assert_eq!(update.is_incomplete, !is_final, "{error:?}");
            assert_eq!(update.errors[0].1.is_retriable(), !is_final, "{error:?}");
        }
    }

    #[test]
    fn a_hint_moves_a_leader_only_to_a_newer_epoch() {
        let cluster = after(
            &Cluster::default(),
            vec![topic("t", 1, vec![partition(0, 1, 7)])],
            &["t"],
            true,
        )
        .cluster;
        let hint = |leader, leader_epoch, host: Option<&str>| crate::metadata::LeaderHint {
            topic: "t".into(),
            topic_id: cluster.topic("t").unwrap().id(),
            partition: 0,
            leader,
            leader_epoch,
            broker: host.map(|host| Broker {
                id: leader,
                host: host.into(),
                port: 1,
                rack: None,
            }),
        };
        assert!(cluster.with_leaders(&[hint(1, 7, None)]).is_none());
        assert!(
            cluster.with_leaders(&[hint(9, 8, None)]).is_none(),
            "a broker without an address is no use"
        );
        let of_another_topic = crate::metadata::LeaderHint {
            topic_id: Some(TopicId([9; 16])),
            ..hint(9, 8, Some("h9"))
        };
        assert!(cluster.with_leaders(&[of_another_topic]).is_none());
        let moved = cluster.with_leaders(&[hint(9, 8, Some("h9"))]).unwrap();
        assert_eq!(moved.topic("t").unwrap().partitions()[0].leader(), Some(9));
        assert_eq!(moved.broker(9).unwrap().host(), "h9");
    }
}
