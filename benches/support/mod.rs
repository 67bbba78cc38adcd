//! What the benchmarks share.
#![allow(dead_code, reason = "each benchmark uses some of it")]

pub mod cpu;
#[cfg(feature = "unstable-internals")]
pub mod floor;
pub mod null_broker;
