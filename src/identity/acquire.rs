//! The InitProducerId calls of an idempotent producer, and what their responses mean.

use std::sync::Arc;
use std::time::Instant;

use super::{ProducerIdSource, ProducerIdentity};
use crate::backoff::{ExponentialBackoff, SHORTEST_PAUSE};
use crate::error::{Error, ErrorKind};
use crate::metadata::{BrokerCalls, CallOutcome, ConnectedBroker, Due};
use crate::protocol::messages::{InitProducerIdRequest, InitProducerIdResponse};
use crate::threads::logging::log_line;
use crate::time::deadline_after;

/// Receives the result of each request for an identity. Implementations must not block.
pub(crate) trait IdentityObserver: Send {
    /// Reports that the [`ProducerIdSource`] has a new identity, or the error with which a broker refused one.
    fn identity(&self, result: Result<(), Error>);
}

/// Asks a broker for an identity whenever the [`ProducerIdSource`] requests one. Runs on the metadata thread.
pub(crate) struct InitProducerIdCalls<O> {
    source: Arc<ProducerIdSource>,
    observer: O,
    /// The waits after responses without a new identity.
    backoff: ExponentialBackoff,
    /// The number of responses without a new identity since the last new one.
    refusals: u32,
}

impl<O: IdentityObserver> BrokerCalls for InitProducerIdCalls<O> {
    fn due(&self, now: Instant) -> Due {
        self.source.due(now)
    }

    fn call(&mut self, broker: &mut ConnectedBroker<'_>) -> Result<CallOutcome, Error> {
        let request = InitProducerIdRequest {
            transactional_id: None,
            transaction_timeout_ms: i32::MAX,
            producer_id: -1,
            producer_epoch: -1,
        };
        let result = broker.call(&request).map(|(version, response)| {
            broker.note_throttle(version >= 1, response.throttle_time_ms);
            response
        });
        self.receive(result, broker.identity_era(), Instant::now())
    }
}

impl<O: IdentityObserver> InitProducerIdCalls<O> {
    pub(crate) fn new(
        source: Arc<ProducerIdSource>,
        backoff: ExponentialBackoff,
        observer: O,
    ) -> Self {
        Self {
            source,
            observer,
            backoff,
            refusals: 0,
        }
    }

    /// Processes the result of a call to a broker. `era` is the identity era of the call.
    fn receive(
        &mut self,
        result: Result<InitProducerIdResponse, Error>,
        era: u64,
        now: Instant,
    ) -> Result<CallOutcome, Error> {
        let response = match result {
            Ok(response) => response,
            Err(error) if error.kind() == ErrorKind::UnsupportedVersion => {
                self.refuse(error.with_advice("set enable.idempotence=false"), now);
                return Ok(CallOutcome::Done);
            }
            Err(error) => return Err(error),
        };
        let error = response.error;
        if error.is_none() {
            self.receive_identity(&response, era, now)?;
            return Ok(CallOutcome::Done);
        }
        if error.is_retriable() {
            return Ok(CallOutcome::AskAgain);
        }
        let refusal = Error::answered(error, "the broker gave no producer id").with_advice(
            "allow this client to write idempotently, or set enable.idempotence=false",
        );
        self.refuse(refusal, now);
        Ok(CallOutcome::Done)
    }

    fn receive_identity(
        &mut self,
        response: &InitProducerIdResponse,
        era: u64,
        now: Instant,
    ) -> Result<(), Error> {
        let identity = ProducerIdentity {
            producer_id: response.producer_id,
            producer_epoch: response.producer_epoch,
        };
        if identity.producer_id < 0 || identity.producer_epoch < 0 {
            return Err(Error::new(
                ErrorKind::Protocol,
                "the broker gave a negative producer id or epoch",
            ));
        }
        if self.source.was_given(identity, era) {
            self.postpone(identity, now);
            return Ok(());
        }
        self.refusals = 0;
        self.source.give(identity, era);
        self.observer.identity(Ok(()));
        Ok(())
    }

    /// Keeps the request, and asks a broker again after a backoff. A worker needs a new identity, but the broker gave the
    /// same one again. Without a backoff, such calls could follow each other without end.
    fn postpone(&mut self, given: ProducerIdentity, now: Instant) {
        let not_before = self.next_call(now);
        if self.refusals.is_power_of_two() {
            let id = given.producer_id;
            log_line!(log::Level::Warn, target: "kafka_producer::metadata", "the broker gave producer id {id} again, but the producer needs another one and asks again");
        }
        self.source.postpone(not_before);
    }

    /// Ends the request and reports the refusal to the observer. The next batch requests an identity again. That request is
    /// made after a backoff; otherwise each record would cause a request.
    fn refuse(&mut self, error: Error, now: Instant) {
        let not_before = self.next_call(now);
        self.source.refuse(not_before);
        self.observer.identity(Err(error));
    }

    /// Counts a response without a new identity. Returns when a broker may be asked again: the wait grows with each
    /// response.
    fn next_call(&mut self, now: Instant) -> Instant {
        let wait = self.backoff.after(self.refusals).max(SHORTEST_PAUSE);
        self.refusals = self.refusals.saturating_add(1);
        deadline_after(now, wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::{Cluster, MetadataCache};
    use crate::protocol::ErrorCode;
    use crate::sync::Mutex;
    use std::time::Duration;

    /// The results that the workers would receive.
    #[derive(Clone, Default)]
    struct Results(Arc<Mutex<Vec<Result<(), ErrorKind>>>>);

    impl IdentityObserver for Results {
        fn identity(&self, result: Result<(), Error>) {
            self.0.lock().push(result.map_err(|error| error.kind()));
        }
    }

    struct Scene {
        source: Arc<ProducerIdSource>,
        results: Results,
        calls: InitProducerIdCalls<Results>,
        now: Instant,
    }

    const PAUSE: Duration = Duration::from_millis(100);

    impl Scene {
        /// A worker has requested an identity.
        fn new() -> Self {
            let source = ProducerIdSource::new(&MetadataCache::unobserved());
            let results = Results::default();
            let backoff = ExponentialBackoff::new(PAUSE, 100 * PAUSE);
            let calls = InitProducerIdCalls::new(Arc::clone(&source), backoff, results.clone());
            assert_eq!(source.identity(&Cluster::default(), None), None);
            Self {
                source,
                results,
                calls,
                now: Instant::now(),
            }
        }

        fn receive(&mut self, error: ErrorCode, producer_id: i64) -> Result<CallOutcome, Error> {
            let response = InitProducerIdResponse {
                throttle_time_ms: 0,
                error,
                producer_id,
                producer_epoch: 0,
            };
            self.calls.receive(Ok(response), 0, self.now)
        }

        fn results(&self) -> Vec<Result<(), ErrorKind>> {
            std::mem::take(&mut self.results.0.lock())
        }

        /// How long the next call waits.
        fn pause(&self) -> Duration {
            match self.calls.due(self.now) {
                Due::Now => Duration::ZERO,
                Due::At(at) => at - self.now,
                Due::Never => Duration::MAX,
            }
        }
    }

    #[test]
    fn an_identity_completes_the_request_and_is_reported() {
        let mut scene = Scene::new();
        assert_eq!(scene.pause(), Duration::ZERO);
        assert_eq!(
            scene.receive(ErrorCode::NONE, 7).unwrap(),
            CallOutcome::Done
        );
        assert_eq!(scene.pause(), Duration::MAX);
        assert_eq!(scene.results(), [Ok(())]);
        let identity = scene.source.identity(&Cluster::default(), None).unwrap();
        assert_eq!((identity.producer_id, identity.producer_epoch), (7, 0));
    }

    #[test]
    fn an_error_that_can_pass_keeps_the_request_and_reports_nothing() {
        let mut scene = Scene::new();
        let outcome = scene.receive(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS, -1);
        assert_eq!(outcome.unwrap(), CallOutcome::AskAgain);
        assert_eq!(scene.pause(), Duration::ZERO);
        assert!(scene.results().is_empty());
    }

    #[test]
    fn a_negative_producer_id_is_an_error_of_the_broker() {
        let mut scene = Scene::new();
        let error = scene.receive(ErrorCode::NONE, -1).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Protocol);
        assert_eq!(scene.pause(), Duration::ZERO);
        let broken = Error::new(ErrorKind::Network, "the connection ended");
        assert!(scene.calls.receive(Err(broken), 0, scene.now).is_err());
        assert!(scene.results().is_empty());
    }

    #[test]
    fn after_each_refusal_the_next_call_waits_longer() {
        let mut scene = Scene::new();
        for longest in [PAUSE, 2 * PAUSE, 4 * PAUSE] {
            scene
                .receive(ErrorCode::CLUSTER_AUTHORIZATION_FAILED, -1)
                .unwrap();
            assert_eq!(scene.results(), [Err(ErrorKind::Authorization)]);
            assert_eq!(scene.pause(), Duration::MAX, "no batch requests another");
            assert_eq!(scene.source.identity(&Cluster::default(), None), None);
            let pause = scene.pause();
            assert!(pause > longest / 2 && pause < longest + PAUSE, "{pause:?}");
            scene.now += pause;
        }
        let unsupported = Error::new(ErrorKind::UnsupportedVersion, "no InitProducerId");
        let outcome = scene.calls.receive(Err(unsupported), 0, scene.now);
        assert_eq!(outcome.unwrap(), CallOutcome::Done);
        assert_eq!(scene.results(), [Err(ErrorKind::UnsupportedVersion)]);
    }

    #[test]
    fn an_identity_that_is_given_again_is_asked_for_after_a_pause() {
        let mut scene = Scene::new();
        scene.receive(ErrorCode::NONE, 7).unwrap();
        scene.results();
        assert_eq!(scene.source.identity(&Cluster::default(), Some(7)), None);
        for _ in 0..3 {
            assert_eq!(scene.pause(), Duration::ZERO);
            scene.receive(ErrorCode::NONE, 7).unwrap();
            assert!(scene.pause() > PAUSE / 2);
            assert!(scene.results().is_empty());
            scene.now += scene.pause();
        }
        scene.receive(ErrorCode::NONE, 8).unwrap();
        assert_eq!(scene.results(), [Ok(())]);
    }
}
