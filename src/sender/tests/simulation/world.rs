//! The simulated time, and all events in their order.

use std::cell::{RefCell, RefMut};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;

use super::callers::Callers;
use super::cluster::{Brokers, Pending};
use super::ledger::Ledger;
use super::setup::Setup;
use super::traffic::Traffic;
use crate::accumulator::RecordAccumulator;
use crate::identity::ProducerIdSource;
use crate::metadata::{MetadataCache, PendingRequests};
use crate::protocol::messages::MetadataResponse;
use crate::sender::scripted::{
    LinkKey, Links, MS, PRODUCER_ID, ScriptedNetwork, Sent, Surroundings, TOPIC, Wire, link_closed,
};
use crate::sender::{DeliveryTask, Mailbox, Sender};
use crate::sync::channel;
use crate::time::set_monotonic_now;

pub(super) struct World {
    pub(super) setup: Setup,
    pub(super) rng: Rng,
    began: Instant,
    traces: bool,
    pub(super) now: Instant,
    pub(super) workers: Vec<Worker>,
    pub(super) accumulator: Arc<RecordAccumulator>,
    pub(super) metadata: Arc<MetadataCache>,
    pub(super) producer_ids: Arc<ProducerIdSource>,
    pub(super) deliveries: channel::Receiver<DeliveryTask>,
    pub(super) wire: Rc<RefCell<Wire<Traffic>>>,
    pub(super) callers: Rc<RefCell<Callers>>,
    pub(super) cluster: Brokers,
    happenings: BTreeMap<(Instant, u64), Happening>,
    next_happening: u64,
    pub(super) metadata_is_busy: bool,
    pub(super) next_producer_id: i64,
    pub(super) delivery_is_due: bool,
}

/// A worker with its thread's sleep.
pub(super) struct Worker {
    /// `None` after the worker's end.
    pub(super) sender: Option<Sender<ScriptedNetwork<Traffic>>>,
    pub(super) mailbox: Mailbox,
    pub(super) thread: Thread,
    /// The number of rounds at this time.
    pub(super) rounds: (Instant, usize),
}

impl Worker {
    fn new(sender: Sender<ScriptedNetwork<Traffic>>, mailbox: Mailbox, now: Instant) -> Self {
        Self {
            sender: Some(sender),
            mailbox,
            thread: Thread::Ready(now),
            rounds: (now, 0),
        }
    }
}

#[derive(Clone, Copy)]
pub(super) enum Thread {
    /// Sleeps until the given time, unless it is woken.
    Asleep(Option<Instant>),
    /// Is ready to run, and gets the processor at the given time.
    Ready(Instant),
}

#[derive(Debug)]
pub(super) enum Happening {
    Connected(LinkKey, u16),
    Arrived(LinkKey),
    Replicated(LinkKey, Sent, Vec<Pending>),
    /// An answer arrives, with the time for which the broker throttles.
    Answer(LinkKey, Vec<u8>, Option<Duration>),
    WriteFinished(LinkKey),
    Released(u64),
    /// The final event of a link that the worker has closed.
    FinalEvent(LinkKey),
    Described(Vec<Arc<str>>, Option<MetadataResponse>, PendingRequests),
    MetadataRested,
    Delivery,
    BrokerIsUp(i32),
    TopicIsBack,
    LeaderIsElected(usize),
}

impl World {
    pub(super) fn new(setup: Setup) -> Self {
        let now = Instant::now();
        set_monotonic_now(now);
        fastrand::seed(setup.seed);
        let mut rng = Rng::with_seed(setup.seed ^ 0x5eed);
        let config = &setup.sender;
        let mut surroundings = Surroundings::new(config, setup.workers, setup.buffer_memory);
        let mailboxes = surroundings.mailboxes();
        let ledger = Ledger::new(
            setup.guarantee,
            setup.partitions,
            config.topics.delivery_timeout,
        );
        let callers = Rc::new(RefCell::new(Callers::new(
            rng.u64(..),
            Arc::clone(&surroundings.shared.accumulator),
            ledger,
            setup.partitions,
            config.topics.delivery_timeout,
        )));
        let deliveries = surroundings.deliveries.clone();
        let traffic = Traffic::new(rng.u64(..), &setup, Rc::clone(&callers), deliveries);
        let wire = Wire::new(mailboxes.clone(), traffic);
        wire.borrow_mut().links.session = setup.session;
        let workers = mailboxes.into_iter().enumerate().map(|(index, mailbox)| {
            let network = ScriptedNetwork::new(index, &wire);
            Worker::new(surroundings.worker(index, network), mailbox, now)
        });
        let workers = workers.collect();
        let cluster = Brokers::new(rng.fork(), &setup, now);
        let mut world = Self {
            rng,
            began: now,
            traces: std::env::var_os("SIMULATION_TRACE").is_some(),
            now,
            workers,
            accumulator: surroundings.shared.accumulator,
            metadata: surroundings.shared.metadata,
            producer_ids: surroundings.shared.producer_ids,
            deliveries: surroundings.deliveries,
            wire,
            callers,
            cluster,
            happenings: BTreeMap::new(),
            next_happening: 0,
            metadata_is_busy: false,
            next_producer_id: PRODUCER_ID,
            delivery_is_due: false,
            setup,
        };
        world.metadata.keep_topic(TOPIC);
        world.ask_metadata();
        world
    }

    pub(super) fn traffic(&self) -> RefMut<'_, Traffic> {
        RefMut::map(self.wire.borrow_mut(), |wire| &mut wire.script)
    }

    pub(super) fn links(&self) -> RefMut<'_, Links> {
        RefMut::map(self.wire.borrow_mut(), |wire| &mut wire.links)
    }

    /// Lets `span` pass, and makes all events happen that become due in it.
    pub(super) fn run_for(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(at) = self.next_time().filter(|at| *at <= end) {
            self.set_time(at);
            self.let_happen();
        }
        self.set_time(end);
        self.let_happen();
    }

    /// Lets time pass until `is_done`. Returns false if that takes longer than `span`.
    pub(super) fn run_until(&mut self, span: Duration, is_done: impl Fn(&Self) -> bool) -> bool {
        let end = self.now + span;
        while !is_done(self) {
            let Some(at) = self.next_time().filter(|at| *at <= end) else {
                return false;
            };
            self.set_time(at);
            self.let_happen();
        }
        true
    }

    /// Suspends the machine.
    pub(super) fn jump(&mut self, span: Duration) {
        self.set_time(self.now + span);
        self.callers.borrow_mut().excuse_until(self.now);
        self.let_happen();
    }

    fn set_time(&mut self, at: Instant) {
        self.now = self.now.max(at);
        set_monotonic_now(self.now);
    }

    fn next_time(&self) -> Option<Instant> {
        let handles = self.accumulator.workers().iter();
        let workers = self.workers.iter().zip(handles);
        let workers = workers.filter_map(|(worker, handle)| match worker.thread {
            _ if worker.sender.is_none() => None,
            Thread::Asleep(_) if handle.wakeup().is_woken() => Some(self.now),
            Thread::Asleep(until) => until,
            Thread::Ready(at) => Some(at),
        });
        let happening = self.happenings.first_key_value().map(|((at, _), _)| *at);
        let callers = self.callers.borrow();
        let callers = match callers.can_go_on() {
            true => Some(self.now),
            false => callers.next_deadline(),
        };
        workers.chain(happening).chain(callers).min()
    }

    /// Makes the events happen that are due now.
    fn let_happen(&mut self) {
        while let Some(entry) = self.happenings.first_entry() {
            if entry.key().0 > self.now {
                break;
            }
            let happening = entry.remove();
            self.happen(happening);
        }
        self.go_on();
        for index in 0..self.workers.len() {
            self.schedule(index);
        }
    }

    pub(super) fn at(&mut self, at: Instant, happening: Happening) {
        let key = (at, self.next_happening);
        self.next_happening += 1;
        self.happenings.insert(key, happening);
    }

    pub(super) fn after(&mut self, span: Duration, happening: Happening) {
        self.at(self.now + span, happening);
    }

    /// Continues the callers that need not wait any more.
    fn go_on(&mut self) {
        self.callers.borrow_mut().go_on(self.now);
        let memory = &self.accumulator.memory;
        assert!(
            !self.accumulator.is_open() || !memory.can_serve_a_waiter(),
            "a caller waits although memory is free"
        );
    }

    fn happen(&mut self, happening: Happening) {
        self.trace(&happening);
        match happening {
            Happening::Connected(key, port) => self.connected(key, port),
            Happening::Arrived(key) => self.serve(key),
            Happening::Replicated(key, sent, pending) => self.replicated(key, &sent, pending),
            Happening::Answer(key, frame, throttle) => self.answer(key, frame, throttle),
            Happening::WriteFinished(key) => self.write_finished(key),
            Happening::Released(number) => self.links().release(number),
            Happening::FinalEvent(key) => {
                self.links().post(key, link_closed("closed by this side"));
            }
            Happening::Described(asked, response, pending) => {
                self.described(&asked, response, pending)
            }
            Happening::MetadataRested => {
                self.metadata_is_busy = false;
                self.ask_metadata();
            }
            Happening::Delivery => {
                self.delivery_is_due = false;
                self.deliver();
                self.callers.borrow_mut().ledger.look(self.now);
            }
            Happening::BrokerIsUp(broker) => {
                self.cluster.broker(broker).is_down = false;
                self.cluster.note();
            }
            Happening::TopicIsBack => self.topic_is_back(),
            Happening::LeaderIsElected(partition) => self.leader_is_elected(partition),
        }
    }

    fn topic_is_back(&mut self) {
        if self.cluster.topic_exists {
            return;
        }
        if !self.may_recreate_the_topic() {
            return self.topic_is_back_after(MS);
        }
        self.cluster.recreate_topic();
    }

    /// Elects a leader. If the chosen broker is down, another one is chosen a little later.
    fn leader_is_elected(&mut self, partition: usize) {
        if self.cluster.partitions[partition].leader.is_none() {
            let broker = self.rng.i32(1..=self.setup.brokers);
            self.cluster.move_leader(partition, Some(broker), self.now);
            if self.cluster.partitions[partition].leader.is_none() {
                self.after(20 * MS, Happening::LeaderIsElected(partition));
            }
        }
    }

    /// Prints the history as it happens, if `SIMULATION_TRACE` is set.
    fn trace(&self, happening: &Happening) {
        if self.traces {
            let at = self.now.duration_since(self.began);
            eprintln!("{at:?} {happening:?}");
        }
    }

    pub(super) fn broker_is_up_after(&mut self, broker: i32, span: Duration) {
        self.after(span, Happening::BrokerIsUp(broker));
    }

    pub(super) fn topic_is_back_after(&mut self, span: Duration) {
        self.after(span, Happening::TopicIsBack);
    }

    pub(super) fn leader_is_elected_after(&mut self, partition: usize, span: Duration) {
        self.after(span, Happening::LeaderIsElected(partition));
    }
}
