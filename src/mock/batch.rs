//! The checks of a broker before it accepts a batch.

use std::borrow::Cow;
use std::sync::Arc;

use super::cluster::Options;
use super::log::MAX_DECOMPRESSED_BYTES;
use crate::ErrorCode;
use crate::record::compression::{CompressionError, CompressionType, decompress};
use crate::record::decode::{self, DecodeError, RecordBatch};
use crate::record::header::{BATCH_HEADER_BYTES, BatchHeader};
use crate::record::records::{EncodedRecord, RecordIter};

/// A batch that may be appended.
pub(super) struct CheckedBatch {
    pub(super) header: BatchHeader,
    /// A copy of the bytes that is not shared yet; `None` if batches are not retained.
    pub(super) retained: Option<Arc<[u8]>>,
}

/// Why a batch is refused.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) error: ErrorCode,
    pub(super) message: String,
}

impl Refusal {
    fn new(error: ErrorCode, message: impl ToString) -> Self {
        Self {
            error,
            message: message.to_string(),
        }
    }
}

/// Checks the bytes for one partition in a Produce request of `version`: exactly one batch, a header without
/// contradictions and, if `options` say so, the records that the header announces.
pub(super) fn check(
    bytes: &[u8],
    version: i16,
    max_message_bytes: usize,
    options: &Options,
) -> Result<CheckedBatch, Refusal> {
    if bytes.len() > max_message_bytes {
        let message = format!(
            "the batch has {} bytes, {max_message_bytes} are allowed",
            bytes.len(),
        );
        return Err(Refusal::new(ErrorCode::MESSAGE_TOO_LARGE, message));
    }
    let mut batches = decode::batches(bytes);
    let batch = match batches.next() {
        Some(Ok(batch)) => batch,
        Some(Err(error @ DecodeError::UnsupportedMagic(_))) => {
            return Err(Refusal::new(ErrorCode::INVALID_RECORD, error));
        }
        Some(Err(error)) => return Err(Refusal::new(ErrorCode::CORRUPT_MESSAGE, error)),
        None => return Err(Refusal::new(ErrorCode::INVALID_RECORD, "there is no batch")),
    };
    if batches.next().is_some() {
        return Err(Refusal::new(
            ErrorCode::INVALID_RECORD,
            "there is more than one batch",
        ));
    }
    let codec = check_header(&batch.header, version)?;
    if options.check_batches {
        check_contents(&batch, codec)?;
    }
    let retained = options.retain_records.then(|| Arc::from(bytes));
    Ok(CheckedBatch {
        header: batch.header,
        retained,
    })
}

fn check_header(header: &BatchHeader, version: i16) -> Result<CompressionType, Refusal> {
    let invalid = |message: &str| Err(Refusal::new(ErrorCode::INVALID_RECORD, message));
    let Some(codec) = header.attributes.codec() else {
        return Err(Refusal::new(
            ErrorCode::CORRUPT_MESSAGE,
            "the attributes name no codec",
        ));
    };
    if codec == CompressionType::Zstd && version < FIRST_VERSION_WITH_ZSTD {
        let message = format!("zstd needs Produce version {FIRST_VERSION_WITH_ZSTD}");
        return Err(Refusal::new(
            ErrorCode::UNSUPPORTED_COMPRESSION_TYPE,
            message,
        ));
    }
    if header.attributes.is_control() {
        return invalid("only brokers write control batches");
    }
    if header.records_count < 1
        || header.last_offset_delta.checked_add(1) != Some(header.records_count)
    {
        return invalid("the header's record count and last offset contradict each other");
    }
    let producer = header.producer;
    if producer.producer_id >= 0 && (producer.base_sequence < 0 || producer.producer_epoch < 0) {
        return invalid("a producer id without a sequence number or epoch");
    }
    Ok(codec)
}

/// Reads the records without copying them: a default cluster spends most of its time here.
fn check_contents(batch: &RecordBatch<'_>, codec: CompressionType) -> Result<(), Refusal> {
    batch
        .check_crc()
        .map_err(|error| Refusal::new(ErrorCode::CORRUPT_MESSAGE, error))?;
    let bytes = &batch.bytes[BATCH_HEADER_BYTES..];
    let records = match codec {
        CompressionType::None => Cow::Borrowed(bytes),
        _ => Cow::Owned(
            decompress(codec, bytes, MAX_DECOMPRESSED_BYTES).map_err(refuse_compression)?,
        ),
    };
    let mut count = 0;
    for record in RecordIter::new(&records) {
        let is_in_place = record
            .is_ok_and(|record| record.offset_delta == count && has_readable_headers(&record));
        if !is_in_place {
            return Err(Refusal::new(
                ErrorCode::INVALID_RECORD,
                format!("record {count} of the batch is not valid"),
            ));
        }
        count += 1;
    }
    if count != batch.header.records_count {
        let message = format!(
            "the batch has {count} records, but its header says {}",
            batch.header.records_count
        );
        return Err(Refusal::new(ErrorCode::INVALID_RECORD, message));
    }
    Ok(())
}

fn has_readable_headers(record: &EncodedRecord<'_>) -> bool {
    record
        .headers()
        .all(|(key, _)| std::str::from_utf8(key).is_ok())
}

fn refuse_compression(error: CompressionError) -> Refusal {
    let code = match error {
        CompressionError::NotCompiledIn(_) => ErrorCode::UNSUPPORTED_COMPRESSION_TYPE,
        _ => ErrorCode::CORRUPT_MESSAGE,
    };
    Refusal::new(code, error)
}

/// KIP-110.
const FIRST_VERSION_WITH_ZSTD: i16 = 7;
