//! Setters for certificates and keys that are in no file.

use std::sync::Arc;

use crate::error::Error;
use crate::secret::HIDDEN;
use crate::tls::settings::{KeySource, Provider, TrustSource};
use crate::tls::{ClientKey, TrustMaterial};

use super::{ProducerConfig, SecurityProtocol, config_error};
use crate::producer::serializer::BoxError;

/// Certificates and keys that were set in code.
#[derive(Clone, Default)]
pub(super) struct TlsInCode {
    trust: Option<TrustSource>,
    keys: Option<KeySource>,
}

/// Setters for TLS without files. They have no name of Kafka's. `security.protocol` must be `SSL` or `SASL_SSL`. `build` reads
/// what they set, and returns an error if it is not usable, or if a setting of Kafka's asks for another source, such as
/// `ssl.truststore.location`.
impl ProducerConfig {
    /// Trusts the certificates of `trust`, which replaces `ssl.truststore.*`. Default: those of `ssl.truststore.*`, or else
    /// those that the system trusts.
    ///
    /// ```
    /// use kafka_producer::{ProducerConfig, SecurityProtocol, TrustMaterial};
    ///
    /// let authority = "-----BEGIN CERTIFICATE-----\n...";
    /// let config = ProducerConfig::new()
    ///     .security_protocol(SecurityProtocol::Ssl)
    ///     .tls_trust(TrustMaterial::pem(authority));
    /// ```
    #[must_use]
    pub fn tls_trust(mut self, trust: TrustMaterial) -> Self {
        self.tls_in_code.trust = Some(TrustSource::Code(Arc::new(trust)));
        self
    }

    /// As [`tls_trust`](Self::tls_trust), and asks `provider` again for each connection, so that the certificates can be
    /// exchanged while the producer runs.
    ///
    /// `build` has another thread call it, and waits for it as for the files of the other settings: `max.block.ms` at most, or
    /// 5 s if that is more. It returns an error if the provider fails. Later a thread of the producer calls it. A new
    /// connection waits for it two seconds at most, or half of its time if that is shorter. If it then has no answer, if it
    /// fails or panics, or if the certificates are not usable, the connection uses the last ones that were, and the log has
    /// a warning. Existing connections stay. Do not put secrets into the error's text, because it is logged. The provider
    /// must not use the producer that calls it.
    #[must_use]
    pub fn tls_trust_provider(
        mut self,
        provider: impl Fn() -> Result<TrustMaterial, BoxError> + Send + Sync + 'static,
    ) -> Self {
        self.tls_in_code.trust = Some(TrustSource::Provider(Provider::new(provider)));
        self
    }

    /// Shows the certificate of `key` to brokers that ask for one, which replaces `ssl.keystore.*` and `ssl.key.password`.
    /// Default: what these settings name, or else none.
    ///
    /// ```
    /// use kafka_producer::{ClientKey, ProducerConfig, SecurityProtocol};
    ///
    /// let (key, chain) = ("-----BEGIN PRIVATE KEY-----\n...", "-----BEGIN CERTIFICATE-----\n...");
    /// let config = ProducerConfig::new()
    ///     .security_protocol(SecurityProtocol::Ssl)
    ///     .tls_client_key(ClientKey::pem(key, chain));
    /// ```
    #[must_use]
    pub fn tls_client_key(mut self, key: ClientKey) -> Self {
        self.tls_in_code.keys = Some(KeySource::Code(Arc::new(key)));
        self
    }

    /// As [`tls_client_key`](Self::tls_client_key), and asks `provider` again for each connection, so that the key can be
    /// exchanged while the producer runs. It is called as [`tls_trust_provider`](Self::tls_trust_provider) says.
    ///
    /// ```
    /// use std::sync::{Arc, Mutex};
    /// use kafka_producer::{ClientKey, ProducerConfig};
    ///
    /// # let (key, chain) = ("-----BEGIN PRIVATE KEY-----\n...", "-----BEGIN CERTIFICATE-----\n...");
    /// let current = Arc::new(Mutex::new(ClientKey::pem(key, chain)));
    /// let shared = Arc::clone(&current);
    /// let config = ProducerConfig::new()
    ///     .tls_client_key_provider(move || Ok(shared.lock().map_err(|_| "a thread panicked")?.clone()));
    /// // Later: new connections show this one.
    /// *current.lock().unwrap() = ClientKey::pem(key, chain);
    /// ```
    #[must_use]
    pub fn tls_client_key_provider(
        mut self,
        provider: impl Fn() -> Result<ClientKey, BoxError> + Send + Sync + 'static,
    ) -> Self {
        self.tls_in_code.keys = Some(KeySource::Provider(Provider::new(provider)));
        self
    }

    /// What is set in code, as `Debug` shows it.
    pub(super) fn tls_set_in_code(&self) -> impl Iterator<Item = (&'static str, String)> {
        let trust = self.tls_in_code.trust.as_ref();
        let keys = self.tls_in_code.keys.as_ref();
        let setters = [
            trust.and_then(TrustSource::setter),
            keys.and_then(KeySource::setter),
        ];
        let setters = setters.into_iter().flatten();
        setters.map(|setter| (setter, HIDDEN.to_owned()))
    }

    /// Refuses certificates and keys that would not be used.
    pub(super) fn check_use_of_tls_in_code(&self, protocol: SecurityProtocol) -> Result<(), Error> {
        match self.tls_set_in_code().next() {
            Some((setter, _)) if !protocol.uses_tls() => Err(config_error(format!(
                "{setter} is set, and security.protocol is not SSL or SASL_SSL: set it"
            ))),
            _ => Ok(()),
        }
    }

    /// Returns the certificates that were set in code, if the settings have no others.
    pub(super) fn trust_of_code(&self) -> Result<Option<TrustSource>, Error> {
        const OTHERS: [&str; 4] = [
            "ssl.truststore.location",
            "ssl.truststore.certificates",
            "ssl.truststore.password",
            "ssl.truststore.type",
        ];
        let source = self.tls_in_code.trust.clone();
        self.check_only(source.as_ref().and_then(TrustSource::setter), &OTHERS)?;
        Ok(source)
    }

    /// Returns the key that was set in code, if the settings have no other.
    pub(super) fn key_of_code(&self) -> Result<Option<KeySource>, Error> {
        const OTHERS: [&str; 6] = [
            "ssl.keystore.location",
            "ssl.keystore.key",
            "ssl.keystore.certificate.chain",
            "ssl.keystore.password",
            "ssl.keystore.type",
            "ssl.key.password",
        ];
        let source = self.tls_in_code.keys.clone();
        self.check_only(source.as_ref().and_then(KeySource::setter), &OTHERS)?;
        Ok(source)
    }

    fn check_only(&self, setter: Option<&str>, others: &[&'static str]) -> Result<(), Error> {
        let Some(setter) = setter else {
            return Ok(());
        };
        let is_set = |name: &&'static str| self.is_set(name) && !self.text(name).is_empty();
        match others.iter().copied().find(is_set) {
            Some(other) => Err(config_error(format!(
                "{setter} and {other} are both set: leave one of them out"
            ))),
            None => Ok(()),
        }
    }
}

#[cfg(all(test, feature = "tls-stores"))]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn file(name: &str) -> Vec<u8> {
        let path = format!("{}/tests/data/stores/{name}", env!("CARGO_MANIFEST_DIR"));
        std::fs::read(path).unwrap()
    }

    fn config() -> ProducerConfig {
        ProducerConfig::new().security_protocol(SecurityProtocol::Ssl)
    }

    fn trust() -> TrustMaterial {
        TrustMaterial::store(file("trust.p12")).password("store-secret")
    }

    fn key() -> ClientKey {
        ClientKey::store(file("several.p12")).password("store-secret")
    }

    fn refused(config: &ProducerConfig) -> Error {
        let faults = config.protection().err().expect("a refusal");
        let error = faults.into_error();
        assert_eq!(error.kind(), ErrorKind::Config);
        error
    }

    #[test]
    fn what_is_set_in_code_is_used_and_shown_by_its_setter_only() {
        let config = config().tls_trust(trust()).tls_client_key(key());
        assert!(config.protection().is_ok());
        let shown = format!("{config:?}");
        assert!(
            shown.contains(r#""tls_trust": "[hidden]", "tls_client_key": "[hidden]""#),
            "{shown}"
        );
        let config = ProducerConfig::new()
            .tls_trust_provider(|| Ok(trust()))
            .tls_client_key_provider(|| Ok(key()));
        let shown = format!("{config:?}");
        assert!(
            shown.contains(
                r#""tls_trust_provider": "[hidden]", "tls_client_key_provider": "[hidden]""#
            ),
            "{shown}"
        );
    }

    #[test]
    fn a_setting_of_another_source_is_refused_and_named() {
        for name in [
            "ssl.truststore.location",
            "ssl.truststore.certificates",
            "ssl.truststore.password",
            "ssl.truststore.type",
        ] {
            let mut config = config().tls_trust(trust());
            config.set(name, "PEM").unwrap();
            assert_eq!(
                refused(&config).to_string(),
                format!("tls_trust and {name} are both set: leave one of them out")
            );
            config.set(name, "").unwrap();
            assert!(config.protection().is_ok(), "{name} is empty");
        }
        for name in [
            "ssl.keystore.location",
            "ssl.keystore.password",
            "ssl.keystore.type",
            "ssl.keystore.key",
            "ssl.keystore.certificate.chain",
            "ssl.key.password",
        ] {
            let mut config = config()
                .tls_trust(trust())
                .tls_client_key_provider(|| Ok(key()));
            config.set(name, "PEM").unwrap();
            assert_eq!(
                refused(&config).to_string(),
                format!("tls_client_key_provider and {name} are both set: leave one of them out")
            );
        }
    }

    #[test]
    fn a_protocol_without_tls_is_refused() {
        for config in [
            ProducerConfig::new().tls_trust(trust()),
            ProducerConfig::new().tls_trust_provider(|| Ok(trust())),
        ] {
            let error = refused(&config).to_string();
            assert!(
                error.ends_with("is set, and security.protocol is not SSL or SASL_SSL: set it"),
                "{error}"
            );
        }
        let plaintext = config().security_protocol(SecurityProtocol::SaslPlaintext);
        let error = refused(&plaintext.tls_client_key(key())).to_string();
        assert!(
            error.contains(
                "\n  tls_client_key is set, and security.protocol is not SSL or SASL_SSL: set it"
            ),
            "{error}"
        );
        assert!(error.contains("\n  sasl.jaas.config is not set"), "{error}");
    }

    #[test]
    fn a_fault_names_the_setter_and_the_way_out() {
        let jks = ClientKey::store(file("keytool.jks"));
        let error = refused(&config().tls_trust(trust()).tls_client_key(jks)).to_string();
        assert!(
            error.contains(
                "tls_client_key cannot be read: the private key `client` is encrypted, and no password is given"
            ) && error.contains("set ClientKey::key_password"),
            "{error}"
        );
        let nothing = TrustMaterial::der(Vec::<Vec<u8>>::new());
        let error = refused(&config().tls_trust(nothing)).to_string();
        assert!(
            error.contains("tls_trust has no certificate to trust"),
            "{error}"
        );
    }

    #[test]
    fn a_path_in_a_setting_for_pem_names_the_setting_for_paths() {
        let chain = String::from_utf8(file("chain.pem")).unwrap();
        let keys = "ssl.keystore.location takes a path, with ssl.keystore.type=PEM, of one file with the key and its \
                    certificates";
        let trust = "ssl.truststore.location takes a path, with ssl.truststore.type=PEM";
        for (pairs, name, advice) in [
            (
                &[
                    ("ssl.keystore.key", "/etc/hunter2.key"),
                    ("ssl.keystore.certificate.chain", &*chain),
                ][..],
                "ssl.keystore.key",
                keys,
            ),
            (
                &[
                    ("ssl.keystore.key", "hunter2"),
                    ("ssl.keystore.certificate.chain", "/etc/client.pem"),
                ],
                "ssl.keystore.certificate.chain",
                keys,
            ),
            (
                &[("ssl.truststore.certificates", "ca.pem")],
                "ssl.truststore.certificates",
                trust,
            ),
        ] {
            let mut config = config();
            for (name, value) in pairs {
                config.set(name, value).unwrap();
            }
            let error = refused(&config).to_string();
            assert_eq!(
                error,
                format!(
                    "{name} cannot be read: it looks like a path, and the text of PEM is needed; {advice}"
                )
            );
        }
    }

    #[test]
    fn a_provider_that_fails_or_panics_is_an_error_of_its_setter() {
        let failing = config().tls_trust_provider(|| Err("the vault is sealed".into()));
        let error = refused(&failing).to_string();
        assert!(
            error.starts_with("tls_trust_provider failed: the vault is sealed"),
            "{error}"
        );
        let panicking = config()
            .tls_trust(trust())
            .tls_client_key_provider(|| panic!("a fault of the user's"));
        let error = refused(&panicking).to_string();
        assert!(
            error.starts_with("tls_client_key_provider panicked"),
            "{error}"
        );
    }
}
