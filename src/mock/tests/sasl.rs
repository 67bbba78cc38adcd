//! SASL of the cluster, with messages made by hand.

use std::io::Write;
use std::time::Duration;

use super::*;
use crate::protocol::messages::{
    ApiVersionsRequest, SaslAuthenticateRequest, SaslAuthenticateResponse, SaslHandshakeRequest,
    SaslHandshakeResponse,
};

const ALICE: &[u8] = b"\0alice\0alice-secret";

fn sasl() -> MockSasl {
    MockSasl::new().plain("alice", "alice-secret")
}

fn cluster(sasl: MockSasl) -> MockCluster {
    let cluster = MockCluster::builder().sasl(sasl).start().unwrap();
    cluster.create_topic("t", 1);
    cluster
}

fn versions() -> ApiVersionsRequest<'static> {
    ApiVersionsRequest {
        client_software_name: "test",
        client_software_version: "1",
    }
}

fn handshake(client: &mut Client, mechanism: &str) -> SaslHandshakeResponse {
    client.call(&SaslHandshakeRequest { mechanism }, 1)
}

fn authenticate(client: &mut Client, message: &[u8]) -> SaslAuthenticateResponse {
    client.call(&SaslAuthenticateRequest { message }, 2)
}

/// Authenticates a new connection by PLAIN.
fn plain(cluster: &MockCluster, message: &[u8]) -> (Client, SaslAuthenticateResponse) {
    let mut client = Client::connect(cluster, 0);
    assert_eq!(handshake(&mut client, "PLAIN").error, ErrorCode::NONE);
    let answer = authenticate(&mut client, message);
    (client, answer)
}

fn is_served(client: &mut Client) -> bool {
    client.call(&metadata_request(Some(&["t"])), 9).error == ErrorCode::NONE
}

#[test]
fn a_client_that_authenticates_itself_is_served_under_its_name() {
    let cluster = cluster(sasl());
    for version in 0..=2 {
        let mut client = Client::connect(&cluster, 0);
        client.call(&versions(), 3);
        let answer = handshake(&mut client, "PLAIN");
        assert_eq!(
            (answer.error, &*answer.mechanisms),
            (ErrorCode::NONE, &["PLAIN".to_owned()][..])
        );
        let request = SaslAuthenticateRequest { message: ALICE };
        let answer = client.call(&request, version);
        assert_eq!(
            (answer.error, answer.session_lifetime_ms),
            (ErrorCode::NONE, 0)
        );
        assert!(is_served(&mut client));
    }
    let requests = cluster.requests();
    let names: Vec<_> = requests
        .iter()
        .map(|request| (request.api, &*request.principal))
        .collect();
    assert_eq!(
        names[..4],
        [
            (MockApi::ApiVersions, "User:ANONYMOUS"),
            (MockApi::SaslHandshake, "User:ANONYMOUS"),
            (MockApi::SaslAuthenticate, "User:ANONYMOUS"),
            (MockApi::Metadata, "User:alice"),
        ]
    );
}

#[test]
fn a_mechanism_without_users_is_refused_with_the_list_of_the_others() {
    let sasl = sasl().oauthbearer_token("alice", "token");
    #[cfg(feature = "sasl")]
    let sasl = sasl.scram_iterations(1).scram_sha_512("alice", "secret");
    let cluster = cluster(sasl);
    let mut client = Client::connect(&cluster, 0);
    let answer = handshake(&mut client, "SCRAM-SHA-256");
    assert_eq!(answer.error, ErrorCode::UNSUPPORTED_SASL_MECHANISM);
    let mut expected = vec!["PLAIN", "OAUTHBEARER"];
    if cfg!(feature = "sasl") {
        expected.insert(1, "SCRAM-SHA-512");
    }
    assert_eq!(answer.mechanisms, expected);
    client.expect_end();
}

#[test]
fn a_wrong_password_is_refused_and_a_new_one_counts_at_once() {
    let cluster = cluster(sasl());
    let (mut open, answer) = plain(&cluster, ALICE);
    assert_eq!(answer.error, ErrorCode::NONE);

    cluster.set_password("alice", "new");
    let (mut client, answer) = plain(&cluster, ALICE);
    assert_eq!(answer.error, ErrorCode::SASL_AUTHENTICATION_FAILED);
    let text = answer.error_message.unwrap();
    assert_eq!(text, "Authentication failed: Invalid username or password");
    client.expect_end();
    let (mut client, _) = plain(&cluster, b"\0alice\0new");
    assert!(is_served(&mut client) && is_served(&mut open));

    let misuse = std::panic::AssertUnwindSafe(|| cluster.set_password("bob", "new"));
    assert!(std::panic::catch_unwind(misuse).is_err());
}

#[test]
fn a_malformed_message_is_refused_without_a_reason() {
    let cluster = cluster(sasl());
    let (mut client, answer) = plain(&cluster, b"alice");
    assert_eq!(answer.error, ErrorCode::SASL_AUTHENTICATION_FAILED);
    let text = answer.error_message.unwrap();
    assert_eq!(
        text,
        "Authentication failed during authentication due to invalid credentials with SASL mechanism PLAIN"
    );
    client.expect_end();
}

#[test]
fn other_requests_before_the_handshake_close_the_connection() {
    let cluster = cluster(sasl());
    let begin = || Client::connect(&cluster, 0);

    let mut client = begin();
    client.send(&metadata_request(None), 9);
    client.expect_end();

    let mut client = begin();
    client.send(&SaslAuthenticateRequest { message: ALICE }, 2);
    client.expect_end();

    let mut client = begin();
    client.call(&versions(), 3);
    client.send(&versions(), 3);
    client.expect_end();

    // A version that brokers do not know is answered, and the client may ask in another one.
    cluster.restrict_versions(MockApi::ApiVersions, 0..=2);
    let mut client = begin();
    client.send(&versions(), 3);
    let (_, refusal) = client.receive::<ApiVersionsRequest<'_>>(0);
    assert_eq!(refusal.error, ErrorCode::UNSUPPORTED_VERSION);
    client.call(&versions(), 2);
    handshake(&mut client, "PLAIN");
    authenticate(&mut client, ALICE);
    assert!(is_served(&mut client));
}

#[test]
fn other_requests_after_the_handshake_are_refused_in_their_own_format() {
    let cluster = cluster(sasl());
    let mut client = Client::connect(&cluster, 0);
    handshake(&mut client, "PLAIN");
    let answer = client.call(&metadata_request(Some(&["t"])), 13);
    assert_eq!(answer.error, ErrorCode::ILLEGAL_SASL_STATE);
    client.expect_end();

    let mut client = Client::connect(&cluster, 0);
    handshake(&mut client, "PLAIN");
    let answer = client.call(&versions(), 3);
    assert_eq!(answer.error, ErrorCode::ILLEGAL_SASL_STATE);
    client.expect_end();
}

#[test]
fn large_frames_before_the_authentication_close_the_connection() {
    let cluster = cluster(sasl());
    let mut client = Client::connect(&cluster, 0);
    handshake(&mut client, "PLAIN");
    client.stream.write_all(&524_289_u32.to_be_bytes()).unwrap();
    client.expect_end();

    let (mut client, _) = plain(&cluster, ALICE);
    let batch = sealed(
        builder(10_000),
        crate::record::compression::CompressionType::None,
        crate::record::header::ProducerStamp::NONE,
    );
    assert!(batch.len() > 150_000);
    assert_eq!(client.produce(9, "t", 0, &batch).error, ErrorCode::NONE);
}

#[test]
fn a_cluster_without_sasl_refuses_the_handshake_and_serves_on() {
    let cluster = cluster_with_topic(1, 1);
    let mut client = Client::connect(&cluster, 0);
    client.call(&versions(), 3);
    let answer = handshake(&mut client, "PLAIN");
    assert_eq!(answer.error, ErrorCode::ILLEGAL_SASL_STATE);
    assert!(answer.mechanisms.is_empty());
    let answer = authenticate(&mut client, ALICE);
    assert_eq!(answer.error, ErrorCode::ILLEGAL_SASL_STATE);
    assert!(is_served(&mut client));

    cluster.set_sasl(sasl());
    assert!(is_served(&mut client));
    let (mut client, _) = plain(&cluster, ALICE);
    assert!(is_served(&mut client));
    let mut client = Client::connect(&cluster, 0);
    client.send(&metadata_request(None), 9);
    client.expect_end();
}

#[test]
fn a_session_ends_at_the_first_request_after_its_time() {
    let cluster = cluster(sasl().session_lifetime(Duration::from_millis(10)));
    let (mut client, answer) = plain(&cluster, ALICE);
    assert_eq!(answer.session_lifetime_ms, 10);
    // Longer than the lifetime. The connection stays as long as no request comes.
    client.expect_silence();
    client.send(&metadata_request(None), 9);
    client.expect_end();

    // A new authentication saves a connection, also after its time.
    let (mut client, _) = plain(&cluster, ALICE);
    client.expect_silence();
    let longer = sasl()
        .plain("bob", "b")
        .session_lifetime(Duration::from_secs(60));
    cluster.set_sasl(longer);
    assert_eq!(handshake(&mut client, "PLAIN").error, ErrorCode::NONE);
    let answer = authenticate(&mut client, ALICE);
    assert_eq!(
        (answer.error, answer.session_lifetime_ms),
        (ErrorCode::NONE, 60_000)
    );
    assert!(is_served(&mut client));

    // Not twice within a second. The session goes on.
    let answer = handshake(&mut client, "PLAIN");
    assert_eq!(answer.error, ErrorCode::ILLEGAL_SASL_STATE);
    assert!(is_served(&mut client));
}

#[test]
fn a_new_authentication_changes_neither_user_nor_mechanism() {
    let sasl = sasl().plain("bob", "b").oauthbearer_token("alice", "token");
    let cluster = cluster(sasl.session_lifetime(Duration::from_secs(60)));
    let (mut client, _) = plain(&cluster, ALICE);
    handshake(&mut client, "PLAIN");
    let answer = authenticate(&mut client, b"\0bob\0b");
    assert_eq!(answer.error, ErrorCode::SASL_AUTHENTICATION_FAILED);
    let text = answer.error_message.unwrap();
    assert_eq!(
        text,
        "Cannot change principals during re-authentication from User.alice: User.bob"
    );
    client.expect_end();

    let (mut client, _) = plain(&cluster, ALICE);
    assert_eq!(handshake(&mut client, "OAUTHBEARER").error, ErrorCode::NONE);
    let message = b"n,,\x01auth=Bearer token\x01\x01";
    client.send(&SaslAuthenticateRequest { message }, 2);
    client.expect_end();

    let (mut client, _) = plain(&cluster, ALICE);
    handshake(&mut client, "PLAIN");
    let answer = authenticate(&mut client, b"\0alice\0wrong");
    assert_eq!(answer.error, ErrorCode::SASL_AUTHENTICATION_FAILED);
    client.expect_end();
}

#[test]
fn tokens_are_checked_by_the_users_code_and_end_sessions() {
    let check = |token: &ReceivedToken<'_>| match token.token() {
        "good" => TokenVerdict::accept("alice").expires_in(Duration::from_secs(7)),
        _ => TokenVerdict::refuse("invalid_token"),
    };
    let sasl = MockSasl::new().oauthbearer(check);
    let cluster = cluster(sasl.session_lifetime(Duration::from_secs(60)));
    let mut client = Client::connect(&cluster, 0);
    handshake(&mut client, "OAUTHBEARER");
    let answer = authenticate(&mut client, b"n,,\x01auth=Bearer good\x01\x01");
    assert_eq!(
        (answer.error, answer.session_lifetime_ms),
        (ErrorCode::NONE, 7_000)
    );
    assert!(answer.message.is_empty() && is_served(&mut client));

    let mut client = Client::connect(&cluster, 0);
    handshake(&mut client, "OAUTHBEARER");
    let answer = authenticate(&mut client, b"n,,\x01auth=Bearer bad\x01\x01");
    let json = "{\"status\":\"invalid_token\"}";
    assert_eq!(
        (answer.error, &*answer.message),
        (ErrorCode::NONE, json.as_bytes())
    );
    let answer = authenticate(&mut client, &[1]);
    assert_eq!(answer.error, ErrorCode::SASL_AUTHENTICATION_FAILED);
    assert_eq!(answer.error_message.as_deref(), Some(json));
    client.expect_end();
}

#[test]
fn faults_apply_to_authentications() {
    let cluster = cluster(sasl());
    let refusal = Fault::Error(ErrorCode::SASL_AUTHENTICATION_FAILED);
    cluster.fail_next(MockApi::SaslAuthenticate, 2, refusal);
    for _ in 0..2 {
        let (mut client, answer) = plain(&cluster, ALICE);
        assert_eq!(answer.error, ErrorCode::SASL_AUTHENTICATION_FAILED);
        client.expect_end();
    }
    let refusal = Fault::Error(ErrorCode::UNSUPPORTED_SASL_MECHANISM);
    cluster.fail_next(MockApi::SaslHandshake, 1, refusal);
    let mut client = Client::connect(&cluster, 0);
    let answer = handshake(&mut client, "PLAIN");
    assert_eq!(answer.error, ErrorCode::UNSUPPORTED_SASL_MECHANISM);
    assert_eq!(answer.mechanisms, ["PLAIN"]);
    client.expect_end();

    cluster.fail_next(MockApi::SaslHandshake, 1, Fault::Disconnect);
    let mut client = Client::connect(&cluster, 0);
    client.send(&SaslHandshakeRequest { mechanism: "PLAIN" }, 1);
    client.expect_end();

    let (mut client, _) = plain(&cluster, ALICE);
    assert!(is_served(&mut client));
    assert_eq!(cluster.request_count(MockApi::SaslHandshake), 5);
}

#[test]
fn passwords_and_tokens_are_in_no_debug_text() {
    let sasl = sasl().oauthbearer_token("bob", "bobs-token");
    let text = format!("{:?}", MockCluster::builder().sasl(sasl));
    assert!(
        text.contains("alice") && !text.contains("alice-secret") && !text.contains("bobs-token")
    );
}
