//! Leaders that move, die or come back: where the records of their partitions go, and when.

use std::time::Duration;

use kafka_producer::mock::{Fault, MockApi, MockCluster, PartitionError};
use kafka_producer::{ErrorCode, ErrorKind};

use crate::support::fake_broker::{FakeBootstrap, Member, never_connecting};
use crate::support::{
    Gate, PATIENCE, SOON, builder, builder_at, cluster, deliver, get_all, producer, record, values,
};

/// The producer's `metadata.max.age`.
const OFTEN: Duration = Duration::from_millis(20);

fn produced_at(cluster: &MockCluster, broker: i32) -> usize {
    let requests = cluster.requests();
    let produced = requests
        .iter()
        .filter(|request| request.api == MockApi::Produce && request.broker == broker);
    produced.count()
}

/// Waits until a metadata request that began after this call is answered.
fn await_metadata(cluster: &MockCluster) {
    let asked = cluster.request_count(MockApi::Metadata);
    assert!(
        cluster.wait_until(PATIENCE, |cluster| cluster.request_count(MockApi::Metadata)
            >= asked + 3)
    );
}

#[test]
fn a_leader_named_in_the_answer_is_used_without_waiting_for_metadata() {
    let cluster = cluster(3, 3);
    let producer = builder(&cluster)
        .retry_backoff(Duration::from_secs(60))
        .retry_backoff_max(Duration::from_secs(60))
        .build()
        .unwrap();
    for partition in 0..3 {
        deliver(&producer, partition, "first").unwrap();
    }
    cluster.on(MockApi::Metadata, |_| Fault::NoAnswer);
    cluster.set_leader("t", 0, Some(1));
    deliver(&producer, 0, "second").unwrap();
    assert_eq!(values(&cluster, 0), ["first", "second"]);
    let _ = producer.close(Duration::ZERO);
}

#[test]
fn a_leader_that_the_answer_does_not_name_is_found_by_metadata() {
    let cluster = cluster(3, 1);
    // In these versions an answer names no leader.
    cluster.restrict_versions(MockApi::Produce, 3..=9);
    let producer = producer(&cluster);
    deliver(&producer, 0, "first").unwrap();
    for (leader, value) in [(1, "second"), (2, "third"), (0, "fourth")] {
        cluster.set_leader("t", 0, Some(leader));
        deliver(&producer, 0, value).unwrap();
    }
    assert_eq!(values(&cluster, 0), ["first", "second", "third", "fourth"]);
}

#[test]
fn a_partition_without_leader_is_waited_for() {
    let cluster = cluster(2, 2);
    let producer = producer(&cluster);
    cluster.set_leader("t", 0, None);
    let waiting = producer.send(record(0, "v")).unwrap();
    deliver(&producer, 1, "v").unwrap();
    let asked = cluster.request_count(MockApi::Metadata);
    assert!(
        cluster.wait_until(PATIENCE, |cluster| cluster.request_count(MockApi::Metadata)
            > asked + 2)
    );
    assert!(!waiting.is_done());
    cluster.set_leader("t", 0, Some(1));
    waiting.get(PATIENCE).unwrap();
}

/// The partition was in the ready queue of the broker that went away.
#[test]
fn records_for_a_broker_that_died_go_to_the_new_leader() {
    let cluster = cluster(3, 3);
    let producer = producer(&cluster);
    for partition in 0..3 {
        deliver(&producer, partition, "before").unwrap();
    }
    cluster.broker_down(1);
    let futures: Vec<_> = (0..20)
        .map(|index| producer.send(record(1, index.to_string())).unwrap())
        .collect();
    assert!(futures.iter().any(|future| !future.is_done()));
    cluster.set_leader("t", 1, Some(2));
    get_all(futures);
    assert_eq!(values(&cluster, 1).len(), 21);
}

#[test]
fn records_for_a_broker_that_hangs_in_connecting_go_to_the_new_leader() {
    let cluster = cluster(1, 1);
    let (port, _sockets) = never_connecting();
    let well = Member::new(0, crate::isolation::port(&cluster));
    let members = vec![well, Member::new(9, port)];
    let hanging = FakeBootstrap::start(members.clone(), vec![9]);
    let producer = builder_at(&hanging.address())
        .metadata_max_age(Duration::from_millis(100))
        .build()
        .unwrap();
    let future = producer.send(record(0, "v")).unwrap();
    assert_eq!(
        future.get(Duration::from_millis(300)).unwrap_err().kind(),
        ErrorKind::Timeout
    );
    hanging.set_leaders(&members, &[0]);
    future.get(SOON).unwrap();
}

#[test]
fn a_broker_that_comes_back_is_used_again() {
    let cluster = cluster(1, 1);
    let producer = producer(&cluster);
    for round in 0..3 {
        deliver(&producer, 0, round.to_string()).unwrap();
        cluster.broker_down(0);
        let waiting = producer.send(record(0, format!("{round} down"))).unwrap();
        cluster.broker_up(0).unwrap();
        waiting.get(PATIENCE).unwrap();
    }
    assert_eq!(
        values(&cluster, 0),
        ["0", "0 down", "1", "1 down", "2", "2 down"]
    );
}

/// Without idempotence a producer waits for a leader's answer until `request.timeout.ms` is over. One request in flight
/// keeps the order; with several, later batches go to the new leader, as in Java.
#[test]
fn batches_behind_one_in_flight_to_the_old_leader_wait_if_one_request_keeps_the_order() {
    let cluster = cluster(2, 2);
    let producer = builder(&cluster)
        .batch_size(0)
        .enable_idempotence(false)
        .max_in_flight_requests_per_connection(1)
        .metadata_max_age(OFTEN)
        .build()
        .unwrap();
    for partition in 0..2 {
        deliver(&producer, partition, "first").unwrap();
    }
    let (gate, hold) = Gate::new();
    cluster.once(MockApi::Produce, move |_| {
        hold.wait();
        Fault::Disconnect
    });
    let before = produced_at(&cluster, 1);
    let held = producer.send(record(0, "a")).unwrap();
    assert!(cluster.wait_until(PATIENCE, |cluster| produced_at(cluster, 0) == 2));
    cluster.set_leader("t", 0, Some(1));
    await_metadata(&cluster);
    let behind = producer.send(record(0, "b")).unwrap();
    await_metadata(&cluster);
    assert_eq!(produced_at(&cluster, 1), before);
    drop(gate);
    get_all(vec![held, behind]);
    assert_eq!(values(&cluster, 0), ["first", "a", "b"]);
}

/// With idempotence: the new leader recognizes what the old one has replicated.
#[test]
fn the_new_leader_recognizes_what_the_old_one_wrote_without_an_answer() {
    let cluster = cluster(2, 2);
    let producer = builder(&cluster).batch_size(0).build().unwrap();
    deliver(&producer, 0, "first").unwrap();
    let refused = PartitionError::new("t", 0, ErrorCode::NOT_LEADER_OR_FOLLOWER)
        .after_append()
        .current_leader(1, 1);
    let moves = Fault::PartitionErrors(vec![refused]);
    cluster.fail_next(MockApi::Produce, 5, moves);
    let futures: Vec<_> = ["a", "b", "c", "d", "e", "f"]
        .map(|name| producer.send(record(0, name)).unwrap())
        .into();
    assert!(cluster.wait_until(PATIENCE, |cluster| produced_at(cluster, 0) >= 2));
    cluster.set_leader("t", 0, Some(1));
    for (offset, future) in (1..).zip(futures) {
        assert_eq!(future.get(PATIENCE).unwrap().offset(), Some(offset));
    }
    assert_eq!(values(&cluster, 0), ["first", "a", "b", "c", "d", "e", "f"]);
}

/// KIP-951.
#[test]
fn a_leader_hint_with_an_older_epoch_is_ignored() {
    let cluster = cluster(2, 2);
    cluster.set_leader("t", 0, Some(1));
    cluster.set_leader("t", 0, Some(0));
    let producer = producer(&cluster);
    for partition in 0..2 {
        deliver(&producer, partition, "first").unwrap();
    }
    let before = produced_at(&cluster, 1);
    for epoch in [0, 1, 2] {
        let stale =
            PartitionError::new("t", 0, ErrorCode::NOT_LEADER_OR_FOLLOWER).current_leader(1, epoch);
        cluster.fail_next(MockApi::Produce, 1, Fault::PartitionErrors(vec![stale]));
        deliver(&producer, 0, epoch.to_string()).unwrap();
    }
    assert_eq!(produced_at(&cluster, 1), before);
    assert_eq!(values(&cluster, 0), ["first", "0", "1", "2"]);
}

/// If the producer accepted the hint, no later metadata could override its epoch.
#[test]
fn a_leader_hint_of_an_unknown_broker_is_ignored() {
    let cluster = cluster(2, 1);
    let producer = producer(&cluster);
    deliver(&producer, 0, "first").unwrap();
    for code in [
        ErrorCode::NOT_LEADER_OR_FOLLOWER,
        ErrorCode::FENCED_LEADER_EPOCH,
    ] {
        let unknown_leader = PartitionError::new("t", 0, code).current_leader(77, 99);
        cluster.fail_next(
            MockApi::Produce,
            1,
            Fault::PartitionErrors(vec![unknown_leader]),
        );
        deliver(&producer, 0, code.name()).unwrap();
    }
    assert_eq!(cluster.end_offset("t", 0), Some(3));
}

/// Java: `RecordAccumulatorTest.testExponentialRetryBackoffLeaderChange`.
#[test]
fn a_batch_whose_leader_epoch_has_changed_skips_its_backoff() {
    let cluster = cluster(1, 1);
    // The backoff is far longer than this test waits.
    let forever = Duration::from_secs(3600);
    let producer = builder(&cluster)
        .retry_backoff(forever)
        .retry_backoff_max(forever)
        .build()
        .unwrap();
    deliver(&producer, 0, "first").unwrap();
    // The same broker leads again, and its answer says so.
    cluster.set_leader("t", 0, Some(0));
    let again = PartitionError::new("t", 0, ErrorCode::FENCED_LEADER_EPOCH).current_leader(0, 1);
    cluster.fail_next(MockApi::Produce, 1, Fault::PartitionErrors(vec![again]));
    let future = producer.send(record(0, "second")).unwrap();
    future.get(SOON).unwrap();
    assert_eq!(values(&cluster, 0), ["first", "second"]);
}

/// librdkafka 0146, do_test_stale_metadata_doesnt_migrate_partition.
#[test]
fn metadata_of_an_older_leader_epoch_moves_no_partition_back() {
    let cluster = cluster(2, 1);
    cluster.set_leader("t", 0, Some(1));
    let producer = builder(&cluster).metadata_max_age(OFTEN).build().unwrap();
    deliver(&producer, 0, "first").unwrap();
    cluster.pretend_leader("t", 0, Some((0, 0)));
    await_metadata(&cluster);
    for index in 0..5 {
        deliver(&producer, 0, index.to_string()).unwrap();
        await_metadata(&cluster);
    }
    assert_eq!(produced_at(&cluster, 0), 0);
}

/// librdkafka 0146, do_test_metadata_update_operation: one and two leaders move.
#[test]
fn leaders_that_move_are_followed_at_once() {
    for moved in [1, 2] {
        let cluster = cluster(4, 2);
        let long = Duration::from_secs(60);
        let producer = builder(&cluster)
            .retry_backoff(long)
            .retry_backoff_max(long)
            .build()
            .unwrap();
        for partition in 0..2 {
            deliver(&producer, partition, "first").unwrap();
        }
        for partition in 0..moved {
            cluster.set_leader("t", partition, Some(partition + 2));
        }
        let futures = [0, 1].map(|partition| producer.send(record(partition, "v")).unwrap());
        for future in futures {
            future.get(SOON).unwrap();
        }
        for broker in 0..4 {
            let is_new = (2..2 + moved).contains(&broker);
            assert_eq!(produced_at(&cluster, broker) > 0, is_new || broker < 2);
        }
    }
}

/// librdkafka 0146, do_test_fast_metadata_refresh (its issue 4577): an error that requires new metadata causes no endless
/// requests.
#[test]
fn an_error_without_a_change_of_leader_causes_no_loop_of_metadata_requests() {
    let cluster = cluster(3, 1);
    let producer = producer(&cluster);
    deliver(&producer, 0, "first").unwrap();
    let before = cluster.request_count(MockApi::Metadata);
    cluster.fail_next(
        MockApi::Produce,
        1,
        Fault::Error(ErrorCode::KAFKA_STORAGE_ERROR),
    );
    deliver(&producer, 0, "second").unwrap();
    let loops = cluster.wait_until(Duration::from_millis(300), |cluster| {
        cluster.request_count(MockApi::Metadata) > before + 2
    });
    assert!(!loops);
}

/// The same test's second variation: metadata has an error for a while, and no record waits for it.
#[test]
fn errors_of_metadata_delay_no_known_topic() {
    let cluster = cluster(3, 1);
    let producer = builder(&cluster).metadata_max_age(OFTEN).build().unwrap();
    deliver(&producer, 0, "first").unwrap();
    for code in [
        ErrorCode::KAFKA_STORAGE_ERROR,
        ErrorCode::LEADER_NOT_AVAILABLE,
    ] {
        let broken = cluster.on(MockApi::Metadata, move |_| Fault::Error(code));
        cluster.fail_next(MockApi::Produce, 1, Fault::Error(code));
        for index in 0..3 {
            let future = producer.send(record(0, index.to_string())).unwrap();
            future.get(SOON).unwrap();
            await_metadata(&cluster);
        }
        cluster.remove(broken);
    }
    assert_eq!(values(&cluster, 0).len(), 7);
}

/// The leader's disk is full until another broker leads.
#[test]
fn a_leader_whose_disk_fails_delays_records_and_keeps_their_order() {
    let cluster = cluster(2, 1);
    let producer = builder(&cluster).batch_size(0).build().unwrap();
    deliver(&producer, 0, "first").unwrap();
    cluster.on(MockApi::Produce, |request| match request.broker() {
        0 => Fault::Error(ErrorCode::KAFKA_STORAGE_ERROR),
        _ => Fault::Pass,
    });
    let futures: Vec<_> = ["a", "b", "c", "d", "e"]
        .map(|name| producer.send(record(0, name)).unwrap())
        .into();
    assert!(cluster.wait_until(PATIENCE, |cluster| produced_at(cluster, 0) > 8));
    assert!(futures.iter().all(|future| !future.is_done()));
    cluster.set_leader("t", 0, Some(1));
    get_all(futures);
    assert_eq!(values(&cluster, 0), ["first", "a", "b", "c", "d", "e"]);
}
