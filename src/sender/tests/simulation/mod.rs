//! Random histories: callers, workers, metadata and a cluster under a clock that is set by hand. In each history every
//! record has one outcome, true and in time. The log has each record once and in order. No worker sleeps while it has
//! something to do. Memory is accounted for, and bytes do not change while the network reads them.

mod callers;
mod cluster;
mod exchange;
mod ledger;
mod replacement;
mod setup;
mod threads;
mod traffic;
mod workers;
mod world;

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::identity::ProducerIdentity;
use crate::metadata::{Cluster, TopicMap};
use crate::sender::Event;
use crate::sender::scripted::{Link, MS, PRODUCER_ID, TOPIC};
use crate::sync::channel;
use ledger::Guarantee;
use setup::Setup;
use world::World;

/// The number of histories in a usual run. `SIMULATION_SEEDS` (the number) and `SIMULATION_SEED` (the first) choose
/// others.
const SEEDS: u64 = 2000;

#[test]
fn whatever_happens_each_record_is_in_the_log_once_and_in_order_or_has_a_true_error() {
    run_histories(Guarantee::OnceAndInOrder, SEEDS);
}

#[test]
fn without_idempotence_no_acknowledged_record_is_missing_and_none_is_without_an_outcome() {
    run_histories(Guarantee::AtLeastOnce, SEEDS / 5);
}

/// On two threads, because the smallest machine that runs this has two cores.
fn run_histories(guarantee: Guarantee, seeds: u64) {
    let setting = |name: &str| {
        let text = std::env::var(name).ok()?;
        let number = text.parse();
        Some(number.unwrap_or_else(|_| panic!("{name}={text} is no number")))
    };
    let first: u64 = setting("SIMULATION_SEED").unwrap_or(0);
    let count: u64 = setting("SIMULATION_SEEDS").unwrap_or(seeds);
    let next = AtomicU64::new(first);
    std::thread::scope(|scope| {
        let threads = [0, 1].map(|_| {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + count {
                        return;
                    }
                    let outcome = std::panic::catch_unwind(|| history(seed, guarantee));
                    if outcome.is_err() {
                        next.store(first + count, Ordering::Relaxed);
                        panic!("SIMULATION_SEED={seed} SIMULATION_SEEDS=1 shows it again ({guarantee:?})");
                    }
                }
            })
        });
        for thread in threads {
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        }
    });
}

fn history(seed: u64, guarantee: Guarantee) {
    let mut world = World::new(Setup::new(seed, guarantee));
    let is_calm = world.setup.trouble == 0;
    world.begin();
    for _ in 0..world.rng.usize(20..120) {
        world.act();
    }
    if world.rng.u8(..8) == 0 {
        world.end_at_once();
    } else {
        world.calm_down();
        world.close();
    }
    world.check_the_end(is_calm && guarantee == Guarantee::OnceAndInOrder);
}

impl World {
    fn begin(&mut self) {
        self.run_for(10 * MS);
        if self.setup.sequences_end_soon && self.setup.sender.idempotence {
            self.set_sequences();
        }
    }

    /// Sets each partition's sequences close to their end, as after two thousand million records.
    fn set_sequences(&mut self) {
        let identity = ProducerIdentity {
            producer_id: PRODUCER_ID,
            producer_epoch: 7,
        };
        if self.metadata.cluster().cluster_id().is_none() {
            return;
        }
        let mut callers = self.callers.borrow_mut();
        callers.ledger.gave(self.cluster.number, PRODUCER_ID);
        drop(callers);
        self.producer_ids.give_now(identity);
        let partitions = self
            .accumulator
            .topics
            .with(TOPIC, |topic| topic.partitions().to_vec());
        for (number, partition) in partitions.into_iter().flatten().enumerate() {
            let next = i32::MAX - self.rng.i32(0..40);
            for (worker, handle) in self.workers.iter_mut().zip(self.accumulator.workers()) {
                if std::ptr::eq(partition.worker(), &**handle) {
                    let sender = worker.sender.as_mut().unwrap();
                    let state = sender.state_of(&partition);
                    state.identity.continue_at(identity, next);
                }
            }
            self.cluster.partitions[number]
                .log
                .go_on_at(PRODUCER_ID, 7, next);
        }
    }

    /// Makes one event happen, and then lets some time pass.
    fn act(&mut self) {
        self.callers.borrow_mut().eagerness = 5;
        let trouble = self.rng.u32(..100) < self.setup.trouble;
        match self.rng.u8(..32) {
            0..=17 => {
                let now = self.now;
                self.callers.borrow_mut().send_some(10, now);
            }
            18 => self.flush(),
            19 | 20 if trouble => self.break_some_link(),
            21 | 22 if trouble => self.move_some_leader(),
            23 if trouble => self.stop_a_broker(),
            24 if trouble => self.suspend_a_broker(),
            25 if trouble => self.recreate_the_topic(),
            26 if trouble => self.retain_nothing(),
            27 if trouble => self.move_a_broker(),
            29 if trouble => self.replace_the_cluster(),
            30 if trouble => self.cluster.change_limit(),
            28 if trouble => {
                let span = self.rng.u64(10..9000);
                self.jump(Duration::from_millis(span));
            }
            29 => self.forget_the_topic(),
            _ => {}
        }
        let span = match self.rng.u8(..40) {
            0 => Duration::from_millis(self.rng.u64(..3000)),
            1..=8 => Duration::from_micros(self.rng.u64(..60_000)),
            _ => Duration::from_micros(self.rng.u64(..4000)),
        };
        self.run_for(span);
    }

    fn flush(&mut self) {
        let answers = (0..self.workers.len()).map(|index| {
            let (reply, answer) = channel::bounded(1);
            self.post(index, Event::Flush(reply));
            answer
        });
        let answers = answers.collect();
        self.callers.borrow_mut().begin_flush(answers, self.now);
    }

    fn break_some_link(&mut self) {
        let links = self.links().keys(Link::is_open);
        if let Some(link) = self.rng.choice(links) {
            self.break_link(link);
        }
    }

    fn some_partition(&mut self) -> usize {
        self.rng.usize(..self.setup.partitions)
    }

    fn some_broker(&mut self) -> i32 {
        self.rng.i32(1..=self.setup.brokers)
    }

    fn move_some_leader(&mut self) {
        let partition = self.some_partition();
        let broker = self.some_broker();
        let broker = (self.rng.u8(..4) > 0).then_some(broker);
        self.cluster.move_leader(partition, broker, self.now);
        let span = Duration::from_millis(self.rng.u64(..800));
        self.leader_is_elected_after(partition, span);
    }

    /// Stops a broker, as by SIGKILL: its links break, and other brokers lead after a while.
    fn stop_a_broker(&mut self) {
        let broker = self.some_broker();
        if self.cluster.broker(broker).is_down {
            return;
        }
        self.cluster.broker(broker).is_down = true;
        // The broker forgets which quotas were used up.
        self.traffic()
            .throttled
            .retain(|(_, throttled), _| *throttled != broker);
        let links = self.links().keys(Link::is_open);
        for link in links {
            let is_its = self.links().get(link).broker == broker;
            if is_its {
                self.break_link(link);
            }
        }
        self.lose_leader(broker);
        let span = Duration::from_millis(self.rng.u64(50..3000));
        self.broker_is_up_after(broker, span);
    }

    /// Suspends a broker, as by SIGSTOP: its links stall, other brokers may lead after a while, and then it continues.
    fn suspend_a_broker(&mut self) {
        let broker = self.some_broker();
        let span = Duration::from_millis(self.rng.u64(10..4000));
        self.cluster.broker(broker).stands_until = self.now + span;
        if self.rng.bool() {
            self.lose_leader(broker);
        }
    }

    fn lose_leader(&mut self, broker: i32) {
        for partition in 0..self.setup.partitions {
            if self.cluster.partitions[partition].leader == Some(broker) {
                self.cluster.move_leader(partition, None, self.now);
                let span = Duration::from_millis(self.rng.u64(..1000));
                self.leader_is_elected_after(partition, span);
            }
        }
        self.cluster.note();
    }

    /// Recreates the topic. If requests identify topics by name, requests in flight could be written to the new topic in
    /// another order, which no producer can prevent. Then it recreates the topic only while no request is in flight.
    fn recreate_the_topic(&mut self) {
        let is_quiet = |partition| self.is_quiet(partition);
        if self.setup.sends_by_id() || (0..self.setup.partitions).all(is_quiet) {
            if self.rng.bool() {
                return self.cluster.recreate_topic();
            }
            self.cluster.topic_exists = false;
            self.cluster.note();
            let span = Duration::from_millis(self.rng.u64(..700));
            self.topic_is_back_after(span);
        }
    }

    /// Returns whether the topic, which is deleted, may be created again.
    pub(super) fn may_recreate_the_topic(&self) -> bool {
        self.setup.sends_by_id()
            || !(0..self.setup.partitions).any(|partition| self.is_on_its_way(partition))
    }

    /// Returns whether a request with that partition has not reached its broker.
    fn is_on_its_way(&self, partition: usize) -> bool {
        let wire = self.wire.borrow();
        wire.script.is_on_its_way(&wire.links, partition as i32)
    }

    /// Deletes a partition's records, as retention does. A broker that forgot a batch behaves as if it never had the batch.
    /// So this happens only if the producer has the outcome of every batch in the log.
    fn retain_nothing(&mut self) {
        let partition = self.some_partition();
        if self.is_quiet(partition) {
            self.cluster.retain_nothing(partition);
        }
    }

    fn is_quiet(&self, partition: usize) -> bool {
        let knows = self.callers.borrow().ledger.knows_all_in_log(partition);
        knows && !self.is_on_its_way(partition)
    }

    /// Makes the metadata thread forget the topic, as after `metadata.max.idle.ms`, unless a batch of it is in flight. A
    /// moment later a caller needs the topic again.
    fn forget_the_topic(&mut self) {
        let span = Duration::from_millis(self.rng.u64(..400));
        self.run_for(span);
        let without = Cluster {
            topics: TopicMap::default(),
            ..(*self.metadata.cluster()).clone()
        };
        self.metadata.publish_cluster(without);
        self.accumulator
            .topics
            .forget(&HashSet::from([TOPIC.into()]));
        self.metadata.request_refresh();
    }

    /// Moves a broker to another address, which the metadata names.
    fn move_a_broker(&mut self) {
        let broker = self.some_broker();
        self.cluster.broker(broker).port += 1;
        self.cluster.note();
        let links = self.links().keys(Link::is_open);
        for link in links {
            let is_its = self.links().get(link).broker == broker;
            if is_its {
                self.break_link(link);
            }
        }
    }

    /// Ends all failures: old records get their outcomes, and new ones are written at once.
    fn calm_down(&mut self) {
        self.setup.trouble = 0;
        self.callers.borrow_mut().eagerness = 0;
        self.callers.borrow_mut().are_patient = true;
        self.traffic().trouble = 0;
        self.cluster.trouble = 0;
        for broker in 1..=self.setup.brokers {
            self.cluster.broker(broker).is_down = false;
            self.cluster.broker(broker).stands_until = self.now;
        }
        if !self.cluster.topic_exists {
            self.run_until(5000 * MS, World::may_recreate_the_topic);
            self.cluster.recreate_topic();
        }
        for partition in 0..self.setup.partitions {
            self.cluster.partitions[partition].is_fresh = false;
            let leader = partition as i32 % self.setup.brokers + 1;
            self.cluster.move_leader(partition, Some(leader), self.now);
        }
        self.cluster.note();
        // A caller does this if its topic is missing.
        self.metadata.request_refresh();
        self.ask_metadata();
        let timeout = self.setup.sender.topics.delivery_timeout;
        let is_over = self.run_until(timeout + 4000 * MS, |world| {
            let callers = world.callers.borrow();
            callers.are_idle() && callers.ledger.unresolved() == 0
        });
        assert!(is_over, "not every record has an outcome");
        self.run_for(3000 * MS);
        self.probe(1000 * MS);
        self.probe(2 * self.setup.sender.topics.linger + 60 * MS);
        if self.setup.buffer_memory <= 16_384 {
            self.probe_memory();
        }
    }

    /// Checks that no batch lingers while a caller waits for memory.
    fn probe_memory(&mut self) {
        for _ in 0..200 {
            let (partition, now) = (self.some_partition(), self.now);
            self.callers.borrow_mut().send(partition, now);
            if self.callers.borrow().lack_memory() {
                break;
            }
        }
        let is_over = self.run_until(60 * MS, |world| !world.callers.borrow().lack_memory());
        assert!(is_over, "callers wait for memory although all is well");
    }

    /// Checks that records that are sent now are written within `span`.
    fn probe(&mut self, span: Duration) {
        let now = self.now;
        let ids: Vec<usize> = (0..self.setup.partitions)
            .filter_map(|partition| self.callers.borrow_mut().send(partition, now))
            .collect();
        assert_eq!(ids.len(), self.setup.partitions);
        let is_over = self.run_until(span, |world| {
            let callers = world.callers.borrow();
            ids.iter().all(|id| callers.ledger.is_checked(*id))
        });
        assert!(
            is_over,
            "records are not written within {span:?} although all is well: {:?}",
            self.callers.borrow().ledger.unresolved_records()
        );
        for id in ids {
            self.callers.borrow().ledger.assert_written(id);
        }
    }

    fn close(&mut self) {
        let now = self.now;
        self.callers.borrow_mut().send_some(10, now);
        self.accumulator.close();
        self.metadata.close();
        for index in 0..self.workers.len() {
            self.post(index, Event::Close);
        }
        let is_over = self.run_until(5000 * MS, |world| {
            world.workers.iter().all(|worker| worker.sender.is_none())
        });
        assert!(is_over, "close does not return");
        let queued = self.accumulator.topics.with(TOPIC, |topic| {
            let partitions = topic.partitions().iter();
            partitions
                .map(|partition| partition.queue_length())
                .sum::<usize>()
        });
        assert_eq!(queued, Some(0), "batches counted as queued");
    }

    /// Closes by force, or ends the workers' threads, in the middle of a history.
    fn end_at_once(&mut self) {
        self.accumulator.close();
        self.metadata.close();
        let is_forced = self.rng.bool();
        for index in 0..self.workers.len() {
            if is_forced {
                self.post(index, Event::ForceClose);
            } else {
                self.kill(index);
            }
        }
        let is_over = self.run_until(5 * MS, |world| {
            world.workers.iter().all(|worker| worker.sender.is_none())
        });
        assert!(is_over, "a close by force does not return");
    }

    fn check_the_end(&mut self, in_order: bool) {
        self.deliver_the_rest();
        // The network has read the last bytes.
        self.run_for(5000 * MS);
        self.deliver_the_rest();
        let callers = self.callers.borrow();
        assert!(callers.are_idle(), "a caller still waits after a close");
        assert_eq!(callers.ledger.unresolved(), 0, "records without an outcome");
        callers.ledger.check_callbacks(in_order);
        assert_eq!(
            self.accumulator.memory.reserved(),
            0,
            "memory was not returned"
        );
    }
}
