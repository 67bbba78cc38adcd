//! Checks the wire types with Kafka's own schemas, the `kafka-protocol` crate, frames written by hand, and arbitrary
//! bytes.

mod conformance;
mod golden;
mod hostile;
mod primitives;
mod schema;
mod values;

use proptest::test_runner::Config;

/// Keeps no file of past failures: a failure prints its seed, which is the whole case.
fn config(cases: u32) -> Config {
    Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    }
}
