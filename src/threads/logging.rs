//! Log lines of a producer's own threads, handed to the program's logger by a thread that nothing waits for.
//!
//! A logger is foreign code: it may wait for a lock that a caller holds who waits in `send` for one of these threads, or
//! itself send the line with the same producer. So no thread with other duties calls it. The lines of one producer keep
//! their order. A logger that is too slow loses lines, and is told how many.

use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::group::ThreadGroup;
use crate::sync::Mutex;

/// Logs a line: on a thread of a producer without calling the logger there, on others at once. Not to be used under a lock.
macro_rules! log_line {
    ($level:expr, target: $target:expr, $($message:tt)+) => {{
        let level = $level;
        if level <= log::STATIC_MAX_LEVEL && level <= log::max_level() {
            let place = $crate::threads::logging::Place {
                target: $target,
                module: module_path!(),
                file: file!(),
                line: line!(),
            };
            $crate::threads::logging::write(level, place, format_args!($($message)+));
        }
    }};
}

pub(crate) use log_line;

/// Where a line comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) target: &'static str,
    pub(crate) module: &'static str,
    pub(crate) file: &'static str,
    pub(crate) line: u32,
}

/// What [`log_line`] does with a line that is not below the level.
#[cold]
pub(crate) fn write(level: log::Level, place: Place, message: fmt::Arguments<'_>) {
    match ThreadGroup::of_this_thread() {
        None => call_logger(level, place, message),
        Some(group) => {
            let text = shortened(message.to_string());
            #[cfg(feature = "unstable-internals")]
            fatal::panic_where_told(&text);
            group.log(Line { level, place, text });
        }
    }
}

/// What peers say can be in a line, and many lines can wait.
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

fn call_logger(level: log::Level, place: Place, message: fmt::Arguments<'_>) {
    let record = log::Record::builder()
        .level(level)
        .target(place.target)
        .module_path_static(Some(place.module))
        .file_static(Some(place.file))
        .line(Some(place.line))
        .args(message)
        .build();
    log::logger().log(&record);
}

/// A line that waits for the logger.
pub(super) struct Line {
    level: log::Level,
    place: Place,
    text: String,
}

impl Line {
    fn call_logger(self) {
        let Line { level, place, text } = self;
        call_logger(level, place, format_args!("{text}"));
    }

    /// Tells of lines that found no place.
    fn of_lost(lost: usize) -> Self {
        Self {
            level: log::Level::Warn,
            place: Place {
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
    /// Lines that found no place, all after those in `lines`.
    lost: usize,
    /// Whether a thread hands lines over, and will look again.
    has_thread: bool,
}

/// As many lines as may wait. A line is rarely longer than 500 bytes.
const MOST_WAITING: usize = 1000;

impl Lines {
    /// Adds a line, if there is a place. Whether a thread must be started that hands it over.
    #[must_use]
    pub(super) fn push(&self, line: Line) -> bool {
        let mut waiting = self.0.lock();
        // Behind lines that were lost there is no place either, or they would be told of in the wrong place.
        if waiting.lines.len() < MOST_WAITING && waiting.lost == 0 {
            waiting.lines.push_back(line);
        } else {
            waiting.lost += 1;
        }
        !std::mem::replace(&mut waiting.has_thread, true)
    }

    /// No thread could be started: the next line tries again.
    pub(super) fn await_next(&self) {
        self.0.lock().has_thread = false;
    }

    /// Whether the logger has had all there were.
    #[cfg(test)]
    pub(super) fn are_handed_over(&self) -> bool {
        let waiting = self.0.lock();
        waiting.lines.is_empty() && !waiting.has_thread
    }

    /// On the thread for lines: hands over all there are, then ends.
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
                // A panic of the logger's ends nothing but itself.
                if let Err(panic) = catch_unwind(AssertUnwindSafe(|| line.call_logger())) {
                    // To drop it is foreign code, too.
                    std::mem::forget(panic);
                }
            }
        }
    }
}

/// Panics that tests ask for, since no broker can make a thread panic.
#[cfg(feature = "unstable-internals")]
pub(crate) mod fatal {
    use crate::sync::Mutex;

    static TEXTS: Mutex<Vec<String>> = Mutex::new(Vec::new());

    /// From now on a producer's own thread that logs a line with `text` panics.
    pub(crate) fn add(text: &str) {
        TEXTS.lock().push(text.to_owned());
    }

    /// Ends what [`add`] began.
    pub(crate) fn remove(text: &str) {
        TEXTS.lock().retain(|fatal| fatal != text);
    }

    pub(super) fn panic_where_told(line: &str) {
        let is_fatal = {
            let texts = TEXTS.lock();
            texts.iter().any(|text| line.contains(&**text))
        };
        assert!(!is_fatal, "as the test wants it");
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
    fn lines_keep_their_order_and_those_without_a_place_are_counted_behind_them() {
        let lines = Lines::default();
        assert!(lines.push(line("0")), "somebody must hand it over");
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
        lines.await_next();
        assert!(lines.push(line("second")));
        assert_eq!(lines.0.lock().lines.len(), 2);
    }

    #[test]
    fn the_group_waits_for_the_lines_of_its_threads() {
        let group = Arc::new(ThreadGroup::default());
        let place = Line::of_lost(0).place;
        let body = move || write(log::Level::Error, place, format_args!("a line"));
        group.spawn("logs".into(), 64 * 1024, body).unwrap();
        let patience = std::time::Duration::from_secs(30);
        assert_eq!(group.join_until(std::time::Instant::now() + patience), 0);
        assert!(group.lines_are_handed_over());
    }
}
