//! The worker: it owns its partitions for life, from the batches that callers filled to the broker's answers.
//!
//! One thread at a time has the [`Sender`] ([`Worker`] tells which), so there is no lock in it.
//! [`Sender::run_once`] takes the time as an argument and the network as a trait: tests drive it without threads, sockets
//! or sleep.

mod availability;
mod broker_link;
mod brokers;
mod codec;
mod forgetting;
mod links;
mod lock;
mod mailbox;
mod message;
mod outcome;
mod partition_state;
mod replaced;
mod request;
mod reschedule;
mod response;
mod run;
mod schedule;
#[cfg(any(test, all(fuzzing, feature = "unstable-internals")))]
#[cfg_attr(
    not(test),
    allow(dead_code, reason = "the fuzz target needs a part of it")
)]
pub(crate) mod scripted;
mod seal;
mod session;
mod silence;
mod split;
#[cfg(test)]
mod tests;
mod worker;

pub(crate) use mailbox::Mailbox;
pub(crate) use message::{Delivery, Event};
pub(crate) use run::{Sender, Shared};
pub(crate) use worker::Worker;

use std::sync::Arc;
use std::time::Duration;

use crate::accumulator::topic_config::TopicConfig;
use crate::backoff::ExponentialBackoff;

/// What a worker goes by.
#[derive(Clone, Debug)]
pub(crate) struct SenderConfig {
    /// This worker among the producer's.
    pub(crate) index: usize,
    pub(crate) client_id: Arc<str>,
    pub(crate) idempotence: bool,
    pub(crate) max_request_size: usize,
    pub(crate) max_in_flight: usize,
    pub(crate) request_timeout: Duration,
    pub(crate) retries: u32,
    pub(crate) retry_backoff: ExponentialBackoff,
    pub(crate) reconnect_backoff: ExponentialBackoff,
    pub(crate) connections_max_idle: Option<Duration>,
    pub(crate) availability_timeout: Option<Duration>,
    /// The producer's own settings for topics, for decisions that concern no single topic. What concerns a batch is read
    /// from its partition.
    pub(crate) topics: TopicConfig,
}
