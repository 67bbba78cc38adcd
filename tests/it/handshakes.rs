//! Peers that stall, send a byte a second, close, reset or send garbage at each step of a connection's handshakes. Each
//! attempt ends within its timeout, the caller is told what happened, and the producer goes on when the peer is in order.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use kafka_producer::mock::{MockCluster, MockSasl, MockTls};
use kafka_producer::{Error, ErrorKind};

use crate::support::meddler::{Framing, Meddler, Step, WRONGS, Wrong};
use crate::support::{Builder, PATIENCE, Producer, builder_at, deliver, record, with, with_causes};

/// `socket.connection.setup.timeout.ms` and `request.timeout.ms`, and `max.block.ms` or `delivery.timeout.ms`, which are enough
/// for two attempts that end by their timeouts.
#[derive(Clone, Copy)]
struct Times {
    timeout: Duration,
    max_block: Duration,
}

const USUAL: Times = Times {
    timeout: Duration::from_millis(400),
    max_block: Duration::from_millis(1500),
};

/// The iterations of SCRAM take long in a test build.
const SCRAM: Times = Times {
    timeout: Duration::from_millis(2000),
    max_block: Duration::from_millis(6000),
};

/// How many cases run at once. Most of the time they wait.
const AT_ONCE: usize = 16;

/// What the caller is told: the kind, and parts of the message with the reason and the advice.
type Told = (ErrorKind, &'static str, &'static str);

/// A step of a handshake, and what the caller is told of each of [`WRONGS`] at it.
type Case = (Step, [Told; 5]);

/// The caller waits for `max.block.ms`, because the broker may come back.
const fn waits(reason: &'static str, advice: &'static str) -> Told {
    (ErrorKind::MetadataTimeout, reason, advice)
}

const USUAL_ADVICE: &str =
    "; check bootstrap.servers and that the topic exists, or raise max.block.ms";
const TLS_TOO_LONG: Told = waits("the TLS handshake took too long", USUAL_ADVICE);
const TLS_UNHEARD: Told = waits(
    "the broker closed the connection at the first message of TLS",
    "; if the listener does not speak TLS, set security.protocol=PLAINTEXT",
);
const TLS_CLOSED: Told = waits(
    "the broker closed the connection during the TLS handshake",
    "; check the broker's log and the network",
);
const TLS_FIRST_ANSWER: Told = waits(
    "the broker closed the connection before its first answer: either it has reached its connection limit \
     (max.connections.per.ip, max.connections), or it does not accept the client's certificate",
    "; see the broker's log; ssl.keystore.location has the client's certificate",
);
/// The caller is told at once.
const NOT_TLS: Told = (
    ErrorKind::Tls,
    "the broker's bytes are not TLS",
    "; check the port",
);
const GARBLED_TLS: Told = (
    ErrorKind::Tls,
    "the TLS connection failed",
    "; check the settings ssl.*",
);
const BEFORE_TLS: [Told; 5] = [
    TLS_TOO_LONG,
    TLS_TOO_LONG,
    TLS_UNHEARD,
    TLS_UNHEARD,
    NOT_TLS,
];
const WITHIN_TLS: [Told; 5] = [
    TLS_TOO_LONG,
    TLS_TOO_LONG,
    TLS_CLOSED,
    TLS_CLOSED,
    GARBLED_TLS,
];
const AFTER_TLS: [Told; 5] = [
    NO_ANSWER,
    NO_ANSWER,
    TLS_FIRST_ANSWER,
    TLS_FIRST_ANSWER,
    CORRUPT,
];
const CORRUPT: Told = waits(
    "the TLS connection broke: received corrupt message",
    "; check the network between this client and the broker",
);

const TLS_STEPS: [Case; 4] = [
    (Step::Accept, BEFORE_TLS),
    // ServerHello.
    (Step::Message(0), BEFORE_TLS),
    // The first encrypted record.
    (Step::Within(2), WITHIN_TLS),
    // Finished, after which the broker sends tickets and its first answer.
    (Step::AfterClients(2), AFTER_TLS),
];

/// What follows the steps of TLS if the client authenticates itself: the answers to SaslHandshake and SaslAuthenticate, and the
/// first one after that. The client's messages before are ClientHello, ChangeCipherSpec, Finished and ApiVersions.
const SASL_OVER_TLS_STEPS: [Case; 3] = [
    (
        Step::AfterClients(4),
        [
            NO_ANSWER,
            NO_ANSWER,
            SASL_HANDSHAKE_CLOSED,
            SASL_HANDSHAKE_CLOSED,
            CORRUPT,
        ],
    ),
    (Step::AfterClients(5), LATER_OVER_TLS),
    (Step::AfterClients(6), LATER_OVER_TLS),
];
const LATER_OVER_TLS: [Told; 5] = [NO_ANSWER, NO_ANSWER, CLOSED, BROKEN, CORRUPT];

const NO_ANSWER: Told = waits("the broker did not answer in time", USUAL_ADVICE);
const FIRST_ANSWER: Told = waits(
    "the server closed the connection before its first answer: either it has reached its connection limit",
    "; if the listener expects TLS, set security.protocol=SSL or SASL_SSL",
);
const SASL_HANDSHAKE_CLOSED: Told = waits(
    "the broker closed the connection at the SASL handshake",
    "; see the broker's log",
);
const CLOSED: Told = waits("the broker closed the connection", USUAL_ADVICE);
const BROKEN: Told = waits("the connection to the broker broke", USUAL_ADVICE);
const NOT_A_BROKER: Told = waits(
    "the server's first bytes are not Kafka's protocol",
    "; check the port",
);
const NOT_KAFKA: Told = waits("Kafka's protocol", USUAL_ADVICE);

const AT_API_VERSIONS: [Told; 5] = [
    NO_ANSWER,
    NO_ANSWER,
    FIRST_ANSWER,
    FIRST_ANSWER,
    NOT_A_BROKER,
];
const AT_SASL_HANDSHAKE: [Told; 5] = [
    NO_ANSWER,
    NO_ANSWER,
    SASL_HANDSHAKE_CLOSED,
    SASL_HANDSHAKE_CLOSED,
    NOT_KAFKA,
];
const LATER: [Told; 5] = [NO_ANSWER, NO_ANSWER, CLOSED, BROKEN, NOT_KAFKA];

const PLAIN_STEPS: [Case; 7] = [
    (Step::Accept, AT_API_VERSIONS),
    (Step::Message(0), AT_API_VERSIONS),
    (Step::Message(1), AT_SASL_HANDSHAKE),
    (Step::Within(1), AT_SASL_HANDSHAKE),
    // The answer to SaslAuthenticate.
    (Step::Message(2), LATER),
    (Step::Within(2), LATER),
    // The answer to Metadata, for which request.timeout.ms applies.
    (Step::Message(3), LATER),
];

/// The two answers to SaslAuthenticate.
const SCRAM_STEPS: [Case; 2] = [(Step::Message(2), LATER), (Step::Message(3), LATER)];

/// What a test makes secure.
#[derive(Clone, Copy)]
struct Security {
    tls: bool,
    /// The mechanism by which alice authenticates herself.
    sasl: Option<&'static str>,
}

impl Security {
    fn framing(self) -> Framing {
        match self.tls {
            true => Framing::Tls,
            false => Framing::Kafka,
        }
    }

    /// A cluster with one topic.
    fn start(self, brokers: usize) -> MockCluster {
        let mut builder = MockCluster::builder().brokers(brokers);
        if self.tls {
            builder = builder.tls(MockTls::generated());
        }
        if self.sasl.is_some() {
            let sasl = MockSasl::new().plain("alice", "alice-secret");
            builder = builder.sasl(sasl.scram_sha_256("alice", "alice-secret"));
        }
        let cluster = builder.start().unwrap();
        cluster.create_topic("t", 1);
        cluster
    }

    fn apply(self, cluster: &MockCluster, builder: Builder) -> Builder {
        let protocol = match (self.tls, self.sasl) {
            (true, None) => "SSL",
            (true, Some(_)) => "SASL_SSL",
            (false, _) => "SASL_PLAINTEXT",
        };
        let mut builder = with(builder, &[("security.protocol", protocol)]);
        if self.tls {
            let trust = ("ssl.truststore.certificates", &*cluster.ca_pem());
            builder = with(builder, &[trust]);
        }
        match self.sasl {
            None => builder,
            Some("PLAIN") => builder.sasl_plain("alice", "alice-secret"),
            Some(_) => builder.sasl_scram_sha_256("alice", "alice-secret"),
        }
    }
}

const OVER_TLS: Security = Security {
    tls: true,
    sasl: None,
};
const PLAIN: Security = Security {
    tls: false,
    sasl: Some("PLAIN"),
};
const PLAIN_OVER_TLS: Security = Security {
    tls: true,
    sasl: Some("PLAIN"),
};
const SCRAM_256: Security = Security {
    tls: false,
    sasl: Some("SCRAM-SHA-256"),
};

#[test]
fn each_step_of_tls_may_go_wrong() {
    check_metadata(OVER_TLS, &TLS_STEPS, USUAL);
}

#[test]
fn each_step_of_sasl_may_go_wrong() {
    check_metadata(PLAIN, &PLAIN_STEPS, USUAL);
    check_metadata(SCRAM_256, &SCRAM_STEPS, SCRAM);
}

#[test]
fn each_step_of_sasl_over_tls_may_go_wrong() {
    check_metadata(PLAIN_OVER_TLS, &TLS_STEPS, USUAL);
    check_metadata(PLAIN_OVER_TLS, &SASL_OVER_TLS_STEPS, USUAL);
}

/// The record is accepted, because the metadata is known. It waits until `delivery.timeout.ms`, whatever goes wrong.
#[test]
fn each_step_of_a_connection_for_records_may_go_wrong() {
    check_records(PLAIN, &PLAIN_STEPS, USUAL);
    check_records(PLAIN_OVER_TLS, &TLS_STEPS, USUAL);
    check_records(PLAIN_OVER_TLS, &SASL_OVER_TLS_STEPS, USUAL);
}

/// Tries each step with each wrong, several at once, on the connection for metadata.
fn check_metadata(security: Security, cases: &[Case], times: Times) {
    let cluster = security.start(1);
    let port = port(&cluster.bootstrap_servers());
    check(cases, |step, wrong, told| {
        let meddler = Meddler::start(port, security.framing(), step, wrong);
        let producer = builder_of(&meddler.address(), times).max_block(times.max_block);
        let producer = security.apply(&cluster, producer).build().unwrap();
        go_through(&producer, &meddler, || {
            is_told(&producer, &meddler, told, times)
        })
    });
}

/// Tries each step with each wrong, several at once, on the connection for records. Metadata comes from another broker.
fn check_records(security: Security, cases: &[Case], times: Times) {
    check(cases, |step, wrong, told| {
        let cluster = security.start(2);
        let brokers = cluster.bootstrap_servers();
        let (first, second) = brokers.split_once(',').unwrap();
        let meddler = Meddler::start(port(second), security.framing(), step, wrong);
        cluster.advertise_port(1, port(&meddler.address()));
        cluster.set_leader("t", 0, Some(1));
        let producer = builder_of(first, times)
            .max_block(PATIENCE)
            .delivery_timeout(times.max_block);
        let producer = security.apply(&cluster, producer).build().unwrap();
        go_through(&producer, &meddler, || {
            expires(&producer, &meddler, told, times)
        })
    });
}

fn port(address: &str) -> u16 {
    address.rsplit_once(':').unwrap().1.parse().unwrap()
}

fn builder_of(bootstrap_servers: &str, times: Times) -> Builder {
    builder_at(bootstrap_servers)
        .socket_connection_setup_timeout(times.timeout)
        .socket_connection_setup_timeout_max(times.timeout)
        .request_timeout(times.timeout)
        .reconnect_backoff(times.timeout / 4)
        .reconnect_backoff_max(times.timeout / 4)
}

fn check(cases: &[Case], go: impl Fn(Step, Wrong, Told) -> Result<(), String> + Sync) {
    let cases = cases.iter().flat_map(|(step, told)| {
        let each = WRONGS.into_iter().zip(told);
        each.map(move |(wrong, told)| (*step, wrong, *told))
    });
    let cases = Mutex::new(cases.collect::<Vec<_>>());
    let faults = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some((step, wrong, told)) = { cases.lock().unwrap().pop() } {
                    let outcome = go(step, wrong, told);
                    let fault = outcome.map_err(|fault| format!("{step:?} {wrong:?}: {fault}"));
                    faults.lock().unwrap().extend(fault.err());
                }
            });
        }
    });
    let faults = faults.into_inner().unwrap();
    assert!(faults.is_empty(), "{faults:#?}");
}

/// Lets a producer meet the peer as long as it does wrong, and then when it is in order.
fn go_through(
    producer: &Producer,
    meddler: &Meddler,
    meets: impl Fn() -> Result<(), String>,
) -> Result<(), String> {
    // On a very busy machine an attempt may end by its timeout before the peer does anything.
    repeat_until_ok(&meets)?;
    meddler.mend();
    repeat_until_ok(|| deliver(producer, 0, "v"))
        .map_err(|error| format!("after the peer was in order: {error}"))?;
    producer.close(PATIENCE).map_err(|error| error.to_string())
}

/// Returns the first success, or the last error after some time.
fn repeat_until_ok<T, E>(mut attempt: impl FnMut() -> Result<T, E>) -> Result<T, E> {
    let end = Instant::now() + PATIENCE;
    loop {
        match attempt() {
            Err(_) if Instant::now() < end => {}
            result => return result,
        }
    }
}

/// A caller that waits for metadata is told.
fn is_told(
    producer: &Producer,
    meddler: &Meddler,
    (kind, reason, advice): Told,
    Times { timeout, max_block }: Times,
) -> Result<(), String> {
    let began = Instant::now();
    let error = match producer.send(record(0, "v")) {
        Ok(_) => return Err("the record was accepted".to_owned()),
        Err(refused) => refused.error().clone(),
    };
    let took = began.elapsed();
    check_told(&error, &error.to_string(), (kind, reason, advice))?;
    let is_at_once = kind != ErrorKind::MetadataTimeout;
    if is_at_once && took >= max_block {
        return Err(format!("told after {took:?}"));
    }
    check_attempts(meddler, if is_at_once { 0 } else { 2 }, timeout)
}

fn check_told(
    error: &Error,
    shown: &str,
    (kind, reason, advice): (ErrorKind, &str, &str),
) -> Result<(), String> {
    match error.kind() == kind && shown.contains(reason) && shown.contains(advice) {
        true => Ok(()),
        false => Err(format!("{:?}: {shown}", error.kind())),
    }
}

/// The peer did wrong this often: more than one attempt ended by its timeout.
fn check_attempts(meddler: &Meddler, least: usize, timeout: Duration) -> Result<(), String> {
    match meddler.wronged() < least {
        true => Err(format!("no attempt ended within {timeout:?}")),
        false => Ok(()),
    }
}

/// A record that is accepted expires, and not earlier. Its error has the reason.
fn expires(
    producer: &Producer,
    meddler: &Meddler,
    (kind, reason, advice): Told,
    Times { timeout, max_block }: Times,
) -> Result<(), String> {
    let began = Instant::now();
    let error = match deliver(producer, 0, "v") {
        Ok(_) => return Err("the record was delivered".to_owned()),
        Err(error) => error,
    };
    let took = began.elapsed();
    let shown = with_causes(&error);
    let advice = match advice {
        USUAL_ADVICE => "; check the brokers, or raise delivery.timeout.ms",
        advice => advice,
    };
    check_told(&error, &shown, (ErrorKind::DeliveryTimeout, reason, advice))?;
    if took < max_block {
        return Err(format!("expired after {took:?}"));
    }
    // After a refusal the next attempt is made after a second.
    let attempts = match kind {
        ErrorKind::MetadataTimeout => 2,
        _ => 1,
    };
    check_attempts(meddler, attempts, timeout)
}
