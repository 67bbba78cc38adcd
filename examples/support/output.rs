//! Lines on standard output and standard error, and the exit status. A full device or a closed pipe causes no panic: if
//! standard output fails, the program reports it at its end; if standard error fails, only the exit status shows the
//! failure.

use std::fmt::Display;
use std::io::{Write, stderr, stdout};
use std::process::ExitCode;
use std::sync::OnceLock;

use crate::signals;

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_NAME");

/// The first error of standard output. After it nothing more is written there, because output with a gap misleads.
static FAULT: OnceLock<String> = OnceLock::new();

/// Writes a line to standard output.
pub(crate) fn print(line: impl Display) {
    if FAULT.get().is_some() {
        return;
    }
    let line = format!("{line}\n");
    let mut stdout = stdout().lock();
    if let Err(error) = stdout
        .write_all(line.as_bytes())
        .and_then(|()| stdout.flush())
    {
        let _ = FAULT.set(format!("standard output: {error}"));
    }
}

/// Why standard output failed, if it has.
pub(crate) fn fault() -> Option<&'static str> {
    FAULT.get().map(String::as_str)
}

/// Writes a line that begins with the program's name to standard error.
pub(crate) fn complain(line: impl Display) {
    write_stderr(format!("{PROGRAM}: {line}\n"));
}

/// Writes to standard error, in one piece, so that lines of several threads do not mix.
pub(crate) fn write_stderr(text: impl AsRef<[u8]>) {
    let _ = stderr().write_all(text.as_ref());
}

/// The exit status of a program, after a line that says why it is 1.
pub(crate) fn exit_code(result: Result<(), String>) -> ExitCode {
    let result = result.and_then(|()| fault().map_or(Ok(()), |fault| Err(fault.to_owned())));
    match (result, signals::stopped_by()) {
        (Err(fault), _) => {
            complain(fault);
            ExitCode::FAILURE
        }
        (Ok(()), Some(signal)) => signal.exit_code(),
        (Ok(()), None) => ExitCode::SUCCESS,
    }
}
