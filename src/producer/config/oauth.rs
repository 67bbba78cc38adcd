//! Makes OAUTHBEARER of the settings: where its tokens come from, and when the next one is fetched.

use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, printable};
use crate::sasl::Mechanism;
use crate::sasl::jaas::Jaas;
use crate::sasl::oauthbearer::file::FileTokens;
use crate::sasl::oauthbearer::refresh::{RefreshWindow, RefreshedTokens};
use crate::sasl::oauthbearer::unsecured::UnsecuredTokens;
use crate::sasl::oauthbearer::{self, OAuthBearer, ProvidedTokens, TokenProvider, TokenSource};

use super::{ProducerConfig, config_error, msk_iam};

/// The settings of logins, which only OAUTHBEARER has here.
const LOGIN: [&str; 6] = [
    "sasl.login.callback.handler.class",
    "sasl.login.refresh.window.factor",
    "sasl.login.refresh.window.jitter",
    "sasl.login.refresh.min.period.seconds",
    "sasl.login.refresh.buffer.seconds",
    "sasl.oauthbearer.token.endpoint.url",
];

/// The class by which tokens come from `sasl.oauthbearer.token.endpoint.url`, without its package. Kafka 3.1 to 3.9 have
/// it in the package `secured`, too.
const TOKENS_OF_ENDPOINT: &str = "OAuthBearerLoginCallbackHandler";
const UNSECURED: &str = "OAuthBearerUnsecuredLoginCallbackHandler";
const PACKAGE: &str = "org.apache.kafka.common.security.oauthbearer.";

/// Classes by the beginning of their names, and what their users can do.
const FOREIGN: [(&str, &str); 4] = [
    (
        "io.strimzi.kafka.oauth.",
        "for oauth.access.token use sasl_oauthbearer; for a token file set this setting to \
         org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginCallbackHandler and \
         sasl.oauthbearer.token.endpoint.url=file:///folder/file",
    ),
    (
        "com.google.cloud.hosted.kafka.",
        "use sasl_oauthbearer with a provider that asks Google for an access token",
    ),
    (
        "software.amazon.msk.",
        "set it to software.amazon.msk.auth.iam.IAMOAuthBearerLoginCallbackHandler, or use sasl.mechanism=AWS_MSK_IAM",
    ),
    (
        "io.confluent.",
        "use sasl_oauthbearer with a provider of your own",
    ),
];

impl ProducerConfig {
    pub(super) fn mechanism_of_provider(
        &self,
        provider: &Arc<dyn TokenProvider>,
    ) -> Result<Arc<dyn Mechanism>, Error> {
        match self.text("sasl.mechanism") {
            "OAUTHBEARER" => {
                let source = Box::new(ProvidedTokens(Arc::clone(provider)));
                Ok(bearer(RefreshedTokens::new(source, self.refresh_window())))
            }
            other => Err(self.does_not_use(other, "tokens")),
        }
    }

    /// Chooses the source of tokens as Java does: by the callback handler, and then by the URL.
    pub(super) fn oauthbearer(&self, jaas: &Jaas) -> Result<Arc<dyn Mechanism>, Error> {
        let class = self.text("sasl.login.callback.handler.class");
        match kafkas_handler(class) {
            Some(TOKENS_OF_ENDPOINT) => self.tokens_of_endpoint(jaas),
            Some(UNSECURED) => self.unsecured_tokens(jaas),
            None if class.is_empty() => self.unsecured_tokens(jaas),
            None if msk_iam::makes_tokens(class) => {
                self.refuse_endpoint()?;
                self.msk_tokens(jaas)
            }
            _ => Err(self.unknown_handler(class)),
        }
    }

    fn unsecured_tokens(&self, jaas: &Jaas) -> Result<Arc<dyn Mechanism>, Error> {
        self.refuse_endpoint()?;
        let tokens = UnsecuredTokens::from_jaas(jaas)?;
        log::warn!(
            target: "kafka_producer::config",
            "OAUTHBEARER uses tokens without a signature, which are for tests only: every program can make one"
        );
        Ok(bearer(tokens))
    }

    /// Refuses a URL that the source of the tokens does not use.
    fn refuse_endpoint(&self) -> Result<(), Error> {
        if self.is_set("sasl.oauthbearer.token.endpoint.url") {
            return Err(config_error(format!(
                "sasl.oauthbearer.token.endpoint.url is set, and sasl.login.callback.handler.class does not use it: set that \
                 to {PACKAGE}{TOKENS_OF_ENDPOINT}"
            )));
        }
        Ok(())
    }

    fn tokens_of_endpoint(&self, jaas: &Jaas) -> Result<Arc<dyn Mechanism>, Error> {
        let url = self.text("sasl.oauthbearer.token.endpoint.url");
        if url.is_empty() {
            return Err(config_error(
                "sasl.oauthbearer.token.endpoint.url is not set, and sasl.login.callback.handler.class gets tokens from \
                 there: set it"
                    .to_owned(),
            ));
        }
        let extensions = oauthbearer::extensions(jaas, "extension_")?;
        match FileTokens::of_url(url, extensions) {
            Some(tokens) => Ok(bearer(tokens?)),
            None => Err(config_error(
                "sasl.oauthbearer.token.endpoint.url: this version reads a token from a file: URL only: use that, or \
                 sasl_oauthbearer with a provider that asks the token server"
                    .to_owned(),
            )),
        }
    }

    fn unknown_handler(&self, class: &str) -> Error {
        let foreign = FOREIGN.iter().find(|(start, _)| class.starts_with(start));
        let advice = foreign.map_or(
            "use sasl_oauthbearer with a provider of your own",
            |(_, advice)| advice,
        );
        let class = self.shown(&["sasl.login.callback.handler.class"], class);
        config_error(format!(
            "sasl.login.callback.handler.class={} is a class that this client does not have, and it runs no Java: {advice}",
            printable(&class)
        ))
    }

    fn refresh_window(&self) -> RefreshWindow {
        let seconds = |name| Duration::from_secs(self.number(name) as u64);
        RefreshWindow {
            factor: self.number("sasl.login.refresh.window.factor"),
            jitter: self.number("sasl.login.refresh.window.jitter"),
            min_period: seconds("sasl.login.refresh.min.period.seconds"),
            buffer: seconds("sasl.login.refresh.buffer.seconds"),
        }
    }

    /// The value of a setting that was checked to be a number.
    fn number(&self, name: &'static str) -> f64 {
        self.text(name).parse().unwrap_or_default()
    }

    /// Warns of settings that another mechanism does not use.
    pub(super) fn warn_of_login_settings(&self, mechanism: &str) {
        let unused: Vec<_> = LOGIN.into_iter().filter(|name| self.is_set(name)).collect();
        if !unused.is_empty() {
            log::warn!(
                target: "kafka_producer::config",
                "{}: no effect with sasl.mechanism={}",
                unused.join(", "),
                printable(&self.shown(&["sasl.mechanism"], mechanism))
            );
        }
    }
}

fn bearer(source: impl TokenSource + 'static) -> Arc<dyn Mechanism> {
    Arc::new(OAuthBearer::new(Arc::new(source)))
}

/// Returns which of Kafka's own handlers a class is. Libraries that contain Kafka's client put a prefix before the names of
/// its classes: it is ignored.
fn kafkas_handler(class: &str) -> Option<&'static str> {
    let in_package = |package: &str, name: &str| {
        let prefix = class.strip_suffix(&format!("{PACKAGE}{package}{name}"));
        prefix.is_some_and(|prefix| prefix.is_empty() || prefix.ends_with('.'))
    };
    if ["", "secured."]
        .iter()
        .any(|package| in_package(package, TOKENS_OF_ENDPOINT))
    {
        return Some(TOKENS_OF_ENDPOINT);
    }
    in_package("internals.unsecured.", UNSECURED).then_some(UNSECURED)
}

#[cfg(test)]
mod tests {
    use super::*;

    const JAAS: &str =
        "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required";

    fn config(settings: &[(&str, &str)]) -> ProducerConfig {
        let mut config = ProducerConfig::new();
        config.set("bootstrap.servers", "a:1").unwrap();
        config.set("security.protocol", "SASL_PLAINTEXT").unwrap();
        config.set("sasl.mechanism", "OAUTHBEARER").unwrap();
        config.set("sasl.jaas.config", &format!("{JAAS};")).unwrap();
        for (name, value) in settings {
            config.set(name, value).unwrap();
        }
        config
    }

    fn refused(settings: &[(&str, &str)]) -> String {
        config(settings)
            .validate()
            .map(drop)
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn the_handler_and_the_url_choose_where_tokens_come_from() {
        let handler = format!("{PACKAGE}{TOKENS_OF_ENDPOINT}");
        let url = ("sasl.oauthbearer.token.endpoint.url", "file:///run/token");
        for class in [
            handler.clone(),
            format!("{PACKAGE}secured.{TOKENS_OF_ENDPOINT}"),
            format!("kafkashaded.{handler}"),
        ] {
            let settings = [("sasl.login.callback.handler.class", &*class), url];
            config(&settings).validate().unwrap();
        }
        let unsecured = format!("{JAAS} unsecuredLoginStringClaim_sub=\"alice\";");
        let unsecured = ("sasl.jaas.config", &*unsecured);
        config(&[unsecured]).validate().unwrap();
        let class = format!("{PACKAGE}internals.unsecured.{UNSECURED}");
        let class = ("sasl.login.callback.handler.class", &*class);
        config(&[unsecured, class]).validate().unwrap();

        let handler = ("sasl.login.callback.handler.class", &*handler);
        for (settings, part) in [
            (vec![], "unsecuredLoginStringClaim_sub"),
            (vec![url], "does not use it"),
            (vec![handler], "is not set"),
            (
                vec![handler, (url.0, "file://other/token")],
                "file:///folder/file",
            ),
            (vec![handler, (url.0, "https://host/token")], "file: URL"),
            (
                vec![(
                    handler.0,
                    "io.strimzi.kafka.oauth.client.JaasClientOauthLoginCallbackHandler",
                )],
                "oauth.access.token",
            ),
            (vec![(handler.0, "com.example.Handler")], "sasl_oauthbearer"),
        ] {
            let error = refused(&settings);
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn a_provider_is_for_oauthbearer_only() {
        let provided = || ProducerConfig::new().sasl_oauthbearer(|| Err("none".into()));
        let mut config = provided();
        config.set("bootstrap.servers", "a:1").unwrap();
        let error = config.validate().map(drop).unwrap_err().to_string();
        assert!(error.contains("security.protocol"), "{error}");
        config.set("security.protocol", "SASL_SSL").unwrap();
        config.validate().unwrap();
        config.set("sasl.mechanism", "PLAIN").unwrap();
        let error = config.validate().map(drop).unwrap_err().to_string();
        assert!(error.contains("does not use tokens"), "{error}");
    }

    #[test]
    fn the_times_of_the_refresh_are_checked() {
        for (name, value) in [
            ("sasl.login.refresh.window.factor", "0.4"),
            ("sasl.login.refresh.window.factor", "NaN"),
            ("sasl.login.refresh.window.jitter", "0.3"),
            ("sasl.login.refresh.min.period.seconds", "901"),
            ("sasl.login.refresh.buffer.seconds", "-1"),
        ] {
            let error = ProducerConfig::new().set(name, value).unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
        }
        let window = config(&[
            ("sasl.login.refresh.window.factor", "0.5"),
            ("sasl.login.refresh.buffer.seconds", "7"),
        ])
        .refresh_window();
        assert_eq!((window.factor, window.jitter), (0.5, 0.05));
        assert_eq!(window.min_period, Duration::from_secs(60));
        assert_eq!(window.buffer, Duration::from_secs(7));
    }
}
