//! A worker, as callers see it. They push full batches to it, wake it, and read the clock that it publishes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};

use super::batch::ProducerBatch;
use super::handover::HandoverSender;
use super::open_batch::Wake;
use super::partition::{Partition, PartitionId};
use crate::sync::{Mutex, Wakeup};
use crate::time::wall_clock_ms;

/// A message from callers to a worker.
pub(crate) enum Message {
    /// The announcement of an open batch. It is sent if no batch of the partition is announced, or if a caller waits for
    /// the share of its leader.
    Opened(Arc<Partition>),
    FullBatch(Box<ProducerBatch>),
}

/// A worker, as callers see it.
pub(crate) struct WorkerHandle {
    records: HandoverSender<Message>,
    wakeup: Arc<Wakeup>,
    /// The number of partitions that the worker ever had. The next partition gets this number as its id.
    partition_ids: AtomicUsize,
    /// The partitions that the producer has forgotten, until the worker takes them.
    retired: Mutex<Vec<Arc<Partition>>>,
    /// Whether `retired` is not empty. It is read without the lock.
    has_retired: AtomicBool,
    /// The messages that were pushed after the worker had ended, which happens if it panicked.
    abandoned: Mutex<Vec<Message>>,
    /// The number of records that failed after the producer's close began, or because the worker ended.
    undelivered: AtomicU64,
    clock: WorkerClock,
}

/// The wall clock, as the worker last read it. An awake worker reads the clock at the start of each round, so callers need
/// not read it for each record. While the worker sleeps, callers read the clock themselves.
#[derive(Default)]
pub(crate) struct WorkerClock {
    /// Milliseconds since 1970; 0 while the worker sleeps.
    now_ms: AtomicI64,
}

impl WorkerClock {
    /// Returns the timestamp for a record. It is at most one round of the worker behind the wall clock.
    #[inline]
    pub(crate) fn now_ms(&self) -> i64 {
        match self.now_ms.load(Ordering::Relaxed) {
            0 => wall_clock_ms(),
            now_ms => now_ms,
        }
    }

    /// On the worker: publishes the time when a round begins.
    pub(crate) fn tick(&self) {
        self.now_ms.store(wall_clock_ms(), Ordering::Relaxed);
    }

    /// On the worker: publishes the time in the middle of a long round.
    pub(crate) fn tick_if_running(&self) {
        if self.now_ms.load(Ordering::Relaxed) != 0 {
            self.tick();
        }
    }

    /// On the worker: stops the clock before the worker sleeps.
    pub(crate) fn stop(&self) {
        self.now_ms.store(0, Ordering::Relaxed);
    }
}

impl WorkerHandle {
    pub(crate) fn new(records: HandoverSender<Message>, wakeup: Arc<Wakeup>) -> Arc<Self> {
        Arc::new(Self {
            records,
            wakeup,
            partition_ids: AtomicUsize::new(0),
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

    /// Wakes the worker as an append requested. Must not be called under a lock.
    pub(crate) fn wake(&self, wake: Wake) {
        match wake {
            Wake::None => {}
            Wake::By(deadline) => self.wakeup.wake_by(deadline),
            Wake::Now => self.wakeup.wake(),
        }
    }

    /// Pushes a message to the worker. Never waits for room. After the worker has ended, the message is kept for
    /// [`fail_abandoned_batches`](Self::fail_abandoned_batches). It cannot be dropped here, because the caller holds locks
    /// and a dropped batch runs its callbacks.
    pub(super) fn push(&self, message: Message) {
        if let Err(message) = self.records.push(message) {
            self.abandoned.lock().push(message);
        }
    }

    /// On the worker, at its end: disconnects the channel. Its memory is freed when the worker drops the receiver.
    pub(crate) fn disconnect(&self) {
        self.records.disconnect();
        // Retired partitions hold this handle, so the list of them is a cycle. After the close the list stays empty.
        drop(self.take_retired());
    }

    /// Reports to the worker that the producer has forgotten the partition. The worker finds it when it next looks. Must
    /// not be called after the close.
    pub(super) fn report_retired(&self, partition: Arc<Partition>) {
        self.retired.lock().push(partition);
        self.has_retired.store(true, Ordering::Release);
    }

    /// On the worker: returns whether there are forgotten partitions to take.
    #[inline]
    pub(crate) fn has_retired(&self) -> bool {
        self.has_retired.load(Ordering::Acquire)
    }

    /// On the worker: takes the partitions that the producer has forgotten since the last call.
    pub(crate) fn take_retired(&self) -> Vec<Arc<Partition>> {
        let mut retired = self.retired.lock();
        self.has_retired.store(false, Ordering::Release);
        std::mem::take(&mut *retired)
    }

    /// Fails the batches that were pushed after the worker had ended: it drops them. Must not be called under a lock.
    pub(crate) fn fail_abandoned_batches(&self) {
        let abandoned = std::mem::take(&mut *self.abandoned.lock());
        for message in abandoned {
            if let Message::FullBatch(batch) = message {
                self.count_undelivered(batch.record_count());
            }
        }
    }

    /// Returns whether [`disconnect`](Self::disconnect) was called.
    #[cfg(test)]
    pub(crate) fn is_disconnected(&self) -> bool {
        self.records.is_disconnected()
    }

    /// Counts records that failed because they could not be sent any more.
    pub(crate) fn count_undelivered(&self, records: u32) {
        self.undelivered
            .fetch_add(u64::from(records), Ordering::Relaxed);
    }

    /// The number of records that failed after the producer's close began, or because the worker ended.
    pub(crate) fn undelivered(&self) -> u64 {
        self.undelivered.load(Ordering::Relaxed)
    }

    pub(super) fn next_partition_id(&self) -> PartitionId {
        PartitionId(self.partition_ids.fetch_add(1, Ordering::Relaxed))
    }
}
