//! What a client is told that a listener refuses, or that refuses it: at once, and what to change.

use std::time::{Duration, Instant};

use kafka_producer::{Error, ErrorKind};

use crate::Tests;
use crate::producing::{outcome, producer_of, record};
use crate::support::kafka::{
    Acl, AclResource, KafkaCluster, Listener, Mechanism, Operation, jaas, password,
};
use crate::support::security::{Cert, KeyForm, KeyStore, STORE_PASSWORD, TrustStore, Trusted};

/// For a cluster with every listener of [`Listener::COMMON`].
pub(crate) const TESTS: Tests = &[
    (
        "each_fault_of_a_brokers_certificate_has_its_sentence",
        each_fault_of_a_brokers_certificate_has_its_sentence,
    ),
    (
        "a_certificate_that_is_itself_in_the_trust_store_is_accepted",
        a_certificate_that_is_itself_in_the_trust_store_is_accepted,
    ),
    (
        "the_name_in_a_certificate_is_not_checked_if_the_user_says_so",
        the_name_in_a_certificate_is_not_checked_if_the_user_says_so,
    ),
    (
        "a_client_without_an_accepted_certificate_is_told_so",
        a_client_without_an_accepted_certificate_is_told_so,
    ),
    (
        "the_entry_is_shown_whose_issuer_the_broker_trusts",
        the_entry_is_shown_whose_issuer_the_broker_trusts,
    ),
    (
        "a_wrong_user_or_password_is_told_at_once",
        a_wrong_user_or_password_is_told_at_once,
    ),
    ("each_wrong_door_is_named", each_wrong_door_is_named),
    (
        "every_store_that_people_have_opens_the_door",
        every_store_that_people_have_opens_the_door,
    ),
];

pub(crate) type Settings = Vec<(String, String)>;

/// Certainly less than `max.block.ms`, with a busy machine's delays.
const AT_ONCE: Duration = Duration::from_secs(20);

pub(crate) const TOPIC: &str = "secure-refusals";

/// The settings with others in place of those of the same name.
pub(crate) fn with(
    mut settings: Settings,
    others: impl IntoIterator<Item = (String, String)>,
) -> Settings {
    for (name, value) in others {
        settings.retain(|(other, _)| *other != name);
        settings.push((name, value));
    }
    settings
}

pub(crate) fn pair(name: &str, value: impl ToString) -> (String, String) {
    (name.to_owned(), value.to_string())
}

/// Returns why a record is refused, which must come soon.
fn refusal(settings: &Settings) -> Error {
    let began = Instant::now();
    let producer = producer_of(settings).expect("a producer");
    let error = outcome(&producer, record(TOPIC, "never")).expect_err("a refusal");
    let took = began.elapsed();
    assert!(took < AT_ONCE, "after {took:?}: {error}");
    error
}

/// With idempotence and without. A refusal that is told only after `max.block.ms` costs that time, and is tried once.
pub(crate) fn assert_refused(settings: &Settings, kind: ErrorKind, parts: &[&str]) {
    let idempotence = |value| with(settings.clone(), [pair("enable.idempotence", value)]);
    assert_one_refused(&idempotence(true), kind, parts);
    if kind != ErrorKind::MetadataTimeout {
        assert_one_refused(&idempotence(false), kind, parts);
    }
}

fn assert_one_refused(settings: &Settings, kind: ErrorKind, parts: &[&str]) {
    let error = refusal(settings);
    let shown = error.to_string();
    assert_eq!(error.kind(), kind, "{shown}");
    assert!(
        parts.iter().all(|part| shown.contains(part)),
        "{parts:?}: {shown}"
    );
    let detailed = format!("{error:?}");
    for secret in ["-secret", "wrong password"] {
        assert!(
            !shown.contains(secret) && !detailed.contains(secret),
            "{detailed}"
        );
    }
}

pub(crate) fn assert_delivers(settings: &Settings, what: &str) {
    let producer = producer_of(settings).unwrap_or_else(|error| panic!("{what}: {error}"));
    let sent = outcome(&producer, record(TOPIC, what));
    sent.unwrap_or_else(|error| panic!("{what}: {error}"));
}

/// What is told of each certificate.
const FAULTS: &[(Cert, &[&str])] = &[
    (
        Cert::Expired,
        &[
            // A day ago when it was made, so more than a day now.
            "the broker's certificate (\"CN=localhost\") expired on ",
            "renew the certificate",
        ],
    ),
    (
        Cert::NotYetValid,
        &[
            "the broker's certificate (\"CN=localhost\") is not valid before ",
            ", and this machine's clock says ",
            "check this machine's clock",
        ],
    ),
    (
        Cert::Rsa1024,
        &[
            "has a certificate (\"CN=localhost\") with an RSA key of 1024 bits: 2048 is the least",
            "keytool -genkeypair -keyalg RSA -keysize 2048",
        ],
    ),
    (
        Cert::SelfSigned,
        &[
            "is one of an issuer (CA:TRUE)",
            "put this very certificate into the trust store",
        ],
    ),
    (
        Cert::WrongHost,
        &[
            "is not for localhost: it names elsewhere.test, other.test",
            "SAN=DNS:localhost",
        ],
    ),
    (Cert::IpOnly, &["is not for localhost: it names 127.0.0.1"]),
    (
        Cert::CommonNameOnly,
        &["it has a common name only (CN=localhost), and no subjectAltName"],
    ),
    (
        Cert::Version1,
        &["is of X.509 version 1", "subjectAltName=DNS:"],
    ),
    (Cert::NoServerAuth, &["lacks serverAuth", "EKU=serverAuth"]),
    (
        Cert::Untrusted,
        &[
            "is signed by \"",
            "which is not the one certificate of ssl.truststore.location=",
        ],
    ),
];

fn each_fault_of_a_brokers_certificate_has_its_sentence(kafka: &KafkaCluster) {
    kafka.create_topic(TOPIC, 1, 1, &[]);
    let settings = kafka.settings(Listener::SslExchanged, None);
    for (cert, parts) in FAULTS {
        kafka.present(*cert);
        assert_refused(&settings, ErrorKind::Tls, parts);
    }
    kafka.present(Cert::Broker);
    assert_delivers(&settings, "the right certificate");
}

fn a_certificate_that_is_itself_in_the_trust_store_is_accepted(kafka: &KafkaCluster) {
    for cert in [Cert::SelfSigned, Cert::CommonNameOnly, Cert::Version1] {
        kafka.present(cert);
        let trusted = kafka.trust_store_settings(&[Trusted::Certificate(cert)], TrustStore::Pem);
        let settings = with(kafka.settings(Listener::SslExchanged, None), trusted);
        for protocol in ["TLSv1.3", "TLSv1.2"] {
            let settings = with(settings.clone(), [pair("ssl.protocol", protocol)]);
            assert_delivers(&settings, &format!("{cert:?} by {protocol}"));
        }
    }
    kafka.present(Cert::Broker);
}

fn the_name_in_a_certificate_is_not_checked_if_the_user_says_so(kafka: &KafkaCluster) {
    kafka.present(Cert::WrongHost);
    let unchecked = pair("ssl.endpoint.identification.algorithm", "");
    let settings = with(kafka.settings(Listener::SslExchanged, None), [unchecked]);
    assert_delivers(&settings, "another host's certificate");
    kafka.present(Cert::Expired);
    assert_refused(&settings, ErrorKind::Tls, &["expired on"]);
    kafka.present(Cert::Broker);
}

fn a_client_without_an_accepted_certificate_is_told_so(kafka: &KafkaCluster) {
    let settings = kafka.settings(Listener::SslClientAuth, None);
    let mut without = settings.clone();
    without.retain(|(name, _)| !name.starts_with("ssl.key"));
    for protocol in ["TLSv1.3", "TLSv1.2"] {
        let protocol = pair("ssl.protocol", protocol);
        let without = with(without.clone(), [protocol.clone()]);
        assert_refused(
            &without,
            ErrorKind::Tls,
            &["demands a client certificate", "ssl.keystore.location"],
        );
        for (cert, parts) in [
            (
                Cert::Stranger,
                [
                    "the broker demands a client certificate, and no entry of the key store is signed by an issuer that it \
                     accepts",
                    "put a certificate into the key store that one of the issuers",
                ],
            ),
            (
                Cert::AliceExpired,
                [
                    "client's certificate",
                    "renew the certificate of the key store",
                ],
            ),
        ] {
            let keys = kafka.key_store_settings(cert, KeyStore::Pem(KeyForm::Pkcs8));
            let settings = with(with(settings.clone(), keys), [protocol.clone()]);
            assert_refused(&settings, ErrorKind::Tls, &parts);
        }
    }
}

/// The broker names the issuers that it trusts, and would refuse the stranger's certificate.
fn the_entry_is_shown_whose_issuer_the_broker_trusts(kafka: &KafkaCluster) {
    let topic = "secure-entries";
    kafka.create_topic(topic, 1, 1, &[]);
    let settings = kafka.settings(Listener::SslClientAuth, None);
    for certs in [
        [Cert::Stranger, Cert::Alice],
        [Cert::Alice, Cert::Stranger],
        [Cert::Stranger, Cert::AliceEc],
    ] {
        for java_type in ["JKS", "PKCS12"] {
            let store = kafka.pki().key_store_of_several(&certs, java_type);
            let keys = [
                pair("ssl.keystore.type", java_type),
                pair("ssl.keystore.location", store.display()),
                pair("ssl.keystore.password", STORE_PASSWORD),
            ];
            let settings = with(settings.clone(), keys);
            assert_delivers(&settings, &format!("{certs:?} {java_type}"));
        }
    }
    // The user is the one of the certificate that was shown.
    let store = kafka
        .pki()
        .key_store_of_several(&[Cert::Stranger, Cert::Alice], "JKS");
    let keys = [
        pair("ssl.keystore.type", "JKS"),
        pair("ssl.keystore.location", store.display()),
        pair("ssl.keystore.password", STORE_PASSWORD),
    ];
    let settings = with(settings, keys);
    let acl = Acl::deny("User:CN=alice", Operation::Write, AclResource::topic(topic));
    kafka.add_acl(&acl);
    let producer = producer_of(&settings).expect("a producer");
    let refused = outcome(&producer, record(topic, "never")).expect_err("a refusal");
    kafka.remove_acl(&acl);
    assert_eq!(refused.kind(), ErrorKind::Authorization, "{refused}");
}

fn a_wrong_user_or_password_is_told_at_once(kafka: &KafkaCluster) {
    for listener in [Listener::SaslPlaintext, Listener::SaslSsl] {
        for mechanism in [
            Mechanism::Plain,
            Mechanism::ScramSha256,
            Mechanism::ScramSha512,
        ] {
            let settings = kafka.settings(listener, Some(mechanism));
            let (name, password_sentence) = sentences(mechanism);
            for (user, password, sentence) in [
                ("alice", "wrong password", password_sentence),
                ("nobody", &*password("alice"), name),
            ] {
                let jaas = pair("sasl.jaas.config", jaas(mechanism, user, password));
                let parts = [
                    "no Kafka connection to localhost:",
                    sentence,
                    "SASL_AUTHENTICATION_FAILED",
                ];
                let settings = with(settings.clone(), [jaas]);
                assert_refused(&settings, ErrorKind::Authentication, &parts);
            }
        }
    }
}

/// What is said of a wrong user name, and of a wrong password. Brokers do not tell which of the two was wrong, but SCRAM has a
/// message for each.
fn sentences(mechanism: Mechanism) -> (&'static str, &'static str) {
    match mechanism {
        Mechanism::ScramSha256 => (
            "the broker refused the user name in SCRAM-SHA-256 ",
            "the broker refused the password in SCRAM-SHA-256 ",
        ),
        Mechanism::ScramSha512 => (
            "the broker refused the user name in SCRAM-SHA-512 ",
            "the broker refused the password in SCRAM-SHA-512 ",
        ),
        _ => {
            let either = "the broker refused the user name or the password ";
            (either, either)
        }
    }
}

fn each_wrong_door_is_named(kafka: &KafkaCluster) {
    let door = |listener| kafka.settings(listener, None);
    let short = || [pair("max.block.ms", 3000)];
    let at = |listener| pair("bootstrap.servers", kafka.listener_servers(listener));
    let plaintext = vec![pair("bootstrap.servers", kafka.bootstrap_servers())];
    let alice = kafka.settings(Listener::SaslPlaintext, Some(Mechanism::Plain));
    // Plaintext to TLS.
    let to_tls = with(plaintext.clone(), [at(Listener::Ssl)]);
    assert_refused(
        &to_tls,
        ErrorKind::Tls,
        &["answered in TLS", "set security.protocol=SSL or SASL_SSL"],
    );
    // TLS to plaintext.
    let to_plain = with(with(door(Listener::Ssl), plaintext.clone()), short());
    assert_refused(
        &to_plain,
        ErrorKind::MetadataTimeout,
        &[
            "at the first message of TLS",
            "set security.protocol=PLAINTEXT",
        ],
    );
    // SASL to a listener without.
    let to_plain = with(alice, plaintext.clone());
    assert_refused(
        &to_plain,
        ErrorKind::Authentication,
        &[
            "the listener does not use SASL",
            "security.protocol=PLAINTEXT",
        ],
    );
    // No SASL to a listener with it.
    let to_sasl = with(with(plaintext, [at(Listener::SaslPlaintext)]), short());
    assert_refused(
        &to_sasl,
        ErrorKind::MetadataTimeout,
        &[
            "at the first request after ApiVersions",
            "set security.protocol=SASL_SSL or SASL_PLAINTEXT",
        ],
    );
    let to_sasl = with(with(door(Listener::Ssl), [at(Listener::SaslSsl)]), short());
    assert_refused(
        &to_sasl,
        ErrorKind::MetadataTimeout,
        &[
            "at the first request after ApiVersions",
            "set security.protocol=SASL_SSL or SASL_PLAINTEXT",
        ],
    );
}

fn every_store_that_people_have_opens_the_door(kafka: &KafkaCluster) {
    let settings = kafka.settings(Listener::SslClientAuth, None);
    let pem = [KeyForm::Pkcs8, KeyForm::Pbes2].map(KeyStore::Pem);
    let keys = KeyStore::BINARY.into_iter().chain(pem);
    let trusts = TrustStore::BINARY
        .into_iter()
        .chain([TrustStore::Pem])
        .cycle();
    for (key, trust) in keys.zip(trusts) {
        let mut settings = settings.clone();
        settings.retain(|(name, _)| !name.starts_with("ssl."));
        settings.extend(kafka.key_store_settings(Cert::Alice, key));
        settings.extend(kafka.trust_store_settings(&[Trusted::Root], trust));
        assert_delivers(&settings, &format!("{key:?} {trust:?}"));
    }
}
