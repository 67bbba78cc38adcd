//! The worker: it owns its partitions for life, from the batches that callers filled to the broker's answers.
//!
//! # What decides when a partition's batch is sent
//!
//! [`Sender::reschedule`] decides it, for one partition at a time, and answers with a [`Next`](schedule::Next). In this order
//! it asks whether
//!
//! 1. there is a batch: one in the partition's queue, or the open one if it need not linger any more
//!    (`linger.ms`, a flush, the close, callers that wait for memory);
//! 2. the partition has a leader;
//! 3. the backoff after a failure is over, or another broker leads now;
//! 4. order and identity allow the batch beside those in flight.
//!
//! Then the partition is *ready*: it goes to the end of its leader's ready queue ([`brokers`]). The end of each round serves
//! the brokers one after the other: as long as a link has room in flight, a request takes one batch from each partition in
//! the queue ([`request`]). If the answer is to wait, the [`schedule`] knows the time, or the event that brings what is
//! missing (an answer, a leader, a producer id) reschedules the partition.
//!
//! # Where things are
//!
//! - [`worker`] and [`lock`]: the threads that run rounds. One thread at a time has the [`Sender`], so there is no lock in it.
//! - [`run`]: the round. [`Sender::run_once`] takes the time as an argument and the network as a trait: tests drive it without
//!   threads, sockets or sleep.
//! - [`reschedule`], [`schedule`], [`partition_state`]: what each partition waits for.
//! - [`brokers`], [`broker_link`], [`links`]: the links and their ready queues. [`session`]: links that are replaced before
//!   their session ends. [`silence`] and [`availability`]: brokers that do not answer.
//! - [`request`], [`seal`], [`split`], [`codec`]: the way of a batch to the wire.
//! - [`response`] and [`outcome`]: what an answer says, and how a batch ends.
//! - [`forgetting`] and [`replaced`]: topics that are forgotten, clusters that are replaced.

mod availability;
mod broker_link;
mod brokers;
mod codec;
mod forgetting;
mod identity;
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
    not(all(test, feature = "unstable-internals")),
    allow(
        dead_code,
        reason = "the tests and the fuzz target each need a part of it"
    )
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
pub(crate) use message::{DeliveryTask, Event};
pub(crate) use run::{Sender, Shared};
pub(crate) use worker::Worker;

use std::sync::Arc;
use std::time::Duration;

use crate::accumulator::topic_config::TopicConfig;
use crate::backoff::ExponentialBackoff;

/// The settings of a worker.
#[derive(Clone, Debug)]
pub(crate) struct SenderConfig {
    /// The number of this worker among those of the producer.
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
