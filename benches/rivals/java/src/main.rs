//! The driver of Java's producer: runs Kafka's own ProducerPerformance and reads what it prints. That has one thread, which
//! sends as fast as it can or so many records a second, and a callback for each record.
//!
//! A virtual machine compiles while it runs: in the first seconds a record costs it four times what it does later. So every
//! run begins with records that are not counted, the run that tells of the start-up cost too.
//!
//! Kafka's jars are in the folder that the variable RIVALS_KAFKA_LIBS names.

use std::process::{Command, ExitCode, Output};
use std::time::Duration;

use drive::{Acks, BoxError, End, Mode, NotAvailable, Options, Report, Spread};

fn main() -> ExitCode {
    drive::print(Options::from_arguments().and_then(|options| run(&options)))
}

fn run(options: &Options) -> Result<Report, BoxError> {
    if let Some(reason) = not_available(options) {
        return NotAvailable::because(format!("ProducerPerformance {reason}"));
    }
    let (warm_up, records) = (warm_up_count(options), record_count(options));
    let output = command(options, warm_up, records).output()?;
    let printed = String::from_utf8_lossy(&output.stdout);
    let steady = |line: &&str| line.contains(" steady state records sent");
    let total = printed.lines().filter(steady).find_map(Total::parse);
    match total {
        // It prints the errors of records and goes on, but does not count these records.
        Some(total) if total.records == records && output.status.success() => {
            Ok(total.report(options.mode, warm_up))
        }
        _ => Err(complaint(&output).into()),
    }
}

fn not_available(options: &Options) -> Option<&'static str> {
    match options.mode {
        Mode::Latency => return Some("does not wait for each record"),
        Mode::Outage | Mode::Burst => return Some("does not tell of its memory"),
        Mode::Paced if options.rate == 0.0 => return Some("cannot be idle"),
        Mode::Throughput | Mode::Paced => {}
    }
    if options.threads > 1 {
        Some("has one thread")
    } else if options.keys > 0 {
        Some("has no keys")
    } else if options.headers > 0 {
        Some("has no headers")
    } else {
        None
    }
}

/// It wants a number of records, not a time.
fn record_count(options: &Options) -> u64 {
    match options.end {
        End::Records(records) => records,
        End::Span(span) => (per_second(options) * span.as_secs_f64()).max(1.0) as u64,
    }
}

/// The same for each run of a job, so that what it costs can be taken off.
fn warm_up_count(options: &Options) -> u64 {
    const SECONDS: f64 = 5.0;
    (per_second(options) * SECONDS).max(1.0) as u64
}

/// About what Java sends on two cores.
fn per_second(options: &Options) -> f64 {
    if options.mode == Mode::Paced {
        return options.rate;
    }
    let bytes_per_second = match options.codec.as_str() {
        "none" => 300e6,
        "gzip" => 20e6,
        _ => 100e6,
    };
    (bytes_per_second / options.record_bytes.max(1) as f64).min(1e6)
}

fn command(options: &Options, warm_up: u64, records: u64) -> Command {
    let libs = std::env::var("RIVALS_KAFKA_LIBS").unwrap_or_else(|_| ".".to_owned());
    let throughput = match options.mode {
        Mode::Paced => (options.rate as i64).to_string(),
        _ => "-1".to_owned(),
    };
    let mut command = Command::new("java");
    command
        .args(["-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "-cp"])
        .arg(format!("{libs}/*"))
        .arg("org.apache.kafka.tools.ProducerPerformance")
        .args([
            "--bootstrap-server",
            &options.bootstrap,
            "--topic",
            &options.topic,
        ])
        .args([
            "--num-records",
            &(warm_up + records).to_string(),
            "--warmup-records",
            &warm_up.to_string(),
            "--throughput",
            &throughput,
        ])
        .arg("--payload-file")
        .arg(&options.payload)
        .arg("--command-property")
        .args(properties(options));
    command
}

fn properties(options: &Options) -> Vec<String> {
    let acks = match options.acks {
        Acks::None => "0",
        Acks::Leader => "1",
        Acks::All => "all",
    };
    let mut properties = vec![
        format!("acks={acks}"),
        format!("enable.idempotence={}", options.idempotence),
        format!("linger.ms={}", options.linger.as_millis()),
        format!("batch.size={}", options.batch_bytes),
        format!("buffer.memory={}", options.buffer_bytes),
        format!(
            "max.in.flight.requests.per.connection={}",
            options.in_flight
        ),
        format!(
            "max.request.size={}",
            (1 << 20).max(options.record_bytes + 4096)
        ),
        format!("compression.type={}", options.codec),
    ];
    let tls = options.tls_properties();
    properties.extend(tls.iter().map(|(name, value)| format!("{name}={value}")));
    if options.spread == Spread::RoundRobin {
        let class = "org.apache.kafka.clients.producer.RoundRobinPartitioner";
        properties.push(format!("partitioner.class={class}"));
    }
    properties
}

/// Its line on the records behind the warm-up.
struct Total {
    records: u64,
    per_second: f64,
    /// The 50th, 99th and 99.9th, in whole milliseconds.
    percentiles: [f64; 3],
}

impl Total {
    /// "5000000 steady state records sent, 1234567.8 records/sec (117.74 MB/sec), 1.23 ms avg latency, 30.00 ms max latency, 1 ms 50th,
    /// 2 ms 95th, 5 ms 99th, 9 ms 99.9th."
    fn parse(line: &str) -> Option<Self> {
        let (records, rest) = line.split_once(" steady state records sent, ")?;
        let (per_second, rest) = rest.split_once(" records/sec")?;
        let percentile = |name: &str| -> Option<f64> {
            let part = rest
                .split(", ")
                .find(|part| part.trim_end_matches('.').ends_with(name))?;
            part.split_once(" ms ")?.0.parse().ok()
        };
        Some(Self {
            records: records.trim().parse().ok()?,
            per_second: per_second.parse().ok()?,
            percentiles: [
                percentile(" 50th")?,
                percentile(" 99th")?,
                percentile(" 99.9th")?,
            ],
        })
    }

    fn report(&self, mode: Mode, warm_up: u64) -> Report {
        Report {
            records: self.records,
            warm_up,
            elapsed: Duration::from_secs_f64(self.records as f64 / self.per_second),
            // Of a load without a pace they tell how long the queue is.
            percentiles_ms: (mode == Mode::Paced).then_some(self.percentiles),
            ..Report::default()
        }
    }
}

fn complaint(output: &Output) -> String {
    let last = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        let line = text.lines().rfind(|line| !line.trim().is_empty());
        line.unwrap_or_default().to_owned()
    };
    format!(
        "ProducerPerformance ended with {}: {} {}",
        output.status,
        last(&output.stdout),
        last(&output.stderr)
    )
}
