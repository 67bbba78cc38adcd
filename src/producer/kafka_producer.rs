//! The producer itself: `send` and its relatives, on the caller's thread.

use std::cell::Cell;
use std::fmt;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::accumulator::batch::{RecordCallback, RecordDetails, SettledRecord};
use crate::accumulator::memory::{Reservation, ReserveError, Shortage};
use crate::accumulator::partition::{
    Append, Missing, Partition, SerializedRecord, Wake, least_memory,
};
use crate::accumulator::sticky_partitioner::Stickiness;
use crate::accumulator::topics::Topic;
use crate::error::{Error, ErrorKind};
use crate::metadata::PartitionMetadata;
use crate::record::builder::upper_bound_size;
use crate::time::{deadline_after, wall_clock_ms};
use crate::topic_partition::TopicPartition;

use super::builder::ProducerBuilder;
use super::config::PartitionerClass;
use super::engine::Engine;
use super::future::{Future, record_metadata};
use super::headers::{Header, Headers};
use super::murmur2::partition_for_key;
use super::partitioner::{Partitioner, RoundRobinPartitioner};
use super::record::{ProducerRecord, RecordMetadata};
use super::send_all_error::SendAllError;
use super::send_error::SendError;
use super::serializer::{BoxError, Serializer};

/// A producer of records with keys `K` and values `V` for Apache Kafka.
///
/// Cheap to clone, and every method takes `&self`: one producer serves all threads of a program. Records that one thread
/// sends to one partition are written in the order of its calls. Its own threads batch and send them; they end with
/// [`close`](Self::close) or when the last clone is dropped.
///
/// ```no_run
/// use std::time::Duration;
/// use kafka_producer::{KafkaProducer, ProducerRecord};
///
/// # fn main() -> Result<(), kafka_producer::Error> {
/// let producer = KafkaProducer::<String, String>::builder().bootstrap_servers("localhost:9092").build()?;
/// let record = ProducerRecord::new("forest-defense", "Prepare for battle!".into()).key("robin".into());
/// let metadata = producer.send(record)?.get(Duration::from_secs(30))?;
/// println!("written to {metadata}");
/// producer.close(Duration::from_secs(30))?;
/// # Ok(())
/// # }
/// ```
pub struct KafkaProducer<K, V> {
    inner: Arc<Inner<K, V>>,
}

struct Inner<K, V> {
    engine: Arc<Engine>,
    key_serializer: Box<dyn Serializer<K>>,
    value_serializer: Box<dyn Serializer<V>>,
    /// None: the default partitioner.
    partitioner: Option<Arc<dyn Partitioner>>,
}

/// How long the last clone's drop waits for records to be delivered. Whoever wants another time calls `close`.
const DROP_TIMEOUT: Duration = Duration::from_secs(10);

impl<K, V> KafkaProducer<K, V> {
    /// Begins a producer with Kafka's defaults.
    pub fn builder() -> ProducerBuilder<K, V> {
        ProducerBuilder::new()
    }

    /// Hands a record over to be delivered, and returns where its outcome will be.
    ///
    /// Blocks only for the metadata of a topic (or partition) that is not known yet and for memory while `buffer.memory`
    /// is full, both together for `max.block.ms` at most; the time that serializers and the partitioner take is their
    /// own.
    ///
    /// # Errors
    /// A refused record comes back in the error and was not written. Kinds: [`MetadataTimeout`](ErrorKind::MetadataTimeout),
    /// [`UnknownPartition`](ErrorKind::UnknownPartition), [`InvalidTopic`](ErrorKind::InvalidTopic) and
    /// [`Authorization`](ErrorKind::Authorization) where the topic cannot be had; [`BufferExhausted`](ErrorKind::BufferExhausted);
    /// [`RecordTooLarge`](ErrorKind::RecordTooLarge) above `max.request.size` or `buffer.memory`;
    /// [`Serialization`](ErrorKind::Serialization), [`Partitioner`](ErrorKind::Partitioner),
    /// [`InvalidArgument`](ErrorKind::InvalidArgument); [`Closed`](ErrorKind::Closed). What fails later is told by the
    /// future.
    pub fn send(&self, record: ProducerRecord<K, V>) -> Result<Future, SendError<K, V>> {
        self.inner.send(record, None, Blocking::UpToMaxBlock)
    }

    /// As [`send`](Self::send), and calls `callback` with the outcome.
    ///
    /// Callbacks run on a thread of their own, one after the other, for each partition in the order of its records; a
    /// slow one holds up other callbacks, and the memory of its batch, but no sending. A panic in one is caught and
    /// logged. The future, and a [`flush`](Self::flush), wait for the callbacks of the record's batch. A refused record's
    /// callback is not called.
    ///
    /// # Errors
    /// As `send`; also [`Resource`](ErrorKind::Resource) if the thread for callbacks cannot be started.
    pub fn send_with(
        &self,
        record: ProducerRecord<K, V>,
        callback: impl FnOnce(Result<RecordMetadata, Error>) + Send + 'static,
    ) -> Result<Future, SendError<K, V>> {
        if let Err(error) = self.inner.engine.start_deliveries() {
            return Err(SendError::new(error, record));
        }
        let callback = move |settled: SettledRecord<'_>| callback(record_metadata(settled));
        self.inner
            .send(record, Some(Box::new(callback)), Blocking::UpToMaxBlock)
    }

    /// As [`send`](Self::send), but never blocks.
    ///
    /// # Errors
    /// As `send`. Where `send` would wait, for metadata or memory, the record comes back at once; metadata is asked for
    /// all the same, so that a later try finds it.
    pub fn try_send(&self, record: ProducerRecord<K, V>) -> Result<Future, SendError<K, V>> {
        self.inner.send(record, None, Blocking::Never)
    }

    /// Sends many records, in order, and returns their futures in the same order. Blocks as [`send`](Self::send) does,
    /// for each record. All records without a timestamp of their own get the time of the call.
    ///
    /// # Errors
    /// Stops at the first record that is refused. The error holds the futures of those before it, the refused record and
    /// the records behind it: nothing is lost.
    pub fn send_all<I>(&self, records: I) -> Result<Vec<Future>, SendAllError<K, V>>
    where
        I: IntoIterator<Item = ProducerRecord<K, V>>,
    {
        let mut records = records.into_iter();
        let mut futures = Vec::with_capacity(records.size_hint().0);
        let now_ms = wall_clock_ms();
        while let Some(mut record) = records.next() {
            let own_timestamp = record.timestamp.is_some();
            record.timestamp.get_or_insert(now_ms);
            match self.inner.send(record, None, Blocking::UpToMaxBlock) {
                Ok(future) => futures.push(future),
                Err(refused) => {
                    let (error, mut record) = refused.into_parts();
                    if !own_timestamp {
                        record.timestamp = None;
                    }
                    return Err(SendAllError::new(
                        futures,
                        SendError::new(error, record),
                        records.collect(),
                    ));
                }
            }
        }
        Ok(futures)
    }

    /// Sends everything that was handed over before this call, whatever `linger.ms` says, and waits up to `timeout`
    /// until each of those records has its outcome and its callback has run. Records that other threads send meanwhile
    /// are not waited for. It does not tell whether the records were delivered: their futures and callbacks do.
    ///
    /// # Errors
    /// [`ErrorKind::Timeout`]; the records are still under way then. [`ErrorKind::InvalidArgument`] in a delivery callback,
    /// where it would wait for itself. [`ErrorKind::Internal`] if a thread of the producer has panicked.
    pub fn flush(&self, timeout: Duration) -> Result<(), Error> {
        self.inner.engine.flush(timeout)
    }

    /// Takes no more records, delivers those there are, runs their callbacks and ends the producer's threads and
    /// connections. Always returns, at most a moment after `timeout`: records that are not delivered by then fail with
    /// [`ErrorKind::ForceClosed`]. Calls that wait in `send` on other threads return [`ErrorKind::Closed`]. A second
    /// `close` waits with the first, until the time of either is over. In a delivery callback it waits for nothing, as if `timeout` were zero.
    ///
    /// # Errors
    /// [`ErrorKind::ForceClosed`] with the number of records that were not delivered, if there are any.
    pub fn close(&self, timeout: Duration) -> Result<(), Error> {
        self.inner.close(timeout)
    }

    /// The partitions of `topic`, ordered by number. Blocks up to `max.block.ms` while the topic is not known.
    ///
    /// # Errors
    /// As [`send`](Self::send) for a topic that cannot be had.
    pub fn partitions_for(&self, topic: &str) -> Result<Vec<PartitionMetadata>, Error> {
        let engine = &self.inner.engine;
        engine.check_open()?;
        super::record::check_topic_name(topic)?;
        let max_block = engine.config.max_block;
        let deadline = deadline_after(Instant::now(), max_block);
        let cluster = engine.wait_for_topic(topic, None, max_block, deadline)?;
        Ok(cluster
            .topic(topic)
            .map(|topic| topic.partitions().to_vec())
            .unwrap_or_default())
    }
}

impl<K, V, KS, VS> ProducerBuilder<K, V, KS, VS> {
    /// Checks the settings and starts the producer's threads. Connects to nothing yet.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for settings that are missing or at odds with each other, and if no address of
    /// `bootstrap.servers` can be looked up (for an answer to which this waits up to 5 s); [`ErrorKind::Resource`] if a thread
    /// cannot be started.
    pub fn build(self) -> Result<KafkaProducer<K, V>, Error>
    where
        // Here and not on the `impl`, so that a type without a serializer is told what to do about it.
        KS: Serializer<K> + 'static,
        VS: Serializer<V> + 'static,
    {
        let config = self.config.validate()?;
        if self.partitioner.is_some() && self.config.is_set("partitioner.class") {
            log::warn!("partitioner.class has no effect: the builder was given a partitioner");
        }
        let partitioner = self.partitioner.or_else(|| match config.partitioner_class {
            PartitionerClass::Default => None,
            PartitionerClass::RoundRobin => {
                Some(Arc::new(RoundRobinPartitioner::new()) as Arc<dyn Partitioner>)
            }
        });
        Ok(KafkaProducer {
            inner: Arc::new(Inner {
                engine: Engine::start(config)?,
                key_serializer: Box::new(self.key_serializer),
                value_serializer: Box::new(self.value_serializer),
                partitioner,
            }),
        })
    }
}

/// How often a record without a key is led to another partition before it waits for memory.
const MOST_DETOURS: usize = 24;

/// What a call may wait for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Blocking {
    UpToMaxBlock,
    Never,
}

impl<K, V> Inner<K, V> {
    fn send(
        &self,
        mut record: ProducerRecord<K, V>,
        callback: Option<RecordCallback>,
        blocking: Blocking,
    ) -> Result<Future, SendError<K, V>> {
        let headers = record.headers.len();
        match self.serialize_and_append(&mut record, callback, blocking) {
            Ok(future) => Ok(future),
            Err(error) => {
                // What serializers added goes: sent again, the record would have it twice.
                record.headers.truncate(headers);
                Err(SendError::new(error, record))
            }
        }
    }

    fn serialize_and_append(
        &self,
        record: &mut ProducerRecord<K, V>,
        callback: Option<RecordCallback>,
        blocking: Blocking,
    ) -> Result<Future, Error> {
        record.check()?;
        self.engine.check_open()?;
        let mut scratch = Scratch::take();
        let ProducerRecord {
            topic,
            partition,
            timestamp,
            key,
            value,
            headers,
        } = record;
        let key = serialize(
            &*self.key_serializer,
            "key",
            topic,
            headers,
            key.as_ref(),
            &mut scratch.key,
        )?;
        let value = serialize(
            &*self.value_serializer,
            "value",
            topic,
            headers,
            value.as_ref(),
            &mut scratch.value,
        )?;
        let outbound = Outbound {
            topic,
            partition: *partition,
            timestamp_ms: *timestamp,
            key,
            value,
            headers: headers.as_slice(),
        };
        let appended = self
            .check_size(&outbound)
            .and_then(|()| self.append(&outbound, callback, blocking));
        scratch.put_back();
        appended
    }

    fn check_size(&self, record: &Outbound<'_>) -> Result<(), Error> {
        let size = upper_bound_size(
            record.key.map(<[u8]>::len),
            record.value.map(<[u8]>::len),
            record.headers,
        );
        let config = &self.engine.config;
        let (limit, setting) = if size > config.max_request_size {
            (config.max_request_size, "max.request.size")
        } else if least_memory(size, config.buffer_memory) > config.buffer_memory {
            (config.buffer_memory, "buffer.memory")
        } else {
            return Ok(());
        };
        let message = format!(
            "the record takes {size} bytes when serialized, more than {setting}={limit} allows"
        );
        Err(Error::new(ErrorKind::RecordTooLarge, message)
            .with_topic_partition(record.topic_partition()))
    }

    /// Appends to the partition's open batch; waits for metadata and memory as `blocking` allows. One deadline bounds
    /// both waits, and the clock is not read for it where there is no wait.
    fn append(
        &self,
        record: &Outbound<'_>,
        mut callback: Option<RecordCallback>,
        blocking: Blocking,
    ) -> Result<Future, Error> {
        let max_block = match blocking {
            Blocking::UpToMaxBlock => self.engine.config.max_block,
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
        let mut spare: Option<Reservation> = None;
        let mut detours = 0;
        loop {
            let topics = &self.engine.accumulator.topics;
            let attempt = topics.with(record.topic, |topic| {
                self.append_to(topic, chosen, record, &mut callback, &mut spare)
            });
            // The topic, or the partition that the record names, is not known yet.
            let Some(Some(attempt)) = attempt else {
                self.wait_for_partition(record, chosen, &mut wait)?;
                // After a close the topic may be known and still not come.
                self.engine.check_open()?;
                continue;
            };
            if let Some((partition, wake)) = attempt.to_wake {
                partition.worker().wake(wake);
            }
            match attempt.append {
                Append::Done {
                    completion, index, ..
                } => return Ok(Future::new(completion, index, attempt.details)),
                Append::NeedsMemory { .. } if attempt.moved_on && detours < MOST_DETOURS => {
                    detours += 1;
                }
                Append::NeedsMemory { missing, .. } => {
                    // Too little of it is of no use, and waiting with it in hand could make others wait in a circle.
                    drop(spare.take());
                    spare = self.wait_for_memory(record, attempt.partition, &missing, &mut wait)?;
                }
                Append::Closed => return Err(self.engine.closed_error()),
            }
        }
    }

    /// Under the topics' lock: nothing here blocks. None if the topic has no such partition.
    fn append_to(
        &self,
        topic: &Topic,
        chosen: Option<i32>,
        record: &Outbound<'_>,
        callback: &mut Option<RecordCallback>,
        spare: &mut Option<Reservation>,
    ) -> Option<Attempt> {
        let partitions = topic.partitions();
        let config = &self.engine.config;
        let (number, is_sticky) = match (chosen, record.key) {
            (Some(number), _) => (number, false),
            (None, Some(key)) if !config.partitioner_ignore_keys => {
                (partition_for_key(key, partitions.len()), false)
            }
            _ => (topic.sticky.current(topic, &self.stickiness()), true),
        };
        let partition = partitions.get(usize::try_from(number).ok()?)?;
        topic.mark_used();
        let serialized = SerializedRecord {
            timestamp_ms: record
                .timestamp_ms
                .unwrap_or_else(|| partition.worker().clock().now_ms()),
            key: record.key,
            value: record.value,
            headers: record.headers,
        };
        let append = partition.append(&serialized, callback, spare);
        let mut moved_on = false;
        let wake = match &append {
            Append::Done {
                wake, sticky_full, ..
            } => {
                if is_sticky && *sticky_full {
                    topic.sticky.switch(number, topic, &self.stickiness());
                }
                *wake
            }
            Append::NeedsMemory { wake, missing } => {
                // A record without a key need not wait for a broker that takes nothing.
                moved_on = is_sticky
                    && config.partitioner_adaptive_partitioning
                    && missing.shortage == Shortage::Share;
                if moved_on {
                    topic.sticky.switch(number, topic, &self.stickiness());
                }
                *wake
            }
            Append::Closed => Wake::Nobody,
        };
        Some(Attempt {
            append,
            details: serialized.details(),
            moved_on,
            partition: number,
            to_wake: (wake != Wake::Nobody).then(|| (Arc::clone(partition), wake)),
        })
    }

    fn stickiness(&self) -> Stickiness<'_> {
        let config = &self.engine.config;
        Stickiness {
            adaptive: config.partitioner_adaptive_partitioning,
            // As in Java, a part of adaptive partitioning.
            unavailable: config
                .partitioner_availability_timeout
                .filter(|_| config.partitioner_adaptive_partitioning)
                .map(|_| self.engine.accumulator.unavailable_brokers()),
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
        let failed = |message: String| {
            Error::new(ErrorKind::Partitioner, message)
                .with_topic_partition(record.topic_partition())
        };
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
            .map_err(|error| match error.topic_partition() {
                Some(_) => error,
                None => error.with_topic_partition(record.topic_partition()),
            })
    }

    #[cold]
    fn wait_for_memory(
        &self,
        record: &Outbound<'_>,
        partition: i32,
        missing: &Missing,
        wait: &mut Wait,
    ) -> Result<Option<Reservation>, Error> {
        let accumulator = &self.engine.accumulator;
        let place = TopicPartition::new(record.topic, partition);
        let error = match accumulator.reserve(missing, wait.deadline()) {
            Ok(reservation) => return Ok(Some(reservation)),
            Err(ReserveError::SentOn) => return Ok(None),
            Err(error) => error,
        };
        let error = match error {
            ReserveError::Closed if accumulator.has_panicked() => self.engine.closed_error(),
            ReserveError::Closed => Error::new(
                ErrorKind::Closed,
                "the producer was closed while the record waited for memory",
            ),
            _ => exhausted(missing, accumulator.memory.total(), wait),
        };
        Err(error.with_topic_partition(place))
    }

    fn close(&self, timeout: Duration) -> Result<(), Error> {
        let (undelivered, is_first) = self.engine.close(timeout);
        if is_first {
            if let Some(partitioner) = &self.partitioner {
                partitioner.on_close();
            }
        }
        if undelivered == 0 {
            return Ok(());
        }
        let message = format!("the producer was closed with {undelivered} record(s) not delivered");
        Err(Error::new(ErrorKind::ForceClosed, message)
            .with_advice("the records' futures and callbacks tell which"))
    }
}

/// A producer that nobody can use any more closes itself, within a bounded time.
impl<K, V> Drop for Inner<K, V> {
    fn drop(&mut self) {
        if self.engine.is_close_started() {
            return;
        }
        if let Err(error) = self.close(DROP_TIMEOUT) {
            log::warn!(target: "kafka_producer", "dropped: {error}");
        }
    }
}

impl<K, V> Clone for KafkaProducer<K, V> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
        }
    }
}

impl<K, V> fmt::Debug for KafkaProducer<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaProducer")
            .field("client_id", &self.inner.engine.config.client_id)
            .finish_non_exhaustive()
    }
}

/// A record whose key and value are bytes.
struct Outbound<'a> {
    topic: &'a str,
    partition: Option<i32>,
    timestamp_ms: Option<i64>,
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
    headers: &'a [Header],
}

impl Outbound<'_> {
    fn topic_partition(&self) -> TopicPartition {
        TopicPartition::new(self.topic, self.partition.unwrap_or(-1))
    }
}

/// A try to append, made under locks, with what is to be done when they are gone.
struct Attempt {
    append: Append,
    details: RecordDetails,
    /// Another partition was chosen, or the same again, since there was no memory for this one.
    moved_on: bool,
    partition: i32,
    to_wake: Option<(Arc<Partition>, Wake)>,
}

/// What to tell of memory that was not had.
fn exhausted(missing: &Missing, total: usize, wait: &Wait) -> Error {
    let Missing { bytes, share, .. } = missing;
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

fn serialize<'a, T>(
    serializer: &dyn Serializer<T>,
    what: &str,
    topic: &str,
    headers: &mut Headers,
    value: Option<&'a T>,
    buffer: &'a mut Vec<u8>,
) -> Result<Option<&'a [u8]>, Error> {
    let Some(value) = value else { return Ok(None) };
    buffer.clear();
    serializer
        .serialize(topic, headers, value, buffer)
        .map_err(|source: BoxError| {
            Error::new(
                ErrorKind::Serialization,
                format!("the record's {what} cannot be serialized"),
            )
            .with_topic_partition(TopicPartition::new(topic, -1))
            .with_source(source)
        })
}

/// This thread's buffers for serializers that write. They are taken out while in use, so that a serializer may itself
/// send.
#[derive(Default)]
struct Scratch {
    key: Vec<u8>,
    value: Vec<u8>,
}

thread_local! {
    static SCRATCH: Cell<Scratch> = const { Cell::new(Scratch { key: Vec::new(), value: Vec::new() }) };
}

impl Scratch {
    fn take() -> Self {
        SCRATCH.take()
    }

    fn put_back(self) {
        // One large record does not make a thread hold on to its size.
        const MOST_KEPT_BYTES: usize = 64 * 1024;
        if self.key.capacity().max(self.value.capacity()) <= MOST_KEPT_BYTES {
            SCRATCH.set(self);
        }
    }
}

const _: () = {
    const fn is_send_and_sync<T: Send + Sync>() {}
    is_send_and_sync::<KafkaProducer<String, Vec<u8>>>();
    is_send_and_sync::<Future>();
    is_send_and_sync::<Error>();
};
