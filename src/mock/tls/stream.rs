//! The broker's end of a TLS connection.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::ops::Range;

use rustls::ServerConnection;

use super::certificate::subject;
use super::handshake::write_alert;

/// A TLS connection over a blocking socket, whose handshake has been made.
pub(in crate::mock) struct TlsStream {
    socket: TcpStream,
    tls: ServerConnection,
    /// A buffer for encrypted bytes.
    received: Box<[u8]>,
    /// The part of `received` that rustls has not got yet.
    unread: Range<usize>,
}

impl TlsStream {
    const BUFFER_BYTES: usize = 64 << 10;

    /// Makes the handshake.
    pub(super) fn accept(socket: TcpStream, tls: ServerConnection) -> io::Result<Self> {
        let mut stream = Self {
            socket,
            tls,
            received: vec![0; Self::BUFFER_BYTES].into(),
            unread: 0..0,
        };
        if !stream.receive()? || !stream.is_tls() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        loop {
            stream.process()?;
            if !stream.tls.is_handshaking() {
                return Ok(stream);
            }
            if stream.unread.is_empty() && !stream.receive()? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Returns whether the first byte is one of TLS. If not, the client gets the alert that it gets of a JVM.
    fn is_tls(&self) -> bool {
        const HANDSHAKE: u8 = 22;
        const INTERNAL_ERROR: u8 = 80;
        let is_tls = self.received.first() == Some(&HANDSHAKE);
        if !is_tls {
            let _ = write_alert(&self.socket, INTERNAL_ERROR);
        }
        is_tls
    }

    /// Returns the subject of the client's certificate, if the client has shown one.
    pub(in crate::mock) fn client_subject(&self) -> Option<String> {
        subject(self.tls.peer_certificates()?.first()?)
    }

    /// Announces the end.
    pub(in crate::mock) fn end(&mut self) {
        self.tls.send_close_notify();
        let _ = self.write_out();
    }

    /// Reads encrypted bytes. Returns false at the end of the stream.
    fn receive(&mut self) -> io::Result<bool> {
        loop {
            match self.socket.read(&mut self.received) {
                Ok(read) => {
                    self.unread = 0..read;
                    return Ok(read > 0);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Gives rustls the bytes that it has not got yet, as many as it takes, and sends what it answers: messages of the
    /// handshake, alerts.
    fn process(&mut self) -> io::Result<()> {
        let mut bytes = &self.received[self.unread.clone()];
        let taken = self.tls.read_tls(&mut bytes)?;
        self.unread.start += taken;
        let processed = self.tls.process_new_packets();
        let written = self.write_out();
        processed.map_err(io::Error::other)?;
        match taken {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => written,
        }
    }

    fn write_out(&mut self) -> io::Result<()> {
        while self.tls.wants_write() {
            self.tls.write_tls(&mut self.socket)?;
        }
        Ok(())
    }
}

impl Read for TlsStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.tls.reader().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return read,
            }
            if self.unread.is_empty() && !self.receive()? {
                return Ok(0);
            }
            self.process()?;
        }
    }
}

impl Write for TlsStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let accepted = self.tls.writer().write(bytes)?;
        self.write_out()?;
        Ok(accepted)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.write_out()
    }
}
