//! Chooses the client's certificate when a broker asks for one.

use std::cell::Cell;
use std::sync::Arc;

use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::pki_types::UnixTime;
use rustls::sign::CertifiedKey;

use super::certificate::Certificate;
use super::fault::ClientCertificate;

thread_local! {
    /// What this thread's latest handshake answered, for the message about a handshake that fails. The thread that dials
    /// makes the handshake, and also reads the first answer, which with TLS 1.3 can be the broker's refusal.
    static ANSWERED: Cell<ClientCertificate> = const { Cell::new(ClientCertificate::NotAsked) };
}

/// Forgets the thread's latest handshake, before the next one.
pub(super) fn begin_handshake() {
    ANSWERED.set(ClientCertificate::NotAsked);
}

/// Returns what the thread's latest handshake answered to a broker that asked for a certificate.
pub(super) fn answered() -> ClientCertificate {
    ANSWERED.get()
}

/// The certificates of the key store, in its order.
#[derive(Debug)]
pub(super) struct ClientKeys(pub(super) Vec<Arc<CertifiedKey>>);

impl ResolvesClientCert for ClientKeys {
    /// Returns the first key, as Java does, that can sign as the broker wants and whose chain ends at an issuer that the
    /// broker names. A broker that names no issuer accepts any.
    fn resolve(
        &self,
        root_hint_subjects: &[&[u8]],
        sigschemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        let found = self.0.iter().find(|key| {
            key.key.choose_scheme(sigschemes).is_some() && has_issuer(key, root_hint_subjects)
        });
        ANSWERED.set(match found {
            Some(key) if is_out_of_date(key) => ClientCertificate::SentOutOfDate,
            Some(_) => ClientCertificate::Sent,
            None if self.0.is_empty() => ClientCertificate::NoKeyStore,
            None => ClientCertificate::NoneFits,
        });
        found.cloned()
    }

    fn has_certs(&self) -> bool {
        // Also without a key: rustls then asks `resolve`, which notes that the broker wanted a certificate.
        true
    }
}

/// Returns whether one of `issuers`, which are names in DER, has issued a certificate of the chain.
fn has_issuer(key: &CertifiedKey, issuers: &[&[u8]]) -> bool {
    issuers.is_empty()
        || key.cert.iter().any(|certificate| {
            Certificate::read(certificate)
                .is_some_and(|contents| issuers.contains(&contents.issuer_der()))
        })
}

/// Returns whether the client's own certificate has expired or is not valid yet. It is sent all the same: the broker's clock
/// decides. But a broker that refuses it may not say why.
fn is_out_of_date(key: &CertifiedKey) -> bool {
    let own = key.cert.first().and_then(Certificate::read);
    own.is_some_and(|own| !own.is_valid_at(UnixTime::now()))
}

#[cfg(all(test, feature = "mock-tls"))]
mod tests;
