//! The reader thread of a connection: hands each answer to its user, and reports the connection's end.

use std::convert::Infallible;

use super::{Connection, Incoming};
use crate::connection::errors::panicked_error;
use crate::connection::link::LinkEvent;
use crate::error::{Error, ErrorKind};

impl Connection {
    /// The body of the reader thread: hands each answer to its user, until the connection ends or becomes unusable. Then it
    /// notifies every user, even if the thread panics.
    pub(in crate::connection) fn read(&self, mut incoming: Incoming) {
        let mut end = End {
            connection: self,
            error: None,
        };
        let Err(error) = self.read_answers(&mut incoming);
        end.error = Some(error);
    }

    fn read_answers(
        &self,
        Incoming { receive, frames }: &mut Incoming,
    ) -> Result<Infallible, Error> {
        loop {
            let frame = frames.next(&mut receive.until(None))?;
            let owed = self.state.lock().owed.pop_front();
            let Some(user) = owed else {
                let message = "the broker sent an answer that no request waits for";
                return Err(Error::new(ErrorKind::Protocol, message));
            };
            user.notify(LinkEvent::Frame(frame));
        }
    }

    fn end(&self, error: &Error) {
        self.control.cancel();
        let (users, unwritten) = {
            let mut state = self.state.lock();
            state.has_ended = true;
            self.to_write.notify_all();
            state.owed.clear();
            (
                std::mem::take(&mut state.users),
                std::mem::take(&mut state.waiting),
            )
        };
        // This can release batches, and that must not happen under the lock.
        drop(unwritten);
        for user in users {
            user.notify(LinkEvent::Closed(error.clone()));
        }
    }
}

/// Reports the end of a connection to its users when it is dropped.
struct End<'a> {
    connection: &'a Connection,
    error: Option<Error>,
}

impl Drop for End<'_> {
    fn drop(&mut self) {
        let error = self.error.take().unwrap_or_else(panicked_error);
        self.connection.end(&error);
    }
}
