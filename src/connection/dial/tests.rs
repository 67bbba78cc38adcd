use super::*;
use crate::connection::authentication::Authenticator;
use crate::connection::resolve::{Resolver, test_names::TestNames};
use crate::connection::test_broker::TestBroker;
use crate::protocol::messages::{ApiVersionsRequest, InitProducerIdRequest};
use std::net::Ipv4Addr;

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
            begins: Instant::now(),
            ends: Some(self.ends),
        })
    }
}

#[test]
fn the_authenticator_asks_the_broker_and_says_when_the_session_ends() {
    let broker = TestBroker::start();
    let ends = Instant::now() + PATIENCE;
    let config = ConnectionConfig {
        authenticator: Arc::new(Asking { ends }),
        ..ConnectionConfig::for_tests()
    };
    let dialed = dial(config, "127.0.0.1", broker.port).unwrap();
    assert_eq!(dialed.session.ends, Some(ends));
    drop(dialed);
    assert_eq!(broker.asked(), [3, 0, 0]);
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
    let broker = TestBroker::start();
    let config = ConnectionConfig {
        authenticator: Arc::new(Failing),
        ..ConnectionConfig::for_tests()
    };
    let failed = dial(config, "127.0.0.1", broker.port)
        .map(drop)
        .unwrap_err();
    assert!(!failed.is_refused, "no other connection may be shared");
    assert_eq!(broker.asked(), [3, 0]);
}

#[test]
fn a_name_is_resolved_by_the_name_service_of_the_configuration() {
    let broker = TestBroker::start();
    let names = Arc::new(TestNames::default());
    names.set("broker.test", &[Ipv4Addr::LOCALHOST.into()]);
    let config = ConnectionConfig {
        resolver: Arc::new(Resolver::new(names.clone())),
        ..ConnectionConfig::for_tests()
    };
    drop(dial(config, "broker.test", broker.port).unwrap());
    assert_eq!(names.look_ups("broker.test"), 1);
    assert_eq!(broker.asked(), [3, 0]);
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
