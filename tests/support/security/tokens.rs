//! JSON web tokens that brokers accept, signed by openssl.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::certificates::text;
use super::openssl;

/// What tokens and brokers say of each other.
pub(crate) const ISSUER: &str = "https://issuer.test";
pub(crate) const AUDIENCE: &str = "kafka";
const KEY_ID: &str = "k1";

/// Signs tokens, and publishes the key that verifies them.
#[derive(Clone, Debug)]
pub(crate) struct Issuer {
    folder: PathBuf,
}

impl Issuer {
    /// Makes a key and `jwks.json` in the folder.
    pub(crate) fn new(folder: &Path) -> Issuer {
        fs::create_dir_all(folder).expect("create a folder for tokens");
        let key = ["genpkey", "-algorithm", "RSA", "-out", "issuer.key"];
        let size = ["-pkeyopt", "rsa_keygen_bits:2048"];
        openssl(folder, &[&key[..], &size].concat(), b"");
        let modulus = ["rsa", "-in", "issuer.key", "-noout", "-modulus"];
        let printed = String::from_utf8(openssl(folder, &modulus, b"")).expect("hexadecimal");
        let digits = printed.trim().strip_prefix("Modulus=").expect("a modulus");
        let byte = |at| u8::from_str_radix(&digits[at..at + 2], 16).expect("a byte");
        let modulus: Vec<u8> = (0..digits.len()).step_by(2).map(byte).collect();
        let key = json!({"kty": "RSA", "use": "sig", "alg": "RS256", "kid": KEY_ID, "e": "AQAB",
            "n": base64_url(&modulus)});
        let keys = json!({ "keys": [key] }).to_string();
        fs::write(folder.join("jwks.json"), keys).expect("write the keys");
        Issuer {
            folder: folder.to_owned(),
        }
    }

    /// The URL of the file with the key that verifies the tokens.
    pub(crate) fn jwks_url(&self) -> String {
        format!("file:{}", self.folder.join("jwks.json").display())
    }

    /// The key that signs, as PKCS#8 PEM.
    pub(crate) fn key(&self) -> PathBuf {
        self.folder.join("issuer.key")
    }

    /// A token of this subject that ends in some seconds; a negative number gives one that has ended.
    pub(crate) fn token(&self, subject: &str, seconds: i64) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.expect("a clock after 1970").as_secs() as i64;
        let start = now.min(now + seconds - 1);
        self.sign(
            &json!({"iss": ISSUER, "aud": AUDIENCE, "sub": subject, "scope": "kafka", "iat": start,
            "exp": now + seconds}),
        )
    }

    /// A token with these claims and no others.
    pub(crate) fn sign(&self, claims: &Value) -> String {
        let header = json!({"alg": "RS256", "typ": "JWT", "kid": KEY_ID});
        let [header, claims] =
            [&header, claims].map(|part| base64_url(part.to_string().as_bytes()));
        let signed = format!("{header}.{claims}");
        let key = text(&self.key());
        let arguments = ["dgst", "-sha256", "-sign", &key];
        let signature = openssl(&self.folder, &arguments, signed.as_bytes());
        format!("{signed}.{}", base64_url(&signature))
    }

    /// Where [`token_file`](Self::token_file) writes.
    pub(crate) fn token_path(&self, subject: &str) -> PathBuf {
        self.folder.join(format!("{subject}.jwt"))
    }

    /// Writes a token of this subject, that ends in some seconds, to `<subject>.jwt` and returns its path.
    pub(crate) fn token_file(&self, subject: &str, seconds: i64) -> PathBuf {
        let path = self.token_path(subject);
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let part = self.folder.join(format!("{subject}.jwt.{number}"));
        fs::write(&part, self.token(subject, seconds)).expect("write a token");
        fs::rename(&part, &path).expect("rename a token");
        path
    }
}

/// Base64 with the alphabet for URLs, without padding.
pub(crate) fn base64_url(bytes: &[u8]) -> String {
    let standard = base64(bytes);
    let digits = standard.trim_end_matches('=');
    digits.replace('+', "-").replace('/', "_")
}

/// Base64 with padding.
pub(crate) fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4 {
            let value = bits >> (18 - 6 * digit) & 0x3F;
            text.push(match digit <= chunk.len() {
                true => char::from(DIGITS[value as usize]),
                false => '=',
            });
        }
    }
    text
}
