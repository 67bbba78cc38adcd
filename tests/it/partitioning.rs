//! Which partition the producer chooses for a record.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use kafka_producer::mock::{Fault, MockApi, MockCluster};
use kafka_producer::{
    BoxError, Cluster, ErrorKind, Partitioner, PartitionerClass, ProducerRecord,
    RoundRobinPartitioner, partition_for_key,
};

use crate::support::{
    Bytes, PATIENCE, Producer, Record, builder, cluster, eventually, producer, record,
};

fn keyed(key: &[u8], value: impl Into<Bytes>) -> Record {
    ProducerRecord::new("t", value.into()).key(key.to_vec())
}

fn unkeyed(bytes: usize) -> Record {
    ProducerRecord::new("t", vec![b'v'; bytes])
}

fn counts(cluster: &MockCluster) -> Vec<i64> {
    let partitions = cluster.partitions("t").unwrap();
    (0..partitions)
        .map(|partition| cluster.end_offset("t", partition).unwrap())
        .collect()
}

#[test]
fn keys_go_where_javas_murmur2_sends_them() {
    let cluster = cluster(1, 10);
    let producer = producer(&cluster);
    // Partitions of ten that Java's DefaultPartitioner chooses: toPositive(murmur2(key)) % 10, by its own test vectors.
    for (key, hash) in [
        (&b"21"[..], -973_932_308_i32),
        (b"foobar", -790_332_482),
        (b"a-little-bit-long-string", -985_981_536),
        (b"a-little-bit-longer-string", -1_486_304_829),
        (
            b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8",
            -58_897_971,
        ),
        (b"abc", 479_470_107),
    ] {
        let expected = (hash & i32::MAX) % 10;
        assert_eq!(partition_for_key(key, 10), expected);
        let metadata = producer
            .send(keyed(key, "v"))
            .unwrap()
            .get(PATIENCE)
            .unwrap();
        assert_eq!(metadata.partition(), expected, "{key:?}");
    }
}

/// All partitions count, also those without a leader, so a key keeps its partition.
#[test]
fn a_keys_partition_does_not_depend_on_leaders() {
    let cluster = cluster(2, 4);
    let producer = producer(&cluster);
    let key = (0..)
        .map(|n: i32| n.to_string())
        .find(|key| partition_for_key(key.as_bytes(), 4) == 2)
        .unwrap();
    cluster.set_leader("t", 2, None);
    let future = producer.send(keyed(key.as_bytes(), "v")).unwrap();
    assert_eq!(
        future.get(Duration::from_millis(100)).unwrap_err().kind(),
        ErrorKind::Timeout
    );
    cluster.set_leader("t", 2, Some(1));
    assert_eq!(future.get(PATIENCE).unwrap().partition(), 2);
}

#[test]
fn records_without_key_stick_to_a_partition_for_a_batchs_bytes() {
    let cluster = cluster(1, 4);
    let producer = builder(&cluster)
        .linger(Duration::from_millis(50))
        .batch_size(10_000)
        .build()
        .unwrap();
    let futures: Vec<_> = (0..8000)
        .map(|_| producer.send(unkeyed(100)).unwrap())
        .collect();
    let partitions: Vec<i32> = futures
        .into_iter()
        .map(|future| future.get(PATIENCE).unwrap().partition())
        .collect();
    // A batch holds about 94 of them. The same partition may be chosen several times in a row; no sticky turn ends early.
    let mut runs = runs(partitions);
    let last = runs.pop().unwrap();
    assert!(runs.iter().all(|count| *count >= 90), "{runs:?} {last:?}");
    assert!(runs.len() >= 6, "{runs:?}");
    assert!(
        counts(&cluster).iter().all(|count| *count > 0),
        "{:?}",
        counts(&cluster)
    );
}

/// The numbers of records in a row that went to the same partition.
fn runs(partitions: impl IntoIterator<Item = i32>) -> Vec<usize> {
    let mut runs: Vec<(i32, usize)> = Vec::new();
    for partition in partitions {
        match runs.last_mut() {
            Some((last, count)) if *last == partition => *count += 1,
            _ => runs.push((partition, 1)),
        }
    }
    runs.into_iter().map(|(_, count)| count).collect()
}

#[cfg(all(feature = "gzip", feature = "lz4", feature = "zstd"))]
#[test]
fn records_without_key_stick_to_a_partition_for_a_batchs_compressed_bytes() {
    use kafka_producer::CompressionType;
    const BATCH: usize = 4000;
    // A sticky turn counts uncompressed bytes, and ends within twice as many.
    const UNCOMPRESSED_TURN: usize = 2 * BATCH / 100;
    for codec in [
        CompressionType::Gzip,
        CompressionType::Lz4,
        CompressionType::Zstd,
    ] {
        let cluster = cluster(1, 4);
        let producer = builder(&cluster)
            .compression(codec)
            .linger(PATIENCE)
            .delivery_timeout(4 * PATIENCE)
            .batch_size(BATCH)
            .build()
            .unwrap();
        let mut random = fastrand::Rng::with_seed(1);
        let mut send = |records: usize| -> Vec<i32> {
            let value = |random: &mut fastrand::Rng| {
                let mut value = vec![b'v'; 100];
                value[..6].fill_with(|| random.u8(..));
                value
            };
            let futures: Vec<_> = (0..records)
                .map(|_| producer.send(ProducerRecord::new("t", value(&mut random))))
                .collect();
            producer.flush(PATIENCE).unwrap();
            let futures = futures.into_iter().map(Result::unwrap);
            futures
                .map(|future| future.get(PATIENCE).unwrap().partition())
                .collect()
        };
        let fullest = || {
            let batches = (0..4).flat_map(|partition| cluster.batches("t", partition));
            batches.map(|batch| batch.bytes.len()).max().unwrap()
        };
        let has_long_turns = |runs: &[usize]| {
            let turns = &runs[1..runs.len() - 1];
            turns.len() > 2 && turns.iter().all(|count| *count > 2 * UNCOMPRESSED_TURN)
        };
        // The expected ratio falls a little with each batch.
        let is_reached = (0..100).any(|_| {
            let runs = runs(send(4000));
            has_long_turns(&runs) && fullest() > BATCH * 8 / 10
        });
        assert!(
            is_reached,
            "{codec:?}: {:?}, {}",
            runs(send(4000)),
            fullest()
        );
    }
}

#[test]
fn records_with_a_key_or_a_partition_do_not_end_a_sticky_turn() {
    let cluster = cluster(1, 2);
    let producer = builder(&cluster)
        .linger(PATIENCE)
        .delivery_timeout(4 * PATIENCE)
        .batch_size(4000)
        // On a busy machine the queues of the two differ, and the shorter one would get most turns.
        .partitioner_adaptive_partitioning(false)
        .build()
        .unwrap();
    let mut futures = Vec::new();
    for index in 0..1000 {
        futures.push(producer.send(unkeyed(100)).unwrap());
        for partition in 0..2 {
            drop(producer.send(record(partition, vec![b'v'; 300])).unwrap());
            let key = format!("{index} {partition}");
            drop(
                producer
                    .send(keyed(key.as_bytes(), vec![b'v'; 300]))
                    .unwrap(),
            );
        }
    }
    producer.flush(PATIENCE).unwrap();
    let futures = futures.into_iter();
    let runs = runs(futures.map(|future| future.get(PATIENCE).unwrap().partition()));
    // A batch holds about 36 of them.
    let turns = &runs[..runs.len() - 1];
    assert!(turns.iter().all(|count| *count > 30), "{runs:?}");
    assert!(!turns.is_empty(), "{runs:?}");
}

/// Bytes count, not records: large records do not accumulate in one partition.
#[test]
fn the_partitions_get_equal_shares_of_bytes() {
    let cluster = cluster(1, 4);
    let producer = builder(&cluster).batch_size(1000).build().unwrap();
    let mut random = fastrand::Rng::with_seed(1);
    for _ in 0..8000 {
        drop(producer.send(unkeyed(random.usize(10..200))).unwrap());
    }
    producer.flush(PATIENCE).unwrap();
    let bytes: Vec<usize> = (0..4)
        .map(|partition| {
            cluster
                .batches("t", partition)
                .iter()
                .map(|batch| batch.bytes.len())
                .sum()
        })
        .collect();
    let (least, most) = (*bytes.iter().min().unwrap(), *bytes.iter().max().unwrap());
    assert!(most < 2 * least, "{bytes:?}");
}

#[test]
fn the_adaptive_partitioner_prefers_short_queues() {
    let share_of_the_slow = |adaptive: bool| {
        let cluster = cluster(2, 2);
        cluster.on(MockApi::Produce, |request| match request.broker() {
            1 => Fault::delay(Duration::from_millis(10)),
            _ => Fault::Pass,
        });
        // The memory is small, so that the caller is no faster than the brokers.
        let producer = builder(&cluster)
            .partitioner_adaptive_partitioning(adaptive)
            .buffer_memory(48 << 10)
            .batch_size(500)
            .build()
            .unwrap();
        for _ in 0..1200 {
            drop(producer.send(unkeyed(100)).unwrap());
        }
        producer.close(PATIENCE).unwrap();
        cluster.end_offset("t", 1).unwrap() as f64 / 1200.0
    };
    let (adaptive, uniform) = (share_of_the_slow(true), share_of_the_slow(false));
    assert!(
        adaptive < 0.35 && uniform > 0.35,
        "{adaptive} with, {uniform} without"
    );
}

#[test]
fn a_broker_that_accepts_nothing_is_avoided_after_the_availability_timeout() {
    let cluster = cluster(2, 2);
    let producer = builder(&cluster)
        .partitioner_availability_timeout(Some(Duration::from_millis(50)))
        .batch_size(200)
        .build()
        .unwrap();
    producer.partitions_for("t").unwrap();
    let silence = cluster.on(MockApi::Produce, |request| match request.broker() {
        1 => Fault::delay(Duration::from_secs(3600)),
        _ => Fault::Pass,
    });
    // Sends more batches than may be in flight, so that one waits in the ready queue.
    for _ in 0..20 {
        drop(producer.send(record(1, vec![1; 150])).unwrap());
    }
    // Two hundred in a row to the other partition do not happen by chance.
    eventually("avoiding the stuck broker", || {
        let before = cluster.end_offset("t", 0).unwrap();
        for _ in 0..200 {
            let sent = producer.send(unkeyed(150)).unwrap();
            if sent.get(Duration::from_millis(200)).is_err() {
                return false;
            }
        }
        cluster.end_offset("t", 0) == Some(before + 200)
    });
    cluster.remove(silence);
    cluster.disconnect(1);
    eventually("using the recovered broker again", || {
        let before = cluster.end_offset("t", 1);
        producer.send(unkeyed(150)).unwrap().get(PATIENCE).unwrap();
        cluster.end_offset("t", 1) > before
    });
}

#[test]
fn partitions_without_leader_get_no_records_without_key() {
    let cluster = cluster(2, 4);
    cluster.set_leader("t", 1, None);
    cluster.set_leader("t", 3, None);
    let producer = builder(&cluster).batch_size(200).build().unwrap();
    for _ in 0..200 {
        producer.send(unkeyed(150)).unwrap().get(PATIENCE).unwrap();
    }
    let counts = counts(&cluster);
    assert!(counts[0] > 50 && counts[2] > 50, "{counts:?}");
}

/// Sends a record, calls `trouble` with the leader of its partition, and sends others until one is delivered. All that
/// follow must be delivered, too.
fn records_without_key_go_elsewhere_after(
    adapt: bool,
    trouble: impl FnOnce(&MockCluster, i32, i32),
) {
    let cluster = cluster(2, 4);
    let producer = builder(&cluster)
        .linger(Duration::ZERO)
        .partitioner_adaptive_partitioning(adapt)
        .request_timeout(Duration::from_secs(600))
        .delivery_timeout(Duration::from_secs(1200))
        .build()
        .unwrap();
    let first = producer.send(unkeyed(20)).unwrap().get(PATIENCE).unwrap();
    let left = first.partition();
    trouble(&cluster, left, cluster.leader("t", left).unwrap());
    eventually("a record elsewhere", || {
        let sent = producer.send(unkeyed(20)).unwrap();
        sent.get(Duration::from_millis(100)).is_ok()
    });
    for _ in 0..200 {
        let sent = producer.send(unkeyed(20)).unwrap().get(PATIENCE).unwrap();
        assert_ne!(sent.partition(), left);
    }
    drop(producer.close(Duration::ZERO));
}

#[test]
fn records_without_key_leave_a_partition_that_has_lost_its_leader() {
    for adapt in [true, false] {
        records_without_key_go_elsewhere_after(adapt, |cluster, left, _| {
            cluster.set_leader("t", left, None);
        });
    }
}

#[test]
fn records_without_key_leave_a_broker_that_answers_nothing() {
    for adapt in [true, false] {
        records_without_key_go_elsewhere_after(adapt, |cluster, _, broker| {
            cluster.on(MockApi::Produce, move |request| match request.broker() {
                hung if hung == broker => Fault::NoAnswer,
                _ => Fault::Pass,
            });
        });
    }
}

#[test]
fn records_without_key_leave_a_broker_that_is_down() {
    for adapt in [true, false] {
        records_without_key_go_elsewhere_after(adapt, |cluster, _, broker| {
            cluster.broker_down(broker);
        });
    }
}

#[test]
fn keys_can_be_ignored() {
    let cluster = cluster(1, 4);
    let producer = builder(&cluster)
        .partitioner_ignore_keys(true)
        .batch_size(200)
        .build()
        .unwrap();
    for _ in 0..200 {
        producer
            .send(keyed(b"always the same", vec![b'v'; 150]))
            .unwrap()
            .get(PATIENCE)
            .unwrap();
    }
    assert!(
        counts(&cluster).iter().all(|count| *count > 10),
        "{:?}",
        counts(&cluster)
    );
}

#[test]
fn round_robin_is_even_for_all_keys() {
    for by_class in [true, false] {
        let cluster = cluster(1, 4);
        let builder = builder(&cluster);
        let producer = match by_class {
            true => builder
                .partitioner_class(PartitionerClass::RoundRobin)
                .build(),
            false => builder.partitioner(RoundRobinPartitioner::new()).build(),
        }
        .unwrap();
        for index in 0..40 {
            let metadata = producer
                .send(keyed(b"k", "v"))
                .unwrap()
                .get(PATIENCE)
                .unwrap();
            assert_eq!(metadata.partition(), index % 4);
        }
    }
}

#[derive(Default)]
struct ByFirstByte {
    closed: AtomicUsize,
}

impl Partitioner for ByFirstByte {
    fn partition(
        &self,
        topic: &str,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        cluster: &Cluster,
    ) -> Result<i32, BoxError> {
        assert_eq!(topic, "t");
        assert!(
            cluster
                .topic(topic)
                .is_some_and(|topic| topic.partitions().len() == 4)
        );
        assert_eq!(value, Some(&b"v"[..]));
        match key {
            Some([b'?', ..]) => Err("no idea".into()),
            Some([byte, ..]) => Ok(i32::from(*byte as i8)),
            _ => Ok(0),
        }
    }

    fn on_close(&self) {
        self.closed.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_custom_partitioner_decides_and_its_error_goes_to_the_caller() {
    let cluster = cluster(1, 4);
    let partitioner = Arc::new(ByFirstByte::default());
    let producer = builder(&cluster)
        .partitioner(Arc::clone(&partitioner))
        .build()
        .unwrap();
    for partition in 0..4u8 {
        let metadata = producer
            .send(keyed(&[partition], "v"))
            .unwrap()
            .get(PATIENCE)
            .unwrap();
        assert_eq!(metadata.partition(), i32::from(partition));
    }
    // The partitioner is not called for an explicit partition.
    let metadata = producer
        .send(keyed(b"?", "v").partition(3))
        .unwrap()
        .get(PATIENCE)
        .unwrap();
    assert_eq!(metadata.partition(), 3);
    for (key, message) in [
        (&b"?"[..], "no idea"),
        (&[4], "partition 4"),
        (&[0xff], "partition -1"),
    ] {
        let refused = producer.send(keyed(key, "v")).unwrap_err();
        assert_eq!(refused.error().kind(), ErrorKind::Partitioner);
        assert!(crate::support::with_causes(refused.error()).contains(message));
        assert_eq!(refused.record().key.as_deref(), Some(key));
    }
    let other = producer.clone();
    producer.close(PATIENCE).unwrap();
    other.close(PATIENCE).unwrap();
    drop((producer, other));
    assert_eq!(partitioner.closed.load(Ordering::Relaxed), 1);
}

#[test]
fn a_negative_partition_is_no_partition() {
    let cluster = cluster(1, 1);
    let producer: Producer = producer(&cluster);
    let refused = producer.send(record(-1, "v")).unwrap_err();
    assert_eq!(refused.error().kind(), ErrorKind::InvalidArgument);
    let refused = producer.send(record(0, "v").timestamp(-1)).unwrap_err();
    assert_eq!(refused.error().kind(), ErrorKind::InvalidArgument);
}

#[test]
fn the_same_key_stays_in_order_in_one_partition() {
    let cluster = cluster(3, 6);
    let producer = builder(&cluster)
        .sender_threads(3)
        .linger(Duration::from_millis(1))
        .build()
        .unwrap();
    for index in 0..3000 {
        drop(
            producer
                .send(keyed(
                    format!("key {}", index % 50).as_bytes(),
                    index.to_string(),
                ))
                .unwrap(),
        );
    }
    producer.close(PATIENCE).unwrap();
    let mut of_key: HashMap<Bytes, (i32, Vec<usize>)> = HashMap::new();
    for partition in 0..6 {
        for record in cluster.records("t", partition) {
            let number = String::from_utf8(record.value.unwrap())
                .unwrap()
                .parse()
                .unwrap();
            let entry = of_key
                .entry(record.key.unwrap())
                .or_insert((partition, Vec::new()));
            assert_eq!(entry.0, partition);
            entry.1.push(number);
        }
    }
    assert_eq!(of_key.len(), 50);
    assert!(
        of_key
            .values()
            .all(|(_, numbers)| numbers.len() == 60 && numbers.is_sorted())
    );
}
