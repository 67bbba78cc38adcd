//! Keeps a valid token: a thread gets the next one ahead of time, so that no connection waits for the token server, and a
//! token server that is down for a while is not noticed. It also gets what is read for each connection, so that a file
//! system that hangs holds up no other thread beyond its deadline.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::{BearerToken, TokenSource};
use crate::backoff::ExponentialBackoff;
use crate::error::{Error, ErrorKind};
use crate::sasl::failed;
use crate::sync::Mutex;
use crate::threads::logging::log_line;
use crate::threads::{BlockingCalls, NoResult, Overlap, catch_panic};

/// A token that ends sooner is not used for a new connection: the broker would refuse it.
const MIN_TIME_LEFT: Duration = Duration::from_secs(1);

/// The time that a source has for one token. Its own limits are shorter.
const LONGEST_FETCH: Duration = Duration::from_secs(60);

/// When the thread gets the next token: `sasl.login.refresh.*`, as in Java.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RefreshWindow {
    /// The part of a token's lifetime after which the next one is fetched.
    pub(crate) factor: f64,
    /// The largest part of the lifetime that is added to `factor` at random.
    pub(crate) jitter: f64,
    /// The shortest time from one token to the next.
    pub(crate) min_period: Duration,
    /// The time before a token's end at which the next one is fetched at the latest.
    pub(crate) buffer: Duration,
}

impl RefreshWindow {
    /// Returns the delay until the next fetch, if the present token ends at `ends`. `random` is from 0 to 1. The two times of
    /// the window count only if the token lasts longer than both together.
    fn delay(&self, now: SystemTime, ends: SystemTime, random: f64) -> Duration {
        let left = ends.duration_since(now).unwrap_or_default();
        let delay = left.mul_f64((self.factor + self.jitter * random).clamp(0.0, 1.0));
        if left <= self.min_period + self.buffer {
            return delay;
        }
        delay.min(left - self.buffer).max(self.min_period)
    }
}

/// A source that keeps the latest token of another one.
///
/// [`fetch`](TokenSource::fetch) returns that token at once while it is valid. Another thread, of the producer that asks
/// first, gets the tokens. It ends when this source is closed, or when no further token is to be fetched.
pub(crate) struct RefreshedTokens(Arc<Shared>);

struct Shared {
    source: Box<dyn TokenSource>,
    /// `None` if each connection gets a token of its own.
    window: Option<RefreshWindow>,
    state: Mutex<State>,
    attempts: BlockingCalls<Result<BearerToken, Error>>,
}

#[derive(Default)]
struct State {
    /// The latest token. `None` if connections do not share it.
    latest: Option<BearerToken>,
    /// The number of failed attempts since the latest token.
    failures: u32,
    /// The error of the latest attempt. `None` if it succeeded.
    error: Option<Error>,
}

impl RefreshedTokens {
    pub(crate) fn new(source: Box<dyn TokenSource>, window: RefreshWindow) -> Self {
        Self::with_window(source, Some(window))
    }

    /// Makes a source that keeps no token: the thread gets one for each connection.
    pub(crate) fn unkept(source: Box<dyn TokenSource>) -> Self {
        Self::with_window(source, None)
    }

    fn with_window(source: Box<dyn TokenSource>, window: Option<RefreshWindow>) -> Self {
        Self(Arc::new(Shared {
            source,
            window,
            state: Mutex::default(),
            attempts: BlockingCalls::new("kp-login", Overlap::Shared(Clone::clone)),
        }))
    }

    /// Returns the latest failure of the attempt that is under way, or else of the one before.
    fn known_delay(&self) -> Option<Error> {
        let last = self.0.state.lock().error.clone();
        self.0.source.delay().or(last)
    }

    fn no_token(&self, no_result: NoResult) -> Error {
        match no_result {
            NoResult::Closed => failed("no token for OAUTHBEARER: the producer is closed"),
            NoResult::Late | NoResult::EarlierHang => no_token_in_time(self.known_delay()),
            NoResult::Panicked => panicked(),
            NoResult::NotStarted(error) => {
                failed("the thread that gets tokens for OAUTHBEARER cannot be started")
                    .with_source(error)
            }
        }
    }
}

impl TokenSource for RefreshedTokens {
    fn fetch(&self, deadline: Instant) -> Result<BearerToken, Error> {
        if let Some(token) = self.0.state.lock().usable(SystemTime::now()) {
            return Ok(token.clone());
        }
        let shared = Arc::clone(&self.0);
        let token = self.0.attempts.run(deadline, move || shared.renew());
        token.unwrap_or_else(|no_result| Err(self.no_token(no_result)))
    }

    fn delay(&self) -> Option<Error> {
        let has_token = self.0.state.lock().usable(SystemTime::now()).is_some();
        let is_awaited = !has_token && self.0.attempts.is_running();
        let unknown = || {
            let message = "what supplies the tokens for OAUTHBEARER has given none yet";
            Error::new(ErrorKind::Network, message).with_advice(SEE_THE_CODE)
        };
        is_awaited.then(|| self.known_delay().unwrap_or_else(unknown))
    }

    fn close(&self) {
        self.0.attempts.close();
        self.0.source.close();
    }
}

impl Drop for RefreshedTokens {
    fn drop(&mut self) {
        self.close();
    }
}

const SEE_THE_CODE: &str = "the next connection tries again; see whether the code that supplies the tokens waits for something";

/// Returns the error of a connection that got no token before its deadline. `delay` says why, if that is known.
fn no_token_in_time(delay: Option<Error>) -> Error {
    let message = "what supplies the tokens for OAUTHBEARER gave none in time";
    let error = Error::new(ErrorKind::Network, message);
    match delay {
        Some(delay) => error.with_advice_of(&delay).with_source(delay),
        None => error.with_advice(SEE_THE_CODE),
    }
}

fn panicked() -> Error {
    failed("the code that supplies tokens for OAUTHBEARER panicked")
}

impl State {
    /// Returns the latest token if a new connection can use it.
    fn usable(&self, now: SystemTime) -> Option<&BearerToken> {
        let is_usable = |token: &&BearerToken| token.time_left(now) > Some(MIN_TIME_LEFT);
        self.latest.as_ref().filter(is_usable)
    }

    /// As [`Shared::note`], for tokens that connections share.
    fn note(
        &mut self,
        got: &Result<BearerToken, Error>,
        window: &RefreshWindow,
        now: SystemTime,
    ) -> (Option<Duration>, Option<Duration>) {
        match got {
            Ok(token) => {
                let left = token.time_left(now).filter(|left| *left > MIN_TIME_LEFT);
                self.latest = Some(token.clone());
                self.failures = 0;
                let delay = left.map(|left| window.delay(now, now + left, fastrand::f64()));
                (delay, None)
            }
            Err(_) => {
                self.failures = self.failures.saturating_add(1);
                let left = self.usable(now).and_then(|token| token.time_left(now));
                let delay = left.map(|left| delay_after(self.failures, left));
                (delay, left)
            }
        }
    }
}

/// Returns how long the thread waits after `failures` failed attempts in a row, with a token that is valid for `left`.
fn delay_after(failures: u32, left: Duration) -> Duration {
    let backoff = ExponentialBackoff::new(Duration::from_secs(1), Duration::from_secs(10));
    backoff.after(failures - 1).min(left / 2)
}

impl Shared {
    /// Gets a token, and schedules the next attempt.
    fn renew(self: Arc<Self>) -> Result<BearerToken, Error> {
        let fetch = || self.source.fetch(Instant::now() + LONGEST_FETCH);
        let got = catch_panic(fetch).unwrap_or_else(|| Err(panicked()));
        let (delay, still_valid) = self.note(&got, SystemTime::now());
        if let (Err(error), Some(left)) = (&got, still_valid) {
            log_line!(log::Level::Warn, target: "kafka_producer::connection",
                "no new token for OAUTHBEARER yet; the present one is valid for {} s more: {error}", left.as_secs());
        }
        if let Some(at) = delay.and_then(|delay| Instant::now().checked_add(delay)) {
            let shared = Arc::clone(&self);
            self.attempts.schedule(at, move || shared.renew());
        }
        got
    }

    /// Notes the end of an attempt. Returns the delay until one for which no connection waits, and how long the token is
    /// still valid that a failed attempt leaves in use.
    fn note(
        &self,
        got: &Result<BearerToken, Error>,
        now: SystemTime,
    ) -> (Option<Duration>, Option<Duration>) {
        let mut state = self.state.lock();
        let replaced = std::mem::replace(&mut state.error, got.as_ref().err().cloned());
        let noted = self.window.map(|window| state.note(got, &window, now));
        drop(state);
        // After the lock: its causes can be types of the user.
        drop(replaced);
        noted.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::channel::{Receiver, Sender, unbounded};

    const WINDOW: RefreshWindow = RefreshWindow {
        factor: 0.8,
        jitter: 0.05,
        min_period: Duration::from_secs(60),
        buffer: Duration::from_secs(300),
    };

    const SOON: Duration = Duration::from_secs(20);

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_next_token_comes_when_java_would_get_it() {
        let now = SystemTime::now();
        for (left, random, expected) in [
            (3600, 0.0, 2880),
            (3600, 1.0, 3060),
            // 300 s before the end at the latest.
            (1000, 0.0, 700),
            // The first minute is too early.
            (361, 0.0, 61),
            // Too short for both times.
            (360, 0.0, 288),
            (100, 1.0, 85),
            (0, 0.5, 0),
        ] {
            let delay = WINDOW.delay(now, now + seconds(left), random);
            assert_eq!(delay.as_secs_f64().round() as u64, expected, "{left}");
        }
        assert_eq!(WINDOW.delay(now, now - seconds(5), 0.5), Duration::ZERO);
    }

    #[test]
    fn failed_attempts_are_repeated_before_the_token_ends() {
        assert_eq!(delay_after(1, seconds(1)), seconds(1) / 2);
        for failures in 1..40 {
            let delay = delay_after(failures, seconds(3600));
            assert!(delay >= seconds(1).mul_f64(0.8) && delay <= seconds(10));
        }
    }

    /// Gives what the test sends. Tells the test that it is asked.
    struct Scripted {
        asked: Sender<()>,
        answers: Receiver<Result<BearerToken, Error>>,
    }

    struct Script {
        asked: Receiver<()>,
        answers: Sender<Result<BearerToken, Error>>,
        tokens: Arc<RefreshedTokens>,
    }

    impl TokenSource for Scripted {
        fn fetch(&self, _: Instant) -> Result<BearerToken, Error> {
            self.asked.send(()).unwrap();
            match self.answers.recv() {
                Ok(answer) => answer,
                Err(_) => panic!("the script is over"),
            }
        }
    }

    fn script(window: RefreshWindow) -> Script {
        script_of(|source| RefreshedTokens::new(source, window))
    }

    fn script_of(tokens: impl FnOnce(Box<dyn TokenSource>) -> RefreshedTokens) -> Script {
        let (asked, is_asked) = unbounded();
        let (answers, answer) = unbounded();
        let source = Box::new(Scripted {
            asked,
            answers: answer,
        });
        Script {
            asked: is_asked,
            answers,
            tokens: Arc::new(tokens(source)),
        }
    }

    fn token(text: &str, lifetime: Duration) -> BearerToken {
        BearerToken::new(text).expires(SystemTime::now() + lifetime)
    }

    fn text(token: Result<BearerToken, Error>) -> String {
        token.unwrap().value.reveal().to_owned()
    }

    fn soon() -> Instant {
        Instant::now() + SOON
    }

    #[test]
    fn many_connections_wait_for_one_attempt_and_then_share_its_token() {
        let script = script(WINDOW);
        let threads: Vec<_> = (0..8)
            .map(|_| {
                let tokens = Arc::clone(&script.tokens);
                std::thread::spawn(move || text(tokens.fetch(soon())))
            })
            .collect();
        script.asked.recv_timeout(SOON).unwrap();
        script
            .answers
            .send(Ok(token("one", seconds(3600))))
            .unwrap();
        for thread in threads {
            assert_eq!(thread.join().unwrap(), "one");
        }
        assert_eq!(text(script.tokens.fetch(Instant::now())), "one");
        assert!(script.asked.try_recv().is_err());
    }

    #[test]
    fn a_failed_refresh_keeps_the_token_and_is_repeated() {
        let window = RefreshWindow {
            factor: 0.0,
            jitter: 0.0,
            min_period: Duration::ZERO,
            buffer: Duration::ZERO,
        };
        let script = script(window);
        script
            .answers
            .send(Ok(token("one", seconds(3600))))
            .unwrap();
        assert_eq!(text(script.tokens.fetch(soon())), "one");
        script.asked.recv_timeout(SOON).unwrap();
        // The refresh is due at once.
        script.asked.recv_timeout(SOON).unwrap();
        script.answers.send(Err(failed("down"))).unwrap();
        script.asked.recv_timeout(SOON).unwrap();
        assert_eq!(text(script.tokens.fetch(Instant::now())), "one");
        script
            .answers
            .send(Ok(token("two", seconds(3600))))
            .unwrap();
        script.asked.recv_timeout(SOON).unwrap();
        assert_eq!(text(script.tokens.fetch(Instant::now())), "two");
        script.answers.send(Err(failed("down"))).unwrap();
    }

    #[test]
    fn a_token_without_a_known_end_is_fetched_for_each_connection() {
        let script = script(WINDOW);
        for name in ["one", "two"] {
            script.answers.send(Ok(BearerToken::new(name))).unwrap();
            assert_eq!(text(script.tokens.fetch(soon())), name);
        }
    }

    #[test]
    fn a_source_that_is_read_for_each_connection_holds_up_no_caller_while_it_hangs() {
        let script = script_of(RefreshedTokens::unkept);
        for name in ["one", "two"] {
            script.answers.send(Ok(token(name, seconds(3600)))).unwrap();
            assert_eq!(text(script.tokens.fetch(soon())), name);
        }
        assert!(script.tokens.fetch(Instant::now()).is_err());
        script
            .answers
            .send(Ok(token("three", seconds(3600))))
            .unwrap();
        assert_eq!(text(script.tokens.fetch(soon())), "three");
    }

    #[test]
    fn a_token_that_is_over_is_passed_on_once() {
        let script = script(WINDOW);
        let over = BearerToken::new("over").expires(SystemTime::now() - seconds(5));
        script.answers.send(Ok(over)).unwrap();
        assert_eq!(text(script.tokens.fetch(soon())), "over");
        script.answers.send(Ok(token("next", seconds(60)))).unwrap();
        assert_eq!(text(script.tokens.fetch(soon())), "next");
    }

    #[test]
    fn errors_panics_and_silence_end_a_fetch_and_the_next_one_asks_again() {
        let script = script(WINDOW);
        script.answers.send(Err(failed("no"))).unwrap();
        let error = script.tokens.fetch(soon()).unwrap_err();
        assert!(error.to_string().contains("no"), "{error}");

        let error = script.tokens.fetch(Instant::now()).unwrap_err();
        assert!(error.to_string().contains("in time"), "{error}");

        // It joins the attempt that still runs, which then panics.
        drop(script.answers);
        let error = script.tokens.fetch(soon()).unwrap_err();
        assert!(error.to_string().contains("panicked"), "{error}");
    }

    #[test]
    fn a_delay_is_told_while_a_connection_waits_and_only_then() {
        let script = script(WINDOW);
        assert!(script.tokens.delay().is_none());
        let in_time = script.tokens.fetch(Instant::now()).unwrap_err();
        assert!(
            in_time.to_string().contains("gave none in time"),
            "{in_time}"
        );
        script.asked.recv_timeout(SOON).unwrap();
        let delay = script.tokens.delay().unwrap().to_string();
        assert!(delay.contains("has given none yet"), "{delay}");
        script.answers.send(Err(failed("down"))).unwrap();
        let end = soon();
        while script.tokens.delay().is_some() {
            assert!(Instant::now() < end);
            std::thread::yield_now();
        }
        // The failure of the attempt before is the latest that is known.
        assert!(script.tokens.fetch(Instant::now()).is_err());
        script.asked.recv_timeout(SOON).unwrap();
        assert!(
            script
                .tokens
                .delay()
                .unwrap()
                .to_string()
                .starts_with("down")
        );
        script
            .answers
            .send(Ok(token("one", seconds(3600))))
            .unwrap();
        assert_eq!(text(script.tokens.fetch(soon())), "one");
        assert!(script.tokens.delay().is_none());
    }

    #[test]
    fn a_close_ends_the_thread_and_those_who_wait() {
        let script = script(WINDOW);
        let tokens = Arc::clone(&script.tokens);
        let waiting = std::thread::spawn(move || tokens.fetch(soon()).unwrap_err().to_string());
        script.asked.recv_timeout(SOON).unwrap();
        script.tokens.close();
        assert!(waiting.join().unwrap().contains("closed"));
        assert!(script.tokens.fetch(soon()).is_err());
        // The attempt under way ends, and no other begins.
        script.answers.send(Err(failed("late"))).unwrap();
        while script.tokens.0.attempts.is_running() {
            std::thread::yield_now();
        }
        assert!(script.tokens.fetch(soon()).is_err());
        assert!(script.asked.try_recv().is_err());
    }
}
