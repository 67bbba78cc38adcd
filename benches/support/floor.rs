//! The floor: the least work that any producer has to do. It encodes records into batches, computes each batch's CRC, and
//! sends requests of one batch for each partition on one socket. No queue, no thread, no future. A producer's speed is given
//! as a share of this, measured in the same run.

use std::io::{self, IoSlice, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use kafka_producer::internals::{Batch, encode_produce_request};

/// What is sent. The default is the setting of `benches/throughput.rs`.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    pub(crate) topic: &'static str,
    pub(crate) records: u64,
    pub(crate) record_bytes: usize,
    pub(crate) batch_bytes: usize,
    pub(crate) partitions: usize,
    pub(crate) in_flight: usize,
}

impl Default for Load {
    fn default() -> Self {
        Self {
            topic: "floor",
            records: 20_000_000,
            record_bytes: 100,
            batch_bytes: 16 << 10,
            partitions: 8,
            in_flight: 5,
        }
    }
}

/// The result.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figures {
    /// At least the requested number: the last request is full, too.
    pub(crate) records: u64,
    pub(crate) elapsed: Duration,
}

/// Sends `load` to `broker` with acks=1, and returns when every batch is acknowledged. An error in an answer is returned.
pub(crate) fn run(broker: SocketAddr, load: Load) -> io::Result<Figures> {
    let mut link = Link::connect(broker, load.topic, load.in_flight)?;
    let value = vec![b'x'; load.record_bytes];
    let mut batches = vec![Vec::with_capacity(load.batch_bytes); load.partitions];
    // `vec!` would clone, and a clone has no unused capacity.
    batches
        .iter_mut()
        .for_each(|buffer| buffer.reserve_exact(load.batch_bytes));
    let mut records = 0;
    let start = Instant::now();
    while records < load.records {
        for buffer in &mut batches {
            let mut batch = Batch::new(std::mem::take(buffer));
            while batch.append(TIMESTAMP_MS, None, &value) {}
            records += u64::try_from(batch.count()).expect("a count");
            *buffer = batch.seal();
        }
        link.send(&batches)?;
    }
    link.await_all()?;
    Ok(Figures {
        records,
        elapsed: start.elapsed(),
    })
}

/// Makes bare round trips: a request with one record, and its answer, on one socket. `took` gets the time of each, and returns
/// whether another one follows.
pub(crate) fn round_trips(
    broker: SocketAddr,
    load: Load,
    mut took: impl FnMut(Duration) -> bool,
) -> io::Result<()> {
    let mut link = Link::connect(broker, load.topic, 1)?;
    let value = vec![b'x'; load.record_bytes];
    let mut buffer = Vec::with_capacity(load.record_bytes + 128);
    loop {
        let start = Instant::now();
        let mut batch = Batch::new(std::mem::take(&mut buffer));
        batch.append(TIMESTAMP_MS, None, &value);
        let batches = [batch.seal()];
        link.send(&batches)?;
        link.await_all()?;
        if !took(start.elapsed()) {
            return Ok(());
        }
        [buffer] = batches;
    }
}

const TIMESTAMP_MS: i64 = 1_700_000_000_000;

struct Link {
    socket: TcpStream,
    topic: &'static str,
    max_in_flight: usize,
    in_flight: usize,
    correlation_id: i32,
    /// The request without its batches, and the positions where they belong.
    envelope: Vec<u8>,
    cuts: Vec<usize>,
    received: Vec<u8>,
}

impl Link {
    fn connect(broker: SocketAddr, topic: &'static str, max_in_flight: usize) -> io::Result<Self> {
        let socket = TcpStream::connect(broker)?;
        socket.set_nodelay(true)?;
        Ok(Self {
            socket,
            topic,
            max_in_flight,
            in_flight: 0,
            correlation_id: 0,
            envelope: Vec::new(),
            cuts: Vec::new(),
            received: Vec::new(),
        })
    }

    fn send(&mut self, batches: &[Vec<u8>]) -> io::Result<()> {
        if self.in_flight == self.max_in_flight {
            self.receive()?;
        }
        self.envelope.clear();
        self.cuts.clear();
        if !encode_produce_request(
            self.correlation_id,
            1,
            self.topic,
            batches,
            &mut self.envelope,
            &mut self.cuts,
        ) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        self.correlation_id = self.correlation_id.wrapping_add(1);
        let mut slices = Vec::with_capacity(2 * batches.len() + 1);
        let mut from = 0;
        for (batch, &cut) in batches.iter().zip(&self.cuts) {
            slices.push(IoSlice::new(&self.envelope[from..cut]));
            slices.push(IoSlice::new(batch));
            from = cut;
        }
        slices.push(IoSlice::new(&self.envelope[from..]));
        write_all_vectored(&mut self.socket, &mut slices)?;
        self.in_flight += 1;
        Ok(())
    }

    fn await_all(&mut self) -> io::Result<()> {
        while self.in_flight > 0 {
            self.receive()?;
        }
        Ok(())
    }

    /// Blocks for at least one answer.
    fn receive(&mut self) -> io::Result<()> {
        let before = self.in_flight;
        while self.in_flight == before {
            let mut buffer = [0; 4096];
            match self.socket.read(&mut buffer)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => self.received.extend_from_slice(&buffer[..read]),
            }
            let mut rest = &self.received[..];
            while let Some((length, body)) = rest.split_first_chunk() {
                let Some((frame, after)) =
                    body.split_at_checked(u32::from_be_bytes(*length) as usize)
                else {
                    break;
                };
                check_answer(self.topic, frame)?;
                self.in_flight -= 1;
                rest = after;
            }
            let consumed = self.received.len() - rest.len();
            self.received.drain(..consumed);
        }
        Ok(())
    }
}

/// Looks for an error code in the partitions of an answer of v7.
fn check_answer(topic: &str, frame: &[u8]) -> io::Result<()> {
    let correlation_id_topics_and_name = 4 + 4 + 2 + topic.len();
    let throttle_bytes = 4;
    let partitions = frame
        .get(correlation_id_topics_and_name + 4..frame.len().saturating_sub(throttle_bytes))
        .ok_or(io::ErrorKind::InvalidData)?;
    let index_error_offset_time_and_start = 4 + 2 + 8 + 8 + 8;
    let refused = partitions
        .chunks(index_error_offset_time_and_start)
        .any(|partition| partition.get(4..6) != Some(&[0, 0]));
    if refused {
        Err(io::Error::other("the broker refused a batch"))
    } else {
        Ok(())
    }
}

fn write_all_vectored(socket: &mut TcpStream, mut slices: &mut [IoSlice<'_>]) -> io::Result<()> {
    while !slices.is_empty() {
        match socket.write_vectored(slices) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut slices, written),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
