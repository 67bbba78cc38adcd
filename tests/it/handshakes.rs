//! Peers that stall, send a byte a second, close, reset or send garbage at each step of a connection's handshakes. Each
//! attempt ends within its timeout, the caller is told what happened, and the producer goes on when the peer is in order.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use kafka_producer::ErrorKind;
use kafka_producer::mock::{MockCluster, MockSasl, MockTls};

use crate::support::meddler::{Framing, Meddler, Step, WRONGS};
use crate::support::{Builder, PATIENCE, Producer, builder_at, deliver, record};

/// `socket.connection.setup.timeout.ms` and `request.timeout.ms`, and `max.block.ms`, which is enough for two attempts that
/// end by their timeouts.
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
    waits(
        "the TLS connection broke: received corrupt message",
        "; check the network between this client and the broker",
    ),
];

const TLS_STEPS: [Case; 4] = [
    (Step::Accept, BEFORE_TLS),
    // ServerHello.
    (Step::Message(0), BEFORE_TLS),
    // The first encrypted record.
    (Step::Within(2), WITHIN_TLS),
    // Finished, after which the broker sends tickets and its first answer.
    (Step::AfterClients(2), AFTER_TLS),
];

const NO_ANSWER: Told = waits("the broker did not answer in time", USUAL_ADVICE);
const FIRST_ANSWER: Told = waits(
    "the server closed the connection before its first answer: either it has reached its connection limit",
    "; if the listener expects TLS, set security.protocol=SSL or SASL_SSL",
);
const SASL_HANDSHAKE_CLOSED: Told = waits(
    "the broker closed the connection at the SASL handshake",
    "; see the broker's log",
);
const CLOSED: Told = waits("the broker closed the connection)", USUAL_ADVICE);
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
    BROKEN,
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

#[test]
fn each_step_of_tls_may_go_wrong() {
    let cluster = MockCluster::builder().tls(MockTls::generated());
    let cluster = cluster.start().unwrap();
    cluster.create_topic("t", 1);
    let authority = cluster.ca_pem();
    check(&cluster, Framing::Tls, &TLS_STEPS, USUAL, |builder| {
        let builder = builder.set("security.protocol", "SSL").unwrap();
        let trust = builder.set("ssl.truststore.certificates", &authority);
        trust.unwrap()
    });
}

#[test]
fn each_step_of_sasl_may_go_wrong() {
    let sasl = MockSasl::new()
        .plain("alice", "alice-secret")
        .scram_sha_256("alice", "alice-secret");
    let cluster = MockCluster::builder().sasl(sasl).start().unwrap();
    cluster.create_topic("t", 1);
    let over_plaintext = |builder: Builder| {
        let protocol = builder.set("security.protocol", "SASL_PLAINTEXT");
        protocol.unwrap()
    };
    check(&cluster, Framing::Kafka, &PLAIN_STEPS, USUAL, |builder| {
        over_plaintext(builder).sasl_plain("alice", "alice-secret")
    });
    check(&cluster, Framing::Kafka, &SCRAM_STEPS, SCRAM, |builder| {
        over_plaintext(builder).sasl_scram_sha_256("alice", "alice-secret")
    });
}

/// Tries each step with each wrong, several at once.
fn check(
    cluster: &MockCluster,
    framing: Framing,
    cases: &[Case],
    times: Times,
    secure: impl Fn(Builder) -> Builder + Sync,
) {
    let broker = cluster.bootstrap_servers();
    let port: u16 = broker.rsplit_once(':').unwrap().1.parse().unwrap();
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
                    let meddler = Meddler::start(port, framing, step, wrong);
                    let outcome = go_through(&meddler, told, times, &secure);
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
    meddler: &Meddler,
    told: Told,
    times: Times,
    secure: impl Fn(Builder) -> Builder,
) -> Result<(), String> {
    let builder = builder_at(&meddler.address())
        .socket_connection_setup_timeout(times.timeout)
        .socket_connection_setup_timeout_max(times.timeout)
        .request_timeout(times.timeout)
        .reconnect_backoff(times.timeout / 4)
        .reconnect_backoff_max(times.timeout / 4)
        .max_block(times.max_block);
    let producer = secure(builder).build().unwrap();
    // On a very busy machine an attempt may end by its timeout before the peer does anything.
    repeat_until_ok(|| is_told(&producer, meddler, told, times))?;
    meddler.mend();
    repeat_until_ok(|| deliver(&producer, 0, "v"))
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
    let shown = error.to_string();
    if error.kind() != kind || !shown.contains(reason) || !shown.contains(advice) {
        return Err(format!("{:?}: {shown}", error.kind()));
    }
    let is_at_once = kind != ErrorKind::MetadataTimeout;
    if is_at_once && took >= max_block {
        return Err(format!("told after {took:?}"));
    }
    if !is_at_once && meddler.wronged() < 2 {
        return Err(format!("no attempt ended within {timeout:?}"));
    }
    Ok(())
}
