//! A connection to a server, plain or by TLS, whose every read and write ends by a deadline.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::{ClientConnection, StreamOwned};

use super::{Clock, Requests};
use crate::tls::TlsClient;

/// A connection.
pub(super) enum Stream {
    Plain(Socket),
    Tls(Box<StreamOwned<ClientConnection, Socket>>),
}

/// A socket with the time that is left for it.
pub(super) struct Socket {
    socket: Arc<TcpStream>,
    clock: Clock,
}

impl Socket {
    /// Connects to the first address that accepts. Each gets an equal part of the time until `deadline`.
    pub(super) fn connect(
        addresses: &[SocketAddr],
        deadline: Instant,
        clock: Clock,
        requests: &Requests,
    ) -> io::Result<Self> {
        let mut last_error = io::ErrorKind::TimedOut.into();
        for (tried, address) in addresses.iter().enumerate() {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = left / (addresses.len() - tried) as u32;
            if timeout.is_zero() {
                break;
            }
            match TcpStream::connect_timeout(address, timeout) {
                Ok(socket) => {
                    socket.set_nodelay(true)?;
                    let socket = Arc::new(socket);
                    requests.add(&socket)?;
                    return Ok(Self { socket, clock });
                }
                Err(error) => {
                    last_error = io::Error::new(error.kind(), format!("{address}: {error}"))
                }
            }
        }
        Err(last_error)
    }

    /// Repeats a read or a write that a signal interrupts. `call` gets the time that it may take.
    fn within_time<T>(
        &mut self,
        mut call: impl FnMut(&TcpStream, Duration) -> io::Result<T>,
    ) -> io::Result<T> {
        use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
        loop {
            let left = self.clock.left();
            if left.is_zero() {
                return Err(TimedOut.into());
            }
            match call(&self.socket, left) {
                Err(error) if error.kind() == Interrupted => {}
                Err(error) if error.kind() == WouldBlock => return Err(TimedOut.into()),
                result => return result,
            }
        }
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.within_time(|mut socket, left| {
            socket.set_read_timeout(Some(left))?;
            socket.read(buffer)
        })
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.within_time(|mut socket, left| {
            socket.set_write_timeout(Some(left))?;
            socket.write(bytes)
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream {
    /// Makes the handshake of TLS with the server at `host`.
    pub(super) fn secure(tls: &TlsClient, host: &str, mut socket: Socket) -> Result<Self, Fault> {
        let mut connection = tls
            .connection(host, socket.clock.deadline)
            .map_err(Fault::Tls)?;
        while connection.is_handshaking() {
            connection.complete_io(&mut socket).map_err(Fault::Io)?;
        }
        Ok(Self::Tls(Box::new(StreamOwned::new(connection, socket))))
    }
}

/// Why there is no connection by TLS.
pub(super) enum Fault {
    Tls(crate::error::Error),
    Io(io::Error),
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}
