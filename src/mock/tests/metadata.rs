//! ApiVersions and Metadata: how the cluster describes itself.

use super::*;
use crate::protocol::Request;
use crate::protocol::messages::{
    ApiVersionRange, ApiVersionsRequest, MetadataRequest, MetadataRequestTopic,
};

const CLIENT_SOFTWARE: ApiVersionsRequest<'static> = ApiVersionsRequest {
    client_software_name: "kp",
    client_software_version: "1",
};

#[test]
fn api_versions_names_the_versions_in_every_version_of_its_own() {
    let cluster = MockCluster::start(1).unwrap();
    let mut client = Client::connect(&cluster, 0);
    for version in ApiVersionsRequest::VERSIONS {
        let answer = client.call(&CLIENT_SOFTWARE, version);
        assert_eq!(answer.error, ErrorCode::NONE);
        assert!(answer.api_keys.contains(&ApiVersionRange {
            api_code: 0,
            min_version: 3,
            max_version: 13
        }));
    }
    assert_eq!(
        cluster
            .requests()
            .last()
            .unwrap()
            .client_software
            .as_deref(),
        Some("kp/1")
    );
}

#[test]
fn restricted_versions_are_named_and_a_refusal_has_the_layout_of_version_0() {
    let cluster = MockCluster::start(1).unwrap();
    let mut client = Client::connect(&cluster, 0);
    cluster.restrict_versions(MockApi::ApiVersions, 0..=2);
    cluster.restrict_versions(MockApi::Produce, 0..=7);
    #[expect(clippy::reversed_empty_ranges, reason = "no version at all")]
    cluster.restrict_versions(MockApi::InitProducerId, 1..=0);
    let refusal = client.call(&CLIENT_SOFTWARE, 3);
    let own = ApiVersionRange {
        api_code: 18,
        min_version: 0,
        max_version: 2,
    };
    assert_eq!(
        (refusal.error, &refusal.api_keys[..]),
        (ErrorCode::UNSUPPORTED_VERSION, &[own][..])
    );
    let answer = client.call(&CLIENT_SOFTWARE, 2);
    assert_eq!(
        answer
            .api_keys
            .iter()
            .map(|range| range.api_code)
            .collect::<Vec<_>>(),
        [0, 3, 18, 17, 36]
    );
    assert_eq!(
        (
            answer.api_keys[0].min_version,
            answer.api_keys[0].max_version
        ),
        (3, 7)
    );
    assert_eq!(
        client.produce(7, "t", 0, &[]).error,
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
    );
    client.send(&produce_request(-1, "t", [0; 16], &[]), 8);
    client.expect_end();
}

#[test]
fn metadata_describes_the_cluster_in_every_version() {
    let cluster = cluster_with_topic(3, 4);
    let mut client = Client::connect(&cluster, 1);
    for version in MetadataRequest::VERSIONS {
        let answer = client.call(&metadata_request(Some(&["t"])), version);
        assert_eq!(answer.brokers.len(), 3);
        assert_eq!(
            cluster.bootstrap_servers().split(',').nth(2).unwrap(),
            format!("{}:{}", answer.brokers[2].host, answer.brokers[2].port)
        );
        let topic = &answer.topics[0];
        assert_eq!(
            (topic.error, topic.name.as_deref(), topic.partitions.len()),
            (ErrorCode::NONE, Some("t"), 4)
        );
        assert_eq!(
            topic
                .partitions
                .iter()
                .map(|partition| partition.leader_id)
                .collect::<Vec<_>>(),
            [0, 1, 2, 0]
        );
        assert_eq!(topic.id != [0; 16], version >= 10);
        assert_eq!(
            client.call(&metadata_request(None), version).topics.len(),
            1
        );
    }
    let no_topics = MetadataRequest {
        topics: Some(vec![]),
        allow_auto_topic_creation: true,
    };
    assert!(client.call(&no_topics, 1).topics.is_empty());
    let by_id = |id| {
        let topics = Some(vec![MetadataRequestTopic { id, name: None }]);
        MetadataRequest {
            topics,
            allow_auto_topic_creation: false,
        }
    };
    let found = client.call(&by_id(*cluster.topic_id("t").unwrap().as_bytes()), 12);
    assert_eq!(found.topics[0].name.as_deref(), Some("t"));
    let missing = client.call(&by_id([9; 16]), 12);
    assert_eq!(
        (missing.topics[0].error, &missing.topics[0].name),
        (ErrorCode::UNKNOWN_TOPIC_ID, &None)
    );
}

#[test]
fn a_request_creates_a_topic_only_if_both_sides_allow_it() {
    let cluster = MockCluster::builder()
        .default_partitions(3)
        .start()
        .unwrap();
    let mut client = Client::connect(&cluster, 0);
    let forbidden = MetadataRequest {
        allow_auto_topic_creation: false,
        ..metadata_request(Some(&["new"]))
    };
    assert_eq!(
        client.call(&forbidden, 9).topics[0].error,
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
    );
    assert_eq!(cluster.partitions("new"), None);
    assert_eq!(
        client.call(&metadata_request(Some(&["new"])), 9).topics[0]
            .partitions
            .len(),
        3
    );
    assert_eq!(cluster.partitions("new"), Some(3));
    let long = "x".repeat(250);
    for name in ["", ".", "..", "a b", "ä", &long] {
        let answer = client.call(&metadata_request(Some(&[name])), 9);
        assert_eq!(
            answer.topics[0].error,
            ErrorCode::INVALID_TOPIC_EXCEPTION,
            "{name}"
        );
    }

    let cluster = MockCluster::builder()
        .auto_create_topics(false)
        .start()
        .unwrap();
    let answer = Client::connect(&cluster, 0).call(&metadata_request(Some(&["new"])), 9);
    assert_eq!(
        answer.topics[0].error,
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
    );
}

#[test]
fn metadata_can_name_a_broker_that_does_not_lead() {
    let cluster = cluster_with_topic(2, 1);
    cluster.set_leader("t", 0, Some(1));
    let leader_of = |client: &mut Client| {
        let answer = client.call(&metadata_request(Some(&["t"])), 9);
        let partition = &answer.topics[0].partitions[0];
        (partition.leader_id, partition.leader_epoch)
    };
    let mut client = Client::connect(&cluster, 0);
    assert_eq!(leader_of(&mut client), (1, 1));
    cluster.pretend_leader("t", 0, Some((0, 0)));
    assert_eq!(leader_of(&mut client), (0, 0));
    assert_eq!(cluster.leader("t", 0), Some(1));
    let answer = client.produce(9, "t", 0, &plain_batch(1));
    assert_eq!(answer.error, ErrorCode::NOT_LEADER_OR_FOLLOWER);
    cluster.pretend_leader("t", 0, None);
    assert_eq!(leader_of(&mut client), (1, 1));
}
