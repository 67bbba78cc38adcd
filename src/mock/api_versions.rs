//! ApiVersions: the versions that the brokers speak.

use std::ops::RangeInclusive;

use super::dispatch::Context;
use super::request::MockApi;
use crate::ErrorCode;
use crate::protocol::messages::{ApiVersionRange, ApiVersionsResponse};

/// The versions of each API, by `MockApi as usize`.
#[derive(Clone)]
pub(super) struct Versions([RangeInclusive<i16>; MockApi::ALL.len()]);

impl Default for Versions {
    fn default() -> Self {
        Self(MockApi::ALL.map(MockApi::versions))
    }
}

impl Versions {
    pub(super) fn restrict(&mut self, api: MockApi, versions: RangeInclusive<i16>) {
        let possible = api.versions();
        let first = *possible.start().max(versions.start());
        let last = *possible.end().min(versions.end());
        self.0[api as usize] = first..=last;
    }

    pub(super) fn contain(&self, api: MockApi, version: i16) -> bool {
        self.0[api as usize].contains(&version)
    }

    /// Returns the response to a version of ApiVersions that the brokers do not speak. It names the versions of
    /// ApiVersions that they do speak, and nothing else (KIP-511).
    pub(super) fn unsupported(&self) -> ApiVersionsResponse {
        let own = self.range(MockApi::ApiVersions);
        ApiVersionsResponse {
            api_keys: own.into_iter().collect(),
            ..refuse(ErrorCode::UNSUPPORTED_VERSION)
        }
    }

    fn range(&self, api: MockApi) -> Option<ApiVersionRange> {
        let versions = &self.0[api as usize];
        let range = ApiVersionRange {
            api_code: api.key().code(),
            min_version: *versions.start(),
            max_version: *versions.end(),
        };
        (!versions.is_empty()).then_some(range)
    }
}

pub(super) fn handle(context: Context<'_>) -> ApiVersionsResponse {
    context.session.borrow_mut().versions_were_told();
    let state = context.shared.state.lock();
    let ranges = MockApi::ALL.into_iter();
    ApiVersionsResponse {
        api_keys: ranges.filter_map(|api| state.versions.range(api)).collect(),
        ..ApiVersionsResponse::default()
    }
}

pub(super) fn refuse(error: ErrorCode) -> ApiVersionsResponse {
    ApiVersionsResponse {
        error,
        ..ApiVersionsResponse::default()
    }
}
