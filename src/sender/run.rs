//! The worker's loop.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::SenderConfig;
use super::broker_link::{BrokerLink, LinkState, RequestId};
use super::codec::Codec;
use super::message::{Delivery, Event};
use super::partition_state::{Leader, PartitionState};
use crate::accumulator::batch::CompletedBatch;
use crate::accumulator::completion::{Completion, Outcome};
use crate::accumulator::handover::HandoverReceiver;
use crate::accumulator::partition::{Partition, PartitionId, Peek};
use crate::accumulator::sequence::ForgottenEpochs;
use crate::accumulator::{Message, RecordAccumulator, WorkerHandle};
use crate::connection::link::{LinkId, Network};
use crate::error::{Error, ErrorKind};
use crate::identity::{ProducerIdSource, ProducerIdentity};
use crate::metadata::{BrokerId, Cluster, LeaderHint, MetadataCache};
use crate::sync::channel;
use crate::time::deadline_after;

/// One worker.
pub(crate) struct Sender<N: Network> {
    pub(super) config: SenderConfig,
    pub(super) accumulator: Arc<RecordAccumulator>,
    pub(super) metadata: Arc<MetadataCache>,
    pub(super) producer_ids: Arc<ProducerIdSource>,
    pub(super) network: N,
    pub(super) records: HandoverReceiver<Message>,
    events: channel::Receiver<Event>,
    pub(super) deliveries: channel::Sender<Delivery>,
    /// Batches with callbacks that were settled and not handed over to the delivery thread yet.
    pub(super) settled: Vec<CompletedBatch>,

    /// By the partition's number at this worker.
    pub(super) partitions: BTreeMap<PartitionId, PartitionState>,
    /// Partitions that were forgotten, whose states are to go.
    pub(super) forgotten: Vec<Arc<Partition>>,
    pub(super) forgotten_epochs: ForgottenEpochs,
    /// Served in order of their ids: a simulated history is the same each time.
    pub(super) brokers: BTreeMap<BrokerId, BrokerLink>,
    /// The broker of each link that has not said its last word.
    pub(super) links: HashMap<LinkId, BrokerId>,
    pub(super) next_link: LinkId,
    pub(super) next_request: RequestId,
    /// When to look at which partition; entries that are not the partition's own `timer` are void.
    timers: BinaryHeap<Reverse<(Instant, PartitionId)>>,
    /// When a partition's oldest batch may expire: one entry for each partition at most.
    expiries: BinaryHeap<Reverse<(Instant, PartitionId)>>,
    pub(super) cluster: Arc<Cluster>,
    generation: u64,
    /// Partitions with something to send that had no leader: to be looked at with every new picture of the cluster.
    pub(super) leaderless: BTreeSet<PartitionId>,
    /// The identity to begin partitions with: given by `cluster`.
    pub(super) identity: Option<ProducerIdentity>,
    pub(super) codec: Codec,
    /// With whom the next round begins to serve brokers.
    pub(super) first_served: BrokerId,
    /// New leaders that the response under way named.
    pub(super) hints: Vec<LeaderHint>,
    /// Full batches taken so far.
    chunks: u64,
    /// The waits for memory that this worker has reacted to.
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

/// Batches whose linger ends this soon go together: fewer wake-ups, larger requests.
const MOST_SLACK: Duration = Duration::from_millis(1);

/// However the worker ends, by a panic too, every batch has its outcome. The channel would keep what is in it for as
/// long as somebody could send into it, so nobody may, before it is emptied.
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
        self.hand_over_settled();
        self.handle().disconnect();
    }
}

/// Messages taken from the channel at once, so that responses and deadlines have their turn under any load.
const MOST_MESSAGES: usize = 4096;

impl<N: Network> Sender<N> {
    pub(crate) fn new(
        config: SenderConfig,
        shared: Shared,
        network: N,
        records: HandoverReceiver<Message>,
        events: channel::Receiver<Event>,
        deliveries: channel::Sender<Delivery>,
    ) -> Self {
        let Shared {
            accumulator,
            metadata,
            producer_ids,
        } = shared;
        Self {
            accumulator,
            metadata,
            producer_ids,
            network,
            records,
            events,
            deliveries,
            settled: Vec::new(),
            partitions: BTreeMap::new(),
            forgotten: Vec::new(),
            forgotten_epochs: ForgottenEpochs::default(),
            brokers: BTreeMap::new(),
            links: HashMap::new(),
            next_link: LinkId(0),
            next_request: RequestId(0),
            timers: BinaryHeap::new(),
            expiries: BinaryHeap::new(),
            cluster: Arc::default(),
            generation: 0,
            leaderless: BTreeSet::new(),
            identity: None,
            codec: Codec::new(config.compression.codec),
            first_served: BrokerId(i32::MIN),
            hints: Vec::new(),
            chunks: 0,
            seen_waits: 0,
            closing: false,
            force_closed: false,
            config,
        }
    }

    /// One round: take in what happened, move every batch as far as it can go. Returns when the next round is due if
    /// nothing happens before.
    pub(crate) fn run_once(&mut self, now: Instant) -> Option<Instant> {
        self.forget_partitions();
        self.take_events(now);
        let more = self.take_records(now);
        self.follow_metadata(now);
        self.relieve_memory(now);
        self.fire_timers(now);
        // Compression and writing can take their time.
        self.hand_over_settled();
        let more = self.serve_brokers(now) || more;
        self.hand_over_settled();
        if more {
            Some(now)
        } else {
            self.next_deadline(now)
        }
    }

    /// Whether something happened that `run_once` has not seen: the last look before a sleep.
    pub(crate) fn has_news(&self) -> bool {
        !self.records.is_empty()
            || !self.events.is_empty()
            || self.metadata.generation() != self.generation
            || self.handle().has_retired()
            || self.accumulator.memory.waits() != self.seen_waits
    }

    /// The part of it that links and the cluster tell.
    pub(super) fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// Whether a round may be long for the compression in it.
    pub(super) fn may_compress_slowly(&self, now: Instant) -> bool {
        self.codec.may_be_slow(now)
    }

    /// Whether batches could be sent, had a broker room for them.
    pub(super) fn waits_for_room(&self) -> bool {
        self.brokers.values().any(|link| !link.line.is_empty())
    }

    /// The full batches that ever came from callers.
    pub(super) fn batches_taken(&self) -> u64 {
        self.chunks
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

    /// This worker as others see it.
    pub(super) fn handle(&self) -> &WorkerHandle {
        &self.accumulator.workers()[self.config.index]
    }

    fn states(&self) -> impl Iterator<Item = &PartitionState> {
        self.partitions.values()
    }

    pub(super) fn state(&mut self, id: PartitionId) -> &mut PartitionState {
        self.partitions.get_mut(&id).expect(
            "a partition's state is there from when it is first heard of until it is forgotten",
        )
    }

    /// The partitions of which `is_meant` says yes.
    pub(super) fn partitions_where(
        &self,
        is_meant: impl Fn(&PartitionState) -> bool,
    ) -> Vec<PartitionId> {
        let meant = self.partitions.iter();
        let meant = meant.filter(|(_, state)| is_meant(state));
        meant.map(|(id, _)| *id).collect()
    }

    fn take_events(&mut self, now: Instant) {
        while let Ok(event) = self.events.try_recv() {
            match event {
                Event::Link(link, event) => self.on_link_event(link, event, now),
                Event::Identity(result) => self.on_identity(result, now),
                Event::Flush(reply) => {
                    self.take_all_records(now);
                    let completions = self.flush(now);
                    // The caller waits behind these for the callbacks that are due.
                    self.hand_over_settled();
                    let _ = reply.send(completions);
                }
                Event::Close => {
                    self.closing = true;
                    self.take_all_records(now);
                    self.consider_all(now);
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

    /// Takes batches and announcements from the callers; true if there may be more.
    fn take_records(&mut self, now: Instant) -> bool {
        self.take_messages(MOST_MESSAGES, now)
    }

    /// Takes what the callers have handed over so far, and not what they go on to hand over meanwhile.
    fn take_all_records(&mut self, now: Instant) {
        self.take_messages(self.records.len(), now);
    }

    fn take_messages(&mut self, most: usize, now: Instant) -> bool {
        for _ in 0..most {
            let Some(message) = self.records.try_recv() else {
                return false;
            };
            let id = self.take_in(message);
            self.consider(id, now);
        }
        true
    }

    /// Notes what a message brings, and returns the partition's number, to be looked at.
    fn take_in(&mut self, message: Message) -> PartitionId {
        match message {
            Message::Opened(partition) => {
                let id = partition.id();
                // An announcement that nobody waited for can come when the partition is forgotten already.
                if self.partitions.contains_key(&id) || !partition.is_retired() {
                    self.state_of(&partition).announced = true;
                }
                id
            }
            Message::FullBatch(batch) => {
                self.chunks += 1;
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

    /// Looks anew at the partitions for which a new picture of the cluster, if there is one, changes anything.
    fn follow_metadata(&mut self, now: Instant) {
        let generation = self.metadata.generation();
        if generation == self.generation {
            return;
        }
        self.generation = generation;
        let before = self.take_picture();
        self.follow_addresses(now);
        self.leave_the_replaced(now);
        let is_another = self.cluster.is_other_than(before.cluster_id());
        let is_same_era = self.cluster.identity_era == before.identity_era;
        if before.has_same_brokers(&self.cluster) && !is_another && is_same_era {
            self.consider_changed(&before, now);
        } else {
            self.leaderless.clear();
            self.consider_all(now);
        }
        self.forget_strangers();
    }

    /// Looks at the partitions whose topics are different in the new picture, and at those that had no leader.
    fn consider_changed(&mut self, before: &Cluster, now: Instant) {
        let mut ids = std::mem::take(&mut self.leaderless);
        let changes = self.cluster.topics.changes_since(&before.topics);
        let changed = changes.changed.iter().map(|topic| &topic.name);
        for name in changed.chain(&changes.gone) {
            let partitions = self.accumulator.topics.all_partitions(name);
            let own = partitions
                .iter()
                .filter(|partition| std::ptr::eq(partition.worker(), self.handle()));
            ids.extend(own.map(|partition| partition.id()));
        }
        for id in ids {
            let state = self.partitions.get(&id);
            if state.is_some_and(|state| !state.is_empty()) {
                self.consider(id, now);
            }
        }
    }

    /// Brokers come and go for as long as a producer lives: those that are gone and left nothing behind are forgotten.
    fn forget_strangers(&mut self) {
        let (cluster, accumulator) = (&self.cluster, &self.accumulator);
        let index = self.config.index;
        self.brokers.retain(|id, link| {
            let is_known = cluster.broker(id.0).is_some();
            let is_needed = link.link().is_some() || !link.line.is_empty();
            if !is_known && !is_needed && link.reported_unavailable {
                accumulator.report_availability(*id, index, true);
            }
            is_known || is_needed
        });
    }

    /// A broker that moved to another address is connected to anew.
    fn follow_addresses(&mut self, now: Instant) {
        let mut moved = Vec::new();
        for (id, link) in &mut self.brokers {
            let Some(broker) = self.cluster.broker(id.0) else {
                continue;
            };
            if *link.endpoint.host != *broker.host() || link.endpoint.port != broker.port() {
                link.endpoint = broker.endpoint();
                link.failures = 0;
                moved.push(*id);
            }
        }
        for id in moved {
            self.leave_link(
                id,
                Error::new(ErrorKind::Network, "the broker moved to another address"),
                now,
            );
            if let Some(BrokerLink {
                state: LinkState::Down { not_before },
                failing_until,
                ..
            }) = self.brokers.get_mut(&id)
            {
                (*not_before, *failing_until) = (None, None);
            }
        }
    }

    /// While somebody waits for memory nothing lingers: nothing at all, or nothing of the broker whose share it is.
    fn relieve_memory(&mut self, now: Instant) {
        let memory = &self.accumulator.memory;
        let waits = memory.waits();
        let is_new = std::mem::replace(&mut self.seen_waits, waits) != waits;
        if memory.is_exhausted() || is_new && memory.has_exhausted_share() {
            for id in self.partitions_where(|state| state.announced && state.in_line.is_none()) {
                self.consider(id, now);
            }
        }
    }

    fn fire_timers(&mut self, now: Instant) {
        let horizon = now + self.slack();
        // All that are due first: a partition may set itself a timer that is due again, for the next round.
        let mut due = Vec::new();
        while self
            .timers
            .peek()
            .is_some_and(|Reverse((at, _))| *at <= horizon)
        {
            let Some(Reverse((at, id))) = self.timers.pop() else {
                break;
            };
            if let Some(state) = self.partitions.get_mut(&id) {
                if state.timer == Some(at) {
                    state.timer = None;
                    due.push(id);
                }
            }
        }
        while self
            .expiries
            .peek()
            .is_some_and(|Reverse((at, _))| *at <= now)
        {
            let Some(Reverse((_, id))) = self.expiries.pop() else {
                break;
            };
            if let Some(state) = self.partitions.get_mut(&id) {
                state.expiry_scheduled = false;
                due.push(id);
            }
        }
        for id in due {
            self.consider(id, now);
        }
    }

    fn slack(&self) -> Duration {
        (self.config.linger / 8).min(MOST_SLACK)
    }

    fn schedule(&mut self, id: PartitionId, at: Instant) {
        let state = self.state(id);
        if state.timer.is_none_or(|timer| at < timer) {
            state.timer = Some(at);
            self.timers.push(Reverse((at, id)));
        }
    }

    /// Looks at the partition again when a batch of that age may expire. An entry that is there already is earlier, since
    /// batches only get younger, and makes the next one when it fires.
    pub(super) fn schedule_expiry(&mut self, id: PartitionId, created: Instant) {
        if !std::mem::replace(&mut self.state(id).expiry_scheduled, true) {
            let at = self.delivery_deadline(created);
            self.expiries.push(Reverse((at, id)));
        }
    }

    fn consider_all(&mut self, now: Instant) {
        for id in self.partitions_where(|state| !state.is_empty()) {
            self.consider(id, now);
        }
    }

    /// Looks at what a partition needs next: fails what is too old, and puts the partition in its leader's line, or
    /// notes when to look again. Whatever else it waits for (an answer, a leader, a producer id) looks at it again.
    pub(super) fn consider(&mut self, id: PartitionId, now: Instant) {
        if !self.partitions.contains_key(&id) {
            // It is forgotten.
            return;
        }
        self.expire(id, now);
        if let Some(leader) = self.sendable_to(id, now) {
            let Some(broker) = self.cluster.broker(leader.broker.0) else {
                return;
            };
            let endpoint = broker.endpoint();
            let before = self.state(id).in_line.replace(leader.broker);
            if before == Some(leader.broker) {
                return;
            }
            // The leader moved while the partition stood in the old one's line.
            if let Some(link) = before.and_then(|broker| self.brokers.get_mut(&broker)) {
                link.line.retain(|other| *other != id);
            }
            let link = self
                .brokers
                .entry(leader.broker)
                .or_insert_with(|| BrokerLink::new(endpoint));
            link.line.push_back(id);
        }
    }

    /// The broker that the partition's next batch can be sent to now. Schedules the next look where time is what it
    /// waits for.
    pub(super) fn sendable_to(&mut self, id: PartitionId, now: Instant) -> Option<Leader> {
        let (idempotence, max_in_flight) = (self.config.idempotence, self.config.max_in_flight);
        if self.state(id).queue.is_empty() && !self.open_batch_is_due(id, now) {
            return None;
        }
        let Some(leader) = self.leader(id) else {
            self.leaderless.insert(id);
            if self.metadata.generation() != self.generation {
                // There is a newer picture, which this worker has not looked at: it is what let the caller append.
                return None;
            }
            let partition = Arc::clone(&self.state(id).partition);
            self.accumulator.topics.leave_partition(&partition);
            self.metadata.keep_topic(partition.topic());
            self.metadata.request_refresh();
            let again = now
                + self
                    .config
                    .retry_backoff
                    .after(0)
                    .max(Duration::from_millis(10));
            self.schedule(id, again);
            return None;
        };
        let state = self.state(id);
        if let Some(retry) = state.retry {
            if retry.not_before > now && retry.failed == leader {
                self.schedule(id, retry.not_before);
                return None;
            }
            state.retry = None;
        }
        let elsewhere = state
            .in_flight
            .iter()
            .any(|sent| sent.leader.broker != leader.broker);
        // Without idempotence nothing keeps the order but one request in flight, so with several nothing waits for a leader
        // that may hang, as in Java.
        let waits_for_another = idempotence && elsewhere;
        if waits_for_another || !state.may_send(leader, idempotence, max_in_flight, now) {
            return None;
        }
        if idempotence && state.sequence.identity().is_none() && !self.begin_identity(id) {
            return None;
        }
        Some(leader)
    }

    /// Whether there is an open batch that need not linger any more.
    fn open_batch_is_due(&mut self, id: PartitionId, now: Instant) -> bool {
        let memory = &self.accumulator.memory;
        let at_once = self.closing
            || memory.is_exhausted()
            || memory.has_exhausted_share() && self.is_share_exhausted(id);
        let horizon = now + self.slack();
        let linger = self.config.linger;
        let state = self.state(id);
        if !state.announced {
            return false;
        }
        match state.partition.peek(state.received) {
            Peek::OpenSince(since) => {
                let due = deadline_after(since, linger);
                if at_once || state.flushing || due <= horizon {
                    self.schedule_expiry(id, since);
                    return true;
                }
                self.schedule(id, due);
                false
            }
            Peek::None => {
                (state.announced, state.flushing) = (false, false);
                false
            }
            Peek::FullBatchQueued => {
                // The chunk that comes first is in the channel; with it the queue is not empty.
                let chunks = self.state(id).received + 1;
                self.receive_chunks_of(id, chunks, now);
                !self.state(id).queue.is_empty()
            }
        }
    }

    fn is_share_exhausted(&self, id: PartitionId) -> bool {
        let state = self.partitions.get(&id);
        state.is_some_and(|state| state.partition.is_share_exhausted())
    }

    /// Takes messages until so many chunks of `id` have ever been received; they are known to be in the channel.
    fn receive_chunks_of(&mut self, id: PartitionId, chunks: u64, now: Instant) {
        let mut others = Vec::new();
        while self.state(id).received < chunks {
            let Some(message) = self.records.try_recv() else {
                return;
            };
            others.push(self.take_in(message));
        }
        // They are looked at by the timer that this sets: not here, where it would nest.
        for other in others {
            if self.partitions.contains_key(&other) {
                self.schedule(other, now);
            }
        }
    }

    /// The partition's leader, if it has one whose address is known. A topic of another id is another topic, perhaps in a
    /// cluster that was wiped: its log knows nothing of the sequences so far, and the producer id may be another producer's.
    pub(super) fn leader(&mut self, id: PartitionId) -> Option<Leader> {
        let cluster = Arc::clone(&self.cluster);
        let state = self.state(id);
        let topic = cluster.topic(state.partition.topic())?;
        let partition = topic
            .partitions()
            .get(state.partition.partition() as usize)?;
        if topic.id().is_some() && state.topic_id != topic.id() {
            if state.topic_id.is_some() {
                state.sequence.renounce_id();
            }
            state.topic_id = topic.id();
        }
        let broker = partition
            .leader()
            .map(BrokerId)
            .filter(|leader| cluster.broker(leader.0).is_some())?;
        Some(Leader {
            broker,
            epoch: partition.leader_epoch(),
            topic_id: topic.id(),
        })
    }

    /// The identity itself is in the `ProducerIdSource`, which knows whose it is: the cluster may have been replaced since.
    fn on_identity(&mut self, result: Result<(), Error>, now: Instant) {
        match result {
            Ok(()) => self.consider_all(now),
            Err(error) => {
                for id in self.partitions_where(|state| state.sequence.identity().is_none()) {
                    self.fail_without_identity(id, &error, now);
                }
            }
        }
    }

    /// Nothing can be sent without an identity: what waits for one fails, what comes later asks again.
    fn fail_without_identity(&mut self, id: PartitionId, error: &Error, now: Instant) {
        if self.open_batch_is_due(id, now) {
            self.queue_open_batch(id);
        }
        while let Some(batch) = self.state(id).queue.pop_front() {
            batch.partition.batch_drained();
            let error = batch.own(error);
            self.settle(batch, Outcome::Failed(error));
        }
        self.consider(id, now);
    }

    /// Moves the open batch, if there is one, to the end of the queue.
    pub(super) fn queue_open_batch(&mut self, id: PartitionId) {
        let state = self.state(id);
        if let Some(batch) = state.partition.take_open(state.received) {
            (state.announced, state.flushing) = (false, false);
            state.push(batch);
        }
    }

    /// Makes everything sendable at once and returns what tells when it is settled.
    fn flush(&mut self, now: Instant) -> Vec<Arc<Completion>> {
        let mut completions = Vec::new();
        for id in self.partitions_where(|state| !state.is_empty()) {
            let state = self.state(id);
            // What is open now can be full, and in the channel, a moment later: one look tells of both.
            let (pushed, open) = state.partition.handed_over();
            if state.received != pushed {
                self.receive_chunks_of(id, pushed, now);
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
            state.flushing = state.announced;
            self.consider(id, now);
        }
        completions
    }

    fn next_deadline(&self, now: Instant) -> Option<Instant> {
        let timers = [&self.timers, &self.expiries]
            .into_iter()
            .filter_map(|heap| heap.peek());
        let timers = timers.map(|Reverse((at, _))| *at);
        let links = self
            .brokers
            .values()
            .filter_map(|link| self.link_deadline(link, now));
        timers.chain(links).min()
    }
}
