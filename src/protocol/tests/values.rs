//! Converts the crate's messages to values with the field names of the schemas. Includes fields that a version does not
//! have: the comparison looks only at the fields of the schema.

use super::schema::Value;
use crate::protocol::ErrorCode;
use crate::protocol::messages::*;

macro_rules! fields {
    ($($name:ident: $value:expr),* $(,)?) => {
        Value::Struct([$((stringify!($name), Value::from($value))),*].into_iter().collect())
    };
}

impl From<&ApiVersionsRequest<'_>> for Value {
    fn from(request: &ApiVersionsRequest<'_>) -> Self {
        fields! {
            ClientSoftwareName: request.client_software_name,
            ClientSoftwareVersion: request.client_software_version,
        }
    }
}

impl From<&ApiVersionsResponse> for Value {
    fn from(response: &ApiVersionsResponse) -> Self {
        fields! {
            ErrorCode: response.error,
            ApiKeys: &response.api_keys[..],
            ThrottleTimeMs: response.throttle_time_ms,
            SupportedFeatures: &response.supported_features[..],
            FinalizedFeaturesEpoch: response.finalized_features_epoch,
            FinalizedFeatures: &response.finalized_features[..],
            ZkMigrationReady: false,
        }
    }
}

impl From<&ApiVersionRange> for Value {
    fn from(range: &ApiVersionRange) -> Self {
        fields! { ApiKey: range.api_code, MinVersion: range.min_version, MaxVersion: range.max_version }
    }
}

impl From<&SupportedFeature> for Value {
    fn from(feature: &SupportedFeature) -> Self {
        fields! { Name: &feature.name[..], MinVersion: feature.min_version, MaxVersion: feature.max_version }
    }
}

impl From<&FinalizedFeature> for Value {
    fn from(feature: &FinalizedFeature) -> Self {
        fields! {
            Name: &feature.name[..],
            MaxVersionLevel: feature.max_version_level,
            MinVersionLevel: feature.min_version_level,
        }
    }
}

impl From<&InitProducerIdRequest<'_>> for Value {
    fn from(request: &InitProducerIdRequest<'_>) -> Self {
        fields! {
            TransactionalId: request.transactional_id,
            TransactionTimeoutMs: request.transaction_timeout_ms,
            ProducerId: request.producer_id,
            ProducerEpoch: request.producer_epoch,
        }
    }
}

impl From<&InitProducerIdResponse> for Value {
    fn from(response: &InitProducerIdResponse) -> Self {
        fields! {
            ThrottleTimeMs: response.throttle_time_ms,
            ErrorCode: response.error,
            ProducerId: response.producer_id,
            ProducerEpoch: response.producer_epoch,
        }
    }
}

impl From<&SaslHandshakeRequest<'_>> for Value {
    fn from(request: &SaslHandshakeRequest<'_>) -> Self {
        fields! { Mechanism: request.mechanism }
    }
}

impl From<&SaslHandshakeResponse> for Value {
    fn from(response: &SaslHandshakeResponse) -> Self {
        let mechanisms = response.mechanisms.iter();
        let mechanisms = mechanisms.map(|name| Value::from(&name[..])).collect();
        fields! { ErrorCode: response.error, Mechanisms: Value::Array(mechanisms) }
    }
}

impl From<&SaslAuthenticateRequest<'_>> for Value {
    fn from(request: &SaslAuthenticateRequest<'_>) -> Self {
        fields! { AuthBytes: Value::Bytes(request.message.to_vec()) }
    }
}

impl From<&SaslAuthenticateResponse> for Value {
    fn from(response: &SaslAuthenticateResponse) -> Self {
        fields! {
            ErrorCode: response.error,
            ErrorMessage: response.error_message.as_deref(),
            AuthBytes: Value::Bytes(response.message.clone()),
            SessionLifetimeMs: response.session_lifetime_ms,
        }
    }
}

impl From<&MetadataRequest<'_>> for Value {
    fn from(request: &MetadataRequest<'_>) -> Self {
        fields! {
            Topics: request.topics.as_deref(),
            AllowAutoTopicCreation: request.allow_auto_topic_creation,
            IncludeClusterAuthorizedOperations: false,
            IncludeTopicAuthorizedOperations: false,
        }
    }
}

impl From<&MetadataRequestTopic<'_>> for Value {
    fn from(topic: &MetadataRequestTopic<'_>) -> Self {
        fields! { TopicId: &topic.id[..], Name: topic.name }
    }
}

impl From<&MetadataResponse> for Value {
    fn from(response: &MetadataResponse) -> Self {
        fields! {
            ThrottleTimeMs: response.throttle_time_ms,
            Brokers: &response.brokers[..],
            ClusterId: response.cluster_id.as_deref(),
            ControllerId: response.controller_id,
            Topics: &response.topics[..],
            ClusterAuthorizedOperations: i32::MIN,
            ErrorCode: response.error,
        }
    }
}

impl From<&MetadataBroker> for Value {
    fn from(broker: &MetadataBroker) -> Self {
        fields! { NodeId: broker.node_id, Host: &broker.host[..], Port: broker.port, Rack: broker.rack.as_deref() }
    }
}

impl From<&MetadataTopic> for Value {
    fn from(topic: &MetadataTopic) -> Self {
        fields! {
            ErrorCode: topic.error,
            Name: topic.name.as_deref(),
            TopicId: &topic.id[..],
            IsInternal: topic.is_internal,
            Partitions: &topic.partitions[..],
            TopicAuthorizedOperations: i32::MIN,
        }
    }
}

impl From<&MetadataPartition> for Value {
    fn from(partition: &MetadataPartition) -> Self {
        fields! {
            ErrorCode: partition.error,
            PartitionIndex: partition.index,
            LeaderId: partition.leader_id,
            LeaderEpoch: partition.leader_epoch,
            ReplicaNodes: &partition.replica_nodes[..],
            IsrNodes: &partition.isr_nodes[..],
            OfflineReplicas: &partition.offline_replicas[..],
        }
    }
}

impl<B: AsRef<[u8]>> From<&ProduceRequest<'_, B>> for Value {
    fn from(request: &ProduceRequest<'_, B>) -> Self {
        fields! {
            TransactionalId: request.transactional_id,
            Acks: request.acks,
            TimeoutMs: request.timeout_ms,
            TopicData: &request.topics[..],
        }
    }
}

impl<B: AsRef<[u8]>> From<&ProduceTopic<'_, B>> for Value {
    fn from(topic: &ProduceTopic<'_, B>) -> Self {
        fields! { Name: topic.name, TopicId: &topic.id[..], PartitionData: &topic.partitions[..] }
    }
}

impl<B: AsRef<[u8]>> From<&ProducePartition<B>> for Value {
    fn from(partition: &ProducePartition<B>) -> Self {
        fields! { Index: partition.index, Records: partition.records.as_ref() }
    }
}

impl From<&ProduceResponse> for Value {
    fn from(response: &ProduceResponse) -> Self {
        fields! {
            Responses: &response.topics[..],
            ThrottleTimeMs: response.throttle_time_ms,
            NodeEndpoints: &response.node_endpoints[..],
        }
    }
}

impl From<&ProduceTopicResponse> for Value {
    fn from(topic: &ProduceTopicResponse) -> Self {
        fields! { Name: &topic.name[..], TopicId: &topic.id[..], PartitionResponses: &topic.partitions[..] }
    }
}

impl From<&ProducePartitionResponse> for Value {
    fn from(partition: &ProducePartitionResponse) -> Self {
        fields! {
            Index: partition.index,
            ErrorCode: partition.error,
            BaseOffset: partition.base_offset,
            LogAppendTimeMs: partition.log_append_time_ms,
            LogStartOffset: partition.log_start_offset,
            RecordErrors: &partition.record_errors[..],
            ErrorMessage: partition.error_message.as_deref(),
            CurrentLeader: fields! {
                LeaderId: partition.current_leader.leader_id,
                LeaderEpoch: partition.current_leader.leader_epoch,
            },
        }
    }
}

impl From<&RecordError> for Value {
    fn from(error: &RecordError) -> Self {
        fields! { BatchIndex: error.batch_index, BatchIndexErrorMessage: error.message.as_deref() }
    }
}

impl From<&NodeEndpoint> for Value {
    fn from(endpoint: &NodeEndpoint) -> Self {
        fields! {
            NodeId: endpoint.node_id,
            Host: &endpoint.host[..],
            Port: endpoint.port,
            Rack: endpoint.rack.as_deref(),
        }
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Value::Boolean(value)
    }
}

impl From<i16> for Value {
    fn from(value: i16) -> Self {
        Value::Integer(value.into())
    }
}

impl From<i32> for Value {
    fn from(value: i32) -> Self {
        Value::Integer(value.into())
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Value::Integer(value)
    }
}

impl From<&i32> for Value {
    fn from(value: &i32) -> Self {
        Value::from(*value)
    }
}

impl From<ErrorCode> for Value {
    fn from(value: ErrorCode) -> Self {
        Value::from(value.code())
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Value::Text(value.to_owned())
    }
}

impl From<&[u8]> for Value {
    fn from(value: &[u8]) -> Self {
        Value::Bytes(value.to_vec())
    }
}

/// Arrays of any type that converts to a value. Bytes are one value, not an array.
macro_rules! arrays {
    ($($element:ty),* $(,)?) => {
        $(impl From<&[$element]> for Value {
            fn from(values: &[$element]) -> Self {
                Value::Array(values.iter().map(Value::from).collect())
            }
        })*
    };
}

arrays!(
    i32,
    ApiVersionRange,
    SupportedFeature,
    FinalizedFeature,
    MetadataRequestTopic<'_>,
    MetadataBroker,
    MetadataTopic,
    MetadataPartition,
    ProduceTopicResponse,
    ProducePartitionResponse,
    RecordError,
    NodeEndpoint,
);

impl<B: AsRef<[u8]>> From<&[ProduceTopic<'_, B>]> for Value {
    fn from(topics: &[ProduceTopic<'_, B>]) -> Self {
        Value::Array(topics.iter().map(Value::from).collect())
    }
}

impl<B: AsRef<[u8]>> From<&[ProducePartition<B>]> for Value {
    fn from(partitions: &[ProducePartition<B>]) -> Self {
        Value::Array(partitions.iter().map(Value::from).collect())
    }
}

impl<T> From<Option<T>> for Value
where
    Value: From<T>,
{
    fn from(value: Option<T>) -> Self {
        value.map_or(Value::Null, Value::from)
    }
}
