//! The topics whose metadata the producer keeps up to date.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The topics in use, and those of them whose metadata is requested.
#[derive(Default)]
pub(super) struct TrackedTopics {
    /// All of them, each with its last use.
    last_used: HashMap<Arc<str>, Instant>,
    /// Those that a caller or a worker waits for.
    requested: HashSet<Arc<str>>,
    /// Those that no broker has been asked for yet.
    new: HashSet<Arc<str>>,
}

impl TrackedTopics {
    pub(super) fn contains(&self, topic: &str) -> bool {
        self.last_used.contains_key(topic)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.last_used.is_empty()
    }

    /// Returns whether the metadata of some topics is requested.
    pub(super) fn has_requested(&self) -> bool {
        !self.requested.is_empty()
    }

    /// Returns whether there is a topic that no broker has been asked for.
    pub(super) fn has_new(&self) -> bool {
        !self.new.is_empty()
    }

    /// Requests the metadata of `topic`, and notes that it is in use.
    pub(super) fn request(&mut self, topic: &str, now: Instant) {
        let name = self.last_used.get_key_value(topic);
        let name = name.map(|(name, _)| Arc::clone(name)).unwrap_or_else(|| {
            let name = Arc::from(topic);
            self.new.insert(Arc::clone(&name));
            name
        });
        self.last_used.insert(Arc::clone(&name), now);
        self.requested.insert(name);
    }

    /// Returns the topics whose metadata is requested.
    pub(super) fn requested(&self) -> Vec<Arc<str>> {
        self.requested.iter().cloned().collect()
    }

    /// Returns all topics.
    pub(super) fn all(&self) -> Vec<Arc<str>> {
        self.last_used.keys().cloned().collect()
    }

    /// Drops the topics that were not used for `max_idle`. `take_used` returns whether callers sent to a topic since it
    /// was last called.
    pub(super) fn drop_idle(
        &mut self,
        max_idle: Duration,
        now: Instant,
        take_used: impl Fn(&str) -> bool,
    ) {
        let Self {
            last_used,
            requested,
            ..
        } = self;
        last_used.retain(|topic, last_used| {
            if take_used(topic) {
                *last_used = now;
            }
            requested.contains(topic) || now.saturating_duration_since(*last_used) < max_idle
        });
        if last_used.len() < last_used.capacity() / 4 {
            last_used.shrink_to_fit();
        }
    }

    /// Notes that a broker answered a request for these topics.
    pub(super) fn note_answer(&mut self, asked: &[Arc<str>]) {
        for topic in asked {
            self.new.remove(topic);
            self.requested.remove(topic);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_that_are_requested_are_asked_for_together_and_no_others() {
        let (mut topics, now) = (TrackedTopics::default(), Instant::now());
        topics.request("known", now);
        topics.note_answer(&topics.requested());
        assert!(!topics.has_new() && !topics.has_requested());
        for topic in ["a", "b", "c", "b", "known"] {
            topics.request(topic, now);
        }
        assert!(topics.has_new());
        let mut asked = topics.requested();
        asked.sort();
        assert_eq!(asked, ["a", "b", "c", "known"].map(Arc::<str>::from));
        // What is requested while the broker answers stays requested.
        topics.request("d", now);
        topics.note_answer(&asked);
        assert_eq!(topics.requested(), ["d"].map(Arc::<str>::from));
        assert_eq!(topics.all().len(), 5);
    }

    #[test]
    fn idle_topics_are_dropped_and_used_ones_are_kept() {
        let (mut topics, now) = (TrackedTopics::default(), Instant::now());
        for topic in ["idle", "used"] {
            topics.request(topic, now);
        }
        topics.note_answer(&topics.all());
        topics.request("requested", now);
        let max_idle = Duration::from_secs(300);
        topics.drop_idle(max_idle, now + max_idle, |topic| topic == "used");
        let mut kept = topics.all();
        kept.sort();
        assert_eq!(kept, ["requested", "used"].map(Arc::<str>::from));
        assert!(!topics.contains("idle"));
    }
}
