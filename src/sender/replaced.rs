//! What happens to batches, links and identities when the cluster is replaced by another one.
//!
//! Producer ids, sequences, topic ids and leader epochs are valid only in the cluster that gave them. Another cluster may
//! have given the same producer id to another producer. So the worker keeps none of them.

use std::sync::Arc;

use super::run::Sender;
use crate::accumulator::completion::Outcome;
use crate::connection::link::Network;
use crate::error::{Error, ErrorKind};
use crate::identity::Report;
use crate::metadata::Cluster;

impl<N: Network> Sender<N> {
    /// Takes the latest metadata snapshot, and returns the previous one. If the new snapshot is of another cluster,
    /// abandons the old one with all that belongs to it. If the cluster was restored from an older copy, reports that the
    /// logs were replaced.
    pub(super) fn take_snapshot(&mut self) -> Arc<Cluster> {
        let before = std::mem::replace(&mut self.cluster, self.metadata.cluster());
        if self.cluster.is_other_than(before.cluster_id()) {
            self.abandon_cluster(&before);
        } else if self.cluster.restorations != before.restorations {
            for id in self.partitions_where(|_| true) {
                self.report(id, Report::LogReplaced);
            }
        }
        before
    }

    /// Abandons all links and fails the batches that are maybe written, also without idempotence: the new cluster does not
    /// recognize them, and consumers may read their records in the old one. Batches that are certainly not written go to
    /// the new cluster.
    fn abandon_cluster(&mut self, before: &Cluster) {
        self.abandon_all_brokers();
        let error = replaced_error(before, &self.cluster);
        for id in self.partitions_where(|_| true) {
            self.report(id, Report::ClusterReplaced);
            for batch in self.state(id).enter_new_cluster() {
                let error = batch.own(&error);
                self.complete(batch, Outcome::Failed(error));
            }
        }
    }

    fn abandon_all_brokers(&mut self) {
        let accumulator = Arc::clone(&self.accumulator);
        for (broker, broker_link) in self.brokers.take_all() {
            for link_id in [broker_link.link_id(), broker_link.successor.link_id()]
                .into_iter()
                .flatten()
            {
                self.network.abandon(link_id);
            }
            if broker_link.reported_unavailable {
                accumulator.report_availability(broker, self.config.index, true);
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
