//! The topics of a metadata snapshot. Snapshots share the topics that did not change, so the cost of a new one depends on
//! the number of changed topics, not on the number of all topics.

use std::collections::HashMap;
use std::fmt;
use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;

use super::cluster::TopicMetadata;

/// A part of the topics. It is copied as a whole when one of its topics changes.
type Shard = HashMap<Arc<str>, Arc<TopicMetadata>>;

/// With tens of thousands of topics, a shard has about a hundred of them.
const SHARDS: usize = 256;

/// Topics by name. A copy shares its shards with the original until either changes.
#[derive(Clone)]
pub(crate) struct TopicMap {
    shards: Vec<Arc<Shard>>,
}

/// The differences between two snapshots.
#[derive(Debug, Default)]
pub(crate) struct TopicChanges {
    /// The topics that are new or changed.
    pub(crate) changed: Vec<Arc<TopicMetadata>>,
    /// The names of the topics that only the earlier snapshot has.
    pub(crate) gone: Vec<Arc<str>>,
}

impl Default for TopicMap {
    fn default() -> Self {
        Self {
            shards: vec![Arc::default(); SHARDS],
        }
    }
}

impl fmt::Debug for TopicMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

impl FromIterator<TopicMetadata> for TopicMap {
    fn from_iter<T: IntoIterator<Item = TopicMetadata>>(topics: T) -> Self {
        let mut map = Self::default();
        for topic in topics {
            map.insert(topic);
        }
        map
    }
}

impl TopicMap {
    pub(crate) fn get(&self, name: &str) -> Option<&Arc<TopicMetadata>> {
        self.shards[shard_of(name)].get(name)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<TopicMetadata>> {
        self.shards.iter().flat_map(|shard| shard.values())
    }

    /// Inserts the topic, or replaces the known one of its name. An unchanged topic keeps its memory.
    pub(crate) fn insert(&mut self, topic: TopicMetadata) {
        if self.get(&topic.name).is_none_or(|known| **known != topic) {
            let name = Arc::clone(&topic.name);
            let shard = Arc::make_mut(&mut self.shards[shard_of(&name)]);
            shard.insert(name, Arc::new(topic));
        }
    }

    pub(crate) fn remove(&mut self, name: &str) {
        let shard = &mut self.shards[shard_of(name)];
        if shard.contains_key(name) {
            let shard = Arc::make_mut(shard);
            shard.remove(name);
            shrink(shard);
        }
    }

    /// Removes the topics for which `keep` returns false.
    pub(crate) fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        for shard in &mut self.shards {
            if !shard.keys().all(|name| keep(name)) {
                let shard = Arc::make_mut(shard);
                shard.retain(|name, _| keep(name));
                shrink(shard);
            }
        }
    }

    /// Changes a topic, if it is known.
    pub(crate) fn modify(&mut self, name: &str, change: impl FnOnce(&mut TopicMetadata)) {
        let shard = &mut self.shards[shard_of(name)];
        if shard.contains_key(name) {
            if let Some(topic) = Arc::make_mut(shard).get_mut(name) {
                change(Arc::make_mut(topic));
            }
        }
    }

    /// Returns the differences to `before`. There may be other snapshots in between.
    pub(crate) fn changes_since(&self, before: &TopicMap) -> TopicChanges {
        let mut changes = TopicChanges::default();
        let shards = self.shards.iter().zip(&before.shards);
        for (now, before) in shards.filter(|(now, before)| !Arc::ptr_eq(now, before)) {
            let is_new = |(name, topic): &(&Arc<str>, &Arc<TopicMetadata>)| {
                let known = before.get(*name);
                known.is_none_or(|known| !Arc::ptr_eq(known, topic))
            };
            let changed = now.iter().filter(is_new);
            changes
                .changed
                .extend(changed.map(|(_, topic)| Arc::clone(topic)));
            let gone = before.keys().filter(|name| !now.contains_key(*name));
            changes.gone.extend(gone.cloned());
        }
        changes
    }
}

/// Returns the shard of a topic: the same one in every map, so that shards can be compared.
fn shard_of(name: &str) -> usize {
    let mut hasher = DefaultHasher::new();
    hasher.write(name.as_bytes());
    hasher.finish() as usize % SHARDS
}

/// Frees memory if the shard has become nearly empty.
fn shrink(shard: &mut Shard) {
    if shard.capacity() > 16 && shard.len() < shard.capacity() / 4 {
        shard.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::fixtures;

    fn topic(name: &str, leader: i32) -> TopicMetadata {
        fixtures::topic(name, &[leader])
    }

    fn many() -> TopicMap {
        (0..1000)
            .map(|number| topic(&format!("t{number}"), 1))
            .collect()
    }

    fn names(changes: &TopicChanges) -> (Vec<&str>, Vec<&str>) {
        let changed = changes.changed.iter().map(|topic| &*topic.name).collect();
        let gone = changes.gone.iter().map(|name| &**name).collect();
        (changed, gone)
    }

    #[test]
    fn the_changes_are_the_new_the_different_and_the_removed_topics() {
        let before = many();
        let mut after = before.clone();
        assert_eq!(names(&after.changes_since(&before)), (vec![], vec![]));
        after.insert(topic("new", 1));
        after.insert(topic("t7", 1));
        after.remove("t8");
        after.remove("unknown");
        let changes = after.changes_since(&before);
        assert_eq!(names(&changes), (vec!["new"], vec!["t8"]));
        after.modify("t9", |topic| topic.partitions[0].leader = Some(2));
        after.retain(|name| name != "new");
        let changes = after.changes_since(&before);
        assert_eq!(names(&changes), (vec!["t9"], vec!["t8"]));
        assert_eq!(before.get("t9").unwrap().partitions[0].leader, Some(1));
        assert_eq!(after.iter().count(), 999);
    }

    #[test]
    fn a_change_copies_one_shard_and_no_other() {
        let before = many();
        let mut after = before.clone();
        after.insert(topic("t7", 2));
        let shared = after.shards.iter().zip(&before.shards);
        let shared = shared.filter(|(after, before)| Arc::ptr_eq(after, before));
        assert_eq!(shared.count(), SHARDS - 1);
    }

    #[test]
    fn maps_that_share_nothing_are_compared_by_their_topics() {
        let (mut before, after) = (TopicMap::default(), many());
        assert_eq!(after.changes_since(&before).changed.len(), 1000);
        assert_eq!(before.changes_since(&after).gone.len(), 1000);
        before.insert(topic("t7", 1));
        assert_eq!(before.changes_since(&after).gone.len(), 999);
    }
}
