//! The error of a refused `send`: the reason, and the record.

use std::error::Error as StdError;
use std::fmt;

use crate::error::Error;

use super::record::ProducerRecord;

/// The error of a refused record. It holds the record, so that it can be sent again or elsewhere. The record was not
/// written.
///
/// `?` converts it into an [`Error`], which drops the record.
pub struct SendError<K, V>(Box<(Error, ProducerRecord<K, V>)>);

impl<K, V> SendError<K, V> {
    pub(crate) fn new(error: Error, record: ProducerRecord<K, V>) -> Self {
        Self(Box::new((error, record)))
    }

    /// The reason.
    pub fn error(&self) -> &Error {
        &self.0.0
    }

    /// The record.
    pub fn record(&self) -> &ProducerRecord<K, V> {
        &self.0.1
    }

    /// Gives the record back.
    pub fn into_record(self) -> ProducerRecord<K, V> {
        self.0.1
    }

    /// Gives the reason and the record back.
    pub fn into_parts(self) -> (Error, ProducerRecord<K, V>) {
        *self.0
    }
}

impl<K, V> From<SendError<K, V>> for Error {
    fn from(error: SendError<K, V>) -> Self {
        error.0.0
    }
}

/// Shows the reason only: a record's content is not for logs.
impl<K, V> fmt::Debug for SendError<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SendError").field(self.error()).finish()
    }
}

impl<K, V> fmt::Display for SendError<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error().fmt(f)
    }
}

impl<K, V> StdError for SendError<K, V> {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.error().source()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn gives_the_record_back_and_shows_only_the_reason() {
        let record = ProducerRecord::<(), _>::new("t", "secret");
        let error = SendError::new(
            Error::new(ErrorKind::Closed, "the producer is closed"),
            record.clone(),
        );
        assert!(!format!("{error:?} {error}").contains("secret"));
        assert_eq!(error.record(), &record);
        let (reason, given_back) = error.into_parts();
        assert_eq!((reason.kind(), given_back), (ErrorKind::Closed, record));
    }

    #[test]
    fn is_one_pointer_wide() {
        assert_eq!(size_of::<SendError<String, String>>(), size_of::<usize>());
    }
}
