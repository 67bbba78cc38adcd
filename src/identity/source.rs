//! The producer's identity as workers and the metadata thread share it.

use std::sync::Arc;
use std::time::Instant;

use super::ProducerIdentity;
use crate::metadata::{Cluster, Due, MetadataCache};
use crate::sync::Mutex;

/// The producer's identity, if a broker gave one, and the request for another.
pub(crate) struct ProducerIdSource {
    /// Nothing is called under this lock. The metadata thread takes it under the lock of the metadata cache's state.
    state: Mutex<State>,
    /// Its thread is woken for each request.
    metadata: Arc<MetadataCache>,
}

#[derive(Default)]
struct State {
    /// The latest identity, with the era in which it was given.
    given: Option<(u64, ProducerIdentity)>,
    is_requested: bool,
    /// The last request was refused or gave no new identity: no broker is asked before.
    not_before: Option<Instant>,
}

impl ProducerIdSource {
    pub(crate) fn new(metadata: &Arc<MetadataCache>) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            metadata: Arc::clone(metadata),
        })
    }

    /// Returns the producer's identity in `cluster`. `None` if there is none yet, or its producer id is `unusable`: then
    /// this requests a new one. An identity of another era is not used, because its id may be another producer's now.
    pub(crate) fn identity(
        &self,
        cluster: &Cluster,
        unusable: Option<i64>,
    ) -> Option<ProducerIdentity> {
        let mut state = self.state.lock();
        let era = cluster.identity_era;
        if state.given.is_some_and(|(given_in, _)| given_in > era) {
            // A newer metadata snapshot exists, and the worker asks again when it has it.
            return None;
        }
        let given = state.given.filter(|(given_in, _)| *given_in == era);
        let usable = given
            .map(|(_, identity)| identity)
            .filter(|identity| Some(identity.producer_id) != unusable);
        if usable.is_none() && !state.is_requested {
            state.is_requested = true;
            drop(state);
            self.metadata.wake_thread();
        }
        usable
    }

    /// Returns when a broker is to be asked for an identity.
    pub(crate) fn due(&self, now: Instant) -> Due {
        let state = self.state.lock();
        match state.not_before {
            _ if !state.is_requested => Due::Never,
            Some(at) if at > now => Due::At(at),
            _ => Due::Now,
        }
    }

    /// Whether this identity is the latest that was given, and was given in the same era.
    pub(super) fn was_given(&self, identity: ProducerIdentity, era: u64) -> bool {
        self.state.lock().given == Some((era, identity))
    }

    /// Completes the request with an identity that a broker gave in `era`.
    pub(super) fn give(&self, identity: ProducerIdentity, era: u64) {
        *self.state.lock() = State {
            given: Some((era, identity)),
            is_requested: false,
            not_before: None,
        };
    }

    /// Completes the request: a broker refused it. The next one is not made before `not_before`.
    pub(crate) fn refuse(&self, not_before: Instant) {
        let mut state = self.state.lock();
        state.is_requested = false;
        state.not_before = Some(not_before);
    }

    /// Keeps the request, but no broker is asked before `not_before`.
    pub(super) fn postpone(&self, not_before: Instant) {
        self.state.lock().not_before = Some(not_before);
    }

    /// As if a broker of the current cluster gave this identity.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn give_now(&self, identity: ProducerIdentity) {
        self.give(identity, self.metadata.cluster().identity_era);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::{ClusterObserver, TopicChanges};
    use std::time::Duration;

    const IDENTITY: ProducerIdentity = ProducerIdentity {
        producer_id: 7,
        producer_epoch: 0,
    };

    fn source() -> Arc<ProducerIdSource> {
        struct NoObserver;
        impl ClusterObserver for NoObserver {
            fn before_publication(&self, _: &TopicChanges) {}
            fn after_publication(&self) {}
        }
        ProducerIdSource::new(&MetadataCache::new(Box::new(NoObserver)))
    }

    fn cluster(identity_era: u64) -> Cluster {
        Cluster {
            identity_era,
            ..Cluster::default()
        }
    }

    #[test]
    fn an_unusable_identity_is_not_returned_again() {
        let (source, now) = (source(), Instant::now());
        assert_eq!(source.due(now), Due::Never);
        assert_eq!(source.identity(&cluster(0), None), None);
        assert_eq!(source.due(now), Due::Now);
        source.give(IDENTITY, 0);
        assert_eq!(source.due(now), Due::Never);
        assert_eq!(source.identity(&cluster(0), None), Some(IDENTITY));
        let unusable = Some(IDENTITY.producer_id);
        assert_eq!(source.identity(&cluster(0), unusable), None);
        assert_eq!(source.due(now), Due::Now);
    }

    #[test]
    fn an_identity_of_an_older_era_is_not_used_and_one_of_a_newer_era_is_waited_for() {
        let (source, now) = (source(), Instant::now());
        source.give(IDENTITY, 3);
        assert_eq!(source.identity(&cluster(3), None), Some(IDENTITY));
        // A worker without the newest snapshot requests nothing: it will get the snapshot.
        assert_eq!(source.identity(&cluster(2), None), None);
        assert_eq!(source.due(now), Due::Never);
        assert_eq!(source.identity(&cluster(4), None), None);
        assert_eq!(source.due(now), Due::Now);
    }

    #[test]
    fn after_a_refusal_the_next_request_waits() {
        let (source, now) = (source(), Instant::now());
        assert_eq!(source.identity(&cluster(0), None), None);
        let later = now + Duration::from_secs(1);
        source.refuse(later);
        assert_eq!(source.due(now), Due::Never);
        assert_eq!(source.identity(&cluster(0), None), None);
        assert_eq!(source.due(now), Due::At(later));
        assert_eq!(source.due(later), Due::Now);
        source.give(IDENTITY, 0);
        let unusable = Some(IDENTITY.producer_id);
        assert_eq!(source.identity(&cluster(0), unusable), None);
        assert_eq!(source.due(now), Due::Now, "a given identity ends the wait");
    }
}
