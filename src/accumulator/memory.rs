//! The budget of `buffer.memory`: callers reserve before they append, and the memory comes back when a batch's fate
//! is known.
//!
//! Without waiters a reservation is two compare-and-swaps. Once somebody waits nobody overtakes: waiters are served in
//! the order in which they came, and one that gives up passes its place on.
//!
//! As soon as there are records for more than one broker, those for one may hold three times what is free, and no more:
//! three quarters of the budget where it is alone, less the more the others hold. So brokers that take nothing, whose
//! records pile up, leave room for those that do, however many they are: of `n` such brokers each holds `3/(1 + 3n)`, and
//! the rest stays free. (Switches share their memory among ports like this: Choudhury and Hahne, "Dynamic queue length
//! thresholds", 1998.) Whoever waits for his broker's share waits in a line of its own.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use super::buffers::BufferPool;
use crate::sync::{Condvar, Mutex, MutexGuard};

/// The budget. One for each producer, shared by all threads.
pub(crate) struct BufferMemory {
    total: usize,
    /// Below zero while more is held than there is: see [`take_now`](Self::take_now).
    available: AtomicI64,
    /// The shares that were ever taken from.
    shares_in_use: AtomicUsize,
    /// The lengths of `queue.waiting` and `queue.capped`, readable without the lock.
    waiting: AtomicUsize,
    capped: AtomicUsize,
    /// Counts the waits that ever began.
    waits: AtomicU64,
    queue: Mutex<Queue>,
    alarm: OnceLock<Alarm>,
    pub(crate) buffers: BufferPool,
}

/// Wakes the workers, who then see that somebody waits. May be called under a partition's lock; must not block, nor take
/// a lock that is held over anything else.
type Alarm = Box<dyn Fn() + Send + Sync>;

/// What the records for one broker hold of the budget. A batch counts for the broker that led its partition when the
/// memory was reserved.
#[derive(Default)]
pub(crate) struct BrokerShare {
    /// None: of partitions whose leader is not known yet.
    broker: Option<i32>,
    used: AtomicI64,
    /// Callers in the line for this share.
    capped: AtomicUsize,
    in_use: AtomicBool,
    /// How often a partition left this share for another one's.
    moves: AtomicU64,
}

impl BrokerShare {
    pub(crate) fn of(broker: i32) -> Arc<Self> {
        Arc::new(Self {
            broker: Some(broker),
            ..Self::default()
        })
    }

    pub(crate) fn broker(&self) -> Option<i32> {
        self.broker
    }

    /// How often a partition has left this share. A caller who found the share too full compares two values to see whether it
    /// has to look again at where its record goes.
    pub(crate) fn moves(&self) -> u64 {
        self.moves.load(SeqCst)
    }

    /// What is held, in bytes.
    pub(crate) fn used(&self) -> i64 {
        self.used.load(SeqCst)
    }

    /// Whether somebody waits for this share: its partitions are ready to send then, whatever `linger.ms` says.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.capped.load(SeqCst) > 0
    }
}

#[derive(Default)]
struct Queue {
    /// Those that have their part of a share and wait for the budget, in order.
    waiting: VecDeque<Arc<Waiter>>,
    /// Those that wait for their broker's share, in order.
    capped: VecDeque<Arc<Waiter>>,
    closed: bool,
}

struct Waiter {
    bytes: usize,
    share: Arc<BrokerShare>,
    /// Used with the queue's lock. Set with the memory already taken on the waiter's behalf.
    granted: AtomicBool,
    /// Used with the queue's lock. The partition has another leader: this share is not the one to wait for.
    sent_on: AtomicBool,
    condition: Condvar,
}

impl Waiter {
    /// With the queue's lock, and the memory taken.
    fn grant(&self) {
        self.granted.store(true, SeqCst);
        self.condition.notify_one();
    }
}

/// What memory cannot be had for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shortage {
    /// Too little is left, or others wait already.
    Budget,
    /// The broker holds far more than others do, and may not take more.
    Share,
}

/// Why memory was not had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReserveError {
    /// The deadline came first.
    Exhausted(Shortage),
    /// The partition's leader changed meanwhile, and with it the share: to be tried again.
    SentOn,
    /// The producer was closed.
    Closed,
}

impl BufferMemory {
    pub(crate) fn new(total: usize) -> Arc<Self> {
        Arc::new(Self {
            total,
            available: AtomicI64::new(to_i64(total)),
            shares_in_use: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            capped: AtomicUsize::new(0),
            waits: AtomicU64::new(0),
            queue: Mutex::default(),
            alarm: OnceLock::new(),
            buffers: BufferPool::new(total),
        })
    }

    /// Whom to tell when somebody who waited for a share comes to wait for the budget.
    pub(crate) fn set_alarm(&self, alarm: impl Fn() + Send + Sync + 'static) {
        let _ = self.alarm.set(Box::new(alarm));
    }

    /// The whole budget in bytes.
    pub(crate) fn total(&self) -> usize {
        self.total
    }

    /// What nobody holds, in bytes.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn available(&self) -> usize {
        usize::try_from(self.available.load(SeqCst)).unwrap_or(0)
    }

    /// What is held, in bytes: more than the budget where [`take_now`](Self::take_now) was called.
    #[cfg(test)]
    pub(crate) fn in_use(&self) -> i64 {
        to_i64(self.total) - self.available.load(SeqCst)
    }

    /// Whether somebody waits for what is there.
    #[cfg(test)]
    pub(crate) fn owes_a_grant(&self) -> bool {
        let queue = self.queue.lock();
        let available = self.available.load(SeqCst);
        let first = queue.waiting.front();
        let mut shares: Vec<&Arc<BrokerShare>> = Vec::new();
        let is_owed_a_share = queue.capped.iter().any(|waiter| {
            let is_first = !shares.iter().any(|share| Arc::ptr_eq(share, &waiter.share));
            shares.push(&waiter.share);
            is_first && self.share_with(waiter.share.used(), waiter.bytes).is_some()
        });
        is_owed_a_share || first.is_some_and(|waiter| to_i64(waiter.bytes) <= available)
    }

    /// Whether somebody waits for the budget: everything is ready to send then, whatever `linger.ms` says.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.waiting.load(SeqCst) > 0
    }

    /// Whether callers are not much ahead of the network: most of the budget is free.
    pub(crate) fn is_ample(&self) -> bool {
        self.available.load(SeqCst) > to_i64(self.total / 4 * 3)
    }

    /// Whether somebody waits for a broker's share.
    pub(crate) fn has_exhausted_share(&self) -> bool {
        self.capped.load(SeqCst) > 0
    }

    /// Rises whenever somebody begins to wait: a worker that has seen a count need not look again before the next.
    pub(crate) fn waits(&self) -> u64 {
        self.waits.load(SeqCst)
    }

    /// Takes `bytes` if they are there and nobody else waits for them.
    pub(crate) fn try_reserve(
        self: &Arc<Self>,
        bytes: usize,
        share: &Arc<BrokerShare>,
    ) -> Result<Reservation, Shortage> {
        if share.is_exhausted() || !self.take_share(share, bytes) {
            return Err(self.shortage(share));
        }
        if self.is_exhausted() || !self.take(bytes) {
            self.give_share_back(share, bytes);
            return Err(Shortage::Budget);
        }
        Ok(self.reservation(bytes, share))
    }

    /// Takes `bytes`, waiting in line until `deadline`. `on_wait` runs once if there is a wait, after this caller has
    /// joined a line: it wakes the workers, who then see that somebody waits.
    pub(crate) fn reserve(
        self: &Arc<Self>,
        bytes: usize,
        share: &Arc<BrokerShare>,
        moves: u64,
        deadline: Instant,
        on_wait: impl FnOnce(),
    ) -> Result<Reservation, ReserveError> {
        if let Ok(reservation) = self.try_reserve(bytes, share) {
            return Ok(reservation);
        }
        let place = self.join_line(bytes, share);
        if share.moves() != moves {
            // The partition left the share after the caller looked and before it joined the line, so nobody has told it.
            place.waiter.sent_on.store(true, SeqCst);
        }
        on_wait();
        place.wait(deadline)
    }

    /// Joins the line of those who wait, who must then be told to the workers.
    pub(crate) fn join_line(
        self: &Arc<Self>,
        bytes: usize,
        share: &Arc<BrokerShare>,
    ) -> PlaceInLine {
        debug_assert!(
            bytes <= self.total,
            "more than the whole budget would be waited for in vain"
        );
        let waiter = Arc::new(Waiter {
            bytes,
            share: Arc::clone(share),
            granted: AtomicBool::new(false),
            sent_on: AtomicBool::new(false),
            condition: Condvar::new(),
        });
        let mut queue = self.queue.lock();
        queue.capped.push_back(Arc::clone(&waiter));
        self.capped.fetch_add(1, SeqCst);
        share.capped.fetch_add(1, SeqCst);
        self.waits.fetch_add(1, SeqCst);
        // Memory may have come back between the failed try and now, when nobody was in line to be told.
        // The caller tells the workers.
        let _ = self.serve(&mut queue);
        drop(queue);
        PlaceInLine {
            memory: Arc::clone(self),
            waiter,
        }
    }

    /// Takes `bytes` whether they are there or not, for what the worker must hold and cannot wait for. Callers wait until
    /// what is missing has come back.
    pub(crate) fn take_now(
        self: &Arc<Self>,
        bytes: usize,
        share: &Arc<BrokerShare>,
    ) -> Reservation {
        self.available.fetch_sub(to_i64(bytes), SeqCst);
        share.used.fetch_add(to_i64(bytes), SeqCst);
        self.reservation(bytes, share)
    }

    /// Wakes those who wait for `share` with [`ReserveError::SentOn`].
    pub(crate) fn send_on(&self, share: &Arc<BrokerShare>) {
        // Counted before the line is read: a caller who joins too late to be found there sees the new count.
        share.moves.fetch_add(1, SeqCst);
        if share.is_exhausted() {
            let queue = self.queue.lock();
            for waiter in &queue.capped {
                if Arc::ptr_eq(&waiter.share, share) {
                    waiter.sent_on.store(true, SeqCst);
                    waiter.condition.notify_one();
                }
            }
        }
    }

    /// Wakes every waiter with [`ReserveError::Closed`].
    pub(crate) fn close(&self) {
        let mut queue = self.queue.lock();
        queue.closed = true;
        for waiter in queue.waiting.iter().chain(&queue.capped) {
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

    /// A share that holds nothing takes whatever is asked of it: else a large record would wait for ever.
    fn take_share(&self, share: &BrokerShare, bytes: usize) -> bool {
        if !share.in_use.load(SeqCst) && !share.in_use.swap(true, SeqCst) {
            self.shares_in_use.fetch_add(1, SeqCst);
        }
        share
            .used
            .fetch_update(SeqCst, SeqCst, |used| self.share_with(used, bytes))
            .is_ok()
    }

    /// What a share of `used` bytes holds with `bytes` more; none where that is too much.
    fn share_with(&self, used: i64, bytes: usize) -> Option<i64> {
        let sum = used.saturating_add(to_i64(bytes));
        if used == 0 || self.shares_in_use.load(SeqCst) <= 1 {
            return Some(sum);
        }
        let free = self.available.load(SeqCst) - to_i64(bytes);
        (sum <= free.saturating_mul(3)).then_some(sum)
    }

    /// What it is that keeps a share from taking more: its own size where that is well above the average.
    fn shortage(&self, share: &BrokerShare) -> Shortage {
        let shares = self.shares_in_use.load(SeqCst) as i128;
        let held = to_i64(self.total) - self.available.load(SeqCst);
        match 4 * shares * i128::from(share.used()) > 5 * i128::from(held) {
            true => Shortage::Share,
            false => Shortage::Budget,
        }
    }

    fn release(&self, bytes: usize, share: &BrokerShare) {
        self.available.fetch_add(to_i64(bytes), SeqCst);
        share.used.fetch_sub(to_i64(bytes), SeqCst);
        if self.is_exhausted() || self.has_exhausted_share() {
            self.serve_those_in_line();
        }
    }

    /// Whoever came meanwhile and found the share used up is served now.
    fn give_share_back(&self, share: &BrokerShare, bytes: usize) {
        share.used.fetch_sub(to_i64(bytes), SeqCst);
        if share.is_exhausted() {
            self.serve_those_in_line();
        }
    }

    fn serve_those_in_line(&self) {
        let have_moved_on = self.serve(&mut self.queue.lock());
        self.tell_if(have_moved_on);
    }

    /// Everything is ready to send now that somebody waits for the budget, and no longer for one share of it.
    fn tell_if(&self, have_moved_on: bool) {
        if let (true, Some(alarm)) = (have_moved_on, self.alarm.get()) {
            alarm();
        }
    }

    /// Serves the head of the line as long as the budget suffices; those behind a large request wait with it. Then lets
    /// those move on whom the shares allow. Returns whether somebody who moved on waits, of whom the workers must be told.
    #[must_use]
    fn serve(&self, queue: &mut Queue) -> bool {
        let Queue {
            waiting, capped, ..
        } = queue;
        while let Some(waiter) = waiting.front() {
            if !self.take(waiter.bytes) {
                break;
            }
            waiter.grant();
            waiting.pop_front();
            self.waiting.fetch_sub(1, SeqCst);
        }
        let mut full: Vec<Arc<BrokerShare>> = Vec::new();
        let mut have_moved_on = false;
        capped.retain(|waiter| {
            let is_full = full.iter().any(|share| Arc::ptr_eq(share, &waiter.share));
            if is_full || !self.take_share(&waiter.share, waiter.bytes) {
                if !is_full {
                    full.push(Arc::clone(&waiter.share));
                }
                return true;
            }
            self.left_capped(waiter);
            if waiting.is_empty() && self.take(waiter.bytes) {
                waiter.grant();
            } else {
                self.waiting.fetch_add(1, SeqCst);
                waiting.push_back(Arc::clone(waiter));
                have_moved_on = true;
            }
            false
        });
        if have_moved_on {
            self.waits.fetch_add(1, SeqCst);
        }
        have_moved_on
    }

    /// A waiter gives up; returns what it waited for.
    fn leave(&self, mut queue: MutexGuard<'_, Queue>, waiter: &Arc<Waiter>) -> Shortage {
        let is_same = |other: &Arc<Waiter>| Arc::ptr_eq(other, waiter);
        let shortage = match queue.capped.iter().position(is_same) {
            Some(place) => {
                queue.capped.remove(place);
                self.left_capped(waiter);
                self.shortage(&waiter.share)
            }
            None => {
                queue.waiting.retain(|other| !is_same(other));
                self.waiting.fetch_sub(1, SeqCst);
                waiter.share.used.fetch_sub(to_i64(waiter.bytes), SeqCst);
                Shortage::Budget
            }
        };
        let have_moved_on = self.serve(&mut queue);
        drop(queue);
        self.tell_if(have_moved_on);
        shortage
    }

    fn left_capped(&self, waiter: &Waiter) {
        self.capped.fetch_sub(1, SeqCst);
        waiter.share.capped.fetch_sub(1, SeqCst);
    }
}

/// `buffer.memory` is at most `i64::MAX`.
fn to_i64(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// A wait that has begun.
pub(crate) struct PlaceInLine {
    memory: Arc<BufferMemory>,
    waiter: Arc<Waiter>,
}

impl PlaceInLine {
    /// Waits for the memory until `deadline`.
    pub(crate) fn wait(self, deadline: Instant) -> Result<Reservation, ReserveError> {
        let Self { memory, waiter } = self;
        let mut queue = memory.queue.lock();
        loop {
            if waiter.granted.load(SeqCst) {
                return Ok(memory.reservation(waiter.bytes, &waiter.share));
            }
            if queue.closed {
                memory.leave(queue, &waiter);
                return Err(ReserveError::Closed);
            }
            if waiter.sent_on.load(SeqCst) {
                memory.leave(queue, &waiter);
                return Err(ReserveError::SentOn);
            }
            let is_late = waiter
                .condition
                .wait_until(&mut queue, deadline)
                .timed_out();
            let is_over = queue.closed || waiter.sent_on.load(SeqCst);
            if is_late && !is_over && !waiter.granted.load(SeqCst) {
                let shortage = memory.leave(queue, &waiter);
                return Err(ReserveError::Exhausted(shortage));
            }
        }
    }

    /// Whether [`wait`](Self::wait) would return at once.
    #[cfg(test)]
    pub(crate) fn is_over(&self) -> bool {
        let queue = self.memory.queue.lock();
        let Waiter {
            granted, sent_on, ..
        } = &*self.waiter;
        queue.closed || granted.load(SeqCst) || sent_on.load(SeqCst)
    }
}

/// Bytes taken from the budget; dropping gives them back.
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

    /// Adds what `other` holds to this reservation, and to its broker's share.
    pub(crate) fn absorb(&mut self, mut other: Reservation) {
        let bytes = std::mem::take(&mut other.bytes);
        self.bytes += bytes;
        if !Arc::ptr_eq(&self.share, &other.share) {
            self.share.used.fetch_add(to_i64(bytes), SeqCst);
            self.memory.give_share_back(&other.share, bytes);
        }
    }

    /// Gives back all but `bytes`.
    pub(crate) fn shrink_to(&mut self, bytes: usize) {
        if let Some(surplus) = self.bytes.checked_sub(bytes).filter(|&surplus| surplus > 0) {
            self.bytes = bytes;
            self.memory.release(surplus, &self.share);
        }
    }

    /// Keeps a buffer of the memory for the next batch, if it is one to be kept.
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
