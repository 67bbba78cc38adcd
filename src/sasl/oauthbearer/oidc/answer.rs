//! The answer of a token server: a token (RFC 6749, section 5.1), or why there is none (section 5.2).

use serde_json::{Map, Value};

use super::grant::{Form, Grant};
use super::repeats;
use crate::error::{Error, ErrorKind, printable};
use crate::http::{Response, Url};
use crate::sasl::failed;
use crate::secret::Secret;

/// A longer explanation of a server is cut.
const MOST_EXPLANATION: usize = 300;

/// Returns the token, or the error of an answer without one. Its kind is [`Network`](ErrorKind::Network) if the same request
/// may succeed soon.
pub(super) fn token(
    response: &Response,
    url: &Url,
    grant: &Grant,
    form: &Form,
) -> Result<Secret, Error> {
    let mut members = serde_json::from_slice::<Map<String, Value>>(response.body()).ok();
    let token = members.as_mut().and_then(take_token);
    let is_success = matches!(response.status(), 200 | 201);
    if let (true, Some(token)) = (is_success, token) {
        return Ok(token);
    }
    let answer = Answer {
        response,
        url,
        explanation: members.and_then(|members| Explanation::of(&members, &grant.secrets(form))),
    };
    Err(match is_success {
        true => answer.no_token(),
        false => answer.refusal(grant),
    })
}

/// Takes the token out of an answer, so that no other copy of it stays.
fn take_token(members: &mut Map<String, Value>) -> Option<Secret> {
    let mut member = |name| match members.remove(name) {
        Some(Value::String(text)) => Some(Secret::new(text)),
        _ => None,
    };
    let found = [member("access_token"), member("id_token")];
    let mut tokens = found.iter().flatten().map(|token| token.reveal().trim());
    tokens.find(|token| !token.is_empty()).map(Secret::from)
}

/// What a server says of a failure.
struct Explanation {
    code: String,
    /// Code and description, in a form to show.
    shown: String,
}

impl Explanation {
    /// Reads `error` and `error_description`, or `errorCode` and `errorSummary` as Okta names them. `None` if there is no code,
    /// or if the texts repeat a secret.
    fn of(members: &Map<String, Value>, secrets: &[&Secret]) -> Option<Self> {
        let text = |name| members.get(name).and_then(Value::as_str);
        let (code, description) = match text("error") {
            Some(code) => (code, text("error_description")),
            None => (text("errorCode")?, text("errorSummary")),
        };
        let shown = match description.map(str::trim) {
            Some(description) if !description.is_empty() => format!("{code}: {description}"),
            _ => code.to_owned(),
        };
        if shown.trim().is_empty() || repeats(&shown, secrets) {
            return None;
        }
        let is_long = shown.chars().count() > MOST_EXPLANATION;
        let mut shown = printable(&shown.chars().take(MOST_EXPLANATION).collect::<String>());
        if is_long {
            shown += "...";
        }
        Some(Self {
            code: code.to_owned(),
            shown,
        })
    }
}

struct Answer<'a> {
    response: &'a Response,
    url: &'a Url,
    explanation: Option<Explanation>,
}

impl Answer<'_> {
    /// Makes the error of an answer that should have a token.
    fn no_token(&self) -> Error {
        let url = self.url;
        if let Some(explanation) = &self.explanation {
            return failed(format!(
                "the server at {url} gave an error: {}",
                explanation.shown
            ))
            .with_advice("see the log of the token server");
        }
        let content_type = self.response.header("content-type").unwrap_or_default();
        let is_page = content_type
            .trim_start()
            .to_ascii_lowercase()
            .starts_with("text/html");
        let what = match (is_page, self.response.body().first()) {
            (true, _) => "is a web page",
            (false, None) => "is empty",
            (false, Some(b'{')) => "has neither access_token nor id_token, or is not legal JSON",
            (false, Some(_)) => "is not a JSON object",
        };
        failed(format!(
            "the answer of the server at {url} {what} (status {})",
            self.response.status()
        ))
        .with_advice(TOKEN_ENDPOINT)
    }

    /// Makes the error of an answer with a status that refuses the request.
    fn refusal(&self, grant: &Grant) -> Error {
        let (url, status) = (self.url, self.response.status());
        let explanation = match &self.explanation {
            Some(explanation) => format!(": {}", explanation.shown),
            None => String::new(),
        };
        if is_passing(status) {
            let message =
                format!("the server at {url} cannot answer now (status {status}){explanation}");
            let advice = "see whether the token server works; the next connection tries again";
            return Error::new(ErrorKind::Network, message).with_advice(advice);
        }
        failed(format!(
            "the server at {url} refuses the request (status {status}){explanation}"
        ))
        .with_advice(self.advice(grant))
    }

    fn advice(&self, grant: &Grant) -> &'static str {
        let code = self
            .explanation
            .as_ref()
            .map_or("", |explanation| &explanation.code);
        match (self.response.status(), code) {
            (_, "invalid_scope") => "check sasl.oauthbearer.scope",
            (_, "unauthorized_client" | "unsupported_grant_type") => {
                "let the token server permit this grant for this client: client_credentials, or the one of \
                 sasl.oauthbearer.jwt.retriever.class"
            }
            (_, "invalid_client" | "invalid_grant") | (401, _) => credentials_advice(grant),
            (404 | 405, _) => TOKEN_ENDPOINT,
            (407, _) => {
                "a proxy asks for a password, and none is supported: let the token server be reached directly"
            }
            (403, _) => {
                "see the log of the token server: it knows the client and does not give it a token"
            }
            _ => "see the log of the token server",
        }
    }
}

const TOKEN_ENDPOINT: &str = "set the URL to the token endpoint itself: most servers name it as token_endpoint in \
     <issuer>/.well-known/openid-configuration";

fn credentials_advice(grant: &Grant) -> &'static str {
    if grant.uses_assertion() {
        return "check the assertion's key and its claims iss, sub and aud, and compare the clocks";
    }
    if grant.has_placeholder() {
        return "check the client's id and secret: one of them looks like a placeholder, such as ${PROVIDER:KEY}, that was \
             not filled in: list the provider in config.providers, or give the value itself";
    }
    match grant.has_raw_special_characters() {
        true => {
            "check the client's id and secret; they have characters that many servers expect encoded: try \
             sasl.oauthbearer.header.urlencode=true"
        }
        false => {
            "check sasl.oauthbearer.client.credentials.client.id and .client.secret, or clientId and clientSecret in \
             sasl.jaas.config"
        }
    }
}

/// Returns whether the same request may succeed soon. The statuses are those that Java repeats, without redirects.
fn is_passing(status: u16) -> bool {
    !matches!(status, 300..=407 | 409..=415 | 501 | 505)
}
