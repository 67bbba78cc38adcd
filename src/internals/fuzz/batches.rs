//! Targets for record batches and compressed bytes: how the mock cluster decodes them, and how a batch is split.

use super::Input;
use crate::CompressionType;
use crate::record::builder::BatchBuilder;
use crate::record::compression::{Compression, Compressor, decompress};
use crate::record::decode::{Record, batches};
use crate::record::header::{Attributes, BATCH_HEADER_BYTES, ProducerStamp, seal};
use crate::record::records::RecordIter;
use crate::record::split::split;

/// The limit for decompressed bytes.
const MAX_OUTPUT: usize = 1 << 20;

/// Input: the size limit for the parts of a batch, then batches one after the other. A wrong CRC is ignored: otherwise
/// almost all inputs would end there.
pub fn record_batch(data: &[u8]) {
    let mut input = Input(data);
    let most = 1 + input.below(256) * 16;
    for batch in batches(input.bytes(usize::MAX)).flatten() {
        let _ = batch.check_crc();
        if let Ok(records) = batch.records(MAX_OUTPUT) {
            survive_a_second_reading(&records);
        }
        let codec = batch.header.attributes.codec();
        let records = &batch.bytes[BATCH_HEADER_BYTES..];
        if let Some(Ok(records)) = codec.map(|codec| decompress(codec, records, MAX_OUTPUT)) {
            split_into_parts(&records, batch.header.base_timestamp, most);
        }
    }
}

fn survive_a_second_reading(records: &[Record]) {
    let [first, ..] = records else { return };
    let mut batch = BatchBuilder::new(Vec::new());
    for record in records {
        let (key, value) = (record.key.as_deref(), record.value.as_deref());
        let headers = record.headers.iter();
        let headers: Vec<_> = headers
            .map(|(key, value)| (key.as_str(), value.as_deref()))
            .collect();
        let size = batch.record_size(record.timestamp, key, value, &headers);
        batch.reserve_capacity(batch.len() + size);
        batch.append(record.timestamp, key, value, &headers);
    }
    let header = batch.header(Attributes::new(CompressionType::None), ProducerStamp::NONE);
    let mut bytes = batch.into_buffer();
    seal(&mut bytes, &header);
    let mut read = batches(&bytes);
    let batch = read
        .next()
        .expect("a batch")
        .expect("of this crate's making");
    assert!(read.next().is_none() && batch.check_crc().is_ok());
    let again = batch.records(usize::MAX).expect("records");
    let moved = again.into_iter().map(|record| Record {
        offset: record.offset.wrapping_add(first.offset),
        ..record
    });
    assert!(moved.eq(records.iter().cloned()));
}

/// Checks that the parts of a batch contain all its records, in order.
fn split_into_parts(records: &[u8], base_timestamp: i64, most: usize) {
    let Ok(parts) = split(records, base_timestamp, most) else {
        return;
    };
    let mut whole = RecordIter::new(records).map(|record| record.expect("split has read it"));
    for part in &parts {
        assert!(part.batch.count() == 1 || part.batch.len() <= most);
        let base = part.batch.base_timestamp();
        for record in RecordIter::new(part.batch.records()) {
            let record = record.expect("of this crate's making");
            let original = whole.next().expect("no record is made up");
            assert_eq!((record.key, record.value), (original.key, original.value));
            assert_eq!(record.encoded_headers, original.encoded_headers);
            assert_eq!(
                base.wrapping_add(record.timestamp_delta),
                base_timestamp.wrapping_add(original.timestamp_delta)
            );
        }
    }
    assert!(whole.next().is_none(), "no record is lost");
}

/// Input: a codec, then bytes for it to decompress.
pub fn compressed(data: &[u8]) {
    let mut input = Input(data);
    let codec = CompressionType::ALL[input.below(CompressionType::ALL.len())];
    let Ok(output) = decompress(codec, input.bytes(usize::MAX), MAX_OUTPUT) else {
        return;
    };
    assert!(output.len() <= MAX_OUTPUT);
    let batch = Compressor::default()
        .compress_batch(Compression::with_default_level(codec), &output)
        .expect("any bytes can be compressed");
    let again = decompress(codec, &batch[BATCH_HEADER_BYTES..], output.len());
    assert!(again.is_ok_and(|again| again == output));
}

/// Returns a batch with each codec: its builder, and room for the header followed by the compressed records.
fn compressed_batches() -> impl Iterator<Item = (CompressionType, BatchBuilder, Vec<u8>)> {
    CompressionType::ALL.into_iter().filter_map(|codec| {
        let mut batch = BatchBuilder::new(Vec::with_capacity(4096));
        let headers = [("h", Some(&b"1"[..])), ("h", None)];
        batch.append(1_000, Some(b"key"), Some(b"value value value"), &headers);
        batch.append(999, None, Some(b"value value value"), &headers[..1]);
        batch.append(2_000, Some(b""), None, &headers[..0]);
        let compression = Compression::with_default_level(codec);
        let bytes = Compressor::default().compress_batch(compression, batch.records());
        Some((codec, batch, bytes.ok()?))
    })
}

pub(super) fn record_batch_seeds() -> Vec<Vec<u8>> {
    let sealed = compressed_batches().map(|(codec, batch, mut bytes)| {
        let stamp = ProducerStamp {
            producer_id: 77,
            producer_epoch: 1,
            base_sequence: 5,
        };
        seal(&mut bytes, &batch.header(Attributes::new(codec), stamp));
        bytes
    });
    let sealed: Vec<_> = sealed.collect();
    let one = sealed.iter().map(|batch| [&[6], &batch[..]].concat());
    let all = [&[6], &sealed.concat()[..]].concat();
    one.chain([all]).collect()
}

pub(super) fn compressed_seeds() -> Vec<Vec<u8>> {
    let seed = |(codec, _, bytes): (CompressionType, BatchBuilder, Vec<u8>)| {
        [&[codec.code() as u8], &bytes[BATCH_HEADER_BYTES..]].concat()
    };
    compressed_batches().map(seed).collect()
}
