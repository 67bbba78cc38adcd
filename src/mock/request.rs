//! Requests as hooks see them and as the cluster remembers them.

use std::collections::VecDeque;
use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Instant;

use crate::protocol::messages::{
    ApiVersionsRequest, InitProducerIdRequest, MetadataRequest, ProduceRequest,
};
use crate::protocol::{ApiKey, Request};
use crate::topic_partition::TopicPartition;

/// The APIs that the mock cluster has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MockApi {
    /// Record batches to partitions' leaders.
    Produce,
    /// Brokers, topics and leaders. Hooks do not see, and counts leave out, requests about no topic: a producer sends one
    /// on each connection, to learn whether the broker is of its cluster.
    Metadata,
    /// Which APIs a broker has, in which versions.
    ApiVersions,
    /// The id of an idempotent producer.
    InitProducerId,
}

impl MockApi {
    pub(super) const ALL: [Self; 4] = [
        Self::Produce,
        Self::Metadata,
        Self::ApiVersions,
        Self::InitProducerId,
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
        }
    }

    /// Every version that the cluster can speak.
    pub(super) fn versions(self) -> RangeInclusive<i16> {
        match self {
            Self::Produce => ProduceRequest::<&[u8]>::VERSIONS,
            Self::Metadata => MetadataRequest::VERSIONS,
            Self::ApiVersions => ApiVersionsRequest::VERSIONS,
            Self::InitProducerId => InitProducerIdRequest::VERSIONS,
        }
    }
}

/// Kafka's name of the API.
impl fmt::Display for MockApi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.key().name())
    }
}

/// A request before it is handled, as hooks see it.
#[derive(Clone, Debug)]
pub struct MockRequest {
    pub(super) api: MockApi,
    pub(super) version: i16,
    pub(super) broker: i32,
    pub(super) correlation_id: i32,
    pub(super) client_id: Option<Arc<str>>,
    pub(super) acks: Option<i16>,
    pub(super) topics: Vec<String>,
    pub(super) batches: Vec<ProducedBatch>,
}

impl MockRequest {
    /// The API.
    pub fn api(&self) -> MockApi {
        self.api
    }

    /// The version of the API.
    pub fn version(&self) -> i16 {
        self.version
    }

    /// The id of the broker that received it.
    pub fn broker(&self) -> i32 {
        self.broker
    }

    /// The number that the answer has to carry.
    pub fn correlation_id(&self) -> i32 {
        self.correlation_id
    }

    /// The producer's `client.id`.
    pub fn client_id(&self) -> Option<&str> {
        self.client_id.as_deref()
    }

    /// The acks that a Produce request asks for: 0, 1 or -1.
    pub fn acks(&self) -> Option<i16> {
        self.acks
    }

    /// The names of the topics in a Produce or Metadata request; none where all topics are asked for.
    pub fn topics(&self) -> &[String] {
        &self.topics
    }

    /// The batches in a Produce request, in its order. Those of topics that do not exist are not among them.
    pub fn batches(&self) -> &[ProducedBatch] {
        &self.batches
    }
}

/// A batch in a Produce request. The numbers are those that the batch's header claims; -1 where it has none.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProducedBatch {
    /// Where it is to go.
    pub topic_partition: TopicPartition,
    /// The producer's id.
    pub producer_id: i64,
    /// The producer's epoch.
    pub producer_epoch: i16,
    /// The sequence number of the first record.
    pub base_sequence: i32,
    /// How many records it has.
    pub records_count: i32,
    /// Its size with its header.
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
    /// When it had been read.
    pub at: Instant,
    /// The producer's `client.id`.
    pub client_id: Option<Arc<str>>,
    /// The client's software as `name/version`, where the connection's ApiVersions request told it (KIP-511).
    pub client_software: Option<Arc<str>>,
}

/// The latest requests, and how many there were of each API.
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
