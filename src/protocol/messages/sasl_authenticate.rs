//! SaslAuthenticate (36): carries one message of a SASL mechanism to the broker, and one back.

use std::fmt;
use std::ops::RangeInclusive;

use crate::protocol::{ApiKey, ErrorCode, ProtocolError, Reader, Request, Response, Writer};
#[cfg(any(test, feature = "mock"))]
use crate::protocol::{DecodeRequest, EncodeResponse};

/// The message can hold a password, so `Debug` shows its length only.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct SaslAuthenticateRequest<'a> {
    pub(crate) message: &'a [u8],
}

impl fmt::Debug for SaslAuthenticateRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SaslAuthenticateRequest({} bytes)", self.message.len())
    }
}

impl Request for SaslAuthenticateRequest<'_> {
    const API_KEY: ApiKey = ApiKey::SaslAuthenticate;
    const VERSIONS: RangeInclusive<i16> = 0..=2;
    type Response = SaslAuthenticateResponse;

    fn encode(&self, version: i16, out: &mut Vec<u8>) -> Result<(), ProtocolError> {
        let form = Self::API_KEY.form(version);
        out.put_bytes(form, self.message)?;
        out.put_no_tagged_fields(form);
        Ok(())
    }

    fn size_hint(&self) -> usize {
        self.message.len() + 16
    }
}

/// The message can hold what a secret was made into, so `Debug` shows its length only.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct SaslAuthenticateResponse {
    pub(crate) error: ErrorCode,
    pub(crate) error_message: Option<String>,
    pub(crate) message: Vec<u8>,
    /// Since v1 (KIP-368): how long the session lasts; 0 if it has no end.
    pub(crate) session_lifetime_ms: i64,
}

impl fmt::Debug for SaslAuthenticateResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SaslAuthenticateResponse")
            .field("error", &self.error)
            .field("error_message", &self.error_message)
            .field("message_bytes", &self.message.len())
            .field("session_lifetime_ms", &self.session_lifetime_ms)
            .finish()
    }
}

impl Response for SaslAuthenticateResponse {
    fn decode(version: i16, reader: &mut Reader<'_>) -> Result<Self, ProtocolError> {
        let form = ApiKey::SaslAuthenticate.form(version);
        let response = Self {
            error: reader.i16()?.into(),
            error_message: reader.nullable_string(form)?.map(str::to_owned),
            message: reader.bytes(form)?.to_vec(),
            session_lifetime_ms: if version >= 1 { reader.i64()? } else { 0 },
        };
        reader.skip_tagged_fields(form)?;
        Ok(response)
    }
}

#[cfg(any(test, feature = "mock"))]
impl<'a> DecodeRequest<'a> for SaslAuthenticateRequest<'a> {
    fn decode(version: i16, reader: &mut Reader<'a>) -> Result<Self, ProtocolError> {
        let form = ApiKey::SaslAuthenticate.form(version);
        let message = reader.bytes(form)?;
        reader.skip_tagged_fields(form)?;
        Ok(Self { message })
    }
}

#[cfg(any(test, feature = "mock"))]
impl EncodeResponse for SaslAuthenticateResponse {
    fn encode(&self, version: i16, out: &mut Vec<u8>) -> Result<(), ProtocolError> {
        let form = ApiKey::SaslAuthenticate.form(version);
        out.put_i16(self.error.code());
        out.put_nullable_string(form, self.error_message.as_deref())?;
        out.put_bytes(form, &self.message)?;
        if version >= 1 {
            out.put_i64(self.session_lifetime_ms);
        }
        out.put_no_tagged_fields(form);
        Ok(())
    }
}
