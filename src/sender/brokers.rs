//! The brokers that a worker sends to: their links, and the partitions that are ready to be sent to each of them.

use std::collections::{BTreeMap, HashMap};

use super::broker_link::{BrokerLink, LinkState, ReadyLink};
use super::schedule::Noted;
use crate::accumulator::partition::PartitionId;
use crate::connection::link::LinkId;
use crate::metadata::{Broker, BrokerId, Cluster};

/// All brokers of one worker.
#[derive(Default)]
pub(super) struct Brokers {
    /// Served in the order of their ids, so that a simulated history is the same each time.
    by_id: BTreeMap<BrokerId, BrokerLink>,
    /// The broker of each link whose final event has not come yet.
    by_link: HashMap<LinkId, BrokerId>,
    /// The number of links so far.
    links: u64,
    /// The broker after which the latest round ended early: the next round begins behind it.
    served_last: Option<BrokerId>,
}

impl Brokers {
    pub(super) fn get(&self, broker: BrokerId) -> Option<&BrokerLink> {
        self.by_id.get(&broker)
    }

    pub(super) fn get_mut(&mut self, broker: BrokerId) -> Option<&mut BrokerLink> {
        self.by_id.get_mut(&broker)
    }

    /// In the order of their ids.
    pub(super) fn iter(&self) -> impl Iterator<Item = (BrokerId, &BrokerLink)> {
        self.by_id.iter().map(|(id, link)| (*id, link))
    }

    /// In the order of their ids.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (BrokerId, &mut BrokerLink)> {
        self.by_id.iter_mut().map(|(id, link)| (*id, link))
    }

    /// The broker's link, if requests can be sent on it.
    pub(super) fn ready(&self, broker: BrokerId) -> Option<&ReadyLink> {
        match &self.get(broker)?.state {
            LinkState::Ready(ready) => Some(ready),
            _ => None,
        }
    }

    pub(super) fn ready_mut(&mut self, broker: BrokerId) -> Option<&mut ReadyLink> {
        match &mut self.get_mut(broker)?.state {
            LinkState::Ready(ready) => Some(ready),
            _ => None,
        }
    }

    /// The broker that `link` leads to, if the link has not said its final event.
    pub(super) fn of_link(&self, link: LinkId) -> Option<BrokerId> {
        self.by_link.get(&link).copied()
    }

    /// Returns the id of a new link to `broker`.
    pub(super) fn add_link(&mut self, broker: BrokerId) -> LinkId {
        let link = LinkId(self.links);
        self.links += 1;
        self.by_link.insert(link, broker);
        link
    }

    /// The final event of `link` has come.
    pub(super) fn remove_link(&mut self, link: LinkId) {
        self.by_link.remove(&link);
    }

    /// Appends the partition to the ready queue of `broker`, unless it is there already. It leaves that of another broker,
    /// which led it before.
    pub(super) fn enqueue(&mut self, id: PartitionId, noted: &mut Noted, broker: &Broker) {
        let to = BrokerId(broker.id());
        let before = noted.queued_at.replace(to);
        if before == Some(to) {
            return;
        }
        if let Some(before) = before {
            self.remove_from_queue(id, before);
        }
        let link = self.by_id.entry(to);
        let link = link.or_insert_with(|| BrokerLink::new(broker.endpoint()));
        link.ready_queue.push_back(id);
    }

    /// Removes the partition from the ready queue of `broker`.
    pub(super) fn remove_from_queue(&mut self, id: PartitionId, broker: BrokerId) {
        if let Some(link) = self.get_mut(broker) {
            link.ready_queue.retain(|other| *other != id);
        }
    }

    /// Returns whether a partition is ready that no broker has taken a request of.
    pub(super) fn has_ready_partitions(&self) -> bool {
        let mut links = self.by_id.values();
        links.any(|link| !link.ready_queue.is_empty())
    }

    /// The brokers in the order in which a round serves them.
    pub(super) fn serving_order(&mut self) -> Vec<BrokerId> {
        let mut ids: Vec<BrokerId> = self.by_id.keys().copied().collect();
        if let Some(last) = self.served_last.take() {
            let first = ids.partition_point(|id| *id <= last);
            ids.rotate_left(first);
        }
        ids
    }

    /// The round ends after `broker`: the others come first in the next one.
    pub(super) fn end_round_after(&mut self, broker: BrokerId) {
        self.served_last = Some(broker);
    }

    /// Removes the brokers that are not part of `cluster` and that nothing needs. Brokers come and go for as long as a
    /// producer lives.
    pub(super) fn remove_departed(
        &mut self,
        cluster: &Cluster,
        mut on_removed: impl FnMut(BrokerId, &BrokerLink),
    ) {
        self.by_id.retain(|id, link| {
            let is_known = cluster.broker(id.0).is_some();
            let is_needed = link.link().is_some() || !link.ready_queue.is_empty();
            if !is_known && !is_needed {
                on_removed(*id, link);
            }
            is_known || is_needed
        });
    }

    /// Removes all brokers: they belong to a cluster that was replaced.
    pub(super) fn take_all(&mut self) -> BTreeMap<BrokerId, BrokerLink> {
        std::mem::take(&mut self.by_id)
    }
}
