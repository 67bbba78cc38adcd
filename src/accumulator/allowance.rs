//! What callbacks may send although `buffer.memory` is full.
//!
//! A batch's memory is free before its callbacks run, so that nothing waits for what they hold up. Callers who wait for
//! memory get it first, and a callback cannot wait for more. What it sends instead of its record would come back nearly
//! always where many callers wait. So the callbacks of a batch may take as much again as the batch gave back, up to a limit,
//! beyond the budget. The next batch gives back at least what its own callbacks may take: never more than the limit is
//! held beyond the budget for callbacks.

use std::cell::Cell;

/// The most that is held beyond the budget for what callbacks send.
const MOST_BYTES: usize = 64 * 1024;

thread_local! {
    /// What the callbacks that run on this thread may still take.
    static LEFT: Cell<usize> = const { Cell::new(0) };
}

/// Runs the callbacks of a batch that has given `bytes` back.
pub(super) fn with(bytes: usize, run_callbacks: impl FnOnce()) {
    struct End;
    impl Drop for End {
        fn drop(&mut self) {
            LEFT.set(0);
        }
    }

    let _end = End;
    LEFT.set(bytes.min(MOST_BYTES));
    run_callbacks();
}

/// In a callback: whether `bytes` are left, which are taken then.
pub(super) fn take(bytes: usize) -> bool {
    let left = LEFT.get().checked_sub(bytes);
    if let Some(left) = left {
        LEFT.set(left);
    }
    left.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callbacks_take_no_more_than_their_batch_gave_back_nor_than_the_limit() {
        assert!(!take(1), "outside of callbacks");
        with(100, || {
            assert!(take(60) && !take(41) && take(40) && !take(1))
        });
        with(10 * MOST_BYTES, || assert!(take(MOST_BYTES) && !take(1)));
        assert!(!take(1));
    }
}
