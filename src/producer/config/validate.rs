//! Checks settings that depend on each other, as Java's `ProducerConfig` and `KafkaProducer` do.

use std::fmt::Display;
use std::num::NonZero;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crate::connection::resolve::NameService;
use crate::error::Error;
use crate::record::compression::CompressionType;
use crate::secret::HIDDEN;

use super::choices::Acks;
use super::security::Protection;
use super::{BootstrapAddress, Faults, ProducerConfig, Settings, bootstrap, warn};

/// Settings that are in range and do not conflict. Values that depend on other settings are filled in.
#[derive(Clone)]
pub(crate) struct ValidatedConfig {
    settings: Settings,
    pub(crate) bootstrap_addresses: Vec<BootstrapAddress>,
    pub(crate) names: Arc<dyn NameService>,
    pub(crate) protection: Protection,
}

impl ValidatedConfig {
    /// The level of the chosen codec; 0 if the codec has no levels.
    pub(crate) fn compression_level(&self) -> i32 {
        match self.compression {
            CompressionType::None | CompressionType::Snappy => 0,
            CompressionType::Gzip => self.compression_gzip_level,
            CompressionType::Lz4 => self.compression_lz4_level,
            CompressionType::Zstd => self.compression_zstd_level,
        }
    }

    /// The number of workers: as set, or what `auto` means on this machine.
    pub(crate) fn sender_threads(&self) -> usize {
        self.sender_threads.unwrap_or_else(|| {
            let cores = thread::available_parallelism().map_or(1, NonZero::get);
            auto_sender_threads(cores, self.compression)
        })
    }
}

impl Deref for ValidatedConfig {
    type Target = Settings;

    fn deref(&self) -> &Settings {
        &self.settings
    }
}

impl ProducerConfig {
    /// Fills in placeholders, and checks the range of each setting and the conflicts between settings. One error lists the first 20 faults and counts
    /// the others.
    pub(crate) fn validate(&self) -> Result<ValidatedConfig, Error> {
        self.filled()?.validate_filled()
    }

    /// Checks the configuration when its placeholders are filled in.
    fn validate_filled(&self) -> Result<ValidatedConfig, Error> {
        let mut faults = Faults::default();
        self.settings.check(&mut faults);
        let mut settings = self.settings.clone();
        // Reports that no address is set. `check` has reported wrong addresses.
        if settings.bootstrap_servers.trim().is_empty() {
            faults.value_or_add(bootstrap::parse(&settings.bootstrap_servers));
        }
        let bootstrap_addresses = bootstrap::parse(&settings.bootstrap_servers).unwrap_or_default();
        settings.client_id = faults
            .value_or_add(client_id(&settings.client_id))
            .unwrap_or_default();
        settings.enable_idempotence = faults.value_or_add(self.idempotence()).unwrap_or_default();
        settings.delivery_timeout = faults
            .value_or_add(self.delivery_timeout_for_linger_and_request())
            .unwrap_or_default();
        faults.value_or_add(codec_is_compiled_in(settings.compression));
        let protection = faults.value_or_add_all(self.protection());
        faults.into_result()?;
        self.warn_of_changes(&settings);
        if self.explicit.reconnect_backoff && !self.explicit.reconnect_backoff_max {
            settings.reconnect_backoff_max = settings.reconnect_backoff;
        }
        // The text 0 is `None` already. The typed setter may have given a duration of zero.
        settings.partitioner_availability_timeout = settings
            .partitioner_availability_timeout
            .filter(|timeout| !timeout.is_zero());
        if settings.compression == CompressionType::Lz4
            && settings.compression_lz4_level != LZ4_DEFAULT_LEVEL
        {
            warn(&format!(
                "compression.lz4.level={} has no effect: the lz4 codec has one level",
                self.shown(&["compression.lz4.level"], settings.compression_lz4_level)
            ));
        }
        Ok(ValidatedConfig {
            settings,
            bootstrap_addresses,
            names: Arc::clone(&self.names),
            protection: protection.unwrap_or_else(Protection::none),
        })
    }

    /// A value that follows from the settings `names`, as an error may show it: not if a config provider gave one of them.
    pub(super) fn shown(&self, names: &[&str], value: impl Display) -> String {
        match names.iter().any(|name| self.providers.gave(name)) {
            true => HIDDEN.to_owned(),
            false => value.to_string(),
        }
    }

    /// Returns whether idempotence is on. If `enable.idempotence` was not set, `acks` or `retries` can turn it off. Even
    /// then more than five requests in flight are refused, as by Java since 4.0.
    fn idempotence(&self) -> Result<bool, String> {
        const MOST_IN_FLIGHT: usize = 5;
        let settings = &self.settings;
        if !settings.enable_idempotence {
            return Ok(false);
        }
        let obstacle = self.obstacle_to_idempotence();
        if let Some(obstacle) = obstacle.filter(|_| self.explicit.enable_idempotence) {
            return Err(format!(
                "enable.idempotence=true and {obstacle} exclude each other: idempotence needs acks=all and retries \
                 of at least 1"
            ));
        }
        if settings.max_in_flight_requests_per_connection > MOST_IN_FLIGHT {
            return Err(format!(
                "max.in.flight.requests.per.connection={} is more than the {MOST_IN_FLIGHT} that idempotence allows: \
                 lower it or set enable.idempotence=false",
                self.shown(
                    &["max.in.flight.requests.per.connection"],
                    settings.max_in_flight_requests_per_connection
                )
            ));
        }
        Ok(obstacle.is_none())
    }

    /// The setting that rules idempotence out, if there is one.
    fn obstacle_to_idempotence(&self) -> Option<&'static str> {
        match (self.settings.acks, self.settings.retries) {
            (Acks::None, _) => Some("acks=0"),
            (Acks::Leader, _) => Some("acks=1"),
            (Acks::All, 0) => Some("retries=0"),
            (Acks::All, _) => None,
        }
    }

    /// Warns of each of `settings` that differs from what the user set. Call it for legal settings only: for others the
    /// error is enough.
    fn warn_of_changes(&self, settings: &Settings) {
        if self.settings.enable_idempotence && !settings.enable_idempotence {
            let obstacle = self.obstacle_to_idempotence().unwrap_or_default();
            warn(&format!(
                "idempotence is off because of {obstacle}: retries may duplicate or reorder records; \
                 set enable.idempotence=false if that is intended"
            ));
        }
        if settings.delivery_timeout != self.settings.delivery_timeout {
            warn(&format!(
                "delivery.timeout.ms is raised to linger.ms + request.timeout.ms = {}",
                self.shown(
                    &["linger.ms", "request.timeout.ms"],
                    settings.delivery_timeout.as_millis()
                )
            ));
        }
    }

    /// Returns `delivery.timeout.ms`. It must be at least `linger.ms` + `request.timeout.ms`. A smaller default is raised
    /// to that sum, and a smaller value that was set is refused.
    fn delivery_timeout_for_linger_and_request(&self) -> Result<Duration, String> {
        const LONGEST: Duration = Duration::from_millis(i32::MAX as u64);
        let settings = &self.settings;
        let least = settings
            .linger
            .saturating_add(settings.request_timeout)
            .min(LONGEST);
        if settings.delivery_timeout >= least {
            return Ok(settings.delivery_timeout);
        }
        if self.explicit.delivery_timeout {
            return Err(format!(
                "delivery.timeout.ms={} is less than linger.ms + request.timeout.ms = {}: raise it or lower \
                 request.timeout.ms or linger.ms",
                self.shown(
                    &["delivery.timeout.ms"],
                    settings.delivery_timeout.as_millis()
                ),
                self.shown(&["linger.ms", "request.timeout.ms"], least.as_millis())
            ));
        }
        Ok(least)
    }
}

/// Returns the given client id. If it is empty, returns `producer-` and a number that no other producer of this process
/// has.
fn client_id(given: &str) -> Result<String, String> {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    if given.is_empty() {
        return Ok(format!("producer-{}", NEXT.fetch_add(1, Ordering::Relaxed)));
    }
    // The protocol writes the length as an int16.
    if given.len() > i16::MAX as usize {
        return Err(format!(
            "client.id is {} bytes long; the most is {}",
            given.len(),
            i16::MAX
        ));
    }
    Ok(given.to_owned())
}

/// The number of workers for `auto`. Callers encode the records, so it takes callers on two cores to keep one worker busy.
/// With compression the worker is the bottleneck. With snappy and lz4 two workers on two cores send 1.5 times as much as
/// one, and with gzip nearly twice as much.
fn auto_sender_threads(cores: usize, codec: CompressionType) -> usize {
    const MOST: usize = 4;
    let threads = match codec {
        CompressionType::None => cores / 2,
        _ => cores,
    };
    threads.clamp(1, MOST)
}

/// Java's default. Any other value is logged with a warning, because the codec has only one level.
const LZ4_DEFAULT_LEVEL: i32 = 9;

fn codec_is_compiled_in(codec: CompressionType) -> Result<(), String> {
    if codec.is_compiled_in() {
        return Ok(());
    }
    Err(format!(
        "compression.type={codec} needs the Cargo feature \"{codec}\" of kafka-producer, which is off in this build"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(pairs: &[(&str, &str)]) -> ProducerConfig {
        let mut config = ProducerConfig::new().bootstrap_servers("localhost:9092");
        for (name, value) in pairs {
            config.set(name, value).unwrap();
        }
        config
    }

    fn refused(pairs: &[(&str, &str)]) -> String {
        match config(pairs).validate() {
            Ok(_) => panic!("{pairs:?} was accepted"),
            Err(error) => error.to_string(),
        }
    }

    /// The matrix of Java's KafkaProducerTest and ProducerConfig: what is set, and whether idempotence is on (`None`: an
    /// error).
    const IDEMPOTENCE: &[(&str, Option<bool>)] = &[
        ("", Some(true)),
        ("enable.idempotence=true", Some(true)),
        ("enable.idempotence=false", Some(false)),
        ("acks=0", Some(false)),
        ("acks=1", Some(false)),
        ("acks=all", Some(true)),
        ("acks=-1", Some(true)),
        ("acks=0 enable.idempotence=true", None),
        ("acks=1 enable.idempotence=true", None),
        ("acks=all enable.idempotence=true", Some(true)),
        ("acks=-1 enable.idempotence=true", Some(true)),
        ("acks=1 enable.idempotence=false", Some(false)),
        ("acks=all enable.idempotence=false", Some(false)),
        ("retries=0", Some(false)),
        ("retries=1", Some(true)),
        ("retries=0 enable.idempotence=true", None),
        ("retries=1 enable.idempotence=true", Some(true)),
        ("retries=0 enable.idempotence=false", Some(false)),
        ("max.in.flight.requests.per.connection=5", Some(true)),
        ("max.in.flight.requests.per.connection=6", None),
        (
            "max.in.flight.requests.per.connection=6 enable.idempotence=true",
            None,
        ),
        (
            "max.in.flight.requests.per.connection=6 enable.idempotence=false",
            Some(false),
        ),
        ("max.in.flight.requests.per.connection=6 acks=1", None),
        ("max.in.flight.requests.per.connection=6 retries=0", None),
        ("acks=1 retries=0", Some(false)),
        ("acks=1 retries=0 enable.idempotence=true", None),
    ];

    #[test]
    fn idempotence_follows_acks_retries_and_requests_in_flight_as_in_java() {
        for (set, expected) in IDEMPOTENCE {
            let pairs: Vec<_> = set
                .split_whitespace()
                .filter_map(|pair| pair.split_once('='))
                .collect();
            let idempotence = config(&pairs)
                .validate()
                .ok()
                .map(|valid| valid.enable_idempotence);
            assert_eq!(idempotence, *expected, "{set}");
        }
    }

    #[test]
    fn an_obstacle_to_idempotence_is_named() {
        let error = refused(&[("acks", "1"), ("enable.idempotence", "true")]);
        assert!(
            error.contains("enable.idempotence=true and acks=1 exclude each other"),
            "{error}"
        );
        let error = refused(&[
            ("max.in.flight.requests.per.connection", "10"),
            ("acks", "1"),
        ]);
        assert!(
            error.contains("max.in.flight.requests.per.connection=10"),
            "{error}"
        );
    }

    #[test]
    fn delivery_timeout_covers_linger_and_request_timeout() {
        let explicit = [("delivery.timeout.ms", "30004"), ("linger.ms", "5")];
        assert_eq!(
            refused(&explicit),
            "delivery.timeout.ms=30004 is less than linger.ms + request.timeout.ms = 30005: raise it or lower \
             request.timeout.ms or linger.ms"
        );
        let raised = config(&[("request.timeout.ms", "150000")])
            .validate()
            .unwrap();
        assert_eq!(raised.delivery_timeout, Duration::from_millis(150_005));
        let enough = config(&[("delivery.timeout.ms", "30005"), ("linger.ms", "5")])
            .validate()
            .unwrap();
        assert_eq!(enough.delivery_timeout, Duration::from_millis(30_005));
        let capped = config(&[("linger.ms", "2147483647")]).validate().unwrap();
        assert_eq!(
            capped.delivery_timeout,
            Duration::from_millis(2_147_483_647)
        );
    }

    #[test]
    fn reconnect_backoff_set_alone_is_constant() {
        let alone = config(&[("reconnect.backoff.ms", "7000")])
            .validate()
            .unwrap();
        assert_eq!(alone.reconnect_backoff_max, Duration::from_secs(7));
        let both = config(&[
            ("reconnect.backoff.ms", "70"),
            ("reconnect.backoff.max.ms", "700"),
        ])
        .validate()
        .unwrap();
        assert_eq!(both.reconnect_backoff_max, Duration::from_millis(700));
    }

    #[test]
    fn typed_setters_out_of_range_are_refused_with_name_value_and_range() {
        let base = || config(&[]);
        for (config, expected) in [
            (base().linger(Duration::MAX), "linger.ms="),
            (
                base().request_timeout(Duration::from_millis(1 << 31)),
                "request.timeout.ms=2147483648 is out of range",
            ),
            (
                base().batch_size(1 << 31),
                "batch.size=2147483648 is out of range (range: 0 to 2147483647)",
            ),
            (
                base().sender_threads(0),
                "sender.threads=0 is out of range (range: auto or 1 to 64)",
            ),
            (
                base().compression_gzip_level(0),
                "compression.gzip.level=0 is out of range",
            ),
            (
                base().retries(u32::MAX),
                "retries=4294967295 is out of range",
            ),
            (
                base().send_buffer(Some(1 << 31)),
                "send.buffer.bytes=2147483648 is out of range",
            ),
            (
                base().client_id("x".repeat(40_000)),
                "client.id is 40000 bytes long",
            ),
        ] {
            let error = config.validate().err().expect(expected).to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn the_longest_time_is_a_legal_wait() {
        let config = config(&[])
            .max_block(Duration::MAX)
            .metadata_max_age(Duration::MAX);
        assert_eq!(config.validate().unwrap().max_block, Duration::MAX);
    }

    #[test]
    fn bootstrap_servers_must_be_set() {
        let error = ProducerConfig::new().validate().err().unwrap().to_string();
        assert!(error.starts_with("bootstrap.servers is not set"), "{error}");
    }

    #[test]
    fn client_ids_that_are_not_set_are_numbered() {
        let [one, two] = [(); 2].map(|()| config(&[]).validate().unwrap().client_id.clone());
        assert!(one.starts_with("producer-") && two.starts_with("producer-") && one != two);
        assert_eq!(
            config(&[("client.id", "mine")])
                .validate()
                .unwrap()
                .client_id,
            "mine"
        );
    }

    #[test]
    fn a_codec_is_accepted_exactly_where_its_feature_is_on() {
        for codec in CompressionType::ALL {
            match config(&[("compression.type", codec.name())]).validate() {
                Ok(_) => assert!(codec.is_compiled_in(), "{codec}"),
                Err(error) => {
                    assert!(!codec.is_compiled_in(), "{codec}");
                    assert!(
                        error
                            .to_string()
                            .contains(&format!("Cargo feature \"{codec}\"")),
                        "{error}"
                    );
                }
            }
        }
    }

    #[test]
    fn auto_starts_a_thread_for_two_cores_or_with_compression_for_each() {
        for (cores, plain, compressing) in [
            (1, 1, 1),
            (2, 1, 2),
            (3, 1, 3),
            (4, 2, 4),
            (8, 4, 4),
            (64, 4, 4),
        ] {
            for codec in CompressionType::ALL {
                let expected = match codec {
                    CompressionType::None => plain,
                    _ => compressing,
                };
                assert_eq!(
                    auto_sender_threads(cores, codec),
                    expected,
                    "{cores} {codec}"
                );
            }
        }
    }

    #[test]
    fn threads_are_started_as_set_and_auto_resets_their_number() {
        let mut threads = config(&[("sender.threads", "7")]);
        assert_eq!(threads.validate().unwrap().sender_threads(), 7);
        threads = threads.sender_threads(3);
        assert_eq!(threads.validate().unwrap().sender_threads(), 3);
        threads.set("sender.threads", "auto").unwrap();
        assert!((1..=4).contains(&threads.validate().unwrap().sender_threads()));
    }

    #[test]
    fn the_level_is_that_of_the_codec_chosen() {
        let mut levels = config(&[
            ("compression.zstd.level", "7"),
            ("compression.gzip.level", "4"),
        ]);
        for (codec, level) in [
            ("none", 0),
            ("gzip", 4),
            ("snappy", 0),
            ("lz4", 9),
            ("zstd", 7),
        ] {
            levels.set("compression.type", codec).unwrap();
            if let Ok(valid) = levels.validate() {
                assert_eq!(valid.compression_level(), level, "{codec}");
            }
        }
    }

    #[test]
    fn an_availability_timeout_of_zero_is_none() {
        let valid = config(&[])
            .partitioner_availability_timeout(Some(Duration::ZERO))
            .validate()
            .unwrap();
        assert_eq!(valid.partitioner_availability_timeout, None);
    }
}
