//! The topics that each thread keeps. Most threads send to the same few topics again and again. They find these topics here
//! without the lock of the registry. All threads that take that lock write to the same cache line.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Topic, Topics};
use crate::accumulator::sticky_partitioner::StickySlot;

/// A topic that a thread keeps, until a look-up finds a newer state of it or puts another topic at its index. So a thread
/// that no longer sends can keep topics of a closed producer. Their partitions then use memory, but their batches and
/// channels are freed.
struct KeptTopic {
    name: Arc<str>,
    topic: Arc<Topic>,
    slot: StickySlot,
}

/// The maximum number of topics that a thread keeps.
const MOST_KEPT: usize = 8;

thread_local! {
    static KEPT: [RefCell<Option<KeptTopic>>; MOST_KEPT] =
        const { [const { RefCell::new(None) }; MOST_KEPT] };
}

impl Topics {
    /// Calls `body` with the topic of that name, if there is one, and this thread's sticky slot for it. `body` must not
    /// look up topics.
    #[inline]
    pub(crate) fn look_up<R>(
        &self,
        name: &str,
        body: impl FnOnce(&Topic, &StickySlot) -> Option<R>,
    ) -> Option<R> {
        if KEPT.try_with(|_| ()).is_err() {
            // The thread is ending, and its thread-local values are gone.
            let found = self.find(name)?;
            return body(&found.topic, &found.slot);
        }
        KEPT.with(|kept| {
            let kept = &kept[self.index_of(name)];
            self.refresh(kept, name)?;
            let kept = kept.borrow();
            let KeptTopic { topic, slot, .. } = kept.as_ref()?;
            body(topic, slot)
        })
    }

    /// Returns the index at which a thread keeps the topic. Names mostly differ in their length or in their last byte. The
    /// id counts too, because several producers may send to a topic of the same name.
    #[inline]
    fn index_of(&self, name: &str) -> usize {
        let last = name.as_bytes().last().copied().unwrap_or(0);
        let mixed = name
            .len()
            .wrapping_add(last.into())
            .wrapping_add(self.id as usize);
        mixed % MOST_KEPT
    }

    /// Makes sure that `kept` is the newest state of the topic. Returns `None` if there is no such topic.
    #[inline]
    fn refresh(&self, kept: &RefCell<Option<KeptTopic>>, name: &str) -> Option<()> {
        let is_newest = |kept: &KeptTopic| {
            kept.topic.newest_in.load(Ordering::Acquire) == self.id && *kept.name == *name
        };
        if !kept.borrow().as_ref().is_some_and(is_newest) {
            let found = self.find(name)?;
            // The topic that was kept until now is dropped after the borrow has ended.
            let _before = kept.replace(Some(found));
        }
        Some(())
    }

    fn find(&self, name: &str) -> Option<KeptTopic> {
        let registry = self.registry.read();
        let (name, topic) = registry.by_name.get_key_value(name)?;
        topic.is_current.then(|| KeptTopic {
            name: Arc::clone(name),
            topic: Arc::clone(topic),
            slot: StickySlot::default(),
        })
    }
}
