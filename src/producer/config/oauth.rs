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

use super::unused::Group;
use super::{ProducerConfig, config_error, msk_iam, warn};

/// The class by which tokens come from `sasl.oauthbearer.token.endpoint.url`, without its package. Kafka 3.1 to 3.9 have
/// it in the package `secured`, too.
const TOKENS_OF_ENDPOINT: &str = "OAuthBearerLoginCallbackHandler";
const UNSECURED: &str = "OAuthBearerUnsecuredLoginCallbackHandler";
const PACKAGE: &str = "org.apache.kafka.common.security.oauthbearer.";

const RETRIEVER: &str = "sasl.oauthbearer.jwt.retriever.class";
const VALIDATOR: &str = "sasl.oauthbearer.jwt.validator.class";

/// How a token is asked for (`sasl.oauthbearer.jwt.retriever.class`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Retriever {
    /// By the scheme of the URL.
    Default,
    ClientCredentials,
    JwtBearer,
    File,
}

/// Classes by the beginning of their names, and what their users can do.
const UNSUPPORTED_CLASSES: [(&str, &str); 4] = [
    (
        "io.strimzi.kafka.oauth.",
        "Kafka's own class does the same: set this setting to \
         org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginCallbackHandler and \
         sasl.oauthbearer.token.endpoint.url to the value of oauth.token.endpoint.uri, and name the options clientId, \
         clientSecret and scope; for oauth.access.token use sasl_oauthbearer",
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
                let tokens = self.msk_tokens(jaas)?;
                let used = [Group::Jaas, Group::Handler, Group::Aws];
                self.warn_of_unused(&used, Some(jaas), "the tokens of Amazon MSK");
                Ok(tokens)
            }
            _ => Err(self.unknown_handler(class)),
        }
    }

    fn unsecured_tokens(&self, jaas: &Jaas) -> Result<Arc<dyn Mechanism>, Error> {
        self.refuse_endpoint()?;
        let tokens = UnsecuredTokens::from_jaas(jaas)?;
        warn(
            "OAUTHBEARER uses tokens without a signature, which are for tests only: every program can make one",
        );
        let used = [Group::Jaas, Group::Handler, Group::Unsecured];
        self.warn_of_unused(&used, Some(jaas), "tokens without a signature");
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
        self.check_validator()?;
        let retriever = self.retriever()?;
        match (FileTokens::of_url(url, extensions.clone()), retriever) {
            (Some(tokens), Retriever::Default | Retriever::File) => {
                let tokens = Box::new(tokens?);
                let used = [
                    Group::Jaas,
                    Group::Handler,
                    Group::Endpoint,
                    Group::Extensions,
                ];
                self.warn_of_unused(&used, Some(jaas), "a token from a file");
                Ok(bearer(RefreshedTokens::unkept(tokens)))
            }
            (Some(_), _) => Err(config_error(format!(
                "{RETRIEVER} asks a token server, and sasl.oauthbearer.token.endpoint.url is a file: URL: change one of them"
            ))),
            (None, Retriever::File) => Err(config_error(format!(
                "{RETRIEVER} reads a token from a file, and sasl.oauthbearer.token.endpoint.url is no file: URL: change one \
                 of them"
            ))),
            #[cfg(feature = "sasl-oidc")]
            (None, retriever) => {
                let source = Box::new(self.tokens_of_server(jaas, retriever, extensions)?);
                Ok(bearer(RefreshedTokens::new(source, self.refresh_window())))
            }
            #[cfg(not(feature = "sasl-oidc"))]
            (None, _) => Err(config_error(
                "sasl.oauthbearer.token.endpoint.url names a token server, which needs the Cargo feature \"sasl-oidc\" of \
                 kafka-producer: it is off in this build; without it, use a file: URL, or sasl_oauthbearer with a provider \
                 of your own"
                    .to_owned(),
            )),
        }
    }

    fn retriever(&self) -> Result<Retriever, Error> {
        let class = self.text(RETRIEVER);
        match kafkas_class(class) {
            Some("DefaultJwtRetriever") => Ok(Retriever::Default),
            Some("ClientCredentialsJwtRetriever") => Ok(Retriever::ClientCredentials),
            Some("JwtBearerJwtRetriever") => Ok(Retriever::JwtBearer),
            Some("FileJwtRetriever") => Ok(Retriever::File),
            _ => Err(self.unknown_class(RETRIEVER, class)),
        }
    }

    fn check_validator(&self) -> Result<(), Error> {
        let class = self.text(VALIDATOR);
        match kafkas_class(class) {
            Some("DefaultJwtValidator" | "ClientJwtValidator") => Ok(()),
            _ => Err(self.unknown_class(VALIDATOR, class)),
        }
    }

    fn unknown_class(&self, setting: &'static str, class: &str) -> Error {
        let class = printable(&self.shown(&[setting], class));
        config_error(format!(
            "{setting}={class} is a class that this client does not have, and it runs no Java: leave the setting out, or \
             use sasl_oauthbearer with a provider of your own"
        ))
    }

    fn unknown_handler(&self, class: &str) -> Error {
        let unsupported = UNSUPPORTED_CLASSES
            .iter()
            .find(|(start, _)| class.starts_with(start));
        let advice = unsupported.map_or(
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
}

fn bearer(source: impl TokenSource + 'static) -> Arc<dyn Mechanism> {
    Arc::new(OAuthBearer::new(Arc::new(source)))
}

/// Returns the name of one of Kafka's classes for tokens without its package. A prefix is ignored as in [`kafkas_handler`].
fn kafkas_class(class: &str) -> Option<&str> {
    let (prefix, name) = class.rsplit_once(PACKAGE)?;
    (prefix.is_empty() || prefix.ends_with('.')).then_some(name)
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

    /// What is told of a token server without a client's id, or without the feature.
    const WITHOUT_CLIENT: &str = match cfg!(feature = "sasl-oidc") {
        true => "client.id is not set",
        false => "needs the Cargo feature \"sasl-oidc\"",
    };

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
            (vec![handler, (url.0, "https://host/token")], WITHOUT_CLIENT),
            (
                vec![
                    handler,
                    url,
                    (
                        RETRIEVER,
                        "org.apache.kafka.common.security.oauthbearer.JwtBearerJwtRetriever",
                    ),
                ],
                "is a file: URL",
            ),
            (
                vec![handler, url, (VALIDATOR, "a.B")],
                "validator.class=a.B is a class that this client does not have",
            ),
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
