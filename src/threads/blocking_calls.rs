//! Calls that may block for any time: a read from a file system of the network, a question to a KDC, code of the user. They
//! run on threads of their own, and a thread that needs a result waits for it with a deadline.
//!
//! - A call in progress cannot be interrupted. It goes on when nobody waits for it any more, and [`Overlap`] bounds how many
//!   threads may hang so.
//! - A call's thread belongs to the producer of the thread that asks for it, for log lines and for what user code may do.
//!   `close` does not wait for it: nothing needs the result any more, and no record depends on it.
//! - A panic ends its own call only.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use super::group::ThreadGroup;
use super::panic::catch_panic;
use crate::sync::{Condvar, Mutex, STACK_BYTES, spawn};

/// Calls of one kind, with results of type `T`. A clone has the same calls.
pub(crate) struct BlockingCalls<T>(Arc<Shared<T>>);

/// How a call relates to others of its kind that have not ended.
pub(crate) enum Overlap<T> {
    /// Calls run one after the other, on one thread at most. A call for which nobody waits any more is not begun.
    Queued,
    /// There is one call at a time, and all who ask meanwhile get a copy of its result. A call begins also if nobody waits
    /// for it any more: those who ask next share it.
    Shared(fn(&T) -> T),
    /// Calls run side by side. While this many hang, others are refused at once. A call hangs if it runs and nobody waits
    /// for it any more.
    RefusedAfter(usize),
}

/// Why there is no result.
#[derive(Debug)]
pub(crate) enum NoResult {
    /// The call has not ended before the deadline.
    Late,
    /// The calls are closed.
    Closed,
    /// The call panicked.
    Panicked,
    /// The system does not start the thread.
    NotStarted(io::Error),
    /// As many earlier calls hang as [`Overlap::RefusedAfter`] allows.
    EarlierHang,
}

type Work<T> = Box<dyn FnOnce() -> T + Send>;

struct Shared<T> {
    thread_name: &'static str,
    overlap: Overlap<T>,
    state: Mutex<State<T>>,
    changed: Condvar,
}

struct State<T> {
    /// The calls that have not ended, or whose result somebody has still to take. In the order in which they were asked for.
    calls: Vec<Call<T>>,
    /// The number of the latest call.
    latest: u64,
    /// A call that begins at this time if no other begins before.
    scheduled: Option<(Instant, Work<T>)>,
    threads: usize,
    is_closed: bool,
}

struct Call<T> {
    number: u64,
    /// How many threads wait for the result.
    waiting: usize,
    progress: Progress<T>,
}

enum Progress<T> {
    Queued(Work<T>),
    Runs,
    /// `None` if it panicked.
    Ended(Option<T>),
}

impl<T> Clone for BlockingCalls<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Send + 'static> BlockingCalls<T> {
    pub(crate) fn new(thread_name: &'static str, overlap: Overlap<T>) -> Self {
        Self(Arc::new(Shared {
            thread_name,
            overlap,
            state: Mutex::new(State {
                calls: Vec::new(),
                latest: 0,
                scheduled: None,
                threads: 0,
                is_closed: false,
            }),
            changed: Condvar::new(),
        }))
    }

    /// Asks for a call and returns its result. Blocks until `deadline` at most, or until the calls are closed.
    pub(crate) fn run(
        &self,
        deadline: Instant,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, NoResult> {
        let shared = &self.0;
        // What is not used is dropped after the lock.
        let mut work: Option<Work<T>> = Some(Box::new(work));
        let mut state = shared.state.lock();
        let number = self.ask(&mut state, &mut work)?;
        let no_result = loop {
            if state.is_closed {
                break Some(NoResult::Closed);
            }
            if state.call(number).is_some_and(Call::has_ended) {
                break None;
            }
            if Instant::now() >= deadline {
                break Some(NoResult::Late);
            }
            shared.changed.wait_until(&mut state, deadline);
        };
        let copy = match shared.overlap {
            Overlap::Shared(copy) => Some(copy),
            Overlap::Queued | Overlap::RefusedAfter(_) => None,
        };
        let left = state.leave(number, copy);
        drop(state);
        match (no_result, left) {
            (Some(no_result), _) => Err(no_result),
            (None, Some(Progress::Ended(result))) => result.ok_or(NoResult::Panicked),
            (None, _) => Err(NoResult::Closed),
        }
    }

    /// Returns whether a call is under way.
    pub(crate) fn is_running(&self) -> bool {
        let state = self.0.state.lock();
        state.calls.iter().any(|call| !call.has_ended())
    }

    /// Has a call begin at a time, for which nobody waits. Any call that begins before takes its place. So does the next one
    /// that is scheduled. For calls that call this themselves: it starts no thread.
    pub(crate) fn schedule(&self, at: Instant, work: impl FnOnce() -> T + Send + 'static) {
        let mut scheduled: Option<(Instant, Work<T>)> = Some((at, Box::new(work)));
        let mut state = self.0.state.lock();
        if !state.is_closed && state.threads > 0 {
            std::mem::swap(&mut state.scheduled, &mut scheduled);
        }
        // After the lock, because it may run any destructor.
        drop(state);
        drop(scheduled);
    }

    /// Ends all waits. No call begins any more.
    pub(crate) fn close(&self) {
        let mut state = self.0.state.lock();
        state.is_closed = true;
        let scheduled = state.scheduled.take();
        let never_begun = state.take_unawaited();
        drop(state);
        drop((scheduled, never_begun));
        self.0.changed.notify_all();
    }

    /// Adds a call with a waiting thread, or joins the one under way. Returns its number.
    fn ask(&self, state: &mut State<T>, work: &mut Option<Work<T>>) -> Result<u64, NoResult> {
        if state.is_closed {
            return Err(NoResult::Closed);
        }
        let runs_alone = match self.0.overlap {
            Overlap::Queued => true,
            Overlap::Shared(_) => {
                if let Some(call) = state.calls.iter_mut().find(|call| !call.has_ended()) {
                    call.waiting += 1;
                    return Ok(call.number);
                }
                true
            }
            Overlap::RefusedAfter(most) => {
                let hangs = |call: &&Call<T>| call.waiting == 0;
                if state.calls.iter().filter(hangs).count() >= most {
                    return Err(NoResult::EarlierHang);
                }
                false
            }
        };
        state.latest += 1;
        state.calls.extend(work.take().map(|work| Call {
            number: state.latest,
            waiting: 1,
            progress: Progress::Queued(work),
        }));
        if runs_alone && state.threads > 0 {
            self.0.changed.notify_all();
        } else if let Err(error) = self.start_thread() {
            // Under the lock, so that no other call counts on this thread.
            let call = state.calls.pop();
            *work = call.and_then(Call::into_work);
            return Err(NoResult::NotStarted(error));
        } else {
            state.threads += 1;
        }
        Ok(state.latest)
    }

    fn start_thread(&self) -> io::Result<()> {
        let shared = Arc::clone(&self.0);
        let body = move || shared.serve();
        let name = self.0.thread_name.to_owned();
        match ThreadGroup::of_this_thread() {
            Some(group) => group.spawn_unawaited(name, STACK_BYTES, body),
            None => spawn(name, STACK_BYTES, body).map(drop),
        }
    }
}

impl<T> Shared<T> {
    /// The body of a thread: runs calls until there is none left.
    fn serve(&self) {
        while let Some((number, work)) = self.next() {
            let result = catch_panic(work);
            let mut state = self.state.lock();
            let unused = state.end(number, result);
            drop(state);
            drop(unused);
            self.changed.notify_all();
        }
    }

    /// Begins the next call. Waits for the time of a scheduled one. `None` if there is none: then the thread ends.
    fn next(&self) -> Option<(u64, Work<T>)> {
        let mut state = self.state.lock();
        loop {
            if let Some(begun) = state.begin_next(Instant::now()) {
                // A call that was asked for does what the scheduled one would do.
                let replaced = state.scheduled.take();
                drop(state);
                drop(replaced);
                return Some(begun);
            }
            let Some(at) = state.scheduled.as_ref().map(|(at, _)| *at) else {
                state.threads -= 1;
                return None;
            };
            self.changed.wait_until(&mut state, at);
        }
    }
}

impl<T> State<T> {
    fn call(&self, number: u64) -> Option<&Call<T>> {
        self.calls.iter().find(|call| call.number == number)
    }

    fn begin_next(&mut self, now: Instant) -> Option<(u64, Work<T>)> {
        if self.is_closed {
            return None;
        }
        let is_queued = |call: &&mut Call<T>| matches!(call.progress, Progress::Queued(_));
        if let Some(call) = self.calls.iter_mut().find(is_queued) {
            return call.begin();
        }
        let (_, work) = self.scheduled.take_if(|(at, _)| *at <= now)?;
        self.latest += 1;
        self.calls.push(Call {
            number: self.latest,
            waiting: 0,
            progress: Progress::Runs,
        });
        Some((self.latest, work))
    }

    /// Takes the calls that have not begun and for which nobody waits: they may own what owns these calls.
    fn take_unawaited(&mut self) -> Vec<Call<T>> {
        let is_unawaited =
            |call: &Call<T>| call.waiting == 0 && matches!(call.progress, Progress::Queued(_));
        let (unawaited, others) = std::mem::take(&mut self.calls)
            .into_iter()
            .partition(is_unawaited);
        self.calls = others;
        unawaited
    }

    /// Notes the result of a call, and returns it if nobody waits for it.
    fn end(&mut self, number: u64, result: Option<T>) -> Option<T> {
        let index = self.calls.iter().position(|call| call.number == number)?;
        if self.calls[index].waiting == 0 {
            self.calls.remove(index);
            return result;
        }
        self.calls[index].progress = Progress::Ended(result);
        None
    }

    /// Counts one thread less that waits for a call. The last one takes what is left of a call that does not run.
    /// Others get a copy of its result.
    fn leave(&mut self, number: u64, copy: Option<fn(&T) -> T>) -> Option<Progress<T>> {
        let index = self.calls.iter().position(|call| call.number == number)?;
        let call = &mut self.calls[index];
        call.waiting -= 1;
        match &call.progress {
            Progress::Runs => None,
            Progress::Queued(_) if copy.is_some() && !self.is_closed => None,
            _ if call.waiting == 0 => Some(self.calls.remove(index).progress),
            Progress::Ended(result) => {
                let copied = result.as_ref().zip(copy).map(|(result, copy)| copy(result));
                Some(Progress::Ended(copied))
            }
            Progress::Queued(_) => None,
        }
    }
}

impl<T> Call<T> {
    fn has_ended(&self) -> bool {
        matches!(self.progress, Progress::Ended(_))
    }

    fn begin(&mut self) -> Option<(u64, Work<T>)> {
        match std::mem::replace(&mut self.progress, Progress::Runs) {
            Progress::Queued(work) => Some((self.number, work)),
            _ => None,
        }
    }

    fn into_work(self) -> Option<Work<T>> {
        match self.progress {
            Progress::Queued(work) => Some(work),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::sync::channel;

    const LONG: Duration = Duration::from_secs(30);

    fn later() -> Instant {
        Instant::now() + LONG
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_millis(20)
    }

    fn overlaps() -> [Overlap<u8>; 3] {
        [
            Overlap::Queued,
            Overlap::Shared(u8::clone),
            Overlap::RefusedAfter(1),
        ]
    }

    fn calls(overlap: Overlap<u8>) -> BlockingCalls<u8> {
        BlockingCalls::new("kp-test", overlap)
    }

    /// Work that lasts until the sender is dropped. The receiver gets a message when it begins.
    fn held(
        result: u8,
    ) -> (
        impl FnOnce() -> u8 + Send,
        channel::Receiver<()>,
        channel::Sender<()>,
    ) {
        let (release, hold) = channel::bounded::<()>(0);
        let (begin, begun) = channel::unbounded();
        let work = move || {
            begin.send(()).unwrap();
            let _ = hold.recv();
            result
        };
        (work, begun, release)
    }

    fn wait_until(holds: impl Fn() -> bool) {
        let deadline = later();
        while !holds() {
            assert!(Instant::now() < deadline);
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_call_has_a_thread_that_ends_with_the_last_call() {
        for overlap in overlaps() {
            let calls = calls(overlap);
            for number in 0..3 {
                assert_eq!(calls.run(later(), move || number).unwrap(), number);
            }
            wait_until(|| calls.0.state.lock().threads == 0);
            assert!(calls.0.state.lock().calls.is_empty());
        }
    }

    #[test]
    fn a_panic_ends_its_own_call_only() {
        for overlap in overlaps() {
            let calls = calls(overlap);
            for _ in 0..2 {
                let panicked = calls.run(later(), || panic!("of the test"));
                assert!(matches!(panicked, Err(NoResult::Panicked)), "{panicked:?}");
            }
            assert_eq!(calls.run(later(), || 7).unwrap(), 7);
        }
    }

    #[test]
    fn a_queued_call_that_does_not_return_costs_one_thread_and_the_others_their_time_only() {
        let calls = calls(Overlap::Queued);
        let (hangs, begun, release) = held(0);
        assert!(matches!(calls.run(soon(), hangs), Err(NoResult::Late)));
        begun.recv_timeout(LONG).unwrap();
        for _ in 0..5 {
            let never = || unreachable!("nobody waits for it");
            assert!(matches!(calls.run(soon(), never), Err(NoResult::Late)));
        }
        {
            let state = calls.0.state.lock();
            assert_eq!((state.calls.len(), state.threads), (1, 1));
        }
        drop(release);
        assert_eq!(calls.run(later(), || 7).unwrap(), 7);
    }

    #[test]
    fn a_shared_call_that_nobody_waits_for_runs_unless_the_calls_are_closed() {
        let calls = calls(Overlap::Shared(u8::clone));
        let (begin, begun) = channel::bounded(1);
        let work = move || {
            begin.send(()).unwrap();
            7
        };
        assert!(matches!(
            calls.run(Instant::now(), work),
            Err(NoResult::Late)
        ));
        begun.recv_timeout(LONG).unwrap();
        wait_until(|| !calls.is_running());

        let owned = Arc::new(());
        let owner = Arc::clone(&owned);
        let work = move || {
            drop(owner);
            7
        };
        assert!(calls.run(Instant::now(), work).is_err());
        calls.close();
        // Whether it began or not.
        wait_until(|| Arc::strong_count(&owned) == 1);
    }

    #[test]
    fn all_who_ask_while_a_shared_call_runs_get_its_result() {
        let calls = calls(Overlap::Shared(u8::clone));
        let (work, begun, release) = held(7);
        assert!(matches!(calls.run(soon(), work), Err(NoResult::Late)));
        begun.recv_timeout(LONG).unwrap();
        std::thread::scope(|scope| {
            let ask = || calls.run(later(), || unreachable!("another one runs"));
            let asking = [(); 4].map(|()| scope.spawn(ask));
            wait_until(|| calls.0.state.lock().calls[0].waiting == 4);
            drop(release);
            for asking in asking {
                assert_eq!(asking.join().unwrap().unwrap(), 7);
            }
        });
        assert_eq!(calls.run(later(), || 8).unwrap(), 8);
    }

    #[test]
    fn calls_run_side_by_side_and_are_refused_at_once_while_too_many_hang() {
        let calls = calls(Overlap::RefusedAfter(2));
        let mut hanging = Vec::new();
        for _ in 0..2 {
            let (work, begun, release) = held(0);
            assert!(matches!(calls.run(soon(), work), Err(NoResult::Late)));
            begun.recv_timeout(LONG).unwrap();
            hanging.push(release);
        }
        let refused = calls.run(later(), || 7);
        assert!(matches!(refused, Err(NoResult::EarlierHang)), "{refused:?}");
        hanging.pop();
        wait_until(|| calls.0.state.lock().calls.len() == 1);
        assert_eq!(calls.run(later(), || 7).unwrap(), 7);
    }

    #[test]
    fn a_close_ends_the_waits_for_all_calls_and_no_other_begins() {
        for overlap in overlaps() {
            let calls = calls(overlap);
            let (hangs, begun, release) = held(0);
            std::thread::scope(|scope| {
                let hangs = scope.spawn(|| calls.run(later(), hangs));
                begun.recv_timeout(LONG).unwrap();
                let waits = scope.spawn(|| calls.run(later(), || 1));
                wait_until(|| {
                    let state = calls.0.state.lock();
                    state.latest == 2 || state.calls.iter().any(|call| call.waiting == 2)
                });
                calls.close();
                assert!(matches!(hangs.join().unwrap(), Err(NoResult::Closed)));
                // Side by side it may have ended before.
                assert!(matches!(
                    waits.join().unwrap(),
                    Ok(1) | Err(NoResult::Closed)
                ));
            });
            assert!(matches!(calls.run(later(), || 2), Err(NoResult::Closed)));
            drop(release);
            wait_until(|| calls.0.state.lock().threads == 0);
        }
    }

    /// Sends its number and schedules another call.
    fn scheduling(
        calls: &BlockingCalls<u8>,
        number: u8,
        began: &channel::Sender<u8>,
        after: Duration,
    ) -> impl FnOnce() -> u8 + Send + use<> {
        let (own, began) = (calls.clone(), began.clone());
        move || {
            began.send(number).unwrap();
            let next = began.clone();
            own.schedule(Instant::now() + after, move || {
                next.send(number + 100).unwrap();
                number + 100
            });
            number
        }
    }

    #[test]
    fn a_scheduled_call_begins_at_its_time_unless_another_begins_before() {
        let calls = calls(Overlap::Shared(u8::clone));
        let (began, begins) = channel::unbounded();
        let far = scheduling(&calls, 1, &began, LONG);
        assert_eq!(calls.run(later(), far).unwrap(), 1);
        let near = scheduling(&calls, 2, &began, Duration::from_millis(1));
        assert_eq!(calls.run(later(), near).unwrap(), 2);
        wait_until(|| calls.0.state.lock().threads == 0);
        assert_eq!(begins.try_iter().collect::<Vec<_>>(), [1, 2, 102]);
    }

    #[test]
    fn a_close_ends_the_thread_that_waits_for_a_scheduled_call() {
        let calls = calls(Overlap::Shared(u8::clone));
        let (began, begins) = channel::unbounded();
        let far = scheduling(&calls, 1, &began, LONG);
        assert_eq!(calls.run(later(), far).unwrap(), 1);
        drop(began);
        calls.close();
        assert_eq!(begins.recv_timeout(LONG), Ok(1));
        // The scheduled call is dropped, and its sender with it.
        let gone = begins.recv_timeout(LONG);
        assert_eq!(gone, Err(channel::RecvTimeoutError::Disconnected));
        wait_until(|| calls.0.state.lock().threads == 0);
    }

    #[test]
    fn the_thread_belongs_to_the_producer_that_asks_and_its_close_does_not_wait_for_it() {
        let group = Arc::<ThreadGroup>::default();
        let calls = BlockingCalls::new("kp-test", Overlap::Queued);
        let (release, hold) = channel::bounded::<()>(0);
        let (own, is_own) = channel::unbounded();
        let asking = {
            let (calls, group) = (calls.clone(), Arc::clone(&group));
            move || {
                let work = move || {
                    own.send(group.instance().owns_this_thread()).unwrap();
                    let _ = hold.recv();
                };
                let late = calls.run(soon(), work);
                assert!(matches!(late, Err(NoResult::Late)), "{late:?}");
            }
        };
        group.spawn("asks".into(), 64 * 1024, asking).unwrap();
        assert_eq!(is_own.recv_timeout(LONG), Ok(true));
        assert_eq!(group.join_until(later()), 0);
        assert!(calls.is_running());
        drop(release);
    }
}
