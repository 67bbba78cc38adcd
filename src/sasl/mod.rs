//! SASL: the mechanisms by which a client proves its identity to a broker (RFC 4422). They turn the broker's messages into
//! the client's. `connection::sasl` carries them.

#[cfg(all(feature = "sasl-gssapi", unix, not(target_vendor = "apple")))]
pub(crate) mod gssapi;
pub(crate) mod jaas;
pub(crate) mod json;
#[cfg(feature = "sasl-msk-iam")]
pub(crate) mod msk_iam;
pub(crate) mod oauthbearer;
pub(crate) mod plain;
pub(crate) mod scram;
mod temporary;

use std::fmt;
use std::time::Instant;

use crate::error::{Error, ErrorKind};
use crate::secret::{Secret, is_placeholder};

/// A SASL mechanism with its credentials. All connections of a producer share it.
pub(crate) trait Mechanism: fmt::Debug + Send + Sync {
    /// Returns the name by which brokers know the mechanism, such as `PLAIN`.
    fn name(&self) -> &'static str;

    /// Begins the authentication of a connection to the broker at `host`, which is the name or the address that the
    /// connection uses. May wait until `deadline`, for a token or a ticket.
    fn begin(&self, host: &str, deadline: Instant) -> Result<Box<dyn Conversation>, Error>;

    /// Returns why a [`begin`](Self::begin) that waits now still waits, if the mechanism knows it.
    fn delay(&self) -> Option<Error> {
        None
    }

    /// Ends the threads of the mechanism, if it has any. No connection is authenticated any more.
    fn close(&self) {}
}

/// The client's part in the authentication of one connection. An error ends it.
pub(crate) trait Conversation: Send {
    /// Returns the client's first message.
    fn first(&mut self) -> Result<Message, Error>;

    /// Returns what follows the broker's answer `challenge` to the latest message.
    fn next(&mut self, challenge: &[u8]) -> Result<Next, Error>;

    /// Returns the error of an authentication that the broker refuses now, with the error code of its answer still to be
    /// added. The error holds what the messages so far say about the reason, and `explanation`, which is the broker's own
    /// text, as far as that may be shown.
    fn refused(&self, explanation: Option<&str>) -> Error;
}

/// What follows an answer of the broker.
#[derive(Debug)]
pub(crate) enum Next {
    /// The client sends this, and the broker answers.
    Send(Message),
    /// The client has authenticated itself and, if the mechanism can, the broker. A broker without an error then grants a
    /// session.
    Done,
}

/// A message to the broker. It can hold a secret: `Debug` shows its length only, and its bytes are overwritten when it is
/// dropped.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Message(zeroize::Zeroizing<Vec<u8>>);

impl Message {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self(zeroize::Zeroizing::new(bytes))
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Message({} bytes)", self.0.len())
    }
}

/// Makes the error of an authentication that the peer prevents.
fn failed(message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::Authentication, message)
}

/// Makes the error of an authentication that the user's settings prevent.
fn misconfigured(message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::Config, message)
}

/// Adds the broker's own text to `error`, unless that text repeats the secret that the broker was given.
fn with_explanation(error: Error, explanation: Option<&str>, given: &Secret) -> Error {
    match explanation {
        Some(text) if !text.is_empty() && !text.contains(given.reveal()) => {
            error.with_broker_message(text)
        }
        _ => error,
    }
}

/// Adds to the advice of refused credentials if one of them is probably a placeholder.
fn with_placeholder_advice(error: Error, user: &str, password: &Secret) -> Error {
    // Event Hubs' user name looks like one.
    let what = match (is_placeholder(password.reveal()), is_placeholder(user)) {
        (true, _) => "password",
        (_, true) if user != "$ConnectionString" => "user name",
        _ => return error,
    };
    let advice = format!(
        "{}; the {what} looks like a placeholder, such as ${{PROVIDER:KEY}}, that was not filled in: list the provider in \
         config.providers, or give the {what} itself",
        error.advice()
    );
    error.with_advice(advice)
}

/// Returns the user name and the password of a user, or says which of them is missing.
fn credentials(user: &str, password: Secret) -> Result<(String, Secret), Error> {
    if user.is_empty() {
        return Err(misconfigured("the user name for SASL is empty")
            .with_advice("set the option username in sasl.jaas.config"));
    }
    if password.reveal().is_empty() {
        return Err(misconfigured("the password for SASL is empty")
            .with_advice("set the option password in sasl.jaas.config"));
    }
    Ok((user.to_owned(), password))
}

/// Returns the value of an option that the mechanism needs.
fn option<'a>(jaas: &'a jaas::Jaas, name: &str) -> Result<&'a Secret, Error> {
    jaas.option(name).ok_or_else(|| {
        misconfigured(format!("sasl.jaas.config has no option {name}"))
            .with_advice(format!("add {name}=\"...\" before its semicolon"))
    })
}
