//! Requests and answers of all APIs: reading, handling, refusing.

use std::time::Duration;

use super::cluster::Shared;
use super::fault::PartitionError;
use super::produce;
use super::request::{MockApi, ProducedBatch};
use super::state::failed_topic;
use crate::ErrorCode;
use crate::protocol::messages::{
    ApiVersionsRequest, ApiVersionsResponse, InitProducerIdRequest, InitProducerIdResponse,
    MetadataRequest, MetadataResponse, ProduceRequest, ProduceResponse,
};
use crate::protocol::{DecodeRequest, EncodeResponse, ProtocolError, Reader};

/// A request, borrowing from its frame.
pub(super) enum Question<'a> {
    Produce(ProduceRequest<'a, &'a [u8]>),
    Metadata(MetadataRequest<'a>),
    ApiVersions(ApiVersionsRequest<'a>),
    InitProducerId(InitProducerIdRequest<'a>),
}

/// The answer to the question of the same name.
pub(super) enum Answer {
    Produce(ProduceResponse),
    Metadata(MetadataResponse),
    ApiVersions(ApiVersionsResponse),
    InitProducerId(InitProducerIdResponse),
}

impl<'a> Question<'a> {
    /// Reads the whole frame: bytes behind the request are an error, as they show a broken client.
    pub(super) fn decode(
        api: MockApi,
        version: i16,
        reader: &mut Reader<'a>,
    ) -> Result<Self, ProtocolError> {
        let question = match api {
            MockApi::Produce => Self::Produce(DecodeRequest::decode(version, reader)?),
            MockApi::Metadata => Self::Metadata(DecodeRequest::decode(version, reader)?),
            MockApi::ApiVersions => Self::ApiVersions(DecodeRequest::decode(version, reader)?),
            MockApi::InitProducerId => {
                Self::InitProducerId(DecodeRequest::decode(version, reader)?)
            }
        };
        reader.finish()?;
        Ok(question)
    }

    /// Does what is asked. `failed` are the partitions of a Produce request that are to fail instead.
    pub(super) fn handle(
        &self,
        shared: &Shared,
        broker: i32,
        version: i16,
        failed: &[PartitionError],
    ) -> Answer {
        match self {
            Self::Produce(request) => {
                Answer::Produce(produce::handle(shared, broker, version, request, failed))
            }
            Self::Metadata(request) => {
                let create = shared.options.auto_create_topics && request.allow_auto_topic_creation;
                let create = create.then_some(shared.options.default_partitions);
                Answer::Metadata(shared.state.lock().metadata(request, create))
            }
            Self::ApiVersions(_) => Answer::ApiVersions(shared.state.lock().api_versions()),
            Self::InitProducerId(request) => {
                Answer::InitProducerId(shared.state.lock().init_producer_id(request))
            }
        }
    }

    /// Whether it only asks which cluster this is, as a producer does once on each connection: it concerns no topic.
    pub(super) fn asks_for_the_cluster(&self) -> bool {
        match self {
            Self::Metadata(request) => request.topics.as_ref().is_some_and(Vec::is_empty),
            _ => false,
        }
    }

    /// The answer that all of it has failed.
    pub(super) fn refuse(&self, shared: &Shared, error: ErrorCode) -> Answer {
        match self {
            Self::Produce(request) => Answer::Produce(produce::refuse(request, error)),
            Self::Metadata(request) => {
                let asked = request.topics.iter().flatten();
                let topics = asked.map(|topic| failed_topic(topic, error)).collect();
                let cluster = shared.state.lock().metadata_without_topics();
                Answer::Metadata(MetadataResponse {
                    topics,
                    error,
                    ..cluster
                })
            }
            Self::ApiVersions(_) => Answer::ApiVersions(ApiVersionsResponse {
                error,
                ..ApiVersionsResponse::default()
            }),
            Self::InitProducerId(_) => Answer::InitProducerId(InitProducerIdResponse {
                throttle_time_ms: 0,
                error,
                producer_id: -1,
                producer_epoch: -1,
            }),
        }
    }

    /// Only a producer can want no answer.
    pub(super) fn is_answered(&self) -> bool {
        self.acks() != Some(0)
    }

    pub(super) fn acks(&self) -> Option<i16> {
        match self {
            Self::Produce(request) => Some(request.acks),
            _ => None,
        }
    }

    pub(super) fn topics(&self, shared: &Shared, version: i16) -> Vec<String> {
        match self {
            Self::Produce(request) => produce::topics(shared, version, request),
            Self::Metadata(request) => {
                let names = request
                    .topics
                    .iter()
                    .flatten()
                    .filter_map(|topic| topic.name);
                names.map(str::to_owned).collect()
            }
            _ => Vec::new(),
        }
    }

    pub(super) fn batches(&self, shared: &Shared, version: i16) -> Vec<ProducedBatch> {
        match self {
            Self::Produce(request) => produce::batches(shared, version, request),
            _ => Vec::new(),
        }
    }
}

impl Answer {
    pub(super) fn set_throttle_time(&mut self, time: Duration) {
        let throttle_time_ms = match self {
            Self::Produce(response) => &mut response.throttle_time_ms,
            Self::Metadata(response) => &mut response.throttle_time_ms,
            Self::ApiVersions(response) => &mut response.throttle_time_ms,
            Self::InitProducerId(response) => &mut response.throttle_time_ms,
        };
        *throttle_time_ms = i32::try_from(time.as_millis()).unwrap_or(i32::MAX);
    }

    /// Whether any partition of a Produce request has failed.
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

impl EncodeResponse for Answer {
    fn encode(&self, version: i16, out: &mut Vec<u8>) -> Result<(), ProtocolError> {
        match self {
            Self::Produce(response) => response.encode(version, out),
            Self::Metadata(response) => response.encode(version, out),
            // An error in the layout of a later version cannot be read by a client that expects version 0.
            Self::ApiVersions(response) if response.error == ErrorCode::UNSUPPORTED_VERSION => {
                response.encode(0, out)
            }
            Self::ApiVersions(response) => response.encode(version, out),
            Self::InitProducerId(response) => response.encode(version, out),
        }
    }
}
