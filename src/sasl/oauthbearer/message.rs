//! The messages of OAUTHBEARER (RFC 7628, section 3).

use super::super::failed;
use super::{BearerToken, json};
use crate::error::{Error, printable};
use crate::sasl::Message;
use crate::secret::HIDDEN;

/// The client's whole answer to a failure.
pub(super) const FAILURE_RECEIVED: u8 = 1;

/// A longer text is not the failure of a broker.
const MOST_FAILURE_BYTES: usize = 64 << 10;

/// Returns the message with the token and its extensions. No name to act as is in it: Kafka's broker takes the token's.
pub(super) fn client_message(token: &BearerToken) -> Result<Message, Error> {
    let value = token.value.reveal();
    check_token(value)?;
    let mut parts = vec!["n,,", "\u{1}auth=Bearer ", value];
    for (number, (name, content)) in token.extensions.iter().enumerate() {
        check_extension(name, content.reveal()).map_err(failed)?;
        if token.extensions[..number]
            .iter()
            .any(|(other, _)| other == name)
        {
            return Err(failed(format!("the token has the extension {name} twice")));
        }
        parts.extend(["\u{1}", name, "=", content.reveal()]);
    }
    parts.push("\u{1}\u{1}");
    // The byte 1 separates the parts. One allocation, so that no part of the token stays behind.
    Ok(Message::new(parts.concat().into_bytes()))
}

fn check_token(token: &str) -> Result<(), Error> {
    let advice =
        "check what supplies the token: it is the text behind Bearer alone, without a line break";
    let without_padding = token.trim_end_matches('=');
    if without_padding.is_empty() {
        return Err(failed("the token for OAUTHBEARER is empty").with_advice(advice));
    }
    let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-_~+/.".contains(&byte);
    if !without_padding.bytes().all(is_legal) {
        let message =
            "the token for OAUTHBEARER holds a character that no bearer token can have (RFC 6750)";
        return Err(failed(message).with_advice(advice));
    }
    Ok(())
}

/// Returns what is wrong with an extension.
pub(super) fn check_extension(name: &str, value: &str) -> Result<(), String> {
    let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphabetic());
    if !is_name || name == "auth" {
        let name = printable(name);
        return Err(format!(
            "the name of the extension {name:?} for OAUTHBEARER is not legal: it needs letters only, and auth is taken"
        ));
    }
    let is_legal = |byte: u8| matches!(byte, 0x21..=0x7e | b' ' | b'\t' | b'\r' | b'\n');
    if value.is_empty() || !value.bytes().all(is_legal) {
        return Err(format!(
            "the value of the extension {name} for OAUTHBEARER is not legal: it needs printable ASCII characters"
        ));
    }
    Ok(())
}

/// Why the broker refuses a token, as far as it says so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Failure {
    status: Option<String>,
    scope: Option<String>,
}

impl Failure {
    /// Reads the broker's JSON text. What is none is a failure without a reason.
    pub(super) fn read(text: &[u8]) -> Self {
        let text = std::str::from_utf8(text).ok();
        let text = text.filter(|text| text.len() <= MOST_FAILURE_BYTES);
        let mut failure = Self::default();
        for (name, value) in text.and_then(json::strings).unwrap_or_default() {
            match &*name {
                "status" if !value.is_empty() => failure.status = Some(value),
                "scope" if !value.is_empty() => failure.scope = Some(value),
                _ => {}
            }
        }
        failure
    }

    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Returns the sentence about a token that is `expired`. It leaves out a text that `is_secret`.
    pub(super) fn sentence(&self, expired: &str, is_secret: impl Fn(&str) -> bool) -> String {
        let shown = |text: &str| {
            let start: String = text.chars().take(100).collect();
            if is_secret(text) {
                HIDDEN.to_owned()
            } else {
                printable(&start)
            }
        };
        let mut sentence = format!("the broker refused the token{expired}");
        if let Some(status) = &self.status {
            sentence += ": ";
            sentence += &shown(status);
        }
        if let Some(scope) = &self.scope {
            sentence += " (scope ";
            sentence += &shown(scope);
            sentence += ")";
        }
        sentence
    }

    pub(super) fn advice(&self) -> &'static str {
        match self.status.as_deref() {
            Some("insufficient_scope") => {
                "request the token with the scope that the broker demands (sasl.oauthbearer.scope)"
            }
            _ => {
                "check that the broker expects the token's issuer, audience and signing key, that the token has not \
                 expired, and that both clocks are right"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(token: &BearerToken) -> String {
        let message = client_message(token).unwrap();
        String::from_utf8(message.bytes().to_vec()).unwrap()
    }

    /// The example of RFC 7628, section 4.1, without the name to act as, and with extensions.
    #[test]
    fn the_message_has_the_token_and_its_extensions() {
        let token = BearerToken::new("vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==");
        assert_eq!(
            text(&token),
            "n,,\u{1}auth=Bearer vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==\u{1}\u{1}"
        );
        let token = token
            .extension("host", "server.example.com")
            .extension("port", "143");
        assert_eq!(
            text(&token),
            "n,,\u{1}auth=Bearer vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==\u{1}host=server.example.com\u{1}port=143\
             \u{1}\u{1}"
        );
        assert_eq!(
            text(&BearerToken::new("a").extension("k", "a b\t\r\n~")),
            "n,,\u{1}auth=Bearer a\u{1}k=a b\t\r\n~\u{1}\u{1}"
        );
    }

    #[test]
    fn a_token_or_an_extension_that_breaks_the_message_is_refused_unseen() {
        for value in [
            "",
            "=",
            "hunter2\n",
            "hunter2 x",
            "hunter2\u{1}",
            "hunter2=x",
            "hunter2é",
            "hunter2,",
        ] {
            let error = client_message(&BearerToken::new(value)).unwrap_err();
            assert_eq!(error.kind(), crate::ErrorKind::Authentication);
            let shown = format!("{error} {error:?}");
            assert!(
                shown.contains("the token for OAUTHBEARER") && !shown.contains("hunter2"),
                "{shown}"
            );
        }
        for (name, value) in [
            ("", "x"),
            ("auth", "x"),
            ("k1", "x"),
            ("k=", "x"),
            ("é", "x"),
            ("k\u{1}", "x"),
            ("k", ""),
            ("k", "\u{1}"),
            ("k", "é"),
            ("k", "hunter2\u{7f}"),
        ] {
            let shown = client_message(&BearerToken::new("t").extension(name, value))
                .unwrap_err()
                .to_string();
            assert!(
                shown.contains("the extension") && !shown.contains("hunter2"),
                "{shown}"
            );
        }
        let twice = BearerToken::new("t")
            .extension("k", "v")
            .extension("k", "w");
        assert!(
            client_message(&twice)
                .unwrap_err()
                .to_string()
                .contains("twice")
        );
    }
}
