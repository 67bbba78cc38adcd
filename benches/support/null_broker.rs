//! A broker that answers at once and keeps nothing, so that a measurement shows only the client's own cost.
//!
//! It runs in a process of its own, so that its CPU time is not the client's: the benchmark executes itself again (see
//! [`run_if_asked`]). It speaks ApiVersions 0-4, Metadata 4-7, InitProducerId 0-1 and Produce 3-11, with one thread for each
//! connection, and reads nothing of a batch but its record count (and, on demand, checks CRC and sequences).

mod answer;
mod connection;
mod link;
mod topics;

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use connection::{Connection, Shared};
use link::PlainStream;
pub(crate) use link::Stream;
use topics::Topics;

/// What the broker does beyond answering.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Checks {
    /// Count records.
    Count,
    /// Also check each batch's CRC and, if it has a producer id, its sequence. This costs the broker time.
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
    /// The bytes of the batches as written: compressed, with their headers.
    pub(crate) bytes: u64,
    /// Batches with a wrong CRC or a sequence that was not next; always 0 with [`Checks::Count`].
    pub(crate) refused: u64,
}

impl NullBroker {
    /// Starts a broker on a free port of 127.0.0.1. It has every requested topic, with `partitions` partitions or, if the topic's
    /// name ends in a hyphen and a number, that number.
    pub(crate) fn start(partitions: i32, checks: Checks) -> Self {
        let program = std::env::current_exe().expect("the path of this program");
        Self::start_program(Command::new(program), partitions, checks, None)
    }

    /// Starts a broker with a program that calls [`run_if_asked`]. Its metadata names `advertised` if that is given.
    pub(crate) fn start_program(
        mut program: Command,
        partitions: i32,
        checks: Checks,
        advertised: Option<SocketAddr>,
    ) -> Self {
        let mut child = program
            .arg(ARGUMENT)
            .arg(partitions.to_string())
            .arg(if checks == Checks::Verify {
                "verify"
            } else {
                "count"
            })
            .args(advertised.map(|address| address.to_string()))
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

    pub(crate) fn process_id(&self) -> u32 {
        self.child.id()
    }

    /// The broker's CPU time so far, if the operating system reports it.
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
        let mut next = || numbers.next().expect("five numbers");
        Seen {
            records: next(),
            batches: next(),
            requests: next(),
            bytes: next(),
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

/// Call this first in `main`: if this process is the broker, it serves until its standard input ends and then exits.
pub(crate) fn run_if_asked() {
    run_with_if_asked(|socket| Some(PlainStream::new(socket)));
}

/// As [`run_if_asked`], for a broker that makes its streams by `accept`. A connection for which it returns `None` is closed.
pub(crate) fn run_with_if_asked<S: Stream>(
    accept: impl Fn(TcpStream) -> Option<S> + Send + Sync + 'static,
) {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    if arguments.first().is_none_or(|first| first != ARGUMENT) {
        return;
    }
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let partitions = arguments[1].parse().expect("the number of partitions");
    let own = listener.local_addr().expect("a bound socket");
    let advertised = arguments
        .get(3)
        .map(|text| text.parse().expect("an address"));
    let shared = Arc::new(Shared {
        address: advertised.unwrap_or(own),
        verify: arguments[2] == "verify",
        topics: Topics::new(partitions),
        records: AtomicU64::new(0),
        batches: AtomicU64::new(0),
        requests: AtomicU64::new(0),
        bytes: AtomicU64::new(0),
        refused: AtomicU64::new(0),
        producers: AtomicU64::new(0),
    });
    println!("{own}");
    let serving = Arc::clone(&shared);
    let accept = Arc::new(accept);
    std::thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            let (shared, accept) = (Arc::clone(&serving), Arc::clone(&accept));
            std::thread::spawn(move || {
                if let Some(stream) = accept(socket) {
                    Connection::new(stream, shared).serve();
                }
            });
        }
    });
    for _command in std::io::stdin().lines().map_while(Result::ok) {
        let count = |counter: &AtomicU64| counter.load(Ordering::SeqCst);
        println!(
            "{} {} {} {} {}",
            count(&shared.records),
            count(&shared.batches),
            count(&shared.requests),
            count(&shared.bytes),
            count(&shared.refused)
        );
    }
    std::process::exit(0);
}
