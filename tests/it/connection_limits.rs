//! Brokers that allow a producer fewer connections than it has threads.

use std::time::{Duration, Instant};

use kafka_producer::mock::{Fault, MockApi, MockCluster};

use crate::support::{
    PATIENCE, Producer, SOON, builder, builder_at, cluster, deliver, record, values, with_causes,
};

const PARTITIONS: i32 = 16;

fn with_threads(cluster: &MockCluster, threads: usize) -> Producer {
    builder(cluster).sender_threads(threads).build().unwrap()
}

/// Sends `records` to each partition, and checks that all are written, in order.
fn deliver_everywhere(cluster: &MockCluster, producer: &Producer, records: usize) {
    let before: Vec<usize> = (0..PARTITIONS)
        .map(|partition| values(cluster, partition).len())
        .collect();
    let mut futures = Vec::new();
    for number in 0..records {
        for partition in 0..PARTITIONS {
            futures.push(
                producer
                    .send(record(partition, number.to_string()))
                    .unwrap(),
            );
        }
    }
    producer.flush(PATIENCE).unwrap();
    for future in futures {
        future.get(PATIENCE).unwrap();
    }
    let expected: Vec<String> = (0..records).map(|number| number.to_string()).collect();
    for (partition, before) in (0..PARTITIONS).zip(before) {
        assert_eq!(values(cluster, partition)[before..], expected);
    }
}

#[test]
fn workers_without_a_connection_of_their_own_deliver_over_an_existing_one() {
    for (most, threads) in [(2, 2), (2, 4), (3, 4), (1, 1), (1, 4)] {
        let cluster = cluster(1, PARTITIONS);
        cluster.limit_connections(Some(most));
        let producer = with_threads(&cluster, threads);
        deliver_everywhere(&cluster, &producer, 50);
        assert!(cluster.connections(0) <= most);
        producer.close(PATIENCE).unwrap();
        assert!(cluster.wait_until(SOON, |cluster| cluster.connections(0) == 0));
    }
}

#[test]
fn workers_that_share_a_connection_recover_when_it_ends() {
    let cluster = cluster(1, PARTITIONS);
    cluster.limit_connections(Some(2));
    let producer = with_threads(&cluster, 4);
    for _ in 0..5 {
        deliver_everywhere(&cluster, &producer, 20);
        cluster.disconnect(0);
    }
    cluster.limit_connections(None);
    deliver_everywhere(&cluster, &producer, 20);
}

#[test]
fn topics_are_found_over_a_workers_connection_if_there_is_no_other() {
    let cluster = cluster(1, PARTITIONS);
    cluster.limit_connections(Some(1));
    let producer = with_threads(&cluster, 2);
    deliver_everywhere(&cluster, &producer, 5);
    for number in 0..5 {
        let topic = format!("another-{number}");
        cluster.create_topic(&topic, 3);
        assert_eq!(producer.partitions_for(&topic).unwrap().len(), 3);
    }
    deliver_everywhere(&cluster, &producer, 5);
}

#[test]
fn a_slow_broker_delays_each_worker_on_a_shared_connection_only_while_it_reads() {
    let cluster = cluster(1, PARTITIONS);
    cluster.limit_connections(Some(2));
    let producer = with_threads(&cluster, 4);
    deliver_everywhere(&cluster, &producer, 1);
    cluster.on(MockApi::Produce, |_| {
        Fault::Delay(Duration::from_millis(20), Box::new(Fault::Pass))
    });
    // Far more than a socket's buffers hold: writes stall, and workers wait for each other's writes.
    let value = "x".repeat(200_000);
    let futures: Vec<_> = (0..PARTITIONS)
        .cycle()
        .take(200)
        .map(|partition| producer.send(record(partition, value.clone())).unwrap())
        .collect();
    for future in futures {
        future.get(PATIENCE).unwrap();
    }
    assert!(cluster.connections(0) <= 2);
}

#[test]
fn a_producer_that_gets_no_connection_at_all_names_the_limit() {
    let cluster = cluster(1, PARTITIONS);
    cluster.limit_connections(Some(0));
    let producer = builder(&cluster)
        .max_block(Duration::from_millis(500))
        .build()
        .unwrap();
    let error = deliver(&producer, 0, "v").unwrap_err();
    let message = with_causes(&error);
    assert!(message.contains("max.connections.per.ip"), "{message}");
}

#[test]
fn workers_get_the_one_connection_under_every_name_of_the_broker() {
    let cluster = cluster(1, PARTITIONS);
    let bootstrap = cluster.bootstrap_servers();
    let port = bootstrap.rsplit(':').next().unwrap();
    cluster.limit_connections(Some(1));
    let producer = builder_at(&format!("localhost:{port}"))
        .sender_threads(2)
        .build()
        .unwrap();
    deliver_everywhere(&cluster, &producer, 20);
    assert_eq!(cluster.connections(0), 1);
}

#[test]
fn a_throttle_holds_for_all_workers_on_the_connection() {
    const THROTTLE: Duration = Duration::from_secs(3);
    let cluster = cluster(1, PARTITIONS);
    cluster.limit_connections(Some(1));
    let producer = with_threads(&cluster, 4);
    deliver_everywhere(&cluster, &producer, 5);
    cluster.fail_next(MockApi::Produce, 1, Fault::Throttle(THROTTLE));
    let begun = Instant::now();
    deliver(&producer, 0, "throttled").unwrap();
    let produced = || {
        let mut requests = cluster.requests();
        requests.retain(|request| request.api == MockApi::Produce);
        requests
    };
    let before = produced().len();
    deliver_everywhere(&cluster, &producer, 1);
    for request in &produced()[before..] {
        let waited = request.at.saturating_duration_since(begun);
        assert!(waited >= THROTTLE, "{waited:?}");
    }
}
