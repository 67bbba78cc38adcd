//! The CPU time of a process with all its threads, from the operating system.

use std::time::Duration;

/// This process's user and system time so far, to 10 ms. `None` if there is no `/proc`.
pub(crate) fn process_time() -> Option<Duration> {
    time_of(std::process::id())
}

/// The same of any process.
pub(crate) fn time_of(process: u32) -> Option<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The second field is the program's name in parentheses and may hold blanks.
    let fields: Vec<_> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    Some(Duration::from_millis(
        (ticks(UTIME_FIELD)? + ticks(STIME_FIELD)?) * TICK_MS,
    ))
}

/// Counted from 1, as proc(5) does.
const UTIME_FIELD: usize = 14;
const STIME_FIELD: usize = 15;
/// Linux counts these in 1/100 s on every architecture.
const TICK_MS: u64 = 10;
