//! One partition's open batch: what callers append to and the worker takes.
//!
//! The order of records in a partition is the order in which `send` got this lock. Under it nothing blocks: memory is
//! only tried for (a caller that must wait lets go of the lock first), and what goes to the worker always has room (see
//! [`handover`](crate::accumulator::handover)).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use super::batch::{Contents, ProducerBatch, RecordDetails};
use super::callbacks::OfferedCallback;
use super::completion::{Completion, RecordHandle};
use super::memory::{BrokerShare, BufferMemory, Reservation, Shortage};
use super::topic_config::TopicConfig;
use super::{Message, WorkerHandle};
use crate::record::batch_limit::BatchSizes;
use crate::record::builder::{BatchBuilder, RecordHeader, upper_bound_size};
use crate::record::compression::CompressionType;
use crate::sync::{Mutex, MutexGuard};
use crate::threads::InstanceId;
use crate::time::monotonic_now;

/// What a batch holds beside its buffer: its structures, its future block, its messages to the worker.
const BATCH_OVERHEAD_BYTES: usize = 512;

/// The smallest buffer of a batch: a partition that sees a record now and then does not hold a whole `batch.size`.
const MIN_BUFFER_BYTES: usize = 512;

/// The memory for callbacks that is reserved at once, if there is so much.
const CALLBACKS_STEP_BYTES: usize = 2048;

/// A partition as callers and the worker share it.
pub(crate) struct Partition {
    /// The producer that sends to it.
    instance: InstanceId,
    topic: Arc<str>,
    partition: i32,
    /// The worker that owns the partition for life, and the partition's number there, which no other ever has.
    worker: Arc<WorkerHandle>,
    slot: usize,
    memory: Arc<BufferMemory>,
    /// That of the topic.
    config: Arc<TopicConfig>,
    sizes: Arc<BatchSizes>,
    open: Mutex<Open>,
    /// Batches opened and not yet drained into a request: the queue length that the adaptive partitioner weighs.
    queued_batches: AtomicUsize,
    /// Batches that there are, wherever they are.
    batches: AtomicUsize,
}

/// Everything here is guarded by the partition's lock.
struct Open {
    batch: Option<Box<ProducerBatch>>,
    /// Whether the worker was told of an open batch and has not found or left this partition without one since: it
    /// will look no later than `linger.ms` after any batch that is opened meanwhile.
    announced: bool,
    /// Full batches given to the channel so far.
    pushed: u64,
    /// How large the open batch may grow before it is compressed.
    limit: usize,
    /// The size that the latest batch reached: what the next one starts with.
    usual_bytes: usize,
    /// The memory that the callbacks of the latest batch with any took: what the next one reserves with its first one.
    usual_callback_bytes: usize,
    /// The bytes that the sticky partitioner sent here since it chose this partition. A turn is as long as a batch, which is
    /// `limit` before it is compressed, and at most twice as long.
    sticky_bytes: usize,
    /// The share of the budget that the partition's leader has.
    share: Arc<BrokerShare>,
    closed: bool,
    /// The partition is forgotten: if the topic is used again, another one takes its place.
    retired: bool,
}

impl Open {
    /// Appends as many of `records`, each with an upper bound of its size, as the open batch has room for, with room for
    /// another such, and as belong to the turn of the partition where it is the sticky one. The index of the first in the
    /// batch, and the number of them, one at least.
    #[inline]
    fn append_while_room<'a, H: RecordHeader + 'a>(
        &mut self,
        records: impl Iterator<Item = (SerializedRecord<'a, H>, usize)>,
        is_sticky: bool,
    ) -> Option<(u32, usize)> {
        let contents = &mut self.batch.as_mut()?.contents;
        let Contents::Building { builder, .. } = contents else {
            return None;
        };
        let (before, first) = (builder.len(), builder.count());
        let end = self.limit.min(builder.capacity());
        let turn_ends = match is_sticky {
            true => (2 * self.limit).saturating_sub(self.sticky_bytes),
            false => usize::MAX,
        };
        for (record, upper_bound) in records {
            let len = builder.len();
            let is_turn_over = len - before + upper_bound >= turn_ends;
            if end.saturating_sub(len) < 2 * upper_bound || is_turn_over {
                break;
            }
            let SerializedRecord {
                timestamp_ms,
                key,
                value,
                headers,
            } = record;
            builder.append(timestamp_ms, key, value, headers);
        }
        if is_sticky {
            self.sticky_bytes += builder.len() - before;
        }
        let count = (builder.count() - first) as usize;
        (count > 0).then_some((first as u32, count))
    }

    /// Whether the sticky partitioner has sent enough here: no batch is left to linger for want of records, unless twice as
    /// much has come.
    fn is_turn_over(&self) -> bool {
        self.sticky_bytes >= self.limit
            && (self.batch.is_none() || self.sticky_bytes >= 2 * self.limit)
    }

    /// The batch. The next one begins with its size.
    fn take_batch(&mut self) -> Option<Box<ProducerBatch>> {
        let batch = self.batch.take()?;
        self.usual_bytes = batch.size();
        if !batch.callbacks.is_empty() {
            self.usual_callback_bytes = batch.callbacks.used_bytes();
        }
        Some(batch)
    }
}

/// The upper bound of the size of a record that gets a batch of its own within the whole budget: a larger one is refused,
/// not waited for. 0 where the budget is too small for any.
pub(crate) fn largest_record(buffer_memory: usize) -> usize {
    match buffer_memory.saturating_sub(BATCH_OVERHEAD_BYTES + CALLBACKS_STEP_BYTES) {
        too_little if too_little < MIN_BUFFER_BYTES => 0,
        largest => largest,
    }
}

/// A record on its way into a batch, serialized.
pub(crate) struct SerializedRecord<'a, H> {
    pub(crate) timestamp_ms: i64,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) headers: &'a [H],
}

impl<H> SerializedRecord<'_, H> {
    #[inline]
    pub(crate) fn details(&self) -> RecordDetails {
        let size = |bytes: Option<&[u8]>| {
            bytes.map_or(-1, |bytes| i32::try_from(bytes.len()).unwrap_or(i32::MAX))
        };
        RecordDetails {
            timestamp_ms: self.timestamp_ms,
            key_size: size(self.key),
            value_size: size(self.value),
        }
    }
}

/// Whatever the headers are, these are references to them.
impl<H> Clone for SerializedRecord<'_, H> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<H> Copy for SerializedRecord<'_, H> {}

/// A partition with its lock.
pub(crate) struct Locked<'a> {
    open: MutexGuard<'a, Open>,
}

impl Locked<'_> {
    /// Appends `record`, of at most `upper_bound` bytes, if the open batch has room for it and for another such, so that the
    /// batch is not full then, and if the turn of a record whose partition is sticky is not over. Nothing has happened
    /// otherwise. `callback` is taken on success.
    #[inline]
    pub(crate) fn append_in_room<H: RecordHeader>(
        mut self,
        record: &SerializedRecord<'_, H>,
        upper_bound: usize,
        is_sticky: bool,
        callback: &mut impl OfferedCallback,
    ) -> Option<RecordHandle> {
        let open = &mut *self.open;
        let callbacks = &open.batch.as_ref()?.callbacks;
        if !callbacks.has_room(callback.bytes()) {
            return None;
        }
        let (index, _) =
            open.append_while_room(std::iter::once((*record, upper_bound)), is_sticky)?;
        let batch = open.batch.as_mut()?;
        callback.give_to(&mut batch.callbacks, index, record.details());
        Some(RecordHandle {
            completion: Arc::clone(batch.completion()),
            index,
        })
    }

    /// As [`append_in_room`](Self::append_in_room), for as many of `records` as there is room for. The place is that of the
    /// first, and the number that of all that were appended, one at least.
    #[inline]
    pub(crate) fn append_run<'a, H: RecordHeader + 'a>(
        mut self,
        records: impl Iterator<Item = (SerializedRecord<'a, H>, usize)>,
        is_sticky: bool,
    ) -> Option<(RecordHandle, usize)> {
        let open = &mut *self.open;
        let (first, count) = open.append_while_room(records, is_sticky)?;
        let completion = Arc::clone(open.batch.as_ref()?.completion());
        let first = RecordHandle {
            completion,
            index: first,
        };
        Some((first, count))
    }
}

/// What came of an append.
pub(crate) enum Append {
    /// The record is in a batch.
    Done {
        record: RecordHandle,
        wake: Wake,
        /// Whether enough has come from the sticky partitioner.
        is_turn_over: bool,
    },
    /// The record is not in a batch: call again with a reservation.
    NeedsMemory { shortage: Shortage, wake: Wake },
    /// The producer is closed.
    Closed,
    /// The producer has forgotten the partition. The caller is to look up its topic again.
    Retired,
}

/// Whom the caller wakes, after it let go of its locks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wake {
    None,
    /// The worker has a new deadline.
    By(Instant),
    /// There is a full batch.
    Now,
}

/// What the worker learns of the open batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peek {
    /// There is one; it stays announced.
    OpenSince(Instant),
    /// A full batch is in the channel and comes first.
    FullBatchQueued,
    /// There is none.
    None,
}

/// A partition to be made, with the fields of [`Partition`].
pub(crate) struct NewPartition {
    pub(crate) instance: InstanceId,
    pub(crate) topic: Arc<str>,
    pub(crate) partition: i32,
    pub(crate) worker: Arc<WorkerHandle>,
    pub(crate) slot: usize,
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
            slot,
            memory,
            config,
            sizes,
        } = new;
        Arc::new(Self {
            instance,
            topic,
            partition,
            worker,
            slot,
            memory,
            config,
            sizes,
            open: Mutex::new(Open {
                batch: None,
                announced: false,
                pushed: 0,
                limit: 0,
                usual_bytes: 0,
                usual_callback_bytes: 0,
                sticky_bytes: 0,
                share: Arc::default(),
                closed: false,
                retired: false,
            }),
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

    pub(crate) fn slot(&self) -> usize {
        self.slot
    }

    /// What is learnt of the topic's batches.
    pub(crate) fn sizes(&self) -> &BatchSizes {
        &self.sizes
    }

    /// Batches that wait for being sent.
    pub(crate) fn queue_length(&self) -> usize {
        self.queued_batches.load(Ordering::Relaxed)
    }

    /// The memory of a part of a split batch: what `from` has of it, and the rest beyond the budget if need be.
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
                reservation.absorb(self.take_memory_now(bytes - reservation.bytes()));
                reservation
            }
            None => self.take_memory_now(bytes),
        }
    }

    /// On the worker: memory for what must be held and cannot wait, beyond the budget if need be.
    pub(crate) fn take_memory_now(&self, bytes: usize) -> Reservation {
        let share = Arc::clone(&self.open.lock().share);
        self.memory.take_now(bytes, &share)
    }

    /// The partition has another leader: what is reserved from now on counts for that one's share.
    pub(super) fn set_share(&self, share: &Arc<BrokerShare>) {
        let before = std::mem::replace(&mut self.open.lock().share, Arc::clone(share));
        self.memory.partition_left(&before);
    }

    /// Whether somebody waits for memory of the leader's share, or of that which the open batch counts for.
    pub(crate) fn is_share_exhausted(&self) -> bool {
        let open = self.open.lock();
        let contents = open.batch.as_ref().map(|batch| &batch.contents);
        let of_batch = match contents {
            Some(Contents::Building { reservation, .. }) => reservation.share().is_exhausted(),
            _ => false,
        };
        of_batch || open.share.is_exhausted()
    }

    /// On a caller's thread, to append what there is room for.
    #[inline]
    pub(crate) fn lock(&self) -> Locked<'_> {
        Locked {
            open: self.open.lock(),
        }
    }

    /// As [`lock`](Self::lock), if nobody else is at work here.
    #[inline]
    pub(crate) fn try_lock(&self) -> Option<Locked<'_>> {
        let open = self.open.try_lock()?;
        Some(Locked { open })
    }

    /// On a caller's thread: appends `record` to the open batch, or to a new one. Never blocks.
    ///
    /// `spare` is memory that the caller waited for; what is not used stays in it. `callback` is taken on success.
    pub(crate) fn append<H: RecordHeader>(
        self: &Arc<Self>,
        record: &SerializedRecord<'_, H>,
        is_sticky: bool,
        callback: &mut dyn OfferedCallback,
        spare: &mut Option<Reservation>,
    ) -> Append {
        let open = &mut *self.open.lock();
        if open.closed {
            return Append::Closed;
        }
        if open.retired {
            return Append::Retired;
        }
        let mut wake = Wake::None;
        loop {
            let limit = open.limit;
            let Some(batch) = &mut open.batch else {
                match self.open_batch(open, record, callback.bytes(), spare) {
                    Ok(opened) => wake = wake.max(opened),
                    Err(shortage) => return Append::NeedsMemory { shortage, wake },
                }
                continue;
            };
            match self.append_to(batch, record, callback, limit, spare, &open.share) {
                AppendTo::Done { index, size, full } => {
                    let completion = Arc::clone(batch.completion());
                    if is_sticky {
                        open.sticky_bytes += size;
                    }
                    if full {
                        self.push_full(open);
                        wake = Wake::Now;
                    }
                    let is_turn_over = open.is_turn_over();
                    return Append::Done {
                        record: RecordHandle { completion, index },
                        wake,
                        is_turn_over,
                    };
                }
                AppendTo::Full => {
                    self.push_full(open);
                    wake = Wake::Now;
                }
                AppendTo::NeedsMemory(shortage) => {
                    return Append::NeedsMemory { shortage, wake };
                }
            }
        }
    }

    /// The sticky partitioner's count starts anew: it has just chosen this partition, or left it.
    pub(crate) fn reset_sticky_bytes(&self) {
        self.open.lock().sticky_bytes = 0;
    }

    /// On the worker: when the open batch was opened. `received` is the number of this partition's full batches that
    /// the worker has had from its channel. After [`Peek::None`] the next open batch will be announced.
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

    /// On the worker: takes the open batch; the next one will be announced. None if there is none, or if a full batch
    /// is on its way in the channel and comes first.
    pub(crate) fn take_open(&self, received: u64) -> Option<Box<ProducerBatch>> {
        let mut open = self.open.lock();
        if open.pushed != received {
            return None;
        }
        open.announced = false;
        open.take_batch()
    }

    /// On the worker, for a flush: how many full batches were given to the channel, and what tells when the open batch
    /// behind them is settled.
    pub(crate) fn handed_over(&self) -> (u64, Option<Arc<Completion>>) {
        let open = self.open.lock();
        let completion = open
            .batch
            .as_ref()
            .map(|batch| Arc::clone(batch.completion()));
        (open.pushed, completion)
    }

    /// On the worker: one batch of this partition left for the wire, or failed before.
    pub(crate) fn batch_drained(&self) {
        self.queued_batches.fetch_sub(1, Ordering::Relaxed);
    }

    /// On the worker: batches of this partition wait (again) for being sent.
    pub(crate) fn batches_requeued(&self, batches: usize) {
        self.queued_batches.fetch_add(batches, Ordering::Relaxed);
    }

    /// A batch of this partition was made: a new one under the partition's lock, or a part of another.
    pub(super) fn batch_begins(&self) {
        self.batches.fetch_add(1, Ordering::Relaxed);
    }

    /// A batch of this partition is no more.
    pub(super) fn batch_ends(&self) {
        self.batches.fetch_sub(1, Ordering::Release);
    }

    /// Takes the partition out of use, unless there is a batch of it anywhere; whether it did.
    pub(super) fn retire(&self) -> bool {
        let mut open = self.open.lock();
        // Without a batch there can be none before the next append.
        open.retired = self.batches.load(Ordering::Acquire) == 0;
        open.retired
    }

    /// Takes a retired partition into use again, of which nobody was told.
    pub(super) fn reinstate(&self) {
        self.open.lock().retired = false;
    }

    pub(crate) fn is_retired(&self) -> bool {
        self.open.lock().retired
    }

    /// Refuses every later append and hands the open batch to the worker.
    pub(crate) fn close(&self) {
        let mut open = self.open.lock();
        open.closed = true;
        if open.batch.is_some() {
            self.push_full(&mut open);
        }
    }

    /// How large a batch may grow before it is compressed: with Java's margin of 5 % over the ratio to expect. Once a broker
    /// has refused batches of the topic as too large, less than `batch.size` is filled.
    fn batch_limit(&self) -> usize {
        let config = self.config();
        let size = config.batch_size.min(self.sizes.limit.most());
        let codec = config.compression.codec;
        if codec == CompressionType::None {
            return size;
        }
        let ratio = (1.05 * self.sizes.ratio.estimate(codec)).max(0.01);
        let expected = size as f64 / ratio;
        (expected as usize).clamp(size, config.max_batch_bytes.max(size))
    }

    /// Opens a batch with room for `record`, so that the append that follows cannot fail and leave it empty.
    fn open_batch<H: RecordHeader>(
        self: &Arc<Self>,
        open: &mut Open,
        record: &SerializedRecord<'_, H>,
        callback_bytes: usize,
        spare: &mut Option<Reservation>,
    ) -> Result<Wake, Shortage> {
        let limit = self.batch_limit();
        let first = upper_bound_size(
            record.key.map(<[u8]>::len),
            record.value.map(<[u8]>::len),
            record.headers,
        );
        let usual_callbacks = match callback_bytes {
            0 => 0,
            bytes => with_margin(open.usual_callback_bytes).max(CALLBACKS_STEP_BYTES.max(bytes)),
        };
        let usual =
            with_margin(open.usual_bytes).clamp(MIN_BUFFER_BYTES, limit.max(MIN_BUFFER_BYTES));
        let capacity = first.max(usual);
        // A tight budget gets the smallest buffer that does: better a small batch than none.
        let ample = BATCH_OVERHEAD_BYTES + capacity + usual_callbacks;
        let (reservation, capacity, callbacks) = match self.obtain(ample, spare, &open.share) {
            Ok(reservation) => (reservation, capacity, usual_callbacks),
            Err(_) => {
                let least = first.max(MIN_BUFFER_BYTES);
                let bytes = BATCH_OVERHEAD_BYTES + least + callback_bytes;
                let reservation = self.obtain(bytes, spare, &open.share)?;
                (reservation, least, callback_bytes)
            }
        };
        let now = monotonic_now();
        let builder = BatchBuilder::new(self.memory.buffers.take(capacity));
        let mut batch = ProducerBatch::new(Arc::clone(self), builder, reservation, now);
        batch.callbacks.add_room(callbacks);
        open.batch = Some(batch);
        open.limit = limit;
        self.queued_batches.fetch_add(1, Ordering::Relaxed);
        let announced = std::mem::replace(&mut open.announced, true);
        let is_share_exhausted = open.share.is_exhausted();
        // The worker looks at this partition out of turn while somebody waits for its leader's share.
        if !announced || is_share_exhausted {
            self.worker.push(Message::Opened(Arc::clone(self)));
        }
        // While others wait for memory nothing lingers, or they and the worker would wait for each other.
        Ok(
            if self.config.linger.is_zero() || self.memory.is_exhausted() || is_share_exhausted {
                Wake::Now
            } else if announced {
                Wake::None
            } else {
                Wake::By(now + self.config.linger)
            },
        )
    }

    fn append_to<H: RecordHeader>(
        &self,
        batch: &mut Box<ProducerBatch>,
        record: &SerializedRecord<'_, H>,
        callback: &mut dyn OfferedCallback,
        limit: usize,
        spare: &mut Option<Reservation>,
        share: &Arc<BrokerShare>,
    ) -> AppendTo {
        let least = callback.bytes();
        if !batch.callbacks.has_room(least) {
            let ample = batch
                .callbacks
                .used_bytes()
                .max(CALLBACKS_STEP_BYTES)
                .max(least);
            let more = match self.obtain_up_to(ample, least, spare, share) {
                Ok(more) => more,
                Err(shortage) => return AppendTo::NeedsMemory(shortage),
            };
            batch.callbacks.add_room(more.bytes());
            if let Contents::Building { reservation, .. } = &mut batch.contents {
                reservation.absorb(more);
            }
        }
        let Contents::Building {
            builder,
            reservation,
        } = &mut batch.contents
        else {
            return AppendTo::Full;
        };
        let SerializedRecord {
            timestamp_ms,
            key,
            value,
            headers,
        } = *record;
        if !builder.fits(limit, timestamp_ms, key, value, headers) {
            let len = builder.len() + builder.record_size(timestamp_ms, key, value, headers);
            if len > limit && !builder.is_empty() {
                return AppendTo::Full;
            }
            if let Err(shortage) = self.grow(builder, reservation, len, limit, spare, share) {
                return AppendTo::NeedsMemory(shortage);
            }
        }
        let before = builder.len();
        let index = builder.append(timestamp_ms, key, value, headers) as u32;
        let (len, size) = (builder.len(), builder.len() - before);
        // Full if another record of the usual size would not fit: it goes at once instead of lingering for nothing.
        let full = len + size > limit && len + len / (index as usize + 1) > limit;
        callback.give_to(&mut batch.callbacks, index, record.details());
        AppendTo::Done { index, size, full }
    }

    /// Gives the builder room for `len` bytes, and for as many again where memory and the limit allow; otherwise tells
    /// how many more bytes it takes.
    #[cold]
    fn grow(
        &self,
        builder: &mut BatchBuilder,
        reservation: &mut Reservation,
        len: usize,
        limit: usize,
        spare: &mut Option<Reservation>,
        share: &Arc<BrokerShare>,
    ) -> Result<(), Shortage> {
        let capacity = builder.capacity();
        if len <= capacity {
            return Ok(());
        }
        let ample = (2 * capacity).min(limit).max(len) - capacity;
        let least = len - capacity;
        let more = self.obtain_up_to(ample, least, spare, share)?;
        builder.reserve_capacity(capacity + more.bytes());
        reservation.absorb(more);
        Ok(())
    }

    /// As [`obtain`](Self::obtain), `ample` bytes or, where they are not to be had, `least`.
    fn obtain_up_to(
        &self,
        ample: usize,
        least: usize,
        spare: &mut Option<Reservation>,
        share: &Arc<BrokerShare>,
    ) -> Result<Reservation, Shortage> {
        self.obtain(ample, spare, share)
            .or_else(|_| self.obtain(least, spare, share))
    }

    /// Takes `bytes` from the caller's spare memory if that suffices, else from the budget without waiting.
    fn obtain(
        &self,
        bytes: usize,
        spare: &mut Option<Reservation>,
        share: &Arc<BrokerShare>,
    ) -> Result<Reservation, Shortage> {
        // What was waited for counts for another broker, if the leader or the choice of partition has changed since.
        if spare
            .as_ref()
            .is_some_and(|spare| !Arc::ptr_eq(spare.share(), share))
        {
            *spare = None;
        }
        match spare {
            Some(spare) if spare.bytes() >= bytes => Ok(spare.split(bytes)),
            _ => self.memory.try_reserve(bytes, share),
        }
    }

    fn push_full(&self, open: &mut Open) {
        if let Some(mut batch) = open.take_batch() {
            batch.is_full = true;
            open.pushed += 1;
            self.worker.push(Message::FullBatch(batch));
        }
    }
}

/// What to begin with where the latest took so many.
fn with_margin(usual_bytes: usize) -> usize {
    usual_bytes.saturating_add(usual_bytes / 8)
}

enum AppendTo {
    Done { index: u32, size: usize, full: bool },
    Full,
    NeedsMemory(Shortage),
}

impl Wake {
    fn max(self, other: Wake) -> Wake {
        match (self, other) {
            (Wake::Now, _) | (_, Wake::Now) => Wake::Now,
            (Wake::By(at), _) => Wake::By(at),
            (Wake::None, other) => other,
        }
    }
}
