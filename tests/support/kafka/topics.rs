//! Topics, partitions and their leaders in a running cluster.

use std::io;
use std::time::Duration;

use super::{ClusterView, KafkaCluster, PartitionView, Replicas, admin, poll};

impl KafkaCluster {
    /// Creates a topic and waits until every running broker knows its leaders.
    pub(crate) fn create_topic(
        &self,
        name: &str,
        partitions: i32,
        replication: i16,
        configs: &[(&str, &str)],
    ) {
        self.create_topic_on(
            name,
            &Replicas::Anywhere {
                partitions,
                replication,
            },
            configs,
        );
    }

    /// Creates a topic with its replicas on the given brokers.
    pub(crate) fn create_topic_on(
        &self,
        name: &str,
        replicas: &Replicas,
        configs: &[(&str, &str)],
    ) {
        self.ask(|port| admin::create_topic(port, name, replicas, configs));
        let partitions = match replicas {
            Replicas::Anywhere { partitions, .. } => *partitions as usize,
            Replicas::On(assignments) => assignments.len(),
        };
        self.wait_for(&format!("topic {name} is everywhere"), |view| {
            has_leaders(view, name, partitions)
        });
    }

    /// Deletes a topic and waits until no running broker knows it.
    pub(crate) fn delete_topic(&self, name: &str) {
        self.ask(|port| admin::delete_topic(port, name));
        self.wait_for(&format!("topic {name} is gone"), |view| {
            view.topics.iter().all(|topic| topic.name != name)
        });
    }

    /// Raises the number of partitions to `count` and waits until every running broker knows their leaders.
    pub(crate) fn add_partitions(&self, name: &str, count: i32) {
        self.ask(|port| admin::add_partitions(port, name, count));
        self.wait_for(&format!("{count} partitions of {name}"), |view| {
            has_leaders(view, name, count as usize)
        });
    }

    /// Sets configs of a topic. A broker may use the old ones for some more milliseconds.
    pub(crate) fn alter_topic_configs(&self, name: &str, configs: &[(&str, &str)]) {
        self.ask(|port| admin::alter_configs(port, admin::Resource::Topic, name, configs));
    }

    /// Makes `leader`, one of the replicas, lead the partition, without ending any broker.
    pub(crate) fn move_leader(&self, topic: &str, partition: i32, leader: i32) {
        let mut replicas = self.partition(topic, partition).replicas;
        let position = replicas.iter().position(|id| *id == leader);
        replicas.swap(0, position.expect("the new leader is a replica"));
        self.ask(|port| admin::reassign(port, topic, partition, &replicas));
        self.wait_for("the new order of replicas", |view| {
            find_partition(view, topic, partition).is_some_and(|found| found.replicas == replicas)
        });
        self.elect_until(
            |port| admin::elect_preferred_leader(port, topic, partition),
            |view| {
                find_partition(view, topic, partition).is_some_and(|found| found.leader == leader)
            },
        );
    }

    /// Makes another replica of each partition of these topics lead: the one `by` positions further. Partitions with the same
    /// replicas keep the same leader.
    pub(crate) fn rotate_leaders(&self, topics: &[&str], by: usize) {
        for topic in topics {
            for partition in self.partitions(topic) {
                let mut replicas = partition.replicas;
                let steps = by % replicas.len();
                replicas.rotate_left(steps);
                self.ask(|port| admin::reassign(port, topic, partition.index, &replicas));
            }
        }
        self.elect_preferred_leaders();
    }

    /// Elects each partition's first replica as its leader, and waits until all of them lead.
    pub(crate) fn elect_preferred_leaders(&self) {
        self.elect_until(admin::elect_preferred_leaders, |view| {
            let mut partitions = view.topics.iter().flat_map(|topic| &topic.partitions);
            partitions.all(|partition| partition.leader == partition.replicas[0])
        });
    }

    /// Asks for an election until every running broker sees its result. A replica that is not in sync at that moment is not
    /// elected, and on a busy machine the replicas leave and join for some time.
    fn elect_until(
        &self,
        elect: impl Fn(u16) -> io::Result<()>,
        is_elected: impl Fn(&ClusterView) -> bool,
    ) {
        let done = poll(Duration::from_secs(120), || {
            self.ask(&elect);
            poll(Duration::from_secs(5), || {
                self.all_see(&is_elected).then_some(())
            })
        });
        assert!(
            done.is_some(),
            "timed out waiting until the preferred leaders lead"
        );
    }

    /// A topic's partitions as a running broker sees them; empty for one that does not exist.
    pub(crate) fn partitions(&self, topic: &str) -> Vec<PartitionView> {
        let view = self.ask(|port| admin::metadata(port, Some(&[topic])));
        view.topics
            .into_iter()
            .flat_map(|topic| topic.partitions)
            .collect()
    }

    pub(crate) fn leader(&self, topic: &str, partition: i32) -> i32 {
        self.partition(topic, partition).leader
    }

    /// The number of records ever appended to a partition, as its leader says.
    pub(crate) fn end_offset(&self, topic: &str, partition: i32) -> i64 {
        let answer = poll(Duration::from_secs(30), || {
            let leader = self
                .brokers
                .iter()
                .find(|broker| broker.id == self.leader(topic, partition))?;
            admin::end_offset(leader.port(), topic, partition).ok()
        });
        answer.unwrap_or_else(|| panic!("no end offset of {topic}-{partition}"))
    }

    /// Waits until every replica of every topic is in sync again: a second fault before that may make a partition
    /// unavailable, for which no client is responsible.
    pub(crate) fn wait_until_replicated(&self) {
        self.wait_for("all replicas are in sync", |view| {
            let partitions = || view.topics.iter().flat_map(|topic| &topic.partitions);
            view.brokers.len() == self.brokers.len()
                && partitions().all(|partition| {
                    partition.leader >= 0 && partition.isr.len() == partition.replicas.len()
                })
        });
    }

    fn partition(&self, topic: &str, partition: i32) -> PartitionView {
        let view = self.ask(|port| admin::metadata(port, Some(&[topic])));
        find_partition(&view, topic, partition)
            .unwrap_or_else(|| panic!("no partition {topic}-{partition}"))
            .clone()
    }
}

fn has_leaders(view: &ClusterView, topic: &str, partitions: usize) -> bool {
    let topic = view.topics.iter().find(|candidate| candidate.name == topic);
    topic.is_some_and(|topic| {
        topic.partitions.len() == partitions
            && topic
                .partitions
                .iter()
                .all(|partition| partition.leader >= 0)
    })
}

fn find_partition<'a>(
    view: &'a ClusterView,
    topic: &str,
    partition: i32,
) -> Option<&'a PartitionView> {
    let topic = view
        .topics
        .iter()
        .find(|candidate| candidate.name == topic)?;
    topic
        .partitions
        .iter()
        .find(|candidate| candidate.index == partition)
}
