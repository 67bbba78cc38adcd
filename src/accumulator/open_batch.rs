//! A partition's open batch, to which callers append records.
//!
//! The order of records in a partition is the order in which `send` takes the partition's lock. No call blocks under
//! this lock: an append only tries to reserve memory, and a caller that has to wait for memory releases the lock first.
//! A message to the worker always finds room (see [`handover`](super::handover)).
//!
//! There are two paths into a batch. The fast path is [`OpenBatchGuard`]. It appends a record if the open batch has room
//! for this record and for another one of the same size. Otherwise it changes nothing. The slow path is
//! [`Partition::append`]: it opens a batch, gives it more memory, and hands it to the worker when it is full.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::Message;
use super::batch::{Contents, ProducerBatch, RecordDetails};
use super::callbacks::OfferedCallback;
use super::completion::RecordHandle;
use super::memory::{BrokerShare, BufferMemory, Reservation, Shortage};
use super::partition::Partition;
use crate::record::builder::{BatchBuilder, RecordHeader, upper_bound_size};
use crate::record::compression::CompressionType;
use crate::sync::MutexGuard;
use crate::time::monotonic_now;

/// The memory of a batch without its buffer and its callbacks: its structures, its completion, its messages to the worker.
pub(super) const BATCH_OVERHEAD_BYTES: usize = 512;

/// The size of a batch's smallest buffer. It is small so that a partition with few records does not hold a whole
/// `batch.size`.
const MIN_BUFFER_BYTES: usize = 512;

/// Memory for callbacks is reserved in steps of at least this size. If less is free, only the necessary memory is reserved.
const CALLBACKS_STEP_BYTES: usize = 2048;

/// Returns the size of the largest record that fits the whole budget, alone in a batch. A record is refused
/// at once if the upper bound of its size is larger than this. Returns 0 if the budget is too small for any record.
pub(crate) fn largest_record(buffer_memory: usize) -> usize {
    match buffer_memory.saturating_sub(BATCH_OVERHEAD_BYTES + CALLBACKS_STEP_BYTES) {
        too_little if too_little < MIN_BUFFER_BYTES => 0,
        largest => largest,
    }
}

/// A serialized record, before it is in a batch.
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

/// Not derived, because the derived implementation would require that the headers can be cloned.
impl<H> Clone for SerializedRecord<'_, H> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<H> Copy for SerializedRecord<'_, H> {}

/// The result of an append on the slow path.
pub(crate) enum Append {
    /// The record is in a batch.
    Done {
        record: RecordHandle,
        wake: Wake,
        /// Whether the record was the last one of a sticky turn: see [`StickyTurn`].
        is_turn_over: bool,
    },
    /// The record is in no batch. The caller waits for this memory and appends again.
    NeedsMemory { shortage: Shortage, wake: Wake },
    /// The producer is closed.
    Closed,
    /// The producer has forgotten the partition. The caller looks up its topic again.
    Retired,
}

/// Whether and when the caller must wake the worker, after the caller has released its locks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wake {
    None,
    /// The worker must be awake at this time: a batch has lingered then.
    By(Instant),
    /// The worker must wake at once: it can send a batch.
    Now,
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

/// The data under a partition's lock: the open batch, and what callers and the worker know about it.
#[derive(Default)]
pub(super) struct OpenBatch {
    pub(super) batch: Option<Box<ProducerBatch>>,
    /// Whether an open batch is announced. True from the notice to the worker until the worker takes a batch or finds none.
    /// Meanwhile the worker looks here within `linger.ms` after any batch is opened, so later batches need no notice.
    pub(super) announced: bool,
    /// The number of full batches pushed to the worker so far.
    pub(super) pushed: u64,
    /// The size up to which the open batch may grow, before compression.
    limit: usize,
    /// The size of the latest batch. The buffer of the next batch starts with this size and a margin.
    usual_bytes: usize,
    /// The memory of the callbacks of the latest batch that had callbacks. The next batch reserves this much, and a margin,
    /// if its first record has a callback.
    usual_callback_bytes: usize,
    turn: StickyTurn,
    /// The share of the partition's leader.
    pub(super) share: Arc<BrokerShare>,
    pub(super) closed: bool,
    /// Whether the producer has forgotten the partition. If the topic is used again, it gets another [`Partition`].
    pub(super) retired: bool,
}

/// The sticky turn of a partition: while it lasts, the sticky partitioner sends the records without a key here.
#[derive(Default)]
struct StickyTurn {
    /// The bytes that were sent here since the turn began.
    bytes: usize,
}

impl StickyTurn {
    /// Returns the number of bytes after which the turn is over.
    ///
    /// This is the rule (KIP-794). `batch_limit` is the size up to which the partition's batches are filled, before
    /// compression. A turn is over when `batch_limit` bytes were sent and no batch is open. So no part-filled batch stays
    /// behind to linger. A turn is also over when twice as many bytes were sent, even if a batch is open.
    #[inline]
    fn bytes_left(&self, batch_limit: usize, has_open_batch: bool) -> usize {
        let length = match has_open_batch {
            true => 2 * batch_limit,
            false => batch_limit,
        };
        length.saturating_sub(self.bytes)
    }
}

impl OpenBatch {
    /// Appends `records` in order, each of them with an upper bound of its size. Stops before the first record that
    /// would not fit twice. So the batch is not full afterwards. With `is_sticky` it also stops before a record with which
    /// the sticky turn may end. Returns the index of the first record in the batch and the number of appended records. `None`
    /// if it appended none.
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
        let left_in_turn = match is_sticky {
            true => self.turn.bytes_left(self.limit, true),
            false => usize::MAX,
        };
        for (record, upper_bound) in records {
            let len = builder.len();
            let may_end_turn = len - before + upper_bound >= left_in_turn;
            if end.saturating_sub(len) < 2 * upper_bound || may_end_turn {
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
            self.turn.bytes += builder.len() - before;
        }
        let count = (builder.count() - first) as usize;
        (count > 0).then_some((first as u32, count))
    }

    /// Takes the open batch out. The next batch starts with a buffer of its size and a margin.
    pub(super) fn take_batch(&mut self) -> Option<Box<ProducerBatch>> {
        let batch = self.batch.take()?;
        self.usual_bytes = batch.size();
        if !batch.callbacks.is_empty() {
            self.usual_callback_bytes = batch.callbacks.used_bytes();
        }
        Some(batch)
    }
}

/// A partition's lock, held by a caller on the fast path.
pub(crate) struct OpenBatchGuard<'a> {
    open: MutexGuard<'a, OpenBatch>,
}

impl OpenBatchGuard<'_> {
    /// Appends `record` if the open batch has room for this record and for another one of the same size. So the batch is
    /// not full afterwards. With `is_sticky`, the record must also not end the sticky turn. Takes `callback` on success.
    /// Otherwise changes nothing and returns `None`. `upper_bound` is an upper bound of the record's size.
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

    /// Appends the first `records`, as [`append_in_room`](Self::append_in_room) would one by one until it refuses one. They
    /// have no callbacks. Returns the handle of the first record and the number of appended records. `None` if it appended
    /// none.
    #[inline]
    pub(crate) fn append_run<'a, H: RecordHeader + 'a>(
        mut self,
        records: impl Iterator<Item = (SerializedRecord<'a, H>, usize)>,
        is_sticky: bool,
    ) -> Option<(RecordHandle, usize)> {
        let open = &mut *self.open;
        let (index, count) = open.append_while_room(records, is_sticky)?;
        let completion = Arc::clone(open.batch.as_ref()?.completion());
        Some((RecordHandle { completion, index }, count))
    }
}

/// On callers' threads.
impl Partition {
    /// Locks the open batch for the fast path.
    #[inline]
    pub(crate) fn lock(&self) -> OpenBatchGuard<'_> {
        OpenBatchGuard {
            open: self.open.lock(),
        }
    }

    /// Locks the open batch for the fast path. Returns `None` if another thread holds the lock.
    #[inline]
    pub(crate) fn try_lock(&self) -> Option<OpenBatchGuard<'_>> {
        let open = self.open.try_lock()?;
        Some(OpenBatchGuard { open })
    }

    /// Appends `record` to the open batch, or to a new one, on the slow path. Never waits for memory.
    ///
    /// `spare` is memory for which the caller has waited. Memory that the append does not use stays there. Takes `callback`
    /// on success.
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
            let Some(batch) = &mut open.batch else {
                match self.open_batch(open, record, callback.bytes(), spare) {
                    Ok(opened) => wake = wake.max(opened),
                    Err(shortage) => return Append::NeedsMemory { shortage, wake },
                }
                continue;
            };
            let mut batch = GrowingBatch {
                batch,
                limit: open.limit,
                memory: MemorySource {
                    budget: &self.memory,
                    share: &open.share,
                    spare,
                },
            };
            match batch.append(record, callback) {
                Ok(Some(appended)) => return self.appended(open, appended, is_sticky, wake),
                Ok(None) => {
                    self.push_full(open);
                    wake = Wake::Now;
                }
                Err(shortage) => return Append::NeedsMemory { shortage, wake },
            }
        }
    }

    /// Call after a record was appended on the slow path. Pushes the batch if it is full, and checks whether the sticky
    /// turn is over.
    fn appended(
        &self,
        open: &mut OpenBatch,
        appended: Appended,
        is_sticky: bool,
        mut wake: Wake,
    ) -> Append {
        let Appended {
            record,
            size,
            is_full,
        } = appended;
        if is_full {
            self.push_full(open);
            wake = Wake::Now;
        }
        if is_sticky {
            open.turn.bytes += size;
        }
        let left_in_turn = open.turn.bytes_left(open.limit, open.batch.is_some());
        Append::Done {
            record,
            wake,
            is_turn_over: is_sticky && left_in_turn == 0,
        }
    }

    /// Starts a sticky turn. The sticky partitioner calls this when it has chosen this partition.
    pub(crate) fn begin_sticky_turn(&self) {
        self.open.lock().turn = StickyTurn::default();
    }

    /// Opens a batch that has room for `record`. So the append that follows cannot fail, and no empty batch stays open.
    fn open_batch<H: RecordHeader>(
        self: &Arc<Self>,
        open: &mut OpenBatch,
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
        let mut memory = MemorySource {
            budget: &self.memory,
            share: &open.share,
            spare,
        };
        let capacity = first.max(usual);
        // If too little memory is free for this, the batch gets the smallest buffer that suffices.
        let ample = BATCH_OVERHEAD_BYTES + capacity + usual_callbacks;
        let (reservation, capacity, callbacks) = match memory.reserve(ample) {
            Ok(reservation) => (reservation, capacity, usual_callbacks),
            Err(_) => {
                let least = first.max(MIN_BUFFER_BYTES);
                let reservation = memory.reserve(BATCH_OVERHEAD_BYTES + least + callback_bytes)?;
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
        Ok(self.announce(open, now))
    }

    /// Announces a batch that was opened at `now`, unless the worker looks here in time anyway.
    fn announce(self: &Arc<Self>, open: &mut OpenBatch, now: Instant) -> Wake {
        let announced = std::mem::replace(&mut open.announced, true);
        let has_share_waiters = open.share.has_waiters();
        // While a caller waits for memory in the leader's share, the worker must look at this partition at once.
        if !announced || has_share_waiters {
            self.worker.push(Message::Opened(Arc::clone(self)));
        }
        // While callers wait for memory, no batch lingers. Otherwise they and the worker would wait for each other.
        if self.config.linger.is_zero() || self.memory.has_budget_waiters() || has_share_waiters {
            Wake::Now
        } else if announced {
            Wake::None
        } else {
            Wake::By(now + self.config.linger)
        }
    }

    /// Returns the size up to which a batch is filled, before compression. After compression, the batch is expected to
    /// stay 5 % below `batch.size`, as in Java. The limit is smaller while brokers refuse such batches of the topic
    /// as too large.
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

    /// Hands the open batch to the worker, if there is one.
    pub(super) fn push_full(&self, open: &mut OpenBatch) {
        if let Some(mut batch) = open.take_batch() {
            batch.is_full = true;
            open.pushed += 1;
            self.worker.push(Message::FullBatch(batch));
        }
    }
}

/// Returns the size with which a batch starts if the latest batch reached `usual_bytes`.
fn with_margin(usual_bytes: usize) -> usize {
    usual_bytes.saturating_add(usual_bytes / 8)
}

/// The open batch, and the memory with which it can grow.
struct GrowingBatch<'a> {
    batch: &'a mut ProducerBatch,
    /// The size up to which the batch may grow.
    limit: usize,
    memory: MemorySource<'a>,
}

/// A record that was appended to a batch.
struct Appended {
    record: RecordHandle,
    /// The bytes that it takes in the batch.
    size: usize,
    /// Whether the batch has room neither for another record of this size nor for one of the average size.
    is_full: bool,
}

impl GrowingBatch<'_> {
    /// Appends the record. Returns `None` if the batch has no room for it, so that it must be pushed first.
    fn append<H: RecordHeader>(
        &mut self,
        record: &SerializedRecord<'_, H>,
        callback: &mut dyn OfferedCallback,
    ) -> Result<Option<Appended>, Shortage> {
        self.make_room_for_callback(callback.bytes())?;
        let Contents::Building {
            builder,
            reservation,
        } = &mut self.batch.contents
        else {
            return Ok(None);
        };
        let SerializedRecord {
            timestamp_ms,
            key,
            value,
            headers,
        } = *record;
        let limit = self.limit;
        if !builder.fits(limit, timestamp_ms, key, value, headers) {
            let len = builder.len() + builder.record_size(timestamp_ms, key, value, headers);
            if len > limit && !builder.is_empty() {
                return Ok(None);
            }
            if len > builder.capacity() {
                reservation.absorb(self.memory.grow(builder, len, limit)?);
            }
        }
        let before = builder.len();
        let index = builder.append(timestamp_ms, key, value, headers) as u32;
        let (len, size) = (builder.len(), builder.len() - before);
        // Without room for another record of this size, or of the average size, the batch is full: more time would not fill
        // it.
        let is_full = len + size > limit && len + len / (index as usize + 1) > limit;
        callback.give_to(&mut self.batch.callbacks, index, record.details());
        let completion = Arc::clone(self.batch.completion());
        Ok(Some(Appended {
            record: RecordHandle { completion, index },
            size,
            is_full,
        }))
    }

    /// Reserves memory for a callback of `least` bytes, and for further callbacks if enough is free.
    fn make_room_for_callback(&mut self, least: usize) -> Result<(), Shortage> {
        let callbacks = &mut self.batch.callbacks;
        if callbacks.has_room(least) {
            return Ok(());
        }
        let ample = callbacks.used_bytes().max(CALLBACKS_STEP_BYTES).max(least);
        let more = self.memory.reserve_up_to(ample, least)?;
        callbacks.add_room(more.bytes());
        if let Contents::Building { reservation, .. } = &mut self.batch.contents {
            reservation.absorb(more);
        }
        Ok(())
    }
}

/// The memory that an append can reserve without waiting.
struct MemorySource<'a> {
    budget: &'a Arc<BufferMemory>,
    /// The share of the partition's leader.
    share: &'a Arc<BrokerShare>,
    /// The memory for which the caller has waited.
    spare: &'a mut Option<Reservation>,
}

impl MemorySource<'_> {
    /// Raises the builder's capacity to `len` bytes. Doubles it instead if enough memory is free and `limit` allows it.
    /// Returns the reservation for the added bytes.
    #[cold]
    fn grow(
        &mut self,
        builder: &mut BatchBuilder,
        len: usize,
        limit: usize,
    ) -> Result<Reservation, Shortage> {
        let capacity = builder.capacity();
        let ample = (2 * capacity).min(limit).max(len) - capacity;
        let more = self.reserve_up_to(ample, len - capacity)?;
        builder.reserve_capacity(capacity + more.bytes());
        Ok(more)
    }

    /// Reserves `ample` bytes, or `least` bytes if that fails.
    fn reserve_up_to(&mut self, ample: usize, least: usize) -> Result<Reservation, Shortage> {
        self.reserve(ample).or_else(|_| self.reserve(least))
    }

    /// Reserves `bytes` from the spare memory if it suffices, else from the budget.
    fn reserve(&mut self, bytes: usize) -> Result<Reservation, Shortage> {
        // The spare memory belongs to another share if the leader or the choice of partition has changed meanwhile.
        let is_of_another = |spare: &Reservation| !Arc::ptr_eq(spare.share(), self.share);
        if self.spare.as_ref().is_some_and(is_of_another) {
            *self.spare = None;
        }
        match self.spare {
            Some(spare) if spare.bytes() >= bytes => Ok(spare.split(bytes)),
            _ => self.budget.try_reserve(bytes, self.share),
        }
    }
}
