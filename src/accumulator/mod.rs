//! Batches in memory: where callers append records and from where the workers take them.
//!
//! A record is encoded once, by its caller, into its partition's open batch; a full batch travels to the partition's
//! worker over the worker's bounded channel, a part-filled one is taken by the worker when it has lingered.

pub(crate) mod allowance;
pub(crate) mod batch;
pub(crate) mod buffers;
pub(crate) mod callbacks;
pub(crate) mod completion;
pub(crate) mod handover;
pub(crate) mod memory;
pub(crate) mod partition;
pub(crate) mod sequence;
pub(crate) mod sticky_partitioner;
pub(crate) mod topic_config;
pub(crate) mod topics;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use crate::sync::{Mutex, RwLock, Wakeup};
use crate::threads::{InstanceId, Opening};
use crate::time::wall_clock_ms;

use batch::ProducerBatch;
use handover::HandoverSender;
use memory::{BufferMemory, Reservation, Shortage, WaitError};
use partition::{Partition, Wake};
use topic_config::TopicConfig;
use topics::Topics;

/// What travels from callers to a worker.
pub(crate) enum Message {
    /// The partition has an open batch, and the worker has not been told of one since it last asked.
    Opened(Arc<Partition>),
    /// A full batch.
    FullBatch(Box<ProducerBatch>),
}

/// A worker as callers see it.
pub(crate) struct WorkerHandle {
    records: HandoverSender<Message>,
    wakeup: Arc<Wakeup>,
    /// The numbers given out to its partitions.
    slots: AtomicUsize,
    /// Partitions that were forgotten and that the worker has not heard of yet.
    retired: Mutex<Vec<Arc<Partition>>>,
    /// Whether there are any: a look without the lock.
    has_retired: AtomicBool,
    /// Messages that came after the worker's end: it panicked.
    abandoned: Mutex<Vec<Message>>,
    /// Records that failed since the producer's close began, or by the worker's end.
    undelivered: AtomicU64,
    clock: WorkerClock,
}

/// The wall clock as a worker read it last. While a worker is awake it reads the clock many times a millisecond anyway,
/// and callers need not read it for every record; while the worker sleeps they do.
#[derive(Default)]
pub(crate) struct WorkerClock {
    /// Milliseconds since 1970; 0 while the worker sleeps.
    now_ms: AtomicI64,
}

impl WorkerClock {
    /// The time for a record. Never ahead of the clock, and behind it by no more than one round of the worker.
    #[inline]
    pub(crate) fn now_ms(&self) -> i64 {
        match self.now_ms.load(Ordering::Relaxed) {
            0 => wall_clock_ms(),
            now_ms => now_ms,
        }
    }

    /// On the worker: a round begins.
    pub(crate) fn tick(&self) {
        self.now_ms.store(wall_clock_ms(), Ordering::Relaxed);
    }

    /// On the worker, in the middle of a long round.
    pub(crate) fn tick_if_running(&self) {
        if self.now_ms.load(Ordering::Relaxed) != 0 {
            self.tick();
        }
    }

    /// On the worker: it goes to sleep.
    pub(crate) fn stop(&self) {
        self.now_ms.store(0, Ordering::Relaxed);
    }
}

impl WorkerHandle {
    pub(crate) fn new(records: HandoverSender<Message>, wakeup: Arc<Wakeup>) -> Arc<Self> {
        Arc::new(Self {
            records,
            wakeup,
            slots: AtomicUsize::new(0),
            retired: Mutex::default(),
            has_retired: AtomicBool::new(false),
            abandoned: Mutex::default(),
            undelivered: AtomicU64::new(0),
            clock: WorkerClock::default(),
        })
    }

    pub(crate) fn wakeup(&self) -> &Wakeup {
        &self.wakeup
    }

    pub(crate) fn clock(&self) -> &WorkerClock {
        &self.clock
    }

    /// Wakes the worker as an append asked for. Not to be called under a lock.
    pub(crate) fn wake(&self, wake: Wake) {
        match wake {
            Wake::None => {}
            Wake::By(deadline) => self.wakeup.wake_by(deadline),
            Wake::Now => self.wakeup.wake(),
        }
    }

    /// Never blocks. What cannot be pushed because the worker has ended waits for [`fail_abandoned_batches`](Self::fail_abandoned_batches): the
    /// caller holds locks, and a batch that is dropped runs its callbacks.
    fn push(&self, message: Message) {
        if let Err(message) = self.records.push(message) {
            self.abandoned.lock().push(message);
        }
    }

    /// On the worker, at its end: frees the channel as soon as the worker's own end of it is gone.
    pub(crate) fn disconnect(&self) {
        self.records.disconnect();
        // After the close there are no others, and these lead back here.
        drop(self.take_retired());
    }

    /// Tells the worker, when it next looks, that a partition is forgotten. Not after the close.
    fn tell_retired(&self, partition: Arc<Partition>) {
        self.retired.lock().push(partition);
        self.has_retired.store(true, Ordering::Release);
    }

    /// On the worker: whether there are forgotten partitions that it has not heard of.
    #[inline]
    pub(crate) fn has_retired(&self) -> bool {
        self.has_retired.load(Ordering::Acquire)
    }

    /// On the worker: the partitions that were forgotten since this was last asked.
    pub(crate) fn take_retired(&self) -> Vec<Arc<Partition>> {
        let mut retired = self.retired.lock();
        self.has_retired.store(false, Ordering::Release);
        std::mem::take(&mut *retired)
    }

    /// Drops, and so settles, what callers wanted to push after the worker's end. Not to be called under a lock.
    pub(crate) fn fail_abandoned_batches(&self) {
        let abandoned = std::mem::take(&mut *self.abandoned.lock());
        for message in abandoned {
            if let Message::FullBatch(batch) = message {
                self.count_undelivered(batch.record_count());
            }
        }
    }

    /// Whether the worker has [hung up](Self::disconnect).
    #[cfg(test)]
    pub(crate) fn is_disconnected(&self) -> bool {
        self.records.is_disconnected()
    }

    /// Notes that so many records failed when nobody could send any more.
    pub(crate) fn count_undelivered(&self, records: u32) {
        self.undelivered
            .fetch_add(u64::from(records), Ordering::Relaxed);
    }

    /// The records that failed since the producer's close began, or by the worker's end.
    pub(crate) fn undelivered(&self) -> u64 {
        self.undelivered.load(Ordering::Relaxed)
    }

    fn next_slot(&self) -> usize {
        self.slots.fetch_add(1, Ordering::Relaxed)
    }
}

/// The state that callers and workers share.
pub(crate) struct RecordAccumulator {
    pub(crate) memory: Arc<BufferMemory>,
    pub(crate) topics: Topics,
    workers: Vec<Arc<WorkerHandle>>,
    opening: Opening,
    /// A worker ended by a panic: every call says so from then on.
    panicked: AtomicBool,
    unavailable: UnavailableBrokers,
}

impl RecordAccumulator {
    /// `instance` is the producer whose records these are.
    pub(crate) fn new(
        instance: InstanceId,
        memory: Arc<BufferMemory>,
        topic_config: TopicConfig,
        workers: Vec<Arc<WorkerHandle>>,
    ) -> Self {
        let to_wake = workers.clone();
        memory.buffers.keep(topic_config.batch_size);
        memory.set_alarm(move || to_wake.iter().for_each(|worker| worker.wakeup.wake()));
        Self {
            topics: Topics::new(instance, Arc::clone(&memory), topic_config, workers.clone()),
            memory,
            workers,
            opening: Opening::of(instance),
            panicked: AtomicBool::new(false),
            unavailable: UnavailableBrokers::default(),
        }
    }

    pub(crate) fn workers(&self) -> &[Arc<WorkerHandle>] {
        &self.workers
    }

    pub(crate) fn wake_workers(&self) {
        for worker in &self.workers {
            worker.wakeup.wake();
        }
    }

    /// Whether records are taken: not after a close, nor in a process that was forked off.
    #[inline]
    pub(crate) fn is_open(&self) -> bool {
        self.opening.is_open()
    }

    pub(crate) fn has_panicked(&self) -> bool {
        self.panicked.load(Ordering::Acquire)
    }

    /// As [`close`](Self::close); whoever is woken finds the reason.
    pub(crate) fn close_after_panic(&self) {
        self.panicked.store(true, Ordering::Release);
        self.close();
    }

    /// Refuses every later append, wakes every caller that waits for memory, and leaves all records with the workers.
    pub(crate) fn close(&self) {
        self.opening.close();
        self.memory.close();
        self.topics.close();
        self.memory.buffers.close();
    }

    /// Waits until `deadline` for the memory that was short. The workers find the waiter and send what they have.
    pub(crate) fn reserve(
        &self,
        shortage: &Shortage,
        deadline: Instant,
    ) -> Result<Reservation, WaitError> {
        self.memory
            .reserve(shortage, deadline, || self.wake_workers())
    }

    /// In a callback of this producer: takes the memory that was short, beyond the budget. Returns `None` if the
    /// allowance of the batch's callbacks does not suffice.
    pub(crate) fn take_allowance(&self, shortage: &Shortage) -> Option<Reservation> {
        let Shortage { bytes, share, .. } = shortage;
        allowance::take(*bytes).then(|| self.memory.take_now(*bytes, share))
    }

    pub(crate) fn unavailable_brokers(&self) -> &UnavailableBrokers {
        &self.unavailable
    }

    /// On a worker: the broker takes data again, or takes none. From then on the next record without a key goes elsewhere.
    pub(crate) fn report_availability(&self, broker: i32, worker: usize, is_available: bool) {
        self.unavailable.set(broker, worker, !is_available);
        if !is_available {
            self.topics.leave_broker(broker);
        }
    }
}

/// The brokers that take no data: records without a key go to the partitions of others, while there are any. Each worker
/// reports on its own links.
#[derive(Default)]
pub(crate) struct UnavailableBrokers {
    /// A bit for each worker that finds the broker unavailable.
    by_broker: RwLock<HashMap<i32, u64>>,
}

impl UnavailableBrokers {
    fn set(&self, broker: i32, worker: usize, unavailable: bool) {
        let bit = 1u64 << (worker % 64);
        let mut by_broker = self.by_broker.write();
        let workers = by_broker.entry(broker).or_default();
        if unavailable {
            *workers |= bit;
        } else {
            *workers &= !bit;
        }
        if *workers == 0 {
            by_broker.remove(&broker);
        }
    }

    #[cfg(test)]
    pub(crate) fn contains(&self, broker: i32) -> bool {
        self.with(|is_unavailable| is_unavailable(broker))
    }

    /// Calls `body` with what tells whether a broker is one of them.
    pub(crate) fn with<R>(&self, body: impl FnOnce(&dyn Fn(i32) -> bool) -> R) -> R {
        let by_broker = self.by_broker.read();
        body(&|broker| by_broker.contains_key(&broker))
    }
}
