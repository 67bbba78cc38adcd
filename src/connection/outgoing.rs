//! A request on its way to the socket, and how much of it is written.

use std::io::IoSlice;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::dial::is_timeout;
use super::socket::TcpSocket;

/// How long a worker may block on one link. The system rounds it up to its tick, 1 to 10 ms.
pub(super) const WRITE_PATIENCE: Duration = Duration::from_millis(2);

/// How often a write that goes on is told of. After as long a call to the system returns with what it wrote.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(500);

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

/// A request of which the first `written` bytes are written.
pub(super) struct Remainder {
    request: OutgoingRequest,
    total: usize,
    written: usize,
}

impl Remainder {
    pub(super) fn new(request: OutgoingRequest) -> Self {
        Self {
            total: request.len(),
            request,
            written: 0,
        }
    }

    /// Blocks until all is written, and says now and then that the peer has taken some more.
    pub(super) fn write_all(
        &mut self,
        socket: &TcpSocket,
        progress: impl Fn(),
    ) -> std::io::Result<()> {
        socket.set_write_timeout(Some(PROGRESS_INTERVAL))?;
        let mut told = Instant::now();
        loop {
            match self.write_some(socket) {
                Ok(true) => break,
                Ok(false) if told.elapsed() >= PROGRESS_INTERVAL => {
                    told = Instant::now();
                    progress();
                }
                Ok(false) => {}
                Err(error) if is_timeout(&error) => {}
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        socket.set_write_timeout(Some(WRITE_PATIENCE))
    }

    /// Writes until all is written, and then it is true, or until `deadline`. A broker that takes a little at a time is
    /// no better than one that takes nothing.
    pub(super) fn write_until(
        &mut self,
        socket: &TcpSocket,
        deadline: Instant,
    ) -> std::io::Result<bool> {
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

    /// Whether the socket has taken any of it.
    pub(super) fn is_begun(&self) -> bool {
        self.written > 0
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
    use crate::connection::ConnectionConfig;

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
            look_ups: Arc::default(),
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
        let mut remainder = Remainder::new(request);
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
