//! Names that are not in the table: which program they belong to, or which name was meant.

use std::fmt;
use std::sync::LazyLock;

use crate::error::Error;

use super::foreign::{self, Owner};
use super::not_yet::{self, NotYet, Reason};
use super::shown::ShownName;
use super::{ROWS, config_error};

/// Why a setting is refused. The message is made only when it is reported: the search for the intended name takes long, and
/// a file may have a hundred thousand unknown names.
pub(super) enum Refusal<'a> {
    /// This error is the message.
    Error(Error),
    /// A setting of Java's producer that this crate does not have: why, and what to do.
    Missing {
        name: &'a str,
        reason: Reason,
        instead: &'static str,
    },
    /// An unknown name.
    Unknown { name: &'a str },
}

impl Refusal<'_> {
    /// Returns the message for a line of a file. The unknown name may be a part of a secret that began on another line, so
    /// it is shown only if it looks like a name.
    pub(super) fn of_line(&self) -> String {
        let Self::Unknown { name } = self else {
            return self.to_string();
        };
        match hint(name) {
            Some(Hint::Near(_)) => self.to_string(),
            _ if name.contains('.') => self.to_string(),
            Some(Hint::General(hint)) => format!("this line is not a setting: {hint}"),
            None => {
                "this line is not a setting; it is not shown, because it may be part of a secret: if the value of the setting \
                 before it goes on here, end the line before with \\"
                    .to_owned()
            }
        }
    }
}

impl fmt::Display for Refusal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Error(error) => error.fmt(f),
            // The value is not shown: it may be a password.
            Self::Missing {
                name,
                reason,
                instead,
            } => {
                let name = ShownName(name);
                match reason {
                    Reason::NotYet(part) => write!(
                        f,
                        "{name} is not supported yet: this version has no {part}; {instead}"
                    ),
                    Reason::JavaClass => write!(
                        f,
                        "{name} names a Java class, which this producer does not run: {instead}"
                    ),
                }
            }
            Self::Unknown { name } => {
                write!(f, "there is no setting {}", ShownName(name))?;
                match hint(name) {
                    Some(Hint::Near(hint) | Hint::General(hint)) => write!(f, ": {hint}"),
                    None => Ok(()),
                }
            }
        }
    }
}

impl From<Error> for Refusal<'_> {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl From<Refusal<'_>> for Error {
    fn from(refusal: Refusal<'_>) -> Self {
        match refusal {
            Refusal::Error(error) => error,
            refusal => config_error(refusal.to_string()),
        }
    }
}

/// Accepts or refuses a setting whose name is not in the table. Two kinds are accepted: settings of Java's producer with a
/// value that changes nothing, and settings of another program, which is then returned.
pub(super) fn judge<'a>(name: &'a str, value: &str) -> Result<Option<Owner>, Refusal<'a>> {
    match not_yet::judge(name, value) {
        Some(NotYet::ChangesNothing) => Ok(None),
        Some(NotYet::Refused { reason, instead }) => Err(Refusal::Missing {
            name,
            reason,
            instead,
        }),
        // A name of librdkafka is refused even if another program has it, too: the error gives the name that has the
        // effect.
        None => match Owner::of(name).filter(|_| librdkafka_hint(name).is_none()) {
            Some(owner) => Ok(Some(owner)),
            None => Err(Refusal::Unknown { name }),
        },
    }
}

/// Help for an unknown name.
enum Hint {
    /// The name belongs to another program, or is similar to a known one.
    Near(String),
    /// The name is similar to no known one.
    General(String),
}

fn hint(name: &str) -> Option<Hint> {
    librdkafka_hint(name)
        .or_else(|| foreign::refusal_of(name))
        .map(Hint::Near)
        .or_else(|| not_a_name(name).map(|hint| Hint::General(hint.to_owned())))
        .or_else(|| with_a_prefix(name))
        .or_else(|| {
            let nearest = nearest(name)?;
            Some(Hint::Near(format!("did you mean {nearest}?")))
        })
}

fn librdkafka_hint(name: &str) -> Option<String> {
    if name == "enable.ssl.certificate.verification" {
        return Some(
            "this is librdkafka's name; the certificate of a broker is always verified: leave it out, and name the \
             certificate or that of its issuer in ssl.truststore.location"
                .to_owned(),
        );
    }
    let (_, java) = librdkafkas().find(|(alias, _)| *alias == name)?;
    Some(match java {
        "" => "this is a setting of librdkafka without a counterpart here: leave it out".to_owned(),
        java => format!("this is librdkafka's name; write {java}"),
    })
}

/// The fault of a text that cannot be a name, such as a line in another file format.
fn not_a_name(name: &str) -> Option<&'static str> {
    Some(match name.chars().next() {
        Some('"' | '\'') => "write names without quotes",
        Some('[') => "a .properties file has no sections",
        Some('-') => {
            "a .properties file has no lists and no command-line options: write name=value"
        }
        Some('{' | '}' | '<' | ';') => "each line is name=value",
        _ if name == "export" || name == "set" => "write name=value without it",
        _ => return None,
    })
}

/// The prefixes that frameworks put before Kafka's names. The first one that matches decides.
const FRAMEWORKS: &[(&str, &str)] = &[
    ("spring.cloud.", "Spring Cloud Stream"),
    ("spring", "Spring Boot"),
    ("mp.messaging", "MicroProfile Reactive Messaging"),
    ("quarkus", "Quarkus"),
    ("camel", "Camel"),
    ("micronaut", "Micronaut"),
    ("akka.", "Akka"),
    ("pekko.", "Pekko"),
    ("ksql.", "ksqlDB"),
    ("producer.override.", "Kafka Connect"),
    ("producer.", "Kafka Connect and Streams"),
    ("connect", "Kafka Connect"),
    ("kafka", "the framework"),
];

/// Finds a known name at the end of `name`: `spring.kafka.producer.batch-size`, `KAFKA_BOOTSTRAP_SERVERS`,
/// `bootstrapServers`.
fn with_a_prefix(name: &str) -> Option<Hint> {
    let lower = name.to_ascii_lowercase();
    let framework = FRAMEWORKS
        .iter()
        .find(|(prefix, _)| lower.starts_with(prefix) && lower.len() > prefix.len())
        .map(|(_, framework)| *framework);
    let words = words(name)?;
    let tail = |skipped: usize| {
        let tail = words[skipped..].concat();
        FOLDED.iter().find(|(name, _)| *name == tail)
    };
    let found = (0..words.len()).find_map(|skipped| Some((skipped, tail(skipped)?.1)));
    Some(match (found, framework) {
        (Some((0, ours)), _) => Hint::Near(format!("did you mean {ours}?")),
        (Some((_, ours)), Some(framework)) => Hint::Near(format!(
            "write {ours}, without the prefix of {framework}{}",
            not_supported(ours)
        )),
        (Some((_, ours)), None) => {
            Hint::Near(format!("did you mean {ours}, without anything before it?"))
        }
        (None, Some(framework)) => Hint::General(format!(
            "{framework} has names like this; write Kafka's own, such as bootstrap.servers"
        )),
        (None, None) => return None,
    })
}

/// The ends of names that [`with_a_prefix`] looks for, [folded](fold), each with the name that the hint gives.
static FOLDED: LazyLock<Vec<(String, &str)>> = LazyLock::new(|| {
    let supported = ROWS.iter().map(|row| row.property);
    let ours = supported
        .chain(not_yet::names())
        .map(|known| (known, known));
    ours.chain(librdkafkas().filter(|(_, java)| !java.is_empty()))
        .chain([("brokers", "bootstrap.servers")])
        .map(|(name, ours)| (fold(name), ours))
        .collect()
});

fn not_supported(name: &str) -> &'static str {
    match not_yet::names().any(|known| known == name) {
        true => "; it is not supported yet",
        false => "",
    }
}

/// The words of a name in lower case, split at dots, dashes, underscores and capitals. `None` if it is too long for a
/// name.
fn words(name: &str) -> Option<Vec<String>> {
    const LONGEST: usize = 200;
    if name.len() > LONGEST {
        return None;
    }
    let mut words = vec![String::new()];
    let mut was_small = false;
    for character in name.chars() {
        let is_part = character.is_ascii_alphanumeric();
        if !is_part || was_small && character.is_ascii_uppercase() {
            words.push(String::new());
        }
        if let (true, Some(word)) = (is_part, words.last_mut()) {
            word.push(character.to_ascii_lowercase());
        }
        was_small = character.is_ascii_lowercase();
    }
    words.retain(|word| !word.is_empty());
    Some(words)
}

/// Joins the words of a name, so that only its letters and digits are compared.
fn fold(name: &str) -> String {
    words(name).unwrap_or_default().concat()
}

/// The known name with the fewest edits to `name`. `None` if they are too many for a typing error.
fn nearest(name: &str) -> Option<&'static str> {
    const LONGEST: usize = 100;
    if name.len() > LONGEST {
        return None;
    }
    static KNOWN: LazyLock<Vec<(Vec<char>, &str)>> =
        LazyLock::new(|| known_names().map(|known| (in_dots(known), known)).collect());
    let name = in_dots(name);
    let tolerated = (name.len() / 3).max(3).min(name.len() / 2);
    KNOWN
        .iter()
        .map(|(folded, known)| (edit_distance(&name, folded), *known))
        .filter(|(distance, _)| *distance <= tolerated)
        .min()
        .map(|(_, known)| known)
}

fn known_names() -> impl Iterator<Item = &'static str> {
    let supported = ROWS.iter().map(|row| row.property);
    supported
        .chain(not_yet::names())
        .chain(foreign::JVM.iter().copied())
        .chain(foreign::KINIT.iter().copied())
        .chain(foreign::BROKERS_TOKEN_CHECK.iter().copied())
}

/// Lower case, and dots for `_` and `-`: differences in these do not count as edits.
fn in_dots(name: &str) -> Vec<char> {
    let small = name.chars().map(|c| c.to_ascii_lowercase());
    small
        .map(|c| if matches!(c, '_' | '-') { '.' } else { c })
        .collect()
}

/// Levenshtein's distance.
fn edit_distance(a: &[char], b: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}

/// librdkafka's name of each setting, and the name in Java and here. Empty: neither has such a setting.
fn librdkafkas() -> impl Iterator<Item = (&'static str, &'static str)> {
    let of_security = LIBRDKAFKA_SECURITY.iter();
    LIBRDKAFKA.iter().chain(of_security).copied()
}

const LIBRDKAFKA: &[(&str, &str)] = &[
    ("api.version.request", ""),
    ("api.version.request.timeout.ms", ""),
    ("batch.num.messages", "batch.size (in bytes)"),
    ("broker.address.family", ""),
    ("broker.address.ttl", ""),
    ("broker.version.fallback", ""),
    ("compression.codec", "compression.type"),
    (
        "compression.level",
        "compression.zstd.level (or that of another codec)",
    ),
    ("debug", ""),
    ("delivery.report.only.error", ""),
    ("enable.gapless.guarantee", ""),
    ("log.connection.close", ""),
    ("log_level", ""),
    ("max.in.flight", "max.in.flight.requests.per.connection"),
    ("message.copy.max.bytes", ""),
    ("message.max.bytes", "max.request.size"),
    ("message.send.max.retries", "retries"),
    ("message.timeout.ms", "delivery.timeout.ms"),
    ("metadata.broker.list", "bootstrap.servers"),
    ("partitioner", "partitioner.class"),
    ("queue.buffering.max.kbytes", "buffer.memory (in bytes)"),
    ("queue.buffering.max.messages", "buffer.memory (in bytes)"),
    ("queue.buffering.max.ms", "linger.ms"),
    ("request.required.acks", "acks"),
    ("socket.keepalive.enable", ""),
    ("socket.nagle.disable", ""),
    ("socket.receive.buffer.bytes", "receive.buffer.bytes"),
    ("socket.send.buffer.bytes", "send.buffer.bytes"),
    ("socket.timeout.ms", "request.timeout.ms"),
    ("statistics.interval.ms", ""),
    ("sticky.partitioning.linger.ms", ""),
    ("topic.metadata.refresh.interval.ms", "metadata.max.age.ms"),
];

const LIBRDKAFKA_SECURITY: &[(&str, &str)] = &[
    (
        "enable.sasl.oauthbearer.unsecure.jwt",
        "sasl.jaas.config (option unsecuredLoginStringClaim_sub)",
    ),
    (
        "https.ca.location",
        "sasl.jaas.config (option ssl.truststore.location)",
    ),
    (
        "https.ca.pem",
        "sasl.jaas.config (option ssl.truststore.certificates)",
    ),
    ("sasl.kerberos.keytab", "sasl.jaas.config (option keyTab)"),
    (
        "sasl.kerberos.principal",
        "sasl.jaas.config (option principal)",
    ),
    ("sasl.mechanisms", "sasl.mechanism"),
    (
        "sasl.oauthbearer.assertion.claim.audience",
        "sasl.oauthbearer.assertion.claim.aud",
    ),
    (
        "sasl.oauthbearer.assertion.claim.issuer",
        "sasl.oauthbearer.assertion.claim.iss",
    ),
    (
        "sasl.oauthbearer.assertion.claim.subject",
        "sasl.oauthbearer.assertion.claim.sub",
    ),
    (
        "sasl.oauthbearer.assertion.jwt.template.file",
        "sasl.oauthbearer.assertion.template.file",
    ),
    (
        "sasl.oauthbearer.assertion.private.key.pem",
        "sasl.oauthbearer.assertion.private.key.file",
    ),
    (
        "sasl.oauthbearer.client.id",
        "sasl.oauthbearer.client.credentials.client.id",
    ),
    (
        "sasl.oauthbearer.client.secret",
        "sasl.oauthbearer.client.credentials.client.secret",
    ),
    (
        "sasl.oauthbearer.config",
        "sasl.jaas.config (options unsecuredLogin...)",
    ),
    (
        "sasl.oauthbearer.extensions",
        "sasl.jaas.config (an option extension_NAME for each)",
    ),
    (
        "sasl.oauthbearer.grant.type",
        "sasl.oauthbearer.jwt.retriever.class",
    ),
    (
        "sasl.oauthbearer.method",
        "sasl.login.callback.handler.class (for oidc \
         org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginCallbackHandler)",
    ),
    ("sasl.password", "sasl.jaas.config (option password)"),
    ("sasl.username", "sasl.jaas.config (option username)"),
    ("ssl.ca.certificate.stores", ""),
    ("ssl.ca.location", "ssl.truststore.location"),
    ("ssl.ca.pem", "ssl.truststore.certificates"),
    (
        "ssl.certificate.location",
        "ssl.keystore.location (one file in PEM with the key and its certificates)",
    ),
    ("ssl.certificate.pem", "ssl.keystore.certificate.chain"),
    ("ssl.crl.location", ""),
    ("ssl.curves.list", ""),
    ("ssl.engine.id", ""),
    ("ssl.engine.location", ""),
    (
        "ssl.key.location",
        "ssl.keystore.location (one file in PEM with the key and its certificates)",
    ),
    ("ssl.key.pem", "ssl.keystore.key"),
    ("ssl.providers", ""),
    ("ssl.sigalgs.list", ""),
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::producer::config::{ProducerConfig, warnings_of};

    fn refused(name: &str) -> String {
        let error = ProducerConfig::new().set(name, "hunter2").unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
        error.to_string()
    }

    #[test]
    fn every_one_of_javas_120_names_is_known_once() {
        let names: Vec<_> = known_names().collect();
        assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len());
        // The second was Java's until 4.0.
        let not_javas = ["sender.threads", "auto.include.jmx.reporter"];
        let javas = names.iter().filter(|name| !not_javas.contains(name));
        assert_eq!(javas.count(), 120);
    }

    #[test]
    fn a_setting_of_javas_that_has_no_effect_is_accepted_with_a_warning_that_names_it() {
        let names = [foreign::JVM, foreign::KINIT, foreign::BROKERS_TOKEN_CHECK].concat();
        for name in names {
            let mut config = ProducerConfig::new();
            let (set, warnings) = warnings_of(|| config.set(name, "hunter2"));
            set.unwrap();
            assert_eq!(warnings.len(), 1, "{name}: {warnings:?}");
            assert!(
                warnings[0].contains(name) && warnings[0].contains("no effect"),
                "{warnings:?}"
            );
        }
    }

    #[test]
    fn a_typing_error_is_refused_with_the_nearest_name() {
        for (wrong, nearest) in [
            ("compresion.type", "compression.type"),
            ("linger", "linger.ms"),
            ("LINGER_MS", "linger.ms"),
            ("bootstrap.server", "bootstrap.servers"),
            ("bootstrapServers", "bootstrap.servers"),
            ("BOOTSTRAP.SERVERS", "bootstrap.servers"),
            ("batch-size", "batch.size"),
            ("ack", "acks"),
            ("sasl.jaas.confg", "sasl.jaas.config"),
        ] {
            assert_eq!(
                refused(wrong),
                format!("there is no setting {wrong}: did you mean {nearest}?")
            );
        }
    }

    #[test]
    fn a_name_like_no_other_is_refused_without_a_guess() {
        for name in ["zzzzzzzz", "", "kafka", &"x".repeat(100_000), "é.ü"] {
            let error = refused(name);
            assert!(
                error.starts_with("there is no setting") && !error.contains("did you mean"),
                "{error}"
            );
            assert!(error.len() < 250);
        }
    }

    const NAMES_OF_FRAMEWORKS: &[(&str, &str)] = &[
        (
            "spring.kafka.bootstrap-servers",
            "write bootstrap.servers, without the prefix of Spring Boot",
        ),
        (
            "spring.kafka.producer.properties.linger.ms",
            "write linger.ms, without the prefix of Spring Boot",
        ),
        (
            "SPRING_KAFKA_PRODUCER_ACKS",
            "write acks, without the prefix of Spring Boot",
        ),
        (
            "spring.kafka.ssl.key-password",
            "write ssl.key.password, without the prefix of Spring Boot",
        ),
        (
            "spring.kafka.listener.concurrency",
            "Spring Boot has names like this; write Kafka's own",
        ),
        (
            "spring.cloud.stream.kafka.binder.brokers",
            "write bootstrap.servers, without the prefix of Spring Cloud Stream",
        ),
        (
            "quarkus.kafka.bootstrap.servers",
            "write bootstrap.servers, without the prefix of Quarkus",
        ),
        (
            "mp.messaging.outgoing.orders.acks",
            "write acks, without the prefix of MicroProfile Reactive Messaging",
        ),
        (
            "camel.component.kafka.brokers",
            "write bootstrap.servers, without the prefix of Camel",
        ),
        (
            "camel.component.kafka.requestRequiredAcks",
            "write acks, without the prefix of Camel",
        ),
        (
            "camel.component.kafka.linger-ms",
            "write linger.ms, without the prefix of Camel",
        ),
        (
            "producer.acks",
            "write acks, without the prefix of Kafka Connect and Streams",
        ),
        (
            "producer.override.linger.ms",
            "write linger.ms, without the prefix of Kafka Connect",
        ),
        (
            "KAFKA_BOOTSTRAP_SERVERS",
            "write bootstrap.servers, without the prefix of the framework",
        ),
        (
            "orders.kafka.batch.size",
            "did you mean batch.size, without anything before it?",
        ),
    ];

    #[test]
    fn a_frameworks_name_is_refused_with_kafkas() {
        for (name, hint) in NAMES_OF_FRAMEWORKS {
            let error = refused(name);
            assert!(error.contains(hint), "{name}: {error}");
        }
    }

    #[test]
    fn a_text_that_is_no_name_is_refused_with_how_a_line_is_written() {
        for (name, hint) in [
            ("\"acks\"", "write names without quotes"),
            ("[kafka]", "has no sections"),
            ("-", "has no lists"),
            ("{", "each line is name=value"),
            ("export", "write name=value without it"),
        ] {
            let error = refused(name);
            assert!(error.contains(hint), "{name}: {error}");
        }
    }

    #[test]
    fn settings_of_brokers_and_old_producers_are_refused_with_what_replaced_them() {
        for (name, hint) in [
            ("min.insync.replicas", "this is a broker or topic setting"),
            ("log.retention.hours", "this is a broker or topic setting"),
            ("block.on.buffer.full", "max.block.ms replaced it"),
            ("timeout.ms", "request.timeout.ms replaced it"),
            ("producer.type", "Kafka's producer no longer has it"),
        ] {
            let error = refused(name);
            assert!(error.contains(hint), "{name}: {error}");
        }
    }

    #[test]
    fn a_system_property_of_a_jvm_is_refused_with_what_to_do_here() {
        for (name, sentence) in [
            (
                "java.security.auth.login.config",
                "write the login module of its section KafkaClient into sasl.jaas.config",
            ),
            (
                "-Djava.security.krb5.conf",
                "the Kerberos library reads /etc/krb5.conf, or the file that the environment variable KRB5_CONFIG names",
            ),
            ("javax.net.ssl.trustStore", "set ssl.truststore.location"),
            (
                "javax.net.ssl.keyStorePassword",
                "set ssl.keystore.password",
            ),
            ("java.util.logging.config.file", "leave it out"),
        ] {
            assert_eq!(
                refused(name),
                format!(
                    "there is no setting {name}: this is a system property of a JVM: {sentence}"
                )
            );
        }
        assert_eq!(
            refused("KAFKA_OPTS"),
            "there is no setting KAFKA_OPTS: this variable has options for a JVM: leave it out, and set here what they set, \
             such as sasl.jaas.config for -Djava.security.auth.login.config"
        );
    }

    #[test]
    fn librdkafkas_names_are_refused_with_javas() {
        let error = refused("enable.ssl.certificate.verification");
        assert!(error.contains("ssl.truststore.location"), "{error}");
        for (alias, java) in librdkafkas() {
            let error = refused(alias);
            if java.is_empty() {
                assert!(
                    error.contains("this is a setting of librdkafka without a counterpart here"),
                    "{error}"
                );
                continue;
            }
            let property = java.split(' ').next().unwrap();
            assert!(known_names().any(|known| known == property), "{property}");
            assert_eq!(
                error,
                format!("there is no setting {alias}: this is librdkafka's name; write {java}")
            );
        }
    }

    #[test]
    fn names_of_other_programs_are_accepted_and_do_nothing() {
        let mut config = ProducerConfig::new();
        for name in [
            "key.serializer",
            "metrics.context.app",
            "group.id",
            "auto.offset.reset",
            "session.timeout.ms",
            "default.api.timeout.ms",
            "application.id",
            "key.converter",
            "schema.registry.url",
            "consumer.max.poll.records",
        ] {
            config.set(name, "hunter2").unwrap();
            assert_eq!(config.get(name), None);
        }
        assert_eq!(format!("{config:?}"), "ProducerConfig {}");
    }
}
