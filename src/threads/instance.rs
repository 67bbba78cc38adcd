//! Which producer, of which process, something belongs to.

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::fork;

/// Distinguishes the producers of a process, and those that were made in it from those that it inherited by a fork.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InstanceId {
    number: u32,
    /// [`fork::count`] in the process in which the producer was made.
    forks: u32,
}

thread_local! {
    /// The producer whose thread this is.
    static OWNER: Cell<Option<InstanceId>> = const { Cell::new(None) };
}

impl InstanceId {
    /// For a producer that is made in this process.
    pub(crate) fn new() -> Self {
        static LAST: AtomicU32 = AtomicU32::new(0);
        fork::watch();
        Self {
            number: LAST.fetch_add(1, Ordering::Relaxed),
            forks: fork::count(),
        }
    }

    /// Whether this process was forked off after the producer was made: none of its threads is here then, and a lock that
    /// one of them held is locked for ever.
    #[inline]
    pub(crate) fn is_inherited(self) -> bool {
        self.forks != fork::count()
    }

    /// Whether this thread is one of the producer's own: if it waited for the producer it could wait for itself.
    #[inline]
    pub(crate) fn owns_this_thread(self) -> bool {
        OWNER.get() == Some(self)
    }

    /// This thread is one of the producer's own from now on.
    pub(super) fn take_this_thread(self) {
        OWNER.set(Some(self));
    }
}

impl Default for InstanceId {
    fn default() -> Self {
        Self::new()
    }
}

/// Whether a producer takes records: it was not closed, and this is the process in which it was made. Both are seen by one
/// load and one comparison, for it is asked with every record.
pub(crate) struct Opening(AtomicU64);

impl Opening {
    const CLOSED: u64 = u64::MAX;

    pub(crate) fn of(instance: InstanceId) -> Self {
        Self(AtomicU64::new(instance.forks.into()))
    }

    #[inline]
    pub(crate) fn is_open(&self) -> bool {
        self.0.load(Ordering::Acquire) == u64::from(fork::count())
    }

    pub(crate) fn close(&self) {
        self.0.store(Self::CLOSED, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_belongs_to_the_producer_that_took_it_and_to_no_other() {
        let (own, other) = (InstanceId::new(), InstanceId::new());
        std::thread::spawn(move || {
            assert!(!own.owns_this_thread());
            own.take_this_thread();
            assert!(own.owns_this_thread() && !other.owns_this_thread());
        })
        .join()
        .unwrap();
        assert!(!own.owns_this_thread());
    }

    #[test]
    fn what_was_made_before_a_fork_is_inherited_and_takes_nothing() {
        let here = InstanceId::new();
        let before = InstanceId {
            forks: here.forks.wrapping_sub(1),
            ..here
        };
        assert!(before.is_inherited() && !here.is_inherited());
        assert!(Opening::of(here).is_open() && !Opening::of(before).is_open());
        let closed = Opening::of(here);
        closed.close();
        assert!(!closed.is_open());
    }
}
