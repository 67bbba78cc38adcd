//! The producer on the embedded mock cluster: every promise that needs a broker but not a real one.
//!
//! Run with `cargo test --features mock --test it`. No test sleeps to wait for something: each waits for a condition
//! with a deadline far above what it takes, and delays are made by the cluster's hooks.

mod callbacks;
mod connections;
mod errors;
mod isolation;
mod leaders;
mod memory;
mod ordering;
#[cfg(target_os = "linux")]
mod outage;
mod partitioning;
mod sending;
mod shutdown;
mod splitting;
mod support;
#[cfg(target_os = "linux")]
mod threads;
mod timeouts;
mod versions;
