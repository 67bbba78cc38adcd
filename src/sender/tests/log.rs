//! A partition's log as a leader keeps it, with a real broker's checks of epochs and sequences (KIP-98, KIP-360).

use std::collections::{HashMap, VecDeque};

use super::harness::SentBatch;
use crate::accumulator::sequence::sequence_after;
use crate::protocol::ErrorCode;

/// As many batches of a producer as a broker knows duplicates by.
const REMEMBERED: usize = 5;

#[derive(Default)]
pub(super) struct Log {
    /// The values of the records, by offset.
    pub(super) records: Vec<String>,
    producers: HashMap<i64, Producer>,
}

#[derive(Default)]
struct Producer {
    epoch: i16,
    next_sequence: i32,
    batches: VecDeque<Remembered>,
}

struct Remembered {
    base_sequence: i32,
    count: usize,
    base_offset: i64,
}

impl Log {
    /// Appends the batch, or finds that it is there; the offset of its first record.
    pub(super) fn append(&mut self, batch: &SentBatch) -> Result<i64, ErrorCode> {
        let stamp = batch.stamp;
        let base_offset = self.records.len() as i64;
        if stamp.producer_id >= 0 {
            let known = self.producers.get(&stamp.producer_id);
            if let Some(duplicate) = known.map_or(Ok(None), |producer| producer.check(batch))? {
                return Ok(duplicate);
            }
            let producer = self.producers.entry(stamp.producer_id).or_default();
            if producer.epoch != stamp.producer_epoch {
                *producer = Producer {
                    epoch: stamp.producer_epoch,
                    ..Producer::default()
                };
            }
            producer.next_sequence =
                sequence_after(stamp.base_sequence, batch.records.len() as i32);
            if producer.batches.len() == REMEMBERED {
                producer.batches.pop_front();
            }
            producer.batches.push_back(Remembered {
                base_sequence: stamp.base_sequence,
                count: batch.records.len(),
                base_offset,
            });
        }
        self.records.extend(batch.records.iter().cloned());
        Ok(base_offset)
    }

    /// Forgets what it knows of producers, as after retention took their last batches.
    pub(super) fn forget_producers(&mut self) {
        self.producers.clear();
    }
}

impl Producer {
    fn check(&self, batch: &SentBatch) -> Result<Option<i64>, ErrorCode> {
        let stamp = batch.stamp;
        if stamp.producer_epoch < self.epoch {
            return Err(ErrorCode::INVALID_PRODUCER_EPOCH);
        }
        let expected = if stamp.producer_epoch > self.epoch {
            0
        } else {
            let same = self.batches.iter().find(|known| {
                known.base_sequence == stamp.base_sequence && known.count == batch.records.len()
            });
            if let Some(same) = same {
                return Ok(Some(same.base_offset));
            }
            self.next_sequence
        };
        if stamp.base_sequence == expected {
            Ok(None)
        } else {
            Err(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER)
        }
    }
}
