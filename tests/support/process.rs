//! Child processes that never outlive the tests, in whatever way these end.

use std::io::{self, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// A signal to send, by the name that `kill` knows.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Signal {
    Kill,
    Interrupt,
    Terminate,
    Stop,
    Continue,
}

/// A running child. Dropping it kills it; a watchdog does so if this process dies first.
pub(crate) struct Process {
    /// Holding the lock while a signal is sent keeps another thread from reaping the child, so the id stays the child's.
    child: Mutex<Child>,
    id: u32,
}

impl Process {
    pub(crate) fn spawn(command: &mut Command) -> io::Result<Process> {
        let child = command.spawn()?;
        let id = child.id();
        watchdog().send("watch", id);
        Ok(Process {
            child: Mutex::new(child),
            id,
        })
    }

    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    /// Sends the signal; to a child that has ended it does nothing.
    pub(crate) fn signal(&self, signal: Signal) {
        let mut child = self.child();
        if !matches!(child.try_wait(), Ok(None)) {
            return;
        }
        let name = match signal {
            Signal::Kill => {
                child.kill().expect("kill a child");
                return;
            }
            Signal::Interrupt => "INT",
            Signal::Terminate => "TERM",
            Signal::Stop => "STOP",
            Signal::Continue => "CONT",
        };
        let sent = Command::new("kill")
            .args(["-s", name, &self.id.to_string()])
            .status()
            .expect("run kill");
        assert!(sent.success(), "kill -s {name} {}: {sent}", self.id);
    }

    pub(crate) fn exit_status(&self) -> Option<ExitStatus> {
        self.child().try_wait().expect("look at a child")
    }

    /// Waits until the child has ended. Returns `None` if it still runs after `timeout`.
    pub(crate) fn wait(&self, timeout: Duration) -> Option<ExitStatus> {
        poll(timeout, || self.exit_status())
    }

    /// Returns what a child with piped output wrote until its end. A child that still runs after `timeout` is killed, which is
    /// an error.
    pub(crate) fn output(self, timeout: Duration) -> io::Result<Output> {
        let deadline = Instant::now() + timeout;
        let (stdout, stderr) = {
            let mut child = self.child();
            (
                child.stdout.take().map(read_to_end),
                child.stderr.take().map(read_to_end),
            )
        };
        let receive = |bytes: Option<Receiver<Vec<u8>>>| match bytes {
            Some(bytes) => bytes.recv_timeout(deadline.saturating_duration_since(Instant::now())),
            None => Ok(Vec::new()),
        };
        let late = || {
            io::Error::new(
                io::ErrorKind::TimedOut,
                format!("still running after {timeout:?}"),
            )
        };
        let stdout = receive(stdout).map_err(|_| late())?;
        let stderr = receive(stderr).map_err(|_| late())?;
        let status = self
            .wait(deadline.saturating_duration_since(Instant::now()))
            .ok_or_else(late)?;
        Ok(Output {
            status,
            stdout,
            stderr,
        })
    }

    /// The child's standard input, if it was piped and not taken before.
    pub(crate) fn take_stdin(&self) -> Option<ChildStdin> {
        self.child().stdin.take()
    }

    /// The child's standard output, if it was piped and not taken before.
    pub(crate) fn take_stdout(&self) -> Option<ChildStdout> {
        self.child().stdout.take()
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let mut child = self.child();
        // Both fail only for a child that is gone already.
        let _ = child.kill();
        let _ = child.wait();
        watchdog().send("forget", self.id);
    }
}

/// Checks `condition` until it returns a value or `timeout` has passed. These conditions are about other processes, which send
/// no notification.
pub(crate) fn poll<T>(timeout: Duration, mut condition: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + timeout;
    loop {
        if let Some(answer) = condition() {
            return Some(answer);
        }
        if Instant::now() >= deadline {
            return None;
        }
        thread::park_timeout(Duration::from_millis(20));
    }
}

fn read_to_end(mut source: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // A read error ends the output, too; the exit status shows what happened.
        let _ = source.read_to_end(&mut bytes);
        let _ = sender.send(bytes);
    });
    receiver
}

/// A shell that reads the ids of our children, and kills those that are left when its input ends. The kernel closes the pipe in
/// whatever way this process ends, also by SIGKILL or a time limit.
struct Watchdog(Mutex<Child>);

impl Watchdog {
    fn start() -> Watchdog {
        let shell = Command::new("sh")
            .args(["-c", WATCHDOG_SCRIPT])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("start sh");
        Watchdog(Mutex::new(shell))
    }

    fn send(&self, verb: &str, id: u32) {
        let mut shell = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let pipe = shell.stdin.as_mut().expect("a piped stdin");
        // Without its watchdog a test still ends its children in Drop.
        let _ = writeln!(pipe, "{verb} {id}");
    }
}

fn watchdog() -> &'static Watchdog {
    static WATCHDOG: OnceLock<Watchdog> = OnceLock::new();
    WATCHDOG.get_or_init(Watchdog::start)
}

/// Ctrl-C reaches the whole foreground group, so the signals it could die of before its input ends are ignored.
const WATCHDOG_SCRIPT: &str = r#"
trap '' INT TERM HUP QUIT
watched=
while read -r verb id; do
    if [ "$verb" = watch ]; then
        watched="$watched $id"
    else
        left=
        for other in $watched; do [ "$other" = "$id" ] || left="$left $other"; done
        watched=$left
    fi
done
for id in $watched; do kill -s KILL "$id"; done
"#;
