//! What the benchmarks share.
#![allow(dead_code, reason = "each benchmark uses some of it")]

pub(crate) mod cpu;
#[cfg(feature = "unstable-internals")]
pub(crate) mod floor;
pub(crate) mod null_broker;
#[cfg(feature = "unstable-internals")]
pub(crate) mod waiting;
