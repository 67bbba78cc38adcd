//! The slot between version negotiation and the first request: where a client proves who it is.

use std::fmt;
use std::time::Instant;

use super::dial::NewConnection;
use crate::error::Error;

/// How a client proves to a broker who it is.
pub(crate) trait Authenticator: fmt::Debug + Send + Sync {
    /// Authenticates a new connection before its deadline. The broker serves no other request until then.
    fn authenticate(&self, connection: &mut NewConnection<'_>) -> Result<Session, Error>;
}

/// What a broker grants with the authentication of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Session {
    /// When the connection must be replaced: after this time no request may be written. The authenticator chooses a time
    /// before the broker ends the session (KIP-368), early enough for the answers to requests in flight. The broker closes a
    /// connection at the first request after the end of its session. `None` if the session has no end.
    pub(crate) ends: Option<Instant>,
}

/// The authenticator of listeners that ask nobody who they are.
#[derive(Debug)]
pub(crate) struct NoAuthentication;

impl Authenticator for NoAuthentication {
    fn authenticate(&self, _: &mut NewConnection<'_>) -> Result<Session, Error> {
        Ok(Session { ends: None })
    }
}
