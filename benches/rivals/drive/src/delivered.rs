//! For clients that call back: counts outcomes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use crate::{BoxError, Latencies};

/// The outcomes of one lane's records. Lives as long as the process, since a callback may come at any time.
pub struct Delivered {
    count: AtomicU64,
    /// How many somebody waits for.
    wanted: AtomicU64,
    first_error: Mutex<Option<String>>,
    changed: Condvar,
    latencies: Mutex<Latencies>,
}

impl Delivered {
    pub fn leaked() -> &'static Self {
        Box::leak(Box::new(Self {
            count: AtomicU64::new(0),
            wanted: AtomicU64::new(u64::MAX),
            first_error: Mutex::new(None),
            changed: Condvar::new(),
            latencies: Mutex::default(),
        }))
    }

    /// To be called once for each record.
    pub fn done(&self, due: Option<Instant>, outcome: Result<(), impl std::fmt::Display>) {
        if let Some(due) = due {
            self.latencies.lock().unwrap().record_since(due);
        }
        if let Err(error) = outcome {
            let mut first = self.first_error.lock().unwrap();
            first.get_or_insert_with(|| error.to_string());
        }
        let count = 1 + self.count.fetch_add(1, Ordering::SeqCst);
        if count >= self.wanted.load(Ordering::SeqCst) {
            drop(self.first_error.lock().unwrap());
            self.changed.notify_all();
        }
    }

    /// Waits until `sent` records have an outcome.
    pub fn wait_for(&self, sent: u64) -> Result<(), BoxError> {
        self.wanted.store(sent, Ordering::SeqCst);
        let mut first_error = self.first_error.lock().unwrap();
        while self.count.load(Ordering::SeqCst) < sent {
            let (guard, timed_out) = self
                .changed
                .wait_timeout(first_error, MOST_PATIENCE)
                .unwrap();
            first_error = guard;
            if timed_out.timed_out() {
                return Err("records have had no outcome for long".into());
            }
        }
        self.wanted.store(u64::MAX, Ordering::SeqCst);
        match first_error.take() {
            Some(error) => Err(error.into()),
            None => Ok(()),
        }
    }

    pub fn latencies(&self) -> Latencies {
        std::mem::take(&mut self.latencies.lock().unwrap())
    }
}

const MOST_PATIENCE: Duration = Duration::from_secs(60);
