//! Calls of the library that may wait for a KDC, each with a deadline.
//!
//! GSSAPI knows no deadline, and a call cannot be interrupted. If a KDC does not answer, MIT's library waits 27 s for one
//! KDC, and longer for several. So the calls of a producer run on one thread of its own, one
//! after the other, and the thread that needs the result waits for it until its deadline.
//!
//! - A call that no thread waits for any more is not begun. One that is in progress ends some time later. It is not in vain: it
//!   leaves its ticket in the ticket cache, where the next connection finds it.
//! - There is at most one such thread for each producer, and it ends when there is no call left. So a KDC that never
//!   answers costs one thread, however often the producer tries to connect.
//! - The thread is not one of those that `close` waits for: it uses nothing of the producer but the mechanism.
//! - The calls of a producer use one ticket cache. As they run one after the other, no call finds it half filled by another.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use crate::sync::{Mutex, STACK_BYTES, channel, spawn};

/// Runs the calls of one producer.
pub(super) struct Calls {
    queue: Arc<Mutex<Queue>>,
    /// Disconnects when the producer is closed.
    closed: channel::Receiver<()>,
}

struct Queue {
    waiting: VecDeque<Call>,
    /// The number of calls so far.
    count: u64,
    has_thread: bool,
    /// `None` if the producer is closed.
    close: Option<channel::Sender<()>>,
}

struct Call {
    number: u64,
    run: Box<dyn FnOnce() + Send>,
}

/// Why there is no result.
#[derive(Debug)]
pub(super) enum NoResult {
    /// The deadline is over.
    TooLate,
    /// The producer is closed.
    Closed,
    /// The system does not start the thread.
    NoThread(io::Error),
    Panicked,
}

impl Calls {
    pub(super) fn new() -> Self {
        let (close, closed) = channel::bounded(0);
        let queue = Queue {
            waiting: VecDeque::new(),
            count: 0,
            has_thread: false,
            close: Some(close),
        };
        Self {
            queue: Arc::new(Mutex::new(queue)),
            closed,
        }
    }

    /// Runs `call` on the thread, and waits for its result until `deadline` or until the producer is closed.
    pub(super) fn run<T: Send + 'static>(
        &self,
        deadline: Instant,
        call: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, NoResult> {
        let (give, result) = channel::bounded(1);
        let run = Box::new(move || {
            let _ = give.send(call());
        });
        let number = self.add(run)?;
        let reason = channel::select! {
            recv(result) -> result => match result {
                Ok(result) => return Ok(result),
                Err(_) => NoResult::Panicked,
            },
            recv(self.closed) -> _ => NoResult::Closed,
            default(deadline.saturating_duration_since(Instant::now())) => NoResult::TooLate,
        };
        self.queue
            .lock()
            .waiting
            .retain(|call| call.number != number);
        Err(reason)
    }

    /// Ends all waits, and begins no other call.
    pub(super) fn close(&self) {
        self.queue.lock().close = None;
    }

    /// Adds a call, and starts the thread if there is none. Returns the number of the call.
    fn add(&self, run: Box<dyn FnOnce() + Send>) -> Result<u64, NoResult> {
        let mut queue = self.queue.lock();
        if queue.close.is_none() {
            return Err(NoResult::Closed);
        }
        queue.count += 1;
        let number = queue.count;
        queue.waiting.push_back(Call { number, run });
        if !queue.has_thread {
            let shared = Arc::clone(&self.queue);
            let body = move || run_all(&shared);
            // Under the lock, so that no other call is added before it is known whether there is a thread for it.
            if let Err(error) = spawn("kp-kerberos".to_owned(), STACK_BYTES, body) {
                queue.waiting.pop_back();
                return Err(NoResult::NoThread(error));
            }
            queue.has_thread = true;
        }
        Ok(number)
    }
}

/// The body of the thread.
fn run_all(queue: &Mutex<Queue>) {
    loop {
        let call = {
            let mut queue = queue.lock();
            match queue.waiting.pop_front() {
                Some(call) => call,
                None => {
                    queue.has_thread = false;
                    return;
                }
            }
        };
        // A panic ends this call only, and the thread that waits for it learns it.
        if let Err(panic) = catch_unwind(AssertUnwindSafe(call.run)) {
            std::mem::forget(panic);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const LONG: Duration = Duration::from_secs(30);

    fn has_ended(calls: &Calls) -> bool {
        !calls.queue.lock().has_thread
    }

    #[test]
    fn calls_run_one_after_the_other_on_a_thread_that_ends_with_the_last() {
        let calls = Calls::new();
        let deadline = Instant::now() + LONG;
        for number in 0..3 {
            assert_eq!(calls.run(deadline, move || number).unwrap(), number);
        }
        while !has_ended(&calls) {
            assert!(Instant::now() < deadline);
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_call_that_does_not_return_costs_one_thread_and_the_others_their_time_only() {
        let calls = Calls::new();
        let (release, hold) = channel::bounded::<()>(0);
        let soon = || Instant::now() + Duration::from_millis(20);
        let hangs = move || {
            let _ = hold.recv();
        };
        assert!(matches!(calls.run(soon(), hangs), Err(NoResult::TooLate)));
        for _ in 0..5 {
            assert!(matches!(calls.run(soon(), || ()), Err(NoResult::TooLate)));
        }
        assert!(calls.queue.lock().waiting.is_empty() && !has_ended(&calls));
        drop(release);
        assert_eq!(calls.run(Instant::now() + LONG, || 7).unwrap(), 7);
    }

    #[test]
    fn a_panic_ends_its_own_call_only() {
        let calls = Calls::new();
        let deadline = Instant::now() + LONG;
        let panicked = calls.run(deadline, || -> u8 { panic!("of the test") });
        assert!(matches!(panicked, Err(NoResult::Panicked)), "{panicked:?}");
        assert_eq!(calls.run(deadline, || 7).unwrap(), 7);
    }

    #[test]
    fn a_close_ends_the_waits_for_all_calls() {
        let calls = Calls::new();
        let (release, hold) = channel::bounded::<()>(0);
        let deadline = Instant::now() + LONG;
        std::thread::scope(|scope| {
            let hang = move || {
                let _ = hold.recv();
            };
            let hangs = scope.spawn(|| calls.run(deadline, hang));
            let waits = scope.spawn(|| calls.run(deadline, || ()));
            while calls.queue.lock().count < 2 {
                std::thread::yield_now();
            }
            calls.close();
            assert!(matches!(hangs.join().unwrap(), Err(NoResult::Closed)));
            // It may have run before the one that hangs.
            assert!(matches!(
                waits.join().unwrap(),
                Ok(()) | Err(NoResult::Closed)
            ));
        });
        assert!(matches!(calls.run(deadline, || ()), Err(NoResult::Closed)));
        drop(release);
    }
}
