//! Secure clusters: Kafka's own producer comes in through the listeners, so a client that does not is at fault itself.

use std::time::{Duration, Instant};
use std::{fs, thread};

use kafka_producer::{ClientKey, ErrorKind, SecurityProtocol, TrustMaterial};

use crate::Tests;
use crate::forms::a_disabled_mechanism_is_told_with_those_that_are_enabled;
use crate::producing::{BytesProducer, SOON, outcome, producer_of, record};
use crate::support::kafka::{
    Acl, AclResource, KafkaCluster, KafkaVersion, Listener, Mechanism, Operation, password,
};
use crate::support::programs::succeed;
use crate::support::security::{Cert, KeyForm, KeyStore, STORE_PASSWORD, TrustStore, Trusted};

/// For a cluster with every listener of [`Listener::COMMON`].
pub(crate) const TESTS: Tests = &[
    (
        "kafkas_own_producer_comes_in_through_the_listeners",
        |kafka| {
            let doors = [
                (Listener::SslClientAuth, None),
                (Listener::SaslPlaintext, Some(Mechanism::Plain)),
                (Listener::SaslSsl, Some(Mechanism::OauthBearer)),
                (Listener::ReauthSsl, Some(Mechanism::ScramSha512)),
            ];
            assert_open(kafka, &doors)
        },
    ),
    ("a_producer_comes_in_through_each_listener", |kafka| {
        let tokens = [Mechanism::OauthBearer];
        a_producer_comes_in_through(
            kafka,
            &Listener::COMMON,
            &[&PASSWORDS[..], &tokens].concat(),
        );
    }),
    (
        "a_producer_comes_in_with_stores_and_texts_of_code",
        a_producer_comes_in_with_stores_and_texts_of_code,
    ),
    (
        "the_examples_come_in_with_the_settings_of_a_file",
        the_examples_come_in_with_the_settings_of_a_file,
    ),
    (
        "a_password_of_scram_changes_while_the_cluster_runs",
        a_password_of_scram_changes_while_the_cluster_runs,
    ),
    (
        "a_producer_comes_in_with_a_delegation_token",
        a_producer_comes_in_with_a_delegation_token,
    ),
    (
        "a_rule_refuses_a_topic_until_it_is_gone",
        a_rule_refuses_a_topic_until_it_is_gone,
    ),
    (
        "a_broker_presents_another_certificate",
        a_broker_presents_another_certificate,
    ),
];

/// For a cluster of older brokers with [`OLD_LISTENERS`].
pub(crate) const TESTS_OF_OLD_BROKERS: Tests = &[
    (
        "kafkas_own_producer_comes_in_through_the_listeners",
        |kafka| {
            let doors = [
                (Listener::SslClientAuth, None),
                (Listener::SaslSsl, Some(Mechanism::ScramSha256)),
            ];
            assert_open(kafka, &doors)
        },
    ),
    ("a_producer_comes_in_through_each_listener", |kafka| {
        let mut mechanisms = PASSWORDS.to_vec();
        // The older brokers know no keys of an issuer.
        if kafka.version() == KafkaVersion::V3_9_1 {
            mechanisms.push(Mechanism::OauthBearer);
        }
        a_producer_comes_in_through(kafka, &OLD_LISTENERS, &mechanisms);
    }),
];

pub(crate) const OLD_LISTENERS: [Listener; 3] = [
    Listener::SslClientAuth,
    Listener::SaslPlaintext,
    Listener::SaslSsl,
];

/// For a cluster with a KDC.
pub(crate) const TESTS_WITH_KERBEROS: Tests = &[
    ("kafkas_own_producer_comes_in_with_a_ticket", |kafka| {
        let doors = Listener::KERBEROS.map(|listener| (listener, Some(Mechanism::Gssapi)));
        assert_open(kafka, &doors)
    }),
    (
        "a_disabled_mechanism_is_told_with_those_that_are_enabled",
        |kafka| {
            a_disabled_mechanism_is_told_with_those_that_are_enabled(
                kafka,
                Listener::Kerberos,
                Mechanism::ScramSha256,
                &[Mechanism::Gssapi],
            );
        },
    ),
];

type Door = (Listener, Option<Mechanism>);

/// Sends a record through each door with Kafka's console producer.
fn assert_open(kafka: &KafkaCluster, doors: &[Door]) {
    let topic = "secure-doors";
    kafka.create_topic(topic, 1, 1, &[]);
    let name = |(listener, mechanism): &Door| format!("{listener:?} {mechanism:?}");
    let printed: Vec<_> = thread::scope(|scope| {
        let produce = |door| scope.spawn(move || produce(kafka, topic, door, &name(door)));
        let running: Vec<_> = doors.iter().map(produce).collect();
        let join = |produced: thread::ScopedJoinHandle<'_, _>| produced.join();
        running.into_iter().map(join).collect()
    });
    let mut expected: Vec<_> = doors.iter().map(name).collect();
    expected.sort_unstable();
    assert_eq!(values(kafka, topic), expected, "{printed:?}");
}

/// Returns what the console producer logged.
fn produce(kafka: &KafkaCluster, topic: &str, (listener, mechanism): &Door, line: &str) -> String {
    let settings = kafka.settings(*listener, *mechanism);
    let output = kafka.java_produce(topic, &settings, &format!("{line}\n"));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn a_producer_comes_in_through(
    kafka: &KafkaCluster,
    listeners: &[Listener],
    mechanisms: &[Mechanism],
) {
    let topic = "secure-producer";
    kafka.create_topic(topic, 1, 1, &[]);
    let mut expected = Vec::new();
    for listener in listeners {
        let doors = match listener.protocol() {
            "SSL" => vec![None],
            _ => mechanisms.iter().copied().map(Some).collect(),
        };
        for mechanism in doors {
            let settings = kafka.settings(*listener, mechanism);
            let value = format!("{listener:?} {mechanism:?}");
            let sent = producer_of(&settings)
                .and_then(|producer| outcome(&producer, record(topic, value.as_str())));
            sent.unwrap_or_else(|error| panic!("{value}: {error}"));
            expected.push(value);
        }
    }
    expected.sort_unstable();
    assert_eq!(values(kafka, topic), expected);
}

/// The broker demands a client certificate.
fn a_producer_comes_in_with_stores_and_texts_of_code(kafka: &KafkaCluster) {
    let topic = "secure-code";
    kafka.create_topic(topic, 1, 1, &[]);
    let pki = kafka.pki();
    let bytes = |path| fs::read(path).expect("read a file");
    let text = |path| fs::read_to_string(path).expect("read a file");
    let trust_store = bytes(pki.trust_store(&[Trusted::Root], TrustStore::Pkcs12));
    let key_store = bytes(pki.key_store(Cert::Alice, KeyStore::Pkcs12));
    let (key, chain) = (
        pki.key(Cert::AliceEc, KeyForm::Pkcs8),
        pki.chain(Cert::AliceEc),
    );
    let trust_store = TrustMaterial::store(trust_store).password(STORE_PASSWORD);
    let key_store = ClientKey::store(key_store).password(STORE_PASSWORD);
    let texts = ClientKey::pem(text(key), text(chain));
    let send = |value: &str, version, trust, key| {
        let builder = BytesProducer::builder()
            .bootstrap_servers(kafka.listener_servers(Listener::SslClientAuth))
            .security_protocol(SecurityProtocol::Ssl)
            .max_block(Duration::from_secs(20))
            .set("ssl.protocol", version)?
            .tls_trust(trust);
        let builder = match key {
            Some(key) => builder.tls_client_key(key),
            None => builder,
        };
        outcome(&builder.build()?, record(topic, value))
    };
    let (tls12, tls13) = ("TLSv1.2", "TLSv1.3");
    send("stores", tls13, trust_store.clone(), Some(key_store)).expect("stores of keytool");
    let texts_trust = TrustMaterial::pem(text(pki.root()));
    send("texts", tls12, texts_trust, Some(texts)).expect("texts in PEM");
    let refused = send("no key", tls13, trust_store, None).expect_err("no certificate");
    assert_eq!(refused.kind(), ErrorKind::Tls, "{refused}");
    assert_eq!(values(kafka, topic), ["stores", "texts"]);
}

fn the_examples_come_in_with_the_settings_of_a_file(kafka: &KafkaCluster) {
    let topic = "quickstart";
    kafka.create_topic(topic, 1, 1, &[]);
    for (listener, mechanism) in [
        (Listener::SslClientAuth, None),
        (Listener::SaslSsl, Some(Mechanism::ScramSha512)),
    ] {
        let settings = kafka.settings(listener, mechanism);
        let file = kafka.properties_file(&format!("examples-{listener:?}"), &settings);
        let file = file.display().to_string();
        let servers = kafka.listener_servers(listener);
        let arguments = ["--bootstrap-server", &servers, "--command-config", &file];
        succeed("quickstart", &arguments, b"");
        let arguments = ["--command-config", &file, "--topic", topic];
        succeed("secure", &arguments, b"");
    }
    assert_eq!(values(kafka, topic).len(), 22);
}

/// The mechanisms that take a password.
const PASSWORDS: [Mechanism; 3] = [
    Mechanism::Plain,
    Mechanism::ScramSha256,
    Mechanism::ScramSha512,
];

fn values(kafka: &KafkaCluster, topic: &str) -> Vec<String> {
    let records = kafka.consume(topic);
    let mut values: Vec<_> = records.iter().map(|r| r.text().to_owned()).collect();
    values.sort_unstable();
    values
}

fn a_password_of_scram_changes_while_the_cluster_runs(kafka: &KafkaCluster) {
    let topic = "secure-scram";
    kafka.create_topic(topic, 1, 1, &[]);
    let mechanism = Mechanism::ScramSha512;
    let door = (Listener::SaslPlaintext, Some(mechanism));
    kafka.set_scram("alice", "changed", &[mechanism]);
    let refused = produce(kafka, topic, &door, "another password");
    kafka.set_scram("alice", &password("alice"), &[mechanism]);
    produce(kafka, topic, &door, "the password");
    assert_eq!(values(kafka, topic), ["the password"], "{refused}");
    assert!(
        refused.contains("invalid credentials with SASL mechanism SCRAM-SHA-512"),
        "{refused}"
    );
}

fn a_producer_comes_in_with_a_delegation_token(kafka: &KafkaCluster) {
    let topic = "secure-token";
    kafka.create_topic(topic, 1, 1, &[]);
    let (id, hmac) = kafka.delegation_token();
    let builder = || {
        BytesProducer::builder()
            .bootstrap_servers(kafka.listener_servers(Listener::SaslPlaintext))
            .set("security.protocol", "SASL_PLAINTEXT")
            .unwrap()
    };
    let by_setters = [
        builder().sasl_scram_sha_256_token(&*id, &*hmac),
        builder().sasl_scram_sha_512_token(&*id, &*hmac),
    ];
    for builder in by_setters {
        let producer = builder.build().unwrap();
        // The broker learns of the token some time after the controller.
        let mut sent = outcome(&producer, record(topic, "by a setter"));
        let deadline = Instant::now() + SOON;
        while sent.is_err() && Instant::now() < deadline {
            sent = outcome(&producer, record(topic, "by a setter"));
        }
        sent.unwrap();
    }
    let module = "org.apache.kafka.common.security.scram.ScramLoginModule required";
    let jaas = format!("{module} tokenauth=true username=\"{id}\" password=\"{hmac}\";");
    let by_jaas = builder().set("sasl.mechanism", "SCRAM-SHA-256");
    let by_jaas = by_jaas.and_then(|builder| builder.set("sasl.jaas.config", &jaas));
    outcome(&by_jaas.unwrap().build().unwrap(), record(topic, "by jaas")).unwrap();
    assert_eq!(
        values(kafka, topic),
        ["by a setter", "by a setter", "by jaas"]
    );
}

fn a_rule_refuses_a_topic_until_it_is_gone(kafka: &KafkaCluster) {
    let topic = "secure-acl";
    kafka.create_topic(topic, 1, 1, &[]);
    let door = (Listener::SaslPlaintext, Some(Mechanism::Plain));
    let resource = AclResource::topic(topic);
    let acl = Acl::deny("User:alice", Operation::Write, resource);
    kafka.add_acl(&acl);
    let refused = produce(kafka, topic, &door, "refused");
    kafka.remove_acl(&acl);
    produce(kafka, topic, &door, "allowed");
    assert_eq!(values(kafka, topic), ["allowed"], "{refused}");
    assert!(refused.contains("Not authorized to access"), "{refused}");
}

fn a_broker_presents_another_certificate(kafka: &KafkaCluster) {
    for cert in [Cert::Expired, Cert::WrongHost, Cert::BrokerEc, Cert::Broker] {
        kafka.present(cert);
    }
}
