//! Identifies producers, and the process that created each.

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::fork;

/// Distinguishes the producers of a process, and those created in it from those that it inherited by a fork.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InstanceId {
    number: u32,
    /// [`fork::count`] in the process that created the producer.
    forks: u32,
}

thread_local! {
    /// The producer to which this thread belongs.
    static OWNER: Cell<Option<InstanceId>> = const { Cell::new(None) };
}

impl InstanceId {
    /// The id of a producer that this process creates.
    pub(crate) fn new() -> Self {
        static LAST: AtomicU32 = AtomicU32::new(0);
        fork::watch();
        Self {
            number: LAST.fetch_add(1, Ordering::Relaxed),
            forks: fork::count(),
        }
    }

    /// Returns whether this process was forked after the producer was created. It then has none of the producer's threads, and
    /// a lock that one of them held is locked for ever.
    #[inline]
    pub(crate) fn is_inherited(self) -> bool {
        self.forks != fork::count()
    }

    /// Returns whether this thread belongs to the producer. Such a thread must not wait for the producer, because it could wait
    /// for itself.
    #[inline]
    pub(crate) fn owns_this_thread(self) -> bool {
        OWNER.get() == Some(self)
    }

    /// Makes this thread one of the producer's own.
    pub(super) fn adopt_this_thread(self) {
        OWNER.set(Some(self));
    }
}

impl Default for InstanceId {
    fn default() -> Self {
        Self::new()
    }
}

/// Whether a producer accepts records: it is not closed, and this is the process that created it. One load and one comparison
/// answer both, because every record asks.
pub(crate) struct OpenFlag(AtomicU64);

impl OpenFlag {
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
    fn a_thread_belongs_to_the_producer_that_adopted_it_and_to_no_other() {
        let (own, other) = (InstanceId::new(), InstanceId::new());
        std::thread::spawn(move || {
            assert!(!own.owns_this_thread());
            own.adopt_this_thread();
            assert!(own.owns_this_thread() && !other.owns_this_thread());
        })
        .join()
        .unwrap();
        assert!(!own.owns_this_thread());
    }

    #[test]
    fn a_producer_of_the_parent_process_is_inherited_and_accepts_nothing() {
        let here = InstanceId::new();
        let before = InstanceId {
            forks: here.forks.wrapping_sub(1),
            ..here
        };
        assert!(before.is_inherited() && !here.is_inherited());
        assert!(OpenFlag::of(here).is_open() && !OpenFlag::of(before).is_open());
        let closed = OpenFlag::of(here);
        closed.close();
        assert!(!closed.is_open());
    }
}
