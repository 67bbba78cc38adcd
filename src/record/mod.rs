//! Record batches, format v2: building, compressing, sealing, splitting, and (for tests and the mock) reading.
//!
//! A batch's life: [`builder`] encodes records behind 61 free bytes, [`compression`] may replace the records by their
//! compressed form, [`header`] fills the free bytes and makes the batch final. What a retry sends is that batch.

pub(crate) mod batch_limit;
pub(crate) mod builder;
pub(crate) mod compression;
#[cfg(any(test, feature = "mock"))]
pub(crate) mod decode;
pub(crate) mod estimator;
pub(crate) mod header;
pub(crate) mod records;
pub(crate) mod split;
pub(crate) mod varint;
