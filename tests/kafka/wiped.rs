//! A cluster that is wiped and recreated at the same address gives producer ids from the start again.

use kafka_producer::{Delivery, Error};

use crate::Tests;
use crate::producing::{BytesProducer, outcome, producer, record};
use crate::support::kafka::{CLUSTER_ID, KafkaCluster};

pub(crate) const TESTS: Tests = &[
    (
        "producers_of_a_cluster_that_was_replaced_lose_nothing_to_each_other",
        producers_of_a_cluster_that_was_replaced_lose_nothing_to_each_other,
    ),
    (
        "producers_of_a_cluster_that_was_wiped_and_kept_its_id_lose_nothing_to_each_other",
        producers_of_a_cluster_that_was_wiped_and_kept_its_id_lose_nothing_to_each_other,
    ),
];

const TOPIC: &str = "wiped";

/// The cluster keeps its id, as with a container whose settings name it. Only the topic's id changes.
fn producers_of_a_cluster_that_was_wiped_and_kept_its_id_lose_nothing_to_each_other(
    kafka: &KafkaCluster,
) {
    nothing_is_lost_after_a_wipe(kafka, CLUSTER_ID);
}

fn producers_of_a_cluster_that_was_replaced_lose_nothing_to_each_other(kafka: &KafkaCluster) {
    nothing_is_lost_after_a_wipe(kafka, "kafka-producer-tests01");
    // For the next test.
    kafka.wipe(CLUSTER_ID);
}

/// Two producers, one from before the wipe and a new one, send one after the other. The log has the records that were
/// acknowledged to each of them.
fn nothing_is_lost_after_a_wipe(kafka: &KafkaCluster, cluster_id: &str) {
    for first in ["a", "b"] {
        kafka.create_topic(TOPIC, 1, 1, &[]);
        let a = start(kafka);
        for number in 0..3 {
            send(&a, &format!("before {number}")).expect("a healthy cluster");
        }
        kafka.wipe(cluster_id);
        kafka.create_topic(TOPIC, 1, 1, &[]);
        let b = start(kafka);
        let mut expected = Vec::new();
        let mut send_and_note = |producer: &BytesProducer, value: &str| match send(producer, value)
        {
            Ok(()) => expected.push(value.len()),
            // It was in flight when the cluster was wiped.
            Err(error) => assert_eq!(error.delivery(), Delivery::MaybeWritten, "{value}: {error}"),
        };
        let order: [(&BytesProducer, &str); 6] = match first {
            "a" => [
                (&a, "a2"),
                (&b, "b1"),
                (&b, "b2"),
                (&a, "a3"),
                (&b, "b3"),
                (&a, "a4"),
            ],
            _ => [
                (&b, "b1"),
                (&a, "a2"),
                (&b, "b2"),
                (&a, "a3"),
                (&a, "a4"),
                (&b, "b3"),
            ],
        };
        for (producer, value) in order {
            send_and_note(producer, value);
        }
        assert!(expected.len() >= 5, "{expected:?}");
        let batches = kafka.dump_log(TOPIC).remove(&0).unwrap_or_default();
        let found: Vec<usize> = batches
            .iter()
            .flat_map(|batch| &batch.records)
            .map(|record| record.value_size as usize)
            .collect();
        assert_eq!(
            found, expected,
            "the first to send after the wipe was {first}"
        );
        kafka.delete_topic(TOPIC);
    }
}

fn start(kafka: &KafkaCluster) -> BytesProducer {
    let settings = [
        ("linger.ms", "0"),
        ("request.timeout.ms", "5000"),
        ("delivery.timeout.ms", "30000"),
    ];
    producer(kafka, &settings)
}

fn send(producer: &BytesProducer, value: &str) -> Result<(), Error> {
    outcome(producer, record(TOPIC, value).partition(0)).map(drop)
}
