//! Sends a record with TLS and SASL. Without arguments it uses a cluster embedded in this program, and shows what a wrong
//! password looks like, too. With a settings file it uses the cluster of the file, which must have the topic.
//!
//! `cargo run --example secure --features mock-tls`
//!
//! `cargo run --example secure --features mock-tls -- --command-config client.properties --topic orders`

use std::error::Error;
use std::io::{Write, stderr, stdout};
use std::process::ExitCode;
use std::time::Duration;

use kafka_producer::mock::{MockCluster, MockSasl, MockTls};
use kafka_producer::{
    KafkaProducer, ProducerConfig, ProducerRecord, SecurityProtocol, TrustMaterial,
};

const USAGE: &str = "usage: secure [--command-config file --topic topic]";
const PATIENCE: Duration = Duration::from_secs(30);

type Producer = KafkaProducer<(), String>;

fn main() -> ExitCode {
    // An argument that is not UTF-8 is not one of these.
    let arguments = std::env::args_os().skip(1);
    let arguments: Vec<String> = arguments
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments[..] {
        [] => on_the_embedded_cluster(),
        ["--command-config", file, "--topic", topic] => on_the_cluster_of(file, topic),
        ["--help"] => print(&format!(
            "{USAGE}\nWithout them the record goes to a cluster inside this program.\n\
             Exit status: 0 if the record was delivered, otherwise 1."
        )),
        _ => Err(USAGE.into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(stderr(), "secure: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The settings come from a file, such as the one of the Java producer that runs today.
fn on_the_cluster_of(file: &str, topic: &str) -> Result<(), Box<dyn Error>> {
    let config = ProducerConfig::from_properties_file(file)?;
    deliver(&Producer::builder().config(config).build()?, topic)
}

/// The settings come from code.
fn on_the_embedded_cluster() -> Result<(), Box<dyn Error>> {
    let cluster = MockCluster::builder()
        .tls(MockTls::generated())
        .sasl(MockSasl::new().scram_sha_512("alice", "alice-secret"))
        .start()?;
    cluster.create_topic("secure", 1);

    let with_password = |password: &str| {
        Producer::builder()
            .bootstrap_servers(cluster.bootstrap_servers())
            .security_protocol(SecurityProtocol::SaslSsl)
            .tls_trust(TrustMaterial::pem(cluster.ca_pem()))
            .sasl_scram_sha_512("alice", password)
    };
    let alice = with_password("alice-secret").build()?;
    deliver(&alice, "secure")?;

    let stranger = with_password("guessed").build()?;
    match stranger.send(ProducerRecord::new("secure", "never".to_owned())) {
        Ok(_) => Err("a wrong password was accepted".into()),
        Err(refused) => print(&format!(
            "with a wrong password, at once: {}",
            refused.error()
        )),
    }
}

fn deliver(producer: &Producer, topic: &str) -> Result<(), Box<dyn Error>> {
    let record = ProducerRecord::new(topic.to_owned(), "a secret order".to_owned());
    let metadata = producer.send(record)?.get(PATIENCE)?;
    print(&format!("delivered to {metadata}"))?;
    Ok(producer.close(PATIENCE)?)
}

/// Unlike `println!` this does not panic if the reader is gone.
fn print(line: &str) -> Result<(), Box<dyn Error>> {
    Ok(writeln!(stdout(), "{line}")?)
}
