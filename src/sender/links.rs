//! A worker's links: what happens on them, and what each of them is due for.

use std::time::Instant;

use super::broker_link::{BrokerLink, LinkState, ReadyLink};
use super::partition_state::InFlightBatch;
use super::run::Sender;
use crate::accumulator::completion::Outcome;
use crate::connection::link::{LinkEvent, LinkId, Network};
use crate::error::{Error, ErrorKind};
use crate::protocol::messages::ProduceRequest;
use crate::time::deadline_after;

impl<N: Network> Sender<N> {
    pub(super) fn on_link_event(&mut self, link: LinkId, event: LinkEvent, now: Instant) {
        let Some(&broker) = self.links.get(&link) else {
            return;
        };
        if matches!(event, LinkEvent::Closed(_) | LinkEvent::TurnedAway(_)) {
            self.links.remove(&link);
        }
        if self.brokers.get(&broker).and_then(BrokerLink::link) != Some(link) {
            // The last words of a link that was given up.
            return;
        }
        match event {
            LinkEvent::Connected(versions) => {
                match versions.best::<ProduceRequest<'_, Vec<u8>>>() {
                    Ok(version) => {
                        if let Some(state) = self.brokers.get_mut(&broker) {
                            state.failures = 0;
                            state.last_error = None;
                            let mut ready = ReadyLink::new(link, version, now);
                            ready.throttled_until = state.throttled_until.take();
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
            LinkEvent::WriteFinished => self.on_write_finished(broker, now),
            LinkEvent::Closed(error) => self.link_failed(broker, error, now),
            LinkEvent::TurnedAway(error) => {
                self.link_failed(broker, error, now);
                // Behind the refresh that this asks for, which would make a new connection at once.
                if let Some(state) = self.brokers.get(&broker) {
                    self.metadata.make_way(&state.endpoint);
                }
            }
        }
    }

    /// Fails what stands in the line of a broker that cannot be produced to, now or later.
    fn fail_line(&mut self, broker: i32, error: &Error, now: Instant) {
        let Some(link) = self.brokers.get_mut(&broker) else {
            return;
        };
        for slot in std::mem::take(&mut link.line) {
            self.state(slot).in_line = None;
            self.queue_open_batch(slot);
            while let Some(batch) = self.state(slot).queue.pop_front() {
                batch.partition.batch_drained();
                let error = batch.own(error);
                self.give_up(slot, batch, Outcome::Failed(error));
            }
            self.consider(slot, now);
        }
    }

    /// Gives a link up: its requests are without an answer for good, their batches are sent again.
    pub(super) fn link_failed(&mut self, broker: i32, error: Error, now: Instant) {
        let Some(state) = self.brokers.get_mut(&broker) else {
            return;
        };
        let Some(link) = state.link() else { return };
        let error = match &state.state {
            LinkState::Ready(_) => {
                error.with_place(format_args!("broker {broker} at {}", state.endpoint))
            }
            // What kept a connection from being made names the address.
            _ => error,
        };
        let was_needed = match &state.state {
            LinkState::Ready(ready) => !ready.is_idle() || !state.line.is_empty(),
            _ => true,
        };
        // The first, then fewer and fewer: an outage is no reason to fill a disk.
        let level = match was_needed && (state.failures + 1).is_power_of_two() {
            true => log::Level::Warn,
            false => log::Level::Info,
        };
        log::log!(target: "kafka_producer::sender", level, "lost broker {broker}: {}", error.summary());
        let not_before = now + self.config.reconnect_backoff.after(state.failures);
        state.failures = state.failures.saturating_add(1);
        state.last_error = Some(error.clone());
        let ended = std::mem::replace(
            &mut state.state,
            LinkState::Down {
                not_before: Some(not_before),
            },
        );
        self.network.close(link);
        self.metadata.request_refresh();
        if let LinkState::Ready(ready) = ended {
            state.throttled_until = ready.throttled_until;
            for request in ready.in_flight {
                for (slot, _) in request.partitions {
                    if let Some(InFlightBatch {
                        mut batch, leader, ..
                    }) = self.state(slot).take_in_flight(request.id)
                    {
                        batch.maybe_written = true;
                        let error = error
                            .clone()
                            .with_topic_partition(batch.completion().topic_partition());
                        self.retry(slot, batch, error, leader, now);
                        self.consider(slot, now);
                    }
                }
            }
        }
    }

    pub(super) fn serve_brokers(&mut self, now: Instant) {
        let ids: Vec<i32> = self.brokers.keys().copied().collect();
        for broker in ids {
            self.serve(broker, now);
        }
    }

    /// Connects, sends, times out: whatever one broker's link is due for.
    fn serve(&mut self, broker: i32, now: Instant) {
        let Some(link) = self.brokers.get_mut(&broker) else {
            return;
        };
        match &mut link.state {
            LinkState::Down { not_before } => {
                if !link.line.is_empty() && not_before.is_none_or(|at| at <= now) {
                    self.connect(broker, now);
                }
            }
            LinkState::Connecting { .. } => {}
            LinkState::Ready(ready) => {
                ready.throttled_until = ready.throttled_until.filter(|until| *until > now);
                if ready.request_deadline().is_some_and(|at| at <= now) {
                    let ms = self.config.request_timeout.as_millis();
                    let message = format!("no answer within request.timeout.ms={ms}");
                    self.link_failed(broker, Error::new(ErrorKind::Network, message), now);
                } else {
                    self.doubt(broker, now);
                    self.send_requests(broker, now);
                    self.close_if_idle(broker, now);
                }
            }
        }
        self.report_availability(broker, now);
    }

    /// A broker that owes an answer for long may have been replaced: the cluster is asked, again and again.
    fn doubt(&mut self, broker: i32, now: Instant) {
        if !self.config.idempotence {
            return;
        }
        if let Some(ready) = self.ready_link_mut(broker) {
            if ready.next_doubt().is_some_and(|at| at <= now) {
                ready.doubted = Some(now);
                self.metadata.request_refresh();
                self.leave_if_replaced(broker, now);
            }
        }
    }

    /// Looks at every broker that owes an answer for long.
    pub(super) fn leave_the_replaced(&mut self, now: Instant) {
        if !self.config.idempotence {
            return;
        }
        let is_silent = |link: &BrokerLink| matches!(&link.state, LinkState::Ready(ready) if ready.is_silent(now));
        let brokers = self.brokers.iter();
        let silent = brokers.filter(|(_, link)| is_silent(link));
        let silent: Vec<i32> = silent.map(|(id, _)| *id).collect();
        for broker in silent {
            self.leave_if_replaced(broker, now);
        }
    }

    /// Leaves a broker that owes an answer while others lead what it was asked to write. Java waits for
    /// `request.timeout.ms`, several times as long as a cluster takes to replace a leader that hangs. With idempotence
    /// nothing is risked: what the old leader has passed on the new one knows again by its stamp. Without, a batch would
    /// be doubled where the answer is only late, so there the time is waited out.
    fn leave_if_replaced(&mut self, broker: i32, now: Instant) {
        if self.is_replaced(broker) {
            let message = "no answer, and meanwhile another broker has become the leader";
            self.link_failed(broker, Error::new(ErrorKind::Network, message), now);
        }
    }

    /// Whether a partition in a request to the broker is led by another one now.
    fn is_replaced(&mut self, broker: i32) -> bool {
        let Some(ready) = self.ready_link_mut(broker) else {
            return false;
        };
        let mut asked: Vec<(u64, usize)> = Vec::new();
        for request in &ready.in_flight {
            asked.extend(
                request
                    .partitions
                    .iter()
                    .map(|(slot, _)| (request.id, *slot)),
            );
        }
        asked.into_iter().any(|(request, slot)| {
            // Not those whose batch has expired since.
            let in_flight = &self.state(slot).in_flight;
            in_flight.iter().any(|sent| sent.request == request)
                && self
                    .leader(slot)
                    .is_some_and(|leader| leader.broker != broker)
        })
    }

    /// Connects, if there is still something to send: what stands in line may have expired there.
    fn connect(&mut self, broker: i32, now: Instant) {
        let line = match self.brokers.get_mut(&broker) {
            Some(link) => std::mem::take(&mut link.line),
            None => return,
        };
        for slot in line {
            self.state(slot).in_line = None;
            self.consider(slot, now);
        }
        let id = self.next_link;
        let Some(link) = self.brokers.get_mut(&broker) else {
            return;
        };
        if link.line.is_empty() {
            return;
        }
        self.next_link += 1;
        self.links.insert(id, broker);
        link.state = LinkState::Connecting { link: id };
        self.network
            .connect(id, link.endpoint.clone(), link.failures);
    }

    fn close_if_idle(&mut self, broker: i32, now: Instant) {
        let Some(link) = self.brokers.get_mut(&broker) else {
            return;
        };
        let LinkState::Ready(ready) = &link.state else {
            return;
        };
        let idle = self
            .config
            .connections_max_idle
            .is_some_and(|idle| deadline_after(ready.last_used, idle) <= now);
        if idle && ready.is_idle() && link.line.is_empty() {
            let id = ready.link;
            link.state = LinkState::Down { not_before: None };
            self.network.close(id);
        }
    }

    /// For `partitioner.availability.timeout.ms`: notes brokers that leave somebody standing in line for too long.
    fn report_availability(&mut self, broker: i32, now: Instant) {
        let Some(timeout) = self.config.availability_timeout else {
            return;
        };
        let Some(link) = self.brokers.get_mut(&broker) else {
            return;
        };
        if link.line.is_empty() {
            link.blocked_since = None;
        } else {
            link.blocked_since.get_or_insert(now);
        }
        let unavailable = link
            .blocked_since
            .is_some_and(|since| deadline_after(since, timeout) <= now);
        if std::mem::replace(&mut link.reported_unavailable, unavailable) != unavailable {
            self.accumulator
                .unavailable_brokers()
                .set(broker, self.config.index, unavailable);
        }
    }

    /// When the link is due for something. Not before `now`, unless that can be done then.
    pub(super) fn link_deadline(&self, link: &BrokerLink, now: Instant) -> Option<Instant> {
        let somebody_waits = !link.line.is_empty();
        let availability = match (self.config.availability_timeout, link.blocked_since) {
            (Some(timeout), Some(since)) if !link.reported_unavailable => {
                Some(deadline_after(since, timeout))
            }
            _ => None,
        };
        let (first, second) = match &link.state {
            // A partition can have joined the line after the broker had its turn in this round.
            LinkState::Down { not_before } => {
                (somebody_waits.then(|| not_before.unwrap_or(now)), None)
            }
            LinkState::Connecting { .. } => (None, None),
            LinkState::Ready(ready) if somebody_waits => {
                let room = ready
                    .has_room(self.config.max_in_flight, now)
                    .then_some(now);
                (ready.request_deadline(), room.or(ready.throttled_until))
            }
            LinkState::Ready(ready) if ready.is_idle() => {
                let idle = self.config.connections_max_idle;
                (idle.map(|idle| deadline_after(ready.last_used, idle)), None)
            }
            LinkState::Ready(ready) => (ready.request_deadline(), None),
        };
        let doubt = match &link.state {
            LinkState::Ready(ready) if self.config.idempotence => ready.next_doubt(),
            _ => None,
        };
        [availability, first, second, doubt]
            .into_iter()
            .flatten()
            .min()
    }
}
