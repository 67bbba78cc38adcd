//! A TCP socket that one thread reads while another writes.

use std::io::{self, IoSlice, Read};
use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use super::ConnectionConfig;

/// A socket in blocking mode. All methods take `&self`: reader and writer share it.
#[derive(Debug)]
pub(crate) struct TcpSocket(Socket);

impl TcpSocket {
    /// Makes the socket with the options that must be set before it connects.
    pub(crate) fn new(address: &SocketAddr, config: &ConnectionConfig) -> io::Result<Self> {
        let socket = Socket::new(
            Domain::for_address(*address),
            Type::STREAM,
            Some(Protocol::TCP),
        )?;
        if let Some(bytes) = config.send_buffer {
            socket.set_send_buffer_size(bytes)?;
        }
        if let Some(bytes) = config.receive_buffer {
            socket.set_recv_buffer_size(bytes)?;
        }
        // Writing to a closed connection is an error, never a signal: programs that embed the library may not ignore
        // SIGPIPE. Elsewhere a flag of each write says so.
        #[cfg(any(target_os = "macos", target_os = "ios"))]
        socket.set_nosigpipe(true)?;
        Ok(Self(socket))
    }

    pub(crate) fn connect(&self, address: SocketAddr, timeout: Duration) -> io::Result<()> {
        self.0.connect_timeout(&address.into(), timeout)?;
        let socket = SockRef::from(&self.0);
        socket.set_tcp_nodelay(true)?;
        socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(Duration::from_secs(60)))
    }

    /// How long a write may block; without a limit it blocks until the peer reads or the socket is shut down.
    pub(crate) fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.0.set_write_timeout(timeout)
    }

    pub(crate) fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.0.set_read_timeout(timeout)
    }

    pub(crate) fn write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.send_vectored_with_flags(slices, NO_SIGNAL)
    }

    /// Ends reads, writes and a connect under way on whichever threads.
    pub(crate) fn shut_down(&self) {
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

impl Read for &TcpSocket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&self.0).read(buffer)
    }
}

/// `MSG_NOSIGNAL` where there is one.
#[cfg(any(target_os = "linux", target_os = "android"))]
const NO_SIGNAL: i32 = 0x4000;
#[cfg(any(target_os = "freebsd", target_os = "dragonfly"))]
const NO_SIGNAL: i32 = 0x20000;
#[cfg(any(target_os = "netbsd", target_os = "openbsd"))]
const NO_SIGNAL: i32 = 0x400;
#[cfg(not(any(
    target_os = "linux",
    target_os = "android",
    target_os = "freebsd",
    target_os = "dragonfly",
    target_os = "netbsd",
    target_os = "openbsd"
)))]
const NO_SIGNAL: i32 = 0;
