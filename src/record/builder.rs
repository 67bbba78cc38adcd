//! Builds a batch: encodes records in their wire form into one buffer, behind free space for the header.

use super::header::{Attributes, BATCH_HEADER_BYTES, BatchHeader, ProducerStamp};
use super::varint::{
    SMALL, size_of_length, size_of_varint, size_of_varlong, small_varint, write_length,
    write_varint, write_varlong, zigzag,
};

/// A record header, for the encoder. The value may be null, the key must not.
pub(crate) trait RecordHeader {
    /// The header's key; keys may repeat within a record.
    fn key(&self) -> &str;
    /// The header's value.
    fn value(&self) -> Option<&[u8]>;
}

impl RecordHeader for (&str, Option<&[u8]>) {
    fn key(&self) -> &str {
        self.0
    }
    fn value(&self) -> Option<&[u8]> {
        self.1
    }
}

/// Encodes records of one batch into one buffer whose first [`BATCH_HEADER_BYTES`] stay free for `header::seal`.
///
/// Memory is counted by capacity, so the buffer only grows in [`reserve_capacity`](Self::reserve_capacity). Before each
/// [`append`](Self::append) the caller makes sure that [`record_size`](Self::record_size) more bytes fit.
#[derive(Debug)]
pub(crate) struct BatchBuilder {
    /// Header space, then `count` encoded records.
    buffer: Vec<u8>,
    count: i32,
    /// The first record's timestamp; meaningless while `count` is 0.
    base_timestamp: i64,
    max_timestamp: i64,
}

impl BatchBuilder {
    /// Starts an empty batch in `buffer`. Its content is dropped. Its capacity is kept, or raised to the size of a header.
    pub(crate) fn new(mut buffer: Vec<u8>) -> Self {
        buffer.clear();
        buffer.reserve_exact(BATCH_HEADER_BYTES);
        buffer.extend_from_slice(&[0; BATCH_HEADER_BYTES]);
        Self {
            buffer,
            count: 0,
            base_timestamp: -1,
            max_timestamp: -1,
        }
    }

    /// Adds a record and returns its offset delta, which is also its index in the batch.
    ///
    /// The caller has made room: `capacity() - len() >= record_size(..)`. The caller also bounds the size (by
    /// `max.request.size`), far below the 2 GiB that the length of a record allows.
    #[inline]
    pub(crate) fn append<H: RecordHeader>(
        &mut self,
        timestamp_ms: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[H],
    ) -> i32 {
        self.append_with(timestamp_ms, key, value, &Headers(headers))
    }

    /// Does the same as [`append`](Self::append), with headers that are already encoded after their number.
    pub(crate) fn append_encoded_headers(
        &mut self,
        timestamp_ms: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[u8],
    ) -> i32 {
        self.append_with(timestamp_ms, key, value, &EncodedHeaders(headers))
    }

    /// Returns the number of bytes that [`append`](Self::append) would add now. It depends on the number of earlier records
    /// and on the timestamp of the first one.
    #[inline]
    pub(crate) fn record_size<H: RecordHeader>(
        &self,
        timestamp_ms: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[H],
    ) -> usize {
        encoded_size(
            self.timestamp_delta(timestamp_ms),
            self.count,
            key,
            value,
            Headers(headers).size(),
        )
    }

    /// Returns whether the record fits the capacity, and a batch of `limit` bytes with its header. This is cheaper than
    /// [`record_size`](Self::record_size): it computes the exact size only near the end.
    #[inline]
    pub(crate) fn fits<H: RecordHeader>(
        &self,
        limit: usize,
        timestamp_ms: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[H],
    ) -> bool {
        let room = limit.min(self.capacity()).saturating_sub(self.len());
        let longest_lengths = MAX_RECORD_OVERHEAD_BYTES + 2 * MAX_LENGTH_BYTES;
        let bytes =
            key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len) + Headers(headers).size();
        longest_lengths + bytes <= room
            || self.record_size(timestamp_ms, key, value, headers) <= room
    }

    /// Raises the capacity to `capacity` bytes, with the header. Does nothing if the capacity is already at least as large.
    pub(crate) fn reserve_capacity(&mut self, capacity: usize) {
        self.buffer
            .reserve_exact(capacity.saturating_sub(self.buffer.len()));
    }

    /// The number of bytes in use, with the header.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.buffer.len()
    }

    /// The number of bytes allocated, with the header.
    #[inline]
    pub(crate) fn capacity(&self) -> usize {
        self.buffer.capacity()
    }

    /// The number of records.
    #[inline]
    pub(crate) fn count(&self) -> i32 {
        self.count
    }

    /// Returns whether the batch has no record.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The first record's timestamp; -1 while empty.
    pub(crate) fn base_timestamp(&self) -> i64 {
        self.base_timestamp
    }

    /// The highest timestamp; -1 while empty.
    #[cfg(test)]
    pub(crate) fn max_timestamp(&self) -> i64 {
        self.max_timestamp
    }

    /// The encoded records, uncompressed, without the space for the header.
    pub(crate) fn records(&self) -> &[u8] {
        &self.buffer[BATCH_HEADER_BYTES..]
    }

    /// The header with which to seal the batch. `attributes` names the codec that compresses the records.
    pub(crate) fn header(&self, attributes: Attributes, producer: ProducerStamp) -> BatchHeader {
        BatchHeader {
            attributes,
            last_offset_delta: self.count - 1,
            base_timestamp: self.base_timestamp,
            max_timestamp: self.max_timestamp,
            producer,
            records_count: self.count,
        }
    }

    /// The whole buffer, with the space for the header, ready for `header::seal` if it is sent uncompressed.
    pub(crate) fn into_buffer(self) -> Vec<u8> {
        self.buffer
    }

    #[inline(always)]
    fn append_with<S: HeaderSource>(
        &mut self,
        timestamp_ms: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &S,
    ) -> i32 {
        if self.count == 0 {
            self.base_timestamp = timestamp_ms;
            self.max_timestamp = timestamp_ms;
        }
        let delta = timestamp_ms.wrapping_sub(self.base_timestamp);
        let offset_delta = self.count;
        if !(headers.is_empty()
            && write_small_record(&mut self.buffer, delta, offset_delta, key, value))
        {
            write_record(&mut self.buffer, delta, offset_delta, key, value, headers);
        }
        self.max_timestamp = self.max_timestamp.max(timestamp_ms);
        self.count = offset_delta + 1;
        offset_delta
    }

    #[inline]
    fn timestamp_delta(&self, timestamp_ms: i64) -> i64 {
        if self.count == 0 {
            0
        } else {
            timestamp_ms.wrapping_sub(self.base_timestamp)
        }
    }
}

/// An upper bound of the size of a batch with only this record: Java's `AbstractRecords.estimateSizeInBytesUpperBound`,
/// which is compared with `max.request.size` and `buffer.memory`.
pub(crate) fn upper_bound_size<H: RecordHeader>(
    key_length: Option<usize>,
    value_length: Option<usize>,
    headers: &[H],
) -> usize {
    let key = key_length.map_or(NULL_BYTES, |length| size_of_length(length) + length);
    let value = value_length.map_or(NULL_BYTES, |length| size_of_length(length) + length);
    BATCH_HEADER_BYTES + MAX_RECORD_OVERHEAD_BYTES + key + value + Headers(headers).size()
}

/// Returns a bound that is a little higher and faster to compute.
#[inline]
pub(crate) fn quick_upper_bound<H: RecordHeader>(
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    headers: &[H],
) -> usize {
    const FIXED: usize = BATCH_HEADER_BYTES + MAX_RECORD_OVERHEAD_BYTES + 2 * MAX_LENGTH_BYTES;
    let headers = match headers {
        [] => 1,
        headers => Headers(headers).size(),
    };
    FIXED + key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len) + headers
}

/// The largest number of bytes of length, attributes, timestamp delta and offset delta: 5 + 1 + 10 + 5.
const MAX_RECORD_OVERHEAD_BYTES: usize = 21;

/// The largest number of bytes of the length of a key or value.
const MAX_LENGTH_BYTES: usize = 5;

/// The varint of a null's length, -1.
const NULL_BYTES: usize = 1;

/// The headers of a record: structured or already encoded.
trait HeaderSource {
    /// The number of encoded bytes, with the number of headers.
    fn size(&self) -> usize;
    fn is_empty(&self) -> bool;
    fn write(&self, buffer: &mut Vec<u8>);
}

struct Headers<'a, H>(&'a [H]);

impl<H: RecordHeader> HeaderSource for Headers<'_, H> {
    #[inline]
    fn size(&self) -> usize {
        let mut size = size_of_length(self.0.len());
        for header in self.0 {
            size += size_of_length(header.key().len())
                + header.key().len()
                + size_of_bytes(header.value());
        }
        size
    }

    #[inline]
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    #[inline]
    fn write(&self, buffer: &mut Vec<u8>) {
        write_length(buffer, self.0.len());
        for header in self.0 {
            write_bytes(buffer, Some(header.key().as_bytes()));
            write_bytes(buffer, header.value());
        }
    }
}

struct EncodedHeaders<'a>(&'a [u8]);

impl HeaderSource for EncodedHeaders<'_> {
    fn size(&self) -> usize {
        self.0.len()
    }

    fn is_empty(&self) -> bool {
        self.0 == [0]
    }

    fn write(&self, buffer: &mut Vec<u8>) {
        buffer.extend_from_slice(self.0);
    }
}

#[inline]
pub(super) fn encoded_size(
    timestamp_delta: i64,
    offset_delta: i32,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    headers_size: usize,
) -> usize {
    let body = body_size(timestamp_delta, offset_delta, key, value, headers_size);
    size_of_length(body) + body
}

/// A record without its length field.
#[inline]
fn body_size(
    timestamp_delta: i64,
    offset_delta: i32,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    headers_size: usize,
) -> usize {
    let attributes = 1;
    attributes
        + size_of_varlong(timestamp_delta)
        + size_of_varint(offset_delta)
        + size_of_bytes(key)
        + size_of_bytes(value)
        + headers_size
}

#[inline]
fn size_of_bytes(bytes: Option<&[u8]>) -> usize {
    bytes.map_or(NULL_BYTES, |bytes| {
        size_of_length(bytes.len()) + bytes.len()
    })
}

/// Encodes the usual record: without headers and below 8 KiB. So every number takes one or two bytes, and the up to eight
/// bytes before the key (or with the length of a null key) are written in one store. A word is written as a whole and then
/// truncated, so the buffer needs room for eight bytes more. Returns false and does nothing for any other record, and if
/// the buffer has no such room.
#[inline(always)]
fn write_small_record(
    buffer: &mut Vec<u8>,
    timestamp_delta: i64,
    offset_delta: i32,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
) -> bool {
    let timestamp = zigzag(timestamp_delta);
    let offset = zigzag(i64::from(offset_delta));
    let (timestamp_word, timestamp_bytes) = small_varint(timestamp);
    let (offset_word, offset_bytes) = small_varint(offset);
    let (key_word, key_bytes) = small_length(key);
    let (value_word, value_bytes) = small_length(value);
    let body = 1
        + timestamp_bytes
        + offset_bytes
        + key_bytes
        + key.map_or(0, <[u8]>::len)
        + value_bytes
        + value.map_or(0, <[u8]>::len)
        + 1;
    let (length_word, length_bytes) = small_varint(zigzag(body as i64));
    let small = (timestamp | offset | zigzag(body as i64)) < SMALL;
    let room = buffer.capacity() - buffer.len() >= length_bytes + body + size_of::<u64>();
    if !(small && room) {
        return false;
    }

    let timestamp_at = length_bytes + 1;
    let offset_at = timestamp_at + timestamp_bytes;
    let key_at = offset_at + offset_bytes;
    let word = length_word | timestamp_word << (8 * timestamp_at) | offset_word << (8 * offset_at);
    match key {
        None => put_word(buffer, word | key_word << (8 * key_at), key_at + key_bytes),
        Some(key) => {
            put_word(buffer, word, key_at);
            put_word(buffer, key_word, key_bytes);
            buffer.extend_from_slice(key);
        }
    }
    put_word(buffer, value_word, value_bytes);
    buffer.extend_from_slice(value.unwrap_or_default());
    buffer.push(0);
    true
}

/// Returns the length of `bytes`, encoded by `small_varint`. The result is meaningless from 8 KiB on.
#[inline(always)]
fn small_length(bytes: Option<&[u8]>) -> (u64, usize) {
    small_varint(bytes.map_or(1, |bytes| zigzag(bytes.len() as i64)))
}

/// Appends the low `bytes` bytes of `word`.
#[inline(always)]
fn put_word(buffer: &mut Vec<u8>, word: u64, bytes: usize) {
    let end = buffer.len() + bytes;
    buffer.extend_from_slice(&word.to_le_bytes());
    buffer.truncate(end);
}

/// Encodes any record.
fn write_record<S: HeaderSource>(
    buffer: &mut Vec<u8>,
    timestamp_delta: i64,
    offset_delta: i32,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    headers: &S,
) {
    let body = body_size(timestamp_delta, offset_delta, key, value, headers.size());
    debug_assert!(
        buffer.capacity() - buffer.len() >= size_of_length(body) + body,
        "the caller makes room before it appends"
    );
    write_length(buffer, body);
    buffer.push(RECORD_ATTRIBUTES);
    write_varlong(buffer, timestamp_delta);
    write_varint(buffer, offset_delta);
    write_bytes(buffer, key);
    write_bytes(buffer, value);
    headers.write(buffer);
}

/// The format defines no attributes of a record.
const RECORD_ATTRIBUTES: u8 = 0;

#[inline]
fn write_bytes(buffer: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        None => write_varint(buffer, -1),
        Some(bytes) => {
            write_length(buffer, bytes.len());
            buffer.extend_from_slice(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;

    type Header<'a> = (&'a str, Option<&'a [u8]>);
    const NO_HEADERS: &[Header<'static>] = &[];

    fn builder(capacity: usize) -> BatchBuilder {
        BatchBuilder::new(Vec::with_capacity(capacity))
    }

    #[test]
    fn encodes_records_byte_for_byte_as_in_the_format() {
        let mut batch = builder(256);
        assert_eq!(
            batch.append(1_000, Some(b"k"), Some(b"hello"), NO_HEADERS),
            0
        );
        assert_eq!(
            batch.append(
                1_070,
                None,
                None,
                &[("h", Some(&b"v"[..])), ("h", None), ("", Some(b""))]
            ),
            1
        );
        assert_eq!(batch.append(999, Some(b""), Some(b""), NO_HEADERS), 2);
        #[rustfmt::skip]
        let expected = [
            // length 12, attributes, timestamp +0, offset +0, key "k", value "hello", no headers
            24, 0, 0, 0, 2, b'k', 10, b'h', b'e', b'l', b'l', b'o', 0,
            // length 16, attributes, timestamp +70, offset +1, null, null, headers h=v, h=null, ""=""
            32, 0, 0x8c, 0x01, 2, 1, 1, 6, 2, b'h', 2, b'v', 2, b'h', 1, 0, 0,
            // length 6, attributes, timestamp -1, offset +2, empty key, empty value, no headers
            12, 0, 1, 4, 0, 0, 0,
        ];
        assert_eq!(batch.records(), expected);
        assert_eq!(
            (batch.count(), batch.base_timestamp(), batch.max_timestamp()),
            (3, 1_000, 1_070)
        );
    }

    #[test]
    fn starts_empty_behind_the_header_space_and_keeps_the_given_capacity() {
        let batch = BatchBuilder::new(vec![9; 300]);
        assert!(batch.is_empty());
        assert_eq!(
            (batch.len(), batch.capacity(), batch.records()),
            (BATCH_HEADER_BYTES, 300, &[][..])
        );
        assert_eq!(builder(0).capacity(), BATCH_HEADER_BYTES);
    }

    #[test]
    fn grows_to_the_reserved_capacity_and_not_by_appending() {
        let mut batch = builder(100);
        batch.reserve_capacity(90);
        assert_eq!(batch.capacity(), 100);
        let value = [5; 500];
        let size = batch.record_size(0, None, Some(&value), NO_HEADERS);
        batch.reserve_capacity(batch.len() + size);
        let capacity = batch.capacity();
        batch.append(0, None, Some(&value), NO_HEADERS);
        assert_eq!((batch.len(), batch.capacity()), (capacity, capacity));
    }

    #[test]
    fn a_record_that_fills_the_buffer_to_the_last_byte_is_encoded_as_any_other() {
        let mut roomy = builder(4096);
        let mut tight = builder(0);
        for length in [0, 1, 3, 7, 8, 63, 64] {
            let value = vec![length as u8; length];
            tight.reserve_capacity(
                tight.len() + tight.record_size(7, None, Some(&value), NO_HEADERS),
            );
            let capacity = tight.capacity();
            tight.append(7, None, Some(&value), NO_HEADERS);
            assert_eq!(tight.capacity(), capacity);
            roomy.append(7, None, Some(&value), NO_HEADERS);
        }
        assert_eq!(tight.records(), roomy.records());
    }

    #[test]
    fn a_record_fits_up_to_the_last_byte_of_the_limit_and_of_the_capacity() {
        for length in [0, 1, 63, 64, 200] {
            let value = vec![1; length];
            let mut batch = builder(1000);
            batch.append(0, None, Some(b"first"), NO_HEADERS);
            let exact = batch.len() + batch.record_size(0, None, Some(&value), NO_HEADERS);
            let fits =
                |batch: &BatchBuilder, limit| batch.fits(limit, 0, None, Some(&value), NO_HEADERS);
            assert!(fits(&batch, exact) && fits(&batch, usize::MAX));
            assert!(!fits(&batch, exact - 1) && !fits(&batch, 0));
            let mut tight = builder(exact - 1);
            tight.append(0, None, Some(b"first"), NO_HEADERS);
            assert!(!fits(&tight, usize::MAX));
            tight.reserve_capacity(exact);
            assert!(fits(&tight, usize::MAX));
        }
    }

    #[test]
    fn the_upper_bound_is_that_of_java() {
        // A batch header, 21 bytes of record overhead, lengths and bytes, the number of headers.
        assert_eq!(
            upper_bound_size(None, None, NO_HEADERS),
            61 + 21 + 1 + 1 + 1
        );
        assert_eq!(
            upper_bound_size(Some(3), Some(100), NO_HEADERS),
            61 + 21 + 1 + 3 + 2 + 100 + 1
        );
        assert_eq!(
            upper_bound_size(None, Some(0), &[("k", Some(&b"v"[..])), ("n", None)]),
            61 + 21 + 1 + 1 + 1 + 4 + 3
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn adds_exactly_the_predicted_bytes_within_the_bound(
            records in vec(
                (any::<i64>(), option::of(vec(any::<u8>(), 0..200)), option::of(vec(any::<u8>(), 0..9_000)),
                 vec((".{0,12}", option::of(vec(any::<u8>(), 0..90))), 0..4)),
                1..8,
            ),
        ) {
            let mut batch = builder(0);
            for (index, (timestamp, key, value, headers)) in records.iter().enumerate() {
                let headers: Vec<Header<'_>> = headers.iter().map(|(k, v)| (k.as_str(), v.as_deref())).collect();
                let (key, value) = (key.as_deref(), value.as_deref());
                let (before, size) = (batch.len(), batch.record_size(*timestamp, key, value, &headers));
                batch.reserve_capacity(before + size);
                let capacity = batch.capacity();
                prop_assert_eq!(batch.append(*timestamp, key, value, &headers), index as i32);
                prop_assert_eq!(batch.len(), before + size);
                prop_assert_eq!(batch.capacity(), capacity);
                let bound = upper_bound_size(key.map(<[u8]>::len), value.map(<[u8]>::len), &headers);
                prop_assert!(BATCH_HEADER_BYTES + size <= bound);
            }
            prop_assert_eq!(batch.base_timestamp(), records[0].0);
            prop_assert_eq!(batch.max_timestamp(), records.iter().map(|record| record.0).max().unwrap());
        }
    }
}
