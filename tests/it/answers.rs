//! Answers that the producer cannot interpret, with five batches of a partition in flight.

use std::sync::atomic::{AtomicUsize, Ordering};

use kafka_producer::mock::{Corruption, Fault, MockApi, MockCluster, PartitionError};
use kafka_producer::{Delivery, ErrorCode, Future};

use crate::support::{
    CORRUPTIONS, PATIENCE, Producer, SOON, builder, cluster, deliver, record, values,
};

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

fn known(cluster: &MockCluster) -> Producer {
    let producer = builder(cluster)
        .batch_size(0)
        .request_timeout(SOON)
        .build()
        .unwrap();
    deliver(&producer, 0, "first").unwrap();
    producer
}

fn send(producer: &Producer) -> [Future; 5] {
    NAMES.map(|name| producer.send(record(0, name)).unwrap())
}

/// Applies the fault to the request at `position` among the five. The broker handles none of them before all five have arrived.
fn meet(cluster: &MockCluster, position: usize, fault: Fault) {
    let requests = AtomicUsize::new(0);
    cluster.on(MockApi::Produce, move |_| {
        let request = requests.fetch_add(1, Ordering::Relaxed);
        let own = match request == position {
            true => fault.clone(),
            false => Fault::Pass,
        };
        match request {
            0 => Fault::KeepBack(4, Box::new(own)),
            _ => own,
        }
    });
}

/// All five batches are in the log. The broker recognizes those behind the damaged answer on the next connection.
#[test]
fn a_damaged_answer_among_five_ends_the_connection_and_loses_no_record() {
    for corruption in CORRUPTIONS {
        for position in 0..5 {
            let cluster = cluster(1, 1);
            let producer = known(&cluster);
            let connections = cluster.request_count(MockApi::ApiVersions);
            meet(&cluster, position, Fault::Corrupt(corruption));
            for (offset, future) in (1..).zip(send(&producer)) {
                let written = future
                    .get(PATIENCE)
                    .unwrap_or_else(|error| panic!("{corruption:?} at {position}: {error}"));
                assert_eq!(
                    written.offset(),
                    Some(offset),
                    "{corruption:?} at {position}"
                );
            }
            assert_eq!(
                values(&cluster, 0)[1..],
                NAMES,
                "{corruption:?} at {position}"
            );
            // Random bytes could happen to be a valid answer.
            if corruption != Corruption::Garbage {
                assert!(cluster.request_count(MockApi::ApiVersions) > connections);
            }
        }
    }
}

/// An error code of a later Kafka leaves open whether the batch was written. Only that batch fails, as in Java.
#[test]
fn an_unknown_error_code_fails_its_batch_alone() {
    for is_written in [false, true] {
        for position in 0..5 {
            let cluster = cluster(1, 1);
            let producer = known(&cluster);
            let connections = cluster.request_count(MockApi::ApiVersions);
            let error = PartitionError::new("t", 0, ErrorCode::from(12345));
            let error = match is_written {
                true => error.after_append(),
                false => error,
            };
            meet(&cluster, position, Fault::PartitionErrors(vec![error]));
            let mut failed = 0;
            for (index, future) in send(&producer).into_iter().enumerate() {
                if let Err(error) = future.get(PATIENCE) {
                    let of = format!("{index} with {position}, written: {is_written}: {error}");
                    assert_eq!(error.broker_code(), Some(12345), "{of}");
                    assert_eq!(error.delivery(), Delivery::MaybeWritten, "{of}");
                    failed += 1;
                }
            }
            assert_eq!(failed, 1);
            let written = if is_written {
                NAMES.len()
            } else {
                NAMES.len() - 1
            };
            assert_eq!(values(&cluster, 0).len(), 1 + written);
            assert_eq!(cluster.request_count(MockApi::ApiVersions), connections);
        }
    }
}
