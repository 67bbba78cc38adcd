//! The few admin requests that tests need, written by hand: a Kafka tool would take a second of JVM start for each, and
//! polling a cluster's state takes dozens. What was *produced* is never read through here, only through Kafka's tools.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// One broker's view of the cluster.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClusterView {
    pub(crate) brokers: Vec<i32>,
    pub(crate) controller: i32,
    pub(crate) topics: Vec<TopicView>,
}

#[derive(Clone, Debug)]
pub(crate) struct TopicView {
    pub(crate) name: String,
    pub(crate) error_code: i16,
    /// By partition number.
    pub(crate) partitions: Vec<PartitionView>,
}

#[derive(Clone, Debug)]
pub(crate) struct PartitionView {
    pub(crate) index: i32,
    /// -1 without a leader.
    pub(crate) leader: i32,
    pub(crate) replicas: Vec<i32>,
    pub(crate) isr: Vec<i32>,
}

/// Where a new topic's replicas go.
#[derive(Clone, Debug)]
pub(crate) enum Replicas {
    /// The numbers of partitions and replicas; Kafka chooses the brokers.
    Anywhere { partitions: i32, replication: i16 },
    /// The replicas of each partition; the first leads.
    On(Vec<Vec<i32>>),
}

/// The cluster as the broker on `port` knows it, with the topics named or, for `None`, all of them. Creates no topic.
pub(crate) fn metadata(port: u16, topics: Option<&[&str]>) -> io::Result<ClusterView> {
    let mut body = Body::default();
    match topics {
        Some(topics) => body.array(topics, |body, topic| body.string(topic)),
        None => body.i32(-1),
    }
    body.bool(false);
    let mut answer = call(port, METADATA, 4, body)?;
    answer.i32()?;
    let brokers = answer.array(|answer| {
        let id = answer.i32()?;
        answer.string()?;
        answer.i32()?;
        answer.string()?;
        Ok(id)
    })?;
    answer.string()?;
    let controller = answer.i32()?;
    let topics = answer.array(|answer| {
        let error_code = answer.i16()?;
        let name = answer.string()?.unwrap_or_default();
        answer.bool()?;
        let mut partitions = answer.array(partition_view)?;
        partitions.sort_by_key(|partition| partition.index);
        Ok(TopicView {
            name,
            error_code,
            partitions,
        })
    })?;
    Ok(ClusterView {
        brokers,
        controller,
        topics,
    })
}

pub(crate) fn create_topic(
    port: u16,
    name: &str,
    replicas: &Replicas,
    configs: &[(&str, &str)],
) -> io::Result<()> {
    let mut body = Body::default();
    body.i32(1);
    body.string(name);
    match replicas {
        Replicas::Anywhere {
            partitions,
            replication,
        } => {
            body.i32(*partitions);
            body.i16(*replication);
            body.i32(0);
        }
        Replicas::On(assignments) => {
            body.i32(-1);
            body.i16(-1);
            let numbered: Vec<_> = (0..).zip(assignments).collect();
            body.array(&numbered, |body, (partition, brokers)| {
                body.i32(*partition);
                body.array(brokers, |body, broker| body.i32(*broker));
            });
        }
    }
    body.array(configs, |body, (name, value)| {
        body.string(name);
        body.string(value);
    });
    body.i32(TIMEOUT_MS);
    body.bool(false);
    let mut answer = call(port, CREATE_TOPICS, 2, body)?;
    answer.i32()?;
    answer.array(|answer| {
        let name = answer.string()?.unwrap_or_default();
        let code = answer.i16()?;
        let message = answer.string()?;
        refuse("create topic", &name, code, message)
    })?;
    Ok(())
}

pub(crate) fn delete_topic(port: u16, name: &str) -> io::Result<()> {
    let mut body = Body::default();
    body.array(&[name], |body, name| body.string(name));
    body.i32(TIMEOUT_MS);
    let mut answer = call(port, DELETE_TOPICS, 1, body)?;
    answer.i32()?;
    answer.array(|answer| {
        let name = answer.string()?.unwrap_or_default();
        let code = answer.i16()?;
        refuse("delete topic", &name, code, None)
    })?;
    Ok(())
}

/// Raises a topic's number of partitions to `count`.
pub(crate) fn add_partitions(port: u16, name: &str, count: i32) -> io::Result<()> {
    let mut body = Body::default();
    body.i32(1);
    body.string(name);
    body.i32(count);
    body.i32(-1);
    body.i32(TIMEOUT_MS);
    body.bool(false);
    let mut answer = call(port, CREATE_PARTITIONS, 0, body)?;
    answer.i32()?;
    answer.array(|answer| {
        let name = answer.string()?.unwrap_or_default();
        let code = answer.i16()?;
        let message = answer.string()?;
        refuse("add partitions", &name, code, message)
    })?;
    Ok(())
}

/// A resource with configs.
#[derive(Clone, Copy)]
pub(crate) enum Resource {
    Topic = 2,
    /// The broker with this id, or all brokers with an empty name.
    Broker = 4,
}

/// Sets configs; the others keep their values.
pub(crate) fn alter_configs(
    port: u16,
    resource: Resource,
    name: &str,
    configs: &[(&str, &str)],
) -> io::Result<()> {
    const SET: i8 = 0;
    let mut body = Body::default();
    body.i32(1);
    body.i8(resource as i8);
    body.string(name);
    body.array(configs, |body, (name, value)| {
        body.string(name);
        body.i8(SET);
        body.string(value);
    });
    body.bool(false);
    let mut answer = call(port, INCREMENTAL_ALTER_CONFIGS, 0, body)?;
    answer.i32()?;
    answer.array(|answer| {
        let code = answer.i16()?;
        let message = answer.string()?;
        answer.i8()?;
        let name = answer.string()?.unwrap_or_default();
        refuse("alter configs of", &name, code, message)
    })?;
    Ok(())
}

/// Gives a partition the replicas named; the first becomes its preferred leader.
pub(crate) fn reassign(port: u16, topic: &str, partition: i32, replicas: &[i32]) -> io::Result<()> {
    let mut body = Body::default();
    body.i32(TIMEOUT_MS);
    body.compact_length(1);
    body.compact_string(topic);
    body.compact_length(1);
    body.i32(partition);
    body.compact_length(replicas.len());
    replicas.iter().for_each(|broker| body.i32(*broker));
    (0..3).for_each(|_| body.no_tagged_fields());
    let mut answer = call(port, ALTER_PARTITION_REASSIGNMENTS, 0, body)?;
    answer.i8()?; // the response header's tagged fields
    answer.i32()?;
    let code = answer.i16()?;
    refuse("reassign", topic, code, None)
}

/// Lets the preferred leader lead. A partition that it leads already is no error.
pub(crate) fn elect_preferred_leader(port: u16, topic: &str, partition: i32) -> io::Result<()> {
    const PREFERRED: i8 = 0;
    const ELECTION_NOT_NEEDED: i16 = 84;
    let mut body = Body::default();
    body.i8(PREFERRED);
    body.i32(1);
    body.string(topic);
    body.array(&[partition], |body, partition| body.i32(*partition));
    body.i32(TIMEOUT_MS);
    let mut answer = call(port, ELECT_LEADERS, 1, body)?;
    answer.i32()?;
    let code = answer.i16()?;
    refuse("elect a leader of", topic, code, None)?;
    answer.array(|answer| {
        let topic = answer.string()?.unwrap_or_default();
        answer.array(|answer| {
            answer.i32()?;
            let code = answer.i16()?;
            let message = answer.string()?;
            if code == ELECTION_NOT_NEEDED {
                Ok(())
            } else {
                refuse("elect a leader of", &topic, code, message)
            }
        })
    })?;
    Ok(())
}

/// Lets the preferred leader of every partition lead, if it is in sync.
pub(crate) fn elect_preferred_leaders(port: u16) -> io::Result<()> {
    const PREFERRED: i8 = 0;
    const ALL_PARTITIONS: i32 = -1;
    let mut body = Body::default();
    body.i8(PREFERRED);
    body.i32(ALL_PARTITIONS);
    body.i32(TIMEOUT_MS);
    let mut answer = call(port, ELECT_LEADERS, 1, body)?;
    answer.i32()?;
    let code = answer.i16()?;
    // Partitions that need no election are not errors, and one that cannot have it now is seen by its leader.
    refuse("elect", "the preferred leaders", code, None)
}

/// The offset after a partition's last record; the broker on `port` must lead the partition.
pub(crate) fn end_offset(port: u16, topic: &str, partition: i32) -> io::Result<i64> {
    const LATEST: i64 = -1;
    let mut body = Body::default();
    body.i32(-1);
    body.i32(1);
    body.string(topic);
    body.i32(1);
    body.i32(partition);
    body.i64(LATEST);
    let mut answer = call(port, LIST_OFFSETS, 1, body)?;
    let topics = answer.array(|answer| {
        answer.string()?;
        answer.array(|answer| {
            answer.i32()?;
            let code = answer.i16()?;
            answer.i64()?;
            let offset = answer.i64()?;
            refuse("list offsets of", topic, code, None).map(|()| offset)
        })
    })?;
    topics
        .into_iter()
        .flatten()
        .next()
        .ok_or_else(|| io::Error::other("an answer without the partition"))
}

const LIST_OFFSETS: i16 = 2;
const METADATA: i16 = 3;
const CREATE_TOPICS: i16 = 19;
const DELETE_TOPICS: i16 = 20;
const CREATE_PARTITIONS: i16 = 37;
const ELECT_LEADERS: i16 = 43;
const INCREMENTAL_ALTER_CONFIGS: i16 = 44;
const ALTER_PARTITION_REASSIGNMENTS: i16 = 45;

const TIMEOUT_MS: i32 = 20_000;

fn partition_view(answer: &mut Answer) -> io::Result<PartitionView> {
    answer.i16()?;
    let index = answer.i32()?;
    let leader = answer.i32()?;
    let replicas = answer.array(Answer::i32)?;
    let isr = answer.array(Answer::i32)?;
    Ok(PartitionView {
        index,
        leader,
        replicas,
        isr,
    })
}

pub(super) fn refuse(what: &str, name: &str, code: i16, message: Option<String>) -> io::Result<()> {
    if code == 0 {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "{what} {name}: error {code}, {}",
        message.unwrap_or_default()
    )))
}

/// One request and its answer on a connection of their own.
pub(super) fn call(port: u16, api_key: i16, version: i16, body: Body) -> io::Result<Answer> {
    const CORRELATION_ID: i32 = 1;
    let mut request = Body::default();
    request.i16(api_key);
    request.i16(version);
    request.i32(CORRELATION_ID);
    request.string("kafka-tests");
    if api_key == ALTER_PARTITION_REASSIGNMENTS {
        request.no_tagged_fields();
    }
    request.0.extend(body.0);

    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut socket = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
    socket.set_read_timeout(Some(Duration::from_millis(TIMEOUT_MS as u64 + 5_000)))?;
    socket.set_write_timeout(Some(Duration::from_secs(2)))?;
    socket.set_nodelay(true)?;
    let mut frame = (request.0.len() as i32).to_be_bytes().to_vec();
    frame.extend(request.0);
    socket.write_all(&frame)?;

    let mut length = [0; 4];
    socket.read_exact(&mut length)?;
    let mut bytes = Vec::new();
    socket
        .take(u64::from(u32::from_be_bytes(length)))
        .read_to_end(&mut bytes)?;
    let mut answer = Answer { bytes, at: 0 };
    match answer.i32()? {
        CORRELATION_ID => Ok(answer),
        other => Err(io::Error::other(format!("correlation id {other}"))),
    }
}

/// A request's body, written from the front.
#[derive(Default)]
pub(super) struct Body(Vec<u8>);

impl Body {
    pub(super) fn i8(&mut self, value: i8) {
        self.0.extend(value.to_be_bytes());
    }

    pub(super) fn i16(&mut self, value: i16) {
        self.0.extend(value.to_be_bytes());
    }

    pub(super) fn i32(&mut self, value: i32) {
        self.0.extend(value.to_be_bytes());
    }

    pub(super) fn i64(&mut self, value: i64) {
        self.0.extend(value.to_be_bytes());
    }

    pub(super) fn bool(&mut self, value: bool) {
        self.i8(i8::from(value));
    }

    pub(super) fn string(&mut self, value: &str) {
        self.i16(i16::try_from(value.len()).expect("a short string"));
        self.0.extend(value.as_bytes());
    }

    pub(super) fn array<T>(&mut self, items: &[T], mut write: impl FnMut(&mut Body, &T)) {
        self.i32(i32::try_from(items.len()).expect("a short array"));
        items.iter().for_each(|item| write(self, item));
    }

    /// Lengths in the compact forms are one more than the length; the tests' fit one byte of the varint.
    fn compact_length(&mut self, length: usize) {
        assert!(length < 127, "{length} needs a longer varint");
        self.0.push(length as u8 + 1);
    }

    fn compact_string(&mut self, value: &str) {
        self.compact_length(value.len());
        self.0.extend(value.as_bytes());
    }

    fn no_tagged_fields(&mut self) {
        self.0.push(0);
    }
}

/// A response's body, read from the front.
pub(super) struct Answer {
    bytes: Vec<u8>,
    at: usize,
}

impl Answer {
    fn take<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let bytes = self
            .bytes
            .get(self.at..self.at + N)
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        self.at += N;
        Ok(bytes.try_into().expect("N bytes"))
    }

    pub(super) fn i8(&mut self) -> io::Result<i8> {
        self.take().map(i8::from_be_bytes)
    }

    pub(super) fn i16(&mut self) -> io::Result<i16> {
        self.take().map(i16::from_be_bytes)
    }

    pub(super) fn i32(&mut self) -> io::Result<i32> {
        self.take().map(i32::from_be_bytes)
    }

    pub(super) fn i64(&mut self) -> io::Result<i64> {
        self.take().map(i64::from_be_bytes)
    }

    pub(super) fn bool(&mut self) -> io::Result<bool> {
        self.i8().map(|value| value != 0)
    }

    pub(super) fn string(&mut self) -> io::Result<Option<String>> {
        let Ok(length) = usize::try_from(self.i16()?) else {
            return Ok(None);
        };
        let bytes = self
            .bytes
            .get(self.at..self.at + length)
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        self.at += length;
        Ok(Some(String::from_utf8_lossy(bytes).into_owned()))
    }

    pub(super) fn array<T>(
        &mut self,
        mut read: impl FnMut(&mut Answer) -> io::Result<T>,
    ) -> io::Result<Vec<T>> {
        let length = self.i32()?.max(0);
        (0..length).map(|_| read(self)).collect()
    }
}
