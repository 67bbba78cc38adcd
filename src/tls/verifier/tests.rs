use rcgen::{KeyPair, PKCS_ED25519};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;

use super::super::TlsClient;
use super::super::settings::{CheckName, TlsSettings, TrustSource, Versions};
use super::super::stores::pem_certificates;
use super::super::test_peers::*;
use super::*;

const MINUTE: u64 = 60;
const DAY: u64 = 24 * 60 * 60;

/// A point in time at which every certificate here is valid.
const NOW: u64 = BEGIN + 100 * DAY;

fn verifier(trusted: &[CertificateDer<'static>], checks_name: bool) -> Verifier {
    let anchors = Anchors {
        certificates: trusted.to_vec(),
        origin: "the trust store".to_owned(),
        are_configured: true,
    };
    let provider = Arc::new(super::super::provider::provider().unwrap());
    Verifier::new(anchors, Peer::Broker, checks_name, &provider).unwrap()
}

/// Shows a chain to a client that trusts `trusted`, and returns what it says.
fn verify(
    trusted: &[CertificateDer<'static>],
    chain: &[CertificateDer<'static>],
    host: &str,
    now: u64,
) -> Result<(), CertificateFault> {
    verify_with(&verifier(trusted, true), chain, host, now)
}

fn verify_with(
    verifier: &Verifier,
    chain: &[CertificateDer<'static>],
    host: &str,
    now: u64,
) -> Result<(), CertificateFault> {
    let host = ServerName::try_from(host.to_owned()).unwrap();
    let verified = verifier.verify_server_cert(&chain[0], &chain[1..], &host, &[], at(now));
    verified.map(drop).map_err(|error| fault_in(&error))
}

fn fault_in(error: &RustlsError) -> CertificateFault {
    let RustlsError::InvalidCertificate(CertificateError::Other(other)) = error else {
        panic!("no sentence: {error}");
    };
    let fault = other.0.downcast_ref::<CertificateFault>();
    let fault = fault.unwrap_or_else(|| panic!("no sentence: {error}"));
    CertificateFault {
        message: fault.message.clone(),
        advice: fault.advice.clone(),
    }
}

#[track_caller]
fn assert_fault(verified: Result<(), CertificateFault>, message: &str, advice: &str) {
    let fault = verified.expect_err("a refusal");
    assert_eq!(fault.message, message);
    assert!(fault.advice.contains(advice), "{}", fault.advice);
}

/// A client that trusts these certificates, with the versions.
fn client(trusted: &[&CertificateDer<'static>], versions: Versions) -> TlsClient {
    let trusted: Vec<_> = trusted.iter().map(|certificate| pem(certificate)).collect();
    let settings = TlsSettings {
        trust: Some(TrustSource::inline(trusted.concat())),
        versions,
        ..TlsSettings::default()
    };
    TlsClient::new(settings).unwrap()
}

#[test]
fn expired_and_not_valid_yet_and_a_wrong_clock_have_a_sentence_each() {
    let root = authority("root");
    let made = issue(&root, &server_parameters(&["localhost"]));
    let check = |now| {
        verify(
            &[root.der().clone()],
            std::slice::from_ref(&made.der),
            "localhost",
            now,
        )
    };
    let ended = "the broker's certificate (\"CN=broker\") expired on Jan  1 00:00:00 2100 +00:00";
    let begins =
        "the broker's certificate (\"CN=broker\") is not valid before Jan  1 00:00:00 2026 +00:00";
    let clock = ", and this machine's clock says";
    for now in [BEGIN, NOW, END] {
        check(now).unwrap_or_else(|fault| panic!("{now}: {fault}"));
    }
    assert_fault(check(END + 2 * DAY), ended, "renew the certificate");
    let shown = format!("{ended}{clock} Jan  1 00:01:30 2100 +00:00, 90 s after that");
    assert_fault(check(END + 90), &shown, "check this machine's clock");
    let shown = format!("{ended}{clock} Jan  2 00:00:00 2100 +00:00, 24 h after that");
    assert_fault(check(END + DAY), &shown, "if it is right, renew");
    assert_fault(
        check(BEGIN - 2 * DAY),
        begins,
        "set this machine's clock right, which says Dec 30 00:00:00 2025 +00:00",
    );
    let shown = format!("{begins}{clock} Dec 31 23:55:00 2025 +00:00, 5 min before that");
    assert_fault(
        check(BEGIN - 5 * MINUTE),
        &shown,
        "if it is right, wait, or issue",
    );
}

#[test]
fn an_issuer_that_has_expired_is_named() {
    let root = authority("root");
    let middle = intermediate("middle", &root, NOW);
    let made = issue(&middle, &server_parameters(&["localhost"]));
    let chain = [made.der, middle.der().clone()];
    verify(&[root.der().clone()], &chain, "localhost", NOW).unwrap();
    assert_fault(
        verify(&[root.der().clone()], &chain, "localhost", NOW + 2 * DAY),
        "the issuer's certificate in the broker's chain (\"CN=middle\") expired on Apr 11 00:00:00 2026 +00:00",
        "renew the certificate",
    );
}

#[test]
fn an_issuer_of_the_same_name_with_another_key_is_told_from_the_trusted_one() {
    let message = "the broker's certificate is signed by another \"CN=root\" than the one of the trust store: the names \
                   are equal and the keys are not";
    let other_kind = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    for root in [authority("root"), authority_with("root", other_kind)] {
        let old = authority("root").der().clone();
        let made = issue(&root, &server_parameters(&["localhost"]));
        assert_fault(
            verify(
                std::slice::from_ref(&old),
                std::slice::from_ref(&made.der),
                "localhost",
                NOW,
            ),
            message,
            "the issuer has been made anew",
        );
        // Both in the trust store: a time in which some brokers have new certificates.
        let both = [old.clone(), root.der().clone()];
        verify(&both, &[made.der], "localhost", NOW).unwrap();

        let middle = intermediate("middle", &root, END);
        let made = issue(&middle, &server_parameters(&["localhost"]));
        let chain = [made.der, middle.der().clone()];
        assert_fault(verify(&[old], &chain, "localhost", NOW), message, "add it");
    }
}

#[test]
fn a_namesake_among_the_systems_certificates_asks_for_a_trust_store() {
    let made = issue(&authority("root"), &server_parameters(&["localhost"]));
    let mut verifier = verifier(&[authority("root").der().clone()], true);
    verifier.anchors.are_configured = false;
    assert_fault(
        verify_with(&verifier, &[made.der], "localhost", NOW),
        "the broker's certificate is signed by another \"CN=root\" than the one of the trust store: the names are equal \
         and the keys are not",
        "name a trust store that has the issuer: ssl.truststore.location or ssl.truststore.certificates",
    );
}

#[test]
fn an_unknown_issuer_is_named_with_the_store_that_lacks_it() {
    let made = issue(&authority("stranger"), &server_parameters(&["localhost"]));
    let chain = [made.der];
    let trusted = ["one", "two"].map(|name| authority(name).der().clone());
    for (trusted, which) in [
        (&trusted[..1], "not the one certificate"),
        (&trusted[..], "not among the 2 certificates"),
    ] {
        assert_fault(
            verify(trusted, &chain, "localhost", NOW),
            &format!(
                "the broker's certificate is signed by \"CN=stranger\", which is {which} of the trust store"
            ),
            "add the issuer's certificate to this trust store",
        );
    }
}

#[test]
fn an_issuers_certificate_is_no_brokers_unless_it_is_trusted_itself() {
    let root = authority("root");
    let middle = intermediate("localhost", &root, END);
    let chain = [middle.der().clone()];
    assert_fault(
        verify(&[root.der().clone()], &chain, "localhost", NOW),
        "the broker's certificate (\"CN=localhost\") is one of an issuer (CA:TRUE)",
        "give the broker a certificate of its own",
    );
    verify(&chain, &chain, "localhost", NOW).unwrap();
}

#[test]
fn a_certificate_for_clients_is_no_brokers() {
    let root = authority("root");
    let mut parameters = server_parameters(&["localhost"]);
    parameters.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    assert_fault(
        verify(
            &[root.der().clone()],
            &[issue(&root, &parameters).der],
            "localhost",
            NOW,
        ),
        "the broker's certificate (\"CN=broker\") is not for servers: its extended key usage lacks serverAuth",
        "EKU=serverAuth",
    );
}

#[test]
fn a_certificate_that_is_damaged_is_told() {
    let root = authority("root");
    let chain = [CertificateDer::from(vec![0x30, 3, 1, 2, 3])];
    assert_fault(
        verify(&[root.der().clone()], &chain, "localhost", NOW),
        "the broker's certificate is damaged",
        "renew it",
    );
}

fn file(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/data/stores/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

const SHORT_KEY: &str = "the broker's chain has a certificate (\"CN=short\") with an RSA key of 1024 bits: 2048 is the least";

#[test]
fn a_short_key_of_an_issuer_is_told_with_its_length() {
    let chain = pem_certificates(&file("short-chain.pem")).unwrap();
    // The files are newer than the certificates that tests make.
    let now = BEGIN + 3650 * DAY;
    assert_fault(
        verify(&chain[2..], &chain[..2], "localhost", now),
        SHORT_KEY,
        "-keysize 2048",
    );
}

/// Neither side signs with such a key here. So the peer signs with another one, and the length is noticed first.
#[test]
fn a_short_key_of_a_broker_is_told_with_its_length() {
    let chain = pem_certificates(&file("short-chain.pem")).unwrap();
    let long_key = PrivateKeyDer::from_pem_slice(&file("key-pkcs1.pem")).unwrap();
    let shown = certified(vec![chain[1].clone()], long_key);
    for versions in [TLS12, TLS13] {
        let mut settings = TlsSettings {
            trust: Some(TrustSource::inline(pem(&chain[1]))),
            versions,
            ..TlsSettings::default()
        };
        settings.checks_name = CheckName::No;
        let client = TlsClient::new(settings).unwrap();
        let refused = connect(&client, "localhost", &server(Arc::clone(&shown), versions));
        assert_sentence(&refused.unwrap_err(), SHORT_KEY, "-keysize 2048");
    }
}

/// What the trust store has is public: anybody can show it, and only the owner has its key.
#[test]
fn a_trusted_certificate_without_its_key_is_refused() {
    let parameters = server_parameters(&["localhost"]);
    let (version_3, version_1) = (
        self_signed(&parameters),
        self_signed(&parameters).into_version_1(),
    );
    let of_issuer = issue(&authority("root"), &parameters);
    let message = "the broker shows the certificate \"CN=broker\" and does not have its private key: the signature of the \
                   handshake is not valid";
    for made in [&version_3, &of_issuer, &version_1] {
        for versions in [TLS12, TLS13] {
            let mut settings = TlsSettings {
                trust: Some(TrustSource::inline(made.pem())),
                versions,
                ..TlsSettings::default()
            };
            // A certificate of version 1 names nobody but CN=broker.
            settings.checks_name = CheckName::No;
            let client = TlsClient::new(settings).unwrap();
            let honest = server(made.certified(), versions);
            connect(&client, "localhost", &honest).unwrap();

            let other_key = PrivateKeyDer::try_from(KeyPair::generate().unwrap().serialize_der());
            let stolen = certified(vec![made.der.clone()], other_key.unwrap());
            let refused = connect(&client, "localhost", &server(stolen, versions));
            let error = refused.unwrap_err();
            assert_sentence(&error, message, "check that the address is the broker's");
        }
    }
}

/// The same holds for a certificate with a chain.
#[test]
fn a_brokers_certificate_without_its_key_is_refused() {
    let root = authority("root");
    let made = issue(&root, &server_parameters(&["localhost"]));
    let other_key = PrivateKeyDer::try_from(KeyPair::generate().unwrap().serialize_der());
    let stolen = certified(vec![made.der.clone()], other_key.unwrap());
    for versions in [TLS12, TLS13] {
        let client = client(&[root.der()], versions);
        connect(&client, "localhost", &server(made.certified(), versions)).unwrap();
        let refused = connect(&client, "localhost", &server(Arc::clone(&stolen), versions));
        assert_sentence(
            &refused.unwrap_err(),
            "the broker shows the certificate \"CN=broker\" and does not have its private key: the signature of the \
             handshake is not valid",
            "the broker has the key of this certificate",
        );
    }
}

#[test]
fn the_dates_of_a_trusted_certificate_are_checked() {
    for made in [
        self_signed(&server_parameters(&["localhost"])),
        self_signed(&parameters("localhost", &[])).into_version_1(),
    ] {
        let chain = [made.der];
        verify(&chain, &chain, "localhost", NOW).unwrap();
        for (now, part) in [
            (END + 2 * DAY, "expired on"),
            (BEGIN - 2 * DAY, "is not valid before"),
        ] {
            let fault = verify(&chain, &chain, "localhost", now).unwrap_err();
            assert!(fault.message.contains(part), "{fault}");
        }
    }
}

#[test]
fn a_trusted_certificate_must_name_the_host() {
    for (common_name, names, hosts, others) in [
        (
            "broker",
            &["Kafka.example.com", "10.0.0.7", "2001:db8::7"][..],
            &["kafka.example.com", "10.0.0.7", "2001:db8::7"][..],
            &["broker", "example.com", "10.0.0.8", "2001:db8::8"][..],
        ),
        (
            "a.example.com",
            &["*.example.com"],
            &["a.example.com", "B.EXAMPLE.com"],
            &["example.com", "a.b.example.com", "a.example.org"],
        ),
        // Too wide, and not for addresses.
        ("broker", &["*.com"], &[], &["example.com"]),
        ("broker", &["*.0.0.1"], &[], &["127.0.0.1"]),
        // An asterisk is a whole label.
        ("broker", &["k*.example.com"], &[], &["kafka.example.com"]),
        // A common name counts only without other DNS names, and is no address.
        (
            "kafka.example.com",
            &[],
            &["kafka.example.com"],
            &["other.example.com"],
        ),
        ("10.0.0.7", &[], &[], &["10.0.0.7"]),
        // As in Java, an address is no reason to leave out the common name.
        (
            "kafka.example.com",
            &["10.0.0.7"],
            &["10.0.0.7", "kafka.example.com"],
            &["other.example.com"],
        ),
    ] {
        let chain = [self_signed(&parameters(common_name, names)).der];
        for host in hosts {
            verify(&chain, &chain, host, NOW)
                .unwrap_or_else(|fault| panic!("{names:?} for {host}: {fault}"));
        }
        for host in others {
            let Err(fault) = verify(&chain, &chain, host, NOW) else {
                panic!("{names:?} for {host}");
            };
            let begin = format!("the broker's certificate is not for {host}: it ");
            assert!(fault.message.starts_with(&begin), "{fault}");
            let unchecked = verifier(&chain, false);
            verify_with(&unchecked, &chain, host, NOW).unwrap();
        }
    }
}

/// The system's trust store has authorities, and whoever can add a certificate there may not have meant a broker.
#[test]
fn the_systems_certificates_are_trusted_as_issuers_only() {
    let made = issue(&authority("stranger"), &server_parameters(&["localhost"]));
    let chain = [made.der];
    let mut verifier = verifier(&chain, true);
    verify_with(&verifier, &chain, "localhost", NOW).unwrap();
    verifier.anchors.are_configured = false;
    assert_fault(
        verify_with(&verifier, &chain, "localhost", NOW),
        "the broker's certificate is signed by \"CN=stranger\", which is not the one certificate of the trust store",
        "name a trust store that has the issuer: ssl.truststore.location or ssl.truststore.certificates",
    );
}

/// The settings `ssl.*` are for brokers only.
#[cfg(feature = "http")]
#[test]
fn an_unknown_issuer_of_another_server_is_mended_where_that_server_is_set() {
    let made = issue(&authority("stranger"), &server_parameters(&["localhost"]));
    let chain = [made.der];
    let mut verifier = verifier(&[authority("root").der().clone()], true);
    verifier.anchors.are_configured = false;
    for (peer, name, advice) in [
        (
            Peer::TokenServer,
            "token server",
            "name a trust store that has the issuer, among the options of sasl.jaas.config: ssl.truststore.location=",
        ),
        (
            Peer::AwsEndpoint,
            "AWS endpoint",
            "add the issuer's certificate to the system's, or name a file that has it in the environment variable",
        ),
    ] {
        verifier.peer = peer;
        let message = format!(
            "the {name}'s certificate is signed by \"CN=stranger\", which is not the one certificate of the trust store"
        );
        assert_fault(
            verify_with(&verifier, &chain, "localhost", NOW),
            &message,
            advice,
        );
    }
}

#[test]
fn a_trust_store_without_a_certificate_that_can_be_used_is_refused() {
    let anchors = Anchors {
        certificates: vec![CertificateDer::from(vec![1, 2, 3])],
        origin: "the trust store".to_owned(),
        are_configured: true,
    };
    let provider = Arc::new(super::super::provider::provider().unwrap());
    let error = Verifier::new(anchors, Peer::Broker, true, &provider).unwrap_err();
    assert_sentence(
        &error,
        "the trust store has no certificate to trust",
        "add the certificate of the issuer of the broker's certificate",
    );
}
