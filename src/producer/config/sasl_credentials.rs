//! Setters for SASL that need no JAAS text.

use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;

use crate::sasl::oauthbearer::TokenProvider;
use crate::sasl::scram::Identity;
use crate::secret::Secret;

use super::ProducerConfig;
use super::unused::Group;

/// Credentials that were set in code.
#[derive(Clone)]
pub(super) enum SaslCredentials {
    User {
        user: String,
        password: Secret,
        identity: Identity,
    },
    #[cfg(feature = "sasl-gssapi")]
    Kerberos(super::kerberos::Tickets),
    Tokens(Arc<dyn TokenProvider>),
}

impl SaslCredentials {
    /// Returns the settings that count beside the credentials, and what the credentials are called.
    pub(super) fn uses(&self) -> (&'static [Group], &'static str) {
        match self {
            Self::User {
                identity: Identity::User,
                ..
            } => (&[], "a user name and password"),
            Self::User { .. } => (&[], "a delegation token"),
            #[cfg(feature = "sasl-gssapi")]
            Self::Kerberos(_) => (&[Group::Kerberos], "Kerberos"),
            Self::Tokens(_) => (&[Group::Refresh], "a provider of tokens"),
        }
    }
}

// A producer asks a provider again after a panic of it, so such a panic breaks nothing of a configuration.
impl UnwindSafe for SaslCredentials {}
impl RefUnwindSafe for SaslCredentials {}

impl fmt::Debug for SaslCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User { user, identity, .. } => f
                .debug_struct("User")
                .field("user", user)
                .field("identity", identity)
                .finish_non_exhaustive(),
            #[cfg(feature = "sasl-gssapi")]
            Self::Kerberos(tickets) => f.debug_tuple("Kerberos").field(tickets).finish(),
            Self::Tokens(_) => f.write_str("Tokens"),
        }
    }
}

/// Setters for SASL.
///
/// Each sets `sasl.mechanism`, and takes precedence over `sasl.jaas.config`. Of several, the last one counts. A later
/// `set("sasl.mechanism", ..)` changes the mechanism and leaves the credentials: if the mechanism does not use them, `build`
/// fails. `security.protocol` must be `SASL_SSL` or `SASL_PLAINTEXT`. Passwords are taken as they are: `${...}` in them is no
/// placeholder. `ProducerBuilder::config` replaces what these setters have set before.
impl ProducerConfig {
    /// Authenticates as `user` by PLAIN: the broker gets the password itself. With `SASL_PLAINTEXT` everybody on the network
    /// can read it, so use `SASL_SSL` outside of tests. Default: not set, so `sasl.jaas.config` counts.
    ///
    /// In Java this is `sasl.mechanism=PLAIN`, and in `sasl.jaas.config` the options `username` and `password` of
    /// `PlainLoginModule`. The other [setters](Self::sasl_scram_sha_256) for SASL replace this one. A password with `${...}`
    /// is taken as it is.
    #[must_use]
    pub fn sasl_plain(self, user: impl Into<String>, password: impl Into<String>) -> Self {
        self.with_user("PLAIN", user.into(), password.into(), Identity::User)
    }

    /// Authenticates as `user` by SCRAM-SHA-256 (RFC 7677): the client does not send the password, and both sides prove that
    /// they know it. Default: not set, so `sasl.jaas.config` counts.
    ///
    /// In Java this is `sasl.mechanism=SCRAM-SHA-256`, and in `sasl.jaas.config` the options `username` and `password` of
    /// `ScramLoginModule`. A password with `${...}` is taken as it is.
    #[must_use]
    pub fn sasl_scram_sha_256(self, user: impl Into<String>, password: impl Into<String>) -> Self {
        self.with_user(
            "SCRAM-SHA-256",
            user.into(),
            password.into(),
            Identity::User,
        )
    }

    /// Authenticates by SCRAM-SHA-512: as [`sasl_scram_sha_256`](Self::sasl_scram_sha_256) with a longer hash. In Java this is
    /// `sasl.mechanism=SCRAM-SHA-512`, with the same options.
    #[must_use]
    pub fn sasl_scram_sha_512(self, user: impl Into<String>, password: impl Into<String>) -> Self {
        self.with_user(
            "SCRAM-SHA-512",
            user.into(),
            password.into(),
            Identity::User,
        )
    }

    /// Authenticates by SCRAM-SHA-256 with a delegation token (KIP-48), as the user who owns it: `token_id` is its id, and
    /// `hmac` its HMAC in base64, as `kafka-delegation-tokens.sh --create` shows it. Default: not set, so `sasl.jaas.config`
    /// counts.
    ///
    /// In Java this is `sasl.mechanism=SCRAM-SHA-256`, and in `sasl.jaas.config` the options `username`, `password` and
    /// `tokenauth=true` of `ScramLoginModule`.
    #[must_use]
    pub fn sasl_scram_sha_256_token(
        self,
        token_id: impl Into<String>,
        hmac: impl Into<String>,
    ) -> Self {
        let identity = Identity::DelegationToken;
        self.with_user("SCRAM-SHA-256", token_id.into(), hmac.into(), identity)
    }

    /// Authenticates by SCRAM-SHA-512 with a delegation token: as
    /// [`sasl_scram_sha_256_token`](Self::sasl_scram_sha_256_token) with a longer hash. In Java this is
    /// `sasl.mechanism=SCRAM-SHA-512`, with the same options.
    #[must_use]
    pub fn sasl_scram_sha_512_token(
        self,
        token_id: impl Into<String>,
        hmac: impl Into<String>,
    ) -> Self {
        let identity = Identity::DelegationToken;
        self.with_user("SCRAM-SHA-512", token_id.into(), hmac.into(), identity)
    }

    /// Authenticates by OAUTHBEARER (RFC 7628) with tokens of `provider`, code of yours: see [`TokenProvider`].
    /// `sasl.login.refresh.*` decides when it is asked for the next token. Default: not set, so `sasl.jaas.config` counts.
    ///
    /// In Java this is `sasl.mechanism=OAUTHBEARER`, and a class of your own in `sasl.login.callback.handler.class`.
    #[must_use]
    pub fn sasl_oauthbearer(mut self, provider: impl TokenProvider + 'static) -> Self {
        self.set_text("sasl.mechanism", "OAUTHBEARER");
        self.sasl_credentials = Some(SaslCredentials::Tokens(Arc::new(provider)));
        self
    }

    fn with_user(
        mut self,
        mechanism: &'static str,
        user: String,
        password: String,
        identity: Identity,
    ) -> Self {
        self.set_text("sasl.mechanism", mechanism);
        self.sasl_credentials = Some(SaslCredentials::User {
            user,
            password: Secret::new(password),
            identity,
        });
        self
    }
}
