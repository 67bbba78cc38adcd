//! The cluster is wiped and created again at the same addresses, with another id.

use super::world::World;
use crate::sender::scripted::{Link, PRODUCER_ID};

impl World {
    /// The new cluster gives producer ids from the start again; other producers may have got the first of them.
    pub(super) fn replace_the_cluster(&mut self) {
        let links = self.links().keys(Link::is_open);
        for link in links {
            self.break_link(link);
        }
        // Requests in flight are lost.
        let mut traffic = self.traffic();
        for route in traffic.routes.values_mut() {
            route.pipe.clear();
        }
        // The throttles of the previous cluster's brokers end.
        traffic.throttled.clear();
        drop(traffic);
        self.cluster.replace(self.now);
        self.next_producer_id = PRODUCER_ID + self.rng.i64(0..3);
    }

    /// Returns whether the metadata is of the current cluster. The metadata thread's connection ended with the previous
    /// cluster, and on a new connection the thread first asks for the cluster's id.
    pub(super) fn knows_the_cluster(&self) -> bool {
        let known = self.metadata.cluster();
        known.cluster_id() == Some(&self.cluster.number.to_string())
    }
}
