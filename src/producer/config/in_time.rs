//! Checks the settings with a deadline. They may name files, and a file system of the network may not answer: stores, keytabs,
//! assertions, the files of config providers.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use crate::error::{Error, ErrorKind};
use crate::threads::logging::CollectedLines;
use crate::threads::{BlockingCalls, NoResult, Overlap};
use crate::time::deadline_after;

use super::ProducerConfig;
use super::validate::ValidatedConfig;

/// The least time for a check: `max.block.ms` may be 0, and a file system of the network needs some time.
const LEAST_TIME: Duration = Duration::from_secs(5);

/// How many checks may hang in this process. Programs may repeat `build` as long as a file system does not answer.
const MOST_THAT_HANG: usize = 16;

type Checked = (Result<ValidatedConfig, Error>, CollectedLines);

static CHECKS: LazyLock<BlockingCalls<Checked>> =
    LazyLock::new(|| BlockingCalls::new("kp-settings", Overlap::RefusedAfter(MOST_THAT_HANG)));

impl ProducerConfig {
    /// Checks the settings as [`validate`](Self::validate) does, on another thread. Blocks for `max.block.ms` at most, or for
    /// five seconds if that is more. This thread logs the warnings: its program may hold a lock that the logger needs.
    pub(crate) fn validate_in_time(&self) -> Result<ValidatedConfig, Error> {
        self.validate_within(self.settings.max_block.max(LEAST_TIME))
    }

    fn validate_within(&self, time: Duration) -> Result<ValidatedConfig, Error> {
        let config = self.clone();
        let check = move || CollectedLines::of(|| config.validate());
        match CHECKS.run(deadline_after(Instant::now(), time), check) {
            Ok((result, lines)) => {
                lines.log();
                result
            }
            Err(no_result) => Err(not_checked(no_result, time)),
        }
    }
}

fn not_checked(no_result: NoResult, time: Duration) -> Error {
    const ADVICE: &str = "check the file systems of the files that the settings name (stores, keytabs, assertions, files of \
                          config.providers), then call build again";
    let late = |message: String| Error::new(ErrorKind::Timeout, message).with_advice(ADVICE);
    match no_result {
        NoResult::Late => late(format!(
            "the settings were not checked within {} s: a file that they name was not read",
            time.as_secs_f32()
        )),
        NoResult::EarlierHang => late(format!(
            "the settings were not checked: {MOST_THAT_HANG} earlier calls of build still wait for a file that does not \
             come"
        )),
        NoResult::NotStarted(error) => Error::new(
            ErrorKind::Resource,
            "the thread that checks the settings cannot be started",
        )
        .with_source(error),
        NoResult::Panicked | NoResult::Closed => {
            Error::new(ErrorKind::Internal, "the check of the settings panicked")
        }
    }
    .without_record()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::producer::KafkaProducer;
    use crate::secret::HungFile;

    #[test]
    fn a_build_whose_file_is_not_read_ends_in_time_and_the_next_one_works() {
        let path = std::env::temp_dir().join(format!("kp-settings-{}", fastrand::u64(..)));
        std::fs::write(&path, "servers=127.0.0.1:1\n").unwrap();
        let file = path.to_str().unwrap();
        let mut config = ProducerConfig::new();
        for (name, value) in [
            ("max.block.ms", "0"),
            ("config.providers", "file"),
            (
                "config.providers.file.class",
                "org.apache.kafka.common.config.provider.FileConfigProvider",
            ),
            ("bootstrap.servers", &format!("${{file:{file}:servers}}")),
        ] {
            config.set(name, value).unwrap();
        }
        let hung = HungFile::new(&path);
        let builder = || KafkaProducer::<(), String>::builder().config(config.clone());
        let began = Instant::now();
        let error = builder().build().expect_err("the file hangs");
        let took = began.elapsed();
        assert!(took >= LEAST_TIME && took < 4 * LEAST_TIME, "{took:?}");
        assert_eq!(error.kind(), ErrorKind::Timeout);
        let shown = error.to_string();
        assert!(
            shown.contains("not checked within 5 s") && shown.contains("config.providers"),
            "{shown}"
        );
        drop(hung);
        let producer = builder().build().unwrap();
        producer.close(Duration::ZERO).unwrap();
        std::fs::remove_file(&path).unwrap();
    }

    #[cfg(all(feature = "tls", feature = "sasl-oidc"))]
    #[test]
    fn every_kind_of_file_is_read_with_a_deadline() {
        let store = |name: &str| format!("{}/tests/data/stores/{name}", env!("CARGO_MANIFEST_DIR"));
        let (trust, key) = (store("root.der"), store("key-pkcs8.pem"));
        let handler =
            "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginCallbackHandler";
        let jaas = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required \
                    clientId=\"me\" clientSecret=\"hidden\"";
        let with_trust = format!("{jaas} ssl.truststore.location=\"{trust}\";");
        let jaas = format!("{jaas};");
        let token_server = [
            ("security.protocol", "SASL_PLAINTEXT"),
            ("sasl.mechanism", "OAUTHBEARER"),
            ("sasl.login.callback.handler.class", handler),
        ];
        const URL: &str = "sasl.oauthbearer.token.endpoint.url";
        let of_brokers = [
            ("security.protocol", "SSL"),
            ("ssl.truststore.location", &*trust),
        ];
        let of_server = [(URL, "https://a.test/"), ("sasl.jaas.config", &*with_trust)];
        let of_assertion = [
            (URL, "http://localhost:1/"),
            ("sasl.jaas.config", &*jaas),
            ("sasl.oauthbearer.assertion.claim.iss", "me"),
            ("sasl.oauthbearer.assertion.algorithm", "ES256"),
            ("sasl.oauthbearer.assertion.private.key.file", &*key),
        ];
        for (path, settings) in [
            (&trust, of_brokers.to_vec()),
            (&trust, [&token_server[..], &of_server].concat()),
            (&key, [&token_server[..], &of_assertion].concat()),
        ] {
            let mut config = ProducerConfig::new();
            config.set("bootstrap.servers", "127.0.0.1:1").unwrap();
            for (name, value) in settings {
                config.set(name, value).unwrap();
            }
            let hung = HungFile::new(path.as_ref());
            let late = config.validate_within(Duration::from_millis(20));
            let error = late.map(drop).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
            drop(hung);
            let config = config.validate_within(Duration::from_secs(60));
            assert!(config.is_ok(), "{:?}", config.map(drop));
        }
    }
}
