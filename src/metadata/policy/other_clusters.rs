//! Another cluster at an address of the known one: an unrelated cluster, or the one that replaced it.
//!
//! Any cluster can come to use an address that metadata named. The user named the addresses of `bootstrap.servers`. So only
//! there another cluster is accepted as the one that is meant, and only if no broker of the known cluster answers, or one
//! demands a rebootstrap. If the list names brokers of two clusters by mistake, the first cluster to answer stays in use
//! as long as one of its brokers answers.

use crate::connection::Endpoint;
use crate::connection::cluster_check::other_cluster;
use crate::error::{Error, printable};
use crate::threads::logging::log_line;

/// The other clusters that answered.
#[derive(Debug, Default)]
pub(super) struct OtherClusters {
    /// The latest answer came from another cluster.
    was_met: bool,
    /// The address of `bootstrap.servers` at which one answered.
    claim: Option<Endpoint>,
    /// The next answer of a bootstrap address is accepted, whichever cluster it is of.
    is_accepted: bool,
    /// The latest that was logged: an outage must not fill a disk.
    logged: Option<(Endpoint, String)>,
}

impl OtherClusters {
    /// Returns an error if the broker at `endpoint` belongs to the cluster `found` instead of `known`, and `found` is not
    /// accepted.
    pub(super) fn check(
        &mut self,
        endpoint: &Endpoint,
        is_bootstrap: bool,
        known: &str,
        found: &str,
    ) -> Result<(), Error> {
        if known == found {
            return Ok(());
        }
        if is_bootstrap {
            if self.is_accepted {
                log_line!(log::Level::Warn, target: "kafka_producer::metadata", "cluster {} was replaced by {} at {endpoint}; records that may be written already fail, all others go to the new cluster", printable(known), printable(found));
                return Ok(());
            }
            self.claim = Some(endpoint.clone());
        }
        self.was_met = true;
        let error = other_cluster(endpoint, known, found);
        let latest = (endpoint.clone(), found.to_owned());
        if self.logged.as_ref() != Some(&latest) {
            log_line!(log::Level::Warn, target: "kafka_producer::metadata", "{}; searching for the cluster again", error.summary());
            self.logged = Some(latest);
        }
        Err(error)
    }

    /// Returns whether the latest answer came from another cluster. Called once for each answer.
    pub(super) fn take_was_met(&mut self) -> bool {
        std::mem::take(&mut self.was_met)
    }

    /// Accepts the next answer of a bootstrap address, because a broker demands a rebootstrap.
    pub(super) fn accept_next(&mut self) {
        self.is_accepted = true;
    }

    /// Notes that an answer was accepted.
    pub(super) fn note_accepted(&mut self) {
        (self.claim, self.is_accepted) = (None, false);
    }

    /// Returns the bootstrap address at which another cluster answered, and accepts its next answer. Called if no other
    /// candidate remains.
    pub(super) fn accept_claim(&mut self) -> Option<Endpoint> {
        let claim = self.claim.take()?;
        self.is_accepted = true;
        Some(claim)
    }
}
