//! Compares what Kafka's consumer reads with the outcomes that the producers reported.

use std::collections::HashMap;

use super::clock::Clock;
use super::ledger::Outcome;
use super::ledger::{Ledger, Wrong};
use super::load::{Contents, Load};
use super::yardstick::{self, Reported};
use crate::support::kafka::KafkaCluster;
use crate::support::suite::Test;

/// The number of faults, and the first ones in words.
#[derive(Default)]
pub(super) struct Verdict {
    pub(super) read: u64,
    pub(super) lost: u64,
    pub(super) twice: u64,
    pub(super) out_of_order: u64,
    /// Of other kinds.
    pub(super) wrong: u64,
    pub(super) findings: Vec<String>,
}

impl Verdict {
    pub(super) fn is_clean(&self) -> bool {
        let Verdict {
            lost,
            twice,
            out_of_order,
            wrong,
            ..
        } = self;
        lost + twice + out_of_order + wrong == 0
    }

    fn find(&mut self, what: String) {
        const FIRST: usize = 40;
        if self.findings.len() < FIRST {
            self.findings.push(what);
        }
    }
}

/// Reads what our producers sent to these topics.
pub(super) fn of_load(kafka: &KafkaCluster, load: &Load, topics: &[&str]) -> Verdict {
    let ledgers = load.ledgers();
    let mut verdict = Verdict::default();
    for topic in topics {
        let mut reading = Reading::new(topic, &ledgers, &mut verdict);
        kafka.consume_each(topic, |partition, offset, key, value| {
            let Some((sender, number)) = Contents::parse(value) else {
                return reading.foreign(partition, offset, value);
            };
            if sender >= ledgers.len() {
                return reading.foreign(partition, offset, value);
            }
            let contents = load.contents();
            let sent = contents.key_and_value(sender, number);
            let is_same =
                (&*sent.0, &*sent.1, contents.topic(sender, number)) == (key, value, topic);
            reading.take(sender, number, partition, offset, is_same);
        });
    }
    count_lost(&ledgers, &mut verdict);
    verdict
}

/// Reads what a verifiable producer sent.
pub(super) fn of_yardstick(kafka: &KafkaCluster, reported: &Reported, topic: &str) -> Verdict {
    let ledgers = [&reported.ledger];
    let mut verdict = Verdict::default();
    let mut reading = Reading::new(topic, &ledgers, &mut verdict);
    kafka.consume_each(topic, |partition, offset, key, value| match value.parse() {
        Ok(number) => {
            let is_same = key.parse() == Ok(number % yardstick::KEYS);
            reading.take(0, number, partition, offset, is_same);
        }
        Err(_) => reading.foreign(partition, offset, value),
    });
    count_lost(&ledgers, &mut verdict);
    verdict
}

fn count_lost(ledgers: &[&Ledger], verdict: &mut Verdict) {
    for (sender, ledger) in ledgers.iter().enumerate() {
        let lost = ledger.lost();
        verdict.lost += lost.len() as u64;
        for number in lost {
            verdict.find(format!(
                "lost: sender {sender}, record {number}: {}",
                ledger.history(number)
            ));
        }
        let totals = ledger.totals();
        if totals.pending > 0 || totals.reported_twice > 0 {
            verdict.wrong += totals.pending + totals.reported_twice;
            verdict.find(format!("sender {sender}: {totals:?}"));
        }
    }
}

/// A topic's records as they come, each partition in its order.
struct Reading<'a> {
    topic: &'a str,
    ledgers: &'a [&'a Ledger],
    verdict: &'a mut Verdict,
    next_offset: HashMap<i32, i64>,
    /// The latest record of each sender in each partition: what a thread sends to a partition lies there in its order,
    /// and so does all that has one key.
    latest: HashMap<(i32, usize), (u64, i64)>,
}

impl<'a> Reading<'a> {
    fn new(topic: &'a str, ledgers: &'a [&'a Ledger], verdict: &'a mut Verdict) -> Reading<'a> {
        Reading {
            topic,
            ledgers,
            verdict,
            next_offset: HashMap::new(),
            latest: HashMap::new(),
        }
    }

    fn take(&mut self, sender: usize, number: u64, partition: i32, offset: i64, is_same: bool) {
        self.verdict.read += 1;
        let expected = self.next_offset.insert(partition, offset + 1).unwrap_or(0);
        if expected != offset {
            self.wrong(sender, number, partition, offset, "a gap before it");
        }
        if !is_same {
            self.wrong(sender, number, partition, offset, "not as it was sent");
        }
        match self.ledgers[sender].see(number, partition, offset) {
            // A duplicate does not count for the order.
            Some(Wrong::Twice) => {
                self.verdict.twice += 1;
                return self.find(sender, number, partition, offset, "twice");
            }
            Some(wrong) => self.wrong(sender, number, partition, offset, &format!("{wrong:?}")),
            None => {}
        }
        let latest = self.latest.get(&(partition, sender)).copied();
        if let Some((before, at)) = latest.filter(|(before, _)| *before > number) {
            self.verdict.out_of_order += 1;
            let history = self.ledgers[sender].history(before);
            let what = format!("behind record {before} at offset {at} ({history})");
            self.find(sender, number, partition, offset, &what);
        } else {
            self.latest.insert((partition, sender), (number, offset));
        }
    }

    fn foreign(&mut self, partition: i32, offset: i64, value: &str) {
        self.verdict.wrong += 1;
        let start: String = value.chars().take(60).collect();
        let position = format!("{}-{partition}@{offset}", self.topic);
        self.verdict
            .find(format!("{position} belongs to no sender: {start:?}"));
    }

    fn wrong(&mut self, sender: usize, number: u64, partition: i32, offset: i64, what: &str) {
        self.verdict.wrong += 1;
        self.find(sender, number, partition, offset, what);
    }

    fn find(&mut self, sender: usize, number: u64, partition: i32, offset: i64, what: &str) {
        let history = self.ledgers[sender].history(number);
        let position = format!("{}-{partition}@{offset}", self.topic);
        self.verdict.find(format!(
            "{position}: {what}: sender {sender}, record {number}: {history}"
        ));
    }
}

// --- Tests of the comparison itself ------------------------------------------------------------------------------

pub(crate) const TESTS: &[Test<()>] = &[
    (
        "a_log_that_matches_the_outcomes_is_clean",
        a_log_that_matches_the_outcomes_is_clean,
    ),
    (
        "every_kind_of_fault_is_counted",
        every_kind_of_fault_is_counted,
    ),
    (
        "a_record_without_an_outcome_is_wrong",
        a_record_without_an_outcome_is_wrong,
    ),
];

fn a_log_that_matches_the_outcomes_is_clean(_: &()) {
    let outcomes = [
        written(0, 0),
        written(1, 0),
        Outcome::MaybeWritten,
        written(0, 1),
    ];
    // The record that is maybe written may be there or not.
    let (without, with) = ([(0, 0), (1, 1), (3, 0)], [(0, 0), (1, 1), (2, 1), (3, 0)]);
    for log in [&without[..], &with[..]] {
        let verdict = judge(&outcomes, log);
        assert!(verdict.is_clean(), "{:?}", verdict.findings);
        assert_eq!(verdict.read, log.len() as u64);
    }
}

fn every_kind_of_fault_is_counted(_: &()) {
    let outcomes = [
        written(0, 0),
        written(0, 1),
        Outcome::NotWritten,
        written(0, 2),
    ];
    let counts = |log: &[(u64, i32)]| {
        let Verdict {
            lost,
            twice,
            out_of_order,
            wrong,
            ..
        } = judge(&outcomes, log);
        [lost, twice, out_of_order, wrong]
    };
    assert_eq!(counts(&[(0, 0), (1, 0), (3, 0)]), [0, 0, 0, 0]);
    assert_eq!(counts(&[(0, 0), (1, 0)]), [1, 0, 0, 0]);
    assert_eq!(counts(&[(0, 0), (1, 0), (3, 0), (1, 0)]), [0, 1, 0, 0]);
    // Two are swapped: one is behind a later one, and both are at other offsets than reported.
    assert_eq!(counts(&[(1, 0), (0, 0), (3, 0)]), [0, 0, 1, 2]);
    // One was reported as not written, one belongs to no sender.
    assert_eq!(counts(&[(0, 0), (1, 0), (3, 0), (2, 1)]), [0, 0, 0, 1]);
    assert_eq!(counts(&[(0, 0), (1, 0), (3, 0), (9, 1)]), [0, 0, 0, 1]);
}

fn a_record_without_an_outcome_is_wrong(_: &()) {
    let verdict = judge(&[written(0, 0), Outcome::Pending], &[(0, 0), (1, 1)]);
    assert_eq!(
        (verdict.wrong, verdict.lost),
        (1, 0),
        "{:?}",
        verdict.findings
    );
}

fn written(partition: i32, offset: i64) -> Outcome {
    Outcome::Acknowledged { partition, offset }
}

/// Of one sender's outcomes, and the log as numbers of records, each with its partition.
fn judge(outcomes: &[Outcome], log: &[(u64, i32)]) -> Verdict {
    let ledger = Ledger::new(Clock::start());
    for outcome in outcomes {
        let number = ledger.open();
        if *outcome != Outcome::Pending {
            ledger.complete_at(number, *outcome, 0);
        }
    }
    let ledgers = [&ledger];
    let mut verdict = Verdict::default();
    let mut reading = Reading::new("topic", &ledgers, &mut verdict);
    let mut offsets = HashMap::new();
    for (number, partition) in log {
        let offset = offsets.entry(*partition).or_insert(0);
        reading.take(0, *number, *partition, *offset, true);
        *offset += 1;
    }
    count_lost(&ledgers, &mut verdict);
    verdict
}
