//! Certificates: the authority of a cluster, and what it issues.

use std::fmt;
use std::io;
use std::ops::RangeInclusive;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::certificate::X509Certificate;
use x509_parser::objects::{oid_registry, oid2abbrev};
use x509_parser::prelude::FromDer;
use x509_parser::x509::AttributeTypeAndValue;

use super::invalid;
use crate::secret::Secret;

/// A certificate with its private key, in PEM (Cargo feature `mock-tls`). `Debug` does not show the key.
#[derive(Clone, Debug)]
pub struct MockCertificate {
    chain: String,
    key: Secret,
}

impl MockCertificate {
    /// Makes a certificate of its PEM texts: the certificate, followed by those of its issuers if a peer does not have
    /// them, and the key in PKCS#8, PKCS#1 or SEC1 form.
    /// [`MockClusterBuilder::start`](crate::mock::MockClusterBuilder::start) checks them.
    pub fn from_pem(certificate_chain: &str, private_key: &str) -> Self {
        Self {
            chain: certificate_chain.to_owned(),
            key: Secret::from(private_key),
        }
    }

    /// Returns the certificate, which the setting `ssl.keystore.certificate.chain` takes.
    pub fn certificate_pem(&self) -> &str {
        &self.chain
    }

    /// Returns the private key, which the setting `ssl.keystore.key` takes.
    pub fn private_key_pem(&self) -> &str {
        self.key.reveal()
    }

    pub(super) fn chain(&self) -> io::Result<Vec<CertificateDer<'static>>> {
        certificates(&self.chain)
    }

    pub(super) fn key(&self) -> io::Result<PrivateKeyDer<'static>> {
        PrivateKeyDer::from_pem_slice(self.key.reveal().as_bytes()).map_err(invalid)
    }

    fn new(certificate: &rcgen::Certificate, key: &KeyPair) -> Self {
        Self {
            chain: pem("CERTIFICATE", certificate.der()),
            key: pem("PRIVATE KEY", key.serialized_der()).into(),
        }
    }
}

/// The certificate that brokers use (Cargo feature `mock-tls`). Except for [`Given`](Self::Given), the cluster makes a new
/// one with a new key each time.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum BrokerCertificate {
    /// A certificate of the cluster's authority for `127.0.0.1` and `localhost`.
    #[default]
    Valid,
    /// Like `Valid`, but its validity has ended.
    Expired,
    /// Like `Valid`, but its validity has not begun.
    NotYetValid,
    /// Like `Valid`, but only for the host `other-host.test`.
    OtherHost,
    /// Like `Valid`, but of another authority, which no client trusts.
    OtherAuthority,
    /// Like `Valid`, but without an authority: only a client that trusts this very certificate accepts it.
    SelfSigned,
    /// This certificate.
    Given(MockCertificate),
}

/// The validity of a certificate, in days from now: the clock of a peer may be behind.
const VALID: RangeInclusive<i64> = -1..=3650;

/// A certificate authority with a name of its own.
pub(super) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(super) fn generate() -> io::Result<Self> {
        let name = format!("MockCluster authority {:08x}", fastrand::u32(..));
        let mut parameters = parameters(&name, &[]).map_err(io::Error::other)?;
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let issuer = CertifiedIssuer::self_signed(parameters, key).map_err(io::Error::other)?;
        Ok(Self(issuer))
    }

    pub(super) fn pem(&self) -> String {
        pem("CERTIFICATE", self.certificate())
    }

    pub(super) fn certificate(&self) -> &CertificateDer<'static> {
        self.0.der()
    }

    /// Returns the certificate that `kind` describes.
    pub(super) fn broker_certificate(
        &self,
        kind: &BrokerCertificate,
    ) -> io::Result<MockCertificate> {
        let own_hosts = ["127.0.0.1", "localhost"];
        let (hosts, days) = match kind {
            BrokerCertificate::Given(certificate) => return Ok(certificate.clone()),
            BrokerCertificate::OtherAuthority => {
                return Self::generate()?.broker_certificate(&BrokerCertificate::Valid);
            }
            BrokerCertificate::Valid | BrokerCertificate::SelfSigned => (&own_hosts[..], VALID),
            BrokerCertificate::Expired => (&own_hosts[..], -10..=-5),
            BrokerCertificate::NotYetValid => (&own_hosts[..], 5..=10),
            BrokerCertificate::OtherHost => (&["other-host.test"][..], VALID),
        };
        let make = || {
            let mut parameters = parameters(hosts[0], hosts)?;
            set_validity(&mut parameters, days.clone());
            parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            match kind {
                BrokerCertificate::SelfSigned => {
                    let key = KeyPair::generate()?;
                    Ok(MockCertificate::new(&parameters.self_signed(&key)?, &key))
                }
                _ => self.issue(parameters),
            }
        };
        make().map_err(|error: rcgen::Error| io::Error::other(error))
    }

    /// Returns a certificate for a client with the subject `CN=common_name`.
    pub(super) fn client_certificate(&self, common_name: &str) -> io::Result<MockCertificate> {
        let make = || {
            let mut parameters = parameters(common_name, &[])?;
            set_validity(&mut parameters, VALID);
            parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            self.issue(parameters)
        };
        make().map_err(|error: rcgen::Error| io::Error::other(error))
    }

    fn issue(&self, mut parameters: CertificateParams) -> Result<MockCertificate, rcgen::Error> {
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = parameters.signed_by(&key, &self.0)?;
        Ok(MockCertificate::new(&certificate, &key))
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

fn parameters(common_name: &str, hosts: &[&str]) -> Result<CertificateParams, rcgen::Error> {
    let hosts: Vec<_> = hosts.iter().map(|host| (*host).to_owned()).collect();
    let mut parameters = CertificateParams::new(hosts)?;
    parameters.distinguished_name = rcgen::DistinguishedName::new();
    parameters
        .distinguished_name
        .push(DnType::CommonName, common_name);
    Ok(parameters)
}

/// Sets the first and the last day of the validity, in days from now.
fn set_validity(parameters: &mut CertificateParams, days: RangeInclusive<i64>) {
    const DAY: i64 = 24 * 60 * 60;
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = i64::try_from(since_1970.unwrap_or_default().as_secs()).unwrap_or(0);
    let seconds = |days: i64| Duration::from_secs(now.saturating_add(days * DAY).unsigned_abs());
    parameters.not_before = rcgen::date_time_ymd(1970, 1, 1) + seconds(*days.start());
    parameters.not_after = rcgen::date_time_ymd(1970, 1, 1) + seconds(*days.end());
}

/// Returns the subject of a certificate in the form of Kafka's principals: `CN=alice,O=Example`.
pub(super) fn subject(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let mut parts: Vec<_> = certificate.subject().iter_attributes().map(part).collect();
    // A certificate has the widest part first.
    parts.reverse();
    Some(parts.join(","))
}

fn part(attribute: &AttributeTypeAndValue<'_>) -> String {
    let name = attribute.attr_type();
    let value = attribute.as_str().unwrap_or("?");
    match oid2abbrev(name, oid_registry()) {
        Ok(abbreviation) => format!("{abbreviation}={value}"),
        Err(_) => format!("{name}={value}"),
    }
}

/// Reads the certificates of a text. An empty text has none.
pub(super) fn certificates(pem: &str) -> io::Result<Vec<CertificateDer<'static>>> {
    let certificates = CertificateDer::pem_slice_iter(pem.as_bytes());
    certificates.collect::<Result<_, _>>().map_err(invalid)
}

fn pem(label: &str, der: &[u8]) -> String {
    const LINE: usize = 64;
    let text = STANDARD.encode(der);
    let mut pem = format!("-----BEGIN {label}-----\n");
    for start in (0..text.len()).step_by(LINE) {
        pem.push_str(&text[start..text.len().min(start + LINE)]);
        pem.push('\n');
    }
    pem.push_str(&format!("-----END {label}-----\n"));
    pem
}
