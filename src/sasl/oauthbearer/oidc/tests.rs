//! The whole of it against a server on this machine. `tests/kafka` has the same with real brokers.

use std::io::Write;
use std::net::TcpListener;
use std::thread::JoinHandle;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use super::*;
use crate::http::test_server;

/// Answers one request after the other with a status and a body, and returns the requests.
fn serve(answers: Vec<(u16, String)>) -> (Url, JoinHandle<Vec<String>>) {
    let (port, server) = test_server::start(|listener| {
        let answer = |(status, body): (u16, String)| {
            let mut socket = listener.accept().unwrap().0;
            let request = test_server::read_request(&socket).expect("a request");
            let is_page = body.starts_with('<');
            let content_type = if is_page {
                "text/html; charset=utf-8"
            } else {
                "application/json"
            };
            let head =
                format!("HTTP/1.1 {status} X\r\nContent-Type: {content_type}\r\nLocation: /login");
            write!(
                socket,
                "{head}\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            )
            .unwrap();
            request
        };
        answers.into_iter().map(answer).collect()
    });
    (
        Url::parse(&format!("http://127.0.0.1:{port}/token")).unwrap(),
        server,
    )
}

const ID: &str = "my-client";
const SECRET: &str = "hidden-secret";

fn with_secret(client_id: &str, secret: &str) -> Grant {
    Grant::ClientCredentials {
        client_id: client_id.to_owned(),
        scope: Some("kafka".to_owned()),
        authentication: Authentication::Secret {
            secret: secret.into(),
            encode: Encode::No,
        },
    }
}

fn tokens(url: Url, grant: Grant, total: Duration) -> OidcTokens {
    let settings = OidcSettings {
        url,
        grant,
        extensions: vec![("logicalCluster".into(), "lkc-1".into())],
        claims: ClaimNames::default(),
        retries: Retries {
            backoff: Duration::from_millis(5),
            total,
        },
    };
    OidcTokens::new(settings, None, Times::default())
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(30)
}

fn jwt(lifetime: i64) -> String {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap()
        .as_secs() as i64;
    let claims = json!({"sub": "alice", "exp": now + lifetime}).to_string();
    format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims))
}

fn good() -> (u16, String) {
    (
        200,
        json!({"access_token": jwt(300), "expires_in": "ignored"}).to_string(),
    )
}

fn shown(error: &Error) -> String {
    let shown = format!("{error} {error:?}");
    assert!(!shown.contains("hidden"), "{shown}");
    let context = "no token for OAUTHBEARER from sasl.oauthbearer.token.endpoint.url: ";
    assert!(shown.starts_with(context), "{shown}");
    shown
}

#[test]
fn a_token_comes_with_its_end_its_principal_and_the_extensions() {
    for member in ["access_token", "id_token"] {
        let text = jwt(300);
        let (url, server) = serve(vec![(
            201,
            json!({ member: format!(" {text}\n") }).to_string(),
        )]);
        let tokens = tokens(url, with_secret(ID, SECRET), Duration::from_secs(10));
        let token = tokens.fetch(soon()).unwrap();
        assert_eq!(token.value.reveal(), text);
        assert_eq!(token.principal.as_deref(), Some("alice"));
        assert!(token.expires.unwrap() > SystemTime::now());
        assert_eq!(token.extensions[0].0, "logicalCluster");
        let request = server.join().unwrap().remove(0);
        for line in [
            "POST /token HTTP/1.1\r\n",
            "\r\nAccept: application/json\r\n",
            "\r\nCache-Control: no-cache\r\n",
            "\r\nContent-Type: application/x-www-form-urlencoded\r\n",
            "\r\nAuthorization: Basic bXktY2xpZW50OmhpZGRlbi1zZWNyZXQ=\r\n",
            "\r\n\r\ngrant_type=client_credentials&scope=kafka",
        ] {
            assert!(request.contains(line), "{request}");
        }
        assert!(!format!("{tokens:?}").contains(SECRET));
    }
}

#[test]
fn failures_that_pass_are_repeated_until_a_token_comes() {
    let busy = |status| (status, "{}".to_owned());
    let (url, server) = serve(vec![busy(500), busy(429), busy(408), busy(503), good()]);
    let tokens = tokens(url, with_secret(ID, SECRET), Duration::from_secs(60));
    assert!(tokens.fetch(soon()).is_ok());
    assert_eq!(server.join().unwrap().len(), 5);
}

#[test]
fn the_time_for_repetitions_ends_them_and_the_error_is_one_that_passes() {
    let (url, server) = serve(vec![(503, "busy".into())]);
    let error = tokens(url, with_secret(ID, SECRET), Duration::ZERO)
        .fetch(soon())
        .unwrap_err();
    let text = shown(&error);
    assert!(
        text.contains("cannot answer now (status 503); see whether the token server works"),
        "{text}"
    );
    assert_eq!(error.kind(), ErrorKind::Network);
    server.join().unwrap();

    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let url = Url::parse(&format!("http://127.0.0.1:{port}/token")).unwrap();
    let deadline = Instant::now() + Duration::from_millis(200);
    let error = tokens(url, with_secret(ID, SECRET), Duration::from_secs(60))
        .fetch(deadline)
        .unwrap_err();
    let text = shown(&error);
    assert!(
        text.contains("cannot connect to http://127.0.0.1:"),
        "{text}"
    );
    assert!(Instant::now() >= deadline);
}

#[test]
fn a_close_ends_the_pause_between_attempts() {
    let (url, server) = serve(vec![(503, String::new())]);
    let mut tokens = tokens(url, with_secret(ID, SECRET), Duration::from_secs(600));
    tokens.settings.retries.backoff = Duration::from_secs(600);
    std::thread::scope(|scope| {
        let fetching = scope.spawn(|| tokens.fetch(Instant::now() + Duration::from_secs(600)));
        server.join().unwrap();
        tokens.close();
        let error = fetching.join().unwrap().unwrap_err();
        let text = shown(&error);
        // The close may come before the client has read the answer.
        let is_known = text.contains("status 503") || text.contains("was given up");
        assert!(is_known, "{text}");
    });
}

/// Checks the error of an answer that ends the request at once.
fn assert_refused(status: u16, body: impl Into<String>, sentence: &str) {
    let body = body.into();
    let (url, server) = serve(vec![(status, body.clone())]);
    let tokens = tokens(url, with_secret(ID, SECRET), Duration::from_secs(60));
    let error = tokens.fetch(soon()).unwrap_err();
    let text = shown(&error);
    assert!(text.contains(sentence), "{body:.100}: {text}");
    assert_eq!(error.kind(), ErrorKind::Authentication, "{text}");
    // The server fails to write a long body.
    drop(server.join());
}

#[test]
fn a_refused_secret_that_looks_like_a_placeholder_is_told_and_not_shown() {
    let (url, server) = serve(vec![(401, String::new())]);
    let grant = with_secret(ID, "${env:CLIENT_SECRET}");
    let tokens = tokens(url, grant, Duration::from_secs(60));
    let text = shown(&tokens.fetch(soon()).unwrap_err());
    assert!(
        text.contains(
            "(status 401); check the client's id and secret: one of them looks like a placeholder, such as ${PROVIDER:KEY}, \
             that was not filled in: list the provider in config.providers, or give the value itself"
        ) && !text.contains("CLIENT_SECRET"),
        "{text}"
    );
    drop(server.join());
}

#[test]
fn each_refusal_has_its_sentence_and_is_not_repeated() {
    let error = |code: &str, description: &str| {
        json!({"error": code, "error_description": description}).to_string()
    };
    let check = "check sasl.oauthbearer.client.credentials.client.id and .client.secret, or clientId and clientSecret";
    let unknown = format!("refuses the request (status 401): invalid_client: unknown; {check}");
    assert_refused(401, error("invalid_client", "unknown"), &unknown);
    assert_refused(
        401,
        "",
        &format!("refuses the request (status 401); {check}"),
    );
    let repeats = error("invalid_client", "the secret hidden-secret is wrong");
    assert_refused(401, repeats, &format!("(status 401); {check}"));
    let scope = "(status 400): invalid_scope; check sasl.oauthbearer.scope";
    assert_refused(400, error("invalid_scope", ""), scope);
    let grant = "unauthorized_client: no\\ngrant; let the token server permit";
    assert_refused(400, error("unauthorized_client", "no\ngrant"), grant);
    let forbidden = "(status 403); see the log of the token server: it knows the client";
    assert_refused(403, "<html>no</html>", forbidden);
    let okta = json!({"errorCode": "E1", "errorSummary": "no"}).to_string();
    assert_refused(403, okta, "(status 403): E1: no; see the log");
    let not_found = "(status 404); set the URL to the token endpoint itself";
    assert_refused(404, "", not_found);
    assert_refused(407, "", "(status 407); a proxy asks for a password");
    let redirect = "redirects to /login (status 302), and a redirect is not followed";
    assert_refused(302, "", redirect);
}

#[test]
fn each_answer_without_a_usable_token_has_its_sentence() {
    let page = "is a web page (status 200); set the URL to the token endpoint";
    assert_refused(200, "<html>login</html>", page);
    let neither = "has neither access_token nor id_token, or is not legal JSON (status 200)";
    assert_refused(200, "{", neither);
    assert_refused(200, json!({"access_token": ""}).to_string(), neither);
    assert_refused(200, "[]", "is not a JSON object (status 200)");
    assert_refused(200, "", "is empty (status 200)");
    let error = json!({"error": "server_error", "error_description": "x"}).to_string();
    assert_refused(200, error, "gave an error: server_error: x; see the log");
    let token = |token: &str| json!({ "access_token": token }).to_string();
    assert_refused(200, token("opaque"), "is no JSON web token");
    assert_refused(200, token(&jwt(-5)), "issued a token that expired ");
    let long = "the token has 600000 bytes, and brokers take";
    assert_refused(200, token(&"a".repeat(600_000)), long);
    let too_long = "has more than 1048576 bytes";
    assert_refused(200, token(&"a".repeat(2 << 20)), too_long);
}

#[test]
fn special_characters_in_the_secret_earn_a_hint() {
    let (url, server) = serve(vec![(401, String::new())]);
    let error = tokens(url, with_secret(ID, "hidden+secret/"), Duration::ZERO)
        .fetch(soon())
        .unwrap_err();
    let text = shown(&error);
    assert!(
        text.contains("try sasl.oauthbearer.header.urlencode=true"),
        "{text}"
    );
    server.join().unwrap();
}

#[test]
fn an_explanation_that_repeats_an_assertion_is_not_shown() {
    let path = std::env::temp_dir().join(format!("kp-assertion-{}", fastrand::u64(..)));
    std::fs::write(&path, "hidden-header.hidden-claims.hidden-signature").unwrap();
    let grant = Grant::JwtBearer {
        assertion: Assertion::File(path.clone()),
        scope: None,
    };
    let body =
        json!({"error": "invalid_grant", "error_description": "bad hidden-claims"}).to_string();
    let (url, server) = serve(vec![(400, body)]);
    let error = tokens(url, grant, Duration::ZERO)
        .fetch(soon())
        .unwrap_err();
    let text = shown(&error);
    assert!(
        text.contains("refuses the request (status 400); see the log of the token server"),
        "{text}"
    );
    let request = server.join().unwrap().remove(0);
    assert!(
        request.ends_with("&assertion=hidden-header.hidden-claims.hidden-signature"),
        "{request}"
    );
    assert!(!request.contains("Authorization"), "{request}");
    std::fs::remove_file(path).unwrap();
}

#[test]
fn a_long_explanation_is_cut() {
    let body = json!({"error": "e".repeat(5000), "error_description": "x"}).to_string();
    let text = token_of(400, body.as_bytes()).unwrap_err().to_string();
    assert!(text.len() < 500 && text.contains("eee...;"), "{text}");
    assert_eq!(
        token_of(200, good().1.as_bytes())
            .unwrap()
            .principal
            .as_deref(),
        Some("alice")
    );
    let nested = format!("{{\"a\":{}", "[".repeat(100_000));
    assert!(token_of(200, nested.as_bytes()).is_err());
}
