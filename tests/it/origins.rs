//! Where the cases of Java's and librdkafka's own tests are found here. `worker` is `src/sender/tests` (a clock set by hand
//! and a scripted network), `it` this program, `unit` the tests beside the code. Cases about transactions, metrics, old
//! message formats and consumers are left out; those of `RecordAccumulatorTest` about the partitioner are in
//! `it::partitioning`.
//!
//! # SenderTest
//!
//! | case | here |
//! |---|---|
//! | testSimple, testRetries, testNodeNotReady, testInitProducerIdRequest* | `worker::batching`, `worker::links`, `worker::idempotence` |
//! | testCanRetryWithoutIdempotence, testSendInOrder | `worker::retries::without_idempotence_*`, `worker::retries::with_one_request_in_flight_*` |
//! | testAppendInExpiryCallback | `it::deadlines::the_callback_of_an_expired_record_may_send` |
//! | testMetadataTopicExpiry | `it::topics::idle_topics_are_no_longer_requested` |
//! | testClusterAuthorizationException* | `it::errors`: the producer goes on, where Java's is dead |
//! | testIdempotenceWithMultipleInflights*, testCorrectHandlingOfOutOfOrderResponses* | `worker::in_flight`, `it::sequences::five_batches_*`, `it::sequences::the_head_*`, `it::sequences::a_batch_that_fails_for_good_*` |
//! | testEpochBumpOnOutOfOrderSequence*, testBumpEpochWhenOutOfOrderSequenceReceived | `worker::epochs`, `it::sequences::out_of_order_at_the_head_*` |
//! | testExpiryOf*, testUnresolvedSequencesAreNotFatal, testExpiredBatch*, testInflightBatchesExpireOnDeliveryTimeout, testWhenFirstBatchExpire*, testResetNextBatchExpiry, testNoDoubleDeallocation | `worker::expiry`, `it::sequences::a_batch_that_expires_in_flight_*`, `it::deadlines` |
//! | testResetOfProducerState*, testBatchesDrainedWithOldProducerId*, testRetryWhenProducerIdChanges | `worker::epochs` |
//! | testCloseWithProducerIdReset, testForceCloseWithProducerIdReset | `worker::epochs::close_waits_*`, `worker::epochs::a_forced_close_*` |
//! | testCorrectHandlingOfDuplicateSequenceError | `it::sequences::a_duplicate_among_five_*` |
//! | testIdempotentUnknownProducer*, testUnknownProducerErrorShouldBeRetried*, testShouldRaiseOutOfOrderSequence* | `it::sequences::an_unknown_producer_*`: a new epoch begins here, even if the start of the log is unknown |
//! | testSequenceNumberIncrement | `unit::identity::sequence` |
//! | testUnsupportedForMessageFormat*, testUnsupportedVersion* | `it::errors`, `it::versions` |
//! | testIdempotentSplitBatchAndSend, testTooLargeBatchesAreSafelyRemoved | `worker::batching`, `it::splitting` |
//! | testRecordErrorPropagatedToApplication | `it::errors::errors_of_single_records_*` |
//! | testSenderShouldRetryWithBackoff*, testProducerBatchRetriesWhenPartitionLeaderChanges | `worker::retries`, `it::leader_changes::a_batch_whose_leader_epoch_*` |
//! | testWhenProduceResponseReturnsWithALeaderShipChange* | `worker::retries::a_leader_that_the_answer_names_*`, `it::leader_changes::a_leader_hint_*` |
//! | testQuotaMetrics (that a client waits) | `it::timeouts`, `it::deadlines::the_longest_throttle_counts` |
//!
//! # RecordAccumulatorTest, ProducerBatchTest, BufferPoolTest
//!
//! | case | here |
//! |---|---|
//! | testFull, testLinger, testPartialDrain, testDrainBatches, testNextReadyCheckDelay, testFlush, testAwaitFlushComplete | `worker::batching` |
//! | testAppendLarge* | `it::splitting::a_record_larger_than_a_batch_*` |
//! | testStressfulSituation | `worker::handover`, `unit::accumulator::memory` |
//! | testRetryBackoff, testExponentialRetryBackoff* | `worker::retries` |
//! | testAbortIncompleteBatches | `worker::closing::a_forced_close_*`, `it::shutdown` |
//! | testExpiredBatch*, testSoonToExpire* | `worker::expiry` |
//! | testMutedPartitions | `worker::retries::with_one_request_in_flight_*`, `worker::retries::nothing_goes_*` |
//! | testSplitAndReenqueue, testSplitBatchOffAccumulator, testSplitFrequency, testSplitPreserves* | `worker::batching`, `it::splitting`, `unit::record::split` |
//! | testReadyAndDrainWhenABatchIsBeingRetried | `worker::in_flight`, `worker::retries` |
//! | testBatchCannotAbortTwice, testBatchCannotCompleteTwice | the compiler: a function that completes a batch takes it by value |
//! | BufferPoolTest | `unit::accumulator::memory`, `it::memory` |
//!
//! # librdkafka
//!
//! | test | here |
//! |---|---|
//! | 0068 | `it::deadlines::a_record_that_is_answered_too_late_*` |
//! | 0076 | `it::lost_answers::a_request_without_answer_*`, `it::errors::a_batch_damaged_on_its_way_*` |
//! | 0086 | `it::shutdown::close_at_once_*` |
//! | 0090 | `it::lost_answers::batches_that_time_out_in_the_log_*` |
//! | 0093 | `it::isolation::a_failing_broker_*` |
//! | 0094 | `it::deadlines::a_stream_survives_*` |
//! | 0117 | `worker::retries::a_leader_whose_disk_failed_*`, `it::leader_changes::a_leader_whose_disk_fails_*` |
//! | 0143 | `it::errors::an_exponential_backoff_separates_the_attempts` |
//! | 0144 (issue 3584) | `it::lost_answers::maybe_written_batches_*`, `it::lost_answers::a_duplicate_after_*`, `it::lost_answers::a_batch_that_was_appended_*` |
//! | 0146 | `it::leader_changes`, `it::recreated_topics` |

use std::path::{Path, PathBuf};

#[test]
fn every_test_that_the_table_names_exists() {
    let names = include_str!("origins.rs")
        .lines()
        .take_while(|line| line.starts_with("//!"))
        .flat_map(|line| line.split('`').skip(1).step_by(2));
    let names: Vec<&str> = names.filter(|name| is_test_path(name)).collect();
    assert!(names.len() > 50, "{} names", names.len());
    let missing: Vec<_> = names.into_iter().filter(|name| !exists(name)).collect();
    assert!(missing.is_empty(), "{missing:#?}");
}

fn is_test_path(name: &str) -> bool {
    let first = name.split("::").next();
    name.contains("::") && matches!(first, Some("it" | "worker" | "unit"))
}

/// `it::FILE`, `it::FILE::TEST`, the same with `worker`, or `unit::LAYER::MODULE`. A test's name may end in `*`.
fn exists(name: &str) -> bool {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut parts = name.split("::");
    let folder = match parts.next() {
        Some("it") => "tests/it",
        Some("worker") => "src/sender/tests",
        _ => return unit_test_file(root, parts.collect()).is_some(),
    };
    let file = parts.next().expect("the name of a file");
    let Ok(text) = std::fs::read_to_string(root.join(folder).join(file).with_extension("rs"))
    else {
        return false;
    };
    match parts.next() {
        None => text.contains("#[test]"),
        Some(test) => text.contains(&match test.strip_suffix('*') {
            Some(beginning) => format!("\nfn {beginning}"),
            None => format!("\nfn {test}("),
        }),
    }
}

/// A module's own file with tests, or the file of its tests.
fn unit_test_file(root: &Path, modules: Vec<&str>) -> Option<PathBuf> {
    let module = root.join("src").join(modules.join("/"));
    let files = [
        module.with_extension("rs"),
        module.join("mod.rs"),
        module.join("tests.rs"),
    ];
    files.into_iter().find(|file| {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        text.contains("#[test]")
    })
}
