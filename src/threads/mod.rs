//! The threads of one producer: which thread belongs to which producer, how they end, and what they log.
//!
//! A producer's own threads never wait for that producer: each knows by a thread-local whose it is. A process that was
//! forked has none of the threads of the producers that it inherited: each producer knows in which process it was made.

mod fork;
mod group;
mod instance;
pub(crate) mod logging;

pub(crate) use group::ThreadGroup;
pub(crate) use instance::{InstanceId, Opening};
