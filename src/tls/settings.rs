//! The settings of TLS, and the names that they use for versions and cipher suites.

use std::collections::BTreeSet;
use std::error::Error as StdError;
use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::path::PathBuf;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::{SupportedCipherSuite, SupportedProtocolVersion, version};

use super::given::{ClientKey, TrustMaterial};
use crate::secret::Secret;
use crate::sync::Mutex;
use crate::threads::catch_panic;
use crate::threads::logging::log_line;

/// The settings of TLS (`ssl.*`).
#[derive(Clone, Debug, Default)]
pub(crate) struct TlsSettings {
    pub(crate) peer: Peer,
    pub(crate) keys: Option<KeySource>,
    /// `None` for the certificates that the system trusts.
    pub(crate) trust: Option<TrustSource>,
    pub(crate) checks_name: CheckName,
    pub(crate) versions: Versions,
    /// `ssl.cipher.suites`; empty for all.
    pub(crate) suites: Vec<String>,
    pub(crate) doubts: Doubts,
}

/// What was logged about the stores. They are read again and again, and no doubt is logged twice for a producer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Doubts(Arc<Mutex<BTreeSet<String>>>);

impl Doubts {
    pub(super) fn log_once(&self, doubt: Option<String>) {
        let Some(doubt) = doubt else { return };
        if self.0.lock().insert(doubt.clone()) {
            log_line!(log::Level::Warn, target: "kafka_producer", "{doubt}");
        }
    }

    #[cfg(all(test, feature = "tls-stores"))]
    pub(super) fn logged(&self) -> Vec<String> {
        self.0.lock().iter().cloned().collect()
    }
}

impl TlsSettings {
    /// Returns whether a store is a file, or code of the user supplies it, or the environment names the system's
    /// certificates, so that the contents can change.
    pub(super) fn can_change(&self) -> bool {
        matches!(
            self.keys,
            Some(KeySource::File { .. } | KeySource::Provider(_))
        ) || matches!(
            self.trust,
            Some(TrustSource::File(_) | TrustSource::Provider(_))
        ) || self.trust.is_none() && super::system::is_named()
    }
}

/// What the connections lead to, for messages and their advice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(
    feature = "http",
    allow(
        dead_code,
        reason = "each mechanism that uses HTTP has one of the servers"
    )
)]
pub(crate) enum Peer {
    #[default]
    Broker,
    /// The server of `sasl.oauthbearer.token.endpoint.url`.
    #[cfg(feature = "http")]
    TokenServer,
    /// An endpoint that issues AWS credentials. It has no settings.
    #[cfg(feature = "http")]
    AwsEndpoint,
}

impl Peer {
    /// Returns where the host of a connection is set.
    pub(super) fn host_settings(self) -> &'static str {
        match self {
            Self::Broker => "bootstrap.servers and advertised.listeners",
            #[cfg(feature = "http")]
            Self::TokenServer | Self::AwsEndpoint => "the host of the URL",
        }
    }

    /// Returns where the peer has what Kafka's setting `name` says.
    pub(super) fn own_setting(self, name: &str) -> String {
        match self {
            Self::Broker => format!("the broker's {name}"),
            #[cfg(feature = "http")]
            Self::TokenServer | Self::AwsEndpoint => format!("the settings of the {self}"),
        }
    }

    /// Returns the advice if the system's certificates do not have the issuer.
    pub(super) fn name_a_trust_store(self) -> &'static str {
        match self {
            Self::Broker => {
                "name a trust store that has the issuer: ssl.truststore.location or ssl.truststore.certificates"
            }
            // The settings `ssl.*` of the producer are for brokers only.
            #[cfg(feature = "http")]
            Self::TokenServer => {
                "name a trust store that has the issuer, among the options of sasl.jaas.config: \
                 ssl.truststore.location=\"...\""
            }
            #[cfg(feature = "http")]
            Self::AwsEndpoint => {
                "add the issuer's certificate to the system's, or name a file that has it in the environment variable \
                 SSL_CERT_FILE"
            }
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Broker => "broker",
            #[cfg(feature = "http")]
            Self::TokenServer => "token server",
            #[cfg(feature = "http")]
            Self::AwsEndpoint => "AWS endpoint",
        })
    }
}

/// Whether a peer's certificate must name the host of the connection (`ssl.endpoint.identification.algorithm`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum CheckName {
    #[default]
    Yes,
    No,
}

/// Where the client's certificate and key come from.
#[derive(Clone, Debug)]
pub(crate) enum KeySource {
    File {
        store: StoreFile,
        /// `ssl.key.password`.
        key_password: Option<Secret>,
    },
    /// `ssl.keystore.key` and `ssl.keystore.certificate.chain`.
    Inline(Arc<ClientKey>),
    /// Given to a setter.
    Code(Arc<ClientKey>),
    Provider(Provider<ClientKey>),
}

impl KeySource {
    /// Returns the setter by which it was set, if it was set in code.
    pub(crate) fn setter(&self) -> Option<&'static str> {
        match self {
            Self::File { .. } | Self::Inline(_) => None,
            Self::Code(_) => Some("tls_client_key"),
            Self::Provider(_) => Some("tls_client_key_provider"),
        }
    }
}

/// Where the trusted certificates come from.
#[derive(Clone, Debug)]
pub(crate) enum TrustSource {
    File(StoreFile),
    /// `ssl.truststore.certificates`.
    Inline(Arc<TrustMaterial>),
    /// Given to a setter.
    Code(Arc<TrustMaterial>),
    Provider(Provider<TrustMaterial>),
}

impl TrustSource {
    /// The certificates of a text in PEM.
    pub(crate) fn inline(text: impl Into<String>) -> Self {
        Self::Inline(Arc::new(TrustMaterial::pem(text)))
    }

    /// Returns the setter by which it was set, if it was set in code.
    pub(crate) fn setter(&self) -> Option<&'static str> {
        match self {
            Self::File(_) | Self::Inline(_) => None,
            Self::Code(_) => Some("tls_trust"),
            Self::Provider(_) => Some("tls_trust_provider"),
        }
    }
}

/// Code of the user that supplies certificates or keys.
pub(crate) struct Provider<T>(Arc<Supply<T>>);

type Supply<T> = dyn Fn() -> Result<T, Box<dyn StdError + Send + Sync>> + Send + Sync;

impl<T> Provider<T> {
    pub(crate) fn new(
        supply: impl Fn() -> Result<T, Box<dyn StdError + Send + Sync>> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(supply))
    }

    /// Calls the user's code. An error is a phrase.
    pub(super) fn get(&self) -> Result<T, String> {
        // The error is the user's, too.
        let supply = || (self.0)().map_err(|error| format!("failed: {error}"));
        catch_panic(supply).unwrap_or_else(|| Err("panicked".to_owned()))
    }
}

impl<T> Clone for Provider<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> fmt::Debug for Provider<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Provider")
    }
}

// A producer asks a provider again after a panic of it, so such a panic breaks nothing of a configuration.
impl<T> UnwindSafe for Provider<T> {}
impl<T> RefUnwindSafe for Provider<T> {}

/// A store in a file.
#[derive(Clone, Debug)]
pub(crate) struct StoreFile {
    pub(crate) path: PathBuf,
    pub(crate) password: Option<Secret>,
    /// The format by its setting, such as `ssl.keystore.type`; upper case. The contents decide; a difference is warned of.
    pub(crate) declared: Option<String>,
}

/// The versions of TLS that may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Versions {
    pub(crate) tls12: bool,
    pub(crate) tls13: bool,
}

impl Default for Versions {
    fn default() -> Self {
        Self {
            tls12: true,
            tls13: true,
        }
    }
}

impl Versions {
    /// Reads `ssl.enabled.protocols` and `ssl.protocol`. As in Java, `ssl.protocol=TLSv1.2` excludes TLS 1.3. Versions
    /// before 1.2 are left out. An error is a phrase that names the fault.
    pub(crate) fn of(enabled: &str, protocol: &str) -> Result<Self, String> {
        let mut versions = Self {
            tls12: false,
            tls13: false,
        };
        for name in names_of(enabled) {
            match &*name.to_ascii_uppercase() {
                "TLSV1.3" => versions.tls13 = true,
                "TLSV1.2" => versions.tls12 = true,
                "TLSV1.1" | "TLSV1" | "SSLV3" | "SSLV2HELLO" | "SSLV2" => {}
                _ => return Err(format!("names the unknown version {name}")),
            }
        }
        match &*protocol.to_ascii_uppercase() {
            "TLSV1.3" | "TLS" => {}
            "TLSV1.2" => versions.tls13 = false,
            "TLSV1.1" | "TLSV1" | "SSL" | "SSLV2" | "SSLV3" => {
                return Err(format!(
                    "allows {protocol} only, which is not secure: this client has TLSv1.2 and TLSv1.3"
                ));
            }
            _ => return Err(format!("names the unknown version {protocol}")),
        }
        if !versions.tls12 && !versions.tls13 {
            return Err("leaves none of TLSv1.2 and TLSv1.3".to_owned());
        }
        Ok(versions)
    }

    pub(super) fn supported(self) -> Vec<&'static SupportedProtocolVersion> {
        let tls13 = self.tls13.then_some(&version::TLS13);
        let tls12 = self.tls12.then_some(&version::TLS12);
        tls13.into_iter().chain(tls12).collect()
    }
}

/// Splits a list by commas.
pub(crate) fn names_of(list: &str) -> impl Iterator<Item = &str> {
    list.split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty())
}

/// Returns the suites of `provider` that have one of `names`, and the names that no suite has. A name is Java's, such as
/// `TLS_AES_128_GCM_SHA256`, or OpenSSL's for TLS 1.2, such as `ECDHE-RSA-AES128-GCM-SHA256`, which librdkafka's files use.
pub(super) fn suites_of(
    names: &[String],
    provider: &CryptoProvider,
) -> (Vec<SupportedCipherSuite>, Vec<String>) {
    let mut suites = Vec::new();
    let mut unknown = Vec::new();
    for name in names {
        let named = |suite: &&SupportedCipherSuite| {
            let (java, openssl) = suite_names(**suite);
            java.eq_ignore_ascii_case(name) || openssl.eq_ignore_ascii_case(name)
        };
        match provider.cipher_suites.iter().find(named) {
            Some(suite) => suites.push(*suite),
            None => unknown.push(name.clone()),
        }
    }
    (suites, unknown)
}

/// Returns Java's name of a suite.
pub(super) fn java_name(suite: SupportedCipherSuite) -> String {
    suite_names(suite).0
}

/// Returns Java's and OpenSSL's name of a suite.
fn suite_names(suite: SupportedCipherSuite) -> (String, String) {
    let name = format!("{:?}", suite.suite());
    let java = name.replace("TLS13_", "TLS_");
    let openssl = name
        .replace("TLS_", "")
        .replace("_WITH", "")
        .replace("AES_", "AES")
        .replace("CHACHA20_POLY1305_SHA256", "CHACHA20_POLY1305")
        .replace('_', "-");
    (java, openssl)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_those_that_both_settings_allow() {
        let both = "TLSv1.2,TLSv1.3";
        for (enabled, protocol, tls12, tls13) in [
            (both, "TLSv1.3", true, true),
            (both, "TLSv1.2", true, false),
            (" TLSv1.3 , TLSv1.1", "TLS", false, true),
            ("TLSv1.2", "TLSv1.3", true, false),
        ] {
            let versions = Versions::of(enabled, protocol).unwrap();
            assert_eq!(versions, Versions { tls12, tls13 }, "{enabled} {protocol}");
        }
        for (enabled, protocol) in [
            ("TLSv1.1", "TLSv1.3"),
            ("TLSv1.3", "TLSv1.2"),
            (both, "TLSv1.1"),
            (both, "TLSv1.4"),
            ("TLSv9", "TLSv1.3"),
        ] {
            assert!(
                Versions::of(enabled, protocol).is_err(),
                "{enabled} {protocol}"
            );
        }
    }

    #[test]
    fn suites_have_javas_and_openssls_names() {
        let provider = super::super::provider::provider().unwrap();
        let java = [
            "TLS_AES_256_GCM_SHA384",
            "TLS_AES_128_GCM_SHA256",
            "TLS_CHACHA20_POLY1305_SHA256",
            "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
            "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
            "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
            "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
            "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
            "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        ];
        let openssl = [
            "ECDHE-RSA-AES256-GCM-SHA384",
            "ECDHE-ECDSA-AES128-GCM-SHA256",
            "ECDHE-RSA-CHACHA20-POLY1305",
        ];
        for names in [&java[..], &openssl[..]] {
            let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
            let (suites, unknown) = suites_of(&names, &provider);
            assert_eq!(
                (suites.len(), unknown.len()),
                (names.len(), 0),
                "{unknown:?}"
            );
        }
        let old = ["TLS_RSA_WITH_AES_128_CBC_SHA".to_owned()];
        let (suites, unknown) = suites_of(&old, &provider);
        assert!(suites.is_empty() && unknown == old);
    }
}
