//! The budget of `buffer.memory`. Callers reserve memory before they append. The memory is free again when the batch
//! has its outcome.
//!
//! Without waiters, a reservation is two compare-and-swaps. While callers wait, no other caller gets memory before them:
//! waiters are served in the order in which they came. When a waiter gives up, the next one is served.
//!
//! Each broker has a *share*: the memory that records for this broker hold. As soon as there are records for more than
//! one broker, a share is limited to three times the free memory. A share alone can so hold three quarters of the
//! budget. Records for brokers that take nothing pile up, and still leave memory for the records of the others: each of
//! `n` such brokers holds `3/(1 + 3n)` of the budget, and the rest stays free. (Switches share their memory among ports
//! by the same rule: Choudhury and Hahne, "Dynamic queue length thresholds", 1998.) A caller first waits for room in its
//! broker's share, in a queue of its own, and then for the budget.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use super::buffers::BufferPool;
use crate::metadata::BrokerId;
use crate::sync::{Condvar, Mutex, MutexGuard};

/// The budget of a producer, shared by all threads.
pub(crate) struct BufferMemory {
    total: usize,
    /// Negative while more than the budget is held: see [`take_now`](Self::take_now).
    available: AtomicI64,
    /// The number of shares that ever held memory.
    shares_in_use: AtomicUsize,
    /// The lengths of the two queues in `waiters`, readable without the lock.
    awaiting_budget: AtomicUsize,
    awaiting_share: AtomicUsize,
    /// The number of waits that ever began.
    waits: AtomicU64,
    waiters: Mutex<Waiters>,
    alarm: OnceLock<Alarm>,
    pub(crate) buffers: BufferPool,
}

/// Wakes the workers, which then find that a caller waits for the budget. Is called under a partition's lock: must not
/// block, and must not take a lock that is held while another one is taken.
type Alarm = Box<dyn Fn() + Send + Sync>;

/// The part of the budget that records for one broker hold. A batch belongs to the share of the broker that led its
/// partition when the memory was reserved.
#[derive(Debug, Default)]
pub(crate) struct BrokerShare {
    /// `None` for partitions whose leader is not known yet.
    broker: Option<BrokerId>,
    used: AtomicI64,
    /// The number of callers that wait for room in this share.
    awaiting: AtomicUsize,
    in_use: AtomicBool,
    /// The number of times that a partition left this share for that of another leader.
    moves: AtomicU64,
}

impl BrokerShare {
    pub(crate) fn of(broker: BrokerId) -> Arc<Self> {
        Arc::new(Self {
            broker: Some(broker),
            ..Self::default()
        })
    }

    pub(crate) fn broker(&self) -> Option<BrokerId> {
        self.broker
    }

    /// The number of times that a partition left this share. If it changed since a caller found the share full, the
    /// caller's partition may belong to another share now.
    pub(crate) fn moves(&self) -> u64 {
        self.moves.load(SeqCst)
    }

    /// The number of bytes that are held.
    pub(crate) fn used(&self) -> i64 {
        self.used.load(SeqCst)
    }

    /// Returns whether a caller waits for this share. Its partitions are then ready to send, whatever `linger.ms` says.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.awaiting.load(SeqCst) > 0
    }
}

#[derive(Default)]
struct Waiters {
    /// Waiters that have room in their broker's share, in the order in which they got it.
    for_budget: VecDeque<Arc<Waiter>>,
    /// Waiters for room in their broker's share, in the order in which they came.
    for_share: VecDeque<Arc<Waiter>>,
    closed: bool,
}

struct Waiter {
    bytes: usize,
    share: Arc<BrokerShare>,
    /// Used under the lock of the queues. The memory is already reserved for the waiter.
    granted: AtomicBool,
    /// Used under the lock of the queues. The partition has another leader, and so another share.
    share_changed: AtomicBool,
    condition: Condvar,
}

impl Waiter {
    /// Call under the lock of the queues, after the memory was reserved for the waiter.
    fn grant(&self) {
        self.granted.store(true, SeqCst);
        self.condition.notify_one();
    }
}

/// An immediate reservation that failed.
#[derive(Debug)]
pub(crate) struct Shortage {
    /// The number of bytes that the caller needs at least.
    pub(crate) bytes: usize,
    /// The share that they belong to.
    pub(crate) share: Arc<BrokerShare>,
    /// [`BrokerShare::moves`] when the reservation failed.
    pub(crate) moves: u64,
    pub(crate) limit: MemoryLimit,
}

impl Shortage {
    pub(crate) fn new(bytes: usize, share: &Arc<BrokerShare>, limit: MemoryLimit) -> Self {
        Self {
            bytes,
            moves: share.moves(),
            share: Arc::clone(share),
            limit,
        }
    }
}

/// The limit that made a reservation fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MemoryLimit {
    /// Too little of the budget is free, or other callers wait for it.
    Budget,
    /// The broker's share is full, or other callers wait for it.
    Share,
}

/// Why a wait for memory ended without memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WaitError {
    /// The deadline passed.
    TimedOut,
    /// A partition of the share has another leader now. The caller tries again, in the share of its partition's leader.
    ShareChanged,
    /// The producer was closed.
    Closed,
}

impl BufferMemory {
    pub(crate) fn new(total: usize) -> Arc<Self> {
        Arc::new(Self {
            total,
            available: AtomicI64::new(to_i64(total)),
            shares_in_use: AtomicUsize::new(0),
            awaiting_budget: AtomicUsize::new(0),
            awaiting_share: AtomicUsize::new(0),
            waits: AtomicU64::new(0),
            waiters: Mutex::default(),
            alarm: OnceLock::new(),
            buffers: BufferPool::new(total),
        })
    }

    /// Sets what is called when a caller that waited for a share begins to wait for the budget.
    pub(crate) fn set_alarm(&self, alarm: impl Fn() + Send + Sync + 'static) {
        let _ = self.alarm.set(Box::new(alarm));
    }

    /// The whole budget in bytes.
    pub(crate) fn total(&self) -> usize {
        self.total
    }

    /// The number of free bytes.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn available(&self) -> usize {
        usize::try_from(self.available.load(SeqCst)).unwrap_or(0)
    }

    /// The number of bytes that are held: more than the budget if [`take_now`](Self::take_now) took them.
    #[cfg(test)]
    pub(crate) fn in_use(&self) -> i64 {
        to_i64(self.total) - self.available.load(SeqCst)
    }

    /// Returns whether a waiter could be served now.
    #[cfg(test)]
    pub(crate) fn owes_a_grant(&self) -> bool {
        let waiters = self.waiters.lock();
        let available = self.available.load(SeqCst);
        let first = waiters.for_budget.front();
        let mut shares: Vec<&Arc<BrokerShare>> = Vec::new();
        let is_owed_a_share = waiters.for_share.iter().any(|waiter| {
            let is_first = !shares.iter().any(|share| Arc::ptr_eq(share, &waiter.share));
            shares.push(&waiter.share);
            is_first && self.share_with(waiter.share.used(), waiter.bytes).is_some()
        });
        is_owed_a_share || first.is_some_and(|waiter| to_i64(waiter.bytes) <= available)
    }

    /// Returns whether a caller waits for the budget. All partitions are then ready to send, whatever `linger.ms` says.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.awaiting_budget.load(SeqCst) > 0
    }

    /// Returns whether most of the budget is free: the callers are not far ahead of the network.
    pub(crate) fn is_ample(&self) -> bool {
        self.available.load(SeqCst) > to_i64(self.total / 4 * 3)
    }

    /// Returns whether a caller waits for room in its broker's share.
    pub(crate) fn has_exhausted_share(&self) -> bool {
        self.awaiting_share.load(SeqCst) > 0
    }

    /// The number of waits that ever began. A worker that has processed a count need not look again before it rises.
    pub(crate) fn waits(&self) -> u64 {
        self.waits.load(SeqCst)
    }

    /// Takes `bytes` if they are free and no other caller waits for them.
    pub(crate) fn try_reserve(
        self: &Arc<Self>,
        bytes: usize,
        share: &Arc<BrokerShare>,
    ) -> Result<Reservation, Shortage> {
        if share.is_exhausted() || !self.take_share(share, bytes) {
            return Err(Shortage::new(bytes, share, self.exceeded_limit(share)));
        }
        if self.is_exhausted() || !self.take(bytes) {
            self.give_share_back(share, bytes);
            return Err(Shortage::new(bytes, share, MemoryLimit::Budget));
        }
        Ok(self.reservation(bytes, share))
    }

    /// Takes the bytes that were short, and waits for them until `deadline`. If it has to wait, it calls `on_wait` once,
    /// after this caller has joined a queue: that wakes the workers, which then find the waiter.
    pub(crate) fn reserve(
        self: &Arc<Self>,
        shortage: &Shortage,
        deadline: Instant,
        on_wait: impl FnOnce(),
    ) -> Result<Reservation, WaitError> {
        if let Ok(reservation) = self.try_reserve(shortage.bytes, &shortage.share) {
            return Ok(reservation);
        }
        let pending = self.start_waiting(shortage);
        on_wait();
        pending.wait(deadline)
    }

    /// Joins the queue of waiters. The caller must then wake the workers.
    pub(crate) fn start_waiting(self: &Arc<Self>, shortage: &Shortage) -> PendingReservation {
        let Shortage {
            bytes,
            ref share,
            moves,
            ..
        } = *shortage;
        debug_assert!(
            bytes <= self.total,
            "a wait for more than the whole budget never succeeds"
        );
        let waiter = Arc::new(Waiter {
            bytes,
            share: Arc::clone(share),
            granted: AtomicBool::new(false),
            share_changed: AtomicBool::new(false),
            condition: Condvar::new(),
        });
        let mut waiters = self.waiters.lock();
        waiters.for_share.push_back(Arc::clone(&waiter));
        self.awaiting_share.fetch_add(1, SeqCst);
        share.awaiting.fetch_add(1, SeqCst);
        self.waits.fetch_add(1, SeqCst);
        // Memory may have been freed after the failed reservation, when no waiter was in the queue.
        // The result does not matter: the caller wakes the workers.
        let _ = self.serve(&mut waiters);
        drop(waiters);
        if share.moves() != moves {
            // A partition left the share before this waiter was in the queue, so `partition_left` did not find it.
            waiter.share_changed.store(true, SeqCst);
        }
        PendingReservation {
            memory: Arc::clone(self),
            waiter,
        }
    }

    /// Takes `bytes`, beyond the budget if they are not free: for what the worker must hold and cannot wait for. Callers
    /// then wait until that memory is free again.
    pub(crate) fn take_now(
        self: &Arc<Self>,
        bytes: usize,
        share: &Arc<BrokerShare>,
    ) -> Reservation {
        self.available.fetch_sub(to_i64(bytes), SeqCst);
        share.used.fetch_add(to_i64(bytes), SeqCst);
        self.reservation(bytes, share)
    }

    /// A partition left `share` for that of another leader: wakes the waiters for `share` with
    /// [`WaitError::ShareChanged`].
    pub(crate) fn partition_left(&self, share: &Arc<BrokerShare>) {
        // Counted before the queue is read: a caller that joins the queue after that finds the new count.
        share.moves.fetch_add(1, SeqCst);
        if share.is_exhausted() {
            let waiters = self.waiters.lock();
            for waiter in &waiters.for_share {
                if Arc::ptr_eq(&waiter.share, share) {
                    waiter.share_changed.store(true, SeqCst);
                    waiter.condition.notify_one();
                }
            }
        }
    }

    /// Wakes every waiter with [`WaitError::Closed`].
    pub(crate) fn close(&self) {
        let mut waiters = self.waiters.lock();
        waiters.closed = true;
        for waiter in waiters.for_budget.iter().chain(&waiters.for_share) {
            waiter.condition.notify_one();
        }
    }

    fn reservation(self: &Arc<Self>, bytes: usize, share: &Arc<BrokerShare>) -> Reservation {
        Reservation {
            memory: Arc::clone(self),
            share: Arc::clone(share),
            bytes,
        }
    }

    fn take(&self, bytes: usize) -> bool {
        self.available
            .fetch_update(SeqCst, SeqCst, |available| {
                let rest = available.checked_sub(to_i64(bytes))?;
                (rest >= 0).then_some(rest)
            })
            .is_ok()
    }

    /// A share that holds nothing may take any number of bytes: otherwise a large record would wait for ever.
    fn take_share(&self, share: &BrokerShare, bytes: usize) -> bool {
        if !share.in_use.load(SeqCst) && !share.in_use.swap(true, SeqCst) {
            self.shares_in_use.fetch_add(1, SeqCst);
        }
        share
            .used
            .fetch_update(SeqCst, SeqCst, |used| self.share_with(used, bytes))
            .is_ok()
    }

    /// Returns what a share of `used` bytes holds with `bytes` more; `None` if that exceeds its limit.
    fn share_with(&self, used: i64, bytes: usize) -> Option<i64> {
        let sum = used.saturating_add(to_i64(bytes));
        if used == 0 || self.shares_in_use.load(SeqCst) <= 1 {
            return Some(sum);
        }
        let free = self.available.load(SeqCst) - to_i64(bytes);
        (sum <= free.saturating_mul(3)).then_some(sum)
    }

    /// Returns why a share cannot take more: because of its own size if that is well above the average, else because
    /// the budget is nearly used up.
    fn exceeded_limit(&self, share: &BrokerShare) -> MemoryLimit {
        let shares = self.shares_in_use.load(SeqCst) as i128;
        let held = to_i64(self.total) - self.available.load(SeqCst);
        match 4 * shares * i128::from(share.used()) > 5 * i128::from(held) {
            true => MemoryLimit::Share,
            false => MemoryLimit::Budget,
        }
    }

    fn release(&self, bytes: usize, share: &BrokerShare) {
        self.available.fetch_add(to_i64(bytes), SeqCst);
        share.used.fetch_sub(to_i64(bytes), SeqCst);
        if self.is_exhausted() || self.has_exhausted_share() {
            self.serve_waiters();
        }
    }

    /// Serves the callers that meanwhile found the share full.
    fn give_share_back(&self, share: &BrokerShare, bytes: usize) {
        share.used.fetch_sub(to_i64(bytes), SeqCst);
        if share.is_exhausted() {
            self.serve_waiters();
        }
    }

    fn serve_waiters(&self) {
        let have_moved = self.serve(&mut self.waiters.lock());
        self.alarm_if(have_moved);
    }

    /// Wakes the workers if waiters moved from a share's queue to that of the budget: now all partitions are ready to
    /// send, not only those of the share.
    fn alarm_if(&self, have_moved: bool) {
        if let (true, Some(alarm)) = (have_moved, self.alarm.get()) {
            alarm();
        }
    }

    /// Serves the first waiters for the budget while it suffices: a large request makes those behind it wait. Then
    /// moves the waiters whose share has room to the queue for the budget. Returns whether one that moved has to wait
    /// there: the caller must then wake the workers.
    #[must_use]
    fn serve(&self, waiters: &mut Waiters) -> bool {
        let Waiters {
            for_budget,
            for_share,
            ..
        } = waiters;
        while let Some(waiter) = for_budget.front() {
            if !self.take(waiter.bytes) {
                break;
            }
            waiter.grant();
            for_budget.pop_front();
            self.awaiting_budget.fetch_sub(1, SeqCst);
        }
        let mut full: Vec<Arc<BrokerShare>> = Vec::new();
        let mut have_moved = false;
        for_share.retain(|waiter| {
            let is_full = full.iter().any(|share| Arc::ptr_eq(share, &waiter.share));
            if is_full || !self.take_share(&waiter.share, waiter.bytes) {
                if !is_full {
                    full.push(Arc::clone(&waiter.share));
                }
                return true;
            }
            self.count_one_less_for_share(waiter);
            if for_budget.is_empty() && self.take(waiter.bytes) {
                waiter.grant();
            } else {
                self.awaiting_budget.fetch_add(1, SeqCst);
                for_budget.push_back(Arc::clone(waiter));
                have_moved = true;
            }
            false
        });
        if have_moved {
            self.waits.fetch_add(1, SeqCst);
        }
        have_moved
    }

    /// Removes a waiter that gives up.
    fn remove(&self, mut waiters: MutexGuard<'_, Waiters>, waiter: &Arc<Waiter>) {
        let is_same = |other: &Arc<Waiter>| Arc::ptr_eq(other, waiter);
        match waiters.for_share.iter().position(is_same) {
            Some(position) => {
                waiters.for_share.remove(position);
                self.count_one_less_for_share(waiter);
            }
            None => {
                waiters.for_budget.retain(|other| !is_same(other));
                self.awaiting_budget.fetch_sub(1, SeqCst);
                waiter.share.used.fetch_sub(to_i64(waiter.bytes), SeqCst);
            }
        }
        let have_moved = self.serve(&mut waiters);
        drop(waiters);
        self.alarm_if(have_moved);
    }

    fn count_one_less_for_share(&self, waiter: &Waiter) {
        self.awaiting_share.fetch_sub(1, SeqCst);
        waiter.share.awaiting.fetch_sub(1, SeqCst);
    }
}

/// `buffer.memory` is at most `i64::MAX`.
fn to_i64(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// A caller in the queue of waiters.
pub(crate) struct PendingReservation {
    memory: Arc<BufferMemory>,
    waiter: Arc<Waiter>,
}

impl PendingReservation {
    /// Blocks until the memory is reserved, or until `deadline`.
    pub(crate) fn wait(self, deadline: Instant) -> Result<Reservation, WaitError> {
        let Self { memory, waiter } = self;
        let mut waiters = memory.waiters.lock();
        loop {
            if waiter.granted.load(SeqCst) {
                return Ok(memory.reservation(waiter.bytes, &waiter.share));
            }
            if waiters.closed {
                memory.remove(waiters, &waiter);
                return Err(WaitError::Closed);
            }
            if waiter.share_changed.load(SeqCst) {
                memory.remove(waiters, &waiter);
                return Err(WaitError::ShareChanged);
            }
            let is_late = waiter
                .condition
                .wait_until(&mut waiters, deadline)
                .timed_out();
            let is_over = waiters.closed || waiter.share_changed.load(SeqCst);
            if is_late && !is_over && !waiter.granted.load(SeqCst) {
                memory.remove(waiters, &waiter);
                return Err(WaitError::TimedOut);
            }
        }
    }

    /// Returns whether [`wait`](Self::wait) would return at once.
    #[cfg(test)]
    pub(crate) fn is_ready(&self) -> bool {
        let waiters = self.memory.waiters.lock();
        let Waiter {
            granted,
            share_changed,
            ..
        } = &*self.waiter;
        waiters.closed || granted.load(SeqCst) || share_changed.load(SeqCst)
    }
}

/// Bytes taken from the budget. Dropping it gives them back.
pub(crate) struct Reservation {
    memory: Arc<BufferMemory>,
    share: Arc<BrokerShare>,
    bytes: usize,
}

impl Reservation {
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn share(&self) -> &Arc<BrokerShare> {
        &self.share
    }

    /// Adds the bytes of `other` to this reservation, and moves them to its broker's share.
    pub(crate) fn absorb(&mut self, mut other: Reservation) {
        let bytes = std::mem::take(&mut other.bytes);
        self.bytes += bytes;
        if !Arc::ptr_eq(&self.share, &other.share) {
            self.share.used.fetch_add(to_i64(bytes), SeqCst);
            self.memory.give_share_back(&other.share, bytes);
        }
    }

    /// Gives back all except `bytes`.
    pub(crate) fn shrink_to(&mut self, bytes: usize) {
        if let Some(surplus) = self.bytes.checked_sub(bytes).filter(|&surplus| surplus > 0) {
            self.bytes = bytes;
            self.memory.release(surplus, &self.share);
        }
    }

    /// Gives a batch's buffer to the pool, which keeps or frees it.
    pub(crate) fn give_back(&self, buffer: Vec<u8>) {
        self.memory.buffers.give_back(buffer);
    }

    /// Splits off a reservation of at most `bytes`.
    pub(crate) fn split(&mut self, bytes: usize) -> Reservation {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        self.memory.reservation(bytes, &self.share)
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.memory.release(self.bytes, &self.share);
        }
    }
}

#[cfg(test)]
mod tests;
