//! A forked process that has a producer: the producer belongs to the parent, which is not affected.
#![allow(unsafe_code, reason = "fork is foreign code")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kafka_producer::mock::{Fault, MockApi};
use kafka_producer::{Delivery, Error, ErrorKind};

use crate::support::{Gate, PATIENCE, Producer, SOON, child, cluster, deliver, producer, record};

/// Forks and runs `body` in the child, which must end in time. `body` returns the number of the step that failed, or 0.
fn in_forked_process(body: impl FnOnce() -> i32) -> i32 {
    // SAFETY: the child runs `body` on its only thread and ends. What it calls must not need the other threads: that is
    // what the test checks.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0);
    if pid == 0 {
        let code = body();
        // SAFETY: ends the process without running any code of the parent.
        unsafe { libc::_exit(code) };
    }
    let (mut status, started) = (0, Instant::now());
    loop {
        // SAFETY: `status` lives while the call lasts.
        let ended = unsafe { libc::waitpid(pid, &mut status, libc::WNOHANG) };
        if ended == pid {
            return match libc::WIFEXITED(status) {
                true => libc::WEXITSTATUS(status),
                false => -1,
            };
        }
        if started.elapsed() > PATIENCE {
            // SAFETY: the process is this one's child, and not waited for yet.
            unsafe { libc::kill(pid, libc::SIGKILL) };
        }
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

fn is_refusal(error: &Error) -> bool {
    error.kind() == ErrorKind::Closed && error.to_string().contains("forked")
}

/// Calls every method. Returns the number of the first call that does not return an error at once, or 0.
fn calls_that_do_not_refuse(producer: Producer) -> i32 {
    let started = Instant::now();
    let refused = |refused: Option<&Error>| refused.is_some_and(is_refusal);
    let long = Duration::MAX;
    let sent = producer.send(record(0, "child"));
    if !refused(sent.as_ref().err().map(|refused| refused.error())) {
        return 1;
    }
    let tried = producer.try_send(record(0, "child"));
    if !refused(tried.as_ref().err().map(|refused| refused.error())) {
        return 2;
    }
    let called_back = producer.send_with(record(0, "child"), drop);
    if !refused(called_back.as_ref().err().map(|refused| refused.error())) {
        return 3;
    }
    let many = producer.send_all((0..100).map(|_| record(0, "child")));
    if !refused(many.as_ref().err().map(|stopped| stopped.error())) {
        return 4;
    }
    if !refused(producer.partitions_for("new").as_ref().err()) {
        return 5;
    }
    if !refused(producer.flush(long).as_ref().err()) {
        return 6;
    }
    if !refused(producer.close(long).as_ref().err()) {
        return 7;
    }
    drop((sent, tried, called_back, many, producer));
    match started.elapsed() < SOON {
        true => 0,
        false => 8,
    }
}

#[test]
fn in_a_forked_process_every_call_fails_at_once_and_the_parent_is_not_affected() {
    if child::addresses().is_none() {
        return child::run(
            "forks::in_a_forked_process_every_call_fails_at_once_and_the_parent_is_not_affected",
            "its own",
        );
    }
    let cluster = cluster(1, 1);
    let producer = producer(&cluster);
    deliver(&producer, 0, "v").unwrap();
    let before = (
        cluster.connections(0),
        cluster.request_count(MockApi::ApiVersions),
    );
    assert_eq!(
        in_forked_process(|| calls_that_do_not_refuse(producer.clone())),
        0
    );
    // Drops the last handle: the child has a copy of the parent's only one.
    let mut only = Some(producer);
    assert_eq!(
        in_forked_process(|| only.take().map_or(9, calls_that_do_not_refuse)),
        0
    );
    let producer = only.unwrap();
    deliver(&producer, 0, "v").unwrap();
    cluster.create_topic("new", 1);
    assert_eq!(producer.partitions_for("new").unwrap().len(), 1);
    let after = (
        cluster.connections(0),
        cluster.request_count(MockApi::ApiVersions),
    );
    assert_eq!(before, after);
    producer.close(PATIENCE).unwrap();
}

#[test]
fn a_future_without_outcome_fails_at_once_in_a_forked_process() {
    if child::addresses().is_none() {
        return child::run(
            "forks::a_future_without_outcome_fails_at_once_in_a_forked_process",
            "its own",
        );
    }
    let cluster = cluster(1, 1);
    let producer = producer(&cluster);
    let written = producer.send(record(0, "written")).unwrap();
    written.get(PATIENCE).unwrap();
    let (gate, hold) = Gate::new();
    cluster.on(MockApi::Produce, move |_| {
        hold.wait();
        Fault::Pass
    });
    let in_flight = producer.send_all([record(0, "in flight")]).unwrap();
    let body = || {
        let future = in_flight.get(0).unwrap();
        let is_its =
            |error: &Error| is_refusal(error) && error.delivery() == Delivery::MaybeWritten;
        let outcomes = [
            future.get(Duration::MAX).err(),
            future.try_get().and_then(Result::err),
            in_flight.wait(Duration::MAX).err(),
        ];
        if !future.is_done() || !in_flight.are_done() {
            return 1;
        }
        if !outcomes.iter().flatten().all(is_its) || outcomes.iter().any(Option::is_none) {
            return 2;
        }
        // The parent's producer still works.
        i32::from(written.get(Duration::ZERO).is_err()) * 3
    };
    assert_eq!(in_forked_process(body), 0);
    drop(gate);
    in_flight.wait(PATIENCE).unwrap();
    producer.close(PATIENCE).unwrap();
}

#[test]
fn a_fork_in_the_middle_of_other_threads_calls_leaves_no_call_waiting_for_a_lock() {
    if child::addresses().is_none() {
        return child::run(
            "forks::a_fork_in_the_middle_of_other_threads_calls_leaves_no_call_waiting_for_a_lock",
            "its own",
        );
    }
    let cluster = cluster(1, 2);
    let producer = producer(&cluster);
    deliver(&producer, 0, "v").unwrap();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for partition in [0, 0, 1] {
            let (producer, is_over) = (&producer, &is_over);
            scope.spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    drop(producer.send(record(partition, "v")).unwrap());
                }
            });
        }
        let codes: Vec<_> = (0..50)
            .map(|_| in_forked_process(|| calls_that_do_not_refuse(producer.clone())))
            .collect();
        is_over.store(true, Ordering::Relaxed);
        assert_eq!(codes, [0; 50]);
    });
    producer.close(PATIENCE).unwrap();
}
