//! Close: which records it delivers, which it fails, and the outcomes of records when a worker ends early.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::{Delivery, ErrorKind};
use crate::sender::Event;
use crate::sender::scripted::{Harness, MS};

#[test]
fn close_sends_lingering_records_and_ends_when_all_are_answered() {
    let mut worker = Harness::new(|settings| settings.partitions = 2);
    let tickets = [worker.send(0, "a"), worker.send(1, "b")];
    worker.run();
    worker.close();
    assert!(!worker.sender.is_finished());
    for request in worker.requests() {
        worker.serve(&request);
    }
    assert!(tickets.iter().all(|ticket| ticket.offset().is_some()));
    assert!(worker.sender.is_finished());
    assert_eq!(worker.memory_in_use(), 0);
}

#[test]
fn close_ends_at_once_if_no_record_is_left() {
    let mut worker = Harness::new(|_| {});
    worker.send_batch(0, "a");
    let request = worker.request();
    worker.serve(&request);
    worker.close();
    assert!(worker.sender.is_finished());
}

#[test]
fn close_ends_if_the_broker_has_no_usable_version() {
    let mut worker = Harness::new(|settings| {
        settings.connects = false;
        settings.produce_version = 2;
    });
    let ticket = worker.send(0, "a");
    worker.run();
    worker.close();
    let link = worker.connecting()[0];
    worker.connected(link);
    worker.run();
    assert_eq!(ticket.error().kind(), ErrorKind::UnsupportedVersion);
    assert!(worker.sender.is_finished());
}

#[test]
fn close_waits_for_retries_and_ends_when_the_delivery_timeout_has_run_out() {
    let mut worker = Harness::new(|settings| settings.connects = false);
    let ticket = worker.send(0, "a");
    worker.close();
    worker.run_for(4999 * MS);
    assert!(!worker.sender.is_finished());
    worker.run_for(MS);
    assert!(worker.sender.is_finished());
    assert_eq!(ticket.error().kind(), ErrorKind::DeliveryTimeout);
    assert_eq!(worker.sender.undelivered(), 1);
}

#[test]
fn a_forced_close_fails_the_remaining_records_in_order_and_counts_them() {
    let mut worker = Harness::new(|settings| settings.sender.max_in_flight = 1);
    let order = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let delivered = worker.send_batch(0, "0");
    let request = worker.request();
    worker.serve(&request);
    let mut tickets = Vec::new();
    for name in ["a", "b", "c"] {
        let order = Arc::clone(&order);
        let value = name.repeat(850);
        tickets.push(worker.send_with(0, &value, move |result| {
            order.lock().push((name, result.unwrap_err().delivery()));
        }));
    }
    worker.run();
    worker.close();
    worker.post(Event::ForceClose);
    assert!(worker.sender.is_finished());
    worker.deliver();
    assert_eq!(
        *order.lock(),
        [
            ("a", Delivery::MaybeWritten),
            ("b", Delivery::NotWritten),
            ("c", Delivery::NotWritten)
        ]
    );
    assert!(delivered.offset().is_some());
    assert_eq!(worker.sender.undelivered(), 3);
    assert_eq!(worker.memory_in_use(), 0);
}

#[test]
fn memory_returns_before_the_callbacks_of_a_batch_and_futures_wake_after_them() {
    let mut worker = Harness::new(|_| {});
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&calls);
    let memory = Arc::clone(&worker.accumulator.memory);
    let ticket = worker.send_with(0, "a", move |result| {
        assert_eq!(result.unwrap().offset, Some(0));
        assert_eq!(memory.reserved(), 0);
        counter.fetch_add(1, Ordering::SeqCst);
    });
    worker.advance(10 * MS);
    let request = worker.request();
    worker.serve(&request);
    assert!(ticket.result().is_none() && worker.memory_in_use() > 0);
    worker.deliver();
    assert_eq!(
        (ticket.offset(), calls.load(Ordering::SeqCst)),
        (Some(0), 1)
    );
    assert_eq!(worker.memory_in_use(), 0);
}

#[test]
fn a_worker_that_ends_by_a_panic_leaves_no_future_waiting() {
    let mut worker = Harness::new(|settings| settings.partitions = 4);
    let mut tickets = vec![worker.send_batch(0, "in flight")];
    worker.run();
    worker.move_leader(1, None);
    worker.publish();
    tickets.push(worker.send_batch(1, "queued"));
    worker.run();
    tickets.push(worker.send_batch(2, "in the channel"));
    tickets.push(worker.send(3, "open"));
    let accumulator = Arc::clone(&worker.accumulator);
    drop(worker.sender);
    for (ticket, delivery) in tickets.iter().zip([
        Delivery::MaybeWritten,
        Delivery::NotWritten,
        Delivery::NotWritten,
        Delivery::NotWritten,
    ]) {
        assert_eq!(ticket.error().kind(), ErrorKind::Internal);
        assert_eq!(ticket.error().delivery(), delivery);
    }
    let handle = &accumulator.workers()[0];
    let undelivered = handle.undelivered();
    assert_eq!(
        undelivered,
        tickets.len() as u64,
        "the number that close reports"
    );
    assert!(handle.is_disconnected(), "its channel still uses memory");
    assert_eq!(accumulator.memory.available(), accumulator.memory.budget());
}

/// A callback may send to its own partition, and must not find it locked.
#[test]
fn callbacks_run_on_the_delivery_thread_when_the_worker_is_gone() {
    let Harness {
        sender,
        accumulator,
        deliveries,
        ..
    } = {
        let harness = Harness::new(|_| {});
        let this_thread = std::thread::current().id();
        harness.send_with(0, "a", move |_| {
            assert_ne!(std::thread::current().id(), this_thread);
        });
        harness
    };
    drop(sender);
    accumulator.close();
    let delivered = deliveries.try_iter().count();
    assert_eq!(delivered, 1);
}
