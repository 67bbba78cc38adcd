//! Links that connect, break, stall, are idle or report late; and `acks=0`.

use crate::connection::link::LinkEvent;
use crate::error::Delivery;
use crate::metadata::BrokerId;
use crate::sender::Event;
use crate::sender::scripted::{Harness, MS};

#[test]
fn a_broker_that_cannot_be_reached_is_tried_again_after_growing_waits() {
    let mut worker = Harness::new(|settings| {
        settings.connects = false;
        settings.sender.topics.delivery_timeout = 60_000 * MS;
    });
    worker.send_batch(0, "a");
    worker.run();
    for (failures, nominal) in (0..).zip([50, 100, 200, 400, 500, 500]) {
        let link = worker.connecting()[0];
        assert_eq!(worker.failures_before(link), failures);
        worker.lose(link);
        let due = worker.run().expect("a deadline") - worker.now;
        assert!(
            due >= nominal * 4 * MS / 5 && due <= nominal * 6 * MS / 5,
            "{due:?}"
        );
        worker.run_for(due);
    }
    let link = worker.connecting()[0];
    worker.connected(link);
    assert_eq!(worker.request().broker, 1);
}

#[test]
fn no_connection_is_made_for_expired_batches() {
    let mut worker = Harness::new(|settings| {
        settings.connects = false;
        settings.sender.topics.delivery_timeout = 1000 * MS;
    });
    worker.send_batch(0, "a");
    worker.run_for(1000 * MS);
    let link = worker.connecting()[0];
    worker.lose(link);
    worker.run_for(10_000 * MS);
    assert!(worker.connecting().is_empty());
    assert_eq!(
        worker.run(),
        None,
        "an idle worker sleeps until it is woken"
    );
}

#[test]
fn a_link_that_breaks_is_made_again_and_its_batches_are_sent_again_in_order() {
    let mut worker = Harness::new(|settings| settings.partitions = 2);
    worker.send_batch(0, "a");
    let first = worker.request();
    worker.send_batch(1, "b");
    let second = worker.request();
    worker.hang_up(1);
    assert!(worker.refresh_is_requested());
    worker.run_for(1000 * MS);
    let again = worker.requests();
    assert_ne!(again[0].link, first.link);
    let batches: Vec<_> = again.iter().flat_map(|sent| sent.batches.clone()).collect();
    assert!(batches.contains(first.batch()) && batches.contains(second.batch()));
}

#[test]
fn an_answer_that_does_not_come_ends_the_connection() {
    let mut worker = Harness::new(|_| {});
    worker.send_batch(0, "a");
    let request = worker.request();
    worker.run_for(999 * MS);
    assert!(worker.network().closed.is_empty());
    worker.run_for(MS);
    assert_eq!(worker.network().closed, [request.link]);
    assert!(
        worker.network().abandoned.is_empty(),
        "the connection is broken for all workers"
    );
    worker.run_for(500 * MS);
    assert_eq!(worker.requests().remove(0).batch(), request.batch());
}

#[test]
fn a_write_that_fails_ends_the_connection() {
    let mut worker = Harness::new(|_| {});
    worker.network().fails = true;
    let ticket = worker.send_batch(0, "a");
    worker.no_request();
    assert_eq!(worker.network().closed.len(), 1);
    worker.run_for(500 * MS);
    let request = worker.requests().remove(0);
    worker.serve(&request);
    assert_eq!(ticket.offset(), Some(0));
}

#[test]
fn a_batch_of_a_write_that_was_refused_is_not_written_and_is_sent_later_at_no_retry() {
    for idempotence in [true, false] {
        let mut worker = Harness::new(|settings| {
            settings.sender.retries = 0;
            settings.sender.idempotence = idempotence;
        });
        worker.network().refuses = true;
        let ticket = worker.send_batch(0, "a");
        worker.no_request();
        assert_eq!(worker.network().closed.len(), 1);
        worker.run_for(500 * MS);
        let request = worker.requests().remove(0);
        worker.serve(&request);
        assert_eq!(ticket.offset(), Some(0), "{idempotence}");
        assert_eq!(worker.memory_in_use(), 0);
    }
}

#[test]
fn a_batch_that_expires_after_its_write_was_refused_is_certainly_not_written() {
    let mut worker = Harness::new(|settings| settings.sender.topics.delivery_timeout = 1000 * MS);
    worker.network().refuses = true;
    let ticket = worker.send_batch(0, "a");
    worker.no_request();
    worker.network().connects = false;
    worker.run_for(1000 * MS);
    assert_eq!(ticket.error().delivery(), Delivery::NotWritten);
}

#[test]
fn a_refused_write_leaves_the_batches_before_it_maybe_written_and_all_are_sent_again_in_order() {
    let mut worker = Harness::new(|_| {});
    worker.send_batch(0, "a");
    let first = worker.request();
    worker.serve(&first);
    worker.send_batch(0, "b");
    let second = worker.request();
    worker.network().refuses = true;
    worker.send_batch(0, "c");
    worker.no_request();
    worker.append(&second);
    for _ in 0..2 {
        worker.run_for(1000 * MS);
        for request in worker.requests() {
            worker.serve(&request);
        }
    }
    let log = worker.log(0);
    let names: String = log.iter().map(|value| &value[..1]).collect();
    assert_eq!(names, "abc");
}

#[test]
fn nothing_follows_a_request_that_is_not_written_to_its_end() {
    let mut worker = Harness::new(|settings| settings.partitions = 2);
    worker.network().stalls = true;
    worker.send_batch(0, "a");
    let first = worker.request();
    worker.send_batch(1, "b");
    worker.no_request();
    worker.finish_write(first.link);
    assert_eq!(worker.requests().remove(0).batch().partition, 1);
}

#[test]
fn a_write_that_stalls_for_ever_ends_the_connection_even_if_the_broker_answers() {
    for answers in [false, true] {
        let mut worker = Harness::new(|settings| settings.partitions = 2);
        worker.network().stalls = true;
        worker.send_batch(0, "a");
        let request = worker.request();
        if answers {
            worker.serve(&request);
        }
        worker.send_batch(1, "b");
        worker.run_for(1000 * MS);
        assert_eq!(worker.network().closed, [request.link], "{answers}");
        worker.run_for(500 * MS);
        assert!(!worker.requests().is_empty());
    }
}

#[test]
fn a_connection_has_at_most_max_in_flight_requests() {
    let mut worker = Harness::new(|settings| {
        settings.partitions = 4;
        settings.sender.max_in_flight = 2;
    });
    let mut requests = Vec::new();
    for partition in 0..4 {
        worker.send_batch(partition, "a");
        worker.run();
        requests.extend(worker.requests());
    }
    assert_eq!(requests.len(), 2);
    worker.serve(&requests[0]);
    assert_eq!(worker.requests().len(), 1);
}

#[test]
fn an_idle_connection_is_closed_and_made_again_when_needed() {
    let mut worker = Harness::new(|settings| settings.sender.connections_max_idle = Some(300 * MS));
    worker.send_batch(0, "a");
    let request = worker.request();
    worker.run_for(400 * MS);
    assert!(worker.network().closed.is_empty(), "an answer is awaited");
    worker.serve(&request);
    worker.run_for(299 * MS);
    assert!(worker.network().closed.is_empty());
    worker.run_for(MS);
    assert_eq!(worker.network().closed, [request.link]);
    worker.run_for(5000 * MS);
    assert_eq!(worker.run(), None, "no timer is set");
    worker.send_batch(0, "b");
    assert_ne!(worker.request().link, request.link);
}

#[test]
fn late_events_of_a_link_that_was_closed_change_nothing() {
    let mut worker = Harness::new(|_| {});
    worker.send_batch(0, "a");
    let request = worker.request();
    worker.hang_up(1);
    worker.run_for(500 * MS);
    let again = worker.requests().remove(0);
    worker.frame(request.link, vec![0; 10]);
    worker.post(Event::Link(request.link, LinkEvent::WriteFinished));
    worker.serve(&again);
    assert_eq!(worker.log(0).len(), 1);
}

#[test]
fn a_broker_that_moves_to_another_address_gets_a_new_connection() {
    let mut worker = Harness::new(|_| {});
    worker.send_batch(0, "a");
    let request = worker.request();
    let mut cluster = (*worker.metadata.cluster()).clone();
    let broker = crate::metadata::Broker {
        id: 1,
        host: "broker-9".into(),
        port: 9092,
        rack: None,
    };
    cluster.brokers.insert(1, std::sync::Arc::new(broker));
    worker.metadata.publish_cluster(cluster);
    worker.run_for(500 * MS);
    assert_eq!(worker.network().closed, [request.link]);
    assert_eq!(worker.requests().remove(0).broker, 9);
}

#[test]
fn brokers_that_left_the_cluster_are_removed() {
    let mut worker = Harness::new(|settings| {
        settings.brokers = 2;
        settings.partitions = 2;
        settings.sender.connections_max_idle = Some(300 * MS);
    });
    worker.send_batch(1, "a");
    let request = worker.request();
    worker.serve(&request);
    worker.move_leader(1, Some(1));
    let mut cluster = (*worker.metadata.cluster()).clone();
    cluster.brokers.remove(&2);
    worker.metadata.publish_cluster(cluster.clone());
    worker.run();
    assert!(
        worker.sender.brokers.get(BrokerId(2)).is_some(),
        "still connected"
    );
    worker.run_for(300 * MS);
    worker.metadata.publish_cluster(cluster);
    worker.run();
    assert!(worker.sender.brokers.get(BrokerId(2)).is_none());
}

#[test]
fn without_acks_a_written_request_is_done() {
    let mut worker = Harness::new(|settings| {
        settings.sender.topics.acks = 0;
        settings.sender.idempotence = false;
    });
    let ticket = worker.send_batch(0, "a");
    assert_eq!(worker.request().acks, 0);
    assert_eq!(ticket.offset(), None);
    worker.network().stalls = true;
    let ticket = worker.send_batch(0, "b");
    let request = worker.request();
    assert!(ticket.result().is_none(), "not written yet");
    worker.finish_write(request.link);
    assert_eq!(ticket.offset(), None);
    assert_eq!(worker.memory_in_use(), 0);
}
