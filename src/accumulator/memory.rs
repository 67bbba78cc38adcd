//! The budget of `buffer.memory`. Callers reserve memory before they append. The memory of a batch is released when
//! nothing holds the bytes of the batch any more. That can be later than the batch's outcome, because the network may
//! still read the bytes.
//!
//! Each broker has a *share*: the part of the budget that records for this broker hold. Once memory was requested for
//! more than one broker, a share may hold at most three times the memory that is free. So a single full share holds three
//! quarters of the budget. Several full shares leave memory for the records of other brokers: each of `n` full shares
//! holds `3/(1 + 3n)` of the budget, and the rest stays free. (Network switches divide their memory among ports by the
//! same rule: Choudhury and Hahne, "Dynamic queue length thresholds", 1998.)
//!
//! A caller whose reservation fails waits in two queues, one after the other. The first queue, one for all shares, holds
//! the callers that wait for room in their share. The second queue holds the callers that wait for the budget:
//! - The waiters for one share are served in the order in which they came. They do not delay the waiters for other
//!   shares.
//! - The waiters for the budget are served in the order in which their shares got room. A large request delays the
//!   requests behind it.
//! - When a waiter gives up, the next one is served.
//! - If the broker of a share refuses this client, the waiters for its records, in both queues, are told at once.
//!
//! A caller that does not wait yet gets no memory while other callers wait for the budget or for its share. It may get
//! memory before the waiters for other shares. [`BufferMemory::reserve_beyond_budget`] waits for nothing. Without
//! waiters, a reservation is two compare-and-swaps.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use super::buffers::BufferPool;
use crate::error::Error;
use crate::metadata::BrokerId;
use crate::sync::{Condvar, Mutex, MutexGuard};

/// The budget of a producer, shared by all threads.
pub(crate) struct BufferMemory {
    /// The size of the budget in bytes.
    budget: usize,
    /// The number of free bytes. It is negative while more than the budget is reserved: see
    /// [`reserve_beyond_budget`](Self::reserve_beyond_budget).
    available: AtomicI64,
    /// The number of shares from which memory was ever requested.
    requested_shares: AtomicUsize,
    /// The lengths of the two queues in `waiters`. They are read without the lock.
    budget_waiters: AtomicUsize,
    share_waiters: AtomicUsize,
    /// See [`waits`](Self::waits).
    waits: AtomicU64,
    waiters: Mutex<Waiters>,
    alarm: OnceLock<Alarm>,
    pub(crate) buffers: BufferPool,
}

/// Wakes the workers, which then find that a caller waits for the budget. A thread may call it under a partition's lock.
/// So it must not block, and the only lock that it may take is that of a worker's wake-up.
type Alarm = Box<dyn Fn() + Send + Sync>;

/// The part of the budget that records for one broker hold. A batch belongs to the share of the broker that led its
/// partition when the memory was reserved.
#[derive(Debug, Default)]
pub(crate) struct BrokerShare {
    /// `None` in the share of the partitions whose leader is not known yet.
    broker: Option<BrokerId>,
    /// The number of reserved bytes.
    reserved: AtomicI64,
    /// The number of callers that wait for room in this share.
    waiters: AtomicUsize,
    /// Whether memory was ever requested from this share.
    was_requested: AtomicBool,
    /// The number of times that a partition left this share because it got another leader.
    departures: AtomicU64,
    /// Why the broker refuses this client, or this client the broker, if the latest connection failed because of that.
    refusal: Mutex<Option<Error>>,
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

    /// The number of times that a partition left this share because it got another leader. If the number has changed
    /// since a caller found the share full, the caller's partition may belong to another share now.
    pub(crate) fn departures(&self) -> u64 {
        self.departures.load(SeqCst)
    }

    /// The number of reserved bytes.
    pub(crate) fn reserved(&self) -> i64 {
        self.reserved.load(SeqCst)
    }

    /// Returns why the broker refuses this client, or this client the broker, if the latest connection failed because of
    /// that.
    pub(crate) fn refusal(&self) -> Option<Error> {
        self.refusal.lock().clone()
    }

    /// Returns whether a caller waits for room in this share. If so, the batches of its partitions do not linger.
    pub(crate) fn has_waiters(&self) -> bool {
        self.waiters.load(SeqCst) > 0
    }
}

#[derive(Default)]
struct Waiters {
    /// The waiters for the budget, in the order in which their shares got room. Each has reserved its bytes in its share.
    for_budget: VecDeque<Arc<Waiter>>,
    /// The waiters for room in their shares, in the order in which they came.
    for_share: VecDeque<Arc<Waiter>>,
    closed: bool,
}

/// A caller that waits for memory.
struct Waiter {
    bytes: usize,
    share: Arc<BrokerShare>,
    /// Whether the memory is reserved for the waiter. Used under the lock of the queues.
    granted: AtomicBool,
    /// Whether a partition has left the share. Set under the lock of the queues, or by the waiter's own thread before it
    /// waits.
    share_changed: AtomicBool,
    /// Whether the broker of the share has refused this client since the waiter joined. Used under the lock of the queues.
    is_refused: AtomicBool,
    condition: Condvar,
}

impl Waiter {
    /// Returns why the wait is over without memory, if it is. `waiters` shows that the queues are locked.
    fn end(&self, waiters: &Waiters) -> Option<WaitError> {
        if waiters.closed {
            return Some(WaitError::Closed);
        }
        if self.share_changed.load(SeqCst) {
            return Some(WaitError::ShareChanged);
        }
        self.is_refused.load(SeqCst).then_some(WaitError::Refused)
    }

    /// Wakes the waiter with the memory that was reserved for it. Call under the lock of the queues.
    fn grant(&self) {
        self.granted.store(true, SeqCst);
        self.condition.notify_one();
    }
}

/// An immediate reservation that failed.
#[derive(Debug)]
pub(crate) struct Shortage {
    /// The bytes to reserve before the caller can continue.
    pub(crate) bytes: usize,
    /// The share from which the caller requested the bytes.
    pub(crate) share: Arc<BrokerShare>,
    /// [`BrokerShare::departures`] when the reservation failed.
    pub(crate) departures: u64,
    pub(crate) limit: MemoryLimit,
}

impl Shortage {
    pub(crate) fn new(bytes: usize, share: &Arc<BrokerShare>, limit: MemoryLimit) -> Self {
        Self {
            bytes,
            departures: share.departures(),
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
    /// The share is full, or other callers wait for it.
    Share,
}

/// Why a wait for memory ended without memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WaitError {
    /// The deadline passed.
    TimedOut,
    /// A partition of the share got another leader. The caller must try again, with the share of its partition's leader.
    ShareChanged,
    /// The broker of the share refused this client, or this client the broker: see [`BrokerShare::refusal`].
    Refused,
    /// The producer was closed.
    Closed,
}

impl BufferMemory {
    pub(crate) fn new(budget: usize) -> Arc<Self> {
        Arc::new(Self {
            budget,
            available: AtomicI64::new(to_i64(budget)),
            requested_shares: AtomicUsize::new(0),
            budget_waiters: AtomicUsize::new(0),
            share_waiters: AtomicUsize::new(0),
            waits: AtomicU64::new(0),
            waiters: Mutex::default(),
            alarm: OnceLock::new(),
            buffers: BufferPool::new(budget),
        })
    }

    /// Sets the function that is called when a waiter moves from the queue for its share to the queue for the budget.
    pub(crate) fn set_alarm(&self, alarm: impl Fn() + Send + Sync + 'static) {
        let _ = self.alarm.set(Box::new(alarm));
    }

    /// The size of the budget in bytes.
    pub(crate) fn budget(&self) -> usize {
        self.budget
    }

    /// The number of free bytes.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn available(&self) -> usize {
        usize::try_from(self.available.load(SeqCst)).unwrap_or(0)
    }

    /// The number of reserved bytes. [`reserve_beyond_budget`](Self::reserve_beyond_budget) can make it larger than the
    /// budget.
    #[cfg(test)]
    pub(crate) fn reserved(&self) -> i64 {
        to_i64(self.budget) - self.available.load(SeqCst)
    }

    /// Returns whether a waiter can be served now, so that it should not wait.
    #[cfg(test)]
    pub(crate) fn can_serve_a_waiter(&self) -> bool {
        let waiters = self.waiters.lock();
        let available = self.available.load(SeqCst);
        let first = waiters.for_budget.front();
        let mut shares: Vec<&Arc<BrokerShare>> = Vec::new();
        let has_room_for_share_waiter = waiters.for_share.iter().any(|waiter| {
            let is_first = !shares.iter().any(|share| Arc::ptr_eq(share, &waiter.share));
            shares.push(&waiter.share);
            is_first
                && self
                    .share_after(waiter.share.reserved(), waiter.bytes)
                    .is_some()
        });
        has_room_for_share_waiter || first.is_some_and(|waiter| to_i64(waiter.bytes) <= available)
    }

    /// Returns whether a caller waits for the budget. If so, no batch lingers.
    pub(crate) fn has_budget_waiters(&self) -> bool {
        self.budget_waiters.load(SeqCst) > 0
    }

    /// Returns whether more than three quarters of the budget is free. If so, the callers are not far ahead of the network.
    pub(crate) fn is_mostly_free(&self) -> bool {
        self.available.load(SeqCst) > to_i64(self.budget / 4 * 3)
    }

    /// Returns whether a caller waits for room in any share.
    pub(crate) fn has_share_waiters(&self) -> bool {
        self.share_waiters.load(SeqCst) > 0
    }

    /// The number of times that a caller joined a queue of waiters, or that waiters moved to the queue for the budget. A
    /// worker looks for waiters again only if the number has risen since it last looked.
    pub(crate) fn waits(&self) -> u64 {
        self.waits.load(SeqCst)
    }

    /// Reserves `bytes` if the share and the budget have room for them and no other caller waits for either.
    pub(crate) fn try_reserve(
        self: &Arc<Self>,
        bytes: usize,
        share: &Arc<BrokerShare>,
    ) -> Result<Reservation, Shortage> {
        if share.has_waiters() || !self.reserve_in_share(share, bytes) {
            return Err(Shortage::new(bytes, share, self.exceeded_limit(share)));
        }
        if self.has_budget_waiters() || !self.reserve_in_budget(bytes) {
            self.release_share(share, bytes);
            return Err(Shortage::new(bytes, share, MemoryLimit::Budget));
        }
        Ok(self.reservation(bytes, share))
    }

    /// Reserves the missing bytes. Blocks until they are free, or until `deadline`. If it has to wait, it calls `on_wait`
    /// once, after this caller has joined the queue. `on_wait` must wake the workers, which then find the waiter.
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

    /// Joins the queue of waiters for a share. The caller must then wake the workers.
    pub(crate) fn start_waiting(self: &Arc<Self>, shortage: &Shortage) -> PendingReservation {
        let Shortage {
            bytes,
            ref share,
            departures,
            ..
        } = *shortage;
        debug_assert!(
            bytes <= self.budget,
            "a wait for more than the whole budget never succeeds"
        );
        let waiter = Arc::new(Waiter {
            bytes,
            share: Arc::clone(share),
            granted: AtomicBool::new(false),
            share_changed: AtomicBool::new(false),
            is_refused: AtomicBool::new(false),
            condition: Condvar::new(),
        });
        let mut waiters = self.waiters.lock();
        waiters.for_share.push_back(Arc::clone(&waiter));
        self.share_waiters.fetch_add(1, SeqCst);
        share.waiters.fetch_add(1, SeqCst);
        self.waits.fetch_add(1, SeqCst);
        // Memory may have been released between the failed reservation and the moment at which this waiter joined.
        // The result does not matter, because the caller wakes the workers anyway.
        let _ = self.serve(&mut waiters);
        drop(waiters);
        if share.departures() != departures {
            // A partition left the share before this waiter joined the queue, so `partition_left` did not find the waiter.
            waiter.share_changed.store(true, SeqCst);
        }
        PendingReservation {
            memory: Arc::clone(self),
            waiter,
        }
    }

    /// Reserves `bytes` at once, beyond the budget and the share's limit if they are not free. It is for memory that a
    /// thread needs and cannot wait for. Callers then get no memory until enough is released.
    pub(crate) fn reserve_beyond_budget(
        self: &Arc<Self>,
        bytes: usize,
        share: &Arc<BrokerShare>,
    ) -> Reservation {
        self.available.fetch_sub(to_i64(bytes), SeqCst);
        share.reserved.fetch_add(to_i64(bytes), SeqCst);
        self.reservation(bytes, share)
    }

    /// Call when a partition has left `share` because it got another leader. Wakes the waiters for `share` with
    /// [`WaitError::ShareChanged`].
    pub(crate) fn partition_left(&self, share: &Arc<BrokerShare>) {
        // The count rises before the queue is read. So a caller that joins the queue later finds the new count.
        share.departures.fetch_add(1, SeqCst);
        if share.has_waiters() {
            let waiters = self.waiters.lock();
            for waiter in &waiters.for_share {
                if Arc::ptr_eq(&waiter.share, share) {
                    waiter.share_changed.store(true, SeqCst);
                    waiter.condition.notify_one();
                }
            }
        }
    }

    /// Call when a connection to the broker of `share` has failed. If one side refused the other, this wakes the waiters for
    /// records of that broker with [`WaitError::Refused`]: no memory comes back soon, and they are to know why. A caller that
    /// begins to wait later is told of the next refusal, so that a caller that tries again at once is held up by the backoff.
    pub(crate) fn connection_failed(&self, share: &Arc<BrokerShare>, error: &Error) {
        let refusal = error.is_refusal().then(|| error.clone());
        let is_refusal = refusal.is_some();
        *share.refusal.lock() = refusal;
        if !is_refusal {
            return;
        }
        let waiters = self.waiters.lock();
        for waiter in waiters.for_budget.iter().chain(&waiters.for_share) {
            if Arc::ptr_eq(&waiter.share, share) {
                waiter.is_refused.store(true, SeqCst);
                waiter.condition.notify_one();
            }
        }
    }

    /// Call when the broker of `share` accepts data again.
    pub(crate) fn connection_works(&self, share: &BrokerShare) {
        *share.refusal.lock() = None;
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

    /// Counts `bytes` as reserved in the budget. Returns false if too few are free.
    fn reserve_in_budget(&self, bytes: usize) -> bool {
        self.available
            .fetch_update(SeqCst, SeqCst, |available| {
                let rest = available.checked_sub(to_i64(bytes))?;
                (rest >= 0).then_some(rest)
            })
            .is_ok()
    }

    /// Counts `bytes` as reserved in the share. Returns false if the share has no room for them.
    fn reserve_in_share(&self, share: &BrokerShare, bytes: usize) -> bool {
        if !share.was_requested.load(SeqCst) && !share.was_requested.swap(true, SeqCst) {
            self.requested_shares.fetch_add(1, SeqCst);
        }
        share
            .reserved
            .fetch_update(SeqCst, SeqCst, |reserved| self.share_after(reserved, bytes))
            .is_ok()
    }

    /// Returns the size of a share of `reserved` bytes after `bytes` more are reserved. `None` if that exceeds the share's
    /// limit. An empty share has no limit, because otherwise a large record would wait for ever.
    fn share_after(&self, reserved: i64, bytes: usize) -> Option<i64> {
        let sum = reserved.saturating_add(to_i64(bytes));
        if reserved == 0 || self.requested_shares.load(SeqCst) <= 1 {
            return Some(sum);
        }
        let free = self.available.load(SeqCst) - to_i64(bytes);
        (sum <= free.saturating_mul(3)).then_some(sum)
    }

    /// Returns the limit to report for a reservation that the share has no room for: the share's own limit if the share is
    /// well above the average size, otherwise the budget. If the shares are about equal, no broker is the cause, and a
    /// record without a key would find no more room at another broker.
    fn exceeded_limit(&self, share: &BrokerShare) -> MemoryLimit {
        let shares = self.requested_shares.load(SeqCst) as i128;
        let reserved = to_i64(self.budget) - self.available.load(SeqCst);
        match 4 * shares * i128::from(share.reserved()) > 5 * i128::from(reserved) {
            true => MemoryLimit::Share,
            false => MemoryLimit::Budget,
        }
    }

    /// Releases `bytes` and serves the waiters that now have room.
    fn release(&self, bytes: usize, share: &BrokerShare) {
        self.available.fetch_add(to_i64(bytes), SeqCst);
        share.reserved.fetch_sub(to_i64(bytes), SeqCst);
        if self.has_budget_waiters() || self.has_share_waiters() {
            self.serve_waiters();
        }
    }

    /// Releases `bytes` of the share only, and serves its waiters: callers may have found the share full meanwhile.
    fn release_share(&self, share: &BrokerShare, bytes: usize) {
        share.reserved.fetch_sub(to_i64(bytes), SeqCst);
        if share.has_waiters() {
            self.serve_waiters();
        }
    }

    fn serve_waiters(&self) {
        let has_new_budget_waiter = self.serve(&mut self.waiters.lock());
        self.alarm_if(has_new_budget_waiter);
    }

    /// Wakes the workers if a waiter moved to the queue for the budget. From then on no batch of any partition lingers.
    /// Before, only the batches of the waiter's share were sent without linger.
    fn alarm_if(&self, has_new_budget_waiter: bool) {
        if let (true, Some(alarm)) = (has_new_budget_waiter, self.alarm.get()) {
            alarm();
        }
    }

    /// Serves the waiters for the budget in their order, and stops at the first for which too little is free. Then moves
    /// the waiters whose share has room to the queue for the budget. Returns whether a moved waiter has to wait there.
    /// The caller must then wake the workers.
    #[must_use]
    fn serve(&self, waiters: &mut Waiters) -> bool {
        let Waiters {
            for_budget,
            for_share,
            ..
        } = waiters;
        while let Some(waiter) = for_budget.front() {
            if !self.reserve_in_budget(waiter.bytes) {
                break;
            }
            waiter.grant();
            for_budget.pop_front();
            self.budget_waiters.fetch_sub(1, SeqCst);
        }
        let mut full: Vec<Arc<BrokerShare>> = Vec::new();
        let mut has_new_budget_waiter = false;
        for_share.retain(|waiter| {
            let is_full = full.iter().any(|share| Arc::ptr_eq(share, &waiter.share));
            if is_full || !self.reserve_in_share(&waiter.share, waiter.bytes) {
                if !is_full {
                    full.push(Arc::clone(&waiter.share));
                }
                return true;
            }
            self.decrement_share_waiters(waiter);
            if for_budget.is_empty() && self.reserve_in_budget(waiter.bytes) {
                waiter.grant();
            } else {
                self.budget_waiters.fetch_add(1, SeqCst);
                for_budget.push_back(Arc::clone(waiter));
                has_new_budget_waiter = true;
            }
            false
        });
        if has_new_budget_waiter {
            self.waits.fetch_add(1, SeqCst);
        }
        has_new_budget_waiter
    }

    /// Removes a waiter that gives up.
    fn remove(&self, mut waiters: MutexGuard<'_, Waiters>, waiter: &Arc<Waiter>) {
        let is_same = |other: &Arc<Waiter>| Arc::ptr_eq(other, waiter);
        match waiters.for_share.iter().position(is_same) {
            Some(position) => {
                waiters.for_share.remove(position);
                self.decrement_share_waiters(waiter);
            }
            None => {
                waiters.for_budget.retain(|other| !is_same(other));
                self.budget_waiters.fetch_sub(1, SeqCst);
                waiter
                    .share
                    .reserved
                    .fetch_sub(to_i64(waiter.bytes), SeqCst);
            }
        }
        let has_new_budget_waiter = self.serve(&mut waiters);
        drop(waiters);
        self.alarm_if(has_new_budget_waiter);
    }

    fn decrement_share_waiters(&self, waiter: &Waiter) {
        self.share_waiters.fetch_sub(1, SeqCst);
        waiter.share.waiters.fetch_sub(1, SeqCst);
    }
}

/// `buffer.memory` is at most `i64::MAX`.
fn to_i64(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// A caller that has joined a queue of waiters.
pub(crate) struct PendingReservation {
    memory: Arc<BufferMemory>,
    waiter: Arc<Waiter>,
}

impl PendingReservation {
    /// Blocks until the memory is reserved, or until `deadline`.
    pub(crate) fn wait(self, deadline: Instant) -> Result<Reservation, WaitError> {
        let Self { memory, waiter } = self;
        let mut waiters = memory.waiters.lock();
        let mut is_late = false;
        let error = loop {
            if waiter.granted.load(SeqCst) {
                return Ok(memory.reservation(waiter.bytes, &waiter.share));
            }
            match waiter.end(&waiters) {
                Some(error) => break error,
                None if is_late => break WaitError::TimedOut,
                None => {}
            }
            is_late = waiter
                .condition
                .wait_until(&mut waiters, deadline)
                .timed_out();
        };
        memory.remove(waiters, &waiter);
        Err(error)
    }

    /// Returns whether [`wait`](Self::wait) would return at once.
    #[cfg(test)]
    pub(crate) fn is_ready(&self) -> bool {
        let waiters = self.memory.waiters.lock();
        self.waiter.granted.load(SeqCst) || self.waiter.end(&waiters).is_some()
    }
}

/// Reserved bytes. They are released when the reservation is dropped.
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

    /// Adds the bytes of `other` to this reservation, and moves them to the share of this reservation.
    pub(crate) fn absorb(&mut self, mut other: Reservation) {
        let bytes = std::mem::take(&mut other.bytes);
        self.bytes += bytes;
        if !Arc::ptr_eq(&self.share, &other.share) {
            self.share.reserved.fetch_add(to_i64(bytes), SeqCst);
            self.memory.release_share(&other.share, bytes);
        }
    }

    /// Releases all bytes except this number.
    pub(crate) fn shrink_to(&mut self, bytes: usize) {
        if let Some(surplus) = self.bytes.checked_sub(bytes).filter(|&surplus| surplus > 0) {
            self.bytes = bytes;
            self.memory.release(surplus, &self.share);
        }
    }

    /// Returns a batch's buffer to the pool, which keeps or frees it.
    pub(crate) fn return_buffer(&self, buffer: Vec<u8>) {
        self.memory.buffers.return_buffer(buffer);
    }

    /// Splits off a reservation of `bytes`, or of all bytes if there are fewer.
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
