//! OAUTHBEARER (RFC 7628): the client sends a token that a token server issued, and the broker checks it.

pub(crate) mod file;
mod jwt;
mod message;
#[cfg(feature = "sasl-oidc")]
pub(crate) mod oidc;
mod provider;
pub(crate) mod refresh;
pub(crate) mod unsecured;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use self::message::{FAILURE_RECEIVED, Failure, check_extension, client_message};
pub(crate) use self::provider::ProvidedTokens;
pub use self::provider::TokenProvider;
use super::jaas::Jaas;
use super::temporary::TemporaryRefusal;
use super::{Conversation, Mechanism, Message, Next, failed, json, misconfigured};
use crate::error::Error;
use crate::secret::Secret;

/// Supplies tokens: a file, a token server, code of the user.
pub(crate) trait TokenSource: Send + Sync {
    /// Gets a token that is valid now. May wait for it until `deadline`. An error ends the attempt to connect, and a later one
    /// asks again.
    fn fetch(&self, deadline: Instant) -> Result<BearerToken, Error>;

    /// Returns why the [`fetch`](Self::fetch) that is under way has given no token yet, if the source knows it.
    fn delay(&self) -> Option<Error> {
        None
    }

    /// Ends the threads of the source, if it has any. No token is needed any more.
    fn close(&self) {}
}

/// A token for OAUTHBEARER, and what is known of it. `Debug` shows neither the token nor its extensions.
#[derive(Clone)]
pub struct BearerToken {
    value: Secret,
    expires: Option<SystemTime>,
    extensions: Vec<(String, Secret)>,
    principal: Option<String>,
}

impl BearerToken {
    /// Makes a token of its text: what follows `Bearer` in an HTTP header.
    pub fn new(value: impl Into<String>) -> Self {
        Self {
            value: Secret::new(value.into()),
            expires: None,
            extensions: Vec::new(),
            principal: None,
        }
    }

    /// Makes a token of its text. If that is a JSON web token, its claims `exp` and `sub` say when it expires and what its
    /// principal is. The signature is not checked. Any other text is a token whose end is not known, as with [`new`](Self::new):
    /// then [`expires`](Self::expires) has to say it.
    pub fn from_jwt(text: &str) -> Self {
        jwt::token(text)
    }

    /// Sets when the token expires. The producer asks for the next one before, and brokers end the sessions of connections
    /// that use it. Without it the producer asks for a token for each connection.
    #[must_use]
    pub fn expires(mut self, expires: SystemTime) -> Self {
        self.expires = Some(expires);
        self
    }

    /// Adds an extension (KIP-342), such as `logicalCluster`. Its name has letters only and is not `auth`. Its value has
    /// printable ASCII characters. Another extension fails when the token is used.
    #[must_use]
    pub fn extension(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.extensions
            .push((name.into(), Secret::new(value.into())));
        self
    }

    /// Sets the principal, which is shown in messages only.
    #[must_use]
    pub fn principal(mut self, principal: impl Into<String>) -> Self {
        self.principal = Some(principal.into());
        self
    }

    /// Returns for how long after `now` the token is valid. `None` if its end is not known.
    fn time_left(&self, now: SystemTime) -> Option<Duration> {
        let expires = self.expires?;
        Some(expires.duration_since(now).unwrap_or_default())
    }

    /// Returns whether `text` repeats the token or a long part of it.
    fn is_repeated_in(&self, text: &str) -> bool {
        let parts = self.value.reveal().split('.');
        parts
            .filter(|part| part.len() >= 8)
            .any(|part| text.contains(part))
            || text.contains(self.value.reveal())
    }
}

impl fmt::Debug for BearerToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BearerToken")
            .field("expires", &self.expires)
            .field("principal", &self.principal)
            .finish_non_exhaustive()
    }
}

/// Returns the extensions that options of `OAuthBearerLoginModule` add to a token: those whose names begin with `prefix`.
pub(crate) fn extensions(jaas: &Jaas, prefix: &str) -> Result<Vec<(String, Secret)>, Error> {
    let options = jaas.options();
    let named = options.filter_map(|(option, value)| Some((option.strip_prefix(prefix)?, value)));
    named
        .map(|(name, value)| {
            check_extension(name, value.reveal())
                .map_err(|fault| misconfigured(format!("sasl.jaas.config: {fault}")))?;
            Ok((name.to_owned(), value.clone()))
        })
        .collect()
}

/// The mechanism OAUTHBEARER with a source of tokens.
pub(crate) struct OAuthBearer {
    source: Arc<dyn TokenSource>,
}

impl OAuthBearer {
    pub(crate) fn new(source: Arc<dyn TokenSource>) -> Self {
        Self { source }
    }
}

impl Mechanism for OAuthBearer {
    fn name(&self) -> &'static str {
        "OAUTHBEARER"
    }

    fn begin(&self, _: &str, deadline: Instant) -> Result<Box<dyn Conversation>, Error> {
        let token = self.source.fetch(deadline)?;
        Ok(Box::new(OAuthConversation {
            message: client_message(&token)?,
            token,
            state: State::AwaitingAnswer,
        }))
    }

    fn delay(&self) -> Option<Error> {
        self.source.delay()
    }

    fn close(&self) {
        self.source.close();
    }
}

impl fmt::Debug for OAuthBearer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OAuthBearer").finish_non_exhaustive()
    }
}

struct OAuthConversation {
    message: Message,
    token: BearerToken,
    state: State,
}

enum State {
    AwaitingAnswer,
    /// The broker sent why it refuses. It refuses only when the client has answered.
    AwaitingRefusal(Failure),
}

impl Conversation for OAuthConversation {
    fn first(&mut self) -> Result<Message, Error> {
        Ok(self.message.clone())
    }

    fn next(&mut self, challenge: &[u8]) -> Result<Next, Error> {
        match self.state {
            State::AwaitingAnswer if challenge.is_empty() => Ok(Next::Done),
            State::AwaitingAnswer => {
                self.state = State::AwaitingRefusal(Failure::read(challenge));
                Ok(Next::Send(Message::new(vec![FAILURE_RECEIVED])))
            }
            State::AwaitingRefusal(_) => Err(self.refused(None)),
        }
    }

    fn refused(&self, explanation: Option<&str>) -> Error {
        let is_secret = |text: &str| self.token.is_repeated_in(text);
        if let Some(temporary) = TemporaryRefusal::of(explanation) {
            let error = temporary.error("the credentials of the token");
            return match explanation.filter(|text| !is_secret(text)) {
                Some(text) => error.with_broker_message(text),
                None => error,
            };
        }
        let failure = match &self.state {
            State::AwaitingRefusal(failure) if !failure.is_empty() => failure.clone(),
            // Kafka's broker repeats its JSON text here.
            _ => Failure::read(explanation.unwrap_or_default().as_bytes()),
        };
        let sentence = failure.sentence(&self.expired(), is_secret);
        let error = failed(sentence).with_advice(failure.advice());
        // JSON that tells nothing may have the token in it, with escapes.
        let is_plain = |text: &&str| !text.is_empty() && !text.trim_start().starts_with('{');
        match explanation.filter(is_plain) {
            Some(text) if failure.is_empty() && !is_secret(text) => error.with_broker_message(text),
            _ => error,
        }
    }
}

impl OAuthConversation {
    /// Returns for how long the token has been over, as a part of a sentence. It is empty if the token is not.
    fn expired(&self) -> String {
        let since = |expires: SystemTime| SystemTime::now().duration_since(expires).ok();
        let expired = self.token.expires.and_then(since);
        expired.map_or_else(String::new, |since| {
            format!(
                ", which expired {} s ago by this machine's clock",
                since.as_secs()
            )
        })
    }
}

/// Returns the error of a broker that answers `token` with `answer`, and refuses it with the same text.
#[cfg(all(any(test, fuzzing), feature = "unstable-internals"))]
pub(crate) fn refusal(token: &str, answer: &[u8]) -> String {
    let mut conversation = OAuthConversation {
        message: Message::new(Vec::new()),
        token: BearerToken::new(token),
        state: State::AwaitingAnswer,
    };
    let _ = conversation.next(answer);
    let error = conversation.refused(Some(&String::from_utf8_lossy(answer)));
    format!("{error} {error:?}")
}

#[cfg(test)]
mod tests;
