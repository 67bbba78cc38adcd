//! SaslHandshake (17): names the mechanism of the authentication that follows. Version 0 lacks SaslAuthenticate: its tokens
//! travel without a frame of Kafka's protocol. Every broker since 1.0 has version 1, so this client speaks no other.

use std::ops::RangeInclusive;

use crate::protocol::{ApiKey, ErrorCode, Form, ProtocolError, Reader, Request, Response, Writer};
#[cfg(any(test, feature = "mock"))]
use crate::protocol::{DecodeRequest, EncodeResponse};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SaslHandshakeRequest<'a> {
    pub(crate) mechanism: &'a str,
}

impl Request for SaslHandshakeRequest<'_> {
    const API_KEY: ApiKey = ApiKey::SaslHandshake;
    const VERSIONS: RangeInclusive<i16> = 1..=1;
    type Response = SaslHandshakeResponse;

    fn encode(&self, _: i16, out: &mut Vec<u8>) -> Result<(), ProtocolError> {
        out.put_string(Form::Classic, self.mechanism)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SaslHandshakeResponse {
    pub(crate) error: ErrorCode,
    /// The mechanisms that the listener has, also if it does not have the one of the request.
    pub(crate) mechanisms: Vec<String>,
}

impl Response for SaslHandshakeResponse {
    fn decode(_: i16, reader: &mut Reader<'_>) -> Result<Self, ProtocolError> {
        Ok(Self {
            error: reader.i16()?.into(),
            mechanisms: reader.array(Form::Classic, |reader| {
                reader.string(Form::Classic).map(str::to_owned)
            })?,
        })
    }
}

#[cfg(any(test, feature = "mock"))]
impl<'a> DecodeRequest<'a> for SaslHandshakeRequest<'a> {
    fn decode(_: i16, reader: &mut Reader<'a>) -> Result<Self, ProtocolError> {
        Ok(Self {
            mechanism: reader.string(Form::Classic)?,
        })
    }
}

#[cfg(any(test, feature = "mock"))]
impl EncodeResponse for SaslHandshakeResponse {
    fn encode(&self, _: i16, out: &mut Vec<u8>) -> Result<(), ProtocolError> {
        out.put_i16(self.error.code());
        out.put_array(Form::Classic, &self.mechanisms, |out, mechanism| {
            out.put_string(Form::Classic, mechanism)
        })
    }
}
