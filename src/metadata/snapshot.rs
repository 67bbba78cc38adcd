//! The metadata snapshot that all threads see, and its publication.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::cluster::Cluster;
use super::topic_map::TopicChanges;
use crate::sync::{Mutex, RwLock};

/// Receives an event for each new snapshot, in order. Its methods must not block or call the metadata cache.
pub(crate) trait ClusterObserver: Send + Sync {
    /// Runs before any thread can see the snapshot. `changes` are the differences from the snapshot before.
    fn before_publication(&self, changes: &TopicChanges);
    /// Runs when all threads can see the snapshot.
    fn after_publication(&self);
}

/// The latest snapshot.
pub(super) struct PublishedCluster {
    cluster: RwLock<Arc<Cluster>>,
    /// Held from the read of one snapshot until the next one is published. So no change is lost, and the observer sees
    /// the snapshots in order. Taken before every other lock.
    publishing: Mutex<()>,
    /// Counts the snapshots.
    generation: AtomicU64,
    observer: Box<dyn ClusterObserver>,
}

impl PublishedCluster {
    pub(super) fn new(observer: Box<dyn ClusterObserver>) -> Self {
        Self {
            cluster: RwLock::default(),
            publishing: Mutex::default(),
            generation: AtomicU64::new(0),
            observer,
        }
    }

    /// Returns the latest snapshot. It is empty before the first answer.
    pub(super) fn latest(&self) -> Arc<Cluster> {
        Arc::clone(&self.cluster.read())
    }

    /// Returns a number that rises with every new snapshot.
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Publishes the snapshot that `make` returns for the latest one. Publishes nothing if it returns `None`.
    pub(super) fn publish(&self, make: impl FnOnce(&Cluster) -> Option<Cluster>) {
        let _publishing = self.publishing.lock();
        let before = self.latest();
        let Some(cluster) = make(&before) else {
            return;
        };
        let changes = cluster.topics.changes_since(&before.topics);
        self.observer.before_publication(&changes);
        *self.cluster.write() = Arc::new(cluster);
        self.generation.fetch_add(1, Ordering::AcqRel);
        self.observer.after_publication();
    }
}
