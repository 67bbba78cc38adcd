//! Settings that are set and have no effect, because others chose another way: one warning names them, and what was chosen.

use super::settings::row;
use super::{ProducerConfig, ROWS, warn};

/// Warns of settings that have no effect with `chosen`.
pub(super) fn warn_no_effect(names: &[String], chosen: &str) {
    if !names.is_empty() {
        warn(&format!("{}: no effect with {chosen}", names.join(", ")));
    }
}

impl ProducerConfig {
    /// Returns the settings that are set, except those with the value that they have anyway.
    pub(super) fn changed_names(&self) -> impl Iterator<Item = &'static str> {
        self.set_names()
            .filter(|name| row(ROWS, name).is_none_or(|row| self.text(name) != row.default))
    }
}

#[cfg(feature = "sasl")]
pub(super) use sasl::Group;

#[cfg(feature = "sasl")]
mod sasl {
    use super::super::{ProducerConfig, ROWS, settings};
    use super::warn_no_effect;
    use crate::sasl::jaas::Jaas;

    /// Settings and options of `sasl.jaas.config` that are used together, or not at all.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(in crate::producer::config) enum Group {
        Jaas,
        Kerberos,
        /// Where tokens come from.
        Handler,
        /// The URL of a token server or of a file with a token.
        Endpoint,
        Refresh,
        /// Requests to a token server.
        Requests,
        ClaimNames,
        ClientId,
        ClientSecret,
        AssertionFile,
        SignedAssertion,
        /// TLS with a token server.
        ServerTls,
        Extensions,
        Unsecured,
        Aws,
    }

    /// The groups by the beginnings of the names of settings. The first one that fits decides.
    const SETTINGS: &[(&str, Group)] = &[
        ("sasl.jaas.config", Group::Jaas),
        ("sasl.kerberos.", Group::Kerberos),
        ("sasl.login.callback.handler.class", Group::Handler),
        ("sasl.login.refresh.", Group::Refresh),
        ("sasl.login.", Group::Requests),
        ("sasl.oauthbearer.token.endpoint.url", Group::Endpoint),
        ("sasl.oauthbearer.jwt.", Group::Endpoint),
        ("sasl.oauthbearer.scope.claim.name", Group::ClaimNames),
        ("sasl.oauthbearer.sub.claim.name", Group::ClaimNames),
        ("sasl.oauthbearer.scope", Group::Requests),
        (
            "sasl.oauthbearer.client.credentials.client.id",
            Group::ClientId,
        ),
        (
            "sasl.oauthbearer.client.credentials.client.secret",
            Group::ClientSecret,
        ),
        ("sasl.oauthbearer.header.urlencode", Group::ClientSecret),
        ("sasl.oauthbearer.assertion.file", Group::AssertionFile),
        ("sasl.oauthbearer.assertion.", Group::SignedAssertion),
    ];

    /// The groups by the names of options. A `*` stands for the rest of the name, which may be a part of a password that was
    /// not quoted, so it is not shown.
    const OPTIONS: &[(&str, Group)] = &[
        ("clientId", Group::ClientId),
        ("clientSecret", Group::ClientSecret),
        ("scope", Group::Requests),
        ("ssl.*", Group::ServerTls),
        ("extension_*", Group::Extensions),
        ("unsecuredLogin*", Group::Unsecured),
        ("aws*", Group::Aws),
    ];

    fn group_of_setting(name: &str) -> Option<Group> {
        let fits = |(start, _): &&(&str, Group)| name.starts_with(start);
        SETTINGS.iter().find(fits).map(|(_, group)| *group)
    }

    /// Returns the group of an option, and how its name is shown.
    fn group_of_option(name: &str) -> Option<(Group, &str)> {
        let fits = |(known, _): &&(&str, Group)| match known.strip_suffix('*') {
            Some(start) => name.starts_with(start),
            None => name == *known,
        };
        let (known, group) = OPTIONS.iter().find(fits)?;
        let known = settings::row(ROWS, name).map_or(*known, |row| row.property);
        Some((*group, known))
    }

    impl ProducerConfig {
        /// Warns of settings and options of SASL that are set and are in none of the groups `used`. `chosen` is what the
        /// client does instead.
        pub(in crate::producer::config) fn warn_of_unused(
            &self,
            used: &[Group],
            jaas: Option<&Jaas>,
            chosen: &str,
        ) {
            self.warn_of_groups(|group| !used.contains(&group), jaas, chosen);
        }

        /// Warns of settings and options of one group.
        #[cfg(feature = "sasl-oidc")]
        pub(in crate::producer::config) fn warn_of_group(
            &self,
            group: Group,
            jaas: &Jaas,
            chosen: &str,
        ) {
            self.warn_of_groups(|other| other == group, Some(jaas), chosen);
        }

        fn warn_of_groups(
            &self,
            is_unused: impl Fn(Group) -> bool,
            jaas: Option<&Jaas>,
            chosen: &str,
        ) {
            let settings = self
                .changed_names()
                .filter(|name| group_of_setting(name).is_some_and(&is_unused))
                .map(str::to_owned);
            let mut names: Vec<_> = settings.collect();
            let options = jaas.into_iter().flat_map(Jaas::options);
            for (name, _) in options {
                let Some((_, shown)) = group_of_option(name).filter(|(group, _)| is_unused(*group))
                else {
                    continue;
                };
                let shown = format!("the option {shown} of sasl.jaas.config");
                if !names.contains(&shown) {
                    names.push(shown);
                }
            }
            warn_no_effect(&names, chosen);
        }
    }

    #[cfg(test)]
    mod tests {
        use super::super::super::warnings_of;
        use super::*;

        #[test]
        fn every_setting_of_sasl_is_in_a_group() {
            // The mechanism is what chooses, and a class for the client is accepted or refused by itself.
            let others = ["sasl.mechanism", "sasl.client.callback.handler.class"];
            for row in ROWS.iter().filter(|row| row.property.starts_with("sasl.")) {
                let group = group_of_setting(row.property);
                assert_eq!(
                    group.is_none(),
                    others.contains(&row.property),
                    "{}",
                    row.property
                );
            }
        }

        #[test]
        fn of_an_option_no_more_is_shown_than_what_is_known() {
            assert_eq!(group_of_option("aws+hunter2"), Some((Group::Aws, "aws*")));
            assert_eq!(
                group_of_option("ssl.key.password"),
                Some((Group::ServerTls, "ssl.key.password"))
            );
            assert_eq!(
                group_of_option("ssl.hunter2"),
                Some((Group::ServerTls, "ssl.*"))
            );
            assert_eq!(group_of_option("hunter2"), None);
        }

        const MODULES: &str = "org.apache.kafka.common.security.";
        const PLAIN: &str = "plain.PlainLoginModule required username=a password=hunter2;";
        const SCRAM: &str = "scram.ScramLoginModule required username=a password=hunter2;";
        const BEARER: &str = "oauthbearer.OAuthBearerLoginModule required";
        const HANDLER: &str = "sasl.login.callback.handler.class=org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginCallbackHandler";
        const FILE: &str = "sasl.oauthbearer.token.endpoint.url=file:///run/token";
        #[cfg(feature = "sasl-oidc")]
        const SERVER: &str = "sasl.oauthbearer.token.endpoint.url=http://localhost:1/token";

        /// Makes the mechanism of a login module and of settings, each `name=value`. Returns the warnings.
        fn warnings(mechanism: &str, module: &str, settings: &[&str]) -> Vec<String> {
            let jaas = format!("sasl.jaas.config={MODULES}{module}");
            let mechanism = format!("sasl.mechanism={mechanism}");
            made(
                ProducerConfig::new(),
                &[&[&*mechanism, &*jaas], settings].concat(),
            )
        }

        fn made(mut config: ProducerConfig, settings: &[&str]) -> Vec<String> {
            for setting in settings {
                let (name, value) = setting.split_once('=').unwrap();
                config.set(name, value).unwrap();
            }
            let (made, warnings) = warnings_of(|| config.sasl().map(drop));
            made.unwrap();
            for warning in &warnings {
                assert!(!warning.contains("hunter2"), "{warning}");
            }
            warnings
                .into_iter()
                .filter(|warning| warning.contains("no effect"))
                .collect()
        }

        #[test]
        fn settings_that_a_mechanism_does_not_use_are_named_in_one_warning() {
            for (mechanism, module) in [
                ("PLAIN", PLAIN),
                ("SCRAM-SHA-256", SCRAM),
                ("SCRAM-SHA-512", SCRAM),
            ] {
                assert!(warnings(mechanism, module, &[]).is_empty());
                let unused = [
                    "sasl.kerberos.service.name=kafka",
                    HANDLER,
                    FILE,
                    "sasl.login.refresh.window.factor=0.7",
                    "sasl.login.read.timeout.ms=1",
                    "sasl.oauthbearer.scope=s",
                    // The default asks for nothing.
                    "sasl.login.refresh.buffer.seconds=300",
                ];
                assert_eq!(
                    warnings(mechanism, module, &unused),
                    [format!(
                        "sasl.kerberos.service.name, sasl.login.callback.handler.class, sasl.login.read.timeout.ms, \
                         sasl.login.refresh.window.factor, sasl.oauthbearer.scope, sasl.oauthbearer.token.endpoint.url: no \
                         effect with sasl.mechanism={mechanism}"
                    )]
                );
            }
        }

        #[test]
        fn settings_and_options_that_a_source_of_tokens_does_not_use_are_named_in_one_warning() {
            let file = |options: &str, settings: &[&str]| {
                let module = format!("{BEARER} {options};");
                warnings(
                    "OAUTHBEARER",
                    &module,
                    &[&[HANDLER, FILE], settings].concat(),
                )
            };
            assert!(file("extension_a=\"1\"", &[]).is_empty());
            for unused in [
                "sasl.kerberos.service.name=kafka",
                "sasl.login.refresh.window.factor=0.7",
                "sasl.login.connect.timeout.ms=1",
                "sasl.login.retry.backoff.ms=1",
                "sasl.oauthbearer.scope=s",
                "sasl.oauthbearer.scope.claim.name=s",
                "sasl.oauthbearer.sub.claim.name=s",
                "sasl.oauthbearer.client.credentials.client.id=me",
                "sasl.oauthbearer.client.credentials.client.secret=hunter2",
                "sasl.oauthbearer.header.urlencode=true",
                "sasl.oauthbearer.assertion.file=/f",
                "sasl.oauthbearer.assertion.claim.aud=a",
            ] {
                let name = unused.split('=').next().unwrap();
                assert_eq!(
                    file("", &[unused]),
                    [format!("{name}: no effect with a token from a file")]
                );
            }
            assert_eq!(
                file(
                    "clientId=me clientSecret=hunter2 scope=s ssl.key.password=hunter2 awshunter2=x unsecuredLoginStringClaim_sub=x",
                    &[]
                ),
                [
                    "the option aws* of sasl.jaas.config, the option clientId of sasl.jaas.config, the option clientSecret of \
                  sasl.jaas.config, the option scope of sasl.jaas.config, the option ssl.key.password of sasl.jaas.config, the \
                  option unsecuredLogin* of sasl.jaas.config: no effect with a token from a file"
                ]
            );
            let module = format!("{BEARER} unsecuredLoginStringClaim_sub=alice extension_a=\"1\";");
            assert_eq!(
                warnings("OAUTHBEARER", &module, &["sasl.oauthbearer.scope=s"]),
                [
                    "sasl.oauthbearer.scope, the option extension_* of sasl.jaas.config: no effect with tokens without a signature"
                ]
            );
        }

        #[cfg(feature = "sasl-oidc")]
        #[test]
        fn settings_that_a_grant_does_not_use_are_named_in_one_warning() {
            const SECRET: &str = "clientId=me clientSecret=hunter2";
            let path = std::env::temp_dir().join(format!("kp-unused-{}", fastrand::u64(..)));
            std::fs::write(&path, "e30.e30.c2ln").unwrap();
            let assertion = format!("sasl.oauthbearer.assertion.file={}", path.display());
            let key = format!(
                "sasl.oauthbearer.assertion.private.key.file={}/tests/data/stores/key-pkcs8.pem",
                env!("CARGO_MANIFEST_DIR")
            );
            let es256 = "sasl.oauthbearer.assertion.algorithm=ES256";
            let issuer = "sasl.oauthbearer.assertion.claim.iss=me";
            let subject = "sasl.oauthbearer.assertion.claim.sub=me";
            let bearer = "sasl.oauthbearer.jwt.retriever.class=org.apache.kafka.common.security.oauthbearer.JwtBearerJwtRetriever";
            let cases: &[(&str, &[&str], &[&str])] = &[
                (
                    SECRET,
                    &[
                        "sasl.login.refresh.window.factor=0.7",
                        "sasl.oauthbearer.sub.claim.name=azp",
                    ],
                    &[],
                ),
                (
                    SECRET,
                    &[subject, &key],
                    &[
                        "sasl.oauthbearer.assertion.claim.sub, sasl.oauthbearer.assertion.private.key.file: no effect with a client secret",
                    ],
                ),
                (
                    SECRET,
                    &[issuer, &key, es256],
                    &[
                        "the option clientSecret of sasl.jaas.config: no effect with an assertion that the producer signs",
                    ],
                ),
                (
                    "clientId=me",
                    &[&assertion, issuer, "sasl.oauthbearer.header.urlencode=true"],
                    &[
                        "sasl.oauthbearer.assertion.claim.iss, sasl.oauthbearer.header.urlencode: no effect with sasl.oauthbearer.assertion.file",
                    ],
                ),
                (
                    "clientId=me",
                    &[bearer, &key, es256],
                    &[
                        "the option clientId of sasl.jaas.config: no effect with JwtBearerJwtRetriever and an assertion that the producer signs",
                    ],
                ),
            ];
            for (options, settings, expected) in cases {
                let found = warnings_of_grant(options, settings);
                assert_eq!(found, *expected, "{options} {settings:?}");
            }
            std::fs::remove_file(&path).unwrap();
        }

        #[cfg(feature = "sasl-oidc")]
        #[test]
        fn options_of_tls_beside_a_url_without_tls_are_named_in_one_warning() {
            assert_eq!(
                warnings_of_grant(
                    "clientId=me clientSecret=hunter2 ssl.truststore.type=PEM",
                    &[]
                ),
                [
                    "the option ssl.truststore.type of sasl.jaas.config: no effect with the http:// of sasl.oauthbearer.token.endpoint.url",
                ]
            );
        }

        #[cfg(feature = "sasl-oidc")]
        fn warnings_of_grant(options: &str, settings: &[&str]) -> Vec<String> {
            let module = format!("{BEARER} {options};");
            let settings = [&[HANDLER, SERVER], settings].concat();
            warnings("OAUTHBEARER", &module, &settings)
        }

        #[test]
        fn settings_beside_credentials_of_code_are_named_in_one_warning() {
            let jaas = format!("sasl.jaas.config={MODULES}{PLAIN}");
            let user = ProducerConfig::new().sasl_plain("a", "hunter2");
            assert_eq!(
                made(user, &[&jaas, "sasl.kerberos.service.name=kafka"]),
                [
                    "sasl.jaas.config, sasl.kerberos.service.name: no effect with a user name and password, set in code"
                ]
            );
            let token = ProducerConfig::new().sasl_scram_sha_256_token("a", "hunter2");
            assert_eq!(
                made(token, &[&jaas]),
                ["sasl.jaas.config: no effect with a delegation token, set in code"]
            );
            let provider = || ProducerConfig::new().sasl_oauthbearer(|| Err("none".into()));
            assert!(made(provider(), &["sasl.login.refresh.window.factor=0.7"]).is_empty());
            assert_eq!(
                made(provider(), &[HANDLER, FILE]),
                [
                    "sasl.login.callback.handler.class, sasl.oauthbearer.token.endpoint.url: no effect with a provider of tokens, \
                  set in code"
                ]
            );
        }

        #[test]
        fn settings_that_the_protocol_does_not_use_are_named_in_one_warning() {
            let protocol = |protocol: &str, others: &[(&str, &str)]| {
                let mut config = ProducerConfig::new().bootstrap_servers("a:1");
                config.set("security.protocol", protocol).unwrap();
                for (name, value) in others {
                    config.set(name, value).unwrap();
                }
                warnings_of(|| config.protection().map(drop)).1
            };
            let others = [
                ("sasl.mechanism", "PLAIN"),
                ("ssl.truststore.location", "/f"),
                ("ssl.protocol", "TLSv1.3"),
            ];
            assert_eq!(
                protocol("PLAINTEXT", &others),
                [
                    "sasl.mechanism, ssl.truststore.location: no effect with security.protocol=PLAINTEXT; they need SASL_SSL"
                ]
            );
            assert_eq!(
                protocol("SSL", &others)[0],
                "sasl.mechanism: no effect with security.protocol=SSL; they need SASL_SSL"
            );
            assert_eq!(
                protocol("PLAINTEXT", &others[..1])[0],
                "sasl.mechanism: no effect with security.protocol=PLAINTEXT; they need SASL_PLAINTEXT or SASL_SSL"
            );
            assert_eq!(
                protocol("PLAINTEXT", &others[1..])[0],
                "ssl.truststore.location: no effect with security.protocol=PLAINTEXT; they need SSL"
            );
            assert!(protocol("SASL_SSL", &others).is_empty());
        }
    }
}
