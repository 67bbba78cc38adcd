//! A worker between callers and brokers that do anything: the input is a script of what is sent, what the brokers answer
//! (sound, damaged, made up), which links break, who leads, and how much time passes. Whatever happens, nothing panics, the
//! worker comes to rest, every record has its outcome in time and all memory comes back.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Input;
use crate::CompressionType;
use crate::accumulator::batch::CompletedBatch;
use crate::accumulator::callbacks::RecordCallback;
use crate::accumulator::completion::{Completion, RecordHandle};
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
    Broker, Cluster, ClusterObserver, MetadataCache, PartitionMetadata, TopicChanges, TopicId,
    TopicMetadata,
};
use crate::protocol::messages::{
    ApiVersionRange, ApiVersionsResponse, LeaderIdAndEpoch, NodeEndpoint, ProducePartitionResponse,
    ProduceRequest, ProduceResponse, ProduceTopicResponse, RecordError,
};
use crate::protocol::{ApiKey, DecodeRequest, ErrorCode, Reader, ReceivedHeader, encode_response};
use crate::record::compression::Compression;
use crate::record::decode::batches;
use crate::sender::{Delivery, Event, Sender, SenderConfig, Shared};
use crate::sync::{Wakeup, channel};
use crate::time::set_monotonic_now;

/// How the worker is set up, and then the steps.
pub fn worker(data: &[u8]) {
    let mut input = Input(data);
    let mut world = World::new(&mut input);
    for _ in 0..MOST_STEPS {
        if input.is_empty() {
            break;
        }
        world.step(&mut input);
        world.run();
    }
    world.end();
}

const MOST_STEPS: usize = 200;
const TOPIC: &str = "t";
const BROKERS: i32 = 2;
const PARTITIONS: usize = 3;
const MS: Duration = Duration::from_millis(1);
const DELIVERY_TIMEOUT: Duration = Duration::from_millis(5_000);

struct World {
    now: Instant,
    sender: Sender<Script>,
    accumulator: Arc<RecordAccumulator>,
    metadata: Arc<MetadataCache>,
    producer_ids: Arc<ProducerIdSource>,
    events: channel::Sender<Event>,
    deliveries: channel::Receiver<Delivery>,
    wire: Rc<RefCell<Wire>>,
    leaders: [(Option<i32>, i32); PARTITIONS],
    topic_id: Option<TopicId>,
    sent: Vec<(Arc<Completion>, u32)>,
}

/// What the network was told, and how it behaves.
struct Wire {
    events: channel::Sender<Event>,
    versions: (i16, i16),
    connects: bool,
    connecting: Vec<LinkId>,
    open: Vec<LinkId>,
    unanswered: Vec<Asked>,
    /// Links with a write that has stalled.
    stalled: Vec<LinkId>,
    stalls: bool,
    fails: bool,
    /// Requests whose bytes a socket still reads.
    held: Vec<OutgoingRequest>,
}

/// A request that was written.
struct Asked {
    link: LinkId,
    version: i16,
    correlation_id: i32,
    topic_id: [u8; 16],
    partitions: Vec<i32>,
}

struct Script(Rc<RefCell<Wire>>);

impl Network for Script {
    fn connect(&mut self, link: LinkId, _: LinkTarget) {
        let mut wire = self.0.borrow_mut();
        wire.connecting.push(link);
        if wire.connects {
            wire.connected(link);
        }
    }

    fn write(&mut self, link: LinkId, request: OutgoingRequest) -> Result<WriteStatus, WriteError> {
        let mut wire = self.0.borrow_mut();
        assert!(
            wire.open.contains(&link),
            "written to a link that is closed"
        );
        assert!(!wire.stalled.contains(&link), "written behind what stalled");
        if std::mem::take(&mut wire.fails) {
            let error = Error::new(ErrorKind::Network, "scripted");
            return Err(WriteError::MaybeWritten(error));
        }
        let asked = read(link, &request);
        if request.is_answered {
            wire.unanswered.push(asked);
        }
        wire.held.push(request);
        if std::mem::take(&mut wire.stalls) {
            wire.stalled.push(link);
            return Ok(WriteStatus::InProgress);
        }
        Ok(WriteStatus::Complete)
    }

    fn close(&mut self, link: LinkId) {
        self.0.borrow_mut().end(link);
    }
}

impl Wire {
    fn connected(&mut self, link: LinkId) {
        self.connecting.retain(|other| *other != link);
        self.open.push(link);
        let versions = BrokerVersions::from(&ApiVersionsResponse {
            api_keys: vec![ApiVersionRange {
                api_code: ApiKey::Produce.code(),
                min_version: self.versions.0,
                max_version: self.versions.1,
            }],
            ..ApiVersionsResponse::default()
        });
        let ready = LinkReady {
            versions,
            session_ends: None,
        };
        self.tell(link, LinkEvent::Connected(ready));
    }

    /// Whichever side ends the link.
    fn end(&mut self, link: LinkId) {
        let is_there = self.open.contains(&link) || self.connecting.contains(&link);
        self.connecting.retain(|other| *other != link);
        self.open.retain(|other| *other != link);
        self.stalled.retain(|other| *other != link);
        self.unanswered.retain(|asked| asked.link != link);
        if is_there {
            let error = Error::new(ErrorKind::Network, "the link has ended");
            self.tell(link, LinkEvent::Closed(error));
        }
    }

    fn tell(&self, link: LinkId, event: LinkEvent) {
        let _ = self.events.send(Event::Link(link, event));
    }
}

/// As a broker reads it.
fn read(link: LinkId, request: &OutgoingRequest) -> Asked {
    let (mut frame, mut start) = (Vec::new(), 0);
    for (cut, batch) in request.cuts.iter().zip(&request.batches) {
        frame.extend_from_slice(&request.fields[start..*cut]);
        frame.extend_from_slice((**batch).as_ref());
        start = *cut;
    }
    frame.extend_from_slice(&request.fields[start..]);
    let mut reader = Reader::new(&frame[4..]);
    let header = ReceivedHeader::decode(&mut reader).expect("a header");
    let produce = ProduceRequest::<&[u8]>::decode(header.version, &mut reader).expect("a request");
    let mut asked = Asked {
        link,
        version: header.version,
        correlation_id: header.correlation_id,
        topic_id: [0; 16],
        partitions: Vec::new(),
    };
    for topic in &produce.topics {
        asked.topic_id = topic.id;
        for partition in &topic.partitions {
            let batch = batches(partition.records).next();
            let batch = batch.expect("a batch").expect("a sound one");
            batch.check_crc().expect("sealed and never touched again");
            asked.partitions.push(partition.index);
        }
    }
    asked
}

struct Publication(Arc<RecordAccumulator>);

impl ClusterObserver for Publication {
    fn before_publication(&self, changes: &TopicChanges) {
        self.0.topics.update(changes);
    }

    fn after_publication(&self) {
        self.0.wake_workers();
    }
}

impl World {
    fn new(input: &mut Input<'_>) -> Self {
        let config = sender_config(input);
        let now = Instant::now();
        set_monotonic_now(now);
        let memory = 64 << 10;
        let (records, received) = handover();
        let (events, happened) = channel::unbounded();
        let (delivered, deliveries) = channel::unbounded();
        let worker = WorkerHandle::new(records, Arc::new(Wakeup::new(now)));
        let topic_config = TopicConfig {
            acks: config.acks,
            linger: config.linger,
            batch_size: config.batch_size,
            max_batch_bytes: config.max_request_size,
            compression: config.compression,
            delivery_timeout: config.delivery_timeout,
        };
        let instance = crate::threads::InstanceId::new();
        let memory_budget = BufferMemory::new(memory);
        let accumulator =
            RecordAccumulator::new(instance, memory_budget, topic_config, vec![worker]);
        let accumulator = Arc::new(accumulator);
        let metadata = MetadataCache::new(Box::new(Publication(Arc::clone(&accumulator))));
        let producer_ids = ProducerIdSource::new(&metadata);
        let choices = input.byte();
        let wire = Rc::new(RefCell::new(Wire {
            events: events.clone(),
            versions: (3, 3 + i16::from(choices >> 4) % 11),
            connects: choices & 1 == 0,
            connecting: Vec::new(),
            open: Vec::new(),
            unanswered: Vec::new(),
            stalled: Vec::new(),
            stalls: false,
            fails: false,
            held: Vec::new(),
        }));
        let sender = Sender::new(
            config,
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
        let world = Self {
            now,
            sender,
            accumulator,
            metadata,
            producer_ids,
            events,
            deliveries,
            wire,
            leaders: [(Some(1), 1), (Some(2), 1), (Some(1), 1)],
            topic_id: Some(TopicId([1; 16])),
            sent: Vec::new(),
        };
        world.publish();
        if choices & 2 == 0 {
            world.give_identity(77);
        }
        world
    }

    fn step(&mut self, input: &mut Input<'_>) {
        match input.below(13) {
            0 | 1 => self.send(input),
            2 | 3 => self.answer(input, false),
            4 => self.answer(input, true),
            5 => {
                if let Some(link) = self.link(input) {
                    let length = input.below(64);
                    let frame = input.bytes(length).to_vec();
                    self.wire.borrow().tell(link, LinkEvent::Frame(frame));
                }
            }
            6 => {
                if let Some(link) = self.link(input) {
                    self.wire.borrow_mut().end(link);
                }
            }
            7 => self.pass(MS * (1 << input.below(12))),
            8 => self.disturb(input),
            9 => self.finish_connecting_and_writing(input),
            10 => self.change_the_cluster(input),
            11 => self.give_identity(77 + i64::from(input.byte() & 1)),
            _ => {
                let (reply, _) = channel::bounded(1);
                let _ = self.events.send(Event::Flush(reply));
            }
        }
    }

    fn send(&mut self, input: &mut Input<'_>) {
        let partition = input.below(PARTITIONS);
        let value = vec![b'v'; usize::from(input.byte())];
        let record = SerializedRecord::<(&str, Option<&[u8]>)> {
            timestamp_ms: 1_000,
            key: None,
            value: Some(&value),
            headers: &[],
        };
        let mut spare: Option<Reservation> = None;
        let mut callback: Option<RecordCallback> = None;
        let append = self.accumulator.topics.with(TOPIC, |topic| {
            topic.partitions()[partition].append(&record, false, &mut callback, &mut spare)
        });
        if let Some(Append::Done {
            record: RecordHandle { completion, index },
            ..
        }) = append
        {
            self.sent.push((completion, index));
        }
    }

    /// An open link.
    fn link(&self, input: &mut Input<'_>) -> Option<LinkId> {
        let wire = self.wire.borrow();
        let index = input.below(wire.open.len().max(1));
        wire.open.get(index).copied()
    }

    /// Answers a request, not always the oldest, in the layout of its version.
    fn answer(&mut self, input: &mut Input<'_>, is_damaged: bool) {
        let frame = {
            let mut wire = self.wire.borrow_mut();
            if wire.unanswered.is_empty() {
                return;
            }
            // Out of order now and then.
            let index = input.byte();
            let index = if index < 0xe0 { 0 } else { usize::from(index) };
            let index = index % wire.unanswered.len();
            wire.unanswered.remove(index)
        };
        let (link, mut bytes) = (frame.link, answer_to(&frame, input));
        if is_damaged {
            for _ in 0..=input.below(3) {
                let at = usize::from(input.i16().unsigned_abs()) % bytes.len();
                bytes[at] = input.byte();
            }
            let cut = usize::from(input.byte());
            bytes.truncate(bytes.len() - cut.saturating_sub(0xe0).min(bytes.len()));
        }
        self.wire.borrow().tell(link, LinkEvent::Frame(bytes));
    }

    fn disturb(&mut self, input: &mut Input<'_>) {
        let mut wire = self.wire.borrow_mut();
        match input.below(4) {
            0 => wire.stalls = true,
            1 => wire.fails = true,
            2 => wire.held.clear(),
            _ => wire.versions = (input.i16(), input.i16()),
        }
    }

    /// For links that do not come up by themselves, and writes that stalled.
    fn finish_connecting_and_writing(&mut self, input: &mut Input<'_>) {
        let mut wire = self.wire.borrow_mut();
        if let Some(link) = wire.connecting.first().copied() {
            match input.below(4) {
                0 => wire.end(link),
                _ => wire.connected(link),
            }
        }
        if let Some(link) = wire.stalled.pop() {
            wire.tell(link, LinkEvent::WriteFinished);
        }
    }

    fn change_the_cluster(&mut self, input: &mut Input<'_>) {
        let (leader, epoch) = &mut self.leaders[input.below(PARTITIONS)];
        let choice = input.byte();
        *leader = Some(i32::from(choice & 3)).filter(|broker| (1..=BROKERS).contains(broker));
        *epoch += i32::from(choice >> 2 & 1);
        if choice >= 0xf0 {
            self.topic_id = Some(TopicId([choice; 16]));
        }
        self.publish();
    }

    fn publish(&self) {
        let broker = |id| Broker {
            id,
            host: format!("broker-{id}").into(),
            port: 9092,
            rack: None,
        };
        let partition = |(partition, (leader, epoch)): (i32, &(Option<i32>, i32))| {
            let replicas: Vec<i32> = (1..=BROKERS).collect();
            PartitionMetadata {
                partition,
                leader: *leader,
                leader_epoch: Some(*epoch),
                replicas: replicas.clone(),
                in_sync_replicas: replicas,
                offline_replicas: Vec::new(),
            }
        };
        let topic = TopicMetadata {
            name: TOPIC.into(),
            id: self.topic_id,
            is_internal: false,
            partitions: (0..).zip(&self.leaders).map(partition).collect(),
        };
        self.metadata.publish_cluster(Cluster {
            cluster_id: None,
            brokers: (1..=BROKERS).map(|id| (id, Arc::new(broker(id)))).collect(),
            topics: [topic].into_iter().collect(),
            ..Cluster::default()
        });
    }

    fn give_identity(&self, producer_id: i64) {
        let identity = ProducerIdentity {
            producer_id,
            producer_epoch: 0,
        };
        self.producer_ids.give_now(identity);
        let _ = self.events.send(Event::Identity(Ok(())));
    }

    /// Runs the worker until nothing is left to do at this time; when it is due next.
    fn run(&mut self) -> Option<Instant> {
        const MOST_ROUNDS: usize = 50;
        for _ in 0..MOST_ROUNDS {
            let deadline = self.sender.run_once(self.now);
            let is_due = deadline.is_some_and(|deadline| deadline <= self.now);
            if !is_due && !self.sender.has_news() {
                return deadline;
            }
        }
        panic!("the worker is due again and again without coming to rest");
    }

    /// Lets time pass and runs the worker whenever it says that it is due.
    fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(due) = self.run().filter(|due| *due <= end) {
            self.set_time(due);
        }
        self.set_time(end);
        self.run();
    }

    fn set_time(&mut self, now: Instant) {
        self.now = self.now.max(now);
        set_monotonic_now(self.now);
    }

    /// Whatever the brokers do, records end within `delivery.timeout.ms`.
    fn end(mut self) {
        self.pass(DELIVERY_TIMEOUT + MS);
        let is_complete =
            |(completion, index): &(Arc<Completion>, u32)| completion.try_get(*index).is_some();
        let open = self
            .sent
            .iter()
            .filter(|record| !is_complete(record))
            .count();
        assert_eq!(open, 0, "records without an outcome of {}", self.sent.len());
        drop(self.sender);
        while let Ok(delivery) = self.deliveries.try_recv() {
            if let Delivery::Settled(settlements) = delivery {
                settlements.into_iter().for_each(CompletedBatch::deliver);
            }
        }
        self.wire.borrow_mut().held.clear();
        let memory = &self.accumulator.memory;
        assert_eq!(memory.available(), memory.total(), "memory is lost");
    }
}

fn sender_config(input: &mut Input<'_>) -> SenderConfig {
    let choices = input.byte();
    let is_idempotent = choices & 1 == 0;
    let codec = match choices >> 6 {
        0 => CompressionType::Lz4,
        _ => CompressionType::None,
    };
    SenderConfig {
        index: 0,
        client_id: "fuzz".into(),
        acks: match choices >> 1 & 3 {
            0 if !is_idempotent => 0,
            1 if !is_idempotent => 1,
            _ => -1,
        },
        idempotence: is_idempotent,
        linger: if choices & 8 == 0 {
            10 * MS
        } else {
            Duration::ZERO
        },
        batch_size: 600,
        max_request_size: 4_000,
        max_in_flight: if choices & 16 == 0 { 5 } else { 1 },
        request_timeout: 1_000 * MS,
        delivery_timeout: DELIVERY_TIMEOUT,
        retries: if choices & 32 == 0 { u32::MAX } else { 1 },
        retry_backoff: ExponentialBackoff::new(100 * MS, 1_000 * MS),
        reconnect_backoff: ExponentialBackoff::new(50 * MS, 500 * MS),
        connections_max_idle: None,
        availability_timeout: None,
        compression: Compression::with_default_level(codec),
    }
}

/// The frame without its length.
fn answer_to(asked: &Asked, input: &mut Input<'_>) -> Vec<u8> {
    let partitions = asked
        .partitions
        .iter()
        .map(|index| ProducePartitionResponse {
            index: *index,
            ..partition_answer(input)
        });
    let topic = ProduceTopicResponse {
        name: if asked.version < 13 { TOPIC } else { "" }.into(),
        id: asked.topic_id,
        partitions: partitions.collect(),
    };
    let extras = input.byte();
    let response = ProduceResponse {
        topics: vec![topic],
        throttle_time_ms: if extras & 7 == 7 {
            1 << (extras >> 3 & 15)
        } else {
            0
        },
        node_endpoints: if extras & 0x80 == 0 {
            Vec::new()
        } else {
            vec![NodeEndpoint {
                node_id: 2,
                host: "broker-2".into(),
                port: 9092,
                rack: None,
            }]
        },
    };
    let mut frame = Vec::new();
    encode_response(
        &response,
        ApiKey::Produce,
        asked.version,
        asked.correlation_id,
        &mut frame,
    )
    .expect("a response of this crate's making");
    frame.split_off(4)
}

fn partition_answer(input: &mut Input<'_>) -> ProducePartitionResponse {
    /// Those that the worker tells apart, success most of all.
    const CODES: [ErrorCode; 24] = [
        ErrorCode::NONE,
        ErrorCode::NONE,
        ErrorCode::NONE,
        ErrorCode::NONE,
        ErrorCode::NOT_LEADER_OR_FOLLOWER,
        ErrorCode::FENCED_LEADER_EPOCH,
        ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER,
        ErrorCode::UNKNOWN_PRODUCER_ID,
        ErrorCode::INVALID_PRODUCER_EPOCH,
        ErrorCode::DUPLICATE_SEQUENCE_NUMBER,
        ErrorCode::MESSAGE_TOO_LARGE,
        ErrorCode::MESSAGE_TOO_LARGE,
        ErrorCode::REQUEST_TIMED_OUT,
        ErrorCode::NOT_ENOUGH_REPLICAS,
        ErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND,
        ErrorCode::KAFKA_STORAGE_ERROR,
        ErrorCode::UNKNOWN_SERVER_ERROR,
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
        ErrorCode::UNKNOWN_TOPIC_ID,
        ErrorCode::INCONSISTENT_TOPIC_ID,
        ErrorCode::INVALID_RECORD,
        ErrorCode::CORRUPT_MESSAGE,
        ErrorCode::TOPIC_AUTHORIZATION_FAILED,
        ErrorCode::PRODUCER_FENCED,
    ];
    let choice = input.byte();
    let error = match CODES.get(usize::from(choice & 31)) {
        Some(code) => *code,
        None => ErrorCode::from(input.i16()),
    };
    let mut answer = ProducePartitionResponse {
        error,
        base_offset: if error.is_none() || choice & 32 != 0 {
            i64::from(choice)
        } else {
            -1
        },
        ..ProducePartitionResponse::default()
    };
    if choice & 64 != 0 {
        answer.current_leader = LeaderIdAndEpoch {
            leader_id: i32::from(input.byte() & 3),
            leader_epoch: i32::from(input.byte() & 15),
        };
    }
    if choice & 128 != 0 {
        answer.error_message = Some("why".into());
        answer.record_errors = vec![RecordError {
            batch_index: input.i32(),
            message: None,
        }];
    }
    answer
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let send = |partition, size| [0, partition, size];
    let all = [
        &send(0, 100)[..],
        &send(1, 250),
        &send(2, 250),
        &send(0, 250),
        &send(0, 250),
        &send(0, 250),
        // 16 ms pass.
        &[7, 4],
    ]
    .concat();
    let answers = |code: u8| [2, 0, code, code, code, 0].repeat(4);
    let mut seeds: Vec<Vec<u8>> = Vec::new();
    for setup in [
        [0, 0xa0],
        [0x40, 0x90],
        [0x41, 0x70],
        [0x45, 0x20],
        [0x58, 0xa0],
    ] {
        for code in [0, 4, 6, 7, 9, 10, 12, 20, 0x40 | 4, 0x80 | 20] {
            // The answers, half a second, answers without a fault.
            seeds.push([&setup[..], &all, &answers(code), &[7, 9], &answers(0)].concat());
        }
    }
    // A link that breaks, a leader that moves, a write that stalls, bytes that are no answer.
    for trouble in [
        &[6, 0][..],
        &[10, 0, 6],
        &[8, 0],
        &[5, 0, 8, 0, 0, 0, 1, 0, 0, 0, 0],
        &[9, 1],
    ] {
        seeds.push([&[0, 0xa0][..], &all, trouble, &all, &[7, 9], &answers(0)].concat());
        seeds.push([&[0, 0xa3][..], &[11, 0], &all, trouble, &all, &answers(0)].concat());
    }
    seeds
}
