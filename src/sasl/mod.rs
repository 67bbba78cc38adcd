//! SASL: the mechanisms by which a client proves its identity to a broker (RFC 4422). They turn the broker's messages into
//! the client's. `connection::sasl` carries them.

use std::fmt;
use std::time::Instant;

use crate::error::Error;

/// A SASL mechanism with its credentials. All connections of a producer share it.
pub(crate) trait Mechanism: fmt::Debug + Send + Sync {
    /// Returns the name by which brokers know the mechanism, such as `PLAIN`.
    fn name(&self) -> &'static str;

    /// Begins the authentication of a connection to the broker at `host`, which is the name or the address that the
    /// connection uses. May wait until `deadline`, for a token or a ticket.
    fn begin(&self, host: &str, deadline: Instant) -> Result<Box<dyn Conversation>, Error>;
}

/// The client's part in the authentication of one connection. An error ends it.
pub(crate) trait Conversation: Send {
    /// Returns the client's first message.
    fn first(&mut self) -> Result<Message, Error>;

    /// Returns what follows the broker's answer `challenge` to the latest message.
    fn next(&mut self, challenge: &[u8]) -> Result<Next, Error>;
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
