//! The chaos test: a three-broker cluster behind proxies has fault after fault while our producers send and, beside them, Kafka's
//! own. Afterwards Kafka's consumer reads everything.
//!
//! `CHAOS_SEED` replays a run's faults, `CHAOS_SECONDS` is how long they continue, `CHAOS_RATE` how many records our producers
//! send a second. To examine a failed run: `CHAOS_ONLY=killed,delayed` restricts the kinds of faults, `CHAOS_LOG` (such as
//! `debug`) sets what our producers log into `chaos.log` beside the brokers' logs. An hour by hand:
//!
//! `CHAOS_SECONDS=3600 CHAOS_RATE=10000 sh tests/run.sh --release --test kafka -- chaos`
//!
//! The same with sessions of five seconds, by TLS and SASL: `... --test kafka -- storm_of_sessions`.

mod clock;
mod journal;
mod ledger;
mod load;
mod proxy;
mod script;
mod storm;
mod verdict;
mod yardstick;

use std::env;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::Tests;
use crate::producing::SOON;
use crate::support::kafka::{KafkaCluster, Listener, Mechanism, Replicas, poll};
use clock::{Clock, pass};
use ledger::Totals;
use load::{Load, SENDERS};
use script::Script;
use storm::Event;
use verdict::Verdict;
use yardstick::{Reported, Yardstick};

pub(crate) use proxy::TESTS as PROXY_TESTS;
pub(crate) use verdict::TESTS as VERDICT_TESTS;

pub(crate) const TESTS: Tests = &[(
    "nothing_is_lost_twice_or_out_of_order_in_a_storm_of_faults",
    nothing_is_lost_twice_or_out_of_order_in_a_storm_of_faults,
)];

/// Only our producers use these: the first one gets more partitions, the second one must sometimes split batches.
const LOAD_TOPICS: [&str; 2] = ["chaos-load", "chaos-small"];
const YARDSTICK_TOPICS: [&str; 2] = ["chaos-ours", "chaos-java"];
const YARDSTICK_PARTITIONS: usize = 6;
const TOPICS: [&str; 4] = ["chaos-load", "chaos-small", "chaos-ours", "chaos-java"];
const MEMORY_TOPIC: &str = "chaos-memory";
/// The records a second of each yardstick.
const YARDSTICK_RATE: u64 = 1_000;

/// How much longer our longest pause may be than Java's. Both find a new leader by retries that come up to a second
/// apart (`reconnect.backoff.max.ms` and `retry.backoff.max.ms`, with jitter), so either may be faster by this much by chance.
const SLACK: Duration = Duration::from_secs(1);

fn nothing_is_lost_twice_or_out_of_order_in_a_storm_of_faults(kafka: &KafkaCluster) {
    weather_a_storm(kafka, &[], Duration::from_secs(150));
}

/// Sessions last five seconds.
pub(crate) const TESTS_OF_SESSIONS: Tests = &[(
    "nothing_is_lost_twice_or_out_of_order_while_sessions_end_in_a_storm",
    |kafka| weather_a_storm(kafka, &DOORS, Duration::from_secs(60)),
)];

/// How the producers of the load come in, where sessions end.
const DOORS: [Door; 4] = [
    (Listener::ReauthPlaintext, Mechanism::ScramSha256),
    (Listener::ReauthSsl, Mechanism::ScramSha512),
    (Listener::ReauthPlaintext, Mechanism::Plain),
    (Listener::ReauthSsl, Mechanism::OauthBearer),
];

pub(crate) type Door = (Listener, Mechanism);

/// Lets faults happen for a while, and then reads everything.
fn weather_a_storm(kafka: &KafkaCluster, doors: &[Door], during: Duration) {
    let options = Options::from_env(during);
    println!("chaos: {options}");
    create_topics(kafka);
    let clock = Clock::start();
    let _journal = journal::keep(clock, &kafka.folder().join("chaos.log"));
    let load = Load::new(kafka, clock, options.seed, doors);
    let (events, ours, java) = work_through_a_storm(kafka, clock, &load, &options);
    let mut findings = load.finish(MEMORY_TOPIC);
    let storm = Storm {
        asked_for: options.to_string(),
        events,
        pauses: Pauses::of(&ours, &java),
    };
    storm.print_pauses(&ours, &java);
    load.print_slowest();

    kafka.wait_until_replicated();
    let verdict = verdict::of_load(kafka, &load, &LOAD_TOPICS);
    let ours_verdict = verdict::of_yardstick(kafka, &ours, YARDSTICK_TOPICS[0]);
    let java_verdict = verdict::of_yardstick(kafka, &java, YARDSTICK_TOPICS[1]);
    let java_figures = figures(&java.ledger.totals(), &java_verdict);
    println!("chaos: Java, for comparison: {java_figures}");
    for finding in &java.findings {
        println!("chaos: Java: {finding}");
    }
    let totals = load.totals();
    println!(
        "chaos: seed {}; {}; load: {}, failures {:?}, longest delivery {:.1} s; beside Java: {}; longest pause {}",
        options.seed,
        storm::counts(&storm.events),
        figures(&totals, &verdict),
        load.failures(),
        f64::from(totals.longest.0) / 1_000.0,
        figures(&ours.ledger.totals(), &ours_verdict),
        storm.pauses
    );
    findings.extend(
        ours.findings
            .iter()
            .map(|finding| format!("ours: {finding}")),
    );
    findings.extend(
        verdict
            .findings
            .iter()
            .chain(&ours_verdict.findings)
            .cloned(),
    );
    if !storm.pauses.are_as_short_as_javas() {
        findings.push("our longest pause is longer than Java's".to_owned());
    }
    let is_clean = verdict.is_clean() && ours_verdict.is_clean();
    assert!(
        is_clean && findings.is_empty(),
        "{}",
        storm.accuse(&findings)
    );
}

/// The options in the environment.
struct Options {
    seed: u64,
    during: Duration,
    records_a_second: u64,
    only: Vec<String>,
}

impl Options {
    fn from_env(during: Duration) -> Options {
        let only = env::var("CHAOS_ONLY").unwrap_or_default();
        let only = only
            .split(',')
            .map(str::trim)
            .filter(|kind| !kind.is_empty());
        Options {
            seed: number("CHAOS_SEED")
                .unwrap_or_else(|| RandomState::new().hash_one(0) % 1_000_000),
            during: number("CHAOS_SECONDS").map_or(during, Duration::from_secs),
            records_a_second: number("CHAOS_RATE").unwrap_or(4_000),
            only: only.map(str::to_owned).collect(),
        }
    }
}

/// As it is to be asked for to have the same run again.
impl fmt::Display for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Options {
            seed,
            during,
            records_a_second,
            only,
        } = self;
        write!(
            f,
            "CHAOS_SEED={seed} CHAOS_SECONDS={} CHAOS_RATE={records_a_second}",
            during.as_secs()
        )?;
        match only.as_slice() {
            [] => Ok(()),
            only => write!(f, " CHAOS_ONLY='{}'", only.join(",")),
        }
    }
}

/// Lets all producers send while faults happen, until every record has its outcome. Returns the faults, and what our verifiable
/// producer and Kafka's printed.
fn work_through_a_storm(
    kafka: &KafkaCluster,
    clock: Clock,
    load: &Load,
    options: &Options,
) -> (Vec<Event>, Reported, Reported) {
    let ours = Yardstick::ours(kafka, clock, YARDSTICK_TOPICS[0], YARDSTICK_RATE);
    let java = Yardstick::java(kafka, clock, YARDSTICK_TOPICS[1], YARDSTICK_RATE);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let end_of_load = SetOnDrop(&over);
        for sender in 0..SENDERS {
            let a_second = options.records_a_second as f64 / SENDERS as f64;
            let over = &over;
            scope.spawn(move || load.send(sender, a_second, over));
        }
        for yardstick in [&ours, &java] {
            let is_up = || yardstick.has_reached(YARDSTICK_PARTITIONS).then_some(());
            let up = poll(SOON, is_up);
            assert!(up.is_some(), "{yardstick} does not reach all partitions");
        }
        // Programs start at different speeds.
        [&ours, &java].iter().for_each(|one| one.forget_pauses());
        let script = Script::new(options.seed, &options.only);
        let events = storm::play(kafka, clock, script, options.during);
        pass(QUIET_AT_THE_END);
        drop(end_of_load);
        (events, ours.stop(), java.stop())
    })
}

const QUIET_AT_THE_END: Duration = Duration::from_secs(2);

/// The same six orders of three replicas for all, so that a fault of a leader hits every topic.
fn create_topics(kafka: &KafkaCluster) {
    let orders = [
        [1, 2, 3],
        [2, 3, 1],
        [3, 1, 2],
        [1, 3, 2],
        [2, 1, 3],
        [3, 2, 1],
    ];
    let replicas = Replicas::On(orders.iter().map(|order| order.to_vec()).collect());
    for topic in TOPICS {
        kafka.create_topic_on(topic, &replicas, &[]);
    }
    kafka.create_topic(MEMORY_TOPIC, 1, 3, &[]);
}

fn number(variable: &str) -> Option<u64> {
    let value = env::var(variable).ok()?;
    Some(
        value
            .parse()
            .unwrap_or_else(|_| panic!("{variable}={value} is no number")),
    )
}

fn figures(totals: &Totals, verdict: &Verdict) -> String {
    format!(
        "sent {}, acked {}, failed {} not written + {} maybe, read {}, lost {}, twice {}, out of order {}, otherwise wrong {}",
        totals.sent,
        totals.acknowledged,
        totals.not_written,
        totals.maybe_written,
        verdict.read,
        verdict.lost,
        verdict.twice,
        verdict.out_of_order,
        verdict.wrong,
    )
}

/// What happened, for the report of a failed run.
struct Storm {
    asked_for: String,
    events: Vec<Event>,
    pauses: Pauses,
}

impl Storm {
    /// Each fault, with the longest pauses that it caused.
    fn print_pauses(&self, ours: &Reported, java: &Reported) {
        // A pause begins with the last acknowledgement before the fault.
        const BEFORE_MS: u32 = 500;
        let begins = |event: &Event| event.began_ms.saturating_sub(BEFORE_MS);
        let ends = self.events.iter().skip(1).map(begins);
        for (event, end) in self.events.iter().zip(ends.chain([u32::MAX])) {
            let began = begins(event);
            let longest =
                |reported: &Reported, whole| reported.longest(whole, began, end).as_secs_f64();
            println!(
                "chaos: pause ours {:.1}, Java {:.1} s; of a partition ours {:.1}, Java {:.1} s: {}",
                longest(ours, true),
                longest(java, true),
                longest(ours, false),
                longest(java, false),
                event.describe()
            );
            if longest(ours, false) > longest(java, false) + 0.5 {
                for (name, reported) in [("ours", ours), ("Java", java)] {
                    reported
                        .pauses_of_partitions(began, end)
                        .for_each(|pause| println!("chaos:     {name}: {pause}"));
                }
            }
        }
    }

    fn accuse(&self, findings: &[String]) -> String {
        let events: Vec<_> = self.events.iter().map(Event::describe).collect();
        format!(
            "{}\n{}\n{}\nlongest pause {}\n{}",
            self.asked_for,
            events.join("\n"),
            findings.join("\n"),
            self.pauses,
            "the brokers' logs and data are kept"
        )
    }
}

/// The longest times without an acknowledgement.
struct Pauses {
    ours: (Duration, Duration),
    java: (Duration, Duration),
}

impl Pauses {
    fn of(ours: &Reported, java: &Reported) -> Pauses {
        let longest = |reported: &Reported| {
            (
                reported.longest(true, 0, u32::MAX),
                reported.longest(false, 0, u32::MAX),
            )
        };
        Pauses {
            ours: longest(ours),
            java: longest(java),
        }
    }

    fn are_as_short_as_javas(&self) -> bool {
        self.ours.0 <= self.java.0 + SLACK && self.ours.1 <= self.java.1 + SLACK
    }
}

impl fmt::Display for Pauses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Pauses { ours, java } = self;
        write!(
            f,
            "ours {:.1?} / Java {:.1?}, of one partition ours {:.1?} / Java {:.1?}",
            ours.0, java.0, ours.1, java.1
        )
    }
}

/// Ends the sending threads, also if the storm's code panics.
struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
