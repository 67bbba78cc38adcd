//! When records are sent (linger, full batches, flush, exhausted memory), and which are sent together.

use std::time::Duration;

use crate::accumulator::memory::{MemoryLimit, Shortage};
use crate::protocol::ErrorCode;
use crate::record::compression::{Compression, CompressionType};
use crate::sender::scripted::{Harness, MS, TOPIC, refused, written};

#[test]
fn a_record_is_sent_when_its_linger_is_over_and_not_before() {
    let mut worker = Harness::new(|_| {});
    let ticket = worker.send(0, "a");
    let due = worker.run().expect("a deadline");
    worker.no_request();
    assert_eq!(due, worker.now + 10 * MS);
    worker.advance(due - worker.now);
    let request = worker.request();
    assert_eq!(
        (request.values(), request.acks),
        (vec!["a".to_string()], -1)
    );
    assert!(ticket.result().is_none());
    worker.answer(&request, |_| written(41));
    assert_eq!(ticket.offset(), Some(41));
    assert_eq!(worker.memory_in_use(), 0);
}

#[test]
fn later_records_do_not_extend_the_linger_and_are_sent_with_the_first() {
    let mut worker = Harness::new(|_| {});
    for value in ["a", "b", "c"] {
        worker.send(0, value);
        worker.no_request();
        worker.advance(3 * MS);
    }
    worker.advance(MS);
    assert_eq!(worker.request().values(), ["a", "b", "c"]);
}

#[test]
fn lingers_that_end_almost_together_make_one_request() {
    let mut worker = Harness::new(|settings| settings.partitions = 2);
    worker.send(0, "a");
    worker.run();
    worker.advance(MS);
    worker.send(1, "b");
    worker.run();
    worker.advance(9 * MS);
    assert_eq!(worker.request().values(), ["a", "b"]);
}

#[test]
fn a_full_batch_is_sent_at_once_and_the_other_records_linger() {
    let mut worker = Harness::new(|_| {});
    worker.send_batch(0, "full");
    worker.send(0, "rest");
    let request = worker.request();
    assert_eq!(request.batch().records.len(), 1);
    assert!(request.values()[0].starts_with("full"));
    worker.serve(&request);
    worker.advance(10 * MS);
    assert_eq!(worker.request().values(), ["rest"]);
}

#[test]
fn without_linger_every_round_sends_all_queued_records() {
    let mut worker = Harness::new(|settings| settings.sender.topics.linger = Duration::ZERO);
    worker.send(0, "a");
    worker.send(0, "b");
    let request = worker.request();
    assert_eq!(request.values(), ["a", "b"]);
    worker.serve(&request);
    worker.send(0, "c");
    assert_eq!(worker.request().values(), ["c"]);
}

#[test]
fn a_flush_sends_at_once_and_returns_the_completions() {
    let mut worker = Harness::new(|settings| settings.partitions = 3);
    worker.send(0, "in flight");
    worker.advance(10 * MS);
    let earlier = worker.request();
    worker.send(1, "lingers");
    worker.send_batch(2, "full");
    let completions = worker.flush();
    assert_eq!(completions.len(), 3);
    let mut later = worker.requests();
    assert_eq!(
        later.iter().map(|sent| sent.batches.len()).sum::<usize>(),
        2
    );
    later.push(earlier);
    assert!(completions.iter().all(|one| !one.wait_all(worker.now)));
    later.sort_by_key(|sent| sent.correlation_id);
    for request in later {
        worker.serve(&request);
    }
    assert!(completions.iter().all(|one| one.wait_all(worker.now)));
    worker.send(0, "after the flush");
    worker.no_request();
}

#[test]
fn a_flush_includes_every_record_even_if_many_announcements_are_in_the_channel() {
    const PARTITIONS: i32 = 5000;
    let mut worker = Harness::new(|settings| {
        settings.partitions = PARTITIONS;
        settings.buffer_memory = 64 << 20;
    });
    for partition in 0..PARTITIONS {
        worker.send(partition, "a");
    }
    assert_eq!(worker.flush().len(), PARTITIONS as usize);
}

#[test]
fn no_batch_lingers_while_a_caller_waits_for_memory() {
    let mut worker = Harness::new(|settings| {
        settings.buffer_memory = 4096;
        settings.sender.topics.linger = 1000 * MS;
    });
    let mut sent = 0;
    while worker.try_send(0, &"x".repeat(100), None).is_some() {
        sent += 1;
    }
    let memory = std::sync::Arc::clone(&worker.accumulator.memory);
    let (in_line, is_in_line) = crate::sync::channel::bounded(1);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    let shortage = Shortage::new(2000, &Default::default(), MemoryLimit::Budget);
    let waiter = std::thread::spawn(move || {
        memory
            .reserve(&shortage, deadline, || in_line.send(()).unwrap())
            .is_ok()
    });
    is_in_line.recv().unwrap();
    let mut values = 0;
    while values < sent {
        worker.run();
        for request in worker.requests() {
            values += request.values().len();
            worker.serve(&request);
        }
    }
    assert!(waiter.join().unwrap());
}

#[test]
fn partitions_are_served_in_order_if_a_request_has_no_room_for_all() {
    let mut worker = Harness::new(|settings| {
        settings.partitions = 3;
        settings.sender.max_request_size = 2000;
        settings.sender.max_in_flight = 1;
    });
    for round in 0..2 {
        for partition in 0..3 {
            worker.send_batch(partition, &format!("{round}"));
        }
    }
    let mut order = Vec::new();
    for _ in 0..3 {
        let request = worker.request();
        order.extend(request.batches.iter().map(|batch| batch.partition));
        worker.serve(&request);
    }
    assert_eq!(order, [0, 1, 2, 0, 1, 2]);
    assert_eq!(worker.memory_in_use(), 0);
}

#[test]
fn a_batch_above_the_request_size_is_sent_alone() {
    let mut worker = Harness::new(|settings| {
        settings.partitions = 2;
        settings.sender.max_request_size = 500;
    });
    worker.send_batch(0, "a");
    worker.send_batch(1, "b");
    worker.run();
    let batches: Vec<_> = worker
        .requests()
        .iter()
        .map(|sent| sent.batches.len())
        .collect();
    assert_eq!(batches, [1, 1]);
}

#[test]
fn one_request_carries_the_partitions_of_its_leader_and_no_others() {
    let mut worker = Harness::new(|settings| (settings.brokers, settings.partitions) = (2, 4));
    for partition in 0..4 {
        worker.send(partition, "a");
    }
    worker.run();
    worker.advance(10 * MS);
    worker.run();
    let mut requests = worker.requests();
    requests.sort_by_key(|sent| sent.broker);
    let partitions = |index: usize| -> Vec<i32> {
        let mut partitions: Vec<_> = requests[index]
            .batches
            .iter()
            .map(|batch| batch.partition)
            .collect();
        partitions.sort_unstable();
        partitions
    };
    assert_eq!((partitions(0), partitions(1)), (vec![0, 2], vec![1, 3]));
}

#[test]
fn topics_are_named_by_id_where_broker_and_topic_have_one() {
    let id = crate::metadata::TopicId([9; 16]);
    let mut worker = Harness::new(|settings| {
        settings.produce_version = 13;
        settings.topic_id = Some(id);
    });
    let ticket = worker.send_batch(0, "a");
    let request = worker.request();
    assert_eq!((request.version, request.batch().topic_id), (13, [9; 16]));
    worker.serve(&request);
    assert_eq!(ticket.offset(), Some(0));

    let mut worker = Harness::new(|settings| settings.produce_version = 13);
    worker.send_batch(0, "a");
    assert_eq!(worker.request().version, 12, "{TOPIC} has no id");
}

#[test]
fn a_batch_that_is_too_large_is_split_and_its_parts_keep_order_sequences_and_futures() {
    let mut worker = Harness::new(|_| {});
    worker.send_batch(0, "0");
    let first = worker.request();
    worker.serve(&first);
    let tickets: Vec<_> = ["a", "b", "c", "d"]
        .iter()
        .map(|value| worker.send(0, &value.repeat(200)))
        .collect();
    let behind = worker.send_batch(0, "behind");
    worker.run();
    let mut requests = worker.requests();
    assert_eq!(requests.len(), 2);
    let completions = worker.flush();
    worker.refuse(&requests[0], ErrorCode::MESSAGE_TOO_LARGE);
    // The parts are sent without waiting for the answer to the batch behind, which the broker refuses because of its
    // sequence.
    let second = requests.remove(1);
    worker.serve(&second);
    worker.run_for(300 * MS);
    for _ in 0..10 {
        for request in worker.requests() {
            worker.serve(&request);
        }
        worker.run_for(300 * MS);
    }
    let log = worker.log(0);
    let order: String = log.iter().map(|value| &value[..1]).collect();
    assert_eq!(order, "0abcdb");
    let offsets: Vec<_> = tickets
        .iter()
        .map(|ticket| ticket.offset().unwrap())
        .collect();
    assert_eq!((offsets, behind.offset()), (vec![1, 2, 3, 4], Some(5)));
    assert!(completions.iter().all(|one| one.wait_all(worker.now)));
    assert_eq!(worker.memory_in_use(), 0);
}

#[test]
fn parts_of_a_compressed_batch_are_charged_for_the_bytes_that_they_hold() {
    if !CompressionType::Lz4.is_compiled_in() {
        return;
    }
    let mut worker = Harness::new(|settings| {
        settings.buffer_memory = 8192;
        settings.sender.topics.compression = Compression::with_default_level(CompressionType::Lz4);
    });
    for value in ["a", "b", "c", "d"] {
        worker.send(0, &value.repeat(200));
    }
    worker.advance(10 * MS);
    let whole = worker.request();
    let compressed = worker.memory_in_use();
    worker.network().connects = false;
    worker.network().fails = true;
    worker.refuse(&whole, ErrorCode::MESSAGE_TOO_LARGE);
    assert!(
        worker.memory_in_use() > compressed + 400,
        "{} bytes for parts that are not sealed, {compressed} before",
        worker.memory_in_use()
    );
    worker.run_for(10_000 * MS);
    assert_eq!(worker.memory_in_use(), 0);
}

#[test]
fn a_single_record_that_is_too_large_fails_alone() {
    let mut worker = Harness::new(|settings| settings.partitions = 2);
    let (large, other) = (worker.send_batch(0, "large"), worker.send_batch(1, "other"));
    let request = worker.request();
    worker.answer(&request, |batch| match batch.partition {
        0 => refused(ErrorCode::MESSAGE_TOO_LARGE),
        _ => written(0),
    });
    assert_eq!(large.error().kind(), crate::ErrorKind::RecordTooLarge);
    assert_eq!(other.offset(), Some(0));
}
