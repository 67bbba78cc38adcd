//! The worker's loop under a clock that is set by hand and a network that is scripted: no threads, sockets or sleep.

mod batching;
mod closing;
mod expiry;
mod handover;
mod harness;
mod idempotence;
mod links;
mod log;
mod retries;
mod simulation;
