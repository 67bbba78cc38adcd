//! JKS, the store format of Java up to JDK 8. Its numbers are big-endian, and no length in it is trusted.
//!
//! A key's password is its own: the store's password protects the store as a whole, and without it a reader cannot
//! tell that a certificate was exchanged.

use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha1::{Digest, Sha1};
use zeroize::Zeroizing;

use super::fault::{Found, Owner, StoreFault};
use super::key::{self, KeyForm};
use super::pbe::utf16;
use super::{Format, KeyEntry, Keys, TrustStore, Trusted, der};
use crate::secret::Secret;

const DIGEST: usize = 20;
const SALT: usize = 20;
/// 1.3.6.1.4.1.42.2.17.1.1
const KEY_PROTECTION: &[u8] = &[0x2b, 6, 1, 4, 1, 42, 2, 17, 1, 1];

/// Returns the trusted entries, and of key entries the certificate that belongs to the key. Without a password the store is
/// read unchecked, as Java does.
pub(super) fn read_trust(
    bytes: &[u8],
    password: Option<&Secret>,
) -> Result<TrustStore, StoreFault> {
    let trusted = |entry: Entry<'_>| {
        let certificate = match entry.content {
            Content::Trusted(certificate) => certificate,
            Content::Key { chain, .. } => *chain.first()?,
        };
        Some(Trusted {
            alias: Some(entry.alias),
            certificate: owned(certificate),
        })
    };
    let certificates: Vec<_> = entries(bytes, password)?
        .into_iter()
        .filter_map(trusted)
        .collect();
    if certificates.is_empty() {
        return Err(StoreFault::NoCertificate(Found::default()));
    }
    Ok(TrustStore { certificates })
}

/// Reads the key entries. `key_password` is by default the store's.
pub(super) fn read_keys(
    bytes: &[u8],
    store_password: Option<&Secret>,
    key_password: Option<&Secret>,
) -> Result<Keys, StoreFault> {
    let password = key_password.or(store_password);
    let mut keys = Keys::default();
    for entry in entries(bytes, store_password)? {
        if let Content::Key { protected, chain } = entry.content {
            keys.add(key_entry(entry.alias, protected, &chain, password));
        }
    }
    keys.at_least_one(StoreFault::NoKey(Found::default()))
}

fn key_entry(
    alias: String,
    protected: &[u8],
    chain: &[&[u8]],
    password: Option<&Secret>,
) -> Result<KeyEntry, StoreFault> {
    if chain.is_empty() {
        return Err(StoreFault::KeyWithoutCertificate);
    }
    Ok(KeyEntry {
        key: unprotect(protected, password, &alias)?,
        alias: Some(alias),
        chain: chain.iter().copied().map(owned).collect(),
        password_unused: false,
    })
}

fn owned(certificate: &[u8]) -> CertificateDer<'static> {
    CertificateDer::from(certificate.to_vec())
}

struct Entry<'a> {
    alias: String,
    content: Content<'a>,
}

enum Content<'a> {
    Trusted(&'a [u8]),
    Key {
        protected: &'a [u8],
        chain: Vec<&'a [u8]>,
    },
}

fn entries<'a>(bytes: &'a [u8], password: Option<&Secret>) -> Result<Vec<Entry<'a>>, StoreFault> {
    let damaged = |place| StoreFault::Damaged(Format::Jks, place);
    let end = bytes.len().checked_sub(DIGEST).ok_or(damaged("header"))?;
    let (body, digest) = bytes.split_at(end);
    let mut input = Input(body);
    let version = input.header().ok_or(damaged("header"))?;
    let has_types = match version {
        1 => false,
        2 => true,
        _ => return Err(damaged("version")),
    };
    let count = input.u32().ok_or(damaged("number of entries"))?;
    let mut entries = Vec::new();
    for _ in 0..count {
        entries.push(input.entry(has_types).ok_or(damaged("entries"))?);
    }
    if !input.0.is_empty() {
        return Err(damaged("end"));
    }
    if password.is_some_and(|password| store_digest(password, body) != digest) {
        return Err(StoreFault::WrongStorePassword(Format::Jks));
    }
    Ok(entries)
}

fn store_digest(password: &Secret, body: &[u8]) -> [u8; DIGEST] {
    let hash = Sha1::new()
        .chain_update(&*utf16(password))
        .chain_update("Mighty Aphrodite");
    hash.chain_update(body).finalize().into()
}

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2)?.try_into().ok().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take(4)?.try_into().ok().map(u32::from_be_bytes)
    }

    /// Reads as many bytes as the next four bytes say.
    fn long(&mut self) -> Option<&'a [u8]> {
        let length = self.u32()?;
        self.take(usize::try_from(length).ok()?)
    }

    /// Reads a text in Java's form of UTF-8.
    fn text(&mut self) -> Option<String> {
        let length = self.u16()?;
        Some(modified_utf8(self.take(usize::from(length))?))
    }

    /// Returns the version.
    fn header(&mut self) -> Option<u32> {
        self.take(Format::JKS.len())
            .filter(|magic| *magic == Format::JKS)?;
        self.u32()
    }

    fn entry(&mut self, has_types: bool) -> Option<Entry<'a>> {
        let tag = self.u32()?;
        let alias = self.text()?;
        let _created_ms = self.take(8)?;
        let content = match tag {
            1 => {
                let protected = self.long()?;
                let count = self.u32()?;
                let mut chain = Vec::new();
                for _ in 0..count {
                    chain.push(self.certificate(has_types)?);
                }
                Content::Key { protected, chain }
            }
            2 => Content::Trusted(self.certificate(has_types)?),
            _ => return None,
        };
        Some(Entry { alias, content })
    }

    fn certificate(&mut self, has_types: bool) -> Option<&'a [u8]> {
        if has_types && self.text()? != "X.509" {
            return None;
        }
        self.long().filter(|bytes| der::is_certificate(bytes))
    }
}

/// Java writes each unit of UTF-16 by itself, and zero in two bytes.
fn modified_utf8(bytes: &[u8]) -> String {
    let mut units = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some(&first) = rest.first() {
        let bits = |index: usize| rest.get(index).map(|byte| u16::from(byte & 0x3f));
        let (unit, length) = match first {
            0xc0..0xe0 => (
                bits(1).map(|second| u16::from(first & 0x1f) << 6 | second),
                2,
            ),
            0xe0..0xf0 => {
                let unit = bits(1).zip(bits(2));
                (
                    unit.map(|(second, third)| u16::from(first & 0x0f) << 12 | second << 6 | third),
                    3,
                )
            }
            _ => (Some(u16::from(first)), 1),
        };
        units.push(unit.unwrap_or(0xfffd));
        rest = rest.get(length..).unwrap_or_default();
    }
    String::from_utf16_lossy(&units)
}

/// Decrypts a private key: salt, then the key XORed with a chain of hashes, then a hash of the key.
fn unprotect(
    bytes: &[u8],
    password: Option<&Secret>,
    alias: &str,
) -> Result<Zeroizing<PrivateKeyDer<'static>>, StoreFault> {
    let owner = || Owner::Key(Format::Jks, Some(alias.to_owned()));
    let (mut algorithm, data) =
        key::encrypted_parts(bytes).ok_or_else(|| StoreFault::BadKey(owner()))?;
    let id = algorithm.read(der::OID).unwrap_or_default();
    if id != KEY_PROTECTION {
        return Err(StoreFault::UnknownAlgorithm(
            owner(),
            format!("the encryption {}", der::dotted(id)),
        ));
    }
    let Some(password) = password else {
        return Err(StoreFault::KeyPasswordMissing(owner()));
    };
    let Some((salt, data)) = data.split_at_checked(SALT) else {
        return Err(StoreFault::BadKey(owner()));
    };
    let Some((encrypted, check)) = data.split_at_checked(data.len().saturating_sub(DIGEST)) else {
        return Err(StoreFault::BadKey(owner()));
    };
    let password = utf16(password);
    let mut plaintext = Zeroizing::new(encrypted.to_vec());
    let mut hash = Zeroizing::new(salt.to_vec());
    for chunk in plaintext.chunks_mut(DIGEST) {
        let next = Sha1::new()
            .chain_update(&*password)
            .chain_update(&*hash)
            .finalize();
        hash.copy_from_slice(&next);
        chunk
            .iter_mut()
            .zip(&*hash)
            .for_each(|(byte, key)| *byte ^= key);
    }
    let found = Sha1::new()
        .chain_update(&*password)
        .chain_update(&*plaintext)
        .finalize();
    if found[..] != *check {
        return Err(StoreFault::WrongKeyPassword(owner()));
    }
    key::plain(plaintext, KeyForm::Pkcs8, owner())
}
