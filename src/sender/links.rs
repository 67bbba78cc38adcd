//! Handles the events of a worker's links, and serves each broker: connects, sends requests, ends links.

use std::time::Instant;

use super::broker_link::{BrokerLink, LinkState, ReadyLink, RequestId};
use super::partition_state::InFlightBatch;
use super::run::Sender;
use super::session::SessionTimes;
use crate::accumulator::completion::Outcome;
use crate::accumulator::partition::PartitionId;
use crate::connection::link::{LinkEvent, LinkId, LinkProperties, LinkTarget, Network};
use crate::error::{Error, ErrorKind};
use crate::metadata::BrokerId;
use crate::protocol::messages::ProduceRequest;
use crate::threads::logging::log_line;
use crate::time::deadline_after;

impl<N: Network> Sender<N> {
    pub(super) fn on_link_event(&mut self, link_id: LinkId, event: LinkEvent, now: Instant) {
        let Some(broker) = self.brokers.of_link(link_id) else {
            return;
        };
        if matches!(
            event,
            LinkEvent::Closed(_) | LinkEvent::ConnectionRefused(_)
        ) {
            self.brokers.remove_link(link_id);
        }
        let Some(broker_link) = self.brokers.get(broker) else {
            return;
        };
        if broker_link.successor.link_id() == Some(link_id) {
            return self.on_successor_event(broker, event, now);
        }
        if broker_link.link_id() != Some(link_id) {
            // The worker has ended this link already.
            return;
        }
        match event {
            LinkEvent::Connected(properties) => {
                self.on_connected(broker, link_id, &properties, now);
            }
            LinkEvent::Frame(frame) => self.on_frame(broker, &frame, now),
            LinkEvent::WriteProgress => self.on_write_progress(broker, now),
            LinkEvent::WriteFinished => self.on_write_finished(broker, now),
            LinkEvent::Throttled(until) => self.on_throttled(broker, until, now),
            LinkEvent::Closed(error) => self.end_link(broker, error, now),
            LinkEvent::ConnectionRefused(error) => {
                self.end_link(broker, error, now);
                // This comes last: `end_link` requests metadata, which would open a connection that was released before.
                if let Some(broker_link) = self.brokers.get(broker) {
                    self.metadata.release_connection(&broker_link.endpoint);
                }
            }
        }
    }

    fn on_connected(
        &mut self,
        broker: BrokerId,
        link_id: LinkId,
        properties: &LinkProperties,
        now: Instant,
    ) {
        match properties.versions.best::<ProduceRequest<'_, Vec<u8>>>() {
            Ok(version) => {
                if let Some(broker_link) = self.brokers.get_mut(broker) {
                    broker_link.failures = 0;
                    broker_link.last_error = None;
                    let mut ready_link = ReadyLink::new(link_id, version, now);
                    ready_link.throttled_until = broker_link.throttled_until.take();
                    ready_link.session = SessionTimes::of(properties.session);
                    broker_link.state = LinkState::Ready(ready_link);
                }
            }
            Err(error) => {
                self.fail_ready_queue(broker, &error, now);
                self.end_link(broker, error, now);
            }
        }
    }

    /// Fails the batches of the partitions in the ready queue of a broker. It supports no version of Produce that we know.
    fn fail_ready_queue(&mut self, broker: BrokerId, error: &Error, now: Instant) {
        let Some(broker_link) = self.brokers.get_mut(broker) else {
            return;
        };
        for partition_id in std::mem::take(&mut broker_link.ready_queue) {
            self.state(partition_id).entries.queued_at = None;
            self.queue_open_batch(partition_id);
            while let Some(batch) = self.state(partition_id).queue.pop_front() {
                batch.partition.batch_drained();
                let error = batch.own(error);
                self.give_up(partition_id, batch, Outcome::Failed(error));
            }
            self.reschedule(partition_id, now);
        }
    }

    /// Ends a link whose connection is broken or could not be made. The link gets no more answers, so its batches are sent
    /// again.
    pub(super) fn end_link(&mut self, broker: BrokerId, error: Error, now: Instant) {
        self.end_link_with(broker, error, N::close, now);
    }

    /// Ends a link whose connection is not at fault. Its batches are sent again, as after [`end_link`](Self::end_link), but
    /// other workers that share the connection keep it.
    pub(super) fn abandon_link(&mut self, broker: BrokerId, error: Error, now: Instant) {
        self.end_link_with(broker, error, N::abandon, now);
    }

    fn end_link_with(
        &mut self,
        broker: BrokerId,
        error: Error,
        end: fn(&mut N, LinkId),
        now: Instant,
    ) {
        let Some(broker_link) = self.brokers.get_mut(broker) else {
            return;
        };
        let Some(link_id) = broker_link.link_id() else {
            return;
        };
        let error = match &broker_link.state {
            LinkState::Ready(_) => {
                error.with_broker(format_args!("broker {broker} at {}", broker_link.endpoint))
            }
            // The error of a dial already names the address.
            _ => error,
        };
        log_end(broker, broker_link, &error);
        let not_before = now
            + self
                .config
                .reconnect_backoff
                .before_reconnect(broker_link.failures, error.delays_reconnect());
        let failing_until = not_before + self.config.retry_backoff.longest();
        let ended = broker_link.end(error.clone(), not_before, failing_until);
        end(&mut self.network, link_id);
        self.accumulator.report_failure(broker, &error);
        self.abandon_successor(broker);
        self.metadata.request_refresh();
        for request in ended.map_or_else(Default::default, |ready_link| ready_link.in_flight) {
            for (partition_id, _) in request.partitions {
                self.retry_without_answer(partition_id, request.id, &error, now);
                self.reschedule(partition_id, now);
            }
        }
    }

    /// Serves the brokers one after the other. Returns whether it stopped early because compression took long. If so, the
    /// next round is due at once.
    pub(super) fn serve_brokers(&mut self, now: Instant) -> bool {
        self.codec.begin_round();
        for broker in self.brokers.serving_order() {
            self.serve(broker, now);
            if self.codec.has_compressed_enough() {
                self.brokers.end_round_after(broker);
                self.codec.end_round();
                return true;
            }
        }
        false
    }

    /// Gives the requests of this link as much more time as the latest round spent on slow compression. That round ran on
    /// the link's thread, which read no answers meanwhile. Other links were read meanwhile, so their requests get no
    /// more time, and the worker notices a lost broker while it compresses.
    pub(super) fn extend_unread_link(&mut self, link_id: LinkId) {
        if !self.codec.has_compressed_enough() {
            return;
        }
        let took = self.codec.time_of_round();
        let Some(broker) = self.brokers.of_link(link_id) else {
            return;
        };
        let ready_link = self.brokers.ready_mut(broker);
        if let Some(ready_link) = ready_link.filter(|ready_link| ready_link.link_id == link_id) {
            ready_link.wait_longer(took);
        }
    }

    /// Does what is due for one broker: connects, sends requests, replaces or closes its link, or ends a link whose request
    /// timed out.
    fn serve(&mut self, broker: BrokerId, now: Instant) {
        let Some(broker_link) = self.brokers.get_mut(broker) else {
            return;
        };
        match &mut broker_link.state {
            LinkState::Down { not_before } => {
                if !broker_link.ready_queue.is_empty() && not_before.is_none_or(|at| at <= now) {
                    self.connect(broker, now);
                }
            }
            LinkState::Connecting { .. } => {}
            LinkState::Ready(ready_link) => {
                ready_link.throttled_until =
                    ready_link.throttled_until.filter(|until| *until > now);
                if ready_link.request_deadline().is_some_and(|at| at <= now) {
                    let ms = self.config.request_timeout.as_millis();
                    let message = match ready_link.writing_until.is_some_and(|at| at <= now) {
                        true => {
                            format!("the broker read no request data for request.timeout.ms={ms}")
                        }
                        false => format!("no answer within request.timeout.ms={ms}"),
                    };
                    self.end_link(broker, Error::new(ErrorKind::Network, message), now);
                } else {
                    self.renew_session(broker, now);
                    self.check_silence(broker, now);
                    self.send_requests(broker, now);
                    self.close_if_idle(broker, now);
                }
            }
        }
        self.report_availability(broker, now);
    }

    /// Sends the partition's batch in `request` again, because its answer can no longer come, or the worker no longer waits
    /// for it. Does nothing if the batch is no longer in flight.
    pub(super) fn retry_without_answer(
        &mut self,
        partition_id: PartitionId,
        request: RequestId,
        error: &Error,
        now: Instant,
    ) {
        if let Some(InFlightBatch {
            mut batch, leader, ..
        }) = self.take_in_flight(partition_id, request)
        {
            batch.maybe_written = true;
            let topic_partition = batch.completion().topic_partition();
            let error = error.clone().with_topic_partition(topic_partition);
            self.retry(partition_id, batch, error, leader, now);
        }
    }

    /// Connects to the broker if batches are still ready for it. Batches may have expired meanwhile, so this reschedules
    /// the partitions of the ready queue first.
    fn connect(&mut self, broker: BrokerId, now: Instant) {
        let ready_queue = match self.brokers.get_mut(broker) {
            Some(broker_link) => std::mem::take(&mut broker_link.ready_queue),
            None => return,
        };
        for partition_id in ready_queue {
            self.state(partition_id).entries.queued_at = None;
            self.reschedule(partition_id, now);
        }
        let is_needed = |broker_link: &BrokerLink| !broker_link.ready_queue.is_empty();
        if !self.brokers.get(broker).is_some_and(is_needed) {
            return;
        }
        let dialled = self.dial(broker);
        if let (Some(broker_link), Some(link_id)) = (self.brokers.get_mut(broker), dialled) {
            let since = now;
            broker_link.state = LinkState::Connecting { link_id, since };
        }
    }

    /// Starts to connect to the broker. Returns the id of the new link.
    pub(super) fn dial(&mut self, broker: BrokerId) -> Option<LinkId> {
        let broker_link = self.brokers.get(broker)?;
        let target = LinkTarget {
            endpoint: broker_link.endpoint.clone(),
            cluster_id: self.cluster.cluster_id.clone(),
            failures: broker_link.failures,
        };
        let link_id = self.brokers.add_link(broker);
        self.network.connect(link_id, target);
        Some(link_id)
    }

    /// Closes the broker's link if it was idle for `connections.max.idle.ms`.
    fn close_if_idle(&mut self, broker: BrokerId, now: Instant) {
        let Some(broker_link) = self.brokers.get_mut(broker) else {
            return;
        };
        let LinkState::Ready(ready_link) = &broker_link.state else {
            return;
        };
        let is_over = self
            .config
            .connections_max_idle
            .is_some_and(|idle| deadline_after(ready_link.last_used, idle) <= now);
        // While the broker throttles, closing saves nothing: the throttle also applies to a new connection.
        let is_throttled = ready_link.throttled_until.is_some();
        let is_needed = !ready_link.is_idle() || !broker_link.ready_queue.is_empty();
        if is_over && !is_throttled && !is_needed {
            let link_id = ready_link.link_id;
            broker_link.state = LinkState::Down { not_before: None };
            self.network.close(link_id);
            self.abandon_successor(broker);
        }
    }

    /// Returns when the broker must be served next. A time that is not in the future means: at once.
    pub(super) fn link_deadline(&self, broker_link: &BrokerLink, now: Instant) -> Option<Instant> {
        let has_ready_partitions = !broker_link.ready_queue.is_empty();
        let availability = self.availability_deadline(broker_link, now);
        let (next_step, next_room) = match &broker_link.state {
            // A partition can have become ready after the broker was served in this round.
            LinkState::Down { not_before } => {
                let connect_at = has_ready_partitions.then(|| not_before.unwrap_or(now));
                (connect_at, None)
            }
            LinkState::Connecting { .. } => (None, None),
            LinkState::Ready(ready_link) if has_ready_partitions => {
                let has_room = broker_link.has_room(self.config.max_in_flight, now);
                let next_room = has_room.then_some(now).or(ready_link.throttled_until);
                (ready_link.request_deadline(), next_room)
            }
            LinkState::Ready(ready_link) if ready_link.is_idle() => {
                let idle = self.config.connections_max_idle;
                let close_at = idle.map(|idle| deadline_after(ready_link.last_used, idle));
                let throttle_ends = idle.and(ready_link.throttled_until);
                (close_at.max(throttle_ends), None)
            }
            LinkState::Ready(ready_link) => (ready_link.request_deadline(), None),
        };
        let silence = match &broker_link.state {
            LinkState::Ready(ready_link) if self.config.idempotence => {
                ready_link.next_silence_check()
            }
            _ => None,
        };
        let session = broker_link.session_deadline().filter(|at| *at > now);
        [availability, next_step, next_room, silence, session]
            .into_iter()
            .flatten()
            .min()
    }
}

/// Logs the end of a link. The failures 1, 2, 4, 8 and so on in a row are warnings, so that a long outage does not fill a
/// disk.
fn log_end(broker: BrokerId, broker_link: &BrokerLink, error: &Error) {
    let (event, otherwise, was_needed) = match &broker_link.state {
        LinkState::Ready(ready_link) => (
            format!(
                "lost the connection to broker {broker} at {}",
                broker_link.endpoint
            ),
            log::Level::Info,
            !ready_link.is_idle() || !broker_link.ready_queue.is_empty(),
        ),
        // The error names the address.
        _ => (
            format!("no connection to broker {broker}"),
            log::Level::Debug,
            true,
        ),
    };
    let level = match was_needed && (broker_link.failures + 1).is_power_of_two() {
        true => log::Level::Warn,
        false => otherwise,
    };
    log_line!(level, target: "kafka_producer::sender", "{event}: {}", error.report());
}
