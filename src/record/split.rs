//! Splits a batch that a broker finds too large (MESSAGE_TOO_LARGE) into smaller ones.

use super::builder::{BatchBuilder, encoded_size};
use super::header::BATCH_HEADER_BYTES;
use super::records::{EncodedRecord, InvalidRecord, RecordIter};

/// One of the batches that [`split`] returns.
#[derive(Debug)]
pub(crate) struct Part {
    /// The index in the split batch of this part's first record.
    pub(crate) first: usize,
    /// Its records, at least one. The buffer has no unused capacity.
    pub(crate) batch: BatchBuilder,
}

/// Distributes `records`, in order, to as few batches as possible. Each batch has at most `max_batch_bytes`, uncompressed
/// and with its header. A record that is larger than this gets a batch of its own.
///
/// `records` are uncompressed and have no batch header. `base_timestamp` is that of the batch to split. Timestamps, keys,
/// values and headers do not change.
pub(crate) fn split(
    records: &[u8],
    base_timestamp: i64,
    max_batch_bytes: usize,
) -> Result<Vec<Part>, InvalidRecord> {
    let mut parts = Vec::new();
    let mut first = 0;
    let mut rest = RecordIter::new(records);
    loop {
        let extent = Extent::measure(rest.clone(), max_batch_bytes)?;
        if extent.count == 0 {
            return Ok(parts);
        }
        let mut batch = BatchBuilder::new(Vec::with_capacity(extent.bytes));
        for record in rest.by_ref().take(extent.count) {
            let EncodedRecord {
                timestamp_delta,
                key,
                value,
                encoded_headers,
                ..
            } = record?;
            batch.append_encoded_headers(
                base_timestamp.wrapping_add(timestamp_delta),
                key,
                value,
                encoded_headers,
            );
        }
        parts.push(Part { first, batch });
        first += extent.count;
    }
}

/// The number of the next records that go into one batch, and the size of that batch.
struct Extent {
    count: usize,
    bytes: usize,
}

impl Extent {
    fn measure(records: RecordIter<'_>, max_batch_bytes: usize) -> Result<Self, InvalidRecord> {
        let mut extent = Self {
            count: 0,
            bytes: BATCH_HEADER_BYTES,
        };
        let mut base_delta = 0;
        for record in records {
            let EncodedRecord {
                timestamp_delta,
                key,
                value,
                encoded_headers,
                ..
            } = record?;
            if extent.count == 0 {
                base_delta = timestamp_delta;
            }
            let delta = timestamp_delta.wrapping_sub(base_delta);
            let size = encoded_size(
                delta,
                extent.count as i32,
                key,
                value,
                encoded_headers.len(),
            );
            if extent.count > 0 && extent.bytes + size > max_batch_bytes {
                break;
            }
            extent.count += 1;
            extent.bytes += size;
        }
        Ok(extent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;

    type Header<'a> = (&'a str, Option<&'a [u8]>);

    fn batch_of(sizes: &[usize]) -> BatchBuilder {
        let mut batch = BatchBuilder::new(Vec::with_capacity(1 << 20));
        for (index, &size) in sizes.iter().enumerate() {
            batch.append::<Header<'_>>(
                1_000 + index as i64,
                None,
                Some(&vec![index as u8; size]),
                &[],
            );
        }
        batch
    }

    #[test]
    fn fills_each_part_up_to_the_limit_and_keeps_the_order() {
        let batch = batch_of(&[100; 10]);
        let parts = split(batch.records(), 1_000, 61 + 3 * 109).unwrap();
        let counts: Vec<_> = parts
            .iter()
            .map(|part| (part.first, part.batch.count()))
            .collect();
        assert_eq!(counts, [(0, 3), (3, 3), (6, 3), (9, 1)]);
        assert_eq!(parts[1].batch.base_timestamp(), 1_003);
        assert!(
            parts
                .iter()
                .all(|part| part.batch.len() == part.batch.capacity())
        );
    }

    #[test]
    fn a_record_above_the_limit_gets_a_batch_of_its_own() {
        let batch = batch_of(&[10, 5000, 10, 10]);
        let parts = split(batch.records(), 1_000, 200).unwrap();
        let counts: Vec<_> = parts
            .iter()
            .map(|part| (part.first, part.batch.count()))
            .collect();
        assert_eq!(counts, [(0, 1), (1, 1), (2, 2)]);
        assert_eq!(split(batch.records(), 1_000, 0).unwrap().len(), 4);
    }

    #[test]
    fn a_limit_that_holds_all_makes_one_part_that_is_the_batch() {
        let batch = batch_of(&[10, 20, 30]);
        let parts = split(batch.records(), 1_000, usize::MAX).unwrap();
        assert_eq!(parts.len(), 1);
        assert_eq!(parts[0].batch.records(), batch.records());
        assert!(split(&[], 1_000, 100).unwrap().is_empty());
    }

    #[test]
    fn invalid_records_are_an_error() {
        assert!(split(&[0xff; 40], 0, 100).is_err());
        let batch = batch_of(&[10, 20]);
        assert!(split(&batch.records()[..20], 0, 61).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_parts_hold_the_same_records_in_the_same_order(
            records in vec((any::<i64>(), option::of(vec(any::<u8>(), 0..9)), option::of(vec(any::<u8>(), 0..150))), 1..40),
            limit in 0..2000usize,
        ) {
            let mut batch = BatchBuilder::new(Vec::with_capacity(1 << 16));
            for (timestamp, key, value) in &records {
                let headers: [Header<'_>; 2] = [("h", key.as_deref()), ("h", None)];
                batch.append(*timestamp, key.as_deref(), value.as_deref(), &headers);
            }
            let parts = split(batch.records(), batch.base_timestamp(), limit).unwrap();
            let mut expected = RecordIter::new(batch.records()).map(Result::unwrap);
            let mut index = 0;
            for part in &parts {
                prop_assert_eq!(part.first, index);
                prop_assert!(part.batch.count() == 1 || part.batch.len() <= limit);
                for record in RecordIter::new(part.batch.records()).map(Result::unwrap) {
                    let original = expected.next().unwrap();
                    let timestamp = part.batch.base_timestamp().wrapping_add(record.timestamp_delta);
                    prop_assert_eq!(timestamp, records[index].0);
                    prop_assert_eq!((record.key, record.value), (original.key, original.value));
                    prop_assert_eq!(record.encoded_headers, original.encoded_headers);
                    index += 1;
                }
            }
            prop_assert_eq!(index, records.len());
        }
    }
}
