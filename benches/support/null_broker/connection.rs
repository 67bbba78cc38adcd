//! One connection: reads a request, answers it, and so on.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::answer::Answer;
use super::link::{Link, Stream};
use super::topics::{BATCH_HEADER_BYTES, Log, Topics, record_count};

/// What all connections share.
pub(super) struct Shared {
    /// The address in the metadata.
    pub(super) address: SocketAddr,
    pub(super) verify: bool,
    pub(super) topics: Topics,
    pub(super) records: AtomicU64,
    pub(super) batches: AtomicU64,
    pub(super) requests: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) producers: AtomicU64,
}

pub(super) struct Connection<S> {
    link: Link<S>,
    answer: Answer,
    shared: Arc<Shared>,
    name: Vec<u8>,
    /// The topic of the last batch; the next one is mostly for the same.
    known: Option<(Vec<u8>, Arc<[Log]>)>,
}

/// The counts of one request, which are added to the shared counts before it is answered.
#[derive(Default)]
struct Tally {
    records: u64,
    batches: u64,
    bytes: u64,
    refused: u64,
}

impl<S: Stream> Connection<S> {
    pub(super) fn new(stream: S, shared: Arc<Shared>) -> Self {
        Self {
            link: Link::new(stream),
            answer: Answer::default(),
            shared,
            name: Vec::new(),
            known: None,
        }
    }

    /// Serves until the connection ends or a request cannot be decoded.
    pub(super) fn serve(mut self) {
        while self.serve_one().is_some() {}
    }

    fn serve_one(&mut self) -> Option<()> {
        self.link.next_frame()?;
        let (api, version) = (self.link.i16()?, self.link.i16()?);
        let correlation_id = self.link.i32()?;
        self.link.string(false, &mut self.name)?;
        let flexible_header = api == PRODUCE && version >= 9;
        self.link.skip_tags(flexible_header)?;
        self.answer.0.clear();
        self.answer.i32(correlation_id);
        self.answer.no_tags(flexible_header);
        let has_answer = match (api, version) {
            (API_VERSIONS, _) => self.api_versions(version),
            (METADATA, 4..=7) => self.metadata(version)?,
            (INIT_PRODUCER_ID, 0..=1) => self.init_producer_id(),
            (PRODUCE, 3..=11) => self.produce(version)?,
            _ => return None,
        };
        if has_answer {
            self.link.answer(&self.answer.0);
        }
        Some(())
    }

    fn api_versions(&mut self, version: i16) -> bool {
        let known = (0..=4).contains(&version);
        let flexible = known && version >= 3;
        self.answer.i16(if known { 0 } else { UNSUPPORTED_VERSION });
        self.answer.length(APIS.len(), flexible);
        for (key, lowest, highest) in APIS {
            for number in [key, lowest, highest] {
                self.answer.i16(number);
            }
            self.answer.no_tags(flexible);
        }
        if known && version >= 1 {
            self.answer.i32(0);
        }
        self.answer.no_tags(flexible);
        true
    }

    /// Answers about the requested topics, and about none if the client requests all.
    fn metadata(&mut self, version: i16) -> Option<bool> {
        let address = self.shared.address;
        self.answer.i32(0);
        self.answer.length(1, false);
        self.answer.i32(BROKER_ID);
        self.answer
            .string(address.ip().to_string().as_bytes(), false);
        self.answer.i32(i32::from(address.port()));
        self.answer.null_string(false);
        self.answer.string(b"null-broker", false);
        self.answer.i32(BROKER_ID);
        let topics = self.link.length(false)?;
        self.answer.length(topics, false);
        for _ in 0..topics {
            self.link.string(false, &mut self.name)?;
            self.answer.i16(0);
            self.answer.string(&self.name, false);
            self.answer.i8(0);
            let partitions = self.shared.topics.partitions(&self.name);
            self.answer.i32(partitions);
            for partition in 0..partitions {
                self.put_partition(version, partition);
            }
        }
        Some(true)
    }

    /// The replicas and those in sync are the leader; none are offline.
    fn put_partition(&mut self, version: i16, partition: i32) {
        const LEADER_EPOCH: i32 = 0;
        self.answer.i16(0);
        self.answer.i32(partition);
        self.answer.i32(BROKER_ID);
        if version >= 7 {
            self.answer.i32(LEADER_EPOCH);
        }
        for number in [1, BROKER_ID, 1, BROKER_ID] {
            self.answer.i32(number);
        }
        if version >= 5 {
            self.answer.i32(0);
        }
    }

    fn init_producer_id(&mut self) -> bool {
        let producer_id = 1000 + self.shared.producers.fetch_add(1, Ordering::SeqCst) as i64;
        self.answer.i32(0);
        self.answer.i16(0);
        self.answer.i64(producer_id);
        self.answer.i16(0);
        true
    }

    fn produce(&mut self, version: i16) -> Option<bool> {
        let flexible = version >= 9;
        self.link.string(flexible, &mut self.name)?;
        let acks = self.link.i16()?;
        let _timeout_ms = self.link.i32()?;
        let mut tally = Tally::default();
        let topics = self.link.length(flexible)?;
        self.answer.length(topics, flexible);
        for _ in 0..topics {
            self.link.string(flexible, &mut self.name)?;
            self.answer.string(&self.name, flexible);
            let logs = self.logs();
            let partitions = self.link.length(flexible)?;
            self.answer.length(partitions, flexible);
            for _ in 0..partitions {
                let partition = self.link.i32()?;
                let length = self.link.length(flexible)?;
                let log = logs.get(usize::try_from(partition).ok()?);
                let (error, base_offset) = self.append(log, length, &mut tally)?;
                self.link.skip_tags(flexible)?;
                self.put_produced(version, partition, error, base_offset);
            }
            self.link.skip_tags(flexible)?;
            self.answer.no_tags(flexible);
        }
        self.answer.i32(0);
        self.answer.no_tags(flexible);
        self.shared.add(&tally);
        Some(acks != 0)
    }

    /// The logs of the topic `self.name`.
    fn logs(&mut self) -> Arc<[Log]> {
        if let Some((_, logs)) = self.known.as_ref().filter(|(name, _)| *name == self.name) {
            return Arc::clone(logs);
        }
        let logs = self.shared.topics.get(&self.name);
        self.known = Some((self.name.clone(), Arc::clone(&logs)));
        logs
    }

    /// Reads the next batch, of `length` bytes. Returns the error code and the base offset.
    fn append(
        &mut self,
        log: Option<&Log>,
        length: usize,
        tally: &mut Tally,
    ) -> Option<(i16, i64)> {
        let Some(log) = log else {
            self.link.skip(length)?;
            return Some((UNKNOWN_TOPIC_OR_PARTITION, -1));
        };
        let count = record_count(self.link.peek(length.min(BATCH_HEADER_BYTES))?)?;
        let error = if self.shared.verify {
            log.verify(self.link.peek(length)?)?
        } else {
            0
        };
        self.link.skip_batch(length)?;
        tally.batches += 1;
        if error != 0 {
            tally.refused += 1;
            return Some((error, -1));
        }
        tally.records += u64::try_from(count).ok()?;
        tally.bytes += length as u64;
        Some((0, log.append(count)))
    }

    fn put_produced(&mut self, version: i16, partition: i32, error: i16, base_offset: i64) {
        const NO_LOG_APPEND_TIME: i64 = -1;
        let flexible = version >= 9;
        self.answer.i32(partition);
        self.answer.i16(error);
        self.answer.i64(base_offset);
        self.answer.i64(NO_LOG_APPEND_TIME);
        if version >= 5 {
            self.answer.i64(0);
        }
        if version >= 8 {
            self.answer.length(0, flexible);
            self.answer.null_string(flexible);
        }
        self.answer.no_tags(flexible);
    }
}

impl Shared {
    fn add(&self, tally: &Tally) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.batches.fetch_add(tally.batches, Ordering::Relaxed);
        self.records.fetch_add(tally.records, Ordering::Relaxed);
        self.bytes.fetch_add(tally.bytes, Ordering::Relaxed);
        self.refused.fetch_add(tally.refused, Ordering::Relaxed);
    }
}

const PRODUCE: i16 = 0;
const METADATA: i16 = 3;
const API_VERSIONS: i16 = 18;
const INIT_PRODUCER_ID: i16 = 22;

/// The lowest and the highest version of each API. librdkafka uses the current record format only with a broker that has
/// Fetch 4, zstd only with Fetch 10, and lz4 only with FindCoordinator; the broker serves neither API.
const APIS: [(i16, i16, i16); 6] = [
    (PRODUCE, 3, 11),
    (1, 4, 11),
    (METADATA, 4, 7),
    (10, 0, 2),
    (API_VERSIONS, 0, 4),
    (INIT_PRODUCER_ID, 0, 1),
];

const BROKER_ID: i32 = 1;
const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const UNSUPPORTED_VERSION: i16 = 35;
