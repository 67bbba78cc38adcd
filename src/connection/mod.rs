//! One link to a broker: dialling, frames, writing that a stuck broker cannot hold hostage. Knows nothing of topics,
//! batches or retries.

pub(crate) mod check;
pub(crate) mod client;
pub(crate) mod control;
pub(crate) mod dial;
pub(crate) mod frames;
mod handshakes;
pub(crate) mod link;
pub(crate) mod look_up;
mod outgoing;
pub(crate) mod resolve;
pub(crate) mod shared;
mod socket;
mod versions;

pub(crate) use handshakes::Handshakes;
pub(crate) use resolve::LookUps;
pub(crate) use versions::BrokerVersions;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// The longest wait that a broker may ask for before it is asked for metadata again (KIP-219): many times what quotas lead
/// to, and little beside what a garbled answer could say. For records the wait has no such limit: they have other timeouts.
pub(crate) const LONGEST_THROTTLE: Duration = Duration::from_secs(60);

/// What connections are made with.
#[derive(Clone, Debug)]
pub(crate) struct ConnectionConfig {
    pub(crate) client_id: Arc<str>,
    pub(crate) send_buffer: Option<usize>,
    pub(crate) receive_buffer: Option<usize>,
    /// `socket.connection.setup.timeout.ms` and its maximum: the time grows twofold with each failure in a row.
    pub(crate) setup_timeout: Duration,
    pub(crate) setup_timeout_max: Duration,
    /// Shared by all connections of a producer.
    pub(crate) handshakes: Arc<Handshakes>,
    pub(crate) look_ups: Arc<LookUps>,
}

/// Where a broker listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Endpoint {
    pub(crate) host: Arc<str>,
    pub(crate) port: u16,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// The stack of a thread that only resolves names.
const SMALL_STACK_BYTES: usize = 256 * 1024;
