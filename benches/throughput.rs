//! The producer's throughput and the floor of the same machine, measured one after the other.
//!
//! `cargo bench --features unstable-internals,mock --bench throughput [-- seconds [part of a measurement's name]]`
//!
//! Records of 100 bytes without a key, 8 partitions, `linger.ms=5`, `batch.size` 16 KiB, acks=1 without idempotence, one
//! calling thread, a broker process that only counts and answers. Every future's outcome is read. The last run is against
//! the mock cluster, which keeps nothing and runs in the producer's process, so its CPU time counts, too.

mod support;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use kafka_producer::mock::MockCluster;
use kafka_producer::{Acks, KafkaProducer, ProducerRecord};
use support::cpu::process_time;
use support::floor::{self, Load};
use support::null_broker::{self, Checks, NullBroker};
use support::waiting::Waiting;

const PARTITIONS: i32 = 8;
const VALUE: &[u8] = &[b'x'; 100];

/// The result of one run.
struct Measurement {
    records: u64,
    elapsed: Duration,
    cpu: Duration,
}

fn main() {
    null_broker::run_if_asked();
    let seconds = std::env::args()
        .skip(1)
        .find_map(|argument| argument.parse().ok())
        .unwrap_or(3.0);
    let wanted = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with("--") && argument.parse::<f64>().is_err());
    let wanted = wanted.unwrap_or_default();
    let span = Duration::from_secs_f64(seconds);
    println!(
        "{} cores, measurements of {seconds} s",
        std::thread::available_parallelism().map_or(0, usize::from)
    );
    println!(
        "{:<32} {:>12} {:>10} {:>14} {:>10}",
        "", "M records/s", "of floor", "us CPU/record", "of floor"
    );
    let mut broker = NullBroker::start(PARTITIONS, Checks::Count);
    let address = broker.address().to_string();
    let mock = MockCluster::builder()
        .retain_records(false)
        .check_batches(false)
        .default_partitions(PARTITIONS)
        .start()
        .expect("a mock cluster");
    for _ in 0..2 {
        let floor = measure(|| floor(&broker));
        let run = |name: &str, load: &dyn Fn() -> (u64, Duration)| {
            if name.contains(&wanted) {
                report(name, &measure(load), &floor);
            }
        };
        report("floor", &floor, &floor);
        run("send, futures looked at", &|| {
            sends(&address, span, Acks::Leader)
        });
        run("send_all, 100 at a time", &|| sends_all(&address, span));
        run("send, acks=all, idempotence", &|| {
            sends(&address, span, Acks::All)
        });
        run("send, mock cluster", &|| {
            sends(&mock.bootstrap_servers(), span, Acks::All)
        });
    }
    assert_eq!(broker.seen().refused, 0);
}

fn measure(load: impl FnOnce() -> (u64, Duration)) -> Measurement {
    let before = process_time();
    let (records, elapsed) = load();
    let cpu = process_time()
        .zip(before)
        .map_or(Duration::ZERO, |(after, before)| after - before);
    Measurement {
        records,
        elapsed,
        cpu,
    }
}

fn report(name: &str, measurement: &Measurement, floor: &Measurement) {
    let rate = |of: &Measurement| of.records as f64 / of.elapsed.as_secs_f64() / 1e6;
    let cpu = |of: &Measurement| of.cpu.as_secs_f64() * 1e6 / of.records as f64;
    println!(
        "{name:<32} {:>12.2} {:>10.2} {:>14.4} {:>10.1}",
        rate(measurement),
        rate(measurement) / rate(floor),
        cpu(measurement),
        cpu(measurement) / cpu(floor)
    );
}

fn floor(broker: &NullBroker) -> (u64, Duration) {
    let figures = floor::run(broker.address(), Load::default()).expect("the broker answers");
    (figures.records, figures.elapsed)
}

fn producer(bootstrap_servers: &str, acks: Acks) -> Producer {
    KafkaProducer::builder()
        .bootstrap_servers(bootstrap_servers)
        .acks(acks)
        .linger(Duration::from_millis(5))
        .batch_size(16 * 1024)
        .build()
        .expect("a producer")
}

fn sends(bootstrap_servers: &str, span: Duration, acks: Acks) -> (u64, Duration) {
    drive(
        producer(bootstrap_servers, acks),
        span,
        |producer, outcomes| {
            for _ in 0..1000 {
                let record = ProducerRecord::new("bench", VALUE);
                let future = producer.send(record).expect("the record is accepted");
                outcomes.waiting.push_back(Waiting::One(future));
            }
        },
    )
}

fn sends_all(bootstrap_servers: &str, span: Duration) -> (u64, Duration) {
    drive(
        producer(bootstrap_servers, Acks::Leader),
        span,
        |producer, outcomes| {
            for _ in 0..10 {
                let records = (0..100).map(|_| ProducerRecord::new("bench", VALUE));
                let futures = producer
                    .send_all(records)
                    .expect("the records are accepted");
                outcomes.waiting.push_back(Waiting::Many(futures));
            }
        },
    )
}

type Producer = KafkaProducer<(), &'static [u8]>;

/// Calls `send_thousand` again and again for `span`, and waits for the last outcome.
fn drive(
    producer: Producer,
    span: Duration,
    send_thousand: impl Fn(&Producer, &mut Outcomes),
) -> (u64, Duration) {
    let mut outcomes = Outcomes::default();
    let (started, mut sent) = (Instant::now(), 0u64);
    while started.elapsed() < span {
        send_thousand(&producer, &mut outcomes);
        sent += 1000;
        outcomes.read_complete();
    }
    outcomes.read_all();
    let elapsed = started.elapsed();
    producer
        .close(Duration::from_secs(10))
        .expect("everything delivered");
    (sent, elapsed)
}

/// Reads every outcome, as a program that keeps its futures does.
#[derive(Default)]
struct Outcomes {
    waiting: VecDeque<Waiting>,
}

impl Outcomes {
    fn read_complete(&mut self) {
        while self.waiting.front().is_some_and(Waiting::is_done) {
            self.waiting.pop_front().into_iter().for_each(Waiting::read);
        }
    }

    fn read_all(&mut self) {
        self.waiting.drain(..).for_each(Waiting::read);
    }
}
