//! The hash functions of SCRAM.

use hmac::{Hmac, KeyInit, Mac};
use pbkdf2::pbkdf2_hmac;
use sha2::{Digest, Sha256, Sha512};
use zeroize::Zeroizing;

/// A hash or a key of it. Overwritten when it is dropped.
pub(super) type Key = Zeroizing<Vec<u8>>;

/// The hash function of a SCRAM mechanism.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hash {
    Sha256,
    Sha512,
}

impl Hash {
    pub(super) fn mechanism(self) -> &'static str {
        match self {
            Self::Sha256 => "SCRAM-SHA-256",
            Self::Sha512 => "SCRAM-SHA-512",
        }
    }

    /// Returns the password as the broker stores it. Takes time for each iteration.
    pub(super) fn salted_password(self, password: &str, salt: &[u8], iterations: u32) -> Key {
        let password = password.as_bytes();
        match self {
            Self::Sha256 => {
                let mut salted = Zeroizing::new(vec![0; 32]);
                pbkdf2_hmac::<Sha256>(password, salt, iterations, &mut salted);
                salted
            }
            Self::Sha512 => {
                let mut salted = Zeroizing::new(vec![0; 64]);
                pbkdf2_hmac::<Sha512>(password, salt, iterations, &mut salted);
                salted
            }
        }
    }

    pub(super) fn hash(self, bytes: &[u8]) -> Key {
        Zeroizing::new(match self {
            Self::Sha256 => Sha256::digest(bytes).to_vec(),
            Self::Sha512 => Sha512::digest(bytes).to_vec(),
        })
    }

    pub(super) fn hmac(self, key: &[u8], bytes: &[u8]) -> Key {
        Zeroizing::new(match self {
            Self::Sha256 => mac::<Hmac<Sha256>>(key, bytes)
                .finalize()
                .into_bytes()
                .to_vec(),
            Self::Sha512 => mac::<Hmac<Sha512>>(key, bytes)
                .finalize()
                .into_bytes()
                .to_vec(),
        })
    }

    /// Returns whether `signature` is the HMAC of `bytes`, in a time that does not depend on where they differ.
    pub(super) fn is_signature(self, signature: &[u8], key: &[u8], bytes: &[u8]) -> bool {
        match self {
            Self::Sha256 => mac::<Hmac<Sha256>>(key, bytes)
                .verify_slice(signature)
                .is_ok(),
            Self::Sha512 => mac::<Hmac<Sha512>>(key, bytes)
                .verify_slice(signature)
                .is_ok(),
        }
    }
}

fn mac<M: Mac + KeyInit>(key: &[u8], bytes: &[u8]) -> M {
    let mac = <M as KeyInit>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.chain_update(bytes)
}
