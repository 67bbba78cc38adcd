//! Handles SIGINT and SIGTERM: the first signal asks the program to stop, the second one ends it at once.
//! Only on Unix: on other systems the system's own handling ends the program.
#![cfg_attr(not(unix), allow(dead_code, unused_variables))]

use std::fmt;
use std::io;
use std::process::ExitCode;
use std::sync::OnceLock;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use crate::output;

/// The last part of each program's help, after the meaning of the statuses 0 and 1.
pub(crate) const STATUS_AFTER_A_SIGNAL: &str = "  130, 143  SIGINT or SIGTERM stopped it early, without a failure of status 1\n\n\
    After the first SIGINT or SIGTERM it accepts no more records, waits until each accepted record has its\n\
    outcome, and ends. A second signal ends it at once, with status 1.\n";

/// A signal's number.
#[derive(Clone, Copy)]
pub(crate) struct Signal(i32);

impl Signal {
    /// 128 plus the signal's number, as in shells.
    pub(crate) fn exit_code(self) -> ExitCode {
        ExitCode::from(u8::try_from(128 + self.0).unwrap_or(u8::MAX))
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            2 => write!(f, "SIGINT"),
            15 => write!(f, "SIGTERM"),
            other => write!(f, "signal {other}"),
        }
    }
}

static STOPPED_BY: OnceLock<Signal> = OnceLock::new();

/// Returns the first signal; `None` if none has come yet.
pub(crate) fn stopped_by() -> Option<Signal> {
    STOPPED_BY.get().copied()
}

/// Calls `stop`, which must not block, at the first signal. At the second one, prints what `progress` returns and ends the
/// program.
#[cfg(unix)]
pub(crate) fn handle(
    stop: impl FnOnce() + Send + 'static,
    progress: impl FnOnce() -> String + Send + 'static,
) -> io::Result<()> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM])?;
    let wait = move || {
        let mut signals = signals.forever();
        if let Some(first) = signals.next() {
            let first = *STOPPED_BY.get_or_init(|| Signal(first));
            stop();
            report(move || {
                format!(
                    "{first}: stopping when all accepted records have an outcome; a second signal ends at once"
                )
            });
        }
        if signals.next().is_some() {
            report(move || format!("a second signal: ended at once; {}", progress()));
            std::process::exit(1);
        }
    };
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(wait)
        .map(drop)
}

#[cfg(not(unix))]
pub(crate) fn handle(
    stop: impl FnOnce() + Send + 'static,
    progress: impl FnOnce() -> String + Send + 'static,
) -> io::Result<()> {
    Ok(())
}

/// Writes a text to standard error on another thread, and waits for that thread for at most a second. The write blocks for
/// ever if standard error is a full pipe that no program reads.
fn report(text: impl FnOnce() -> String + Send + 'static) {
    let (done, written) = channel();
    let write = move || {
        output::complain(text());
        let _ = done.send(());
    };
    if thread::Builder::new().spawn(write).is_ok() {
        let _ = written.recv_timeout(Duration::from_secs(1));
    }
}
