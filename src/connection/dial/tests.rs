use super::*;
use crate::connection::authentication::Authenticator;
use crate::connection::resolve::{Resolver, test_names::TestNames};
use crate::protocol::messages::{ApiVersionsRequest, InitProducerIdRequest};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread::JoinHandle;

const PATIENCE: Duration = Duration::from_secs(20);

fn dial(config: ConnectionConfig, host: &str, port: u16) -> Result<Dialed, DialError> {
    let context = ConnectionContext {
        config: Arc::new(config),
        threads: Arc::default(),
        registry: Arc::default(),
    };
    let endpoint = Endpoint {
        host: host.into(),
        port,
    };
    Dial {
        context: &context,
        endpoint: &endpoint,
        cluster_id: None,
        failures: 0,
        times: DialTimes::within(PATIENCE),
        max_frame_bytes: 1 << 20,
        control: &ConnectionControl::new(),
    }
    .run()
}

/// A broker that has ApiVersions 0 and nothing else. The thread ends with its first connection and returns the versions
/// that it was asked in.
fn broker() -> (u16, JoinHandle<Vec<i16>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = std::thread::spawn(move || serve(listener.accept().unwrap().0));
    (port, serving)
}

fn serve(mut peer: TcpStream) -> Vec<i16> {
    let mut asked = Vec::new();
    let mut length = [0; 4];
    while peer.read_exact(&mut length).is_ok() {
        let mut request = vec![0; u32::from_be_bytes(length) as usize];
        peer.read_exact(&mut request).unwrap();
        let version = i16::from_be_bytes([request[2], request[3]]);
        asked.push(version);
        let mut answer = request[4..8].to_vec();
        answer.extend(match version {
            // No error, and one API: number 18, versions 0 to 0.
            0 => &[0, 0, 0, 0, 0, 1, 0, 18, 0, 0, 0, 0][..],
            // UNSUPPORTED_VERSION.
            _ => &[0, 35, 0, 0, 0, 0],
        });
        let length = (answer.len() as u32).to_be_bytes();
        peer.write_all(&[&length, &answer[..]].concat()).unwrap();
    }
    asked
}

/// Asks the broker something, as a SASL mechanism does.
#[derive(Debug)]
struct Asking {
    ends: Instant,
}

impl Authenticator for Asking {
    fn authenticate(&self, connection: &mut NewConnection<'_>) -> Result<Session, Error> {
        let unknown = connection.versions.best::<InitProducerIdRequest<'_>>();
        assert!(unknown.is_err(), "versions are negotiated before");
        let (request, deadline) = (ApiVersionsRequest::default(), connection.deadline);
        let answer = connection.exchange.call(&request, 0, deadline)?;
        assert_eq!(answer.api_keys.len(), 1);
        Ok(Session {
            ends: Some(self.ends),
        })
    }
}

#[test]
fn the_authenticator_asks_the_broker_and_says_when_the_session_ends() {
    let (port, broker) = broker();
    let ends = Instant::now() + PATIENCE;
    let config = ConnectionConfig {
        authenticator: Arc::new(Asking { ends }),
        ..ConnectionConfig::for_tests()
    };
    let dialed = dial(config, "127.0.0.1", port).unwrap();
    assert_eq!(dialed.session.ends, Some(ends));
    drop(dialed);
    assert_eq!(broker.join().unwrap(), [3, 0, 0]);
}

#[derive(Debug)]
struct Failing;

impl Authenticator for Failing {
    fn authenticate(&self, _: &mut NewConnection<'_>) -> Result<Session, Error> {
        Err(Error::new(ErrorKind::Broker, "wrong password"))
    }
}

#[test]
fn a_connection_that_fails_to_authenticate_is_not_refused_for_its_number() {
    let (port, broker) = broker();
    let config = ConnectionConfig {
        authenticator: Arc::new(Failing),
        ..ConnectionConfig::for_tests()
    };
    let failed = dial(config, "127.0.0.1", port).map(drop).unwrap_err();
    assert!(!failed.is_refused, "no other connection may be shared");
    assert_eq!(broker.join().unwrap(), [3, 0]);
}

#[test]
fn a_name_is_resolved_by_the_name_service_of_the_configuration() {
    let (port, broker) = broker();
    let names = Arc::new(TestNames::default());
    names.set("broker.test", &[Ipv4Addr::LOCALHOST.into()]);
    let config = ConnectionConfig {
        resolver: Arc::new(Resolver::new(names.clone())),
        ..ConnectionConfig::for_tests()
    };
    drop(dial(config, "broker.test", port).unwrap());
    assert_eq!(names.look_ups("broker.test"), 1);
    assert_eq!(broker.join().unwrap(), [3, 0]);
}

#[test]
fn the_time_to_connect_doubles_with_each_failure_up_to_its_maximum() {
    let config = ConnectionConfig {
        setup_timeout: Duration::from_secs(10),
        setup_timeout_max: Duration::from_secs(30),
        ..ConnectionConfig::for_tests()
    };
    for (failures, seconds) in [(0, 10.0), (1, 20.0), (2, 30.0), (30, 30.0)] {
        let timeout = setup_timeout(&config, failures).as_secs_f64();
        let expected = 0.799 * seconds..=1.201 * seconds;
        assert!(expected.contains(&timeout), "{failures}: {timeout}");
    }
}
