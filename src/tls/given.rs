//! Certificates and keys that the user gives in code, as text or bytes.

use std::fmt;

use rustls::pki_types::CertificateDer;

use super::stores::{self, Format, KeyEntry, Keys, StoreFault};
use crate::secret::{Secret, SecretBytes};

/// The certificates to trust, from code instead of a file: for
/// [`ProducerConfig::tls_trust`](crate::ProducerConfig::tls_trust).
///
/// Together the bytes may have 16 MiB. They are read when the producer is built, which reports what is wrong with them.
/// `Debug` shows their number only.
///
/// ```
/// use kafka_producer::TrustMaterial;
///
/// # fn vault(_name: &str) -> Result<Vec<u8>, std::io::Error> { Ok(Vec::new()) }
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let text = "-----BEGIN CERTIFICATE-----\n...";
/// let from_text = TrustMaterial::pem(text);
/// let from_a_store = TrustMaterial::store(vault("truststore.p12")?).password("changeit");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Hash)]
pub struct TrustMaterial {
    parts: Vec<Part>,
    password: Option<Secret>,
}

#[derive(Clone, Hash)]
enum Part {
    Pem(SecretBytes),
    /// The bytes decide what they are.
    Any(SecretBytes),
}

impl TrustMaterial {
    /// The certificates of a text in PEM, one after the other. Text around them is skipped.
    #[must_use]
    pub fn pem(text: impl Into<String>) -> Self {
        Self::of(vec![Part::pem(text)])
    }

    /// Certificates in DER.
    #[must_use]
    pub fn der<B: Into<Vec<u8>>>(certificates: impl IntoIterator<Item = B>) -> Self {
        Self::of(Part::each(certificates))
    }

    /// The bytes of a trust store, in each form that `ssl.truststore.location` can have: PKCS#12, JKS, PEM, or one
    /// certificate in DER. The bytes decide which it is. PKCS#12 and JKS need the Cargo feature `tls-stores`. Of an entry
    /// with a private key, its certificate is trusted, as in Java.
    #[must_use]
    pub fn store(bytes: impl Into<Vec<u8>>) -> Self {
        Self::of(vec![Part::any(bytes)])
    }

    /// Sets the password of the store. By default there is none: then PKCS#12 must not be encrypted, or its password must be
    /// empty, and whether JKS was changed is not checked. PEM and DER have no password, and ignore it.
    #[must_use]
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.password = Some(Secret::new(password.into()));
        self
    }

    fn of(parts: Vec<Part>) -> Self {
        Self {
            parts,
            password: None,
        }
    }

    /// As [`store`](Self::store), of a file that was read.
    pub(super) fn of_file(bytes: SecretBytes, password: Option<Secret>) -> Self {
        Self {
            parts: vec![Part::Any(bytes)],
            password,
        }
    }

    pub(super) fn format(&self) -> Option<Format> {
        Format::of(self.parts.first()?.bytes())
    }

    /// Returns the certificates in their order. May be empty.
    pub(super) fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, StoreFault> {
        certificates_of(&self.parts, self.password.as_ref())
    }
}

impl fmt::Debug for TrustMaterial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrustMaterial")
            .field("bytes", &length(&self.parts))
            .finish_non_exhaustive()
    }
}

/// The client's private key and its certificates, from code instead of a file: for
/// [`ProducerConfig::tls_client_key`](crate::ProducerConfig::tls_client_key).
///
/// Together the bytes may have 16 MiB. They are read when the producer is built, which reports what is wrong with them.
/// Copies that the producer makes of a key are overwritten when they are dropped, as far as the libraries allow. `Debug`
/// shows the number of bytes only.
///
/// ```
/// use kafka_producer::ClientKey;
///
/// # fn vault(_name: &str) -> Result<Vec<u8>, std::io::Error> { Ok(Vec::new()) }
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (key, chain) = ("-----BEGIN PRIVATE KEY-----\n...", "-----BEGIN CERTIFICATE-----\n...");
/// let from_text = ClientKey::pem(key, chain);
/// let from_a_store = ClientKey::store(vault("client.p12")?).password("changeit");
/// let from_der = ClientKey::der(vault("client.key")?, [vault("client.crt")?, vault("issuer.crt")?]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Hash)]
pub struct ClientKey {
    form: Form,
    password: Option<Secret>,
    key_password: Option<Secret>,
}

#[derive(Clone, Hash)]
enum Form {
    Store(SecretBytes),
    Parts { key: Part, chain: Vec<Part> },
}

/// What is wrong with a [`ClientKey`].
pub(super) enum KeyFault {
    /// The store, or the certificates.
    Chain(StoreFault),
    /// The private key that was given by itself.
    Key(StoreFault),
}

impl ClientKey {
    /// A private key in PEM (PKCS#8, encrypted or not, PKCS#1 or SEC1), and its certificate in PEM, followed by those of
    /// its issuers. What a text has besides is skipped, so one text with all of them can be both.
    #[must_use]
    pub fn pem(key: impl Into<String>, chain: impl Into<String>) -> Self {
        Self::of(Form::Parts {
            key: Part::pem(key),
            chain: vec![Part::pem(chain)],
        })
    }

    /// A private key in DER (PKCS#8, encrypted or not, PKCS#1 or SEC1), and certificates in DER: the one of the key first,
    /// then those of its issuers.
    #[must_use]
    pub fn der<B: Into<Vec<u8>>>(
        key: impl Into<Vec<u8>>,
        chain: impl IntoIterator<Item = B>,
    ) -> Self {
        Self::of(Form::Parts {
            key: Part::any(key),
            chain: Part::each(chain),
        })
    }

    /// The bytes of a key store, in each form that `ssl.keystore.location` can have: PKCS#12, JKS, or PEM with one key and
    /// its certificates. The bytes decide which it is. PKCS#12 and JKS need the Cargo feature `tls-stores`. If a store has
    /// several keys, the first is used that fits what the broker accepts.
    #[must_use]
    pub fn store(bytes: impl Into<Vec<u8>>) -> Self {
        Self::of(Form::Store(SecretBytes::new(bytes.into())))
    }

    /// Sets the password of the store, which is also that of its keys, if they have no other. With [`pem`](Self::pem) and
    /// [`der`](Self::der) it is the password of the key. By default there is none.
    #[must_use]
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.password = Some(Secret::new(password.into()));
        self
    }

    /// Sets the password of the private key, if it is another one than the store's. By default it is that of
    /// [`password`](Self::password). A [`store`](Self::store) in PEM has no password of its own, so an encrypted key in it
    /// needs this one.
    #[must_use]
    pub fn key_password(mut self, password: impl Into<String>) -> Self {
        self.key_password = Some(Secret::new(password.into()));
        self
    }

    fn of(form: Form) -> Self {
        Self {
            form,
            password: None,
            key_password: None,
        }
    }

    /// As [`store`](Self::store), of a file that was read.
    pub(super) fn of_file(
        bytes: SecretBytes,
        password: Option<Secret>,
        key_password: Option<Secret>,
    ) -> Self {
        Self {
            form: Form::Store(bytes),
            password,
            key_password,
        }
    }

    /// Returns the format of a store.
    pub(super) fn format(&self) -> Option<Format> {
        match &self.form {
            Form::Store(bytes) => Format::of(bytes.reveal()),
            Form::Parts { .. } => None,
        }
    }

    /// Reads the keys.
    pub(super) fn keys(&self) -> Result<Keys, KeyFault> {
        let password = self.password.as_ref();
        let key_password = self.key_password.as_ref();
        match &self.form {
            Form::Store(bytes) => {
                stores::read_keys(bytes.reveal(), password, key_password).map_err(KeyFault::Chain)
            }
            Form::Parts { key, chain } => {
                let chain = certificates_of(chain, None).map_err(KeyFault::Chain)?;
                if chain.is_empty() {
                    return Err(KeyFault::Chain(StoreFault::KeyWithoutCertificate));
                }
                let password = key_password.or(password);
                let key = match key {
                    Part::Pem(text) => stores::pem_key(text.reveal(), password),
                    Part::Any(bytes) => stores::read_key(bytes.reveal(), password),
                };
                let key = key.map_err(KeyFault::Key)?;
                Ok(Keys::one(KeyEntry {
                    alias: None,
                    chain,
                    key: key.key,
                    password_unused: key.password_unused,
                }))
            }
        }
    }
}

impl fmt::Debug for ClientKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = match &self.form {
            Form::Store(bytes) => bytes.reveal().len(),
            Form::Parts { key, chain } => key.bytes().len() + length(chain),
        };
        f.debug_struct("ClientKey")
            .field("bytes", &bytes)
            .finish_non_exhaustive()
    }
}

impl Part {
    fn pem(text: impl Into<String>) -> Self {
        Self::Pem(SecretBytes::new(text.into().into_bytes()))
    }

    fn any(bytes: impl Into<Vec<u8>>) -> Self {
        Self::Any(SecretBytes::new(bytes.into()))
    }

    fn each<B: Into<Vec<u8>>>(parts: impl IntoIterator<Item = B>) -> Vec<Self> {
        parts.into_iter().map(Self::any).collect()
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::Pem(bytes) | Self::Any(bytes) => bytes.reveal(),
        }
    }
}

fn length(parts: &[Part]) -> usize {
    parts.iter().map(|part| part.bytes().len()).sum()
}

fn certificates_of(
    parts: &[Part],
    password: Option<&Secret>,
) -> Result<Vec<CertificateDer<'static>>, StoreFault> {
    if length(parts) > stores::MAX_BYTES {
        return Err(StoreFault::TooLarge);
    }
    let mut certificates = Vec::new();
    for part in parts {
        match part {
            Part::Pem(text) => certificates.extend(stores::pem_certificates(text.reveal())?),
            Part::Any(bytes) => {
                let trusted = stores::read_trust(bytes.reveal(), password)?.certificates;
                certificates.extend(trusted.into_iter().map(|trusted| trusted.certificate));
            }
        }
    }
    Ok(certificates)
}

#[cfg(all(test, feature = "tls-stores"))]
mod tests {
    use super::*;

    fn file(name: &str) -> Vec<u8> {
        let path = format!("{}/tests/data/stores/{name}", env!("CARGO_MANIFEST_DIR"));
        std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    fn text(name: &str) -> String {
        String::from_utf8(file(name)).unwrap()
    }

    fn chain() -> Vec<CertificateDer<'static>> {
        stores::pem_certificates(&file("chain.pem")).unwrap()
    }

    /// The only key, or what is wrong, with the part that has the fault.
    fn entry(key: &ClientKey) -> Result<KeyEntry, String> {
        match key.keys() {
            Ok(mut keys) => {
                assert_eq!((keys.entries.len(), keys.faults.len()), (1, 0), "{keys:?}");
                Ok(keys.entries.remove(0))
            }
            Err(KeyFault::Chain(fault)) => Err(format!("chain: {fault}")),
            Err(KeyFault::Key(fault)) => Err(format!("key: {fault}")),
        }
    }

    #[test]
    fn certificates_are_taken_in_every_form() {
        let [leaf, middle, root] = &chain()[..] else {
            panic!("three")
        };
        let der = [leaf, root].map(|certificate| certificate.to_vec());
        let store = |name| TrustMaterial::store(file(name));
        for (trust, expected) in [
            (
                TrustMaterial::pem(text("chain.pem")),
                vec![leaf, middle, root],
            ),
            (TrustMaterial::der(der), vec![leaf, root]),
            (store("root.der"), vec![root]),
            (store("chain.pem"), vec![leaf, middle, root]),
            (store("keytool.p12").password("store-secret"), vec![leaf]),
            (store("keytool.jks").password("store-secret"), vec![leaf]),
            (store("keytool.jks"), vec![leaf]),
            (TrustMaterial::der(Vec::<Vec<u8>>::new()), vec![]),
        ] {
            let certificates = trust.certificates().unwrap();
            assert_eq!(certificates.iter().collect::<Vec<_>>(), expected);
        }
        for (trust, fault) in [
            (TrustMaterial::pem("none"), "it has no certificate"),
            (
                store("trust.p12"),
                "it is an encrypted PKCS#12 store, and no password is given",
            ),
            (
                store("trust.jks").password("wrong"),
                "the password of the JKS store is wrong, or the store was changed",
            ),
            (
                TrustMaterial::der([root.to_vec(), vec![0; stores::MAX_BYTES]]),
                "it has more than 16 MiB",
            ),
        ] {
            let told = trust.certificates().unwrap_err().to_string();
            assert_eq!(told, fault);
        }
    }

    #[test]
    fn keys_are_taken_in_every_form() {
        let pem = |name| ClientKey::pem(text(name), text("chain.pem"));
        let der = |key: Vec<u8>| ClientKey::der(key, chain().iter().map(|part| part.to_vec()));
        let store = |name| ClientKey::store(file(name));
        let der_of = |name: &str, password: Option<&str>| {
            let key = stores::pem_key(&file(name), password.map(Secret::from).as_ref());
            key.unwrap().key.secret_der().to_vec()
        };
        for (name, key) in [
            ("PKCS#8", pem("key-pkcs8.pem")),
            ("SEC1", pem("key-sec1.pem")),
            (
                "encrypted",
                pem("key-scrypt.pem").key_password("key-secret"),
            ),
            ("one password", pem("key-scrypt.pem").password("key-secret")),
            (
                "one text",
                ClientKey::pem(text("keystore.pem"), text("keystore.pem")),
            ),
            ("PKCS#8 in DER", der(file("leaf.key.der"))),
            ("SEC1 in DER", der(der_of("key-sec1.pem", None))),
            (
                "encrypted in DER",
                der(encrypted_der()).password("key-secret"),
            ),
            ("PEM as bytes", store("keystore.pem")),
            ("PKCS#12", store("keytool.p12").password("store-secret")),
            (
                "JKS",
                store("keytool.jks")
                    .password("store-secret")
                    .key_password("key-secret"),
            ),
        ] {
            let entry = entry(&key).unwrap_or_else(|fault| panic!("{name}: {fault}"));
            assert_eq!(entry.chain, chain(), "{name}");
            assert!(!entry.password_unused, "{name}");
        }
        // Another key than the chain's; whether they belong together is checked later.
        entry(&der(der_of("key-pkcs1.pem", None))).unwrap();
        assert!(
            entry(&pem("key-pkcs8.pem").password("none"))
                .unwrap()
                .password_unused
        );
    }

    /// A key of PKCS#8 in DER, encrypted.
    fn encrypted_der() -> Vec<u8> {
        use base64::Engine as _;
        let text = text("key-scrypt.pem");
        let digits: String = text.lines().filter(|line| !line.starts_with('-')).collect();
        base64::engine::general_purpose::STANDARD
            .decode(digits)
            .unwrap()
    }

    #[test]
    fn what_is_no_key_is_told() {
        let der = |key: Vec<u8>| ClientKey::der(key, [file("root.der")]);
        for (key, fault) in [
            (
                der(file("root.der")),
                "key: it is a certificate, and not a private key",
            ),
            (
                der(file("keytool.p12")),
                "key: it is a store, and not a private key by itself",
            ),
            (der(Vec::new()), "key: it is empty"),
            (
                der(b"hello".to_vec()),
                "key: the private key is damaged, or has an unknown form",
            ),
            (
                der(encrypted_der()),
                "key: the private key is encrypted, and no password is given",
            ),
            (
                ClientKey::der(file("leaf.key.der"), [b"hello"]),
                "chain: it is neither PEM nor JKS nor PKCS#12",
            ),
            (
                ClientKey::der(file("leaf.key.der"), Vec::<Vec<u8>>::new()),
                "chain: it has no certificate for its private key",
            ),
            (
                ClientKey::pem("none", text("chain.pem")),
                "key: it has no private key",
            ),
            (
                ClientKey::store(file("keytool.p12")).password("wrong"),
                "chain: the password of the PKCS#12 store is wrong, or the store was changed",
            ),
        ] {
            assert_eq!(entry(&key).unwrap_err(), fault);
        }
    }

    #[test]
    fn debug_shows_how_many_bytes_there_are_and_no_byte_of_them() {
        let trust = TrustMaterial::pem("hunter2").password("hunter3");
        assert_eq!(format!("{trust:?}"), "TrustMaterial { bytes: 7, .. }");
        let key = ClientKey::pem("hunter2", "hunter").key_password("hunter3");
        assert_eq!(format!("{key:?}"), "ClientKey { bytes: 13, .. }");
        let key = ClientKey::store("hunter2").password("hunter3");
        assert_eq!(format!("{key:?}"), "ClientKey { bytes: 7, .. }");
    }
}
