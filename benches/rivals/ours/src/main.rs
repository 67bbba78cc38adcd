//! The driver of this repository's producer. `--api` is `send` (with futures) or `send_all` (100 records at a time);
//! with `--callbacks true` it is `send_with`.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use drive::{
    BoxError, Delivered, Lane, Latencies, NotAvailable, Options, Outcome, Outgoing, Records,
    Waiting,
};
use kafka_producer::{Acks, Future, Futures, Header, KafkaProducer, ProducerRecord};

fn main() -> ExitCode {
    drive::main::<Ours>()
}

type Bytes = Arc<[u8]>;

struct Ours {
    producer: KafkaProducer<Bytes, Bytes>,
    topic: kafka_producer::TopicName,
    api: Api,
    options: Options,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Api {
    Send,
    SendAll,
    SendWith,
}

impl drive::Producer for Ours {
    type Lane<'a> = OurLane<'a>;

    fn start(options: &Options) -> Result<Self, BoxError> {
        let api = match (options.api.as_str(), options.callbacks) {
            ("send", false) => Api::Send,
            ("send_all", false) => Api::SendAll,
            ("send", true) => Api::SendWith,
            ("send_all", true) => return NotAvailable::because("send_all has no callbacks"),
            (api, _) => return Err(format!("--api {api} is unknown").into()),
        };
        let mut builder = KafkaProducer::builder()
            .bootstrap_servers(options.bootstrap.clone())
            .acks(match options.acks {
                drive::Acks::None => Acks::None,
                drive::Acks::Leader => Acks::Leader,
                drive::Acks::All => Acks::All,
            })
            .linger(options.linger)
            .set("enable.idempotence", &options.idempotence.to_string())?
            .set("batch.size", &options.batch_bytes.to_string())?
            .set("buffer.memory", &options.buffer_bytes.to_string())?
            .set(
                "max.in.flight.requests.per.connection",
                &options.in_flight.to_string(),
            )?
            .set("max.request.size", &max_request(options).to_string())?
            .set("compression.type", &options.codec)?;
        for (name, value) in options.tls_properties() {
            builder = builder.set(name, &value)?;
        }
        Ok(Self {
            producer: builder.build()?,
            topic: (&*options.topic.clone().leak()).into(),
            api,
            options: options.clone(),
        })
    }

    fn lane(&self) -> Result<OurLane<'_>, BoxError> {
        Ok(OurLane {
            ours: self,
            waiting: Waiting::new(&self.options),
            delivered: Delivered::leaked(),
            sent: 0,
        })
    }

    fn close(self) -> Result<(), BoxError> {
        Ok(self.producer.close(PATIENCE)?)
    }
}

const PATIENCE: Duration = Duration::from_secs(60);

/// The default, but for records that do not fit.
fn max_request(options: &Options) -> usize {
    (1 << 20).max(options.record_bytes + 4096)
}

struct OurLane<'a> {
    ours: &'a Ours,
    waiting: Waiting<Pending>,
    delivered: &'static Delivered,
    /// With callbacks.
    sent: u64,
}

impl OurLane<'_> {
    fn record(&self, outgoing: &Outgoing) -> ProducerRecord<Bytes, Bytes> {
        let mut record = ProducerRecord::new(self.ours.topic.clone(), Arc::clone(outgoing.value));
        if let Some(key) = outgoing.key {
            record = record.key(Arc::clone(key));
        }
        if let Some(partition) = outgoing.partition {
            record = record.partition(partition);
        }
        if !outgoing.headers.is_empty() {
            record = record.headers(
                outgoing
                    .headers
                    .iter()
                    .map(|&(key, value)| Header::new(key, value)),
            );
        }
        record
    }
}

impl Lane for OurLane<'_> {
    fn send(&mut self, outgoing: &Outgoing) -> Result<(), BoxError> {
        let record = self.record(outgoing);
        if self.ours.api == Api::SendWith {
            let (delivered, due): (_, Option<Instant>) = (self.delivered, outgoing.due);
            let callback = move |result: Result<_, _>| delivered.done(due, result.map(drop));
            self.ours.producer.send_with(record, callback)?;
            self.sent += 1;
            return Ok(());
        }
        let future = self.ours.producer.send(record)?;
        self.waiting.push(Pending::One(future), outgoing.due)
    }

    fn send_burst(&mut self, records: &mut Records, count: usize) -> Result<(), BoxError> {
        if self.ours.api != Api::SendAll {
            for _ in 0..count {
                self.send(&records.next())?;
            }
            return Ok(());
        }
        let mut left = count;
        while left > 0 {
            let some = left.min(100);
            let batch = (0..some).map(|_| self.record(&records.next()));
            let futures = self.ours.producer.send_all(batch)?;
            self.waiting.push(Pending::Many(Box::new(futures)), None)?;
            left -= some;
        }
        Ok(())
    }

    fn poll(&mut self) -> Result<(), BoxError> {
        self.waiting.poll()
    }

    fn settle(&mut self) -> Result<(), BoxError> {
        if self.ours.api == Api::SendWith {
            self.delivered.wait_for(self.sent)
        } else {
            self.waiting.settle()
        }
    }

    fn latencies(&mut self) -> Latencies {
        let mut latencies = self.waiting.latencies();
        latencies.add(&self.delivered.latencies());
        latencies
    }
}

/// Boxed, the rarer of the two costs `send`'s queue nothing.
enum Pending {
    One(Future),
    Many(Box<Futures>),
}

impl Outcome for Pending {
    fn is_there(&mut self) -> bool {
        match self {
            Self::One(future) => future.is_done(),
            Self::Many(futures) => futures.are_done(),
        }
    }

    fn check(self) -> Result<(), BoxError> {
        match self {
            Self::One(future) => drop(future.get(PATIENCE)?),
            Self::Many(futures) => futures.wait(PATIENCE)?,
        }
        Ok(())
    }

    fn records(&self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::Many(futures) => futures.len(),
        }
    }
}
