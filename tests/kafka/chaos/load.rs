//! The load of our producers: one for each codec, each shared by threads that use every method of the API.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use kafka_producer::{Delivery, Error, ErrorKind, Future, RecordMetadata};

use super::clock::{Clock, pass, seconds};
use super::ledger::{Ledger, Totals};
use super::{Door, LOAD_TOPICS};
use crate::producing::{BytesProducer, BytesRecord, SOON, outcome, producer, producer_of, record};
use crate::support::kafka::{KafkaCluster, poll};

/// The settings of each producer. Together they cover batches of one record and of many, one worker and two, memory that an
/// outage fills and memory that it does not, and requests that time out within a fault or do not.
const PRODUCERS: [&[(&str, &str)]; 5] = [
    &[
        ("compression.type", "none"),
        ("buffer.memory", "4194304"),
        ("sender.threads", "2"),
    ],
    &[
        ("compression.type", "gzip"),
        ("buffer.memory", "4194304"),
        ("linger.ms", "0"),
        ("request.timeout.ms", "4000"),
    ],
    &[
        ("compression.type", "snappy"),
        ("buffer.memory", "4194304"),
        ("linger.ms", "20"),
        ("sender.threads", "2"),
    ],
    &[
        ("compression.type", "lz4"),
        ("buffer.memory", "8388608"),
        ("linger.ms", "50"),
        ("batch.size", "65536"),
        ("request.timeout.ms", "7000"),
    ],
    &[
        ("compression.type", "zstd"),
        ("buffer.memory", "2097152"),
        ("sender.threads", "1"),
    ],
];
const THREADS_A_PRODUCER: usize = 2;
pub(super) const SENDERS: usize = PRODUCERS.len() * THREADS_A_PRODUCER;

/// The producers and what is known of the records of each sending thread.
pub(super) struct Load {
    contents: Contents,
    producers: Vec<BytesProducer>,
    senders: Vec<Arc<Sender>>,
}

impl Load {
    /// Makes the producers. They come in through these doors in turn, or through the listener without protection if there is
    /// none.
    pub(super) fn new(kafka: &KafkaCluster, clock: Clock, seed: u64, doors: &[Door]) -> Load {
        let build = |(number, settings): (usize, &&[(&str, &str)])| {
            let memory = settings.iter().find(|(name, _)| *name == "buffer.memory");
            let (_, memory) = memory.expect("each producer has its memory");
            let mut all = vec![
                ("acks", "all"),
                ("enable.idempotence", "true"),
                ("max.in.flight.requests.per.connection", "5"),
                // A new partition is used within a fault or two.
                ("metadata.max.age.ms", "10000"),
                // One record can need all of the memory.
                ("max.request.size", memory),
            ];
            all.extend_from_slice(settings);
            if doors.is_empty() {
                return producer(kafka, &all);
            }
            let (listener, mechanism) = doors[number % doors.len()];
            let mut secure = kafka.settings(listener, Some(mechanism));
            secure.extend(
                all.iter()
                    .map(|(name, value)| (name.to_string(), value.to_string())),
            );
            producer_of(&secure).expect("a producer")
        };
        Load {
            contents: Contents::new(seed),
            producers: PRODUCERS.iter().enumerate().map(build).collect(),
            senders: (0..SENDERS)
                .map(|id| Arc::new(Sender::new(id, clock)))
                .collect(),
        }
    }

    pub(super) fn contents(&self) -> &Contents {
        &self.contents
    }

    pub(super) fn ledgers(&self) -> Vec<&Ledger> {
        self.senders.iter().map(|sender| &sender.ledger).collect()
    }

    pub(super) fn totals(&self) -> Totals {
        let totals = self.senders.iter().map(|sender| sender.ledger.totals());
        totals.reduce(Totals::and).unwrap_or_default()
    }

    /// The body of one sending thread: sends at its rate until `over`, then waits for every outcome.
    pub(super) fn send(&self, sender: usize, a_second: f64, over: &AtomicBool) {
        Sending {
            producer: &self.producers[sender / THREADS_A_PRODUCER],
            contents: &self.contents,
            sender: &self.senders[sender],
            futures: VecDeque::new(),
            choices: fastrand::Rng::with_seed(sender as u64),
            next: 0,
        }
        .run(a_second, over);
    }

    /// Checks that each producer has all of its memory again, and closes it.
    pub(super) fn finish(&self, topic: &str) -> Vec<String> {
        let mut findings = Vec::new();
        for (producer, settings) in self.producers.iter().zip(PRODUCERS) {
            let codec = settings[0].1;
            if let Err(error) = takes_a_record_of_all_its_memory(producer, settings, topic) {
                findings.push(format!("{codec}: memory is still in use: {error}"));
            }
            if let Err(error) = producer.close(SOON) {
                findings.push(format!("{codec}: close: {error}"));
            }
        }
        for sender in &self.senders {
            findings.append(&mut sender.lock().findings);
        }
        findings
    }

    /// The record of each sender that took longest. Futures are checked between sends, so a time can be too long by the time
    /// for which a send waited for memory.
    pub(super) fn print_slowest(&self) {
        for sender in &self.senders {
            let (_, number) = sender.ledger.totals().longest;
            let history = sender.ledger.history(number);
            let topic = self.contents.topic(sender.id, number);
            println!(
                "chaos: slowest of sender {}: record {number} to {topic}: {history}",
                sender.id
            );
        }
    }

    /// Failures by kind.
    pub(super) fn failures(&self) -> BTreeMap<String, u64> {
        let mut failures = BTreeMap::new();
        for sender in &self.senders {
            for (kind, count) in &sender.lock().failures {
                *failures.entry(kind.clone()).or_insert(0) += count;
            }
        }
        failures
    }
}

/// `try_send` accepts a record only if its memory is free now, so a record nearly as large as the budget shows that all
/// memory is free.
fn takes_a_record_of_all_its_memory(
    producer: &BytesProducer,
    settings: &[(&str, &str)],
    topic: &str,
) -> Result<(), Error> {
    /// What a batch takes beside its bytes.
    const STRUCTURES: usize = 16 * 1024;
    let memory = settings.iter().find(|(name, _)| *name == "buffer.memory");
    let memory: usize = memory
        .and_then(|(_, bytes)| bytes.parse().ok())
        .expect("a size");
    // Gets the topic's metadata, without which `try_send` accepts nothing.
    outcome(producer, record(topic, "small"))?;
    let mut refused = None;
    let taken = poll(SOON, || {
        let large = record(topic, vec![0; memory - STRUCTURES]);
        match producer.try_send(large) {
            Ok(future) => Some(future),
            Err(error) => {
                refused = Some(error);
                None
            }
        }
    });
    match (taken, refused) {
        // It is too large for the topic, or small after compression: in both cases it has an outcome.
        (Some(future), _) => match future.get(SOON) {
            Err(error) if error.kind() != ErrorKind::RecordTooLarge => Err(error),
            _ => Ok(()),
        },
        (None, Some(refused)) => Err(refused.into()),
        (None, None) => unreachable!("poll asks at least once"),
    }
}

/// The content of each record: a pure function of the seed, the sender and the record's number.
pub(super) struct Contents {
    seed: u64,
    filler: String,
}

const BLOCK: u64 = 64;
const KEYS: u32 = 200;
const LARGEST: usize = 5_000;

impl Contents {
    fn new(seed: u64) -> Contents {
        let mut rng = fastrand::Rng::with_seed(seed);
        Contents {
            seed,
            filler: (0..2 * LARGEST).map(|_| rng.alphanumeric()).collect(),
        }
    }

    pub(super) fn topic(&self, sender: usize, number: u64) -> &'static str {
        LOAD_TOPICS[usize::from(self.block(sender, number).u8(0..4) == 0)]
    }

    /// The key that all records of the number's block have, if they have one: they fill a batch together.
    fn burst_key(&self, sender: usize, number: u64) -> Option<u32> {
        let mut rng = self.block(sender, number);
        let _topic = rng.u8(0..4);
        (rng.u8(0..8) == 0).then(|| rng.u32(0..KEYS))
    }

    pub(super) fn key_and_value(&self, sender: usize, number: u64) -> (String, String) {
        let mut rng = self.rng(sender, number | 1 << 40);
        let (key, length) = match self.burst_key(sender, number) {
            Some(key) => (key, 200),
            // It is too large for a topic that takes only small batches.
            None if rng.u32(0..2_000) == 0 => (rng.u32(0..KEYS), LARGEST),
            None => (rng.u32(0..KEYS), rng.usize(0..100)),
        };
        let from = rng.usize(0..LARGEST);
        let filler = &self.filler[from..from + length];
        (format!("key-{key}"), format!("{sender} {number} {filler}"))
    }

    /// Returns sender and number of a record that was read.
    pub(super) fn parse(value: &str) -> Option<(usize, u64)> {
        let mut words = value.split(' ');
        Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
    }

    fn record(&self, sender: usize, number: u64) -> BytesRecord {
        let (key, value) = self.key_and_value(sender, number);
        record(self.topic(sender, number), value).key(key.into_bytes())
    }

    fn block(&self, sender: usize, number: u64) -> fastrand::Rng {
        self.rng(sender, number / BLOCK)
    }

    fn rng(&self, sender: usize, number: u64) -> fastrand::Rng {
        fastrand::Rng::with_seed(self.seed ^ (sender as u64) << 48 ^ number)
    }
}

/// The part of a sending thread that its callbacks share.
struct Sender {
    id: usize,
    clock: Clock,
    ledger: Ledger,
    reported: Mutex<Reported>,
}

#[derive(Default)]
struct Reported {
    failures: BTreeMap<String, u64>,
    findings: Vec<String>,
}

impl Sender {
    fn new(id: usize, clock: Clock) -> Sender {
        Sender {
            id,
            clock,
            ledger: Ledger::new(clock),
            reported: Mutex::default(),
        }
    }

    fn complete(&self, number: u64, result: &Result<RecordMetadata, Error>) {
        self.ledger.complete(number, result.as_ref());
        let Err(error) = result else { return };
        let kind = format!("{:?} {:?}", error.kind(), error.delivery());
        *self.lock().failures.entry(kind).or_insert(0) += 1;
        if !is_expected(error) {
            self.find(format!("record {number} failed: {error}"));
        }
    }

    fn find(&self, what: String) {
        let at = seconds(self.clock.now_ms());
        let mut reported = self.lock();
        if reported.findings.len() < 5 {
            reported
                .findings
                .push(format!("sender {}, at {at}: {what}", self.id));
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Reported> {
        self.reported.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// No fault lasts as long as a record may take. So a record can fail only in the topic that sometimes takes only small batches:
/// a single record can be too large for it. If a batch is written, its answer is lost and its retry is too large, no broker
/// recognizes the parts into which it is split, so they are maybe written.
fn is_expected(error: &Error) -> bool {
    const OUT_OF_ORDER_SEQUENCE_NUMBER: i16 = 45;
    let is_of_small = error.topic() == Some(LOAD_TOPICS[1]);
    is_of_small
        && (error.kind() == ErrorKind::RecordTooLarge
            || (error.broker_code(), error.delivery())
                == (Some(OUT_OF_ORDER_SEQUENCE_NUMBER), Delivery::MaybeWritten))
}

struct Sending<'a> {
    producer: &'a BytesProducer,
    contents: &'a Contents,
    sender: &'a Arc<Sender>,
    futures: VecDeque<(u64, Future)>,
    choices: fastrand::Rng,
    next: u64,
}

impl Sending<'_> {
    fn run(mut self, a_second: f64, over: &AtomicBool) {
        let mut pace = Pace::new(a_second);
        while !over.load(Ordering::Relaxed) {
            pace.wait_for(self.next);
            self.send_some();
            if self.choices.u32(0..500) == 0 {
                self.flush(FLUSH);
            }
            self.harvest();
        }
        // Longer than delivery.timeout.ms: by then everything has ended.
        self.flush(Duration::from_secs(150));
        self.harvest();
        let open = self.futures.len();
        if open > 0 {
            self.sender.find(format!("{open} futures never ended"));
        }
    }

    fn send_some(&mut self) {
        let id = self.sender.id;
        let left_in_block = BLOCK - self.next % BLOCK;
        if self.contents.burst_key(id, self.next).is_some() {
            return self.send_together(left_in_block);
        }
        let count = left_in_block.min(self.choices.u64(1..20));
        match self.choices.u8(0..3) {
            0 => self.send_each(count),
            1 => self.send_with_callbacks(count),
            _ => self.send_together(count),
        }
    }

    fn send_each(&mut self, count: u64) {
        for _ in 0..count {
            let (number, record) = self.open();
            match self.producer.send(record) {
                Ok(future) => self.futures.push_back((number, future)),
                Err(refused) => self.sender.complete(number, &Err(refused.into())),
            }
        }
    }

    fn send_with_callbacks(&mut self, count: u64) {
        for _ in 0..count {
            let (number, record) = self.open();
            let sender = Arc::clone(self.sender);
            let callback = move |result| sender.complete(number, &result);
            if let Err(refused) = self.producer.send_with(record, callback) {
                self.sender.complete(number, &Err(refused.into()));
            }
        }
    }

    fn send_together(&mut self, count: u64) {
        let (numbers, records): (Vec<_>, Vec<_>) = (0..count).map(|_| self.open()).unzip();
        match self.producer.send_all(records) {
            Ok(futures) => self.futures.extend(numbers.into_iter().zip(futures)),
            Err(stopped) => {
                let (futures, refused, _) = stopped.into_parts();
                let (taken, not_taken) = numbers.split_at(futures.len());
                self.futures.extend(taken.iter().copied().zip(futures));
                let error: Error = refused.into();
                for number in not_taken {
                    self.sender.complete(*number, &Err(error.clone()));
                }
            }
        }
    }

    fn open(&mut self) -> (u64, BytesRecord) {
        let number = self.sender.ledger.open();
        self.next = number + 1;
        (number, self.contents.record(self.sender.id, number))
    }

    /// Checks that after a flush every record sent before has its outcome.
    fn flush(&mut self, timeout: Duration) {
        if let Err(error) = self.producer.flush(timeout) {
            if error.kind() != ErrorKind::Timeout || timeout > FLUSH {
                self.sender.find(format!("flush: {error}"));
            }
            return;
        }
        let open = self.futures.iter().filter(|(_, future)| !future.is_done());
        let open = open.count();
        self.harvest();
        let pending = self.sender.ledger.totals().pending;
        if open > 0 || pending > 0 {
            self.sender.find(format!(
                "a flush returned with {open} futures open and {pending} records without an outcome"
            ));
        }
    }

    /// Collects the outcomes up to the first record without one. Records of several partitions complete in any order.
    fn harvest(&mut self) {
        while let Some((number, future)) = self.futures.front() {
            let Some(result) = future.try_get() else {
                return;
            };
            self.sender.complete(*number, &result);
            self.futures.pop_front();
        }
    }
}

/// Sometimes shorter than a fault, so that it fails now and then.
const FLUSH: Duration = Duration::from_secs(5);

/// Limits a thread to its rate, and makes up for only a part of the time that an outage took.
struct Pace {
    a_second: f64,
    start: Instant,
}

impl Pace {
    fn new(a_second: f64) -> Pace {
        Pace {
            a_second,
            start: Instant::now(),
        }
    }

    fn wait_for(&mut self, number: u64) {
        const MOST_BEHIND: Duration = Duration::from_secs(2);
        let due = self.start + Duration::from_secs_f64(number as f64 / self.a_second);
        let now = Instant::now();
        if due > now {
            pass(due - now);
        } else if now - due > MOST_BEHIND {
            self.start += (now - due) - MOST_BEHIND;
        }
    }
}
