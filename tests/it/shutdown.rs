//! The end of a producer: no call hangs, every record has its outcome, every caller gets a result.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use kafka_producer::mock::{Fault, MockApi, MockCluster};
use kafka_producer::{Delivery, ErrorKind};

use crate::support::{
    Gate, PATIENCE, Producer, SOON, Watched, builder, cluster, get_all, producer, record, values,
};

/// A cluster that reads everything and answers nothing.
fn silent_cluster(partitions: i32) -> MockCluster {
    let cluster = cluster(1, partitions);
    cluster.on(MockApi::Produce, |_| Fault::NoAnswer);
    cluster
}

#[test]
fn a_closed_producer_refuses_every_call() {
    let cluster = cluster(1, 1);
    let producer = producer(&cluster);
    producer.close(PATIENCE).unwrap();
    let start = Instant::now();
    let errors = [
        producer.send(record(0, "v")).unwrap_err().into_parts().0,
        producer
            .try_send(record(0, "v"))
            .unwrap_err()
            .into_parts()
            .0,
        producer
            .send_with(record(0, "v"), drop)
            .unwrap_err()
            .into_parts()
            .0,
        producer.send_all([record(0, "v")]).unwrap_err().into(),
        producer.partitions_for("t").unwrap_err(),
    ];
    for error in errors {
        assert_eq!(
            (error.kind(), error.delivery()),
            (ErrorKind::Closed, Delivery::NotWritten)
        );
        assert!(error.is_fatal());
    }
    producer.flush(PATIENCE).unwrap();
    producer.close(PATIENCE).unwrap();
    assert!(start.elapsed() < SOON);
    assert!(cluster.records("t", 0).is_empty());
}

#[test]
fn close_delivers_everything_first() {
    let cluster = cluster(3, 6);
    let producer = builder(&cluster)
        .linger(Duration::from_secs(60))
        .sender_threads(2)
        .build()
        .unwrap();
    let futures: Vec<_> = (0..6000)
        .map(|index| producer.send(record(index % 6, index.to_string())).unwrap())
        .collect();
    producer.close(PATIENCE).unwrap();
    for future in futures {
        future.try_get().expect("close has waited").unwrap();
    }
    let written: usize = (0..6)
        .map(|partition| values(&cluster, partition).len())
        .sum();
    assert_eq!(written, 6000);
}

#[test]
fn close_delivers_through_errors_that_pass() {
    let cluster = cluster(2, 2);
    let producer = producer(&cluster);
    cluster.fail_next(MockApi::Produce, 3, Fault::Disconnect);
    cluster.fail_next(MockApi::Metadata, 2, Fault::Disconnect);
    let futures = [0, 1].map(|partition| producer.send(record(partition, "v")).unwrap());
    producer.close(PATIENCE).unwrap();
    get_all(futures.into());
}

#[test]
fn close_at_once_fails_the_remaining_records_and_counts_them() {
    let cluster = silent_cluster(2);
    let producer = builder(&cluster)
        .linger(Duration::from_secs(60))
        .build()
        .unwrap();
    let sent: Vec<_> = (0..10)
        .map(|_| producer.send(record(0, "sent")).unwrap())
        .collect();
    let _ = producer.flush(Duration::ZERO);
    assert!(
        cluster.wait_until(PATIENCE, |cluster| cluster.request_count(MockApi::Produce)
            == 1)
    );
    let unsent: Vec<_> = (0..7)
        .map(|_| producer.send(record(1, "unsent")).unwrap())
        .collect();
    let start = Instant::now();
    let error = producer.close(Duration::ZERO).unwrap_err();
    assert!(start.elapsed() < SOON);
    assert_eq!(error.kind(), ErrorKind::ForceClosed);
    assert!(error.to_string().contains("17 record(s)"), "{error}");
    for (futures, delivery) in [
        (sent, Delivery::MaybeWritten),
        (unsent, Delivery::NotWritten),
    ] {
        for future in futures {
            let error = future
                .try_get()
                .expect("close has completed it")
                .unwrap_err();
            assert_eq!(
                (error.kind(), error.delivery()),
                (ErrorKind::ForceClosed, delivery)
            );
        }
    }
    // A second close returns the same.
    assert!(
        producer
            .close(PATIENCE)
            .unwrap_err()
            .to_string()
            .contains("17 record(s)")
    );
}

#[test]
fn close_waits_its_time_and_no_longer() {
    let cluster = silent_cluster(1);
    let producer = producer(&cluster);
    let callback_ran = Watched::<bool>::default();
    let callback = {
        let ran = callback_ran.clone();
        move |result: Result<_, kafka_producer::Error>| {
            assert_eq!(result.unwrap_err().kind(), ErrorKind::ForceClosed);
            ran.change(|ran| *ran = true);
        }
    };
    drop(producer.send_with(record(0, "v"), callback).unwrap());
    let start = Instant::now();
    producer.close(Duration::from_millis(300)).unwrap_err();
    let took = start.elapsed();
    assert!(
        took >= Duration::from_millis(300) && took < SOON,
        "{took:?}"
    );
    assert!(
        callback_ran.get(),
        "callbacks of failed records run before close returns"
    );
}

#[test]
fn close_does_not_wait_for_a_callback_that_hangs() {
    let cluster = cluster(1, 1);
    let producer = producer(&cluster);
    let (_release, hold) = mpsc::channel::<()>();
    let (starts, started) = mpsc::channel();
    let callback = move |_| {
        starts.send(()).unwrap();
        let _ = hold.recv_timeout(PATIENCE);
    };
    drop(producer.send_with(record(0, "v"), callback).unwrap());
    started.recv_timeout(PATIENCE).unwrap();
    let start = Instant::now();
    let _ = producer.close(Duration::from_millis(100));
    assert!(start.elapsed() < SOON);
}

#[test]
fn two_closes_at_once_both_return() {
    let cluster = cluster(1, 1);
    for _ in 0..20 {
        let producer = producer(&cluster);
        let future = producer.send(record(0, "v")).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| producer.close(PATIENCE).unwrap());
            }
        });
        future.try_get().expect("closed").unwrap();
    }
}

#[test]
fn a_close_with_a_shorter_timeout_ends_one_with_a_longer_timeout() {
    let cluster = silent_cluster(1);
    let producer = producer(&cluster);
    let future = producer.send(record(0, "v")).unwrap();
    let start = Instant::now();
    std::thread::scope(|scope| {
        let patient = scope.spawn(|| producer.close(Duration::from_secs(3600)));
        // The close with the long timeout has begun when `send` fails.
        while producer.try_send(record(0, "v")).is_ok() {}
        let impatient = producer.close(Duration::from_millis(50));
        for error in [impatient.unwrap_err(), patient.join().unwrap().unwrap_err()] {
            assert_eq!(error.kind(), ErrorKind::ForceClosed);
        }
    });
    assert!(start.elapsed() < SOON);
    assert_eq!(
        future.try_get().unwrap().unwrap_err().kind(),
        ErrorKind::ForceClosed
    );
}

#[test]
fn close_wakes_senders_that_wait_for_memory() {
    let cluster = silent_cluster(1);
    let producer = builder(&cluster).buffer_memory(64 << 10).build().unwrap();
    producer.partitions_for("t").unwrap();
    while producer.try_send(record(0, vec![1; 1000])).is_ok() {}
    assert_waiting_senders_are_woken(&producer, || record(0, vec![1; 60_000]));
}

#[test]
fn close_wakes_senders_that_wait_for_metadata() {
    let cluster = cluster(1, 1);
    cluster.on(MockApi::Metadata, |_| Fault::NoAnswer);
    assert_waiting_senders_are_woken(&producer(&cluster), || record(0, "v"));
}

#[test]
fn close_wakes_senders_that_wait_for_a_partition() {
    let cluster = cluster(1, 1);
    assert_waiting_senders_are_woken(&producer(&cluster), || record(5, "v"));
}

fn assert_waiting_senders_are_woken(
    producer: &Producer,
    blocked: impl Fn() -> crate::support::Record + Sync,
) {
    const SENDERS: usize = 8;
    let (results, received) = mpsc::channel();
    let about_to_wait = Watched::<usize>::default();
    std::thread::scope(|scope| {
        for _ in 0..SENDERS {
            let (results, about_to_wait) = (results.clone(), about_to_wait.clone());
            let blocked = &blocked;
            scope.spawn(move || {
                about_to_wait.change(|count| *count += 1);
                let refused = producer.send(blocked()).unwrap_err();
                results.send(refused.into_parts()).unwrap();
            });
        }
        about_to_wait.wait(|count| *count == SENDERS);
        let early = received.recv_timeout(Duration::from_millis(200));
        assert!(
            early.is_err(),
            "the senders should be waiting: {:?}",
            early.map(|(error, _)| error)
        );
        let start = Instant::now();
        let _ = producer.close(Duration::from_millis(100));
        for _ in 0..SENDERS {
            let (error, given_back) = received.recv_timeout(SOON).unwrap();
            assert_eq!(
                (error.kind(), error.delivery()),
                (ErrorKind::Closed, Delivery::NotWritten)
            );
            assert_eq!(given_back, blocked());
        }
        assert!(start.elapsed() < SOON);
    });
}

/// Eight threads send as fast as they can while another one closes. Every accepted record has an outcome, and each
/// delivered one is in the log once.
#[test]
fn a_close_in_the_middle_of_sending_leaves_no_record_without_outcome() {
    for round in 0..20 {
        let cluster = cluster(2, 4);
        let producer = builder(&cluster).sender_threads(2).build().unwrap();
        producer.partitions_for("t").unwrap();
        let futures = Watched::<Vec<Sent>>::default();
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let (producer, futures) = (&producer, &futures);
                scope.spawn(move || send_until_closed(thread, producer, futures));
            }
            futures.wait(|futures| futures.len() > 1000);
            // With enough time to deliver, and without.
            let timeout = if round % 2 == 0 {
                PATIENCE
            } else {
                Duration::ZERO
            };
            let closed = producer.close(timeout);
            assert!(round % 2 == 1 || closed.is_ok(), "{closed:?}");
        });
        let mut delivered = delivered(&futures);
        let mut written: Vec<String> = (0..4)
            .flat_map(|partition| values(&cluster, partition))
            .collect();
        delivered.sort_unstable();
        written.sort_unstable();
        let count = written.len();
        written.dedup();
        assert_eq!(written.len(), count, "no record is written twice");
        if round % 2 == 0 {
            assert_eq!(delivered, written);
        } else {
            assert!(
                delivered
                    .iter()
                    .all(|value| written.binary_search(value).is_ok())
            );
        }
    }
}

/// The value of a record, and its future.
type Sent = (String, kafka_producer::Future);

fn send_until_closed(thread: usize, producer: &Producer, futures: &Watched<Vec<Sent>>) {
    for index in 0.. {
        let value = format!("{thread}:{index}");
        match producer.send(record(index % 4, value.clone())) {
            Ok(future) => futures.change(|futures| futures.push((value, future))),
            Err(refused) => {
                assert_eq!(refused.error().kind(), ErrorKind::Closed);
                return;
            }
        }
    }
}

/// Returns the values that were delivered, and checks that every record has an outcome.
fn delivered(futures: &Watched<Vec<Sent>>) -> Vec<String> {
    let futures = futures.change(std::mem::take);
    let mut delivered = Vec::new();
    for (value, future) in futures {
        let result = future.try_get();
        match result.expect("every record has an outcome after close") {
            Ok(_) => delivered.push(value),
            Err(error) => assert_eq!(error.kind(), ErrorKind::ForceClosed, "{error}"),
        }
    }
    delivered
}

#[test]
fn dropping_a_clone_leaves_the_others_at_work() {
    let cluster = cluster(1, 1);
    let producer = producer(&cluster);
    let clones = vec![producer.clone(); 10];
    std::thread::scope(|scope| {
        for clone in clones {
            scope.spawn(move || drop(clone.send(record(0, "v")).unwrap()));
        }
    });
    producer
        .send(record(0, "last"))
        .unwrap()
        .get(PATIENCE)
        .unwrap();
    assert_eq!(cluster.end_offset("t", 0), Some(11));
}

#[test]
fn a_drop_does_not_wait_for_ever() {
    let cluster = silent_cluster(1);
    let producer = producer(&cluster);
    let future = producer.send(record(0, "v")).unwrap();
    let start = Instant::now();
    drop(producer);
    assert!(start.elapsed() < PATIENCE);
    assert_eq!(
        future.try_get().unwrap().unwrap_err().kind(),
        ErrorKind::ForceClosed
    );
}

#[test]
fn ten_thousand_threads_wait_for_ten_thousand_futures() {
    const THREADS: usize = 10_000;
    let cluster = cluster(1, 8);
    let hold = cluster.on(MockApi::Produce, |_| Fault::delay(PATIENCE));
    let producer = builder(&cluster)
        .linger(Duration::from_millis(5))
        .build()
        .unwrap();
    let waiting = Watched::<usize>::default();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|index| {
                let (producer, waiting) = (&producer, waiting.clone());
                let body = move || {
                    let future = producer
                        .send(record(index as i32 % 8, index.to_string()))
                        .unwrap();
                    waiting.change(|waiting| *waiting += 1);
                    future.get(2 * PATIENCE).unwrap().offset().unwrap()
                };
                std::thread::Builder::new()
                    .stack_size(64 << 10)
                    .spawn_scoped(scope, body)
                    .unwrap()
            })
            .collect();
        waiting.wait(|waiting| *waiting == THREADS);
        // The batches on the held connection are sent again over a new one.
        cluster.remove(hold);
        cluster.disconnect(0);
        let offsets: Vec<i64> = threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect();
        assert_eq!(offsets.len(), THREADS);
    });
    let written: i64 = (0..8)
        .filter_map(|partition| cluster.end_offset("t", partition))
        .sum();
    assert_eq!(written, THREADS as i64);
    producer.close(PATIENCE).unwrap();
}

/// A close that waits for nothing reports the truth: of what is queued it is known that it is not
/// written, of what is in flight it is not.
#[test]
fn close_at_once_reports_queued_records_as_not_written_and_others_as_maybe_written() {
    const RECORDS: usize = 29;
    for idempotence in [false, true] {
        for is_online in [false, true] {
            let cluster = cluster(1, 1);
            let producer = purged(&cluster, idempotence);
            producer.partitions_for("t").unwrap();
            let (gate, hold) = Gate::new();
            let requests = AtomicUsize::new(0);
            cluster.on(MockApi::Produce, move |_| {
                // The first request is answered; the second one hangs.
                if requests.fetch_add(1, Ordering::Relaxed) == 1 {
                    hold.wait();
                }
                Fault::Pass
            });
            if !is_online {
                cluster.broker_down(0);
            }
            let futures: Vec<_> = (0..RECORDS)
                .map(|index| producer.send(record(0, format!("{index:052}"))).unwrap())
                .collect();
            if is_online {
                assert!(cluster.wait_until(PATIENCE, |cluster| {
                    cluster.request_count(MockApi::Produce) == 2
                }));
                futures[9].get(SOON).unwrap();
            }
            assert!(producer.close(Duration::ZERO).is_err());
            drop(gate);
            for (index, future) in futures.into_iter().enumerate() {
                let result = future.try_get().expect("close has completed it");
                let expected = match index {
                    0..10 if is_online => None,
                    10..20 if is_online => Some(Delivery::MaybeWritten),
                    _ => Some(Delivery::NotWritten),
                };
                let error = result.err();
                assert_eq!(
                    error.as_ref().map(kafka_producer::Error::delivery),
                    expected,
                    "record {index}, online: {is_online}"
                );
                assert!(error.is_none_or(|error| error.kind() == ErrorKind::ForceClosed));
            }
        }
    }
}

/// Returns a producer with ten records in a batch, one request in flight, and a long linger.
fn purged(cluster: &MockCluster, idempotence: bool) -> Producer {
    builder(cluster)
        .linger(Duration::from_secs(5))
        .batch_size(61 + 10 * 60)
        .max_in_flight_requests_per_connection(1)
        .enable_idempotence(idempotence)
        .build()
        .unwrap()
}
