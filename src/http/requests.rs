//! The end of requests: a source of credentials that is closed needs no answer any more.

use std::io;
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Weak};
use std::time::Instant;

use crate::sync::{Condvar, Mutex};

/// The requests under way of one source of credentials, which may have several clients.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    state: Mutex<State>,
    closed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    is_closed: bool,
    /// Those that are still open.
    sockets: Vec<Weak<TcpStream>>,
}

impl Requests {
    /// Ends the requests under way, as far as they are connected, and the pauses. All further requests fail.
    pub(crate) fn close(&self) {
        let sockets = {
            let mut state = self.state.lock();
            state.is_closed = true;
            std::mem::take(&mut state.sockets)
        };
        self.closed.notify_all();
        for socket in sockets.iter().filter_map(Weak::upgrade) {
            // Fails if the server has closed it already.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    pub(crate) fn are_closed(&self) -> bool {
        self.state.lock().is_closed
    }

    /// Waits before a request is repeated. Returns false if it is not to be repeated, because the requests are closed.
    pub(crate) fn pause_until(&self, until: Instant) -> bool {
        let mut state = self.state.lock();
        while !state.is_closed && !self.closed.wait_until(&mut state, until).timed_out() {}
        !state.is_closed
    }

    /// Has [`close`](Self::close) shut a socket down. Fails if they are closed already.
    pub(super) fn add(&self, socket: &Arc<TcpStream>) -> io::Result<()> {
        let mut state = self.state.lock();
        if state.is_closed {
            return Err(io::ErrorKind::NotConnected.into());
        }
        state.sockets.retain(|socket| socket.strong_count() > 0);
        state.sockets.push(Arc::downgrade(socket));
        Ok(())
    }
}
