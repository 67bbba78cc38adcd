//! A broker that answers at once and keeps nothing: what is left of a measurement is the client's own cost.
//!
//! It runs in a process of its own, so that its CPU time is not the client's: the benchmark executes itself again (see
//! [`run_if_asked`]). It speaks ApiVersions 0-4, Metadata 7, InitProducerId 1 and Produce 3-11, with one thread for each
//! connection, and walks a request without looking into the batches beyond their record counts (and, on demand, their
//! CRC and sequences).

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What the broker does beyond answering.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Checks {
    /// Count records.
    Count,
    /// Also check each batch's CRC and, where it has a producer id, its sequence. Costs the broker time.
    Verify,
}

/// The parent's handle. Dropping it ends the broker.
pub(crate) struct NullBroker {
    child: Child,
    commands: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    address: SocketAddr,
}

/// What the broker has seen so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) records: u64,
    pub(crate) batches: u64,
    pub(crate) requests: u64,
    /// Batches with a wrong CRC or a sequence that was not next; always 0 with [`Checks::Count`].
    pub(crate) refused: u64,
}

impl NullBroker {
    /// Starts a broker on a free port of 127.0.0.1. It has every topic that is asked for, with `partitions` partitions.
    pub(crate) fn start(partitions: i32, checks: Checks) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("the path of this program"))
            .arg(ARGUMENT)
            .arg(partitions.to_string())
            .arg(if checks == Checks::Verify {
                "verify"
            } else {
                "count"
            })
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the broker starts");
        let commands = child.stdin.take();
        let mut answers = BufReader::new(child.stdout.take().expect("a piped output"));
        let address = read_line(&mut answers)
            .parse()
            .expect("the broker prints its address");
        Self {
            child,
            commands,
            answers,
            address,
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The broker's CPU time so far, where the operating system tells it.
    pub(crate) fn cpu_time(&self) -> Option<Duration> {
        super::cpu::time_of(self.child.id())
    }

    /// Asks for the counts. The client has its answers by then, so they are complete.
    pub(crate) fn seen(&mut self) -> Seen {
        let commands = self.commands.as_mut().expect("open until dropped");
        commands.write_all(b"seen\n").expect("the broker runs");
        let line = read_line(&mut self.answers);
        let mut numbers = line
            .split(' ')
            .map(|number| number.parse().expect("a number"));
        let mut next = || numbers.next().expect("four numbers");
        Seen {
            records: next(),
            batches: next(),
            requests: next(),
            refused: next(),
        }
    }
}

impl Drop for NullBroker {
    fn drop(&mut self) {
        drop(self.commands.take());
        let _ = self.child.wait();
    }
}

const ARGUMENT: &str = "--null-broker";

fn read_line(from: &mut impl BufRead) -> String {
    let mut line = String::new();
    from.read_line(&mut line).expect("the broker answers");
    line.trim_end().to_owned()
}

/// To be called first in `main`: if this process is the broker, it serves until its standard input ends and then exits.
pub(crate) fn run_if_asked() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    if arguments.first().is_none_or(|first| first != ARGUMENT) {
        return;
    }
    let state = Arc::new(State {
        partitions: arguments[1].parse().expect("the number of partitions"),
        verify: arguments[2] == "verify",
        ..State::default()
    });
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = listener.local_addr().expect("a bound socket");
    println!("{address}");
    let serving = Arc::clone(&state);
    std::thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            let state = Arc::clone(&serving);
            std::thread::spawn(move || Connection::new(socket, address, state).serve());
        }
    });
    for _command in std::io::stdin().lines().map_while(Result::ok) {
        let count = |counter: &AtomicU64| counter.load(Ordering::SeqCst);
        println!(
            "{} {} {} {}",
            count(&state.records),
            count(&state.batches),
            count(&state.requests),
            count(&state.refused)
        );
    }
    std::process::exit(0);
}

#[derive(Default)]
struct State {
    partitions: i32,
    verify: bool,
    records: AtomicU64,
    batches: AtomicU64,
    requests: AtomicU64,
    refused: AtomicU64,
    producers: AtomicU64,
    /// By topic, then partition.
    logs: Mutex<HashMap<Vec<u8>, Vec<Log>>>,
}

#[derive(Clone, Default)]
struct Log {
    end_offset: i64,
    /// By producer id and epoch.
    next_sequence: HashMap<(i64, i16), i32>,
}

struct Connection {
    socket: TcpStream,
    address: SocketAddr,
    state: Arc<State>,
    answers: Vec<u8>,
}

/// Small enough to stay in a core's second cache.
const BUFFER_BYTES: usize = 256 << 10;

impl Connection {
    fn new(socket: TcpStream, address: SocketAddr, state: Arc<State>) -> Self {
        Self {
            socket,
            address,
            state,
            answers: Vec::new(),
        }
    }

    /// Reads as much as there is, answers all whole requests with one write. Ends with the connection, or with a
    /// request that makes no sense.
    fn serve(mut self) {
        let _ = self.socket.set_nodelay(true);
        let mut buffer = vec![0; BUFFER_BYTES];
        let (mut start, mut end) = (0, 0);
        loop {
            match self.socket.read(&mut buffer[end..]) {
                Ok(read) if read > 0 => end += read,
                _ => return,
            }
            while let Some((frame, after)) = split_frame(&buffer[start..end]) {
                if self.answer(frame).is_none() {
                    return;
                }
                start = end - after.len();
            }
            let Some(wanted) = frame_bytes(&buffer[start..end]) else {
                return;
            };
            // Moved to the front only when there is little room left: it is the broker's dearest step.
            if buffer.len() - start < wanted || buffer.len() - end < BUFFER_BYTES / 8 {
                buffer.copy_within(start..end, 0);
                (start, end) = (0, end - start);
                if buffer.len() < wanted {
                    buffer.resize(wanted, 0);
                }
            }
            if !self.answers.is_empty() && self.socket.write_all(&self.answers).is_err() {
                return;
            }
            self.answers.clear();
        }
    }

    fn answer(&mut self, frame: &[u8]) -> Option<()> {
        let mut request = Walk(frame);
        let (api, version, correlation_id) = (request.i16()?, request.i16()?, request.i32()?);
        let _client_id = request.string(false)?;
        let start = self.answers.len();
        self.answers.extend_from_slice(&[0; 4]);
        self.answers
            .extend_from_slice(&correlation_id.to_be_bytes());
        let flexible_header = api == 0 && version >= 9;
        request.no_tags(flexible_header)?;
        self.put_no_tags(flexible_header);
        let has_answer = match (api, version) {
            (18, _) => self.api_versions(version),
            (3, 7) => self.metadata(&mut request)?,
            (22, 1) => self.init_producer_id(),
            (0, 3..=11) => self.produce(version, &mut request)?,
            _ => return None,
        };
        if has_answer {
            let length = (self.answers.len() - start - 4) as i32;
            self.answers[start..start + 4].copy_from_slice(&length.to_be_bytes());
        } else {
            self.answers.truncate(start);
        }
        Some(())
    }

    fn api_versions(&mut self, version: i16) -> bool {
        const APIS: [(i16, i16, i16); 4] = [(0, 3, 11), (3, 7, 7), (18, 0, 4), (22, 1, 1)];
        let known = (0..=4).contains(&version);
        let flexible = known && version >= 3;
        self.put_i16(if known { 0 } else { UNSUPPORTED_VERSION });
        self.put_length(APIS.len(), flexible);
        for (key, lowest, highest) in APIS {
            for number in [key, lowest, highest] {
                self.put_i16(number);
            }
            self.put_no_tags(flexible);
        }
        if known && version >= 1 {
            self.put_i32(0);
        }
        self.put_no_tags(flexible);
        true
    }

    fn metadata(&mut self, request: &mut Walk<'_>) -> Option<bool> {
        self.put_i32(0);
        self.put_length(1, false);
        self.put_i32(BROKER_ID);
        self.put_string(self.address.ip().to_string().as_bytes(), false);
        self.put_i32(i32::from(self.address.port()));
        self.put_i16(-1);
        self.put_string(b"null-broker", false);
        self.put_i32(BROKER_ID);
        let topics = request.length(false)?;
        self.put_length(topics, false);
        for _ in 0..topics {
            let name = request.string(false)?;
            self.put_i16(0);
            self.put_string(name, false);
            self.answers.push(0);
            self.put_i32(self.state.partitions);
            for partition in 0..self.state.partitions {
                self.put_i16(0);
                let leader_epoch = 0;
                // The replicas and those in sync are the leader; none are offline.
                for number in [
                    partition,
                    BROKER_ID,
                    leader_epoch,
                    1,
                    BROKER_ID,
                    1,
                    BROKER_ID,
                    0,
                ] {
                    self.put_i32(number);
                }
            }
        }
        Some(true)
    }

    fn init_producer_id(&mut self) -> bool {
        let producer_id = 1000 + self.state.producers.fetch_add(1, Ordering::SeqCst) as i64;
        self.put_i32(0);
        self.put_i16(0);
        self.put_i64(producer_id);
        self.put_i16(0);
        true
    }

    fn produce(&mut self, version: i16, request: &mut Walk<'_>) -> Option<bool> {
        let flexible = version >= 9;
        let _transactional_id = request.string(flexible)?;
        let acks = request.i16()?;
        let _timeout = request.i32()?;
        let topics = request.length(flexible)?;
        self.put_length(topics, flexible);
        let state = Arc::clone(&self.state);
        let mut logs = state.logs.lock().unwrap();
        for _ in 0..topics {
            let name = request.string(flexible)?;
            if !logs.contains_key(name) {
                logs.insert(
                    name.to_vec(),
                    vec![Log::default(); state.partitions as usize],
                );
            }
            let logs = logs.get_mut(name)?;
            self.put_string(name, flexible);
            let partitions = request.length(flexible)?;
            self.put_length(partitions, flexible);
            for _ in 0..partitions {
                let partition = request.i32()?;
                let batch = request.bytes(flexible)?;
                request.no_tags(flexible)?;
                let (error, base_offset) = match logs.get_mut(usize::try_from(partition).ok()?) {
                    Some(log) => state.append(log, batch)?,
                    None => (UNKNOWN_TOPIC_OR_PARTITION, -1),
                };
                self.put_partition_answer(version, partition, error, base_offset);
            }
            request.no_tags(flexible)?;
            self.put_no_tags(flexible);
        }
        self.put_i32(0);
        self.put_no_tags(flexible);
        state.requests.fetch_add(1, Ordering::Relaxed);
        Some(acks != 0)
    }

    fn put_partition_answer(&mut self, version: i16, partition: i32, error: i16, base_offset: i64) {
        let flexible = version >= 9;
        self.put_i32(partition);
        self.put_i16(error);
        self.put_i64(base_offset);
        self.put_i64(-1);
        if version >= 5 {
            self.put_i64(0);
        }
        if version >= 8 {
            self.put_length(0, flexible);
            // No error message: null.
            if flexible {
                self.answers.push(0)
            } else {
                self.put_i16(-1)
            }
        }
        self.put_no_tags(flexible);
    }

    fn put_i16(&mut self, value: i16) {
        self.answers.extend_from_slice(&value.to_be_bytes());
    }

    fn put_i32(&mut self, value: i32) {
        self.answers.extend_from_slice(&value.to_be_bytes());
    }

    fn put_i64(&mut self, value: i64) {
        self.answers.extend_from_slice(&value.to_be_bytes());
    }

    fn put_length(&mut self, length: usize, flexible: bool) {
        if flexible {
            self.put_compact(length + 1)
        } else {
            self.put_i32(length as i32)
        }
    }

    fn put_string(&mut self, bytes: &[u8], flexible: bool) {
        if flexible {
            self.put_compact(bytes.len() + 1)
        } else {
            self.put_i16(bytes.len() as i16)
        }
        self.answers.extend_from_slice(bytes);
    }

    fn put_no_tags(&mut self, flexible: bool) {
        if flexible {
            self.answers.push(0);
        }
    }

    fn put_compact(&mut self, mut value: usize) {
        while value >= 0x80 {
            self.answers.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.answers.push(value as u8);
    }
}

impl State {
    /// The error code and base offset for one batch of a producer; none if it is no batch.
    fn append(&self, log: &mut Log, batch: &[u8]) -> Option<(i16, i64)> {
        let count = Walk(batch.get(57..)?).i32()?;
        self.batches.fetch_add(1, Ordering::Relaxed);
        if self.verify {
            let error = verify(log, batch, count)?;
            if error != 0 {
                self.refused.fetch_add(1, Ordering::Relaxed);
                return Some((error, -1));
            }
        }
        self.records
            .fetch_add(u64::try_from(count).ok()?, Ordering::Relaxed);
        let base_offset = log.end_offset;
        log.end_offset += i64::from(count);
        Some((0, base_offset))
    }
}

/// 0, or the error code that Kafka has for it.
fn verify(log: &mut Log, batch: &[u8], count: i32) -> Option<i16> {
    if Walk(batch.get(17..)?).i32()? as u32 != crc32c::crc32c(batch.get(21..)?) {
        return Some(CORRUPT_MESSAGE);
    }
    let mut stamp = Walk(batch.get(43..)?);
    let (producer_id, epoch, sequence) = (stamp.i64()?, stamp.i16()?, stamp.i32()?);
    if producer_id < 0 {
        return Some(0);
    }
    let next = log.next_sequence.entry((producer_id, epoch)).or_insert(0);
    if sequence != *next {
        return Some(OUT_OF_ORDER_SEQUENCE_NUMBER);
    }
    *next = sequence.wrapping_add(count) & i32::MAX;
    Some(0)
}

const BROKER_ID: i32 = 1;
const CORRUPT_MESSAGE: i16 = 2;
const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const UNSUPPORTED_VERSION: i16 = 35;
const OUT_OF_ORDER_SEQUENCE_NUMBER: i16 = 45;

fn split_frame(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (prefix, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(u32::from_be_bytes(*prefix) as usize)
}

/// The whole size of the frame that `bytes` begin with; none if that is absurd.
fn frame_bytes(bytes: &[u8]) -> Option<usize> {
    const MAX_FRAME_BYTES: usize = 256 << 20;
    let Some(prefix) = bytes.first_chunk() else {
        return Some(4);
    };
    let size = 4 + u32::from_be_bytes(*prefix) as usize;
    (size <= MAX_FRAME_BYTES).then_some(size)
}

/// Reads forward through a request.
struct Walk<'a>(&'a [u8]);

impl<'a> Walk<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn i16(&mut self) -> Option<i16> {
        self.take().map(i16::from_be_bytes)
    }

    fn i32(&mut self) -> Option<i32> {
        self.take().map(i32::from_be_bytes)
    }

    fn i64(&mut self) -> Option<i64> {
        self.take().map(i64::from_be_bytes)
    }

    /// The number of an array's elements; a null array has none.
    fn length(&mut self, flexible: bool) -> Option<usize> {
        let length = if flexible {
            self.compact()?.saturating_sub(1)
        } else {
            self.i32()?.max(0) as usize
        };
        // Each element takes a byte at least.
        (length <= self.0.len()).then_some(length)
    }

    fn string(&mut self, flexible: bool) -> Option<&'a [u8]> {
        let length = if flexible {
            self.compact()?.saturating_sub(1)
        } else {
            self.i16()?.max(0) as usize
        };
        self.slice(length)
    }

    fn bytes(&mut self, flexible: bool) -> Option<&'a [u8]> {
        let length = self.length(flexible)?;
        self.slice(length)
    }

    fn slice(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn no_tags(&mut self, flexible: bool) -> Option<()> {
        if flexible {
            for _ in 0..self.compact()? {
                self.compact()?;
                let length = self.compact()?;
                self.slice(length)?;
            }
        }
        Some(())
    }

    fn compact(&mut self) -> Option<usize> {
        let mut value = 0;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.take()?;
            value |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
}
