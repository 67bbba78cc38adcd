//! OAUTHBEARER (RFC 7628): the client sends a token that a token server issued, and the broker checks it.

mod message;
pub(crate) mod unsecured;

use std::fmt;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use self::message::{FAILURE_RECEIVED, Failure, check_extension, client_message};
use super::{Conversation, Mechanism, Message, Next, failed, json};
use crate::error::Error;
use crate::secret::Secret;

/// Supplies tokens: a file, a token server, code of the user.
pub(crate) trait TokenSource: Send + Sync {
    /// Gets a token that is valid now. May wait for it until `deadline`. An error ends the attempt to connect, and a later one
    /// asks again.
    fn fetch(&self, deadline: Instant) -> Result<Token, Error>;
}

/// A bearer token, and what is known of it. `Debug` shows neither the token nor its extensions.
#[derive(Clone)]
pub(crate) struct Token {
    value: Secret,
    expires: Option<SystemTime>,
    extensions: Vec<(String, Secret)>,
    principal: Option<String>,
}

impl Token {
    /// Makes a token of its text, as it stands behind `Bearer` in HTTP.
    pub(crate) fn new(value: impl Into<String>) -> Self {
        Self {
            value: Secret::new(value.into()),
            expires: None,
            extensions: Vec::new(),
            principal: None,
        }
    }

    /// Sets when the token expires. Connections that use it are replaced before.
    #[must_use]
    pub(crate) fn expires(mut self, expires: SystemTime) -> Self {
        self.expires = Some(expires);
        self
    }

    /// Adds an extension (KIP-342), such as `logicalCluster`. Its name has letters only and is not `auth`.
    #[must_use]
    pub(crate) fn extension(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.extensions
            .push((name.into(), Secret::new(value.into())));
        self
    }

    /// Sets whom the token stands for. It is shown in messages only.
    #[must_use]
    pub(crate) fn principal(mut self, principal: impl Into<String>) -> Self {
        self.principal = Some(principal.into());
        self
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

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("expires", &self.expires)
            .field("principal", &self.principal)
            .finish_non_exhaustive()
    }
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
}

impl fmt::Debug for OAuthBearer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OAuthBearer").finish_non_exhaustive()
    }
}

struct OAuthConversation {
    message: Message,
    token: Token,
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
        let failure = match &self.state {
            State::AwaitingRefusal(failure) if !failure.is_empty() => failure.clone(),
            // Kafka's broker repeats its JSON text here.
            _ => Failure::read(explanation.unwrap_or_default().as_bytes()),
        };
        let is_secret = |text: &str| self.token.is_repeated_in(text);
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
#[cfg(any(test, fuzzing))]
pub(crate) fn refusal(token: &str, answer: &[u8]) -> String {
    let mut conversation = OAuthConversation {
        message: Message::new(Vec::new()),
        token: Token::new(token),
        state: State::AwaitingAnswer,
    };
    let _ = conversation.next(answer);
    let error = conversation.refused(Some(&String::from_utf8_lossy(answer)));
    format!("{error} {error:?}")
}

#[cfg(test)]
mod tests;
