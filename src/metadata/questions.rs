//! What the metadata thread asks a broker that it is connected to.

use std::sync::Arc;
use std::time::Instant;

use super::cluster::Cluster;
use super::refresh::{Attempt, MetadataRefresher, RefreshObserver};
use super::response::update;
use crate::error::{Error, ErrorKind};
use crate::protocol::messages::{MetadataRequest, MetadataRequestTopic, MetadataResponse};

impl<O: RefreshObserver> MetadataRefresher<O> {
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
        let mut broker = self.broker()?;
        let (version, response): (i16, MetadataResponse) = broker.call(&request)?;
        broker.note_throttle(version >= 6, response.throttle_time_ms);
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
            .map(|connected| connected.client.versions().best::<MetadataRequest<'_>>());
        matches!(version, Some(Ok(2..)))
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
}
