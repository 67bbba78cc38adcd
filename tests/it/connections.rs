//! Connections: when they are made, to which address, and when they end.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kafka_producer::mock::{Fault, MockApi};

use crate::support::{
    NO_HOST, PATIENCE, SOON, builder, builder_at, cluster, deliver, producer, values,
};

#[test]
fn no_connection_is_made_before_it_is_needed() {
    let cluster = cluster(1, 1);
    let producer = producer(&cluster);
    producer.flush(PATIENCE).unwrap();
    producer.close(PATIENCE).unwrap();
    assert!(cluster.requests().is_empty());
}

#[test]
fn idle_connections_are_closed_and_made_again_when_needed() {
    let cluster = cluster(2, 2);
    let producer = builder(&cluster)
        .connections_max_idle(Some(Duration::from_millis(200)))
        .build()
        .unwrap();
    for round in 0..3 {
        for partition in [0, 1] {
            deliver(&producer, partition, round.to_string()).unwrap();
        }
        assert!(cluster.wait_until(SOON, |cluster| cluster.connections(0)
            + cluster.connections(1)
            == 0));
    }
    assert_eq!(values(&cluster, 1), ["0", "1", "2"]);
}

#[test]
fn connections_without_limit_stay() {
    let cluster = cluster(1, 1);
    let producer = builder(&cluster)
        .connections_max_idle(None)
        .build()
        .unwrap();
    deliver(&producer, 0, "v").unwrap();
    let gone = cluster.wait_until(Duration::from_millis(300), |cluster| {
        cluster.connections(0) == 0
    });
    assert!(!gone);
    producer.close(PATIENCE).unwrap();
    assert!(cluster.wait_until(SOON, |cluster| cluster.connections(0) == 0));
}

#[test]
fn a_broker_that_refuses_connections_is_tried_at_growing_intervals() {
    let cluster = cluster(1, 1);
    let producer = builder(&cluster)
        .reconnect_backoff(Duration::from_millis(100))
        .reconnect_backoff_max(Duration::from_secs(10))
        .build()
        .unwrap();
    deliver(&producer, 0, "v").unwrap();
    cluster.on(MockApi::ApiVersions, |_| Fault::Disconnect);
    let tried = || cluster.request_count(MockApi::ApiVersions);
    let before = tried();
    cluster.disconnect(0);
    let future = producer.send(crate::support::record(0, "waits")).unwrap();
    assert!(future.get(Duration::from_millis(1500)).is_err());
    // The worker tries after 100, 200, 400 and 800 ms, and so does the metadata thread.
    let attempts = tried() - before;
    assert!((2..=14).contains(&attempts), "{attempts} attempts in 1.5 s");
    cluster.remove_all_hooks();
    future.get(PATIENCE).unwrap();
}

/// Zero is legal. The producer still does not connect as fast as the machine can, to known brokers or for a new topic.
#[test]
fn a_reconnect_backoff_of_zero_makes_no_loop_of_connects() {
    let cluster = cluster(1, 1);
    let producer = builder(&cluster)
        .reconnect_backoff(Duration::ZERO)
        .reconnect_backoff_max(Duration::ZERO)
        .build()
        .unwrap();
    deliver(&producer, 0, "v").unwrap();
    cluster.on(MockApi::ApiVersions, |_| Fault::Disconnect);
    let tried = || cluster.request_count(MockApi::ApiVersions);
    let before = tried();
    cluster.disconnect(0);
    let waiting = producer.send(crate::support::record(0, "waits")).unwrap();
    let new: crate::support::Record = kafka_producer::ProducerRecord::new("new", b"v".to_vec());
    let _ = producer.try_send(new);
    let began = Instant::now();
    assert!(waiting.get(Duration::from_millis(500)).is_err());
    // At least 16 ms pass between two attempts of the worker, and of the metadata thread.
    let most = 2 * (began.elapsed().as_millis() / 16 + 2);
    let attempts = (tried() - before) as u128;
    assert!((2..=most).contains(&attempts), "{attempts} of {most}");
    cluster.remove_all_hooks();
    waiting.get(PATIENCE).unwrap();
}

/// On most machines `localhost` also has an IPv6 address, on which no program listens.
#[test]
fn every_address_of_a_name_is_tried() {
    let cluster = cluster(1, 1);
    let port = crate::isolation::port(&cluster);
    let producer = builder_at(&format!("localhost:{port}")).build().unwrap();
    deliver(&producer, 0, "v").unwrap();
}

#[test]
fn one_bootstrap_server_that_answers_is_enough() {
    let cluster = cluster(1, 1);
    let closed = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let servers = format!(
        "127.0.0.1:{closed},{NO_HOST}:9092,{}",
        cluster.bootstrap_servers()
    );
    for _ in 0..5 {
        let producer = builder_at(&servers).build().unwrap();
        let start = Instant::now();
        deliver(&producer, 0, "v").unwrap();
        assert!(start.elapsed() < SOON);
    }
}

#[test]
fn a_lost_connection_is_noticed_while_nothing_is_sent() {
    let cluster = cluster(1, 1);
    let producer = producer(&cluster);
    deliver(&producer, 0, "first").unwrap();
    for round in 0..20 {
        cluster.disconnect(0);
        deliver(&producer, 0, round.to_string()).unwrap();
    }
    assert_eq!(values(&cluster, 0).len(), 21);
}

#[test]
fn a_server_that_speaks_another_protocol_is_reported_at_once() {
    for first in [
        &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"220 mail.example.com ESMTP\r\n",
        b"\x4a\0\0\0\x0a8.0.36\0",
    ] {
        assert_reported_at_once(first);
    }
}

#[track_caller]
fn assert_reported_at_once(first: &'static [u8]) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let stopped = Arc::new(AtomicBool::new(false));
    let server = {
        let stopped = Arc::clone(&stopped);
        std::thread::spawn(move || {
            let mut open = Vec::new();
            while let Ok((mut stream, _)) = listener.accept() {
                if stopped.load(Ordering::Acquire) {
                    return;
                }
                let _ = stream.write_all(first);
                open.push(stream);
            }
        })
    };
    let producer = builder_at(&address.to_string()).build().unwrap();
    let began = Instant::now();
    let refused = producer.send(crate::support::record(0, "v")).unwrap_err();
    assert!(began.elapsed() < SOON, "not after max.block.ms");
    let error = refused.error();
    assert_eq!(error.kind(), kafka_producer::ErrorKind::Protocol);
    let message = error.to_string();
    assert!(message.contains("not a Kafka listener"), "{message}");
    assert!(message.contains("check the port"), "{message}");
    producer.close(PATIENCE).unwrap();
    stopped.store(true, Ordering::Release);
    drop(TcpStream::connect(address).unwrap());
    server.join().unwrap();
}
