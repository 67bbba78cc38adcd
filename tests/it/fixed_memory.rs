//! The bytes that a producer allocates beyond `buffer.memory`, counted exactly by an allocator.
//!
//! Each test runs its producer in a process of its own. The cluster is in the parent process.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use kafka_producer::ErrorKind;
use kafka_producer::mock::{Fault, MockApi};

use crate::support::{Builder, Producer, builder_at, child, cluster, record};

const BUFFER: usize = 8 << 20;

/// The bytes for the producer: what its threads share, the metadata thread, its connection.
const FIXED: usize = 64 << 10;

/// The bytes for each sender thread: its structures, its channels, its connections.
const FOR_EACH_THREAD: usize = 64 << 10;

/// The bytes for each partition of the topics that the producer sends to: its metadata, its state, its state at the worker.
const FOR_EACH_PARTITION: usize = 1 << 10;

/// The buffers that are kept for later batches.
const POOL: usize = BUFFER / 16;

/// The bytes that callbacks may send beyond the budget.
const CALLBACK_ALLOWANCE: usize = 64 << 10;

/// Counts the bytes that the whole process allocates, without stacks and without the allocator's overhead for each block.
struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static COUNTING: Counting = Counting;

// Every call is passed on to the system's allocator with its own arguments.
#[allow(unsafe_code, reason = "an allocator is unsafe to implement")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Both blocks exist while the content is moved.
        count(size);
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.realloc(block, layout, size) }
    }
}

fn count(bytes: usize) {
    let held = HELD.fetch_add(bytes, Ordering::Relaxed) + bytes;
    PEAK.fetch_max(held, Ordering::Relaxed);
}

fn held() -> usize {
    HELD.load(Ordering::Relaxed)
}

/// How a buffer is filled while no broker answers.
struct Load {
    partitions: usize,
    record_bytes: usize,
    batch_size: usize,
    sender_threads: usize,
    with_callbacks: bool,
    /// The Produce requests that a broker answers first.
    answered: usize,
}

const MANY_PARTITIONS: Load = Load {
    partitions: 10_000,
    record_bytes: 100,
    batch_size: 16 << 10,
    sender_threads: 1,
    with_callbacks: false,
    answered: 0,
};

#[test]
fn an_idle_producer_takes_the_same_for_every_buffer_size() {
    let test = "an_idle_producer_takes_the_same_for_every_buffer_size";
    in_child(test, 1, 0, |addresses| {
        for sender_threads in [1, 4] {
            for buffer in [BUFFER, 1 << 30] {
                let config = builder_at(addresses)
                    .sender_threads(sender_threads)
                    .buffer_memory(buffer);
                let (producer, before) = build(config);
                assert_at_most(
                    FIXED + sender_threads * FOR_EACH_THREAD,
                    held() - before,
                    "idle",
                );
                drop(producer);
            }
        }
    });
}

#[test]
fn a_full_buffer_of_many_partitions() {
    MANY_PARTITIONS.assert_bounded("a_full_buffer_of_many_partitions");
}

#[test]
fn a_full_buffer_of_several_threads() {
    let load = Load {
        partitions: 1000,
        sender_threads: 4,
        ..MANY_PARTITIONS
    };
    load.assert_bounded("a_full_buffer_of_several_threads");
}

/// Each record is a batch: the most structures for the fewest bytes.
#[test]
fn a_full_buffer_of_the_smallest_batches() {
    let load = Load {
        partitions: 10,
        record_bytes: 1,
        batch_size: 1,
        ..MANY_PARTITIONS
    };
    load.assert_bounded("a_full_buffer_of_the_smallest_batches");
}

#[test]
fn a_full_buffer_with_callbacks() {
    let load = Load {
        partitions: 10,
        record_bytes: 1,
        with_callbacks: true,
        ..MANY_PARTITIONS
    };
    load.assert_bounded("a_full_buffer_with_callbacks");
}

#[test]
fn a_full_buffer_after_much_was_delivered() {
    let load = Load {
        partitions: 10,
        record_bytes: 1000,
        answered: 300,
        ..MANY_PARTITIONS
    };
    load.assert_bounded("a_full_buffer_after_much_was_delivered");
}

/// The bytes of TLS for each connection: an encrypted copy of 64 KiB of a request and its making, and the state of the
/// TLS library.
#[cfg(feature = "mock-tls")]
const TLS_FOR_EACH_CONNECTION: usize = 256 << 10;

/// The bytes of TLS for the producer: the certificates that it trusts, sessions to resume.
#[cfg(feature = "mock-tls")]
const TLS_FIXED: usize = 128 << 10;

/// The brokers read nothing from the first record on, so each connection holds encrypted bytes that its socket does not take.
#[cfg(feature = "mock-tls")]
#[test]
fn a_full_buffer_of_brokers_with_tls_that_read_nothing() {
    const AUTHORITY: &str = "KAFKA_PRODUCER_IT_AUTHORITY";
    const BROKERS: usize = 8;
    let load = Load {
        partitions: BROKERS,
        record_bytes: 100_000,
        batch_size: 1 << 20,
        ..MANY_PARTITIONS
    };
    if let Some(addresses) = child::addresses() {
        let authority = std::env::var(AUTHORITY).unwrap();
        let settings = [
            ("security.protocol", "SSL"),
            ("ssl.truststore.certificates", &*authority),
            ("send.buffer.bytes", "65536"),
        ];
        let config = crate::support::with(load.config(&addresses), &settings);
        // One connection to each broker, and the one on which the producer learned of them.
        let tls = TLS_FIXED + (BROKERS + 1) * TLS_FOR_EACH_CONNECTION;
        return load.run(config, tls);
    }
    let cluster = crate::support::tls_cluster(BROKERS, BROKERS as i32);
    cluster.on(MockApi::Produce, |_| {
        Fault::delay(Duration::from_secs(3600))
    });
    let test = "fixed_memory::a_full_buffer_of_brokers_with_tls_that_read_nothing";
    let authority = cluster.ca_pem();
    let variables = [(AUTHORITY, &*authority)];
    child::run_with(test, &cluster.bootstrap_servers(), &variables);
}

impl Load {
    fn assert_bounded(&self, test: &str) {
        in_child(test, self.partitions, self.answered, |addresses| {
            self.run(self.config(addresses), 0);
        });
    }

    fn config(&self, addresses: &str) -> Builder {
        builder_at(addresses)
            .sender_threads(self.sender_threads)
            .buffer_memory(BUFFER)
            .batch_size(self.batch_size)
            .linger(Duration::from_millis(5))
            .max_block(Duration::from_secs(1))
    }

    /// `more` is what the producer may take besides.
    fn run(&self, config: Builder, more: usize) {
        let (producer, before) = build(config);
        while producer.partitions_for("t").is_err() {}
        let known = more
            + FIXED
            + self.sender_threads * FOR_EACH_THREAD
            + self.partitions * FOR_EACH_PARTITION;
        assert_at_most(known, held() - before, "with metadata");
        // Metadata is decoded before this: its response is held beside it for a moment.
        PEAK.store(held(), Ordering::Relaxed);
        let sent = self.fill(&producer);
        let peak = PEAK.load(Ordering::Relaxed) - before;
        assert_at_most(BUFFER + POOL + CALLBACK_ALLOWANCE + known, peak, "full");
        assert!(
            sent * self.record_bytes.max(1000) > BUFFER / 2,
            "{sent} records"
        );
        let _ = producer.close(Duration::ZERO);
    }

    /// Sends until no memory is free, and for a while after that. Returns the number of records.
    fn fill(&self, producer: &Producer) -> usize {
        let (mut sent, mut full_since, mut was_full) = (0, None, false);
        for partition in (0..self.partitions as i32).cycle() {
            let record = record(partition, vec![b'v'; self.record_bytes]);
            // A record with a callback may wait for memory. So later records have no callback once the buffer was full.
            let result = match self.with_callbacks && !was_full {
                true => producer.send_with(record, move |_| assert!(sent < usize::MAX)),
                false => producer.try_send(record),
            };
            match result {
                Ok(_) => (sent, full_since) = (sent + 1, None),
                Err(refused) => {
                    assert_eq!(refused.error().kind(), ErrorKind::BufferExhausted);
                    full_since.get_or_insert_with(Instant::now);
                    was_full = true;
                }
            }
            if full_since.is_some_and(|since: Instant| since.elapsed() > FULL_FOR) {
                break;
            }
        }
        sent
    }
}

/// The time after which a buffer without room for a record stays full.
const FULL_FOR: Duration = Duration::from_millis(500);

/// Runs `test` in a process of its own. The cluster answers the first `answered` Produce requests and no others.
fn in_child(test: &str, partitions: usize, answered: usize, run: impl FnOnce(&str)) {
    if let Some(addresses) = child::addresses() {
        return run(&addresses);
    }
    let cluster = cluster(2, partitions as i32);
    let requests = AtomicUsize::new(0);
    cluster.on(MockApi::Produce, move |_| {
        match requests.fetch_add(1, Ordering::Relaxed) < answered {
            true => Fault::Pass,
            false => Fault::NoAnswer,
        }
    });
    child::run(
        &format!("fixed_memory::{test}"),
        &cluster.bootstrap_servers(),
    );
}

/// A producer, and the number of bytes that were allocated before it was built.
fn build(config: Builder) -> (Producer, usize) {
    let before = held();
    (config.build().unwrap(), before)
}

#[track_caller]
fn assert_at_most(most: usize, bytes: usize, when: &str) {
    println!("{when}: {bytes} bytes, {most} allowed");
    assert!(bytes <= most, "{when}: {bytes} bytes, {most} allowed");
}
