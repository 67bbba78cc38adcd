//! The program's logger, one in a process: tests watch for lines that contain a text of their own.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

type Action = Arc<dyn Fn(&log::Record<'_>, &str) + Send + Sync>;

struct Logger;

/// The watchers: a number to find each again, and the text that it watches for.
static WATCHES: Mutex<Vec<(u64, String, Action)>> = Mutex::new(Vec::new());

impl log::Log for Logger {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        if record.level() > log::Level::Info || !record.target().starts_with("kafka_producer") {
            return;
        }
        let line = record.args().to_string();
        let actions: Vec<Action> = {
            let watches = WATCHES.lock().unwrap();
            let watching = watches.iter().filter(|(_, text, _)| line.contains(text));
            watching.map(|(_, _, action)| Arc::clone(action)).collect()
        };
        for action in actions {
            action(record, &line);
        }
    }

    fn flush(&self) {}
}

/// Calls an action for each line that contains a text, as long as it lives.
pub(crate) struct Watch(u64);

impl Watch {
    pub(crate) fn start(
        text: &str,
        action: impl Fn(&log::Record<'_>, &str) + Send + Sync + 'static,
    ) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let _ = log::set_logger(&Logger);
        log::set_max_level(log::LevelFilter::Info);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let watch = (number, text.to_owned(), Arc::new(action) as Action);
        WATCHES.lock().unwrap().push(watch);
        Self(number)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut watches = WATCHES.lock().unwrap();
        watches.retain(|(number, ..)| *number != self.0);
    }
}

/// Collects the lines that contain a text.
pub(crate) struct Lines {
    lines: Arc<Mutex<Vec<String>>>,
    _watch: Watch,
}

impl Lines {
    pub(crate) fn about(text: &str) -> Self {
        let lines = Arc::<Mutex<Vec<String>>>::default();
        let collected = Arc::clone(&lines);
        let _watch = Watch::start(text, move |_, line| {
            collected.lock().unwrap().push(line.to_owned());
        });
        Self { lines, _watch }
    }

    pub(crate) fn so_far(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }
}
