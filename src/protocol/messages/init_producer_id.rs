//! InitProducerId (22): the id and epoch of a producer that numbers its batches.

use std::ops::RangeInclusive;

use crate::protocol::{ApiKey, ErrorCode, ProtocolError, Reader, Request, Response, Writer};
#[cfg(any(test, feature = "mock"))]
use crate::protocol::{DecodeRequest, EncodeResponse};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct InitProducerIdRequest<'a> {
    pub(crate) transactional_id: Option<&'a str>,
    /// Ignored without a transactional id.
    pub(crate) transaction_timeout_ms: i32,
    /// Since v3 (KIP-360): the id whose epoch the coordinator raises; -1 for a new id.
    pub(crate) producer_id: i64,
    /// Since v3: the current epoch of that id; -1 for a new id.
    pub(crate) producer_epoch: i16,
}

impl Request for InitProducerIdRequest<'_> {
    const API_KEY: ApiKey = ApiKey::InitProducerId;
    const VERSIONS: RangeInclusive<i16> = 0..=5;
    type Response = InitProducerIdResponse;

    fn encode(&self, version: i16, out: &mut Vec<u8>) -> Result<(), ProtocolError> {
        let form = Self::API_KEY.form(version);
        out.put_nullable_string(form, self.transactional_id)?;
        out.put_i32(self.transaction_timeout_ms);
        if version >= 3 {
            out.put_i64(self.producer_id);
            out.put_i16(self.producer_epoch);
        } else if (self.producer_id, self.producer_epoch) != (-1, -1) {
            return Err(ProtocolError::Unrepresentable {
                field: "producer id",
                version,
            });
        }
        out.put_no_tagged_fields(form);
        Ok(())
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct InitProducerIdResponse {
    pub(crate) throttle_time_ms: i32,
    pub(crate) error: ErrorCode,
    pub(crate) producer_id: i64,
    pub(crate) producer_epoch: i16,
}

impl Response for InitProducerIdResponse {
    fn decode(version: i16, reader: &mut Reader<'_>) -> Result<Self, ProtocolError> {
        let response = Self {
            throttle_time_ms: reader.i32()?,
            error: reader.i16()?.into(),
            producer_id: reader.i64()?,
            producer_epoch: reader.i16()?,
        };
        reader.skip_tagged_fields(ApiKey::InitProducerId.form(version))?;
        Ok(response)
    }
}

#[cfg(any(test, feature = "mock"))]
impl<'a> DecodeRequest<'a> for InitProducerIdRequest<'a> {
    fn decode(version: i16, reader: &mut Reader<'a>) -> Result<Self, ProtocolError> {
        let form = ApiKey::InitProducerId.form(version);
        let transactional_id = reader.nullable_string(form)?;
        let transaction_timeout_ms = reader.i32()?;
        let (producer_id, producer_epoch) = if version >= 3 {
            (reader.i64()?, reader.i16()?)
        } else {
            (-1, -1)
        };
        reader.skip_tagged_fields(form)?;
        Ok(Self {
            transactional_id,
            transaction_timeout_ms,
            producer_id,
            producer_epoch,
        })
    }
}

#[cfg(any(test, feature = "mock"))]
impl EncodeResponse for InitProducerIdResponse {
    fn encode(&self, version: i16, out: &mut Vec<u8>) -> Result<(), ProtocolError> {
        out.put_i32(self.throttle_time_ms);
        out.put_i16(self.error.code());
        out.put_i64(self.producer_id);
        out.put_i16(self.producer_epoch);
        out.put_no_tagged_fields(ApiKey::InitProducerId.form(version));
        Ok(())
    }
}
