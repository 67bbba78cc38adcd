//! Faults of brokers while records are sent: no record is lost or duplicated, and each partition keeps its order.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use kafka_producer::Future;

use crate::Tests;
use crate::producing::{
    BytesProducer, SOON, assert_holds, assert_sequence, numbered, outcome, producer, record,
};
use crate::support::kafka::{KafkaCluster, Replicas};

pub(crate) const TESTS: Tests = &[
    (
        "a_missing_topic_is_created_if_brokers_do_so",
        a_missing_topic_is_created_if_brokers_do_so,
    ),
    (
        "a_hung_broker_does_not_slow_the_others",
        a_hung_broker_does_not_slow_the_others,
    ),
    (
        "nothing_is_lost_or_twice_while_leaders_move",
        nothing_is_lost_or_twice_while_leaders_move,
    ),
    (
        "nothing_is_lost_or_twice_when_a_leader_is_killed",
        nothing_is_lost_or_twice_when_a_leader_is_killed,
    ),
    (
        "nothing_is_lost_or_twice_when_a_leader_hangs",
        nothing_is_lost_or_twice_when_a_leader_hangs,
    ),
    (
        "nothing_is_lost_or_twice_through_a_rolling_restart",
        nothing_is_lost_or_twice_through_a_rolling_restart,
    ),
];

pub(crate) fn a_missing_topic_is_created_if_brokers_do_so(kafka: &KafkaCluster) {
    let topic = "faults-auto-created";
    let producer = producer(kafka, &[]);
    let metadata = outcome(&producer, record(topic, "first of its kind")).expect("a delivery");
    assert_holds(
        kafka,
        topic,
        &[record(topic, "first of its kind")],
        &[metadata],
    );
}

/// One worker, and more bytes for the hung broker than its socket takes: a blocking write would stall them all.
fn a_hung_broker_does_not_slow_the_others(kafka: &KafkaCluster) {
    let topic = "faults-hung";
    let replicas = Replicas::On(vec![vec![1], vec![2], vec![3]]);
    kafka.create_topic_on(topic, &replicas, &[("min.insync.replicas", "1")]);
    let settings = [
        ("sender.threads", "1"),
        ("linger.ms", "0"),
        ("compression.type", "none"),
    ];
    let producer = producer(kafka, &settings);
    for partition in 0..3 {
        outcome(&producer, record(topic, "before").partition(partition)).expect("a delivery");
    }

    kafka.pause(2);
    let large = || record(topic, vec![b'x'; 100_000]).partition(1);
    let stuck: Vec<_> = (0..100)
        .map(|_| producer.send(large()).expect("a record taken"))
        .collect();
    let longest = longest_wait(&producer, topic, Duration::from_secs(4));
    kafka.resume(2);

    assert!(
        longest < Duration::from_secs(1),
        "a record to a healthy broker took {longest:?}"
    );
    for future in stuck {
        future
            .get(Duration::from_secs(60))
            .expect("a delivery once the broker goes on");
    }
    assert_eq!(kafka.end_offset(topic, 1), 101);
    kafka.wait_until_replicated();
}

/// The longest time that a record to a healthy broker took.
fn longest_wait(producer: &BytesProducer, topic: &str, during: Duration) -> Duration {
    let until = Instant::now() + during;
    let mut longest = Duration::ZERO;
    while Instant::now() < until {
        for partition in [0, 2] {
            let began = Instant::now();
            outcome(producer, record(topic, "meanwhile").partition(partition)).expect("a delivery");
            longest = longest.max(began.elapsed());
        }
    }
    longest
}

fn nothing_is_lost_or_twice_while_leaders_move(kafka: &KafkaCluster) {
    exactly_once_through(kafka, "faults-moved", 3, &[], || {
        for round in 0..6 {
            let partition = round % 3;
            let replicas = kafka.partitions("faults-moved")[partition as usize]
                .replicas
                .clone();
            let leader = kafka.leader("faults-moved", partition);
            let next = replicas
                .into_iter()
                .find(|id| *id != leader)
                .expect("another replica");
            kafka.move_leader("faults-moved", partition, next);
            thread::park_timeout(Duration::from_millis(300));
        }
    });
}

fn nothing_is_lost_or_twice_when_a_leader_is_killed(kafka: &KafkaCluster) {
    exactly_once_through(
        kafka,
        "faults-killed",
        3,
        &[("compression.type", "lz4")],
        || {
            kill_and_restart(kafka, kafka.leader("faults-killed", 0));
            kill_and_restart(kafka, kafka.leader("faults-killed", 1));
        },
    );
}

fn nothing_is_lost_or_twice_when_a_leader_hangs(kafka: &KafkaCluster) {
    exactly_once_through(
        kafka,
        "faults-frozen",
        3,
        &[("request.timeout.ms", "3000")],
        || {
            let leader = kafka.leader("faults-frozen", 0);
            kafka.pause(leader);
            // Longer than the brokers' session: another one takes over, and the frozen one continues as if it still led.
            let moved = crate::support::kafka::poll(SOON, || {
                (kafka.leader("faults-frozen", 0) != leader).then_some(())
            });
            assert!(moved.is_some(), "no other leader");
            thread::park_timeout(Duration::from_secs(2));
            kafka.resume(leader);
            kafka.wait_until_replicated();
        },
    );
}

fn nothing_is_lost_or_twice_through_a_rolling_restart(kafka: &KafkaCluster) {
    exactly_once_through(kafka, "faults-rolling", 3, &[], || {
        for broker in kafka.broker_ids() {
            kafka.stop(broker);
            kafka.restart(broker);
            kafka.wait_until_replicated();
        }
    });
}

pub(crate) fn kill_and_restart(kafka: &KafkaCluster, broker: i32) {
    kafka.kill(broker);
    thread::park_timeout(Duration::from_secs(1));
    kafka.restart(broker);
    kafka.wait_until_replicated();
}

/// Sends without a pause while `fault` happens. Then each partition must hold exactly what was sent to it, in order.
pub(crate) fn exactly_once_through(
    kafka: &KafkaCluster,
    topic: &str,
    replication: i16,
    settings: &[(&str, &str)],
    fault: impl FnOnce(),
) {
    const PARTITIONS: i32 = 3;
    kafka.create_topic(topic, PARTITIONS, replication, &[]);
    let producer = producer(kafka, settings);
    // The fault must hit records, not the first metadata request.
    producer.partitions_for(topic).expect("the partitions");
    let over = AtomicBool::new(false);
    let futures = thread::scope(|scope| {
        let sending = scope.spawn(|| send_until(&over, &producer, topic, PARTITIONS));
        let end_of_fault = SetOnDrop(&over);
        thread::park_timeout(Duration::from_millis(500));
        fault();
        thread::park_timeout(Duration::from_millis(500));
        drop(end_of_fault);
        sending.join().expect("no panic while sending")
    });
    producer.flush(Duration::from_secs(120)).expect("a flush");
    let sent = futures.len();
    for future in futures {
        future
            .get(SOON)
            .expect("a delivery within delivery.timeout.ms");
    }
    producer.close(SOON).expect("a close");

    assert!(
        sent > 1_000,
        "only {sent} records were sent during the fault"
    );
    let consumed = kafka.consume(topic);
    for partition in 0..PARTITIONS {
        let records: Vec<_> = (0..sent / PARTITIONS as usize)
            .map(|n| numbered(topic, partition, n))
            .collect();
        assert_sequence(
            &records,
            consumed.iter().filter(|found| found.partition == partition),
        );
    }
    // Checks every CRC, and that offsets and sequences have no gaps.
    let batches: Vec<_> = kafka.dump_log(topic).into_values().flatten().collect();
    assert!(
        batches
            .iter()
            .all(|batch| batch.producer_id >= 0 && batch.base_sequence >= 0)
    );
}

/// Sends to each partition in a steady flow, which the console consumer can read back in seconds.
fn send_until(
    over: &AtomicBool,
    producer: &BytesProducer,
    topic: &str,
    partitions: i32,
) -> Vec<Future> {
    let mut futures = Vec::new();
    let mut number = 0;
    while !over.load(Ordering::Relaxed) {
        for partition in 0..partitions {
            let future = producer.send(numbered(topic, partition, number));
            futures.push(future.expect("a record taken"));
        }
        number += 1;
        if number % 5 == 0 {
            thread::park_timeout(Duration::from_millis(10));
        }
    }
    futures
}

/// Ends the sending thread, also if the fault's code panics.
struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
