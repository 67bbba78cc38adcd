//! One table of all kinds of secrets. A run with each of them succeeds, and another one fails. Whatever they print, nothing of
//! it has a secret: standard output and standard error, log lines of every level, errors with their causes, `Debug` of
//! settings, builder and producer, and what settings show.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use kafka_producer::mock::{ClientAuth, MockCluster, MockSasl, MockTls, TokenVerdict};
use kafka_producer::{BearerToken, ProducerConfig};

use crate::secrets::{EVERYTHING, Printed, forms_of, pem_body, store, store_path};
use crate::support::{Builder, Producer, SOON, child, deliver};

/// The brokers with which a kind of secret is used.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Door {
    Sasl,
    /// TLS with a client certificate.
    Tls,
}

/// A kind of secret.
struct Kind {
    name: &'static str,
    door: Door,
    /// What must not be printed, in no form.
    secrets: fn() -> Vec<String>,
    settings: fn(&Places) -> Settings,
    /// What stands in no settings.
    code: fn(Builder) -> Builder,
}

type Settings = Vec<(&'static str, String)>;

/// Where the secrets of a run lie.
struct Places {
    folder: PathBuf,
    /// The address of a token server.
    token_server: String,
}

const PASSWORD: &str = "hunter11-of-plain";
const SCRAM_PASSWORD: &str = "hunter12-of-scram";
const HMAC: &str = "aHVudGVyMTMtb2YtZGVsZWdhdGlvbg==";
const FROM_FILE: &str = "hunter14-of-file";
const FROM_VARIABLE: &str = "hunter15-of-variable";
const OF_PROVIDER: &str = "hunter16.of.provider-of-tokens";
const CLIENT_SECRET: &str = "hunter17-of-client";
const ASSERTION: &str = "hunter18.of.assertion-in-file";
const STORE_PASSWORD: &str = "store-secret";
const KEY_PASSWORD: &str = "key-secret";
const AWS_SECRET: &str = "hunter19/of+variables/EXAMPLEKEY";
const AWS_SESSION: &str = "hunter20/session+of/variables==";
const PROFILE_SECRET: &str = "hunter21/of+profile/EXAMPLEKEY";
const PROFILE_SESSION: &str = "hunter22/session+of/profile==";
/// The signatures of tokens: whoever has one can use the token.
const OF_FILE: &str = "hunter23-signature-of-token-file";
const OF_SERVER: &str = "hunter24-signature-of-token-server";
const KEYTAB_KEY: &str = "hunter25-key-of-keytab-32-bytes!";

/// The variables of the process that runs everything.
const VARIABLES: [(&str, &str); 6] = [
    ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
    ("AWS_SECRET_ACCESS_KEY", AWS_SECRET),
    ("AWS_SESSION_TOKEN", AWS_SESSION),
    ("AWS_REGION", "eu-central-1"),
    ("AWS_EC2_METADATA_DISABLED", "true"),
    ("HIDDEN_PASSWORD", FROM_VARIABLE),
];

const MODULE: &str = "org.apache.kafka.common.security";

fn sasl(mechanism: &str, jaas: String) -> Settings {
    vec![
        ("security.protocol", "SASL_PLAINTEXT".to_owned()),
        ("sasl.mechanism", mechanism.to_owned()),
        ("sasl.jaas.config", jaas),
    ]
}

fn plain(password: &str) -> Settings {
    let module = format!("{MODULE}.plain.PlainLoginModule");
    sasl(
        "PLAIN",
        format!("{module} required username=alice password=\"{password}\";"),
    )
}

fn scram(mechanism: &str, options: &str) -> Settings {
    let module = format!("{MODULE}.scram.ScramLoginModule");
    sasl(mechanism, format!("{module} required {options};"))
}

fn with_providers(mut settings: Settings) -> Settings {
    let class = |name: &str| format!("org.apache.kafka.common.config.provider.{name}");
    settings.extend([
        ("config.providers", "file,env".to_owned()),
        ("config.providers.file.class", class("FileConfigProvider")),
        ("config.providers.env.class", class("EnvVarConfigProvider")),
    ]);
    settings
}

/// The settings of OAUTHBEARER with tokens from a URL.
fn tokens(url: String, others: &[(&'static str, &str)]) -> Settings {
    let module = format!("{MODULE}.oauthbearer.OAuthBearerLoginModule required;");
    let mut settings = sasl("OAUTHBEARER", module);
    let handler = format!("{MODULE}.oauthbearer.OAuthBearerLoginCallbackHandler");
    settings.push(("sasl.login.callback.handler.class", handler));
    settings.push(("sasl.oauthbearer.token.endpoint.url", url));
    settings.extend(
        others
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned())),
    );
    settings
}

fn msk(options: &str) -> Settings {
    let module = "software.amazon.msk.auth.iam.IAMLoginModule";
    sasl("AWS_MSK_IAM", format!("{module} required {options};"))
}

fn key_store(name: &str, others: &[(&'static str, &str)]) -> Settings {
    let mut settings = vec![(
        "ssl.keystore.location",
        store_path(name).display().to_string(),
    )];
    settings.extend(
        others
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned())),
    );
    settings
}

/// A token that ends in this signature.
fn jwt(signature: &str) -> String {
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let header = part(r#"{"alg":"RS256"}"#);
    let claims = part(r#"{"sub":"alice","iat":1700000000,"exp":4102444800,"scope":"kafka"}"#);
    format!("{header}.{claims}.{signature}")
}

fn texts(secrets: &[&str]) -> Vec<String> {
    secrets.iter().map(|secret| (*secret).to_owned()).collect()
}

fn key_lines(store_name: &str) -> Vec<String> {
    let lines = pem_body(&store(store_name)).into_iter();
    lines.map(|line| String::from_utf8(line).unwrap()).collect()
}

const KINDS: &[Kind] = &[
    Kind {
        name: "a password of PLAIN",
        door: Door::Sasl,
        secrets: || texts(&[PASSWORD]),
        settings: |_| plain(PASSWORD),
        code: |builder| builder,
    },
    Kind {
        name: "a password of PLAIN in code",
        door: Door::Sasl,
        secrets: || texts(&[PASSWORD]),
        settings: |_| vec![("security.protocol", "SASL_PLAINTEXT".to_owned())],
        code: |builder| builder.sasl_plain("alice", PASSWORD),
    },
    Kind {
        name: "a password of SCRAM",
        door: Door::Sasl,
        secrets: || texts(&[SCRAM_PASSWORD]),
        settings: |_| {
            let options = format!("username=alice password=\"{SCRAM_PASSWORD}\"");
            scram("SCRAM-SHA-256", &options)
        },
        code: |builder| builder,
    },
    Kind {
        name: "the HMAC of a delegation token",
        door: Door::Sasl,
        secrets: || texts(&[HMAC]),
        settings: |_| {
            let options = format!("tokenauth=true username=token-id password=\"{HMAC}\"");
            scram("SCRAM-SHA-512", &options)
        },
        code: |builder| builder,
    },
    Kind {
        name: "a password in a file that a config provider reads",
        door: Door::Sasl,
        secrets: || texts(&[FROM_FILE]),
        settings: |places| {
            let file = places.folder.join("provided.properties");
            fs::write(&file, format!("password={FROM_FILE}\n")).unwrap();
            let options = format!(
                "username=bob password=\"${{file:{}:password}}\"",
                file.display()
            );
            with_providers(scram("SCRAM-SHA-256", &options))
        },
        code: |builder| builder,
    },
    Kind {
        name: "a password in a variable that a config provider reads",
        door: Door::Sasl,
        secrets: || texts(&[FROM_VARIABLE]),
        settings: |_| {
            let options = "username=dora password=\"${env:HIDDEN_PASSWORD}\"";
            with_providers(scram("SCRAM-SHA-256", options))
        },
        code: |builder| builder,
    },
    Kind {
        name: "a token of the user's code",
        door: Door::Sasl,
        secrets: || texts(&[OF_PROVIDER]),
        settings: |_| vec![("security.protocol", "SASL_PLAINTEXT".to_owned())],
        code: |builder| builder.sasl_oauthbearer(|| Ok(BearerToken::new(OF_PROVIDER))),
    },
    Kind {
        name: "a token in a file",
        door: Door::Sasl,
        secrets: || texts(&[OF_FILE]),
        settings: |places| {
            let file = places.folder.join("token.jwt");
            fs::write(&file, jwt(OF_FILE)).unwrap();
            tokens(format!("file://{}", file.display()), &[])
        },
        code: |builder| builder,
    },
    Kind {
        name: "a client's secret for a token server, and the token",
        door: Door::Sasl,
        secrets: || texts(&[CLIENT_SECRET, OF_SERVER]),
        settings: |places| {
            let client = [
                ("sasl.oauthbearer.client.credentials.client.id", "id"),
                (
                    "sasl.oauthbearer.client.credentials.client.secret",
                    CLIENT_SECRET,
                ),
            ];
            tokens(places.token_server.clone(), &client)
        },
        code: |builder| builder,
    },
    Kind {
        name: "an assertion in a file",
        door: Door::Sasl,
        secrets: || texts(&[ASSERTION, OF_SERVER]),
        settings: |places| {
            let file = places.folder.join("assertion.jwt");
            fs::write(&file, ASSERTION).unwrap();
            let file = file.display().to_string();
            tokens(
                places.token_server.clone(),
                &[("sasl.oauthbearer.assertion.file", &file)],
            )
        },
        code: |builder| builder,
    },
    Kind {
        name: "the key that signs an assertion, and its password",
        door: Door::Sasl,
        secrets: || {
            [
                texts(&[KEY_PASSWORD, OF_SERVER]),
                key_lines("key-aes256-sha256.pem"),
            ]
            .concat()
        },
        settings: |places| {
            let file = store_path("key-aes256-sha256.pem").display().to_string();
            let assertion = [
                ("sasl.oauthbearer.assertion.claim.iss", "id"),
                ("sasl.oauthbearer.assertion.claim.sub", "id"),
                ("sasl.oauthbearer.assertion.algorithm", "ES256"),
                ("sasl.oauthbearer.assertion.private.key.file", &*file),
                (
                    "sasl.oauthbearer.assertion.private.key.passphrase",
                    KEY_PASSWORD,
                ),
            ];
            tokens(places.token_server.clone(), &assertion)
        },
        code: |builder| builder,
    },
    Kind {
        name: "AWS credentials in variables",
        door: Door::Sasl,
        secrets: || texts(&[AWS_SECRET, AWS_SESSION]),
        settings: |_| msk(""),
        code: |builder| builder,
    },
    Kind {
        name: "AWS credentials in a profile",
        door: Door::Sasl,
        secrets: || texts(&[PROFILE_SECRET, PROFILE_SESSION]),
        settings: |_| msk("awsProfileName=writer"),
        code: |builder| builder,
    },
    Kind {
        name: "the passwords of a key store and of its key",
        door: Door::Tls,
        secrets: || texts(&[STORE_PASSWORD, KEY_PASSWORD]),
        settings: |_| {
            let passwords = [
                ("ssl.keystore.password", STORE_PASSWORD),
                ("ssl.key.password", KEY_PASSWORD),
            ];
            key_store("keytool.jks", &passwords)
        },
        code: |builder| builder,
    },
    Kind {
        name: "the password of a key in PEM",
        door: Door::Tls,
        secrets: || [texts(&[KEY_PASSWORD]), key_lines("keystore-encrypted.pem")].concat(),
        settings: |_| {
            key_store(
                "keystore-encrypted.pem",
                &[("ssl.key.password", KEY_PASSWORD)],
            )
        },
        code: |builder| builder,
    },
    Kind {
        name: "a key in the settings themselves",
        door: Door::Tls,
        secrets: || key_lines("key-pkcs8.pem"),
        settings: |_| {
            vec![
                ("ssl.keystore.type", "PEM".to_owned()),
                ("ssl.keystore.key", store("key-pkcs8.pem")),
                ("ssl.keystore.certificate.chain", store("chain.pem")),
            ]
        },
        code: |builder| builder,
    },
];

#[test]
fn no_run_with_any_kind_of_secret_prints_it() {
    const NAME: &str = "secret_kinds::no_run_with_any_kind_of_secret_prints_it";
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("secret-kinds");
    if child::addresses().is_some() {
        return run_with_each_kind(folder);
    }
    fs::create_dir_all(&folder).unwrap();
    let profiles = folder.join("profiles");
    let profile = format!(
        "[writer]\naws_access_key_id=AKIDPROFILE\naws_secret_access_key={PROFILE_SECRET}\naws_session_token={PROFILE_SESSION}\n"
    );
    fs::write(&profiles, profile).unwrap();
    let profiles = profiles.display().to_string();
    let mut variables = VARIABLES.to_vec();
    variables.push(("AWS_SHARED_CREDENTIALS_FILE", &profiles));
    let printed = child::output_of(NAME, "none", &variables);
    assert!(printed.len() > 50_000, "{} bytes", printed.len());
    // Also what a library printed by itself.
    for (what, secret) in forms_of_all() {
        assert!(!printed.contains(&secret), "{what} is printed");
    }
    fs::remove_dir_all(&folder).unwrap();
}

/// Each secret in each form, after the name of its kind.
fn forms_of_all() -> Vec<(&'static str, String)> {
    let forms = |kind: &Kind| {
        let secrets = (kind.secrets)().into_iter().map(String::into_bytes);
        let forms = forms_of(secrets.collect()).into_iter();
        forms.map(|form| (kind.name, form)).collect::<Vec<_>>()
    };
    let keytab = forms_of(vec![KEYTAB_KEY.into()]).into_iter();
    let keytab = keytab.map(|form| ("a key in a keytab", form));
    KINDS.iter().flat_map(forms).chain(keytab).collect()
}

/// Prints everything on the way, so that the parent can look at it, too.
fn run_with_each_kind(folder: PathBuf) {
    log::set_logger(&EVERYTHING).unwrap();
    log::set_max_level(log::LevelFilter::Trace);
    let mut printed = Printed::default();
    let honest = token_server(true);
    let careless = token_server(false);
    for succeeds in [true, false] {
        let server = if succeeds { &honest } else { &careless };
        let places = Places {
            folder: folder.clone(),
            token_server: format!("http://{server}/token"),
        };
        let (sasl, tls) = (sasl_cluster(succeeds), tls_cluster(succeeds));
        for kind in KINDS {
            let cluster = if kind.door == Door::Sasl { &sasl } else { &tls };
            let before = EVERYTHING.so_far().len();
            run(kind, &places, cluster, succeeds, &mut printed);
            let has_logged = EVERYTHING.so_far().len() > before;
            assert!(succeeds || has_logged, "{} logs nothing", kind.name);
        }
    }
    #[cfg(feature = "sasl-gssapi")]
    run_with_a_keytab(&folder, &mut printed);
    let lines = EVERYTHING.so_far();
    let forms = forms_of_all();
    for text in printed.texts.iter().chain(&lines) {
        println!("{text}");
        let shown = forms.iter().find(|(_, form)| text.contains(form.as_str()));
        assert!(shown.is_none(), "{shown:?} in: {text}");
    }
}

/// Sends a record with one kind of secret. Everything that a program can print of it goes into `printed`.
fn run(kind: &Kind, places: &Places, cluster: &MockCluster, succeeds: bool, printed: &mut Printed) {
    let mut config = ProducerConfig::new().bootstrap_servers(cluster.bootstrap_servers());
    let mut settings = (kind.settings)(places);
    if kind.door == Door::Tls {
        settings.push(("security.protocol", "SSL".to_owned()));
        settings.push(("ssl.truststore.certificates", cluster.ca_pem()));
    }
    for (name, value) in &settings {
        config.set(name, value).unwrap();
        printed.texts.extend(config.get(name));
    }
    printed.debug(&config);
    let builder = (kind.code)(Producer::builder().config(config)).max_block(SOON);
    printed.debug(&builder);
    let producer = builder
        .build()
        .unwrap_or_else(|error| panic!("{}: {error}", kind.name));
    printed.debug(&producer);
    match deliver(&producer, 0, "v") {
        Ok(metadata) => {
            assert!(succeeds, "{} is not refused", kind.name);
            printed.debug(&metadata);
        }
        Err(error) => {
            assert!(!succeeds, "{}: {error}", kind.name);
            printed.error(&error);
        }
    }
    printed.debug(&producer);
    printed.debug(&producer.close(SOON));
}

/// Without a KDC. A real one is in the tests against real Kafka.
#[cfg(feature = "sasl-gssapi")]
fn run_with_a_keytab(folder: &std::path::Path, printed: &mut Printed) {
    let file = folder.join("client.keytab");
    let counted = |text: &str| [&(text.len() as u16).to_be_bytes()[..], text.as_bytes()].concat();
    let entry = [
        // One component of a name of the type NT_PRINCIPAL, made at 0, version 1, for aes256-cts-hmac-sha1-96.
        &[0, 1][..],
        &counted("EXAMPLE.TEST"),
        &counted("alice"),
        &[0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 18],
        &counted(KEYTAB_KEY),
    ]
    .concat();
    let length = (entry.len() as u32).to_be_bytes();
    fs::write(&file, [&[5, 2][..], &length, &entry].concat()).unwrap();
    let cluster = sasl_cluster(true);
    let jaas = format!(
        "com.sun.security.auth.module.Krb5LoginModule required useKeyTab=true keyTab=\"{}\" principal=\"alice@EXAMPLE.TEST\";",
        file.display()
    );
    let mut config = ProducerConfig::new().bootstrap_servers(cluster.bootstrap_servers());
    let service = ("sasl.kerberos.service.name", "kafka".to_owned());
    for (name, value) in sasl("GSSAPI", jaas).into_iter().chain([service]) {
        config.set(name, &value).unwrap();
        printed.texts.extend(config.get(name));
    }
    printed.debug(&config);
    let builder = Producer::builder().config(config).max_block(SOON);
    match builder.build() {
        // A machine without the Kerberos library.
        Err(error) => printed.error(&error),
        Ok(producer) => {
            printed.debug(&producer);
            printed.error(&deliver(&producer, 0, "v").unwrap_err());
            let _ = producer.close(SOON);
        }
    }
}

/// Brokers that know the secrets, or others in their place.
fn sasl_cluster(knows: bool) -> MockCluster {
    let secret = |secret: &'static str| if knows { secret } else { "another" };
    let mut sasl = MockSasl::new()
        .plain("alice", secret(PASSWORD))
        .scram_sha_256("alice", secret(SCRAM_PASSWORD))
        .scram_sha_256("bob", secret(FROM_FILE))
        .scram_sha_256("dora", secret(FROM_VARIABLE))
        .delegation_token("carol", "token-id", secret(HMAC))
        .aws_msk_iam("AKIDEXAMPLE", secret(AWS_SECRET))
        .aws_msk_iam("AKIDPROFILE", secret(PROFILE_SECRET));
    sasl = sasl.oauthbearer(move |token| match knows {
        true => TokenVerdict::accept("alice"),
        // As careless brokers do.
        false => TokenVerdict::refuse(&format!("not {}", token.token())),
    });
    started(MockCluster::builder().sasl(sasl).start().unwrap())
}

fn tls_cluster(knows: bool) -> MockCluster {
    let mut tls = MockTls::generated().client_auth(ClientAuth::Required);
    if knows {
        let root = STANDARD.encode(fs::read(store_path("root.der")).unwrap());
        let begin = "-----BEGIN CERTIFICATE-----";
        tls = tls.client_authorities(&format!("{begin}\n{root}\n-----END CERTIFICATE-----\n"));
    }
    started(MockCluster::builder().tls(tls).start().unwrap())
}

fn started(cluster: MockCluster) -> MockCluster {
    cluster.create_topic("t", 1);
    cluster
}

/// A token server: an honest one gives a token, a careless one repeats what it gets in its refusal.
fn token_server(is_honest: bool) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    // Ends with the process.
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            answer(stream, is_honest);
        }
    });
    address
}

fn answer(mut stream: TcpStream, is_honest: bool) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut head = String::new();
    let mut length = 0;
    loop {
        let start = head.len();
        reader.read_line(&mut head).ok()?;
        let line = head[start..].trim().to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        if line.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let (status, text) = match is_honest {
        true => (
            "200 OK",
            format!(
                "{{\"access_token\":\"{}\",\"token_type\":\"Bearer\"}}",
                jwt(OF_SERVER)
            ),
        ),
        false => {
            let heard = format!("{head}{}", String::from_utf8_lossy(&body));
            let heard: String = heard.chars().filter(|c| !"\"\\\r\n".contains(*c)).collect();
            let description = format!("who sends {heard}?");
            (
                "401 Unauthorized",
                format!("{{\"error\":\"invalid_client\",\"error_description\":\"{description}\"}}"),
            )
        }
    };
    let head = format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\n");
    let answer = format!(
        "{head}Content-Length: {}\r\nConnection: close\r\n\r\n{text}",
        text.len()
    );
    stream.write_all(answer.as_bytes()).ok()
}
