//! Metadata (3): the cluster's brokers, topics, partitions and leaders.

use std::ops::RangeInclusive;

use crate::protocol::{ApiKey, ErrorCode, Form, ProtocolError, Reader, Request, Response, Writer};
#[cfg(any(test, feature = "mock"))]
use crate::protocol::{DecodeRequest, EncodeResponse};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MetadataRequest<'a> {
    /// `None` requests all topics. Before v1 a request without topics is not possible.
    pub(crate) topics: Option<Vec<MetadataRequestTopic<'a>>>,
    /// Since v4. Before, a broker creates topics if its own settings allow it.
    pub(crate) allow_auto_topic_creation: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MetadataRequestTopic<'a> {
    /// Since v10, but brokers read it only since v12. Zero requests the topic by name.
    pub(crate) id: [u8; 16],
    /// May be null since v10, but brokers accept that only since v12.
    pub(crate) name: Option<&'a str>,
}

impl<'a> MetadataRequestTopic<'a> {
    pub(crate) fn by_name(name: &'a str) -> Self {
        Self {
            id: [0; 16],
            name: Some(name),
        }
    }
}

impl Request for MetadataRequest<'_> {
    const API_KEY: ApiKey = ApiKey::Metadata;
    const VERSIONS: RangeInclusive<i16> = 0..=13;
    type Response = MetadataResponse;

    fn encode(&self, version: i16, out: &mut Vec<u8>) -> Result<(), ProtocolError> {
        let form = Self::API_KEY.form(version);
        match &self.topics {
            None if version == 0 => out.put_length(form, Some(0))?,
            None => out.put_length(form, None)?,
            Some(topics) if version == 0 && topics.is_empty() => {
                return Err(ProtocolError::Unrepresentable {
                    field: "empty list of topics",
                    version,
                });
            }
            Some(topics) => {
                out.put_array(form, topics, |out, topic| topic.encode(version, form, out))?
            }
        }
        if version >= 4 {
            out.put_boolean(self.allow_auto_topic_creation);
        } else if !self.allow_auto_topic_creation {
            return Err(ProtocolError::Unrepresentable {
                field: "ban on topic creation",
                version,
            });
        }
        if (8..=10).contains(&version) {
            out.put_boolean(false); // include_cluster_authorized_operations
        }
        if version >= 8 {
            out.put_boolean(false); // include_topic_authorized_operations
        }
        out.put_no_tagged_fields(form);
        Ok(())
    }
}

impl MetadataRequestTopic<'_> {
    fn encode(&self, version: i16, form: Form, out: &mut Vec<u8>) -> Result<(), ProtocolError> {
        if version >= 10 {
            out.put_uuid(&self.id);
            out.put_nullable_string(form, self.name)?;
        } else {
            let name = self.name.ok_or(ProtocolError::Unrepresentable {
                field: "topic without a name",
                version,
            })?;
            out.put_string(form, name)?;
        }
        out.put_no_tagged_fields(form);
        Ok(())
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MetadataResponse {
    /// Since v3.
    pub(crate) throttle_time_ms: i32,
    pub(crate) brokers: Vec<MetadataBroker>,
    /// Since v2.
    pub(crate) cluster_id: Option<String>,
    /// Since v1; -1 if not known.
    pub(crate) controller_id: i32,
    pub(crate) topics: Vec<MetadataTopic>,
    /// Since v13: the error of the whole request.
    pub(crate) error: ErrorCode,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MetadataBroker {
    pub(crate) node_id: i32,
    pub(crate) host: String,
    pub(crate) port: i32,
    /// Since v1.
    pub(crate) rack: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MetadataTopic {
    pub(crate) error: ErrorCode,
    /// Since v12, null if the request named the topic by an id that does not exist.
    pub(crate) name: Option<String>,
    /// Since v10; zero if not known.
    pub(crate) id: [u8; 16],
    /// Since v1.
    pub(crate) is_internal: bool,
    pub(crate) partitions: Vec<MetadataPartition>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MetadataPartition {
    pub(crate) error: ErrorCode,
    pub(crate) index: i32,
    /// -1 if the partition has no leader.
    pub(crate) leader_id: i32,
    /// Since v7, reliable since v9; -1 if not known.
    pub(crate) leader_epoch: i32,
    pub(crate) replica_nodes: Vec<i32>,
    pub(crate) isr_nodes: Vec<i32>,
    /// Since v5.
    pub(crate) offline_replicas: Vec<i32>,
}

impl Response for MetadataResponse {
    fn decode(version: i16, reader: &mut Reader<'_>) -> Result<Self, ProtocolError> {
        let form = ApiKey::Metadata.form(version);
        let response = Self {
            throttle_time_ms: if version >= 3 { reader.i32()? } else { 0 },
            brokers: reader.array(form, |reader| MetadataBroker::decode(version, form, reader))?,
            cluster_id: if version >= 2 {
                reader.nullable_string(form)?.map(str::to_owned)
            } else {
                None
            },
            controller_id: if version >= 1 { reader.i32()? } else { -1 },
            topics: reader.array(form, |reader| MetadataTopic::decode(version, form, reader))?,
            error: {
                if (8..=10).contains(&version) {
                    reader.i32()?; // cluster_authorized_operations, never requested
                }
                if version >= 13 {
                    reader.i16()?.into()
                } else {
                    ErrorCode::NONE
                }
            },
        };
        reader.skip_tagged_fields(form)?;
        Ok(response)
    }
}

impl MetadataBroker {
    fn decode(version: i16, form: Form, reader: &mut Reader<'_>) -> Result<Self, ProtocolError> {
        let broker = Self {
            node_id: reader.i32()?,
            host: reader.string(form)?.to_owned(),
            port: reader.i32()?,
            rack: if version >= 1 {
                reader.nullable_string(form)?.map(str::to_owned)
            } else {
                None
            },
        };
        reader.skip_tagged_fields(form)?;
        Ok(broker)
    }
}

impl MetadataTopic {
    fn decode(version: i16, form: Form, reader: &mut Reader<'_>) -> Result<Self, ProtocolError> {
        let error = reader.i16()?.into();
        let name = if version >= 12 {
            reader.nullable_string(form)?
        } else {
            Some(reader.string(form)?)
        };
        let topic = Self {
            error,
            name: name.map(str::to_owned),
            id: if version >= 10 {
                reader.uuid()?
            } else {
                [0; 16]
            },
            is_internal: if version >= 1 {
                reader.boolean()?
            } else {
                false
            },
            partitions: reader.array(form, |reader| {
                MetadataPartition::decode(version, form, reader)
            })?,
        };
        if version >= 8 {
            reader.i32()?; // topic_authorized_operations, never requested
        }
        reader.skip_tagged_fields(form)?;
        Ok(topic)
    }
}

impl MetadataPartition {
    fn decode(version: i16, form: Form, reader: &mut Reader<'_>) -> Result<Self, ProtocolError> {
        let partition = Self {
            error: reader.i16()?.into(),
            index: reader.i32()?,
            leader_id: reader.i32()?,
            leader_epoch: if version >= 7 { reader.i32()? } else { -1 },
            replica_nodes: reader.array(form, Reader::i32)?,
            isr_nodes: reader.array(form, Reader::i32)?,
            offline_replicas: if version >= 5 {
                reader.array(form, Reader::i32)?
            } else {
                Vec::new()
            },
        };
        reader.skip_tagged_fields(form)?;
        Ok(partition)
    }
}

#[cfg(any(test, feature = "mock"))]
mod broker_side {
    use super::*;

    /// What brokers write if the authorized operations were not requested.
    const OPERATIONS_NOT_REQUESTED: i32 = i32::MIN;

    impl<'a> DecodeRequest<'a> for MetadataRequest<'a> {
        fn decode(version: i16, reader: &mut Reader<'a>) -> Result<Self, ProtocolError> {
            let form = ApiKey::Metadata.form(version);
            let topics = reader.nullable_array(form, |reader| {
                let id = if version >= 10 {
                    reader.uuid()?
                } else {
                    [0; 16]
                };
                let name = if version >= 10 {
                    reader.nullable_string(form)?
                } else {
                    Some(reader.string(form)?)
                };
                reader.skip_tagged_fields(form)?;
                Ok(MetadataRequestTopic { id, name })
            })?;
            let topics = match topics {
                Some(topics) if version == 0 && topics.is_empty() => None,
                None if version == 0 => return Err(ProtocolError::UnexpectedNull),
                topics => topics,
            };
            let allow_auto_topic_creation = if version >= 4 {
                reader.boolean()?
            } else {
                true
            };
            if (8..=10).contains(&version) {
                reader.boolean()?;
            }
            if version >= 8 {
                reader.boolean()?;
            }
            reader.skip_tagged_fields(form)?;
            Ok(Self {
                topics,
                allow_auto_topic_creation,
            })
        }
    }

    impl EncodeResponse for MetadataResponse {
        fn encode(&self, version: i16, out: &mut Vec<u8>) -> Result<(), ProtocolError> {
            let form = ApiKey::Metadata.form(version);
            if version >= 3 {
                out.put_i32(self.throttle_time_ms);
            }
            out.put_array(form, &self.brokers, |out, broker| {
                broker.encode(version, form, out)
            })?;
            if version >= 2 {
                out.put_nullable_string(form, self.cluster_id.as_deref())?;
            }
            if version >= 1 {
                out.put_i32(self.controller_id);
            }
            out.put_array(form, &self.topics, |out, topic| {
                topic.encode(version, form, out)
            })?;
            if (8..=10).contains(&version) {
                out.put_i32(OPERATIONS_NOT_REQUESTED);
            }
            if version >= 13 {
                out.put_i16(self.error.code());
            }
            out.put_no_tagged_fields(form);
            Ok(())
        }
    }

    impl MetadataBroker {
        fn encode(&self, version: i16, form: Form, out: &mut Vec<u8>) -> Result<(), ProtocolError> {
            out.put_i32(self.node_id);
            out.put_string(form, &self.host)?;
            out.put_i32(self.port);
            if version >= 1 {
                out.put_nullable_string(form, self.rack.as_deref())?;
            }
            out.put_no_tagged_fields(form);
            Ok(())
        }
    }

    impl MetadataTopic {
        fn encode(&self, version: i16, form: Form, out: &mut Vec<u8>) -> Result<(), ProtocolError> {
            out.put_i16(self.error.code());
            if self.name.is_none() && version < 12 {
                return Err(ProtocolError::Unrepresentable {
                    field: "topic without a name",
                    version,
                });
            }
            out.put_nullable_string(form, self.name.as_deref())?;
            if version >= 10 {
                out.put_uuid(&self.id);
            }
            if version >= 1 {
                out.put_boolean(self.is_internal);
            }
            out.put_array(form, &self.partitions, |out, partition| {
                partition.encode(version, form, out)
            })?;
            if version >= 8 {
                out.put_i32(OPERATIONS_NOT_REQUESTED);
            }
            out.put_no_tagged_fields(form);
            Ok(())
        }
    }

    impl MetadataPartition {
        fn encode(&self, version: i16, form: Form, out: &mut Vec<u8>) -> Result<(), ProtocolError> {
            out.put_i16(self.error.code());
            out.put_i32(self.index);
            out.put_i32(self.leader_id);
            if version >= 7 {
                out.put_i32(self.leader_epoch);
            }
            put_nodes(&self.replica_nodes, form, out)?;
            put_nodes(&self.isr_nodes, form, out)?;
            if version >= 5 {
                put_nodes(&self.offline_replicas, form, out)?;
            }
            out.put_no_tagged_fields(form);
            Ok(())
        }
    }

    fn put_nodes(nodes: &[i32], form: Form, out: &mut Vec<u8>) -> Result<(), ProtocolError> {
        out.put_array(form, nodes, |out, node| {
            out.put_i32(*node);
            Ok(())
        })
    }
}
