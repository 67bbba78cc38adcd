//! Ends batches, or puts them back to their positions to be sent again.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::broker_link::LinkState;
use super::message::DeliveryTask;
use super::partition_state::Retry;
use super::run::Sender;
use crate::accumulator::Message;
use crate::accumulator::batch::ProducerBatch;
use crate::accumulator::completion::Outcome;
use crate::accumulator::partition::{Partition, PartitionId, Peek};
use crate::connection::link::Network;
use crate::error::{Error, ErrorKind};
use crate::identity::Report;
use crate::metadata::{BrokerId, PartitionLeader, PartitionMetadata};
use crate::protocol::ErrorCode;
use crate::time::deadline_after;

impl<N: Network> Sender<N> {
    /// Returns when a batch expires. It was created at `created`, and `timeout` is its `delivery.timeout.ms`. The batch
    /// gets as much more time as this worker has spent on slow compression since, at most `timeout` again: slow compression
    /// must not fail a batch whose broker works.
    pub(super) fn delivery_deadline(&self, timeout: Duration, created: Instant) -> Instant {
        let extension = self.codec.time_since(created).min(timeout);
        deadline_after(deadline_after(created, timeout), extension)
    }

    fn is_expired(&self, batch: &ProducerBatch, now: Instant) -> bool {
        let timeout = batch.partition.config().delivery_timeout;
        self.delivery_deadline(timeout, batch.created) <= now
    }

    /// Fails the batches whose `delivery.timeout.ms` is over, in order.
    pub(super) fn expire(&mut self, id: PartitionId, now: Instant) {
        let timeout = self.state(id).partition.config().delivery_timeout;
        self.queue_expired_open_batch(id, now);
        while let Some(oldest) = self.state(id).oldest_created() {
            if self.delivery_deadline(timeout, oldest) > now {
                break;
            }
            if let Some(batch) = self.state(id).pop_earliest() {
                self.fail_expired(id, batch);
            }
        }
        if let Some(oldest) = self.state(id).oldest_created() {
            self.reschedule_at_expiry(id, oldest);
        }
    }

    /// Moves the open batch to the queue if it has expired, so that it fails like the others.
    fn queue_expired_open_batch(&mut self, id: PartitionId, now: Instant) {
        let state = self.state(id);
        if !state.has_open_batch() || !state.queue.is_empty() {
            return;
        }
        let timeout = state.partition.config().delivery_timeout;
        if let Peek::OpenSince(since) = state.partition.peek(state.received) {
            if self.delivery_deadline(timeout, since) <= now {
                self.queue_open_batch(id);
            }
        }
    }

    fn fail_expired(&mut self, id: PartitionId, batch: Box<ProducerBatch>) {
        let denied = self.denied_topic(&batch.partition);
        let obstacle = self.obstacle(&batch.partition);
        // A refusal is later than the answer, or the lost connection, of the batch's last attempt: it prevented the next one.
        let refusal = obstacle.clone().filter(Error::is_refusal);
        let cause = (denied.clone())
            .or(refusal)
            .or_else(|| batch.last_error.clone())
            .or(obstacle);
        let mut message = format!(
            "{} record(s) were not acknowledged within delivery.timeout.ms={}",
            batch.record_count(),
            batch.partition.config().delivery_timeout.as_millis()
        );
        if let Some(cause) = &cause {
            let _ = write!(message, " (last: {})", cause.summary());
        }
        let mut error = Error::new(ErrorKind::DeliveryTimeout, message)
            .with_topic_partition(batch.completion().topic_partition())
            .with_delivery(batch.delivery());
        if let Some(denied) = &denied {
            error = error.with_advice_of(denied);
        }
        if let Some(cause) = cause {
            error = error
                .with_advice_of_attempt(&cause)
                .with_source(cause.without_advice());
        }
        self.give_up(id, batch, Outcome::Failed(error));
    }

    /// Returns why the metadata no longer has the partition's topic: the topic was deleted, or this client may not use it.
    /// `None` if the topic is known.
    fn denied_topic(&self, partition: &Partition) -> Option<Error> {
        let topic = partition.topic();
        if self.cluster.topic(topic).is_some() {
            return None;
        }
        self.metadata.topic_error(topic)
    }

    /// Returns why the partition's batches are not sent or not answered, if the worker knows it.
    fn obstacle(&self, partition: &Partition) -> Option<Error> {
        let topic = self.cluster.topic(partition.topic());
        let known = topic.and_then(|topic| topic.partitions().get(partition.partition() as usize));
        match known.and_then(PartitionMetadata::leader) {
            Some(leader) => self.obstacle_at(BrokerId(leader), partition),
            None => Some(Error::new(
                ErrorKind::Broker,
                ErrorCode::LEADER_NOT_AVAILABLE.message(),
            )),
        }
    }

    fn obstacle_at(&self, leader: BrokerId, partition: &Partition) -> Option<Error> {
        let broker_link = self.brokers.get(leader);
        if let Some(error) = broker_link.and_then(|broker_link| broker_link.last_error.clone()) {
            return Some(error);
        }
        let state = self.partitions.get(&partition.id())?;
        if self.identity.lacks_producer_id(&state.identity) {
            let message = "no broker has given a producer id yet";
            return Some(Error::new(ErrorKind::Broker, message));
        }
        let broker_link = broker_link?;
        let LinkState::Ready(ready_link) = &broker_link.state else {
            return None;
        };
        let message = if ready_link.throttled_until.is_some() {
            "the broker asked this client to wait (KIP-219)"
        } else if !ready_link.is_idle() {
            "the broker has not answered yet"
        } else {
            return None;
        };
        let address = format!("broker {leader} at {}", broker_link.endpoint);
        Some(Error::new(ErrorKind::Broker, message).with_broker(address))
    }

    /// Gives a batch up: ends it with `outcome` and reports that to the identity policy. If the batch had a current stamp,
    /// the partition continues under another identity, because the next sequence would leave a gap if this batch was not
    /// written.
    pub(super) fn give_up(&mut self, id: PartitionId, batch: Box<ProducerBatch>, outcome: Outcome) {
        self.report(id, Report::GivenUp(batch.facts()));
        self.complete(batch, outcome);
    }

    /// Ends a batch with `outcome`. If it has callbacks, it goes to the delivery thread at the next `hand_over_completed`.
    /// Otherwise its memory returns to the budget, and its futures wake.
    pub(super) fn complete(&mut self, batch: Box<ProducerBatch>, outcome: Outcome) {
        if self.closing && !outcome.is_written() {
            self.handle().count_undelivered(batch.record_count());
        }
        if let Some(completed) = batch.complete(outcome) {
            self.completed.push(completed);
        }
    }

    /// Sends all completed batches to the delivery thread at once, because waking that thread costs more than many
    /// callbacks.
    pub(super) fn hand_over_completed(&mut self) {
        if !self.completed.is_empty() {
            let completed = std::mem::take(&mut self.completed);
            // Without a delivery thread the batches are dropped, which also wakes their futures.
            let _ = self.deliveries.send(DeliveryTask::RunCallbacks(completed));
        }
    }

    /// Puts a batch back to its position, to be sent again after a backoff. `failed` is the leader that it was sent to.
    /// Fails the batch if it has no retry or no time left.
    pub(super) fn retry(
        &mut self,
        id: PartitionId,
        mut batch: Box<ProducerBatch>,
        error: Error,
        failed: PartitionLeader,
        now: Instant,
    ) {
        if self.is_expired(&batch, now) {
            batch.last_error = Some(error);
            return self.fail_expired(id, batch);
        }
        if batch.attempts >= self.config.retries {
            let error = error.with_delivery(batch.delivery());
            return self.give_up(id, batch, Outcome::Failed(error));
        }
        let backoff = self.config.retry_backoff.after(batch.attempts);
        batch.attempts += 1;
        batch.last_error = Some(error);
        batch.partition.batches_requeued(1);
        let state = self.state(id);
        state.put_back(batch);
        let not_before = now + backoff;
        if state
            .retry
            .is_none_or(|retry| retry.not_before < not_before)
        {
            state.retry = Some(Retry { not_before, failed });
        }
    }

    /// Puts a batch that was refused because of an earlier one back to its position. It loses no retry. It is sent again
    /// without a backoff when the earlier batches are acknowledged.
    pub(super) fn wait_for_earlier(
        &mut self,
        id: PartitionId,
        mut batch: Box<ProducerBatch>,
        error: Error,
        now: Instant,
    ) {
        batch.last_error = Some(error);
        if self.is_expired(&batch, now) {
            return self.fail_expired(id, batch);
        }
        // This makes the batch a retry, which is sent only when no earlier batch is in flight.
        batch.attempts = batch.attempts.max(1);
        batch.partition.batches_requeued(1);
        self.state(id).put_back(batch);
    }

    /// Fails all batches that this worker holds or finds in its channel, in the order of each partition.
    pub(super) fn fail_everything(&mut self, error: &Error) {
        self.closing = true;
        while let Some(message) = self.records.try_recv() {
            if let Message::FullBatch(batch) = message {
                let partition = Arc::clone(&batch.partition);
                self.state_of(&partition).push(batch);
            }
        }
        for id in self.partitions_where(|_| true) {
            while let Some(batch) = self.state(id).pop_earliest() {
                let error = batch.own(error);
                self.complete(batch, Outcome::Failed(error));
            }
        }
    }
}
