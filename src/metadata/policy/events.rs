//! What happened to the requests that the policy decided on.

use std::time::{Duration, Instant};

use super::attempt::{Attempt, Step};
use super::decision::{Basis, Description, NewConnection, Scope};
use super::rebootstrap::BrokerFailure;
use super::{Connection, Policy, is_known};
use crate::connection::Endpoint;
use crate::error::{Error, ErrorKind};
use crate::metadata::calls::CallOutcome;
use crate::metadata::cluster::{Broker, Cluster};
use crate::protocol::ErrorCode;
use crate::protocol::messages::MetadataResponse;
use crate::threads::logging::log_line;

impl Policy {
    /// The thread has connected to the broker that is asked.
    pub(in crate::metadata) fn connected(
        &mut self,
        new: NewConnection,
        cluster: &Cluster,
        now: Instant,
    ) {
        let Some(attempt) = &mut self.attempt else {
            return;
        };
        self.connection = attempt.asked().cloned().map(|endpoint| Connection {
            endpoint,
            is_own: new.is_own,
            session_ends: new.session_ends,
            last_use: now,
        });
        // The broker may belong to another cluster, where a producer id of this one is not valid. Its answer about all topics
        // also shows whether the cluster was wiped.
        let is_unchecked = new.reports_cluster_id && cluster.cluster_id().is_some();
        attempt.note_connection(is_unchecked || self.rebootstrap.is_in_progress());
    }

    /// A request begins on the connection. Returns how long to wait for the answer.
    pub(in crate::metadata) fn begin_request(&mut self, now: Instant) -> Duration {
        let longest = self.config.request_timeout;
        let Some(connection) = &mut self.connection else {
            return longest;
        };
        connection.last_use = now;
        let patience = self.candidates.answer_patience(&connection.endpoint);
        patience.min(longest)
    }

    /// A request with this `patience` took that long, with or without an answer.
    pub(in crate::metadata) fn end_request(&mut self, took: Duration, patience: Duration) {
        if let Some(connection) = &self.connection {
            let endpoint = &connection.endpoint;
            self.candidates.note_time(endpoint, took, patience);
        }
    }

    /// The connected broker asked this client to wait.
    pub(in crate::metadata) fn throttled(&mut self, wait: Duration, now: Instant) {
        if let Some(connection) = &self.connection {
            let endpoint = &connection.endpoint;
            self.candidates.note_throttle(endpoint, wait, now);
        }
    }

    /// The connected broker answered a request for metadata. Returns the snapshot that the answer changes; [`described`]
    /// follows. Returns an error if the answer cannot be used; [`failed`] follows.
    ///
    /// [`described`]: Self::described
    /// [`failed`]: Self::failed
    pub(in crate::metadata) fn accept(
        &mut self,
        answer: &MetadataResponse,
        cluster: &Cluster,
        now: Instant,
    ) -> Result<Basis, Error> {
        if !answer.error.is_none() {
            let message = "the broker refused to describe the cluster";
            return Err(Error::answered(answer.error, message));
        }
        if answer.brokers.is_empty() {
            let message = "the broker does not know its cluster yet";
            return Err(Error::new(ErrorKind::Network, message));
        }
        let found = answer.cluster_id.as_deref();
        if let (Some(known), Some(found), Some(connection)) =
            (cluster.cluster_id(), found, &self.connection)
        {
            let is_bootstrap = self.config.bootstrap.contains(&connection.endpoint);
            let endpoint = &connection.endpoint;
            self.other_clusters
                .check(endpoint, is_bootstrap, known, found)?;
        }
        let is_full = self.asks_all_topics();
        if is_full {
            self.last_refresh = now;
        }
        self.other_clusters.note_accepted();
        let accepts_outdated = is_full && self.outdated.is_accepted(now);
        let is_first = self.rebootstrap.note_metadata();
        if is_first {
            self.outdated.note_rebootstrap();
        }
        // The known snapshot of another cluster does not count against the answer.
        let is_another = is_first && cluster.is_other_than(found);
        Ok(match is_another || accepts_outdated {
            true => Basis::ClusterIdOnly,
            false => Basis::Known,
        })
    }

    /// The answer has become the new snapshot.
    pub(in crate::metadata) fn described(&mut self, described: &Description<'_>, now: Instant) {
        let Description { before, after, .. } = described;
        let is_full = self.asks_all_topics();
        if is_full {
            let is_older = described.has_older_epochs;
            self.outdated.note_answer(is_older, now);
        }
        let mut asked = described.asked.iter();
        if is_full || asked.clone().all(|topic| before.topic(topic).is_some()) {
            let has_changes = asked.any(|topic| before.topic(topic) != after.topic(topic));
            self.repetition.note_answer(has_changes, now);
        }
        let bootstrap = &self.config.bootstrap;
        let is_asked =
            |endpoint: &Endpoint| bootstrap.contains(endpoint) || is_known(after, endpoint);
        self.candidates.retain(is_asked);
        // A throttled call stays due, and the next attempt may ask another broker.
        let may_call = self
            .connected_to()
            .is_some_and(|endpoint| self.candidates.throttled_until(endpoint, now).is_none());
        let is_incomplete = described.is_incomplete;
        if let Some(attempt) = &mut self.attempt {
            if attempt.note_metadata(is_incomplete, may_call) {
                self.complete_attempt(now);
            }
        }
    }

    /// The connected broker answered the call.
    pub(in crate::metadata) fn called(&mut self, outcome: CallOutcome, now: Instant) {
        if let Some(attempt) = &mut self.attempt {
            attempt.note_call(outcome == CallOutcome::AskAgain);
            self.complete_attempt(now);
        }
    }

    /// The broker that is asked could not be reached, did not answer, or its answer could not be used. The thread closes
    /// the connection.
    pub(in crate::metadata) fn failed(&mut self, error: Error, cluster: &Cluster, now: Instant) {
        self.connection = None;
        let failure = BrokerFailure {
            demands_rebootstrap: error.error_code() == Some(ErrorCode::REBOOTSTRAP_REQUIRED),
            met_another: self.other_clusters.take_was_met(),
        };
        let summary = error.summary();
        let Some(endpoint) = self
            .attempt
            .as_mut()
            .and_then(|attempt| attempt.fail(error))
        else {
            return;
        };
        self.candidates.note_failure(&endpoint, now);
        let known = &self.candidates;
        if self.rebootstrap.begins_after(failure, cluster, known, now) {
            log_line!(log::Level::Info, target: "kafka_producer::metadata", "searching for the cluster again from bootstrap.servers: {summary}");
            if failure.demands_rebootstrap {
                self.other_clusters.accept_next();
            }
            let candidates = self.endpoints(None, cluster, now).unwrap_or_default();
            if let Some(attempt) = &mut self.attempt {
                attempt.replace_candidates(candidates);
            }
        }
        self.accept_claim_of_another_cluster(cluster, now);
    }

    /// If no other candidate remains, asks the bootstrap address at which another cluster answered, and accepts its next
    /// answer.
    fn accept_claim_of_another_cluster(&mut self, cluster: &Cluster, now: Instant) {
        let mut known = cluster.brokers().map(Broker::endpoint);
        // A broker that throttles this client is usable.
        let is_usable =
            |endpoint: Endpoint| self.candidates.throttled_until(&endpoint, now).is_some();
        let Some(attempt) = self.attempt.as_mut().filter(|it| !it.has_candidates()) else {
            return;
        };
        if known.any(is_usable) {
            return;
        }
        if let Some(claim) = self.other_clusters.accept_claim() {
            self.rebootstrap.begin();
            attempt.add_candidate(claim);
        }
    }

    /// Returns whether the metadata of all topics is being asked for.
    fn asks_all_topics(&self) -> bool {
        let step = self.attempt.as_ref().and_then(Attempt::step);
        step == Some(Step::AskMetadata(Scope::TopicsInUse))
    }
}
