//! The producer id, epoch and sequence under which a batch is sent (KIP-98), and the policy that decides them.
//!
//! A worker asks its [`IdentityPolicy`] before it sends a partition's next batch: [`admit`](IdentityPolicy::admit) decides
//! that the batch is sent, waits, or fails. Later the worker reports what happened to the batch or to the partition
//! ([`report`](IdentityPolicy::report)). Only the policy begins an identity or raises an epoch.
//!
//! There are two policies today. Without idempotence, batches are unnumbered. With idempotence, each partition has its own
//! epoch ([`epoch_per_partition`]). A transactional policy would be a third: there all partitions share one epoch, which
//! only the transaction coordinator raises.
//!
//! The modules [`partition`] and [`sequence`] hold what a policy keeps for each partition: its identity, and its sequences.
//!
//! A policy belongs to one worker, so it needs no lock. The workers share the producer id that a broker gave
//! ([`ProducerIdSource`]). When a worker requests one, the metadata thread asks a broker for one ([`acquire`]).

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

/// The position of a batch in its partition: the number of the batch, and the index of its first record in that batch. The
/// index is above 0 only in parts of a batch that was split.
pub(crate) type BatchPosition = (u64, u32);

/// What a policy needs to know of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BatchFacts {
    pub(crate) position: BatchPosition,
    /// The stamp of the batch. `None` if it was never sealed, or if the cluster was replaced since.
    pub(crate) stamp: Option<ProducerStamp>,
    /// Whether an attempt may have reached a broker, and no answer reported the outcome.
    pub(crate) maybe_written: bool,
    /// Whether an earlier attempt failed.
    pub(crate) is_retry: bool,
}

/// What a policy needs to know of a partition's batches in flight, if there is at least one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InFlightFacts {
    pub(crate) count: usize,
    /// The batch in flight with the earliest position.
    pub(crate) earliest: BatchFacts,
    /// Whether a batch is in flight to a broker that is not the partition's leader.
    pub(crate) is_elsewhere: bool,
}

/// A partition's next batch, and the facts from which a policy decides whether it may be sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate<'a> {
    /// The next batch. `None` if that is the open batch, which was never sent.
    pub(crate) next: Option<BatchFacts>,
    /// The partition's batches in flight. `None` if there are none.
    pub(crate) in_flight: Option<InFlightFacts>,
    /// The leader that the batch would be sent to.
    pub(crate) leader: PartitionLeader,
    /// The cluster that the leader belongs to.
    pub(crate) cluster: &'a Cluster,
    pub(crate) now: Instant,
}

/// Whether a partition's next batch may be sent now.
#[derive(Debug)]
pub(crate) enum Admission {
    /// The batch may be sent with this numbering.
    Go(Numbering),
    /// The batch must wait.
    Wait(WaitFor),
    /// The batch must not be sent. It fails with this error.
    Fail(Error),
}

/// How a batch that may be sent gets its stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Numbering {
    /// The batch has no stamp: idempotence is off.
    Unnumbered,
    /// The batch keeps the stamp that it has.
    Keep(ProducerStamp),
    /// The batch gets a new stamp with the partition's next sequence.
    Next,
}

/// What must arrive before a partition's next batch may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WaitFor {
    /// An answer to one of the partition's batches in flight.
    Answer,
    /// A producer id, which the policy has requested.
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
    /// The topic was recreated, or the cluster was restored from an older copy. The log does not know the sequences so far,
    /// and the producer id may belong to another producer there.
    LogReplaced,
    /// Another cluster took the place of the old one. Ids, epochs and sequences of the old cluster are not valid.
    ClusterReplaced,
    /// The worker forgets the partition.
    Forgotten,
}

/// What to do with a batch that the leader refused because of its sequence or epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AfterRefusal {
    /// The batch waits until the batches before it are acknowledged, and is then sent again.
    WaitForEarlier,
    /// The batch is sent again.
    Retry,
    /// The batch fails.
    Fail,
}

/// The rules by which one worker's batches get their identities and sequences.
pub(crate) enum IdentityPolicy {
    /// Idempotence is off. The order of batches is certain only if `max_in_flight` is 1, as in Java.
    Unnumbered { max_in_flight: usize },
    /// Idempotence is on, without transactions.
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

    /// Updates the partition's identity after what `report` describes.
    pub(crate) fn report(&mut self, partition: &mut PartitionIdentity, report: Report) {
        match self {
            Self::Unnumbered { .. } => {}
            Self::EpochPerPartition(policy) => policy.report(partition, report),
        }
    }

    /// Returns what to do with `batch`, which the leader refused because of its sequence or epoch. `is_earliest` is `true`
    /// if no earlier batch is in flight or queued. Returns `None` if the policy has no rule: then the error code decides.
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
