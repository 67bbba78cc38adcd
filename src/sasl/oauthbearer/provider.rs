//! Tokens from code of the user.

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Instant;

use super::{BearerToken, TokenSource};
use crate::error::Error;
use crate::sasl::failed;

/// Supplies the tokens for OAUTHBEARER: code of yours, which asks a token server, a metadata endpoint or a vault.
///
/// A thread of the producer, `kp-login`, calls it: when the first connection needs a token, and then ahead of the end of
/// each token (`sasl.login.refresh.*`), or for each new connection if the end is not known. So it need not keep a token
/// itself. It may block: a new connection waits for it as long as `socket.connection.setup.timeout.ms` allows, and meanwhile
/// the old connections serve. If it takes longer, a `send` that waits for `max.block.ms` gets the kind
/// [`MetadataTimeout`](crate::ErrorKind::MetadataTimeout), with `what supplies the tokens for OAUTHBEARER has given none yet`,
/// or `... gave none in time`, as its cause. `close` does not wait for a call that is under way. The provider must not use
/// the producer that calls it.
///
/// An error, or a panic, ends the attempt to connect, and the callers that wait in `send` get it as the cause. While the
/// latest token is valid, it stays in use, and the thread tries again: after a second at first, then every 10 seconds. Without a valid token
/// the next connection tries again. Do not put secrets into the error's text, because it is logged.
///
/// A closure is a provider, too:
///
/// ```
/// use kafka_producer::{BearerToken, ProducerConfig, SecurityProtocol};
/// use std::time::{Duration, SystemTime};
///
/// let config = ProducerConfig::new()
///     .security_protocol(SecurityProtocol::SaslSsl)
///     .sasl_oauthbearer(|| {
///         let token = std::env::var("MY_TOKEN")?;
///         Ok(BearerToken::new(token).expires(SystemTime::now() + Duration::from_secs(3600)))
///     });
/// ```
pub trait TokenProvider: Send + Sync {
    /// Gets a token that is valid now.
    fn token(&self) -> Result<BearerToken, Box<dyn StdError + Send + Sync>>;
}

impl<F> TokenProvider for F
where
    F: Fn() -> Result<BearerToken, Box<dyn StdError + Send + Sync>> + Send + Sync,
{
    fn token(&self) -> Result<BearerToken, Box<dyn StdError + Send + Sync>> {
        self()
    }
}

/// The tokens of a provider.
pub(crate) struct ProvidedTokens(pub(crate) Arc<dyn TokenProvider>);

impl TokenSource for ProvidedTokens {
    fn fetch(&self, _: Instant) -> Result<BearerToken, Error> {
        self.0.token().map_err(|error| {
            failed(format!(
                "the token provider gave no token for OAUTHBEARER: {error}"
            ))
        })
    }
}
