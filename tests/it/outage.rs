//! `buffer.memory` bounds the memory of the process in every outage. Each test runs in a process of its own, and the
//! operating system measures it.

use std::time::{Duration, Instant};

use kafka_producer::mock::{Fault, MockApi};
use kafka_producer::{CompressionType, ErrorKind};

use crate::support::{Bytes, builder_at, child, cluster, process, record};

const BUFFER: usize = 64 << 20;

/// The memory of a process beside `buffer.memory`: code, threads' stacks, sockets, metadata, the allocator's unused memory.
const FIXED_OVERHEAD: usize = 32 << 20;

/// The load while the brokers accept connections and answer nothing.
struct Outage {
    partitions: i32,
    record_bytes: usize,
    compression: CompressionType,
    with_callbacks: bool,
    request_timeout: Duration,
}

const PLAIN: Outage = Outage {
    partitions: 100,
    record_bytes: 500,
    compression: CompressionType::None,
    with_callbacks: false,
    request_timeout: Duration::from_secs(30),
};

#[test]
fn with_many_partitions() {
    PLAIN.assert_bounded("outage::with_many_partitions");
}

#[test]
fn with_one_partition_and_small_records() {
    let outage = Outage {
        partitions: 1,
        record_bytes: 20,
        ..PLAIN
    };
    outage.assert_bounded("outage::with_one_partition_and_small_records");
}

#[test]
fn with_ten_thousand_partitions() {
    let outage = Outage {
        partitions: 10_000,
        record_bytes: 20,
        ..PLAIN
    };
    outage.assert_bounded("outage::with_ten_thousand_partitions");
}

#[test]
fn with_large_records() {
    let outage = Outage {
        record_bytes: 900_000,
        ..PLAIN
    };
    outage.assert_bounded("outage::with_large_records");
}

#[test]
fn with_callbacks() {
    let outage = Outage {
        with_callbacks: true,
        record_bytes: 100,
        ..PLAIN
    };
    outage.assert_bounded("outage::with_callbacks");
}

/// Connections end, new ones are made, and batches that were in flight wait to be sent again.
#[test]
fn with_retries() {
    let outage = Outage {
        request_timeout: Duration::from_millis(100),
        ..PLAIN
    };
    outage.assert_bounded("outage::with_retries");
}

#[cfg(feature = "lz4")]
#[test]
fn with_lz4() {
    let outage = Outage {
        compression: CompressionType::Lz4,
        ..PLAIN
    };
    outage.assert_bounded("outage::with_lz4");
}

#[cfg(feature = "zstd")]
#[test]
fn with_zstd_and_retries() {
    let outage = Outage {
        compression: CompressionType::Zstd,
        request_timeout: Duration::from_millis(100),
        ..PLAIN
    };
    outage.assert_bounded("outage::with_zstd_and_retries");
}

impl Outage {
    fn assert_bounded(&self, test: &str) {
        match child::addresses() {
            Some(addresses) => self.run(&addresses),
            None => {
                let cluster = cluster(2, self.partitions);
                cluster.on(MockApi::Produce, |_| {
                    Fault::delay(Duration::from_secs(3600))
                });
                child::run(test, &cluster.bootstrap_servers());
            }
        }
    }

    /// Fills the buffer and keeps it full for a while, without keeping futures. The test checks the peak of the memory.
    fn run(&self, addresses: &str) {
        let before = process::resident_bytes();
        let producer = builder_at(addresses)
            .buffer_memory(BUFFER)
            .compression(self.compression)
            .linger(Duration::from_millis(5))
            .max_block(Duration::from_secs(1))
            .request_timeout(self.request_timeout)
            .build()
            .unwrap();
        let partitions = producer.partitions_for("t").unwrap().len() as i32;
        let mut random = fastrand::Rng::with_seed(1);
        let text: Bytes = std::iter::repeat_with(|| random.alphanumeric() as u8)
            .take(1 << 20)
            .collect();
        let mut sent = 0usize;
        let mut full_since = None;
        // With compression the workers free memory when they seal a batch: the buffer is full when it stays full.
        while full_since.is_none_or(|since: Instant| since.elapsed() < Duration::from_millis(700)) {
            let start = random.usize(..text.len() - self.record_bytes);
            let value = text[start..start + self.record_bytes].to_vec();
            let record = record(sent as i32 % partitions, value);
            // Only one of them may wait, and only if memory is exhausted.
            let result = match self.with_callbacks && full_since.is_none() {
                true => producer.send_with(record, move |_| assert!(sent < usize::MAX)),
                false => producer.try_send(record),
            };
            match result {
                Ok(_) => sent += 1,
                Err(refused) => {
                    assert_eq!(refused.error().kind(), ErrorKind::BufferExhausted);
                    full_since.get_or_insert_with(Instant::now);
                }
            }
        }
        let held = process::peak_resident_bytes() - before;
        let bytes = self.record_bytes;
        let message = format!("{held} bytes held for {sent} records of {bytes} bytes");
        println!("{message}");
        assert!(held <= BUFFER + FIXED_OVERHEAD, "{message}");
        assert!(sent * bytes > BUFFER / 8, "{message}");
        let _ = producer.close(Duration::ZERO);
    }
}
