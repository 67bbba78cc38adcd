//! Runs the workers at the times at which they would really run, and checks the invariants after each round.

use std::time::{Duration, Instant};

use super::traffic::{Traffic, held_bytes, soon};
use super::world::{Happening, Thread, World};
use crate::accumulator::batch::Contents;
use crate::sender::scripted::{MS, ScriptedNetwork};
use crate::sender::{Event, Sender};

/// The time by which a worker may deliberately notice a due timer late.
const TIMER_SLACK: Duration = MS;

type SimulatedSender = Sender<ScriptedNetwork<Traffic>>;

impl World {
    /// Wakes the worker's thread if it would wake now, and runs a round if it has the processor.
    pub(super) fn schedule(&mut self, index: usize) {
        if self.workers[index].sender.is_none() {
            return;
        }
        let wakeup = self.accumulator.workers()[index].wakeup();
        let worker = &mut self.workers[index];
        match worker.thread {
            Thread::Asleep(until) => {
                if wakeup.is_woken() || until.is_some_and(|until| until <= self.now) {
                    let latency = Duration::from_micros(self.rng.u64(..200));
                    worker.thread = Thread::Ready(self.now + latency);
                } else if self.rng.u8(..16) == 0 {
                    self.wake_for_nothing(index, until);
                }
            }
            Thread::Ready(at) if at <= self.now => {
                wakeup.end_sleep();
                self.round(index);
            }
            Thread::Ready(_) => {}
        }
    }

    fn round(&mut self, index: usize) {
        let now = self.now;
        let worker = &mut self.workers[index];
        worker.rounds = match worker.rounds {
            (at, rounds) if at == now => (at, rounds + 1),
            _ => (now, 1),
        };
        assert!(
            worker.rounds.1 < 100,
            "a worker is always due again and never idle"
        );
        let mut sender = worker.sender.take().expect("a worker that has not ended");
        let deadline = sender.run_once(now);
        self.check_round(&sender);
        if sender.is_finished() {
            return;
        }
        self.workers[index].thread = if self.rng.u8(..5) == 0 {
            // The same as after a round that received full batches.
            Thread::Ready(now + Duration::from_micros(150))
        } else {
            self.fall_asleep(index, &sender, deadline)
        };
        self.workers[index].sender = Some(sender);
    }

    /// Puts the worker to sleep as its thread does. Callers may send before, during and after that.
    fn fall_asleep(
        &mut self,
        index: usize,
        sender: &SimulatedSender,
        deadline: Option<Instant>,
    ) -> Thread {
        let now = self.now;
        let meanwhile = || self.callers.borrow_mut().interfere(now);
        meanwhile();
        let wakeup = self.accumulator.workers()[index].wakeup();
        let sleeps = wakeup.falls_asleep(deadline, || {
            meanwhile();
            sender.has_news()
        });
        meanwhile();
        match sleeps {
            true => Thread::Asleep(deadline),
            false => Thread::Ready(now + Duration::from_micros(self.rng.u64(..20))),
        }
    }

    /// Checks that a worker that sleeps has nothing to do: a round without a wake-up must do nothing.
    fn wake_for_nothing(&mut self, index: usize, until: Option<Instant>) {
        let soon = self.now + TIMER_SLACK;
        if until.is_some_and(|until| until <= soon) {
            return;
        }
        self.accumulator.workers()[index].wakeup().end_sleep();
        let mut sender = self.workers[index].sender.take().unwrap();
        self.check_round(&sender);
        let before = self.deeds();
        let deadline = sender.run_once(self.now);
        self.check_round(&sender);
        assert!(
            before == self.deeds(),
            "a worker slept although there was something to do: a lost wake-up"
        );
        self.workers[index].thread = self.fall_asleep(index, &sender, deadline);
        self.workers[index].sender = Some(sender);
    }

    /// Returns the number of all actions of the workers.
    fn deeds(&self) -> (usize, usize) {
        let resolved = self.callers.borrow().ledger.resolved;
        (self.traffic().deeds, resolved)
    }

    /// After a worker's round, delivers what the worker wrote to the network and checks the invariants.
    fn check_round(&mut self, sender: &SimulatedSender) {
        let done = std::mem::take(&mut self.traffic().done);
        for (link, done) in done {
            self.follow(link, done);
        }
        self.check_memory(sender);
        if self.setup.sender.idempotence {
            check_leaders(sender);
        }
        self.callers.borrow_mut().ledger.look(self.now);
        if !self.deliveries.is_empty() && !self.delivery_is_due {
            self.delivery_is_due = true;
            let span = soon(&mut self.rng);
            self.after(span, Happening::Delivery);
        }
        self.ask_metadata();
    }

    /// Checks that the memory budget accounts for all bytes that a worker and the network hold.
    fn check_memory(&self, sender: &SimulatedSender) {
        let mut held = held_bytes(&self.links());
        let states = sender.partitions.values();
        let batches = states.flat_map(|state| {
            let in_flight = state.in_flight.iter().map(|sent| &sent.batch);
            in_flight.chain(&state.queue)
        });
        let mut building = 0;
        for batch in batches {
            match &batch.contents {
                Contents::Building { builder, .. } => building += builder.capacity(),
                Contents::Sealed { bytes, .. } => {
                    held.insert((bytes.bytes.as_ptr().addr(), bytes.bytes.len()));
                }
                Contents::Gone => panic!("a batch without contents is queued"),
            }
        }
        let held = building + held.iter().map(|(_, bytes)| bytes).sum::<usize>();
        let in_use = self.accumulator.memory.reserved();
        assert!(
            held as i64 <= in_use,
            "{held} bytes are held and {in_use} accounted for"
        );
    }

    pub(super) fn post(&mut self, index: usize, event: Event) {
        self.workers[index].mailbox.post(event);
    }

    /// Ends the worker's thread, as a panic does.
    pub(super) fn kill(&mut self, index: usize) {
        self.workers[index].sender = None;
    }
}

/// Checks that a new leader gets no batch of a partition while one is in flight to the old leader.
fn check_leaders(sender: &SimulatedSender) {
    for state in sender.partitions.values() {
        let mut brokers = state.in_flight.iter().map(|sent| sent.leader.broker);
        let first = brokers.next();
        assert!(
            brokers.all(|broker| Some(broker) == first),
            "batches of one partition are in flight to two brokers"
        );
    }
}
