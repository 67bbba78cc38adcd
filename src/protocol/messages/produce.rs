//! Produce (0): writes record batches to the leaders of their partitions.

use std::ops::RangeInclusive;

use crate::protocol::frame::put_frame;
use crate::protocol::{
    ApiKey, ErrorCode, Form, ProtocolError, Reader, Request, Response, Writer, request_header,
};
#[cfg(any(test, feature = "mock"))]
use crate::protocol::{DecodeRequest, EncodeResponse, TaggedFields};

/// `B` holds the bytes of one record batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProduceRequest<'a, B> {
    pub(crate) transactional_id: Option<&'a str>,
    /// 0, 1 or -1 (all). A broker sends no response if it is 0.
    pub(crate) acks: i16,
    /// The longest time that the broker waits for replicas.
    pub(crate) timeout_ms: i32,
    pub(crate) topics: Vec<ProduceTopic<'a, B>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProduceTopic<'a, B> {
    /// Up to v12.
    pub(crate) name: &'a str,
    /// Since v13, instead of the name (KIP-516).
    pub(crate) id: [u8; 16],
    pub(crate) partitions: Vec<ProducePartition<B>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProducePartition<B> {
    pub(crate) index: i32,
    /// Exactly one record batch, magic 2.
    pub(crate) records: B,
}

impl<B: AsRef<[u8]>> Request for ProduceRequest<'_, B> {
    const API_KEY: ApiKey = ApiKey::Produce;
    const VERSIONS: RangeInclusive<i16> = 3..=13;
    type Response = ProduceResponse;

    /// Copies the batches. [`encode_scattered`](Self::encode_scattered) does not.
    fn encode(&self, version: i16, out: &mut Vec<u8>) -> Result<(), ProtocolError> {
        self.encode_body(version, out, |out, batch| out.extend_from_slice(batch))
    }
}

impl<B: AsRef<[u8]>> ProduceRequest<'_, B> {
    /// Appends the frame to `out` without the bytes of the batches, which the frame's length counts. Appends to `cuts` the
    /// positions in `out` where the batches belong, in the order of the partitions. The request is then
    /// `out[..cuts[0]]`, the first batch, `out[cuts[0]..cuts[1]]`, the second batch and so on to the end of `out`. After
    /// an error both are unchanged.
    pub(crate) fn encode_scattered(
        &self,
        version: i16,
        correlation_id: i32,
        client_id: Option<&str>,
        out: &mut Vec<u8>,
        cuts: &mut Vec<usize>,
    ) -> Result<(), ProtocolError> {
        let header = request_header::<Self>(version, correlation_id, client_id)?;
        let cuts_before = cuts.len();
        let encoded = put_frame(out, |out| {
            header.encode(out)?;
            let mut batch_bytes = 0usize;
            self.encode_body(version, out, |out, batch| {
                cuts.push(out.len());
                batch_bytes = batch_bytes.saturating_add(batch.len());
            })?;
            Ok(batch_bytes)
        });
        if encoded.is_err() {
            cuts.truncate(cuts_before);
        }
        encoded
    }

    fn encode_body(
        &self,
        version: i16,
        out: &mut Vec<u8>,
        mut put_batch: impl FnMut(&mut Vec<u8>, &[u8]),
    ) -> Result<(), ProtocolError> {
        let form = Self::API_KEY.form(version);
        out.put_nullable_string(form, self.transactional_id)?;
        out.put_i16(self.acks);
        out.put_i32(self.timeout_ms);
        out.put_array(form, &self.topics, |out, topic| {
            put_topic(version, form, topic.name, &topic.id, out)?;
            out.put_array(form, &topic.partitions, |out, partition| {
                let batch = partition.records.as_ref();
                out.put_i32(partition.index);
                out.put_length(form, Some(batch.len()))?;
                put_batch(out, batch);
                out.put_no_tagged_fields(form);
                Ok(())
            })?;
            out.put_no_tagged_fields(form);
            Ok(())
        })?;
        out.put_no_tagged_fields(form);
        Ok(())
    }
}

fn put_topic(
    version: i16,
    form: Form,
    name: &str,
    id: &[u8; 16],
    out: &mut Vec<u8>,
) -> Result<(), ProtocolError> {
    if version >= FIRST_VERSION_BY_TOPIC_ID {
        out.put_uuid(id);
        Ok(())
    } else {
        out.put_string(form, name)
    }
}

/// Since this version, topics are named only by their ids.
pub(crate) const FIRST_VERSION_BY_TOPIC_ID: i16 = 13;

/// Since this version, a response may name the current leaders (KIP-951).
const FIRST_VERSION_WITH_LEADERS: i16 = 10;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ProduceResponse {
    pub(crate) topics: Vec<ProduceTopicResponse>,
    pub(crate) throttle_time_ms: i32,
    /// Since v10: the addresses of the leaders named in `current_leader`.
    pub(crate) node_endpoints: Vec<NodeEndpoint>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ProduceTopicResponse {
    /// Up to v12; empty since v13.
    pub(crate) name: String,
    /// Since v13.
    pub(crate) id: [u8; 16],
    pub(crate) partitions: Vec<ProducePartitionResponse>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProducePartitionResponse {
    pub(crate) index: i32,
    pub(crate) error: ErrorCode,
    pub(crate) base_offset: i64,
    /// -1 if the topic keeps the timestamps of the records.
    pub(crate) log_append_time_ms: i64,
    /// Since v5; -1 if not known.
    pub(crate) log_start_offset: i64,
    /// Since v8 (KIP-467): the records for which the batch was refused.
    pub(crate) record_errors: Vec<RecordError>,
    /// Since v8.
    pub(crate) error_message: Option<String>,
    /// Since v10, with NOT_LEADER_OR_FOLLOWER or FENCED_LEADER_EPOCH.
    pub(crate) current_leader: LeaderIdAndEpoch,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RecordError {
    /// The index of the record in its batch, from 0.
    pub(crate) batch_index: i32,
    pub(crate) message: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LeaderIdAndEpoch {
    /// -1 if the broker does not name it.
    pub(crate) leader_id: i32,
    /// -1 if the broker does not name it.
    pub(crate) leader_epoch: i32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NodeEndpoint {
    pub(crate) node_id: i32,
    pub(crate) host: String,
    pub(crate) port: i32,
    pub(crate) rack: Option<String>,
}

impl Default for ProducePartitionResponse {
    fn default() -> Self {
        Self {
            index: 0,
            error: ErrorCode::NONE,
            base_offset: -1,
            log_append_time_ms: -1,
            log_start_offset: -1,
            record_errors: Vec::new(),
            error_message: None,
            current_leader: LeaderIdAndEpoch::default(),
        }
    }
}

impl Default for LeaderIdAndEpoch {
    fn default() -> Self {
        Self {
            leader_id: -1,
            leader_epoch: -1,
        }
    }
}

impl Response for ProduceResponse {
    fn decode(version: i16, reader: &mut Reader<'_>) -> Result<Self, ProtocolError> {
        let form = ApiKey::Produce.form(version);
        let mut response = Self {
            topics: reader.array(form, |reader| {
                ProduceTopicResponse::decode(version, form, reader)
            })?,
            throttle_time_ms: reader.i32()?,
            node_endpoints: Vec::new(),
        };
        reader.tagged_fields(form, |tag, reader| {
            if tag == 0 && version >= FIRST_VERSION_WITH_LEADERS {
                response.node_endpoints =
                    reader.array(form, |reader| NodeEndpoint::decode(form, reader))?;
            }
            Ok(())
        })?;
        Ok(response)
    }
}

impl ProduceTopicResponse {
    fn decode(version: i16, form: Form, reader: &mut Reader<'_>) -> Result<Self, ProtocolError> {
        let (name, id) = if version >= FIRST_VERSION_BY_TOPIC_ID {
            (String::new(), reader.uuid()?)
        } else {
            (reader.string(form)?.to_owned(), [0; 16])
        };
        let partitions = reader.array(form, |reader| {
            ProducePartitionResponse::decode(version, form, reader)
        })?;
        reader.skip_tagged_fields(form)?;
        Ok(Self {
            name,
            id,
            partitions,
        })
    }
}

impl ProducePartitionResponse {
    fn decode(version: i16, form: Form, reader: &mut Reader<'_>) -> Result<Self, ProtocolError> {
        let mut partition = Self {
            index: reader.i32()?,
            error: reader.i16()?.into(),
            base_offset: reader.i64()?,
            log_append_time_ms: reader.i64()?,
            log_start_offset: if version >= 5 { reader.i64()? } else { -1 },
            ..Self::default()
        };
        if version >= 8 {
            partition.record_errors =
                reader.array(form, |reader| RecordError::decode(form, reader))?;
            partition.error_message = reader.nullable_string(form)?.map(str::to_owned);
        }
        reader.tagged_fields(form, |tag, reader| {
            if tag == 0 && version >= FIRST_VERSION_WITH_LEADERS {
                partition.current_leader = LeaderIdAndEpoch {
                    leader_id: reader.i32()?,
                    leader_epoch: reader.i32()?,
                };
                reader.skip_tagged_fields(form)?;
            }
            Ok(())
        })?;
        Ok(partition)
    }
}

impl RecordError {
    fn decode(form: Form, reader: &mut Reader<'_>) -> Result<Self, ProtocolError> {
        let error = Self {
            batch_index: reader.i32()?,
            message: reader.nullable_string(form)?.map(str::to_owned),
        };
        reader.skip_tagged_fields(form)?;
        Ok(error)
    }
}

impl NodeEndpoint {
    fn decode(form: Form, reader: &mut Reader<'_>) -> Result<Self, ProtocolError> {
        let endpoint = Self {
            node_id: reader.i32()?,
            host: reader.string(form)?.to_owned(),
            port: reader.i32()?,
            rack: reader.nullable_string(form)?.map(str::to_owned),
        };
        reader.skip_tagged_fields(form)?;
        Ok(endpoint)
    }
}

#[cfg(any(test, feature = "mock"))]
mod broker_side {
    use super::*;

    /// Null records are read as an empty slice: neither is a batch, and a broker refuses both.
    impl<'a> DecodeRequest<'a> for ProduceRequest<'a, &'a [u8]> {
        fn decode(version: i16, reader: &mut Reader<'a>) -> Result<Self, ProtocolError> {
            let form = ApiKey::Produce.form(version);
            let request = Self {
                transactional_id: reader.nullable_string(form)?,
                acks: reader.i16()?,
                timeout_ms: reader.i32()?,
                topics: reader.array(form, |reader| ProduceTopic::decode(version, form, reader))?,
            };
            reader.skip_tagged_fields(form)?;
            Ok(request)
        }
    }

    impl<'a> ProduceTopic<'a, &'a [u8]> {
        fn decode(
            version: i16,
            form: Form,
            reader: &mut Reader<'a>,
        ) -> Result<Self, ProtocolError> {
            let by_id = version >= FIRST_VERSION_BY_TOPIC_ID;
            let (name, id) = if by_id {
                ("", reader.uuid()?)
            } else {
                (reader.string(form)?, [0; 16])
            };
            let partitions = reader.array(form, |reader| {
                let index = reader.i32()?;
                let records = reader.nullable_bytes(form)?.unwrap_or_default();
                reader.skip_tagged_fields(form)?;
                Ok(ProducePartition { index, records })
            })?;
            reader.skip_tagged_fields(form)?;
            Ok(Self {
                name,
                id,
                partitions,
            })
        }
    }

    impl EncodeResponse for ProduceResponse {
        fn encode(&self, version: i16, out: &mut Vec<u8>) -> Result<(), ProtocolError> {
            let form = ApiKey::Produce.form(version);
            out.put_array(form, &self.topics, |out, topic| {
                put_topic(version, form, &topic.name, &topic.id, out)?;
                out.put_array(form, &topic.partitions, |out, partition| {
                    partition.encode(version, form, out)
                })?;
                out.put_no_tagged_fields(form);
                Ok(())
            })?;
            out.put_i32(self.throttle_time_ms);
            if form == Form::Flexible {
                let mut fields = TaggedFields::default();
                if version >= FIRST_VERSION_WITH_LEADERS && !self.node_endpoints.is_empty() {
                    fields.add(0, |out| {
                        out.put_array(form, &self.node_endpoints, |out, endpoint| {
                            endpoint.encode(form, out)
                        })
                    })?;
                }
                fields.write(out);
            }
            Ok(())
        }
    }

    impl ProducePartitionResponse {
        fn encode(&self, version: i16, form: Form, out: &mut Vec<u8>) -> Result<(), ProtocolError> {
            out.put_i32(self.index);
            out.put_i16(self.error.code());
            out.put_i64(self.base_offset);
            out.put_i64(self.log_append_time_ms);
            if version >= 5 {
                out.put_i64(self.log_start_offset);
            }
            if version >= 8 {
                out.put_array(form, &self.record_errors, |out, error| {
                    out.put_i32(error.batch_index);
                    out.put_nullable_string(form, error.message.as_deref())?;
                    out.put_no_tagged_fields(form);
                    Ok(())
                })?;
                out.put_nullable_string(form, self.error_message.as_deref())?;
            }
            if form == Form::Flexible {
                self.tagged_fields(version)?.write(out);
            }
            Ok(())
        }

        fn tagged_fields(&self, version: i16) -> Result<TaggedFields, ProtocolError> {
            let mut fields = TaggedFields::default();
            if version >= FIRST_VERSION_WITH_LEADERS
                && self.current_leader != LeaderIdAndEpoch::default()
            {
                fields.add(0, |out| {
                    out.put_i32(self.current_leader.leader_id);
                    out.put_i32(self.current_leader.leader_epoch);
                    out.put_no_tagged_fields(Form::Flexible);
                    Ok(())
                })?;
            }
            Ok(fields)
        }
    }

    impl NodeEndpoint {
        fn encode(&self, form: Form, out: &mut Vec<u8>) -> Result<(), ProtocolError> {
            out.put_i32(self.node_id);
            out.put_string(form, &self.host)?;
            out.put_i32(self.port);
            out.put_nullable_string(form, self.rack.as_deref())?;
            out.put_no_tagged_fields(form);
            Ok(())
        }
    }
}
