//! Measures what a call costs the calling thread. It measures the time of a hundred records at once and prints the tenth percentile and the
//! median for each. Other load on the machine hardly changes the tenth percentile.
//!
//! `cargo bench --features unstable-internals --bench caller [-- part of a name [repetitions]]`

mod support;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use kafka_producer::{Acks, KafkaProducer, ProducerRecord};
use support::null_broker::{self, Checks, NullBroker};
use support::waiting::Waiting;

const PARTITIONS: i32 = 8;
const RECORD_BYTES: usize = 100;
const AT_ONCE: usize = 100;

type Producer = KafkaProducer<Vec<u8>, &'static [u8]>;

fn main() {
    null_broker::run_if_asked();
    let mut arguments = std::env::args().skip(1);
    let wanted = arguments.find(|argument| !argument.starts_with("--"));
    let wanted = wanted.unwrap_or_default();
    let repetitions = arguments.find_map(|argument| argument.parse().ok());
    let repetitions = repetitions.unwrap_or(30_000);
    let broker = NullBroker::start(PARTITIONS, Checks::Count);
    let address = broker.address().to_string();
    println!("{:<32} {:>10} {:>10}  ns a record", "", "p10", "p50");
    let value: &'static [u8] = &[b'x'; RECORD_BYTES];
    let record = || ProducerRecord::new("bench", value);
    let key = |number: usize| number.to_be_bytes().to_vec();
    let run = |name: &str, calls: &dyn Fn(&Producer, &mut VecDeque<Waiting>)| {
        if name.contains(&wanted) {
            measure(&address, name, repetitions, calls);
        }
    };
    run("send", &|producer, futures| {
        for _ in 0..AT_ONCE {
            futures.push_back(Waiting::One(
                producer.send(record()).expect("the record is accepted"),
            ));
        }
    });
    run("send, with keys", &|producer, futures| {
        for number in 0..AT_ONCE {
            let record = record().key(key(number));
            futures.push_back(Waiting::One(
                producer.send(record).expect("the record is accepted"),
            ));
        }
    });
    run("send_with", &|producer, _| {
        for _ in 0..AT_ONCE {
            let sent = producer.send_with(record(), |result| drop(result.expect("delivered")));
            sent.expect("the record is accepted");
        }
    });
    run("send_all", &|producer, waiting| {
        let sent = producer.send_all((0..AT_ONCE).map(|_| record()));
        waiting.push_back(Waiting::Many(sent.expect("the records are accepted")));
    });
}

/// Measures the time of `calls`, and the time to read their outcomes.
fn measure(
    address: &str,
    name: &str,
    repetitions: usize,
    calls: &dyn Fn(&Producer, &mut VecDeque<Waiting>),
) {
    let producer = KafkaProducer::builder()
        .bootstrap_servers(address)
        .acks(Acks::All)
        .build()
        .expect("a producer");
    let mut futures = VecDeque::new();
    let mut spans: Vec<[Duration; 2]> = Vec::with_capacity(repetitions);
    for _ in 0..repetitions {
        let start = Instant::now();
        calls(&producer, &mut futures);
        let sent = start.elapsed();
        let start = Instant::now();
        if futures.len() * futures.front().map_or(0, Waiting::records) > 20_000 {
            let mut read = 0;
            while read < AT_ONCE {
                let oldest = futures.pop_front().expect("one of many");
                read += oldest.records();
                oldest.read();
            }
            spans.push([sent, start.elapsed()]);
        } else if futures.is_empty() {
            spans.push([sent, Duration::ZERO]);
        }
    }
    for (what, index) in [("", 0), (", get", 1)] {
        spans.sort_by_key(|span| span[index]);
        let at = |percent: usize| {
            spans[spans.len() * percent / 100][index].as_nanos() as f64 / AT_ONCE as f64
        };
        println!(
            "{:<32} {:>10.1} {:>10.1}",
            format!("{name}{what}"),
            at(10),
            at(50)
        );
    }
    producer.flush(Duration::from_secs(30)).expect("delivered");
}
