//! Tests of the producer on the embedded mock cluster: all behaviour that needs a broker, but not a real one.
//!
//! Run with `cargo test --features mock --test it`. No test sleeps to wait for something: each waits for a condition
//! with a deadline far above what it takes, and the cluster's hooks make delays.

mod answers;
mod callbacks;
mod config_files;
mod connection_limits;
mod connections;
#[cfg(all(feature = "mock-tls", feature = "sasl"))]
mod cut_handshakes;
mod deadlines;
mod errors;
#[cfg(target_os = "linux")]
mod fixed_memory;
#[cfg(target_os = "linux")]
mod forks;
#[cfg(all(feature = "mock-tls", feature = "sasl"))]
mod handshakes;
mod hostile;
mod isolation;
mod leader_changes;
#[cfg(feature = "sasl")]
mod long_messages;
mod lost_answers;
mod memory;
mod metadata;
#[cfg(all(target_os = "linux", feature = "sasl-msk-iam"))]
mod msk_iam;
#[cfg(feature = "unstable-internals")]
mod names;
mod ordering;
mod origins;
#[cfg(target_os = "linux")]
mod outage;
mod own_threads;
mod partitioning;
#[cfg(target_os = "linux")]
mod programs;
// The outcomes are those of a build with all mechanisms.
#[cfg(all(
    feature = "mock-tls",
    feature = "sasl-gssapi",
    feature = "sasl-msk-iam"
))]
mod property_files;
#[cfg(all(
    feature = "mock-tls",
    feature = "sasl-gssapi",
    feature = "sasl-msk-iam"
))]
mod readme_files;
mod rebootstrap;
mod recreated_topics;
#[cfg(all(feature = "mock-tls", feature = "sasl"))]
mod refused_deliveries;
mod replaced;
// With all kinds of secrets.
#[cfg(all(
    feature = "mock-tls",
    feature = "sasl-msk-iam",
    feature = "tls-stores",
    target_os = "linux"
))]
mod secret_kinds;
#[cfg(all(feature = "mock-tls", feature = "sasl", target_os = "linux"))]
mod secrets;
#[cfg(all(feature = "mock-tls", feature = "sasl"))]
mod secure;
#[cfg(all(feature = "mock-tls", feature = "sasl"))]
mod secure_refusals;
mod security_origins;
mod send_all;
mod sending;
mod sequences;
/// Code that the tests against real Kafka use, too.
#[cfg(target_os = "linux")]
#[path = "../support"]
#[allow(dead_code)]
mod shared {
    pub(crate) mod process;
    pub(crate) mod programs;
}
mod shares;
mod shutdown;
mod splitting;
mod support;
#[cfg(target_os = "linux")]
mod threads;
mod timeouts;
#[cfg(all(feature = "mock-tls", target_os = "linux"))]
mod tls_peers;
#[cfg(feature = "sasl")]
mod tokens;
mod topic_errors;
mod topics;
mod versions;
#[cfg(target_os = "linux")]
mod wiped_memory;
#[cfg(feature = "unstable-internals")]
mod worker_panics;
