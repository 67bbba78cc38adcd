//! Targets for responses: header and body, in every version that the client speaks.

use std::fmt::Debug;
use std::sync::Arc;

use crate::connection::BrokerVersions;
use crate::metadata::{Cluster, LeaderHint, update};
use crate::protocol::messages::{
    ApiVersionRange, ApiVersionsRequest, ApiVersionsResponse, InitProducerIdRequest,
    InitProducerIdResponse, LeaderIdAndEpoch, MetadataBroker, MetadataPartition, MetadataRequest,
    MetadataResponse, MetadataTopic, NodeEndpoint, ProducePartitionResponse, ProduceRequest,
    ProduceResponse, ProduceTopicResponse, RecordError, SaslAuthenticateRequest,
    SaslAuthenticateResponse, SaslHandshakeRequest, SaslHandshakeResponse,
};
use crate::protocol::{
    ApiKey, EncodeResponse, ErrorCode, Request, decode_response, encode_response,
};

/// Input: the version, then the frame of a Produce response.
pub fn produce_response(data: &[u8]) {
    survives_a_second_reading::<ProduceRequest<'_, Vec<u8>>>(data);
}

/// Input: the version, then the frame of a Metadata response. A snapshot of the cluster is made from it.
pub fn metadata_response(data: &[u8]) {
    let Some((version, response)) = survives_a_second_reading::<MetadataRequest<'_>>(data) else {
        return;
    };
    let asked: Vec<Arc<str>> = vec!["t".into(), "u".into()];
    let first = update(&Cluster::default(), response.clone(), version, &asked, true);
    check(&first.cluster);
    let second = update(&first.cluster, response, version, &asked, false);
    check(&second.cluster);
    let hints = second.cluster.topics.iter().flat_map(|topic| {
        let name = Arc::clone(&topic.name);
        topic.partitions.iter().map(move |partition| LeaderHint {
            topic: Arc::clone(&name),
            topic_id: topic.id(),
            partition: partition.partition(),
            leader: partition.partition(),
            leader_epoch: i32::MAX,
            broker: None,
        })
    });
    let hints: Vec<_> = hints.collect();
    if let Some(moved) = second.cluster.with_leaders(&hints) {
        check(&moved);
    }
}

/// Input: the version, then the frame of an ApiVersions response. The target chooses versions of requests by it.
pub fn api_versions_response(data: &[u8]) {
    // A refusal has the layout of version 0 for every version of the request (KIP-511).
    let layout = |version, response: &ApiVersionsResponse| match response.error {
        ErrorCode::UNSUPPORTED_VERSION => 0,
        _ => version,
    };
    let Some((_, response)) = survives_in::<ApiVersionsRequest<'_>>(data, layout) else {
        return;
    };
    let versions = BrokerVersions::from(&response);
    check_choice::<ProduceRequest<'_, Vec<u8>>>(&versions);
    check_choice::<MetadataRequest<'_>>(&versions);
    check_choice::<InitProducerIdRequest<'_>>(&versions);
}

/// Input: the version, then the frame of an InitProducerId response.
pub fn init_producer_id_response(data: &[u8]) {
    survives_a_second_reading::<InitProducerIdRequest<'_>>(data);
}

/// Input: the version, then the frame of a SaslHandshake response.
pub fn sasl_handshake_response(data: &[u8]) {
    survives_a_second_reading::<SaslHandshakeRequest<'_>>(data);
}

/// Input: the version, then the frame of a SaslAuthenticate response. `Debug` shows of its message only the length.
pub fn sasl_authenticate_response(data: &[u8]) {
    let Some((_, mut response)) = survives_a_second_reading::<SaslAuthenticateRequest<'_>>(data)
    else {
        return;
    };
    let shown = format!("{response:?}");
    response.message.fill(0);
    assert_eq!(format!("{response:?}"), shown);
}

fn survives_a_second_reading<R: Request>(data: &[u8]) -> Option<(i16, R::Response)>
where
    R::Response: EncodeResponse + PartialEq + Debug,
{
    survives_in::<R>(data, |version, _| version)
}

/// `layout` is the version in which the response is written.
fn survives_in<R: Request>(
    data: &[u8],
    layout: impl Fn(i16, &R::Response) -> i16,
) -> Option<(i16, R::Response)>
where
    R::Response: EncodeResponse + PartialEq + Debug,
{
    let (version, frame) = data.split_first()?;
    let (first, last) = R::VERSIONS.into_inner();
    let version = first + i16::from(*version) % (last - first + 1);
    let (correlation_id, response) = decode_response::<R>(version, frame).ok()?;
    let bytes = written::<R>(layout(version, &response), correlation_id, &response);
    let again = decode_response::<R>(version, &bytes);
    let expected = Ok((correlation_id, response));
    assert_eq!(again, expected);
    again.ok().map(|(_, response)| (version, response))
}

/// Encodes a response into a frame, without its length.
fn written<R: Request>(version: i16, correlation_id: i32, response: &R::Response) -> Vec<u8>
where
    R::Response: EncodeResponse,
{
    let mut bytes = Vec::new();
    encode_response(response, R::API_KEY, version, correlation_id, &mut bytes)
        .expect("what was decoded can be encoded");
    bytes.split_off(4)
}

/// Checks that the chosen version, if any, is one that this client speaks.
fn check_choice<R: Request>(versions: &BrokerVersions) {
    if let Ok(version) = versions.best::<R>() {
        assert!(R::VERSIONS.contains(&version));
    }
}

/// Checks that each partition is at the index of its number: callers rely on it.
fn check(cluster: &Cluster) {
    for topic in cluster.topics.iter() {
        assert!(cluster.topic(&topic.name).is_some());
        assert!(!topic.partitions.is_empty());
        for (partition, number) in topic.partitions.iter().zip(0..) {
            assert_eq!(partition.partition(), number);
        }
    }
    for (id, broker) in &cluster.brokers {
        assert_eq!(*id, broker.id());
    }
}

pub(super) fn produce_seeds() -> Vec<Vec<u8>> {
    let partition = |index: i32, error| ProducePartitionResponse {
        index,
        error,
        base_offset: 4711,
        log_append_time_ms: 1_700_000_000_000,
        log_start_offset: -1,
        ..ProducePartitionResponse::default()
    };
    let refused = ProducePartitionResponse {
        record_errors: vec![
            RecordError {
                batch_index: 2,
                message: Some("too old".into()),
            },
            RecordError {
                batch_index: 3,
                message: None,
            },
        ],
        error_message: Some("not taken".into()),
        ..partition(1, ErrorCode::INVALID_RECORD)
    };
    let moved = ProducePartitionResponse {
        current_leader: LeaderIdAndEpoch {
            leader_id: 2,
            leader_epoch: 9,
        },
        ..partition(2, ErrorCode::NOT_LEADER_OR_FOLLOWER)
    };
    let full = |version: i16| ProduceResponse {
        topics: vec![ProduceTopicResponse {
            name: if version < 13 { "t" } else { "" }.into(),
            id: [u8::from(version >= 13); 16],
            partitions: vec![
                partition(0, ErrorCode::NONE),
                refused.clone(),
                moved.clone(),
            ],
        }],
        throttle_time_ms: 100,
        node_endpoints: vec![NodeEndpoint {
            node_id: 2,
            host: "broker-2".into(),
            port: 9092,
            rack: Some("r".into()),
        }],
    };
    seeds_of::<ProduceRequest<'_, Vec<u8>>>(full, |_| ProduceResponse::default())
}

pub(super) fn metadata_seeds() -> Vec<Vec<u8>> {
    let partition = |index: i32, leader_id: i32| MetadataPartition {
        error: ErrorCode::NONE,
        index,
        leader_id,
        leader_epoch: 5,
        replica_nodes: vec![1, 2, 3],
        isr_nodes: vec![1, 2],
        offline_replicas: vec![3],
    };
    let topic = |name: &str, error: ErrorCode, partitions| MetadataTopic {
        error,
        name: Some(name.into()),
        id: [7; 16],
        is_internal: false,
        partitions,
    };
    let broker = |node_id: i32, rack: Option<&str>| MetadataBroker {
        node_id,
        host: format!("broker-{node_id}"),
        port: 9092,
        rack: rack.map(str::to_owned),
    };
    let empty = MetadataResponse {
        throttle_time_ms: 0,
        brokers: Vec::new(),
        cluster_id: None,
        controller_id: -1,
        topics: Vec::new(),
        error: ErrorCode::NONE,
    };
    let full = MetadataResponse {
        throttle_time_ms: 50,
        brokers: vec![broker(1, None), broker(2, Some("a"))],
        cluster_id: Some("c".into()),
        controller_id: 1,
        topics: vec![
            topic(
                "t",
                ErrorCode::NONE,
                vec![partition(1, 2), partition(0, 1), partition(2, -1)],
            ),
            topic("u", ErrorCode::LEADER_NOT_AVAILABLE, Vec::new()),
        ],
        error: ErrorCode::NONE,
    };
    seeds_of::<MetadataRequest<'_>>(|_| full.clone(), |_| empty.clone())
}

pub(super) fn api_versions_seeds() -> Vec<Vec<u8>> {
    let ranges = |last: i16| {
        let apis = [
            ApiKey::Produce,
            ApiKey::Metadata,
            ApiKey::ApiVersions,
            ApiKey::InitProducerId,
        ];
        let range = |api: ApiKey| ApiVersionRange {
            api_code: api.code(),
            min_version: 0,
            max_version: last,
        };
        apis.map(range).to_vec()
    };
    let full = |_| ApiVersionsResponse {
        api_keys: ranges(20),
        throttle_time_ms: 3,
        finalized_features_epoch: 4,
        ..ApiVersionsResponse::default()
    };
    let partial = |_| ApiVersionsResponse {
        error: ErrorCode::UNKNOWN_SERVER_ERROR,
        api_keys: ranges(2),
        ..ApiVersionsResponse::default()
    };
    seeds_of::<ApiVersionsRequest<'_>>(full, partial)
}

pub(super) fn init_producer_id_seeds() -> Vec<Vec<u8>> {
    let answer = |error, producer_id| {
        move |_| InitProducerIdResponse {
            throttle_time_ms: 0,
            error,
            producer_id,
            producer_epoch: 0,
        }
    };
    seeds_of::<InitProducerIdRequest<'_>>(
        answer(ErrorCode::NONE, 77),
        answer(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS, -1),
    )
}

pub(super) fn sasl_handshake_seeds() -> Vec<Vec<u8>> {
    let answer = |error| {
        move |_| SaslHandshakeResponse {
            error,
            mechanisms: vec!["PLAIN".to_owned(), "SCRAM-SHA-256".to_owned()],
        }
    };
    seeds_of::<SaslHandshakeRequest<'_>>(
        answer(ErrorCode::NONE),
        answer(ErrorCode::UNSUPPORTED_SASL_MECHANISM),
    )
}

pub(super) fn sasl_authenticate_seeds() -> Vec<Vec<u8>> {
    // A session is part of the responses since version 1.
    let accepted = |version: i16| SaslAuthenticateResponse {
        error: ErrorCode::NONE,
        error_message: None,
        message: b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=".to_vec(),
        session_lifetime_ms: if version >= 1 { 3_600_000 } else { 0 },
    };
    let refused = |_| SaslAuthenticateResponse {
        error: ErrorCode::SASL_AUTHENTICATION_FAILED,
        error_message: Some("invalid credentials".to_owned()),
        message: Vec::new(),
        session_lifetime_ms: 0,
    };
    seeds_of::<SaslAuthenticateRequest<'_>>(accepted, refused)
}

/// Returns two responses in every version, each after the byte that chooses the version.
fn seeds_of<R: Request>(
    first: impl Fn(i16) -> R::Response,
    second: impl Fn(i16) -> R::Response,
) -> Vec<Vec<u8>>
where
    R::Response: EncodeResponse,
{
    R::VERSIONS
        .zip(0u8..)
        .flat_map(|(version, choice)| {
            [first(version), second(version)].map(|response| {
                let mut seed = vec![choice];
                seed.extend(written::<R>(version, 1, &response));
                seed
            })
        })
        .collect()
}
