//! Makes AWS_MSK_IAM of the settings, and MSK's tokens for OAUTHBEARER.

use std::sync::Arc;

use crate::error::{Error, printable};
use crate::sasl::Mechanism;
use crate::sasl::jaas::Jaas;
#[cfg(feature = "sasl-msk-iam")]
use crate::sasl::oauthbearer::OAuthBearer;

use super::{ProducerConfig, config_error};

/// The setting of a class that the client does not need.
const CLIENT_HANDLER: &str = "sasl.client.callback.handler.class";
const CLIENT_CLASS: &str = "software.amazon.msk.auth.iam.IAMClientCallbackHandler";

const TOKEN_CLASS: &str = "software.amazon.msk.auth.iam.IAMOAuthBearerLoginCallbackHandler";

/// Java's default for OAUTHBEARER.
const KAFKAS_CLASS: &str =
    "org.apache.kafka.common.security.oauthbearer.internals.OAuthBearerSaslClientCallbackHandler";

/// What counts if `sasl.jaas.config` is not set: AWS_MSK_IAM needs no option.
const MODULE: &str = "software.amazon.msk.auth.iam.IAMLoginModule required;";

/// Returns what `sasl.jaas.config` would be for a mechanism that needs no option in it.
pub(super) fn default_jaas(mechanism: &str) -> Option<&'static str> {
    (mechanism == "AWS_MSK_IAM").then_some(MODULE)
}

/// Returns whether `sasl.login.callback.handler.class` asks for MSK's tokens.
pub(super) fn makes_tokens(class: &str) -> bool {
    is_or_ends_in(class, TOKEN_CLASS)
}

/// Libraries that contain other ones put a prefix before the names of their classes: it is ignored.
fn is_or_ends_in(class: &str, name: &str) -> bool {
    let prefix = class.strip_suffix(name);
    prefix.is_some_and(|prefix| prefix.is_empty() || prefix.ends_with('.'))
}

impl ProducerConfig {
    /// Makes AWS_MSK_IAM of the options of its login module.
    #[cfg(feature = "sasl-msk-iam")]
    pub(super) fn msk_iam(&self, jaas: &Jaas) -> Result<Arc<dyn Mechanism>, Error> {
        let (iam, warnings) = crate::sasl::msk_iam::MskIam::from_jaas(jaas)?;
        warnings.iter().for_each(|warning| super::warn(warning));
        Ok(Arc::new(iam))
    }

    /// Makes OAUTHBEARER with MSK's tokens. A token is made for each connection: that asks no server.
    #[cfg(feature = "sasl-msk-iam")]
    pub(super) fn msk_tokens(&self, jaas: &Jaas) -> Result<Arc<dyn Mechanism>, Error> {
        let (tokens, warnings) = crate::sasl::msk_iam::MskTokens::from_jaas(jaas)?;
        warnings.iter().for_each(|warning| super::warn(warning));
        Ok(Arc::new(OAuthBearer::new(Arc::new(tokens))))
    }

    #[cfg(not(feature = "sasl-msk-iam"))]
    pub(super) fn msk_iam(&self, _: &Jaas) -> Result<Arc<dyn Mechanism>, Error> {
        Err(lacks_feature("sasl.mechanism=AWS_MSK_IAM"))
    }

    #[cfg(not(feature = "sasl-msk-iam"))]
    pub(super) fn msk_tokens(&self, _: &Jaas) -> Result<Arc<dyn Mechanism>, Error> {
        Err(lacks_feature(
            "sasl.login.callback.handler.class=IAMOAuthBearerLoginCallbackHandler",
        ))
    }

    /// Refuses a class for the client's part of a mechanism, except those that change nothing.
    pub(super) fn check_client_handler(&self) -> Result<(), Error> {
        let class = self.text(CLIENT_HANDLER);
        let is_of_iam = is_or_ends_in(class, CLIENT_CLASS);
        // AWS tells its users to set the class of the tokens here, too.
        let is_of_tokens =
            makes_tokens(class) && makes_tokens(self.text("sasl.login.callback.handler.class"));
        let mechanism = self.text("sasl.mechanism");
        let advice = match mechanism {
            _ if class.is_empty() => return Ok(()),
            "AWS_MSK_IAM" if is_of_iam => return Ok(()),
            "OAUTHBEARER" if is_of_tokens || is_or_ends_in(class, KAFKAS_CLASS) => return Ok(()),
            "OAUTHBEARER" if makes_tokens(class) => {
                "set sasl.login.callback.handler.class to it, or remove it"
            }
            "AWS_MSK_IAM" => {
                "remove it, or set it to software.amazon.msk.auth.iam.IAMClientCallbackHandler"
            }
            _ if is_of_iam => "set sasl.mechanism=AWS_MSK_IAM, or remove it",
            "OAUTHBEARER" => {
                "remove it, and set sasl.login.callback.handler.class if it says where tokens come from"
            }
            _ => "remove it, and put the credentials into sasl.jaas.config",
        };
        let class = self.shown(&[CLIENT_HANDLER], class);
        Err(config_error(format!(
            "{CLIENT_HANDLER}={} is a Java class, which this client does not run, and has no meaning for sasl.mechanism={}: \
             {advice}",
            printable(&class),
            printable(&self.shown(&["sasl.mechanism"], mechanism))
        )))
    }
}

/// Returns what this build lacks for AWS_MSK_IAM and for MSK's tokens.
pub(super) fn lacking() -> Option<&'static str> {
    (!cfg!(feature = "sasl-msk-iam"))
        .then_some("the Cargo feature \"sasl-msk-iam\" of kafka-producer: it is off in this build")
}

#[cfg(not(feature = "sasl-msk-iam"))]
fn lacks_feature(setting: &str) -> Error {
    let reason = lacking().unwrap_or_default();
    config_error(format!("{setting} needs {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CREDENTIALS: &str = "org.apache.kafka.common.security.plain.PlainLoginModule required username=a password=hunter2;";

    fn mechanism(settings: &[(&str, &str)]) -> Result<(), Error> {
        let mut config = ProducerConfig::new();
        for (name, value) in settings {
            config.set(name, value).unwrap();
        }
        config.sasl().map(drop)
    }

    #[cfg(feature = "sasl-msk-iam")]
    #[test]
    fn aws_msk_iam_needs_no_other_setting_than_its_name() {
        let name = ("sasl.mechanism", "AWS_MSK_IAM");
        let profile =
            "software.amazon.msk.auth.iam.IAMLoginModule required awsProfileName=\"dev\";";
        for settings in [
            vec![name],
            vec![name, (CLIENT_HANDLER, CLIENT_CLASS)],
            vec![name, (CLIENT_HANDLER, ""), ("sasl.jaas.config", MODULE)],
            vec![name, ("sasl.jaas.config", profile)],
        ] {
            mechanism(&settings).unwrap();
        }
        let half = "software.amazon.msk.auth.iam.IAMLoginModule required awsRoleSessionName=x;";
        let error = mechanism(&[name, ("sasl.jaas.config", half)]).unwrap_err();
        assert!(
            error.to_string().contains("awsRoleSessionName needs"),
            "{error}"
        );
    }

    const TOKENS: [(&str, &str); 3] = [
        ("sasl.mechanism", "OAUTHBEARER"),
        (
            "sasl.jaas.config",
            "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required awsProfileName=dev;",
        ),
        ("sasl.login.callback.handler.class", TOKEN_CLASS),
    ];

    #[cfg(feature = "sasl-msk-iam")]
    #[test]
    fn the_tokens_of_msk_take_the_options_of_aws_msk_iam() {
        mechanism(&TOKENS).unwrap();
        for class in [TOKEN_CLASS, KAFKAS_CLASS] {
            mechanism(&[&TOKENS[..], &[(CLIENT_HANDLER, class)]].concat()).unwrap();
        }
        let url = ("sasl.oauthbearer.token.endpoint.url", "file:///run/token");
        let error = mechanism(&[&TOKENS[..], &[url]].concat()).unwrap_err();
        assert!(error.to_string().contains("does not use it"), "{error}");
        let half = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required awsRoleExternalId=x;";
        let error = mechanism(&[&TOKENS[..], &[("sasl.jaas.config", half)]].concat()).unwrap_err();
        assert!(
            error.to_string().contains("awsRoleExternalId needs"),
            "{error}"
        );
    }

    #[cfg(not(feature = "sasl-msk-iam"))]
    #[test]
    fn without_their_feature_aws_msk_iam_and_its_tokens_name_it() {
        for settings in [&[("sasl.mechanism", "AWS_MSK_IAM")][..], &TOKENS] {
            let error = mechanism(settings).unwrap_err();
            assert!(error.to_string().contains("\"sasl-msk-iam\""), "{error}");
        }
    }

    #[test]
    fn a_class_for_the_client_is_refused_except_those_that_change_nothing() {
        for (name, class, advice) in [
            (
                "AWS_MSK_IAM",
                "com.example.Handler",
                lacking().unwrap_or("or set it to software.amazon.msk.auth.iam.IAMClient"),
            ),
            (
                "PLAIN",
                CLIENT_CLASS,
                "set sasl.mechanism=AWS_MSK_IAM, or remove it",
            ),
            (
                "PLAIN",
                "com.example.Handler",
                "remove it, and put the credentials into sasl.jaas.config",
            ),
        ] {
            let settings = [
                ("sasl.mechanism", name),
                ("sasl.jaas.config", CREDENTIALS),
                (CLIENT_HANDLER, class),
            ];
            let error = mechanism(&settings).unwrap_err();
            assert_eq!(error.kind(), crate::ErrorKind::Config);
            assert!(error.to_string().contains(advice), "{error}");
        }
    }
}
