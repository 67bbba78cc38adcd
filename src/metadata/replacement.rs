//! Another cluster at an address of this one: somebody else's, or the one that has taken this one's place.
//!
//! An address that metadata named can be reused by anybody. One of `bootstrap.servers` was named by the user; so only there
//! another cluster is believed to be the one that is meant, and only when no broker of the known one answers, or when one
//! sends this client away. Where the list names brokers of two clusters by mistake the first one is kept while it lives.

use std::time::Instant;

use super::calls::Connected;
use super::cluster::{Broker, Cluster};
use super::refresh::{MetadataRefresher, RefreshObserver};
use crate::connection::Endpoint;
use crate::connection::cluster_check::other_cluster;
use crate::error::{Error, printable};
use crate::threads::logging::log_line;

/// What the metadata thread knows of other clusters.
#[derive(Default)]
pub(super) struct OtherClusters {
    /// The latest answer was one of another cluster.
    pub(super) was_met: bool,
    /// Where in `bootstrap.servers` one answered.
    claim: Option<Endpoint>,
    /// What a bootstrap address tells next is believed, whichever cluster it is of.
    pub(super) is_believed: bool,
    /// The latest that the log tells of: an outage is no reason to fill a disk.
    logged: Option<(Endpoint, String)>,
}

impl OtherClusters {
    /// An answer was taken.
    pub(super) fn forget_claim(&mut self) {
        (self.claim, self.is_believed) = (None, false);
    }

    fn is_news(&mut self, endpoint: &Endpoint, cluster_id: &str) -> bool {
        let told = (endpoint.clone(), cluster_id.to_owned());
        let is_news = self.logged.as_ref() != Some(&told);
        self.logged = Some(told);
        is_news
    }
}

impl<O: RefreshObserver> MetadataRefresher<O> {
    /// An error if the connected broker is of another cluster than the known one, and is not to be believed.
    pub(super) fn check_cluster(&mut self, found: Option<&str>) -> Result<(), Error> {
        let known = self.cache.cluster();
        let (Some(known), Some(found)) = (known.cluster_id(), found) else {
            return Ok(());
        };
        let Some(Connected { endpoint, .. }) = self.client.as_ref().filter(|_| known != found)
        else {
            return Ok(());
        };
        let others = &mut self.others;
        if self.config.bootstrap.contains(endpoint) {
            if others.is_believed {
                log_line!(log::Level::Warn, target: "kafka_producer::metadata", "cluster {} was replaced by {} at {endpoint}; records of unknown fate fail, all others go to the new cluster", printable(known), printable(found));
                return Ok(());
            }
            others.claim = Some(endpoint.clone());
        }
        others.was_met = true;
        let error = other_cluster(endpoint, known, found);
        if others.is_news(endpoint, found) {
            log_line!(log::Level::Warn, target: "kafka_producer::metadata", "{}; searching for the cluster again", error.summary());
        }
        Err(error)
    }

    /// When nobody else is left to ask: the bootstrap address that told of another cluster, which is to be believed now.
    pub(super) fn believed_claim(&mut self) -> Option<Endpoint> {
        let (cluster, now) = (self.cache.cluster(), Instant::now());
        let mut known = cluster.brokers().map(Broker::endpoint);
        // One that wants to be left alone for a while is well.
        if known.any(|endpoint| self.candidates.throttled_until(&endpoint, now).is_some()) {
            return None;
        }
        let claim = self.others.claim.take()?;
        (self.is_anew, self.others.is_believed) = (true, true);
        Some(claim)
    }

    /// What the picture of a cluster that is met anew is made from: of the known one no more than its id, for an answer
    /// without one.
    pub(super) fn nothing_but_the_id(&self) -> Cluster {
        let known = self.cache.cluster();
        Cluster {
            cluster_id: known.cluster_id.clone(),
            identity_era: known.identity_era + 1,
            restorations: known.restorations + 1,
            ..Cluster::default()
        }
    }
}
