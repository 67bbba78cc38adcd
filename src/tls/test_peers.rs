//! Certificates and TLS servers for tests of what a client accepts. Everything is made in memory, also the connections.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, SigningKey as _,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ClientConnection, ServerConfig, ServerConnection};

use super::TlsClient;
use super::provider::provider;
use super::settings::Versions;
use super::stores::der::{self, Reader};
use crate::error::Error;

/// The point in time at which the validity of a certificate begins, unless a test sets another: 2026-01-01.
pub(super) const BEGIN: u64 = 1_767_225_600;

/// The point in time at which the validity of a certificate ends: 2100-01-01.
pub(super) const END: u64 = 4_102_444_800;

pub(super) const TLS12: Versions = Versions {
    tls12: true,
    tls13: false,
};

pub(super) const TLS13: Versions = Versions {
    tls12: false,
    tls13: true,
};

pub(super) fn at(seconds: u64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(seconds))
}

/// A certificate with its key.
pub(super) struct Made {
    pub(super) der: CertificateDer<'static>,
    pub(super) key: KeyPair,
}

/// An issuer of certificates.
pub(super) type Authority = CertifiedIssuer<'static, KeyPair>;

/// What a certificate for the subject `CN=name` and these hosts says.
pub(super) fn parameters(name: &str, hosts: &[&str]) -> CertificateParams {
    let hosts: Vec<_> = hosts.iter().map(|host| (*host).to_owned()).collect();
    let mut parameters = CertificateParams::new(hosts).unwrap();
    parameters.distinguished_name = DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, name);
    set_validity(&mut parameters, BEGIN, END);
    parameters
}

/// Sets the first and the last second of the validity.
pub(super) fn set_validity(parameters: &mut CertificateParams, from: u64, until: u64) {
    let year_1970 = rcgen::date_time_ymd(1970, 1, 1);
    parameters.not_before = year_1970 + Duration::from_secs(from);
    parameters.not_after = year_1970 + Duration::from_secs(until);
}

pub(super) fn server_parameters(hosts: &[&str]) -> CertificateParams {
    let mut parameters = parameters("broker", hosts);
    parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    parameters
}

fn issuer_parameters(name: &str) -> CertificateParams {
    let mut parameters = parameters(name, &[]);
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters
}

pub(super) fn authority(name: &str) -> Authority {
    authority_with(name, KeyPair::generate().unwrap())
}

pub(super) fn authority_with(name: &str, key: KeyPair) -> Authority {
    CertifiedIssuer::self_signed(issuer_parameters(name), key).unwrap()
}

/// An issuer that another one has signed, with the end of its validity.
pub(super) fn intermediate(name: &str, root: &Authority, until: u64) -> Authority {
    let mut parameters = issuer_parameters(name);
    set_validity(&mut parameters, BEGIN, until);
    CertifiedIssuer::signed_by(parameters, KeyPair::generate().unwrap(), root).unwrap()
}

pub(super) fn issue(issuer: &Authority, parameters: &CertificateParams) -> Made {
    issue_with(issuer, parameters, KeyPair::generate().unwrap())
}

pub(super) fn issue_with(issuer: &Authority, parameters: &CertificateParams, key: KeyPair) -> Made {
    let certificate = parameters.signed_by(&key, issuer).unwrap();
    Made {
        der: certificate.der().clone(),
        key,
    }
}

/// A certificate that signed itself.
pub(super) fn self_signed(parameters: &CertificateParams) -> Made {
    let key = KeyPair::generate().unwrap();
    let certificate = parameters.self_signed(&key).unwrap();
    Made {
        der: certificate.der().clone(),
        key,
    }
}

impl Made {
    /// The same of X.509 version 1: without extensions, and signed by its own key.
    pub(super) fn into_version_1(self) -> Self {
        let mut certificate = Reader::new(&self.der).sequence().unwrap();
        let mut signed = certificate.sequence().unwrap();
        let mut fields = Vec::new();
        while !signed.is_empty() {
            let field = signed.next().unwrap();
            // The version, and the extensions.
            if ![0xa0, 0xa3].contains(&field.tag) {
                fields.extend_from_slice(field.whole);
            }
        }
        let signed = element(der::SEQUENCE, &fields);
        let signature = [&[0][..], &self.key.sign(&signed).unwrap()].concat();
        let algorithm = certificate.next().unwrap().whole;
        let bits = element(0x03, &signature);
        let der = element(der::SEQUENCE, &[&signed[..], algorithm, &bits].concat());
        Self {
            der: der.into(),
            key: self.key,
        }
    }

    pub(super) fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.serialize_der()).into()
    }

    pub(super) fn certified(&self) -> Arc<CertifiedKey> {
        certified(vec![self.der.clone()], self.private_key())
    }

    pub(super) fn pem(&self) -> String {
        pem(&self.der)
    }
}

pub(super) fn pem(certificate: &CertificateDer<'_>) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(certificate);
    format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
}

fn element(tag: u8, contents: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(contents.len()).unwrap().to_be_bytes();
    let length = match contents.len() {
        0..=0x7f => vec![low],
        0x80..=0xff => vec![0x81, low],
        _ => vec![0x82, high, low],
    };
    [&[tag], &length[..], contents].concat()
}

/// An RSA key of 2048 bits, in the form that signs certificates, too.
pub(super) fn rsa_key() -> PrivatePkcs8KeyDer<'static> {
    const ALGORITHM: &[u8] = &[
        0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0,
    ];
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/data/stores/key-pkcs1.pem"
    );
    let key = PrivateKeyDer::from_pem_slice(&std::fs::read(path).unwrap()).unwrap();
    let key = element(0x04, key.secret_der());
    element(der::SEQUENCE, &[&[2, 1, 0], ALGORITHM, &key].concat()).into()
}

/// Joins a chain and a key that need not belong together.
pub(super) fn certified(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Arc<CertifiedKey> {
    let key = provider()
        .unwrap()
        .key_provider
        .load_private_key(key)
        .unwrap();
    Arc::new(CertifiedKey::new(chain, key))
}

/// Shows one certificate to everybody, without a check.
#[derive(Debug)]
struct Shows(Arc<CertifiedKey>);

impl ResolvesServerCert for Shows {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

/// A server that shows this certificate and asks for none.
pub(super) fn server(shown: Arc<CertifiedKey>, versions: Versions) -> Arc<ServerConfig> {
    let builder = ServerConfig::builder_with_provider(Arc::new(provider().unwrap()))
        .with_protocol_versions(&versions.supported())
        .unwrap();
    let config = builder
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Shows(shown)));
    Arc::new(config)
}

/// Connects a client to a server, and lets both say all that they want to say. The error is the client's.
pub(super) fn connect(
    client: &TlsClient,
    host: &str,
    server: &Arc<ServerConfig>,
) -> Result<(ClientConnection, ServerConnection), Error> {
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut ours = client.connection(host, deadline)?;
    let mut theirs = ServerConnection::new(Arc::clone(server)).unwrap();
    let (mut to_server, mut to_client) = (Vec::new(), Vec::new());
    loop {
        while ours.wants_write() {
            ours.write_tls(&mut to_server).unwrap();
        }
        if !to_server.is_empty() {
            theirs.read_tls(&mut &to_server[..]).unwrap();
            to_server.clear();
        }
        // A refusal: the alert tells the client.
        let _ = theirs.process_new_packets();
        while theirs.wants_write() {
            theirs.write_tls(&mut to_client).unwrap();
        }
        if to_client.is_empty() && !ours.wants_write() {
            return Ok((ours, theirs));
        }
        if !to_client.is_empty() {
            ours.read_tls(&mut &to_client[..]).unwrap();
            to_client.clear();
            let processed = ours.process_new_packets();
            processed.map_err(|error| client.error_of(&error))?;
        }
    }
}

#[track_caller]
pub(super) fn assert_sentence(error: &Error, message: &str, advice: &str) {
    assert_eq!(error.message(), message);
    assert_eq!(error.kind(), crate::error::ErrorKind::Tls);
    let shown = error.to_string();
    assert!(shown.contains(advice), "{advice}: {shown}");
}
