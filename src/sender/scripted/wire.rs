//! The network that workers write to: its links, the bytes that it still reads, and the events that it posts.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::request::{Sent, decode};
use crate::connection::BrokerVersions;
use crate::connection::authentication::Session;
use crate::connection::link::{
    LinkEvent, LinkId, LinkProperties, LinkTarget, Network, OutgoingRequest, WriteError,
    WriteStatus,
};
use crate::error::{Error, ErrorKind};
use crate::protocol::ApiKey;
use crate::protocol::messages::{ApiVersionRange, ApiVersionsResponse};
use crate::sender::{Event, Mailbox};
use crate::time::monotonic_now;

/// Decides how the network reacts to a worker's calls. Each test, the simulation and the fuzz target have their own script.
pub(crate) trait Script {
    /// Called when a worker starts the link. `links` already has it, as connecting.
    fn connect(&mut self, links: &mut Links, key: LinkKey);

    /// Called when a worker writes a request to a ready link. Returns the result of the write.
    fn write(&mut self, links: &mut Links, key: LinkKey, sent: Sent) -> WriteFate;

    /// Called when a worker closes the link, which may have ended before.
    fn close(&mut self, links: &mut Links, key: LinkKey);

    /// Called when a worker stops using the link although the connection itself works.
    fn abandon(&mut self, links: &mut Links, key: LinkKey) {
        self.close(links, key);
    }

    /// Called when a worker reports that the link's broker throttles until that time.
    fn throttled(&mut self, _key: LinkKey, _until: Instant) {}
}

/// The result of a write.
pub(crate) enum WriteFate {
    Complete,
    /// The network continues to read the bytes until [`Links::finish_write`] or the link's end.
    InProgress,
    /// The write failed before the network read a byte.
    NothingWritten(&'static str),
    /// The write failed after the network read some bytes.
    MaybeWritten(&'static str),
}

/// Identifies a link: its worker, and its id at that worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LinkKey {
    pub(crate) worker: usize,
    pub(crate) link: LinkId,
}

pub(crate) struct Link {
    pub(crate) broker: i32,
    pub(crate) target: LinkTarget,
    /// The time when the broker ends the session. `None` if the link is not ready or the session has no end.
    pub(crate) session_ends: Option<Instant>,
    state: LinkState,
}

enum LinkState {
    Connecting,
    Ready,
    /// A write is in progress.
    Writing(HeldRequest),
    /// A write has failed: the worker must close the link and write nothing more.
    Broken,
    Ended,
}

impl Link {
    /// Returns whether neither side has ended the link.
    pub(crate) fn is_open(&self) -> bool {
        !matches!(self.state, LinkState::Ended)
    }

    pub(crate) fn is_connecting(&self) -> bool {
        matches!(self.state, LinkState::Connecting)
    }

    /// Returns whether a write is in progress.
    pub(crate) fn is_writing(&self) -> bool {
        matches!(self.state, LinkState::Writing(_))
    }
}

/// A request whose bytes the network still reads, with their checksums at the time of the write.
struct HeldRequest {
    request: OutgoingRequest,
    checksums: Vec<u32>,
}

impl HeldRequest {
    fn new(request: OutgoingRequest) -> Self {
        let checksums = checksums(&request);
        Self { request, checksums }
    }

    /// Called when the network has read the last byte. Panics if the bytes have changed.
    fn release(self) -> OutgoingRequest {
        assert_eq!(
            self.checksums,
            checksums(&self.request),
            "bytes change while the network reads them"
        );
        self.request
    }
}

fn checksums(request: &OutgoingRequest) -> Vec<u32> {
    let batches = request.batches.iter();
    let bytes = batches.map(|batch| crc32c::crc32c((**batch).as_ref()));
    bytes.collect()
}

/// The state of a link before it ended.
pub(crate) struct Ended {
    pub(crate) was_open: bool,
    /// The number of the request that the network still reads, for [`Links::release`].
    pub(crate) held: Option<u64>,
}

/// The links of all workers. Links that have ended stay.
pub(crate) struct Links {
    mailboxes: Vec<Mailbox>,
    by_key: BTreeMap<LinkKey, Link>,
    /// The length of the brokers' sessions. `None` if sessions have no end.
    pub(crate) session: Option<Duration>,
    /// Whether the network reads the bytes of a written request until [`Links::release_all`].
    pub(crate) holds_written: bool,
    /// The requests that the network still reads, except those in [`LinkState::Writing`].
    held: BTreeMap<u64, HeldRequest>,
    next_held: u64,
}

impl Links {
    fn new(mailboxes: Vec<Mailbox>) -> Self {
        Self {
            mailboxes,
            by_key: BTreeMap::new(),
            session: None,
            holds_written: false,
            held: BTreeMap::new(),
            next_held: 0,
        }
    }

    pub(crate) fn get(&self, key: LinkKey) -> &Link {
        &self.by_key[&key]
    }

    fn link_mut(&mut self, key: LinkKey) -> &mut Link {
        self.by_key.get_mut(&key).expect("a link that was started")
    }

    /// Returns the links that `is_wanted` accepts, ordered by worker and then by the time of their start.
    pub(crate) fn keys(&self, is_wanted: impl Fn(&Link) -> bool) -> Vec<LinkKey> {
        let links = self.by_key.iter();
        let wanted = links.filter(|(_, link)| is_wanted(link));
        wanted.map(|(key, _)| *key).collect()
    }

    /// Posts an event to the worker of the link.
    pub(crate) fn post(&self, key: LinkKey, event: LinkEvent) {
        self.mailboxes[key.worker].post(Event::Link(key.link, event));
    }

    /// Makes the link ready, and posts this to its worker.
    pub(crate) fn connected(&mut self, key: LinkKey, produce_versions: (i16, i16)) {
        let begins = monotonic_now();
        let ends = self.session.map(|lasts| begins + lasts);
        let link = self.link_mut(key);
        (link.state, link.session_ends) = (LinkState::Ready, ends);
        self.post(key, ready(produce_versions, Session { begins, ends }));
    }

    /// Ends the link without an event.
    pub(crate) fn end(&mut self, key: LinkKey) -> Ended {
        let link = self.link_mut(key);
        let was_open = link.is_open();
        let held = match std::mem::replace(&mut link.state, LinkState::Ended) {
            LinkState::Writing(held) => Some(self.hold(held)),
            _ => None,
        };
        Ended { was_open, held }
    }

    /// Ends the link as the broker does, or as a connection attempt that fails, and posts this to its worker.
    pub(crate) fn lose(&mut self, key: LinkKey) -> Ended {
        let ended = self.end(key);
        if ended.was_open {
            self.post(key, link_closed("the broker hung up"));
        }
        ended
    }

    /// Finishes the write in progress, and posts this to the worker. Returns the request, decoded from its current bytes, or
    /// `None` if no write is in progress.
    pub(crate) fn finish_write(&mut self, key: LinkKey) -> Option<Sent> {
        let link = self.link_mut(key);
        if !link.is_writing() {
            return None;
        }
        let LinkState::Writing(held) = std::mem::replace(&mut link.state, LinkState::Ready) else {
            unreachable!("a write is in progress")
        };
        let broker = link.broker;
        let request = held.release();
        let sent = decode(key.link, broker, &request);
        self.written(request);
        self.post(key, LinkEvent::WriteFinished);
        Some(sent)
    }

    /// Handles a request that is written completely: holds its bytes if the network still reads them.
    fn written(&mut self, request: OutgoingRequest) {
        if self.holds_written {
            self.hold(HeldRequest::new(request));
        }
    }

    fn hold(&mut self, held: HeldRequest) -> u64 {
        let number = self.next_held;
        self.next_held += 1;
        self.held.insert(number, held);
        number
    }

    /// Releases a request whose link has ended: the network has read its last byte.
    pub(crate) fn release(&mut self, number: u64) {
        if let Some(held) = self.held.remove(&number) {
            drop(held.release());
        }
    }

    /// Releases all held requests except the writes in progress: the network has read their last bytes.
    pub(crate) fn release_all(&mut self) {
        for held in std::mem::take(&mut self.held).into_values() {
            drop(held.release());
        }
    }

    /// Returns the requests that the network still reads.
    pub(crate) fn held(&self) -> impl Iterator<Item = &OutgoingRequest> {
        let links = self.by_key.values();
        let writing = links.filter_map(|link| match &link.state {
            LinkState::Writing(held) => Some(held),
            _ => None,
        });
        writing.chain(self.held.values()).map(|held| &held.request)
    }
}

/// Shared by the networks of all workers and by their user.
pub(crate) struct Wire<S> {
    pub(crate) links: Links,
    pub(crate) script: S,
}

impl<S: Script> Wire<S> {
    pub(crate) fn new(mailboxes: Vec<Mailbox>, script: S) -> Rc<RefCell<Self>> {
        Rc::new(RefCell::new(Self {
            links: Links::new(mailboxes),
            script,
        }))
    }
}

/// One worker's network.
pub(crate) struct ScriptedNetwork<S> {
    worker: usize,
    wire: Rc<RefCell<Wire<S>>>,
}

impl<S: Script> ScriptedNetwork<S> {
    pub(crate) fn new(worker: usize, wire: &Rc<RefCell<Wire<S>>>) -> Self {
        let wire = Rc::clone(wire);
        Self { worker, wire }
    }

    fn key(&self, link: LinkId) -> LinkKey {
        let worker = self.worker;
        LinkKey { worker, link }
    }
}

impl<S: Script> Network for ScriptedNetwork<S> {
    fn connect(&mut self, link: LinkId, target: LinkTarget) {
        let Wire { links, script } = &mut *self.wire.borrow_mut();
        let host = &target.endpoint.host;
        let number = host.strip_prefix("broker-").expect("a broker's name");
        let link_and_target = Link {
            broker: number.parse().expect("a broker's number"),
            target,
            session_ends: None,
            state: LinkState::Connecting,
        };
        let before = links.by_key.insert(self.key(link), link_and_target);
        assert!(before.is_none(), "a link id is used again");
        script.connect(links, self.key(link));
    }

    fn write(&mut self, link: LinkId, request: OutgoingRequest) -> Result<WriteStatus, WriteError> {
        let Wire { links, script } = &mut *self.wire.borrow_mut();
        let key = self.key(link);
        let state = &links.get(key).state;
        match state {
            LinkState::Ready => {}
            LinkState::Writing(_) => panic!("a write before the previous one has finished"),
            _ => panic!("a write to a link that is not ready"),
        }
        let sent = decode(link, links.get(key).broker, &request);
        let error = |text: &'static str| Error::new(ErrorKind::Network, text);
        match script.write(links, key, sent) {
            WriteFate::Complete => {
                links.written(request);
                Ok(WriteStatus::Complete)
            }
            WriteFate::InProgress => {
                links.link_mut(key).state = LinkState::Writing(HeldRequest::new(request));
                Ok(WriteStatus::InProgress)
            }
            WriteFate::NothingWritten(text) => {
                links.link_mut(key).state = LinkState::Broken;
                Err(WriteError::NothingWritten(error(text)))
            }
            WriteFate::MaybeWritten(text) => {
                links.link_mut(key).state = LinkState::Broken;
                Err(WriteError::MaybeWritten(error(text)))
            }
        }
    }

    fn close(&mut self, link: LinkId) {
        let Wire { links, script } = &mut *self.wire.borrow_mut();
        script.close(links, self.key(link));
    }

    fn abandon(&mut self, link: LinkId) {
        let Wire { links, script } = &mut *self.wire.borrow_mut();
        script.abandon(links, self.key(link));
    }

    fn throttled(&mut self, link: LinkId, until: Instant) {
        self.wire
            .borrow_mut()
            .script
            .throttled(self.key(link), until);
    }
}

/// The event of a link to a broker that has these versions of Produce.
fn ready((min_version, max_version): (i16, i16), session: Session) -> LinkEvent {
    let versions = BrokerVersions::from(&ApiVersionsResponse {
        api_keys: vec![ApiVersionRange {
            api_code: ApiKey::Produce.code(),
            min_version,
            max_version,
        }],
        ..ApiVersionsResponse::default()
    });
    LinkEvent::Connected(LinkProperties { versions, session })
}

/// The link is ready, and the broker has Produce up to `produce_version`.
pub(crate) fn connected(link: LinkId, produce_version: i16) -> Event {
    let session = Session {
        begins: monotonic_now(),
        ends: None,
    };
    Event::Link(link, ready((3, produce_version), session))
}

/// The last event of a link.
pub(crate) fn link_closed(reason: &'static str) -> LinkEvent {
    LinkEvent::Closed(Error::new(ErrorKind::Network, reason))
}
