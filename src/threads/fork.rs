//! Counts the forks that led to this process, so that `send` can detect a fork without a system call.
//!
//! A process id would also do, but `std::process::id` is a system call, and costs as much as everything else that `send` does
//! for a record. The handler for forks is the one place of this crate with `unsafe` code.
#![allow(
    unsafe_code,
    reason = "a handler for forks is registered with the C library"
)]

use std::sync::atomic::{AtomicU32, Ordering};

/// The number of forks that led to this process. A child has one more than its parent.
static FORKS: AtomicU32 = AtomicU32::new(0);

/// Returns the number of forks that led to this process since [`watch`] was first called.
#[inline]
pub(super) fn count() -> u32 {
    FORKS.load(Ordering::Relaxed)
}

/// Counts forks from now on.
#[cfg(unix)]
pub(super) fn watch() {
    extern "C" fn in_child() {
        FORKS.fetch_add(1, Ordering::Relaxed);
    }

    static WATCHED: std::sync::Once = std::sync::Once::new();
    WATCHED.call_once(|| {
        // SAFETY: the handler is a function of this program. It changes an atomic number, which even a signal handler may do.
        // If the system has no memory for the registration, forks are not detected.
        let _ = unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
    });
}

/// Other systems have no fork.
#[cfg(not(unix))]
pub(super) fn watch() {}
