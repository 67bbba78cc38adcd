//! Faults, and the hooks that ask for them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::request::{MockApi, MockRequest};
use crate::ErrorCode;
use crate::sync::Mutex;
use crate::topic_partition::TopicPartition;

/// What happens to a request.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum Fault {
    /// Nothing out of the ordinary.
    #[default]
    Pass,
    /// It is not handled and answered with this error: Produce for each partition, Metadata for each topic asked for
    /// (from version 13 on for the whole request).
    Error(ErrorCode),
    /// Produce only: these partitions are not handled and answered with their errors, the others are handled.
    PartitionErrors(Vec<PartitionError>),
    /// The connection does nothing at all for this time, not even read, and then goes on with the other fault. A client
    /// that sends more than the sockets' buffers hold cannot write in the meantime. Use a long time for a broker that
    /// has stopped; the end of the broker or the cluster ends it.
    Delay(Duration, Box<Fault>),
    /// It meets the other fault, but the connection keeps its answer and all that follow until so many more requests
    /// have come on it; then they are written together. Proof that a client has several requests in flight, for without
    /// them it gets no answer. What is kept when the connection ends is lost.
    KeepBack(usize, Box<Fault>),
    /// It is not handled and not answered, and neither is what follows on the connection: answers come in the order of
    /// the requests. The connection stays open, and what arrives is read and thrown away.
    NoAnswer,
    /// It is not handled; the connection is closed.
    Disconnect,
    /// It is handled, and the connection is closed instead of the answer.
    LoseAnswer,
    /// It is handled, and the answer carries this `throttle_time_ms`.
    Throttle(Duration),
    /// It is handled, and the answer is damaged on its way.
    Corrupt(Corruption),
}

impl Fault {
    /// Handles the request after a time.
    pub fn delay(time: Duration) -> Self {
        Self::Delay(time, Box::new(Self::Pass))
    }

    pub(super) fn is_pass(&self) -> bool {
        matches!(self, Self::Pass)
    }
}

/// How an answer is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Corruption {
    /// It carries the number of another request.
    CorrelationId,
    /// The frame ends in the middle of the answer, and says so in its length.
    ShortFrame,
    /// The frame's length says nearly 2 GiB.
    HugeLength,
    /// The frame's length is negative.
    NegativeLength,
    /// Random bytes stand behind the correlation id.
    Garbage,
}

/// An error for one partition of a Produce request.
#[derive(Clone, Debug)]
pub struct PartitionError {
    pub(super) topic_partition: TopicPartition,
    pub(super) error: ErrorCode,
    pub(super) message: Option<String>,
    pub(super) record_errors: Vec<(i32, Option<String>)>,
    pub(super) log_start_offset: i64,
    pub(super) is_appended: bool,
    /// Its id and leader epoch.
    pub(super) current_leader: Option<(i32, i32)>,
}

impl PartitionError {
    /// `error` for partition `partition` of `topic`.
    pub fn new(topic: &str, partition: i32, error: ErrorCode) -> Self {
        Self {
            topic_partition: TopicPartition::new(topic, partition),
            error,
            message: None,
            record_errors: Vec::new(),
            log_start_offset: -1,
            is_appended: false,
            current_leader: None,
        }
    }

    /// The batch is handled first, and the error is told only where that went well: replicas that did not follow in time,
    /// a leadership that moved after the append. The answer has the batch's offset.
    pub fn after_append(mut self) -> Self {
        self.is_appended = true;
        self
    }

    /// With a leader and its epoch, as a broker that lost its office tells them (KIP-951), but without an address: clients
    /// can go only to one that they know. Clients see it in version 10 and later.
    pub fn current_leader(mut self, leader: i32, leader_epoch: i32) -> Self {
        self.current_leader = Some((leader, leader_epoch));
        self
    }

    /// With the broker's words on the whole batch. Clients see it in version 8 and later.
    pub fn message(mut self, message: &str) -> Self {
        self.message = Some(message.to_owned());
        self
    }

    /// With an error for the record at `index` in its batch (KIP-467). Clients see it in version 8 and later.
    pub fn record_error(mut self, index: i32, message: Option<&str>) -> Self {
        self.record_errors.push((index, message.map(str::to_owned)));
        self
    }

    /// With the offset at which the partition begins, by which clients judge `UNKNOWN_PRODUCER_ID`; -1 without.
    pub fn log_start_offset(mut self, offset: i64) -> Self {
        self.log_start_offset = offset;
        self
    }
}

/// A hook that has been set: what [`MockCluster::remove`](super::MockCluster::remove) takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HookId(usize);

pub(super) type HookFn = Box<dyn Fn(&MockRequest) -> Fault + Send + Sync>;

/// The hooks in the order in which they were set.
#[derive(Default)]
pub(super) struct Hooks {
    hooks: Mutex<Vec<Arc<Hook>>>,
    last_id: AtomicUsize,
}

struct Hook {
    id: HookId,
    api: MockApi,
    /// How many more requests it may fail.
    uses: AtomicUsize,
    call: HookFn,
}

impl Hooks {
    pub(super) fn add(&self, api: MockApi, uses: usize, call: HookFn) -> HookId {
        let id = HookId(self.last_id.fetch_add(1, Ordering::Relaxed));
        let hook = Hook {
            id,
            api,
            uses: AtomicUsize::new(uses),
            call,
        };
        self.hooks.lock().push(Arc::new(hook));
        id
    }

    pub(super) fn remove(&self, id: HookId) {
        self.retain(|hook| hook.id != id);
    }

    pub(super) fn clear(&self) {
        self.retain(|_| false);
    }

    /// The fault that the hooks of `api` decide on. `request` is only called where there are any.
    pub(super) fn decide(&self, api: MockApi, request: impl FnOnce() -> MockRequest) -> Fault {
        let hooks: Vec<_> = self
            .hooks
            .lock()
            .iter()
            .filter(|hook| hook.api == api)
            .cloned()
            .collect();
        if hooks.is_empty() {
            return Fault::Pass;
        }
        let request = request();
        for hook in hooks {
            let fault = (hook.call)(&request);
            if !fault.is_pass() && self.take_use(&hook) {
                return fault;
            }
        }
        Fault::Pass
    }

    /// Whether the hook may fail one request more; requests on other connections may have been quicker.
    fn take_use(&self, hook: &Hook) -> bool {
        let one_less = |uses: usize| {
            if uses == usize::MAX {
                Some(uses)
            } else {
                uses.checked_sub(1)
            }
        };
        let before = hook
            .uses
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less);
        if before == Ok(1) {
            self.remove(hook.id);
        }
        before.is_ok()
    }

    /// Hooks are the user's code, and so are their destructors: they run after the lock is released.
    fn retain(&self, keep: impl Fn(&Hook) -> bool) {
        let mut removed = Vec::new();
        self.hooks.lock().retain(|hook| {
            let keep = keep(hook);
            if !keep {
                removed.push(Arc::clone(hook));
            }
            keep
        });
        drop(removed);
    }
}
