//! How connections are protected: makes TLS and SASL of the settings, with the cross rules of Java.

use std::sync::Arc;

use crate::connection::Encryption;
use crate::connection::authentication::{Authenticator, NoAuthentication};
use crate::error::Error;
use crate::threads::logging::log_line;

use super::{ProducerConfig, SecurityProtocol, config_error};

/// What protects the connections of a producer.
#[derive(Clone)]
pub(crate) struct Protection {
    pub(crate) encryption: Encryption,
    pub(crate) authenticator: Arc<dyn Authenticator>,
}

impl Protection {
    /// The protection of `security.protocol=PLAINTEXT`.
    pub(super) fn none() -> Self {
        Self {
            encryption: Encryption::None,
            authenticator: Arc::new(NoAuthentication),
        }
    }
}

impl ProducerConfig {
    /// Makes what `security.protocol` asks for. Reads the stores of TLS.
    pub(super) fn protection(&self) -> Result<Protection, Error> {
        let protocol = self.settings.security_protocol;
        self.check_use(protocol)?;
        let mut protection = Protection::none();
        if protocol.uses_tls() {
            protection.encryption = self.tls()?;
        }
        if protocol.uses_sasl() {
            protection.authenticator = self.sasl()?;
        }
        Ok(protection)
    }

    /// Refuses credentials that were set in code and would not be used. Warns of settings without effect, which a file may
    /// have, as in Java.
    fn check_use(&self, protocol: SecurityProtocol) -> Result<(), Error> {
        #[cfg(feature = "sasl")]
        if self.sasl_credentials.is_some() && !protocol.uses_sasl() {
            return Err(config_error(
                "credentials for SASL are set, and security.protocol is not SASL_SSL or SASL_PLAINTEXT: set it".to_owned(),
            ));
        }
        let unused: Vec<_> = self
            .set_names()
            .filter(|name| {
                name.starts_with("ssl.") && !protocol.uses_tls()
                    || name.starts_with("sasl.") && !protocol.uses_sasl()
            })
            .collect();
        if !unused.is_empty() {
            log_line!(
                log::Level::Warn,
                target: "kafka_producer::config",
                "{}: no effect with security.protocol={}",
                unused.join(", "),
                self.get("security.protocol").unwrap_or_default()
            );
        }
        Ok(())
    }

    #[cfg(not(feature = "tls-core"))]
    fn tls(&self) -> Result<Encryption, Error> {
        Err(lacks_feature("TLS", "tls"))
    }

    #[cfg(not(feature = "sasl"))]
    fn sasl(&self) -> Result<Arc<dyn Authenticator>, Error> {
        Err(lacks_feature("SASL", "sasl"))
    }
}

#[cfg(not(all(feature = "tls-core", feature = "sasl")))]
fn lacks_feature(part: &str, feature: &str) -> Error {
    config_error(format!(
        "security.protocol asks for {part}, which needs the Cargo feature \"{feature}\" of kafka-producer: it is off in \
         this build"
    ))
}

#[cfg(feature = "tls-core")]
mod tls {
    use super::*;
    use crate::secret::Secret;
    use crate::tls::TlsClient;
    use crate::tls::settings::{
        CheckName, KeySource, Peer, StoreFile, TlsSettings, TrustSource, Versions, names_of,
    };

    impl ProducerConfig {
        pub(super) fn tls(&self) -> Result<Encryption, Error> {
            Ok(Encryption::Tls(Arc::new(self.tls_client(Peer::Broker)?)))
        }

        /// Makes what the settings `ssl.*` ask for. Reads the stores.
        pub(in crate::producer::config) fn tls_client(
            &self,
            peer: Peer,
        ) -> Result<TlsClient, Error> {
            let versions = Versions::of(
                self.text("ssl.enabled.protocols"),
                self.text("ssl.protocol"),
            );
            let versions = versions.map_err(|fault| {
                config_error(format!(
                    "ssl.enabled.protocols={} with ssl.protocol={} {fault}",
                    self.shown(
                        &["ssl.enabled.protocols"],
                        self.text("ssl.enabled.protocols")
                    ),
                    self.shown(&["ssl.protocol"], self.text("ssl.protocol"))
                ))
            })?;
            let checks_name = match self.text("ssl.endpoint.identification.algorithm") {
                "" => CheckName::No,
                _ => CheckName::Yes,
            };
            if checks_name == CheckName::No {
                log_line!(
                    log::Level::Warn,
                    target: "kafka_producer::config",
                    "ssl.endpoint.identification.algorithm is empty: a server with any certificate of a trusted issuer can \
                     pass for a {peer}"
                );
            }
            let settings = TlsSettings {
                peer,
                keys: self.key_source()?,
                trust: self.trust_source()?,
                key_password: self.secret_if_set("ssl.key.password"),
                checks_name,
                versions,
                suites: names_of(self.text("ssl.cipher.suites"))
                    .map(str::to_owned)
                    .collect(),
            };
            TlsClient::new(settings)
        }

        fn key_source(&self) -> Result<Option<KeySource>, Error> {
            let location = self.text("ssl.keystore.location");
            let password = self.secret_if_set("ssl.keystore.password");
            let key = self.secret_if_set("ssl.keystore.key");
            let chain = self.text("ssl.keystore.certificate.chain");
            match (key, chain) {
                (Some(_), "") => Err(missing_beside(
                    "ssl.keystore.key",
                    "ssl.keystore.certificate.chain",
                )),
                (None, chain) if !chain.is_empty() => Err(missing_beside(
                    "ssl.keystore.certificate.chain",
                    "ssl.keystore.key",
                )),
                (Some(_), _) if !location.is_empty() => {
                    Err(both("ssl.keystore.key", "ssl.keystore.location"))
                }
                (Some(key), chain) => Ok(Some(KeySource::Inline {
                    key,
                    chain: Secret::from(chain),
                })),
                (None, _) if !location.is_empty() => Ok(Some(KeySource::File(self.store(
                    location,
                    password,
                    "ssl.keystore.type",
                )))),
                (None, _) if password.is_some() => Err(missing_beside(
                    "ssl.keystore.password",
                    "ssl.keystore.location",
                )),
                (None, _) => Ok(None),
            }
        }

        fn trust_source(&self) -> Result<Option<TrustSource>, Error> {
            let location = self.text("ssl.truststore.location");
            let password = self.secret_if_set("ssl.truststore.password");
            let certificates = self.text("ssl.truststore.certificates");
            match (certificates, location) {
                ("", "") if password.is_some() => Err(missing_beside(
                    "ssl.truststore.password",
                    "ssl.truststore.location",
                )),
                ("", "") => Ok(None),
                ("", location) => Ok(Some(TrustSource::File(self.store(
                    location,
                    password,
                    "ssl.truststore.type",
                )))),
                (certificates, "") => Ok(Some(TrustSource::Inline(certificates.to_owned()))),
                _ => Err(both(
                    "ssl.truststore.certificates",
                    "ssl.truststore.location",
                )),
            }
        }

        fn store(
            &self,
            location: &str,
            password: Option<Secret>,
            type_setting: &'static str,
        ) -> StoreFile {
            StoreFile {
                path: location.into(),
                password,
                declared: self
                    .is_set(type_setting)
                    .then(|| self.text(type_setting).to_ascii_uppercase()),
            }
        }

        fn secret_if_set(&self, name: &'static str) -> Option<Secret> {
            match self.text(name) {
                "" => None,
                text => Some(Secret::from(text)),
            }
        }
    }

    fn missing_beside(set: &str, missing: &str) -> Error {
        config_error(format!(
            "{set} is set and {missing} is not: set both or neither"
        ))
    }

    fn both(one: &str, other: &str) -> Error {
        config_error(format!(
            "{one} and {other} are both set: leave one of them out"
        ))
    }
}

#[cfg(all(test, feature = "tls-core", feature = "sasl"))]
mod tests {
    use super::*;

    #[test]
    fn the_property_files_in_the_readme_are_accepted_but_for_stores_that_do_not_exist() {
        let readme = include_str!("../../../README.md");
        let section = readme.split("## Secure clusters").nth(1).unwrap();
        let section = section.split("\n## ").next().unwrap();
        let blocks = section.split("```properties\n").skip(1);
        let texts: Vec<_> = blocks
            .filter_map(|block| block.split("```").next())
            .collect();
        assert_eq!(texts.len(), 10);
        for text in texts {
            let config = ProducerConfig::from_properties(text).unwrap();
            let asks_token_server = text.contains("token.endpoint.url=https:");
            if asks_token_server && cfg!(not(feature = "sasl-oidc")) {
                let error = config.sasl().err().unwrap();
                assert!(error.to_string().contains("\"sasl-oidc\""), "{error}");
                continue;
            }
            let needs_feature = text.contains("AWS_MSK_IAM") && cfg!(not(feature = "sasl-msk-iam"));
            if text.contains("GSSAPI") {
                // Without the feature, without the library, or else without the keytab.
                let error = config.sasl().err().unwrap().to_string();
                let reasons = ["sasl-gssapi", "libgssapi_krb5", "cannot be read", "MIT's"];
                assert!(
                    reasons.iter().any(|reason| error.contains(reason)),
                    "{error}"
                );
            } else if config.settings.security_protocol.uses_sasl() && !needs_feature {
                config.sasl().unwrap();
            }
            if text.contains("ssl.") {
                let error = config.tls().err().unwrap();
                assert!(error.to_string().contains("cannot be read"), "{error}");
            }
        }
    }
}
