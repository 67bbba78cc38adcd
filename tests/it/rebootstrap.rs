//! Brokers that are gone, replaced or outdated: the producer finds the cluster again from `bootstrap.servers` (KIP-899,
//! KIP-1102).

use std::time::{Duration, Instant};

use kafka_producer::mock::{Fault, MockApi, MockCluster};
use kafka_producer::{Delivery, ErrorCode, MetadataRecoveryStrategy};

use crate::isolation::port;
use crate::support::fake_broker::{FakeBootstrap, Member, answering_nothing};
use crate::support::{
    PATIENCE, Producer, SOON, Watched, builder_at, cluster, deliver, eventually, record, values,
};

#[test]
fn when_every_known_broker_is_gone_the_bootstrap_servers_are_asked_again() {
    let old = cluster(1, 1);
    let new = cluster(1, 1);
    // The second address leads to another cluster when the first one has ended.
    new.broker_down(0);
    let servers = format!("{},{}", old.bootstrap_servers(), new.bootstrap_servers());
    let producer = builder_at(&servers).build().unwrap();
    deliver(&producer, 0, "to the old one").unwrap();
    old.broker_down(0);
    new.broker_up(0).unwrap();
    deliver(&producer, 0, "to the new one").unwrap();
    assert_eq!(values(&new, 0), ["to the new one"]);
}

/// Another broker, with another id and address, replaces the cluster's only broker, again and again.
#[test]
fn brokers_replaced_one_by_one_until_none_of_the_first_is_left() {
    let cluster = cluster(5, 1);
    for broker in 2..5 {
        cluster.broker_down(broker);
    }
    let first_two: Vec<_> = cluster
        .bootstrap_servers()
        .split(',')
        .take(2)
        .map(str::to_owned)
        .collect();
    let producer = builder_at(&first_two.join(","))
        .metadata_max_age(Duration::from_millis(50))
        .build()
        .unwrap();
    deliver(&producer, 0, "0").unwrap();
    for new in 2..5 {
        cluster.broker_up(new).unwrap();
        let asked = |cluster: &MockCluster| cluster.request_count(MockApi::Metadata);
        let before = asked(&cluster);
        // Waits for two requests: the first one may have been in flight.
        assert!(cluster.wait_until(PATIENCE, |cluster| asked(cluster) >= before + 2));
        let in_flight: Vec<_> = (0..50)
            .map(|_| producer.send(record(0, "between")).unwrap())
            .collect();
        cluster.set_leader("t", 0, Some(new));
        cluster.broker_down(new - 2);
        crate::support::get_all(in_flight);
        deliver(&producer, 0, new.to_string()).unwrap();
    }
    let written: Vec<_> = values(&cluster, 0);
    assert_eq!(written.len(), 1 + 3 * 51);
    let marks: Vec<_> = written.iter().filter(|value| *value != "between").collect();
    assert_eq!(marks, ["0", "2", "3", "4"]);
}

#[test]
fn a_broker_that_moved_to_another_address_is_found_there() {
    let (old, new) = (cluster(1, 1), cluster(1, 1));
    let bootstrap = FakeBootstrap::start(vec![Member::new(0, port(&old))], vec![0]);
    let producer = builder_at(&bootstrap.address())
        .metadata_max_age(Duration::from_millis(100))
        .build()
        .unwrap();
    deliver(&producer, 0, "before").unwrap();
    bootstrap.set_leaders(&[Member::new(0, port(&new))], &[0]);
    eventually("a record at the new address", || {
        deliver(&producer, 0, "after").unwrap();
        !values(&new, 0).is_empty()
    });
}

#[test]
fn without_recovery_only_known_brokers_are_asked() {
    let (old, other) = (cluster(1, 1), cluster(1, 1));
    other.broker_down(0);
    let servers = format!("{},{}", old.bootstrap_servers(), other.bootstrap_servers());
    let producer = builder_at(&servers)
        .metadata_recovery_strategy(MetadataRecoveryStrategy::None)
        .metadata_recovery_rebootstrap_trigger(Duration::ZERO)
        .build()
        .unwrap();
    deliver(&producer, 0, "first").unwrap();
    old.broker_down(0);
    other.broker_up(0).unwrap();
    let waiting = producer.send(record(0, "second")).unwrap();
    assert!(waiting.get(Duration::from_millis(500)).is_err());
    assert!(other.requests().is_empty(), "the other cluster was asked");
    old.broker_up(0).unwrap();
    waiting.get(PATIENCE).unwrap();
}

#[test]
fn without_recovery_a_request_to_rebootstrap_only_leads_to_another_broker() {
    let cluster = cluster(2, 2);
    let refusing = refuse_as_unknown(&cluster, 0);
    let other = crate::support::cluster(1, 2);
    other.broker_down(0);
    let servers = format!(
        "{},{}",
        cluster.bootstrap_servers(),
        other.bootstrap_servers()
    );
    let producer = builder_at(&servers)
        .metadata_recovery_strategy(MetadataRecoveryStrategy::None)
        .build()
        .unwrap();
    deliver(&producer, 0, "v").unwrap();
    other.broker_up(0).unwrap();
    for _ in 0..10 {
        refresh(&producer, &cluster);
    }
    assert!(other.requests().is_empty());
    cluster.remove(refusing);
    deliver(&producer, 1, "v").unwrap();
}

/// The first cluster's brokers all work, and ask the client to rebootstrap. One answer of one broker is enough.
#[test]
fn a_broker_that_asks_the_client_to_rebootstrap_is_obeyed_at_once() {
    let (old, new) = (cluster(5, 1), cluster(1, 1));
    let bootstrap = Moving::start(&old);
    let producer = builder_at(&bootstrap.address)
        .metadata_max_age(Duration::from_millis(50))
        .build()
        .unwrap();
    deliver(&producer, 0, "to the old one").unwrap();
    let sent_away = Watched::<usize>::default();
    {
        let sent_away = sent_away.clone();
        old.on(MockApi::Metadata, move |_| {
            sent_away.change(|times| *times += 1);
            Fault::Error(ErrorCode::REBOOTSTRAP_REQUIRED)
        });
    }
    bootstrap.move_to(&new);
    eventually("a record in the new cluster", || {
        deliver_while_replaced(&producer);
        !values(&new, 0).is_empty()
    });
    // The broker may refuse a second request if the connection ends after it.
    let times = sent_away.get();
    assert!((1..=2).contains(&times), "refused {times} times");
}

#[test]
fn a_bootstrap_server_that_asks_to_rebootstrap_is_asked_again_after_a_pause() {
    let cluster = cluster(1, 1);
    let producer = builder_at(&cluster.bootstrap_servers())
        .reconnect_backoff(Duration::from_millis(100))
        .reconnect_backoff_max(Duration::from_millis(100))
        .metadata_max_age(Duration::from_millis(1))
        .build()
        .unwrap();
    deliver(&producer, 0, "v").unwrap();
    let refusing = cluster.on(MockApi::Metadata, |_| {
        Fault::Error(ErrorCode::REBOOTSTRAP_REQUIRED)
    });
    let before = cluster.request_count(MockApi::Metadata);
    let refused = |cluster: &MockCluster| cluster.request_count(MockApi::Metadata) - before;
    let start = Instant::now();
    assert!(cluster.wait_until(PATIENCE, |cluster| refused(cluster) >= 10));
    assert!(start.elapsed() > Duration::from_millis(300));
    // The known metadata still serves.
    deliver(&producer, 0, "meanwhile").unwrap();
    cluster.remove(refusing);
    producer.partitions_for("t").unwrap();
}

/// Trying all known brokers, which accept connections and answer nothing, would take half a minute.
#[test]
fn without_metadata_for_the_trigger_time_the_client_rebootstraps() {
    const TRIGGER: Duration = Duration::from_secs(1);
    let cluster = cluster(1, 1);
    let silent: Vec<_> = (0..30).map(|_| answering_nothing()).collect();
    let hanging = (10..).zip(&silent);
    let members: Vec<_> = hanging
        .map(|(id, (port, _))| Member::new(id, *port))
        .chain([Member::new(0, port(&cluster))])
        .collect();
    let bootstrap = FakeBootstrap::start(members, vec![0]);
    let producer = builder_at(&bootstrap.address())
        .metadata_recovery_rebootstrap_trigger(TRIGGER)
        .metadata_max_age(Duration::from_millis(100))
        .socket_connection_setup_timeout(Duration::from_secs(1))
        .socket_connection_setup_timeout_max(Duration::from_secs(1))
        .build()
        .unwrap();
    deliver(&producer, 0, "v").unwrap();
    cluster.on(MockApi::Metadata, |_| Fault::Disconnect);
    for _ in 0..3 {
        let (answered, start) = (bootstrap.metadata_requests(), Instant::now());
        bootstrap.disconnect();
        eventually("an answer after a lost connection", || {
            bootstrap.metadata_requests() > answered
        });
        let took = start.elapsed();
        assert!(took < TRIGGER + 3 * SOON / 2, "{took:?}");
    }
}

/// After a rebootstrap the leader epochs of the cluster may be lower than the known ones.
#[test]
fn after_a_rebootstrap_leaders_are_accepted_with_lower_epochs() {
    let send_away = |old: &MockCluster| {
        old.on(MockApi::Metadata, |_| {
            Fault::Error(ErrorCode::REBOOTSTRAP_REQUIRED)
        });
    };
    let shut_down = |old: &MockCluster| (0..2).for_each(|broker| old.broker_down(broker));
    assert_leaders_are_believed_after(send_away);
    assert_leaders_are_believed_after(shut_down);
}

fn assert_leaders_are_believed_after(end: impl Fn(&MockCluster)) {
    let (old, new) = (cluster(2, 1), cluster(2, 1));
    // The same topic, restored from a backup: its leader epochs are lower.
    new.set_topic_id("t", old.topic_id("t").unwrap());
    for round in 0..5 {
        old.set_leader("t", 0, Some(round % 2));
    }
    new.set_leader("t", 0, Some(1));
    let bootstrap = Moving::start(&old);
    let producer = builder_at(&bootstrap.address)
        .metadata_max_age(Duration::from_millis(50))
        .build()
        .unwrap();
    deliver(&producer, 0, "old").unwrap();
    end(&old);
    bootstrap.move_to(&new);
    eventually("a record in the new cluster", || {
        deliver_while_replaced(&producer);
        !values(&new, 0).is_empty()
    });
}

/// One broker has lost its connection to the cluster and still names a leader that is gone.
#[test]
fn a_broker_with_outdated_metadata_is_replaced_by_another_one() {
    let cluster = cluster(1, 1);
    let gone = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let well = Member::new(0, port(&cluster));
    let members = vec![well, Member::new(9, gone)];
    let stale = FakeBootstrap::start(members.clone(), vec![9]);
    let knowing = FakeBootstrap::start(members.clone(), vec![0]);
    let members: Vec<_> = members
        .into_iter()
        .chain([Member::new(7, stale.port()), Member::new(8, knowing.port())])
        .collect();
    stale.set_leaders(&members, &[9]);
    knowing.set_leaders(&members, &[0]);
    // The outdated broker answers first: no other one is known then.
    cluster.on(MockApi::Metadata, |_| Fault::Disconnect);
    let producer = builder_at(&stale.address()).build().unwrap();
    let start = Instant::now();
    deliver(&producer, 0, "v").unwrap();
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
}

/// A record that was in flight when the cluster was replaced may be in the first one's log, so it fails.
fn deliver_while_replaced(producer: &Producer) {
    if let Err(error) = deliver(producer, 0, "v") {
        assert_eq!(error.delivery(), Delivery::MaybeWritten, "{error}");
    }
}

fn refuse_as_unknown(cluster: &MockCluster, broker: i32) -> kafka_producer::mock::HookId {
    cluster.on(MockApi::Metadata, move |request| {
        match request.broker() == broker {
            true => Fault::Error(ErrorCode::REBOOTSTRAP_REQUIRED),
            false => Fault::Pass,
        }
    })
}

/// Causes a metadata refresh by asking for a new topic, and waits for it.
fn refresh(producer: &Producer, cluster: &MockCluster) {
    let topic = format!("new-{}", cluster.request_count(MockApi::Metadata));
    cluster.create_topic(&topic, 1);
    producer.partitions_for(&topic).unwrap();
}

/// An address that stays while the cluster behind it changes, as with a load balancer or a DNS name.
struct Moving {
    address: String,
    relay: crate::support::relay::Relay,
}

impl Moving {
    fn start(cluster: &MockCluster) -> Self {
        let relay = crate::support::relay::Relay::start("127.0.0.1:0", port(cluster));
        Self {
            address: relay.address(),
            relay,
        }
    }

    /// Later connections lead to `cluster`; open ones are cut.
    fn move_to(&self, cluster: &MockCluster) {
        self.relay.lead_to(port(cluster));
    }
}
