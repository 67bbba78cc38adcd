//! The settings whose value is one of a few names.

use crate::record::compression::CompressionType;

/// A setting that is one of a few names.
pub(super) trait Choice: Copy + PartialEq + 'static {
    /// Every name that is understood. Where several mean the same, the first is the one written.
    const NAMES: &'static [(&'static str, Self)];
    /// Names that Kafka knows and this crate does not serve yet.
    const NOT_YET: &'static [&'static str] = &[];
    /// Whether capitals and small letters are the same, as they are to Java for some settings.
    const IGNORES_CASE: bool = false;

    /// What to write for a text that is no name, where that is known.
    fn hint(_text: &str) -> Option<&'static str> {
        None
    }
}

/// Who must have a record before it counts as delivered: the setting `acks`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Acks {
    /// Nobody (`acks=0`): a record counts as delivered when it was written to the socket, and no offset is known.
    None,
    /// The leader of the partition (`acks=1`): lost where the leader dies before a replica has it.
    Leader,
    /// Every replica in sync (`acks=all`, `acks=-1`).
    #[default]
    All,
}

impl Acks {
    /// The number that stands for it in a request: 0, 1 or -1.
    pub fn code(self) -> i16 {
        match self {
            Self::None => 0,
            Self::Leader => 1,
            Self::All => -1,
        }
    }
}

impl Choice for Acks {
    const NAMES: &'static [(&'static str, Self)] = &[
        ("all", Self::All),
        ("-1", Self::All),
        ("0", Self::None),
        ("1", Self::Leader),
    ];
    const IGNORES_CASE: bool = true;
}

/// What becomes of a broker's name with several addresses: the setting `client.dns.lookup`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum ClientDnsLookup {
    /// All addresses are tried, one after the other.
    #[default]
    UseAllDnsIps,
}

impl Choice for ClientDnsLookup {
    const NAMES: &'static [(&'static str, Self)] = &[("use_all_dns_ips", Self::UseAllDnsIps)];
    // It looks names up by address, for Kerberos.
    const NOT_YET: &'static [&'static str] = &["resolve_canonical_bootstrap_servers_only"];

    fn hint(text: &str) -> Option<&'static str> {
        (text == "default")
            .then_some("Kafka 3.0 has taken it away, use_all_dns_ips is the default now")
    }
}

/// What to do when no known broker can be reached: the setting `metadata.recovery.strategy` (KIP-899).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum MetadataRecoveryStrategy {
    /// Begin anew from `bootstrap.servers`.
    #[default]
    Rebootstrap,
    /// Keep trying the brokers that are known.
    None,
}

impl Choice for MetadataRecoveryStrategy {
    const NAMES: &'static [(&'static str, Self)] =
        &[("rebootstrap", Self::Rebootstrap), ("none", Self::None)];
    const IGNORES_CASE: bool = true;
}

/// The partitioners that `partitioner.class` can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum PartitionerClass {
    /// By the key's hash where there is a key, else sticky and adaptive (KIP-794).
    #[default]
    Default,
    /// [`RoundRobinPartitioner`](crate::RoundRobinPartitioner).
    RoundRobin,
}

impl Choice for PartitionerClass {
    const NAMES: &'static [(&'static str, Self)] = &[
        ("", Self::Default),
        // Java's built-in one has taken its place in Kafka 4.0.
        (
            "org.apache.kafka.clients.producer.internals.DefaultPartitioner",
            Self::Default,
        ),
        (
            "org.apache.kafka.clients.producer.RoundRobinPartitioner",
            Self::RoundRobin,
        ),
        ("RoundRobinPartitioner", Self::RoundRobin),
    ];

    fn hint(text: &str) -> Option<&'static str> {
        Some(match text.rsplit('.').next()? {
            "UniformStickyPartitioner" => {
                "Kafka 4.0 has taken it away; leave it out and set partitioner.ignore.keys=true"
            }
            _ => {
                "a partitioner of your own is handed to the builder (ProducerBuilder::partitioner)"
            }
        })
    }
}

/// How the client speaks to brokers: the setting `security.protocol`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum SecurityProtocol {
    /// Neither encrypted nor authenticated.
    #[default]
    Plaintext,
}

impl Choice for SecurityProtocol {
    const NAMES: &'static [(&'static str, Self)] = &[("PLAINTEXT", Self::Plaintext)];
    const NOT_YET: &'static [&'static str] = &["SSL", "SASL_PLAINTEXT", "SASL_SSL"];
    const IGNORES_CASE: bool = true;
}

impl Choice for CompressionType {
    const NAMES: &'static [(&'static str, Self)] = &[
        ("none", Self::None),
        ("gzip", Self::Gzip),
        ("snappy", Self::Snappy),
        ("lz4", Self::Lz4),
        ("zstd", Self::Zstd),
    ];
}
