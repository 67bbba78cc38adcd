//! Tokens and answers of SASL of 16 MiB: an error at once, or the end of a connection, and little memory.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use kafka_producer::mock::{MockApi, MockCluster, MockSasl, TokenVerdict};
use kafka_producer::{BearerToken, Error, ErrorKind, SecurityProtocol};

use crate::support::{
    PATIENCE, Producer, builder, builder_at, deliver, refusal, sasl_cluster, sasl_peer, with,
};

const LENGTH: usize = 16 << 20;

/// Accepts a short token.
fn cluster() -> MockCluster {
    let sasl = MockSasl::new().oauthbearer(|token| match token.token().len() < 1000 {
        true => TokenVerdict::accept("alice"),
        false => TokenVerdict::refuse("invalid_token"),
    });
    sasl_cluster(sasl)
}

/// As [`refusal`]. The error is short.
#[track_caller]
fn short_refusal(producer: &Producer) -> Error {
    let error = refusal(producer);
    let shown = format!("{error} {error:?}");
    assert!(shown.len() < 10_000, "{} bytes", shown.len());
    error
}

#[test]
fn a_token_of_a_provider_that_no_broker_accepts_is_not_sent_and_a_shorter_one_is() {
    let cluster = cluster();
    let is_short = Arc::new(AtomicBool::new(false));
    let provider = {
        let is_short = Arc::clone(&is_short);
        move || match is_short.load(Ordering::Relaxed) {
            true => Ok(BearerToken::new("short")),
            false => Ok(BearerToken::new("x".repeat(LENGTH))),
        }
    };
    let producer = builder(&cluster)
        .security_protocol(SecurityProtocol::SaslPlaintext)
        .sasl_oauthbearer(provider)
        .build()
        .unwrap();
    let error = short_refusal(&producer);
    assert_eq!(error.kind(), ErrorKind::Authentication);
    let shown = error.to_string();
    assert!(
        shown.contains("the OAUTHBEARER message has 167772")
            && shown.contains("use a shorter token"),
        "{shown}"
    );
    assert_eq!(cluster.request_count(MockApi::SaslAuthenticate), 0);
    is_short.store(true, Ordering::Relaxed);
    let end = Instant::now() + PATIENCE;
    while let Err(error) = deliver(&producer, 0, "v") {
        assert!(Instant::now() < end, "{error}");
    }
}

#[test]
fn a_file_with_a_token_that_no_broker_accepts_is_told_and_a_shorter_one_is_used() {
    let cluster = cluster();
    let name = format!("long-token-{}", std::process::id());
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&file, "x".repeat(LENGTH)).unwrap();
    let url = format!("file://{}", file.display());
    let settings = [
        ("security.protocol", "SASL_PLAINTEXT"),
        ("sasl.mechanism", "OAUTHBEARER"),
        (
            "sasl.login.callback.handler.class",
            "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginCallbackHandler",
        ),
        ("sasl.oauthbearer.token.endpoint.url", &*url),
        (
            "sasl.jaas.config",
            "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required;",
        ),
    ];
    let producer = with(builder(&cluster), &settings).build().unwrap();
    let error = short_refusal(&producer);
    assert_eq!(error.kind(), ErrorKind::Authentication, "{error}");
    let shown = error.to_string();
    assert!(shown.contains(&file.display().to_string()), "{shown}");
    assert_eq!(cluster.request_count(MockApi::SaslAuthenticate), 0);
    // {"alg":"none"}, {"sub":"alice","exp":4102444800}.
    let short = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbGljZSIsImV4cCI6NDEwMjQ0NDgwMH0.c2ln";
    std::fs::write(&file, short).unwrap();
    let end = Instant::now() + PATIENCE;
    while let Err(error) = deliver(&producer, 0, "v") {
        assert!(Instant::now() < end, "{error}");
    }
    std::fs::remove_file(&file).unwrap();
}

/// The answer's length alone is enough to refuse it: nothing of it is stored.
#[test]
fn an_answer_of_sasl_that_is_too_long_ends_the_connection_and_is_told() {
    let most = Arc::new(AtomicUsize::new(0));
    let taken = Arc::clone(&most);
    let answer_at_length = |_: &[u8]| {
        // No error and no message, then 16 MiB.
        let mut answer = vec![0, 0, 255, 255];
        answer.extend((LENGTH as u32).to_be_bytes());
        answer.resize(answer.len() + LENGTH, b'x');
        answer
    };
    let address = sasl_peer::start(answer_at_length, move |count| {
        taken.fetch_max(count, Ordering::Relaxed);
    });
    for mechanism in ["PLAIN", "SCRAM-SHA-256"] {
        let builder = builder_at(&address).max_block(Duration::from_secs(1));
        let builder = with(builder, &[("security.protocol", "SASL_PLAINTEXT")]);
        let builder = match mechanism {
            "PLAIN" => builder.sasl_plain("alice", "alice-secret"),
            _ => builder.sasl_scram_sha_256("alice", "alice-secret"),
        };
        let producer = builder.build().unwrap();
        let shown = short_refusal(&producer).to_string();
        let told = "length 16777228 is above the limit of 1048576";
        assert!(shown.contains(told), "{mechanism}: {shown}");
        producer.close(PATIENCE).unwrap();
    }
    // Of each connection what fits into the buffers of the sockets, at most.
    assert!(most.load(Ordering::Relaxed) < LENGTH, "{most:?}");
}
