//! How the producer reacts to a broker's errors: each code, errors of single records, answers that cannot be decoded.

use std::time::{Duration, Instant};

use kafka_producer::mock::{Corruption, Fault, MockApi, PartitionError};
use kafka_producer::{Acks, Delivery, Error, ErrorCode, ErrorKind, ProducerRecord};

use crate::support::{
    CORRUPTIONS, PATIENCE, SOON, builder, cluster, deliver, producer, record, values, with_causes,
};

/// The codes after which Java's producer sends a batch again (`RetriableException`).
const RETRIABLE: [i16; 32] = [
    2, 3, 5, 6, 7, 9, 13, 14, 15, 16, 19, 20, 41, 51, 56, 70, 71, 72, 74, 75, 78, 80, 83, 84, 88,
    89, 100, 103, 106, 122, 123, 133,
];

/// The reaction to these codes depends on the sequences, not on the table.
const SEQUENCE_ERRORS: [i16; 3] = [45, 47, 59];

const DUPLICATE_SEQUENCE_NUMBER: i16 = 46;

const MESSAGE_TOO_LARGE: i16 = 10;

#[test]
fn a_record_is_sent_again_after_every_retriable_error() {
    let cluster = cluster(1, 1);
    let producer = producer(&cluster);
    for code in RETRIABLE.into_iter().chain(SEQUENCE_ERRORS) {
        let before = cluster.request_count(MockApi::Produce);
        cluster.fail_next(MockApi::Produce, 2, Fault::Error(ErrorCode::from(code)));
        let written = deliver(&producer, 0, code.to_string());
        assert!(written.is_ok(), "{code}: {written:?}");
        assert_eq!(
            cluster.request_count(MockApi::Produce),
            before + 3,
            "{code}"
        );
    }
    let expected: Vec<_> = RETRIABLE
        .into_iter()
        .chain(SEQUENCE_ERRORS)
        .map(|code| code.to_string())
        .collect();
    assert_eq!(values(&cluster, 0), expected);
}

#[test]
fn every_other_error_fails_the_record_at_once_and_the_next_one_succeeds() {
    let cluster = cluster(1, 1);
    let producer = producer(&cluster);
    let special = [0, DUPLICATE_SEQUENCE_NUMBER];
    let others = (-1..=133).filter(|code| {
        !RETRIABLE.contains(code) && !SEQUENCE_ERRORS.contains(code) && !special.contains(code)
    });
    for code in others {
        let before = cluster.request_count(MockApi::Produce);
        cluster.fail_next(MockApi::Produce, 1, Fault::Error(ErrorCode::from(code)));
        let error = deliver(&producer, 0, "refused").unwrap_err();
        assert_eq!(
            cluster.request_count(MockApi::Produce),
            before + 1,
            "{code} is not sent again"
        );
        assert_broker_error(&error, code);
        deliver(&producer, 0, "next").unwrap_or_else(|error| panic!("after {code}: {error}"));
    }
    assert!(values(&cluster, 0).iter().all(|value| value == "next"));
}

fn assert_broker_error(error: &Error, code: i16) {
    assert_eq!(error.broker_code(), Some(code), "{error}");
    assert_eq!(
        error.broker_error_name(),
        Some(ErrorCode::from(code).name())
    );
    assert!(error.to_string().contains("t-0"), "{error}");
    assert!(!error.is_retriable(), "{error}");
    let kind = match code {
        MESSAGE_TOO_LARGE | 18 => ErrorKind::RecordTooLarge,
        87 | 32 => ErrorKind::InvalidRecord,
        17 => ErrorKind::InvalidTopic,
        29 | 30 | 31 | 53 | 65 => ErrorKind::Authorization,
        33 | 34 | 58 => ErrorKind::Authentication,
        35 => ErrorKind::UnsupportedVersion,
        _ => ErrorKind::Broker,
    };
    assert_eq!(error.kind(), kind, "{error}");
    // An unexpected error of a broker may have occurred after the write.
    let delivery = match code {
        -1 => Delivery::MaybeWritten,
        _ => Delivery::NotWritten,
    };
    assert_eq!(error.delivery(), delivery, "{error}");
}

#[test]
fn sequence_errors_are_final_without_idempotence() {
    let cluster = cluster(1, 1);
    let producer = builder(&cluster).enable_idempotence(false).build().unwrap();
    for code in SEQUENCE_ERRORS {
        cluster.fail_next(MockApi::Produce, 1, Fault::Error(ErrorCode::from(code)));
        assert_eq!(
            deliver(&producer, 0, "v").unwrap_err().broker_code(),
            Some(code)
        );
    }
}

#[test]
fn a_duplicate_sequence_is_a_success_without_offset() {
    let cluster = cluster(1, 1);
    let producer = producer(&cluster);
    deliver(&producer, 0, "first").unwrap();
    cluster.fail_next(
        MockApi::Produce,
        1,
        Fault::Error(ErrorCode::DUPLICATE_SEQUENCE_NUMBER),
    );
    assert_eq!(deliver(&producer, 0, "second").unwrap().offset(), None);
}

#[test]
fn a_lost_answer_does_not_duplicate_the_record_and_its_offset_is_known() {
    let cluster = cluster(1, 1);
    let producer = producer(&cluster);
    deliver(&producer, 0, "first").unwrap();
    cluster.fail_next(MockApi::Produce, 3, Fault::LoseAnswer);
    assert_eq!(deliver(&producer, 0, "second").unwrap().offset(), Some(1));
    assert_eq!(values(&cluster, 0), ["first", "second"]);
}

#[test]
fn a_broker_that_forgot_the_producer_gets_batches_under_a_new_epoch() {
    let cluster = cluster(1, 1);
    let producer = producer(&cluster);
    deliver(&producer, 0, "first").unwrap();
    cluster.fail_next(
        MockApi::Produce,
        1,
        Fault::Error(ErrorCode::UNKNOWN_PRODUCER_ID),
    );
    deliver(&producer, 0, "second").unwrap();
    let batches = cluster.batches("t", 0);
    assert_eq!(batches.len(), 2);
    assert_eq!(batches[0].producer_id, batches[1].producer_id);
    assert_eq!(batches[1].producer_epoch, batches[0].producer_epoch + 1);
    assert_eq!(batches[1].base_sequence, 0);
}

/// KIP-467.
#[test]
fn errors_of_single_records_reach_the_records_they_name() {
    let cluster = cluster(1, 1);
    let producer = builder(&cluster)
        .linger(Duration::from_secs(60))
        .build()
        .unwrap();
    let refused = PartitionError::new("t", 0, ErrorCode::INVALID_RECORD)
        .message("the batch has bad records")
        .record_error(1, Some("no key"))
        .record_error(3, None);
    cluster.fail_next(MockApi::Produce, 1, Fault::PartitionErrors(vec![refused]));
    let futures: Vec<_> = (0..5)
        .map(|index| producer.send(record(0, index.to_string())).unwrap())
        .collect();
    producer.flush(PATIENCE).unwrap();
    let errors: Vec<Error> = futures
        .into_iter()
        .map(|future| future.get(PATIENCE).unwrap_err())
        .collect();
    for error in &errors {
        assert_eq!(
            (error.kind(), error.delivery()),
            (ErrorKind::InvalidRecord, Delivery::NotWritten)
        );
        assert_eq!(error.broker_code(), Some(87));
    }
    assert_eq!(errors[1].broker_message(), Some("no key"));
    assert_eq!(
        errors[3].broker_message(),
        Some("the batch has bad records")
    );
    for innocent in [0, 2, 4] {
        assert!(
            errors[innocent].to_string().contains("other records"),
            "{}",
            errors[innocent]
        );
        assert!(
            errors[innocent].is_retriable(),
            "the broker may accept it without the other records"
        );
    }
    assert!(!errors[1].is_retriable());
    assert!(cluster.records("t", 0).is_empty());
}

#[test]
fn an_error_of_one_partition_leaves_the_others_of_its_request_alone() {
    let cluster = cluster(1, 3);
    let producer = builder(&cluster)
        .linger(Duration::from_secs(60))
        .build()
        .unwrap();
    let refused = PartitionError::new("t", 1, ErrorCode::POLICY_VIOLATION).message("not here");
    cluster.fail_next(MockApi::Produce, 1, Fault::PartitionErrors(vec![refused]));
    let futures = [0, 1, 2].map(|partition| producer.send(record(partition, "v")).unwrap());
    producer.flush(PATIENCE).unwrap();
    let [first, second, third] = futures.map(|future| future.get(PATIENCE));
    assert!(first.is_ok() && third.is_ok());
    let error = second.unwrap_err();
    assert_eq!(
        (error.broker_code(), error.broker_message()),
        (Some(44), Some("not here"))
    );
    assert_eq!(cluster.request_count(MockApi::Produce), 1);
}

#[test]
fn retries_of_zero_fail_at_the_first_error() {
    let cluster = cluster(1, 1);
    let producer = builder(&cluster).retries(0).build().unwrap();
    deliver(&producer, 0, "known").unwrap();
    for (fault, kind, delivery) in [
        (
            Fault::Error(ErrorCode::NOT_ENOUGH_REPLICAS),
            ErrorKind::Broker,
            Delivery::NotWritten,
        ),
        (
            Fault::Error(ErrorCode::REQUEST_TIMED_OUT),
            ErrorKind::Broker,
            Delivery::MaybeWritten,
        ),
        (
            Fault::Disconnect,
            ErrorKind::Network,
            Delivery::MaybeWritten,
        ),
    ] {
        let before = cluster.request_count(MockApi::Produce);
        cluster.fail_next(MockApi::Produce, 1, fault);
        let error = deliver(&producer, 0, "v").unwrap_err();
        assert_eq!(
            (error.kind(), error.delivery()),
            (kind, delivery),
            "{error}"
        );
        assert_eq!(cluster.request_count(MockApi::Produce), before + 1);
    }
}

/// The mock cluster appends the batch, and recognizes it when it comes again.
#[test]
fn a_record_that_too_few_replicas_have_is_written_when_no_retry_or_no_time_is_left() {
    let cluster = cluster(1, 1);
    let code = ErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND;
    cluster.on(MockApi::Produce, move |_| {
        Fault::PartitionErrors(vec![PartitionError::new("t", 0, code).after_append()])
    });
    let without_retry = builder(&cluster).retries(0);
    let without_time = builder(&cluster)
        .linger(Duration::ZERO)
        .request_timeout(Duration::from_millis(200))
        .delivery_timeout(Duration::from_millis(250));
    for (builder, value, kind) in [
        (without_retry, "no retry", ErrorKind::Broker),
        (without_time, "no time", ErrorKind::DeliveryTimeout),
    ] {
        let error = deliver(&builder.build().unwrap(), 0, value).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert_eq!(error.delivery(), Delivery::Written, "{error}");
        assert!(!error.is_retriable() && !error.is_fatal(), "{error}");
        assert!(error.to_string().contains("; written"), "{error}");
    }
    assert_eq!(values(&cluster, 0), ["no retry", "no time"]);
}

#[test]
fn an_error_names_the_topic_and_only_a_partition_that_was_chosen() {
    let cluster = cluster(1, 1);
    let producer = producer(&cluster);
    let too_large = || ProducerRecord::new("t", vec![0; 2 << 20]);
    let refused = producer.send(too_large()).unwrap_err();
    let error = refused.error();
    assert_eq!((error.topic(), error.partition()), (Some("t"), None));
    assert_eq!(error.topic_partition(), None);
    assert!(error.to_string().contains("(topic t)"), "{error}");

    let refused = producer.send(too_large().partition(0)).unwrap_err();
    let error = refused.error();
    assert_eq!((error.topic(), error.partition()), (Some("t"), Some(0)));
    assert!(error.to_string().contains("(t-0)"), "{error}");
}

#[test]
fn retries_are_counted_and_the_last_error_is_returned() {
    let cluster = cluster(1, 1);
    let producer = builder(&cluster).retries(3).build().unwrap();
    deliver(&producer, 0, "known").unwrap();
    cluster.on(MockApi::Produce, |_| {
        Fault::Error(ErrorCode::NOT_ENOUGH_REPLICAS)
    });
    let before = cluster.request_count(MockApi::Produce);
    let error = deliver(&producer, 0, "v").unwrap_err();
    assert_eq!(error.broker_code(), Some(19));
    assert!(error.is_retriable());
    assert_eq!(cluster.request_count(MockApi::Produce), before + 4);
}

#[test]
fn backoff_separates_the_attempts() {
    let cluster = cluster(1, 1);
    let producer = builder(&cluster)
        .retry_backoff(Duration::from_millis(50))
        .retry_backoff_max(Duration::from_millis(1000))
        .build()
        .unwrap();
    deliver(&producer, 0, "known").unwrap();
    cluster.fail_next(
        MockApi::Produce,
        3,
        Fault::Error(ErrorCode::NOT_ENOUGH_REPLICAS),
    );
    let start = Instant::now();
    deliver(&producer, 0, "v").unwrap();
    // 50, 100 and 200 ms, each at most a fifth shorter.
    assert!(
        start.elapsed() >= Duration::from_millis(280),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn garbage_instead_of_an_answer_ends_only_the_connection() {
    for corruption in CORRUPTIONS {
        let cluster = cluster(1, 1);
        let producer = builder(&cluster).request_timeout(SOON).build().unwrap();
        deliver(&producer, 0, "first").unwrap();
        for api in [MockApi::Produce, MockApi::ApiVersions, MockApi::Metadata] {
            cluster.fail_next(api, 1, Fault::Corrupt(corruption));
        }
        let second = producer.send(record(0, "second")).unwrap();
        let third = producer.send(record(0, "third")).unwrap();
        second
            .get(PATIENCE)
            .unwrap_or_else(|error| panic!("{corruption:?}: {}", with_causes(&error)));
        third.get(PATIENCE).unwrap();
        assert_eq!(
            values(&cluster, 0),
            ["first", "second", "third"],
            "{corruption:?}"
        );
    }
}

#[test]
fn endless_garbage_ends_in_an_error_that_describes_it() {
    for corruption in [
        Corruption::HugeLength,
        Corruption::ShortFrame,
        Corruption::CorrelationId,
    ] {
        let cluster = cluster(1, 1);
        let producer = builder(&cluster)
            .request_timeout(Duration::from_millis(300))
            .delivery_timeout(Duration::from_millis(600))
            .build()
            .unwrap();
        producer.partitions_for("t").unwrap();
        cluster.on(MockApi::Produce, move |_| Fault::Corrupt(corruption));
        let error = deliver(&producer, 0, "v").unwrap_err();
        assert_eq!(
            (error.kind(), error.delivery()),
            (ErrorKind::DeliveryTimeout, Delivery::MaybeWritten)
        );
        let message = with_causes(&error);
        assert!(
            message.contains("Kafka's protocol") || message.contains("answered request"),
            "{message}"
        );
    }
}

#[test]
fn with_acks_of_none_records_are_done_when_written_and_have_no_offset() {
    let cluster = cluster(1, 1);
    let producer = builder(&cluster).acks(Acks::None).build().unwrap();
    let metadata = deliver(&producer, 0, "value").unwrap();
    assert_eq!((metadata.offset(), metadata.partition()), (None, 0));
    assert_eq!(metadata.serialized_value_size(), Some(5));
    assert!(cluster.wait_until(PATIENCE, |cluster| cluster.end_offset("t", 0) == Some(1)));
    // A broker can refuse only by closing the connection; later records use a new one.
    cluster.fail_next(
        MockApi::Produce,
        1,
        Fault::Error(ErrorCode::POLICY_VIOLATION),
    );
    deliver(&producer, 0, "lost").unwrap();
    assert!(cluster.wait_until(PATIENCE, |cluster| cluster.connections(0) <= 1));
    let delivered = || {
        let _ = deliver(&producer, 0, "more");
        cluster.end_offset("t", 0) > Some(1)
    };
    crate::support::eventually("a record over a new connection", delivered);
}

#[test]
fn with_acks_of_the_leader_records_have_offsets() {
    let cluster = cluster(1, 1);
    let producer = builder(&cluster).acks(Acks::Leader).build().unwrap();
    let acks = std::sync::mpsc::channel();
    cluster.on(MockApi::Produce, move |request| {
        let _ = acks.0.send(request.acks());
        Fault::Pass
    });
    for offset in 0..3 {
        assert_eq!(deliver(&producer, 0, "v").unwrap().offset(), Some(offset));
        assert_eq!(acks.1.recv_timeout(PATIENCE), Ok(Some(1)));
    }
    assert_eq!(
        cluster.batches("t", 0)[0].producer_id,
        -1,
        "idempotence needs acks=all"
    );
}

#[test]
fn a_refused_producer_id_fails_the_records_and_is_requested_again() {
    let cluster = cluster(1, 1);
    let producer = producer(&cluster);
    for linger in ["at once", "again"] {
        cluster.fail_next(
            MockApi::InitProducerId,
            1,
            Fault::Error(ErrorCode::CLUSTER_AUTHORIZATION_FAILED),
        );
        let start = Instant::now();
        let error = deliver(&producer, 0, linger).unwrap_err();
        assert!(start.elapsed() < SOON);
        assert_eq!(
            (error.kind(), error.delivery()),
            (ErrorKind::Authorization, Delivery::NotWritten),
            "{error}"
        );
        assert_eq!(error.broker_code(), Some(31));
    }
    deliver(&producer, 0, "allowed by now").unwrap();
    assert_eq!(values(&cluster, 0), ["allowed by now"]);
}

/// Each record requests another id.
#[test]
fn a_refused_producer_id_is_requested_again_after_a_pause() {
    for code in [
        ErrorCode::CLUSTER_AUTHORIZATION_FAILED,
        ErrorCode::COORDINATOR_LOAD_IN_PROGRESS,
    ] {
        let cluster = cluster(1, 1);
        let producer = builder(&cluster)
            .retry_backoff(Duration::ZERO)
            .retry_backoff_max(Duration::ZERO)
            .build()
            .unwrap();
        cluster.on(MockApi::InitProducerId, move |_| Fault::Error(code));
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(500) {
            let future = producer.send(record(0, "v")).unwrap();
            let _ = future.get(Duration::from_millis(50));
        }
        let asked = cluster.request_count(MockApi::InitProducerId) as u128;
        // At least 20 ms between two requests.
        let most = start.elapsed().as_millis() / 20 + 2;
        assert!((2..=most).contains(&asked), "{asked} of {most} ({code})");
    }
}

#[test]
fn records_wait_for_a_producer_id_that_cannot_be_given_yet() {
    let cluster = cluster(2, 1);
    let producer = producer(&cluster);
    cluster.fail_next(
        MockApi::InitProducerId,
        2,
        Fault::Error(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS),
    );
    cluster.fail_next(MockApi::InitProducerId, 2, Fault::Disconnect);
    deliver(&producer, 0, "v").unwrap();
}

/// Bytes that were damaged on their way (CORRUPT_MESSAGE) are sent again.
#[test]
fn a_batch_damaged_on_its_way_is_sent_again() {
    let cluster = cluster(1, 1);
    let producer = producer(&cluster);
    cluster.fail_next(
        MockApi::Produce,
        1,
        Fault::Error(ErrorCode::CORRUPT_MESSAGE),
    );
    deliver(&producer, 0, "hello").unwrap();
    assert_eq!(cluster.request_count(MockApi::Produce), 2);
}

/// The times between attempts double up to the maximum, each within a fifth.
#[test]
fn an_exponential_backoff_separates_the_attempts() {
    const FAILURES: usize = 6;
    let cluster = cluster(1, 1);
    let (first, most) = (Duration::from_millis(50), Duration::from_millis(300));
    let producer = builder(&cluster)
        .retry_backoff(first)
        .retry_backoff_max(most)
        .build()
        .unwrap();
    cluster.fail_next(
        MockApi::Produce,
        FAILURES,
        Fault::Error(ErrorCode::NOT_ENOUGH_REPLICAS),
    );
    deliver(&producer, 0, "v").unwrap();
    let times: Vec<Instant> = cluster
        .requests()
        .iter()
        .filter(|request| request.api == MockApi::Produce)
        .map(|request| request.at)
        .collect();
    assert_eq!(times.len(), FAILURES + 1);
    for (failure, pair) in (0..).zip(times.windows(2)) {
        let nominal = (first * 2u32.pow(failure)).min(most);
        let waited = pair[1] - pair[0];
        assert!(waited >= nominal * 4 / 5, "after {failure}: {waited:?}");
        // A busy machine adds to this time.
        assert!(
            waited <= nominal * 6 / 5 + Duration::from_millis(400),
            "after {failure}: {waited:?}"
        );
    }
}
