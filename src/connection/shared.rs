//! A connection that is ready for requests, and its users: one worker, as a rule.
//!
//! A broker can refuse another connection (`max.connections.per.ip`), and so can the system (file descriptors). A worker that
//! is refused one then shares an existing connection to the same broker ([`registry`]). A broker answers the requests of a
//! connection in their order, so each answer belongs to the user with the oldest unanswered request ([`reader`]).
//!
//! A broker that stops reading must not stall the users. A write blocks for a few milliseconds at most. A writer thread
//! ([`writer`]) then writes the rest, and everything that follows on this connection, and blocks for as long as it takes.
//! A connection that keeps up has no such thread.
//!
//! A broker that throttles a client tells one user, in an answer, and then reads nothing from the whole connection for a time
//! (KIP-219). So this user reports it to the connection, which notifies its other users, and later ones.

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
use super::link::{EventSink, LinkEvent, LinkId, LinkReady, WriteError, WriteStatus};
use super::outgoing::{OutgoingRequest, Remainder};
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

/// What happens to the connection when a user abandons it to which the broker owes answers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum OwedAnswers {
    /// The connection ends for all of its users: the one that abandons it found it broken.
    EndConnection,
    /// The answers are dropped when they come.
    Drop,
}

/// One connection. Its reader thread keeps it alive.
pub(super) struct Connection {
    control: Arc<ConnectionControl>,
    versions: BrokerVersions,
    session: Session,
    /// The cluster of which the broker is known to be.
    cluster_id: Option<Arc<str>>,
    frame_limit: FrameLimit,
    /// For the writer thread.
    threads: Arc<ThreadGroup>,
    name: String,
    state: Mutex<State>,
    /// Signals to the writer thread that a request waits, or that the connection has ended.
    to_write: Condvar,
}

struct State {
    users: Vec<Arc<ConnectionUser>>,
    /// The users to which the broker owes an answer, in the order of the requests. An answer to no request ends the
    /// connection: so the frames that wait for a worker are never more than its requests in flight, however many a broker
    /// sends.
    owed: VecDeque<Arc<ConnectionUser>>,
    /// The thread that writes takes it, so that requests do not mix. After a failed write it is gone.
    send_half: Option<SendHalf>,
    /// The requests for the writer thread, in order.
    waiting: VecDeque<(Arc<ConnectionUser>, Remainder)>,
    /// The user whose request the writer thread is writing.
    writing_for: Option<Arc<ConnectionUser>>,
    has_writer: bool,
    /// Until when the broker reads nothing from the connection, according to its answers.
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
    /// The cluster of which the broker is known to be.
    pub(super) cluster_id: Option<Arc<str>>,
    /// The beginning of the names of the connection's threads.
    pub(super) name: String,
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
            name: new.name,
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

    /// Returns what a user must know of the connection before it writes to it.
    pub(super) fn ready(&self) -> LinkReady {
        LinkReady {
            versions: self.versions.clone(),
            session: self.session,
        }
    }

    /// Accepts answers of up to this size from now on: a user may ask for more than a worker does.
    pub(super) fn allow_answers_of(&self, max_bytes: usize) {
        self.frame_limit.raise_to(max_bytes);
    }

    /// Adds a user, and notifies it if the broker reads nothing now. Returns false if the connection has ended.
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

    /// Notifies the other users: an answer to `informed` said that the broker reads nothing from the connection until then.
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

    /// Removes a user. The connection ends with the last one; it notifies the users that remain, and this one.
    pub(super) fn remove_user(&self, user: &Arc<ConnectionUser>, owed: OwedAnswers) {
        let is_user = |other: &Arc<ConnectionUser>| Arc::ptr_eq(other, user);
        let goes_on = {
            let mut state = self.state.lock();
            let is_shared = state.users.iter().any(|other| !is_user(other));
            // A request that is not written yet is no different: with acks=0 no answer is owed for it.
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
            // The reader thread sees the end, and notifies all users.
            false => self.control.cancel(),
        }
    }

    /// Writes a request, or as much of it as a few milliseconds allow.
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
                // The peer hung up, and the reader thread has not seen it yet.
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

    /// Takes the send half for this thread to write the request. `None`: another thread writes, and this request next.
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
            // Before the first byte is written: the answer must not be faster.
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

    /// Puts the send half back. If a request waits, wakes or starts the writer thread.
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

    fn broken(&self, error: std::io::Error) -> Error {
        self.control.cancel();
        broken_error(error)
    }
}

#[cfg(test)]
mod tests;
