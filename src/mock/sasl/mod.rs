//! SASL of the cluster: what a test sets, and the broker's part of each mechanism.

mod cluster;
#[cfg(feature = "sasl-msk-iam")]
mod msk_iam;
mod oauthbearer;
mod plain;
#[cfg(feature = "sasl")]
mod scram;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::secret::Secret;
use oauthbearer::TokenCheck;
pub use oauthbearer::{ReceivedToken, TokenVerdict};
#[cfg(feature = "sasl")]
use scram::{Credential, Hash};

/// SASL of a [`MockCluster`](super::MockCluster), for [`MockClusterBuilder::sasl`](super::MockClusterBuilder::sasl). The
/// brokers offer each mechanism that has a user. A mechanism has its own users.
///
/// ```
/// use kafka_producer::KafkaProducer;
/// use kafka_producer::mock::{MockCluster, MockSasl};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let sasl = MockSasl::new().plain("alice", "alice-secret");
/// let cluster = MockCluster::builder().sasl(sasl).start()?;
/// # #[cfg(feature = "sasl")] {
/// let login = "org.apache.kafka.common.security.plain.PlainLoginModule required \
///     username=\"alice\" password=\"alice-secret\";";
/// let producer = KafkaProducer::<String, String>::builder()
///     .bootstrap_servers(cluster.bootstrap_servers())
///     .set("security.protocol", "SASL_PLAINTEXT")?
///     .set("sasl.mechanism", "PLAIN")?
///     .set("sasl.jaas.config", login)?
///     .build()?;
/// // From here on, new connections of this producer are refused.
/// cluster.set_password("alice", "new-secret");
/// # drop(producer);
/// # }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct MockSasl {
    plain: HashMap<String, Secret>,
    #[cfg(feature = "sasl")]
    scram: HashMap<Hash, HashMap<String, Credential>>,
    /// Delegation tokens: the id, the HMAC, the owner.
    #[cfg(feature = "sasl")]
    delegation_tokens: HashMap<String, (String, HashMap<Hash, Credential>)>,
    #[cfg(feature = "sasl")]
    scram_iterations: ScramIterations,
    tokens: Vec<TokenCheck>,
    /// The secret access keys of AWS by their ids.
    #[cfg(feature = "sasl-msk-iam")]
    aws_keys: HashMap<String, Secret>,
    session_lifetime: Option<Duration>,
}

/// Kafka's smallest number of iterations by default.
#[cfg(feature = "sasl")]
#[derive(Clone, Copy, Debug)]
struct ScramIterations(u32);

#[cfg(feature = "sasl")]
impl Default for ScramIterations {
    fn default() -> Self {
        Self(4096)
    }
}

impl MockSasl {
    /// Makes settings without mechanisms: no client can authenticate with them.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a user of PLAIN.
    pub fn plain(mut self, user: &str, password: &str) -> Self {
        self.plain.insert(user.to_owned(), Secret::from(password));
        self
    }

    /// Adds a user of SCRAM-SHA-256. Needs the Cargo feature `sasl`, which is on by default.
    #[cfg(feature = "sasl")]
    pub fn scram_sha_256(self, user: &str, password: &str) -> Self {
        self.scram(Hash::Sha256, user, password)
    }

    /// Adds a user of SCRAM-SHA-512. Needs the Cargo feature `sasl`, which is on by default.
    #[cfg(feature = "sasl")]
    pub fn scram_sha_512(self, user: &str, password: &str) -> Self {
        self.scram(Hash::Sha512, user, password)
    }

    /// Sets the number of SCRAM's iterations for the users that are added after this call: at least 1, 4096 by default.
    /// Kafka's brokers have 4096 to 16384.
    #[cfg(feature = "sasl")]
    pub fn scram_iterations(mut self, iterations: u32) -> Self {
        self.scram_iterations = ScramIterations(iterations.max(1));
        self
    }

    /// Adds a delegation token of a user. A client authenticates with it by SCRAM, with the token's id as the user name,
    /// its HMAC as the password, and the option `tokenauth=true`. Needs the Cargo feature `sasl`, which is on by default.
    #[cfg(feature = "sasl")]
    pub fn delegation_token(mut self, user: &str, token_id: &str, hmac: &str) -> Self {
        let iterations = self.scram_iterations.0;
        let credentials = Hash::ALL.map(|hash| (hash, Credential::new(hash, hmac, iterations)));
        for hash in Hash::ALL {
            self.scram.entry(hash).or_default();
        }
        let token = (user.to_owned(), HashMap::from(credentials));
        self.delegation_tokens.insert(token_id.to_owned(), token);
        self
    }

    /// Adds a user of OAUTHBEARER with exactly this token.
    pub fn oauthbearer_token(self, user: &str, token: &str) -> Self {
        let (user, expected) = (user.to_owned(), Secret::from(token));
        self.oauthbearer(move |token| match token.token() == expected.reveal() {
            true => TokenVerdict::accept(&user),
            false => TokenVerdict::refuse("invalid_token"),
        })
    }

    /// Makes the brokers call `check` for each token of OAUTHBEARER. If there are several checks, the first one that
    /// accepts the token decides. Checks run on the brokers' threads, also several at the same time.
    pub fn oauthbearer(
        mut self,
        check: impl Fn(&ReceivedToken<'_>) -> TokenVerdict + Send + Sync + 'static,
    ) -> Self {
        self.tokens.push(TokenCheck(Arc::new(check)));
        self
    }

    /// Adds an access key of AWS for AWS_MSK_IAM. The principal of its clients is the key's id. The brokers accept any session
    /// token and any region. Their names say no region, so clients need the environment variable `AWS_REGION`. Needs the
    /// Cargo feature `sasl-msk-iam`.
    #[cfg(feature = "sasl-msk-iam")]
    pub fn aws_msk_iam(mut self, access_key_id: &str, secret_access_key: &str) -> Self {
        let secret = Secret::from(secret_access_key);
        self.aws_keys.insert(access_key_id.to_owned(), secret);
        self
    }

    /// Limits the time for which an authentication is valid, as Kafka's `connections.max.reauth.ms` (KIP-368). A broker
    /// closes a connection at the first request after this time, except if this request begins a new authentication. By
    /// default, only the end of a token ends a session.
    pub fn session_lifetime(mut self, lifetime: Duration) -> Self {
        self.session_lifetime = Some(lifetime);
        self
    }

    #[cfg(feature = "sasl")]
    fn scram(mut self, hash: Hash, user: &str, password: &str) -> Self {
        let credential = Credential::new(hash, password, self.scram_iterations.0);
        let users = self.scram.entry(hash).or_default();
        users.insert(user.to_owned(), credential);
        self
    }

    /// Returns whether there was such a user. Users of OAUTHBEARER have no password.
    fn change_password(&mut self, user: &str, password: &str) -> bool {
        let mut is_known = false;
        if let Some(known) = self.plain.get_mut(user) {
            *known = Secret::from(password);
            is_known = true;
        }
        #[cfg(feature = "sasl")]
        for (hash, users) in &mut self.scram {
            if let Some(known) = users.get_mut(user) {
                *known = Credential::new(*hash, password, known.iterations);
                is_known = true;
            }
        }
        is_known
    }

    pub(super) fn lifetime(&self) -> Option<Duration> {
        self.session_lifetime
    }

    /// Returns the names of the mechanisms that the brokers offer.
    pub(super) fn mechanisms(&self) -> Vec<String> {
        let offered = |name: &&str| self.begin(name).is_some();
        let names = MECHANISMS.iter().copied().filter(offered);
        names.map(str::to_owned).collect()
    }

    /// Begins an authentication by a mechanism; `None` if the brokers do not offer it.
    pub(super) fn begin(&self, mechanism: &str) -> Option<Box<dyn Exchange>> {
        match mechanism {
            PLAIN if !self.plain.is_empty() => Some(Box::new(plain::Plain::new(&self.plain))),
            OAUTHBEARER if !self.tokens.is_empty() => {
                Some(Box::new(oauthbearer::OauthBearer::new(&self.tokens)))
            }
            #[cfg(feature = "sasl-msk-iam")]
            AWS_MSK_IAM if !self.aws_keys.is_empty() => {
                Some(Box::new(msk_iam::MskIam::new(&self.aws_keys)))
            }
            #[cfg(feature = "sasl")]
            _ => {
                let hash = Hash::ALL
                    .into_iter()
                    .find(|hash| hash.mechanism() == mechanism)?;
                let users = self.scram.get(&hash)?;
                let tokens = self.delegation_tokens.iter();
                let tokens = tokens.filter_map(|(id, (owner, credentials))| {
                    let credential = credentials.get(&hash)?;
                    Some((id.clone(), (owner.clone(), credential.clone())))
                });
                let exchange = scram::Scram::new(hash, users.clone(), tokens.collect());
                Some(Box::new(exchange))
            }
            #[cfg(not(feature = "sasl"))]
            _ => None,
        }
    }
}

const PLAIN: &str = "PLAIN";
const OAUTHBEARER: &str = "OAUTHBEARER";
const AWS_MSK_IAM: &str = "AWS_MSK_IAM";
const MECHANISMS: [&str; 5] = [
    PLAIN,
    "SCRAM-SHA-256",
    "SCRAM-SHA-512",
    OAUTHBEARER,
    AWS_MSK_IAM,
];

/// The broker's part in one authentication.
pub(super) trait Exchange: Send {
    /// Returns what follows the client's message.
    fn next(&mut self, message: &[u8]) -> Result<Step, Refusal>;
}

#[derive(Debug)]
pub(super) enum Step {
    /// The broker answers this, and the client has to send more.
    Continue(Vec<u8>),
    Done {
        answer: Vec<u8>,
        user: String,
        /// For how long the credentials are valid, if they end.
        lifetime: Option<Duration>,
    },
}

/// Why an authentication failed, as far as brokers tell the client.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Reason(String),
    /// Only that the credentials are not valid.
    InvalidCredentials,
}

impl Step {
    fn done(answer: Vec<u8>, user: &str) -> Self {
        Self::Done {
            answer,
            user: user.to_owned(),
            lifetime: None,
        }
    }
}

impl fmt::Debug for TokenCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenCheck")
    }
}

const OTHER_AUTHORIZATION_ID: &str =
    "Authentication failed: Client requested an authorization id that is different from username";
