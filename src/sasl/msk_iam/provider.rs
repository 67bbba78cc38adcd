//! Gets credentials for connections, and keeps those that end until shortly before.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::absent;
use super::credentials::{Attempt, Chain, Credentials, Failures, Found};
use super::environment::Environment;
use crate::error::Error;
use crate::sync::Mutex;
use crate::threads::logging::log_line;
use crate::threads::{BlockingCalls, Overlap};

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

/// Credentials that are still valid wait for new ones at most this long: a connection has to be made with them yet.
const LONGEST_DELAY: Duration = Duration::from_secs(2);

/// How long the sources are asked while no connection waits for them.
const LONGEST_ASK: Duration = Duration::from_secs(60);

/// Supplies the credentials of all connections. One thread asks the sources at a time; connections wait for its result.
pub(super) struct Provider {
    chain: Chain,
    environment: Arc<Environment>,
    retries: Retries,
    kept: Mutex<Option<Kept>>,
    runs: BlockingCalls<Result<Arc<Credentials>, Error>>,
}

/// Credentials with an end. Those without are read again for each connection, so a changed file takes effect.
struct Kept {
    credentials: Arc<Credentials>,
    since: SystemTime,
    expires: SystemTime,
    refresh_at: SystemTime,
}

impl Provider {
    pub(super) fn new(chain: Chain, environment: Arc<Environment>, retries: Retries) -> Self {
        Self {
            chain,
            environment,
            retries,
            kept: Mutex::new(None),
            runs: BlockingCalls::new("kp-aws", Overlap::Shared(Clone::clone)),
        }
    }

    pub(super) fn environment(&self) -> &Environment {
        &self.environment
    }

    /// Returns credentials that are valid at `now`. Waits for them until `deadline`.
    pub(super) fn credentials(
        self: &Arc<Self>,
        now: SystemTime,
        deadline: Instant,
    ) -> Result<Arc<Credentials>, Error> {
        let asked = Instant::now();
        let (valid, wait_until, ask_until) = match self.valid(now) {
            Some((valid, is_due)) if !is_due || self.runs.is_running() => return Ok(valid),
            Some((valid, _)) => {
                let wait_until = deadline.min(asked + LONGEST_DELAY);
                (Some(valid), wait_until, asked + LONGEST_ASK)
            }
            None => {
                // The thread ends a little earlier than the wait, so that the error is that of the source.
                let left = deadline.saturating_duration_since(asked);
                (None, deadline, asked + left.mul_f64(0.9))
            }
        };
        let provider = Arc::clone(self);
        let run = move || provider.renew(now, ask_until);
        match (self.runs.run(wait_until, run), valid) {
            (Ok(Ok(credentials)), _) => Ok(credentials),
            (_, Some(valid)) => Ok(valid),
            (Ok(Err(error)), None) => Err(error),
            (Err(no_result), None) => Err(absent(no_result, "AWS credentials")),
        }
    }

    /// Returns the credentials that are valid at `now`, and whether they are to be replaced.
    fn valid(&self, now: SystemTime) -> Option<(Arc<Credentials>, bool)> {
        let kept = self.kept.lock();
        let kept = kept.as_ref().filter(|kept| now < kept.expires)?;
        Some((Arc::clone(&kept.credentials), now >= kept.refresh_at))
    }

    /// Makes the next call ask for new credentials, if a broker refused ones that are not new.
    pub(super) fn refused(&self, credentials: &Arc<Credentials>, now: SystemTime) {
        let mut kept = self.kept.lock();
        let kept = kept.as_mut();
        if let Some(kept) = kept.filter(|kept| Arc::ptr_eq(&kept.credentials, credentials)) {
            let age = now.duration_since(kept.since).unwrap_or_default();
            if age >= REPLACE_AFTER {
                kept.refresh_at = now;
            }
        }
    }

    /// Ends the waits for credentials. Nothing is asked any more.
    pub(super) fn close(&self) {
        self.runs.close();
        self.environment.web().requests().close();
    }

    /// Asks for credentials in place of those that are kept. Returns those if that fails and they are still valid.
    fn renew(&self, now: SystemTime, deadline: Instant) -> Result<Arc<Credentials>, Error> {
        // The run before this one may have ended just now.
        if let Some((credentials, false)) = self.valid(now) {
            return Ok(credentials);
        }
        let started = Instant::now();
        let result = self.ask(now, started, deadline);
        self.note(result, now + started.elapsed())
    }

    /// Asks the sources, also once more if one did not answer. It is `now` at `started`.
    fn ask(&self, now: SystemTime, started: Instant, deadline: Instant) -> Result<Found, Failures> {
        let mut retry = 0;
        loop {
            let attempt = Attempt {
                environment: &self.environment,
                now: now + started.elapsed(),
                deadline,
            };
            let failures = match self.chain.credentials(&attempt) {
                Ok(found) => return Ok(found),
                Err(failures) => failures,
            };
            let pause = backoff(retry, self.retries.longest_backoff);
            let until = Instant::now() + pause;
            if !failures.are_temporary() || retry >= self.retries.most || until >= deadline {
                return Err(failures);
            }
            if !self.environment.web().requests().pause_until(until) {
                return Err(failures);
            }
            retry += 1;
        }
    }

    /// Notes what the sources answered at `now`.
    fn note(
        &self,
        result: Result<Found, Failures>,
        now: SystemTime,
    ) -> Result<Arc<Credentials>, Error> {
        let mut state = self.kept.lock();
        let valid = state.as_mut().filter(|kept| now < kept.expires);
        let (result, line) = match (result, valid) {
            (Ok(found), Some(valid)) if found.is_another_identity(&valid.credentials) => {
                let why = found.passed_over.unexpected().unwrap_or_default();
                (Ok(valid.go_on(now)), Some(goes_on(&why)))
            }
            (Ok(found), _) => {
                let line = found.passed_over.unexpected().map(|unexpected| {
                    let origin = &found.credentials.origin;
                    format!("AWS credentials come from {origin}: {unexpected}")
                });
                let credentials = Arc::new(found.credentials);
                *state = kept(&credentials, now);
                (Ok(credentials), line)
            }
            (Err(failures), Some(valid)) => {
                let line = goes_on(&failures.error().summary());
                (Ok(valid.go_on(now)), Some(line))
            }
            (Err(failures), None) => {
                *state = None;
                (Err(failures.error()), None)
            }
        };
        drop(state);
        if let Some(line) = line {
            log_line!(log::Level::Warn, target: "kafka_producer::sasl", "{line}");
        }
        result
    }
}

impl Kept {
    /// Puts the next call of the sources off. Returns the credentials.
    fn go_on(&mut self, now: SystemTime) -> Arc<Credentials> {
        self.refresh_at = now + SHORTEST_PAUSE;
        Arc::clone(&self.credentials)
    }
}

fn goes_on(why: &str) -> String {
    format!("the client goes on with the AWS credentials that it has: {why}")
}

/// Returns a random part of a span that doubles each time, as Java's library.
fn backoff(retry: u32, longest: Duration) -> Duration {
    let span = FIRST_BACKOFF.saturating_mul(1 << retry.min(16));
    span.min(longest).mul_f64(fastrand::f64())
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
    use crate::error::ErrorKind;
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

    fn id(provider: &Arc<Provider>, seconds: u64) -> String {
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
        for (seconds, calls_so_far) in [(0, 1), (3300, 2), (3301, 2), (3320, 3), (3599, 4)] {
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
        provider.refused(&first, at(70));
        assert_eq!(id(&provider, 70), "AKID2");
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
                // A thread that comes after the failure asks again.
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
        let error = provider.credentials(at(0), soon()).unwrap_err();
        assert!(error.message().contains("panicked"), "{error}");
        assert_eq!(id(&provider, 0), "AKID2");
    }

    /// A source that may yield to the ones after it.
    #[derive(Debug)]
    struct Named(Arc<Mutex<Result<Credentials, Missing>>>, bool);

    impl Source for Named {
        fn name(&self) -> String {
            "a named source".to_owned()
        }

        fn credentials(&self, _: &Attempt<'_>) -> Result<Credentials, Missing> {
            self.0.lock().clone()
        }

        fn yields(&self) -> bool {
            self.1
        }
    }

    #[test]
    fn valid_credentials_are_not_replaced_by_those_of_another_identity() {
        for (fault, yields) in [
            (Missing::temporary("status 503"), false),
            (Missing::temporary("status 503"), true),
            (Missing::lasting("status 403"), false),
            (Missing::lasting("status 403"), true),
        ] {
            let answer = Arc::new(Mutex::new(key(1, Some(3600))));
            let mut other = key(2, Some(36_000)).unwrap();
            other.origin = "another source".to_owned();
            let other = Arc::new(Mutex::new(Ok(other)));
            let sources: Vec<Box<dyn Source>> = vec![
                Box::new(Named(Arc::clone(&answer), yields)),
                Box::new(Named(other, false)),
            ];
            let retries = Retries {
                most: 0,
                longest_backoff: Duration::ZERO,
            };
            let environment = Arc::new(Environment::of_list(&[]));
            let provider = Arc::new(Provider::new(Chain::new(sources), environment, retries));
            assert_eq!(id(&provider, 0), "AKID1");
            *answer.lock() = Err(fault.clone());
            assert_eq!(id(&provider, 3500), "AKID1", "{fault:?}");
            *answer.lock() = key(3, Some(7200));
            assert_eq!(id(&provider, 3520), "AKID3", "{fault:?}");
        }
    }

    /// A source that answers the first time and then hangs until the sender is dropped. The receiver tells that it hangs.
    fn hanging(first: Option<u64>) -> (Arc<Provider>, channel::Receiver<()>, channel::Sender<()>) {
        let (entered, enters) = channel::unbounded();
        let (go, goes) = channel::bounded::<()>(1);
        let (provider, _) = provider(0, move |call| {
            if let (1, Some(expires)) = (call, first) {
                return key(1, Some(expires));
            }
            entered.send(()).unwrap();
            let _ = goes.recv();
            Err(Missing::temporary("it hung"))
        });
        (provider, enters, go)
    }

    #[test]
    fn valid_credentials_are_used_while_their_source_hangs() {
        let (provider, enters, go) = hanging(Some(3600));
        assert_eq!(id(&provider, 0), "AKID1");
        let started = Instant::now();
        assert_eq!(id(&provider, 3300), "AKID1");
        assert!(started.elapsed() < Duration::from_secs(10));
        enters.recv().unwrap();
        // The next one does not wait for a source that is asked already.
        assert_eq!(id(&provider, 3301), "AKID1");
        drop(go);
    }

    #[test]
    fn the_next_refresh_is_put_off_from_the_end_of_a_failed_one() {
        let (provider, enters, go) = hanging(Some(3600));
        assert_eq!(id(&provider, 0), "AKID1");
        let other = Arc::clone(&provider);
        let asks = std::thread::spawn(move || id(&other, 3300));
        enters.recv().unwrap();
        let hung = Instant::now();
        assert_eq!(asks.join().unwrap(), "AKID1");
        let hung = hung.elapsed();
        drop(go);
        while provider.runs.is_running() {
            std::thread::yield_now();
        }
        let refresh_at = provider.kept.lock().as_ref().unwrap().refresh_at;
        assert!(refresh_at >= at(3300) + SHORTEST_PAUSE + hung);
    }

    #[test]
    fn a_source_that_hangs_does_not_hold_a_connection_after_its_deadline() {
        let (provider, enters, go) = hanging(None);
        for _ in 0..3 {
            let deadline = Instant::now() + Duration::from_millis(20);
            let error = provider.credentials(at(0), deadline).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Network);
            assert!(error.message().contains("in time"), "{error}");
        }
        // One thread hangs, not three.
        assert_eq!((enters.recv(), enters.try_recv().is_err()), (Ok(()), true));
        drop(go);
    }

    #[test]
    fn a_close_ends_the_waits_and_the_pauses_between_retries() {
        let far = Instant::now() + Duration::from_secs(3600);
        let closed = |provider: Arc<Provider>, ready: channel::Receiver<()>| {
            let waiting = Arc::clone(&provider);
            let waiting = std::thread::spawn(move || waiting.credentials(at(0), far).unwrap_err());
            ready.recv().unwrap();
            provider.close();
            let error = waiting.join().unwrap();
            assert!(error.message().contains("closed"), "{error}");
            assert!(provider.credentials(at(0), far).is_err());
        };
        let (provider, enters, go) = hanging(None);
        closed(provider, enters);
        drop(go);
        let (entered, enters) = channel::unbounded();
        let (provider, calls) = self::provider(u32::MAX, move |_| {
            let _ = entered.send(());
            Err(Missing::temporary("it is down"))
        });
        closed(Arc::clone(&provider), enters);
        while provider.runs.is_running() {
            std::thread::yield_now();
        }
        let after = calls.load(Ordering::SeqCst);
        assert!(provider.credentials(at(0), far).is_err());
        assert_eq!(calls.load(Ordering::SeqCst), after);
    }
}
