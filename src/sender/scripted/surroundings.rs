//! What workers share with the rest of a producer: the accumulator, the metadata, the channels.

use std::sync::Arc;
use std::time::Instant;

use super::harness::{Leadership, TOPIC};
use crate::accumulator::batch::CompletedBatch;
use crate::accumulator::completion::{Completion, RecordHandle, RecordResult};
use crate::accumulator::handover::{HandoverReceiver, handover};
use crate::accumulator::memory::BufferMemory;
use crate::accumulator::open_batch::SerializedRecord;
use crate::accumulator::topic_config::TopicConfig;
use crate::accumulator::{Message, RecordAccumulator, WorkerHandle};
use crate::connection::link::Network;
use crate::error::Error;
use crate::identity::ProducerIdSource;
use crate::metadata::{
    Broker, Cluster, ClusterObserver, MetadataCache, PartitionMetadata, TopicChanges, TopicId,
    TopicMetadata,
};
use crate::sender::{DeliveryTask, Event, Mailbox, Sender, SenderConfig, Shared};
use crate::sync::{Wakeup, channel};

/// Everything that workers are connected to, without the network.
pub(crate) struct Surroundings {
    pub(crate) shared: Shared,
    /// What the workers hand to the delivery thread.
    pub(crate) deliveries: channel::Receiver<DeliveryTask>,
    delivered: channel::Sender<DeliveryTask>,
    workers: Vec<WorkerEnds>,
    config: SenderConfig,
}

/// The ends of a worker's channels.
struct WorkerEnds {
    /// For the worker, which takes it.
    records: Option<HandoverReceiver<Message>>,
    /// For the worker.
    events: channel::Receiver<Event>,
    mailbox: Mailbox,
}

impl Surroundings {
    pub(crate) fn new(config: &SenderConfig, workers: usize, buffer_memory: usize) -> Self {
        let mut ends = Vec::new();
        let handles = (0..workers).map(|_| {
            let wakeup = Arc::new(Wakeup::new(Instant::now()));
            let (records, received) = handover();
            let (mailbox, events) = Mailbox::new(Arc::clone(&wakeup));
            ends.push(WorkerEnds {
                records: Some(received),
                events,
                mailbox,
            });
            WorkerHandle::new(records, wakeup)
        });
        let topic_config = TopicConfig {
            max_batch_bytes: config.max_request_size,
            ..config.topics.clone()
        };
        let accumulator = Arc::new(RecordAccumulator::new(
            crate::threads::InstanceId::new(),
            BufferMemory::new(buffer_memory),
            topic_config,
            handles.collect(),
        ));
        let metadata = MetadataCache::new(Box::new(Publication(Arc::clone(&accumulator))));
        let (delivered, deliveries) = channel::unbounded();
        let producer_ids = ProducerIdSource::new(&metadata);
        Self {
            shared: Shared {
                accumulator,
                metadata,
                producer_ids,
            },
            deliveries,
            delivered,
            workers: ends,
            config: config.clone(),
        }
    }

    /// The mailboxes of all workers.
    pub(crate) fn mailboxes(&self) -> Vec<Mailbox> {
        let workers = self.workers.iter();
        workers.map(|ends| ends.mailbox.clone()).collect()
    }

    /// The worker of that index. Each can be made once.
    pub(crate) fn worker<N: Network>(&mut self, index: usize, network: N) -> Sender<N> {
        let ends = &mut self.workers[index];
        Sender::new(
            SenderConfig {
                index,
                ..self.config.clone()
            },
            self.shared.clone(),
            network,
            ends.records.take().expect("a worker that was not made yet"),
            ends.events.clone(),
            self.delivered.clone(),
        )
    }
}

/// Brings new metadata to the callers and the workers.
struct Publication(Arc<RecordAccumulator>);

impl ClusterObserver for Publication {
    fn before_publication(&self, changes: &TopicChanges) {
        self.0.topics.update(changes);
    }

    fn after_publication(&self) {
        self.0.wake_workers();
    }
}

/// Publishes a cluster of `brokers` with the one topic [`TOPIC`], whose partitions have these leaders.
pub(crate) fn publish_to(
    metadata: &MetadataCache,
    cluster_id: Option<Arc<str>>,
    brokers: i32,
    leaders: &[Leadership],
    topic_id: Option<TopicId>,
) {
    let replicas: Vec<i32> = (1..=brokers).collect();
    let brokers = (1..=brokers).map(|id| {
        let broker = Broker {
            id,
            host: format!("broker-{id}").into(),
            port: 9092,
            rack: None,
        };
        (id, Arc::new(broker))
    });
    let partitions = (0..).zip(leaders);
    let partitions = partitions.map(|(partition, leadership)| PartitionMetadata {
        partition,
        leader: leadership.broker,
        leader_epoch: Some(leadership.epoch),
        replicas: replicas.clone(),
        in_sync_replicas: replicas.clone(),
        offline_replicas: Vec::new(),
    });
    let topic = TopicMetadata {
        name: TOPIC.into(),
        id: topic_id,
        is_internal: false,
        partitions: partitions.collect(),
    };
    let before = metadata.cluster();
    let known = before.topic(TOPIC);
    let is_another = before.is_other_than(cluster_id.as_deref())
        || known.is_some_and(|known| known.is_other_than(&topic));
    metadata.publish_cluster(Cluster {
        cluster_id,
        brokers: brokers.collect(),
        topics: [topic].into_iter().collect(),
        identity_era: before.identity_era + u64::from(is_another),
        ..Cluster::default()
    });
}

/// A record without key and headers.
pub(crate) fn record_of(
    value: &[u8],
) -> SerializedRecord<'_, (&'static str, Option<&'static [u8]>)> {
    SerializedRecord {
        timestamp_ms: 1_000,
        key: None,
        value: Some(value),
        headers: &[],
    }
}

/// A record that is in a batch, to ask for its outcome.
#[derive(Clone)]
pub(crate) struct Ticket {
    pub(crate) completion: Arc<Completion>,
    pub(crate) index: u32,
}

impl From<RecordHandle> for Ticket {
    fn from(RecordHandle { completion, index }: RecordHandle) -> Self {
        Self { completion, index }
    }
}

impl Ticket {
    /// The outcome, or `None` if there is none yet.
    pub(crate) fn result(&self) -> Option<RecordResult> {
        self.completion.try_get(self.index)
    }

    /// The offset of a record that is written.
    pub(crate) fn offset(&self) -> Option<i64> {
        self.result().unwrap().unwrap().offset
    }

    /// The error of a record that failed.
    pub(crate) fn error(&self) -> Error {
        self.result().unwrap().unwrap_err()
    }
}

/// Runs the callbacks that workers have handed over, as the delivery thread does.
pub(crate) fn run_callbacks(deliveries: &channel::Receiver<DeliveryTask>) {
    while let Ok(delivery) = deliveries.try_recv() {
        if let DeliveryTask::RunCallbacks(completed) = delivery {
            completed.into_iter().for_each(CompletedBatch::deliver);
        }
    }
}
