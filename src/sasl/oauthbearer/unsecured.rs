//! Tokens without a signature, from the options `unsecuredLogin...` of `OAuthBearerLoginModule`. They are for tests:
//! every program can make one.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::super::jaas::Jaas;
use super::super::misconfigured;
use super::{BearerToken, TokenSource, extensions, json};
use crate::error::{Error, printable};
use crate::secret::Secret;

const STRING: &str = "unsecuredLoginStringClaim_";
const NUMBER: &str = "unsecuredLoginNumberClaim_";
const LIST: &str = "unsecuredLoginListClaim_";
const EXTENSION: &str = "unsecuredLoginExtension_";
const PRINCIPAL_CLAIM: &str = "unsecuredLoginPrincipalClaimName";
const SCOPE_CLAIM: &str = "unsecuredLoginScopeClaimName";
const LIFETIME: &str = "unsecuredLoginLifetimeSeconds";

/// Makes tokens as Java's `OAuthBearerUnsecuredLoginCallbackHandler` does.
#[derive(Clone, Debug)]
pub(crate) struct UnsecuredTokens {
    principal: String,
    /// The names and JSON texts of the claims.
    claims: Vec<(String, String)>,
    lifetime_seconds: i64,
    extensions: Vec<(String, Secret)>,
}

impl UnsecuredTokens {
    /// Reads the options. Java applies them if `sasl.login.callback.handler.class` is not set.
    pub(crate) fn from_jaas(jaas: &Jaas) -> Result<Self, Error> {
        let principal_claim = claim_name(jaas, PRINCIPAL_CLAIM, "sub");
        let principal_option = format!("{STRING}{principal_claim}");
        let principal = jaas.option(&principal_option).map_or("", Secret::reveal);
        if principal.trim().is_empty() {
            return Err(no_principal(&principal_option));
        }
        Ok(Self {
            principal: principal.to_owned(),
            claims: claims(jaas)?,
            lifetime_seconds: lifetime(jaas)?,
            extensions: extensions(jaas, EXTENSION)?,
        })
    }

    pub(super) fn token_at(&self, now: SystemTime) -> BearerToken {
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let now_seconds = since.as_millis() as f64 / 1000.0;
        let mut claims = vec![
            format!("\"iat\":{now_seconds:?}"),
            format!("\"exp\":{:?}", now_seconds + self.lifetime_seconds as f64),
        ];
        claims.extend(
            self.claims
                .iter()
                .map(|(name, value)| format!("{}:{value}", json::quoted(name))),
        );
        let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let header = encode("{\"alg\":\"none\"}");
        let claims = encode(&format!("{{{}}}", claims.join(",")));

        let mut token = BearerToken::new(format!("{header}.{claims}.")).principal(&self.principal);
        let lifetime = Duration::from_secs(self.lifetime_seconds.unsigned_abs());
        token.expires = match self.lifetime_seconds {
            0.. => now.checked_add(lifetime),
            _ => now.checked_sub(lifetime),
        };
        token.extensions = self.extensions.clone();
        token
    }
}

impl TokenSource for UnsecuredTokens {
    fn fetch(&self, _: Instant) -> Result<BearerToken, Error> {
        Ok(self.token_at(SystemTime::now()))
    }
}

fn no_principal(option: &str) -> Error {
    misconfigured(format!(
        "sasl.jaas.config names no principal for OAUTHBEARER: it has no option {}",
        printable(option)
    ))
    .with_advice(
        "for tokens of a token server, set sasl.login.callback.handler.class to \
         org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginCallbackHandler, and sasl.oauthbearer.*; for tests \
         with tokens that are not signed, add unsecuredLoginStringClaim_sub=\"name\"",
    )
}

fn claim_name<'a>(jaas: &'a Jaas, option: &str, default: &'static str) -> &'a str {
    let name = jaas.option(option).map_or("", |name| name.reveal().trim());
    if name.is_empty() { default } else { name }
}

fn claims(jaas: &Jaas) -> Result<Vec<(String, String)>, Error> {
    let scope = claim_name(jaas, SCOPE_CLAIM, "scope");
    let mut claims: Vec<(String, String)> = Vec::new();
    for (option, value) in jaas.options() {
        let Some((name, text)) = claim(option, value.reveal())? else {
            continue;
        };
        if ["iat", "exp"].contains(&name) {
            return Err(wrong(option, "cannot set this claim: the client sets it"));
        }
        if name == scope && option.starts_with(NUMBER) {
            return Err(wrong(
                option,
                "makes the scope a number: it is a text or a list",
            ));
        }
        if claims.iter().any(|(other, _)| other == name) {
            return Err(wrong(option, "sets a claim that another option sets, too"));
        }
        claims.push((name.to_owned(), text));
    }
    Ok(claims)
}

/// Returns the name and the JSON text of the claim that an option sets.
fn claim<'a>(option: &'a str, value: &str) -> Result<Option<(&'a str, String)>, Error> {
    let is_name = |name: &&str| !name.is_empty();
    Ok(
        if let Some(name) = option.strip_prefix(STRING).filter(is_name) {
            Some((name, json::quoted(value)))
        } else if let Some(name) = option.strip_prefix(NUMBER).filter(is_name) {
            let number = value
                .trim()
                .parse()
                .ok()
                .filter(|number: &f64| number.is_finite());
            let number = number.ok_or_else(|| wrong(option, "is not a number"))?;
            Some((name, format!("{number:?}")))
        } else if let Some(name) = option.strip_prefix(LIST).filter(is_name) {
            let elements = elements(value).into_iter().map(json::quoted);
            Some((
                name,
                format!("[{}]", elements.collect::<Vec<_>>().join(",")),
            ))
        } else {
            None
        },
    )
}

/// Returns the elements of a list whose first character separates them.
fn elements(value: &str) -> Vec<&str> {
    let mut chars = value.chars();
    let (Some(separator), list) = (chars.next(), chars.as_str()) else {
        return Vec::new();
    };
    if list.is_empty() {
        return Vec::new();
    }
    let mut elements: Vec<_> = list.split(separator).collect();
    // Java drops empty elements at the end, and adds one if the list has any.
    let has_empty = elements.iter().any(|element| element.is_empty());
    while elements.last().is_some_and(|element| element.is_empty()) {
        elements.pop();
    }
    if has_empty {
        elements.push("");
    }
    elements
}

fn lifetime(jaas: &Jaas) -> Result<i64, Error> {
    let text = jaas.option(LIFETIME).map_or("3600", Secret::reveal);
    text.parse()
        .map_err(|_| wrong(LIFETIME, "is not a whole number of seconds"))
}

fn wrong(option: &str, what: &str) -> Error {
    misconfigured(format!(
        "sasl.jaas.config: the option {} {what}",
        printable(option)
    ))
}
