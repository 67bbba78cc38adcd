//! A client that sends one request and waits for its answer, for the rare, slow requests: metadata and producer ids.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::control::ConnectionControl;
use super::dial::{Dial, DialError, DialTimes, Dialed, setup_timeout};
use super::errors::{cancelled_error, ended_error, no_answer_error};
use super::exchange::{Exchange, ExchangeConnection, OwnConnection};
use super::frames::MAX_METADATA_FRAME_BYTES;
use super::link::{LinkEvent, LinkId, OutgoingRequest};
use super::outgoing::WRITE_PATIENCE;
use super::shared::{Connection, ConnectionUser, OwedAnswers};
use super::{BrokerVersions, ConnectionContext, Endpoint};
use crate::error::Error;
use crate::protocol::Request;
use crate::sync::channel;
use crate::time::deadline_after;

/// A client of one broker, with one request at a time.
pub(crate) struct BlockingClient {
    endpoint: Endpoint,
    exchange: Exchange<ClientConnection>,
    versions: BrokerVersions,
    session_ends: Option<Instant>,
}

/// The endpoint to which a [`BlockingClient`] connects, and for how long it tries.
pub(crate) struct ClientTarget<'a> {
    pub(crate) endpoint: &'a Endpoint,
    /// Failed attempts in a row: they lengthen the timeout of this one, and choose the address that is tried first.
    pub(crate) failures: u32,
    /// How long to try if another endpoint can be tried instead. `has_others` says whether there is one.
    pub(crate) patience: Duration,
    pub(crate) has_others: bool,
}

/// The connection of a client.
enum ClientConnection {
    Own {
        connection: Box<OwnConnection>,
        control: Arc<ConnectionControl>,
    },
    /// A worker's connection, because the broker or the system allows no further one.
    Shared(SharedConnection),
}

impl BlockingClient {
    /// Connects. Blocks until the connection is ready, the attempt is cancelled through `control`, or its time is over.
    pub(crate) fn connect(
        context: &ConnectionContext,
        target: &ClientTarget<'_>,
        control: Arc<ConnectionControl>,
    ) -> Result<Self, Error> {
        let dial = Dial {
            context,
            endpoint: target.endpoint,
            cluster_id: None,
            failures: target.failures,
            times: DialTimes {
                total: setup_timeout(&context.config, target.failures),
                patience: target.patience,
                has_others: target.has_others,
            },
            max_frame_bytes: MAX_METADATA_FRAME_BYTES,
            control: &control,
        };
        match dial.run() {
            Ok(dialed) => Ok(Self::over_own(dialed, target.endpoint, control)),
            Err(failed) => Self::over_shared(failed, context, target.endpoint, control),
        }
    }

    fn over_own(dialed: Dialed, endpoint: &Endpoint, control: Arc<ConnectionControl>) -> Self {
        let Dialed {
            exchange,
            versions,
            session,
        } = dialed;
        Self {
            endpoint: endpoint.clone(),
            exchange: exchange.map(|connection| ClientConnection::Own {
                connection: Box::new(connection),
                control,
            }),
            versions,
            session_ends: session.ends,
        }
    }

    /// Shares a worker's connection to `endpoint`, if the attempt was refused and there is such a connection.
    fn over_shared(
        failed: DialError,
        context: &ConnectionContext,
        endpoint: &Endpoint,
        control: Arc<ConnectionControl>,
    ) -> Result<Self, Error> {
        if !failed.is_refused {
            return Err(failed.error);
        }
        let (sender, events) = channel::unbounded();
        let user = Arc::new(ConnectionUser {
            link: LinkId(0),
            events: Arc::new(move |_, event| {
                let _ = sender.send(event);
            }),
        });
        // A broker of any cluster is accepted here, because the metadata thread asks for the cluster itself.
        let connection = context.registry.share(endpoint, None, &user);
        let connection = connection.ok_or(failed.error)?;
        connection.allow_answers_of(MAX_METADATA_FRAME_BYTES);
        let ready = connection.ready();
        let shared = ClientConnection::Shared(SharedConnection {
            connection,
            user,
            events,
            control,
        });
        Ok(Self {
            endpoint: endpoint.clone(),
            exchange: Exchange::new(shared, Arc::clone(&context.config.client_id)),
            versions: ready.versions,
            session_ends: ready.session.ends,
        })
    }

    pub(crate) fn versions(&self) -> &BrokerVersions {
        &self.versions
    }

    /// Returns when the session of the connection ends, so that the client must be replaced.
    pub(crate) fn session_ends(&self) -> Option<Instant> {
        self.session_ends
    }

    /// Returns whether this client has a connection of its own, which counts against the broker's connection limit.
    pub(crate) fn has_own_connection(&self) -> bool {
        matches!(self.exchange.connection, ClientConnection::Own { .. })
    }

    /// Reports that the broker's latest answer asked this client to wait. Workers that share the connection are notified.
    pub(crate) fn throttled(&self, wait: Duration) {
        if let ClientConnection::Shared(shared) = &self.exchange.connection {
            let until = deadline_after(Instant::now(), wait);
            shared.connection.throttled(&shared.user, until);
        }
    }

    /// Sends `request` and waits up to `timeout` for its answer. An error names the broker and makes the client unusable.
    pub(crate) fn call<R: Request>(
        &mut self,
        request: &R,
        version: i16,
        timeout: Duration,
    ) -> Result<R::Response, Error> {
        let deadline = deadline_after(Instant::now(), timeout);
        let answer = self.exchange.call(request, version, deadline);
        answer.map_err(|error| error.with_broker(&self.endpoint))
    }
}

impl ExchangeConnection for ClientConnection {
    fn exchange(&mut self, request: Vec<u8>, deadline: Instant) -> Result<Vec<u8>, Error> {
        match self {
            Self::Own { connection, .. } => connection.exchange(request, deadline),
            Self::Shared(shared) => shared.exchange(request, deadline),
        }
    }
}

impl Drop for ClientConnection {
    fn drop(&mut self) {
        if let Self::Own {
            connection,
            control,
        } = self
        {
            connection.send.end(WRITE_PATIENCE);
            control.cancel();
        }
    }
}

/// A client's use of a worker's connection.
struct SharedConnection {
    connection: Arc<Connection>,
    user: Arc<ConnectionUser>,
    /// The events of the connection. It has at most one answer, because an answer without a request ends the connection.
    events: channel::Receiver<LinkEvent>,
    control: Arc<ConnectionControl>,
}

impl ExchangeConnection for SharedConnection {
    fn exchange(&mut self, request: Vec<u8>, deadline: Instant) -> Result<Vec<u8>, Error> {
        let request = OutgoingRequest {
            fields: request,
            cuts: Vec::new(),
            batches: Vec::new(),
            is_answered: true,
        };
        self.connection.write(&self.user, request)?;
        loop {
            let event = channel::select! {
                recv(self.events) -> event => event.map_err(|_| ended_error())?,
                recv(self.control.cancelled()) -> _ => return Err(cancelled_error()),
                default(deadline.saturating_duration_since(Instant::now())) => {
                    return Err(no_answer_error());
                }
            };
            match event {
                LinkEvent::Frame(frame) => return Ok(frame),
                LinkEvent::Closed(error) => return Err(error),
                _ => {}
            }
        }
    }
}

impl Drop for SharedConnection {
    fn drop(&mut self) {
        // The connection stays for the workers that use it.
        self.connection.remove_user(&self.user, OwedAnswers::Drop);
    }
}
