//! What the tests share: real Kafka clusters and the runner for the tests that need them.

// Each test binary uses its own part of these.
#![allow(dead_code, unused_imports)]

pub(crate) mod kafka;
pub(crate) mod suite;
