//! Requests as hooks see them and as the cluster records them.

use std::collections::VecDeque;
use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Instant;

use crate::protocol::messages::{
    ApiVersionsRequest, InitProducerIdRequest, MetadataRequest, ProduceRequest,
    SaslAuthenticateRequest, SaslHandshakeRequest,
};
use crate::protocol::{ApiKey, Request};
use crate::topic_partition::TopicPartition;

/// The APIs that the mock cluster serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MockApi {
    /// Writes record batches to the leaders of their partitions.
    Produce,
    /// Returns brokers, topics and leaders. Requests that name no topic are neither shown to hooks nor counted: a producer
    /// sends one on each connection, to check the broker's cluster.
    Metadata,
    /// Returns the APIs of a broker and their versions.
    ApiVersions,
    /// Returns the id and epoch of an idempotent producer.
    InitProducerId,
    /// Names the mechanism of the authentication that follows. A refusal with [`Fault::Error`](super::Fault::Error) ends
    /// the connection.
    SaslHandshake,
    /// Carries one message of the mechanism. A refusal with [`Fault::Error`](super::Fault::Error), as that of a wrong
    /// password with `SASL_AUTHENTICATION_FAILED`, ends the connection.
    SaslAuthenticate,
}

impl MockApi {
    pub(super) const ALL: [Self; 6] = [
        Self::Produce,
        Self::Metadata,
        Self::ApiVersions,
        Self::InitProducerId,
        Self::SaslHandshake,
        Self::SaslAuthenticate,
    ];

    pub(super) fn from_code(code: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|api| api.key().code() == code)
    }

    pub(super) const fn key(self) -> ApiKey {
        match self {
            Self::Produce => ApiKey::Produce,
            Self::Metadata => ApiKey::Metadata,
            Self::ApiVersions => ApiKey::ApiVersions,
            Self::InitProducerId => ApiKey::InitProducerId,
            Self::SaslHandshake => ApiKey::SaslHandshake,
            Self::SaslAuthenticate => ApiKey::SaslAuthenticate,
        }
    }

    /// The versions that the cluster can speak.
    pub(super) fn versions(self) -> RangeInclusive<i16> {
        match self {
            Self::Produce => ProduceRequest::<&[u8]>::VERSIONS,
            Self::Metadata => MetadataRequest::VERSIONS,
            Self::ApiVersions => ApiVersionsRequest::VERSIONS,
            Self::InitProducerId => InitProducerIdRequest::VERSIONS,
            Self::SaslHandshake => SaslHandshakeRequest::VERSIONS,
            Self::SaslAuthenticate => SaslAuthenticateRequest::VERSIONS,
        }
    }
}

/// Kafka's name of the API.
impl fmt::Display for MockApi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.key().name())
    }
}

/// A request before it is handled, as a hook gets it.
#[derive(Clone, Debug)]
pub struct MockRequest {
    pub(super) api: MockApi,
    pub(super) version: i16,
    pub(super) broker: i32,
    pub(super) correlation_id: i32,
    pub(super) client_id: Option<Arc<str>>,
    pub(super) principal: Arc<str>,
    pub(super) acks: Option<i16>,
    pub(super) topics: Vec<String>,
    pub(super) batches: Vec<ProducedBatch>,
}

impl MockRequest {
    /// Returns the API.
    pub fn api(&self) -> MockApi {
        self.api
    }

    /// Returns the version of the API.
    pub fn version(&self) -> i16 {
        self.version
    }

    /// Returns the id of the broker that received the request.
    pub fn broker(&self) -> i32 {
        self.broker
    }

    /// Returns the correlation id, which the response has to carry.
    pub fn correlation_id(&self) -> i32 {
        self.correlation_id
    }

    /// Returns the producer's `client.id`.
    pub fn client_id(&self) -> Option<&str> {
        self.client_id.as_deref()
    }

    /// Returns who the client is to the broker: `User:alice` after an authentication as alice, `User:CN=alice` with a
    /// client certificate for `CN=alice` and without SASL, otherwise `User:ANONYMOUS`.
    pub fn principal(&self) -> &str {
        &self.principal
    }

    /// Returns the acks of a Produce request, as the protocol encodes them: 0, 1 or -1 (all). `None` for other requests.
    pub fn acks(&self) -> Option<i16> {
        self.acks
    }

    /// Returns the names of the topics in a Produce or Metadata request. Empty if the request is for all topics.
    pub fn topics(&self) -> &[String] {
        &self.topics
    }

    /// Returns the batches in a Produce request, in its order. Leaves out those for topic ids that do not exist.
    pub fn batches(&self) -> &[ProducedBatch] {
        &self.batches
    }
}

/// A batch in a Produce request. The numbers are those in the batch's header, where -1 means none; all are -1 if the
/// header cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProducedBatch {
    /// The partition that the batch is for.
    pub topic_partition: TopicPartition,
    /// The producer's id.
    pub producer_id: i64,
    /// The producer's epoch.
    pub producer_epoch: i16,
    /// The sequence number of the first record.
    pub base_sequence: i32,
    /// The number of records.
    pub records_count: i32,
    /// The size of the batch in bytes, with its header.
    pub bytes: usize,
}

/// A request that a broker has received.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LoggedRequest {
    /// The API.
    pub api: MockApi,
    /// The version of the API.
    pub version: i16,
    /// The id of the broker.
    pub broker: i32,
    /// The time when the whole request had been read.
    pub at: Instant,
    /// The producer's `client.id`.
    pub client_id: Option<Arc<str>>,
    /// The client's software as `name/version`; `None` if the connection's ApiVersions request did not name it (KIP-511).
    pub client_software: Option<Arc<str>>,
    /// Who the client was to the broker: see [`MockRequest::principal`].
    pub principal: Arc<str>,
}

/// The latest requests, and the number of requests of each API.
#[derive(Default)]
pub(super) struct RequestLog {
    counts: [u64; MockApi::ALL.len()],
    latest: VecDeque<LoggedRequest>,
}

impl RequestLog {
    const KEPT: usize = 10_000;

    pub(super) fn add(&mut self, request: LoggedRequest) {
        self.counts[request.api as usize] += 1;
        if self.latest.len() == Self::KEPT {
            self.latest.pop_front();
        }
        self.latest.push_back(request);
    }

    pub(super) fn count(&self, api: MockApi) -> u64 {
        self.counts[api as usize]
    }

    pub(super) fn entries(&self) -> Vec<LoggedRequest> {
        self.latest.iter().cloned().collect()
    }
}
