//! Brokers of all releases: which versions are negotiated, and the error if none fits.

use std::time::Duration;

use kafka_producer::mock::{Fault, MockApi, MockCluster};
use kafka_producer::{Acks, CompressionType, Delivery, ErrorCode, ErrorKind};

use crate::support::{
    PATIENCE, SOON, builder, cluster, deliver, producer, record, values, with_causes,
};

/// The version of the latest request of an API.
fn latest(cluster: &MockCluster, api: MockApi) -> i16 {
    let requests = cluster.requests();
    requests
        .iter()
        .rev()
        .find(|request| request.api == api)
        .unwrap()
        .version
}

#[test]
fn every_version_of_produce_is_spoken() {
    for version in 3..=13 {
        let cluster = cluster(2, 2);
        cluster.restrict_versions(MockApi::Produce, 0..=version);
        for compression in [CompressionType::None, CompressionType::Gzip] {
            if !compression.is_compiled_in() {
                continue;
            }
            let producer = builder(&cluster).compression(compression).build().unwrap();
            for partition in [0, 1] {
                let before = cluster.end_offset("t", partition);
                assert_eq!(
                    deliver(&producer, partition, "value").unwrap().offset(),
                    before
                );
            }
            assert_eq!(latest(&cluster, MockApi::Produce), version);
        }
        // The producer understands a refusal in each version.
        let producer = builder(&cluster).retries(1).build().unwrap();
        cluster.fail_next(
            MockApi::Produce,
            1,
            Fault::Error(ErrorCode::POLICY_VIOLATION),
        );
        assert_eq!(
            deliver(&producer, 0, "v").unwrap_err().broker_code(),
            Some(44)
        );
    }
}

#[test]
fn every_version_of_metadata_is_spoken() {
    for version in 0..=13 {
        let cluster = cluster(2, 2);
        cluster.restrict_versions(MockApi::Metadata, 0..=version);
        let producer = producer(&cluster);
        deliver(&producer, 0, "value").unwrap();
        deliver(&producer, 1, "value").unwrap();
        assert_eq!(latest(&cluster, MockApi::Metadata), version);
        // Topic ids come with version 10; without them records are sent by name.
        let id = producer
            .partitions_for("t")
            .map(|partitions| partitions.len());
        assert_eq!(id.unwrap(), 2);
        assert_eq!(
            latest(&cluster, MockApi::Produce),
            if version >= 10 { 13 } else { 12 }
        );
        cluster.set_leader("t", 0, Some(1));
        deliver(&producer, 0, "moved").unwrap();
        assert_eq!(values(&cluster, 0), ["value", "moved"]);
    }
}

#[test]
fn every_version_of_init_producer_id_is_spoken() {
    for version in 0..=5 {
        let cluster = cluster(1, 1);
        cluster.restrict_versions(MockApi::InitProducerId, 0..=version);
        deliver(&producer(&cluster), 0, "value").unwrap();
        assert_eq!(latest(&cluster, MockApi::InitProducerId), version);
        assert!(cluster.batches("t", 0)[0].producer_id >= 0);
    }
}

/// Brokers before 2.4 do not know version 3 and say so in the layout of version 0.
#[test]
fn an_older_api_versions_is_used_if_the_newest_is_refused() {
    for (range, software) in [
        (0..=0, false),
        (0..=1, false),
        (0..=2, false),
        (0..=3, true),
        (0..=4, true),
    ] {
        let cluster = cluster(1, 1);
        cluster.restrict_versions(MockApi::ApiVersions, range.clone());
        let producer = producer(&cluster);
        deliver(&producer, 0, "value").unwrap();
        let spoken = latest(&cluster, MockApi::ApiVersions);
        assert!(range.contains(&spoken), "{spoken}");
        let produce = cluster
            .requests()
            .into_iter()
            .find(|request| request.api == MockApi::Produce)
            .unwrap();
        let is_named = produce
            .client_software
            .is_some_and(|software| software.starts_with("kafka-producer/"));
        assert_eq!(is_named, software, "{range:?}");
    }
}

/// Some proxies and reimplementations of Kafka do not follow KIP-511.
#[test]
fn a_peer_that_closes_the_connection_at_a_newer_api_versions_is_asked_in_the_oldest() {
    let cluster = cluster(2, 2);
    cluster.on(MockApi::ApiVersions, |request| match request.version() {
        0 => Fault::Pass,
        _ => Fault::Disconnect,
    });
    let producer = producer(&cluster);
    for partition in [0, 1] {
        deliver(&producer, partition, "value").unwrap();
    }
    assert_eq!(latest(&cluster, MockApi::ApiVersions), 0);
}

/// As while a broker restarts: the newest version, by which the broker learns the client's name, is tried in between.
#[test]
fn a_peer_that_closes_every_connection_for_a_while_is_asked_in_the_newest_version_too() {
    let cluster = cluster(1, 1);
    let closing = cluster.on(MockApi::ApiVersions, |_| Fault::Disconnect);
    let producer = producer(&cluster);
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| deliver(&producer, 0, "value"));
        let asked = |cluster: &MockCluster| -> Vec<i16> {
            let requests = cluster.requests();
            let asked = requests
                .iter()
                .filter(|asked| asked.api == MockApi::ApiVersions);
            asked.map(|asked| asked.version).collect()
        };
        assert!(cluster.wait_until(PATIENCE, |cluster| asked(cluster).len() >= 4));
        assert_eq!(asked(&cluster)[..4], [3, 0, 3, 0]);
        cluster.remove(closing);
        sender.join().unwrap().unwrap();
    });
}

#[test]
fn brokers_get_the_client_id_and_the_software() {
    let cluster = cluster(1, 1);
    let named = builder(&cluster).client_id("accounting").build().unwrap();
    deliver(&named, 0, "v").unwrap();
    let software = format!("kafka-producer/{}", env!("CARGO_PKG_VERSION"));
    for request in cluster.requests() {
        assert_eq!(request.client_id.as_deref(), Some("accounting"));
        if request.api != MockApi::ApiVersions {
            assert_eq!(request.client_software.as_deref(), Some(&*software));
        }
    }
    let unnamed = producer(&cluster);
    deliver(&unnamed, 0, "v").unwrap();
    let id = cluster.requests().pop().unwrap().client_id.unwrap();
    assert!(id.starts_with("producer-"), "{id}");
}

/// The versions of a broker of Apache Kafka 2.1.
#[test]
fn a_broker_of_kafka_2_1_is_spoken_to() {
    let cluster = cluster(3, 3);
    for (api, versions) in [
        (MockApi::Produce, 0..=7),
        (MockApi::Metadata, 0..=7),
        (MockApi::ApiVersions, 0..=2),
        (MockApi::InitProducerId, 0..=1),
    ] {
        cluster.restrict_versions(api, versions);
    }
    let producer = producer(&cluster);
    for partition in 0..3 {
        deliver(&producer, partition, "value").unwrap();
        cluster.set_leader("t", partition, Some((partition + 1) % 3));
        deliver(&producer, partition, "moved").unwrap();
    }
    assert!((0..3).all(|partition| values(&cluster, partition) == ["value", "moved"]));
}

#[test]
fn records_are_delivered_through_a_rolling_upgrade() {
    let cluster = cluster(1, 1);
    cluster.restrict_versions(MockApi::Produce, 0..=7);
    cluster.restrict_versions(MockApi::Metadata, 0..=9);
    let producer = builder(&cluster)
        .metadata_max_age(Duration::from_millis(50))
        .build()
        .unwrap();
    deliver(&producer, 0, "old").unwrap();
    cluster.restrict_versions(MockApi::Produce, 0..=13);
    cluster.restrict_versions(MockApi::Metadata, 0..=13);
    cluster.disconnect(0);
    deliver(&producer, 0, "new").unwrap();
    // Older versions again: a broker closes an open connection at the first request of a version that it no longer has.
    cluster.restrict_versions(MockApi::Produce, 0..=9);
    deliver(&producer, 0, "old again").unwrap();
    assert_eq!(latest(&cluster, MockApi::Produce), 9);
    assert_eq!(values(&cluster, 0), ["old", "new", "old again"]);
}

#[test]
fn a_broker_too_old_to_produce_to_is_reported_at_once() {
    let cluster = cluster(1, 1);
    // The cluster itself has no version below 3, so no version is left.
    cluster.restrict_versions(MockApi::Produce, 0..=2);
    let producer = producer(&cluster);
    let error = producer
        .send(record(0, "v"))
        .unwrap()
        .get(SOON)
        .unwrap_err();
    assert_eq!(
        (error.kind(), error.delivery()),
        (ErrorKind::UnsupportedVersion, Delivery::NotWritten),
        "{error}"
    );
    assert!(
        error.to_string().contains("does not offer Produce"),
        "{error}"
    );
}

#[test]
fn a_broker_without_producer_ids_is_reported() {
    let cluster = cluster(1, 1);
    #[expect(clippy::reversed_empty_ranges, reason = "takes the API away")]
    cluster.restrict_versions(MockApi::InitProducerId, 1..=0);
    let idempotent = producer(&cluster);
    let sent = idempotent.send(record(0, "v")).unwrap();
    let error = sent.get(SOON).unwrap_err();
    assert_eq!(
        (error.kind(), error.delivery()),
        (ErrorKind::UnsupportedVersion, Delivery::NotWritten)
    );
    let message = error.to_string();
    assert!(
        message.contains("does not offer InitProducerId")
            && message.contains("enable.idempotence=false"),
        "{message}"
    );
    let plain = builder(&cluster).acks(Acks::Leader).build().unwrap();
    deliver(&plain, 0, "v").unwrap();
}

#[test]
fn a_broker_without_a_common_version_of_metadata_is_reported() {
    let cluster = cluster(1, 1);
    #[expect(clippy::reversed_empty_ranges, reason = "takes the API away")]
    cluster.restrict_versions(MockApi::Metadata, 1..=0);
    let producer = builder(&cluster)
        .max_block(Duration::from_millis(300))
        .build()
        .unwrap();
    let refused = producer.send(record(0, "v")).unwrap_err();
    assert_eq!(refused.error().kind(), ErrorKind::MetadataTimeout);
    let message = with_causes(refused.error());
    assert!(
        message.contains("the broker does not offer Metadata"),
        "{message}"
    );
    let _ = producer.close(PATIENCE);
}
