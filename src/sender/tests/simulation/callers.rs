//! The callers' threads: they append, wait for memory, flush and close.

use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;

use super::ledger::{Ledger, SLACK};
use crate::accumulator::RecordAccumulator;
use crate::accumulator::callbacks::RecordCallback;
use crate::accumulator::completion::{Completion, RecordHandle};
use crate::accumulator::memory::{PendingReservation, Reservation, Shortage};
use crate::accumulator::open_batch::{Append, Wake};
use crate::record::builder::quick_upper_bound;
use crate::sender::scripted::{MS, TOPIC, record_of};
use crate::sync::channel;

pub(super) struct Callers {
    pub(super) rng: Rng,
    accumulator: Arc<RecordAccumulator>,
    pub(super) ledger: Ledger,
    partitions: usize,
    /// The number of times that they may interrupt a worker's round until the next event.
    pub(super) eagerness: usize,
    /// Whether every caller waits for at least two seconds.
    pub(super) are_patient: bool,
    /// The callers that wait for memory.
    waiting: Vec<(PendingReservation, Instant, Unsent)>,
    flushes: Vec<Flush>,
    delivery_timeout: Duration,
}

/// A record that is not in a batch yet.
struct Unsent {
    id: usize,
    partition: usize,
    value: String,
    callback: Option<RecordCallback>,
}

/// A call of `flush` that has not returned.
struct Flush {
    answers: Vec<channel::Receiver<Vec<Arc<Completion>>>>,
    completions: Vec<Arc<Completion>>,
    deadline: Instant,
}

/// The number of callers that may wait for memory at a time.
const MOST_WAITING: usize = 3;

impl Callers {
    pub(super) fn new(
        seed: u64,
        accumulator: Arc<RecordAccumulator>,
        ledger: Ledger,
        partitions: usize,
        delivery_timeout: Duration,
    ) -> Self {
        Self {
            rng: Rng::with_seed(seed),
            accumulator,
            ledger,
            partitions,
            eagerness: 0,
            are_patient: false,
            waiting: Vec::new(),
            flushes: Vec::new(),
            delivery_timeout,
        }
    }

    /// Makes a few calls of `send`. Makes none if every caller waits.
    pub(super) fn send_some(&mut self, most: usize, now: Instant) {
        for _ in 0..self.rng.usize(..=most) {
            let partition = self.rng.usize(..self.partitions);
            self.send(partition, now);
        }
    }

    /// Called while a worker works, or is about to sleep: sometimes callers send.
    pub(super) fn interfere(&mut self, now: Instant) {
        if self.eagerness > 0 && self.rng.u8(..6) == 0 {
            self.eagerness -= 1;
            self.send_some(2, now);
        }
    }

    /// Sends a record and returns its id. Returns `None` if every caller waits.
    pub(super) fn send(&mut self, partition: usize, now: Instant) -> Option<usize> {
        if self.waiting.len() == MOST_WAITING || !self.accumulator.is_open() {
            return None;
        }
        let padding = self.rng.usize(..120);
        let (id, value) = self.ledger.begin(partition, padding, now);
        let callback = (self.rng.u8(..4) == 0).then(|| self.ledger.callback(id));
        let unsent = Unsent {
            id,
            partition,
            value,
            callback,
        };
        self.append(unsent, None, now);
        Some(id)
    }

    /// Appends as `KafkaProducer::send` does, or waits for memory.
    fn append(&mut self, mut unsent: Unsent, mut spare: Option<Reservation>, now: Instant) {
        loop {
            if let Some(record) = self.append_in_room(&mut unsent) {
                return self.ledger.appended(unsent.id, record.into(), now);
            }
            let record = record_of(unsent.value.as_bytes());
            let append = self.accumulator.topics.with(TOPIC, |topic| {
                let partition = topic.partitions().get(unsent.partition)?;
                let append = partition.append(&record, false, &mut unsent.callback, &mut spare);
                Some((append, Arc::clone(partition)))
            });
            // The topic does not exist. A real caller waits for metadata, which does not involve the worker.
            let Some(Some((append, partition))) = append else {
                return self.ledger.refused(unsent.id);
            };
            match append {
                Append::Done { record, wake, .. } => {
                    self.ledger.appended(unsent.id, record.into(), now);
                    partition.worker().wake(wake);
                    return;
                }
                Append::NeedsMemory { shortage, wake } => {
                    if wake != Wake::None {
                        partition.worker().wake(wake);
                    }
                    drop(spare.take());
                    let Shortage { bytes, share, .. } = &shortage;
                    spare = self.accumulator.memory.try_reserve(*bytes, share).ok();
                    if spare.is_none() {
                        return self.wait_for_memory(unsent, &shortage, now);
                    }
                }
                Append::Closed => return self.ledger.refused(unsent.id),
                Append::Retired => drop(spare.take()),
            }
        }
    }

    /// The fast path of `send` or of `send_all`: `None` unless the open batch has room.
    fn append_in_room(&mut self, unsent: &mut Unsent) -> Option<RecordHandle> {
        let record = record_of(unsent.value.as_bytes());
        let upper_bound = quick_upper_bound(record.key, record.value, record.headers);
        self.accumulator.topics.look_up(TOPIC, |topic, _| {
            let partition = topic.partitions().get(unsent.partition)?.lock();
            if unsent.callback.is_some() || self.rng.bool() {
                let callback = &mut unsent.callback;
                return partition.append_in_room(&record, upper_bound, false, callback);
            }
            let run = std::iter::once((record, upper_bound));
            partition.append_run(run, false).map(|(record, _)| record)
        })
    }

    fn wait_for_memory(&mut self, unsent: Unsent, shortage: &Shortage, now: Instant) {
        let wait = self.accumulator.memory.start_waiting(shortage);
        self.accumulator.wake_workers();
        let least = if self.are_patient { 2000 } else { 1 };
        let patience = self.rng.u64(least..3000);
        let deadline = now + Duration::from_millis(patience);
        self.waiting.push((wait, deadline, unsent));
    }

    /// Continues the callers that were woken or whose time is over.
    pub(super) fn go_on(&mut self, now: Instant) {
        while let Some(position) = self
            .waiting
            .iter()
            .position(|(wait, deadline, _)| wait.is_ready() || *deadline <= now)
        {
            let (wait, _, unsent) = self.waiting.remove(position);
            // By the true clock, which is ahead: this wait returns at once.
            match wait.wait(Instant::now()) {
                Ok(reservation) => self.append(unsent, Some(reservation), now),
                Err(_) => self.ledger.refused(unsent.id),
            }
        }
        self.flushes.retain_mut(|flush| {
            let is_done = flush.is_done();
            assert!(
                is_done || now <= flush.deadline,
                "flush does not return in time"
            );
            !is_done
        });
    }

    /// Returns the time when the next caller stops waiting.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.waiting.iter().map(|(_, deadline, _)| *deadline).min()
    }

    pub(super) fn begin_flush(
        &mut self,
        answers: Vec<channel::Receiver<Vec<Arc<Completion>>>>,
        now: Instant,
    ) {
        self.flushes.push(Flush {
            answers,
            completions: Vec::new(),
            deadline: now + self.delivery_timeout + SLACK + MS,
        });
    }

    pub(super) fn excuse_until(&mut self, now: Instant) {
        for flush in &mut self.flushes {
            flush.deadline = flush.deadline.max(now + SLACK + MS);
        }
        self.ledger.excuse_until(now);
    }

    /// Returns whether a caller was given the memory that it waits for.
    pub(super) fn can_go_on(&self) -> bool {
        self.waiting.iter().any(|(wait, ..)| wait.is_ready())
    }

    /// Returns whether a caller waits for memory.
    pub(super) fn lack_memory(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Returns whether no caller waits for anything.
    pub(super) fn are_idle(&self) -> bool {
        self.waiting.is_empty() && self.flushes.is_empty()
    }
}

impl Flush {
    fn is_done(&mut self) -> bool {
        let completions = &mut self.completions;
        self.answers.retain(|answer| match answer.try_recv() {
            Ok(more) => {
                completions.extend(more);
                false
            }
            Err(error) => !error.is_disconnected(),
        });
        completions.retain(|completion| !completion.wait_all(Instant::now()));
        self.answers.is_empty() && completions.is_empty()
    }
}
