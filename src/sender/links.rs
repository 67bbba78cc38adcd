//! What happens on a worker's links, and what each of them is due for.

use std::time::Instant;

use super::broker_link::{BrokerLink, LinkState, ReadyLink, RequestId};
use super::partition_state::InFlightBatch;
use super::run::Sender;
use super::session::SessionTimes;
use crate::accumulator::completion::Outcome;
use crate::accumulator::partition::PartitionId;
use crate::connection::link::{LinkEvent, LinkId, LinkReady, LinkTarget, Network};
use crate::error::{Error, ErrorKind};
use crate::metadata::BrokerId;
use crate::protocol::messages::ProduceRequest;
use crate::threads::logging::log_line;
use crate::time::deadline_after;

impl<N: Network> Sender<N> {
    pub(super) fn on_link_event(&mut self, link: LinkId, event: LinkEvent, now: Instant) {
        let Some(broker) = self.brokers.of_link(link) else {
            return;
        };
        if matches!(
            event,
            LinkEvent::Closed(_) | LinkEvent::ConnectionRefused(_)
        ) {
            self.brokers.remove_link(link);
        }
        let Some(state) = self.brokers.get(broker) else {
            return;
        };
        if state.successor.link() == Some(link) {
            return self.on_successor_event(broker, event, now);
        }
        if state.link() != Some(link) {
            // The final events of a link that was closed or abandoned.
            return;
        }
        match event {
            LinkEvent::Connected(ready) => self.on_connected(broker, link, &ready, now),
            LinkEvent::Frame(frame) => self.on_frame(broker, &frame, now),
            LinkEvent::WriteProgress => self.on_write_progress(broker, now),
            LinkEvent::WriteFinished => self.on_write_finished(broker, now),
            LinkEvent::Throttled(until) => self.on_throttled(broker, until, now),
            LinkEvent::Closed(error) => self.link_failed(broker, error, now),
            LinkEvent::ConnectionRefused(error) => {
                self.link_failed(broker, error, now);
                // After the refresh that this requests, which would open another connection at once.
                if let Some(state) = self.brokers.get(broker) {
                    self.metadata.release_connection(&state.endpoint);
                }
            }
        }
    }

    fn on_connected(&mut self, broker: BrokerId, id: LinkId, link_ready: &LinkReady, now: Instant) {
        match link_ready.versions.best::<ProduceRequest<'_, Vec<u8>>>() {
            Ok(version) => {
                if let Some(link) = self.brokers.get_mut(broker) {
                    link.failures = 0;
                    link.last_error = None;
                    let mut ready = ReadyLink::new(id, version, now);
                    ready.throttled_until = link.throttled_until.take();
                    ready.session = SessionTimes::of(link_ready.session);
                    link.state = LinkState::Ready(ready);
                }
            }
            Err(error) => {
                self.fail_ready_queue(broker, &error, now);
                self.link_failed(broker, error, now);
            }
        }
    }

    /// Fails the batches in the ready queue of a broker that supports no version of Produce that we know.
    fn fail_ready_queue(&mut self, broker: BrokerId, error: &Error, now: Instant) {
        let Some(link) = self.brokers.get_mut(broker) else {
            return;
        };
        for partition_id in std::mem::take(&mut link.ready_queue) {
            self.state(partition_id).noted.queued_at = None;
            self.queue_open_batch(partition_id);
            while let Some(batch) = self.state(partition_id).queue.pop_front() {
                batch.partition.batch_drained();
                let error = batch.own(error);
                self.give_up(partition_id, batch, Outcome::Failed(error));
            }
            self.reschedule(partition_id, now);
        }
    }

    /// Ends a broken link. Its requests get no answers any more, so their batches are sent again.
    pub(super) fn link_failed(&mut self, broker: BrokerId, error: Error, now: Instant) {
        self.end_link(broker, error, N::close, now);
    }

    /// Ends a link whose connection is not at fault. Its batches are sent again, as after
    /// [`link_failed`](Self::link_failed), but other workers that share the connection keep it.
    pub(super) fn abandon_link(&mut self, broker: BrokerId, error: Error, now: Instant) {
        self.end_link(broker, error, N::abandon, now);
    }

    fn end_link(&mut self, broker: BrokerId, error: Error, end: fn(&mut N, LinkId), now: Instant) {
        let Some(link) = self.brokers.get_mut(broker) else {
            return;
        };
        let Some(id) = link.link() else { return };
        let error = match &link.state {
            LinkState::Ready(_) => {
                error.with_broker(format_args!("broker {broker} at {}", link.endpoint))
            }
            // An error of connecting names the address already.
            _ => error,
        };
        log_end(broker, link, &error);
        let not_before = now + self.config.reconnect_backoff.after(link.failures);
        let retried_until = not_before + self.config.retry_backoff.longest();
        let ended = link.fail(error.clone(), not_before, retried_until);
        end(&mut self.network, id);
        self.abandon_successor(broker);
        self.metadata.request_refresh();
        for request in ended.map_or_else(Default::default, |ready| ready.in_flight) {
            for (partition_id, _) in request.partitions {
                self.lose_answer(partition_id, request.id, &error, now);
                self.reschedule(partition_id, now);
            }
        }
    }

    /// Serves the brokers one after the other. Returns `true` if it stopped early because compression took long: then the next
    /// round is due at once.
    pub(super) fn serve_brokers(&mut self, now: Instant) -> bool {
        self.codec.begin_round();
        for broker in self.brokers.serving_order() {
            self.serve(broker, now);
            if self.codec.has_worked_enough() {
                self.brokers.end_round_after(broker);
                self.codec.end_round();
                return true;
            }
        }
        false
    }

    /// Gives the requests of this link more time: as much as the latest round spent on slow compression. That round ran on the
    /// link's thread, which read no answers meanwhile. Links that other threads read get no more time; otherwise the worker
    /// would not notice a lost broker while it compresses.
    pub(super) fn extend_unread_link(&mut self, link: LinkId) {
        if !self.codec.has_worked_enough() {
            return;
        }
        let took = self.codec.time_of_round();
        let Some(broker) = self.brokers.of_link(link) else {
            return;
        };
        let ready = self.brokers.ready_mut(broker);
        if let Some(ready) = ready.filter(|ready| ready.link == link) {
            ready.wait_longer(took);
        }
    }

    /// Serves one broker: connects, sends requests, or ends a link whose request timed out, as is due now.
    fn serve(&mut self, broker: BrokerId, now: Instant) {
        let Some(link) = self.brokers.get_mut(broker) else {
            return;
        };
        match &mut link.state {
            LinkState::Down { not_before } => {
                if !link.ready_queue.is_empty() && not_before.is_none_or(|at| at <= now) {
                    self.connect(broker, now);
                }
            }
            LinkState::Connecting { .. } => {}
            LinkState::Ready(ready) => {
                ready.throttled_until = ready.throttled_until.filter(|until| *until > now);
                if ready.request_deadline().is_some_and(|at| at <= now) {
                    let ms = self.config.request_timeout.as_millis();
                    let message = match ready.writing_until.is_some_and(|at| at <= now) {
                        true => {
                            format!("the broker read no request data for request.timeout.ms={ms}")
                        }
                        false => format!("no answer within request.timeout.ms={ms}"),
                    };
                    self.link_failed(broker, Error::new(ErrorKind::Network, message), now);
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

    /// Sends the batch that `request` carries again, because no answer can come any more. Does nothing if the batch was taken
    /// from the in-flight list before.
    pub(super) fn lose_answer(
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

    /// Connects to the broker if batches are still ready for it. Batches may have expired in the ready queue, so this
    /// reschedules its partitions first.
    fn connect(&mut self, broker: BrokerId, now: Instant) {
        let ready = match self.brokers.get_mut(broker) {
            Some(link) => std::mem::take(&mut link.ready_queue),
            None => return,
        };
        for partition_id in ready {
            self.state(partition_id).noted.queued_at = None;
            self.reschedule(partition_id, now);
        }
        let is_needed = |link: &BrokerLink| !link.ready_queue.is_empty();
        if !self.brokers.get(broker).is_some_and(is_needed) {
            return;
        }
        let id = self.dial(broker);
        if let (Some(link), Some(id)) = (self.brokers.get_mut(broker), id) {
            link.state = LinkState::Connecting {
                link: id,
                since: now,
            };
        }
    }

    /// Starts to connect to the broker. Returns the id of the new link.
    pub(super) fn dial(&mut self, broker: BrokerId) -> Option<LinkId> {
        let link = self.brokers.get(broker)?;
        let target = LinkTarget {
            endpoint: link.endpoint.clone(),
            cluster_id: self.cluster.cluster_id.clone(),
            failures: link.failures,
        };
        let id = self.brokers.add_link(broker);
        self.network.connect(id, target);
        Some(id)
    }

    fn close_if_idle(&mut self, broker: BrokerId, now: Instant) {
        let Some(link) = self.brokers.get_mut(broker) else {
            return;
        };
        let LinkState::Ready(ready) = &link.state else {
            return;
        };
        let idle = self
            .config
            .connections_max_idle
            .is_some_and(|idle| deadline_after(ready.last_used, idle) <= now);
        // While the broker throttles, closing saves nothing: the throttle also applies to a new connection.
        let is_throttled = ready.throttled_until.is_some();
        if idle && ready.is_idle() && !is_throttled && link.ready_queue.is_empty() {
            let id = ready.link;
            link.state = LinkState::Down { not_before: None };
            self.network.close(id);
            self.abandon_successor(broker);
        }
    }

    /// Returns when the broker must be served next. This is a time in the past only if there is something to do now.
    pub(super) fn link_deadline(&self, link: &BrokerLink, now: Instant) -> Option<Instant> {
        let is_awaited = !link.ready_queue.is_empty();
        let availability = self.availability_deadline(link, now);
        let (next_step, next_room) = match &link.state {
            // A partition can have become ready after the broker was served in this round.
            LinkState::Down { not_before } => (is_awaited.then(|| not_before.unwrap_or(now)), None),
            LinkState::Connecting { .. } => (None, None),
            LinkState::Ready(ready) if is_awaited => {
                let room = link.has_room(self.config.max_in_flight, now).then_some(now);
                (ready.request_deadline(), room.or(ready.throttled_until))
            }
            LinkState::Ready(ready) if ready.is_idle() => {
                let idle = self.config.connections_max_idle;
                let idle = idle.map(|idle| deadline_after(ready.last_used, idle));
                (idle.max(idle.and(ready.throttled_until)), None)
            }
            LinkState::Ready(ready) => (ready.request_deadline(), None),
        };
        let silence = match &link.state {
            LinkState::Ready(ready) if self.config.idempotence => ready.next_silence_check(),
            _ => None,
        };
        let session = link.session_deadline().filter(|at| *at > now);
        [availability, next_step, next_room, silence, session]
            .into_iter()
            .flatten()
            .min()
    }
}

/// Logs the end of a link. The failures 1, 2, 4, 8 and so on in a row are warnings, so that a long outage does not fill a disk.
fn log_end(broker: BrokerId, link: &BrokerLink, error: &Error) {
    let (event, otherwise, was_needed) = match &link.state {
        LinkState::Ready(ready) => (
            "lost the connection to broker",
            log::Level::Info,
            !ready.is_idle() || !link.ready_queue.is_empty(),
        ),
        _ => ("no connection to broker", log::Level::Debug, true),
    };
    let level = match was_needed && (link.failures + 1).is_power_of_two() {
        true => log::Level::Warn,
        false => otherwise,
    };
    log_line!(level, target: "kafka_producer::sender", "{event} {broker}: {}", error.summary());
}
