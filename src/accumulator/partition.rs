//! A partition, which callers and its worker share. This file has the worker's side;
//! [`open_batch`](super::open_batch) has the callers' side.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use super::batch::{Contents, ProducerBatch};
use super::completion::Completion;
use super::memory::{BrokerShare, BufferMemory, Reservation};
use super::open_batch::{BATCH_OVERHEAD_BYTES, OpenBatch};
use super::topic_config::TopicConfig;
use super::worker_handle::WorkerHandle;
use crate::record::batch_limit::BatchSizes;
use crate::sync::Mutex;
use crate::threads::InstanceId;

/// A partition's number at its worker. The worker never uses it again, not even for the same partition of a topic that was
/// forgotten and is used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PartitionId(pub(crate) usize);

/// A partition, shared by callers and its worker.
pub(crate) struct Partition {
    /// The producer that sends to it.
    instance: InstanceId,
    topic: Arc<str>,
    partition: i32,
    /// The worker that owns the partition for life.
    pub(super) worker: Arc<WorkerHandle>,
    id: PartitionId,
    pub(super) memory: Arc<BufferMemory>,
    /// The settings of the topic.
    pub(super) config: Arc<TopicConfig>,
    pub(super) sizes: Arc<BatchSizes>,
    pub(super) open: Mutex<OpenBatch>,
    /// See [`queue_length`](Self::queue_length).
    pub(super) queued_batches: AtomicUsize,
    /// The number of batches that exist: open, on their way to the worker, at the worker, or in requests.
    batches: AtomicUsize,
}

/// What the worker finds when it looks for an open batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peek {
    /// There is a batch that was opened at this time, and it stays announced.
    OpenSince(Instant),
    /// A full batch is on its way to the worker, which must receive it first.
    FullBatchQueued,
    /// There is no open batch.
    None,
}

/// The fields of a new [`Partition`].
pub(crate) struct NewPartition {
    pub(crate) instance: InstanceId,
    pub(crate) topic: Arc<str>,
    pub(crate) partition: i32,
    pub(crate) worker: Arc<WorkerHandle>,
    pub(crate) id: PartitionId,
    pub(crate) memory: Arc<BufferMemory>,
    pub(crate) config: Arc<TopicConfig>,
    pub(crate) sizes: Arc<BatchSizes>,
}

impl Partition {
    pub(crate) fn new(new: NewPartition) -> Arc<Self> {
        let NewPartition {
            instance,
            topic,
            partition,
            worker,
            id,
            memory,
            config,
            sizes,
        } = new;
        Arc::new(Self {
            instance,
            topic,
            partition,
            worker,
            id,
            memory,
            config,
            sizes,
            open: Mutex::default(),
            queued_batches: AtomicUsize::new(0),
            batches: AtomicUsize::new(0),
        })
    }

    pub(crate) fn topic(&self) -> &Arc<str> {
        &self.topic
    }

    pub(crate) fn partition(&self) -> i32 {
        self.partition
    }

    pub(crate) fn instance(&self) -> InstanceId {
        self.instance
    }

    /// The settings of the topic.
    #[inline]
    pub(crate) fn config(&self) -> &TopicConfig {
        &self.config
    }

    #[inline]
    pub(crate) fn worker(&self) -> &WorkerHandle {
        &self.worker
    }

    pub(crate) fn id(&self) -> PartitionId {
        self.id
    }

    /// The sizes of the topic's batches that brokers accept, and how well these batches compress.
    pub(crate) fn sizes(&self) -> &BatchSizes {
        &self.sizes
    }

    /// The number of batches that are open or wait to be sent. The adaptive partitioner uses it as the queue's length.
    pub(crate) fn queue_length(&self) -> usize {
        self.queued_batches.load(Ordering::Relaxed)
    }

    /// Reserves the memory for a part of a split batch: as much as possible from `from`, and the rest beyond the budget if
    /// necessary.
    pub(crate) fn part_reservation(
        &self,
        capacity: usize,
        callback_bytes: usize,
        from: Option<&mut Reservation>,
    ) -> Reservation {
        let bytes = BATCH_OVERHEAD_BYTES + capacity + callback_bytes;
        match from {
            Some(from) => {
                let mut reservation = from.split(bytes);
                reservation.absorb(self.reserve_beyond_budget(bytes - reservation.bytes()));
                reservation
            }
            None => self.reserve_beyond_budget(bytes),
        }
    }

    /// On the worker: reserves memory at once, beyond the budget if necessary. It is for memory that the worker needs and
    /// cannot wait for.
    pub(crate) fn reserve_beyond_budget(&self, bytes: usize) -> Reservation {
        let share = Arc::clone(&self.open.lock().share);
        self.memory.reserve_beyond_budget(bytes, &share)
    }

    /// Call when the partition has another leader. Later reservations belong to the share of that leader.
    pub(super) fn set_share(&self, share: &Arc<BrokerShare>) {
        let before = std::mem::replace(&mut self.open.lock().share, Arc::clone(share));
        self.memory.partition_left(&before);
    }

    /// Returns whether a caller waits for room in the leader's share, or in the share to which the open batch belongs.
    pub(crate) fn has_share_waiters(&self) -> bool {
        let open = self.open.lock();
        let contents = open.batch.as_ref().map(|batch| &batch.contents);
        let of_batch = match contents {
            Some(Contents::Building { reservation, .. }) => reservation.share().has_waiters(),
            _ => false,
        };
        of_batch || open.share.has_waiters()
    }

    /// On the worker: looks for an open batch. `received` is the number of this partition's full batches that the worker
    /// has received. After [`Peek::None`] the next open batch is announced.
    pub(crate) fn peek(&self, received: u64) -> Peek {
        let mut open = self.open.lock();
        if open.pushed != received {
            return Peek::FullBatchQueued;
        }
        match &open.batch {
            Some(batch) => Peek::OpenSince(batch.created),
            None => {
                open.announced = false;
                Peek::None
            }
        }
    }

    /// On the worker: takes the open batch. The next open batch is announced. Returns `None` if there is no open batch, or
    /// if a full batch is on its way to the worker, which must receive it first.
    pub(crate) fn take_open(&self, received: u64) -> Option<Box<ProducerBatch>> {
        let mut open = self.open.lock();
        if open.pushed != received {
            return None;
        }
        open.announced = false;
        open.take_batch()
    }

    /// On the worker, for a flush: returns the number of full batches pushed so far, and the completion of the open batch
    /// behind them.
    pub(crate) fn handed_over(&self) -> (u64, Option<Arc<Completion>>) {
        let open = self.open.lock();
        let completion = open
            .batch
            .as_ref()
            .map(|batch| Arc::clone(batch.completion()));
        (open.pushed, completion)
    }

    /// On the worker: counts a batch that was put into a request, or that failed before.
    pub(crate) fn batch_drained(&self) {
        self.queued_batches.fetch_sub(1, Ordering::Relaxed);
    }

    /// On the worker: counts batches that wait to be sent again, or that a split has added.
    pub(crate) fn batches_requeued(&self, batches: usize) {
        self.queued_batches.fetch_add(batches, Ordering::Relaxed);
    }

    /// Counts a batch that was created: under the partition's lock, or as a part of a split batch.
    pub(super) fn batch_begins(&self) {
        self.batches.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a batch that was dropped.
    pub(super) fn batch_ends(&self) {
        self.batches.fetch_sub(1, Ordering::Release);
    }

    /// Retires the partition unless a batch of it exists. Returns whether it is retired.
    pub(super) fn retire(&self) -> bool {
        let mut open = self.open.lock();
        // If no batch exists, only an append can create one, and an append needs this lock.
        open.retired = self.batches.load(Ordering::Acquire) == 0;
        open.retired
    }

    /// Reverses [`retire`](Self::retire). Must not be called after the partition was reported to the worker.
    pub(super) fn reinstate(&self) {
        self.open.lock().retired = false;
    }

    pub(crate) fn is_retired(&self) -> bool {
        self.open.lock().retired
    }

    /// Refuses all later appends and hands the open batch to the worker.
    pub(crate) fn close(&self) {
        let mut open = self.open.lock();
        open.closed = true;
        if open.batch.is_some() {
            self.push_full(&mut open);
        }
    }
}
