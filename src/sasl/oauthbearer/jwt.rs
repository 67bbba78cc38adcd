//! What a JSON web token (RFC 7519) says of itself. The client cannot check its signature.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use super::BearerToken;
use super::json::{self, Value};

/// Makes a token of its text. If the text is a JSON web token, its claims `exp` and `sub` say when it ends and for whom it
/// stands. Any other text is a token whose end is not known.
pub(super) fn token(text: &str) -> BearerToken {
    let mut token = BearerToken::new(text);
    for (name, value) in claims(text).unwrap_or_default() {
        match (&*name, value) {
            ("exp", Value::Number(seconds)) => token.expires = time(seconds),
            ("sub", Value::Text(principal)) => token.principal = Some(principal),
            _ => {}
        }
    }
    token
}

fn claims(text: &str) -> Option<Vec<(String, Value)>> {
    let mut parts = text.split('.');
    let (_, claims, _) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let claims = Zeroizing::new(URL_SAFE_NO_PAD.decode(claims).ok()?);
    json::members(std::str::from_utf8(&claims).ok()?)
}

/// Returns the time that is `seconds` after 1970; `None` if the system cannot express it.
pub(super) fn time(seconds: f64) -> Option<SystemTime> {
    let since = Duration::try_from_secs_f64(seconds).ok()?;
    UNIX_EPOCH.checked_add(since)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_claims(claims: &str) -> BearerToken {
        let encoded = URL_SAFE_NO_PAD.encode(claims);
        token(&format!("e30.{encoded}.c2ln"))
    }

    #[test]
    fn a_web_token_says_when_it_ends_and_for_whom_it_stands() {
        let token = of_claims(r#"{"sub":"alice","exp":1700000000,"aud":["a",{"b":1}]}"#);
        assert_eq!(
            token.expires,
            Some(UNIX_EPOCH + Duration::from_secs(1_700_000_000))
        );
        assert_eq!(token.principal.as_deref(), Some("alice"));
    }

    #[test]
    fn what_is_no_web_token_has_no_known_end() {
        for text in ["opaque", "a.b", "a.b.c.d", "a.!.c", "e30.bm8.c2ln"] {
            let token = token(text);
            assert_eq!((token.expires, token.principal), (None, None), "{text}");
        }
        for claims in [
            r#"{"exp":"1700000000"}"#,
            r#"{"exp":1e300}"#,
            r#"{"exp":-1}"#,
            r#"{"exp":NaN}"#,
            r#"{"sub":7}"#,
            "[]",
        ] {
            let token = of_claims(claims);
            assert_eq!((token.expires, token.principal), (None, None), "{claims}");
        }
    }
}
