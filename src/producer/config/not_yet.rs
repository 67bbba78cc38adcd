//! The settings of Java's producer that this one does not support yet.

/// The verdict on a setting that is not supported yet.
pub(super) enum NotYet {
    /// With this value the setting changes nothing, so it is accepted.
    ChangesNothing,
    /// The setting needs this part, which this crate does not have, so it is refused.
    Missing(&'static str),
}

/// Accepts or refuses a setting that is not supported yet. `None` if the name is not one of them.
pub(super) fn judge(name: &str, value: &str) -> Option<NotYet> {
    let (_, inert) = NOT_YET.iter().find(|(known, _)| *known == name)?;
    let changes_nothing = inert.iter().any(|inert| inert.eq_ignore_ascii_case(value));
    Some(match changes_nothing {
        true => NotYet::ChangesNothing,
        false => NotYet::Missing(missing_part(name)),
    })
}

pub(super) fn names() -> impl Iterator<Item = &'static str> {
    NOT_YET.iter().map(|(name, _)| *name)
}

/// The missing part that a setting needs. It follows `this version has no` in a message.
fn missing_part(name: &str) -> &'static str {
    match name.split('.').next().unwrap_or(name) {
        "sasl" => "such logins",
        "ssl" => "TLS engines of your own",
        "transaction" | "transactional" => "transactions",
        "interceptor" => "interceptors",
        _ if name == "enable.metrics.push" => "metrics",
        _ => "such setting",
    }
}

/// For settings whose default in Java is null or empty.
const EMPTY: &[&str] = &[""];

/// Each setting with the values that change nothing: Java's default, and the values that turn the setting off.
const NOT_YET: &[(&str, &[&str])] = &[
    ("buffer.memory.allocation.strategy", &["full"]),
    ("client.rack", EMPTY),
    ("enable.metrics.push", &["false", "true"]),
    ("interceptor.classes", EMPTY),
    ("metadata.cluster.check.enable", &["false", "true"]),
    ("partitioner.rack.aware", &["false"]),
    ("transaction.timeout.ms", &["60000"]),
    ("transaction.two.phase.commit.enable", &["false"]),
    // No value is accepted: Java refuses an empty id, too.
    ("transactional.id", &[]),
    ("ssl.engine.factory.class", EMPTY),
    ("sasl.login.class", EMPTY),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::producer::config::ProducerConfig;

    #[test]
    fn a_setting_that_is_not_supported_yet_is_refused_without_its_value() {
        for name in names() {
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
    fn a_setting_that_is_not_supported_yet_is_refused_with_the_missing_part() {
        for (name, part) in [
            ("ssl.engine.factory.class", "TLS engines of your own"),
            ("sasl.login.class", "such logins"),
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
    fn javas_defaults_and_values_that_turn_a_setting_off_are_accepted() {
        for (name, inert) in NOT_YET {
            for value in *inert {
                ProducerConfig::new().set(name, value).unwrap();
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
