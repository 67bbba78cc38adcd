//! The cluster over its sockets, with a client of plain streams and this crate's own encoders.

mod changes;

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::*;
use crate::protocol::messages::*;
use crate::protocol::{Request, decode_response, encode_request};
use crate::record::builder::{BatchBuilder, RecordHeader};
use crate::record::compression::CompressionType;
use crate::record::header::{Attributes, ProducerStamp, seal};
use crate::{ErrorCode, TopicPartition};

/// Far above what any answer takes.
const TIMEOUT: Duration = Duration::from_secs(20);

type ProduceSlices<'a> = ProduceRequest<'a, &'a [u8]>;

#[test]
fn records_are_read_back_as_they_were_produced() {
    let cluster = MockCluster::start(1).unwrap();
    cluster.create_topic("t", 2);
    let mut builder = BatchBuilder::new(Vec::new());
    builder.reserve_capacity(1000);
    let header = Header("trace", Some(b"7"));
    builder.append(
        1_000,
        Some(b"key"),
        Some(b"value"),
        &[header, Header("trace", None)],
    );
    builder.append::<Header>(999, None, None, &[]);
    let batch = sealed(builder, CompressionType::None, ProducerStamp::NONE);

    let mut client = Client::connect(&cluster, 0);
    for base_offset in [0, 2] {
        let answer = client.produce(9, "t", 1, &batch);
        assert_eq!(
            (answer.error, answer.base_offset),
            (ErrorCode::NONE, base_offset)
        );
        assert_eq!(
            (answer.log_append_time_ms, answer.log_start_offset),
            (-1, 0)
        );
    }

    let records = cluster.records("t", 1);
    let headers = vec![
        ("trace".to_owned(), Some(b"7".to_vec())),
        ("trace".to_owned(), None),
    ];
    let first = MockRecord {
        offset: 0,
        timestamp: 1_000,
        key: Some(b"key".to_vec()),
        value: Some(b"value".to_vec()),
        headers,
    };
    let second = MockRecord {
        offset: 1,
        timestamp: 999,
        key: None,
        value: None,
        headers: vec![],
    };
    assert_eq!(records[..2], [first.clone(), second]);
    assert_eq!(records[2], MockRecord { offset: 2, ..first });
    assert_eq!(records.len(), 4);
    assert_eq!(
        (cluster.end_offset("t", 0), cluster.end_offset("t", 1)),
        (Some(0), Some(4))
    );
    assert_eq!(cluster.batches("t", 1)[1].base_offset, 2);
    assert!(cluster.records("t", 0).is_empty() && cluster.records("u", 0).is_empty());
}

#[test]
fn every_version_of_produce_is_served() {
    let cluster = MockCluster::start(1).unwrap();
    cluster.create_topic("t", 1);
    let mut client = Client::connect(&cluster, 0);
    for (offset, version) in (0..).zip(ProduceSlices::VERSIONS) {
        let id = *cluster.topic_id("t").unwrap().as_bytes();
        let batch = plain_batch(1);
        let answer = client.call(&produce_request(-1, "t", id, &[(0, &batch)]), version);
        let topic = &answer.topics[0];
        assert_eq!(
            (topic.partitions[0].error, topic.partitions[0].base_offset),
            (ErrorCode::NONE, offset)
        );
        let is_named = if version >= 13 {
            topic.id == id
        } else {
            topic.name == "t"
        };
        assert!(is_named, "version {version}");
    }
}

#[test]
fn batches_of_every_codec_are_checked_and_read_back() {
    use crate::record::compression::{Compression, Compressor};
    let cluster = MockCluster::start(1).unwrap();
    cluster.create_topic("t", 1);
    let mut client = Client::connect(&cluster, 0);
    for codec in CompressionType::ALL
        .into_iter()
        .filter(|codec| codec.is_compiled_in())
    {
        let builder = builder(3);
        let header = builder.header(Attributes::new(codec), ProducerStamp::NONE);
        let mut batch = match codec {
            CompressionType::None => builder.into_buffer(),
            _ => Compressor::default()
                .compress_batch(Compression::with_default_level(codec), builder.records())
                .unwrap(),
        };
        seal(&mut batch, &header);
        assert_eq!(
            client.produce(9, "t", 0, &batch).error,
            ErrorCode::NONE,
            "{codec}"
        );
        assert_eq!(cluster.batches("t", 0).last().unwrap().compression, codec);
    }
    assert_eq!(
        cluster.records("t", 0).len() as i64,
        cluster.end_offset("t", 0).unwrap()
    );
}

#[test]
fn log_append_time_replaces_the_producers_timestamps() {
    let cluster = MockCluster::start(1).unwrap();
    cluster.create_topic("t", 1);
    cluster.set_log_append_time("t", true);
    let before = crate::time::wall_clock_ms();
    let answer = Client::connect(&cluster, 0).produce(9, "t", 0, &plain_batch(2));
    assert!(answer.log_append_time_ms >= before);
    let timestamps = cluster
        .records("t", 0)
        .into_iter()
        .map(|record| record.timestamp);
    assert_eq!(
        timestamps.collect::<Vec<_>>(),
        [answer.log_append_time_ms; 2]
    );
}

#[test]
fn idempotent_batches_are_written_once_and_in_order() {
    let cluster = MockCluster::start(1).unwrap();
    cluster.create_topic("t", 1);
    let mut client = Client::connect(&cluster, 0);
    let mut send = |epoch, sequence, count| {
        let answer = client.produce(9, "t", 0, &batch_of(7, epoch, sequence, count));
        (answer.error, answer.base_offset)
    };
    let ok = |offset| (ErrorCode::NONE, offset);
    let refused = |error| (error, -1);

    for (sequence, offset) in (0..6).map(|index| (index * 2, i64::from(index) * 2)) {
        assert_eq!(send(0, sequence, 2), ok(offset));
    }
    // The last five are told by their sequence and size; the one before them is out of order.
    for sequence in [10, 4, 2] {
        assert_eq!(send(0, sequence, 2), ok(sequence.into()));
    }
    assert_eq!(
        send(0, 0, 2),
        refused(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER)
    );
    assert_eq!(
        send(0, 4, 1),
        refused(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER)
    );
    assert_eq!(
        send(0, 13, 1),
        refused(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER)
    );
    assert_eq!(send(0, 12, 1), ok(12));

    assert_eq!(
        send(1, 13, 1),
        refused(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER)
    );
    assert_eq!(send(1, 0, 1), ok(13));
    assert_eq!(send(1, 0, 1), ok(13));
    assert_eq!(send(0, 13, 1), refused(ErrorCode::INVALID_PRODUCER_EPOCH));
    assert_eq!(cluster.end_offset("t", 0), Some(14));
    let last = cluster.batches("t", 0).pop().unwrap();
    assert_eq!(
        (last.producer_id, last.producer_epoch, last.base_sequence),
        (7, 1, 0)
    );
}

#[test]
fn sequences_wrap_and_producers_do_not_disturb_each_other() {
    let cluster = MockCluster::start(1).unwrap();
    cluster.create_topic("t", 2);
    let mut client = Client::connect(&cluster, 0);
    // A producer that the partition has forgotten may go on where it was.
    assert_eq!(
        client
            .produce(9, "t", 0, &batch_of(7, 0, i32::MAX - 1, 3))
            .error,
        ErrorCode::NONE
    );
    assert_eq!(
        client.produce(9, "t", 0, &batch_of(7, 0, 1, 1)).error,
        ErrorCode::NONE
    );
    assert_eq!(
        client.produce(9, "t", 0, &batch_of(8, 0, 0, 1)).error,
        ErrorCode::NONE
    );
    assert_eq!(
        client.produce(9, "t", 1, &batch_of(7, 0, 0, 1)).error,
        ErrorCode::NONE
    );
    assert_eq!(
        client.produce(9, "t", 0, &batch_of(7, 0, 2, 1)).error,
        ErrorCode::NONE
    );
}

#[test]
fn batches_that_a_broker_refuses() {
    let cluster = MockCluster::builder()
        .max_message_bytes(5_000)
        .start()
        .unwrap();
    cluster.create_topic("t", 1);
    let mut client = Client::connect(&cluster, 0);
    let good = plain_batch(1);
    let changed = |index: usize, byte: u8| {
        let mut batch = good.clone();
        batch[index] = byte;
        batch
    };
    // Recomputes the CRC, so that only the changed field is wrong.
    let resealed = |change: fn(&mut crate::record::header::BatchHeader)| {
        let builder = builder(1);
        let mut header =
            builder.header(Attributes::new(CompressionType::None), ProducerStamp::NONE);
        change(&mut header);
        let mut batch = builder.into_buffer();
        seal(&mut batch, &header);
        batch
    };
    let cases = [
        ("no batch", Vec::new(), ErrorCode::INVALID_RECORD),
        (
            "half a batch",
            good[..good.len() - 1].to_vec(),
            ErrorCode::CORRUPT_MESSAGE,
        ),
        (
            "two batches",
            [&good[..], &good[..]].concat(),
            ErrorCode::INVALID_RECORD,
        ),
        (
            "a changed byte",
            changed(good.len() - 1, 0xff),
            ErrorCode::CORRUPT_MESSAGE,
        ),
        ("an old format", changed(16, 1), ErrorCode::INVALID_RECORD),
        ("too large", plain_batch(500), ErrorCode::MESSAGE_TOO_LARGE),
        (
            "no codec",
            resealed(|header| header.attributes = Attributes::from_bits(7)),
            ErrorCode::CORRUPT_MESSAGE,
        ),
        (
            "control",
            resealed(|header| header.attributes = Attributes::from_bits(0x20)),
            ErrorCode::INVALID_RECORD,
        ),
        (
            "a wrong count",
            resealed(|header| (header.records_count, header.last_offset_delta) = (2, 1)),
            ErrorCode::INVALID_RECORD,
        ),
        (
            "no sequence",
            resealed(|header| header.producer.producer_id = 3),
            ErrorCode::INVALID_RECORD,
        ),
    ];
    for (name, batch, error) in cases {
        let answer = client.produce(9, "t", 0, &batch);
        assert_eq!((answer.error, answer.base_offset), (error, -1), "{name}");
        assert!(answer.error_message.is_some(), "{name}");
    }
    let zstd = resealed(|header| header.attributes = Attributes::new(CompressionType::Zstd));
    assert_eq!(
        client.produce(6, "t", 0, &zstd).error,
        ErrorCode::UNSUPPORTED_COMPRESSION_TYPE
    );
    let wrong_acks = client.call(&produce_request(2, "t", [0; 16], &[(0, &good)]), 9);
    assert_eq!(
        wrong_acks.topics[0].partitions[0].error,
        ErrorCode::INVALID_REQUIRED_ACKS
    );
    assert_eq!(cluster.end_offset("t", 0), Some(0));
}

#[test]
fn unknown_topics_and_partitions_are_told_from_each_other() {
    let cluster = MockCluster::start(1).unwrap();
    cluster.create_topic("t", 1);
    let id = *cluster.topic_id("t").unwrap().as_bytes();
    let mut client = Client::connect(&cluster, 0);
    let batch = plain_batch(1);
    assert_eq!(
        client.produce(9, "u", 0, &batch).error,
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
    );
    assert_eq!(
        client.produce(9, "t", 1, &batch).error,
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
    );
    assert_eq!(
        client.produce(9, "t", -1, &batch).error,
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
    );
    cluster.add_partitions("t", 1);
    assert_eq!(client.produce(9, "t", 1, &batch).error, ErrorCode::NONE);

    cluster.delete_topic("t");
    cluster.create_topic("t", 1);
    let stale = client.call(&produce_request(-1, "t", id, &[(0, &batch)]), 13);
    assert_eq!(
        stale.topics[0].partitions[0].error,
        ErrorCode::UNKNOWN_TOPIC_ID
    );
    assert_ne!(cluster.topic_id("t").unwrap().as_bytes(), &id);
}

#[test]
fn a_broker_that_does_not_lead_names_the_leader() {
    let cluster = MockCluster::start(2).unwrap();
    cluster.create_topic("t", 1);
    assert_eq!(
        (cluster.leader("t", 0), cluster.leader_epoch("t", 0)),
        (Some(0), Some(0))
    );
    cluster.set_leader("t", 0, Some(1));
    let batch = plain_batch(1);
    let request = produce_request(-1, "t", [0; 16], &[(0, &batch)]);

    let answer = Client::connect(&cluster, 0).call(&request, 10);
    let partition = &answer.topics[0].partitions[0];
    assert_eq!(partition.error, ErrorCode::NOT_LEADER_OR_FOLLOWER);
    assert_eq!(
        partition.current_leader,
        LeaderIdAndEpoch {
            leader_id: 1,
            leader_epoch: 1
        }
    );
    let port = address(&cluster, 1)
        .rsplit(':')
        .next()
        .unwrap()
        .parse::<i32>()
        .unwrap();
    let endpoint = NodeEndpoint {
        node_id: 1,
        host: "127.0.0.1".to_owned(),
        port,
        rack: None,
    };
    assert_eq!(answer.node_endpoints, [endpoint]);
    assert_eq!(
        Client::connect(&cluster, 1)
            .produce(10, "t", 0, &batch)
            .error,
        ErrorCode::NONE
    );

    cluster.set_leader("t", 0, None);
    assert_eq!(cluster.leader("t", 0), None);
    let answer = Client::connect(&cluster, 1).call(&request, 10);
    assert_eq!(
        answer.topics[0].partitions[0].current_leader,
        LeaderIdAndEpoch {
            leader_id: -1,
            leader_epoch: 2
        }
    );
    assert!(answer.node_endpoints.is_empty());
}

#[test]
fn metadata_describes_the_cluster_in_every_version() {
    let cluster = MockCluster::start(3).unwrap();
    cluster.create_topic("t", 4);
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
fn topics_are_created_by_asking_only_where_both_sides_allow_it() {
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
fn api_versions_tell_the_restricted_range_and_refuse_in_version_0() {
    let cluster = MockCluster::start(1).unwrap();
    let mut client = Client::connect(&cluster, 0);
    let request = ApiVersionsRequest {
        client_software_name: "kp",
        client_software_version: "1",
    };
    for version in ApiVersionsRequest::VERSIONS {
        let answer = client.call(&request, version);
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

    cluster.restrict_versions(MockApi::ApiVersions, 0..=2);
    cluster.restrict_versions(MockApi::Produce, 0..=7);
    #[expect(clippy::reversed_empty_ranges, reason = "no version at all")]
    cluster.restrict_versions(MockApi::InitProducerId, 1..=0);
    let refusal = client.call(&request, 3);
    let own = ApiVersionRange {
        api_code: 18,
        min_version: 0,
        max_version: 2,
    };
    assert_eq!(
        (refusal.error, &refusal.api_keys[..]),
        (ErrorCode::UNSUPPORTED_VERSION, &[own][..])
    );
    let answer = client.call(&request, 2);
    assert_eq!(
        answer
            .api_keys
            .iter()
            .map(|range| range.api_code)
            .collect::<Vec<_>>(),
        [0, 3, 18]
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
fn producer_ids_are_new_and_transactional_ids_get_the_next_epoch() {
    let cluster = MockCluster::start(2).unwrap();
    let mut ids = Vec::new();
    for (version, broker) in InitProducerIdRequest::VERSIONS.zip([0, 1].into_iter().cycle()) {
        let answer = Client::connect(&cluster, broker).call(&init_producer_id(None), version);
        assert_eq!((answer.error, answer.producer_epoch), (ErrorCode::NONE, 0));
        assert!(answer.producer_id >= 0 && !ids.contains(&answer.producer_id));
        ids.push(answer.producer_id);
    }
    let mut client = Client::connect(&cluster, 0);
    let first = client.call(&init_producer_id(Some("tx")), 4);
    let second = client.call(&init_producer_id(Some("tx")), 4);
    assert_eq!(
        (second.producer_id, second.producer_epoch),
        (first.producer_id, first.producer_epoch + 1)
    );
}

#[test]
fn acks_0_is_not_answered_and_a_failure_closes_the_connection() {
    let cluster = MockCluster::start(1).unwrap();
    cluster.create_topic("t", 1);
    let mut client = Client::connect(&cluster, 0);
    let batch = plain_batch(1);
    client.send(&produce_request(0, "t", [0; 16], &[(0, &batch)]), 9);
    // The next answer on the connection is that of the next request.
    assert_eq!(client.produce(9, "t", 0, &batch).base_offset, 1);
    client.send(&produce_request(0, "t", [0; 16], &[(7, &batch)]), 9);
    client.expect_end();
}

#[test]
fn pipelined_requests_are_answered_in_their_order() {
    let cluster = MockCluster::start(1).unwrap();
    cluster.create_topic("t", 1);
    cluster.once(MockApi::Produce, |_| {
        Fault::delay(Duration::from_millis(30))
    });
    let mut client = Client::connect(&cluster, 0);
    let batch = plain_batch(1);
    let produce = produce_request(-1, "t", [0; 16], &[(0, &batch)]);
    let sent: Vec<_> = (0..50).map(|_| client.send(&produce, 9)).collect();
    let metadata = client.send(&metadata_request(None), 9);
    for (offset, correlation_id) in (0..).zip(sent) {
        let (answered, answer) = client.receive::<ProduceSlices>(9);
        assert_eq!(
            (answered, answer.topics[0].partitions[0].base_offset),
            (correlation_id, offset)
        );
    }
    assert_eq!(client.receive::<MetadataRequest>(9).0, metadata);
}

#[test]
fn errors_by_hook_reach_whole_requests_partitions_and_records() {
    let cluster = MockCluster::start(1).unwrap();
    cluster.create_topic("t", 3);
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
fn hooks_see_the_request_and_go_when_they_are_used_up_or_removed() {
    let cluster = MockCluster::start(2).unwrap();
    cluster.create_topic("t", 1);
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
    // The hook held the sender: with it gone, the channel is closed behind the two other requests.
    assert_eq!(requests.iter().count(), 2);
}

#[test]
fn lost_answers_disconnects_and_silence() {
    let cluster = MockCluster::start(1).unwrap();
    cluster.create_topic("t", 1);
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
    // What was asked before is still answered.
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
fn throttled_answers_say_for_how_long() {
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
fn damaged_answers_are_damaged_as_asked() {
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
fn a_delay_holds_up_one_connection_only_and_ends_with_the_broker() {
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

#[test]
fn a_broker_that_is_down_refuses_connections_and_comes_back_on_its_port() {
    let cluster = MockCluster::start(2).unwrap();
    cluster.create_topic("t", 2);
    let bootstrap_servers = cluster.bootstrap_servers();
    let mut client = Client::connect(&cluster, 1);
    client.produce(9, "t", 1, &plain_batch(1));
    assert_eq!((cluster.connections(0), cluster.connections(1)), (0, 1));

    for _ in 0..3 {
        cluster.broker_down(1);
        cluster.broker_down(1);
        client.expect_end();
        assert_eq!(cluster.connections(1), 0);
        assert!(TcpStream::connect(address(&cluster, 1)).is_err());
        let answer = Client::connect(&cluster, 0).call(&metadata_request(Some(&["t"])), 9);
        assert_eq!(
            answer
                .brokers
                .iter()
                .map(|broker| broker.node_id)
                .collect::<Vec<_>>(),
            [0]
        );
        let partition = &answer.topics[0].partitions[1];
        assert_eq!(
            (partition.error, partition.leader_id),
            (ErrorCode::LEADER_NOT_AVAILABLE, -1)
        );
        assert_eq!(
            (&partition.isr_nodes[..], &partition.offline_replicas[..]),
            (&[0][..], &[1][..])
        );

        cluster.broker_up(1).unwrap();
        cluster.broker_up(1).unwrap();
        assert_eq!(cluster.bootstrap_servers(), bootstrap_servers);
        client = Client::connect(&cluster, 1);
        assert_eq!(
            client.produce(9, "t", 1, &plain_batch(1)).error,
            ErrorCode::NONE
        );
    }
    assert_eq!(cluster.end_offset("t", 1), Some(4));

    cluster.disconnect(1);
    client.expect_end();
    Client::connect(&cluster, 1).call(&metadata_request(None), 9);
}

#[test]
fn dropping_the_cluster_ends_everything_even_while_it_panics() {
    let stopped = std::panic::catch_unwind(|| {
        let cluster = MockCluster::start(3).unwrap();
        cluster.fail_next(MockApi::Metadata, 1, Fault::delay(Duration::MAX));
        let mut clients: Vec<_> = (0..30)
            .map(|index| Client::connect(&cluster, index % 3))
            .collect();
        clients[0].send(&metadata_request(None), 9);
        assert!(
            cluster.wait_until(TIMEOUT, |cluster| cluster.request_count(MockApi::Metadata)
                == 1)
        );
        std::panic::panic_any((clients, cluster.bootstrap_servers()));
    });
    let (clients, bootstrap_servers) = *stopped
        .unwrap_err()
        .downcast::<(Vec<Client>, String)>()
        .unwrap();
    for mut client in clients {
        client.expect_end();
    }
    for address in bootstrap_servers.split(',') {
        assert!(TcpStream::connect(address).is_err());
    }
}

#[test]
fn a_hook_that_panics_costs_its_connection_only() {
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
fn nonsense_closes_the_connection_and_harms_no_other() {
    let cluster = MockCluster::start(1).unwrap();
    let mut good = Client::connect(&cluster, 0);
    let mut trailing = Vec::new();
    encode_request(&metadata_request(None), 9, 1, None, &mut trailing).unwrap();
    trailing[3] += 1;
    trailing.push(0);
    let nonsense: [&[u8]; 6] = [
        b"GET / HTTP/1.1\r\nHost: kafka\r\n\r\n",
        &[0x7f, 0xff, 0xff, 0xff],
        &[0xff, 0xff, 0xff, 0xff],
        &[0, 0, 0, 0],
        &[0, 0, 0, 10, 0, 1, 0, 4, 0, 0, 0, 1, 0xff, 0xff],
        &trailing,
    ];
    for bytes in nonsense {
        let mut client = Client::connect(&cluster, 0);
        client.stream.write_all(bytes).unwrap();
        client.expect_end();
    }
    good.call(&metadata_request(None), 9);
}

#[test]
fn requests_are_counted_and_remembered() {
    let cluster = MockCluster::start(2).unwrap();
    let before = Instant::now();
    Client::connect(&cluster, 1).call(&metadata_request(None), 5);
    Client::connect(&cluster, 0).call(&init_producer_id(None), 3);
    let requests = cluster.requests();
    let summary: Vec<_> = requests
        .iter()
        .map(|request| (request.api, request.version, request.broker))
        .collect();
    assert_eq!(
        summary,
        [(MockApi::Metadata, 5, 1), (MockApi::InitProducerId, 3, 0)]
    );
    assert_eq!(
        (
            requests[0].client_id.as_deref(),
            requests[0].client_software.as_deref()
        ),
        (Some("test"), None)
    );
    assert!(requests[0].at >= before && requests[1].at >= requests[0].at);
    assert_eq!(
        (
            cluster.request_count(MockApi::Metadata),
            cluster.request_count(MockApi::Produce)
        ),
        (1, 0)
    );
}

#[test]
fn without_retention_and_checks_batches_are_counted_only() {
    let cluster = MockCluster::builder()
        .retain_records(false)
        .check_batches(false)
        .start()
        .unwrap();
    cluster.create_topic("t", 1);
    let mut client = Client::connect(&cluster, 0);
    let mut batch = batch_of(1, 0, 0, 5);
    *batch.last_mut().unwrap() ^= 1;
    assert_eq!(client.produce(9, "t", 0, &batch).error, ErrorCode::NONE);
    assert_eq!(
        client.produce(9, "t", 0, &batch_of(1, 0, 7, 5)).error,
        ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER
    );
    assert_eq!(
        (cluster.end_offset("t", 0), cluster.records("t", 0).len()),
        (Some(5), 0)
    );
}

#[test]
fn waiting_ends_at_its_deadline() {
    let cluster = MockCluster::start(1).unwrap();
    assert!(!cluster.wait_until(Duration::from_millis(5), |_| false));
    assert!(cluster.wait_until(Duration::ZERO, |_| true));
}

#[test]
fn changing_what_does_not_exist_panics_and_leaves_the_cluster_usable() {
    let cluster = MockCluster::start(1).unwrap();
    cluster.create_topic("t", 1);
    let misuses: [&dyn Fn(); 8] = [
        &|| cluster.create_topic("t", 1),
        &|| cluster.create_topic("a b", 1),
        &|| cluster.create_topic("u", 0),
        &|| cluster.delete_topic("u"),
        &|| cluster.set_leader("t", 1, None),
        &|| cluster.set_leader("t", 0, Some(1)),
        &|| cluster.broker_down(-1),
        &|| cluster.set_log_append_time("u", true),
    ];
    for misuse in misuses {
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(misuse)).is_err());
    }
    assert_eq!(
        Client::connect(&cluster, 0)
            .produce(9, "t", 0, &plain_batch(1))
            .error,
        ErrorCode::NONE
    );
}

struct Client {
    stream: TcpStream,
    last_correlation_id: i32,
}

impl Client {
    fn connect(cluster: &MockCluster, broker: usize) -> Self {
        let stream = TcpStream::connect(address(cluster, broker)).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        Self {
            stream,
            last_correlation_id: 0,
        }
    }

    fn call<R: Request>(&mut self, request: &R, version: i16) -> R::Response {
        let sent = self.send(request, version);
        let (received, response) = self.receive::<R>(version);
        assert_eq!(received, sent);
        response
    }

    fn send<R: Request>(&mut self, request: &R, version: i16) -> i32 {
        self.last_correlation_id += 1;
        let mut frame = Vec::new();
        encode_request(
            request,
            version,
            self.last_correlation_id,
            Some("test"),
            &mut frame,
        )
        .unwrap();
        self.stream.write_all(&frame).unwrap();
        self.last_correlation_id
    }

    fn receive<R: Request>(&mut self, version: i16) -> (i32, R::Response) {
        let length = self.read(4);
        let frame = self.read(u32::from_be_bytes(length.try_into().unwrap()) as usize);
        decode_response::<R>(version, &frame).unwrap()
    }

    fn read(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.stream.read_exact(&mut bytes).unwrap();
        bytes
    }

    fn produce(
        &mut self,
        version: i16,
        topic: &str,
        partition: i32,
        batch: &[u8],
    ) -> ProducePartitionResponse {
        let mut answer = self.call(
            &produce_request(-1, topic, [0; 16], &[(partition, batch)]),
            version,
        );
        answer.topics[0].partitions.remove(0)
    }

    /// The other side has closed the connection, politely or not.
    fn expect_end(&mut self) {
        match self.stream.read(&mut [0; 1]) {
            Ok(0) => {}
            Ok(_) => panic!("an answer where the end was expected"),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset),
        }
    }

    fn expect_silence(&mut self) {
        self.stream
            .set_read_timeout(Some(Duration::from_millis(20)))
            .unwrap();
        let error = self.stream.read(&mut [0; 1]).unwrap_err();
        assert!(
            matches!(
                error.kind(),
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
            ),
            "{error}"
        );
        self.stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    }
}

fn address(cluster: &MockCluster, broker: usize) -> String {
    cluster
        .bootstrap_servers()
        .split(',')
        .nth(broker)
        .unwrap()
        .to_owned()
}

fn produce_request<'a>(
    acks: i16,
    topic: &'a str,
    id: [u8; 16],
    batches: &[(i32, &'a [u8])],
) -> ProduceSlices<'a> {
    let partitions = batches.iter().map(|(index, records)| ProducePartition {
        index: *index,
        records: *records,
    });
    let topics = vec![ProduceTopic {
        name: topic,
        id,
        partitions: partitions.collect(),
    }];
    ProduceRequest {
        transactional_id: None,
        acks,
        timeout_ms: 1_000,
        topics,
    }
}

fn metadata_request<'a>(topics: Option<&[&'a str]>) -> MetadataRequest<'a> {
    let topics = topics.map(|names| {
        names
            .iter()
            .map(|name| MetadataRequestTopic::by_name(name))
            .collect()
    });
    MetadataRequest {
        topics,
        allow_auto_topic_creation: true,
    }
}

fn init_producer_id(transactional_id: Option<&str>) -> InitProducerIdRequest<'_> {
    InitProducerIdRequest {
        transactional_id,
        transaction_timeout_ms: 1_000,
        producer_id: -1,
        producer_epoch: -1,
    }
}

fn plain_batch(count: i32) -> Vec<u8> {
    sealed(builder(count), CompressionType::None, ProducerStamp::NONE)
}

fn batch_of(producer_id: i64, producer_epoch: i16, base_sequence: i32, count: i32) -> Vec<u8> {
    let stamp = ProducerStamp {
        producer_id,
        producer_epoch,
        base_sequence,
    };
    sealed(builder(count), CompressionType::None, stamp)
}

fn builder(count: i32) -> BatchBuilder {
    let mut builder = BatchBuilder::new(Vec::new());
    builder.reserve_capacity(100 + 100 * count as usize);
    for index in 0..count {
        builder.append::<Header>(1_000 + i64::from(index), None, Some(b"a value"), &[]);
    }
    builder
}

fn sealed(builder: BatchBuilder, codec: CompressionType, stamp: ProducerStamp) -> Vec<u8> {
    let header = builder.header(Attributes::new(codec), stamp);
    let mut batch = builder.into_buffer();
    seal(&mut batch, &header);
    batch
}

struct Header(&'static str, Option<&'static [u8]>);

impl RecordHeader for Header {
    fn key(&self) -> &str {
        self.0
    }

    fn value(&self) -> Option<&[u8]> {
        self.1
    }
}
