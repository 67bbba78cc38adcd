//! Errors of one topic in the metadata: those that pass, those that the user must mend, what stays in use meanwhile, and
//! the error in the end.

use std::time::{Duration, Instant};

use kafka_producer::mock::{Fault, MockApi, MockCluster};
use kafka_producer::{ErrorCode, ErrorKind, ProducerRecord};

use crate::support::{
    PATIENCE, Record, SOON, builder, cluster, deliver, eventually, producer, record, with_causes,
};

fn new_record() -> Record {
    ProducerRecord::new("new", b"v".to_vec())
}

/// A cluster with an older version of Metadata, in which only topics have an error, and not the answer as a whole.
fn refusable(brokers: usize) -> MockCluster {
    let cluster = cluster(brokers, 1);
    cluster.restrict_versions(MockApi::Metadata, 0..=12);
    cluster
}

#[test]
fn a_new_topic_that_cannot_be_described_yet_is_requested_again() {
    for code in [
        ErrorCode::INVALID_REPLICATION_FACTOR,
        ErrorCode::UNKNOWN_SERVER_ERROR,
        ErrorCode::POLICY_VIOLATION,
        ErrorCode::INVALID_PARTITIONS,
        ErrorCode::from(999),
    ] {
        let cluster = refusable(1);
        cluster.create_topic("new", 1);
        let producer = producer(&cluster);
        cluster.fail_next(MockApi::Metadata, 2, Fault::Error(code));
        let sent = producer.send(new_record()).unwrap();
        sent.get(PATIENCE).unwrap();
        assert_eq!(cluster.request_count(MockApi::Metadata), 3, "{code}");
    }
}

#[test]
fn the_error_that_prevented_the_description_of_a_new_topic_is_the_cause() {
    let cluster = refusable(1);
    let producer = builder(&cluster)
        .max_block(Duration::from_millis(300))
        .build()
        .unwrap();
    let code = ErrorCode::INVALID_REPLICATION_FACTOR;
    cluster.on(MockApi::Metadata, move |_| Fault::Error(code));
    let start = Instant::now();
    let refused = producer.send(new_record()).unwrap_err();
    assert!(start.elapsed() >= Duration::from_millis(300));
    let error = refused.error();
    assert_eq!(error.kind(), ErrorKind::MetadataTimeout);
    assert_eq!(error.broker_code(), Some(code.code()));
    let message = error.to_string();
    assert!(
        message.contains("wait until enough brokers run"),
        "{message}"
    );
}

#[test]
fn a_topic_that_is_known_is_sent_to_while_metadata_is_in_error() {
    for code in [
        ErrorCode::INVALID_REPLICATION_FACTOR,
        ErrorCode::UNKNOWN_SERVER_ERROR,
        ErrorCode::POLICY_VIOLATION,
    ] {
        let cluster = refusable(1);
        let producer = builder(&cluster)
            .metadata_max_age(Duration::from_millis(100))
            .build()
            .unwrap();
        deliver(&producer, 0, "first").unwrap();
        cluster.on(MockApi::Metadata, move |_| Fault::Error(code));
        for _ in 0..3 {
            let asked = cluster.request_count(MockApi::Metadata);
            let refreshed = |cluster: &MockCluster| cluster.request_count(MockApi::Metadata);
            assert!(cluster.wait_until(PATIENCE, |cluster| refreshed(cluster) > asked + 1));
            deliver(&producer, 0, "v").unwrap();
        }
    }
}

#[test]
fn try_send_reports_that_a_topic_is_forbidden_and_notices_when_it_is_allowed() {
    let cluster = refusable(1);
    cluster.create_topic("new", 1);
    let producer = producer(&cluster);
    let code = ErrorCode::TOPIC_AUTHORIZATION_FAILED;
    let forbidden = cluster.on(MockApi::Metadata, move |_| Fault::Error(code));
    eventually("the refusal", || {
        let refused = producer.try_send(new_record()).unwrap_err();
        refused.error().kind() == ErrorKind::Authorization
    });
    let refused = producer.try_send(new_record()).unwrap_err();
    let message = refused.error().to_string();
    assert_eq!(refused.error().broker_code(), Some(code.code()));
    assert!(message.contains("ask for the permission"), "{message}");
    assert!(!message.contains("create the topic"), "{message}");
    cluster.remove(forbidden);
    let mut sent = None;
    eventually("the permission", || {
        sent = producer.try_send(new_record()).ok();
        sent.is_some()
    });
    sent.unwrap().get(PATIENCE).unwrap();
}

/// The leader accepts nothing. Meanwhile the topic is deleted, or forbidden for this client.
#[test]
fn records_that_expire_say_that_their_topic_is_gone_or_forbidden() {
    for (code, advice) in [
        (ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, "; create the topic"),
        (
            ErrorCode::TOPIC_AUTHORIZATION_FAILED,
            "; ask for the permission",
        ),
    ] {
        let cluster = refusable(2);
        let producer = builder(&cluster)
            .metadata_max_age(Duration::from_millis(100))
            .request_timeout(Duration::from_secs(1))
            .delivery_timeout(Duration::from_secs(2))
            .build()
            .unwrap();
        deliver(&producer, 0, "first").unwrap();
        cluster.on(MockApi::Produce, |_| {
            Fault::Error(ErrorCode::NOT_LEADER_OR_FOLLOWER)
        });
        cluster.on(MockApi::Metadata, move |_| Fault::Error(code));
        let refused = producer.send(record(0, "v")).unwrap();
        let error = refused.get(PATIENCE).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::DeliveryTimeout);
        let message = with_causes(&error);
        assert!(message.contains(code.name()), "{message}");
        assert!(!message.contains("no leader"), "{message}");
        assert!(error.to_string().contains(advice), "{error}");
    }
}

#[test]
fn a_topic_that_is_forbidden_is_refused_at_once_each_time() {
    let cluster = refusable(1);
    let producer = producer(&cluster);
    let code = ErrorCode::TOPIC_AUTHORIZATION_FAILED;
    cluster.on(MockApi::Metadata, move |_| Fault::Error(code));
    let start = Instant::now();
    for asked in 1..=3 {
        let refused = producer.send(new_record()).unwrap_err();
        assert_eq!(refused.error().kind(), ErrorKind::Authorization);
        assert!(cluster.request_count(MockApi::Metadata) >= asked);
    }
    assert!(start.elapsed() < SOON);
}
