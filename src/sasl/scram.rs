//! SCRAM (RFC 5802, RFC 7677): the client and the broker prove to each other that they know the password, and neither sends
//! it. As in Kafka there is no SASLprep, which would change some names and passwords, and no channel binding.

mod crypto;
mod messages;

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

pub(crate) use self::crypto::Hash;
use self::crypto::Key;
use self::messages::{ServerFirst, encoded, escaped, server_signature};
use super::jaas::Jaas;
use super::{Conversation, Mechanism, Message, Next};
use super::{
    credentials, failed, misconfigured, option, with_explanation, with_placeholder_advice,
};
use crate::error::{Error, ErrorKind};
use crate::secret::Secret;
use crate::sync::Mutex;

/// What the client says of channel binding, which is none: the beginning of its first message, and its base64.
const NO_BINDING: &str = "n,,";
const NO_BINDING_ENCODED: &str = "biws";

/// Who a user name of SCRAM is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Identity {
    User,
    /// The name is the id of a delegation token, and the password is its HMAC.
    DelegationToken,
}

/// A SCRAM mechanism with the credentials of a user. Its conversations share what the password becomes with a salt, so that
/// a connection that is made again costs no iterations.
#[derive(Debug)]
pub(crate) struct Scram(Arc<Credentials>);

struct Credentials {
    hash: Hash,
    /// The name with its escapes.
    user: String,
    password: Secret,
    identity: Identity,
    /// Only of a broker that proved that it knows the password. Held for a copy, never for the computation.
    latest: Mutex<Option<Arc<Salted>>>,
}

/// The password with a salt, after some iterations.
struct Salted {
    salt: Vec<u8>,
    iterations: u32,
    password: Key,
}

impl Scram {
    pub(crate) fn new(
        hash: Hash,
        user: &str,
        password: Secret,
        identity: Identity,
    ) -> Result<Self, Error> {
        let (user, password) = credentials(user, password)?;
        if !user.bytes().all(|byte| matches!(byte, 1..=0x7f)) {
            let mechanism = hash.mechanism();
            return Err(misconfigured(format!(
                "the user name for {mechanism} holds a character outside ASCII, or the character 0, and Kafka's brokers \
                 refuse it"
            ))
            .with_advice("choose a user name of ASCII characters, or use PLAIN"));
        }
        Ok(Self(Arc::new(Credentials {
            hash,
            user: escaped(&user),
            password,
            identity,
            latest: Mutex::new(None),
        })))
    }

    /// Takes the credentials from the options of `ScramLoginModule`.
    pub(crate) fn from_jaas(hash: Hash, jaas: &Jaas) -> Result<Self, Error> {
        let is_token = jaas
            .option("tokenauth")
            .is_some_and(|value| value.reveal().eq_ignore_ascii_case("true"));
        let identity = if is_token {
            Identity::DelegationToken
        } else {
            Identity::User
        };
        let user = option(jaas, "username")?;
        Self::new(
            hash,
            user.reveal(),
            option(jaas, "password")?.clone(),
            identity,
        )
    }

    fn conversation(&self, nonce: String) -> ScramConversation {
        ScramConversation {
            credentials: self.0.clone(),
            nonce,
            state: State::Begun,
        }
    }
}

impl Mechanism for Scram {
    fn name(&self) -> &'static str {
        self.0.hash.mechanism()
    }

    fn begin(&self, _: &str, _: Instant) -> Result<Box<dyn Conversation>, Error> {
        Ok(Box::new(self.conversation(random_nonce()?)))
    }
}

impl Credentials {
    fn salted(&self, salt: Vec<u8>, iterations: u32) -> Arc<Salted> {
        let latest = self.latest.lock().clone();
        match latest {
            Some(latest) if latest.salt == salt && latest.iterations == iterations => latest,
            _ => Arc::new(Salted {
                password: self
                    .hash
                    .salted_password(self.password.reveal(), &salt, iterations),
                salt,
                iterations,
            }),
        }
    }
}

/// Shows neither user name nor password: users mix them up.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("hash", &self.hash)
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}

struct ScramConversation {
    credentials: Arc<Credentials>,
    nonce: String,
    state: State,
}

/// What the client waits for.
enum State {
    Begun,
    /// The salt.
    AwaitingFirst,
    /// The broker's signature of `signed`.
    AwaitingFinal {
        salted: Arc<Salted>,
        signed: String,
    },
    Ended,
}

impl Conversation for ScramConversation {
    fn first(&mut self) -> Result<Message, Error> {
        self.state = State::AwaitingFirst;
        Ok(Message::new(
            format!("{NO_BINDING}{}", self.first_bare()).into_bytes(),
        ))
    }

    fn next(&mut self, challenge: &[u8]) -> Result<Next, Error> {
        match std::mem::replace(&mut self.state, State::Ended) {
            State::AwaitingFirst => self.prove(challenge),
            State::AwaitingFinal { salted, signed } => self.check(challenge, salted, &signed),
            State::Begun | State::Ended => Err(failed("SCRAM expects no message of the broker")),
        }
    }

    fn refused(&self, explanation: Option<&str>) -> Error {
        let mechanism = self.credentials.hash.mechanism();
        let is_token = self.credentials.identity == Identity::DelegationToken;
        let error = match (&self.state, is_token) {
            (State::Begun | State::AwaitingFirst, false) => {
                failed(format!("the broker refused the user name in {mechanism}")).with_advice(format!(
                    "check the user name, and that the broker has a {mechanism} credential of it (kafka-configs.sh \
                     --describe --entity-type users)"
                ))
            }
            (State::Begun | State::AwaitingFirst, true) => {
                failed(format!("the broker refused the id of the delegation token in {mechanism}"))
                    .with_advice("check username, which is the token's id, and that the token has not expired")
            }
            (_, false) => failed(format!("the broker refused the password in {mechanism}"))
                .with_advice("check the password"),
            (_, true) => failed(format!("the broker refused the delegation token in {mechanism}"))
                .with_advice("check password, which is the token's HMAC, and that the token has not expired"),
        };
        let Credentials { user, password, .. } = &*self.credentials;
        let error = with_placeholder_advice(error, user, password);
        with_explanation(error, explanation, password)
    }
}

impl ScramConversation {
    fn first_bare(&self) -> String {
        let extension = match self.credentials.identity {
            Identity::User => "",
            Identity::DelegationToken => ",tokenauth=true",
        };
        format!("n={},r={}{extension}", self.credentials.user, self.nonce)
    }

    /// Answers the broker's salt with the proof that this client knows the password.
    fn prove(&mut self, challenge: &[u8]) -> Result<Next, Error> {
        let first = ServerFirst::read(challenge, &self.nonce)?;
        let without_proof = format!("c={NO_BINDING_ENCODED},r={}", first.nonce);
        let signed = format!("{},{},{without_proof}", self.first_bare(), first.text);
        let salted = self.credentials.salted(first.salt, first.iterations);

        let hash = self.credentials.hash;
        let client_key = hash.hmac(&salted.password, b"Client Key");
        let stored_key = hash.hash(&client_key);
        let mut proof = hash.hmac(&stored_key, signed.as_bytes());
        for (byte, key) in proof.iter_mut().zip(&*client_key) {
            *byte ^= key;
        }
        let message = format!("{without_proof},p={}", encoded(&proof));
        self.state = State::AwaitingFinal { salted, signed };
        Ok(Next::Send(Message::new(message.into_bytes())))
    }

    /// Checks the broker's proof that it knows the password.
    fn check(&self, challenge: &[u8], salted: Arc<Salted>, signed: &str) -> Result<Next, Error> {
        let hash = self.credentials.hash;
        let signature = server_signature(challenge)?;
        let server_key = hash.hmac(&salted.password, b"Server Key");
        if !hash.is_signature(&signature, &server_key, signed.as_bytes()) {
            return Err(failed(
                "the broker does not know this user's password: its SCRAM signature is wrong",
            )
            .with_advice("check that bootstrap.servers names brokers of your cluster, and that no proxy stands between"));
        }
        *self.credentials.latest.lock() = Some(salted);
        Ok(Next::Done)
    }
}

/// Gives a conversation two messages of a hostile broker, unless the first asks for more than the fewest iterations.
/// Returns whether the client takes the broker for one that knows the password.
#[cfg(all(any(test, fuzzing), feature = "unstable-internals"))]
pub(crate) fn trusts(nonce: &str, first: &[u8], last: &[u8]) -> bool {
    let scram = Scram::new(Hash::Sha256, "user", Secret::from("pencil"), Identity::User);
    let Ok(mut conversation) = scram.map(|scram| scram.conversation(nonce.to_owned())) else {
        return false;
    };
    let is_slow = ServerFirst::read(first, nonce).is_ok_and(|first| first.iterations > 4096);
    let _ = server_signature(last);
    !is_slow
        && conversation.first().is_ok()
        && conversation.next(first).is_ok()
        && matches!(conversation.next(last), Ok(Next::Done))
}

/// Returns 32 characters with 5 random bits each.
fn random_nonce() -> Result<String, Error> {
    const DIGITS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let mut random = [0; 32];
    getrandom::fill(&mut random).map_err(|error| {
        Error::new(
            ErrorKind::Resource,
            format!("the system gives no random bytes for SCRAM: {error}"),
        )
    })?;
    Ok(random
        .iter()
        .map(|byte| char::from(DIGITS[usize::from(byte % 32)]))
        .collect())
}

#[cfg(test)]
mod tests;
