//! Sends the lines of standard input to a topic, each as one record. Unlike Kafka's console producer it ends with status 1
//! and names the line if a record was not delivered. After SIGINT or SIGTERM it sends the lines that it has read and ends;
//! the next reader finds the rest of the input.
//!
//! `echo hello | cargo run --release --example console_producer -- --topic t --bootstrap-server localhost:9092`

use std::process::ExitCode;
use std::time::Duration;

use kafka_producer::{Error, ErrorKind, KafkaProducer, ProducerConfig, ProducerRecord, TopicName};

#[path = "support/arguments.rs"]
mod arguments;
#[path = "support/deliveries.rs"]
mod deliveries;
#[path = "support/input.rs"]
mod input;
#[path = "support/output.rs"]
mod output;
#[path = "support/settings.rs"]
mod settings;
#[path = "support/signals.rs"]
mod signals;
#[path = "support/stderr_log.rs"]
mod stderr_log;

use arguments::{Arguments, Help, Takes, pair};
use deliveries::Deliveries;
use input::{Input, ReadAhead};

const HELP: Help = Help {
    about: "Sends the lines of standard input to a topic.",
    options: OPTIONS,
    success: "every line was delivered",
    failure: "a line was not delivered (standard error says which and why), or the options are wrong",
};
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
        "name=value: a setting of the producer; can be given several times",
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
        "wait for the delivery of each record before sending the next",
    ),
];

fn main() -> ExitCode {
    stderr_log::install();
    output::exit_code(run())
}

fn run() -> Result<(), String> {
    let arguments = Arguments::of_program(&HELP)?;
    let topic: TopicName = arguments.required("--topic")?.to_owned().into();
    let format = LineFormat::of(&arguments)?;
    let producer = KafkaProducer::<Vec<u8>, Vec<u8>>::builder()
        .config(config(&arguments)?)
        .build()
        .map_err(|error| error.to_string())?;
    // It lives as long as the program, so callbacks share it without reference counting.
    let deliveries: &Deliveries = Box::leak(Box::default());
    let is_sync = arguments.has("--sync");
    // With `--sync` each line takes about `linger.ms`.
    let (mut input, stop) = Input::new(match is_sync {
        true => ReadAhead::Little,
        false => ReadAhead::Much,
    });
    signals::handle(stop, || deliveries.progress())
        .and_then(|()| input.start())
        .map_err(|error| error.to_string())?;
    let sending = Sending {
        producer: &producer,
        topic: &topic,
        format: &format,
        is_sync,
        deliveries,
    };
    let sent = sending.send_lines(&mut input);
    let closed = producer.close(Duration::MAX);
    deliveries.name_the_rest();
    // After a signal the reader may have waited for input until now.
    let sent = sent.and_then(|line| match input.lines_left() {
        0 => Ok(()),
        left => Err(Stopped {
            line,
            fault: format!("{left} line(s) were read too late, after the signal"),
        }),
    });
    if let Err(Stopped { line, fault }) = sent {
        let (before, delivered) = (line - 1, deliveries.delivered());
        return Err(format!(
            "line {line}: {fault}; neither it nor any line after it was sent; of the {before} line(s) before it, \
             {delivered} were delivered"
        ));
    }
    match (deliveries.lost_count(), closed) {
        (0, closed) => closed.map_err(|error| error.to_string()),
        (lost, _) => Err(format!(
            "{lost} line(s) were not delivered, and {} were",
            deliveries.delivered()
        )),
    }
}

/// Why the sending ended before the end of the input.
struct Stopped {
    line: u64,
    fault: String,
}

struct Sending<'a> {
    producer: &'a KafkaProducer<Vec<u8>, Vec<u8>>,
    topic: &'a TopicName,
    format: &'a LineFormat,
    is_sync: bool,
    deliveries: &'static Deliveries,
}

impl Sending<'_> {
    /// Sends the lines up to the end of the input, or up to the last one read before a signal. Returns the number that
    /// the next line would have.
    fn send_lines(&self, input: &mut Input) -> Result<u64, Stopped> {
        let mut number = 0;
        loop {
            number += 1;
            let stopped = |fault| Stopped {
                line: number,
                fault,
            };
            let Some(line) = input.next_line().map_err(stopped)? else {
                return Ok(number);
            };
            self.deliveries.begin(number);
            let record = self.format.record(self.topic, line).map_err(stopped)?;
            if let Err(error) = self.send(number, record) {
                self.deliveries.note(number, &Err::<(), _>(error.clone()));
                if self.is_last(&error) {
                    return Err(Stopped {
                        line: number + 1,
                        fault: format!("not sent after the failure of line {number}"),
                    });
                }
            }
        }
    }

    /// Sends a record, and with `--sync` waits for its delivery. Returns the error of a record that was refused or, with
    /// `--sync`, not delivered.
    fn send(&self, number: u64, record: ProducerRecord<Vec<u8>, Vec<u8>>) -> Result<(), Error> {
        let deliveries = self.deliveries;
        if self.is_sync {
            let delivered = self.producer.send(record)?.get(Duration::MAX)?;
            deliveries.note(number, &Ok(delivered));
        } else {
            self.producer
                .send_with(record, move |result| deliveries.note(number, &result))?;
        }
        Ok(())
    }

    /// Returns whether to send no more lines after this error: none can succeed, or each could delay the end of a program
    /// that has to stop.
    fn is_last(&self, error: &Error) -> bool {
        let took_its_time = matches!(
            error.kind(),
            ErrorKind::MetadataTimeout | ErrorKind::BufferExhausted | ErrorKind::DeliveryTimeout
        );
        error.is_fatal() || took_its_time && signals::stopped_by().is_some()
    }
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
                let position = line
                    .windows(separator.len())
                    .position(|window| window == separator);
                let position = position.ok_or_else(|| {
                    let separator = String::from_utf8_lossy(separator);
                    format!("has no key separator {separator:?}")
                })?;
                (
                    Some(line[..position].to_vec()),
                    line[position + separator.len()..].to_vec(),
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

fn config(arguments: &Arguments) -> Result<ProducerConfig, String> {
    let properties = ["--producer-property", "--command-property"];
    let mut config = settings::of(arguments, "console-producer", properties)?;
    let servers = arguments.required("--bootstrap-server")?;
    settings::set(&mut config, "bootstrap.servers", servers)?;
    Ok(config)
}
