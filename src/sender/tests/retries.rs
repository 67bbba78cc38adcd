//! Which batches are sent again, when, and to which broker.

use crate::error::{Delivery, ErrorKind};
use crate::protocol::ErrorCode;
use crate::protocol::messages::{
    LeaderIdAndEpoch, NodeEndpoint, ProducePartitionResponse, ProduceResponse,
    ProduceTopicResponse, RecordError,
};
use crate::sender::scripted::{Harness, MS, Sent, TOPIC, encode, refused, written};

#[test]
fn the_wait_before_a_retry_doubles_up_to_its_maximum() {
    let mut worker = Harness::new(|settings| settings.sender.topics.delivery_timeout = 60_000 * MS);
    worker.send_batch(0, "a");
    let mut request = worker.request();
    for nominal in [100, 200, 400, 800, 1000, 1000] {
        worker.refuse(&request, ErrorCode::NOT_ENOUGH_REPLICAS);
        let wait = worker.run().expect("a deadline") - worker.now;
        assert!(
            wait >= nominal * 4 * MS / 5 && wait <= nominal * 6 * MS / 5,
            "{wait:?}"
        );
        worker.advance(wait);
        request = worker.request();
    }
}

#[test]
fn a_round_just_before_the_end_of_the_wait_leaves_the_worker_idle() {
    let mut worker = Harness::new(|settings| settings.partitions = 2);
    worker.send_batch(0, "a");
    let request = worker.request();
    worker.refuse(&request, ErrorCode::NOT_ENOUGH_REPLICAS);
    let wait = worker.run().expect("a deadline") - worker.now;
    worker.advance(wait - MS / 2);
    worker.send_batch(1, "b");
    worker.run();
    worker.advance(MS / 2);
    worker.run();
    assert_eq!(worker.requests().len(), 2);
}

#[test]
fn a_batch_is_sent_no_more_often_than_retries_allow() {
    let mut worker = Harness::new(|settings| settings.sender.retries = 1);
    let ticket = worker.send_batch(0, "a");
    let request = worker.request();
    worker.refuse(&request, ErrorCode::NOT_ENOUGH_REPLICAS);
    worker.run_for(200 * MS);
    let request = worker.requests().remove(0);
    worker.refuse(&request, ErrorCode::REQUEST_TIMED_OUT);
    let error = ticket.error();
    assert_eq!(error.broker_error_name(), Some("REQUEST_TIMED_OUT"));
    assert_eq!(error.delivery(), Delivery::MaybeWritten);
}

#[test]
fn errors_that_no_retry_cures_fail_at_once() {
    for (code, kind) in [
        (
            ErrorCode::TOPIC_AUTHORIZATION_FAILED,
            ErrorKind::Authorization,
        ),
        (ErrorCode::INVALID_TOPIC_EXCEPTION, ErrorKind::InvalidTopic),
        (ErrorCode::RECORD_LIST_TOO_LARGE, ErrorKind::RecordTooLarge),
        (ErrorCode::INVALID_TIMESTAMP, ErrorKind::InvalidRecord),
        (ErrorCode::POLICY_VIOLATION, ErrorKind::Broker),
    ] {
        let mut worker = Harness::new(|_| {});
        let ticket = worker.send_batch(0, "a");
        let request = worker.request();
        worker.refuse(&request, code);
        assert_eq!(ticket.error().kind(), kind, "{code:?}");
        assert_eq!(ticket.error().broker_code(), Some(code.code()));
    }
}

/// Java: `UnknownServerException`. Such a code comes from a later Kafka; whether it means a lasting state is unknown.
#[test]
fn a_batch_with_an_unknown_error_code_fails_alone() {
    for idempotence in [false, true] {
        let mut worker = Harness::new(|settings| {
            settings.partitions = 3;
            settings.sender.idempotence = idempotence;
        });
        let tickets = [worker.send_batch(0, "a"), worker.send_batch(1, "b")];
        let both = worker.request();
        let later = worker.send_batch(2, "c");
        let second = worker.request();
        let mut answers = worker.append(&both).into_iter();
        worker.answer(&both, |batch| match answers.next().unwrap() {
            _ if batch.partition == 0 => refused(ErrorCode::from(12345)),
            answer => answer,
        });
        let error = tickets[0].error();
        assert_eq!(
            (error.kind(), error.broker_code()),
            (ErrorKind::Broker, Some(12345))
        );
        assert_eq!(error.delivery(), Delivery::MaybeWritten);
        assert!(!error.is_retriable());
        assert_eq!(tickets[1].offset(), Some(0));
        worker.serve(&second);
        assert_eq!(later.offset(), Some(0));
        worker.run_for(2000 * MS);
        assert!(worker.requests().is_empty() && worker.network().closed.is_empty());
        let next = worker.send_batch(0, "d");
        let request = worker.request();
        worker.serve(&request);
        assert!(next.result().unwrap().is_ok());
    }
}

/// The leader has the batch, even if the replicas never get it.
#[test]
fn a_batch_that_the_leader_appended_and_too_few_replicas_have_is_written_if_there_is_no_retry() {
    let appended = ErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND;
    let mut worker = Harness::new(|settings| settings.sender.retries = 1);
    let ticket = worker.send_batch(0, "a");
    let request = worker.request();
    worker.refuse(&request, appended);
    worker.run_for(200 * MS);
    let request = worker.requests().remove(0);
    worker.refuse(&request, appended);
    let error = ticket.error();
    assert_eq!(error.delivery(), Delivery::Written);
    assert!(!error.is_retriable());
    assert!(
        error
            .to_string()
            .contains("; written; do not send it again"),
        "{error}"
    );
}

#[test]
fn a_batch_that_was_appended_is_written_if_it_expires_and_maybe_if_it_was_sent_again_since() {
    for is_sent_again in [false, true] {
        let mut worker = Harness::new(|settings| {
            settings.sender.topics.delivery_timeout = 1000 * MS;
            settings.sender.request_timeout = 5000 * MS;
        });
        let ticket = worker.send_batch(0, "a");
        let request = worker.request();
        if !is_sent_again {
            worker.run_for(950 * MS);
        }
        worker.refuse(&request, ErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND);
        worker.run_for(1000 * MS);
        assert_eq!(worker.requests().len(), usize::from(is_sent_again));
        let error = ticket.error();
        assert_eq!(error.kind(), ErrorKind::DeliveryTimeout);
        let fate = match is_sent_again {
            true => Delivery::MaybeWritten,
            false => Delivery::Written,
        };
        assert_eq!(error.delivery(), fate);
        assert_eq!(error.is_retriable(), is_sent_again);
    }
}

#[test]
fn a_refused_record_gets_its_own_error_and_its_neighbours_theirs() {
    let mut worker = Harness::new(|_| {});
    let tickets = ["a", "b", "c"].map(|value| worker.send(0, value));
    worker.advance(10 * MS);
    let request = worker.request();
    worker.answer(&request, |_| ProducePartitionResponse {
        record_errors: vec![RecordError {
            batch_index: 1,
            message: Some("no key".into()),
        }],
        ..refused(ErrorCode::INVALID_RECORD)
    });
    assert_eq!(tickets[1].error().broker_message(), Some("no key"));
    assert!(!tickets[1].error().is_retriable());
    for innocent in [0, 2] {
        assert!(tickets[innocent].error().is_retriable());
    }
}

#[test]
fn the_first_error_of_a_record_counts_and_errors_of_missing_records_are_ignored() {
    let mut worker = Harness::new(|_| {});
    let tickets = ["a", "b"].map(|value| worker.send(0, value));
    worker.advance(10 * MS);
    let request = worker.request();
    let fault = |batch_index, message: &str| RecordError {
        batch_index,
        message: Some(message.into()),
    };
    worker.answer(&request, |_| ProducePartitionResponse {
        record_errors: vec![
            fault(1, "no key"),
            fault(-1, "before"),
            fault(2, "behind"),
            fault(1, "again"),
            fault(i32::MAX, "far behind"),
        ],
        ..refused(ErrorCode::INVALID_RECORD)
    });
    assert_eq!(tickets[1].error().broker_message(), Some("no key"));
    assert_eq!(tickets[0].error().broker_message(), None);
}

#[test]
fn stale_metadata_is_refreshed_and_a_new_leader_tried_without_waiting() {
    let mut worker = Harness::new(|settings| settings.brokers = 2);
    let ticket = worker.send_batch(0, "a");
    let request = worker.request();
    worker.move_leader(0, Some(2));
    worker.serve(&request);
    assert!(worker.refresh_is_requested());
    worker.no_request();
    worker.publish();
    let again = worker.request();
    assert_eq!(again.broker, 2);
    worker.serve(&again);
    assert_eq!(ticket.offset(), Some(0));
}

#[test]
fn a_leader_that_the_answer_names_is_tried_at_once() {
    let mut worker = Harness::new(|settings| settings.brokers = 2);
    worker.send_batch(0, "a");
    let request = worker.request();
    let response = ProduceResponse {
        topics: vec![ProduceTopicResponse {
            name: TOPIC.into(),
            partitions: vec![ProducePartitionResponse {
                current_leader: LeaderIdAndEpoch {
                    leader_id: 7,
                    leader_epoch: 2,
                },
                ..refused(ErrorCode::NOT_LEADER_OR_FOLLOWER)
            }],
            ..ProduceTopicResponse::default()
        }],
        node_endpoints: vec![NodeEndpoint {
            node_id: 7,
            host: "broker-7".into(),
            port: 9092,
            rack: None,
        }],
        ..ProduceResponse::default()
    };
    worker.answer_with(&request, &response);
    assert_eq!(worker.requests()[0].broker, 7);
}

#[test]
fn nothing_goes_to_a_new_leader_while_the_old_one_owes_answers() {
    let mut worker = Harness::new(|settings| settings.brokers = 2);
    worker.send_batch(0, "0");
    let request = worker.request();
    worker.serve(&request);
    worker.send_batch(0, "a");
    let old = worker.request();
    worker.move_leader(0, Some(2));
    worker.publish();
    worker.send_batch(0, "b");
    worker.no_request();
    worker.serve(&old);
    let new = worker.requests().remove(0);
    assert_eq!((new.broker, new.values()[0].as_bytes()[0]), (2, b'a'));
}

#[test]
fn a_partition_leaves_the_ready_queue_of_an_unreachable_broker_when_its_leader_moves() {
    let mut worker = Harness::new(|settings| {
        settings.brokers = 2;
        settings.connects = false;
    });
    worker.send_batch(0, "a");
    worker.run();
    worker.network().connects = true;
    worker.move_leader(0, Some(2));
    worker.publish();
    assert_eq!(worker.request().broker, 2);
}

#[test]
fn a_partition_without_a_leader_waits_and_asks() {
    let mut worker = Harness::new(|_| {});
    worker.move_leader(0, None);
    worker.publish();
    worker.send_batch(0, "a");
    worker.no_request();
    assert!(worker.refresh_is_requested());
    worker.move_leader(0, Some(1));
    worker.publish();
    assert_eq!(worker.request().batches.len(), 1);
}

#[test]
fn a_topic_that_has_just_become_known_is_not_requested_again() {
    let mut worker = Harness::new(|_| {});
    // The worker has not read the first metadata snapshot yet.
    worker.send_batch(0, "a");
    assert_eq!(worker.request().batches.len(), 1);
    assert!(!worker.pending_requests().any() && !worker.requests_identity());
}

#[test]
fn an_answer_that_omits_a_partition_is_no_success() {
    let mut worker = Harness::new(|settings| settings.partitions = 2);
    let tickets = [worker.send_batch(0, "a"), worker.send_batch(1, "b")];
    let request = worker.request();
    let response = ProduceResponse {
        topics: vec![ProduceTopicResponse {
            name: TOPIC.into(),
            partitions: vec![
                ProducePartitionResponse {
                    index: 1,
                    ..written(5)
                },
                // A partition that was not in the request, and the same one twice.
                ProducePartitionResponse {
                    index: 7,
                    ..written(6)
                },
                ProducePartitionResponse {
                    index: 1,
                    ..refused(ErrorCode::INVALID_RECORD)
                },
            ],
            ..ProduceTopicResponse::default()
        }],
        ..ProduceResponse::default()
    };
    worker.answer_with(&request, &response);
    assert_eq!(tickets[1].offset(), Some(5));
    assert!(tickets[0].result().is_none());
    worker.run_for(200 * MS);
    assert_eq!(worker.requests().remove(0).batch().partition, 0);
}

#[test]
fn garbage_ends_the_connection_and_the_batch_is_sent_again() {
    let garbage: [fn(&crate::sender::scripted::Sent) -> Vec<u8>; 3] = [
        |_| vec![],
        |_| vec![0xff; 40],
        |sent| {
            let mut other = sent.clone();
            other.correlation_id += 1;
            encode(&other, &ProduceResponse::default())
        },
    ];
    for garble in garbage {
        let mut worker = Harness::new(|_| {});
        worker.send_batch(0, "a");
        let request = worker.request();
        worker.frame(request.link, garble(&request));
        assert_eq!(worker.network().closed, [request.link]);
        worker.run_for(500 * MS);
        let again = worker.requests().remove(0);
        assert_eq!(again.batch(), request.batch());
    }
}

#[test]
fn an_answer_to_nothing_ends_the_connection() {
    let mut worker = Harness::new(|_| {});
    worker.send_batch(0, "a");
    let request = worker.request();
    worker.serve(&request);
    worker.serve(&request);
    assert_eq!(worker.network().closed, [request.link]);
}

#[test]
fn an_offset_at_the_end_of_the_range_is_no_panic() {
    let mut worker = Harness::new(|_| {});
    let tickets = ["a", "b"].map(|value| worker.send(0, value));
    worker.advance(10 * MS);
    let request = worker.request();
    worker.answer(&request, |_| written(i64::MAX));
    assert_eq!(tickets[0].offset(), Some(i64::MAX));
    assert_eq!(tickets[1].offset(), None);
}

#[test]
fn with_throttling_nothing_is_sent_for_the_time_that_the_broker_gave() {
    let mut worker = Harness::new(|settings| {
        settings.partitions = 8;
        settings.sender.max_in_flight = 2;
        settings.sender.max_request_size = 1000;
    });
    worker.send_batch(0, "a");
    let first = worker.request();
    worker.send_batch(1, "b");
    let second = worker.request();
    let response = ProduceResponse {
        topics: vec![ProduceTopicResponse {
            name: TOPIC.into(),
            partitions: vec![written(0)],
            ..ProduceTopicResponse::default()
        }],
        throttle_time_ms: 700,
        ..ProduceResponse::default()
    };
    worker.answer_with(&first, &response);
    worker.send_batch(2, "c");
    worker.no_request();
    worker.run_for(699 * MS);
    assert!(worker.requests().is_empty());
    worker.run_for(MS);
    assert_eq!(worker.requests().len(), 1);
    // The answer to the request in flight may take longer by the same time.
    worker.run_for(900 * MS);
    assert!(worker.network().closed.is_empty());
    worker.serve(&second);
    // The connection has no room and a partition waits in the ready queue: the worker still sleeps.
    for partition in 3..8 {
        worker.send_batch(partition, "d");
    }
    let due = worker.run().expect("a deadline");
    assert!(due > worker.now);
}

/// Java: `ClusterConnectionStates.throttle`. A later answer can give less time than remains from an earlier one.
#[test]
fn throttling_is_never_cut_short_by_a_later_answer() {
    let mut worker = Harness::new(|settings| settings.partitions = 3);
    worker.send_batch(0, "a");
    let first = worker.request();
    worker.send_batch(1, "b");
    let second = worker.request();
    throttle(&mut worker, &first, 700);
    throttle(&mut worker, &second, 10);
    worker.send_batch(2, "c");
    worker.run_for(699 * MS);
    assert!(worker.requests().is_empty());
    worker.run_for(MS);
    assert_eq!(worker.requests().len(), 1);
}

/// Java: `InFlightRequests.incrementThrottleTime`. A broker that throttles does not read, so a request that is half
/// written stays so in that time.
#[test]
fn a_write_that_stalls_while_the_broker_throttles_has_more_time() {
    let mut worker = Harness::new(|settings| settings.partitions = 2);
    worker.send_batch(0, "a");
    let first = worker.request();
    worker.network().stalls = true;
    worker.send_batch(1, "b");
    let second = worker.request();
    throttle(&mut worker, &first, 3000);
    worker.run_for(3900 * MS);
    assert!(worker.network().closed.is_empty());
    worker.finish_write(second.link);
    worker.serve(&second);
    assert!(worker.network().closed.is_empty());
    assert_eq!(worker.memory_in_use(), 0);
}

/// Returns the answer of a broker that wrote the batch at the beginning of the log and throttles for the given time.
fn throttle(worker: &mut Harness, request: &Sent, throttle_time_ms: i32) {
    let partitions = vec![ProducePartitionResponse {
        index: request.batch().partition,
        ..written(0)
    }];
    let response = ProduceResponse {
        topics: vec![ProduceTopicResponse {
            name: TOPIC.into(),
            partitions,
            ..ProduceTopicResponse::default()
        }],
        throttle_time_ms,
        ..ProduceResponse::default()
    };
    worker.answer_with(request, &response);
}

/// SenderTest.testProducerBatchRetriesWhenPartitionLeaderChanges,
/// RecordAccumulatorTest.testExponentialRetryBackoffLeaderChange.
#[test]
fn the_same_broker_under_a_new_leader_epoch_is_tried_at_once_and_waited_for_when_that_fails_too() {
    let mut worker = Harness::new(|_| {});
    let ticket = worker.send_batch(0, "a");
    let request = worker.request();
    worker.refuse(&request, ErrorCode::NOT_LEADER_OR_FOLLOWER);
    worker.no_request();
    worker.move_leader(0, Some(1));
    worker.publish();
    let again = worker.request();
    worker.refuse(&again, ErrorCode::NOT_LEADER_OR_FOLLOWER);
    // Publishing the same metadata again names no new leader.
    worker.publish();
    worker.run_for(150 * MS);
    assert!(worker.requests().is_empty());
    worker.run_for(100 * MS);
    let last = worker.requests().remove(0);
    worker.serve(&last);
    assert_eq!(ticket.offset(), Some(0));
}

/// RecordAccumulatorTest.testRetryBackoff.
#[test]
fn a_partition_that_waits_for_its_retry_delays_no_other() {
    let mut worker = Harness::new(|settings| settings.partitions = 2);
    worker.send_batch(0, "a");
    let request = worker.request();
    worker.refuse(&request, ErrorCode::NOT_ENOUGH_REPLICAS);
    worker.send_batch(1, "b");
    assert_eq!(worker.request().batch().partition, 1);
    worker.run_for(200 * MS);
    assert_eq!(worker.requests().remove(0).batch().partition, 0);
}

/// SenderTest.testSendInOrder: one request in flight keeps the order without idempotence, over a change of leader too.
#[test]
fn with_one_request_in_flight_nothing_overtakes_when_the_leader_moves() {
    let mut worker = Harness::new(|settings| {
        settings.brokers = 2;
        settings.sender.max_in_flight = 1;
        settings.sender.idempotence = false;
    });
    worker.send_batch(0, "a");
    let first = worker.request();
    worker.send_batch(0, "b");
    worker.move_leader(0, Some(2));
    worker.publish();
    worker.no_request();
    worker.serve(&first);
    let again = worker.requests().remove(0);
    assert_eq!((again.broker, &again.values()[0][..1]), (2, "a"));
    worker.no_request();
    worker.serve(&again);
    let second = worker.requests().remove(0);
    worker.serve(&second);
    let log: String = worker.log(0).iter().map(|value| &value[..1]).collect();
    assert_eq!(log, "ab");
}

/// SenderTest.testCanRetryWithoutIdempotence.
#[test]
fn without_idempotence_a_record_is_sent_again_too() {
    let mut worker = Harness::new(|settings| settings.sender.idempotence = false);
    let ticket = worker.send_batch(0, "a");
    let request = worker.request();
    worker.refuse(&request, ErrorCode::LEADER_NOT_AVAILABLE);
    assert!(worker.refresh_is_requested() && ticket.result().is_none());
    worker.run_for(200 * MS);
    let again = worker.requests().remove(0);
    worker.serve(&again);
    assert_eq!(ticket.offset(), Some(0));
}

/// librdkafka 0117 and 0146: a disk failed. The next leader may have the batch or not, so it is maybe written.
#[test]
fn a_leader_whose_disk_failed_is_asked_about_and_tried_again() {
    let mut worker = Harness::new(|settings| settings.brokers = 2);
    let ticket = worker.send_batch(0, "a");
    let request = worker.request();
    worker.refuse(&request, ErrorCode::KAFKA_STORAGE_ERROR);
    assert!(worker.refresh_is_requested());
    worker.move_leader(0, Some(2));
    worker.publish();
    let again = worker.request();
    assert_eq!((again.broker, again.batch()), (2, request.batch()));
    worker.serve(&again);
    assert_eq!(ticket.offset(), Some(0));

    let mut worker = Harness::new(|settings| settings.sender.retries = 0);
    let ticket = worker.send_batch(0, "a");
    let request = worker.request();
    worker.refuse(&request, ErrorCode::KAFKA_STORAGE_ERROR);
    assert_eq!(ticket.error().delivery(), Delivery::MaybeWritten);
}
