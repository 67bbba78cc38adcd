//! Partitions that the producer has forgotten: the worker removes their states, and keeps what a partition of the same name
//! needs later.

use super::broker_link::RequestId;
use super::partition_state::InFlightBatch;
use super::run::Sender;
use crate::accumulator::partition::PartitionId;
use crate::connection::link::Network;

impl<N: Network> Sender<N> {
    /// Removes the states of partitions that were forgotten since the last round. They have no batch anywhere. The schedule and
    /// requests in flight may still name their ids, which no other partition gets.
    pub(super) fn forget_partitions(&mut self) {
        self.note_forgotten();
        for partition in std::mem::take(&mut self.forgotten) {
            let id = partition.id();
            self.schedule.forget(id);
            let Some(state) = self.partitions.remove(&id) else {
                continue;
            };
            debug_assert!(state.queue.is_empty() && state.in_flight.is_empty());
            // A batch can have expired in the ready queue.
            if let Some(broker) = state.noted.queued_at {
                self.brokers.remove_from_queue(id, broker);
            }
        }
    }

    /// Notes the identities of partitions that were forgotten. One of the same name can exist only after the worker was told,
    /// so what begins after this begins under another.
    fn note_forgotten(&mut self) {
        if !self.handle().has_retired() {
            return;
        }
        let retired = self.handle().take_retired();
        for partition in &retired {
            if let Some(state) = self.partitions.get(&partition.id()) {
                self.forgotten_epochs.note(&state.sequence);
            }
        }
        self.forgotten.extend(retired);
    }

    /// Gives the partition the producer's identity, if there is one that neither it nor the forgotten ones have used up.
    pub(super) fn begin_identity(&mut self, id: PartitionId) -> bool {
        self.note_forgotten();
        let spent = self.state(id).sequence.spent();
        let mut candidate = self.identity;
        loop {
            let refused = candidate.map(|identity| identity.producer_id);
            let usable = candidate.filter(|_| refused != spent);
            if let Some(begun) = usable.and_then(|it| self.forgotten_epochs.fresh(it)) {
                self.identity = candidate;
                self.forgotten_epochs.keep_only(begun.producer_id);
                self.state(id).sequence.begin(begun);
                return true;
            }
            candidate = self.producer_ids.identity(&self.cluster, refused.or(spent));
            if candidate.is_none() {
                return false;
            }
        }
    }

    /// Takes the partition's batch that the request carries. `None` if it was completed or taken meanwhile, or the partition
    /// was forgotten.
    pub(super) fn take_in_flight(
        &mut self,
        id: PartitionId,
        request: RequestId,
    ) -> Option<InFlightBatch> {
        self.partitions.get_mut(&id)?.take_in_flight(request)
    }
}
