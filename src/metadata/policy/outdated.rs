//! Leader epochs that are older than the known ones, from a cluster that was found again.

use std::time::{Duration, Instant};

/// Whether to accept outdated metadata: leaders whose epochs are older than the known ones.
///
/// As a rule it is not accepted: the broker lags behind its cluster, like one that has just started. But if no
/// broker of a cluster could be reached, the cluster may have been restored from an older copy. Then newer metadata never
/// comes. So after a rebootstrap older epochs are accepted when the brokers have sent nothing newer for a while.
#[derive(Debug, Default)]
pub(super) struct OutdatedMetadata {
    /// The cluster was found by a rebootstrap, and since then no answer was as new as the known snapshot.
    was_rebootstrapped: bool,
    since: Option<Instant>,
}

/// Brokers have this much time to catch up with their cluster.
pub(super) const PATIENCE: Duration = Duration::from_secs(3);

impl OutdatedMetadata {
    pub(super) fn note_rebootstrap(&mut self) {
        (self.was_rebootstrapped, self.since) = (true, None);
    }

    /// Notes an answer about all topics, and whether some leader's epoch in it was older than the known one.
    pub(super) fn note_answer(&mut self, is_older: bool, now: Instant) {
        if is_older && self.was_rebootstrapped {
            self.since.get_or_insert(now);
        } else {
            *self = Self::default();
        }
    }

    pub(super) fn is_accepted(&self, now: Instant) -> bool {
        self.since
            .is_some_and(|since| now.saturating_duration_since(since) >= PATIENCE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn older_epochs_are_accepted_only_after_a_rebootstrap_and_when_nothing_else_came_for_a_while() {
        let now = Instant::now();
        let mut outdated = OutdatedMetadata::default();
        outdated.note_answer(true, now);
        assert!(!outdated.is_accepted(now + 100 * PATIENCE));
        outdated.note_rebootstrap();
        outdated.note_answer(true, now);
        outdated.note_answer(true, now + PATIENCE / 2);
        assert!(!outdated.is_accepted(now + PATIENCE / 2));
        assert!(outdated.is_accepted(now + PATIENCE));
        // The broker that lagged behind has caught up.
        outdated.note_answer(false, now + PATIENCE);
        outdated.note_answer(true, now + PATIENCE);
        assert!(!outdated.is_accepted(now + 100 * PATIENCE));
    }
}
