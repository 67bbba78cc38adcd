//! The writer thread of a connection whose broker does not keep up.

use std::sync::Arc;

use super::{Connection, ConnectionUser};
use crate::connection::link::LinkEvent;
use crate::connection::outgoing::Remainder;
use crate::connection::transport::SendHalf;
use crate::error::{Error, ErrorKind};
use crate::sync::STACK_BYTES;

/// The request that the writer thread writes next, and the send half for it.
struct NextWrite {
    half: SendHalf,
    user: Arc<ConnectionUser>,
    remainder: Remainder,
}

impl Connection {
    pub(super) fn start_writer(self: &Arc<Self>) -> Result<(), Error> {
        let connection = Arc::clone(self);
        let body = move || connection.write_waiting();
        self.threads
            .spawn(format!("{}-writer", self.name), STACK_BYTES, body)
            .map_err(|error| {
                self.control.cancel();
                Error::new(ErrorKind::Resource, "no thread for a slow connection")
                    .with_source(error)
            })
    }

    /// The body of the writer thread: writes the requests that wait, until the connection ends.
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
            // The users behind it see that the connection moves, however fast each request is written.
            self.report_progress(None);
            half = Some(next.half);
        }
    }

    /// Notifies the user whose request is being written, and those whose requests are behind it.
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

    /// Waits for something to write. Puts back the half that the thread has from the last time. `None`: the connection has
    /// ended.
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
