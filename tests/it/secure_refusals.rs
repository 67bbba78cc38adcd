//! What one side of a secure connection refuses of the other is told at once, and over as soon as it is in order.

use std::time::{Duration, Instant};

use kafka_producer::mock::{
    BrokerCertificate, ClientAuth, MockApi, MockCluster, MockSasl, MockTls, TlsVersion,
};
use kafka_producer::{BearerToken, Error, ErrorKind};

use crate::support::fake_broker::answering_versions;
use crate::support::logger::Lines;
use crate::support::{
    Builder, PATIENCE, Producer, SOON, builder, builder_at, deliver, get_all, record, refusal,
    sasl_cluster, tls_builder, with, with_causes,
};

fn tls_cluster(tls: MockTls) -> MockCluster {
    let cluster = MockCluster::builder().tls(tls).start().unwrap();
    cluster.create_topic("t", 1);
    cluster
}

#[track_caller]
fn assert_refused(producer: &Producer, kind: ErrorKind, message: &str) {
    let error = refusal(producer);
    let shown = error.to_string();
    assert_eq!(error.kind(), kind, "{shown}");
    assert!(shown.contains(message), "{message}: {shown}");
}

/// The addresses of the cluster are numbers, and no name of them is looked up.
#[test]
fn each_fault_of_a_brokers_certificate_is_told_until_it_is_mended() {
    let cluster = tls_cluster(MockTls::generated());
    for (certificate, message) in [
        (
            BrokerCertificate::Expired,
            "the broker's certificate (\"CN=127.0.0.1\") expired on ",
        ),
        (
            BrokerCertificate::NotYetValid,
            "the broker's certificate (\"CN=127.0.0.1\") is not valid before ",
        ),
        (
            BrokerCertificate::OtherHost,
            "is not for 127.0.0.1: it names other-host.test",
        ),
        (
            BrokerCertificate::OtherAuthority,
            "which is not the one certificate of ssl.truststore.certificates",
        ),
        (BrokerCertificate::SelfSigned, "ssl.truststore.certificates"),
    ] {
        cluster.set_broker_certificate(certificate).unwrap();
        let producer = tls_builder(&cluster, "SSL").build().unwrap();
        assert_refused(&producer, ErrorKind::Tls, message);
        let right = BrokerCertificate::Valid;
        cluster.set_broker_certificate(right).unwrap();
        let end = Instant::now() + PATIENCE;
        while let Err(error) = deliver(&producer, 0, "v") {
            assert!(Instant::now() < end, "{error}");
        }
    }
}

#[test]
fn a_client_certificate_is_shown_if_the_broker_asks_and_trusts_its_issuer() {
    let stranger = tls_cluster(MockTls::generated());
    for asks in [ClientAuth::None, ClientAuth::Requested] {
        let cluster = tls_cluster(MockTls::generated().client_auth(asks));
        let own = cluster.client_certificate("alice").unwrap();
        let foreign = stranger.client_certificate("mallory").unwrap();
        for (certificate, principal) in [
            (None, "User:ANONYMOUS"),
            (Some(&own), "User:CN=alice"),
            // As in Java: none of the issuers that the broker names has signed it.
            (Some(&foreign), "User:ANONYMOUS"),
        ] {
            let mut builder = tls_builder(&cluster, "SSL");
            if let Some(certificate) = certificate {
                let settings = [
                    (
                        "ssl.keystore.certificate.chain",
                        certificate.certificate_pem(),
                    ),
                    ("ssl.keystore.key", certificate.private_key_pem()),
                ];
                builder = with(builder, &settings);
            }
            deliver(&builder.build().unwrap(), 0, "v").unwrap();
            let requests = cluster.requests();
            let last = requests
                .iter()
                .rfind(|request| request.api == MockApi::Produce);
            let expected = match asks {
                ClientAuth::None => "User:ANONYMOUS",
                _ => principal,
            };
            assert_eq!(&*last.unwrap().principal, expected, "{asks:?}");
        }
    }
}

/// The cases of Java's SslTransportTls12Tls13Test, and those of the versions.
#[test]
fn versions_and_cipher_suites_of_both_sides_must_agree() {
    const PROTOCOLS: &str = "ssl.enabled.protocols";
    const SUITES: &str = "ssl.cipher.suites";
    const SUITE_OF_12: &str = "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256";
    const SUITE_OF_13: &str = "TLS_AES_128_GCM_SHA256";
    // The brokers' key is none for it.
    const SUITE_OF_RSA: &str = "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256";
    const NO_VERSION: Option<&str> =
        Some("the broker and this client have no TLS version in common");
    const NO_SUITE: Option<&str> =
        Some("the broker and this client have no cipher suite in common");
    for (version, name, value, refused) in [
        (TlsVersion::Tls12, PROTOCOLS, "TLSv1.2,TLSv1.3", None),
        (TlsVersion::Tls13, PROTOCOLS, "TLSv1.2,TLSv1.3", None),
        (TlsVersion::Tls12, PROTOCOLS, "TLSv1.2", None),
        (TlsVersion::Tls12, PROTOCOLS, "TLSv1.3", NO_VERSION),
        (TlsVersion::Tls13, PROTOCOLS, "TLSv1.2", NO_VERSION),
        (TlsVersion::Tls12, SUITES, SUITE_OF_12, None),
        (TlsVersion::Tls13, SUITES, SUITE_OF_13, None),
        (TlsVersion::Tls12, SUITES, SUITE_OF_13, NO_VERSION),
        (TlsVersion::Tls13, SUITES, SUITE_OF_12, NO_VERSION),
        (TlsVersion::Tls12, SUITES, SUITE_OF_RSA, NO_SUITE),
    ] {
        let cluster = tls_cluster(MockTls::generated().only_version(version));
        let builder = with(tls_builder(&cluster, "SSL"), &[(name, value)]);
        let producer = builder.build().unwrap();
        match refused {
            None => drop(deliver(&producer, 0, "v").unwrap()),
            Some(message) => assert_refused(&producer, ErrorKind::Tls, message),
        }
    }
}

#[test]
fn a_user_that_only_the_other_scram_mechanism_has_is_refused() {
    let sasl = MockSasl::new()
        .scram_sha_256("alice", "alice-secret")
        .scram_sha_512("bob", "bob-secret");
    let cluster = sasl_cluster(sasl);
    let builder = with(
        builder(&cluster),
        &[("security.protocol", "SASL_PLAINTEXT")],
    );
    let producer = builder.sasl_scram_sha_512("alice", "alice-secret");
    assert_refused(
        &producer.build().unwrap(),
        ErrorKind::Authentication,
        "the broker refused the user name in SCRAM-SHA-512",
    );
}

#[test]
fn a_disabled_mechanism_is_told_with_those_that_are_enabled() {
    let cluster = sasl_cluster(MockSasl::new().scram_sha_256("alice", "alice-secret"));
    let builder = with(
        builder(&cluster),
        &[("security.protocol", "SASL_PLAINTEXT")],
    );
    let producer = builder.sasl_plain("alice", "alice-secret").build().unwrap();
    assert_refused(
        &producer,
        ErrorKind::Authentication,
        "the listener does not have sasl.mechanism=PLAIN: it has SCRAM-SHA-256",
    );
}

#[test]
fn a_message_that_no_broker_accepts_is_not_sent() {
    let cluster = sasl_cluster(MockSasl::new().plain("alice", "alice-secret"));
    let builder = with(
        builder(&cluster),
        &[("security.protocol", "SASL_PLAINTEXT")],
    );
    let producer = builder.sasl_plain("alice", "x".repeat(16 << 20));
    let producer = producer.build().unwrap();
    assert_refused(
        &producer,
        ErrorKind::Authentication,
        "the PLAIN message has 16777223 bytes, and brokers accept 523264",
    );
    assert_eq!(cluster.request_count(MockApi::SaslAuthenticate), 0);
}

#[test]
fn a_broker_without_sasl_as_this_client_needs_it_is_told() {
    let (port, _listener) = answering_versions(|_, _| ());
    let builder = builder_at(&format!("127.0.0.1:{port}")).max_block(Duration::from_millis(500));
    let builder = with(builder, &[("security.protocol", "SASL_PLAINTEXT")]);
    let producer = builder.sasl_plain("alice", "alice-secret").build().unwrap();
    let refused = producer.send(record(0, "never")).unwrap_err();
    let shown = refused.error().to_string();
    assert!(
        shown.contains("the broker does not offer SASL as this client needs it"),
        "{shown}"
    );
}

/// A call that waits for memory learns why none comes back, and gets memory when the broker accepts this client again.
#[test]
fn a_call_that_waits_for_memory_is_told_why_the_broker_refuses_this_client() {
    let cluster = tls_cluster(MockTls::generated());
    for is_idempotent in ["true", "false"] {
        let settings = [
            ("enable.idempotence", is_idempotent),
            ("batch.size", "1000"),
        ];
        let builder = with(tls_builder(&cluster, "SSL"), &settings).buffer_memory(32 << 10);
        let producer = builder.build().unwrap();
        deliver(&producer, 0, "first").unwrap();
        let expired = BrokerCertificate::Expired;
        cluster.set_broker_certificate(expired).unwrap();
        cluster.disconnect(0);
        let mut waiting = Vec::new();
        let refused = loop {
            let began = Instant::now();
            match producer.send(record(0, vec![b'v'; 500])) {
                Ok(future) => waiting.push(future),
                Err(refused) => {
                    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
                    break refused;
                }
            }
        };
        let error = refused.error();
        assert_eq!(error.kind(), ErrorKind::Tls, "{error}");
        assert!(error.to_string().contains("(t-0)"), "{error}");
        let full = producer.try_send(record(0, vec![b'v'; 500])).unwrap_err();
        assert_eq!(full.error().kind(), ErrorKind::BufferExhausted);
        let told = with_causes(full.error());
        assert!(told.contains("expired on"), "{told}");
        let valid = BrokerCertificate::Valid;
        cluster.set_broker_certificate(valid).unwrap();
        get_all(waiting);
        deliver(&producer, 0, "last").unwrap();
    }
}

#[test]
fn credentials_without_effect_are_named_if_a_listener_with_sasl_closes_the_connection() {
    let cluster = sasl_cluster(MockSasl::new().plain("alice", "alice-secret"));
    let producer = builder(&cluster)
        .max_block(Duration::from_millis(500))
        .set("sasl.mechanism", "PLAIN")
        .unwrap()
        .set(
            "sasl.jaas.config",
            "org.apache.kafka.common.security.plain.PlainLoginModule required username=alice password=\"alice-secret\";",
        )
        .unwrap();
    let refused = producer.build().unwrap().send(record(0, "never"));
    let shown = refused.unwrap_err().error().to_string();
    assert!(
        shown.ends_with(
            "; sasl.jaas.config is set and has no effect with security.protocol=PLAINTEXT: set \
             security.protocol=SASL_PLAINTEXT, or SASL_SSL if the listener expects TLS"
        ),
        "{shown}"
    );
    assert!(!shown.contains("alice-secret"), "{shown}");
}

#[test]
fn a_listener_with_sasl_that_closes_the_connection_is_named() {
    let cluster = sasl_cluster(MockSasl::new().plain("alice", "alice-secret"));
    let address = cluster.bootstrap_servers();
    let broker = format!("at the first request after ApiVersions ({address})");
    let lines = Lines::about(&broker);
    let producer = builder(&cluster).max_block(Duration::from_millis(500));
    let refused = producer.build().unwrap().send(record(0, "never"));
    let refused = refused.unwrap_err();
    let error = refused.error();
    let shown = error.to_string();
    assert!(shown.contains(&broker), "{shown}");
    let cause = std::error::Error::source(error).unwrap();
    let cause = cause.downcast_ref::<Error>().unwrap();
    assert_eq!(cause.kind(), ErrorKind::Network);
    assert!(cause.to_string().ends_with(&broker), "{cause}");
    let end = Instant::now() + PATIENCE;
    while lines.so_far().is_empty() {
        assert!(Instant::now() < end);
        std::thread::yield_now();
    }
    let line = lines.so_far().swap_remove(0);
    assert!(
        line.starts_with("no metadata from any broker (attempt 1): "),
        "{line}"
    );
    assert!(
        line.ends_with("set security.protocol=SASL_SSL or SASL_PLAINTEXT"),
        "{line}"
    );
}

const TOO_MANY: &str = "[1e0a6c1e]: Too many connects";

fn token_cluster() -> MockCluster {
    sasl_cluster(MockSasl::new().oauthbearer_token("alice", "a-token"))
}

fn token_builder(cluster: &MockCluster) -> Builder {
    with(builder(cluster), &[("security.protocol", "SASL_PLAINTEXT")])
        .sasl_oauthbearer(|| Ok(BearerToken::new("a-token")))
}

/// MSK's brokers limit how many connections a second they accept, and refuse the others as if the password were wrong.
#[test]
fn a_broker_that_accepts_no_connection_for_the_moment_is_asked_again_after_a_second() {
    let cluster = token_cluster();
    cluster.refuse_authentications(1, TOO_MANY);
    let producer = token_builder(&cluster).build().unwrap();
    let began = Instant::now();
    deliver(&producer, 0, "v").unwrap();
    assert!(began.elapsed() >= Duration::from_secs(1));
    // The connections for records and for metadata.
    cluster.refuse_authentications(2, TOO_MANY);
    cluster.disconnect(0);
    let began = Instant::now();
    deliver(&producer, 0, "w").unwrap();
    assert!(began.elapsed() >= Duration::from_secs(1));
}

#[test]
fn callers_wait_while_a_broker_accepts_no_connection_and_their_error_has_the_reason() {
    let cluster = token_cluster();
    cluster.refuse_authentications(100, TOO_MANY);
    let block = Duration::from_millis(300);
    let producer = token_builder(&cluster).max_block(block).build().unwrap();
    let began = Instant::now();
    let refused = producer.send(record(0, "never")).unwrap_err();
    assert!(began.elapsed() >= block);
    let (error, shown) = (refused.error(), with_causes(refused.error()));
    assert_eq!(error.kind(), ErrorKind::MetadataTimeout, "{shown}");
    assert!(
        shown.contains("the broker gets too many new connections") && shown.contains(TOO_MANY),
        "{shown}"
    );
    assert!(error.is_retriable());
}
