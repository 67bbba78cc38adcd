//! Measures the floor of this machine: what encoding, CRC and writing alone cost (see `support/floor.rs`).
//!
//! `cargo bench --features unstable-internals --bench floor`

mod support;

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
        let cpu_before = process_time();
        let figures = floor::run(broker.address(), load).expect("the broker answers");
        sent += figures.records;
        let cpu = process_time()
            .zip(cpu_before)
            .map(|(after, before)| after - before);
        let records = figures.records as f64;
        println!(
            "  {:.1} M records/s, {:.4} us of CPU a record",
            records / figures.elapsed.as_secs_f64() / 1e6,
            cpu.map_or(f64::NAN, |cpu| cpu.as_secs_f64() * 1e6 / records)
        );
    }
    let seen = broker.seen();
    assert_eq!(
        seen.records, sent,
        "the broker counted other records than were sent: {seen:?}"
    );
}
