//! Keeps what our producers log, with the times of the fault log.

use std::env;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};

use log::{LevelFilter, Log, Metadata, Record};

use super::clock::{Clock, seconds};

/// Writes this process's log to a file from now on: warnings, or as much as `CHAOS_LOG` says.
pub(super) fn keep(clock: Clock, file: &Path) {
    static JOURNAL: OnceLock<Journal> = OnceLock::new();
    let file = File::create(file).expect("create a log file");
    let journal = JOURNAL.get_or_init(|| Journal {
        clock,
        file: Mutex::new(file),
    });
    if log::set_logger(journal).is_ok() {
        let level = env::var("CHAOS_LOG")
            .ok()
            .and_then(|level| level.parse().ok());
        log::set_max_level(level.unwrap_or(LevelFilter::Warn));
    }
}

struct Journal {
    clock: Clock,
    file: Mutex<File>,
}

impl Log for Journal {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let at = seconds(self.clock.now_ms());
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        // A full disk loses the log, and fails the brokers first.
        let _ = writeln!(
            file,
            "{at} {} {}: {}",
            record.level(),
            record.target(),
            record.args()
        );
    }

    fn flush(&self) {}
}
