//! Authentication: the step between version negotiation and the first request, in which the client proves its identity.

use std::fmt;
use std::time::Instant;

use super::dial::NewConnection;
use crate::error::Error;

/// Proves the client's identity to a broker.
pub(crate) trait Authenticator: fmt::Debug + Send + Sync {
    /// Authenticates a new connection before its deadline. The broker serves no other request until then.
    fn authenticate(&self, connection: &mut NewConnection<'_>) -> Result<Session, Error>;
}

/// What a broker grants with the authentication of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Session {
    /// When the broker granted it.
    pub(crate) begins: Instant,
    /// Until when requests may be written. The broker closes the connection at the first request after the end of its session
    /// (KIP-368), so the authenticator names a time somewhat before that. `None` if the session has no end.
    pub(crate) ends: Option<Instant>,
}

/// The authenticator for listeners without authentication.
#[derive(Debug)]
pub(crate) struct NoAuthentication;

impl Authenticator for NoAuthentication {
    fn authenticate(&self, _: &mut NewConnection<'_>) -> Result<Session, Error> {
        Ok(Session {
            begins: Instant::now(),
            ends: None,
        })
    }
}
