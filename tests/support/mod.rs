//! What the tests share: real Kafka clusters, the runner for the tests that need them, and the example programs.

// Each test binary uses its own part of these.
#![allow(dead_code, unused_imports)]

pub(crate) mod kafka;
pub(crate) mod logger;
pub(crate) mod process;
pub(crate) mod programs;
pub(crate) mod security;
pub(crate) mod suite;
