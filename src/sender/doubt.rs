//! When a broker that owes an answer is doubted, and how often the cluster is asked whether it still leads.

use std::time::{Duration, Instant};

/// How long a broker may owe an answer before another leader is believed more than it, and before the cluster is first
/// asked. Far more than an acknowledgement by all replicas takes, and little beside the time in which a cluster replaces a
/// leader.
pub(super) const SILENCE: Duration = Duration::from_secs(1);

/// A cluster whose brokers all need long is asked later, but not later than this: a leader that hangs is left soon after
/// the cluster has named another one.
const LONGEST_PATIENCE: Duration = Duration::from_secs(5);

/// The longest time between two questions about one silence.
const LONGEST_GAP: Duration = Duration::from_secs(10);

/// What is remembered of one link. The questions about one silence come further and further apart. A broker that was
/// silent and then answered after all is given more time from then on: where an overloaded cluster needs seconds for every
/// write, questions about the cluster would only add to its load.
pub(super) struct Doubt {
    /// How long the broker may be silent before the cluster is asked.
    patience: Duration,
    /// The latest answer.
    heard: Option<Instant>,
    /// The latest look at whether another broker leads, and the latest question.
    looked: Option<Instant>,
    asked: Option<Instant>,
}

impl Default for Doubt {
    fn default() -> Self {
        Self {
            patience: SILENCE,
            heard: None,
            looked: None,
            asked: None,
        }
    }
}

impl Doubt {
    /// When to look again at a broker whose oldest answer is missed from `missed_from` on.
    pub(super) fn next_look(&self, missed_from: Instant) -> Instant {
        let since = self
            .looked
            .map_or(missed_from, |looked| looked.max(missed_from));
        since + SILENCE
    }

    /// Notes a look; whether the cluster is to be asked now.
    pub(super) fn look(&mut self, missed_from: Instant, now: Instant) -> bool {
        self.looked = Some(now);
        let silent_since = self.silent_since(missed_from);
        let due = match self.asked.filter(|asked| *asked > silent_since) {
            Some(asked) => {
                let lasted = asked.saturating_duration_since(silent_since);
                asked + (lasted / 4).clamp(SILENCE, LONGEST_GAP)
            }
            None => silent_since + self.patience,
        };
        let is_due = due <= now;
        if is_due {
            self.asked = Some(now);
        }
        is_due
    }

    /// Learns from an answer that was missed from `missed_from` on. Quick ones take back what a slow one has given.
    pub(super) fn heard(&mut self, missed_from: Instant, now: Instant) {
        let took = now.saturating_duration_since(self.silent_since(missed_from));
        let wanted = took.saturating_mul(2).max(self.patience / 4 * 3);
        self.patience = wanted.clamp(SILENCE, LONGEST_PATIENCE);
        self.heard = Some(now);
    }

    /// A broker that answers one request after the other is not silent, however long each has waited for its turn.
    fn silent_since(&self, missed_from: Instant) -> Instant {
        self.heard
            .map_or(missed_from, |heard| heard.max(missed_from))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// The milliseconds at which the cluster is asked while a silence of `lasts_ms` goes on.
    fn questions(doubt: &mut Doubt, begin: Instant, lasts_ms: u32) -> Vec<u128> {
        let mut asked = Vec::new();
        loop {
            let now = doubt.next_look(begin);
            if now > begin + lasts_ms * MS {
                return asked;
            }
            if doubt.look(begin, now) {
                asked.push((now - begin).as_millis());
            }
        }
    }

    #[test]
    fn questions_about_one_silence_come_further_and_further_apart() {
        let mut doubt = Doubt::default();
        let asked = questions(&mut doubt, Instant::now(), 120_000);
        assert_eq!(asked[..6], [1000, 2000, 3000, 4000, 5000, 7000]);
        let gaps: Vec<u128> = asked.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(gaps.is_sorted(), "{gaps:?}");
        assert_eq!(gaps.last(), Some(&10_000));
        // While a cluster replaces a leader, which takes it 10 to 20 s, the next question is never far.
        assert!(asked.iter().filter(|at| **at < 30_000).count() >= 10);
    }

    #[test]
    fn a_broker_that_needs_seconds_for_every_answer_is_asked_about_once() {
        let mut doubt = Doubt::default();
        let mut now = Instant::now();
        for expected in [3, 0, 0, 0] {
            assert_eq!(questions(&mut doubt, now, 3000).len(), expected);
            let begin = now;
            now += 3000 * MS;
            doubt.heard(begin, now);
        }
        // It hangs now.
        assert_eq!(questions(&mut doubt, now, 20_000)[0], 5000);
    }

    #[test]
    fn quick_answers_make_a_broker_worth_a_question_after_a_second_again() {
        let mut doubt = Doubt::default();
        let mut now = Instant::now();
        doubt.heard(now, now + 10_000 * MS);
        now += 10_000 * MS;
        for _ in 0..10 {
            doubt.heard(now, now + MS);
            now += MS;
        }
        assert_eq!(questions(&mut doubt, now, 5000)[0], 1000);
    }

    #[test]
    fn a_broker_that_answers_what_waits_in_turn_is_not_asked_about() {
        let mut doubt = Doubt::default();
        let sent = Instant::now();
        for answer in 1..=5 {
            let now = sent + answer * 900 * MS;
            doubt.heard(sent, now);
            assert!(!doubt.look(sent, now + 800 * MS));
        }
    }
}
