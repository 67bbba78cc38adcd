//! When to search for the cluster again, from `bootstrap.servers` (KIP-899, KIP-1102).

use std::time::{Duration, Instant};

use super::candidates::Candidates;
use crate::metadata::Cluster;
use crate::metadata::cluster::Broker;

/// Whether `bootstrap.servers` are asked before the known brokers.
///
/// The known snapshot stays in use until there is an answer: it may still be correct.
#[derive(Debug)]
pub(super) struct Rebootstrap {
    /// `metadata.recovery.rebootstrap.trigger.ms`. `None` with `metadata.recovery.strategy=none`.
    trigger: Option<Duration>,
    /// The next answer is the first after a rebootstrap: the known snapshot does not count against it.
    is_in_progress: bool,
    /// Since when metadata is requested and no broker gave any.
    without_metadata_since: Option<Instant>,
    /// Since when no broker answered anything.
    without_answer_since: Option<Instant>,
}

impl Rebootstrap {
    pub(super) fn new(trigger: Option<Duration>) -> Self {
        Self {
            trigger,
            is_in_progress: false,
            without_metadata_since: None,
            without_answer_since: None,
        }
    }

    pub(super) fn is_in_progress(&self) -> bool {
        self.is_in_progress
    }

    pub(super) fn is_allowed(&self) -> bool {
        self.trigger.is_some()
    }

    pub(super) fn begin(&mut self) {
        self.is_in_progress = true;
    }

    /// An attempt begins.
    pub(super) fn begin_attempt(&mut self, asks_metadata: bool, now: Instant) {
        if asks_metadata {
            self.without_metadata_since.get_or_insert(now);
        }
        self.without_answer_since.get_or_insert(now);
    }

    /// A broker described the cluster. Returns whether it is the first answer after a rebootstrap.
    pub(super) fn note_metadata(&mut self) -> bool {
        self.without_metadata_since = None;
        std::mem::take(&mut self.is_in_progress)
    }

    /// A broker answered everything that it was asked.
    pub(super) fn note_answer(&mut self) {
        self.without_answer_since = None;
    }

    /// A broker failed. Returns whether this begins a rebootstrap: because the broker demands it or is of another
    /// cluster, no known broker can be reached, or no broker gave metadata for the configured time.
    pub(super) fn begins_after(
        &mut self,
        failure: BrokerFailure,
        cluster: &Cluster,
        candidates: &Candidates,
        now: Instant,
    ) -> bool {
        // The next rebootstrap begins only after an answer: a bootstrap server may demand one, too, and would be asked
        // without end.
        if self.is_in_progress || cluster.brokers().next().is_none() {
            return false;
        }
        let Some(trigger) = self.trigger else {
            return false;
        };
        let is_overdue = self
            .without_metadata_since
            .is_some_and(|since| now.saturating_duration_since(since) >= trigger);
        // A broker that failed before another one answered may be usable by now.
        let all_failed = || {
            let mut known = cluster.brokers().map(Broker::endpoint);
            self.without_answer_since
                .is_some_and(|since| known.all(|other| candidates.failed_since(&other, since)))
        };
        self.is_in_progress =
            failure.demands_rebootstrap || failure.met_another || is_overdue || all_failed();
        self.is_in_progress
    }
}

/// How the broker that was asked failed.
#[derive(Clone, Copy, Debug)]
pub(super) struct BrokerFailure {
    /// It answered REBOOTSTRAP_REQUIRED.
    pub(super) demands_rebootstrap: bool,
    /// It is of another cluster than the known one.
    pub(super) met_another: bool,
}
