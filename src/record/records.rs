//! Reads encoded, uncompressed records one by one, without copying.

use std::fmt;

use super::varint::{read_varint, read_varlong};

/// A record in its encoded form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EncodedRecord<'a> {
    /// Milliseconds after the batch's base timestamp; negative before it.
    pub(crate) timestamp_delta: i64,
    pub(crate) offset_delta: i32,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    /// The number of headers and the headers, encoded. [`EncodedRecord::headers`] reads them.
    pub(crate) encoded_headers: &'a [u8],
}

impl<'a> EncodedRecord<'a> {
    /// The keys and values of the headers. Keys are UTF-8, unless a peer wrote something else.
    pub(crate) fn headers(&self) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> + use<'a> {
        let mut rest = self.encoded_headers;
        // The iterator that created this record has read all of them once, so this does not stop early.
        let count = read_varint(&mut rest).unwrap_or(0);
        (0..count).map_while(move |_| read_header(&mut rest))
    }
}

/// The records of a batch, in order. After an error it returns no more.
#[derive(Clone, Debug)]
pub(crate) struct RecordIter<'a> {
    rest: &'a [u8],
}

impl<'a> RecordIter<'a> {
    pub(crate) fn new(records: &'a [u8]) -> Self {
        Self { rest: records }
    }
}

impl<'a> Iterator for RecordIter<'a> {
    type Item = Result<EncodedRecord<'a>, InvalidRecord>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let record = read_record(&mut self.rest).ok_or(InvalidRecord);
        if record.is_err() {
            self.rest = &[];
        }
        Some(record)
    }
}

/// A record is truncated, longer than its fields, or has an impossible length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InvalidRecord;

impl fmt::Display for InvalidRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the bytes of a record are not valid")
    }
}

impl std::error::Error for InvalidRecord {}

fn read_record<'a>(rest: &mut &'a [u8]) -> Option<EncodedRecord<'a>> {
    let length = usize::try_from(read_varint(rest)?).ok()?;
    let (mut body, after) = rest.split_at_checked(length)?;
    *rest = after;
    let (_attributes, fields) = body.split_first()?;
    body = fields;
    let timestamp_delta = read_varlong(&mut body)?;
    let offset_delta = read_varint(&mut body)?;
    let key = read_bytes(&mut body)?;
    let value = read_bytes(&mut body)?;
    let encoded_headers = body;
    for _ in 0..u32::try_from(read_varint(&mut body)?).ok()? {
        read_header(&mut body)?;
    }
    body.is_empty().then_some(EncodedRecord {
        timestamp_delta,
        offset_delta,
        key,
        value,
        encoded_headers,
    })
}

fn read_header<'a>(rest: &mut &'a [u8]) -> Option<(&'a [u8], Option<&'a [u8]>)> {
    let key = read_bytes(rest)??;
    Some((key, read_bytes(rest)?))
}

/// The outer `None` is an error, the inner one a null.
fn read_bytes<'a>(rest: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    let length = read_varint(rest)?;
    if length == -1 {
        return Some(None);
    }
    let (bytes, after) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    *rest = after;
    Some(Some(bytes))
}

#[cfg(test)]
mod tests {
    use super::super::builder::BatchBuilder;
    use super::*;
    use proptest::prelude::*;

    type Header<'a> = (&'a str, Option<&'a [u8]>);

    fn two_records() -> Vec<u8> {
        let mut batch = BatchBuilder::new(Vec::with_capacity(200));
        batch.append::<Header<'_>>(10, Some(b"k"), None, &[]);
        batch.append(5, None, Some(b"v"), &[("a", Some(&b"1"[..])), ("a", None)]);
        batch.records().to_vec()
    }

    #[test]
    fn yields_records_with_nulls_repeated_headers_and_a_negative_delta() {
        let bytes = two_records();
        let records: Vec<_> = RecordIter::new(&bytes).map(Result::unwrap).collect();
        assert_eq!(records.len(), 2);
        assert_eq!(
            (records[0].timestamp_delta, records[0].key, records[0].value),
            (0, Some(&b"k"[..]), None)
        );
        assert_eq!(records[0].headers().count(), 0);
        assert_eq!(
            (records[1].timestamp_delta, records[1].offset_delta),
            (-5, 1)
        );
        let headers: Vec<_> = records[1].headers().collect();
        assert_eq!(headers, [(&b"a"[..], Some(&b"1"[..])), (&b"a"[..], None)]);
    }

    #[test]
    fn a_cut_or_overlong_record_is_an_error_and_ends_the_iteration() {
        let bytes = two_records();
        let first_ends = 1 + usize::from(bytes[0] / 2);
        for cut in 1..bytes.len() {
            let results: Vec<_> = RecordIter::new(&bytes[..cut]).collect();
            assert_eq!(
                results.last().unwrap().is_err(),
                cut != first_ends,
                "cut to {cut}"
            );
        }
        let mut overlong = bytes[..first_ends].to_vec();
        overlong[0] += 2;
        overlong.extend_from_slice(&[0, 0]);
        assert_eq!(
            RecordIter::new(&overlong).collect::<Vec<_>>(),
            [Err(InvalidRecord)]
        );
    }

    #[test]
    fn a_claim_of_two_billion_headers_is_an_error() {
        let record = [20, 0, 0, 0, 1, 1, 0xfe, 0xff, 0xff, 0xff, 0x0f];
        assert_eq!(RecordIter::new(&record).next(), Some(Err(InvalidRecord)));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn arbitrary_bytes_neither_panic_nor_yield_more_than_they_hold(bytes: Vec<u8>) {
            let mut held = 0;
            for record in RecordIter::new(&bytes).flatten() {
                held += record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len) + 1;
                prop_assert!(record.headers().count() <= bytes.len());
            }
            prop_assert!(held <= bytes.len());
        }
    }
}
