//! Sessions that end, and credentials and certificates that are exchanged, while a producer sends.

use std::fs;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use kafka_producer::{ErrorKind, Future};

use crate::Tests;
use crate::load::Load;
use crate::producing::{BytesProducer, SOON, producer_of, record};
use crate::support::kafka::{KafkaCluster, Listener, Mechanism, password};
use crate::support::logger::Lines;
use crate::support::security::{Cert, TrustStore, Trusted};

/// For a cluster with every listener of [`Listener::COMMON`].
pub(crate) const TESTS: Tests = &[
    (
        "links_are_replaced_before_their_sessions_end_and_no_record_notices",
        links_are_replaced_before_their_sessions_end_and_no_record_notices,
    ),
    (
        "tokens_are_exchanged_before_they_end_and_no_record_notices",
        tokens_are_exchanged_before_they_end_and_no_record_notices,
    ),
    (
        "a_producer_goes_on_when_its_password_is_right_again",
        a_producer_goes_on_when_its_password_is_right_again,
    ),
    (
        "a_trust_store_is_exchanged_while_the_producer_runs",
        a_trust_store_is_exchanged_while_the_producer_runs,
    ),
];

fn producer(settings: &[(String, String)]) -> BytesProducer {
    producer_of(settings).expect("a producer")
}

fn send(producer: &BytesProducer, topic: &str, number: usize) -> Future {
    producer
        .send(record(topic, number.to_string()))
        .expect("a record accepted")
}

/// Checks that the topic holds the numbers from 0, each once and in order.
fn assert_holds_numbers(kafka: &KafkaCluster, topic: &str, count: usize) {
    let values: Vec<_> = kafka
        .consume(topic)
        .iter()
        .map(|r| r.text().to_owned())
        .collect();
    let expected: Vec<_> = (0..count).map(|number| number.to_string()).collect();
    assert_eq!(values, expected);
}

/// Far above what a delivery takes on a busy machine, and below what a user would notice. A connection that had to be made
/// anew after the broker closed it, with the pause before that, would show.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// Keeps up a load for a while, and returns once all of it is delivered, in order.
fn load_for(kafka: &KafkaCluster, topic: &str, settings: Settings, time: Duration) {
    let lost = Lines::about("the connection to broker");
    let load = Load::start(kafka, topic, settings);
    thread::sleep(time);
    let pauses = load.finish(kafka);
    assert!(pauses.between < LONGEST_PAUSE, "{topic}: {pauses:?}");
    assert!(pauses.delivery < LONGEST_PAUSE, "{topic}: {pauses:?}");
    assert_eq!(lost.so_far(), Vec::<String>::new(), "{topic}");
}

type Settings = Vec<(String, String)>;

/// Sessions last five seconds here.
fn links_are_replaced_before_their_sessions_end_and_no_record_notices(kafka: &KafkaCluster) {
    for (listener, mechanism) in [
        (Listener::ReauthPlaintext, Mechanism::ScramSha256),
        (Listener::ReauthSsl, Mechanism::Plain),
    ] {
        let topic = format!("sessions-{}", mechanism.name().to_lowercase());
        let settings = kafka.settings(listener, Some(mechanism));
        load_for(kafka, &topic, settings, Duration::from_secs(11));
    }
}

/// The broker ends a session with its token, which lasts eight seconds. Another program writes the next one in time.
fn tokens_are_exchanged_before_they_end_and_no_record_notices(kafka: &KafkaCluster) {
    let topic = "sessions-tokens";
    let write = move || kafka.issuer().token_file("carol", 8);
    let url = format!("file://{}", write().display());
    let name = "sasl.oauthbearer.token.endpoint.url";
    let mut settings = kafka.settings(Listener::SaslSsl, Some(Mechanism::OauthBearer));
    settings.retain(|(other, _)| other != name);
    settings.push((name.to_owned(), url));
    let (done, is_done) = mpsc::channel::<()>();
    thread::scope(|scope| {
        scope.spawn(move || {
            while is_done.recv_timeout(Duration::from_secs(2)) == Err(RecvTimeoutError::Timeout) {
                write();
            }
        });
        load_for(kafka, topic, settings, Duration::from_secs(20));
        drop(done);
    });
}

fn a_producer_goes_on_when_its_password_is_right_again(kafka: &KafkaCluster) {
    let topic = "sessions-mended";
    kafka.create_topic(topic, 1, 1, &[]);
    let mechanism = Mechanism::ScramSha512;
    let settings = kafka.settings(Listener::ReauthPlaintext, Some(mechanism));
    let producer = producer(&settings);
    let send = |number: usize| send(&producer, topic, number);
    send(0).get(SOON).expect("a delivery");

    kafka.set_scram("alice", "another", &[mechanism]);
    // The session ends, and no other can begin.
    let kept = wait_until_kept(&producer, topic);
    kafka.set_scram("alice", &password("alice"), &[mechanism]);
    for future in &kept {
        future.get(SOON).expect("a delivery");
    }
    send(1 + kept.len()).get(SOON).expect("a delivery");
    assert_holds_numbers(kafka, topic, 2 + kept.len());
}

/// Sends one record after the other until one is not delivered for two seconds.
fn wait_until_kept(producer: &BytesProducer, topic: &str) -> Vec<Future> {
    let mut sent = Vec::new();
    let deadline = Instant::now() + SOON;
    while Instant::now() < deadline {
        let future = send(producer, topic, 1 + sent.len());
        let outcome = future.get(Duration::from_secs(2));
        sent.push(future);
        match outcome {
            Ok(_) => thread::park_timeout(Duration::from_millis(100)),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
                return sent;
            }
        }
    }
    panic!("the sessions do not end");
}

fn a_trust_store_is_exchanged_while_the_producer_runs(kafka: &KafkaCluster) {
    let topic = "sessions-exchanged";
    kafka.create_topic(topic, 1, 1, &[]);
    let store = |trusted| kafka.pki().trust_store(&[trusted], TrustStore::Pem);
    let used = kafka.pki().root().with_file_name("exchanged.pem");
    fs::copy(store(Trusted::Root), &used).expect("copy a trust store");
    let mut settings = kafka.settings(Listener::SslExchanged, None);
    settings.retain(|(name, _)| name != "ssl.truststore.location");
    let idle = ("connections.max.idle.ms".to_owned(), "500".to_owned());
    settings.extend([
        (
            "ssl.truststore.location".to_owned(),
            used.display().to_string(),
        ),
        idle,
    ]);
    let producer = producer(&settings);
    let send = |number: usize| send(&producer, topic, number);
    send(0).get(SOON).expect("a delivery");

    kafka.present(Cert::Untrusted);
    wait_until_closed(kafka);
    let refused = send(1);
    let error = refused
        .get(Duration::from_secs(3))
        .expect_err("no delivery");
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    // Half written: not usable.
    fs::write(&used, "-----BEGIN CERTIFICATE-----\nMIIB").expect("write a trust store");
    let error = refused
        .get(Duration::from_secs(2))
        .expect_err("no delivery");
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    fs::copy(store(Trusted::Other), &used).expect("copy a trust store");
    refused.get(SOON).expect("a delivery");
    send(2).get(SOON).expect("a delivery");
    kafka.present(Cert::Broker);
    assert_holds_numbers(kafka, topic, 3);
}

/// Waits until the producer has closed its idle connections.
fn wait_until_closed(kafka: &KafkaCluster) {
    let deadline = Instant::now() + SOON;
    while kafka.listener_connections(1, Listener::SslExchanged) > 0 {
        assert!(Instant::now() < deadline, "idle connections stay");
        thread::park_timeout(Duration::from_millis(50));
    }
}
