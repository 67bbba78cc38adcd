//! Connects the metadata thread with callers and workers: its events, and its questions about topics.

use std::collections::HashSet;
use std::sync::Arc;

use crate::accumulator::RecordAccumulator;
use crate::error::Error;
use crate::identity::IdentityObserver;
use crate::metadata::refresh::RefreshObserver;
use crate::metadata::{ClusterObserver, TopicChanges};
use crate::sender::{Event, Mailbox};

/// Brings a new metadata snapshot to callers and workers.
pub(super) struct Publication(pub(super) Arc<RecordAccumulator>);

impl ClusterObserver for Publication {
    fn before_publication(&self, changes: &TopicChanges) {
        self.0.topics.update(changes);
    }

    fn after_publication(&self) {
        self.0.wake_workers();
    }
}

/// Reports to the metadata thread which topics are in use.
pub(super) struct UsedTopics(pub(super) Arc<RecordAccumulator>);

impl RefreshObserver for UsedTopics {
    fn take_used(&self, topic: &str) -> bool {
        self.0.topics.take_used(topic)
    }

    fn absent_topics(&self) -> Vec<Arc<str>> {
        self.0.topics.absent()
    }

    fn forget_topics(&self, idle: &HashSet<Arc<str>>) {
        self.0.topics.forget(idle);
    }
}

/// Sends the workers the result of each request for a producer id.
pub(super) struct IdentityEvents(pub(super) Vec<Mailbox>);

impl IdentityObserver for IdentityEvents {
    fn identity(&self, result: Result<(), Error>) {
        for worker in &self.0 {
            worker.post(Event::Identity(result.clone()));
        }
    }
}
