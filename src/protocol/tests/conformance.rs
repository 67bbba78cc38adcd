//! Every message at every version: encoded from Kafka's schema, then decoded and encoded by this crate and by the
//! `kafka-protocol` crate.

use kafka_protocol::messages as theirs;
use kafka_protocol::protocol::{Decodable, Encodable};
use proptest::prelude::*;

use super::config;
use super::schema::{Schema, Value};
use crate::protocol::messages::*;
use crate::protocol::*;

/// One test for each message. The schema encodes random values. The crate has to decode the same values from the bytes,
/// with and without unknown tagged fields in every structure, and to encode them into the same bytes.
macro_rules! conforms {
    ($test:ident, $schema:literal, $versions:expr, $message:ty, $theirs:ty) => {
        proptest! {
            #![proptest_config(config(64))]
            #[test]
            fn $test(seed in any::<u64>()) {
                let schema = Schema::load($schema);
                let mut random = fastrand::Rng::with_seed(seed);
                for version in $versions {
                    let value = schema.random(version, &mut random);
                    let bytes = schema.encode(&value, version, None);
                    let mut reader = Reader::new(&bytes);
                    let message: $message = <$message>::decode(version, &mut reader).unwrap();
                    prop_assert_eq!(reader.finish(), Ok(()));
                    assert_same_fields(&value, &Value::from(&message), version);

                    let mut written = Vec::new();
                    message.encode(version, &mut written).unwrap();
                    prop_assert_eq!(&written, &bytes, "version {}", version);

                    let with_strays = schema.encode(&value, version, Some(b"unknown"));
                    let mut reader = Reader::new(&with_strays);
                    prop_assert_eq!(&<$message>::decode(version, &mut reader).unwrap(), &message);
                    prop_assert_eq!(reader.finish(), Ok(()));

                    let mut ours = &written[..];
                    let read_by_them = <$theirs>::decode(&mut ours, version).unwrap();
                    prop_assert!(ours.is_empty());
                    let mut written_by_them = Vec::new();
                    read_by_them.encode(&mut written_by_them, version).unwrap();
                    let mut reader = Reader::new(&written_by_them);
                    prop_assert_eq!(&<$message>::decode(version, &mut reader).unwrap(), &message);
                }
            }
        }
    };
}

conforms!(
    api_versions_requests,
    "ApiVersionsRequest",
    ApiVersionsRequest::VERSIONS,
    ApiVersionsRequest<'_>,
    theirs::ApiVersionsRequest
);
conforms!(
    api_versions_responses,
    "ApiVersionsResponse",
    ApiVersionsRequest::VERSIONS,
    ApiVersionsResponse,
    theirs::ApiVersionsResponse
);
conforms!(
    metadata_requests,
    "MetadataRequest",
    MetadataRequest::VERSIONS,
    MetadataRequest<'_>,
    theirs::MetadataRequest
);
conforms!(
    metadata_responses,
    "MetadataResponse",
    MetadataRequest::VERSIONS,
    MetadataResponse,
    theirs::MetadataResponse
);
conforms!(
    produce_requests,
    "ProduceRequest",
    ProduceRequest::<&[u8]>::VERSIONS,
    ProduceRequest<'_, &[u8]>,
    theirs::ProduceRequest
);
conforms!(
    produce_responses,
    "ProduceResponse",
    ProduceRequest::<&[u8]>::VERSIONS,
    ProduceResponse,
    theirs::ProduceResponse
);
conforms!(
    init_producer_id_requests,
    "InitProducerIdRequest",
    InitProducerIdRequest::VERSIONS,
    InitProducerIdRequest<'_>,
    theirs::InitProducerIdRequest
);
conforms!(
    init_producer_id_responses,
    "InitProducerIdResponse",
    InitProducerIdRequest::VERSIONS,
    InitProducerIdResponse,
    theirs::InitProducerIdResponse
);
conforms!(
    sasl_handshake_requests,
    "SaslHandshakeRequest",
    SaslHandshakeRequest::VERSIONS,
    SaslHandshakeRequest<'_>,
    theirs::SaslHandshakeRequest
);
conforms!(
    sasl_handshake_responses,
    "SaslHandshakeResponse",
    SaslHandshakeRequest::VERSIONS,
    SaslHandshakeResponse,
    theirs::SaslHandshakeResponse
);
conforms!(
    sasl_authenticate_requests,
    "SaslAuthenticateRequest",
    SaslAuthenticateRequest::VERSIONS,
    SaslAuthenticateRequest<'_>,
    theirs::SaslAuthenticateRequest
);
conforms!(
    sasl_authenticate_responses,
    "SaslAuthenticateResponse",
    SaslAuthenticateRequest::VERSIONS,
    SaslAuthenticateResponse,
    theirs::SaslAuthenticateResponse
);

/// Checks that the message has every field of the schema at this version, with the same value.
fn assert_same_fields(schema: &Value, message: &Value, version: i16) {
    match (schema, message) {
        (Value::Struct(schema), Value::Struct(message)) => {
            for (name, value) in schema {
                let found = message
                    .get(name)
                    .unwrap_or_else(|| panic!("{name} is not read"));
                assert_same_fields(value, found, version);
            }
        }
        (Value::Array(schema), Value::Array(message)) => {
            assert_eq!(schema.len(), message.len());
            for (value, found) in schema.iter().zip(message) {
                assert_same_fields(value, found, version);
            }
        }
        // All topics, before version 1: the only empty array that this crate decodes as null.
        (Value::Array(schema), Value::Null) if version == 0 && schema.is_empty() => {}
        _ => assert_eq!(schema, message, "version {version}"),
    }
}

proptest! {
    #![proptest_config(config(64))]
    #[test]
    fn a_scattered_produce_request_is_the_request_without_its_batches(seed in any::<u64>(), client_id: Option<String>) {
        let schema = Schema::load("ProduceRequest");
        let mut random = fastrand::Rng::with_seed(seed);
        for version in ProduceRequest::<&[u8]>::VERSIONS {
            let bytes = schema.encode(&schema.random(version, &mut random), version, None);
            let request = ProduceRequest::decode(version, &mut Reader::new(&bytes)).unwrap();
            let client_id = client_id.as_deref();

            let mut whole = Vec::new();
            encode_request(&request, version, 7, client_id, &mut whole).unwrap();

            let (mut scattered, mut cuts) = (b"before".to_vec(), vec![6]);
            request.encode_scattered(version, 7, client_id, &mut scattered, &mut cuts).unwrap();
            let mut gathered = Vec::new();
            let batches = request.topics.iter().flat_map(|topic| &topic.partitions).map(|partition| partition.records);
            for (piece, batch) in cuts.windows(2).zip(batches) {
                gathered.extend_from_slice(&scattered[piece[0]..piece[1]]);
                gathered.extend_from_slice(batch);
            }
            gathered.extend_from_slice(&scattered[*cuts.last().unwrap()..]);
            prop_assert_eq!(gathered, whole);
        }
    }

    #[test]
    fn request_headers_are_read_by_the_kafka_protocol_crate(correlation_id: i32, client_id: Option<String>) {
        for (api, version, header_version) in [(ApiKey::Produce, 8, 1), (ApiKey::Produce, 9, 2), (ApiKey::ApiVersions, 3, 2)] {
            let header = RequestHeader { api, version, correlation_id, client_id: client_id.as_deref() };
            let mut bytes = Vec::new();
            header.encode(&mut bytes).unwrap();
            let theirs = theirs::RequestHeader::decode(&mut &bytes[..], header_version).unwrap();
            prop_assert_eq!(theirs.request_api_key, api.code());
            prop_assert_eq!(theirs.request_api_version, version);
            prop_assert_eq!(theirs.correlation_id, correlation_id);
            prop_assert_eq!(theirs.client_id.as_deref(), client_id.as_deref());

            let mut written_by_them = Vec::new();
            theirs.encode(&mut written_by_them, header_version).unwrap();
            prop_assert_eq!(&written_by_them, &bytes);
            let mut reader = Reader::new(&bytes);
            let received = ReceivedHeader::decode(&mut reader).unwrap();
            prop_assert_eq!(reader.finish(), Ok(()));
            let expected = ReceivedHeader { api_code: api.code(), version, correlation_id, client_id: client_id.as_deref() };
            prop_assert_eq!(received, expected);
        }
    }
}

#[test]
fn api_keys_and_first_flexible_versions_are_those_of_the_schemas() {
    for api in ApiKey::ALL {
        let request = Schema::load(&format!("{api}Request"));
        let response = Schema::load(&format!("{api}Response"));
        assert_eq!(request.api_key, Some(api.code()), "{api}");
        assert_eq!(ApiKey::from_code(api.code()), Some(api));
        for version in request.valid_versions.clone() {
            assert_eq!(api.form(version), request.form(version), "{api} {version}");
            assert_eq!(api.form(version), response.form(version), "{api} {version}");
        }
    }
    assert_eq!(ApiKey::from_code(1), None);
}

#[test]
fn versions_spoken_are_valid_in_the_schemas() {
    fn check<R: Request>() {
        let valid = Schema::load(&format!("{}Request", R::API_KEY)).valid_versions;
        assert!(
            valid.contains(R::VERSIONS.start()) && valid.contains(R::VERSIONS.end()),
            "{}",
            R::API_KEY
        );
    }
    check::<ApiVersionsRequest<'_>>();
    check::<MetadataRequest<'_>>();
    check::<ProduceRequest<'_, &[u8]>>();
    check::<InitProducerIdRequest<'_>>();
    check::<SaslHandshakeRequest<'_>>();
    check::<SaslAuthenticateRequest<'_>>();
}

#[test]
fn versions_that_the_client_does_not_speak_are_refused() {
    let request = ApiVersionsRequest::default();
    let mut out = Vec::new();
    for version in [-1, 5] {
        let refused = Err(ProtocolError::UnsupportedVersion {
            api: ApiKey::ApiVersions,
            version,
        });
        assert_eq!(
            encode_request(&request, version, 1, None, &mut out),
            refused
        );
    }
    assert!(out.is_empty());
}

#[test]
fn values_that_an_old_version_has_no_field_for_are_refused() {
    let mut out = Vec::new();
    let old_epoch = InitProducerIdRequest {
        transactional_id: None,
        transaction_timeout_ms: 0,
        producer_id: 5,
        producer_epoch: 0,
    };
    assert!(encode_request(&old_epoch, 2, 1, None, &mut out).is_err());
    let no_topics = MetadataRequest {
        topics: Some(Vec::new()),
        allow_auto_topic_creation: true,
    };
    assert!(encode_request(&no_topics, 0, 1, None, &mut out).is_err());
    let no_creation = MetadataRequest {
        topics: None,
        allow_auto_topic_creation: false,
    };
    assert!(encode_request(&no_creation, 3, 1, None, &mut out).is_err());
    let by_id = MetadataRequestTopic {
        id: [1; 16],
        name: None,
    };
    let by_id = MetadataRequest {
        topics: Some(vec![by_id]),
        allow_auto_topic_creation: true,
    };
    assert!(encode_request(&by_id, 9, 1, None, &mut out).is_err());
    let long_name = "x".repeat(0x8000);
    let long_name = MetadataRequestTopic::by_name(&long_name);
    let long_name = MetadataRequest {
        topics: Some(vec![long_name]),
        allow_auto_topic_creation: true,
    };
    assert!(encode_request(&long_name, 1, 1, None, &mut out).is_err());
    assert!(encode_request(&long_name, 9, 1, None, &mut out).is_err());
    assert!(out.is_empty());
}
