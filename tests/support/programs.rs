//! The example programs, as their users start them.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::process::{Process, Signal};

/// The program with its arguments; its input and outputs are pipes.
pub(crate) fn program(name: &str, arguments: &[impl AsRef<OsStr>]) -> Command {
    let mut command = Command::new(examples_folder().join(name));
    command
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

pub(crate) fn succeed(program: &str, arguments: &[&str], input: &[u8]) -> Output {
    let output = run(program, arguments, input);
    let (status, printed, errors) = (output.status, text(&output.stdout), text(&output.stderr));
    assert!(
        status.success(),
        "{program} {arguments:?}: {status}\n{printed}\n{errors}"
    );
    output
}

pub(crate) fn run(program: &str, arguments: &[&str], input: &[u8]) -> Output {
    let process = Process::spawn(&mut self::program(program, arguments))
        .unwrap_or_else(|error| panic!("start {program}: {error}"));
    let mut stdin = process.take_stdin().expect("a piped stdin");
    thread::scope(|scope| {
        // The exit status of a program shows whether it was right not to read all of its input.
        scope.spawn(move || drop(stdin.write_all(input)));
        process
            .output(Duration::from_secs(60))
            .unwrap_or_else(|error| panic!("{program} {arguments:?}: {error}"))
    })
}

/// A program that gets `line 1`, `line 2`, ... until it ends. Its input is a socket, so that the test can read what the program
/// has not read.
pub(crate) struct FedProgram {
    process: Process,
    unread: UnixStream,
    has_ended: Arc<AtomicBool>,
    writing: JoinHandle<u64>,
}

impl FedProgram {
    pub(crate) fn start(name: &str, arguments: &[&str]) -> FedProgram {
        let (mut writer, reader) = UnixStream::pair().expect("a pair of sockets");
        let unread = reader.try_clone().expect("a second handle");
        let mut command = program(name, arguments);
        command.stdin(Stdio::from(OwnedFd::from(reader)));
        let process = Process::spawn(&mut command).expect("start the program");
        let has_ended = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&has_ended);
        let writing = thread::spawn(move || {
            let mut lines = 0;
            while !ended.load(Ordering::Relaxed) {
                lines += 1;
                writeln!(writer, "line {lines}").expect("the test holds the socket open");
            }
            lines
        });
        FedProgram {
            process,
            unread,
            has_ended,
            writing,
        }
    }

    /// Sends SIGTERM and waits for the end.
    pub(crate) fn terminate(mut self) -> EndedProgram {
        self.process.signal(Signal::Terminate);
        let output = self.process.output(Duration::from_secs(60));
        self.has_ended.store(true, Ordering::Relaxed);
        let mut left = String::new();
        self.unread.read_to_string(&mut left).expect("whole lines");
        let output = output.expect("an end soon after SIGTERM");
        EndedProgram {
            code: output.status.code(),
            errors: text(&output.stderr),
            lines: self.writing.join().expect("the lines were written"),
            left,
        }
    }
}

/// The result of a [`FedProgram`].
pub(crate) struct EndedProgram {
    pub(crate) code: Option<i32>,
    pub(crate) errors: String,
    /// How many lines were written to it.
    lines: u64,
    /// What it did not read.
    left: String,
}

impl EndedProgram {
    /// Checks that each line was delivered once or is still in the input.
    pub(crate) fn assert_no_line_lost(&self, delivered: impl Iterator<Item = String>) {
        let left = self.left.lines().map(str::to_owned);
        let mut count = 0;
        for line in delivered.chain(left) {
            count += 1;
            assert_eq!(line, format!("line {count}"), "{}", self.errors);
        }
        assert_eq!(count, self.lines, "{}", self.errors);
    }
}

/// The folder that cargo builds into.
pub(crate) fn build_folder() -> &'static Path {
    // Cargo sets the variable to a folder inside its build folder.
    Path::new(env!("CARGO_TARGET_TMPDIR"))
        .parent()
        .expect("a folder above CARGO_TARGET_TMPDIR")
}

/// Where cargo puts the examples; builds them if `cargo test` built only this test.
pub(crate) fn examples_folder() -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let build = || {
        let mut command = Command::new(env!("CARGO"));
        command
            .args([
                "build",
                "--quiet",
                "--locked",
                "--examples",
                "--all-features",
                "--target-dir",
            ])
            .arg(build_folder());
        let profile = if cfg!(debug_assertions) {
            "debug"
        } else {
            "release"
        };
        if profile == "release" {
            command.arg("--release");
        }
        let status = command
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status()
            .expect("run cargo");
        assert!(status.success(), "cargo build --examples: {status}");
        build_folder().join(profile).join("examples")
    };
    FOLDER.get_or_init(build).clone()
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
