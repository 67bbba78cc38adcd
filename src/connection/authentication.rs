//! Authentication: the step after version negotiation, in which the client proves its identity.

use std::fmt;
use std::time::Instant;

use super::dial::NewConnection;
use crate::error::Error;

/// Proves the client's identity to a broker.
pub(crate) trait Authenticator: fmt::Debug + Send + Sync {
    /// Authenticates a new connection before the connection's deadline. The broker serves no other request before this
    /// succeeds.
    fn authenticate(&self, connection: &mut NewConnection<'_>) -> Result<Session, Error>;

    /// Returns whether this is SASL, and not nothing.
    fn is_sasl(&self) -> bool {
        true
    }

    /// Returns a setting with credentials for SASL that is set and not used.
    fn unused_credentials(&self) -> Option<&'static str> {
        None
    }

    /// Returns why an [`authenticate`](Self::authenticate) that waits for a token now still waits, if that is known. Does not
    /// block.
    fn delay(&self) -> Option<Error> {
        None
    }

    /// Ends the threads that serve authentication, if there are any. No connection is authenticated any more.
    fn close(&self) {}
}

/// The time for which a broker accepts a connection as authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Session {
    /// When the broker accepted the authentication.
    pub(crate) begins: Instant,
    /// The time until which requests may be written. `None` if the session has no end. The broker closes the connection at
    /// the first request after the session (KIP-368), so the authenticator sets this somewhat before the session's end.
    pub(crate) ends: Option<Instant>,
}

/// The authenticator for listeners without authentication.
#[derive(Debug, Default)]
pub(crate) struct NoAuthentication {
    pub(crate) unused_credentials: Option<&'static str>,
}

impl Authenticator for NoAuthentication {
    fn is_sasl(&self) -> bool {
        false
    }

    fn unused_credentials(&self) -> Option<&'static str> {
        self.unused_credentials
    }

    fn authenticate(&self, _: &mut NewConnection<'_>) -> Result<Session, Error> {
        Ok(Session {
            begins: Instant::now(),
            ends: None,
        })
    }
}
