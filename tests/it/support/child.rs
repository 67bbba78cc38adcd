//! Runs the second half of a test in a process of its own, where memory, threads and sockets belong to the producer.

use std::env;
use std::process::{Command, Stdio};

const ADDRESSES: &str = "KAFKA_PRODUCER_IT_CHILD";

/// In the child: the bootstrap servers that the parent has given.
pub(crate) fn addresses() -> Option<String> {
    env::var(ADDRESSES).ok()
}

/// Runs the test named `test`, with its module's path, again in a process of its own, and fails as it fails.
#[track_caller]
pub(crate) fn run(test: &str, addresses: &str) {
    run_with(test, addresses, &[]);
}

/// As [`run`], with environment variables for the child.
#[track_caller]
pub(crate) fn run_with(test: &str, addresses: &str, variables: &[(&str, &str)]) {
    print!("{}", output_of(test, addresses, variables));
}

/// As [`run_with`]. Returns what the child printed.
#[track_caller]
pub(crate) fn output_of(test: &str, addresses: &str, variables: &[(&str, &str)]) -> String {
    let output = Command::new(env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .envs(variables.iter().copied())
        .env(ADDRESSES, addresses)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let printed = [output.stdout, output.stderr].concat();
    let printed = String::from_utf8_lossy(&printed).into_owned();
    assert!(
        output.status.success(),
        "{test} in its own process:\n{printed}"
    );
    assert!(
        printed.contains("1 passed"),
        "there is no test {test}:\n{printed}"
    );
    printed
}
