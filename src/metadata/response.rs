//! A Metadata response into a new picture of the cluster.

use std::collections::HashSet;
use std::sync::Arc;

use super::cluster::{Broker, Cluster, PartitionMetadata, TopicId, TopicMetadata, is_plain};
use crate::error::{CodeRule, Delivery, Error, TopicAnswer};
use crate::protocol::ErrorCode;
use crate::protocol::messages::{MetadataPartition, MetadataResponse, MetadataTopic};

/// Leader epochs are right from this version on (KAFKA-9212: before, a broker that was restarted could tell old ones).
const FIRST_VERSION_WITH_RELIABLE_EPOCHS: i16 = 9;

/// What a response changed.
pub(crate) struct Update {
    pub(crate) cluster: Cluster,
    /// Topics with an error; waiting can cure the retriable ones.
    pub(super) errors: Vec<(Arc<str>, Error)>,
    /// Whether some topic's or partition's answer is worth asking again: no leader yet, or not created yet.
    pub(super) is_incomplete: bool,
    /// Whether some partition stays as it was, for its epoch was older than the known one.
    pub(super) has_older_epochs: bool,
}

/// The picture after `response` to a request for `asked`.
///
/// Its `identity_era` is above that of `before` where a known topic is gone or was made anew, or the cluster is another one.
/// A topic can be deleted by itself. But so may have been the whole cluster, and made anew under the same id, and such a
/// cluster gives producer ids from the start again: those that were given before may be another producer's now.
/// Topics that were not asked for stay as they are in `before`,
/// unless the request was for all (`is_full`). A known topic that the broker cannot describe just now stays as well:
/// whether its leaders still lead, they tell themselves when they are written to.
pub(crate) fn update(
    before: &Cluster,
    response: MetadataResponse,
    version: i16,
    asked: &[Arc<str>],
    is_full: bool,
) -> Update {
    let mut topics = before.topics.clone();
    let is_asked: HashSet<&str> = asked.iter().map(|topic| &**topic).collect();
    let mut kept: HashSet<Arc<str>> = HashSet::new();
    let mut errors = Vec::new();
    let (mut is_incomplete, mut has_older_epochs, mut is_topic_lost) = (false, false, false);
    for topic in response.topics {
        // What nobody asked for takes no memory.
        let Some(name) = topic.name.as_deref().filter(|name| is_asked.contains(name)) else {
            continue;
        };
        let known = before.topics.get(name);
        let name = known.map_or_else(|| Arc::from(name), |known| Arc::clone(&known.name));
        let (error, id) = (topic.error, topic_id(&topic));
        let described = error
            .is_none()
            .then(|| {
                let known = known.map(|known| &**known);
                topic_metadata(&name, topic, version, known, &mut has_older_epochs)
            })
            // Nothing can be sent to it, nor a partition be chosen: as good as not created yet.
            .filter(|topic| !topic.partitions.is_empty());
        if let Some(topic) = described {
            is_topic_lost |= known.is_some_and(|known| known.is_other_than(&topic));
            is_incomplete |= topic
                .partitions
                .iter()
                .any(|partition| partition.leader.is_none());
            topics.insert(topic);
            kept.insert(name);
            continue;
        }
        let error = match error {
            ErrorCode::NONE => ErrorCode::LEADER_NOT_AVAILABLE,
            error => error,
        };
        is_incomplete |= !is_for_the_user_to_mend(error);
        let is_the_same = |known: &&Arc<TopicMetadata>| id.is_none() || known.id == id;
        let stays = known
            .filter(is_the_same)
            .is_some_and(|_| !denies_the_topic(error));
        if stays {
            kept.insert(Arc::clone(&name));
        }
        is_topic_lost |= known.is_some() && error == ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
        let error = topic_error(&name, error);
        errors.push((name, error));
    }
    if is_full {
        topics.retain(|name| kept.contains(name));
    } else {
        let missing = asked.iter().filter(|name| !kept.contains(*name));
        missing.for_each(|name| topics.remove(name));
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
        topics,
        identity_era: before.identity_era,
        restorations: before.restorations,
    };
    if is_topic_lost || cluster.is_other_than(before.cluster_id()) {
        cluster.identity_era += 1;
    }
    Update {
        cluster,
        errors,
        is_incomplete,
        has_older_epochs,
    }
}

fn broker(broker: crate::protocol::messages::MetadataBroker) -> Option<(i32, Arc<Broker>)> {
    let id = broker.node_id;
    let broker = Broker::advertised(id, &broker.host, broker.port, broker.rack.as_deref())?;
    Some((id, Arc::new(broker)))
}

fn topic_metadata(
    name: &Arc<str>,
    topic: MetadataTopic,
    version: i16,
    known: Option<&TopicMetadata>,
    has_older_epochs: &mut bool,
) -> TopicMetadata {
    let id = topic_id(&topic);
    // Epochs of a topic of the same name that was deleted mean nothing for this one. Where topics have no ids nobody knows
    // which of them is meant, and a leader of yesterday costs less than one that is ignored for good.
    let known = known.filter(|known| id.is_some() && known.id == id);
    let mut partitions: Vec<PartitionMetadata> = topic
        .partitions
        .into_iter()
        .filter(|partition| partition.index >= 0)
        .map(|partition| partition_metadata(partition, version))
        .collect();
    partitions.sort_by_key(|partition| partition.partition);
    // Numbers run from 0 without a gap; what comes after a gap cannot be addressed yet.
    let contiguous = partitions
        .iter()
        .zip(0..)
        .take_while(|(partition, number)| partition.partition == *number)
        .count();
    partitions.truncate(contiguous);
    for (partition, before) in partitions
        .iter_mut()
        .zip(known.iter().flat_map(|known| &known.partitions))
    {
        if matches!((partition.leader_epoch, before.leader_epoch), (Some(now), Some(before)) if now < before)
        {
            // From a broker that lags behind the one that was asked before.
            *partition = before.clone();
            *has_older_epochs = true;
        }
    }
    TopicMetadata {
        name: Arc::clone(name),
        id,
        is_internal: topic.is_internal,
        partitions,
    }
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

/// Whether asking again is of no use: the user has to choose another name or get a permission.
fn is_for_the_user_to_mend(code: ErrorCode) -> bool {
    CodeRule::of(code).topic == TopicAnswer::Refused
}

/// Whether the answer says that there is no such topic for this client, rather than nothing of it.
fn denies_the_topic(code: ErrorCode) -> bool {
    CodeRule::of(code).topic != TopicAnswer::Unavailable
}

/// What to do about a topic that the broker does not describe, where it is not what is usual for the error's kind.
fn advice(code: ErrorCode) -> Option<&'static str> {
    match code {
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION => {
            Some("create the topic, or let the brokers do it (auto.create.topics.enable)")
        }
        ErrorCode::TOPIC_AUTHORIZATION_FAILED | ErrorCode::CLUSTER_AUTHORIZATION_FAILED => {
            Some("ask for the permission to describe the topic and to write to it")
        }
        ErrorCode::INVALID_TOPIC_EXCEPTION => Some("choose another name for the topic"),
        ErrorCode::INVALID_REPLICATION_FACTOR => Some(
            "wait until enough brokers run for a new topic's replicas, or create the topic with fewer",
        ),
        ErrorCode::POLICY_VIOLATION => {
            Some("create the topic as the brokers' policy for new topics demands")
        }
        ErrorCode::LEADER_NOT_AVAILABLE => Some("wait until the topic has leaders"),
        _ => None,
    }
}

fn topic_error(name: &Arc<str>, code: ErrorCode) -> Error {
    let message = match code {
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION => "the topic does not exist",
        code if is_for_the_user_to_mend(code) => "the broker refuses the topic to this client",
        _ => "the broker did not describe the topic",
    };
    let error = Error::answered(code, message);
    let error = match advice(code) {
        Some(advice) => error.with_advice(advice),
        None => error,
    };
    error
        .with_retriable(!is_for_the_user_to_mend(code))
        .with_topic(Arc::clone(name), None)
        .with_delivery(Delivery::NotWritten)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::protocol::messages::MetadataBroker;

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
    fn an_answer_about_one_topic_leaves_the_others() {
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
            "a topic that is gone is gone"
        );
    }

    #[test]
    fn an_answer_that_tells_nothing_new_changes_no_topic() {
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
    fn an_older_leader_epoch_is_ignored_unless_the_topic_was_made_anew() {
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
    fn producer_ids_are_of_another_era_when_a_known_topic_is_gone_or_made_anew() {
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
        // A topic that was never known tells nothing.
        let other = vec![topic("u", 9, vec![partition(0, 1, 0)])];
        let update = after(&first, other, &["u"], false);
        assert_eq!(update.cluster.identity_era, first.identity_era);
    }

    #[test]
    fn topics_that_were_not_asked_for_are_left_out() {
        let strangers = vec![
            topic("t", 1, vec![partition(0, 1, 7)]),
            topic("u", 2, vec![partition(0, 1, 7)]),
            MetadataTopic {
                error: ErrorCode::INVALID_TOPIC_EXCEPTION,
                ..topic("v", 0, vec![])
            },
        ];
        for is_full in [true, false] {
            let update = after(&Cluster::default(), strangers.clone(), &["t"], is_full);
            assert_eq!(update.cluster.topics.iter().count(), 1);
            assert!(update.errors.is_empty());
        }
    }

    #[test]
    fn partitions_are_in_order_without_gaps_whatever_the_answer_says() {
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
    fn a_topic_without_a_partition_is_as_good_as_not_there_yet() {
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
    fn errors_that_waiting_cures_are_told_from_the_others() {
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
    fn a_known_topic_keeps_its_leaders_where_a_broker_cannot_describe_it_just_now() {
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
            // Another topic of the name is being created.
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
    fn only_what_the_user_must_mend_is_not_worth_asking_again() {
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
    fn a_hint_moves_a_leader_only_forward() {
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
