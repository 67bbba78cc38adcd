//! The brokers that accept no data at present.

use std::collections::HashMap;

use crate::metadata::BrokerId;
use crate::sync::RwLock;

/// The brokers that accept no data. Records without a key go to partitions of other brokers, if there are any. Each worker
/// reports the brokers that it finds available or unavailable on its own links.
#[derive(Default)]
pub(crate) struct UnavailableBrokers {
    /// For each unavailable broker, a bit for each worker that finds it unavailable.
    by_broker: RwLock<HashMap<BrokerId, u64>>,
}

impl UnavailableBrokers {
    pub(super) fn set(&self, broker: BrokerId, worker: usize, is_unavailable: bool) {
        let bit = 1u64 << (worker % 64);
        let mut by_broker = self.by_broker.write();
        let workers = by_broker.entry(broker).or_default();
        if is_unavailable {
            *workers |= bit;
        } else {
            *workers &= !bit;
        }
        if *workers == 0 {
            by_broker.remove(&broker);
        }
    }

    #[cfg(test)]
    pub(crate) fn contains(&self, broker: BrokerId) -> bool {
        self.with(|is_unavailable| is_unavailable(broker))
    }

    /// Calls `body` with a function that returns whether a broker is unavailable. The set is locked meanwhile.
    pub(crate) fn with<R>(&self, body: impl FnOnce(&dyn Fn(BrokerId) -> bool) -> R) -> R {
        let by_broker = self.by_broker.read();
        body(&|broker| by_broker.contains_key(&broker))
    }
}
