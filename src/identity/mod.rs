//! The producer's identity: its producer id and epoch, who asks a broker for them, and in which cluster they are valid.
//!
//! Workers take the identity from the [`ProducerIdSource`]. It asks the metadata thread for one if there is none, and the
//! thread gets it from a broker by the calls of [`InitProducerIdCalls`].

mod acquire;
mod source;

pub(crate) use acquire::{IdentityObserver, InitProducerIdCalls};
pub(crate) use source::ProducerIdSource;

/// A producer id with the epoch that the broker gave with it (KIP-98).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProducerIdentity {
    pub(crate) producer_id: i64,
    pub(crate) producer_epoch: i16,
}
