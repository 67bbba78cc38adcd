//! The futures whose outcomes were not read yet.

use std::time::Duration;

use kafka_producer::{Future, Futures};

pub(crate) enum Waiting {
    One(Future),
    Many(Futures),
}

impl Waiting {
    pub(crate) fn is_done(&self) -> bool {
        match self {
            Waiting::One(future) => future.is_done(),
            Waiting::Many(futures) => futures.are_done(),
        }
    }

    /// Waits for the outcome of every record. Panics if one was not delivered.
    pub(crate) fn read(self) {
        let patience = Duration::from_secs(30);
        match self {
            Waiting::One(future) => drop(future.get(patience).expect("delivered")),
            Waiting::Many(futures) => futures.wait(patience).expect("delivered"),
        }
    }

    pub(crate) fn records(&self) -> usize {
        match self {
            Waiting::One(_) => 1,
            Waiting::Many(futures) => futures.len(),
        }
    }
}
