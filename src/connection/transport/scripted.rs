//! A transport for tests, as one that encrypts: it accepts a few bytes at a time, changes them, and holds them back until the
//! test lets them through.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::time::Duration;

use crate::sync::{Condvar, Mutex};

/// Its send half.
pub(in crate::connection) struct ScriptedSendHalf {
    most_accepted: usize,
    wire: Arc<Wire>,
}

/// What the test sees of it.
#[derive(Default)]
pub(in crate::connection) struct Wire {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    accepted: usize,
    pending: Vec<u8>,
    /// How many more bytes are let through.
    let_through: usize,
    /// What the peer has got, changed.
    written: Vec<u8>,
}

/// What makes a byte on the wire another one than the caller's.
const KEY: u8 = 0x55;

/// A send half that accepts up to `most_accepted` bytes at once.
pub(in crate::connection) fn transport(most_accepted: usize) -> (ScriptedSendHalf, Arc<Wire>) {
    let wire = Arc::<Wire>::default();
    let half = ScriptedSendHalf {
        most_accepted,
        wire: Arc::clone(&wire),
    };
    (half, wire)
}

impl ScriptedSendHalf {
    pub(super) fn write_vectored(
        &mut self,
        slices: &[IoSlice<'_>],
        timeout: Duration,
    ) -> io::Result<usize> {
        let mut state = self.wire.state.lock();
        if !state.pending.is_empty() {
            self.wire.write_pending(&mut state, timeout)?;
            if !state.pending.is_empty() {
                return Err(io::ErrorKind::WouldBlock.into());
            }
        }
        let bytes = slices.iter().flat_map(|slice| slice.iter());
        let accepted: Vec<u8> = bytes
            .take(self.most_accepted)
            .map(|byte| byte ^ KEY)
            .collect();
        state.accepted += accepted.len();
        state.pending.extend(&accepted);
        Ok(accepted.len())
    }

    pub(super) fn flush(&mut self, timeout: Duration) -> io::Result<bool> {
        let mut state = self.wire.state.lock();
        if !state.pending.is_empty() {
            self.wire.write_pending(&mut state, timeout)?;
        }
        Ok(state.pending.is_empty())
    }
}

impl Wire {
    /// Lets `count` more bytes through.
    pub(in crate::connection) fn let_through(&self, count: usize) {
        self.state.lock().let_through += count;
        self.changed.notify_all();
    }

    pub(in crate::connection) fn accepted(&self) -> usize {
        self.state.lock().accepted
    }

    pub(in crate::connection) fn written(&self) -> usize {
        self.state.lock().written.len()
    }

    /// What the peer has got, as the caller wrote it.
    pub(in crate::connection) fn received(&self) -> Vec<u8> {
        let state = self.state.lock();
        state.written.iter().map(|byte| byte ^ KEY).collect()
    }

    fn write_pending(
        &self,
        state: &mut crate::sync::MutexGuard<'_, State>,
        timeout: Duration,
    ) -> io::Result<()> {
        if state.let_through == 0 && self.changed.wait_for(state, timeout).timed_out() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let count = state.let_through.min(state.pending.len());
        state.let_through -= count;
        let written: Vec<u8> = state.pending.drain(..count).collect();
        state.written.extend(written);
        Ok(())
    }
}
