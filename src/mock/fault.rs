//! Faults, and the hooks that cause them.

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
    /// The request is handled as usual.
    #[default]
    Pass,
    /// The request is not handled, and the response has this error: a Produce response for each partition, a Metadata
    /// response for each topic in the request and, since version 13, for the request as a whole.
    Error(ErrorCode),
    /// Produce only: these partitions are not handled and get these errors. The others are handled.
    PartitionErrors(Vec<PartitionError>),
    /// Metadata only: these topics are described by their errors alone, such as a missing permission. The others are
    /// described as usual.
    TopicErrors(Vec<(String, ErrorCode)>),
    /// The connection does nothing for this time: it does not even read. Then the other fault applies to the request. A
    /// client that sends more than the sockets' buffers hold cannot write during this time. A long time acts like a
    /// stopped broker. The end of the broker or of the cluster ends the delay.
    Delay(Duration, Box<Fault>),
    /// The other fault applies to the request, but the connection keeps its response, and all later ones, until this many
    /// more requests have come on it. Then it writes them together. A client that has fewer requests in flight gets no
    /// response. Responses that are kept when the connection ends are lost.
    KeepBack(usize, Box<Fault>),
    /// The request is not handled and gets no response. The same holds for all later requests on the connection, because
    /// responses come in the order of the requests. The connection stays open and discards what it reads.
    NoAnswer,
    /// The request is not handled. The connection is closed.
    Disconnect,
    /// The request is handled. The connection is closed without the response.
    LoseAnswer,
    /// The request is handled. The response carries this `throttle_time_ms`.
    Throttle(Duration),
    /// The request is handled. The response is damaged.
    Corrupt(Corruption),
}

impl Fault {
    /// Returns the fault that delays a request and then handles it.
    pub fn delay(time: Duration) -> Self {
        Self::Delay(time, Box::new(Self::Pass))
    }

    pub(super) fn is_pass(&self) -> bool {
        matches!(self, Self::Pass)
    }
}

/// How a response is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Corruption {
    /// It carries the correlation id of another request.
    CorrelationId,
    /// The frame contains only the first part of the response, and its length matches that part.
    ShortFrame,
    /// The frame's length field is nearly 2 GiB.
    HugeLength,
    /// The frame's length field is negative.
    NegativeLength,
    /// Random bytes follow the correlation id.
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
    /// The leader's id and the leader epoch.
    pub(super) current_leader: Option<(i32, i32)>,
}

impl PartitionError {
    /// Makes an `error` for partition `partition` of `topic`.
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

    /// Appends the batch first. The response has its offset and this error, as when the replicas did not follow in time or
    /// the leader changed after the append. A batch that cannot be appended gets its own error.
    pub fn after_append(mut self) -> Self {
        self.is_appended = true;
        self
    }

    /// Adds the current leader and the leader epoch, as a former leader does (KIP-951), but without an address: a client
    /// can use only a broker that it knows. Sent since version 10.
    pub fn current_leader(mut self, leader: i32, leader_epoch: i32) -> Self {
        self.current_leader = Some((leader, leader_epoch));
        self
    }

    /// Adds a message about the whole batch. Sent since version 8.
    pub fn message(mut self, message: &str) -> Self {
        self.message = Some(message.to_owned());
        self
    }

    /// Adds an error for the record at `index` in its batch (KIP-467). Sent since version 8.
    pub fn record_error(mut self, index: i32, message: Option<&str>) -> Self {
        self.record_errors.push((index, message.map(str::to_owned)));
        self
    }

    /// Sets the first offset of the partition's log, which matters to a client after `UNKNOWN_PRODUCER_ID`. Not known (-1
    /// in the protocol) by default.
    pub fn log_start_offset(mut self, offset: i64) -> Self {
        self.log_start_offset = offset;
        self
    }
}

/// The id of a hook, for [`MockCluster::remove`](super::MockCluster::remove).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HookId(usize);

pub(super) type HookFn = Box<dyn Fn(&MockRequest) -> Fault + Send + Sync>;

/// The hooks, in the order in which they were set.
#[derive(Default)]
pub(super) struct Hooks {
    hooks: Mutex<Vec<Arc<Hook>>>,
    last_id: AtomicUsize,
}

struct Hook {
    id: HookId,
    api: MockApi,
    /// The number of requests that it may still fail.
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

    /// Returns the fault that the hooks of `api` decide on. Calls `request` only if there are any.
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

    /// Returns whether the hook may fail one more request. Requests on other connections may have used it up.
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

    /// Drops the removed hooks after it has released the lock: their destructors are the user's code.
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
