//! Partitions that the producer has forgotten: the worker removes their states. The identity policy keeps their epochs, because
//! a topic of the same name may be used again.

use super::broker_link::RequestId;
use super::partition_state::InFlightBatch;
use super::run::Sender;
use crate::accumulator::partition::PartitionId;
use crate::connection::link::Network;
use crate::identity::Report;

impl<N: Network> Sender<N> {
    /// Removes the states of partitions that were forgotten since the last round. These partitions have no batch. The schedule
    /// and requests in flight may still name their ids; no other partition ever gets the same id.
    pub(super) fn forget_partitions(&mut self) {
        self.note_forgotten();
        for partition in std::mem::take(&mut self.forgotten) {
            let id = partition.id();
            self.schedule.forget(id);
            let Some(state) = self.partitions.remove(&id) else {
                continue;
            };
            debug_assert!(state.queue.is_empty() && state.in_flight.is_empty());
            // The partition stays in a ready queue if its batch expired there.
            if let Some(broker) = state.entries.queued_at {
                self.brokers.remove_from_queue(id, broker);
            }
        }
    }

    /// Reports to the identity policy which partitions were forgotten. The producer notifies the worker of a forgotten partition
    /// before it creates another one of the same name. So after this call the policy can give the new one a higher epoch.
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

    /// Removes the batch that `request` carries from the partition's batches in flight and returns it. `None` if it was taken
    /// before, or if the partition was forgotten.
    pub(super) fn take_in_flight(
        &mut self,
        id: PartitionId,
        request: RequestId,
    ) -> Option<InFlightBatch> {
        self.partitions.get_mut(&id)?.take_in_flight(request)
    }
}
