//! Sends 0, 1, 2, ... and prints one line of JSON for each record, delivered or not. Options and output are those of
//! Kafka's VerifiableProducer, so that Kafka's own system tests can use it.
//!
//! `cargo run --release --example verifiable_producer -- --topic t --bootstrap-server localhost:9092 --max-messages 100`

use std::process::ExitCode;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use kafka_producer::{Error, KafkaProducer, ProducerConfig, ProducerRecord, RecordMetadata};
use serde_json::{Value, json};

#[path = "support/arguments.rs"]
mod arguments;
#[path = "support/output.rs"]
mod output;
#[path = "support/signals.rs"]
mod signals;
#[path = "support/stderr_log.rs"]
mod stderr_log;
#[path = "support/throttle.rs"]
mod throttle;

use arguments::{Arguments, Help, Takes};
use throttle::Throttle;

const HELP: Help = Help {
    about: "Produces increasing integers and prints a line of JSON for each record, delivered or not.",
    options: OPTIONS,
    success: "every record was delivered, and printed",
    failure: "a record was not delivered, or standard output failed (which stops the sending), or the options are wrong",
};
const OPTIONS: &[arguments::Known] = &[
    ("--topic", Takes::Value, "the topic to produce to; required"),
    (
        "--bootstrap-server",
        Takes::Value,
        "HOST1:PORT1,HOST2:PORT2,... of brokers; required",
    ),
    (
        "--max-messages",
        Takes::Value,
        "the number of records to send; -1: until a signal comes (default: -1)",
    ),
    (
        "--throughput",
        Takes::Value,
        "about this many records a second; -1: no limit; 0: only one record (default: -1)",
    ),
    ("--acks", Takes::Value, "0, 1 or -1 (default: -1)"),
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
        "--message-create-time",
        Takes::Value,
        "the first record's timestamp, in ms since 1970",
    ),
    (
        "--value-prefix",
        Takes::Value,
        "a number that is put before each value: 7.0, 7.1, ...",
    ),
    (
        "--repeating-keys",
        Takes::Value,
        "the number of keys, used one after the other from 0; without it records have no key",
    ),
];

fn main() -> ExitCode {
    stderr_log::install();
    output::exit_code(run())
}

/// What ends the run.
enum Ended {
    Signal,
    Sending,
}

/// After a signal the last `send` may take this long; then closing the producer ends it.
const LAST_SEND: Duration = Duration::from_secs(2);

/// A thread of its own sends, so that a signal can close the producer while a `send` waits.
fn run() -> Result<(), String> {
    let options = Options::of(&Arguments::of_program(&HELP)?)?;
    let producer = KafkaProducer::<String, String>::builder()
        .config(options.config.clone())
        .build()
        .map_err(|error| error.to_string())?;
    let report = Arc::new(Report::new(options.topic.clone()));
    let throughput = options.throughput;

    let (ended, end) = channel();
    let (stop, stopped) = channel();
    signals::handle(
        {
            let ended = ended.clone();
            move || ended.send(Ended::Signal).unwrap_or_default()
        },
        {
            let report = Arc::clone(&report);
            move || report.state().progress()
        },
    )
    .map_err(|error| error.to_string())?;
    let send = {
        let (producer, report) = (producer.clone(), Arc::clone(&report));
        move || {
            report.print("startup_complete", json!({}));
            send_all(&producer, &options, &report, stopped);
            let _ = ended.send(Ended::Sending);
        }
    };
    let sending = thread::Builder::new()
        .spawn(send)
        .map_err(|error| error.to_string())?;

    if let Ok(Ended::Signal) = end.recv() {
        drop(stop);
        let _ = end.recv_timeout(LAST_SEND);
    }
    let closed = producer.close(Duration::MAX);
    let sent = sending.join();
    report.print("shutdown_complete", json!({}));
    report.print_tool_data(throughput);
    sent.map_err(|_| "the sending thread panicked".to_owned())?;
    let State { sent, acked } = *report.state();
    if acked < sent {
        return Err(format!(
            "{} of {sent} record(s) were not delivered",
            sent - acked
        ));
    }
    closed.map_err(|error| error.to_string())
}

fn send_all(
    producer: &KafkaProducer<String, String>,
    options: &Options,
    report: &Arc<Report>,
    stop: Receiver<()>,
) {
    let throttle = Throttle::new(options.throughput as f64, stop);
    let start = Instant::now();
    let mut create_time = options.create_time;
    for number in (0u64..).take_while(|number| options.max_messages.is_none_or(|max| *number < max))
    {
        // The outcomes of later records could not be printed.
        if !throttle.wait(number) || output::fault().is_some() {
            return;
        }
        let value = match options.value_prefix {
            Some(prefix) => format!("{prefix}.{number}"),
            None => number.to_string(),
        };
        let key = options
            .repeating_keys
            .map(|keys| (number % keys).to_string());
        let mut record = ProducerRecord::new(options.topic.clone(), value.clone());
        record.key = key.clone();
        if let Some(time) = &mut create_time {
            record = record.timestamp(*time);
            *time = time.saturating_add(start.elapsed().as_millis() as i64);
        }
        report.state().sent += 1;
        let (callback_report, callback_key, callback_value) =
            (Arc::clone(report), key.clone(), value.clone());
        let callback = move |result: Result<RecordMetadata, Error>| {
            callback_report.delivery(callback_key, callback_value, result)
        };
        if let Err(refused) = producer.send_with(record, callback) {
            report.delivery(key, value, Err(refused.into()));
        }
    }
}

struct Options {
    topic: String,
    config: ProducerConfig,
    max_messages: Option<u64>,
    throughput: i64,
    create_time: Option<i64>,
    value_prefix: Option<i64>,
    repeating_keys: Option<u64>,
}

impl Options {
    fn of(arguments: &Arguments) -> Result<Self, String> {
        let keys: Option<u64> = arguments.number("--repeating-keys")?;
        Ok(Self {
            topic: arguments.required("--topic")?.to_owned(),
            config: config(arguments)?,
            max_messages: u64::try_from(arguments.number("--max-messages")?.unwrap_or(-1)).ok(),
            throughput: arguments.number("--throughput")?.unwrap_or(-1),
            create_time: arguments
                .number("--message-create-time")?
                .filter(|time| *time != -1),
            value_prefix: arguments.number("--value-prefix")?,
            repeating_keys: keys.filter(|keys| *keys > 0),
        })
    }
}

/// As in Java: no retries unless the file sets them, and the file overrides the command line.
fn config(arguments: &Arguments) -> Result<ProducerConfig, String> {
    let acks = arguments.value("--acks").unwrap_or("-1");
    if !["0", "1", "-1"].contains(&acks) {
        return Err(format!("--acks {acks}: not one of 0, 1, -1"));
    }
    let file = match (
        arguments.value("--command-config"),
        arguments.value("--producer.config"),
    ) {
        (Some(_), Some(_)) => {
            return Err("--command-config and --producer.config exclude each other".to_owned());
        }
        (file, older) => file.or(older),
    };
    let mut config = ProducerConfig::new();
    let mut set = |name, value| config.set(name, value).map_err(|error| error.to_string());
    set(
        "bootstrap.servers",
        arguments.required("--bootstrap-server")?,
    )?;
    set("acks", acks)?;
    set("retries", "0")?;
    if let Some(file) = file {
        config
            .load_properties_file(file)
            .map_err(|error| error.to_string())?;
    }
    Ok(config)
}

/// What is counted and printed.
struct Report {
    topic: String,
    start: Instant,
    state: Mutex<State>,
}

#[derive(Clone, Copy, Default)]
struct State {
    sent: u64,
    acked: u64,
}

impl State {
    /// Printed when a second signal ends the program.
    fn progress(&self) -> String {
        let State { sent, acked } = self;
        format!("of {sent} records {acked} were delivered, and standard output says which")
    }
}

impl Report {
    fn new(topic: String) -> Self {
        Self {
            topic,
            start: Instant::now(),
            state: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn delivery(&self, key: Option<String>, value: String, result: Result<RecordMetadata, Error>) {
        match result {
            Ok(metadata) => {
                self.state().acked += 1;
                self.print(
                    "producer_send_success",
                    json!({
                        "key": key,
                        "value": value,
                        "topic": metadata.topic(),
                        "partition": metadata.partition(),
                        "offset": metadata.offset().unwrap_or(-1),
                    }),
                );
            }
            Err(error) => self.print(
                "producer_send_error",
                json!({
                    "key": key,
                    "value": value,
                    "topic": self.topic,
                    "exception": format!("kafka_producer::ErrorKind::{:?}", error.kind()),
                    "message": error.to_string(),
                }),
            ),
        }
    }

    fn print_tool_data(&self, target_throughput: i64) {
        let State { sent, acked } = *self.state();
        let milliseconds = self.start.elapsed().as_millis().max(1) as f64;
        self.print(
            "tool_data",
            json!({
                "sent": sent,
                "acked": acked,
                "target_throughput": target_throughput,
                "avg_throughput": 1000.0 * acked as f64 / milliseconds,
            }),
        );
    }

    /// One line: `timestamp` and `name` first, as Java writes them.
    fn print(&self, name: &str, fields: Value) {
        let timestamp = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_millis());
        let fields = fields.to_string();
        let more = match &fields[1..] {
            "}" => "}".to_owned(),
            more => format!(",{more}"),
        };
        output::print(format_args!(
            "{{\"timestamp\":{timestamp},\"name\":\"{name}\"{more}"
        ));
    }
}
