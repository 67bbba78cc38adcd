//! The group of all threads of one producer.

use std::cell::RefCell;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use super::instance::InstanceId;
use super::logging::{Line, Lines};
use crate::sync::{Condvar, Mutex, STACK_BYTES, spawn};

/// A producer's own threads. They are counted, so that `close` can wait for them until a deadline. A thread that still runs
/// at the deadline, because it hangs in `getaddrinfo` or in a user's callback, is left behind.
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
    /// The group of the producer to which this thread belongs.
    static GROUP: RefCell<Option<Arc<ThreadGroup>>> = const { RefCell::new(None) };
}

impl ThreadGroup {
    /// Returns the group of the producer to which this thread belongs. `None` on a thread of the program.
    pub(crate) fn of_this_thread() -> Option<Arc<Self>> {
        GROUP
            .try_with(|group| group.borrow().clone())
            .ok()
            .flatten()
            // In a forked process the group's locks may be locked for ever.
            .filter(|group| !group.instance.is_inherited())
    }

    /// Returns the producer to which these threads belong.
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
        // Threads start and end with connections. Without this the list would grow for ever.
        state.handles.retain(|handle| !handle.is_finished());
        state.handles.push(handle);
        Ok(())
    }

    /// Starts a thread as [`spawn`](Self::spawn) does, for user code. User code may leave thread-locals, whose destructors
    /// run after the body and may take any time. So [`join_until`](Self::join_until) waits until the body of such a thread
    /// has returned, and does not join the thread.
    pub(crate) fn spawn_for_user_code(
        self: &Arc<Self>,
        name: String,
        stack_bytes: usize,
        body: impl FnOnce() + Send + 'static,
    ) -> io::Result<()> {
        self.start(name, stack_bytes, body).map(drop)
    }

    /// Starts a thread that belongs to the producer, and for which [`join_until`](Self::join_until) does not wait: its body may
    /// hang.
    pub(super) fn spawn_unawaited(
        self: &Arc<Self>,
        name: String,
        stack_bytes: usize,
        body: impl FnOnce() + Send + 'static,
    ) -> io::Result<()> {
        let group = Arc::clone(self);
        spawn(name, stack_bytes, move || group.run(body)).map(drop)
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
            running.0.run(body);
        })
    }

    /// Makes this thread one of the producer's own, and runs the thread's body.
    fn run(self: &Arc<Self>, body: impl FnOnce()) {
        self.instance.adopt_this_thread();
        GROUP.set(Some(Arc::clone(self)));
        body();
    }

    /// Waits until every thread has ended, or until `deadline`. Returns the number of threads that still run.
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
            // All bodies have returned, so the threads end within microseconds.
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

    /// Passes `line` to the program's logger on the `kp-log` thread, so that a slow logger delays no other thread of the
    /// producer. Only [`join_until`](Self::join_until) waits for `kp-log`, until its deadline.
    pub(super) fn log(self: &Arc<Self>, line: Line) {
        if self.lines.push(line) {
            let group = Arc::clone(self);
            let hand_over = move || group.lines.hand_over();
            let started = self.spawn_for_user_code("kp-log".into(), STACK_BYTES, hand_over);
            if started.is_err() {
                self.lines.thread_not_started();
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
    fn join_returns_at_its_deadline_with_the_number_of_running_threads() {
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
