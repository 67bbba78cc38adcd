//! Starts a producer: first the state that its threads share, then the threads.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crate::accumulator::handover::{HandoverReceiver, handover};
use crate::accumulator::memory::BufferMemory;
use crate::accumulator::{Message, RecordAccumulator, WorkerHandle};
use crate::connection::ConnectionContext;
use crate::connection::link::{EventSink, LinkEvent, LinkId};
use crate::connection::tcp_network::TcpNetwork;
use crate::error::Error;
use crate::identity::{InitProducerIdCalls, ProducerIdSource};
use crate::metadata::MetadataCache;
use crate::metadata::refresh::{MetadataRefresher, RefreshNetwork};
use crate::sender::{Event, Mailbox, Sender, Shared, Worker};
use crate::sync::{Wakeup, channel};
use crate::threads::ThreadGroup;

use super::Engine;
use super::close::{CloseState, RunningWorkers};
use super::deliveries::Deliveries;
use super::observers::{IdentityEvents, Publication, UsedTopics};
use super::panics::Panics;
use crate::producer::bootstrap::BootstrapLookUp;
use crate::producer::config::ValidatedConfig;

/// The ends of the two channels from which a worker receives.
struct Inbox {
    records: HandoverReceiver<Message>,
    events: channel::Receiver<Event>,
}

/// All ends of the channels to a worker.
struct WorkerEnds {
    handle: Arc<WorkerHandle>,
    mailbox: Mailbox,
    inbox: Inbox,
}

impl WorkerEnds {
    fn new(origin: Instant) -> Self {
        let wakeup = Arc::new(Wakeup::new(origin));
        let (sender, records) = handover();
        let (mailbox, events) = Mailbox::new(Arc::clone(&wakeup));
        Self {
            handle: WorkerHandle::new(sender, wakeup),
            mailbox,
            inbox: Inbox { records, events },
        }
    }
}

impl Engine {
    /// Makes the state and starts the threads. They do not connect yet. After an error no thread runs.
    pub(crate) fn start(config: ValidatedConfig) -> Result<Arc<Self>, Error> {
        let origin = Instant::now();
        let (mut handles, mut mailboxes, mut inboxes) = (Vec::new(), Vec::new(), Vec::new());
        for ends in (0..config.sender_threads()).map(|_| WorkerEnds::new(origin)) {
            handles.push(ends.handle);
            mailboxes.push(ends.mailbox);
            inboxes.push(ends.inbox);
        }
        let threads = Arc::<ThreadGroup>::default();
        let accumulator = Arc::new(RecordAccumulator::new(
            threads.instance(),
            BufferMemory::new(config.buffer_memory),
            config.topic_config(),
            handles,
        ));
        let metadata = MetadataCache::new(Box::new(Publication(Arc::clone(&accumulator))));
        let bootstrap = BootstrapLookUp::new(config.bootstrap_config(), &metadata);
        bootstrap.look_up_at_once(&threads)?;
        let connections = ConnectionContext {
            config: Arc::new(config.connection_config()),
            threads: Arc::clone(&threads),
            registry: Arc::default(),
        };
        let engine = Arc::new(Self {
            config,
            accumulator,
            producer_ids: ProducerIdSource::new(&metadata),
            metadata,
            bootstrap,
            mailboxes,
            running_workers: Arc::default(),
            deliveries: Deliveries::new(),
            connections,
            current_connection: Arc::default(),
            threads,
            close_state: CloseState::default(),
        });
        if let Err(error) = engine.start_threads(inboxes) {
            let _ = engine.close(Duration::ZERO);
            return Err(error);
        }
        Ok(engine)
    }

    fn start_threads(&self, inboxes: Vec<Inbox>) -> Result<(), Error> {
        let shared = Shared {
            accumulator: Arc::clone(&self.accumulator),
            metadata: Arc::clone(&self.metadata),
            producer_ids: Arc::clone(&self.producer_ids),
        };
        let inboxes = inboxes.into_iter().enumerate();
        // All workers are made before the first one runs: to make one, the channel to the delivery thread must be open.
        let workers: Vec<_> = inboxes
            .map(|(index, inbox)| self.new_worker(index, inbox, shared.clone()))
            .collect();
        for (index, worker) in workers.into_iter().enumerate() {
            let running = RunningWorkers::add(&self.running_workers);
            let panics = self.panics();
            self.spawn(&format!("sender-{index}"), move || {
                let _running = running;
                panics.watch("sender", || worker.run());
            })?;
        }
        self.start_bootstrap_thread()?;
        self.start_metadata_thread()
    }

    fn new_worker(&self, index: usize, inbox: Inbox, shared: Shared) -> Arc<Worker<TcpNetwork>> {
        Arc::new_cyclic(|worker: &Weak<Worker<TcpNetwork>>| {
            let network = TcpNetwork::new(
                self.connections.clone(),
                event_sink(worker.clone(), self.panics()),
                index,
            );
            let sender = Sender::new(
                self.config.sender_config(index),
                shared,
                network,
                inbox.records,
                inbox.events,
                self.deliveries.sender(),
            );
            let handle = Arc::clone(&self.accumulator.workers()[index]);
            Worker::new(handle, self.mailboxes[index].clone(), sender)
        })
    }

    /// Starts the thread that resolves `bootstrap.servers` in the background, if they are not resolved yet.
    fn start_bootstrap_thread(&self) -> Result<(), Error> {
        if !self.bootstrap.is_open() {
            return Ok(());
        }
        let (bootstrap, panics) = (Arc::clone(&self.bootstrap), self.panics());
        let threads = Arc::clone(&self.threads);
        self.spawn("bootstrap", move || {
            panics.watch("bootstrap", || bootstrap.run(&threads));
        })
    }

    fn start_metadata_thread(&self) -> Result<(), Error> {
        let calls = InitProducerIdCalls::new(
            Arc::clone(&self.producer_ids),
            self.config.exponential_retry_backoff(),
            IdentityEvents(self.mailboxes.clone()),
        );
        let refresher = MetadataRefresher::new(
            Arc::clone(&self.metadata),
            self.config.refresh_config(),
            RefreshNetwork {
                connections: self.connections.clone(),
                current: Arc::clone(&self.current_connection),
            },
            UsedTopics(Arc::clone(&self.accumulator)),
            Box::new(calls),
        );
        let panics = self.panics();
        self.spawn("metadata", move || {
            panics.watch("metadata", || refresher.run());
        })
    }
}

/// Returns the function that a worker's links call. It does not keep the worker alive.
fn event_sink(worker: Weak<Worker<TcpNetwork>>, panics: Panics) -> EventSink {
    Arc::new(move |link: LinkId, event: LinkEvent| {
        if let Some(worker) = worker.upgrade() {
            panics.watch("sender", || worker.report(Event::Link(link, event)));
        }
    })
}
