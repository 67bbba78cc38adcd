//! The silence check: finds out whether a silent broker still leads its partitions.
//!
//! A broker is *silent* when it has owed its oldest answer for a second. A *check* compares the leaders in the latest
//! metadata snapshot with the broker. A *question* requests new metadata of the topics in flight to the broker.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::broker_link::{BrokerLink, LinkState, RequestId};
use super::run::Sender;
use crate::accumulator::partition::PartitionId;
use crate::connection::link::Network;
use crate::error::{Error, ErrorKind};
use crate::metadata::BrokerId;

/// How long a broker may owe its oldest answer before it counts as silent. An acknowledgement by all replicas takes far
/// less time than this. A cluster takes much longer to replace a leader.
pub(super) const SILENCE: Duration = Duration::from_secs(1);

/// The longest time until the first question about a silence. While a broker is slow, the question may come later than
/// after a second. But the worker must abandon a leader that hangs soon after the cluster names another one.
const LONGEST_PATIENCE: Duration = Duration::from_secs(5);

/// The longest time between two questions about one silence.
const LONGEST_GAP: Duration = Duration::from_secs(10);

/// The silence check of one link. The gaps between the questions about one silence grow. After a slow answer the broker
/// gets more time before the next question: if an overloaded cluster needs seconds for every write, questions only add to
/// its load.
pub(super) struct SilenceCheck {
    /// How long the broker may answer nothing before the first question.
    patience: Duration,
    /// The time of the latest answer.
    latest_answer: Option<Instant>,
    /// The time of the latest check.
    latest_check: Option<Instant>,
    /// The time of the latest question.
    latest_question: Option<Instant>,
}

impl Default for SilenceCheck {
    fn default() -> Self {
        Self {
            patience: SILENCE,
            latest_answer: None,
            latest_check: None,
            latest_question: None,
        }
    }
}

impl SilenceCheck {
    /// Returns when to check the broker next if it has owed its oldest answer since `awaited_since`.
    pub(super) fn next_check(&self, awaited_since: Instant) -> Instant {
        let since = self
            .latest_check
            .map_or(awaited_since, |latest| latest.max(awaited_since));
        since + SILENCE
    }

    /// Notes a check. Returns whether a question is due.
    pub(super) fn check(&mut self, awaited_since: Instant, now: Instant) -> bool {
        self.latest_check = Some(now);
        let quiet_since = self.quiet_since(awaited_since);
        let due = match self.latest_question.filter(|asked| *asked > quiet_since) {
            Some(asked) => {
                let lasted = asked.saturating_duration_since(quiet_since);
                asked + (lasted / 4).clamp(SILENCE, LONGEST_GAP)
            }
            None => quiet_since + self.patience,
        };
        let is_due = due <= now;
        if is_due {
            self.latest_question = Some(now);
        }
        is_due
    }

    /// Notes an answer that was awaited since `awaited_since`. A slow answer raises the patience, and quick answers lower
    /// it again.
    pub(super) fn answered(&mut self, awaited_since: Instant, now: Instant) {
        let took = now.saturating_duration_since(self.quiet_since(awaited_since));
        let wanted = took.saturating_mul(2).max(self.patience / 4 * 3);
        self.patience = wanted.clamp(SILENCE, LONGEST_PATIENCE);
        self.latest_answer = Some(now);
    }

    /// Returns since when the broker has answered nothing: since its latest answer, or since the oldest answer is awaited
    /// if that is later. So a broker that answers one request after the other is never quiet for long, however long each
    /// request waits for the earlier ones.
    fn quiet_since(&self, awaited_since: Instant) -> Instant {
        self.latest_answer
            .map_or(awaited_since, |latest| latest.max(awaited_since))
    }
}

impl<N: Network> Sender<N> {
    /// Checks the broker if it is silent and a check is due. Asks the cluster first if a question is due.
    pub(super) fn check_silence(&mut self, broker: BrokerId, now: Instant) {
        if !self.config.idempotence {
            return;
        }
        let Some(ready_link) = self.brokers.ready_mut(broker) else {
            return;
        };
        if ready_link.next_silence_check().is_none_or(|at| at > now) {
            return;
        }
        if ready_link.check_silence(now) {
            let topics = self.topics_in_flight(broker);
            self.metadata.request_topics(&topics);
        }
        self.abandon_if_replaced(broker, now);
    }

    /// Returns the topics of the batches whose answers the broker owes.
    fn topics_in_flight(&mut self, broker: BrokerId) -> HashSet<Arc<str>> {
        let awaited = self.awaited_from(broker).into_iter();
        let ids: HashSet<PartitionId> = awaited.map(|(_, partition_id)| partition_id).collect();
        let topics = ids.into_iter().map(|partition_id| {
            let partition = &self.state(partition_id).partition;
            Arc::clone(partition.topic())
        });
        topics.collect()
    }

    /// Checks all silent brokers against a new metadata snapshot.
    pub(super) fn abandon_replaced_leaders(&mut self, now: Instant) {
        if !self.config.idempotence {
            return;
        }
        let is_silent = |broker_link: &BrokerLink| match &broker_link.state {
            LinkState::Ready(ready_link) => ready_link.is_silent(now),
            _ => false,
        };
        let brokers = self.brokers.iter();
        let silent = brokers.filter(|(_, broker_link)| is_silent(broker_link));
        let silent: Vec<BrokerId> = silent.map(|(id, _)| id).collect();
        for broker in silent {
            self.abandon_if_replaced(broker, now);
        }
    }

    /// Sends batches in flight to a silent broker again if another broker leads their partitions. Java waits for
    /// `request.timeout.ms` first, several times as long as a cluster takes to replace a leader that hangs. This needs
    /// idempotence: by its stamp the new leader recognizes a batch that it already replicated from the old one. Without
    /// idempotence a batch would be written twice if its answer is only late, so the worker waits for the answer.
    ///
    /// The worker still waits for the other batches on the link, because their leader may only be slow. The requests stay
    /// in flight, because answers come in the order of the requests. A late answer to a batch that was sent again is
    /// ignored. If no batch is left to wait for, the link is abandoned.
    fn abandon_if_replaced(&mut self, broker: BrokerId, now: Instant) {
        let awaited = self.awaited_from(broker);
        let mut moved: Vec<PartitionId> = awaited
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
        if awaited
            .iter()
            .all(|(_, partition_id)| moved.binary_search(partition_id).is_ok())
        {
            return self.abandon_link(broker, error, now);
        }
        let Some(broker_link) = self.brokers.get(broker) else {
            return;
        };
        let error = error.with_broker(format_args!("broker {broker} at {}", broker_link.endpoint));
        for (request, partition_id) in awaited {
            if moved.binary_search(&partition_id).is_ok() {
                self.retry_without_answer(partition_id, request, &error, now);
            }
        }
        for partition_id in moved {
            self.reschedule(partition_id, now);
        }
    }

    /// Returns the request and the partition of each batch in flight to the broker. Batches that have failed meanwhile are
    /// left out.
    fn awaited_from(&self, broker: BrokerId) -> Vec<(RequestId, PartitionId)> {
        let Some(ready_link) = self.brokers.ready(broker) else {
            return Vec::new();
        };
        let sent = ready_link.in_flight.iter().flat_map(|request| {
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
        sent.filter(is_awaited).collect()
    }

    fn is_led_elsewhere(&mut self, partition_id: PartitionId, broker: BrokerId) -> bool {
        let leader = self.follow_leader(partition_id);
        leader.is_some_and(|leader| leader.broker != broker)
    }

    /// Returns whether all batches of the partition in flight have a retry left. If one has none, the worker waits for its
    /// answer.
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

    /// Returns at which milliseconds questions are asked during a silence of `lasts_ms`.
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
    fn the_gaps_between_questions_about_one_silence_grow() {
        let mut check = SilenceCheck::default();
        let asked = questions(&mut check, Instant::now(), 120_000);
        assert_eq!(asked[..6], [1000, 2000, 3000, 4000, 5000, 7000]);
        let gaps: Vec<u128> = asked.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(gaps.is_sorted(), "{gaps:?}");
        assert_eq!(gaps.last(), Some(&10_000));
        // A cluster replaces a leader in 10 to 20 s. In this time questions must be frequent.
        assert!(asked.iter().filter(|at| **at < 30_000).count() >= 10);
    }

    #[test]
    fn a_broker_that_needs_seconds_for_every_answer_causes_questions_about_its_first_silence_only()
    {
        let mut check = SilenceCheck::default();
        let mut now = Instant::now();
        for expected in [3, 0, 0, 0] {
            assert_eq!(questions(&mut check, now, 3000).len(), expected);
            let begin = now;
            now += 3000 * MS;
            check.answered(begin, now);
        }
        // Then the broker hangs.
        assert_eq!(questions(&mut check, now, 20_000)[0], 5000);
    }

    #[test]
    fn after_quick_answers_the_first_question_comes_after_a_second_again() {
        let mut check = SilenceCheck::default();
        let mut now = Instant::now();
        check.answered(now, now + 10_000 * MS);
        now += 10_000 * MS;
        for _ in 0..10 {
            check.answered(now, now + MS);
            now += MS;
        }
        assert_eq!(questions(&mut check, now, 5000)[0], 1000);
    }

    #[test]
    fn a_broker_that_answers_one_request_after_the_other_causes_no_question() {
        let mut check = SilenceCheck::default();
        let sent = Instant::now();
        for answer in 1..=5 {
            let now = sent + answer * 900 * MS;
            check.answered(sent, now);
            assert!(!check.check(sent, now + 800 * MS));
        }
    }
}
