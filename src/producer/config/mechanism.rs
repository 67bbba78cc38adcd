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

use super::msk_iam::default_jaas;
use super::sasl_credentials::SaslCredentials;
use super::unused::Group;
use super::{ProducerConfig, config_error, hints, kerberos, msk_iam, providers, warn};

const MECHANISMS: [&str; 6] = [
    "PLAIN",
    "SCRAM-SHA-256",
    "SCRAM-SHA-512",
    "OAUTHBEARER",
    "GSSAPI",
    "AWS_MSK_IAM",
];

impl ProducerConfig {
    pub(super) fn sasl(&self) -> Result<Arc<dyn Authenticator>, Error> {
        self.check_mechanism_name()?;
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

    /// Refuses a mechanism that is not known or not in this build. Other faults may follow from it. A name that is not set
    /// is rather forgotten than meant to be Kerberos, so the fault of the credentials is told then.
    fn check_mechanism_name(&self) -> Result<(), Error> {
        let name = self.text("sasl.mechanism");
        if !MECHANISMS.contains(&name) {
            return Err(no_mechanism(name, &self.shown(&["sasl.mechanism"], name)));
        }
        let lacking = match name {
            "GSSAPI" => kerberos::lacking(),
            "AWS_MSK_IAM" => msk_iam::lacking(),
            _ => None,
        };
        match lacking.filter(|_| self.is_set("sasl.mechanism")) {
            Some(reason) => Err(config_error(format!(
                "sasl.mechanism={name} needs {reason}"
            ))),
            None => Ok(()),
        }
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
            return Err(no_jaas(mechanism, is_set));
        }
        let jaas = Jaas::parse(text).map_err(|error| self.with_advice_about_line_end(error))?;
        for warning in jaas.warnings() {
            warn(warning);
        }
        jaas.check_mechanism(is_set.then_some(mechanism))?;
        let made: Arc<dyn Mechanism> = match mechanism {
            "PLAIN" => Arc::new(Plain::from_jaas(&jaas)?),
            "SCRAM-SHA-256" => Arc::new(Scram::from_jaas(Hash::Sha256, &jaas)?),
            "SCRAM-SHA-512" => Arc::new(Scram::from_jaas(Hash::Sha512, &jaas)?),
            "OAUTHBEARER" => self.oauthbearer(&jaas)?,
            "GSSAPI" => self.gssapi(&jaas)?,
            "AWS_MSK_IAM" => self.msk_iam(&jaas)?,
            other => return Err(no_mechanism(other, &self.shown(&["sasl.mechanism"], other))),
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

    /// The line end that a file with a password has ends a value in quotes, wherever its closing quote is.
    fn with_advice_about_line_end(&self, error: Error) -> Error {
        match self.providers.line_end_in("sasl.jaas.config") {
            None => error,
            Some(placeholder) => error.with_advice(format!(
                "the value of {} ends with a line break, and a line break ends a value in quotes: remove it from the file, \
                 as printf instead of echo does",
                providers::fill::shown(placeholder)
            )),
        }
    }

    /// Returns the error of credentials of the wrong kind, which were set in code.
    pub(super) fn does_not_use(&self, mechanism: &str, credentials: &str) -> Error {
        config_error(format!(
            "sasl.mechanism={} does not use {credentials}",
            printable(&self.shown(&["sasl.mechanism"], mechanism))
        ))
    }
}

/// `shown` is what an error may show of `name`.
fn no_mechanism(name: &str, shown: &str) -> Error {
    let meant = |known: &&&str| known.eq_ignore_ascii_case(name);
    let fault = match (
        hints::fault_of_any_kind(name),
        MECHANISMS.iter().find(meant),
    ) {
        (Some(fault), _) => fault.to_owned(),
        (None, Some(known)) => format!("is not known: write {known}"),
        (None, None) => "is not known".to_owned(),
    };
    config_error(format!(
        "sasl.mechanism={} {fault} (values: {})",
        printable(shown),
        MECHANISMS.join(", ")
    ))
}

/// Returns the error of missing credentials for a known mechanism.
fn no_jaas(mechanism: &str, is_set: bool) -> Error {
    const USER: &str = r#"username="..." password="...";"#;
    const KAFKA: &str = "org.apache.kafka.common.security.";
    let (text, setter) = match mechanism {
        "PLAIN" => (
            format!("{KAFKA}plain.PlainLoginModule required {USER}"),
            "sasl_plain",
        ),
        "SCRAM-SHA-256" => (
            format!("{KAFKA}scram.ScramLoginModule required {USER}"),
            "sasl_scram_sha_256",
        ),
        "SCRAM-SHA-512" => (
            format!("{KAFKA}scram.ScramLoginModule required {USER}"),
            "sasl_scram_sha_512",
        ),
        "OAUTHBEARER" => (
            format!("{KAFKA}oauthbearer.OAuthBearerLoginModule required;"),
            "sasl_oauthbearer",
        ),
        _ => (
            "com.sun.security.auth.module.Krb5LoginModule required useTicketCache=true;".to_owned(),
            "sasl_kerberos_keytab or sasl_kerberos_ticket_cache",
        ),
    };
    let way_out = format!("as in {text} or use the setter {setter}");
    let not_read = "a file named by java.security.auth.login.config is not read";
    config_error(match (is_set, kerberos::lacking()) {
        (true, _) => format!(
            "sasl.jaas.config is not set, and sasl.mechanism={mechanism} needs its credentials: set it, {way_out}; {not_read}"
        ),
        (false, None) => format!(
            "sasl.jaas.config is not set, and sasl.mechanism is not set, so it is GSSAPI (Kerberos): for another mechanism \
             set sasl.mechanism and sasl.jaas.config; for GSSAPI set sasl.jaas.config, {way_out}; {not_read}"
        ),
        (false, Some(reason)) => format!(
            "sasl.jaas.config is not set, and sasl.mechanism is not set, so it is GSSAPI (Kerberos): set sasl.mechanism and \
             sasl.jaas.config; {not_read}; GSSAPI needs {reason}"
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(settings: &[(&str, &str)]) -> String {
        let mut config = ProducerConfig::new();
        for (name, value) in settings {
            config.set(name, value).unwrap();
        }
        config.sasl().map(drop).unwrap_err().to_string()
    }

    #[test]
    fn a_mechanism_that_is_not_known_is_told_before_missing_credentials() {
        const VALUES: &str =
            "(values: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER, GSSAPI, AWS_MSK_IAM)";
        for (name, fault) in [
            ("SCRAM-SHA-1", "is not known"),
            ("scram-sha-256", "is not known: write SCRAM-SHA-256"),
            ("\"PLAIN\"", "is in quotes: write it without them"),
            (
                "${MECHANISM}",
                "has a placeholder in it, which was not filled in",
            ),
            (
                "",
                "has no value: give it one, or leave the setting out for its default",
            ),
        ] {
            let error = refused(&[("sasl.mechanism", name)]);
            assert_eq!(error, format!("sasl.mechanism={name} {fault} {VALUES}"));
            let mut config = ProducerConfig::new().sasl_plain("alice", "hunter2");
            config.set("sasl.mechanism", name).unwrap();
            let error = config.sasl().map(drop).unwrap_err().to_string();
            assert!(error.contains(fault), "{error}");
        }
    }

    #[test]
    fn a_mechanism_of_a_feature_that_is_off_is_told_before_missing_credentials() {
        for (name, lacking) in [
            ("GSSAPI", kerberos::lacking()),
            ("AWS_MSK_IAM", msk_iam::lacking()),
        ] {
            let Some(reason) = lacking else { continue };
            let error = refused(&[("sasl.mechanism", name)]);
            assert_eq!(error, format!("sasl.mechanism={name} needs {reason}"));
        }
    }

    #[test]
    fn missing_credentials_are_told_with_the_login_module_and_the_setter_of_the_mechanism() {
        for (mechanism, module, setter) in [
            (
                "PLAIN",
                "plain.PlainLoginModule required username=\"...\" password=\"...\";",
                "sasl_plain",
            ),
            (
                "SCRAM-SHA-256",
                "scram.ScramLoginModule required username=\"...\" password=\"...\";",
                "sasl_scram_sha_256",
            ),
            (
                "SCRAM-SHA-512",
                "scram.ScramLoginModule required username=\"...\" password=\"...\";",
                "sasl_scram_sha_512",
            ),
            (
                "OAUTHBEARER",
                "oauthbearer.OAuthBearerLoginModule required;",
                "sasl_oauthbearer",
            ),
        ] {
            assert_eq!(
                refused(&[("sasl.mechanism", mechanism)]),
                format!(
                    "sasl.jaas.config is not set, and sasl.mechanism={mechanism} needs its credentials: set it, as in \
                     org.apache.kafka.common.security.{module} or use the setter {setter}; a file named by \
                     java.security.auth.login.config is not read"
                )
            );
        }
    }

    #[test]
    fn without_any_setting_kerberos_is_told_to_be_the_default_mechanism() {
        let error = refused(&[]);
        let begin = "sasl.jaas.config is not set, and sasl.mechanism is not set, so it is GSSAPI (Kerberos): ";
        let rest = match kerberos::lacking() {
            None => {
                "for another mechanism set sasl.mechanism and sasl.jaas.config; for GSSAPI set sasl.jaas.config, as in \
                 com.sun.security.auth.module.Krb5LoginModule required useTicketCache=true; or use the setter \
                 sasl_kerberos_keytab or sasl_kerberos_ticket_cache; a file named by java.security.auth.login.config is not read"
                    .to_owned()
            }
            Some(reason) => format!(
                "set sasl.mechanism and sasl.jaas.config; a file named by java.security.auth.login.config is not read; GSSAPI \
                 needs {reason}"
            ),
        };
        assert_eq!(error, format!("{begin}{rest}"));
    }

    #[test]
    fn quotes_in_credentials_are_left_to_their_parser() {
        let (_, warnings) = super::super::warnings_of(|| {
            ProducerConfig::from_properties("sasl.jaas.config=a.B required password=\"hunter2\"\n")
                .unwrap();
        });
        assert!(warnings.is_empty(), "{warnings:?}");
    }
}
