//! The public producer API.

mod config;

pub use config::{
    Acks, ClientDnsLookup, MetadataRecoveryStrategy, PartitionerClass, ProducerConfig,
    SecurityProtocol,
};
pub(crate) use config::{BootstrapAddress, ValidatedConfig};
