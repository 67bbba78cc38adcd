//! What a producer uses while it does nothing, and what remains after its end. Each test runs in a process of its own,
//! where every thread named `kp-` and every socket belongs to the producer.

use std::net::TcpListener;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use kafka_producer::mock::{Fault, MockApi};

use crate::support::fake_broker::{FakeBootstrap, Member};
use crate::support::process::{producer_threads, resident_bytes, sockets, thread_names};
use crate::support::{
    NO_HOST, Producer, SOON, builder_at, child, cluster, deliver, eventually, record,
};

#[test]
fn a_producer_that_sends_nothing_takes_little_memory_for_every_budget() {
    const PRODUCERS: usize = 20;
    const MOST_BYTES: usize = 512 << 10;
    let Some(addresses) = child::addresses() else {
        let cluster = cluster(1, 1);
        return child::run(
            "threads::a_producer_that_sends_nothing_takes_little_memory_for_every_budget",
            &cluster.bootstrap_servers(),
        );
    };
    let build = |buffer_memory: usize| {
        let builder = builder_at(&addresses).buffer_memory(buffer_memory);
        builder.sender_threads(2).build().unwrap()
    };
    // The first producer also loads memory that belongs to none, such as the program's own pages.
    let mut producers = vec![build(32 << 20)];
    for buffer_memory in [32 << 20, 1 << 30] {
        let before = resident_bytes();
        producers.extend((0..PRODUCERS).map(|_| build(buffer_memory)));
        let each = resident_bytes().saturating_sub(before) / PRODUCERS;
        assert!(
            each < MOST_BYTES,
            "{each} bytes with buffer.memory={buffer_memory}"
        );
    }
    drop(producers);
}

#[test]
fn an_idle_producer_uses_no_cpu() {
    let Some(addresses) = child::addresses() else {
        let cluster = cluster(3, 6);
        return child::run(
            "threads::an_idle_producer_uses_no_cpu",
            &cluster.bootstrap_servers(),
        );
    };
    // The default linger, several workers, callbacks, connections to all brokers.
    let producer = builder_at(&addresses)
        .linger(Duration::from_millis(5))
        .sender_threads(2)
        .partitioner_availability_timeout(Some(Duration::from_secs(1)))
        .build()
        .unwrap();
    for index in 0..600 {
        drop(producer.send_with(record(index % 6, "v"), drop).unwrap());
    }
    producer.flush(SOON).unwrap();
    let threads = producer_threads();
    assert!(threads.len() >= 4, "{threads:?}");
    // Lets the last wake-ups of the work so far pass.
    let quiet = |window: Duration| {
        let before: u64 = producer_threads()
            .iter()
            .map(|thread| thread.switches)
            .sum();
        pass_time(window);
        let after: u64 = producer_threads()
            .iter()
            .map(|thread| thread.switches)
            .sum();
        after - before
    };
    eventually("a quiet moment", || quiet(Duration::from_millis(100)) == 0);
    let switches = quiet(Duration::from_millis(1500));
    assert!(
        switches <= 3,
        "{switches} wake-ups in 1.5 idle seconds: {:?}",
        producer_threads()
    );
    producer.close(SOON).unwrap();
}

#[test]
fn threads_and_sockets_are_gone_after_close() {
    let Some(addresses) = child::addresses() else {
        let cluster = cluster(3, 6);
        return child::run(
            "threads::threads_and_sockets_are_gone_after_close",
            &cluster.bootstrap_servers(),
        );
    };
    let before = Before::look();
    let producer = builder_at(&addresses).sender_threads(3).build().unwrap();
    let clone = producer.clone();
    for index in 0..60 {
        drop(producer.send_with(record(index % 6, "v"), drop).unwrap());
    }
    producer.flush(SOON).unwrap();
    assert!(!producer_threads().is_empty() && sockets() > before.sockets);
    producer.close(SOON).unwrap();
    before.assert_nothing_more();
    drop(clone);
}

#[test]
fn threads_and_sockets_are_gone_after_a_drop() {
    let Some(addresses) = child::addresses() else {
        let cluster = cluster(2, 2);
        return child::run(
            "threads::threads_and_sockets_are_gone_after_a_drop",
            &cluster.bootstrap_servers(),
        );
    };
    let before = Before::look();
    let producer = builder_at(&addresses)
        .linger(Duration::from_secs(60))
        .build()
        .unwrap();
    let futures = [0, 1].map(|partition| producer.send_with(record(partition, "v"), drop).unwrap());
    drop(producer);
    before.assert_nothing_more();
    for future in futures {
        future.try_get().expect("a drop delivers first").unwrap();
    }
}

#[test]
fn a_producer_that_was_never_used_leaves_nothing() {
    let Some(addresses) = child::addresses() else {
        let cluster = cluster(1, 1);
        return child::run(
            "threads::a_producer_that_was_never_used_leaves_nothing",
            &cluster.bootstrap_servers(),
        );
    };
    let before = Before::look();
    for _ in 0..20 {
        drop(builder_at(&addresses).build().unwrap());
    }
    before.assert_nothing_more();
}

#[test]
fn close_is_prompt_while_brokers_have_stopped() {
    let Some(addresses) = child::addresses() else {
        let cluster = cluster(2, 2);
        cluster.on(MockApi::Produce, |_| {
            Fault::delay(Duration::from_secs(3600))
        });
        return child::run(
            "threads::close_is_prompt_while_brokers_have_stopped",
            &cluster.bootstrap_servers(),
        );
    };
    let stuck = |producer: &Producer| {
        for index in 0..20 {
            drop(producer.send(record(index % 2, vec![1; 500_000])).unwrap());
        }
    };
    assert_close_is_prompt(&addresses, stuck);
}

#[test]
fn close_is_prompt_while_metadata_is_never_answered() {
    let Some(addresses) = child::addresses() else {
        let cluster = cluster(2, 2);
        for api in [MockApi::Metadata, MockApi::ApiVersions] {
            cluster.on(api, |_| Fault::NoAnswer);
        }
        return child::run(
            "threads::close_is_prompt_while_metadata_is_never_answered",
            &cluster.bootstrap_servers(),
        );
    };
    assert_close_is_prompt(&addresses, |producer| {
        drop(producer.try_send(record(0, "v")).unwrap_err());
    });
}

#[test]
fn close_is_prompt_while_a_listener_takes_no_connections() {
    if child::addresses().is_none() {
        return child::run(
            "threads::close_is_prompt_while_a_listener_takes_no_connections",
            "none",
        );
    }
    let (port, sockets) = crate::support::fake_broker::never_connecting();
    assert_close_is_prompt(&format!("127.0.0.1:{port}"), |producer| {
        drop(producer.try_send(record(0, "v")).unwrap_err());
    });
    drop(sockets);
}

#[test]
fn close_is_prompt_while_connections_are_refused() {
    if child::addresses().is_none() {
        return child::run(
            "threads::close_is_prompt_while_connections_are_refused",
            "none",
        );
    }
    let port = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    assert_close_is_prompt(&format!("127.0.0.1:{port}"), |producer| {
        drop(producer.try_send(record(0, "v")).unwrap_err());
    });
}

#[test]
fn close_is_prompt_while_a_brokers_name_does_not_resolve() {
    let Some(addresses) = child::addresses() else {
        let member = Member {
            id: 9,
            host: NO_HOST.to_owned(),
            port: 9092,
        };
        let bootstrap = FakeBootstrap::start(vec![member], vec![9]);
        return child::run(
            "threads::close_is_prompt_while_a_brokers_name_does_not_resolve",
            &bootstrap.address(),
        );
    };
    assert_close_is_prompt(&addresses, |producer| {
        drop(producer.send(record(0, "v")).unwrap());
    });
}

#[test]
fn a_producer_that_cannot_start_leaves_nothing() {
    if child::addresses().is_none() {
        return child::run(
            "threads::a_producer_that_cannot_start_leaves_nothing",
            "none",
        );
    }
    let before = Before::look();
    for servers in ["", "no-port", &format!("{NO_HOST}:9092")] {
        let error = builder_at(servers).build().unwrap_err();
        assert_eq!(error.kind(), kafka_producer::ErrorKind::Config, "{error}");
    }
    before.assert_nothing_more();
}

fn assert_close_is_prompt(addresses: &str, use_it: impl Fn(&Producer)) {
    let before = Before::look();
    // In whatever state the threads are: the second time they have had time to get stuck.
    for wait in [Duration::ZERO, Duration::from_millis(200)] {
        let producer = builder_at(addresses).build().unwrap();
        use_it(&producer);
        pass_time(wait);
        let start = Instant::now();
        let _ = producer.close(Duration::from_millis(100));
        assert!(
            start.elapsed() < Duration::from_secs(2),
            "{:?}",
            start.elapsed()
        );
    }
    before.assert_nothing_more();
}

/// Lets time pass without waiting for a condition.
fn pass_time(time: Duration) {
    let (_nobody, nothing) = mpsc::channel::<()>();
    let _ = nothing.recv_timeout(time);
}

#[test]
fn connections_come_and_go_without_leaving_threads_behind() {
    let Some(addresses) = child::addresses() else {
        let cluster = cluster(1, 1);
        let count = std::sync::atomic::AtomicUsize::new(0);
        cluster.on(MockApi::Produce, move |_| {
            match count.fetch_add(1, std::sync::atomic::Ordering::Relaxed) % 2 {
                0 => Fault::Disconnect,
                _ => Fault::Pass,
            }
        });
        return child::run(
            "threads::connections_come_and_go_without_leaving_threads_behind",
            &cluster.bootstrap_servers(),
        );
    };
    let producer = builder_at(&addresses).build().unwrap();
    for round in 0..100 {
        deliver(&producer, 0, round.to_string()).unwrap();
    }
    eventually("the ends of old connections' threads", || {
        producer_threads().len() <= 4
    });
    producer.close(SOON).unwrap();
}

/// What there was before the producer.
struct Before {
    threads: usize,
    sockets: usize,
}

impl Before {
    fn look() -> Self {
        Self {
            threads: thread_names().len(),
            sockets: sockets(),
        }
    }

    /// Waits: the system removes a thread from its list a moment after the thread was joined.
    fn assert_nothing_more(&self) {
        let start = Instant::now();
        eventually("the ends of all threads and sockets", || {
            producer_threads().is_empty()
                && thread_names().len() <= self.threads
                && sockets() <= self.sockets
        });
        assert!(
            start.elapsed() < Duration::from_millis(500),
            "{:?}",
            thread_names()
        );
    }
}
