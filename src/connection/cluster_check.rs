//! Checks that the broker at an address belongs to the expected cluster.
//!
//! An address can come to belong to another cluster, because it was reused or because the cluster was wiped and created
//! again. A broker of another cluster would accept the records. So each connection asks its broker for the cluster before the
//! first record is sent. Once is enough, because the broker of a connection does not change.

use std::sync::Arc;

use super::Endpoint;
use super::dial::NewConnection;
use crate::error::{Error, ErrorKind, printable};
use crate::protocol::messages::MetadataRequest;

/// Returns an error if the broker names another cluster than `expected`. A broker that names no cluster is accepted, because
/// brokers before Kafka 0.10.1 have no cluster id.
pub(super) fn check_cluster(
    connection: &mut NewConnection<'_>,
    expected: &Arc<str>,
) -> Result<(), Error> {
    /// The first version of Metadata that has the cluster's id.
    const FIRST_VERSION_WITH_ID: i16 = 2;
    /// The first version in which a request can forbid the broker to create topics.
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
