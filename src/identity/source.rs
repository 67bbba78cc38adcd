//! The producer's identity, which workers and the metadata thread share.

use std::sync::Arc;
use std::time::Instant;

use super::ProducerIdentity;
use crate::metadata::{Cluster, Due, MetadataCache};
use crate::sync::Mutex;

/// The latest identity that a broker gave, and the workers' request for another one.
pub(crate) struct ProducerIdSource {
    /// While a thread holds this lock, it calls nothing else. The metadata thread takes the lock while it holds the lock of
    /// the metadata cache's state.
    state: Mutex<State>,
    /// The cache whose thread is woken for each request.
    metadata: Arc<MetadataCache>,
}

#[derive(Default)]
struct State {
    /// The latest identity, with the identity era in which a broker gave it.
    given: Option<(u64, ProducerIdentity)>,
    is_requested: bool,
    /// The time before which no broker is asked, because the latest response refused an identity or repeated the old one.
    not_before: Option<Instant>,
}

impl ProducerIdSource {
    pub(crate) fn new(metadata: &Arc<MetadataCache>) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            metadata: Arc::clone(metadata),
        })
    }

    /// Returns the producer's identity in `cluster`. An identity of another identity era is not returned, because its id
    /// may belong to another producer now. Returns `None` and requests an identity if there is none of this era, or if its
    /// producer id is `unusable`. Returns `None` without a request if the latest identity is of a newer era.
    pub(crate) fn identity(
        &self,
        cluster: &Cluster,
        unusable: Option<i64>,
    ) -> Option<ProducerIdentity> {
        let mut state = self.state.lock();
        let era = cluster.identity_era;
        if state.given.is_some_and(|(given_in, _)| given_in > era) {
            // A newer metadata snapshot exists. The worker calls this again when it has that snapshot.
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

    /// Returns when the metadata thread is to ask a broker for an identity.
    pub(crate) fn due(&self, now: Instant) -> Due {
        let state = self.state.lock();
        match state.not_before {
            _ if !state.is_requested => Due::Never,
            Some(at) if at > now => Due::At(at),
            _ => Due::Now,
        }
    }

    /// Returns whether the latest identity is this one, given in this era.
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

    /// Ends the request, because a broker refused it. For the next request, no broker is asked before `not_before`.
    pub(crate) fn refuse(&self, not_before: Instant) {
        let mut state = self.state.lock();
        state.is_requested = false;
        state.not_before = Some(not_before);
    }

    /// Keeps the request, but no broker is asked before `not_before`.
    pub(super) fn postpone(&self, not_before: Instant) {
        self.state.lock().not_before = Some(not_before);
    }

    /// Completes the request with this identity, as if a broker of the current cluster gave it.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn give_now(&self, identity: ProducerIdentity) {
        self.give(identity, self.metadata.cluster().identity_era);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const IDENTITY: ProducerIdentity = ProducerIdentity {
        producer_id: 7,
        producer_epoch: 0,
    };

    fn source() -> Arc<ProducerIdSource> {
        ProducerIdSource::new(&MetadataCache::unobserved())
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
