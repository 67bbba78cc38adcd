//! The headers of requests and responses.

use super::{ApiKey, Form, ProtocolError, Reader, Writer};

/// The header of a request: version 1 for classic requests, version 2 for flexible ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RequestHeader<'a> {
    pub(crate) api: ApiKey,
    pub(crate) version: i16,
    pub(crate) correlation_id: i32,
    pub(crate) client_id: Option<&'a str>,
}

impl RequestHeader<'_> {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) -> Result<(), ProtocolError> {
        out.put_i16(self.api.code());
        out.put_i16(self.version);
        out.put_i32(self.correlation_id);
        // Classic in the flexible header, too, so that a broker can read it in every version.
        out.put_nullable_string(Form::Classic, self.client_id)?;
        out.put_no_tagged_fields(self.api.form(self.version));
        Ok(())
    }
}

/// Reads the header of a response and returns its correlation id.
pub(crate) fn decode_response_header(
    api: ApiKey,
    version: i16,
    reader: &mut Reader<'_>,
) -> Result<i32, ProtocolError> {
    let correlation_id = reader.i32()?;
    reader.skip_tagged_fields(response_header_form(api, version))?;
    Ok(correlation_id)
}

/// Returns the form of a response's header: that of its body, except for ApiVersions. A client sends that request before
/// it knows the broker's versions, so it has to be able to read the refusal of any version (KIP-511).
fn response_header_form(api: ApiKey, version: i16) -> Form {
    match api {
        ApiKey::ApiVersions => Form::Classic,
        _ => api.form(version),
    }
}

#[cfg(any(test, feature = "mock"))]
pub(crate) use broker_side::*;

/// Reading requests and writing responses, which only brokers do.
#[cfg(any(test, feature = "mock"))]
mod broker_side {
    use super::*;

    /// The header of any request, also of an API that the broker does not have.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub(crate) struct ReceivedHeader<'a> {
        pub(crate) api_code: i16,
        pub(crate) version: i16,
        pub(crate) correlation_id: i32,
        pub(crate) client_id: Option<&'a str>,
    }

    impl<'a> ReceivedHeader<'a> {
        pub(crate) fn decode(reader: &mut Reader<'a>) -> Result<Self, ProtocolError> {
            let api_code = reader.i16()?;
            let version = reader.i16()?;
            let correlation_id = reader.i32()?;
            let client_id = reader.nullable_string(Form::Classic)?;
            if let Some(api) = ApiKey::from_code(api_code) {
                reader.skip_tagged_fields(api.form(version))?;
            }
            Ok(Self {
                api_code,
                version,
                correlation_id,
                client_id,
            })
        }
    }

    pub(crate) fn encode_response_header(
        api: ApiKey,
        version: i16,
        correlation_id: i32,
        out: &mut Vec<u8>,
    ) {
        out.put_i32(correlation_id);
        out.put_no_tagged_fields(response_header_form(api, version));
    }
}
