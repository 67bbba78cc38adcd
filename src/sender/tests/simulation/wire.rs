//! The network between workers and brokers: it delays, holds on to bytes, breaks in the middle of a request.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;

use super::super::harness::{MS, Sent, decode};
use super::callers::Callers;
use super::ledger::id_of;
use crate::connection::link::{
    LinkId, LinkTarget, Network, OutgoingRequest, WriteError, WriteStatus,
};
use crate::error::{Error, ErrorKind};
use crate::sender::Delivery;
use crate::sender::doubt::SILENCE;
use crate::sync::channel;
use crate::time::monotonic_now;

/// A worker and its link.
pub(super) type LinkKey = (usize, LinkId);

pub(super) struct Wire {
    pub(super) rng: Rng,
    /// How likely things go wrong, in percent.
    pub(super) trouble: u32,
    pub(super) max_in_flight: usize,
    pub(super) idempotence: bool,
    pub(super) links: BTreeMap<LinkKey, Link>,
    /// What the workers have done since it was last looked at.
    pub(super) done: Vec<(LinkKey, Done)>,
    /// Bytes of links that were closed, which a writer still holds.
    pub(super) abandoned: BTreeMap<u64, Held>,
    next_abandoned: u64,
    /// Until when a worker sends a broker nothing.
    pub(super) throttled: BTreeMap<(usize, i32), Instant>,
    /// Everything that workers ever did.
    pub(super) deeds: usize,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Done {
    Connected {
        port: u16,
    },
    /// A request is written as a whole.
    Wrote,
    /// The rest of a request is left to a writer.
    Stalled,
    Closed,
    /// The link has ended, and a writer still holds bytes.
    Abandoned(u64),
}

pub(super) struct Link {
    pub(super) broker: i32,
    /// The cluster that the broker is to be of.
    pub(super) cluster_id: Option<Arc<str>>,
    /// Not closed by this side, and the other side's closing is not told yet.
    pub(super) is_open: bool,
    /// Requests on their way, each with its arrival.
    pub(super) pipe: VecDeque<(Instant, Sent)>,
    /// The broker is at a request of this link.
    pub(super) is_served: bool,
    /// An answer was garbled: the worker gives the link up when it comes.
    pub(super) is_garbled: bool,
    /// The latest answer's arrival.
    pub(super) answered: Instant,
    latency: Duration,
    /// By request: when it was written, and partition and first record of each batch.
    pub(super) unanswered: VecDeque<(Instant, Vec<(i32, usize)>)>,
    pub(super) held: Option<Held>,
}

/// A request that the network still reads.
pub(super) struct Held {
    pub(super) request: OutgoingRequest,
    checksums: Vec<u32>,
}

impl Held {
    fn new(request: OutgoingRequest) -> Self {
        let checksums = checksums(&request);
        Self { request, checksums }
    }

    /// The network has read the last byte.
    pub(super) fn release(self) -> OutgoingRequest {
        assert_eq!(
            self.checksums,
            checksums(&self.request),
            "bytes change while the network reads them"
        );
        self.request
    }
}

impl Link {
    /// Whether an answer is missed for so long that another leader gets what it leads now.
    fn is_silent(&self, now: Instant) -> bool {
        let oldest = self.unanswered.front();
        oldest.is_some_and(|(written, _)| *written + SILENCE <= now)
    }
}

fn checksums(request: &OutgoingRequest) -> Vec<u32> {
    let batches = request.batches.iter();
    batches
        .map(|batch| crc32c::crc32c((**batch).as_ref()))
        .collect()
}

/// One worker's network.
pub(super) struct SimulatedNetwork {
    pub(super) worker: usize,
    pub(super) wire: Rc<RefCell<Wire>>,
    pub(super) callers: Rc<RefCell<Callers>>,
    pub(super) deliveries: channel::Receiver<Delivery>,
}

impl Network for SimulatedNetwork {
    fn connect(&mut self, link: LinkId, target: LinkTarget) {
        let mut wire = self.wire.borrow_mut();
        let key = (self.worker, link);
        let broker = target.endpoint.host.strip_prefix("broker-").unwrap();
        let (now, latency) = (monotonic_now(), wire.rng.u64(50..1500));
        let link = Link {
            broker: broker.parse().unwrap(),
            cluster_id: target.cluster_id,
            is_open: true,
            pipe: VecDeque::new(),
            is_served: false,
            is_garbled: false,
            answered: now,
            latency: Duration::from_micros(latency),
            unanswered: VecDeque::new(),
            held: None,
        };
        wire.links.insert(key, link);
        let port = target.endpoint.port;
        wire.did(key, Done::Connected { port });
    }

    fn write(&mut self, link: LinkId, request: OutgoingRequest) -> Result<WriteStatus, WriteError> {
        let now = monotonic_now();
        // Callers go on while the worker is at work.
        let mut callers = self.callers.borrow_mut();
        callers.interfere(now);
        let mut wire = self.wire.borrow_mut();
        let key = (self.worker, link);
        let sent = decode(link, wire.links[&key].broker, &request);
        // Whether a batch is given up is seen when its callbacks have run.
        if self.deliveries.is_empty() {
            wire.check_flight(key, &sent, &callers, now);
        }
        if wire.happens(8) {
            // The connection has ended, which the worker does not know yet.
            let error = Error::new(ErrorKind::Network, "the connection has ended");
            return Err(WriteError::NothingWritten(error));
        }
        wire.forget_earlier_attempts(&sent, now);
        for batch in &sent.batches {
            let cluster_id = wire.links[&key].cluster_id.as_deref();
            callers.ledger.sent(batch, cluster_id);
        }
        let batches = sent.batches.iter();
        let content = batches.map(|batch| (batch.partition, id_of(&batch.records[0])));
        let content: Vec<_> = content.collect();
        let fails = wire.happens(4);
        let stalls = wire.rng.u8(..12) == 0 || wire.happens(2);
        let link = wire.links.get_mut(&key).unwrap();
        assert!(link.held.is_none(), "a write behind a stalled one");
        assert!(link.is_open, "a write to a link that is closed");
        if fails {
            // Not to be used any more, whatever comes: the worker must close it.
            let error = Error::new(ErrorKind::Network, "broken pipe");
            return Err(WriteError::MaybeWritten(error));
        }
        link.unanswered.push_back((now, content));
        if stalls {
            link.held = Some(Held::new(request));
            wire.did(key, Done::Stalled);
            return Ok(WriteStatus::InProgress);
        }
        wire.travel(key, sent, now);
        wire.did(key, Done::Wrote);
        Ok(WriteStatus::Complete)
    }

    fn close(&mut self, link: LinkId) {
        let mut wire = self.wire.borrow_mut();
        wire.end((self.worker, link));
        wire.did((self.worker, link), Done::Closed);
    }
}

impl Wire {
    pub(super) fn new(seed: u64, trouble: u32, max_in_flight: usize, idempotence: bool) -> Self {
        Self {
            rng: Rng::with_seed(seed),
            trouble,
            max_in_flight,
            idempotence,
            links: BTreeMap::new(),
            done: Vec::new(),
            abandoned: BTreeMap::new(),
            next_abandoned: 0,
            throttled: BTreeMap::new(),
            deeds: 0,
        }
    }

    fn did(&mut self, link: LinkKey, done: Done) {
        self.deeds += 1;
        self.done.push((link, done));
    }

    /// Whether trouble comes; `rarely` times less often than by its measure.
    pub(super) fn happens(&mut self, rarely: u32) -> bool {
        self.rng.u32(..100 * rarely) < self.trouble
    }

    /// What is written arrives, in order.
    pub(super) fn travel(&mut self, key: LinkKey, sent: Sent, now: Instant) {
        let delay = self.delay(key);
        let link = self.links.get_mut(&key).unwrap();
        let behind = link.pipe.back().map_or(now, |(at, _)| *at);
        link.pipe.push_back(((now + delay).max(behind), sent));
    }

    /// Short as a rule; at times longer than any timeout.
    pub(super) fn delay(&mut self, key: LinkKey) -> Duration {
        let latency = self.links[&key].latency;
        if self.happens(3) {
            return latency + Duration::from_micros(self.rng.u64(..2_500_000));
        }
        latency + Duration::from_micros(self.rng.u64(..200))
    }

    /// The link ends: some of what is under way arrives all the same, and a writer may hold its bytes for a while.
    pub(super) fn end(&mut self, key: LinkKey) {
        let link = self.links.get_mut(&key).unwrap();
        link.is_open = false;
        link.unanswered.clear();
        let arriving = self.rng.usize(..=link.pipe.len());
        link.pipe.truncate(arriving);
        if let Some(held) = link.held.take() {
            let id = self.next_abandoned;
            self.next_abandoned += 1;
            self.abandoned.insert(id, held);
            self.done.push((key, Done::Abandoned(id)));
        }
    }

    /// Links that are ready or will be, of all workers.
    pub(super) fn open_links(&self) -> Vec<LinkKey> {
        let links = self.links.iter().filter(|(_, link)| link.is_open);
        links.map(|(key, _)| *key).collect()
    }

    /// Whether a request with that partition has not reached its broker.
    pub(super) fn is_under_way(&self, partition: i32) -> bool {
        self.links.values().any(|link| {
            link.held.is_some()
                || link.is_served
                || link.pipe.iter().any(|(_, sent)| {
                    sent.batches
                        .iter()
                        .any(|batch| batch.partition == partition)
                })
        })
    }

    /// The bytes that the network holds, by their address.
    pub(super) fn held_bytes(&self, into: &mut BTreeSet<(usize, usize)>) {
        let held = self.links.values().filter_map(|link| link.held.as_ref());
        for held in held.chain(self.abandoned.values()) {
            for batch in &held.request.batches {
                let bytes = (**batch).as_ref();
                into.insert((bytes.as_ptr().addr(), bytes.len()));
            }
        }
    }

    /// A batch that was taken from a silent broker goes again: that attempt counts, and not the one before.
    fn forget_earlier_attempts(&mut self, sent: &Sent, now: Instant) {
        for batch in &sent.batches {
            let first = id_of(&batch.records[0]);
            let links = self.links.values_mut();
            for link in links.filter(|link| link.is_silent(now)) {
                for (_, batches) in &mut link.unanswered {
                    batches.retain(|(_, other)| *other != first);
                }
            }
        }
    }

    /// Before a request is under way: how many there may be, and where.
    fn check_flight(&self, key: LinkKey, sent: &Sent, callers: &Callers, now: Instant) {
        let link = &self.links[&key];
        let throttled = self.throttled.get(&(key.0, link.broker));
        assert!(
            throttled.is_none_or(|until| *until <= now),
            "a request to a broker that throttles"
        );
        assert!(
            link.unanswered.len() < self.max_in_flight,
            "more requests in flight than allowed"
        );
        if !self.idempotence {
            return;
        }
        for batch in &sent.batches {
            let mut in_flight = 0;
            let first = id_of(&batch.records[0]);
            let is_retry = callers.ledger.was_sent(batch);
            for other in self.links.values().filter(|link| link.is_open) {
                let same = other.unanswered.iter().flat_map(|(_, batches)| batches);
                let same = same.filter(|(partition, _)| *partition == batch.partition);
                let same = same.filter(|(_, first)| !callers.ledger.is_resolved(*first));
                let overtaken = same
                    .clone()
                    .find(|(_, other)| is_retry && callers.ledger.is_before(*other, first));
                assert!(
                    overtaken.is_none(),
                    "record {first} is sent again behind {overtaken:?}, which is not acknowledged"
                );
                if other.is_silent(now) && (other.broker != link.broker || is_retry) {
                    // What another broker leads now need not wait for its answer.
                    continue;
                }
                let same = same.count();
                assert!(
                    same == 0 || other.broker == link.broker,
                    "a batch of partition {} goes to broker {} while others are in flight to broker {}",
                    batch.partition,
                    link.broker,
                    other.broker
                );
                in_flight += same;
            }
            assert!(
                in_flight < self.max_in_flight.min(5),
                "{in_flight} batches of partition {} are in flight already",
                batch.partition
            );
        }
    }
}

/// A little later than at once.
pub(super) fn soon(rng: &mut Rng) -> Duration {
    Duration::from_micros(rng.u64(..1000)).min(MS)
}
