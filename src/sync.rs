//! The only file that names the lock, channel and thread libraries, so that a model checker can replace them.

use std::io;
use std::time::{Duration, Instant};

pub(crate) use crossbeam_channel as channel;
pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard, RwLock};

/// The stack of the threads that do the work, those of links included. Codecs need the most of it.
pub(crate) const STACK_BYTES: usize = 1024 * 1024;

/// Starts a named thread with a stack of `stack_bytes`. Returns an error if a limit of the system forbids it.
pub(crate) fn spawn(
    name: String,
    stack_bytes: usize,
    body: impl FnOnce() + Send + 'static,
) -> io::Result<std::thread::JoinHandle<()>> {
    std::thread::Builder::new()
        .name(name)
        .stack_size(stack_bytes)
        .spawn(body)
}

/// A worker's alarm clock. A thread that has work publishes it first (a channel, an atomic) and then calls
/// [`wake_by`](Self::wake_by). The worker announces until when it sleeps, and then checks for work once more. One of the two
/// always sees the other, so no wake-up is lost. Waking costs nothing if the worker is awake, or will look in time anyway.
pub(crate) struct Wakeup {
    origin: Instant,
    /// Nanoseconds after `origin` at which the sleeping worker wakes by itself. [`AWAKE`](Self::AWAKE) if it does not sleep.
    sleeps_until: std::sync::atomic::AtomicU64,
    /// Whether the worker has announced a pause that ends with the next event.
    pauses_until_event: std::sync::atomic::AtomicBool,
    woken: Mutex<bool>,
    condition: Condvar,
}

impl Wakeup {
    const AWAKE: u64 = 0;

    pub(crate) fn new(origin: Instant) -> Self {
        Self {
            origin,
            sleeps_until: std::sync::atomic::AtomicU64::new(Self::AWAKE),
            pauses_until_event: std::sync::atomic::AtomicBool::new(false),
            woken: Mutex::new(false),
            condition: Condvar::new(),
        }
    }

    /// Wakes the worker at once if it sleeps.
    pub(crate) fn wake(&self) {
        self.wake_before(1);
    }

    /// Wakes the worker if it would otherwise sleep past `deadline`.
    pub(crate) fn wake_by(&self, deadline: Instant) {
        self.wake_before(self.nanos(deadline).saturating_add(1));
    }

    /// Wakes the worker at once if it sleeps, or pauses until there is an event.
    pub(crate) fn wake_for_event(&self) {
        use std::sync::atomic::Ordering::SeqCst;
        self.wake();
        // After the fence in `wake`: see `pause_until_event`.
        if self.pauses_until_event.load(SeqCst) && self.pauses_until_event.swap(false, SeqCst) {
            *self.woken.lock() = true;
            self.condition.notify_one();
        }
    }

    /// Returns whether the worker sleeps, or pauses until there is an event. A thread that has published an event before must
    /// then wake the worker, or run its round.
    pub(crate) fn waits_for_event(&self) -> bool {
        use std::sync::atomic::Ordering::SeqCst;
        std::sync::atomic::fence(SeqCst);
        self.sleeps_until.load(SeqCst) != Self::AWAKE || self.pauses_until_event.load(SeqCst)
    }

    fn wake_before(&self, nanos: u64) {
        use std::sync::atomic::Ordering::SeqCst;
        // Orders the caller's publication before this load; its counterpart is the store in `sleep_until`.
        std::sync::atomic::fence(SeqCst);
        if self.sleeps_until.load(SeqCst) >= nanos
            && self.sleeps_until.swap(Self::AWAKE, SeqCst) != Self::AWAKE
        {
            *self.woken.lock() = true;
            self.condition.notify_one();
        }
    }

    /// On the worker: sleeps until `deadline` (without a limit if `None`) or a wake-up. Does not sleep if `has_work` returns
    /// true after the sleep was announced.
    pub(crate) fn sleep_until(&self, deadline: Option<Instant>, has_work: impl FnOnce() -> bool) {
        if self.may_sleep(deadline, has_work) {
            let mut woken = self.woken.lock();
            while !*woken {
                match deadline {
                    Some(deadline) => {
                        if self.condition.wait_until(&mut woken, deadline).timed_out() {
                            break;
                        }
                    }
                    None => self.condition.wait(&mut woken),
                }
            }
            *woken = false;
        }
        self.announce_awake();
    }

    /// Announces the sleep, and checks for work only then: a thread that published work before did not see the sleeper.
    fn may_sleep(&self, deadline: Option<Instant>, has_work: impl FnOnce() -> bool) -> bool {
        use std::sync::atomic::Ordering::SeqCst;
        let until = deadline.map_or(u64::MAX, |deadline| self.nanos(deadline));
        self.sleeps_until.store(until.max(Self::AWAKE + 1), SeqCst);
        std::sync::atomic::fence(SeqCst);
        !has_work()
    }

    fn announce_awake(&self) {
        self.sleeps_until
            .store(Self::AWAKE, std::sync::atomic::Ordering::SeqCst);
    }

    /// On the worker: pauses for `span`. Work does not end the pause; the worker takes all of it at once afterwards.
    pub(crate) fn pause(&self, span: Duration) {
        let mut woken = self.woken.lock();
        let _ = self.condition.wait_for(&mut woken, span);
        *woken = false;
    }

    /// As [`pause`](Self::pause), but [`wake_for_event`](Self::wake_for_event) ends the pause. Does not pause if `has_event`
    /// returns true after the pause was announced.
    pub(crate) fn pause_until_event(&self, span: Duration, has_event: impl FnOnce() -> bool) {
        use std::sync::atomic::Ordering::SeqCst;
        self.pauses_until_event.store(true, SeqCst);
        std::sync::atomic::fence(SeqCst);
        if !has_event() {
            let mut woken = self.woken.lock();
            if !*woken {
                let _ = self.condition.wait_for(&mut woken, span);
            }
            *woken = false;
        }
        self.pauses_until_event.store(false, SeqCst);
    }

    /// The first half of [`sleep_until`](Self::sleep_until), for a worker without a thread. Returns whether it sleeps now.
    #[cfg(test)]
    pub(crate) fn falls_asleep(
        &self,
        deadline: Option<Instant>,
        has_work: impl FnOnce() -> bool,
    ) -> bool {
        let sleeps = self.may_sleep(deadline, has_work);
        if !sleeps {
            self.announce_awake();
        }
        sleeps
    }

    /// Returns whether a worker without a thread was woken.
    #[cfg(test)]
    pub(crate) fn is_woken(&self) -> bool {
        *self.woken.lock()
    }

    /// The second half of [`sleep_until`](Self::sleep_until): the worker is awake, woken or not.
    #[cfg(test)]
    pub(crate) fn end_sleep(&self) {
        *self.woken.lock() = false;
        self.announce_awake();
    }

    fn nanos(&self, instant: Instant) -> u64 {
        let elapsed = instant.saturating_duration_since(self.origin);
        u64::try_from(elapsed.min(Duration::from_secs(1 << 33)).as_nanos()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[test]
    fn a_wakeup_is_never_lost() {
        // The test publishes a number and wakes the worker, which must see each without the help of its deadline.
        let wakeup = Arc::new(Wakeup::new(Instant::now()));
        let published = Arc::new(AtomicU64::new(0));
        let seen = Arc::new(AtomicU64::new(0));
        const ROUNDS: u64 = 20_000;
        let worker = {
            let (wakeup, published, seen) = (wakeup.clone(), published.clone(), seen.clone());
            std::thread::spawn(move || {
                let mut last = 0;
                while last < ROUNDS {
                    let started = Instant::now();
                    let far = started + Duration::from_secs(20);
                    wakeup.sleep_until(Some(far), || published.load(Ordering::SeqCst) != last);
                    last = published.load(Ordering::SeqCst);
                    seen.store(last, Ordering::SeqCst);
                    assert!(
                        started.elapsed() < Duration::from_secs(10),
                        "slept through a wake-up"
                    );
                }
            })
        };
        for round in 1..=ROUNDS {
            published.store(round, Ordering::SeqCst);
            wakeup.wake();
            if round % 64 == 0 {
                while seen.load(Ordering::SeqCst) < round {
                    std::thread::yield_now();
                }
            }
        }
        worker.join().unwrap();
    }

    #[test]
    fn a_worker_that_will_look_in_time_is_not_woken() {
        let origin = Instant::now();
        let wakeup = Wakeup::new(origin);
        wakeup.sleeps_until.store(5_000_000, Ordering::SeqCst);
        let is_asleep = || wakeup.sleeps_until.load(Ordering::SeqCst) != Wakeup::AWAKE;
        wakeup.wake_by(origin + Duration::from_millis(5));
        assert!(is_asleep(), "due when the worker wakes by itself");
        wakeup.wake_by(origin + Duration::from_millis(4));
        assert!(!is_asleep());
    }
}
