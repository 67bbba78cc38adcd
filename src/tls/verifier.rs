//! Decides whether a peer's certificate is accepted.
//!
//! rustls verifies the chain, the dates, the purpose and the name. This adds what Java's clients allow besides: a
//! certificate that is itself in the trust store needs no chain, and `ssl.endpoint.identification.algorithm=` switches the
//! check of the name off. Each refusal becomes a sentence, made here because only here are the certificates at hand.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, DigitallySignedStruct, Error as RustlsError, RootCertStore, SignatureScheme,
};

use super::certificate::{Certificate, Name, list, unix_time_text};
use super::fault::{CertificateFault, tls_error};
use super::settings::Peer;
use crate::error::Error;

/// What the user trusts.
#[derive(Debug)]
pub(super) struct Anchors {
    pub(super) certificates: Vec<CertificateDer<'static>>,
    /// Where they come from, as a phrase for messages, such as `ssl.truststore.location=/etc/kafka/trust.jks`.
    pub(super) origin: String,
    /// Whether the user named them, and not the system. Only such a certificate is accepted without a chain.
    pub(super) are_configured: bool,
}

#[derive(Debug)]
pub(super) struct Verifier {
    anchors: Anchors,
    peer: Peer,
    /// Whether the certificate must name the host.
    checks_name: bool,
    chains: Arc<WebPkiServerVerifier>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    /// Returns an error if the anchors have no usable certificate.
    pub(super) fn new(
        anchors: Anchors,
        peer: Peer,
        checks_name: bool,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, Error> {
        let mut roots = RootCertStore::empty();
        let (usable, _) = roots.add_parsable_certificates(anchors.certificates.iter().cloned());
        if usable == 0 {
            let message = format!("{} has no certificate to trust", anchors.origin);
            let advice = format!("add the certificate of the issuer of the {peer}'s certificate");
            return Err(tls_error(message, advice));
        }
        let chains =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
        let chains = chains
            .build()
            .map_err(|error| tls_error(format!("{} is not usable: {error}", anchors.origin), ""))?;
        Ok(Self {
            anchors,
            peer,
            checks_name,
            chains,
            algorithms: provider.signature_verification_algorithms,
        })
    }

    fn is_pinned(&self, certificate: &CertificateDer<'_>) -> bool {
        let anchors = &self.anchors;
        anchors.are_configured
            && anchors
                .certificates
                .iter()
                .any(|known| known == certificate)
    }

    /// Checks a certificate that the user named: its dates and its name. The signature of the handshake, which proves that
    /// the peer has the key, is checked apart as for any other.
    fn verify_pinned(
        &self,
        certificate: &CertificateDer<'_>,
        host: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), RustlsError> {
        let Some(contents) = Certificate::read(certificate) else {
            return Err(CertificateError::BadEncoding.into());
        };
        if !contents.is_valid_at(now) {
            return Err(out_of_date(&self.own(), &contents, now).into());
        }
        if self.checks_name && !names_host(&contents, host) {
            return Err(wrong_name(self.peer, &contents, host).into());
        }
        Ok(())
    }

    /// Makes the sentence for a certificate that rustls refused.
    fn explain(
        &self,
        error: RustlsError,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        host: &ServerName<'_>,
        now: UnixTime,
    ) -> RustlsError {
        let RustlsError::InvalidCertificate(fault) = &error else {
            return error;
        };
        let Some(contents) = Certificate::read(certificate) else {
            let message = format!("the {}'s certificate is damaged", self.peer);
            return fault_of(message, "renew it").into();
        };
        if contents.is_older_than_version_3() {
            return old_version(self.peer, &contents).into();
        }
        let chain = std::iter::once(certificate).chain(intermediates);
        match fault {
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => {
                let issuers = intermediates.iter().filter_map(Certificate::read);
                let mut invalid = issuers.filter(|contents| !contents.is_valid_at(now));
                match invalid.next() {
                    Some(issuer) if contents.is_valid_at(now) => {
                        let whose =
                            format!("the issuer's certificate in the {}'s chain", self.peer);
                        out_of_date(&whose, &issuer, now).into()
                    }
                    _ => out_of_date(&self.own(), &contents, now).into(),
                }
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                wrong_name(self.peer, &contents, host).into()
            }
            CertificateError::UnknownIssuer => {
                let last = chain.last().and_then(Certificate::read);
                self.unknown_issuer(last.as_ref().unwrap_or(&contents))
                    .into()
            }
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
                wrong_purpose(self.peer, &contents).into()
            }
            _ => {
                let chain: Vec<_> = chain.filter_map(Certificate::read).collect();
                if let Some(short) = chain.iter().find(|contents| has_short_key(contents)) {
                    return short_key(self.peer, short).into();
                }
                let signed = chain.iter().find(|contents| self.trusts_namesake(contents));
                match signed {
                    Some(signed) if is_about_a_signature(fault) => self.namesake(signed).into(),
                    _ => other_fault(self.peer, &contents, fault).into(),
                }
            }
        }
    }

    /// Returns how messages name the certificate that the peer shows as its own.
    fn own(&self) -> String {
        format!("the {}'s certificate", self.peer)
    }

    /// Returns whether a trusted certificate has the name of the issuer of this one.
    fn trusts_namesake(&self, contents: &Certificate<'_>) -> bool {
        let mut trusted = self.anchors.certificates.iter();
        trusted.any(|trusted| {
            Certificate::read(trusted)
                .is_some_and(|trusted| trusted.subject_der() == contents.issuer_der())
        })
    }

    /// Makes the sentence for a certificate whose issuer is trusted by its name, and has another key than the trusted one.
    fn namesake(&self, contents: &Certificate<'_>) -> CertificateFault {
        let issuer = crate::error::printable(&contents.issuer());
        let message = format!(
            "{} is signed by another \"{issuer}\" than the one of {}: the names are equal and the keys are not",
            self.own(),
            self.anchors.origin
        );
        let advice = match self.anchors.are_configured {
            true => format!(
                "the issuer has been made anew, or another one has taken its name. If the {peer} is the right one, get the \
                 issuer's certificate of today from those who run the {peer}, and add it to this trust store: openssl \
                 x509 -noout -fingerprint -in FILE tells two of them apart",
                peer = self.peer
            ),
            false => self.peer.name_a_trust_store().to_owned(),
        };
        fault_of(message, advice)
    }

    /// Makes the sentence for a signature of the handshake that is not valid.
    fn explain_signature(
        &self,
        error: RustlsError,
        certificate: &CertificateDer<'_>,
    ) -> RustlsError {
        let RustlsError::InvalidCertificate(fault) = &error else {
            return error;
        };
        match Certificate::read(certificate) {
            Some(contents) if has_short_key(&contents) => short_key(self.peer, &contents).into(),
            // webpki reads no certificate of version 1. It comes so far only if it is itself in the trust store.
            Some(contents)
                if *fault == CertificateError::BadSignature
                    || contents.is_older_than_version_3() =>
            {
                without_key(self.peer, &contents).into()
            }
            _ => error,
        }
    }

    fn unknown_issuer(&self, contents: &Certificate<'_>) -> CertificateFault {
        let anchors = &self.anchors;
        let known = match anchors.certificates.len() {
            1 => "not the one certificate".to_owned(),
            count => format!("not among the {count} certificates"),
        };
        let message = format!(
            "the {}'s certificate is signed by \"{}\", which is {known} of {}",
            self.peer,
            crate::error::printable(&contents.issuer()),
            anchors.origin,
        );
        let advice = match anchors.are_configured {
            true => "add the issuer's certificate to this trust store",
            false => self.peer.name_a_trust_store(),
        };
        fault_of(message, advice)
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, RustlsError> {
        if self.is_pinned(end_entity) {
            self.verify_pinned(end_entity, server_name, now)?;
            return Ok(ServerCertVerified::assertion());
        }
        let verified = self.chains.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        match verified {
            // rustls checks the name last: all else is in order.
            Err(RustlsError::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if !self.checks_name => Ok(ServerCertVerified::assertion()),
            Err(error) => Err(self.explain(error, end_entity, intermediates, server_name, now)),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, RustlsError> {
        match verify_tls12_signature(message, cert, dss, &self.algorithms) {
            Err(error) => self
                .verify_by_raw_key(message, cert, dss)
                .ok_or_else(|| self.explain_signature(error, cert)),
            valid => valid,
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, RustlsError> {
        match verify_tls13_signature(message, cert, dss, &self.algorithms) {
            Err(error) if is_tls13_scheme(dss.scheme) => self
                .verify_by_raw_key(message, cert, dss)
                .ok_or_else(|| self.explain_signature(error, cert)),
            verified => verified,
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl Verifier {
    /// Checks a signature with the key of a certificate of version 1, which rustls does not read. Such a certificate comes
    /// so far only if it is itself in the trust store. `None` if the signature is not valid.
    fn verify_by_raw_key(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Option<HandshakeSignatureValid> {
        let contents = Certificate::read(certificate)?;
        if !contents.is_older_than_version_3() || !self.is_pinned(certificate) {
            return None;
        }
        let (key, key_algorithm) = contents.public_key()?;
        let schemes = self.algorithms.mapping.iter();
        let (_, algorithms) = schemes
            .into_iter()
            .find(|(scheme, _)| *scheme == signed.scheme)?;
        let is_valid = algorithms.iter().any(|algorithm| {
            algorithm.public_key_alg_id().as_ref() == key_algorithm
                && algorithm
                    .verify_signature(key, message, signed.signature())
                    .is_ok()
        });
        is_valid.then(HandshakeSignatureValid::assertion)
    }
}

/// TLS 1.3 has no RSA signatures with PKCS#1 padding, and no SHA-1 (RFC 8446, 4.2.3).
fn is_tls13_scheme(scheme: SignatureScheme) -> bool {
    use SignatureScheme::{
        ECDSA_SHA1_Legacy, RSA_PKCS1_SHA1, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512,
    };
    !matches!(
        scheme,
        RSA_PKCS1_SHA1 | RSA_PKCS1_SHA256 | RSA_PKCS1_SHA384 | RSA_PKCS1_SHA512 | ECDSA_SHA1_Legacy
    )
}

/// Returns whether a certificate that the user named is for `host`. A certificate without subjectAltName names hosts by its
/// common name, as in Java.
fn names_host(contents: &Certificate<'_>, host: &ServerName<'_>) -> bool {
    let names = contents.names();
    match host {
        ServerName::IpAddress(address) => {
            let address = std::net::IpAddr::from(*address);
            names.contains(&Name::Ip(address))
        }
        ServerName::DnsName(host) => {
            let dns: Vec<_> = names
                .iter()
                .filter_map(|name| match name {
                    Name::Dns(name) => Some(name.clone()),
                    Name::Ip(_) => None,
                })
                .collect();
            let names = match dns.is_empty() && contents.has_readable_names() {
                true => contents.common_names(),
                false => dns,
            };
            names.iter().any(|name| matches_host(name, host.as_ref()))
        }
        _ => false,
    }
}

/// Returns whether a name of a certificate is for `host`. `*` stands for the whole first label (RFC 6125).
fn matches_host(name: &str, host: &str) -> bool {
    let host = host.trim_end_matches('.');
    match name.strip_prefix("*.") {
        Some(domain) => host.split_once('.').is_some_and(|(label, rest)| {
            !label.is_empty() && domain.contains('.') && rest.eq_ignore_ascii_case(domain)
        }),
        None => name.eq_ignore_ascii_case(host),
    }
}

fn fault_of(
    message: String,
    advice: impl Into<std::borrow::Cow<'static, str>>,
) -> CertificateFault {
    CertificateFault {
        message,
        advice: advice.into(),
    }
}

/// The largest difference, in seconds, for which the message says that a clock may be wrong: one that is set to the time of
/// another time zone, for example.
const LIKELY_SKEW: u64 = 24 * 60 * 60;

fn out_of_date(whose: &str, contents: &Certificate<'_>, now: UnixTime) -> CertificateFault {
    let subject = crate::error::printable(&contents.subject());
    let (from, until) = (contents.not_before(), contents.not_after());
    let (now_text, now) = (unix_time_text(now), now.as_secs());
    let has_expired = contents.not_after_seconds() < now;
    let (fact, off) = match has_expired {
        true => (
            format!("expired on {until}"),
            now - contents.not_after_seconds(),
        ),
        false => (
            format!("is not valid before {from}"),
            contents.not_before_seconds().saturating_sub(now),
        ),
    };
    let message = format!("{whose} (\"{subject}\") {fact}");
    if off <= LIKELY_SKEW {
        let (side, renewal) = match has_expired {
            true => ("after", "renew the certificate"),
            false => ("before", "wait, or issue the certificate again"),
        };
        return fault_of(
            format!(
                "{message}, and this machine's clock says {now_text}, {} {side} that",
                duration_text(off)
            ),
            format!("check this machine's clock; if it is right, {renewal}"),
        );
    }
    let advice = match has_expired {
        true => "renew the certificate".to_owned(),
        false => format!(
            "use a certificate that is valid already; or set this machine's clock right, which says {now_text}"
        ),
    };
    fault_of(message, advice)
}

/// Returns a number of seconds in the largest unit of which there are two at least.
fn duration_text(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7199 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3600),
    }
}

fn wrong_name(peer: Peer, contents: &Certificate<'_>, host: &ServerName<'_>) -> CertificateFault {
    let host = host.to_str();
    let names = contents.names();
    let kind = match host.parse::<std::net::IpAddr>() {
        Ok(_) => "IP",
        Err(_) => "DNS",
    };
    let has = match (&names[..], &contents.common_names()[..]) {
        ([], []) => "it names no host".to_owned(),
        ([], common) => format!(
            "it has a common name only (CN={}), and no subjectAltName",
            crate::error::printable(&common.join(", "))
        ),
        (names, _) => format!("it names {}", list(names)),
    };
    let advice = format!(
        "connect by a name that the certificate has ({}), or issue it with keytool -gencert -ext SAN={kind}:{host}; \
         ssl.endpoint.identification.algorithm= switches this check off",
        peer.host_settings()
    );
    fault_of(
        format!("the {peer}'s certificate is not for {host}: {has}"),
        advice,
    )
}

fn old_version(peer: Peer, contents: &Certificate<'_>) -> CertificateFault {
    let subject = crate::error::printable(&contents.subject());
    fault_of(
        format!(
            "the {peer}'s certificate (\"{subject}\") is of X.509 version 1, which cannot name hosts"
        ),
        "issue it again with a subjectAltName, which makes it version 3: openssl x509 -req ... -extfile san.cnf with the \
         line subjectAltName=DNS:broker.example.com, or keytool -gencert -ext SAN=DNS:broker.example.com",
    )
}

fn wrong_purpose(peer: Peer, contents: &Certificate<'_>) -> CertificateFault {
    let subject = crate::error::printable(&contents.subject());
    fault_of(
        format!(
            "the {peer}'s certificate (\"{subject}\") is not for servers: its extended key usage lacks serverAuth"
        ),
        "issue it again with serverAuth: keytool -gencert -ext EKU=serverAuth,clientAuth",
    )
}

/// The shortest RSA key, in bits, whose signatures the providers verify.
const SHORTEST_RSA: usize = 2048;

fn has_short_key(contents: &Certificate<'_>) -> bool {
    contents.rsa_bits().is_some_and(|bits| bits < SHORTEST_RSA)
}

fn short_key(peer: Peer, contents: &Certificate<'_>) -> CertificateFault {
    let subject = crate::error::printable(&contents.subject());
    let bits = contents.rsa_bits().unwrap_or(0);
    fault_of(
        format!(
            "the {peer}'s chain has a certificate (\"{subject}\") with an RSA key of {bits} bits: {SHORTEST_RSA} is the least"
        ),
        "make a longer key: keytool -genkeypair -keyalg RSA -keysize 2048",
    )
}

/// Returns whether an issuer with the right name and another key can be the reason.
fn is_about_a_signature(fault: &CertificateError) -> bool {
    // Another kind of key does not fit the algorithm of the signature, and webpki says so first.
    matches!(
        fault,
        CertificateError::BadSignature
            | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. }
    )
}

fn without_key(peer: Peer, contents: &Certificate<'_>) -> CertificateFault {
    let subject = crate::error::printable(&contents.subject());
    fault_of(
        format!(
            "the {peer} shows the certificate \"{subject}\" and does not have its private key: the signature of the \
             handshake is not valid"
        ),
        format!(
            "check that the address is the {peer}'s, and that the {peer} has the key of this certificate"
        ),
    )
}

fn other_fault(
    peer: Peer,
    contents: &Certificate<'_>,
    fault: &CertificateError,
) -> CertificateFault {
    let subject = crate::error::printable(&contents.subject());
    let reason = fault.to_string();
    // What webpki says of an issuer's certificate that a peer uses as its own.
    if reason.contains("CaUsedAsEndEntity") {
        return fault_of(
            format!("the {peer}'s certificate (\"{subject}\") is one of an issuer (CA:TRUE)"),
            format!(
                "give the {peer} a certificate of its own, or put this very certificate into the trust store"
            ),
        );
    }
    fault_of(
        format!("the {peer}'s certificate (\"{subject}\") is not accepted: {reason}"),
        "",
    )
}

#[cfg(all(test, feature = "mock-tls"))]
mod tests;
