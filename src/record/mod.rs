//! Record batches, format v2: building, sealing, compressing, splitting, and (for tests and the mock) reading.

pub(crate) mod builder;
pub(crate) mod compression;
pub(crate) mod header;
pub(crate) mod varint;
