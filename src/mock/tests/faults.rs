//! Faults and hooks: errors on request, lost, late, kept and damaged answers.

use std::io::Read;
use std::time::{Duration, Instant};

use super::*;
use crate::TopicPartition;
use crate::protocol::decode_response;
use crate::protocol::messages::{ApiVersionsRequest, MetadataRequest, RecordError};

#[test]
fn an_error_for_a_produce_request_is_that_of_each_partition() {
    let cluster = cluster_with_topic(1, 3);
    let mut client = Client::connect(&cluster, 0);
    let batch = plain_batch(2);
    let request = produce_request(-1, "t", [0; 16], &[(0, &batch), (1, &batch), (2, &batch)]);
    cluster.fail_next(
        MockApi::Produce,
        1,
        Fault::Error(ErrorCode::NOT_ENOUGH_REPLICAS),
    );
    let answer = client.call(&request, 9);
    assert!(
        answer.topics[0]
            .partitions
            .iter()
            .all(|partition| partition.error == ErrorCode::NOT_ENOUGH_REPLICAS)
    );
}

#[test]
fn an_error_for_one_partition_and_one_record_leaves_the_others_alone() {
    let cluster = cluster_with_topic(1, 3);
    let mut client = Client::connect(&cluster, 0);
    let batch = plain_batch(2);
    let request = produce_request(-1, "t", [0; 16], &[(0, &batch), (1, &batch), (2, &batch)]);
    let failure = PartitionError::new("t", 1, ErrorCode::INVALID_RECORD)
        .message("one of them")
        .record_error(1, Some("this one"))
        .log_start_offset(5);
    cluster.fail_next(MockApi::Produce, 1, Fault::PartitionErrors(vec![failure]));
    let answer = client.call(&request, 9);
    let partitions = &answer.topics[0].partitions;
    assert_eq!(
        (partitions[0].error, partitions[2].error),
        (ErrorCode::NONE, ErrorCode::NONE)
    );
    assert_eq!(
        (partitions[1].error, partitions[1].log_start_offset),
        (ErrorCode::INVALID_RECORD, 5)
    );
    assert_eq!(partitions[1].error_message.as_deref(), Some("one of them"));
    let record_error = RecordError {
        batch_index: 1,
        message: Some("this one".to_owned()),
    };
    assert_eq!(partitions[1].record_errors, [record_error]);
    assert_eq!(
        (cluster.end_offset("t", 0), cluster.end_offset("t", 1)),
        (Some(2), Some(0))
    );
}

#[test]
fn an_error_for_metadata_is_that_of_each_topic_and_since_version_13_of_the_request() {
    let cluster = cluster_with_topic(1, 3);
    let mut client = Client::connect(&cluster, 0);
    cluster.fail_next(
        MockApi::Metadata,
        2,
        Fault::Error(ErrorCode::LEADER_NOT_AVAILABLE),
    );
    for version in [9, 13] {
        let answer = client.call(&metadata_request(Some(&["t"])), version);
        assert_eq!(answer.topics[0].error, ErrorCode::LEADER_NOT_AVAILABLE);
        assert_eq!(
            answer.error == ErrorCode::LEADER_NOT_AVAILABLE,
            version == 13
        );
    }
}

#[test]
fn an_error_for_api_versions_or_init_producer_id_is_that_of_the_request() {
    let cluster = MockCluster::start(1).unwrap();
    let mut client = Client::connect(&cluster, 0);
    cluster.fail_next(
        MockApi::InitProducerId,
        1,
        Fault::Error(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS),
    );
    assert_eq!(
        client.call(&init_producer_id(None), 4).error,
        ErrorCode::COORDINATOR_LOAD_IN_PROGRESS
    );
    assert_eq!(
        client.call(&init_producer_id(None), 4).error,
        ErrorCode::NONE
    );
    cluster.fail_next(
        MockApi::ApiVersions,
        1,
        Fault::Error(ErrorCode::UNSUPPORTED_VERSION),
    );
    assert_eq!(
        client.call(&ApiVersionsRequest::default(), 4).error,
        ErrorCode::UNSUPPORTED_VERSION
    );
}

#[test]
fn hooks_see_the_request_and_are_gone_when_used_up_or_removed() {
    let cluster = cluster_with_topic(2, 1);
    cluster.set_leader("t", 0, Some(1));
    let (seen, requests) = std::sync::mpsc::channel();
    let hook = cluster.on(MockApi::Produce, move |request| {
        seen.send(request.clone()).unwrap();
        Fault::Pass
    });
    let once = cluster.once(MockApi::Produce, |request| match request.broker() {
        1 => Fault::Error(ErrorCode::REQUEST_TIMED_OUT),
        _ => Fault::Pass,
    });
    let batch = batch_of(4, 2, 0, 3);
    let id = *cluster.topic_id("t").unwrap().as_bytes();
    let request = produce_request(1, "", id, &[(0, &batch)]);
    let answers = [0, 1, 1].map(|broker| Client::connect(&cluster, broker).call(&request, 13));
    let errors = answers.map(|answer| answer.topics[0].partitions[0].error);
    assert_eq!(
        errors,
        [
            ErrorCode::NOT_LEADER_OR_FOLLOWER,
            ErrorCode::REQUEST_TIMED_OUT,
            ErrorCode::NONE
        ]
    );
    cluster.remove(once);

    let request = requests.recv().unwrap();
    assert_eq!(
        (request.api(), request.version(), request.broker()),
        (MockApi::Produce, 13, 0)
    );
    assert_eq!(
        (request.client_id(), request.acks(), request.topics()),
        (Some("test"), Some(1), &["t".to_owned()][..])
    );
    let produced = ProducedBatch {
        topic_partition: TopicPartition::new("t", 0),
        producer_id: 4,
        producer_epoch: 2,
        base_sequence: 0,
        records_count: 3,
        bytes: batch.len(),
    };
    assert_eq!(request.batches(), [produced]);
    cluster.remove(hook);
    // The hook owned the sender: without the hook the channel is closed after the two other requests.
    assert_eq!(requests.iter().count(), 2);
}

#[test]
fn a_hook_that_panics_closes_its_connection_only() {
    let cluster = MockCluster::start(1).unwrap();
    cluster.once(MockApi::Metadata, |request| match request.version() {
        9 => panic!("the hook's own fault, expected in this test's output"),
        _ => Fault::Pass,
    });
    let mut client = Client::connect(&cluster, 0);
    client.send(&metadata_request(None), 9);
    client.expect_end();
    assert!(cluster.wait_until(TIMEOUT, |cluster| cluster.connections(0) == 0));
    Client::connect(&cluster, 0).call(&metadata_request(None), 8);
}

#[test]
fn an_error_after_the_append_has_the_offset_of_the_batch() {
    let cluster = cluster_with_topic(1, 1);
    let mut client = Client::connect(&cluster, 0);
    let batch = batch_of(7, 0, 0, 2);
    let failure = PartitionError::new("t", 0, ErrorCode::NOT_LEADER_OR_FOLLOWER)
        .after_append()
        .current_leader(3, 5);
    cluster.fail_next(MockApi::Produce, 1, Fault::PartitionErrors(vec![failure]));
    let answer = client.produce(10, "t", 0, &batch);
    assert_eq!(
        (answer.error, answer.base_offset),
        (ErrorCode::NOT_LEADER_OR_FOLLOWER, 0)
    );
    let leader = answer.current_leader;
    assert_eq!((leader.leader_id, leader.leader_epoch), (3, 5));
    assert_eq!(cluster.end_offset("t", 0), Some(2));

    // A batch that is refused has the broker's own error.
    let failure = PartitionError::new("t", 0, ErrorCode::REQUEST_TIMED_OUT).after_append();
    cluster.fail_next(MockApi::Produce, 1, Fault::PartitionErrors(vec![failure]));
    let answer = client.produce(10, "t", 0, &batch_of(7, 0, 9, 1));
    assert_eq!(answer.error, ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
}

#[test]
fn lost_answers_disconnects_and_silence() {
    let cluster = cluster_with_topic(1, 1);
    let batch = plain_batch(1);
    let produce = produce_request(-1, "t", [0; 16], &[(0, &batch)]);

    for (fault, end_offset) in [(Fault::Disconnect, 0), (Fault::LoseAnswer, 1)] {
        cluster.fail_next(MockApi::Produce, 1, fault);
        let mut client = Client::connect(&cluster, 0);
        client.send(&produce, 9);
        client.expect_end();
        assert_eq!(cluster.end_offset("t", 0), Some(end_offset));
    }

    cluster.fail_next(MockApi::Produce, 1, Fault::NoAnswer);
    let mut client = Client::connect(&cluster, 0);
    // An earlier request is still answered.
    let metadata = client.send(&metadata_request(None), 9);
    client.send(&produce, 9);
    client.send(&metadata_request(None), 9);
    assert_eq!(client.receive::<MetadataRequest>(9).0, metadata);
    assert!(
        cluster.wait_until(TIMEOUT, |cluster| cluster.request_count(MockApi::Produce)
            == 3)
    );
    client.expect_silence();
    assert_eq!(
        (cluster.connections(0), cluster.end_offset("t", 0)),
        (1, Some(1))
    );
    drop(client);
    assert!(cluster.wait_until(TIMEOUT, |cluster| cluster.connections(0) == 0));
}

#[test]
fn answers_are_kept_until_more_requests_have_come() {
    let cluster = cluster_with_topic(1, 1);
    cluster.fail_next(
        MockApi::Produce,
        1,
        Fault::KeepBack(2, Box::new(Fault::Error(ErrorCode::NOT_ENOUGH_REPLICAS))),
    );
    let mut client = Client::connect(&cluster, 0);
    let batch = plain_batch(1);
    let produce = produce_request(-1, "t", [0; 16], &[(0, &batch)]);
    let first = client.send(&produce, 9);
    let second = client.send(&produce, 9);
    assert!(cluster.wait_until(TIMEOUT, |cluster| cluster.end_offset("t", 0) == Some(1)));
    client.expect_silence();
    let third = client.send(&produce, 9);
    let answers = [first, second, third].map(|sent| {
        let (correlation_id, answer) = client.receive::<ProduceSlices>(9);
        assert_eq!(correlation_id, sent);
        answer.topics[0].partitions[0].error
    });
    assert_eq!(
        answers,
        [
            ErrorCode::NOT_ENOUGH_REPLICAS,
            ErrorCode::NONE,
            ErrorCode::NONE
        ]
    );
    assert_eq!(
        client.produce(9, "t", 0, &batch).base_offset,
        2,
        "only the answers that the fault is for are kept"
    );
}

#[test]
fn kept_answers_are_lost_with_the_connection() {
    let cluster = cluster_with_topic(1, 1);
    let batch = plain_batch(1);
    let produce = produce_request(-1, "t", [0; 16], &[(0, &batch)]);
    cluster.fail_next(
        MockApi::Produce,
        1,
        Fault::KeepBack(2, Box::new(Fault::Pass)),
    );
    cluster.fail_next(MockApi::Produce, 1, Fault::Disconnect);
    let mut client = Client::connect(&cluster, 0);
    client.send(&produce, 9);
    client.send(&produce, 9);
    client.expect_end();
    assert_eq!(cluster.end_offset("t", 0), Some(1));
}

#[test]
fn throttled_answers_carry_the_time() {
    let cluster = MockCluster::start(1).unwrap();
    let mut client = Client::connect(&cluster, 0);
    for api in [
        MockApi::Produce,
        MockApi::Metadata,
        MockApi::ApiVersions,
        MockApi::InitProducerId,
    ] {
        cluster.fail_next(api, 1, Fault::Throttle(Duration::from_millis(321)));
    }
    let times = [
        client
            .call(&produce_request(-1, "t", [0; 16], &[]), 9)
            .throttle_time_ms,
        client.call(&metadata_request(None), 9).throttle_time_ms,
        client
            .call(&ApiVersionsRequest::default(), 4)
            .throttle_time_ms,
        client.call(&init_producer_id(None), 4).throttle_time_ms,
    ];
    assert_eq!(times, [321; 4]);
    assert_eq!(client.call(&metadata_request(None), 9).throttle_time_ms, 0);
}

#[test]
fn each_corruption_damages_the_answer_in_its_way() {
    let cluster = MockCluster::start(1).unwrap();
    let request = metadata_request(None);
    let damaged = |corruption| {
        cluster.fail_next(MockApi::Metadata, 1, Fault::Corrupt(corruption));
        let mut client = Client::connect(&cluster, 0);
        let correlation_id = client.send(&request, 9);
        let mut prefix = [0; 4];
        client.stream.read_exact(&mut prefix).unwrap();
        (client, correlation_id, i32::from_be_bytes(prefix))
    };
    let (mut client, sent, length) = damaged(Corruption::CorrelationId);
    let whole_length = length;
    let (received, _) =
        decode_response::<MetadataRequest>(9, &client.read(length as usize)).unwrap();
    assert_ne!(received, sent);

    let (mut client, sent, length) = damaged(Corruption::ShortFrame);
    assert!(length < whole_length);
    let frame = client.read(length as usize);
    assert_eq!(frame[..4], sent.to_be_bytes());
    assert!(decode_response::<MetadataRequest>(9, &frame).is_err());

    assert_eq!(damaged(Corruption::HugeLength).2, i32::MAX - 1);
    assert_eq!(damaged(Corruption::NegativeLength).2, -2);

    let (mut client, sent, length) = damaged(Corruption::Garbage);
    assert_eq!(length, whole_length);
    assert_eq!(client.read(length as usize)[..4], sent.to_be_bytes());
}

#[test]
fn a_delay_stops_one_connection_only_and_ends_with_the_broker() {
    let cluster = MockCluster::start(2).unwrap();
    let forever = Fault::Delay(Duration::MAX, Box::new(Fault::Disconnect));
    cluster.once(MockApi::Metadata, move |request| match request.broker() {
        1 => forever.clone(),
        _ => Fault::Pass,
    });
    let mut held = Client::connect(&cluster, 1);
    held.send(&metadata_request(None), 9);
    assert!(
        cluster.wait_until(TIMEOUT, |cluster| cluster.request_count(MockApi::Metadata)
            == 1)
    );
    held.expect_silence();
    Client::connect(&cluster, 1).call(&metadata_request(None), 9);
    Client::connect(&cluster, 0).call(&metadata_request(None), 9);
    let started = Instant::now();
    cluster.broker_down(1);
    assert!(started.elapsed() < TIMEOUT);
    held.expect_end();
}

#[test]
fn a_short_delay_ends_by_itself() {
    let cluster = MockCluster::start(1).unwrap();
    cluster.fail_next(
        MockApi::Metadata,
        1,
        Fault::delay(Duration::from_millis(50)),
    );
    let started = Instant::now();
    Client::connect(&cluster, 0).call(&metadata_request(None), 9);
    assert!(started.elapsed() >= Duration::from_millis(50));
}
