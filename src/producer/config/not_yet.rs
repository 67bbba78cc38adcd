//! The settings of Java's producer that this one does not have, each with what to do instead.

/// The verdict on a setting that this crate does not have.
pub(super) enum NotYet {
    /// With this value the setting changes nothing, so it is accepted.
    ChangesNothing,
    /// The setting is refused: why, and what to do.
    Refused {
        reason: Reason,
        instead: &'static str,
    },
}

/// Why a setting is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// This part is missing.
    NotYet(&'static str),
    /// It names a class, which only a JVM can run.
    JavaClass,
}

/// Accepts or refuses a setting that is not supported. `None` if the name is not one of them.
pub(super) fn judge(name: &str, value: &str) -> Option<NotYet> {
    let row = ROWS.iter().find(|row| row.name == name)?;
    let changes_nothing = row
        .inert
        .iter()
        .any(|inert| inert.eq_ignore_ascii_case(value));
    Some(match changes_nothing {
        true => NotYet::ChangesNothing,
        false => NotYet::Refused {
            reason: row.reason,
            instead: row.instead,
        },
    })
}

pub(super) fn names() -> impl Iterator<Item = &'static str> {
    ROWS.iter().map(|row| row.name)
}

struct Row {
    name: &'static str,
    /// The values that change nothing: Java's default, and those that turn the setting off.
    inert: &'static [&'static str],
    reason: Reason,
    instead: &'static str,
}

/// For settings whose default in Java is null or empty.
const EMPTY: &[&str] = &[""];

const TRANSACTIONS: Reason = Reason::NotYet("transactions");
const WITHOUT_TRANSACTIONS: &str = "leave it out; without transactions, idempotence still keeps each partition in order and free of duplicates";
const RACKS: Reason = Reason::NotYet("choice of partitions by rack");
const WITHOUT_RACKS: &str = "leave it out, or give the builder a partitioner of your own";

const ROWS: &[Row] = &[
    Row {
        name: "buffer.memory.allocation.strategy",
        inert: &["full"],
        reason: Reason::NotYet("other allocation of memory"),
        instead: "leave it out; memory is allocated as it is needed, and buffer.memory limits it",
    },
    Row {
        name: "client.rack",
        inert: EMPTY,
        reason: RACKS,
        instead: WITHOUT_RACKS,
    },
    Row {
        name: "enable.metrics.push",
        inert: &["false", "true"],
        reason: Reason::NotYet("metrics"),
        instead: "leave it out",
    },
    Row {
        name: "interceptor.classes",
        inert: EMPTY,
        reason: Reason::NotYet("interceptors"),
        instead: "leave it out, and call your code before send and in the callback of send_with",
    },
    // This producer compares the cluster's id itself.
    Row {
        name: "metadata.cluster.check.enable",
        inert: &["false", "true"],
        reason: Reason::NotYet("other value than true and false"),
        instead: "leave it out; each connection is checked before it carries a record",
    },
    Row {
        name: "partitioner.rack.aware",
        inert: &["false"],
        reason: RACKS,
        instead: WITHOUT_RACKS,
    },
    Row {
        name: "transaction.timeout.ms",
        inert: &["60000"],
        reason: TRANSACTIONS,
        instead: WITHOUT_TRANSACTIONS,
    },
    Row {
        name: "transaction.two.phase.commit.enable",
        inert: &["false"],
        reason: TRANSACTIONS,
        instead: WITHOUT_TRANSACTIONS,
    },
    // No value is accepted: Java refuses an empty id, too.
    Row {
        name: "transactional.id",
        inert: &[],
        reason: TRANSACTIONS,
        instead: WITHOUT_TRANSACTIONS,
    },
    Row {
        name: "ssl.engine.factory.class",
        inert: &[
            "",
            "org.apache.kafka.common.security.ssl.DefaultSslEngineFactory",
        ],
        reason: Reason::JavaClass,
        instead: "leave it out, and name certificates and keys by ssl.truststore.* and ssl.keystore.*, whose files are read \
                  again for each connection",
    },
    Row {
        name: "sasl.login.class",
        inert: &[
            "",
            "org.apache.kafka.common.security.authenticator.DefaultLogin",
            "org.apache.kafka.common.security.kerberos.KerberosLogin",
            "org.apache.kafka.common.security.oauthbearer.internals.OAuthBearerRefreshingLogin",
        ],
        reason: Reason::JavaClass,
        instead: "leave it out, and put the credentials into sasl.jaas.config or give them to a setter; for tokens of your \
                  own use sasl_oauthbearer",
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::producer::config::ProducerConfig;

    #[test]
    fn a_setting_that_is_not_supported_is_refused_with_a_way_out_and_without_its_value() {
        for row in ROWS {
            let error = ProducerConfig::new().set(row.name, "hunter2").unwrap_err();
            let shown = format!("{error} {error:?}");
            let reason = match row.reason {
                Reason::NotYet(part) => {
                    format!("is not supported yet: this version has no {part}; ")
                }
                Reason::JavaClass => {
                    "names a Java class, which this producer does not run: ".to_owned()
                }
            };
            assert_eq!(
                error.to_string(),
                format!("{} {reason}{}", row.name, row.instead)
            );
            assert!(!shown.contains("hunter2"), "{shown}");
            assert!(row.instead.starts_with("leave it out"), "{shown}");
        }
    }

    #[test]
    fn javas_defaults_and_values_that_turn_a_setting_off_are_accepted() {
        for row in ROWS {
            for value in row.inert {
                ProducerConfig::new().set(row.name, value).unwrap();
            }
        }
        for (name, value) in [
            ("ssl.engine.factory.class", ""),
            ("transaction.timeout.ms", "60000"),
            ("enable.metrics.push", "true"),
        ] {
            ProducerConfig::new().set(name, value).unwrap();
        }
    }

    #[test]
    fn an_empty_transactional_id_is_refused_as_by_java() {
        assert!(ProducerConfig::new().set("transactional.id", "").is_err());
    }
}
