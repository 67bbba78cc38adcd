//! Which thread runs a worker's rounds: the worker's own thread, or, while that one sleeps, the thread that reports an event.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::handover::{Stage, set_up};
use crate::connection::link::{
    LinkId, LinkTarget, Network, OutgoingRequest, WriteError, WriteStatus,
};
use crate::error::ErrorKind;
use crate::sender::Event;
use crate::sender::scripted::Settings;
use crate::sync::{Wakeup, channel};

/// Never connects, or panics on `connect`.
struct NoNetwork {
    panics: bool,
}

impl Network for NoNetwork {
    fn connect(&mut self, _: LinkId, _: LinkTarget) {
        assert!(!self.panics, "a defect");
    }

    fn write(&mut self, _: LinkId, _: OutgoingRequest) -> Result<WriteStatus, WriteError> {
        Ok(WriteStatus::Complete)
    }

    fn close(&mut self, _: LinkId) {}
}

fn stage(panics: bool) -> Stage<NoNetwork> {
    set_up(Settings::default(), |_| NoNetwork { panics })
}

impl Stage<NoNetwork> {
    fn wakeup(&self) -> &Wakeup {
        self.accumulator.workers()[0].wakeup()
    }

    /// Reports an event, and returns whether a round processed it at once.
    fn is_processed_at_once(&self) -> bool {
        let (reply, replied) = channel::bounded(1);
        self.worker.report(Event::Flush(reply));
        replied.try_recv().is_ok()
    }
}

#[test]
fn an_event_is_processed_by_the_thread_that_reports_it_while_the_worker_sleeps() {
    let stage = stage(false);
    assert!(stage.wakeup().falls_asleep(None, || false));
    assert!(stage.is_processed_at_once());
    assert!(!stage.wakeup().is_woken());
}

#[test]
fn an_awake_worker_processes_events_itself() {
    let stage = stage(false);
    assert!(!stage.is_processed_at_once());
    let is_awake = !stage.wakeup().falls_asleep(None, || true);
    assert!(is_awake);
}

#[test]
fn the_worker_is_woken_if_another_thread_runs_a_round() {
    let stage = stage(false);
    assert!(stage.wakeup().falls_asleep(None, || false));
    let guard = stage.worker.try_lock();
    assert!(!stage.is_processed_at_once());
    assert!(stage.wakeup().is_woken());
    drop(guard);
}

#[test]
fn the_worker_is_woken_for_a_deadline_that_its_sleep_does_not_know() {
    let stage = stage(false);
    assert!(stage.wakeup().falls_asleep(None, || false));
    stage.send(0, "lingers");
    // The append asked for a wake-up by the end of its linger; this test drops it.
    stage.wakeup().end_sleep();
    assert!(stage.wakeup().falls_asleep(None, || false));
    assert!(stage.is_processed_at_once());
    assert!(stage.wakeup().is_woken());
}

#[test]
fn the_end_of_the_producer_wakes_the_worker() {
    let stage = stage(false);
    assert!(stage.wakeup().falls_asleep(None, || false));
    stage.worker.report(Event::Close);
    assert!(stage.wakeup().is_woken());
    // Returns at once: the worker has ended.
    stage.worker.run();
}

#[test]
fn a_panic_on_the_thread_of_a_link_ends_the_worker_and_every_record_has_its_outcome() {
    let stage = stage(true);
    let ticket = stage.send(0, "never sent");
    assert!(stage.wakeup().falls_asleep(None, || false));
    let result = catch_unwind(AssertUnwindSafe(|| stage.is_processed_at_once()));
    assert!(result.is_err());
    assert_eq!(ticket.error().kind(), ErrorKind::Internal);
    stage.worker.run();
    assert!(stage.accumulator.has_panicked());
}
