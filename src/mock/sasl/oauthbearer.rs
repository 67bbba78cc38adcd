//! OAUTHBEARER (RFC 7628).

use std::sync::Arc;
use std::time::Duration;

use super::{Exchange, Refusal, Step};

/// A token of OAUTHBEARER, and what a client sends with it.
pub struct ReceivedToken<'a> {
    token: &'a str,
    extensions: Vec<(&'a str, &'a str)>,
}

impl ReceivedToken<'_> {
    /// Returns the token.
    pub fn token(&self) -> &str {
        self.token
    }

    /// Returns the value of an extension, such as `logicalCluster`.
    pub fn extension(&self, name: &str) -> Option<&str> {
        let mut extensions = self.extensions.iter();
        let (_, value) = extensions.find(|(known, _)| *known == name)?;
        Some(value)
    }
}

/// Does not show the token, which is a secret.
impl std::fmt::Debug for ReceivedToken<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = self.extensions.iter().map(|(name, _)| name);
        f.debug_struct("ReceivedToken")
            .field("extensions", &names.collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

/// Whether brokers accept a token of OAUTHBEARER.
#[derive(Clone, Debug)]
pub struct TokenVerdict(Verdict);

#[derive(Clone, Debug)]
enum Verdict {
    Accept {
        user: String,
        lifetime: Option<Duration>,
    },
    /// With the status that the client gets.
    Refuse(String),
}

impl TokenVerdict {
    /// Accepts the token as that of a user.
    pub fn accept(user: &str) -> Self {
        Self(Verdict::Accept {
            user: user.to_owned(),
            lifetime: None,
        })
    }

    /// Ends the token, if it is accepted, and with it the session of the connection, after this time.
    pub fn expires_in(mut self, time: Duration) -> Self {
        if let Verdict::Accept { lifetime, .. } = &mut self.0 {
            *lifetime = Some(time);
        }
        self
    }

    /// Refuses the token. The client gets this status; that of Kafka's brokers is `invalid_token` or `insufficient_scope`.
    pub fn refuse(status: &str) -> Self {
        Self(Verdict::Refuse(status.to_owned()))
    }
}

/// A check of tokens, which is the user's code.
#[derive(Clone)]
pub(super) struct TokenCheck(
    pub(super) Arc<dyn Fn(&ReceivedToken<'_>) -> TokenVerdict + Send + Sync>,
);

pub(super) struct OauthBearer {
    checks: Vec<TokenCheck>,
    /// What the client was told about its token. It has to confirm that it got this, and is refused then.
    refusal: Option<String>,
}

impl OauthBearer {
    pub(super) fn new(checks: &[TokenCheck]) -> Self {
        Self {
            checks: checks.to_vec(),
            refusal: None,
        }
    }

    /// Returns the verdict of the first check that accepts the token, or that of the last one.
    fn check(&self, token: &ReceivedToken<'_>) -> Verdict {
        let mut verdict = Verdict::Refuse("invalid_token".to_owned());
        for check in &self.checks {
            verdict = (check.0)(token).0;
            if matches!(verdict, Verdict::Accept { .. }) {
                break;
            }
        }
        verdict
    }
}

impl Exchange for OauthBearer {
    fn next(&mut self, message: &[u8]) -> Result<Step, Refusal> {
        const CONFIRMATION: [u8; 1] = [1];
        if let Some(refusal) = self.refusal.take() {
            if message == CONFIRMATION {
                return Err(Refusal::Reason(refusal));
            }
        }
        let text = std::str::from_utf8(message).map_err(|_| Refusal::InvalidCredentials)?;
        let (authorization_id, token) = parse(text).ok_or(Refusal::InvalidCredentials)?;
        match self.check(&token) {
            Verdict::Accept { user, .. } if authorization_id.is_some_and(|id| id != user) => {
                let reason = format!(
                    "Authentication failed: Client requested an authorization id ({}) that is different from the token's \
                     principal name ({user})",
                    authorization_id.unwrap_or_default()
                );
                Err(Refusal::Reason(reason))
            }
            Verdict::Accept { user, lifetime } => Ok(Step::Done {
                answer: Vec::new(),
                user,
                lifetime,
            }),
            Verdict::Refuse(status) => {
                let json = format!("{{\"status\":\"{status}\"}}");
                self.refusal = Some(json.clone());
                Ok(Step::Continue(json.into_bytes()))
            }
        }
    }
}

/// Reads `n,[a=<authorization id>],^A(<key>=<value>^A)*^A`, where ^A is the byte 1, `auth` is among the keys and its value
/// is `Bearer <token>`. Returns the authorization id and the token.
fn parse(text: &str) -> Option<(Option<&str>, ReceivedToken<'_>)> {
    let (authorization_id, pairs) = text.strip_prefix("n,")?.split_once(",\u{1}")?;
    let authorization_id = match authorization_id {
        "" => None,
        id => Some(id.strip_prefix("a=")?),
    };
    let mut token = None;
    let mut extensions = Vec::new();
    for pair in pairs.strip_suffix('\u{1}')?.split_terminator('\u{1}') {
        let (key, value) = pair.split_once('=')?;
        if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_alphabetic()) {
            return None;
        }
        if !value.bytes().all(is_value_byte) {
            return None;
        }
        match key {
            "auth" if token.is_some() => return None,
            "auth" => token = Some(token_of(value)?),
            _ => extensions.push((key, value)),
        }
    }
    let token = token?;
    Some((authorization_id, ReceivedToken { token, extensions }))
}

fn is_value_byte(byte: u8) -> bool {
    matches!(byte, 0x21..=0x7e | b' ' | b'\t' | b'\r' | b'\n')
}

fn token_of(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim_start_matches(' ');
    let is_token_byte = |byte: u8| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'~' | b'+' | b'/' | b'.')
    };
    let padded = token.trim_end_matches('=');
    let is_token = !padded.is_empty() && padded.bytes().all(is_token_byte);
    (scheme.eq_ignore_ascii_case("bearer") && is_token).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exchange() -> OauthBearer {
        let check = |token: &ReceivedToken<'_>| match token.token() {
            "good" => TokenVerdict::accept("alice"),
            "short" => TokenVerdict::accept("alice").expires_in(Duration::from_secs(5)),
            "extended" if token.extension("logicalCluster") == Some("lkc-1") => {
                TokenVerdict::accept("alice")
            }
            _ => TokenVerdict::refuse("insufficient_scope"),
        };
        OauthBearer::new(&[TokenCheck(Arc::new(check))])
    }

    #[test]
    fn tokens_are_accepted_with_their_extensions_and_their_end() {
        for (message, expected) in [
            ("n,,\u{1}auth=Bearer good\u{1}\u{1}", None),
            ("n,a=alice,\u{1}auth=bearer  good\u{1}\u{1}", None),
            (
                "n,,\u{1}auth=Bearer short\u{1}\u{1}",
                Some(Duration::from_secs(5)),
            ),
            (
                "n,,\u{1}auth=Bearer extended\u{1}logicalCluster=lkc-1\u{1}\u{1}",
                None,
            ),
        ] {
            match exchange().next(message.as_bytes()) {
                Ok(Step::Done {
                    answer,
                    user,
                    lifetime,
                }) => {
                    assert_eq!((answer.len(), &*user, lifetime), (0, "alice", expected));
                }
                other => panic!("{message:?}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_refused_token_is_told_first_and_fails_once_the_client_confirms() {
        let mut exchange = exchange();
        let told = exchange.next(b"n,,\x01auth=Bearer bad\x01\x01").unwrap();
        let json = "{\"status\":\"insufficient_scope\"}";
        assert!(matches!(told, Step::Continue(answer) if answer == json.as_bytes()));
        let refusal = exchange.next(&[1]).unwrap_err();
        assert_eq!(refusal, Refusal::Reason(json.to_owned()));

        let other = exchange.next(b"n,a=bob,\x01auth=Bearer good\x01\x01");
        assert!(matches!(other, Err(Refusal::Reason(text)) if text.contains("(bob)")));
    }

    #[test]
    fn malformed_messages_are_refused() {
        for message in [
            "",
            "\u{1}",
            "y,,\u{1}auth=Bearer good\u{1}\u{1}",
            "n,,\u{1}\u{1}",
            "n,,auth=Bearer good\u{1}\u{1}",
            "n,,\u{1}auth=Bearer good",
            "n,,\u{1}auth=Basic good\u{1}\u{1}",
            "n,,\u{1}auth=Bearer \u{1}\u{1}",
            "n,,\u{1}auth=Bearer a b\u{1}\u{1}",
            "n,,\u{1}auth=Bearer good\u{1}auth=Bearer good\u{1}\u{1}",
            "n,,\u{1}auth=Bearer good\u{1}key-1=x\u{1}\u{1}",
            "n,,\u{1}auth=Bearer good\u{1}key=\u{e9}\u{1}\u{1}",
            "n,alice,\u{1}auth=Bearer good\u{1}\u{1}",
        ] {
            let refusal = exchange().next(message.as_bytes()).unwrap_err();
            assert_eq!(refusal, Refusal::InvalidCredentials, "{message:?}");
        }
    }
}
