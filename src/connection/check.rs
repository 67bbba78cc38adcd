//! Whether the broker at an address is of the cluster that it is thought to be of.
//!
//! An address can come to belong to another cluster: it was reused, or the cluster was wiped and made anew there. Such a
//! broker takes records as readily as the right one. So it is asked before the first of them is sent, once for each
//! connection: what is behind a connection does not change while it lasts.

use std::sync::Arc;
use std::time::Instant;

use super::dial::{Dialed, exchange, protocol_error};
use super::{ConnectionConfig, Endpoint};
use crate::error::{Error, ErrorKind, printable};
use crate::protocol::messages::{MetadataRequest, MetadataResponse};
use crate::protocol::{decode_response, encode_request};

/// An error if the broker tells of another cluster than that of `expected`. One that tells nothing is believed: brokers
/// before Kafka 0.10.1 have no id to tell.
pub(super) fn check_cluster(
    dialed: &mut Dialed,
    endpoint: &Endpoint,
    expected: &Arc<str>,
    config: &ConnectionConfig,
    deadline: Instant,
) -> Result<(), Error> {
    /// Metadata has the cluster's id since.
    const FIRST_VERSION_WITH_ID: i16 = 2;
    /// Before, there is no way to say that no topic is to be made.
    const FIRST_VERSION_WITH_BAN: i16 = 4;
    let Ok(version @ FIRST_VERSION_WITH_ID..) = dialed.versions.best::<MetadataRequest<'_>>()
    else {
        return Ok(());
    };
    let request = MetadataRequest {
        topics: Some(Vec::new()),
        allow_auto_topic_creation: version < FIRST_VERSION_WITH_BAN,
    };
    let response: MetadataResponse = ask(dialed, &request, version, config, deadline)?;
    if !response.error.is_none() {
        return Err(Error::answered(
            response.error,
            format!("{endpoint} refused to tell the id of its cluster"),
        ));
    }
    match response.cluster_id {
        Some(found) if *found != **expected => Err(other_cluster(endpoint, expected, &found)),
        _ => Ok(()),
    }
}

/// The error that an address belongs to another cluster than it should.
pub(crate) fn other_cluster(endpoint: &Endpoint, expected: &str, found: &str) -> Error {
    let (found, expected) = (printable(found), printable(expected));
    let message = format!("{endpoint} now belongs to cluster {found}, expected {expected}");
    Error::new(ErrorKind::Network, message)
}

/// The handshake's request had 0, and those that follow have positive numbers.
const CORRELATION_ID: i32 = -1;

fn ask(
    dialed: &mut Dialed,
    request: &MetadataRequest<'_>,
    version: i16,
    config: &ConnectionConfig,
    deadline: Instant,
) -> Result<MetadataResponse, Error> {
    let mut bytes = Vec::new();
    let client_id = Some(&*config.client_id);
    encode_request(request, version, CORRELATION_ID, client_id, &mut bytes).map_err(|error| {
        Error::new(ErrorKind::Internal, "a metadata request cannot be encoded").with_source(error)
    })?;
    let frame = exchange(&dialed.socket, &mut dialed.frames, &bytes, deadline)?;
    match decode_response::<MetadataRequest<'_>>(version, &frame).map_err(protocol_error)? {
        (CORRELATION_ID, response) => Ok(response),
        (answered, _) => {
            let message = format!("the broker answered request {answered}, which was not asked");
            Err(Error::new(ErrorKind::Protocol, message))
        }
    }
}
