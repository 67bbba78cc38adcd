//! TLS of the cluster (Cargo feature `mock-tls`): what a test sets, and what the brokers make of it.

mod certificate;
mod cluster;
mod handshake;
mod stream;

use std::io;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, version};

use crate::sync::Mutex;
use crate::tls::provider::provider;
use certificate::Authority;
pub use certificate::{BrokerCertificate, MockCertificate};
use handshake::Faults;
pub use handshake::HandshakeFault;
pub(super) use stream::TlsStream;

/// TLS of a [`MockCluster`](super::MockCluster), for
/// [`MockClusterBuilder::tls`](super::MockClusterBuilder::tls) (Cargo feature `mock-tls`).
///
/// ```
/// use kafka_producer::{ClientKey, KafkaProducer, SecurityProtocol, TrustMaterial};
/// use kafka_producer::mock::{ClientAuth, MockCluster, MockTls};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let tls = MockTls::generated().client_auth(ClientAuth::Required);
/// let cluster = MockCluster::builder().tls(tls).start()?;
/// let client = cluster.client_certificate("alice")?;
/// let producer = KafkaProducer::<String, String>::builder()
///     .bootstrap_servers(cluster.bootstrap_servers())
///     .security_protocol(SecurityProtocol::Ssl)
///     .tls_trust(TrustMaterial::pem(cluster.ca_pem()))
///     .tls_client_key(ClientKey::pem(client.private_key_pem(), client.certificate_pem()))
///     .build()?;
/// # drop(producer);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct MockTls {
    certificate: BrokerCertificate,
    client_auth: ClientAuth,
    /// Certificates in PEM.
    client_authorities: String,
    version: Option<TlsVersion>,
}

/// Whether brokers ask a client for a certificate, as Kafka's `ssl.client.auth`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientAuth {
    /// They do not ask.
    #[default]
    None,
    /// They ask. A client without a certificate is served, and one with a certificate that they do not trust is not.
    Requested,
    /// They ask, and do not serve a client without a certificate that they trust.
    Required,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TlsVersion {
    /// TLS 1.2.
    Tls12,
    /// TLS 1.3.
    Tls13,
}

impl MockTls {
    /// Makes the brokers use a certificate for `127.0.0.1` and `localhost`. The cluster makes it when it starts, and the
    /// certificate authority that issues it, too: see [`MockCluster::ca_pem`](super::MockCluster::ca_pem).
    pub fn generated() -> Self {
        Self::with(BrokerCertificate::Valid)
    }

    /// Makes the brokers use this certificate.
    pub fn with_certificate(certificate: MockCertificate) -> Self {
        Self::with(BrokerCertificate::Given(certificate))
    }

    fn with(certificate: BrokerCertificate) -> Self {
        Self {
            certificate,
            client_auth: ClientAuth::None,
            client_authorities: String::new(),
            version: None,
        }
    }

    /// Sets whether brokers ask a client for a certificate. By default they do not. They trust the certificates of
    /// [`MockCluster::client_certificate`](super::MockCluster::client_certificate).
    pub fn client_auth(mut self, client_auth: ClientAuth) -> Self {
        self.client_auth = client_auth;
        self
    }

    /// Makes the brokers also trust client certificates of these issuers, which are certificates in PEM.
    pub fn client_authorities(mut self, pem: &str) -> Self {
        self.client_authorities = pem.to_owned();
        self
    }

    /// Makes the brokers speak this version of TLS only. By default they speak TLS 1.2 and 1.3.
    pub fn only_version(mut self, version: TlsVersion) -> Self {
        self.version = Some(version);
        self
    }
}

/// TLS of a running cluster.
pub(super) struct ClusterTls {
    state: Mutex<State>,
    faults: Faults,
}

struct State {
    settings: MockTls,
    authority: Arc<Authority>,
    /// The certificate that the brokers use.
    certificate: MockCertificate,
    config: Arc<ServerConfig>,
}

impl ClusterTls {
    pub(super) fn start(settings: MockTls) -> io::Result<Self> {
        Ok(Self {
            state: Mutex::new(State::new(settings, Arc::new(Authority::generate()?))?),
            faults: Faults::default(),
        })
    }

    /// Begins a connection with the settings as they are now. `pause` waits, and returns whether the connection has to end.
    pub(super) fn accept(
        &self,
        socket: TcpStream,
        pause: impl Fn(Duration) -> bool,
    ) -> io::Result<TlsStream> {
        let tls = ServerConnection::new(Arc::clone(&self.state.lock().config));
        let tls = tls.map_err(io::Error::other)?;
        self.faults.apply(&socket, &pause)?;
        TlsStream::accept(socket, tls)
    }

    /// Changes the settings for new connections. Makes new certificates.
    fn change(&self, change: impl FnOnce(&mut MockTls)) -> io::Result<()> {
        let mut state = self.state.lock();
        let mut settings = state.settings.clone();
        change(&mut settings);
        *state = State::new(settings, Arc::clone(&state.authority))?;
        Ok(())
    }

    fn renew_authority(&self) -> io::Result<()> {
        let authority = Arc::new(Authority::generate()?);
        let mut state = self.state.lock();
        *state = State::new(state.settings.clone(), authority)?;
        Ok(())
    }
}

impl State {
    /// Makes the brokers' certificate. A client cannot resume an earlier session, because each state has its own.
    fn new(settings: MockTls, authority: Arc<Authority>) -> io::Result<Self> {
        let certificate = authority.broker_certificate(&settings.certificate)?;
        let versions = match settings.version {
            None => &[&version::TLS13, &version::TLS12][..],
            Some(TlsVersion::Tls12) => &[&version::TLS12],
            Some(TlsVersion::Tls13) => &[&version::TLS13],
        };
        let provider = Arc::new(provider().map_err(io::Error::other)?);
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
        let builder = builder
            .with_protocol_versions(versions)
            .map_err(io::Error::other)?;
        let builder = match settings.client_auth {
            ClientAuth::None => builder.with_no_client_auth(),
            _ => {
                builder.with_client_cert_verifier(client_verifier(&settings, &authority, provider)?)
            }
        };
        let config = builder.with_single_cert(certificate.chain()?, certificate.key()?);
        Ok(Self {
            config: Arc::new(config.map_err(invalid)?),
            settings,
            authority,
            certificate,
        })
    }
}

fn client_verifier(
    settings: &MockTls,
    authority: &Authority,
    provider: Arc<CryptoProvider>,
) -> io::Result<Arc<dyn ClientCertVerifier>> {
    let mut roots = RootCertStore::empty();
    let given = certificate::certificates(&settings.client_authorities)?;
    let own: CertificateDer<'static> = authority.certificate().clone();
    for root in given.into_iter().chain([own]) {
        roots.add(root).map_err(invalid)?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let verifier = match settings.client_auth {
        ClientAuth::Required => verifier,
        _ => verifier.allow_unauthenticated(),
    };
    verifier.build().map_err(io::Error::other)
}

/// Makes the error for a certificate or key that the user gave.
fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, error)
}
