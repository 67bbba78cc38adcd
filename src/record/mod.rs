//! Record batches, format v2: how they are built, compressed, sealed, split, and (for tests and the mock) read.
//!
//! [`builder`] encodes records behind 61 free bytes. [`compression`] compresses the records, if the topic is set to it.
//! [`header`] writes the header into the free bytes: this seals the batch. A retry sends the same bytes.

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
