//! How connections are protected: makes TLS and SASL of the settings, with the cross rules of Java.

use std::sync::Arc;

use crate::connection::Encryption;
use crate::connection::authentication::{Authenticator, NoAuthentication};
use crate::error::Error;

use super::unused::warn_no_effect;
use super::{Faults, ProducerConfig, SecurityProtocol, config_error};

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
            authenticator: Arc::new(NoAuthentication::default()),
        }
    }
}

impl ProducerConfig {
    /// Makes what `security.protocol` asks for. Reads the stores of TLS.
    pub(super) fn protection(&self) -> Result<Protection, Faults> {
        let protocol = self.settings.security_protocol;
        let mut faults = Faults::default();
        let use_of_settings = self.check_use(protocol).map_err(Faults::from);
        faults.value_or_add_all(use_of_settings);
        let mut protection = Protection::none();
        if protocol.uses_tls() {
            let encryption = faults.value_or_add_all(self.tls());
            protection.encryption = encryption.unwrap_or(protection.encryption);
        }
        if protocol.uses_sasl() {
            let authenticator = faults.value_or_add_all(self.sasl().map_err(Faults::from));
            protection.authenticator = authenticator.unwrap_or(protection.authenticator);
        } else {
            let unused_credentials = self.unused_credentials();
            protection.authenticator = Arc::new(NoAuthentication { unused_credentials });
        }
        faults.or_value(protection)
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
        #[cfg(feature = "tls-core")]
        self.check_use_of_tls_in_code(protocol)?;
        let is_unused = |name: &&str| {
            name.starts_with("ssl.") && !protocol.uses_tls()
                || name.starts_with("sasl.") && !protocol.uses_sasl()
        };
        let unused: Vec<_> = self
            .changed_names()
            .filter(is_unused)
            .map(str::to_owned)
            .collect();
        let has = |start| unused.iter().any(|name| name.starts_with(start));
        let fitting = match (protocol, has("ssl."), has("sasl.")) {
            (SecurityProtocol::Plaintext, true, false) => "SSL",
            (SecurityProtocol::Plaintext, false, true) => "SASL_PLAINTEXT or SASL_SSL",
            _ => "SASL_SSL",
        };
        let protocol = self.get("security.protocol").unwrap_or_default();
        let chosen = format!("security.protocol={protocol}; they need {fitting}");
        warn_no_effect(&unused, &chosen);
        Ok(())
    }

    /// Returns a setting for SASL that is set in vain if `security.protocol` uses no SASL.
    fn unused_credentials(&self) -> Option<&'static str> {
        ["sasl.jaas.config", "sasl.mechanism"]
            .into_iter()
            .find(|name| self.changed_names().any(|changed| changed == *name))
    }

    #[cfg(not(feature = "tls-core"))]
    fn tls(&self) -> Result<Encryption, Faults> {
        Err(lacks_feature("TLS", "tls").into())
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
    use super::super::warn;
    use super::*;
    use crate::secret::Secret;
    use crate::tls::settings::{
        CheckName, KeySource, Peer, StoreFile, TlsSettings, TrustSource, Versions, names_of,
    };
    use crate::tls::{ClientKey, TlsClient};

    impl ProducerConfig {
        pub(super) fn tls(&self) -> Result<Encryption, Faults> {
            Ok(Encryption::Tls(Arc::new(self.tls_client(Peer::Broker)?)))
        }

        /// Makes what the settings `ssl.*` ask for. Reads the stores.
        pub(in crate::producer::config) fn tls_client(
            &self,
            peer: Peer,
        ) -> Result<TlsClient, Faults> {
            let mut faults = Faults::default();
            let key_of_code = faults.value_or_add_all(self.key_of_code().map_err(Faults::from));
            let trust_of_code = faults.value_or_add_all(self.trust_of_code().map_err(Faults::from));
            let (key_of_code, trust_of_code) =
                faults.or_value((key_of_code.flatten(), trust_of_code.flatten()))?;
            self.check_stores()?;
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
                warn(&format!(
                    "ssl.endpoint.identification.algorithm is empty: a server with any certificate of a trusted issuer can \
                     pass for a {peer}"
                ));
            }
            let settings = TlsSettings {
                peer,
                keys: key_of_code.or_else(|| self.key_source()),
                trust: trust_of_code.or_else(|| self.trust_source()),
                checks_name,
                versions,
                suites: names_of(self.text("ssl.cipher.suites"))
                    .map(str::to_owned)
                    .collect(),
                ..TlsSettings::default()
            };
            Ok(TlsClient::new(settings)?)
        }

        /// [`check_stores`](ProducerConfig::check_stores) has refused what does not go together.
        fn key_source(&self) -> Option<KeySource> {
            let location = self.text("ssl.keystore.location");
            let key_password = self.secret_if_set("ssl.key.password");
            if !location.is_empty() {
                let password = self.secret_if_set("ssl.keystore.password");
                return Some(KeySource::File {
                    store: self.store(location, password, "ssl.keystore.type"),
                    key_password,
                });
            }
            let key = self.secret_if_set("ssl.keystore.key")?;
            let inline = ClientKey::pem(key.reveal(), self.text("ssl.keystore.certificate.chain"));
            Some(KeySource::Inline(Arc::new(match key_password {
                Some(password) => inline.key_password(password.reveal()),
                None => inline,
            })))
        }

        fn trust_source(&self) -> Option<TrustSource> {
            let location = self.text("ssl.truststore.location");
            if !location.is_empty() {
                let password = self.secret_if_set("ssl.truststore.password");
                let store = self.store(location, password, "ssl.truststore.type");
                return Some(TrustSource::File(store));
            }
            match self.text("ssl.truststore.certificates") {
                "" => None,
                certificates => Some(TrustSource::inline(certificates)),
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
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each part that a build can leave out, by a setting that needs it, and by the feature.
    const PARTS: &[(bool, &str, &str)] = &[
        (
            cfg!(feature = "tls-core"),
            "security.protocol=SSL",
            "\"tls\"",
        ),
        (
            cfg!(feature = "sasl"),
            "security.protocol=SASL_PLAINTEXT",
            "\"sasl\"",
        ),
        (
            !cfg!(feature = "sasl") || cfg!(feature = "sasl-gssapi"),
            "security.protocol=SASL_PLAINTEXT\nsasl.jaas.config=com.sun.security.auth.module.Krb5LoginModule required;",
            "\"sasl-gssapi\"",
        ),
        (
            !cfg!(feature = "sasl") || cfg!(feature = "sasl-msk-iam"),
            "security.protocol=SASL_PLAINTEXT\nsasl.mechanism=AWS_MSK_IAM",
            "\"sasl-msk-iam\"",
        ),
        (
            !cfg!(feature = "sasl") || cfg!(feature = "sasl-oidc"),
            "security.protocol=SASL_PLAINTEXT\nsasl.mechanism=OAUTHBEARER\n\
             sasl.jaas.config=org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required clientId=a clientSecret=b;\n\
             sasl.login.callback.handler.class=org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginCallbackHandler\n\
             sasl.oauthbearer.token.endpoint.url=http://localhost:1/token",
            "\"sasl-oidc\"",
        ),
    ];

    #[test]
    fn a_setting_that_needs_a_feature_names_it_if_the_build_is_without_it() {
        for (is_here, settings, feature) in PARTS {
            let text = format!("bootstrap.servers=a:1\n{settings}\n");
            let config = ProducerConfig::from_properties(&text).unwrap();
            let error = config.validate().map(drop).err();
            let names_it = error.is_some_and(|error| error.to_string().contains(feature));
            assert_eq!(names_it, !is_here, "{settings}");
        }
    }
}
