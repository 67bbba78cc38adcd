//! Requests to a token server: grants (RFC 6749, section 4.4; RFC 7523) in the form in which Java sends them.

use std::borrow::Cow;
use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::Assertion;
use crate::error::Error;
use crate::secret::{Secret, is_placeholder};

/// What the client shows to get a token. `Debug` shows no secret.
#[derive(Clone, Debug)]
pub(crate) enum Grant {
    /// The client asks for itself.
    ClientCredentials {
        client_id: String,
        scope: Option<String>,
        authentication: Authentication,
    },
    /// An assertion stands for the user (KIP-1139).
    JwtBearer {
        assertion: Assertion,
        scope: Option<String>,
    },
}

/// How a client proves that it is the one of its id.
#[derive(Clone, Debug)]
pub(crate) enum Authentication {
    Secret {
        secret: Secret,
        encode: Encode,
    },
    /// KIP-1258. The client's id can be empty: the assertion names the client, too.
    Assertion(Assertion),
}

/// Whether the client's id and secret, and the scope, are encoded as RFC 6749 asks (`sasl.oauthbearer.header.urlencode`).
/// Java's default is not to, and some servers do not decode them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encode {
    Yes,
    No,
}

impl Encode {
    fn apply(self, text: &str) -> Cow<'_, str> {
        match self {
            Self::Yes => form_encoded(text),
            Self::No => Cow::Borrowed(text),
        }
    }
}

/// A request's secret parts.
pub(super) struct Form {
    pub(super) body: Secret,
    pub(super) authorization: Option<Secret>,
    pub(super) assertion: Option<Secret>,
}

const JWT_BEARER: &str = "urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer";
const CLIENT_ASSERTION: &str = "urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer";

impl Grant {
    /// Makes the request's parts. Reads the files of an assertion.
    pub(super) fn form(&self, now: SystemTime) -> Result<Form, Error> {
        Ok(match self {
            Self::ClientCredentials {
                client_id,
                scope,
                authentication: Authentication::Secret { secret, encode },
            } => {
                let client_id = encode.apply(client_id);
                // One allocation each, so that no part of the secret stays behind.
                let secret = Secret::new(encode.apply(secret.reveal()).into_owned());
                let pair = Secret::new([&*client_id, ":", secret.reveal()].concat());
                let digits = Secret::new(STANDARD.encode(pair.reveal()));
                let scope = scope.as_deref().map(|scope| encode.apply(scope));
                Form {
                    body: body(&["grant_type=client_credentials"], scope),
                    authorization: Some(Secret::new(["Basic ", digits.reveal()].concat())),
                    assertion: None,
                }
            }
            Self::ClientCredentials {
                client_id,
                scope,
                authentication: Authentication::Assertion(assertion),
            } => {
                let assertion = assertion.text(now)?;
                let client_id = form_encoded(client_id);
                let mut parts = vec![
                    "client_assertion_type=",
                    CLIENT_ASSERTION,
                    "&client_assertion=",
                    assertion.reveal(),
                ];
                parts.push("&grant_type=client_credentials");
                if !client_id.is_empty() {
                    parts.extend(["&client_id=", &client_id]);
                }
                Form {
                    body: body(&parts, scope.as_deref().map(form_encoded)),
                    authorization: None,
                    assertion: Some(assertion),
                }
            }
            Self::JwtBearer { assertion, scope } => {
                let assertion = assertion.text(now)?;
                let parts = ["grant_type=", JWT_BEARER, "&assertion=", assertion.reveal()];
                Form {
                    body: body(&parts, scope.as_deref().map(form_encoded)),
                    authorization: None,
                    assertion: Some(assertion),
                }
            }
        })
    }

    /// Checks that the files of an assertion are there and usable.
    pub(crate) fn check(&self) -> Result<(), Error> {
        self.form(SystemTime::now()).map(drop)
    }

    /// Returns what no message may repeat.
    pub(super) fn secrets<'a>(&'a self, form: &'a Form) -> Vec<&'a Secret> {
        let mut secrets = vec![&form.body];
        secrets.extend(&form.assertion);
        secrets.extend(&form.authorization);
        if let Self::ClientCredentials {
            authentication: Authentication::Secret { secret, .. },
            ..
        } = self
        {
            secrets.push(secret);
        }
        secrets
    }

    /// Returns whether the client's id or secret is probably a placeholder that was not filled in.
    pub(super) fn has_placeholder(&self) -> bool {
        let Self::ClientCredentials {
            client_id,
            authentication: Authentication::Secret { secret, .. },
            ..
        } = self
        else {
            return false;
        };
        [client_id, secret.reveal()].into_iter().any(is_placeholder)
    }

    /// Returns whether the client's id or secret has characters that servers decode, and that are not encoded.
    pub(super) fn has_raw_special_characters(&self) -> bool {
        let Self::ClientCredentials {
            client_id,
            authentication:
                Authentication::Secret {
                    secret,
                    encode: Encode::No,
                },
            ..
        } = self
        else {
            return false;
        };
        form_encoded(client_id) != *client_id || form_encoded(secret.reveal()) != secret.reveal()
    }

    pub(super) fn uses_assertion(&self) -> bool {
        !matches!(
            self,
            Self::ClientCredentials {
                authentication: Authentication::Secret { .. },
                ..
            }
        )
    }
}

/// Joins the parts in one allocation, so that none stays behind.
fn body(parts: &[&str], scope: Option<Cow<'_, str>>) -> Secret {
    let mut parts = parts.to_vec();
    if let Some(scope) = &scope {
        parts.extend(["&scope=", scope]);
    }
    Secret::new(parts.concat())
}

/// Encodes a text for a form, as Java's `URLEncoder` does.
fn form_encoded(text: &str) -> Cow<'_, str> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-*_".contains(&byte);
    if text.bytes().all(is_plain) {
        return Cow::Borrowed(text);
    }
    let mut encoded = String::with_capacity(3 * text.len());
    for byte in text.bytes() {
        match byte {
            b' ' => encoded.push('+'),
            byte if is_plain(byte) => encoded.push(char::from(byte)),
            byte => {
                let digit = |digit: u8| {
                    char::from_digit(u32::from(digit), 16)
                        .unwrap_or('0')
                        .to_ascii_uppercase()
                };
                encoded.extend(['%', digit(byte >> 4), digit(byte & 15)]);
            }
        }
    }
    Cow::Owned(encoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_secret(client_id: &str, secret: &str, scope: Option<&str>, encode: Encode) -> Grant {
        Grant::ClientCredentials {
            client_id: client_id.to_owned(),
            scope: scope.map(str::to_owned),
            authentication: Authentication::Secret {
                secret: secret.into(),
                encode,
            },
        }
    }

    #[test]
    fn a_secret_goes_into_the_header_raw_or_encoded_as_by_java() {
        for (encode, scope, pair, body) in [
            (
                Encode::No,
                None,
                "my id:p+s/\u{e9}",
                "grant_type=client_credentials",
            ),
            (
                Encode::No,
                Some("a b:c"),
                "my id:p+s/\u{e9}",
                "grant_type=client_credentials&scope=a b:c",
            ),
            (
                Encode::Yes,
                Some("a b:c"),
                "my+id:p%2Bs%2F%C3%A9",
                "grant_type=client_credentials&scope=a+b%3Ac",
            ),
        ] {
            let grant = with_secret("my id", "p+s/\u{e9}", scope, encode);
            let form = grant.form(SystemTime::now()).unwrap();
            assert_eq!(form.body.reveal(), body);
            let expected = format!("Basic {}", STANDARD.encode(pair));
            assert_eq!(form.authorization.unwrap().reveal(), expected);
            assert_eq!(grant.has_raw_special_characters(), encode == Encode::No);
            assert!(!format!("{grant:?}").contains("p+s"));
        }
        assert!(
            !with_secret("id.-*_", "Secret0", Some("a b"), Encode::No).has_raw_special_characters()
        );
        assert!(with_secret("id", "${env:S}", None, Encode::No).has_placeholder());
        assert!(with_secret("${env:ID}", "s", None, Encode::Yes).has_placeholder());
        assert!(!with_secret("id", "p+s", None, Encode::No).has_placeholder());
    }

    #[test]
    fn an_assertion_goes_into_the_body() {
        let path = std::env::temp_dir().join(format!("kp-assertion-{}", fastrand::u64(..)));
        std::fs::write(&path, "e30.e30.c2ln\n").unwrap();
        let assertion = Assertion::File(path.clone());
        let scope = Some("a b".to_owned());
        let client = |client_id: &str| Grant::ClientCredentials {
            client_id: client_id.to_owned(),
            scope: scope.clone(),
            authentication: Authentication::Assertion(assertion.clone()),
        };
        let bearer = Grant::JwtBearer {
            assertion: assertion.clone(),
            scope: scope.clone(),
        };
        let start = "client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer\
                     &client_assertion=e30.e30.c2ln&grant_type=client_credentials";
        for (grant, body) in [
            (client("me"), format!("{start}&client_id=me&scope=a+b")),
            (client(""), format!("{start}&scope=a+b")),
            (
                bearer,
                "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=e30.e30.c2ln&scope=a+b".to_owned(),
            ),
        ] {
            let form = grant.form(SystemTime::now()).unwrap();
            assert_eq!(form.body.reveal(), body);
            assert!(form.authorization.is_none() && grant.uses_assertion());
        }
        std::fs::remove_file(path).unwrap();
    }
}
