//! Counts the outcomes of the lines, and names the lines that were not delivered, up to a limit.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use kafka_producer::{Error, ErrorKind};

use crate::output::complain;

/// The number of lines that are named at once, each with its error. The others are named at the end, and the first line
/// with a new error at once.
const NAMED: u64 = 100;
/// The number of ranges of lines that are named at the end.
const RANGES: usize = 1000;

#[derive(Default)]
pub(crate) struct Deliveries {
    /// The number of the last line read.
    read: AtomicU64,
    delivered: AtomicU64,
    lost: Mutex<Lost>,
}

#[derive(Default)]
struct Lost {
    count: u64,
    errors: Vec<(ErrorKind, Option<i16>)>,
    /// First and last line of each range of lines not named yet.
    ranges: BTreeMap<u64, u64>,
    /// The number of lines in no range, because there are too many ranges.
    in_no_range: u64,
}

impl Deliveries {
    pub(crate) fn begin(&self, line: u64) {
        self.read.store(line, Ordering::Relaxed);
    }

    pub(crate) fn note<T>(&self, line: u64, result: &Result<T, Error>) {
        match result {
            Ok(_) => drop(self.delivered.fetch_add(1, Ordering::Relaxed)),
            Err(error) => {
                let is_named = self.lost().add(line, error);
                if is_named {
                    complain(format_args!("line {line}: {error}"));
                }
            }
        }
    }

    pub(crate) fn delivered(&self) -> u64 {
        self.delivered.load(Ordering::Relaxed)
    }

    pub(crate) fn lost_count(&self) -> u64 {
        self.lost().count
    }

    /// Names the lost lines that were not named before.
    pub(crate) fn name_the_rest(&self) {
        let rest = self.lost().rest();
        if let Some(rest) = rest {
            complain(rest);
        }
    }

    /// Printed when a second signal ends the program.
    pub(crate) fn progress(&self) -> String {
        let (read, delivered) = (self.read.load(Ordering::Relaxed), self.delivered());
        let lost = self.lost_count();
        if let Some(rest) = self.lost().rest() {
            complain(rest);
        }
        format!(
            "of lines 1 to {read}, {delivered} were delivered and {lost} were not; the outcome of the other {} is not known; no \
             later line was sent",
            read.saturating_sub(delivered + lost)
        )
    }

    fn lost(&self) -> MutexGuard<'_, Lost> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lost {
    /// Adds a lost line. Returns whether to name it at once.
    fn add(&mut self, line: u64, error: &Error) -> bool {
        const ERRORS: usize = 100;
        self.count += 1;
        let reason = (error.kind(), error.broker_code());
        let is_new = self.errors.len() < ERRORS && !self.errors.contains(&reason);
        if is_new {
            self.errors.push(reason);
        }
        if is_new || self.count <= NAMED {
            return true;
        }
        self.add_to_ranges(line);
        false
    }

    fn add_to_ranges(&mut self, line: u64) {
        let before = self.ranges.range(..line).next_back();
        let joined = before.filter(|(_, last)| **last + 1 == line);
        let first = joined.map(|(first, _)| *first);
        let last = self.ranges.remove(&(line + 1));
        if first.is_none() && last.is_none() && self.ranges.len() >= RANGES {
            self.in_no_range += 1;
        } else {
            self.ranges
                .insert(first.unwrap_or(line), last.unwrap_or(line));
        }
    }

    fn rest(&mut self) -> Option<String> {
        let mut text = String::from("also not delivered, for reasons such as those above: lines ");
        for (index, (first, last)) in std::mem::take(&mut self.ranges).into_iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            let _ = match first == last {
                true => write!(text, "{comma}{first}"),
                false => write!(text, "{comma}{first}-{last}"),
            };
        }
        let more = std::mem::take(&mut self.in_no_range);
        if more > 0 {
            let _ = write!(text, ", and {more} more");
        }
        text.ends_with(|last: char| last != ' ').then_some(text)
    }
}
