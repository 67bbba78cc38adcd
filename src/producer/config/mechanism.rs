//! Makes the SASL mechanism of the settings.

use std::sync::Arc;

use crate::connection::authentication::Authenticator;
use crate::connection::sasl::SaslAuthenticator;
use crate::error::{Error, printable};
use crate::sasl::Mechanism;
use crate::sasl::jaas::Jaas;
use crate::sasl::plain::Plain;
use crate::sasl::scram::{Hash, Identity, Scram};
use crate::secret::Secret;
use crate::threads::logging::log_line;

use super::msk_iam::default_jaas;
use super::sasl_credentials::SaslCredentials;
use super::unused::Group;
use super::{ProducerConfig, config_error};

impl ProducerConfig {
    pub(super) fn sasl(&self) -> Result<Arc<dyn Authenticator>, Error> {
        self.check_client_handler()?;
        let mechanism = match &self.sasl_credentials {
            Some(SaslCredentials::User {
                user,
                password,
                identity,
            }) => self.mechanism_of_user(user, password, *identity)?,
            #[cfg(feature = "sasl-gssapi")]
            Some(SaslCredentials::Kerberos(tickets)) => self.gssapi_of_code(tickets)?,
            Some(SaslCredentials::Tokens(provider)) => self.mechanism_of_provider(provider)?,
            None => self.mechanism_of_jaas()?,
        };
        if let Some(credentials) = &self.sasl_credentials {
            let (used, name) = credentials.uses();
            self.warn_of_unused(used, None, &format!("{name}, set in code"));
        }
        Ok(Arc::new(SaslAuthenticator { mechanism }))
    }

    fn mechanism_of_user(
        &self,
        user: &str,
        password: &Secret,
        identity: Identity,
    ) -> Result<Arc<dyn Mechanism>, Error> {
        let scram = |hash| Scram::new(hash, user, password.clone(), identity);
        let mechanism = self.text("sasl.mechanism");
        Ok(match (mechanism, identity) {
            ("PLAIN", Identity::User) => Arc::new(Plain::new(user, password.clone())?),
            ("SCRAM-SHA-256", _) => Arc::new(scram(Hash::Sha256)?),
            ("SCRAM-SHA-512", _) => Arc::new(scram(Hash::Sha512)?),
            (_, Identity::User) => {
                return Err(self.does_not_use(mechanism, "a user name and password"));
            }
            (_, Identity::DelegationToken) => {
                return Err(self.does_not_use(mechanism, "a delegation token"));
            }
        })
    }

    fn mechanism_of_jaas(&self) -> Result<Arc<dyn Mechanism>, Error> {
        let mechanism = self.text("sasl.mechanism");
        let is_set = self.is_set("sasl.mechanism");
        let text = match self.text("sasl.jaas.config") {
            "" => default_jaas(mechanism).unwrap_or_default(),
            text => text,
        };
        if text.is_empty() {
            return Err(no_jaas(&self.shown(&["sasl.mechanism"], mechanism), is_set));
        }
        let jaas = Jaas::parse(text)?;
        for warning in jaas.warnings() {
            log_line!(log::Level::Warn, target: "kafka_producer::config", "{warning}");
        }
        jaas.check_mechanism(is_set.then_some(mechanism))?;
        let made: Arc<dyn Mechanism> = match mechanism {
            "PLAIN" => Arc::new(Plain::from_jaas(&jaas)?),
            "SCRAM-SHA-256" => Arc::new(Scram::from_jaas(Hash::Sha256, &jaas)?),
            "SCRAM-SHA-512" => Arc::new(Scram::from_jaas(Hash::Sha512, &jaas)?),
            "OAUTHBEARER" => self.oauthbearer(&jaas)?,
            "GSSAPI" => self.gssapi(&jaas)?,
            "AWS_MSK_IAM" => self.msk_iam(&jaas)?,
            other => return Err(no_mechanism(&self.shown(&["sasl.mechanism"], other))),
        };
        let used: &[Group] = match mechanism {
            // It has warned of what its source of tokens does not use.
            "OAUTHBEARER" => return Ok(made),
            "GSSAPI" => &[Group::Jaas, Group::Kerberos],
            "AWS_MSK_IAM" => &[Group::Jaas, Group::Aws],
            _ => &[Group::Jaas],
        };
        let chosen = self.shown(&["sasl.mechanism"], mechanism);
        self.warn_of_unused(used, Some(&jaas), &format!("sasl.mechanism={chosen}"));
        Ok(made)
    }

    /// Returns the error of credentials of the wrong kind, which were set in code.
    pub(super) fn does_not_use(&self, mechanism: &str, credentials: &str) -> Error {
        config_error(format!(
            "sasl.mechanism={} does not use {credentials}",
            printable(&self.shown(&["sasl.mechanism"], mechanism))
        ))
    }
}

fn no_mechanism(name: &str) -> Error {
    config_error(format!(
        "sasl.mechanism={} is not known: it can be PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER, GSSAPI and AWS_MSK_IAM",
        printable(name)
    ))
}

fn no_jaas(mechanism: &str, is_set: bool) -> Error {
    let mechanism = match is_set {
        true => format!("sasl.mechanism={}", printable(mechanism)),
        false => "SASL".to_owned(),
    };
    config_error(format!(
        "sasl.jaas.config is not set, and {mechanism} needs its credentials: set it, or use a setter such as \
         sasl_plain; a file named by java.security.auth.login.config is not read"
    ))
}
