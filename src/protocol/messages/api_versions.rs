//! ApiVersions (18): the APIs of a broker and their versions. The first request on every connection.

use std::ops::RangeInclusive;

use crate::protocol::{ApiKey, ErrorCode, ProtocolError, Reader, Request, Response, Writer};
#[cfg(any(test, feature = "mock"))]
use crate::protocol::{DecodeRequest, EncodeResponse, TaggedFields};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ApiVersionsRequest<'a> {
    /// Since v3 (KIP-511). Brokers refuse characters other than letters, digits, `-` and `.`.
    pub(crate) client_software_name: &'a str,
    /// Since v3.
    pub(crate) client_software_version: &'a str,
}

impl Request for ApiVersionsRequest<'_> {
    const API_KEY: ApiKey = ApiKey::ApiVersions;
    const VERSIONS: RangeInclusive<i16> = 0..=4;
    type Response = ApiVersionsResponse;

    fn encode(&self, version: i16, out: &mut Vec<u8>) -> Result<(), ProtocolError> {
        if version >= 3 {
            let form = Self::API_KEY.form(version);
            out.put_string(form, self.client_software_name)?;
            out.put_string(form, self.client_software_version)?;
            out.put_no_tagged_fields(form);
        }
        Ok(())
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ApiVersionsResponse {
    pub(crate) error: ErrorCode,
    pub(crate) api_keys: Vec<ApiVersionRange>,
    /// Since v1.
    pub(crate) throttle_time_ms: i32,
    /// Since v3. Before v4 brokers leave out the features whose minimum is 0 (KAFKA-17011).
    pub(crate) supported_features: Vec<SupportedFeature>,
    /// Since v3; -1 if not known.
    pub(crate) finalized_features_epoch: i64,
    /// Since v3.
    pub(crate) finalized_features: Vec<FinalizedFeature>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ApiVersionRange {
    /// The number of any API of Kafka, not only of those in [`ApiKey`].
    pub(crate) api_code: i16,
    pub(crate) min_version: i16,
    pub(crate) max_version: i16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SupportedFeature {
    pub(crate) name: String,
    pub(crate) min_version: i16,
    pub(crate) max_version: i16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FinalizedFeature {
    pub(crate) name: String,
    pub(crate) max_version_level: i16,
    pub(crate) min_version_level: i16,
}

impl Default for ApiVersionsResponse {
    fn default() -> Self {
        Self {
            error: ErrorCode::NONE,
            api_keys: Vec::new(),
            throttle_time_ms: 0,
            supported_features: Vec::new(),
            finalized_features_epoch: -1,
            finalized_features: Vec::new(),
        }
    }
}

impl Response for ApiVersionsResponse {
    fn decode(version: i16, reader: &mut Reader<'_>) -> Result<Self, ProtocolError> {
        let error = ErrorCode::from(reader.i16()?);
        if error == ErrorCode::UNSUPPORTED_VERSION {
            return Ok(refusal(reader));
        }
        let form = ApiKey::ApiVersions.form(version);
        let mut response = Self {
            error,
            ..Self::default()
        };
        response.api_keys = reader.array(form, |reader| {
            let range = decode_range(reader)?;
            reader.skip_tagged_fields(form)?;
            Ok(range)
        })?;
        if version >= 1 {
            response.throttle_time_ms = reader.i32()?;
        }
        reader.tagged_fields(form, |tag, reader| {
            match tag {
                0 => {
                    response.supported_features = reader.array(form, |reader| {
                        let (name, min_version, max_version) = (
                            reader.string(form)?.to_owned(),
                            reader.i16()?,
                            reader.i16()?,
                        );
                        reader.skip_tagged_fields(form)?;
                        Ok(SupportedFeature {
                            name,
                            min_version,
                            max_version,
                        })
                    })?
                }
                1 => response.finalized_features_epoch = reader.i64()?,
                2 => {
                    response.finalized_features = reader.array(form, |reader| {
                        let (name, max_version_level, min_version_level) = (
                            reader.string(form)?.to_owned(),
                            reader.i16()?,
                            reader.i16()?,
                        );
                        reader.skip_tagged_fields(form)?;
                        Ok(FinalizedFeature {
                            name,
                            max_version_level,
                            min_version_level,
                        })
                    })?
                }
                _ => {}
            }
            Ok(())
        })?;
        Ok(response)
    }
}

/// Reads the response of a broker that does not have the requested version. It has the layout of version 0 and, since
/// Kafka 2.4, names the versions that the broker has. Other implementations answer in other layouts, so the error counts
/// even if the rest cannot be read.
fn refusal(reader: &mut Reader<'_>) -> ApiVersionsResponse {
    let form = ApiKey::ApiVersions.form(0);
    let api_keys = reader.array(form, decode_range).unwrap_or_default();
    ApiVersionsResponse {
        error: ErrorCode::UNSUPPORTED_VERSION,
        api_keys,
        ..ApiVersionsResponse::default()
    }
}

fn decode_range(reader: &mut Reader<'_>) -> Result<ApiVersionRange, ProtocolError> {
    Ok(ApiVersionRange {
        api_code: reader.i16()?,
        min_version: reader.i16()?,
        max_version: reader.i16()?,
    })
}

#[cfg(any(test, feature = "mock"))]
impl<'a> DecodeRequest<'a> for ApiVersionsRequest<'a> {
    fn decode(version: i16, reader: &mut Reader<'a>) -> Result<Self, ProtocolError> {
        if version < 3 {
            return Ok(Self::default());
        }
        let form = ApiKey::ApiVersions.form(version);
        let request = Self {
            client_software_name: reader.string(form)?,
            client_software_version: reader.string(form)?,
        };
        reader.skip_tagged_fields(form)?;
        Ok(request)
    }
}

#[cfg(any(test, feature = "mock"))]
impl EncodeResponse for ApiVersionsResponse {
    /// The layout is that of `version`, for every error. A caller that refuses a version encodes version 0.
    fn encode(&self, version: i16, out: &mut Vec<u8>) -> Result<(), ProtocolError> {
        let form = ApiKey::ApiVersions.form(version);
        out.put_i16(self.error.code());
        out.put_array(form, &self.api_keys, |out, range| {
            out.put_i16(range.api_code);
            out.put_i16(range.min_version);
            out.put_i16(range.max_version);
            out.put_no_tagged_fields(form);
            Ok(())
        })?;
        if version >= 1 {
            out.put_i32(self.throttle_time_ms);
        }
        if version >= 3 {
            self.tagged_fields(version)?.write(out);
        }
        Ok(())
    }
}

#[cfg(any(test, feature = "mock"))]
impl ApiVersionsResponse {
    fn tagged_fields(&self, version: i16) -> Result<TaggedFields, ProtocolError> {
        let form = ApiKey::ApiVersions.form(version);
        let mut fields = TaggedFields::default();
        if !self.supported_features.is_empty() {
            fields.add(0, |out| {
                out.put_array(form, &self.supported_features, |out, feature| {
                    out.put_string(form, &feature.name)?;
                    out.put_i16(feature.min_version);
                    out.put_i16(feature.max_version);
                    out.put_no_tagged_fields(form);
                    Ok(())
                })
            })?;
        }
        if self.finalized_features_epoch != -1 {
            fields.add(1, |out| {
                out.put_i64(self.finalized_features_epoch);
                Ok(())
            })?;
        }
        if !self.finalized_features.is_empty() {
            fields.add(2, |out| {
                out.put_array(form, &self.finalized_features, |out, feature| {
                    out.put_string(form, &feature.name)?;
                    out.put_i16(feature.max_version_level);
                    out.put_i16(feature.min_version_level);
                    out.put_no_tagged_fields(form);
                    Ok(())
                })
            })?;
        }
        Ok(fields)
    }
}
