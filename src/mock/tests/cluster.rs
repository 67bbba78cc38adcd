//! The cluster and its brokers: start and end, connections, counts of requests, misuse.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::*;
use crate::protocol::encode_request;

#[test]
fn a_broker_that_is_down_refuses_connections_and_comes_back_on_its_port() {
    let cluster = cluster_with_topic(2, 2);
    let bootstrap_servers = cluster.bootstrap_servers();
    let mut client = Client::connect(&cluster, 1);
    client.produce(9, "t", 1, &plain_batch(1));
    assert_eq!((cluster.connections(0), cluster.connections(1)), (0, 1));

    for _ in 0..3 {
        cluster.broker_down(1);
        cluster.broker_down(1);
        client.expect_end();
        assert_eq!(cluster.connections(1), 0);
        assert!(TcpStream::connect(address(&cluster, 1)).is_err());
        let answer = Client::connect(&cluster, 0).call(&metadata_request(Some(&["t"])), 9);
        assert_eq!(
            answer
                .brokers
                .iter()
                .map(|broker| broker.node_id)
                .collect::<Vec<_>>(),
            [0]
        );
        let partition = &answer.topics[0].partitions[1];
        assert_eq!(
            (partition.error, partition.leader_id),
            (ErrorCode::LEADER_NOT_AVAILABLE, -1)
        );
        assert_eq!(
            (&partition.isr_nodes[..], &partition.offline_replicas[..]),
            (&[0][..], &[1][..])
        );

        cluster.broker_up(1).unwrap();
        cluster.broker_up(1).unwrap();
        assert_eq!(cluster.bootstrap_servers(), bootstrap_servers);
        client = Client::connect(&cluster, 1);
        assert_eq!(
            client.produce(9, "t", 1, &plain_batch(1)).error,
            ErrorCode::NONE
        );
    }
    assert_eq!(cluster.end_offset("t", 1), Some(4));

    cluster.disconnect(1);
    client.expect_end();
    Client::connect(&cluster, 1).call(&metadata_request(None), 9);
}

#[test]
fn dropping_the_cluster_ends_everything_even_during_a_panic() {
    let stopped = std::panic::catch_unwind(|| {
        let cluster = MockCluster::start(3).unwrap();
        cluster.fail_next(MockApi::Metadata, 1, Fault::delay(Duration::MAX));
        let mut clients: Vec<_> = (0..30)
            .map(|index| Client::connect(&cluster, index % 3))
            .collect();
        clients[0].send(&metadata_request(None), 9);
        assert!(
            cluster.wait_until(TIMEOUT, |cluster| cluster.request_count(MockApi::Metadata)
                == 1)
        );
        std::panic::panic_any((clients, cluster.bootstrap_servers()));
    });
    let (clients, bootstrap_servers) = *stopped
        .unwrap_err()
        .downcast::<(Vec<Client>, String)>()
        .unwrap();
    for mut client in clients {
        client.expect_end();
    }
    for address in bootstrap_servers.split(',') {
        assert!(TcpStream::connect(address).is_err());
    }
}

#[test]
fn bytes_that_are_not_kafkas_protocol_close_their_connection_only() {
    let cluster = MockCluster::start(1).unwrap();
    let mut good = Client::connect(&cluster, 0);
    let mut trailing = Vec::new();
    encode_request(&metadata_request(None), 9, 1, None, &mut trailing).unwrap();
    trailing[3] += 1;
    trailing.push(0);
    let nonsense: [&[u8]; 6] = [
        b"GET / HTTP/1.1\r\nHost: kafka\r\n\r\n",
        &[0x7f, 0xff, 0xff, 0xff],
        &[0xff, 0xff, 0xff, 0xff],
        &[0, 0, 0, 0],
        &[0, 0, 0, 10, 0, 1, 0, 4, 0, 0, 0, 1, 0xff, 0xff],
        &trailing,
    ];
    for bytes in nonsense {
        let mut client = Client::connect(&cluster, 0);
        client.stream.write_all(bytes).unwrap();
        client.expect_end();
    }
    good.call(&metadata_request(None), 9);
}

#[test]
fn requests_are_counted_and_remembered() {
    let cluster = MockCluster::start(2).unwrap();
    let before = Instant::now();
    Client::connect(&cluster, 1).call(&metadata_request(None), 5);
    Client::connect(&cluster, 0).call(&init_producer_id(None), 3);
    let requests = cluster.requests();
    let summary: Vec<_> = requests
        .iter()
        .map(|request| (request.api, request.version, request.broker))
        .collect();
    assert_eq!(
        summary,
        [(MockApi::Metadata, 5, 1), (MockApi::InitProducerId, 3, 0)]
    );
    assert_eq!(
        (
            requests[0].client_id.as_deref(),
            requests[0].client_software.as_deref()
        ),
        (Some("test"), None)
    );
    assert!(requests[0].at >= before && requests[1].at >= requests[0].at);
    assert_eq!(
        (
            cluster.request_count(MockApi::Metadata),
            cluster.request_count(MockApi::Produce)
        ),
        (1, 0)
    );
}

#[test]
fn waiting_ends_at_its_deadline() {
    let cluster = MockCluster::start(1).unwrap();
    assert!(!cluster.wait_until(Duration::from_millis(5), |_| false));
    assert!(cluster.wait_until(Duration::ZERO, |_| true));
}

#[test]
fn changing_what_does_not_exist_panics_and_leaves_the_cluster_usable() {
    let cluster = cluster_with_topic(1, 1);
    let misuses: [&dyn Fn(); 8] = [
        &|| cluster.create_topic("t", 1),
        &|| cluster.create_topic("a b", 1),
        &|| cluster.create_topic("u", 0),
        &|| cluster.delete_topic("u"),
        &|| cluster.set_leader("t", 1, None),
        &|| cluster.set_leader("t", 0, Some(1)),
        &|| cluster.broker_down(-1),
        &|| cluster.set_log_append_time("u", true),
    ];
    for misuse in misuses {
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(misuse)).is_err());
    }
    assert_eq!(
        Client::connect(&cluster, 0)
            .produce(9, "t", 0, &plain_batch(1))
            .error,
        ErrorCode::NONE
    );
}
