//! AWS credentials, and where they come from.

use std::fmt;
use std::time::{Instant, SystemTime};

use super::environment::Environment;
use super::timestamp;
use crate::error::{Error, ErrorKind};
use crate::sasl::failed;
use crate::secret::Secret;

/// An access key of AWS. `Debug` shows where it is from and when it ends, and nothing else of it.
#[derive(Clone)]
pub(super) struct Credentials {
    pub(super) key_id: String,
    pub(super) secret_key: Secret,
    pub(super) session_token: Option<Secret>,
    pub(super) expires: Option<SystemTime>,
    /// Where they are from, such as `the environment variables AWS_...`.
    pub(super) origin: String,
}

impl Credentials {
    /// Makes credentials that do not end. Returns what is wrong with the texts.
    pub(super) fn new(
        key_id: &str,
        secret_key: Secret,
        session_token: Option<Secret>,
        origin: impl Into<String>,
    ) -> Result<Self, Missing> {
        let token = session_token.as_ref().map_or("", Secret::reveal);
        for (what, text) in [
            ("the access key id", key_id),
            ("the secret access key", secret_key.reveal()),
            ("the session token", token),
        ] {
            let is_legal = |byte: u8| matches!(byte, b' '..=b'~');
            if !text.bytes().all(is_legal) {
                return Err(Missing::lasting(format!(
                    "{what} holds a character that none can have"
                )));
            }
        }
        // A slash would divide the credential of a signature differently.
        if key_id.is_empty() || key_id.contains(['/', ' ', ',']) {
            return Err(Missing::lasting("the access key id is not legal"));
        }
        if secret_key.reveal().is_empty() {
            return Err(Missing::lasting("the secret access key is empty"));
        }
        Ok(Self {
            key_id: key_id.to_owned(),
            secret_key,
            session_token: session_token.filter(|token| !token.reveal().is_empty()),
            expires: None,
            origin: origin.into(),
        })
    }

    /// Refuses credentials that have ended.
    fn check_end(self, now: SystemTime) -> Result<Self, Missing> {
        match self.expires.filter(|expires| *expires <= now) {
            None => Ok(self),
            Some(expires) => Err(Missing::lasting(format!(
                "its credentials ended at {}, and this machine's clock shows {}",
                timestamp::compact(expires),
                timestamp::compact(now)
            ))),
        }
    }

    /// Returns whether a broker's text repeats a part that is secret.
    pub(super) fn is_repeated_in(&self, text: &str) -> bool {
        let token = self.session_token.iter();
        token
            .chain([&self.secret_key])
            .any(|secret| text.contains(secret.reveal()))
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("origin", &self.origin)
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

/// What a source gets for one attempt.
pub(super) struct Attempt<'a> {
    pub(super) environment: &'a Environment,
    pub(super) now: SystemTime,
    pub(super) deadline: Instant,
}

/// A place that may have credentials.
pub(super) trait Source: fmt::Debug + Send + Sync {
    /// Returns the name of the place, for messages.
    fn name(&self) -> String;

    /// Gets credentials. May wait until the deadline of the attempt.
    fn credentials(&self, attempt: &Attempt<'_>) -> Result<Credentials, Missing>;

    /// Returns whether the next source is asked although this one is set up and does not work. Java's library does so after
    /// the sources that the user's options name, and that can be switched off. After others, the next source may stand for
    /// another identity that the user does not expect, such as the machine's own role in place of the pod's.
    fn yields(&self) -> bool {
        false
    }
}

/// Why a source has no credentials, as the end of a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Missing {
    pub(super) why: String,
    pub(super) cause: Cause,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// The source is not set up here, as most of them on any machine.
    NotSetUp,
    /// The source is set up and does not work. This lasts until it is changed.
    Lasting,
    /// The source did not answer, or asked to try later.
    Temporary,
}

impl Missing {
    pub(super) fn not_set_up(why: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            cause: Cause::NotSetUp,
        }
    }

    pub(super) fn lasting(why: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            cause: Cause::Lasting,
        }
    }

    pub(super) fn temporary(why: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            cause: Cause::Temporary,
        }
    }

    /// Puts a context and a colon before the reason.
    pub(super) fn in_context(mut self, context: impl fmt::Display) -> Self {
        self.why = format!("{context}: {}", self.why);
        self
    }
}

/// Asks several sources, in order, for the first credentials.
#[derive(Debug)]
pub(super) struct Chain {
    sources: Vec<Box<dyn Source>>,
}

impl Chain {
    pub(super) fn new(sources: Vec<Box<dyn Source>>) -> Self {
        Self { sources }
    }

    /// Returns the first credentials, and why sources that are set up before it had none. A source that is set up and has
    /// none now ends the search.
    pub(super) fn credentials(&self, attempt: &Attempt<'_>) -> Result<Found, Failures> {
        let mut failures = Failures::default();
        for source in &self.sources {
            let result = source.credentials(attempt);
            match result.and_then(|credentials| credentials.check_end(attempt.now)) {
                Ok(credentials) => {
                    return Ok(Found {
                        credentials,
                        passed_over: failures,
                    });
                }
                Err(missing) => {
                    let goes_on = match missing.cause {
                        Cause::NotSetUp => true,
                        Cause::Lasting => source.yields(),
                        Cause::Temporary => false,
                    };
                    failures.0.push((source.name(), missing));
                    if !goes_on {
                        break;
                    }
                }
            }
        }
        Err(failures)
    }
}

/// Credentials, and what was asked before their source.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) credentials: Credentials,
    pub(super) passed_over: Failures,
}

impl Found {
    /// Returns whether these credentials come from another source than `others` because that one did not work.
    pub(super) fn is_another_identity(&self, others: &Credentials) -> bool {
        self.credentials.origin != others.origin && self.passed_over.unexpected().is_some()
    }
}

/// The names of sources, and why each of them had no credentials.
#[derive(Clone, Debug, Default)]
pub(super) struct Failures(Vec<(String, Missing)>);

impl Failures {
    pub(super) fn are_temporary(&self) -> bool {
        let mut causes = self.0.iter().map(|(_, missing)| missing.cause);
        causes.any(|cause| cause == Cause::Temporary)
    }

    /// Returns a sentence about the sources that are set up and do not work; `None` if there are none.
    pub(super) fn unexpected(&self) -> Option<String> {
        let unexpected = self.0.iter();
        let unexpected = unexpected.filter(|(_, missing)| missing.cause != Cause::NotSetUp);
        let texts: Vec<_> = unexpected.map(text).collect();
        (!texts.is_empty()).then(|| texts.join("; "))
    }

    pub(super) fn error(&self) -> Error {
        let message = format!("no AWS credentials were found: {self}");
        if self.are_temporary() {
            // Waiting callers are told only of what lasts.
            return Error::new(ErrorKind::Network, message)
                .with_advice("check the source that did not answer: the client asks again");
        }
        failed(message).with_advice(
            "give the program one of these: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile (AWS_PROFILE, or \
             awsProfileName in sasl.jaas.config), or a role of the machine, the container or the pod",
        )
    }
}

/// Shows each source and its reason.
impl fmt::Display for Failures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tried: Vec<_> = self.0.iter().map(text).collect();
        f.write_str(&tried.join("; "))
    }
}

fn text((name, missing): &(String, Missing)) -> String {
    format!("{name}: {}", crate::error::printable(&missing.why))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[derive(Debug)]
    struct Fixed(&'static str, Result<&'static str, Cause>);

    impl Source for Fixed {
        fn name(&self) -> String {
            self.0.to_owned()
        }

        fn credentials(&self, _: &Attempt<'_>) -> Result<Credentials, Missing> {
            match self.1 {
                Ok(key) => Credentials::new(key, "hunter2".into(), None, self.0),
                Err(cause) => Err(Missing {
                    why: "it is not\nthere".to_owned(),
                    cause,
                }),
            }
        }

        fn yields(&self) -> bool {
            self.0.starts_with("named")
        }
    }

    fn ask(sources: Vec<Fixed>) -> Result<Found, Failures> {
        let sources = sources
            .into_iter()
            .map(|source| Box::new(source) as Box<dyn Source>);
        let environment = Environment::of_list(&[]);
        let attempt = Attempt {
            environment: &environment,
            now: SystemTime::UNIX_EPOCH,
            deadline: Instant::now() + Duration::from_secs(5),
        };
        Chain::new(sources.collect()).credentials(&attempt)
    }

    #[test]
    fn the_first_source_with_credentials_counts() {
        let found = ask(vec![
            Fixed("one", Err(Cause::NotSetUp)),
            Fixed("named two", Err(Cause::Lasting)),
            Fixed("three", Ok("AKID")),
            Fixed("four", Ok("OTHER")),
        ])
        .unwrap();
        assert_eq!(
            (&*found.credentials.key_id, &*found.credentials.origin),
            ("AKID", "three")
        );
        assert_eq!(
            found.passed_over.unexpected().unwrap(),
            "named two: it is not\\nthere"
        );
        let found = ask(vec![
            Fixed("one", Err(Cause::NotSetUp)),
            Fixed("two", Ok("A")),
        ])
        .unwrap();
        assert_eq!(found.passed_over.unexpected(), None);
        assert!(!format!("{found:?}").contains("hunter2"));
    }

    #[test]
    fn a_source_that_is_set_up_and_fails_ends_the_search() {
        for (name, cause, kind) in [
            ("one", Cause::Temporary, ErrorKind::Network),
            ("named one", Cause::Temporary, ErrorKind::Network),
            ("one", Cause::Lasting, ErrorKind::Authentication),
        ] {
            let failures = ask(vec![Fixed(name, Err(cause)), Fixed("two", Ok("AKID"))]);
            let error = failures.unwrap_err().error();
            assert_eq!(error.kind(), kind, "{name} {cause:?}");
            assert!(!error.message().contains("two"), "{error}");
        }
    }

    #[test]
    fn without_credentials_the_error_names_each_source_and_its_reason() {
        let failures = ask(vec![
            Fixed("one", Err(Cause::NotSetUp)),
            Fixed("two", Err(Cause::Lasting)),
        ])
        .unwrap_err();
        let error = failures.error();
        assert_eq!(error.kind(), ErrorKind::Authentication);
        assert_eq!(
            error.message(),
            "no AWS credentials were found: one: it is not\\nthere; two: it is not\\nthere"
        );
        let failures = ask(vec![Fixed("one", Err(Cause::Temporary))]).unwrap_err();
        assert_eq!(failures.error().kind(), ErrorKind::Network);
        assert!(failures.error().is_retriable());
    }

    #[test]
    fn credentials_that_have_ended_are_told_with_both_times() {
        let time = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let mut credentials = Credentials::new("AKID", "x".into(), None, "a test").unwrap();
        credentials.expires = Some(time(1_440_938_160));
        let checked = credentials.clone().check_end(time(1_440_938_159));
        assert_eq!(checked.unwrap().key_id, "AKID");
        assert_eq!(
            credentials.check_end(time(1_440_938_160)).unwrap_err(),
            Missing::lasting(
                "its credentials ended at 20150830T123600Z, and this machine's clock shows 20150830T123600Z"
            )
        );
    }

    #[test]
    fn texts_that_are_no_keys_are_refused_and_not_shown() {
        for (key, secret, token) in [
            ("", "hunter2", "x"),
            ("AK/ID", "hunter2", "x"),
            ("AKID\r\n", "hunter2", "x"),
            ("AKID", "", "x"),
            ("AKID", "hunter2\n", "x"),
            ("AKID", "hunter2", "\u{e9}"),
        ] {
            let missing =
                Credentials::new(key, secret.into(), Some(token.into()), "a test").unwrap_err();
            assert_eq!(missing.cause, Cause::Lasting);
            assert!(!format!("{missing:?}").contains("hunter2"));
        }
        let credentials =
            Credentials::new("AKID", "hunter2".into(), Some("".into()), "a test").unwrap();
        assert!(credentials.session_token.is_none());
        assert!(credentials.is_repeated_in("x hunter2") && !credentials.is_repeated_in("AKID"));
    }
}
