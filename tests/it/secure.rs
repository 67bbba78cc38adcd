//! TLS and SASL: the producer on a cluster that asks for them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kafka_producer::mock::{
    BrokerCertificate, ClientAuth, MockApi, MockCluster, MockSasl, MockTls,
};
use kafka_producer::{ClientKey, SecurityProtocol, TrustMaterial};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::support::{
    PATIENCE, SOON, builder, deliver, get_all, numbers, record, send_numbers, tls_builder, values,
    with,
};

const RECORDS: usize = 10_000;

fn cluster(tls: Option<MockTls>, sasl: Option<MockSasl>) -> MockCluster {
    let mut builder = MockCluster::builder();
    if let Some(tls) = tls {
        builder = builder.tls(tls);
    }
    if let Some(sasl) = sasl {
        builder = builder.sasl(sasl);
    }
    let cluster = builder.start().unwrap();
    cluster.create_topic("t", 1);
    cluster
}

fn jaas(module: &str, user: &str, password: &str) -> String {
    format!(
        "org.apache.kafka.common.security.{module} required username=\"{user}\" password=\"{password}\";"
    )
}

const PLAIN: &str = "plain.PlainLoginModule";
const SCRAM: &str = "scram.ScramLoginModule";

fn all() -> Vec<usize> {
    (0..RECORDS).collect()
}

#[test]
fn records_are_delivered_over_tls() {
    let cluster = cluster(Some(MockTls::generated()), None);
    let producer = tls_builder(&cluster, "SSL").build().unwrap();
    get_all(send_numbers(&producer, 0..RECORDS));
    assert_eq!(numbers(&cluster), all());
    producer.close(PATIENCE).unwrap();
    assert!(cluster.wait_until(SOON, |cluster| cluster.connections(0) == 0));
}

#[test]
fn records_are_delivered_with_a_client_certificate_and_not_without() {
    let tls = MockTls::generated().client_auth(ClientAuth::Required);
    let cluster = cluster(Some(tls), None);
    let certificate = cluster.client_certificate("alice").unwrap();
    let settings = [
        (
            "ssl.keystore.certificate.chain",
            certificate.certificate_pem(),
        ),
        ("ssl.keystore.key", certificate.private_key_pem()),
    ];
    let alice = with(tls_builder(&cluster, "SSL"), &settings);
    let alice = alice.build().unwrap();
    get_all(send_numbers(&alice, 0..RECORDS));
    assert_eq!(numbers(&cluster), all());
    let requests = cluster.requests();
    assert!(
        requests
            .iter()
            .all(|request| &*request.principal == "User:CN=alice")
    );

    let nobody = tls_builder(&cluster, "SSL").max_block(Duration::from_millis(500));
    let nobody = nobody.build().unwrap();
    let refused = nobody.send(record(0, "n")).unwrap_err();
    let shown = refused.error().to_string();
    assert!(
        shown.contains("the broker demands a client certificate (alert CertificateRequired)"),
        "{shown}"
    );
}

#[test]
fn records_are_delivered_with_certificates_and_a_key_of_code() {
    let tls = MockTls::generated().client_auth(ClientAuth::Required);
    let cluster = cluster(Some(tls), None);
    let alice = cluster.client_certificate("alice").unwrap();
    let (chain, key) = (alice.certificate_pem(), alice.private_key_pem());
    let key_der = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let key_der = key_der.secret_der().to_vec();
    for (number, client_key) in [
        ClientKey::pem(key, chain),
        ClientKey::der(key_der, certificates(chain)),
        ClientKey::store(format!("{key}\n{chain}")),
    ]
    .into_iter()
    .enumerate()
    {
        for trust in [
            TrustMaterial::pem(cluster.ca_pem()),
            TrustMaterial::der(certificates(&cluster.ca_pem())),
        ] {
            let producer = builder(&cluster)
                .security_protocol(SecurityProtocol::Ssl)
                .tls_trust(trust)
                .tls_client_key(client_key.clone());
            deliver(&producer.build().unwrap(), 0, number.to_string()).unwrap();
        }
    }
    assert_eq!(values(&cluster, 0), ["0", "0", "1", "1", "2", "2"]);
    let requests = cluster.requests();
    let is_alice = |principal: &str| principal == "User:CN=alice";
    assert!(requests.iter().all(|request| is_alice(&request.principal)));
}

/// The certificates of a text in PEM.
fn certificates(pem: &str) -> Vec<Vec<u8>> {
    let certificates = CertificateDer::pem_slice_iter(pem.as_bytes());
    certificates.map(|der| der.unwrap().to_vec()).collect()
}

/// A new authority and a new client, which code hands over while the producer runs.
#[test]
fn records_are_delivered_after_code_exchanged_its_certificates_and_key() {
    let tls = MockTls::generated().client_auth(ClientAuth::Required);
    let cluster = Arc::new(cluster(Some(tls), None));
    let name = Arc::new(Mutex::new("alice"));
    let (authority, issuer, client) = (
        Arc::clone(&cluster),
        Arc::clone(&cluster),
        Arc::clone(&name),
    );
    let producer = builder(&cluster)
        .security_protocol(SecurityProtocol::Ssl)
        .tls_trust_provider(move || Ok(TrustMaterial::pem(authority.ca_pem())))
        .tls_client_key_provider(move || {
            let certificate = issuer.client_certificate(*client.lock().unwrap())?;
            let (key, chain) = (certificate.private_key_pem(), certificate.certificate_pem());
            Ok(ClientKey::pem(key, chain))
        });
    let producer = producer.build().unwrap();
    deliver(&producer, 0, "0").unwrap();
    *name.lock().unwrap() = "bob";
    cluster.renew_ca().unwrap();
    cluster.disconnect(0);
    deliver(&producer, 0, "1").unwrap();
    assert_eq!(values(&cluster, 0), ["0", "1"]);
    let requests = cluster.requests();
    assert_eq!(&*requests.first().unwrap().principal, "User:CN=alice");
    assert_eq!(&*requests.last().unwrap().principal, "User:CN=bob");
}

/// The provider's fault is not the connection's while the last key serves.
#[test]
fn records_are_delivered_with_the_last_key_while_its_provider_fails() {
    let tls = MockTls::generated().client_auth(ClientAuth::Required);
    let cluster = cluster(Some(tls), None);
    let alice = cluster.client_certificate("alice").unwrap();
    let key = ClientKey::pem(alice.private_key_pem(), alice.certificate_pem());
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let producer = builder(&cluster)
        .security_protocol(SecurityProtocol::Ssl)
        .tls_trust(TrustMaterial::pem(cluster.ca_pem()))
        .tls_client_key_provider(move || match counted.fetch_add(1, Ordering::SeqCst) {
            0 => Ok(key.clone()),
            1 => Err("the vault is sealed".into()),
            _ => panic!("a fault of the user's"),
        });
    let producer = producer.build().unwrap();
    for value in ["0", "1", "2"] {
        deliver(&producer, 0, value).unwrap();
        cluster.disconnect(0);
    }
    assert_eq!(values(&cluster, 0), ["0", "1", "2"]);
    assert!(calls.load(Ordering::SeqCst) > 2);
}

#[test]
fn records_are_delivered_while_certificates_are_exchanged() {
    let cluster = cluster(Some(MockTls::generated()), None);
    let producer = tls_builder(&cluster, "SSL").build().unwrap();
    let mut futures = Vec::new();
    for part in 0..10 {
        let first = part * RECORDS / 10;
        futures.extend(send_numbers(&producer, first..first + RECORDS / 10));
        cluster
            .set_broker_certificate(BrokerCertificate::Valid)
            .unwrap();
        cluster.disconnect(0);
    }
    get_all(futures);
    assert_eq!(numbers(&cluster), all());
}

/// A new authority, which the producer learns of from its trust store's file.
#[test]
fn records_are_delivered_after_the_trust_store_was_exchanged() {
    let cluster = cluster(Some(MockTls::generated()), None);
    let name = format!("kafka-producer-trust-{}.pem", std::process::id());
    let path = std::env::temp_dir().join(name);
    std::fs::write(&path, cluster.ca_pem()).unwrap();
    let settings = [
        ("security.protocol", "SSL"),
        ("ssl.truststore.type", "PEM"),
        ("ssl.truststore.location", path.to_str().unwrap()),
    ];
    let producer = with(builder(&cluster), &settings).build().unwrap();
    get_all(send_numbers(&producer, 0..100));
    cluster.renew_ca().unwrap();
    std::fs::write(&path, cluster.ca_pem()).unwrap();
    cluster.disconnect(0);
    get_all(send_numbers(&producer, 100..200));
    assert_eq!(numbers(&cluster), (0..200).collect::<Vec<_>>());
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn records_wait_for_a_certificate_that_is_in_order() {
    let cluster = cluster(Some(MockTls::generated()), None);
    let producer = tls_builder(&cluster, "SSL").build().unwrap();
    deliver(&producer, 0, "0").unwrap();
    cluster
        .set_broker_certificate(BrokerCertificate::Expired)
        .unwrap();
    cluster.disconnect(0);
    let waiting = producer.send(record(0, "1")).unwrap();
    assert!(waiting.get(Duration::from_millis(100)).is_err());
    cluster
        .set_broker_certificate(BrokerCertificate::Valid)
        .unwrap();
    waiting.get(PATIENCE).unwrap();
    assert_eq!(values(&cluster, 0), ["0", "1"]);
}

#[test]
fn records_are_delivered_with_each_mechanism_with_and_without_tls() {
    for tls in [None, Some(MockTls::generated())] {
        let sasl = MockSasl::new()
            .plain("alice", "pass;word")
            .scram_sha_256("a,b=c", "pencil")
            .scram_sha_512("bob", "pencil")
            .delegation_token("carol", "token-id", "aG1hYw==");
        let cluster = cluster(tls.clone(), Some(sasl));
        let token = "scram.ScramLoginModule required tokenauth=true username=\"token-id\" password=\"aG1hYw==\";";
        for (mechanism, jaas, principal) in [
            ("PLAIN", jaas(PLAIN, "alice", "pass;word"), "User:alice"),
            (
                "SCRAM-SHA-256",
                jaas(SCRAM, "a,b=c", "pencil"),
                "User:a,b=c",
            ),
            ("SCRAM-SHA-512", jaas(SCRAM, "bob", "pencil"), "User:bob"),
            (
                "SCRAM-SHA-256",
                format!("org.apache.kafka.common.security.{token}"),
                "User:carol",
            ),
        ] {
            let builder = match tls {
                Some(_) => tls_builder(&cluster, "SASL_SSL"),
                None => with(
                    builder(&cluster),
                    &[("security.protocol", "SASL_PLAINTEXT")],
                ),
            };
            let settings = [("sasl.mechanism", mechanism), ("sasl.jaas.config", &*jaas)];
            let producer = with(builder, &settings).build().unwrap();
            deliver(&producer, 0, "v").unwrap();
            let requests = cluster.requests();
            let last = requests
                .iter()
                .rfind(|request| request.api == MockApi::Produce);
            assert_eq!(&*last.unwrap().principal, principal);
        }
        assert_eq!(cluster.end_offset("t", 0), Some(4));
    }
}

#[test]
fn a_delegation_token_comes_in_by_its_setters() {
    let sasl = MockSasl::new().delegation_token("carol", "token-id", "aG1hYw==");
    let cluster = cluster(None, Some(sasl));
    let open = [("security.protocol", "SASL_PLAINTEXT")];
    let by_256 = with(builder(&cluster), &open).sasl_scram_sha_256_token("token-id", "aG1hYw==");
    let by_512 = with(builder(&cluster), &open).sasl_scram_sha_512_token("token-id", "aG1hYw==");
    for producer in [by_256, by_512].map(|builder| builder.build().unwrap()) {
        deliver(&producer, 0, "v").unwrap();
    }
    let requests = cluster.requests();
    let produced = requests
        .iter()
        .filter(|request| request.api == MockApi::Produce);
    let principals: Vec<_> = produced.map(|request| &*request.principal).collect();
    assert_eq!(principals, ["User:carol", "User:carol"]);
}

#[test]
fn records_wait_while_the_password_is_wrong() {
    let cluster = cluster(None, Some(MockSasl::new().plain("alice", "right")));
    let jaas = jaas(PLAIN, "alice", "right");
    let settings = [
        ("security.protocol", "SASL_PLAINTEXT"),
        ("sasl.mechanism", "PLAIN"),
        ("sasl.jaas.config", &*jaas),
    ];
    let producer = with(builder(&cluster), &settings).build().unwrap();
    deliver(&producer, 0, "0").unwrap();
    cluster.set_password("alice", "other");
    cluster.disconnect(0);
    let before = cluster.request_count(MockApi::SaslAuthenticate);
    let waiting = producer.send(record(0, "1")).unwrap();
    assert!(cluster.wait_until(SOON, |cluster| {
        cluster.request_count(MockApi::SaslAuthenticate) > before
    }));
    assert!(!waiting.is_done());
    cluster.set_password("alice", "right");
    waiting.get(PATIENCE).unwrap();
    assert_eq!(values(&cluster, 0), ["0", "1"]);
}

#[test]
fn records_are_delivered_across_the_ends_of_sessions() {
    let sasl = MockSasl::new()
        .plain("alice", "alice-secret")
        .session_lifetime(Duration::from_millis(300));
    let cluster = cluster(None, Some(sasl));
    let jaas = jaas(PLAIN, "alice", "alice-secret");
    let settings = [
        ("security.protocol", "SASL_PLAINTEXT"),
        ("sasl.mechanism", "PLAIN"),
        ("sasl.jaas.config", &*jaas),
    ];
    let producer = with(builder(&cluster), &settings).build().unwrap();
    let mut sent = 0;
    // Each round waits for the broker, so that they last for several sessions.
    while cluster.request_count(MockApi::SaslHandshake) < 8 {
        get_all(send_numbers(&producer, sent..sent + 10));
        sent += 10;
    }
    assert_eq!(numbers(&cluster), (0..sent).collect::<Vec<_>>());
}

#[test]
fn a_message_that_no_broker_accepts_is_refused_and_says_what_is_too_long() {
    let cluster = cluster(
        None,
        Some(
            MockSasl::new()
                .plain("alice", "x")
                .oauthbearer_token("alice", "x"),
        ),
    );
    let long = "a".repeat(16 << 20);
    let open = [("security.protocol", "SASL_PLAINTEXT")];
    let opened = || with(builder(&cluster), &open);
    let token = long.clone();
    let by_token = opened().sasl_oauthbearer(move || {
        Ok(kafka_producer::BearerToken::new(token.clone())
            .expires(std::time::SystemTime::now() + Duration::from_secs(600)))
    });
    for (builder, part) in [
        (opened().sasl_plain("alice", &long), "user name or password"),
        (by_token, "token"),
    ] {
        let producer = builder.build().unwrap();
        let error = deliver(&producer, 0, "v").unwrap_err().to_string();
        assert!(
            error.contains(&format!("the {part} is too long"))
                && error.contains(&format!("use a shorter {part}"))
                && error.len() < 1000,
            "{error}"
        );
    }
}
