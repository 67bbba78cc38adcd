//! Why bytes are no message, or a message no bytes.

use std::fmt;

use super::ApiKey;

/// The rule of the wire format that bytes from a peer, or a message to be written, break.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ProtocolError {
    /// A value goes on beyond the end of its frame or tagged field.
    Truncated { needed: usize, remaining: usize },
    /// A length below zero that does not stand for null.
    NegativeLength(i64),
    /// A length above what the format allows, or above what the rest of the frame can hold.
    LengthTooLarge { length: usize, max: usize },
    /// Null where the version of the message has to have a value.
    UnexpectedNull,
    /// A variable-length integer of more bits than its type.
    VarintTooLong,
    /// A string that is not UTF-8.
    InvalidUtf8,
    /// A whole message, and bytes behind it.
    TrailingBytes(usize),
    /// A version of the API that this client does not speak.
    UnsupportedVersion { api: ApiKey, version: i16 },
    /// A value that this version of the message has no place for.
    Unrepresentable { field: &'static str, version: i16 },
}

impl std::error::Error for ProtocolError {}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated { needed, remaining } => {
                write!(
                    f,
                    "message ends early: {needed} bytes wanted, {remaining} left"
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
