//! Tests of the harness itself, with records that Kafka's own producers wrote.

use kafka_producer::ProducerConfig;

use crate::Tests;
use crate::support::kafka::{KafkaCluster, Replicas, TimestampType};

pub(crate) const TESTS: Tests = &[
    (
        "console_producer_records_are_read_back_with_keys_headers_and_nulls",
        console_producer_records_are_read_back,
    ),
    (
        "dump_shows_the_batches_of_an_idempotent_producer",
        dump_shows_the_batches_of_an_idempotent_producer,
    ),
    (
        "topics_can_be_deleted_grown_and_altered",
        topics_can_be_deleted_grown_and_altered,
    ),
    (
        "every_setting_of_javas_producer_is_known",
        every_setting_of_javas_producer_is_known,
    ),
    (
        "a_killed_broker_returns_with_its_records",
        a_killed_broker_returns_with_its_records,
    ),
];

pub(crate) const TESTS_OF_THREE_BROKERS: Tests = &[(
    "a_leader_moves_to_the_given_broker",
    a_leader_moves_to_the_given_broker,
)];

fn console_producer_records_are_read_back(kafka: &KafkaCluster) {
    kafka.create_topic("tools-console", 1, 1, &[]);
    let input = "a:1,b:\tkey\tvalue with \\ and \u{e9}\nNULL\tNULL\t\nc:NULL\t\tNULL\n";
    let arguments = [
        "--bootstrap-server",
        &kafka.bootstrap_servers(),
        "--topic",
        "tools-console",
        "--reader-property",
        "parse.key=true",
        "--reader-property",
        "parse.headers=true",
        "--reader-property",
        "null.marker=NULL",
    ];
    kafka.run_tool(
        "org.apache.kafka.tools.ConsoleProducer",
        &arguments,
        input.as_bytes(),
    );

    let records = kafka.consume("tools-console");
    let [first, second, third] = &records[..] else {
        panic!("{records:?}")
    };
    assert!(
        records
            .iter()
            .all(|record| record.timestamp_type == TimestampType::CreateTime)
    );
    assert_eq!(
        records
            .iter()
            .map(|record| record.offset)
            .collect::<Vec<_>>(),
        [0, 1, 2]
    );
    assert_eq!(
        first.headers,
        [
            ("a".to_owned(), Some(b"1".to_vec())),
            ("b".to_owned(), Some(Vec::new()))
        ]
    );
    assert_eq!(first.key.as_deref(), Some(&b"key"[..]));
    assert_eq!(first.text(), "value with \\ and \u{e9}");
    assert_eq!((&second.key, &second.value), (&None, &Some(Vec::new())));
    assert_eq!((&third.key, &third.value), (&Some(Vec::new()), &None));
    assert_eq!(third.headers, [("c".to_owned(), None)]);
}

/// Kafka's own list: each has an effect, or is accepted as a setting of Java's alone, or is refused with what to do.
fn every_setting_of_javas_producer_is_known(kafka: &KafkaCluster) {
    let output = kafka.run_tool("org.apache.kafka.clients.producer.ProducerConfig", &[], b"");
    let html = String::from_utf8(output.stdout).expect("UTF-8");
    let names: Vec<_> = html
        .split("id=\"producerconfigs_")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .collect();
    assert!(names.len() > 100 && names.contains(&"acks"), "{names:?}");
    let (mut with_effect, mut refused) = (0, Vec::new());
    for name in &names {
        let mut config = ProducerConfig::new();
        if config.get(name).is_some() {
            with_effect += 1;
        } else if let Err(error) = config.set(name, "x") {
            let error = error.to_string();
            assert!(error.contains("leave it out"), "{error}");
            refused.push(*name);
        }
    }
    refused.sort_unstable();
    let expected = [
        "enable.metrics.push",
        "interceptor.classes",
        "sasl.login.class",
        "ssl.engine.factory.class",
        "transaction.timeout.ms",
        "transaction.two.phase.commit.enable",
        "transactional.id",
    ];
    assert_eq!(refused, expected);
    assert!(with_effect > 75, "{with_effect} of {}", names.len());
}

fn dump_shows_the_batches_of_an_idempotent_producer(kafka: &KafkaCluster) {
    kafka.create_topic("tools-dump", 2, 1, &[("compression.type", "producer")]);
    let properties = kafka.folder().join("verifiable.properties");
    std::fs::write(
        &properties,
        "enable.idempotence=true\nretries=10\ncompression.type=lz4\n",
    )
    .expect("write a file");
    let arguments = [
        "--bootstrap-server",
        &kafka.bootstrap_servers(),
        "--topic",
        "tools-dump",
        "--max-messages",
        "500",
        "--repeating-keys",
        "7",
        "--command-config",
        &properties.display().to_string(),
    ];
    kafka.run_tool("org.apache.kafka.tools.VerifiableProducer", &arguments, b"");

    let batches: Vec<_> = kafka
        .dump_log("tools-dump")
        .into_values()
        .flatten()
        .collect();
    assert_eq!(batches.iter().map(|batch| batch.count).sum::<i32>(), 500);
    assert!(
        batches
            .iter()
            .all(|batch| batch.compression == "lz4" && batch.producer_id >= 0)
    );
    assert!(
        batches
            .iter()
            .all(|batch| batch.base_sequence == batch.base_offset as i32)
    );
    let mut values: Vec<u32> = kafka
        .consume("tools-dump")
        .iter()
        .map(|r| r.text().parse().expect("a number"))
        .collect();
    values.sort_unstable();
    assert!(values.into_iter().eq(0..500));
}

fn topics_can_be_deleted_grown_and_altered(kafka: &KafkaCluster) {
    kafka.create_topic("tools-admin", 1, 1, &[]);
    kafka.add_partitions("tools-admin", 3);
    assert_eq!(kafka.partitions("tools-admin").len(), 3);
    assert!(kafka.consume("tools-admin").is_empty());
    kafka.alter_topic_configs("tools-admin", &[("max.message.bytes", "1000")]);
    let description = kafka.describe_topic("tools-admin");
    assert!(
        description.contains("max.message.bytes=1000"),
        "{description}"
    );
    kafka.delete_topic("tools-admin");
    assert!(kafka.partitions("tools-admin").is_empty());
}

fn a_leader_moves_to_the_given_broker(kafka: &KafkaCluster) {
    let replicas = Replicas::On(vec![vec![3, 1, 2], vec![2, 3, 1]]);
    kafka.create_topic_on("tools-leader", &replicas, &[]);
    assert_eq!(kafka.leader("tools-leader", 0), 3);
    for leader in [1, 2, 3] {
        kafka.move_leader("tools-leader", 0, leader);
        assert_eq!(kafka.leader("tools-leader", 0), leader);
    }
    assert_eq!(kafka.leader("tools-leader", 1), 2);
    kafka.wait_until_replicated();
}

fn a_killed_broker_returns_with_its_records(kafka: &KafkaCluster) {
    kafka.create_topic("tools-restart", 1, 1, &[]);
    let arguments = [
        "--bootstrap-server",
        &kafka.bootstrap_servers(),
        "--topic",
        "tools-restart",
    ];
    kafka.run_tool(
        "org.apache.kafka.tools.ConsoleProducer",
        &arguments,
        b"before\n",
    );
    kafka.kill(1);
    kafka.restart(1);
    kafka.wait_until_replicated();
    kafka.run_tool(
        "org.apache.kafka.tools.ConsoleProducer",
        &arguments,
        b"after\n",
    );
    let records = kafka.consume("tools-restart");
    assert_eq!(
        records
            .iter()
            .map(|record| record.text())
            .collect::<Vec<_>>(),
        ["before", "after"]
    );
}
