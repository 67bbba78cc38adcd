//! The contents of the stores: read from files or settings, then parsed.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::sign::CertifiedKey;
use rustls::{Error as RustlsError, InconsistentKeys};
use zeroize::Zeroizing;

use super::fault::tls_error;
use super::settings::{KeySource, StoreFile, TlsSettings, TrustSource};
use super::stores::{self, Format, KeyEntry, Keys, StoreFault};
use crate::error::Error;
use crate::secret::{self, FileFault};
use crate::threads::logging::log_line;

/// The bytes of the stores that are files. What stands in the settings themselves does not change.
pub(super) struct Material {
    keys: Option<Zeroizing<Vec<u8>>>,
    trust: Option<Zeroizing<Vec<u8>>>,
}

impl Hash for Material {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for bytes in [&self.keys, &self.trust] {
            bytes.as_ref().map(|bytes| &bytes[..]).hash(state);
        }
    }
}

/// The certificates to trust.
pub(super) struct Trust {
    pub(super) certificates: Vec<CertificateDer<'static>>,
    /// See [`Anchors::origin`](super::verifier::Anchors).
    pub(super) origin: String,
}

impl Material {
    /// Reads the files that the settings name.
    pub(super) fn read(settings: &TlsSettings) -> Result<Self, Error> {
        Ok(Self {
            keys: match &settings.keys {
                Some(KeySource::File(store)) => Some(read(store, "ssl.keystore.location")?),
                _ => None,
            },
            trust: match &settings.trust {
                Some(TrustSource::File(store)) => Some(read(store, "ssl.truststore.location")?),
                _ => None,
            },
        })
    }

    /// Makes certificates and keys of the bytes.
    pub(super) fn parse(
        self,
        settings: &TlsSettings,
        provider: &CryptoProvider,
    ) -> Result<(Trust, Vec<Arc<CertifiedKey>>), Error> {
        let trust = self.parse_trust(settings)?;
        let keys = self.parse_keys(settings, provider)?;
        Ok((trust, keys))
    }
}

fn read(store: &StoreFile, setting: &str) -> Result<Zeroizing<Vec<u8>>, Error> {
    let bytes = secret::read_file(&store.path, stores::MAX_BYTES);
    bytes.map(Zeroizing::new).map_err(|fault| {
        let why = match fault {
            FileFault::Unreadable(error) => error.to_string(),
            FileFault::NotAFile => "it is not a file".to_owned(),
            FileFault::TooLong => format!("it has more than {} bytes", stores::MAX_BYTES),
        };
        tls_error(
            format!("{} cannot be read: {why}", origin_of(setting, store)),
            "check the path and the permissions",
        )
    })
}

impl Material {
    fn parse_trust(&self, settings: &TlsSettings) -> Result<Trust, Error> {
        let Some(source) = &settings.trust else {
            return system_trust();
        };
        let (certificates, origin) = match source {
            TrustSource::Inline(text) => {
                let origin = "ssl.truststore.certificates".to_owned();
                (stores::pem_certificates(text.as_bytes()), origin)
            }
            TrustSource::File(store) => {
                let origin = origin_of("ssl.truststore.location", store);
                let bytes = bytes_of(self.trust.as_ref());
                warn_of_type(store, bytes, "ssl.truststore.type", &origin);
                (trusted_in(bytes, store), origin)
            }
        };
        Ok(Trust {
            certificates: certificates.map_err(|fault| unusable(&origin, &fault))?,
            origin,
        })
    }

    fn parse_keys(
        &self,
        settings: &TlsSettings,
        provider: &CryptoProvider,
    ) -> Result<Vec<Arc<CertifiedKey>>, Error> {
        let key_password = settings.key_password.as_ref();
        let (keys, origin) = match &settings.keys {
            None => return Ok(Vec::new()),
            Some(KeySource::Inline { key, chain }) => {
                let origin = "ssl.keystore.certificate.chain".to_owned();
                let chain = stores::pem_certificates(chain.reveal().as_bytes())
                    .map_err(|fault| unusable(&origin, &fault))?;
                let key = stores::pem_key(key.reveal().as_bytes(), key_password)
                    .map_err(|fault| unusable("ssl.keystore.key", &fault))?;
                let entry = KeyEntry {
                    alias: None,
                    chain,
                    key: key.key,
                    password_unused: key.password_unused,
                };
                (Keys::one(entry), origin)
            }
            Some(KeySource::File(store)) => {
                let origin = origin_of("ssl.keystore.location", store);
                let bytes = bytes_of(self.keys.as_ref());
                warn_of_type(store, bytes, "ssl.keystore.type", &origin);
                let entries = stores::read_keys(bytes, store.password.as_ref(), key_password);
                (entries.map_err(|fault| unusable(&origin, &fault))?, origin)
            }
        };
        usable(keys, &origin, provider)
    }
}

fn trusted_in(bytes: &[u8], store: &StoreFile) -> Result<Vec<CertificateDer<'static>>, StoreFault> {
    let trusted = stores::read_trust(bytes, store.password.as_ref())?;
    let trusted = trusted.certificates.into_iter();
    Ok(trusted.map(|trusted| trusted.certificate).collect())
}

/// Returns the keys that can be used. A key that cannot does not keep the others from use.
fn usable(
    keys: Keys,
    origin: &str,
    provider: &CryptoProvider,
) -> Result<Vec<Arc<CertifiedKey>>, Error> {
    let faults = keys.faults.iter().map(|fault| unusable(origin, fault));
    let mut faults: Vec<_> = faults.collect();
    let mut usable = Vec::new();
    for entry in keys.entries {
        match certified_key(entry, origin, provider) {
            Ok(key) => usable.push(key),
            Err(fault) => faults.push(fault),
        }
    }
    if let Some(first) = faults.first() {
        if usable.is_empty() {
            return Err(faults.swap_remove(0));
        }
        log_line!(
            log::Level::Warn,
            target: "kafka_producer",
            "{} of {} private keys cannot be used, and the others are: {first}",
            faults.len(),
            faults.len() + usable.len()
        );
    }
    Ok(usable)
}

fn unusable(origin: &str, fault: &StoreFault) -> Error {
    tls_error(format!("{origin} cannot be read: {fault}"), fault.advice())
}

/// Warns if a store has another format than its setting says.
fn warn_of_type(store: &StoreFile, bytes: &[u8], setting: &str, origin: &str) {
    let (Some(declared), Some(found)) = (&store.declared, Format::of(bytes)) else {
        return;
    };
    if *declared != found.to_string() {
        log_line!(
            log::Level::Warn,
            target: "kafka_producer",
            "{setting}={} and {origin} is {found}: the contents decide",
            crate::error::printable(declared)
        );
    }
}

fn bytes_of(file: Option<&Zeroizing<Vec<u8>>>) -> &[u8] {
    file.map_or(&[], |bytes| bytes)
}

/// Returns how messages name a store.
fn origin_of(setting: &str, store: &StoreFile) -> String {
    format!("{setting}={}", store.path.display())
}

/// Returns the certificates that the system trusts.
fn system_trust() -> Result<Trust, Error> {
    let loaded = rustls_native_certs::load_native_certs();
    if loaded.certs.is_empty() {
        let mut message = "the system has no certificates to trust".to_owned();
        if let Some(error) = loaded.errors.first() {
            message = format!("{message}: {error}");
        }
        let advice = "set ssl.truststore.location or ssl.truststore.certificates, or install the system's certificates \
                      (the package ca-certificates)";
        return Err(tls_error(message, advice));
    }
    Ok(Trust {
        certificates: loaded.certs,
        origin: "the system's trust store".to_owned(),
    })
}

/// Joins a key with its certificates, and checks that they belong together.
fn certified_key(
    entry: KeyEntry,
    origin: &str,
    provider: &CryptoProvider,
) -> Result<Arc<CertifiedKey>, Error> {
    let KeyEntry {
        alias,
        chain,
        mut key,
        password_unused,
    } = entry;
    let named = alias.map_or_else(String::new, |alias| {
        format!(" `{}`", stores::shortened(&alias))
    });
    if password_unused {
        log_line!(
            log::Level::Warn,
            target: "kafka_producer",
            "{origin} has a private key that is not encrypted, so ssl.key.password has no effect"
        );
    }
    let key = provider
        .key_provider
        .load_private_key(stores::take(&mut key))
        .map_err(|error| {
            tls_error(
                format!("{origin} has a private key{named} that cannot be used: {error}"),
                "use an RSA key of 2048 bits or more, or an EC key on P-256 or P-384",
            )
        })?;
    let certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        Err(RustlsError::InconsistentKeys(InconsistentKeys::KeyMismatch)) => Err(tls_error(
            format!("{origin} has a private key{named} that is not the one of its certificate"),
            "put the certificate that was issued for this key first in the chain",
        )),
        // The provider cannot tell, or the certificate is of version 1, which rustls does not read: the broker decides.
        _ => Ok(Arc::new(certified)),
    }
}

#[cfg(all(test, feature = "tls", feature = "tls-stores"))]
mod tests {
    use super::super::TlsClient;
    use super::*;

    fn file(name: &str, password: Option<&str>) -> StoreFile {
        let path = format!("{}/tests/data/stores/{name}", env!("CARGO_MANIFEST_DIR"));
        StoreFile {
            path: path.into(),
            password: password.map(From::from),
            declared: None,
        }
    }

    fn settings(keys: StoreFile, key_password: Option<&str>, trust: StoreFile) -> TlsSettings {
        TlsSettings {
            keys: Some(KeySource::File(keys)),
            trust: Some(TrustSource::File(trust)),
            key_password: key_password.map(From::from),
            ..TlsSettings::default()
        }
    }

    #[test]
    fn every_format_makes_a_client() {
        let (store, key) = (Some("store-secret"), Some("key-secret"));
        for (keys, key_password, trust) in [
            (file("keytool.jks", store), key, file("trust.jks", store)),
            (file("several.p12", store), None, file("trust.p12", store)),
            (
                file("openssl-legacy.p12", store),
                None,
                file("trust-plain.p12", None),
            ),
            (file("keystore.pem", None), None, file("chain.pem", None)),
            (
                file("keystore-encrypted.pem", None),
                key,
                file("root.der", None),
            ),
        ] {
            let settings = settings(keys, key_password, trust);
            TlsClient::new(settings.clone())
                .unwrap_or_else(|error| panic!("{settings:?}: {error}"));
        }
    }

    #[test]
    fn a_key_that_cannot_be_used_does_not_keep_the_others_from_use() {
        let provider = super::super::client::provider();
        let usable = |keys: StoreFile, key_password| {
            let settings = settings(keys, key_password, file("trust.jks", None));
            let material = Material::read(&settings).unwrap();
            material.parse_keys(&settings, &provider)
        };
        let store = Some("store-secret");
        for (name, key_password) in [
            ("several.p12", None),
            ("one-unusable.p12", None),
            ("two-passwords.jks", None),
            ("two-passwords.jks", Some("key-secret")),
        ] {
            let keys = usable(file(name, store), key_password).unwrap();
            let expected = if name == "several.p12" { 2 } else { 1 };
            assert_eq!(keys.len(), expected, "{name}");
        }
        let error = usable(file("two-passwords.jks", store), Some("wrong")).unwrap_err();
        assert!(error.to_string().contains("cannot be decrypted"), "{error}");
    }

    #[test]
    fn a_file_that_is_too_long_is_refused_before_it_is_read() {
        let name = format!("kafka-producer-long-{}.pem", std::process::id());
        let path = std::env::temp_dir().join(name);
        let made = std::fs::File::create(&path).unwrap();
        made.set_len(stores::MAX_BYTES as u64 + 1).unwrap();
        let trust = StoreFile {
            path: path.clone(),
            password: None,
            declared: None,
        };
        let settings = settings(file("keystore.pem", None), None, trust);
        let error = TlsClient::new(settings).expect_err("a long file");
        std::fs::remove_file(&path).unwrap();
        let shown = error.to_string();
        assert!(shown.contains("it has more than 16777216 bytes"), "{shown}");
    }

    #[test]
    fn a_fault_names_the_setting_the_file_and_the_way_out() {
        let jks = || file("trust.jks", None);
        let keys = file("keytool.jks", Some("store-secret"));
        let error =
            TlsClient::new(settings(keys, Some("wrong"), jks())).expect_err("wrong key password");
        let shown = error.to_string();
        assert!(shown.contains("ssl.keystore.location=/"), "{shown}");
        assert!(
            shown.contains(
                "keytool.jks cannot be read: the private key `client` cannot be decrypted"
            ),
            "{shown}"
        );
        assert!(shown.contains("set ssl.key.password"), "{shown}");
        let other = TlsSettings {
            keys: Some(KeySource::Inline {
                key: "hidden".into(),
                chain: "none".into(),
            }),
            ..TlsSettings::default()
        };
        let shown = TlsClient::new(other)
            .expect_err("no certificate")
            .to_string();
        assert!(
            shown.contains("ssl.keystore.certificate.chain cannot be read: it has no certificate"),
            "{shown}"
        );
        assert!(!shown.contains("hidden"), "{shown}");
    }
}
