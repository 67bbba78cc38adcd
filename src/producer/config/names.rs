//! The settings of Java's producer that this one does not serve, and names that are none at all.

use crate::error::Error;

use super::{ROWS, Shown, config_error};

/// A name that is not in the table: accepted with a warning where it means nothing outside a JVM, accepted where the
/// value asks for what happens anyway, otherwise refused.
pub(super) fn accept_or_refuse(name: &str, value: &str) -> Result<(), Error> {
    if JAVA_ONLY.contains(&name) || name.starts_with("metrics.context.") {
        log::warn!(
            "the setting {} has no meaning outside a JVM and has no effect",
            Shown(name)
        );
        return Ok(());
    }
    let Some((_, inert)) = NOT_YET.iter().find(|(known, _)| *known == name) else {
        return Err(unknown(name));
    };
    match inert {
        Some(inert) if inert.eq_ignore_ascii_case(value) => Ok(()),
        // The value is not shown: it may be a password.
        _ => Err(config_error(format!(
            "{name} is not supported yet: this version has no {}",
            missing_part(name)
        ))),
    }
}

/// What a setting that is not served yet belongs to.
fn missing_part(name: &str) -> &'static str {
    match name.split('.').next().unwrap_or(name) {
        "sasl" => "SASL",
        "ssl" => "TLS",
        "transaction" | "transactional" => "transactions",
        "interceptor" => "interceptors",
        _ if name == "enable.metrics.push" => "metrics",
        _ => "such setting",
    }
}

fn unknown(name: &str) -> Error {
    let alias = LIBRDKAFKA.iter().find(|(alias, _)| *alias == name);
    let hint = match (alias, nearest(name)) {
        (Some((_, java)), _) => format!(": librdkafka's name for what is {java} here"),
        (None, Some(nearest)) => format!(": did you mean {nearest}?"),
        (None, None) => String::new(),
    };
    config_error(format!("there is no setting {}{hint}", Shown(name)))
}

/// The known name with the fewest edits to `name`, where they are few enough for a slip of the pen.
fn nearest(name: &str) -> Option<&'static str> {
    const LONGEST: usize = 100;
    if name.len() > LONGEST {
        return None;
    }
    let tolerated = (name.chars().count() / 3).max(3);
    known_names()
        .map(|known| (edit_distance(name, known), known))
        .filter(|(distance, _)| *distance <= tolerated)
        .min()
        .map(|(_, known)| known)
}

fn known_names() -> impl Iterator<Item = &'static str> {
    let served = ROWS.iter().map(|row| row.property);
    served
        .chain(NOT_YET.iter().map(|(name, _)| *name))
        .chain(JAVA_ONLY.iter().copied())
}

/// Levenshtein's distance, in which capitals, `_` and `-` for `.` are no edits.
fn edit_distance(a: &str, b: &str) -> usize {
    let folded = |text: &str| -> Vec<char> {
        text.chars()
            .map(|c| {
                if matches!(c, '_' | '-') {
                    '.'
                } else {
                    c.to_ascii_lowercase()
                }
            })
            .collect()
    };
    let (a, b) = (folded(a), folded(b));
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

/// What librdkafka calls a setting, and what Java and this crate call it.
const LIBRDKAFKA: &[(&str, &str)] = &[
    ("compression.codec", "compression.type"),
    ("message.max.bytes", "max.request.size"),
    ("message.timeout.ms", "delivery.timeout.ms"),
    ("metadata.broker.list", "bootstrap.servers"),
    ("partitioner", "partitioner.class"),
    ("queue.buffering.max.kbytes", "buffer.memory (in bytes)"),
    ("queue.buffering.max.ms", "linger.ms"),
];

/// Names whose meaning is a Java class or a part of the JVM.
const JAVA_ONLY: &[&str] = &[
    "key.serializer",
    "value.serializer",
    "metric.reporters",
    "metrics.num.samples",
    "metrics.recording.level",
    "metrics.sample.window.ms",
    "security.providers",
    "ssl.keymanager.algorithm",
    "ssl.provider",
    "ssl.secure.random.implementation",
    "ssl.trustmanager.algorithm",
];

/// Names that are not served yet, each with the value, if any, that asks for what happens without it.
const NOT_YET: &[(&str, Option<&str>)] = &[
    ("bootstrap.resolve.timeout.ms", None),
    ("buffer.memory.allocation.strategy", None),
    ("client.rack", Some("")),
    ("config.providers", Some("")),
    ("enable.metrics.push", Some("false")),
    ("interceptor.classes", Some("")),
    ("metadata.cluster.check.enable", Some("false")),
    ("partitioner.rack.aware", Some("false")),
    ("transaction.timeout.ms", None),
    ("transaction.two.phase.commit.enable", Some("false")),
    ("transactional.id", None),
    ("ssl.cipher.suites", None),
    ("ssl.enabled.protocols", None),
    ("ssl.endpoint.identification.algorithm", None),
    ("ssl.engine.factory.class", None),
    ("ssl.key.password", None),
    ("ssl.keystore.certificate.chain", None),
    ("ssl.keystore.key", None),
    ("ssl.keystore.location", None),
    ("ssl.keystore.password", None),
    ("ssl.keystore.type", None),
    ("ssl.protocol", None),
    ("ssl.truststore.certificates", None),
    ("ssl.truststore.location", None),
    ("ssl.truststore.password", None),
    ("ssl.truststore.type", None),
    ("sasl.client.callback.handler.class", None),
    ("sasl.jaas.config", None),
    ("sasl.kerberos.kinit.cmd", None),
    ("sasl.kerberos.min.time.before.relogin", None),
    ("sasl.kerberos.service.name", None),
    ("sasl.kerberos.ticket.renew.jitter", None),
    ("sasl.kerberos.ticket.renew.window.factor", None),
    ("sasl.login.callback.handler.class", None),
    ("sasl.login.class", None),
    ("sasl.login.connect.timeout.ms", None),
    ("sasl.login.read.timeout.ms", None),
    ("sasl.login.refresh.buffer.seconds", None),
    ("sasl.login.refresh.min.period.seconds", None),
    ("sasl.login.refresh.window.factor", None),
    ("sasl.login.refresh.window.jitter", None),
    ("sasl.login.retry.backoff.max.ms", None),
    ("sasl.login.retry.backoff.ms", None),
    ("sasl.mechanism", None),
    ("sasl.oauthbearer.allow.unverified.audience", None),
    ("sasl.oauthbearer.allow.unverified.issuer", None),
    ("sasl.oauthbearer.assertion.algorithm", None),
    ("sasl.oauthbearer.assertion.claim.aud", None),
    ("sasl.oauthbearer.assertion.claim.exp.seconds", None),
    ("sasl.oauthbearer.assertion.claim.iss", None),
    ("sasl.oauthbearer.assertion.claim.jti.include", None),
    ("sasl.oauthbearer.assertion.claim.nbf.seconds", None),
    ("sasl.oauthbearer.assertion.claim.sub", None),
    ("sasl.oauthbearer.assertion.file", None),
    ("sasl.oauthbearer.assertion.private.key.file", None),
    ("sasl.oauthbearer.assertion.private.key.passphrase", None),
    ("sasl.oauthbearer.assertion.template.file", None),
    ("sasl.oauthbearer.client.credentials.client.id", None),
    ("sasl.oauthbearer.client.credentials.client.secret", None),
    ("sasl.oauthbearer.clock.skew.seconds", None),
    ("sasl.oauthbearer.expected.audience", None),
    ("sasl.oauthbearer.expected.issuer", None),
    ("sasl.oauthbearer.header.urlencode", None),
    ("sasl.oauthbearer.jwks.endpoint.refresh.ms", None),
    ("sasl.oauthbearer.jwks.endpoint.retry.backoff.max.ms", None),
    ("sasl.oauthbearer.jwks.endpoint.retry.backoff.ms", None),
    ("sasl.oauthbearer.jwks.endpoint.url", None),
    ("sasl.oauthbearer.jwt.retriever.class", None),
    ("sasl.oauthbearer.jwt.validator.class", None),
    ("sasl.oauthbearer.scope", None),
    ("sasl.oauthbearer.scope.claim.name", None),
    ("sasl.oauthbearer.sub.claim.name", None),
    ("sasl.oauthbearer.token.endpoint.url", None),
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::producer::config::ProducerConfig;

    #[test]
    fn every_one_of_javas_120_names_is_known_once() {
        let names: Vec<_> = known_names().collect();
        assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len());
        let ours = ["sender.threads"];
        assert_eq!(
            names.iter().filter(|name| !ours.contains(name)).count(),
            120
        );
    }

    #[test]
    fn a_slip_of_the_pen_is_answered_with_the_nearest_name() {
        for (slip, nearest) in [
            ("compresion.type", "compression.type"),
            ("linger", "linger.ms"),
            ("LINGER_MS", "linger.ms"),
            ("bootstrap.server", "bootstrap.servers"),
            ("batch-size", "batch.size"),
            ("ack", "acks"),
            ("sasl.jaas.confg", "sasl.jaas.config"),
        ] {
            let error = ProducerConfig::new()
                .set(slip, "1")
                .unwrap_err()
                .to_string();
            assert_eq!(
                error,
                format!("there is no setting {slip}: did you mean {nearest}?")
            );
        }
    }

    #[test]
    fn a_name_like_no_other_is_answered_without_a_guess() {
        for name in ["zzzzzzzz", "", &"x".repeat(100_000)] {
            let error = ProducerConfig::new()
                .set(name, "1")
                .unwrap_err()
                .to_string();
            assert!(
                error.starts_with("there is no setting") && !error.contains("did you mean"),
                "{error}"
            );
            assert!(error.len() < 250);
        }
    }

    #[test]
    fn what_does_not_work_yet_is_refused_without_showing_its_value() {
        for (name, _) in NOT_YET {
            let error = ProducerConfig::new().set(name, "hunter2").unwrap_err();
            let shown = format!("{error} {error:?}");
            assert!(
                shown.contains(name)
                    && shown.contains("is not supported yet: this version has no ")
                    && !shown.contains("hunter2"),
                "{shown}"
            );
        }
    }

    #[test]
    fn what_does_not_work_yet_is_refused_with_the_part_that_is_missing() {
        for (name, part) in [
            ("sasl.mechanism", "SASL"),
            ("ssl.truststore.location", "TLS"),
            ("transactional.id", "transactions"),
            ("transaction.timeout.ms", "transactions"),
            ("interceptor.classes", "interceptors"),
            ("enable.metrics.push", "metrics"),
            ("client.rack", "such setting"),
        ] {
            let error = ProducerConfig::new().set(name, "x").unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("{name} is not supported yet: this version has no {part}")
            );
        }
    }

    #[test]
    fn librdkafkas_names_are_answered_with_javas() {
        for (alias, java) in LIBRDKAFKA {
            let error = ProducerConfig::new().set(alias, "1").unwrap_err();
            let property = java.split(' ').next().unwrap();
            assert!(
                ROWS.iter().any(|row| row.property == property),
                "{property}"
            );
            assert_eq!(
                error.to_string(),
                format!("there is no setting {alias}: librdkafka's name for what is {java} here")
            );
        }
    }

    #[test]
    fn what_asks_for_nothing_new_is_accepted() {
        for (name, inert) in NOT_YET {
            if let Some(inert) = inert {
                ProducerConfig::new().set(name, inert).unwrap();
            }
        }
    }

    #[test]
    fn names_that_only_a_jvm_understands_are_accepted() {
        let mut config = ProducerConfig::new();
        let class = "org.apache.kafka.common.serialization.StringSerializer";
        config.set("key.serializer", class).unwrap();
        config.set("metrics.context.app", "x").unwrap();
        assert_eq!(config.get("key.serializer"), None);
    }
}
