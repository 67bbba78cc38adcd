//! The driver of librdkafka: `rd_kafka_producev` with a copy of the value, and a thread that polls for delivery reports.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use drive::{Acks, BoxError, Delivered, Lane, Latencies, Options, Outgoing};
use rdkafka::client::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext};

fn main() -> ExitCode {
    drive::main::<Librdkafka>()
}

struct Librdkafka {
    producer: Arc<BaseProducer<Reports>>,
    topic: String,
    poller: JoinHandle<()>,
    closing: Arc<AtomicBool>,
    next_lane: AtomicUsize,
}

impl drive::Producer for Librdkafka {
    type Lane<'a> = LibrdkafkaLane<'a>;

    fn start(options: &Options) -> Result<Self, BoxError> {
        let reports = Reports {
            // One more, for the lane that warms up.
            lanes: (0..=options.threads).map(|_| Delivered::leaked()).collect(),
            started: Instant::now(),
        };
        let producer =
            Arc::new(config(options).create_with_context::<_, BaseProducer<_>>(reports)?);
        let closing = Arc::new(AtomicBool::new(false));
        let (polled, asked_to_end) = (Arc::clone(&producer), Arc::clone(&closing));
        let poller = std::thread::spawn(move || {
            while !asked_to_end.load(Ordering::Relaxed) {
                polled.poll(Duration::from_millis(100));
            }
        });
        Ok(Self {
            producer,
            topic: options.topic.clone(),
            poller,
            closing,
            next_lane: AtomicUsize::new(0),
        })
    }

    fn lane(&self) -> Result<LibrdkafkaLane<'_>, BoxError> {
        Ok(LibrdkafkaLane {
            librdkafka: self,
            number: self.next_lane.fetch_add(1, Ordering::Relaxed),
            sent: 0,
        })
    }

    fn close(self) -> Result<(), BoxError> {
        self.producer.flush(Duration::from_secs(60))?;
        self.closing.store(true, Ordering::Relaxed);
        self.poller.join().expect("no panic");
        Ok(())
    }
}

fn config(options: &Options) -> ClientConfig {
    let mut config = ClientConfig::new();
    let acks = match options.acks {
        Acks::None => "0",
        Acks::Leader => "1",
        Acks::All => "all",
    };
    for (name, value) in [
        ("bootstrap.servers", options.bootstrap.clone()),
        ("acks", acks.to_owned()),
        ("enable.idempotence", options.idempotence.to_string()),
        ("linger.ms", options.linger.as_millis().to_string()),
        ("batch.size", options.batch_bytes.to_string()),
        // Bytes are to limit a batch and the queue, as elsewhere, and not records.
        ("batch.num.messages", "1000000".to_owned()),
        ("queue.buffering.max.messages", "10000000".to_owned()),
        (
            "queue.buffering.max.kbytes",
            (options.buffer_bytes / 1024).to_string(),
        ),
        (
            "max.in.flight.requests.per.connection",
            options.in_flight.to_string(),
        ),
        ("compression.type", options.codec.clone()),
        (
            "message.max.bytes",
            (options.record_bytes + 4096).max(1_000_000).to_string(),
        ),
    ] {
        config.set(name, value);
    }
    if let Some(authority) = &options.tls_authority {
        // OpenSSL takes the newest version of TLS that the broker has, 1.3.
        config.set("security.protocol", "ssl");
        config.set("ssl.ca.location", authority.display().to_string());
    }
    config
}

/// Takes delivery reports. What goes with a record through librdkafka is a number: of the lane in the lowest byte, and above
/// it when the record was due, in microseconds since the start, or 0.
struct Reports {
    lanes: Vec<&'static Delivered>,
    started: Instant,
}

impl Reports {
    fn label(&self, lane: usize, due: Option<Instant>) -> usize {
        let due = due.map_or(0, |due| (due - self.started).as_micros() as usize);
        due << 8 | lane
    }
}

impl ClientContext for Reports {}

impl ProducerContext for Reports {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, label: usize) {
        let due = (label >> 8 > 0).then(|| self.started + Duration::from_micros(label as u64 >> 8));
        let outcome = match result {
            Ok(_) => Ok(()),
            Err((error, _)) => Err(error),
        };
        self.lanes[label & 0xff].done(due, outcome);
    }
}

struct LibrdkafkaLane<'a> {
    librdkafka: &'a Librdkafka,
    number: usize,
    sent: u64,
}

impl LibrdkafkaLane<'_> {
    fn delivered(&self) -> &'static Delivered {
        self.librdkafka.producer.context().lanes[self.number]
    }
}

impl Lane for LibrdkafkaLane<'_> {
    fn send(&mut self, outgoing: &Outgoing) -> Result<(), BoxError> {
        let producer = &self.librdkafka.producer;
        let label = producer.context().label(self.number, outgoing.due);
        let mut record =
            BaseRecord::<[u8], [u8], usize>::with_opaque_to(&self.librdkafka.topic, label)
                .payload(outgoing.value);
        if let Some(key) = outgoing.key {
            record = record.key(key);
        }
        if let Some(partition) = outgoing.partition {
            record = record.partition(partition);
        }
        if !outgoing.headers.is_empty() {
            record = record.headers(headers(outgoing.headers));
        }
        loop {
            match producer.send(record) {
                Ok(()) => break,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), refused)) => {
                    record = refused;
                    // librdkafka has no call that waits for room.
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err((error, _)) => return Err(error.into()),
            }
        }
        self.sent += 1;
        Ok(())
    }

    fn settle(&mut self) -> Result<(), BoxError> {
        self.delivered().wait_for(self.sent)
    }

    fn latencies(&mut self) -> Latencies {
        self.delivered().latencies()
    }
}

fn headers(headers: &[(&str, &'static [u8])]) -> OwnedHeaders {
    let none = OwnedHeaders::new_with_capacity(headers.len());
    headers.iter().fold(none, |all, &(key, value)| {
        all.insert(Header {
            key,
            value: Some(value),
        })
    })
}
