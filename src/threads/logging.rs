//! Log lines of a producer's own threads. A thread without other duties, `kp-log`, passes them to the program's logger.
//!
//! A logger is user code. It may wait for a lock that a caller holds, and that caller may be waiting in `send` for one of
//! the producer's threads. It may send the line with the same producer. So no thread with other duties calls it. The lines
//! of one producer keep their order. If the logger is too slow, lines are dropped, and a line reports how many.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;

use super::group::ThreadGroup;
use super::panic::catch_panic;
use crate::sync::Mutex;

/// Logs a line. On a producer's own thread another thread calls the logger. Must not be used under a lock.
macro_rules! log_line {
    ($level:expr, target: $target:expr, $($message:tt)+) => {{
        let level = $level;
        if level <= log::STATIC_MAX_LEVEL && level <= log::max_level() {
            let origin = $crate::threads::logging::LineOrigin {
                target: $target,
                module: module_path!(),
                file: file!(),
                line: line!(),
            };
            $crate::threads::logging::write(level, origin, format_args!($($message)+));
        }
    }};
}

pub(crate) use log_line;

/// Where in the source a line comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LineOrigin {
    pub(crate) target: &'static str,
    pub(crate) module: &'static str,
    pub(crate) file: &'static str,
    pub(crate) line: u32,
}

/// Logs a line whose level is enabled, for [`log_line`].
#[cold]
pub(crate) fn write(level: log::Level, origin: LineOrigin, message: fmt::Arguments<'_>) {
    let group = ThreadGroup::of_this_thread();
    if group.is_none() && !is_collecting() {
        return call_logger(level, origin, message);
    }
    let text = shortened(message.to_string());
    #[cfg(feature = "unstable-internals")]
    fatal::panic_if_requested(&text);
    let line = Line {
        level,
        origin,
        text,
    };
    if let (Some(line), Some(group)) = (collected(line), group) {
        group.log(line);
    }
}

thread_local! {
    /// The lines of this thread, if it collects them.
    static COLLECTED: RefCell<Option<Vec<Line>>> = const { RefCell::new(None) };
}

/// Lines for another thread to log.
pub(crate) struct CollectedLines(Vec<Line>);

impl CollectedLines {
    /// Runs `body` and collects what it logs on this thread.
    pub(crate) fn of<T>(body: impl FnOnce() -> T) -> (T, Self) {
        COLLECTED.set(Some(Vec::new()));
        let result = body();
        (result, Self(COLLECTED.take().unwrap_or_default()))
    }

    /// Logs the lines as if this thread had logged them itself.
    pub(crate) fn log(self) {
        for line in self.0 {
            match ThreadGroup::of_this_thread() {
                None => line.call_logger(),
                Some(group) => group.log(line),
            }
        }
    }
}

fn is_collecting() -> bool {
    COLLECTED
        .try_with(|lines| lines.borrow().is_some())
        .unwrap_or_default()
}

/// Keeps a line if this thread collects them. Returns it otherwise.
fn collected(line: Line) -> Option<Line> {
    let mut line = Some(line);
    let _ = COLLECTED.try_with(|lines| {
        if let Some(lines) = &mut *lines.borrow_mut() {
            lines.extend(line.take());
        }
    });
    line
}

/// Bounds the length of a line: it can contain text from a peer, and many lines can wait.
fn shortened(mut text: String) -> String {
    const MOST_BYTES: usize = 4096;
    if text.len() > MOST_BYTES {
        let end = (0..=MOST_BYTES).rfind(|end| text.is_char_boundary(*end));
        text.truncate(end.unwrap_or(0));
        text.push_str("...");
        text.shrink_to_fit();
    }
    text
}

fn call_logger(level: log::Level, origin: LineOrigin, message: fmt::Arguments<'_>) {
    let record = log::Record::builder()
        .level(level)
        .target(origin.target)
        .module_path_static(Some(origin.module))
        .file_static(Some(origin.file))
        .line(Some(origin.line))
        .args(message)
        .build();
    log::logger().log(&record);
}

/// A line that waits for the logger.
pub(super) struct Line {
    level: log::Level,
    origin: LineOrigin,
    text: String,
}

impl Line {
    fn call_logger(self) {
        let Line {
            level,
            origin,
            text,
        } = self;
        call_logger(level, origin, format_args!("{text}"));
    }

    /// A line that reports how many lines were dropped.
    fn of_lost(lost: usize) -> Self {
        Self {
            level: log::Level::Warn,
            origin: LineOrigin {
                target: "kafka_producer",
                module: module_path!(),
                file: file!(),
                line: line!(),
            },
            text: format!("{lost} log line(s) are left out here: the logger took too long"),
        }
    }
}

/// The lines of one producer that wait for the logger.
#[derive(Default)]
pub(super) struct Lines(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    lines: VecDeque<Line>,
    /// The number of lines that were dropped, all of them after those in `lines`.
    lost: usize,
    /// Whether a thread passes lines to the logger, and will check for more.
    has_thread: bool,
}

/// The number of lines that may wait. A line is rarely longer than 500 bytes.
const MOST_WAITING: usize = 1000;

impl Lines {
    /// Adds a line, or drops it if too many wait. Returns whether a thread must be started that passes it to the logger.
    #[must_use]
    pub(super) fn push(&self, line: Line) -> bool {
        let mut waiting = self.0.lock();
        // After a dropped line all are dropped until that is reported, so that the report comes at the right position.
        if waiting.lines.len() < MOST_WAITING && waiting.lost == 0 {
            waiting.lines.push_back(line);
        } else {
            waiting.lost += 1;
        }
        !std::mem::replace(&mut waiting.has_thread, true)
    }

    /// Notes that no thread could be started. The next line tries again.
    pub(super) fn thread_not_started(&self) {
        self.0.lock().has_thread = false;
    }

    /// Returns whether the logger has got all lines.
    #[cfg(test)]
    pub(super) fn are_handed_over(&self) -> bool {
        let waiting = self.0.lock();
        waiting.lines.is_empty() && !waiting.has_thread
    }

    /// The body of the `kp-log` thread: passes all lines to the logger, then returns.
    pub(super) fn hand_over(&self) {
        loop {
            let (lines, lost) = {
                let mut waiting = self.0.lock();
                if waiting.lines.is_empty() && waiting.lost == 0 {
                    waiting.has_thread = false;
                    return;
                }
                let lines = std::mem::take(&mut waiting.lines);
                (lines, std::mem::take(&mut waiting.lost))
            };
            let of_lost = (lost > 0).then(|| Line::of_lost(lost));
            for line in lines.into_iter().chain(of_lost) {
                // A panic of the logger ends only this call.
                let _ = catch_panic(|| line.call_logger());
            }
        }
    }
}

/// Panics that tests request, because no broker can make a thread panic.
#[cfg(feature = "unstable-internals")]
pub(crate) mod fatal {
    use crate::sync::Mutex;

    static TEXTS: Mutex<Vec<String>> = Mutex::new(Vec::new());

    /// From now on a producer's own thread that logs a line with `text` panics.
    pub(crate) fn add(text: &str) {
        TEXTS.lock().push(text.to_owned());
    }

    /// Undoes [`add`].
    pub(crate) fn remove(text: &str) {
        TEXTS.lock().retain(|fatal| fatal != text);
    }

    pub(super) fn panic_if_requested(line: &str) {
        let is_fatal = {
            let texts = TEXTS.lock();
            texts.iter().any(|text| line.contains(&**text))
        };
        assert!(!is_fatal, "the test requests a panic");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn line(text: impl Into<String>) -> Line {
        Line {
            text: text.into(),
            ..Line::of_lost(0)
        }
    }

    #[test]
    fn lines_keep_their_order_and_dropped_ones_are_counted_after_them() {
        let lines = Lines::default();
        assert!(lines.push(line("0")), "a thread is needed");
        for number in 1..MOST_WAITING + 7 {
            assert!(!lines.push(line(number.to_string())));
        }
        {
            let waiting = lines.0.lock();
            let texts = waiting.lines.iter().map(|line| &line.text);
            assert!(
                texts.eq((0..MOST_WAITING)
                    .map(|n| n.to_string())
                    .collect::<Vec<_>>()
                    .iter())
            );
            assert_eq!(waiting.lost, 7);
        }
        lines.hand_over();
        assert!(lines.push(line("later")), "the thread has ended");
    }

    #[test]
    fn a_thread_that_cannot_be_started_is_tried_again_with_the_next_line() {
        let lines = Lines::default();
        assert!(lines.push(line("first")));
        lines.thread_not_started();
        assert!(lines.push(line("second")));
        assert_eq!(lines.0.lock().lines.len(), 2);
    }

    #[test]
    fn collected_lines_are_logged_by_the_thread_that_gets_them() {
        let group = Arc::new(ThreadGroup::default());
        let origin = Line::of_lost(0).origin;
        let logs = |text: &'static str| {
            write(log::Level::Error, origin, format_args!("{text}"));
            7
        };
        let (result, lines) = CollectedLines::of(|| logs("one") + logs("two"));
        assert_eq!(result, 14);
        let texts: Vec<_> = lines.0.iter().map(|line| &*line.text).collect();
        assert_eq!(texts, ["one", "two"]);
        assert!(!is_collecting());
        let patience = std::time::Duration::from_secs(30);
        let body = move || lines.log();
        group.spawn("logs".into(), 64 * 1024, body).unwrap();
        assert_eq!(group.join_until(std::time::Instant::now() + patience), 0);
        assert!(group.lines_are_handed_over());
    }

    #[test]
    fn the_group_waits_for_the_lines_of_its_threads() {
        let group = Arc::new(ThreadGroup::default());
        let origin = Line::of_lost(0).origin;
        let body = move || write(log::Level::Error, origin, format_args!("a line"));
        group.spawn("logs".into(), 64 * 1024, body).unwrap();
        let patience = std::time::Duration::from_secs(30);
        assert_eq!(group.join_until(std::time::Instant::now() + patience), 0);
        assert!(group.lines_are_handed_over());
    }
}
