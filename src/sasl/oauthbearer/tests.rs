use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::ErrorKind;
use crate::sasl::jaas::Jaas;
use crate::sasl::oauthbearer::unsecured::UnsecuredTokens;

/// What Kafka 4.3.1's `OAuthBearerUnsecuredLoginCallbackHandler` makes of the options.
const JAVA: &str = include_str!("java_tokens.jsonl");

const TOKEN: &str = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJodW50ZXIifQ.c2lnbmF0dXJl";

struct Fixed(BearerToken);

impl TokenSource for Fixed {
    fn fetch(&self, _: Instant) -> Result<BearerToken, Error> {
        Ok(self.0.clone())
    }
}

fn begin(token: BearerToken) -> Box<dyn Conversation> {
    let mechanism = OAuthBearer::new(Arc::new(Fixed(token)));
    assert_eq!(mechanism.name(), "OAUTHBEARER");
    mechanism.begin("localhost", Instant::now()).unwrap()
}

fn unsecured(options: &str) -> Result<UnsecuredTokens, Error> {
    const CLASS: &str = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule";
    UnsecuredTokens::from_jaas(&Jaas::parse(&format!("{CLASS} required {options};")).unwrap())
}

/// The error of a broker that answers the token with `failure`, and then refuses with `explanation`.
fn refused(token: BearerToken, failure: &[u8], explanation: Option<&str>) -> Error {
    let mut conversation = begin(token);
    conversation.first().unwrap();
    match conversation.next(failure).unwrap() {
        Next::Send(message) => assert_eq!(message.bytes(), [1]),
        Next::Done => panic!("{failure:?}"),
    }
    conversation.refused(explanation)
}

#[test]
fn an_empty_answer_ends_the_conversation() {
    let mut conversation = begin(BearerToken::new(TOKEN));
    let first = format!("n,,\u{1}auth=Bearer {TOKEN}\u{1}\u{1}");
    assert_eq!(conversation.first().unwrap().bytes(), first.as_bytes());
    assert!(matches!(conversation.next(b"").unwrap(), Next::Done));
}

#[test]
fn a_failure_is_answered_and_told() {
    let json = br#"{"status":"insufficient_scope", "scope":"kafka produce", "openid-configuration":"https://x"}"#;
    let error = refused(
        BearerToken::new(TOKEN),
        json,
        Some(std::str::from_utf8(json).unwrap()),
    );
    assert_eq!(error.kind(), ErrorKind::Authentication);
    assert_eq!(
        error.to_string(),
        "the broker refused the token: insufficient_scope (scope kafka produce); request the token with the scope that \
         the broker demands (sasl.oauthbearer.scope)"
    );
    let error = refused(
        BearerToken::new(TOKEN),
        br#"{"status":"invalid_token"}"#,
        None,
    )
    .to_string();
    assert!(
        error.starts_with(
            "the broker refused the token: invalid_token; check that the broker expects"
        ),
        "{error}"
    );
    // Some brokers send their text with the refusal alone.
    let refusal = begin(BearerToken::new(TOKEN))
        .refused(Some("{\"status\":\"invalid_token\"}"))
        .to_string();
    assert!(
        refusal.starts_with("the broker refused the token: invalid_token; "),
        "{refusal}"
    );
    let refusal = begin(BearerToken::new(TOKEN))
        .refused(Some("[123]: Access denied"))
        .to_string();
    assert!(
        refusal.starts_with("the broker refused the token: [123]: Access denied; "),
        "{refusal}"
    );
}

#[test]
fn a_broker_that_accepts_no_connection_for_the_moment_has_not_refused_the_token() {
    let error = begin(BearerToken::new(TOKEN)).refused(Some("[123]: Session too short"));
    assert_eq!(error.kind(), ErrorKind::Network);
    assert!(!error.is_refusal() && error.delays_reconnect());
    let shown = error.to_string();
    assert!(
        shown.starts_with(
            "the credentials of the token end too soon for a session: [123]: Session too short; "
        ),
        "{shown}"
    );
}

#[test]
fn a_broker_that_says_no_more_after_a_failure_has_refused() {
    let mut conversation = begin(BearerToken::new(TOKEN));
    conversation.next(br#"{"status":"invalid_token"}"#).unwrap();
    for answer in [&b""[..], b"x"] {
        let error = conversation.next(answer).unwrap_err().to_string();
        assert!(
            error.starts_with("the broker refused the token: invalid_token"),
            "{error}"
        );
    }
}

#[test]
fn an_expired_token_is_named_as_such() {
    let expired = SystemTime::now() - Duration::from_secs(90);
    let error = refused(BearerToken::new(TOKEN).expires(expired), b"{}", None).to_string();
    assert!(
        error.starts_with("the broker refused the token, which expired 9"),
        "{error}"
    );
    let later = SystemTime::now() + Duration::from_secs(90);
    let error = refused(BearerToken::new(TOKEN).expires(later), b"{}", None).to_string();
    assert!(
        error.starts_with("the broker refused the token; "),
        "{error}"
    );
}

#[test]
fn nothing_shows_the_token() {
    let (claims, long) = ("eyJzdWIiOiJodW50ZXIifQ", "x".repeat(100_000));
    for failure in [
        format!("{{\"status\":\"{TOKEN}\",\"scope\":\"a {claims}\"}}"),
        format!("{{\"status\":\"bad \\u0065yJzdWIiOiJodW50ZXIifQ\",\"scope\":\"{long}\"}}"),
        format!("{{\"status\":\"{}{claims}\"}}", "y".repeat(99)),
        format!("not JSON {TOKEN}"),
    ] {
        let error = refused(BearerToken::new(TOKEN), failure.as_bytes(), Some(&failure));
        let shown = format!("{error} {error:?}");
        assert!(
            !shown.contains(TOKEN) && !shown.contains("eyJz") && shown.len() < 1500,
            "{shown}"
        );
    }
    let token = BearerToken::new(TOKEN)
        .principal("alice")
        .extension("k", "hunter2");
    let shown = format!(
        "{token:?} {:?}",
        OAuthBearer::new(Arc::new(Fixed(token.clone())))
    );
    assert!(
        shown.contains("alice") && !shown.contains("eyJ") && !shown.contains("hunter2"),
        "{shown}"
    );
}

/// Java does not escape claims, and breaks at some. It reads numbers such as `1d`.
#[test]
fn unsecured_tokens_are_javas() {
    let mut equal = 0;
    for line in JAVA.lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let options = case["options"].as_str().unwrap();
        let tokens = unsecured(options);
        match (&tokens, case["error"].as_str()) {
            (Ok(tokens), None) => {
                check_token(tokens, &case);
                equal += 1;
            }
            (Ok(_), Some(error)) => assert!(
                error.contains("alformed JSON") || error.contains("Illegal JSON"),
                "{line}"
            ),
            (Err(error), None) => assert!(options.contains("1d"), "{line}: {error}"),
            (Err(error), Some(_)) => assert_eq!(error.kind(), ErrorKind::Config),
        }
    }
    assert!(equal >= 20, "{equal}");
}

fn check_token(tokens: &UnsecuredTokens, case: &Value) {
    let now = SystemTime::UNIX_EPOCH + Duration::from_millis(1_796_002_379_663);
    let token = tokens.token_at(now);
    let parts: Vec<_> = token.value.reveal().split('.').collect();
    assert_eq!((parts.len(), parts[2]), (3, ""));
    let decoded = |part| String::from_utf8(URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap();
    assert_eq!(decoded(parts[0]), case["header"].as_str().unwrap());

    let mut claims: Value = serde_json::from_str(&decoded(parts[1])).unwrap();
    assert_eq!(claims["iat"].as_f64(), Some(1_796_002_379.663));
    let lifetime = claims["exp"].as_f64().unwrap() - 1_796_002_379.663;
    let expected = case["lifetime"].as_f64().unwrap() / 1000.0;
    // Java counts milliseconds, and so has a latest time.
    let is_latest = expected > 1e15 && lifetime > expected;
    assert!(is_latest || (lifetime - expected).abs() <= 0.01, "{case}");
    let mut javas = case["claims"].clone();
    for claims in [&mut claims, &mut javas] {
        for name in ["iat", "exp"] {
            claims.as_object_mut().unwrap().remove(name);
        }
    }
    assert_eq!(claims, javas);
    assert_eq!(token.principal.as_deref(), case["principal"].as_str());

    let mut message = BearerToken::new("T");
    message.extensions = token.extensions;
    assert_eq!(
        client_message(&message).unwrap().bytes(),
        case["message"].as_str().unwrap().as_bytes()
    );
}

#[test]
fn faults_of_the_options_have_their_sentences() {
    for (options, expected) in [
        (
            "clientId=a clientSecret=hunter2",
            "it has no option unsecuredLoginStringClaim_sub; for tokens of a token server",
        ),
        (
            "unsecuredLoginNumberClaim_sub=\"1\"",
            "it has no option unsecuredLoginStringClaim_sub",
        ),
        (
            "unsecuredLoginPrincipalClaimName=user",
            "it has no option unsecuredLoginStringClaim_user",
        ),
        (
            "unsecuredLoginStringClaim_sub=a unsecuredLoginStringClaim_exp=b",
            "the option unsecuredLoginStringClaim_exp cannot set this claim",
        ),
        (
            "unsecuredLoginStringClaim_sub=a unsecuredLoginNumberClaim_scope=\"1\"",
            "makes the scope a number",
        ),
        (
            "unsecuredLoginStringClaim_sub=a unsecuredLoginNumberClaim_sub=\"1\"",
            "sets a claim that another option sets",
        ),
        (
            "unsecuredLoginStringClaim_sub=a unsecuredLoginNumberClaim_n=\"inf\"",
            "is not a number",
        ),
        (
            "unsecuredLoginStringClaim_sub=a unsecuredLoginLifetimeSeconds=\"1h\"",
            "the option unsecuredLoginLifetimeSeconds is not a whole number",
        ),
        (
            "unsecuredLoginStringClaim_sub=a unsecuredLoginExtension_auth=b",
            "the name of the extension \"auth\"",
        ),
    ] {
        let error = unsecured(options).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        let shown = error.to_string();
        assert!(
            shown.contains(expected) && !shown.contains("hunter2"),
            "{shown}"
        );
    }
}

#[test]
fn a_token_expires_after_its_lifetime() {
    let now = SystemTime::now();
    let expires = |seconds: &str| {
        let options =
            format!("unsecuredLoginStringClaim_sub=a unsecuredLoginLifetimeSeconds=\"{seconds}\"");
        unsecured(&options).unwrap().token_at(now).expires
    };
    assert_eq!(expires("300"), Some(now + Duration::from_secs(300)));
    assert_eq!(expires("-5"), Some(now - Duration::from_secs(5)));
    assert_eq!(
        expires("9223372036854775807"),
        now.checked_add(Duration::from_secs(i64::MAX as u64))
    );
    assert!(
        unsecured("unsecuredLoginStringClaim_sub=a")
            .unwrap()
            .fetch(Instant::now())
            .is_ok()
    );
}

proptest! {
    #[test]
    fn no_answer_panics_or_shows_the_token(answer in any::<Vec<u8>>(), text in any::<String>()) {
        let mut conversation = begin(BearerToken::new(TOKEN));
        let _ = conversation.next(&answer);
        let shown = format!("{} {}", conversation.refused(Some(&text)), conversation.refused(None));
        prop_assert!(!shown.contains(TOKEN));
    }
}
