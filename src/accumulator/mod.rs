//! Batches in memory.
pub(crate) mod memory;
