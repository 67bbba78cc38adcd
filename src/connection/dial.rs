//! Making a connection: look the name up, connect to one of its addresses, ask for the broker's versions.

use std::io::Read;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::control::{ConnectionControl, cancelled_error};
use super::frames::FrameReader;
use super::handshakes::NEWEST;
use super::socket::TcpSocket;
use super::versions::BrokerVersions;
use super::{ConnectionConfig, Endpoint};
use crate::backoff::ExponentialBackoff;
use crate::error::{Error, ErrorKind};
use crate::protocol::messages::{ApiVersionsRequest, ApiVersionsResponse};
use crate::protocol::{
    ApiKey, ErrorCode, Reader, Request, Response, decode_response_header, encode_request,
};
use crate::sync::channel;
use crate::threads::ThreadGroup;

/// A connection that is ready for requests.
pub(crate) struct Dialed {
    pub(crate) socket: Arc<TcpSocket>,
    pub(crate) frames: FrameReader,
    pub(crate) versions: BrokerVersions,
}

/// Why there is no connection.
pub(crate) struct DialError {
    pub(crate) error: Error,
    /// The broker closed the connection before its first answer, as one does that has reached its limit of connections,
    /// or the system has no file descriptor left: one that stands already may still serve.
    pub(crate) is_turned_away: bool,
}

impl From<Error> for DialError {
    fn from(error: Error) -> Self {
        Self {
            error,
            is_turned_away: false,
        }
    }
}

/// How long an attempt to connect may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DialTimes {
    /// All of it.
    pub(crate) total: Duration,
    /// The look-up, and then again the connection with its first exchange, where there is something else to turn to:
    /// another endpoint, or another address of this one.
    pub(crate) patience: Duration,
    /// Whether there is another endpoint to turn to.
    pub(crate) has_others: bool,
}

impl DialTimes {
    /// One time for all of it.
    pub(crate) fn within(total: Duration) -> Self {
        Self {
            total,
            patience: total,
            has_others: false,
        }
    }

    fn deadline(&self, end: Instant, has_others: bool) -> Instant {
        match has_others {
            true => end.min(Instant::now() + self.patience),
            false => end,
        }
    }
}

/// Connects to `endpoint`. Blocks until the connection is ready, cancelled through `control`, or the time for this
/// attempt is over. The `failures` so far choose which of several addresses comes first.
pub(crate) fn dial(
    endpoint: &Endpoint,
    failures: u32,
    times: DialTimes,
    config: &ConnectionConfig,
    control: &ConnectionControl,
    threads: &Arc<ThreadGroup>,
) -> Result<Dialed, DialError> {
    let end = Instant::now() + times.total;
    let look_up_end = times.deadline(end, times.has_others);
    let mut addresses = resolve(endpoint, config, control, threads, look_up_end)?;
    let deadline = times.deadline(end, times.has_others || addresses.len() > 1);
    let first = failures as usize % addresses.len();
    addresses.rotate_left(first);
    let socket = connect_to_any(endpoint, &addresses, config, control, deadline)?;
    let mut frames = FrameReader::default();
    let first = config.handshakes.first_version(endpoint, Instant::now());
    let versions =
        ask_versions(first, &socket, &mut frames, config, deadline).map_err(|error| {
            if frames.is_closed_unheard() && !control.is_cancelled() {
                let now = Instant::now();
                config.handshakes.note_closed(endpoint, first, now);
            }
            DialError {
                is_turned_away: !control.is_cancelled()
                    && (frames.is_closed_unheard() || is_reset(&error)),
                error: while_connecting(endpoint, error),
            }
        })?;
    Ok(Dialed {
        socket,
        frames,
        versions,
    })
}

/// Whether the broker had closed the connection when it was written to.
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

/// Whether the system has no file descriptor left, for this process or for any.
fn is_out_of_descriptors(error: &std::io::Error) -> bool {
    const EMFILE: i32 = 24;
    const ENFILE: i32 = 23;
    cfg!(unix) && matches!(error.raw_os_error(), Some(EMFILE | ENFILE))
}

/// The time for one attempt to connect: it grows with the failures so far (KIP-601).
pub(crate) fn setup_timeout(config: &ConnectionConfig, failures: u32) -> Duration {
    ExponentialBackoff::new(config.setup_timeout, config.setup_timeout_max).after(failures)
}

/// The addresses of a host, none of them twice. What is not known by `deadline` is left to the next attempt.
fn resolve(
    endpoint: &Endpoint,
    config: &ConnectionConfig,
    control: &ConnectionControl,
    threads: &Arc<ThreadGroup>,
    deadline: Instant,
) -> Result<Vec<SocketAddr>, Error> {
    if let Ok(address) = endpoint.host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, endpoint.port)]);
    }
    let look_up = config.look_ups.resume_or_start(endpoint, threads)?;
    let found = channel::select! {
        recv(look_up.answered) -> found => found.unwrap_or_else(|_| Ok(Vec::new())),
        recv(control.cancelled()) -> _ => return Err(cancelled_error()),
        default(deadline.saturating_duration_since(Instant::now())) => {
            config.look_ups.leave(endpoint, look_up);
            let message = format!("resolving {} took too long", endpoint.host);
            return Err(Error::new(ErrorKind::Network, message));
        }
    };
    match found {
        Ok(mut addresses) if !addresses.is_empty() => {
            let mut seen = std::collections::HashSet::new();
            addresses.retain(|address| seen.insert(*address));
            Ok(addresses)
        }
        Ok(_) => Err(Error::new(
            ErrorKind::Network,
            format!("{} resolves to no address", endpoint.host),
        )),
        Err(error) => Err(Error::new(
            ErrorKind::Network,
            format!("cannot resolve {}", endpoint.host),
        )
        .with_source(error)),
    }
}

/// Tries the addresses in turn, each with its share of the time that is left.
fn connect_to_any(
    endpoint: &Endpoint,
    addresses: &[SocketAddr],
    config: &ConnectionConfig,
    control: &ConnectionControl,
    deadline: Instant,
) -> Result<Arc<TcpSocket>, DialError> {
    let mut last_error = None;
    for (tried, address) in addresses.iter().enumerate() {
        let left = deadline.saturating_duration_since(Instant::now());
        let share = left / (addresses.len() - tried) as u32;
        if share.is_zero() {
            break;
        }
        let attempt = TcpSocket::new(address, config)
            .map(Arc::new)
            .and_then(|socket| {
                control.adopt(&socket).map_err(std::io::Error::other)?;
                socket.connect(*address, share)?;
                Ok(socket)
            });
        match attempt {
            Ok(socket) => {
                // Cancelled while connecting: the shutdown may have come before there was anything to shut down.
                control.adopt(&socket)?;
                return Ok(socket);
            }
            Err(error) => last_error = Some((address, error)),
        }
    }
    let error = Error::new(ErrorKind::Network, format!("cannot connect to {endpoint}"));
    let is_turned_away = last_error
        .as_ref()
        .is_some_and(|(_, error)| is_out_of_descriptors(error));
    let error = match last_error {
        // The address is told once.
        Some((address, source)) if address.to_string() == endpoint.to_string() => {
            error.with_source(source)
        }
        Some((address, source)) => error.with_source(std::io::Error::new(
            source.kind(),
            format!("{address}: {source}"),
        )),
        None => error,
    };
    Err(DialError {
        error,
        is_turned_away,
    })
}

/// The first exchange on every connection. Brokers before 2.4 do not know version 3: they answer UNSUPPORTED_VERSION in
/// the layout of version 0, later ones (KIP-511) with the range they know. `version` is the first to ask in.
fn ask_versions(
    mut version: i16,
    socket: &TcpSocket,
    frames: &mut FrameReader,
    config: &ConnectionConfig,
    deadline: Instant,
) -> Result<BrokerVersions, Error> {
    loop {
        let response = exchange_versions(version, socket, frames, config, deadline)?;
        if response.error.is_none() {
            return Ok(BrokerVersions::from(&response));
        }
        if response.error != ErrorCode::UNSUPPORTED_VERSION || version == 0 {
            return Err(Error::answered(
                response.error,
                "the broker refused to tell its versions",
            ));
        }
        let known = response
            .api_keys
            .iter()
            .find(|api| api.api_code == ApiKey::ApiVersions.code());
        version = known.map_or(0, |api| api.max_version).clamp(0, version - 1);
    }
}

fn exchange_versions(
    version: i16,
    socket: &TcpSocket,
    frames: &mut FrameReader,
    config: &ConnectionConfig,
    deadline: Instant,
) -> Result<ApiVersionsResponse, Error> {
    let request = ApiVersionsRequest {
        client_software_name: SOFTWARE_NAME,
        client_software_version: env!("CARGO_PKG_VERSION"),
    };
    let mut bytes = Vec::new();
    encode_request(
        &request,
        version,
        HANDSHAKE_CORRELATION_ID,
        Some(&config.client_id),
        &mut bytes,
    )
    .map_err(protocol_error)?;
    let frame = exchange(socket, frames, &bytes, deadline)?;
    let mut reader = Reader::new(&frame);
    let answered = decode_response_header(ApiKey::ApiVersions, version, &mut reader)
        .map_err(protocol_error)?;
    if answered != HANDSHAKE_CORRELATION_ID {
        let message = format!("the broker answered request {answered}, which was not asked");
        return Err(Error::new(ErrorKind::Protocol, message));
    }
    // The error comes first in every version, and tells in which layout the rest is.
    let mut ahead = Reader::new(&frame[frame.len() - reader.remaining()..]);
    let refused = ahead.i16().map_err(protocol_error)? == ErrorCode::UNSUPPORTED_VERSION.code();
    ApiVersionsResponse::decode(if refused { 0 } else { version }, &mut reader)
        .map_err(protocol_error)
}

const HANDSHAKE_CORRELATION_ID: i32 = 0;

/// The name under which brokers count this client (KIP-511).
const SOFTWARE_NAME: &str = env!("CARGO_PKG_NAME");

/// Writes `request` and waits for the frame that answers it, both before `deadline`. Nothing else may be under way on the
/// connection. The socket's timeouts are whatever they were last set to, afterwards.
pub(super) fn exchange(
    socket: &TcpSocket,
    frames: &mut FrameReader,
    request: &[u8],
    deadline: Instant,
) -> Result<Vec<u8>, Error> {
    send_all(socket, request, deadline)?;
    frames.next(&mut ReadUntil { socket, deadline })
}

/// Writes all of `bytes`, each piece of it before `deadline`.
fn send_all(socket: &TcpSocket, mut bytes: &[u8], deadline: Instant) -> Result<(), Error> {
    while !bytes.is_empty() {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Error::new(
                ErrorKind::Network,
                "the broker did not take the request in time",
            ));
        }
        socket.set_write_timeout(Some(left)).map_err(socket_error)?;
        match socket.write_vectored(&[std::io::IoSlice::new(bytes)]) {
            Ok(written) => bytes = &bytes[written..],
            Err(error) if is_timeout(&error) || error.kind() == std::io::ErrorKind::Interrupted => {
            }
            Err(error) => return Err(socket_error(error)),
        }
    }
    Ok(())
}

/// Reads that all end by one deadline: a peer that sends a byte now and then does not get more time by it.
struct ReadUntil<'a> {
    socket: &'a TcpSocket,
    deadline: Instant,
}

impl Read for ReadUntil<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(std::io::ErrorKind::TimedOut.into());
        }
        self.socket.set_read_timeout(Some(left))?;
        let mut socket = self.socket;
        socket.read(buffer)
    }
}

pub(super) fn is_timeout(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
    )
}

pub(super) fn socket_error(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Network, "the connection to the broker broke").with_source(error)
}

pub(super) fn protocol_error(error: crate::protocol::ProtocolError) -> Error {
    Error::new(
        ErrorKind::Protocol,
        "the broker's answer is not Kafka's protocol",
    )
    .with_source(error)
}

fn while_connecting(endpoint: &Endpoint, error: Error) -> Error {
    let kind = error.kind();
    Error::new(kind, format!("no Kafka connection to {endpoint}")).with_source(error)
}

// The request's type names its versions; the fallback above relies on 3 being among them.
const _: () = assert!(*<ApiVersionsRequest<'static> as Request>::VERSIONS.end() >= NEWEST);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_to_connect_grows_twofold_with_each_failure_up_to_its_maximum() {
        let config = ConnectionConfig {
            client_id: "c".into(),
            send_buffer: None,
            receive_buffer: None,
            setup_timeout: Duration::from_secs(10),
            setup_timeout_max: Duration::from_secs(30),
            handshakes: Arc::default(),
            look_ups: Arc::default(),
        };
        for (failures, seconds) in [(0, 10.0), (1, 20.0), (2, 30.0), (30, 30.0)] {
            let timeout = setup_timeout(&config, failures).as_secs_f64();
            let expected = 0.799 * seconds..=1.201 * seconds;
            assert!(expected.contains(&timeout), "{failures}: {timeout}");
        }
    }
}
