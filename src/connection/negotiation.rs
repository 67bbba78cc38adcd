//! The negotiation of versions, which is the first exchange on every connection: the broker lists the versions of each API
//! that it has.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::exchange::{Exchange, ExchangeConnection};
use super::{BrokerVersions, Endpoint};
use crate::error::Error;
use crate::protocol::messages::{ApiVersionsRequest, ApiVersionsResponse};
use crate::protocol::{ApiKey, ErrorCode, Request, Response};
use crate::sync::Mutex;

/// The version of ApiVersions of the first request. Brokers that do not know it answer in version 0 (KIP-511).
const NEWEST: i16 = 3;

// `ApiVersionsRequest` names its versions, and NEWEST must be one of them.
const _: () = assert!(*<ApiVersionsRequest<'static> as Request>::VERSIONS.end() >= NEWEST);

/// The name under which brokers count this client (KIP-511).
const SOFTWARE_NAME: &str = env!("CARGO_PKG_NAME");

/// Asks a broker for its versions, first in `version`. A broker that does not know that version answers UNSUPPORTED_VERSION in
/// the layout of version 0. Since Kafka 2.4 (KIP-511) this answer has the range of versions that the broker knows.
pub(super) fn negotiate_versions<C: ExchangeConnection>(
    exchange: &mut Exchange<C>,
    mut version: i16,
    deadline: Instant,
) -> Result<BrokerVersions, Error> {
    loop {
        let response = ask(exchange, version, deadline)?;
        if response.error.is_none() {
            return Ok(BrokerVersions::from(&response));
        }
        if response.error != ErrorCode::UNSUPPORTED_VERSION || version == 0 {
            let message = "the broker refused to list its API versions";
            return Err(Error::answered(response.error, message));
        }
        let known = response
            .api_keys
            .iter()
            .find(|api| api.api_code == ApiKey::ApiVersions.code());
        version = known.map_or(0, |api| api.max_version).clamp(0, version - 1);
    }
}

fn ask<C: ExchangeConnection>(
    exchange: &mut Exchange<C>,
    version: i16,
    deadline: Instant,
) -> Result<ApiVersionsResponse, Error> {
    let request = ApiVersionsRequest {
        client_software_name: SOFTWARE_NAME,
        client_software_version: env!("CARGO_PKG_VERSION"),
    };
    exchange.call_and_decode(&request, version, deadline, |body| {
        // The error comes first in every version. After UNSUPPORTED_VERSION, the rest has the layout of version 0.
        let error = body.clone().i16()?;
        let is_refused = error == ErrorCode::UNSUPPORTED_VERSION.code();
        ApiVersionsResponse::decode(if is_refused { 0 } else { version }, body)
    })
}

/// The version of ApiVersions in which each peer is asked first. Some proxies and imitations of Kafka do not answer
/// [`NEWEST`] as KIP-511 demands, but close the connection. A broker that is being restarted can close it, too.
#[derive(Debug, Default)]
pub(crate) struct FirstVersions {
    /// The peers that closed the connection at [`NEWEST`], each with the time at which this is forgotten.
    closed: Mutex<HashMap<Endpoint, Instant>>,
}

/// How long a peer that closed the connection at [`NEWEST`] is asked in version 0 first. The time is limited because another
/// broker can get the address, and because only [`NEWEST`] has this client's name and version.
const REMEMBERED: Duration = Duration::from_secs(5 * 60);

impl FirstVersions {
    /// Returns the version in which `endpoint` is asked first.
    pub(super) fn of(&self, endpoint: &Endpoint, now: Instant) -> i16 {
        let closed = self.closed.lock();
        match closed.get(endpoint) {
            Some(until) if *until > now => 0,
            _ => NEWEST,
        }
    }

    /// Notes that `endpoint` closed the connection instead of answering `version`. A peer that closes it at version 0 has
    /// another reason than the version.
    pub(super) fn note_closed(&self, endpoint: &Endpoint, version: i16, now: Instant) {
        let mut closed = self.closed.lock();
        closed.retain(|_, until| *until > now);
        if version == NEWEST {
            closed.insert(endpoint.clone(), now + REMEMBERED);
        } else {
            closed.remove(endpoint);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_closes_at_the_newest_version_is_asked_in_the_oldest_for_a_while() {
        let versions = FirstVersions::default();
        let [one, other] = ["one", "other"].map(|host| Endpoint {
            host: host.into(),
            port: 9092,
        });
        let now = Instant::now();
        assert_eq!(versions.of(&one, now), NEWEST);
        versions.note_closed(&one, NEWEST, now);
        assert_eq!(versions.of(&one, now), 0);
        assert_eq!(versions.of(&other, now), NEWEST);
        assert_eq!(versions.of(&one, now + REMEMBERED), NEWEST);
        // It closes the connection in any version: a broker that starts, or one that expects TLS.
        versions.note_closed(&one, 0, now);
        assert_eq!(versions.of(&one, now), NEWEST);
    }
}
