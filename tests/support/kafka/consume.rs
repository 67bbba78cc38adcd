//! Reads a topic back with Kafka's ConsoleConsumer.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Duration;

use super::{KafkaCluster, Process};

/// A record as Kafka's consumer returns it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConsumedRecord {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) timestamp_type: TimestampType,
    pub(crate) timestamp: i64,
    pub(crate) headers: Vec<(String, Option<Vec<u8>>)>,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
}

impl ConsumedRecord {
    /// The value as text. Panics for a tombstone or bytes that are not UTF-8.
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(self.value.as_deref().expect("a value")).expect("a value in UTF-8")
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TimestampType {
    CreateTime,
    LogAppendTime,
}

impl KafkaCluster {
    /// Every record that the topic's partitions hold now, by partition and offset.
    ///
    /// The leaders' end offsets say how many there are, so no test waits for a record that may not come, and the test notices one
    /// record too many as well as one too few.
    pub(crate) fn consume(&self, topic: &str) -> Vec<ConsumedRecord> {
        let count = self.record_count(topic);
        if count == 0 {
            return Vec::new();
        }
        let servers = self.bootstrap_servers();
        let count_text = count.to_string();
        let mut arguments = vec![
            "--bootstrap-server",
            &servers,
            "--topic",
            topic,
            "--from-beginning",
        ];
        arguments.extend(["--max-messages", &count_text, "--timeout-ms", "30000"]);
        for property in FORMATTER_PROPERTIES {
            arguments.extend(["--formatter-property", property]);
        }
        let output = self.run_tool(
            "org.apache.kafka.tools.consumer.ConsoleConsumer",
            &arguments,
            b"",
        );
        let text = String::from_utf8(output.stdout).expect("the console consumer prints UTF-8");
        let mut records: Vec<_> = text.lines().map(parse).collect();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(
            records.len() as i64,
            count,
            "records of {topic} read back, and those in it; {errors}"
        );
        records.sort_by_key(|record| (record.partition, record.offset));
        records
    }

    /// The number of records in all partitions.
    fn record_count(&self, topic: &str) -> i64 {
        let partitions = self.partitions(topic).into_iter();
        let ends = partitions.map(|partition| self.end_offset(topic, partition.index));
        ends.sum()
    }

    /// The records of one partition, in order.
    pub(crate) fn consume_partition(&self, topic: &str, partition: i32) -> Vec<ConsumedRecord> {
        let mut records = self.consume(topic);
        records.retain(|record| record.partition == partition);
        records
    }
}

impl KafkaCluster {
    /// Calls `take` for every record that the topic's partitions hold now, in the order of each partition, with partition, offset,
    /// key and value, which must be text without line ends and tabs. It keeps no record, so a topic may be large.
    pub(crate) fn consume_each(&self, topic: &str, mut take: impl FnMut(i32, i64, &str, &str)) {
        let count = self.record_count(topic);
        if count == 0 {
            return;
        }
        let errors = self.folder.join(format!("consume-{topic}.log"));
        let mut command = self.tools.java(
            "org.apache.kafka.tools.consumer.ConsoleConsumer",
            512,
            &self.folder,
        );
        command
            .args(["--bootstrap-server", &self.bootstrap_servers()])
            .args(["--topic", topic, "--from-beginning"])
            .args([
                "--max-messages",
                &count.to_string(),
                "--timeout-ms",
                "30000",
            ])
            .args(["--formatter-property", "print.partition=true"])
            .args(["--formatter-property", "print.offset=true"])
            .args(["--formatter-property", "print.key=true"])
            .args(["--formatter-property", "key.separator=\t"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&errors).expect("create a log file"));
        let process = Process::spawn(&mut command).expect("start the console consumer");
        let printed = BufReader::new(process.take_stdout().expect("a piped stdout"));
        let mut taken = 0;
        for line in printed.lines() {
            let line = line.expect("the console consumer prints UTF-8");
            let fields: Vec<_> = line.splitn(4, '\t').collect();
            let [partition, offset, key, value] = fields[..] else {
                panic!("the console consumer printed {line:?}");
            };
            let number = |field: &str, prefix| field.strip_prefix(prefix)?.parse::<i64>().ok();
            let position = number(partition, "Partition:").zip(number(offset, "Offset:"));
            let (partition, offset) =
                position.unwrap_or_else(|| panic!("the console consumer printed {line:?}"));
            take(partition as i32, offset, key, value);
            taken += 1;
        }
        let status = process.wait(Duration::from_secs(30));
        assert!(
            taken == count && status.is_some_and(|status| status.success()),
            "{taken} of the {count} records of {topic} were read back, {status:?}; see {}",
            errors.display()
        );
    }
}

/// BytesDeserializer prints a backslash and all bytes that are not printable ASCII as `\xNN`. So the output of a record contains
/// no tab, line end or unit separator, and the literal for null only if the record contains that literal.
const FORMATTER_PROPERTIES: [&str; 11] = [
    "print.timestamp=true",
    "print.partition=true",
    "print.offset=true",
    "print.headers=true",
    "print.key=true",
    "key.deserializer=org.apache.kafka.common.serialization.BytesDeserializer",
    "value.deserializer=org.apache.kafka.common.serialization.BytesDeserializer",
    "headers.deserializer=org.apache.kafka.common.serialization.BytesDeserializer",
    "key.separator=\t",
    "headers.separator=\u{1f}",
    "null.literal=\u{1}null\u{1}",
];
const PRINTED_NULL: &str = "\\x01null\\x01";

/// `CreateTime:5<tab>Partition:0<tab>Offset:0<tab>a:1<unit separator>b:2<tab>key<tab>value`, or `NO_HEADERS`.
fn parse(line: &str) -> ConsumedRecord {
    let malformed = || -> ! {
        panic!(
            "the console consumer printed {:?}",
            &line[..line.len().min(400)]
        )
    };
    let fields: Vec<_> = line.split('\t').collect();
    let [timestamp, partition, offset, headers, key, value] = fields[..] else {
        malformed()
    };
    let Some((timestamp_type, timestamp)) = timestamp.split_once(':') else {
        malformed()
    };
    let timestamp_type = match timestamp_type {
        "CreateTime" => TimestampType::CreateTime,
        "LogAppendTime" => TimestampType::LogAppendTime,
        _ => malformed(),
    };
    let number = |field: &str, prefix| match field.strip_prefix(prefix).map(str::parse::<i64>) {
        Some(Ok(number)) => number,
        _ => malformed(),
    };
    ConsumedRecord {
        partition: number(partition, "Partition:") as i32,
        offset: number(offset, "Offset:"),
        timestamp_type,
        timestamp: number(timestamp, ""),
        headers: parse_headers(headers),
        key: unescape(key),
        value: unescape(value),
    }
}

fn parse_headers(field: &str) -> Vec<(String, Option<Vec<u8>>)> {
    if field == "NO_HEADERS" {
        return Vec::new();
    }
    let header = |text: &str| {
        let (name, value) = text
            .split_once(':')
            .unwrap_or_else(|| panic!("a header without a colon: {text:?}"));
        (name.to_owned(), unescape(value))
    };
    field.split('\u{1f}').map(header).collect()
}

/// Returns the bytes that BytesDeserializer printed as `text`, or `None` for a null.
fn unescape(printed: &str) -> Option<Vec<u8>> {
    if printed == PRINTED_NULL {
        return None;
    }
    let mut bytes = Vec::with_capacity(printed.len());
    let mut rest = printed.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        match tail {
            [b'x', high, low, tail @ ..] if *first == b'\\' => {
                let digit =
                    |byte: u8| char::from(byte).to_digit(16).expect("a hexadecimal digit") as u8;
                bytes.push(digit(*high) << 4 | digit(*low));
                rest = tail;
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    Some(bytes)
}
