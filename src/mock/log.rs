//! A partition's log: offsets, batches, and the sequence numbers of idempotent producers.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::batch::CheckedBatch;
use crate::ErrorCode;
use crate::record::compression::CompressionType;
use crate::record::decode;
use crate::record::header::{BatchHeader, ProducerStamp};
use crate::time::wall_clock_ms;

/// A record as a consumer gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MockRecord {
    /// The offset in the partition.
    pub offset: i64,
    /// The timestamp in milliseconds since 1970: the producer's, or the broker's if the topic uses the time of the append.
    pub timestamp: i64,
    /// The key; `None` if the record has no key.
    pub key: Option<Vec<u8>>,
    /// The value; `None` for a tombstone.
    pub value: Option<Vec<u8>>,
    /// The headers, in order.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

/// A batch as the broker stored it. Producer id, epoch and sequence are those in its header, where -1 means none.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct MockBatch {
    /// The offset of the first record.
    pub base_offset: i64,
    /// The number of records.
    pub records_count: i32,
    /// The producer's id; -1 without idempotence.
    pub producer_id: i64,
    /// The producer's epoch; -1 without idempotence.
    pub producer_epoch: i16,
    /// The sequence number of the first record; -1 without idempotence.
    pub base_sequence: i32,
    /// The codec of the records.
    pub compression: CompressionType,
    /// The whole batch, header included, with the offset that the broker gave it.
    pub bytes: Arc<[u8]>,
}

impl MockBatch {
    /// Returns the records. Empty if the batch cannot be read, which is possible only if checks are off.
    pub fn records(&self) -> Vec<MockRecord> {
        let batches = decode::batches(&self.bytes).filter_map(Result::ok);
        let records = batches.filter_map(|batch| batch.records(MAX_DECOMPRESSED_BYTES).ok());
        records.flatten().map(MockRecord::from).collect()
    }
}

impl From<decode::Record> for MockRecord {
    fn from(record: decode::Record) -> Self {
        let decode::Record {
            offset,
            timestamp,
            key,
            value,
            headers,
        } = record;
        Self {
            offset,
            timestamp,
            key,
            value,
            headers,
        }
    }
}

/// The largest size that one batch may decompress to.
pub(super) const MAX_DECOMPRESSED_BYTES: usize = 256 << 20;

#[derive(Default)]
pub(super) struct PartitionLog {
    start_offset: i64,
    end_offset: i64,
    batches: Vec<MockBatch>,
    producers: HashMap<i64, ProducerState>,
}

/// The position of an accepted batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Appended {
    pub(super) base_offset: i64,
    /// -1 if the topic keeps the producer's timestamps.
    pub(super) log_append_time_ms: i64,
}

/// The rules for an append that do not depend on the batch.
#[derive(Clone, Copy)]
pub(super) struct AppendRules {
    pub(super) leader_epoch: i32,
    pub(super) log_append_time: bool,
    /// A producer that the log does not know must begin at sequence 0.
    pub(super) refuse_unknown_producers: bool,
}

impl PartitionLog {
    pub(super) fn start_offset(&self) -> i64 {
        self.start_offset
    }

    pub(super) fn end_offset(&self) -> i64 {
        self.end_offset
    }

    pub(super) fn batches(&self) -> Vec<MockBatch> {
        self.batches.clone()
    }

    /// Deletes the batches that end before `offset`. With `forget_producers`, forgets the producers of which no record is
    /// left, as older brokers did.
    pub(super) fn delete_records(&mut self, offset: i64, forget_producers: bool) {
        self.start_offset = self.start_offset.max(offset);
        let start = self.start_offset;
        let ends_after_start =
            |base_offset: i64, records_count: i32| base_offset + i64::from(records_count) > start;
        self.batches
            .retain(|batch| ends_after_start(batch.base_offset, batch.records_count));
        if forget_producers {
            self.producers.retain(|_, producer| {
                producer.last_batches.back().is_some_and(|batch| {
                    ends_after_start(batch.appended.base_offset, batch.records_count)
                })
            });
        }
    }

    pub(super) fn forget_producers(&mut self) {
        self.producers.clear();
    }

    /// Appends a batch. If the log has the batch already, returns the outcome of its first append.
    pub(super) fn append(
        &mut self,
        mut batch: CheckedBatch,
        rules: AppendRules,
    ) -> Result<Appended, ErrorCode> {
        let AppendRules {
            leader_epoch,
            log_append_time,
            refuse_unknown_producers,
        } = rules;
        let BatchHeader {
            producer,
            records_count,
            attributes,
            ..
        } = batch.header;
        let is_unknown =
            producer.producer_id >= 0 && !self.producers.contains_key(&producer.producer_id);
        if refuse_unknown_producers && is_unknown && producer.base_sequence != 0 {
            return Err(ErrorCode::UNKNOWN_PRODUCER_ID);
        }
        if let Some(duplicate) = self.check_sequence(producer, records_count)? {
            return Ok(duplicate);
        }
        let log_append_time_ms = if log_append_time { wall_clock_ms() } else { -1 };
        let appended = Appended {
            base_offset: self.end_offset,
            log_append_time_ms,
        };
        self.end_offset += i64::from(records_count);
        self.remember(producer, records_count, appended);
        if let Some(bytes) = batch.retained.as_mut().and_then(Arc::get_mut) {
            decode::assign_offset(bytes, appended.base_offset, leader_epoch);
            if log_append_time {
                decode::set_log_append_time(bytes, log_append_time_ms);
            }
        }
        if let Some(bytes) = batch.retained {
            self.batches.push(MockBatch {
                base_offset: appended.base_offset,
                records_count,
                producer_id: producer.producer_id,
                producer_epoch: producer.producer_epoch,
                base_sequence: producer.base_sequence,
                compression: attributes.codec().unwrap_or(CompressionType::None),
                bytes,
            });
        }
        Ok(appended)
    }

    /// Applies a broker's rules (KIP-98, KIP-360). A batch among the producer's last five is a duplicate. Any other batch
    /// has to follow the last one, or begin a newer epoch at 0. A producer id that the partition does not know may begin
    /// at any sequence.
    fn check_sequence(
        &self,
        producer: ProducerStamp,
        records_count: i32,
    ) -> Result<Option<Appended>, ErrorCode> {
        let Some(state) = self.producers.get(&producer.producer_id) else {
            return Ok(None);
        };
        if producer.producer_epoch < state.epoch {
            return Err(ErrorCode::INVALID_PRODUCER_EPOCH);
        }
        let expected = if producer.producer_epoch > state.epoch {
            0
        } else {
            state.next_sequence
        };
        if producer.producer_epoch == state.epoch {
            let is_same = |batch: &&WrittenBatch| {
                (batch.base_sequence, batch.records_count)
                    == (producer.base_sequence, records_count)
            };
            if let Some(duplicate) = state.last_batches.iter().find(is_same) {
                return Ok(Some(duplicate.appended));
            }
        }
        if producer.base_sequence == expected {
            Ok(None)
        } else {
            Err(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER)
        }
    }

    fn remember(&mut self, producer: ProducerStamp, records_count: i32, appended: Appended) {
        if producer.producer_id < 0 {
            return;
        }
        let state = self.producers.entry(producer.producer_id).or_default();
        if state.epoch != producer.producer_epoch {
            *state = ProducerState {
                epoch: producer.producer_epoch,
                ..ProducerState::default()
            };
        }
        if state.last_batches.len() == REMEMBERED_BATCHES {
            state.last_batches.pop_front();
        }
        let base_sequence = producer.base_sequence;
        state.last_batches.push_back(WrittenBatch {
            base_sequence,
            records_count,
            appended,
        });
        state.next_sequence = add_to_sequence(base_sequence, records_count);
    }
}

/// What the partition knows about an idempotent producer.
#[derive(Default)]
struct ProducerState {
    epoch: i16,
    next_sequence: i32,
    last_batches: VecDeque<WrittenBatch>,
}

#[derive(Clone, Copy)]
struct WrittenBatch {
    base_sequence: i32,
    records_count: i32,
    appended: Appended,
}

/// The number of a producer's latest batches that a broker remembers to detect duplicates. No more may be in flight.
const REMEMBERED_BATCHES: usize = 5;

/// After the largest number, sequences continue at 0.
fn add_to_sequence(sequence: i32, count: i32) -> i32 {
    let sum = i64::from(sequence) + i64::from(count);
    (sum & i64::from(i32::MAX)) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_continue_at_zero_after_the_largest() {
        assert_eq!(add_to_sequence(0, 5), 5);
        assert_eq!(add_to_sequence(i32::MAX, 1), 0);
        assert_eq!(add_to_sequence(i32::MAX - 1, 1), i32::MAX);
        assert_eq!(add_to_sequence(i32::MAX - 1, 4), 2);
    }
}
