//! The client of these tests, its requests and its batches.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::mock::MockCluster;
use crate::protocol::messages::*;
use crate::protocol::{Request, decode_response, encode_request};
use crate::record::builder::{BatchBuilder, RecordHeader};
use crate::record::compression::CompressionType;
use crate::record::header::{Attributes, ProducerStamp, seal};

/// A timeout far above the time of any answer.
pub(super) const TIMEOUT: Duration = Duration::from_secs(20);

pub(super) type ProduceSlices<'a> = ProduceRequest<'a, &'a [u8]>;

/// Starts a cluster with the topic `t`.
pub(super) fn cluster_with_topic(brokers: usize, partitions: i32) -> MockCluster {
    let cluster = MockCluster::start(brokers).unwrap();
    cluster.create_topic("t", partitions);
    cluster
}

pub(super) struct Client<S = TcpStream> {
    pub(super) stream: S,
    last_correlation_id: i32,
}

impl Client {
    pub(super) fn connect(cluster: &MockCluster, broker: usize) -> Self {
        let stream = TcpStream::connect(address(cluster, broker)).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        Self::over(stream)
    }

    pub(super) fn expect_silence(&mut self) {
        self.stream
            .set_read_timeout(Some(Duration::from_millis(20)))
            .unwrap();
        let error = self.stream.read(&mut [0; 1]).unwrap_err();
        assert!(
            matches!(
                error.kind(),
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
            ),
            "{error}"
        );
        self.stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    }
}

impl<S: Read + Write> Client<S> {
    pub(super) fn over(stream: S) -> Self {
        Self {
            stream,
            last_correlation_id: 0,
        }
    }

    pub(super) fn call<R: Request>(&mut self, request: &R, version: i16) -> R::Response {
        let sent = self.send(request, version);
        let (received, response) = self.receive::<R>(version);
        assert_eq!(received, sent);
        response
    }

    pub(super) fn send<R: Request>(&mut self, request: &R, version: i16) -> i32 {
        self.last_correlation_id += 1;
        let mut frame = Vec::new();
        encode_request(
            request,
            version,
            self.last_correlation_id,
            Some("test"),
            &mut frame,
        )
        .unwrap();
        self.stream.write_all(&frame).unwrap();
        self.last_correlation_id
    }

    pub(super) fn receive<R: Request>(&mut self, version: i16) -> (i32, R::Response) {
        let length = self.read(4);
        let frame = self.read(u32::from_be_bytes(length.try_into().unwrap()) as usize);
        decode_response::<R>(version, &frame).unwrap()
    }

    pub(super) fn read(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.stream.read_exact(&mut bytes).unwrap();
        bytes
    }

    pub(super) fn produce(
        &mut self,
        version: i16,
        topic: &str,
        partition: i32,
        batch: &[u8],
    ) -> ProducePartitionResponse {
        let mut answer = self.call(
            &produce_request(-1, topic, [0; 16], &[(partition, batch)]),
            version,
        );
        answer.topics[0].partitions.remove(0)
    }

    /// Checks that the broker has closed the connection, orderly or not.
    pub(super) fn expect_end(&mut self) {
        match self.stream.read(&mut [0; 1]) {
            Ok(0) => {}
            Ok(_) => panic!("an answer instead of the end"),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset),
        }
    }
}

pub(super) fn address(cluster: &MockCluster, broker: usize) -> String {
    cluster
        .bootstrap_servers()
        .split(',')
        .nth(broker)
        .unwrap()
        .to_owned()
}

pub(super) fn produce_request<'a>(
    acks: i16,
    topic: &'a str,
    id: [u8; 16],
    batches: &[(i32, &'a [u8])],
) -> ProduceSlices<'a> {
    let partitions = batches.iter().map(|(index, records)| ProducePartition {
        index: *index,
        records: *records,
    });
    let topics = vec![ProduceTopic {
        name: topic,
        id,
        partitions: partitions.collect(),
    }];
    ProduceRequest {
        transactional_id: None,
        acks,
        timeout_ms: 1_000,
        topics,
    }
}

pub(super) fn metadata_request<'a>(topics: Option<&[&'a str]>) -> MetadataRequest<'a> {
    let topics = topics.map(|names| {
        names
            .iter()
            .map(|name| MetadataRequestTopic::by_name(name))
            .collect()
    });
    MetadataRequest {
        topics,
        allow_auto_topic_creation: true,
    }
}

pub(super) fn init_producer_id(transactional_id: Option<&str>) -> InitProducerIdRequest<'_> {
    InitProducerIdRequest {
        transactional_id,
        transaction_timeout_ms: 1_000,
        producer_id: -1,
        producer_epoch: -1,
    }
}

pub(super) fn plain_batch(count: i32) -> Vec<u8> {
    sealed(builder(count), CompressionType::None, ProducerStamp::NONE)
}

pub(super) fn batch_of(
    producer_id: i64,
    producer_epoch: i16,
    base_sequence: i32,
    count: i32,
) -> Vec<u8> {
    let stamp = ProducerStamp {
        producer_id,
        producer_epoch,
        base_sequence,
    };
    sealed(builder(count), CompressionType::None, stamp)
}

pub(super) fn builder(count: i32) -> BatchBuilder {
    let mut builder = BatchBuilder::new(Vec::new());
    builder.reserve_capacity(100 + 100 * count as usize);
    for index in 0..count {
        builder.append::<Header>(1_000 + i64::from(index), None, Some(b"a value"), &[]);
    }
    builder
}

pub(super) fn sealed(
    builder: BatchBuilder,
    codec: CompressionType,
    stamp: ProducerStamp,
) -> Vec<u8> {
    let header = builder.header(Attributes::new(codec), stamp);
    let mut batch = builder.into_buffer();
    seal(&mut batch, &header);
    batch
}

/// A header of a record: key and value.
pub(super) struct Header(pub(super) &'static str, pub(super) Option<&'static [u8]>);

impl RecordHeader for Header {
    fn key(&self) -> &str {
        self.0
    }

    fn value(&self) -> Option<&[u8]> {
        self.1
    }
}
