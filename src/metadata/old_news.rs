//! Leader epochs that are older than what is known, from a cluster that is met anew.

use std::time::{Duration, Instant};

/// Whether to believe leaders whose epochs are older than what is known. As a rule not: the broker that tells them lags
/// behind its cluster, as one that has just started does. But a cluster that was away as a whole may have been restored
/// from an older copy, and then nothing newer will ever come. So after such an absence old epochs are believed once
/// nothing else has been told for a while.
#[derive(Debug, Default)]
pub(super) struct OldNews {
    /// The cluster was met anew, and has not told since that it knows as much as this client.
    was_met_anew: bool,
    since: Option<Instant>,
}

/// So long do brokers have to catch up with their cluster.
const PATIENCE: Duration = Duration::from_secs(3);

impl OldNews {
    pub(super) fn met_anew(&mut self) {
        (self.was_met_anew, self.since) = (true, None);
    }

    /// Notes an answer about all topics, and whether some leader's epoch in it was older than what is known.
    pub(super) fn note(&mut self, is_older: bool, now: Instant) {
        if is_older && self.was_met_anew {
            self.since.get_or_insert(now);
        } else {
            *self = Self::default();
        }
    }

    pub(super) fn is_believed(&self, now: Instant) -> bool {
        self.since
            .is_some_and(|since| now.saturating_duration_since(since) >= PATIENCE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_epochs_are_believed_only_of_a_cluster_met_anew_that_tells_nothing_else_for_long() {
        let now = Instant::now();
        let mut news = OldNews::default();
        news.note(true, now);
        assert!(!news.is_believed(now + 100 * PATIENCE));
        news.met_anew();
        news.note(true, now);
        news.note(true, now + PATIENCE / 2);
        assert!(!news.is_believed(now + PATIENCE / 2));
        assert!(news.is_believed(now + PATIENCE));
        // The broker that lagged behind has caught up.
        news.note(false, now + PATIENCE);
        news.note(true, now + PATIENCE);
        assert!(!news.is_believed(now + 100 * PATIENCE));
    }
}
