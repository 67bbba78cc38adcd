//! Callers on their own threads against a running worker: no record is lost, overtaken or forgotten.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::accumulator::RecordAccumulator;
use crate::accumulator::callbacks::NoCallback;
use crate::accumulator::open_batch::Append;
use crate::connection::link::{
    LinkEvent, LinkId, LinkTarget, Network, OutgoingRequest, WriteError, WriteStatus,
};
use crate::sender::scripted::{
    Leadership, MS, Settings, Surroundings, TOPIC, Ticket, answer_all, connected, decode, identity,
    publish_to, record_of,
};
use crate::sender::worker::Worker;
use crate::sender::{Event, Mailbox};
use crate::sync::{Mutex, channel};

const CALLERS: usize = 4;
const PARTITIONS: i32 = 3;

type Logs = Arc<Mutex<HashMap<i32, Vec<String>>>>;

/// A broker that answers at once, over a link with a thread of its own.
struct Echo {
    link: channel::Sender<Event>,
    logs: Logs,
}

impl Network for Echo {
    fn connect(&mut self, link: LinkId, _: LinkTarget) {
        let _ = self.link.send(connected(link, 12));
    }

    fn write(&mut self, link: LinkId, request: OutgoingRequest) -> Result<WriteStatus, WriteError> {
        let sent = decode(link, 1, &request);
        let mut logs = self.logs.lock();
        for batch in &sent.batches {
            let log = logs.entry(batch.partition).or_default();
            log.extend(batch.records.iter().cloned());
        }
        let frame = LinkEvent::Frame(answer_all(&sent));
        let _ = self.link.send(Event::Link(link, frame));
        Ok(WriteStatus::Complete)
    }

    fn close(&mut self, _: LinkId) {}
}

/// A worker without threads, and everything that it is connected to.
pub(super) struct Stage<N: Network> {
    pub(super) accumulator: Arc<RecordAccumulator>,
    pub(super) mailbox: Mailbox,
    pub(super) worker: Arc<Worker<N>>,
}

pub(super) fn set_up<N: Network>(
    settings: Settings,
    network: impl FnOnce(Vec<Mailbox>) -> N,
) -> Stage<N> {
    let mut surroundings = Surroundings::new(&settings.sender, 1, settings.buffer_memory);
    let partitions = vec![Leadership::default(); settings.partitions as usize];
    publish_to(&surroundings.shared.metadata, None, 1, &partitions, None);
    surroundings.shared.producer_ids.give_now(identity(0));
    let mailbox = surroundings.mailboxes().remove(0);
    let sender = surroundings.worker(0, network(vec![mailbox.clone()]));
    let accumulator = surroundings.shared.accumulator;
    let handle = Arc::clone(&accumulator.workers()[0]);
    let worker = Arc::new(Worker::new(handle, mailbox.clone(), sender));
    Stage {
        accumulator,
        mailbox,
        worker,
    }
}

struct Running {
    stage: Stage<Echo>,
    logs: Logs,
    thread: std::thread::JoinHandle<()>,
}

fn start(choose: impl FnOnce(&mut Settings)) -> Running {
    let mut settings = Settings {
        partitions: PARTITIONS,
        ..Settings::default()
    };
    choose(&mut settings);
    let logs = Logs::default();
    let (link, events) = channel::unbounded();
    let network = Echo {
        link,
        logs: Arc::clone(&logs),
    };
    let stage = set_up(settings, |_| network);
    let worker = Arc::clone(&stage.worker);
    std::thread::spawn(move || events.iter().for_each(|event| worker.report(event)));
    let worker = Arc::clone(&stage.worker);
    let thread = std::thread::spawn(move || worker.run());
    Running {
        stage,
        logs,
        thread,
    }
}

impl<N: Network> Stage<N> {
    /// Sends as `KafkaProducer::send` does: waits for memory.
    pub(super) fn send(&self, partition: i32, value: &str) -> Ticket {
        let record = record_of(value.as_bytes());
        let late = Instant::now() + Duration::from_secs(30);
        let mut spare = None;
        loop {
            let (append, partition) = self
                .accumulator
                .topics
                .with(TOPIC, |topic| {
                    let partition = &topic.partitions()[partition as usize];
                    let append = partition.append(&record, false, &mut NoCallback, &mut spare);
                    (append, Arc::clone(partition))
                })
                .expect("the topic");
            match append {
                Append::Done { record, wake, .. } => {
                    partition.worker().wake(wake);
                    return Ticket::from(record);
                }
                Append::NeedsMemory { shortage, wake } => {
                    partition.worker().wake(wake);
                    drop(spare.take());
                    spare = Some(
                        self.accumulator
                            .reserve(&shortage, late)
                            .expect("memory in time"),
                    );
                }
                Append::Closed | Append::Retired => panic!("closed"),
            }
        }
    }
}

impl Running {
    fn close(self) -> HashMap<i32, Vec<String>> {
        let accumulator = &self.stage.accumulator;
        accumulator.close();
        self.stage.mailbox.post(Event::Close);
        self.thread.join().unwrap();
        assert_eq!(accumulator.workers()[0].undelivered(), 0);
        let memory = &accumulator.memory;
        assert_eq!(memory.available(), memory.budget());
        std::mem::take(&mut *self.logs.lock())
    }
}

/// Runs many callers: batches fill, and lingers end, all the time.
fn storm(records: u64, choose: impl FnOnce(&mut Settings)) {
    let running = start(choose);
    let wait = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for caller in 0..CALLERS {
            let (running, wait) = (&running, &wait);
            scope.spawn(move || {
                let mut rng = fastrand::Rng::with_seed(caller as u64);
                let mut last: Option<Ticket> = None;
                for number in 0..records {
                    let partition = rng.i32(0..PARTITIONS);
                    let padding = "-".repeat(rng.usize(0..60));
                    let ticket = running
                        .stage
                        .send(partition, &format!("{caller}/{number:08}{padding}"));
                    if rng.u8(..) == 0 {
                        // Sometimes waits as `send().get()` does: then no later record can wake the worker.
                        let started = Instant::now();
                        let late = started + Duration::from_secs(20);
                        let result = ticket.completion.wait(ticket.index, late);
                        assert!(result.expect("an outcome in time").is_ok());
                        wait.fetch_max(started.elapsed().as_millis() as u64, Ordering::Relaxed);
                    }
                    last = Some(ticket);
                }
                let last = last.unwrap();
                let late = Instant::now() + Duration::from_secs(20);
                assert!(
                    last.completion.wait_all(late),
                    "the last batch is sent, too"
                );
            });
        }
    });
    assert!(wait.into_inner() < 10_000, "a wake-up was lost");
    let logs = running.close();
    let total: usize = logs.values().map(Vec::len).sum();
    assert_eq!(total as u64, CALLERS as u64 * records);
    for log in logs.values() {
        let mut last: HashMap<&str, &str> = HashMap::new();
        for value in log {
            let (caller, number) = value.split_at(2);
            let number = &number[..8];
            assert!(
                last.insert(caller, number)
                    .is_none_or(|before| before < number)
            );
        }
    }
}

#[test]
fn records_of_many_callers_keep_their_order_and_none_is_forgotten() {
    storm(20_000, |settings| {
        settings.sender.topics.linger = MS;
        settings.sender.topics.batch_size = 300;
    });
}

#[test]
fn without_linger_no_record_is_forgotten_either() {
    storm(5_000, |settings| {
        settings.sender.topics.linger = Duration::ZERO;
        settings.sender.topics.batch_size = 300;
    });
}

#[test]
fn every_caller_that_waits_for_memory_gets_it() {
    storm(3_000, |settings| {
        settings.buffer_memory = 6_000;
        settings.sender.topics.linger = 2000 * MS;
        settings.sender.topics.batch_size = 300;
    });
}
