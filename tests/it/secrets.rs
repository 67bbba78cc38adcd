//! Runs with secrets of every kind that fail in many ways. Whatever they print, none of it has a secret: errors with their
//! causes, `Debug`, what settings show, and log lines of every level.

use std::error::Error as _;
use std::fmt::Debug;
use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kafka_producer::mock::{ClientAuth, HandshakeFault, MockCluster, MockSasl, MockTls};
use kafka_producer::{Error, ProducerConfig};

use crate::support::{PATIENCE, Producer, child, record, sasl_peer};

/// Secrets that are texts.
const SECRETS: [&str; 7] = [
    PASSWORD,
    STORE_PASSWORD,
    KEY_PASSWORD,
    FROM_FILE,
    CLIENT_SECRET,
    TOKEN,
    SHARED_KEY,
];

const PASSWORD: &str = "hunter2-of-alice";
const STORE_PASSWORD: &str = "hunter3-of-store";
const KEY_PASSWORD: &str = "hunter4-of-key";
const FROM_FILE: &str = "hunter5-from-file";
const CLIENT_SECRET: &str = "hunter6-of-client";
const TOKEN: &str = "hunter7.token.signature";
const SHARED_KEY: &str = "aHVudGVyOC1vZi1ldmVudHM";

#[test]
fn nothing_that_is_printed_has_a_secret() {
    const NAME: &str = "secrets::nothing_that_is_printed_has_a_secret";
    if child::addresses().is_none() {
        return child::run(NAME, "none");
    }
    log::set_logger(&EVERYTHING).unwrap();
    log::set_max_level(log::LevelFilter::Trace);
    let mut printed = Printed::default();
    refused_settings(&mut printed);
    refused_stores(&mut printed);
    refused_connections(&mut printed);
    refusals_of_a_broker_that_repeats_what_it_gets(&mut printed);
    assert!(printed.texts.len() > 100, "{}", printed.texts.len());
    let lines = EVERYTHING.so_far();
    assert!(
        lines
            .iter()
            .any(|line| line.contains("no metadata from any broker")),
        "{lines:#?}"
    );
    let secrets = all_forms();
    for text in printed.texts.iter().chain(&lines) {
        let shown = secrets.iter().find(|secret| text.contains(secret.as_str()));
        assert!(shown.is_none(), "{shown:?} in: {text}");
    }
}

/// Every line of every thread, at every level.
pub(crate) static EVERYTHING: Everything = Everything(Mutex::new(Vec::new()));

pub(crate) struct Everything(Mutex<Vec<String>>);

impl Everything {
    pub(crate) fn so_far(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

impl log::Log for Everything {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        self.0.lock().unwrap().push(record.args().to_string());
    }

    fn flush(&self) {}
}

/// What a program may print.
#[derive(Default)]
pub(crate) struct Printed {
    pub(crate) texts: Vec<String>,
}

impl Printed {
    pub(crate) fn debug(&mut self, value: &dyn Debug) {
        self.texts.push(format!("{value:?}"));
        self.texts.push(format!("{value:#?}"));
    }

    pub(crate) fn error(&mut self, error: &Error) {
        self.debug(error);
        self.texts.push(error.to_string());
        let mut source = error.source();
        while let Some(cause) = source {
            self.texts.push(cause.to_string());
            self.debug(&cause);
            source = cause.source();
        }
    }

    fn config(&mut self, config: &ProducerConfig) {
        self.debug(config);
        for name in [
            "sasl.jaas.config",
            "ssl.keystore.password",
            "ssl.keystore.key",
            "ssl.keystore.certificate.chain",
            "ssl.key.password",
            "ssl.truststore.password",
        ] {
            self.texts.extend(config.get(name));
        }
    }

    /// Reads the settings from a file, then sets them one by one, and makes a producer of them.
    fn try_settings(&mut self, settings: &[(&str, &str)]) {
        let escaped = |value: &str| value.replace('\\', "\\\\").replace('\n', "\\n");
        let lines = settings.iter();
        let lines: String = lines
            .map(|(name, value)| format!("{name}={}\n", escaped(value)))
            .collect();
        self.try_file(&lines);
        let mut config = ProducerConfig::new();
        for (name, value) in settings {
            if let Err(error) = config.set(name, value) {
                self.error(&error);
            }
            self.config(&config);
        }
        self.try_config(config);
    }

    fn try_file(&mut self, text: &str) {
        let path = folder().join("tried.properties");
        fs::write(&path, text).unwrap();
        match ProducerConfig::from_properties_file(&path) {
            Ok(config) => self.try_config(config),
            Err(error) => self.error(&error),
        }
    }

    /// Builds a producer and sends a record.
    fn try_config(&mut self, config: ProducerConfig) {
        self.try_config_within(Duration::from_millis(300), config);
    }

    /// Also for failures that `send` tells at once, however busy the machine is.
    fn try_config_within(&mut self, max_block: Duration, config: ProducerConfig) {
        self.config(&config);
        let config = match config.get("bootstrap.servers") {
            Some(_) => config,
            None => config.bootstrap_servers("127.0.0.1:1"),
        };
        let builder = Producer::builder()
            .config(config)
            .max_block(max_block)
            .reconnect_backoff(Duration::from_millis(20));
        self.debug(&builder);
        let producer = match builder.build() {
            Ok(producer) => producer,
            Err(error) => return self.error(&error),
        };
        self.debug(&producer);
        if let Err(refused) = producer.send(record(0, "v")) {
            self.error(refused.error());
            self.debug(&refused);
        }
        let _ = producer.close(Duration::ZERO);
    }
}

fn all_forms() -> Vec<String> {
    let texts = SECRETS.iter().map(|text| text.as_bytes().to_vec());
    let keys = [
        pem_body(&store("key-pkcs8.pem")),
        pem_body(&store("keystore.pem")),
    ];
    let keys = keys.into_iter().flatten();
    forms_of(texts.chain(keys).collect())
}

/// Each secret as it is, as base64 at each offset, and as numbers.
pub(crate) fn forms_of(secrets: Vec<Vec<u8>>) -> Vec<String> {
    let mut forms = Vec::new();
    for secret in secrets {
        let text = String::from_utf8(secret.clone()).unwrap();
        let numbers: Vec<_> = secret.iter().map(u8::to_string).collect();
        forms.push(numbers.join(", "));
        forms.push(secret.iter().map(|byte| format!("{byte:02x}")).collect());
        for offset in 0..3 {
            // The whole groups between the first and the last, which depend on the neighbours.
            let encoded = STANDARD.encode([&b"xx"[..offset], &secret].concat());
            forms.push(encoded[4..encoded.len() - 4].to_owned());
        }
        forms.push(text);
    }
    forms
}

/// The lines of the private key in a text of PEM.
pub(crate) fn pem_body(text: &str) -> Vec<Vec<u8>> {
    let after = text.split("PRIVATE KEY-----\n").nth(1).unwrap();
    let body = after.split("-----END").next().unwrap();
    let lines = body.lines().filter(|line| line.len() > 20);
    lines.map(|line| line.as_bytes().to_vec()).collect()
}

pub(crate) fn store(name: &str) -> String {
    fs::read_to_string(store_path(name)).unwrap()
}

pub(crate) fn store_path(name: &str) -> PathBuf {
    let root = env!("CARGO_MANIFEST_DIR");
    PathBuf::from(format!("{root}/tests/data/stores/{name}"))
}

fn folder() -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("secrets");
    fs::create_dir_all(&folder).unwrap();
    folder
}

const MODULE: &str = "org.apache.kafka.common.security";

/// Texts of `sasl.jaas.config` with faults, each with a secret.
fn jaas_texts() -> Vec<String> {
    let plain = format!("{MODULE}.plain.PlainLoginModule");
    let oauth = format!("{MODULE}.oauthbearer.OAuthBearerLoginModule");
    vec![
        format!("{plain} required username=\"alice\" password=\"{PASSWORD}\";"),
        format!("{plain} required username=\"alice\" password=\"{PASSWORD}\""),
        format!("{plain} required username=\"alice\" password=\"{PASSWORD};"),
        format!("{plain} required username=\"alice password=\"{PASSWORD}\";"),
        format!("{plain} required username=alice password={PASSWORD}=x;"),
        format!("{plain} required username=alice password:{PASSWORD};"),
        format!("{plain} required username=alice {PASSWORD};"),
        format!("{plain} username=alice password=\"{PASSWORD}\";"),
        format!("{plain} \"{PASSWORD}\" username=alice;"),
        format!("{plain} required user=alice passwort=\"{PASSWORD}\";"),
        format!("{plain} required username=\"{PASSWORD}\" password=alice;"),
        format!("{plain} required username=alice password=\"{PASSWORD}\"; {plain} required;"),
        format!("{plain} required username=alice password=\"{PASSWORD}\"; {PASSWORD}"),
        format!("{PASSWORD} required username=alice;"),
        format!("com.example.Login required password=\"{PASSWORD}\";"),
        format!("{MODULE}.scram.ScramLoginModule required username=\"ä\" password=\"{PASSWORD}\";"),
        format!("{oauth} required clientId=\"id\" clientSecret=\"{CLIENT_SECRET}\" scope=\"s\";"),
        format!(
            "{oauth} required clientId=\"id\" clientSecret=\"{CLIENT_SECRET}\" extension_auth=\"{TOKEN}\";"
        ),
        format!("{oauth} required unsecuredLoginStringClaim_sub=\"{TOKEN}\";"),
        format!("{oauth} required oauth.access.token=\"{TOKEN}\";"),
        format!(
            "{plain} required username=$ConnectionString password=Endpoint=sb://x/;SharedAccessKey={SHARED_KEY}=;"
        ),
        format!(
            "software.amazon.msk.auth.iam.IAMLoginModule required awsRoleSecretAccessKey=\"{CLIENT_SECRET}\";"
        ),
        PASSWORD.to_owned(),
    ]
}

fn refused_settings(printed: &mut Printed) {
    for jaas in jaas_texts() {
        for mechanism in [
            "PLAIN",
            "SCRAM-SHA-256",
            "OAUTHBEARER",
            "AWS_MSK_IAM",
            "GSSAPI",
        ] {
            printed.try_settings(&[
                ("security.protocol", "SASL_PLAINTEXT"),
                ("sasl.mechanism", mechanism),
                ("sasl.jaas.config", &jaas),
            ]);
        }
    }
    // A line of a file that lost the backslash before it, or its quotes.
    let start = format!(
        "security.protocol=SASL_SSL\nsasl.mechanism=PLAIN\nsasl.jaas.config={MODULE}.plain"
    );
    for rest in [
        format!(".PlainLoginModule required \\\n username=alice\n password=\"{PASSWORD}\";\n"),
        format!(".PlainLoginModule required\nusername=alice \\\n password=\"{PASSWORD}\";\n"),
        format!("\n{PASSWORD}\n"),
        format!("\nssl.keystore.pasword={STORE_PASSWORD}\nssl.key.password {KEY_PASSWORD}\n"),
        format!("\nsasl.oauthbearer.client.credentials.client.secret={CLIENT_SECRET}\n"),
        format!("\nsasl.password={PASSWORD}\nssl.key.password={KEY_PASSWORD}\n"),
    ] {
        printed.try_file(&format!("{start}{rest}"));
    }
    let file = folder().join("secret.properties");
    fs::write(&file, format!("password={FROM_FILE}\n")).unwrap();
    let secret = format!("${{file:{}:password}}", file.display());
    for name in [
        "linger.ms",
        "sasl.mechanism",
        "sasl.jaas.config",
        "ssl.keystore.key",
        "acks",
    ] {
        printed.try_settings(&[
            ("config.providers", "file"),
            (
                "config.providers.file.class",
                "org.apache.kafka.common.config.provider.FileConfigProvider",
            ),
            ("security.protocol", "SASL_SSL"),
            (name, &secret),
        ]);
    }
}

fn refused_stores(printed: &mut Printed) {
    let path = |name| store_path(name).display().to_string();
    for name in [
        "keytool.jks",
        "openssl.p12",
        "keystore-encrypted.pem",
        "several.jks",
        "secret-key.p12",
    ] {
        printed.try_settings(&[
            ("security.protocol", "SSL"),
            ("ssl.keystore.location", &path(name)),
            ("ssl.keystore.password", STORE_PASSWORD),
            ("ssl.key.password", KEY_PASSWORD),
            ("ssl.truststore.location", &path(name)),
            ("ssl.truststore.password", STORE_PASSWORD),
        ]);
    }
    let chain = store("chain.pem");
    let key = store("key-pkcs8.pem");
    for key in [
        key.clone(),
        key.replace('\n', " "),
        key[..key.len() / 2].to_owned(),
        key.replace("BEGIN PRIVATE", "BEGIN PUBLIC"),
        key.replacen('M', "?", 1),
        format!("{key}{key}"),
        store("key-dsa.pem"),
        store("keystore-encrypted.pem"),
    ] {
        for chain in [&chain, &store("other.pem"), &key] {
            printed.try_settings(&[
                ("security.protocol", "SSL"),
                ("ssl.keystore.type", "PEM"),
                ("ssl.keystore.key", &key),
                ("ssl.keystore.certificate.chain", chain),
                ("ssl.key.password", KEY_PASSWORD),
            ]);
        }
        // The key in the place of the certificates.
        printed.try_settings(&[
            ("security.protocol", "SSL"),
            ("ssl.truststore.type", "PEM"),
            ("ssl.truststore.certificates", &key),
        ]);
    }
}

fn refused_connections(printed: &mut Printed) {
    let sasl = MockSasl::new()
        .plain("alice", "another")
        .scram_sha_256("alice", "another")
        .oauthbearer_token("alice", "another");
    for tls in [
        None,
        Some(MockTls::generated().client_auth(ClientAuth::Required)),
    ] {
        let mut builder = MockCluster::builder().sasl(sasl.clone());
        let protocol = match &tls {
            None => "SASL_PLAINTEXT",
            Some(_) => "SASL_SSL",
        };
        if let Some(tls) = tls.clone() {
            builder = builder.tls(tls);
        }
        let cluster = builder.start().unwrap();
        if tls.is_some() {
            cluster.fail_handshakes(1, HandshakeFault::Disconnect);
        }
        let authority = tls.is_some().then(|| cluster.ca_pem());
        for user in ["alice", "bob"] {
            for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
                let mut config = ProducerConfig::new()
                    .bootstrap_servers(cluster.bootstrap_servers())
                    .sasl_plain(user, PASSWORD);
                config.set("sasl.mechanism", mechanism).unwrap();
                config.set("security.protocol", protocol).unwrap();
                // Once without the authority, so that the certificate is refused.
                printed.try_config(config.clone());
                if let Some(authority) = &authority {
                    config
                        .set("ssl.truststore.certificates", authority)
                        .unwrap();
                    config
                        .set("ssl.keystore.key", &store("key-pkcs8.pem"))
                        .unwrap();
                    config
                        .set("ssl.keystore.certificate.chain", &store("chain.pem"))
                        .unwrap();
                    printed.try_config(config);
                }
            }
        }
    }
}

/// A broker that puts what it gets into its explanation, as careless ones do.
fn refusals_of_a_broker_that_repeats_what_it_gets(printed: &mut Printed) {
    let repeat = |request: &[u8]| {
        let text = String::from_utf8_lossy(request);
        let mut answer = vec![0, 58];
        answer.extend((text.len() as u16).to_be_bytes());
        answer.extend(text.as_bytes());
        answer.extend([0; 4]);
        answer
    };
    let address = sasl_peer::start(repeat, |_| {});
    for mechanism in ["PLAIN", "SCRAM-SHA-256"] {
        let mut config = ProducerConfig::new()
            .bootstrap_servers(address.clone())
            .sasl_plain("alice", PASSWORD);
        config.set("sasl.mechanism", mechanism).unwrap();
        config.set("security.protocol", "SASL_PLAINTEXT").unwrap();
        let before = printed.texts.len();
        printed.try_config_within(PATIENCE, config);
        let refused = |text: &String| text.contains("the broker refused the user name");
        assert!(printed.texts[before..].iter().any(refused), "{mechanism}");
    }
}
