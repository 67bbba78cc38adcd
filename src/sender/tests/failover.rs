//! A broker that owes an answer while another one leads: it is left long before `request.timeout.ms`. What a leader can be
//! taken to know of this producer, and what is remembered of a broker beyond a connection's end.

use super::harness::{Harness, MS, Sent, Settings, TOPIC, written};
use crate::protocol::messages::{ProducePartitionResponse, ProduceResponse, ProduceTopicResponse};

/// One partition on the first of two brokers, with a batch that was acknowledged and one that is not answered.
fn with_an_unanswered_batch(choose: impl FnOnce(&mut Settings)) -> (Harness, Sent) {
    let mut worker = Harness::new(|settings| {
        settings.brokers = 2;
        settings.sender.request_timeout = 30_000 * MS;
        settings.sender.delivery_timeout = 60_000 * MS;
        choose(settings);
    });
    worker.send_batch(0, "a");
    let first = worker.request();
    worker.serve(&first);
    worker.publish();
    worker.send_batch(0, "b");
    let second = worker.request();
    (worker, second)
}

#[test]
fn the_cluster_is_asked_about_a_broker_that_owes_an_answer_every_second() {
    let (mut worker, _) = with_an_unanswered_batch(|_| {});
    assert!(!worker.wants_refresh());
    worker.run_for(999 * MS);
    assert!(!worker.wants_refresh());
    for _ in 0..3 {
        assert_eq!(worker.run(), Some(worker.now + MS));
        worker.run_for(1000 * MS);
        assert!(worker.wants_refresh());
    }
    assert!(worker.wire.borrow().closed.is_empty());
}

#[test]
fn a_silent_broker_is_left_for_the_new_leader_with_the_same_bytes() {
    let (mut worker, unanswered) = with_an_unanswered_batch(|_| {});
    worker.run_for(1500 * MS);
    worker.move_leader(0, Some(2));
    worker.publish();
    let again = worker.request();
    assert_eq!(worker.wire.borrow().closed, [unanswered.link]);
    assert_eq!(again.broker, 2);
    assert_eq!(again.batch(), unanswered.batch());
}

#[test]
fn a_leader_that_moved_before_the_old_one_was_long_silent_is_gone_to_later() {
    let (mut worker, unanswered) = with_an_unanswered_batch(|_| {});
    worker.move_leader(0, Some(2));
    worker.publish();
    worker.no_request();
    worker.run_for(999 * MS);
    worker.no_request();
    worker.run_for(MS);
    assert_eq!(worker.request().batch(), unanswered.batch());
}

#[test]
fn a_silent_broker_that_still_leads_is_waited_for() {
    let (mut worker, unanswered) = with_an_unanswered_batch(|_| {});
    for _ in 0..20 {
        worker.run_for(1000 * MS);
        worker.publish();
    }
    worker.no_request();
    worker.serve(&unanswered);
    assert!(worker.wire.borrow().closed.is_empty());
    assert_eq!(worker.log(0).len(), 2);
}

#[test]
fn batches_for_other_partitions_of_a_silent_broker_that_was_left_are_sent_again() {
    let (mut worker, _) = with_an_unanswered_batch(|settings| settings.partitions = 3);
    // Partition 2 is led by broker 1 as well, and stays there.
    worker.send_batch(2, "c");
    let other = worker.request();
    worker.run_for(1500 * MS);
    worker.move_leader(0, Some(2));
    worker.publish();
    worker.run_for(500 * MS);
    let again = worker.requests();
    assert!(again.iter().any(|sent| sent.broker == 2));
    let back = again.iter().find(|sent| sent.broker == 1).unwrap();
    assert_eq!(back.batch(), other.batch());
}

#[test]
fn without_idempotence_the_answer_is_waited_for() {
    let (mut worker, unanswered) = with_an_unanswered_batch(|settings| {
        settings.sender.idempotence = false;
        settings.sender.acks = 1;
    });
    worker.run_for(2000 * MS);
    worker.move_leader(0, Some(2));
    worker.publish();
    worker.run_for(2000 * MS);
    worker.no_request();
    assert!(worker.wire.borrow().closed.is_empty());
    worker.run_for(27_000 * MS);
    assert_eq!(worker.wire.borrow().closed, [unanswered.link]);
}

/// One batch was acknowledged; of the next two only the first goes.
fn assert_one_goes_alone(worker: &mut Harness) {
    worker.send_batch(0, "b");
    let alone = worker.request();
    worker.send_batch(0, "c");
    worker.no_request();
    worker.serve(&alone);
    worker.send_batch(0, "d");
    worker.run();
    assert_eq!(worker.requests().len(), 2, "c and d together");
}

#[test]
fn a_new_leader_gets_one_batch_alone() {
    let mut worker = Harness::new(|settings| settings.brokers = 2);
    worker.send_batch(0, "a");
    let first = worker.request();
    worker.serve(&first);
    worker.move_leader(0, Some(2));
    worker.publish();
    assert_one_goes_alone(&mut worker);
}

#[test]
fn a_leader_that_has_heard_nothing_for_a_minute_gets_one_batch_alone() {
    let mut worker = Harness::new(|_| {});
    worker.send_batch(0, "a");
    let first = worker.request();
    worker.serve(&first);
    worker.run_for(60_000 * MS);
    assert_one_goes_alone(&mut worker);
}

fn answer_with_throttle(worker: &mut Harness, request: &Sent, throttle_time_ms: i32) {
    let topic = ProduceTopicResponse {
        name: TOPIC.into(),
        partitions: vec![ProducePartitionResponse {
            index: request.batch().partition,
            ..written(0)
        }],
        ..ProduceTopicResponse::default()
    };
    let mut response = ProduceResponse {
        topics: vec![topic],
        throttle_time_ms,
        ..ProduceResponse::default()
    };
    worker.answer_with(request, &mut response);
}

#[test]
fn a_throttle_outlives_its_connection() {
    let mut worker = Harness::new(|_| {});
    worker.send_batch(0, "a");
    let first = worker.request();
    answer_with_throttle(&mut worker, &first, 3000);
    worker.hang_up(1);
    worker.send_batch(0, "b");
    worker.run_for(2999 * MS);
    worker.no_request();
    worker.run_for(MS);
    assert_eq!(worker.requests().len(), 1);
}

#[test]
fn a_broker_that_throttles_is_not_silent() {
    let (mut worker, unanswered) =
        with_an_unanswered_batch(|settings| settings.sender.max_in_flight = 2);
    worker.run_for(500 * MS);
    worker.send_batch(0, "c");
    let later = worker.request();
    answer_with_throttle(&mut worker, &unanswered, 10_000);
    worker.run_for(10_000 * MS);
    assert!(!worker.wants_refresh());
    worker.run_for(1000 * MS);
    assert!(worker.wants_refresh());
    worker.serve(&later);
}

#[test]
fn a_throttle_beyond_all_bounds_ends_after_a_minute() {
    let mut worker = Harness::new(|settings| settings.sender.delivery_timeout = 120_000 * MS);
    worker.send_batch(0, "a");
    let first = worker.request();
    answer_with_throttle(&mut worker, &first, i32::MAX);
    worker.send_batch(0, "b");
    worker.run_for(59_999 * MS);
    worker.no_request();
    worker.run_for(MS);
    assert_eq!(worker.requests().len(), 1);
}
