//! A partition's log: offsets, batches, and the sequence numbers of idempotent producers.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::batch::CheckedBatch;
use crate::ErrorCode;
use crate::record::compression::CompressionType;
use crate::record::decode;
use crate::record::header::{BatchHeader, ProducerStamp};
use crate::time::wall_clock_ms;

/// A record as a consumer would get it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MockRecord {
    /// Its place in the partition.
    pub offset: i64,
    /// Milliseconds since 1970: the producer's, or the broker's where the topic has its time of appending.
    pub timestamp: i64,
    /// The key, if any.
    pub key: Option<Vec<u8>>,
    /// The value; none is a tombstone.
    pub value: Option<Vec<u8>>,
    /// The headers in order.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

/// A batch as the broker has stored it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct MockBatch {
    /// The offset of its first record.
    pub base_offset: i64,
    /// How many records it has.
    pub records_count: i32,
    /// The producer's id; -1 without idempotence.
    pub producer_id: i64,
    /// The producer's epoch; -1 without idempotence.
    pub producer_epoch: i16,
    /// The sequence number of the first record; -1 without idempotence.
    pub base_sequence: i32,
    /// How the records are compressed.
    pub compression: CompressionType,
    /// The whole batch, header included, with the offset that the broker gave it.
    pub bytes: Arc<[u8]>,
}

impl MockBatch {
    /// Its records; none where it cannot be read, which happens only if checks are off.
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

/// The most that one batch may decompress to.
pub(super) const MAX_DECOMPRESSED_BYTES: usize = 256 << 20;

#[derive(Default)]
pub(super) struct PartitionLog {
    start_offset: i64,
    end_offset: i64,
    batches: Vec<MockBatch>,
    producers: HashMap<i64, ProducerState>,
}

/// Where an accepted batch lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Appended {
    pub(super) base_offset: i64,
    /// -1 where the topic keeps the producer's timestamps.
    pub(super) log_append_time_ms: i64,
}

/// What a leader appends under.
#[derive(Clone, Copy)]
pub(super) struct AppendRules {
    pub(super) leader_epoch: i32,
    pub(super) log_append_time: bool,
    /// Of a producer that the log knows nothing of only the sequence 0 is taken.
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

    /// Drops what lies before `offset`. `forget_producers` whose records all do, as older brokers did.
    pub(super) fn delete_records(&mut self, offset: i64, forget_producers: bool) {
        self.start_offset = self.start_offset.max(offset);
        let start = self.start_offset;
        let ends_behind_start =
            |base_offset: i64, records_count: i32| base_offset + i64::from(records_count) > start;
        self.batches
            .retain(|batch| ends_behind_start(batch.base_offset, batch.records_count));
        if forget_producers {
            self.producers.retain(|_, producer| {
                producer.last_batches.back().is_some_and(|batch| {
                    ends_behind_start(batch.appended.base_offset, batch.records_count)
                })
            });
        }
    }

    pub(super) fn forget_producers(&mut self) {
        self.producers.clear();
    }

    /// Appends a batch, or finds it to be there already: then its first place is the answer.
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

    /// A broker's rules (KIP-98, KIP-360): a batch among the producer's last five is a duplicate; otherwise it follows the
    /// last one or begins a newer epoch at 0. A producer id of which the partition knows nothing may begin anywhere.
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

/// What the partition knows of an idempotent producer.
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

/// As many of a producer's batches as a broker tells duplicates by, and so as many as may be in flight.
const REMEMBERED_BATCHES: usize = 5;

/// Sequences go on at 0 after the largest number.
fn add_to_sequence(sequence: i32, count: i32) -> i32 {
    let sum = i64::from(sequence) + i64::from(count);
    (sum & i64::from(i32::MAX)) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_go_on_at_zero_after_the_largest() {
        assert_eq!(add_to_sequence(0, 5), 5);
        assert_eq!(add_to_sequence(i32::MAX, 1), 0);
        assert_eq!(add_to_sequence(i32::MAX - 1, 1), i32::MAX);
        assert_eq!(add_to_sequence(i32::MAX - 1, 4), 2);
    }
}
