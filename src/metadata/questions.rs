//! What the metadata thread asks a broker that it is connected to.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::cache::ProducerIdentity;
use super::cluster::Cluster;
use super::refresh::{Attempt, MetadataRefresher, RefreshObserver};
use super::response::update;
use crate::error::{Error, ErrorKind};
use crate::protocol::Request;
use crate::protocol::messages::{
    InitProducerIdRequest, MetadataRequest, MetadataRequestTopic, MetadataResponse,
};
use crate::threads::logging::log_line;
use crate::time::deadline_after;

impl<O: RefreshObserver> MetadataRefresher<O> {
    fn call<R: Request>(&mut self, request: &R) -> Result<(i16, R::Response), Error> {
        let Some((endpoint, client)) = &mut self.client else {
            return Err(Error::new(ErrorKind::Network, "not connected"));
        };
        let patience = self
            .candidates
            .answer_patience(endpoint)
            .min(self.config.request_timeout);
        let began = Instant::now();
        self.last_use = began;
        let version = client.versions().best::<R>().map_err(|error| {
            // A KRaft controller's port is taken for a broker's this way.
            Error::new(
                error.kind(),
                format!("{endpoint} cannot serve this client: {}", error.summary()),
            )
        })?;
        let answer = client.call(request, version, patience);
        self.candidates
            .note_time(endpoint, began.elapsed(), patience);
        Ok((version, answer?))
    }

    pub(super) fn ask_metadata(&mut self, is_full: bool) -> Result<Attempt, Error> {
        let observer = &self.observer;
        let asked =
            self.cache
                .topics_to_ask(!is_full, self.config.max_idle, Instant::now(), |topic| {
                    observer.take_used(topic)
                });
        let request = MetadataRequest {
            topics: Some(
                asked
                    .iter()
                    .map(|topic| MetadataRequestTopic::by_name(topic))
                    .collect(),
            ),
            // Java's producer always allows it too; whether topics are created is the broker's decision.
            allow_auto_topic_creation: true,
        };
        let (version, response): (i16, MetadataResponse) = self.call(&request)?;
        self.note_throttle(version >= 6, response.throttle_time_ms);
        if !response.error.is_none() {
            return Err(Error::answered(
                response.error,
                "the broker refused to describe the cluster",
            ));
        }
        if response.brokers.is_empty() {
            return Err(Error::new(
                ErrorKind::Network,
                "the broker does not know its cluster yet",
            ));
        }
        self.check_cluster(response.cluster_id.as_deref())?;
        if is_full {
            self.last_refresh = Instant::now();
        }
        let cluster = self.cache.cluster();
        let is_known = |topic: &Arc<str>| cluster.topic(topic).is_some();
        let is_repeated = is_full || asked.iter().all(is_known);
        self.unanswered_since = None;
        let is_anew = std::mem::take(&mut self.is_anew);
        self.others.forget_claim();
        let nothing = self.nothing_but_the_id();
        let is_believed = is_full && self.old_news.is_believed(Instant::now());
        let mut has_older_epochs = false;
        let is_incomplete = self.cache.answered(&asked, |before| {
            // What is known of another cluster does not count against the answer.
            let is_another = is_anew && before.is_other_than(response.cluster_id.as_deref());
            let before = match is_another || is_believed {
                true => &nothing,
                false => before,
            };
            let update = update(before, response, version, &asked, is_full);
            has_older_epochs = update.has_older_epochs;
            update
        });
        if is_anew {
            self.old_news.met_anew();
        }
        if is_full {
            self.old_news.note(has_older_epochs, Instant::now());
        }
        if is_repeated {
            let now = self.cache.cluster();
            let is_news = |topic: &Arc<str>| cluster.topic(topic) != now.topic(topic);
            let tells_news = asked.iter().any(is_news);
            self.repetition.note_answer(tells_news, Instant::now());
        }
        self.forget_strangers(&self.cache.cluster());
        if is_full {
            let absent = self.observer.absent_topics();
            self.observer.forget_topics(&self.cache.idle_among(absent));
        }
        if is_incomplete {
            // Somebody asks again if somebody cares: a caller that waits, a worker whose partition has no leader.
            return Ok(Attempt::AskAgain);
        }
        Ok(Attempt::Done)
    }

    /// Whether the connected broker, asked for no topic, can tell whether it is of the known cluster.
    pub(super) fn can_tell_its_cluster(&self) -> bool {
        if self.cache.cluster().cluster_id().is_none() {
            return false;
        }
        let version = self
            .client
            .as_ref()
            .map(|(_, client)| client.versions().best::<MetadataRequest<'_>>());
        matches!(version, Some(Ok(2..)))
    }

    /// The wait that a broker asks for. Later versions leave the waiting to the client (`by_client`); before, the broker
    /// has waited itself.
    fn note_throttle(&mut self, by_client: bool, throttle_time_ms: i32) {
        let wait = u64::try_from(throttle_time_ms).unwrap_or(0);
        if let (true, 1.., Some((endpoint, client))) = (by_client, wait, &self.client) {
            let wait = Duration::from_millis(wait);
            client.throttled(wait);
            self.candidates
                .note_throttle(endpoint, wait, Instant::now());
        }
    }

    fn forget_strangers(&mut self, cluster: &Cluster) {
        let bootstrap = &self.config.bootstrap;
        self.candidates.retain(|endpoint| {
            bootstrap.contains(endpoint)
                || cluster
                    .brokers()
                    .any(|broker| *broker.host == *endpoint.host && broker.port == endpoint.port)
        });
    }

    pub(super) fn ask_identity(&mut self) -> Result<Attempt, Error> {
        let request = InitProducerIdRequest {
            transactional_id: None,
            transaction_timeout_ms: i32::MAX,
            producer_id: -1,
            producer_epoch: -1,
        };
        let response = match self.call(&request) {
            Ok((version, response)) => {
                self.note_throttle(version >= 1, response.throttle_time_ms);
                response
            }
            Err(error) if error.kind() == ErrorKind::UnsupportedVersion => {
                self.refuse_identity(error.with_advice("set enable.idempotence=false"));
                return Ok(Attempt::Done);
            }
            Err(error) => return Err(error),
        };
        let error = response.error;
        if error.is_none() {
            let identity = ProducerIdentity {
                producer_id: response.producer_id,
                producer_epoch: response.producer_epoch,
            };
            if identity.producer_id < 0 || identity.producer_epoch < 0 {
                return Err(Error::new(
                    ErrorKind::Protocol,
                    "the broker gave a producer id that is none",
                ));
            }
            if self.cache.has_been_given(identity) {
                return Ok(self.ask_later_for_another(identity));
            }
            self.identity_refusals = 0;
            self.cache.identity_answered(Some(identity));
            self.observer.identity(Ok(()));
            return Ok(Attempt::Done);
        }
        if error.is_retriable() {
            return Ok(Attempt::AskAgain);
        }
        self.refuse_identity(
            Error::answered(error, "the broker gave no producer id").with_advice(
                "allow this client to write idempotently, or set enable.idempotence=false",
            ),
        );
        Ok(Attempt::Done)
    }

    /// Somebody wants another id than the one that was given before, which is given once more: to ask again at once would be
    /// to ask without end.
    fn ask_later_for_another(&mut self, given: ProducerIdentity) -> Attempt {
        let next_question = self.next_identity_question();
        if self.identity_refusals.is_power_of_two() {
            let id = given.producer_id;
            log_line!(log::Level::Warn, target: "kafka_producer::metadata", "the broker gives producer id {id} again, where another one is needed; it is asked again");
        }
        self.cache.identity_postponed(next_question);
        Attempt::Done
    }

    /// Tells those who wait for a producer id that there is none for them. The next batch wants one again: it waits out a
    /// backoff, or each record that is sent would make a question.
    fn refuse_identity(&mut self, error: Error) {
        let next_question = self.next_identity_question();
        self.cache.identity_refused(next_question);
        self.observer.identity(Err(error));
    }

    /// Counts an answer without a new producer id, and returns when a broker is asked for one again: later with each.
    fn next_identity_question(&mut self) -> Instant {
        let pause = self.retry_pause(self.identity_refusals);
        self.identity_refusals = self.identity_refusals.saturating_add(1);
        deadline_after(Instant::now(), pause)
    }
}
