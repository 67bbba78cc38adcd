//! PKCS#12 (RFC 7292), the store format of Java from JDK 9 on, and of OpenSSL.
//!
//! This module reads it by itself: the crate `p12-keystore` panics, or computes for minutes, if a file asks for it.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

use super::der::{self, Reader};
use super::fault::{Found, Other, Owner, StoreFault};
use super::key::{self, KeyForm};
use super::pbe::{self, Budget, Password, PbeFault};
use super::{Format, KeyEntry, Keys, TrustStore, Trusted};
use crate::secret::Secret;

/// No chain in use is longer.
const LONGEST_CHAIN: usize = 32;

/// The certificates of all chains together have no more bytes. A store has each certificate once, but each key gets its
/// own copy of its chain, so a store of the largest size could take gigabytes.
const MOST_CHAIN_BYTES: usize = super::MAX_BYTES;

/// Returns the certificates that Java trusts: those with Java's attribute of trust, and those that belong to a private key.
/// A store with neither was made by another tool for the certificates in it, so all of them are trusted.
pub(super) fn read_trust(
    bytes: &[u8],
    password: Option<&Secret>,
) -> Result<TrustStore, StoreFault> {
    let contents = Contents::read(bytes, password)?;
    let as_java = !contents.keys.is_empty()
        || contents
            .certificates
            .iter()
            .any(|certificate| certificate.trusted);
    let links = Links::of(&contents);
    let leaves: HashSet<_> = contents
        .keys
        .iter()
        .filter_map(|key| links.leaf(key))
        .collect();
    let encrypted = contents.left_encrypted;
    let mut certificates = Vec::new();
    for (index, certificate) in contents.certificates.into_iter().enumerate() {
        if !as_java || certificate.trusted || leaves.contains(&index) {
            certificates.push(Trusted {
                alias: certificate.alias,
                certificate: certificate.der,
            });
        }
    }
    match certificates.is_empty() {
        true if encrypted => Err(StoreFault::StorePasswordMissing),
        true => Err(StoreFault::NoCertificate(Found::default())),
        false => Ok(TrustStore { certificates }),
    }
}

/// Reads the keys that have a certificate. `key_password` is by default the store's.
pub(super) fn read_keys(
    bytes: &[u8],
    store_password: Option<&Secret>,
    key_password: Option<&Secret>,
) -> Result<Keys, StoreFault> {
    let mut contents = Contents::read(bytes, store_password)?;
    if contents.keys.is_empty() || contents.certificates.is_empty() {
        return Err(if contents.left_encrypted {
            StoreFault::StorePasswordMissing
        } else if contents.keys.is_empty() {
            StoreFault::NoKey(Found::default())
        } else {
            StoreFault::KeyWithoutCertificate
        });
    }
    let empty = Secret::default();
    let opens_empty = contents.password_is_empty.then_some(&empty);
    let password = key_password.or(store_password).or(opens_empty);
    let links = Links::of(&contents);
    let mut keys = Keys::default();
    let mut chain_bytes = 0;
    for key in contents.keys {
        let Some(leaf) = links.leaf(&key) else {
            continue;
        };
        let chain = links.chain(leaf, &contents.certificates);
        chain_bytes += chain.iter().map(|part| part.len()).sum::<usize>();
        if chain_bytes > MOST_CHAIN_BYTES {
            return Err(StoreFault::LongChains);
        }
        let password_unused = key_password.is_some() && matches!(key.bytes, KeyBytes::Plain(_));
        let alias = key
            .alias
            .or_else(|| contents.certificates[leaf].alias.clone());
        let key = decrypt_key(key.bytes, password, &mut contents.budget, alias.clone());
        keys.add(key.map(|key| KeyEntry {
            alias,
            chain,
            key,
            password_unused,
        }));
    }
    keys.at_least_one(StoreFault::KeyWithoutCertificate)
}

fn decrypt_key(
    bytes: KeyBytes,
    password: Option<&Secret>,
    budget: &mut Budget,
    alias: Option<String>,
) -> Result<Zeroizing<PrivateKeyDer<'static>>, StoreFault> {
    let owner = Owner::Key(Format::Pkcs12, alias);
    match bytes {
        KeyBytes::Plain(bytes) => key::plain(bytes, KeyForm::Pkcs8, owner),
        KeyBytes::Encrypted(bytes) => {
            let Some(password) = password else {
                return Err(StoreFault::KeyPasswordMissing(owner));
            };
            let Some((algorithm, data)) = key::encrypted_parts(&bytes) else {
                return Err(StoreFault::BadKey(owner));
            };
            key::decrypt_parts(algorithm, &data, &Password::new(password), budget, owner)
        }
    }
}

/// What a store contains, in the order of the file. Keys are still encrypted by themselves.
struct Contents {
    keys: Vec<Key>,
    certificates: Vec<Certificate>,
    /// Parts are encrypted, and no password was given.
    left_encrypted: bool,
    /// No password was given, and the empty one opens the store.
    password_is_empty: bool,
    budget: Budget,
}

struct Key {
    alias: Option<String>,
    /// The certificate with the same id belongs to the key.
    local_id: Option<Vec<u8>>,
    bytes: KeyBytes,
}

enum KeyBytes {
    /// PKCS#8.
    Plain(Zeroizing<Vec<u8>>),
    /// An EncryptedPrivateKeyInfo.
    Encrypted(Vec<u8>),
}

struct Certificate {
    alias: Option<String>,
    local_id: Option<Vec<u8>>,
    /// Has Java's attribute of trust.
    trusted: bool,
    der: CertificateDer<'static>,
}

impl Contents {
    fn read(bytes: &[u8], password: Option<&Secret>) -> Result<Self, StoreFault> {
        let store = Store::read(bytes)?;
        let mut contents = Self {
            keys: Vec::new(),
            certificates: Vec::new(),
            left_encrypted: false,
            password_is_empty: false,
            budget: Budget::of_a_store(),
        };
        let empty = Secret::default();
        let mut password = password.map(Password::new);
        match (&store.mac, &mut password) {
            (Some(mac), Some(password)) => {
                check_mac(mac.clone(), &store.safe, password, &mut contents.budget)?;
            }
            (Some(mac), None) => {
                let mut tried = Password::new(&empty);
                let opened = check_mac(mac.clone(), &store.safe, &mut tried, &mut contents.budget);
                password = opened.is_ok().then_some(tried);
                contents.password_is_empty = password.is_some();
            }
            (None, _) => {}
        }
        let checked = store.mac.is_some();
        let mut parts = Reader::new(&store.safe)
            .sequence()
            .ok_or(damaged("list of parts"))?;
        while !parts.is_empty() {
            let (id, mut content) = content(&mut parts).ok_or(damaged("parts"))?;
            match id {
                DATA => {
                    let bags = content.octets().ok_or(damaged("parts"))?;
                    contents.add_bags(&bags).ok_or(damaged("entries"))?;
                }
                ENCRYPTED_DATA => {
                    let Some(password) = &password else {
                        contents.left_encrypted = true;
                        continue;
                    };
                    let (algorithm, data) = encrypted(content).ok_or(damaged("encrypted parts"))?;
                    let bags = pbe::decrypt(algorithm, &data, password, &mut contents.budget);
                    let bags = bags.map_err(|fault| of_store(fault, checked))?;
                    // Without a MAC a wrong password shows here at the latest: it leaves random bytes.
                    let wrong = if checked {
                        damaged("entries")
                    } else {
                        StoreFault::WrongStorePassword(Format::Pkcs12)
                    };
                    contents.add_bags(&bags).ok_or(wrong)?;
                }
                ENVELOPED_DATA => return Err(StoreFault::Instead(&Other::PUBLIC_KEY)),
                _ => return Err(damaged("parts")),
            }
        }
        Ok(contents)
    }

    /// Adds the keys and certificates of a SafeContents. Other things, such as secret keys, are left out.
    fn add_bags(&mut self, bytes: &[u8]) -> Option<()> {
        let mut bags = Reader::new(bytes).sequence()?;
        while !bags.is_empty() {
            let mut bag = bags.sequence()?;
            let id = bag.read(der::OID)?;
            let mut value = Reader::new(bag.read(der::TAGGED)?);
            let attributes = Attributes::read(bag)?;
            match id.strip_prefix(BAGS) {
                Some([kind @ (1 | 2)]) => {
                    let bytes = value.next()?.whole.to_vec();
                    self.keys.push(Key {
                        alias: attributes.alias,
                        local_id: attributes.local_id,
                        bytes: match kind {
                            1 => KeyBytes::Plain(Zeroizing::new(bytes)),
                            _ => KeyBytes::Encrypted(bytes),
                        },
                    });
                }
                Some([3]) => {
                    let mut certificate = value.sequence()?;
                    if certificate.read(der::OID)? != X509 {
                        continue;
                    }
                    let bytes = Reader::new(certificate.read(der::TAGGED)?).octets()?;
                    if !der::is_certificate(&bytes) {
                        return None;
                    }
                    let Attributes {
                        alias,
                        local_id,
                        trusted,
                    } = attributes;
                    let der = CertificateDer::from(bytes.into_owned());
                    self.certificates.push(Certificate {
                        alias,
                        local_id,
                        trusted,
                        der,
                    });
                }
                _ => {}
            }
        }
        Some(())
    }
}

/// The outer parts of a file.
struct Store<'a> {
    safe: Cow<'a, [u8]>,
    mac: Option<Reader<'a>>,
}

impl<'a> Store<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, StoreFault> {
        let mut store = Reader::new(bytes).sequence().ok_or(damaged("header"))?;
        if store.number() != Some(3) {
            return Err(damaged("version"));
        }
        let (id, mut content) = content(&mut store).ok_or(damaged("contents"))?;
        match id {
            DATA => {}
            SIGNED_DATA => return Err(StoreFault::Instead(&Other::PUBLIC_KEY)),
            _ => return Err(damaged("contents")),
        }
        let safe = content.octets().ok_or(damaged("contents"))?;
        let mac = match store.is_empty() {
            true => None,
            false => Some(store.sequence().ok_or(damaged("MAC"))?),
        };
        Ok(Self { safe, mac })
    }
}

/// Reads a ContentInfo: what it is, and its content.
fn content<'a>(reader: &mut Reader<'a>) -> Option<(&'a [u8], Reader<'a>)> {
    let mut info = reader.sequence()?;
    Some((info.read(der::OID)?, Reader::new(info.read(der::TAGGED)?)))
}

/// Reads an EncryptedData: how it is encrypted, and the encrypted bytes.
fn encrypted(mut content: Reader<'_>) -> Option<(Reader<'_>, Cow<'_, [u8]>)> {
    let mut data = content.sequence()?;
    data.read(der::INTEGER)?;
    let mut info = data.sequence()?;
    info.read(der::OID)?;
    let algorithm = info.sequence()?;
    let bytes = der::octets(info.next()?, der::TAGGED_OCTETS)?;
    Some((algorithm, bytes))
}

fn check_mac(
    mac: Reader<'_>,
    safe: &[u8],
    password: &mut Password<'_>,
    budget: &mut Budget,
) -> Result<(), StoreFault> {
    let mut outcome = pbe::check_mac(mac.clone(), safe, password, budget);
    if matches!(outcome, Err(PbeFault::WrongPassword)) && password.drop_zeros_of_empty() {
        outcome = pbe::check_mac(mac, safe, password, budget);
    }
    outcome.map_err(|fault| match fault {
        PbeFault::Malformed => damaged("MAC"),
        fault => of_store(fault, false),
    })
}

/// Translates a fault of the store's encryption. If the MAC agreed, the password is right.
fn of_store(fault: PbeFault, checked: bool) -> StoreFault {
    let owner = Owner::Store;
    match fault {
        PbeFault::Malformed => damaged("encrypted parts"),
        PbeFault::Unknown(name) => StoreFault::UnknownAlgorithm(owner, name),
        PbeFault::TooCostly => StoreFault::TooCostly(owner),
        PbeFault::WrongPassword if checked => damaged("encrypted parts"),
        PbeFault::WrongPassword => StoreFault::WrongStorePassword(Format::Pkcs12),
    }
}

fn damaged(place: &'static str) -> StoreFault {
    StoreFault::Damaged(Format::Pkcs12, place)
}

#[derive(Default)]
struct Attributes {
    alias: Option<String>,
    local_id: Option<Vec<u8>>,
    trusted: bool,
}

impl Attributes {
    fn read(mut bag: Reader<'_>) -> Option<Self> {
        let mut found = Self::default();
        if bag.is_empty() {
            return Some(found);
        }
        let mut attributes = Reader::new(bag.read(der::SET)?);
        while !attributes.is_empty() {
            let mut attribute = attributes.sequence()?;
            let id = attribute.read(der::OID)?;
            let mut values = Reader::new(attribute.read(der::SET)?);
            match id {
                FRIENDLY_NAME => found.alias = values.optional(der::BMP_STRING).map(utf16_text),
                LOCAL_KEY_ID => found.local_id = values.optional(der::OCTETS).map(<[u8]>::to_vec),
                JAVA_TRUST => found.trusted = true,
                _ => {}
            }
        }
        Some(found)
    }
}

fn utf16_text(bytes: &[u8]) -> String {
    let units: Vec<_> = bytes
        .chunks_exact(2)
        .map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
        .collect();
    String::from_utf16_lossy(&units)
}

/// Which certificate belongs to which key, and which one issued another: positions in the list of certificates.
struct Links {
    by_local_id: HashMap<Vec<u8>, usize>,
    by_subject: HashMap<Vec<u8>, usize>,
    /// For a store with one key whose id no certificate has.
    first_without_id: Option<usize>,
}

impl Links {
    fn of(contents: &Contents) -> Self {
        let mut links = Self {
            by_local_id: HashMap::new(),
            by_subject: HashMap::new(),
            first_without_id: None,
        };
        for (index, certificate) in contents.certificates.iter().enumerate() {
            match &certificate.local_id {
                Some(id) => _ = links.by_local_id.entry(id.clone()).or_insert(index),
                None if contents.keys.len() == 1 => _ = links.first_without_id.get_or_insert(index),
                None => {}
            }
            if let Some((_, subject)) = der::names(&certificate.der) {
                links.by_subject.entry(subject.to_vec()).or_insert(index);
            }
        }
        links
    }

    fn leaf(&self, key: &Key) -> Option<usize> {
        let by_id = key
            .local_id
            .as_ref()
            .and_then(|id| self.by_local_id.get(id));
        by_id.copied().or(self.first_without_id)
    }

    /// Returns the leaf, the certificate of its issuer, and so on as far as the store has them.
    fn chain(&self, leaf: usize, certificates: &[Certificate]) -> Vec<CertificateDer<'static>> {
        let mut positions = vec![leaf];
        let mut last = leaf;
        while let Some((issuer, subject)) = der::names(&certificates[last].der) {
            match self.by_subject.get(issuer) {
                Some(next)
                    if issuer != subject
                        && !positions.contains(next)
                        && positions.len() < LONGEST_CHAIN =>
                {
                    positions.push(*next);
                    last = *next;
                }
                _ => break,
            }
        }
        positions
            .into_iter()
            .map(|position| certificates[position].der.clone())
            .collect()
    }
}

/// 1.2.840.113549.1.7.1
const DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 1];
const SIGNED_DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 2];
const ENVELOPED_DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 3];
const ENCRYPTED_DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 6];
/// 1.2.840.113549.1.12.10.1
const BAGS: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 12, 10, 1];
/// 1.2.840.113549.1.9.22.1
const X509: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 22, 1];
/// 1.2.840.113549.1.9.20
const FRIENDLY_NAME: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 20];
/// 1.2.840.113549.1.9.21
const LOCAL_KEY_ID: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 21];
/// 2.16.840.1.113894.746875.1.1
const JAVA_TRUST: &[u8] = &[
    0x60, 0x86, 0x48, 1, 0x86, 0xf9, 0x66, 0xad, 0xca, 0x7b, 1, 1,
];
