//! Gets credentials for connections, and keeps those that end until shortly before.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::credentials::{Attempt, Chain, Credentials, Failures, Found};
use super::environment::Environment;
use crate::error::{Error, ErrorKind};
use crate::sync::{Condvar, Mutex, MutexGuard};
use crate::threads::logging::log_line;

/// New credentials are asked for this long before the old ones end, or earlier if they are valid for a short time only.
const REFRESH_BEFORE_END: Duration = Duration::from_secs(300);

/// The shortest time between two calls of the sources while there are credentials.
const SHORTEST_PAUSE: Duration = Duration::from_secs(10);

/// Credentials that a broker refuses are replaced if they are older than this: new ones would be the same.
const REPLACE_AFTER: Duration = Duration::from_secs(60);

/// The first pause before the sources are asked once more, as in Java's library. It doubles each time.
const FIRST_BACKOFF: Duration = Duration::from_millis(500);

/// How often, and with what pauses, sources are asked once more that did not answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Retries {
    pub(super) most: u32,
    pub(super) longest_backoff: Duration,
}

/// Supplies the credentials of all connections. One thread asks the sources at a time; others wait for its result.
pub(super) struct Provider {
    chain: Chain,
    environment: Arc<Environment>,
    retries: Retries,
    state: Mutex<State>,
    /// Notified when a thread has asked the sources.
    asked: Condvar,
}

#[derive(Default)]
struct State {
    kept: Option<Kept>,
    is_asking: bool,
    /// How often the sources were asked, and the error of the latest time.
    rounds: u64,
    latest_error: Option<Error>,
}

/// Credentials with an end. Those without are read again for each connection, so a changed file takes effect.
struct Kept {
    credentials: Arc<Credentials>,
    since: SystemTime,
    expires: SystemTime,
    refresh_at: SystemTime,
}

/// What a thread does that needs credentials.
enum Step {
    Use(Arc<Credentials>),
    Ask,
    Wait,
}

impl State {
    fn step(&self, now: SystemTime) -> Step {
        let valid = self.kept.as_ref().filter(|kept| now < kept.expires);
        match valid {
            Some(kept) if now < kept.refresh_at || self.is_asking => {
                Step::Use(Arc::clone(&kept.credentials))
            }
            _ if self.is_asking => Step::Wait,
            _ => Step::Ask,
        }
    }
}

impl Provider {
    pub(super) fn new(chain: Chain, environment: Arc<Environment>, retries: Retries) -> Self {
        Self {
            chain,
            environment,
            retries,
            state: Mutex::default(),
            asked: Condvar::new(),
        }
    }

    pub(super) fn environment(&self) -> &Environment {
        &self.environment
    }

    /// Returns credentials that are valid at `now`. Waits for them until `deadline`.
    pub(super) fn credentials(
        &self,
        now: SystemTime,
        deadline: Instant,
    ) -> Result<Arc<Credentials>, Error> {
        let mut state = self.state.lock();
        loop {
            match state.step(now) {
                Step::Use(credentials) => return Ok(credentials),
                Step::Ask => break,
                Step::Wait => self.wait_for_other(&mut state, deadline)?,
            }
        }
        state.is_asking = true;
        drop(state);
        let turn = Turn(self);
        let result = self.ask(now, deadline);
        turn.end(now, result)
    }

    /// Makes the next call ask for new credentials, if a broker refused ones that are not new.
    pub(super) fn refused(&self, credentials: &Arc<Credentials>, now: SystemTime) {
        let mut state = self.state.lock();
        let kept = state.kept.as_mut();
        if let Some(kept) = kept.filter(|kept| Arc::ptr_eq(&kept.credentials, credentials)) {
            let age = now.duration_since(kept.since).unwrap_or_default();
            if age >= REPLACE_AFTER {
                kept.refresh_at = now;
            }
        }
    }

    /// Waits until the thread that asks has a result. Returns its error, if it has one: it would be that of this thread.
    fn wait_for_other(
        &self,
        state: &mut MutexGuard<'_, State>,
        deadline: Instant,
    ) -> Result<(), Error> {
        let round = state.rounds;
        while state.rounds == round {
            if self.asked.wait_until(state, deadline).timed_out() && state.rounds == round {
                let message = "no AWS credentials in time: another connection waits for them, too";
                return Err(Error::new(ErrorKind::Network, message)
                    .with_advice("check the source of the credentials: the client asks again"));
            }
        }
        state.latest_error.clone().map_or(Ok(()), Err)
    }

    /// Asks the sources, also once more if one did not answer.
    fn ask(&self, now: SystemTime, deadline: Instant) -> Result<Found, Failures> {
        let attempt = Attempt {
            environment: &self.environment,
            now,
            deadline,
        };
        let mut retry = 0;
        loop {
            let failures = match self.chain.credentials(&attempt) {
                Ok(found) => return Ok(found),
                Err(failures) => failures,
            };
            let pause = backoff(retry, self.retries.longest_backoff);
            let until = Instant::now() + pause;
            if !failures.are_temporary() || retry >= self.retries.most || until >= deadline {
                return Err(failures);
            }
            self.pause(until);
            retry += 1;
        }
    }

    fn pause(&self, until: Instant) {
        let mut state = self.state.lock();
        while !self.asked.wait_until(&mut state, until).timed_out() {}
    }
}

/// Returns a random part of a span that doubles each time, as Java's library.
fn backoff(retry: u32, longest: Duration) -> Duration {
    let span = FIRST_BACKOFF.saturating_mul(1 << retry.min(16));
    span.min(longest).mul_f64(fastrand::f64())
}

/// The turn of the thread that asks. Its end, also by a panic, lets the others go on.
struct Turn<'a>(&'a Provider);

impl Turn<'_> {
    fn end(
        self,
        now: SystemTime,
        result: Result<Found, Failures>,
    ) -> Result<Arc<Credentials>, Error> {
        let mut lines = None;
        let mut state = self.0.state.lock();
        let result = match result {
            Ok(found) => {
                lines = found.passed_over.unexpected().map(|unexpected| {
                    let origin = &found.credentials.origin;
                    format!("AWS credentials come from {origin}: {unexpected}")
                });
                let credentials = Arc::new(found.credentials);
                state.kept = kept(&credentials, now);
                Ok(credentials)
            }
            Err(failures) => match state.kept.as_mut().filter(|kept| now < kept.expires) {
                Some(kept) => {
                    kept.refresh_at = now + SHORTEST_PAUSE;
                    lines = Some(format!(
                        "the client goes on with the AWS credentials that it has: {}",
                        failures.error().summary()
                    ));
                    Ok(Arc::clone(&kept.credentials))
                }
                None => {
                    state.kept = None;
                    Err(failures.error())
                }
            },
        };
        state.latest_error = result.as_ref().err().cloned();
        drop(state);
        drop(self);
        if let Some(line) = lines {
            log_line!(log::Level::Warn, target: "kafka_producer::sasl", "{line}");
        }
        result
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.is_asking = false;
        state.rounds += 1;
        drop(state);
        self.0.asked.notify_all();
    }
}

fn kept(credentials: &Arc<Credentials>, now: SystemTime) -> Option<Kept> {
    let expires = credentials.expires?;
    let left = expires.duration_since(now).ok()?;
    let usable = left - REFRESH_BEFORE_END.min(left / 4);
    Some(Kept {
        credentials: Arc::clone(credentials),
        since: now,
        expires,
        refresh_at: now + usable.max(SHORTEST_PAUSE),
    })
}

/// Shows neither the state nor the environment: they have secrets.
impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Provider")
            .field("chain", &self.chain)
            .field("retries", &self.retries)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::sasl::msk_iam::credentials::{Missing, Source};
    use crate::sync::channel;

    const START: u64 = 1_796_030_961;

    /// The time, in seconds after a start.
    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(START + seconds)
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(20)
    }

    fn key(number: usize, expires: Option<u64>) -> Result<Credentials, Missing> {
        let mut key = Credentials::new(&format!("AKID{number}"), "hunter2".into(), None, "a test")?;
        key.expires = expires.map(at);
        Ok(key)
    }

    /// Answers with the number of the call.
    struct Script {
        calls: Arc<AtomicUsize>,
        answer: Box<dyn Fn(usize) -> Result<Credentials, Missing> + Send + Sync>,
    }

    impl fmt::Debug for Script {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("Script")
        }
    }

    impl Source for Script {
        fn name(&self) -> String {
            "a script".to_owned()
        }

        fn credentials(&self, _: &Attempt<'_>) -> Result<Credentials, Missing> {
            (self.answer)(self.calls.fetch_add(1, Ordering::SeqCst) + 1)
        }
    }

    fn provider(
        most: u32,
        answer: impl Fn(usize) -> Result<Credentials, Missing> + Send + Sync + 'static,
    ) -> (Arc<Provider>, Arc<AtomicUsize>) {
        let calls = Arc::new(AtomicUsize::new(0));
        let script = Script {
            calls: Arc::clone(&calls),
            answer: Box::new(answer),
        };
        let retries = Retries {
            most,
            longest_backoff: Duration::from_millis(1),
        };
        let environment = Arc::new(Environment::of_list(&[]));
        let chain = Chain::new(vec![Box::new(script)]);
        (Arc::new(Provider::new(chain, environment, retries)), calls)
    }

    fn id(provider: &Provider, seconds: u64) -> String {
        provider
            .credentials(at(seconds), soon())
            .unwrap()
            .key_id
            .clone()
    }

    #[test]
    fn credentials_are_kept_until_shortly_before_their_end() {
        let (provider, _) = provider(0, |call| key(call, Some(3600 * call as u64)));
        for (seconds, expected) in [
            (0, "AKID1"),
            (3299, "AKID1"),
            (3300, "AKID2"),
            (6899, "AKID2"),
            (6900, "AKID3"),
        ] {
            assert_eq!(id(&provider, seconds), expected, "{seconds}");
        }
        assert!(!format!("{provider:?}").contains("hunter2"));
    }

    #[test]
    fn credentials_without_an_end_are_read_each_time() {
        let (provider, _) = provider(0, |call| key(call, None));
        assert_eq!(
            (id(&provider, 0), id(&provider, 0)),
            ("AKID1".to_owned(), "AKID2".to_owned())
        );
    }

    #[test]
    fn a_failed_refresh_keeps_the_old_credentials_until_they_end() {
        let (provider, calls) = provider(0, |call| match call {
            1 => key(1, Some(3600)),
            _ => Err(Missing::temporary("it is down")),
        });
        for (seconds, calls_so_far) in [(0, 1), (3300, 2), (3301, 2), (3311, 3), (3599, 4)] {
            assert_eq!(id(&provider, seconds), "AKID1");
            assert_eq!(calls.load(Ordering::SeqCst), calls_so_far, "{seconds}");
        }
        let error = provider.credentials(at(3600), soon()).unwrap_err();
        assert_eq!(
            error.message(),
            "no AWS credentials were found: a script: it is down"
        );
    }

    #[test]
    fn a_refusal_replaces_credentials_that_are_not_new() {
        let (provider, _) = provider(0, |call| key(call, Some(36_000)));
        let first = provider.credentials(at(0), soon()).unwrap();
        provider.refused(&first, at(59));
        assert_eq!(id(&provider, 59), "AKID1");
        provider.refused(&first, at(60));
        assert_eq!(id(&provider, 60), "AKID2");
        provider.refused(&first, at(1000));
        assert_eq!(id(&provider, 1000), "AKID2");
    }

    #[test]
    fn a_source_that_does_not_answer_is_asked_again_and_another_fault_is_not() {
        let (temporary, calls) = provider(3, |call| match call {
            3 => key(3, None),
            _ => Err(Missing::temporary("it is down")),
        });
        assert_eq!(id(&temporary, 0), "AKID3");
        assert_eq!(calls.load(Ordering::SeqCst), 3);
        let (lasting, calls) = provider(3, |_| Err(Missing::lasting("it is wrong")));
        lasting.credentials(at(0), soon()).unwrap_err();
        assert_eq!(calls.load(Ordering::SeqCst), 1);
        let (always, calls) = provider(2, |_| Err(Missing::temporary("it is down")));
        always.credentials(at(0), soon()).unwrap_err();
        assert_eq!(calls.load(Ordering::SeqCst), 3);
    }

    #[test]
    fn one_thread_asks_and_the_others_get_its_result_or_their_deadline() {
        for fails in [false, true] {
            let (entered, enters) = channel::unbounded();
            let (go, goes) = channel::bounded::<()>(1);
            let (provider, calls) = provider(0, move |call| {
                entered.send(()).unwrap();
                goes.recv().unwrap();
                match fails {
                    true => Err(Missing::lasting("it is wrong")),
                    false => key(call, Some(3600)),
                }
            });
            let ask = |provider: &Arc<Provider>| {
                let provider = Arc::clone(provider);
                std::thread::spawn(move || provider.credentials(at(0), soon()))
            };
            let first = ask(&provider);
            enters.recv().unwrap();
            let late = provider.credentials(at(0), Instant::now()).unwrap_err();
            assert_eq!(late.kind(), ErrorKind::Network);
            let others: Vec<_> = (0..4).map(|_| ask(&provider)).collect();
            go.send(()).unwrap();
            let mut results = vec![first.join().unwrap()];
            if fails {
                // A thread that comes after the failure asks anew.
                drop(go);
            }
            results.extend(others.into_iter().filter_map(|other| other.join().ok()));
            assert!(results.iter().all(|result| result.is_err() == fails));
            if !fails {
                assert_eq!((results.len(), calls.load(Ordering::SeqCst)), (5, 1));
            }
        }
    }

    #[test]
    fn a_panic_of_a_source_lets_the_next_thread_ask() {
        let (provider, _) = provider(0, |call| match call {
            1 => panic!("a bug"),
            _ => key(call, None),
        });
        let asks = std::panic::AssertUnwindSafe(|| provider.credentials(at(0), soon()));
        assert!(std::panic::catch_unwind(asks).is_err());
        assert_eq!(id(&provider, 0), "AKID2");
    }
}
