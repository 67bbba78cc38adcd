//! The session of a connection: whether the client has authenticated itself, as whom, and until when. The SaslHandshake and
//! SaslAuthenticate requests.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::dispatch::Context;
use super::request::MockApi;
use super::sasl::{Exchange, Refusal, Step};
use crate::ErrorCode;
use crate::protocol::messages::{
    SaslAuthenticateRequest, SaslAuthenticateResponse, SaslHandshakeRequest, SaslHandshakeResponse,
};
use crate::time::deadline_after;

pub(super) struct Session {
    state: State,
    /// Such as `User:alice`.
    principal: Arc<str>,
    /// Of the latest authentication.
    mechanism: String,
    /// The end of the session (KIP-368).
    ends: Option<Instant>,
    /// `None` until the client has authenticated itself again.
    renewed: Option<Instant>,
}

enum State {
    /// The first request, which may ask for the versions, has not been answered.
    New,
    /// Only a SaslHandshake may follow.
    AwaitingHandshake(Stage),
    /// Only SaslAuthenticate requests may follow.
    Authenticating(Stage, Box<dyn Exchange>),
    /// The client wanted another mechanism than before. A broker tells it nothing, and closes the connection at the next
    /// request.
    OtherMechanism,
    /// The client may send any request.
    Open,
    /// The connection ends after the response.
    Failed,
}

/// Whether the client has been authenticated before on the connection.
#[derive(Clone, Copy, PartialEq)]
enum Stage {
    First,
    Again,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Admission {
    Serve,
    /// The response is `ILLEGAL_SASL_STATE`, and the connection ends.
    Refuse,
    /// The connection ends without a response.
    Close,
}

/// Kafka's `sasl.server.max.receive.size`.
const MAX_BYTES_BEFORE: usize = 524_288;

/// Brokers renew no session earlier than this after it was renewed before.
const SHORTEST_RENEWAL: Duration = Duration::from_secs(1);

const ANONYMOUS: &str = "User:ANONYMOUS";

impl Session {
    /// The session of a new connection. `subject` is that of the client's certificate.
    pub(super) fn new(uses_sasl: bool, subject: Option<String>) -> Self {
        let principal = match subject {
            Some(subject) if !uses_sasl => format!("User:{subject}"),
            _ => ANONYMOUS.to_owned(),
        };
        Self {
            state: if uses_sasl { State::New } else { State::Open },
            principal: principal.into(),
            mechanism: String::new(),
            ends: None,
            renewed: None,
        }
    }

    pub(super) fn principal(&self) -> &Arc<str> {
        &self.principal
    }

    pub(super) fn has_failed(&self) -> bool {
        matches!(self.state, State::Failed)
    }

    pub(super) fn fail(&mut self) {
        self.state = State::Failed;
    }

    /// Returns the largest frame that may come next: `most`, or less before the client has authenticated itself.
    pub(super) fn max_frame_bytes(&self, most: usize) -> usize {
        match self.state {
            State::Open => most,
            _ => most.min(MAX_BYTES_BEFORE),
        }
    }

    /// Decides on a request that has been read. A SaslHandshake can begin a new authentication, also after the session's
    /// end.
    pub(super) fn admit(&mut self, api: MockApi, now: Instant) -> Admission {
        use Admission::{Close, Refuse, Serve};
        match (&self.state, api) {
            (State::New, MockApi::ApiVersions | MockApi::SaslHandshake)
            | (State::AwaitingHandshake(_), MockApi::SaslHandshake)
            | (State::Authenticating(..), MockApi::SaslAuthenticate) => Serve,
            (State::Authenticating(..), _) => Refuse,
            (State::Open, MockApi::SaslHandshake) if self.can_be_renewed(now) => {
                self.renewed = Some(now);
                self.state = State::AwaitingHandshake(Stage::Again);
                Serve
            }
            (State::Open, _) if self.ends.is_some_and(|end| now >= end) => Close,
            (State::Open, _) => Serve,
            _ => Close,
        }
    }

    fn can_be_renewed(&self, now: Instant) -> bool {
        let is_late_enough = |renewed: Instant| now.duration_since(renewed) >= SHORTEST_RENEWAL;
        self.ends.is_some() && self.renewed.is_none_or(is_late_enough)
    }

    /// The broker has told its versions. A client may ask for them once.
    pub(super) fn versions_were_told(&mut self) {
        if matches!(self.state, State::New) {
            self.state = State::AwaitingHandshake(Stage::First);
        }
    }

    /// Ends an authentication: the client is `user`. An error tells that the client was another user before.
    fn open(&mut self, stage: Stage, user: &str, lifetime: Option<Duration>) -> Result<(), String> {
        if stage == Stage::Again && *self.principal != *format!("User:{user}") {
            let before = self.principal.replacen(':', ".", 1);
            return Err(format!(
                "Cannot change principals during re-authentication from {before}: User.{user}"
            ));
        }
        self.principal = format!("User:{user}").into();
        self.ends = lifetime.map(|lifetime| deadline_after(Instant::now(), lifetime));
        self.state = State::Open;
        Ok(())
    }
}

impl Stage {
    fn name(self) -> &'static str {
        match self {
            Self::First => "authentication",
            Self::Again => "re-authentication",
        }
    }
}

pub(super) fn handshake(
    context: Context<'_>,
    request: &SaslHandshakeRequest<'_>,
) -> SaslHandshakeResponse {
    let sasl = context.shared.sasl.lock().clone();
    let mut session = context.session.borrow_mut();
    let stage = match session.state {
        State::New => Stage::First,
        State::AwaitingHandshake(stage) => stage,
        _ => return handshake_response(ErrorCode::ILLEGAL_SASL_STATE, Vec::new()),
    };
    let mechanisms = sasl.as_ref().map(|sasl| sasl.mechanisms());
    let mechanisms = mechanisms.unwrap_or_default();
    let Some(exchange) = sasl.and_then(|sasl| sasl.begin(request.mechanism)) else {
        session.fail();
        return handshake_response(ErrorCode::UNSUPPORTED_SASL_MECHANISM, mechanisms);
    };
    session.state = if stage == Stage::Again && session.mechanism != request.mechanism {
        State::OtherMechanism
    } else {
        request.mechanism.clone_into(&mut session.mechanism);
        State::Authenticating(stage, exchange)
    };
    handshake_response(ErrorCode::NONE, mechanisms)
}

fn handshake_response(error: ErrorCode, mechanisms: Vec<String>) -> SaslHandshakeResponse {
    SaslHandshakeResponse { error, mechanisms }
}

pub(super) fn authenticate(
    context: Context<'_>,
    request: &SaslAuthenticateRequest<'_>,
) -> SaslAuthenticateResponse {
    let longest = context
        .shared
        .sasl
        .lock()
        .as_ref()
        .and_then(|sasl| sasl.lifetime());
    let mut session = context.session.borrow_mut();
    let state = std::mem::replace(&mut session.state, State::Failed);
    let State::Authenticating(stage, mut exchange) = state else {
        session.state = state;
        let reason = "SaslAuthenticate request received after successful authentication";
        return refused(ErrorCode::ILLEGAL_SASL_STATE, reason.to_owned());
    };
    if let Some(reason) = context.shared.sasl_refusals.lock().pop_front() {
        return refused(ErrorCode::SASL_AUTHENTICATION_FAILED, reason);
    }
    let reason = match exchange.next(request.message) {
        Ok(Step::Continue(answer)) => {
            session.state = State::Authenticating(stage, exchange);
            return answered(answer, None);
        }
        Ok(Step::Done {
            answer,
            user,
            lifetime,
        }) => {
            let lifetime = longest.into_iter().chain(lifetime).min();
            match session.open(stage, &user, lifetime) {
                Ok(()) => return answered(answer, lifetime),
                Err(reason) => reason,
            }
        }
        Err(Refusal::Reason(reason)) => reason,
        Err(Refusal::InvalidCredentials) => format!(
            "Authentication failed during {} due to invalid credentials with SASL mechanism {}",
            stage.name(),
            session.mechanism
        ),
    };
    refused(ErrorCode::SASL_AUTHENTICATION_FAILED, reason)
}

fn answered(message: Vec<u8>, lifetime: Option<Duration>) -> SaslAuthenticateResponse {
    let lifetime_ms = lifetime.unwrap_or_default().as_millis();
    SaslAuthenticateResponse {
        error: ErrorCode::NONE,
        error_message: None,
        message,
        session_lifetime_ms: i64::try_from(lifetime_ms).unwrap_or(i64::MAX),
    }
}

fn refused(error: ErrorCode, reason: String) -> SaslAuthenticateResponse {
    SaslAuthenticateResponse {
        error,
        error_message: Some(reason),
        message: Vec::new(),
        session_lifetime_ms: 0,
    }
}

/// Refuses a SaslHandshake with `error`, and ends the connection.
pub(super) fn refuse_handshake(context: Context<'_>, error: ErrorCode) -> SaslHandshakeResponse {
    context.session.borrow_mut().fail();
    let sasl = context.shared.sasl.lock().clone();
    let mechanisms = match error {
        ErrorCode::UNSUPPORTED_SASL_MECHANISM => sasl.map(|sasl| sasl.mechanisms()),
        _ => None,
    };
    handshake_response(error, mechanisms.unwrap_or_default())
}

/// Refuses a SaslAuthenticate with `error`, and ends the connection.
pub(super) fn refuse_authentication(
    context: Context<'_>,
    error: ErrorCode,
) -> SaslAuthenticateResponse {
    context.session.borrow_mut().fail();
    refused(error, "refused by a hook".to_owned())
}
