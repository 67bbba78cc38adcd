//! Certificates, keys and credentials in the forms in which people have them, each against a real broker.

use std::fs;
use std::path::Path;

use kafka_producer::ErrorKind;

use crate::Tests;
use crate::producing::{outcome, producer_of, record};
use crate::refusals::{Settings, assert_delivers, assert_refused, pair, with};
use crate::support::kafka::{KafkaCluster, Listener, Mechanism, jaas, password};
use crate::support::security::{Cert, KEY_PASSWORD, KeyForm, KeyStore, TrustStore, Trusted};

/// For a cluster with every listener of [`Listener::COMMON`].
pub(crate) const TESTS: Tests = &[
    (
        "stores_in_the_settings_themselves_open_the_door",
        stores_in_the_settings_themselves_open_the_door,
    ),
    (
        "every_form_of_a_key_opens_the_door_or_is_told_apart",
        every_form_of_a_key_opens_the_door_or_is_told_apart,
    ),
    (
        "brokers_with_keys_and_chains_of_each_kind_are_accepted",
        brokers_with_keys_and_chains_of_each_kind_are_accepted,
    ),
    (
        "an_address_in_a_certificate_is_checked",
        an_address_in_a_certificate_is_checked,
    ),
    (
        "a_password_comes_from_a_file_or_a_variable",
        a_password_comes_from_a_file_or_a_variable,
    ),
    (
        "a_client_certificate_is_shown_before_sasl_if_the_broker_asks",
        a_client_certificate_is_shown_before_sasl_if_the_broker_asks,
    ),
];

fn read(path: &Path) -> String {
    fs::read_to_string(path).expect("a file of PEM")
}

/// The settings of a listener, without its stores.
fn without_stores(kafka: &KafkaCluster, listener: Listener) -> Settings {
    let mut settings = kafka.settings(listener, None);
    settings.retain(|(name, _)| !name.starts_with("ssl."));
    settings
}

fn stores_in_the_settings_themselves_open_the_door(kafka: &KafkaCluster) {
    let (root, pki) = (read(&kafka.pki().root()), kafka.pki());
    for cert in [Cert::Alice, Cert::AliceEc] {
        for form in [KeyForm::Pkcs8, KeyForm::Pbes2] {
            let mut settings = without_stores(kafka, Listener::SslClientAuth);
            settings.extend([
                pair("ssl.truststore.type", "PEM"),
                pair("ssl.truststore.certificates", &root),
                pair("ssl.keystore.type", "PEM"),
                pair("ssl.keystore.key", read(&pki.key(cert, form))),
                pair("ssl.keystore.certificate.chain", read(&pki.chain(cert))),
            ]);
            if form.is_encrypted() {
                settings.push(pair("ssl.key.password", KEY_PASSWORD));
            }
            assert_delivers(&settings, &format!("inline {cert:?} {form:?}"));
        }
    }
}

fn every_form_of_a_key_opens_the_door_or_is_told_apart(kafka: &KafkaCluster) {
    let settings = |cert, form| {
        let keys = kafka.key_store_settings(cert, KeyStore::Pem(form));
        with(kafka.settings(Listener::SslClientAuth, None), keys)
    };
    for cert in [Cert::Alice, Cert::AliceEc] {
        for form in [
            KeyForm::Pkcs8,
            KeyForm::Pbes2,
            KeyForm::Pbes2TripleDes,
            KeyForm::Pbes2Scrypt,
            KeyForm::Pbes1TripleDes,
            KeyForm::Traditional,
        ] {
            assert_delivers(&settings(cert, form), &format!("{cert:?} {form:?}"));
        }
        let form = KeyForm::TraditionalEncrypted;
        let error = producer_of(&settings(cert, form)).expect_err("a refusal");
        let shown = error.to_string();
        assert_eq!(error.kind(), ErrorKind::Config, "{shown}");
        for part in ["ssl.keystore.location=", "openssl pkcs8 -topk8"] {
            assert!(shown.contains(part), "{part}: {shown}");
        }
        assert!(!format!("{error:?}").contains(KEY_PASSWORD), "{error:?}");
    }
    // Stores of an EC key.
    for format in [KeyStore::Jks, KeyStore::Pkcs12, KeyStore::Pkcs12Openssl] {
        let keys = kafka.key_store_settings(Cert::AliceEc, format);
        let settings = with(kafka.settings(Listener::SslClientAuth, None), keys);
        assert_delivers(&settings, &format!("AliceEc {format:?}"));
    }
}

fn brokers_with_keys_and_chains_of_each_kind_are_accepted(kafka: &KafkaCluster) {
    for cert in [Cert::BrokerEc, Cert::BrokerChained, Cert::BrokerRenewed] {
        kafka.present(cert);
        for protocol in ["TLSv1.3", "TLSv1.2"] {
            let settings = with(
                kafka.settings(Listener::SslExchanged, None),
                [pair("ssl.protocol", protocol)],
            );
            assert_delivers(&settings, &format!("{cert:?} by {protocol}"));
        }
    }
    kafka.present(Cert::Broker);
}

/// The broker names itself localhost, so only the first connection goes to an address.
fn an_address_in_a_certificate_is_checked(kafka: &KafkaCluster) {
    let settings = kafka.settings(Listener::SslExchanged, None);
    let servers = kafka.listener_servers(Listener::SslExchanged);
    let address = pair(
        "bootstrap.servers",
        servers.replace("localhost", "127.0.0.1"),
    );
    let settings = with(settings, [address, pair("max.block.ms", 20_000)]);
    let topic = "forms-address";
    kafka.create_topic(topic, 1, 1, &[]);
    for cert in [Cert::IpOnly, Cert::Broker] {
        kafka.present(cert);
        let producer = producer_of(&settings).expect("a producer");
        let partitions = producer.partitions_for(topic);
        partitions.unwrap_or_else(|error| panic!("{cert:?}: {error}"));
    }
    kafka.present(Cert::WrongHost);
    assert_refused(
        &settings,
        ErrorKind::Tls,
        &["is not for 127.0.0.1: it names elsewhere.test"],
    );
    kafka.present(Cert::Broker);
}

fn a_password_comes_from_a_file_or_a_variable(kafka: &KafkaCluster) {
    // A variable that cargo sets for every test.
    let variable = "CARGO_MANIFEST_DIR";
    let value = std::env::var(variable).expect("a variable of cargo");
    let mechanism = Mechanism::ScramSha256;
    kafka.set_scram("carol", &value, &[mechanism]);
    let file = kafka.properties_file("credentials", &[pair("password", password("alice"))]);
    let provider = |class: &str| format!("org.apache.kafka.common.config.provider.{class}");
    for (user, secret) in [
        ("alice", format!("${{file:{}:password}}", file.display())),
        ("carol", format!("${{env:{variable}}}")),
    ] {
        let settings = kafka.settings(Listener::SaslSsl, Some(mechanism));
        let settings = with(
            settings,
            [
                pair("config.providers", "file,env"),
                pair(
                    "config.providers.file.class",
                    provider("FileConfigProvider"),
                ),
                pair(
                    "config.providers.env.class",
                    provider("EnvVarConfigProvider"),
                ),
                pair("sasl.jaas.config", jaas(mechanism, user, &secret)),
            ],
        );
        assert_delivers(&settings, user);
    }
    kafka.delete_scram("carol", &[mechanism]);
}

/// This listener with SASL demands a certificate, too, as Java's SaslAuthenticatorTest has it.
fn a_client_certificate_is_shown_before_sasl_if_the_broker_asks(kafka: &KafkaCluster) {
    let mut settings = kafka.settings(Listener::SaslSslClientAuth, Some(Mechanism::Plain));
    settings.retain(|(name, _)| !name.starts_with("ssl.key"));
    for keys in [
        kafka.key_store_settings(Cert::Alice, KeyStore::Jks),
        kafka.key_store_settings(Cert::AliceEc, KeyStore::Pem(KeyForm::Pkcs8)),
    ] {
        assert_delivers(&with(settings.clone(), keys), "SASL_SSL with a certificate");
    }
    assert_refused(
        &settings,
        ErrorKind::Tls,
        &["demands a client certificate", "ssl.keystore.location"],
    );
    let stranger = kafka.key_store_settings(Cert::Stranger, KeyStore::Pem(KeyForm::Pkcs8));
    assert_refused(
        &with(settings.clone(), stranger),
        ErrorKind::Tls,
        &["client"],
    );
    // The certificate alone is not enough.
    let wrong = pair(
        "sasl.jaas.config",
        jaas(Mechanism::Plain, "alice", "wrong password"),
    );
    let keys = kafka.key_store_settings(Cert::Alice, KeyStore::Jks);
    assert_refused(
        &with(with(settings.clone(), keys), [wrong]),
        ErrorKind::Authentication,
        &["the broker refused the user name or the password"],
    );
    // Where none is demanded, one that is shown changes nothing.
    let keys = kafka.key_store_settings(Cert::Alice, KeyStore::Jks);
    let settings = with(
        kafka.settings(Listener::SaslSsl, Some(Mechanism::Plain)),
        keys,
    );
    assert_delivers(
        &settings,
        "SASL_SSL with a certificate that nobody asks for",
    );
    let trusted = kafka.trust_store_settings(&[Trusted::Root], TrustStore::Jks);
    let producer = producer_of(&with(settings, trusted)).expect("a producer");
    outcome(&producer, record(crate::refusals::TOPIC, "JKS")).expect("a delivery");
}

/// A listener that does not offer what the client wants names what it offers.
pub(crate) fn a_disabled_mechanism_is_told_with_those_that_are_enabled(
    kafka: &KafkaCluster,
    listener: Listener,
    wanted: Mechanism,
    offered: &[Mechanism],
) {
    let servers = pair("bootstrap.servers", kafka.listener_servers(listener));
    let settings = vec![
        servers,
        pair("security.protocol", listener.protocol()),
        pair("sasl.mechanism", wanted.name()),
        pair("sasl.jaas.config", jaas(wanted, "alice", "alice-secret")),
    ];
    let sentence = format!(
        "the listener does not have sasl.mechanism={}: it has ",
        wanted.name()
    );
    let mut parts = vec![&*sentence, "sasl.enabled.mechanisms"];
    parts.extend(offered.iter().map(|mechanism| mechanism.name()));
    assert_refused(&settings, ErrorKind::Authentication, &parts);
}
