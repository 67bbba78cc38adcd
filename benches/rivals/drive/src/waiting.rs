//! For clients whose `send` returns a future: looks at every outcome, some time after its record was sent, as a program
//! does that keeps its futures.

use std::collections::VecDeque;
use std::time::Instant;

use crate::options::{End, Mode, Options};
use crate::{BoxError, Latencies};

pub trait Outcome {
    /// Whether `check` would not wait. Never blocks.
    fn is_there(&mut self) -> bool;

    /// Waits for the outcome.
    fn check(self) -> Result<(), BoxError>;

    /// Of how many records it is the outcome.
    fn records(&self) -> usize {
        1
    }
}

pub struct Waiting<T> {
    outcomes: VecDeque<T>,
    /// Of each outcome, when its record was due; empty where nobody wants to know.
    due: VecDeque<Instant>,
    latencies: Latencies,
    /// How many records' outcomes these are.
    records: usize,
    /// How many they may be.
    most: usize,
}

impl<T: Outcome> Waiting<T> {
    pub fn new(options: &Options) -> Self {
        // In an outage nothing is looked at before it is over, or the driver's patience would be measured and not the
        // client's memory. The room is reserved: a queue that grows is in memory twice meanwhile.
        let (most, room) = match (options.mode, options.end) {
            (Mode::Outage, End::Records(records)) => (usize::MAX, records as usize),
            _ => (MOST_WAITING / options.threads, 0),
        };
        Self {
            outcomes: VecDeque::with_capacity(room),
            due: VecDeque::new(),
            latencies: Latencies::default(),
            records: 0,
            most,
        }
    }

    pub fn push(&mut self, outcome: T, due: Option<Instant>) -> Result<(), BoxError> {
        self.records += outcome.records();
        self.outcomes.push_back(outcome);
        self.due.extend(due);
        while self.records > self.most {
            self.check_oldest()?;
        }
        Ok(())
    }

    pub fn poll(&mut self) -> Result<(), BoxError> {
        while self.outcomes.front_mut().is_some_and(Outcome::is_there) {
            self.check_oldest()?;
        }
        Ok(())
    }

    pub fn settle(&mut self) -> Result<(), BoxError> {
        while !self.outcomes.is_empty() {
            self.check_oldest()?;
        }
        Ok(())
    }

    pub fn latencies(&mut self) -> Latencies {
        std::mem::take(&mut self.latencies)
    }

    fn check_oldest(&mut self) -> Result<(), BoxError> {
        if let Some(oldest) = self.outcomes.pop_front() {
            self.records -= oldest.records();
            oldest.check()?;
        }
        if let Some(due) = self.due.pop_front() {
            self.latencies.record_since(due);
        }
        Ok(())
    }
}

/// For how many records a driver keeps outcomes before it looks at the oldest one. Less than 32 MiB of buffer.memory hold of
/// records of 100 bytes: where answers take long, this bounds what is on its way, and not the client.
const MOST_WAITING: usize = 200_000;
