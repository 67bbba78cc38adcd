//! Keeps what is known about every record, and compares the outcomes that the producer reports with the brokers' logs.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::accumulator::callbacks::RecordCallback;
use crate::error::Delivery;
use crate::identity::sequence_after;
use crate::sender::scripted::{SentBatch, Ticket};
use crate::sync::Mutex;

/// How late an outcome may be: the worker and the delivery thread must get the processor.
pub(super) const SLACK: Duration = Duration::from_millis(5);

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Guarantee {
    OnceAndInOrder,
    AtLeastOnce,
}

pub(super) struct Ledger {
    guarantee: Guarantee,
    delivery_timeout: Duration,
    /// The records by id. Each record's value begins with its id.
    records: Vec<Record>,
    partitions: Vec<PartitionLedger>,
    /// Ids in the order of their callbacks.
    called: Arc<Mutex<Vec<usize>>>,
    /// The number of callbacks that ran after their record's future was complete.
    too_late: Arc<AtomicUsize>,
    /// The producer ids that this producer got, each with the cluster that gave it.
    given: HashSet<(u32, i64)>,
    pub(super) resolved: usize,
    pub(super) failed: usize,
}

struct Record {
    partition: usize,
    /// The position among the records of its partition; `None` before it is in a batch.
    position: Option<usize>,
    ticket: Option<Ticket>,
    deadline: Instant,
    callback: Option<Arc<AtomicU32>>,
    fate: Option<Fate>,
    /// If the record was the first of a batch at its latest attempt: the number of records in that batch.
    begins: usize,
    /// The identity of the latest attempt.
    identity: Option<Identity>,
    /// The positions in logs: the topic's incarnation and the offset.
    found: Vec<(usize, i64)>,
    /// The cluster that has the record in a log.
    cluster: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Written,
    NotWritten,
    MaybeWritten,
}

/// The cluster that gave the producer id, the producer id, and the epoch.
type Identity = (u32, i64, i16);

#[derive(Default)]
struct PartitionLedger {
    next_position: usize,
    unresolved: VecDeque<usize>,
    /// The offsets of acknowledged records, by the topic's incarnation and the record's position.
    acknowledged: BTreeMap<(usize, usize), i64>,
    /// The record that had each sequence of an identity.
    by_sequence: HashMap<(Identity, i32), usize>,
    /// The identities under which a batch failed: the log may never get the sequences of that batch.
    broken: HashSet<Identity>,
    /// The sequence of each record under an identity.
    by_record: HashMap<(Identity, usize), i32>,
}

/// Returns the number of the cluster with that id.
fn number_of(cluster_id: &str) -> u32 {
    cluster_id.parse().expect("a cluster's id is its number")
}

/// Returns the id of the record with this value.
pub(super) fn id_of(value: &str) -> usize {
    value[..8].parse().expect("a value begins with its id")
}

impl Ledger {
    pub(super) fn new(guarantee: Guarantee, partitions: usize, delivery_timeout: Duration) -> Self {
        Self {
            guarantee,
            delivery_timeout,
            records: Vec::new(),
            partitions: (0..partitions)
                .map(|_| PartitionLedger::default())
                .collect(),
            called: Arc::default(),
            too_late: Arc::default(),
            given: HashSet::new(),
            resolved: 0,
            failed: 0,
        }
    }

    pub(super) fn gave(&mut self, cluster: u32, producer_id: i64) {
        self.given.insert((cluster, producer_id));
    }

    /// Adds a record that a caller is about to send. Returns its id and value.
    pub(super) fn begin(
        &mut self,
        partition: usize,
        padding: usize,
        now: Instant,
    ) -> (usize, String) {
        let id = self.records.len();
        self.records.push(Record {
            partition,
            position: None,
            ticket: None,
            deadline: now,
            callback: None,
            fate: None,
            begins: 0,
            identity: None,
            found: Vec::new(),
            cluster: None,
        });
        (id, format!("{id:08}{:padding$}", ""))
    }

    pub(super) fn callback(&mut self, id: usize) -> RecordCallback {
        let index = Arc::new(AtomicU32::new(0));
        self.records[id].callback = Some(Arc::clone(&index));
        let (called, too_late) = (Arc::clone(&self.called), Arc::clone(&self.too_late));
        Box::new(move |completed| {
            called.lock().push(id);
            if completed
                .completion
                .is_complete(index.load(Ordering::Relaxed))
            {
                too_late.fetch_add(1, Ordering::Relaxed);
            }
        })
    }

    /// Notes that the record is in a batch.
    pub(super) fn appended(&mut self, id: usize, ticket: Ticket, now: Instant) {
        let record = &mut self.records[id];
        let partition = &mut self.partitions[record.partition];
        if let Some(index) = &record.callback {
            index.store(ticket.index, Ordering::Relaxed);
        }
        record.ticket = Some(ticket);
        record.position = Some(partition.next_position);
        record.deadline = now + self.delivery_timeout + SLACK;
        partition.next_position += 1;
        partition.unresolved.push_back(id);
    }

    /// Notes that the record was refused before it was in a batch. It gets no other outcome.
    pub(super) fn refused(&mut self, id: usize) {
        self.records[id].fate = Some(Fate::NotWritten);
        self.records[id].callback = None;
    }

    pub(super) fn is_resolved(&self, id: usize) -> bool {
        let ticket = self.records[id].ticket.as_ref();
        ticket.is_some_and(|ticket| ticket.completion.is_complete(ticket.index))
    }

    /// Returns whether the record's outcome was checked.
    pub(super) fn is_checked(&self, id: usize) -> bool {
        self.records[id].fate.is_some()
    }

    pub(super) fn assert_written(&self, id: usize) {
        let record = &self.records[id];
        let result = record.ticket.as_ref().and_then(Ticket::result);
        assert!(
            matches!(result, Some(Ok(_))),
            "record {id} is not written although all is well: {result:?}"
        );
    }

    pub(super) fn unresolved(&self) -> usize {
        let partitions = self.partitions.iter();
        partitions.map(|partition| partition.unresolved.len()).sum()
    }

    /// Returns the records without an outcome, by partition.
    pub(super) fn unresolved_records(&self) -> Vec<&VecDeque<usize>> {
        let partitions = self.partitions.iter();
        partitions.map(|partition| &partition.unresolved).collect()
    }

    /// Moves earlier deadlines to `now`, because the machine was suspended until then.
    pub(super) fn excuse_until(&mut self, now: Instant) {
        for partition in &self.partitions {
            for &id in &partition.unresolved {
                let record = &mut self.records[id];
                record.deadline = record.deadline.max(now + SLACK);
            }
        }
    }

    /// Returns whether this batch was sent before. The batch that it was split from does not count.
    pub(super) fn was_sent(&self, batch: &SentBatch) -> bool {
        self.records[id_of(&batch.records[0])].begins == batch.records.len()
    }

    /// Returns whether record `id` comes before `other` in its partition.
    pub(super) fn is_before(&self, id: usize, other: usize) -> bool {
        self.records[id].position < self.records[other].position
    }

    /// Checks a batch that a worker writes.
    pub(super) fn sent(&mut self, batch: &SentBatch, cluster_id: Option<&str>) {
        let ids: Vec<usize> = batch.records.iter().map(|value| id_of(value)).collect();
        let partition = &mut self.partitions[batch.partition as usize];
        let positions = ids.iter().map(|id| self.records[*id].position);
        assert!(
            positions.is_sorted(),
            "records change their order in the batch: {ids:?}"
        );
        if self.guarantee == Guarantee::AtLeastOnce {
            return;
        }
        self.records[ids[0]].begins = ids.len();
        let stamp = batch.stamp;
        let cluster = cluster_id.map_or(0, number_of);
        let identity = (cluster, stamp.producer_id, stamp.producer_epoch);
        assert!(stamp.producer_id >= 0, "a batch without a producer id");
        assert!(
            self.given.contains(&(cluster, stamp.producer_id)),
            "a batch under a producer id that cluster {cluster} gave to another producer: {stamp:?}"
        );
        for (&id, number) in ids.iter().zip(0..) {
            let sequence = sequence_after(stamp.base_sequence, number);
            let owner = *partition
                .by_sequence
                .entry((identity, sequence))
                .or_insert(id);
            assert!(
                owner == id,
                "the sequence of record {owner} is used again for {id}: {stamp:?}"
            );
            let before = partition.by_record.insert((identity, id), sequence);
            assert!(
                before.is_none_or(|before| before == sequence),
                "a retry of record {id} changes its sequence {before:?}: {stamp:?}"
            );
            assert!(
                before.is_some() || !partition.broken.contains(&identity),
                "record {id} is sent under an identity under which another batch failed: {stamp:?}"
            );
            self.records[id].identity = Some(identity);
        }
    }

    /// Checks a batch that a broker appends to its log.
    pub(super) fn in_log(
        &mut self,
        batch: &SentBatch,
        (cluster, incarnation): (u32, usize),
        base_offset: i64,
    ) {
        for (value, offset) in batch.records.iter().zip(base_offset..) {
            let id = id_of(value);
            let record = &mut self.records[id];
            assert_eq!(record.partition, batch.partition as usize);
            assert_ne!(
                record.fate,
                Some(Fate::NotWritten),
                "record {id} was reported as not written and is written now"
            );
            let is_there = record.found.iter().any(|(other, _)| *other == incarnation);
            assert!(
                !is_there || self.guarantee == Guarantee::AtLeastOnce,
                "record {id} is in the log twice"
            );
            let before = *record.cluster.get_or_insert(cluster);
            assert_eq!(
                before, cluster,
                "record {id} is in the logs of two clusters"
            );
            record.found.push((incarnation, offset));
        }
    }

    /// Checks the new outcomes: each must be true, and must come in time.
    pub(super) fn look(&mut self, now: Instant) {
        for number in 0..self.partitions.len() {
            let mut unresolved = std::mem::take(&mut self.partitions[number].unresolved);
            unresolved.retain(|&id| {
                let is_resolved = self.is_resolved(id);
                assert!(
                    is_resolved || now <= self.records[id].deadline,
                    "record {id} of partition {number} has no outcome in time: late by {:?}",
                    now - self.records[id].deadline
                );
                if is_resolved {
                    self.resolve(id);
                }
                !is_resolved
            });
            self.partitions[number].unresolved = unresolved;
        }
        assert_eq!(
            self.too_late.load(Ordering::Relaxed),
            0,
            "a future woke before its callback"
        );
    }

    fn resolve(&mut self, id: usize) {
        let record = &self.records[id];
        let result = record.ticket.as_ref().and_then(Ticket::result);
        let result = result.expect("a completed record has a result");
        if let Some(identity) = record.identity.filter(|_| result.is_err()) {
            self.partitions[record.partition].broken.insert(identity);
        }
        match result {
            Ok(written) => {
                self.records[id].fate = Some(Fate::Written);
                self.check_position(id, written.offset);
            }
            Err(error) if error.delivery() == Delivery::NotWritten => {
                assert!(
                    record.found.is_empty(),
                    "record {id} is in the log: {error}"
                );
                self.records[id].fate = Some(Fate::NotWritten);
                self.failed += 1;
            }
            Err(_) => {
                self.records[id].fate = Some(Fate::MaybeWritten);
                self.failed += 1;
            }
        }
        self.resolved += 1;
    }

    /// Checks that an acknowledged record is in the log at its offset, between its neighbours.
    fn check_position(&mut self, id: usize, reported: Option<i64>) {
        let record = &self.records[id];
        let mut found = record.found.iter().rev();
        let found = found.find(|(_, offset)| reported.is_none_or(|reported| reported == *offset));
        let Some(&(incarnation, offset)) = found else {
            panic!(
                "record {id} is acknowledged at {reported:?} and is at {:?}",
                record.found
            );
        };
        if self.guarantee == Guarantee::AtLeastOnce {
            return;
        }
        let position = record.position.expect("it was in a batch");
        let acknowledged = &mut self.partitions[record.partition].acknowledged;
        let before = acknowledged
            .range((incarnation, 0)..(incarnation, position))
            .next_back();
        let behind = acknowledged
            .range((incarnation, position + 1)..(incarnation, usize::MAX))
            .next();
        assert!(
            before.is_none_or(|(_, before)| *before < offset)
                && behind.is_none_or(|(_, behind)| *behind > offset),
            "record {id} at position {position} of its partition is at offset {offset}, out of order with {before:?} and {behind:?}"
        );
        acknowledged.insert((incarnation, position), offset);
    }

    /// Checks at the end that each callback has run once, and in order if nothing went wrong.
    pub(super) fn check_callbacks(&self, in_order: bool) {
        let called = self.called.lock();
        let mut times = vec![0; self.records.len()];
        let mut latest = vec![0; self.partitions.len()];
        for &id in called.iter() {
            times[id] += 1;
            let record = &self.records[id];
            let (position, latest) = (record.position.unwrap(), &mut latest[record.partition]);
            assert!(
                !in_order || position >= *latest,
                "the callback of record {id} ran after that of a later record"
            );
            *latest = position;
        }
        for (id, record) in self.records.iter().enumerate() {
            let due = usize::from(record.callback.is_some());
            assert_eq!(times[id], due, "calls of the callback of record {id}");
            assert!(record.fate.is_some(), "record {id} has no outcome");
        }
    }

    /// Returns whether all records in the partition's log have an outcome.
    pub(super) fn knows_all_in_log(&self, partition: usize) -> bool {
        let unresolved = self.partitions[partition].unresolved.iter();
        unresolved
            .map(|id| &self.records[*id])
            .all(|record| record.found.is_empty())
    }
}
