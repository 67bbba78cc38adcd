//! A worker's links: what happens on them, and what each of them is due for.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use super::broker_link::{BrokerLink, LinkState, ReadyLink, RequestId};
use super::partition_state::InFlightBatch;
use super::run::Sender;
use super::session::Session;
use crate::accumulator::completion::Outcome;
use crate::accumulator::partition::PartitionId;
use crate::connection::link::{LinkEvent, LinkId, LinkTarget, Network};
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
            // The final events of a link that was given up.
            return;
        }
        match event {
            LinkEvent::Connected(link_ready) => {
                match link_ready.versions.best::<ProduceRequest<'_, Vec<u8>>>() {
                    Ok(version) => {
                        if let Some(state) = self.brokers.get_mut(broker) {
                            state.failures = 0;
                            state.last_error = None;
                            let mut ready = ReadyLink::new(link, version, now);
                            ready.throttled_until = state.throttled_until.take();
                            ready.session = Session::new(link_ready.session_ends, now);
                            state.state = LinkState::Ready(ready);
                        }
                    }
                    Err(error) => {
                        self.fail_line(broker, &error, now);
                        self.link_failed(broker, error, now);
                    }
                }
            }
            LinkEvent::Frame(frame) => self.on_frame(broker, &frame, now),
            LinkEvent::WriteProgress => self.on_write_progress(broker, now),
            LinkEvent::WriteFinished => self.on_write_finished(broker, now),
            LinkEvent::Throttled(until) => self.on_throttled(broker, until, now),
            LinkEvent::Closed(error) => self.link_failed(broker, error, now),
            LinkEvent::ConnectionRefused(error) => {
                self.link_failed(broker, error, now);
                // Behind the refresh that this asks for, which would make a new connection at once.
                if let Some(state) = self.brokers.get(broker) {
                    self.metadata.make_way(&state.endpoint);
                }
            }
        }
    }

    /// Fails what stands in the line of a broker that cannot be produced to, now or later.
    fn fail_line(&mut self, broker: BrokerId, error: &Error, now: Instant) {
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

    /// Gives up a link that is broken: its requests are without an answer for good, their batches are sent again.
    pub(super) fn link_failed(&mut self, broker: BrokerId, error: Error, now: Instant) {
        self.end_link(broker, error, N::close, now);
    }

    /// As [`link_failed`](Self::link_failed), for a reason that says nothing against the connection: other workers that
    /// share it keep it, and lose no retry.
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
            // The reason why no connection was made names the address.
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

    /// Serves each broker, or fewer where compression takes long: then it is true, and the others are due at once.
    pub(super) fn serve_brokers(&mut self, now: Instant) -> bool {
        self.codec.begin_round();
        for broker in self.brokers.serving_order() {
            self.serve(broker, now);
            if self.codec.has_worked_enough() {
                // The others come first in the next round, which is due at once if one of them has something to send.
                self.brokers.end_round_after(broker);
                self.codec.end_round();
                return true;
            }
        }
        false
    }

    /// The latest round was run on a thread of this link, which has read nothing while the round compressed: answers that
    /// came meanwhile are not missed. Links that other threads read need no such time, or a broker that is gone would not
    /// be noticed for as long as the worker compresses.
    pub(super) fn excuse_unread_link(&mut self, link: LinkId) {
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

    /// Connects, sends, times out: whatever one broker's link is due for.
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
                    self.doubt(broker, now);
                    self.send_requests(broker, now);
                    self.close_if_idle(broker, now);
                }
            }
        }
        self.report_availability(broker, now);
    }

    /// A broker that owes an answer for long may have been replaced: the cluster is asked about the topics concerned, less
    /// and less often.
    fn doubt(&mut self, broker: BrokerId, now: Instant) {
        if !self.config.idempotence {
            return;
        }
        let Some(ready) = self.brokers.ready_mut(broker) else {
            return;
        };
        if ready.next_doubt().is_none_or(|at| at > now) {
            return;
        }
        if ready.doubt(now) {
            let topics = self.topics_in_flight(broker);
            self.metadata.ask_about(&topics);
        }
        self.leave_if_replaced(broker, now);
    }

    /// The topics of the batches whose answers the broker owes.
    fn topics_in_flight(&mut self, broker: BrokerId) -> HashSet<Arc<str>> {
        let awaited = self.awaited_from(broker).into_iter();
        let ids: HashSet<PartitionId> = awaited.map(|(_, partition_id)| partition_id).collect();
        let topics = ids.into_iter().map(|partition_id| {
            let partition = &self.state(partition_id).partition;
            Arc::clone(partition.topic())
        });
        topics.collect()
    }

    /// Looks at every broker that owes an answer for long.
    pub(super) fn leave_the_replaced(&mut self, now: Instant) {
        if !self.config.idempotence {
            return;
        }
        let is_silent = |link: &BrokerLink| matches!(&link.state, LinkState::Ready(ready) if ready.is_silent(now));
        let brokers = self.brokers.iter();
        let silent = brokers.filter(|(_, link)| is_silent(link));
        let silent: Vec<BrokerId> = silent.map(|(id, _)| id).collect();
        for broker in silent {
            self.leave_if_replaced(broker, now);
        }
    }

    /// Takes from a broker that owes an answer what others lead by now. Java waits for `request.timeout.ms`, several times
    /// as long as a cluster takes to replace a leader that hangs. With idempotence nothing is risked: what the old leader
    /// has passed on the new one knows again by its stamp. Without, a batch would be doubled where the answer is only late,
    /// so there the time is waited out.
    ///
    /// The other batches on the link, whose leader may only be slow, are waited for as ever. The requests stay in their
    /// places, for the answers come in their order; what is answered of a batch that was taken means nothing any more. If
    /// there is nothing left to wait for, the link is given up.
    fn leave_if_replaced(&mut self, broker: BrokerId, now: Instant) {
        let asked = self.awaited_from(broker);
        let mut moved: Vec<PartitionId> = asked
            .iter()
            .map(|(_, partition_id)| *partition_id)
            .collect();
        moved.sort_unstable();
        moved.dedup();
        moved.retain(|partition_id| {
            self.is_led_elsewhere(*partition_id, broker) && self.can_all_be_retried(*partition_id)
        });
        if moved.is_empty() {
            return;
        }
        let message = "no answer, and meanwhile another broker has become the leader";
        let error = Error::new(ErrorKind::Network, message);
        if asked
            .iter()
            .all(|(_, partition_id)| moved.binary_search(partition_id).is_ok())
        {
            return self.abandon_link(broker, error, now);
        }
        let Some(link) = self.brokers.get(broker) else {
            return;
        };
        let error = error.with_broker(format_args!("broker {broker} at {}", link.endpoint));
        for (request, partition_id) in asked {
            if moved.binary_search(&partition_id).is_ok() {
                self.lose_answer(partition_id, request, &error, now);
            }
        }
        for partition_id in moved {
            self.reschedule(partition_id, now);
        }
    }

    /// The batches that are in flight to the broker, by request and partition; not those that have expired since.
    fn awaited_from(&self, broker: BrokerId) -> Vec<(RequestId, PartitionId)> {
        let Some(ready) = self.brokers.ready(broker) else {
            return Vec::new();
        };
        let asked = ready.in_flight.iter().flat_map(|request| {
            let ids = request
                .partitions
                .iter()
                .map(|(partition_id, _)| *partition_id);
            ids.map(|partition_id| (request.id, partition_id))
        });
        let is_awaited = |(request, partition_id): &(RequestId, PartitionId)| {
            let state = self.partitions.get(partition_id);
            state.is_some_and(|state| state.in_flight.iter().any(|sent| sent.request == *request))
        };
        asked.filter(is_awaited).collect()
    }

    fn is_led_elsewhere(&mut self, partition_id: PartitionId, broker: BrokerId) -> bool {
        let leader = self.leader(partition_id);
        leader.is_some_and(|leader| leader.broker != broker)
    }

    /// Whether none of the partition's batches in flight would fail if it had to be sent again. Where one would, the
    /// answer is waited for.
    fn can_all_be_retried(&mut self, partition_id: PartitionId) -> bool {
        let retries = self.config.retries;
        let in_flight = &self.state(partition_id).in_flight;
        in_flight.iter().all(|sent| sent.batch.attempts < retries)
    }

    /// The batch that `request` carries, if it still does, is without an answer for good: it is sent again.
    fn lose_answer(
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

    /// Connects, if there is still something to send: what stands in line may have expired there.
    fn connect(&mut self, broker: BrokerId, now: Instant) {
        let line = match self.brokers.get_mut(broker) {
            Some(link) => std::mem::take(&mut link.ready_queue),
            None => return,
        };
        for partition_id in line {
            self.state(partition_id).noted.queued_at = None;
            self.reschedule(partition_id, now);
        }
        let is_needed = |link: &BrokerLink| !link.ready_queue.is_empty();
        if !self.brokers.get(broker).is_some_and(is_needed) {
            return;
        }
        let id = self.brokers.add_link(broker);
        let Some(link) = self.brokers.get_mut(broker) else {
            return;
        };
        link.state = LinkState::Connecting {
            link: id,
            since: now,
        };
        let target = LinkTarget {
            endpoint: link.endpoint.clone(),
            cluster_id: self.cluster.cluster_id.clone(),
            failures: link.failures,
        };
        self.network.connect(id, target);
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
        // A new connection would have to wait as long.
        let is_throttled = ready.throttled_until.is_some();
        if idle && ready.is_idle() && !is_throttled && link.ready_queue.is_empty() {
            let id = ready.link;
            link.state = LinkState::Down { not_before: None };
            self.network.close(id);
            self.abandon_successor(broker);
        }
    }

    /// When the link is due for something. Not before `now`, unless that can be done then.
    pub(super) fn link_deadline(&self, link: &BrokerLink, now: Instant) -> Option<Instant> {
        let somebody_waits = !link.ready_queue.is_empty();
        let availability = self.availability_deadline(link, now);
        let (first, second) = match &link.state {
            // A partition can have joined the line after the broker had its turn in this round.
            LinkState::Down { not_before } => {
                (somebody_waits.then(|| not_before.unwrap_or(now)), None)
            }
            LinkState::Connecting { .. } => (None, None),
            LinkState::Ready(ready) if somebody_waits => {
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
        let doubt = match &link.state {
            LinkState::Ready(ready) if self.config.idempotence => ready.next_doubt(),
            _ => None,
        };
        let session = link.session_deadline().filter(|at| *at > now);
        [availability, first, second, doubt, session]
            .into_iter()
            .flatten()
            .min()
    }
}

/// The first failures are warnings, and then fewer and fewer: an outage is no reason to fill a disk.
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
