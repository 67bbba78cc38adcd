//! HTTP to the endpoints that issue credentials.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

use super::credentials::{Attempt, Credentials, Missing};
use super::timestamp;
use crate::error::{ErrorKind, printable};
use crate::http::{Client, Request, Requests, Response, Times, Url};
use crate::sasl::json;
use crate::secret::Secret;
use crate::sync::Mutex;
use crate::tls::TlsClient;
use crate::tls::settings::{Peer, TlsSettings};

/// For endpoints on the machine itself. AWS's own libraries give them a second.
const NEAR: Times = Times {
    connect: Duration::from_secs(1),
    read: Duration::from_secs(2),
};

const FAR: Times = Times {
    connect: Duration::from_secs(5),
    read: Duration::from_secs(10),
};

/// The clients for HTTP.
pub(super) struct Web {
    near: Client,
    /// Made when it is needed first: it reads the certificates that the system trusts.
    far: Mutex<Option<Arc<Client>>>,
    requests: Arc<Requests>,
}

impl Web {
    pub(super) fn new() -> Self {
        let requests = Arc::default();
        Self {
            near: Client::new(None, NEAR, &requests),
            far: Mutex::new(None),
            requests,
        }
    }

    /// All requests. Nothing needs their answers when they are closed.
    pub(super) fn requests(&self) -> &Requests {
        &self.requests
    }

    /// Makes one request. Returns the answer of a server that does not ask to try later.
    pub(super) fn call(
        &self,
        request: &Request,
        url: &Url,
        attempt: &Attempt<'_>,
    ) -> Result<Response, Missing> {
        ready(self.exchange(request, url, attempt)?, url)
    }

    /// Makes one request. Returns the answer, whatever its status. A server that does not answer is a temporary fault.
    pub(super) fn exchange(
        &self,
        request: &Request,
        url: &Url,
        attempt: &Attempt<'_>,
    ) -> Result<Response, Missing> {
        let result = match url.is_https() {
            false => self.near.send(request, attempt.deadline),
            true => self.far()?.send(request, attempt.deadline),
        };
        result.map_err(|error| match error.kind() {
            ErrorKind::Network => Missing::temporary(error.summary()),
            _ => Missing::lasting(error.summary()),
        })
    }

    fn far(&self) -> Result<Arc<Client>, Missing> {
        if let Some(client) = &*self.far.lock() {
            return Ok(Arc::clone(client));
        }
        let tls = TlsClient::new(TlsSettings {
            peer: Peer::AwsEndpoint,
            ..TlsSettings::default()
        });
        let tls = tls.map_err(|error| Missing::lasting(error.summary()))?;
        let client = Arc::new(Client::new(Some(Arc::new(tls)), FAR, &self.requests));
        *self.far.lock() = Some(Arc::clone(&client));
        Ok(client)
    }
}

impl fmt::Debug for Web {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Web").finish_non_exhaustive()
    }
}

/// Reads the URL that a variable has.
pub(super) fn url(variable: &str, text: &str) -> Result<Url, Missing> {
    Url::parse(text).map_err(|fault| Missing::lasting(format!("{variable} {fault}")))
}

/// Returns whether a host is this machine itself. The client for HTTP never asks a name server for `localhost`.
pub(super) fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host
            .parse()
            .is_ok_and(|address: IpAddr| address.is_loopback())
}

/// Returns an answer, unless it asks to try later: this is a temporary fault.
pub(super) fn ready(response: Response, url: &Url) -> Result<Response, Missing> {
    match response.status() {
        429 | 500.. => Err(Missing::temporary(format!(
            "{url} answered with status {}",
            response.status()
        ))),
        _ => Ok(response),
    }
}

/// Returns the body of an answer as text, if it is a success.
pub(super) fn body<'a>(response: &'a Response, url: &Url) -> Result<&'a str, Missing> {
    if response.status() != 200 {
        return Err(Missing::lasting(format!(
            "{url} answered with status {}",
            response.status()
        )));
    }
    text(response, url)
}

/// Returns the body of an answer as text, whatever its status.
pub(super) fn text<'a>(response: &'a Response, url: &Url) -> Result<&'a str, Missing> {
    std::str::from_utf8(response.body())
        .map_err(|_| Missing::lasting(format!("{url} answered with a body that is not text")))
}

/// The members of a JSON object. Any of them may be a secret.
pub(super) struct Members(Vec<(String, Secret)>);

impl Members {
    /// Reads the object that an endpoint answered.
    pub(super) fn read(text: &str, url: &Url) -> Result<Self, Missing> {
        let members = json::strings(text);
        let members = members.ok_or_else(|| {
            Missing::lasting(format!("{url} answered with a text that is no JSON object"))
        })?;
        let secret = |(name, value)| (name, Secret::new(value));
        Ok(Self(members.into_iter().map(secret).collect()))
    }

    pub(super) fn get(&self, name: &str) -> Option<&Secret> {
        let mut members = self.0.iter();
        members
            .find(|(known, _)| known == name)
            .map(|(_, value)| value)
    }

    /// Returns a text for messages, which is no secret.
    pub(super) fn shown(&self, name: &str) -> Option<String> {
        let text = self.get(name)?.reveal();
        Some(printable(&text.chars().take(200).collect::<String>()))
    }

    /// Returns the credentials that containers and instances get in this form.
    pub(super) fn credentials(&self, url: &Url, origin: &str) -> Result<Credentials, Missing> {
        let text = |name: &str| {
            self.get(name)
                .ok_or_else(|| Missing::lasting(format!("{url} answered without {name}")))
        };
        let issued = Issued {
            key_id: text("AccessKeyId")?.reveal(),
            secret_key: text("SecretAccessKey")?.reveal(),
            session_token: text("Token")?.reveal(),
            expiration: self.get("Expiration").map(Secret::reveal),
        };
        issued.credentials(url, origin)
    }
}

/// What an endpoint issued.
pub(super) struct Issued<'a> {
    pub(super) key_id: &'a str,
    pub(super) secret_key: &'a str,
    pub(super) session_token: &'a str,
    pub(super) expiration: Option<&'a str>,
}

impl Issued<'_> {
    pub(super) fn credentials(&self, url: &Url, origin: &str) -> Result<Credentials, Missing> {
        let token = Some(Secret::from(self.session_token));
        let credentials = Credentials::new(self.key_id, self.secret_key.into(), token, origin);
        let mut credentials = credentials.map_err(|missing| missing.in_context(url))?;
        if let Some(text) = self.expiration {
            let expires = timestamp::parse(text).ok_or_else(|| {
                Missing::lasting(format!("{url} answered with an expiration that is no time"))
            })?;
            credentials.expires = Some(expires);
        }
        Ok(credentials)
    }
}

/// Makes the body of a form.
pub(super) fn form(pairs: &[(&str, &str)]) -> Secret {
    let text: Zeroizing<String> = super::sigv4::query(pairs);
    Secret::from(text.as_str())
}

#[cfg(test)]
mod tests;
