//! A request to write, and how much of it is written.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::transport::{SendHalf, is_timeout};

/// How long a user's thread may block to write one request. The system rounds it up to its tick, 1 to 10 ms.
pub(super) const WRITE_PATIENCE: Duration = Duration::from_millis(2);

/// The interval at which the writer thread reports progress. It is also the timeout of each of its writes.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(500);

/// The bytes of a request: all fields in one buffer, and references to the record batches that belong between them.
pub(crate) struct OutgoingRequest {
    /// All bytes except those of the batches.
    pub(crate) fields: Vec<u8>,
    /// For each batch, its position in `fields`, in ascending order.
    pub(crate) cuts: Vec<usize>,
    /// The record batches. They are held until the last byte is written, even if a batch is completed before.
    pub(crate) batches: Vec<Arc<dyn AsRef<[u8]> + Send + Sync>>,
    /// Whether the broker answers the request. It does not with acks=0.
    pub(crate) is_answered: bool,
}

/// A request of which the transport has accepted the first `accepted` bytes. The request is written when the transport has
/// accepted all bytes and none of them is pending.
pub(super) struct Remainder {
    request: OutgoingRequest,
    total: usize,
    accepted: usize,
}

impl Remainder {
    pub(super) fn new(request: OutgoingRequest) -> Self {
        Self {
            total: request.len(),
            request,
            accepted: 0,
        }
    }

    /// Blocks until the request is written. Calls `progress` at intervals while the transport accepts or writes bytes.
    pub(super) fn write_all(&mut self, half: &mut SendHalf, progress: impl Fn()) -> io::Result<()> {
        let mut reported = Instant::now();
        loop {
            match self.write_some(half, PROGRESS_INTERVAL) {
                Ok(true) => return Ok(()),
                Ok(false) if reported.elapsed() >= PROGRESS_INTERVAL => {
                    reported = Instant::now();
                    progress();
                }
                Ok(false) => {}
                Err(error) if is_timeout(&error) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Writes for a few milliseconds at most ([`WRITE_PATIENCE`]). Returns whether the request is written. A broker that reads
    /// a few bytes at a time gets no more time than a broker that reads nothing.
    pub(super) fn write_briefly(&mut self, half: &mut SendHalf) -> io::Result<bool> {
        let deadline = Instant::now() + WRITE_PATIENCE;
        loop {
            match self.write_some(half, WRITE_PATIENCE) {
                Ok(true) => return Ok(true),
                Ok(false) if Instant::now() >= deadline => return Ok(false),
                Ok(false) => {}
                Err(error) if is_timeout(&error) => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Returns whether the transport has accepted any byte. If so, the broker may have got it.
    pub(super) fn is_begun(&self) -> bool {
        self.accepted > 0
    }

    /// Offers the rest of the request to the transport once. Returns whether the request is written.
    fn write_some(&mut self, half: &mut SendHalf, timeout: Duration) -> io::Result<bool> {
        if self.accepted < self.total {
            let slices = self.request.slices(self.accepted, half.most_bytes());
            self.accepted += half.write_vectored(&slices, timeout)?;
            if self.accepted < self.total {
                return Ok(false);
            }
        }
        half.flush(timeout)
    }
}

/// The number of slices that systems accept in one call (`IOV_MAX` is 1024 on Linux and the BSDs).
const MOST_SLICES: usize = 1024;

impl OutgoingRequest {
    /// Returns the bytes after the first `skip` bytes, in at most [`MOST_SLICES`] slices. These end at the end of the request, or
    /// with the slice that makes them `enough` bytes.
    fn slices(&self, mut skip: usize, enough: usize) -> Vec<IoSlice<'_>> {
        let mut slices = Vec::with_capacity((2 * self.cuts.len() + 1).min(MOST_SLICES));
        let mut length = 0;
        for part in self.parts() {
            let skipped = skip.min(part.len());
            skip -= skipped;
            if skipped == part.len() {
                continue;
            }
            slices.push(IoSlice::new(&part[skipped..]));
            length += part.len() - skipped;
            if length >= enough || slices.len() == MOST_SLICES {
                break;
            }
        }
        slices
    }

    /// Returns the fields and the batches in their order on the wire.
    fn parts(&self) -> impl Iterator<Item = &[u8]> {
        let mut start = 0;
        let batches = self.cuts.iter().zip(&self.batches);
        let last_cut = self.cuts.last().copied().unwrap_or(0);
        batches
            .flat_map(move |(cut, batch)| {
                let fields = &self.fields[start..*cut];
                start = *cut;
                [fields, (**batch).as_ref()]
            })
            .chain([&self.fields[last_cut..]])
    }

    /// The number of bytes on the wire, before a transport that encrypts adds its own.
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
    use crate::connection::ConnectionConfig;
    use crate::connection::socket::TcpSocket;
    use crate::connection::transport::{self, scripted};

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
    fn a_request_goes_on_where_a_write_left_off() {
        let request = request(b"aabbbc", &[2, 5], &[b"XXX", b"YY"]);
        let whole = b"aaXXXbbbYYc";
        assert_eq!(request.len(), whole.len());
        for skip in 0..=whole.len() {
            let rest: Vec<u8> = request
                .slices(skip, usize::MAX)
                .iter()
                .flat_map(|slice| slice.to_vec())
                .collect();
            assert_eq!(rest, &whole[skip..]);
        }
    }

    #[test]
    fn a_write_is_offered_few_slices_if_few_bytes_are_enough() {
        let request = request(b"aabbbc", &[2, 5], &[b"XXX", b"YY"]);
        for (skip, enough, slices) in [(0, 1, "aa"), (1, 2, "aXXX"), (3, 6, "XXbbbYY")] {
            let offered = request.slices(skip, enough);
            let bytes: Vec<u8> = offered.iter().flat_map(|slice| slice.to_vec()).collect();
            assert_eq!(bytes, slices.as_bytes(), "{skip} {enough}");
        }
    }

    #[test]
    fn a_peer_that_reads_slower_than_is_written_does_not_hold_the_writer() {
        use std::io::Read;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let config = ConnectionConfig {
            send_buffer: Some(128 << 10),
            ..ConnectionConfig::for_tests()
        };
        let address = listener.local_addr().unwrap();
        let socket = Arc::new(TcpSocket::new(&address, &config).unwrap());
        socket.connect(address, Duration::from_secs(10)).unwrap();
        let mut peer = listener.accept().unwrap().0;
        let reader = std::thread::spawn(move || {
            let mut buffer = vec![0; 4096];
            while let Ok(1..) = peer.read(&mut buffer) {}
        });
        // Some gigabytes, made of references to one batch: seconds, however fast the peer is.
        let batch: Arc<dyn AsRef<[u8]> + Send + Sync> = Arc::new(vec![1u8; 16 << 20]);
        let request = OutgoingRequest {
            fields: Vec::new(),
            cuts: vec![0; 256],
            batches: vec![batch; 256],
            is_answered: true,
        };
        let mut remainder = Remainder::new(request);
        let (mut half, _) = transport::plain(&socket);
        let start = Instant::now();
        let is_written = remainder.write_briefly(&mut half).unwrap();
        let took = start.elapsed();
        socket.shut_down();
        reader.join().unwrap();
        assert!(!is_written && remainder.is_begun());
        assert!(took < Duration::from_millis(500), "{took:?}");
    }

    #[test]
    fn a_request_is_written_when_the_transport_holds_nothing_back() {
        let (half, wire) = scripted::transport(3);
        let mut half = SendHalf::Scripted(half);
        let mut remainder = Remainder::new(request(b"aabbbc", &[2, 5], &[b"XXX", b"YY"]));
        assert!(!remainder.write_briefly(&mut half).unwrap());
        assert_eq!((wire.accepted(), wire.written()), (3, 0));
        // The transport holds the last bytes of the request now.
        wire.let_through(9);
        assert!(!remainder.write_briefly(&mut half).unwrap());
        assert_eq!((wire.accepted(), wire.written()), (11, 9));
        wire.let_through(1);
        assert!(!remainder.write_briefly(&mut half).unwrap());
        wire.let_through(1);
        assert!(remainder.write_briefly(&mut half).unwrap());
        assert_eq!(wire.received(), b"aaXXXbbbYYc");
    }

    #[test]
    fn what_a_transport_accepted_and_did_not_write_may_be_written() {
        let (half, wire) = scripted::transport(3);
        let mut half = SendHalf::Scripted(half);
        let mut remainder = Remainder::new(request(b"aaaa", &[], &[]));
        assert!(!remainder.is_begun());
        assert!(!remainder.write_briefly(&mut half).unwrap());
        assert!(remainder.is_begun() && wire.written() == 0);
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
            let slices = request.slices(skip, usize::MAX);
            assert!(!slices.is_empty() && slices.len() <= MOST_SLICES);
            skip += slices.iter().map(|slice| slice.len()).sum::<usize>();
            calls += 1;
        }
        assert_eq!(calls, 6);
    }
}
