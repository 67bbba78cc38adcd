//! Assertions (RFC 7521, RFC 7523): JSON web tokens by which a client proves who it is. One comes from a file, or it is
//! signed here.
//!
//! All files are read for each request, so that they can be replaced while the producer runs.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use crate::error::{Error, advice_on_path, printable};
use crate::sasl::failed;
use crate::secret::{self, FileFault, Secret};
use crate::tls::signature::{Algorithm, sign};

/// No file here has more bytes.
const MOST_BYTES: usize = 1 << 20;

#[derive(Clone, Debug)]
pub(crate) enum Assertion {
    /// `sasl.oauthbearer.assertion.file`.
    File(PathBuf),
    Signed(Box<SignedAssertion>),
}

/// An assertion that is signed for each request (`sasl.oauthbearer.assertion.*`).
#[derive(Clone, Debug)]
pub(crate) struct SignedAssertion {
    pub(crate) algorithm: Algorithm,
    pub(crate) key_file: PathBuf,
    pub(crate) passphrase: Option<Secret>,
    /// A JSON file with members of the header and of the claims.
    pub(crate) template_file: Option<PathBuf>,
    /// The claims `aud`, `iss` and `sub`, as far as they are set.
    pub(crate) claims: Vec<(&'static str, String)>,
    /// How long it is valid.
    pub(crate) lifetime: Duration,
    /// How long before now it begins to be valid.
    pub(crate) not_before: Duration,
    pub(crate) has_id: bool,
}

impl Assertion {
    /// Returns the text of an assertion that is valid now.
    pub(super) fn text(&self, now: SystemTime) -> Result<Secret, Error> {
        match self {
            Self::File(path) => from_file(path),
            Self::Signed(assertion) => assertion.text(now),
        }
    }
}

fn from_file(path: &Path) -> Result<Secret, Error> {
    const SETTING: &str = "sasl.oauthbearer.assertion.file";
    let bytes = read(path, SETTING)?;
    let text = std::str::from_utf8(&bytes).unwrap_or_default().trim();
    // It goes into a form as it is.
    let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    if text.is_empty() || !text.bytes().all(is_legal) {
        return Err(
            fault(path, SETTING, "has no JSON web token (RFC 7519)").with_advice(
                "write the token alone: three parts of base64url with dots between them",
            ),
        );
    }
    Ok(Secret::from(text))
}

impl SignedAssertion {
    fn text(&self, now: SystemTime) -> Result<Secret, Error> {
        const SETTING: &str = "sasl.oauthbearer.assertion.private.key.file";
        let contents = self.contents(now)?;
        let encoded = contents.map(|part| URL_SAFE_NO_PAD.encode(Value::Object(part).to_string()));
        let content = encoded.join(".");
        let key = read(&self.key_file, SETTING)?;
        let signature = sign(
            &key,
            self.passphrase.as_ref(),
            self.algorithm,
            content.as_bytes(),
        );
        let signature = signature.map_err(|phrase| {
            fault(&self.key_file, SETTING, &phrase).with_advice(
                "use a private key in PEM; sasl.oauthbearer.assertion.private.key.passphrase decrypts it, and \
                 sasl.oauthbearer.assertion.algorithm names its algorithm",
            )
        })?;
        Ok(Secret::new(format!(
            "{content}.{}",
            URL_SAFE_NO_PAD.encode(signature)
        )))
    }

    /// Returns the header and the claims. A later source of a claim replaces an earlier one, as in Java.
    fn contents(&self, now: SystemTime) -> Result<[Map<String, Value>; 2], Error> {
        let mut claims = Map::new();
        for (name, value) in &self.claims {
            claims.insert((*name).to_owned(), value.clone().into());
        }
        let mut header = Map::new();
        if let Some(path) = &self.template_file {
            let [of_header, of_claims] = template(path)?;
            header.extend(of_header);
            claims.extend(of_claims);
        }
        header.insert("alg".into(), self.algorithm.name().into());
        header.insert("typ".into(), "JWT".into());
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        claims.insert("iat".into(), json!(now));
        claims.insert(
            "exp".into(),
            json!(now.saturating_add(self.lifetime.as_secs())),
        );
        claims.insert(
            "nbf".into(),
            json!(now.saturating_sub(self.not_before.as_secs())),
        );
        if self.has_id {
            claims.insert("jti".into(), random_id()?.into());
        }
        Ok([header, claims])
    }
}

/// Reads the members `header` and `payload` of a template.
fn template(path: &Path) -> Result<[Map<String, Value>; 2], Error> {
    const SETTING: &str = "sasl.oauthbearer.assertion.template.file";
    let bytes = read(path, SETTING)?;
    let wrong = |what: &str| {
        fault(path, SETTING, what).with_advice(
            "write {\"header\": {...}, \"payload\": {...}}; each of the two may be missing",
        )
    };
    let mut members: Map<String, Value> =
        serde_json::from_slice(&bytes).map_err(|_| wrong("is not a JSON object"))?;
    let mut part = |name: &str| match members.remove(name) {
        Some(Value::Object(part)) => Ok(part),
        None | Some(Value::Null) => Ok(Map::new()),
        Some(_) => Err(wrong(&format!(
            "has a member {name} that is not a JSON object"
        ))),
    };
    Ok([part("header")?, part("payload")?])
}

/// Returns a random UUID (RFC 9562, section 5.4).
fn random_id() -> Result<String, Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| {
        failed("the system gives no random bytes for an assertion's jti")
            .with_source(error.to_string())
    })?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let parts = [
        &digits[..8],
        &digits[8..12],
        &digits[12..16],
        &digits[16..20],
        &digits[20..],
    ];
    Ok(parts.join("-"))
}

fn read(path: &Path, setting: &str) -> Result<Zeroizing<Vec<u8>>, Error> {
    let bytes = secret::read_file(path, MOST_BYTES).map(Zeroizing::new);
    bytes.map_err(|why| match why {
        FileFault::Unreadable(error) => fault(path, setting, &format!("cannot be read: {error}"))
            .with_advice(
                advice_on_path(path, &error).unwrap_or("check the path and the permissions"),
            ),
        FileFault::NotAFile => fault(path, setting, "is not a regular file"),
        FileFault::TooLong => fault(path, setting, &format!("has more than {MOST_BYTES} bytes")),
    })
}

fn fault(path: &Path, setting: &str, what: &str) -> Error {
    let path = printable(&path.to_string_lossy());
    failed(format!("the file {path} of {setting} {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn temporary(contents: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("kp-oidc-{}", fastrand::u64(..)));
        std::fs::write(&path, contents).unwrap();
        path
    }

    fn store(name: &str) -> PathBuf {
        format!("{}/tests/data/stores/{name}", env!("CARGO_MANIFEST_DIR")).into()
    }

    fn signed(template: Option<&Path>) -> SignedAssertion {
        SignedAssertion {
            algorithm: Algorithm::Es256,
            key_file: store("key-pkcs8.pem"),
            passphrase: None,
            template_file: template.map(Path::to_owned),
            claims: vec![("aud", "https://server.test".into()), ("iss", "me".into())],
            lifetime: Duration::from_secs(300),
            not_before: Duration::from_secs(60),
            has_id: true,
        }
    }

    fn decoded(part: &str) -> Value {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
    }

    #[test]
    fn claims_of_settings_template_and_clock_replace_each_other_in_this_order() {
        let template = temporary(
            r#"{"header": {"kid": "k1", "alg": "none"}, "payload": {"iss": "template", "list": [1, {"a": null}], "exp": 1}}"#,
        );
        let now = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let assertion = Assertion::Signed(Box::new(signed(Some(&template))));
        let text = assertion.text(now).unwrap();
        let parts: Vec<_> = text.reveal().split('.').collect();
        assert_eq!(
            decoded(parts[0]),
            json!({"alg": "ES256", "typ": "JWT", "kid": "k1"})
        );
        let mut claims = decoded(parts[1]);
        let id = claims.as_object_mut().unwrap().remove("jti").unwrap();
        assert_eq!(id.as_str().unwrap().len(), 36);
        let expected = json!({"aud": "https://server.test", "iss": "template", "list": [1, {"a": null}],
            "iat": 1_700_000_000, "exp": 1_700_000_300, "nbf": 1_699_999_940});
        assert_eq!(claims, expected);
        assert_eq!(URL_SAFE_NO_PAD.decode(parts[2]).unwrap().len(), 64);
        std::fs::remove_file(template).unwrap();
    }

    #[test]
    fn a_file_that_is_not_usable_is_named_with_its_setting() {
        let now = SystemTime::now();
        let not_json = temporary("[]");
        let wrong_part = temporary(r#"{"payload": 7}"#);
        let with_break = temporary("hidden\nhidden");
        let missing = Path::new("/no/such/file");
        let of_key = |name: &str| SignedAssertion {
            key_file: store(name),
            ..signed(None)
        };
        let cases = [
            (
                Assertion::File(missing.into()),
                "the file /no/such/file of sasl.oauthbearer.assertion.file cannot be read: ",
            ),
            (
                Assertion::File(with_break.clone()),
                "of sasl.oauthbearer.assertion.file has no JSON web token",
            ),
            (Assertion::File("/".into()), "is not a regular file"),
            (
                Assertion::Signed(Box::new(signed(Some(missing)))),
                "assertion.template.file cannot be read",
            ),
            (
                Assertion::Signed(Box::new(signed(Some(&not_json)))),
                "assertion.template.file is not a JSON object; write {",
            ),
            (
                Assertion::Signed(Box::new(signed(Some(&wrong_part)))),
                "has a member payload that is not a JSON object",
            ),
            (
                Assertion::Signed(Box::new(of_key("chain.pem"))),
                "assertion.private.key.file cannot be read: ",
            ),
            (
                Assertion::Signed(Box::new(of_key("key-pkcs1.pem"))),
                "has a key that does not fit ES256: use an EC key",
            ),
        ];
        for (assertion, sentence) in cases {
            let error = assertion.text(now).unwrap_err();
            let shown = format!("{error} {error:?}");
            assert!(shown.contains(sentence), "{shown}");
            assert!(!shown.contains("hidden"), "{shown}");
        }
        for path in [not_json, wrong_part, with_break] {
            std::fs::remove_file(path).unwrap();
        }
    }
}
