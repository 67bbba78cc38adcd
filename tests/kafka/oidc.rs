//! OAUTHBEARER with tokens of a token server: brokers check the tokens themselves.

use std::thread;
use std::time::{Duration, Instant};

use kafka_producer::{Error, ErrorKind};

use crate::Tests;
use crate::producing::{SOON, outcome, producer_of, record};
use crate::support::kafka::{KafkaCluster, Listener, Mechanism};
use crate::support::security::{Answer, CLIENT_ID, CLIENT_SECRET, TokenServer};

/// For a cluster with every listener of [`Listener::COMMON`].
pub(crate) const TESTS: Tests = &[
    (
        "a_producer_comes_in_with_the_tokens_of_a_server",
        a_producer_comes_in_with_the_tokens_of_a_server,
    ),
    #[cfg(feature = "tls")]
    (
        "a_token_server_with_tls_has_a_trust_store_of_its_own",
        a_token_server_with_tls_has_a_trust_store_of_its_own,
    ),
    (
        "an_assertion_takes_the_place_of_the_secret",
        an_assertion_takes_the_place_of_the_secret,
    ),
    (
        "each_failure_of_a_token_server_has_its_sentence",
        each_failure_of_a_token_server_has_its_sentence,
    ),
    (
        "a_failure_that_passes_is_not_noticed_and_a_refusal_ends_with_its_cause",
        a_failure_that_passes_is_not_noticed_and_a_refusal_ends_with_its_cause,
    ),
    (
        "a_token_that_the_broker_refuses_is_told",
        a_token_that_the_broker_refuses_is_told,
    ),
    (
        "tokens_are_exchanged_while_the_producer_sends",
        tokens_are_exchanged_while_the_producer_sends,
    ),
];

const MODULE: &str = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required";

/// Certainly less than `max.block.ms`, with a busy machine's delays.
const AT_ONCE: Duration = Duration::from_secs(20);

type Settings = Vec<(String, String)>;

/// The settings for a listener, with tokens of this server.
fn settings(
    kafka: &KafkaCluster,
    listener: Listener,
    server: &TokenServer,
    options: &str,
    others: &[(&str, &str)],
) -> Settings {
    let mut settings = kafka.settings(listener, Some(Mechanism::OauthBearer));
    let jaas = format!("{MODULE} {options};");
    let url = server.url();
    let ours = [
        ("sasl.jaas.config", &*jaas),
        ("sasl.oauthbearer.token.endpoint.url", &*url),
    ];
    for (name, value) in ours.iter().chain(others) {
        settings.retain(|(other, _)| other != name);
        settings.push(((*name).to_owned(), (*value).to_owned()));
    }
    settings
}

fn with_secret() -> String {
    format!("clientId=\"{CLIENT_ID}\" clientSecret=\"{CLIENT_SECRET}\"")
}

fn assert_delivers(kafka: &KafkaCluster, topic: &str, settings: &Settings) {
    kafka.create_topic(topic, 1, 1, &[]);
    let producer = producer_of(settings).expect("a producer");
    outcome(&producer, record(topic, "delivered")).expect("a delivery");
    producer.close(SOON).expect("a close");
    let records = kafka.consume(topic);
    let values: Vec<_> = records.iter().map(|record| record.text()).collect();
    assert_eq!(values, ["delivered"]);
}

fn a_producer_comes_in_with_the_tokens_of_a_server(kafka: &KafkaCluster) {
    let server = TokenServer::start(kafka.issuer());
    let options = with_secret();
    let scope = [("sasl.oauthbearer.scope", "kafka")];
    let settings = settings(kafka, Listener::SaslPlaintext, &server, &options, &scope);
    assert_delivers(kafka, "oidc-http", &settings);
    let requests = server.requests();
    // One token serves all connections.
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].line, "POST /token HTTP/1.1");
    assert_eq!(
        requests[0].body,
        "grant_type=client_credentials&scope=kafka"
    );
}

/// The trust store of the producer's own settings does not know the certificate of the token server.
#[cfg(feature = "tls")]
fn a_token_server_with_tls_has_a_trust_store_of_its_own(kafka: &KafkaCluster) {
    use crate::support::security::{Cert, ClientAuth, Pki};

    let folder = kafka.pki().root().with_file_name("pki-of-token-server");
    let pki = Pki::new(&folder);
    let config = pki.rustls_server(Cert::Broker, ClientAuth::None);
    let server = TokenServer::start_with_tls(kafka.issuer(), config);
    let trust = format!(
        "{} ssl.truststore.type=PEM ssl.truststore.location=\"{}\"",
        with_secret(),
        pki.root().display()
    );
    let trusting = settings(kafka, Listener::SaslSsl, &server, &trust, &[]);
    assert_delivers(kafka, "oidc-https", &trusting);

    let other_trust = format!(
        "{} ssl.truststore.location=\"{}\"",
        with_secret(),
        kafka.pki().root().display()
    );
    let error = refusal(&settings(
        kafka,
        Listener::SaslSsl,
        &server,
        &other_trust,
        &[],
    ));
    assert_eq!(error.kind(), ErrorKind::Tls, "{error}");
    let shown = error.to_string();
    assert!(
        shown.contains(
            "the token server's certificate is signed by another \"CN=kafka tests root\" than the one of "
        ) && shown.contains("the issuer has been made anew"),
        "{shown}"
    );
    assert_eq!(server.requests().len(), 1);
}

fn an_assertion_takes_the_place_of_the_secret(kafka: &KafkaCluster) {
    let server = TokenServer::start(kafka.issuer());
    let key = kafka.issuer().key();
    let key = key.to_str().expect("UTF-8");
    let signed = [
        ("sasl.oauthbearer.assertion.claim.iss", CLIENT_ID),
        ("sasl.oauthbearer.assertion.claim.sub", CLIENT_ID),
        ("sasl.oauthbearer.assertion.private.key.file", key),
    ];
    let client = settings(kafka, Listener::SaslPlaintext, &server, "", &signed);
    assert_delivers(kafka, "oidc-assertion", &client);
    let bearer = [
        signed[0],
        signed[2],
        (
            "sasl.oauthbearer.jwt.retriever.class",
            "org.apache.kafka.common.security.oauthbearer.JwtBearerJwtRetriever",
        ),
    ];
    let bearer = settings(kafka, Listener::SaslPlaintext, &server, "", &bearer);
    assert_delivers(kafka, "oidc-bearer", &bearer);
    let requests = server.requests();
    for (request, start) in requests
        .iter()
        .zip(["client_assertion_type=", "grant_type=urn%3Aietf"])
    {
        assert!(request.body.starts_with(start), "{}", request.body);
        assert_eq!(request.header("authorization"), None);
    }
}

/// Returns why a record is refused, which must come soon.
fn refusal(settings: &Settings) -> Error {
    let began = Instant::now();
    let producer = producer_of(settings).expect("a producer");
    let error = outcome(&producer, record("oidc-refused", "never")).expect_err("a refusal");
    let took = began.elapsed();
    assert!(took < AT_ONCE, "after {took:?}: {error}");
    let shown = format!("{error} {error:?}");
    assert!(!shown.contains(CLIENT_SECRET), "{shown}");
    error
}

fn each_failure_of_a_token_server_has_its_sentence(kafka: &KafkaCluster) {
    let server = TokenServer::start(kafka.issuer());
    let settings = settings(kafka, Listener::SaslPlaintext, &server, &with_secret(), &[]);
    let long = format!("{{\"access_token\":\"{}\"}}", "a".repeat(600_000));
    let refused = r#"{"error":"invalid_client","error_description":"unknown client"}"#;
    for (answer, sentence) in [
        (
            Answer::http(401, refused),
            "(status 401): invalid_client: unknown client; check",
        ),
        (
            Answer::http(403, ""),
            "(status 403); see the log of the token server",
        ),
        (Answer::http(200, "{"), "is not legal JSON (status 200)"),
        (
            Answer::http(200, "<html>"),
            "is not a JSON object (status 200)",
        ),
        (Answer::http(200, &long), "the token has 600000 bytes"),
        (
            Answer::redirect("https://other.test/x"),
            "redirects to https://other.test/x (status 302)",
        ),
        (Answer::Endless, "has more than 1048576 bytes"),
    ] {
        server.answer(answer);
        let error = refusal(&settings);
        let shown = error.to_string();
        assert_eq!(error.kind(), ErrorKind::Authentication, "{shown}");
        // The topic is named between the sentence and the advice.
        let has_all = sentence.split("; ").all(|part| shown.contains(part));
        assert!(has_all, "{shown}");
    }
}

fn a_failure_that_passes_is_not_noticed_and_a_refusal_ends_with_its_cause(kafka: &KafkaCluster) {
    let topic = "oidc-mended";
    kafka.create_topic(topic, 1, 1, &[]);
    let server = TokenServer::start(kafka.issuer());
    let options = with_secret();
    let settings = settings(kafka, Listener::SaslPlaintext, &server, &options, &[]);
    server.answer_next(Answer::http(500, ""));
    server.answer_next(Answer::Close);
    let producer = producer_of(&settings).expect("a producer");
    outcome(&producer, record(topic, "0")).expect("a delivery");
    assert_eq!(server.requests().len(), 3);

    server.answer(Answer::http(401, ""));
    let producer = producer_of(&settings).expect("a producer");
    outcome(&producer, record(topic, "never")).expect_err("a refusal");
    server.answer(Answer::Token {
        subject: "alice".to_owned(),
        seconds: 300,
    });
    let end = Instant::now() + SOON;
    while let Err(error) = outcome(&producer, record(topic, "1")) {
        assert!(Instant::now() < end, "{error}");
        thread::park_timeout(Duration::from_millis(100));
    }
    let records = kafka.consume(topic);
    let values: Vec<_> = records.iter().map(|record| record.text()).collect();
    assert_eq!(values, ["0", "1"]);
}

fn a_token_that_the_broker_refuses_is_told(kafka: &KafkaCluster) {
    let server = TokenServer::start(kafka.issuer());
    let settings = settings(kafka, Listener::SaslPlaintext, &server, &with_secret(), &[]);
    // In the year 2100.
    let ends = 4_102_444_800_i64;
    let wrong = kafka.issuer().sign(
        &serde_json::json!({"iss": "https://other.test", "aud": "kafka", "sub": "alice",
        "scope": "kafka", "exp": ends}),
    );
    server.answer(Answer::http(
        200,
        &serde_json::json!({ "access_token": wrong }).to_string(),
    ));
    let error = refusal(&settings);
    let shown = error.to_string();
    assert_eq!(error.kind(), ErrorKind::Authentication, "{shown}");
    assert!(shown.contains("invalid_token"), "{shown}");

    server.answer(Answer::Token {
        subject: "alice".to_owned(),
        seconds: -60,
    });
    let shown = refusal(&settings).to_string();
    assert!(
        shown.contains("the token server issued a token that expired"),
        "{shown}"
    );
}

/// Each token lasts a few seconds, and the session of a connection ends with its token.
fn tokens_are_exchanged_while_the_producer_sends(kafka: &KafkaCluster) {
    let topic = "oidc-exchanged";
    kafka.create_topic(topic, 1, 1, &[]);
    let server = TokenServer::start(kafka.issuer());
    server.answer(Answer::Token {
        subject: "alice".to_owned(),
        seconds: 6,
    });
    let settings = settings(kafka, Listener::SaslPlaintext, &server, &with_secret(), &[]);
    let producer = producer_of(&settings).expect("a producer");
    let end = Instant::now() + Duration::from_secs(15);
    let mut futures = Vec::new();
    while Instant::now() < end {
        let number = futures.len().to_string();
        futures.push(
            producer
                .send(record(topic, number))
                .expect("a record accepted"),
        );
        thread::park_timeout(Duration::from_millis(5));
    }
    for future in &futures {
        future.get(SOON).expect("a delivery");
    }
    producer.close(SOON).expect("a close");
    let records = kafka.consume(topic);
    let values: Vec<_> = records
        .iter()
        .map(|record| record.text().to_owned())
        .collect();
    let expected: Vec<_> = (0..futures.len())
        .map(|number| number.to_string())
        .collect();
    assert_eq!(values, expected);
    let tokens = server.requests().len();
    assert!((3..=8).contains(&tokens), "{tokens} tokens");
}
