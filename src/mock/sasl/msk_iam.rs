//! AWS_MSK_IAM, the broker's part. It checks signatures with its own code, so that a fault of the client's shows.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use super::{Exchange, Refusal, Step};
use crate::sasl::json;
use crate::sasl::msk_iam::timestamp::compact;
use crate::secret::Secret;

/// How long a signature is valid.
const VALID: Duration = Duration::from_secs(900);

/// How far a client's clock may be ahead.
const AHEAD: Duration = Duration::from_secs(300);

pub(super) struct MskIam {
    /// The secret access keys by their ids.
    keys: HashMap<String, Secret>,
}

impl MskIam {
    pub(super) fn new(keys: &HashMap<String, Secret>) -> Self {
        Self { keys: keys.clone() }
    }

    /// Returns the id of the key with which the message is signed; `None` if it is not.
    fn signer(&self, message: &HashMap<String, String>, now: SystemTime) -> Option<String> {
        let field = |name: &str| message.get(name).map(String::as_str);
        let date = field("x-amz-date")?;
        let credential: Vec<_> = field("x-amz-credential")?.split('/').collect();
        let [id, day, region, "kafka-cluster", "aws4_request"] = credential[..] else {
            return None;
        };
        let is_in_time = *date >= *compact(now - VALID) && *date <= *compact(now + AHEAD);
        let is_complete = field("version") == Some("2020_10_22")
            && field("action") == Some("kafka-cluster:Connect")
            && field("x-amz-algorithm") == Some("AWS4-HMAC-SHA256")
            && field("x-amz-signedheaders") == Some("host")
            && field("x-amz-expires") == Some("900")
            && field("user-agent").is_some_and(|agent| !agent.is_empty())
            && date.get(..8) == Some(day);
        if !is_in_time || !is_complete {
            return None;
        }
        let canonical = canonical_request(&field)?;
        let to_sign = format!(
            "AWS4-HMAC-SHA256\n{date}\n{day}/{region}/kafka-cluster/aws4_request\n{}",
            hex(&Sha256::digest(canonical))
        );
        let mut key = format!("AWS4{}", self.keys.get(id)?.reveal()).into_bytes();
        for part in [day, region, "kafka-cluster", "aws4_request"] {
            key = hmac(&key, part);
        }
        let signature = hex(&hmac(&key, &to_sign));
        (field("x-amz-signature") == Some(&*signature)).then(|| id.to_owned())
    }
}

impl Exchange for MskIam {
    fn next(&mut self, message: &[u8]) -> Result<Step, Refusal> {
        let text = std::str::from_utf8(message).map_err(|_| Refusal::InvalidCredentials)?;
        let fields = json::strings(text).ok_or(Refusal::InvalidCredentials)?;
        let fields = fields.into_iter().collect();
        let id = self.signer(&fields, SystemTime::now()).ok_or_else(|| {
            Refusal::Reason("[00000000-0000-0000-0000-000000000000]: Access denied".to_owned())
        })?;
        let answer =
            "{\"version\":\"2020_10_22\",\"request-id\":\"00000000-0000-0000-0000-000000000000\"}";
        Ok(Step::done(answer.as_bytes().to_vec(), &id))
    }
}

/// The parameters in the order of their names, with the fields that have their values.
const PARAMETERS: [(&str, &str); 7] = [
    ("Action", "action"),
    ("X-Amz-Algorithm", "x-amz-algorithm"),
    ("X-Amz-Credential", "x-amz-credential"),
    ("X-Amz-Date", "x-amz-date"),
    ("X-Amz-Expires", "x-amz-expires"),
    ("X-Amz-Security-Token", "x-amz-security-token"),
    ("X-Amz-SignedHeaders", "x-amz-signedheaders"),
];

/// Returns the text whose hash is signed; `None` if the message names no host.
fn canonical_request<'a>(field: &impl Fn(&str) -> Option<&'a str>) -> Option<String> {
    let mut query = String::new();
    for (name, source) in PARAMETERS {
        let Some(value) = field(source) else { continue };
        if !query.is_empty() {
            query.push('&');
        }
        let _ = write!(query, "{name}=");
        for byte in value.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                query.push(byte.into());
            } else {
                let _ = write!(query, "%{byte:02X}");
            }
        }
    }
    let host = field("host")?;
    let empty = hex(&Sha256::digest(b""));
    Some(format!("GET\n/\n{query}\nhost:{host}\n\nhost\n{empty}"))
}

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    // HMAC takes keys of any length.
    Hmac::<Sha256>::new_from_slice(key)
        .map(|mac| mac.chain_update(text).finalize().into_bytes().to_vec())
        .unwrap_or_default()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message that botocore 1.43.11 signed at 2026-11-30T09:29:21Z: see the tests of `sasl::msk_iam::sigv4`.
    fn message() -> HashMap<String, String> {
        [
            ("version", "2020_10_22"),
            ("host", "b-1.demo.abcde.c2.kafka.eu-central-1.amazonaws.com"),
            ("user-agent", "x"),
            ("action", "kafka-cluster:Connect"),
            ("x-amz-algorithm", "AWS4-HMAC-SHA256"),
            (
                "x-amz-credential",
                "AKIDEXAMPLE/20261130/eu-central-1/kafka-cluster/aws4_request",
            ),
            ("x-amz-date", "20261130T092921Z"),
            (
                "x-amz-security-token",
                "IQoJb3JpZ2luX2VjEA==/+token with space",
            ),
            ("x-amz-signedheaders", "host"),
            ("x-amz-expires", "900"),
            (
                "x-amz-signature",
                "1fdbae71a77713b25edcf46714721b5418c0d5e9eb86a82c1c85eeac6ffa1678",
            ),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
    }

    fn signer(message: &HashMap<String, String>, seconds_later: i64) -> Option<String> {
        let keys = [
            ("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
            ("OTHER", "x"),
        ];
        let keys = keys
            .map(|(id, key)| (id.to_owned(), Secret::from(key)))
            .into();
        let seconds = 1_796_030_961_i64
            .saturating_add(seconds_later)
            .unsigned_abs();
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        MskIam { keys }.signer(message, now)
    }

    #[test]
    fn a_right_signature_is_accepted_while_it_is_valid() {
        for (later, is_accepted) in [
            (0, true),
            (900, true),
            (901, false),
            (-300, true),
            (-301, false),
        ] {
            assert_eq!(signer(&message(), later).is_some(), is_accepted, "{later}");
        }
        assert_eq!(signer(&message(), 0).as_deref(), Some("AKIDEXAMPLE"));
    }

    #[test]
    fn every_other_field_is_refused() {
        for name in message().into_keys().filter(|name| name != "user-agent") {
            let mut changed = message();
            changed.insert(name.clone(), "20261130T092922Z".to_owned());
            assert_eq!(signer(&changed, 0), None, "{name}");
            changed.remove(&name);
            assert_eq!(signer(&changed, 0), None, "{name}");
        }
        let mut other = message();
        let credential = "OTHER/20261130/eu-central-1/kafka-cluster/aws4_request".to_owned();
        other.insert("x-amz-credential".to_owned(), credential);
        assert_eq!(signer(&other, 0), None);
    }

    #[test]
    fn what_is_no_object_is_refused() {
        let mut exchange = MskIam::new(&HashMap::new());
        for text in [&b""[..], b"\xff", b"[]"] {
            assert_eq!(
                exchange.next(text).unwrap_err(),
                Refusal::InvalidCredentials
            );
        }
        assert!(
            matches!(exchange.next(b"{}"), Err(Refusal::Reason(text)) if text.ends_with("Access denied"))
        );
    }
}
