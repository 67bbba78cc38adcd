//! What the broker keeps of its partitions: an offset each and, on demand, sequences.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

/// Every topic exists.
pub(super) struct Topics {
    default_partitions: i32,
    by_name: Mutex<HashMap<Vec<u8>, Arc<[Log]>>>,
}

#[derive(Default)]
pub(super) struct Log {
    end_offset: AtomicI64,
    /// By producer id and epoch; empty unless batches are verified.
    next_sequence: Mutex<HashMap<(i64, i16), i32>>,
}

impl Topics {
    pub(super) fn new(default_partitions: i32) -> Self {
        Self {
            default_partitions,
            by_name: Mutex::default(),
        }
    }

    /// A topic whose name ends in a hyphen and a number has that number of partitions.
    pub(super) fn partitions(&self, name: &[u8]) -> i32 {
        std::str::from_utf8(name)
            .ok()
            .and_then(|name| name.rsplit_once('-')?.1.parse().ok())
            .unwrap_or(self.default_partitions)
    }

    pub(super) fn get(&self, name: &[u8]) -> Arc<[Log]> {
        let mut by_name = self.by_name.lock().unwrap();
        if let Some(logs) = by_name.get(name) {
            return Arc::clone(logs);
        }
        let logs: Arc<[Log]> = (0..self.partitions(name)).map(|_| Log::default()).collect();
        by_name.insert(name.to_vec(), Arc::clone(&logs));
        logs
    }
}

impl Log {
    /// Returns the base offset.
    pub(super) fn append(&self, records: i32) -> i64 {
        self.end_offset
            .fetch_add(i64::from(records), Ordering::Relaxed)
    }

    /// Returns 0 or Kafka's error code for the batch, or `None` if it is no batch.
    pub(super) fn verify(&self, batch: &[u8]) -> Option<i16> {
        let crc = u32::from_be_bytes(*batch.get(17..)?.first_chunk()?);
        if crc != crc32c::crc32c(batch.get(21..)?) {
            return Some(CORRUPT_MESSAGE);
        }
        let producer_id = i64::from_be_bytes(*batch.get(43..)?.first_chunk()?);
        let epoch = i16::from_be_bytes(*batch.get(51..)?.first_chunk()?);
        let sequence = i32::from_be_bytes(*batch.get(53..)?.first_chunk()?);
        if producer_id < 0 {
            return Some(0);
        }
        let mut next_sequence = self.next_sequence.lock().unwrap();
        let next = next_sequence.entry((producer_id, epoch)).or_insert(0);
        if sequence != *next {
            return Some(OUT_OF_ORDER_SEQUENCE_NUMBER);
        }
        *next = sequence.wrapping_add(record_count(batch)?) & i32::MAX;
        Some(0)
    }
}

/// The part of a batch's header that [`record_count`] reads.
pub(super) const BATCH_HEADER_BYTES: usize = 61;

pub(super) fn record_count(batch: &[u8]) -> Option<i32> {
    batch
        .get(57..)?
        .first_chunk()
        .copied()
        .map(i32::from_be_bytes)
}

const CORRUPT_MESSAGE: i16 = 2;
const OUT_OF_ORDER_SEQUENCE_NUMBER: i16 = 45;
