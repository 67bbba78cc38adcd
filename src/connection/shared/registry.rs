//! The registry of a producer's connections, for users that cannot have a connection of their own.

use std::sync::{Arc, Weak};

use super::{Connection, ConnectionUser};
use crate::connection::Endpoint;
use crate::sync::Mutex;
use crate::threads::logging::log_line;

/// The connections of a producer's workers.
#[derive(Default)]
pub(crate) struct ConnectionRegistry {
    connections: Mutex<Vec<(Endpoint, Weak<Connection>)>>,
}

impl ConnectionRegistry {
    pub(in crate::connection) fn add(&self, endpoint: Endpoint, connection: &Arc<Connection>) {
        let mut connections = self.connections.lock();
        connections.retain(|(_, connection)| connection.strong_count() > 0);
        connections.push((endpoint, Arc::downgrade(connection)));
    }

    /// Adds `user` to the connection to `endpoint` that has the fewest users. Returns this connection, or `None` if there is
    /// none. With a `cluster_id`, considers only connections whose broker is known to belong to that cluster.
    pub(in crate::connection) fn share(
        &self,
        endpoint: &Endpoint,
        cluster_id: Option<&Arc<str>>,
        user: &Arc<ConnectionUser>,
    ) -> Option<Arc<Connection>> {
        let mut candidates: Vec<Arc<Connection>> = {
            let connections = self.connections.lock();
            let of_endpoint = connections.iter().filter(|(other, _)| other == endpoint);
            of_endpoint
                .filter_map(|(_, connection)| connection.upgrade())
                .filter(|connection| {
                    cluster_id.is_none() || connection.cluster_id.as_ref() == cluster_id
                })
                .collect()
        };
        candidates.sort_by_cached_key(|connection| connection.state.lock().users.len());
        let shared = candidates
            .into_iter()
            .find(|connection| connection.add_user(user))?;
        log_line!(log::Level::Info, target: "kafka_producer::connection",
            "{endpoint} takes no further connection: an existing one is shared"
        );
        Some(shared)
    }
}
