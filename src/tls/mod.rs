//! TLS: what a user's settings mean for it, stores of certificates and keys, and why a handshake failed. rustls does the
//! protocol itself. `connection::transport` carries the bytes.
//!
//! | to | see |
//! |---|---|
//! | set up TLS for all connections of a producer, with the stores as they are now | [`client`] |
//! | read the stores | [`material`] |
//! | take certificates and keys that the user gives in code | [`given`] |
//! | know what the system trusts | [`system`] |
//! | make certificates and keys of the bytes of a store | [`stores`] |
//! | read the settings' names of versions and cipher suites | [`settings`] |
//! | accept or refuse a broker's certificate | [`verifier`], [`certificate`] |
//! | choose the client's certificate | [`client_key`] |
//! | get the cryptography | [`provider`] |
//! | explain a failure | [`fault`] |
//! | sign an assertion of OAuth | [`signature`] |

mod certificate;
pub(crate) mod client;
mod client_key;
mod fault;
mod given;
mod material;
pub(crate) mod provider;
pub(crate) mod settings;
#[cfg(feature = "sasl-oidc")]
pub(crate) mod signature;
pub(crate) mod stores;
mod system;
#[cfg(all(test, feature = "mock-tls"))]
mod test_peers;
mod verifier;

pub(crate) use client::TlsClient;
pub use given::{ClientKey, TrustMaterial};
