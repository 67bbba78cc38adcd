//! The producer's configuration: Kafka's own property names, with Java's checks.

mod bootstrap;
mod choices;
mod continuations;
mod encoding;
mod foreign;
mod hints;
mod in_time;
#[cfg(feature = "sasl")]
mod kerberos;
mod load;
#[cfg(feature = "sasl")]
mod mechanism;
#[cfg(feature = "sasl")]
mod msk_iam;
mod names;
mod not_yet;
#[cfg(feature = "sasl")]
mod oauth;
#[cfg(feature = "sasl-oidc")]
mod oidc;
mod parts;
mod properties;
pub(crate) mod providers;
mod reference;
#[cfg(feature = "sasl")]
mod sasl_credentials;
mod secret;
mod security;
mod settings;
mod shown;
#[cfg(feature = "tls-core")]
mod store_rules;
pub(super) mod table;
mod text_settings;
#[cfg(feature = "tls-core")]
mod tls_material;
mod unused;
mod validate;
mod value;

use std::fmt;
use std::sync::{Arc, LazyLock};

use crate::connection::resolve::{NameService, SystemNames};
use crate::error::{Error, ErrorKind};
use crate::threads::logging::log_line;

use load::Faults;
use providers::Providers;
use settings::{Explicit, ROWS, Settings};
use shown::Shown;
use text_settings::TextSettings;

pub(crate) use bootstrap::BootstrapAddress;
pub use choices::{
    Acks, ClientDnsLookup, MetadataRecoveryStrategy, PartitionerClass, SecurityProtocol,
};
pub(crate) use table::for_each_setting;
pub(crate) use validate::ValidatedConfig;

/// The settings of a producer. Each has its default until it is set: the default of Kafka 4.x, except for
/// `send.buffer.bytes`, and for `sender.threads`, which Java does not have.
///
/// Set them by type ([`linger`](Self::linger)), by Kafka's name ([`set`](Self::set)), or from a Java `.properties` file.
/// `set` and the methods that read a text or file check at once that each name is known, and that its value has the right
/// type and range. One error lists the first 20 faults and counts the others. `build` checks the rest: values from typed
/// setters, missing settings, conflicts between settings, the length of `client.id`, and whether this build has the codec.
///
/// Settings of Java's producer that this one does not support yet are refused, unless the value needs no unsupported
/// feature (Java's defaults need none). Names that only have a meaning in a JVM, such as `key.serializer`, or for Kafka's
/// other clients, such as `group.id`, are accepted with a warning in the log. A setting that another setting makes useless
/// is accepted silently, for example the level of a codec that is not used.
///
/// A value may have placeholders, `${NAME:KEY}` or `${NAME:PATH:KEY}`, which the [config
/// providers](https://kafka.apache.org/documentation/#config_providers) of `config.providers` fill in when the producer is
/// built, so the order of settings has no effect. Typed setters take a text as it is. Until then `get` and `Debug` show the
/// text as it was set. `build` reports what a provider does not have, and values that are not legal, without the values.
///
/// ```
/// # use std::time::Duration;
/// # use kafka_producer::{Acks, ProducerConfig};
/// let mut config = ProducerConfig::new()
///     .bootstrap_servers("localhost:9092")
///     .linger(Duration::from_millis(20))
///     .acks(Acks::All);
/// config.set("batch.size", "65536")?;
/// assert_eq!(config.get("linger.ms").as_deref(), Some("20"));
/// # Ok::<(), kafka_producer::Error>(())
/// ```
#[derive(Clone)]
pub struct ProducerConfig {
    settings: Settings,
    /// Which of `settings` were set.
    explicit: Explicit,
    texts: TextSettings,
    /// Set in code: they take precedence over `sasl.jaas.config`.
    #[cfg(feature = "sasl")]
    sasl_credentials: Option<sasl_credentials::SaslCredentials>,
    /// Set in code: the settings `ssl.truststore.*` and `ssl.keystore.*` must not be set then.
    #[cfg(feature = "tls-core")]
    tls_in_code: tls_material::TlsInCode,
    providers: Providers,
    /// The system's, except in tests.
    names: Arc<dyn NameService>,
}

impl ProducerConfig {
    /// All defaults. `bootstrap.servers` has none and must be set.
    pub fn new() -> Self {
        static DEFAULTS: LazyLock<Settings> = LazyLock::new(Settings::defaults);
        Self {
            settings: DEFAULTS.clone(),
            explicit: Explicit::default(),
            texts: TextSettings::default(),
            #[cfg(feature = "sasl")]
            sasl_credentials: None,
            #[cfg(feature = "tls-core")]
            tls_in_code: tls_material::TlsInCode::default(),
            providers: Providers::default(),
            names: Arc::new(SystemNames),
        }
    }

    /// Makes the producer resolve host names with `names`.
    #[cfg(feature = "unstable-internals")]
    pub(crate) fn resolve_with(&mut self, names: Arc<dyn NameService>) {
        self.names = names;
    }

    /// Returns whether the setting `name` was set. Otherwise it has its default.
    pub(in crate::producer) fn is_set(&self, name: &str) -> bool {
        self.set_names().any(|set| set == name)
    }

    fn set_names(&self) -> impl Iterator<Item = &'static str> {
        let filled = self.explicit.names().into_iter().chain(self.texts.names());
        filled
            .filter(|name| self.providers.unfilled(name).is_none())
            .chain(self.providers.unfilled_names())
    }

    fn explicitly_set(&self) -> impl Iterator<Item = (&str, String)> {
        let settings = self
            .set_names()
            .filter_map(|name| Some((name, self.get(name)?)));
        let of_providers = self.providers.settings();
        settings.chain(of_providers.filter_map(|name| Some((name, self.providers.show(name)?))))
    }
}

impl Default for ProducerConfig {
    fn default() -> Self {
        Self::new()
    }
}

/// Shows the settings that were set, under Kafka's names and with the values that [`get`](ProducerConfig::get) returns: no
/// secret. What has no name of Kafka's is under the name of its setter, such as `tls_client_key`.
impl fmt::Debug for ProducerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProducerConfig ")?;
        let mut map = f.debug_map();
        map.entries(self.explicitly_set());
        #[cfg(feature = "tls-core")]
        map.entries(self.tls_set_in_code());
        map.finish()
    }
}

fn config_error(message: String) -> Error {
    Error::new(ErrorKind::Config, message)
}

/// Logs a warning about settings.
fn warn(warning: &str) {
    #[cfg(test)]
    WARNINGS.with_borrow_mut(|warnings| warnings.push(warning.to_owned()));
    log_line!(log::Level::Warn, target: "kafka_producer::config", "{warning}");
}

#[cfg(test)]
thread_local! {
    /// The warnings about the settings of this thread's test.
    static WARNINGS: std::cell::RefCell<Vec<String>> = const { std::cell::RefCell::new(Vec::new()) };
}

/// Returns what `run` returns, and the warnings that it logs.
#[cfg(test)]
fn warnings_of<T>(run: impl FnOnce() -> T) -> (T, Vec<String>) {
    WARNINGS.take();
    (run(), WARNINGS.take())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::record::compression::CompressionType;

    fn refused(name: &str, value: &str) -> String {
        let mut config = ProducerConfig::new();
        let error = config.set(name, value).expect_err("a refusal");
        assert_eq!(error.kind(), ErrorKind::Config);
        assert_eq!(format!("{config:?}"), "ProducerConfig {}");
        error.to_string()
    }

    #[test]
    fn defaults_are_those_of_kafka_4() {
        let config = ProducerConfig::new();
        for (name, value) in [
            ("acks", "all"),
            ("linger.ms", "5"),
            ("batch.size", "16384"),
            ("buffer.memory", "33554432"),
            ("enable.idempotence", "true"),
            ("metadata.recovery.strategy", "rebootstrap"),
            ("retries", "2147483647"),
            ("connections.max.idle.ms", "540000"),
            ("partitioner.availability.timeout.ms", "0"),
            ("compression.type", "none"),
        ] {
            assert_eq!(config.get(name).as_deref(), Some(value), "{name}");
        }
    }

    #[test]
    fn every_default_is_legal_and_written_as_the_table_writes_it() {
        for row in ROWS {
            let mut config = ProducerConfig::new();
            assert_eq!(
                config.get(row.property).as_deref(),
                Some(row.default),
                "{}",
                row.property
            );
            config.set(row.property, row.default).unwrap();
        }
    }

    /// The range is text in the table and numbers in the code: the ends in the text are the last legal numbers.
    #[test]
    fn every_range_in_the_table_is_the_one_that_is_checked() {
        let mut checked = 0;
        for row in ROWS {
            let (min, max) = if let Some(min) = row.range.strip_suffix(" or more") {
                (min, Some(i64::MAX))
            } else if let Some((min, max)) = row.range.split_once(" to ") {
                (min, max.parse::<i64>().ok())
            } else {
                continue;
            };
            let min = min
                .split(' ')
                .next_back()
                .and_then(|min| min.parse::<i64>().ok());
            let (Some(min), Some(max)) = (min, max) else {
                continue;
            };
            let mut config = ProducerConfig::new();
            for legal in [min, max] {
                config.set(row.property, &legal.to_string()).unwrap();
            }
            let above = (i128::from(max) + 1).to_string();
            let error = refused(row.property, &above);
            assert_eq!(
                error,
                format!(
                    "{}={above} is out of range (range: {})",
                    row.property, row.range
                )
            );
            // Below -1 idle connections stay open as at -1; gzip's range names the part above its gap.
            if !matches!(
                row.property,
                "connections.max.idle.ms" | "compression.gzip.level"
            ) {
                refused(row.property, &(min - 1).to_string());
            }
            checked += 1;
        }
        assert!(checked > 20, "only {checked} ranges were read");
    }

    #[test]
    fn texts_of_the_wrong_type_are_refused_with_name_value_and_range() {
        assert_eq!(
            refused("linger.ms", "abc"),
            "linger.ms=abc is not a whole number (range: 0 to 2147483647)"
        );
        assert_eq!(
            refused("linger.ms", ""),
            "linger.ms= has no value: give it one, or leave the setting out for its default (range: 0 to 2147483647)"
        );
        assert_eq!(
            refused("enable.idempotence", "yes"),
            "enable.idempotence=yes is neither true nor false (values: true, false)"
        );
        assert_eq!(
            refused("acks", "2"),
            "acks=2 is not a legal value (values: all, -1, 0, 1)"
        );
        assert_eq!(
            refused("compression.gzip.level", "0"),
            "compression.gzip.level=0 is out of range (range: -1 or 1 to 9)"
        );
        assert_eq!(
            refused("security.protocol", "tls"),
            "security.protocol=tls is not a legal value (values: PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL)"
        );
        assert!(refused("batch.size", "99999999999999999999999").contains("is out of range"));
        assert!(refused("compression.type", "GZIP").contains("is not a legal value"));
    }

    #[test]
    fn a_value_in_another_notation_is_refused_with_what_to_write() {
        for (name, value, hint) in [
            ("linger.ms", "5ms", "is not a whole number: write 5 ("),
            ("batch.size", "16KB", "is not a whole number: write 16384 ("),
            ("retries", "1_000", "is not a whole number: write 1000 ("),
            ("send.buffer.bytes", "128k", "write 131072"),
            ("connections.max.idle.ms", "9min", "write 540000"),
            ("linger.ms", "\"5\"", "is in quotes: write it without them"),
            ("acks", "'all'", "is in quotes"),
            ("linger.ms", "${LINGER}", "has a placeholder in it"),
            ("compression.type", "{{ codec }}", "has a placeholder in it"),
            ("compression.type", "", "has no value"),
            (
                "compression.type",
                "GZIP",
                "is not a legal value: write gzip (",
            ),
            (
                "client.dns.lookup",
                "default",
                "use_all_dns_ips is the default now",
            ),
            (
                "partitioner.class",
                "com.example.Mine",
                "give your own partitioner to the builder",
            ),
            (
                "partitioner.class",
                "org.apache.kafka.clients.producer.UniformStickyPartitioner",
                "set partitioner.ignore.keys=true",
            ),
        ] {
            let error = refused(name, value);
            assert!(error.contains(hint), "{error}");
        }
    }

    #[test]
    fn long_and_unprintable_values_are_shown_shortened() {
        let error = refused("linger.ms", &format!("1\n2{}", "x".repeat(10_000)));
        assert!(error.len() < 250 && !error.contains('\n'), "{error}");
    }

    #[test]
    fn texts_are_read_without_surrounding_space_and_names_of_choices_as_java_reads_them() {
        let mut config = ProducerConfig::new();
        for (name, value, shown) in [
            ("linger.ms", " 7 ", "7"),
            ("acks", "-1", "all"),
            ("acks", "ALL", "all"),
            ("acks", "0", "0"),
            ("enable.idempotence", "FALSE", "false"),
            ("metadata.recovery.strategy", "NONE", "none"),
            ("security.protocol", "plaintext", "PLAINTEXT"),
            ("send.buffer.bytes", "-1", "-1"),
            ("connections.max.idle.ms", "-5", "-1"),
            ("sender.threads", "64", "64"),
            ("sender.threads", "AUTO", "auto"),
            (
                "partitioner.class",
                "RoundRobinPartitioner",
                "org.apache.kafka.clients.producer.RoundRobinPartitioner",
            ),
        ] {
            config.set(name, value).unwrap();
            assert_eq!(config.get(name).as_deref(), Some(shown), "{name}={value}");
        }
    }

    #[test]
    fn typed_setters_and_names_set_the_same() {
        let typed = ProducerConfig::new()
            .bootstrap_servers("a:1")
            .linger(Duration::from_millis(20))
            .connections_max_idle(None)
            .send_buffer(Some(4096))
            .compression(CompressionType::Gzip)
            .acks(Acks::Leader);
        let named = ProducerConfig::from_pairs([
            ("bootstrap.servers", "a:1"),
            ("linger.ms", "20"),
            ("connections.max.idle.ms", "-1"),
            ("send.buffer.bytes", "4096"),
            ("compression.type", "gzip"),
            ("acks", "1"),
        ])
        .unwrap();
        assert_eq!(format!("{typed:?}"), format!("{named:?}"));
        assert!(format!("{typed:?}").contains(r#""linger.ms": "20""#));
        assert!(typed.is_set("acks") && named.is_set("acks"));
        assert!(!typed.is_set("partitioner.class"));
    }

    #[test]
    fn a_properties_text_adds_to_what_is_set_or_changes_nothing() {
        let mut config = ProducerConfig::new().linger(Duration::from_millis(7));
        assert!(config.load_properties("acks=1\nlinger.ms=x").is_err());
        assert_eq!(config.get("acks").as_deref(), Some("all"));
        config.load_properties("acks=1").unwrap();
        assert_eq!(config.get("acks").as_deref(), Some("1"));
        assert_eq!(config.get("linger.ms").as_deref(), Some("7"));
    }

    #[test]
    fn a_properties_text_sets_and_an_error_names_its_line() {
        let config =
            ProducerConfig::from_properties("# mine\nlinger.ms = 20\nacks: 1\nlinger.ms=30\n")
                .unwrap();
        assert_eq!(config.get("linger.ms").as_deref(), Some("30"));
        assert_eq!(config.get("acks").as_deref(), Some("1"));
        let error = ProducerConfig::from_properties("acks=1\n\nlinger.ms=x").unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("line 3: linger.ms=x is not a whole number"),
            "{error}"
        );
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig { failure_persistence: None, ..Default::default() })]
        #[test]
        fn any_text_is_accepted_or_refused_and_what_get_returns_is_accepted_again(row in 0..ROWS.len(), text in "-?[0-9]{1,25}|\\PC{0,20}") {
            let property = ROWS[row].property;
            let mut config = ProducerConfig::new();
            if config.set(property, &text).is_ok() {
                let shown = config.get(property).unwrap();
                let mut again = ProducerConfig::new();
                again.set(property, &shown).unwrap();
                proptest::prop_assert_eq!(again.get(property), Some(shown));
            }
            let _ = config.bootstrap_servers(text).validate();
        }
    }
}
