//! The settings whose value is one of a few names.

use crate::record::compression::CompressionType;

/// A setting that is one of a few names.
pub(super) trait Choice: Copy + PartialEq + 'static {
    /// Every accepted name. If several mean the same, the first one is written.
    const NAMES: &'static [(&'static str, Self)];
    /// Kafka's names that this crate does not support yet.
    const NOT_YET: &'static [&'static str] = &[];
    /// Whether upper and lower case are the same, as for some of Java's settings.
    const IGNORES_CASE: bool = false;

    /// What to write instead of an unknown text, if that is known.
    fn hint(_text: &str) -> Option<&'static str> {
        None
    }
}

/// Which replicas must have a record before it counts as delivered: the setting `acks`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Acks {
    /// No replica (`acks=0`). A record counts as delivered when it was written to the socket, and has no known offset.
    None,
    /// The leader of the partition (`acks=1`). A record is lost if the leader dies before a replica has it.
    Leader,
    /// Every replica in sync (`acks=all`, `acks=-1`).
    #[default]
    All,
}

impl Acks {
    /// The number in a request: 0, 1 or -1.
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

/// What the producer does if a broker's name has several addresses: the setting `client.dns.lookup`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum ClientDnsLookup {
    /// Tries all addresses, one after the other.
    #[default]
    UseAllDnsIps,
}

impl Choice for ClientDnsLookup {
    const NAMES: &'static [(&'static str, Self)] = &[("use_all_dns_ips", Self::UseAllDnsIps)];
    // It resolves addresses back to names, for Kerberos.
    const NOT_YET: &'static [&'static str] = &["resolve_canonical_bootstrap_servers_only"];

    fn hint(text: &str) -> Option<&'static str> {
        (text == "default").then_some("Kafka 3.0 removed it, use_all_dns_ips is the default now")
    }
}

/// What to do when no known broker can be reached: the setting `metadata.recovery.strategy` (KIP-899).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum MetadataRecoveryStrategy {
    /// Start again from `bootstrap.servers`.
    #[default]
    Rebootstrap,
    /// Keep trying the known brokers.
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
    /// By the key's hash if there is a key, otherwise sticky and adaptive (KIP-794).
    #[default]
    Default,
    /// [`RoundRobinPartitioner`](crate::RoundRobinPartitioner).
    RoundRobin,
}

impl Choice for PartitionerClass {
    const NAMES: &'static [(&'static str, Self)] = &[
        ("", Self::Default),
        // Kafka 4.0 replaced it by the built-in partitioner.
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
                "Kafka 4.0 removed it; leave it out and set partitioner.ignore.keys=true"
            }
            _ => "give your own partitioner to the builder (ProducerBuilder::partitioner)",
        })
    }
}

/// The protocol between client and brokers: the setting `security.protocol`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum SecurityProtocol {
    /// Neither encrypted nor authenticated.
    #[default]
    Plaintext,
    /// Encrypted by TLS. The settings `ssl.truststore.*` name the certificates to trust, and `ssl.keystore.*` a certificate
    /// for the client; in code, the setters `tls_trust` and `tls_client_key`.
    Ssl,
    /// Authenticated by SASL, not encrypted.
    SaslPlaintext,
    /// Encrypted by TLS and authenticated by SASL.
    SaslSsl,
}

impl SecurityProtocol {
    pub(super) fn uses_tls(self) -> bool {
        matches!(self, Self::Ssl | Self::SaslSsl)
    }

    pub(super) fn uses_sasl(self) -> bool {
        matches!(self, Self::SaslPlaintext | Self::SaslSsl)
    }
}

impl Choice for SecurityProtocol {
    const NAMES: &'static [(&'static str, Self)] = &[
        ("PLAINTEXT", Self::Plaintext),
        ("SSL", Self::Ssl),
        ("SASL_PLAINTEXT", Self::SaslPlaintext),
        ("SASL_SSL", Self::SaslSsl),
    ];
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
