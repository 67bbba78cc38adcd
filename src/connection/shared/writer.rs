//! The writer thread of a connection. It starts at the first write that takes more than a few milliseconds, and lives as
//! long as the connection.

use std::sync::Arc;

use super::{Connection, ConnectionUser};
use crate::connection::errors::thread_error;
use crate::connection::link::LinkEvent;
use crate::connection::outgoing::Remainder;
use crate::connection::transport::SendHalf;
use crate::error::Error;
use crate::sync::STACK_BYTES;

/// The request that the writer thread writes next, and the send half with which it writes.
struct NextWrite {
    half: SendHalf,
    user: Arc<ConnectionUser>,
    remainder: Remainder,
}

impl Connection {
    /// Starts the writer thread. Ends the connection if that fails.
    pub(super) fn start_writer(self: &Arc<Self>) -> Result<(), Error> {
        let connection = Arc::clone(self);
        let body = move || connection.write_waiting();
        self.threads
            .spawn(self.writer_name.clone(), STACK_BYTES, body)
            .map_err(|error| {
                self.control.cancel();
                thread_error("writer", error)
            })
    }

    /// The body of the writer thread: writes the waiting requests, until the connection ends.
    fn write_waiting(&self) {
        let mut half = None;
        while let Some(mut next) = self.next_to_write(half.take()) {
            let progress = || self.report_progress(Some(&next.user));
            if let Err(error) = next.remainder.write_all(&mut next.half, progress) {
                // The reader thread sees the end of the connection, and notifies the users.
                let _ = self.broken(error);
                return;
            }
            next.user.notify(LinkEvent::WriteFinished);
            // The users of the requests behind it learn that the connection makes progress, even if `write_all` reported none.
            self.report_progress(None);
            half = Some(next.half);
        }
    }

    /// Notifies the user whose request is being written, and the users whose requests wait behind it.
    fn report_progress(&self, writing: Option<&Arc<ConnectionUser>>) {
        let behind: Vec<Arc<ConnectionUser>> = {
            let state = self.state.lock();
            let waiting = state.waiting.iter();
            waiting.map(|(user, _)| Arc::clone(user)).collect()
        };
        for user in writing.into_iter().chain(&behind) {
            user.notify(LinkEvent::WriteProgress);
        }
    }

    /// Blocks until a request waits and no other thread writes. First puts back `half`, which the thread has from the last
    /// request. Returns `None` if the connection has ended.
    fn next_to_write(&self, half: Option<SendHalf>) -> Option<NextWrite> {
        let mut state = self.state.lock();
        state.writing_for = None;
        if half.is_some() {
            state.send_half = half;
        }
        loop {
            if state.has_ended {
                return None;
            }
            if !state.waiting.is_empty() {
                if let Some(half) = state.send_half.take() {
                    let (user, remainder) = state.waiting.pop_front()?;
                    state.writing_for = Some(Arc::clone(&user));
                    return Some(NextWrite {
                        half,
                        user,
                        remainder,
                    });
                }
            }
            self.to_write.wait(&mut state);
        }
    }
}
