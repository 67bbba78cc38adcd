//! Ending a connection from outside, whatever it is doing.

use std::sync::Arc;

use super::socket::TcpSocket;
use crate::error::{Error, ErrorKind};
use crate::sync::{Mutex, channel};

/// Shared by a connection's owner and the thread that dials and reads it.
pub(crate) struct ConnectionControl {
    state: Mutex<State>,
    /// Closes when the connection is cancelled: for waits on channels.
    cancelled: channel::Receiver<()>,
}

struct State {
    socket: Option<Arc<TcpSocket>>,
    /// Dropped to cancel.
    cancel: Option<channel::Sender<()>>,
}

impl ConnectionControl {
    pub(crate) fn new() -> Arc<Self> {
        let (cancel, cancelled) = channel::bounded(0);
        Arc::new(Self {
            state: Mutex::new(State {
                socket: None,
                cancel: Some(cancel),
            }),
            cancelled,
        })
    }

    /// Ends the connection: a look-up or connect under way, reads and writes, now and later.
    pub(crate) fn cancel(&self) {
        let socket = {
            let mut state = self.state.lock();
            state.cancel = None;
            state.socket.take()
        };
        if let Some(socket) = socket {
            socket.shut_down();
        }
    }

    /// Puts `socket` under control before it connects; an error if the connection is cancelled already.
    pub(crate) fn adopt(&self, socket: &Arc<TcpSocket>) -> Result<(), Error> {
        let mut state = self.state.lock();
        if state.cancel.is_none() {
            return Err(cancelled_error());
        }
        state.socket = Some(Arc::clone(socket));
        Ok(())
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.state.lock().cancel.is_none()
    }

    /// A channel that never has a message and closes on [`cancel`](Self::cancel).
    pub(crate) fn cancelled(&self) -> &channel::Receiver<()> {
        &self.cancelled
    }
}

pub(crate) fn cancelled_error() -> Error {
    Error::new(ErrorKind::Network, "the connection was given up")
}

/// What a request gets that comes after the end.
pub(super) fn ended_error() -> Error {
    Error::new(ErrorKind::Network, "the connection has ended")
}

/// What a connection's users get if the thread that dials or reads it ends without a word.
pub(super) fn panicked_error() -> Error {
    Error::new(ErrorKind::Internal, "the thread of a connection panicked")
}
