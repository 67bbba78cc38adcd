//! A producer's threads as a whole.

use std::cell::RefCell;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use super::instance::InstanceId;
use super::logging::{Line, Lines};
use crate::sync::{Condvar, Mutex, STACK_BYTES, spawn};

/// A producer's own threads, counted so that `close` can wait for their ends with a deadline and leave a stuck one (in
/// `getaddrinfo`, in a user's callback) behind.
#[derive(Default)]
pub(crate) struct ThreadGroup {
    instance: InstanceId,
    state: Mutex<GroupState>,
    ended: Condvar,
    lines: Lines,
}

#[derive(Default)]
struct GroupState {
    running: usize,
    handles: Vec<std::thread::JoinHandle<()>>,
}

thread_local! {
    /// The group of the producer whose thread this is.
    static GROUP: RefCell<Option<Arc<ThreadGroup>>> = const { RefCell::new(None) };
}

impl ThreadGroup {
    /// The group of the producer whose thread this is. None on a thread of the program.
    pub(super) fn of_this_thread() -> Option<Arc<Self>> {
        GROUP
            .try_with(|group| group.borrow().clone())
            .ok()
            .flatten()
            // In a forked process its locks can be locked for ever.
            .filter(|group| !group.instance.is_inherited())
    }

    /// The producer whose threads these are.
    pub(crate) fn instance(&self) -> InstanceId {
        self.instance
    }

    /// Starts a thread that counts as running until its body has returned or panicked.
    pub(crate) fn spawn(
        self: &Arc<Self>,
        name: String,
        stack_bytes: usize,
        body: impl FnOnce() + Send + 'static,
    ) -> io::Result<()> {
        let handle = self.start(name, stack_bytes, body)?;
        let mut state = self.state.lock();
        // Threads come and go with connections: forget those that have ended, or the list grows for ever.
        state.handles.retain(|handle| !handle.is_finished());
        state.handles.push(handle);
        Ok(())
    }

    /// As [`spawn`](Self::spawn), for a thread that runs code of the program's. That may leave thread-locals there, whose
    /// destructors run after the body and take as long as they like: such a thread is not joined.
    pub(crate) fn spawn_for_foreign_code(
        self: &Arc<Self>,
        name: String,
        stack_bytes: usize,
        body: impl FnOnce() + Send + 'static,
    ) -> io::Result<()> {
        self.start(name, stack_bytes, body).map(drop)
    }

    fn start(
        self: &Arc<Self>,
        name: String,
        stack_bytes: usize,
        body: impl FnOnce() + Send + 'static,
    ) -> io::Result<std::thread::JoinHandle<()>> {
        struct Running(Arc<ThreadGroup>);
        impl Drop for Running {
            fn drop(&mut self) {
                self.0.state.lock().running -= 1;
                self.0.ended.notify_all();
            }
        }

        self.state.lock().running += 1;
        let running = Running(Arc::clone(self));
        spawn(name, stack_bytes, move || {
            let running = running;
            running.0.instance.take_this_thread();
            GROUP.set(Some(Arc::clone(&running.0)));
            body();
        })
    }

    /// Waits until every thread has ended or `deadline` has come; returns how many are still running.
    pub(crate) fn join_until(&self, deadline: Instant) -> usize {
        let mut state = self.state.lock();
        while state.running > 0 {
            if self.ended.wait_until(&mut state, deadline).timed_out() {
                break;
            }
        }
        let running = state.running;
        let handles = std::mem::take(&mut state.handles);
        drop(state);
        if running == 0 {
            // Each body has returned: what is left of its thread ends within microseconds.
            let this_thread = std::thread::current().id();
            for handle in handles {
                if handle.thread().id() != this_thread {
                    let _ = handle.join();
                }
            }
        }
        running
    }

    #[cfg(test)]
    pub(super) fn lines_are_handed_over(&self) -> bool {
        self.lines.are_handed_over()
    }

    /// Has the program's logger take `line` on a thread that nothing waits for.
    pub(super) fn log(self: &Arc<Self>, line: Line) {
        if self.lines.push(line) {
            let group = Arc::clone(self);
            let hand_over = move || group.lines.hand_over();
            let started = self.spawn_for_foreign_code("kp-log".into(), STACK_BYTES, hand_over);
            if started.is_err() {
                self.lines.await_next();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::channel;
    use std::time::Duration;

    #[test]
    fn join_returns_at_its_deadline_and_counts_who_is_left() {
        let group = Arc::new(ThreadGroup::default());
        let (release, hold) = channel::bounded::<()>(0);
        group
            .spawn("stuck".into(), 64 * 1024, move || {
                let _ = hold.recv();
            })
            .unwrap();
        assert_eq!(
            group.join_until(Instant::now() + Duration::from_millis(10)),
            1
        );
        drop(release);
        assert_eq!(
            group.join_until(Instant::now() + Duration::from_secs(10)),
            0
        );
    }
}
