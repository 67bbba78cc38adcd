//! A connection on which one thread asks and waits: for the rare, slow requests.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::control::{ConnectionControl, cancelled_error, ended_error};
use super::dial::{DialError, DialTimes, Dialed, dial, exchange, protocol_error, setup_timeout};
use super::frames::MAX_METADATA_FRAME_BYTES;
use super::link::{LinkEvent, OutgoingRequest};
use super::shared::{Connection, Connections, OwedAnswers, User};
use super::{BrokerVersions, ConnectionConfig, Endpoint};
use crate::error::{Error, ErrorKind};
use crate::protocol::{Request, decode_response, encode_request};
use crate::sync::channel;
use crate::threads::ThreadGroup;
use crate::time::deadline_after;

/// One connection, one request at a time.
pub(crate) struct BlockingClient {
    way: Way,
    client_id: Arc<str>,
    next_correlation_id: i32,
}

/// What requests and answers go over.
enum Way {
    Own {
        dialed: Dialed,
        control: Arc<ConnectionControl>,
    },
    /// A worker's connection, where the broker allows no further one.
    Shared(SharedWay),
}

/// What a client needs of the producer it belongs to.
pub(crate) struct ClientContext<'a> {
    pub(crate) config: &'a ConnectionConfig,
    pub(crate) threads: &'a Arc<ThreadGroup>,
    /// The workers' connections.
    pub(crate) connections: &'a Connections,
}

impl BlockingClient {
    /// Connects; blocks as [`dial`] does, and for no longer than `patience` where there is another endpoint to turn to
    /// (`has_others`).
    pub(crate) fn connect(
        endpoint: &Endpoint,
        failures: u32,
        patience: Duration,
        has_others: bool,
        control: Arc<ConnectionControl>,
        context: &ClientContext<'_>,
    ) -> Result<Self, Error> {
        let ClientContext {
            config, threads, ..
        } = context;
        let times = DialTimes {
            total: setup_timeout(config, failures),
            patience,
            has_others,
        };
        let way = match dial(endpoint, failures, times, config, &control, threads) {
            Ok(mut dialed) => {
                dialed.frames.limit(MAX_METADATA_FRAME_BYTES);
                Way::Own { dialed, control }
            }
            Err(failed) => SharedWay::instead(failed, endpoint, &control, context.connections)?,
        };
        Ok(Self {
            way,
            client_id: Arc::clone(&config.client_id),
            next_correlation_id: 1,
        })
    }

    pub(crate) fn versions(&self) -> &BrokerVersions {
        match &self.way {
            Way::Own { dialed, .. } => &dialed.versions,
            Way::Shared(shared) => shared.connection.versions(),
        }
    }

    /// Whether the broker counts this client's connection beside the workers'.
    pub(crate) fn has_own_connection(&self) -> bool {
        matches!(self.way, Way::Own { .. })
    }

    /// The broker's latest answer asked this client to wait: the workers that share the connection are told.
    pub(crate) fn throttled(&self, wait: Duration) {
        if let Way::Shared(shared) = &self.way {
            let until = deadline_after(Instant::now(), wait);
            shared.connection.mute(&shared.user, until);
        }
    }

    /// Sends `request` and waits up to `timeout` for its answer. After an error the connection is of no more use.
    pub(crate) fn call<R: Request>(
        &mut self,
        request: &R,
        version: i16,
        timeout: Duration,
    ) -> Result<R::Response, Error> {
        let correlation_id = self.next_correlation_id;
        self.next_correlation_id = self.next_correlation_id.checked_add(1).unwrap_or(1);
        let mut bytes = Vec::new();
        encode_request(
            request,
            version,
            correlation_id,
            Some(&self.client_id),
            &mut bytes,
        )
        .map_err(|error| {
            Error::new(ErrorKind::InvalidArgument, "the request cannot be encoded")
                .with_source(error)
        })?;
        let frame = self
            .way
            .exchange(bytes, deadline_after(Instant::now(), timeout))?;
        let (answered, response) = decode_response::<R>(version, &frame).map_err(protocol_error)?;
        if answered != correlation_id {
            let message =
                format!("the broker answered request {answered} where {correlation_id} was asked");
            return Err(Error::new(ErrorKind::Protocol, message));
        }
        Ok(response)
    }
}

impl Way {
    fn exchange(&mut self, request: Vec<u8>, deadline: Instant) -> Result<Vec<u8>, Error> {
        match self {
            Way::Own { dialed, .. } => {
                exchange(&dialed.socket, &mut dialed.frames, &request, deadline)
            }
            Way::Shared(shared) => shared.exchange(request, deadline),
        }
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        if let Way::Own { control, .. } = self {
            control.cancel();
        }
    }
}

/// The use of a worker's connection.
struct SharedWay {
    connection: Arc<Connection>,
    user: Arc<User>,
    /// At most one answer and the connection's end: a broker's answer to nothing ends it before it comes here.
    events: channel::Receiver<LinkEvent>,
    control: Arc<ConnectionControl>,
}

impl SharedWay {
    /// Joins a worker's connection to `endpoint`, if that is what helps and there is one.
    fn instead(
        failed: DialError,
        endpoint: &Endpoint,
        control: &Arc<ConnectionControl>,
        connections: &Connections,
    ) -> Result<Way, Error> {
        let (sender, events) = channel::unbounded();
        let tell = move |_, event| {
            let _ = sender.send(event);
        };
        let user = Arc::new(User {
            link: 0,
            events: Arc::new(tell),
        });
        let joined = match failed.is_turned_away {
            // Whichever cluster it is of: that is what the metadata thread asks.
            true => connections.join(endpoint, None, &user),
            false => None,
        };
        let connection = joined.ok_or(failed.error)?;
        connection.allow_answers_of(MAX_METADATA_FRAME_BYTES);
        Ok(Way::Shared(SharedWay {
            connection,
            user,
            events,
            control: Arc::clone(control),
        }))
    }

    fn exchange(&self, request: Vec<u8>, deadline: Instant) -> Result<Vec<u8>, Error> {
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
                    return Err(Error::new(ErrorKind::Network, "the broker did not answer in time"));
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

impl Drop for SharedWay {
    fn drop(&mut self) {
        // The workers' requests on it are none of this client's business.
        self.connection.leave(&self.user, OwedAnswers::Drop);
    }
}
