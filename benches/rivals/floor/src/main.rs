//! The floor as a driver. It has no queue, no thread and no settings to speak of: whatever the others are asked for, it sends
//! records of the same size in batches of the same size, one for each partition in each request.

#[path = "../../../support/mod.rs"]
mod support;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use drive::{BoxError, End, Latencies, Mode, NotAvailable, Options, Report};
use support::floor::{self, Load};

fn main() -> ExitCode {
    drive::print(Options::from_arguments().and_then(|options| run(&options)))
}

fn run(options: &Options) -> Result<Report, BoxError> {
    if options.codec != "none" {
        return NotAvailable::because("the floor does not compress");
    }
    if options.tls_authority.is_some() {
        return NotAvailable::because("the floor does not encrypt");
    }
    let broker = options.bootstrap.parse()?;
    match options.mode {
        Mode::Throughput => throughput(broker, options),
        Mode::Latency => latency(broker, options),
        _ => NotAvailable::because("the floor has no queue to wait in"),
    }
}

/// More would not fit a request; fewer batches in it would be dearer.
const MOST_PARTITIONS: i32 = 32;

fn load(options: &Options) -> Load {
    const BATCH_OVERHEAD: usize = 128;
    let batch_bytes = options
        .batch_bytes
        .max(options.record_bytes + BATCH_OVERHEAD);
    let batches = ((1 << 20) / batch_bytes).max(1);
    Load {
        topic: options.topic.clone().leak(),
        records: 1,
        record_bytes: options.record_bytes,
        batch_bytes,
        partitions: batches.min(options.partitions.min(MOST_PARTITIONS) as usize),
        in_flight: options.in_flight,
    }
}

fn throughput(broker: SocketAddr, options: &Options) -> Result<Report, BoxError> {
    const LEAST_RUN: Duration = Duration::from_millis(200);
    let mut report = Report::default();
    let mut load = load(options);
    load.records = match options.end {
        End::Records(records) => records,
        End::Span(_) => 1000,
    };
    loop {
        let figures = floor::run(broker, load)?;
        report.records += figures.records;
        report.elapsed += figures.elapsed;
        match options.end {
            End::Span(span) if report.elapsed < span => {}
            _ => return Ok(report),
        }
        // A run is long enough that its beginning and end do not count, however slow the link.
        if figures.elapsed < LEAST_RUN {
            load.records *= 2;
        }
    }
}

/// Each thread has a socket of its own.
fn latency(broker: SocketAddr, options: &Options) -> Result<Report, BoxError> {
    let all = Mutex::new(Report::default());
    let load = load(options);
    let started = Instant::now();
    let one_thread = || -> Result<(), BoxError> {
        let mut latencies = Latencies::default();
        let mut count = 0;
        floor::round_trips(broker, load, |took: Duration| {
            latencies.record(took);
            count += 1;
            match options.end {
                End::Records(records) => count < records / options.threads as u64,
                End::Span(span) => started.elapsed() < span,
            }
        })?;
        let mut all = all.lock().unwrap();
        all.latencies.add(&latencies);
        all.records += count;
        Ok(())
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..options.threads)
            .map(|_| scope.spawn(one_thread))
            .collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().expect("no panic"))
    })?;
    let mut report = all.into_inner().unwrap();
    report.elapsed = started.elapsed();
    Ok(report)
}
