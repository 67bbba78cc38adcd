//! Whether the connected broker's answers help those who ask, or another one should tell of the cluster.

use std::time::{Duration, Instant};

/// How often the connected broker has told the same with hardly a pause between. One that has lost touch with its cluster
/// answers as readily as any, and with what it last knew. But where the others tell the same, there is nothing else to
/// learn, and each change of broker is a connection: so the next change comes after twice as many answers.
#[derive(Debug, Default)]
pub(super) struct Repetition {
    answers: u32,
    changes: u32,
    last: Option<Instant>,
}

/// So many answers in a row are taken from the first broker.
const MOST_ANSWERS: u32 = 3;

/// Answers belong together where each comes so soon after the one before.
const SOON_AGAIN: Duration = Duration::from_secs(5);

impl Repetition {
    /// Notes the answer to a question about what was known.
    pub(super) fn note_answer(&mut self, tells_news: bool, now: Instant) {
        let is_soon_again = self
            .last
            .is_some_and(|last| now.saturating_duration_since(last) < SOON_AGAIN);
        if is_soon_again && !tells_news {
            self.answers = self.answers.saturating_add(1);
        } else {
            (self.answers, self.changes) = (0, 0);
        }
        self.last = Some(now);
    }

    /// Whether another broker is to be asked, if there is one.
    pub(super) fn is_too_much(&self) -> bool {
        self.answers >= MOST_ANSWERS << self.changes.min(8)
    }

    pub(super) fn turn_to_another(&mut self) {
        self.answers = 0;
        self.changes = self.changes.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many answers come before another broker is turned to.
    fn answers(repetition: &mut Repetition, now: Instant) -> u32 {
        for count in 0.. {
            if repetition.is_too_much() {
                repetition.turn_to_another();
                return count;
            }
            repetition.note_answer(false, now);
        }
        unreachable!()
    }

    #[test]
    fn brokers_that_all_tell_the_same_are_changed_less_and_less_often() {
        let now = Instant::now();
        let mut repetition = Repetition::default();
        repetition.note_answer(false, now);
        for expected in [3, 6, 12, 24] {
            assert_eq!(answers(&mut repetition, now), expected);
        }
    }

    #[test]
    fn news_and_pauses_end_a_repetition() {
        let now = Instant::now();
        let mut repetition = Repetition::default();
        repetition.note_answer(false, now);
        for (tells_news, later) in [(true, Duration::ZERO), (false, SOON_AGAIN)] {
            assert_eq!(answers(&mut repetition, now), 3);
            repetition.note_answer(false, now);
            assert!(!repetition.is_too_much());
            repetition.note_answer(tells_news, now + later);
            repetition.last = Some(now);
        }
    }
}
