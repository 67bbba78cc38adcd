//! A batch of one partition in memory, from its first record to its outcome.

use std::sync::Arc;
use std::time::Instant;

use super::allowance;
use super::callbacks::Callbacks;
use super::completion::{Completion, Outcome, RecordResult};
use super::memory::Reservation;
use super::partition::Partition;
use crate::error::{Delivery, Error, ErrorKind};
use crate::identity::{BatchFacts, BatchPosition, sequence_after};
use crate::record::builder::BatchBuilder;
use crate::record::header::ProducerStamp;
use crate::record::split::Part;

/// A record with its outcome.
pub(crate) struct CompletedRecord<'a> {
    pub(crate) completion: &'a Completion,
    pub(crate) details: RecordDetails,
    pub(crate) result: RecordResult,
}

/// The properties of a record that its metadata reports in addition to the outcome.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RecordDetails {
    pub(crate) timestamp_ms: i64,
    /// The number of bytes of the serialized key; -1 for null. A record is smaller than 2 GiB.
    pub(crate) key_size: i32,
    /// The number of bytes of the serialized value; -1 for null.
    pub(crate) value_size: i32,
}

/// Records of one partition that are sent together.
///
/// A batch that is dropped without an outcome fails. So a thread that ends leaves no future waiting.
pub(crate) struct ProducerBatch {
    pub(crate) partition: Arc<Partition>,
    completion: Arc<Completion>,
    /// The index of this batch's first record in `completion`. It is above 0 in the later parts of a split batch.
    first_index: u32,
    pub(crate) contents: Contents,
    pub(crate) callbacks: Callbacks,
    /// `delivery.timeout.ms` starts here.
    pub(crate) created: Instant,
    /// Whether the batch was pushed to the worker because a further record would have no room, or by the close.
    pub(crate) is_full: bool,
    /// The number of attempts that failed and led to a retry.
    pub(crate) attempts: u32,
    /// The number of the batch in its partition, in the order of the records. A retry returns to its position in the queue
    /// by this number.
    pub(crate) order: u64,
    /// The producer id, epoch and sequence of the batch. Before the batch is sealed, those with which it will be sealed.
    pub(crate) stamp: Option<ProducerStamp>,
    /// Whether an attempt may have reached a broker, and no answer reported the outcome.
    pub(crate) maybe_written: bool,
    /// Whether the latest answer says that the leader has appended the batch but too few replicas have it, and the batch
    /// was not sent again since.
    pub(crate) is_appended: bool,
    /// The error of the latest attempt. It is reported if there is no further attempt.
    pub(crate) last_error: Option<Error>,
    is_completed: bool,
}

/// The records of a batch.
pub(crate) enum Contents {
    /// Open, or full and not yet sealed.
    Building {
        builder: BatchBuilder,
        reservation: Reservation,
    },
    /// Compressed and sealed with `stamp`. All attempts send these bytes.
    Sealed {
        bytes: Arc<SealedBatch>,
        stamp: ProducerStamp,
        records: i32,
    },
    /// The batch is being completed or split.
    Gone,
}

impl Contents {
    /// Releases the memory. Returns the number of released bytes. It is 0 while the network reads the batch, because then
    /// the network releases the memory.
    fn release(&mut self) -> usize {
        match std::mem::replace(self, Contents::Gone) {
            Contents::Building { reservation, .. } => reservation.bytes(),
            Contents::Sealed { bytes, .. } => {
                Arc::into_inner(bytes).map_or(0, |sealed| sealed.reservation.bytes())
            }
            Contents::Gone => 0,
        }
    }
}

/// The bytes of a sealed batch, with their reservation. The network holds a reference while it reads the bytes, which can
/// be after the batch has its outcome. As long as it reads them, neither the buffer nor the memory is reused
/// (KAFKA-19012).
pub(crate) struct SealedBatch {
    pub(crate) bytes: Vec<u8>,
    pub(crate) reservation: Reservation,
}

impl SealedBatch {
    /// Moves the whole reservation out.
    pub(crate) fn take_reservation(&mut self) -> Reservation {
        let bytes = self.reservation.bytes();
        self.reservation.split(bytes)
    }
}

/// Returns the buffer to the pool: nothing reads the bytes any more.
impl Drop for SealedBatch {
    fn drop(&mut self) {
        self.reservation
            .return_buffer(std::mem::take(&mut self.bytes));
    }
}

impl AsRef<[u8]> for SealedBatch {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// A batch that has its outcome and callbacks. The delivery thread runs the callbacks and then wakes the futures.
pub(crate) struct CompletedBatch {
    completion: Arc<Completion>,
    first_index: u32,
    records: u32,
    outcome: Option<Outcome>,
    callbacks: Callbacks,
    memory: Contents,
}

impl ProducerBatch {
    pub(crate) fn new(
        partition: Arc<Partition>,
        builder: BatchBuilder,
        reservation: Reservation,
        created: Instant,
    ) -> Box<Self> {
        let completion = Completion::new(
            partition.topic(),
            partition.partition(),
            partition.instance(),
        );
        partition.batch_begins();
        Box::new(Self {
            partition,
            completion,
            first_index: 0,
            contents: Contents::Building {
                builder,
                reservation,
            },
            callbacks: Callbacks::default(),
            created,
            is_full: false,
            attempts: 0,
            order: 0,
            stamp: None,
            maybe_written: false,
            is_appended: false,
            last_error: None,
            is_completed: false,
        })
    }

    #[inline]
    pub(crate) fn completion(&self) -> &Arc<Completion> {
        &self.completion
    }

    /// The number of records.
    pub(crate) fn record_count(&self) -> u32 {
        match &self.contents {
            Contents::Building { builder, .. } => builder.count() as u32,
            Contents::Sealed { records, .. } => *records as u32,
            Contents::Gone => 0,
        }
    }

    /// The position of the batch in its partition. The parts of a split batch have the same number and different first
    /// indexes.
    pub(crate) fn position(&self) -> BatchPosition {
        (self.order, self.first_index)
    }

    /// Returns the properties by which the identity policy decides how the batch is sent.
    pub(crate) fn facts(&self) -> BatchFacts {
        BatchFacts {
            position: self.position(),
            stamp: self.stamp,
            maybe_written: self.maybe_written,
            is_retry: self.attempts > 0,
        }
    }

    /// The bytes of a sealed batch.
    pub(crate) fn sealed(&self) -> Option<&Arc<SealedBatch>> {
        match &self.contents {
            Contents::Sealed { bytes, .. } => Some(bytes),
            _ => None,
        }
    }

    /// The size of the batch in bytes. Before the batch is sealed, this is the size without compression.
    pub(crate) fn size(&self) -> usize {
        match &self.contents {
            Contents::Building { builder, .. } => builder.len(),
            Contents::Sealed { bytes, .. } => bytes.bytes.len(),
            Contents::Gone => 0,
        }
    }

    /// Returns a copy of `error`, which several batches share, with the partition and the [`Delivery`] of this batch.
    pub(crate) fn own(&self, error: &Error) -> Error {
        error
            .clone()
            .with_topic_partition(self.completion.topic_partition())
            .with_delivery(self.delivery())
    }

    /// The [`Delivery`] for an error of this batch, as far as is known without the broker's latest answer.
    pub(crate) fn delivery(&self) -> Delivery {
        match (self.is_appended, self.maybe_written) {
            (true, _) => Delivery::Written,
            (false, true) => Delivery::MaybeWritten,
            (false, false) => Delivery::NotWritten,
        }
    }

    /// Gives every record of the batch its outcome. Without callbacks, the futures wake now. With callbacks, the caller
    /// passes the returned batch to the delivery thread, which runs the callbacks and then wakes the futures.
    pub(crate) fn complete(mut self: Box<Self>, outcome: Outcome) -> Option<CompletedBatch> {
        self.is_completed = true;
        let records = self.record_count();
        if self.callbacks.is_empty() {
            // The memory is released first, because a thread that the outcome wakes may send at once.
            self.contents = Contents::Gone;
            self.completion
                .complete(self.first_index, self.first_index + records, outcome);
            return None;
        }
        Some(CompletedBatch {
            completion: Arc::clone(&self.completion),
            first_index: self.first_index,
            records,
            outcome: Some(outcome),
            callbacks: std::mem::take(&mut self.callbacks),
            memory: std::mem::replace(&mut self.contents, Contents::Gone),
        })
    }

    /// Replaces the batch by `parts`, which have its records in order. They take over the futures, the callbacks, the age,
    /// the sequences and the memory. The parts are not compressed yet, so they can need more memory than the batch. It is
    /// reserved beyond the budget if necessary, because the worker cannot wait.
    #[expect(
        clippy::vec_box,
        reason = "batches move between queues by their pointers"
    )]
    pub(crate) fn split(mut self: Box<Self>, parts: Vec<Part>) -> Vec<Box<ProducerBatch>> {
        self.is_completed = true;
        self.completion.split(parts.len() as u32);
        let last = parts.last().map_or(0, |part| part.first as u32);
        let mut reservation = match std::mem::replace(&mut self.contents, Contents::Gone) {
            Contents::Building { reservation, .. } => Some(reservation),
            Contents::Sealed { bytes, .. } => {
                // If the network still reads the bytes, it keeps their memory.
                let sealed = Arc::try_unwrap(bytes).ok();
                sealed.map(|mut sealed| sealed.take_reservation())
            }
            Contents::Gone => None,
        };
        let mut callbacks = std::mem::take(&mut self.callbacks);
        parts
            .into_iter()
            .map(
                |Part {
                     first,
                     batch: builder,
                 }| {
                    let first = first as u32;
                    let count = builder.count() as u32;
                    let own_callbacks = callbacks.take_part(first, first + count);
                    let part_reservation = self.partition.part_reservation(
                        builder.capacity(),
                        own_callbacks.used_bytes(),
                        reservation.as_mut(),
                    );
                    self.partition.batch_begins();
                    Box::new(ProducerBatch {
                        partition: Arc::clone(&self.partition),
                        completion: Arc::clone(&self.completion),
                        first_index: self.first_index + first,
                        contents: Contents::Building {
                            builder,
                            reservation: part_reservation,
                        },
                        callbacks: own_callbacks,
                        created: self.created,
                        is_full: first < last,
                        attempts: self.attempts,
                        order: self.order,
                        stamp: self.stamp.map(|stamp| ProducerStamp {
                            base_sequence: sequence_after(stamp.base_sequence, first as i32),
                            ..stamp
                        }),
                        maybe_written: self.maybe_written,
                        is_appended: false,
                        last_error: self.last_error.clone(),
                        is_completed: false,
                    })
                },
            )
            .collect()
    }
}

impl Drop for ProducerBatch {
    fn drop(&mut self) {
        if !self.is_completed {
            let records = self.record_count();
            let error = Error::new(
                ErrorKind::Internal,
                "the thread that was to send the batch has ended",
            )
            .with_topic_partition(self.completion.topic_partition())
            .with_delivery(self.delivery());
            self.contents = Contents::Gone;
            let outcome = Outcome::Failed(error);
            std::mem::take(&mut self.callbacks).run(&self.completion, &outcome);
            self.completion
                .complete(self.first_index, self.first_index + records, outcome);
        }
        self.partition.batch_ends();
    }
}

impl CompletedBatch {
    /// Releases the memory, runs the callbacks in the order of the records, then wakes the futures. The memory is released
    /// first because callbacks may send records, or wait for threads that do.
    pub(crate) fn deliver(mut self) {
        let released = self.memory.release();
        if let Some(outcome) = &self.outcome {
            let callbacks = std::mem::take(&mut self.callbacks);
            allowance::with(released, || callbacks.run(&self.completion, outcome));
        }
    }
}

/// Wakes the futures, even if the delivery thread has ended and the callbacks did not run.
impl Drop for CompletedBatch {
    fn drop(&mut self) {
        if let Some(outcome) = self.outcome.take() {
            self.memory.release();
            self.completion
                .complete(self.first_index, self.first_index + self.records, outcome);
        }
    }
}
