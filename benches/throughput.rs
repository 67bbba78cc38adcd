//! The producer's throughput beside the floor of the same machine, in turns.
//!
//! `cargo bench --features unstable-internals --bench throughput [-- seconds]`
//!
//! Records of 100 bytes without a key, 8 partitions, `linger.ms=5`, `batch.size` 16 KiB, acks=1 without idempotence, one
//! calling thread, a broker process that only counts and answers. Every future's outcome is looked at.

mod support;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kafka_producer::{Acks, Future, KafkaProducer, ProducerRecord};
use support::cpu::process_time;
use support::floor::{self, Load};
use support::null_broker::{self, Checks, NullBroker};

const PARTITIONS: i32 = 8;
const RECORD_BYTES: usize = 100;

/// What one turn came to.
struct Turn {
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
    let span = Duration::from_secs_f64(seconds);
    println!(
        "{} cores, turns of {seconds} s",
        std::thread::available_parallelism().map_or(0, usize::from)
    );
    println!(
        "{:<32} {:>12} {:>10} {:>14} {:>10}",
        "", "M records/s", "of floor", "us CPU/record", "of floor"
    );
    let mut broker = NullBroker::start(PARTITIONS, Checks::Count);
    for _ in 0..2 {
        let floor = measure(|| floor(&broker));
        report("floor", &floor, &floor);
        report(
            "send, futures looked at",
            &measure(|| sends(&broker, span, Acks::Leader)),
            &floor,
        );
        report(
            "send_all, 100 at a time",
            &measure(|| sends_all(&broker, span)),
            &floor,
        );
        report(
            "send, acks=all, idempotence",
            &measure(|| sends(&broker, span, Acks::All)),
            &floor,
        );
    }
    assert_eq!(broker.seen().refused, 0);
}

fn measure(turn: impl FnOnce() -> (u64, Duration)) -> Turn {
    let before = process_time();
    let (records, elapsed) = turn();
    let cpu = process_time()
        .zip(before)
        .map_or(Duration::ZERO, |(after, before)| after - before);
    Turn {
        records,
        elapsed,
        cpu,
    }
}

fn report(name: &str, turn: &Turn, floor: &Turn) {
    let rate = |turn: &Turn| turn.records as f64 / turn.elapsed.as_secs_f64() / 1e6;
    let cpu = |turn: &Turn| turn.cpu.as_secs_f64() * 1e6 / turn.records as f64;
    println!(
        "{name:<32} {:>12.2} {:>10.2} {:>14.4} {:>10.1}",
        rate(turn),
        rate(turn) / rate(floor),
        cpu(turn),
        cpu(turn) / cpu(floor)
    );
}

fn floor(broker: &NullBroker) -> (u64, Duration) {
    let figures = floor::run(broker.address(), Load::default()).expect("the broker answers");
    (figures.records, figures.elapsed)
}

fn producer(broker: &NullBroker, acks: Acks) -> Producer {
    KafkaProducer::builder()
        .bootstrap_servers(broker.address().to_string())
        .acks(acks)
        .linger(Duration::from_millis(5))
        .batch_size(16 * 1024)
        .build()
        .expect("a producer")
}

fn sends(broker: &NullBroker, span: Duration, acks: Acks) -> (u64, Duration) {
    drive(producer(broker, acks), span, |producer, value, futures| {
        for _ in 0..1000 {
            let record = ProducerRecord::new("bench", Arc::clone(value));
            futures.push(producer.send(record).expect("a place"));
        }
    })
}

fn sends_all(broker: &NullBroker, span: Duration) -> (u64, Duration) {
    drive(
        producer(broker, Acks::Leader),
        span,
        |producer, value, futures| {
            for _ in 0..10 {
                let records = (0..100).map(|_| ProducerRecord::new("bench", Arc::clone(value)));
                for future in producer.send_all(records).expect("places") {
                    futures.push(future);
                }
            }
        },
    )
}

type Producer = KafkaProducer<(), Arc<[u8]>>;

/// Calls `send_thousand` over and over for `span`, and waits for the last outcome.
fn drive(
    producer: Producer,
    span: Duration,
    send_thousand: impl Fn(&Producer, &Arc<[u8]>, &mut Outcomes),
) -> (u64, Duration) {
    let value: Arc<[u8]> = vec![b'x'; RECORD_BYTES].into();
    let mut futures = Outcomes::default();
    let (started, mut sent) = (Instant::now(), 0u64);
    while started.elapsed() < span {
        send_thousand(&producer, &value, &mut futures);
        sent += 1000;
    }
    futures.check_all();
    let elapsed = started.elapsed();
    producer
        .close(Duration::from_secs(10))
        .expect("everything delivered");
    (sent, elapsed)
}

/// Looks at every outcome, some time after its record was sent, as a program does that keeps its futures.
#[derive(Default)]
struct Outcomes {
    waiting: VecDeque<Future>,
}

impl Outcomes {
    const MOST_WAITING: usize = 200_000;

    fn push(&mut self, future: Future) {
        self.waiting.push_back(future);
        if self.waiting.len() > Self::MOST_WAITING {
            self.check_oldest();
        }
    }

    fn check_oldest(&mut self) {
        if let Some(future) = self.waiting.pop_front() {
            future.get(Duration::from_secs(30)).expect("delivered");
        }
    }

    fn check_all(&mut self) {
        while !self.waiting.is_empty() {
            self.check_oldest();
        }
    }
}
