//! The threads of one producer and what they share: everything that does not depend on the types of keys and values.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crate::accumulator::batch::CompletedBatch;
use crate::accumulator::handover::handover;
use crate::accumulator::memory::BufferMemory;
use crate::accumulator::topic_config::TopicConfig;
use crate::accumulator::{RecordAccumulator, WorkerHandle};
use crate::backoff::ExponentialBackoff;
use crate::connection::link::{EventSink, LinkEvent, LinkId, TcpNetwork};
use crate::connection::shared::Connections;
use crate::connection::{ConnectionConfig, Endpoint};
use crate::error::{Error, ErrorKind};
use crate::identity::{IdentityObserver, InitProducerIdCalls, ProducerIdSource};
use crate::metadata::refresh::{
    CurrentConnection, MetadataRefresher, RefreshConfig, RefreshNetwork, RefreshObserver,
};
use crate::metadata::{Cluster, ClusterObserver, MetadataCache, TopicChanges};
use crate::record::compression::Compression;
use crate::sender::{Delivery, Event, Mailbox, Sender, SenderConfig, Shared, Worker};
use crate::sync::{Condvar, Mutex, STACK_BYTES, Wakeup, channel, spawn};
use crate::threads::ThreadGroup;
use crate::threads::logging::log_line;
use crate::time::deadline_after;

use super::bootstrap::BootstrapLookUp;
use super::config::{MetadataRecoveryStrategy, ValidatedConfig};

/// Threads and shared state of a producer.
pub(crate) struct Engine {
    pub(crate) config: ValidatedConfig,
    pub(crate) accumulator: Arc<RecordAccumulator>,
    pub(crate) metadata: Arc<MetadataCache>,
    producer_ids: Arc<ProducerIdSource>,
    bootstrap: Arc<BootstrapLookUp>,
    workers: Vec<Mailbox>,
    progress: Arc<Progress>,
    deliveries: Deliveries,
    connections: Arc<Connections>,
    current_connection: Arc<CurrentConnection>,
    threads: Arc<ThreadGroup>,
    close_started: AtomicBool,
    close_result: Mutex<Option<u64>>,
    close_ended: Condvar,
}

/// The workers that still run.
#[derive(Default)]
struct Progress {
    running: Mutex<usize>,
    changed: Condvar,
}

/// The way to the delivery thread, which is started with the first callback.
struct Deliveries {
    sender: Mutex<Option<channel::Sender<Delivery>>>,
    receiver: Mutex<Option<channel::Receiver<Delivery>>>,
    is_started: AtomicBool,
}

/// How long a close waits, beyond its own time, for threads that have been told to end at once.
const GRACE: Duration = Duration::from_secs(1);

impl Engine {
    /// Starts the threads. Connects to nothing yet. After an error nothing is left running.
    pub(crate) fn start(config: ValidatedConfig) -> Result<Arc<Self>, Error> {
        let origin = Instant::now();
        let memory = BufferMemory::new(config.buffer_memory);
        let (handles, ends): (Vec<_>, Vec<_>) = (0..config.sender_threads())
            .map(|index| {
                let wakeup = Arc::new(Wakeup::new(origin));
                let (records, received) = handover();
                let (mailbox, events) = Mailbox::new(Arc::clone(&wakeup));
                let handle = WorkerHandle::new(records, wakeup);
                (handle, (index, received, events, mailbox))
            })
            .unzip();
        let threads = Arc::new(ThreadGroup::default());
        let topic_config = topic_config(&config);
        let accumulator = Arc::new(RecordAccumulator::new(
            threads.instance(),
            memory,
            topic_config.clone(),
            handles,
        ));
        let metadata = MetadataCache::new(Box::new(Publication(Arc::clone(&accumulator))));
        let producer_ids = ProducerIdSource::new(&metadata);
        let (sender, receiver) = channel::unbounded();
        let bootstrap = BootstrapLookUp::new(
            bootstrap_endpoints(&config),
            config.bootstrap_resolve_timeout,
            reconnect_backoff(&config),
            &metadata,
        );
        bootstrap.look_up_at_once(&threads)?;
        let connection_config = Arc::new(connection_config(&config));
        let connections = Arc::<Connections>::default();
        let progress = Arc::new(Progress::default());

        let shared = Shared {
            accumulator: Arc::clone(&accumulator),
            metadata: Arc::clone(&metadata),
            producer_ids: Arc::clone(&producer_ids),
        };
        let mut workers = Vec::new();
        let mut starts = Vec::new();
        for (index, records, events, mailbox) in ends {
            let handle = Arc::clone(&accumulator.workers()[index]);
            let worker = Arc::new_cyclic(|worker: &Weak<Worker<TcpNetwork>>| {
                let panics = Panics::of(&accumulator, &metadata);
                let network = TcpNetwork::new(
                    Arc::clone(&connection_config),
                    Arc::clone(&threads),
                    event_sink(worker.clone(), panics),
                    Arc::clone(&connections),
                    thread_name(&config, &format!("sender-{index}")),
                );
                let sender = Sender::new(
                    sender_config(&config, &topic_config, index),
                    shared.clone(),
                    network,
                    records,
                    events,
                    sender.clone(),
                );
                Worker::new(handle, mailbox.clone(), sender)
            });
            starts.push(worker);
            workers.push(mailbox);
        }
        let engine = Arc::new(Self {
            accumulator,
            metadata,
            producer_ids,
            bootstrap,
            workers,
            progress,
            deliveries: Deliveries {
                sender: Mutex::new(Some(sender)),
                receiver: Mutex::new(Some(receiver)),
                is_started: AtomicBool::new(false),
            },
            connections,
            current_connection: Arc::default(),
            threads,
            close_started: AtomicBool::new(false),
            close_result: Mutex::new(None),
            close_ended: Condvar::new(),
            config,
        });
        let started = engine.start_threads(starts, connection_config);
        if let Err(error) = started {
            let _ = engine.close(Duration::ZERO);
            return Err(error);
        }
        Ok(engine)
    }

    fn start_threads(
        &self,
        workers: Vec<Arc<Worker<TcpNetwork>>>,
        connection_config: Arc<ConnectionConfig>,
    ) -> Result<(), Error> {
        for (index, worker) in workers.into_iter().enumerate() {
            let running = RunningWorker::new(&self.progress);
            let panics = self.panics();
            self.spawn(&format!("sender-{index}"), move || {
                let _running = running;
                panics.watch("sender", || worker.run());
            })?;
        }
        if self.bootstrap.is_open() {
            let (bootstrap, panics) = (Arc::clone(&self.bootstrap), self.panics());
            let threads = Arc::clone(&self.threads);
            self.spawn("bootstrap", move || {
                panics.watch("bootstrap", || bootstrap.run(&threads));
            })?;
        }
        let observer = Observer {
            accumulator: Arc::clone(&self.accumulator),
        };
        let calls = InitProducerIdCalls::new(
            Arc::clone(&self.producer_ids),
            ExponentialBackoff::new(self.config.retry_backoff, self.config.retry_backoff_max),
            IdentityEvents(self.workers.clone()),
        );
        let refresher = MetadataRefresher::new(
            Arc::clone(&self.metadata),
            refresh_config(&self.config),
            RefreshNetwork {
                config: connection_config,
                threads: Arc::clone(&self.threads),
                connections: Arc::clone(&self.connections),
                current: Arc::clone(&self.current_connection),
            },
            observer,
            Box::new(calls),
        );
        let panics = self.panics();
        self.spawn("metadata", move || {
            panics.watch("metadata", || refresher.run());
        })
    }

    fn panics(&self) -> Panics {
        Panics::of(&self.accumulator, &self.metadata)
    }

    fn spawn(&self, name: &str, body: impl FnOnce() + Send + 'static) -> Result<(), Error> {
        self.threads
            .spawn(thread_name(&self.config, name), STACK_BYTES, body)
            .map_err(|error| thread_error(name, error))
    }

    /// Starts the delivery thread unless it runs: the first callback needs it.
    #[inline]
    pub(crate) fn start_deliveries(&self) -> Result<(), Error> {
        match self.deliveries.is_started.load(Ordering::Acquire) {
            true => Ok(()),
            false => self.start_delivery_thread(),
        }
    }

    #[cold]
    fn start_delivery_thread(&self) -> Result<(), Error> {
        self.check_process()?;
        let mut receiver = self.deliveries.receiver.lock();
        let Some(deliveries) = receiver.as_ref().cloned() else {
            return Ok(());
        };
        let name = thread_name(&self.config, "delivery");
        self.threads
            .spawn_for_foreign_code(name, STACK_BYTES, move || run_deliveries(&deliveries))
            .map_err(|error| thread_error("delivery", error))?;
        *receiver = None;
        self.deliveries.is_started.store(true, Ordering::Release);
        Ok(())
    }

    /// An error if the producer takes no more records.
    #[inline]
    pub(crate) fn check_open(&self) -> Result<(), Error> {
        if self.accumulator.is_open() {
            return Ok(());
        }
        Err(self.closed_error())
    }

    /// Whether this process was forked off after the producer was made. None of the producer's locks may be taken then, nor
    /// anything be dropped that takes one.
    pub(crate) fn is_inherited(&self) -> bool {
        self.threads.instance().is_inherited()
    }

    /// Whether this thread is the producer's own: it runs callbacks, or logs something. It must not wait for the producer.
    pub(crate) fn owns_this_thread(&self) -> bool {
        self.threads.instance().owns_this_thread()
    }

    /// `max.block.ms`; nothing on a thread of the producer's own.
    pub(crate) fn longest_wait(&self) -> Duration {
        match self.owns_this_thread() {
            true => Duration::ZERO,
            false => self.config.max_block,
        }
    }

    /// An error in a process that was forked off.
    pub(crate) fn check_process(&self) -> Result<(), Error> {
        match self.is_inherited() {
            true => Err(Error::of_another_process()),
            false => Ok(()),
        }
    }

    #[cold]
    pub(crate) fn closed_error(&self) -> Error {
        if self.is_inherited() {
            return Error::of_another_process();
        }
        if self.accumulator.has_panicked() {
            return Error::new(ErrorKind::Internal, "a thread of the producer has panicked")
                .with_delivery(crate::error::Delivery::NotWritten);
        }
        Error::new(ErrorKind::Closed, "the producer is closed")
    }

    /// [`MetadataCache::wait_for_topic`], which knows of a close and not of what led to it.
    pub(crate) fn wait_for_topic(
        &self,
        topic: &str,
        partition: Option<i32>,
        max_block: Duration,
        deadline: Instant,
    ) -> Result<Arc<Cluster>, Error> {
        let wait = |until| {
            self.metadata
                .wait_for_topic(topic, partition, max_block, until)
        };
        self.bootstrap
            .bound(deadline, wait)
            .map_err(|error| match error.kind() {
                ErrorKind::Closed if self.accumulator.has_panicked() => self.closed_error(),
                _ => error,
            })
    }

    /// Sends everything that is here now, whatever `linger.ms` says, and waits until each record has its outcome and its
    /// callback has run.
    pub(crate) fn flush(&self, timeout: Duration) -> Result<(), Error> {
        self.check_process()?;
        if self.owns_this_thread() {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                "`flush` must not be called in a callback or logger of the same producer",
            )
            .without_record()
            .with_advice("call it on another thread, or wait for the records' futures there"));
        }
        let deadline = deadline_after(Instant::now(), timeout);
        let late = || {
            Error::new(
                ErrorKind::Timeout,
                format!(
                    "not everything was delivered within {} ms",
                    timeout.as_millis()
                ),
            )
        };
        let answers: Vec<_> = self
            .workers
            .iter()
            .map(|worker| worker.ask(Event::Flush))
            .collect();
        for answer in answers {
            match answer.recv_deadline(deadline) {
                Ok(completions) => {
                    for completion in completions {
                        if !completion.wait_all(deadline) {
                            return Err(late());
                        }
                    }
                }
                Err(channel::RecvTimeoutError::Timeout) => return Err(late()),
                // The worker has ended, and with it every batch has its outcome.
                Err(channel::RecvTimeoutError::Disconnected) => {}
            }
        }
        self.pass_callbacks(deadline).ok_or_else(late)?;
        if self.accumulator.has_panicked() {
            return Err(self.closed_error());
        }
        Ok(())
    }

    /// Waits until the callbacks that are due now have run; none at the deadline.
    fn pass_callbacks(&self, deadline: Instant) -> Option<()> {
        if !self.deliveries.is_started.load(Ordering::Acquire) {
            return Some(());
        }
        let Some(sender) = self.deliveries.sender.lock().clone() else {
            return Some(());
        };
        let (done, passed) = channel::bounded(1);
        let _ = sender.send(Delivery::Barrier(done));
        drop(sender);
        // The other end is dropped when the barrier's turn has come, or with the thread.
        match passed.recv_deadline(deadline) {
            Err(channel::RecvTimeoutError::Timeout) => None,
            _ => Some(()),
        }
    }

    /// Takes no more records, delivers those there are, and ends the threads; what is not delivered within `timeout`
    /// fails. Returns the number of records that were not delivered, and whether this call is the first.
    pub(crate) fn close(&self, timeout: Duration) -> (u64, bool) {
        let is_first = self.begin_close();
        (self.end_close(is_first, timeout), is_first)
    }

    /// Takes no more records. Whether this is the first close.
    pub(crate) fn begin_close(&self) -> bool {
        let is_first = !self.close_started.swap(true, Ordering::AcqRel);
        if is_first {
            self.accumulator.close();
            self.metadata.close();
        }
        is_first
    }

    /// The rest of [`close`](Self::close). A thread of the producer's own, which may be what is waited for, waits for nothing
    /// and leaves no time.
    pub(crate) fn end_close(&self, is_first: bool, timeout: Duration) -> u64 {
        let may_wait = !self.owns_this_thread();
        let timeout = match may_wait {
            true => timeout,
            false => Duration::ZERO,
        };
        let deadline = deadline_after(Instant::now(), timeout);
        if !is_first {
            return self.await_other_close(deadline, may_wait);
        }
        // Without time to deliver nothing more is sent: what never was is certain not to be written.
        if !timeout.is_zero() {
            self.tell_workers(|| Event::Close);
        }
        if timeout.is_zero() || !self.progress.wait_until_ended(deadline) {
            self.tell_workers(|| Event::ForceClose);
            if may_wait {
                self.progress.wait_until_ended(Instant::now() + GRACE);
            }
        }
        self.metadata.stop();
        self.bootstrap.cancel();
        self.current_connection.cancel();
        // The workers' ends of the channel are gone; without this one the delivery thread ends when it has run all
        // callbacks.
        *self.deliveries.sender.lock() = None;
        let undelivered = self.undelivered();
        let left = match may_wait {
            true => self
                .threads
                .join_until(deadline.max(Instant::now() + GRACE)),
            false => 0,
        };
        *self.close_result.lock() = Some(undelivered);
        self.close_ended.notify_all();
        if left > 0 {
            log_line!(log::Level::Warn, target: "kafka_producer", "{left} thread(s) of the closed producer are still busy and end by themselves");
        }
        undelivered
    }

    /// Closes on a thread of its own: the thread that called is the producer's, or its end would be waited for. Calls `then`
    /// with what [`close`](Self::close) returns. If there is no thread to be had what is not delivered yet fails at once.
    pub(crate) fn close_elsewhere(
        self: &Arc<Self>,
        timeout: Duration,
        then: impl FnOnce(u64, bool) + Send + 'static,
    ) {
        let is_first = self.begin_close();
        let engine = Arc::clone(self);
        let end = move || then(engine.end_close(is_first, timeout), is_first);
        let name = thread_name(&self.config, "close");
        if let Err(error) = spawn(name, STACK_BYTES, end) {
            log_line!(log::Level::Error, target: "kafka_producer", "cannot start a thread to close the producer; undelivered records fail now ({error})");
            self.end_close(is_first, Duration::ZERO);
        }
    }

    pub(crate) fn is_close_started(&self) -> bool {
        self.close_started.load(Ordering::Acquire)
    }

    /// Another thread closes or has closed the producer. Whoever has less time ends it for both.
    fn await_other_close(&self, deadline: Instant, may_wait: bool) -> u64 {
        if may_wait && !self.wait_until_closed(deadline) {
            // The other call may not have come that far yet.
            self.accumulator.close();
            self.tell_workers(|| Event::ForceClose);
            self.wait_until_closed(Instant::now() + 2 * GRACE);
        }
        self.undelivered()
    }

    /// The records that failed since the close began, or because a worker ended.
    fn undelivered(&self) -> u64 {
        let workers = self.accumulator.workers().iter();
        workers.map(|worker| worker.undelivered()).sum()
    }

    /// False if `deadline` came first.
    fn wait_until_closed(&self, deadline: Instant) -> bool {
        let mut result = self.close_result.lock();
        while result.is_none() {
            if self
                .close_ended
                .wait_until(&mut result, deadline)
                .timed_out()
            {
                return result.is_some();
            }
        }
        true
    }

    fn tell_workers(&self, event: impl Fn() -> Event) {
        for worker in &self.workers {
            worker.post(event());
        }
    }
}

impl Progress {
    fn wait_until_ended(&self, deadline: Instant) -> bool {
        let mut running = self.running.lock();
        while *running > 0 {
            if self.changed.wait_until(&mut running, deadline).timed_out() {
                return *running == 0;
            }
        }
        true
    }
}

/// Notices a worker's end, however it comes: nobody may wait for one that is gone.
struct RunningWorker(Arc<Progress>);

impl RunningWorker {
    fn new(progress: &Arc<Progress>) -> Self {
        *progress.running.lock() += 1;
        Self(Arc::clone(progress))
    }
}

impl Drop for RunningWorker {
    fn drop(&mut self) {
        *self.0.running.lock() -= 1;
        self.0.changed.notify_all();
    }
}

/// What becomes of the producer when one of its threads panics: it takes no more records, and whoever waits is told. The
/// batches of a worker were failed when it let go of them; the other workers go on with theirs.
struct Panics {
    accumulator: Arc<RecordAccumulator>,
    metadata: Arc<MetadataCache>,
}

impl Panics {
    fn of(accumulator: &Arc<RecordAccumulator>, metadata: &Arc<MetadataCache>) -> Self {
        Self {
            accumulator: Arc::clone(accumulator),
            metadata: Arc::clone(metadata),
        }
    }

    fn watch(&self, thread: &str, body: impl FnOnce()) {
        if catch_unwind(AssertUnwindSafe(body)).is_ok() {
            return;
        }
        self.accumulator.close_after_panic();
        self.metadata.close();
        for worker in self.accumulator.workers() {
            worker.fail_abandoned_batches();
        }
        log_line!(log::Level::Error, target: "kafka_producer", "the {thread} thread panicked; the producer takes no more records");
    }
}

/// Brings a new picture of the cluster to callers and workers.
struct Publication(Arc<RecordAccumulator>);

impl ClusterObserver for Publication {
    fn before_publication(&self, changes: &TopicChanges) {
        self.0.topics.update(changes);
    }

    fn after_publication(&self) {
        self.0.wake_workers();
    }
}

/// Tells the metadata thread which topics are in use.
struct Observer {
    accumulator: Arc<RecordAccumulator>,
}

impl RefreshObserver for Observer {
    fn take_used(&self, topic: &str) -> bool {
        self.accumulator.topics.take_used(topic)
    }

    fn absent_topics(&self) -> Vec<Arc<str>> {
        self.accumulator.topics.absent()
    }

    fn forget_topics(&self, idle: &HashSet<Arc<str>>) {
        self.accumulator.topics.forget(idle);
    }
}

/// Sends the workers the result of each request for an identity.
struct IdentityEvents(Vec<Mailbox>);

impl IdentityObserver for IdentityEvents {
    fn identity(&self, result: Result<(), Error>) {
        for worker in &self.0 {
            worker.post(Event::Identity(result.clone()));
        }
    }
}

/// The body of the delivery thread.
fn run_deliveries(deliveries: &channel::Receiver<Delivery>) {
    for delivery in deliveries {
        match delivery {
            Delivery::Settled(settlements) => {
                settlements.into_iter().for_each(CompletedBatch::deliver)
            }
            Delivery::Barrier(done) => drop(done),
        }
    }
}

/// Links know their worker for as long as there is one.
fn event_sink(worker: Weak<Worker<TcpNetwork>>, panics: Panics) -> EventSink {
    Arc::new(move |link: LinkId, event: LinkEvent| {
        if let Some(worker) = worker.upgrade() {
            panics.watch("sender", || worker.tell(Event::Link(link, event)));
        }
    })
}

fn thread_error(name: &str, error: std::io::Error) -> Error {
    let message = format!("the {name} thread cannot be started");
    Error::new(ErrorKind::Resource, message).with_source(error)
}

/// Linux shows the first 15 bytes: what the thread is comes first.
fn thread_name(config: &ValidatedConfig, role: &str) -> String {
    format!("kp-{role} {}", config.client_id).replace('\0', "")
}

/// What topics go by, all of them.
fn topic_config(config: &ValidatedConfig) -> TopicConfig {
    TopicConfig {
        acks: config.acks.code(),
        linger: config.linger,
        batch_size: config.batch_size.max(1),
        max_batch_bytes: config.max_request_size,
        compression: Compression {
            codec: config.compression,
            level: config.compression_level(),
        },
        delivery_timeout: config.delivery_timeout,
    }
}

fn connection_config(config: &ValidatedConfig) -> ConnectionConfig {
    ConnectionConfig {
        client_id: config.client_id.as_str().into(),
        send_buffer: config.send_buffer,
        receive_buffer: config.receive_buffer,
        setup_timeout: config.socket_connection_setup_timeout,
        setup_timeout_max: config.socket_connection_setup_timeout_max,
        handshakes: Arc::default(),
        look_ups: Arc::default(),
    }
}

fn bootstrap_endpoints(config: &ValidatedConfig) -> Vec<Endpoint> {
    let addresses = config.bootstrap_addresses.iter();
    addresses
        .map(|address| Endpoint {
            host: address.host.as_str().into(),
            port: address.port,
        })
        .collect()
}

fn refresh_config(config: &ValidatedConfig) -> RefreshConfig {
    RefreshConfig {
        bootstrap: bootstrap_endpoints(config),
        rebootstrap: match config.metadata_recovery_strategy {
            MetadataRecoveryStrategy::Rebootstrap => {
                Some(config.metadata_recovery_rebootstrap_trigger)
            }
            MetadataRecoveryStrategy::None => None,
        },
        max_age: config.metadata_max_age,
        max_idle: config.metadata_max_idle,
        request_timeout: config.request_timeout,
        retry_backoff: ExponentialBackoff::new(config.retry_backoff, config.retry_backoff_max),
        reconnect_backoff: reconnect_backoff(config),
        connections_max_idle: config.connections_max_idle,
        names_may_come_until: deadline_after(Instant::now(), config.bootstrap_resolve_timeout),
    }
}

/// The wait before any reconnect, of the metadata thread and of the workers, and between two look-ups of the bootstrap
/// addresses. It has a floor: each attempt is a connection,
/// a thread and a log line.
fn reconnect_backoff(config: &ValidatedConfig) -> ExponentialBackoff {
    ExponentialBackoff::new(config.reconnect_backoff, config.reconnect_backoff_max).with_floor()
}

fn sender_config(config: &ValidatedConfig, topics: &TopicConfig, index: usize) -> SenderConfig {
    SenderConfig {
        index,
        client_id: config.client_id.as_str().into(),
        acks: topics.acks,
        idempotence: config.enable_idempotence,
        linger: topics.linger,
        batch_size: topics.batch_size,
        max_request_size: config.max_request_size,
        max_in_flight: config.max_in_flight_requests_per_connection,
        request_timeout: config.request_timeout,
        delivery_timeout: topics.delivery_timeout,
        retries: config.retries,
        retry_backoff: ExponentialBackoff::new(config.retry_backoff, config.retry_backoff_max),
        reconnect_backoff: reconnect_backoff(config),
        connections_max_idle: config.connections_max_idle,
        // As in Java, a part of adaptive partitioning.
        availability_timeout: config
            .partitioner_availability_timeout
            .filter(|_| config.partitioner_adaptive_partitioning),
        compression: topics.compression,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::producer::config::ProducerConfig;

    #[test]
    fn a_panicking_thread_is_told_to_whoever_calls_or_waits() {
        let mut config = ProducerConfig::new();
        config.set("bootstrap.servers", "127.0.0.1:1").unwrap();
        let engine = Engine::start(config.validate().unwrap()).unwrap();
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| {
                let long = Duration::from_secs(60);
                engine.wait_for_topic("t", None, long, Instant::now() + long)
            });
            engine.panics().watch("tested", || panic!("a defect"));
            let error = waiter.join().unwrap().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Internal);
        });
        assert_eq!(engine.check_open().unwrap_err().kind(), ErrorKind::Internal);
        let flushed = engine.flush(Duration::from_secs(60));
        assert_eq!(flushed.unwrap_err().kind(), ErrorKind::Internal);
        assert_eq!(engine.close(Duration::from_secs(60)), (0, true));
    }
}
