//! The errors that several parts of a connection report.

use super::transport::transport_error;
use crate::error::{Error, ErrorKind};

/// The error of a connection that this client ended.
pub(super) fn cancelled_error() -> Error {
    Error::new(ErrorKind::Network, "the connection was given up")
}

/// The error of a request that is written after the connection has ended.
pub(super) fn ended_error() -> Error {
    Error::new(ErrorKind::Network, "the connection has ended")
}

/// The error of a socket that failed, or the error of its transport.
pub(super) fn broken_error(error: std::io::Error) -> Error {
    if let Some(reason) = transport_error(&error) {
        return reason.clone();
    }
    Error::new(ErrorKind::Network, "the connection to the broker broke").with_source(error)
}

/// The error of a request whose answer did not come before the deadline.
pub(super) fn no_answer_error() -> Error {
    Error::new(ErrorKind::Network, "the broker did not answer in time")
}

/// The error of a thread that the system does not start.
pub(super) fn thread_error(role: &str, error: std::io::Error) -> Error {
    let message = format!("the {role} thread cannot be started");
    Error::new(ErrorKind::Resource, message).with_source(error)
}

/// The error of a connection whose thread panicked.
pub(super) fn panicked_error() -> Error {
    Error::new(ErrorKind::Internal, "the thread of a connection panicked")
}
