//! The cluster that the quick start uses, and how it reads records back: from the mock cluster, or from a real one with
//! Kafka's Fetch and the `kafka-protocol` crate. This client knows neither TLS nor SASL.

use std::error::Error;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use kafka_producer::ProducerConfig;
use kafka_producer::mock::MockCluster;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{FetchRequest, MetadataRequest, RequestHeader, TopicName};
use kafka_protocol::protocol::{Decodable, Encodable, Request, StrBytes};
use kafka_protocol::records::{Record, RecordBatchDecoder};

/// Where the quick start's records went.
pub(crate) enum Log {
    Mock(MockCluster),
    /// A cluster at the addresses of a few brokers, with the settings of a file.
    Real(String, Box<ProducerConfig>),
}

impl Log {
    /// The cluster of the command line: a real one at a broker's address, with the settings of a file if there is one, or
    /// without arguments a mock cluster with the topic `topic`.
    pub(crate) fn of_program(topic: &str) -> Result<Self, Box<dyn Error>> {
        const USAGE: &str =
            "usage: quickstart [--bootstrap-server host:port [--command-config file]]";
        // An address that is not UTF-8 fails as an unknown one.
        let arguments = std::env::args_os().skip(1);
        let arguments: Vec<String> = arguments
            .map(|argument| argument.to_string_lossy().into_owned())
            .collect();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        match arguments[..] {
            [] => {
                let mock = MockCluster::start(3)?;
                mock.create_topic(topic, 3);
                Ok(Self::Mock(mock))
            }
            ["--bootstrap-server", servers] => Ok(Self::Real(servers.to_owned(), Box::default())),
            ["--bootstrap-server", servers, "--command-config", file]
            | ["--command-config", file, "--bootstrap-server", servers] => {
                let config = ProducerConfig::from_properties_file(file)?;
                Ok(Self::Real(servers.to_owned(), Box::new(config)))
            }
            ["--help"] => {
                writeln!(
                    std::io::stdout(),
                    "{USAGE}\nWithout them the records go to a cluster inside this program. The file has settings, such as \
                     those of TLS and SASL.\n\
                     Exit status: 0 if each record was delivered and read back (with TLS or SASL: delivered), otherwise 1."
                )?;
                std::process::exit(0);
            }
            _ => Err(USAGE.into()),
        }
    }

    /// The settings that reach the cluster.
    pub(crate) fn config(&self) -> ProducerConfig {
        match self {
            Self::Mock(mock) => ProducerConfig::new().bootstrap_servers(mock.bootstrap_servers()),
            Self::Real(servers, config) => ProducerConfig::clone(config).bootstrap_servers(servers),
        }
    }

    /// Whether [`read`](Self::read) can read from the cluster.
    pub(crate) fn is_readable(&self) -> bool {
        match self {
            Self::Mock(_) => true,
            Self::Real(_, config) => {
                let protocol = config.get("security.protocol");
                protocol.is_none_or(|protocol| protocol.eq_ignore_ascii_case("PLAINTEXT"))
            }
        }
    }

    /// Key and value of the record at `offset`.
    pub(crate) fn read(
        &self,
        topic: &str,
        partition: i32,
        offset: i64,
    ) -> Result<(String, String), Box<dyn Error>> {
        let (key, value) = match self {
            Self::Mock(mock) => {
                let mut records = mock.records(topic, partition).into_iter();
                let record = records
                    .find(|record| record.offset == offset)
                    .ok_or("not in the log")?;
                (record.key, record.value)
            }
            Self::Real(servers, _) => {
                let record = record_at(servers, topic, partition, offset)?;
                (record.key.map(Vec::from), record.value.map(Vec::from))
            }
        };
        let text = |bytes: Option<Vec<u8>>| String::from_utf8(bytes.unwrap_or_default());
        Ok((text(key)?, text(value)?))
    }
}

/// The record at `offset` of a topic's partition, from the partition's leader.
fn record_at(
    servers: &str,
    topic: &str,
    partition: i32,
    offset: i64,
) -> Result<Record, Box<dyn Error>> {
    let topic = TopicName(StrBytes::from_string(topic.to_owned()));
    let mut leader = connect_to_leader(servers, &topic, partition)?;
    let wanted = FetchPartition::default()
        .with_partition(partition)
        .with_fetch_offset(offset)
        .with_partition_max_bytes(1 << 20);
    let request = FetchRequest::default()
        .with_max_wait_ms(1000)
        .with_min_bytes(1)
        .with_max_bytes(1 << 20)
        .with_topics(vec![
            FetchTopic::default()
                .with_topic(topic)
                .with_partitions(vec![wanted]),
        ]);
    let response = ask(&mut leader, &request, 4)?;
    let mut partitions = response
        .responses
        .into_iter()
        .flat_map(|topic| topic.partitions);
    let mut bytes = partitions
        .next()
        .and_then(|partition| partition.records)
        .ok_or("no records came")?;
    let batches = RecordBatchDecoder::decode_all(&mut bytes)?;
    let mut records = batches.into_iter().flat_map(|batch| batch.records);
    records
        .find(|record| record.offset == offset)
        .ok_or_else(|| format!("nothing at offset {offset}").into())
}

fn connect_to_leader(
    servers: &str,
    topic: &TopicName,
    partition: i32,
) -> Result<TcpStream, Box<dyn Error>> {
    let addresses = servers.split(',').map(|address| connect(address.trim()));
    let mut bootstrap = addresses
        .into_iter()
        .reduce(Result::or)
        .ok_or("no address")??;
    let topics = vec![MetadataRequestTopic::default().with_name(Some(topic.clone()))];
    let metadata = ask(
        &mut bootstrap,
        &MetadataRequest::default().with_topics(Some(topics)),
        4,
    )?;
    let mut partitions = metadata.topics.iter().flat_map(|topic| &topic.partitions);
    let leader = partitions
        .find(|known| known.partition_index == partition)
        .ok_or("no such partition")?
        .leader_id;
    let broker = metadata
        .brokers
        .iter()
        .find(|broker| broker.node_id == leader)
        .ok_or("no leader")?;
    Ok(connect(&format!("{}:{}", &*broker.host, broker.port))?)
}

fn connect(address: &str) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    Ok(stream)
}

fn ask<R: Request>(
    stream: &mut TcpStream,
    request: &R,
    version: i16,
) -> Result<R::Response, Box<dyn Error>> {
    const LARGEST: usize = 16 << 20;
    let header = RequestHeader::default()
        .with_request_api_key(R::KEY)
        .with_request_api_version(version);
    let mut frame = vec![0; 4];
    header.encode(&mut frame, R::header_version(version))?;
    request.encode(&mut frame, version)?;
    let length = u32::try_from(frame.len() - 4)?;
    frame[..4].copy_from_slice(&length.to_be_bytes());
    stream.write_all(&frame)?;

    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length) as usize;
    if length > LARGEST {
        return Err(format!("a response of {length} bytes").into());
    }
    let mut response = vec![0; length];
    stream.read_exact(&mut response)?;
    // The header of these versions is a correlation id and nothing else.
    let mut body = response.get(4..).ok_or("a response without a header")?;
    Ok(R::Response::decode(&mut body, version)?)
}
