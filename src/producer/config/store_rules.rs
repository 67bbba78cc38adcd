//! Which settings of the stores go together. The rules are those of Java's DefaultSslEngineFactory. What Java refuses and
//! what can only be meant in one way is accepted with a warning: a store's contents say what it is.

use super::{Faults, ProducerConfig, warn};

/// What holds of the settings if a rule applies.
enum Holds {
    Set(&'static str),
    NotSet(&'static str),
    /// A type is set to PEM.
    SaysPem(&'static str),
    /// A type is set, and not to PEM.
    SaysNotPem(&'static str),
}

enum Verdict {
    Refused,
    NoEffect,
}

use Holds::{NotSet, SaysNotPem, SaysPem, Set};
use Verdict::{NoEffect, Refused};

const KEY: &str = "ssl.keystore.key";
const CHAIN: &str = "ssl.keystore.certificate.chain";
const KEYS: &str = "ssl.keystore.location";
const KEYS_PASSWORD: &str = "ssl.keystore.password";
const KEYS_TYPE: &str = "ssl.keystore.type";
const KEY_PASSWORD: &str = "ssl.key.password";
const CERTIFICATES: &str = "ssl.truststore.certificates";
const TRUST: &str = "ssl.truststore.location";
const TRUST_PASSWORD: &str = "ssl.truststore.password";
const TRUST_TYPE: &str = "ssl.truststore.type";

const RULES: &[(&[Holds], Verdict, &str)] = &[
    (
        &[Set(KEY), NotSet(CHAIN)],
        Refused,
        "ssl.keystore.key is set and ssl.keystore.certificate.chain is not: set both or neither",
    ),
    (
        &[Set(CHAIN), NotSet(KEY)],
        Refused,
        "ssl.keystore.certificate.chain is set and ssl.keystore.key is not: set both or neither",
    ),
    (
        &[Set(KEY), Set(KEYS)],
        Refused,
        "ssl.keystore.key and ssl.keystore.location are both set: leave one of them out",
    ),
    (
        &[Set(KEY), Set(KEYS_PASSWORD)],
        Refused,
        "ssl.keystore.key and ssl.keystore.password are both set: leave ssl.keystore.password out; the password of a key in \
         PEM is ssl.key.password",
    ),
    (
        &[Set(KEYS_PASSWORD), NotSet(KEYS)],
        Refused,
        "ssl.keystore.password is set and ssl.keystore.location is not: set both or neither",
    ),
    (
        &[SaysPem(KEYS_TYPE), Set(KEYS), Set(KEYS_PASSWORD)],
        Refused,
        "ssl.keystore.type is PEM, which has no password, and ssl.keystore.password is set: leave it out; the password of a \
         key in PEM is ssl.key.password",
    ),
    (
        &[Set(CERTIFICATES), Set(TRUST)],
        Refused,
        "ssl.truststore.certificates and ssl.truststore.location are both set: leave one of them out",
    ),
    (
        &[Set(CERTIFICATES), Set(TRUST_PASSWORD)],
        Refused,
        "ssl.truststore.certificates and ssl.truststore.password are both set: leave ssl.truststore.password out; PEM has no \
         password",
    ),
    (
        &[Set(TRUST_PASSWORD), NotSet(TRUST)],
        Refused,
        "ssl.truststore.password is set and ssl.truststore.location is not: set both or neither",
    ),
    (
        &[SaysPem(TRUST_TYPE), Set(TRUST), Set(TRUST_PASSWORD)],
        Refused,
        "ssl.truststore.type is PEM, which has no password, and ssl.truststore.password is set: leave it out",
    ),
    (
        &[SaysNotPem(KEYS_TYPE), Set(KEY)],
        NoEffect,
        "ssl.keystore.type: no effect with ssl.keystore.key, which is PEM",
    ),
    (
        &[SaysNotPem(TRUST_TYPE), Set(CERTIFICATES)],
        NoEffect,
        "ssl.truststore.type: no effect with ssl.truststore.certificates, which is PEM",
    ),
    (
        &[Set(KEY_PASSWORD), NotSet(KEYS), NotSet(KEY)],
        NoEffect,
        "ssl.key.password: no effect without ssl.keystore.location or ssl.keystore.key",
    ),
    (
        &[Set(KEYS_TYPE), NotSet(KEYS), NotSet(KEY)],
        NoEffect,
        "ssl.keystore.type: no effect without ssl.keystore.location",
    ),
    (
        &[Set(TRUST_TYPE), NotSet(TRUST), NotSet(CERTIFICATES)],
        NoEffect,
        "ssl.truststore.type: no effect without ssl.truststore.location",
    ),
];

impl ProducerConfig {
    /// Refuses settings of the stores that contradict each other, and warns of those without effect.
    pub(super) fn check_stores(&self) -> Result<(), Faults> {
        let (mut faults, mut warnings) = (Faults::default(), Vec::new());
        for (conditions, verdict, message) in RULES {
            if !conditions.iter().all(|condition| self.holds(condition)) {
                continue;
            }
            match verdict {
                Refused => faults.add((*message).to_owned()),
                NoEffect => warnings.push(*message),
            }
        }
        faults.or_value(())?;
        warnings.into_iter().for_each(warn);
        Ok(())
    }

    fn holds(&self, condition: &Holds) -> bool {
        let has_value = |name| self.is_set(name) && !self.text(name).is_empty();
        let is_pem = |name| self.text(name).eq_ignore_ascii_case("PEM");
        match *condition {
            Set(name) => has_value(name),
            NotSet(name) => !has_value(name),
            SaysPem(name) => has_value(name) && is_pem(name),
            SaysNotPem(name) => has_value(name) && !is_pem(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::warnings_of;
    use super::*;

    /// What is set, and what becomes of it: an error, a warning, or nothing.
    const CASES: &[(&[&str], Outcome)] = &[
        (&[], Silent),
        (
            &[KEY],
            Error("ssl.keystore.certificate.chain is not: set both"),
        ),
        (&[CHAIN], Error("ssl.keystore.key is not: set both")),
        (&[KEY, CHAIN], Silent),
        (&[KEY, CHAIN, KEY_PASSWORD], Silent),
        (&[KEY, CHAIN, "ssl.keystore.type=pem"], Silent),
        (
            &[KEY, CHAIN, "ssl.keystore.type=JKS"],
            Warning("ssl.keystore.type: no effect with ssl.keystore.key"),
        ),
        (
            &[KEY, CHAIN, "ssl.keystore.type=PKCS12"],
            Warning("ssl.keystore.type: no effect with ssl.keystore.key"),
        ),
        (
            &[KEY, CHAIN, KEYS],
            Error("ssl.keystore.key and ssl.keystore.location are both set"),
        ),
        (
            &[KEY, CHAIN, KEYS_PASSWORD],
            Error("the password of a key in PEM is ssl.key.password"),
        ),
        (
            &[KEYS_PASSWORD],
            Error("ssl.keystore.location is not: set both"),
        ),
        (&[KEYS], Silent),
        (&[KEYS, KEYS_PASSWORD, KEY_PASSWORD], Silent),
        (&[KEYS, KEYS_PASSWORD, "ssl.keystore.type=PKCS12"], Silent),
        (&[KEYS, KEY_PASSWORD, "ssl.keystore.type=PEM"], Silent),
        (
            &[KEYS, KEYS_PASSWORD, "ssl.keystore.type=PEM"],
            Error("ssl.keystore.type is PEM, which has no password"),
        ),
        (
            &[KEY_PASSWORD],
            Warning("ssl.key.password: no effect without"),
        ),
        (
            &["ssl.keystore.type=PKCS12"],
            Warning("ssl.keystore.type: no effect without"),
        ),
        (&[CERTIFICATES], Silent),
        (&[CERTIFICATES, "ssl.truststore.type=PEM"], Silent),
        (
            &[CERTIFICATES, "ssl.truststore.type=JKS"],
            Warning("ssl.truststore.type: no effect with ssl.truststore.certificates"),
        ),
        (
            &[CERTIFICATES, TRUST],
            Error("are both set: leave one of them out"),
        ),
        (
            &[CERTIFICATES, TRUST_PASSWORD],
            Error("leave ssl.truststore.password out"),
        ),
        (
            &[TRUST_PASSWORD],
            Error("ssl.truststore.location is not: set both"),
        ),
        (&[TRUST, TRUST_PASSWORD], Silent),
        (
            &[TRUST, TRUST_PASSWORD, "ssl.truststore.type=PEM"],
            Error("ssl.truststore.type is PEM, which has no password"),
        ),
        (
            &["ssl.truststore.type=PEM"],
            Warning("ssl.truststore.type: no effect without"),
        ),
    ];

    enum Outcome {
        Silent,
        Warning(&'static str),
        Error(&'static str),
    }
    use Outcome::{Error, Silent, Warning};

    #[test]
    fn settings_of_the_stores_go_together_as_in_java_or_there_is_a_warning() {
        for (set, outcome) in CASES {
            let mut config = ProducerConfig::new();
            for setting in *set {
                let (name, value) = setting.split_once('=').unwrap_or((setting, "hunter2"));
                config.set(name, value).unwrap();
            }
            let (result, warnings) = warnings_of(|| config.check_stores());
            let error = result
                .err()
                .map(|faults| faults.into_error().to_string())
                .unwrap_or_default();
            match outcome {
                Silent => assert!(
                    error.is_empty() && warnings.is_empty(),
                    "{set:?}: {error} {warnings:?}"
                ),
                Error(part) => assert!(
                    error.contains(part) && warnings.is_empty(),
                    "{set:?}: {error} {warnings:?}"
                ),
                Warning(part) => assert!(
                    error.is_empty() && warnings.len() == 1 && warnings[0].contains(part),
                    "{set:?}: {error} {warnings:?}"
                ),
            }
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_producer_is_not_made_of_stores_that_contradict_each_other() {
        let mut config = ProducerConfig::new().bootstrap_servers("a:1");
        config.set("security.protocol", "SSL").unwrap();
        config.set(KEY, "hunter2").unwrap();
        let error = config.validate().map(drop).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("ssl.keystore.certificate.chain is not"),
            "{error}"
        );
    }

    #[test]
    fn one_error_lists_all_settings_of_tls_and_sasl_that_contradict_each_other() {
        let mut config = ProducerConfig::new();
        for (name, value) in [
            ("security.protocol", "SASL_SSL"),
            ("sasl.mechanism", "PLAN"),
            (KEY, "hunter2"),
            (TRUST_PASSWORD, "hunter2"),
        ] {
            config.set(name, value).unwrap();
        }
        let error = config.validate().map(drop).unwrap_err().to_string();
        assert!(
            error.starts_with("4 faults:\n  bootstrap.servers is not set"),
            "{error}"
        );
        for fault in [
            "\n  ssl.keystore.key is set and ssl.keystore.certificate.chain is not: set both or neither",
            "\n  ssl.truststore.password is set and ssl.truststore.location is not: set both or neither",
            "\n  sasl.mechanism=PLAN is not known (values: PLAIN,",
        ] {
            let is_listed =
                error.contains(fault) || !cfg!(feature = "sasl") && fault.contains("PLAN");
            assert!(is_listed, "{error}");
        }
    }
}
