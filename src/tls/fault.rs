//! Why a TLS handshake failed, as a sentence with advice.

use std::borrow::Cow;
use std::fmt;

use rustls::{
    AlertDescription, CertificateError, Error as RustlsError, InvalidMessage, PeerIncompatible,
};

use super::settings::Peer;
use crate::error::{Error, ErrorKind};

const PROTOCOLS: &str = "ssl.enabled.protocols";

/// What is wrong with a peer's certificate, and what to do. It passes through rustls as
/// [`CertificateError::Other`].
#[derive(Debug)]
pub(super) struct CertificateFault {
    pub(super) message: String,
    pub(super) advice: Cow<'static, str>,
}

impl fmt::Display for CertificateFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for CertificateFault {}

impl From<CertificateFault> for RustlsError {
    fn from(fault: CertificateFault) -> Self {
        CertificateError::Other(rustls::OtherError(std::sync::Arc::new(fault))).into()
    }
}

/// What the client did about the peer's request for a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClientCertificate {
    /// The peer has asked for none.
    NotAsked,
    /// No key store is set.
    NoKeyStore,
    /// No entry of the key store fits what the peer accepts.
    NoneFits,
    Sent,
    /// As `Sent`. The certificate has expired or is not valid yet, by the clock of this machine.
    SentOutOfDate,
}

/// Makes the error of a connection on which rustls reported `error`.
pub(super) fn error_of(error: &RustlsError, sent: ClientCertificate, peer: Peer) -> Error {
    match error {
        RustlsError::InvalidCertificate(CertificateError::Other(other)) => {
            match other.0.downcast_ref::<CertificateFault>() {
                Some(fault) => tls_error(fault.message.clone(), fault.advice.clone()),
                None => tls_error(
                    format!("the {peer}'s certificate is not valid: {error}"),
                    "",
                ),
            }
        }
        RustlsError::AlertReceived(alert) => error_of_alert(*alert, sent, peer),
        RustlsError::InvalidMessage(InvalidMessage::InvalidContentType) => tls_error(
            format!("the {peer}'s bytes are not TLS"),
            "check the port: the listener may be one without TLS (security.protocol=PLAINTEXT or SASL_PLAINTEXT), or no \
             broker at all",
        ),
        RustlsError::PeerIncompatible(reason) => error_of_incompatible_peer(reason, peer),
        _ => tls_error(format!("the TLS connection failed: {error}"), ""),
    }
}

fn error_of_incompatible_peer(reason: &PeerIncompatible, peer: Peer) -> Error {
    match reason {
        PeerIncompatible::ServerDoesNotSupportTls12Or13 => tls_error(
            format!("the {peer} has neither TLS 1.2 nor TLS 1.3"),
            format!(
                "enable TLSv1.2 or TLSv1.3 in {}",
                peer.own_setting(PROTOCOLS)
            ),
        ),
        PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig => tls_error(
            format!(
                "the {peer} chose a TLS version that ssl.enabled.protocols or ssl.protocol excludes"
            ),
            format!(
                "enable the version here, or another one in {}",
                peer.own_setting(PROTOCOLS)
            ),
        ),
        PeerIncompatible::NoCipherSuitesInCommon => no_common_suite(peer),
        _ => tls_error(
            format!("the {peer} and this client cannot agree on TLS: {reason:?}"),
            "compare ssl.enabled.protocols and ssl.cipher.suites of both sides",
        ),
    }
}

/// What a peer reports in an alert. Java's and other brokers use different alerts for the same fault.
fn error_of_alert(alert: AlertDescription, sent: ClientCertificate, peer: Peer) -> Error {
    use AlertDescription::{
        HandshakeFailure, InsufficientSecurity, InternalError, ProtocolVersion, UnrecognisedName,
    };
    if let Some(error) = error_of_client_certificate(alert, sent, peer) {
        return error;
    }
    match alert {
        HandshakeFailure | InsufficientSecurity => no_common_suite(peer),
        ProtocolVersion => tls_error(
            format!("the {peer} and this client have no TLS version in common"),
            "compare ssl.enabled.protocols and ssl.protocol of both sides; ssl.cipher.suites with suites of one version only \
             excludes the other version, too",
        ),
        UnrecognisedName => tls_error(
            format!(
                "the {peer}, or a proxy before it, does not know the host name of this connection"
            ),
            format!("check {}", peer.host_settings()),
        ),
        InternalError => tls_error(
            format!("the {peer} reports an internal error in the TLS handshake"),
            format!("see the {peer}'s log; a server that gets bytes without TLS also answers so"),
        ),
        _ => tls_error(
            format!("the {peer} ended the TLS connection (alert {alert:?})"),
            format!("see the {peer}'s log"),
        ),
    }
}

/// Makes the error of an alert that is about the client's certificate.
fn error_of_client_certificate(
    alert: AlertDescription,
    sent: ClientCertificate,
    peer: Peer,
) -> Option<Error> {
    use AlertDescription::{
        AccessDenied, BadCertificate, CertificateExpired, CertificateRequired, CertificateUnknown,
        DecryptError, HandshakeFailure, UnknownCA, UnsupportedCertificate,
    };
    Some(match (alert, sent) {
        (
            BadCertificate | CertificateRequired | HandshakeFailure | CertificateUnknown,
            ClientCertificate::NoKeyStore,
        ) => tls_error(
            format!("the {peer} demands a client certificate (alert {alert:?})"),
            "set ssl.keystore.location, or ssl.keystore.key and ssl.keystore.certificate.chain",
        ),
        (
            BadCertificate | CertificateRequired | HandshakeFailure | CertificateUnknown,
            ClientCertificate::NoneFits,
        ) => no_fitting_certificate(alert, peer),
        (CertificateExpired, _) => tls_error(
            format!("the {peer} says that the client's certificate has expired"),
            format!("renew the certificate of the key store, or check the {peer}'s clock"),
        ),
        (
            BadCertificate
            | CertificateUnknown
            | UnknownCA
            | UnsupportedCertificate
            | AccessDenied
            | DecryptError,
            ClientCertificate::SentOutOfDate,
        ) => tls_error(
            format!(
                "the {peer} does not accept the client's certificate, which is out of date (alert {alert:?})"
            ),
            "renew the certificate of the key store, or check this machine's clock",
        ),
        (
            BadCertificate
            | CertificateUnknown
            | UnknownCA
            | UnsupportedCertificate
            | AccessDenied
            | DecryptError,
            ClientCertificate::Sent,
        ) => tls_error(
            format!("the {peer} does not accept the client's certificate (alert {alert:?})"),
            format!(
                "check that the {peer}'s trust store has the issuer of the key store's certificate"
            ),
        ),
        _ => return None,
    })
}

fn no_fitting_certificate(alert: AlertDescription, peer: Peer) -> Error {
    tls_error(
        format!(
            "the {peer} demands a client certificate, and no entry of the key store is signed by an issuer that it accepts \
             (alert {alert:?})"
        ),
        format!(
            "put a certificate into the key store that one of the issuers in the {peer}'s trust store has signed, or add its \
             issuer there"
        ),
    )
}

fn no_common_suite(peer: Peer) -> Error {
    tls_error(
        format!("the {peer} and this client have no cipher suite in common"),
        "compare ssl.cipher.suites and ssl.enabled.protocols of both sides; suites without forward secrecy and suites with \
         CBC are not available here",
    )
}

/// Makes an error of TLS. An empty `advice` keeps the usual one.
pub(super) fn tls_error(
    message: impl Into<Cow<'static, str>>,
    advice: impl Into<Cow<'static, str>>,
) -> Error {
    let error = Error::new(ErrorKind::Tls, message);
    match advice.into() {
        advice if advice.is_empty() => error,
        advice => error.with_advice(advice),
    }
}

#[cfg(test)]
mod tests;
