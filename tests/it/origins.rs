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

use std::path::Path;

#[test]
fn every_test_that_the_table_names_exists() {
    let names = tests_named_in(include_str!("origins.rs"));
    assert!(names.len() > 50, "{} names", names.len());
    let missing: Vec<_> = names.into_iter().filter(|name| !exists(name)).collect();
    assert!(missing.is_empty(), "{missing:#?}");
}

/// The paths of tests in the comment with which a file begins.
pub(crate) fn tests_named_in(file: &str) -> Vec<&str> {
    let names = file
        .lines()
        .take_while(|line| line.starts_with("//!"))
        .flat_map(|line| line.split('`').skip(1).step_by(2));
    names.filter(|name| is_test_path(name)).collect()
}

fn is_test_path(name: &str) -> bool {
    let first = name.split("::").next();
    name.contains("::") && matches!(first, Some("it" | "kafka" | "worker" | "unit"))
}

/// `it::FILE`, `it::FILE::TEST`, the same with `kafka` and `worker`, `unit::LAYER::MODULE` or `unit::LAYER::MODULE::TEST`. A
/// test's name may end in `*`.
pub(crate) fn exists(name: &str) -> bool {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut parts: Vec<_> = name.split("::").skip(1).collect();
    let folder = match name.split("::").next() {
        Some("it") => "tests/it",
        Some("kafka") => "tests/kafka",
        Some("worker") => "src/sender/tests",
        _ => {
            return has_unit_test(root, &parts, None) || {
                let test = parts.pop();
                has_unit_test(root, &parts, test)
            };
        }
    };
    let file = root.join(folder).join(parts[0]).with_extension("rs");
    has_test(&file, parts.get(1).copied())
}

/// Returns whether a module's own file, or the file of its tests, has the test, or any.
fn has_unit_test(root: &Path, modules: &[&str], test: Option<&str>) -> bool {
    let module = root.join("src").join(modules.join("/"));
    let files = [
        module.with_extension("rs"),
        module.join("mod.rs"),
        module.join("tests.rs"),
    ];
    files.iter().any(|file| has_test(file, test))
}

/// Returns whether a file has the test, or any.
fn has_test(file: &Path, test: Option<&str>) -> bool {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    // The tests against real Kafka are in lists.
    let is_test = |line: &str| line.contains("#[test]") || line.contains("TESTS");
    let functions = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("fn "));
    text.lines().any(is_test)
        && match test {
            None => true,
            Some(test) => {
                let is_meant = |name: &str| match test.strip_suffix('*') {
                    Some(beginning) => name.starts_with(beginning),
                    None => name == test,
                };
                let mut names = functions.filter_map(|function| function.split('(').next());
                names.any(is_meant) || text.contains(&format!("\"{test}\""))
            }
        }
}
