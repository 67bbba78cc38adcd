//! A connection that is ready for requests, and those who use it: one worker, as a rule.
//!
//! A broker can refuse a further connection (`max.connections.per.ip`), and so can the system (file descriptors). Whoever
//! is refused one joins a connection to the same broker that stands already. A broker answers the requests of a
//! connection in their order, so each answer belongs to whoever asked for the oldest that is not answered.
//!
//! A broker that stops reading must not stall its users. A write blocks for a few milliseconds at most; what is not written
//! by then goes, and with it what is to follow on this connection, to a writer thread, which blocks for as long as it
//! takes. On a connection that keeps up no such thread exists.
//!
//! A broker that throttles a client says so in one answer, and reads nothing from the whole connection meanwhile (KIP-219).
//! So whoever gets such an answer tells the connection, which tells its other users, and those that join.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Weak};
use std::time::Instant;

use super::control::{ConnectionControl, cancelled_error, ended_error, panicked_error};
use super::dial::{Dialed, socket_error};
use super::frames::{FrameLimit, FrameReader};
use super::link::{EventSink, LinkEvent, LinkId, WriteError, WriteStatus};
use super::outgoing::{OutgoingRequest, Remainder, WRITE_PATIENCE};
use super::socket::TcpSocket;
use super::{BrokerVersions, Endpoint};
use crate::error::{Error, ErrorKind};
use crate::sync::{Condvar, Mutex, STACK_BYTES};
use crate::threads::ThreadGroup;
use crate::threads::logging::log_line;

/// One of those who use a connection.
pub(super) struct User {
    pub(super) link: LinkId,
    pub(super) events: EventSink,
}

impl User {
    pub(super) fn tell(&self, event: LinkEvent) {
        (self.events)(self.link, event);
    }
}

/// What becomes of a connection when a user leaves it that the broker owes answers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum OwedAnswers {
    /// The connection ends for all of its users: the one that leaves found it broken.
    EndConnection,
    /// The answers are dropped when they come.
    Drop,
}

/// One connection. Its reader thread keeps it alive.
pub(super) struct Connection {
    socket: Arc<TcpSocket>,
    control: Arc<ConnectionControl>,
    versions: BrokerVersions,
    /// The cluster that the broker was asked for.
    cluster_id: Option<Arc<str>>,
    frame_limit: FrameLimit,
    /// For the writer thread.
    threads: Arc<ThreadGroup>,
    name: String,
    state: Mutex<State>,
    /// The writer thread has something to write, or is to end.
    to_write: Condvar,
}

struct State {
    users: Vec<Arc<User>>,
    /// Who is owed an answer, in the order of the requests. An answer to nothing ends the connection: of the frames that
    /// wait for a worker there are never more than requests in flight, however many a broker sends.
    owed: VecDeque<Arc<User>>,
    writing: Writing,
    /// What waits for the writer thread, in order.
    waiting: VecDeque<(Arc<User>, Remainder)>,
    /// Whose request the writer thread writes now.
    written_for: Option<Arc<User>>,
    has_writer: bool,
    /// Until when the broker reads nothing from the connection, as far as it has said.
    muted_until: Option<Instant>,
    has_ended: bool,
}

/// Who writes now. Nobody else may: requests would mix.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Writing {
    Nobody,
    /// The thread of a user.
    User,
    WriterThread,
}

impl Connection {
    /// A connection that was just made, with its first user. `name` is the beginning of its threads' names.
    pub(super) fn new(
        dialed: &Dialed,
        control: Arc<ConnectionControl>,
        threads: Arc<ThreadGroup>,
        name: String,
        cluster_id: Option<Arc<str>>,
        user: Arc<User>,
    ) -> Arc<Self> {
        Arc::new(Self {
            socket: Arc::clone(&dialed.socket),
            control,
            versions: dialed.versions.clone(),
            cluster_id,
            frame_limit: dialed.frames.shared_limit(),
            threads,
            name,
            state: Mutex::new(State {
                users: vec![user],
                owed: VecDeque::new(),
                writing: Writing::Nobody,
                waiting: VecDeque::new(),
                written_for: None,
                has_writer: false,
                muted_until: None,
                has_ended: false,
            }),
            to_write: Condvar::new(),
        })
    }

    pub(super) fn versions(&self) -> &BrokerVersions {
        &self.versions
    }

    /// A user may ask for more than a worker does: answers of up to this size are taken from now on.
    pub(super) fn allow_answers_of(&self, max_bytes: usize) {
        self.frame_limit.raise_to(max_bytes);
    }

    /// Adds a user, and tells it for how long the broker reads nothing; false if the connection has ended.
    pub(super) fn join(&self, user: &Arc<User>) -> bool {
        let muted_until = {
            let mut state = self.state.lock();
            if state.has_ended {
                return false;
            }
            state.users.push(Arc::clone(user));
            state.muted_until
        };
        if let Some(until) = muted_until.filter(|until| *until > Instant::now()) {
            user.tell(LinkEvent::Throttled(until));
        }
        true
    }

    /// An answer to `told` said that the broker reads nothing from the connection until then: the other users are told.
    pub(super) fn mute(&self, told: &Arc<User>, until: Instant) {
        let others: Vec<Arc<User>> = {
            let mut state = self.state.lock();
            if state.muted_until >= Some(until) {
                return;
            }
            state.muted_until = Some(until);
            let others = state.users.iter().filter(|user| !Arc::ptr_eq(user, told));
            others.map(Arc::clone).collect()
        };
        for user in others {
            user.tell(LinkEvent::Throttled(until));
        }
    }

    /// A user leaves. With the last one the connection ends; it tells those who are left, and the one who leaves, too.
    pub(super) fn leave(&self, user: &Arc<User>, owed: OwedAnswers) {
        let is_user = |other: &Arc<User>| Arc::ptr_eq(other, user);
        let goes_on = {
            let mut state = self.state.lock();
            let is_shared = state.users.iter().any(|other| !is_user(other));
            // A request that is not written yet is no different: with acks=0 no answer is owed for it.
            let is_owed = state.owed.iter().any(is_user)
                || state.waiting.iter().any(|(other, _)| is_user(other))
                || state.written_for.as_ref().is_some_and(is_user);
            let goes_on = is_shared && !(is_owed && owed == OwedAnswers::EndConnection);
            if goes_on {
                state.users.retain(|other| !is_user(other));
            }
            goes_on
        };
        match goes_on {
            true => user.tell(LinkEvent::Closed(cancelled_error())),
            // The reader thread sees the end, and tells all users.
            false => self.control.cancel(),
        }
    }

    /// Writes a request, or what a few milliseconds allow of it.
    pub(super) fn write(
        self: &Arc<Self>,
        user: &Arc<User>,
        request: OutgoingRequest,
    ) -> Result<WriteStatus, WriteError> {
        let is_answered = request.is_answered;
        let mut remainder = Remainder::new(request);
        {
            let mut state = self.state.lock();
            if state.has_ended {
                return Err(WriteError::NothingWritten(ended_error()));
            }
            if is_answered {
                // Before the first byte is written: the answer cannot be quicker.
                state.owed.push_back(Arc::clone(user));
            }
            if state.writing != Writing::Nobody {
                // Whoever writes now sees to it that this is written next.
                state.waiting.push_back((Arc::clone(user), remainder));
                self.to_write.notify_one();
                return Ok(WriteStatus::InProgress);
            }
            state.writing = Writing::User;
        }
        let is_written = remainder.write_until(&self.socket, Instant::now() + WRITE_PATIENCE);
        let is_written = is_written.map_err(|error| {
            let error = self.broken(error);
            match remainder.is_begun() {
                true => WriteError::MaybeWritten(error),
                // The other side hung up, and this side's reader has not seen it yet.
                false => WriteError::NothingWritten(error),
            }
        })?;
        let mut state = self.state.lock();
        if state.has_ended && !is_written {
            drop(state);
            return Err(WriteError::MaybeWritten(ended_error()));
        }
        if !is_written {
            state.waiting.push_front((Arc::clone(user), remainder));
        }
        if state.waiting.is_empty() {
            state.writing = Writing::Nobody;
            return Ok(WriteStatus::Complete);
        }
        state.writing = Writing::WriterThread;
        let has_writer = std::mem::replace(&mut state.has_writer, true);
        self.to_write.notify_one();
        drop(state);
        if !has_writer {
            self.start_writer().map_err(WriteError::MaybeWritten)?;
        }
        Ok(match is_written {
            true => WriteStatus::Complete,
            false => WriteStatus::InProgress,
        })
    }

    fn start_writer(self: &Arc<Self>) -> Result<(), Error> {
        let connection = Arc::clone(self);
        let body = move || connection.write_what_waits();
        self.threads
            .spawn(format!("{}-writer", self.name), STACK_BYTES, body)
            .map_err(|error| {
                self.control.cancel();
                Error::new(ErrorKind::Resource, "no thread for a slow connection")
                    .with_source(error)
            })
    }

    /// The body of the writer thread: until the connection ends.
    fn write_what_waits(&self) {
        while let Some((user, mut remainder)) = self.next_to_write() {
            let progress = || self.tell_of_progress(Some(&user));
            if let Err(error) = remainder.write_all(&self.socket, progress) {
                // The reader sees the end of the connection, and tells the users.
                let _ = self.broken(error);
                return;
            }
            user.tell(LinkEvent::WriteFinished);
            // Those behind see that the connection moves, however quick each request is.
            self.tell_of_progress(None);
        }
    }

    /// Tells the user whose request is being written, and those whose requests are behind it.
    fn tell_of_progress(&self, writing: Option<&Arc<User>>) {
        let behind: Vec<Arc<User>> = {
            let state = self.state.lock();
            state
                .waiting
                .iter()
                .map(|(user, _)| Arc::clone(user))
                .collect()
        };
        for user in writing.into_iter().chain(&behind) {
            user.tell(LinkEvent::WriteProgress);
        }
    }

    /// Waits for something to write; `None` at the connection's end.
    fn next_to_write(&self) -> Option<(Arc<User>, Remainder)> {
        let mut state = self.state.lock();
        state.written_for = None;
        loop {
            if state.has_ended {
                return None;
            }
            if state.writing != Writing::User {
                if let Some(next) = state.waiting.pop_front() {
                    state.writing = Writing::WriterThread;
                    state.written_for = Some(Arc::clone(&next.0));
                    return Some(next);
                }
                state.writing = Writing::Nobody;
            }
            self.to_write.wait(&mut state);
        }
    }

    fn broken(&self, error: std::io::Error) -> Error {
        self.control.cancel();
        socket_error(error)
    }

    /// On the connection's own thread: hands each answer to its user, until the connection ends or is of no use. Then
    /// every user is told, however the thread ends.
    pub(super) fn read(&self, mut frames: FrameReader) {
        let mut farewell = Farewell {
            connection: self,
            error: None,
        };
        let Err(error) = self.read_answers(&mut frames);
        farewell.error = Some(error);
    }

    fn read_answers(&self, frames: &mut FrameReader) -> Result<Infallible, Error> {
        loop {
            let frame = frames.next(&mut &*self.socket)?;
            let owed = self.state.lock().owed.pop_front();
            let Some(user) = owed else {
                return Err(Error::new(
                    ErrorKind::Protocol,
                    "the broker sent an answer to no request",
                ));
            };
            user.tell(LinkEvent::Frame(frame));
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
        // Batches are freed under no lock.
        drop(unwritten);
        for user in users {
            user.tell(LinkEvent::Closed(error.clone()));
        }
    }
}

/// A connection's last words, which its users wait for.
struct Farewell<'a> {
    connection: &'a Connection,
    error: Option<Error>,
}

impl Drop for Farewell<'_> {
    fn drop(&mut self) {
        let error = self.error.take().unwrap_or_else(panicked_error);
        self.connection.end(&error);
    }
}

/// The connections of a producer's workers, for those who cannot have one of their own.
#[derive(Default)]
pub(crate) struct Connections {
    standing: Mutex<Vec<(Endpoint, Weak<Connection>)>>,
}

impl Connections {
    pub(super) fn add(&self, endpoint: Endpoint, connection: &Arc<Connection>) {
        let mut standing = self.standing.lock();
        standing.retain(|(_, connection)| connection.strong_count() > 0);
        standing.push((endpoint, Arc::downgrade(connection)));
    }

    /// Makes `user` a user of a connection to `endpoint`, of that with the fewest. `None` if none stands. With a
    /// `cluster_id` only such count of which it is known that the broker is of that cluster.
    pub(super) fn join(
        &self,
        endpoint: &Endpoint,
        cluster_id: Option<&Arc<str>>,
        user: &Arc<User>,
    ) -> Option<Arc<Connection>> {
        let mut candidates: Vec<Arc<Connection>> = {
            let standing = self.standing.lock();
            let of_endpoint = standing.iter().filter(|(other, _)| other == endpoint);
            of_endpoint
                .filter_map(|(_, connection)| connection.upgrade())
                .filter(|connection| {
                    cluster_id.is_none() || connection.cluster_id.as_ref() == cluster_id
                })
                .collect()
        };
        candidates.sort_by_cached_key(|connection| connection.state.lock().users.len());
        let joined = candidates
            .into_iter()
            .find(|connection| connection.join(user))?;
        log_line!(log::Level::Info, target: "kafka_producer::connection",
            "{endpoint} takes no further connection: an existing one is shared"
        );
        Some(joined)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::ConnectionConfig;
    use crate::connection::frames::FrameReader;
    use crate::sync::channel;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::time::Duration;

    const PATIENCE: Duration = Duration::from_secs(20);

    /// A user and what it is told.
    fn user(link: LinkId) -> (Arc<User>, channel::Receiver<LinkEvent>) {
        let (sender, told) = channel::unbounded();
        let events = move |_, event| drop(sender.send(event));
        let events = Arc::new(events);
        (Arc::new(User { link, events }), told)
    }

    /// A connection with its first user, its thread running, and the peer's end.
    fn connection(first: &Arc<User>) -> (Arc<Connection>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let config = ConnectionConfig {
            client_id: "c".into(),
            send_buffer: Some(16 << 10),
            receive_buffer: None,
            setup_timeout: PATIENCE,
            setup_timeout_max: PATIENCE,
            handshakes: Arc::default(),
            look_ups: Arc::default(),
        };
        let control = ConnectionControl::new();
        let socket = Arc::new(TcpSocket::new(&address, &config).unwrap());
        control.adopt(&socket).unwrap();
        socket.connect(address, PATIENCE).unwrap();
        socket.set_write_timeout(Some(WRITE_PATIENCE)).unwrap();
        let dialed = Dialed {
            socket,
            frames: FrameReader::default(),
            versions: BrokerVersions::default(),
        };
        let threads = Arc::new(ThreadGroup::default());
        let connection = Connection::new(
            &dialed,
            control,
            Arc::clone(&threads),
            "test".into(),
            None,
            Arc::clone(first),
        );
        let reading = Arc::clone(&connection);
        threads
            .spawn("test-link".into(), STACK_BYTES, move || {
                reading.read(dialed.frames);
            })
            .unwrap();
        (connection, listener.accept().unwrap().0)
    }

    fn request(bytes: Vec<u8>) -> OutgoingRequest {
        OutgoingRequest {
            fields: bytes,
            cuts: Vec::new(),
            batches: Vec::new(),
            is_answered: true,
        }
    }

    fn answer(peer: &mut TcpStream, bytes: &[u8]) {
        let mut frame = (bytes.len() as u32).to_be_bytes().to_vec();
        frame.extend_from_slice(bytes);
        peer.write_all(&frame).unwrap();
    }

    fn frame(told: &channel::Receiver<LinkEvent>) -> Vec<u8> {
        match told.recv_timeout(PATIENCE).unwrap() {
            LinkEvent::Frame(frame) => frame,
            other => panic!("{other:?} where a frame was due"),
        }
    }

    fn closed(told: &channel::Receiver<LinkEvent>) -> Error {
        match told.recv_timeout(PATIENCE).unwrap() {
            LinkEvent::Closed(error) => error,
            other => panic!("{other:?} where the end was due"),
        }
    }

    #[test]
    fn each_answer_goes_to_the_user_that_asked() {
        let ((first, told_first), (second, told_second)) = (user(1), user(2));
        let (connection, mut peer) = connection(&first);
        assert!(connection.join(&second));
        for user in [&second, &first, &first, &second] {
            connection.write(user, request(vec![1])).unwrap();
        }
        for number in 0..4 {
            answer(&mut peer, &[number]);
        }
        assert_eq!([frame(&told_second), frame(&told_second)], [[0], [3]]);
        assert_eq!([frame(&told_first), frame(&told_first)], [[1], [2]]);
    }

    #[test]
    fn an_answer_to_nothing_ends_the_connection_for_all_users() {
        let ((first, told_first), (second, told_second)) = (user(1), user(2));
        let (connection, mut peer) = connection(&first);
        assert!(connection.join(&second));
        connection.write(&second, request(vec![1])).unwrap();
        answer(&mut peer, &[0]);
        answer(&mut peer, &[1]);
        assert_eq!(frame(&told_second), [0]);
        assert_eq!(closed(&told_first).kind(), ErrorKind::Protocol);
        assert_eq!(closed(&told_second).kind(), ErrorKind::Protocol);
        assert!(!connection.join(&first), "it has ended");
        assert!(connection.write(&first, request(vec![1])).is_err());
    }

    #[test]
    fn the_connection_outlives_a_user_that_is_owed_nothing() {
        let ((first, told_first), (second, told_second)) = (user(1), user(2));
        let (connection, mut peer) = connection(&first);
        assert!(connection.join(&second));
        connection.leave(&first, OwedAnswers::EndConnection);
        closed(&told_first);
        connection.write(&second, request(vec![1])).unwrap();
        answer(&mut peer, &[7]);
        assert_eq!(frame(&told_second), [7]);
        connection.leave(&second, OwedAnswers::EndConnection);
        closed(&told_second);
        assert_eq!(peer.read_to_end(&mut Vec::new()).unwrap(), 1);
    }

    #[test]
    fn the_connection_ends_with_a_user_that_waits_for_an_answer_in_vain() {
        let ((first, told_first), (second, told_second)) = (user(1), user(2));
        let (connection, _peer) = connection(&first);
        assert!(connection.join(&second));
        connection.write(&first, request(vec![1])).unwrap();
        connection.leave(&first, OwedAnswers::EndConnection);
        closed(&told_first);
        closed(&told_second);
    }

    #[test]
    fn the_connection_ends_with_a_user_whose_request_cannot_be_written() {
        let ((first, told_first), (second, told_second)) = (user(1), user(2));
        let (connection, _peer) = connection(&first);
        assert!(connection.join(&second));
        // Far more than the buffers of both sides hold, and no answer is owed for it.
        let unanswered = OutgoingRequest {
            is_answered: false,
            ..request(vec![1; 64 << 20])
        };
        assert!(matches!(
            connection.write(&second, unanswered),
            Ok(WriteStatus::InProgress)
        ));
        connection.leave(&second, OwedAnswers::EndConnection);
        for told in [told_first, told_second] {
            while !matches!(told.recv_timeout(PATIENCE).unwrap(), LinkEvent::Closed(_)) {}
        }
    }

    #[test]
    fn answers_to_a_user_that_has_left_are_dropped() {
        let ((first, told_first), (second, told_second)) = (user(1), user(2));
        let (connection, mut peer) = connection(&first);
        assert!(connection.join(&second));
        connection.write(&second, request(vec![1])).unwrap();
        connection.leave(&second, OwedAnswers::Drop);
        connection.write(&first, request(vec![1])).unwrap();
        closed(&told_second);
        answer(&mut peer, &[1]);
        answer(&mut peer, &[2]);
        assert_eq!(frame(&told_first), [2]);
    }

    /// Waits until the request is written; how often it was told of that it goes on.
    fn await_write(told: &channel::Receiver<LinkEvent>) -> usize {
        let mut progress = 0;
        loop {
            match told.recv_timeout(PATIENCE).unwrap() {
                LinkEvent::WriteProgress => progress += 1,
                LinkEvent::WriteFinished => return progress,
                other => panic!("{other:?} while a request is written"),
            }
        }
    }

    #[test]
    fn a_write_that_goes_on_is_told_of_to_all_who_wait_for_it() {
        const BYTES: usize = 32 << 20;
        let users = [user(1), user(2)];
        let (connection, mut peer) = connection(&users[0].0);
        assert!(connection.join(&users[1].0));
        for (user, _) in &users {
            let written = connection.write(user, request(vec![0; BYTES])).unwrap();
            assert_eq!(written, WriteStatus::InProgress);
        }
        let (_silent, never) = channel::bounded::<()>(1);
        // A little at a time until both have heard of it, and then the rest.
        let mut buffer = vec![0; 64 << 10];
        let mut received = 0;
        while users.iter().any(|(_, told)| told.is_empty()) {
            assert!(received < BYTES, "nobody was told of a write that goes on");
            received += peer.read(&mut buffer).unwrap();
            let _ = never.recv_timeout(Duration::from_millis(50));
        }
        peer.read_exact(&mut vec![0; 2 * BYTES - received]).unwrap();
        for (_, told) in &users {
            assert!(await_write(told) > 0);
        }
    }

    #[test]
    fn requests_of_several_users_do_not_mix_when_the_peer_reads_slowly() {
        const REQUESTS: usize = 20;
        const BYTES: usize = 100_000;
        let users = [1u8, 2, 3].map(|number| (number, user(number.into())));
        let (_, (first, _)) = &users[0];
        let (connection, mut peer) = connection(first);
        for (_, (other, _)) in &users[1..] {
            assert!(connection.join(other));
        }
        let received = std::thread::scope(|scope| {
            for (number, (user, told)) in &users {
                let connection = &connection;
                scope.spawn(move || {
                    for _ in 0..REQUESTS {
                        let request = request(vec![*number; BYTES]);
                        if connection.write(user, request).unwrap() == WriteStatus::InProgress {
                            await_write(told);
                        }
                    }
                });
            }
            let mut received = vec![0; users.len() * REQUESTS * BYTES];
            peer.read_exact(&mut received).unwrap();
            received
        });
        for request in received.chunks(BYTES) {
            assert!(request.iter().all(|byte| *byte == request[0]), "mixed");
        }
    }

    fn throttled(told: &channel::Receiver<LinkEvent>) -> Instant {
        match told.recv_timeout(PATIENCE).unwrap() {
            LinkEvent::Throttled(until) => until,
            other => panic!("{other:?} where a throttle was due"),
        }
    }

    #[test]
    fn a_throttle_is_told_once_to_the_other_users_and_to_those_that_join_while_it_lasts() {
        let ((first, told_first), (second, told_second)) = (user(1), user(2));
        let (connection, _peer) = connection(&first);
        assert!(connection.join(&second));
        let now = Instant::now();
        let until = now + 100 * PATIENCE;
        connection.mute(&first, until);
        assert_eq!(throttled(&told_second), until);
        // A shorter one, and the same again, change nothing.
        connection.mute(&second, until - PATIENCE);
        connection.mute(&second, until);
        let (third, told_third) = user(3);
        assert!(connection.join(&third));
        assert_eq!(throttled(&told_third), until);
        connection.mute(&third, until + PATIENCE);
        for told in [&told_first, &told_second] {
            assert_eq!(throttled(told), until + PATIENCE);
        }
        assert!(told_third.is_empty());
    }

    #[test]
    fn who_joins_when_a_throttle_is_over_is_not_told_of_it() {
        let ((first, _told), (second, told_second)) = (user(1), user(2));
        let (connection, _peer) = connection(&first);
        connection.mute(&first, Instant::now());
        assert!(connection.join(&second));
        assert!(told_second.is_empty());
    }

    #[test]
    fn a_write_that_a_connection_refuses_after_its_end_wrote_nothing() {
        let (first, told) = user(1);
        let (connection, peer) = connection(&first);
        drop(peer);
        closed(&told);
        let refused = connection.write(&first, request(vec![1])).unwrap_err();
        assert!(
            matches!(refused, WriteError::NothingWritten(_)),
            "{refused:?}"
        );
    }

    #[test]
    fn a_write_that_fails_before_its_first_byte_wrote_nothing() {
        let (first, _told) = user(1);
        let (connection, _peer) = connection(&first);
        // As if the reader had not seen the end yet.
        connection.socket.shut_down();
        let refused = connection.write(&first, request(vec![1])).unwrap_err();
        assert!(
            matches!(refused, WriteError::NothingWritten(_)),
            "{refused:?}"
        );
    }
}
