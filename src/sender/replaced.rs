//! The cluster was replaced by another one: what becomes of what was meant for the one before.
//!
//! Producer ids, sequences, topic ids and leader epochs mean something in the cluster that gave them, and something else in
//! another one, which may have given the same producer id to another producer. So nothing of them is carried over.

use std::sync::Arc;

use super::run::Sender;
use crate::accumulator::completion::Outcome;
use crate::connection::link::Network;
use crate::error::{Error, ErrorKind};
use crate::metadata::Cluster;

impl<N: Network> Sender<N> {
    /// Takes the latest picture of the cluster, and returns the one before.
    pub(super) fn take_snapshot(&mut self) -> Arc<Cluster> {
        let before = std::mem::replace(&mut self.cluster, self.metadata.cluster());
        if self.cluster.is_other_than(before.cluster_id()) {
            self.leave_cluster(&before);
        } else if self.cluster.restorations != before.restorations {
            for id in self.partitions_where(|_| true) {
                self.state(id).sequence.renounce_id();
            }
        }
        if self.cluster.identity_era != before.identity_era {
            self.identity = None;
        }
        before
    }

    /// Batches of unknown fate fail, whether the producer is idempotent or not: the other cluster knows nothing of them,
    /// and the one before may be where the records are read. Batches that are certainly not written go to the other
    /// cluster.
    fn leave_cluster(&mut self, before: &Cluster) {
        self.leave_all_brokers();
        let error = replaced_error(before, &self.cluster);
        for id in self.partitions_where(|_| true) {
            for batch in self.state(id).begin_anew() {
                let error = batch.own(&error);
                self.settle(batch, Outcome::Failed(error));
            }
        }
    }

    fn leave_all_brokers(&mut self) {
        let accumulator = Arc::clone(&self.accumulator);
        for (id, link) in self.brokers.take_all() {
            for link in [link.link(), link.successor.link()].into_iter().flatten() {
                self.network.abandon(link);
            }
            if link.reported_unavailable {
                accumulator.report_availability(id, self.config.index, true);
            }
        }
    }
}

fn replaced_error(before: &Cluster, now: &Cluster) -> Error {
    let message = format!(
        "the cluster {} was replaced by {} before it acknowledged the record",
        before.cluster_id().unwrap_or_default(),
        now.cluster_id().unwrap_or_default(),
    );
    Error::new(ErrorKind::Network, message)
        .with_advice("check whether the record exists before you send it again")
}
