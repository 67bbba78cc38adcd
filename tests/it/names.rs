//! Host names: the producer resolves them again for each connection, and tries all their addresses.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kafka_producer::ErrorKind;
use kafka_producer::internals::{TestNames, resolve_with};

use crate::isolation::port;
use crate::support::fake_broker::{FakeBootstrap, Member, never_connecting};
use crate::support::logger::Lines;
use crate::support::relay::Relay;
use crate::support::{
    Builder, PATIENCE, Producer, SOON, builder_at, cluster, deliver, record, values, with_causes,
};

const WELL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// On Linux all of 127.0.0.0/8 is this machine, on other systems only 127.0.0.1. No program listens there.
const UNUSED: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 77, 77, 77));

fn named(id: i32, host: &str, port: u16) -> Member {
    let host = host.to_owned();
    Member { id, host, port }
}

/// A builder of a producer at `servers`, which resolves host names with `names`.
fn builder_with(names: &Arc<TestNames>, servers: &str) -> Builder {
    resolve_with(builder_at(servers), names)
}

/// A producer whose connections fail soon if no broker answers.
fn producer_with(names: &Arc<TestNames>, servers: &str) -> Producer {
    builder_with(names, servers)
        .socket_connection_setup_timeout(Duration::from_millis(500))
        .socket_connection_setup_timeout_max(Duration::from_millis(500))
        .metadata_max_age(Duration::from_millis(100))
        .build()
        .unwrap()
}

#[test]
fn a_broker_whose_name_resolves_to_another_address_is_found_there() {
    const NAME: &str = "broker.moves.test";
    let names = Arc::<TestNames>::default();
    let cluster = cluster(1, 1);
    names.set(NAME, &[UNUSED]);
    let bootstrap = FakeBootstrap::start(vec![named(0, NAME, port(&cluster))], vec![0]);
    let producer = producer_with(&names, &bootstrap.address());
    let waiting = producer.send(record(0, "v")).unwrap();
    assert!(waiting.get(Duration::from_millis(300)).is_err());
    names.set(NAME, &[WELL]);
    waiting.get(SOON).unwrap();
}

/// The producer had a connection to the broker, whose new machine has another address under the old name.
#[test]
fn a_name_that_moves_while_it_is_connected_to_is_followed_when_the_connection_ends() {
    const NAME: &str = "broker.fails-over.test";
    let names = Arc::<TestNames>::default();
    let (old, new) = (cluster(1, 1), cluster(1, 1));
    let relay = Relay::start("127.0.0.1:0", port(&old));
    let relay_port = relay.address().rsplit(':').next().unwrap().parse().unwrap();
    names.set(NAME, &[WELL]);
    let bootstrap = FakeBootstrap::start(vec![named(0, NAME, relay_port)], vec![0]);
    let producer = producer_with(&names, &bootstrap.address());
    deliver(&producer, 0, "before").unwrap();
    names.set(NAME, &[UNUSED]);
    relay.lead_to(port(&new));
    let waiting = producer.send(record(0, "after")).unwrap();
    assert!(waiting.get(Duration::from_millis(300)).is_err());
    names.set(NAME, &[UNUSED, WELL]);
    waiting.get(SOON).unwrap();
    assert_eq!(values(&new, 0), ["after"]);
}

#[test]
fn a_bootstrap_name_is_looked_up_again_when_every_known_broker_is_gone() {
    const NAME: &str = "bootstrap.moves.test";
    let names = Arc::<TestNames>::default();
    let (old, new) = (cluster(1, 1), cluster(1, 1));
    let relay = Relay::start("127.0.0.1:0", port(&old));
    let relay_port: u16 = relay.address().rsplit(':').next().unwrap().parse().unwrap();
    names.set(NAME, &[WELL]);
    let producer = producer_with(&names, &format!("{NAME}:{relay_port}"));
    deliver(&producer, 0, "before").unwrap();
    names.set(NAME, &[UNUSED]);
    relay.lead_to(port(&new));
    old.broker_down(0);
    let waiting = producer.send(record(0, "after")).unwrap();
    assert!(waiting.get(Duration::from_millis(300)).is_err());
    names.set(NAME, &[WELL]);
    // That record may be in the old cluster's log, and then it is not sent to another cluster: `waiting` can fail.
    crate::support::eventually("a record in the new cluster", || {
        deliver(&producer, 0, "after").is_ok()
    });
    assert!(values(&new, 0).iter().all(|value| value == "after"));
}

/// The system's first name server is dead. The second one answers only after the metadata thread has tried the next name:
/// the look-up continues meanwhile, and its answer is used.
#[test]
fn slow_look_ups_continue_and_are_not_started_again() {
    const NAMES: [&str; 2] = ["bootstrap-1.slow.test", "bootstrap-2.slow.test"];
    let names = Arc::<TestNames>::default();
    let cluster = cluster(1, 1);
    for name in NAMES {
        names.set_slow(name, &[WELL], Duration::from_secs(3));
    }
    let port = port(&cluster);
    let servers = NAMES.map(|name| format!("{name}:{port}")).join(",");
    let producer = builder_with(&names, &servers).build().unwrap();
    deliver(&producer, 0, "v").unwrap();
    // The name is looked up when the producer is built, and again to connect.
    for name in NAMES {
        assert!(
            names.look_ups(name) <= 2,
            "{name}: {}",
            names.look_ups(name)
        );
    }
}

/// There is no other name to try: the look-up has all the time that the settings allow.
#[test]
fn the_only_name_has_the_time_of_the_setting_to_be_looked_up() {
    const NAME: &str = "only.slow.test";
    let names = Arc::<TestNames>::default();
    let cluster = cluster(1, 1);
    names.set_slow(NAME, &[WELL], Duration::from_secs(3));
    let producer = builder_with(&names, &format!("{NAME}:{}", port(&cluster)))
        .reconnect_backoff(Duration::from_secs(60))
        .reconnect_backoff_max(Duration::from_secs(60))
        .build()
        .unwrap();
    deliver(&producer, 0, "v").unwrap();
}

/// Returns the first of both.
#[test]
fn every_address_of_a_name_is_tried_within_the_time_for_one_connection() {
    const NAME: &str = "broker.many-addresses.test";
    let names = Arc::<TestNames>::default();
    let cluster = cluster(1, 1);
    for addresses in [[UNUSED, WELL], [WELL, UNUSED]] {
        names.set(NAME, &addresses);
        let producer = producer_with(&names, &format!("{NAME}:{}", port(&cluster)));
        let start = Instant::now();
        deliver(&producer, 0, "v").unwrap();
        assert!(start.elapsed() < SOON);
    }
}

#[test]
fn a_name_that_loses_its_addresses_is_reported_and_found_when_it_has_one_again() {
    const NAME: &str = "broker.without-address.test";
    let names = Arc::<TestNames>::default();
    let cluster = cluster(1, 1);
    names.set(NAME, &[WELL]);
    let producer = builder_with(&names, &format!("{NAME}:{}", port(&cluster)))
        .max_block(Duration::from_millis(300))
        .build()
        .unwrap();
    names.set(NAME, &[]);
    let refused = producer.send(record(0, "v")).unwrap_err();
    assert_eq!(refused.error().kind(), ErrorKind::MetadataTimeout);
    let message = with_causes(refused.error());
    assert!(message.contains("resolves to no address"), "{message}");
    names.set(NAME, &[WELL]);
    crate::support::eventually("a record taken", || {
        producer
            .send(record(0, "v"))
            .is_ok_and(|future| future.get(PATIENCE).is_ok())
    });
}

/// One name has two addresses; connecting to one of them hangs.
#[test]
fn a_name_that_hangs_delays_no_other() {
    let names = Arc::<TestNames>::default();
    let cluster = cluster(1, 2);
    let (hanging, _sockets) = never_connecting();
    names.set("hangs.test", &[WELL]);
    names.set("well.test", &[WELL]);
    let members = vec![
        named(0, "well.test", port(&cluster)),
        named(9, "hangs.test", hanging),
    ];
    let bootstrap = FakeBootstrap::start(members, vec![0, 9]);
    let producer = producer_with(&names, &bootstrap.address());
    let held = producer.send(record(1, "held")).unwrap();
    for index in 0..20 {
        let start = Instant::now();
        deliver(&producer, 0, index.to_string()).unwrap();
        assert!(start.elapsed() < SOON);
    }
    assert!(!held.is_done());
    let _ = producer.close(Duration::ZERO);
}

#[test]
fn a_host_that_is_advertised_in_brackets_is_connected_to() {
    let names = Arc::<TestNames>::default();
    let cluster = cluster(1, 1);
    let member = named(0, "[127.0.0.1]", port(&cluster));
    let bootstrap = FakeBootstrap::start(vec![member], vec![0]);
    deliver(&producer_with(&names, &bootstrap.address()), 0, "v").unwrap();
    assert_eq!(values(&cluster, 0), ["v"]);
}

/// Only if this machine has IPv6.
#[test]
fn an_ipv6_address_that_is_advertised_in_brackets_is_connected_to() {
    let names = Arc::<TestNames>::default();
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        return;
    }
    let cluster = cluster(1, 1);
    let relay = Relay::start("[::1]:0", port(&cluster));
    let relay_port = relay.address().rsplit(':').next().unwrap().parse().unwrap();
    let member = named(0, "[::1]", relay_port);
    let bootstrap = FakeBootstrap::start(vec![member], vec![0]);
    deliver(&producer_with(&names, &bootstrap.address()), 0, "v").unwrap();
    assert_eq!(values(&cluster, 0), ["v"]);
}

#[test]
fn build_reports_a_bootstrap_name_that_does_not_exist_unless_it_is_given_time() {
    const NAME: &str = "bootstrap.comes-later.test";
    let names = Arc::<TestNames>::default();
    let cluster = cluster(1, 1);
    let servers = format!("{NAME}:{}", port(&cluster));
    names.set(NAME, &[]);
    let error = builder_with(&names, &servers).build().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(
        error.to_string().contains(NAME)
            && error.to_string().contains("bootstrap.resolve.timeout.ms"),
        "{error}"
    );
    let producer = builder_with(&names, &servers)
        .bootstrap_resolve_timeout(PATIENCE)
        .build()
        .unwrap();
    let sending = std::thread::spawn(move || deliver(&producer, 0, "v"));
    names.set(NAME, &[WELL]);
    sending.join().unwrap().unwrap();
    assert_eq!(values(&cluster, 0), ["v"]);
}

#[test]
fn when_the_time_for_bootstrap_names_is_over_every_call_fails_until_one_can_be_looked_up() {
    const NAME: &str = "bootstrap.comes-too-late.test";
    let names = Arc::<TestNames>::default();
    let cluster = cluster(1, 1);
    names.set(NAME, &[]);
    let producer = builder_with(&names, &format!("{NAME}:{}", port(&cluster)))
        .max_block(Duration::from_secs(3600))
        .bootstrap_resolve_timeout(Duration::from_millis(50))
        .build()
        .unwrap();
    for _ in 0..3 {
        let error = producer.send(record(0, "never")).unwrap_err();
        for error in [error.error(), &producer.partitions_for("t").unwrap_err()] {
            assert_eq!(error.kind(), ErrorKind::MetadataTimeout);
            assert!(error.is_retriable() && !error.is_fatal());
            let message = error.to_string();
            assert!(
                message.contains("bootstrap.resolve.timeout.ms=50") && message.contains(NAME),
                "{message}"
            );
        }
    }
    names.set(NAME, &[WELL]);
    crate::support::eventually("a record taken", || {
        producer
            .send(record(0, "v"))
            .is_ok_and(|future| future.get(PATIENCE).is_ok())
    });
    assert_eq!(values(&cluster, 0), ["v"]);
}

#[test]
fn a_producer_that_still_looks_for_its_bootstrap_names_closes_at_once() {
    const NAME: &str = "bootstrap.never-comes.test";
    let names = Arc::<TestNames>::default();
    names.set(NAME, &[]);
    let producer = builder_with(&names, &format!("{NAME}:9092"))
        .reconnect_backoff(Duration::from_secs(3600))
        .reconnect_backoff_max(Duration::from_secs(3600))
        .bootstrap_resolve_timeout(Duration::from_secs(3600))
        .build()
        .unwrap();
    let start = Instant::now();
    producer.close(Duration::from_secs(3600)).unwrap();
    assert!(start.elapsed() < PATIENCE);
}

#[test]
fn a_bootstrap_host_that_cannot_be_looked_up_among_others_is_logged_once() {
    const WRONG: &str = "bootstrap.wrong-among-others.test";
    let names = Arc::<TestNames>::default();
    names.set(WRONG, &[]);
    names.set("bootstrap.right-among-others.test", &[WELL]);
    let cluster = cluster(1, 1);
    for well in ["127.0.0.1", "bootstrap.right-among-others.test"] {
        let lines = Lines::about(WRONG);
        let servers = format!("{WRONG}:1,{WRONG}:2,{well}:{}", port(&cluster));
        let producer = builder_with(&names, &servers).build().unwrap();
        crate::support::eventually("a warning", || !lines.so_far().is_empty());
        // The look-ups have ended with the producer.
        producer.close(PATIENCE).unwrap();
        let logged = lines.so_far();
        assert_eq!(logged.len(), 1, "{logged:?}");
        assert!(
            logged[0].contains("cannot resolve one host") && logged[0].contains("no address"),
            "{logged:?}"
        );
    }
}
