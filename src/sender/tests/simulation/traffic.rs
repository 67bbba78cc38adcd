//! The network between workers and brokers: it delays requests and answers, breaks in the middle of a write, and reads
//! bytes for a while after a link's end.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::time::{Duration, Instant};

use fastrand::Rng;

use super::callers::Callers;
use super::ledger::id_of;
use super::setup::Setup;
use crate::sender::DeliveryTask;
use crate::sender::scripted::{LinkKey, Links, MS, Script, Sent, SentBatch, WriteFate};
use crate::sender::silence::SILENCE;
use crate::sync::channel;
use crate::time::monotonic_now;

/// Decides the results of connection attempts and writes, and carries the written requests.
pub(super) struct Traffic {
    pub(super) rng: Rng,
    /// The probability of each failure, in percent.
    pub(super) trouble: u32,
    max_in_flight: usize,
    idempotence: bool,
    callers: Rc<RefCell<Callers>>,
    deliveries: channel::Receiver<DeliveryTask>,
    /// The routes of all links that were ever started.
    pub(super) routes: BTreeMap<LinkKey, Route>,
    /// The actions of the workers since the last check.
    pub(super) done: Vec<(LinkKey, Done)>,
    /// By worker and broker: the time until which the worker must not send to the broker.
    pub(super) throttled: BTreeMap<(usize, i32), Instant>,
    /// The number of all actions of the workers.
    pub(super) deeds: usize,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Done {
    Connected {
        port: u16,
    },
    /// A request is written completely.
    Wrote,
    /// A write is in progress.
    Stalled,
    Closed,
    /// The link has ended, and the network still reads the request of this number.
    LeftBytes(u64),
}

/// The requests and answers that a link carries.
pub(super) struct Route {
    /// The requests that have not reached the broker, each with its arrival.
    pub(super) pipe: VecDeque<(Instant, Sent)>,
    /// Whether the broker works on a request of this link.
    pub(super) is_served: bool,
    /// Whether an answer was damaged: the worker ends the link when it arrives.
    pub(super) is_garbled: bool,
    /// The time when the latest answer arrives.
    pub(super) answered: Instant,
    latency: Duration,
    /// The unanswered requests: the time of each write, and the partition and first record of each batch.
    pub(super) unanswered: VecDeque<(Instant, Vec<(i32, usize)>)>,
}

impl Route {
    /// Returns whether an answer is missing for so long that a new leader gets the batches of its partitions.
    fn is_silent(&self, now: Instant) -> bool {
        let oldest = self.unanswered.front();
        oldest.is_some_and(|(written, _)| *written + SILENCE <= now)
    }
}

impl Script for Traffic {
    fn connect(&mut self, links: &mut Links, key: LinkKey) {
        let (now, latency) = (monotonic_now(), self.rng.u64(50..1500));
        let route = Route {
            pipe: VecDeque::new(),
            is_served: false,
            is_garbled: false,
            answered: now,
            latency: Duration::from_micros(latency),
            unanswered: VecDeque::new(),
        };
        self.routes.insert(key, route);
        let port = links.get(key).target.endpoint.port;
        self.did(key, Done::Connected { port });
    }

    fn write(&mut self, links: &mut Links, key: LinkKey, sent: Sent) -> WriteFate {
        let now = monotonic_now();
        // Callers continue while the worker works.
        let callers = Rc::clone(&self.callers);
        let mut callers = callers.borrow_mut();
        callers.interfere(now);
        // The ledger learns of a failed batch when its callbacks have run.
        if self.deliveries.is_empty() {
            self.check_flight(links, key, &sent, &callers, now);
        }
        if self.happens(8) {
            // The connection has ended, and the worker does not know it yet.
            return WriteFate::NothingWritten("the connection has ended");
        }
        self.forget_earlier_attempts(&sent, now);
        for batch in &sent.batches {
            let cluster_id = links.get(key).target.cluster_id.as_deref();
            callers.ledger.sent(batch, cluster_id);
        }
        let batches = sent.batches.iter();
        let content = batches.map(|batch| (batch.partition, id_of(&batch.records[0])));
        let content: Vec<_> = content.collect();
        let fails = self.happens(4);
        let stalls = self.rng.u8(..12) == 0 || self.happens(2);
        if fails {
            return WriteFate::MaybeWritten("broken pipe");
        }
        self.route(key).unanswered.push_back((now, content));
        if stalls {
            self.did(key, Done::Stalled);
            return WriteFate::InProgress;
        }
        self.travel(key, sent, now);
        self.did(key, Done::Wrote);
        WriteFate::Complete
    }

    fn close(&mut self, links: &mut Links, key: LinkKey) {
        self.end(links, key);
        self.did(key, Done::Closed);
    }
}

impl Traffic {
    pub(super) fn new(
        seed: u64,
        setup: &Setup,
        callers: Rc<RefCell<Callers>>,
        deliveries: channel::Receiver<DeliveryTask>,
    ) -> Self {
        Self {
            rng: Rng::with_seed(seed),
            trouble: setup.trouble,
            max_in_flight: setup.sender.max_in_flight,
            idempotence: setup.sender.idempotence,
            callers,
            deliveries,
            routes: BTreeMap::new(),
            done: Vec::new(),
            throttled: BTreeMap::new(),
            deeds: 0,
        }
    }

    fn did(&mut self, key: LinkKey, done: Done) {
        self.deeds += 1;
        self.done.push((key, done));
    }

    pub(super) fn route(&mut self, key: LinkKey) -> &mut Route {
        self.routes.get_mut(&key).expect("a link that was started")
    }

    /// Returns whether a failure happens: with the probability `trouble`, divided by `rarely`.
    pub(super) fn happens(&mut self, rarely: u32) -> bool {
        self.rng.u32(..100 * rarely) < self.trouble
    }

    /// Schedules the arrival of a written request, after the requests before it.
    pub(super) fn travel(&mut self, key: LinkKey, sent: Sent, now: Instant) {
        let delay = self.delay(key);
        let route = self.route(key);
        let behind = route.pipe.back().map_or(now, |(at, _)| *at);
        route.pipe.push_back(((now + delay).max(behind), sent));
    }

    /// Returns the delay of one message: mostly short, sometimes longer than any timeout.
    pub(super) fn delay(&mut self, key: LinkKey) -> Duration {
        let latency = self.routes[&key].latency;
        if self.happens(3) {
            return latency + Duration::from_micros(self.rng.u64(..2_500_000));
        }
        latency + Duration::from_micros(self.rng.u64(..200))
    }

    /// Ends the link. Some requests in flight still arrive, and the network may read bytes for a while.
    pub(super) fn end(&mut self, links: &mut Links, key: LinkKey) {
        let in_pipe = self.routes[&key].pipe.len();
        let arriving = self.rng.usize(..=in_pipe);
        let route = self.route(key);
        route.unanswered.clear();
        route.pipe.truncate(arriving);
        if let Some(number) = links.end(key).held {
            self.done.push((key, Done::LeftBytes(number)));
        }
    }

    /// Returns whether a request with that partition has not reached its broker.
    pub(super) fn is_on_its_way(&self, links: &Links, partition: i32) -> bool {
        self.routes.iter().any(|(key, route)| {
            links.get(*key).is_writing()
                || route.is_served
                || route.pipe.iter().any(|(_, sent)| {
                    sent.batches
                        .iter()
                        .any(|batch| batch.partition == partition)
                })
        })
    }

    /// Removes earlier attempts of batches that were taken from a silent broker: only the new attempt counts as in flight.
    fn forget_earlier_attempts(&mut self, sent: &Sent, now: Instant) {
        for batch in &sent.batches {
            let first = id_of(&batch.records[0]);
            let routes = self.routes.values_mut();
            for route in routes.filter(|route| route.is_silent(now)) {
                for (_, batches) in &mut route.unanswered {
                    batches.retain(|(_, other)| *other != first);
                }
            }
        }
    }

    /// Checks a request against the limits: the number of requests and batches in flight, and to which brokers.
    fn check_flight(
        &self,
        links: &Links,
        key: LinkKey,
        sent: &Sent,
        callers: &Callers,
        now: Instant,
    ) {
        let throttled = self.throttled.get(&(key.worker, sent.broker));
        assert!(
            throttled.is_none_or(|until| *until <= now),
            "a request was sent to a broker that throttles"
        );
        assert!(
            self.routes[&key].unanswered.len() < self.max_in_flight,
            "more requests are in flight than allowed"
        );
        let session_ends = links.get(key).session_ends;
        assert!(
            session_ends.is_none_or(|ends| now < ends),
            "a request was sent after the end of the link's session"
        );
        let others = links.keys(|link| link.is_open() && link.broker == sent.broker);
        let mut others = others
            .into_iter()
            .filter(|other| *other != key && other.worker == key.worker);
        assert!(
            others.all(|other| self.routes[&other].unanswered.is_empty()),
            "requests are sent on two links to a broker at the same time"
        );
        if !self.idempotence {
            return;
        }
        for batch in &sent.batches {
            let in_flight = self.in_flight_beside(links, sent.broker, batch, callers, now);
            assert!(
                in_flight < self.max_in_flight.min(5),
                "{in_flight} batches of partition {} are in flight already",
                batch.partition
            );
        }
    }

    /// Returns how many other batches of the partition are in flight, and checks that they go to `broker` and in order.
    fn in_flight_beside(
        &self,
        links: &Links,
        broker: i32,
        batch: &SentBatch,
        callers: &Callers,
        now: Instant,
    ) -> usize {
        let mut in_flight = 0;
        let first = id_of(&batch.records[0]);
        let is_retry = callers.ledger.was_sent(batch);
        for (key, route) in &self.routes {
            let other = links.get(*key);
            if !other.is_open() {
                continue;
            }
            let same = route.unanswered.iter().flat_map(|(_, batches)| batches);
            let same = same.filter(|(partition, _)| *partition == batch.partition);
            let same = same.filter(|(_, first)| !callers.ledger.is_resolved(*first));
            let overtaken = same
                .clone()
                .find(|(_, other)| is_retry && callers.ledger.is_before(*other, first));
            assert!(
                overtaken.is_none(),
                "record {first} is sent again after {overtaken:?}, which is not acknowledged"
            );
            if route.is_silent(now) && (other.broker != broker || is_retry) {
                // Another broker leads the partition now, so the batch need not wait for this answer.
                continue;
            }
            let same = same.count();
            assert!(
                same == 0 || other.broker == broker,
                "a batch of partition {} goes to broker {broker} while others are in flight to broker {}",
                batch.partition,
                other.broker
            );
            in_flight += same;
        }
        in_flight
    }
}

/// Returns the address and length of each batch whose bytes the network holds.
pub(super) fn held_bytes(links: &Links) -> BTreeSet<(usize, usize)> {
    let batches = links.held().flat_map(|request| &request.batches);
    let bytes = batches.map(|batch| (**batch).as_ref());
    bytes
        .map(|bytes| (bytes.as_ptr().addr(), bytes.len()))
        .collect()
}

/// Returns a short random delay.
pub(super) fn soon(rng: &mut Rng) -> Duration {
    Duration::from_micros(rng.u64(..1000)).min(MS)
}
