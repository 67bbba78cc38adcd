//! TLS: encrypts what is sent and decrypts what is received.
//!
//! rustls keeps the keys and the state of both directions in one value. Both halves share it under a lock, which a thread
//! holds only while it encrypts up to 256 KiB and gives them to the system, or processes what it has read: 0.1 ms at most. No
//! thread holds it during a call to the system that can block. So a blocked write delays no read, and a waiting read delays
//! no write.
//!
//! rustls encrypts into buffers of its own. The system gets the bytes from these buffers if it takes them at once. Only what
//! it does not take is copied to the pending bytes, because the lock ends before a write that can block.

use std::io::{self, IoSlice, Read as _, Write as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::{ClientConnection, HandshakeKind, ProtocolVersion};

use super::{PlainReceiveHalf, PlainSendHalf, ReceiveHalf, SendHalf, is_timeout};
use crate::connection::other_protocols::{self, ENOUGH_BYTES};
use crate::connection::socket::TcpSocket;
use crate::error::{Error, ErrorKind};
use crate::sync::Mutex;
use crate::threads::logging::log_line;
use crate::tls::TlsClient;

/// How many bytes of a request are encrypted at once. Each call to the system may wake the broker, so fewer calls cost less.
pub(super) const CHUNK_BYTES: usize = 256 * 1024;

/// The number of bytes in a record (RFC 8446, 5.1).
const RECORD_BYTES: usize = 16 * 1024;

/// The number of encrypted bytes that one read asks for: one record (RFC 8446, 5.2) with its header.
const READ_BYTES: usize = RECORD_BYTES + 256 + 5;

/// Makes a handshake with the broker at `host` before `deadline`, and returns the two halves.
pub(in crate::connection) fn connect(
    client: &Arc<TlsClient>,
    host: &str,
    socket: &Arc<TcpSocket>,
    deadline: Instant,
) -> Result<(SendHalf, ReceiveHalf), HandshakeFailure> {
    let (mut send, mut receive) =
        halves(client, host, socket, deadline).map_err(|error| HandshakeFailure {
            error,
            closed_before_first_byte: false,
        })?;
    Handshake::new(&mut send, &mut receive).run(deadline)?;
    log_session(host, &receive);
    Ok((SendHalf::Tls(send), ReceiveHalf::Tls(receive)))
}

/// Logs what the two sides have agreed on.
fn log_session(host: &str, receive: &TlsReceiveHalf) {
    let (version, suite, kind) = {
        let tls = receive.tls.lock();
        let suite = tls.negotiated_cipher_suite().map(|suite| suite.suite());
        (tls.protocol_version(), suite, tls.handshake_kind())
    };
    let (Some(version), Some(suite)) = (version, suite) else {
        return;
    };
    let session = match kind {
        Some(HandshakeKind::Resumed) => "resumed",
        _ => "new",
    };
    log_line!(
        log::Level::Debug,
        target: "kafka_producer",
        "TLS with {}: {version:?}, {suite:?}, a {session} session",
        crate::error::printable(host)
    );
}

/// Returns the two halves before their handshake.
fn halves(
    client: &Arc<TlsClient>,
    host: &str,
    socket: &Arc<TcpSocket>,
    deadline: Instant,
) -> Result<(TlsSendHalf, TlsReceiveHalf), Error> {
    let mut connection = client.connection(host, deadline)?;
    connection.set_buffer_limit(Some(CHUNK_BYTES));
    let tls = Arc::new(Mutex::new(connection));
    let send = TlsSendHalf {
        socket: PlainSendHalf::new(socket),
        tls: Arc::clone(&tls),
        pending: Pending::default(),
        records_left: MOST_RECORDS,
    };
    let receive = TlsReceiveHalf {
        socket: PlainReceiveHalf::new(socket),
        tls,
        client: Arc::clone(client),
        received: vec![0; READ_BYTES].into(),
        unread: 0..0,
        failure: None,
    };
    Ok((send, receive))
}

/// Why a handshake failed.
pub(in crate::connection) struct HandshakeFailure {
    pub(in crate::connection) error: Error,
    /// Whether the peer closed the connection before its first byte, as a broker at its connection limit does.
    pub(in crate::connection) closed_before_first_byte: bool,
}

/// The send half of TLS.
pub(in crate::connection) struct TlsSendHalf {
    socket: PlainSendHalf,
    tls: Arc<Mutex<ClientConnection>>,
    /// Encrypted bytes that the socket has not accepted yet.
    pending: Pending,
    /// The number of records for which TLS 1.2 may use the keys.
    records_left: usize,
}

/// The number of records with the keys of a TLS 1.2 connection, as rustls has it for AES-GCM, less a reserve for alerts.
const MOST_RECORDS: usize = (1 << 24) - 1024;

/// Bytes of which the first `written` are written.
#[derive(Default)]
struct Pending {
    bytes: Vec<u8>,
    written: usize,
}

impl Pending {
    fn is_empty(&self) -> bool {
        self.written == self.bytes.len()
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.written = 0;
    }
}

impl TlsSendHalf {
    /// See [`SendHalf::write_vectored`].
    pub(super) fn write_vectored(
        &mut self,
        slices: &[IoSlice<'_>],
        timeout: Duration,
    ) -> io::Result<usize> {
        if !self.pending.is_empty() && !self.flush(timeout)? {
            return Ok(0);
        }
        let (accepted, written) = {
            let mut tls = self.tls.lock();
            self.check_keys(&tls)?;
            let accepted = tls.writer().write_vectored(slices)?;
            self.records_left = self.records_left.saturating_sub(records_of(accepted));
            if accepted == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            let written = ignore_timeout(tls.write_tls(&mut AtOnce(&mut self.socket)))?;
            take_encrypted(&mut tls, &mut self.pending)?;
            (accepted, written)
        };
        match ignore_timeout(self.flush(timeout).map(usize::from)) {
            // The socket failed and took no byte of this write.
            Err(error) if written == 0 => Err(error),
            // All accepted bytes are encrypted. Those that the socket did not take are pending, and the caller must not offer
            // them again.
            _ => Ok(accepted),
        }
    }

    /// See [`SendHalf::flush`].
    pub(super) fn flush(&mut self, timeout: Duration) -> io::Result<bool> {
        if self.pending.is_empty() {
            return Ok(true);
        }
        let unwritten = IoSlice::new(&self.pending.bytes[self.pending.written..]);
        self.pending.written += self.socket.write_vectored(&[unwritten], timeout)?;
        let is_written = self.pending.is_empty();
        if is_written {
            self.pending.clear();
        }
        Ok(is_written)
    }

    /// See [`SendHalf::end`].
    pub(super) fn end(&mut self, timeout: Duration) {
        // After a half-written record, the peer would take the message for the rest of that record.
        if !self.pending.is_empty() {
            return;
        }
        {
            let mut tls = self.tls.lock();
            tls.send_close_notify();
            if take_encrypted(&mut tls, &mut self.pending).is_err() {
                return;
            }
        }
        let deadline = Instant::now() + timeout;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.flush(left) {
                Ok(false) if !left.is_zero() => {}
                Err(error) if is_interrupted(&error) && !left.is_zero() => {}
                _ => return,
            }
        }
    }

    /// Returns an error if TLS 1.2 may not use the keys for another write: rustls would accept the bytes and drop them. TLS 1.3
    /// exchanges the keys in time.
    fn check_keys(&self, tls: &ClientConnection) -> io::Result<()> {
        if tls.protocol_version() != Some(ProtocolVersion::TLSv1_2)
            || self.records_left >= records_of(CHUNK_BYTES)
        {
            return Ok(());
        }
        let message = "the TLS 1.2 connection reached the limit of its keys: the producer makes a new connection";
        let error = Error::new(ErrorKind::Network, message);
        Err(io::Error::new(io::ErrorKind::InvalidData, error))
    }

    /// Moves what rustls wants to send, such as a message of the handshake, to the pending bytes.
    fn take_from_tls(&mut self) -> io::Result<()> {
        take_encrypted(&mut self.tls.lock(), &mut self.pending)
    }
}

/// Returns how many records a write of `bytes` takes at most.
fn records_of(bytes: usize) -> usize {
    bytes.div_ceil(RECORD_BYTES)
}

/// The socket of a send half, for writes that do not block.
struct AtOnce<'a>(&'a mut PlainSendHalf);

impl io::Write for AtOnce<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.write_vectored_at_once(slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Returns 0 for a write that ended before it did anything, and may be repeated.
fn ignore_timeout(written: io::Result<usize>) -> io::Result<usize> {
    match written {
        Err(error) if is_timeout(&error) || is_interrupted(&error) => Ok(0),
        written => written,
    }
}

/// Returns whether a signal ended the call to the system before it did anything.
fn is_interrupted(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::Interrupted
}

fn take_encrypted(tls: &mut ClientConnection, pending: &mut Pending) -> io::Result<()> {
    while tls.wants_write() {
        tls.write_tls(&mut pending.bytes)?;
    }
    Ok(())
}

/// The receive half of TLS.
pub(in crate::connection) struct TlsReceiveHalf {
    socket: PlainReceiveHalf,
    tls: Arc<Mutex<ClientConnection>>,
    client: Arc<TlsClient>,
    /// A buffer for encrypted bytes.
    received: Box<[u8]>,
    /// The part of `received` that rustls has not got yet.
    unread: std::ops::Range<usize>,
    /// Why the connection failed. What was decrypted before that is returned first.
    failure: Option<Error>,
}

impl TlsReceiveHalf {
    /// See [`ReceiveHalf::read`].
    pub(super) fn read(
        &mut self,
        buffer: &mut [u8],
        deadline: Option<Instant>,
    ) -> io::Result<usize> {
        loop {
            {
                let mut tls = self.tls.lock();
                match tls.reader().read(buffer) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    // The peer closed without `close_notify`. Frames have lengths, so a cut frame is noticed.
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
                    read => return read,
                }
                if let Some(error) = &self.failure {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, error.clone()));
                }
                if !self.unread.is_empty() {
                    let processed = process(&mut tls, &self.received, &mut self.unread);
                    self.failure = processed.err().map(|error| self.failed(&error));
                    continue;
                }
            }
            self.receive(deadline)?;
        }
    }

    /// Makes the error of a connection whose handshake is complete. Both sides have accepted each other, so bytes that are no
    /// TLS are a fault on the way, and no refusal. An alert still can be one: with TLS 1.3 the broker checks the client's
    /// certificate after the handshake.
    fn failed(&self, error: &rustls::Error) -> Error {
        use rustls::Error::{DecryptError, InvalidMessage, PeerMisbehaved};
        match error {
            DecryptError | InvalidMessage(_) | PeerMisbehaved(_) => {
                let message = format!("the TLS connection broke: {error}");
                Error::new(ErrorKind::Network, message)
                    .with_advice("check the network between this client and the broker")
            }
            _ => self.client.error_of(error),
        }
    }

    /// Reads encrypted bytes. At the end of the stream, rustls learns of it.
    fn receive(&mut self, deadline: Option<Instant>) -> io::Result<()> {
        let read = self.socket.read(&mut self.received, deadline)?;
        self.unread = 0..read;
        if read == 0 {
            self.tls.lock().read_tls(&mut io::empty())?;
        }
        Ok(())
    }
}

/// Gives rustls the bytes in `unread`, as many as it takes.
fn process(
    tls: &mut ClientConnection,
    received: &[u8],
    unread: &mut std::ops::Range<usize>,
) -> Result<(), rustls::Error> {
    let mut bytes = &received[unread.clone()];
    // Cannot fail: the bytes come from memory, and rustls's buffer of plaintext is empty.
    let taken = tls.read_tls(&mut bytes).unwrap_or(0);
    unread.start += taken;
    tls.process_new_packets()?;
    match taken {
        0 => Err(rustls::Error::General("rustls takes no bytes".to_owned())),
        _ => Ok(()),
    }
}

/// A handshake in progress, on the one thread that has both halves.
struct Handshake<'a> {
    send: &'a mut TlsSendHalf,
    receive: &'a mut TlsReceiveHalf,
    first_bytes: FirstBytes,
    is_closed: bool,
}

/// The first bytes that came from the peer. If the peer does not speak TLS, they show what it speaks.
#[derive(Default)]
struct FirstBytes {
    bytes: [u8; ENOUGH_BYTES],
    length: usize,
}

impl<'a> Handshake<'a> {
    fn new(send: &'a mut TlsSendHalf, receive: &'a mut TlsReceiveHalf) -> Self {
        Self {
            send,
            receive,
            first_bytes: FirstBytes::default(),
            is_closed: false,
        }
    }

    fn run(mut self, deadline: Instant) -> Result<(), HandshakeFailure> {
        self.exchange_messages(deadline)
            .map_err(|error| HandshakeFailure {
                closed_before_first_byte: self.is_closed && self.first_bytes.length == 0,
                error,
            })
    }

    fn exchange_messages(&mut self, deadline: Instant) -> Result<(), Error> {
        while self.receive.tls.lock().is_handshaking() {
            self.step(deadline)?;
        }
        // The last message of the handshake.
        self.write(deadline)
    }

    /// Writes what rustls wants to write, then reads once.
    fn step(&mut self, deadline: Instant) -> Result<(), Error> {
        self.write(deadline)?;
        match self.receive.receive(Some(deadline)) {
            Err(error) if is_interrupted(&error) => return Ok(()),
            Err(error) => return Err(self.broken(error)),
            Ok(()) => {}
        }
        if self.receive.unread.is_empty() {
            return Err(self.closed());
        }
        self.first_bytes
            .note(&self.receive.received[self.receive.unread.clone()]);
        if let Err(error) = self.process() {
            // The alert that tells the peer why.
            let _ = self.write(deadline.min(Instant::now() + ALERT_PATIENCE));
            return Err(self.failed(&error));
        }
        Ok(())
    }

    /// Gives rustls what was read, up to the end of the handshake. The rest belongs to the first answer.
    fn process(&mut self) -> Result<(), rustls::Error> {
        let receive = &mut *self.receive;
        let mut tls = receive.tls.lock();
        while tls.is_handshaking() && !receive.unread.is_empty() {
            process(&mut tls, &receive.received, &mut receive.unread)?;
        }
        Ok(())
    }

    fn write(&mut self, deadline: Instant) -> Result<(), Error> {
        if let Err(error) = self.send.take_from_tls() {
            return Err(self.broken(error));
        }
        loop {
            let timeout = deadline.saturating_duration_since(Instant::now());
            if timeout.is_zero() {
                return Err(took_too_long());
            }
            match self.send.flush(timeout) {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.broken(error)),
            }
        }
    }

    fn failed(&mut self, error: &rustls::Error) -> Error {
        // An orderly end, as when a broker shuts down. It says nothing about this client.
        if *error == rustls::Error::AlertReceived(rustls::AlertDescription::CloseNotify) {
            return self.closed();
        }
        let first = &self.first_bytes.bytes[..self.first_bytes.length];
        if let Some(other) = other_protocols::error_of(first) {
            return other;
        }
        self.receive.client.error_of(error)
    }

    fn closed(&mut self) -> Error {
        self.is_closed = true;
        let message = match self.first_bytes.length {
            0 => "the broker closed the connection at the first message of TLS",
            _ => "the broker closed the connection during the TLS handshake",
        };
        Error::new(ErrorKind::Network, message).with_advice(match self.first_bytes.length {
            0 => {
                "if the listener does not speak TLS, set security.protocol=PLAINTEXT (or SASL_PLAINTEXT); a proxy without a \
                 route for this host name also closes the connection"
            }
            _ => "check the broker's log and the network",
        })
    }

    fn broken(&mut self, error: io::Error) -> Error {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
        match error.kind() {
            BrokenPipe | ConnectionAborted | ConnectionReset => self.closed().with_source(error),
            _ if is_timeout(&error) => took_too_long(),
            _ => super::super::errors::broken_error(error),
        }
    }
}

/// How long a thread waits until the peer accepts an alert.
const ALERT_PATIENCE: Duration = Duration::from_millis(200);

fn took_too_long() -> Error {
    Error::new(ErrorKind::Network, "the TLS handshake took too long")
}

impl FirstBytes {
    fn note(&mut self, bytes: &[u8]) {
        let free = &mut self.bytes[self.length..];
        let noted = bytes.len().min(free.len());
        free[..noted].copy_from_slice(&bytes[..noted]);
        self.length += noted;
    }
}

#[cfg(test)]
mod tests;
