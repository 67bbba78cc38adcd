//! Errors of one topic in the metadata: those that pass, those that the user must mend, what stays in use meanwhile, and
//! the error in the end.

use std::time::{Duration, Instant};

use kafka_producer::mock::{Fault, MockApi, MockCluster, MockRequest, PartitionError};
use kafka_producer::{ErrorCode, ErrorKind, ProducerRecord};

use crate::support::{
    PATIENCE, Record, SOON, Watched, builder, cluster, deliver, eventually, producer, record, with,
    with_causes,
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

fn names_both(request: &MockRequest) -> bool {
    let names = |topic: &str| request.topics().iter().any(|name| name == topic);
    names("t") && names("new")
}

/// One answer to Metadata describes `t` and refuses `new`, again and again.
#[test]
fn a_topic_that_metadata_refuses_is_refused_alone() {
    let cluster = refusable(1);
    cluster.create_topic("new", 1);
    let producer = builder(&cluster)
        .metadata_max_age(Duration::from_millis(50))
        .build()
        .unwrap();
    let code = ErrorCode::TOPIC_AUTHORIZATION_FAILED;
    // First before the topic is known, then while it is in use.
    for round in 1..=2 {
        let asked = Watched::<bool>::default();
        let forbidden = {
            let asked = asked.clone();
            cluster.on(MockApi::Metadata, move |request| {
                asked.change(|both| *both |= names_both(request));
                Fault::TopicErrors(vec![("new".to_owned(), code)])
            })
        };
        eventually("the refusal", || producer.partitions_for("new").is_err());
        let start = Instant::now();
        for _ in 0..3 {
            let refused = producer.send(new_record()).unwrap_err();
            assert_eq!(refused.error().kind(), ErrorKind::Authorization);
            assert!(refused.to_string().contains("new"), "{refused}");
            let refused = producer.partitions_for("new").unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Authorization);
            deliver(&producer, 0, "v").unwrap();
        }
        assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
        asked.wait(|both| *both);
        cluster.remove(forbidden);
        producer.send(new_record()).unwrap().get(PATIENCE).unwrap();
        assert_eq!(cluster.end_offset("new", 0), Some(round));
    }
    assert_eq!(cluster.end_offset("t", 0), Some(6));
}

/// One answer to Produce refuses the batch of `new` and has the offset of that of `t`.
#[test]
fn a_topic_that_a_leader_refuses_is_refused_alone() {
    for idempotent in [true, false] {
        let cluster = refusable(1);
        cluster.create_topic("new", 1);
        let idempotence = ("enable.idempotence", &*idempotent.to_string());
        let producer = with(builder(&cluster), &[idempotence])
            .linger(Duration::from_millis(50))
            .build()
            .unwrap();
        let code = ErrorCode::TOPIC_AUTHORIZATION_FAILED;
        let error = PartitionError::new("new", 0, code);
        let sent_both = Watched::<bool>::default();
        let forbidden = {
            let sent_both = sent_both.clone();
            cluster.on(MockApi::Produce, move |request| {
                sent_both.change(|both| *both |= names_both(request));
                Fault::PartitionErrors(vec![error.clone()])
            })
        };
        let start = Instant::now();
        for _ in 0..3 {
            let sent = [record(0, "v"), new_record()].map(|record| producer.send(record).unwrap());
            producer.flush(PATIENCE).unwrap();
            sent[0].get(PATIENCE).unwrap();
            let error = sent[1].get(PATIENCE).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Authorization, "{error}");
            assert!(error.to_string().contains("new"), "{error}");
        }
        assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
        assert!(sent_both.get());
        cluster.remove(forbidden);
        producer.send(new_record()).unwrap().get(PATIENCE).unwrap();
        assert_eq!(cluster.end_offset("new", 0), Some(1));
        assert_eq!(cluster.end_offset("t", 0), Some(3));
    }
}
