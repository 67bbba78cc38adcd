//! Connections to brokers: makes them, writes requests without waiting for a broker that does not read, and reads answers.
//! This layer does not interpret records, and does not repeat a request.
//!
//! | to | see |
//! |---|---|
//! | make a connection, step by step | [`dial`], its steps [`resolve`], [`negotiation`], [`authentication`], [`cluster_check`] |
//! | authenticate by SASL | [`sasl`] carries the messages of a mechanism, which the layer `sasl` makes |
//! | find the address of a broker, and its API versions | [`endpoint`], [`versions`] |
//! | carry bytes (plain TCP, TLS) | [`transport`] over a [`socket`], [`frames`] |
//! | send a request and wait for the answer | [`exchange`], [`client`] |
//! | write requests and read answers for a worker | [`link`] (what the worker sees), [`tcp_network`], [`shared`], [`outgoing`] |
//! | look up the hosts of `bootstrap.servers` | [`bootstrap`]; `producer::bootstrap` decides when, and for how long |
//! | end a connection from another thread | [`control`] |
//! | report a failure | [`errors`] |

pub(crate) mod authentication;
pub(crate) mod bootstrap;
pub(crate) mod client;
pub(crate) mod cluster_check;
pub(crate) mod control;
mod dial;
mod endpoint;
mod errors;
mod exchange;
pub(crate) mod frames;
pub(crate) mod link;
mod negotiation;
mod other_protocols;
mod outgoing;
pub(crate) mod resolve;
#[cfg(feature = "sasl")]
pub(crate) mod sasl;
mod shared;
mod socket;
pub(crate) mod tcp_network;
#[cfg(test)]
mod test_broker;
mod transport;
mod versions;

pub(crate) use endpoint::Endpoint;
pub(crate) use negotiation::FirstVersions;
pub(crate) use shared::ConnectionRegistry;
pub(crate) use versions::BrokerVersions;

use std::sync::Arc;
use std::time::Duration;

use authentication::Authenticator;
use resolve::Resolver;

use crate::threads::ThreadGroup;

/// The longest throttle time of a broker (KIP-219) that delays a request for metadata. Quotas lead to far shorter times, but
/// a garbled answer could contain a far longer one. Records need no such limit, because they have other timeouts.
pub(crate) const LONGEST_THROTTLE: Duration = Duration::from_secs(60);

/// The settings of connections, and what the connections of a producer share.
#[derive(Clone, Debug)]
pub(crate) struct ConnectionConfig {
    pub(crate) client_id: Arc<str>,
    pub(crate) send_buffer: Option<usize>,
    pub(crate) receive_buffer: Option<usize>,
    /// `socket.connection.setup.timeout.ms` and its maximum: the time doubles with each failure in a row.
    pub(crate) setup_timeout: Duration,
    pub(crate) setup_timeout_max: Duration,
    pub(crate) authenticator: Arc<dyn Authenticator>,
    pub(crate) encryption: Encryption,
    // Shared by all connections of a producer.
    pub(crate) first_versions: Arc<FirstVersions>,
    pub(crate) resolver: Arc<Resolver>,
}

/// Whether connections are encrypted.
#[derive(Clone, Debug)]
pub(crate) enum Encryption {
    None,
    #[cfg(feature = "tls-core")]
    Tls(Arc<crate::tls::TlsClient>),
}

/// What a connection needs of the producer to which it belongs.
#[derive(Clone)]
pub(crate) struct ConnectionContext {
    pub(crate) config: Arc<ConnectionConfig>,
    pub(crate) threads: Arc<ThreadGroup>,
    /// The connections of all workers of the producer.
    pub(crate) registry: Arc<ConnectionRegistry>,
}

#[cfg(test)]
impl ConnectionConfig {
    /// A configuration with long timeouts and without authentication.
    fn for_tests() -> Self {
        Self {
            client_id: "client".into(),
            send_buffer: None,
            receive_buffer: None,
            setup_timeout: Duration::from_secs(20),
            setup_timeout_max: Duration::from_secs(20),
            authenticator: Arc::new(authentication::NoAuthentication::default()),
            encryption: Encryption::None,
            first_versions: Arc::default(),
            resolver: Arc::default(),
        }
    }
}
