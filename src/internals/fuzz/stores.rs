//! Targets for stores of certificates and keys, and for keys. Input: the file. It is read with and without a password.

use crate::secret::Secret;
use crate::tls::stores::{Format, Names, pem_certificates, pem_key, read_keys, read_trust};

const PASSWORDS: [&str; 2] = ["store-secret", "key-secret"];

pub fn jks(data: &[u8]) {
    if Format::of(data) == Some(Format::Jks) {
        store(data);
    }
}

pub fn pkcs12(data: &[u8]) {
    if Format::of(data) == Some(Format::Pkcs12) {
        store(data);
    }
}

pub fn pem(data: &[u8]) {
    let _ = pem_certificates(data);
    for password in [None, Some(PASSWORDS[1])] {
        let _ = pem_key(data, password.map(Secret::from).as_ref());
    }
    store(data);
}

/// Every fault can be shown, and none shows a password.
fn store(data: &[u8]) {
    let [store, key] = PASSWORDS.map(Secret::from);
    for (store, key) in [
        (None, None),
        (Some(&store), None),
        (Some(&store), Some(&key)),
    ] {
        let trust = read_trust(data, store).err();
        let keys = read_keys(data, store, key).err();
        for fault in [trust, keys].into_iter().flatten() {
            let shown = format!("{fault} {} {fault:?}", fault.advice(&Names::KEY_STORE));
            assert!(
                data.windows(6).any(|bytes| bytes == b"secret") || !shown.contains("-secret"),
                "{shown}"
            );
        }
    }
}

macro_rules! files {
    ($($name:literal),*) => {
        vec![$(include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/stores/", $name)).to_vec()),*]
    };
}

pub(super) fn jks_seeds() -> Vec<Vec<u8>> {
    files!["several.jks", "trust.jks", "keytool.jks"]
}

/// Without a MAC, and with one that takes a single round.
pub(super) fn pkcs12_seeds() -> Vec<Vec<u8>> {
    files![
        "openssl-quick.p12",
        "openssl-plain.p12",
        "openssl-plain-certificates.p12",
        "trust-plain.p12"
    ]
}

pub(super) fn pem_seeds() -> Vec<Vec<u8>> {
    files![
        "keystore-encrypted.pem",
        "keystore.pem",
        "root-trusted.pem",
        "key-pkcs1.pem",
        "key-sec1-parameters.pem",
        "key-pbe-3des.pem",
        "key-traditional.pem",
        "root.der"
    ]
}
