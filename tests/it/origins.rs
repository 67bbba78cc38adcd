//! Where the cases of Java's and librdkafka's own tests are found here. "Worker" is `src/sender/tests` (a clock set by hand
//! and a scripted network), "it" this program, "unit" the tests beside the code. Cases about transactions, metrics, old
//! message formats and consumers are left out; those of `RecordAccumulatorTest` about the partitioner are in
//! `it::partitioning`.
//!
//! # SenderTest
//!
//! | case | here |
//! |---|---|
//! | testSimple, testRetries, testNodeNotReady, testInitProducerIdRequest* | worker `batching`, `links`, `identity` tests of `idempotence` |
//! | testCanRetryWithoutIdempotence, testSendInOrder | worker `retries::without_idempotence_*`, `with_one_request_in_flight_*` |
//! | testAppendInExpiryCallback | `it::rules_time::the_callback_of_an_expired_record_may_send` |
//! | testMetadataTopicExpiry | `it::leaders::idle_topics_are_no_longer_asked_for` |
//! | testClusterAuthorizationException* | `it::errors`: the producer goes on, where Java's is dead |
//! | testIdempotenceWithMultipleInflights*, testCorrectHandlingOfOutOfOrderResponses* | worker `in_flight`, `it::rules_sequences::five_batches_*`, `the_head_*`, `a_batch_that_fails_for_good_*` |
//! | testEpochBumpOnOutOfOrderSequence*, testBumpEpochWhenOutOfOrderSequenceReceived | worker `epochs`, `it::rules_sequences::out_of_order_at_the_head_*` |
//! | testExpiryOf*, testUnresolvedSequencesAreNotFatal, testExpiredBatch*, testInflightBatchesExpireOnDeliveryTimeout, testWhenFirstBatchExpire*, testResetNextBatchExpiry, testNoDoubleDeallocation | worker `expiry`, `it::rules_sequences::a_batch_that_expires_in_flight_*`, `it::rules_time` |
//! | testResetOfProducerState*, testBatchesDrainedWithOldProducerId*, testRetryWhenProducerIdChanges | worker `epochs` |
//! | testCloseWithProducerIdReset, testForceCloseWithProducerIdReset | worker `epochs::close_waits_*`, `a_forced_close_*` |
//! | testCorrectHandlingOfDuplicateSequenceError | `it::rules_sequences::a_duplicate_among_five_*` |
//! | testIdempotentUnknownProducer*, testUnknownProducerErrorShouldBeRetried*, testShouldRaiseOutOfOrderSequence* | `it::rules_sequences::an_unknown_producer_*`: with an unknown log start, too, here a new epoch begins |
//! | testSequenceNumberIncrement | unit `accumulator::sequence` |
//! | testUnsupportedForMessageFormat*, testUnsupportedVersion* | `it::errors`, `it::versions` |
//! | testIdempotentSplitBatchAndSend, testTooLargeBatchesAreSafelyRemoved | worker `batching`, `it::splitting` |
//! | testRecordErrorPropagatedToApplication | `it::errors::errors_of_single_records_*` |
//! | testSenderShouldRetryWithBackoff*, testProducerBatchRetriesWhenPartitionLeaderChanges | worker `retries`, `it::rules_leaders::a_batch_whose_leader_epoch_*` |
//! | testWhenProduceResponseReturnsWithALeaderShipChange* | worker `retries::a_leader_that_the_answer_names_*`, `it::rules_leaders::a_leader_hint_*` |
//! | testQuotaMetrics (that a client waits) | `it::timeouts`, `it::rules_time::the_longest_throttling_counts` |
//!
//! # RecordAccumulatorTest, ProducerBatchTest, BufferPoolTest
//!
//! | case | here |
//! |---|---|
//! | testFull, testLinger, testPartialDrain, testDrainBatches, testNextReadyCheckDelay, testFlush, testAwaitFlushComplete | worker `batching` |
//! | testAppendLarge* | `it::splitting::a_record_larger_than_a_batch_*` |
//! | testStressfulSituation | worker `handover`, unit `accumulator::memory` |
//! | testRetryBackoff, testExponentialRetryBackoff* | worker `retries` |
//! | testAbortIncompleteBatches | worker `closing::a_forced_close_*`, `it::shutdown` |
//! | testExpiredBatch*, testSoonToExpire* | worker `expiry` |
//! | testMutedPartitions | worker `retries::with_one_request_in_flight_*`, `it::rules_leaders::nothing_goes_*` |
//! | testSplitAndReenqueue, testSplitBatchOffAccumulator, testSplitFrequency, testSplitPreserves* | worker `batching`, `it::splitting`, unit `record::split` |
//! | testReadyAndDrainWhenABatchIsBeingRetried | worker `in_flight`, `retries` |
//! | testBatchCannotAbortTwice, testBatchCannotCompleteTwice | a batch is consumed by what settles it |
//! | BufferPoolTest | unit `accumulator::memory`, `it::memory` |
//!
//! # librdkafka
//!
//! | test | here |
//! |---|---|
//! | 0068, 0076, 0086, 0090, 0093, 0094, 0143, 0144 | `it::librdkafka` |
//! | 0117 | worker `retries::a_leader_whose_disk_failed_*`, `it::rules_leaders::a_leader_whose_disk_fails_*` |
//! | 0146 | `it::rules_leaders` |
