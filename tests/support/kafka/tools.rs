//! Runs Kafka's own tools.

use std::io::Write;
use std::path::Path;
use std::process::{Output, Stdio};
use std::thread;
use std::time::Duration;

use super::{Install, KafkaCluster, Process};

impl KafkaCluster {
    /// Runs one of Kafka's tools by its class, with `input` as its standard input. Panics if it fails.
    pub(crate) fn run_tool(&self, class: &str, arguments: &[&str], input: &[u8]) -> Output {
        let output =
            self.tools
                .run_with_input(&self.jvm_options(), class, arguments, &self.folder, input);
        let output = output.unwrap_or_else(|error| panic!("{error}"));
        assert!(output.status.success(), "{}", describe(class, &output));
        output
    }

    /// Runs a tool of the cluster's own version to its end.
    pub(super) fn run_own_tool(&self, class: &str, arguments: &[&str]) {
        let output = self.install.run(class, arguments, &self.folder);
        let output = output.unwrap_or_else(|error| panic!("{error}"));
        assert!(output.status.success(), "{}", describe(class, &output));
    }

    /// What the JVMs of brokers and tools need besides the usual options.
    pub(super) fn jvm_options(&self) -> Vec<String> {
        let security = self.security.as_ref();
        security.map_or(Vec::new(), |security| security.jvm_options())
    }

    /// A line for each of a topic's partitions, as TopicCommand describes them.
    pub(crate) fn describe_topic(&self, topic: &str) -> String {
        let arguments = [
            "--bootstrap-server",
            &self.bootstrap_servers(),
            "--describe",
            "--topic",
            topic,
        ];
        let output = self.run_tool("org.apache.kafka.tools.TopicCommand", &arguments, b"");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Install {
    /// Runs a class to its end.
    pub(crate) fn run(
        &self,
        class: &str,
        arguments: &[&str],
        folder: &Path,
    ) -> Result<Output, String> {
        self.run_with_input(&[], class, arguments, folder, b"")
    }

    fn run_with_input(
        &self,
        jvm_options: &[String],
        class: &str,
        arguments: &[&str],
        folder: &Path,
        input: &[u8],
    ) -> Result<Output, String> {
        let mut command = self.java_with(jvm_options, class, 512, folder);
        command
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let process =
            Process::spawn(&mut command).map_err(|error| format!("start {class}: {error}"))?;
        let mut stdin = process.take_stdin().expect("a piped stdin");
        thread::scope(|scope| {
            // The exit status of a tool shows a failure to read its input.
            scope.spawn(move || drop(stdin.write_all(input)));
            process
                .output(TOOL_TIMEOUT)
                .map_err(|error| format!("{class} {arguments:?}: {error}"))
        })
    }
}

/// A tool's failure, with its output.
pub(super) fn describe(what: &str, output: &Output) -> String {
    let text = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        let from = text.char_indices().rev().nth(4_000).map_or(0, |(at, _)| at);
        text[from..].to_owned()
    };
    format!(
        "{what}: {}\n{}\n{}",
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    )
}

/// For the largest read-back of any test; a tool that hangs fails its test.
const TOOL_TIMEOUT: Duration = Duration::from_secs(180);
