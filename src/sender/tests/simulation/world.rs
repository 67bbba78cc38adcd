//! Time, and all that happens in it: workers that run when they would really run, the way of every request and answer,
//! the metadata thread, the delivery thread.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;

use super::super::harness::{MS, PRODUCER_ID, Publication, Sent, TOPIC, connected, decode, encode};
use super::callers::Callers;
use super::cluster::{Brokers, Pending};
use super::ledger::Ledger;
use super::setup::Setup;
use super::wire::{Done, LinkKey, SimulatedNetwork, Wire, soon};
use crate::accumulator::batch::{CompletedBatch, Contents};
use crate::accumulator::handover::handover;
use crate::accumulator::memory::BufferMemory;
use crate::accumulator::topic_config::TopicConfig;
use crate::accumulator::{RecordAccumulator, WorkerHandle};
use crate::connection::link::LinkEvent;
use crate::error::{Error, ErrorKind};
use crate::identity::{ProducerIdSource, ProducerIdentity};
use crate::metadata::{Due, MetadataCache, PendingRequests};
use crate::protocol::messages::{
    MetadataResponse, NodeEndpoint, ProducePartitionResponse, ProduceResponse, ProduceTopicResponse,
};
use crate::sender::{Delivery, Event, Sender, Shared};
use crate::sync::{Wakeup, channel};
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
    deliveries: channel::Receiver<Delivery>,
    pub(super) wire: Rc<RefCell<Wire>>,
    pub(super) callers: Rc<RefCell<Callers>>,
    pub(super) cluster: Brokers,
    happenings: BTreeMap<(Instant, u64), Happening>,
    next_happening: u64,
    metadata_is_busy: bool,
    pub(super) next_producer_id: i64,
    delivery_is_due: bool,
}

/// A worker with its thread's sleep.
pub(super) struct Worker {
    /// None after its end.
    pub(super) sender: Option<Sender<SimulatedNetwork>>,
    pub(super) events: channel::Sender<Event>,
    thread: Thread,
    /// Rounds at this very time.
    rounds: (Instant, usize),
}

#[derive(Clone, Copy)]
enum Thread {
    /// Until then, unless it is woken.
    Asleep(Option<Instant>),
    /// It has the processor then.
    Ready(Instant),
}

#[derive(Debug)]
enum Happening {
    Connected(LinkKey, u16),
    Arrived(LinkKey),
    Replicated(LinkKey, Sent, Vec<Pending>),
    /// With the wait that the broker asks for.
    Answer(LinkKey, Vec<u8>, Option<Duration>),
    WriteFinished(LinkKey),
    Released(u64),
    /// The last word of a link that the worker has closed.
    LastWord(LinkKey),
    Described(Vec<Arc<str>>, Option<MetadataResponse>, PendingRequests),
    MetadataRested,
    Delivery,
    BrokerIsUp(i32),
    TopicIsBack,
    LeaderIsElected(usize),
}

/// How late a worker may see what its timers are due for, by its own choice.
const TIMER_SLACK: Duration = MS;

impl World {
    pub(super) fn new(setup: Setup) -> Self {
        let now = Instant::now();
        set_monotonic_now(now);
        fastrand::seed(setup.seed);
        let mut rng = Rng::with_seed(setup.seed ^ 0x5eed);
        let memory = BufferMemory::new(setup.buffer_memory);
        let (delivered, deliveries) = channel::unbounded();
        let (handles, ends): (Vec<_>, Vec<_>) = (0..setup.workers)
            .map(|_| {
                let (records, received) = handover();
                let handle = WorkerHandle::new(records, Arc::new(Wakeup::new(now)));
                (handle, received)
            })
            .unzip();
        let config = &setup.sender;
        let topic_config = TopicConfig {
            acks: config.acks,
            linger: config.linger,
            batch_size: config.batch_size,
            max_batch_bytes: config.max_request_size,
            compression: config.compression,
            delivery_timeout: config.delivery_timeout,
        };
        let instance = crate::threads::InstanceId::new();
        let accumulator = Arc::new(RecordAccumulator::new(
            instance,
            memory,
            topic_config,
            handles,
        ));
        let metadata = MetadataCache::new(Box::new(Publication(Arc::clone(&accumulator))));
        let producer_ids = ProducerIdSource::new(&metadata);
        let ledger = Ledger::new(setup.guarantee, setup.partitions, config.delivery_timeout);
        let callers = Rc::new(RefCell::new(Callers::new(
            rng.u64(..),
            Arc::clone(&accumulator),
            ledger,
            setup.partitions,
            config.delivery_timeout,
        )));
        let wire = Rc::new(RefCell::new(Wire::new(
            rng.u64(..),
            setup.trouble,
            config.max_in_flight,
            config.idempotence,
        )));
        let workers = ends.into_iter().enumerate().map(|(index, records)| {
            let (events, happened) = channel::unbounded();
            let mut config = config.clone();
            config.index = index;
            let network = SimulatedNetwork {
                worker: index,
                wire: Rc::clone(&wire),
                callers: Rc::clone(&callers),
                deliveries: deliveries.clone(),
            };
            let sender = Sender::new(
                config,
                Shared {
                    accumulator: Arc::clone(&accumulator),
                    metadata: Arc::clone(&metadata),
                    producer_ids: Arc::clone(&producer_ids),
                },
                network,
                records,
                happened,
                delivered.clone(),
            );
            Worker {
                sender: Some(sender),
                events,
                thread: Thread::Ready(now),
                rounds: (now, 0),
            }
        });
        let workers = workers.collect();
        let cluster = Brokers::new(rng.fork(), &setup, now);
        let mut world = Self {
            rng,
            began: now,
            traces: std::env::var_os("SIMULATION_TRACE").is_some(),
            now,
            workers,
            accumulator,
            metadata,
            producer_ids,
            deliveries,
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

    // --- Time --------------------------------------------------------------------------------------------------------

    /// Everything until then happens.
    pub(super) fn run_for(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(at) = self.next_time().filter(|at| *at <= end) {
            self.set_time(at);
            self.let_happen();
        }
        self.set_time(end);
        self.let_happen();
    }

    /// True as soon as `is_done`, false after `span`.
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

    /// The machine is suspended.
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

    /// What is due now.
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

    fn at(&mut self, at: Instant, happening: Happening) {
        let key = (at, self.next_happening);
        self.next_happening += 1;
        self.happenings.insert(key, happening);
    }

    fn after(&mut self, span: Duration, happening: Happening) {
        self.at(self.now + span, happening);
    }

    /// Callers that can go on do, and whatever that leads to.
    fn go_on(&mut self) {
        self.callers.borrow_mut().go_on(self.now);
        let memory = &self.accumulator.memory;
        assert!(
            !self.accumulator.is_open() || !memory.owes_a_grant(),
            "somebody waits for memory that is there"
        );
    }

    // --- Workers -----------------------------------------------------------------------------------------------------

    /// Wakes the worker's thread where it would wake, and runs it where it has the processor.
    fn schedule(&mut self, index: usize) {
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
                wakeup.awakes();
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
            "a worker is due again and again without coming to rest"
        );
        let mut sender = worker.sender.take().expect("a worker that has not ended");
        let deadline = sender.run_once(now);
        self.look_around(&sender);
        if sender.is_finished() {
            return;
        }
        self.workers[index].thread = if self.rng.u8(..5) == 0 {
            // As after a round that took full batches.
            Thread::Ready(now + Duration::from_micros(150))
        } else {
            self.fall_asleep(index, &sender, deadline)
        };
        self.workers[index].sender = Some(sender);
    }

    /// As the thread does; callers do what they do before, in the middle and afterwards.
    fn fall_asleep(
        &mut self,
        index: usize,
        sender: &Sender<SimulatedNetwork>,
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

    /// A worker that sleeps and is not woken has nothing to do: if it gets up all the same, nothing comes of it.
    fn wake_for_nothing(&mut self, index: usize, until: Option<Instant>) {
        let soon = self.now + TIMER_SLACK;
        if until.is_some_and(|until| until <= soon) {
            return;
        }
        self.accumulator.workers()[index].wakeup().awakes();
        let mut sender = self.workers[index].sender.take().unwrap();
        self.look_around(&sender);
        let before = self.deeds();
        let deadline = sender.run_once(self.now);
        self.look_around(&sender);
        assert!(
            before == self.deeds(),
            "a worker slept although there was something to do: a lost wake-up"
        );
        self.workers[index].thread = self.fall_asleep(index, &sender, deadline);
        self.workers[index].sender = Some(sender);
    }

    /// All that can be seen of what workers do.
    fn deeds(&self) -> (usize, usize) {
        let resolved = self.callers.borrow().ledger.resolved;
        (self.wire.borrow().deeds, resolved)
    }

    /// After a worker's round: what it wrote is under way, and what must always hold is looked at.
    fn look_around(&mut self, sender: &Sender<SimulatedNetwork>) {
        let done = std::mem::take(&mut self.wire.borrow_mut().done);
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

    /// What a worker and the network hold is accounted for.
    fn check_memory(&self, sender: &Sender<SimulatedNetwork>) {
        let mut held = BTreeSet::new();
        self.wire.borrow().held_bytes(&mut held);
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
        let in_use = self.accumulator.memory.in_use();
        assert!(
            held as i64 <= in_use,
            "{held} bytes are held and {in_use} accounted for"
        );
    }

    pub(super) fn tell(&mut self, index: usize, event: Event) {
        let worker = &self.workers[index];
        if worker.sender.is_some() {
            worker.events.send(event).unwrap();
        }
        self.accumulator.workers()[index].wakeup().wake();
    }

    /// The worker's thread ends as by a panic.
    pub(super) fn kill(&mut self, index: usize) {
        self.workers[index].sender = None;
    }

    // --- Requests and answers ----------------------------------------------------------------------------------------

    fn follow(&mut self, key: LinkKey, done: Done) {
        match done {
            Done::Connected { port } => {
                let span = soon(&mut self.rng);
                self.after(span, Happening::Connected(key, port));
            }
            Done::Wrote => self.expect_arrival(key),
            Done::Stalled => {
                let span = match self.wire.borrow_mut().happens(1) {
                    true => Duration::from_micros(self.rng.u64(..1_500_000)),
                    false => Duration::from_micros(self.rng.u64(..20_000)),
                };
                self.after(span, Happening::WriteFinished(key));
            }
            Done::Closed => {
                let span = soon(&mut self.rng);
                self.after(span, Happening::LastWord(key));
            }
            Done::Abandoned(id) => {
                let span = Duration::from_micros(self.rng.u64(..300_000));
                self.after(span, Happening::Released(id));
            }
        }
    }

    fn expect_arrival(&mut self, key: LinkKey) {
        let at = self.wire.borrow().links[&key]
            .pipe
            .back()
            .map(|(at, _)| *at);
        if let Some(at) = at {
            self.at(at, Happening::Arrived(key));
        }
    }

    fn happen(&mut self, happening: Happening) {
        self.trace(&happening);
        match happening {
            Happening::Connected(key, port) => self.connected(key, port),
            Happening::Arrived(key) => self.serve(key),
            Happening::Replicated(key, sent, pending) => self.replicated(key, &sent, pending),
            Happening::Answer(key, frame, throttle) => self.answer(key, frame, throttle),
            Happening::WriteFinished(key) => self.write_finished(key),
            Happening::Released(id) => {
                let held = self.wire.borrow_mut().abandoned.remove(&id);
                drop(held.map(super::wire::Held::release));
            }
            Happening::LastWord(key) => {
                let error = Error::new(ErrorKind::Network, "closed by this side");
                self.tell(key.0, Event::Link(key.1, LinkEvent::Closed(error)));
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
            Happening::TopicIsBack => {
                if self.cluster.topic_exists {
                    return;
                }
                if !self.may_make_the_topic_anew() {
                    return self.topic_is_back_after(MS);
                }
                self.cluster.make_topic_anew();
            }
            Happening::LeaderIsElected(partition) => {
                if self.cluster.partitions[partition].leader.is_none() {
                    let broker = self.rng.i32(1..=self.setup.brokers);
                    self.cluster.move_leader(partition, Some(broker), self.now);
                    if self.cluster.partitions[partition].leader.is_none() {
                        self.after(20 * MS, Happening::LeaderIsElected(partition));
                    }
                }
            }
        }
    }

    /// With `SIMULATION_TRACE` set the history is told as it happens.
    fn trace(&self, happening: &Happening) {
        if self.traces {
            let at = self.now.duration_since(self.began);
            eprintln!("{at:?} {happening:?}");
        }
    }

    fn connected(&mut self, key: LinkKey, port: u16) {
        let mut wire = self.wire.borrow_mut();
        let (broker, is_open) = (wire.links[&key].broker, wire.links[&key].is_open);
        if !is_open {
            return;
        }
        let fails = wire.happens(2);
        let cluster_id = wire.links[&key].cluster_id.clone();
        let is_stranger = cluster_id.is_some_and(|id| *id != *self.cluster.number.to_string());
        drop(wire);
        let model = self.cluster.broker(broker);
        if model.stands_until > self.now {
            let until = model.stands_until;
            return self.at(until, Happening::Connected(key, port));
        }
        if fails || is_stranger || model.is_down || model.port != port {
            return self.break_link(key);
        }
        let event = connected(key.1, self.setup.produce_version);
        self.tell(key.0, event);
    }

    /// The broker looks at the link's next request, one after the other.
    fn serve(&mut self, key: LinkKey) {
        let mut wire = self.wire.borrow_mut();
        let link = wire.links.get_mut(&key).unwrap();
        let broker = link.broker;
        let model = self.cluster.broker(broker);
        if link.is_served || link.pipe.front().is_none_or(|(at, _)| *at > self.now) {
            return;
        }
        if model.is_down {
            return link.pipe.clear();
        }
        if model.stands_until > self.now {
            let until = model.stands_until;
            drop(wire);
            return self.at(until, Happening::Arrived(key));
        }
        let (_, sent) = link.pipe.pop_front().unwrap();
        link.is_served = true;
        drop(wire);
        let ledger = &mut self.callers.borrow_mut().ledger;
        let pending = self.cluster.take(&sent, ledger, self.now);
        let span = self.cluster.replication();
        let at = self.now + span;
        let key_of = (at, self.next_happening);
        self.next_happening += 1;
        self.happenings
            .insert(key_of, Happening::Replicated(key, sent, pending));
    }

    fn replicated(&mut self, key: LinkKey, sent: &Sent, pending: Vec<Pending>) {
        let answers = self.cluster.answers(pending, sent.version);
        let (frame, throttle) = self.encode(key, sent, answers);
        let mut wire = self.wire.borrow_mut();
        let delay = wire.delay(key);
        let link = wire.links.get_mut(&key).unwrap();
        link.is_served = false;
        let at = (self.now + delay).max(link.answered);
        link.answered = at;
        drop(wire);
        self.at(at, Happening::Answer(key, frame, throttle));
        self.serve(key);
    }

    fn answer(&mut self, key: LinkKey, frame: Vec<u8>, throttle: Option<Duration>) {
        let mut wire = self.wire.borrow_mut();
        let link = wire.links.get_mut(&key).unwrap();
        if !link.is_open {
            return;
        }
        link.unanswered.pop_front();
        if let Some(wait) = throttle {
            let place = (key.0, link.broker);
            let until = wire.throttled.entry(place).or_insert(self.now);
            *until = (*until).max(self.now + wait);
        }
        drop(wire);
        self.tell(key.0, Event::Link(key.1, LinkEvent::Frame(frame)));
    }

    /// The answer's bytes: rarely garbled, or with the wish to be left alone for a while.
    fn encode(
        &mut self,
        key: LinkKey,
        sent: &Sent,
        partitions: Vec<ProducePartitionResponse>,
    ) -> (Vec<u8>, Option<Duration>) {
        let mut wire = self.wire.borrow_mut();
        let hinted = partitions
            .iter()
            .map(|answer| answer.current_leader.leader_id);
        let hinted: BTreeSet<i32> = hinted.filter(|id| *id > 0).collect();
        let rarely = wire.rng.u8(..8) == 0;
        let throttle_time_ms = match wire.happens(1) {
            true => wire.rng.i32(0..if rarely { 3000 } else { 300 }),
            false => 0,
        };
        let garbled = wire.happens(16).then(|| wire.rng.usize(..4));
        let link = wire.links.get_mut(&key).unwrap();
        link.is_garbled |= garbled.is_some();
        let link_is_garbled = link.is_garbled;
        drop(wire);
        let endpoints = hinted.into_iter().map(|node_id| NodeEndpoint {
            node_id,
            host: format!("broker-{node_id}"),
            port: i32::from(self.cluster.broker(node_id).port),
            rack: None,
        });
        let by_id = sent.version >= 13;
        let response = ProduceResponse {
            topics: vec![ProduceTopicResponse {
                name: if by_id { "" } else { TOPIC }.into(),
                id: sent.batches[0].topic_id,
                partitions,
            }],
            throttle_time_ms,
            node_endpoints: endpoints.collect(),
        };
        let mut frame = encode(sent, &response);
        if let Some(position) = garbled {
            frame[position] ^= 1;
        }
        // Before Produce 6 the broker waits itself; an answer of another number is not looked at, nor what follows it.
        let is_heard = sent.version >= 6 && !link_is_garbled && throttle_time_ms > 0;
        let throttle = is_heard.then(|| Duration::from_millis(throttle_time_ms as u64));
        (frame, throttle)
    }

    fn write_finished(&mut self, key: LinkKey) {
        let mut wire = self.wire.borrow_mut();
        let cut = wire.happens(2);
        let link = wire.links.get_mut(&key).unwrap();
        let broker = link.broker;
        if link.held.is_none() {
            return;
        }
        if cut {
            drop(wire);
            return self.break_link(key);
        }
        // As the bytes are now.
        let request = link.held.take().unwrap().release();
        let sent = decode(key.1, broker, &request);
        drop(request);
        wire.travel(key, sent, self.now);
        drop(wire);
        self.expect_arrival(key);
        self.tell(key.0, Event::Link(key.1, LinkEvent::WriteFinished));
    }

    pub(super) fn break_link(&mut self, key: LinkKey) {
        let mut wire = self.wire.borrow_mut();
        if !wire.links[&key].is_open {
            return;
        }
        wire.end(key);
        let done = std::mem::take(&mut wire.done);
        drop(wire);
        for (key, done) in done {
            self.follow(key, done);
        }
        let error = Error::new(ErrorKind::Network, "the broker hung up");
        self.tell(key.0, Event::Link(key.1, LinkEvent::Closed(error)));
    }

    // --- Other threads -----------------------------------------------------------------------------------------------

    /// The metadata thread asks for what is wanted, one question after the other.
    pub(super) fn ask_metadata(&mut self) {
        if self.metadata_is_busy {
            return;
        }
        let pending = PendingRequests {
            call: self.producer_ids.due(self.now) == Due::Now,
            ..self.metadata.pending()
        };
        if !pending.any() {
            return;
        }
        self.metadata_is_busy = true;
        let asked = self.metadata.ask(pending);
        let mut wire = self.wire.borrow_mut();
        let (stale, fails, slow) = (wire.happens(1), wire.happens(3), wire.happens(3));
        drop(wire);
        let response = (!fails).then(|| self.cluster.describe(stale));
        let most = if slow { 2_000_000 } else { 5000 };
        let span = Duration::from_micros(self.rng.u64(..most));
        self.after(span, Happening::Described(asked, response, pending));
    }

    fn described(
        &mut self,
        asked: &[Arc<str>],
        response: Option<MetadataResponse>,
        pending: PendingRequests,
    ) {
        let pause = Duration::from_millis(self.rng.u64(20..60));
        self.after(pause, Happening::MetadataRested);
        let Some(response) = response else {
            if pending.refresh {
                self.metadata.request_refresh();
            }
            return;
        };
        if pending.refresh || pending.topics {
            let version = self.setup.metadata_version;
            self.metadata.take_answer(asked, response, version, pending);
        }
        if pending.call && self.knows_the_cluster() {
            let identity = self.identity();
            self.producer_ids.give_now(identity);
            for index in 0..self.workers.len() {
                self.tell(index, Event::Identity(Ok(())));
            }
        }
    }

    /// A producer id, whose epochs may end soon.
    fn identity(&mut self) -> ProducerIdentity {
        self.next_producer_id += 1;
        let cluster = self.cluster.number;
        let mut callers = self.callers.borrow_mut();
        callers.ledger.gave(cluster, self.next_producer_id);
        ProducerIdentity {
            producer_id: self.next_producer_id,
            producer_epoch: match self.rng.bool() {
                true => i16::MAX - self.rng.i16(0..4),
                false => 0,
            },
        }
    }

    fn deliver(&mut self) {
        while let Ok(delivery) = self.deliveries.try_recv() {
            if let Delivery::Settled(settlements) = delivery {
                settlements.into_iter().for_each(CompletedBatch::deliver);
            }
        }
    }

    /// The delivery thread comes to its end.
    pub(super) fn deliver_the_rest(&mut self) {
        self.deliver();
        self.callers.borrow_mut().ledger.look(self.now);
    }

    // --- What happens to brokers -------------------------------------------------------------------------------------

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

/// A new leader gets nothing of a partition while anything is in flight to the old one.
fn check_leaders(sender: &Sender<SimulatedNetwork>) {
    for state in sender.partitions.values() {
        let mut brokers = state.in_flight.iter().map(|sent| sent.leader.broker);
        let first = brokers.next();
        assert!(
            brokers.all(|broker| Some(broker) == first),
            "batches of one partition are in flight to two brokers"
        );
    }
}
