//! The loads. Each takes lanes, one for each calling thread, and returns when all that was sent has an outcome.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::options::{End, Mode, Options};
use crate::{BoxError, Lane, Latencies, Producer, Records, Report};

pub(crate) fn run<P: Producer>(options: &Options) -> Result<Report, BoxError> {
    let records = Records::new(options)?;
    let producer = P::start(options)?;
    let mut report = Report::default();
    warm_up(&producer, &records)?;
    report.resident.push(("before", resident_kib()));
    let started = Instant::now();
    (report.records, report.latencies) = match options.mode {
        Mode::Throughput | Mode::Burst => in_threads(&producer, options, &records, throughput)?,
        Mode::Paced => in_threads(&producer, options, &records, paced)?,
        Mode::Latency => in_threads(&producer, options, &records, latency)?,
        Mode::Outage => outage(&producer, options, &records, &mut report.resident)?,
    };
    report.elapsed = started.elapsed();
    if options.mode == Mode::Burst {
        thread::sleep(REST_AFTER_BURST);
        report.resident.push(("after", resident_kib()));
    }
    producer.close()?;
    report.records += 1;
    Ok(report)
}

/// After this a client that gives back what it does not need has given it back.
const REST_AFTER_BURST: Duration = Duration::from_secs(3);

/// Connections and metadata are there before time is taken. One record, which the report counts.
fn warm_up(producer: &impl Producer, records: &Records) -> Result<(), BoxError> {
    let mut lane = producer.lane()?;
    lane.send(&records.clone().next())?;
    lane.settle()
}

type Load<L> = fn(&mut L, Records, &Options) -> Result<u64, BoxError>;

/// Puts one share of a load on each thread. The number of records, and latencies if any were taken.
fn in_threads<'a, P: Producer>(
    producer: &'a P,
    options: &Options,
    records: &Records,
    load: Load<P::Lane<'a>>,
) -> Result<(u64, Latencies), BoxError> {
    let share = |number| -> Result<(u64, Latencies), BoxError> {
        let mut lane = producer.lane()?;
        let sent = load(&mut lane, records.of_thread(number), options)?;
        Ok((sent, lane.latencies()))
    };
    if options.threads == 1 {
        return share(0);
    }
    thread::scope(|scope| {
        let share = &share;
        let threads: Vec<_> = (0..options.threads)
            .map(|number| scope.spawn(move || share(number)))
            .collect();
        let mut all = (0, Latencies::default());
        for thread in threads {
            let (sent, latencies) = thread.join().expect("no panic")?;
            all.0 += sent;
            all.1.add(&latencies);
        }
        Ok(all)
    })
}

fn throughput<L: Lane>(
    lane: &mut L,
    mut records: Records,
    options: &Options,
) -> Result<u64, BoxError> {
    // Looking at the clock costs as much as sending a small record.
    let burst = ((256 << 10) / options.record_bytes.max(1)).clamp(1, 1000);
    let started = Instant::now();
    let mut sent = 0;
    while let Some(count) = more(options, sent, started, burst) {
        lane.send_burst(&mut records, count)?;
        sent += count as u64;
    }
    lane.settle()?;
    Ok(sent)
}

/// How many records come next, `most` at most; none at the load's end.
fn more(options: &Options, sent: u64, started: Instant, most: usize) -> Option<usize> {
    match options.end {
        End::Records(records) => {
            let left = (records / options.threads as u64).saturating_sub(sent);
            (left > 0).then_some(most.min(left as usize))
        }
        End::Span(span) => (started.elapsed() < span).then_some(most),
    }
}

/// Sends what has become due every millisecond. A record's latency counts from when it was due, so that a client that
/// holds up its caller does not look the better for it.
fn paced<L: Lane>(lane: &mut L, mut records: Records, options: &Options) -> Result<u64, BoxError> {
    let rate = options.rate / options.threads as f64;
    let started = Instant::now();
    let mut sent = 0u64;
    if rate == 0.0 {
        if let End::Span(span) = options.end {
            thread::sleep(span);
        }
        return Ok(0);
    }
    for tick in 1.. {
        let due = (started.elapsed().as_secs_f64() * rate) as u64;
        let Some(most) = more(options, sent, started, usize::MAX) else {
            break;
        };
        let until = due.min(sent.saturating_add(most as u64));
        while sent < until {
            let due = started + Duration::from_secs_f64(sent as f64 / rate);
            lane.send(&records.next_due(due))?;
            sent += 1;
        }
        lane.poll()?;
        thread::sleep((started + tick * TICK).saturating_duration_since(Instant::now()));
    }
    lane.settle()?;
    Ok(sent)
}

const TICK: Duration = Duration::from_millis(1);

fn latency<L: Lane>(
    lane: &mut L,
    mut records: Records,
    options: &Options,
) -> Result<u64, BoxError> {
    let started = Instant::now();
    let mut sent = 0;
    while more(options, sent, started, 1).is_some() {
        lane.send(&records.next_due(Instant::now()))?;
        lane.settle()?;
        sent += 1;
    }
    Ok(sent)
}

/// Stops the broker and sends until the client takes no more, or all records are waiting; tells of the memory in use then.
fn outage<P: Producer>(
    producer: &P,
    options: &Options,
    records: &Records,
    resident: &mut Vec<(&'static str, u64)>,
) -> Result<(u64, Latencies), BoxError> {
    signal("STOP", options.broker_process)?;
    let sent = AtomicU64::new(0);
    thread::scope(|scope| {
        let sender = scope.spawn(|| -> Result<(), BoxError> {
            let mut lane = producer.lane()?;
            let mut records = records.clone();
            while more(options, sent.load(Ordering::Relaxed), Instant::now(), 1).is_some() {
                lane.send(&records.next())?;
                sent.fetch_add(1, Ordering::Relaxed);
            }
            lane.settle()
        });
        let held = wait_for_standstill(&sent);
        resident.push(("held", resident_kib()));
        // How many records that memory is for.
        resident.push(("held_records", held));
        signal("CONT", options.broker_process)?;
        sender.join().expect("no panic")
    })?;
    Ok((sent.into_inner(), Latencies::default()))
}

/// Until nothing was sent for a second.
fn wait_for_standstill(sent: &AtomicU64) -> u64 {
    let mut before = u64::MAX;
    loop {
        let now = sent.load(Ordering::Relaxed);
        if now == before {
            return now;
        }
        before = now;
        thread::sleep(Duration::from_secs(1));
    }
}

fn signal(name: &str, process: u32) -> Result<(), BoxError> {
    if process == 0 {
        return crate::NotAvailable::because("this broker cannot be stopped");
    }
    let status = std::process::Command::new("kill")
        .args([format!("-{name}"), process.to_string()])
        .status()?;
    status
        .success()
        .then_some(())
        .ok_or_else(|| format!("kill -{name} failed").into())
}

/// 0 where there is no `/proc`.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok())
        .unwrap_or(0)
}
