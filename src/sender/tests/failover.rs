//! A broker owes an answer while another one leads: its batches move long before `request.timeout.ms`. Also: what a leader
//! still knows about this producer, and what the worker remembers about a broker after a connection has ended.

use crate::error::{Delivery, ErrorKind};
use crate::metadata::BrokerId;
use crate::protocol::ErrorCode;
use crate::protocol::messages::{ProducePartitionResponse, ProduceResponse, ProduceTopicResponse};
use crate::sender::scripted::{Harness, MS, Sent, Settings, TOPIC, Ticket, written};

/// One partition on the first of two brokers, with a batch that was acknowledged and one that is not answered.
fn with_an_unanswered_batch(choose: impl FnOnce(&mut Settings)) -> (Harness, Sent) {
    let mut worker = Harness::new(|settings| {
        settings.brokers = 2;
        settings.sender.request_timeout = 30_000 * MS;
        settings.sender.topics.delivery_timeout = 60_000 * MS;
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
fn a_broker_that_owes_an_answer_causes_metadata_requests_for_its_topics_alone() {
    let (mut worker, _) = with_an_unanswered_batch(|_| {});
    assert!(!worker.topics_are_requested());
    worker.run_for(999 * MS);
    assert!(!worker.topics_are_requested());
    for _ in 0..3 {
        assert_eq!(worker.run(), Some(worker.now + MS));
        worker.run_for(1000 * MS);
        assert!(worker.topics_are_requested() && !worker.refresh_is_requested());
        worker.publish();
        assert!(!worker.topics_are_requested());
    }
    assert!(worker.network().closed.is_empty());
}

/// An overloaded cluster answers this slowly. Metadata requests all the time would add to its load.
#[test]
fn a_broker_that_needs_seconds_for_every_write_soon_causes_no_more_metadata_requests() {
    let (mut worker, mut unanswered) = with_an_unanswered_batch(|_| {});
    let mut questions = Vec::new();
    for _ in 0..4 {
        let mut asked = 0;
        for _ in 0..30 {
            worker.run_for(100 * MS);
            if worker.topics_are_requested() {
                asked += 1;
                worker.publish();
            }
        }
        questions.push(asked);
        worker.serve(&unanswered);
        worker.send_batch(0, "next");
        unanswered = worker.request();
    }
    assert!((1..=3).contains(&questions[0]), "{questions:?}");
    assert_eq!(questions[1..], [0, 0, 0]);
    // The broker hangs now.
    worker.run_for(6000 * MS);
    assert!(worker.topics_are_requested());
}

#[test]
fn batches_move_from_a_silent_broker_to_the_new_leader_with_the_same_bytes() {
    let (mut worker, unanswered) = with_an_unanswered_batch(|_| {});
    worker.run_for(1500 * MS);
    worker.move_leader(0, Some(2));
    worker.publish();
    let again = worker.request();
    assert_eq!(worker.network().closed, [unanswered.link]);
    assert_eq!(
        worker.network().abandoned,
        [unanswered.link],
        "other workers that share the connection keep it"
    );
    assert_eq!(again.broker, 2);
    assert_eq!(again.batch(), unanswered.batch());
}

#[test]
fn batches_move_later_if_the_leader_moved_before_the_old_one_was_silent() {
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
    assert!(worker.network().closed.is_empty());
    assert_eq!(worker.log(0).len(), 2);
}

/// Partition 0 moves away from a silent broker, which still leads partition 2 and owes an answer for it, too.
fn with_a_partition_that_stays(retries: u32) -> (Harness, [Sent; 2], Ticket) {
    let (mut worker, unanswered) = with_an_unanswered_batch(|settings| {
        settings.partitions = 3;
        settings.sender.retries = retries;
    });
    let ticket = worker.send_batch(2, "c");
    let other = worker.request();
    worker.run_for(1500 * MS);
    worker.move_leader(0, Some(2));
    worker.publish();
    worker.run();
    (worker, [unanswered, other], ticket)
}

#[test]
fn only_partitions_that_moved_are_taken_from_a_silent_broker_and_late_answers_complete_the_others()
{
    let (mut worker, [unanswered, other], ticket) = with_a_partition_that_stays(1);
    let again = worker.requests().remove(0);
    assert_eq!((again.broker, again.batch()), (2, unanswered.batch()));
    assert!(worker.network().closed.is_empty());
    worker.serve(&again);
    // The broker was only slow.
    worker.refuse(&unanswered, ErrorCode::NOT_LEADER_OR_FOLLOWER);
    // The batch still has its one retry.
    worker.refuse(&other, ErrorCode::NOT_ENOUGH_REPLICAS);
    worker.run_for(200 * MS);
    let back = worker.requests().remove(0);
    assert_eq!(back.batch(), other.batch());
    worker.serve(&back);
    assert_eq!(ticket.offset(), Some(0));
    assert_eq!(worker.log(0).len(), 2);
    assert!(worker.network().closed.is_empty());
}

#[test]
fn batches_that_stay_with_a_silent_broker_wait_until_the_request_timeout() {
    let (mut worker, [_, other], _) = with_a_partition_that_stays(u32::MAX);
    let again = worker.requests().remove(0);
    worker.serve(&again);
    worker.run_for(28_000 * MS);
    assert!(worker.network().closed.is_empty());
    worker.run_for(1000 * MS);
    assert_eq!(worker.network().closed, [other.link]);
    assert_eq!(worker.requests().remove(0).batch(), other.batch());
}

#[test]
fn a_batch_without_a_retry_left_is_not_taken_from_a_silent_broker() {
    let (mut worker, [unanswered, other], ticket) = with_a_partition_that_stays(0);
    worker.no_request();
    worker.answer(&unanswered, |_| written(1));
    worker.serve(&other);
    assert_eq!(ticket.offset(), Some(0));
    assert!(worker.network().closed.is_empty());
}

/// Several requests in flight keep no order without idempotence. So, as in Java, no batch waits for a leader that may hang.
#[test]
fn without_idempotence_a_new_leader_gets_waiting_batches_while_the_old_one_owes_an_answer() {
    for (max_in_flight, requests) in [(2, 1), (1, 0)] {
        let (mut worker, unanswered) = with_an_unanswered_batch(|settings| {
            settings.sender.idempotence = false;
            settings.sender.max_in_flight = max_in_flight;
        });
        let ticket = worker.send_batch(0, "c");
        worker.move_leader(0, Some(2));
        worker.publish();
        worker.run();
        let sent = worker.requests();
        assert_eq!(sent.len(), requests);
        if let [sent] = &sent[..] {
            assert_eq!(sent.broker, 2);
            worker.serve(sent);
            assert!(ticket.result().unwrap().is_ok());
        }
        worker.run_for(29_000 * MS);
        assert!(worker.network().closed.is_empty());
        worker.run_for(1000 * MS);
        assert_eq!(worker.network().closed, [unanswered.link]);
    }
}

#[test]
fn without_idempotence_the_answer_is_waited_for() {
    let (mut worker, unanswered) = with_an_unanswered_batch(|settings| {
        settings.sender.idempotence = false;
        settings.sender.topics.acks = 1;
    });
    worker.run_for(2000 * MS);
    worker.move_leader(0, Some(2));
    worker.publish();
    worker.run_for(2000 * MS);
    worker.no_request();
    assert!(worker.network().closed.is_empty());
    worker.run_for(27_000 * MS);
    assert_eq!(worker.network().closed, [unanswered.link]);
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
fn a_leader_that_got_no_batch_for_a_minute_gets_one_batch_alone() {
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
    let response = ProduceResponse {
        topics: vec![topic],
        throttle_time_ms,
        ..ProduceResponse::default()
    };
    worker.answer_with(request, &response);
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

/// A record without a key would expire at this broker.
#[test]
fn a_broker_that_throttles_for_longer_than_a_record_may_wait_is_reported_until_one_may() {
    let mut worker =
        Harness::new(|settings| settings.sender.topics.delivery_timeout = 120_000 * MS);
    let is_reported = |worker: &Harness| {
        worker
            .accumulator
            .unavailable_brokers()
            .contains(BrokerId(1))
    };
    worker.send_batch(0, "a");
    let first = worker.request();
    answer_with_throttle(&mut worker, &first, 100_000);
    assert!(!is_reported(&worker));
    worker.run_for(100_000 * MS);
    worker.send_batch(0, "b");
    let second = worker.request();
    answer_with_throttle(&mut worker, &second, 200_000);
    assert!(is_reported(&worker));
    worker.run_for(79_999 * MS);
    assert!(is_reported(&worker));
    worker.run_for(MS);
    assert!(!is_reported(&worker));
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
    assert!(!worker.topics_are_requested());
    worker.run_for(1000 * MS);
    assert!(worker.topics_are_requested());
    worker.serve(&later);
}

#[test]
fn a_throttle_lasts_the_time_that_the_broker_gave_on_the_same_connection() {
    let mut worker = Harness::new(|settings| {
        settings.sender.topics.delivery_timeout = 300_000 * MS;
        settings.sender.connections_max_idle = Some(60_000 * MS);
    });
    worker.send_batch(0, "a");
    let first = worker.request();
    worker.send_batch(0, "b");
    answer_with_throttle(&mut worker, &first, 200_000);
    worker.run_for(199_999 * MS);
    worker.no_request();
    worker.run_for(MS);
    assert_eq!(worker.requests().remove(0).link, first.link);
    assert!(worker.network().closed.is_empty());
}

#[test]
fn an_idle_connection_is_kept_while_its_broker_throttles() {
    let mut worker = Harness::new(|settings| settings.sender.connections_max_idle = Some(300 * MS));
    worker.send_batch(0, "a");
    let first = worker.request();
    answer_with_throttle(&mut worker, &first, 2000);
    assert_eq!(worker.run(), Some(worker.now + 2000 * MS));
    worker.run_for(1999 * MS);
    assert!(worker.network().closed.is_empty());
    worker.run_for(MS);
    assert_eq!(worker.network().closed, [first.link]);
}

#[test]
fn waiting_batches_expire_if_the_throttle_lasts_beyond_the_delivery_timeout() {
    let mut worker =
        Harness::new(|settings| settings.sender.topics.delivery_timeout = 120_000 * MS);
    worker.send_batch(0, "a");
    let first = worker.request();
    let ticket = worker.send_batch(0, "b");
    answer_with_throttle(&mut worker, &first, i32::MAX);
    worker.run_for(119_000 * MS);
    assert!(ticket.result().is_none());
    worker.run_for(1000 * MS);
    assert_eq!(ticket.error().kind(), ErrorKind::DeliveryTimeout);
    assert_eq!(ticket.error().delivery(), Delivery::NotWritten);
    worker.no_request();
    assert!(worker.network().closed.is_empty());
}

#[test]
fn a_throttle_is_reported_to_the_network_for_others_on_the_connection() {
    let mut worker = Harness::new(|_| {});
    worker.send_batch(0, "a");
    let first = worker.request();
    answer_with_throttle(&mut worker, &first, 3000);
    let until = worker.now + 3000 * MS;
    assert_eq!(worker.network().throttled, [(first.link, until)]);
}

#[test]
fn a_throttle_from_another_workers_answer_is_obeyed_and_gives_requests_in_flight_more_time() {
    let (mut worker, unanswered) = with_an_unanswered_batch(|settings| {
        settings.sender.request_timeout = 1000 * MS;
        settings.sender.topics.delivery_timeout = 120_000 * MS;
    });
    worker.run_for(500 * MS);
    let until = worker.now + 60_000 * MS;
    worker.throttle(unanswered.link, until);
    worker.send_batch(0, "c");
    worker.run_for(59_999 * MS);
    worker.no_request();
    assert!(worker.network().closed.is_empty());
    assert!(!worker.topics_are_requested(), "the broker is not silent");
    assert!(
        worker.network().throttled.is_empty(),
        "it is not reported again"
    );
    worker.run_for(MS);
    worker.serve(&unanswered);
    assert_eq!(worker.log(0).len(), 2);
    assert!(worker.network().closed.is_empty());
}

#[test]
fn the_same_throttle_reported_again_gives_requests_in_flight_no_more_time() {
    let (mut worker, unanswered) =
        with_an_unanswered_batch(|settings| settings.sender.request_timeout = 1000 * MS);
    let until = worker.now + 5000 * MS;
    for _ in 0..3 {
        worker.throttle(unanswered.link, until);
    }
    worker.run_for(5999 * MS);
    assert!(worker.network().closed.is_empty());
    worker.run_for(MS);
    assert_eq!(worker.network().closed, [unanswered.link]);
}

#[test]
fn a_link_that_shares_a_throttled_connection_begins_throttled() {
    let mut worker = Harness::new(|settings| settings.connects = false);
    worker.send_batch(0, "a");
    worker.run();
    let link = worker.connecting()[0];
    let until = worker.now + 2000 * MS;
    worker.throttle(link, until);
    worker.connected(link);
    worker.run_for(1999 * MS);
    worker.no_request();
    worker.run_for(MS);
    assert_eq!(worker.requests().len(), 1);
}
