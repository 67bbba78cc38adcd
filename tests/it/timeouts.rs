//! The timeouts of a record, and what its error says about whether it is written.

use std::time::{Duration, Instant};

use kafka_producer::mock::{Fault, MockApi, MockCluster};
use kafka_producer::{Delivery, ErrorCode, ErrorKind};

use crate::support::fake_broker::{FakeBootstrap, Member, never_connecting};
use crate::support::{
    NO_HOST, PATIENCE, Producer, SOON, builder, builder_at, cluster, deliver, producer, record,
    values, with_causes,
};

const REQUEST_TIMEOUT: Duration = Duration::from_millis(300);
const DELIVERY_TIMEOUT: Duration = Duration::from_millis(800);

fn impatient(cluster: &MockCluster) -> Producer {
    builder(cluster)
        .request_timeout(REQUEST_TIMEOUT)
        .delivery_timeout(DELIVERY_TIMEOUT)
        .build()
        .unwrap()
}

#[test]
fn a_record_that_was_sent_and_not_answered_is_maybe_written() {
    let cluster = cluster(1, 1);
    let producer = impatient(&cluster);
    deliver(&producer, 0, "first").unwrap();
    let silence = cluster.on(MockApi::Produce, |_| Fault::NoAnswer);
    let start = Instant::now();
    let error = deliver(&producer, 0, "lost").unwrap_err();
    let took = start.elapsed();
    assert!(took >= DELIVERY_TIMEOUT && took < SOON, "{took:?}");
    assert_eq!(
        (error.kind(), error.delivery()),
        (ErrorKind::DeliveryTimeout, Delivery::MaybeWritten)
    );
    assert!(error.is_retriable() && !error.is_fatal());
    let message = with_causes(&error);
    assert!(
        message.contains("delivery.timeout.ms=800") && message.contains("request.timeout.ms=300"),
        "{message}"
    );
    cluster.remove(silence);
    deliver(&producer, 0, "after").unwrap();
    assert_eq!(values(&cluster, 0), ["first", "after"]);
}

#[test]
fn a_record_that_was_never_sent_is_not_written_and_its_error_has_the_reason() {
    let (port, _sockets) = never_connecting();
    let refused = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let nowhere = NO_HOST.to_owned();
    let unresolved = Member {
        id: 9,
        host: nowhere,
        port: 9092,
    };
    for member in [Member::new(9, port), Member::new(9, refused), unresolved] {
        let bootstrap = FakeBootstrap::start(vec![member.clone()], vec![9]);
        let producer = builder_at(&bootstrap.address())
            .request_timeout(REQUEST_TIMEOUT)
            .delivery_timeout(DELIVERY_TIMEOUT)
            .socket_connection_setup_timeout(Duration::from_millis(200))
            .socket_connection_setup_timeout_max(Duration::from_millis(200))
            .build()
            .unwrap();
        let start = Instant::now();
        let error = deliver(&producer, 0, "v").unwrap_err();
        let took = start.elapsed();
        assert!(took >= DELIVERY_TIMEOUT && took < SOON, "{took:?}");
        assert_eq!(
            (error.kind(), error.delivery()),
            (ErrorKind::DeliveryTimeout, Delivery::NotWritten)
        );
        let message = with_causes(&error);
        assert!(message.contains(&member.host), "{message}");
    }
}

#[test]
fn a_record_that_waits_for_a_leader_ends_in_time() {
    let cluster = cluster(1, 1);
    let producer = impatient(&cluster);
    cluster.set_leader("t", 0, None);
    let error = deliver(&producer, 0, "v").unwrap_err();
    assert_eq!(
        (error.kind(), error.delivery()),
        (ErrorKind::DeliveryTimeout, Delivery::NotWritten)
    );
    assert!(
        with_causes(&error).contains("no leader"),
        "{}",
        with_causes(&error)
    );
    cluster.set_leader("t", 0, Some(0));
    deliver(&producer, 0, "after").unwrap();
}

#[test]
fn a_record_that_lingers_behind_a_stuck_one_ends_in_time_too() {
    let cluster = cluster(1, 1);
    let producer = builder(&cluster)
        .linger(Duration::from_millis(50))
        .request_timeout(REQUEST_TIMEOUT)
        .delivery_timeout(DELIVERY_TIMEOUT)
        .build()
        .unwrap();
    cluster.on(MockApi::Produce, |_| Fault::NoAnswer);
    let stuck = producer.send(record(0, "stuck")).unwrap();
    assert!(
        cluster.wait_until(PATIENCE, |cluster| cluster.request_count(MockApi::Produce)
            > 0)
    );
    // Full batches and an open one.
    let behind: Vec<_> = (0..40)
        .map(|_| producer.send(record(0, vec![1; 1000])).unwrap())
        .collect();
    let start = Instant::now();
    for future in std::iter::once(stuck).chain(behind) {
        assert_eq!(
            future.get(SOON).unwrap_err().kind(),
            ErrorKind::DeliveryTimeout
        );
    }
    assert!(start.elapsed() < SOON);
}

/// The older of two batches in flight was sent again, so it is behind the younger one when it expires.
#[test]
fn a_batch_sent_again_expires_before_a_younger_one_that_was_sent_before() {
    let cluster = cluster(1, 1);
    let producer = builder(&cluster)
        .request_timeout(Duration::from_millis(1000))
        .delivery_timeout(Duration::from_millis(1000))
        .build()
        .unwrap();
    deliver(&producer, 0, "known").unwrap();
    let refusal = Fault::Error(ErrorCode::NOT_ENOUGH_REPLICAS);
    cluster.fail_next(
        MockApi::Produce,
        1,
        Fault::Delay(Duration::from_millis(400), Box::new(refusal)),
    );
    cluster.fail_next(MockApi::Produce, 1, Fault::NoAnswer);
    let older = producer.send(record(0, "older")).unwrap();
    assert!(
        cluster.wait_until(PATIENCE, |cluster| cluster.request_count(MockApi::Produce)
            == 2)
    );
    assert_eq!(
        older.get(Duration::from_millis(200)).unwrap_err().kind(),
        ErrorKind::Timeout
    );
    let younger = producer.send(record(0, "younger")).unwrap();
    let error = older.get(SOON).unwrap_err();
    assert_eq!(
        (error.kind(), error.delivery()),
        (ErrorKind::DeliveryTimeout, Delivery::MaybeWritten)
    );
    // It is not sent again: it may be in the log already, and its sequence is no longer valid.
    assert_eq!(
        younger.get(SOON).unwrap_err().delivery(),
        Delivery::MaybeWritten
    );
    deliver(&producer, 0, "after").unwrap();
    assert_eq!(values(&cluster, 0), ["known", "after"]);
}

#[test]
fn a_request_without_an_answer_costs_the_connection_and_is_sent_again() {
    let cluster = cluster(1, 2);
    let producer = builder(&cluster)
        .request_timeout(REQUEST_TIMEOUT)
        .build()
        .unwrap();
    deliver(&producer, 0, "first").unwrap();
    cluster.fail_next(MockApi::Produce, 1, Fault::NoAnswer);
    let start = Instant::now();
    deliver(&producer, 0, "second").unwrap();
    let took = start.elapsed();
    assert!(took >= REQUEST_TIMEOUT && took < SOON, "{took:?}");
    assert_eq!(values(&cluster, 0), ["first", "second"]);
    // The connections of the worker and of the metadata thread.
    assert!(cluster.wait_until(PATIENCE, |cluster| cluster.connections(0) <= 2));
}

#[test]
fn a_throttled_client_sends_nothing_until_the_time_is_over() {
    let cluster = cluster(2, 2);
    let producer = producer(&cluster);
    deliver(&producer, 1, "other broker").unwrap();
    const THROTTLE: Duration = Duration::from_millis(600);
    cluster.fail_next(MockApi::Produce, 1, Fault::Throttle(THROTTLE));
    deliver(&producer, 0, "first").unwrap();
    let start = Instant::now();
    let throttled = producer.send(record(0, "second")).unwrap();
    deliver(&producer, 1, "other broker again").unwrap();
    assert!(!throttled.is_done(), "the other broker's quota is its own");
    throttled.get(PATIENCE).unwrap();
    let took = start.elapsed();
    assert!(
        took > THROTTLE - Duration::from_millis(100) && took < SOON,
        "{took:?}"
    );
}

/// Up to version 5 the broker itself delays its answer.
#[test]
fn an_old_broker_delays_its_answer_to_throttle() {
    let cluster = cluster(1, 1);
    cluster.restrict_versions(MockApi::Produce, 3..=5);
    let producer = producer(&cluster);
    cluster.fail_next(
        MockApi::Produce,
        1,
        Fault::Throttle(Duration::from_secs(3600)),
    );
    deliver(&producer, 0, "first").unwrap();
    producer
        .send(record(0, "second"))
        .unwrap()
        .get(SOON)
        .unwrap();
}

#[test]
fn a_future_can_be_waited_for_again_after_a_timeout() {
    let cluster = cluster(1, 1);
    let producer = producer(&cluster);
    cluster.fail_next(
        MockApi::Produce,
        1,
        Fault::delay(Duration::from_millis(200)),
    );
    let future = producer.send(record(0, "v")).unwrap();
    let error = future.get(Duration::from_millis(1)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(future.try_get().is_none() && !future.is_done());
    for _ in 0..3 {
        assert_eq!(future.get(PATIENCE).unwrap().offset(), Some(0));
    }
    assert!(future.is_done());
}

#[test]
fn the_longest_times_that_can_be_set_are_valid() {
    let cluster = cluster(1, 1);
    let producer = producer(&cluster);
    let future = producer.send(record(0, "v")).unwrap();
    assert_eq!(future.get(Duration::MAX).unwrap().offset(), Some(0));
    producer.flush(Duration::MAX).unwrap();
    producer.close(Duration::MAX).unwrap();
}
