//! Tokens from a token server (OAuth 2.0, RFC 6749), as Java's `OAuthBearerLoginCallbackHandler` gets them.
//!
//! | to | see |
//! |---|---|
//! | make the request | [`grant`]; the assertion in it: [`assertion`] |
//! | read the answer, and say what a refusal means | [`answer`] |
//! | check what a token says of itself | [`claims`] |

mod answer;
mod assertion;
mod claims;
mod grant;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

pub(crate) use self::assertion::{Assertion, SignedAssertion};
pub(crate) use self::claims::ClaimNames;
pub(crate) use self::grant::{Authentication, Encode, Grant};
use super::{BearerToken, TokenSource};
use crate::error::{Error, ErrorKind};
use crate::http::{Client, Request, Requests, Times, Url};
use crate::secret::Secret;
use crate::tls::TlsClient;

/// What a token server is asked, and for how long.
#[derive(Clone, Debug)]
pub(crate) struct OidcSettings {
    /// `sasl.oauthbearer.token.endpoint.url`.
    pub(crate) url: Url,
    pub(crate) grant: Grant,
    /// What goes to the broker beside the token (KIP-342).
    pub(crate) extensions: Vec<(String, Secret)>,
    pub(crate) claims: ClaimNames,
    pub(crate) retries: Retries,
}

/// How a request is repeated if the server cannot be reached or has no time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Retries {
    /// The pause before the first repetition (`sasl.login.retry.backoff.ms`). It doubles each time.
    pub(crate) backoff: Duration,
    /// The time for all attempts together (`sasl.login.retry.backoff.max.ms`). In Java, too, it does not limit one pause.
    pub(crate) total: Duration,
}

/// Begins each error.
const NO_TOKEN: &str = "no token for OAUTHBEARER from sasl.oauthbearer.token.endpoint.url";

/// Gets tokens from a token server.
#[derive(Debug)]
pub(crate) struct OidcTokens {
    settings: OidcSettings,
    client: Client,
    /// The error of the latest request. `None` if it succeeded.
    failure: crate::sync::Mutex<Option<Error>>,
    requests: Arc<Requests>,
}

impl OidcTokens {
    /// Makes the source. TLS, which `https` URLs need, and the times are those of its requests.
    pub(crate) fn new(settings: OidcSettings, tls: Option<Arc<TlsClient>>, times: Times) -> Self {
        let requests = Arc::default();
        Self {
            settings,
            client: Client::new(tls, times, &requests),
            failure: crate::sync::Mutex::new(None),
            requests,
        }
    }

    fn ask(&self, deadline: Instant) -> Result<BearerToken, Error> {
        let OidcSettings { url, grant, .. } = &self.settings;
        let form = grant.form(SystemTime::now())?;
        let mut request = Request::post(url.clone(), form.body.clone())
            .header("Accept", "application/json")
            .header("Cache-Control", "no-cache")
            .header("Content-Type", "application/x-www-form-urlencoded");
        if let Some(authorization) = &form.authorization {
            request = request.header("Authorization", authorization.clone());
        }
        let response = self.client.send(&request, deadline)?;
        let value = answer::token(&response, url, grant, &form)?;
        let mut token = claims::check(value.reveal(), &self.settings.claims, SystemTime::now())?;
        token.extensions.clone_from(&self.settings.extensions);
        Ok(token)
    }

    /// Waits before the next attempt. Returns false if there is none.
    fn pause(&self, pause: Duration, end: Instant) -> bool {
        let now = Instant::now();
        let left = end.saturating_duration_since(now);
        self.requests.pause_until(now + pause.min(left)) && !left.is_zero()
    }
}

impl TokenSource for OidcTokens {
    fn fetch(&self, deadline: Instant) -> Result<BearerToken, Error> {
        let Retries { backoff, total } = self.settings.retries;
        let end = crate::time::deadline_after(Instant::now(), total).min(deadline);
        let mut pause = backoff;
        loop {
            let got = self.ask(deadline);
            *self.failure.lock() = got.as_ref().err().cloned();
            let error = match got {
                Ok(token) => return Ok(token),
                Err(error) => error,
            };
            let is_passing = error.kind() == ErrorKind::Network;
            if !is_passing || !self.pause(pause, end) {
                return Err(error.in_context(NO_TOKEN));
            }
            pause = pause.saturating_mul(2);
        }
    }

    fn delay(&self) -> Option<Error> {
        let failure = self.failure.lock().clone();
        let silent = || {
            let url = &self.settings.url;
            let message = format!("the server at {url} has not answered yet");
            Error::new(ErrorKind::Network, message)
                .with_advice("check the URL, and that the server can be reached from here")
        };
        Some(failure.unwrap_or_else(silent).in_context(NO_TOKEN))
    }

    fn close(&self) {
        self.requests.close();
    }
}

/// Returns whether a text of a peer repeats one of the secrets, or a long part of one between dots.
fn repeats(text: &str, secrets: &[&Secret]) -> bool {
    let parts = secrets.iter().flat_map(|secret| secret.reveal().split('.'));
    parts
        .filter(|part| part.len() >= 8)
        .chain(secrets.iter().map(|secret| secret.reveal()))
        .filter(|part| !part.is_empty())
        .any(|part| text.contains(part))
}

/// Returns the token, or the error, of an answer with this body. For the fuzz targets.
#[cfg(any(test, fuzzing))]
pub(crate) fn token_of(status: u16, body: &[u8]) -> Result<BearerToken, Error> {
    let head = format!(
        "HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let bytes = [head.as_bytes(), body].concat();
    let url = Url::parse("http://server.test/token").expect("a URL");
    let response = crate::http::response_of(&bytes)
        .ok_or_else(|| Error::new(ErrorKind::Network, "no HTTP"))?;
    let grant = Grant::ClientCredentials {
        client_id: "client".to_owned(),
        scope: None,
        authentication: Authentication::Secret {
            secret: Secret::from("hidden-secret"),
            encode: Encode::No,
        },
    };
    let form = grant.form(SystemTime::UNIX_EPOCH)?;
    let value = answer::token(&response, &url, &grant, &form)?;
    claims::check(value.reveal(), &ClaimNames::default(), SystemTime::now())
}

#[cfg(test)]
mod tests;
