//! The cluster over its sockets: a client of plain streams and this crate's own encoders talks to it.

mod client;
mod cluster;
mod faults;
mod metadata;
mod produce;
mod producers;
mod sasl;
#[cfg(feature = "mock-tls")]
mod tls;

use super::*;
use crate::ErrorCode;
use client::{
    Client, ProduceSlices, TIMEOUT, address, batch_of, builder, cluster_with_topic,
    init_producer_id, metadata_request, plain_batch, produce_request, sealed,
};
