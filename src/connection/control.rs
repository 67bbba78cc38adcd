//! Ends a connection from another thread, in any state of the connection.

use std::sync::Arc;

use super::errors::cancelled_error;
use super::socket::TcpSocket;
use crate::error::Error;
use crate::sync::{Mutex, channel};

/// Ends a connection. The connection's owner shares it with the thread that dials and reads.
pub(crate) struct ConnectionControl {
    state: Mutex<State>,
    /// Disconnects when the connection is cancelled, for threads that wait on channels.
    cancelled: channel::Receiver<()>,
}

struct State {
    socket: Option<Arc<TcpSocket>>,
    /// `None` if the connection is cancelled.
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

    /// Ends the connection, and the wait for a look-up, connects, reads and writes in progress. Later ones fail. Does not
    /// block: it only shuts the socket down.
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

    /// Makes [`cancel`](Self::cancel) shut `socket` down. Call it before and after the socket connects. Returns an error if
    /// the connection is already cancelled.
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

    /// Returns a channel that never has a message. It disconnects on [`cancel`](Self::cancel).
    pub(crate) fn cancelled(&self) -> &channel::Receiver<()> {
        &self.cancelled
    }
}
