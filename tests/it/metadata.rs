//! Metadata answers that are wrong, empty, late or refused, and servers that are not brokers.

use std::time::{Duration, Instant};

use kafka_producer::mock::{Fault, MockApi, MockCluster};
use kafka_producer::{ErrorCode, ErrorKind, ProducerRecord};

use crate::isolation::port;
use crate::support::fake_broker::{FakeBootstrap, Member};
use crate::support::{
    CORRUPTIONS, PATIENCE, Record, SOON, builder, builder_at, cluster, deliver, eventually,
    producer, record, with_causes,
};

#[test]
fn a_broker_whose_answers_are_garbage_is_replaced_by_another_one() {
    for api in [
        MockApi::Metadata,
        MockApi::ApiVersions,
        MockApi::InitProducerId,
    ] {
        for corruption in CORRUPTIONS {
            let cluster = cluster(2, 2);
            cluster.on(api, move |request| match request.broker() {
                0 => Fault::Corrupt(corruption),
                _ => Fault::Pass,
            });
            let start = Instant::now();
            deliver(&producer(&cluster), 1, "v").unwrap();
            assert!(start.elapsed() < PATIENCE / 2, "{api} {corruption:?}");
        }
    }
}

#[test]
fn garbage_from_the_only_broker_is_reported_and_survived() {
    for corruption in CORRUPTIONS {
        let cluster = cluster(1, 1);
        let damaging = cluster.on(MockApi::Metadata, move |_| Fault::Corrupt(corruption));
        let producer = builder(&cluster)
            .max_block(Duration::from_millis(200))
            .request_timeout(Duration::from_millis(100))
            .build()
            .unwrap();
        let refused = producer.send(record(0, "v")).unwrap_err();
        assert_eq!(refused.error().kind(), ErrorKind::MetadataTimeout);
        let message = with_causes(refused.error());
        assert!(
            message.contains("last attempt"),
            "{corruption:?}: {message}"
        );
        cluster.remove(damaging);
        eventually("an accepted record", || deliver(&producer, 0, "v").is_ok());
    }
}

#[test]
fn an_answer_without_brokers_changes_nothing() {
    let cluster = cluster(1, 1);
    let well = Member::new(0, port(&cluster));
    let bootstrap = FakeBootstrap::start(vec![well.clone()], vec![0]);
    let producer = builder_at(&bootstrap.address())
        .metadata_max_age(Duration::from_millis(50))
        .build()
        .unwrap();
    deliver(&producer, 0, "before").unwrap();
    cluster.on(MockApi::Metadata, |_| Fault::Disconnect);
    // The answer names neither a broker nor a leader.
    bootstrap.set_leaders(&[], &[-1]);
    let answered = bootstrap.metadata_requests();
    eventually("some empty answers", || {
        bootstrap.metadata_requests() > answered + 3
    });
    deliver(&producer, 0, "meanwhile").unwrap();
    bootstrap.set_leaders(&[well], &[0]);
    deliver(&producer, 0, "after").unwrap();
}

#[test]
fn a_leader_without_an_address_in_any_answer_is_waited_for() {
    let cluster = cluster(1, 1);
    let well = Member::new(0, port(&cluster));
    cluster.on(MockApi::Metadata, |_| Fault::Disconnect);
    let bootstrap = FakeBootstrap::start(vec![well.clone()], vec![0, 42]);
    let producer = builder_at(&bootstrap.address()).build().unwrap();
    let waiting = producer.send(record(1, "v")).unwrap();
    deliver(&producer, 0, "v").unwrap();
    let answered = bootstrap.metadata_requests();
    eventually("it is asked for again", || {
        bootstrap.metadata_requests() > answered + 2
    });
    assert!(!waiting.is_done());
    bootstrap.set_leaders(&[well.clone(), Member { id: 42, ..well }], &[0, 42]);
    // The mock cluster has no partition 1. Its error shows that the request reached it.
    cluster.add_partitions("t", 1);
    waiting.get(SOON).unwrap();
}

/// A KRaft controller's port accepts connections and answers ApiVersions, but has neither Metadata nor Produce.
#[test]
fn a_controllers_port_among_the_bootstrap_servers_is_skipped() {
    let (controller, cluster) = (cluster(1, 1), cluster(1, 1));
    #[allow(clippy::reversed_empty_ranges, reason = "no version at all")]
    for api in [MockApi::Metadata, MockApi::Produce, MockApi::InitProducerId] {
        controller.restrict_versions(api, 1..=0);
    }
    let both = format!(
        "{},{}",
        controller.bootstrap_servers(),
        cluster.bootstrap_servers()
    );
    for _ in 0..8 {
        deliver(&builder_at(&both).build().unwrap(), 0, "v").unwrap();
    }
    let alone = builder(&controller)
        .max_block(Duration::from_millis(200))
        .build()
        .unwrap();
    let message = with_causes(alone.send(record(0, "v")).unwrap_err().error());
    assert!(message.contains("does not offer Metadata"), "{message}");
}

#[test]
fn an_error_of_one_topic_affects_no_other() {
    let cluster = cluster(1, 1);
    cluster.restrict_versions(MockApi::Metadata, 0..=12);
    let producer = builder(&cluster)
        .max_block(Duration::from_millis(300))
        .build()
        .unwrap();
    deliver(&producer, 0, "v").unwrap();
    for (code, kind) in [
        (
            ErrorCode::TOPIC_AUTHORIZATION_FAILED,
            ErrorKind::Authorization,
        ),
        (ErrorCode::INVALID_TOPIC_EXCEPTION, ErrorKind::InvalidTopic),
        (
            ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
            ErrorKind::MetadataTimeout,
        ),
        (ErrorCode::LEADER_NOT_AVAILABLE, ErrorKind::MetadataTimeout),
        (ErrorCode::UNKNOWN_SERVER_ERROR, ErrorKind::MetadataTimeout),
    ] {
        let hook = cluster.on(MockApi::Metadata, move |request| {
            match request.topics().contains(&"other".to_owned()) {
                true => Fault::Error(code),
                false => Fault::Pass,
            }
        });
        let sent: Record = ProducerRecord::new("other", b"v".to_vec());
        let refused = producer.send(sent).unwrap_err();
        assert_eq!(refused.error().kind(), kind, "{code:?}");
        assert_eq!(refused.error().broker_code(), Some(code.code()));
        deliver(&producer, 0, "v").unwrap();
        cluster.remove(hook);
    }
}

/// KIP-219: a quota applies between a client and one broker.
#[test]
fn while_a_broker_throttles_the_metadata_thread_asks_another_one() {
    for api in [MockApi::Metadata, MockApi::InitProducerId] {
        let cluster = cluster(2, 2);
        cluster.fail_next(api, 1, Fault::Throttle(Duration::from_secs(3600)));
        let producer = producer(&cluster);
        deliver(&producer, 0, "first").unwrap();
        let throttling = throttling_broker(&cluster, api);
        cluster.create_topic("other", 1);
        let start = Instant::now();
        assert_eq!(producer.partitions_for("other").unwrap().len(), 1);
        assert!(start.elapsed() < SOON, "{api}");
        let last = cluster.requests();
        let last = last
            .iter()
            .rfind(|request| request.api == MockApi::Metadata);
        assert_ne!(last.unwrap().broker, throttling, "{api}");
    }
}

#[test]
fn the_only_brokers_throttle_is_waited_out() {
    const THROTTLE: Duration = Duration::from_millis(700);
    let cluster = cluster(1, 1);
    cluster.fail_next(MockApi::Metadata, 1, Fault::Throttle(THROTTLE));
    let producer = producer(&cluster);
    let start = Instant::now();
    deliver(&producer, 0, "v").unwrap();
    let took = start.elapsed();
    // The producer id is requested after the topic.
    assert!(took >= THROTTLE && took < SOON, "{took:?}");
}

/// The broker that answered the first request of the API.
fn throttling_broker(cluster: &MockCluster, api: MockApi) -> i32 {
    let requests = cluster.requests();
    let first = requests.iter().find(|request| request.api == api);
    first.unwrap().broker
}
