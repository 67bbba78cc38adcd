//! A broker that hangs holds up its own partitions and nobody else's. One worker serves them all here.

use std::time::{Duration, Instant};

use kafka_producer::mock::{Fault, MockApi, MockCluster};

use crate::support::fake_broker::{
    FakeBootstrap, Member, never_connecting, never_reading, slowly_reading,
};
use crate::support::{
    Bytes, NO_HOST, PATIENCE, Producer, SOON, builder, builder_at, cluster, record,
};

/// The partition that the stuck broker leads; the others' leaders are well.
const STUCK: i32 = 1;

#[test]
fn a_broker_that_never_answers_holds_up_no_other() {
    let cluster = cluster(3, 3);
    cluster.on(MockApi::Produce, |request| match request.broker() {
        STUCK => Fault::NoAnswer,
        _ => Fault::Pass,
    });
    let producer = builder(&cluster).build().unwrap();
    let held = producer.send(record(STUCK, "held")).unwrap();
    assert!(cluster.wait_until(PATIENCE, |cluster| {
        cluster
            .requests()
            .iter()
            .any(|request| request.broker == STUCK && request.api == MockApi::Produce)
    }));
    assert_healthy_partitions_are_served(&producer, &[0, 2]);
    assert!(!held.is_done());
    let _ = producer.close(Duration::ZERO);
}

/// What SIGSTOP does to a broker: its sockets' buffers fill up until nothing can be written.
#[test]
fn a_broker_that_stops_reading_holds_up_no_other() {
    let cluster = cluster(3, 3);
    cluster.on(MockApi::Produce, |request| match request.broker() {
        STUCK => Fault::delay(Duration::from_secs(3600)),
        _ => Fault::Pass,
    });
    let producer = builder(&cluster).buffer_memory(48 << 20).build().unwrap();
    producer.partitions_for("t").unwrap();
    fill_up(&producer, STUCK, 40 << 20);
    assert_healthy_partitions_are_served(&producer, &[0, 2]);
    let _ = producer.close(Duration::ZERO);
}

#[test]
fn a_listener_that_never_reads_holds_up_no_other() {
    let (stuck, _listener) = never_reading();
    assert_healthy_beside(Member::new(9, stuck));
}

#[test]
fn a_broker_that_reads_slowly_holds_up_no_other() {
    let (slow, _listener) = slowly_reading(64 << 10, Duration::from_millis(3));
    assert_healthy_beside(Member::new(9, slow));
}

#[test]
fn a_broker_that_cannot_be_connected_to_holds_up_no_other() {
    let (port, _sockets) = never_connecting();
    assert_healthy_beside(Member::new(9, port));
}

#[test]
fn a_broker_whose_name_does_not_resolve_holds_up_no_other() {
    let host = NO_HOST.to_owned();
    let member = Member {
        id: 9,
        host,
        port: 9092,
    };
    assert_healthy_beside(member);
}

/// Partition 1 is led by `sick`, partitions 0 and 2 by a broker of the mock cluster.
fn assert_healthy_beside(sick: Member) {
    let cluster = cluster(1, 3);
    let well = Member::new(0, port(&cluster));
    let bootstrap = FakeBootstrap::start(vec![well, sick], vec![0, 9, 0]);
    let producer = builder_at(&bootstrap.address())
        .buffer_memory(48 << 20)
        .build()
        .unwrap();
    producer.partitions_for("t").unwrap();
    fill_up(&producer, STUCK, 40 << 20);
    assert_healthy_partitions_are_served(&producer, &[0, 2]);
    let _ = producer.close(Duration::ZERO);
}

pub(crate) fn port(cluster: &MockCluster) -> u16 {
    let address = cluster.bootstrap_servers();
    address.rsplit(':').next().unwrap().parse().unwrap()
}

/// Gives `partition` more than any socket's buffers hold.
fn fill_up(producer: &Producer, partition: i32, bytes: usize) {
    let value: Bytes = vec![7; 1_000_000];
    for _ in 0..bytes / value.len() {
        drop(producer.try_send(record(partition, value.clone())).unwrap());
    }
}

/// Round trips one after the other, each of which a held-up worker would hold up.
fn assert_healthy_partitions_are_served(producer: &Producer, partitions: &[i32]) {
    const ROUNDS: usize = 100;
    let start = Instant::now();
    for round in 0..ROUNDS {
        for partition in partitions {
            let sent = producer.try_send(record(*partition, round.to_string()));
            sent.unwrap().get(SOON).unwrap();
        }
    }
    let each = start.elapsed() / (ROUNDS * partitions.len()) as u32;
    assert!(
        each < Duration::from_millis(20),
        "{each:?} for a round trip"
    );
}
