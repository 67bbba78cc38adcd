use rustls::HandshakeKind;

use super::super::given::{ClientKey, TrustMaterial};
use super::super::settings::{KeySource, Provider, StoreFile, TrustSource, Versions};
use super::super::test_peers::*;
use super::*;
use crate::secret::HungFile;

/// A trust store in a file of its own, which disappears with it.
struct TrustFile(std::path::PathBuf);

impl TrustFile {
    fn new(name: &str, certificates: &[&Authority]) -> Self {
        let name = format!("kafka-producer-{name}-{}.pem", std::process::id());
        let file = Self(std::env::temp_dir().join(name));
        file.write(certificates);
        file
    }

    fn write(&self, certificates: &[&Authority]) {
        let text: Vec<_> = certificates.iter().map(|one| pem(one.der())).collect();
        std::fs::write(&self.0, text.concat()).unwrap();
    }

    fn client(&self, versions: Versions) -> TlsClient {
        let store = StoreFile {
            path: self.0.clone(),
            password: None,
            declared: None,
        };
        let settings = TlsSettings {
            trust: Some(TrustSource::File(store)),
            versions,
            ..TlsSettings::default()
        };
        TlsClient::new(settings).unwrap()
    }
}

impl Drop for TrustFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn kind(client: &TlsClient, server: &Arc<rustls::ServerConfig>) -> HandshakeKind {
    let (ours, theirs) = connect(client, "localhost", server).unwrap();
    assert_eq!(ours.handshake_kind(), theirs.handshake_kind());
    ours.handshake_kind().unwrap()
}

#[test]
fn a_session_is_resumed_until_the_stores_change() {
    let (root, other) = (authority("root"), authority("other"));
    let broker = issue(&root, &server_parameters(&["localhost"]));
    for (versions, name) in [(TLS12, "resumed12"), (TLS13, "resumed13")] {
        let file = TrustFile::new(name, &[&root]);
        let client = file.client(versions);
        let server = server(broker.certified(), versions);
        assert_eq!(kind(&client, &server), HandshakeKind::Full);
        for _ in 0..10 {
            assert_eq!(kind(&client, &server), HandshakeKind::Resumed);
        }
        // The certificate that was accepted may not be acceptable any more.
        file.write(&[&root, &other]);
        assert_eq!(kind(&client, &server), HandshakeKind::Full);
        assert_eq!(kind(&client, &server), HandshakeKind::Resumed);
        // Stores that cannot be used change nothing.
        file.write(&[]);
        assert_eq!(kind(&client, &server), HandshakeKind::Resumed);
        file.write(&[&other]);
        let refused = connect(&client, "localhost", &server).unwrap_err();
        assert!(refused.message().contains("is signed by"), "{refused}");
    }
}

#[test]
fn two_producers_do_not_share_sessions() {
    let root = authority("root");
    let server = server(
        issue(&root, &server_parameters(&["localhost"])).certified(),
        Versions::default(),
    );
    let file = TrustFile::new("two", &[&root]);
    let clients = [(); 2].map(|()| file.client(Versions::default()));
    assert_eq!(kind(&clients[0], &server), HandshakeKind::Full);
    assert_eq!(kind(&clients[1], &server), HandshakeKind::Full);
}

fn with_suites(suites: &[&str]) -> Result<TlsClient, Error> {
    TlsClient::new(TlsSettings {
        trust: Some(TrustSource::inline(pem(authority("root").der()))),
        suites: suites.iter().map(|name| (*name).to_owned()).collect(),
        ..TlsSettings::default()
    })
}

#[test]
fn cipher_suites_of_which_none_is_known_are_an_error_that_lists_the_known_ones() {
    let refused = with_suites(&["TLS_RSA_WITH_AES_128_CBC_SHA", "OTHER"]).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Config);
    assert_eq!(
        refused.message(),
        "ssl.cipher.suites=TLS_RSA_WITH_AES_128_CBC_SHA,OTHER has no suite that this client has"
    );
    let shown = refused.to_string();
    for known in [
        "TLS_AES_128_GCM_SHA256",
        "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    ] {
        assert!(shown.contains(known), "{shown}");
    }
    with_suites(&["OTHER", "TLS_AES_128_GCM_SHA256"]).unwrap();
}

#[test]
fn suites_of_one_version_and_another_version_allow_no_connection() {
    let refused = TlsClient::new(TlsSettings {
        trust: Some(TrustSource::inline(pem(authority("root").der()))),
        suites: vec!["TLS_AES_128_GCM_SHA256".to_owned()],
        versions: TLS12,
        ..TlsSettings::default()
    });
    let refused = refused.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Config);
    assert!(
        refused
            .message()
            .starts_with("ssl.cipher.suites and ssl.enabled.protocols allow no connection"),
        "{refused}"
    );
}

#[test]
fn a_host_that_no_certificate_can_name_is_told() {
    let client = with_suites(&[]).unwrap();
    let server = server(
        issue(&authority("root"), &server_parameters(&["localhost"])).certified(),
        Versions::default(),
    );
    let refused = connect(&client, "two words", &server).unwrap_err();
    assert_eq!(
        refused.message(),
        "\"two words\" is no host name that a certificate can have"
    );
}

fn key_store(name: &str) -> Result<TlsClient, Error> {
    let path = format!("{}/tests/data/stores/{name}", env!("CARGO_MANIFEST_DIR"));
    TlsClient::new(TlsSettings {
        trust: Some(TrustSource::inline(pem(authority("root").der()))),
        keys: Some(KeySource::File {
            store: StoreFile {
                path: path.into(),
                password: None,
                declared: None,
            },
            key_password: None,
        }),
        ..TlsSettings::default()
    })
}

#[test]
fn an_own_key_that_is_too_short_is_told() {
    let refused = key_store("short-keystore.pem").unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Config);
    let shown = refused.to_string();
    for part in [
        "ssl.keystore.location=/",
        "short-keystore.pem",
        "use an RSA key of 2048 bits or more, or an EC key on P-256 or P-384",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
}

#[test]
fn a_key_that_is_not_the_one_of_its_certificate_is_told() {
    let (one, other) = [(); 2]
        .map(|()| self_signed(&parameters("client", &[])))
        .into();
    let key = key_pem(&other);
    let refused = TlsClient::new(TlsSettings {
        trust: Some(TrustSource::inline(pem(authority("root").der()))),
        keys: Some(KeySource::Inline(Arc::new(ClientKey::pem(
            key.as_str(),
            one.pem(),
        )))),
        ..TlsSettings::default()
    });
    let shown = refused.unwrap_err().to_string();
    for part in [
        "ssl.keystore.certificate.chain has a private key that is not the one of its certificate",
        "put the certificate that was issued for this key first in the chain",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert!(!shown.contains(key.lines().nth(1).unwrap()), "{shown}");
}

fn key_pem(made: &Made) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(made.key.serialized_der());
    format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n")
}

#[test]
fn a_store_that_is_not_read_delays_one_connection_and_the_last_usable_one_serves() {
    let file = TrustFile::new("hung", &[&authority("root")]);
    let client = file.client(Versions::default());
    let hung = HungFile::new(&file.0);
    assert_one_connection_waits(&client);
    drop(hung);
    assert_read_again(&client);
}

#[test]
fn code_that_supplies_certificates_and_hangs_delays_one_connection() {
    let trust = pem(authority("root").der());
    let (release, hold) = crate::sync::channel::bounded::<()>(0);
    let calls = std::sync::atomic::AtomicUsize::new(0);
    let supply = move || {
        // The first call is that of `TlsClient::new`.
        if calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed) > 0 {
            let _ = hold.recv();
        }
        Ok(TrustMaterial::pem(trust.clone()))
    };
    let client = TlsClient::new(TlsSettings {
        trust: Some(TrustSource::Provider(Provider::new(supply))),
        ..TlsSettings::default()
    })
    .unwrap();
    assert_one_connection_waits(&client);
    drop(release);
    assert_read_again(&client);
}

/// The first connection waits for half of its time, and the others not at all.
#[track_caller]
fn assert_one_connection_waits(client: &TlsClient) {
    let connect = |time| {
        let began = Instant::now();
        client.connection("host.test", began + time).unwrap();
        began.elapsed()
    };
    let half = Duration::from_millis(100);
    assert!(connect(2 * half) >= half);
    assert!(connect(Duration::from_secs(60)) < READ_PATIENCE);
    let error = client.read_until(Instant::now()).map(drop).unwrap_err();
    assert!(error.to_string().contains("not read in time"), "{error}");
}

#[track_caller]
fn assert_read_again(client: &TlsClient) {
    let end = Instant::now() + Duration::from_secs(30);
    while client.reads.is_running() {
        assert!(Instant::now() < end);
        std::thread::yield_now();
    }
    client.read_until(end).map(drop).unwrap();
}
