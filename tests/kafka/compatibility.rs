//! The same producer against brokers of other releases.

use crate::Tests;
use crate::delivery::{codecs_and_acks, shapes, the_first_records_of_a_new_topic_keep_their_order};
use crate::faults::{
    a_missing_topic_is_created_if_brokers_do_so, exactly_once_through, kill_and_restart,
};
use crate::producing::{assert_holds, assert_sequence, deliver, numbered, producer};
use crate::support::kafka::KafkaCluster;

pub(crate) const TESTS: Tests = &[
    ("every_codec_arrives_with_every_acks_level", |kafka| {
        codecs_and_acks(kafka, "compatibility-codecs")
    }),
    (
        "the_first_records_of_a_new_topic_keep_their_order",
        the_first_records_of_a_new_topic_keep_their_order,
    ),
    (
        "headers_nulls_and_empty_bytes_arrive_as_they_were",
        headers_nulls_and_empty_bytes_arrive_as_they_were,
    ),
    (
        "a_missing_topic_is_created",
        a_missing_topic_is_created_if_brokers_do_so,
    ),
    (
        "a_batch_over_the_topics_limit_is_split",
        a_batch_over_the_topics_limit_is_split,
    ),
    (
        "a_topic_created_again_is_written_from_its_start",
        crate::limits::a_topic_created_again_is_written_from_its_start,
    ),
    (
        "nothing_is_lost_or_twice_when_the_broker_is_killed",
        nothing_is_lost_or_twice_when_the_broker_is_killed,
    ),
];

fn headers_nulls_and_empty_bytes_arrive_as_they_were(kafka: &KafkaCluster) {
    let topic = "compatibility-shapes";
    kafka.create_topic(topic, 1, 1, &[]);
    let records = shapes(topic);
    let metadata = deliver(&producer(kafka, &[]), &records);
    assert_holds(kafka, topic, &records, &metadata);
}

fn a_batch_over_the_topics_limit_is_split(kafka: &KafkaCluster) {
    let topic = "compatibility-split";
    kafka.create_topic(topic, 1, 1, &[("max.message.bytes", "1000")]);
    let records: Vec<_> = (0..60).map(|number| numbered(topic, 0, number)).collect();
    deliver(&producer(kafka, &[("linger.ms", "1000")]), &records);
    assert_sequence(&records, &kafka.consume(topic));
}

fn nothing_is_lost_or_twice_when_the_broker_is_killed(kafka: &KafkaCluster) {
    exactly_once_through(kafka, "compatibility-killed", 1, &[], || {
        kill_and_restart(kafka, 1)
    });
}
