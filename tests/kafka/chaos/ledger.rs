//! What is known of each record, in sixteen bytes: an hour of ten thousand records a second fits in 600 MB.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use kafka_producer::{Delivery, Error, RecordMetadata};

use super::clock::{Clock, seconds};

/// The records of one sender, numbered from 0 in the order in which it sent them.
pub(super) struct Ledger {
    clock: Clock,
    entries: Mutex<Entries>,
}

/// The outcome that a producer reported for a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Pending,
    Acknowledged { partition: i32, offset: i64 },
    NotWritten,
    MaybeWritten,
}

/// The numbers of outcomes by kind, and the faults that were found when they were reported.
#[derive(Clone, Debug, Default)]
pub(super) struct Totals {
    pub(super) sent: u64,
    pub(super) acknowledged: u64,
    pub(super) not_written: u64,
    pub(super) maybe_written: u64,
    pub(super) pending: u64,
    /// Outcomes of records that had one before.
    pub(super) reported_twice: u64,
    /// From `open` to the outcome, of acknowledged records, and which record it was.
    pub(super) longest: (u32, u64),
}

impl Totals {
    pub(super) fn and(self, other: Totals) -> Totals {
        Totals {
            sent: self.sent + other.sent,
            acknowledged: self.acknowledged + other.acknowledged,
            not_written: self.not_written + other.not_written,
            maybe_written: self.maybe_written + other.maybe_written,
            pending: self.pending + other.pending,
            reported_twice: self.reported_twice + other.reported_twice,
            longest: self.longest.max(other.longest),
        }
    }
}

impl Ledger {
    pub(super) fn new(clock: Clock) -> Ledger {
        Ledger {
            clock,
            entries: Mutex::default(),
        }
    }

    /// Adds a record that is sent now, and returns its number.
    pub(super) fn open(&self) -> u64 {
        let now = self.clock.now_ms();
        self.lock().push(now)
    }

    /// Adds an outcome that the producer reports now.
    pub(super) fn complete(&self, number: u64, result: Result<&RecordMetadata, &Error>) {
        let outcome = match result {
            Ok(metadata) => Outcome::Acknowledged {
                partition: metadata.partition(),
                offset: metadata.offset().expect("acks=all returns offsets"),
            },
            Err(error) if error.delivery() == Delivery::NotWritten => Outcome::NotWritten,
            Err(_) => Outcome::MaybeWritten,
        };
        self.complete_at(number, outcome, self.clock.now_ms());
    }

    /// Adds an outcome that was reported at that time, maybe of a record that was not opened here.
    pub(super) fn complete_at(&self, number: u64, outcome: Outcome, now_ms: u32) {
        let mut entries = self.lock();
        while entries.totals.sent <= number {
            entries.push(UNKNOWN_TIME);
        }
        let entry = entries.entry(number);
        if entry.outcome() != Outcome::Pending {
            entries.totals.reported_twice += 1;
            return;
        }
        entry.state = encode(outcome);
        entry.completed_ms = now_ms;
        let took_ms = now_ms.saturating_sub(entry.sent_ms);
        let totals = &mut entries.totals;
        totals.pending -= 1;
        match outcome {
            Outcome::Pending => unreachable!("a reported outcome is not pending"),
            Outcome::Acknowledged { .. } => {
                totals.acknowledged += 1;
                totals.longest = totals.longest.max((took_ms, number));
            }
            Outcome::NotWritten => totals.not_written += 1,
            Outcome::MaybeWritten => totals.maybe_written += 1,
        }
    }

    pub(super) fn totals(&self) -> Totals {
        self.lock().totals.clone()
    }

    /// Adds that the log holds the record there. Returns what is wrong with that, if anything.
    pub(super) fn see(&self, number: u64, partition: i32, offset: i64) -> Option<Wrong> {
        let mut entries = self.lock();
        if number >= entries.totals.sent {
            return Some(Wrong::NeverSent);
        }
        let entry = entries.entry(number);
        if entry.state & SEEN != 0 {
            return Some(Wrong::Twice);
        }
        entry.state |= SEEN;
        match entry.outcome() {
            Outcome::NotWritten => Some(Wrong::WrittenAfterAll),
            Outcome::Acknowledged {
                partition: reported,
                offset: at,
            } if (reported, at) != (partition, offset) => Some(Wrong::Elsewhere),
            _ => None,
        }
    }

    /// The records that were acknowledged and not seen.
    pub(super) fn lost(&self) -> Vec<u64> {
        let mut entries = self.lock();
        let is_lost = |entry: &Entry| {
            entry.state & SEEN == 0 && matches!(entry.outcome(), Outcome::Acknowledged { .. })
        };
        (0..entries.totals.sent)
            .filter(|number| is_lost(entries.entry(*number)))
            .collect()
    }

    /// Describes a record, for the report of a failed test.
    pub(super) fn history(&self, number: u64) -> String {
        let mut entries = self.lock();
        if number >= entries.totals.sent {
            return "never sent".to_owned();
        }
        let entry = entries.entry(number);
        let sent = match entry.sent_ms {
            UNKNOWN_TIME => "sent".to_owned(),
            at => format!("sent at {}", seconds(at)),
        };
        let outcome = entry.outcome();
        match outcome {
            Outcome::Pending => format!("{sent}, no outcome"),
            _ => format!("{sent}, {outcome} at {}", seconds(entry.completed_ms)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What can be wrong with a record that the log holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    Twice,
    /// Its error said `not written`.
    WrittenAfterAll,
    /// Its metadata has another partition or offset.
    Elsewhere,
    NeverSent,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Pending => f.write_str("pending"),
            Outcome::Acknowledged { partition, offset } => {
                write!(f, "acknowledged as {partition}@{offset}")
            }
            Outcome::NotWritten => f.write_str("failed as not written"),
            Outcome::MaybeWritten => f.write_str("failed as maybe written"),
        }
    }
}

/// A list in blocks, so that growing copies nothing and never needs the memory twice.
#[derive(Default)]
struct Entries {
    blocks: Vec<Vec<Entry>>,
    totals: Totals,
}

const BLOCK: u64 = 65_536;
const UNKNOWN_TIME: u32 = u32::MAX;

impl Entries {
    fn push(&mut self, sent_ms: u32) -> u64 {
        let number = self.totals.sent;
        if number % BLOCK == 0 {
            self.blocks.push(Vec::with_capacity(BLOCK as usize));
        }
        let entry = Entry {
            state: encode(Outcome::Pending),
            sent_ms,
            completed_ms: UNKNOWN_TIME,
        };
        self.blocks.last_mut().expect("a block").push(entry);
        self.totals.sent += 1;
        self.totals.pending += 1;
        number
    }

    fn entry(&mut self, number: u64) -> &mut Entry {
        &mut self.blocks[(number / BLOCK) as usize][(number % BLOCK) as usize]
    }
}

struct Entry {
    /// Offset, partition, kind of outcome, and whether the log was seen to hold it, from the lowest bit up.
    state: u64,
    sent_ms: u32,
    completed_ms: u32,
}

const OFFSET_BITS: u32 = 40;
const PARTITION_BITS: u32 = 12;
const KIND_SHIFT: u32 = OFFSET_BITS + PARTITION_BITS;
const SEEN: u64 = 1 << 63;

impl Entry {
    fn outcome(&self) -> Outcome {
        match (self.state & !SEEN) >> KIND_SHIFT {
            0 => Outcome::Pending,
            1 => Outcome::NotWritten,
            2 => Outcome::MaybeWritten,
            _ => Outcome::Acknowledged {
                partition: ((self.state >> OFFSET_BITS) & ((1 << PARTITION_BITS) - 1)) as i32,
                offset: (self.state & ((1 << OFFSET_BITS) - 1)) as i64,
            },
        }
    }
}

fn encode(outcome: Outcome) -> u64 {
    match outcome {
        Outcome::Pending => 0,
        Outcome::NotWritten => 1 << KIND_SHIFT,
        Outcome::MaybeWritten => 2 << KIND_SHIFT,
        Outcome::Acknowledged { partition, offset } => {
            let (partition, offset) = (partition as u64, offset as u64);
            assert!(partition < 1 << PARTITION_BITS && offset < 1 << OFFSET_BITS);
            3 << KIND_SHIFT | partition << OFFSET_BITS | offset
        }
    }
}
