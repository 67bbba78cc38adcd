//! What the tests share: producers with short backoffs, records, waiting, servers that behave unlike brokers.

#[cfg(target_os = "linux")]
pub(crate) mod child;
pub(crate) mod fake_broker;
#[path = "../../support/logger.rs"]
pub(crate) mod logger;
#[cfg(all(feature = "mock-tls", feature = "sasl"))]
pub(crate) mod meddler;
#[cfg(target_os = "linux")]
pub(crate) mod process;
pub(crate) mod relay;
#[cfg(feature = "sasl")]
pub(crate) mod sasl_peer;
#[cfg(feature = "mock-tls")]
pub(crate) mod tls_peer;

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use kafka_producer::mock::{Corruption, Fault, MockCluster, PartitionError};
use kafka_producer::{Error, ErrorCode, Future, KafkaProducer, ProducerBuilder, ProducerRecord};

/// Far longer than anything here takes, and far below the producer's own timeouts (30 and 120 seconds).
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A healthy broker answers within this time, on a busy machine, too.
pub(crate) const SOON: Duration = Duration::from_secs(5);

pub(crate) type Bytes = Vec<u8>;
pub(crate) type Producer = KafkaProducer<Bytes, Bytes>;
pub(crate) type Builder = ProducerBuilder<Bytes, Bytes>;
pub(crate) type Record = ProducerRecord<Bytes, Bytes>;

/// A name that no resolver finds or looks up in the network: its label is longer than a label can be.
pub(crate) const NO_HOST: &str =
    "no-such-host-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.invalid";

/// A builder of a producer for `cluster`, with one worker, no linger and short backoffs.
pub(crate) fn builder(cluster: &MockCluster) -> Builder {
    builder_at(&cluster.bootstrap_servers())
}

pub(crate) fn builder_at(bootstrap_servers: &str) -> Builder {
    Producer::builder()
        .bootstrap_servers(bootstrap_servers)
        .sender_threads(1)
        .linger(Duration::ZERO)
        .max_block(PATIENCE)
        .retry_backoff(Duration::from_millis(2))
        .retry_backoff_max(Duration::from_millis(20))
        .reconnect_backoff(Duration::from_millis(2))
        .reconnect_backoff_max(Duration::from_millis(20))
}

pub(crate) fn with(mut builder: Builder, settings: &[(&str, &str)]) -> Builder {
    for (name, value) in settings {
        builder = builder.set(name, value).unwrap();
    }
    builder
}

/// As [`builder`], with TLS as `protocol` says, and trust in the cluster's authority.
#[cfg(feature = "mock-tls")]
pub(crate) fn tls_builder(cluster: &MockCluster, protocol: &str) -> Builder {
    let settings = [
        ("security.protocol", protocol),
        ("ssl.truststore.certificates", &*cluster.ca_pem()),
    ];
    with(builder(cluster), &settings)
}

/// A cluster with TLS and one topic `t`.
#[cfg(feature = "mock-tls")]
pub(crate) fn tls_cluster(brokers: usize, partitions: i32) -> MockCluster {
    let tls = kafka_producer::mock::MockTls::generated();
    let cluster = MockCluster::builder().brokers(brokers).tls(tls);
    let cluster = cluster.start().unwrap();
    cluster.create_topic("t", partitions);
    cluster
}

/// A cluster with SASL and one topic `t` of one partition.
#[cfg(feature = "sasl")]
pub(crate) fn sasl_cluster(sasl: kafka_producer::mock::MockSasl) -> MockCluster {
    let cluster = MockCluster::builder().sasl(sasl).start().unwrap();
    cluster.create_topic("t", 1);
    cluster
}

/// Returns the error of a record that is refused long before `max.block.ms`.
#[track_caller]
#[cfg(feature = "sasl")]
pub(crate) fn refusal(producer: &Producer) -> Error {
    let began = Instant::now();
    let refused = producer.send(record(0, "never")).unwrap_err();
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    refused.error().clone()
}

pub(crate) fn producer(cluster: &MockCluster) -> Producer {
    builder(cluster).build().unwrap()
}

/// A cluster with one topic `t`.
pub(crate) fn cluster(brokers: usize, partitions: i32) -> MockCluster {
    let cluster = MockCluster::start(brokers).unwrap();
    cluster.create_topic("t", partitions);
    cluster
}

pub(crate) fn record(partition: i32, value: impl Into<Bytes>) -> Record {
    ProducerRecord::new("t", value.into()).partition(partition)
}

/// Sends to topic `t` and waits for the outcome.
pub(crate) fn deliver(
    producer: &Producer,
    partition: i32,
    value: impl Into<Bytes>,
) -> Result<kafka_producer::RecordMetadata, Error> {
    producer.send(record(partition, value))?.get(PATIENCE)
}

/// The values of a partition of topic `t`, as text.
pub(crate) fn values(cluster: &MockCluster, partition: i32) -> Vec<String> {
    let text = |value: Option<Bytes>| String::from_utf8(value.unwrap()).unwrap();
    let records = cluster.records("t", partition).into_iter();
    records.map(|record| text(record.value)).collect()
}

/// Sends each number as a record to partition 0 of topic `t`.
pub(crate) fn send_numbers(
    producer: &Producer,
    numbers: impl IntoIterator<Item = usize>,
) -> Vec<Future> {
    let sent = numbers
        .into_iter()
        .map(|number| producer.send(record(0, number.to_string())));
    sent.map(|future| future.unwrap()).collect()
}

/// The numbers in partition 0 of topic `t`.
pub(crate) fn numbers(cluster: &MockCluster) -> Vec<usize> {
    let values = values(cluster, 0);
    values.iter().map(|value| value.parse().unwrap()).collect()
}

/// Partition 0 of topic `t` answers with this error, and the batch is in its log.
pub(crate) fn after_append(code: ErrorCode) -> Fault {
    Fault::PartitionErrors(vec![PartitionError::new("t", 0, code).after_append()])
}

/// Every way in which an answer can be damaged.
pub(crate) const CORRUPTIONS: [Corruption; 5] = [
    Corruption::CorrelationId,
    Corruption::ShortFrame,
    Corruption::HugeLength,
    Corruption::NegativeLength,
    Corruption::Garbage,
];

pub(crate) fn get_all(futures: Vec<Future>) {
    for future in futures {
        future.get(PATIENCE).unwrap();
    }
}

/// The message of an error, with the messages of its causes.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {}", with_causes(cause)),
        None => error.to_string(),
    }
}

/// A value that several threads read, change and wait for.
#[derive(Debug, Default)]
pub(crate) struct Watched<T>(Arc<(Mutex<T>, Condvar)>);

impl<T> Clone for Watched<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Watched<T> {
    pub(crate) fn change<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        let result = change(&mut self.0.0.lock().unwrap_or_else(PoisonError::into_inner));
        self.0.1.notify_all();
        result
    }

    pub(crate) fn get(&self) -> T
    where
        T: Clone,
    {
        self.change(|value| value.clone())
    }

    /// Waits until `condition` holds.
    #[track_caller]
    pub(crate) fn wait(&self, condition: impl Fn(&T) -> bool) {
        let held = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (_held, wait) = self
            .0
            .1
            .wait_timeout_while(held, PATIENCE, |value| !condition(value))
            .unwrap_or_else(PoisonError::into_inner);
        assert!(!wait.timed_out(), "timed out");
    }
}

/// Checks `condition` again and again until it holds, for conditions without a notification, such as the system's list of
/// threads.
#[track_caller]
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(
            Instant::now() < deadline,
            "timed out after {PATIENCE:?}: {what}"
        );
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

/// Blocks the callers of [`Hold::wait`], hooks on a broker's thread, until it is dropped. Create it after the cluster, so
/// that a failing test drops it before the cluster ends.
pub(crate) struct Gate {
    _open: std::sync::mpsc::Sender<()>,
}

#[derive(Clone)]
pub(crate) struct Hold(Arc<Mutex<std::sync::mpsc::Receiver<()>>>);

impl Gate {
    pub(crate) fn new() -> (Self, Hold) {
        let (_open, closed) = std::sync::mpsc::channel();
        (Self { _open }, Hold(Arc::new(Mutex::new(closed))))
    }
}

impl Hold {
    pub(crate) fn wait(&self) {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // No message is ever sent: `recv` returns when the gate is dropped.
        let _ = held.recv();
    }
}
