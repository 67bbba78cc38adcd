//! What tests change of the cluster's state: records and producers that are gone, limits, leaders told and untrue; and
//! answers that are kept back or differ from what was done.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::*;

#[test]
fn answers_are_kept_back_until_so_many_more_requests_have_come() {
    let cluster = MockCluster::start(1).unwrap();
    cluster.create_topic("t", 1);
    cluster.fail_next(
        MockApi::Produce,
        1,
        Fault::KeepBack(2, Box::new(Fault::Error(ErrorCode::NOT_ENOUGH_REPLICAS))),
    );
    let mut client = Client::connect(&cluster, 0);
    let batch = plain_batch(1);
    let produce = produce_request(-1, "t", [0; 16], &[(0, &batch)]);
    let first = client.send(&produce, 9);
    let second = client.send(&produce, 9);
    assert!(cluster.wait_until(TIMEOUT, |cluster| cluster.end_offset("t", 0) == Some(1)));
    client.expect_silence();
    let third = client.send(&produce, 9);
    let answers = [first, second, third].map(|sent| {
        let (correlation_id, answer) = client.receive::<ProduceSlices>(9);
        assert_eq!(correlation_id, sent);
        answer.topics[0].partitions[0].error
    });
    assert_eq!(
        answers,
        [
            ErrorCode::NOT_ENOUGH_REPLICAS,
            ErrorCode::NONE,
            ErrorCode::NONE
        ]
    );
    assert_eq!(
        client.produce(9, "t", 0, &batch).base_offset,
        2,
        "only those that were asked for are kept"
    );
}

#[test]
fn what_is_kept_back_is_lost_with_the_connection() {
    let cluster = MockCluster::start(1).unwrap();
    cluster.create_topic("t", 1);
    let batch = plain_batch(1);
    let produce = produce_request(-1, "t", [0; 16], &[(0, &batch)]);
    cluster.fail_next(
        MockApi::Produce,
        1,
        Fault::KeepBack(2, Box::new(Fault::Pass)),
    );
    cluster.fail_next(MockApi::Produce, 1, Fault::Disconnect);
    let mut client = Client::connect(&cluster, 0);
    client.send(&produce, 9);
    client.send(&produce, 9);
    client.expect_end();
    assert_eq!(cluster.end_offset("t", 0), Some(1));
}

#[test]
fn an_error_after_the_append_comes_with_the_batch_in_the_log_and_its_offset() {
    let cluster = MockCluster::start(1).unwrap();
    cluster.create_topic("t", 1);
    let mut client = Client::connect(&cluster, 0);
    let batch = batch_of(7, 0, 0, 2);
    let failure = PartitionError::new("t", 0, ErrorCode::NOT_LEADER_OR_FOLLOWER)
        .after_append()
        .current_leader(3, 5);
    cluster.fail_next(MockApi::Produce, 1, Fault::PartitionErrors(vec![failure]));
    let answer = client.produce(10, "t", 0, &batch);
    assert_eq!(
        (answer.error, answer.base_offset),
        (ErrorCode::NOT_LEADER_OR_FOLLOWER, 0)
    );
    let leader = answer.current_leader;
    assert_eq!((leader.leader_id, leader.leader_epoch), (3, 5));
    assert_eq!(cluster.end_offset("t", 0), Some(2));

    // One that is refused has the broker's own error.
    let failure = PartitionError::new("t", 0, ErrorCode::REQUEST_TIMED_OUT).after_append();
    cluster.fail_next(MockApi::Produce, 1, Fault::PartitionErrors(vec![failure]));
    let answer = client.produce(10, "t", 0, &batch_of(7, 0, 9, 1));
    assert_eq!(answer.error, ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
}

#[test]
fn a_log_begins_where_records_were_deleted_and_producers_are_known_all_the_same() {
    let cluster = MockCluster::start(1).unwrap();
    cluster.create_topic("t", 1);
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
    assert!(panic.is_err(), "the log is not that long");
}

#[test]
fn a_producer_that_is_unknown_is_refused_where_that_is_asked_for() {
    let cluster = MockCluster::builder()
        .refuse_unknown_producers(true)
        .start()
        .unwrap();
    cluster.create_topic("t", 1);
    let mut client = Client::connect(&cluster, 0);
    client.produce(9, "t", 0, &batch_of(7, 0, 0, 2));
    client.produce(9, "t", 0, &batch_of(8, 0, 0, 1));
    cluster.delete_records("t", 0, 2);
    // Retention took all that the first one wrote, and not the second one's.
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
        "those without an id are no producers"
    );
}

#[test]
fn the_limit_of_a_batch_can_be_changed() {
    let cluster = MockCluster::start(1).unwrap();
    cluster.create_topic("t", 1);
    let mut client = Client::connect(&cluster, 0);
    let batch = plain_batch(3);
    for (limit, error) in [
        (batch.len() - 1, ErrorCode::MESSAGE_TOO_LARGE),
        (batch.len(), ErrorCode::NONE),
    ] {
        cluster.set_max_message_bytes(limit);
        assert_eq!(client.produce(9, "t", 0, &batch).error, error);
    }
}

#[test]
fn metadata_can_tell_a_leader_that_is_none() {
    let cluster = MockCluster::start(2).unwrap();
    cluster.create_topic("t", 1);
    cluster.set_leader("t", 0, Some(1));
    let told = |client: &mut Client| {
        let answer = client.call(&metadata_request(Some(&["t"])), 9);
        let partition = &answer.topics[0].partitions[0];
        (partition.leader_id, partition.leader_epoch)
    };
    let mut client = Client::connect(&cluster, 0);
    assert_eq!(told(&mut client), (1, 1));
    cluster.pretend_leader("t", 0, Some((0, 0)));
    assert_eq!(told(&mut client), (0, 0));
    assert_eq!(cluster.leader("t", 0), Some(1));
    let answer = client.produce(9, "t", 0, &plain_batch(1));
    assert_eq!(answer.error, ErrorCode::NOT_LEADER_OR_FOLLOWER);
    cluster.pretend_leader("t", 0, None);
    assert_eq!(told(&mut client), (1, 1));
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
