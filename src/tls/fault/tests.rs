use rustls::PeerMisbehaved;

use super::*;

fn of_broker(error: &RustlsError, sent: ClientCertificate) -> Error {
    error_of(error, sent, Peer::Broker)
}

use AlertDescription::*;
use ClientCertificate::{NoKeyStore, NoneFits, NotAsked, Sent, SentOutOfDate};

#[track_caller]
fn assert_sentence(error: &Error, message: &str, advice: &str) {
    assert_eq!(error.message(), message);
    assert_eq!(error.kind(), ErrorKind::Tls);
    let shown = error.to_string();
    assert!(shown.contains(advice), "{advice}: {shown}");
}

const NO_SUITE: &str = "the broker and this client have no cipher suite in common";

/// An alert's row: the alerts, what the client has done about a certificate before, message and advice.
type Row = (
    &'static [AlertDescription],
    ClientCertificate,
    &'static str,
    &'static str,
);

const ALERTS: &[Row] = &[
    (
        &[
            BadCertificate,
            CertificateRequired,
            HandshakeFailure,
            CertificateUnknown,
        ],
        NoKeyStore,
        "the broker demands a client certificate (alert {alert})",
        "set ssl.keystore.location, or ssl.keystore.key and ssl.keystore.certificate.chain",
    ),
    (
        &[
            BadCertificate,
            CertificateRequired,
            HandshakeFailure,
            CertificateUnknown,
        ],
        NoneFits,
        "the broker demands a client certificate, and no entry of the key store is signed by an issuer that it \
             accepts (alert {alert})",
        "put a certificate into the key store that one of the issuers in the broker's trust store has signed",
    ),
    (
        &[
            BadCertificate,
            CertificateUnknown,
            UnknownCA,
            UnsupportedCertificate,
            AccessDenied,
            DecryptError,
        ],
        Sent,
        "the broker does not accept the client's certificate (alert {alert})",
        "check that the broker's trust store has the issuer of the key store's certificate",
    ),
    (
        &[BadCertificate, CertificateUnknown, UnknownCA],
        SentOutOfDate,
        "the broker does not accept the client's certificate, which is out of date (alert {alert})",
        "renew the certificate of the key store",
    ),
    (
        &[CertificateExpired],
        Sent,
        "the broker says that the client's certificate has expired",
        "renew the certificate of the key store, or check the broker's clock",
    ),
    (&[HandshakeFailure], Sent, NO_SUITE, "ssl.cipher.suites"),
    (
        &[HandshakeFailure, InsufficientSecurity],
        NotAsked,
        NO_SUITE,
        "suites with CBC are not available here",
    ),
    (
        &[ProtocolVersion],
        NotAsked,
        "the broker and this client have no TLS version in common",
        "compare ssl.enabled.protocols and ssl.protocol of both sides",
    ),
    (
        &[UnrecognisedName],
        NotAsked,
        "the broker, or a proxy before it, does not know the host name of this connection",
        "check bootstrap.servers and advertised.listeners",
    ),
    (
        &[InternalError],
        NotAsked,
        "the broker reports an internal error in the TLS handshake",
        "see the broker's log",
    ),
    (
        &[BadCertificate, UserCanceled, NoRenegotiation],
        NotAsked,
        "the broker ended the TLS connection (alert {alert})",
        "see the broker's log",
    ),
];

/// Each alert that a broker may send, with what the client has done about a certificate before.
#[test]
fn each_alert_of_a_broker_has_its_sentence() {
    for (alerts, sent, message, advice) in ALERTS {
        for alert in *alerts {
            let error = of_broker(&RustlsError::AlertReceived(*alert), *sent);
            let message = message.replace("{alert}", &format!("{alert:?}"));
            assert_sentence(&error, &message, advice);
        }
    }
}

#[test]
fn each_way_not_to_agree_has_its_sentence() {
    for (reason, message, advice) in [
        (
            PeerIncompatible::ServerDoesNotSupportTls12Or13,
            "the broker has neither TLS 1.2 nor TLS 1.3",
            "enable TLSv1.2 or TLSv1.3 in the broker's ssl.enabled.protocols",
        ),
        (
            PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
            "the broker chose a TLS version that ssl.enabled.protocols or ssl.protocol excludes",
            "enable the version here",
        ),
        (
            PeerIncompatible::NoCipherSuitesInCommon,
            "the broker and this client have no cipher suite in common",
            "compare ssl.cipher.suites and ssl.enabled.protocols of both sides",
        ),
        (
            PeerIncompatible::NoKxGroupsInCommon,
            "the broker and this client cannot agree on TLS: NoKxGroupsInCommon",
            "compare ssl.enabled.protocols and ssl.cipher.suites of both sides",
        ),
    ] {
        let error = of_broker(&RustlsError::PeerIncompatible(reason), NotAsked);
        assert_sentence(&error, message, advice);
    }
}

#[test]
fn bytes_that_are_no_tls_ask_for_a_look_at_the_port() {
    let error = RustlsError::InvalidMessage(InvalidMessage::InvalidContentType);
    assert_sentence(
        &of_broker(&error, NotAsked),
        "the broker's bytes are not TLS",
        "check the port: the listener may be one without TLS (security.protocol=PLAINTEXT or SASL_PLAINTEXT)",
    );
}

#[test]
fn a_fault_of_a_certificate_keeps_its_sentence_and_its_advice() {
    let fault = CertificateFault {
        message: "the broker's certificate is odd".to_owned(),
        advice: "make another".into(),
    };
    let error = of_broker(&fault.into(), NotAsked);
    assert_sentence(&error, "the broker's certificate is odd", "make another");
}

/// Nothing here makes these, and a later release of rustls may.
#[test]
fn other_faults_are_told_in_the_words_of_rustls() {
    let unknown = CertificateError::Other(rustls::OtherError(std::sync::Arc::new(std::fmt::Error)));
    let misbehaved = RustlsError::PeerMisbehaved(PeerMisbehaved::TooManyEmptyFragments);
    for (error, message) in [
        (
            RustlsError::from(unknown),
            "the broker's certificate is not valid: ",
        ),
        (misbehaved, "the TLS connection failed: "),
        (
            CertificateError::BadEncoding.into(),
            "the TLS connection failed: ",
        ),
    ] {
        let made = of_broker(&error, NotAsked);
        assert_eq!(made.kind(), ErrorKind::Tls);
        assert_eq!(made.message(), format!("{message}{error}"));
    }
}
