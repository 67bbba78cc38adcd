//! Measures the floor of this machine: what encoding, CRC and writing alone cost (see `support/floor.rs`).
//!
//! `cargo bench --features unstable-internals --bench floor`

mod support;

use std::time::Duration;

use support::cpu::process_time;
use support::floor::{self, Load};
use support::null_broker::{self, Checks, NullBroker};

fn main() {
    null_broker::run_if_asked();
    let load = Load::default();
    let mut broker = NullBroker::start(load.partitions as i32, Checks::Count);
    println!(
        "floor: records of {} bytes, {} partitions, batches of {} bytes, acks=1, {} requests in flight",
        load.record_bytes, load.partitions, load.batch_bytes, load.in_flight
    );
    let mut sent = 0;
    for _ in 0..3 {
        let (cpu_before, broker_before) = (process_time(), broker.cpu_time());
        let figures = floor::run(broker.address(), load).expect("the broker answers");
        sent += figures.records;
        let us_per_record = |after: Option<Duration>, before: Option<Duration>| {
            let cpu_time = after.zip(before).map(|(after, before)| after - before);
            cpu_time.map_or(f64::NAN, |cpu_time| {
                cpu_time.as_secs_f64() * 1e6 / figures.records as f64
            })
        };
        println!(
            "  {:.1} M records/s, {:.4} us of CPU a record (the broker: {:.4})",
            figures.records as f64 / figures.elapsed.as_secs_f64() / 1e6,
            us_per_record(process_time(), cpu_before),
            us_per_record(broker.cpu_time(), broker_before)
        );
    }
    let seen = broker.seen();
    assert_eq!(
        seen.records, sent,
        "the broker did not count the records that were sent: {seen:?}"
    );
}
