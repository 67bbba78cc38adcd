//! Why bytes cannot be decoded into a message, or a message cannot be encoded.

use std::fmt;

use super::ApiKey;

/// The rule of the wire format that received bytes, or a message to encode, do not follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ProtocolError {
    /// A value continues after the end of its frame or tagged field.
    Truncated { needed: usize, remaining: usize },
    /// A length below zero that does not mean null.
    NegativeLength(i64),
    /// A length above the limit of the format, or above the number of remaining bytes.
    LengthTooLarge { length: usize, max: usize },
    /// A null that this version of the message does not allow.
    UnexpectedNull,
    /// A variable-length integer with more bits than its type.
    VarintTooLong,
    /// A string that is not UTF-8.
    InvalidUtf8,
    /// A whole message that is followed by other bytes.
    TrailingBytes(usize),
    /// A version of the API that this client does not speak.
    UnsupportedVersion { api: ApiKey, version: i16 },
    /// A value that this version of the message has no field for.
    Unrepresentable { field: &'static str, version: i16 },
}

impl std::error::Error for ProtocolError {}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated { needed, remaining } => {
                write!(
                    f,
                    "message ends early: {needed} bytes needed, {remaining} left"
                )
            }
            Self::NegativeLength(length) => write!(f, "length {length} is below zero"),
            Self::LengthTooLarge { length, max } => {
                write!(f, "length {length} is above the limit of {max}")
            }
            Self::UnexpectedNull => write!(f, "null where a value is required"),
            Self::VarintTooLong => write!(f, "variable-length integer has too many bits"),
            Self::InvalidUtf8 => write!(f, "string is not UTF-8"),
            Self::TrailingBytes(count) => write!(f, "{count} bytes follow the message"),
            Self::UnsupportedVersion { api, version } => {
                write!(f, "{api} version {version} is not supported")
            }
            Self::Unrepresentable { field, version } => {
                write!(f, "version {version} cannot carry this {field}")
            }
        }
    }
}
