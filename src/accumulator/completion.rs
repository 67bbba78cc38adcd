//! The outcome of a batch: the completing half stays with the batch, the waiting half is in the callers' futures.
//!
//! One block serves all records of a batch, so that a record costs a reference count and an index, and a batch one
//! notification. A batch that is split (the broker found it too large) settles its block in parts.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use crate::error::{Delivery, Error};
use crate::sync::{Condvar, Mutex};
use crate::threads::InstanceId;
use crate::topic_partition::TopicPartition;

/// What became of one record.
pub(crate) type RecordResult = Result<WrittenRecord, Error>;

/// What the broker said about a written record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WrittenRecord {
    /// `None` if the broker did not report the batch's offset.
    pub(crate) offset: Option<i64>,
    /// As in [`WrittenBatch`].
    pub(crate) log_append_time_ms: Option<i64>,
}

/// What the broker said about a written batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WrittenBatch {
    /// The offset of the first record. `None` with `acks=0`, and for a duplicate whose offset the broker no longer
    /// knows.
    pub(crate) base_offset: Option<i64>,
    /// The broker's timestamp, if the topic is set to `LogAppendTime`.
    pub(crate) log_append_time_ms: Option<i64>,
}

/// What becomes of a batch, or of a part of one.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    /// All records are written.
    Written(WrittenBatch),
    /// No record is acknowledged.
    Failed(Error),
    /// The broker refused the batch for some of its records (KIP-467).
    Refused {
        /// By index in the part; ordered.
        by_record: Vec<(u32, Error)>,
        /// For the records that were refused only because of the others.
        others: Error,
    },
}

impl Outcome {
    /// The result of the record at `index` of the part.
    #[inline]
    pub(crate) fn of_record(&self, index: u32) -> RecordResult {
        match self {
            Outcome::Written(batch) => Ok(WrittenRecord {
                // A broker can send any number.
                offset: batch
                    .base_offset
                    .and_then(|offset| offset.checked_add(i64::from(index))),
                log_append_time_ms: batch.log_append_time_ms,
            }),
            failed => Err(failed.error_of(index)),
        }
    }

    #[cold]
    fn error_of(&self, index: u32) -> Error {
        match self {
            Outcome::Written(_) => unreachable!("it has no error"),
            Outcome::Failed(error) => error.clone(),
            Outcome::Refused { by_record, others } => {
                match by_record.binary_search_by_key(&index, |(refused, _)| *refused) {
                    Ok(position) => by_record[position].1.clone(),
                    Err(_) => others.clone(),
                }
            }
        }
    }

    pub(crate) fn is_written(&self) -> bool {
        matches!(self, Outcome::Written(_))
    }
}

/// Where a record's outcome will be: the completion of its batch, and the record's index in the batch.
#[derive(Clone)]
pub(crate) struct RecordHandle {
    pub(crate) completion: Arc<Completion>,
    pub(crate) index: u32,
}

/// A longer name is not copied: with it a batch's structures would take more than they are charged with.
const LONGEST_COPY: usize = 64;

/// The block that a batch's futures share. Settled exactly once for every record.
pub(crate) struct Completion {
    /// The batch's own copy, unless it is long: every thread that looks at results would count its references to a common
    /// one.
    topic: Arc<str>,
    partition: i32,
    /// The producer that the batch is of.
    instance: InstanceId,
    /// The outcome of a batch that was not split, which is nearly every one: read without a lock.
    whole: OnceLock<Outcome>,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// Parts that are still open; a new block is one part.
    open_parts: u32,
    /// Of a split batch: each part's first index, its end, its outcome.
    parts: Vec<(u32, u32, Outcome)>,
}

impl Completion {
    pub(crate) fn new(topic: &Arc<str>, partition: i32, instance: InstanceId) -> Arc<Self> {
        let topic = match topic.len() {
            0..=LONGEST_COPY => Arc::from(&**topic),
            _ => Arc::clone(topic),
        };
        Arc::new(Self {
            topic,
            partition,
            instance,
            whole: OnceLock::new(),
            state: Mutex::new(State {
                open_parts: 1,
                parts: Vec::new(),
            }),
            changed: Condvar::new(),
        })
    }

    pub(crate) fn topic_partition(&self) -> TopicPartition {
        TopicPartition::new(Arc::clone(&self.topic), self.partition)
    }

    /// The producer that the batch is of.
    pub(crate) fn instance(&self) -> InstanceId {
        self.instance
    }

    /// In a process forked off while the batch had no outcome there never is one: an error in its place. The lock of the
    /// state may be locked for ever there.
    fn fork_error(&self) -> Option<Error> {
        self.instance.is_inherited().then(|| {
            Error::of_another_process()
                .with_topic_partition(self.topic_partition())
                .with_delivery(Delivery::MaybeWritten)
        })
    }

    /// Announces that one part will be settled as `parts` of them.
    pub(crate) fn split(&self, parts: u32) {
        self.state.lock().open_parts += parts.saturating_sub(1);
    }

    /// Settles the records `first..end` and wakes whoever waits for them.
    pub(crate) fn complete(&self, first: u32, end: u32, outcome: Outcome) {
        let mut state = self.state.lock();
        debug_assert!(state.open_parts > 0, "settled twice");
        state.open_parts = state.open_parts.saturating_sub(1);
        if state.open_parts == 0 && state.parts.is_empty() {
            let _ = self.whole.set(outcome);
        } else {
            state.parts.push((first, end, outcome));
        }
        drop(state);
        self.changed.notify_all();
    }

    /// The result of the record at `index`, if it is there.
    #[inline]
    pub(crate) fn try_get(&self, index: u32) -> Option<RecordResult> {
        match self.whole.get() {
            Some(outcome) => Some(outcome.of_record(index)),
            None => self.result_of_part(index),
        }
    }

    fn result_of_part(&self, index: u32) -> Option<RecordResult> {
        match self.fork_error() {
            Some(error) => Some(Err(error)),
            None => self.state.lock().result(index),
        }
    }

    /// Whether the record at `index` has its result.
    #[inline]
    pub(crate) fn is_complete(&self, index: u32) -> bool {
        self.are_complete(index, 1)
    }

    /// Whether `count` records from `first` on have their results.
    pub(crate) fn are_complete(&self, first: u32, count: usize) -> bool {
        self.whole.get().is_some() || self.instance.is_inherited() || {
            let state = self.state.lock();
            (first..)
                .take(count)
                .all(|index| state.part(index).is_some())
        }
    }

    /// Whether `count` records from `first` on are written.
    pub(crate) fn are_written(&self, first: u32, count: usize) -> bool {
        match self.whole.get() {
            Some(outcome) => outcome.is_written(),
            None if self.instance.is_inherited() => false,
            None => {
                let state = self.state.lock();
                let is_written = |index| {
                    let part = state.part(index);
                    part.is_some_and(|(_, outcome)| outcome.is_written())
                };
                (first..).take(count).all(is_written)
            }
        }
    }

    /// Waits for the result of the record at `index`; none at `deadline`.
    pub(crate) fn wait(&self, index: u32, deadline: Instant) -> Option<RecordResult> {
        if let Some(error) = self.fork_error() {
            return Some(Err(error));
        }
        let mut state = self.state.lock();
        loop {
            // Set under the lock, so that whoever looks under the lock and then waits is woken.
            let whole = self.whole.get().map(|outcome| outcome.of_record(index));
            if let Some(result) = whole.or_else(|| state.result(index)) {
                return Some(result);
            }
            if Instant::now() >= deadline {
                return None;
            }
            let _ = self.changed.wait_until(&mut state, deadline);
        }
    }

    /// Waits until every record has its result; false at `deadline`.
    pub(crate) fn wait_all(&self, deadline: Instant) -> bool {
        let mut state = self.state.lock();
        while state.open_parts > 0 {
            if self.changed.wait_until(&mut state, deadline).timed_out() {
                return state.open_parts == 0;
            }
        }
        true
    }
}

impl State {
    fn result(&self, index: u32) -> Option<RecordResult> {
        let (first, outcome) = self.part(index)?;
        Some(outcome.of_record(index - first))
    }

    /// The settled part that holds the record, with its first index.
    fn part(&self, index: u32) -> Option<(u32, &Outcome)> {
        let holds = |(first, end, _): &&(u32, u32, Outcome)| (*first..*end).contains(&index);
        let (first, _, outcome) = self.parts.iter().find(holds)?;
        Some((*first, outcome))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use std::time::Duration;

    fn written_at(offset: i64) -> Outcome {
        Outcome::Written(WrittenBatch {
            base_offset: Some(offset),
            log_append_time_ms: None,
        })
    }

    fn offset(completion: &Completion, index: u32) -> Option<i64> {
        completion
            .try_get(index)
            .and_then(|result| result.unwrap().offset)
    }

    #[test]
    fn every_record_has_the_offset_of_its_place_in_the_batch() {
        let completion = Completion::new(&"t".into(), 0, InstanceId::new());
        assert!(!completion.is_complete(0) && completion.try_get(0).is_none());
        completion.complete(0, 3, written_at(40));
        assert!(completion.is_complete(2));
        assert_eq!(
            (0..3)
                .map(|i| offset(&completion, i).unwrap())
                .collect::<Vec<_>>(),
            [40, 41, 42]
        );
    }

    #[test]
    fn a_split_batch_settles_part_by_part() {
        let completion = Completion::new(&"t".into(), 0, InstanceId::new());
        completion.split(2);
        completion.complete(2, 4, written_at(90));
        assert!(completion.is_complete(3) && !completion.is_complete(1));
        assert_eq!(
            (offset(&completion, 2), offset(&completion, 0)),
            (Some(90), None)
        );
        assert!(!completion.wait_all(Instant::now()));
        completion.split(2);
        completion.complete(0, 1, written_at(7));
        completion.complete(
            1,
            2,
            Outcome::Failed(Error::new(ErrorKind::RecordTooLarge, "too large")),
        );
        assert!(completion.wait_all(Instant::now()));
        assert_eq!(offset(&completion, 0), Some(7));
        assert!(completion.try_get(1).unwrap().is_err());
        assert_eq!(offset(&completion, 3), Some(91));
    }

    #[test]
    fn a_refused_record_gets_its_own_error_and_its_neighbours_the_common_one() {
        let outcome = Outcome::Refused {
            by_record: vec![(1, Error::new(ErrorKind::InvalidRecord, "no key"))],
            others: Error::new(ErrorKind::InvalidRecord, "batch refused"),
        };
        assert!(
            outcome
                .of_record(1)
                .unwrap_err()
                .to_string()
                .contains("no key")
        );
        assert!(
            outcome
                .of_record(0)
                .unwrap_err()
                .to_string()
                .contains("batch refused")
        );
    }

    #[test]
    fn waiters_on_many_threads_are_all_woken() {
        let completion = Completion::new(&"t".into(), 0, InstanceId::new());
        let threads: Vec<_> = (0..64)
            .map(|index| {
                let completion = Arc::clone(&completion);
                std::thread::spawn(move || {
                    let deadline = Instant::now() + Duration::from_secs(30);
                    completion
                        .wait(index, deadline)
                        .unwrap()
                        .unwrap()
                        .offset
                        .unwrap()
                })
            })
            .collect();
        completion.complete(0, 64, written_at(0));
        let offsets: Vec<i64> = threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect();
        assert_eq!(offsets, (0..64).collect::<Vec<i64>>());
    }

    #[test]
    fn a_wait_ends_at_its_deadline() {
        let completion = Completion::new(&"t".into(), 0, InstanceId::new());
        assert!(
            completion
                .wait(0, Instant::now() + Duration::from_millis(5))
                .is_none()
        );
    }
}
