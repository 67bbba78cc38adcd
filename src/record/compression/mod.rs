//! The codecs that a batch's records can be compressed with.

use std::fmt;
use std::str::FromStr;

/// How the records of a batch are compressed: the values of `compression.type`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CompressionType {
    /// Not at all.
    #[default]
    None,
    /// Packs well, slowly. Cargo feature `gzip`.
    Gzip,
    /// Fast, packs the least. Cargo feature `snappy`.
    Snappy,
    /// Fast. Cargo feature `lz4`.
    Lz4,
    /// Packs best for its speed; needs brokers from Kafka 2.1 on. Cargo feature `zstd`, which needs a C compiler.
    Zstd,
}

impl CompressionType {
    /// All of them, in the order of their numbers on the wire.
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

    /// Whether this build can compress with it: whether the Cargo feature is on.
    pub fn is_compiled_in(self) -> bool {
        match self {
            Self::None => true,
            Self::Gzip => cfg!(feature = "gzip"),
            Self::Snappy => cfg!(feature = "snappy"),
            Self::Lz4 => cfg!(feature = "lz4"),
            Self::Zstd => cfg!(feature = "zstd"),
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

/// Reads a value of `compression.type`. As in Java, upper case is not accepted.
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
