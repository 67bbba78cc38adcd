//! Reads batches, as a broker or a consumer does. It trusts nothing in the bytes: it checks every length, bounds the
//! decompressed size, and allocates nothing by a number that a peer claims.

use std::fmt;

use byteorder::{BigEndian, ByteOrder};

use super::compression::{CompressionError, decompress};
use super::header::{
    ATTRIBUTES, Attributes, BASE_OFFSET, BASE_SEQUENCE, BASE_TIMESTAMP, BATCH_HEADER_BYTES,
    BatchHeader, CRC, CRC_START, LAST_OFFSET_DELTA, LENGTH, LOG_OVERHEAD_BYTES, MAGIC, MAGIC_BYTE,
    MAX_TIMESTAMP, PARTITION_LEADER_EPOCH, PRODUCER_EPOCH, PRODUCER_ID, ProducerStamp,
    RECORDS_COUNT,
};
use super::records::{EncodedRecord, RecordIter};

/// Returns the batches in `bytes`, which follow each other. After an error it returns no more.
pub(crate) fn batches(bytes: &[u8]) -> Batches<'_> {
    Batches { rest: bytes }
}

#[derive(Clone, Debug)]
pub(crate) struct Batches<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Batches<'a> {
    type Item = Result<RecordBatch<'a>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let batch = RecordBatch::read(&mut self.rest);
        if batch.is_err() {
            self.rest = &[];
        }
        Some(batch)
    }
}

/// A batch whose header was read. Its CRC and records are read on demand.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RecordBatch<'a> {
    pub(crate) base_offset: i64,
    #[cfg(test)]
    pub(crate) partition_leader_epoch: i32,
    pub(crate) header: BatchHeader,
    /// The whole batch, with the header.
    pub(crate) bytes: &'a [u8],
}

impl<'a> RecordBatch<'a> {
    fn read(rest: &mut &'a [u8]) -> Result<Self, DecodeError> {
        if rest.len() < BATCH_HEADER_BYTES {
            return Err(DecodeError::Truncated);
        }
        let magic = rest[MAGIC_BYTE] as i8;
        if magic != MAGIC {
            return Err(DecodeError::UnsupportedMagic(magic));
        }
        let length = BigEndian::read_i32(&rest[LENGTH]);
        let size = usize::try_from(length)
            .ok()
            .and_then(|length| length.checked_add(LOG_OVERHEAD_BYTES));
        let size = size
            .filter(|size| *size >= BATCH_HEADER_BYTES)
            .ok_or(DecodeError::InvalidLength(length))?;
        let (bytes, after) = rest.split_at_checked(size).ok_or(DecodeError::Truncated)?;
        *rest = after;
        Ok(Self {
            base_offset: BigEndian::read_i64(&bytes[BASE_OFFSET]),
            #[cfg(test)]
            partition_leader_epoch: BigEndian::read_i32(&bytes[PARTITION_LEADER_EPOCH]),
            header: read_header(bytes),
            bytes,
        })
    }

    /// Checks that the bytes have not changed since they were sealed.
    pub(crate) fn check_crc(&self) -> Result<(), DecodeError> {
        let stored = BigEndian::read_u32(&self.bytes[CRC]);
        let computed = crc32c::crc32c(&self.bytes[CRC_START..]);
        if stored == computed {
            Ok(())
        } else {
            Err(DecodeError::CrcMismatch { stored, computed })
        }
    }

    /// Returns the records, decompressed to at most `max_output` bytes. Their number must match the header. Their offset
    /// deltas must be 0, 1, 2 and so on, up to the last one in the header. A broker accepts nothing else from a producer.
    pub(crate) fn records(&self, max_output: usize) -> Result<Vec<Record>, DecodeError> {
        let attributes = self.header.attributes;
        let codec = attributes
            .codec()
            .ok_or(DecodeError::UnknownCodec(attributes))?;
        let records = decompress(codec, &self.bytes[BATCH_HEADER_BYTES..], max_output)?;
        let mut decoded = Vec::new();
        for (index, record) in RecordIter::new(&records).enumerate() {
            let record = record.map_err(|_| DecodeError::InvalidRecord { index })?;
            if usize::try_from(record.offset_delta) != Ok(index) {
                return Err(DecodeError::InvalidRecord { index });
            }
            decoded.push(
                self.owned_record(&record)
                    .ok_or(DecodeError::InvalidRecord { index })?,
            );
        }
        let BatchHeader {
            records_count,
            last_offset_delta,
            ..
        } = self.header;
        if usize::try_from(records_count) != Ok(decoded.len())
            || last_offset_delta.checked_add(1) != Some(records_count)
        {
            return Err(DecodeError::CountMismatch {
                records_count,
                last_offset_delta,
                found: decoded.len(),
            });
        }
        Ok(decoded)
    }

    /// Returns `None` if the key of a header is not UTF-8.
    fn owned_record(&self, record: &EncodedRecord<'_>) -> Option<Record> {
        let timestamp = if self.header.attributes.is_log_append_time() {
            self.header.max_timestamp
        } else {
            self.header
                .base_timestamp
                .wrapping_add(record.timestamp_delta)
        };
        let headers = record.headers().map(|(key, value)| {
            let key = std::str::from_utf8(key).ok()?;
            Some((key.to_owned(), value.map(<[u8]>::to_vec)))
        });
        Some(Record {
            offset: self
                .base_offset
                .wrapping_add(i64::from(record.offset_delta)),
            timestamp,
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            headers: headers.collect::<Option<_>>()?,
        })
    }
}

/// A record, as a consumer gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) offset: i64,
    /// Milliseconds since 1970. It is the broker's time if the batch has `LogAppendTime`.
    pub(crate) timestamp: i64,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Vec<(String, Option<Vec<u8>>)>,
}

/// Sets the offset and the leader epoch of a batch, as a leader does when it stores it. The CRC does not cover these
/// fields.
///
/// Panics if `batch` is shorter than a header.
pub(crate) fn assign_offset(batch: &mut [u8], base_offset: i64, partition_leader_epoch: i32) {
    BigEndian::write_i64(&mut batch[BASE_OFFSET], base_offset);
    BigEndian::write_i32(&mut batch[PARTITION_LEADER_EPOCH], partition_leader_epoch);
}

/// Gives all records of a batch the broker's time, as for a topic with `message.timestamp.type=LogAppendTime`.
///
/// Panics if `batch` is shorter than a header.
pub(crate) fn set_log_append_time(batch: &mut [u8], timestamp: i64) {
    let attributes =
        Attributes::from_bits(BigEndian::read_i16(&batch[ATTRIBUTES])).log_append_time();
    BigEndian::write_i16(&mut batch[ATTRIBUTES], attributes.bits());
    BigEndian::write_i64(&mut batch[MAX_TIMESTAMP], timestamp);
    let crc = crc32c::crc32c(&batch[CRC_START..]);
    BigEndian::write_u32(&mut batch[CRC], crc);
}

/// Why bytes are not a batch, or not one that this crate can read.
#[derive(Debug)]
pub(crate) enum DecodeError {
    /// The bytes end within a batch.
    Truncated,
    /// A message format other than 2.
    UnsupportedMagic(i8),
    /// The length field is negative or below that of a header.
    InvalidLength(i32),
    /// The bytes were altered after sealing.
    CrcMismatch { stored: u32, computed: u32 },
    /// The attributes have the number of no known codec.
    UnknownCodec(Attributes),
    /// The records could not be decompressed within the bound.
    Compression(CompressionError),
    /// The record with this index is malformed, or has a wrong offset delta.
    InvalidRecord { index: usize },
    /// The number of records differs from that in the header.
    CountMismatch {
        records_count: i32,
        last_offset_delta: i32,
        found: usize,
    },
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => f.write_str("the bytes end within a batch"),
            Self::UnsupportedMagic(magic) => {
                write!(f, "message format {magic} is not supported, only 2 is")
            }
            Self::InvalidLength(length) => write!(f, "{length} is not the length of a batch"),
            Self::CrcMismatch { stored, computed } => {
                write!(
                    f,
                    "the batch's CRC is {stored:08x}, that of its bytes {computed:08x}"
                )
            }
            Self::UnknownCodec(attributes) => write!(
                f,
                "no codec has the number in attributes {:#06x}",
                attributes.bits()
            ),
            Self::Compression(error) => error.fmt(f),
            Self::InvalidRecord { index } => write!(f, "record {index} of the batch is not valid"),
            Self::CountMismatch {
                records_count,
                last_offset_delta,
                found,
            } => write!(
                f,
                "the batch has {found} records where its header says {records_count}, \
                 the last with offset delta {last_offset_delta}"
            ),
        }
    }
}

impl std::error::Error for DecodeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Compression(error) => Some(error),
            _ => None,
        }
    }
}

impl From<CompressionError> for DecodeError {
    fn from(error: CompressionError) -> Self {
        Self::Compression(error)
    }
}

fn read_header(bytes: &[u8]) -> BatchHeader {
    BatchHeader {
        attributes: Attributes::from_bits(BigEndian::read_i16(&bytes[ATTRIBUTES])),
        last_offset_delta: BigEndian::read_i32(&bytes[LAST_OFFSET_DELTA]),
        base_timestamp: BigEndian::read_i64(&bytes[BASE_TIMESTAMP]),
        max_timestamp: BigEndian::read_i64(&bytes[MAX_TIMESTAMP]),
        producer: ProducerStamp {
            producer_id: BigEndian::read_i64(&bytes[PRODUCER_ID]),
            producer_epoch: BigEndian::read_i16(&bytes[PRODUCER_EPOCH]),
            base_sequence: BigEndian::read_i32(&bytes[BASE_SEQUENCE]),
        },
        records_count: BigEndian::read_i32(&bytes[RECORDS_COUNT]),
    }
}

#[cfg(test)]
mod tests {
    use super::super::builder::BatchBuilder;
    use super::super::compression::{Compression, CompressionType, Compressor};
    use super::super::header::{restamp, seal};
    use super::*;
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;

    const STAMP: ProducerStamp = ProducerStamp {
        producer_id: 4711,
        producer_epoch: 3,
        base_sequence: 17,
    };
    const BOUND: usize = 10 << 20;

    fn record(offset: i64, timestamp: i64, key: &str, value: Option<&str>) -> Record {
        let (key, value) = (Some(key.into()), value.map(Into::into));
        Record {
            offset,
            timestamp,
            key,
            value,
            headers: vec![],
        }
    }

    fn built(records: &[Record]) -> BatchBuilder {
        let mut batch = BatchBuilder::new(Vec::new());
        for Record {
            timestamp,
            key,
            value,
            headers,
            ..
        } in records
        {
            let (key, value) = (key.as_deref(), value.as_deref());
            let headers: Vec<_> = headers
                .iter()
                .map(|(key, value)| (key.as_str(), value.as_deref()))
                .collect();
            batch.reserve_capacity(
                batch.len() + batch.record_size(*timestamp, key, value, &headers),
            );
            batch.append(*timestamp, key, value, &headers);
        }
        batch
    }

    fn sealed(records: &[Record], codec: CompressionType) -> Vec<u8> {
        let batch = built(records);
        let header = batch.header(Attributes::new(codec), STAMP);
        let compression = Compression::with_default_level(codec);
        let mut bytes = Compressor::default()
            .compress_batch(compression, batch.records())
            .unwrap();
        seal(&mut bytes, &header);
        bytes
    }

    fn only_batch(bytes: &[u8]) -> Result<RecordBatch<'_>, DecodeError> {
        let mut batches = batches(bytes);
        let batch = batches.next().unwrap();
        assert!(batches.next().is_none());
        batch
    }

    /// Records with offsets from 0, as in a producer's batch.
    fn any_records() -> impl Strategy<Value = Vec<Record>> {
        let bytes = || option::of(vec(any::<u8>(), 0..300));
        let timestamp = prop_oneof![any::<i64>(), 1_700_000_000_000..1_700_000_100_000i64];
        let fields = (
            timestamp,
            bytes(),
            bytes(),
            vec(("[a-cé]{0,2}", bytes()), 0..5),
        );
        vec(fields, 1..30).prop_map(|records| {
            let record = |(offset, (timestamp, key, value, headers))| Record {
                offset: offset as i64,
                timestamp,
                key,
                value,
                headers,
            };
            records.into_iter().enumerate().map(record).collect()
        })
    }

    #[test]
    fn reads_batches_that_follow_each_other() {
        let mut first = sealed(
            &[record(0, 5, "a", None), record(0, 4, "b", Some("x"))],
            CompressionType::None,
        );
        let mut second = sealed(&[record(0, 9, "c", Some(""))], CompressionType::None);
        assign_offset(&mut first, 100, 7);
        assign_offset(&mut second, 102, 7);
        let log = [first, second].concat();
        let read: Vec<_> = batches(&log).map(Result::unwrap).collect();
        assert!(
            read.iter()
                .all(|batch| batch.check_crc().is_ok() && batch.partition_leader_epoch == 7)
        );
        assert_eq!(read[0].header.producer, STAMP);
        assert_eq!(
            (read[0].header.base_timestamp, read[0].header.max_timestamp),
            (5, 5)
        );
        assert_eq!(
            read[0].records(BOUND).unwrap(),
            [record(100, 5, "a", None), record(101, 4, "b", Some("x"))]
        );
        assert_eq!(
            read[1].records(BOUND).unwrap(),
            [record(102, 9, "c", Some(""))]
        );
    }

    #[test]
    fn the_brokers_time_replaces_that_of_every_record() {
        let mut bytes = sealed(
            &[record(0, 5, "a", None), record(1, 6, "b", None)],
            CompressionType::None,
        );
        set_log_append_time(&mut bytes, 1234);
        let batch = only_batch(&bytes).unwrap();
        batch.check_crc().unwrap();
        assert_eq!(
            batch.records(BOUND).unwrap(),
            [record(0, 1234, "a", None), record(1, 1234, "b", None)]
        );
    }

    #[test]
    fn a_changed_bit_anywhere_after_the_crc_is_found() {
        let bytes = sealed(&[record(0, 5, "key", Some("value"))], CompressionType::None);
        for bit in CRC.start * 8..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let checked = only_batch(&changed).unwrap().check_crc();
            assert!(
                matches!(checked, Err(DecodeError::CrcMismatch { .. })),
                "bit {bit}"
            );
        }
    }

    #[test]
    fn every_wrong_field_has_its_error() {
        let bytes = sealed(&[record(0, 5, "key", Some("value"))], CompressionType::None);
        let with = |at: usize, byte: u8| {
            let mut changed = bytes.clone();
            changed[at] = byte;
            changed
        };
        for cut in 1..bytes.len() {
            assert!(
                matches!(only_batch(&bytes[..cut]), Err(DecodeError::Truncated)),
                "cut to {cut}"
            );
        }
        assert!(matches!(
            only_batch(&with(MAGIC_BYTE, 1)),
            Err(DecodeError::UnsupportedMagic(1))
        ));
        assert!(matches!(
            only_batch(&with(LENGTH.start, 0x80)),
            Err(DecodeError::InvalidLength(_))
        ));
        assert!(matches!(
            only_batch(&with(LENGTH.end - 1, 48)),
            Err(DecodeError::InvalidLength(48))
        ));
        assert!(matches!(
            only_batch(&with(LENGTH.start, 0x7f)),
            Err(DecodeError::Truncated)
        ));
        let records = |changed: Vec<u8>| only_batch(&changed).unwrap().records(BOUND).unwrap_err();
        assert!(matches!(
            records(with(ATTRIBUTES.end - 1, 5)),
            DecodeError::UnknownCodec(_)
        ));
        assert!(matches!(
            records(with(RECORDS_COUNT.end - 1, 2)),
            DecodeError::CountMismatch { found: 1, .. }
        ));
        assert!(matches!(
            records(with(LAST_OFFSET_DELTA.end - 1, 1)),
            DecodeError::CountMismatch { .. }
        ));
        let offset_delta = BATCH_HEADER_BYTES + 3;
        assert!(matches!(
            records(with(offset_delta, 2)),
            DecodeError::InvalidRecord { index: 0 }
        ));
    }

    #[test]
    fn a_batch_that_would_decompress_beyond_the_bound_is_refused() {
        let value = "0".repeat(10 << 20);
        for codec in CompressionType::ALL
            .into_iter()
            .filter(|codec| codec.is_compiled_in())
        {
            let bytes = sealed(&[record(0, 0, "", Some(&value))], codec);
            let refused = only_batch(&bytes).unwrap().records(BOUND);
            assert!(
                matches!(
                    refused,
                    Err(DecodeError::Compression(CompressionError::TooLarge { .. }))
                ),
                "{codec}"
            );
        }
    }

    #[test]
    fn the_kafka_protocol_crate_reads_our_batches_and_we_read_its() {
        use kafka_protocol::records as theirs;
        let mut ours = vec![
            record(0, 50, "a", None),
            record(1, 40, "b", Some("x")),
            record(2, 60, "", Some("")),
        ];
        ours[1].headers = vec![
            ("h".into(), Some(b"v".to_vec())),
            ("null".into(), None),
            ("empty".into(), Some(vec![])),
        ];
        ours[2].key = None;

        let bytes = sealed(&ours, CompressionType::None);
        let set = theirs::RecordBatchDecoder::decode(&mut &bytes[..]).unwrap();
        assert_eq!(
            (set.version, set.compression),
            (2, theirs::Compression::None)
        );
        assert_eq!(set.records.len(), ours.len());
        for (index, (their, our)) in set.records.iter().zip(&ours).enumerate() {
            assert_eq!((their.offset, their.timestamp), (our.offset, our.timestamp));
            assert_eq!(
                (their.key.as_deref(), their.value.as_deref()),
                (our.key.as_deref(), our.value.as_deref())
            );
            assert_eq!(
                (their.producer_id, their.producer_epoch),
                (STAMP.producer_id, STAMP.producer_epoch)
            );
            assert_eq!(
                (their.sequence, their.transactional),
                (STAMP.base_sequence + index as i32, false)
            );
            let headers = their
                .headers
                .iter()
                .map(|(key, value)| (key.to_string(), value.as_ref().map(|v| v.to_vec())));
            assert_eq!(headers.collect::<Vec<_>>(), our.headers);
        }

        let mut encoded = Vec::new();
        let options = theirs::RecordEncodeOptions {
            version: 2,
            compression: theirs::Compression::None,
        };
        theirs::RecordBatchEncoder::encode(&mut encoded, &set.records, &options).unwrap();
        let batch = only_batch(&encoded).unwrap();
        batch.check_crc().unwrap();
        assert_eq!(batch.records(BOUND).unwrap(), ours);
        assert_eq!(
            (batch.header.producer, batch.header.max_timestamp),
            (STAMP, 60)
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn reads_back_what_was_sealed_in_every_codec(records in any_records()) {
            for codec in CompressionType::ALL.into_iter().filter(|codec| codec.is_compiled_in()) {
                let mut bytes = sealed(&records, codec);
                let batch = only_batch(&bytes).unwrap();
                batch.check_crc().unwrap();
                prop_assert_eq!(batch.header.attributes.codec(), Some(codec));
                prop_assert_eq!(batch.header.max_timestamp, records.iter().map(|r| r.timestamp).max().unwrap());
                prop_assert_eq!(&batch.records(BOUND).unwrap(), &records);

                let bumped = ProducerStamp { producer_id: 4711, producer_epoch: 4, base_sequence: 0 };
                restamp(&mut bytes, bumped);
                let batch = only_batch(&bytes).unwrap();
                batch.check_crc().unwrap();
                prop_assert_eq!(batch.header.producer, bumped);
                prop_assert_eq!(&batch.records(BOUND).unwrap(), &records);
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            for batch in batches(&bytes).flatten() {
                let _ = (batch.check_crc(), batch.records(1 << 16));
            }
        }

        #[test]
        fn a_batch_with_some_bytes_replaced_never_panics(
            records in any_records(),
            codec in 0..5i16,
            changes in vec((any::<proptest::sample::Index>(), any::<u8>()), 1..8),
        ) {
            let codec = CompressionType::from_code(codec).filter(|codec| codec.is_compiled_in());
            let mut bytes = sealed(&records, codec.unwrap_or_default());
            for (index, byte) in changes {
                let at = index.index(bytes.len());
                bytes[at] = byte;
            }
            for batch in batches(&bytes).flatten() {
                let _ = (batch.check_crc(), batch.records(1 << 16));
            }
        }
    }
}
