//! Batches that a broker finds too large.

use crate::error::Delivery;
use crate::protocol::ErrorCode;
use crate::record::compression::{Compression, CompressionType};
use crate::sender::scripted::{Harness, MS, Sent, Settings, Ticket};

/// Answers as a broker with `max.message.bytes`, which checks the size first. Returns how many batches were too large.
fn serve_all(worker: &mut Harness, largest: usize) -> usize {
    let mut refused = 0;
    let is_too_large = |sent: &Sent| sent.batches.iter().any(|batch| batch.bytes.len() > largest);
    loop {
        worker.run();
        let requests = worker.requests();
        if requests.is_empty() {
            return refused;
        }
        for request in requests {
            if is_too_large(&request) {
                refused += 1;
                worker.refuse(&request, ErrorCode::MESSAGE_TOO_LARGE);
            } else {
                worker.serve(&request);
            }
        }
    }
}

/// Returns a worker that sends one batch in each request.
fn worker(choose: impl FnOnce(&mut Settings)) -> Harness {
    Harness::new(|settings| {
        settings.sender.topics.batch_size = 1600;
        settings.sender.max_request_size = 1700;
        choose(settings);
    })
}

fn send_many(worker: &Harness, partition: i32, records: usize) -> Vec<Ticket> {
    let value = |index| format!("{index:04}{}", "-".repeat(90));
    let indexes = 0..records;
    indexes
        .map(|index| worker.send(partition, &value(index)))
        .collect()
}

fn assert_in_order(worker: &Harness, partition: i32, tickets: &[Ticket]) {
    for (offset, ticket) in (0..).zip(tickets) {
        assert_eq!(ticket.offset(), Some(offset));
    }
    let log = worker.log(partition);
    assert_eq!(log.len(), tickets.len());
    assert!(log.is_sorted());
}

#[test]
fn parts_and_the_batches_behind_them_wait_for_no_backoff() {
    for idempotence in [true, false] {
        let mut worker = worker(|settings| {
            settings.sender.idempotence = idempotence;
            settings.sender.max_in_flight = if idempotence { 5 } else { 1 };
        });
        let mut tickets = send_many(&worker, 0, 1);
        worker.advance(10 * MS);
        serve_all(&mut worker, 2000);
        tickets.extend(send_many(&worker, 0, 150));
        worker.advance(10 * MS);
        let begin = worker.now;
        let refused = serve_all(&mut worker, 250);
        assert_eq!(worker.now, begin, "no time passed");
        for (offset, ticket) in (0..).zip(&tickets) {
            assert_eq!(ticket.offset(), Some(offset));
        }
        // Five batches in flight, then one size after the other down to the limit.
        assert!(refused <= 20, "{refused}");
    }
}

#[test]
fn a_batch_refused_because_of_the_one_before_it_loses_no_retry() {
    let mut worker = worker(|settings| settings.sender.retries = 2);
    let mut tickets = send_many(&worker, 0, 1);
    worker.advance(10 * MS);
    serve_all(&mut worker, 2000);
    tickets.extend(send_many(&worker, 0, 75));
    worker.advance(10 * MS);
    worker.run();
    let requests = worker.requests();
    assert_eq!(requests.len(), 5);
    worker.refuse(&requests[0], ErrorCode::MESSAGE_TOO_LARGE);
    for request in &requests[1..] {
        worker.refuse(request, ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
    }
    let begin = worker.now;
    serve_all(&mut worker, 1600);
    assert_eq!(worker.now, begin);
    assert!(
        tickets
            .iter()
            .all(|ticket| ticket.result().unwrap().is_ok())
    );
}

#[test]
fn the_topics_next_batches_are_made_to_fit_in_every_partition() {
    let mut worker = worker(|settings| settings.partitions = 2);
    let first = send_many(&worker, 0, 15);
    worker.advance(10 * MS);
    assert!(serve_all(&mut worker, 450) > 0);
    assert_in_order(&worker, 0, &first);
    let other = send_many(&worker, 1, 60);
    worker.advance(10 * MS);
    assert_eq!(serve_all(&mut worker, 450), 0);
    assert_in_order(&worker, 1, &other);
}

#[test]
fn batches_queued_when_the_limit_was_learnt_are_split_before_they_are_sent() {
    for codec in [CompressionType::None, CompressionType::Snappy] {
        if codec != CompressionType::None && !codec.is_compiled_in() {
            continue;
        }
        let mut worker = worker(|settings| {
            settings.partitions = 2;
            settings.sender.max_in_flight = 1;
            settings.sender.topics.compression = Compression::with_default_level(codec);
        });
        let first = send_many(&worker, 0, 15);
        let queued = send_many(&worker, 1, 60);
        worker.advance(10 * MS);
        worker.run();
        let request = worker.requests().remove(0);
        let largest = request.batches.iter().map(|batch| batch.bytes.len()).max();
        let limit = largest.unwrap() - 1;
        worker.refuse(&request, ErrorCode::MESSAGE_TOO_LARGE);
        // One batch was sealed for the same request and did not fit into it.
        assert!(serve_all(&mut worker, limit) <= 1, "{codec:?}");
        assert_in_order(&worker, 0, &first);
        assert_in_order(&worker, 1, &queued);
        assert_eq!(worker.memory_in_use(), 0);
    }
}

#[test]
fn a_limit_that_was_raised_again_is_discovered() {
    let mut worker = worker(|_| {});
    send_many(&worker, 0, 15);
    worker.advance(10 * MS);
    serve_all(&mut worker, 300);
    for _ in 0..200 {
        send_many(&worker, 0, 60);
        worker.advance(10 * MS);
        serve_all(&mut worker, usize::MAX);
    }
    send_many(&worker, 0, 15);
    worker.advance(10 * MS);
    worker.run();
    assert!(worker.requests()[0].values().len() > 10);
}

/// Three records fill a batch. Sends the given number of records, and returns how many batches were too large.
fn send_thirds(worker: &mut Harness, records: usize, largest: usize) -> usize {
    (0..records).for_each(|_| drop(worker.send(0, &"x".repeat(500))));
    worker.advance(10 * MS);
    serve_all(worker, largest)
}

#[test]
fn records_of_which_only_one_fits_discover_a_limit_that_was_raised_again() {
    let mut worker = worker(|_| {});
    assert_eq!(send_thirds(&mut worker, 3, 1100), 1);
    for _ in 0..150 {
        assert_eq!(send_thirds(&mut worker, 2, usize::MAX), 0);
    }
    (0..2).for_each(|_| drop(worker.send(0, &"x".repeat(500))));
    worker.advance(10 * MS);
    assert_eq!(worker.request().values().len(), 2);
}

#[test]
fn an_unchanged_limit_is_tested_once_in_some_hundred_batches() {
    let mut worker = worker(|_| {});
    send_thirds(&mut worker, 3, 1000);
    let refused: usize = (0..1000).map(|_| send_thirds(&mut worker, 2, 1000)).sum();
    assert!(refused > 0 && refused <= 2000 / 100, "{refused}");
}

#[test]
fn a_record_that_is_too_large_by_itself_fails_alone() {
    let mut worker = worker(|_| {});
    let small = send_many(&worker, 0, 3);
    let large = worker.send(0, &"x".repeat(800));
    worker.advance(10 * MS);
    serve_all(&mut worker, 400);
    assert!(small.iter().all(|ticket| ticket.result().unwrap().is_ok()));
    assert_eq!(large.error().broker_error_name(), Some("MESSAGE_TOO_LARGE"));
    assert_eq!(large.error().delivery(), Delivery::NotWritten);
}
