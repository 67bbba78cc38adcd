//! Kafka's VerifiableProducer and ours do the same work side by side and print the same lines. From these lines the test
//! measures, for both in the same way, how long each had no acknowledgement.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::process::{ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::Value;

use super::clock::{Clock, seconds};
use super::ledger::{Ledger, Outcome};
use crate::support::kafka::{Install, KafkaCluster, KafkaVersion, Process, Signal};
use crate::support::programs::examples_folder;

/// The number of keys that both programs use one after the other, so that their partitions get the same share.
pub(super) const KEYS: u64 = 50;

/// A running VerifiableProducer, Kafka's or ours.
pub(super) struct Yardstick {
    name: &'static str,
    process: Process,
    reported: Arc<Mutex<Reported>>,
    reading: JoinHandle<()>,
}

/// A time without an acknowledgement: in one partition, or in all of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pause {
    pub(super) partition: Option<i32>,
    pub(super) from_ms: u32,
    pub(super) to_ms: u32,
}

/// What a program printed, when it has ended.
pub(super) struct Reported {
    pub(super) ledger: Ledger,
    pub(super) pauses: Vec<Pause>,
    pub(super) findings: Vec<String>,
    clock: Clock,
    last: BTreeMap<Option<i32>, u32>,
    is_complete: bool,
}

impl fmt::Display for Pause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.partition {
            Some(partition) => write!(f, "partition {partition}")?,
            None => f.write_str("all partitions")?,
        }
        write!(
            f,
            ": nothing from {} to {}",
            seconds(self.from_ms),
            seconds(self.to_ms)
        )
    }
}

impl Yardstick {
    pub(super) fn ours(
        kafka: &KafkaCluster,
        clock: Clock,
        topic: &str,
        a_second: u64,
    ) -> Yardstick {
        let command = Command::new(examples_folder().join("verifiable_producer"));
        Yardstick::start("ours", command, kafka, clock, topic, a_second)
    }

    pub(super) fn java(
        kafka: &KafkaCluster,
        clock: Clock,
        topic: &str,
        a_second: u64,
    ) -> Yardstick {
        let install =
            Install::find(KafkaVersion::V4_3_1).expect("the jars that the brokers run from");
        let class = "org.apache.kafka.tools.VerifiableProducer";
        let command = install.java(class, 512, kafka.folder());
        Yardstick::start("Java", command, kafka, clock, topic, a_second)
    }

    fn start(
        name: &'static str,
        mut command: Command,
        kafka: &KafkaCluster,
        clock: Clock,
        topic: &str,
        a_second: u64,
    ) -> Yardstick {
        // Both programs turn retries off unless a setting enables them, and Java's producer then has no idempotence.
        let settings = "enable.idempotence=true\nretries=2147483647\n";
        let file = kafka.folder().join(format!("{topic}.properties"));
        fs::write(&file, settings).expect("write a file");
        let log = kafka.folder().join(format!("{topic}.log"));
        command
            .args(["--bootstrap-server", &kafka.bootstrap_servers()])
            .args(["--topic", topic, "--acks", "-1"])
            .args(["--throughput", &a_second.to_string()])
            .args(["--repeating-keys", &KEYS.to_string()])
            .args(["--command-config", &file.display().to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(log).expect("create a log file"));
        let process = Process::spawn(&mut command).expect("start a verifiable producer");
        let printed = process.take_stdout().expect("a piped stdout");
        let reported = Arc::new(Mutex::new(Reported {
            ledger: Ledger::new(clock),
            pauses: Vec::new(),
            findings: Vec::new(),
            clock,
            last: BTreeMap::new(),
            is_complete: false,
        }));
        let reading = thread::spawn({
            let reported = Arc::clone(&reported);
            move || read(printed, &reported)
        });
        Yardstick {
            name,
            process,
            reported,
            reading,
        }
    }

    /// Returns whether it has acknowledgements from this many partitions.
    pub(super) fn has_reached(&self, partitions: usize) -> bool {
        lock(&self.reported).last.len() > partitions
    }

    /// Forgets the pauses so far.
    pub(super) fn forget_pauses(&self) {
        lock(&self.reported).pauses.clear();
    }

    /// Lets the program deliver what it has accepted, and end.
    pub(super) fn stop(self) -> Reported {
        let Yardstick {
            name,
            process,
            reported,
            reading,
        } = self;
        process.signal(Signal::Terminate);
        let ended = process.wait(Duration::from_secs(150));
        drop(process);
        reading.join().expect("no panic while reading");
        let reported = Arc::into_inner(reported).expect("the reader has ended");
        let mut reported = reported
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        // A JVM that a signal ends answers with 128 and the signal's number, however orderly it went.
        const AFTER_SIGTERM: i32 = 143;
        let code = ended.and_then(|status| status.code());
        // Ours does so, too, or ends with 1 if a record was not delivered.
        if !reported.is_complete || !matches!(code, Some(0 | 1 | AFTER_SIGTERM)) {
            let finding = format!("{name}: the program ended with {ended:?}");
            reported.findings.push(finding);
        }
        reported
    }
}

impl fmt::Display for Yardstick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the verifiable producer ({})", self.name)
    }
}

impl Reported {
    /// The longest pause that began in the time between; of all partitions together or of any one.
    pub(super) fn longest(&self, whole: bool, from_ms: u32, to_ms: u32) -> Duration {
        let pauses = self.pauses.iter().filter(|pause| {
            pause.partition.is_none() == whole && (from_ms..to_ms).contains(&pause.from_ms)
        });
        let longest = pauses.map(|pause| pause.to_ms - pause.from_ms).max();
        Duration::from_millis(longest.unwrap_or(0).into())
    }

    /// Pauses of a second and more that began in the time between.
    pub(super) fn pauses_of_partitions(
        &self,
        from_ms: u32,
        to_ms: u32,
    ) -> impl Iterator<Item = &Pause> {
        self.pauses.iter().filter(move |pause| {
            (from_ms..to_ms).contains(&pause.from_ms) && pause.to_ms - pause.from_ms >= 1_000
        })
    }

    fn take(&mut self, line: &str) {
        let Ok(line) = serde_json::from_str::<Value>(line) else {
            self.findings.push(format!("printed {line:?}"));
            return;
        };
        let number = |field: &str| match &line[field] {
            Value::String(text) => text.parse().ok(),
            other => other.as_i64(),
        };
        match line["name"].as_str() {
            Some("producer_send_success") => {
                let fields = number("timestamp")
                    .zip(number("value"))
                    .zip(number("partition").zip(number("offset")));
                let ((at, value), (partition, offset)) = fields.expect("the fields of a success");
                let now_ms = self.clock.at(at);
                let partition = partition as i32;
                let outcome = Outcome::Acknowledged { partition, offset };
                self.ledger.complete_at(value as u64, outcome, now_ms);
                self.acknowledged(None, now_ms);
                self.acknowledged(Some(partition), now_ms);
            }
            Some("producer_send_error") => {
                let value = number("value").expect("an error has its value");
                // Java does not say whether the record was written.
                self.ledger
                    .complete_at(value as u64, Outcome::MaybeWritten, self.clock.now_ms());
                let at = seconds(self.clock.now_ms());
                if self.findings.len() < 5 {
                    self.findings.push(format!(
                        "record {value} failed at {at}: {} {}",
                        line["exception"], line["message"]
                    ));
                }
            }
            Some("tool_data") => {
                let sent = number("sent").unwrap_or(-1) as u64;
                let totals = self.ledger.totals();
                let with_outcome = totals.sent - totals.pending;
                if sent != with_outcome {
                    self.findings.push(format!(
                        "{sent} records sent, {with_outcome} have an outcome"
                    ));
                }
                self.is_complete = true;
            }
            _ => {}
        }
    }

    fn acknowledged(&mut self, partition: Option<i32>, now_ms: u32) {
        /// Shorter pauses happen all the time.
        const WORTH_NOTING_MS: u32 = 100;
        let last = self.last.insert(partition, now_ms).unwrap_or(now_ms);
        if now_ms.saturating_sub(last) >= WORTH_NOTING_MS {
            self.pauses.push(Pause {
                partition,
                from_ms: last,
                to_ms: now_ms,
            });
        }
    }
}

fn read(printed: ChildStdout, reported: &Mutex<Reported>) {
    for line in BufReader::new(printed).lines().map_while(Result::ok) {
        lock(reported).take(&line);
    }
}

fn lock(reported: &Mutex<Reported>) -> MutexGuard<'_, Reported> {
    reported.lock().unwrap_or_else(PoisonError::into_inner)
}
