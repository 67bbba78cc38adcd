//! Faults that last: replicas missing, all brokers gone, brokers and topics replaced, limits lowered, quotas.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use kafka_producer::{Delivery, Error, ErrorKind, Future, RecordMetadata};

use crate::Tests;
use crate::faults::exactly_once_through;
use crate::producing::{BytesProducer, SOON, numbered, outcome, producer, record};
use crate::support::kafka::{KafkaCluster, Replicas, poll};

pub(crate) const TESTS_OF_THREE_BROKERS: Tests = &[
    (
        "nothing_is_lost_or_twice_while_replicas_are_too_few",
        nothing_is_lost_or_twice_while_replicas_are_too_few,
    ),
    (
        "nothing_is_lost_or_twice_when_all_brokers_die_at_once",
        nothing_is_lost_or_twice_when_all_brokers_die_at_once,
    ),
    (
        "nothing_is_lost_or_twice_while_every_broker_moves_to_another_address",
        nothing_is_lost_or_twice_while_every_broker_moves_to_another_address,
    ),
    (
        "a_broker_stopped_past_delivery_timeout_ms_harms_no_other_record",
        a_broker_stopped_past_delivery_timeout_ms_harms_no_other_record,
    ),
    (
        "throughput_to_the_others_stays_while_a_broker_is_stopped",
        throughput_to_the_others_stays_while_a_broker_is_stopped,
    ),
];

pub(crate) const TESTS_OF_ONE_BROKER: Tests = &[
    (
        "a_topic_created_again_while_records_flow_takes_each_once",
        a_topic_created_again_while_records_flow_takes_each_once,
    ),
    (
        "nothing_is_lost_or_twice_while_a_topics_limit_is_lowered",
        nothing_is_lost_or_twice_while_a_topics_limit_is_lowered,
    ),
    (
        "a_quota_slows_its_client_down_and_costs_no_record",
        a_quota_slows_its_client_down_and_costs_no_record,
    ),
];

/// NOT_ENOUGH_REPLICAS until the third broker is back.
fn nothing_is_lost_or_twice_while_replicas_are_too_few(kafka: &KafkaCluster) {
    let topic = "outages-replicas";
    exactly_once_through(kafka, topic, 3, &[], || {
        kafka.alter_topic_configs(topic, &[("min.insync.replicas", "3")]);
        let mut brokers = kafka.broker_ids().into_iter();
        let follower = brokers.rfind(|broker| *broker != kafka.leader(topic, 0));
        let follower = follower.expect("a broker that does not lead");
        kafka.kill(follower);
        let too_few = poll(SOON, || {
            let partitions = kafka.partitions(topic);
            partitions
                .iter()
                .all(|partition| partition.leader >= 0 && partition.isr.len() < 3)
                .then_some(())
        });
        assert!(too_few.is_some(), "the replica is still in sync");
        // Of the partition whose leader has not changed: a new leader reports no end offset before it has enough replicas.
        let end = kafka.end_offset(topic, 0);
        thread::park_timeout(Duration::from_secs(2));
        let still = kafka.end_offset(topic, 0);
        assert_eq!(still, end, "records were taken meanwhile");
        kafka.restart(follower);
        kafka.wait_until_replicated();
    });
}

fn nothing_is_lost_or_twice_when_all_brokers_die_at_once(kafka: &KafkaCluster) {
    exactly_once_through(kafka, "outages-all", 3, &[], || {
        let brokers = kafka.broker_ids();
        // Each waits until it is in a cluster, which needs another broker.
        thread::scope(|scope| {
            brokers.iter().for_each(|broker| kafka.kill(*broker));
            thread::park_timeout(Duration::from_secs(2));
            for broker in &brokers {
                scope.spawn(|| kafka.restart(*broker));
            }
        });
        kafka.wait_until_replicated();
    });
}

/// At the end no broker listens on any of the first addresses.
fn nothing_is_lost_or_twice_while_every_broker_moves_to_another_address(kafka: &KafkaCluster) {
    let first = kafka.bootstrap_servers();
    exactly_once_through(kafka, "outages-moved", 3, &[], || {
        for broker in kafka.broker_ids() {
            kafka.move_to_another_port(broker);
            kafka.wait_until_replicated();
        }
    });
    let last = kafka.bootstrap_servers();
    assert!(first.split(',').all(|address| !last.contains(address)));
}

fn a_broker_stopped_past_delivery_timeout_ms_harms_no_other_record(kafka: &KafkaCluster) {
    const STOPPED: i32 = 1;
    let topic = "outages-stopped";
    let settings = [
        ("delivery.timeout.ms", "3000"),
        ("request.timeout.ms", "1000"),
        ("linger.ms", "0"),
        ("max.in.flight.requests.per.connection", "2"),
    ];
    let producer = producer_of_three(kafka, topic, &settings);
    kafka.pause(2);
    let stuck = |numbers: std::ops::Range<usize>| -> Vec<Future> {
        let send = |number| producer.send(numbered(topic, STOPPED, number));
        numbers
            .map(|number| send(number).expect("a record taken"))
            .collect()
    };
    let mut futures = stuck(0..200);
    let began = Instant::now();
    let mut others = 0;
    while began.elapsed() < Duration::from_millis(4_500) {
        for partition in [0, 2] {
            outcome(&producer, numbered(topic, partition, others)).expect("a delivery");
        }
        others += 1;
    }
    let failed = futures.iter().filter(|future| future.is_done()).count();
    kafka.resume(2);
    kafka.wait_until_replicated();
    assert_eq!(failed, 200, "expired within delivery.timeout.ms");
    futures.extend(stuck(200..400));
    let outcomes: Vec<_> = futures.iter().map(|future| future.get(SOON)).collect();
    let delivered = outcomes[200..].iter().filter(|outcome| outcome.is_ok());
    assert_eq!(delivered.count(), 200, "once the broker goes on");

    let consumed = kafka.consume(topic);
    let numbers_in = |partition: i32| -> Vec<usize> {
        let found = consumed.iter().filter(|found| found.partition == partition);
        found
            .map(|found| found.text()[..8].parse().expect("a number"))
            .collect()
    };
    for partition in [0, 2] {
        assert!(numbers_in(partition).into_iter().eq(0..others));
    }
    assert_outcomes_are_true(&outcomes, &numbers_in(STOPPED));
}

/// Checks the outcome of each number against the numbers in the log.
fn assert_outcomes_are_true(outcomes: &[Result<RecordMetadata, Error>], written: &[usize]) {
    assert!(
        written.is_sorted_by(|left, right| left < right),
        "{written:?}"
    );
    for (number, outcome) in outcomes.iter().enumerate() {
        let is_written = written.binary_search(&number).is_ok();
        match outcome {
            Ok(_) => assert!(is_written, "{number} was acknowledged and is not there"),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::DeliveryTimeout, "{error}");
                assert!(
                    !is_written || error.delivery() == Delivery::MaybeWritten,
                    "{number} is there: {error}"
                );
            }
        }
    }
}

/// Sends far less than the brokers can take: each record must be delivered in the phase in which it is sent. The test of this
/// name on the mock cluster measures the loss itself, with less noise than beside three JVMs.
fn throughput_to_the_others_stays_while_a_broker_is_stopped(kafka: &KafkaCluster) {
    const PHASE: Duration = Duration::from_secs(4);
    let topic = "outages-throughput";
    let producer = producer_of_three(kafka, topic, &[("sender.threads", "1")]);
    let before = delivered_within(&producer, topic, PHASE);
    kafka.pause(2);
    let stuck: Vec<_> = (0..80)
        .map(|_| {
            let large = record(topic, vec![b'x'; 100_000]).partition(1);
            producer.send(large).expect("a record taken")
        })
        .collect();
    let during = delivered_within(&producer, topic, PHASE);
    kafka.resume(2);
    for future in stuck {
        future
            .get(Duration::from_secs(60))
            .expect("a delivery once the broker goes on");
    }
    kafka.wait_until_replicated();
    let share = during as f64 / before as f64;
    println!("{before} records before, {during} beside a stopped broker: {share:.3}");
    assert!(share >= 0.95, "{during} of {before} records");
}

/// Sends ten records to each healthy partition every 10 ms for that time, and counts those delivered at its end.
fn delivered_within(producer: &BytesProducer, topic: &str, phase: Duration) -> usize {
    const STEP: Duration = Duration::from_millis(10);
    let began = Instant::now();
    let mut futures = Vec::new();
    for step in 1.. {
        let due = STEP * step;
        if due > phase {
            break;
        }
        thread::sleep(due.saturating_sub(began.elapsed()));
        for partition in [0, 2] {
            for number in 0..10 {
                let sent = producer.send(numbered(topic, partition, number));
                futures.push(sent.expect("a record taken"));
            }
        }
    }
    futures.iter().filter(|future| future.is_done()).count()
}

/// A topic whose partitions 0, 1 and 2 are only on brokers 1, 2 and 3, and a producer that knows them.
fn producer_of_three(
    kafka: &KafkaCluster,
    topic: &str,
    settings: &[(&str, &str)],
) -> BytesProducer {
    let replicas = Replicas::On(vec![vec![1], vec![2], vec![3]]);
    kafka.create_topic_on(topic, &replicas, &[("min.insync.replicas", "1")]);
    let producer = producer(kafka, settings);
    producer
        .partitions_for(topic)
        .expect("the topic's partitions");
    producer
}

/// Every record has one outcome. The acknowledged records that were sent to the new topic are in its log once and in order.
fn a_topic_created_again_while_records_flow_takes_each_once(kafka: &KafkaCluster) {
    let topic = "outages-again";
    kafka.create_topic(topic, 1, 1, &[]);
    let producer = producer(kafka, &[("linger.ms", "1")]);
    let (is_new, over) = (AtomicBool::new(false), AtomicBool::new(false));
    let sent = thread::scope(|scope| {
        let sending = scope.spawn(|| {
            let mut sent: Vec<(bool, Future)> = Vec::new();
            while !over.load(Ordering::Acquire) {
                let is_new = is_new.load(Ordering::Acquire);
                let result = producer.send(numbered(topic, 0, sent.len()));
                sent.push((is_new, result.expect("a record taken")));
                thread::park_timeout(Duration::from_micros(500));
            }
            sent
        });
        thread::park_timeout(Duration::from_millis(700));
        kafka.delete_topic(topic);
        thread::park_timeout(Duration::from_millis(300));
        kafka.create_topic(topic, 1, 1, &[]);
        is_new.store(true, Ordering::Release);
        thread::park_timeout(Duration::from_millis(1_500));
        over.store(true, Ordering::Release);
        sending.join().expect("no panic while sending")
    });
    let outcomes: Vec<_> = sent.iter().map(|(_, future)| future.get(SOON)).collect();
    let written: Vec<usize> = kafka
        .consume(topic)
        .iter()
        .map(|found| found.text()[..8].parse().expect("a number"))
        .collect();
    assert!(
        written.is_sorted_by(|left, right| left < right),
        "twice or out of order"
    );
    let mut to_the_new_one = 0;
    for (number, ((is_new, _), outcome)) in sent.iter().zip(&outcomes).enumerate() {
        let is_written = written.binary_search(&number).is_ok();
        match outcome {
            Ok(_) if *is_new => {
                to_the_new_one += 1;
                assert!(is_written, "{number} was acknowledged and is not there");
            }
            Ok(_) => {}
            Err(error) => assert!(
                !is_written || error.delivery() == Delivery::MaybeWritten,
                "{number} is there: {error}"
            ),
        }
    }
    assert!(to_the_new_one > 200, "{to_the_new_one} records delivered");
}

fn nothing_is_lost_or_twice_while_a_topics_limit_is_lowered(kafka: &KafkaCluster) {
    let topic = "outages-limit";
    let settings = [("linger.ms", "100"), ("compression.type", "none")];
    exactly_once_through(kafka, topic, 1, &settings, || {
        kafka.alter_topic_configs(topic, &[("max.message.bytes", "700")]);
        thread::park_timeout(Duration::from_secs(2));
        kafka.alter_topic_configs(topic, &[("max.message.bytes", "1048588")]);
    });
    let batches: Vec<_> = kafka.dump_log(topic).into_values().flatten().collect();
    let (small, large): (Vec<_>, Vec<_>) = batches.iter().partition(|batch| batch.size <= 700);
    assert!(
        small.len() > 50 && !large.is_empty(),
        "{} small batches, {} large ones",
        small.len(),
        large.len()
    );
}

/// The throttle time is several times `request.timeout.ms`: a client that ignored it would end its requests.
fn a_quota_slows_its_client_down_and_costs_no_record(kafka: &KafkaCluster) {
    const RECORDS: usize = 40;
    let topic = "outages-quota";
    kafka.create_topic(topic, 1, 1, &[]);
    kafka.limit_producer("outages-limited", 20_000);
    let settings = [
        ("client.id", "outages-limited"),
        ("request.timeout.ms", "1500"),
        ("linger.ms", "0"),
    ];
    let (limited, other) = (producer(kafka, &settings), producer(kafka, &[]));
    let began = Instant::now();
    let futures: Vec<_> = (0..RECORDS)
        .map(|_| limited.send(record(topic, vec![b'x'; 10_000]).partition(0)))
        .collect();
    let mut longest = Duration::ZERO;
    while futures
        .iter()
        .any(|sent| !sent.as_ref().expect("a record taken").is_done())
    {
        let start = Instant::now();
        outcome(&other, record(topic, "free")).expect("a delivery");
        longest = longest.max(start.elapsed());
        thread::park_timeout(Duration::from_millis(20));
    }
    let took = began.elapsed();
    for sent in futures {
        sent.expect("a record taken").get(SOON).expect("a delivery");
    }
    // 400 KB at 20 KB a second, of which the first ten seconds' worth may come at once.
    assert!(took > Duration::from_secs(5), "{took:?}");
    assert!(longest < took / 2, "another client waited {longest:?}");
    let consumed = kafka.consume(topic);
    let large = consumed.iter().filter(|found| found.text().len() == 10_000);
    assert_eq!(large.count(), RECORDS, "each of them once");
}
