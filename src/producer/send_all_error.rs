//! The error of a `send_all` that stopped at a record.

use std::error::Error as StdError;
use std::fmt;

use crate::error::Error;

use super::futures::Futures;
use super::record::ProducerRecord;
use super::send_error::SendError;

/// Why `send_all` did not take all records. The records before the refused one are being sent. This error has their
/// futures, the refused record, and the records after it.
///
/// `?` converts it into an [`Error`] and drops the records that were not taken.
pub struct SendAllError<K, V>(Box<Parts<K, V>>);

struct Parts<K, V> {
    futures: Futures,
    refused: SendError<K, V>,
    remaining: Vec<ProducerRecord<K, V>>,
}

impl<K, V> SendAllError<K, V> {
    pub(crate) fn new(
        futures: Futures,
        refused: SendError<K, V>,
        remaining: Vec<ProducerRecord<K, V>>,
    ) -> Self {
        Self(Box::new(Parts {
            futures,
            refused,
            remaining,
        }))
    }

    /// Why the first record was refused.
    pub fn error(&self) -> &Error {
        self.0.refused.error()
    }

    /// Returns the futures of the records that were taken, the refused record with the reason, and the records after it.
    pub fn into_parts(self) -> (Futures, SendError<K, V>, Vec<ProducerRecord<K, V>>) {
        let Parts {
            futures,
            refused,
            remaining,
        } = *self.0;
        (futures, refused, remaining)
    }
}

impl<K, V> From<SendAllError<K, V>> for Error {
    fn from(error: SendAllError<K, V>) -> Self {
        error.0.refused.into()
    }
}

/// Shows the reason and the numbers of records. Logs must not contain a record's content.
impl<K, V> fmt::Debug for SendAllError<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendAllError")
            .field("error", self.error())
            .field("taken", &self.0.futures.len())
            .field("not_taken", &(self.0.remaining.len() + 1))
            .finish()
    }
}

impl<K, V> fmt::Display for SendAllError<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} record(s) taken, then one refused: {}",
            self.0.futures.len(),
            self.error()
        )
    }
}

impl<K, V> StdError for SendAllError<K, V> {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.error().source()
    }
}
