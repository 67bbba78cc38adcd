//! What a JSON web token says of itself, checked as Java's client does, and its end, too. The client cannot check the
//! signature: the broker does.

use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::super::jwt;
use super::BearerToken;
use crate::error::{Error, printable};
use crate::sasl::failed;

/// A broker refuses a longer message (`sasl.server.max.receive.size`), unread.
const MOST_TOKEN_BYTES: usize = 500 << 10;

/// The names of claims.
#[derive(Clone, Debug)]
pub(crate) struct ClaimNames {
    /// `sasl.oauthbearer.scope.claim.name`.
    pub(crate) scope: String,
    /// `sasl.oauthbearer.sub.claim.name`.
    pub(crate) subject: String,
}

impl Default for ClaimNames {
    fn default() -> Self {
        Self {
            scope: "scope".to_owned(),
            subject: "sub".to_owned(),
        }
    }
}

/// Makes a token of its text, or says which claim is wrong.
pub(super) fn check(text: &str, names: &ClaimNames, now: SystemTime) -> Result<BearerToken, Error> {
    if text.len() > MOST_TOKEN_BYTES {
        return Err(failed(format!(
            "the token has {} bytes, and brokers take {MOST_TOKEN_BYTES} at most",
            text.len()
        ))
        .with_advice("let the token server put fewer claims into it"));
    }
    let claims = claims(text)?;
    check_scope(&claims, &names.scope)?;
    let subject = match claims.get(&names.subject) {
        Some(Value::String(subject)) if !subject.trim().is_empty() => subject.trim(),
        other => {
            return Err(wrong(&names.subject, other, "a text").with_advice(
                "let the token server add it, or set sasl.oauthbearer.sub.claim.name to the claim that has the name of the \
                 client",
            ));
        }
    };
    let issued = match claims.get("iat") {
        None | Some(Value::Null) => None,
        Some(value) => {
            Some(time(value).ok_or_else(|| wrong("iat", Some(value), "a time in seconds"))?)
        }
    };
    let end = claims.get("exp");
    let expires = end
        .and_then(time)
        .ok_or_else(|| wrong("exp", end, "a time in seconds"))?;
    if expires <= now {
        return Err(expired(expires, issued, now));
    }
    Ok(BearerToken::new(text).expires(expires).principal(subject))
}

fn expired(expires: SystemTime, issued: Option<SystemTime>, now: SystemTime) -> Error {
    let ago = now.duration_since(expires).unwrap_or_default().as_secs();
    let lifetime = issued.and_then(|issued| expires.duration_since(issued).ok());
    let issued = match lifetime {
        Some(lifetime) => format!(", {} s after it was issued", lifetime.as_secs()),
        None => String::new(),
    };
    failed(format!(
        "the token server issued a token that expired {ago} s ago by this machine's clock{issued}"
    ))
    .with_advice("compare the clocks of this machine and of the token server")
}

fn claims(text: &str) -> Result<Map<String, Value>, Error> {
    let parts: Vec<_> = text.split('.').collect();
    let [_, payload, _] = parts[..] else {
        return Err(no_jwt());
    };
    if parts.iter().any(|part| part.is_empty()) {
        return Err(no_jwt());
    }
    let payload = URL_SAFE_NO_PAD
        .decode(payload.trim_end_matches('='))
        .map_err(|_| no_jwt())?;
    let payload = Zeroizing::new(payload);
    serde_json::from_slice(&payload).map_err(|_| no_jwt())
}

fn no_jwt() -> Error {
    failed("the token server issued a token that is no JSON web token (RFC 7519)").with_advice(
        "let the token server issue access tokens as JWT; if the brokers accept other tokens, fetch them in code of yours \
         (sasl_oauthbearer, TokenProvider)",
    )
}

/// A scope is a text or a list of different texts. It may be missing.
fn check_scope(claims: &Map<String, Value>, name: &str) -> Result<(), Error> {
    let fault = |value| {
        Err(wrong(
            name,
            Some(value),
            "a text or a list of different texts",
        ))
    };
    match claims.get(name) {
        Some(value @ Value::Array(scopes)) => {
            let mut seen = std::collections::HashSet::new();
            let is_right = |scope: &Value| {
                let text = scope.as_str().map_or("", str::trim);
                !text.is_empty() && seen.insert(text.to_owned())
            };
            if !scopes.iter().all(is_right) {
                return fault(value);
            }
        }
        // Java refuses a text of blanks; a server means no scope by it.
        Some(Value::String(_) | Value::Null) | None => {}
        Some(value) => return fault(value),
    }
    Ok(())
}

fn wrong(name: &str, value: Option<&Value>, expected: &str) -> Error {
    let name = printable(name);
    let what = match value {
        None | Some(Value::Null) => format!("no claim {name}"),
        Some(_) => format!("a claim {name} that is not {expected}"),
    };
    failed(format!("the token server issued a token with {what}"))
}

/// Reads a time in seconds since 1970.
fn time(value: &Value) -> Option<SystemTime> {
    jwt::time(value.as_f64()?)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use serde_json::json;

    const NOW: u64 = 1_700_000_000;

    fn now() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(NOW)
    }

    fn checked(claims: &Value) -> Result<BearerToken, Error> {
        let encoded = URL_SAFE_NO_PAD.encode(claims.to_string());
        check(
            &format!("e30.{encoded}.c2ln"),
            &ClaimNames::default(),
            now(),
        )
    }

    #[test]
    fn a_token_with_its_claims_is_taken() {
        for claims in [
            json!({"exp": NOW + 300, "sub": "alice"}),
            json!({"exp": NOW as f64 + 300.5, "sub": " alice ", "iat": NOW + 5, "scope": "a b"}),
            json!({"exp": NOW + 300, "sub": "alice", "iat": null, "scope": ["a", "b"], "x": {"y": [1]}}),
            json!({"exp": NOW + 300, "sub": "alice", "scope": []}),
        ] {
            let token = checked(&claims).unwrap();
            assert_eq!(token.principal.as_deref(), Some("alice"));
            let lifetime = token.expires.unwrap().duration_since(now()).unwrap();
            assert_eq!(lifetime.as_secs(), 300, "{claims}");
        }
        let names = ClaimNames {
            scope: "scp".to_owned(),
            subject: "azp".to_owned(),
        };
        let claims = json!({"exp": NOW + 1, "azp": "bob", "scope": 7, "scp": "a"}).to_string();
        let text = format!("e30.{}=.c2ln", URL_SAFE_NO_PAD.encode(claims));
        let token = check(&text, &names, now()).unwrap();
        assert_eq!(token.principal.as_deref(), Some("bob"));
    }

    #[test]
    fn a_token_with_a_wrong_claim_is_refused_with_its_name() {
        for (claims, sentence) in [
            (json!({"sub": "alice"}), "with no claim exp"),
            (
                json!({"exp": "soon", "sub": "alice"}),
                "a claim exp that is not a time in seconds",
            ),
            (
                json!({"exp": -1, "sub": "alice"}),
                "a claim exp that is not",
            ),
            (
                json!({"exp": 1e300, "sub": "alice"}),
                "a claim exp that is not",
            ),
            (
                json!({"exp": NOW + 1}),
                "with no claim sub; let the token server add it, or set sasl.oauthbearer.sub",
            ),
            (
                json!({"exp": NOW + 1, "sub": 7}),
                "a claim sub that is not a text",
            ),
            (
                json!({"exp": NOW + 1, "sub": " "}),
                "a claim sub that is not a text",
            ),
            (
                json!({"exp": NOW + 1, "sub": "a", "iat": "x"}),
                "a claim iat that is not",
            ),
            (
                json!({"exp": NOW + 1, "sub": "a", "scope": 7}),
                "a claim scope that is not a text or a list",
            ),
            (
                json!({"exp": NOW + 1, "sub": "a", "scope": ["a", "a"]}),
                "a claim scope",
            ),
            (
                json!({"exp": NOW + 1, "sub": "a", "scope": ["a", ""]}),
                "a claim scope",
            ),
            (
                json!({"exp": NOW - 20, "iat": NOW - 320, "sub": "a"}),
                "a token that expired 20 s ago by this machine's clock, 300 s after it was issued; compare the clocks",
            ),
            (
                json!({"exp": NOW, "sub": "a"}),
                "a token that expired 0 s ago by this machine's clock; compare",
            ),
            (json!([]), "no JSON web token"),
        ] {
            let error = checked(&claims).unwrap_err().to_string();
            assert!(error.contains(sentence), "{claims}: {error}");
        }
    }

    #[test]
    fn what_is_no_web_token_or_too_long_is_refused() {
        for text in [
            "opaque",
            "a.b",
            "a.b.c.d",
            "a..c",
            ".e30.c",
            "e30.e30.",
            "a.!.c",
            "e30.bm8.c2ln",
            "a.b.c.d.e",
        ] {
            let error = check(text, &ClaimNames::default(), now())
                .unwrap_err()
                .to_string();
            assert!(
                error.contains("is no JSON web token (RFC 7519); let the token server issue"),
                "{error}"
            );
        }
        let error = check(
            &"x".repeat(MOST_TOKEN_BYTES + 1),
            &ClaimNames::default(),
            now(),
        );
        let error = error.unwrap_err().to_string();
        assert!(
            error.contains("the token has 512001 bytes, and brokers take 512000 at most"),
            "{error}"
        );
    }
}
