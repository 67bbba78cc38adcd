//! Prints the library's warnings and errors on standard error.

use log::{LevelFilter, Log, Metadata, Record};

use crate::output::write_stderr;

struct StderrLog;

impl Log for StderrLog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let (level, target) = (record.level(), record.target());
            write_stderr(format!("{level} {target}: {}\n", record.args()));
        }
    }

    fn flush(&self) {}
}

pub(crate) fn install() {
    static LOG: StderrLog = StderrLog;
    if log::set_logger(&LOG).is_ok() {
        log::set_max_level(LevelFilter::Warn);
    }
}
