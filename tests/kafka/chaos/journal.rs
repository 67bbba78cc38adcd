//! Keeps what our producers log, with the times of the fault log.

use std::env;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use log::LevelFilter;

use super::clock::{Clock, seconds};
use crate::support::logger::Watch;

/// Writes this process's log to a file as long as the result lives: warnings, or as much as `CHAOS_LOG` says.
pub(super) fn keep(clock: Clock, file: &Path) -> Watch {
    let file = Mutex::new(File::create(file).expect("create a log file"));
    let level = env::var("CHAOS_LOG").ok();
    let level = level.and_then(|level| level.parse().ok());
    Watch::start_at(
        level.unwrap_or(LevelFilter::Warn),
        "",
        move |record, line| {
            let at = seconds(clock.now_ms());
            let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
            // A full disk loses the log, and fails the brokers first.
            let _ = writeln!(file, "{at} {} {}: {line}", record.level(), record.target());
        },
    )
}
