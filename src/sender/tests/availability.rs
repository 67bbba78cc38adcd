//! Which brokers are reported as unavailable, so that records without a key avoid them.

use crate::metadata::BrokerId;
use crate::sender::scripted::{Harness, MS, written};

fn is_reported(worker: &Harness) -> bool {
    worker
        .accumulator
        .unavailable_brokers()
        .contains(BrokerId(1))
}

#[test]
fn a_broker_that_owes_an_answer_for_a_second_is_reported_until_it_answers() {
    let mut worker = Harness::new(|settings| {
        settings.sender.request_timeout = 60_000 * MS;
        settings.sender.topics.delivery_timeout = 120_000 * MS;
    });
    worker.send_batch(0, "a");
    let request = worker.request();
    worker.run_for(999 * MS);
    assert!(!is_reported(&worker));
    worker.run_for(MS);
    assert!(is_reported(&worker));
    worker.run_for(10_000 * MS);
    assert!(is_reported(&worker));
    worker.serve(&request);
    assert!(!is_reported(&worker));
}

#[test]
fn a_new_connection_alone_does_not_make_a_broker_available_again() {
    let mut worker =
        Harness::new(|settings| settings.sender.topics.delivery_timeout = 120_000 * MS);
    worker.send_batch(0, "a");
    worker.request();
    worker.run_for(1000 * MS);
    assert_eq!(worker.network().closed.len(), 1, "request.timeout.ms");
    worker.run_for(500 * MS);
    let again = worker.requests().remove(0);
    assert!(is_reported(&worker));
    worker.serve(&again);
    assert!(!is_reported(&worker));
}

#[test]
fn a_broker_that_cannot_be_reached_is_reported_until_it_answers() {
    let mut worker = Harness::new(|settings| {
        settings.connects = false;
        settings.sender.topics.delivery_timeout = 120_000 * MS;
    });
    worker.send_batch(0, "a");
    worker.run();
    assert!(!is_reported(&worker), "the worker has not tried it yet");
    for _ in 0..5 {
        let link = worker.connecting()[0];
        worker.lose(link);
        worker.run();
        assert!(is_reported(&worker));
        worker.run_for(600 * MS);
        assert!(is_reported(&worker));
    }
    let link = worker.connecting()[0];
    worker.connected(link);
    let request = worker.request();
    worker.serve(&request);
    assert!(!is_reported(&worker));
}

#[test]
fn a_broker_whose_connection_takes_more_than_a_second_is_reported() {
    let mut worker = Harness::new(|settings| settings.connects = false);
    worker.send_batch(0, "a");
    worker.run_for(999 * MS);
    assert!(!is_reported(&worker));
    worker.run_for(MS);
    assert!(is_reported(&worker));
}

/// Otherwise the broker would stay unavailable: records without a key avoid it and cause no connection to it.
#[test]
fn a_broker_for_which_nothing_waits_is_tried_again() {
    let mut worker = Harness::new(|settings| {
        settings.connects = false;
        settings.sender.topics.delivery_timeout = 1000 * MS;
    });
    worker.send_batch(0, "a");
    worker.run();
    let link = worker.connecting()[0];
    worker.run_for(1000 * MS);
    worker.lose(link);
    worker.run();
    assert!(is_reported(&worker));
    worker.run_for(2000 * MS);
    assert!(!is_reported(&worker));
    assert_eq!(
        worker.run(),
        None,
        "an idle worker sleeps until it is woken"
    );
}

/// A broker that shuts down closes idle connections. Then it accepts no connection for a while.
#[test]
fn a_connection_that_was_lost_while_idle_leaves_the_broker_out_for_a_moment() {
    let mut worker = Harness::new(|_| {});
    worker.send_batch(0, "a");
    let request = worker.request();
    worker.serve(&request);
    worker.hang_up(1);
    assert!(is_reported(&worker));
    worker.run_for(2000 * MS);
    assert!(!is_reported(&worker));
}

#[test]
fn the_availability_timeout_counts_for_a_partition_at_its_own_limit_in_flight() {
    let mut worker = Harness::new(|settings| {
        settings.sender.availability_timeout = Some(200 * MS);
        settings.sender.request_timeout = 60_000 * MS;
    });
    worker.send_batch(0, "a");
    let request = worker.request();
    worker.run_for(500 * MS);
    assert!(!is_reported(&worker), "no batch waits for it");
    // The first batch of an identity is in flight alone.
    worker.send_batch(0, "b");
    worker.no_request();
    worker.run_for(20 * MS);
    assert!(is_reported(&worker));
    worker.serve(&request);
    assert!(!is_reported(&worker));
}

#[test]
fn a_broker_that_lets_partitions_wait_is_reported_until_it_serves_them() {
    let mut worker = Harness::new(|settings| {
        settings.sender.availability_timeout = Some(200 * MS);
        settings.partitions = 8;
        settings.sender.max_in_flight = 1;
        settings.sender.max_request_size = 1000;
        settings.sender.request_timeout = 60_000 * MS;
    });
    for partition in 0..8 {
        worker.send_batch(partition, "a");
    }
    worker.run();
    // A busy broker is available: it gets requests, although a partition always waits in its ready queue.
    let mut request = worker.requests().remove(0);
    for partition in 0..8 {
        worker.send_batch(partition, "b");
        worker.run_for(150 * MS);
        assert!(!is_reported(&worker));
        worker.answer(&request, |_| written(0));
        request = worker.requests().remove(0);
    }
    worker.run_for(200 * MS);
    assert!(is_reported(&worker));
    worker.answer(&request, |_| written(0));
    assert!(!is_reported(&worker));
}
