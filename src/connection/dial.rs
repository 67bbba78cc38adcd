//! Dials: makes a connection that is ready for requests. The steps are: resolve the name, connect to one of its addresses,
//! set up the transport, negotiate versions, authenticate, check the cluster.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::authentication::Session;
use super::cluster_check::check_cluster;
use super::control::ConnectionControl;
use super::errors::cancelled_error;
use super::exchange::{Exchange, OwnConnection};
use super::frames::ClientProtocol;
use super::negotiation::negotiate_versions;
use super::socket::TcpSocket;
use super::transport::{ReceiveHalf, SendHalf};
use super::{BrokerVersions, ConnectionConfig, ConnectionContext, Encryption, Endpoint, transport};
use crate::backoff::ExponentialBackoff;
use crate::error::{Error, ErrorKind};
use crate::sync::channel;

/// What is needed to dial one endpoint.
pub(super) struct Dial<'a> {
    pub(super) context: &'a ConnectionContext,
    pub(super) endpoint: &'a Endpoint,
    /// The cluster to which the broker must belong. `None` if any cluster is accepted.
    pub(super) cluster_id: Option<&'a Arc<str>>,
    /// The number of dials in a row that failed. It chooses which of several addresses is tried first.
    pub(super) failures: u32,
    pub(super) times: DialTimes,
    /// The largest answer that is accepted after authentication. Earlier answers have a smaller limit.
    pub(super) max_frame_bytes: usize,
    /// Cancels the dial, and later closes the connection.
    pub(super) control: &'a Arc<ConnectionControl>,
}

/// How long a dial may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct DialTimes {
    /// The time for the whole dial.
    pub(super) total: Duration,
    /// The shorter time that applies if there is an alternative: another endpoint, or another address of this one. It
    /// limits the look-up, and then again the connect with the version negotiation.
    pub(super) patience: Duration,
    /// Whether another endpoint can be tried instead.
    pub(super) has_others: bool,
}

/// A connection that is ready for requests.
pub(super) struct Dialed {
    pub(super) exchange: Exchange<OwnConnection>,
    pub(super) versions: BrokerVersions,
    pub(super) session: Session,
}

/// A connection whose versions are negotiated, for the steps that follow.
pub(crate) struct NewConnection<'a> {
    pub(super) endpoint: &'a Endpoint,
    pub(super) versions: &'a BrokerVersions,
    pub(super) exchange: &'a mut Exchange<OwnConnection>,
    pub(super) deadline: Instant,
}

/// Why a dial failed.
#[derive(Debug)]
pub(super) struct DialError {
    pub(super) error: Error,
    /// Whether the broker or the system may allow no further connection: the broker closed the connection before its first
    /// answer, as a broker at its connection limit does, or the system has no file descriptor left. The caller can then
    /// share an existing connection.
    pub(super) is_refused: bool,
}

impl From<Error> for DialError {
    fn from(error: Error) -> Self {
        Self {
            error,
            is_refused: false,
        }
    }
}

impl DialTimes {
    /// Limits the whole dial to `total`. No shorter limit applies.
    pub(super) fn within(total: Duration) -> Self {
        Self {
            total,
            patience: total,
            has_others: false,
        }
    }

    fn deadline(&self, end: Instant, has_alternative: bool) -> Instant {
        match has_alternative {
            true => end.min(Instant::now() + self.patience),
            false => end,
        }
    }
}

/// Returns the time for a dial after `failures` in a row. It doubles with each failure, up to a maximum (KIP-601).
pub(super) fn setup_timeout(config: &ConnectionConfig, failures: u32) -> Duration {
    ExponentialBackoff::new(config.setup_timeout, config.setup_timeout_max).after(failures)
}

impl Dial<'_> {
    /// Dials. Blocks until the connection is ready, a step fails, the dial is cancelled, or its time is over.
    pub(super) fn run(&self) -> Result<Dialed, DialError> {
        let end = Instant::now() + self.times.total;
        let has_others = self.times.has_others;
        let addresses = self.resolve(self.times.deadline(end, has_others))?;

        let deadline = self.times.deadline(end, has_others || addresses.len() > 1);
        let socket = self.connect(addresses, deadline)?;
        let mut connection = OwnConnection::new(self.set_up_transport(&socket, deadline)?);
        connection.frames.explain_for(self.client_protocol());
        let client_id = Arc::clone(&self.context.config.client_id);
        let mut exchange = Exchange::new(connection, client_id);
        let versions = self.negotiate_versions(&mut exchange, deadline)?;
        exchange.connection.frames.versions_are_known();

        let mut connection = NewConnection {
            endpoint: self.endpoint,
            versions: &versions,
            exchange: &mut exchange,
            deadline: end,
        };
        let authenticator = &self.context.config.authenticator;
        let session = authenticator
            .authenticate(&mut connection)
            .map_err(|error| while_connecting(self.endpoint, error))?;
        // The next step requests the list of brokers. In a large cluster it is longer than the earlier answers may be.
        connection
            .exchange
            .connection
            .frames
            .limit(self.max_frame_bytes);
        if let Some(cluster_id) = self.cluster_id {
            check_cluster(&mut connection, cluster_id)?;
        }
        Ok(Dialed {
            exchange,
            versions,
            session,
        })
    }

    /// Returns the addresses of the host without duplicates. A look-up that has no answer by `deadline` continues, and the
    /// next dial of this endpoint uses it.
    fn resolve(&self, deadline: Instant) -> Result<Vec<SocketAddr>, Error> {
        let endpoint = self.endpoint;
        if let Ok(address) = endpoint.host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, endpoint.port)]);
        }
        let resolver = &self.context.config.resolver;
        let look_up = resolver.resume_or_start(endpoint, &self.context.threads)?;
        let found = channel::select! {
            recv(look_up.answered) -> found => found.unwrap_or_else(|_| Ok(Vec::new())),
            recv(self.control.cancelled()) -> _ => return Err(cancelled_error()),
            default(deadline.saturating_duration_since(Instant::now())) => {
                resolver.keep(endpoint, look_up);
                let message = format!("resolving {} took too long", endpoint.host);
                return Err(Error::new(ErrorKind::Network, message));
            }
        };
        let failed = |message: String| Error::new(ErrorKind::Network, message);
        match found {
            Ok(mut addresses) if !addresses.is_empty() => {
                let mut seen = std::collections::HashSet::new();
                addresses.retain(|address| seen.insert(*address));
                Ok(addresses)
            }
            Ok(_) => Err(failed(format!("{} resolves to no address", endpoint.host))),
            Err(error) => {
                Err(failed(format!("cannot resolve {}", endpoint.host)).with_source(error))
            }
        }
    }

    /// Tries one address after the other. Each gets an equal part of the remaining time.
    fn connect(
        &self,
        mut addresses: Vec<SocketAddr>,
        deadline: Instant,
    ) -> Result<Arc<TcpSocket>, DialError> {
        let first = self.failures as usize % addresses.len();
        addresses.rotate_left(first);
        let mut last_error = None;
        for (tried, address) in addresses.iter().enumerate() {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = left / (addresses.len() - tried) as u32;
            if timeout.is_zero() {
                break;
            }
            match self.connect_to(address, timeout) {
                Ok(socket) => {
                    // A cancel before the socket was connected has shut nothing down, so this checks for one.
                    self.control.adopt(&socket)?;
                    return Ok(socket);
                }
                Err(error) => last_error = Some((address, error)),
            }
        }
        Err(cannot_connect(self.endpoint, last_error))
    }

    fn connect_to(
        &self,
        address: &SocketAddr,
        timeout: Duration,
    ) -> std::io::Result<Arc<TcpSocket>> {
        let socket = Arc::new(TcpSocket::new(address, &self.context.config)?);
        self.control.adopt(&socket).map_err(std::io::Error::other)?;
        socket.connect(*address, timeout)?;
        Ok(socket)
    }

    /// Makes the halves of the transport, and its handshake if it has one.
    fn set_up_transport(
        &self,
        socket: &Arc<TcpSocket>,
        deadline: Instant,
    ) -> Result<(SendHalf, ReceiveHalf), DialError> {
        match &self.context.config.encryption {
            Encryption::None => {
                let _ = deadline;
                Ok(transport::plain(socket))
            }
            #[cfg(feature = "tls-core")]
            Encryption::Tls(client) => {
                let host = &self.endpoint.host;
                let connected = transport::tls::connect(client, host, socket, deadline);
                connected.map_err(|failed| DialError {
                    is_refused: failed.closed_before_first_byte && !self.control.is_cancelled(),
                    error: while_connecting(self.endpoint, failed.error),
                })
            }
        }
    }

    fn client_protocol(&self) -> ClientProtocol {
        let config = &self.context.config;
        ClientProtocol {
            uses_tls: !matches!(config.encryption, Encryption::None),
            uses_sasl: config.authenticator.is_sasl(),
            unused_credentials: config.authenticator.unused_credentials(),
        }
    }

    fn negotiate_versions(
        &self,
        exchange: &mut Exchange<OwnConnection>,
        deadline: Instant,
    ) -> Result<BrokerVersions, DialError> {
        let first_versions = &self.context.config.first_versions;
        let first = first_versions.of(self.endpoint, Instant::now());
        negotiate_versions(exchange, first, deadline).map_err(|error| {
            let is_cancelled = self.control.is_cancelled();
            let is_closed = exchange.connection.frames.closed_before_first_byte();
            if is_closed && !is_cancelled {
                first_versions.note_closed(self.endpoint, first, Instant::now());
            }
            DialError {
                is_refused: !is_cancelled && (is_closed || is_reset(&error)),
                error: while_connecting(self.endpoint, error),
            }
        })
    }
}

fn cannot_connect(
    endpoint: &Endpoint,
    last_error: Option<(&SocketAddr, std::io::Error)>,
) -> DialError {
    let error = Error::new(ErrorKind::Network, format!("cannot connect to {endpoint}"));
    let is_refused = last_error
        .as_ref()
        .is_some_and(|(_, error)| is_out_of_descriptors(error));
    let error = match last_error {
        // The message names the address already.
        Some((address, source)) if address.to_string() == endpoint.to_string() => {
            error.with_source(source)
        }
        Some((address, source)) => error.with_source(std::io::Error::new(
            source.kind(),
            format!("{address}: {source}"),
        )),
        None => error,
    };
    DialError { error, is_refused }
}

fn while_connecting(endpoint: &Endpoint, error: Error) -> Error {
    error.in_context(format_args!("no Kafka connection to {endpoint}"))
}

/// Returns whether a write or read failed because the broker had closed the connection.
fn is_reset(error: &Error) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
    let source = std::error::Error::source(error);
    let source = source.and_then(|source| source.downcast_ref::<std::io::Error>());
    source.is_some_and(|source| {
        matches!(
            source.kind(),
            BrokenPipe | ConnectionAborted | ConnectionReset
        )
    })
}

/// Returns whether this process, or the whole system, has no file descriptor left.
fn is_out_of_descriptors(error: &std::io::Error) -> bool {
    const EMFILE: i32 = 24;
    const ENFILE: i32 = 23;
    cfg!(unix) && matches!(error.raw_os_error(), Some(EMFILE | ENFILE))
}

#[cfg(test)]
mod tests;
