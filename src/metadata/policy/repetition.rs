//! Decides when the connected broker repeats itself, so that another broker is to be asked.

use std::time::{Duration, Instant};

/// Counts the answers of the connected broker, one soon after the other, that had no changes.
///
/// A broker that has lost contact with its cluster answers as fast as any, with what it knew last. But if the other
/// brokers answer the same, nothing has changed, and each change of broker costs a connection. So the next change of broker
/// comes after twice as many answers.
#[derive(Debug, Default)]
pub(super) struct Repetition {
    answers: u32,
    changes: u32,
    last: Option<Instant>,
}

/// The thread abandons the first broker after this many such answers in a row.
const MOST_ANSWERS: u32 = 3;

/// An answer belongs to a row if it comes within this time after the one before.
const SOON_AGAIN: Duration = Duration::from_secs(5);

impl Repetition {
    /// Notes the answer to a request about topics that are known.
    pub(super) fn note_answer(&mut self, has_changes: bool, now: Instant) {
        let is_soon_again = self
            .last
            .is_some_and(|last| now.saturating_duration_since(last) < SOON_AGAIN);
        if is_soon_again && !has_changes {
            self.answers = self.answers.saturating_add(1);
        } else {
            (self.answers, self.changes) = (0, 0);
        }
        self.last = Some(now);
    }

    /// Returns whether another broker is to be asked, if there is one.
    pub(super) fn is_too_much(&self) -> bool {
        self.answers >= MOST_ANSWERS << self.changes.min(8)
    }

    /// Notes that another broker is asked now.
    pub(super) fn note_change(&mut self) {
        self.answers = 0;
        self.changes = self.changes.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns how many answers come before another broker is asked.
    fn answers(repetition: &mut Repetition, now: Instant) -> u32 {
        for count in 0.. {
            if repetition.is_too_much() {
                repetition.note_change();
                return count;
            }
            repetition.note_answer(false, now);
        }
        unreachable!()
    }

    #[test]
    fn brokers_that_all_answer_the_same_are_changed_less_and_less_often() {
        let now = Instant::now();
        let mut repetition = Repetition::default();
        repetition.note_answer(false, now);
        for expected in [3, 6, 12, 24] {
            assert_eq!(answers(&mut repetition, now), expected);
        }
    }

    #[test]
    fn changes_and_pauses_end_a_repetition() {
        let now = Instant::now();
        let mut repetition = Repetition::default();
        repetition.note_answer(false, now);
        for (has_changes, later) in [(true, Duration::ZERO), (false, SOON_AGAIN)] {
            assert_eq!(answers(&mut repetition, now), 3);
            repetition.note_answer(false, now);
            assert!(!repetition.is_too_much());
            repetition.note_answer(has_changes, now + later);
            repetition.last = Some(now);
        }
    }
}
