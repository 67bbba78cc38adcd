//! The trait that chooses a record's partition, and a partitioner that chooses in round robin.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::RwLock;

use crate::metadata::{Cluster, PartitionMetadata};

use super::serializer::BoxError;

/// Chooses the partition of each record that has none.
///
/// Give it to the builder with [`partitioner`](crate::ProducerBuilder::partitioner). Without one, the producer hashes the
/// key as Java does. It sends the records without a key to one partition for about `batch.size` bytes, or until the
/// partition's broker fails. Then it chooses another partition.
///
/// `partition` runs on the thread that sends, once for each record, and several threads may call it at once.
pub trait Partitioner: Send + Sync {
    /// Returns the partition for a record of `topic` with the serialized `key` and `value`; `None` is null. `cluster` has
    /// the topic and its partitions. The send fails with [`ErrorKind::Partitioner`](crate::ErrorKind::Partitioner) if this
    /// returns an error, a negative partition, or one that the topic does not have.
    fn partition(
        &self,
        topic: &str,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        cluster: &Cluster,
    ) -> Result<i32, BoxError>;

    /// Runs at most once, at the end of the first close, on the thread that closes. A send that began earlier may still
    /// call [`partition`](Self::partition).
    fn on_close(&self) {}
}

impl<P: Partitioner + ?Sized> Partitioner for Arc<P> {
    fn partition(
        &self,
        topic: &str,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        cluster: &Cluster,
    ) -> Result<i32, BoxError> {
        (**self).partition(topic, key, value, cluster)
    }

    fn on_close(&self) {
        (**self).on_close();
    }
}

/// Gives the records of each topic to its partitions one after the other, and ignores keys. It skips partitions without a
/// leader while others have one. If all partitions have a leader, they get equal numbers of records; Java's partitioner of
/// that name skips some (KAFKA-9965).
#[derive(Debug, Default)]
pub struct RoundRobinPartitioner {
    /// The number of records of each topic so far.
    counts: RwLock<HashMap<Box<str>, AtomicUsize>>,
}

impl RoundRobinPartitioner {
    /// Makes a partitioner that begins with each topic's first partition.
    pub fn new() -> Self {
        Self::default()
    }

    fn next_number(&self, topic: &str, cluster: &Cluster) -> usize {
        if let Some(count) = self.counts.read().get(topic) {
            return count.fetch_add(1, Ordering::Relaxed);
        }
        let mut counts = self.counts.write();
        // The counts of deleted topics would take more and more memory.
        if counts.len() == counts.capacity() {
            counts.retain(|name, _| cluster.topic(name).is_some());
        }
        counts
            .entry(topic.into())
            .or_default()
            .fetch_add(1, Ordering::Relaxed)
    }
}

impl Partitioner for RoundRobinPartitioner {
    fn partition(
        &self,
        topic: &str,
        _key: Option<&[u8]>,
        _value: Option<&[u8]>,
        cluster: &Cluster,
    ) -> Result<i32, BoxError> {
        let partitions = cluster
            .topic(topic)
            .map_or(&[][..], |topic| topic.partitions());
        let has_leader = |partition: &&PartitionMetadata| partition.leader().is_some();
        let with_leader = partitions.iter().filter(has_leader).count();
        let number = self.next_number(topic, cluster);
        let chosen = match with_leader {
            0 => number
                .checked_rem(partitions.len())
                .map(|index| &partitions[index]),
            _ => partitions
                .iter()
                .filter(has_leader)
                .nth(number % with_leader),
        };
        chosen
            .map(PartitionMetadata::partition)
            .ok_or_else(|| "the topic has no partitions".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::TopicMetadata;

    fn cluster(leaders: &[Option<i32>]) -> Cluster {
        let partitions = (0..)
            .zip(leaders)
            .map(|(partition, leader)| PartitionMetadata {
                partition,
                leader: *leader,
                leader_epoch: None,
                replicas: vec![],
                in_sync_replicas: vec![],
                offline_replicas: vec![],
            });
        let topic = TopicMetadata {
            name: "t".into(),
            id: None,
            is_internal: false,
            partitions: partitions.collect(),
        };
        Cluster {
            topics: [topic].into_iter().collect(),
            ..Cluster::default()
        }
    }

    #[test]
    fn numbers_of_deleted_topics_are_forgotten() {
        let partitioner = RoundRobinPartitioner::new();
        let cluster = cluster(&[Some(1), Some(1)]);
        let choose = |topic| partitioner.partition(topic, None, None, &cluster);
        assert_eq!(choose("t").unwrap(), 0);
        for number in 0..10_000 {
            // The next cluster does not have this topic.
            partitioner.next_number(&format!("gone-{number}"), &cluster);
        }
        assert!(partitioner.counts.read().len() < 100);
        assert_eq!(choose("t").unwrap(), 1);
    }

    fn choices(leaders: &[Option<i32>], count: usize) -> Vec<i32> {
        let partitioner = RoundRobinPartitioner::new();
        let cluster = cluster(leaders);
        (0..count)
            .map(|_| {
                partitioner
                    .partition("t", Some(b"k"), None, &cluster)
                    .unwrap()
            })
            .collect()
    }

    #[test]
    fn round_robin_visits_each_partition_in_order() {
        assert_eq!(choices(&[Some(0); 3], 7), [0, 1, 2, 0, 1, 2, 0]);
    }

    #[test]
    fn round_robin_skips_partitions_without_a_leader_while_others_have_one() {
        assert_eq!(choices(&[Some(0), None, Some(1)], 4), [0, 2, 0, 2]);
        assert_eq!(choices(&[None; 2], 3), [0, 1, 0]);
    }

    #[test]
    fn round_robin_without_partitions_is_an_error() {
        let partitioner = RoundRobinPartitioner::new();
        assert!(
            partitioner
                .partition("t", None, None, &cluster(&[]))
                .is_err()
        );
        assert!(
            partitioner
                .partition("unknown", None, None, &cluster(&[Some(0)]))
                .is_err()
        );
    }

    #[test]
    fn round_robin_is_even_with_many_threads() {
        let partitioner = RoundRobinPartitioner::new();
        let cluster = cluster(&[Some(0); 4]);
        let counts: Vec<AtomicUsize> = (0..4).map(|_| AtomicUsize::new(0)).collect();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        let partition = partitioner.partition("t", None, None, &cluster).unwrap();
                        counts[partition as usize].fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        assert!(
            counts
                .iter()
                .all(|count| count.load(Ordering::Relaxed) == 1000),
            "{counts:?}"
        );
    }
}
