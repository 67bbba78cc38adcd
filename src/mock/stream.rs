//! The stream of a connection: the socket itself, or TLS over it. Nothing else in the mock knows which.

use std::io::{self, Read, Write};
use std::net::TcpStream;

use super::broker::Stop;
use super::cluster::Shared;
#[cfg(feature = "mock-tls")]
use super::tls::TlsStream;

pub(super) enum Stream {
    Plain(TcpStream),
    #[cfg(feature = "mock-tls")]
    Tls(Box<TlsStream>),
}

impl Stream {
    /// Begins the stream of a new connection: makes the TLS handshake if the cluster uses TLS.
    #[cfg_attr(
        not(feature = "mock-tls"),
        expect(unused_variables, reason = "only TLS needs the cluster")
    )]
    pub(super) fn accept(socket: TcpStream, shared: &Shared, stop: &Stop) -> io::Result<Self> {
        // An error is ignored: the connection then is slower.
        let _ = socket.set_nodelay(true);
        #[cfg(feature = "mock-tls")]
        if let Some(tls) = &shared.tls {
            let stream = tls.accept(socket, |time| stop.wait(time))?;
            return Ok(Self::Tls(Box::new(stream)));
        }
        Ok(Self::Plain(socket))
    }

    /// Returns the subject of the client's certificate, if the client has shown one.
    pub(super) fn client_subject(&self) -> Option<String> {
        match self {
            Self::Plain(_) => None,
            #[cfg(feature = "mock-tls")]
            Self::Tls(stream) => stream.client_subject(),
        }
    }

    /// Announces the end of the stream to the client. TLS has a message for it.
    pub(super) fn end(&mut self) {
        match self {
            Self::Plain(_) => {}
            #[cfg(feature = "mock-tls")]
            Self::Tls(stream) => stream.end(),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            #[cfg(feature = "mock-tls")]
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            #[cfg(feature = "mock-tls")]
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            #[cfg(feature = "mock-tls")]
            Self::Tls(stream) => stream.flush(),
        }
    }
}
