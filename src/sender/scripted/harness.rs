//! A worker with its accumulator, metadata and scripted network, under a clock that is set by hand.

use std::cell::{RefCell, RefMut};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::log::Log;
use super::request::{Sent, SentBatch, encode, refused, response_to, written};
use super::surroundings::{Surroundings, Ticket, publish_to, record_of, run_callbacks};
use super::wire::{
    Ended, Link, LinkKey, Links, Script, ScriptedNetwork, Wire, WriteFate, link_closed,
};
use crate::accumulator::RecordAccumulator;
use crate::accumulator::callbacks::RecordCallback;
use crate::accumulator::completion::{Completion, RecordResult};
use crate::accumulator::memory::Reservation;
use crate::accumulator::open_batch::Append;
use crate::accumulator::topic_config::TopicConfig;
use crate::backoff::ExponentialBackoff;
use crate::connection::link::{LinkEvent, LinkId};
use crate::identity::{ProducerIdSource, ProducerIdentity};
use crate::metadata::{Due, MetadataCache, PendingRequests, TopicId};
use crate::protocol::ErrorCode;
use crate::protocol::messages::{ProducePartitionResponse, ProduceResponse};
use crate::record::compression::{Compression, CompressionType};
use crate::sender::{DeliveryTask, Event, Mailbox, Sender, SenderConfig, Shared};
use crate::sync::channel;
use crate::time::{monotonic_now, set_monotonic_now};

pub(crate) const TOPIC: &str = "t";
pub(crate) const PRODUCER_ID: i64 = 77;
pub(crate) const MS: Duration = Duration::from_millis(1);

/// What a test can choose.
pub(crate) struct Settings {
    pub(crate) sender: SenderConfig,
    pub(crate) brokers: i32,
    pub(crate) partitions: i32,
    pub(crate) buffer_memory: usize,
    /// The highest version of Produce that the brokers have.
    pub(crate) produce_version: i16,
    pub(crate) topic_id: Option<TopicId>,
    /// Whether links become ready at once.
    pub(crate) connects: bool,
    /// Whether there is a producer id from the start.
    pub(crate) has_identity: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            sender: SenderConfig {
                index: 0,
                client_id: "test".into(),
                idempotence: true,
                max_request_size: 1_000_000,
                max_in_flight: 5,
                request_timeout: 1000 * MS,
                retries: u32::MAX,
                retry_backoff: ExponentialBackoff::new(100 * MS, 1000 * MS),
                reconnect_backoff: ExponentialBackoff::new(50 * MS, 500 * MS),
                connections_max_idle: None,
                availability_timeout: None,
                topics: TopicConfig {
                    acks: -1,
                    linger: 10 * MS,
                    batch_size: 1000,
                    max_batch_bytes: 1_000_000,
                    compression: Compression::with_default_level(CompressionType::None),
                    delivery_timeout: 5000 * MS,
                },
            },
            brokers: 1,
            partitions: 1,
            buffer_memory: 1 << 20,
            produce_version: 12,
            topic_id: None,
            connects: true,
            has_identity: true,
        }
    }
}

/// A script that a test or the fuzz target controls by switches.
pub(crate) struct Switches {
    /// Whether links become ready at once.
    pub(crate) connects: bool,
    /// The oldest and the newest version of Produce that the brokers have.
    pub(crate) produce_versions: (i16, i16),
    /// Whether the next write stays in progress.
    pub(crate) stalls: bool,
    /// Whether the next write fails after some bytes may have been written.
    pub(crate) fails: bool,
    /// Whether the next write is refused before a byte is written.
    pub(crate) refuses: bool,
    /// The requests written since the last call of [`Harness::requests`].
    pub(crate) requests: Vec<Sent>,
    /// Links that the worker closed while they were open.
    pub(crate) closed: Vec<LinkId>,
    /// Links that the worker abandoned; they are among the closed ones, too.
    pub(crate) abandoned: Vec<LinkId>,
    /// The throttles that the worker has reported.
    pub(crate) throttled: Vec<(LinkId, Instant)>,
}

impl Switches {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self {
            connects: settings.connects,
            produce_versions: (3, settings.produce_version),
            stalls: false,
            fails: false,
            refuses: false,
            requests: Vec::new(),
            closed: Vec::new(),
            abandoned: Vec::new(),
            throttled: Vec::new(),
        }
    }
}

impl Script for Switches {
    fn connect(&mut self, links: &mut Links, key: LinkKey) {
        if self.connects {
            links.connected(key, self.produce_versions);
        }
    }

    fn write(&mut self, _: &mut Links, _: LinkKey, sent: Sent) -> WriteFate {
        if std::mem::take(&mut self.fails) {
            return WriteFate::MaybeWritten("scripted");
        }
        if std::mem::take(&mut self.refuses) {
            return WriteFate::NothingWritten("scripted");
        }
        self.requests.push(sent);
        match std::mem::take(&mut self.stalls) {
            true => WriteFate::InProgress,
            false => WriteFate::Complete,
        }
    }

    fn close(&mut self, links: &mut Links, key: LinkKey) {
        let ended = links.end(key);
        if ended.was_open {
            self.closed.push(key.link);
            links.post(key, link_closed("closed by this side"));
        }
        release_unless_held(links, &ended);
    }

    fn abandon(&mut self, links: &mut Links, key: LinkKey) {
        self.abandoned.push(key.link);
        self.close(links, key);
    }

    fn throttled(&mut self, key: LinkKey, until: Instant) {
        self.throttled.push((key.link, until));
    }
}

/// Releases the bytes of a closed link, because a closed socket reads no more. Keeps them if the test holds written bytes.
fn release_unless_held(links: &mut Links, ended: &Ended) {
    if let Some(held) = ended.held.filter(|_| !links.holds_written) {
        links.release(held);
    }
}

/// A partition's leader, as the brokers know it.
#[derive(Clone, Copy)]
pub(crate) struct Leadership {
    pub(crate) broker: Option<i32>,
    pub(crate) epoch: i32,
}

impl Default for Leadership {
    fn default() -> Self {
        Self {
            broker: Some(1),
            epoch: 1,
        }
    }
}

pub(crate) struct Harness {
    pub(crate) now: Instant,
    pub(crate) sender: Sender<ScriptedNetwork<Switches>>,
    pub(crate) accumulator: Arc<RecordAccumulator>,
    pub(crate) metadata: Arc<MetadataCache>,
    pub(crate) producer_ids: Arc<ProducerIdSource>,
    pub(crate) mailbox: Mailbox,
    pub(crate) deliveries: channel::Receiver<DeliveryTask>,
    wire: Rc<RefCell<Wire<Switches>>>,
    pub(crate) leaders: Vec<Leadership>,
    pub(crate) logs: HashMap<i32, Log>,
    pub(crate) topic_id: Option<TopicId>,
    pub(crate) cluster_id: Option<&'static str>,
    brokers: i32,
}

impl Harness {
    pub(crate) fn new(choose: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings::default();
        choose(&mut settings);
        let now = Instant::now();
        set_monotonic_now(now);
        let mut surroundings = Surroundings::new(&settings.sender, 1, settings.buffer_memory);
        let mut mailboxes = surroundings.mailboxes();
        let wire = Wire::new(mailboxes.clone(), Switches::new(&settings));
        let sender = surroundings.worker(0, ScriptedNetwork::new(0, &wire));
        let Surroundings {
            shared, deliveries, ..
        } = surroundings;
        let Shared {
            accumulator,
            metadata,
            producer_ids,
        } = shared;
        let leaders = (0..settings.partitions).map(|partition| Leadership {
            broker: Some(partition % settings.brokers + 1),
            epoch: 1,
        });
        let harness = Self {
            now,
            sender,
            accumulator,
            metadata,
            producer_ids,
            mailbox: mailboxes.remove(0),
            deliveries,
            wire,
            leaders: leaders.collect(),
            logs: HashMap::new(),
            topic_id: settings.topic_id,
            cluster_id: None,
            brokers: settings.brokers,
        };
        harness.publish();
        if settings.has_identity {
            harness.producer_ids.give_now(identity(0));
        }
        harness
    }

    /// Publishes what the brokers know as metadata.
    pub(crate) fn publish(&self) {
        let cluster_id = self.cluster_id.map(Arc::from);
        let (brokers, leaders) = (self.brokers, &self.leaders);
        publish_to(&self.metadata, cluster_id, brokers, leaders, self.topic_id);
    }

    /// Makes another broker the leader. Metadata does not name it until it is published.
    pub(crate) fn move_leader(&mut self, partition: i32, broker: Option<i32>) {
        let leadership = &mut self.leaders[partition as usize];
        leadership.broker = broker;
        leadership.epoch += 1;
    }

    pub(crate) fn send(&self, partition: i32, value: &str) -> Ticket {
        self.try_send(partition, value, None).expect("memory")
    }

    pub(crate) fn send_with(
        &self,
        partition: i32,
        value: &str,
        callback: impl FnOnce(RecordResult) + Send + 'static,
    ) -> Ticket {
        let callback: RecordCallback = Box::new(|completed| callback(completed.result));
        self.try_send(partition, value, Some(callback))
            .expect("memory")
    }

    /// Appends a record, or returns `None` if memory is exhausted.
    pub(crate) fn try_send(
        &self,
        partition: i32,
        value: &str,
        mut callback: Option<RecordCallback>,
    ) -> Option<Ticket> {
        let record = record_of(value.as_bytes());
        let mut spare: Option<Reservation> = None;
        let append = self.accumulator.topics.with(TOPIC, |topic| {
            topic.partitions()[partition as usize].append(&record, false, &mut callback, &mut spare)
        });
        match append.unwrap() {
            Append::Done { record, .. } => Some(Ticket::from(record)),
            Append::NeedsMemory { .. } => None,
            Append::Closed | Append::Retired => panic!("closed"),
        }
    }

    /// Sends a record that fills a batch of 1000 bytes.
    pub(crate) fn send_batch(&self, partition: i32, name: &str) -> Ticket {
        let value = format!("{name}{}", "-".repeat(850 - name.len()));
        self.send(partition, &value)
    }

    /// Runs the worker until it has nothing to do at this time. Returns when it is due next.
    pub(crate) fn run(&mut self) -> Option<Instant> {
        const MOST_ROUNDS: usize = 50;
        for _ in 0..MOST_ROUNDS {
            let deadline = self.run_once();
            let is_due = deadline.is_some_and(|deadline| deadline <= self.now);
            if !is_due && !self.sender.has_news() {
                return deadline;
            }
        }
        panic!("the worker is always due again and never idle");
    }

    /// Runs one round, which takes time if the codec does. Returns when the next one is due.
    pub(crate) fn run_once(&mut self) -> Option<Instant> {
        let deadline = self.sender.run_once(self.now);
        self.now = self.now.max(monotonic_now());
        deadline
    }

    pub(crate) fn advance(&mut self, span: Duration) {
        self.now += span;
        set_monotonic_now(self.now);
    }

    /// Advances the clock by `span`, and runs the worker whenever it is due.
    pub(crate) fn run_for(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(due) = self.run().filter(|due| *due <= end) {
            self.advance(due.saturating_duration_since(self.now));
        }
        self.advance(end.saturating_duration_since(self.now));
        self.run();
    }

    /// Returns the requests since the last call.
    pub(crate) fn requests(&mut self) -> Vec<Sent> {
        std::mem::take(&mut self.network().requests)
    }

    /// Runs the worker, and returns the one request that it sends.
    #[track_caller]
    pub(crate) fn request(&mut self) -> Sent {
        self.run();
        let mut requests = self.requests();
        assert_eq!(requests.len(), 1, "requests sent");
        requests.remove(0)
    }

    /// Runs the worker, and checks that it sends nothing.
    #[track_caller]
    pub(crate) fn no_request(&mut self) {
        self.run();
        assert_eq!(self.requests().len(), 0, "requests sent");
    }

    /// Answers each batch with what `partition` returns for it.
    pub(crate) fn answer(
        &mut self,
        sent: &Sent,
        mut partition: impl FnMut(&SentBatch) -> ProducePartitionResponse,
    ) {
        let partitions = sent.batches.iter().map(|batch| ProducePartitionResponse {
            index: batch.partition,
            ..partition(batch)
        });
        self.answer_with(sent, &response_to(sent, partitions.collect()));
    }

    pub(crate) fn answer_with(&mut self, sent: &Sent, response: &ProduceResponse) {
        let frame = encode(sent, response);
        self.frame(sent.link, frame);
    }

    /// Posts an arrived frame, and runs the worker.
    pub(crate) fn frame(&mut self, link: LinkId, frame: Vec<u8>) {
        self.post(Event::Link(link, LinkEvent::Frame(frame)));
    }

    /// Appends as a real broker would, and returns its answers.
    pub(crate) fn append(&mut self, sent: &Sent) -> Vec<ProducePartitionResponse> {
        let leaders = &self.leaders;
        let logs = &mut self.logs;
        let answers = sent.batches.iter().map(|batch| {
            let result = if leaders[batch.partition as usize].broker == Some(sent.broker) {
                logs.entry(batch.partition).or_default().append(batch)
            } else {
                Err(ErrorCode::NOT_LEADER_OR_FOLLOWER)
            };
            match result {
                Ok(appended) => written(appended.base_offset),
                Err(code) => refused(code),
            }
        });
        answers.collect()
    }

    /// Answers as a real broker would.
    pub(crate) fn serve(&mut self, sent: &Sent) {
        let mut answers = self.append(sent).into_iter();
        self.answer(sent, |_| answers.next().unwrap());
    }

    pub(crate) fn refuse(&mut self, sent: &Sent, code: ErrorCode) {
        self.answer(sent, |_| refused(code));
    }

    /// Returns the switches of the network, and what it has recorded.
    pub(crate) fn network(&self) -> RefMut<'_, Switches> {
        RefMut::map(self.wire.borrow_mut(), |wire| &mut wire.script)
    }

    /// Returns the links, and the bytes that the network holds.
    pub(crate) fn links(&self) -> RefMut<'_, Links> {
        RefMut::map(self.wire.borrow_mut(), |wire| &mut wire.links)
    }

    /// Returns whether the network still reads the bytes of the batch.
    pub(crate) fn holds(&self, batch: &SentBatch) -> bool {
        let links = self.links();
        let mut batches = links.held().flat_map(|request| &request.batches);
        batches.any(|bytes| (**bytes).as_ref() == batch.bytes)
    }

    /// Returns the links that are connecting, the oldest first.
    pub(crate) fn connecting(&self) -> Vec<LinkId> {
        let keys = self.links().keys(Link::is_connecting);
        keys.into_iter().map(|key| key.link).collect()
    }

    /// Returns the number of failed attempts that the worker reported when it started the link.
    pub(crate) fn failures_before(&self, link: LinkId) -> u32 {
        self.links().get(key_of(link)).target.failures
    }

    /// Makes the link ready.
    pub(crate) fn connected(&self, link: LinkId) {
        let Wire { links, script } = &mut *self.wire.borrow_mut();
        links.connected(key_of(link), script.produce_versions);
    }

    /// Ends the link as the broker does, or as a connection attempt that fails.
    pub(crate) fn lose(&self, link: LinkId) {
        let mut links = self.links();
        let ended = links.lose(key_of(link));
        release_unless_held(&mut links, &ended);
    }

    /// Finishes the write in progress on the link.
    pub(crate) fn finish_write(&mut self, link: LinkId) {
        let sent = self.links().finish_write(key_of(link));
        assert!(sent.is_some(), "no write is in progress");
        self.run();
    }

    /// Breaks the link to `broker`.
    pub(crate) fn hang_up(&mut self, broker: i32) {
        self.lose(self.link(broker));
        self.run();
    }

    /// Returns the open link to `broker`.
    pub(crate) fn link(&self, broker: i32) -> LinkId {
        let is_wanted = |link: &Link| link.is_open() && link.broker == broker;
        let keys = self.links().keys(is_wanted);
        keys.first().expect("a link").link
    }

    pub(crate) fn post(&mut self, event: Event) {
        self.mailbox.post(event);
        self.run();
    }

    /// Posts a throttle that another user of the link's connection has received.
    pub(crate) fn throttle(&mut self, link: LinkId, until: Instant) {
        self.post(Event::Link(link, LinkEvent::Throttled(until)));
    }

    /// Flushes, and returns the completions to wait for.
    pub(crate) fn flush(&mut self) -> Vec<Arc<Completion>> {
        let (reply, answer) = channel::bounded(1);
        self.post(Event::Flush(reply));
        answer.try_recv().expect("an answer in the same round")
    }

    pub(crate) fn close(&mut self) {
        self.accumulator.close();
        self.metadata.close();
        self.post(Event::Close);
    }

    /// Runs the callbacks that are due.
    pub(crate) fn deliver(&self) {
        run_callbacks(&self.deliveries);
    }

    /// Ends the worker, runs the remaining callbacks and releases the bytes that the network holds.
    pub(crate) fn end(self) -> Arc<RecordAccumulator> {
        drop(self.sender);
        run_callbacks(&self.deliveries);
        self.wire.borrow_mut().links.release_all();
        self.accumulator
    }

    /// Returns the requests that the metadata thread has to make.
    pub(crate) fn pending_requests(&self) -> PendingRequests {
        self.metadata.pending()
    }

    /// Returns whether the worker requests a producer id that no broker has given yet.
    pub(crate) fn requests_identity(&self) -> bool {
        self.producer_ids.due(self.now) == Due::Now
    }

    pub(crate) fn refresh_is_requested(&self) -> bool {
        self.pending_requests().refresh
    }

    /// Returns whether metadata of single topics is requested.
    pub(crate) fn topics_are_requested(&self) -> bool {
        self.pending_requests().topics
    }

    pub(crate) fn memory_in_use(&self) -> usize {
        self.accumulator.memory.budget() - self.accumulator.memory.available()
    }

    pub(crate) fn log(&self, partition: i32) -> Vec<String> {
        self.logs
            .get(&partition)
            .map(|log| log.records.clone())
            .unwrap_or_default()
    }
}

impl Harness {
    /// Gives the producer an id and epoch, and posts this to the worker.
    pub(crate) fn give_identity(&mut self, identity: ProducerIdentity) {
        self.producer_ids.give_now(identity);
        self.post(Event::Identity(Ok(())));
    }

    /// Checks that the request is the first one under the id that [`give_another_id`](Self::give_another_id) gave, and serves
    /// it.
    pub(crate) fn serve_as_first_of_another_id(&mut self, sent: &Sent) {
        let stamp = sent.batch().stamp;
        assert_eq!(
            (stamp.producer_id, stamp.base_sequence),
            (PRODUCER_ID + 1, 0)
        );
        self.serve(sent);
    }

    /// Gives the producer another id, which no batch had before.
    pub(crate) fn give_another_id(&mut self) {
        self.give_identity(ProducerIdentity {
            producer_id: PRODUCER_ID + 1,
            producer_epoch: 0,
        });
    }
}

pub(crate) fn identity(producer_epoch: i16) -> ProducerIdentity {
    ProducerIdentity {
        producer_id: PRODUCER_ID,
        producer_epoch,
    }
}

fn key_of(link: LinkId) -> LinkKey {
    LinkKey { worker: 0, link }
}
