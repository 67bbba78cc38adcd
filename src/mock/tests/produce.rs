//! Produce: what is stored, what is refused, and what the answers say.

use std::time::Duration;

use super::client::Header;
use super::*;
use crate::protocol::Request;
use crate::protocol::messages::{LeaderIdAndEpoch, MetadataRequest, NodeEndpoint};
use crate::record::builder::BatchBuilder;
use crate::record::compression::{Compression, CompressionType, Compressor};
use crate::record::header::{Attributes, BatchHeader, ProducerStamp, seal};

#[test]
fn records_are_read_back_as_they_were_produced() {
    let cluster = cluster_with_topic(1, 2);
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
    let cluster = cluster_with_topic(1, 1);
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
    let cluster = cluster_with_topic(1, 1);
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
    let cluster = cluster_with_topic(1, 1);
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
fn bytes_that_are_not_one_whole_batch_are_refused() {
    let cluster = small_cluster();
    let good = plain_batch(1);
    let changed = |index: usize, byte: u8| {
        let mut batch = good.clone();
        batch[index] = byte;
        batch
    };
    let half = good[..good.len() - 1].to_vec();
    let double = [&good[..], &good[..]].concat();
    let damaged = changed(good.len() - 1, 0xff);
    assert_refused(
        &cluster,
        [
            ("no batch", Vec::new(), ErrorCode::INVALID_RECORD),
            ("half a batch", half, ErrorCode::CORRUPT_MESSAGE),
            ("two batches", double, ErrorCode::INVALID_RECORD),
            ("a changed byte", damaged, ErrorCode::CORRUPT_MESSAGE),
            ("an old format", changed(16, 1), ErrorCode::INVALID_RECORD),
            ("too large", plain_batch(500), ErrorCode::MESSAGE_TOO_LARGE),
        ],
    );
}

#[test]
fn a_batch_with_a_wrong_field_in_its_header_is_refused() {
    let cluster = small_cluster();
    let unknown_codec = resealed(|header| header.attributes = Attributes::from_bits(7));
    let control = resealed(|header| header.attributes = Attributes::from_bits(0x20));
    let wrong_count = resealed(|header| (header.records_count, header.last_offset_delta) = (2, 1));
    let no_sequence = resealed(|header| header.producer.producer_id = 3);
    assert_refused(
        &cluster,
        [
            ("no codec", unknown_codec, ErrorCode::CORRUPT_MESSAGE),
            ("control", control, ErrorCode::INVALID_RECORD),
            ("a wrong count", wrong_count, ErrorCode::INVALID_RECORD),
            ("no sequence", no_sequence, ErrorCode::INVALID_RECORD),
        ],
    );
}

#[test]
fn zstd_before_version_7_and_unknown_acks_are_refused() {
    let cluster = cluster_with_topic(1, 1);
    let mut client = Client::connect(&cluster, 0);
    let zstd = resealed(|header| header.attributes = Attributes::new(CompressionType::Zstd));
    assert_eq!(
        client.produce(6, "t", 0, &zstd).error,
        ErrorCode::UNSUPPORTED_COMPRESSION_TYPE
    );
    let good = plain_batch(1);
    let wrong_acks = client.call(&produce_request(2, "t", [0; 16], &[(0, &good)]), 9);
    assert_eq!(
        wrong_acks.topics[0].partitions[0].error,
        ErrorCode::INVALID_REQUIRED_ACKS
    );
    assert_eq!(cluster.end_offset("t", 0), Some(0));
}

fn small_cluster() -> MockCluster {
    let builder = MockCluster::builder().max_message_bytes(5_000);
    let cluster = builder.start().unwrap();
    cluster.create_topic("t", 1);
    cluster
}

/// Makes a batch with another header and a CRC that fits it, so that only the changed field is wrong.
fn resealed(change: fn(&mut BatchHeader)) -> Vec<u8> {
    let builder = builder(1);
    let mut header = builder.header(Attributes::new(CompressionType::None), ProducerStamp::NONE);
    change(&mut header);
    let mut batch = builder.into_buffer();
    seal(&mut batch, &header);
    batch
}

fn assert_refused<const N: usize>(cluster: &MockCluster, cases: [(&str, Vec<u8>, ErrorCode); N]) {
    let mut client = Client::connect(cluster, 0);
    for (name, batch, error) in cases {
        let answer = client.produce(9, "t", 0, &batch);
        assert_eq!((answer.error, answer.base_offset), (error, -1), "{name}");
        assert!(answer.error_message.is_some(), "{name}");
    }
    assert_eq!(cluster.end_offset("t", 0), Some(0));
}

#[test]
fn each_unknown_topic_partition_and_topic_id_has_its_error() {
    let cluster = cluster_with_topic(1, 1);
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
    let cluster = cluster_with_topic(2, 1);
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
fn acks_0_is_not_answered_and_a_failure_closes_the_connection() {
    let cluster = cluster_with_topic(1, 1);
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
    let cluster = cluster_with_topic(1, 1);
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
fn the_largest_size_of_a_batch_can_be_changed() {
    let cluster = cluster_with_topic(1, 1);
    let mut client = Client::connect(&cluster, 0);
    let batch = plain_batch(3);
    for (limit, error) in [
        (batch.len() - 1, ErrorCode::MESSAGE_TOO_LARGE),
        (batch.len(), ErrorCode::NONE),
    ] {
        cluster.set_max_message_bytes(limit);
        assert_eq!(client.produce(9, "t", 0, &batch).error, error);
    }
}

#[test]
fn without_retention_and_checks_batches_are_only_counted() {
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
