//! Clusters and addresses for tests.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Broker, Cluster, PartitionMetadata, TopicMetadata};
use crate::connection::Endpoint;

/// An address of a host that all tests use.
pub(super) fn endpoint(port: u16) -> Endpoint {
    Endpoint {
        host: "h".into(),
        port,
    }
}

/// A topic without an id. Its partitions have these leaders.
pub(super) fn topic(name: &str, leaders: &[i32]) -> TopicMetadata {
    let partitions = (0..)
        .zip(leaders)
        .map(|(partition, leader)| PartitionMetadata {
            partition,
            leader: Some(*leader),
            leader_epoch: Some(3),
            replicas: vec![*leader],
            in_sync_replicas: vec![*leader],
            offline_replicas: Vec::new(),
        });
    TopicMetadata {
        name: name.into(),
        id: None,
        is_internal: false,
        partitions: partitions.collect(),
    }
}

/// A cluster of brokers at these ports, which are also their ids.
pub(super) fn cluster_at(ports: &[u16]) -> Cluster {
    let broker = |port: &u16| {
        let id = i32::from(*port);
        let broker = Broker {
            id,
            host: "h".into(),
            port: *port,
            rack: None,
        };
        (id, Arc::new(broker))
    };
    Cluster {
        brokers: ports.iter().map(broker).collect::<HashMap<_, _>>(),
        ..Cluster::default()
    }
}
