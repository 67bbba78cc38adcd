//! Makes a source of tokens from a token server of the settings.

use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, ErrorKind, printable};
use crate::http::{Times, Url};
use crate::sasl::jaas::Jaas;
use crate::sasl::oauthbearer::oidc::{
    Assertion, Authentication, ClaimNames, Encode, Grant, OidcSettings, OidcTokens, Retries,
    SignedAssertion,
};
use crate::secret::Secret;
use crate::tls::TlsClient;
use crate::tls::settings::Peer;
use crate::tls::signature::Algorithm;

use super::oauth::Retriever;
use super::unused::Group;
use super::{ProducerConfig, config_error, warn};

const URL: &str = "sasl.oauthbearer.token.endpoint.url";
const CLIENT_ID: &str = "sasl.oauthbearer.client.credentials.client.id";
const CLIENT_SECRET: &str = "sasl.oauthbearer.client.credentials.client.secret";
const SCOPE: &str = "sasl.oauthbearer.scope";
const KEY_FILE: &str = "sasl.oauthbearer.assertion.private.key.file";

impl ProducerConfig {
    /// Makes the source of tokens of `sasl.oauthbearer.token.endpoint.url`, which is no `file:` URL. Reads the files of an
    /// assertion and the stores of TLS, so that their faults show when the producer is built.
    pub(super) fn tokens_of_server(
        &self,
        jaas: &Jaas,
        retriever: Retriever,
        extensions: Vec<(String, Secret)>,
    ) -> Result<OidcTokens, Error> {
        let url = Url::parse(self.text(URL)).map_err(|fault| {
            config_error(format!(
                "{URL} {fault}: write https://host/path, or file:///folder/file"
            ))
        })?;
        let grant = self.grant(jaas, retriever)?;
        grant.check().map_err(as_config_error)?;
        self.warn_of_unused_grants(&grant, jaas);
        let tls = self.tls_of_server(jaas, &url)?;
        self.warn_of_plain_http(&url);
        let settings = OidcSettings {
            url,
            grant,
            extensions,
            claims: ClaimNames {
                scope: self.text("sasl.oauthbearer.scope.claim.name").to_owned(),
                subject: self.text("sasl.oauthbearer.sub.claim.name").to_owned(),
            },
            retries: Retries {
                backoff: self.millis("sasl.login.retry.backoff.ms"),
                total: self.millis("sasl.login.retry.backoff.max.ms"),
            },
        };
        Ok(OidcTokens::new(settings, tls, self.times()))
    }

    fn warn_of_unused_grants(&self, grant: &Grant, jaas: &Jaas) {
        let (group, proof) = match grant {
            Grant::ClientCredentials {
                authentication: Authentication::Secret { .. },
                ..
            } => (Group::ClientSecret, "a client secret"),
            Grant::ClientCredentials {
                authentication: Authentication::Assertion(assertion),
                ..
            }
            | Grant::JwtBearer { assertion, .. } => match assertion {
                Assertion::File(_) => (Group::AssertionFile, "sasl.oauthbearer.assertion.file"),
                Assertion::Signed(_) => (
                    Group::SignedAssertion,
                    "an assertion that the producer signs",
                ),
            },
        };
        let mut used = vec![
            Group::Jaas,
            Group::Handler,
            Group::Endpoint,
            Group::Extensions,
            Group::Refresh,
            Group::Requests,
            Group::ClaimNames,
            Group::ServerTls,
            group,
        ];
        let mut chosen = proof.to_owned();
        match grant {
            Grant::ClientCredentials { .. } => used.push(Group::ClientId),
            Grant::JwtBearer { .. } => chosen.insert_str(0, "JwtBearerJwtRetriever and "),
        }
        self.warn_of_unused(&used, Some(jaas), &chosen);
    }

    fn grant(&self, jaas: &Jaas, retriever: Retriever) -> Result<Grant, Error> {
        let scope = self.setting_or_option(SCOPE, jaas, "scope");
        let scope = scope.map(|scope| scope.reveal().to_owned());
        if retriever != Retriever::JwtBearer {
            return self.client_credentials(jaas, scope);
        }
        let assertion = match self.assertion_file() {
            Some(assertion) => assertion,
            None => self.signed_assertion()?,
        };
        Ok(Grant::JwtBearer { assertion, scope })
    }

    /// As in Java since 4.3 (KIP-1258), an assertion takes precedence over the client's secret.
    fn client_credentials(&self, jaas: &Jaas, scope: Option<String>) -> Result<Grant, Error> {
        let client_id = self.setting_or_option(CLIENT_ID, jaas, "clientId");
        let client_id = client_id.map(|client_id| client_id.reveal().to_owned());
        let assertion = match self.assertion_file() {
            Some(assertion) => Some(assertion),
            None if self.is_set("sasl.oauthbearer.assertion.claim.iss") => {
                Some(self.signed_assertion()?)
            }
            None => None,
        };
        if let Some(assertion) = assertion {
            return Ok(Grant::ClientCredentials {
                client_id: client_id.unwrap_or_default(),
                scope,
                authentication: Authentication::Assertion(assertion),
            });
        }
        let missing = |setting: &str, option: &str| {
            let half = self.is_set(KEY_FILE).then_some(
                "; an assertion is signed only if sasl.oauthbearer.assertion.claim.iss is set",
            );
            config_error(format!(
                "{setting} is not set, and {URL} asks a token server: set it, or the option {option} of \
                 sasl.jaas.config{}",
                half.unwrap_or_default()
            ))
        };
        let secret = self.setting_or_option(CLIENT_SECRET, jaas, "clientSecret");
        Ok(Grant::ClientCredentials {
            client_id: client_id.ok_or_else(|| missing(CLIENT_ID, "clientId"))?,
            scope,
            authentication: Authentication::Secret {
                secret: secret.ok_or_else(|| missing(CLIENT_SECRET, "clientSecret"))?,
                encode: match self.text("sasl.oauthbearer.header.urlencode") {
                    "true" => Encode::Yes,
                    _ => Encode::No,
                },
            },
        })
    }

    /// Returns a setting, or else the option that it replaces. Blanks around it do not count.
    fn setting_or_option(
        &self,
        setting: &'static str,
        jaas: &Jaas,
        option: &str,
    ) -> Option<Secret> {
        let trimmed = |text: &str| {
            Some(text.trim())
                .filter(|text| !text.is_empty())
                .map(Secret::from)
        };
        let of_setting = trimmed(self.text(setting));
        let of_option = jaas
            .option(option)
            .and_then(|value| trimmed(value.reveal()));
        if of_setting.is_some() && of_option.is_some() {
            warn(&format!(
                "{setting} takes precedence over the option {option} of sasl.jaas.config"
            ));
        }
        of_setting.or(of_option)
    }

    fn assertion_file(&self) -> Option<Assertion> {
        match self.text("sasl.oauthbearer.assertion.file") {
            "" => None,
            path => Some(Assertion::File(path.into())),
        }
    }

    fn signed_assertion(&self) -> Result<Assertion, Error> {
        const ALGORITHM: &str = "sasl.oauthbearer.assertion.algorithm";
        let algorithm = self.text(ALGORITHM);
        let algorithm = Algorithm::of(algorithm).ok_or_else(|| {
            let algorithm = printable(&self.shown(&[ALGORITHM], algorithm));
            config_error(format!(
                "{ALGORITHM}={algorithm} is not supported: use RS256 or ES256"
            ))
        })?;
        let key_file = self.text(KEY_FILE);
        if key_file.is_empty() {
            return Err(config_error(format!(
                "{KEY_FILE} is not set, and an assertion needs it: set it, or set sasl.oauthbearer.assertion.file"
            )));
        }
        let path = |name| {
            Some(self.text(name))
                .filter(|path| !path.is_empty())
                .map(Into::into)
        };
        let claims = [
            ("aud", "sasl.oauthbearer.assertion.claim.aud"),
            ("iss", "sasl.oauthbearer.assertion.claim.iss"),
            ("sub", "sasl.oauthbearer.assertion.claim.sub"),
        ];
        let claims = claims.map(|(claim, setting)| (claim, self.text(setting).to_owned()));
        let seconds = |name| Duration::from_secs(self.text(name).parse().unwrap_or_default());
        Ok(Assertion::Signed(Box::new(SignedAssertion {
            algorithm,
            key_file: key_file.into(),
            passphrase: match self.text("sasl.oauthbearer.assertion.private.key.passphrase") {
                "" => None,
                passphrase => Some(Secret::from(passphrase)),
            },
            template_file: path("sasl.oauthbearer.assertion.template.file"),
            claims: claims
                .into_iter()
                .filter(|(_, value)| !value.is_empty())
                .collect(),
            lifetime: seconds("sasl.oauthbearer.assertion.claim.exp.seconds"),
            not_before: seconds("sasl.oauthbearer.assertion.claim.nbf.seconds"),
            has_id: self.text("sasl.oauthbearer.assertion.claim.jti.include") == "true",
        })))
    }

    /// Returns TLS with the token server. As in Java, it has the options `ssl.*` of `sasl.jaas.config`, and not those of the
    /// producer: the token server is another party than the brokers.
    fn tls_of_server(&self, jaas: &Jaas, url: &Url) -> Result<Option<Arc<TlsClient>>, Error> {
        let context = |error: Error| {
            let of =
                format!("TLS with the server of {URL}, by the options ssl.* of sasl.jaas.config");
            as_config_error(error.in_context(of))
        };
        let mut config = Self::new();
        for (option, value) in jaas
            .options()
            .filter(|(option, _)| option.starts_with("ssl."))
        {
            config.set(option, value.reveal()).map_err(|error| {
                match self.shown(&["sasl.jaas.config"], "").is_empty() {
                    true => context(error),
                    // The value came from elsewhere, and the error may quote it.
                    false => config_error(format!(
                        "sasl.jaas.config: the option {} is not legal",
                        printable(option)
                    )),
                }
            })?;
        }
        if !url.is_https() {
            let chosen = format!("the http:// of {URL}");
            self.warn_of_group(Group::ServerTls, jaas, &chosen);
            return Ok(None);
        }
        let tls = config
            .tls_client(Peer::TokenServer)
            .map_err(|faults| context(faults.into_error()))?;
        Ok(Some(Arc::new(tls)))
    }

    fn warn_of_plain_http(&self, url: &Url) {
        let is_here = url.host().eq_ignore_ascii_case("localhost")
            || url
                .host()
                .parse()
                .is_ok_and(|address: std::net::IpAddr| address.is_loopback());
        if !url.is_https() && !is_here {
            warn(&format!(
                "{URL} begins with http://, so the client's credentials and its tokens can be read on their way"
            ));
        }
    }

    fn times(&self) -> Times {
        /// Longer than any attempt, which has a deadline of its own.
        const NO_LIMIT: Duration = Duration::from_secs(3600);
        let limit = |name| match self.millis(name) {
            Duration::ZERO => NO_LIMIT,
            limit => limit.min(NO_LIMIT),
        };
        Times {
            connect: limit("sasl.login.connect.timeout.ms"),
            read: limit("sasl.login.read.timeout.ms"),
        }
    }

    /// The value of a setting that was checked to be a time.
    fn millis(&self, name: &'static str) -> Duration {
        Duration::from_millis(self.text(name).parse().unwrap_or_default())
    }
}

/// A fault that shows when the producer is built is one of its settings.
fn as_config_error(error: Error) -> Error {
    Error::new(ErrorKind::Config, error.message().to_owned()).with_advice_of(&error)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HANDLER: &str =
        "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginCallbackHandler";
    const MODULE: &str =
        "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required";
    const BEARER: (&str, &str) = (
        "sasl.oauthbearer.jwt.retriever.class",
        "org.apache.kafka.common.security.oauthbearer.JwtBearerJwtRetriever",
    );
    const SERVER: &str = "http://localhost:1/token";

    fn config(jaas: &str, settings: &[(&str, &str)]) -> ProducerConfig {
        let mut config = ProducerConfig::new();
        for (name, value) in [
            ("bootstrap.servers", "a:1"),
            ("security.protocol", "SASL_PLAINTEXT"),
            ("sasl.mechanism", "OAUTHBEARER"),
            ("sasl.login.callback.handler.class", HANDLER),
            ("sasl.jaas.config", &format!("{MODULE} {jaas};")),
            (URL, SERVER),
        ]
        .iter()
        .chain(settings)
        {
            config.set(name, value).unwrap();
        }
        config
    }

    fn tokens(jaas: &str, settings: &[(&str, &str)]) -> Result<OidcTokens, Error> {
        let config = config(jaas, settings);
        config.validate()?;
        let jaas = Jaas::parse(&format!("{MODULE} {jaas};"))?;
        let retriever = match settings.contains(&BEARER) {
            true => Retriever::JwtBearer,
            false => Retriever::Default,
        };
        config.tokens_of_server(&jaas, retriever, Vec::new())
    }

    fn grant(jaas: &str, settings: &[(&str, &str)]) -> String {
        format!("{:?}", tokens(jaas, settings).unwrap())
    }

    fn store(name: &str) -> String {
        format!("{}/tests/data/stores/{name}", env!("CARGO_MANIFEST_DIR"))
    }

    #[test]
    fn settings_take_precedence_over_options() {
        let both = "clientId=\"jaas-id\" clientSecret=\"my-secret\" scope=\"jaas scope\"";
        let shown = grant(both, &[]);
        for part in [
            "client_id: \"jaas-id\"",
            "Some(\"jaas scope\")",
            "encode: No",
            "http://localhost:1/token",
        ] {
            assert!(shown.contains(part), "{shown}");
        }
        let shown = grant(
            both,
            &[
                (CLIENT_ID, " my-id "),
                (CLIENT_SECRET, "my-secret"),
                (SCOPE, "mine"),
                ("sasl.oauthbearer.header.urlencode", "TRUE"),
                (
                    BEARER.0,
                    "shaded.org.apache.kafka.common.security.oauthbearer.ClientCredentialsJwtRetriever",
                ),
                (
                    "sasl.oauthbearer.jwt.validator.class",
                    "org.apache.kafka.common.security.oauthbearer.ClientJwtValidator",
                ),
                ("sasl.oauthbearer.sub.claim.name", "azp"),
                ("sasl.login.connect.timeout.ms", "0"),
                ("sasl.login.read.timeout.ms", "7"),
                ("sasl.login.retry.backoff.max.ms", "9"),
            ],
        );
        for part in [
            "client_id: \"my-id\"",
            "Some(\"mine\")",
            "encode: Yes",
            "subject: \"azp\"",
            "connect: 3600s, read: 7ms",
            "backoff: 100ms, total: 9ms",
        ] {
            assert!(shown.contains(part), "{shown}");
        }
        assert!(!shown.contains("my-secret"), "{shown}");
    }

    #[test]
    fn an_assertion_takes_precedence_over_the_secret_and_a_file_over_a_signature() {
        let secret = "clientId=\"id\" clientSecret=\"my-secret\"";
        let key = store("key-pkcs8.pem");
        let signed = [
            ("sasl.oauthbearer.assertion.claim.iss", "me"),
            (KEY_FILE, &*key),
            ("sasl.oauthbearer.assertion.algorithm", "es256"),
        ];
        let shown = grant(secret, &signed);
        assert!(
            shown.contains("Assertion(Signed(") && shown.contains("claims: [(\"iss\", \"me\")]"),
            "{shown}"
        );
        let path = std::env::temp_dir().join(format!("kp-assertion-{}", fastrand::u64(..)));
        std::fs::write(&path, "e30.e30.c2ln").unwrap();
        let file = ("sasl.oauthbearer.assertion.file", path.to_str().unwrap());
        assert!(grant(secret, &[&signed[..], &[file]].concat()).contains("Assertion(File("));
        assert!(grant("", &[BEARER, file]).contains("JwtBearer { assertion: File("));
        std::fs::remove_file(&path).unwrap();
        assert!(
            grant("", &[&[BEARER][..], &signed[1..]].concat())
                .contains("JwtBearer { assertion: Signed(")
        );
    }

    fn assert_refused(jaas: &str, settings: &[(&str, &str)], sentence: &str) {
        let error = tokens(jaas, settings).map(drop).unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(shown.contains(sentence), "{shown}");
        assert_eq!(error.kind(), ErrorKind::Config, "{shown}");
        assert!(!shown.contains("my-secret"), "{shown}");
    }

    const SECRET: &str = "clientId=\"id\" clientSecret=\"my-secret\"";

    #[test]
    fn what_is_missing_is_told_when_the_producer_is_built() {
        let no_secret = "client.credentials.client.secret is not set, and";
        assert_refused("", &[], "client.credentials.client.id is not set, and");
        assert_refused("clientId=\"id\"", &[], no_secret);
        let blank = "clientId=\"id\" clientSecret=\" \"";
        assert_refused(blank, &[], "or the option clientSecret of sasl.jaas.config");
        let no_key = "private.key.file is not set, and an assertion needs it";
        assert_refused("", &[BEARER], no_key);
        let missing = store("missing");
        let unread = "assertion.private.key.file cannot be read";
        assert_refused("", &[BEARER, (KEY_FILE, &missing)], unread);
        let stores = format!("{SECRET} ssl.truststore.location=\"{missing}\"");
        let unread = "by the options ssl.* of sasl.jaas.config: ssl.truststore.location=";
        assert_refused(&stores, &[(URL, "https://host/token")], unread);
    }

    #[test]
    fn what_does_not_fit_is_told_when_the_producer_is_built() {
        let no_url = "token.endpoint.url does not begin with https:// or http://: write";
        assert_refused(SECRET, &[(URL, "ftp://host/token")], no_url);
        let with_user = "has a user name before its host";
        assert_refused(SECRET, &[(URL, "https://u:my-secret@host/")], with_user);
        for (class, sentence) in [
            (
                "org.apache.kafka.common.security.oauthbearer.FileJwtRetriever",
                "reads a token from a file, and",
            ),
            (
                "com.example.Retriever",
                "retriever.class=com.example.Retriever is a class",
            ),
        ] {
            assert_refused(SECRET, &[(BEARER.0, class)], sentence);
        }
        let signed = [
            ("sasl.oauthbearer.assertion.claim.iss", "me"),
            ("sasl.oauthbearer.assertion.algorithm", "HS256"),
        ];
        let algorithm = "assertion.algorithm=HS256 is not supported: use RS256 or ES256";
        assert_refused(SECRET, &signed, algorithm);
        let unknown = "clientId=a ssl.truststore.locations=\"x\" clientSecret=b";
        assert_refused(unknown, &[], "ssl.truststore.locations");
    }

    #[test]
    fn tls_with_the_token_server_has_the_options_of_jaas_and_not_the_settings_of_the_producer() {
        let trust = format!(
            "clientId=id clientSecret=my-secret ssl.truststore.location=\"{}\" ssl.truststore.type=PEM",
            store("chain.pem")
        );
        let shown = grant(
            &trust,
            &[
                (URL, "https://host/token"),
                ("ssl.truststore.location", "/no/such/file"),
            ],
        );
        assert!(
            shown.contains("chain.pem") && !shown.contains("/no/such"),
            "{shown}"
        );
    }
}
