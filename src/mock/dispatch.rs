//! Requests and responses of any API: each call goes to the module of its API.
//!
//! A new API gets a module with its `handle` and `refuse`, a variant in [`MockApi`], and a line in each match here.

use std::cell::RefCell;
use std::time::Duration;

use super::cluster::Shared;
use super::fault::PartitionError;
use super::request::{MockApi, ProducedBatch};
use super::session::{self, Session};
use super::{api_versions, metadata, produce, producer_ids};
use crate::ErrorCode;
use crate::protocol::messages::{
    ApiVersionsRequest, ApiVersionsResponse, InitProducerIdRequest, InitProducerIdResponse,
    MetadataRequest, MetadataResponse, ProduceRequest, ProduceResponse, SaslAuthenticateRequest,
    SaslAuthenticateResponse, SaslHandshakeRequest, SaslHandshakeResponse,
};
use crate::protocol::{DecodeRequest, EncodeResponse, ProtocolError, Reader};

/// The context of a request: the cluster, the broker that received it, its version, and the session of its connection.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) shared: &'a Shared,
    pub(super) broker: i32,
    pub(super) version: i16,
    pub(super) session: &'a RefCell<Session>,
}

/// A request, borrowing from its frame.
pub(super) enum AnyRequest<'a> {
    Produce(ProduceRequest<'a, &'a [u8]>),
    Metadata(MetadataRequest<'a>),
    ApiVersions(ApiVersionsRequest<'a>),
    InitProducerId(InitProducerIdRequest<'a>),
    SaslHandshake(SaslHandshakeRequest<'a>),
    SaslAuthenticate(SaslAuthenticateRequest<'a>),
}

/// The response to the request of the same name.
pub(super) enum AnyResponse {
    Produce(ProduceResponse),
    Metadata(MetadataResponse),
    ApiVersions(ApiVersionsResponse),
    InitProducerId(InitProducerIdResponse),
    SaslHandshake(SaslHandshakeResponse),
    SaslAuthenticate(SaslAuthenticateResponse),
}

impl<'a> AnyRequest<'a> {
    /// Reads the whole frame. Bytes after the request are an error: they show a broken client.
    pub(super) fn decode(
        api: MockApi,
        version: i16,
        reader: &mut Reader<'a>,
    ) -> Result<Self, ProtocolError> {
        let request = match api {
            MockApi::Produce => Self::Produce(DecodeRequest::decode(version, reader)?),
            MockApi::Metadata => Self::Metadata(DecodeRequest::decode(version, reader)?),
            MockApi::ApiVersions => Self::ApiVersions(DecodeRequest::decode(version, reader)?),
            MockApi::InitProducerId => {
                Self::InitProducerId(DecodeRequest::decode(version, reader)?)
            }
            MockApi::SaslHandshake => Self::SaslHandshake(DecodeRequest::decode(version, reader)?),
            MockApi::SaslAuthenticate => {
                Self::SaslAuthenticate(DecodeRequest::decode(version, reader)?)
            }
        };
        reader.finish()?;
        Ok(request)
    }

    /// Handles the request. The partitions of a Produce request that are in `failed` get their errors instead.
    pub(super) fn handle(&self, context: Context<'_>, failed: &[PartitionError]) -> AnyResponse {
        match self {
            Self::Produce(request) => {
                AnyResponse::Produce(produce::handle(context, request, failed))
            }
            Self::Metadata(request) => AnyResponse::Metadata(metadata::handle(context, request)),
            Self::ApiVersions(_) => AnyResponse::ApiVersions(api_versions::handle(context)),
            Self::InitProducerId(request) => {
                AnyResponse::InitProducerId(producer_ids::handle(context, request))
            }
            Self::SaslHandshake(request) => {
                AnyResponse::SaslHandshake(session::handshake(context, request))
            }
            Self::SaslAuthenticate(request) => {
                AnyResponse::SaslAuthenticate(session::authenticate(context, request))
            }
        }
    }

    /// Returns a response that reports `error` for the whole request.
    pub(super) fn refuse(&self, context: Context<'_>, error: ErrorCode) -> AnyResponse {
        match self {
            Self::Produce(request) => AnyResponse::Produce(produce::refuse(request, error)),
            Self::Metadata(request) => {
                AnyResponse::Metadata(metadata::refuse(context, request, error))
            }
            Self::ApiVersions(_) => AnyResponse::ApiVersions(api_versions::refuse(error)),
            Self::InitProducerId(_) => AnyResponse::InitProducerId(producer_ids::refuse(error)),
            Self::SaslHandshake(_) => {
                AnyResponse::SaslHandshake(session::refuse_handshake(context, error))
            }
            Self::SaslAuthenticate(_) => {
                AnyResponse::SaslAuthenticate(session::refuse_authentication(context, error))
            }
        }
    }

    /// Returns whether this is a Metadata request that names no topic. A producer sends one on each connection, to learn the
    /// cluster's id.
    pub(super) fn asks_for_the_cluster(&self) -> bool {
        match self {
            Self::Metadata(request) => request.topics.as_ref().is_some_and(Vec::is_empty),
            _ => false,
        }
    }

    /// Returns whether the client expects a response: a Produce request with acks 0 has none.
    pub(super) fn is_answered(&self) -> bool {
        self.acks() != Some(0)
    }

    pub(super) fn acks(&self) -> Option<i16> {
        match self {
            Self::Produce(request) => Some(request.acks),
            _ => None,
        }
    }

    pub(super) fn topics(&self, context: Context<'_>) -> Vec<String> {
        match self {
            Self::Produce(request) => produce::topics(context, request),
            Self::Metadata(request) => metadata::topics(request),
            _ => Vec::new(),
        }
    }

    pub(super) fn batches(&self, context: Context<'_>) -> Vec<ProducedBatch> {
        match self {
            Self::Produce(request) => produce::batches(context, request),
            _ => Vec::new(),
        }
    }
}

impl AnyResponse {
    pub(super) fn set_throttle_time(&mut self, time: Duration) {
        let throttle_time_ms = match self {
            Self::Produce(response) => &mut response.throttle_time_ms,
            Self::Metadata(response) => &mut response.throttle_time_ms,
            Self::ApiVersions(response) => &mut response.throttle_time_ms,
            Self::InitProducerId(response) => &mut response.throttle_time_ms,
            // Their responses have no such field.
            Self::SaslHandshake(_) | Self::SaslAuthenticate(_) => return,
        };
        *throttle_time_ms = i32::try_from(time.as_millis()).unwrap_or(i32::MAX);
    }

    /// Lets these topics of a Metadata response have errors.
    pub(super) fn fail_topics(&mut self, failed: &[(String, ErrorCode)]) {
        if let Self::Metadata(response) = self {
            metadata::fail_topics(response, failed);
        }
    }

    /// Returns whether any partition of a Produce request failed.
    pub(super) fn is_failure(&self) -> bool {
        match self {
            Self::Produce(response) => {
                let mut partitions = response.topics.iter().flat_map(|topic| &topic.partitions);
                partitions.any(|partition| !partition.error.is_none())
            }
            _ => false,
        }
    }
}

impl EncodeResponse for AnyResponse {
    fn encode(&self, version: i16, out: &mut Vec<u8>) -> Result<(), ProtocolError> {
        match self {
            Self::Produce(response) => response.encode(version, out),
            Self::Metadata(response) => response.encode(version, out),
            // A client that gets this error expects the layout of version 0 (KIP-511).
            Self::ApiVersions(response) if response.error == ErrorCode::UNSUPPORTED_VERSION => {
                response.encode(0, out)
            }
            Self::ApiVersions(response) => response.encode(version, out),
            Self::InitProducerId(response) => response.encode(version, out),
            Self::SaslHandshake(response) => response.encode(version, out),
            Self::SaslAuthenticate(response) => response.encode(version, out),
        }
    }
}
