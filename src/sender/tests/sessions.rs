//! Links whose session ends (KIP-368): each is replaced in time, no answer is lost, and the order is kept.

use crate::connection::link::{LinkEvent, LinkId};
use crate::error::{Error, ErrorKind};
use crate::sender::Event;
use crate::sender::scripted::{Harness, MS};

/// Returns a worker with two partitions and sessions of 10 s, and its first link, which has carried a request.
fn with_a_session() -> (Harness, LinkId) {
    let mut worker = Harness::new(|settings| {
        settings.partitions = 2;
        settings.sender.topics.delivery_timeout = 60_000 * MS;
        settings.sender.request_timeout = 20_000 * MS;
    });
    worker.links().session = Some(10_000 * MS);
    worker.send_batch(0, "first");
    let request = worker.request();
    worker.serve(&request);
    worker.network().connects = false;
    (worker, request.link)
}

fn connect(worker: &mut Harness, link: LinkId) {
    worker.connected(link);
    worker.run();
}

fn closed(worker: &Harness) -> Vec<LinkId> {
    worker.network().closed.clone()
}

#[test]
fn a_second_link_connects_before_the_session_ends_and_takes_over() {
    let (mut worker, first) = with_a_session();
    worker.run_for(8999 * MS);
    assert!(worker.connecting().is_empty());
    worker.run_for(MS);
    let [second] = worker.connecting()[..] else {
        panic!("one link connects")
    };
    worker.send_batch(0, "while it connects");
    let request = worker.request();
    assert_eq!(request.link, first);
    worker.serve(&request);
    connect(&mut worker, second);
    assert_eq!(closed(&worker), [first]);
    worker.send_batch(0, "later");
    let request = worker.request();
    assert_eq!(request.link, second);
    worker.serve(&request);
    assert_eq!(worker.log(0).len(), 3);
}

#[test]
fn nothing_goes_on_the_second_link_until_the_first_owes_no_answer() {
    let (mut worker, first) = with_a_session();
    worker.run_for(9000 * MS);
    worker.send_batch(0, "a");
    let owed = worker.request();
    let second = worker.connecting()[0];
    connect(&mut worker, second);
    worker.send_batch(1, "b");
    worker.no_request();
    assert!(closed(&worker).is_empty());
    worker.serve(&owed);
    let request = worker.request();
    assert_eq!((owed.link, request.link), (first, second));
    assert_eq!(closed(&worker), [first]);
    worker.serve(&request);
}

#[test]
fn a_link_that_carried_nothing_is_closed_and_not_replaced() {
    let (mut worker, first) = with_a_session();
    worker.run_for(9000 * MS);
    let second = worker.connecting()[0];
    connect(&mut worker, second);
    worker.run_for(9000 * MS);
    assert_eq!(closed(&worker), [first, second]);
    worker.run_for(60_000 * MS);
    assert!(worker.connecting().is_empty());
    assert_eq!(worker.run(), None, "an idle worker sleeps");
    worker.network().connects = true;
    worker.send_batch(0, "again");
    worker.request();
}

#[test]
fn a_second_link_that_cannot_connect_is_tried_again_while_the_first_continues() {
    let (mut worker, first) = with_a_session();
    worker.run_for(9000 * MS);
    let second = worker.connecting()[0];
    let reason = Error::new(ErrorKind::Network, "refused");
    worker.post(Event::Link(second, LinkEvent::Closed(reason)));
    assert_eq!(closed(&worker), [second], "the network forgets it");
    assert!(worker.connecting().is_empty(), "after a backoff");
    worker.run_for(100 * MS);
    let third = worker.connecting()[0];
    worker.send_batch(0, "a");
    let request = worker.request();
    assert_eq!(request.link, first);
    worker.serve(&request);
    connect(&mut worker, third);
    assert!(closed(&worker).contains(&first));
}

#[test]
fn nothing_is_sent_after_the_session_until_the_second_link_is_ready() {
    let (mut worker, first) = with_a_session();
    worker.run_for(9000 * MS);
    let second = worker.connecting()[0];
    worker.run_for(1000 * MS);
    assert_eq!(closed(&worker), [first]);
    worker.send_batch(0, "a");
    worker.no_request();
    connect(&mut worker, second);
    assert_eq!(worker.request().link, second);
}

#[test]
fn an_answer_that_is_owed_after_the_session_is_waited_for() {
    let (mut worker, first) = with_a_session();
    worker.run_for(9000 * MS);
    worker.send_batch(0, "a");
    let owed = worker.request();
    worker.run_for(2000 * MS);
    assert!(closed(&worker).is_empty());
    worker.serve(&owed);
    assert_eq!(closed(&worker), [first]);
    assert_eq!(worker.log(0).len(), 2);
}

#[test]
fn if_no_second_connection_is_allowed_the_first_is_closed_before() {
    let (mut worker, first) = with_a_session();
    worker.run_for(9000 * MS);
    let second = worker.connecting()[0];
    let refused = Error::new(ErrorKind::Network, "too many connections");
    worker.post(Event::Link(second, LinkEvent::ConnectionRefused(refused)));
    assert_eq!(closed(&worker), [second, first]);
    worker.network().connects = true;
    worker.send_batch(0, "a");
    let request = worker.request();
    assert!(request.link != first && request.link != second);
}

#[test]
fn a_second_link_that_shares_the_session_of_the_first_is_of_no_use() {
    let (mut worker, first) = with_a_session();
    worker.run_for(9000 * MS);
    let second = worker.connecting()[0];
    worker.links().session = Some(1000 * MS);
    connect(&mut worker, second);
    assert_eq!(closed(&worker), [second, first]);
}

#[test]
fn a_second_link_whose_session_is_over_when_it_takes_over_is_closed_at_once() {
    let (mut worker, first) = with_a_session();
    worker.run_for(9000 * MS);
    worker.send_batch(0, "a");
    let owed = worker.request();
    let second = worker.connecting()[0];
    worker.links().session = Some(2000 * MS);
    connect(&mut worker, second);
    worker.send_batch(1, "b");
    worker.run_for(3000 * MS);
    worker.network().connects = true;
    worker.serve(&owed);
    assert_eq!(closed(&worker), [first, second]);
    let request = worker.request();
    assert!(request.link != first && request.link != second);
    worker.serve(&request);
}

#[test]
fn a_second_link_that_shares_a_session_of_which_little_is_left_is_of_no_use_either() {
    let (mut worker, first) = with_a_session();
    worker.run_for(9950 * MS);
    let second = worker.connecting()[0];
    worker.links().session = Some(50 * MS);
    connect(&mut worker, second);
    assert_eq!(closed(&worker), [second, first]);
}

#[test]
fn when_the_first_link_breaks_the_second_is_closed_too() {
    let (mut worker, first) = with_a_session();
    worker.run_for(9000 * MS);
    let second = worker.connecting()[0];
    worker.lose(first);
    worker.run();
    assert_eq!(closed(&worker), [second]);
    worker.network().connects = true;
    worker.send_batch(0, "a");
    worker.run_for(500 * MS);
    let request = worker.requests().remove(0);
    assert!(request.link != first && request.link != second);
}

#[test]
fn a_throttle_holds_for_the_second_link_too() {
    let (mut worker, first) = with_a_session();
    let until = worker.now + 9500 * MS;
    worker.throttle(first, until);
    worker.run_for(9000 * MS);
    let second = worker.connecting()[0];
    connect(&mut worker, second);
    worker.send_batch(0, "a");
    worker.no_request();
    worker.run_for(500 * MS);
    assert_eq!(worker.requests().remove(0).link, second);
}
