//! The results for callers that wait for the metadata of a topic.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::cluster::Cluster;
use super::missing::missing;
use crate::connection::Endpoint;
use crate::connection::authentication::Authenticator;
use crate::error::{Error, ErrorKind};

/// The results of the metadata thread's attempts, as far as waiting callers need them.
#[derive(Default)]
pub(super) struct AttemptResults {
    /// The number of attempts that have ended.
    attempts: u64,
    /// The topics about which the latest answer was an error.
    topic_errors: HashMap<Arc<str>, TopicError>,
    /// Why the latest attempt failed, if it did.
    last_error: Option<Error>,
    /// The broker that was asked last: it explains the timeout of a caller that gives up before an answer.
    asked: Option<Endpoint>,
    /// Authenticates the connection that the metadata thread is making. `None` if it is making none.
    connecting: Option<Arc<dyn Authenticator>>,
    is_closed: bool,
}

/// The error that an answer has for a topic instead of its description.
struct TopicError {
    /// The number of the attempt.
    attempt: u64,
    received_at: Instant,
    error: Error,
}

/// What a caller waits for.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) topic: &'a str,
    /// The topic must have a partition of this number.
    pub(super) partition: Option<i32>,
    /// `max.block.ms`, or zero if the caller does not wait.
    pub(super) max_block: Duration,
}

/// How long a broker's refusal of a topic is returned to calls that time out, such as those that cannot wait. The metadata
/// thread nevertheless asks for the topic again.
const RECENT: Duration = Duration::from_secs(30);

impl AttemptResults {
    /// The number of attempts that have ended.
    pub(super) fn attempts(&self) -> u64 {
        self.attempts
    }

    /// Returns whether the caller has what it waits for. Returns an error if waiting longer cannot help. `attempts_before`
    /// is the number of attempts when the wait began: the errors of these attempts do not count.
    pub(super) fn check(
        &self,
        wanted: Wanted<'_>,
        cluster: &Cluster,
        attempts_before: u64,
    ) -> Result<bool, Error> {
        if self.is_closed {
            return Err(Error::new(
                ErrorKind::Closed,
                "the producer was closed while the record waited for metadata",
            ));
        }
        if let Some(refusal) = self.refusal().filter(|_| self.attempts > attempts_before) {
            return Err(refusal.clone());
        }
        if let Some(received) = self.topic_errors.get(wanted.topic) {
            if received.attempt > attempts_before && !received.error.is_retriable() {
                return Err(received.error.clone());
            }
        }
        Ok(cluster.topic(wanted.topic).is_some_and(|metadata| {
            let is_known = |partition| (partition as usize) < metadata.partitions.len();
            wanted.partition.is_none_or(is_known)
        }))
    }

    /// Returns the error of a caller whose wait timed out.
    pub(super) fn timeout(&self, wanted: Wanted<'_>, cluster: &Cluster, now: Instant) -> Error {
        if let Some(refusal) = self.refusal() {
            return refusal.clone();
        }
        let received = self.topic_errors.get(wanted.topic);
        if let Some(received) = received {
            let age = now.saturating_duration_since(received.received_at);
            let is_recent = self.last_error.is_none() && age < RECENT;
            if is_recent && !received.error.is_retriable() {
                return received.error.clone();
            }
        }
        // An answer clears `last_error`, so an error here is later than every answer.
        let cause = (self.last_error.as_ref()).or(received.map(|received| &received.error));
        let silent = self
            .asked
            .as_ref()
            .filter(|_| cause.is_none() && !wanted.max_block.is_zero());
        let delay = self
            .connecting
            .as_ref()
            .and_then(|connecting| connecting.delay());
        let silent = silent.map(|endpoint| match delay {
            Some(delay) => {
                let message = format!("no Kafka connection to {endpoint} yet");
                Error::new(ErrorKind::Network, message).with_source(delay)
            }
            None => {
                let message = format!("{endpoint} has not answered yet");
                Error::new(ErrorKind::Network, message)
            }
        });
        missing(wanted, cluster, cause.or(silent.as_ref()))
    }

    /// Returns the error that the latest answer has for the topic, if any.
    pub(super) fn topic_error(&self, topic: &str) -> Option<Error> {
        let received = self.topic_errors.get(topic);
        received.map(|received| received.error.clone())
    }

    /// Keeps the errors of these topics only.
    pub(super) fn retain_topics(&mut self, is_kept: impl Fn(&str) -> bool) {
        self.topic_errors.retain(|topic, _| is_kept(topic));
    }

    /// Notes the broker that the metadata thread now asks.
    pub(super) fn begin_to_ask(&mut self, endpoint: &Endpoint) {
        self.asked = Some(endpoint.clone());
    }

    /// Notes that the metadata thread begins a connection, and with what it is authenticated, or that the connection is
    /// made or failed.
    pub(super) fn note_connecting(&mut self, connecting: Option<Arc<dyn Authenticator>>) {
        self.connecting = connecting;
    }

    /// Notes an answer about these topics, and its errors for some of them.
    pub(super) fn note_answer(
        &mut self,
        asked: &[Arc<str>],
        errors: Vec<(Arc<str>, Error)>,
        now: Instant,
    ) {
        self.attempts += 1;
        self.last_error = None;
        for topic in asked {
            self.topic_errors.remove(topic);
        }
        for (topic, error) in errors {
            let received = TopicError {
                attempt: self.attempts,
                received_at: now,
                error,
            };
            self.topic_errors.insert(topic, received);
        }
    }

    /// Notes an attempt that ended without an answer.
    pub(super) fn note_failure(&mut self, error: Error) {
        self.attempts += 1;
        self.last_error = Some(error);
    }

    /// Returns why the brokers refuse this client, or it them, if the latest attempt failed because of that.
    fn refusal(&self) -> Option<&Error> {
        self.last_error.as_ref().filter(|error| error.is_refusal())
    }

    /// Ends each wait with an error from now on.
    pub(super) fn close(&mut self) {
        self.is_closed = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::fixtures::topic;

    const SECOND: Duration = Duration::from_secs(1);

    fn wanted(partition: Option<i32>, max_block: Duration) -> Wanted<'static> {
        Wanted {
            topic: "t",
            partition,
            max_block,
        }
    }

    fn asked() -> [Arc<str>; 1] {
        ["t".into()]
    }

    fn refusal() -> Error {
        Error::new(ErrorKind::InvalidTopic, "no such name")
    }

    #[test]
    fn a_topic_is_enough_if_it_has_the_partition() {
        let waiters = AttemptResults::default();
        let mut cluster = Cluster::default();
        assert!(!waiters.check(wanted(None, SECOND), &cluster, 0).unwrap());
        cluster.topics = [topic("t", &[1, 1])].into_iter().collect();
        for (partition, is_known) in [(None, true), (Some(1), true), (Some(2), false)] {
            let wanted = wanted(partition, SECOND);
            assert_eq!(waiters.check(wanted, &cluster, 0).unwrap(), is_known);
        }
    }

    #[test]
    fn an_error_that_waiting_does_not_cure_ends_the_waits_that_began_before_it() {
        let (mut waiters, cluster) = (AttemptResults::default(), Cluster::default());
        let began = waiters.attempts();
        waiters.note_answer(&asked(), vec![("t".into(), refusal())], Instant::now());
        let error = waiters.check(wanted(None, SECOND), &cluster, began);
        assert_eq!(error.unwrap_err().kind(), ErrorKind::InvalidTopic);
        let later = waiters.attempts();
        assert!(
            !waiters
                .check(wanted(None, SECOND), &cluster, later)
                .unwrap()
        );
    }

    #[test]
    fn a_call_that_cannot_wait_gets_a_recent_refusal_unless_a_failure_is_later() {
        let (mut waiters, cluster) = (AttemptResults::default(), Cluster::default());
        let now = Instant::now();
        let kind = |waiters: &AttemptResults, now| {
            let wanted = wanted(None, Duration::ZERO);
            waiters.timeout(wanted, &cluster, now).kind()
        };
        assert_eq!(kind(&waiters, now), ErrorKind::MetadataTimeout);
        waiters.note_answer(&asked(), vec![("t".into(), refusal())], now);
        assert_eq!(kind(&waiters, now), ErrorKind::InvalidTopic);
        assert_eq!(kind(&waiters, now + RECENT), ErrorKind::MetadataTimeout);
        waiters.note_failure(Error::new(ErrorKind::Network, "no broker answers"));
        let later = waiters.timeout(wanted(None, SECOND), &cluster, now);
        assert_eq!(later.kind(), ErrorKind::MetadataTimeout);
        assert!(later.to_string().contains("no broker answers"), "{later}");
        waiters.note_answer(&asked(), Vec::new(), now);
        assert_eq!(kind(&waiters, now), ErrorKind::MetadataTimeout);
    }

    #[test]
    fn a_refused_connection_ends_the_waits_that_began_before_it() {
        let (mut waiters, cluster) = (AttemptResults::default(), Cluster::default());
        let wanted = wanted(None, SECOND);
        let began = waiters.attempts();
        waiters.note_failure(Error::new(ErrorKind::Network, "no broker answers"));
        assert!(!waiters.check(wanted, &cluster, began).unwrap());
        waiters.note_failure(Error::new(ErrorKind::Authentication, "wrong password"));
        let error = waiters.check(wanted, &cluster, began).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Authentication);
        let later = waiters.attempts();
        assert!(!waiters.check(wanted, &cluster, later).unwrap());
        let error = waiters.timeout(wanted, &cluster, Instant::now());
        assert_eq!(error.kind(), ErrorKind::Authentication);
        waiters.note_answer(&asked(), Vec::new(), Instant::now());
        assert!(!waiters.check(wanted, &cluster, began).unwrap());
    }

    #[test]
    fn a_timeout_names_the_broker_that_has_not_answered() {
        let (mut waiters, cluster) = (AttemptResults::default(), Cluster::default());
        waiters.begin_to_ask(&Endpoint {
            host: "h".into(),
            port: 9092,
        });
        let error = |max_block| {
            let error = waiters.timeout(wanted(None, max_block), &cluster, Instant::now());
            error.to_string()
        };
        assert!(error(SECOND).contains("h:9092 has not answered yet"));
        assert!(!error(Duration::ZERO).contains("h:9092"));
    }

    #[test]
    fn a_timeout_has_the_advice_of_the_failed_attempt() {
        let mut waiters = AttemptResults::default();
        let broken = Error::new(ErrorKind::Network, "the broker closed the connection");
        waiters.note_failure(broken.with_advice("set security.protocol=SASL_SSL"));
        for max_block in [SECOND, Duration::ZERO] {
            let wanted = wanted(None, max_block);
            let error = waiters.timeout(wanted, &Cluster::default(), Instant::now());
            let shown = error.to_string();
            assert!(shown.ends_with("set security.protocol=SASL_SSL"), "{shown}");
        }
    }

    #[test]
    fn a_peer_that_is_no_broker_ends_the_waits_whatever_the_kind_is() {
        let mut waiters = AttemptResults::default();
        let web = Error::new(ErrorKind::Protocol, "the server answered in HTTP").with_refusal();
        waiters.note_failure(web);
        let error = waiters.check(wanted(None, SECOND), &Cluster::default(), 0);
        assert_eq!(error.unwrap_err().kind(), ErrorKind::Protocol);
    }

    #[test]
    fn after_a_close_each_wait_ends() {
        let mut waiters = AttemptResults::default();
        waiters.close();
        let error = waiters.check(wanted(None, SECOND), &Cluster::default(), 0);
        assert_eq!(error.unwrap_err().kind(), ErrorKind::Closed);
    }
}
