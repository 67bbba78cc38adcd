//! A connection that is ready for requests, and its users. Usually it has one user, the worker that made it.
//!
//! A broker can refuse another connection (`max.connections.per.ip`), and so can the system (file descriptors). A worker
//! whose connection is refused shares an existing connection to the same broker ([`registry`]). So does the metadata thread.
//! A broker answers the requests of a connection in their order, so each answer belongs to the user with the oldest
//! unanswered request ([`reader`]).
//!
//! A broker that stops reading must not stall the users. A user's thread writes for a few milliseconds at most. Then a writer
//! thread ([`writer`]) writes the rest of the request, and the requests that are queued behind it. When its queue is empty,
//! the users' threads write again. The writer thread starts at the first slow write and lives as long as the connection. A
//! connection without a slow write has no writer thread.
//!
//! A broker that throttles a client says so in an answer to one user. Then it reads nothing from the whole connection for
//! some time (KIP-219). So this user reports the time to the connection, which notifies the other users, and users that are
//! added before the time is over.

mod reader;
mod registry;
mod writer;

pub(crate) use registry::ConnectionRegistry;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use super::authentication::Session;
use super::control::ConnectionControl;
use super::dial::Dialed;
use super::errors::{broken_error, cancelled_error, ended_error};
use super::exchange::OwnConnection;
use super::frames::{FrameLimit, FrameReader};
use super::link::{EventSink, LinkEvent, LinkId, LinkProperties, WriteError, WriteStatus};
use super::outgoing::{OutgoingRequest, Remainder, WRITE_PATIENCE};
use super::transport::{ReceiveHalf, SendHalf};
use super::{BrokerVersions, ConnectionContext};
use crate::error::Error;
use crate::sync::{Condvar, Mutex};
use crate::threads::ThreadGroup;

/// One user of a connection.
pub(super) struct ConnectionUser {
    pub(super) link: LinkId,
    pub(super) events: EventSink,
}

impl ConnectionUser {
    pub(super) fn notify(&self, event: LinkEvent) {
        (self.events)(self.link, event);
    }
}

/// The effect on the connection when a user with open requests is removed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum OwedAnswers {
    /// The connection ends for all of its users, because the removed user found it broken.
    EndConnection,
    /// The connection stays for its other users. The answers to the removed user are dropped when they come.
    Drop,
}

/// One connection. Its reader thread keeps it alive.
pub(super) struct Connection {
    control: Arc<ConnectionControl>,
    versions: BrokerVersions,
    session: Session,
    /// The cluster to which the broker is known to belong.
    cluster_id: Option<Arc<str>>,
    frame_limit: FrameLimit,
    /// The group in which the writer thread starts.
    threads: Arc<ThreadGroup>,
    writer_name: String,
    state: Mutex<State>,
    /// Signals to the writer thread that a request waits, or that the connection has ended.
    to_write: Condvar,
}

struct State {
    users: Vec<Arc<ConnectionUser>>,
    /// The users to which the broker owes an answer, in the order of the requests. An answer without a request ends the
    /// connection. So a worker never has more frames to process than requests in flight, whatever a broker sends.
    owed: VecDeque<Arc<ConnectionUser>>,
    /// `None` while a thread writes: this thread takes it, so that the bytes of requests do not mix. After a failed write it
    /// stays `None`.
    send_half: Option<SendHalf>,
    /// The requests for the writer thread, in order.
    waiting: VecDeque<(Arc<ConnectionUser>, Remainder)>,
    /// The user whose request the writer thread is writing.
    writing_for: Option<Arc<ConnectionUser>>,
    /// Whether the writer thread was started.
    has_writer: bool,
    /// The time until which the broker reads nothing from the connection, according to its answers.
    throttled_until: Option<Instant>,
    has_ended: bool,
}

/// The reader thread's part of a connection.
pub(super) struct Incoming {
    receive: ReceiveHalf,
    frames: FrameReader,
}

/// A connection that was just made, for [`Connection::new`].
pub(super) struct NewShared<'a> {
    pub(super) dialed: Dialed,
    pub(super) control: &'a Arc<ConnectionControl>,
    pub(super) context: &'a ConnectionContext,
    /// The cluster to which the broker is known to belong.
    pub(super) cluster_id: Option<Arc<str>>,
    /// The name of the writer thread.
    pub(super) writer_name: String,
}

impl Connection {
    /// Creates a connection with its first user. The caller must then call [`read`](Self::read) with the second value.
    pub(super) fn new(new: NewShared<'_>, user: Arc<ConnectionUser>) -> (Arc<Self>, Incoming) {
        let Dialed {
            exchange,
            versions,
            session,
        } = new.dialed;
        let OwnConnection {
            send,
            receive,
            frames,
        } = exchange.connection;
        let connection = Arc::new(Self {
            control: Arc::clone(new.control),
            versions,
            session,
            cluster_id: new.cluster_id,
            frame_limit: frames.shared_limit(),
            threads: Arc::clone(&new.context.threads),
            writer_name: new.writer_name,
            state: Mutex::new(State {
                users: vec![user],
                owed: VecDeque::new(),
                send_half: Some(send),
                waiting: VecDeque::new(),
                writing_for: None,
                has_writer: false,
                throttled_until: None,
                has_ended: false,
            }),
            to_write: Condvar::new(),
        });
        (connection, Incoming { receive, frames })
    }

    /// Returns the properties of the connection that a user needs before its first request.
    pub(super) fn ready(&self) -> LinkProperties {
        LinkProperties {
            versions: self.versions.clone(),
            session: self.session,
        }
    }

    /// Accepts answers of up to this size from now on. The metadata thread needs larger answers than a worker.
    pub(super) fn allow_answers_of(&self, max_bytes: usize) {
        self.frame_limit.raise_to(max_bytes);
    }

    /// Adds a user. Notifies it if the broker reads nothing from the connection now. Returns false if the connection has
    /// ended.
    pub(super) fn add_user(&self, user: &Arc<ConnectionUser>) -> bool {
        let throttled_until = {
            let mut state = self.state.lock();
            if state.has_ended {
                return false;
            }
            state.users.push(Arc::clone(user));
            state.throttled_until
        };
        if let Some(until) = throttled_until.filter(|until| *until > Instant::now()) {
            user.notify(LinkEvent::Throttled(until));
        }
        true
    }

    /// Notes that the broker reads nothing from the connection until then, and notifies all users except `informed`. An
    /// answer to `informed` said so. Does nothing if the broker is known to read nothing for at least that long.
    pub(super) fn throttled(&self, informed: &Arc<ConnectionUser>, until: Instant) {
        let others: Vec<Arc<ConnectionUser>> = {
            let mut state = self.state.lock();
            if state.throttled_until >= Some(until) {
                return;
            }
            state.throttled_until = Some(until);
            let others = state.users.iter();
            others
                .filter(|user| !Arc::ptr_eq(user, informed))
                .map(Arc::clone)
                .collect()
        };
        for user in others {
            user.notify(LinkEvent::Throttled(until));
        }
    }

    /// Removes a user. The connection ends if this was the last user, or as `owed` says. The removed user gets
    /// [`LinkEvent::Closed`]. If the connection ends, all users get it.
    pub(super) fn remove_user(&self, user: &Arc<ConnectionUser>, owed: OwedAnswers) {
        let is_user = |other: &Arc<ConnectionUser>| Arc::ptr_eq(other, user);
        let goes_on = {
            let mut state = self.state.lock();
            let is_shared = state.users.iter().any(|other| !is_user(other));
            // A request that is not written yet counts too, because `owed` does not have it with acks=0.
            let has_open_requests = state.owed.iter().any(is_user)
                || state.waiting.iter().any(|(other, _)| is_user(other))
                || state.writing_for.as_ref().is_some_and(is_user);
            let goes_on = is_shared && !(has_open_requests && owed == OwedAnswers::EndConnection);
            if goes_on {
                state.users.retain(|other| !is_user(other));
            }
            goes_on
        };
        match goes_on {
            true => user.notify(LinkEvent::Closed(cancelled_error())),
            // The reader thread sees the end and notifies all users.
            false => self.close(),
        }
    }

    /// Ends the connection, and tells the broker so if no request is being written.
    fn close(&self) {
        let half = self.state.lock().send_half.take();
        if let Some(mut half) = half {
            half.end(WRITE_PATIENCE);
        }
        self.control.cancel();
    }

    /// Writes a request, for a few milliseconds at most. Then the writer thread writes the rest.
    pub(super) fn write(
        self: &Arc<Self>,
        user: &Arc<ConnectionUser>,
        request: OutgoingRequest,
    ) -> Result<WriteStatus, WriteError> {
        let Some((mut half, mut remainder)) = self.begin_write(user, request)? else {
            return Ok(WriteStatus::InProgress);
        };
        let is_written = remainder.write_briefly(&mut half).map_err(|error| {
            let error = self.broken(error);
            match remainder.is_begun() {
                true => WriteError::MaybeWritten(error),
                // The broker closed the connection, and the reader thread has not seen that yet.
                false => WriteError::NothingWritten(error),
            }
        })?;
        let unwritten = (!is_written).then_some((user, remainder));
        self.end_write(half, unwritten)
            .map_err(WriteError::MaybeWritten)?;
        Ok(match is_written {
            true => WriteStatus::Complete,
            false => WriteStatus::InProgress,
        })
    }

    /// Takes the send half, so that this thread writes the request. If another thread writes, queues the request behind the
    /// waiting requests and returns `None`.
    fn begin_write(
        &self,
        user: &Arc<ConnectionUser>,
        request: OutgoingRequest,
    ) -> Result<Option<(SendHalf, Remainder)>, WriteError> {
        let is_answered = request.is_answered;
        let remainder = Remainder::new(request);
        let mut state = self.state.lock();
        if state.has_ended {
            return Err(WriteError::NothingWritten(ended_error()));
        }
        if is_answered {
            // The user is added before the first byte is written, because the answer can come before this thread continues.
            state.owed.push_back(Arc::clone(user));
        }
        if state.waiting.is_empty() {
            if let Some(half) = state.send_half.take() {
                return Ok(Some((half, remainder)));
            }
        }
        state.waiting.push_back((Arc::clone(user), remainder));
        self.to_write.notify_one();
        Ok(None)
    }

    /// Puts the send half back, and the unwritten rest of the request to the front of the waiting requests. If any request
    /// waits, starts the writer thread, or wakes it if it runs.
    fn end_write(
        self: &Arc<Self>,
        half: SendHalf,
        unwritten: Option<(&Arc<ConnectionUser>, Remainder)>,
    ) -> Result<(), Error> {
        let mut state = self.state.lock();
        if state.has_ended && unwritten.is_some() {
            drop(state);
            return Err(ended_error());
        }
        state.send_half = Some(half);
        if let Some((user, remainder)) = unwritten {
            state.waiting.push_front((Arc::clone(user), remainder));
        }
        if state.waiting.is_empty() {
            return Ok(());
        }
        let has_writer = std::mem::replace(&mut state.has_writer, true);
        self.to_write.notify_one();
        drop(state);
        match has_writer {
            true => Ok(()),
            false => self.start_writer(),
        }
    }

    /// Ends the connection after a write failed. Returns the error to report.
    fn broken(&self, error: std::io::Error) -> Error {
        self.control.cancel();
        broken_error(error)
    }
}

#[cfg(test)]
mod tests;
