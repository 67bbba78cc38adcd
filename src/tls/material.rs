//! The contents of the stores: from files, settings or code of the user, then parsed.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::sign::CertifiedKey;
use rustls::{Error as RustlsError, InconsistentKeys};

use super::fault::tls_error;
use super::given::{ClientKey, KeyFault, TrustMaterial};
use super::settings::{Doubts, KeySource, Provider, StoreFile, TlsSettings, TrustSource};
use super::stores::{self, Format, KeyEntry, Keys, Names, StoreFault};
use super::system::{self, SystemPlace};
use crate::error::{Error, advice_on_path};
use crate::secret::{self, FileFault, SecretBytes};
use crate::threads::logging::log_line;

/// What the stores have now. What stands in the settings themselves does not change.
#[derive(Hash)]
pub(super) struct Material {
    keys: Option<Arc<ClientKey>>,
    trust: Option<Arc<TrustMaterial>>,
    /// Without a trust store: what shows that the system's certificates have changed.
    system: Vec<SystemPlace>,
}

/// The certificates to trust.
pub(super) struct Trust {
    pub(super) certificates: Vec<CertificateDer<'static>>,
    /// See [`Anchors::origin`](super::verifier::Anchors).
    pub(super) origin: String,
}

impl Material {
    /// Reads the files that the settings name, and asks code of the user.
    pub(super) fn read(settings: &TlsSettings) -> Result<Self, Error> {
        let keys = settings.keys.as_ref().map(read_keys).transpose()?;
        let trust = settings.trust.as_ref().map(read_trust).transpose()?;
        let system = match trust {
            None => system::state(),
            Some(_) => Vec::new(),
        };
        Ok(Self {
            keys,
            trust,
            system,
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

fn read_keys(source: &KeySource) -> Result<Arc<ClientKey>, Error> {
    Ok(match source {
        KeySource::File {
            store,
            key_password,
        } => {
            let bytes = read(store, KEY_STORE)?;
            let (password, key_password) = (store.password.clone(), key_password.clone());
            Arc::new(ClientKey::of_file(bytes, password, key_password))
        }
        KeySource::Inline(key) | KeySource::Code(key) => Arc::clone(key),
        KeySource::Provider(provider) => Arc::new(supplied(provider, source.setter())?),
    })
}

fn read_trust(source: &TrustSource) -> Result<Arc<TrustMaterial>, Error> {
    Ok(match source {
        TrustSource::File(store) => {
            let bytes = read(store, TRUST_STORE)?;
            Arc::new(TrustMaterial::of_file(bytes, store.password.clone()))
        }
        TrustSource::Inline(trust) | TrustSource::Code(trust) => Arc::clone(trust),
        TrustSource::Provider(provider) => Arc::new(supplied(provider, source.setter())?),
    })
}

const KEY_STORE: &str = "ssl.keystore.location";
const TRUST_STORE: &str = "ssl.truststore.location";

fn read(store: &StoreFile, setting: &str) -> Result<SecretBytes, Error> {
    let bytes = secret::read_file(&store.path, stores::MAX_BYTES);
    bytes.map(SecretBytes::new).map_err(|fault| {
        let advice = match &fault {
            FileFault::Unreadable(error) => advice_on_path(&store.path, error),
            FileFault::NotAFile | FileFault::TooLong => None,
        };
        let why = match fault {
            FileFault::Unreadable(error) => error.to_string(),
            FileFault::NotAFile => "it is not a file".to_owned(),
            FileFault::TooLong => format!("it has more than {} bytes", stores::MAX_BYTES),
        };
        tls_error(
            format!("{} cannot be read: {why}", origin_of(setting, store)),
            advice.unwrap_or("check the path and the permissions"),
        )
    })
}

fn supplied<T>(provider: &Provider<T>, setter: Option<&str>) -> Result<T, Error> {
    provider.get().map_err(|fault| {
        let message = format!(
            "{} {}",
            setter.unwrap_or_default(),
            crate::error::printable(&fault)
        );
        tls_error(message, "see the code that was given to this setter")
    })
}

impl Material {
    fn parse_trust(&self, settings: &TlsSettings) -> Result<Trust, Error> {
        let (Some(source), Some(trust)) = (&settings.trust, &self.trust) else {
            return Ok(Trust {
                certificates: system::certificates()?,
                origin: "the system's trust store".to_owned(),
            });
        };
        let origin = match source {
            TrustSource::File(store) => {
                let origin = origin_of(TRUST_STORE, store);
                settings.doubts.log_once(doubt_of_type(
                    store,
                    trust.format(),
                    "ssl.truststore.type",
                    &origin,
                ));
                settings.doubts.log_once(doubt_of_password(
                    store,
                    trust.format(),
                    Names::TRUST_STORE.password,
                    &origin,
                ));
                origin
            }
            TrustSource::Inline(_) => "ssl.truststore.certificates".to_owned(),
            TrustSource::Code(_) | TrustSource::Provider(_) => {
                source.setter().unwrap_or_default().to_owned()
            }
        };
        match trust.certificates() {
            Ok(certificates) => Ok(Trust {
                certificates,
                origin,
            }),
            Err(fault) => {
                let names = match source {
                    TrustSource::File(_) | TrustSource::Inline(_) => Names::TRUST_STORE,
                    TrustSource::Code(_) | TrustSource::Provider(_) => Names::TRUST_MATERIAL,
                };
                Err(unusable(&origin, &fault, &names))
            }
        }
    }

    fn parse_keys(
        &self,
        settings: &TlsSettings,
        provider: &CryptoProvider,
    ) -> Result<Vec<Arc<CertifiedKey>>, Error> {
        let (Some(source), Some(key)) = (&settings.keys, &self.keys) else {
            return Ok(Vec::new());
        };
        let origin = KeyOrigin::of(source);
        if let KeySource::File { store, .. } = source {
            settings.doubts.log_once(doubt_of_type(
                store,
                key.format(),
                "ssl.keystore.type",
                &origin.chain,
            ));
            settings.doubts.log_once(doubt_of_password(
                store,
                key.format(),
                Names::KEY_STORE.password,
                &origin.chain,
            ));
        }
        match key.keys() {
            Ok(keys) => usable(keys, &origin, provider, &settings.doubts),
            Err(KeyFault::Chain(fault)) => Err(origin.unusable(&origin.chain, &fault)),
            Err(KeyFault::Key(fault)) => Err(origin.unusable(&origin.key, &fault)),
        }
    }
}

/// How messages name the parts of a key store.
struct KeyOrigin {
    /// The store, or the certificates.
    chain: String,
    /// The private key, where it is by itself.
    key: String,
    names: Names,
}

impl KeyOrigin {
    fn of(source: &KeySource) -> Self {
        let one = |name: String, names| Self {
            chain: name.clone(),
            key: name,
            names,
        };
        match source {
            KeySource::File { store, .. } => one(origin_of(KEY_STORE, store), Names::KEY_STORE),
            KeySource::Inline(_) => Self {
                chain: "ssl.keystore.certificate.chain".to_owned(),
                key: "ssl.keystore.key".to_owned(),
                names: Names::KEY_STORE,
            },
            KeySource::Code(_) | KeySource::Provider(_) => {
                let setter = source.setter().unwrap_or_default();
                one(setter.to_owned(), Names::CLIENT_KEY)
            }
        }
    }

    /// Makes the error of a store or a key that `name` stands for.
    fn unusable(&self, name: &str, fault: &StoreFault) -> Error {
        unusable(name, fault, &self.names)
    }
}

/// Returns the keys that can be used. A key that cannot does not keep the others from use.
fn usable(
    keys: Keys,
    origin: &KeyOrigin,
    provider: &CryptoProvider,
    doubts: &Doubts,
) -> Result<Vec<Arc<CertifiedKey>>, Error> {
    let faults = keys.faults.iter();
    let faults = faults.map(|fault| origin.unusable(&origin.chain, fault));
    let mut faults: Vec<_> = faults.collect();
    let mut usable = Vec::new();
    for entry in keys.entries {
        match certified_key(entry, origin, provider, doubts) {
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

fn unusable(origin: &str, fault: &StoreFault, names: &Names) -> Error {
    tls_error(
        format!("{origin} cannot be read: {fault}"),
        fault.advice(names),
    )
}

/// Returns what to say if a store has another format than its setting says. The name of the file says nothing: since Java 9,
/// keytool makes PKCS#12 under every name, so most files named `.jks` are that.
fn doubt_of_type(
    store: &StoreFile,
    found: Option<Format>,
    setting: &str,
    origin: &str,
) -> Option<String> {
    let declared = store.declared.as_ref()?;
    let found = found?.to_string();
    (*declared != found).then(|| {
        let declared = crate::error::printable(declared);
        format!("{setting}={declared} and {origin} is {found}: the contents decide")
    })
}

/// Returns what to say if a password is given for a store that has none. If the setting of its type says PEM, the settings
/// were refused before.
fn doubt_of_password(
    store: &StoreFile,
    found: Option<Format>,
    setting: &str,
    origin: &str,
) -> Option<String> {
    store.password.as_ref()?;
    let without = found.filter(|found| matches!(found, Format::Pem | Format::Der))?;
    Some(format!(
        "{origin} is {without}, which has no password, so {setting} has no effect"
    ))
}

/// Returns how messages name a store.
fn origin_of(setting: &str, store: &StoreFile) -> String {
    format!("{setting}={}", store.path.display())
}

/// Joins a key with its certificates, and checks that they belong together.
fn certified_key(
    entry: KeyEntry,
    origin: &KeyOrigin,
    provider: &CryptoProvider,
    doubts: &Doubts,
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
    let store = &origin.chain;
    doubts.log_once(password_unused.then(|| {
        format!(
            "{store} has a private key that is not encrypted, so {} has no effect",
            origin.names.key_password
        )
    }));
    let key = provider
        .key_provider
        .load_private_key(stores::take(&mut key))
        .map_err(|error| {
            tls_error(
                format!("{store} has a private key{named} that cannot be used: {error}"),
                "use an RSA key of 2048 bits or more, or an EC key on P-256 or P-384",
            )
        })?;
    let certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        Err(RustlsError::InconsistentKeys(InconsistentKeys::KeyMismatch)) => Err(tls_error(
            format!("{store} has a private key{named} that is not the one of its certificate"),
            "put the certificate that was issued for this key first in the chain",
        )),
        // The provider cannot tell, or the certificate is of version 1, which rustls does not read: the broker decides.
        _ => Ok(Arc::new(certified)),
    }
}

#[cfg(all(test, feature = "tls-stores"))]
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
            keys: Some(KeySource::File {
                store: keys,
                key_password: key_password.map(From::from),
            }),
            trust: Some(TrustSource::File(trust)),
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
        let provider = super::super::provider::provider().unwrap();
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
    fn a_wrong_password_of_a_store_names_its_setting() {
        let (right, wrong) = (Some("store-secret"), Some("hunter2"));
        for (keys, trust, setting) in [
            (
                file("keytool.p12", wrong),
                file("trust.p12", right),
                "ssl.keystore.password",
            ),
            (
                file("keytool.p12", right),
                file("trust.p12", wrong),
                "ssl.truststore.password",
            ),
            (
                file("keytool.p12", right),
                file("trust.p12", None),
                "ssl.truststore.password",
            ),
        ] {
            let error = TlsClient::new(settings(keys, None, trust)).expect_err(setting);
            let shown = error.to_string();
            assert!(
                shown.contains(setting) && !shown.contains("hunter2"),
                "{shown}"
            );
            assert_eq!(shown.matches("store.password").count(), 1, "{shown}");
        }
    }

    #[test]
    fn a_path_that_is_written_for_another_program_gets_its_advice() {
        let store = |path: &str| StoreFile {
            path: path.into(),
            password: None,
            declared: None,
        };
        for (path, advice) in [
            ("file:/etc/x", "write the path without \"file:\""),
            ("classpath:x", "there is no classpath"),
            ("~/x", "only shells replace \"~\""),
            ("C:kafkax", "a .properties file loses each single \\"),
            ("/no/such/file", "check the path and the permissions"),
        ] {
            let settings = settings(file("keystore.pem", None), None, store(path));
            let shown = TlsClient::new(settings).expect_err(path).to_string();
            assert!(shown.contains(advice), "{path}: {shown}");
        }
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
            keys: Some(KeySource::Inline(Arc::new(ClientKey::pem(
                "hidden", "none",
            )))),
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

    /// The store with the format that its setting names.
    fn declared(name: &str, password: Option<&str>, format: &str) -> StoreFile {
        StoreFile {
            declared: Some(format.to_owned()),
            ..file(name, password)
        }
    }

    fn doubts(settings: &TlsSettings) -> Vec<String> {
        // Twice, as for a second connection.
        for _ in 0..2 {
            let material = Material::read(settings).unwrap();
            let provider = crate::tls::provider::provider().unwrap();
            material.parse(settings, &provider).unwrap();
        }
        settings.doubts.logged()
    }

    #[test]
    fn a_store_of_another_format_than_its_setting_says_is_read_and_told_once() {
        let store = Some("store-secret");
        for (keys, trust, told) in [
            (
                declared("keytool.jks", store, "PKCS12"),
                declared("trust.p12", store, "JKS"),
                [
                    "PKCS12 and ssl.keystore.location=",
                    "keytool.jks is JKS: the contents decide",
                ],
            ),
            (
                declared("keystore.pem", None, "JKS"),
                declared("root.der", None, "PEM"),
                [
                    "JKS and ssl.keystore.location=",
                    "keystore.pem is PEM: the contents decide",
                ],
            ),
        ] {
            let told_of_trust = trust.path.display().to_string();
            let settings = settings(keys, Some("key-secret"), trust);
            let doubts = doubts(&settings);
            let of_keys = doubts.iter().find(|doubt| doubt.contains("keystore.type="));
            let of_keys = of_keys.unwrap_or_else(|| panic!("{doubts:?}"));
            assert!(told.iter().all(|part| of_keys.contains(part)), "{of_keys}");
            let of_trust = doubts
                .iter()
                .find(|doubt| doubt.contains("truststore.type="));
            let of_trust = of_trust.unwrap_or_else(|| panic!("{doubts:?}"));
            assert!(of_trust.contains(&told_of_trust), "{of_trust}");
        }
    }

    #[test]
    fn a_password_of_a_store_that_has_none_is_told_once_with_its_setting() {
        let given = Some("hunter2");
        let (keys, trust) = (file("keystore.pem", given), file("root.der", given));
        let paths = [&keys, &trust].map(|store| store.path.display().to_string());
        assert_eq!(
            doubts(&settings(keys, None, trust)),
            [
                format!(
                    "ssl.keystore.location={} is PEM, which has no password, so ssl.keystore.password has no effect",
                    paths[0]
                ),
                format!(
                    "ssl.truststore.location={} is DER, which has no password, so ssl.truststore.password has no effect",
                    paths[1]
                ),
            ]
        );
        let without = settings(file("keystore.pem", None), None, file("root.der", None));
        assert!(doubts(&without).is_empty());
    }

    /// Most files named `.jks` are PKCS#12 since Java 9.
    #[test]
    fn the_name_of_a_file_and_the_right_format_raise_no_doubt() {
        let folder =
            std::env::temp_dir().join(format!("kafka-producer-names-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("trust.jks");
        std::fs::copy(file("trust.p12", None).path, &path).unwrap();
        for format in [None, Some("PKCS12".to_owned())] {
            let trust = StoreFile {
                path: path.clone(),
                password: Some("store-secret".into()),
                declared: format,
            };
            let keys = declared("keystore.pem", None, "PEM");
            assert_eq!(doubts(&settings(keys, None, trust)), [""; 0]);
        }
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_password_for_a_key_that_is_not_encrypted_is_told_once() {
        let settings = settings(
            file("keystore.pem", None),
            Some("unused"),
            file("root.der", None),
        );
        let doubts = doubts(&settings);
        assert_eq!(doubts.len(), 1, "{doubts:?}");
        assert!(
            doubts[0].ends_with(
                "keystore.pem has a private key that is not encrypted, so ssl.key.password has no effect"
            ),
            "{doubts:?}"
        );
    }
}
