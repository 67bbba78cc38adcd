//! Sends the lines of standard input to a topic, each as one record. Unlike Kafka's console producer it ends with status
//! 1, and a message that names the line, where a record was not delivered.
//!
//! `echo hello | cargo run --release --example console_producer -- --topic t --bootstrap-server localhost:9092`

use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kafka_producer::{Error, KafkaProducer, ProducerConfig, ProducerRecord, TopicName};

#[path = "support/arguments.rs"]
mod arguments;
#[path = "support/stderr_log.rs"]
mod stderr_log;

use arguments::{Arguments, Takes, pair};

const ABOUT: &str = "Sends the lines of standard input to a topic.";
const OPTIONS: &[arguments::Known] = &[
    ("--topic", Takes::Value, "the topic to produce to; required"),
    (
        "--bootstrap-server",
        Takes::Value,
        "HOST1:PORT1,HOST2:PORT2,... of brokers; required",
    ),
    (
        "--property",
        Takes::ValueEachTime,
        "parse.key=true, key.separator=TEXT (default: a tab), null.marker=TEXT",
    ),
    (
        "--reader-property",
        Takes::ValueEachTime,
        "the newer name of --property",
    ),
    (
        "--producer-property",
        Takes::ValueEachTime,
        "name=value: a setting of the producer; may come several times",
    ),
    (
        "--command-property",
        Takes::ValueEachTime,
        "the newer name of --producer-property",
    ),
    (
        "--command-config",
        Takes::Value,
        "a properties file with settings of the producer",
    ),
    (
        "--producer.config",
        Takes::Value,
        "the older name of --command-config",
    ),
    (
        "--sync",
        Takes::Nothing,
        "wait for each record's delivery before the next is sent",
    ),
];

fn main() -> ExitCode {
    stderr_log::install();
    match run() {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(fault) => {
            eprintln!("console_producer: {fault}");
            ExitCode::FAILURE
        }
    }
}

/// The number of lines that were not delivered.
fn run() -> Result<u64, String> {
    let arguments = Arguments::of_program(ABOUT, OPTIONS)?;
    let topic: TopicName = arguments.required("--topic")?.to_owned().into();
    let format = LineFormat::of(&arguments)?;
    let producer = KafkaProducer::<Vec<u8>, Vec<u8>>::builder()
        .config(config(&arguments)?)
        .build()
        .map_err(|error| error.to_string())?;
    let failures = Failures::default();
    let sent = send_lines(
        &producer,
        &topic,
        &format,
        arguments.has("--sync"),
        &failures,
    );
    let closed = producer.close(Duration::MAX);
    let failures = failures.count();
    if let Err(Stopped { line, fault }) = sent {
        let before = line - 1;
        let delivered = before - failures;
        return Err(format!(
            "line {line}: {fault}; neither it nor any line after it was sent, and of the {before} before it \
             {delivered} were delivered"
        ));
    }
    match closed {
        // Every record lost has been named already.
        Err(error) if failures == 0 => Err(error.to_string()),
        _ => Ok(failures),
    }
}

/// What ended the sending before the end of the input.
struct Stopped {
    line: u64,
    fault: String,
}

fn send_lines(
    producer: &KafkaProducer<Vec<u8>, Vec<u8>>,
    topic: &TopicName,
    format: &LineFormat,
    sync: bool,
    failures: &Failures,
) -> Result<(), Stopped> {
    let mut input = io::stdin().lock();
    for number in 1u64.. {
        if io::stdin().is_terminal() {
            print!(">");
            let _ = io::stdout().flush();
        }
        let stopped = |fault| Stopped {
            line: number,
            fault,
        };
        let line = read_line(&mut input).map_err(|error| stopped(error.to_string()))?;
        let Some(line) = line else {
            return Ok(());
        };
        let record = format.record(topic, line).map_err(stopped)?;
        let result = if sync {
            producer
                .send(record)
                .map_err(Error::from)
                .and_then(|future| future.get(Duration::MAX))
                .map(drop)
        } else {
            let failures = failures.clone();
            let callback = move |result: Result<_, Error>| failures.note(number, result.map(drop));
            producer
                .send_with(record, callback)
                .map(drop)
                .map_err(Error::from)
        };
        failures.note(number, result);
    }
    Ok(())
}

/// One line without its end; none at the end of the input.
fn read_line(input: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    const LONGEST: u64 = 64 << 20;
    let mut line = Vec::new();
    if input.take(LONGEST).read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    if line.ends_with(b"\n") {
        line.pop();
        if line.ends_with(b"\r") {
            line.pop();
        }
    } else if line.len() as u64 == LONGEST {
        return Err(io::Error::other("longer than 64 MiB"));
    }
    Ok(Some(line))
}

/// How a line becomes a record.
struct LineFormat {
    key_separator: Option<Vec<u8>>,
    null_marker: Option<Vec<u8>>,
}

impl LineFormat {
    fn of(arguments: &Arguments) -> Result<Self, String> {
        let (mut parse_key, mut separator, mut null_marker) = (false, b"\t".to_vec(), None);
        for property in arguments
            .values("--property")
            .chain(arguments.values("--reader-property"))
        {
            match pair(property)? {
                ("parse.key", value) => {
                    parse_key = match value.trim().to_ascii_lowercase().as_str() {
                        "true" => true,
                        "false" => false,
                        _ => return Err(format!("parse.key={value}: neither true nor false")),
                    }
                }
                ("key.separator", "") => return Err("key.separator must not be empty".to_owned()),
                ("key.separator", value) => separator = value.as_bytes().to_vec(),
                ("null.marker", value) => null_marker = Some(value.as_bytes().to_vec()),
                (name, _) => return Err(format!("unknown property {name}")),
            }
        }
        Ok(Self {
            key_separator: parse_key.then_some(separator),
            null_marker,
        })
    }

    fn record(
        &self,
        topic: &TopicName,
        line: Vec<u8>,
    ) -> Result<ProducerRecord<Vec<u8>, Vec<u8>>, String> {
        let (key, value) = match &self.key_separator {
            None => (None, line),
            Some(separator) => {
                let place = line
                    .windows(separator.len())
                    .position(|window| window == separator);
                let place = place.ok_or_else(|| {
                    let separator = String::from_utf8_lossy(separator);
                    format!("has no key separator {separator:?}")
                })?;
                (
                    Some(line[..place].to_vec()),
                    line[place + separator.len()..].to_vec(),
                )
            }
        };
        let not_null = |bytes: &Vec<u8>| self.null_marker.as_ref() != Some(bytes);
        let mut record = ProducerRecord::tombstone(topic);
        record.key = key.filter(not_null);
        record.value = Some(value).filter(not_null);
        Ok(record)
    }
}

/// What the command line says wins over the file.
fn config(arguments: &Arguments) -> Result<ProducerConfig, String> {
    let mut config = ProducerConfig::new().client_id("console-producer");
    for file in arguments
        .values("--producer.config")
        .chain(arguments.values("--command-config"))
    {
        config
            .load_properties_file(file)
            .map_err(|error| error.to_string())?;
    }
    for property in arguments
        .values("--producer-property")
        .chain(arguments.values("--command-property"))
    {
        let (name, value) = pair(property)?;
        config.set(name, value).map_err(|error| error.to_string())?;
    }
    let servers = arguments.required("--bootstrap-server")?;
    config
        .set("bootstrap.servers", servers)
        .map_err(|error| error.to_string())?;
    Ok(config)
}

/// Counts and names the lines that were not delivered.
#[derive(Clone, Default)]
struct Failures(Arc<AtomicU64>);

impl Failures {
    fn note(&self, line: u64, result: Result<(), Error>) {
        if let Err(error) = result {
            self.0.fetch_add(1, Ordering::Relaxed);
            eprintln!("console_producer: line {line}: {error}");
        }
    }

    fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
