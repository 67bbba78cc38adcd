//! The producer: `send` and the other calls, on the caller's thread.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::accumulator::batch::{CompletedRecord, RecordDetails};
use crate::accumulator::callbacks::{NoCallback, OfferedCallback};
use crate::accumulator::completion::RecordHandle;
use crate::error::{Delivery, Error, ErrorKind};
use crate::metadata::PartitionMetadata;
use crate::threads::logging::log_line;
use crate::time::deadline_after;

use super::builder::ProducerBuilder;
use super::config::PartitionerClass;
use super::engine::Engine;
use super::future::{Future, record_metadata};
use super::futures::Futures;
use super::headers::Headers;
use super::intake::{Blocking, Intake, Outbound};
use super::partitioner::{Partitioner, RoundRobinPartitioner};
use super::record::{ProducerRecord, RecordMetadata};
use super::scratch::Scratch;
use super::send_all_error::SendAllError;
use super::send_error::SendError;
use super::serializer::{BoxError, Serializer};

/// A producer of records with keys `K` and values `V` for Apache Kafka.
///
/// Cheap to clone, and every method takes `&self`: one producer serves all threads of a program. With idempotence (the
/// default), or with one request in flight, records that one thread sends to one partition are written in the order of its
/// calls.
///
/// Callers encode records into batches. The producer's own threads compress the batches, write them and retry. These
/// threads end with [`close`](Self::close) or with the drop of the last clone. That drop waits up to 10 s for undelivered
/// records, and about two seconds more for the threads. In a callback or logger of the same producer it does not wait:
/// another thread then closes the producer within about 12 s. Call `close` before `main` returns: a clone held by a
/// callback does not keep the process alive, and its records would be lost.
///
/// A forked child does not have the producer's threads. Every call that needs them returns [`ErrorKind::Closed`] there, at
/// once. A future still returns an outcome that was there before the fork. The parent's producer is not affected. Fork
/// before the first producer is built: a lock that another thread held at the fork stays locked in the child, and a
/// producer that is built there can hang.
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
    pub(super) inner: Arc<Inner<K, V>>,
}

pub(super) struct Inner<K, V> {
    pub(super) intake: Intake,
    key_serializer: Box<dyn Serializer<K>>,
    value_serializer: Box<dyn Serializer<V>>,
}

/// How long the drop of the last clone waits for records to be delivered.
const DROP_TIMEOUT: Duration = Duration::from_secs(10);

impl<K, V> KafkaProducer<K, V> {
    /// Makes a builder with the defaults of [`ProducerConfig`](crate::ProducerConfig).
    pub fn builder() -> ProducerBuilder<K, V> {
        ProducerBuilder::new()
    }

    /// Hands a record over to be delivered, and returns a handle to its outcome.
    ///
    /// Blocks only for the metadata of a topic (or partition) that is not known yet, and for memory while `buffer.memory`
    /// is full; for both together at most `max.block.ms`. The time of serializers and of the partitioner does not count. In
    /// a callback or logger of the same producer it does not block, because the wait could depend on that thread: it
    /// returns as [`try_send`](Self::try_send) does.
    ///
    /// # Errors
    /// The error holds the refused record, which was not written. Kinds:
    /// [`MetadataTimeout`](ErrorKind::MetadataTimeout), [`UnknownPartition`](ErrorKind::UnknownPartition),
    /// [`InvalidTopic`](ErrorKind::InvalidTopic) and [`Authorization`](ErrorKind::Authorization) if the topic is not
    /// available; [`Authentication`](ErrorKind::Authentication), [`Tls`](ErrorKind::Tls) and
    /// [`Protocol`](ErrorKind::Protocol) if a wait for metadata or memory ends at once, because the brokers or this client
    /// refuse new connections; [`BufferExhausted`](ErrorKind::BufferExhausted);
    /// [`RecordTooLarge`](ErrorKind::RecordTooLarge) above `max.request.size` or `buffer.memory`;
    /// [`Serialization`](ErrorKind::Serialization), [`Partitioner`](ErrorKind::Partitioner),
    /// [`InvalidArgument`](ErrorKind::InvalidArgument); [`Closed`](ErrorKind::Closed). The future reports later failures.
    #[inline]
    pub fn send(&self, record: ProducerRecord<K, V>) -> Result<Future, SendError<K, V>> {
        self.inner.send(record, NoCallback, Blocking::UpToMaxBlock)
    }

    /// As [`send`](Self::send), and calls `callback` with the outcome.
    ///
    /// Callbacks run on a thread of their own, one after the other, in the order in which a partition's batches complete. A
    /// slow callback delays the callbacks after it and keeps the memory of their batches. Records are still sent, until
    /// `buffer.memory`, or one broker's share of it, is full of records whose callbacks have not run. A panic in a callback
    /// is caught and logged, unless the program is built with `panic=abort`. The future, and a [`flush`](Self::flush), wait
    /// for all callbacks of the record's batch. If the record is refused, its callback is not called.
    ///
    /// In a callback or logger of a producer, calls on that producer do not wait. `send` returns as
    /// [`try_send`](Self::try_send) does, and `partitions_for` needs the topic to be known. A record for a topic that the
    /// producer does not know yet is refused: if only callbacks send to a topic, call `partitions_for` for it on another
    /// thread first. `flush` returns an error, and so does a future's `get` unless there is an outcome. `close` returns an
    /// error at once, and another thread closes the producer. Calls on another producer block as usual. If the callbacks of
    /// two producers wait for each other, both wait until their timeouts.
    ///
    /// The batch's memory is released before its callbacks run, so a record that failed can nearly always be sent again. If
    /// other threads take that memory first, the callbacks may exceed `buffer.memory` by the batch's size, at most 64 KiB.
    ///
    /// # Errors
    /// As `send`; also [`Resource`](ErrorKind::Resource) if the thread for callbacks cannot be started.
    pub fn send_with(
        &self,
        record: ProducerRecord<K, V>,
        callback: impl FnOnce(Result<RecordMetadata, Error>) + Send + 'static,
    ) -> Result<Future, SendError<K, V>> {
        if let Err(error) = self.inner.intake.engine.start_deliveries() {
            return Err(SendError::new(error, record));
        }
        let callback = move |completed: CompletedRecord<'_>| callback(record_metadata(completed));
        self.inner
            .send(record, Some(callback), Blocking::UpToMaxBlock)
    }

    /// As [`send`](Self::send), but does not wait for metadata or memory. Serializers and the partitioner still run.
    ///
    /// # Errors
    /// As `send`. If `send` would wait for metadata or memory, `try_send` refuses the record at once. The producer still
    /// requests the metadata, so a later attempt can succeed.
    pub fn try_send(&self, record: ProducerRecord<K, V>) -> Result<Future, SendError<K, V>> {
        self.inner.send(record, NoCallback, Blocking::Never)
    }

    /// Sends many records, in order, and returns their futures in the same order. Blocks as [`send`](Self::send) does,
    /// for each record.
    ///
    /// Neighbours for the same partition are usually appended together, which costs less than one by one. With your own
    /// partitioner they are appended one by one. To append them together, this takes up to 64 records from `records` before
    /// it sends the first of them, if the iterator reports that it has that many ([`Iterator::size_hint`]). Records that
    /// are appended together get the same timestamp, unless they have their own. If the iterator does not know how many
    /// records it has, like that of a channel, each record is sent at once.
    ///
    /// # Errors
    /// Stops at the first record that is refused. The error holds the futures of the records before it, the refused record,
    /// and the records after it. For these, `send_all` takes all records that `records` still has: pass an endless or very
    /// long iterator by reference (`by_ref`) and in portions (`take`). If the iterator or a serializer panics, the records
    /// that were taken from the iterator and not sent are lost.
    pub fn send_all<I>(&self, records: I) -> Result<Futures, SendAllError<K, V>>
    where
        I: IntoIterator<Item = ProducerRecord<K, V>>,
    {
        self.inner.send_all(records.into_iter())
    }

    /// Sends all records that were handed over before this call, without waiting for `linger.ms`. Waits up to `timeout`
    /// until each of them has its outcome and its callback has run, but not for records that other threads send meanwhile.
    /// The records' futures and callbacks report whether the records were delivered; this result does not.
    ///
    /// # Errors
    /// [`ErrorKind::Timeout`]; the records are still in progress then. [`ErrorKind::InvalidArgument`] in a callback or
    /// logger of the same producer, where it would wait for itself. [`ErrorKind::Closed`] in a forked child.
    /// [`ErrorKind::Internal`] if a thread of the producer has panicked.
    pub fn flush(&self, timeout: Duration) -> Result<(), Error> {
        self.inner.intake.engine.flush(timeout)
    }

    /// Accepts no more records, delivers those that it has, runs their callbacks, and ends the producer's threads and
    /// connections. Returns at most about two seconds after `timeout`. The time of user code that runs on this thread,
    /// which is [`Partitioner::on_close`], does not count. Records that are not delivered within `timeout` fail with
    /// [`ErrorKind::ForceClosed`]. If `timeout` is zero, nothing more is sent. A callback that is still running at the end
    /// continues, and `close` does not wait for it. Calls that wait in `send` on other threads return
    /// [`ErrorKind::Closed`]. A second `close` waits for the first one; the shorter of their timeouts applies to both.
    ///
    /// # Errors
    /// [`ErrorKind::ForceClosed`] with the number of records that failed after the close began, if there are any.
    /// [`ErrorKind::InvalidArgument`] in a callback or logger of the same producer, where it would wait for itself: it
    /// returns at once, and another thread closes the producer with the same `timeout`. [`ErrorKind::Closed`] in a forked
    /// child.
    pub fn close(&self, timeout: Duration) -> Result<(), Error> {
        self.inner.close(timeout)
    }

    /// The partitions of `topic`, ordered by number. Blocks up to `max.block.ms` while the topic is not known, but not
    /// in a callback or logger of the same producer.
    ///
    /// # Errors
    /// As [`send`](Self::send) for a topic that is not available, and for a wait that ends at once.
    pub fn partitions_for(&self, topic: &str) -> Result<Vec<PartitionMetadata>, Error> {
        let engine = &self.inner.intake.engine;
        engine.check_open()?;
        super::record::check_topic_name(topic)?;
        let max_block = engine.longest_wait();
        let deadline = deadline_after(Instant::now(), max_block);
        let cluster = engine.wait_for_topic(topic, None, max_block, deadline)?;
        Ok(cluster
            .topic(topic)
            .map(|topic| topic.partitions().to_vec())
            .unwrap_or_default())
    }
}

impl<K, V, KS, VS> ProducerBuilder<K, V, KS, VS> {
    /// Checks the settings and starts the producer's threads. Opens no connection yet.
    ///
    /// Blocks while it reads the files that the settings name: stores, keytabs, assertions, the files of `config.providers`.
    /// If a file system does not answer, `build` returns an error after `max.block.ms`, or after 5 s if that is longer. Then
    /// it waits up to 5 s for the hosts of `bootstrap.servers`.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for settings that are missing, out of range or in conflict, and if no host of
    /// `bootstrap.servers` resolves within 5 s (`build` does not wait for that with `bootstrap.resolve.timeout.ms`);
    /// [`ErrorKind::Timeout`] if a file is not read in time; [`ErrorKind::Resource`] if a thread cannot be started.
    pub fn build(self) -> Result<KafkaProducer<K, V>, Error>
    where
        // The bounds are here and not on the `impl`, so that the compiler gives useful advice for a type without a
        // serializer.
        KS: Serializer<K> + 'static,
        VS: Serializer<V> + 'static,
    {
        let config = self.config.validate_in_time()?;
        if self.partitioner.is_some() && self.config.is_set("partitioner.class") {
            log_line!(log::Level::Warn, target: "kafka_producer", "partitioner.class has no effect: the builder was given a partitioner");
        }
        let partitioner = self.partitioner.or_else(|| match config.partitioner_class {
            PartitionerClass::Default => None,
            PartitionerClass::RoundRobin => {
                Some(Arc::new(RoundRobinPartitioner::new()) as Arc<dyn Partitioner>)
            }
        });
        Ok(KafkaProducer {
            inner: Arc::new(Inner {
                intake: Intake::new(Engine::start(config)?, partitioner),
                key_serializer: Box::new(self.key_serializer),
                value_serializer: Box::new(self.value_serializer),
            }),
        })
    }
}

impl<K, V> Inner<K, V> {
    #[inline]
    pub(super) fn send(
        &self,
        mut record: ProducerRecord<K, V>,
        mut callback: impl OfferedCallback,
        blocking: Blocking,
    ) -> Result<Future, SendError<K, V>> {
        let headers = record.headers.len();
        let mut details = RecordDetails::default();
        let mut scratch = Scratch::take();
        let appended = self.serialize_and_append(
            &mut record,
            &mut callback,
            blocking,
            &mut scratch,
            &mut details,
        );
        scratch.put_back();
        match appended {
            Ok(RecordHandle { completion, index }) => Ok(Future::new(completion, index, details)),
            Err(error) => {
                // Otherwise the record would have the serializers' headers twice when it is sent again.
                record.headers.truncate(headers);
                Err(SendError::new(error, record))
            }
        }
    }

    #[inline]
    fn serialize_and_append(
        &self,
        record: &mut ProducerRecord<K, V>,
        callback: &mut impl OfferedCallback,
        blocking: Blocking,
        scratch: &mut Scratch,
        details: &mut RecordDetails,
    ) -> Result<RecordHandle, Error> {
        let outbound = self.serialize(record, scratch)?;
        let mut timestamp_ms = 0;
        let appended = self
            .intake
            .append(&outbound, &mut timestamp_ms, callback, blocking);
        *details = outbound.details(timestamp_ms);
        appended
    }

    /// Checks the record and serializes its key and value. User code runs here, under no lock.
    #[inline(always)]
    pub(super) fn serialize<'a>(
        &self,
        record: &'a mut ProducerRecord<K, V>,
        scratch: &'a mut Scratch,
    ) -> Result<Outbound<'a>, Error> {
        record.check()?;
        self.intake.engine.check_open()?;
        let ProducerRecord {
            topic,
            partition,
            timestamp,
            key,
            value,
            headers,
        } = record;
        let topic = topic.as_str();
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
        Ok(Outbound {
            topic,
            partition: *partition,
            timestamp_ms: *timestamp,
            key,
            value,
            headers: headers.as_slice(),
        })
    }

    fn close(&self, timeout: Duration) -> Result<(), Error> {
        let engine = &self.intake.engine;
        engine.check_process()?;
        if engine.owns_this_thread() {
            self.close_elsewhere(timeout);
            return Err(close_cannot_wait(timeout));
        }
        let (undelivered, is_first) = engine.close(timeout);
        finish_close(undelivered, is_first, self.intake.partitioner.as_deref())
    }

    fn close_elsewhere(&self, timeout: Duration) {
        let partitioner = self.intake.partitioner.clone();
        let then = move |undelivered, is_first| {
            if let Err(error) = finish_close(undelivered, is_first, partitioner.as_deref()) {
                log_line!(log::Level::Warn, target: "kafka_producer", "{error}");
            }
        };
        self.intake.engine.close_elsewhere(timeout, then);
    }
}

/// Runs the partitioner's `on_close` after the first close, and returns the result of the close.
fn finish_close(
    undelivered: u64,
    is_first: bool,
    partitioner: Option<&dyn Partitioner>,
) -> Result<(), Error> {
    if let Some(partitioner) = partitioner.filter(|_| is_first) {
        partitioner.on_close();
    }
    if undelivered == 0 {
        return Ok(());
    }
    let message = format!("the producer was closed with {undelivered} record(s) not delivered");
    Err(Error::new(ErrorKind::ForceClosed, message)
        .with_advice("the records' futures and callbacks report which"))
}

fn close_cannot_wait(timeout: Duration) -> Error {
    let message = format!(
        "`close` must not wait in a callback or logger of the same producer: another thread closes it with a timeout of {} ms",
        timeout.as_millis()
    );
    Error::new(ErrorKind::InvalidArgument, message)
        .with_delivery(Delivery::MaybeWritten)
        .without_record()
        .with_advice("the records' futures and callbacks report which were delivered")
}

/// The drop of the last clone closes the producer.
impl<K, V> Drop for Inner<K, V> {
    fn drop(&mut self) {
        let engine = &self.intake.engine;
        if engine.is_inherited() {
            // The engine's drop would take locks that no thread of this process unlocks, and close the parent's
            // connections.
            std::mem::forget(Arc::clone(engine));
        } else if engine.is_close_started() {
            // Another call closes the producer.
        } else if engine.owns_this_thread() {
            self.close_elsewhere(DROP_TIMEOUT);
        } else if let Err(error) = self.close(DROP_TIMEOUT) {
            log_line!(log::Level::Warn, target: "kafka_producer", "dropped: {error}");
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
            .field("client_id", &self.inner.intake.engine.config.client_id)
            .finish_non_exhaustive()
    }
}

#[inline]
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
    match serializer.serialize(topic, headers, value, buffer) {
        Ok(bytes) => Ok(bytes),
        Err(source) => Err(cannot_serialize(what, topic, source)),
    }
}

#[cold]
fn cannot_serialize(what: &str, topic: &str, source: BoxError) -> Error {
    let message = format!("the record's {what} cannot be serialized");
    Error::new(ErrorKind::Serialization, message)
        .with_topic(topic, None)
        .with_source(source)
}

const _: () = {
    const fn is_send_and_sync<T: Send + Sync>() {}
    is_send_and_sync::<KafkaProducer<String, Vec<u8>>>();
    is_send_and_sync::<Future>();
    is_send_and_sync::<Futures>();
    is_send_and_sync::<SendAllError<String, Vec<u8>>>();
    is_send_and_sync::<Error>();
    const fn survives_a_panic<T: std::panic::UnwindSafe + std::panic::RefUnwindSafe>() {}
    survives_a_panic::<super::ProducerConfig>();
};
