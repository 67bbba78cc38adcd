//! Work whose instructions `benches/instructions.sh` counts: unlike times, they do not vary with the machine's load.
//!
//! `cargo bench --features unstable-internals --bench instructions -- append|seal|send TIMES`
//!
//! TIMES is the number of operations: `append` encodes records of 100 bytes, `seal` seals batches of 16 KiB, `send` sends
//! records from this thread and reads their outcomes.

mod support;

use std::hint::black_box;
use std::time::Duration;

use kafka_producer::internals::Batch;
use kafka_producer::{Acks, KafkaProducer, ProducerRecord};
use support::null_broker::{self, Checks, NullBroker};

const BATCH_BYTES: usize = 16 << 10;
const TIMESTAMP_MS: i64 = 1_700_000_000_000;
const VALUE: &[u8] = &[b'x'; 100];

fn main() {
    null_broker::run_if_asked();
    let mut arguments = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with("--"));
    let what = arguments.next();
    let times = arguments.next().and_then(|times| times.parse().ok());
    match (what.as_deref(), times) {
        (Some("append"), Some(times)) => append(times),
        (Some("seal"), Some(times)) => seal(times),
        (Some("send"), Some(times)) => send(times),
        _ => println!("usage: instructions append|seal|send TIMES"),
    }
}

fn append(mut times: usize) {
    let mut buffer = Vec::with_capacity(BATCH_BYTES);
    while times > 0 {
        let mut batch = Batch::new(std::mem::take(&mut buffer));
        while times > 0 && batch.append(TIMESTAMP_MS, None, black_box(VALUE)) {
            times -= 1;
        }
        buffer = batch.into_parts().1;
    }
}

fn seal(times: usize) {
    let mut batch = Batch::new(Vec::with_capacity(BATCH_BYTES));
    while batch.append(TIMESTAMP_MS, None, VALUE) {}
    let (header, mut bytes) = batch.into_parts();
    for _ in 0..times {
        header.seal(black_box(&mut bytes));
    }
}

fn send(times: usize) {
    let broker = NullBroker::start(8, Checks::Count);
    let producer = KafkaProducer::<(), &[u8]>::builder()
        .bootstrap_servers(broker.address().to_string())
        .acks(Acks::All)
        .build()
        .expect("a producer");
    let patience = Duration::from_secs(60);
    let futures: Vec<_> = (0..times)
        .map(|_| {
            let record = ProducerRecord::new("bench", black_box(VALUE));
            producer.send(record).expect("the record is accepted")
        })
        .collect();
    producer.flush(patience).expect("delivered");
    for future in futures {
        future.get(patience).expect("delivered");
    }
}
