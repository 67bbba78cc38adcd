//! A test runner for tests that share an expensive resource, such as a cluster. The resource of a group starts with the group's
//! first test and is dropped after its last one; the standard runner never drops a `static`.
//!
//! Its arguments and output are those of the standard runner as far as `cargo test` and tests/run.sh use them:
//! `[FILTER]... [--exact] [--skip FILTER] [--list]`.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// The tests of one binary, in groups that run one after the other.
pub(crate) struct Suite {
    selection: Selection,
    outcome: Outcome,
    started: Instant,
}

impl Suite {
    /// A suite that runs what the command line of this process selects.
    pub(crate) fn from_args() -> Suite {
        Suite {
            selection: Selection::from_args(),
            outcome: Outcome::default(),
            started: Instant::now(),
        }
    }

    /// Runs the selected tests of some modules. `start` makes what they share, or returns why it cannot. `failed` is called for
    /// each failed test.
    pub(crate) fn group<S>(
        &mut self,
        start: impl FnOnce() -> Result<S, Unavailable>,
        failed: impl Fn(&S),
        modules: &[(&str, &[Test<S>])],
    ) {
        let tests = modules
            .iter()
            .flat_map(|(module, tests)| tests.iter().map(move |test| (module, test)));
        let tests: Vec<_> = tests
            .map(|(module, (test, run))| (format!("{module}::{test}"), run))
            .collect();
        let count = tests.len();
        let selected: Vec<_> = tests
            .into_iter()
            .filter(|(test, _)| self.selection.contains(test))
            .collect();
        self.outcome.filtered_out += count - selected.len();
        if self.selection.list_only {
            selected
                .iter()
                .for_each(|(test, _)| println!("{test}: test"));
            return;
        }
        if selected.is_empty() {
            return;
        }
        match catch_unwind(AssertUnwindSafe(start)) {
            Ok(Ok(shared)) => {
                for (test, run) in selected {
                    if !self.run_test(&test, || run(&shared)) {
                        failed(&shared);
                    }
                }
            }
            Ok(Err(unavailable)) => selected
                .iter()
                .for_each(|(test, _)| self.refuse(test, &unavailable)),
            Err(panic) => {
                let unavailable = Unavailable::Failed(panic_message(panic.as_ref()));
                selected
                    .iter()
                    .for_each(|(test, _)| self.refuse(test, &unavailable));
            }
        }
    }

    /// Prints the result line of the binary; the exit code is that of the standard runner.
    pub(crate) fn finish(self) -> ExitCode {
        if self.selection.list_only {
            return ExitCode::SUCCESS;
        }
        let Outcome {
            passed,
            failures,
            ignored,
            filtered_out,
        } = self.outcome;
        if !failures.is_empty() {
            println!("\nfailures:");
            failures.iter().for_each(|test| println!("    {test}"));
        }
        println!(
            "\ntest result: {}. {passed} passed; {} failed; {ignored} ignored; 0 measured; {filtered_out} filtered out; \
             finished in {:.2}s\n",
            if failures.is_empty() { "ok" } else { "FAILED" },
            failures.len(),
            self.started.elapsed().as_secs_f64(),
        );
        if failures.is_empty() {
            ExitCode::SUCCESS
        } else {
            ExitCode::from(101)
        }
    }

    fn run_test(&mut self, test: &str, run: impl FnOnce()) -> bool {
        let began = Instant::now();
        let result = catch_unwind(AssertUnwindSafe(run));
        let took = began.elapsed();
        match result {
            Ok(()) => {
                println!("test {test} ... ok <{}>", seconds(took));
                self.outcome.passed += 1;
                true
            }
            Err(_) => {
                println!("test {test} ... FAILED <{}>", seconds(took));
                self.outcome.failures.push(test.to_owned());
                false
            }
        }
    }

    fn refuse(&mut self, test: &str, unavailable: &Unavailable) {
        match unavailable {
            Unavailable::Skipped(reason) => {
                println!("test {test} ... ignored, {reason}");
                self.outcome.ignored += 1;
            }
            Unavailable::Failed(reason) => {
                eprintln!("{test}: {reason}");
                println!("test {test} ... FAILED");
                self.outcome.failures.push(test.to_owned());
            }
        }
    }
}

/// A test's name and what runs it.
pub(crate) type Test<S> = (&'static str, fn(&S));

/// Why a group cannot run.
pub(crate) enum Unavailable {
    /// The machine lacks something, and that is allowed.
    Skipped(String),
    /// The resource did not start.
    Failed(String),
}

#[derive(Default)]
struct Outcome {
    passed: usize,
    failures: Vec<String>,
    ignored: usize,
    filtered_out: usize,
}

#[derive(Default)]
struct Selection {
    filters: Vec<String>,
    skip: Vec<String>,
    exact: bool,
    list_only: bool,
}

impl Selection {
    fn from_args() -> Selection {
        let mut selection = Selection::default();
        let mut args = std::env::args().skip(1);
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--exact" => selection.exact = true,
                "--list" => selection.list_only = true,
                "--skip" => selection.skip.extend(args.next()),
                // Options of the standard runner that carry a value and change nothing here.
                "--test-threads" | "--format" | "--color" => drop(args.next()),
                option if option.starts_with('-') => {}
                _ => selection.filters.push(arg),
            }
        }
        selection
    }

    fn contains(&self, test: &str) -> bool {
        let matches = |filter: &String| {
            if self.exact {
                test == filter
            } else {
                test.contains(filter.as_str())
            }
        };
        (self.filters.is_empty() || self.filters.iter().any(matches))
            && !self.skip.iter().any(matches)
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    if let Some(message) = panic.downcast_ref::<&str>() {
        (*message).to_owned()
    } else if let Some(message) = panic.downcast_ref::<String>() {
        message.clone()
    } else {
        "a panic without a message".to_owned()
    }
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}
