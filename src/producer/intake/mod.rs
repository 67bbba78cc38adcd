//! The path of a record into its partition's batch. It runs on the caller's thread, after key and value are serialized.
//!
//! # The fast path
//!
//! Nearly every record takes the fast path. It finds the topic among those that the thread keeps, chooses the partition,
//! takes the partition's lock, and encodes the record into the open batch. `send` does this in [`Intake::append`];
//! `send_all` in [`Intake::append_run`], for up to 64 records with one look-up and one lock.
//!
//! The fast path is short because it waits for no memory and no metadata. It appends only if the open batch has room for
//! this record and another one of the same size. So the batch does not become full, and no worker must be woken. The only
//! lock is the partition's. The fast path allocates nothing, unless the list of callbacks grows or a callback is boxed. Its
//! results fit two registers. At each return, a larger result would be written to memory and read back in other sizes, and
//! the processor would wait for that. These waits took a third of the time of `send`.
//!
//! Every other record takes the slow path (`slow_path.rs`). The fast path changes nothing before it leaves a record to the
//! slow path. These are the reasons:
//! - the topic or the partition is not known;
//! - the user's partitioner must choose the partition;
//! - no sticky partition is chosen, or its sticky turn may end with this record (the rule is in
//!   [`open_batch`](crate::accumulator::open_batch));
//! - no batch is open, or the open batch has too little room for the record or for its callback;
//! - other threads often hold the lock of the sticky partition, so this thread moves to another sticky slot.

mod slow_path;

use std::sync::Arc;

use crate::accumulator::batch::RecordDetails;
use crate::accumulator::callbacks::OfferedCallback;
use crate::accumulator::completion::RecordHandle;
use crate::accumulator::open_batch::{OpenBatchGuard, SerializedRecord, largest_record};
use crate::accumulator::partition::Partition;
use crate::accumulator::sticky_partitioner::{Preferences, StickySlot};
use crate::accumulator::topics::Topic;
use crate::error::{Error, ErrorKind};
use crate::record::builder::{quick_upper_bound, upper_bound_size};

use super::engine::Engine;
use super::headers::Header;
use super::murmur2::partition_for_key;
use super::partitioner::Partitioner;

/// Appends records: chooses their partitions, and waits for metadata and memory if it must.
pub(super) struct Intake {
    pub(super) engine: Arc<Engine>,
    /// The user's partitioner; `None` for the built-in one.
    pub(super) partitioner: Option<Arc<dyn Partitioner>>,
    /// `partitioner.ignore.keys`.
    ignore_keys: bool,
    /// The upper bound of the size of a record that `max.request.size` and `buffer.memory` allow.
    largest_record: usize,
}

/// A record whose key and value are serialized.
pub(super) struct Outbound<'a> {
    pub(super) topic: &'a str,
    pub(super) partition: Option<i32>,
    pub(super) timestamp_ms: Option<i64>,
    pub(super) key: Option<&'a [u8]>,
    pub(super) value: Option<&'a [u8]>,
    pub(super) headers: &'a [Header],
}

impl<'a> Outbound<'a> {
    /// Returns the record's own timestamp. If it has none, returns the time of the partition's worker.
    #[inline]
    fn timestamp_at(&self, partition: &Partition) -> i64 {
        self.timestamp_ms
            .unwrap_or_else(|| partition.worker().clock().now_ms())
    }

    #[inline]
    fn serialized(&self, timestamp_ms: i64) -> SerializedRecord<'a, Header> {
        SerializedRecord {
            timestamp_ms,
            key: self.key,
            value: self.value,
            headers: self.headers,
        }
    }

    /// The number of bytes of key and value.
    pub(super) fn bytes(&self) -> usize {
        self.key.map_or(0, <[u8]>::len) + self.value.map_or(0, <[u8]>::len)
    }

    /// Returns the properties of the record that its future keeps.
    #[inline]
    pub(super) fn details(&self, timestamp_ms: i64) -> RecordDetails {
        self.serialized(timestamp_ms).details()
    }

    /// Adds the record's topic to an error, and its partition if the record names one.
    fn locate(&self, error: Error) -> Error {
        error.with_topic(self.topic, self.partition)
    }
}

/// Whether a call may wait.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Blocking {
    UpToMaxBlock,
    Never,
}

/// The partition for a record.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Choice {
    partition: i32,
    /// Whether the sticky partitioner chose it.
    is_sticky: bool,
}

impl Intake {
    pub(super) fn new(engine: Arc<Engine>, partitioner: Option<Arc<dyn Partitioner>>) -> Self {
        let config = &engine.config;
        Self {
            ignore_keys: config.partitioner_ignore_keys,
            largest_record: config
                .max_request_size
                .min(largest_record(config.buffer_memory)),
            partitioner,
            engine,
        }
    }

    /// Appends the record to its partition's open batch. Waits for metadata and memory as `blocking` allows. Sets
    /// `timestamp_ms` to the record's timestamp.
    #[inline]
    pub(super) fn append(
        &self,
        record: &Outbound<'_>,
        timestamp_ms: &mut i64,
        callback: &mut impl OfferedCallback,
        blocking: Blocking,
    ) -> Result<RecordHandle, Error> {
        let upper_bound = quick_upper_bound(record.key, record.value, record.headers);
        if upper_bound > self.largest_record {
            self.check_size(record)?;
        }
        match self.append_at_once(record, timestamp_ms, upper_bound, callback) {
            Some(handle) => Ok(handle),
            None => self.append_or_wait(record, timestamp_ms, callback, blocking),
        }
    }

    /// Appends one record on the fast path. Returns `None` if the record needs the slow path. Then nothing was appended.
    #[inline]
    fn append_at_once(
        &self,
        record: &Outbound<'_>,
        timestamp_ms: &mut i64,
        upper_bound: usize,
        callback: &mut impl OfferedCallback,
    ) -> Option<RecordHandle> {
        if self.needs_partitioner(record) {
            return None;
        }
        let topics = &self.engine.accumulator.topics;
        topics.look_up(record.topic, |topic, slot| {
            let choice = self.choose(topic, slot, record)?;
            let partition = topic
                .partitions()
                .get(usize::try_from(choice.partition).ok()?)?;
            topic.mark_used();
            *timestamp_ms = record.timestamp_at(partition);
            let serialized = record.serialized(*timestamp_ms);
            self.lock(partition, choice.is_sticky, topic, slot)?
                .append_in_room(&serialized, upper_bound, choice.is_sticky, callback)
        })
    }

    /// Appends the first of `records` on the fast path: those that go to the same partition and for which its open batch
    /// has room. Returns the handle of the first record and the number of appended records. `None` if the first record
    /// needs the slow path.
    pub(super) fn append_run(&self, records: &[Outbound<'_>]) -> Option<(RecordHandle, usize)> {
        let first = records
            .first()
            .filter(|first| !self.needs_partitioner(first))?;
        let topics = &self.engine.accumulator.topics;
        topics.look_up(first.topic, |topic, slot| {
            let choice = self.choose(topic, slot, first)?;
            let partition = topic
                .partitions()
                .get(usize::try_from(choice.partition).ok()?)?;
            topic.mark_used();
            let belongs = |record: &Outbound<'_>| {
                let is_same_topic =
                    std::ptr::eq(record.topic, first.topic) || record.topic == first.topic;
                is_same_topic
                    && !self.needs_partitioner(record)
                    && self.choose(topic, slot, record) == Some(choice)
            };
            let run = records.iter().map_while(|record| {
                let upper_bound = quick_upper_bound(record.key, record.value, record.headers);
                let is_part = std::ptr::eq(record, first) || belongs(record);
                (is_part && upper_bound <= self.largest_record).then(|| {
                    (
                        record.serialized(record.timestamp_at(partition)),
                        upper_bound,
                    )
                })
            });
            self.lock(partition, choice.is_sticky, topic, slot)?
                .append_run(run, choice.is_sticky)
        })
    }

    /// Locks the partition's open batch. Returns `None` if the thread has moved to another sticky slot. Then the record
    /// goes to the partition of that slot.
    #[inline]
    fn lock<'a>(
        &self,
        partition: &'a Partition,
        is_sticky: bool,
        topic: &Topic,
        slot: &StickySlot,
    ) -> Option<OpenBatchGuard<'a>> {
        if !is_sticky {
            return Some(partition.lock());
        }
        partition
            .try_lock()
            .or_else(|| self.lock_or_change_slot(partition, topic, slot))
    }

    #[cold]
    fn lock_or_change_slot<'a>(
        &self,
        partition: &'a Partition,
        topic: &Topic,
        slot: &StickySlot,
    ) -> Option<OpenBatchGuard<'a>> {
        let contended = partition.partition();
        let preferences = self.preferences();
        let has_changed = self.engine.accumulator.memory.is_mostly_free()
            && topic
                .sticky
                .change_slot(slot, contended, topic, &preferences);
        (!has_changed).then(|| partition.lock())
    }

    /// Returns whether the user's partitioner must choose the partition.
    #[inline]
    fn needs_partitioner(&self, record: &Outbound<'_>) -> bool {
        self.partitioner.is_some() && record.partition.is_none()
    }

    /// Returns the partition for a record that does not need the user's partitioner. `None` if the sticky partitioner must
    /// choose a partition first.
    #[inline]
    fn choose(&self, topic: &Topic, slot: &StickySlot, record: &Outbound<'_>) -> Option<Choice> {
        match self.fixed_partition(topic, record.partition, record.key) {
            Some(partition) => Some(Choice {
                partition,
                is_sticky: false,
            }),
            None => Some(Choice {
                partition: topic.sticky.chosen(slot)?,
                is_sticky: true,
            }),
        }
    }

    /// Returns the partition that the record names, or else the partition of its key. `None` if the sticky partitioner
    /// chooses the partition.
    #[inline]
    fn fixed_partition(
        &self,
        topic: &Topic,
        named: Option<i32>,
        key: Option<&[u8]>,
    ) -> Option<i32> {
        let key = key.filter(|_| !self.ignore_keys);
        named.or_else(|| key.map(|key| partition_for_key(key, topic.partitions().len())))
    }

    #[cold]
    fn check_size(&self, record: &Outbound<'_>) -> Result<(), Error> {
        let config = &self.engine.config;
        let size = upper_bound_size(
            record.key.map(<[u8]>::len),
            record.value.map(<[u8]>::len),
            record.headers,
        );
        if size <= self.largest_record {
            return Ok(());
        }
        let (limit, setting) = if size > config.max_request_size {
            (config.max_request_size, "max.request.size")
        } else {
            (config.buffer_memory, "buffer.memory")
        };
        let message = format!(
            "the record takes {size} bytes when serialized, more than {setting}={limit} allows"
        );
        Err(record.locate(Error::new(ErrorKind::RecordTooLarge, message)))
    }

    fn preferences(&self) -> Preferences<'_> {
        Preferences {
            is_adaptive: self.engine.config.partitioner_adaptive_partitioning,
            unavailable: self.engine.accumulator.unavailable_brokers(),
        }
    }
}
