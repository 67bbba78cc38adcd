//! Delivery callbacks: when they run, in which order, and what they may do.

use std::sync::mpsc;
use std::time::Duration;

use kafka_producer::mock::{Fault, MockApi};
use kafka_producer::{ErrorCode, ErrorKind};

use crate::support::{
    PATIENCE, SOON, Watched, builder, cluster, deliver, get_all, producer, record, values,
};

#[test]
fn a_callback_that_hangs_delays_no_sending() {
    let cluster = cluster(2, 2);
    let producer = producer(&cluster);
    let (release, hold) = mpsc::channel::<()>();
    let started = Watched::<bool>::default();
    let held = {
        let started = started.clone();
        let callback = move |_| {
            started.change(|started| *started = true);
            let _ = hold.recv_timeout(PATIENCE);
        };
        producer.send_with(record(0, "held"), callback).unwrap()
    };
    started.wait(|started| *started);
    for round in 0..50 {
        for partition in [0, 1] {
            let sent = producer.send(record(partition, round.to_string()));
            sent.unwrap().get(SOON).unwrap();
        }
    }
    assert!(!held.is_done(), "a future waits for its record's callback");
    assert!(
        producer.flush(Duration::from_millis(20)).is_err(),
        "a flush waits for it, too"
    );
    release.send(()).unwrap();
    held.get(PATIENCE).unwrap();
    producer.flush(PATIENCE).unwrap();
    producer.close(PATIENCE).unwrap();
}

#[test]
fn a_callback_that_panics_ends_only_itself() {
    let cluster = cluster(1, 1);
    let producer = producer(&cluster);
    let ran = Watched::<usize>::default();
    let mut futures = Vec::new();
    for index in 0..20 {
        let ran = ran.clone();
        let callback = move |_| {
            ran.change(|ran| *ran += 1);
            assert!(index % 2 == 0, "the panic that this test expects");
        };
        futures.push(producer.send_with(record(0, "v"), callback).unwrap());
    }
    get_all(futures);
    assert_eq!(ran.get(), 20);
    deliver(&producer, 0, "after").unwrap();
    producer.close(PATIENCE).unwrap();
}

#[test]
fn callbacks_run_in_the_order_of_each_partitions_records() {
    let cluster = cluster(3, 6);
    let producer = builder(&cluster)
        .sender_threads(2)
        .linger(Duration::from_millis(1))
        .batch_size(200)
        .build()
        .unwrap();
    cluster.fail_next(
        MockApi::Produce,
        5,
        Fault::Error(ErrorCode::NOT_ENOUGH_REPLICAS),
    );
    let calls = Watched::<Vec<Vec<i64>>>::default();
    calls.change(|calls| calls.resize(6, Vec::new()));
    for index in 0..3000i64 {
        let (calls, partition) = (calls.clone(), (index % 6) as i32);
        let callback = move |result: Result<kafka_producer::RecordMetadata, _>| {
            assert_eq!(result.unwrap().partition(), partition);
            calls.change(|calls| calls[partition as usize].push(index));
        };
        drop(
            producer
                .send_with(record(partition, index.to_string()), callback)
                .unwrap(),
        );
    }
    producer.flush(PATIENCE).unwrap();
    for (partition, calls) in (0..).zip(calls.get()) {
        let expected: Vec<i64> = (partition..3000).step_by(6).collect();
        assert_eq!(calls, expected);
    }
}

#[test]
fn futures_and_flush_return_after_the_callbacks_of_their_records() {
    let cluster = cluster(1, 1);
    let producer = builder(&cluster)
        .linger(Duration::from_millis(2))
        .build()
        .unwrap();
    for round in 1..=50 {
        let ran = Watched::<usize>::default();
        let send = || {
            let ran = ran.clone();
            let callback = move |_| {
                // A caller that does not wait for the flush returns before it.
                for _ in 0..100 {
                    std::thread::yield_now();
                }
                ran.change(|ran| *ran += 1);
            };
            producer.send_with(record(0, "v"), callback).unwrap()
        };
        let (first, second) = (send(), send());
        if round % 2 == 0 {
            producer.flush(PATIENCE).unwrap();
            assert!(first.is_done() && second.is_done());
        } else {
            second.get(PATIENCE).unwrap();
        }
        assert_eq!(ran.get(), 2);
    }
}

#[test]
fn flush_does_not_wait_for_linger() {
    let cluster = cluster(1, 2);
    let producer = builder(&cluster)
        .linger(Duration::from_secs(60))
        .build()
        .unwrap();
    let futures = [0, 1].map(|partition| producer.send(record(partition, "v")).unwrap());
    assert!(futures.iter().all(|future| !future.is_done()));
    producer.flush(SOON).unwrap();
    assert!(futures.iter().all(|future| future.is_done()));
}

/// When the flush comes, the worker's channel holds more announcements than one round receives.
#[test]
fn flush_covers_a_record_in_each_of_ten_thousand_partitions() {
    let cluster = cluster(1, 10_000);
    let producer = builder(&cluster)
        .linger(Duration::from_secs(60))
        .build()
        .unwrap();
    producer.partitions_for("t").unwrap();
    let futures: Vec<_> = (0..10_000)
        .map(|partition| producer.send(record(partition, "v")).unwrap())
        .collect();
    producer.flush(PATIENCE).unwrap();
    let left = futures.iter().filter(|future| !future.is_done()).count();
    assert_eq!(left, 0, "records that the flush did not wait for");
}

#[test]
fn flush_does_not_wait_for_records_sent_after_it_began() {
    let cluster = cluster(1, 2);
    // The second partition's broker holds its request until the test ends.
    cluster.on(MockApi::Produce, |request| {
        match request
            .batches()
            .iter()
            .any(|batch| batch.topic_partition.partition() == 1)
        {
            true => Fault::NoAnswer,
            false => Fault::Pass,
        }
    });
    let producer = producer(&cluster);
    deliver(&producer, 0, "before").unwrap();
    producer.flush(SOON).unwrap();
    let held = producer.send(record(1, "held")).unwrap();
    let error = producer.flush(Duration::from_millis(50)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(!held.is_done());
    let _ = producer.close(Duration::ZERO);
}

#[test]
fn a_callback_that_would_wait_for_itself_gets_an_error() {
    let cluster = cluster(1, 1);
    let producer = builder(&cluster)
        .linger(Duration::from_secs(60))
        .build()
        .unwrap();
    let (answer, answered) = mpsc::channel();
    let callback = {
        let producer = producer.clone();
        move |_| {
            let other = producer.send(record(0, "from the callback")).unwrap();
            let errors = [
                producer.flush(PATIENCE).unwrap_err(),
                other.get(PATIENCE).unwrap_err(),
            ];
            answer
                .send((errors.map(|error| error.kind()), other))
                .unwrap();
        }
    };
    let first = producer.send_with(record(0, "first"), callback).unwrap();
    producer.flush(PATIENCE).unwrap();
    first.get(PATIENCE).unwrap();
    let (errors, other) = answered.recv_timeout(PATIENCE).unwrap();
    assert_eq!(errors, [ErrorKind::InvalidArgument; 2]);
    producer.flush(PATIENCE).unwrap();
    other.get(PATIENCE).unwrap();
    assert_eq!(values(&cluster, 0), ["first", "from the callback"]);
}

#[test]
fn a_callback_larger_than_the_memory_is_refused_with_its_record_and_stops_no_other_call() {
    let cluster = cluster(1, 1);
    let producer = builder(&cluster).buffer_memory(20_000).build().unwrap();
    let captured = [1_u8; 30_000];
    let refused = producer
        .send_with(record(0, b"small".to_vec()), move |_| {
            assert_eq!(captured[0], 1)
        })
        .unwrap_err();
    assert_eq!(refused.error().kind(), ErrorKind::RecordTooLarge);
    let next = producer.send(record(0, b"next".to_vec())).unwrap();
    assert!(next.get(PATIENCE).is_ok());
    producer.close(PATIENCE).unwrap();
}

#[test]
fn a_refused_records_callback_is_not_called() {
    let cluster = cluster(1, 1);
    let producer = builder(&cluster).max_request_size(1000).build().unwrap();
    let called = Watched::<bool>::default();
    let callback = {
        let called = called.clone();
        move |_| called.change(|called| *called = true)
    };
    let refused = producer
        .send_with(record(0, vec![0; 2000]), callback)
        .unwrap_err();
    assert_eq!(refused.error().kind(), ErrorKind::RecordTooLarge);
    producer.close(PATIENCE).unwrap();
    assert!(!called.get());
}
