//! A worker between callers and brokers that do anything. The input is a script: the records that are sent, the brokers'
//! answers (valid, damaged, invented), the links that break, the leaders, and the time that passes. In every case nothing
//! panics, the worker becomes idle, every record has its outcome in time, and all memory is returned.

use std::time::Duration;

use super::Input;
use crate::CompressionType;
use crate::accumulator::topic_config::TopicConfig;
use crate::backoff::ExponentialBackoff;
use crate::connection::link::LinkId;
use crate::identity::ProducerIdentity;
use crate::metadata::TopicId;
use crate::protocol::ErrorCode;
use crate::protocol::messages::{
    LeaderIdAndEpoch, NodeEndpoint, ProducePartitionResponse, ProduceResponse, RecordError,
};
use crate::record::compression::Compression;
use crate::sender::SenderConfig;
use crate::sender::scripted::{Harness, Link, MS, PRODUCER_ID, Sent, Ticket, encode, response_to};

/// Builds the worker from the first bytes, and makes one step for each further byte.
pub fn worker(data: &[u8]) {
    let mut input = Input(data);
    let mut world = World::new(&mut input);
    for _ in 0..MOST_STEPS {
        if input.is_empty() {
            break;
        }
        world.step(&mut input);
    }
    world.end();
}

const MOST_STEPS: usize = 200;
const BROKERS: i32 = 2;
const PARTITIONS: usize = 3;
const DELIVERY_TIMEOUT: Duration = Duration::from_millis(5_000);

/// The worker, and the other state that the script needs.
struct World {
    harness: Harness,
    /// The requests that wait for an answer.
    unanswered: Vec<Sent>,
    tickets: Vec<Ticket>,
}

impl World {
    fn new(input: &mut Input<'_>) -> Self {
        let sender = sender_config(input);
        let choices = input.byte();
        let harness = Harness::new(|settings| {
            settings.sender = sender;
            settings.brokers = BROKERS;
            settings.partitions = PARTITIONS as i32;
            settings.buffer_memory = 64 << 10;
            settings.produce_version = 3 + i16::from(choices >> 4) % 11;
            settings.topic_id = Some(TopicId([1; 16]));
            settings.connects = choices & 1 == 0;
            settings.has_identity = choices & 2 == 0;
        });
        harness.links().holds_written = true;
        Self {
            harness,
            unanswered: Vec::new(),
            tickets: Vec::new(),
        }
    }

    fn step(&mut self, input: &mut Input<'_>) {
        match input.below(13) {
            0 | 1 => self.send(input),
            2 | 3 => self.answer(input, false),
            4 => self.answer(input, true),
            5 => {
                if let Some(link) = self.link(input) {
                    let length = input.below(64);
                    self.harness.frame(link, input.bytes(length).to_vec());
                }
            }
            6 => {
                if let Some(link) = self.link(input) {
                    self.harness.lose(link);
                }
            }
            7 => self.harness.run_for(MS * (1 << input.below(12))),
            8 => self.disturb(input),
            9 => self.finish_connecting_and_writing(input),
            10 => self.change_the_cluster(input),
            11 => self.give_identity(PRODUCER_ID + i64::from(input.byte() & 1)),
            _ => drop(self.harness.flush()),
        }
        self.harness.run();
    }

    fn send(&mut self, input: &mut Input<'_>) {
        let partition = input.below(PARTITIONS) as i32;
        let value = "v".repeat(usize::from(input.byte()));
        self.tickets
            .extend(self.harness.try_send(partition, &value, None));
    }

    /// A link that is ready.
    fn link(&self, input: &mut Input<'_>) -> Option<LinkId> {
        let links = self.harness.links();
        let ready = links.keys(|link| link.is_open() && !link.is_connecting());
        let key = ready.get(input.below(ready.len().max(1)));
        key.map(|key| key.link)
    }

    /// Answers a request, not always the oldest, in the layout of its version.
    fn answer(&mut self, input: &mut Input<'_>, is_damaged: bool) {
        self.unanswered.extend(self.harness.requests());
        let links = self.harness.links();
        let is_open = |sent: &Sent| {
            links
                .keys(Link::is_open)
                .iter()
                .any(|key| key.link == sent.link)
        };
        self.unanswered
            .retain(|sent| sent.acks != 0 && is_open(sent));
        drop(links);
        if self.unanswered.is_empty() {
            return;
        }
        // Sometimes answers out of order.
        let index = input.byte();
        let index = if index < 0xe0 { 0 } else { usize::from(index) };
        let sent = self.unanswered.remove(index % self.unanswered.len());
        let mut bytes = answer_to(&sent, input);
        if is_damaged {
            for _ in 0..=input.below(3) {
                let at = usize::from(input.i16().unsigned_abs()) % bytes.len();
                bytes[at] = input.byte();
            }
            let cut = usize::from(input.byte());
            bytes.truncate(bytes.len() - cut.saturating_sub(0xe0).min(bytes.len()));
        }
        self.harness.frame(sent.link, bytes);
    }

    fn disturb(&mut self, input: &mut Input<'_>) {
        match input.below(4) {
            0 => self.harness.network().stalls = true,
            1 => self.harness.network().fails = true,
            2 => self.harness.links().release_all(),
            _ => self.harness.network().produce_versions = (input.i16(), input.i16()),
        }
    }

    /// Makes connecting links ready, and finishes a write in progress.
    fn finish_connecting_and_writing(&mut self, input: &mut Input<'_>) {
        if let Some(link) = self.harness.connecting().first() {
            match input.below(4) {
                0 => self.harness.lose(*link),
                _ => self.harness.connected(*link),
            }
        }
        let writing = self.harness.links().keys(Link::is_writing);
        if let Some(key) = writing.last() {
            self.harness.finish_write(key.link);
        }
    }

    fn change_the_cluster(&mut self, input: &mut Input<'_>) {
        let leadership = &mut self.harness.leaders[input.below(PARTITIONS)];
        let choice = input.byte();
        let leader = i32::from(choice & 3);
        leadership.broker = Some(leader).filter(|broker| (1..=BROKERS).contains(broker));
        leadership.epoch += i32::from(choice >> 2 & 1);
        if choice >= 0xf0 {
            self.harness.topic_id = Some(TopicId([choice; 16]));
        }
        self.harness.publish();
    }

    fn give_identity(&mut self, producer_id: i64) {
        self.harness.give_identity(ProducerIdentity {
            producer_id,
            producer_epoch: 0,
        });
    }

    /// Checks that every record has its outcome within `delivery.timeout.ms`, and that all memory is returned.
    fn end(mut self) {
        self.harness.run_for(DELIVERY_TIMEOUT + MS);
        let tickets = self.tickets.iter();
        let open = tickets.filter(|ticket| ticket.result().is_none());
        assert_eq!(
            open.count(),
            0,
            "records without an outcome of {}",
            self.tickets.len()
        );
        let accumulator = self.harness.end();
        let memory = &accumulator.memory;
        assert_eq!(
            memory.available(),
            memory.budget(),
            "memory was not returned"
        );
    }
}

fn sender_config(input: &mut Input<'_>) -> SenderConfig {
    let choices = input.byte();
    let is_idempotent = choices & 1 == 0;
    let codec = match choices >> 6 {
        0 => CompressionType::Lz4,
        _ => CompressionType::None,
    };
    let topics = TopicConfig {
        acks: match choices >> 1 & 3 {
            0 if !is_idempotent => 0,
            1 if !is_idempotent => 1,
            _ => -1,
        },
        linger: if choices & 8 == 0 {
            10 * MS
        } else {
            Duration::ZERO
        },
        batch_size: 600,
        max_batch_bytes: 4_000,
        compression: Compression::with_default_level(codec),
        delivery_timeout: DELIVERY_TIMEOUT,
    };
    SenderConfig {
        index: 0,
        client_id: "fuzz".into(),
        idempotence: is_idempotent,
        max_request_size: 4_000,
        max_in_flight: if choices & 16 == 0 { 5 } else { 1 },
        request_timeout: 1_000 * MS,
        retries: if choices & 32 == 0 { u32::MAX } else { 1 },
        retry_backoff: ExponentialBackoff::new(100 * MS, 1_000 * MS),
        reconnect_backoff: ExponentialBackoff::new(50 * MS, 500 * MS),
        connections_max_idle: None,
        availability_timeout: None,
        topics,
    }
}

/// Returns the frame of an answer, without its length.
fn answer_to(sent: &Sent, input: &mut Input<'_>) -> Vec<u8> {
    let partitions = sent.batches.iter().map(|batch| ProducePartitionResponse {
        index: batch.partition,
        ..partition_answer(input)
    });
    let partitions = partitions.collect();
    let extras = input.byte();
    let response = ProduceResponse {
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
        ..response_to(sent, partitions)
    };
    encode(sent, &response)
}

fn partition_answer(input: &mut Input<'_>) -> ProducePartitionResponse {
    /// The codes that the worker distinguishes; success most often.
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
