//! A worker's links to brokers: whoever runs the worker's round writes, a thread for each link dials. That thread then reads,
//! or ends where the link goes over a connection that stands already ([`shared`](super::shared)).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use super::check::check_cluster;
use super::control::{ConnectionControl, cancelled_error, ended_error, panicked_error};
use super::dial::{DialError, DialTimes, dial, setup_timeout, socket_error};
use super::frames::{FrameReader, MAX_PRODUCE_FRAME_BYTES};
use super::outgoing::WRITE_PATIENCE;
use super::shared::{Connection, Connections, OwedAnswers, User};
use super::{BrokerVersions, ConnectionConfig, Endpoint};
use crate::error::{Error, ErrorKind};
use crate::sync::{Mutex, STACK_BYTES};
use crate::threads::ThreadGroup;

pub(crate) use super::outgoing::OutgoingRequest;

/// One connection of a worker; never used again after its end.
pub(crate) type LinkId = u64;

/// What happens on a link, told to its worker.
#[derive(Debug)]
pub(crate) enum LinkEvent {
    /// The link is ready for requests.
    Connected(LinkReady),
    /// A frame arrived, without its length.
    Frame(Vec<u8>),
    /// The broker has taken more of the request for which [`WriteStatus::InProgress`] was returned, or of one before it.
    /// Comes now and then while the write goes on.
    WriteProgress,
    /// The request for which [`WriteStatus::InProgress`] was returned is written.
    WriteFinished,
    /// The broker has asked another user of the connection to wait: until then it reads nothing from it (KIP-219). It can be
    /// said before [`Connected`](Self::Connected).
    Throttled(Instant),
    /// The link could not be made, or has ended; it says nothing after this.
    Closed(Error),
    /// As [`Closed`](Self::Closed): the broker or the system allows no further connection, and there is none to share.
    ConnectionRefused(Error),
}

/// What [`LinkEvent::Connected`] says of a link.
#[derive(Debug)]
pub(crate) struct LinkReady {
    pub(crate) versions: BrokerVersions,
    /// When the broker ends the session of the connection (KIP-368); `None` if it never does. The link is to be replaced
    /// before.
    #[expect(
        dead_code,
        reason = "the worker replaces such a link with the next commit"
    )]
    pub(crate) session_ends: Option<Instant>,
}

/// Whether a request's last byte is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WriteStatus {
    Complete,
    /// The rest is written by another thread. [`LinkEvent::WriteFinished`] follows; until then the worker must not write
    /// to this link.
    InProgress,
}

/// Where a link leads to.
#[derive(Debug)]
pub(crate) struct LinkTarget {
    pub(crate) endpoint: Endpoint,
    /// The cluster that the broker must be of, if known.
    pub(crate) cluster_id: Option<Arc<str>>,
    /// Failed attempts in a row: they lengthen the timeout of this one, and choose the address that is tried first.
    pub(crate) failures: u32,
}

/// Why a request was not written, and what became of its bytes. The link is of no more use.
#[derive(Debug)]
pub(crate) enum WriteError {
    /// The connection took no byte of the request: what is in it is certainly not written.
    NothingWritten(Error),
    /// Some bytes of the request, or all, may have reached the broker.
    MaybeWritten(Error),
}

impl From<WriteError> for Error {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::NothingWritten(error) | WriteError::MaybeWritten(error) => error,
        }
    }
}

/// The network as a worker sees it; tests script their own.
pub(crate) trait Network {
    /// Starts to connect; the link's events follow. A broker of another cluster than that of `target` is an error.
    fn connect(&mut self, link: LinkId, target: LinkTarget);
    /// Writes a whole request, or what a few milliseconds allow of it. After an error the link is of no more use.
    fn write(&mut self, link: LinkId, request: OutgoingRequest) -> Result<WriteStatus, WriteError>;
    /// Ends the link. Events that are under way may still come. If the broker owes it answers, the connection counts as
    /// broken, and ends for others that share it, too.
    fn close(&mut self, link: LinkId);
    /// Ends the link for a reason that says nothing against the connection: others that share it keep it.
    fn abandon(&mut self, link: LinkId) {
        self.close(link);
    }
    /// An answer on the link asked this client to wait (KIP-219): others that share the connection are told.
    fn throttled(&mut self, _link: LinkId, _until: Instant) {}
}

/// Where a link's events go: to its worker, whose next round may be run by the thread that tells.
pub(crate) type EventSink = Arc<dyn Fn(LinkId, LinkEvent) + Send + Sync>;

/// The links of one worker over TCP.
pub(crate) struct TcpNetwork {
    config: Arc<ConnectionConfig>,
    threads: Arc<ThreadGroup>,
    events: EventSink,
    /// Those of all workers of the producer.
    connections: Arc<Connections>,
    links: HashMap<LinkId, TcpLink>,
    name: String,
}

struct TcpLink {
    link: Arc<LinkState>,
    /// Known from the first write on.
    connection: Option<Arc<Connection>>,
}

/// Shared by the worker and the thread that dials.
struct LinkState {
    user: Arc<User>,
    /// Ends the dialling.
    control: Arc<ConnectionControl>,
    stage: Mutex<Stage>,
}

enum Stage {
    Dialling,
    On(Arc<Connection>),
    Closed,
}

impl TcpNetwork {
    /// `name` is the beginning of the threads' names.
    pub(crate) fn new(
        config: Arc<ConnectionConfig>,
        threads: Arc<ThreadGroup>,
        events: EventSink,
        connections: Arc<Connections>,
        name: String,
    ) -> Self {
        Self {
            config,
            threads,
            events,
            connections,
            links: HashMap::new(),
            name,
        }
    }

    fn end(&mut self, link: LinkId, owed: OwedAnswers) {
        if let Some(TcpLink { link, .. }) = self.links.remove(&link) {
            link.close(owed);
        }
    }
}

impl Network for TcpNetwork {
    fn connect(&mut self, link: LinkId, target: LinkTarget) {
        let events = Arc::clone(&self.events);
        let state = Arc::new(LinkState {
            user: Arc::new(User { link, events }),
            control: ConnectionControl::new(),
            stage: Mutex::new(Stage::Dialling),
        });
        let dialling = Dialling {
            link: Arc::clone(&state),
            target,
            config: Arc::clone(&self.config),
            threads: Arc::clone(&self.threads),
            connections: Arc::clone(&self.connections),
            name: self.name.clone(),
        };
        let user = Arc::clone(&state.user);
        let link_state = TcpLink {
            link: state,
            connection: None,
        };
        self.links.insert(link, link_state);
        let name = format!("{}-link", self.name);
        if let Err(error) = self.threads.spawn(name, STACK_BYTES, || dialling.run()) {
            let error =
                Error::new(ErrorKind::Resource, "no thread for a connection").with_source(error);
            user.tell(LinkEvent::Closed(error));
        }
    }

    fn write(&mut self, link: LinkId, request: OutgoingRequest) -> Result<WriteStatus, WriteError> {
        let gone = || WriteError::NothingWritten(ended_error());
        let TcpLink { link, connection } = self.links.get_mut(&link).ok_or_else(gone)?;
        if connection.is_none() {
            *connection = match &*link.stage.lock() {
                Stage::On(connection) => Some(Arc::clone(connection)),
                _ => None,
            };
        }
        let connection = connection.as_ref().ok_or_else(gone)?;
        connection.write(&link.user, request)
    }

    fn close(&mut self, link: LinkId) {
        self.end(link, OwedAnswers::EndConnection);
    }

    fn abandon(&mut self, link: LinkId) {
        self.end(link, OwedAnswers::Drop);
    }

    fn throttled(&mut self, link: LinkId, until: Instant) {
        // An answer has come, so there was a write.
        if let Some(TcpLink {
            link,
            connection: Some(connection),
        }) = self.links.get(&link)
        {
            connection.mute(&link.user, until);
        }
    }
}

impl Drop for TcpNetwork {
    fn drop(&mut self) {
        for (_, TcpLink { link, .. }) in self.links.drain() {
            link.close(OwedAnswers::EndConnection);
        }
    }
}

impl LinkState {
    fn close(&self, owed: OwedAnswers) {
        let before = std::mem::replace(&mut *self.stage.lock(), Stage::Closed);
        match before {
            Stage::On(connection) => connection.leave(&self.user, owed),
            _ => self.control.cancel(),
        }
    }

    /// The link goes over `connection` from now on, unless it was closed meanwhile.
    fn use_connection(&self, connection: &Arc<Connection>) -> Result<(), Error> {
        {
            let mut stage = self.stage.lock();
            if matches!(*stage, Stage::Dialling) {
                *stage = Stage::On(Arc::clone(connection));
                return Ok(());
            }
        }
        Err(cancelled_error())
    }
}

/// What the thread of a link has to do.
struct Dialling {
    link: Arc<LinkState>,
    target: LinkTarget,
    config: Arc<ConnectionConfig>,
    threads: Arc<ThreadGroup>,
    connections: Arc<Connections>,
    name: String,
}

impl Dialling {
    /// The thread's body.
    fn run(self) {
        let mut farewell = Farewell {
            user: Some(Arc::clone(&self.link.user)),
            words: None,
        };
        match self.connect() {
            Ok(made) => {
                // From here on it is the connection that tells its users of its end.
                farewell.user = None;
                if let Some((connection, frames)) = made {
                    self.connections.add(self.target.endpoint, &connection);
                    connection.read(frames);
                }
            }
            Err(failed) => {
                self.link.control.cancel();
                farewell.words = Some(match failed.is_turned_away {
                    true => LinkEvent::ConnectionRefused(failed.error),
                    false => LinkEvent::Closed(failed.error),
                });
            }
        }
    }

    /// Makes a connection, which is to be read then, or joins one that stands.
    fn connect(&self) -> Result<Option<(Arc<Connection>, FrameReader)>, DialError> {
        let (config, user) = (&self.config, &self.link.user);
        let LinkTarget {
            endpoint,
            cluster_id,
            failures,
        } = &self.target;
        let within = setup_timeout(config, *failures);
        let (times, deadline) = (DialTimes::within(within), Instant::now() + within);
        let control = &self.link.control;
        let dialed = dial(endpoint, *failures, times, config, control, &self.threads);
        let mut dialed = match dialed {
            Ok(dialed) => dialed,
            Err(failed) if failed.is_turned_away && self.join() => return Ok(None),
            Err(failed) => return Err(failed),
        };
        // A large cluster's list of brokers is longer than a handshake.
        dialed.frames.limit(MAX_PRODUCE_FRAME_BYTES);
        if let Some(cluster_id) = cluster_id {
            check_cluster(&mut dialed, endpoint, cluster_id, config, deadline)?;
        }
        let patience = Some(WRITE_PATIENCE);
        let socket = &dialed.socket;
        socket.set_write_timeout(patience).map_err(socket_error)?;
        // The questions so far each had a deadline; the reader waits for as long as it takes.
        socket.set_read_timeout(None).map_err(socket_error)?;
        let connection = Connection::new(
            &dialed,
            Arc::clone(control),
            Arc::clone(&self.threads),
            self.name.clone(),
            cluster_id.clone(),
            Arc::clone(user),
        );
        self.link.use_connection(&connection)?;
        user.tell(connected(dialed.versions));
        Ok(Some((connection, dialed.frames)))
    }

    /// Whether the link goes over a connection that stands already.
    fn join(&self) -> bool {
        let user = &self.link.user;
        let LinkTarget {
            endpoint,
            cluster_id,
            ..
        } = &self.target;
        let Some(connection) = self.connections.join(endpoint, cluster_id.as_ref(), user) else {
            return false;
        };
        match self.link.use_connection(&connection) {
            Ok(()) => user.tell(connected(connection.versions().clone())),
            // Closed meanwhile. The connection says so.
            Err(_) => connection.leave(user, OwedAnswers::Drop),
        }
        true
    }
}

fn connected(versions: BrokerVersions) -> LinkEvent {
    LinkEvent::Connected(LinkReady {
        versions,
        session_ends: None,
    })
}

/// The last words of a link that has no connection, which its worker waits for, however the thread ends.
struct Farewell {
    user: Option<Arc<User>>,
    words: Option<LinkEvent>,
}

impl Drop for Farewell {
    fn drop(&mut self) {
        let Some(user) = &self.user else { return };
        let words = self.words.take();
        user.tell(words.unwrap_or_else(|| LinkEvent::Closed(panicked_error())));
    }
}
