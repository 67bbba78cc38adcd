//! Runs a driver and measures it from outside.

use std::io::Read;
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use serde_json::Value;

/// What a process and those it waited for used in all.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// User and system time.
    pub(crate) cpu: Duration,
    pub(crate) peak_rss_bytes: u64,
    pub(crate) voluntary_switches: u64,
    pub(crate) involuntary_switches: u64,
}

/// The report in a driver's last line, and what the driver used.
pub(crate) struct Ran {
    pub(crate) report: Value,
    pub(crate) usage: Usage,
}

/// Runs `command` to its end, or kills it after `limit`. Its messages go to ours.
pub(crate) fn run(mut command: Command, limit: Duration) -> Result<Ran, String> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{}: {error}", command.get_program().display()))?;
    let mut output = child.stdout.take().expect("piped");
    let process = child.id() as libc::pid_t;
    let (ended, wait_for_end) = channel::<()>();
    let watch = std::thread::spawn(move || {
        let late = wait_for_end.recv_timeout(limit) == Err(RecvTimeoutError::Timeout);
        if late {
            // SAFETY: no memory is involved; the process is ours and not waited for yet.
            unsafe { libc::kill(process, libc::SIGKILL) };
        }
        late
    });
    let mut text = String::new();
    let read = output.read_to_string(&mut text);
    drop(ended);
    let late = watch.join().expect("no panic");
    let usage = wait_for(process)?;
    if late {
        return Err(format!("killed after {} s", limit.as_secs()));
    }
    read.map_err(|error| error.to_string())?;
    let last = text.lines().last().unwrap_or_default();
    let report: Value = serde_json::from_str(last)
        .map_err(|_| format!("it ended with {last:?} instead of a report"))?;
    match report.get("error").and_then(Value::as_str) {
        Some(error) => Err(error.to_owned()),
        None => Ok(Ran { report, usage }),
    }
}

/// The standard library waits without asking what was used.
fn wait_for(process: libc::pid_t) -> Result<Usage, String> {
    let mut status = 0;
    // SAFETY: a plain struct of numbers, for which zero is a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to live variables of the types that the call wants.
    let waited = unsafe { libc::wait4(process, &mut status, 0, &mut usage) };
    if waited != process {
        return Err(format!("wait4: {}", std::io::Error::last_os_error()));
    }
    let time = |time: libc::timeval| {
        Duration::from_secs(time.tv_sec as u64) + Duration::from_micros(time.tv_usec as u64)
    };
    Ok(Usage {
        cpu: time(usage.ru_utime) + time(usage.ru_stime),
        // KiB on Linux.
        peak_rss_bytes: usage.ru_maxrss as u64 * 1024,
        voluntary_switches: usage.ru_nvcsw as u64,
        involuntary_switches: usage.ru_nivcsw as u64,
    })
}
