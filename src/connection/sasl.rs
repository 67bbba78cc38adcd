//! Authentication by SASL: carries the messages of a mechanism between client and broker (KIP-152).
//!
//! The client names the mechanism (SaslHandshake). Then each message of the mechanism travels in a SaslAuthenticate request,
//! and the broker's message in its answer. The answer to the last message has the lifetime of the session (KIP-368).

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::authentication::{Authenticator, Session};
use super::dial::NewConnection;
use crate::error::{Error, ErrorKind, printable};
use crate::protocol::ErrorCode;
use crate::protocol::messages::{
    SaslAuthenticateRequest, SaslAuthenticateResponse, SaslHandshakeRequest,
};
use crate::sasl::{Conversation, Mechanism, Message, Next};

/// Authenticates connections by one mechanism.
#[derive(Debug)]
pub(crate) struct SaslAuthenticator {
    pub(crate) mechanism: Arc<dyn Mechanism>,
}

/// The number of messages after which a client gives up. GSSAPI needs up to five, SCRAM two.
const MOST_MESSAGES: usize = 20;

/// The largest message that a broker accepts, with room for the fields around it (`sasl.server.max.receive.size`).
const MAX_MESSAGE_BYTES: usize = 524_288 - 1024;

/// The part of a session, as a divisor, that is left when the last request is written. The broker's clock counts, and a
/// request needs time on its way.
const RESERVE_DIVISOR: u32 = 20;

/// The longest time that is left of a session when the last request is written.
const LONGEST_RESERVE: Duration = Duration::from_secs(10);

impl Authenticator for SaslAuthenticator {
    fn authenticate(&self, connection: &mut NewConnection<'_>) -> Result<Session, Error> {
        let host = Arc::clone(&connection.endpoint.host);
        // First, so that a listener without SASL or without the mechanism is told before a missing token or ticket.
        self.name_mechanism(connection)?;
        let mut conversation = self.mechanism.begin(&host, connection.deadline)?;
        let mut message = conversation.first()?;
        for _ in 0..MOST_MESSAGES {
            let asked = Instant::now();
            let answer = self.send(connection, &*conversation, &message)?;
            match conversation.next(&answer.message)? {
                Next::Send(next) => message = next,
                Next::Done => return Ok(session(asked, answer.session_lifetime_ms)),
            }
        }
        let message = format!("{} did not end", self.mechanism.name());
        Err(Error::new(ErrorKind::Authentication, message))
    }

    fn delay(&self) -> Option<Error> {
        self.mechanism.delay()
    }

    fn close(&self) {
        self.mechanism.close();
    }
}

impl SaslAuthenticator {
    /// Tells the broker which mechanism follows.
    fn name_mechanism(&self, connection: &mut NewConnection<'_>) -> Result<(), Error> {
        let name = self.mechanism.name();
        let request = SaslHandshakeRequest { mechanism: name };
        let version = connection
            .versions
            .best::<SaslHandshakeRequest<'_>>()
            .map_err(|error| {
                let message =
                    "the broker does not offer SASL as this client needs it (SaslHandshake 1)";
                Error::new(error.kind(), message).with_source(error)
            })?;
        let answer = connection
            .exchange
            .call(&request, version, connection.deadline)?;
        if answer.error.is_none() {
            return Ok(());
        }
        let offered = printable(&answer.mechanisms.join(", "));
        Err(match answer.error {
            ErrorCode::ILLEGAL_SASL_STATE => Error::answered(
                answer.error,
                "the listener does not use SASL",
            )
            .with_advice(
                "set security.protocol=PLAINTEXT or SSL, or use the port of a listener with SASL",
            ),
            _ if offered.is_empty() => Error::answered(
                answer.error,
                format!("the broker does not accept sasl.mechanism={name}"),
            )
            .with_advice("enable it in the broker's sasl.enabled.mechanisms"),
            code => {
                let message =
                    format!("the listener does not have sasl.mechanism={name}: it has {offered}");
                Error::answered(code, message)
                    .with_advice("set sasl.mechanism to one of these, or enable it in the broker's sasl.enabled.mechanisms")
            }
        })
    }

    fn send(
        &self,
        connection: &mut NewConnection<'_>,
        conversation: &dyn Conversation,
        message: &Message,
    ) -> Result<SaslAuthenticateResponse, Error> {
        let message = message.bytes();
        if message.len() > MAX_MESSAGE_BYTES {
            let mechanism = self.mechanism.name();
            let part = long_part(mechanism);
            let text = format!(
                "the {mechanism} message has {} bytes, and brokers accept {MAX_MESSAGE_BYTES}: the {part} is too long",
                message.len()
            );
            return Err(Error::new(ErrorKind::Authentication, text)
                .with_advice(format!("use a shorter {part}")));
        }
        let version = connection.versions.best::<SaslAuthenticateRequest<'_>>()?;
        let request = SaslAuthenticateRequest { message };
        let answer = connection
            .exchange
            .call(&request, version, connection.deadline)?;
        if answer.error.is_none() {
            return Ok(answer);
        }
        let error = conversation.refused(answer.error_message.as_deref());
        Err(error.with_broker_code(answer.error))
    }
}

/// Returns what makes a message of a mechanism long.
fn long_part(mechanism: &str) -> &'static str {
    match mechanism {
        "PLAIN" => "user name or password",
        "GSSAPI" => "Kerberos ticket",
        "AWS_MSK_IAM" => "session token of the AWS credentials",
        "OAUTHBEARER" => "token",
        // SCRAM sends no password.
        _ => "user name",
    }
}

/// Returns the session of an authentication whose last message was sent at `asked`.
fn session(asked: Instant, lifetime_ms: i64) -> Session {
    let lifetime = u64::try_from(lifetime_ms).unwrap_or(0);
    let usable = |lifetime: Duration| lifetime - (lifetime / RESERVE_DIVISOR).min(LONGEST_RESERVE);
    Session {
        begins: asked,
        ends: (lifetime > 0)
            .then(|| asked.checked_add(usable(Duration::from_millis(lifetime))))
            .flatten(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_ends_somewhat_before_the_brokers_time() {
        let asked = Instant::now();
        let usable = |lifetime_ms| {
            let session = session(asked, lifetime_ms);
            assert_eq!(session.begins, asked);
            session.ends.map(|ends| ends - asked)
        };
        assert_eq!(usable(1000), Some(Duration::from_millis(950)));
        assert_eq!(usable(3_600_000), Some(Duration::from_secs(3590)));
        assert_eq!(usable(1), Some(Duration::from_micros(950)));
    }

    #[test]
    fn a_session_without_end_or_with_one_that_no_clock_has_is_not_replaced() {
        for lifetime_ms in [0, -1, i64::MIN] {
            assert_eq!(session(Instant::now(), lifetime_ms).ends, None);
        }
        // Nothing overflows. Some clocks count this far.
        let _ = session(Instant::now(), i64::MAX).ends;
    }
}
