//! A partition's open batch, to which callers append records.
//!
//! The order of records in a partition is the order in which `send` takes the partition's lock. No call blocks under
//! this lock: an append only tries to reserve memory, and a caller that has to wait for memory releases the lock first.
//! What goes to the worker always finds room (see [`handover`](super::handover)).
//!
//! There are two paths into a batch. The fast path is [`OpenBatchGuard`]: it appends where the batch has room, and
//! otherwise does nothing. The slow path is [`Partition::append`]: it opens a batch, gives it more memory, and hands it
//! to the worker when it is full.

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

/// What a batch holds beside its buffer: its structures, its completion, its messages to the worker.
pub(super) const BATCH_OVERHEAD_BYTES: usize = 512;

/// The smallest buffer of a batch: a partition with few records does not hold a whole `batch.size`.
const MIN_BUFFER_BYTES: usize = 512;

/// The memory that is reserved for callbacks at a time, if that much is free.
const CALLBACKS_STEP_BYTES: usize = 2048;

/// The upper bound of the size of a record that fits a batch of its own within the whole budget. A larger record is
/// refused at once. 0 if the budget is too small for any record.
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

/// By hand: the derived implementation would demand that the headers can be cloned.
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
        /// The record was the last one of a sticky turn: see [`StickyTurn`].
        is_turn_over: bool,
    },
    /// The record is in no batch. The caller waits for this memory and appends again.
    NeedsMemory { shortage: Shortage, wake: Wake },
    /// The producer is closed.
    Closed,
    /// The producer has forgotten the partition. The caller looks up its topic again.
    Retired,
}

/// Whether the caller wakes the worker after it released its locks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wake {
    None,
    /// The worker has a new deadline.
    By(Instant),
    /// There is a full batch.
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

/// What a partition's lock guards: the open batch, and what callers and the worker know about it.
#[derive(Default)]
pub(super) struct OpenBatch {
    pub(super) batch: Option<Box<ProducerBatch>>,
    /// Whether the worker was told of an open batch, and has neither taken it nor found none since. If so, it will look
    /// here within `linger.ms` after any batch is opened.
    pub(super) announced: bool,
    /// The number of full batches pushed to the worker so far.
    pub(super) pushed: u64,
    /// The size up to which the open batch may grow, before compression.
    limit: usize,
    /// The size of the latest batch: the next one starts with a buffer for it.
    usual_bytes: usize,
    /// The memory of the callbacks of the latest batch that had any: the next one reserves as much with its first
    /// callback.
    usual_callback_bytes: usize,
    turn: StickyTurn,
    /// The share of the partition's leader.
    pub(super) share: Arc<BrokerShare>,
    pub(super) closed: bool,
    /// The producer has forgotten the partition. If the topic is used again, it gets another partition object.
    pub(super) retired: bool,
}

/// The sticky turn of a partition: the time for which the sticky partitioner sends all records here.
#[derive(Default)]
struct StickyTurn {
    /// The bytes that were sent here since the turn began.
    bytes: usize,
}

impl StickyTurn {
    /// Returns after how many more bytes the turn is over.
    ///
    /// This is the rule (KIP-794): a turn is over as soon as a batch's worth of bytes was sent and no batch is open, so
    /// that no part-filled batch is left behind to linger. It is also over, with a batch open or not, as soon as twice
    /// as many bytes were sent. A batch's worth is the size up to which the partition's batches are filled, before
    /// compression.
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
    /// Appends the first of `records`, each of them with an upper bound of its size, while the open batch has room for
    /// another record of that size behind it: so it is not full afterwards. With `is_sticky` it also stops before the
    /// record with which the sticky turn may be over. Returns the index of the first record in the batch and the number
    /// of records, at least one.
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

    /// Takes the batch out. The next one starts with its size.
    pub(super) fn take_batch(&mut self) -> Option<Box<ProducerBatch>> {
        let batch = self.batch.take()?;
        self.usual_bytes = batch.size();
        if !batch.callbacks.is_empty() {
            self.usual_callback_bytes = batch.callbacks.used_bytes();
        }
        Some(batch)
    }
}

/// The open batch of a partition whose lock this caller holds: the fast path.
pub(crate) struct OpenBatchGuard<'a> {
    open: MutexGuard<'a, OpenBatch>,
}

impl OpenBatchGuard<'_> {
    /// Appends `record`, whose size is at most `upper_bound`, if the open batch has room for it and for another one of
    /// that size, so that the batch is not full afterwards. If the partition was chosen as the sticky one, its turn must
    /// also not be over afterwards. Otherwise nothing has changed. Takes `callback` on success.
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

    /// As [`append_in_room`](Self::append_in_room), for as many of the first `records` as there is room for. Returns the
    /// handle of the first one and the number of those appended, at least one.
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

    /// As [`lock`](Self::lock); `None` if another thread holds the lock.
    #[inline]
    pub(crate) fn try_lock(&self) -> Option<OpenBatchGuard<'_>> {
        let open = self.open.try_lock()?;
        Some(OpenBatchGuard { open })
    }

    /// Appends `record` to the open batch, or to a new one: the slow path. Never blocks.
    ///
    /// `spare` is memory that the caller waited for. What is not used stays there. Takes `callback` on success.
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

    /// After a record was appended on the slow path: pushes the batch if it is full, and looks whether the sticky turn is
    /// over.
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

    /// The sticky partitioner has just chosen this partition.
    pub(crate) fn begin_sticky_turn(&self) {
        self.open.lock().turn = StickyTurn::default();
    }

    /// Opens a batch with room for `record`: the append that follows cannot fail and leave the batch empty.
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
        // With little memory free, the batch gets the smallest buffer that suffices: a small batch is better than none.
        let ample = BATCH_OVERHEAD_BYTES + capacity + usual_callbacks;
        let (reservation, capacity, callbacks) = match memory.take(ample) {
            Ok(reservation) => (reservation, capacity, usual_callbacks),
            Err(_) => {
                let least = first.max(MIN_BUFFER_BYTES);
                let reservation = memory.take(BATCH_OVERHEAD_BYTES + least + callback_bytes)?;
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

    /// Tells the worker of a batch that was opened at `now`, if the worker would not look in time anyway.
    fn announce(self: &Arc<Self>, open: &mut OpenBatch, now: Instant) -> Wake {
        let announced = std::mem::replace(&mut open.announced, true);
        let is_share_exhausted = open.share.is_exhausted();
        // While a caller waits for the leader's share, the worker has to look at this partition at once.
        if !announced || is_share_exhausted {
            self.worker.push(Message::Opened(Arc::clone(self)));
        }
        // While callers wait for memory, no batch lingers: otherwise they and the worker would wait for each other.
        if self.config.linger.is_zero() || self.memory.is_exhausted() || is_share_exhausted {
            Wake::Now
        } else if announced {
            Wake::None
        } else {
            Wake::By(now + self.config.linger)
        }
    }

    /// Returns the size up to which a batch is filled, before compression: so that it is expected to have `batch.size`
    /// bytes after compression, with Java's margin of 5 %. It is smaller while brokers refuse such batches of the topic
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

/// The size to begin with if the latest batch reached `usual_bytes`.
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

/// A record that is in a batch now.
struct Appended {
    record: RecordHandle,
    /// The bytes that it takes in the batch.
    size: usize,
    /// Whether the batch has no room for another record of the usual size.
    is_full: bool,
}

impl GrowingBatch<'_> {
    /// Appends the record. Returns `None` if the batch has no room for it and is to be sent first.
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
        // A batch without room for another record of the usual size is sent at once: to linger would be of no use.
        let is_full = len + size > limit && len + len / (index as usize + 1) > limit;
        callback.give_to(&mut self.batch.callbacks, index, record.details());
        let completion = Arc::clone(self.batch.completion());
        Ok(Some(Appended {
            record: RecordHandle { completion, index },
            size,
            is_full,
        }))
    }

    /// Reserves memory for a callback of `least` bytes, and for more of them if that is free.
    fn make_room_for_callback(&mut self, least: usize) -> Result<(), Shortage> {
        let callbacks = &mut self.batch.callbacks;
        if callbacks.has_room(least) {
            return Ok(());
        }
        let ample = callbacks.used_bytes().max(CALLBACKS_STEP_BYTES).max(least);
        let more = self.memory.take_up_to(ample, least)?;
        callbacks.add_room(more.bytes());
        if let Contents::Building { reservation, .. } = &mut self.batch.contents {
            reservation.absorb(more);
        }
        Ok(())
    }
}

/// Where an append takes memory from without waiting.
struct MemorySource<'a> {
    budget: &'a Arc<BufferMemory>,
    /// The share of the partition's leader.
    share: &'a Arc<BrokerShare>,
    /// What the caller waited for.
    spare: &'a mut Option<Reservation>,
}

impl MemorySource<'_> {
    /// Makes the builder's capacity `len` bytes, and up to twice what it is now if the memory is free and `limit` allows
    /// it. Returns the reservation for what was added.
    #[cold]
    fn grow(
        &mut self,
        builder: &mut BatchBuilder,
        len: usize,
        limit: usize,
    ) -> Result<Reservation, Shortage> {
        let capacity = builder.capacity();
        let ample = (2 * capacity).min(limit).max(len) - capacity;
        let more = self.take_up_to(ample, len - capacity)?;
        builder.reserve_capacity(capacity + more.bytes());
        Ok(more)
    }

    /// Takes `ample` bytes, or `least` if that fails.
    fn take_up_to(&mut self, ample: usize, least: usize) -> Result<Reservation, Shortage> {
        self.take(ample).or_else(|_| self.take(least))
    }

    /// Takes `bytes` from the spare memory if that suffices, else from the budget.
    fn take(&mut self, bytes: usize) -> Result<Reservation, Shortage> {
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
