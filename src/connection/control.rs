//! Ends a connection from another thread, whatever the connection is doing.

use std::sync::Arc;

use super::errors::cancelled_error;
use super::socket::TcpSocket;
use crate::error::Error;
use crate::sync::{Mutex, channel};

/// Shared by a connection's owner and the thread that dials and reads it.
pub(crate) struct ConnectionControl {
    state: Mutex<State>,
    /// Closes when the connection is cancelled, for threads that wait on channels.
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

    /// Ends the connection: the look-up, connect, reads and writes in progress, and all later ones. Only shuts the socket
    /// down.
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

    /// Makes `socket` the one that [`cancel`](Self::cancel) shuts down. To be called before it connects. Returns an error
    /// if the connection is cancelled already.
    pub(crate) fn adopt(&self, socket: &Arc<TcpSocket>) -> Result<(), Error> {
        let mut state = self.state.lock();
        if state.cancel.is_none() {
            return Err(cancelled_error());
        }
        state.socket = Some(Arc::clone(socket));
        Ok(())
    }

    /// Returns whether the connection is cancelled.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.state.lock().cancel.is_none()
    }

    /// Returns a channel that never has a message and closes on [`cancel`](Self::cancel).
    pub(crate) fn cancelled(&self) -> &channel::Receiver<()> {
        &self.cancelled
    }
}
