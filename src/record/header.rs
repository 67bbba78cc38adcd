//! The 61 bytes before a batch's records: the positions of the fields, how a batch is sealed, and how a sealed batch gets
//! another producer stamp.

use std::ops::Range;

use byteorder::{BigEndian, ByteOrder};

use super::compression::CompressionType;

/// The number of bytes of a batch before its first record.
pub(crate) const BATCH_HEADER_BYTES: usize = 61;

/// The number of bytes of base offset and length, which the value of the length does not include.
pub(crate) const LOG_OVERHEAD_BYTES: usize = 12;

/// The message format that this crate writes and reads.
pub(crate) const MAGIC: i8 = 2;

/// The partition leader epoch before a broker has stored the batch.
pub(crate) const NO_PARTITION_LEADER_EPOCH: i32 = -1;

/// The fields of a batch header that are not derived from the bytes of the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BatchHeader {
    pub(crate) attributes: Attributes,
    pub(crate) last_offset_delta: i32,
    pub(crate) base_timestamp: i64,
    pub(crate) max_timestamp: i64,
    pub(crate) producer: ProducerStamp,
    pub(crate) records_count: i32,
}

/// The producer of a batch, and the sequence number of its first record (KIP-98).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProducerStamp {
    pub(crate) producer_id: i64,
    pub(crate) producer_epoch: i16,
    pub(crate) base_sequence: i32,
}

impl ProducerStamp {
    /// The stamp of a producer without idempotence.
    pub(crate) const NONE: Self = Self {
        producer_id: -1,
        producer_epoch: -1,
        base_sequence: -1,
    };
}

/// The attribute bits of a batch: codec, timestamp type, control.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Attributes(i16);

const CODEC_BITS: i16 = 0x07;
const LOG_APPEND_TIME_BIT: i16 = 0x08;
const CONTROL_BIT: i16 = 0x20;

impl Attributes {
    /// A batch of `codec` with creation timestamps, outside of any transaction.
    pub(crate) fn new(codec: CompressionType) -> Self {
        Self(codec.code())
    }

    /// The same attributes, with the timestamps of the broker.
    pub(crate) fn log_append_time(self) -> Self {
        Self(self.0 | LOG_APPEND_TIME_BIT)
    }

    pub(crate) fn from_bits(bits: i16) -> Self {
        Self(bits)
    }

    pub(crate) fn bits(self) -> i16 {
        self.0
    }

    /// The codec; `None` if the number is that of no known codec.
    pub(crate) fn codec(self) -> Option<CompressionType> {
        CompressionType::from_code(self.0 & CODEC_BITS)
    }

    pub(crate) fn is_log_append_time(self) -> bool {
        self.0 & LOG_APPEND_TIME_BIT != 0
    }

    pub(crate) fn is_control(self) -> bool {
        self.0 & CONTROL_BIT != 0
    }
}

/// The base timestamp of a sealed batch.
///
/// Panics if `batch` is shorter than a header: the caller sealed it.
pub(crate) fn base_timestamp(batch: &[u8]) -> i64 {
    BigEndian::read_i64(&batch[BASE_TIMESTAMP])
}

/// Writes the header of `batch`, which consists of [`BATCH_HEADER_BYTES`] free bytes and the records as they are to be sent.
/// The CRC-32C, which covers everything after it, is computed last. The base offset is 0 and the partition leader epoch
/// -1: the broker sets both.
///
/// Panics if `batch` is shorter than a header, or longer than the length field allows: the caller built it.
pub(crate) fn seal(batch: &mut [u8], header: &BatchHeader) {
    assert!(
        batch.len() >= BATCH_HEADER_BYTES,
        "a batch of {} bytes has no header",
        batch.len()
    );
    let length = i32::try_from(batch.len() - LOG_OVERHEAD_BYTES).expect("a batch is below 2 GiB");
    BigEndian::write_i64(&mut batch[BASE_OFFSET], 0);
    BigEndian::write_i32(&mut batch[LENGTH], length);
    BigEndian::write_i32(
        &mut batch[PARTITION_LEADER_EPOCH],
        NO_PARTITION_LEADER_EPOCH,
    );
    batch[MAGIC_BYTE] = MAGIC as u8;
    BigEndian::write_i16(&mut batch[ATTRIBUTES], header.attributes.bits());
    BigEndian::write_i32(&mut batch[LAST_OFFSET_DELTA], header.last_offset_delta);
    BigEndian::write_i64(&mut batch[BASE_TIMESTAMP], header.base_timestamp);
    BigEndian::write_i64(&mut batch[MAX_TIMESTAMP], header.max_timestamp);
    BigEndian::write_i32(&mut batch[RECORDS_COUNT], header.records_count);
    restamp(batch, header.producer);
}

/// Gives a sealed batch another producer stamp, as after an epoch bump, and computes its CRC again.
///
/// Panics if `batch` is shorter than a header.
pub(crate) fn restamp(batch: &mut [u8], producer: ProducerStamp) {
    BigEndian::write_i64(&mut batch[PRODUCER_ID], producer.producer_id);
    BigEndian::write_i16(&mut batch[PRODUCER_EPOCH], producer.producer_epoch);
    BigEndian::write_i32(&mut batch[BASE_SEQUENCE], producer.base_sequence);
    let crc = crc32c::crc32c(&batch[CRC_START..]);
    BigEndian::write_u32(&mut batch[CRC], crc);
}

pub(crate) const BASE_OFFSET: Range<usize> = 0..8;
pub(crate) const LENGTH: Range<usize> = 8..12;
pub(crate) const PARTITION_LEADER_EPOCH: Range<usize> = 12..16;
pub(crate) const MAGIC_BYTE: usize = 16;
pub(crate) const CRC: Range<usize> = 17..21;
/// The CRC covers the bytes from here to the end. So a broker can set offset and leader epoch without a new CRC.
pub(crate) const CRC_START: usize = 21;
pub(crate) const ATTRIBUTES: Range<usize> = 21..23;
pub(crate) const LAST_OFFSET_DELTA: Range<usize> = 23..27;
pub(crate) const BASE_TIMESTAMP: Range<usize> = 27..35;
pub(crate) const MAX_TIMESTAMP: Range<usize> = 35..43;
pub(crate) const PRODUCER_ID: Range<usize> = 43..51;
pub(crate) const PRODUCER_EPOCH: Range<usize> = 51..53;
pub(crate) const BASE_SEQUENCE: Range<usize> = 53..57;
pub(crate) const RECORDS_COUNT: Range<usize> = 57..61;

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: BatchHeader = BatchHeader {
        attributes: Attributes(0),
        last_offset_delta: 2,
        base_timestamp: 0x0102_0304_0506_0708,
        max_timestamp: 0x0102_0304_0506_0709,
        producer: ProducerStamp {
            producer_id: 0x1112_1314_1516_1718,
            producer_epoch: 0x2122,
            base_sequence: 0x3132_3334,
        },
        records_count: 3,
    };

    #[test]
    fn the_checksum_is_crc_32c() {
        assert_eq!(crc32c::crc32c(b"123456789"), 0xE306_9283);
    }

    #[test]
    fn writes_every_field_at_its_position() {
        let mut batch = vec![0xaa; BATCH_HEADER_BYTES + 3];
        let attributes = Attributes::from_bits(CompressionType::Zstd.code() | 0x10);
        seal(
            &mut batch,
            &BatchHeader {
                attributes,
                ..HEADER
            },
        );
        let before_crc = [
            0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 52, 0xff, 0xff, 0xff, 0xff, 2,
        ];
        let after_crc = [
            0x00, 0x14, 0, 0, 0, 2, 1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 9, 0x11, 0x12,
            0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0x21, 0x22, 0x31, 0x32, 0x33, 0x34, 0, 0, 0, 3,
            0xaa, 0xaa, 0xaa,
        ];
        assert_eq!(batch[..17], before_crc);
        assert_eq!(batch[17..21], crc32c::crc32c(&after_crc).to_be_bytes());
        assert_eq!(batch[21..], after_crc);
    }

    #[test]
    fn a_restamped_batch_is_the_batch_sealed_with_the_new_stamp() {
        let mut restamped = vec![7; BATCH_HEADER_BYTES + 100];
        seal(&mut restamped, &HEADER);
        let mut sealed = restamped.clone();
        let producer = ProducerStamp {
            producer_id: 5,
            producer_epoch: 6,
            base_sequence: 0,
        };
        restamp(&mut restamped, producer);
        seal(&mut sealed, &BatchHeader { producer, ..HEADER });
        assert_eq!(restamped, sealed);
    }

    #[test]
    fn attributes_do_not_mix_their_bits() {
        for codec in CompressionType::ALL {
            let attributes = Attributes::new(codec);
            assert_eq!(attributes.codec(), Some(codec));
            assert!(!attributes.is_log_append_time() && !attributes.is_control());
            let all = attributes.log_append_time();
            assert!(all.is_log_append_time() && !all.is_control());
            assert_eq!(all.codec(), Some(codec));
        }
        assert!(Attributes::from_bits(0x20).is_control());
        assert_eq!(Attributes::from_bits(5).codec(), None);
    }
}
