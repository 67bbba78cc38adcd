//! Setters for SASL that need no JAAS text.

use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;

use crate::sasl::oauthbearer::TokenProvider;
use crate::secret::Secret;

use super::ProducerConfig;

/// Credentials that were set in code.
#[derive(Clone)]
pub(super) enum SaslCredentials {
    User {
        user: String,
        password: Secret,
    },
    #[cfg(feature = "sasl-gssapi")]
    Kerberos(super::kerberos::Tickets),
    Tokens(Arc<dyn TokenProvider>),
}

// A producer asks a provider again after a panic of it, so such a panic breaks nothing of a configuration.
impl UnwindSafe for SaslCredentials {}
impl RefUnwindSafe for SaslCredentials {}

impl fmt::Debug for SaslCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User { user, .. } => f
                .debug_struct("User")
                .field("user", user)
                .finish_non_exhaustive(),
            #[cfg(feature = "sasl-gssapi")]
            Self::Kerberos(tickets) => f.debug_tuple("Kerberos").field(tickets).finish(),
            Self::Tokens(_) => f.write_str("Tokens"),
        }
    }
}

/// Setters for SASL. They set `sasl.mechanism`, and take precedence over `sasl.jaas.config`. `security.protocol` must be
/// `SASL_SSL` or `SASL_PLAINTEXT`.
impl ProducerConfig {
    /// Authenticates by PLAIN: the broker gets the password itself. Use it with `SASL_SSL` only.
    #[must_use]
    pub fn sasl_plain(self, user: impl Into<String>, password: impl Into<String>) -> Self {
        self.with_user("PLAIN", user.into(), password.into())
    }

    /// Authenticates by SCRAM-SHA-256 (RFC 7677): the client does not send the password, and both sides prove that they know
    /// it.
    #[must_use]
    pub fn sasl_scram_sha_256(self, user: impl Into<String>, password: impl Into<String>) -> Self {
        self.with_user("SCRAM-SHA-256", user.into(), password.into())
    }

    /// Authenticates by SCRAM-SHA-512: as [`sasl_scram_sha_256`](Self::sasl_scram_sha_256) with a longer hash.
    #[must_use]
    pub fn sasl_scram_sha_512(self, user: impl Into<String>, password: impl Into<String>) -> Self {
        self.with_user("SCRAM-SHA-512", user.into(), password.into())
    }

    /// Authenticates by OAUTHBEARER (RFC 7628) with tokens of `provider`: see [`TokenProvider`].
    #[must_use]
    pub fn sasl_oauthbearer(mut self, provider: impl TokenProvider + 'static) -> Self {
        self.set_text("sasl.mechanism", "OAUTHBEARER");
        self.sasl_credentials = Some(SaslCredentials::Tokens(Arc::new(provider)));
        self
    }

    fn with_user(mut self, mechanism: &'static str, user: String, password: String) -> Self {
        self.set_text("sasl.mechanism", mechanism);
        self.sasl_credentials = Some(SaslCredentials::User {
            user,
            password: Secret::new(password),
        });
        self
    }
}
