//! Leaders and topics that change under way, rule by rule.

use std::sync::Arc;
use std::time::Duration;

use kafka_producer::mock::{Fault, MockApi, MockCluster, PartitionError};
use kafka_producer::{Delivery, ErrorCode};

use crate::support::{
    Gate, PATIENCE, SOON, Watched, builder, cluster, deliver, get_all, producer, record, values,
};

/// So often does the producer ask for metadata by itself.
const OFTEN: Duration = Duration::from_millis(20);

fn produced_at(cluster: &MockCluster, broker: i32) -> usize {
    let requests = cluster.requests();
    let produced = requests
        .iter()
        .filter(|request| request.api == MockApi::Produce && request.broker == broker);
    produced.count()
}

/// Waits until a metadata request has come and been answered that began after this call.
fn await_metadata(cluster: &MockCluster) {
    let asked = cluster.request_count(MockApi::Metadata);
    assert!(
        cluster.wait_until(PATIENCE, |cluster| cluster.request_count(MockApi::Metadata)
            >= asked + 3)
    );
}

/// Without idempotence, where a producer never takes a batch from a leader before it has answered or `request.timeout.ms` is
/// over. One request in flight keeps the order; with several what is behind it goes to the new leader, as in Java.
#[test]
fn what_is_behind_a_batch_in_flight_to_the_old_leader_waits_for_it_where_one_request_keeps_the_order()
 {
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

/// With idempotence too: whatever the old leader has passed on, the new one knows again.
#[test]
fn what_the_old_leader_wrote_and_did_not_answer_is_known_to_the_new_one() {
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

/// Were it believed, no true metadata could ever overrule its epoch.
#[test]
fn a_leader_hint_of_a_broker_that_nobody_knows_is_ignored() {
    let cluster = cluster(2, 1);
    let producer = producer(&cluster);
    deliver(&producer, 0, "first").unwrap();
    for code in [
        ErrorCode::NOT_LEADER_OR_FOLLOWER,
        ErrorCode::FENCED_LEADER_EPOCH,
    ] {
        let stranger = PartitionError::new("t", 0, code).current_leader(77, 99);
        cluster.fail_next(MockApi::Produce, 1, Fault::PartitionErrors(vec![stranger]));
        deliver(&producer, 0, code.name()).unwrap();
    }
    assert_eq!(cluster.end_offset("t", 0), Some(3));
}

/// Java: `RecordAccumulatorTest.testExponentialRetryBackoffLeaderChange`.
#[test]
fn a_batch_whose_leader_epoch_has_changed_skips_its_backoff() {
    let cluster = cluster(1, 1);
    // Far above what this test waits for.
    let forever = Duration::from_secs(3600);
    let producer = builder(&cluster)
        .retry_backoff(forever)
        .retry_backoff_max(forever)
        .build()
        .unwrap();
    deliver(&producer, 0, "first").unwrap();
    // The same broker leads again, and says so.
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

/// librdkafka 0146, do_test_fast_metadata_refresh (its issue 4577): an error that asks for metadata is no reason to ask
/// for ever.
#[test]
fn an_error_without_a_change_of_leader_makes_no_loop_of_metadata_requests() {
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

/// The same test's second variation: metadata itself is in error for a while, and nothing waits for it.
#[test]
fn errors_of_metadata_hold_up_no_topic_that_is_known() {
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

/// A leader whose disk is full, until another one leads.
#[test]
fn a_leader_whose_disk_fails_is_waited_out_in_order() {
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

/// KIP-516: the id is refused once, and no other is known.
#[test]
fn a_topic_id_that_is_refused_is_asked_for_again_and_the_batch_sent_again() {
    for code in [
        ErrorCode::UNKNOWN_TOPIC_ID,
        ErrorCode::INCONSISTENT_TOPIC_ID,
    ] {
        let cluster = cluster(1, 1);
        let producer = builder(&cluster).batch_size(0).build().unwrap();
        deliver(&producer, 0, "first").unwrap();
        let asked = cluster.request_count(MockApi::Metadata);
        let refused = Fault::Error(code);
        cluster.fail_next(MockApi::Produce, 1, Fault::KeepBack(4, Box::new(refused)));
        get_all(
            ["a", "b", "c", "d", "e"]
                .map(|name| producer.send(record(0, name)).unwrap())
                .into(),
        );
        assert!(cluster.wait_until(PATIENCE, |cluster| {
            cluster.request_count(MockApi::Metadata) > asked
        }));
        assert_eq!(values(&cluster, 0), ["first", "a", "b", "c", "d", "e"]);
        let batches = cluster.batches("t", 0);
        assert!(
            batches.iter().all(|batch| batch.producer_epoch == 0),
            "it is the same topic: its sequences go on"
        );
    }
}

/// The five in flight are refused, for nobody knows the old id any more; under the new one they begin at sequence 0.
#[test]
fn a_topic_made_anew_with_batches_in_flight_gets_them_in_order() {
    let cluster = Arc::new(cluster(1, 1));
    let producer = builder(&cluster).batch_size(0).build().unwrap();
    deliver(&producer, 0, "first").unwrap();
    let old = cluster.topic_id("t").unwrap();
    let anew = Arc::downgrade(&cluster);
    cluster.once(MockApi::Produce, move |_| {
        let cluster = anew.upgrade().unwrap();
        cluster.delete_topic("t");
        cluster.create_topic("t", 1);
        Fault::KeepBack(4, Box::new(Fault::Error(ErrorCode::UNKNOWN_TOPIC_ID)))
    });
    let futures = ["a", "b", "c", "d", "e"].map(|name| producer.send(record(0, name)).unwrap());
    for (offset, future) in (0..).zip(futures) {
        assert_eq!(future.get(PATIENCE).unwrap().offset(), Some(offset));
    }
    assert_ne!(cluster.topic_id("t").unwrap(), old);
    assert_eq!(values(&cluster, 0), ["a", "b", "c", "d", "e"]);
    let sequences: Vec<_> = cluster
        .batches("t", 0)
        .iter()
        .map(|batch| batch.base_sequence)
        .collect();
    assert_eq!(sequences, [0, 1, 2, 3, 4]);
}

/// Java: `ProducerSendWhileDeletionTest`. The topic comes back by being asked for; every record has one outcome, and what
/// is in the last topic's log is there once and in order.
#[test]
fn a_topic_that_is_deleted_again_and_again_costs_no_record_its_outcome() {
    const RECORDS: usize = 1500;
    let cluster = cluster(1, 1);
    let producer = builder(&cluster).batch_size(100).build().unwrap();
    let outcomes = Watched::<Vec<usize>>::default();
    std::thread::scope(|scope| {
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let cluster = &cluster;
        scope.spawn(move || {
            while let Err(std::sync::mpsc::RecvTimeoutError::Timeout) =
                stopped.recv_timeout(Duration::from_millis(10))
            {
                if cluster.end_offset("t", 0) > Some(0) {
                    cluster.delete_topic("t");
                }
            }
        });
        let futures: Vec<_> = (0..RECORDS)
            .map(|index| {
                let outcomes = outcomes.clone();
                let callback = move |_| outcomes.change(|outcomes| outcomes.push(index));
                let sent = producer.send_with(record(0, index.to_string()), callback);
                if index % 50 == 0 {
                    // No faster than topics come and go.
                    sent.as_ref().unwrap().get(PATIENCE).unwrap();
                }
                sent.unwrap()
            })
            .collect();
        get_all(futures);
        drop(stop);
    });
    let expected: Vec<_> = (0..RECORDS).collect();
    assert_eq!(outcomes.get(), expected, "each has one, in order");
    let written: Vec<usize> = values(&cluster, 0)
        .iter()
        .map(|value| value.parse().unwrap())
        .collect();
    assert!(
        written.windows(2).all(|pair| pair[0] < pair[1]),
        "{written:?}"
    );
}

/// A partition without a topic for good: what waited for it says why, and is not written.
#[test]
fn a_topic_that_is_gone_for_good_fails_what_waits_for_it_in_time() {
    let cluster = MockCluster::builder()
        .auto_create_topics(false)
        .start()
        .unwrap();
    cluster.create_topic("t", 1);
    let producer = builder(&cluster)
        .request_timeout(Duration::from_millis(300))
        .delivery_timeout(Duration::from_millis(600))
        .build()
        .unwrap();
    deliver(&producer, 0, "first").unwrap();
    cluster.delete_topic("t");
    let error = deliver(&producer, 0, "lost").unwrap_err();
    assert_eq!(error.delivery(), Delivery::NotWritten, "{error}");
    assert!(!error.is_fatal());
    cluster.create_topic("t", 1);
    deliver(&producer, 0, "again").unwrap();
    assert_eq!(values(&cluster, 0), ["again"]);
}
