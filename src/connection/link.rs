//! A worker's links to brokers: whoever runs the worker's round writes, a thread for each connection dials and then reads.
//!
//! A broker that stops reading must not stall the worker's other links. A write blocks for a few milliseconds at most;
//! what is not written by then goes, with the connection's next bytes held back, to a writer thread of that connection
//! alone, which blocks for as long as it takes. On a link that keeps up no such thread exists.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io::IoSlice;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::control::ConnectionControl;
use super::dial::{Dialed, dial, is_timeout, setup_timeout, socket_error};
use super::frames::MAX_PRODUCE_FRAME_BYTES;
use super::socket::TcpSocket;
use super::{BrokerVersions, ConnectionConfig, Endpoint};
use crate::error::{Error, ErrorKind};
use crate::sync::{STACK_BYTES, ThreadGroup, channel};

/// One connection of a worker; never used again after its end.
pub(crate) type LinkId = u64;

/// What happens on a link, told to its worker.
#[derive(Debug)]
pub(crate) enum LinkEvent {
    /// The link is ready for requests.
    Connected(BrokerVersions),
    /// A frame arrived, without its length.
    Frame(Vec<u8>),
    /// The request that [`Written::Later`] was said of is written.
    WriteFinished,
    /// The link could not be made, or has ended; it says nothing after this.
    Closed(Error),
}

/// Whether a request's last byte is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    Now,
    /// The link says [`LinkEvent::WriteFinished`] when it is; nothing may be written before.
    Later,
}

/// The network as a worker sees it; tests script their own.
pub(crate) trait Network {
    /// Starts to connect; the link's events follow.
    fn connect(&mut self, link: LinkId, endpoint: Endpoint, failures: u32);
    /// Writes a whole request, or what a few milliseconds allow of it. After an error the link is of no more use.
    fn write(&mut self, link: LinkId, request: OutgoingRequest) -> Result<Written, Error>;
    /// Ends the link. Events that are under way may still come.
    fn close(&mut self, link: LinkId);
}

/// A request's bytes: small fields in one buffer, record batches by reference where they belong.
pub(crate) struct OutgoingRequest {
    /// All but the batches.
    pub(crate) fields: Vec<u8>,
    /// Ascending positions in `fields`, one for each batch.
    pub(crate) cuts: Vec<usize>,
    /// Kept until the last byte is written, whatever becomes of the batch meanwhile.
    pub(crate) batches: Vec<Arc<dyn AsRef<[u8]> + Send + Sync>>,
    /// Whether the broker is to answer it.
    pub(crate) is_answered: bool,
}

/// The links of one worker over TCP.
pub(crate) struct TcpNetwork {
    config: Arc<ConnectionConfig>,
    threads: Arc<ThreadGroup>,
    events: EventSink,
    links: HashMap<LinkId, TcpLink>,
    name: String,
}

/// Where a link's events go: to its worker, whose next round may be run by the thread that tells.
pub(crate) type EventSink = Arc<dyn Fn(LinkId, LinkEvent) + Send + Sync>;

struct TcpLink {
    control: Arc<ConnectionControl>,
    owed: Arc<OwedAnswers>,
    /// Known from the first write on.
    socket: Option<Arc<TcpSocket>>,
    /// There from the first stalled write on.
    writer: Option<channel::Sender<Remainder>>,
}

/// How many answers the broker owes, shared by the worker, which asks, and the link's thread, which reads. An answer to
/// nothing ends the link there already: of the frames that wait for the worker there are never more than requests in
/// flight, however many a broker sends.
#[derive(Default)]
struct OwedAnswers(AtomicUsize);

impl OwedAnswers {
    /// Before the request's first byte is written: its answer cannot be quicker.
    fn asked(&self) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }

    fn answered(&self) -> Result<(), Error> {
        let one_less = |owed: usize| owed.checked_sub(1);
        match self
            .0
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, one_less)
        {
            Ok(_) => Ok(()),
            Err(_) => Err(Error::new(
                ErrorKind::Protocol,
                "the broker sent an answer to no request",
            )),
        }
    }
}

/// A request of which the first `written` bytes are written.
struct Remainder {
    request: OutgoingRequest,
    total: usize,
    written: usize,
}

/// How long a worker may block on one link. The system rounds it up to its tick, 1 to 10 ms.
const WRITE_PATIENCE: Duration = Duration::from_millis(2);

impl TcpNetwork {
    /// `name` is the beginning of the threads' names.
    pub(crate) fn new(
        config: Arc<ConnectionConfig>,
        threads: Arc<ThreadGroup>,
        events: EventSink,
        name: String,
    ) -> Self {
        Self {
            config,
            threads,
            events,
            links: HashMap::new(),
            name,
        }
    }
}

impl Network for TcpNetwork {
    fn connect(&mut self, link: LinkId, endpoint: Endpoint, failures: u32) {
        let control = ConnectionControl::new();
        let owed = Arc::<OwedAnswers>::default();
        self.links.insert(
            link,
            TcpLink {
                control: Arc::clone(&control),
                owed: Arc::clone(&owed),
                socket: None,
                writer: None,
            },
        );
        let (config, threads, events) = (
            Arc::clone(&self.config),
            Arc::clone(&self.threads),
            Arc::clone(&self.events),
        );
        let run = {
            let events = Arc::clone(&events);
            move || {
                let within = setup_timeout(&config, failures);
                let dial = || dial(&endpoint, failures, within, &config, &control, &threads);
                dial_and_read(link, dial, &owed, &control, &events)
            }
        };
        if let Err(error) = self
            .threads
            .spawn(format!("{}-link", self.name), STACK_BYTES, run)
        {
            let error =
                Error::new(ErrorKind::Resource, "no thread for a connection").with_source(error);
            events(link, LinkEvent::Closed(error));
        }
    }

    fn write(&mut self, link: LinkId, request: OutgoingRequest) -> Result<Written, Error> {
        let gone = || Error::new(ErrorKind::Network, "the connection has ended");
        let state = self.links.get_mut(&link).ok_or_else(gone)?;
        if state.socket.is_none() {
            state.socket = state.control.socket();
        }
        let socket = Arc::clone(state.socket.as_ref().ok_or_else(gone)?);
        if request.is_answered {
            state.owed.asked();
        }
        let mut remainder = Remainder {
            total: request.len(),
            request,
            written: 0,
        };
        if remainder
            .write_until(&socket, Instant::now() + WRITE_PATIENCE)
            .map_err(socket_error)?
        {
            return Ok(Written::Now);
        }
        if state.writer.is_none() {
            let (writer, remainders) = channel::bounded(1);
            let (control, events) = (Arc::clone(&state.control), Arc::clone(&self.events));
            let body = move || write_remainders(link, &socket, &control, &remainders, &events);
            self.threads
                .spawn(format!("{}-writer", self.name), STACK_BYTES, body)
                .map_err(|error| {
                    Error::new(ErrorKind::Resource, "no thread for a slow connection")
                        .with_source(error)
                })?;
            state.writer = Some(writer);
        }
        // Room for one: the worker writes nothing more before it hears that this one is written.
        match state
            .writer
            .as_ref()
            .map(|writer| writer.try_send(remainder))
        {
            Some(Ok(())) => Ok(Written::Later),
            _ => Err(gone()),
        }
    }

    fn close(&mut self, link: LinkId) {
        if let Some(link) = self.links.remove(&link) {
            link.control.cancel();
        }
    }
}

impl Drop for TcpNetwork {
    fn drop(&mut self) {
        for (_, link) in self.links.drain() {
            link.control.cancel();
        }
    }
}

/// The life of a link's own thread.
fn dial_and_read(
    link: LinkId,
    dial: impl FnOnce() -> Result<Dialed, Error>,
    owed: &OwedAnswers,
    control: &ConnectionControl,
    events: &EventSink,
) {
    let mut farewell = Farewell {
        link,
        events,
        error: None,
    };
    let Err(error) = dial().and_then(|dialed| read_answers(link, dialed, owed, events));
    control.cancel();
    farewell.error = Some(error);
}

/// Hands on what the broker was asked for, until the connection ends or is of no use.
fn read_answers(
    link: LinkId,
    mut dialed: Dialed,
    owed: &OwedAnswers,
    events: &EventSink,
) -> Result<Infallible, Error> {
    let patience = Some(WRITE_PATIENCE);
    let socket = &*dialed.socket;
    socket.set_write_timeout(patience).map_err(socket_error)?;
    dialed.frames.limit(MAX_PRODUCE_FRAME_BYTES);
    events(link, LinkEvent::Connected(dialed.versions));
    loop {
        let frame = dialed.frames.next(&mut &*socket)?;
        owed.answered()?;
        events(link, LinkEvent::Frame(frame));
    }
}

/// A link's last words, which its worker waits for, however the thread ends.
struct Farewell<'a> {
    link: LinkId,
    events: &'a EventSink,
    error: Option<Error>,
}

impl Drop for Farewell<'_> {
    fn drop(&mut self) {
        let error = self.error.take().unwrap_or_else(|| {
            Error::new(ErrorKind::Internal, "the thread of a connection panicked")
        });
        (self.events)(self.link, LinkEvent::Closed(error));
    }
}

/// The life of a stalled link's writer thread: until the link is closed.
fn write_remainders(
    link: LinkId,
    socket: &TcpSocket,
    control: &ConnectionControl,
    remainders: &channel::Receiver<Remainder>,
    events: &EventSink,
) {
    let write = |mut remainder: Remainder| -> std::io::Result<()> {
        socket.set_write_timeout(None)?;
        loop {
            match remainder.write_some(socket) {
                Ok(true) => break,
                Ok(false) => {}
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        socket.set_write_timeout(Some(WRITE_PATIENCE))
    };
    for remainder in remainders {
        if write(remainder).is_err() {
            // The link's reader sees the end of the connection and tells the worker.
            control.cancel();
            return;
        }
        events(link, LinkEvent::WriteFinished);
    }
}

impl Remainder {
    /// Writes until all is written, and then it is true, or until `deadline`. A broker that takes a little at a time is
    /// no better than one that takes nothing.
    fn write_until(&mut self, socket: &TcpSocket, deadline: Instant) -> std::io::Result<bool> {
        loop {
            match self.write_some(socket) {
                Ok(true) => return Ok(true),
                Ok(false) if Instant::now() >= deadline => return Ok(false),
                Ok(false) => {}
                Err(error) if is_timeout(&error) => return Ok(false),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// One write to the socket; true when nothing is left.
    fn write_some(&mut self, socket: &TcpSocket) -> std::io::Result<bool> {
        let written = socket.write_vectored(&self.request.slices(self.written))?;
        if written == 0 {
            return Err(std::io::ErrorKind::WriteZero.into());
        }
        self.written += written;
        Ok(self.written == self.total)
    }
}

/// What systems take in one call (`IOV_MAX` is 1024 on Linux and the BSDs).
const MOST_SLICES: usize = 1024;

impl OutgoingRequest {
    /// What comes after the first `skip` bytes, in at most [`MOST_SLICES`] pieces.
    fn slices(&self, mut skip: usize) -> Vec<IoSlice<'_>> {
        let mut slices = Vec::with_capacity((2 * self.cuts.len() + 1).min(MOST_SLICES));
        let mut push = |bytes: &'_ [u8]| -> Option<(usize, usize)> {
            let skipped = skip.min(bytes.len());
            skip -= skipped;
            (skipped < bytes.len()).then_some((skipped, bytes.len()))
        };
        let mut start = 0;
        for (cut, batch) in self.cuts.iter().zip(&self.batches) {
            for bytes in [&self.fields[start..*cut], (**batch).as_ref()] {
                if let Some((from, to)) = push(bytes) {
                    slices.push(IoSlice::new(&bytes[from..to]));
                }
            }
            start = *cut;
            if slices.len() + 2 > MOST_SLICES {
                return slices;
            }
        }
        let bytes = &self.fields[start..];
        if let Some((from, to)) = push(bytes) {
            slices.push(IoSlice::new(&bytes[from..to]));
        }
        slices
    }

    /// The number of bytes on the wire.
    pub(crate) fn len(&self) -> usize {
        self.fields.len()
            + self
                .batches
                .iter()
                .map(|batch| (**batch).as_ref().len())
                .sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(fields: &[u8], cuts: &[usize], batches: &[&'static [u8]]) -> OutgoingRequest {
        OutgoingRequest {
            fields: fields.to_vec(),
            cuts: cuts.to_vec(),
            batches: batches
                .iter()
                .map(|batch| Arc::new(*batch) as Arc<dyn AsRef<[u8]> + Send + Sync>)
                .collect(),
            is_answered: true,
        }
    }

    #[test]
    fn no_more_answers_are_taken_than_requests_were_written() {
        let owed = OwedAnswers::default();
        assert_eq!(owed.answered().unwrap_err().kind(), ErrorKind::Protocol);
        owed.asked();
        owed.asked();
        assert!(owed.answered().is_ok() && owed.answered().is_ok());
        assert_eq!(owed.answered().unwrap_err().kind(), ErrorKind::Protocol);
        owed.asked();
        assert!(owed.answered().is_ok(), "a refusal leaves no debt");
    }

    #[test]
    fn a_request_goes_on_where_a_write_left_off() {
        let request = request(b"aabbbc", &[2, 5], &[b"XXX", b"YY"]);
        let whole = b"aaXXXbbbYYc";
        assert_eq!(request.len(), whole.len());
        for skip in 0..=whole.len() {
            let rest: Vec<u8> = request
                .slices(skip)
                .iter()
                .flat_map(|slice| slice.to_vec())
                .collect();
            assert_eq!(rest, &whole[skip..]);
        }
    }

    #[test]
    fn a_peer_that_reads_slower_than_is_written_does_not_hold_the_writer() {
        use std::io::Read;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let config = ConnectionConfig {
            client_id: "c".into(),
            send_buffer: Some(128 << 10),
            receive_buffer: None,
            setup_timeout: Duration::from_secs(10),
            setup_timeout_max: Duration::from_secs(10),
            handshakes: Arc::default(),
        };
        let address = listener.local_addr().unwrap();
        let socket = TcpSocket::new(&address, &config).unwrap();
        socket.connect(address, Duration::from_secs(10)).unwrap();
        socket.set_write_timeout(Some(WRITE_PATIENCE)).unwrap();
        let mut peer = listener.accept().unwrap().0;
        let reader = std::thread::spawn(move || {
            let mut buffer = vec![0; 4096];
            while let Ok(1..) = peer.read(&mut buffer) {}
        });
        // Some gigabytes, by naming the same batch many times: seconds, however quick the peer is.
        let batch: Arc<dyn AsRef<[u8]> + Send + Sync> = Arc::new(vec![1u8; 16 << 20]);
        let request = OutgoingRequest {
            fields: Vec::new(),
            cuts: vec![0; 256],
            batches: vec![batch; 256],
            is_answered: true,
        };
        let mut remainder = Remainder {
            total: request.len(),
            request,
            written: 0,
        };
        let start = Instant::now();
        let is_written = remainder
            .write_until(&socket, start + WRITE_PATIENCE)
            .unwrap();
        let took = start.elapsed();
        socket.shut_down();
        reader.join().unwrap();
        assert!(!is_written && remainder.written > 0);
        assert!(took < Duration::from_millis(500), "{took:?}");
    }

    #[test]
    fn more_batches_than_a_call_takes_go_in_several() {
        let many = 3000;
        let fields = vec![b'f'; many + 1];
        let cuts: Vec<usize> = (1..=many).collect();
        let request = OutgoingRequest {
            fields,
            cuts,
            batches: (0..many)
                .map(|_| Arc::new(&b"batch"[..]) as Arc<dyn AsRef<[u8]> + Send + Sync>)
                .collect(),
            is_answered: true,
        };
        let (mut skip, mut calls) = (0, 0);
        while skip < request.len() {
            let slices = request.slices(skip);
            assert!(!slices.is_empty() && slices.len() <= MOST_SLICES);
            skip += slices.iter().map(|slice| slice.len()).sum::<usize>();
            calls += 1;
        }
        assert_eq!(calls, 6);
    }
}
