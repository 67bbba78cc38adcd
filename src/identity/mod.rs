//! Which producer id, epoch and sequence a batch is sent under (KIP-98), and who decides it.
//!
//! A worker asks its [`IdentityPolicy`] before it sends a partition's next batch ([`admit`](IdentityPolicy::admit): send
//! it, wait, or fail it) and reports what became of each batch ([`report`](IdentityPolicy::report)). The policy is the only
//! code that begins an identity or raises an epoch; the worker knows no rule of either.
//!
//! There are two policies. Without idempotence batches are unnumbered. With it each partition has its own epoch
//! ([`epoch_per_partition`]). A transactional producer, whose partitions share one epoch that only the transaction's
//! coordinator raises, is a third variant beside them.
//!
//! A policy belongs to one worker and so needs no lock. What the workers share, the producer id that a broker gave, is in
//! the [`ProducerIdSource`]; the metadata thread asks for it ([`acquire`]).

mod acquire;
mod epoch_per_partition;
mod partition;
mod sequence;
mod source;

pub(crate) use acquire::{IdentityObserver, InitProducerIdCalls};
pub(crate) use epoch_per_partition::EpochPerPartition;
pub(crate) use partition::PartitionIdentity;
pub(crate) use sequence::sequence_after;
pub(crate) use source::ProducerIdSource;

use std::time::Instant;

use crate::error::Error;
use crate::metadata::{Cluster, PartitionLeader};
use crate::record::header::ProducerStamp;

/// A producer id with the epoch that the broker gave with it (KIP-98).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProducerIdentity {
    pub(crate) producer_id: i64,
    pub(crate) producer_epoch: i16,
}

/// The position of a batch among those of its partition: the number of the batch, and for the parts of a split one the index
/// of the first record.
pub(crate) type BatchPosition = (u64, u32);

/// What a policy needs to know of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BatchFacts {
    pub(crate) position: BatchPosition,
    /// The stamp under which the batch was sent, or was to be sent, before.
    pub(crate) stamp: Option<ProducerStamp>,
    /// Whether an attempt reached a broker, or may have, and no answer told its fate.
    pub(crate) maybe_written: bool,
    /// Whether the batch was sent before.
    pub(crate) is_retry: bool,
}

/// A partition's batches in flight, as far as a policy needs to know them. There is at least one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InFlightFacts {
    pub(crate) count: usize,
    pub(crate) earliest: BatchFacts,
    /// Whether one of them is in flight to another broker than the partition's leader.
    pub(crate) is_elsewhere: bool,
}

/// A partition with something to send.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate<'a> {
    /// The next batch; `None` if it is still open, so that it was never sent.
    pub(crate) next: Option<BatchFacts>,
    /// `None` if nothing is in flight.
    pub(crate) in_flight: Option<InFlightFacts>,
    /// The broker to send to.
    pub(crate) leader: PartitionLeader,
    /// The cluster that the leader belongs to.
    pub(crate) cluster: &'a Cluster,
    pub(crate) now: Instant,
}

/// Whether a partition's next batch may be sent now.
#[derive(Debug)]
pub(crate) enum Admission {
    /// It may be sent, numbered like this.
    Go(Numbering),
    Wait(WaitFor),
    /// The batch must not be sent: it fails with this error.
    Fail(Error),
}

/// How a batch that may be sent gets its stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Numbering {
    /// It has none: idempotence is off.
    Unnumbered,
    /// It keeps its own.
    Keep(ProducerStamp),
    /// It gets the partition's next sequence.
    Next,
}

/// What a partition waits for before its next batch may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WaitFor {
    /// An answer to one of its batches in flight.
    Answer,
    /// A producer id, which was requested.
    ProducerId,
}

/// What happened to a batch or to its partition.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Report {
    /// The leader has acknowledged the batch with this stamp.
    Acknowledged {
        stamp: ProducerStamp,
        by: PartitionLeader,
        at: Instant,
    },
    /// The batch ended without success and is not sent again.
    GivenUp(BatchFacts),
    /// The topic was recreated, or the cluster restored from an older copy: the log does not know the sequences so far, and
    /// the producer id may be another producer's there.
    LogReplaced,
    /// Another cluster took the place of the one before: nothing of that one means anything here.
    ClusterReplaced,
    /// The worker forgets the partition.
    Forgotten,
}

/// What to do with a batch that the leader refused because of its sequence or epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AfterRefusal {
    /// It waits until the batches before it are acknowledged, and is then sent again.
    WaitForEarlier,
    /// It is sent again.
    Retry,
    /// It fails.
    Fail,
}

/// The rule by which one worker's batches get their identities and sequences.
pub(crate) enum IdentityPolicy {
    /// Idempotence is off. One request in flight keeps the order; with several nothing does, as in Java.
    Unnumbered {
        max_in_flight: usize,
    },
    EpochPerPartition(EpochPerPartition),
}

impl IdentityPolicy {
    /// Returns whether the partition's next batch may be sent to its leader now. Requests a producer id if one is missing.
    pub(crate) fn admit(
        &mut self,
        partition: &mut PartitionIdentity,
        candidate: &Candidate<'_>,
    ) -> Admission {
        match self {
            Self::Unnumbered { max_in_flight } => match candidate.in_flight {
                Some(_) if *max_in_flight <= 1 => Admission::Wait(WaitFor::Answer),
                _ => Admission::Go(Numbering::Unnumbered),
            },
            Self::EpochPerPartition(policy) => policy.admit(partition, candidate),
        }
    }

    /// Learns what happened.
    pub(crate) fn report(&mut self, partition: &mut PartitionIdentity, report: Report) {
        match self {
            Self::Unnumbered { .. } => {}
            Self::EpochPerPartition(policy) => policy.report(partition, report),
        }
    }

    /// Decides what becomes of `batch`, which the leader refused because of its sequence or epoch. `is_earliest` tells
    /// whether every batch before it is acknowledged. `None` if the policy has no rule, so that the error code decides.
    pub(crate) fn after_refusal(
        &mut self,
        partition: &mut PartitionIdentity,
        batch: BatchFacts,
        is_earliest: bool,
    ) -> Option<AfterRefusal> {
        match self {
            Self::Unnumbered { .. } => None,
            Self::EpochPerPartition(_) if !is_earliest => Some(AfterRefusal::WaitForEarlier),
            Self::EpochPerPartition(policy) => Some(policy.after_refusal(partition, batch)),
        }
    }

    /// Returns whether the partition can send nothing because no broker has given a producer id.
    pub(crate) fn lacks_producer_id(&self, partition: &PartitionIdentity) -> bool {
        match self {
            Self::Unnumbered { .. } => false,
            Self::EpochPerPartition(_) => !partition.has_identity(),
        }
    }
}
