//! Partitions that the producer has forgotten: the worker removes their states, and keeps what a partition of the same name
//! needs later.

use super::broker_link::RequestId;
use super::partition_state::InFlightBatch;
use super::run::Sender;
use crate::accumulator::partition::PartitionId;
use crate::connection::link::Network;
use crate::identity::Report;

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
    pub(super) fn note_forgotten(&mut self) {
        if !self.handle().has_retired() {
            return;
        }
        let retired = self.handle().take_retired();
        for partition in &retired {
            self.report(partition.id(), Report::Forgotten);
        }
        self.forgotten.extend(retired);
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
