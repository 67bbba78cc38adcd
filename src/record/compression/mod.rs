//! The codecs that compress the records of a batch, in the framings that Java reads and writes.

#[cfg(feature = "gzip")]
mod gzip;
#[cfg(feature = "lz4")]
mod lz4;
#[cfg(feature = "snappy")]
mod snappy;
#[cfg(feature = "zstd")]
mod zstd;

use std::fmt;
use std::io;
use std::str::FromStr;

use super::header::BATCH_HEADER_BYTES;

/// A codec and its level. A level that [`CompressionType::accepts_level`] refuses acts as the nearest accepted one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Compression {
    pub(crate) codec: CompressionType,
    pub(crate) level: i32,
}

impl Compression {
    #[cfg(any(test, feature = "unstable-internals"))]
    pub(crate) fn with_default_level(codec: CompressionType) -> Self {
        Self {
            codec,
            level: codec.default_level(),
        }
    }
}

/// Compresses the batches of one thread. It keeps the working memory of the codecs and one output buffer from batch to
/// batch: a new context for each 16 KiB makes zstd a third slower.
#[derive(Default)]
pub(crate) struct Compressor {
    output: Vec<u8>,
    #[cfg(feature = "gzip")]
    gzip: gzip::Encoder,
    #[cfg(feature = "snappy")]
    snappy: snappy::Encoder,
    #[cfg(feature = "lz4")]
    lz4: lz4::Encoder,
    #[cfg(feature = "zstd")]
    zstd: zstd::Encoder,
}

impl Compressor {
    /// Compresses the records of a batch. Returns them behind [`BATCH_HEADER_BYTES`] free bytes, in a buffer without unused
    /// capacity. As in Java, the result is used even if it is larger than the records.
    pub(crate) fn compress_batch(
        &mut self,
        compression: Compression,
        records: &[u8],
    ) -> Result<Vec<u8>, CompressionError> {
        #[cfg(test)]
        slowness::pass();
        self.output.clear();
        self.output.resize(BATCH_HEADER_BYTES, 0);
        self.encode(compression, records)?;
        let batch = self.output.as_slice().to_vec();
        if self.output.capacity() > KEPT_OUTPUT_BYTES {
            self.output = Vec::new();
        }
        Ok(batch)
    }

    fn encode(&mut self, compression: Compression, records: &[u8]) -> Result<(), CompressionError> {
        let codec = compression.codec;
        let output = &mut self.output;
        let done = match codec {
            CompressionType::None => {
                output.extend_from_slice(records);
                Ok(())
            }
            #[cfg(feature = "gzip")]
            CompressionType::Gzip => self.gzip.encode(compression.level, records, output),
            #[cfg(feature = "snappy")]
            CompressionType::Snappy => self.snappy.encode(records, output),
            #[cfg(feature = "lz4")]
            CompressionType::Lz4 => self.lz4.encode(records, output),
            #[cfg(feature = "zstd")]
            CompressionType::Zstd => self.zstd.encode(compression.level, records, output),
            #[allow(unreachable_patterns, reason = "reached if a codec's feature is off")]
            _ => return Err(CompressionError::NotCompiledIn(codec)),
        };
        done.map_err(|source| CompressionError::Codec { codec, source })
    }
}

/// Makes codecs slow, on a clock that the test sets.
#[cfg(test)]
pub(crate) mod slowness {
    use std::cell::Cell;
    use std::time::Duration;

    use crate::time::{monotonic_now, set_monotonic_now};

    thread_local! {
        static EACH_BATCH: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    }

    /// Sets how long the compression of each batch takes on this thread, whose clock the test sets.
    pub(crate) fn set(each_batch: Duration) {
        EACH_BATCH.set(each_batch);
    }

    pub(super) fn pass() {
        if !EACH_BATCH.get().is_zero() {
            set_monotonic_now(monotonic_now() + EACH_BATCH.get());
        }
    }
}

impl fmt::Debug for Compressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compressor")
            .field("output_capacity", &self.output.capacity())
            .finish_non_exhaustive()
    }
}

/// A larger output buffer is freed after use, so that one large batch does not hold memory for ever.
const KEPT_OUTPUT_BYTES: usize = 2 << 20;

/// Decompresses the records of a batch. Returns an error for more than `max_output` bytes, even if `bytes` claims a smaller
/// size. Before the error it allocates at most twice that many bytes, and the codec's own blocks (4 MiB twice for lz4).
pub(crate) fn decompress(
    codec: CompressionType,
    bytes: &[u8],
    max_output: usize,
) -> Result<Vec<u8>, CompressionError> {
    let decoded = match codec {
        CompressionType::None => Ok((bytes.len() <= max_output).then(|| bytes.to_vec())),
        #[cfg(feature = "gzip")]
        CompressionType::Gzip => read_bounded(gzip::decoder(bytes), max_output),
        #[cfg(feature = "snappy")]
        CompressionType::Snappy => snappy::decode(bytes, max_output),
        #[cfg(feature = "lz4")]
        CompressionType::Lz4 => {
            lz4::decoder(bytes).and_then(|reader| read_bounded(reader, max_output))
        }
        #[cfg(feature = "zstd")]
        CompressionType::Zstd => {
            zstd::decoder(bytes).and_then(|reader| read_bounded(reader, max_output))
        }
        #[allow(unreachable_patterns, reason = "reached if a codec's feature is off")]
        _ => return Err(CompressionError::NotCompiledIn(codec)),
    };
    decoded
        .map_err(|source| CompressionError::Codec { codec, source })?
        .ok_or(CompressionError::TooLarge { max_output })
}

/// Why records could not be compressed or decompressed.
#[derive(Debug)]
pub(crate) enum CompressionError {
    /// The codec's Cargo feature is off.
    NotCompiledIn(CompressionType),
    /// The decompressed records are above the given bound.
    TooLarge { max_output: usize },
    /// The codec failed, or the bytes do not have this codec's format.
    Codec {
        codec: CompressionType,
        source: io::Error,
    },
}

impl fmt::Display for CompressionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotCompiledIn(codec) => {
                write!(
                    f,
                    "compression type {codec} needs the Cargo feature `{codec}`, which is off in this build"
                )
            }
            Self::TooLarge { max_output } => {
                write!(f, "more than {max_output} bytes after decompression")
            }
            Self::Codec { codec, source } => write!(f, "{codec} failed: {source}"),
        }
    }
}

impl std::error::Error for CompressionError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Codec { source, .. } => Some(source),
            Self::NotCompiledIn(_) | Self::TooLarge { .. } => None,
        }
    }
}

/// Reads `reader` to its end. Returns `None` if that is more than `max_output` bytes.
#[cfg(any(feature = "gzip", feature = "lz4", feature = "zstd"))]
fn read_bounded(reader: impl io::Read, max_output: usize) -> io::Result<Option<Vec<u8>>> {
    let mut output = Vec::new();
    let limit = (max_output as u64).saturating_add(1);
    io::Read::read_to_end(&mut io::Read::take(reader, limit), &mut output)?;
    Ok((output.len() <= max_output).then_some(output))
}

/// How the records of a batch are compressed: the values of `compression.type`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CompressionType {
    /// No compression.
    #[default]
    None,
    /// Compresses well, and slowly. Cargo feature `gzip`.
    Gzip,
    /// Fast, compresses the least. Cargo feature `snappy`.
    Snappy,
    /// Fast. Cargo feature `lz4`.
    Lz4,
    /// Compresses best for its speed. Needs brokers of Kafka 2.1 or newer. Cargo feature `zstd`, which needs a C compiler.
    Zstd,
}

impl CompressionType {
    /// All codecs, in the order of their numbers on the wire.
    pub const ALL: [Self; 5] = [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd];

    /// The name in `compression.type`, which is also that of the Cargo feature.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }

    /// Returns whether this build can compress with it: whether the Cargo feature is on.
    pub fn is_compiled_in(self) -> bool {
        match self {
            Self::None => true,
            Self::Gzip => cfg!(feature = "gzip"),
            Self::Snappy => cfg!(feature = "snappy"),
            Self::Lz4 => cfg!(feature = "lz4"),
            Self::Zstd => cfg!(feature = "zstd"),
        }
    }

    /// The level if none is set: gzip -1 (which means 6), lz4 9, zstd 3, and 0 for codecs without levels.
    pub fn default_level(self) -> i32 {
        match self {
            Self::None | Self::Snappy => 0,
            Self::Gzip => -1,
            Self::Lz4 => 9,
            Self::Zstd => 3,
        }
    }

    /// Returns whether Kafka accepts the level (KIP-390): gzip -1 and 1 to 9, lz4 1 to 17, zstd -131072 to 22. For codecs
    /// without levels it accepts only the default, 0. All levels of lz4 act as the default one here.
    pub fn accepts_level(self, level: i32) -> bool {
        level == self.default_level()
            || match self {
                Self::None | Self::Snappy => false,
                Self::Gzip => (1..=9).contains(&level),
                Self::Lz4 => (1..=17).contains(&level),
                Self::Zstd => (-131_072..=22).contains(&level),
            }
    }

    /// The number in a batch's attributes.
    pub(crate) fn code(self) -> i16 {
        self as i16
    }

    pub(crate) fn from_code(code: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|codec| codec.code() == code)
    }
}

impl fmt::Display for CompressionType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Parses a value of `compression.type`. As in Java, upper case is not accepted.
impl FromStr for CompressionType {
    type Err = UnknownCompressionType;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|codec| codec.name() == name)
            .ok_or(UnknownCompressionType)
    }
}

/// No codec has that name; the codecs are `none`, `gzip`, `snappy`, `lz4` and `zstd`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownCompressionType;

impl fmt::Display for UnknownCompressionType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("unknown compression type: it is one of none, gzip, snappy, lz4, zstd")
    }
}

impl std::error::Error for UnknownCompressionType {}

#[cfg(test)]
mod tests {
    use super::*;

    fn json_lines(bytes: usize) -> Vec<u8> {
        let mut text = Vec::new();
        for index in 0.. {
            if text.len() >= bytes {
                break;
            }
            text.extend_from_slice(
                format!(
                    "{{\"id\":{index},\"level\":\"info\",\"ms\":{}}}\n",
                    index * 37 % 101
                )
                .as_bytes(),
            );
        }
        text.truncate(bytes);
        text
    }

    fn noise(bytes: usize) -> Vec<u8> {
        let mut random = fastrand::Rng::with_seed(7);
        std::iter::repeat_with(|| random.u8(..))
            .take(bytes)
            .collect()
    }

    fn compressed(compression: Compression, records: &[u8]) -> Vec<u8> {
        Compressor::default()
            .compress_batch(compression, records)
            .unwrap()[BATCH_HEADER_BYTES..]
            .to_vec()
    }

    fn compiled_in() -> impl Iterator<Item = CompressionType> {
        CompressionType::ALL
            .into_iter()
            .filter(|codec| codec.is_compiled_in())
    }

    #[test]
    fn names_are_those_of_compression_type_and_case_matters() {
        for codec in CompressionType::ALL {
            assert_eq!(codec.to_string().parse(), Ok(codec));
            assert_eq!(CompressionType::from_code(codec.code()), Some(codec));
        }
        for wrong in ["GZIP", "Lz4", "", "zstd ", "producer"] {
            assert_eq!(
                wrong.parse::<CompressionType>(),
                Err(UnknownCompressionType)
            );
        }
        assert_eq!(CompressionType::Zstd.code(), 4);
    }

    #[test]
    fn levels_are_those_of_kip_390() {
        for (codec, lowest, highest) in [
            (CompressionType::Gzip, 1, 9),
            (CompressionType::Lz4, 1, 17),
            (CompressionType::Zstd, -131_072, 22),
        ] {
            assert!(codec.accepts_level(codec.default_level()));
            assert!(codec.accepts_level(lowest) && codec.accepts_level(highest));
            assert!(!codec.accepts_level(lowest - 1) && !codec.accepts_level(highest + 1));
        }
        assert!(CompressionType::Gzip.accepts_level(-1) && !CompressionType::Gzip.accepts_level(0));
        assert!(
            CompressionType::Snappy.accepts_level(0) && !CompressionType::Snappy.accepts_level(1)
        );
    }

    #[test]
    fn one_compressor_serves_batches_of_all_codecs_and_sizes() {
        let mut compressor = Compressor::default();
        for bytes in [
            0,
            1,
            100,
            32 << 10,
            (32 << 10) + 1,
            64 << 10,
            (64 << 10) + 1,
            1 << 20,
            17,
            16 << 10,
        ] {
            for records in [json_lines(bytes), noise(bytes)] {
                for codec in compiled_in() {
                    let compression = Compression::with_default_level(codec);
                    let batch = compressor.compress_batch(compression, &records).unwrap();
                    assert_eq!(batch.capacity(), batch.len());
                    assert_eq!(batch[..BATCH_HEADER_BYTES], [0; BATCH_HEADER_BYTES]);
                    let back = decompress(codec, &batch[BATCH_HEADER_BYTES..], bytes).unwrap();
                    assert!(back == records, "{codec}, {bytes} bytes");
                }
            }
        }
    }

    #[test]
    fn every_level_can_be_read_back_and_extreme_ones_do_not_fail() {
        let records = json_lines(50_000);
        for codec in compiled_in() {
            for level in [i32::MIN, -131_072, -5, -1, 0, 1, 6, 9, 17, 22, i32::MAX] {
                let bytes = compressed(Compression { codec, level }, &records);
                assert!(
                    decompress(codec, &bytes, records.len()).unwrap() == records,
                    "{codec} {level}"
                );
            }
        }
    }

    #[cfg(all(feature = "gzip", feature = "zstd"))]
    #[test]
    fn a_higher_level_compresses_better_also_when_levels_alternate() {
        let records = json_lines(200_000);
        let mut compressor = Compressor::default();
        for codec in [CompressionType::Gzip, CompressionType::Zstd] {
            let mut size = |level| {
                compressor
                    .compress_batch(Compression { codec, level }, &records)
                    .unwrap()
                    .len()
            };
            let (fast, best) = (size(1), size(9));
            assert!(best < fast, "{codec}: {best} {fast}");
            assert_eq!((size(1), size(9)), (fast, best));
        }
    }

    #[test]
    fn a_decompression_bomb_is_refused_at_the_bound() {
        let zeros = vec![0; 10 << 20];
        for codec in compiled_in() {
            let bytes = compressed(Compression::with_default_level(codec), &zeros);
            let refused = decompress(codec, &bytes, (10 << 20) - 1);
            assert!(
                matches!(refused, Err(CompressionError::TooLarge { .. })),
                "{codec}: {refused:?}"
            );
            assert_eq!(decompress(codec, &bytes, 10 << 20).unwrap().len(), 10 << 20);
        }
    }

    #[test]
    fn bytes_that_no_codec_wrote_are_an_error() {
        for codec in compiled_in().filter(|codec| *codec != CompressionType::None) {
            for seed in 0..50 {
                let mut bytes =
                    compressed(Compression::with_default_level(codec), &json_lines(3000));
                bytes.truncate(bytes.len() * seed / 50);
                let cut = decompress(codec, &bytes, 1 << 20);
                assert!(
                    cut.is_err() || cut.unwrap().len() < 3000,
                    "{codec} cut to {}",
                    bytes.len()
                );
            }
            assert!(decompress(codec, &[0xff; 100], 1 << 20).is_err(), "{codec}");
        }
    }

    #[test]
    fn a_codec_that_is_not_compiled_in_names_its_feature() {
        for codec in CompressionType::ALL
            .into_iter()
            .filter(|codec| !codec.is_compiled_in())
        {
            let error = Compressor::default()
                .compress_batch(Compression::with_default_level(codec), b"r")
                .unwrap_err();
            assert!(error.to_string().contains(&format!("`{codec}`")), "{error}");
            assert!(matches!(
                decompress(codec, b"r", 9),
                Err(CompressionError::NotCompiledIn(_))
            ));
        }
    }
}
