//! The budget of `buffer.memory`: callers reserve before they append, and the memory comes back when a batch's fate
//! is known.
//!
//! Without waiters a reservation is one compare-and-swap. Once somebody waits nobody overtakes: waiters are served in
//! the order in which they came, and one that gives up passes its place on.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Instant;

use crate::sync::{Condvar, Mutex};

/// The budget. One for each producer, shared by all threads.
pub(crate) struct BufferMemory {
    total: usize,
    available: AtomicUsize,
    /// The length of `queue.waiting`, readable without the lock.
    waiting: AtomicUsize,
    /// Counts the waits that ever began.
    waits: std::sync::atomic::AtomicU64,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Arc<Waiter>>,
    closed: bool,
}

struct Waiter {
    bytes: usize,
    /// Used with the queue's lock. Set with the memory already taken on the waiter's behalf.
    granted: std::sync::atomic::AtomicBool,
    condition: Condvar,
}

/// Why memory was not had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReserveError {
    /// The deadline came first.
    Exhausted,
    /// The producer was closed.
    Closed,
}

impl BufferMemory {
    pub(crate) fn new(total: usize) -> Arc<Self> {
        Arc::new(Self {
            total,
            available: AtomicUsize::new(total),
            waiting: AtomicUsize::new(0),
            waits: std::sync::atomic::AtomicU64::new(0),
            queue: Mutex::default(),
        })
    }

    /// The whole budget in bytes.
    pub(crate) fn total(&self) -> usize {
        self.total
    }

    /// What nobody holds, in bytes.
    #[cfg(test)]
    pub(crate) fn available(&self) -> usize {
        self.available.load(SeqCst)
    }

    /// Whether somebody waits for memory: everything is ready to send then, whatever `linger.ms` says.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.waiting.load(SeqCst) > 0
    }

    /// Rises whenever somebody begins to wait: a worker that has seen a count need not look again before the next.
    pub(crate) fn waits(&self) -> u64 {
        self.waits.load(SeqCst)
    }

    /// Takes `bytes` if they are there and nobody else waits.
    pub(crate) fn try_reserve(self: &Arc<Self>, bytes: usize) -> Option<Reservation> {
        (self.waiting.load(SeqCst) == 0 && self.take(bytes)).then(|| Reservation {
            memory: Arc::clone(self),
            bytes,
        })
    }

    /// Takes `bytes`, waiting in line until `deadline`. `on_wait` runs once if there is a wait, after this caller has
    /// joined the line: it wakes the workers, who then see [`is_exhausted`](Self::is_exhausted).
    pub(crate) fn reserve(
        self: &Arc<Self>,
        bytes: usize,
        deadline: Instant,
        on_wait: impl FnOnce(),
    ) -> Result<Reservation, ReserveError> {
        debug_assert!(
            bytes <= self.total,
            "more than the whole budget would be waited for in vain"
        );
        if let Some(reservation) = self.try_reserve(bytes) {
            return Ok(reservation);
        }
        let waiter = Arc::new(Waiter {
            bytes,
            granted: std::sync::atomic::AtomicBool::new(false),
            condition: Condvar::new(),
        });
        {
            let mut queue = self.queue.lock();
            queue.waiting.push_back(Arc::clone(&waiter));
            self.waiting.fetch_add(1, SeqCst);
            self.waits.fetch_add(1, SeqCst);
            // Memory may have come back between the failed try and now, when nobody was in line to be told.
            self.grant(&mut queue);
        }
        on_wait();

        let mut queue = self.queue.lock();
        loop {
            if waiter.granted.load(SeqCst) {
                return Ok(Reservation {
                    memory: Arc::clone(self),
                    bytes,
                });
            }
            let error = if queue.closed {
                ReserveError::Closed
            } else if waiter
                .condition
                .wait_until(&mut queue, deadline)
                .timed_out()
                && !waiter.granted.load(SeqCst)
            {
                ReserveError::Exhausted
            } else {
                continue;
            };
            queue.waiting.retain(|other| !Arc::ptr_eq(other, &waiter));
            self.waiting.fetch_sub(1, SeqCst);
            self.grant(&mut queue);
            return Err(error);
        }
    }

    /// A reservation of nothing.
    pub(crate) fn empty_reservation(self: &Arc<Self>) -> Reservation {
        Reservation {
            memory: Arc::clone(self),
            bytes: 0,
        }
    }

    /// Wakes every waiter with [`ReserveError::Closed`].
    pub(crate) fn close(&self) {
        let mut queue = self.queue.lock();
        queue.closed = true;
        for waiter in &queue.waiting {
            waiter.condition.notify_one();
        }
    }

    fn take(&self, bytes: usize) -> bool {
        self.available
            .fetch_update(SeqCst, SeqCst, |available| available.checked_sub(bytes))
            .is_ok()
    }

    fn release(&self, bytes: usize) {
        self.available.fetch_add(bytes, SeqCst);
        if self.waiting.load(SeqCst) > 0 {
            self.grant(&mut self.queue.lock());
        }
    }

    /// Serves the head of the line as long as the memory suffices. Those behind a large request wait with it.
    fn grant(&self, queue: &mut Queue) {
        while let Some(waiter) = queue.waiting.front() {
            if !self.take(waiter.bytes) {
                return;
            }
            waiter.granted.store(true, SeqCst);
            waiter.condition.notify_one();
            queue.waiting.pop_front();
            self.waiting.fetch_sub(1, SeqCst);
        }
    }
}

/// Bytes taken from the budget; dropping gives them back.
pub(crate) struct Reservation {
    memory: Arc<BufferMemory>,
    bytes: usize,
}

impl Reservation {
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds what `other` holds to this reservation.
    pub(crate) fn absorb(&mut self, mut other: Reservation) {
        self.bytes += std::mem::take(&mut other.bytes);
    }

    /// Gives back all but `bytes`.
    pub(crate) fn shrink_to(&mut self, bytes: usize) {
        if let Some(surplus) = self.bytes.checked_sub(bytes).filter(|&surplus| surplus > 0) {
            self.bytes = bytes;
            self.memory.release(surplus);
        }
    }

    /// Splits off a reservation of at most `bytes`.
    pub(crate) fn split(&mut self, bytes: usize) -> Reservation {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        Reservation {
            memory: Arc::clone(&self.memory),
            bytes,
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.memory.release(self.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::channel;
    use std::time::Duration;

    fn soon() -> Instant {
        Instant::now() + Duration::from_millis(20)
    }

    fn late() -> Instant {
        Instant::now() + Duration::from_secs(30)
    }

    /// Starts a thread that waits for `bytes` and is in line when this returns.
    fn wait_in_line(
        memory: &Arc<BufferMemory>,
        bytes: usize,
        served: channel::Sender<(usize, Reservation)>,
    ) -> std::thread::JoinHandle<()> {
        let (in_line, is_in_line) = channel::bounded(1);
        let memory = Arc::clone(memory);
        let handle = std::thread::spawn(move || {
            if let Ok(reservation) = memory.reserve(bytes, late(), || in_line.send(()).unwrap()) {
                let _ = served.send((bytes, reservation));
            }
        });
        is_in_line.recv().unwrap();
        handle
    }

    #[test]
    fn what_is_dropped_can_be_reserved_again() {
        let memory = BufferMemory::new(100);
        let mut first = memory.try_reserve(60).unwrap();
        assert!(memory.try_reserve(41).is_none());
        first.absorb(memory.try_reserve(40).unwrap());
        assert_eq!((first.bytes(), memory.available()), (100, 0));
        let part = first.split(30);
        first.shrink_to(10);
        assert_eq!(memory.available(), 60);
        drop((first, part));
        assert_eq!(memory.available(), 100);
    }

    #[test]
    fn a_wait_ends_at_its_deadline_and_leaves_the_line() {
        let memory = BufferMemory::new(100);
        let held = memory.try_reserve(100).unwrap();
        assert_eq!(
            memory.reserve(1, soon(), || {}).err(),
            Some(ReserveError::Exhausted)
        );
        assert!(!memory.is_exhausted());
        drop(held);
        assert_eq!(memory.available(), 100);
    }

    #[test]
    fn waiters_are_served_in_the_order_in_which_they_came() {
        let memory = BufferMemory::new(100);
        let mut held = memory.try_reserve(100).unwrap();
        let (served, order) = channel::unbounded();
        let threads = [70, 10, 20].map(|bytes| wait_in_line(&memory, bytes, served.clone()));
        held.shrink_to(50);
        assert!(
            memory.try_reserve(1).is_none(),
            "nobody overtakes those in line"
        );
        assert!(
            order.try_recv().is_err(),
            "small requests wait behind the large one"
        );
        drop(held);
        let mut got: Vec<usize> = Vec::new();
        let mut reservations = Vec::new();
        for _ in 0..3 {
            let (bytes, reservation) = order.recv().unwrap();
            got.push(bytes);
            reservations.push(reservation);
        }
        got.sort_unstable();
        assert_eq!(got, [10, 20, 70]);
        for thread in threads {
            thread.join().unwrap();
        }
        drop(reservations);
        assert_eq!(memory.available(), 100);
    }

    #[test]
    fn a_waiter_that_gives_up_passes_its_place_on() {
        let memory = BufferMemory::new(100);
        let mut held = memory.try_reserve(100).unwrap();
        let (in_line, is_in_line) = channel::bounded(1);
        let impatient = {
            let memory = Arc::clone(&memory);
            std::thread::spawn(move || {
                let deadline = Instant::now() + Duration::from_millis(100);
                memory
                    .reserve(90, deadline, || in_line.send(()).unwrap())
                    .err()
            })
        };
        is_in_line.recv().unwrap();
        let (served, order) = channel::unbounded();
        let patient = wait_in_line(&memory, 10, served);
        held.shrink_to(50);
        assert_eq!(impatient.join().unwrap(), Some(ReserveError::Exhausted));
        let (bytes, _reservation) = order.recv_timeout(Duration::from_secs(10)).unwrap();
        assert_eq!(bytes, 10);
        patient.join().unwrap();
    }

    #[test]
    fn closing_wakes_every_waiter() {
        let memory = BufferMemory::new(10);
        let _held = memory.try_reserve(10).unwrap();
        let waiters: Vec<_> = (0..4)
            .map(|_| {
                let memory = Arc::clone(&memory);
                let (in_line, is_in_line) = channel::bounded(1);
                let thread = std::thread::spawn(move || {
                    memory
                        .reserve(5, late(), || in_line.send(()).unwrap())
                        .err()
                });
                is_in_line.recv().unwrap();
                thread
            })
            .collect();
        memory.close();
        for waiter in waiters {
            assert_eq!(waiter.join().unwrap(), Some(ReserveError::Closed));
        }
        assert!(!memory.is_exhausted());
    }

    #[test]
    fn many_threads_never_hold_more_than_the_budget() {
        const TOTAL: usize = 1000;
        let memory = BufferMemory::new(TOTAL);
        let held = Arc::new(AtomicUsize::new(0));
        let threads: Vec<_> = (1..=8)
            .map(|n| {
                let (memory, held) = (Arc::clone(&memory), Arc::clone(&held));
                std::thread::spawn(move || {
                    for round in 0..2000 {
                        let bytes = (n * 37 + round * 13) % 400 + 1;
                        let reservation = memory.reserve(bytes, late(), || {}).unwrap();
                        assert!(held.fetch_add(bytes, SeqCst) + bytes <= TOTAL);
                        held.fetch_sub(bytes, SeqCst);
                        drop(reservation);
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(memory.available(), TOTAL);
        assert!(!memory.is_exhausted());
    }
}
