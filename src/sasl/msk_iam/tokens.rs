//! MSK's tokens for OAUTHBEARER: a presigned URL in base64url, as Java's `IAMOAuthBearerLoginCallbackHandler` makes them.

use std::time::{Duration, Instant, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use super::credentials::Credentials;
use super::sigv4::{Signer, encode};
use super::{ACTION, EXPIRES_SECONDS, MskIam, SERVICE, USER_AGENT};
use crate::error::Error;
use crate::sasl::jaas::Jaas;
use crate::sasl::oauthbearer::{BearerToken, TokenSource};
use crate::secret::Secret;

/// Makes tokens with AWS credentials.
pub(crate) struct MskTokens(MskIam);

impl MskTokens {
    /// Takes the sources of credentials from the options of `OAuthBearerLoginModule`, which are those of `IAMLoginModule`.
    /// The second value is what is probably not meant.
    pub(crate) fn from_jaas(jaas: &Jaas) -> Result<(Self, Vec<String>), Error> {
        let (iam, warnings) = MskIam::from_jaas(jaas)?;
        Ok((Self(iam), warnings))
    }
}

impl TokenSource for MskTokens {
    fn fetch(&self, deadline: Instant) -> Result<BearerToken, Error> {
        let now = SystemTime::now();
        let region = self
            .0
            .own_region("a token for MSK needs it", now, deadline)?;
        let credentials = self.0.provider.credentials(now, deadline)?;
        let (text, expires) = presigned(&region, &credentials, SystemTime::now());
        Ok(BearerToken::new(text.reveal()).expires(expires))
    }

    fn close(&self) {
        self.0.end();
    }
}

/// Returns the text of a token, and when it ends.
fn presigned(region: &str, credentials: &Credentials, now: SystemTime) -> (Secret, SystemTime) {
    let host = format!("kafka.{region}.amazonaws.com");
    let signed =
        Signer::new(credentials, region, SERVICE, now).presign(&host, ACTION, EXPIRES_SECONDS);
    let mut url = Zeroizing::new(format!("https://{host}/?"));
    for (name, value) in &signed {
        *url += name;
        *url += "=";
        *url += &*Zeroizing::new(encode(value.reveal()));
        *url += "&";
    }
    // It is not signed.
    *url += "User-Agent=";
    *url += &encode(USER_AGENT);
    // The seconds of the signature are whole.
    let expires = now + Duration::from_secs(u64::from(EXPIRES_SECONDS) - 1);
    let expires = credentials.expires.map_or(expires, |end| end.min(expires));
    (Secret::new(URL_SAFE_NO_PAD.encode(&*url)), expires)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The signature is that of botocore: see the tests of `sigv4`.
    #[test]
    fn a_token_is_a_presigned_url() {
        let secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".into();
        let session = Some("FwoGZXIvYXdzEA/+=".into());
        let credentials = Credentials::new("AKIDEXAMPLE", secret, session, "a test").unwrap();
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_796_030_961);
        let (text, expires) = presigned("us-east-1", &credentials, now);
        let url = URL_SAFE_NO_PAD.decode(text.reveal()).unwrap();
        assert_eq!(
            String::from_utf8(url).unwrap(),
            format!(
                "https://kafka.us-east-1.amazonaws.com/?Action=kafka-cluster%3AConnect&X-Amz-Algorithm=AWS4-HMAC-SHA256&\
                 X-Amz-Credential=AKIDEXAMPLE%2F20261130%2Fus-east-1%2Fkafka-cluster%2Faws4_request&\
                 X-Amz-Date=20261130T092921Z&X-Amz-Expires=900&X-Amz-Security-Token=FwoGZXIvYXdzEA%2F%2B%3D&\
                 X-Amz-SignedHeaders=host&\
                 X-Amz-Signature=a8e35c3898127fe0dabeb287a2299fa63cd2bd450cbab95a27c123cf66b4953d&\
                 User-Agent=kafka-producer%2F{}",
                env!("CARGO_PKG_VERSION")
            )
        );
        assert_eq!(expires, now + Duration::from_secs(899));
    }

    #[test]
    fn a_token_ends_with_its_credentials() {
        let mut credentials = Credentials::new("AKID", "x".into(), None, "a test").unwrap();
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_796_030_961);
        let end = now + Duration::from_secs(60);
        credentials.expires = Some(end);
        assert_eq!(presigned("us-east-1", &credentials, now).1, end);
    }
}
