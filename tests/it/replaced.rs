//! Another cluster at the address of the known one: the known one was wiped and recreated, or another one uses the
//! address.

use std::time::Duration;

use kafka_producer::mock::{Fault, MockApi, MockCluster};
use kafka_producer::{Acks, Delivery, MetadataRecoveryStrategy};

use crate::isolation::port;
use crate::support::fake_broker::{FakeBootstrap, Member};
use crate::support::relay::Relay;
use crate::support::{
    PATIENCE, Watched, builder, builder_at, cluster, deliver, eventually, producer, record, values,
    with_causes,
};

/// The new cluster gives producer ids from the start again: the second producer gets the id that the first one had before.
#[test]
fn two_producers_never_share_an_id_when_the_cluster_is_recreated_at_the_same_address() {
    for sent in ["A2 B1 B2 A3 B3 A4", "B1 A2 B2 A3 B3 A4"] {
        let cluster = cluster(1, 1);
        let (first, second) = (producer(&cluster), producer(&cluster));
        deliver(&first, 0, "A1").unwrap();
        replace(&cluster);
        for value in sent.split(' ') {
            let producer = match value.starts_with('A') {
                true => &first,
                false => &second,
            };
            deliver(producer, 0, value).unwrap();
        }
        assert_eq!(values(&cluster, 0).join(" "), sent);
    }
}

#[test]
fn a_record_that_is_maybe_written_fails_and_those_behind_it_go_to_the_recreated_cluster() {
    for idempotence in [true, false] {
        let cluster = cluster(1, 1);
        let producer = builder(&cluster)
            .enable_idempotence(idempotence)
            .acks(if idempotence { Acks::All } else { Acks::Leader })
            .max_in_flight_requests_per_connection(1)
            .build()
            .unwrap();
        deliver(&producer, 0, "before").unwrap();
        let old = cluster.cluster_id();
        cluster.once(MockApi::Produce, |_| Fault::NoAnswer);
        let asked = cluster.request_count(MockApi::Produce);
        let lost = producer.send(record(0, "lost")).unwrap();
        assert!(cluster.wait_until(PATIENCE, |cluster| {
            cluster.request_count(MockApi::Produce) > asked
        }));
        let behind = producer.send(record(0, "behind")).unwrap();
        replace(&cluster);
        let error = lost.get(PATIENCE).unwrap_err();
        assert_eq!(error.delivery(), Delivery::MaybeWritten);
        let message = error.to_string();
        assert!(
            message.contains(&old) && message.contains(&cluster.cluster_id()),
            "{message}"
        );
        behind.get(PATIENCE).unwrap();
        assert_eq!(values(&cluster, 0), ["behind"]);
    }
}

/// The address is one of `bootstrap.servers`: the user named it.
#[test]
fn without_recovery_a_cluster_recreated_at_a_bootstrap_address_is_used() {
    let cluster = cluster(1, 1);
    let producer = builder(&cluster)
        .metadata_recovery_strategy(MetadataRecoveryStrategy::None)
        .build()
        .unwrap();
    deliver(&producer, 0, "before").unwrap();
    replace(&cluster);
    deliver(&producer, 0, "after").unwrap();
    assert_eq!(values(&cluster, 0), ["after"]);
}

/// `bootstrap.servers` names brokers of two clusters, or one of its addresses was reused.
#[test]
fn another_cluster_at_a_bootstrap_address_is_ignored_while_a_known_broker_answers() {
    let (known, other) = (cluster(2, 1), cluster(1, 1));
    let bootstrap = Relay::start("127.0.0.1:0", port(&known));
    let producer = builder_at(&bootstrap.address())
        .metadata_recovery_rebootstrap_trigger(Duration::ZERO)
        .metadata_max_age(Duration::from_millis(50))
        .build()
        .unwrap();
    deliver(&producer, 0, "0").unwrap();
    bootstrap.lead_to(port(&other));
    // After a lost answer the client asks the bootstrap address. One answer at a time is lost: if no known broker
    // answers, the client accepts the other cluster.
    for round in 1..4 {
        let seen = other.request_count(MockApi::ApiVersions);
        let lost = Watched::<bool>::default();
        let lose = lost.clone();
        known.once(MockApi::Metadata, move |_| {
            lose.change(|lost| *lost = true);
            Fault::Disconnect
        });
        lost.wait(|lost| *lost);
        assert!(other.wait_until(PATIENCE, |other| {
            other.request_count(MockApi::ApiVersions) > seen
        }));
        // Two: the first one may not be answered yet.
        let answered = known.request_count(MockApi::Metadata) + 2;
        assert!(known.wait_until(PATIENCE, |known| {
            known.request_count(MockApi::Metadata) >= answered
        }));
        deliver(&producer, 0, round.to_string()).unwrap();
    }
    assert_eq!(values(&known, 0), ["0", "1", "2", "3"]);
    assert_eq!(other.request_count(MockApi::Produce), 0);
}

/// The metadata is of the right cluster, but another cluster uses the leader's address.
#[test]
fn no_record_goes_to_a_broker_of_another_cluster_at_the_leaders_address() {
    let right = MockCluster::builder().cluster_id("right").start().unwrap();
    right.create_topic("t", 1);
    let other_cluster = cluster(1, 1);
    let bootstrap = FakeBootstrap::start_in(
        Some("right"),
        vec![Member::new(0, port(&other_cluster))],
        vec![0],
    );
    let short = builder_at(&bootstrap.address())
        .request_timeout(Duration::from_millis(500))
        .delivery_timeout(Duration::from_millis(500))
        .build()
        .unwrap();
    let error = deliver(&short, 0, "v").unwrap_err();
    assert_eq!(error.delivery(), Delivery::NotWritten);
    let message = with_causes(&error);
    assert!(
        message.contains("now belongs to cluster") && message.contains(&other_cluster.cluster_id()),
        "{message}"
    );
    let producer = builder_at(&bootstrap.address())
        .metadata_max_age(Duration::from_millis(50))
        .build()
        .unwrap();
    let waiting = producer.send(record(0, "v")).unwrap();
    eventually("a connection to the other cluster", || {
        other_cluster.connections(0) > 0
    });
    bootstrap.set_leaders(&[Member::new(0, port(&right))], &[0]);
    waiting.get(PATIENCE).unwrap();
    assert_eq!(values(&right, 0), ["v"]);
    assert_eq!(other_cluster.request_count(MockApi::Produce), 0);
}

/// Replaces the cluster by one with the same topic. Returns when the producer has noticed the end of its connection and
/// asks for the cluster: records that it writes before are maybe written.
fn replace(cluster: &MockCluster) {
    cluster.replace().unwrap();
    cluster.create_topic("t", 1);
    assert!(cluster.wait_until(PATIENCE, |cluster| cluster.connections(0) > 0));
}
