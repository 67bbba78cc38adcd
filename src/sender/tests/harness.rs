//! A worker with everything around it: callers' side, metadata, a scripted network, a clock set by hand.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::log::Log;
use crate::accumulator::batch::CompletedBatch;
use crate::accumulator::callbacks::RecordCallback;
use crate::accumulator::completion::{Completion, RecordHandle, RecordResult};
use crate::accumulator::handover::handover;
use crate::accumulator::memory::{BufferMemory, Reservation};
use crate::accumulator::open_batch::{Append, SerializedRecord};
use crate::accumulator::topic_config::TopicConfig;
use crate::accumulator::{RecordAccumulator, WorkerHandle};
use crate::backoff::ExponentialBackoff;
use crate::connection::BrokerVersions;
use crate::connection::link::{
    LinkEvent, LinkId, LinkReady, LinkTarget, Network, OutgoingRequest, WriteError, WriteStatus,
};
use crate::error::{Error, ErrorKind};
use crate::identity::{ProducerIdSource, ProducerIdentity};
use crate::metadata::{
    Broker, Cluster, ClusterObserver, Due, MetadataCache, PartitionMetadata, PendingRequests,
    TopicChanges, TopicId, TopicMetadata,
};
use crate::protocol::messages::{
    ApiVersionRange, ApiVersionsResponse, ProducePartitionResponse, ProduceRequest,
    ProduceResponse, ProduceTopicResponse,
};
use crate::protocol::{ApiKey, DecodeRequest, ErrorCode, Reader, ReceivedHeader, encode_response};
use crate::record::compression::{Compression, CompressionType};
use crate::record::decode::batches;
use crate::record::header::ProducerStamp;
use crate::sender::{Delivery, Event, Sender, SenderConfig, Shared};
use crate::sync::{Wakeup, channel};
use crate::time::{monotonic_now, set_monotonic_now};

pub(super) const TOPIC: &str = "t";
pub(super) const PRODUCER_ID: i64 = 77;
pub(super) const MS: Duration = Duration::from_millis(1);

/// What a test can choose.
pub(super) struct Settings {
    pub(super) sender: SenderConfig,
    pub(super) brokers: i32,
    pub(super) partitions: i32,
    pub(super) buffer_memory: usize,
    /// The highest version of Produce that the brokers have.
    pub(super) produce_version: i16,
    pub(super) topic_id: Option<TopicId>,
    /// Whether links come up by themselves.
    pub(super) connects: bool,
    /// Whether there is a producer id from the start.
    pub(super) has_identity: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            sender: SenderConfig {
                index: 0,
                client_id: "test".into(),
                acks: -1,
                idempotence: true,
                linger: 10 * MS,
                batch_size: 1000,
                max_request_size: 1_000_000,
                max_in_flight: 5,
                request_timeout: 1000 * MS,
                delivery_timeout: 5000 * MS,
                retries: u32::MAX,
                retry_backoff: ExponentialBackoff::new(100 * MS, 1000 * MS),
                reconnect_backoff: ExponentialBackoff::new(50 * MS, 500 * MS),
                connections_max_idle: None,
                availability_timeout: None,
                compression: Compression::with_default_level(CompressionType::None),
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

/// A record that was sent, to ask for its outcome.
#[derive(Clone)]
pub(super) struct Ticket {
    pub(super) completion: Arc<Completion>,
    pub(super) index: u32,
}

impl Ticket {
    pub(super) fn result(&self) -> Option<RecordResult> {
        self.completion.try_get(self.index)
    }

    /// The offset of a record that is written.
    pub(super) fn offset(&self) -> Option<i64> {
        self.result().unwrap().unwrap().offset
    }

    pub(super) fn error(&self) -> Error {
        self.result().unwrap().unwrap_err()
    }
}

/// A request as it was written.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) link: LinkId,
    pub(super) broker: i32,
    pub(super) version: i16,
    pub(super) correlation_id: i32,
    pub(super) acks: i16,
    pub(super) batches: Vec<SentBatch>,
}

impl Sent {
    /// The values in all batches.
    pub(super) fn values(&self) -> Vec<String> {
        let batches = self.batches.iter();
        batches.flat_map(|batch| batch.records.clone()).collect()
    }

    /// The only batch.
    pub(super) fn batch(&self) -> &SentBatch {
        assert_eq!(self.batches.len(), 1);
        &self.batches[0]
    }

    /// The base sequence of the only batch.
    pub(super) fn sequence(&self) -> i32 {
        self.batch().stamp.base_sequence
    }

    pub(super) fn epoch(&self) -> i16 {
        self.batch().stamp.producer_epoch
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct SentBatch {
    pub(super) topic_id: [u8; 16],
    pub(super) partition: i32,
    pub(super) stamp: ProducerStamp,
    /// The values.
    pub(super) records: Vec<String>,
    pub(super) bytes: Vec<u8>,
}

/// What the scripted network was told, and how it behaves.
pub(super) struct Wire {
    events: channel::Sender<Event>,
    pub(super) connects: bool,
    produce_version: i16,
    /// The broker of each link that is not closed.
    pub(super) open: HashMap<LinkId, i32>,
    /// Links under way: broker and failures so far.
    pub(super) connecting: Vec<(LinkId, i32, u32)>,
    pub(super) closed: Vec<LinkId>,
    pub(super) requests: Vec<Sent>,
    /// The next write stalls.
    pub(super) stalls: bool,
    /// The next write fails.
    pub(super) fails: bool,
    /// The next write is refused, and nothing of it is written.
    pub(super) refuses: bool,
    /// Links that were left for a reason that says nothing against them; they are among the closed ones, too.
    pub(super) left: Vec<LinkId>,
    /// What the worker has told of throttles.
    pub(super) throttled: Vec<(LinkId, Instant)>,
    /// Whether the bytes of requests are held on to, as by a socket that still reads them.
    pub(super) holds: bool,
    pub(super) held: Vec<OutgoingRequest>,
}

pub(super) struct Script(Rc<RefCell<Wire>>);

impl Network for Script {
    fn connect(&mut self, link: LinkId, target: LinkTarget) {
        let mut wire = self.0.borrow_mut();
        let broker = target.endpoint.host.strip_prefix("broker-").unwrap();
        let broker = broker.parse().unwrap();
        wire.connecting.push((link, broker, target.failures));
        wire.open.insert(link, broker);
        if wire.connects {
            wire.connected(link);
        }
    }

    fn write(&mut self, link: LinkId, request: OutgoingRequest) -> Result<WriteStatus, WriteError> {
        let mut wire = self.0.borrow_mut();
        let broker = wire.open[&link];
        let error = || Error::new(ErrorKind::Network, "scripted");
        if std::mem::take(&mut wire.fails) {
            return Err(WriteError::MaybeWritten(error()));
        }
        if std::mem::take(&mut wire.refuses) {
            return Err(WriteError::NothingWritten(error()));
        }
        let sent = decode(link, broker, &request);
        wire.requests.push(sent);
        if wire.holds {
            wire.held.push(request);
        }
        Ok(if std::mem::take(&mut wire.stalls) {
            WriteStatus::InProgress
        } else {
            WriteStatus::Complete
        })
    }

    fn close(&mut self, link: LinkId) {
        let mut wire = self.0.borrow_mut();
        if wire.open.remove(&link).is_some() {
            wire.closed.push(link);
            let error = Error::new(ErrorKind::Network, "closed by this side");
            let _ = wire
                .events
                .send(Event::Link(link, LinkEvent::Closed(error)));
        }
    }

    fn abandon(&mut self, link: LinkId) {
        self.0.borrow_mut().left.push(link);
        self.close(link);
    }

    fn throttled(&mut self, link: LinkId, until: Instant) {
        self.0.borrow_mut().throttled.push((link, until));
    }
}

impl Wire {
    /// The link is ready.
    pub(super) fn connected(&mut self, link: LinkId) {
        self.connecting.retain(|(other, _, _)| *other != link);
        self.events
            .send(connected(link, self.produce_version))
            .unwrap();
    }

    /// The link ends by the broker's doing, or cannot be made.
    pub(super) fn lose(&mut self, link: LinkId) {
        self.connecting.retain(|(other, _, _)| *other != link);
        if self.open.remove(&link).is_some() {
            let error = Error::new(ErrorKind::Network, "the broker hung up");
            let event = Event::Link(link, LinkEvent::Closed(error));
            self.events.send(event).unwrap();
        }
    }
}

/// The link is ready, and the broker has Produce up to `produce_version`.
pub(super) fn connected(link: LinkId, produce_version: i16) -> Event {
    let versions = BrokerVersions::from(&ApiVersionsResponse {
        api_keys: vec![ApiVersionRange {
            api_code: ApiKey::Produce.code(),
            min_version: 3,
            max_version: produce_version,
        }],
        ..ApiVersionsResponse::default()
    });
    let ready = LinkReady {
        versions,
        session_ends: None,
    };
    Event::Link(link, LinkEvent::Connected(ready))
}

pub(super) fn decode(link: LinkId, broker: i32, request: &OutgoingRequest) -> Sent {
    let (mut frame, mut start) = (Vec::new(), 0);
    for (cut, batch) in request.cuts.iter().zip(&request.batches) {
        frame.extend_from_slice(&request.fields[start..*cut]);
        frame.extend_from_slice((**batch).as_ref());
        start = *cut;
    }
    frame.extend_from_slice(&request.fields[start..]);
    let length = i32::from_be_bytes(frame[..4].try_into().unwrap());
    assert_eq!(length as usize, frame.len() - 4);
    let mut reader = Reader::new(&frame[4..]);
    let header = ReceivedHeader::decode(&mut reader).unwrap();
    assert_eq!(header.api_code, ApiKey::Produce.code());
    let produce = ProduceRequest::<&[u8]>::decode(header.version, &mut reader).unwrap();
    assert_eq!(reader.remaining(), 0);
    let mut sent = Vec::new();
    for topic in &produce.topics {
        assert!(header.version >= 13 || topic.name == TOPIC);
        for partition in &topic.partitions {
            let batch = batches(partition.records).next().unwrap().unwrap();
            batch.check_crc().unwrap();
            assert_eq!(batch.bytes.len(), partition.records.len());
            let records = batch.records(usize::MAX).unwrap();
            sent.push(SentBatch {
                topic_id: topic.id,
                partition: partition.index,
                stamp: batch.header.producer,
                records: records
                    .into_iter()
                    .map(|record| String::from_utf8(record.value.unwrap()).unwrap())
                    .collect(),
                bytes: partition.records.to_vec(),
            });
        }
    }
    Sent {
        link,
        broker,
        version: header.version,
        correlation_id: header.correlation_id,
        acks: produce.acks,
        batches: sent,
    }
}

/// Where each partition's leader is, as the brokers know it.
#[derive(Clone, Copy)]
pub(super) struct Leadership {
    pub(super) broker: Option<i32>,
    pub(super) epoch: i32,
}

impl Default for Leadership {
    fn default() -> Self {
        Self {
            broker: Some(1),
            epoch: 1,
        }
    }
}

pub(super) struct Harness {
    pub(super) now: Instant,
    pub(super) sender: Sender<Script>,
    pub(super) accumulator: Arc<RecordAccumulator>,
    pub(super) metadata: Arc<MetadataCache>,
    pub(super) producer_ids: Arc<ProducerIdSource>,
    pub(super) events: channel::Sender<Event>,
    pub(super) deliveries: channel::Receiver<Delivery>,
    pub(super) wire: Rc<RefCell<Wire>>,
    pub(super) leaders: Vec<Leadership>,
    pub(super) logs: HashMap<i32, Log>,
    pub(super) topic_id: Option<TopicId>,
    pub(super) cluster_id: Option<&'static str>,
    brokers: i32,
}

pub(super) struct Publication(pub(super) Arc<RecordAccumulator>);

impl ClusterObserver for Publication {
    fn before_publication(&self, changes: &TopicChanges) {
        self.0.topics.update(changes);
    }
    fn after_publication(&self) {
        self.0.wake_workers();
    }
}

impl Harness {
    pub(super) fn new(choose: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings::default();
        choose(&mut settings);
        let now = Instant::now();
        set_monotonic_now(now);
        let memory = BufferMemory::new(settings.buffer_memory);
        let (records, received) = handover();
        let (events, happened) = channel::unbounded();
        let (delivered, deliveries) = channel::unbounded();
        let worker = WorkerHandle::new(records, Arc::new(Wakeup::new(now)));
        let topic_config = TopicConfig {
            acks: settings.sender.acks,
            linger: settings.sender.linger,
            batch_size: settings.sender.batch_size,
            max_batch_bytes: settings.sender.max_request_size,
            compression: settings.sender.compression,
            delivery_timeout: settings.sender.delivery_timeout,
        };
        let instance = crate::threads::InstanceId::new();
        let accumulator = Arc::new(RecordAccumulator::new(
            instance,
            memory,
            topic_config,
            vec![worker],
        ));
        let metadata = MetadataCache::new(Box::new(Publication(Arc::clone(&accumulator))));
        let producer_ids = ProducerIdSource::new(&metadata);
        let wire = Rc::new(RefCell::new(Wire {
            events: events.clone(),
            connects: settings.connects,
            produce_version: settings.produce_version,
            open: HashMap::new(),
            connecting: Vec::new(),
            closed: Vec::new(),
            requests: Vec::new(),
            stalls: false,
            fails: false,
            refuses: false,
            left: Vec::new(),
            throttled: Vec::new(),
            holds: false,
            held: Vec::new(),
        }));
        let sender = Sender::new(
            settings.sender,
            Shared {
                accumulator: Arc::clone(&accumulator),
                metadata: Arc::clone(&metadata),
                producer_ids: Arc::clone(&producer_ids),
            },
            Script(Rc::clone(&wire)),
            received,
            happened,
            delivered,
        );
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
            events,
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

    /// Tells the worker and the callers what the brokers know.
    pub(super) fn publish(&self) {
        let cluster_id = self.cluster_id.map(Arc::from);
        let (brokers, leaders) = (self.brokers, &self.leaders);
        Self::publish_to(&self.metadata, cluster_id, brokers, leaders, self.topic_id);
    }

    pub(super) fn publish_to(
        metadata: &MetadataCache,
        cluster_id: Option<Arc<str>>,
        brokers: i32,
        leaders: &[Leadership],
        topic_id: Option<TopicId>,
    ) {
        let replicas: Vec<i32> = (1..=brokers).collect();
        let brokers = (1..=brokers).map(|id| {
            let broker = Broker {
                id,
                host: format!("broker-{id}").into(),
                port: 9092,
                rack: None,
            };
            (id, Arc::new(broker))
        });
        let partitions = (0..)
            .zip(leaders)
            .map(|(partition, leadership)| PartitionMetadata {
                partition,
                leader: leadership.broker,
                leader_epoch: Some(leadership.epoch),
                replicas: replicas.clone(),
                in_sync_replicas: replicas.clone(),
                offline_replicas: Vec::new(),
            });
        let topic = TopicMetadata {
            name: TOPIC.into(),
            id: topic_id,
            is_internal: false,
            partitions: partitions.collect(),
        };
        let before = metadata.cluster();
        let known = before.topic(TOPIC);
        let is_another = before.is_other_than(cluster_id.as_deref())
            || known.is_some_and(|known| known.is_other_than(&topic));
        metadata.publish_cluster(Cluster {
            cluster_id,
            brokers: brokers.collect(),
            topics: [topic].into_iter().collect(),
            identity_era: before.identity_era + u64::from(is_another),
            ..Cluster::default()
        });
    }

    /// Another broker leads the partition, and nobody knows yet.
    pub(super) fn move_leader(&mut self, partition: i32, broker: Option<i32>) {
        let leadership = &mut self.leaders[partition as usize];
        leadership.broker = broker;
        leadership.epoch += 1;
    }

    pub(super) fn send(&self, partition: i32, value: &str) -> Ticket {
        self.try_send(partition, value, None).expect("memory")
    }

    pub(super) fn send_with(
        &self,
        partition: i32,
        value: &str,
        callback: impl FnOnce(RecordResult) + Send + 'static,
    ) -> Ticket {
        let callback: RecordCallback = Box::new(|settled| callback(settled.result));
        self.try_send(partition, value, Some(callback))
            .expect("memory")
    }

    /// None where memory is exhausted.
    pub(super) fn try_send(
        &self,
        partition: i32,
        value: &str,
        mut callback: Option<RecordCallback>,
    ) -> Option<Ticket> {
        let record = SerializedRecord::<(&str, Option<&[u8]>)> {
            timestamp_ms: 1_000,
            key: None,
            value: Some(value.as_bytes()),
            headers: &[],
        };
        let mut spare: Option<Reservation> = None;
        let append = self.accumulator.topics.with(TOPIC, |topic| {
            topic.partitions()[partition as usize].append(&record, false, &mut callback, &mut spare)
        });
        match append.unwrap() {
            Append::Done {
                record: RecordHandle { completion, index },
                ..
            } => Some(Ticket { completion, index }),
            Append::NeedsMemory { .. } => None,
            Append::Closed | Append::Retired => panic!("closed"),
        }
    }

    /// Sends as many records of 100 bytes as fill a batch of 1000, which is the last of them.
    pub(super) fn send_batch(&self, partition: i32, name: &str) -> Ticket {
        let value = format!("{name}{}", "-".repeat(850 - name.len()));
        self.send(partition, &value)
    }

    /// Runs the worker until nothing is left to do at this time; when it is due next.
    pub(super) fn run(&mut self) -> Option<Instant> {
        const MOST_ROUNDS: usize = 50;
        for _ in 0..MOST_ROUNDS {
            let deadline = self.run_once();
            let is_due = deadline.is_some_and(|deadline| deadline <= self.now);
            if !is_due && !self.sender.has_news() {
                return deadline;
            }
        }
        panic!("the worker is due again and again without coming to rest");
    }

    /// One round, which takes time where codecs do; when the next one is due.
    pub(super) fn run_once(&mut self) -> Option<Instant> {
        let deadline = self.sender.run_once(self.now);
        self.now = self.now.max(monotonic_now());
        deadline
    }

    pub(super) fn advance(&mut self, span: Duration) {
        self.now += span;
        set_monotonic_now(self.now);
    }

    /// Lets time pass and runs the worker whenever it says that it is due.
    pub(super) fn run_for(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(due) = self.run().filter(|due| *due <= end) {
            self.advance(due.saturating_duration_since(self.now));
        }
        self.advance(end.saturating_duration_since(self.now));
        self.run();
    }

    /// The requests since the last call.
    pub(super) fn requests(&mut self) -> Vec<Sent> {
        std::mem::take(&mut self.wire.borrow_mut().requests)
    }

    /// Runs the worker, which sends one request.
    #[track_caller]
    pub(super) fn request(&mut self) -> Sent {
        self.run();
        let mut requests = self.requests();
        assert_eq!(requests.len(), 1, "requests sent");
        requests.remove(0)
    }

    /// Runs the worker, which sends nothing.
    #[track_caller]
    pub(super) fn no_request(&mut self) {
        self.run();
        assert_eq!(self.requests().len(), 0, "requests sent");
    }

    /// Answers as `partition` says of each batch.
    pub(super) fn answer(
        &mut self,
        sent: &Sent,
        mut partition: impl FnMut(&SentBatch) -> ProducePartitionResponse,
    ) {
        let partitions = sent.batches.iter().map(|batch| ProducePartitionResponse {
            index: batch.partition,
            ..partition(batch)
        });
        let mut response = ProduceResponse {
            topics: vec![ProduceTopicResponse {
                name: if sent.version < 13 { TOPIC } else { "" }.into(),
                id: sent.batches[0].topic_id,
                partitions: partitions.collect(),
            }],
            ..ProduceResponse::default()
        };
        self.answer_with(sent, &mut response);
    }

    pub(super) fn answer_with(&mut self, sent: &Sent, response: &mut ProduceResponse) {
        let frame = encode(sent, response);
        self.frame(sent.link, frame);
    }

    /// A frame arrives and is taken in.
    pub(super) fn frame(&mut self, link: LinkId, frame: Vec<u8>) {
        self.events
            .send(Event::Link(link, LinkEvent::Frame(frame)))
            .unwrap();
        self.run();
    }

    /// What a real broker would answer, whose log takes the batches that it may.
    pub(super) fn append(&mut self, sent: &Sent) -> Vec<ProducePartitionResponse> {
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
    pub(super) fn serve(&mut self, sent: &Sent) {
        let mut answers = self.append(sent).into_iter();
        self.answer(sent, |_| answers.next().unwrap());
    }

    pub(super) fn refuse(&mut self, sent: &Sent, code: ErrorCode) {
        self.answer(sent, |_| refused(code));
    }

    /// The link of `broker` breaks.
    pub(super) fn hang_up(&mut self, broker: i32) {
        let link = self.link(broker);
        self.wire.borrow_mut().lose(link);
        self.run();
    }

    pub(super) fn link(&self, broker: i32) -> LinkId {
        let wire = self.wire.borrow();
        let mut links = wire.open.iter().filter(|(_, other)| **other == broker);
        *links.next().expect("a link").0
    }

    pub(super) fn tell(&mut self, event: Event) {
        self.events.send(event).unwrap();
        self.run();
    }

    /// The broker has asked another user of the link's connection to wait.
    pub(super) fn throttle(&mut self, link: LinkId, until: Instant) {
        self.tell(Event::Link(link, LinkEvent::Throttled(until)));
    }

    /// Flushes, and returns what tells when that is done.
    pub(super) fn flush(&mut self) -> Vec<Arc<Completion>> {
        let (reply, answer) = channel::bounded(1);
        self.tell(Event::Flush(reply));
        answer.try_recv().expect("an answer in the same round")
    }

    pub(super) fn close(&mut self) {
        self.accumulator.close();
        self.metadata.close();
        self.tell(Event::Close);
    }

    /// Runs the callbacks that are due.
    pub(super) fn deliver(&self) {
        while let Ok(delivery) = self.deliveries.try_recv() {
            if let Delivery::Settled(settlements) = delivery {
                settlements.into_iter().for_each(CompletedBatch::deliver);
            }
        }
    }

    /// What the metadata thread was asked for and has not answered.
    pub(super) fn wants(&self) -> PendingRequests {
        self.metadata.pending()
    }

    /// Whether the worker requests a producer id that no broker has given yet.
    pub(super) fn requests_identity(&self) -> bool {
        self.producer_ids.due(self.now) == Due::Now
    }

    pub(super) fn wants_refresh(&self) -> bool {
        self.wants().refresh
    }

    /// Whether the cluster was asked about some topics, and no others.
    pub(super) fn asks_about_topics(&self) -> bool {
        self.wants().topics
    }

    pub(super) fn memory_in_use(&self) -> usize {
        self.accumulator.memory.total() - self.accumulator.memory.available()
    }

    pub(super) fn log(&self, partition: i32) -> Vec<String> {
        self.logs
            .get(&partition)
            .map(|log| log.records.clone())
            .unwrap_or_default()
    }
}

pub(super) fn encode(sent: &Sent, response: &ProduceResponse) -> Vec<u8> {
    let mut frame = Vec::new();
    encode_response(
        response,
        ApiKey::Produce,
        sent.version,
        sent.correlation_id,
        &mut frame,
    )
    .unwrap();
    frame.split_off(4)
}

/// The answer that takes everything.
pub(super) fn answer_all(sent: &Sent) -> Vec<u8> {
    let partitions = sent.batches.iter().map(|batch| ProducePartitionResponse {
        index: batch.partition,
        ..written(0)
    });
    let response = ProduceResponse {
        topics: vec![ProduceTopicResponse {
            name: TOPIC.into(),
            partitions: partitions.collect(),
            ..ProduceTopicResponse::default()
        }],
        ..ProduceResponse::default()
    };
    encode(sent, &response)
}

pub(super) fn written(base_offset: i64) -> ProducePartitionResponse {
    ProducePartitionResponse {
        base_offset,
        ..ProducePartitionResponse::default()
    }
}

pub(super) fn refused(error: ErrorCode) -> ProducePartitionResponse {
    ProducePartitionResponse {
        error,
        ..ProducePartitionResponse::default()
    }
}

impl Harness {
    /// The cluster gives a producer id and epoch, and the worker is told of it.
    pub(super) fn give_identity(&mut self, identity: ProducerIdentity) {
        self.producer_ids.give_now(identity);
        self.tell(Event::Identity(Ok(())));
    }

    /// The cluster gives another producer id, which no batch had so far.
    pub(super) fn give_another_id(&mut self) {
        self.give_identity(ProducerIdentity {
            producer_id: PRODUCER_ID + 1,
            producer_epoch: 0,
        });
    }
}

pub(super) fn identity(producer_epoch: i16) -> ProducerIdentity {
    ProducerIdentity {
        producer_id: PRODUCER_ID,
        producer_epoch,
    }
}
