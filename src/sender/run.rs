//! The worker's round, and what a round receives: events, batches and announcements, metadata snapshots.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use super::SenderConfig;
use super::broker_link::{BrokerLink, LinkState, RequestId};
use super::brokers::Brokers;
use super::codec::Codec;
use super::message::{DeliveryTask, Event};
use super::partition_state::{OpenBatchState, PartitionState};
use super::schedule::Schedule;
use crate::accumulator::batch::CompletedBatch;
use crate::accumulator::completion::Completion;
use crate::accumulator::handover::HandoverReceiver;
use crate::accumulator::partition::{Partition, PartitionId};
use crate::accumulator::{Message, RecordAccumulator, WorkerHandle};
use crate::connection::link::Network;
use crate::error::{Error, ErrorKind};
use crate::identity::{EpochPerPartition, IdentityPolicy, ProducerIdSource};
use crate::metadata::{Cluster, LeaderHint, MetadataCache};
use crate::sync::channel;

/// One worker: its state and its rounds.
pub(crate) struct Sender<N: Network> {
    pub(super) config: SenderConfig,
    pub(super) accumulator: Arc<RecordAccumulator>,
    pub(super) metadata: Arc<MetadataCache>,
    pub(super) network: N,
    pub(super) records: HandoverReceiver<Message>,
    events: channel::Receiver<Event>,
    pub(super) deliveries: channel::Sender<DeliveryTask>,
    /// Completed batches with callbacks, which go to the delivery thread together.
    pub(super) completed: Vec<CompletedBatch>,

    pub(super) partitions: BTreeMap<PartitionId, PartitionState>,
    /// Partitions that were forgotten, until their states are removed.
    pub(super) forgotten: Vec<Arc<Partition>>,
    pub(super) schedule: Schedule,
    pub(super) brokers: Brokers,
    pub(super) next_request: RequestId,
    pub(super) cluster: Arc<Cluster>,
    /// The generation of the metadata snapshot in `cluster`.
    generation: u64,
    pub(super) identity: IdentityPolicy,
    pub(super) codec: Codec,
    /// The new leaders that the current response names.
    pub(super) hints: Vec<LeaderHint>,
    /// The number of full batches received so far.
    full_batches: u64,
    /// The number of waits for memory that this worker has reacted to.
    seen_waits: u64,
    pub(super) closing: bool,
    force_closed: bool,
}

/// What all workers of a producer share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) accumulator: Arc<RecordAccumulator>,
    pub(crate) metadata: Arc<MetadataCache>,
    pub(crate) producer_ids: Arc<ProducerIdSource>,
}

/// Gives every batch its outcome when the worker ends, also by a panic. Closes the accumulator first: while callers can
/// still send into the channel, it cannot be emptied.
impl<N: Network> Drop for Sender<N> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.accumulator.close_after_panic();
        } else {
            self.accumulator.close();
        }
        self.fail_everything(&Error::new(
            ErrorKind::Internal,
            "the thread that was to send the record has ended",
        ));
        self.hand_over_completed();
        self.handle().disconnect();
    }
}

/// The most messages that one round receives. The limit lets the worker process responses and deadlines under any load.
const MOST_MESSAGES: usize = 4096;

impl<N: Network> Sender<N> {
    pub(crate) fn new(
        config: SenderConfig,
        shared: Shared,
        network: N,
        records: HandoverReceiver<Message>,
        events: channel::Receiver<Event>,
        deliveries: channel::Sender<DeliveryTask>,
    ) -> Self {
        let Shared {
            accumulator,
            metadata,
            producer_ids,
        } = shared;
        let max_in_flight = config.max_in_flight;
        let identity = match config.idempotence {
            true => IdentityPolicy::EpochPerPartition(EpochPerPartition::new(
                producer_ids,
                max_in_flight,
            )),
            false => IdentityPolicy::Unnumbered { max_in_flight },
        };
        Self {
            accumulator,
            metadata,
            network,
            records,
            events,
            deliveries,
            completed: Vec::new(),
            partitions: BTreeMap::new(),
            forgotten: Vec::new(),
            schedule: Schedule::new(config.topics.linger),
            brokers: Brokers::default(),
            next_request: RequestId(0),
            cluster: Arc::default(),
            generation: 0,
            identity,
            codec: Codec::new(config.topics.compression.codec),
            hints: Vec::new(),
            full_batches: 0,
            seen_waits: 0,
            closing: false,
            force_closed: false,
            config,
        }
    }

    /// Runs one round: receives what happened and moves every batch as far as possible. Returns when the next round is due
    /// if nothing happens before.
    pub(crate) fn run_once(&mut self, now: Instant) -> Option<Instant> {
        self.forget_partitions();
        self.receive_events(now);
        let more = self.receive_records(now);
        self.follow_metadata(now);
        self.reschedule_for_waiters(now);
        self.reschedule_due(now);
        // `serve_brokers` can take long, so the completed batches go to the delivery thread before it.
        self.hand_over_completed();
        let more = self.serve_brokers(now) || more;
        self.hand_over_completed();
        if more {
            Some(now)
        } else {
            self.next_deadline(now)
        }
    }

    /// Returns whether something happened that `run_once` has not seen. This is the last check before the worker sleeps.
    pub(crate) fn has_news(&self) -> bool {
        !self.records.is_empty()
            || !self.events.is_empty()
            || self.metadata.generation() != self.generation
            || self.handle().has_retired()
            || self.accumulator.memory.waits() != self.seen_waits
    }

    /// Returns whether an event has come that `run_once` has not seen.
    pub(super) fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// Returns whether compression may make a round long.
    pub(super) fn may_compress_slowly(&self, now: Instant) -> bool {
        self.codec.may_be_slow(now)
    }

    /// Returns whether batches wait in a ready queue, after a round, for room in flight.
    pub(super) fn waits_for_room(&self) -> bool {
        self.brokers.has_ready_partitions()
    }

    /// Returns the number of full batches received so far.
    pub(super) fn batches_received(&self) -> u64 {
        self.full_batches
    }

    pub(super) fn is_finished(&self) -> bool {
        self.force_closed
            || self.closing
                && self.records.is_empty()
                && self.states().all(PartitionState::is_empty)
    }

    #[cfg(test)]
    pub(super) fn undelivered(&self) -> u64 {
        self.handle().undelivered()
    }

    /// The part of this worker that callers see.
    pub(super) fn handle(&self) -> &WorkerHandle {
        &self.accumulator.workers()[self.config.index]
    }

    fn states(&self) -> impl Iterator<Item = &PartitionState> {
        self.partitions.values()
    }

    pub(super) fn state(&mut self, id: PartitionId) -> &mut PartitionState {
        self.partitions
            .get_mut(&id)
            .expect("a partition has a state from its first message until it is forgotten")
    }

    pub(super) fn partitions_where(
        &self,
        is_wanted: impl Fn(&PartitionState) -> bool,
    ) -> Vec<PartitionId> {
        let wanted = self.partitions.iter();
        let wanted = wanted.filter(|(_, state)| is_wanted(state));
        wanted.map(|(id, _)| *id).collect()
    }

    fn receive_events(&mut self, now: Instant) {
        while let Ok(event) = self.events.try_recv() {
            match event {
                Event::Link(link_id, event) => self.on_link_event(link_id, event, now),
                Event::Identity(result) => self.on_identity(result, now),
                Event::Flush(reply) => {
                    self.receive_all_records(now);
                    let completions = self.flush(now);
                    // The caller waits until the delivery thread has run the callbacks that are due, so they go there
                    // first.
                    self.hand_over_completed();
                    let _ = reply.send(completions);
                }
                Event::Close => {
                    self.closing = true;
                    self.receive_all_records(now);
                    self.reschedule_all(now);
                }
                Event::ForceClose => {
                    self.force_closed = true;
                    self.fail_everything(&Error::new(
                        ErrorKind::ForceClosed,
                        "the producer was closed before the record was delivered",
                    ));
                }
            }
        }
    }

    /// Receives full batches and announcements from callers. Returns whether there may be more.
    fn receive_records(&mut self, now: Instant) -> bool {
        self.receive_messages(MOST_MESSAGES, now)
    }

    /// Receives what callers have handed over until now, and nothing that they hand over meanwhile.
    fn receive_all_records(&mut self, now: Instant) {
        self.receive_messages(self.records.len(), now);
    }

    fn receive_messages(&mut self, most: usize, now: Instant) -> bool {
        for _ in 0..most {
            let Some(message) = self.records.try_recv() else {
                return false;
            };
            let id = self.receive(message);
            self.reschedule(id, now);
        }
        true
    }

    /// Adds a message to its partition's state. Returns the partition, which must be rescheduled afterwards.
    fn receive(&mut self, message: Message) -> PartitionId {
        match message {
            Message::Opened(partition) => {
                let id = partition.id();
                // An announcement can come after the partition was forgotten.
                if self.partitions.contains_key(&id) || !partition.is_retired() {
                    self.state_of(&partition).announce();
                }
                id
            }
            Message::FullBatch(batch) => {
                self.full_batches += 1;
                let partition = Arc::clone(&batch.partition);
                let state = self.state_of(&partition);
                state.received += 1;
                state.push(batch);
                partition.id()
            }
        }
    }

    pub(super) fn state_of(&mut self, partition: &Arc<Partition>) -> &mut PartitionState {
        let state = self.partitions.entry(partition.id());
        state.or_insert_with(|| PartitionState::new(Arc::clone(partition)))
    }

    /// If there is a new metadata snapshot, takes it and reschedules the partitions that it concerns.
    fn follow_metadata(&mut self, now: Instant) {
        let generation = self.metadata.generation();
        if generation == self.generation {
            return;
        }
        self.generation = generation;
        let before = self.take_snapshot();
        self.follow_addresses(now);
        self.abandon_replaced_leaders(now);
        let is_another = self.cluster.is_other_than(before.cluster_id());
        let is_same_era = self.cluster.identity_era == before.identity_era;
        if before.has_same_brokers(&self.cluster) && !is_another && is_same_era {
            self.reschedule_changed(&before, now);
        } else {
            self.schedule.take_without_leader();
            self.reschedule_all(now);
        }
        self.remove_departed_brokers();
    }

    /// Removes the brokers that left the cluster and are not needed.
    fn remove_departed_brokers(&mut self) {
        let (accumulator, index) = (&self.accumulator, self.config.index);
        self.brokers
            .remove_departed(&self.cluster, |id, broker_link| {
                if broker_link.reported_unavailable {
                    accumulator.report_availability(id, index, true);
                }
            });
    }

    /// Returns whether there is a newer metadata snapshot than the one that this worker has.
    pub(super) fn is_cluster_outdated(&self) -> bool {
        self.metadata.generation() != self.generation
    }

    /// Abandons the link to each broker whose address has changed. The broker may be dialled again at once.
    fn follow_addresses(&mut self, now: Instant) {
        let mut moved = Vec::new();
        for (id, broker_link) in self.brokers.iter_mut() {
            let Some(broker) = self.cluster.broker(id.0) else {
                continue;
            };
            if *broker_link.endpoint.host != *broker.host()
                || broker_link.endpoint.port != broker.port()
            {
                broker_link.endpoint = broker.endpoint();
                broker_link.failures = 0;
                moved.push(id);
            }
        }
        for id in moved {
            self.abandon_link(
                id,
                Error::new(ErrorKind::Network, "the broker moved to another address"),
                now,
            );
            if let Some(BrokerLink {
                state: LinkState::Down { not_before },
                failing_until,
                ..
            }) = self.brokers.get_mut(id)
            {
                (*not_before, *failing_until) = (None, None);
            }
        }
    }

    /// Reschedules the partitions with an open batch if callers wait for memory. Open batches do not linger while callers
    /// wait for the budget. While callers wait for a broker's share, the open batches of that broker do not linger.
    fn reschedule_for_waiters(&mut self, now: Instant) {
        let memory = &self.accumulator.memory;
        let waits = memory.waits();
        let is_new = std::mem::replace(&mut self.seen_waits, waits) != waits;
        if memory.has_budget_waiters() || is_new && memory.has_share_waiters() {
            for id in self.partitions_where(|state| {
                state.has_open_batch() && state.entries.queued_at.is_none()
            }) {
                self.reschedule(id, now);
            }
        }
    }

    /// Receives messages until the worker has received `received` full batches of the partition in total. The caller knows
    /// that they are in the channel.
    pub(super) fn receive_full_batches_of(&mut self, id: PartitionId, received: u64, now: Instant) {
        let mut others = Vec::new();
        while self.state(id).received < received {
            let Some(message) = self.records.try_recv() else {
                return;
            };
            others.push(self.receive(message));
        }
        // Their timers reschedule these partitions. `reschedule` itself can call this function, and the calls would nest.
        for other in others {
            self.reschedule_at(other, now);
        }
    }

    /// Moves the open batch, if there is one, to the end of the queue.
    pub(super) fn queue_open_batch(&mut self, id: PartitionId) {
        let state = self.state(id);
        if let Some(batch) = state.partition.take_open(state.received) {
            state.open = OpenBatchState::NoneKnown;
            state.push(batch);
        }
    }

    /// Ends the linger of all batches, and returns the completions of all batches.
    fn flush(&mut self, now: Instant) -> Vec<Arc<Completion>> {
        let mut completions = Vec::new();
        for id in self.partitions_where(|state| !state.is_empty()) {
            let state = self.state(id);
            // A caller may fill the open batch and hand it over at any time, so the open batch and the count of full
            // batches are read under one lock.
            let (pushed, open) = state.partition.handed_over();
            if state.received != pushed {
                self.receive_full_batches_of(id, pushed, now);
            }
            let state = self.state(id);
            completions.extend(
                state
                    .in_flight
                    .iter()
                    .map(|sent| Arc::clone(sent.batch.completion())),
            );
            completions.extend(
                state
                    .queue
                    .iter()
                    .map(|batch| Arc::clone(batch.completion())),
            );
            completions.extend(open);
            state.flush();
            self.reschedule(id, now);
        }
        completions
    }

    fn reschedule_due(&mut self, now: Instant) {
        for id in self.schedule.take_due(&mut self.partitions, now) {
            self.reschedule(id, now);
        }
    }

    fn next_deadline(&self, now: Instant) -> Option<Instant> {
        let partitions = self.schedule.next_deadline().into_iter();
        let links = self.brokers.iter();
        let links = links.filter_map(|(_, broker_link)| self.link_deadline(broker_link, now));
        partitions.chain(links).min()
    }
}
