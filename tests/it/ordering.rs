//! An acknowledged record is written once and in order within its partition, for every kind of failure.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use kafka_producer::mock::{Fault, MockApi, MockCluster, MockRequest, PartitionError};
use kafka_producer::{Acks, ErrorCode};

use crate::support::{Builder, PATIENCE, builder, cluster, get_all, record, values};

#[test]
fn each_threads_records_are_in_order_however_many_threads_send_to_a_partition() {
    let cluster = cluster(1, 1);
    let producer = builder(&cluster)
        .linger(Duration::from_millis(1))
        .batch_size(500)
        .build()
        .unwrap();
    send_from_threads(&producer, 16, 1000, 1);
    producer.close(PATIENCE).unwrap();
    assert_written_once_in_order(&cluster, 1, 16, 1000);
}

#[test]
fn order_is_kept_while_senders_wait_for_memory() {
    let cluster = cluster(1, 2);
    let producer = builder(&cluster)
        .linger(Duration::from_millis(1))
        .buffer_memory(32 << 10)
        .batch_size(4 << 10)
        .build()
        .unwrap();
    send_from_threads(&producer, 8, 1000, 2);
    producer.close(PATIENCE).unwrap();
    assert_written_once_in_order(&cluster, 2, 8, 1000);
}

/// A broker that does not know the producer accepts any sequence: a second batch must not overtake a first one that
/// failed.
#[test]
fn no_batch_overtakes_a_first_one_that_is_refused_temporarily() {
    for code in [ErrorCode::NOT_ENOUGH_REPLICAS, ErrorCode::REQUEST_TIMED_OUT] {
        let cluster = cluster(1, 1);
        let producer = builder(&cluster).batch_size(0).build().unwrap();
        cluster.fail_next(MockApi::Produce, 1, Fault::Error(code));
        let send = |index: usize| producer.send(record(0, index.to_string())).unwrap();
        get_all((0..10).map(send).collect());
        let expected: Vec<_> = (0..10).map(|index| index.to_string()).collect();
        assert_eq!(values(&cluster, 0), expected);
    }
}

/// Five requests in flight, and every kind of failure at random.
#[test]
fn nothing_is_lost_duplicated_or_reordered_by_retries() {
    for seed in 0..4 {
        let cluster = cluster(3, 4);
        let random = Mutex::new(fastrand::Rng::with_seed(seed));
        cluster.on(MockApi::Produce, move |request| {
            trouble(&mut random.lock().unwrap(), request)
        });
        run_through_trouble(&cluster, builder(&cluster), &format!("seed {seed}"));
    }
}

#[test]
fn nothing_is_lost_duplicated_or_reordered_while_leaders_move() {
    let cluster = cluster(3, 4);
    let random = Mutex::new(fastrand::Rng::with_seed(1));
    cluster.on(MockApi::Produce, move |request| {
        trouble(&mut random.lock().unwrap(), request)
    });
    std::thread::scope(|scope| {
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let cluster = &cluster;
        scope.spawn(move || {
            let mut random = fastrand::Rng::with_seed(2);
            while let Err(std::sync::mpsc::RecvTimeoutError::Timeout) =
                stopped.recv_timeout(Duration::from_millis(10))
            {
                // Sometimes no broker leads for a while.
                let leader = random.i32(-1..3);
                cluster.set_leader("t", random.i32(0..4), (leader >= 0).then_some(leader));
            }
            for partition in 0..4 {
                cluster.set_leader("t", partition, Some(partition % 3));
            }
        });
        run_through_trouble(cluster, builder(cluster), "moving leaders");
        drop(stop);
    });
}

#[test]
fn nothing_is_lost_duplicated_or_reordered_while_brokers_restart() {
    let cluster = cluster(3, 4);
    std::thread::scope(|scope| {
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let cluster = &cluster;
        scope.spawn(move || {
            for broker in (0..3).cycle() {
                cluster.broker_down(broker);
                let end = stopped.recv_timeout(Duration::from_millis(15));
                cluster.broker_up(broker).unwrap();
                if !matches!(end, Err(std::sync::mpsc::RecvTimeoutError::Timeout)) {
                    return;
                }
                let _ = stopped.recv_timeout(Duration::from_millis(15));
            }
        });
        run_through_trouble(cluster, builder(cluster), "restarting brokers");
        drop(stop);
    });
}

/// Without idempotence a lost answer duplicates, but one request in flight keeps the order and nothing is lost.
#[test]
fn one_request_in_flight_keeps_the_order_without_idempotence() {
    let cluster = cluster(1, 2);
    let random = Mutex::new(fastrand::Rng::with_seed(3));
    cluster.on(MockApi::Produce, move |request| {
        match random.lock().unwrap().u8(0..4) {
            0 => Fault::Error(ErrorCode::NOT_ENOUGH_REPLICAS),
            1 if !request.batches().is_empty() => Fault::Disconnect,
            _ => Fault::Pass,
        }
    });
    let producer = builder(&cluster)
        .enable_idempotence(false)
        .max_in_flight_requests_per_connection(1)
        .batch_size(200)
        .build()
        .unwrap();
    send_from_threads(&producer, 4, 200, 2);
    producer.close(PATIENCE).unwrap();
    assert_written_once_in_order(&cluster, 2, 4, 200);
}

#[test]
fn acks_of_one_and_none_are_delivered_in_order_too() {
    for acks in [Acks::None, Acks::Leader] {
        let cluster = cluster(2, 2);
        let producer = builder(&cluster).acks(acks).build().unwrap();
        send_from_threads(&producer, 4, 200, 2);
        producer.close(PATIENCE).unwrap();
        // Without answers the producer does not know whether brokers have read what it wrote.
        assert!(cluster.wait_until(PATIENCE, |cluster| {
            (0..2)
                .filter_map(|partition| cluster.end_offset("t", partition))
                .sum::<i64>()
                == 800
        }));
        assert_written_once_in_order(&cluster, 2, 4, 200);
    }
}

fn trouble(random: &mut fastrand::Rng, request: &MockRequest) -> Fault {
    match random.u8(0..20) {
        0 => Fault::Error(ErrorCode::NOT_ENOUGH_REPLICAS),
        1 => Fault::Error(ErrorCode::REQUEST_TIMED_OUT),
        2 => Fault::Disconnect,
        3 => Fault::LoseAnswer,
        4 => Fault::Delay(Duration::from_millis(3), Box::new(Fault::LoseAnswer)),
        5 => {
            let batch = random.choice(request.batches());
            let failed = batch.map(|batch| {
                let partition = &batch.topic_partition;
                PartitionError::new(
                    partition.topic(),
                    partition.partition(),
                    ErrorCode::NOT_LEADER_OR_FOLLOWER,
                )
            });
            Fault::PartitionErrors(failed.into_iter().collect())
        }
        6 => Fault::Delay(
            Duration::from_millis(2),
            Box::new(Fault::Error(ErrorCode::KAFKA_STORAGE_ERROR)),
        ),
        _ => Fault::Pass,
    }
}

const THREADS: usize = 4;
const EACH: usize = 1200;

fn run_through_trouble(cluster: &MockCluster, builder: Builder, what: &str) {
    let producer = builder
        .sender_threads(2)
        .batch_size(100)
        .linger(Duration::from_millis(1))
        .build()
        .unwrap();
    send_from_threads(&producer, THREADS, EACH, 4);
    producer
        .close(PATIENCE)
        .unwrap_or_else(|error| panic!("{what}: {error}"));
    println!(
        "{what}: {} requests",
        cluster.request_count(MockApi::Produce)
    );
    assert_written_once_in_order(cluster, 4, THREADS, EACH);
}

/// Each thread sends numbered records to the partitions one after the other, and all of them are acknowledged.
fn send_from_threads(
    producer: &crate::support::Producer,
    threads: usize,
    each: usize,
    partitions: usize,
) {
    std::thread::scope(|scope| {
        for thread in 0..threads {
            scope.spawn(move || {
                let send = |index: usize| {
                    let value = format!("{thread}:{index}");
                    producer
                        .send(record((index % partitions) as i32, value))
                        .unwrap()
                };
                get_all((0..each).map(send).collect());
            });
        }
    });
}

fn assert_written_once_in_order(
    cluster: &MockCluster,
    partitions: usize,
    threads: usize,
    each: usize,
) {
    for partition in 0..partitions {
        let mut next: HashMap<usize, usize> =
            (0..threads).map(|thread| (thread, partition)).collect();
        for value in values(cluster, partition as i32) {
            let (thread, index) = value.split_once(':').unwrap();
            let expected = next.get_mut(&thread.parse().unwrap()).unwrap();
            let index: usize = index.parse().unwrap();
            assert_eq!(
                index, *expected,
                "thread {thread}'s next record in partition {partition}"
            );
            *expected += partitions;
        }
        assert!(
            next.values().all(|next| *next >= each),
            "partition {partition} lacks records: {next:?}"
        );
    }
}
