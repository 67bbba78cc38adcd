//! Stores of certificates and keys: PEM, JKS and PKCS#12, told apart by what is in them. Functions of bytes and passwords:
//! who reads the file, and which setting names it, is the caller's.
//!
//! Whatever the bytes are, a call ends within seconds and takes no more memory than a few times their size, and 64 MiB
//! for scrypt.

#[cfg_attr(
    not(feature = "tls-stores"),
    allow(dead_code, reason = "PEM and certificates need a part of it")
)]
pub(super) mod der;
mod fault;
#[cfg(feature = "tls-stores")]
mod jks;
mod key;
#[cfg(feature = "tls-stores")]
mod pbe;
mod pem;
#[cfg(feature = "tls-stores")]
mod pkcs12;
#[cfg(test)]
mod tests;

use std::fmt;

use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

use self::fault::Other;
pub(crate) use self::fault::{Names, StoreFault, shortened};
pub(super) use self::key::{read_key, take};
pub(crate) use self::pem::{pem_certificates, pem_key};
use crate::secret::Secret;

/// No store has more bytes. The authorities that a JDK brings take 200 KB.
pub(crate) const MAX_BYTES: usize = 16 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Pem,
    Jks,
    Jceks,
    Pkcs12,
    /// One certificate in DER.
    Der,
}

impl Format {
    /// The first bytes of a store.
    const JKS: [u8; 4] = [0xfe, 0xed, 0xfe, 0xed];
    const JCEKS: [u8; 4] = [0xce; 4];

    /// Returns what the bytes are by their beginning, or for PEM by a block in them. `None` if they are none of these.
    pub(crate) fn of(bytes: &[u8]) -> Option<Self> {
        if bytes.starts_with(&Self::JKS) {
            Some(Self::Jks)
        } else if bytes.starts_with(&Self::JCEKS) {
            Some(Self::Jceks)
        } else if der::is_certificate(bytes) {
            Some(Self::Der)
        } else if der::begins_like_pkcs12(bytes) {
            Some(Self::Pkcs12)
        } else {
            pem::is_pem(bytes).then_some(Self::Pem)
        }
    }
}

/// By the names that `ssl.keystore.type` has for them.
impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pem => "PEM",
            Self::Jks => "JKS",
            Self::Jceks => "JCEKS",
            Self::Pkcs12 => "PKCS12",
            Self::Der => "DER",
        })
    }
}

/// The certificates that a store says to trust: at least one, in the order of the store.
#[derive(Clone, Debug)]
pub(crate) struct TrustStore {
    pub(crate) certificates: Vec<Trusted>,
}

#[derive(Clone, Debug)]
pub(crate) struct Trusted {
    /// PEM has none.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "the tests tell the entries of a store by it")
    )]
    pub(crate) alias: Option<String>,
    pub(crate) certificate: CertificateDer<'static>,
}

/// A private key with the certificates to show with it. `Debug` does not show the key.
#[derive(Debug)]
pub(crate) struct KeyEntry {
    /// PEM has none.
    pub(crate) alias: Option<String>,
    /// The certificate of the key comes first. PEM has the order of the text, and there is at least one.
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) key: Zeroizing<PrivateKeyDer<'static>>,
    /// A password for the key was given, and the key is not encrypted.
    pub(crate) password_unused: bool,
}

/// The private keys of a key store: at least one that can be read.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    pub(crate) entries: Vec<KeyEntry>,
    /// Why others cannot be read.
    pub(crate) faults: Vec<StoreFault>,
}

impl Keys {
    pub(super) fn one(entry: KeyEntry) -> Self {
        Self {
            entries: vec![entry],
            faults: Vec::new(),
        }
    }

    #[cfg(feature = "tls-stores")]
    fn add(&mut self, read: Result<KeyEntry, StoreFault>) {
        match read {
            Ok(entry) => self.entries.push(entry),
            Err(fault) => self.faults.push(fault),
        }
    }

    /// Returns the first fault if no key can be read, or `none` if there is no key at all.
    #[cfg(feature = "tls-stores")]
    fn at_least_one(mut self, none: StoreFault) -> Result<Self, StoreFault> {
        match (self.entries.is_empty(), self.faults.is_empty()) {
            (false, _) => Ok(self),
            (true, false) => Err(self.faults.swap_remove(0)),
            (true, true) => Err(none),
        }
    }
}

/// Reads a trust store. It holds the trusted entries, and of key entries the certificate of the key, as in Java.
///
/// JKS without a password is read unchecked. PKCS#12 without one can be read if its password is empty, or if its
/// certificates are not encrypted.
pub(crate) fn read_trust(
    bytes: &[u8],
    password: Option<&Secret>,
) -> Result<TrustStore, StoreFault> {
    match format(bytes)? {
        Format::Pem => Ok(unnamed(pem_certificates(bytes)?)),
        Format::Der => Ok(unnamed(vec![CertificateDer::from(bytes.to_vec())])),
        #[cfg(feature = "tls-stores")]
        Format::Jks => jks::read_trust(bytes, password),
        #[cfg(feature = "tls-stores")]
        Format::Pkcs12 => pkcs12::read_trust(bytes, password),
        format => {
            let _ = password;
            Err(unreadable(format))
        }
    }
}

fn unnamed(certificates: Vec<CertificateDer<'static>>) -> TrustStore {
    let certificates = certificates.into_iter().map(|certificate| Trusted {
        alias: None,
        certificate,
    });
    TrustStore {
        certificates: certificates.collect(),
    }
}

/// Reads the private keys of a key store. Without `key_password` the keys of JKS and PKCS#12 have the store's. A key that
/// cannot be read, such as one with another password, does not keep the others from use: Java refuses such a store.
/// PEM has exactly one key, and no password but the key's.
pub(crate) fn read_keys(
    bytes: &[u8],
    store_password: Option<&Secret>,
    key_password: Option<&Secret>,
) -> Result<Keys, StoreFault> {
    match format(bytes)? {
        Format::Pem => Ok(Keys::one(pem::key_entry(bytes, key_password)?)),
        Format::Der => Err(StoreFault::Instead(&Other::CERTIFICATE)),
        #[cfg(feature = "tls-stores")]
        Format::Jks => jks::read_keys(bytes, store_password, key_password),
        #[cfg(feature = "tls-stores")]
        Format::Pkcs12 => pkcs12::read_keys(bytes, store_password, key_password),
        format => {
            let _ = store_password;
            Err(unreadable(format))
        }
    }
}

fn unreadable(format: Format) -> StoreFault {
    match format {
        Format::Jceks => StoreFault::Jceks,
        format => StoreFault::FormatNotBuilt(format),
    }
}

fn format(bytes: &[u8]) -> Result<Format, StoreFault> {
    match bytes {
        [] => return Err(StoreFault::Empty),
        _ if bytes.len() > MAX_BYTES => return Err(StoreFault::TooLarge),
        _ => {}
    }
    if let Some(format) = Format::of(bytes) {
        return Ok(format);
    }
    if let Some(text) = pem::base64_kind(bytes) {
        return Err(StoreFault::NotPem(text));
    }
    Err(match bytes {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => StoreFault::Utf16,
        _ => der::other_than_a_store(bytes).map_or(StoreFault::Unknown, StoreFault::Instead),
    })
}
