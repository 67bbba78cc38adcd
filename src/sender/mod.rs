//! The worker: it owns its partitions for life, from the batches that callers filled to the broker's answers.
//!
//! # What decides when a partition's batch is sent
//!
//! `Sender::next` decides it for one partition and returns a [`Next`](schedule::Next). It checks in this order that
//!
//! 1. there is a batch: one in the partition's queue, or an open one that need not linger any more
//!    (`linger.ms`, a flush, the close, callers that wait for memory);
//! 2. the partition has a leader;
//! 3. the backoff after a failure is over, or the partition has another leader, leader epoch or topic id than the one that
//!    failed;
//! 4. order and identity allow the batch beside those in flight.
//!
//! [`Sender::reschedule`] first fails expired batches, then asks `next` and applies the answer. If all four checks pass, the
//! partition is *ready*: it goes to the end of its leader's ready queue ([`brokers`]). If it must wait for a time, the
//! [`schedule`] holds that time. If it must wait for an answer, a leader or a producer id, the event that brings it
//! reschedules the partition.
//!
//! Each round ends by serving the brokers one after the other. As long as a link has room in flight, a request takes one
//! batch from each partition in the ready queue. `take_batch` ([`request`]) asks `next` again for each of them, because things
//! may have changed since the partition became ready.
//!
//! # Where things are
//!
//! - [`worker`] and [`lock`]: the threads that run rounds. One thread at a time has the [`Sender`], so its own fields need
//!   no lock.
//! - [`mailbox`] and [`message`]: how other threads send events to a worker, and what it sends to the delivery thread.
//! - [`run`]: the round. [`Sender::run_once`] takes the time as an argument and the network as a trait, so tests drive it
//!   without threads, sockets or sleep. A round reads the clock only to measure how long writing and compression take.
//! - [`reschedule`], [`schedule`], [`partition_state`]: what each partition waits for.
//! - [`brokers`], [`broker_link`], [`links`]: the links and their ready queues. [`session`]: links that are replaced before
//!   their session ends. [`silence`] and [`availability`]: brokers that do not answer.
//! - [`request`], [`seal`], [`split`], [`codec`]: how a batch becomes bytes on a link.
//! - [`identity`]: the questions and reports to the policy that numbers batches.
//! - [`response`] and [`outcome`]: what an answer means for each batch, and how a batch ends.
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
    /// The index of this worker among the producer's workers.
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
    /// The producer's settings for topics, for decisions that concern no single topic. Decisions about a batch use the
    /// settings of its partition.
    pub(crate) topics: TopicConfig,
}
