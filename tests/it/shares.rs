//! Records that accumulate for a broker that accepts none leave room in `buffer.memory` for those of the other brokers.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use kafka_producer::mock::{Fault, MockApi, MockCluster};
use kafka_producer::{ErrorKind, ProducerRecord};

use crate::support::{Bytes, PATIENCE, Producer, SOON, builder, cluster, deliver, record};

/// The partition that the stuck broker leads. The leaders of the others work.
const STUCK: i32 = 1;
const BUFFER: usize = 1 << 20;

/// Three brokers, one of which accepts nothing, and a producer that knows all of them.
fn one_stuck(max_block: Duration) -> (MockCluster, Producer) {
    let cluster = cluster(3, 3);
    let producer = builder(&cluster)
        .buffer_memory(BUFFER)
        .max_block(max_block)
        .linger(Duration::from_millis(5))
        .build()
        .unwrap();
    while producer.partitions_for("t").is_err() {}
    for partition in 0..3 {
        deliver(&producer, partition, "known").unwrap();
    }
    cluster.on(MockApi::Produce, |request| match request.broker() {
        STUCK => Fault::NoAnswer,
        _ => Fault::Pass,
    });
    (cluster, producer)
}

fn value() -> Bytes {
    vec![7; 1000]
}

#[test]
fn threads_that_send_to_healthy_brokers_are_not_stopped_by_one_that_fills_the_memory() {
    let (_cluster, producer) = one_stuck(PATIENCE);
    let (stuck, done) = (AtomicUsize::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // Sends until the broker's share is full and `close` ends the wait.
            while !done.load(Ordering::Relaxed) && producer.send(record(STUCK, value())).is_ok() {
                stuck.fetch_add(1, Ordering::Relaxed);
            }
        });
        // Several times the buffer; each record waits for memory only for a short time.
        let longest = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for partition in [0, 2] {
                let (producer, longest) = (&producer, &longest);
                scope.spawn(move || {
                    let mut last = None;
                    for _ in 0..5000 {
                        let start = Instant::now();
                        last = Some(producer.send(record(partition, value())).unwrap());
                        longest.fetch_max(start.elapsed().as_millis() as usize, Ordering::Relaxed);
                    }
                    last.unwrap().get(SOON).unwrap();
                });
            }
        });
        let longest = longest.load(Ordering::Relaxed);
        assert!(longest < SOON.as_millis() as usize, "{longest} ms");
        done.store(true, Ordering::Relaxed);
        let _ = producer.close(Duration::ZERO);
    });
    let stuck = stuck.load(Ordering::Relaxed);
    assert!(
        stuck * 1000 > BUFFER / 8 && stuck * 1000 < BUFFER * 3 / 4,
        "{stuck} records of 1000 bytes for the broker that accepts none"
    );
}

#[test]
fn records_without_a_key_avoid_a_broker_that_accepts_nothing() {
    let (_cluster, producer) = one_stuck(PATIENCE);
    let start = Instant::now();
    for _ in 0..10_000 {
        drop(producer.send(ProducerRecord::new("t", value())).unwrap());
    }
    assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
    let _ = producer.close(Duration::ZERO);
}

#[test]
fn the_error_distinguishes_a_full_share_from_a_full_buffer() {
    let (_cluster, producer) = one_stuck(Duration::from_millis(50));
    let error = loop {
        if let Err(refused) = producer.send(record(STUCK, value())) {
            break refused.into_parts().0;
        }
    };
    assert_eq!(error.kind(), ErrorKind::BufferExhausted);
    let message = error.to_string();
    assert!(message.contains("for broker 1"), "{message}");
    deliver(&producer, 0, "still sent").unwrap();
    let _ = producer.close(Duration::ZERO);
}

#[test]
fn records_that_waited_for_their_brokers_share_are_sent_when_it_recovers() {
    let (cluster, producer) = one_stuck(PATIENCE);
    let producer = &producer;
    std::thread::scope(|scope| {
        let sender = scope.spawn(move || {
            let send = |_| producer.send(record(STUCK, value())).unwrap();
            (0..3000).map(send).collect::<Vec<_>>()
        });
        assert!(cluster.wait_until(PATIENCE, |cluster| {
            let requests = cluster.requests();
            let produce = requests.iter().filter(|one| one.api == MockApi::Produce);
            produce.filter(|one| one.broker == STUCK).count() > 1
        }));
        cluster.remove_all_hooks();
        cluster.disconnect(STUCK);
        for future in sender.join().unwrap() {
            future.get(PATIENCE).unwrap();
        }
    });
    assert_eq!(cluster.records("t", STUCK).len(), 3001);
}
