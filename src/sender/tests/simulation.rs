//! Random histories: sends, errors, lost answers, broken and stalled links, moved leaders, topics made anew, long
//! outages. Whatever happens, each record has one outcome that is true, and the log has each record once and in order.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fastrand::Rng;

use super::harness::{Harness, MS, PRODUCER_ID, Sent, TOPIC, Ticket, encode, refused};
use crate::connection::link::{LinkEvent, LinkId};
use crate::error::Delivery;
use crate::metadata::ProducerIdentity;
use crate::protocol::ErrorCode;
use crate::protocol::messages::{
    LeaderIdAndEpoch, ProducePartitionResponse, ProduceResponse, ProduceTopicResponse,
};
use crate::record::compression::{Compression, CompressionType};
use crate::sender::Event;

const PARTITIONS: i32 = 3;
const BROKERS: i32 = 3;

/// Histories in a usual run; `SIMULATION_SEEDS` (how many) and `SIMULATION_SEED` (the first) choose others.
const SEEDS: u64 = 250;

#[test]
fn whatever_happens_each_record_is_in_the_log_once_and_in_order_or_has_a_true_error() {
    let setting = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let first: u64 = setting("SIMULATION_SEED").unwrap_or(0);
    let count: u64 = setting("SIMULATION_SEEDS").unwrap_or(SEEDS);
    for seed in first..first + count {
        let outcome = std::panic::catch_unwind(|| {
            let mut simulation = Simulation::new(seed, Guarantee::OnceAndInOrder);
            simulation.history();
            simulation.check();
        });
        assert!(
            outcome.is_ok(),
            "SIMULATION_SEED={seed} SIMULATION_SEEDS=1 shows it again"
        );
    }
}

#[test]
fn without_idempotence_no_acknowledged_record_is_missing_and_none_is_without_an_outcome() {
    for seed in 0..100 {
        let mut simulation = Simulation::new(seed, Guarantee::AtLeastOnce);
        simulation.history();
        simulation.check();
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Guarantee {
    OnceAndInOrder,
    AtLeastOnce,
}

struct Simulation {
    rng: Rng,
    guarantee: Guarantee,
    worker: Harness,
    /// Requests that a broker has not looked at, for each link in order.
    arriving: HashMap<LinkId, Vec<Sent>>,
    /// Answers on their way back.
    answers: Vec<(LinkId, Vec<u8>)>,
    /// By partition, in the order of sending: the record's name and how to ask for its outcome.
    sent: HashMap<i32, Vec<(String, Ticket)>>,
    callbacks: Arc<AtomicUsize>,
    callbacks_due: usize,
    next_producer_id: i64,
    /// How likely things go wrong, in percent.
    trouble: u32,
}

impl Simulation {
    fn new(seed: u64, guarantee: Guarantee) -> Self {
        let mut rng = Rng::with_seed(seed);
        fastrand::seed(seed);
        let trouble = [0, 5, 15, 40][rng.usize(..4)];
        let worker = Harness::new(|settings| {
            settings.brokers = BROKERS;
            settings.partitions = PARTITIONS;
            settings.buffer_memory = [16_384, 1 << 20][rng.usize(..2)];
            settings.connects = false;
            settings.has_identity = rng.bool();
            settings.produce_version = [3, 9, 10, 12][rng.usize(..4)];
            let config = &mut settings.sender;
            config.linger = [Duration::ZERO, MS, 10 * MS][rng.usize(..3)];
            config.batch_size = [150, 400, 1000][rng.usize(..3)];
            config.max_in_flight = rng.usize(1..=5);
            config.max_request_size = [500, 2000, 1_000_000][rng.usize(..3)];
            config.connections_max_idle = rng.bool().then_some(200 * MS);
            config.availability_timeout = rng.bool().then_some(100 * MS);
            // The number is drawn in every build, so that a seed means the same history in all of them.
            let codec = [CompressionType::None, CompressionType::Lz4][rng.usize(..2)];
            if codec.is_compiled_in() {
                config.compression = Compression::with_default_level(codec);
            }
            config.idempotence = guarantee == Guarantee::OnceAndInOrder;
            if rng.u8(..4) == 0 {
                config.retries = 3;
            }
        });
        Self {
            rng,
            guarantee,
            worker,
            arriving: HashMap::new(),
            answers: Vec::new(),
            sent: HashMap::new(),
            callbacks: Arc::default(),
            callbacks_due: 0,
            next_producer_id: PRODUCER_ID,
            trouble,
        }
    }

    fn history(&mut self) {
        for _ in 0..self.rng.usize(50..300) {
            self.step();
            self.round();
        }
        self.calm_down();
    }

    fn step(&mut self) {
        match self.rng.u8(..20) {
            0..=7 => {
                for _ in 0..self.rng.usize(1..8) {
                    self.send();
                }
            }
            8..=12 => self.brokers_work(),
            13..=15 => self.time_passes(),
            16 if self.happens() => self.break_a_link(),
            17 if self.happens() => {
                let partition = self.rng.i32(0..PARTITIONS);
                let leader = (self.rng.u8(..5) > 0).then(|| self.rng.i32(1..=BROKERS));
                self.worker.move_leader(partition, leader);
            }
            18 => {
                self.worker.flush();
            }
            19 if self.happens() => {
                let span = self.rng.u64(1000..7000);
                self.worker.run_for(Duration::from_millis(span));
            }
            _ => self.time_passes(),
        }
    }

    fn happens(&mut self) -> bool {
        self.rng.u32(..100) < self.trouble
    }

    fn send(&mut self) {
        let partition = self.rng.i32(0..PARTITIONS);
        self.send_to(partition);
    }

    /// None where memory is exhausted.
    fn send_to(&mut self, partition: i32) -> Option<Ticket> {
        let records = self.sent.entry(partition).or_default();
        let name = format!("{partition}-{:06}", records.len());
        let padding = "-".repeat(self.rng.usize(..120));
        let callback = self.rng.u8(..4) == 0;
        let boxed: Option<crate::accumulator::batch::RecordCallback> = callback.then(|| {
            let called = Arc::clone(&self.callbacks);
            Box::new(move |_: crate::accumulator::batch::SettledRecord<'_>| {
                called.fetch_add(1, Ordering::Relaxed);
            }) as _
        });
        let value = format!("{name}{padding}");
        let ticket = self.worker.try_send(partition, &value, boxed)?;
        records.push((name, ticket.clone()));
        self.callbacks_due += usize::from(callback);
        Some(ticket)
    }

    fn time_passes(&mut self) {
        let span = Duration::from_micros(self.rng.u64(..30_000));
        self.worker.run_for(span);
    }

    /// The worker runs; what it wrote arrives, some of it late; what it asked of the cluster is answered at times.
    fn round(&mut self) {
        if self.happens() {
            let mut wire = self.worker.wire.borrow_mut();
            if self.rng.bool() {
                wire.stalls = true;
            } else {
                wire.fails = true;
            }
        }
        self.worker.run();
        {
            let mut wire = self.worker.wire.borrow_mut();
            (wire.stalls, wire.fails) = (false, false);
        }
        for request in self.worker.requests() {
            self.arriving.entry(request.link).or_default().push(request);
        }
        self.connect_links();
        if self.rng.bool() {
            self.tell_about_the_cluster();
        }
        self.worker.run();
        if self.rng.bool() {
            self.worker.deliver();
        }
    }

    fn connect_links(&mut self) {
        let connecting = self.worker.wire.borrow().connecting.clone();
        for (link, ..) in connecting {
            if self.rng.bool() {
                if self.happens() {
                    self.worker.wire.borrow_mut().lose(link);
                } else {
                    self.worker.wire.borrow_mut().connected(link);
                }
            }
        }
    }

    fn tell_about_the_cluster(&mut self) {
        let wants = self.worker.wants();
        if wants.any() {
            self.worker.publish();
        }
        if wants.identity {
            let identity = ProducerIdentity {
                producer_id: self.next_producer_id,
                // Not far from where epochs end.
                producer_epoch: i16::MAX - self.rng.i16(0..4),
            };
            self.next_producer_id += 1;
            self.worker.metadata.identity_answered(Some(identity));
            self.worker.tell(Event::Identity(Ok(identity)));
        }
    }

    /// Brokers look at requests, and answers arrive, each link's in order.
    fn brokers_work(&mut self) {
        let mut links: Vec<LinkId> = self.arriving.keys().copied().collect();
        links.sort_unstable();
        for link in links {
            while self.rng.u8(..4) > 0 && !self.arriving[&link].is_empty() {
                let request = self.arriving.get_mut(&link).unwrap().remove(0);
                let is_open = self.worker.wire.borrow().open.contains_key(&link);
                // What was written may arrive although the link broke meanwhile.
                if !is_open && self.rng.bool() {
                    continue;
                }
                self.finish_write(link);
                let answers = self.look_at(&request);
                let frame = self.encode(&request, answers);
                self.answers.push((link, frame));
            }
        }
        self.worker.run();
        let answers = std::mem::take(&mut self.answers);
        for (link, frame) in answers {
            if self.rng.u8(..4) == 0 || self.later(link) {
                self.answers.push((link, frame));
            } else {
                self.worker.frame(link, frame);
            }
        }
    }

    /// Whether an earlier answer of the link is still on its way.
    fn later(&self, link: LinkId) -> bool {
        self.answers.iter().any(|(other, _)| *other == link)
    }

    fn finish_write(&mut self, link: LinkId) {
        if self.worker.sender.is_writing(link) {
            self.worker
                .tell(Event::Link(link, LinkEvent::WriteFinished));
        }
    }

    /// What a broker does with a request: for each partition a real answer, or trouble before or after it is written.
    fn look_at(&mut self, request: &Sent) -> Vec<ProducePartitionResponse> {
        let answers = request.batches.iter().map(|batch| {
            let mut only = request.clone();
            only.batches = vec![batch.clone()];
            if !self.happens() {
                return self.worker.append(&only).remove(0);
            }
            match self.rng.u8(..8) {
                0 => refused(ErrorCode::NOT_ENOUGH_REPLICAS),
                1 => refused(ErrorCode::KAFKA_STORAGE_ERROR),
                2 => refused(ErrorCode::CORRUPT_MESSAGE),
                3 => refused(ErrorCode::MESSAGE_TOO_LARGE),
                4 => refused(ErrorCode::INVALID_RECORD),
                5 => refused(ErrorCode::LEADER_NOT_AVAILABLE),
                6 => {
                    let answer = self.worker.append(&only).remove(0);
                    match answer.error.is_none() {
                        true => refused(ErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND),
                        false => answer,
                    }
                }
                _ => {
                    let answer = self.worker.append(&only).remove(0);
                    match answer.error.is_none() {
                        true => refused(ErrorCode::REQUEST_TIMED_OUT),
                        false => answer,
                    }
                }
            }
        });
        answers.collect()
    }

    /// The answer's bytes: rarely with partitions missing, garbled, or with the wish to be left alone for a while.
    fn encode(&mut self, request: &Sent, answers: Vec<ProducePartitionResponse>) -> Vec<u8> {
        let mut partitions = Vec::new();
        for (batch, answer) in request.batches.iter().zip(answers) {
            if self.happens() && self.rng.u8(0..4) == 0 {
                continue;
            }
            let leader = self.worker.leaders[batch.partition as usize];
            let mut answer = ProducePartitionResponse {
                index: batch.partition,
                ..answer
            };
            if answer.error == ErrorCode::NOT_LEADER_OR_FOLLOWER && self.rng.bool() {
                answer.current_leader = LeaderIdAndEpoch {
                    leader_id: leader.broker.unwrap_or(-1),
                    leader_epoch: leader.epoch,
                };
            }
            partitions.push(answer);
        }
        if self.rng.bool() {
            partitions.reverse();
        }
        let throttle_time_ms = match self.happens() {
            true => self.rng.i32(0..300),
            false => 0,
        };
        let topic = ProduceTopicResponse {
            name: TOPIC.into(),
            partitions,
            ..ProduceTopicResponse::default()
        };
        let response = ProduceResponse {
            topics: vec![topic],
            throttle_time_ms,
            ..ProduceResponse::default()
        };
        let mut frame = encode(request, &response);
        if self.happens() && self.rng.u8(0..8) == 0 {
            let position = self.rng.usize(0..4);
            frame[position] ^= 1;
        }
        frame
    }

    fn break_a_link(&mut self) {
        let mut links: Vec<LinkId> = self.worker.wire.borrow().open.keys().copied().collect();
        links.sort_unstable();
        if !links.is_empty() {
            let link = links[self.rng.usize(..links.len())];
            self.worker.wire.borrow_mut().lose(link);
            self.worker.run();
        }
    }

    /// Everything works again, and the producer is closed.
    fn calm_down(&mut self) {
        if self.rng.u8(0..8) == 0 {
            return self.end_at_once();
        }
        self.trouble = 0;
        for partition in 0..PARTITIONS {
            self.worker
                .move_leader(partition, Some(partition % BROKERS + 1));
        }
        // Old ones may expire yet, and take with them what joins their batches.
        let old: Vec<Ticket> = self
            .sent
            .values()
            .flatten()
            .map(|(_, one)| one.clone())
            .collect();
        self.work_until("every record has an outcome", |_| {
            old.iter().all(|ticket| ticket.result().is_some())
        });
        let fresh: Vec<Ticket> = (0..PARTITIONS)
            .filter_map(|partition| self.send_to(partition))
            .collect();
        self.work_until("records are delivered once nothing is wrong", |_| {
            fresh.iter().all(|ticket| ticket.result().is_some())
        });
        for ticket in fresh {
            let result = ticket.result();
            assert!(result.is_some_and(|result| result.is_ok()));
        }
        self.worker.accumulator.close();
        self.worker.tell(Event::Close);
        self.work_until("the worker ends after a close", |worker| {
            worker.sender.is_finished()
        });
        let queued = self.worker.accumulator.topics.with(TOPIC, |topic| {
            let partitions = topic.partitions().iter();
            partitions
                .map(|partition| partition.queue_length())
                .sum::<usize>()
        });
        assert_eq!(queued, Some(0), "batches counted as queued");
        self.worker.deliver();
    }

    fn work_until(&mut self, what: &str, is_done: impl Fn(&Harness) -> bool) {
        for _ in 0..2000 {
            if is_done(&self.worker) {
                return;
            }
            self.round();
            self.tell_about_the_cluster();
            self.brokers_work();
            self.time_passes();
            self.worker.deliver();
        }
        panic!("{what}");
    }

    /// A close without time, or the worker's death.
    fn end_at_once(&mut self) {
        self.worker.accumulator.close();
        if self.rng.bool() {
            self.worker.tell(Event::Close);
            self.worker.tell(Event::ForceClose);
            assert!(self.worker.sender.is_finished());
        }
        self.worker.die();
        self.worker.deliver();
    }

    fn check(&self) {
        assert_eq!(self.worker.memory_in_use(), 0, "all memory came back");
        assert_eq!(self.callbacks.load(Ordering::Relaxed), self.callbacks_due);
        let mut undelivered = 0;
        for partition in 0..PARTITIONS {
            let log: Vec<String> = self
                .worker
                .log(partition)
                .iter()
                .map(|value| value[..8].to_string())
                .collect();
            let mut place = HashMap::new();
            for (offset, name) in log.iter().enumerate() {
                let before = place.insert(name.as_str(), offset);
                assert!(
                    before.is_none() || self.guarantee == Guarantee::AtLeastOnce,
                    "{name} is there twice"
                );
            }
            let mut acknowledged = Vec::new();
            for (name, ticket) in self.sent.get(&partition).into_iter().flatten() {
                let result = ticket.result().expect("every record has an outcome");
                let offset = place.get(name.as_str()).map(|offset| *offset as i64);
                match result {
                    Ok(found) => {
                        let offset = offset.unwrap_or_else(|| panic!("{name} is not in the log"));
                        acknowledged.push(offset);
                        if self.guarantee == Guarantee::OnceAndInOrder {
                            assert!(found.offset.is_none_or(|told| told == offset), "{name}");
                        }
                    }
                    Err(error) => {
                        undelivered += 1;
                        assert!(
                            offset.is_none() || error.delivery() != Delivery::NotWritten,
                            "{name} is in the log: {error}"
                        );
                    }
                }
            }
            // What failed may arrive late, out of a network that held it.
            assert!(
                acknowledged.is_sorted() || self.guarantee == Guarantee::AtLeastOnce,
                "partition {partition} is out of order: {log:?}"
            );
        }
        assert!(self.worker.sender.undelivered() <= undelivered);
    }
}
