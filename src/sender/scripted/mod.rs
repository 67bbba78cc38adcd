//! A worker without threads, sockets or a true clock, for the tests of this layer, the simulation and the fuzz target.
//!
//! All of them use the same [`ScriptedNetwork`]: it keeps the links, decodes each request once, and holds the bytes
//! that a socket would still read. What happens to a connection or a write is decided by the [`Script`] of its user.

mod harness;
mod log;
mod request;
mod surroundings;
mod wire;

pub(crate) use harness::{Harness, MS, PRODUCER_ID};
pub(crate) use request::{Sent, encode, response_to};
pub(crate) use surroundings::Ticket;
pub(crate) use wire::Link;
#[cfg(test)]
pub(crate) use {
    harness::{Leadership, Settings, Switches, TOPIC, identity},
    log::{Log, Rules},
    request::{SentBatch, answer_all, decode, refused, written},
    surroundings::{Surroundings, publish_to, record_of, run_callbacks},
    wire::{LinkKey, Links, Script, ScriptedNetwork, Wire, WriteFate, connected, link_closed},
};
