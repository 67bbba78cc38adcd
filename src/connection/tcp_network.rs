//! A worker's links over TCP. Each link has a thread, which dials. Then this thread reads the connection, or it ends if the
//! link shares an existing connection ([`shared`](super::shared)). The thread that runs the worker's round writes the
//! requests.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use super::ConnectionContext;
use super::control::ConnectionControl;
use super::dial::{Dial, DialError, DialTimes, setup_timeout};
use super::errors::{cancelled_error, ended_error, panicked_error, thread_error};
use super::frames::MAX_PRODUCE_FRAME_BYTES;
use super::link::{
    EventSink, LinkEvent, LinkId, LinkTarget, Network, OutgoingRequest, WriteError, WriteStatus,
};
use super::shared::{Connection, ConnectionUser, Incoming, NewShared, OwedAnswers};
use crate::error::Error;
use crate::sync::{Mutex, STACK_BYTES};
use crate::threads::thread_name;

/// The links of one worker over TCP.
pub(crate) struct TcpNetwork {
    context: ConnectionContext,
    events: EventSink,
    links: HashMap<LinkId, TcpLink>,
    /// The worker's index, for the names of threads.
    worker: usize,
}

struct TcpLink {
    link: Arc<LinkState>,
    /// `None` before the first write.
    connection: Option<Arc<Connection>>,
}

/// The state of a link that the worker and the link's thread share.
struct LinkState {
    user: Arc<ConnectionUser>,
    /// Ends the attempt to connect, and the connection that the attempt made.
    control: Arc<ConnectionControl>,
    stage: Mutex<Stage>,
}

enum Stage {
    Dialling,
    Connected(Arc<Connection>),
    Closed,
}

impl TcpNetwork {
    /// Creates the network of the worker with this index.
    pub(crate) fn new(context: ConnectionContext, events: EventSink, worker: usize) -> Self {
        Self {
            context,
            events,
            links: HashMap::new(),
            worker,
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
            user: Arc::new(ConnectionUser { link, events }),
            control: ConnectionControl::new(),
            stage: Mutex::new(Stage::Dialling),
        });
        let dialling = Dialling {
            link: Arc::clone(&state),
            target,
            context: self.context.clone(),
            worker: self.worker,
        };
        let user = Arc::clone(&state.user);
        let tcp_link = TcpLink {
            link: state,
            connection: None,
        };
        self.links.insert(link, tcp_link);
        let client_id = &self.context.config.client_id;
        let name = thread_name(&format!("link-{}", self.worker), client_id);
        let threads = &self.context.threads;
        if let Err(error) = threads.spawn(name, STACK_BYTES, || dialling.run()) {
            user.notify(LinkEvent::Closed(thread_error("link", error)));
        }
    }

    fn write(&mut self, link: LinkId, request: OutgoingRequest) -> Result<WriteStatus, WriteError> {
        let ended = || WriteError::NothingWritten(ended_error());
        let TcpLink { link, connection } = self.links.get_mut(&link).ok_or_else(ended)?;
        if connection.is_none() {
            *connection = match &*link.stage.lock() {
                Stage::Connected(connection) => Some(Arc::clone(connection)),
                _ => None,
            };
        }
        let connection = connection.as_ref().ok_or_else(ended)?;
        connection.write(&link.user, request)
    }

    fn close(&mut self, link: LinkId) {
        self.end(link, OwedAnswers::EndConnection);
    }

    fn abandon(&mut self, link: LinkId) {
        self.end(link, OwedAnswers::Drop);
    }

    fn throttled(&mut self, link: LinkId, until: Instant) {
        // The link has got an answer, so there was a write and the connection is known.
        if let Some(TcpLink {
            link,
            connection: Some(connection),
        }) = self.links.get(&link)
        {
            connection.throttled(&link.user, until);
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
            Stage::Connected(connection) => connection.remove_user(&self.user, owed),
            _ => self.control.cancel(),
        }
    }

    /// Makes the link use `connection`. Returns an error if the link was closed meanwhile.
    fn use_connection(&self, connection: &Arc<Connection>) -> Result<(), Error> {
        let mut stage = self.stage.lock();
        if matches!(*stage, Stage::Dialling) {
            *stage = Stage::Connected(Arc::clone(connection));
            return Ok(());
        }
        drop(stage);
        Err(cancelled_error())
    }
}

/// The task of a link's thread.
struct Dialling {
    link: Arc<LinkState>,
    target: LinkTarget,
    context: ConnectionContext,
    worker: usize,
}

impl Dialling {
    /// The body of the link's thread.
    fn run(self) {
        let mut end = FinalEvent {
            user: Some(Arc::clone(&self.link.user)),
            event: None,
        };
        match self.connect() {
            Ok(made) => {
                // From now on the connection notifies its users when it ends.
                end.user = None;
                if let Some((connection, incoming)) = made {
                    let registry = &self.context.registry;
                    registry.add(self.target.endpoint, &connection);
                    connection.read(incoming);
                }
            }
            Err(failed) => {
                self.link.control.cancel();
                end.event = Some(match failed.is_refused {
                    true => LinkEvent::ConnectionRefused(failed.error),
                    false => LinkEvent::Closed(failed.error),
                });
            }
        }
    }

    /// Makes a connection and returns it. This thread must then read it. Returns `None` if the link shares an existing
    /// connection instead.
    fn connect(&self) -> Result<Option<(Arc<Connection>, Incoming)>, DialError> {
        let target = &self.target;
        let dial = Dial {
            context: &self.context,
            endpoint: &target.endpoint,
            cluster_id: target.cluster_id.as_ref(),
            failures: target.failures,
            times: DialTimes::within(setup_timeout(&self.context.config, target.failures)),
            max_frame_bytes: MAX_PRODUCE_FRAME_BYTES,
            control: &self.link.control,
        };
        let dialed = match dial.run() {
            Ok(dialed) => dialed,
            Err(failed) if failed.is_refused && self.share() => return Ok(None),
            Err(failed) => return Err(failed),
        };
        let new = NewShared {
            dialed,
            control: &self.link.control,
            context: &self.context,
            cluster_id: target.cluster_id.clone(),
            writer_name: thread_name(
                &format!("writer-{}", self.worker),
                &self.context.config.client_id,
            ),
        };
        let user = &self.link.user;
        let (connection, incoming) = Connection::new(new, Arc::clone(user));
        self.link.use_connection(&connection)?;
        user.notify(LinkEvent::Connected(connection.ready()));
        Ok(Some((connection, incoming)))
    }

    /// Makes the link use an existing connection. Returns false if there is none.
    fn share(&self) -> bool {
        let user = &self.link.user;
        let (endpoint, cluster_id) = (&self.target.endpoint, self.target.cluster_id.as_ref());
        let Some(connection) = self.context.registry.share(endpoint, cluster_id, user) else {
            return false;
        };
        match self.link.use_connection(&connection) {
            Ok(()) => user.notify(LinkEvent::Connected(connection.ready())),
            // The link was closed meanwhile. The connection reports that.
            Err(_) => connection.remove_user(user, OwedAnswers::Drop),
        }
        true
    }
}

/// Reports the end of a link that has no connection. It does so when it is dropped, also if the thread panics, because the
/// worker waits for the report.
struct FinalEvent {
    user: Option<Arc<ConnectionUser>>,
    event: Option<LinkEvent>,
}

impl Drop for FinalEvent {
    fn drop(&mut self) {
        let Some(user) = &self.user else { return };
        let event = self.event.take();
        user.notify(event.unwrap_or_else(|| LinkEvent::Closed(panicked_error())));
    }
}

#[cfg(test)]
mod tests;
