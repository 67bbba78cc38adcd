//! Targets for SASL: the user's JAAS text, and what a broker says to the mechanisms.

use super::Input;
use crate::sasl::jaas::Jaas;
use crate::sasl::oauthbearer;
use crate::sasl::scram;

/// The exchange of RFC 7677.
const NONCE: &str = "rOprNGfwEbeRWgbNEkqO";
const NONCE_OF_BOTH: &str = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
const SALT: &str = "s=W22ZaJ0SNY7soEsUEjb6gQ==";
const SIGNATURE: &str = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

/// Input: a JAAS text. It is accepted or refused. An accepted text with all options in quotes has the same options.
pub fn jaas(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let Ok(jaas) = Jaas::parse(text) else {
        return;
    };
    let class = "org.apache.kafka.common.security.plain.PlainLoginModule";
    let mut again = format!("{class} required");
    for (name, value) in jaas.options() {
        again += &format!(" {}={}", quoted(name), quoted(value.reveal()));
    }
    let again = Jaas::parse(&(again + ";")).expect("options in quotes");
    let options = |jaas: &Jaas| -> Vec<_> {
        let options = jaas.options();
        options
            .map(|(name, value)| (name.to_owned(), value.reveal().to_owned()))
            .collect()
    };
    assert_eq!(options(&again), options(&jaas));
}

fn quoted(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{}\"", escaped.replace('\n', "\\n").replace('\r', "\\r"))
}

/// Input: the length of the broker's first message of SCRAM, that message, and its last one. A broker that does not know
/// the password is not trusted.
pub fn scram_messages(data: &[u8]) {
    let mut input = Input(data);
    let length = usize::from(input.i16().unsigned_abs());
    let first = input.bytes(length);
    let last = input.bytes(usize::MAX);
    if scram::trusts(NONCE, first, last) {
        let message = format!("{NONCE_OF_BOTH},{SALT},i=4096");
        assert_eq!(first, message.as_bytes());
        assert!(last.starts_with(SIGNATURE.as_bytes()));
    }
}

/// Input: what a broker answers to a token of OAUTHBEARER. The error does not show the token.
pub fn oauthbearer_failure(data: &[u8]) {
    let token = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl";
    let shown = oauthbearer::refusal(token, data);
    assert!(
        !token.split('.').any(|part| shown.contains(part)),
        "{shown}"
    );
    assert!(shown.len() < 4096, "{shown}");
}

/// Input: what a broker of Amazon MSK answers to AWS_MSK_IAM. Another reader of JSON finds an object in it, too, unless it is
/// nested deeper than any answer is. The error does not repeat it.
#[cfg(feature = "sasl-msk-iam")]
pub fn msk_iam_answer(data: &[u8]) {
    let result = crate::sasl::msk_iam::read_answer(data);
    let object = serde_json::from_slice::<serde_json::Value>(data).is_ok_and(|it| it.is_object());
    let opening = data.iter().filter(|byte| matches!(byte, b'{' | b'['));
    if object && opening.count() < 16 {
        assert!(result.is_ok());
    }
    if let Err(error) = result {
        assert!(error.to_string().len() < 300, "{error}");
    }
}

#[cfg(feature = "sasl-msk-iam")]
pub(super) fn msk_iam_seeds() -> Vec<Vec<u8>> {
    let answers = [
        r#"{"version":"2020_10_22","request-id":"7d0d0d1c-6b4e-4f8a-b2a4-1b2c3d4e5f60"}"#,
        r#" { "a" : [ 1 , -2.5e3 , null , { "b" : true } ] , "cé
" : "" } "#,
        r#"{"version":"2020_10_22""#,
        "",
    ];
    answers.map(|answer| answer.as_bytes().to_vec()).to_vec()
}

pub(super) fn oauthbearer_seeds() -> Vec<Vec<u8>> {
    let answers = [
        r#"{"status":"invalid_token"}"#,
        r#"{"status":"insufficient_scope", "scope":"a b", "openid-configuration":"https://x/\u00e9\n"}"#,
        r#"{"status":"eyJzdWIiOiJhbGljZSJ9","n":[1,{"a":null}]}"#,
    ];
    answers.map(|answer| answer.as_bytes().to_vec()).to_vec()
}

pub(super) fn jaas_seeds() -> Vec<Vec<u8>> {
    let texts = [
        "org.apache.kafka.common.security.plain.PlainLoginModule required username=\"alice\" password='a\\n\\\"\\377';",
        "org.apache.kafka.common.security.scram.ScramLoginModule required\n username=u // name\n password=p /* x */ \
         tokenauth=true;",
        "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub=\"a\";",
        "com.sun.security.auth.module.Krb5LoginModule optional useKeyTab=true keyTab=\"/etc/k.keytab\" \
         principal=\"k/h@R\";",
        "software.amazon.msk.auth.iam.IAMLoginModule required awsProfileName=default;",
    ];
    texts.map(|text| text.as_bytes().to_vec()).to_vec()
}

pub(super) fn scram_seeds() -> Vec<Vec<u8>> {
    let seed = |first: &str, last: &str| {
        let length = first.len() as i16;
        [&length.to_be_bytes()[..], first.as_bytes(), last.as_bytes()].concat()
    };
    let (nonce, salt, signature) = (NONCE_OF_BOTH, SALT, SIGNATURE);
    vec![
        seed(&format!("{nonce},{salt},i=4096"), signature),
        seed(&format!("{nonce},{salt},i=4096,x=y"), "v=AAAA,x=y"),
        seed(&format!("{nonce},{salt},i=1000000"), signature),
        seed(&format!("m=x,{nonce},{salt},i=4096"), "e=invalid-proof"),
    ]
}
