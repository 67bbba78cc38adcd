//! A batch of one partition in memory, from its first record until its fate is known.

use std::sync::Arc;
use std::time::Instant;

use super::allowance;
use super::callbacks::Callbacks;
use super::completion::{Completion, Outcome, RecordResult};
use super::memory::Reservation;
use super::partition::Partition;
use super::sequence::{Place, sequence_after};
use crate::error::{Delivery, Error, ErrorKind};
use crate::record::builder::BatchBuilder;
use crate::record::header::ProducerStamp;
use crate::record::split::Part;

/// A record that has its outcome.
pub(crate) struct CompletedRecord<'a> {
    pub(crate) completion: &'a Completion,
    pub(crate) details: RecordDetails,
    pub(crate) result: RecordResult,
}

/// What a caller knows of its record beside the outcome.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RecordDetails {
    pub(crate) timestamp_ms: i64,
    /// Bytes of the serialized key and value; -1 for null. A record is smaller than 2 GiB.
    pub(crate) key_size: i32,
    pub(crate) value_size: i32,
}

/// Records of one partition that travel and succeed or fail together.
///
/// Whoever drops a batch that was not settled settles it: no end of a thread can leave a future waiting.
pub(crate) struct ProducerBatch {
    pub(crate) partition: Arc<Partition>,
    completion: Arc<Completion>,
    /// The index in `completion` of this batch's first record: above 0 in the later parts of a split batch.
    first_index: u32,
    pub(crate) contents: Contents,
    pub(crate) callbacks: Callbacks,
    /// `delivery.timeout.ms` counts from here.
    pub(crate) created: Instant,
    /// Whether it was closed because the next record had no room in it, or as a caller closes the producer.
    pub(crate) is_full: bool,
    /// How often the batch failed and was to be sent again.
    pub(crate) attempts: u32,
    /// The place among the batches of its partition, from which retries return to their place in the queue.
    pub(crate) order: u64,
    /// The identity and sequence that the batch has or, once it is sealed, will have.
    pub(crate) stamp: Option<ProducerStamp>,
    /// Whether some attempt's bytes reached a socket and no answer told their fate.
    pub(crate) maybe_written: bool,
    /// Whether the latest answer says that the leader has appended the batch, though too few replicas have it. It was
    /// not sent again since.
    pub(crate) is_appended: bool,
    /// The latest failure that was to be retried: the cause to tell if there is no further attempt.
    pub(crate) last_error: Option<Error>,
    is_completed: bool,
}

/// The records of a batch.
pub(crate) enum Contents {
    /// Open to more records, or full and not yet sealed.
    Building {
        builder: BatchBuilder,
        reservation: Reservation,
    },
    /// Compressed and sealed with `stamp`: these bytes are sent, and sent again.
    Sealed {
        bytes: Arc<SealedBatch>,
        stamp: ProducerStamp,
        records: i32,
    },
    /// Being settled or split.
    Gone,
}

impl Contents {
    /// Returns how much has come back by this: nothing while the network holds the bytes.
    fn give_back(&mut self) -> usize {
        match std::mem::replace(self, Contents::Gone) {
            Contents::Building { reservation, .. } => reservation.bytes(),
            Contents::Sealed { bytes, .. } => {
                Arc::into_inner(bytes).map_or(0, |sealed| sealed.reservation.bytes())
            }
            Contents::Gone => 0,
        }
    }
}

/// A sealed batch's bytes with the memory they stand for. The network holds on to this while it still reads the
/// bytes, whatever has become of the batch meanwhile: neither bytes nor budget are reused before (KAFKA-19012).
pub(crate) struct SealedBatch {
    pub(crate) bytes: Vec<u8>,
    pub(crate) reservation: Reservation,
}

impl SealedBatch {
    /// Takes the memory over, and leaves none.
    pub(crate) fn take_reservation(&mut self) -> Reservation {
        let bytes = self.reservation.bytes();
        self.reservation.split(bytes)
    }
}

/// Nobody reads the bytes any more.
impl Drop for SealedBatch {
    fn drop(&mut self) {
        self.reservation.give_back(std::mem::take(&mut self.bytes));
    }
}

impl AsRef<[u8]> for SealedBatch {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// A settled batch's callbacks, to be run on the delivery thread, and what becomes known when they have run.
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

    /// Where the batch belongs among the batches of its partition, the parts of a split one included.
    pub(crate) fn place(&self) -> Place {
        (self.order, self.first_index)
    }

    /// The bytes of a sealed batch.
    pub(crate) fn sealed(&self) -> Option<&Arc<SealedBatch>> {
        match &self.contents {
            Contents::Sealed { bytes, .. } => Some(bytes),
            _ => None,
        }
    }

    /// Bytes as they are or will at most be on the wire.
    pub(crate) fn size(&self) -> usize {
        match &self.contents {
            Contents::Building { builder, .. } => builder.len(),
            Contents::Sealed { bytes, .. } => bytes.bytes.len(),
            Contents::Gone => 0,
        }
    }

    /// An error that befalls several batches, as this one's: with its place and its fate.
    pub(crate) fn own(&self, error: &Error) -> Error {
        error
            .clone()
            .with_topic_partition(self.completion.topic_partition())
            .with_delivery(self.delivery())
    }

    /// What [`Delivery`] an error about this batch carries, unless the broker's answer says more.
    pub(crate) fn delivery(&self) -> Delivery {
        match (self.is_appended, self.maybe_written) {
            (true, _) => Delivery::Written,
            (false, true) => Delivery::MaybeWritten,
            (false, false) => Delivery::NotWritten,
        }
    }

    /// Ends the batch: every record of it has its outcome. Without callbacks the futures wake here and now; with
    /// callbacks they wake when these have run, so the settlement goes to the delivery thread.
    pub(crate) fn complete(mut self: Box<Self>, outcome: Outcome) -> Option<CompletedBatch> {
        self.is_completed = true;
        let records = self.record_count();
        if self.callbacks.is_empty() {
            // Memory comes back first: whoever is woken by the outcome may send at once.
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

    /// Replaces the batch by `parts`, which hold its records in order. Futures, callbacks, the age and the sequences go
    /// with them, and so does the memory. Parts that are not compressed any more need more than their batch did: they
    /// take it, for the worker cannot wait.
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
                // Where the network still holds the bytes their memory stays theirs.
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
                    let share = self.partition.part_reservation(
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
                            reservation: share,
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
    /// Gives the memory back, runs the callbacks in the order of the records, then wakes the futures. What callbacks send,
    /// or wait for, may need the memory.
    pub(crate) fn deliver(mut self) {
        let freed = self.memory.give_back();
        if let Some(outcome) = &self.outcome {
            let callbacks = std::mem::take(&mut self.callbacks);
            allowance::with(freed, || callbacks.run(&self.completion, outcome));
        }
    }
}

/// Whatever becomes of the callbacks (the delivery thread may be gone), the futures wake.
impl Drop for CompletedBatch {
    fn drop(&mut self) {
        if let Some(outcome) = self.outcome.take() {
            self.memory.give_back();
            self.completion
                .complete(self.first_index, self.first_index + self.records, outcome);
        }
    }
}
