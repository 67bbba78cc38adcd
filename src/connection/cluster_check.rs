//! Checks that the broker at an address belongs to the expected cluster.
//!
//! An address can come to belong to another cluster: it was reused, or the cluster was wiped and created again there. Such
//! a broker accepts records as readily as the right one. So it is asked before the first record is sent, once for each
//! connection: the broker behind a connection does not change while the connection lasts.

use std::sync::Arc;

use super::Endpoint;
use super::dial::NewConnection;
use crate::error::{Error, ErrorKind, printable};
use crate::protocol::messages::MetadataRequest;

/// Returns an error if the broker names another cluster than `expected`. A broker that names none is believed: brokers
/// before Kafka 0.10.1 have no cluster id.
pub(super) fn check_cluster(
    connection: &mut NewConnection<'_>,
    expected: &Arc<str>,
) -> Result<(), Error> {
    /// Metadata has the cluster's id since this version.
    const FIRST_VERSION_WITH_ID: i16 = 2;
    /// Before this version a request cannot forbid the broker to create topics.
    const FIRST_VERSION_WITH_BAN: i16 = 4;
    let NewConnection {
        endpoint,
        versions,
        exchange,
        deadline,
    } = connection;
    let Ok(version @ FIRST_VERSION_WITH_ID..) = versions.best::<MetadataRequest<'_>>() else {
        return Ok(());
    };
    let request = MetadataRequest {
        topics: Some(Vec::new()),
        allow_auto_topic_creation: version < FIRST_VERSION_WITH_BAN,
    };
    let response = exchange.call(&request, version, *deadline)?;
    if !response.error.is_none() {
        let message = format!("{endpoint} refused to name its cluster");
        return Err(Error::answered(response.error, message));
    }
    match response.cluster_id {
        Some(found) if *found != **expected => Err(other_cluster(endpoint, expected, &found)),
        _ => Ok(()),
    }
}

/// The error of an address that belongs to another cluster than expected.
pub(crate) fn other_cluster(endpoint: &Endpoint, expected: &str, found: &str) -> Error {
    let (found, expected) = (printable(found), printable(expected));
    let message = format!("{endpoint} now belongs to cluster {found}, expected {expected}");
    Error::new(ErrorKind::Network, message)
}
