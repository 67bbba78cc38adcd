//! The worker's loop under a clock that is set by hand and a network that is scripted: no threads, sockets or sleep.

mod availability;
mod batching;
mod closing;
mod epochs;
mod expiry;
mod failover;
mod forgetting;
mod handover;
mod idempotence;
mod in_flight;
mod links;
mod replaced;
mod reschedule;
mod retries;
mod rounds;
mod sessions;
mod simulation;
mod slow_codec;
mod splits;
