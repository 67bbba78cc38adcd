//! The threads of a producer: which thread belongs to which producer, how they end, and what they log.
//!
//! A producer's own threads never wait for that producer: a thread-local has the producer of each thread. A forked process has
//! none of the threads of the producers that it inherits, so each producer knows the process that created it.

#[allow(dead_code, reason = "each feature needs a part of it")]
mod blocking_calls;
mod fork;
mod group;
mod instance;
pub(crate) mod logging;
mod name;
mod panic;

pub(crate) use blocking_calls::{BlockingCalls, NoResult, Overlap};
pub(crate) use group::ThreadGroup;
pub(crate) use instance::{InstanceId, OpenFlag};
pub(crate) use name::thread_name;
pub(crate) use panic::catch_panic;
