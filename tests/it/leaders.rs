//! Metadata: topics that are not known yet, leaders that move, partitions that come, brokers that go.

use std::time::{Duration, Instant};

use kafka_producer::mock::{Fault, MockApi, MockCluster};
use kafka_producer::{ErrorCode, ErrorKind, ProducerRecord};

use crate::support::fake_broker::{FakeBootstrap, Member, never_connecting};
use crate::support::{
    PATIENCE, Record, SOON, Watched, builder, builder_at, cluster, deliver, get_all, producer,
    record, values, with_causes,
};

#[test]
fn a_leader_named_in_the_answer_is_gone_to_without_waiting_for_metadata() {
    let cluster = cluster(3, 3);
    let producer = builder(&cluster)
        .retry_backoff(Duration::from_secs(60))
        .retry_backoff_max(Duration::from_secs(60))
        .build()
        .unwrap();
    for partition in 0..3 {
        deliver(&producer, partition, "first").unwrap();
    }
    cluster.on(MockApi::Metadata, |_| Fault::NoAnswer);
    cluster.set_leader("t", 0, Some(1));
    deliver(&producer, 0, "second").unwrap();
    assert_eq!(values(&cluster, 0), ["first", "second"]);
    let _ = producer.close(Duration::ZERO);
}

#[test]
fn a_leader_that_the_answer_does_not_name_is_found_by_metadata() {
    let cluster = cluster(3, 1);
    // The versions before leaders were named.
    cluster.restrict_versions(MockApi::Produce, 3..=9);
    let producer = producer(&cluster);
    deliver(&producer, 0, "first").unwrap();
    for (leader, value) in [(1, "second"), (2, "third"), (0, "fourth")] {
        cluster.set_leader("t", 0, Some(leader));
        deliver(&producer, 0, value).unwrap();
    }
    assert_eq!(values(&cluster, 0), ["first", "second", "third", "fourth"]);
}

#[test]
fn a_partition_without_leader_is_waited_for() {
    let cluster = cluster(2, 2);
    let producer = producer(&cluster);
    cluster.set_leader("t", 0, None);
    let waiting = producer.send(record(0, "v")).unwrap();
    deliver(&producer, 1, "v").unwrap();
    let asked = cluster.request_count(MockApi::Metadata);
    assert!(
        cluster.wait_until(PATIENCE, |cluster| cluster.request_count(MockApi::Metadata)
            > asked + 2)
    );
    assert!(!waiting.is_done());
    cluster.set_leader("t", 0, Some(1));
    waiting.get(PATIENCE).unwrap();
}

/// The partition stood in the line of the broker that went away.
#[test]
fn records_for_a_broker_that_died_go_to_the_new_leader() {
    let cluster = cluster(3, 3);
    let producer = producer(&cluster);
    for partition in 0..3 {
        deliver(&producer, partition, "before").unwrap();
    }
    cluster.broker_down(1);
    let futures: Vec<_> = (0..20)
        .map(|index| producer.send(record(1, index.to_string())).unwrap())
        .collect();
    assert!(futures.iter().any(|future| !future.is_done()));
    cluster.set_leader("t", 1, Some(2));
    get_all(futures);
    assert_eq!(values(&cluster, 1).len(), 21);
}

#[test]
fn records_for_a_broker_that_hangs_in_connecting_go_to_the_new_leader() {
    let cluster = cluster(1, 1);
    let (port, _sockets) = never_connecting();
    let well = Member::new(0, crate::isolation::port(&cluster));
    let members = vec![well, Member::new(9, port)];
    let hanging = FakeBootstrap::start(members.clone(), vec![9]);
    let producer = builder_at(&hanging.address())
        .metadata_max_age(Duration::from_millis(100))
        .build()
        .unwrap();
    let future = producer.send(record(0, "v")).unwrap();
    assert_eq!(
        future.get(Duration::from_millis(300)).unwrap_err().kind(),
        ErrorKind::Timeout
    );
    hanging.set_leaders(&members, &[0]);
    future.get(SOON).unwrap();
}

#[test]
fn a_broker_that_comes_back_is_used_again() {
    let cluster = cluster(1, 1);
    let producer = producer(&cluster);
    for round in 0..3 {
        deliver(&producer, 0, round.to_string()).unwrap();
        cluster.broker_down(0);
        let waiting = producer.send(record(0, format!("{round} down"))).unwrap();
        cluster.broker_up(0).unwrap();
        waiting.get(PATIENCE).unwrap();
    }
    assert_eq!(
        values(&cluster, 0),
        ["0", "0 down", "1", "1 down", "2", "2 down"]
    );
}

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
fn a_topic_that_nobody_creates_is_waited_for_and_then_refused() {
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
    let told = with_causes(error);
    assert!(
        told.contains("Topic t not present in metadata after 300 ms"),
        "{told}"
    );
    assert!(told.contains("UNKNOWN_TOPIC_OR_PARTITION"), "{told}");
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
    let told = refused.error().to_string();
    let javas =
        "Partition 7 of topic t with partition count 4 is not present in metadata after 300 ms";
    assert!(told.contains(javas), "{told}");
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
    // Keys go over all of them, and those without go over them too.
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
    // What the broker alone knows to be forbidden.
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
fn a_topic_deleted_and_created_again_is_written_to() {
    let cluster = cluster(1, 1);
    let producer = producer(&cluster);
    for index in 0..5 {
        deliver(&producer, 0, index.to_string()).unwrap();
    }
    for round in 0..3 {
        cluster.delete_topic("t");
        cluster.create_topic("t", 1);
        for index in 0..5 {
            let metadata = deliver(&producer, 0, index.to_string()).unwrap();
            assert_eq!(metadata.offset(), Some(index), "round {round}");
        }
        assert_eq!(values(&cluster, 0), ["0", "1", "2", "3", "4"]);
    }
}

#[test]
fn idle_topics_are_no_longer_asked_for() {
    let cluster = cluster(1, 1);
    cluster.create_topic("used", 1);
    let producer = builder(&cluster)
        .metadata_max_age(Duration::from_millis(300))
        .metadata_max_idle(Duration::from_secs(5))
        .build()
        .unwrap();
    deliver(&producer, 0, "once").unwrap();
    // The topics of each request that asked for more than somebody waited for.
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
fn a_bootstrap_server_that_hangs_is_left_for_the_next_one() {
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

/// Sent while nobody could tell of a cluster, delivered when somebody can.
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
