//! The example programs on the embedded cluster: signals, outputs that fail, and unexpected command lines and input.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use kafka_producer::mock::{Fault, MockApi, MockCluster};
use serde_json::Value;

use crate::shared::process::{Process, Signal};
use crate::shared::programs::{FedProgram, program, run, succeed, text};
use crate::support::{PATIENCE, cluster};

/// The time for a program to end, on a busy machine, too.
const TO_THE_END: Duration = Duration::from_secs(60);

const PROGRAMS: [&str; 4] = [
    "quickstart",
    "console_producer",
    "producer_performance",
    "verifiable_producer",
];

#[test]
fn a_signal_loses_no_line_that_was_read() {
    for more in [&[][..], &["--sync"]] {
        let cluster = cluster(1, 1);
        let servers = cluster.bootstrap_servers();
        let arguments = [&to_topic(&servers), more].concat();
        let program = FedProgram::start("console_producer", &arguments);
        wait_for_a_record(&cluster);
        let ended = program.terminate();
        assert_eq!(ended.code, Some(143), "{}", ended.errors);
        ended.assert_no_line_lost(lines(&cluster));
    }
}

/// Returns when the program has stopped waiting for input and delivers what it has.
#[test]
fn a_line_that_comes_while_the_program_ends_is_named_or_left_in_the_input() {
    let cluster = cluster(1, 1);
    let (writer, reader) = UnixStream::pair().unwrap();
    let mut unread = reader.try_clone().unwrap();
    let (asked, is_asked) = mpsc::channel();
    cluster.on(MockApi::Metadata, move |request| {
        let _ = request.topics().first().map(|_| asked.send(()));
        Fault::Pass
    });
    let late = writer.try_clone().unwrap();
    cluster.once(MockApi::Produce, move |_| {
        (&late).write_all(b"late\n").unwrap();
        Fault::delay(Duration::from_millis(500))
    });
    let servers = cluster.bootstrap_servers();
    let lingering = ["--producer-property", "linger.ms=30000"];
    let arguments = [&to_topic(&servers)[..], &lingering].concat();
    let mut command = program("console_producer", &arguments);
    command.stdin(OwnedFd::from(reader));
    let program = Process::spawn(&mut command).unwrap();
    (&writer).write_all(b"first\n").unwrap();
    is_asked.recv_timeout(PATIENCE).unwrap();
    program.signal(Signal::Terminate);
    let output = program.output(TO_THE_END).unwrap();
    writer.shutdown(Shutdown::Write).unwrap();
    let mut left = String::new();
    unread.read_to_string(&mut left).unwrap();
    match left.as_str() {
        "" => assert_failed(&output, "line 2: 1 line(s) were read too late"),
        _ => assert_eq!((left.as_str(), output.status.code()), ("late\n", Some(143))),
    }
    assert_eq!(lines(&cluster).collect::<Vec<_>>(), ["first"]);
}

#[test]
fn a_line_without_its_end_at_a_signal_is_named() {
    let cluster = cluster(1, 1);
    let program = start("console_producer", &to_topic(&cluster.bootstrap_servers()));
    let mut input = program.take_stdin().unwrap();
    input.write_all(b"first\nsecond\nthi").unwrap();
    assert!(cluster.wait_until(PATIENCE, |cluster| cluster.end_offset("t", 0) == Some(2)));
    program.signal(Signal::Terminate);
    let output = program.output(TO_THE_END).unwrap();
    assert_failed(
        &output,
        "line 3: SIGTERM came after 3 bytes of it were read",
    );
    assert_eq!(lines(&cluster).collect::<Vec<_>>(), ["first", "second"]);
}

#[test]
fn a_second_signal_ends_the_console_producer_at_once_with_a_report() {
    let cluster = cluster(1, 1);
    cluster.on(MockApi::Produce, |_| Fault::NoAnswer);
    let program = start("console_producer", &to_topic(&cluster.bootstrap_servers()));
    let mut input = program.take_stdin().unwrap();
    input.write_all(b"first\nsecond\n").unwrap();
    assert!(cluster.wait_until(PATIENCE, |cluster| {
        cluster.request_count(MockApi::Produce) > 0
    }));
    program.signal(Signal::Interrupt);
    program.signal(Signal::Terminate);
    let output = program.output(TO_THE_END).unwrap();
    assert_failed(&output, "the outcome of the other 2 is not known");
}

#[test]
fn after_a_signal_lines_that_cannot_be_sent_do_not_delay_the_end() {
    let cluster = MockCluster::builder()
        .brokers(1)
        .auto_create_topics(false)
        .start()
        .unwrap();
    let servers = cluster.bootstrap_servers();
    let mut arguments = to_topic(&servers).to_vec();
    arguments.extend(["--producer-property", "max.block.ms=5000"]);
    let program = start("console_producer", &arguments);
    let mut input = program.take_stdin().unwrap();
    input.write_all("a line\n".repeat(100).as_bytes()).unwrap();
    assert!(cluster.wait_until(PATIENCE, |cluster| {
        cluster.request_count(MockApi::Metadata) > 0
    }));
    program.signal(Signal::Terminate);
    let output = program.output(TO_THE_END).unwrap();
    assert_failed(&output, "neither it nor any line after it was sent");
}

#[test]
fn each_lost_line_is_named_in_a_bounded_report() {
    let cluster = cluster(1, 1);
    let servers = cluster.bootstrap_servers();
    let mut arguments = to_topic(&servers).to_vec();
    arguments.extend(["--producer-property", "max.request.size=500"]);
    let too_large = "x".repeat(500) + "\n";
    let input =
        too_large.repeat(1000) + "fits\n" + &too_large.repeat(1000) + "fits, without an end";
    let output = run("console_producer", &arguments, input.as_bytes());
    assert_failed(&output, "lines 101-1000, 1002-2001\n");
    let errors = text(&output.stderr);
    assert!(errors.contains("line 100: "), "{errors}");
    assert!(errors.lines().count() < 200, "{errors}");
    let delivered: Vec<_> = lines(&cluster).collect();
    assert_eq!(delivered, ["fits", "fits, without an end"]);
}

#[test]
fn console_producer_keeps_bytes_as_they_are() {
    let cluster = cluster(1, 1);
    let servers = cluster.bootstrap_servers();
    let input = b"nul \0 and \xff\xfe\n\r\nend \r";
    succeed("console_producer", &to_topic(&servers), input);
    let values = cluster.records("t", 0).into_iter();
    let values: Vec<_> = values.map(|record| record.value.unwrap()).collect();
    assert_eq!(values, [&b"nul \0 and \xff\xfe"[..], b"", b"end \r"]);
}

#[test]
fn verifiable_producer_prints_the_fate_of_each_record_after_a_signal() {
    let cluster = cluster(1, 1);
    let program = start(
        "verifiable_producer",
        &to_topic(&cluster.bootstrap_servers()),
    );
    wait_for_a_record(&cluster);
    program.signal(Signal::Terminate);
    let output = program.output(TO_THE_END).unwrap();
    assert_eq!(output.status.code(), Some(143), "{}", text(&output.stderr));
    let printed = text(&output.stdout);
    let count = printed.matches("producer_send_success").count() as u64;
    assert_eq!(cluster.end_offset("t", 0), Some(count as i64));
    let last: Value = serde_json::from_str(printed.lines().last().unwrap()).unwrap();
    assert_eq!(
        (&last["sent"], &last["acked"]),
        (&count.into(), &count.into())
    );
}

#[test]
fn producer_performance_prints_its_totals_after_a_signal() {
    let cluster = cluster(1, 1);
    let servers = cluster.bootstrap_servers();
    let mut arguments = to_topic(&servers).to_vec();
    arguments.extend(["--num-records", "18446744073709551615"]);
    arguments.extend(["--record-size", "10", "--throughput", "1000"]);
    let program = start("producer_performance", &arguments);
    wait_for_a_record(&cluster);
    program.signal(Signal::Interrupt);
    let output = program.output(TO_THE_END).unwrap();
    assert_eq!(output.status.code(), Some(130), "{output:?}");
    let count = cluster.end_offset("t", 0).unwrap();
    let total = format!("{count} records sent, ");
    assert!(
        text(&output.stdout).starts_with(&total),
        "{total}: {output:?}"
    );
}

#[test]
fn quickstart_takes_the_settings_of_a_file() {
    let cluster = MockCluster::start(1).unwrap();
    cluster.create_topic("quickstart", 1);
    let servers = cluster.bootstrap_servers();
    let file = folder().join("quickstart.properties");
    fs::write(&file, "client.id=from-the-file\n").unwrap();
    let file = file.display().to_string();
    // The mock cluster has no Fetch, so nothing is read back.
    let arguments = ["--bootstrap-server", &servers, "--command-config", &file];
    run("quickstart", &arguments, b"");
    assert_eq!(cluster.end_offset("quickstart", 0), Some(10));
    let requests = cluster.requests();
    let mut produced = requests
        .iter()
        .filter(|request| request.api == MockApi::Produce);
    assert!(produced.all(|request| request.client_id.as_deref() == Some("from-the-file")));
    let arguments = [
        "--bootstrap-server",
        &servers,
        "--command-config",
        "/no/such",
    ];
    let output = assert_fails_orderly(program("quickstart", &arguments).stdin(Stdio::null()));
    assert_failed(&output, "/no/such");
}

/// These programs use the mock cluster with TLS and SASL.
#[cfg(all(feature = "mock-tls", feature = "sasl"))]
mod secure {
    use kafka_producer::mock::{MockSasl, MockTls};

    use super::*;

    /// A cluster, and a file with the settings that reach it, but for `bootstrap.servers`.
    fn secure_cluster(name: &str, topic: &str) -> (MockCluster, String) {
        let cluster = MockCluster::builder()
            .tls(MockTls::generated())
            .sasl(MockSasl::new().plain("alice", "alice-secret"))
            .start()
            .unwrap();
        cluster.create_topic(topic, 1);
        let authority = folder().join(format!("{name}.pem"));
        fs::write(&authority, cluster.ca_pem()).unwrap();
        let file = folder().join(format!("{name}.properties"));
        let settings = format!(
            "security.protocol=SASL_SSL\nssl.truststore.type=PEM\nssl.truststore.location={}\nsasl.mechanism=PLAIN\n\
             sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \\\n  username=\"alice\" \
             password=\"alice-secret\";\n",
            authority.display()
        );
        fs::write(&file, settings).unwrap();
        (cluster, file.display().to_string())
    }

    #[test]
    fn quickstart_delivers_with_tls_and_sasl() {
        let (cluster, file) = secure_cluster("quickstart-secure", "quickstart");
        let servers = cluster.bootstrap_servers();
        let arguments = ["--command-config", &file, "--bootstrap-server", &servers];
        let output = succeed("quickstart", &arguments, b"");
        let printed = text(&output.stdout);
        assert!(printed.contains("10 records delivered; "), "{printed}");
        assert_eq!(cluster.end_offset("quickstart", 0), Some(10));
    }

    #[test]
    fn secure_needs_no_broker_and_shows_a_refusal() {
        let output = succeed("secure", &[], b"");
        let printed = text(&output.stdout);
        assert!(printed.contains("delivered to secure-0@0"), "{printed}");
        assert!(
            printed.contains("the broker refused the password in SCRAM-SHA-512"),
            "{printed}"
        );
    }

    #[test]
    fn secure_delivers_to_the_cluster_of_a_file() {
        let (cluster, file) = secure_cluster("secure", "orders");
        let settings = fs::read_to_string(&file).unwrap();
        let servers = cluster.bootstrap_servers();
        fs::write(&file, format!("bootstrap.servers={servers}\n{settings}")).unwrap();
        let arguments = ["--command-config", &file, "--topic", "orders"];
        succeed("secure", &arguments, b"");
        assert_eq!(cluster.end_offset("orders", 0), Some(1));
        let mut command = program("secure", &["--topic"]);
        assert_fails_orderly(command.stdin(Stdio::null()));
        for stdout in [full_device(), pipe_without_reader()] {
            assert_fails_orderly(
                program("secure", &[""; 0])
                    .stdin(Stdio::null())
                    .stdout(stdout),
            );
        }
    }
}

#[test]
fn an_output_that_fails_is_reported_by_the_status() {
    let cluster = cluster(1, 1);
    let servers = cluster.bootstrap_servers();
    let topic = to_topic(&servers);
    let performance = [
        "--num-records",
        "10",
        "--record-size",
        "10",
        "--throughput",
        "-1",
    ];
    let cases: [(&str, Vec<&str>); 7] = [
        ("quickstart", vec![]),
        ("producer_performance", [&topic[..], &performance].concat()),
        ("verifiable_producer", topic.to_vec()),
        ("quickstart", vec!["--help"]),
        ("console_producer", vec!["--help"]),
        ("producer_performance", vec!["--help"]),
        ("verifiable_producer", vec!["--help"]),
    ];
    for (name, arguments) in &cases {
        for stdout in [full_device(), pipe_without_reader()] {
            let mut command = program(name, arguments);
            command.stdin(Stdio::null()).stdout(stdout);
            assert_fails_orderly(&mut command);
            command.stdout(full_device()).stderr(full_device());
            assert_fails_orderly(&mut command);
        }
    }
}

#[test]
fn a_full_standard_error_changes_no_status() {
    let cluster = cluster(1, 1);
    let servers = cluster.bootstrap_servers();
    let topic = to_topic(&servers);
    for name in &PROGRAMS[1..] {
        for arguments in [&[][..], &["--topic", "t", "--no-such-option"], &topic[2..]] {
            let mut command = program(name, arguments);
            command.stdin(Stdio::null()).stderr(full_device());
            assert_fails_orderly(&mut command);
        }
    }
    let mut command = program("console_producer", &topic);
    let input = folder().join("too-large");
    fs::write(&input, "x".repeat(2 << 20)).unwrap();
    command
        .stdin(File::open(input).unwrap())
        .stderr(full_device());
    assert_fails_orderly(&mut command);
}

#[test]
fn arguments_that_are_not_utf8_are_refused() {
    for name in PROGRAMS {
        let mut command = program(name, &[OsStr::from_bytes(b"--topic=\xff")]);
        assert_fails_orderly(command.stdin(Stdio::null()));
    }
}

#[test]
fn numbers_and_files_out_of_range_are_refused() {
    let empty = folder().join("empty");
    fs::write(&empty, "").unwrap();
    let empty = empty.display().to_string();
    let sizes = [
        "0",
        "-1",
        "2147483647",
        "9223372036854775807",
        "18446744073709551615",
    ];
    let cases = [
        ("--num-records", &["0", "-1", "18446744073709551616"][..]),
        ("--record-size", &sizes),
        ("--throughput", &["0", "NaN", "x"]),
        ("--reporting-interval", &["0", "-1"]),
        ("--warmup-records", &["2", "18446744073709551615"]),
        ("--payload-file", &["/no/such/file", "/", &empty]),
        ("--command-config", &["/no/such/file", "/", "/dev/zero"]),
    ];
    for (option, values) in cases {
        for value in values {
            let mut arguments = to_topic("127.0.0.1:1").to_vec();
            for (name, usual) in [("--num-records", "2"), ("--throughput", "-1")] {
                arguments.extend([name, usual].into_iter().filter(|_| name != option));
            }
            if !["--record-size", "--payload-file"].contains(&option) {
                arguments.extend(["--record-size", "10"]);
            }
            arguments.extend([option, value]);
            assert_fails_orderly(program("producer_performance", &arguments).stdin(Stdio::null()));
        }
    }
}

#[test]
fn the_largest_and_smallest_numbers_are_accepted() {
    let cluster = cluster(1, 1);
    let servers = cluster.bootstrap_servers();
    for served in [
        ["--message-create-time", "9223372036854775807"],
        ["--value-prefix", "-9223372036854775808"],
        ["--repeating-keys", "18446744073709551615"],
        ["--throughput", "9223372036854775807"],
    ] {
        let arguments = [&to_topic(&servers)[..], &["--max-messages", "3"], &served].concat();
        succeed("verifiable_producer", &arguments, b"");
    }
}

#[test]
fn an_input_that_cannot_be_read_is_reported_by_the_status() {
    let cluster = cluster(1, 1);
    let servers = cluster.bootstrap_servers();
    let mut command = program("console_producer", &to_topic(&servers));
    let output = assert_fails_orderly(command.stdin(File::open("/").unwrap()));
    assert_failed(&output, "line 1: ");
}

fn to_topic(servers: &str) -> [&str; 4] {
    ["--topic", "t", "--bootstrap-server", servers]
}

fn start(name: &str, arguments: &[&str]) -> Process {
    Process::spawn(&mut program(name, arguments)).unwrap()
}

#[track_caller]
fn wait_for_a_record(cluster: &MockCluster) {
    assert!(cluster.wait_until(PATIENCE, |cluster| cluster.end_offset("t", 0) > Some(0)));
}

/// The values in partition 0 of topic `t`.
fn lines(cluster: &MockCluster) -> impl Iterator<Item = String> {
    let records = cluster.records("t", 0).into_iter();
    records.map(|record| String::from_utf8(record.value.unwrap()).unwrap())
}

/// Checks that the program ended with status 1, without a panic.
#[track_caller]
fn assert_fails_orderly(command: &mut Command) -> Output {
    let process = Process::spawn(command).unwrap();
    let output = process.output(TO_THE_END).unwrap();
    let is_orderly = output.status.code() == Some(1) && !text(&output.stderr).contains("panicked");
    assert!(is_orderly, "{command:?}: {output:?}");
    output
}

#[track_caller]
fn assert_failed(output: &Output, reason: &str) {
    let errors = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains(reason), "no {reason:?} in: {errors}");
}

fn full_device() -> Stdio {
    OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap()
        .into()
}

fn pipe_without_reader() -> Stdio {
    let mut ended = Command::new("true").stdin(Stdio::piped()).spawn().unwrap();
    let pipe = ended.stdin.take().unwrap();
    ended.wait().unwrap();
    pipe.into()
}

/// A folder for files, which cargo makes.
fn folder() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}
