//! The slow path of a record into its partition's batch: it waits for metadata and memory, asks the user's partitioner,
//! opens batches, wakes workers, and ends sticky turns.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Blocking, Choice, Intake, Outbound};
use crate::accumulator::callbacks::OfferedCallback;
use crate::accumulator::completion::RecordHandle;
use crate::accumulator::memory::{MemoryLimit, Reservation, Shortage, WaitError};
use crate::accumulator::open_batch::{Append, Wake};
use crate::accumulator::partition::Partition;
use crate::accumulator::sticky_partitioner::StickySlot;
use crate::accumulator::topics::Topic;
use crate::error::{Error, ErrorKind};
use crate::producer::partitioner::Partitioner;
use crate::producer::record::check_topic_name;
use crate::time::deadline_after;
use crate::topic_partition::TopicPartition;

/// How many times a record without a key tries another sticky choice before it waits for memory.
const MOST_DETOURS: usize = 24;

impl Intake {
    /// Appends the record on the slow path, as [`append`](Self::append) describes.
    #[inline(never)]
    pub(super) fn append_or_wait(
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
        let append = SlowAppend {
            intake: self,
            record,
            named: record.partition,
            callback,
            spare: None,
            max_block,
            deadline: None,
        };
        let (handle, timestamp) = append.run()?;
        *timestamp_ms = timestamp;
        Ok(handle)
    }
}

/// A record on the slow path.
struct SlowAppend<'a, 'r> {
    intake: &'a Intake,
    record: &'a Outbound<'r>,
    /// The partition that the record names, or that the user's partitioner chose.
    named: Option<i32>,
    callback: &'a mut dyn OfferedCallback,
    /// The memory for which this call has waited and that is not used yet.
    spare: Option<Reservation>,
    max_block: Duration,
    /// The time at which the waits of this call end. The first wait sets it, so a call without a wait does not read the
    /// clock.
    deadline: Option<Instant>,
}

/// The result of an attempt to append, and the work that remains when the thread's topic is no longer borrowed.
struct Attempt {
    append: Append,
    timestamp_ms: i64,
    partition: i32,
    /// Whether the record is to be tried once more with a new sticky choice (a *detour*), without waiting for memory.
    takes_detour: bool,
    to_wake: Option<(Arc<Partition>, Wake)>,
}

impl SlowAppend<'_, '_> {
    fn run(mut self) -> Result<(RecordHandle, i64), Error> {
        let intake = self.intake;
        if let (None, Some(partitioner)) = (self.named, &intake.partitioner) {
            self.named = Some(self.ask_partitioner(&**partitioner)?);
        }
        let topics = &intake.engine.accumulator.topics;
        let budget = intake.engine.accumulator.memory.budget();
        let mut detours = 0;
        loop {
            let attempt =
                topics.look_up(self.record.topic, |topic, slot| self.attempt(topic, slot));
            // The topic, or the partition that the record names, is not known yet.
            let Some(attempt) = attempt else {
                self.wait_for_partition(self.named)?;
                // After a close, topics in the metadata are not added to the accumulator any more, so `look_up` would find
                // nothing for ever.
                intake.engine.check_open()?;
                continue;
            };
            if let Some((partition, wake)) = attempt.to_wake {
                partition.worker().wake(wake);
            }
            match attempt.append {
                Append::Done { record, .. } => return Ok((record, attempt.timestamp_ms)),
                Append::NeedsMemory { .. } if attempt.takes_detour && detours < MOST_DETOURS => {
                    detours += 1;
                }
                Append::NeedsMemory { shortage, .. } if shortage.bytes > budget => {
                    return Err(too_large_with_callback(self.record, &shortage, budget));
                }
                Append::NeedsMemory { shortage, .. } => {
                    // The spare memory was too little. Callers that keep it while they wait could deadlock.
                    drop(self.spare.take());
                    self.spare = self.wait_for_memory(attempt.partition, &shortage)?;
                }
                Append::Closed => return Err(intake.engine.closed_error()),
                // No memory stays reserved while the topic is looked up again.
                Append::Retired => drop(self.spare.take()),
            }
        }
    }

    /// Tries to append. Returns `None` if the topic has no such partition.
    ///
    /// Called inside `look_up`, which borrows the thread's topic cache. So nothing here may look up topics, or wait for
    /// memory or metadata.
    fn attempt(&mut self, topic: &Topic, slot: &StickySlot) -> Option<Attempt> {
        slot.reset_collisions();
        let choice = match self
            .intake
            .fixed_partition(topic, self.named, self.record.key)
        {
            Some(partition) => Choice {
                partition,
                is_sticky: false,
            },
            None => Choice {
                partition: topic
                    .sticky
                    .current(slot, topic, &self.intake.preferences()),
                is_sticky: true,
            },
        };
        let partition = topic
            .partitions()
            .get(usize::try_from(choice.partition).ok()?)?;
        topic.mark_used();
        let timestamp_ms = self.record.timestamp_at(partition);
        let append = partition.append(
            &self.record.serialized(timestamp_ms),
            choice.is_sticky,
            self.callback,
            &mut self.spare,
        );
        let takes_detour =
            choice.is_sticky && self.update_sticky_choice(&append, topic, slot, choice);
        let wake = match append {
            Append::Done { wake, .. } | Append::NeedsMemory { wake, .. } => wake,
            Append::Closed | Append::Retired => Wake::None,
        };
        Some(Attempt {
            append,
            timestamp_ms,
            partition: choice.partition,
            takes_detour,
            to_wake: (wake != Wake::None).then(|| (Arc::clone(partition), wake)),
        })
    }

    /// Changes the thread's sticky partition or sticky slot if the result of the append requires it. Returns whether this
    /// record is to be tried once more with the new choice (a *detour*), without waiting for memory.
    fn update_sticky_choice(
        &self,
        append: &Append,
        topic: &Topic,
        slot: &StickySlot,
        choice: Choice,
    ) -> bool {
        let engine = &self.intake.engine;
        let switch = || {
            let preferences = self.intake.preferences();
            topic
                .sticky
                .switch(slot, choice.partition, topic, &preferences);
        };
        match append {
            Append::Done {
                record,
                is_turn_over,
                ..
            } => {
                if *is_turn_over {
                    switch();
                }
                if record.index == 0 || !engine.accumulator.memory.is_mostly_free() {
                    slot.return_to_first();
                }
                false
            }
            Append::NeedsMemory { shortage, .. } => {
                // A record without a key need not wait for a broker that accepts nothing.
                let is_adaptive = engine.config.partitioner_adaptive_partitioning;
                let has_switched = is_adaptive && shortage.limit == MemoryLimit::Share;
                if has_switched {
                    switch();
                }
                // The first slot may have an open batch, so that the record needs no memory for a new one.
                let has_returned = slot.return_to_first();
                has_switched || has_returned
            }
            Append::Closed | Append::Retired => false,
        }
    }

    #[cold]
    fn ask_partitioner(&mut self, partitioner: &dyn Partitioner) -> Result<i32, Error> {
        let record = self.record;
        let metadata = &self.intake.engine.metadata;
        let mut cluster = metadata.cluster();
        if cluster.topic(record.topic).is_none() {
            self.wait_for_partition(None)?;
            cluster = metadata.cluster();
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
            "the partitioner chose partition {chosen} of a topic with {count} partitions"
        )))
    }

    /// Waits until the topic is known, and also the partition if one is given.
    #[cold]
    fn wait_for_partition(&mut self, partition: Option<i32>) -> Result<(), Error> {
        let record = self.record;
        check_topic_name(record.topic)?;
        let deadline = self.deadline();
        self.intake
            .engine
            .wait_for_topic(record.topic, partition, self.max_block, deadline)
            .map(drop)
            .map_err(|error| match error.topic() {
                Some(_) => error,
                None => record.locate(error),
            })
    }

    /// Waits for the missing memory and reserves it. Returns `None` if a partition of the share got another leader. The
    /// caller must then try again.
    #[cold]
    fn wait_for_memory(
        &mut self,
        partition: i32,
        shortage: &Shortage,
    ) -> Result<Option<Reservation>, Error> {
        let engine = &self.intake.engine;
        let accumulator = &engine.accumulator;
        if engine.owns_this_thread() {
            if let Some(reservation) = accumulator.reserve_from_allowance(shortage) {
                return Ok(Some(reservation));
            }
        }
        let error = match accumulator.reserve(shortage, self.deadline()) {
            Ok(reservation) => return Ok(Some(reservation)),
            Err(WaitError::ShareChanged) => return Ok(None),
            Err(WaitError::Refused) => match shortage.share.refusal() {
                Some(refusal) => refusal,
                // The broker accepts data again.
                None => return Ok(None),
            },
            Err(WaitError::Closed) if accumulator.has_panicked() => engine.closed_error(),
            Err(WaitError::Closed) => Error::new(
                ErrorKind::Closed,
                "the producer was closed while the record waited for memory",
            ),
            Err(WaitError::TimedOut) => {
                exhausted(shortage, accumulator.memory.budget(), self.max_block)
            }
        };
        let topic_partition = TopicPartition::new(self.record.topic, partition);
        Err(error.with_topic_partition(topic_partition))
    }

    fn deadline(&mut self) -> Instant {
        *self
            .deadline
            .get_or_insert_with(|| deadline_after(Instant::now(), self.max_block))
    }
}

/// The error of a record that fits `buffer.memory` only without its callback.
#[cold]
fn too_large_with_callback(record: &Outbound<'_>, shortage: &Shortage, budget: usize) -> Error {
    let bytes = shortage.bytes;
    let message = format!(
        "the record takes {bytes} bytes with its callback, more than buffer.memory={budget} allows"
    );
    record.locate(Error::new(ErrorKind::RecordTooLarge, message))
}

/// The error of a wait for memory that timed out.
fn exhausted(shortage: &Shortage, budget: usize, max_block: Duration) -> Error {
    let Shortage { bytes, share, .. } = shortage;
    let waited = match max_block.as_millis() {
        0 => String::new(),
        ms => format!(" within {ms} ms"),
    };
    let Some(broker) = share.broker() else {
        let message = format!("no room for {bytes} bytes{waited} in buffer.memory={budget}");
        return Error::new(ErrorKind::BufferExhausted, message);
    };
    let held = share.reserved();
    let message = format!(
        "no room for {bytes} bytes for broker {broker}{waited}: its records hold {held} bytes of buffer.memory={budget}"
    );
    let advice = format!(
        "check that broker {broker} accepts data, send more slowly, or raise buffer.memory or max.block.ms"
    );
    let error = Error::new(ErrorKind::BufferExhausted, message).with_advice(advice);
    match share.refusal() {
        Some(refusal) => error.with_advice_of_attempt(&refusal).with_source(refusal),
        None => error,
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

    /// Polls until `condition` holds.
    fn eventually(condition: impl Fn() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !condition() {
            assert!(Instant::now() < deadline);
            std::thread::park_timeout(Duration::from_millis(1));
        }
    }

    #[test]
    fn a_callback_can_resend_although_a_waiting_caller_took_its_batchs_memory() {
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
        // The first request is refused when the caller waits. The second one is held until the callback has sent.
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
