//! One file for each API: its request and its response. The comments on fields name the versions that have them.

mod api_versions;
mod init_producer_id;
mod metadata;
mod produce;
mod sasl_authenticate;
mod sasl_handshake;

pub(crate) use api_versions::{ApiVersionRange, ApiVersionsRequest, ApiVersionsResponse};
#[cfg(test)]
pub(crate) use api_versions::{FinalizedFeature, SupportedFeature};
pub(crate) use init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
pub(crate) use metadata::{
    MetadataBroker, MetadataPartition, MetadataRequest, MetadataRequestTopic, MetadataResponse,
    MetadataTopic,
};
#[cfg(any(test, feature = "mock"))]
pub(crate) use produce::FIRST_VERSION_BY_TOPIC_ID;
pub(crate) use produce::{
    LeaderIdAndEpoch, NodeEndpoint, ProducePartition, ProducePartitionResponse, ProduceRequest,
    ProduceResponse, ProduceTopic, ProduceTopicResponse, RecordError,
};
pub(crate) use sasl_authenticate::{SaslAuthenticateRequest, SaslAuthenticateResponse};
pub(crate) use sasl_handshake::SaslHandshakeRequest;
#[cfg(any(test, feature = "mock"))]
pub(crate) use sasl_handshake::SaslHandshakeResponse;
