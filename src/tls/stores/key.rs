//! Private keys: plain ones of each form, and encrypted ones.

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer};
use zeroize::Zeroizing;

use super::der::{self, Reader};
use super::fault::{Other, Owner, StoreFault};
#[cfg(feature = "tls-stores")]
use super::pbe::{self, Budget, Password, PbeFault};
use super::pem::{PemKey, pem_key};
use super::{Format, MAX_BYTES};
use crate::secret::Secret;

/// What is encoded.
#[derive(Clone, Copy, Debug)]
pub(super) enum KeyForm {
    /// Any algorithm.
    Pkcs8,
    /// RSA.
    Pkcs1,
    /// EC.
    Sec1,
}

/// Makes a private key of its plain bytes. Whether the TLS library knows the algorithm is not checked here.
pub(super) fn plain(
    mut bytes: Zeroizing<Vec<u8>>,
    form: KeyForm,
    owner: Owner,
) -> Result<Zeroizing<PrivateKeyDer<'static>>, StoreFault> {
    match shape(&bytes, form) {
        None => return Err(StoreFault::BadKey(owner)),
        Some(Shape::Dsa) => return Err(StoreFault::DsaKey(owner)),
        Some(Shape::Other) => {}
    }
    let bytes = std::mem::take(&mut *bytes);
    Ok(Zeroizing::new(match form {
        KeyForm::Pkcs8 => PrivatePkcs8KeyDer::from(bytes).into(),
        KeyForm::Pkcs1 => PrivatePkcs1KeyDer::from(bytes).into(),
        KeyForm::Sec1 => PrivateSec1KeyDer::from(bytes).into(),
    }))
}

/// Reads one private key: PEM, or DER in any form. `password` is as with [`pem_key`](super::pem_key).
pub(in crate::tls) fn read_key(
    bytes: &[u8],
    password: Option<&Secret>,
) -> Result<PemKey, StoreFault> {
    if bytes.is_empty() {
        return Err(StoreFault::Empty);
    }
    if bytes.len() > MAX_BYTES {
        return Err(StoreFault::TooLarge);
    }
    match Format::of(bytes) {
        Some(Format::Pem) => return pem_key(bytes, password),
        Some(Format::Der) => return Err(StoreFault::Instead(&Other::CERTIFICATE_FOR_KEY)),
        Some(_) => return Err(StoreFault::Instead(&Other::STORE)),
        None => {}
    }
    let owner = Owner::Key(Format::Der, None);
    let Some(form) = form(bytes) else {
        return Err(StoreFault::BadKey(owner));
    };
    let Some(form) = form else {
        let key = decrypt(bytes, password, owner)?;
        return Ok(PemKey {
            key,
            password_unused: false,
        });
    };
    let key = plain(Zeroizing::new(bytes.to_vec()), form, owner)?;
    Ok(PemKey {
        key,
        password_unused: password.is_some(),
    })
}

/// Returns the form of a key in DER by its first elements, `Some(None)` if it is encrypted.
fn form(bytes: &[u8]) -> Option<Option<KeyForm>> {
    let mut parts = Reader::new(bytes).sequence()?;
    let first = parts.next()?.tag;
    let second = parts.next()?.tag;
    match (first, second) {
        (der::INTEGER, der::SEQUENCE) => Some(Some(KeyForm::Pkcs8)),
        (der::INTEGER, der::INTEGER) => Some(Some(KeyForm::Pkcs1)),
        (der::INTEGER, der::OCTETS) => Some(Some(KeyForm::Sec1)),
        (der::SEQUENCE, der::OCTETS) => Some(None),
        _ => None,
    }
}

/// Takes a key out, so that its new owner overwrites it.
pub(in crate::tls) fn take(key: &mut Zeroizing<PrivateKeyDer<'static>>) -> PrivateKeyDer<'static> {
    let none = PrivatePkcs8KeyDer::from(Vec::new());
    std::mem::replace(key, none.into())
}

enum Shape {
    Dsa,
    Other,
}

/// 1.2.840.10040.4.1
const DSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x38, 4, 1];

fn shape(bytes: &[u8], form: KeyForm) -> Option<Shape> {
    let mut outer = Reader::new(bytes);
    let mut parts = outer.sequence()?;
    if !outer.is_empty() {
        return None;
    }
    parts.read(der::INTEGER)?;
    match form {
        KeyForm::Pkcs8 => {
            let algorithm = parts.sequence()?.read(der::OID)?;
            parts.read(der::OCTETS)?;
            Some(if algorithm == DSA {
                Shape::Dsa
            } else {
                Shape::Other
            })
        }
        KeyForm::Pkcs1 => parts.read(der::INTEGER).map(|_| Shape::Other),
        KeyForm::Sec1 => parts.read(der::OCTETS).map(|_| Shape::Other),
    }
}

/// The two parts of an EncryptedPrivateKeyInfo: how it is encrypted, and the encrypted key.
#[cfg(feature = "tls-stores")]
pub(super) fn encrypted_parts(bytes: &[u8]) -> Option<(Reader<'_>, std::borrow::Cow<'_, [u8]>)> {
    let mut parts = Reader::new(bytes).sequence()?;
    Some((parts.sequence()?, parts.octets()?))
}

/// Decrypts an EncryptedPrivateKeyInfo of PKCS#8.
#[cfg(feature = "tls-stores")]
pub(super) fn decrypt(
    bytes: &[u8],
    password: Option<&Secret>,
    owner: Owner,
) -> Result<Zeroizing<PrivateKeyDer<'static>>, StoreFault> {
    let Some((algorithm, data)) = encrypted_parts(bytes) else {
        return Err(StoreFault::BadKey(owner));
    };
    let Some(password) = password else {
        return Err(StoreFault::KeyPasswordMissing(owner));
    };
    let password = Password::new(password);
    decrypt_parts(
        algorithm,
        &data,
        &password,
        &mut Budget::of_a_store(),
        owner,
    )
}

/// As [`decrypt`], with the two parts of an EncryptedPrivateKeyInfo.
#[cfg(feature = "tls-stores")]
pub(super) fn decrypt_parts(
    algorithm: Reader<'_>,
    data: &[u8],
    password: &Password<'_>,
    budget: &mut Budget,
    owner: Owner,
) -> Result<Zeroizing<PrivateKeyDer<'static>>, StoreFault> {
    let bytes = match pbe::decrypt(algorithm, data, password, budget) {
        Ok(bytes) => bytes,
        Err(PbeFault::Malformed) => return Err(StoreFault::BadKey(owner)),
        Err(PbeFault::Unknown(name)) => return Err(StoreFault::UnknownAlgorithm(owner, name)),
        Err(PbeFault::TooCostly) => return Err(StoreFault::TooCostly(owner)),
        Err(PbeFault::WrongPassword) => return Err(StoreFault::WrongKeyPassword(owner)),
    };
    // One wrong password in 256 leaves valid padding, and random bytes before it.
    match plain(bytes, KeyForm::Pkcs8, owner) {
        Err(StoreFault::BadKey(owner)) => Err(StoreFault::WrongKeyPassword(owner)),
        outcome => outcome,
    }
}

#[cfg(not(feature = "tls-stores"))]
pub(super) fn decrypt(
    _: &[u8],
    _: Option<&Secret>,
    _: Owner,
) -> Result<Zeroizing<PrivateKeyDer<'static>>, StoreFault> {
    Err(StoreFault::EncryptedKeyNotBuilt)
}
