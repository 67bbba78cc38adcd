//! The driver of krafka: `enqueue`, and every handle awaited.

use std::pin::Pin;
use std::process::ExitCode;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use drive::{
    BoxError, Lane, Latencies, NotAvailable, Options, Outcome, Outgoing, Waiting, now_or_wait,
};
use krafka::auth::{AuthConfig, TlsConfig};
use krafka::producer::{Acks, DeliveryHandle, Producer, RecordMetadata};
use krafka::{Compression, Kafka, Record};
use tokio::runtime::{Handle, Runtime};

fn main() -> ExitCode {
    drive::main::<Krafka>()
}

struct Krafka {
    producer: Producer,
    runtime: Runtime,
    options: Options,
}

impl drive::Producer for Krafka {
    type Lane<'a> = KrafkaLane<'a>;

    fn start(options: &Options) -> Result<Self, BoxError> {
        if options.callbacks {
            return NotAvailable::because("krafka has no callbacks");
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()?;
        let producer = runtime.block_on(producer(options))?;
        Ok(Self {
            producer,
            runtime,
            options: options.clone(),
        })
    }

    fn lane(&self) -> Result<KrafkaLane<'_>, BoxError> {
        Ok(KrafkaLane {
            krafka: self,
            waiting: Waiting::new(&self.options),
        })
    }

    fn close(self) -> Result<(), BoxError> {
        Ok(self.runtime.block_on(self.producer.close())?)
    }
}

async fn producer(options: &Options) -> Result<Producer, BoxError> {
    let mut kafka = Kafka::builder(options.bootstrap.as_str());
    if let Some(authority) = &options.tls_authority {
        let tls = TlsConfig::new().with_ca_cert(authority.display().to_string());
        kafka = kafka.security(AuthConfig::ssl(tls));
    }
    let kafka = kafka.connect().await?;
    let compression = match options.codec.as_str() {
        "none" => Compression::None,
        "gzip" => Compression::Gzip,
        "snappy" => Compression::Snappy,
        "lz4" => Compression::Lz4,
        "zstd" => Compression::Zstd,
        other => return NotAvailable::because(format!("krafka does not know {other}")),
    };
    let producer = kafka
        .producer()
        .acks(match options.acks {
            drive::Acks::None => Acks::None,
            drive::Acks::Leader => Acks::Leader,
            drive::Acks::All => Acks::All,
        })
        .idempotent(options.idempotence)
        .linger(options.linger)
        .batch_size(options.batch_bytes)
        .buffer_memory(options.buffer_bytes)
        .max_request_size((1 << 20).max(options.record_bytes + 4096))
        .compression(compression);
    Ok(producer.build().await?)
}

struct KrafkaLane<'a> {
    krafka: &'a Krafka,
    waiting: Waiting<Pending>,
}

impl Lane for KrafkaLane<'_> {
    fn send(&mut self, outgoing: &Outgoing) -> Result<(), BoxError> {
        let mut record = Record::new(
            self.krafka.options.topic.as_str(),
            Bytes::from_static(outgoing.value),
        );
        if let Some(key) = outgoing.key {
            record = record.key(Bytes::from_static(key));
        }
        if let Some(partition) = outgoing.partition {
            record = record.partition(partition);
        }
        for &(key, value) in outgoing.headers {
            record = record.header(key, Bytes::from_static(value));
        }
        let runtime = self.krafka.runtime.handle();
        let _entered = runtime.enter();
        let handle = now_or_wait(self.krafka.producer.enqueue(record), |future| {
            runtime.block_on(future)
        })?;
        let pending = Pending {
            handle,
            result: None,
            runtime: runtime.clone(),
        };
        self.waiting.push(pending, outgoing.due)
    }

    fn poll(&mut self) -> Result<(), BoxError> {
        self.waiting.poll()
    }

    fn settle(&mut self) -> Result<(), BoxError> {
        self.waiting.settle()
    }

    fn latencies(&mut self) -> Latencies {
        self.waiting.latencies()
    }
}

struct Pending {
    handle: DeliveryHandle,
    /// Of a look at the handle that found it; it must not be polled again.
    result: Option<krafka::Result<RecordMetadata>>,
    runtime: Handle,
}

impl Outcome for Pending {
    fn is_there(&mut self) -> bool {
        if self.result.is_none() {
            let look = Pin::new(&mut self.handle).poll(&mut Context::from_waker(Waker::noop()));
            if let Poll::Ready(result) = look {
                self.result = Some(result);
            }
        }
        self.result.is_some()
    }

    fn check(self) -> Result<(), BoxError> {
        let Self {
            handle,
            result,
            runtime,
        } = self;
        let result =
            result.unwrap_or_else(|| now_or_wait(handle, |handle| runtime.block_on(handle)));
        let _written = result?;
        Ok(())
    }
}
