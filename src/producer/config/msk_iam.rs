//! Makes AWS_MSK_IAM of the settings.

use std::sync::Arc;

use crate::error::{Error, printable};
use crate::sasl::Mechanism;
use crate::sasl::jaas::Jaas;

use super::{ProducerConfig, config_error};

/// The setting that has a meaning for AWS_MSK_IAM only.
const CLIENT_HANDLER: &str = "sasl.client.callback.handler.class";
const CLIENT_CLASS: &str = "software.amazon.msk.auth.iam.IAMClientCallbackHandler";

/// What counts if `sasl.jaas.config` is not set: AWS_MSK_IAM needs no option.
const MODULE: &str = "software.amazon.msk.auth.iam.IAMLoginModule required;";

/// Returns what `sasl.jaas.config` would be for a mechanism that needs no option in it.
pub(super) fn default_jaas(mechanism: &str) -> Option<&'static str> {
    (mechanism == "AWS_MSK_IAM").then_some(MODULE)
}

impl ProducerConfig {
    /// Makes AWS_MSK_IAM of the options of its login module.
    #[cfg(feature = "sasl-msk-iam")]
    pub(super) fn msk_iam(&self, jaas: &Jaas) -> Result<Arc<dyn Mechanism>, Error> {
        let (iam, warnings) = crate::sasl::msk_iam::MskIam::from_jaas(jaas)?;
        for warning in warnings {
            log::warn!(target: "kafka_producer::config", "{warning}");
        }
        Ok(Arc::new(iam))
    }

    #[cfg(not(feature = "sasl-msk-iam"))]
    pub(super) fn msk_iam(&self, _: &Jaas) -> Result<Arc<dyn Mechanism>, Error> {
        Err(config_error(
            "sasl.mechanism=AWS_MSK_IAM needs the Cargo feature \"sasl-msk-iam\" of kafka-producer: it is off in this build"
                .to_owned(),
        ))
    }

    /// Refuses a class for the client's part of a mechanism, except that of AWS_MSK_IAM.
    pub(super) fn check_client_handler(&self) -> Result<(), Error> {
        let class = self.text(CLIENT_HANDLER);
        // Libraries that contain other ones put a prefix before the names of their classes: it is ignored.
        let prefix = class.strip_suffix(CLIENT_CLASS);
        let is_of_iam = prefix.is_some_and(|prefix| prefix.is_empty() || prefix.ends_with('.'));
        let mechanism = self.text("sasl.mechanism");
        let advice = match mechanism {
            _ if class.is_empty() => return Ok(()),
            "AWS_MSK_IAM" if is_of_iam => return Ok(()),
            "AWS_MSK_IAM" => {
                "remove it, or set it to software.amazon.msk.auth.iam.IAMClientCallbackHandler"
            }
            _ if is_of_iam => "set sasl.mechanism=AWS_MSK_IAM, or remove it",
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

    #[cfg(not(feature = "sasl-msk-iam"))]
    #[test]
    fn without_its_feature_aws_msk_iam_names_it() {
        let error = mechanism(&[("sasl.mechanism", "AWS_MSK_IAM")]).unwrap_err();
        assert!(error.to_string().contains("\"sasl-msk-iam\""), "{error}");
    }

    #[test]
    fn a_class_for_the_client_is_refused_except_that_of_aws_msk_iam() {
        for (name, class, advice) in [
            (
                "AWS_MSK_IAM",
                "com.example.Handler",
                "or set it to software.amazon.msk.auth.iam.IAMClient",
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
