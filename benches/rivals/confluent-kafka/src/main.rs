//! The driver of confluent-kafka: `send` for keys and values that are bytes, which copies them into the batch; every future is
//! looked at or, with `--callbacks true`, every callback.

use std::collections::HashMap;
use std::process::ExitCode;

use confluent_kafka::common::KafkaFuture;
use confluent_kafka::common::header::{RecordHeader, RecordHeaders};
use confluent_kafka::common::serialization::ByteArraySerializer;
use confluent_kafka::producer::{
    Callback, KafkaProducer, Producer, ProducerConfig, ProducerRecord,
    ProducerRecordOptionsBuilder, RecordMetadata, callback,
};
use drive::{
    Acks, BoxError, Delivered, Lane, Latencies, Options, Outcome, Outgoing, Waiting, now_or_wait,
};
use tokio::runtime::{Handle, Runtime};

fn main() -> ExitCode {
    drive::main::<Confluent>()
}

struct Confluent {
    producer: KafkaProducer<Vec<u8>, Vec<u8>>,
    runtime: Runtime,
    options: Options,
}

impl drive::Producer for Confluent {
    type Lane<'a> = ConfluentLane<'a>;

    fn start(options: &Options) -> Result<Self, BoxError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()?;
        let entered = runtime.enter();
        let producer = KafkaProducer::new(
            ProducerConfig::new(&properties(options))?,
            ByteArraySerializer::default(),
            ByteArraySerializer::default(),
        )?;
        drop(entered);
        Ok(Self {
            producer,
            runtime,
            options: options.clone(),
        })
    }

    fn lane(&self) -> Result<ConfluentLane<'_>, BoxError> {
        Ok(ConfluentLane {
            confluent: self,
            waiting: Waiting::new(&self.options),
            delivered: Delivered::leaked(),
            called_back: 0,
        })
    }

    fn close(self) -> Result<(), BoxError> {
        Ok(self.runtime.block_on(self.producer.close())?)
    }
}

/// By the names that Java has.
fn properties(options: &Options) -> HashMap<String, String> {
    let acks = match options.acks {
        Acks::None => "0",
        Acks::Leader => "1",
        Acks::All => "all",
    };
    [
        ("bootstrap.servers", options.bootstrap.clone()),
        ("acks", acks.to_owned()),
        ("enable.idempotence", options.idempotence.to_string()),
        ("linger.ms", options.linger.as_millis().to_string()),
        ("batch.size", options.batch_bytes.to_string()),
        ("buffer.memory", options.buffer_bytes.to_string()),
        (
            "max.in.flight.requests.per.connection",
            options.in_flight.to_string(),
        ),
        (
            "max.request.size",
            (1 << 20).max(options.record_bytes + 4096).to_string(),
        ),
        ("compression.type", options.codec.clone()),
    ]
    .into_iter()
    .chain(options.tls_properties())
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}

struct ConfluentLane<'a> {
    confluent: &'a Confluent,
    waiting: Waiting<Pending>,
    delivered: &'static Delivered,
    called_back: u64,
}

impl Lane for ConfluentLane<'_> {
    fn send(&mut self, outgoing: &Outgoing) -> Result<(), BoxError> {
        let record = record(&self.confluent.options.topic, outgoing)?;
        let (delivered, due) = (self.delivered, outgoing.due);
        let callback = self.confluent.options.callbacks.then(|| {
            let callback =
                callback::new(move |_, error| delivered.done(due, error.map_or(Ok(()), Err)));
            Box::new(callback) as Box<dyn Callback>
        });
        let runtime = self.confluent.runtime.handle();
        let _entered = runtime.enter();
        let future = now_or_wait(self.confluent.producer.send(record, callback), |future| {
            runtime.block_on(future)
        })?;
        if self.confluent.options.callbacks {
            self.called_back += 1;
            return Ok(());
        }
        let pending = Pending {
            future,
            runtime: runtime.clone(),
        };
        self.waiting.push(pending, outgoing.due)
    }

    fn poll(&mut self) -> Result<(), BoxError> {
        self.waiting.poll()
    }

    fn settle(&mut self) -> Result<(), BoxError> {
        self.delivered.wait_for(self.called_back)?;
        self.waiting.settle()
    }

    fn latencies(&mut self) -> Latencies {
        let mut latencies = self.waiting.latencies();
        latencies.add(&self.delivered.latencies());
        latencies
    }
}

fn record<'a>(
    topic: &str,
    outgoing: &Outgoing,
) -> Result<ProducerRecord<&'a [u8], &'a [u8]>, BoxError> {
    let headers = outgoing
        .headers
        .iter()
        .map(|(key, value)| RecordHeader::new((*key).to_owned(), Some(value.to_vec())));
    let options = ProducerRecordOptionsBuilder::new()
        .set_topic(topic.to_owned())
        .set_partition(outgoing.partition)
        .set_key(outgoing.key.map(|key| &key[..]))
        .set_value(Some(&outgoing.value[..]))
        .set_headers(
            (!outgoing.headers.is_empty()).then(|| RecordHeaders::with_header_iter(headers)),
        )
        .build()?;
    Ok(ProducerRecord::with_options(options)?)
}

struct Pending {
    future: KafkaFuture<RecordMetadata>,
    runtime: Handle,
}

impl Outcome for Pending {
    fn is_there(&mut self) -> bool {
        self.future.is_done()
    }

    fn check(self) -> Result<(), BoxError> {
        now_or_wait(self.future.get(), |future| self.runtime.block_on(future))?;
        Ok(())
    }
}
