//! Brokers as strict as Kafka's: leaders, logs with their producers' sequences, recreated topics, retention.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use fastrand::Rng;

use super::ledger::Ledger;
use super::setup::Setup;
use crate::protocol::ErrorCode;
use crate::protocol::messages::{
    LeaderIdAndEpoch, MetadataBroker, MetadataPartition, MetadataResponse, MetadataTopic,
    ProducePartitionResponse, RecordError,
};
use crate::sender::scripted::{Log, Rules};
use crate::sender::scripted::{MS, Sent, SentBatch, TOPIC, refused, written};

/// A code that a later Kafka may have.
const UNKNOWN_CODE: i16 = 12345;

pub(super) struct Brokers {
    pub(super) rng: Rng,
    /// The probability of each failure, in percent.
    pub(super) trouble: u32,
    pub(super) rules: Rules,
    /// The broker with id 1 is the first.
    pub(super) brokers: Vec<Broker>,
    pub(super) partitions: Vec<Partition>,
    /// Whether topics have ids.
    has_ids: bool,
    /// Whether requests name topics by their ids.
    sends_by_id: bool,
    /// The number of clusters before this one, which is also its id.
    pub(super) number: u32,
    /// How often the topic was recreated, in all clusters.
    pub(super) incarnation: usize,
    pub(super) topic_exists: bool,
    /// Larger batches are refused.
    largest_batch: usize,
    /// The latest metadata snapshots, the newest first. A broker that lags behind answers with an older one.
    snapshots: VecDeque<MetadataResponse>,
}

pub(super) struct Broker {
    pub(super) is_down: bool,
    pub(super) stands_until: Instant,
    pub(super) port: u16,
}

pub(super) struct Partition {
    pub(super) leader: Option<i32>,
    pub(super) epoch: i32,
    pub(super) log: Log,
    /// Whether the log does not know the producer, which may still send several batches at once. If the first of them were
    /// refused, a broker would accept the next one at any sequence; a producer cannot prevent it.
    pub(super) is_fresh: bool,
    /// The previous leader, and until when it does not know the new one.
    deposed: Option<(i32, Instant)>,
}

/// A broker's answer for a batch, to be sent unless the leader changes in the meantime.
#[derive(Debug)]
pub(super) struct Pending {
    partition: i32,
    answer: ProducePartitionResponse,
    /// The epoch under which the batch was appended, and the topic's incarnation.
    appended: Option<(i32, usize)>,
}

impl Brokers {
    pub(super) fn new(mut rng: Rng, setup: &Setup, now: Instant) -> Self {
        let rules = Rules {
            refuses_unknown: rng.u8(..4) == 0,
            reports_old_duplicates: rng.u8(..4) == 0,
        };
        let largest_batch = if rng.u8(..6) == 0 { 300 } else { usize::MAX };
        let mut cluster = Self {
            rng,
            trouble: setup.trouble,
            rules,
            brokers: (0..setup.brokers)
                .map(|_| Broker {
                    is_down: false,
                    stands_until: now,
                    port: 9092,
                })
                .collect(),
            partitions: (0..setup.partitions as i32)
                .map(|partition| Partition {
                    leader: Some(partition % setup.brokers + 1),
                    epoch: 1,
                    log: Log::new(rules),
                    is_fresh: false,
                    deposed: None,
                })
                .collect(),
            has_ids: setup.has_topic_ids(),
            sends_by_id: setup.sends_by_id(),
            number: 0,
            incarnation: 0,
            topic_exists: true,
            largest_batch,
            snapshots: VecDeque::new(),
        };
        cluster.note();
        cluster
    }

    pub(super) fn broker(&mut self, id: i32) -> &mut Broker {
        &mut self.brokers[id as usize - 1]
    }

    fn topic_id(&self) -> [u8; 16] {
        match self.has_ids {
            true => [self.incarnation as u8 + 1; 16],
            false => [0; 16],
        }
    }

    fn happens(&mut self) -> bool {
        self.rng.u32(..100) < self.trouble
    }

    /// Lowers or raises the topic's `max.message.bytes`.
    pub(super) fn change_limit(&mut self) {
        self.largest_batch = [300, 600, usize::MAX][self.rng.usize(..3)];
    }

    // --- Changes of the cluster --------------------------------------------------------------------------------------

    /// Changes the leader, also to none. The previous leader may not know it for a while. A broker that is down cannot lead.
    pub(super) fn move_leader(&mut self, partition: usize, to: Option<i32>, now: Instant) {
        let to = to.filter(|id| !self.broker(*id).is_down);
        let unaware = self.rng.bool();
        let span = Duration::from_millis(self.rng.u64(1..600));
        let partition = &mut self.partitions[partition];
        if partition.is_fresh || partition.leader == to {
            return;
        }
        partition.deposed = partition
            .leader
            .filter(|_| unaware)
            .map(|broker| (broker, now + span));
        partition.leader = to;
        partition.epoch += 1;
        self.note();
    }

    /// Deletes and recreates the topic: the new log knows no producer.
    pub(super) fn recreate_topic(&mut self) {
        self.incarnation += 1;
        self.topic_exists = true;
        for partition in &mut self.partitions {
            partition.log = Log::new(self.rules);
            // Without ids the first epochs of the new topic look like outdated metadata, in Java's client, too.
            partition.epoch = if self.has_ids { 0 } else { partition.epoch + 1 };
            partition.deposed = None;
            partition.is_fresh = !self.sends_by_id && !self.rules.refuses_unknown;
        }
        self.note();
    }

    /// Wipes all brokers, which then form another cluster with the same topic.
    pub(super) fn replace(&mut self, now: Instant) {
        self.number += 1;
        self.snapshots.clear();
        for broker in &mut self.brokers {
            (broker.is_down, broker.stands_until) = (false, now);
        }
        self.recreate_topic();
        for partition in &mut self.partitions {
            // No request is in flight to it.
            (partition.is_fresh, partition.epoch) = (false, 0);
            if partition.leader.is_none() {
                partition.leader = Some(1);
            }
        }
        self.snapshots.clear();
        self.note();
    }

    /// Deletes all records, as retention does, and with them what the log knows about producers.
    pub(super) fn retain_nothing(&mut self, partition: usize) {
        let partition = &mut self.partitions[partition];
        partition.log.forget_producers();
        partition.is_fresh = !self.rules.refuses_unknown;
    }

    // --- Metadata ----------------------------------------------------------------------------------------------------

    /// Keeps a snapshot of the cluster after a change.
    pub(super) fn note(&mut self) {
        let snapshot = self.snapshot();
        self.snapshots.push_front(snapshot);
        self.snapshots.truncate(3);
    }

    /// Returns a broker's answer to Metadata: an older snapshot if `stale`.
    pub(super) fn describe(&mut self, stale: bool) -> MetadataResponse {
        let age = match stale {
            true => self.rng.usize(..self.snapshots.len()),
            false => 0,
        };
        self.snapshots[age].clone()
    }

    fn snapshot(&self) -> MetadataResponse {
        let brokers = (1..).zip(&self.brokers);
        let brokers = brokers.filter(|(_, broker)| !broker.is_down);
        let brokers = brokers.map(|(node_id, broker)| MetadataBroker {
            node_id,
            host: format!("broker-{node_id}"),
            port: i32::from(broker.port),
            rack: None,
        });
        let partitions = (0..).zip(&self.partitions);
        let partitions = partitions.map(|(index, partition)| MetadataPartition {
            error: match partition.leader {
                Some(_) => ErrorCode::NONE,
                None => ErrorCode::LEADER_NOT_AVAILABLE,
            },
            index,
            leader_id: partition.leader.unwrap_or(-1),
            leader_epoch: partition.epoch,
            replica_nodes: Vec::new(),
            isr_nodes: Vec::new(),
            offline_replicas: Vec::new(),
        });
        MetadataResponse {
            throttle_time_ms: 0,
            brokers: brokers.collect(),
            cluster_id: Some(self.number.to_string()),
            controller_id: -1,
            topics: vec![MetadataTopic {
                error: match self.topic_exists {
                    true => ErrorCode::NONE,
                    false => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
                },
                name: Some(TOPIC.into()),
                id: self.topic_id(),
                is_internal: false,
                partitions: match self.topic_exists {
                    true => partitions.collect(),
                    false => Vec::new(),
                },
            }],
            error: ErrorCode::NONE,
        }
    }

    // --- Produce -----------------------------------------------------------------------------------------------------

    /// Processes a request as a broker: appends the batches, and returns the answers for when the replicas have them.
    pub(super) fn take(&mut self, sent: &Sent, ledger: &mut Ledger, now: Instant) -> Vec<Pending> {
        let batches = sent.batches.iter();
        batches
            .map(|batch| self.take_batch(sent, batch, ledger, now))
            .collect()
    }

    fn take_batch(
        &mut self,
        sent: &Sent,
        batch: &SentBatch,
        ledger: &mut Ledger,
        now: Instant,
    ) -> Pending {
        let number = batch.partition as usize;
        let mut pending = Pending {
            partition: batch.partition,
            answer: refused(ErrorCode::NONE),
            appended: None,
        };
        if let Err(code) = self.find(sent, batch) {
            pending.answer = refused(code);
            return pending;
        }
        if self.partitions[number].leader != Some(sent.broker) {
            pending.answer = self.answer_of_no_leader(sent.broker, number, now);
            return pending;
        }
        let may_refuse = !self.partitions[number].is_fresh;
        if may_refuse && batch.bytes.len() > self.largest_batch {
            pending.answer = refused(ErrorCode::MESSAGE_TOO_LARGE);
            return pending;
        }
        if may_refuse && self.happens() && self.rng.bool() {
            pending.answer = self.refusal(batch);
            return pending;
        }
        let partition = &mut self.partitions[number];
        match partition.log.append(batch) {
            Ok(appended) => {
                partition.is_fresh = false;
                if appended.is_new {
                    let log = (self.number, self.incarnation);
                    ledger.in_log(batch, log, appended.base_offset);
                }
                pending.answer = written(appended.base_offset);
                pending.appended = Some((partition.epoch, self.incarnation));
            }
            Err(code) => pending.answer = refused(code),
        }
        if pending.answer.error.is_none() && self.happens() {
            pending.answer.error = self.failure_after_append();
            if self.rng.bool() {
                pending.answer.base_offset = -1;
            }
        }
        pending
    }

    /// Checks that the topic is the one in the request.
    fn find(&self, sent: &Sent, batch: &SentBatch) -> Result<(), ErrorCode> {
        let by_id = sent.version >= 13;
        match (by_id, self.topic_exists) {
            (true, true) if batch.topic_id == self.topic_id() => Ok(()),
            (true, _) => Err(ErrorCode::UNKNOWN_TOPIC_ID),
            (false, true) => Ok(()),
            (false, false) => Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
        }
    }

    /// A previous leader that does not know of the new one appends to a log that will be truncated; its replicas never
    /// confirm.
    fn answer_of_no_leader(
        &mut self,
        broker: i32,
        partition: usize,
        now: Instant,
    ) -> ProducePartitionResponse {
        let deposed = self.partitions[partition].deposed;
        if deposed.is_some_and(|(id, until)| id == broker && now < until) && self.rng.bool() {
            let code = [
                ErrorCode::NOT_LEADER_OR_FOLLOWER,
                ErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND,
                ErrorCode::REQUEST_TIMED_OUT,
            ][self.rng.usize(..3)];
            return ProducePartitionResponse {
                error: code,
                ..written(self.rng.i64(..100))
            };
        }
        refused(ErrorCode::NOT_LEADER_OR_FOLLOWER)
    }

    /// Returns an error for a batch that is not written.
    fn refusal(&mut self, batch: &SentBatch) -> ProducePartitionResponse {
        match self.rng.u8(..8) {
            0 => refused(ErrorCode::KAFKA_STORAGE_ERROR),
            1 => refused(ErrorCode::CORRUPT_MESSAGE),
            2 => refused(ErrorCode::MESSAGE_TOO_LARGE),
            3 => refused(ErrorCode::LEADER_NOT_AVAILABLE),
            4 => ProducePartitionResponse {
                record_errors: vec![RecordError {
                    batch_index: self.rng.i32(0..batch.records.len() as i32),
                    message: None,
                }],
                ..refused(ErrorCode::INVALID_RECORD)
            },
            5 => refused(ErrorCode::from(UNKNOWN_CODE)),
            _ => refused(ErrorCode::NOT_ENOUGH_REPLICAS),
        }
    }

    /// Returns an error for a batch that is in the log.
    fn failure_after_append(&mut self) -> ErrorCode {
        [
            ErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND,
            ErrorCode::REQUEST_TIMED_OUT,
            ErrorCode::KAFKA_STORAGE_ERROR,
            ErrorCode::UNKNOWN_SERVER_ERROR,
            ErrorCode::from(UNKNOWN_CODE),
        ][self.rng.usize(..5)]
    }

    /// Returns the answers after the time that the replicas take, or those of a broker that no longer leads.
    pub(super) fn answers(
        &mut self,
        pending: Vec<Pending>,
        produce_version: i16,
    ) -> Vec<ProducePartitionResponse> {
        let mut answers = Vec::new();
        for Pending {
            partition: number,
            mut answer,
            appended,
        } in pending
        {
            let partition = &self.partitions[number as usize];
            // The base offset stays: by it a producer knows that the batch was appended.
            if let Some((epoch, incarnation)) = appended.filter(|_| answer.error.is_none()) {
                if incarnation != self.incarnation {
                    answer.error = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
                } else if epoch != partition.epoch {
                    answer.error = ErrorCode::NOT_LEADER_OR_FOLLOWER;
                }
            }
            if answer.error == ErrorCode::NOT_LEADER_OR_FOLLOWER && produce_version >= 10 {
                answer.current_leader = LeaderIdAndEpoch {
                    leader_id: partition.leader.unwrap_or(-1),
                    leader_epoch: partition.epoch,
                };
            }
            answer.index = number;
            if self.happens() && self.rng.u8(..8) == 0 {
                // The answer omits this partition.
                continue;
            }
            answers.push(answer);
        }
        if self.rng.u8(..4) == 0 {
            answers.reverse();
        }
        answers
    }

    /// Returns the time that the replicas take.
    pub(super) fn replication(&mut self) -> Duration {
        match self.happens() && self.rng.bool() {
            true => Duration::from_micros(self.rng.u64(..1_300_000)),
            false => Duration::from_micros(self.rng.u64(..1500)).min(MS),
        }
    }
}
