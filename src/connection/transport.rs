//! The transport carries bytes between this client and a broker. It has a half that sends and a half that receives. One
//! thread at a time uses each half, and neither half waits for the other.
//!
//! There are two transports: plain TCP and TLS. The halves are enums, so that callers need not know which. These are the
//! rules for every transport:
//!
//! - **The caller counts plaintext.** [`SendHalf::write_vectored`] returns how many of the caller's bytes the transport
//!   accepted. The transport may still hold them in another form: they are *pending*.
//! - **Pending bytes belong to the request in progress.** A request is written when all of its bytes are accepted and
//!   [`SendHalf::flush`] has returned true. Until then the request keeps its record batches, so pending bytes count
//!   against `buffer.memory`. `write_vectored` writes pending bytes first. It returns 0 if some of them are left.
//! - **Accepted means maybe written.** Only if no byte of a request was accepted is it certain that the broker did not
//!   get it.
//! - **A receive half does not write to the socket.** It may have to answer the peer (a TLS key update, an alert). It then
//!   adds the answer to the pending bytes, under a lock that both halves share. No thread holds this lock during a
//!   call to the system that can block. The send half writes the answer before the next bytes of a request. That is early
//!   enough: a key update need only be answered before the next application data (RFC 8446, 4.6.3), and other answers are
//!   optional.
//! - **Each operation has its own time limit.** No half keeps a deadline. It keeps the timeout that the socket has now,
//!   and changes it with a system call only if the next operation has another one.
//! - **To close a connection is to shut its socket down**, from any thread
//!   ([`ConnectionControl`](super::control::ConnectionControl)): operations in progress on both halves then end. A message
//!   at an orderly end (`close_notify`) is an operation of the send half before that.
//!
//! A handshake of the transport itself needs both halves. The thread that dials makes the handshake, because it has both
//! halves at first. A broker at its connection limit may close the connection during this handshake. The dialler then
//! reports [`is_refused`](super::dial::DialError::is_refused), as it does during the negotiation of versions.

use std::io::{self, IoSlice, Read};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::socket::TcpSocket;
use crate::error::Error;

/// The two halves of plain TCP over a connected socket.
pub(super) fn plain(socket: &Arc<TcpSocket>) -> (SendHalf, ReceiveHalf) {
    let send = SendHalf::Plain(PlainSendHalf::new(socket));
    let receive = ReceiveHalf::Plain(PlainReceiveHalf::new(socket));
    (send, receive)
}

/// The half that writes requests.
pub(super) enum SendHalf {
    Plain(PlainSendHalf),
    #[cfg(feature = "tls-core")]
    Tls(tls::TlsSendHalf),
    #[cfg(test)]
    Scripted(scripted::ScriptedSendHalf),
}

/// The half that reads answers.
pub(super) enum ReceiveHalf {
    Plain(PlainReceiveHalf),
    #[cfg(feature = "tls-core")]
    Tls(tls::TlsReceiveHalf),
}

impl SendHalf {
    /// Offers the bytes of `slices` and returns how many of them the transport accepted: at least one, or none if it wrote
    /// pending bytes instead. Blocks for up to `timeout`. A write that times out ([`is_timeout`]) has accepted and written
    /// nothing, and may be repeated.
    pub(super) fn write_vectored(
        &mut self,
        slices: &[IoSlice<'_>],
        timeout: Duration,
    ) -> io::Result<usize> {
        match self {
            Self::Plain(half) => half.write_vectored(slices, timeout),
            #[cfg(feature = "tls-core")]
            Self::Tls(half) => half.write_vectored(slices, timeout),
            #[cfg(test)]
            Self::Scripted(half) => half.write_vectored(slices, timeout),
        }
    }

    /// Returns how many bytes one write accepts at most.
    pub(super) fn most_bytes(&self) -> usize {
        match self {
            #[cfg(feature = "tls-core")]
            Self::Tls(_) => tls::CHUNK_BYTES,
            _ => usize::MAX,
        }
    }

    /// Writes pending bytes for up to `timeout`. Returns true if none is left, and false if it wrote some and others are
    /// left. A flush that times out ([`is_timeout`]) has written nothing, and may be repeated.
    #[inline]
    pub(super) fn flush(&mut self, timeout: Duration) -> io::Result<bool> {
        match self {
            // The system has all bytes that the socket accepted.
            Self::Plain(_) => {
                let _ = timeout;
                Ok(true)
            }
            #[cfg(feature = "tls-core")]
            Self::Tls(half) => half.flush(timeout),
            #[cfg(test)]
            Self::Scripted(half) => half.flush(timeout),
        }
    }

    /// Tells the peer that nothing more comes, if the transport has a message for that (`close_notify`). Blocks for up to
    /// `timeout`. Does nothing if bytes are pending. The half must not be used afterwards.
    pub(super) fn end(&mut self, timeout: Duration) {
        match self {
            #[cfg(feature = "tls-core")]
            Self::Tls(half) => half.end(timeout),
            _ => {
                let _ = timeout;
            }
        }
    }
}

impl ReceiveHalf {
    /// Reads into `buffer` and returns the number of bytes, 0 at the end of the stream. Blocks until `deadline`. Without a
    /// deadline it blocks until the peer writes or the connection ends.
    fn read(&mut self, buffer: &mut [u8], deadline: Option<Instant>) -> io::Result<usize> {
        match self {
            Self::Plain(half) => half.read(buffer, deadline),
            #[cfg(feature = "tls-core")]
            Self::Tls(half) => half.read(buffer, deadline),
        }
    }

    /// Returns a stream whose reads all end by one deadline. So a peer that sends a byte now and then gets no more time.
    pub(super) fn until(&mut self, deadline: Option<Instant>) -> ReadUntil<'_> {
        ReadUntil {
            half: self,
            deadline,
        }
    }
}

/// See [`ReceiveHalf::until`].
pub(super) struct ReadUntil<'a> {
    half: &'a mut ReceiveHalf,
    deadline: Option<Instant>,
}

impl Read for ReadUntil<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.half.read(buffer, self.deadline)
    }
}

/// Systems count a socket's timeout in microseconds, and 0 means that there is none.
const SHORTEST_TIMEOUT: Duration = Duration::from_micros(1);

/// The send half of plain TCP. Nothing is ever pending.
pub(super) struct PlainSendHalf {
    socket: Arc<TcpSocket>,
    /// The socket's write timeout. `None` if it was never set.
    timeout: Option<Duration>,
    #[cfg(test)]
    faults: faults::Faults,
}

impl PlainSendHalf {
    fn new(socket: &Arc<TcpSocket>) -> Self {
        Self {
            socket: Arc::clone(socket),
            timeout: None,
            #[cfg(test)]
            faults: faults::Faults::default(),
        }
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>], timeout: Duration) -> io::Result<usize> {
        let timeout = timeout.max(SHORTEST_TIMEOUT);
        if self.timeout != Some(timeout) {
            self.socket.set_write_timeout(Some(timeout))?;
            self.timeout = Some(timeout);
        }
        #[cfg(test)]
        let cut = self.faults.before_write(slices)?;
        #[cfg(test)]
        let slices = &cut[..];
        match self.socket.write_vectored(slices)? {
            0 => Err(io::ErrorKind::WriteZero.into()),
            written => Ok(written),
        }
    }

    /// As [`write_vectored`](Self::write_vectored), but does not block. It times out at once if the socket takes nothing now.
    #[cfg(feature = "tls-core")]
    fn write_vectored_at_once(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        #[cfg(test)]
        let cut = self.faults.before_write(slices)?;
        #[cfg(test)]
        let slices = &cut[..];
        match self.socket.write_vectored_at_once(slices)? {
            0 => Err(io::ErrorKind::WriteZero.into()),
            written => Ok(written),
        }
    }
}

/// The receive half of plain TCP.
pub(super) struct PlainReceiveHalf {
    socket: Arc<TcpSocket>,
    /// The socket's read timeout. `None` if the socket has none.
    timeout: Option<Duration>,
    #[cfg(test)]
    faults: faults::Faults,
}

impl PlainReceiveHalf {
    fn new(socket: &Arc<TcpSocket>) -> Self {
        Self {
            socket: Arc::clone(socket),
            timeout: None,
            #[cfg(test)]
            faults: faults::Faults::default(),
        }
    }

    fn read(&mut self, buffer: &mut [u8], deadline: Option<Instant>) -> io::Result<usize> {
        let timeout = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if timeout.is_some_and(|timeout| timeout.is_zero()) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let timeout = timeout.map(|timeout| timeout.max(SHORTEST_TIMEOUT));
        if self.timeout != timeout {
            self.socket.set_read_timeout(timeout)?;
            self.timeout = timeout;
        }
        #[cfg(test)]
        let buffer = self.faults.before_read(buffer)?;
        self.socket.read(buffer)
    }
}

/// Returns the error of the transport itself that an I/O error carries; `None` if the socket failed.
pub(super) fn transport_error(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

/// Returns whether the error is a timeout.
pub(super) fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}

#[cfg(feature = "tls-core")]
pub(super) mod tls;

#[cfg(test)]
mod faults;
#[cfg(test)]
pub(super) mod scripted;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::ConnectionConfig;
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};

    fn halves() -> (SendHalf, ReceiveHalf, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let socket = Arc::new(TcpSocket::new(&address, &ConnectionConfig::for_tests()).unwrap());
        socket.connect(address, Duration::from_secs(20)).unwrap();
        let (send, receive) = plain(&socket);
        (send, receive, listener.accept().unwrap().0)
    }

    #[test]
    fn a_read_has_its_own_deadline_whatever_the_one_before_had() {
        let (_send, mut receive, mut peer) = halves();
        let mut buffer = [0; 8];
        for _ in 0..2 {
            let deadline = Instant::now() + Duration::from_millis(20);
            let error = receive.read(&mut buffer, Some(deadline)).unwrap_err();
            assert!(is_timeout(&error) && Instant::now() >= deadline, "{error}");
            let writer = std::thread::spawn(move || {
                let _ = crate::sync::channel::after(Duration::from_millis(60)).recv();
                peer.write_all(b"ab").unwrap();
                peer
            });
            assert_eq!(receive.read(&mut buffer, None).unwrap(), 2);
            peer = writer.join().unwrap();
        }
    }

    #[test]
    fn a_write_to_a_peer_that_reads_nothing_ends_at_its_timeout_and_can_be_repeated() {
        let (mut send, _receive, _peer) = halves();
        let bytes = vec![0; 1 << 20];
        for timeout in [20, 10, 20].map(Duration::from_millis) {
            let error = loop {
                match send.write_vectored(&[IoSlice::new(&bytes)], timeout) {
                    Ok(accepted) => assert!(accepted > 0),
                    Err(error) => break error,
                }
            };
            assert!(is_timeout(&error), "{error}");
            assert!(send.flush(timeout).unwrap(), "nothing is ever pending");
        }
    }
}
