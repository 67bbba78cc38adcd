//! TLS for the connections of one producer, with the stores as they are now.
//!
//! The stores are read when the producer is built, and again for each connection. If their contents have changed and are
//! usable, the next connections use them. If not, the last usable ones stay. A log line warns of it: once for the same
//! contents, and for each connection while a file cannot be read.
//! The same holds if a file system does not answer in time: a connection waits for it two seconds at most.
//! So certificates can be replaced while the producer runs, by code of the user or by whatever replaces the files: a rename,
//! a symbolic link, a write in place that is read half done.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, Error as RustlsError};

use super::client_key::{self, ClientKeys};
use super::fault::{error_of, tls_error};
use super::material::Material;
use super::settings::{CheckName, TlsSettings, java_name, suites_of};
use super::verifier::{Anchors, Verifier};
use crate::error::{Error, ErrorKind};
use crate::sync::Mutex;
use crate::threads::logging::log_line;
use crate::threads::{BlockingCalls, NoResult, Overlap};

/// Makes the TLS connections of a producer.
pub(crate) struct TlsClient {
    settings: Arc<TlsSettings>,
    /// A read from a file system of the network may hang for ever, and so may code of the user that supplies certificates
    /// and keys. While one hangs, no other begins.
    reads: BlockingCalls<Result<Material, Error>>,
    /// With the cipher suites of the settings only.
    provider: Arc<CryptoProvider>,
    hashes: RandomState,
    state: Mutex<State>,
}

/// How long a connection waits for the files of the stores, or half of its time if that is shorter.
const READ_PATIENCE: Duration = Duration::from_secs(2);

struct State {
    config: Arc<ClientConfig>,
    /// The hash of the stores from which `config` was made.
    used: u64,
    /// The hash of the latest stores that were not usable.
    refused: Option<u64>,
}

impl std::fmt::Debug for TlsClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsClient")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl TlsClient {
    /// Reads the stores. Returns an error of kind [`Config`](ErrorKind::Config) if the settings or the stores are not usable.
    pub(crate) fn new(settings: TlsSettings) -> Result<Self, Error> {
        let provider = Arc::new(provider_for(&settings)?);
        let hashes = RandomState::new();
        let material = Material::read(&settings).map_err(as_config_error)?;
        let used = hashes.hash_one(&material);
        let config = config_of(&settings, &provider, material).map_err(as_config_error)?;
        Ok(Self {
            reads: BlockingCalls::new("kp-stores", Overlap::RefusedAfter(1)),
            settings: Arc::new(settings),
            provider,
            hashes,
            state: Mutex::new(State {
                config,
                used,
                refused: None,
            }),
        })
    }

    /// Begins a connection to the server at `host`, a name or an address. Another thread reads the stores, and
    /// this waits for it, but leaves half of the time until `deadline`.
    pub(crate) fn connection(
        &self,
        host: &str,
        deadline: Instant,
    ) -> Result<ClientConnection, Error> {
        let name = ServerName::try_from(host.trim_end_matches('.').to_owned()).map_err(|_| {
            let host = crate::error::printable(host);
            tls_error(
                format!("\"{host}\" is no host name that a certificate can have"),
                "",
            )
        })?;
        let now = Instant::now();
        let half = deadline.saturating_duration_since(now) / 2;
        let config = self.current_config(now + half.min(READ_PATIENCE));
        client_key::begin_handshake();
        ClientConnection::new(config, name).map_err(|error| self.error_of(&error))
    }

    /// Makes the error of a connection on which rustls reported `error`. Call it on the thread that made the handshake.
    pub(crate) fn error_of(&self, error: &RustlsError) -> Error {
        error_of(error, client_key::answered(), self.settings.peer)
    }

    /// Returns the configuration of the stores as they are now, or the last usable one if they are not read by `deadline`.
    fn current_config(&self, deadline: Instant) -> Arc<ClientConfig> {
        if !self.settings.can_change() {
            return Arc::clone(&self.state.lock().config);
        }
        let material = match self.read_until(deadline) {
            Ok(material) => material,
            // A file is missing, and a rename may bring it back at once. There are no contents to recognize this state by, so
            // each connection warns.
            Err(error) => return self.keep(None, &error),
        };
        let hash = self.hashes.hash_one(&material);
        {
            let state = self.state.lock();
            if state.used == hash || state.refused == Some(hash) {
                return Arc::clone(&state.config);
            }
        }
        match config_of(&self.settings, &self.provider, material) {
            Ok(config) => {
                log_line!(
                    log::Level::Info,
                    target: "kafka_producer",
                    "the TLS stores have changed: new connections use them"
                );
                let mut state = self.state.lock();
                state.config = config;
                state.used = hash;
                state.refused = None;
                Arc::clone(&state.config)
            }
            Err(error) => self.keep(Some(hash), &error),
        }
    }

    fn read_until(&self, deadline: Instant) -> Result<Material, Error> {
        let settings = Arc::clone(&self.settings);
        let read = self.reads.run(deadline, move || Material::read(&settings));
        read.unwrap_or_else(|no_result| {
            Err(match no_result {
                NoResult::Late | NoResult::EarlierHang => tls_error(
                    "the stores are not read in time",
                    "check the file system of ssl.truststore.location and ssl.keystore.location, or the code that was given \
                     to tls_trust_provider or tls_client_key_provider",
                ),
                NoResult::NotStarted(error) => {
                    let message =
                        format!("no thread can be started that reads the stores: {error}");
                    tls_error(message, "")
                }
                NoResult::Panicked | NoResult::Closed => {
                    tls_error("the thread that reads the stores ended unexpectedly", "")
                }
            })
        })
    }

    /// Returns the last usable configuration, and warns why the new one is not usable.
    fn keep(&self, refused: Option<u64>, why: &Error) -> Arc<ClientConfig> {
        log_line!(
            log::Level::Warn,
            target: "kafka_producer",
            "the TLS stores have changed and are not usable, so new connections use the last ones that were: {why}"
        );
        let mut state = self.state.lock();
        state.refused = refused;
        Arc::clone(&state.config)
    }
}

fn provider_for(settings: &TlsSettings) -> Result<CryptoProvider, Error> {
    let mut provider = super::provider::provider()?;
    if settings.suites.is_empty() {
        return Ok(provider);
    }
    let (suites, unknown) = suites_of(&settings.suites, &provider);
    if suites.is_empty() {
        let message = format!(
            "ssl.cipher.suites={} has no suite that this client has",
            crate::error::printable(&settings.suites.join(","))
        );
        let known: Vec<_> = provider.cipher_suites.into_iter().map(java_name).collect();
        let advice = format!("use some of {}", known.join(", "));
        return Err(Error::new(ErrorKind::Config, message).with_advice(advice));
    }
    for name in unknown {
        log_line!(
            log::Level::Warn,
            target: "kafka_producer",
            "ssl.cipher.suites: this client does not have {}",
            crate::error::printable(&name)
        );
    }
    provider.cipher_suites = suites;
    Ok(provider)
}

fn config_of(
    settings: &TlsSettings,
    provider: &Arc<CryptoProvider>,
    material: Material,
) -> Result<Arc<ClientConfig>, Error> {
    let (trust, keys) = material.parse(settings, provider)?;
    let anchors = Anchors {
        certificates: trust.certificates,
        origin: trust.origin,
        are_configured: settings.trust.is_some(),
    };
    let checks_name = settings.checks_name == CheckName::Yes;
    let verifier = Verifier::new(anchors, settings.peer, checks_name, provider)?;
    let versions = settings.versions.supported();
    let builder = ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&versions)
        .map_err(|error| {
            tls_error(
                format!("ssl.cipher.suites and ssl.enabled.protocols allow no connection: {error}"),
                "",
            )
        })?;
    let config = builder
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_cert_resolver(Arc::new(ClientKeys(keys)));
    Ok(Arc::new(config))
}

/// A fault that shows when the producer is built is one of its settings.
fn as_config_error(error: Error) -> Error {
    Error::new(ErrorKind::Config, error.message().to_owned()).with_advice_of(&error)
}

#[cfg(all(test, feature = "mock-tls"))]
mod tests;
