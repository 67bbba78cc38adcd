//! AWS's Signature Version 4: signs a request for a day, a region and a service.

use std::fmt::Write as _;
use std::time::SystemTime;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::credentials::Credentials;
use super::timestamp;
use crate::secret::Secret;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// What is signed of a request.
pub(super) struct Request<'a> {
    pub(super) method: &'a str,
    /// The path, percent-encoded.
    pub(super) path: &'a str,
    /// The names and values of the query, not encoded.
    pub(super) query: &'a [(&'a str, &'a str)],
    /// The names, in lower case, and values of the headers, in the order of their names.
    pub(super) headers: &'a [(&'a str, &'a str)],
    /// The SHA-256 of the body in hexadecimal digits, or the text that stands for it.
    pub(super) payload_hash: &'a str,
}

/// Signs requests to a service in a region, at a time.
pub(super) struct Signer<'a> {
    credentials: &'a Credentials,
    region: &'a str,
    service: &'a str,
    /// As `20150830T123600Z`.
    time: String,
}

impl<'a> Signer<'a> {
    pub(super) fn new(
        credentials: &'a Credentials,
        region: &'a str,
        service: &'a str,
        now: SystemTime,
    ) -> Self {
        Self {
            credentials,
            region,
            service,
            time: timestamp::compact(now),
        }
    }

    /// Returns the names and values of the query that lets its receiver call `action` at `host` within `expires_seconds`.
    /// The signature is the last one. AWS calls this a presigned URL.
    pub(super) fn presign(
        &self,
        host: &str,
        action: &str,
        expires_seconds: u32,
    ) -> Vec<(&'static str, Secret)> {
        let mut pairs = vec![
            ("Action", Secret::from(action)),
            ("X-Amz-Algorithm", ALGORITHM.into()),
            ("X-Amz-Credential", self.credential().into()),
            ("X-Amz-Date", self.time.clone().into()),
            ("X-Amz-Expires", expires_seconds.to_string().into()),
        ];
        if let Some(token) = &self.credentials.session_token {
            pairs.push(("X-Amz-Security-Token", token.clone()));
        }
        pairs.push(("X-Amz-SignedHeaders", "host".into()));
        let query: Vec<_> = pairs
            .iter()
            .map(|(name, value)| (*name, value.reveal()))
            .collect();
        let signature = self.signature(&Request {
            method: "GET",
            path: "/",
            query: &query,
            headers: &[("host", host)],
            payload_hash: &hex(&Sha256::digest(b"")),
        });
        pairs.push(("X-Amz-Signature", signature.into()));
        pairs
    }

    /// Returns the value of the header `Authorization`. The request has the header `x-amz-date` with [`time`](Self::time)
    /// and, if the credentials have a session token, `x-amz-security-token`.
    pub(super) fn authorization(&self, request: &Request<'_>) -> Secret {
        Secret::new(format!(
            "{ALGORITHM} Credential={}, SignedHeaders={}, Signature={}",
            self.credential(),
            signed_headers(request.headers),
            self.signature(request)
        ))
    }

    pub(super) fn time(&self) -> &str {
        &self.time
    }

    fn credential(&self) -> String {
        format!("{}/{}", self.credentials.key_id, self.scope())
    }

    fn scope(&self) -> String {
        format!(
            "{}/{}/{}/aws4_request",
            self.day(),
            self.region,
            self.service
        )
    }

    fn day(&self) -> &str {
        &self.time[..8]
    }

    fn signature(&self, request: &Request<'_>) -> String {
        let canonical = canonical(request);
        let to_sign = format!(
            "{ALGORITHM}\n{}\n{}\n{}",
            self.time,
            self.scope(),
            hex(&Sha256::digest(canonical.as_bytes()))
        );
        let secret = self.credentials.secret_key.reveal();
        let mut key = Zeroizing::new(["AWS4", secret].concat().into_bytes());
        for part in [self.day(), self.region, self.service, "aws4_request"] {
            key = hmac(&key, part);
        }
        hex(&hmac(&key, &to_sign))
    }
}

/// Returns the text of a request whose hash is signed. It may hold a session token.
fn canonical(request: &Request<'_>) -> Zeroizing<String> {
    let query = query(request.query);
    let mut text = Zeroizing::new(String::with_capacity(query.len() + 1024));
    let _ = writeln!(text, "{}\n{}\n{}", request.method, request.path, *query);
    for (name, value) in request.headers {
        let _ = writeln!(text, "{name}:{}", value.trim());
    }
    let signed = signed_headers(request.headers);
    let _ = write!(text, "\n{signed}\n{}", request.payload_hash);
    text
}

fn signed_headers(headers: &[(&str, &str)]) -> String {
    let names: Vec<_> = headers.iter().map(|(name, _)| *name).collect();
    names.join(";")
}

/// Returns a query in AWS's canonical form: encoded, and in order.
pub(super) fn query(pairs: &[(&str, &str)]) -> Zeroizing<String> {
    let mut encoded: Vec<_> = pairs
        .iter()
        .map(|(name, value)| (encode(name), Zeroizing::new(encode(value))))
        .collect();
    encoded.sort_by(|(name, value), (other, other_value)| {
        (name, &**value).cmp(&(other, &**other_value))
    });
    let mut texts = Vec::new();
    for (name, value) in &encoded {
        let separator = if texts.is_empty() { "" } else { "&" };
        texts.extend([separator, name, "=", value]);
    }
    Zeroizing::new(texts.concat())
}

/// Percent-encodes all but the unreserved characters of RFC 3986.
pub(super) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(3 * text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte));
            }
            _ => {
                let _ = write!(encoded, "%{byte:02X}");
            }
        }
    }
    encoded
}

/// Returns the SHA-256 of a body in hexadecimal digits.
pub(super) fn payload_hash(body: &[u8]) -> String {
    hex(&Sha256::digest(body))
}

fn hmac(key: &[u8], text: &str) -> Zeroizing<Vec<u8>> {
    let mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    let bytes = mac.chain_update(text.as_bytes()).finalize().into_bytes();
    Zeroizing::new(bytes.to_vec())
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    /// 2015-08-30T12:36:00Z, the time of AWS's test suite.
    const SUITE_TIME: u64 = 1_440_938_160;
    const SUITE_SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn credentials(token: Option<&str>) -> Credentials {
        Credentials::new(
            "AKIDEXAMPLE",
            SUITE_SECRET.into(),
            token.map(Secret::from),
            "a test",
        )
        .unwrap()
    }

    type Pairs = &'static [(&'static str, &'static str)];

    struct Example {
        name: &'static str,
        method: &'static str,
        query: Pairs,
        headers: Pairs,
        body: &'static str,
        service: &'static str,
        signature: &'static str,
    }

    const HOST: (&str, &str) = ("host", "example.amazonaws.com");
    const DATE: (&str, &str) = ("x-amz-date", "20150830T123600Z");
    const UNRESERVED: &str = "-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");
    const FORM_UTF8: (&str, &str) = (FORM.0, "application/x-www-form-urlencoded; charset=utf-8");
    const TOKEN: (&str, &str) = (
        "x-amz-security-token",
        "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfKD8YUuwthAx\
         7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q\
         6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA==",
    );

    /// A request of AWS's test suite: a GET without query and body.
    const VANILLA: Example = Example {
        name: "get-vanilla",
        method: "GET",
        query: &[],
        headers: &[HOST, DATE],
        body: "",
        service: "service",
        signature: "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
    };

    /// From AWS's own test suite for Signature Version 4 (aws-sig-v4-test-suite, directories of these names, files `.req`
    /// and `.authz`), and from the example of the IAM user guide, "Create a signed AWS API request".
    const EXAMPLES: [Example; 7] = [
        VANILLA,
        Example {
            name: "get-vanilla-query-order-key-case",
            query: &[("Param2", "value2"), ("Param1", "value1")],
            signature: "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
            ..VANILLA
        },
        Example {
            name: "get-vanilla-query-unreserved",
            query: &[(UNRESERVED, UNRESERVED)],
            signature: "9c3e54bfcdf0b19771a7f523ee5669cdf59bc7cc0884027167c21bb143a40197",
            ..VANILLA
        },
        Example {
            name: "post-vanilla",
            method: "POST",
            signature: "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
            ..VANILLA
        },
        Example {
            name: "post-x-www-form-urlencoded",
            method: "POST",
            headers: &[FORM, HOST, DATE],
            body: "Param1=value1",
            signature: "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
            ..VANILLA
        },
        Example {
            name: "post-sts-header-before",
            method: "POST",
            headers: &[HOST, DATE, TOKEN],
            signature: "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead",
            ..VANILLA
        },
        Example {
            name: "IAM user guide",
            query: &[("Action", "ListUsers"), ("Version", "2010-05-08")],
            headers: &[FORM_UTF8, ("host", "iam.amazonaws.com"), DATE],
            service: "iam",
            signature: "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7",
            ..VANILLA
        },
    ];

    #[test]
    fn the_published_examples_have_the_published_signatures() {
        let credentials = credentials(None);
        for example in EXAMPLES {
            let signer = Signer::new(&credentials, "us-east-1", example.service, at(SUITE_TIME));
            let shown = signer.authorization(&Request {
                method: example.method,
                path: "/",
                query: example.query,
                headers: example.headers,
                payload_hash: &payload_hash(example.body.as_bytes()),
            });
            assert_eq!(
                shown.reveal(),
                format!(
                    "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/{}/aws4_request, SignedHeaders={}, \
                     Signature={}",
                    example.service,
                    signed_headers(example.headers),
                    example.signature
                ),
                "{}",
                example.name
            );
        }
    }

    /// From the Amazon S3 API reference, "Authenticating requests: using query parameters".
    #[test]
    fn the_published_example_of_a_presigned_url_has_the_published_signature() {
        let secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into();
        let credentials = Credentials::new("AKIAIOSFODNN7EXAMPLE", secret, None, "a test").unwrap();
        let signer = Signer::new(&credentials, "us-east-1", "s3", at(1_369_353_600));
        let signature = signer.signature(&Request {
            method: "GET",
            path: "/test.txt",
            query: &[
                ("X-Amz-Algorithm", ALGORITHM),
                (
                    "X-Amz-Credential",
                    "AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request",
                ),
                ("X-Amz-Date", "20130524T000000Z"),
                ("X-Amz-Expires", "86400"),
                ("X-Amz-SignedHeaders", "host"),
            ],
            headers: &[("host", "examplebucket.s3.amazonaws.com")],
            payload_hash: "UNSIGNED-PAYLOAD",
        });
        assert_eq!(
            signature,
            "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
        );
    }

    /// botocore 1.43.11 made these, with the clock set to 2026-11-30T09:29:21Z: `SigV4QueryAuth(credentials,
    /// "kafka-cluster", region, expires=900)` signed `AWSRequest("GET", "https://HOST/?Action=kafka-cluster%3AConnect")`.
    #[test]
    fn a_presigned_connect_has_the_signature_that_botocore_makes() {
        let broker = "b-1.demo.abcde.c2.kafka.eu-central-1.amazonaws.com";
        for (host, region, token, expected) in [
            (
                broker,
                "eu-central-1",
                None,
                "bbc83c662f8c32852ca8584ddf1e75fa997f93518802c4a813e39cebdf24c423",
            ),
            (
                broker,
                "eu-central-1",
                Some("IQoJb3JpZ2luX2VjEA==/+token with space"),
                "1fdbae71a77713b25edcf46714721b5418c0d5e9eb86a82c1c85eeac6ffa1678",
            ),
            (
                "kafka.us-east-1.amazonaws.com",
                "us-east-1",
                Some("FwoGZXIvYXdzEA/+="),
                "a8e35c3898127fe0dabeb287a2299fa63cd2bd450cbab95a27c123cf66b4953d",
            ),
        ] {
            let credentials = credentials(token);
            let signer = Signer::new(&credentials, region, "kafka-cluster", at(1_796_030_961));
            let pairs = signer.presign(host, "kafka-cluster:Connect", 900);
            let names: Vec<_> = pairs.iter().map(|(name, _)| *name).collect();
            assert!(names.is_sorted_by_key(|name| *name != "Action" && *name == "X-Amz-Signature"));
            let (last, signature) = pairs.last().unwrap();
            assert_eq!((*last, signature.reveal()), ("X-Amz-Signature", expected));
            assert_eq!(names.contains(&"X-Amz-Security-Token"), token.is_some());
        }
    }

    /// As above, by `SigV4Auth(credentials, "sts", "eu-central-1")` and with a body.
    #[test]
    fn a_signed_request_to_sts_has_the_signature_that_botocore_makes() {
        let credentials = credentials(Some("FwoGZXIvYXdzEA/+="));
        let body = query(&[
            ("Action", "AssumeRole"),
            ("RoleSessionName", "aws-msk-iam-auth"),
        ]);
        assert_eq!(
            &**body,
            "Action=AssumeRole&RoleSessionName=aws-msk-iam-auth"
        );
        let body = "Action=AssumeRole&Version=2011-06-15&RoleArn=arn%3Aaws%3Aiam%3A%3A123456789012%3Arole%2Fdemo&\
                    RoleSessionName=aws-msk-iam-auth";
        let signer = Signer::new(&credentials, "eu-central-1", "sts", at(1_796_030_961));
        let authorization = signer.authorization(&Request {
            method: "POST",
            path: "/",
            query: &[],
            headers: &[
                (
                    "content-type",
                    "application/x-www-form-urlencoded; charset=utf-8",
                ),
                ("host", "sts.eu-central-1.amazonaws.com"),
                ("x-amz-date", signer.time()),
                ("x-amz-security-token", "FwoGZXIvYXdzEA/+="),
            ],
            payload_hash: &payload_hash(body.as_bytes()),
        });
        let expected = "Signature=1dca89a10952cd5e9d3e4b2414cabf39a5e804d8ab21c398186e0bc5df10c313";
        assert!(authorization.reveal().ends_with(expected));
    }
}
