//! Batches in memory: callers append records to them, and workers take and send them.
//!
//! A caller encodes its record once, into the open batch of the record's partition. A full batch goes to the partition's
//! worker over the worker's bounded channel, or to the queue behind the channel if the channel is full. The worker takes an
//! open batch when the batch has lingered and can be sent. No batch lingers during a flush or a close, or while callers
//! wait for memory.
//!
//! | module | has |
//! |---|---|
//! | [`topics`], [`partition`] | the topics and partitions to which callers send; the worker's side of a partition |
//! | [`topic_config`] | the settings that can differ by topic |
//! | [`sticky_partitioner`], [`unavailable_brokers`] | the choice of partition for records without a key |
//! | [`open_batch`], [`batch`] | the callers' side of a partition; a batch from its first record to its outcome |
//! | [`callbacks`], [`completion`] | the callbacks of a batch's records; the outcome for which futures wait |
//! | [`memory`], [`buffers`], [`allowance`] | the budget of `buffer.memory`; reused buffers; the memory for records that callbacks send |
//! | [`handover`], [`worker_handle`] | the channel from callers to a worker; a worker as callers see it |

pub(crate) mod allowance;
pub(crate) mod batch;
pub(crate) mod buffers;
pub(crate) mod callbacks;
pub(crate) mod completion;
pub(crate) mod handover;
pub(crate) mod memory;
pub(crate) mod open_batch;
pub(crate) mod partition;
pub(crate) mod sticky_partitioner;
pub(crate) mod topic_config;
pub(crate) mod topics;
pub(crate) mod unavailable_brokers;
pub(crate) mod worker_handle;

pub(crate) use worker_handle::{Message, WorkerHandle};

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crate::error::Error;
use crate::metadata::BrokerId;
use crate::threads::{InstanceId, OpenFlag};

use memory::{BufferMemory, Reservation, Shortage, WaitError};
use topic_config::TopicConfig;
use topics::Topics;
use unavailable_brokers::UnavailableBrokers;

/// The state that callers and workers share.
pub(crate) struct RecordAccumulator {
    pub(crate) memory: Arc<BufferMemory>,
    pub(crate) topics: Topics,
    workers: Vec<Arc<WorkerHandle>>,
    opening: OpenFlag,
    /// Whether a thread of the producer panicked. If so, every later call reports it.
    panicked: AtomicBool,
    unavailable: UnavailableBrokers,
}

impl RecordAccumulator {
    /// `instance` is the producer that the records belong to.
    pub(crate) fn new(
        instance: InstanceId,
        memory: Arc<BufferMemory>,
        topic_config: TopicConfig,
        workers: Vec<Arc<WorkerHandle>>,
    ) -> Self {
        let to_wake = workers.clone();
        memory.buffers.keep(topic_config.batch_size);
        memory.set_alarm(move || to_wake.iter().for_each(|worker| worker.wakeup().wake()));
        Self {
            topics: Topics::new(instance, Arc::clone(&memory), topic_config, workers.clone()),
            memory,
            workers,
            opening: OpenFlag::of(instance),
            panicked: AtomicBool::new(false),
            unavailable: UnavailableBrokers::default(),
        }
    }

    pub(crate) fn workers(&self) -> &[Arc<WorkerHandle>] {
        &self.workers
    }

    pub(crate) fn wake_workers(&self) {
        for worker in &self.workers {
            worker.wakeup().wake();
        }
    }

    /// Returns whether records are accepted. After a close, and in a forked process, they are refused.
    #[inline]
    pub(crate) fn is_open(&self) -> bool {
        self.opening.is_open()
    }

    pub(crate) fn has_panicked(&self) -> bool {
        self.panicked.load(Ordering::Acquire)
    }

    /// Closes the accumulator as [`close`](Self::close) does, after a thread panicked. The callers that this wakes report
    /// the panic.
    pub(crate) fn close_after_panic(&self) {
        self.panicked.store(true, Ordering::Release);
        self.close();
    }

    /// Refuses all later appends, wakes all callers that wait for memory, and hands all open batches to the workers.
    pub(crate) fn close(&self) {
        self.opening.close();
        self.memory.close();
        self.topics.close();
        self.memory.buffers.close();
    }

    /// Reserves the missing memory. Blocks until it is free, or until `deadline`. The workers find the waiter, and send
    /// batches without waiting for `linger.ms`.
    pub(crate) fn reserve(
        &self,
        shortage: &Shortage,
        deadline: Instant,
    ) -> Result<Reservation, WaitError> {
        self.memory
            .reserve(shortage, deadline, || self.wake_workers())
    }

    /// In a callback of this producer: reserves the missing memory beyond the budget. Returns `None` if too little is left
    /// of the allowance of the batch's callbacks.
    pub(crate) fn reserve_from_allowance(&self, shortage: &Shortage) -> Option<Reservation> {
        let Shortage { bytes, share, .. } = shortage;
        allowance::take(*bytes).then(|| self.memory.reserve_beyond_budget(*bytes, share))
    }

    pub(crate) fn unavailable_brokers(&self) -> &UnavailableBrokers {
        &self.unavailable
    }

    /// On a worker: notes whether the broker accepts data. If it accepts none, later records without a key go to other
    /// brokers.
    pub(crate) fn report_availability(&self, broker: BrokerId, worker: usize, is_available: bool) {
        self.unavailable.set(broker, worker, !is_available);
        if !is_available {
            self.topics.end_sticky_turns_of_broker(broker);
        } else if let Some(share) = self.topics.share(broker) {
            self.memory.connection_works(&share);
        }
    }

    /// On a worker: notes that a connection to the broker has failed. If one side refused the other, the callers that wait
    /// for memory for records of that broker are told at once.
    pub(crate) fn report_failure(&self, broker: BrokerId, error: &Error) {
        if let Some(share) = self.topics.share(broker) {
            self.memory.connection_failed(&share, error);
        }
    }
}
