//! A partition's log, with a real broker's checks of epochs and sequences (KIP-98, KIP-360).

use std::collections::{HashMap, VecDeque};

use super::request::SentBatch;
use crate::identity::sequence_after;
use crate::protocol::ErrorCode;

/// The number of a producer's batches among which a broker recognizes duplicates.
const REMEMBERED: usize = 5;

/// Rules that differ between Kafka's releases.
#[derive(Clone, Copy, Default)]
pub(crate) struct Rules {
    /// Whether an unknown producer must begin at sequence 0, as before Kafka 2.5.
    pub(crate) refuses_unknown: bool,
    /// Whether the answer to a batch older than the remembered ones is that of a duplicate, as before Kafka 1.1.
    pub(crate) reports_old_duplicates: bool,
}

#[derive(Default)]
pub(crate) struct Log {
    rules: Rules,
    /// The values of the records, by offset.
    pub(crate) records: Vec<String>,
    producers: HashMap<i64, Producer>,
}

#[derive(Default)]
struct Producer {
    epoch: i16,
    next_sequence: i32,
    batches: VecDeque<Remembered>,
}

/// The position of a batch in the log.
pub(crate) struct Appended {
    pub(crate) base_offset: i64,
    /// Whether it was not in the log before.
    pub(crate) is_new: bool,
}

struct Remembered {
    base_sequence: i32,
    count: usize,
    base_offset: i64,
}

impl Log {
    pub(crate) fn new(rules: Rules) -> Self {
        Self {
            rules,
            ..Self::default()
        }
    }

    /// Appends the batch, or finds it in the log.
    pub(crate) fn append(&mut self, batch: &SentBatch) -> Result<Appended, ErrorCode> {
        let stamp = batch.stamp;
        let base_offset = self.records.len() as i64;
        if stamp.producer_id >= 0 {
            let duplicate = match self.producers.get(&stamp.producer_id) {
                Some(producer) => producer.check(batch, self.rules)?,
                None if self.rules.refuses_unknown && stamp.base_sequence != 0 => {
                    return Err(ErrorCode::UNKNOWN_PRODUCER_ID);
                }
                None => None,
            };
            if let Some(base_offset) = duplicate {
                return Ok(Appended {
                    base_offset,
                    is_new: false,
                });
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
        Ok(Appended {
            base_offset,
            is_new: true,
        })
    }

    /// Sets the producer's next sequence, as after many records.
    pub(crate) fn go_on_at(&mut self, producer_id: i64, epoch: i16, next_sequence: i32) {
        let producer = Producer {
            epoch,
            next_sequence,
            batches: VecDeque::new(),
        };
        self.producers.insert(producer_id, producer);
    }

    /// Forgets all producers, as after retention deleted their last batches.
    pub(crate) fn forget_producers(&mut self) {
        self.producers.clear();
    }
}

impl Producer {
    fn check(&self, batch: &SentBatch, rules: Rules) -> Result<Option<i64>, ErrorCode> {
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
            return Ok(None);
        }
        // Sequences wrap around: half of them are behind the expected one.
        let behind = expected.wrapping_sub(stamp.base_sequence) & i32::MAX;
        if rules.reports_old_duplicates
            && stamp.producer_epoch == self.epoch
            && behind < i32::MAX / 2
        {
            Err(ErrorCode::DUPLICATE_SEQUENCE_NUMBER)
        } else {
            Err(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER)
        }
    }
}
