//! How often this process was forked off, counted without a system call at each look.
//!
//! The one place of this crate with `unsafe` code. A process id would tell the same, but `std::process::id` is a system
//! call, as dear as all else that `send` does for a record.
#![allow(unsafe_code, reason = "registering a handler for fork is foreign code")]

use std::sync::atomic::{AtomicU32, Ordering};

/// The forks between the program's start and this process: a child has one more than its parent had.
static FORKS: AtomicU32 = AtomicU32::new(0);

/// The forks between the program's start and this process, since [`watch`] was first called.
#[inline]
pub(super) fn count() -> u32 {
    FORKS.load(Ordering::Relaxed)
}

/// Sees to it that forks are counted from now on.
#[cfg(unix)]
pub(super) fn watch() {
    extern "C" fn in_child() {
        FORKS.fetch_add(1, Ordering::Relaxed);
    }

    static WATCHED: std::sync::Once = std::sync::Once::new();
    WATCHED.call_once(|| {
        // SAFETY: the handler is a function of this program, and does what a signal handler may do: it changes an atomic
        // number. If the system has no memory for the registration forks go unnoticed, as they did before.
        let _ = unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
    });
}

/// Other systems have no fork.
#[cfg(not(unix))]
pub(super) fn watch() {}
