//! What `send` returns: a handle to the record's outcome.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::accumulator::batch::{CompletedRecord, RecordDetails};
use crate::accumulator::completion::{Completion, RecordResult};
use crate::error::{Delivery, Error, ErrorKind};
use crate::time::deadline_after;

use super::record::RecordMetadata;

/// A handle to the outcome of one `send`. Any thread can wait for the outcome or look at it, any number of times.
///
/// Dropping it cancels nothing: the record is still delivered. It does not hold the record's content.
pub struct Future {
    completion: Arc<Completion>,
    index: u32,
    details: RecordDetails,
}

impl Future {
    #[inline]
    pub(crate) fn new(completion: Arc<Completion>, index: u32, details: RecordDetails) -> Self {
        Self {
            completion,
            index,
            details,
        }
    }

    /// Waits up to `timeout` for the outcome: the record's topic, partition, timestamp and, if the broker reports it,
    /// offset; or an error. If records of the same batch have callbacks, the outcome comes after these have run.
    ///
    /// # Errors
    /// [`ErrorKind::Timeout`] if there is no outcome within `timeout`; the record is still in progress then, and `get` can
    /// be called again. [`ErrorKind::InvalidArgument`] in a callback or logger of the same producer if there is no outcome
    /// yet. `get` does not wait there, because the outcome may depend on the end of that callback. The record is still in
    /// progress. [`ErrorKind::Closed`] in a forked child if there was no outcome before the fork. Every other error is the
    /// record's own: its [`delivery`](Error::delivery) says whether the record can be in the log.
    #[inline]
    pub fn get(&self, timeout: Duration) -> Result<RecordMetadata, Error> {
        match self.completion.try_get(self.index) {
            Some(result) => self.metadata(result),
            None => self.wait(timeout),
        }
    }

    #[cold]
    fn wait(&self, timeout: Duration) -> Result<RecordMetadata, Error> {
        check_may_wait(&self.completion)?;
        let deadline = deadline_after(Instant::now(), timeout);
        match self.completion.wait(self.index, deadline) {
            Some(result) => self.metadata(result),
            None => Err(no_outcome_yet(&self.completion, timeout)),
        }
    }

    /// Returns the outcome, or `None` if there is none yet. Never blocks.
    #[inline]
    pub fn try_get(&self) -> Option<Result<RecordMetadata, Error>> {
        self.completion
            .try_get(self.index)
            .map(|result| self.metadata(result))
    }

    /// Returns whether there is an outcome. Never blocks.
    #[inline]
    pub fn is_done(&self) -> bool {
        self.completion.is_complete(self.index)
    }

    #[inline]
    fn metadata(&self, result: RecordResult) -> Result<RecordMetadata, Error> {
        record_metadata(CompletedRecord {
            completion: &self.completion,
            details: self.details,
            result,
        })
    }
}

/// Returns an error on a thread of the record's own producer: the outcome may depend on that thread.
pub(super) fn check_may_wait(completion: &Completion) -> Result<(), Error> {
    if !completion.instance().owns_this_thread() {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::InvalidArgument,
        "`get` must not wait for an outcome in a callback or logger of the same producer",
    )
    .with_topic_partition(completion.topic_partition())
    .with_delivery(Delivery::MaybeWritten)
    .with_advice("the record is in progress: ask with try_get, or send it with a callback"))
}

pub(super) fn no_outcome_yet(completion: &Completion, timeout: Duration) -> Error {
    let message = format!(
        "the record has no outcome yet after {} ms",
        timeout.as_millis()
    );
    Error::new(ErrorKind::Timeout, message).with_topic_partition(completion.topic_partition())
}

impl fmt::Debug for Future {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Future")
            .field(
                "topic_partition",
                &format_args!("{}", self.completion.topic_partition()),
            )
            .field("is_done", &self.is_done())
            .finish_non_exhaustive()
    }
}

/// Returns a record's outcome in the form of the public API.
#[inline]
pub(crate) fn record_metadata(completed: CompletedRecord<'_>) -> Result<RecordMetadata, Error> {
    let CompletedRecord {
        completion,
        details,
        result,
    } = completed;
    let written = result?;
    Ok(RecordMetadata::new(
        completion.topic_partition(),
        written.offset,
        Some(written.log_append_time_ms.unwrap_or(details.timestamp_ms)),
        u32::try_from(details.key_size).ok(),
        u32::try_from(details.value_size).ok(),
    ))
}
