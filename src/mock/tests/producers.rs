//! Idempotent producers: ids, epochs and sequences.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::*;
use crate::protocol::Request;
use crate::protocol::messages::InitProducerIdRequest;

#[test]
fn producer_ids_are_new_and_transactional_ids_get_the_next_epoch() {
    let cluster = MockCluster::start(2).unwrap();
    let mut ids = Vec::new();
    for (version, broker) in InitProducerIdRequest::VERSIONS.zip([0, 1].into_iter().cycle()) {
        let answer = Client::connect(&cluster, broker).call(&init_producer_id(None), version);
        assert_eq!((answer.error, answer.producer_epoch), (ErrorCode::NONE, 0));
        assert!(answer.producer_id >= 0 && !ids.contains(&answer.producer_id));
        ids.push(answer.producer_id);
    }
    let mut client = Client::connect(&cluster, 0);
    let first = client.call(&init_producer_id(Some("tx")), 4);
    let second = client.call(&init_producer_id(Some("tx")), 4);
    assert_eq!(
        (second.producer_id, second.producer_epoch),
        (first.producer_id, first.producer_epoch + 1)
    );
}

#[test]
fn the_first_producer_id_can_have_a_high_epoch() {
    let cluster = MockCluster::builder()
        .first_producer_epoch(i16::MAX)
        .start()
        .unwrap();
    let mut client = Client::connect(&cluster, 0);
    let given = [(); 2].map(|()| client.call(&init_producer_id(None), 4));
    assert_ne!(given[0].producer_id, given[1].producer_id);
    assert_eq!(given.map(|answer| answer.producer_epoch), [i16::MAX, 0]);
}

#[test]
fn idempotent_batches_are_written_once_and_in_order() {
    let cluster = cluster_with_topic(1, 1);
    let mut client = Client::connect(&cluster, 0);
    let mut send = |epoch, sequence, count| {
        let answer = client.produce(9, "t", 0, &batch_of(7, epoch, sequence, count));
        (answer.error, answer.base_offset)
    };
    let ok = |offset| (ErrorCode::NONE, offset);
    let refused = |error| (error, -1);

    for (sequence, offset) in (0..6).map(|index| (index * 2, i64::from(index) * 2)) {
        assert_eq!(send(0, sequence, 2), ok(offset));
    }
    // The last five are known by their sequence and size; the one before them is out of order.
    for sequence in [10, 4, 2] {
        assert_eq!(send(0, sequence, 2), ok(sequence.into()));
    }
    assert_eq!(
        send(0, 0, 2),
        refused(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER)
    );
    assert_eq!(
        send(0, 4, 1),
        refused(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER)
    );
    assert_eq!(
        send(0, 13, 1),
        refused(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER)
    );
    assert_eq!(send(0, 12, 1), ok(12));

    assert_eq!(
        send(1, 13, 1),
        refused(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER)
    );
    assert_eq!(send(1, 0, 1), ok(13));
    assert_eq!(send(1, 0, 1), ok(13));
    assert_eq!(send(0, 13, 1), refused(ErrorCode::INVALID_PRODUCER_EPOCH));
    assert_eq!(cluster.end_offset("t", 0), Some(14));
    let last = cluster.batches("t", 0).pop().unwrap();
    assert_eq!(
        (last.producer_id, last.producer_epoch, last.base_sequence),
        (7, 1, 0)
    );
}

#[test]
fn sequences_wrap_and_producers_do_not_disturb_each_other() {
    let cluster = cluster_with_topic(1, 2);
    let mut client = Client::connect(&cluster, 0);
    // A producer that the partition does not know may begin at any sequence.
    for (partition, producer_id, sequence, count) in [
        (0, 7, i32::MAX - 1, 3),
        (0, 7, 1, 1),
        (0, 8, 0, 1),
        (1, 7, 0, 1),
        (0, 7, 2, 1),
    ] {
        let batch = batch_of(producer_id, 0, sequence, count);
        let answer = client.produce(9, "t", partition, &batch);
        assert_eq!(answer.error, ErrorCode::NONE, "sequence {sequence}");
    }
}

#[test]
fn deleted_records_move_the_start_of_the_log_and_producers_stay_known() {
    let cluster = cluster_with_topic(1, 1);
    let mut client = Client::connect(&cluster, 0);
    for sequence in [0, 2, 4] {
        let answer = client.produce(9, "t", 0, &batch_of(7, 0, sequence, 2));
        assert_eq!(
            (answer.error, answer.log_start_offset),
            (ErrorCode::NONE, 0)
        );
    }
    cluster.delete_records("t", 0, 3);
    let offsets: Vec<_> = cluster
        .batches("t", 0)
        .iter()
        .map(|batch| batch.base_offset)
        .collect();
    assert_eq!(offsets, [2, 4], "batches go as a whole");
    let answer = client.produce(9, "t", 0, &batch_of(7, 0, 9, 1));
    assert_eq!(
        (answer.error, answer.log_start_offset),
        (ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER, 3)
    );
    let answer = client.produce(9, "t", 0, &batch_of(7, 0, 6, 1));
    assert_eq!((answer.error, answer.base_offset), (ErrorCode::NONE, 6));

    cluster.forget_producers("t", 0);
    let answer = client.produce(9, "t", 0, &batch_of(7, 0, 100, 1));
    assert_eq!((answer.error, answer.base_offset), (ErrorCode::NONE, 7));
    let panic = catch_unwind(AssertUnwindSafe(|| cluster.delete_records("t", 0, 9)));
    assert!(panic.is_err(), "the log ends before offset 9");
}

#[test]
fn unknown_producers_are_refused_with_that_option() {
    let cluster = MockCluster::builder()
        .refuse_unknown_producers(true)
        .start()
        .unwrap();
    cluster.create_topic("t", 1);
    let mut client = Client::connect(&cluster, 0);
    client.produce(9, "t", 0, &batch_of(7, 0, 0, 2));
    client.produce(9, "t", 0, &batch_of(8, 0, 0, 1));
    cluster.delete_records("t", 0, 2);
    // Retention deleted all records of the first producer, and none of the second.
    for (producer, sequence, error) in [
        (7, 2, ErrorCode::UNKNOWN_PRODUCER_ID),
        (7, 0, ErrorCode::NONE),
        (8, 1, ErrorCode::NONE),
    ] {
        let answer = client.produce(9, "t", 0, &batch_of(producer, 0, sequence, 1));
        assert_eq!((answer.error, answer.log_start_offset), (error, 2));
    }
    assert_eq!(
        client.produce(9, "t", 0, &plain_batch(1)).error,
        ErrorCode::NONE,
        "a batch without a producer id is not refused"
    );
}
