//! The memory that callbacks may take beyond `buffer.memory`.
//!
//! The memory of a batch is released before its callbacks run, so that slow callbacks do not hold it. Callers that already
//! wait get it first, and a callback must not wait for memory. So while many callers wait, a record that a callback sends
//! would nearly always be refused. Therefore the callbacks of a batch may reserve as many bytes beyond the budget as the
//! batch has released, up to a limit. One batch's callbacks run at a time, and the next batch releases at least as much as
//! its callbacks may reserve. So callbacks never hold more than the limit beyond the budget.

use std::cell::Cell;

/// The limit of the bytes that records sent by callbacks hold beyond the budget.
const MOST_BYTES: usize = 64 * 1024;

thread_local! {
    /// The bytes that the callbacks running on this thread may still take.
    static LEFT: Cell<usize> = const { Cell::new(0) };
}

/// Runs the callbacks of a batch that has released `bytes`.
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

/// In a callback: takes `bytes` of the allowance. Returns false if fewer are left.
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
    fn callbacks_take_no_more_than_their_batch_released_and_no_more_than_the_limit() {
        assert!(!take(1), "outside of callbacks");
        with(100, || {
            assert!(take(60) && !take(41) && take(40) && !take(1))
        });
        with(10 * MOST_BYTES, || assert!(take(MOST_BYTES) && !take(1)));
        assert!(!take(1));
    }
}
