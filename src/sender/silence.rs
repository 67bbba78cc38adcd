//! When a silent broker is checked, and how often the cluster is asked whether the broker still leads.
//!
//! A broker is *silent* when it has owed its oldest answer for a second.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::broker_link::{BrokerLink, LinkState, RequestId};
use super::run::Sender;
use crate::accumulator::partition::PartitionId;
use crate::connection::link::Network;
use crate::error::{Error, ErrorKind};
use crate::metadata::BrokerId;

/// How long a broker may owe its oldest answer before it counts as silent. An acknowledgement by all replicas takes far less;
/// a cluster needs much longer to replace a leader.
pub(super) const SILENCE: Duration = Duration::from_secs(1);

/// The longest time until the first question. If all brokers of a cluster are slow, the question comes later than after a
/// second, but a leader that hangs must be abandoned soon after the cluster names another one.
const LONGEST_PATIENCE: Duration = Duration::from_secs(5);

/// The longest time between two questions about one silence.
const LONGEST_GAP: Duration = Duration::from_secs(10);

/// The silence check of one link. The gaps between the questions about one silence grow. A broker that was silent and
/// then answered after all gets more time from then on: if an overloaded cluster needs seconds for every write, questions
/// about the cluster only add to its load.
pub(super) struct SilenceCheck {
    /// How long the broker may answer nothing before the cluster is asked.
    patience: Duration,
    /// The time of the latest answer.
    heard: Option<Instant>,
    /// The time of the latest check whether another broker leads.
    checked: Option<Instant>,
    /// The time of the latest question to the cluster.
    asked: Option<Instant>,
}

impl Default for SilenceCheck {
    fn default() -> Self {
        Self {
            patience: SILENCE,
            heard: None,
            checked: None,
            asked: None,
        }
    }
}

impl SilenceCheck {
    /// Returns when to check the broker next if it has owed its oldest answer since `awaited_since`.
    pub(super) fn next_check(&self, awaited_since: Instant) -> Instant {
        let since = self
            .checked
            .map_or(awaited_since, |checked| checked.max(awaited_since));
        since + SILENCE
    }

    /// Notes a check. Returns whether to ask the cluster now.
    pub(super) fn check(&mut self, awaited_since: Instant, now: Instant) -> bool {
        self.checked = Some(now);
        let quiet_since = self.quiet_since(awaited_since);
        let due = match self.asked.filter(|asked| *asked > quiet_since) {
            Some(asked) => {
                let lasted = asked.saturating_duration_since(quiet_since);
                asked + (lasted / 4).clamp(SILENCE, LONGEST_GAP)
            }
            None => quiet_since + self.patience,
        };
        let is_due = due <= now;
        if is_due {
            self.asked = Some(now);
        }
        is_due
    }

    /// Notes an answer that was awaited since `awaited_since`. A slow answer lengthens the patience, quick answers shorten it
    /// again.
    pub(super) fn heard(&mut self, awaited_since: Instant, now: Instant) {
        let took = now.saturating_duration_since(self.quiet_since(awaited_since));
        let wanted = took.saturating_mul(2).max(self.patience / 4 * 3);
        self.patience = wanted.clamp(SILENCE, LONGEST_PATIENCE);
        self.heard = Some(now);
    }

    /// Returns since when the broker has answered nothing: since its latest answer, or since the oldest answer is awaited. A broker
    /// that answers one request after the other has a quiet time that is short, however long each request waits for those before.
    fn quiet_since(&self, awaited_since: Instant) -> Instant {
        self.heard
            .map_or(awaited_since, |heard| heard.max(awaited_since))
    }
}

impl<N: Network> Sender<N> {
    /// Checks a broker that has owed an answer for long, which may have been replaced as the leader. Asks the cluster about
    /// the topics concerned, less and less often.
    pub(super) fn check_silence(&mut self, broker: BrokerId, now: Instant) {
        if !self.config.idempotence {
            return;
        }
        let Some(ready) = self.brokers.ready_mut(broker) else {
            return;
        };
        if ready.next_silence_check().is_none_or(|at| at > now) {
            return;
        }
        if ready.check_silence(now) {
            let topics = self.topics_in_flight(broker);
            self.metadata.request_topics(&topics);
        }
        self.abandon_if_replaced(broker, now);
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

    /// After a new metadata snapshot: takes from each silent broker the batches that other brokers lead by now.
    pub(super) fn abandon_replaced_leaders(&mut self, now: Instant) {
        if !self.config.idempotence {
            return;
        }
        let is_silent = |link: &BrokerLink| matches!(&link.state, LinkState::Ready(ready) if ready.is_silent(now));
        let brokers = self.brokers.iter();
        let silent = brokers.filter(|(_, link)| is_silent(link));
        let silent: Vec<BrokerId> = silent.map(|(id, _)| id).collect();
        for broker in silent {
            self.abandon_if_replaced(broker, now);
        }
    }

    /// Takes from a broker that owes an answer the batches whose partitions other brokers lead by now. Java waits for
    /// `request.timeout.ms`, several times as long as a cluster needs to replace a leader that hangs. With idempotence
    /// nothing is risked: the new leader knows a batch that the old one passed on by its stamp. Without idempotence a batch
    /// would be written twice if the answer is only late, so there the worker waits.
    ///
    /// The other batches on the link, whose leader may only be slow, are waited for as before. The requests stay where they
    /// are, because the answers come in their order; the answer for a batch that was taken means nothing any more. If
    /// nothing is left to wait for, the link is abandoned.
    fn abandon_if_replaced(&mut self, broker: BrokerId, now: Instant) {
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

    /// Returns the batches in flight to the broker, by request and partition, without those that have expired since.
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
        let leader = self.follow_leader(partition_id);
        leader.is_some_and(|leader| leader.broker != broker)
    }

    /// Returns whether all batches of the partition in flight have a retry left. If one has none, its answer is waited for.
    fn can_all_be_retried(&mut self, partition_id: PartitionId) -> bool {
        let retries = self.config.retries;
        let in_flight = &self.state(partition_id).in_flight;
        in_flight.iter().all(|sent| sent.batch.attempts < retries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// The milliseconds at which the cluster is asked while a silence of `lasts_ms` goes on.
    fn questions(check: &mut SilenceCheck, begin: Instant, lasts_ms: u32) -> Vec<u128> {
        let mut asked = Vec::new();
        loop {
            let now = check.next_check(begin);
            if now > begin + lasts_ms * MS {
                return asked;
            }
            if check.check(begin, now) {
                asked.push((now - begin).as_millis());
            }
        }
    }

    #[test]
    fn questions_about_one_silence_come_further_and_further_apart() {
        let mut check = SilenceCheck::default();
        let asked = questions(&mut check, Instant::now(), 120_000);
        assert_eq!(asked[..6], [1000, 2000, 3000, 4000, 5000, 7000]);
        let gaps: Vec<u128> = asked.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(gaps.is_sorted(), "{gaps:?}");
        assert_eq!(gaps.last(), Some(&10_000));
        // While a cluster replaces a leader, which takes it 10 to 20 s, the next question is never far.
        assert!(asked.iter().filter(|at| **at < 30_000).count() >= 10);
    }

    #[test]
    fn a_broker_that_needs_seconds_for_every_answer_is_asked_about_once() {
        let mut check = SilenceCheck::default();
        let mut now = Instant::now();
        for expected in [3, 0, 0, 0] {
            assert_eq!(questions(&mut check, now, 3000).len(), expected);
            let begin = now;
            now += 3000 * MS;
            check.heard(begin, now);
        }
        // It hangs now.
        assert_eq!(questions(&mut check, now, 20_000)[0], 5000);
    }

    #[test]
    fn quick_answers_make_a_broker_worth_a_question_after_a_second_again() {
        let mut check = SilenceCheck::default();
        let mut now = Instant::now();
        check.heard(now, now + 10_000 * MS);
        now += 10_000 * MS;
        for _ in 0..10 {
            check.heard(now, now + MS);
            now += MS;
        }
        assert_eq!(questions(&mut check, now, 5000)[0], 1000);
    }

    #[test]
    fn a_broker_that_answers_what_waits_in_turn_is_not_asked_about() {
        let mut check = SilenceCheck::default();
        let sent = Instant::now();
        for answer in 1..=5 {
            let now = sent + answer * 900 * MS;
            check.heard(sent, now);
            assert!(!check.check(sent, now + 800 * MS));
        }
    }
}
