//! The brokers that a worker sends to: their links and their ready queues.

use std::collections::{BTreeMap, HashMap};

use super::broker_link::{BrokerLink, LinkState, ReadyLink};
use super::schedule::QueueEntries;
use crate::accumulator::partition::PartitionId;
use crate::connection::link::LinkId;
use crate::metadata::{Broker, BrokerId, Cluster};

/// All brokers of one worker.
#[derive(Default)]
pub(super) struct Brokers {
    /// Sorted by id: brokers are served in a fixed order, so that a simulation can be repeated exactly.
    by_id: BTreeMap<BrokerId, BrokerLink>,
    /// The broker of each link whose final event is still to come.
    by_link: HashMap<LinkId, BrokerId>,
    /// The number of links that were ever added. It is the id of the next one.
    links_added: u64,
    /// The last broker that the latest round served, if that round ended early. The next round begins with the next
    /// broker.
    served_last: Option<BrokerId>,
}

impl Brokers {
    pub(super) fn get(&self, broker: BrokerId) -> Option<&BrokerLink> {
        self.by_id.get(&broker)
    }

    pub(super) fn get_mut(&mut self, broker: BrokerId) -> Option<&mut BrokerLink> {
        self.by_id.get_mut(&broker)
    }

    /// Iterates over the brokers in the order of their ids.
    pub(super) fn iter(&self) -> impl Iterator<Item = (BrokerId, &BrokerLink)> {
        self.by_id
            .iter()
            .map(|(id, broker_link)| (*id, broker_link))
    }

    /// Iterates over the brokers in the order of their ids.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (BrokerId, &mut BrokerLink)> {
        self.by_id
            .iter_mut()
            .map(|(id, broker_link)| (*id, broker_link))
    }

    /// Returns the broker's link if it is ready.
    pub(super) fn ready(&self, broker: BrokerId) -> Option<&ReadyLink> {
        match &self.get(broker)?.state {
            LinkState::Ready(ready_link) => Some(ready_link),
            _ => None,
        }
    }

    pub(super) fn ready_mut(&mut self, broker: BrokerId) -> Option<&mut ReadyLink> {
        match &mut self.get_mut(broker)?.state {
            LinkState::Ready(ready_link) => Some(ready_link),
            _ => None,
        }
    }

    /// Returns the broker that the link leads to. `None` after the link's final event.
    pub(super) fn of_link(&self, link_id: LinkId) -> Option<BrokerId> {
        self.by_link.get(&link_id).copied()
    }

    /// Adds a link to `broker` and returns the link's id.
    pub(super) fn add_link(&mut self, broker: BrokerId) -> LinkId {
        let link_id = LinkId(self.links_added);
        self.links_added += 1;
        self.by_link.insert(link_id, broker);
        link_id
    }

    /// Removes a link after its final event.
    pub(super) fn remove_link(&mut self, link_id: LinkId) {
        self.by_link.remove(&link_id);
    }

    /// Appends the partition to the ready queue of `broker`, unless it is there already. Removes it from the ready queue of
    /// its previous leader.
    pub(super) fn enqueue(&mut self, id: PartitionId, entries: &mut QueueEntries, broker: &Broker) {
        let to = BrokerId(broker.id());
        let before = entries.queued_at.replace(to);
        if before == Some(to) {
            return;
        }
        if let Some(before) = before {
            self.remove_from_queue(id, before);
        }
        let broker_link = self.by_id.entry(to);
        let broker_link = broker_link.or_insert_with(|| BrokerLink::new(broker.endpoint()));
        broker_link.ready_queue.push_back(id);
    }

    /// Removes the partition from the ready queue of `broker`.
    pub(super) fn remove_from_queue(&mut self, id: PartitionId, broker: BrokerId) {
        if let Some(broker_link) = self.get_mut(broker) {
            broker_link.ready_queue.retain(|other| *other != id);
        }
    }

    /// Returns whether any ready queue has a partition.
    pub(super) fn has_ready_partitions(&self) -> bool {
        let mut broker_links = self.by_id.values();
        broker_links.any(|broker_link| !broker_link.ready_queue.is_empty())
    }

    /// Returns the brokers in the order in which the round serves them.
    pub(super) fn serving_order(&mut self) -> Vec<BrokerId> {
        let mut ids: Vec<BrokerId> = self.by_id.keys().copied().collect();
        if let Some(last) = self.served_last.take() {
            let first = ids.partition_point(|id| *id <= last);
            ids.rotate_left(first);
        }
        ids
    }

    /// Notes that the round ends early, after it served `broker`.
    pub(super) fn end_round_after(&mut self, broker: BrokerId) {
        self.served_last = Some(broker);
    }

    /// Removes the brokers that left `cluster`, have no link, and have no ready partition. Without this, the brokers that
    /// come and go during a producer's life would add up.
    pub(super) fn remove_departed(
        &mut self,
        cluster: &Cluster,
        mut on_removed: impl FnMut(BrokerId, &BrokerLink),
    ) {
        self.by_id.retain(|id, broker_link| {
            let is_known = cluster.broker(id.0).is_some();
            let has_link = broker_link.link_id().is_some();
            let is_needed = has_link || !broker_link.ready_queue.is_empty();
            if !is_known && !is_needed {
                on_removed(*id, broker_link);
            }
            is_known || is_needed
        });
    }

    /// Removes and returns all brokers, because their cluster was replaced.
    pub(super) fn take_all(&mut self) -> BTreeMap<BrokerId, BrokerLink> {
        std::mem::take(&mut self.by_id)
    }
}
