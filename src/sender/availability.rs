//! Which brokers take no data. Records without a key go to the partitions of the others.
//!
//! A worker reports a broker as taking no data in three cases:
//!
//! - The broker is *failing*. It begins to fail when its link ends or cannot be made, and when it has owed an answer or a
//!   connection for a second. Its next answer ends that. If nothing waits for the broker any more, no answer can come. Then
//!   it counts as failing until the reconnect backoff and the longest retry backoff are over.
//! - The broker throttles for longer than `delivery.timeout.ms`: a new record would expire before the throttle ends.
//! - `partitioner.availability.timeout.ms` is set, and for that long partitions were ready for the broker and nothing was
//!   sent.

use std::time::{Duration, Instant};

use super::broker_link::{BrokerLink, LinkState};
use super::run::Sender;
use crate::connection::link::Network;
use crate::metadata::BrokerId;
use crate::time::deadline_after;

impl<N: Network> Sender<N> {
    /// Reports to the callers when a broker begins to take no data, and when it takes data again.
    pub(super) fn report_availability(&mut self, broker: BrokerId, now: Instant) {
        let is_blocked = match self.config.availability_timeout {
            Some(timeout) => self.is_blocked(broker, timeout, now),
            None => false,
        };
        let expire_until = self.brokers.get(broker);
        let expire_until =
            expire_until.and_then(|broker_link| self.records_expire_until(broker_link));
        let do_records_expire = expire_until.is_some_and(|until| until > now);
        let Some(broker_link) = self.brokers.get_mut(broker) else {
            return;
        };
        if broker_link.fails_at().is_some_and(|at| at <= now) {
            broker_link.failing_until.get_or_insert(now);
        } else if broker_link.failing_until.is_some_and(|until| until <= now)
            && broker_link.is_unused()
        {
            broker_link.failing_until = None;
        }
        let is_unavailable = is_blocked || do_records_expire || broker_link.failing_until.is_some();
        if std::mem::replace(&mut broker_link.reported_unavailable, is_unavailable)
            != is_unavailable
        {
            self.accumulator
                .report_availability(broker, self.config.index, !is_unavailable);
        }
    }

    /// Returns the time until which a new record for the broker expires before the broker's throttle ends.
    fn records_expire_until(&self, broker_link: &BrokerLink) -> Option<Instant> {
        let throttled_until = match &broker_link.state {
            LinkState::Ready(ready_link) => ready_link.throttled_until,
            _ => broker_link.throttled_until,
        };
        throttled_until?.checked_sub(self.config.topics.delivery_timeout)
    }

    /// Returns whether partitions were ready for the broker for `timeout` and nothing was sent.
    fn is_blocked(&mut self, broker: BrokerId, timeout: Duration, now: Instant) -> bool {
        let Some(broker_link) = self.brokers.get_mut(broker) else {
            return false;
        };
        if broker_link.ready_queue.is_empty() {
            broker_link.blocked_since = None;
            return self.holds_partitions_back(broker, timeout, now);
        }
        let since = *broker_link.blocked_since.get_or_insert(now);
        deadline_after(since, timeout) <= now
    }

    /// Returns whether the broker was sent nothing and answered nothing for `timeout`, and a partition with batches in
    /// flight to it has more to send. Such a partition is in no ready queue, because it has reached its own limit in
    /// flight.
    fn holds_partitions_back(&self, broker: BrokerId, timeout: Duration, now: Instant) -> bool {
        let Some(ready_link) = self.brokers.ready(broker) else {
            return false;
        };
        if ready_link.is_idle() || deadline_after(ready_link.last_used, timeout) > now {
            return false;
        }
        let requests = ready_link.in_flight.iter();
        let mut ids = requests.flat_map(|request| &request.partitions);
        ids.any(|(partition_id, _)| {
            let state = self.partitions.get(partition_id);
            state.is_some_and(|state| state.has_open_batch() || !state.queue.is_empty())
        })
    }

    /// Returns when to call `report_availability` again if nothing happens before.
    pub(super) fn availability_deadline(
        &self,
        broker_link: &BrokerLink,
        now: Instant,
    ) -> Option<Instant> {
        let is_ahead = |at: &Instant| *at > now;
        let expire_until = self.records_expire_until(broker_link).filter(is_ahead);
        if let Some(until) = broker_link.failing_until {
            return expire_until
                .into_iter()
                .chain((until > now).then_some(until))
                .min();
        }
        let blocked = self.config.availability_timeout.and_then(|timeout| {
            let since = match &broker_link.state {
                LinkState::Ready(ready_link)
                    if broker_link.ready_queue.is_empty() && !ready_link.is_idle() =>
                {
                    Some(ready_link.last_used)
                }
                _ => broker_link.blocked_since,
            };
            since.map(|since| deadline_after(since, timeout))
        });
        let deadlines = [
            broker_link.fails_at(),
            blocked.filter(is_ahead),
            expire_until,
        ];
        deadlines.into_iter().flatten().min()
    }
}
