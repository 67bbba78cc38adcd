//! A record's way into its partition's batch, on the caller's thread, once its key and value are bytes.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::accumulator::batch::RecordDetails;
use crate::accumulator::callbacks::OfferedCallback;
use crate::accumulator::completion::RecordHandle;
use crate::accumulator::memory::{MemoryLimit, Reservation, Shortage, WaitError};
use crate::accumulator::open_batch::{
    Append, OpenBatchGuard, SerializedRecord, Wake, largest_record,
};
use crate::accumulator::partition::Partition;
use crate::accumulator::sticky_partitioner::{Stickiness, StickySlot};
use crate::accumulator::topics::Topic;
use crate::error::{Error, ErrorKind};
use crate::record::builder::{quick_upper_bound, upper_bound_size};
use crate::time::deadline_after;
use crate::topic_partition::TopicPartition;

use super::engine::Engine;
use super::headers::Header;
use super::murmur2::partition_for_key;
use super::partitioner::Partitioner;

/// Takes records in: chooses their partitions, appends, and waits for metadata and memory where it must.
pub(super) struct Intake {
    pub(super) engine: Arc<Engine>,
    /// None: the default partitioner.
    pub(super) partitioner: Option<Arc<dyn Partitioner>>,
    /// `partitioner.ignore.keys`.
    ignore_keys: bool,
    /// The upper bound of the size of a record that `max.request.size` and `buffer.memory` allow.
    largest_record: usize,
}

/// A record whose key and value are bytes.
pub(super) struct Outbound<'a> {
    pub(super) topic: &'a str,
    pub(super) partition: Option<i32>,
    pub(super) timestamp_ms: Option<i64>,
    pub(super) key: Option<&'a [u8]>,
    pub(super) value: Option<&'a [u8]>,
    pub(super) headers: &'a [Header],
}

impl<'a> Outbound<'a> {
    /// The record's own timestamp, or the time as the partition's worker knows it.
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

    /// The bytes of key and value.
    pub(super) fn bytes(&self) -> usize {
        self.key.map_or(0, <[u8]>::len) + self.value.map_or(0, <[u8]>::len)
    }

    /// What a future knows of the record.
    #[inline]
    pub(super) fn details(&self, timestamp_ms: i64) -> RecordDetails {
        self.serialized(timestamp_ms).details()
    }

    /// Names the record's topic, and its partition if one was chosen, in an error.
    fn locate(&self, error: Error) -> Error {
        error.with_topic(self.topic, self.partition)
    }
}

/// What a call may wait for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Blocking {
    UpToMaxBlock,
    Never,
}

/// How often a record without a key is led to another partition before it waits for memory.
const MOST_DETOURS: usize = 24;

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

    /// Appends to the partition's open batch; waits for metadata and memory as `blocking` allows. `timestamp_ms` is set to
    /// the record's timestamp.
    ///
    /// What this and the functions below return fits two registers. A larger result would be written to memory and read
    /// again, in other portions, at each return, for which a processor waits: that was a third of the time of `send`.
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
            Some(placed) => Ok(placed),
            None => self.append_or_wait(record, timestamp_ms, callback, blocking),
        }
    }

    /// What nearly every record meets: its topic is known, and its partition's open batch has room for it and more, so
    /// that there is nobody to wake and nothing to decide. None: nothing was appended.
    #[inline]
    fn append_at_once(
        &self,
        record: &Outbound<'_>,
        timestamp_ms: &mut i64,
        upper_bound: usize,
        callback: &mut impl OfferedCallback,
    ) -> Option<RecordHandle> {
        if self.must_ask(record) {
            return None;
        }
        let topics = &self.engine.accumulator.topics;
        topics.look_up(record.topic, |topic, lane| {
            let (number, is_sticky) = self.choose(topic, lane, record)?;
            let partition = topic.partitions().get(usize::try_from(number).ok()?)?;
            topic.mark_used();
            *timestamp_ms = record.timestamp_at(partition);
            let serialized = record.serialized(*timestamp_ms);
            self.lock(partition, is_sticky, topic, lane)?
                .append_in_room(&serialized, upper_bound, is_sticky, callback)
        })
    }

    /// Appends as many of the first of `records` as belong to one partition and have room in its open batch: as
    /// [`append_at_once`](Self::append_at_once), with one look-up and one lock. Each has a timestamp.
    pub(super) fn append_run(&self, records: &[Outbound<'_>]) -> Option<(RecordHandle, usize)> {
        let first = records.first().filter(|first| !self.must_ask(first))?;
        let topics = &self.engine.accumulator.topics;
        topics.look_up(first.topic, |topic, lane| {
            let (number, is_sticky) = self.choose(topic, lane, first)?;
            let partition = topic.partitions().get(usize::try_from(number).ok()?)?;
            topic.mark_used();
            let belongs = |record: &Outbound<'_>| {
                let is_same_topic =
                    std::ptr::eq(record.topic, first.topic) || record.topic == first.topic;
                is_same_topic
                    && !self.must_ask(record)
                    && self.choose(topic, lane, record) == Some((number, is_sticky))
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
            self.lock(partition, is_sticky, topic, lane)?
                .append_run(run, is_sticky)
        })
    }

    /// None where others are often at work on the sticky partition and there is another lane: the record goes there.
    #[inline]
    fn lock<'a>(
        &self,
        partition: &'a Partition,
        is_sticky: bool,
        topic: &Topic,
        lane: &StickySlot,
    ) -> Option<OpenBatchGuard<'a>> {
        if !is_sticky {
            return Some(partition.lock());
        }
        partition
            .try_lock()
            .or_else(|| self.lock_or_step_aside(partition, topic, lane))
    }

    #[cold]
    fn lock_or_step_aside<'a>(
        &self,
        partition: &'a Partition,
        topic: &Topic,
        lane: &StickySlot,
    ) -> Option<OpenBatchGuard<'a>> {
        let taken = partition.partition();
        let how = self.stickiness();
        let has_gone = self.engine.accumulator.memory.is_ample()
            && topic.sticky.step_aside(lane, taken, topic, &how);
        (!has_gone).then(|| partition.lock())
    }

    /// Whether a partitioner of the user's has to choose.
    #[inline]
    fn must_ask(&self, record: &Outbound<'_>) -> bool {
        self.partitioner.is_some() && record.partition.is_none()
    }

    /// The partition for `record`, and whether it is the sticky one. None where that is not known at once. No partitioner
    /// has to be asked.
    #[inline]
    fn choose(
        &self,
        topic: &Topic,
        lane: &StickySlot,
        record: &Outbound<'_>,
    ) -> Option<(i32, bool)> {
        match self.fixed_partition(topic, record.partition, record.key) {
            Some(number) => Some((number, false)),
            None => Some((topic.sticky.chosen(lane)?, true)),
        }
    }

    /// The partition that the record names or its key belongs to, if it is to be one of these.
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

    /// As [`append`](Self::append), whatever there is to do. One deadline bounds both waits, and the clock is not read for
    /// it where there is no wait.
    #[inline(never)]
    fn append_or_wait(
        &self,
        record: &Outbound<'_>,
        timestamp_ms: &mut i64,
        callback: &mut dyn OfferedCallback,
        blocking: Blocking,
    ) -> Result<RecordHandle, Error> {
        let max_block = match blocking {
            Blocking::UpToMaxBlock => self.engine.longest_wait(),
            Blocking::Never => Duration::ZERO,
        };
        let mut wait = Wait {
            max_block,
            deadline: None,
        };
        let mut chosen = record.partition;
        if let (None, Some(partitioner)) = (chosen, &self.partitioner) {
            chosen = Some(self.ask_partitioner(&**partitioner, record, &mut wait)?);
        }
        let memory = &self.engine.accumulator.memory;
        let mut spare: Option<Reservation> = None;
        let mut detours = 0;
        loop {
            let topics = &self.engine.accumulator.topics;
            let attempt = topics.look_up(record.topic, |topic, lane| {
                self.append_to(topic, lane, chosen, record, callback, &mut spare)
            });
            // The topic, or the partition that the record names, is not known yet.
            let Some(attempt) = attempt else {
                self.wait_for_partition(record, chosen, &mut wait)?;
                // After a close the topic may be known and still not come.
                self.engine.check_open()?;
                continue;
            };
            if let Some((partition, wake)) = attempt.to_wake {
                partition.worker().wake(wake);
            }
            match attempt.append {
                Append::Done { record, .. } => {
                    *timestamp_ms = attempt.timestamp_ms;
                    return Ok(record);
                }
                Append::NeedsMemory { .. } if attempt.moved_on && detours < MOST_DETOURS => {
                    detours += 1;
                }
                Append::NeedsMemory { shortage, .. } if shortage.bytes > memory.total() => {
                    return Err(too_large_with_callback(record, &shortage, memory.total()));
                }
                Append::NeedsMemory { shortage, .. } => {
                    // Too little of it is of no use, and waiting with it in hand could make others wait in a circle.
                    drop(spare.take());
                    spare =
                        self.wait_for_memory(record, attempt.partition, &shortage, &mut wait)?;
                }
                Append::Closed => return Err(self.engine.closed_error()),
                // Nothing is reserved while the topic is looked up anew.
                Append::Retired => drop(spare.take()),
            }
        }
    }

    /// With the thread's place for the topic borrowed: nothing here asks for topics, or blocks. None if the topic has no such
    /// partition.
    fn append_to(
        &self,
        topic: &Topic,
        lane: &StickySlot,
        chosen: Option<i32>,
        record: &Outbound<'_>,
        callback: &mut dyn OfferedCallback,
        spare: &mut Option<Reservation>,
    ) -> Option<Attempt> {
        let config = &self.engine.config;
        lane.forget_collisions();
        let (number, is_sticky) = match self.fixed_partition(topic, chosen, record.key) {
            Some(number) => (number, false),
            None => (topic.sticky.current(lane, topic, &self.stickiness()), true),
        };
        let partition = topic.partitions().get(usize::try_from(number).ok()?)?;
        topic.mark_used();
        let timestamp_ms = record.timestamp_at(partition);
        let append = partition.append(&record.serialized(timestamp_ms), is_sticky, callback, spare);
        let mut moved_on = false;
        let wake = match &append {
            Append::Done {
                record: RecordHandle { index, .. },
                wake,
                is_turn_over,
            } => {
                if is_sticky && *is_turn_over {
                    topic.sticky.switch(lane, number, topic, &self.stickiness());
                }
                if is_sticky && (*index == 0 || !self.engine.accumulator.memory.is_ample()) {
                    lane.return_to_first();
                }
                *wake
            }
            Append::NeedsMemory { wake, shortage } => {
                // A record without a key need not wait for a broker that takes nothing.
                moved_on = is_sticky
                    && config.partitioner_adaptive_partitioning
                    && shortage.limit == MemoryLimit::Share;
                if moved_on {
                    topic.sticky.switch(lane, number, topic, &self.stickiness());
                }
                // Nor to begin a batch, while there is one in the first lane.
                moved_on |= is_sticky && lane.return_to_first();
                *wake
            }
            Append::Closed | Append::Retired => Wake::None,
        };
        Some(Attempt {
            append,
            timestamp_ms,
            moved_on,
            partition: number,
            to_wake: (wake != Wake::None).then(|| (Arc::clone(partition), wake)),
        })
    }

    fn stickiness(&self) -> Stickiness<'_> {
        Stickiness {
            adaptive: self.engine.config.partitioner_adaptive_partitioning,
            unavailable: self.engine.accumulator.unavailable_brokers(),
        }
    }

    #[cold]
    fn ask_partitioner(
        &self,
        partitioner: &dyn Partitioner,
        record: &Outbound<'_>,
        wait: &mut Wait,
    ) -> Result<i32, Error> {
        let mut cluster = self.engine.metadata.cluster();
        if cluster.topic(record.topic).is_none() {
            self.wait_for_partition(record, None, wait)?;
            cluster = self.engine.metadata.cluster();
        }
        let failed = |message: String| record.locate(Error::new(ErrorKind::Partitioner, message));
        let chosen = partitioner
            .partition(record.topic, record.key, record.value, &cluster)
            .map_err(|source| failed("the partitioner failed".into()).with_source(source))?;
        let count = cluster
            .topic(record.topic)
            .map_or(0, |topic| topic.partitions().len());
        if usize::try_from(chosen).is_ok_and(|chosen| chosen < count) {
            return Ok(chosen);
        }
        Err(failed(format!(
            "the partitioner chose partition {chosen} of a topic with {count}"
        )))
    }

    #[cold]
    fn wait_for_partition(
        &self,
        record: &Outbound<'_>,
        chosen: Option<i32>,
        wait: &mut Wait,
    ) -> Result<(), Error> {
        super::record::check_topic_name(record.topic)?;
        let deadline = wait.deadline();
        self.engine
            .wait_for_topic(record.topic, chosen, wait.max_block, deadline)
            .map(drop)
            .map_err(|error| match error.topic() {
                Some(_) => error,
                None => record.locate(error),
            })
    }

    #[cold]
    fn wait_for_memory(
        &self,
        record: &Outbound<'_>,
        partition: i32,
        shortage: &Shortage,
        wait: &mut Wait,
    ) -> Result<Option<Reservation>, Error> {
        let accumulator = &self.engine.accumulator;
        if self.engine.owns_this_thread() {
            if let Some(reservation) = accumulator.take_allowance(shortage) {
                return Ok(Some(reservation));
            }
        }
        let place = TopicPartition::new(record.topic, partition);
        let error = match accumulator.reserve(shortage, wait.deadline()) {
            Ok(reservation) => return Ok(Some(reservation)),
            Err(WaitError::ShareChanged) => return Ok(None),
            Err(error) => error,
        };
        let error = match error {
            WaitError::Closed if accumulator.has_panicked() => self.engine.closed_error(),
            WaitError::Closed => Error::new(
                ErrorKind::Closed,
                "the producer was closed while the record waited for memory",
            ),
            _ => exhausted(shortage, accumulator.memory.total(), wait),
        };
        Err(error.with_topic_partition(place))
    }
}

/// A try to append, with what is to be done when no place is borrowed any more.
struct Attempt {
    append: Append,
    timestamp_ms: i64,
    /// Another partition was chosen, or the same again, since there was no memory for this one.
    moved_on: bool,
    partition: i32,
    to_wake: Option<(Arc<Partition>, Wake)>,
}

/// The record alone would fit, or it had been refused before: the rest is its callback's.
#[cold]
fn too_large_with_callback(record: &Outbound<'_>, shortage: &Shortage, total: usize) -> Error {
    let bytes = shortage.bytes;
    let message = format!(
        "the record takes {bytes} bytes with its callback, more than buffer.memory={total} allows"
    );
    record.locate(Error::new(ErrorKind::RecordTooLarge, message))
}

/// What to tell of memory that was not had.
fn exhausted(shortage: &Shortage, total: usize, wait: &Wait) -> Error {
    let Shortage { bytes, share, .. } = shortage;
    let mut message = match wait.max_block.as_millis() {
        0 => format!("no {bytes} bytes of buffer.memory={total} are free"),
        ms => format!("no {bytes} bytes of buffer.memory={total} became free within {ms} ms"),
    };
    let Some(broker) = share.broker() else {
        return Error::new(ErrorKind::BufferExhausted, message);
    };
    let _ = write!(
        message,
        " for records to broker {broker}, which hold {}",
        share.used()
    );
    let advice = format!(
        "check that broker {broker} takes what it is sent, send more slowly, or raise buffer.memory or max.block.ms"
    );
    Error::new(ErrorKind::BufferExhausted, message).with_advice(advice)
}

/// One call's budget for waiting.
struct Wait {
    max_block: Duration,
    deadline: Option<Instant>,
}

impl Wait {
    fn deadline(&mut self) -> Instant {
        *self
            .deadline
            .get_or_insert_with(|| deadline_after(Instant::now(), self.max_block))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::sync::{Arc, Mutex};
    use std::time::{Duration, Instant};

    use crate::mock::{Fault, MockApi, MockCluster, PartitionError};
    use crate::{ErrorCode, KafkaProducer, ProducerRecord};

    const PATIENCE: Duration = Duration::from_secs(20);

    fn record(partition: i32, bytes: usize) -> ProducerRecord<Vec<u8>, Vec<u8>> {
        ProducerRecord::new("t", vec![b'v'; bytes]).partition(partition)
    }

    /// Waits for what nobody tells of.
    fn eventually(condition: impl Fn() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !condition() {
            assert!(Instant::now() < deadline);
            std::thread::park_timeout(Duration::from_millis(1));
        }
    }

    #[test]
    fn a_callback_sends_its_record_again_though_a_caller_has_the_memory_that_it_gave_back() {
        let cluster = MockCluster::start(1).unwrap();
        cluster.create_topic("t", 2);
        let producer = KafkaProducer::<Vec<u8>, Vec<u8>>::builder()
            .bootstrap_servers(cluster.bootstrap_servers())
            .buffer_memory(64 << 10)
            .linger(Duration::ZERO)
            .max_in_flight_requests_per_connection(1)
            .build()
            .unwrap();
        producer.send(record(1, 1)).unwrap().get(PATIENCE).unwrap();
        // The first request is refused when the caller waits, the second one is held until the callback has sent.
        let (refuse, refused) = mpsc::channel::<()>();
        let (hold, held) = mpsc::channel::<()>();
        let (refused, held) = (Mutex::new(refused), Mutex::new(held));
        cluster.on(MockApi::Produce, move |request| {
            if request
                .batches()
                .iter()
                .any(|batch| batch.topic_partition.partition() == 0)
            {
                let _ = refused.lock().unwrap().recv();
            } else {
                let _ = held.lock().unwrap().recv();
            }
            let error = PartitionError::new("t", 0, ErrorCode::INVALID_RECORD);
            Fault::PartitionErrors(vec![error])
        });
        let (answer, answered) = mpsc::channel();
        let again = producer.clone();
        let callback = move |_| answer.send(again.send(record(1, 20_000))).unwrap();
        drop(producer.send_with(record(0, 20_000), callback).unwrap());
        assert!(
            cluster.wait_until(PATIENCE, |cluster| cluster.request_count(MockApi::Produce)
                == 2)
        );
        let next = producer.send(record(1, 20_000)).unwrap();
        let memory = Arc::clone(&producer.inner.intake.engine.accumulator.memory);
        let before = memory.waits();
        std::thread::scope(|scope| {
            let caller = scope.spawn(|| producer.send(record(1, 40_000)));
            eventually(|| memory.waits() > before);
            drop(refuse);
            let waited = caller.join().unwrap().unwrap();
            let again = answered.recv_timeout(PATIENCE).unwrap().unwrap();
            drop(hold);
            for future in [waited, again, next] {
                future.get(PATIENCE).unwrap();
            }
        });
        producer.close(PATIENCE).unwrap();
    }
}
