//! Which brokers take no data. Records without a key go to the partitions of the others.
//!
//! A broker is *failing* when its link was lost or could not be made, and when it has owed an answer or a connection for a
//! second. Its next answer ends that. If nothing waits for it any more, no answer can come: then it is tried again after the
//! time in which batches that back off would have come back.
//!
//! A broker that throttles for longer than a record may wait is left out until a record may wait for it again.
//!
//! With `partitioner.availability.timeout.ms` a broker is also left out if something was ready for it and nothing was sent
//! for that long.

use std::time::{Duration, Instant};

use super::broker_link::{BrokerLink, LinkState};
use super::run::Sender;
use crate::connection::link::Network;
use crate::metadata::BrokerId;
use crate::time::deadline_after;

impl<N: Network> Sender<N> {
    /// Reports to the callers when a broker begins to take no data, and when that is over.
    pub(super) fn report_availability(&mut self, broker: BrokerId, now: Instant) {
        let is_blocked = match self.config.availability_timeout {
            Some(timeout) => self.is_blocked(broker, timeout, now),
            None => false,
        };
        let hopeless_until = self.brokers.get(broker);
        let hopeless_until = hopeless_until.and_then(|link| self.hopeless_until(link));
        let is_hopeless = hopeless_until.is_some_and(|until| until > now);
        let Some(link) = self.brokers.get_mut(broker) else {
            return;
        };
        if link.fails_at().is_some_and(|at| at <= now) {
            link.failing_until.get_or_insert(now);
        } else if link.failing_until.is_some_and(|until| until <= now) && link.is_unused() {
            link.failing_until = None;
        }
        let is_unavailable = is_blocked || is_hopeless || link.failing_until.is_some();
        if std::mem::replace(&mut link.reported_unavailable, is_unavailable) != is_unavailable {
            self.accumulator
                .report_availability(broker, self.config.index, !is_unavailable);
        }
    }

    /// Until when a new record for the broker would expire before the broker's throttle ends.
    fn hopeless_until(&self, link: &BrokerLink) -> Option<Instant> {
        let throttled_until = match &link.state {
            LinkState::Ready(ready) => ready.throttled_until,
            _ => link.throttled_until,
        };
        throttled_until?.checked_sub(self.config.topics.delivery_timeout)
    }

    /// Returns whether something is ready for the broker and nothing was sent for `timeout`.
    fn is_blocked(&mut self, broker: BrokerId, timeout: Duration, now: Instant) -> bool {
        let Some(link) = self.brokers.get_mut(broker) else {
            return false;
        };
        if link.ready_queue.is_empty() {
            link.blocked_since = None;
            return self.holds_partitions_back(broker, timeout, now);
        }
        let since = *link.blocked_since.get_or_insert(now);
        deadline_after(since, timeout) <= now
    }

    /// Returns whether the broker has neither taken nor answered anything for `timeout`, and a partition with batches in
    /// flight to it has more to send. Such a partition is at its own limit in flight, and so in no ready queue.
    fn holds_partitions_back(&self, broker: BrokerId, timeout: Duration, now: Instant) -> bool {
        let Some(ready) = self.brokers.ready(broker) else {
            return false;
        };
        if ready.is_idle() || deadline_after(ready.last_used, timeout) > now {
            return false;
        }
        let requests = ready.in_flight.iter();
        let mut ids = requests.flat_map(|request| &request.partitions);
        ids.any(|(partition_id, _)| {
            let state = self.partitions.get(partition_id);
            state.is_some_and(|state| state.has_open_batch() || !state.queue.is_empty())
        })
    }

    /// When to look at the broker's availability again if nothing happens before.
    pub(super) fn availability_deadline(&self, link: &BrokerLink, now: Instant) -> Option<Instant> {
        let is_ahead = |at: &Instant| *at > now;
        let hopeless = self.hopeless_until(link).filter(is_ahead);
        if let Some(until) = link.failing_until {
            return hopeless
                .into_iter()
                .chain((until > now).then_some(until))
                .min();
        }
        let blocked = self.config.availability_timeout.and_then(|timeout| {
            let since = match &link.state {
                LinkState::Ready(ready) if link.ready_queue.is_empty() && !ready.is_idle() => {
                    Some(ready.last_used)
                }
                _ => link.blocked_since,
            };
            since.map(|since| deadline_after(since, timeout))
        });
        let deadlines = [link.fails_at(), blocked.filter(is_ahead), hopeless];
        deadlines.into_iter().flatten().min()
    }
}
