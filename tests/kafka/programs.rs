//! The example programs, as their users start them.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use serde_json::Value;

use crate::Tests;
use crate::support::kafka::{KafkaCluster, poll};
use crate::support::programs::{FedProgram, run, succeed, text};

const SOON: Duration = Duration::from_secs(60);

pub(crate) const TESTS: Tests = &[
    (
        "quickstart_delivers_to_a_real_broker_and_reads_back",
        quickstart_delivers_to_a_real_broker,
    ),
    ("quickstart_needs_no_broker", quickstart_needs_no_broker),
    (
        "console_producer_sends_each_line",
        console_producer_sends_each_line,
    ),
    (
        "console_producer_names_the_line_that_failed",
        console_producer_names_the_line_that_failed,
    ),
    (
        "a_signal_loses_no_line_that_console_producer_has_read",
        a_signal_loses_no_line_that_was_read,
    ),
    (
        "verifiable_producer_prints_what_kafkas_does",
        verifiable_producer_prints_what_kafkas_does,
    ),
    (
        "producer_performance_reports_what_kafkas_does",
        producer_performance_reports_what_kafkas_does,
    ),
];

fn quickstart_delivers_to_a_real_broker(kafka: &KafkaCluster) {
    let output = succeed(
        "quickstart",
        &["--bootstrap-server", &kafka.bootstrap_servers()],
        b"",
    );
    let printed = text(&output.stdout);
    let records = kafka.consume("quickstart");
    assert_eq!(records.len(), 10, "{printed}");
    for record in &records {
        let position = format!("partition {}, offset {}", record.partition, record.offset);
        let key = String::from_utf8_lossy(record.key.as_deref().expect("a key"));
        let delivered = format!("delivered to quickstart, {position}");
        let read_back = format!("read back from {position}: {key} -> {}", record.text());
        for line in [delivered, read_back] {
            assert!(
                printed.lines().any(|shown| shown == line),
                "no {line:?} in:\n{printed}"
            );
        }
    }
    assert!(
        printed.contains("10 records delivered and read back"),
        "{printed}"
    );
}

fn quickstart_needs_no_broker(_: &KafkaCluster) {
    let output = succeed("quickstart", &[], b"");
    assert!(
        text(&output.stdout).contains("offset"),
        "{}",
        text(&output.stdout)
    );
}

fn console_producer_sends_each_line(kafka: &KafkaCluster) {
    let topic = "programs-console";
    kafka.create_topic(topic, 1, 1, &[]);
    let servers = kafka.bootstrap_servers();
    let mut arguments = vec!["--bootstrap-server", &servers, "--topic", topic];
    succeed(
        "console_producer",
        &arguments,
        b"first\nsecond\n\nno line end",
    );
    arguments.extend([
        "--property",
        "parse.key=true",
        "--property",
        "key.separator=:",
        "--sync",
    ]);
    arguments.extend(["--producer-property", "compression.type=gzip"]);
    succeed("console_producer", &arguments, b"key:value:with colon\n");

    let records = kafka.consume(topic);
    assert_eq!(
        records
            .iter()
            .map(|record| record.text())
            .collect::<Vec<_>>(),
        ["first", "second", "", "no line end", "value:with colon"]
    );
    assert_eq!(records[0].key, None);
    assert_eq!(records[4].key.as_deref(), Some(&b"key"[..]));
    assert_eq!(
        kafka.dump_log(topic)[&0]
            .last()
            .expect("a batch")
            .compression,
        "gzip"
    );
}

fn console_producer_names_the_line_that_failed(kafka: &KafkaCluster) {
    let topic = "programs-console-failed";
    kafka.create_topic(topic, 1, 1, &[("max.message.bytes", "1000")]);
    let input = format!("first\n{}\nthird\n", "x".repeat(5_000));
    let servers = kafka.bootstrap_servers();
    let arguments = [
        "--bootstrap-server",
        &servers,
        "--topic",
        topic,
        "--producer-property",
        "linger.ms=0",
    ];
    let arguments = [&arguments[..], &["--sync"]].concat();
    let output = run("console_producer", &arguments, input.as_bytes());
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let errors = text(&output.stderr);
    assert!(errors.contains("line 2"), "{errors}");
    assert!(
        !errors.contains("line 1 ") && !errors.contains("line 3 "),
        "{errors}"
    );
    assert!(
        kafka
            .consume(topic)
            .iter()
            .all(|record| record.text().len() < 10)
    );
}

fn a_signal_loses_no_line_that_was_read(kafka: &KafkaCluster) {
    let topic = "programs-console-signal";
    kafka.create_topic(topic, 1, 1, &[]);
    let servers = kafka.bootstrap_servers();
    let arguments = ["--bootstrap-server", &servers, "--topic", topic];
    let program = FedProgram::start("console_producer", &arguments);
    let has_begun = || (kafka.end_offset(topic, 0) > 0).then_some(());
    poll(SOON, has_begun).expect("records");
    let ended = program.terminate();
    assert_eq!(ended.code, Some(143), "{}", ended.errors);
    let records = kafka.consume(topic);
    let delivered = records.iter().map(|record| record.text().to_owned());
    ended.assert_no_line_lost(delivered);
}

fn verifiable_producer_prints_what_kafkas_does(kafka: &KafkaCluster) {
    let topic = "programs-verifiable";
    kafka.create_topic(topic, 3, 1, &[]);
    let settings = kafka.folder().join("programs-verifiable.properties");
    fs::write(&settings, "compression.type=snappy\n").expect("write a file");
    let servers = kafka.bootstrap_servers();
    let settings = settings.display().to_string();
    let mut arguments = vec![
        "--topic",
        topic,
        "--bootstrap-server",
        &servers,
        "--max-messages",
        "500",
    ];
    arguments.extend([
        "--throughput",
        "5000",
        "--acks",
        "-1",
        "--repeating-keys",
        "5",
        "--value-prefix",
        "7",
    ]);
    arguments.extend(["--command-config", &settings]);
    let output = succeed("verifiable_producer", &arguments, b"");
    assert_lines_of_verifiable_producer(kafka, topic, &text(&output.stdout));
}

/// Checks the output about 500 records with the prefix 7: every line, and that the records in the log are those.
fn assert_lines_of_verifiable_producer(kafka: &KafkaCluster, topic: &str, printed: &str) {
    let lines: Vec<Value> = printed
        .lines()
        .map(|line| serde_json::from_str(line).expect("a line of JSON"))
        .collect();
    assert!(
        lines.iter().all(|line| line["timestamp"].is_i64()),
        "{printed}"
    );
    let names: Vec<_> = lines
        .iter()
        .map(|line| line["name"].as_str().expect("a name"))
        .collect();
    assert_eq!(names.len(), 503, "{printed}");
    assert_eq!(
        (names[0], &names[501..]),
        ("startup_complete", &["shutdown_complete", "tool_data"][..])
    );
    let sent: BTreeSet<_> = lines[1..501].iter().map(success).collect();
    let consumed = kafka.consume(topic).into_iter().map(|record| {
        let key = String::from_utf8(record.key.clone().expect("a key")).expect("a key in UTF-8");
        (
            i64::from(record.partition),
            record.offset,
            key,
            record.text().to_owned(),
        )
    });
    assert_eq!(sent, consumed.collect());
    assert!(
        sent.iter()
            .map(|(.., value)| value.as_str())
            .collect::<BTreeSet<_>>()
            .contains("7.499")
    );
    let tool_data = &lines[502];
    assert_eq!(
        (&tool_data["sent"], &tool_data["acked"]),
        (&Value::from(500), &Value::from(500)),
        "{tool_data}"
    );
    assert!(
        tool_data["target_throughput"] == 5000 && tool_data["avg_throughput"].is_f64(),
        "{tool_data}"
    );
}

/// Partition, offset, key and value of a `producer_send_success`.
fn success(line: &Value) -> (i64, i64, String, String) {
    assert_eq!(
        (line["name"].as_str(), line["topic"].as_str()),
        (Some("producer_send_success"), Some("programs-verifiable"))
    );
    let number = |name: &str| line[name].as_i64().expect("a number");
    let string = |name: &str| line[name].as_str().expect("a string").to_owned();
    (
        number("partition"),
        number("offset"),
        string("key"),
        string("value"),
    )
}

fn producer_performance_reports_what_kafkas_does(kafka: &KafkaCluster) {
    let topic = "programs-performance";
    kafka.create_topic(topic, 3, 1, &[]);
    let servers = kafka.bootstrap_servers();
    let mut arguments = vec![
        "--topic",
        topic,
        "--num-records",
        "20000",
        "--record-size",
        "100",
        "--throughput",
        "-1",
    ];
    arguments.extend([
        "--bootstrap-server",
        &servers,
        "--command-property",
        "compression.type=lz4",
    ]);
    let output = succeed("producer_performance", &arguments, b"");
    let printed = text(&output.stdout);
    let last = printed.lines().last().expect("a line");
    assert!(last.starts_with("20000 records sent, "), "{printed}");
    for part in [
        " records/sec (",
        " MB/sec), ",
        " ms avg latency, ",
        " ms max latency, ",
        " ms 50th, ",
        " ms 95th, ",
        " ms 99th, ",
    ] {
        assert!(last.contains(part), "no {part:?} in {last}");
    }
    assert!(last.ends_with(" ms 99.9th."), "{last}");
    let batches: Vec<_> = kafka.dump_log(topic).into_values().flatten().collect();
    assert_eq!(batches.iter().map(|batch| batch.count).sum::<i32>(), 20_000);
    assert!(
        batches
            .iter()
            .flat_map(|batch| &batch.records)
            .all(|record| record.value_size == 100)
    );
}
