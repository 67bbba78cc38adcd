//! Targets for tokens of a token server: its HTTP, its JSON, and the claims of a token.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::http;
use crate::sasl::oauthbearer::oidc::token_of;

/// Input: the bytes of an answer.
pub fn http_response(data: &[u8]) {
    if let Some(response) = http::response_of(data) {
        assert!((200..600).contains(&response.status()));
        assert!(response.body().len() <= data.len());
    }
}

/// Input: a byte for the status of the answer, and its body. With 0 the rest is the claims of a token. An error does not show
/// the client's secret, which a server knows. A token has an end.
pub fn token_response(data: &[u8]) {
    let Some((&choice, body)) = data.split_first() else {
        return;
    };
    let result = match choice {
        0 => {
            let claims = URL_SAFE_NO_PAD.encode(body);
            token_of(
                200,
                format!("{{\"access_token\":\"e30.{claims}.c2ln\"}}").as_bytes(),
            )
        }
        1..100 => token_of(200, body),
        _ => token_of(300 + u16::from(choice), body),
    };
    match result {
        Ok(token) => assert!(!format!("{token:?}").contains("expires: None")),
        Err(error) => {
            let shown = format!("{error} {error:?}");
            assert!(!shown.contains("hidden-secret"), "{shown}");
            assert!(shown.len() < 8192, "{shown}");
        }
    }
}

pub(super) fn http_seeds() -> Vec<Vec<u8>> {
    let answers = [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 401 No\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\n{}\r\n0\r\nT: u\r\n\r\n",
        "HTTP/1.0 503\nX: y\n z\n\nbusy",
        "HTTP/1.1 302 Found\r\nLocation: https://a/?b\r\nContent-Encoding: gzip\r\n\r\n",
    ];
    answers.map(|answer| answer.as_bytes().to_vec()).to_vec()
}

pub(super) fn token_seeds() -> Vec<Vec<u8>> {
    let seed = |choice: u8, body: &str| [&[choice][..], body.as_bytes()].concat();
    vec![
        seed(
            0,
            r#"{"sub":"alice","exp":4102444800,"iat":1700000000.5,"scope":["a","b"],"x":{"y":[null,true]}}"#,
        ),
        seed(
            0,
            r#"{"sub":"alice","exp":1700000000,"iat":1600000000,"scope":"a b"}"#,
        ),
        seed(
            1,
            r#"{"access_token":"a.b.c","id_token":"x","expires_in":300}"#,
        ),
        seed(1, "<html></html>"),
        seed(
            101,
            r#"{"error":"invalid_client","error_description":"no \u00e9 hidden-secret"}"#,
        ),
        seed(200, r#"{"errorCode":"E1","errorSummary":"x"}"#),
    ]
}
