use std::time::Duration;

use super::*;
use crate::accumulator::handover::handover;
use crate::metadata::PartitionMetadata;
use crate::record::compression::{Compression, CompressionType};
use crate::sync::Wakeup;
use crate::time::monotonic_now;

fn topics() -> Topics {
    let (records, _) = handover();
    let worker = WorkerHandle::new(records, Arc::new(Wakeup::new(monotonic_now())));
    let config = TopicConfig {
        acks: -1,
        linger: Duration::ZERO,
        batch_size: 1000,
        max_batch_bytes: 1000,
        compression: Compression::with_default_level(CompressionType::None),
        delivery_timeout: Duration::from_secs(120),
    };
    Topics::new(
        InstanceId::new(),
        BufferMemory::new(1 << 20),
        config,
        vec![worker],
    )
}

fn metadata(name: &str, partitions: i32) -> Arc<TopicMetadata> {
    let partition = |partition| PartitionMetadata {
        partition,
        leader: Some(1),
        leader_epoch: None,
        replicas: Vec::new(),
        in_sync_replicas: Vec::new(),
        offline_replicas: Vec::new(),
    };
    Arc::new(TopicMetadata {
        name: name.into(),
        id: None,
        is_internal: false,
        partitions: (0..partitions).map(partition).collect(),
    })
}

fn changed(topics: &[(&str, i32)]) -> TopicChanges {
    let metadata = topics.iter().map(|(name, count)| metadata(name, *count));
    TopicChanges {
        changed: metadata.collect(),
        gone: Vec::new(),
    }
}

fn gone(name: &str) -> TopicChanges {
    TopicChanges {
        changed: Vec::new(),
        gone: vec![name.into()],
    }
}

/// The address of the topic as this thread keeps it, and the number of its partitions.
fn found(topics: &Topics, name: &str) -> Option<(usize, usize)> {
    topics.with(name, |topic| {
        (std::ptr::from_ref(topic) as usize, topic.partitions().len())
    })
}

#[test]
fn a_thread_keeps_a_topic_until_something_changes_about_it() {
    let topics = topics();
    topics.update(&changed(&[("a", 1), ("b", 1)]));
    let (a, b) = (found(&topics, "a"), found(&topics, "b"));
    topics.update(&changed(&[("b", 3), ("c", 1)]));
    assert_eq!(found(&topics, "a"), a);
    assert_ne!(found(&topics, "b"), b);
    assert_eq!(found(&topics, "b").unwrap().1, 3);
    topics.update(&gone("a"));
    assert_eq!(found(&topics, "a"), None);
    topics.update(&changed(&[("a", 2)]));
    assert_eq!(found(&topics, "a").unwrap().1, 2);
}

fn partitions(topics: &Topics, name: &str) -> Vec<Arc<Partition>> {
    topics.all_partitions(name)
}

fn forget(topics: &Topics, idle: &[&str]) -> usize {
    let idle = idle.iter().map(|name| Arc::from(*name));
    topics.forget(&idle.collect());
    let retired = topics.workers[0].take_retired();
    assert!(retired.iter().all(|partition| partition.is_retired()));
    retired.len()
}

#[test]
fn an_idle_topic_without_metadata_is_forgotten_and_starts_again() {
    let topics = topics();
    topics.update(&changed(&[("a", 2), ("b", 1)]));
    let before = partitions(&topics, "a");
    assert_eq!(forget(&topics, &["a", "b"]), 0, "there is metadata of both");
    topics.update(&gone("a"));
    topics.update(&gone("b"));
    assert_eq!(topics.absent().len(), 2);
    assert_eq!(forget(&topics, &["a"]), 2);
    assert_eq!(topics.absent(), ["b".into()] as [Arc<str>; 1]);
    assert!(partitions(&topics, "a").is_empty());
    topics.update(&changed(&[("a", 2), ("b", 1)]));
    let after = partitions(&topics, "a");
    assert!(!after.is_empty() && !after.iter().any(|partition| partition.is_retired()));
    let numbers = |partitions: &[Arc<Partition>]| partitions.iter().map(|p| p.id()).max();
    assert!(
        numbers(&before) < numbers(&after),
        "no number is used twice"
    );
}

#[test]
fn a_topic_with_a_batch_anywhere_is_not_forgotten() {
    let topics = topics();
    topics.update(&changed(&[("a", 2)]));
    let all = partitions(&topics, "a");
    all[1].batch_begins();
    topics.update(&gone("a"));
    assert_eq!(forget(&topics, &["a"]), 0);
    assert!(
        !all.iter().any(|partition| partition.is_retired()),
        "all or none"
    );
    all[1].batch_ends();
    assert_eq!(forget(&topics, &["a"]), 2);
}

#[test]
fn partitions_that_a_topic_no_longer_has_are_forgotten_while_it_is_used() {
    let topics = topics();
    topics.update(&changed(&[("a", 4)]));
    topics.update(&changed(&[("a", 1)]));
    assert_eq!(partitions(&topics, "a").len(), 4);
    assert_eq!(forget(&topics, &[]), 3);
    assert_eq!(partitions(&topics, "a").len(), 1);
    assert_eq!(found(&topics, "a").unwrap().1, 1);
    topics.update(&changed(&[("a", 2)]));
    assert_eq!(found(&topics, "a").unwrap().1, 2);
}

#[test]
fn after_a_close_nothing_is_forgotten() {
    let topics = topics();
    topics.update(&changed(&[("a", 1)]));
    topics.update(&gone("a"));
    topics.close();
    assert_eq!(forget(&topics, &["a"]), 0);
}

#[test]
fn producers_of_one_thread_do_not_take_each_others_topics() {
    let (one, other) = (topics(), topics());
    one.update(&changed(&[("a", 1)]));
    other.update(&changed(&[("a", 2)]));
    for _ in 0..3 {
        assert_eq!(found(&one, "a").unwrap().1, 1);
        assert_eq!(found(&other, "a").unwrap().1, 2);
    }
}
