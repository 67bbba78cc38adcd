//! How topics, partitions and the cluster are found, and the errors that callers get if they are not.

use std::time::{Duration, Instant};

use kafka_producer::mock::{Fault, MockApi, MockCluster};
use kafka_producer::{ErrorCode, ErrorKind, ProducerRecord};

use crate::support::{
    PATIENCE, Record, SOON, Watched, builder, cluster, deliver, producer, record, values,
    with_causes,
};

#[test]
fn a_topic_is_created_by_being_sent_to() {
    let cluster = MockCluster::builder()
        .default_partitions(3)
        .start()
        .unwrap();
    let producer = producer(&cluster);
    let sent: Record = ProducerRecord::new("new", b"v".to_vec()).key(b"k".to_vec());
    let metadata = producer.send(sent).unwrap().get(PATIENCE).unwrap();
    assert_eq!((metadata.topic(), metadata.offset()), ("new", Some(0)));
    assert_eq!(producer.partitions_for("new").unwrap().len(), 3);
    assert_eq!(producer.partitions_for("other").unwrap().len(), 3);
}

#[test]
fn a_topic_that_is_never_created_is_waited_for_and_then_refused() {
    let cluster = MockCluster::builder()
        .auto_create_topics(false)
        .start()
        .unwrap();
    let producer = builder(&cluster)
        .max_block(Duration::from_millis(300))
        .build()
        .unwrap();
    let start = Instant::now();
    let refused = producer.send(record(0, "v")).unwrap_err();
    assert!(start.elapsed() >= Duration::from_millis(300) && start.elapsed() < SOON);
    let error = refused.error();
    assert_eq!(error.kind(), ErrorKind::MetadataTimeout);
    let message = with_causes(error);
    assert!(
        message.contains("Topic t not present in metadata after 300 ms"),
        "{message}"
    );
    assert!(message.contains("UNKNOWN_TOPIC_OR_PARTITION"), "{message}");
    assert_eq!(
        producer.partitions_for("t").unwrap_err().kind(),
        ErrorKind::MetadataTimeout
    );
    cluster.create_topic("t", 1);
    producer
        .send(refused.into_record())
        .unwrap()
        .get(PATIENCE)
        .unwrap();
}

#[test]
fn a_topic_that_is_created_while_a_sender_waits_is_found() {
    let cluster = MockCluster::builder()
        .auto_create_topics(false)
        .start()
        .unwrap();
    let producer = producer(&cluster);
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| deliver(&producer, 0, "v"));
        assert!(
            cluster.wait_until(PATIENCE, |cluster| cluster.request_count(MockApi::Metadata)
                >= 2)
        );
        cluster.create_topic("t", 1);
        sender.join().unwrap().unwrap();
    });
}

#[test]
fn an_explicit_partition_that_does_not_exist_is_waited_for_and_then_refused_in_javas_words() {
    let cluster = cluster(1, 4);
    let producer = builder(&cluster)
        .max_block(Duration::from_millis(300))
        .build()
        .unwrap();
    let start = Instant::now();
    let refused = producer.send(record(7, "v")).unwrap_err();
    assert!(start.elapsed() >= Duration::from_millis(300) && start.elapsed() < SOON);
    assert_eq!(refused.error().kind(), ErrorKind::UnknownPartition);
    let message = refused.error().to_string();
    let javas =
        "Partition 7 of topic t with partition count 4 is not present in metadata after 300 ms";
    assert!(message.contains(javas), "{message}");
}

#[test]
fn an_explicit_partition_that_is_added_while_a_sender_waits_is_found() {
    let cluster = cluster(2, 1);
    let producer = producer(&cluster);
    deliver(&producer, 0, "v").unwrap();
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| deliver(&producer, 2, "v"));
        let asked = cluster.request_count(MockApi::Metadata);
        assert!(
            cluster.wait_until(PATIENCE, |cluster| cluster.request_count(MockApi::Metadata)
                > asked + 1)
        );
        cluster.add_partitions("t", 2);
        sender.join().unwrap().unwrap();
    });
    assert_eq!(values(&cluster, 2), ["v"]);
}

#[test]
fn added_partitions_are_seen_when_metadata_grows_old() {
    let cluster = cluster(1, 1);
    let producer = builder(&cluster)
        .metadata_max_age(Duration::from_millis(50))
        .build()
        .unwrap();
    deliver(&producer, 0, "v").unwrap();
    cluster.add_partitions("t", 3);
    crate::support::eventually("four partitions", || {
        producer.partitions_for("t").unwrap().len() == 4
    });
    // Records with and without keys use all of them.
    for index in 0..200u8 {
        let keyed: Record = ProducerRecord::new("t", vec![index]).key(vec![index]);
        producer.send(keyed).unwrap().get(PATIENCE).unwrap();
    }
    assert!((0..4).all(|partition| cluster.end_offset("t", partition) > Some(20)));
}

#[test]
fn a_name_that_no_topic_may_have_is_refused_at_once() {
    let cluster = cluster(1, 1);
    let producer = producer(&cluster);
    let start = Instant::now();
    for name in ["", ".", "..", "a b", "a/b", "a\0b", &"a".repeat(250)] {
        let sent: Record = ProducerRecord::new(name.to_owned(), b"v".to_vec());
        assert_eq!(
            producer.send(sent).unwrap_err().error().kind(),
            ErrorKind::InvalidTopic,
            "{name:?}"
        );
        assert_eq!(
            producer.partitions_for(name).unwrap_err().kind(),
            ErrorKind::InvalidTopic,
            "{name:?}"
        );
    }
    // Only the broker knows that this name is not allowed.
    for (code, kind) in [
        (ErrorCode::INVALID_TOPIC_EXCEPTION, ErrorKind::InvalidTopic),
        (
            ErrorCode::TOPIC_AUTHORIZATION_FAILED,
            ErrorKind::Authorization,
        ),
    ] {
        cluster.restrict_versions(MockApi::Metadata, 0..=12);
        cluster.fail_next(MockApi::Metadata, 1, Fault::Error(code));
        let sent: Record = ProducerRecord::new(format!("topic-{}", code.code()), b"v".to_vec());
        let refused = producer.send(sent).unwrap_err();
        assert_eq!(refused.error().kind(), kind);
        assert_eq!(refused.error().broker_code(), Some(code.code()));
    }
    assert!(start.elapsed() < SOON);
}

#[test]
fn idle_topics_are_no_longer_requested() {
    let cluster = cluster(1, 1);
    cluster.create_topic("used", 1);
    let producer = builder(&cluster)
        .metadata_max_age(Duration::from_millis(300))
        .metadata_max_idle(Duration::from_secs(5))
        .build()
        .unwrap();
    deliver(&producer, 0, "once").unwrap();
    // The topics of each request that asked for more than a caller waited for.
    let refreshes = Watched::<Vec<Vec<String>>>::default();
    {
        let refreshes = refreshes.clone();
        cluster.on(MockApi::Metadata, move |request| {
            let mut topics = request.topics().to_vec();
            topics.sort_unstable();
            refreshes.change(|refreshes| refreshes.push(topics));
            Fault::Pass
        });
    }
    let use_it = || {
        let sent: Record = ProducerRecord::new("used", b"v".to_vec());
        producer.send(sent).unwrap().get(PATIENCE).unwrap();
    };
    crate::support::eventually("both topics asked for", || {
        use_it();
        refreshes
            .get()
            .contains(&vec!["t".to_owned(), "used".to_owned()])
    });
    crate::support::eventually("the idle topic left out", || {
        use_it();
        refreshes.get().last().unwrap() == &["used"]
    });
    deliver(&producer, 0, "again").unwrap();
}

#[test]
fn a_bootstrap_server_that_hangs_is_abandoned_for_the_next_one() {
    let cluster = cluster(2, 2);
    let hung = cluster.on(MockApi::ApiVersions, |request| match request.broker() {
        0 => Fault::NoAnswer,
        _ => Fault::Pass,
    });
    let producer = builder(&cluster)
        .socket_connection_setup_timeout(Duration::from_millis(200))
        .socket_connection_setup_timeout_max(Duration::from_millis(200))
        .build()
        .unwrap();
    for _ in 0..5 {
        deliver(&producer, 1, "v").unwrap();
    }
    cluster.remove(hung);
    deliver(&producer, 0, "v").unwrap();
}

/// Records are sent while no cluster answers, and delivered when one does.
#[test]
fn a_cluster_that_starts_later_is_found() {
    let cluster = cluster(1, 1);
    cluster.broker_down(0);
    let producer = producer(&cluster);
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| deliver(&producer, 0, "v"));
        crate::support::eventually("a failed attempt", || {
            producer.try_send(record(0, "x")).is_err()
        });
        cluster.broker_up(0).unwrap();
        sender.join().unwrap().unwrap();
    });
}
