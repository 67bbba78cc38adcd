//! Real stores of keytool and openssl, from tests/data/stores, and hostile ones.

mod hostile;
mod jks;
mod pem;
mod pkcs12;

use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::der::{self, Reader};
use super::{Format, KeyEntry, Keys, Names, StoreFault, TrustStore, read_keys, read_trust};
use crate::secret::Secret;

const STORE: &str = "store-secret";
const KEY: &str = "key-secret";
const UNICODE: &str = "pässwörd-€";

fn file(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/data/stores/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn trust(name: &str, password: Option<&str>) -> Result<TrustStore, StoreFault> {
    read_trust(&file(name), password.map(Secret::from).as_ref())
}

/// Reads a store in which every key can be read, or none.
fn keys(name: &str, store: Option<&str>, key: Option<&str>) -> Result<Vec<KeyEntry>, StoreFault> {
    let keys = some_keys(name, store, key)?;
    assert!(keys.faults.is_empty(), "{name}: {:?}", keys.faults);
    Ok(keys.entries)
}

fn some_keys(name: &str, store: Option<&str>, key: Option<&str>) -> Result<Keys, StoreFault> {
    read_keys(
        &file(name),
        store.map(Secret::from).as_ref(),
        key.map(Secret::from).as_ref(),
    )
}

/// The certificates of chain.pem: leaf, middle, root.
fn chain() -> Vec<CertificateDer<'static>> {
    let chain = super::pem_certificates(&file("chain.pem")).expect("chain.pem");
    assert_eq!(chain.len(), 3);
    chain
}

fn other() -> CertificateDer<'static> {
    super::pem_certificates(&file("other.pem"))
        .expect("other.pem")
        .remove(0)
}

/// The private number of an EC key, in whatever form the key is: Java writes it without the public key.
fn scalar(key: &[u8]) -> Vec<u8> {
    let mut parts = Reader::new(key).sequence().expect("a key");
    parts.read(der::INTEGER).expect("version");
    let second = parts.next().expect("algorithm or key");
    match second.tag {
        der::SEQUENCE => scalar(parts.read(der::OCTETS).expect("key")),
        _ => second.contents.to_vec(),
    }
}

fn is_leaf_key(key: &PrivateKeyDer<'_>) -> bool {
    scalar(key.secret_der()) == scalar(&file("leaf.key.der"))
}

/// Each certificate of a trust store, with its alias.
fn entries(store: &TrustStore) -> Vec<(Option<&str>, &CertificateDer<'static>)> {
    let certificates = store.certificates.iter();
    certificates
        .map(|trusted| (trusted.alias.as_deref(), &trusted.certificate))
        .collect()
}

/// What a user reads, and what to do.
fn told(fault: &StoreFault) -> String {
    format!("{fault} => {}", fault.advice(&Names::KEY_STORE))
}

/// As [`told`], of a trust store.
fn told_of_trust(fault: &StoreFault) -> String {
    format!("{fault} => {}", fault.advice(&Names::TRUST_STORE))
}

#[test]
fn formats_are_recognised_by_their_content() {
    for (name, format) in [
        ("keytool.p12", Some(Format::Pkcs12)),
        ("trust-plain.p12", Some(Format::Pkcs12)),
        ("openssl.p12", Some(Format::Pkcs12)),
        ("keytool.jks", Some(Format::Jks)),
        ("keytool.jceks", Some(Format::Jceks)),
        ("chain.pem", Some(Format::Pem)),
        ("root-with-text.pem", Some(Format::Pem)),
        ("root.der", Some(Format::Der)),
        ("leaf.key.der", None),
        ("make.sh", None),
    ] {
        assert_eq!(Format::of(&file(name)), format, "{name}");
    }
}

#[test]
fn what_is_no_store_is_told() {
    let told = |bytes: &[u8]| told(&read_trust(bytes, None).expect_err("no store"));
    assert_eq!(
        told(b""),
        "it is empty => write the whole file again; it may be half-written"
    );
    assert_eq!(
        told(b"hello"),
        "it is neither PEM nor JKS nor PKCS#12 => check that it is the right file"
    );
    assert_eq!(
        told(b"\xff\xfe-\0-\0"),
        "it is text in UTF-16 => save it as UTF-8"
    );
    assert_eq!(
        told(&vec![b'x'; (16 << 20) + 1]),
        "it has more than 16 MiB => check that it is the right file"
    );
    assert_eq!(
        told(&file("leaf.key.der")),
        "it is a private key in DER => write it and its certificates into one file of PEM"
    );
    assert_eq!(
        told(&[0x30, 3, 6, 1, 1]),
        "it is PKCS#7 => take the certificates out: openssl pkcs7 -print_certs -in OLD -out NEW"
    );
}

/// As it comes out of a Secret of Kubernetes that was encoded by hand.
#[test]
fn base64_of_a_store_is_recognised() {
    use base64::Engine as _;
    let encoded = |name| base64::engine::general_purpose::STANDARD.encode(file(name));
    for (name, expected) in [
        (
            "chain.pem",
            "it is PEM that was encoded as base64 once more => decode it (base64 -d)",
        ),
        (
            "root.der",
            "it is base64 without a line of BEGIN => if it is the body of PEM, write its lines of BEGIN and END around it; if \
             not, decode it (base64 -d)",
        ),
    ] {
        let fault = read_trust(encoded(name).as_bytes(), None).expect_err(name);
        assert_eq!(told(&fault), expected);
    }
}

#[test]
fn a_certificate_in_der_is_a_trust_store_of_one() {
    let store = trust("root.der", None).expect("root.der");
    assert_eq!(entries(&store), [(None, &chain()[2])]);
    let fault = keys("root.der", None, None).expect_err("no key");
    assert_eq!(
        told(&fault),
        "it is a certificate without a private key => a key store needs both; write them into one file of PEM"
    );
}

#[test]
fn jceks_is_refused_with_the_command_that_converts_it() {
    let expected = "it is a JCEKS store, a format that only Java has => convert the store: keytool -importkeystore -srckeystore \
                    OLD -srcstoretype JCEKS -destkeystore NEW -deststoretype PKCS12";
    assert_eq!(
        told(&trust("keytool.jceks", Some(STORE)).expect_err("JCEKS")),
        expected
    );
    assert_eq!(
        told(&keys("keytool.jceks", Some(STORE), None).expect_err("JCEKS")),
        expected
    );
}

#[cfg(not(feature = "tls-stores"))]
#[test]
fn without_the_feature_other_stores_are_recognised_and_refused() {
    for (name, what) in [("keytool.jks", "JKS"), ("keytool.p12", "PKCS#12")] {
        let expected = format!(
            "it is a {what} store, and this build reads PEM only => build kafka-producer with its feature `tls-stores`, or \
             use PEM that is not encrypted"
        );
        assert_eq!(
            told(&trust(name, Some(STORE)).expect_err("not built")),
            expected
        );
        assert_eq!(
            told(&keys(name, Some(STORE), None).expect_err("not built")),
            expected
        );
    }
    let fault = keys("keystore-encrypted.pem", None, Some(KEY)).expect_err("not built");
    assert_eq!(fault, StoreFault::EncryptedKeyNotBuilt);
}
