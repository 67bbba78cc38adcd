//! The wire types against Kafka's own schemas, against the `kafka-protocol` crate, against frames written by hand, and
//! against arbitrary bytes.

mod conformance;
mod golden;
mod hostile;
mod primitives;
mod schema;
mod values;

use proptest::test_runner::Config;

/// No file of past failures: a failing seed is printed, and the seed is the whole case.
fn config(cases: u32) -> Config {
    Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    }
}
