//! The worker's calls to the [`IdentityPolicy`](crate::identity::IdentityPolicy): it asks about each batch, and reports what
//! happened to the batch.

use std::time::Instant;

use super::run::Sender;
use crate::accumulator::batch::ProducerBatch;
use crate::accumulator::completion::Outcome;
use crate::accumulator::partition::PartitionId;
use crate::connection::link::Network;
use crate::error::{Error, ErrorKind};
use crate::identity::{Admission, AfterRefusal, Numbering, Report, WaitFor};
use crate::metadata::PartitionLeader;
use crate::record::header::ProducerStamp;

impl<N: Network> Sender<N> {
    /// Returns whether the partition's next batch may be sent to `leader` now, as far as identity and order decide it.
    pub(super) fn admit(
        &mut self,
        id: PartitionId,
        leader: PartitionLeader,
        now: Instant,
    ) -> Admission {
        // A partition that begins now must not begin with the epoch of one that was forgotten meanwhile.
        self.note_forgotten();
        let Self {
            identity,
            partitions,
            cluster,
            ..
        } = self;
        match partitions.get_mut(&id) {
            Some(state) => {
                let candidate = state.candidate(leader, cluster, now);
                identity.admit(&mut state.identity, &candidate)
            }
            None => Admission::Wait(WaitFor::Answer),
        }
    }

    /// Returns the stamp to send the batch with. `numbering` is the one of the batch's admission.
    pub(super) fn stamp(
        &mut self,
        id: PartitionId,
        batch: &ProducerBatch,
        numbering: Numbering,
    ) -> Result<ProducerStamp, Error> {
        let records = batch.record_count() as i32;
        let identity = &mut self.state(id).identity;
        identity
            .stamp(numbering, &batch.facts(), records)
            .ok_or_else(|| {
                let message = "a batch was to be sent without a producer id";
                Error::new(ErrorKind::Internal, message)
            })
    }

    /// Reports to the policy what happened to the partition or to one of its batches.
    pub(super) fn report(&mut self, id: PartitionId, report: Report) {
        if let Some(state) = self.partitions.get_mut(&id) {
            self.identity.report(&mut state.identity, report);
        }
    }

    /// Returns what to do with a batch that the leader refused because of its sequence or epoch. `None` if the error code
    /// decides it.
    pub(super) fn after_refusal(
        &mut self,
        id: PartitionId,
        batch: &ProducerBatch,
    ) -> Option<AfterRefusal> {
        let state = self.partitions.get_mut(&id)?;
        let is_earliest = state.is_earliest(batch);
        self.identity
            .after_refusal(&mut state.identity, batch.facts(), is_earliest)
    }

    /// Handles the result of a request for a producer id.
    pub(super) fn on_identity(&mut self, result: Result<(), Error>, now: Instant) {
        match result {
            Ok(()) => self.reschedule_all(now),
            Err(error) => {
                let policy = &self.identity;
                let waiting =
                    self.partitions_where(|state| policy.lacks_producer_id(&state.identity));
                for id in waiting {
                    self.fail_without_identity(id, &error, now);
                }
            }
        }
    }

    /// Fails the partition's batches that wait for a producer id. A later batch requests one again.
    fn fail_without_identity(&mut self, id: PartitionId, error: &Error, now: Instant) {
        if self.open_batch_is_due(id, now) {
            self.queue_open_batch(id);
        }
        while let Some(batch) = self.state(id).queue.pop_front() {
            batch.partition.batch_drained();
            let error = batch.own(error);
            self.complete(batch, Outcome::Failed(error));
        }
        self.reschedule(id, now);
    }
}
