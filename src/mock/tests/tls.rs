//! TLS of the cluster, with rustls as the client.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{
    CertificateError, ClientConfig, ClientConnection, Error, ProtocolVersion, RootCertStore,
    StreamOwned,
};

use super::*;
use crate::protocol::encode_request;

type TlsClient = Client<StreamOwned<ClientConnection, TcpStream>>;

fn tls_cluster(tls: MockTls) -> MockCluster {
    let cluster = MockCluster::builder().tls(tls).start().unwrap();
    cluster.create_topic("t", 1);
    cluster
}

/// A client's settings: one trusted certificate, and the client's own.
fn config(trusted: &str, own: Option<&MockCertificate>) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    let trusted = CertificateDer::from_pem_slice(trusted.as_bytes()).unwrap();
    roots.add(trusted).unwrap();
    let provider = Arc::new(crate::tls::provider::provider().unwrap());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let Some(own) = own else {
        return builder.with_no_client_auth();
    };
    let chain = CertificateDer::pem_slice_iter(own.certificate_pem().as_bytes());
    let key = PrivateKeyDer::from_pem_slice(own.private_key_pem().as_bytes()).unwrap();
    builder
        .with_client_auth_cert(chain.map(Result::unwrap).collect(), key)
        .unwrap()
}

fn config_of(cluster: &MockCluster) -> ClientConfig {
    config(&cluster.ca_pem(), None)
}

fn connect(cluster: &MockCluster, config: ClientConfig, host: &'static str) -> TlsClient {
    let stream = Client::connect(cluster, 0).stream;
    let name = ServerName::try_from(host).unwrap();
    let tls = ClientConnection::new(Arc::new(config), name).unwrap();
    Client::over(StreamOwned::new(tls, stream))
}

/// Makes the handshake, and one call, with which a refusal of the client's certificate comes in TLS 1.3.
fn try_call(cluster: &MockCluster, config: ClientConfig, host: &'static str) -> Result<(), Error> {
    let mut client = connect(cluster, config, host);
    let mut frame = Vec::new();
    encode_request(&metadata_request(Some(&["t"])), 9, 1, None, &mut frame).unwrap();
    let mut exchange = || {
        client.stream.write_all(&frame)?;
        client.stream.read_exact(&mut [0; 8])
    };
    let Err(error) = exchange() else {
        return Ok(());
    };
    match error.downcast::<Error>() {
        Ok(error) => Err(error),
        Err(other) => Err(Error::General(other.to_string())),
    }
}

fn call(cluster: &MockCluster, config: ClientConfig) -> Result<(), Error> {
    try_call(cluster, config, "127.0.0.1")
}

#[test]
fn clients_that_trust_the_authority_are_served_in_both_versions() {
    for (version, expected) in [
        (None, ProtocolVersion::TLSv1_3),
        (Some(TlsVersion::Tls13), ProtocolVersion::TLSv1_3),
        (Some(TlsVersion::Tls12), ProtocolVersion::TLSv1_2),
    ] {
        let tls = MockTls::generated();
        let tls = match version {
            Some(version) => tls.only_version(version),
            None => tls,
        };
        let cluster = tls_cluster(tls);
        for host in ["127.0.0.1", "localhost"] {
            let mut client = connect(&cluster, config_of(&cluster), host);
            let batch = plain_batch(5_000);
            assert_eq!(client.produce(9, "t", 0, &batch).error, ErrorCode::NONE);
            assert_eq!(client.stream.conn.protocol_version(), Some(expected));
        }
        assert_eq!(cluster.end_offset("t", 0), Some(10_000));
    }
}

#[test]
fn client_certificates_are_asked_for_as_set() {
    let other = tls_cluster(MockTls::generated());
    let cluster = tls_cluster(MockTls::generated());
    let own = cluster.client_certificate("alice").unwrap();
    let foreign = other.client_certificate("alice").unwrap();
    let ca = cluster.ca_pem();
    for (client_auth, without, with_foreign) in [
        (ClientAuth::None, true, true),
        (ClientAuth::Requested, true, false),
        (ClientAuth::Required, false, false),
    ] {
        cluster.set_client_auth(client_auth).unwrap();
        assert_eq!(call(&cluster, config(&ca, Some(&own))), Ok(()));
        assert_eq!(call(&cluster, config(&ca, None)).is_ok(), without);
        let served = call(&cluster, config(&ca, Some(&foreign))).is_ok();
        assert_eq!(served, with_foreign, "{client_auth:?}");
    }
}

#[test]
fn a_client_certificate_is_the_name_of_its_client() {
    let cluster = tls_cluster(MockTls::generated().client_auth(ClientAuth::Requested));
    let alice = cluster.client_certificate("alice").unwrap();
    let ca = cluster.ca_pem();
    call(&cluster, config(&ca, Some(&alice))).unwrap();
    call(&cluster, config(&ca, None)).unwrap();
    let requests = cluster.requests();
    let names: Vec<_> = requests.iter().map(|request| &*request.principal).collect();
    assert_eq!(names, ["User:CN=alice", "User:ANONYMOUS"]);
}

#[test]
fn client_certificates_of_given_issuers_are_trusted() {
    let other = tls_cluster(MockTls::generated());
    let tls = MockTls::generated().client_auth(ClientAuth::Required);
    let cluster = tls_cluster(tls.client_authorities(&other.ca_pem()));
    let foreign = other.client_certificate("alice").unwrap();
    let own = cluster.client_certificate("bob").unwrap();
    for certificate in [foreign, own] {
        let config = config(&cluster.ca_pem(), Some(&certificate));
        assert_eq!(call(&cluster, config), Ok(()));
    }
}

#[test]
fn certificates_have_the_faults_that_were_asked_for() {
    let cluster = tls_cluster(MockTls::generated());
    let refusal = |certificate| {
        cluster.set_broker_certificate(certificate).unwrap();
        match call(&cluster, config_of(&cluster)) {
            Err(Error::InvalidCertificate(fault)) => fault,
            result => panic!("{result:?}"),
        }
    };
    assert!(matches!(
        refusal(BrokerCertificate::Expired),
        CertificateError::ExpiredContext { .. }
    ));
    assert!(matches!(
        refusal(BrokerCertificate::NotYetValid),
        CertificateError::NotValidYetContext { .. }
    ));
    assert!(matches!(
        refusal(BrokerCertificate::OtherHost),
        CertificateError::NotValidForNameContext { .. }
    ));
    for certificate in [
        BrokerCertificate::OtherAuthority,
        BrokerCertificate::SelfSigned,
    ] {
        assert_eq!(refusal(certificate), CertificateError::UnknownIssuer);
    }
    // The one client that trusts this very certificate.
    let pinned = config(&cluster.broker_certificate_pem(), None);
    assert_eq!(call(&cluster, pinned), Ok(()));

    cluster
        .set_broker_certificate(BrokerCertificate::Valid)
        .unwrap();
    assert_eq!(call(&cluster, config_of(&cluster)), Ok(()));
}

#[test]
fn a_new_certificate_is_for_new_connections() {
    let cluster = tls_cluster(MockTls::generated());
    let mut open = connect(&cluster, config_of(&cluster), "localhost");
    open.call(&metadata_request(None), 9);
    let first = cluster.broker_certificate_pem();

    cluster
        .set_broker_certificate(BrokerCertificate::Valid)
        .unwrap();
    assert_ne!(cluster.broker_certificate_pem(), first);
    let old_authority = cluster.ca_pem();
    let old_client = cluster.client_certificate("alice").unwrap();
    assert_eq!(call(&cluster, config_of(&cluster)), Ok(()));

    cluster.set_client_auth(ClientAuth::Required).unwrap();
    cluster.renew_ca().unwrap();
    let new_client = cluster.client_certificate("alice").unwrap();
    let new_authority = cluster.ca_pem();
    assert!(call(&cluster, config(&old_authority, Some(&new_client))).is_err());
    assert!(call(&cluster, config(&new_authority, Some(&old_client))).is_err());
    assert_eq!(
        call(&cluster, config(&new_authority, Some(&new_client))),
        Ok(())
    );
    open.call(&metadata_request(None), 9);
}

#[test]
fn a_given_certificate_is_used_if_it_can_be() {
    let maker = tls_cluster(MockTls::generated());
    let pair = |cluster: &MockCluster| {
        let tls = cluster.shared.tls.as_ref().unwrap();
        tls.broker_certificate()
    };
    let good = pair(&maker);
    let cluster = tls_cluster(MockTls::with_certificate(good.clone()));
    assert_eq!(call(&cluster, config_of(&maker)), Ok(()));

    maker
        .set_broker_certificate(BrokerCertificate::Valid)
        .unwrap();
    let other = pair(&maker);
    for (chain, key) in [
        (good.certificate_pem(), other.private_key_pem()),
        (good.certificate_pem(), "no key"),
        ("no certificate", good.private_key_pem()),
    ] {
        let bad = MockCertificate::from_pem(chain, key);
        let tls = MockTls::with_certificate(bad.clone());
        let error = MockCluster::builder().tls(tls).start().unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
        let bad = BrokerCertificate::Given(bad);
        assert!(cluster.set_broker_certificate(bad).is_err());
    }
    assert_eq!(call(&cluster, config_of(&maker)), Ok(()));
    assert!(!format!("{good:?}").contains(good.private_key_pem()));
}

#[test]
fn handshakes_fail_as_often_as_asked() {
    let cluster = tls_cluster(MockTls::generated());
    let attempt = || call(&cluster, config_of(&cluster));
    cluster.fail_handshakes(2, HandshakeFault::Alert(112));
    cluster.fail_handshakes(1, HandshakeFault::Disconnect);
    cluster.fail_handshakes(1, HandshakeFault::Garbage);
    for _ in 0..2 {
        let alert = rustls::AlertDescription::UnrecognisedName;
        assert_eq!(attempt(), Err(Error::AlertReceived(alert)));
    }
    assert!(matches!(attempt(), Err(Error::General(_))));
    assert!(matches!(attempt(), Err(Error::InvalidMessage(_))));
    assert_eq!(attempt(), Ok(()));

    let delay = Duration::from_millis(30);
    cluster.fail_handshakes(1, HandshakeFault::Delay(delay));
    let began = Instant::now();
    assert_eq!(attempt(), Ok(()));
    assert!(began.elapsed() >= delay);

    cluster.fail_handshakes(1, HandshakeFault::NoAnswer);
    let mut silent = Client::connect(&cluster, 0);
    silent.stream.write_all(&[22, 3, 1, 0, 1, 1]).unwrap();
    silent.expect_silence();
    assert_eq!(attempt(), Ok(()));

    cluster.fail_handshakes(usize::MAX, HandshakeFault::Disconnect);
    assert!(attempt().is_err());
    cluster.remove_all_hooks();
    assert_eq!(attempt(), Ok(()));
}

#[test]
fn a_client_without_tls_gets_the_alert_of_a_jvm_and_the_end() {
    let cluster = tls_cluster(MockTls::generated());
    let mut client = Client::connect(&cluster, 0);
    client.send(&metadata_request(None), 9);
    assert_eq!(client.read(7), [21, 3, 3, 0, 2, 2, 80]);
    client.expect_end();
    assert!(cluster.requests().is_empty());
}

#[test]
fn a_client_with_tls_is_cut_off_by_a_cluster_without() {
    let cluster = MockCluster::start(1).unwrap();
    let maker = tls_cluster(MockTls::generated());
    assert!(matches!(
        call(&cluster, config_of(&maker)),
        Err(Error::General(_))
    ));
}

#[test]
fn the_end_of_a_connection_is_announced() {
    let cluster = tls_cluster(MockTls::generated());
    let mut client = connect(&cluster, config_of(&cluster), "localhost");
    client.call(&metadata_request(None), 9);
    cluster.fail_next(MockApi::Metadata, 1, Fault::Disconnect);
    client.send(&metadata_request(None), 9);
    // Without the announcement this is an error.
    assert_eq!(client.stream.read(&mut [0; 1]).unwrap(), 0);
}

#[test]
fn a_cluster_ends_while_clients_have_not_begun_their_handshakes() {
    let cluster = tls_cluster(MockTls::generated());
    let mut clients: Vec<_> = (0..3).map(|_| Client::connect(&cluster, 0)).collect();
    clients[1].stream.write_all(&[22, 3, 1]).unwrap();
    let began = Instant::now();
    drop(cluster);
    assert!(began.elapsed() < Duration::from_secs(5));
    for client in &mut clients {
        client.expect_end();
    }
}

#[test]
fn asking_a_cluster_without_tls_about_it_panics() {
    let cluster = MockCluster::start(1).unwrap();
    let misuse = std::panic::AssertUnwindSafe(|| cluster.ca_pem());
    assert!(std::panic::catch_unwind(misuse).is_err());
}
