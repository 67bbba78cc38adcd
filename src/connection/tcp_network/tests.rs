use std::time::Duration;

use super::*;
use crate::connection::authentication::{Authenticator, Session};
use crate::connection::client::{BlockingClient, ClientTarget};
use crate::connection::dial::NewConnection;
use crate::connection::test_broker::TestBroker;
use crate::connection::{ConnectionConfig, Endpoint};
use crate::sync::channel;

const PATIENCE: Duration = Duration::from_secs(20);

const LINK: LinkId = LinkId(0);

/// Grants sessions that end then.
#[derive(Debug)]
struct Granting(Instant);

impl Authenticator for Granting {
    fn authenticate(&self, _: &mut NewConnection<'_>) -> Result<Session, Error> {
        Ok(Session {
            begins: Instant::now(),
            ends: Some(self.0),
        })
    }
}

/// Connections to `broker` whose sessions end at `ends`.
fn connections(ends: Instant) -> ConnectionContext {
    let config = ConnectionConfig {
        authenticator: Arc::new(Granting(ends)),
        ..ConnectionConfig::for_tests()
    };
    ConnectionContext {
        config: Arc::new(config),
        threads: Arc::default(),
        registry: Arc::default(),
    }
}

fn endpoint(broker: &TestBroker) -> Endpoint {
    Endpoint {
        host: "127.0.0.1".into(),
        port: broker.port,
    }
}

/// A worker's network, and the events of its links.
fn network(connections: &ConnectionContext) -> (TcpNetwork, channel::Receiver<LinkEvent>) {
    let (sender, events) = channel::unbounded();
    let sink = move |_, event| drop(sender.send(event));
    let network = TcpNetwork::new(connections.clone(), Arc::new(sink), 0);
    (network, events)
}

/// Connects, and returns when the session ends.
fn connect(
    network: &mut TcpNetwork,
    events: &channel::Receiver<LinkEvent>,
    broker: &TestBroker,
) -> Option<Instant> {
    let target = LinkTarget {
        endpoint: endpoint(broker),
        cluster_id: None,
        failures: 0,
    };
    network.connect(LINK, target);
    match events.recv_timeout(PATIENCE).unwrap() {
        LinkEvent::Connected(ready) => ready.session.ends,
        other => panic!("{other:?} instead of a connection"),
    }
}

#[test]
fn every_user_of_a_connection_learns_when_its_session_ends() {
    let broker = TestBroker::start();
    let ends = Instant::now() + PATIENCE;
    let connections = connections(ends);
    let (mut first, events) = network(&connections);
    assert_eq!(connect(&mut first, &events, &broker), Some(ends));
    // The broker refuses another connection, so this link shares the first one.
    let (mut second, events) = network(&connections);
    assert_eq!(connect(&mut second, &events, &broker), Some(ends));
    let target = ClientTarget {
        endpoint: &endpoint(&broker),
        failures: 0,
        patience: PATIENCE,
        has_others: false,
    };
    let client = BlockingClient::connect(&connections, &target, ConnectionControl::new()).unwrap();
    assert!(!client.has_own_connection());
    assert_eq!(client.session_ends(), Some(ends));
    drop((first, second, client));
    assert_eq!(broker.asked(), [3, 0], "one connection, negotiated once");
}
