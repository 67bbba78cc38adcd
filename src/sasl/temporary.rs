//! The texts by which brokers refuse a client for the moment, although its credentials are right. The error code is that of a
//! wrong password, so only the text tells the difference. Only Amazon's brokers (MSK) are known to do this.

use crate::error::{Error, ErrorKind};

/// Why a broker refuses a client for the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TemporaryRefusal {
    /// The broker accepts only so many new connections in a second.
    TooManyConnects,
    /// The credentials end so soon that a session is not worth while. New ones of the same source last longer.
    SessionTooShort,
}

impl TemporaryRefusal {
    /// Reads the broker's text, as in `[1e0a6c1e-...]: Too many connects`. `None` if it is another refusal.
    pub(super) fn of(explanation: Option<&str>) -> Option<Self> {
        let text = explanation?.trim().to_ascii_lowercase();
        // The id of the request comes before the text.
        let text = match text
            .strip_prefix('[')
            .and_then(|text| text.split_once("]:"))
        {
            Some((_, text)) => text.trim(),
            None => &text,
        };
        match text.trim_end_matches('.') {
            "too many connects" => Some(Self::TooManyConnects),
            "session too short" => Some(Self::SessionTooShort),
            _ => None,
        }
    }

    /// Returns the error of a client whose credentials are called `credentials`, without the broker's text. Callers are not
    /// told of it at once, and the next attempt is made after a while.
    pub(super) fn error(self, credentials: &str) -> Error {
        let (message, advice) = match self {
            Self::TooManyConnects => (
                "the broker gets too many new connections".to_owned(),
                "the producer tries again; if this persists, raise reconnect.backoff.ms and reconnect.backoff.max.ms, and start \
                 fewer producers at once: MSK limits how many connections a second a broker accepts",
            ),
            Self::SessionTooShort => (
                format!("{credentials} end too soon for a session"),
                "the producer tries again, with new ones as soon as their source has them; if this persists, let the source \
                 issue credentials that are valid for longer",
            ),
        };
        Error::new(ErrorKind::Network, message)
            .with_put_off()
            .with_advice(advice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_texts_of_msk_are_recognised_and_no_others() {
        use TemporaryRefusal::{SessionTooShort, TooManyConnects};
        for (text, expected) in [
            ("Too many connects", Some(TooManyConnects)),
            (
                "[1e0a6c1e-94b7-43bb-bd0a-21b4b1d1a3b1]: Too many connects",
                Some(TooManyConnects),
            ),
            ("[1e0a6c1e]: Session too short.", Some(SessionTooShort)),
            ("[1e0a6c1e]: Access denied", None),
            // A text that only mentions it may be about a lasting fault.
            ("[1]: Access denied after too many connects", None),
            ("Authentication failed: Invalid username or password", None),
            ("{\"status\":\"invalid_token\"}", None),
            ("[", None),
            ("[]:", None),
            ("", None),
        ] {
            assert_eq!(TemporaryRefusal::of(Some(text)), expected, "{text}");
        }
        assert_eq!(TemporaryRefusal::of(None), None);
    }

    #[test]
    fn waiting_callers_are_not_told_and_the_next_attempt_is_put_off() {
        for refusal in [
            TemporaryRefusal::TooManyConnects,
            TemporaryRefusal::SessionTooShort,
        ] {
            let error = refusal.error("the credentials");
            assert!(!error.is_refusal() && error.delays_reconnect(), "{error}");
            assert!(error.is_retriable(), "{error}");
        }
    }
}
