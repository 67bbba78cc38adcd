//! The cluster is wiped and made anew at the same addresses, with another id.

use super::world::World;
use crate::sender::scripted::{Link, PRODUCER_ID};

impl World {
    /// Producer ids are given from the start again; other producers may have been quicker to ask for the first of them.
    pub(super) fn replace_the_cluster(&mut self) {
        let links = self.links().keys(Link::is_open);
        for link in links {
            self.break_link(link);
        }
        // What is under way finds nobody.
        let mut traffic = self.traffic();
        for route in traffic.routes.values_mut() {
            route.pipe.clear();
        }
        // The waits that the brokers of the one before asked for are over.
        traffic.throttled.clear();
        drop(traffic);
        self.cluster.replace(self.now);
        self.next_producer_id = PRODUCER_ID + self.rng.i64(0..3);
    }

    /// Whether the metadata is of the cluster that is there now. The metadata thread's connection ends with the one
    /// before, and the first thing that it asks on a new one is whose it is.
    pub(super) fn knows_the_cluster(&self) -> bool {
        let known = self.metadata.cluster();
        known.cluster_id() == Some(&self.cluster.number.to_string())
    }
}
