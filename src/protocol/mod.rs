//! The wire protocol: converts bytes to typed messages and back. Uses no I/O, clock, thread or log.
//!
//! Each API has one file in `messages` with its request and its response. `VERSIONS` names the versions that this client
//! speaks, enough for brokers from 2.1 to 4.x; the version of a request is chosen only among them. A client does not read
//! requests or write responses: that code exists for the mock cluster and the tests.

mod api_key;
mod error;
mod error_code;
mod frame;
mod header;
pub(crate) mod messages;
mod reader;
mod writer;

#[cfg(test)]
mod tests;

pub(crate) use api_key::{ApiKey, Form};
pub(crate) use error::ProtocolError;
pub use error_code::ErrorCode;
pub(crate) use frame::frame_length;
#[cfg(any(test, feature = "mock"))]
pub(crate) use header::{ReceivedHeader, encode_response_header};
pub(crate) use header::{RequestHeader, decode_response_header};
pub(crate) use reader::Reader;
#[cfg(any(test, feature = "mock"))]
pub(crate) use writer::TaggedFields;
pub(crate) use writer::Writer;

use std::ops::RangeInclusive;

use frame::put_frame;

/// A message that a client sends.
pub(crate) trait Request {
    const API_KEY: ApiKey;
    /// The versions that `encode` and the response's `decode` support.
    const VERSIONS: RangeInclusive<i16>;
    type Response: Response;

    /// Appends the body, without header and frame. `version` is within `VERSIONS`.
    fn encode(&self, version: i16, out: &mut Vec<u8>) -> Result<(), ProtocolError>;

    /// Returns how many bytes to reserve for the body. A buffer that grows leaves copies behind, which matters for secrets.
    fn size_hint(&self) -> usize {
        0
    }
}

/// A message that a client receives.
pub(crate) trait Response: Sized {
    /// Reads the body. `version` is that of the request.
    fn decode(version: i16, reader: &mut Reader<'_>) -> Result<Self, ProtocolError>;
}

/// Appends the whole frame of a request: length, header, body. Leaves `out` unchanged after an error.
pub(crate) fn encode_request<R: Request>(
    request: &R,
    version: i16,
    correlation_id: i32,
    client_id: Option<&str>,
    out: &mut Vec<u8>,
) -> Result<(), ProtocolError> {
    let header = request_header::<R>(version, correlation_id, client_id)?;
    put_frame(out, |out| {
        header.encode(out)?;
        request.encode(version, out)?;
        Ok(0)
    })
}

/// Reads the frame of a response to a request of `version`, and returns its correlation id and the message. Ignores bytes
/// after the message, as Java does.
pub(crate) fn decode_response<R: Request>(
    version: i16,
    frame: &[u8],
) -> Result<(i32, R::Response), ProtocolError> {
    let mut reader = Reader::new(frame);
    let correlation_id = decode_response_header(R::API_KEY, version, &mut reader)?;
    let response = R::Response::decode(version, &mut reader)?;
    Ok((correlation_id, response))
}

fn request_header<R: Request>(
    version: i16,
    correlation_id: i32,
    client_id: Option<&str>,
) -> Result<RequestHeader<'_>, ProtocolError> {
    if !R::VERSIONS.contains(&version) {
        return Err(ProtocolError::UnsupportedVersion {
            api: R::API_KEY,
            version,
        });
    }
    Ok(RequestHeader {
        api: R::API_KEY,
        version,
        correlation_id,
        client_id,
    })
}

/// A request that a broker reads. It borrows from the frame.
#[cfg(any(test, feature = "mock"))]
pub(crate) trait DecodeRequest<'a>: Sized {
    /// Reads the body.
    fn decode(version: i16, reader: &mut Reader<'a>) -> Result<Self, ProtocolError>;
}

/// A response that a broker writes.
#[cfg(any(test, feature = "mock"))]
pub(crate) trait EncodeResponse {
    /// Appends the body, without header and frame.
    fn encode(&self, version: i16, out: &mut Vec<u8>) -> Result<(), ProtocolError>;
}

/// Appends the whole frame of a response: length, header, body. Leaves `out` unchanged after an error.
#[cfg(any(test, feature = "mock"))]
pub(crate) fn encode_response(
    response: &impl EncodeResponse,
    api: ApiKey,
    version: i16,
    correlation_id: i32,
    out: &mut Vec<u8>,
) -> Result<(), ProtocolError> {
    put_frame(out, |out| {
        encode_response_header(api, version, correlation_id, out);
        response.encode(version, out)?;
        Ok(0)
    })
}
