//! Topics that are deleted, and created again, while records for them are on their way.

use std::sync::Arc;
use std::time::Duration;

use kafka_producer::mock::{Fault, MockApi, MockCluster};
use kafka_producer::{Delivery, ErrorCode};

use crate::support::{
    PATIENCE, Watched, builder, cluster, deliver, get_all, producer, record, values,
};

/// KIP-516: the id is refused once, and no other is known.
#[test]
fn a_refused_topic_id_is_requested_again_and_the_batch_sent_again() {
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

/// The five in flight are refused, because the old id is unknown now. Under the new one they begin at sequence 0.
#[test]
fn a_recreated_topic_gets_the_batches_in_flight_in_order() {
    let cluster = Arc::new(cluster(1, 1));
    let producer = builder(&cluster).batch_size(0).build().unwrap();
    deliver(&producer, 0, "first").unwrap();
    let old = cluster.topic_id("t").unwrap();
    let in_callback = Arc::downgrade(&cluster);
    cluster.once(MockApi::Produce, move |_| {
        let cluster = in_callback.upgrade().unwrap();
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

/// Java: `ProducerSendWhileDeletionTest`. Metadata requests recreate the topic. Every record has one outcome, and the last
/// topic's log has each record once and in order.
#[test]
fn records_of_a_topic_that_is_deleted_again_and_again_all_have_an_outcome() {
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
                    // Not faster than topics are created and deleted.
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

/// The topic is gone for good: records that waited for it fail as not written, and say why.
#[test]
fn a_topic_that_is_gone_for_good_fails_its_waiting_records_in_time() {
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

#[test]
fn a_topic_deleted_and_created_again_is_written_to() {
    let cluster = cluster(1, 1);
    let producer = producer(&cluster);
    for index in 0..5 {
        deliver(&producer, 0, index.to_string()).unwrap();
    }
    for round in 0..3 {
        cluster.delete_topic("t");
        cluster.create_topic("t", 1);
        for index in 0..5 {
            let metadata = deliver(&producer, 0, index.to_string()).unwrap();
            assert_eq!(metadata.offset(), Some(index), "round {round}");
        }
        assert_eq!(values(&cluster, 0), ["0", "1", "2", "3", "4"]);
    }
}
