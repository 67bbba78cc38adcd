//! The effect of a panic in one of the producer's threads.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::accumulator::RecordAccumulator;
use crate::metadata::MetadataCache;
use crate::threads::logging::log_line;

/// Closes the producer when one of its threads panics: it accepts no more records, and every waiter gets an error. The
/// batches of a worker that panics fail when it drops them. The other workers still deliver theirs.
pub(super) struct Panics {
    accumulator: Arc<RecordAccumulator>,
    metadata: Arc<MetadataCache>,
}

impl Panics {
    pub(super) fn new(accumulator: &Arc<RecordAccumulator>, metadata: &Arc<MetadataCache>) -> Self {
        Self {
            accumulator: Arc::clone(accumulator),
            metadata: Arc::clone(metadata),
        }
    }

    /// Runs `body`, and closes the producer if it panics. `thread` is the thread's name in the log.
    pub(super) fn watch(&self, thread: &str, body: impl FnOnce()) {
        if catch_unwind(AssertUnwindSafe(body)).is_ok() {
            return;
        }
        self.accumulator.close_after_panic();
        self.metadata.close();
        for worker in self.accumulator.workers() {
            worker.fail_abandoned_batches();
        }
        log_line!(log::Level::Error, target: "kafka_producer", "the {thread} thread panicked; the producer accepts no more records");
    }
}
