//! A TCP socket that one thread reads while another one writes.

use std::io::{self, IoSlice, Read};
use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use super::ConnectionConfig;

/// A socket in blocking mode. All methods take `&self`, because both halves of the transport share it.
#[derive(Debug)]
pub(crate) struct TcpSocket(Socket);

impl TcpSocket {
    /// Creates a socket with the options that must be set before it connects.
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
        // A write to a closed connection must return an error and not raise SIGPIPE, which would end a program that does not
        // ignore it. Other systems have a flag of each write for this.
        #[cfg(any(target_os = "macos", target_os = "ios"))]
        socket.set_nosigpipe(true)?;
        Ok(Self(socket))
    }

    /// Connects within `timeout`.
    pub(crate) fn connect(&self, address: SocketAddr, timeout: Duration) -> io::Result<()> {
        self.0.connect_timeout(&address.into(), timeout)?;
        let socket = SockRef::from(&self.0);
        socket.set_tcp_nodelay(true)?;
        socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(Duration::from_secs(60)))
    }

    /// Sets how long a write may block. Without a limit it blocks until the peer reads or the socket is shut down.
    pub(crate) fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.0.set_write_timeout(timeout)
    }

    /// Sets how long a read may block. Without a limit it blocks until the peer writes or the socket is shut down.
    pub(crate) fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.0.set_read_timeout(timeout)
    }

    /// Writes the bytes of `slices` and returns how many of them the system has accepted.
    pub(crate) fn write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.send_vectored_with_flags(slices, NO_SIGNAL)
    }

    /// As [`write_vectored`](Self::write_vectored), but does not wait for room in the system's buffer. Returns an error of kind
    /// `WouldBlock` if there is none, and on systems that have no such call.
    #[cfg(feature = "tls-core")]
    pub(crate) fn write_vectored_at_once(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match DO_NOT_WAIT {
            Some(flag) => self.0.send_vectored_with_flags(slices, NO_SIGNAL | flag),
            None => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    pub(crate) fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        (&self.0).read(buffer)
    }

    /// Ends a connect, reads and writes that are in progress on other threads, and all later ones.
    pub(crate) fn shut_down(&self) {
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

/// `MSG_DONTWAIT`, or `None` if the system does not have it.
#[cfg(feature = "tls-core")]
const DO_NOT_WAIT: Option<i32> = if cfg!(any(target_os = "linux", target_os = "android")) {
    Some(0x40)
} else if cfg!(any(
    target_os = "macos",
    target_os = "ios",
    target_os = "freebsd",
    target_os = "dragonfly",
    target_os = "netbsd",
    target_os = "openbsd"
)) {
    Some(0x80)
} else {
    None
};

/// `MSG_NOSIGNAL`, or 0 if the system does not have it.
const NO_SIGNAL: i32 = if cfg!(any(target_os = "linux", target_os = "android")) {
    0x4000
} else if cfg!(any(target_os = "freebsd", target_os = "dragonfly")) {
    0x20000
} else if cfg!(any(target_os = "netbsd", target_os = "openbsd")) {
    0x400
} else {
    0
};
