//! The choices that differ between histories: the producer's settings and the brokers' features.

use std::time::Duration;

use fastrand::Rng;

use super::ledger::Guarantee;
use crate::record::compression::{Compression, CompressionType};
use crate::sender::SenderConfig;
use crate::sender::scripted::{MS, Settings};

pub(super) struct Setup {
    pub(super) seed: u64,
    pub(super) guarantee: Guarantee,
    /// The probability of each failure, in percent.
    pub(super) trouble: u32,
    pub(super) sender: SenderConfig,
    pub(super) workers: usize,
    pub(super) brokers: i32,
    pub(super) partitions: usize,
    pub(super) buffer_memory: usize,
    /// The highest version of Produce that the brokers have.
    pub(super) produce_version: i16,
    /// Below 10 topics have no ids, below 9 no reliable epochs.
    pub(super) metadata_version: i16,
    /// Whether each partition's sequences are near their end at the start.
    pub(super) sequences_end_soon: bool,
    /// The length of the brokers' sessions.
    pub(super) session: Option<Duration>,
}

impl Setup {
    pub(super) fn new(seed: u64, guarantee: Guarantee) -> Self {
        let mut rng = Rng::with_seed(seed);
        let trouble = [0, 5, 15, 40][rng.usize(..4)];
        let mut config: SenderConfig = Settings::default().sender;
        config.topics.linger = [Duration::ZERO, MS, 10 * MS, 200 * MS][rng.usize(..4)];
        config.topics.batch_size = [150, 400, 1000][rng.usize(..3)];
        config.max_in_flight = rng.usize(1..=6);
        config.max_request_size = [500, 2000, 1_000_000][rng.usize(..3)];
        config.connections_max_idle = rng.bool().then_some(200 * MS);
        config.availability_timeout = rng.bool().then_some(100 * MS);
        // Every build draws this number, so that a seed gives the same history in all of them.
        let codec = match rng.u8(..8) {
            0..=3 => CompressionType::None,
            4..=6 => CompressionType::Snappy,
            // This codec takes much longer than the others in a build that is not optimized.
            _ => CompressionType::Lz4,
        };
        if codec.is_compiled_in() {
            config.topics.compression = Compression::with_default_level(codec);
        }
        config.idempotence = guarantee == Guarantee::OnceAndInOrder;
        if config.idempotence {
            config.max_in_flight = config.max_in_flight.min(5);
        }
        if rng.u8(..4) == 0 {
            config.retries = 3;
        }
        let (produce_version, metadata_version) =
            [(3, 8), (9, 9), (10, 9), (12, 12), (13, 12), (13, 12)][rng.usize(..6)];
        Self {
            seed,
            guarantee,
            trouble,
            sender: config,
            workers: rng.usize(1..=2),
            brokers: 3,
            partitions: rng.usize(1..=4),
            buffer_memory: [8_192, 16_384, 1 << 20][rng.usize(..3)],
            produce_version,
            metadata_version,
            sequences_end_soon: rng.u8(..4) == 0,
            session: [None, None, Some(300 * MS), Some(3000 * MS)][rng.usize(..4)],
        }
    }

    pub(super) fn has_topic_ids(&self) -> bool {
        self.metadata_version >= 10
    }

    /// Whether requests name topics by their ids.
    pub(super) fn sends_by_id(&self) -> bool {
        self.produce_version >= 13
    }
}
