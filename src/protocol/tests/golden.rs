//! Frames written out by hand from the protocol guide.

use crate::protocol::messages::*;
use crate::protocol::*;

#[test]
fn api_versions_v0_request() {
    let mut frame = Vec::new();
    encode_request(&ApiVersionsRequest::default(), 0, 1, Some("ab"), &mut frame).unwrap();
    let expected = [
        0, 0, 0, 12, // length
        0, 18, 0, 0, // API, version
        0, 0, 0, 1, // correlation id
        0, 2, b'a', b'b', // client id
    ];
    assert_eq!(frame, expected);
}

#[test]
fn api_versions_v3_request() {
    let request = ApiVersionsRequest {
        client_software_name: "kp",
        client_software_version: "0.1",
    };
    let mut frame = Vec::new();
    encode_request(&request, 3, 0x0102_0304, None, &mut frame).unwrap();
    let expected = [
        0, 0, 0, 19, // length
        0, 18, 0, 3, // API, version
        1, 2, 3, 4, // correlation id
        0xff, 0xff, // no client id, in the classic form
        0,    // tagged fields of the header
        3, b'k', b'p', // name
        4, b'0', b'.', b'1', // version
        0,    // tagged fields
    ];
    assert_eq!(frame, expected);
}

#[test]
fn api_versions_v3_response_with_features() {
    let frame = [
        0, 0, 0,
        9, // correlation id, and no tagged fields: the header of ApiVersions stays classic
        0, 0, // no error
        2, 0, 0, 0, 3, 0, 13, 0, // one API: Produce 3 to 13
        0, 0, 0, 100, // throttle time
        3,   // three tagged fields
        1, 8, 0, 0, 0, 0, 0, 0, 0, 42, // finalized features' epoch
        2, 9, 2, 3, b't', b'v', 0, 2, 0, 1, 0, // finalized features: tv at 2, from 1
        99, 2, 7, 7,    // a tag that this client does not know
        0xaa, // a byte after the message
    ];
    let (correlation_id, response) = decode_response::<ApiVersionsRequest<'_>>(3, &frame).unwrap();
    let expected = ApiVersionsResponse {
        api_keys: vec![ApiVersionRange {
            api_code: 0,
            min_version: 3,
            max_version: 13,
        }],
        throttle_time_ms: 100,
        finalized_features_epoch: 42,
        finalized_features: vec![FinalizedFeature {
            name: "tv".to_owned(),
            max_version_level: 2,
            min_version_level: 1,
        }],
        ..ApiVersionsResponse::default()
    };
    assert_eq!((correlation_id, response), (9, expected));
}

#[test]
fn the_refusal_of_a_version_is_read_in_the_layout_of_version_0() {
    let range = ApiVersionRange {
        api_code: 18,
        min_version: 0,
        max_version: 2,
    };
    // Kafka's answers: version 0, without and with the versions of ApiVersions itself.
    let before_2_4 = [0, 0, 0, 1, 0, 35, 0, 0, 0, 0];
    let since_2_4 = [0, 0, 0, 1, 0, 35, 0, 0, 0, 1, 0, 18, 0, 0, 0, 2];
    // The answer of librdkafka's mock cluster: the layout of the requested version.
    let of_the_version = [0, 0, 0, 1, 0, 35, 1, 0, 18, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0];
    for (frame, api_keys) in [
        (&before_2_4[..], vec![]),
        (&since_2_4, vec![range]),
        (&of_the_version, vec![]),
    ] {
        let (_, response) = decode_response::<ApiVersionsRequest<'_>>(4, frame).unwrap();
        assert_eq!(
            (response.error, response.api_keys),
            (ErrorCode::UNSUPPORTED_VERSION, api_keys)
        );
    }
}

#[test]
fn metadata_v1_request_for_one_topic() {
    let request = MetadataRequest {
        topics: Some(vec![MetadataRequestTopic::by_name("t")]),
        allow_auto_topic_creation: true,
    };
    let mut frame = Vec::new();
    encode_request(&request, 1, 5, Some(""), &mut frame).unwrap();
    let expected = [
        0, 0, 0, 17, // length
        0, 3, 0, 1, // API, version
        0, 0, 0, 5, // correlation id
        0, 0, // an empty client id
        0, 0, 0, 1, 0, 1, b't', // topics
    ];
    assert_eq!(frame, expected);
}

#[test]
fn metadata_v12_response() {
    let mut frame = vec![
        0, 0, 0, 6, 0, // correlation id, tagged fields of the header
        0, 0, 0, 0, // throttle time
        2, 0, 0, 0, 1, 2, b'h', 0, 0, 0x23, 0x84, 0, 0, // broker 1 at h:9092, no rack
        2, b'c', // cluster id
        0, 0, 0, 1, // controller
        2, 0, 0, 2, b't', // topic t without error
    ];
    frame.extend_from_slice(&[0xab; 16]); // topic id
    frame.extend_from_slice(&[
        0, // not internal
        2, 0, 5, // one partition, LEADER_NOT_AVAILABLE
        0, 0, 0, 3, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 8, // partition 3, no leader, epoch 8
        2, 0, 0, 0, 1, 1, 2, 0, 0, 0, 1, // replicas 1, none in sync, 1 offline
        0, // tagged fields of the partition
        0x80, 0, 0, 0, // topic's authorized operations
        0, 0, // tagged fields of the topic and the response
    ]);
    let (correlation_id, response) = decode_response::<MetadataRequest<'_>>(12, &frame).unwrap();
    let partition = MetadataPartition {
        error: ErrorCode::LEADER_NOT_AVAILABLE,
        index: 3,
        leader_id: -1,
        leader_epoch: 8,
        replica_nodes: vec![1],
        isr_nodes: vec![],
        offline_replicas: vec![1],
    };
    let expected = MetadataResponse {
        throttle_time_ms: 0,
        brokers: vec![MetadataBroker {
            node_id: 1,
            host: "h".to_owned(),
            port: 9092,
            rack: None,
        }],
        cluster_id: Some("c".to_owned()),
        controller_id: 1,
        topics: vec![MetadataTopic {
            error: ErrorCode::NONE,
            name: Some("t".to_owned()),
            id: [0xab; 16],
            is_internal: false,
            partitions: vec![partition],
        }],
        error: ErrorCode::NONE,
    };
    assert_eq!((correlation_id, response), (6, expected));
}

#[test]
fn produce_v3_and_v13_requests_scattered() {
    let request = ProduceRequest {
        transactional_id: None,
        acks: -1,
        timeout_ms: 30_000,
        topics: vec![ProduceTopic {
            name: "t",
            id: [0xcd; 16],
            partitions: vec![
                ProducePartition {
                    index: 0,
                    records: &b"first"[..],
                },
                ProducePartition {
                    index: 1,
                    records: b"second",
                },
            ],
        }],
    };
    let (mut frame, mut cuts) = (Vec::new(), Vec::new());
    request
        .encode_scattered(3, 2, None, &mut frame, &mut cuts)
        .unwrap();
    let classic = [
        0, 0, 0, 56, // length: 45 here, 11 in the batches
        0, 0, 0, 3, 0, 0, 0, 2, 0xff, 0xff, // header
        0xff, 0xff, // no transactional id
        0xff, 0xff, 0, 0, 0x75, 0x30, // acks, timeout
        0, 0, 0, 1, 0, 1, b't', // topics
        0, 0, 0, 2, // partitions
        0, 0, 0, 0, 0, 0, 0, 5, // partition 0: five bytes
        0, 0, 0, 1, 0, 0, 0, 6, // partition 1: six bytes
    ];
    assert_eq!(frame, classic);
    assert_eq!(cuts, [classic.len() - 8, classic.len()]);

    frame.clear();
    cuts.clear();
    request
        .encode_scattered(13, 2, None, &mut frame, &mut cuts)
        .unwrap();
    let mut flexible = vec![
        0, 0, 0, 61, // length: 50 here, 11 in the batches
        0, 0, 0, 13, 0, 0, 0, 2, 0xff, 0xff, 0, // header
        0, // no transactional id
        0xff, 0xff, 0, 0, 0x75, 0x30, // acks, timeout
        2,    // topics
    ];
    flexible.extend_from_slice(&[0xcd; 16]);
    flexible.extend_from_slice(&[3, 0, 0, 0, 0, 6]);
    let first_cut = flexible.len();
    flexible.extend_from_slice(&[0, 0, 0, 0, 1, 7]);
    let second_cut = flexible.len();
    flexible.extend_from_slice(&[0, 0, 0]);
    assert_eq!(frame, flexible);
    assert_eq!(cuts, [first_cut, second_cut]);
}

#[test]
fn produce_v10_response_with_new_leader() {
    let frame = [
        0, 0, 0, 3, 0, // correlation id, tagged fields of the header
        2, 2, b't', // topic t
        2, 0, 0, 0, 4, 0, 6, // partition 4, NOT_LEADER_OR_FOLLOWER
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, // base offset
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, // log append time
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, // log start offset
        1, 0, // no record errors, no message
        1, 0, 9, 0, 0, 0, 2, 0, 0, 0, 7, 0, // current leader: 2 at epoch 7
        0, // tagged fields of the topic
        0, 0, 0, 0, // throttle time
        1, 0, 13, 2, 0, 0, 0, 2, 2, b'h', 0, 0, 0x23, 0x84, 0, 0, // node 2 at h:9092, no rack
    ];
    let (_, response) = decode_response::<ProduceRequest<'_, &[u8]>>(10, &frame).unwrap();
    let partition = ProducePartitionResponse {
        index: 4,
        error: ErrorCode::NOT_LEADER_OR_FOLLOWER,
        current_leader: LeaderIdAndEpoch {
            leader_id: 2,
            leader_epoch: 7,
        },
        ..ProducePartitionResponse::default()
    };
    let expected = ProduceResponse {
        topics: vec![ProduceTopicResponse {
            name: "t".to_owned(),
            id: [0; 16],
            partitions: vec![partition],
        }],
        throttle_time_ms: 0,
        node_endpoints: vec![NodeEndpoint {
            node_id: 2,
            host: "h".to_owned(),
            port: 9092,
            rack: None,
        }],
    };
    assert_eq!(response, expected);
}

#[test]
fn init_producer_id_v4() {
    let request = InitProducerIdRequest {
        transactional_id: None,
        transaction_timeout_ms: 60_000,
        producer_id: -1,
        producer_epoch: -1,
    };
    let mut frame = Vec::new();
    encode_request(&request, 4, 8, None, &mut frame).unwrap();
    let expected = [
        0, 0, 0, 27, // length
        0, 22, 0, 4, 0, 0, 0, 8, 0xff, 0xff, 0, // header
        0, // no transactional id
        0, 0, 0xea, 0x60, // transaction timeout
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, // producer id
        0xff, 0xff, // producer epoch
        0,    // tagged fields
    ];
    assert_eq!(frame, expected);

    let answer = [
        0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10, 0, 0, 3, 0,
    ];
    let (correlation_id, response) =
        decode_response::<InitProducerIdRequest<'_>>(4, &answer).unwrap();
    let expected = InitProducerIdResponse {
        throttle_time_ms: 0,
        error: ErrorCode::NONE,
        producer_id: 0x1000,
        producer_epoch: 3,
    };
    assert_eq!((correlation_id, response), (8, expected));
}
