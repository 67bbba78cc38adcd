//! Sends records at a given rate or without a limit, and prints throughput and latency. It has the options and output
//! lines of kafka-producer-perf-test, except transactions and `--print-metrics`. A record's latency is the time from the
//! call of `send` to its callback.
//!
//! `cargo run --release --example producer_performance -- --topic t --num-records 1000000 --record-size 100 --throughput
//! -1
//! --bootstrap-server localhost:9092`

use std::borrow::Cow;
use std::io::{IsTerminal, stderr};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use kafka_producer::{Error, ErrorKind, KafkaProducer, ProducerConfig, ProducerRecord, TopicName};

#[path = "support/arguments.rs"]
mod arguments;
#[path = "support/output.rs"]
mod output;
#[path = "support/payload.rs"]
mod payload;
#[path = "support/settings.rs"]
mod settings;
#[path = "support/signals.rs"]
mod signals;
#[path = "support/stderr_log.rs"]
mod stderr_log;
#[path = "support/throttle.rs"]
mod throttle;

use arguments::{Arguments, Help, Takes};
use output::{complain, print, write_stderr};
use payload::Payload;
use throttle::Throttle;

const HELP: Help = Help {
    about: "Measures the producer's throughput and latency.",
    options: OPTIONS,
    success: "every record was delivered",
    failure: "a record was not delivered (standard error says why), or standard output failed, or the options are wrong",
};
const OPTIONS: &[arguments::Known] = &[
    ("--topic", Takes::Value, "the topic to produce to; required"),
    (
        "--num-records",
        Takes::Value,
        "the number of records to send; required",
    ),
    (
        "--record-size",
        Takes::Value,
        "the size of each value in bytes, which are random capital letters",
    ),
    (
        "--payload-file",
        Takes::Value,
        "a file with values, which are sent in random order",
    ),
    (
        "--payload-delimiter",
        Takes::Value,
        "the text between two values of the payload file (default: \\n)",
    ),
    (
        "--payload-monotonic",
        Takes::Nothing,
        "values are 0, 1, 2, ...",
    ),
    (
        "--throughput",
        Takes::Value,
        "about this many records a second; -1: no limit; required",
    ),
    (
        "--bootstrap-server",
        Takes::Value,
        "HOST1:PORT1,HOST2:PORT2,... of brokers",
    ),
    (
        "--command-property",
        Takes::Values,
        "name=value...: settings of the producer",
    ),
    (
        "--producer-props",
        Takes::Values,
        "the older name of --command-property",
    ),
    (
        "--command-config",
        Takes::Value,
        "a properties file with settings of the producer",
    ),
    (
        "--producer.config",
        Takes::Value,
        "the older name of --command-config",
    ),
    (
        "--warmup-records",
        Takes::Value,
        "the number of first records that the steady state omits (default: 0)",
    ),
    (
        "--reporting-interval",
        Takes::Value,
        "the milliseconds between two lines of results (default: 5000)",
    ),
];

type Producer = KafkaProducer<(), Cow<'static, [u8]>>;

fn main() -> ExitCode {
    stderr_log::install();
    output::exit_code(run())
}

fn run() -> Result<(), String> {
    let options = Options::of(&Arguments::of_program(&HELP)?)?;
    let producer: Producer = KafkaProducer::builder()
        .config(options.config.clone())
        .build()
        .map_err(|error| error.to_string())?;
    if options.warmup > 0 {
        let warmup = options.warmup;
        print(format_args!(
            "Warmup first {warmup} records. Steady state results will print after the complete test summary."
        ));
    }
    let results = Arc::new(Mutex::new(Results::new(&options)));
    let (stop, stopped) = channel();
    let progress_results = Arc::clone(&results);
    signals::handle(
        move || stop.send(()).unwrap_or_default(),
        move || lock(&progress_results).progress(),
    )
    .map_err(|error| error.to_string())?;
    let sent = send_all(&producer, &options, &results, stopped);
    let progress = Progress::new(options.num_records);
    let flushed = flush(&producer, &results, progress);
    let closed = producer.close(Duration::MAX);
    let results = lock(&results);
    results.whole.print_total();
    if let Some(steady) = &results.steady {
        steady.print_total();
    }
    results.print_repeated_failures();
    sent?;
    flushed.and(closed).map_err(|error| error.to_string())?;
    match results.failed {
        0 => Ok(()),
        failed => Err(format!("{failed} record(s) were not delivered")),
    }
}

fn send_all(
    producer: &Producer,
    options: &Options,
    results: &Arc<Mutex<Results>>,
    stopped: Receiver<()>,
) -> Result<(), String> {
    let throttle = Throttle::new(options.throughput, stopped);
    let mut progress = Progress::new(options.num_records);
    for number in 0..options.num_records {
        if !throttle.wait(number) {
            break;
        }
        if number == options.warmup && number > 0 {
            lock(results).begin_steady_state();
        }
        let value = options.payload.value(number);
        let (size, is_steady) = (value.len(), options.warmup > 0 && number >= options.warmup);
        let start = Instant::now();
        let callback_results = Arc::clone(results);
        let callback = move |result: Result<_, Error>| match result {
            Ok(_) => lock(&callback_results).delivered(start, size, is_steady),
            Err(error) => lock(&callback_results).fail(&error),
        };
        if let Err(refused) =
            producer.send_with(ProducerRecord::new(&options.topic, value), callback)
        {
            let error = Error::from(refused);
            if error.is_fatal() {
                return Err(error.to_string());
            }
            lock(results).fail(&error);
        }
        progress.show(start, results);
    }
    Ok(())
}

/// Waits for the outcome of every record. Each comes within `delivery.timeout.ms`; slow compression can extend this to at
/// most twice as long.
fn flush(
    producer: &Producer,
    results: &Mutex<Results>,
    mut progress: Progress,
) -> Result<(), Error> {
    loop {
        match producer.flush(Duration::from_secs(1)) {
            Err(error) if error.kind() == ErrorKind::Timeout => {
                progress.show(Instant::now(), results)
            }
            result => {
                progress.clear();
                return result;
            }
        }
    }
}

fn lock(results: &Mutex<Results>) -> MutexGuard<'_, Results> {
    results.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Options {
    topic: TopicName,
    num_records: u64,
    warmup: u64,
    throughput: f64,
    reporting_interval: Duration,
    payload: Payload,
    config: ProducerConfig,
}

impl Options {
    fn of(arguments: &Arguments) -> Result<Self, String> {
        let topic = arguments.required("--topic")?.to_owned().into();
        arguments.required("--num-records")?;
        arguments.required("--throughput")?;
        let num_records = arguments.number("--num-records")?.unwrap_or(0);
        let warmup = arguments.number("--warmup-records")?.unwrap_or(0);
        if num_records == 0 {
            return Err("--num-records should be greater than zero".to_owned());
        }
        if warmup >= num_records {
            return Err("--warmup-records must be fewer than --num-records".to_owned());
        }
        let throughput = arguments.number("--throughput")?.unwrap_or(-1.0);
        if throughput == 0.0 || f64::is_nan(throughput) {
            return Err(format!(
                "--throughput {throughput}: give a rate above zero, or -1 for no limit"
            ));
        }
        let reporting_interval = arguments.number("--reporting-interval")?.unwrap_or(5000);
        if reporting_interval == 0 {
            return Err("--reporting-interval should be greater than zero".to_owned());
        }
        let mut config = settings::of(
            arguments,
            "perf-producer-client",
            ["--producer-props", "--command-property"],
        )?;
        if let Some(servers) = arguments.value("--bootstrap-server") {
            settings::set(&mut config, "bootstrap.servers", servers)?;
        }
        Ok(Self {
            topic,
            num_records,
            warmup,
            throughput,
            reporting_interval: Duration::from_millis(reporting_interval),
            payload: Payload::of(arguments, &config)?,
            config,
        })
    }
}

struct Results {
    whole: Stats,
    steady: Option<Stats>,
    failed: u64,
    failures: Vec<Failure>,
}

/// Failures with the same kind and broker's code. Their texts can differ in partition and time.
struct Failure {
    kind: ErrorKind,
    broker_code: Option<i16>,
    first: String,
    count: u64,
}

impl Results {
    fn new(options: &Options) -> Self {
        let whole = Stats::new("", options.reporting_interval);
        Self {
            whole,
            steady: None,
            failed: 0,
            failures: Vec::new(),
        }
    }

    fn begin_steady_state(&mut self) {
        self.whole.is_silent = true;
        self.steady = Some(Stats::new(" steady state", self.whole.interval));
    }

    fn delivered(&mut self, start: Instant, size: usize, is_steady: bool) {
        let now = Instant::now();
        self.whole.record(now, now - start, size);
        if let Some(steady) = self.steady.as_mut().filter(|_| is_steady) {
            steady.record(now, now - start, size);
        }
    }

    fn fail(&mut self, error: &Error) {
        self.failed += 1;
        let (kind, broker_code) = (error.kind(), error.broker_code());
        let mut known = self.failures.iter_mut();
        match known.find(|known| (known.kind, known.broker_code) == (kind, broker_code)) {
            Some(known) => known.count += 1,
            None => {
                complain(error);
                self.failures.push(Failure {
                    kind,
                    broker_code,
                    first: error.to_string(),
                    count: 1,
                });
            }
        }
    }

    /// Printed when a second signal ends the program.
    fn progress(&self) -> String {
        let delivered = self.whole.latencies.len();
        format!(
            "{delivered} records were delivered and {} were not; others may be in flight",
            self.failed
        )
    }

    /// Prints how often each failure occurred. Its first occurrence was printed when it happened.
    fn print_repeated_failures(&self) {
        for failure in self.failures.iter().filter(|failure| failure.count > 1) {
            let Failure { first, count, .. } = failure;
            complain(format_args!(
                "{count} records failed for this reason: {first}"
            ));
        }
    }
}

/// Latencies in microseconds, of all records and of those since the last line.
struct Stats {
    name: &'static str,
    start: Instant,
    interval: Duration,
    is_silent: bool,
    latencies: Histogram<u64>,
    bytes: u64,
    window: Window,
}

struct Window {
    start: Instant,
    count: u64,
    bytes: u64,
    latency: Duration,
    longest: Duration,
}

impl Window {
    fn new(start: Instant) -> Self {
        Self {
            start,
            count: 0,
            bytes: 0,
            latency: Duration::ZERO,
            longest: Duration::ZERO,
        }
    }
}

impl Stats {
    fn new(name: &'static str, interval: Duration) -> Self {
        const HOUR_US: u64 = 3_600_000_000;
        let latencies =
            Histogram::new_with_max(HOUR_US, 3).expect("the bounds of the histogram are legal");
        let start = Instant::now();
        Self {
            name,
            start,
            interval,
            is_silent: false,
            latencies,
            bytes: 0,
            window: Window::new(start),
        }
    }

    fn record(&mut self, now: Instant, latency: Duration, size: usize) {
        self.latencies.saturating_record(latency.as_micros() as u64);
        self.bytes += size as u64;
        self.window.count += 1;
        self.window.bytes += size as u64;
        self.window.latency += latency;
        self.window.longest = self.window.longest.max(latency);
        if now - self.window.start >= self.interval {
            self.print_window(now);
            self.window = Window::new(now);
        }
    }

    fn print_window(&self, now: Instant) {
        let Window {
            start,
            count,
            bytes,
            latency,
            longest,
        } = &self.window;
        if !self.name.is_empty() && *count == self.latencies.len() {
            print("In steady state.");
        }
        if self.is_silent {
            return;
        }
        let seconds = (now - *start).as_secs_f64();
        print(format_args!(
            "{count} records sent, {:.1} records/sec ({:.2} MB/sec), {:.1} ms avg latency, {:.1} ms max latency.",
            *count as f64 / seconds,
            megabytes(*bytes) / seconds,
            latency.as_secs_f64() * 1000.0 / *count as f64,
            longest.as_secs_f64() * 1000.0,
        ));
    }

    fn print_total(&self) {
        let seconds = self.start.elapsed().as_secs_f64();
        let milliseconds = |quantile| self.latencies.value_at_quantile(quantile) / 1000;
        print(format_args!(
            "{}{} records sent, {:.6} records/sec ({:.2} MB/sec), {:.2} ms avg latency, {:.2} ms max latency, \
             {} ms 50th, {} ms 95th, {} ms 99th, {} ms 99.9th.",
            self.latencies.len(),
            self.name,
            self.latencies.len() as f64 / seconds,
            megabytes(self.bytes) / seconds,
            self.latencies.mean() / 1000.0,
            self.latencies.max() as f64 / 1000.0,
            milliseconds(0.5),
            milliseconds(0.95),
            milliseconds(0.99),
            milliseconds(0.999),
        ));
    }
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / (1024.0 * 1024.0)
}

/// A line on a terminal that shows the progress.
struct Progress {
    total: u64,
    due: Option<Instant>,
}

impl Progress {
    fn new(total: u64) -> Self {
        Self {
            total,
            due: stderr().is_terminal().then(Instant::now),
        }
    }

    fn show(&mut self, now: Instant, results: &Mutex<Results>) {
        const INTERVAL: Duration = Duration::from_millis(500);
        if self.due.is_none_or(|due| now < due) {
            return;
        }
        self.due = Some(now + INTERVAL);
        let delivered = lock(results).whole.latencies.len();
        let percent = 100 * delivered / self.total;
        write_stderr(format!(
            "\r{delivered} of {} records delivered ({percent} %) ",
            self.total
        ));
    }

    fn clear(&self) {
        if self.due.is_some() {
            write_stderr(format!("\r{:70}\r", ""));
        }
    }
}
