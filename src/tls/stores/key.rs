//! Private keys: plain ones of each form, and encrypted ones.

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer};
use zeroize::Zeroizing;

use super::der::{self, Reader};
use super::fault::{Owner, StoreFault};
#[cfg(feature = "tls-stores")]
use super::pbe::{self, Budget, Password, PbeFault};
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
