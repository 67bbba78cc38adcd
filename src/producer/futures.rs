//! What `send_all` returns: a handle to the outcomes of many records.

use std::borrow::Borrow;
use std::fmt;
use std::iter::FusedIterator;
use std::ops::Range;
use std::time::{Duration, Instant};

use crate::accumulator::batch::RecordDetails;
use crate::accumulator::completion::RecordHandle;
use crate::error::Error;
use crate::time::deadline_after;

use super::future::{Future, check_may_wait, no_outcome_yet};

/// A handle to the outcomes of records that were sent together, in their order. [`wait`](Self::wait) waits for all of them;
/// [`iter`](Self::iter) and [`get`](Self::get) give a [`Future`] for each.
///
/// It keeps one entry for neighbours in the same batch, so it usually takes less memory than that many futures. Dropping it
/// cancels nothing.
#[derive(Default)]
pub struct Futures {
    runs: Vec<Run>,
    details: Vec<RecordDetails>,
}

/// Neighbouring records in one batch.
struct Run {
    first: RecordHandle,
    /// The number of records in all runs up to the end of this one.
    end: usize,
}

impl Futures {
    pub(super) fn with_capacity(records: usize) -> Self {
        Self {
            runs: Vec::new(),
            details: Vec::with_capacity(records),
        }
    }

    /// Adds neighbours in a batch. `first` is the handle of the first one.
    pub(super) fn push(
        &mut self,
        first: RecordHandle,
        details: impl IntoIterator<Item = RecordDetails>,
    ) {
        self.details.extend(details);
        self.runs.push(Run {
            first,
            end: self.details.len(),
        });
    }

    /// The number of records.
    pub fn len(&self) -> usize {
        self.details.len()
    }

    /// Returns whether there is no record.
    pub fn is_empty(&self) -> bool {
        self.details.is_empty()
    }

    /// The future of the record at `index`, from 0 in the order of sending. `None` if there are fewer records.
    pub fn get(&self, index: usize) -> Option<Future> {
        let details = *self.details.get(index)?;
        let run = self.runs.partition_point(|run| run.end <= index);
        let start = match run {
            0 => 0,
            run => self.runs[run - 1].end,
        };
        let RecordHandle {
            completion,
            index: first,
        } = self.runs[run].first.clone();
        Some(Future::new(
            completion,
            first + (index - start) as u32,
            details,
        ))
    }

    /// The futures, in the order of sending.
    pub fn iter(&self) -> FuturesIter<&Self> {
        self.into_iter()
    }

    /// Returns whether every record has its outcome. Never blocks.
    pub fn are_done(&self) -> bool {
        self.ranges().all(|(run, records)| {
            let RecordHandle {
                completion,
                index: first,
            } = &run.first;
            completion.are_complete(*first, records.len())
        })
    }

    /// Waits up to `timeout` until every record has its outcome. Succeeds if all were delivered.
    ///
    /// # Errors
    /// [`ErrorKind::Timeout`](crate::ErrorKind::Timeout) if a record has no outcome within `timeout`, even if other records
    /// have failed. In a callback or logger of the same producer it is
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) instead, as in [`Future::get`]. Every other error
    /// is that of the first record that was not delivered; [`iter`](Self::iter) gives the outcomes of the others.
    pub fn wait(&self, timeout: Duration) -> Result<(), Error> {
        let deadline = deadline_after(Instant::now(), timeout);
        for (run, records) in self.ranges() {
            let RecordHandle {
                completion,
                index: first,
            } = &run.first;
            if completion.are_complete(*first, records.len()) {
                continue;
            }
            check_may_wait(completion)?;
            for index in (*first..).take(records.len()) {
                if completion.wait(index, deadline).is_none() {
                    return Err(no_outcome_yet(completion, timeout));
                }
            }
        }
        self.first_error().map_or(Ok(()), Err)
    }

    fn first_error(&self) -> Option<Error> {
        let is_written = |run: &Run, count| {
            let RecordHandle { completion, index } = &run.first;
            completion.are_written(*index, count)
        };
        let mut failed = self
            .ranges()
            .filter(|(run, records)| !is_written(run, records.len()));
        failed.find_map(|(run, records)| {
            let RecordHandle {
                completion,
                index: first,
            } = &run.first;
            let mut results = (*first..)
                .take(records.len())
                .filter_map(|index| completion.try_get(index));
            results.find_map(Result::err)
        })
    }

    /// The runs with the indexes of their records.
    fn ranges(&self) -> impl Iterator<Item = (&Run, Range<usize>)> {
        let mut start = 0;
        self.runs
            .iter()
            .map(move |run| (run, std::mem::replace(&mut start, run.end)..run.end))
    }
}

/// An iterator over the futures of a [`Futures`], in the order of sending. It owns the `Futures` or refers to it.
#[derive(Clone, Debug)]
pub struct FuturesIter<F> {
    futures: F,
    next: usize,
}

impl<F> FuturesIter<F> {
    fn over(futures: F) -> Self {
        Self { futures, next: 0 }
    }
}

impl<F: Borrow<Futures>> Iterator for FuturesIter<F> {
    type Item = Future;

    fn next(&mut self) -> Option<Future> {
        let future = self.futures.borrow().get(self.next)?;
        self.next += 1;
        Some(future)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let remaining = self.futures.borrow().len() - self.next;
        (remaining, Some(remaining))
    }
}

impl<F: Borrow<Futures>> ExactSizeIterator for FuturesIter<F> {}

impl<F: Borrow<Futures>> FusedIterator for FuturesIter<F> {}

impl IntoIterator for Futures {
    type Item = Future;
    type IntoIter = FuturesIter<Self>;

    fn into_iter(self) -> Self::IntoIter {
        FuturesIter::over(self)
    }
}

impl IntoIterator for &Futures {
    type Item = Future;
    type IntoIter = FuturesIter<Self>;

    fn into_iter(self) -> Self::IntoIter {
        FuturesIter::over(self)
    }
}

impl fmt::Debug for Futures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Futures")
            .field("len", &self.len())
            .field("are_done", &self.are_done())
            .finish_non_exhaustive()
    }
}
