//! The outcome of a batch. The worker or the delivery thread sets it, and the callers' futures wait for it.
//!
//! All records of a batch share one [`Completion`]. So a future has only a reference and an index, and a batch needs only
//! one notification. A batch that is split, because the broker refuses it as too large, completes in parts.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use crate::error::{Delivery, Error};
use crate::sync::{Condvar, Mutex};
use crate::threads::InstanceId;
use crate::topic_partition::TopicPartition;

/// The outcome of one record.
pub(crate) type RecordResult = Result<WrittenRecord, Error>;

/// What the broker reported about a written record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WrittenRecord {
    /// `None` if the broker did not report the batch's offset.
    pub(crate) offset: Option<i64>,
    /// As in [`WrittenBatch`].
    pub(crate) log_append_time_ms: Option<i64>,
}

/// What the broker reported about a written batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WrittenBatch {
    /// The offset of the first record. `None` with `acks=0`, and for a duplicate whose offset the broker no longer
    /// knows.
    pub(crate) base_offset: Option<i64>,
    /// The broker's timestamp, if the topic is set to `LogAppendTime`.
    pub(crate) log_append_time_ms: Option<i64>,
}

/// The outcome of a batch, or of a part of a split batch.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    /// All records are written.
    Written(WrittenBatch),
    /// All records failed with the same error.
    Failed(Error),
    /// The broker refused the batch for some of its records (KIP-467).
    Refused {
        /// The errors of these records, by index in the part, in ascending order.
        by_record: Vec<(u32, Error)>,
        /// The error of the other records. The broker refused them only because they are in the same batch.
        others: Error,
    },
}

impl Outcome {
    /// Returns the result of the record at `index` of the part.
    #[inline]
    pub(crate) fn of_record(&self, index: u32) -> RecordResult {
        match self {
            Outcome::Written(batch) => Ok(WrittenRecord {
                // The sum can overflow, because a broker can send any number.
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

/// A reference to the outcome of one record: the completion of its batch, and the record's index in the batch.
#[derive(Clone)]
pub(crate) struct RecordHandle {
    pub(crate) completion: Arc<Completion>,
    pub(crate) index: u32,
}

/// The length of the longest topic name that is copied for each batch. A copy of a longer name would need more memory than
/// is reserved for a batch's structures.
const LONGEST_COPY: usize = 64;

/// The outcome that the futures of a batch share. Each record's outcome is set exactly once.
pub(crate) struct Completion {
    /// A copy for this batch, unless the name is long. Without copies, all threads that read results of the topic would
    /// change one reference count.
    topic: Arc<str>,
    partition: i32,
    /// The producer that the batch belongs to.
    instance: InstanceId,
    /// The outcome of a batch that was not split. It is read without a lock.
    whole: OnceLock<Outcome>,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// The number of parts without an outcome. A batch that was not split is one part.
    open_parts: u32,
    /// The parts of a split batch that have an outcome: the first index, the end of the indexes, the outcome.
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

    /// The producer that the batch belongs to.
    pub(crate) fn instance(&self) -> InstanceId {
        self.instance
    }

    /// Returns the error to report in a process that was forked after the producer was built. The outcome never comes
    /// there, and the lock of the state may be locked for ever. `None` in other processes.
    fn fork_error(&self) -> Option<Error> {
        self.instance.is_inherited().then(|| {
            Error::of_another_process()
                .with_topic_partition(self.topic_partition())
                .with_delivery(Delivery::MaybeWritten)
        })
    }

    /// Replaces one part by this number of parts.
    pub(crate) fn split(&self, parts: u32) {
        self.state.lock().open_parts += parts.saturating_sub(1);
    }

    /// Sets the outcome of the records `first..end` and wakes the threads that wait for it.
    pub(crate) fn complete(&self, first: u32, end: u32, outcome: Outcome) {
        let mut state = self.state.lock();
        debug_assert!(state.open_parts > 0, "completed twice");
        state.open_parts = state.open_parts.saturating_sub(1);
        if state.open_parts == 0 && state.parts.is_empty() {
            let _ = self.whole.set(outcome);
        } else {
            state.parts.push((first, end, outcome));
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Returns the outcome of the record at `index`. `None` if it has no outcome yet.
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

    /// Returns whether the record at `index` has its outcome.
    #[inline]
    pub(crate) fn is_complete(&self, index: u32) -> bool {
        self.are_complete(index, 1)
    }

    /// Returns whether `count` records from `first` on have their outcomes.
    pub(crate) fn are_complete(&self, first: u32, count: usize) -> bool {
        self.whole.get().is_some() || self.instance.is_inherited() || {
            let state = self.state.lock();
            (first..)
                .take(count)
                .all(|index| state.part(index).is_some())
        }
    }

    /// Returns whether `count` records from `first` on are written.
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

    /// Blocks until the record at `index` has its outcome. Returns `None` at `deadline`.
    pub(crate) fn wait(&self, index: u32, deadline: Instant) -> Option<RecordResult> {
        if let Some(error) = self.fork_error() {
            return Some(Err(error));
        }
        let mut state = self.state.lock();
        loop {
            // `whole` is set under the lock. So a thread that finds it empty and then waits is woken.
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

    /// Blocks until every record has its outcome. Returns false at `deadline`.
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

    /// Returns the completed part with the record, and the first index of that part.
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
    fn every_record_has_the_offset_of_its_position_in_the_batch() {
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
    fn a_split_batch_completes_part_by_part() {
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
