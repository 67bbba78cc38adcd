//! The program's logger, one in a process: tests watch for lines that contain a text of their own.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

type Action = Arc<dyn Fn(&log::Record<'_>, &str) + Send + Sync>;

struct Logger;

/// What a test watches for.
struct Wanted {
    /// To find it again.
    number: u64,
    level: log::LevelFilter,
    text: String,
    action: Action,
}

static WATCHES: Mutex<Vec<Wanted>> = Mutex::new(Vec::new());

impl log::Log for Logger {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        if !record.target().starts_with("kafka_producer") {
            return;
        }
        let line = record.args().to_string();
        let is_wanted = |wanted: &&Wanted| {
            record.level() <= wanted.level && line.contains(wanted.text.as_str())
        };
        let actions: Vec<Action> = {
            let watches = WATCHES.lock().unwrap();
            let watching = watches.iter().filter(is_wanted);
            watching.map(|wanted| Arc::clone(&wanted.action)).collect()
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
        Self::start_at(log::LevelFilter::Info, text, action)
    }

    /// For lines of this level and of more important ones.
    pub(crate) fn start_at(
        level: log::LevelFilter,
        text: &str,
        action: impl Fn(&log::Record<'_>, &str) + Send + Sync + 'static,
    ) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let _ = log::set_logger(&Logger);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let mut watches = WATCHES.lock().unwrap();
        log::set_max_level(log::max_level().max(level));
        watches.push(Wanted {
            number,
            level,
            text: text.to_owned(),
            action: Arc::new(action),
        });
        Self(number)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut watches = WATCHES.lock().unwrap();
        watches.retain(|wanted| wanted.number != self.0);
    }
}

/// Collects the lines that contain a text.
pub(crate) struct Lines {
    lines: Arc<Mutex<Vec<String>>>,
    _watch: Watch,
}

impl Lines {
    pub(crate) fn about(text: &str) -> Self {
        Self::of(text, |_| true)
    }

    /// Collects the lines that contain `text` and whose records are wanted. `is_wanted` runs on the thread that logs.
    pub(crate) fn of(
        text: &str,
        is_wanted: impl Fn(&log::Record<'_>) -> bool + Send + Sync + 'static,
    ) -> Self {
        let lines = Arc::<Mutex<Vec<String>>>::default();
        let collected = Arc::clone(&lines);
        let _watch = Watch::start(text, move |record, line| {
            if is_wanted(record) {
                collected.lock().unwrap().push(line.to_owned());
            }
        });
        Self { lines, _watch }
    }

    pub(crate) fn so_far(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }
}
