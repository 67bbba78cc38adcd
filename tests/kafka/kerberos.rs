//! GSSAPI with a real KDC.
//!
//! The Kerberos library reads its configuration from the environment, which a running process cannot change safely. So each
//! producer here runs in a process of its own: this program with an argument, which reads values from its standard input,
//! sends each as a record, and prints what became of it.

use std::io::{BufRead, BufReader, Lines, Write};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, ChildStdout, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use kafka_producer::{KafkaProducer, ProducerConfig};

use crate::Tests;
use crate::producing::{BytesProducer, SOON, record};
use crate::support::kafka::{KafkaCluster, Listener, Mechanism};
use crate::support::process::Process;

/// For a cluster with [`Listener::KERBEROS`].
pub(crate) const TESTS: Tests = &[
    (
        "a_producer_comes_in_with_a_keytab_and_with_a_ticket_cache",
        a_producer_comes_in_with_a_keytab_and_with_a_ticket_cache,
    ),
    (
        "the_name_of_the_broker_is_used_as_it_is",
        the_name_of_the_broker_is_used_as_it_is,
    ),
    (
        "tickets_are_renewed_while_the_producer_sends",
        tickets_are_renewed_while_the_producer_sends,
    ),
    (
        "each_fault_of_a_ticket_cache_has_its_sentence",
        each_fault_of_a_ticket_cache_has_its_sentence,
    ),
    (
        "each_fault_of_a_keytab_has_its_sentence",
        each_fault_of_a_keytab_has_its_sentence,
    ),
    (
        "each_fault_of_a_principal_has_its_sentence",
        each_fault_of_a_principal_has_its_sentence,
    ),
    (
        "a_missing_kdc_has_its_sentence",
        a_missing_kdc_has_its_sentence,
    ),
    (
        "a_kdc_that_does_not_answer_holds_up_neither_send_nor_close",
        a_kdc_that_does_not_answer_holds_up_neither_send_nor_close,
    ),
    (
        "a_producer_goes_on_when_its_ticket_is_there",
        a_producer_goes_on_when_its_ticket_is_there,
    ),
    (
        "a_broker_with_an_old_key_refuses_until_it_has_the_new_one",
        a_broker_with_an_old_key_refuses_until_it_has_the_new_one,
    ),
];

type Settings = Vec<(String, String)>;

const CHILD: &str = "--kerberos-child";

/// Runs the child's part if this process is a child. The second argument is its file of settings, the third its topic.
pub(crate) fn run_child() -> Option<ExitCode> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [argument, file, topic] = &arguments[..] else {
        return None;
    };
    if argument != CHILD {
        return None;
    }
    let config = ProducerConfig::from_properties_file(file).expect("settings");
    let producer: BytesProducer = match KafkaProducer::builder().config(config).build() {
        Ok(producer) => producer,
        Err(error) => {
            println!("0 {:?} {error}", error.kind());
            return Some(ExitCode::SUCCESS);
        }
    };
    for value in std::io::stdin().lines() {
        let value = value.expect("a line");
        let began = Instant::now();
        let sent = producer
            .send(record(topic, value))
            .map_err(kafka_producer::Error::from)
            .and_then(|future| future.get(SOON));
        let took = began.elapsed().as_millis();
        match sent {
            Ok(_) => println!("{took} ok"),
            Err(error) => {
                let source = std::error::Error::source(&error);
                let source = source.map_or_else(String::new, |source| format!(" <- {source}"));
                println!("{took} {:?} {error}{source}", error.kind());
            }
        }
    }
    let began = Instant::now();
    let closed = producer.close(Duration::from_secs(1));
    println!("{} {closed:?}", began.elapsed().as_millis());
    Some(ExitCode::SUCCESS)
}

/// A producer in a process of its own.
struct Client {
    input: Option<ChildStdin>,
    output: Lines<BufReader<ChildStdout>>,
    _process: Process,
}

/// What became of a record, or of the close.
#[derive(Debug)]
struct Answer {
    took: Duration,
    /// `ok`, or the kind of the error and its text.
    text: String,
}

impl Client {
    fn start(kafka: &KafkaCluster, settings: &Settings, environment: &[(&str, &Path)]) -> Client {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let file = kafka.properties_file(&format!("kerberos-{number}"), settings);
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.arg(CHILD).arg(file).arg(TOPIC);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        command
            .env("KRB5_CONFIG", kafka.kdc().config())
            .env("KRB5CCNAME", "FILE:/no/such/cache")
            .env_remove("KRB5_CLIENT_KTNAME")
            .envs(environment.iter().copied());
        let process = Process::spawn(&mut command).expect("start this program");
        let output = process.take_stdout().expect("a piped stdout");
        Client {
            input: process.take_stdin(),
            output: BufReader::new(output).lines(),
            _process: process,
        }
    }

    /// Sends one record.
    fn send(&mut self, value: &str) -> Answer {
        let input = self.input.as_mut().expect("a piped stdin");
        // It fails if the producer was not built. Then the answer is there already.
        let _ = writeln!(input, "{value}");
        self.answer()
    }

    /// Sends records until one is delivered.
    fn send_until_delivered(&mut self, value: &str) {
        let began = Instant::now();
        loop {
            let answer = self.send(value);
            if answer.text == "ok" {
                return;
            }
            assert!(began.elapsed() < SOON, "{answer:?}");
            thread::park_timeout(Duration::from_millis(500));
        }
    }

    fn close(mut self) -> Answer {
        self.input = None;
        self.answer()
    }

    fn answer(&mut self) -> Answer {
        let line = self.output.next().expect("an answer").expect("a line");
        let (took, text) = line.split_once(' ').expect("a time and a text");
        Answer {
            took: Duration::from_millis(took.parse().expect("milliseconds")),
            text: text.to_owned(),
        }
    }
}

const TOPIC: &str = "kerberos";

/// Certainly less than `max.block.ms`, with a busy machine's delays.
const AT_ONCE: Duration = Duration::from_secs(20);

fn with_jaas(kafka: &KafkaCluster, listener: Listener, options: &str) -> Settings {
    let mut settings = kafka.settings(listener, Some(Mechanism::Gssapi));
    settings.retain(|(name, _)| name != "sasl.jaas.config");
    let jaas = format!("com.sun.security.auth.module.Krb5LoginModule required {options};");
    settings.push(("sasl.jaas.config".to_owned(), jaas));
    settings
}

fn keytab(file: &Path, principal: &str) -> String {
    format!(
        "useKeyTab=true storeKey=true keyTab=\"{}\" principal=\"{principal}\"",
        file.display()
    )
}

fn with(mut settings: Settings, name: &str, value: &str) -> Settings {
    settings.retain(|(other, _)| other != name);
    settings.push((name.to_owned(), value.to_owned()));
    settings
}

/// Checks that a record is refused at once, with a text that has these parts.
fn assert_refused(answer: &Answer, parts: &[&str]) {
    assert!(answer.took < AT_ONCE, "{answer:?}");
    let is_missing = |part: &&&str| !answer.text.contains(**part);
    let missing: Vec<_> = parts.iter().filter(is_missing).collect();
    assert!(missing.is_empty(), "no {missing:?} in {}", answer.text);
}

fn values(kafka: &KafkaCluster) -> Vec<String> {
    let records = kafka.consume(TOPIC);
    records.iter().map(|r| r.text().to_owned()).collect()
}

fn a_producer_comes_in_with_a_keytab_and_with_a_ticket_cache(kafka: &KafkaCluster) {
    kafka.create_topic(TOPIC, 1, 1, &[]);
    let cache = kafka.kdc().ticket_cache("300s");
    let cached = format!("useTicketCache=true ticketCache=\"{}\"", cache.display());
    let of_alice = format!("{cached} principal=\"alice@TEST.LOCAL\"");
    let keytab = keytab(&kafka.kdc().keytab(), "alice");
    let without_cache = format!("useTicketCache=true ticketCache=\"/no/such/cache\" {keytab}");
    for listener in Listener::KERBEROS {
        for (options, environment) in [
            (&*keytab, None),
            (&cached, None),
            (&of_alice, None),
            ("useTicketCache=true", Some(("KRB5CCNAME", &*cache))),
            (&without_cache, None),
        ] {
            let settings = with_jaas(kafka, listener, options);
            let mut client = Client::start(kafka, &settings, environment.as_slice());
            let value = format!("{listener:?} {options}");
            assert_eq!(client.send(&value).text, "ok", "{value}");
            assert_eq!(client.close().text, "Ok(())");
            assert_eq!(values(kafka).last(), Some(&value));
        }
    }
}

/// Neither the name that the address of the host leads back to, nor the realm of its domain. Without a realm in krb5.conf the
/// client's KDC knows it.
fn the_name_of_the_broker_is_used_as_it_is(kafka: &KafkaCluster) {
    let kdc = kafka.kdc();
    let domain = ("localhost = TEST.LOCAL\n", "elsewhere.test = TEST.LOCAL\n");
    let reverse = (
        "rdns = false\ndns_canonicalize_hostname = false\n",
        "rdns = true\ndns_canonicalize_hostname = true\n",
    );
    let settings = with_jaas(kafka, Listener::Kerberos, &keytab(&kdc.keytab(), "alice"));
    for (name, replacements) in [("other-domain", &[domain][..]), ("reverse", &[reverse])] {
        let config = kdc.config_with(name, replacements);
        let mut client = Client::start(kafka, &settings, &[("KRB5_CONFIG", &config)]);
        assert_eq!(client.send(name).text, "ok", "{name}");
    }
}

/// Sessions last five seconds here, and tickets twelve.
fn tickets_are_renewed_while_the_producer_sends(kafka: &KafkaCluster) {
    let kdc = kafka.kdc();
    let lifetime = [("[libdefaults]\n", "[libdefaults]\nticket_lifetime = 12s\n")];
    let config = kdc.config_with("short", &lifetime);
    let settings = with_jaas(
        kafka,
        Listener::KerberosSsl,
        &keytab(&kdc.keytab(), "alice"),
    );
    let mut client = Client::start(kafka, &settings, &[("KRB5_CONFIG", &config)]);
    let before = values(kafka).len();
    let end = Instant::now() + Duration::from_secs(30);
    let mut sent = Vec::new();
    while Instant::now() < end {
        let value = format!("renewed {}", sent.len());
        let answer = client.send(&value);
        assert_eq!(answer.text, "ok", "{value}");
        sent.push(value);
        thread::park_timeout(Duration::from_millis(100));
    }
    assert_eq!(values(kafka)[before..], sent);
}

fn assert_each_is_refused(kafka: &KafkaCluster, cases: &[(Settings, &[&str])]) {
    for (settings, parts) in cases {
        assert_refused(&Client::start(kafka, settings, &[]).send("never"), parts);
    }
}

fn each_fault_of_a_ticket_cache_has_its_sentence(kafka: &KafkaCluster) {
    let kdc = kafka.kdc();
    let expired = kdc.ticket_cache("2s");
    kdc.wait_until_expired(&expired);
    let alices = kdc.ticket_cache("300s");
    let cached = |file: &Path| format!("useTicketCache=true ticketCache=\"{}\"", file.display());
    let of_bob = format!("{} principal=\"bob@TEST.LOCAL\"", cached(&alices));
    let by = |options: &str| with_jaas(kafka, Listener::Kerberos, options);
    let none = "there is no ticket in the ticket cache /no/such/ticket";
    let none_by_default = "there is no ticket in the default ticket cache";
    let cases: [(Settings, &[&str]); 5] = [
        (
            by(&cached(&expired)),
            &[
                "Authentication",
                "no Kafka connection to localhost:",
                "has expired",
                "run kinit",
            ],
        ),
        (
            by("useTicketCache=true"),
            &[
                "Authentication",
                none_by_default,
                "/no/such/cache",
                "run kinit",
            ],
        ),
        (
            by(&cached(Path::new("/no/such/ticket"))),
            &["Authentication", none],
        ),
        (
            by(&cached(&garbage(kafka))),
            &["Authentication", "is not usable", "klist -c"],
        ),
        (
            by(&of_bob),
            &[
                "Authentication",
                "has tickets of another principal",
                "leave it out",
            ],
        ),
    ];
    assert_each_is_refused(kafka, &cases);
}

fn each_fault_of_a_keytab_has_its_sentence(kafka: &KafkaCluster) {
    let kdc = kafka.kdc();
    let by = |file: &Path, principal: &str| {
        with_jaas(kafka, Listener::Kerberos, &keytab(file, principal))
    };
    let added = |name: &str| by(&kdc.add_principal(name), name);
    let (changed, locked) = (added("changed"), added("locked"));
    kdc.change_keys("changed");
    kdc.lock_principal("locked");
    let cases: [(Settings, &[&str]); 5] = [
        (
            by(Path::new("/no/such/keytab"), "alice"),
            &[
                "Config",
                "the keytab /no/such/keytab cannot be read: No such file",
            ],
        ),
        (
            by(&garbage(kafka), "alice"),
            &["Authentication", "garbage", "klist -kt"],
        ),
        (
            by(&kdc.keytab(), "mallory"),
            &[
                "Authentication",
                "has no usable key of mallory",
                "klist -kt",
            ],
        ),
        (
            changed,
            &[
                "Authentication",
                "does not accept the key of changed in the keytab",
                "create a new keytab file",
            ],
        ),
        (
            locked,
            &[
                "Authentication",
                "the KDC gives no ticket to locked",
                "administrator",
            ],
        ),
    ];
    assert_each_is_refused(kafka, &cases);
}

/// Returns a file that is neither a keytab nor a ticket cache.
fn garbage(kafka: &KafkaCluster) -> PathBuf {
    let file = kafka.kdc().config().with_file_name("garbage");
    std::fs::write(&file, "neither a keytab nor a cache").expect("write a file");
    file
}

fn each_fault_of_a_principal_has_its_sentence(kafka: &KafkaCluster) {
    let kdc = kafka.kdc();
    let alice = with_jaas(kafka, Listener::Kerberos, &keytab(&kdc.keytab(), "alice"));
    let deleted = keytab(&kdc.add_principal("deleted"), "deleted");
    let deleted = with_jaas(kafka, Listener::Kerberos, &deleted);
    kdc.delete_principal("deleted");
    let to_address = alice.iter().map(|(name, value)| {
        let value = value.replace("localhost:", "127.0.0.1:");
        (name.clone(), value)
    });
    let unknown = "the KDC does not know the principal nobody/localhost@TEST.LOCAL of the broker";
    let cases: [(Settings, &[&str]); 3] = [
        (
            with(alice.clone(), "sasl.kerberos.service.name", "nobody"),
            &["Authentication", unknown, "sasl.kerberos.service.name"],
        ),
        (
            to_address.collect(),
            &[
                "Authentication",
                "kafka/127.0.0.1",
                "use the broker's name instead of its address 127.0.0.1",
            ],
        ),
        (
            deleted,
            &[
                "Authentication",
                "the KDC does not know the principal deleted",
            ],
        ),
    ];
    assert_each_is_refused(kafka, &cases);
}

fn a_missing_kdc_has_its_sentence(kafka: &KafkaCluster) {
    let kdc = kafka.kdc();
    let alice = with_jaas(kafka, Listener::Kerberos, &keytab(&kdc.keytab(), "alice"));
    let settings = with(alice, "max.block.ms", "8000");
    let cases: [(&str, (&str, &str), &[&str]); 2] = [
        (
            "no-kdc",
            ("kdc = 127.0.0.1:", "kdc = 127.0.0.2:"),
            &["MetadataTimeout", "no KDC answers the request of a ticket"],
        ),
        (
            "no-realm",
            ("TEST.LOCAL = {", "OTHER.LOCAL = {"),
            &["Authentication", "no KDC is known for the realm"],
        ),
    ];
    for (name, replacement, parts) in cases {
        let config = kdc.config_with(name, &[replacement]);
        let mut client = Client::start(kafka, &settings, &[("KRB5_CONFIG", &config)]);
        assert_refused(&client.send("never"), parts);
    }
}

fn a_kdc_that_does_not_answer_holds_up_neither_send_nor_close(kafka: &KafkaCluster) {
    let kdc = kafka.kdc();
    let settings = with_jaas(kafka, Listener::Kerberos, &keytab(&kdc.keytab(), "alice"));
    let settings = with(settings, "max.block.ms", "6000");
    let settings = with(settings, "socket.connection.setup.timeout.ms", "4000");
    let settings = with(settings, "socket.connection.setup.timeout.max.ms", "4000");
    kdc.stop();
    let mut client = Client::start(kafka, &settings, &[]);
    let answer = client.send("never");
    let closed = client.close();
    kdc.resume();
    println!(
        "a KDC that does not answer: send {:?}, close {:?}",
        answer.took, closed.took
    );
    assert!(answer.took < Duration::from_secs(9), "{answer:?}");
    assert!(
        answer.text.contains("MetadataTimeout")
            && answer.text.contains("in time: a KDC does not answer"),
        "{answer:?}"
    );
    assert!(closed.took < Duration::from_secs(5), "{closed:?}");
}

fn a_producer_goes_on_when_its_ticket_is_there(kafka: &KafkaCluster) {
    let kdc = kafka.kdc();
    let cache: PathBuf = kdc.config().with_file_name("alice-120s.ccache");
    let options = format!("useTicketCache=true ticketCache=\"{}\"", cache.display());
    let mut client = Client::start(kafka, &with_jaas(kafka, Listener::Kerberos, &options), &[]);
    assert_refused(
        &client.send("never"),
        &["Authentication", "there is no ticket"],
    );
    assert_eq!(kdc.ticket_cache("120s"), cache);
    client.send_until_delivered("with a ticket");
    assert_eq!(
        values(kafka).last().map(String::as_str),
        Some("with a ticket")
    );
}

/// The last test of its cluster: the broker's key is another one then.
fn a_broker_with_an_old_key_refuses_until_it_has_the_new_one(kafka: &KafkaCluster) {
    let kdc = kafka.kdc();
    let settings = with_jaas(kafka, Listener::Kerberos, &keytab(&kdc.keytab(), "alice"));
    kdc.change_keys("kafka/localhost");
    let mut client = Client::start(kafka, &settings, &[]);
    let answer = client.send("never");
    assert_refused(
        &answer,
        &[
            "Authentication",
            "the broker refused the ticket for kafka/localhost@TEST.LOCAL",
            "SASL_AUTHENTICATION_FAILED",
            "klist -kt",
        ],
    );
    kdc.export_keys("kafka/localhost", &kdc.broker_keytab());
    client.send_until_delivered("with the new key");
}
